//! `isptar completions`: what a shell needs to complete isptar's command lines.

use clap::ColorChoice;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Ui;

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Shell to complete in
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  isptar completions bash > ~/.local/share/bash-completion/completions/isptar
  isptar completions zsh > ~/.zfunc/_isptar
  isptar completions fish > ~/.config/fish/completions/isptar.fish";

/// Runs `isptar completions`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let mut out = ui.out()?;
    out.put(&script(args.shell))?;
    out.finish()?;
    Ok(Exit::Good)
}

/// Returns the script: made in memory, because the generator panics when writing fails.
fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = crate::cli::command(ColorChoice::Never);
    clap_complete::generate(shell, &mut command, "isptar", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in ["create", "ls", "extract", "cat", "info", "diff", "convert"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
