//! Programs that the user names: run without a shell, their exit status decides.
//!
//! A command is a text that is split into words once, before anything is known that may stand in
//! them. Values (the name of a slice, say) then take the place of their names in braces, within
//! words, so that a name with blanks, quotes or a dash in front is a part of one word as it is. The
//! same values are in the environment: `{name}` as `ISPTAR_NAME`.

mod child;
mod connect;
mod output;
mod retries;
mod words;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, ExitStatus, Stdio};

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser, ValueParserFactory};
use std::os::unix::process::ExitStatusExt;

pub(crate) use child::Heed;
pub(crate) use output::Output;
pub(crate) use retries::Retries;
pub(crate) use words::BadCommand;

/// A command of the user, not yet filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    words: Vec<Vec<u8>>,
}

/// What a command is told: names, in lower case, and their values.
pub(crate) type Values<'a> = [(&'a str, Vec<u8>)];

/// Why a program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It could not be started.
    #[error("cannot run {command}")]
    Start {
        /// The command, filled in.
        command: String,
        /// The system's answer.
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("{command} ended with status {status}")]
    Status {
        /// The command, filled in.
        command: String,
        /// Its status.
        status: i32,
    },
    /// A signal ended it.
    #[error("{command} was ended by signal {signal}{}", named(*signal))]
    Signal {
        /// The command, filled in.
        command: String,
        /// The number of the signal.
        signal: i32,
    },
    /// A signal came that stops this program, which has ended the other.
    #[error("interrupted, and {command} was ended")]
    Interrupted {
        /// The command, filled in.
        command: String,
    },
}

impl Program {
    /// Splits a command into words.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, BadCommand> {
        Ok(Self { words: words::split(text.as_bytes())? })
    }

    /// Runs it, and again when it fails, as often as `retries` say.
    pub(crate) fn run_again(
        &self,
        values: &Values<'_>,
        retries: Retries,
    ) -> Result<(), ProgramError> {
        let mut waits = retries.waits();
        loop {
            let result = self.run(values, Heed::Signals);
            if !result.as_ref().is_err_and(ProgramError::may_pass) {
                return result;
            }
            let Some(wait) = waits.next() else { return result };
            if child::sleep(wait).is_err() {
                return Err(ProgramError::Interrupted { command: self.shown(values) });
            }
        }
    }

    /// Runs it and waits for its end. It reads nothing, and what it prints goes to standard error:
    /// standard output has what this program prints, or the archive.
    pub(crate) fn run(&self, values: &Values<'_>, heed: Heed) -> Result<(), ProgramError> {
        let failed = |source| ProgramError::Start { command: self.shown(values), source };
        let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
        let mut command = self.command(values);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::from(stderr)).spawn().map_err(failed)?;
        let ended = child::wait(&mut child, heed).map_err(failed)?;
        self.judge(ended, values)
    }

    /// Returns what it prints, to be read; it is started with the first read.
    pub(crate) fn output<'p>(&'p self, values: &Values<'p>) -> Output<'p> {
        Output::new(self, values)
    }

    /// Judges how it ended; there is no status when this program has ended it.
    fn judge(&self, ended: Option<ExitStatus>, values: &Values<'_>) -> Result<(), ProgramError> {
        let command = || self.shown(values);
        let Some(status) = ended else {
            return Err(ProgramError::Interrupted { command: command() });
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(status), _) => Err(ProgramError::Status { command: command(), status }),
            (None, signal) => {
                Err(ProgramError::Signal { command: command(), signal: signal.unwrap_or_default() })
            }
        }
    }

    fn command(&self, values: &Values<'_>) -> Command {
        let mut words = self.filled(values).into_iter().map(OsString::from_vec);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        for (name, value) in values {
            let name = format!("ISPTAR_{}", name.to_ascii_uppercase());
            command.env(name, OsStr::from_bytes(value));
        }
        command
    }

    fn filled(&self, values: &Values<'_>) -> Vec<Vec<u8>> {
        self.words.iter().map(|word| words::fill(word, values)).collect()
    }

    /// Returns the command as it was run, for messages.
    fn shown(&self, values: &Values<'_>) -> String {
        words::join(&self.filled(values))
    }
}

impl ProgramError {
    /// Returns whether another run may succeed.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Signal { .. })
    }
}

impl From<ProgramError> for io::Error {
    fn from(error: ProgramError) -> Self {
        Self::other(error)
    }
}

fn named(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map(|name| format!(" ({name})")).unwrap_or_default()
}

/// Lets `Program` be the type of an option.
impl ValueParserFactory for Program {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        ValueParser::new(OsStringValueParser::new().try_map(|text| Self::parse(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn program(text: &str) -> Program {
        Program::parse(OsStr::new(text)).unwrap()
    }

    #[test]
    fn values_reach_the_program_as_words_and_as_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("it's a file\n");
        let values = [("path", out.as_os_str().as_bytes().to_vec()), ("number", b"-7".to_vec())];
        let program =
            program(r#"sh -c 'printf %s "$1=$ISPTAR_NUMBER" >"$ISPTAR_PATH"' x {number}"#);
        program.run(&values, Heed::Signals).unwrap();
        assert_eq!(fs::read(out).unwrap(), b"-7=-7");
    }

    #[test]
    fn standard_input_is_empty() {
        program("sh -c 'test -z \"$(cat)\"'").run(&[], Heed::Signals).unwrap();
    }

    #[test]
    fn errors_name_the_command_and_how_it_ended() {
        let values = [("name", b"a b".to_vec())];
        let error = |text| program(text).run(&values, Heed::Signals).unwrap_err().to_string();
        assert_eq!(error("sh -c 'exit 7' {name}"), "sh -c 'exit 7' 'a b' ended with status 7");
        let killed = error("sh -c 'kill -9 $$'");
        assert_eq!(killed, "sh -c 'kill -9 $$' was ended by signal 9 (SIGKILL)");
        assert_eq!(error("/no/such/{name}"), "cannot run '/no/such/a b'");
    }

    #[test]
    fn only_a_program_that_ran_and_failed_is_run_again() {
        let dir = tempfile::tempdir().unwrap();
        let values = [("path", dir.path().join("runs").into_os_string().into_vec())];
        let failing = program("sh -c 'echo >>$ISPTAR_PATH; exit 1'");
        assert!(failing.run_again(&values, Retries(0)).is_err());
        assert_eq!(fs::read(dir.path().join("runs")).unwrap(), b"\n");
        assert!(program("true").run_again(&[], Retries(u32::MAX)).is_ok());
        let error = program("/no/such").run_again(&[], Retries(u32::MAX)).unwrap_err();
        assert!(matches!(error, ProgramError::Start { .. }));
    }
}
