//! What the walk comes to, and what it has to tell.

use rustix::fs::FileType;

use crate::error::Error;
use crate::observe::{Event, LeftOut, Observer, Warning};
use crate::path::MemberPath;
use crate::source::found::Found;

/// Something that the walk has to tell.
#[derive(Debug)]
pub(crate) enum Note {
    LeftOut { path: MemberPath, reason: LeftOut },
    Vanished { path: MemberPath },
    Failed { path: MemberPath, error: Error },
}

/// How many things the walk did not find.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) left_out: u64,
    pub(crate) failed: u64,
    pub(crate) vanished: u64,
}

impl Note {
    pub(crate) fn tell(&self, observer: &mut dyn Observer) {
        observer.event(match self {
            Self::LeftOut { path, reason } => Event::LeftOut { path, reason: *reason },
            Self::Vanished { path } => Event::Warning { path, warning: &Warning::Vanished },
            Self::Failed { path, error } => Event::Failed { path, error },
        });
    }
}

/// What the walk came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A thing.
    Found(Found),
    /// Something that cannot be looked at, which was told. There may be more within it: of a
    /// directory, what comes after what was found last.
    Missed(MemberPath),
    /// Nothing that is to be archived.
    Nothing,
    /// The end.
    End,
}

impl Step {
    /// Returns whether it found a directory.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self, Self::Found(found) if found.file_type() == FileType::Directory)
    }
}
