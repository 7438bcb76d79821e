//! Exit statuses: what a run's end tells the caller.

use std::process::ExitCode;

use isptar_core::Error;
use isptar_core::remote::RemoteError;

/// How a run ended; ordered from good to bad, so that the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything was done.
    Good,
    /// Done, with warnings.
    Warnings,
    /// Done, but incomplete.
    Incomplete,
    /// A base or a slice is missing or wrong.
    Base,
    /// Not an archive, or damaged beyond the members.
    NotAnArchive,
    /// The destination failed and nothing was published.
    Destination,
    /// A program that the user named failed, and nothing was published.
    Hook,
    /// The command line does not make sense.
    Usage,
    /// Stopped by this signal.
    Signal(u8),
}

impl Exit {
    /// Returns the status that the process ends with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Warnings => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::NotAnArchive => 4,
            Self::Base => 5,
            Self::Destination => 6,
            Self::Hook => 8,
            Self::Signal(number) => number.saturating_add(128),
        }
    }

    /// Returns the status of a job that ended with `error`, or of a member that failed with it.
    pub(crate) fn of(error: &Error) -> Self {
        match error.unplaced() {
            Error::BadSource { .. }
            | Error::BadPattern { .. }
            | Error::NothingStored
            | Error::BaseName { .. }
            | Error::ClassicOnBase
            | Error::TooFewHandles { .. }
            | Error::NoParts
            | Error::Part { .. }
            | Error::NoDelete(_)
            | Error::AlreadyIsptar => Self::Usage,
            Error::Corrupt { .. }
            | Error::NotIsptar(_)
            | Error::NotTar(_)
            | Error::CorruptTar { .. }
            | Error::CorruptStream { .. }
            | Error::Unsupported { .. }
            | Error::Foreign { .. }
            | Error::NothingWhole { .. }
            | Error::Limit { .. }
            | Error::Input { .. } => Self::NotAnArchive,
            Error::NoBase { .. }
            | Error::NotABase { .. }
            | Error::BadBase { .. }
            | Error::LongChain { .. }
            | Error::UnnamedBase { .. }
            | Error::ListingAlone
            | Error::Slice(_) => Self::Base,
            Error::Hook { .. } | Error::Supply { .. } => Self::Hook,
            Error::Remote(RemoteError::Untold) => Self::Warnings,
            Error::Remote(_)
            | Error::Output { .. }
            | Error::Busy { .. }
            | Error::Io { .. }
            | Error::Deliver { .. } => Self::Destination,
            _ => Self::Incomplete,
        }
    }

    /// Returns the status of a run in which single members failed with `error`.
    pub(crate) fn of_member(error: &Error) -> Self {
        match error.unplaced() {
            Error::NoBase { .. }
            | Error::NotABase { .. }
            | Error::UnnamedBase { .. }
            | Error::ListingAlone
            | Error::Slice(_) => Self::Base,
            _ => Self::Incomplete,
        }
    }

    /// Returns [`Self::Good`], or `self` when `count` is not zero.
    pub(crate) fn when(self, count: u64) -> Self {
        if count > 0 { self } else { Self::Good }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::{BaseProblem, FormatError};
    use std::io;

    fn no_base() -> Error {
        let (name, identity) = ("full.tar.gz".into(), "x".into());
        Error::NoBase { name, identity, problem: BaseProblem::NotGiven }
    }

    #[test]
    fn statuses_are_those_of_the_design() {
        let statuses = [
            (Exit::Good, 0),
            (Exit::Warnings, 1),
            (Exit::Usage, 2),
            (Exit::Incomplete, 3),
            (Exit::NotAnArchive, 4),
            (Exit::Base, 5),
            (Exit::Destination, 6),
            (Exit::Hook, 8),
            (Exit::Signal(2), 130),
            (Exit::Signal(15), 143),
        ];
        for (exit, code) in statuses {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn errors_have_the_status_of_what_failed() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let errors = [
            (Error::NotFound("a".into()), Exit::Incomplete),
            (Error::NotAFile { path: "a".into(), kind: "a directory" }, Exit::Incomplete),
            (Error::NotIsptar(FormatError::Missing("trailer")), Exit::NotAnArchive),
            (Error::Input { offset: 0, source: full() }, Exit::NotAnArchive),
            (Error::Output { op: "write", path: None, source: full() }, Exit::Destination),
            (Error::Busy { path: "a".into() }, Exit::Destination),
            (Error::BadSource { path: "a".into(), reason: "odd".into() }, Exit::Usage),
            (Error::NothingStored, Exit::Usage),
            (Error::Hook { purpose: "for slice 3".into(), source: full() }, Exit::Hook),
            (Error::Supply { path: "a".into(), source: full() }, Exit::Hook),
            (no_base(), Exit::Base),
            (Error::InBase { base: "b".into(), error: Box::new(no_base()) }, Exit::Base),
        ];
        for (error, exit) in errors {
            assert_eq!(Exit::of(&error), exit, "{error}");
        }
    }

    #[test]
    fn the_worst_status_wins() {
        assert_eq!(Exit::Warnings.max(Exit::Incomplete), Exit::Incomplete);
        assert_eq!(Exit::Incomplete.max(Exit::Destination), Exit::Destination);
        assert_eq!(Exit::Incomplete.when(0), Exit::Good);
        assert_eq!(Exit::Incomplete.when(2), Exit::Incomplete);
    }
}
