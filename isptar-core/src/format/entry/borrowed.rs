//! Entries that borrow from the text of the listing: a whole pass makes none of its own.

use std::borrow::Cow;
use std::ops::Range;

use super::{Chunks, Digest, Entry, Kind, Location, claimed};
use crate::format::text::{decimal, fields};
use crate::format::timestamp::Timestamp;
use crate::path::MemberName;

/// What a member is, with what belongs to that kind alone: a [`Kind`] that borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindRef<'a> {
    /// A regular file.
    File {
        /// Bytes of content, holes included.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it leads: any bytes.
        target: Cow<'a, [u8]>,
    },
    /// Another name of a file that stands earlier in the listing.
    HardLink {
        /// The first name of the file.
        target: MemberName<'a>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A FIFO.
    Fifo,
}

impl KindRef<'_> {
    /// Returns the word that the listing uses for this kind.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Directory => "dir",
            Self::Symlink { .. } => "link",
            Self::HardLink { .. } => "hard",
            Self::CharDevice { .. } => "char",
            Self::BlockDevice { .. } => "block",
            Self::Fifo => "fifo",
        }
    }

    /// Returns what this kind is called in messages, with its article.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::File { .. } => "a file",
            Self::Directory => "a directory",
            Self::Symlink { .. } => "a symbolic link",
            Self::HardLink { .. } => "a hard link",
            Self::CharDevice { .. } => "a character device",
            Self::BlockDevice { .. } => "a block device",
            Self::Fifo => "a FIFO",
        }
    }

    /// Returns the bytes of content: 0 for all but files.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size } => *size,
            _ => 0,
        }
    }

    /// Returns the same kind with bytes of its own.
    pub fn into_owned(self) -> Kind {
        match self {
            Self::File { size } => Kind::File { size },
            Self::Directory => Kind::Directory,
            Self::Symlink { target } => Kind::Symlink { target: target.into_owned() },
            Self::HardLink { target } => Kind::HardLink { target: target.into_owned() },
            Self::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            Self::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Self::Fifo => Kind::Fifo,
        }
    }
}

impl Kind {
    /// Returns the same kind, borrowed.
    pub fn borrowed(&self) -> KindRef<'_> {
        match self {
            Self::File { size } => KindRef::File { size: *size },
            Self::Directory => KindRef::Directory,
            Self::Symlink { target } => KindRef::Symlink { target: target.into() },
            Self::HardLink { target } => KindRef::HardLink { target: target.borrowed() },
            &Self::CharDevice { major, minor } => KindRef::CharDevice { major, minor },
            &Self::BlockDevice { major, minor } => KindRef::BlockDevice { major, minor },
            Self::Fifo => KindRef::Fifo,
        }
    }
}

/// How a big member is cut: [`Chunks`] that borrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunksRef<'a> {
    /// Bytes of data in each chunk but the last.
    pub size: u64,
    packed: Packed<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed<'a> {
    /// As in the listing, every number checked.
    Text(&'a [u8]),
    Numbers(&'a [u64]),
}

impl<'a> ChunksRef<'a> {
    /// Chunks whose packed sizes stand in `list`, joined by commas, each of them checked.
    pub(super) fn of_text(size: u64, list: &'a [u8]) -> Self {
        Self { size, packed: Packed::Text(list) }
    }

    /// Returns the packed bytes of the stream of headers, then of each chunk.
    pub fn packed(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (text, numbers) = match self.packed {
            Packed::Text(text) => (Some(text), &[][..]),
            Packed::Numbers(numbers) => (None, numbers),
        };
        let read = |len| decimal("chunks", len).unwrap_or(0);
        let text = text.into_iter().flat_map(|text| fields(text, b','));
        text.map(read).chain(numbers.iter().copied())
    }
}

/// One line of the listing, the record of one member: an [`Entry`] that borrows. Only what stands
/// escaped in the text has bytes of its own.
#[derive(Debug, Clone)]
pub struct EntryRef<'a> {
    /// The member's name.
    pub path: MemberName<'a>,
    /// What it is.
    pub kind: KindRef<'a>,
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// Name of the owner, empty when not recorded.
    pub user: Cow<'a, [u8]>,
    /// Number of the owner.
    pub uid: u64,
    /// Name of the group, empty when not recorded.
    pub group: Cow<'a, [u8]>,
    /// Number of the group.
    pub gid: u64,
    /// Time of the last change of the content; classic listings know it of files alone.
    pub mtime: Option<Timestamp>,
    /// Time of the last change of the inode, when it was recorded.
    pub ctime: Option<Timestamp>,
    /// Inode number, when it was recorded.
    pub ino: Option<u64>,
    /// Where the bytes are; absent when there are none.
    pub location: Option<Location>,
    /// Packed bytes of the member's streams.
    pub packed: Option<u64>,
    /// How the member is cut, when it has more than one stream.
    pub chunks: Option<ChunksRef<'a>>,
    /// SHA-256 of a non-empty file.
    pub digest: Option<Digest>,
    /// Fingerprint of extended attributes, ACLs and label: see
    /// [`Xattrs`](crate::format::member::Xattrs).
    pub xattr: Option<u64>,
    /// The file changed while it was read.
    pub dirty: bool,
    /// The file has holes, though it is stored without: zero blocks become holes again.
    pub sparse: bool,
    /// Contents of the directory were left out by intent.
    pub partial: bool,
    /// Known but not stored, and why.
    pub lost: Option<Cow<'a, str>>,
    /// The location is in a classic archive, and points at the data: there is no header.
    pub data: bool,
    pub(super) unknown: Unknown<'a>,
}

/// Keys that this version does not know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unknown<'a> {
    /// The fields that follow the type, and how many of them are not known.
    Text(&'a [u8], u64),
    Pairs(&'a [(Vec<u8>, Vec<u8>)]),
}

impl<'a> EntryRef<'a> {
    /// Makes an entry of a name and a kind; all else is zero, empty or absent.
    pub fn new(path: MemberName<'a>, kind: KindRef<'a>) -> Self {
        Self {
            path,
            kind,
            mode: 0,
            user: Cow::Borrowed(&[]),
            uid: 0,
            group: Cow::Borrowed(&[]),
            gid: 0,
            mtime: None,
            ctime: None,
            ino: None,
            location: None,
            packed: None,
            chunks: None,
            digest: None,
            xattr: None,
            dirty: false,
            sparse: false,
            partial: false,
            lost: None,
            data: false,
            unknown: Unknown::Pairs(&[]),
        }
    }

    /// Returns the bytes of the archive that the member's streams are; empty when the entry has no
    /// packed size, and at 0 when it has no location. They are what the entry claims.
    pub fn claimed_range(&self) -> Range<u64> {
        claimed(self.location, self.packed)
    }

    /// Returns the keys that this version does not know, with their values, in their order.
    pub fn unknown(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let (text, pairs) = match self.unknown {
            Unknown::Text(_, 0) => (None, &[][..]),
            Unknown::Text(text, _) => (Some(text), &[][..]),
            Unknown::Pairs(pairs) => (None, pairs),
        };
        let text = text.into_iter().flat_map(|text| fields(text, b'\t').filter_map(unknown_pair));
        text.chain(pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    /// Returns the same entry with bytes of its own.
    pub fn into_owned(self) -> Entry {
        let unknown = self.unknown().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let own =
            |chunks: ChunksRef<'_>| Chunks { size: chunks.size, packed: chunks.packed().collect() };
        Entry {
            path: self.path.into_owned(),
            kind: self.kind.into_owned(),
            mode: self.mode,
            user: self.user.into_owned(),
            uid: self.uid,
            group: self.group.into_owned(),
            gid: self.gid,
            mtime: self.mtime,
            ctime: self.ctime,
            ino: self.ino,
            location: self.location,
            packed: self.packed,
            chunks: self.chunks.map(own),
            digest: self.digest,
            xattr: self.xattr,
            dirty: self.dirty,
            sparse: self.sparse,
            partial: self.partial,
            lost: self.lost.map(Cow::into_owned),
            data: self.data,
            unknown,
        }
    }
}

/// Takes a field apart whose key is not known.
fn unknown_pair(field: &[u8]) -> Option<(&[u8], &[u8])> {
    super::line::pair(field).filter(|(key, _)| !super::line::is_known(key))
}

impl Entry {
    /// Returns the same entry, borrowed.
    pub fn borrowed(&self) -> EntryRef<'_> {
        let chunks = self.chunks.as_ref().map(|chunks| {
            let packed = Packed::Numbers(&chunks.packed);
            ChunksRef { size: chunks.size, packed }
        });
        EntryRef {
            path: self.path.borrowed(),
            kind: self.kind.borrowed(),
            mode: self.mode,
            user: (&self.user).into(),
            uid: self.uid,
            group: (&self.group).into(),
            gid: self.gid,
            mtime: self.mtime,
            ctime: self.ctime,
            ino: self.ino,
            location: self.location,
            packed: self.packed,
            chunks,
            digest: self.digest,
            xattr: self.xattr,
            dirty: self.dirty,
            sparse: self.sparse,
            partial: self.partial,
            lost: self.lost.as_deref().map(Cow::Borrowed),
            data: self.data,
            unknown: Unknown::Pairs(&self.unknown),
        }
    }
}

impl From<EntryRef<'_>> for Entry {
    fn from(entry: EntryRef<'_>) -> Self {
        entry.into_owned()
    }
}
