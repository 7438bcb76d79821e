//! `isptar man`: manual pages, made of what the command line knows of itself.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{ColorChoice, Command};
use clap_mangen::Man;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Ui;

/// Write manual pages.
///
/// Without DIR the page of isptar itself is printed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Directory that gets a page for isptar and for each of its commands
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  isptar man | man -l -
  isptar man ~/.local/share/man/man1";

/// Runs `isptar man`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let pages = pages(crate::cli::command(ColorChoice::Never)).map_err(Failure::Stdout)?;
    let Some(dir) = &args.dir else {
        let mut out = ui.out()?;
        if let Some((_, page)) = pages.first() {
            out.put(page)?;
        }
        out.finish()?;
        return Ok(Exit::Good);
    };
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| Failure::Write { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, page) in &pages {
        let path = dir.join(name);
        fs::write(&path, page).map_err(failed(&path))?;
    }
    Ok(Exit::Good)
}

/// Returns file names and pages, the one of the program itself first.
fn pages(mut program: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    program = program.disable_help_subcommand(true);
    // Global options belong to every command's page.
    program.build();
    let mut pages = vec![page(program.clone())?];
    for command in program.get_subcommands() {
        pages.push(page(command.clone())?);
    }
    Ok(pages)
}

fn page(command: Command) -> io::Result<(String, Vec<u8>)> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok((format!("{name}.1"), page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let pages = pages(crate::cli::command(ColorChoice::Never)).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.first(), Some(&"isptar.1"));
        for name in ["isptar-create.1", "isptar-ls.1", "isptar-convert.1", "isptar-man.1"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        let create = String::from_utf8(pages[1].1.clone()).unwrap();
        assert!(create.contains("one\\-file\\-system") && create.contains("Examples"));
    }
}
