//! What makes a command fail, and what the user can do about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use isptar_core::io::{SliceError, SliceFault};
use isptar_core::path::printable;
use isptar_core::remote::RemoteError;
use isptar_core::{Error, MemberPath, PartProblem};

use crate::exit::Exit;
use crate::input::shown;
use crate::limits;
use crate::program::ProgramError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The library's answer.
    #[error(transparent)]
    Core(#[from] Error),
    /// An archive could not be read.
    #[error("{name}")]
    Archive {
        /// What it is called in messages.
        name: String,
        /// The library's answer.
        #[source]
        error: Box<Error>,
    },
    /// An archive could not be opened.
    #[error("cannot open {name}")]
    Open {
        /// What it is called in messages.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// An input has no bytes.
    #[error("{name} is empty")]
    Empty {
        /// What it is called in messages.
        name: String,
    },
    /// A slice was named instead of its archive.
    #[error("{name} is a slice of {archive}, no archive")]
    OneSlice {
        /// What the slice is called in messages.
        name: String,
        /// What its archive would be called.
        archive: String,
    },
    /// A list of patterns could not be read.
    #[error("cannot read the patterns of {name}")]
    PatternFile {
        /// What it is called in messages.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of documentation could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Usage(&'static str),
    /// Nobody has that name or number.
    #[error("there is no user {name}")]
    NoUser {
        /// The name or number.
        name: String,
    },
    /// The system does not let this run act as another user.
    #[error("cannot act as {name}")]
    ActAs {
        /// The name or number of the user.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The tree to compare with could not be opened.
    #[error("cannot compare with {name}")]
    Tree {
        /// What it is called in messages.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Standard output did not take what was written.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// Standard input is closed.
    #[error("cannot read standard input")]
    Stdin(#[source] io::Error),
    /// Nothing is there to speak with.
    #[error("standard output is a terminal, and should be a connection")]
    NoConnection,
    /// The program that connects to the other side could not be run.
    #[error(transparent)]
    Connect(#[from] ProgramError),
    /// The program that connects to the other side failed.
    #[error("{ended}, and {error}")]
    Via {
        /// How it ended.
        ended: ProgramError,
        /// What was seen of that here.
        error: RemoteError,
    },
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// An archive was to be written to a terminal.
    #[error("standard output is a terminal, and an archive is not text")]
    Terminal,
    /// What is read was to be written over.
    #[error("{}, which will be written, is the same file as {}", new.display(), damaged.display())]
    SameFile {
        /// What is to be read.
        damaged: PathBuf,
        /// The archive to be written, or its temporary name.
        new: PathBuf,
    },
    /// A file is there, and was not to be replaced.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No byte of the file is in the range.
    #[error("{path} has {size} bytes, the range begins at {start}")]
    Range {
        /// The member.
        path: MemberPath,
        /// Its size.
        size: u64,
        /// The first byte asked for.
        start: u64,
    },
    /// The contents of a hard link stand earlier in an input that can be read only once.
    #[error("{path} is a hard link to {target}, and standard input cannot be read again")]
    LinkGone {
        /// The member.
        path: MemberPath,
        /// The member that has the contents.
        target: MemberPath,
    },
}

impl Failure {
    /// Names the archive in what the library said of it.
    pub(crate) fn named(self, path: &Path) -> Self {
        match self {
            Self::Core(
                error @ (Error::Corrupt { .. }
                | Error::CorruptTar { .. }
                | Error::CorruptStream { .. }
                | Error::NotIsptar(_)
                | Error::NotTar(_)
                | Error::Unsupported { .. }
                | Error::Limit { .. }
                | Error::Input { .. }),
            ) => Self::Archive { name: shown(path), error: Box::new(error) },
            other => other,
        }
    }

    /// Returns the exit status of a run that ends with this.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Core(error) => Exit::of(error),
            Self::Archive { error, .. } => Exit::of(error),
            Self::Open { .. } | Self::Empty { .. } => Exit::NotAnArchive,
            Self::Stdout(_)
            | Self::Write { .. }
            | Self::Signals(_)
            | Self::Exists { .. }
            | Self::Connect(_)
            | Self::Via { .. } => Exit::Destination,
            Self::PatternFile { .. }
            | Self::Terminal
            | Self::NoConnection
            | Self::SameFile { .. }
            | Self::Usage(_)
            | Self::Stdin(_)
            | Self::NoUser { .. }
            | Self::ActAs { .. } => Exit::Usage,
            Self::OneSlice { .. } => Exit::Base,
            Self::Range { .. } | Self::LinkGone { .. } | Self::Tree { .. } => Exit::Incomplete,
        }
    }

    /// Returns whether nobody reads standard output any more, where it is a report or content.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Stdout(source) | Self::Core(Error::Deliver { source, .. }) => {
                source.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }

    /// Returns what the user can do about it.
    pub(crate) fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Core(error) => return hint(error),
            Self::Archive { name, error } => return archive_hint(name, error),
            Self::SameFile { .. } => "it would be written over: name another file",
            Self::ActAs { .. } => "only root can",
            Self::Exists { .. } => "--overwrite replaces it",
            Self::OneSlice { archive, .. } => {
                return Some(format!("name the archive: {archive}").into());
            }
            Self::Terminal => "name a file, or redirect standard output",
            Self::NoConnection => "--via CMD runs what connects to the other side",
            Self::LinkGone { .. } => "ask for the other name, or save the input to a file",
            _ => return None,
        };
        Some(hint.into())
    }
}

/// Returns what the user can do about an error of the library.
pub(crate) fn hint(error: &Error) -> Option<Cow<'static, str>> {
    let error = error.unplaced();
    if let Some(raise) = error.raise() {
        return Some(limits::hint(raise).into());
    }
    if let Error::Slice(SliceError {
        fault: SliceFault::Unpublished { commit } | SliceFault::Identity { commit, .. },
        ..
    }) = error
    {
        let commit = printable(commit.as_os_str().as_bytes());
        return Some(format!("to give up what was being published, remove {commit}").into());
    }
    plain_hint(error).map(Cow::from)
}

/// Returns what the user can do about an archive that cannot be read.
fn archive_hint(name: &str, error: &Error) -> Option<Cow<'static, str>> {
    match error {
        Error::Corrupt { .. } if error.raise().is_none() => Some(
            format!(
                "isptar verify {name} tells what is whole in it, isptar repair {name} NEW saves that"
            )
            .into(),
        ),
        error => hint(error),
    }
}

fn plain_hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::NotFound(_) => Some("isptar ls shows the names"),
        Error::Busy { .. } => Some("wait until it has ended, or write to another name"),
        Error::Output { source, path: Some(_), .. } if is_full(source) => {
            Some("make room or write elsewhere; an archive that was there is unchanged")
        }
        Error::Io { source, .. } if is_full(source) => {
            Some("make room or restore elsewhere; what was restored so far is whole")
        }
        Error::Corrupt { .. } => {
            Some("isptar verify tells what is whole, isptar repair makes an archive of it")
        }
        Error::NoBase { .. } => {
            Some("bases lie beside the archive, or --base PATH says where one is")
        }
        Error::Slice(_) => Some(
            "slices lie beside each other, or --fetch-slice CMD brings those that are elsewhere",
        ),
        Error::Part { problem: PartProblem::OfAnother(_), .. } => {
            Some("isptar extract --part restores what is in it")
        }
        Error::BadSource { .. } => Some("-C DIR says where relative paths begin"),
        Error::TooFewHandles { .. } => Some("ulimit -n raises the limit"),
        Error::NothingStored | Error::Supply { .. } => {
            Some("an archive that was there is unchanged")
        }
        Error::AlreadyIsptar => Some("a copy is made with cp"),
        Error::Foreign { .. } => {
            Some("isptar convert makes an archive of it, as far as it is whole")
        }
        Error::Unsupported { .. } => Some("a newer isptar can read it"),
        Error::NotAFile { .. } => Some("isptar extract restores members of any kind"),
        Error::NotIsptar(_) => {
            Some("isptar reads its own archives and tar, plain or packed by gzip, zstd, xz, bzip2")
        }
        Error::BadPattern { .. } => Some("patterns are those of gitignore; \\ takes one literally"),
        _ => None,
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Returns an error and its causes as one line, `a: b: c`.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_the_error() {
        let source = io::Error::other("the disk is gone");
        let error = Failure::Open { name: "a.tar.gz".into(), source };
        assert_eq!(chain(&error), "cannot open a.tar.gz: the disk is gone");
        let source = io::Error::other("gone");
        let error = Failure::Core(Error::Input { offset: 7, source });
        assert_eq!(chain(&error), "cannot read the archive at offset 7: gone");
    }

    #[test]
    fn a_reader_that_left_is_told_from_a_full_disk() {
        let broken = Failure::Stdout(io::ErrorKind::BrokenPipe.into());
        assert!(broken.is_broken_pipe());
        let source = io::Error::from(io::ErrorKind::BrokenPipe);
        let deliver = Error::Deliver { path: "a".into(), source };
        assert!(Failure::from(deliver).is_broken_pipe());
        let full = Failure::Stdout(io::ErrorKind::StorageFull.into());
        assert!(!full.is_broken_pipe());
        assert_eq!(full.exit(), Exit::Destination);
    }

    #[test]
    fn hints_say_what_to_do() {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        let full = Error::Output { op: "write", path: Some("a".into()), source };
        assert!(hint(&full).is_some_and(|hint| hint.contains("make room")));
        assert!(hint(&Error::NotFound("a".into())).is_some());
        assert!(hint(&Error::Cancelled).is_none());
    }
}
