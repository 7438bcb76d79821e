//! Deleting from the target what the archive does not list.
//!
//! The listing in its order and the names in each directory of the target are merged, one
//! directory's names at a time. Everything goes by handles of directories, so no link is followed.

use std::collections::VecDeque;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, StatxFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, statat,
    statx, unlinkat,
};

use super::directory::{Directories, Missing};
use super::notes::shown;
use super::tell::Tell;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::limits::Limits;
use crate::observe::LeftOut;
use crate::path::{MemberPath, SafePath};

/// What is deleted in a pass over the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delete {
    /// Before anything is restored: directories where something else is listed, and what is no
    /// directory where one is.
    InTheWay,
    /// When all is restored: what is not listed.
    Unlisted,
}

/// Goes over the listing and deletes.
pub(super) struct Deleter<'d, 't> {
    what: Delete,
    directories: Directories,
    tell: &'d mut Tell<'t>,
    limits: Limits,
    dry_run: bool,
    /// Files that stay, by device and inode number.
    own_files: &'d [(u64, u64)],
    /// The file system of the target.
    file_system: FileSystem,
    /// The listed directories that the last entry is in.
    levels: Vec<Level>,
    /// The last thing that is lost: nothing at or below it is touched.
    lost: Option<SafePath>,
}

/// A listed directory that the target has.
struct Level {
    path: SafePath,
    /// Its names that were not met, in order.
    names: VecDeque<Name>,
    /// Only what the archive lists is its business.
    is_partial: bool,
}

/// A name in a directory.
#[derive(Debug, Clone)]
struct Name {
    name: Vec<u8>,
    kind: FileType,
}

/// Where a directory is mounted: two file systems differ in the first, two mounts of one in the
/// second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileSystem {
    device: u64,
    mount: Option<u64>,
}

/// A directory that is being deleted.
struct Doomed {
    path: SafePath,
    names: VecDeque<Name>,
    /// Something in it stays.
    is_kept: bool,
}

impl<'d, 't> Deleter<'d, 't> {
    pub(super) fn new(
        what: Delete,
        target: &Path,
        (limits, dry_run): (Limits, bool),
        own_files: &'d [(u64, u64)],
        tell: &'d mut Tell<'t>,
    ) -> Result<Self> {
        let directories = Directories::open(target)?;
        let file_system = file_system(&directories).map_err(Error::io("look at", target))?;
        let (levels, lost) = (Vec::new(), None);
        Ok(Self { what, directories, tell, limits, dry_run, own_files, file_system, levels, lost })
    }

    /// Takes the next entry of a sorted listing.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.tell.go_on()?;
        let path = SafePath::new(&entry.path, &self.limits)?;
        if self.lost.as_ref().is_some_and(|lost| within(&path, lost)) {
            return Ok(());
        }
        self.leave(Some(&path))?;
        let met = match self.is_at_hand(&path) {
            false if self.what == Delete::InTheWay => self.look(&path, entry),
            _ => self.meet(&path)?,
        };
        // What was in a lost directory is not known, and a lost file may be the only copy.
        if entry.lost.is_some() {
            self.lost = Some(path);
            return Ok(());
        }
        let is_directory = entry.kind == Kind::Directory;
        if self.what == Delete::InTheWay
            && let Some(kind) = met
            && (kind == FileType::Directory) != is_directory
        {
            self.delete(path, kind)?;
            return Ok(());
        }
        if is_directory && met.is_none_or(|kind| kind == FileType::Directory) {
            self.enter(path, entry)?;
        }
        Ok(())
    }

    /// Ends the pass.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.leave(None)
    }

    /// Leaves the directories that `next` is not in: what they have more is not listed.
    fn leave(&mut self, next: Option<&SafePath>) -> Result<()> {
        while self
            .levels
            .last()
            .is_some_and(|level| !next.is_some_and(|path| within(path, &level.path)))
        {
            let Some(mut level) = self.levels.pop() else { break };
            let names = std::mem::take(&mut level.names);
            self.unlisted(&level, names)?;
        }
        Ok(())
    }

    /// Meets the name on the way to `path` in the directory at hand; returns what the target has
    /// there, when that is `path` itself.
    fn meet(&mut self, path: &SafePath) -> Result<Option<FileType>> {
        let Some(mut level) = self.levels.pop() else { return Ok(None) };
        let depth = level.path.components().count();
        let name = path.components().nth(depth).unwrap_or_default();
        let before = level.names.partition_point(|found| found.name.as_slice() < name);
        let rest = level.names.split_off(before);
        let unlisted = std::mem::replace(&mut level.names, rest);
        let is_met = level.names.front().is_some_and(|found| found.name == name);
        let found = if is_met { level.names.pop_front() } else { None };
        let done = self.unlisted(&level, unlisted);
        self.levels.push(level);
        done?;
        Ok(found.filter(|_| path.components().count() == depth + 1).map(|found| found.kind))
    }

    /// Returns whether the directory that a name is in is listed, and entered.
    fn is_at_hand(&self, path: &SafePath) -> bool {
        let above = self.levels.last().map(|level| level.path.components().count());
        above.is_some_and(|above| path.components().count() == above + 1)
    }

    /// Returns what the target has under a name whose directory is not listed.
    fn look(&mut self, path: &SafePath, entry: &Entry) -> Option<FileType> {
        let entered = self.directories.enter_parent(path, Missing::Fail, &entry.path);
        // Nothing is there, or no name: the restore tells what else is wrong.
        let name = entered.ok().flatten().filter(|_| !self.is_foreign())?;
        let directory = self.directories.current().handle();
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// Goes into a listed directory, if the target has it on its own file system.
    fn enter(&mut self, path: SafePath, entry: &Entry) -> Result<()> {
        if self.directories.enter(&path, &entry.path).is_err() {
            // It is not there, or something else is: the restore tells that.
            return Ok(());
        }
        if self.is_foreign() {
            if self.what == Delete::Unlisted {
                self.tell.left_out(&entry.path, LeftOut::OtherFileSystem);
            }
            return Ok(());
        }
        match names(&self.directories) {
            Ok(names) => self.levels.push(Level { path, names, is_partial: entry.partial }),
            Err(error) => self.failed("read", &path, error),
        }
        Ok(())
    }

    /// Deletes what a directory has and the archive does not.
    fn unlisted(&mut self, level: &Level, names: VecDeque<Name>) -> Result<()> {
        if self.what != Delete::Unlisted || level.is_partial || names.is_empty() {
            return Ok(());
        }
        self.directories.enter(&level.path, &level.path.to_member_path())?;
        let before = fstat(self.directories.current().handle()).ok();
        for Name { name, kind } in names {
            match self.join(&level.path, &name) {
                Ok(path) => {
                    self.delete(path, kind)?;
                }
                Err(error) => self.tell.failed(&level.path.to_member_path(), &error),
            }
        }
        // Its time is the member's, which deleting has changed.
        if let Some(stat) = before.filter(|_| !self.dry_run)
            && self.directories.enter(&level.path, &level.path.to_member_path()).is_ok()
        {
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let (tv_sec, tv_nsec) = (stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0));
            let times =
                Timestamps { last_access: omit, last_modification: Timespec { tv_sec, tv_nsec } };
            // A time that cannot be set is no reason to fail what is done.
            let _ = futimens(self.directories.current().handle(), &times);
        }
        Ok(())
    }

    /// Deletes a thing with all that is in it, as far as that is on the same file system; returns
    /// whether it is gone.
    fn delete(&mut self, path: SafePath, kind: FileType) -> Result<bool> {
        if kind != FileType::Directory {
            return Ok(self.remove(&path, AtFlags::empty()));
        }
        let mut stack: Vec<Doomed> = self.open(path).into_iter().collect();
        let mut gone = false;
        while let Some(doomed) = stack.last_mut() {
            self.tell.go_on()?;
            let Some(Name { name, kind }) = doomed.names.pop_front() else {
                let is_kept = doomed.is_kept;
                let path = stack.pop().map(|doomed| doomed.path);
                gone = !is_kept && path.is_some_and(|path| self.remove(&path, AtFlags::REMOVEDIR));
                if let Some(above) = stack.last_mut().filter(|_| !gone) {
                    above.is_kept = true;
                }
                continue;
            };
            let path = match self.join(&doomed.path, &name) {
                Ok(path) => path,
                Err(error) => {
                    doomed.is_kept = true;
                    self.tell.failed(&doomed.path.to_member_path(), &error);
                    continue;
                }
            };
            if kind != FileType::Directory {
                let gone = self.remove(&path, AtFlags::empty());
                doomed.is_kept |= !gone;
            } else if let Some(inner) = self.open(path) {
                stack.push(inner);
            } else {
                doomed.is_kept = true;
            }
        }
        Ok(gone)
    }

    /// Opens a directory to delete it; `None` when it stays, which is told.
    fn open(&mut self, path: SafePath) -> Option<Doomed> {
        let member = path.to_member_path();
        if let Err(error) = self.directories.enter(&path, &member) {
            self.tell.failed(&member, &error);
            return None;
        }
        if self.is_foreign() {
            self.tell.left_out(&member, LeftOut::OtherFileSystem);
            return None;
        }
        match names(&self.directories) {
            Ok(names) => Some(Doomed { path, names, is_kept: false }),
            Err(error) => {
                self.failed("read", &path, error);
                None
            }
        }
    }

    /// Removes one name; returns whether that was done, or would be.
    fn remove(&mut self, path: &SafePath, flags: AtFlags) -> bool {
        let member = path.to_member_path();
        let parts: Vec<&[u8]> = path.components().collect();
        let Some((name, above)) = parts.split_last() else { return false };
        let entered =
            self.join_all(above).and_then(|above| self.directories.enter(&above, &member));
        if let Err(error) = entered {
            self.tell.failed(&member, &error);
            return false;
        }
        let directory = self.directories.current().handle();
        if self.is_own(name) {
            self.tell.left_out(&member, LeftOut::Archive);
            return false;
        }
        if !self.dry_run
            && let Err(error) = unlinkat(directory, *name, flags)
        {
            self.failed("delete", path, error);
            return false;
        }
        self.tell.deleted(&member);
        true
    }

    /// Returns whether a file must stay.
    fn is_own(&self, name: &[u8]) -> bool {
        let found = || statat(self.directories.current().handle(), name, AtFlags::SYMLINK_NOFOLLOW);
        !self.own_files.is_empty()
            && found().is_ok_and(|stat| self.own_files.contains(&(stat.st_dev, stat.st_ino)))
    }

    /// Returns whether the directory at hand is on another file system than the target.
    fn is_foreign(&self) -> bool {
        file_system(&self.directories).is_ok_and(|found| found != self.file_system)
    }

    fn failed(&mut self, op: &'static str, path: &SafePath, error: rustix::io::Errno) {
        let file = shown(&self.directories.root(), path.as_bytes());
        self.tell.failed(&path.to_member_path(), &Error::io(op, file)(error));
    }

    fn join(&self, parent: &SafePath, name: &[u8]) -> Result<SafePath> {
        self.join_all(&[parent.as_bytes(), name])
    }

    fn join_all(&self, parts: &[&[u8]]) -> Result<SafePath> {
        let path = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
        SafePath::new(&MemberPath::new(path), &self.limits)
    }
}

/// Returns whether `path` is below `above`.
fn within(path: &SafePath, above: &SafePath) -> bool {
    let count = above.components().count();
    path.components().count() > count && path.components().take(count).eq(above.components())
}

/// Returns the names in the directory at hand, in order.
fn names(directories: &Directories) -> rustix::io::Result<VecDeque<Name>> {
    let directory = directories.current().handle();
    let mut names = Vec::new();
    for found in Dir::read_from(directory)? {
        let found = found?;
        let name = found.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match found.file_type() {
            FileType::Unknown => statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| FileType::from_raw_mode(stat.st_mode))?,
            kind => kind,
        };
        names.push(Name { name: name.to_vec(), kind });
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names.into())
}

/// Returns where the directory at hand is mounted.
fn file_system(directories: &Directories) -> rustix::io::Result<FileSystem> {
    let directory = directories.current().handle();
    let device = fstat(directory)?.st_dev;
    // Older systems know no mounts.
    let found = statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok();
    let known = found.filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0);
    Ok(FileSystem { device, mount: known.map(|found| found.stx_mnt_id) })
}
