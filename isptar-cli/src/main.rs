//! The isptar program: backups as plain `.tar.gz` files, listed and taken apart at once.

mod bases;
mod cli;
mod commands;
mod connection;
mod difference;
mod exit;
mod failure;
mod input;
mod json;
mod limits;
mod output;
mod patient;
mod program;
mod progress;
mod reporter;
mod signals;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    signals::survive_size_limit();
    cli::run(std::env::args_os()).into()
}
