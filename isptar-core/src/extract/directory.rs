//! The directories of the target, walked by handles: no path string, no symbolic link followed.

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::notes::shown;
use super::place::Directory;
use crate::error::{Error, Result};
use crate::path::{MemberPath, SafePath, printable};

/// Handles that are kept open, the target's own apart: `ulimit -n 32` must do, and files are open
/// besides, and directories that jobs under way are in.
const OPEN_AT_MOST: usize = 8;

/// How directories are opened: a symbolic link gives ENOTDIR.
const OPEN: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The attributes that hold ACLs.
pub(super) const ACL_ACCESS: &str = "system.posix_acl_access";
pub(super) const ACL_DEFAULT: &str = "system.posix_acl_default";

/// Whether directories that are missing on the way are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// With plain modes: 0755 less the umask.
    Make,
    /// That is an error.
    Fail,
}

/// The target directory, and the chain of directories below it where the last member was.
///
/// Only the deepest handles of the chain are kept; the others are opened again from the deepest
/// one that is left, so memory and handles do not grow with the depth.
#[derive(Debug)]
pub(super) struct Directories {
    root: Arc<Directory>,
    path: Arc<Path>,
    chain: Vec<Level>,
    open: usize,
    /// The name of the directory that was made last.
    made: Option<Vec<u8>>,
    /// Counts the directories that are open, wherever.
    count: Arc<()>,
}

#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    /// See [`Directory::fresh`].
    fresh: bool,
    handle: Option<Arc<Directory>>,
}

impl Directories {
    /// Makes the target directory if it is missing, and opens it.
    pub(super) fn open(target: &Path) -> Result<Self> {
        fs::create_dir_all(target).map_err(Error::io("create", target))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open_any(CWD, target, flags).map_err(Error::io("open", target))?;
        let count = Arc::new(());
        let root = Arc::new(Directory::new(root, false, &count));
        let (path, chain) = (Arc::from(target), Vec::new());
        Ok(Self { root, path, chain, open: 0, made: None, count })
    }

    /// Returns the path of the target, for messages alone.
    pub(super) fn root(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// Notes that this run made the directory `path`.
    pub(super) fn note_made(&mut self, path: &SafePath) {
        let made = self.made.get_or_insert_default();
        made.clear();
        made.extend_from_slice(path.as_bytes());
    }

    /// Goes to the directory that `path` is in, and returns the name it has there; `None` for the
    /// target itself.
    pub(super) fn enter_parent<'p>(
        &mut self,
        path: &'p SafePath,
        missing: Missing,
        member: &MemberPath,
    ) -> Result<Option<&'p [u8]>> {
        let count = path.components().count();
        self.walk(path, count.saturating_sub(1), missing, member)?;
        Ok(path.components().next_back())
    }

    /// Goes to the directory `path`.
    pub(super) fn enter(&mut self, path: &SafePath, member: &MemberPath) -> Result<()> {
        self.walk(path, usize::MAX, Missing::Fail, member)
    }

    /// Returns the directory that was gone to.
    pub(super) fn current(&self) -> &Arc<Directory> {
        // `walk` leaves the last level open.
        self.chain.last().and_then(|level| level.handle.as_ref()).unwrap_or(&self.root)
    }

    /// Returns how many directories are open, also by those who got them from here.
    pub(super) fn open_everywhere(&self) -> usize {
        Arc::strong_count(&self.count) - 1
    }

    /// Returns how many handles are open besides the target's own.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        let open = self.chain.iter().filter(|level| level.handle.is_some()).count();
        assert_eq!(open, self.open);
        open
    }

    /// Goes to the directory of the first `count` components.
    fn walk(
        &mut self,
        path: &SafePath,
        count: usize,
        missing: Missing,
        member: &MemberPath,
    ) -> Result<()> {
        let parts = || path.components().take(count);
        let common =
            self.chain.iter().zip(parts()).take_while(|(level, part)| level.name == *part).count();
        self.truncate(common);
        let opened = self.chain.iter().rposition(|level| level.handle.is_some());
        let start = opened.map_or(0, |position| position + 1);
        for (depth, part) in parts().enumerate().skip(start) {
            // Levels whose handles were given up are opened anew, and must still be directories.
            let parent = match depth.checked_sub(1) {
                Some(above) => self.chain.get(above).and_then(|level| level.handle.as_ref()),
                None => None,
            };
            let parent = parent.unwrap_or(&self.root).handle();
            match open_or_make(parent, part, missing) {
                Ok((handle, made)) => {
                    let made = made || self.is_made_last(parts().take(depth + 1));
                    self.put(depth, part, handle, made);
                }
                Err(error) => {
                    let error = self.refusal(error, parts().take(depth + 1), depth, member);
                    self.truncate(depth);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn is_made_last<'p>(&self, parts: impl Iterator<Item = &'p [u8]>) -> bool {
        self.made.as_ref().is_some_and(|made| made.split(|byte| *byte == b'/').eq(parts))
    }

    fn put(&mut self, depth: usize, part: &[u8], handle: OwnedFd, made: bool) {
        match self.chain.get_mut(depth) {
            Some(level) => {
                let directory = Directory::new(handle, level.fresh, &self.count);
                level.handle = Some(Arc::new(directory));
            }
            None => {
                let handle = Some(Arc::new(Directory::new(handle, made, &self.count)));
                self.chain.push(Level { name: part.to_vec(), fresh: made, handle });
            }
        }
        self.open += 1;
        if self.open > OPEN_AT_MOST
            && let Some(level) = self.chain.iter_mut().find(|level| level.handle.is_some())
        {
            level.handle = None;
            self.open -= 1;
        }
    }

    fn truncate(&mut self, depth: usize) {
        for level in self.chain.drain(depth.min(self.chain.len())..) {
            self.open -= usize::from(level.handle.is_some());
        }
    }

    /// Tells what stands in the way, when it is that.
    fn refusal<'p>(
        &self,
        error: Errno,
        parts: impl Iterator<Item = &'p [u8]>,
        depth: usize,
        member: &MemberPath,
    ) -> Error {
        let parts: Vec<&[u8]> = parts.collect();
        let at = parts.join(&b'/');
        match error {
            Errno::NOTDIR | Errno::LOOP => {
                let kind = self.kind_at(depth, parts.last().copied().unwrap_or_default());
                in_the_way(member, kind, &at)
            }
            error => Error::io("open the directory", shown(&self.path, &at))(error),
        }
    }

    /// Returns what stands at `name` below the level `depth`, as far as it can be told.
    fn kind_at(&self, depth: usize, name: &[u8]) -> FileType {
        let parent = match depth.checked_sub(1) {
            Some(above) => self.chain.get(above).and_then(|level| level.handle.as_ref()),
            None => Some(&self.root),
        };
        let stat = parent.and_then(|parent| {
            rustix::fs::statat(parent.handle(), name, AtFlags::SYMLINK_NOFOLLOW).ok()
        });
        stat.map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
    }
}

/// Says that something stands in the way of a member.
pub(super) fn in_the_way(member: &MemberPath, kind: FileType, at: &[u8]) -> Error {
    let kind = match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        _ => "something that is not a directory",
    };
    let at = if at.is_empty() { "the target itself".into() } else { printable(at) };
    Error::InTheWay { path: member.clone(), reason: format!("{kind} is in the way at {at}") }
}

/// Opens a directory, or makes it; returns whether it was made.
fn open_or_make(
    parent: BorrowedFd<'_>,
    name: &[u8],
    missing: Missing,
) -> rustix::io::Result<(OwnedFd, bool)> {
    match open_any(parent, name, OPEN) {
        Err(Errno::NOENT) if missing == Missing::Make => {}
        other => return other.map(|handle| (handle, false)),
    }
    let made = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    open_any(parent, name, OPEN).map(|handle| (handle, made))
}

/// Opens a directory; one that may not be read, but may be searched, as a mere place.
fn open_any(
    parent: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(parent, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => rustix::fs::openat(parent, name, flags | OFlags::PATH, Mode::empty()),
        opened => opened,
    }
}
