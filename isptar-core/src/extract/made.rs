//! Making things under their own or temporary names, and knowing what a killed run left.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::target::{Outcome, identity, kind_of};
use super::tell::Tell;
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::observe::Warning;
use crate::path::MemberPath;

/// The name of a file that is being restored: what all temporary names begin with, and 16 digits
/// that its own name gives. A run that was killed leaves it, and the next one recognises it.
pub(super) const TEMPORARY: &[u8] = b".isptar-";

/// Mode of a file whose content is being written, until it gets its own: what a run that was killed
/// left under a member's name is known by it.
const UNFINISHED: Mode = Mode::WUSR;

/// What comes of looking for what a killed run left under a temporary name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    Removed,
    /// Another run works on it, or it is no leftover.
    InUse,
}

/// Something that was made in a directory, under its name or a temporary one.
pub(super) struct Made<'a, T> {
    directory: BorrowedFd<'a>,
    name: &'a [u8],
    temporary: Option<Vec<u8>>,
    pub(super) value: T,
}

impl<'a, T> Made<'a, T> {
    pub(super) fn new(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        direct: bool,
        tell: &Tell<'_>,
        make: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<Self> {
        Self::try_new(directory, name, direct, make).map_err(Error::io("make", &tell.shown))
    }

    /// Makes it under its own name, when `direct` and the name is free, else under a temporary one.
    pub(super) fn try_new(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        direct: bool,
        mut make: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<Self> {
        if direct {
            match make(directory, name) {
                Err(Errno::EXIST) => {}
                made => return Ok(Self { directory, name, temporary: None, value: made? }),
            }
        }
        loop {
            let temporary = temporary_name();
            match make(directory, &temporary) {
                Err(Errno::EXIST) => {}
                made => {
                    let value = made?;
                    return Ok(Self { directory, name, temporary: Some(temporary), value });
                }
            }
        }
    }

    /// Returns the name that it has now.
    pub(super) fn name(&self) -> &[u8] {
        self.temporary.as_deref().unwrap_or(self.name)
    }

    pub(super) fn remove(&self) {
        // What led here is told; a second error about the wreck would not help.
        let _gone = rustix::fs::unlinkat(self.directory, self.name(), AtFlags::empty());
    }

    /// Gives it its name when all went well, else removes it. With `keep`, what stands at the name
    /// by now stays.
    pub(super) fn publish(
        self,
        finished: Result<()>,
        keep: bool,
        tell: &Tell<'_>,
    ) -> Result<Outcome> {
        let named = finished.and_then(|()| match &self.temporary {
            None => Ok(Outcome::Restored),
            Some(temporary) => match give_name(self.directory, temporary, self.name, keep) {
                Ok(()) => Ok(Outcome::Restored),
                Err(Errno::EXIST) if keep => {
                    self.remove();
                    Ok(Outcome::Kept)
                }
                Err(error) => Err(Error::io("replace", &tell.shown)(error)),
            },
        });
        if named.is_err() {
            self.remove();
        }
        named
    }
}

impl<'a> Made<'a, OwnedFd> {
    /// Makes a file under the temporary name that belongs to `name`, locked while it is written.
    /// What a killed run left there is removed, which is told. `is_member` says whether this run
    /// restored a member under such a name.
    pub(super) fn locked(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        tell: &mut Tell<'_>,
        is_member: impl Fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let temporary = temporary_name_of(name);
        for _ in 0..2 {
            match create_file(directory, &temporary) {
                Ok(value) if is_ours(directory, &temporary, &value) => {
                    return Ok(Self { directory, name, temporary: Some(temporary), value });
                }
                Ok(_) => break,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Error::io("make", &tell.shown)(error)),
            }
            if is_member(&temporary) || remove_leftover(directory, &temporary) == Leftover::InUse {
                break;
            }
            tell.mention(&Warning::Leftover(MemberPath::new(temporary.clone())));
        }
        Self::new(directory, name, false, tell, create_file)
    }
}

/// Renames within a directory; with `keep`, fails with `EXIST` when the name is taken.
fn give_name(
    at: BorrowedFd<'_>,
    temporary: &[u8],
    name: &[u8],
    keep: bool,
) -> rustix::io::Result<()> {
    if !keep {
        return rustix::fs::renameat(at, temporary, at, name);
    }
    match rustix::fs::renameat_with(at, temporary, at, name, RenameFlags::NOREPLACE) {
        // Not every file system can: a link never replaces anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(at, temporary, at, name, AtFlags::empty())?;
            rustix::fs::unlinkat(at, temporary, AtFlags::empty())
        }
        renamed => renamed,
    }
}

/// Locks a temporary file that was just made; returns whether the name still leads to it, and no
/// other run took it for a leftover.
fn is_ours(directory: BorrowedFd<'_>, name: &[u8], file: &OwnedFd) -> bool {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => false,
        // Without locks nobody takes anything for a leftover.
        Err(_) => true,
        // A look that fails says nothing of another run.
        Ok(()) => is_at(directory, name, file).unwrap_or(true),
    }
}

/// Removes a regular file that no run works on.
fn remove_leftover(directory: BorrowedFd<'_>, name: &[u8]) -> Leftover {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::openat(directory, name, flags | OFlags::WRONLY, Mode::empty())
        }
        opened => opened,
    };
    let Ok(file) = file else { return Leftover::InUse };
    let regular =
        rustix::fs::fstat(&file).is_ok_and(|stat| kind_of(&stat) == FileType::RegularFile);
    let idle = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if regular
        && idle
        && is_at(directory, name, &file) == Ok(true)
        && rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok()
    {
        return Leftover::Removed;
    }
    Leftover::InUse
}

/// Returns whether a name leads to an open file.
fn is_at(directory: BorrowedFd<'_>, name: &[u8], file: &OwnedFd) -> rustix::io::Result<bool> {
    let opened = rustix::fs::fstat(file)?;
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        named => Ok(identity(&opened) == identity(&named?)),
    }
}

/// Returns a name that nothing is likely to have.
fn temporary_name() -> Vec<u8> {
    // Each state has keys of its own, which the system's randomness began.
    temporary_of(RandomState::new().hash_one(0u8))
}

/// Returns the temporary name that belongs to a name, the same in every run.
fn temporary_name_of(name: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(name);
    temporary_of(digest.first_chunk().copied().map_or(0, u64::from_be_bytes))
}

fn temporary_of(number: u64) -> Vec<u8> {
    let mut name = TEMPORARY.to_vec();
    name.extend_from_slice(format!("{number:016x}").as_bytes());
    name
}

pub(super) fn create_file(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, UNFINISHED)
}

/// Returns whether what stands there is what a run left that was killed while it wrote the member.
pub(super) fn is_unfinished(existing: &Stat, entry: &Entry) -> bool {
    let user = rustix::process::geteuid();
    kind_of(existing) == FileType::RegularFile
        && Mode::from_raw_mode(existing.st_mode) == UNFINISHED
        && entry.mode & 0o7777 != UNFINISHED.as_raw_mode()
        && existing.st_nlink == 1
        && (user.is_root() || existing.st_uid == user.as_raw())
        && u64::try_from(existing.st_size).is_ok_and(|size| size <= entry.kind.size())
}
