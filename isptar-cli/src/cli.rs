//! The command line: what it means, and which command it starts.

use std::ffi::OsString;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    append, cat, completions, convert, create, diff, extract, info, isolate, ls, man, merge,
    receive, repair, reslice, send, split, verify,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals;
use crate::ui::Ui;

/// Backups as plain .tar.gz files that are listed and taken apart at once.
///
/// An isptar archive is an ordinary .tar.gz that any tar restores, with a listing at its end: to
/// see its names or take one file out, only a few kilobytes of it are read.
#[derive(Debug, Parser)]
#[command(name = "isptar", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// Colour messages: auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, display_order = 100, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    /// Tell only errors and warnings
    #[arg(short, long, global = true, display_order = 101)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  isptar create home.tar.gz -C / home     archive /home
  isptar ls -l home.tar.gz home/ann       list a directory
  isptar cat home.tar.gz home/ann/notes   print a file
  isptar extract home.tar.gz -C /restore  restore everything
  isptar verify home.tar.gz               check that it is whole
  isptar diff home.tar.gz -C /            what has changed since
  tar xzf home.tar.gz                     restore everything, without isptar

Exit status:
  0  done
  1  done, with warnings: a file changed while it was read; diff found differences
  2  the command line does not make sense
  3  done, but incomplete: sources could not be read, members are damaged or refused
  4  not an archive, or damaged beyond its members
  5  a base or a slice is missing or wrong
  6  the destination failed, nothing was published
  8  a program that an option named failed, nothing was published
  128+N  stopped by signal N";

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Extract(extract::Args),
    Cat(cat::Args),
    Info(info::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Convert(convert::Args),
    Reslice(reslice::Args),
    Repair(repair::Args),
    Append(append::Args),
    Merge(merge::Args),
    Split(split::Args),
    Isolate(isolate::Args),
    Send(send::Args),
    Receive(receive::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs the program and returns its status.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    match parse(&args) {
        Ok(cli) => {
            let ui = Ui::new(cli.quiet, cli.color);
            let done = cli.command.run(&ui);
            let exit = done.unwrap_or_else(|failure| ended(&failure, &ui));
            // What a signal cut short failed by that.
            let stopped = matches!(exit, Exit::Incomplete | Exit::Base | Exit::NotAnArchive);
            signals::noted().filter(|_| stopped).map_or(exit, Exit::Signal)
        }
        Err(error) => {
            // Nothing is left to be told when the help cannot be printed.
            drop(error.print());
            if error.use_stderr() { Exit::Usage } else { Exit::Good }
        }
    }
}

/// Tells why a command failed and returns its status.
fn ended(failure: &Failure, ui: &Ui) -> Exit {
    // Who closes the pipe of a report has seen enough of it.
    if failure.is_broken_pipe() {
        return Exit::Good;
    }
    ui.failure(failure);
    failure.exit()
}

fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command(color_choice(args)).try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    match (&mut cli.command, matches.subcommand()) {
        (Command::Create(create), Some((_, matches))) => create.order_patterns(matches),
        (Command::Append(append), Some((_, matches))) => append.order_patterns(matches),
        (Command::Diff(diff), Some((_, matches))) => diff.order_patterns(matches),
        (Command::Send(send), Some((_, matches))) => send.order_patterns(matches),
        _ => {}
    }
    Ok(cli)
}

/// Returns the whole command line, for help, completions and man pages too.
pub(crate) fn command(color: ColorChoice) -> clap::Command {
    Cli::command().color(color)
}

/// Returns the choice of colours for messages about the command line itself, which are made
/// before it is understood.
fn color_choice(args: &[OsString]) -> ColorChoice {
    let mut choice = ColorChoice::Auto;
    let texts: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    for (at, text) in texts.iter().enumerate() {
        let value = match text.strip_prefix("--color") {
            Some("") => texts.get(at + 1).copied(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        match value {
            Some("always") => choice = ColorChoice::Always,
            Some("never") => choice = ColorChoice::Never,
            _ => {}
        }
    }
    choice
}

impl Command {
    fn run(&self, ui: &Ui) -> Result<Exit, Failure> {
        match self {
            Self::Create(args) => create::run(args, ui),
            Self::Ls(args) => ls::run(args, ui),
            Self::Extract(args) => extract::run(args, ui),
            Self::Cat(args) => cat::run(args, ui),
            Self::Info(args) => info::run(args, ui),
            Self::Verify(args) => verify::run(args, ui),
            Self::Diff(args) => diff::run(args, ui),
            Self::Convert(args) => convert::run(args, ui),
            Self::Reslice(args) => reslice::run(args, ui),
            Self::Repair(args) => repair::run(args, ui),
            Self::Isolate(args) => isolate::run(args, ui),
            Self::Send(args) => send::run(args, ui),
            Self::Receive(args) => receive::run(args, ui),
            Self::Append(args) => append::run(args, ui),
            Self::Merge(args) => merge::run(args, ui),
            Self::Split(args) => split::run(args, ui),
            Self::Completions(args) => completions::run(args, ui),
            Self::Man(args) => man::run(args, ui),
        }
    }
}

/// Parses the arguments of `create` as the program does; for tests.
#[cfg(test)]
pub(crate) fn parse_create(args: &[&str]) -> Result<create::Args, clap::Error> {
    let args = ["isptar", "create"].iter().chain(args).map(OsString::from);
    match parse(&args.collect::<Vec<_>>())?.command {
        Command::Create(create) => Ok(create),
        other => panic!("not create: {other:?}"),
    }
}

/// Parses the arguments of one command by themselves; for tests.
#[cfg(test)]
pub(crate) fn parse_args<A: clap::Args>(args: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("isptar"));
    let matches = command.try_get_matches_from(std::iter::once(&"isptar").chain(args))?;
    A::from_arg_matches(&matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(args: &[&str]) -> Exit {
        run(std::iter::once("isptar").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command(ColorChoice::Auto).debug_assert();
    }

    #[test]
    fn every_command_has_examples_in_its_long_help() {
        for command in command(ColorChoice::Never).get_subcommands_mut() {
            if command.get_name() == "help" {
                continue;
            }
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  "), "{}", command.get_name());
        }
    }

    #[test]
    fn nonsense_is_a_usage_error_and_help_is_not() {
        assert_eq!(exit(&["frobnicate"]), Exit::Usage);
        assert_eq!(exit(&["create", "--level", "13", "a", "b"]), Exit::Usage);
        assert_eq!(exit(&["create", "a"]), Exit::Usage);
        assert_eq!(exit(&["--version"]), Exit::Good);
    }

    #[test]
    fn colours_are_chosen_before_the_rest_is_understood() {
        let choice =
            |args: &[&str]| color_choice(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(choice(&["isptar", "ls"]), ColorChoice::Auto);
        assert_eq!(choice(&["isptar", "--color", "never"]), ColorChoice::Never);
        assert_eq!(choice(&["isptar", "ls", "--color=always"]), ColorChoice::Always);
    }
}
