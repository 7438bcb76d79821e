//! What the walk comes to, and what it has to tell.

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
    /// Returns how many handles it keeps that the step before it does not, or more.
    pub(crate) fn handles(&self, before: Option<&Self>) -> usize {
        let Self::Found(found) = self else { return 0 };
        let is_beside = matches!(before, Some(Self::Found(last)) if found.is_beside(last));
        usize::from(found.itself.is_some()) + usize::from(!is_beside)
    }
}
