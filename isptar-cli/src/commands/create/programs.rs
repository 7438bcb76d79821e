//! Options that run programs: hooks around files, members that programs give.

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser, ValueParserFactory};
use isptar_core::create::{Hook, Stage};
use isptar_core::source::Names;
use isptar_core::{CreateOptions, Extras, Kind, MemberHeader, Timestamp};
use rustix::process::{getegid, geteuid};

use super::super::heading;
use crate::failure::Failure;
use crate::limits::parse_value;
use crate::patient::Patient;
use crate::program::{Heed, Program};
use crate::ui::stdin_file;

/// What programs do for an archive.
#[derive(Debug, clap::Args)]
pub(crate) struct ProgramArgs {
    /// Run CMD before anything at or below PREFIX is read, and again after: its words are split
    /// as by a shell, but none is run; {stage} is before or after, {prefix} is PREFIX
    #[arg(long, value_name = "PREFIX=CMD", help_heading = heading::PROGRAMS)]
    hook: Vec<Named>,
    /// Store what CMD prints as the member NAME; when it fails, no archive is made
    #[arg(long, value_name = "NAME=CMD", help_heading = heading::PROGRAMS)]
    command: Vec<Named>,
    /// Store standard input as the member NAME
    #[arg(long, value_name = "NAME", help_heading = heading::PROGRAMS)]
    stdin_name: Option<PathBuf>,
    /// Store what --command and --stdin-name bring in parts of SIZE bytes, NAME.000, NAME.001...:
    /// no more than one is kept in the spool directory
    #[arg(long, value_name = "SIZE", value_parser = parse_part, help_heading = heading::PROGRAMS)]
    command_parts: Option<NonZero<u64>>,
}

/// A command, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: PathBuf,
    program: Program,
}

/// Why a value is not of the form `NAME=CMD`.
#[derive(Debug, thiserror::Error)]
enum BadNamed {
    #[error("there is no = behind a name")]
    NoName,
    #[error(transparent)]
    Command(#[from] crate::program::BadCommand),
}

impl Named {
    fn parse(text: &OsStr) -> Result<Self, BadNamed> {
        let bytes = text.as_bytes();
        let place = bytes.iter().position(|&byte| byte == b'=').filter(|&place| place > 0);
        let (name, command) = bytes.split_at(place.ok_or(BadNamed::NoName)?);
        let program = Program::parse(OsStr::from_bytes(&command[1..]))?;
        Ok(Self { name: OsString::from_vec(name.to_vec()).into(), program })
    }

    fn name_bytes(&self) -> Vec<u8> {
        self.name.as_os_str().as_bytes().to_vec()
    }
}

impl ValueParserFactory for Named {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        ValueParser::new(OsStringValueParser::new().try_map(|text| Self::parse(&text)))
    }
}

fn parse_part(text: &str) -> Result<NonZero<u64>, String> {
    NonZero::new(parse_value(text)?).ok_or_else(|| "a part has at least 1 byte".into())
}

impl ProgramArgs {
    /// Returns whether members come from standard input.
    pub(super) fn takes_stdin(&self) -> bool {
        self.stdin_name.is_some()
    }

    /// Returns what takes part in the job. No program is run yet.
    pub(super) fn extras(&self, options: &CreateOptions) -> Result<Extras<'_>, Failure> {
        if self.command_parts.is_some() && self.command.is_empty() && self.stdin_name.is_none() {
            let text = "--command-parts is for --command and --stdin-name";
            return Err(Failure::Usage(text));
        }
        let mut extras = Extras::default();
        for hook in &self.hook {
            extras.add_hook(&hook.name, Guard(hook))?;
        }
        let (header, parts) = (header(options), self.command_parts);
        for command in &self.command {
            let output = command.program.output(&[("name", command.name_bytes())]);
            extras.add_supply(&command.name, header.clone(), output, parts)?;
        }
        if let Some(name) = &self.stdin_name {
            let stdin = Patient(stdin_file().map_err(Failure::Stdin)?);
            extras.add_supply(name, header, stdin, parts)?;
        }
        Ok(extras)
    }
}

/// Returns the metadata of members that are no files: readable by who makes the archive alone.
fn header(options: &CreateOptions) -> MemberHeader {
    let (uid, gid) = (geteuid().as_raw().into(), getegid().as_raw().into());
    let mut names = Names::new(!options.reproducible);
    let created = options.created.and_then(|created| i64::try_from(created).ok());
    MemberHeader {
        mode: 0o600,
        uid,
        gid,
        user: names.user(uid),
        group: names.group(gid),
        mtime: Timestamp::new(created.unwrap_or(0), 0),
        ..MemberHeader::new("", Kind::Fifo)
    }
}

/// Runs the program of a hook.
struct Guard<'a>(&'a Named);

impl Hook for Guard<'_> {
    fn call(&mut self, stage: Stage) -> io::Result<()> {
        // What was done before must be undone, though the user wants to stop.
        let (name, heed) = match stage {
            Stage::Before => ("before", Heed::Signals),
            Stage::After => ("after", Heed::Nothing),
        };
        let values = [("stage", name.into()), ("prefix", self.0.name_bytes())];
        Ok(self.0.program.run(&values, heed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_args;

    fn args(args: &[&str]) -> Result<ProgramArgs, clap::Error> {
        parse_args(args)
    }

    #[test]
    fn names_end_at_the_first_equals_sign() {
        let args = args(&["--command", "db/a b.sql=dump --all --x=y"]).unwrap();
        assert_eq!(args.command[0].name, PathBuf::from("db/a b.sql"));
        let program = Program::parse(OsStr::new("dump --all --x=y")).unwrap();
        assert_eq!(args.command[0].program, program);
    }

    #[test]
    fn what_cannot_be_run_is_refused_at_once() {
        for wrong in ["dump", "=dump", "name=", "name='dump", "name=dump \\"] {
            assert!(args(&["--command", wrong]).is_err(), "{wrong}");
            assert!(args(&["--hook", wrong]).is_err(), "{wrong}");
        }
        assert!(args(&["--stdin-name", "a", "--command-parts", "0"]).is_err());
        let parts = args(&["--command-parts", "1M"]).unwrap();
        assert!(matches!(parts.extras(&CreateOptions::default()), Err(Failure::Usage(_))));
    }

    #[test]
    fn members_belong_to_who_makes_the_archive_and_are_as_old_as_that() {
        let mut options = CreateOptions::default();
        options.created = Some(1_700_000_000);
        let made = header(&options);
        assert_eq!((made.mode, made.uid), (0o600, geteuid().as_raw().into()));
        assert_eq!(made.mtime, Timestamp::new(1_700_000_000, 0));
        assert_eq!(header(&CreateOptions::default()).mtime, Timestamp::new(0, 0));
    }
}
