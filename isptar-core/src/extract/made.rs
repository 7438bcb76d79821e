//! Making things under their own or temporary names, and knowing what a killed run left.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::target::{Identity, Outcome, changed, identity, kind_of};
use super::tell::Tell;
use crate::error::{Error, Result};
use crate::format::timestamp::Timestamp;
use crate::observe::Warning;
use crate::path::MemberPath;

/// The name of a file that is being restored: what all temporary names begin with, and 16 digits
/// that its own name gives. A run that was killed leaves it, and the next one recognises it.
pub(super) const TEMPORARY: &[u8] = b".isptar-";

/// Mode of a file whose content is being written, until it gets its own.
const UNFINISHED: Mode = Mode::WUSR;

/// What comes of looking for what a killed run left under a temporary name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    Removed,
    /// Another run works on it.
    InUse,
    /// It may be anybody's.
    Foreign,
}

/// What is looked at to tell what a killed run left of a file from anything else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wreck {
    pub(super) size: u64,
    pub(super) mtime: Option<Timestamp>,
    /// Whom the member belongs to, if this run may give files away.
    pub(super) owner: Option<u32>,
}

impl Wreck {
    /// A wreck has the mode of what is being written, or is complete up to its name: the size and
    /// the time are those of the member then, because times are set before the mode.
    fn is(&self, found: &Stat) -> bool {
        let user = rustix::process::geteuid().as_raw();
        let size = u64::try_from(found.st_size);
        let unfinished = Mode::from_raw_mode(found.st_mode) == UNFINISHED
            && size.is_ok_and(|size| size <= self.size);
        let finished = size == Ok(self.size) && self.mtime == Some(changed(found));
        kind_of(found) == FileType::RegularFile
            && found.st_nlink == 1
            && (found.st_uid == user || Some(found.st_uid) == self.owner)
            && (unfinished || finished)
    }
}

/// What may be replaced when something gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Anything,
    Nothing,
    /// Only what this run wrote there.
    Only(Identity),
}

/// What knows the thing that was made from what another process put in its place.
pub(super) trait Known {
    /// Returns whether a name still leads to it.
    fn is_at(&self, directory: BorrowedFd<'_>, name: &[u8]) -> bool;
}

impl Known for OwnedFd {
    fn is_at(&self, directory: BorrowedFd<'_>, name: &[u8]) -> bool {
        is_at(directory, name, self) == Ok(true)
    }
}

impl Known for Identity {
    fn is_at(&self, directory: BorrowedFd<'_>, name: &[u8]) -> bool {
        rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| identity(&stat) == *self)
    }
}

/// Something that was made in a directory, under its name or a temporary one.
pub(super) struct Made<'a, T> {
    directory: BorrowedFd<'a>,
    name: &'a [u8],
    temporary: Option<Vec<u8>>,
    pub(super) value: T,
}

impl<'a, T: Known> Made<'a, T> {
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

    /// Removes it, unless something else stands there by now.
    pub(super) fn remove(&self) {
        if self.value.is_at(self.directory, self.name()) {
            // What led here is told; a second error about the wreck would not help.
            let _gone = rustix::fs::unlinkat(self.directory, self.name(), AtFlags::empty());
        }
    }

    /// Gives it its name when all went well, else removes it. What stands at the name by now and
    /// may not be replaced stays.
    pub(super) fn publish(
        self,
        finished: Result<()>,
        over: Over,
        tell: &Tell<'_>,
    ) -> Result<Outcome> {
        let named = finished.and_then(|()| match &self.temporary {
            None => Ok(Outcome::Restored),
            Some(temporary) => match give_name(self.directory, temporary, self.name, over) {
                Ok(()) => Ok(Outcome::Restored),
                Err(Errno::EXIST) if over != Over::Anything => {
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
    /// What a killed run left there is removed, anything else left alone; both are told. `is_member`
    /// says whether this run restored a member under such a name.
    pub(super) fn locked(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        wreck: Wreck,
        tell: &mut Tell<'_>,
        is_member: impl Fn(&[u8]) -> bool,
    ) -> Result<Self> {
        let temporary = temporary_name_of(name);
        for _ in 0..2 {
            match create_file(directory, &temporary) {
                Ok(value) if is_ours(&value) => {
                    return Ok(Self { directory, name, temporary: Some(temporary), value });
                }
                Ok(_) => break,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Error::io("make", &tell.shown)(error)),
            }
            if is_member(&temporary) {
                break;
            }
            let found = MemberPath::new(temporary.clone());
            match remove_leftover(directory, &temporary, wreck) {
                Leftover::Removed => tell.mention(&Warning::Leftover(found)),
                Leftover::InUse => break,
                Leftover::Foreign => {
                    tell.mention(&Warning::Lookalike(found));
                    break;
                }
            }
        }
        Self::new(directory, name, false, tell, create_file)
    }
}

/// Renames within a directory; fails with `EXIST` when what has the name may not be replaced.
fn give_name(
    at: BorrowedFd<'_>,
    temporary: &[u8],
    name: &[u8],
    over: Over,
) -> rustix::io::Result<()> {
    match over {
        Over::Anything => rustix::fs::renameat(at, temporary, at, name),
        Over::Nothing => give_free_name(at, temporary, name),
        Over::Only(ours) => replace_only(at, temporary, name, ours),
    }
}

fn give_free_name(at: BorrowedFd<'_>, temporary: &[u8], name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(at, temporary, at, name, RenameFlags::NOREPLACE) {
        // Not every file system can: a link never replaces anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(at, temporary, at, name, AtFlags::empty())?;
            rustix::fs::unlinkat(at, temporary, AtFlags::empty())
        }
        renamed => renamed,
    }
}

/// Replaces what is `ours`: the two change their names, so that it can be looked at what it was,
/// and put back.
fn replace_only(
    at: BorrowedFd<'_>,
    temporary: &[u8],
    name: &[u8],
    ours: Identity,
) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(at, temporary, at, name, RenameFlags::EXCHANGE) {
        Ok(()) if ours.is_at(at, temporary) => {
            rustix::fs::unlinkat(at, temporary, AtFlags::empty())
        }
        Ok(()) => {
            rustix::fs::renameat_with(at, temporary, at, name, RenameFlags::EXCHANGE)?;
            Err(Errno::EXIST)
        }
        Err(Errno::NOENT) => give_free_name(at, temporary, name),
        // Not every file system can: a look before is the best there is.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if ours.is_at(at, name) => {
            rustix::fs::renameat(at, temporary, at, name)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}

/// Locks a temporary file that was just made; returns whether it still has its name, and no other
/// run took it for a leftover.
fn is_ours(file: &OwnedFd) -> bool {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => false,
        // Without locks nobody takes anything for a leftover.
        Err(_) => true,
        // A look that fails says nothing of another run.
        Ok(()) => rustix::fs::fstat(file).map_or(true, |stat| stat.st_nlink > 0),
    }
}

/// Removes what a killed run left, if that is what it is and no run works on it.
fn remove_leftover(directory: BorrowedFd<'_>, name: &[u8], wreck: Wreck) -> Leftover {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::openat(directory, name, flags | OFlags::WRONLY, Mode::empty())
        }
        opened => opened,
    };
    let Ok(file) = file else { return Leftover::Foreign };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Leftover::InUse,
        Err(_) => return Leftover::Foreign,
        Ok(()) => {}
    }
    if rustix::fs::fstat(&file).is_ok_and(|stat| wreck.is(&stat))
        && is_at(directory, name, &file) == Ok(true)
        && rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok()
    {
        return Leftover::Removed;
    }
    Leftover::Foreign
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
pub(super) fn temporary_name_of(name: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(name);
    temporary_of(digest.first_chunk().copied().map_or(0, u64::from_be_bytes))
}

fn temporary_of(number: u64) -> Vec<u8> {
    let mut name = TEMPORARY.to_vec();
    name.extend_from_slice(format!("{number:016x}").as_bytes());
    name
}

fn create_file(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, UNFINISHED)
}
