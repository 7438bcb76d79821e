//! Whether a thing is still what a base has of it.

use crate::format::entry::{EntryRef, KindRef};
use crate::format::timestamp::Timestamp;

/// How far a clock of this system, and of a file server, may be behind that of a file, in seconds.
const MARGIN: u64 = 2;
const MARGIN_OF_NETWORK: u64 = 60;

/// How things are compared with a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompareOptions {
    /// Read every file that seems unchanged, and compare it with the base's digest.
    pub checksum: bool,
    /// Do not compare the times at which inodes changed.
    pub ignore_ctime: bool,
    /// Do not compare inode numbers.
    pub ignore_inode: bool,
}

/// Why something is stored although there is a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The base does not have it.
    New,
    /// It is of another type.
    Type,
    /// It has another size.
    Size,
    /// Its content changed at another time.
    Mtime,
    /// Its inode changed at another time.
    Ctime,
    /// It is another inode.
    Inode,
    /// It has other permission bits.
    Mode,
    /// It has another owner or group.
    Owner,
    /// It is a link to another target.
    Target,
    /// It has other device numbers.
    Device,
    /// It has other extended attributes, ACLs or label.
    Xattr,
    /// It has another content, or one that could not be compared.
    Content,
    /// It is a name of a file that is stored again under another name, or was not one.
    Links,
    /// It changed while it was read for the base.
    Dirty,
    /// The base could not store it, or cannot store it now.
    Lost,
    /// It changed so shortly before the base was made that it may have changed again since.
    Racy,
    /// The base has no bytes of it that could be referred to.
    Unstored,
}

impl Why {
    /// Returns the word that the program uses for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Type => "type",
            Self::Size => "size",
            Self::Mtime => "mtime",
            Self::Ctime => "ctime",
            Self::Inode => "inode",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Target => "target",
            Self::Device => "device",
            Self::Xattr => "xattr",
            Self::Content => "content",
            Self::Links => "links",
            Self::Dirty => "dirty",
            Self::Lost => "lost",
            Self::Racy => "racy",
            Self::Unstored => "unstored",
        }
    }
}

/// What a thing is now, as far as can be known without reading it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Now<'a> {
    /// What it is.
    pub kind: KindRef<'a>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Number of the owner.
    pub uid: u64,
    /// Number of the group.
    pub gid: u64,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Time of the last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub ino: u64,
}

impl<'a> Now<'a> {
    /// Returns a thing of a kind of which all else is zero.
    pub fn new(kind: KindRef<'a>) -> Self {
        let zero = Timestamp::default();
        Self { kind, mode: 0, uid: 0, gid: 0, mtime: zero, ctime: zero, ino: 0 }
    }
}

/// What comparing gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did not change.
    Same,
    /// It changed, or must be taken for changed.
    Changed(Why),
    /// It did not change if what must be read is the same.
    Open {
        /// The fingerprint of extended attributes, ACLs and label.
        xattr: bool,
        /// The digest of the content.
        content: bool,
    },
}

/// The rules by which things are compared with the entries of a base.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub(super) options: CompareOptions,
    pub(super) created: Option<u64>,
    pub(super) is_classic: bool,
}

impl Rules {
    /// Returns whether the base is an archive of the original program.
    pub fn is_classic(&self) -> bool {
        self.is_classic
    }

    /// Compares a thing with the base's entry of the same name. `is_remote` says whether it is on a
    /// network file system; it is only asked where that matters.
    pub fn compare(
        &self,
        old: &EntryRef<'_>,
        now: &Now<'_>,
        is_remote: impl FnOnce() -> bool,
    ) -> Verdict {
        if let Some(why) = self.difference(old, now) {
            return Verdict::Changed(why);
        }
        let ctime = old.ctime.filter(|_| !self.options.ignore_ctime);
        if ctime.is_some_and(|ctime| ctime != now.ctime) {
            return Verdict::Changed(Why::Ctime);
        }
        if self.is_racy(if ctime.is_some() { now.ctime } else { now.mtime }, is_remote) {
            return Verdict::Changed(Why::Racy);
        }
        // The names of a hard link share what the first one has.
        let is_link = matches!(old.kind, KindRef::HardLink { .. });
        let xattr = ctime.is_none() && !is_link && !self.is_classic;
        let content = matches!(old.kind, KindRef::File { size } if size > 0)
            && (self.options.checksum || self.knows_too_little(old, now));
        match (xattr, content) {
            (_, true) if old.digest.is_none() => Verdict::Changed(Why::Content),
            (false, false) => Verdict::Same,
            (xattr, content) => Verdict::Open { xattr, content },
        }
    }

    /// Returns whether the entry of the base decides alone: no file must be read when it says what the
    /// thing is now, and that [is not racy](Self::is_racy).
    pub(crate) fn entry_decides(&self) -> bool {
        let reads = self.options.checksum || self.options.ignore_ctime;
        !reads && !self.is_classic && self.created.is_some()
    }

    /// Returns the first difference that shows in what is recorded, but for the times of inodes.
    fn difference(&self, old: &EntryRef<'_>, now: &Now<'_>) -> Option<Why> {
        if old.dirty {
            return Some(Why::Dirty);
        }
        if old.lost.is_some() {
            return Some(Why::Lost);
        }
        if let Some(why) = of_kind(&old.kind, &now.kind) {
            return Some(why);
        }
        if old.referred(self.is_classic).is_none() {
            return Some(Why::Unstored);
        }
        if old.mode != now.mode {
            return Some(Why::Mode);
        }
        if (old.uid, old.gid) != (now.uid, now.gid) {
            return Some(Why::Owner);
        }
        let coarse = is_coarse(old);
        let other_time = old.mtime.is_some_and(|mtime| {
            if coarse { mtime.seconds() != now.mtime.seconds() } else { mtime != now.mtime }
        });
        if other_time {
            return Some(Why::Mtime);
        }
        let other_inode = old.ino.is_some_and(|ino| ino != now.ino);
        (other_inode && !self.options.ignore_inode).then_some(Why::Inode)
    }

    /// Returns whether something that changed at this time may have changed again, within the same
    /// tick of a clock, after it was read for the base.
    pub(crate) fn is_racy(&self, time: Timestamp, is_remote: impl FnOnce() -> bool) -> bool {
        let Some(created) = self.created else { return false };
        let since = |margin: u64| {
            let from = i64::try_from(created.saturating_sub(margin)).unwrap_or(i64::MAX);
            time.seconds() >= from
        };
        since(MARGIN) || since(MARGIN_OF_NETWORK) && is_remote()
    }

    /// Returns whether a file whose recorded times are the same may be another one all the same.
    /// Nothing more than times is known of what the original program archived.
    fn knows_too_little(&self, old: &EntryRef<'_>, now: &Now<'_>) -> bool {
        !self.is_classic && (self.created.is_none() || is_coarse(old) && now.mtime.nanos() > 0)
    }
}

/// Returns whether a time may be known without its fraction: as tar and the original program do.
fn is_coarse(old: &EntryRef<'_>) -> bool {
    old.ctime.is_none() && old.mtime.is_some_and(|mtime| mtime.nanos() == 0)
}

/// Returns what differs between two kinds.
fn of_kind(old: &KindRef<'_>, now: &KindRef<'_>) -> Option<Why> {
    if old == now {
        return None;
    }
    Some(match (old, now) {
        (KindRef::File { .. }, KindRef::File { .. }) => Why::Size,
        (KindRef::Symlink { .. }, KindRef::Symlink { .. }) => Why::Target,
        (KindRef::File { .. } | KindRef::HardLink { .. }, KindRef::HardLink { .. })
        | (KindRef::HardLink { .. }, KindRef::File { .. }) => Why::Links,
        (KindRef::CharDevice { .. }, KindRef::CharDevice { .. })
        | (KindRef::BlockDevice { .. }, KindRef::BlockDevice { .. }) => Why::Device,
        _ => Why::Type,
    })
}
