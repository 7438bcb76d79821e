//! Entries: one line of the listing, the record of one member.

mod borrowed;
mod encode;
mod frame;
mod line;

use std::ops::Range;

use super::timestamp::Timestamp;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::path::MemberPath;

pub use borrowed::{ChunksRef, EntryRef, KindRef};
pub(crate) use frame::{Frame, Stored};
pub(crate) use line::name_of_line;

/// What a member is, with what belongs to that kind alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
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
        target: Vec<u8>,
    },
    /// Another name of a file that stands earlier in the listing.
    HardLink {
        /// The first name of the file.
        target: MemberPath,
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

impl Kind {
    /// Returns the word that the listing uses for this kind.
    pub fn word(&self) -> &'static str {
        self.borrowed().word()
    }

    /// Returns what this kind is called in messages, with its article.
    pub fn noun(&self) -> &'static str {
        self.borrowed().noun()
    }

    /// Returns the bytes of content: 0 for all but files.
    pub fn size(&self) -> u64 {
        self.borrowed().size()
    }
}

/// Where a member's bytes are: `depth:1:offset:zoffset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// How many bases back; 0 is this archive.
    pub depth: u32,
    /// Always 1 in our format; classic archives have the number of the slice here.
    pub slice: u32,
    /// Where the stream begins: in the concatenation of all slices; classic archives count from
    /// the beginning of the slice.
    pub offset: u64,
    /// Where in the uncompressed stream the member's first header begins; classic archives point
    /// at the content itself.
    pub zoffset: u64,
}

/// How a big member is cut: the size of a chunk, and the packed size of each of its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    /// Bytes of data in each chunk but the last.
    pub size: u64,
    /// Packed bytes of the stream of headers, then of each chunk.
    pub packed: Vec<u64>,
}

/// A SHA-256, and what it was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// Of the content (`sha256=`).
    Content([u8; 32]),
    /// Of the sparse map and the segments as they are stored (`stored_sha256=`).
    Stored([u8; 32]),
}

/// Which program's listing a line is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Ours, format 2.
    Isptar,
    /// The original program's.
    Classic,
}

/// One line of the listing: the record of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The member's name.
    pub path: MemberPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// Name of the owner, empty when not recorded.
    pub user: Vec<u8>,
    /// Number of the owner.
    pub uid: u64,
    /// Name of the group, empty when not recorded.
    pub group: Vec<u8>,
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
    pub chunks: Option<Chunks>,
    /// SHA-256 of a non-empty file.
    pub digest: Option<Digest>,
    /// Fingerprint of extended attributes, ACLs and label: see [`super::member::Xattrs`].
    pub xattr: Option<u64>,
    /// The file changed while it was read.
    pub dirty: bool,
    /// The file has holes, though it is stored without: zero blocks become holes again.
    pub sparse: bool,
    /// Contents of the directory were left out by intent.
    pub partial: bool,
    /// Known but not stored, and why. A directory has its own header nevertheless; what it
    /// contained is not known.
    pub lost: Option<String>,
    /// The location is in a classic archive, and points at the data: there is no header.
    pub data: bool,
    /// Keys that this version does not know, in their order.
    pub unknown: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Returns the bytes of the archive that the member's streams are; empty when the entry has no
    /// packed size, and at 0 when it has no location. They are what the entry claims.
    pub fn claimed_range(&self) -> Range<u64> {
        claimed(self.location, self.packed)
    }

    /// Returns how many bases back the member's bytes are: 0 is the archive of the listing.
    pub fn depth(&self) -> u32 {
        self.location.map_or(0, |location| location.depth)
    }

    /// Makes an entry of a name and a kind; all else is zero, empty or absent.
    pub fn new(path: MemberPath, kind: Kind) -> Self {
        Self {
            path,
            kind,
            mode: 0,
            user: Vec::new(),
            uid: 0,
            group: Vec::new(),
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
            unknown: Vec::new(),
        }
    }

    /// Reads a line, without its line feed.
    ///
    /// # Errors
    ///
    /// What is wrong with the line, or [`FormatError::Limit`].
    pub fn parse(line: &[u8], dialect: Dialect, limits: &Limits) -> Result<Self, FormatError> {
        EntryRef::parse(line, dialect, limits).map(EntryRef::into_owned)
    }

    /// Appends the line, with its line feed.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] when the line would be longer than its reader takes.
    pub fn encode(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.borrowed().encode(limits, out)
    }

    /// Appends the line of a classic listing, but its location and line feed: no keys, ids as
    /// signed numbers of 32 bits, times that may be before 1970.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] when an id has more than 32 bits, or the line is longer than its
    /// reader takes; `out` is as it was then.
    pub fn encode_classic(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.borrowed().encode_classic(limits, out)
    }

    /// Returns the range of the archive that holds the member: offset and length.
    pub fn range(&self) -> Option<(u64, u64)> {
        Some((self.location?.offset, self.packed?))
    }
}

/// Returns the bytes of the archive that an entry claims.
fn claimed(location: Option<Location>, packed: Option<u64>) -> Range<u64> {
    let start = location.map_or(0, |location| location.offset);
    start..start.saturating_add(packed.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn parse(line: &str) -> Result<Entry, FormatError> {
        Entry::parse(line.as_bytes(), Dialect::Isptar, &Limits::default())
    }

    const HEAD: &str = "n\troot#0\troot#0\t420\t";

    #[test]
    fn lines_round_trip() {
        for rest in [
            "file\t17\t5\t0:1:1070:0\tpacked=150\tctime=18.5\tino=7",
            "file\t0\t5\t2:1:0:512\tpacked=9\tmtime=-1.25\tctime=-\tdirty=1\tsparse=1",
            "dir\t0:1:1:0\tpacked=3\tmtime=5\tpartial=1\tlost=unreadable",
            "link\ta\\tb\t0:1:1:0\tmtime=5\txattr=00ff00ff00ff00ff",
            "hard\ta/b\t0:1:1:0\tmtime=5",
            "char\t1\t3\t0:1:1:0\tmtime=5",
            "block\t8\t0\t0:1:1:0\tmtime=5\tfuture=x=y\tother=",
            "fifo\t0:1:1:0\tpacked=30\tmtime=5",
            "file\t1\t3000000\t0:1:1:0\tpacked=60\tchunks=1048576:10,20,30",
            "file\t1\t0\tlost=vanished",
        ] {
            let line = format!("{HEAD}{rest}");
            let entry = parse(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            let mut out = Vec::new();
            entry.encode(&Limits::default(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{line}\n"));
        }
    }

    #[test]
    fn classic_lines_round_trip() {
        let limits = Limits::default();
        for rest in ["file\t-86400\t5", "dir", "link\ta\\tb", "hard\ta/b", "char\t1\t3", "fifo"] {
            let line = format!("n\troot#0\t#-294967296\t420\t{rest}");
            let entry = Entry::parse(line.as_bytes(), Dialect::Classic, &limits).unwrap();
            let mut out = Vec::new();
            entry.encode_classic(&limits, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
        let mut entry = Entry::new("n".into(), Kind::Directory);
        entry.uid = 1 << 32;
        let (what, limit, actual) = ("uid", u64::from(u32::MAX), 1 << 32);
        let refused = FormatError::Limit { what, limit, actual, raise: None };
        assert_eq!(entry.encode_classic(&limits, &mut Vec::new()), Err(refused));
    }

    #[test]
    fn only_what_is_escaped_is_copied() {
        let line = b"a/\\tb\troot#0\twh\\\\eel#0\t420\tlink\tto\t0:1:1:0\tlater=1\tino=3\tx=";
        let entry = EntryRef::parse(line, Dialect::Isptar, &Limits::default()).unwrap();
        assert_eq!(entry.path.as_bytes(), b"a/\tb");
        assert!(matches!(entry.user, Cow::Borrowed(b"root")));
        assert!(matches!(&entry.group, Cow::Owned(group) if group == b"wh\\eel"));
        assert!(matches!(&entry.kind, KindRef::Symlink { target: Cow::Borrowed(b"to") }));
        let unknown: Vec<_> = entry.unknown().collect();
        assert_eq!(unknown, [(&b"later"[..], &b"1"[..]), (b"x", b"")]);
        let owned = Entry::from(entry.clone());
        assert_eq!(owned.borrowed().into_owned(), owned);
        assert!(owned.borrowed().unknown().eq(entry.unknown()));
    }

    #[test]
    fn chunks_are_read_when_they_are_asked_for() {
        let line = format!("{HEAD}file\t1\t3000000\t0:1:1:0\tpacked=60\tchunks=1048576:10,20,30");
        let limits = Limits::default();
        let entry = EntryRef::parse(line.as_bytes(), Dialect::Isptar, &limits).unwrap();
        let chunks = entry.chunks.unwrap();
        assert_eq!((chunks.size, chunks.packed().sum()), (1 << 20, 60));
        let owned = entry.into_owned();
        assert!(owned.borrowed().chunks.unwrap().packed().eq([10, 20, 30]));
    }

    #[test]
    fn lines_that_lie_are_refused() {
        for rest in [
            "",
            "file",
            "file\t1",
            "file\t-1\t5",
            "file\t1\t05",
            "file\t1\t5\t0:1:1",
            "file\t1\t5\t0:1:1:0:0",
            "file\t1\t5\t0:1:-1:0",
            "file\t1\t5\t0:1:10000000000000000000000:0",
            "file\t1\t5\t0:1:1:0\tpacked=1\tpacked=1",
            "file\t1\t5\t0:1:1:0\tx=1\tx=2",
            "file\t1\t5\t0:1:1:0\tdirty=0",
            "file\t1\t5\t0:1:1:0\tpacked=5\tchunks=1048576:1,2",
            "file\t1\t5\t0:1:1:0\tchunks=1048576:1,2",
            "file\t1\t5\t0:1:1:0\tpacked=3\tchunks=1000:1,2",
            "dir\t0:1:1:0\tpacked=3\tchunks=512:1,2",
            "file\t1\t5\t0:1:1:0\tmtime=9",
            "dir\t0:1:1:0\tmtime=9\tmtime=9",
            "file\t1\t5\t0:1:1:0\tsha256=AA",
            "file\t1\t5\t0:1:1:0\tnothing",
            "socket",
            "char\t4294967296\t0",
        ] {
            assert!(parse(&format!("{HEAD}{rest}")).is_err(), "{rest:?}");
        }
        assert!(parse("n\troot\troot#0\t420\tdir").is_err());
        assert!(parse("n\tr#0\tr#0\t4096\tdir").is_err());
        assert!(parse("a\\q\tr#0\tr#0\t420\tdir").is_err());
    }

    #[test]
    fn classic_lines_may_have_negative_numbers() {
        let line = b"a\t#3000000\t#-294967296\t420\tfile\t-86400\t4\t0:1:13060:0";
        let entry = Entry::parse(line, Dialect::Classic, &Limits::default()).unwrap();
        assert_eq!(entry.gid, 4_000_000_000);
        assert_eq!(entry.mtime, Some(Timestamp::new(-86400, 0)));
        assert_eq!(entry.ctime, None);
    }
}
