//! Making things under their own or temporary names, and knowing what a killed run left.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, SeekFrom, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::hand::{Identity, Outcome, changed, identity, kind_of};
use super::notes::{Notes, Site};
use crate::error::Result;
use crate::format::timestamp::Timestamp;
use crate::observe::Warning;
use crate::path::MemberPath;

/// The name of a file that is being restored: what all temporary names begin with, and 16 digits
/// that its own name gives. A run that was killed leaves it, and the next one recognises it.
pub(super) const TEMPORARY: &[u8] = b".isptar-";

/// Mode of a file whose content is being written, until it gets its own.
pub(super) const UNFINISHED: Mode = Mode::WUSR;

/// How many temporary names belong to a name: what a run leaves takes one.
const NAMES: u64 = 8;

/// What stands under a temporary name.
#[derive(Debug)]
enum Found {
    /// It may be what a killed run left: open for reading, and locked.
    Wreck(OwnedFd),
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
    /// The user who runs this.
    pub(super) user: u32,
    /// Whom the member belongs to, if this run may give files away.
    pub(super) owner: Option<u32>,
}

impl Wreck {
    /// A wreck has the mode of what is being written, or is complete up to its name: the size and
    /// the time are those of the member then, because times are set before the mode.
    fn is(&self, found: &Stat) -> bool {
        let size = u64::try_from(found.st_size);
        let unfinished = Mode::from_raw_mode(found.st_mode) == UNFINISHED
            && size.is_ok_and(|size| size <= self.size);
        let finished = size == Ok(self.size) && self.mtime == Some(changed(found));
        kind_of(found) == FileType::RegularFile
            && found.st_nlink == 1
            && (found.st_uid == self.user || Some(found.st_uid) == self.owner)
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

impl Known for Arc<OwnedFd> {
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
    /// What killed runs may have left of it, and its names.
    wrecks: Vec<(Vec<u8>, OwnedFd)>,
    pub(super) value: T,
}

impl<'a, T: Known> Made<'a, T> {
    pub(super) fn new(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        direct: bool,
        site: Site<'_>,
        make: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<Self> {
        Self::try_new(directory, name, direct, make).map_err(site.refused("make"))
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
                made => return Ok(Self::named(directory, name, None, made?)),
            }
        }
        loop {
            let temporary = temporary_name();
            match make(directory, &temporary) {
                Err(Errno::EXIST) => {}
                made => {
                    return Ok(Self::named(directory, name, Some(temporary), made?));
                }
            }
        }
    }

    fn named(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        temporary: Option<Vec<u8>>,
        value: T,
    ) -> Self {
        Self { directory, name, temporary, wrecks: Vec::new(), value }
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
        site: Site<'_>,
    ) -> Result<Outcome> {
        let named = finished.and_then(|()| match &self.temporary {
            None => Ok(Outcome::Restored),
            Some(temporary) => match give_name(self.directory, temporary, self.name, over) {
                Ok(()) => Ok(Outcome::Restored),
                Err(Errno::EXIST) if over != Over::Anything => {
                    self.remove();
                    Ok(Outcome::Kept)
                }
                Err(error) => Err(site.refused("replace")(error)),
            },
        });
        if named.is_err() {
            self.remove();
        }
        named
    }
}

impl<'a> Made<'a, Arc<OwnedFd>> {
    /// Makes a file under a temporary name that belongs to `name`, locked while it is written. What a
    /// killed run may have left there is looked at again by [`Self::finish`], anything else told and
    /// left alone. `is_member` says whether this run restores a member under such a name.
    pub(super) fn locked(
        directory: BorrowedFd<'a>,
        name: &'a [u8],
        wreck: Wreck,
        site: Site<'_>,
        is_member: impl Fn(&[u8]) -> bool,
        notes: &mut Notes,
    ) -> Result<Self> {
        let mut wrecks = Vec::new();
        for number in 0..NAMES {
            let temporary = temporary_name_of(name, number);
            if is_member(&temporary) {
                continue;
            }
            match create_file(directory, &temporary) {
                Ok(value) if is_ours(&value) => {
                    return Ok(Self { directory, name, temporary: Some(temporary), wrecks, value });
                }
                Ok(_) => continue,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(site.refused("make")(error)),
            }
            match look(directory, &temporary, wreck) {
                Found::Wreck(file) => wrecks.push((temporary, file)),
                Found::InUse => {}
                Found::Foreign => notes.mention(Warning::Lookalike(MemberPath::new(temporary))),
            }
        }
        Ok(Self { wrecks, ..Self::new(directory, name, false, site, create_file)? })
    }

    /// Puts it aside, so that it can be written without the directory at hand.
    pub(super) fn pause(self) -> Paused {
        Paused { temporary: self.temporary, wrecks: self.wrecks, value: self.value }
    }

    /// Gives it its name as [`Self::publish`] does; then removes what killed runs left of it: that
    /// of which it has all bytes, so that none is lost with it.
    pub(super) fn finish(
        mut self,
        finished: Result<()>,
        over: Over,
        site: Site<'_>,
        notes: &mut Notes,
    ) -> Result<Outcome> {
        let wrecks = std::mem::take(&mut self.wrecks);
        let directory = self.directory;
        let removable = |(name, file): &(Vec<u8>, OwnedFd)| {
            is_part_of(file, &self.value) && is_at(directory, name, file) == Ok(true)
        };
        let removable: Vec<bool> = wrecks.iter().map(removable).collect();
        let outcome = self.publish(finished, over, site)?;
        for ((name, _), removable) in wrecks.into_iter().zip(removable) {
            let removed = removable
                && outcome == Outcome::Restored
                && rustix::fs::unlinkat(directory, &name, AtFlags::empty()).is_ok();
            let name = MemberPath::new(name);
            notes.mention(match removed {
                true => Warning::Leftover(name),
                false => Warning::Lookalike(name),
            });
        }
        Ok(outcome)
    }
}

/// A file that was made, apart from its directory.
#[derive(Debug)]
pub(super) struct Paused {
    temporary: Option<Vec<u8>>,
    wrecks: Vec<(Vec<u8>, OwnedFd)>,
    pub(super) value: Arc<OwnedFd>,
}

impl Paused {
    /// Goes back to the directory and the name that it was made with.
    pub(super) fn resume<'a>(
        self,
        directory: BorrowedFd<'a>,
        name: &'a [u8],
    ) -> Made<'a, Arc<OwnedFd>> {
        let Self { temporary, wrecks, value } = self;
        Made { directory, name, temporary, wrecks, value }
    }
}

/// Returns whether all bytes of a file stand at the same places in another. Holes have no bytes: big
/// files are not written from front to back.
fn is_part_of(file: &OwnedFd, whole: &OwnedFd) -> bool {
    let mut offset = 0;
    loop {
        let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data..rustix::fs::seek(file, SeekFrom::Hole(data)).unwrap_or(u64::MAX),
            Err(Errno::NXIO) => return true,
            // Not every file system knows its holes.
            Err(_) => offset..u64::MAX,
        };
        match is_same(file, whole, data.clone()) {
            Some(end) if end == data.end => offset = end,
            Some(_) => return true,
            None => return false,
        }
    }
}

/// Compares the bytes in a range, up to the end of the first file; returns where that is, when they
/// are the same.
fn is_same(file: &OwnedFd, whole: &OwnedFd, range: Range<u64>) -> Option<u64> {
    let (mut some, mut other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        let most = left.min(some.len());
        let len = rustix::io::pread(file, &mut some[..most], offset).ok()?;
        if len == 0 {
            break;
        }
        let mut have = 0;
        while have < len {
            match rustix::io::pread(whole, &mut other[have..len], offset + have as u64) {
                Ok(0) | Err(_) => return None,
                Ok(count) => have += count,
            }
        }
        if some[..len] != other[..len] {
            return None;
        }
        offset += len as u64;
    }
    Some(offset)
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

/// Looks whether a killed run may have left what has a temporary name, and no run works on it.
fn look(directory: BorrowedFd<'_>, name: &[u8], wreck: Wreck) -> Found {
    let Ok(file) = open_wreck(directory, name, wreck) else { return Found::Foreign };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Found::InUse,
        Ok(()) if rustix::fs::fstat(&file).is_ok_and(|stat| wreck.is(&stat)) => Found::Wreck(file),
        _ => Found::Foreign,
    }
}

/// Opens a file for reading, also when it has the mode of what is being written, which not even its
/// owner may read.
fn open_wreck(directory: BorrowedFd<'_>, name: &[u8], wreck: Wreck) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |access| rustix::fs::openat(directory, name, flags | access, Mode::empty());
    match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => {}
        opened => return opened,
    }
    let writable = open(OFlags::WRONLY)?;
    let found = rustix::fs::fstat(&writable)?;
    if !wreck.is(&found) {
        return Err(Errno::ACCESS);
    }
    rustix::fs::fchmod(&writable, Mode::RUSR | Mode::WUSR)?;
    let readable = open(OFlags::RDONLY);
    rustix::fs::fchmod(&writable, Mode::from_raw_mode(found.st_mode))?;
    readable
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

/// Returns a temporary name that belongs to a name, the same in every run.
pub(super) fn temporary_name_of(name: &[u8], number: u64) -> Vec<u8> {
    let digest = Sha256::digest(name);
    let first = digest.first_chunk().copied().map_or(0, u64::from_be_bytes);
    temporary_of(first.wrapping_add(number))
}

fn temporary_of(number: u64) -> Vec<u8> {
    let mut name = TEMPORARY.to_vec();
    name.extend_from_slice(format!("{number:016x}").as_bytes());
    name
}

fn create_file(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Arc<OwnedFd>> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, UNFINISHED).map(Arc::new)
}
