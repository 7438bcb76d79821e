//! Opening directories, and the names that are in them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::observe::LeftOut;

/// How much of a directory is read at once.
const BUFFER: usize = 32 << 10;

/// Opens a directory without following a link.
pub(super) fn open_directory(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_quietly(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// Opens for reading, without changing the time of access where the system permits that.
pub(super) fn open_quietly(
    parent: impl AsFd,
    name: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let parent = parent.as_fd();
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    // Only the owner and root may ask for O_NOATIME.
    match openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
        result => result,
    }
}

/// Opens a directory merely as a place to look names up in.
pub(super) fn open_place(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Returns the metadata of an open directory, and the error when nothing in it can be reached.
pub(super) fn stat_directory(directory: &OwnedFd) -> Result<(Stat, Option<io::Error>), Errno> {
    // Looking up `.` takes the permission to search, which fstat does not; a directory that can
    // be read and not searched would otherwise fail once for each of its names.
    match statat(directory, c".", AtFlags::empty()) {
        Ok(stat) => Ok((stat, None)),
        Err(error) => fstat(directory).map(|stat| (stat, Some(error.into()))),
    }
}

/// The names in one directory, in order, in one block of memory: 8 bytes and the length of the
/// name for each.
#[derive(Debug, Default)]
pub(super) struct NameList {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    next: usize,
}

/// Where a name is in the bytes (40 bits), its length (16 bits) and why it is left out (8 bits).
#[derive(Debug, Clone, Copy)]
struct Slot(u64);

/// Number in a slot of each reason to leave a name out; 0 is none.
const REASONS: [Option<LeftOut>; 3] = [None, Some(LeftOut::Excluded), Some(LeftOut::Archive)];

impl Slot {
    fn new(start: usize, len: usize, reason: Option<LeftOut>) -> Option<Self> {
        let start = u64::try_from(start).ok().filter(|start| start >> 40 == 0)?;
        let len = u64::from(u16::try_from(len).ok()?);
        let reason = REASONS.iter().position(|known| *known == reason)? as u64;
        Some(Self(start << 24 | len << 8 | reason))
    }

    fn reason(self) -> Option<LeftOut> {
        REASONS.get((self.0 & 0xff) as usize).copied().flatten()
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = usize::try_from(self.0 >> 24).unwrap_or(usize::MAX);
        let len = (self.0 >> 8 & 0xffff) as usize;
        bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default()
    }
}

impl NameList {
    /// Reads the names of an open directory and sorts them. `judge` says of each name why it is
    /// to be left out; it is given the name, its kind and its inode.
    ///
    /// After an error the names that were read are there.
    pub(super) fn read(
        directory: &OwnedFd,
        mut judge: impl FnMut(&[u8], FileType, u64) -> Option<LeftOut>,
    ) -> (Self, Option<io::Error>) {
        let mut list = Self::default();
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut error = None;
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if !matches!(name, b"." | b"..") {
                        list.push(name, judge(name, entry.file_type(), entry.ino()));
                    }
                }
                Err(Errno::INTR) => {}
                // The directory was removed: it has no names any more.
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    error = Some(errno.into());
                    break;
                }
            }
        }
        list.sort();
        (list, error)
    }

    fn push(&mut self, name: &[u8], reason: Option<LeftOut>) {
        // No name is longer than 64 KiB, and no directory has names of a terabyte.
        if let Some(slot) = Slot::new(self.bytes.len(), name.len(), reason) {
            self.bytes.extend_from_slice(name);
            self.slots.push(slot);
        }
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.slots.sort_unstable_by(|a, b| a.of(bytes).cmp(b.of(bytes)));
        // A directory that changes while it is read can give a name twice.
        self.slots.dedup_by(|a, b| a.of(bytes) == b.of(bytes));
        self.bytes.shrink_to_fit();
        self.slots.shrink_to_fit();
    }

    /// Returns whether one of the names is left out.
    pub(super) fn any_left_out(&self) -> bool {
        self.slots.iter().any(|slot| slot.reason().is_some())
    }

    /// Returns whether this name is there.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.slots.binary_search_by(|slot| slot.of(&self.bytes).cmp(name)).is_ok()
    }

    /// Drops all names but those that `keep` wants.
    pub(super) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.slots.retain(|slot| keep(slot.of(&self.bytes)));
        self.slots.shrink_to_fit();
    }

    /// Returns whether all names were taken.
    pub(super) fn is_exhausted(&self) -> bool {
        self.next >= self.slots.len()
    }

    /// Returns the next name, and the reason to leave it out.
    pub(super) fn peek(&self) -> Option<(&[u8], Option<LeftOut>)> {
        let slot = self.slots.get(self.next)?;
        Some((slot.of(&self.bytes), slot.reason()))
    }

    /// Takes the next name, and the reason to leave it out.
    pub(super) fn take(&mut self) -> Option<(&[u8], Option<LeftOut>)> {
        let slot = *self.slots.get(self.next)?;
        self.next += 1;
        Some((slot.of(&self.bytes), slot.reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_with_their_reasons() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "a.b", "c"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let handle = std::fs::File::open(dir.path()).unwrap().into();
        let (mut list, error) = NameList::read(&handle, |name, kind, ino| {
            assert!(kind == FileType::RegularFile && ino > 0);
            (name == b"b").then_some(LeftOut::Archive)
        });
        assert!(error.is_none() && list.any_left_out());
        assert!(list.has(b"a.b") && !list.has(b"a.") && !list.has(b"."));
        list.retain(|name| name != b"c");
        let mut taken = Vec::new();
        while let Some((name, reason)) = list.take() {
            taken.push((name.to_vec(), reason));
        }
        assert!(list.is_exhausted());
        let archive = Some(LeftOut::Archive);
        assert_eq!(
            taken,
            [(b"a".to_vec(), None), (b"a.b".to_vec(), None), (b"b".to_vec(), archive)]
        );
    }

    #[test]
    fn a_name_that_is_given_twice_is_there_once() {
        let mut list = NameList::default();
        for name in ["b", "a", "b"] {
            list.push(name.as_bytes(), None);
        }
        list.sort();
        assert_eq!(list.take(), Some((b"a".as_slice(), None)));
        assert_eq!(list.take(), Some((b"b".as_slice(), None)));
        assert_eq!(list.take(), None);
    }
}
