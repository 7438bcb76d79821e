//! What is to be told of a member, kept until its turn comes.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::observe::Warning;
use crate::path::{MemberPath, SafePath};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The member at hand: its entry, and where it is restored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// The target, for messages alone.
    pub(super) root: &'a Path,
    pub(super) path: &'a SafePath,
    pub(super) entry: &'a Entry,
}

impl Site<'_> {
    /// Returns what errors call the member.
    pub(super) fn member(&self) -> &MemberPath {
        &self.entry.path
    }

    /// Returns where it is restored, for messages.
    pub(super) fn shown(&self) -> PathBuf {
        shown(self.root, self.path.as_bytes())
    }

    /// Says what the system refused.
    pub(super) fn refused(&self, op: &'static str) -> impl FnOnce(Errno) -> Error {
        move |error| Error::Io { op, path: self.shown(), source: error.into() }
    }
}

/// Returns where something below the target is, for messages alone.
pub(super) fn shown(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_path_buf() } else { root.join(OsStr::from_bytes(path)) }
}

/// What is to be told of one member.
#[derive(Debug)]
pub(super) enum Note {
    /// It is not quite as it should be.
    Warning(Warning),
    /// Something that does it no harm, and is not counted.
    Mention(Warning),
    /// The file system has no such metadata: told once.
    NotKept(&'static str),
}

/// What is to be told of one member, in order.
#[derive(Debug, Default)]
pub(super) struct Notes(pub(super) Vec<Note>);

impl Notes {
    pub(super) fn warn(&mut self, warning: Warning) {
        self.0.push(Note::Warning(warning));
    }

    pub(super) fn mention(&mut self, warning: Warning) {
        self.0.push(Note::Mention(warning));
    }

    pub(super) fn not_kept(&mut self, kind: &'static str) {
        self.0.push(Note::NotKept(kind));
    }
}

/// Is asked while content is written, and told how far that is.
pub(super) trait Watch {
    /// Asks whether the job shall stop.
    fn go_on(&self) -> Result<()>;

    /// Takes how many bytes more were written.
    fn progress(&mut self, bytes: u64);
}
