//! What jobs tell their caller while they run.

use std::ops::Range;

use crate::base::Why;
use crate::diff::Difference;
use crate::error::{Error, FormatError};
use crate::format::entry::Entry;
use crate::path::MemberPath;

/// Is told what a job does, and asked whether it shall go on.
///
/// Every method has an empty default, so `()` is an observer that ignores everything.
pub trait Observer {
    /// Takes one event.
    fn event(&mut self, event: Event<'_>) {
        let _ = event;
    }

    /// Returns whether the job shall stop. It is asked often, and answered with
    /// [`Error::Cancelled`] as the job's result.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Something that happened in a job.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The job knows how much it has to do.
    Planned {
        /// Members to work on.
        members: u64,
        /// Bytes of their contents.
        bytes: u64,
    },
    /// Bytes of content were worked on; they add up to the sizes of the members done.
    Progress {
        /// How many, since the last time.
        bytes: u64,
    },
    /// A member was stored or restored.
    Done {
        /// Its entry.
        entry: &'a Entry,
    },
    /// Why a member is stored although there is a base; [`Self::Done`] follows once it is.
    Why {
        /// Its name.
        path: &'a MemberPath,
        /// Why.
        why: Why,
    },
    /// The base has something that is not there any more.
    Deleted {
        /// Its name.
        path: &'a MemberPath,
    },
    /// Something was left out by intent.
    LeftOut {
        /// Its name.
        path: &'a MemberPath,
        /// Why.
        reason: LeftOut,
    },
    /// A member of the old archive is not in the new one: what was stored took its place.
    Replaced {
        /// Its name.
        path: &'a MemberPath,
    },
    /// Something was deleted from the target, or would be.
    Removed {
        /// Its name there.
        path: &'a MemberPath,
    },
    /// A member could not be stored or restored; the job goes on.
    Failed {
        /// Its name.
        path: &'a MemberPath,
        /// Why.
        error: &'a Error,
    },
    /// Bytes that belong to no member that is known are damaged or unexpected; the job goes on
    /// behind them.
    Damaged {
        /// Which bytes: of the archive, or of the decompressed tar when it is read from front to
        /// back.
        range: Range<u64>,
        /// What is wrong with them.
        error: &'a Error,
    },
    /// A name is not the same on both sides of a comparison.
    Differs {
        /// What differs.
        difference: &'a Difference,
    },
    /// A member was stored or restored, but not quite as it should be.
    Warning {
        /// Its name.
        path: &'a MemberPath,
        /// What is not as it should be.
        warning: &'a Warning,
    },
}

/// Why something was left out by intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeftOut {
    /// A pattern excludes it.
    #[error("excluded")]
    Excluded,
    /// The contents of a directory with a CACHEDIR.TAG.
    #[error("contents of a cache directory")]
    CacheDirectory,
    /// The contents of a directory with a file that says so.
    #[error("contents of a directory marked by its owner")]
    Marked,
    /// A directory on another file system.
    #[error("on another file system")]
    OtherFileSystem,
    /// The archive that is being written, or the one that it replaces.
    #[error("the archive itself")]
    Archive,
    /// The listing of an archive that was restored here.
    #[error("the listing of a restored archive")]
    RestoredListing,
    /// A socket: no archive can hold one.
    #[error("a socket")]
    Socket,
    /// The target has it already, and the options say to keep it.
    #[error("exists already")]
    Exists,
    /// Known, but not in the archive: it could not be stored.
    #[error("it could not be read when the archive was made")]
    NotStored,
    /// It is not in the archive, which has its directory only in part.
    #[error("not archived, like other things in its directory")]
    Partial,
    /// The contents of a directory that were left out of the archive by intent.
    #[error("its contents were not archived")]
    Contents,
    /// It is not in the archive, whose maker could not read its directory.
    #[error("its directory could not be read when it was archived")]
    Unknown,
    /// Fewer path components than are to be stripped.
    #[error("nothing is left of its name")]
    Stripped,
}

/// Why a member is not quite as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The file changed while it was read.
    #[error("changed while it was read")]
    Changed,
    /// The file was gone when it was to be read.
    #[error("vanished before it was read")]
    Vanished,
    /// Extended attributes that there is no room for.
    #[error("its extended attributes were left out: {0}")]
    XattrsLeftOut(FormatError),
    /// Extended attributes, ACLs or a label, which classic archives have no place for.
    #[error("its extended attributes were left out: classic archives have none")]
    NoXattrs,
    /// Something of the source could not be read.
    #[error("cannot {op}: {source}")]
    Unread {
        /// What was tried, such as "read the extended attributes".
        op: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something of the restored member could not be set.
    #[error("cannot {op}: {source}")]
    Unset {
        /// What was tried, such as "set the owner".
        op: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A hard link was restored as a file of its own.
    #[error("restored as a file of its own: {0}")]
    LinkCopied(String),
    /// A value in a header was not taken.
    #[error("{0}")]
    Header(FormatError),
    /// A part of the name was dropped.
    #[error("restored as {0}")]
    Renamed(MemberPath),
    /// Nothing was found at and below the name of a hook.
    #[error("there is nothing of that name, so its hook was not called")]
    HookNotCalled,
    /// The name began with a slash; told of the first such member alone.
    #[error("the leading slash is left out of this name and of all others that have one")]
    LeadingSlash,
    /// A member of the same name came before.
    #[error("stands twice in the archive, the last one counts")]
    Duplicate,
    /// A temporary file of an earlier run that was killed stood beside it.
    #[error("{0}, left beside it by an earlier run that was killed, was removed")]
    Leftover(MemberPath),
    /// What stands beside it has the name of a temporary file, but may be anybody's.
    #[error("{0} stands beside it and is nothing that a run left: it stays")]
    Lookalike(MemberPath),
    /// When the archive was made it could not be read: of a file, what the base has is restored;
    /// of a directory, the contents that were known.
    #[error(
        "it could not be read when the archive was made: what is restored of it is older, or missing"
    )]
    Older,
    /// The file system has no such metadata.
    #[error("{0} cannot be kept on this file system")]
    NotKept(&'static str),
}
