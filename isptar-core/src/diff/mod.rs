//! The diff job: what differs between an archive and a tree, or between two archives.
//!
//! Both sides come in listing order and are merged, each read once. What differs is what restoring
//! the archive over the tree would change: times of inodes, inode numbers and sockets do not count.
//!
//! What the walk cannot look at, or leaves out, hides the entries below it. Hard links are compared
//! as sets of the names that both sides have.

mod archives;
mod compare;
mod content;
mod links;
mod listing;
mod scope;
mod tree;
mod walked;

use std::path::PathBuf;

use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::timestamp::Timestamp;
use crate::io::OwnNames;
use crate::observe::{Event, Observer};
use crate::path::MemberPath;
use crate::select::{Patterns, Selection};

pub use listing::Listing;

/// What is compared, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiffOptions {
    /// The tree: members are looked up in it. Default `.`.
    pub directory: PathBuf,
    /// What is compared; nothing else is looked at. Default everything.
    pub only: Selection,
    /// What is left out on both sides.
    pub exclude: Patterns,
    /// Stay on the file systems of what the archive has at its top.
    pub one_file_system: bool,
    /// Files that are never differences, by device and inode number: the archive itself.
    pub own_files: Vec<(u64, u64)>,
    /// Names of such files: the slices of the archive.
    pub own_names: Vec<OwnNames>,
    /// Read files and compare their contents with the digests of the archive, instead of trusting
    /// size and time.
    pub checksum: bool,
    /// What is not compared.
    pub ignore: Ignore,
    /// Compare owners by their numbers, not by their names.
    pub numeric_owner: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("."),
            only: Selection::default(),
            exclude: Patterns::default(),
            one_file_system: false,
            own_files: Vec::new(),
            own_names: Vec::new(),
            checksum: false,
            ignore: Ignore::default(),
            numeric_owner: false,
        }
    }
}

/// Metadata that is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignore {
    /// Permission bits.
    pub mode: bool,
    /// Owners.
    pub owner: bool,
    /// Groups.
    pub group: bool,
    /// Times of change. Without digests, size alone tells then.
    pub mtime: bool,
    /// Fractions of seconds in times of change.
    pub nanos: bool,
    /// Extended attributes, ACLs and labels.
    pub xattr: bool,
    /// Which names are names of one file.
    pub links: bool,
}

/// What a diff job found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DiffReport {
    /// Names that both sides have and that were compared.
    pub compared: u64,
    /// Names that only the new side has.
    pub added: u64,
    /// Names that only the old side has.
    pub removed: u64,
    /// Names whose content differs, or may differ.
    pub content: u64,
    /// Names of which only metadata differs.
    pub metadata: u64,
    /// Left out of the comparison by intent.
    pub left_out: u64,
    /// Members whose contents were lost when an archive was made, or could not be known.
    pub lost: u64,
    /// What could not be read or looked at.
    pub failed: u64,
    /// Members below something that could not be looked at.
    pub unseen: u64,
    /// Members of which an archive does not record all that was to be compared.
    pub unrecorded: u64,
    /// Files that changed while they were read.
    pub changing: u64,
}

impl DiffReport {
    /// Returns the number of names that differ.
    pub fn differences(&self) -> u64 {
        self.added + self.removed + self.content + self.metadata
    }

    /// Returns whether something that was to be compared was not.
    pub fn is_incomplete(&self) -> bool {
        self.failed > 0 || self.lost > 0 || self.unseen > 0
    }
}

/// One name that is not the same on both sides. The old side is the archive, or the first of two;
/// the new side is the tree, or the second archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name.
    pub path: MemberPath,
    /// What became of it.
    pub change: Change,
}

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the new side has it; of a tree the entry has kind, mode, owner, size and time.
    Added(Box<Entry>),
    /// Only the old side has it.
    Removed(Box<Entry>),
    /// Both have it.
    Changed {
        /// Whether the content is another.
        content: ContentChange,
        /// What differs, with both sides.
        fields: Vec<Field>,
    },
}

/// Whether the content of a name is another: of a file its bytes, of a link its target, of a device
/// its numbers; and any change of type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentChange {
    /// It is the same, as far as sizes and times or digests tell.
    Same,
    /// A file of the same size whose content is not known: it has another time and was not read, or
    /// it was to be read and could not be.
    MayDiffer,
    /// It is another.
    Differs,
}

/// One thing that differs: the old value and the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The type: a word such as `file`, `dir`, `socket`.
    Type(&'static str, &'static str),
    /// Bytes of content.
    Size(u64, u64),
    /// SHA-256 of the content; of what was stored, for files with large holes.
    Digest([u8; 32], [u8; 32]),
    /// Target of a symbolic link.
    Target(Vec<u8>, Vec<u8>),
    /// Major and minor number of a device.
    Device((u32, u32), (u32, u32)),
    /// Permission bits with setuid, setgid and sticky.
    Mode(u32, u32),
    /// Owner.
    Owner(Id, Id),
    /// Group.
    Group(Id, Id),
    /// Time of the last change of the content.
    Mtime(Timestamp, Timestamp),
    /// Fingerprint of extended attributes, ACLs and label; `None` when there are none.
    Xattr(Option<u64>, Option<u64>),
    /// The first of the names, among those on both sides, that the file has as well; `None` for the
    /// first name itself and for files with one name.
    Links(Option<MemberPath>, Option<MemberPath>),
}

/// A user or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// The number.
    pub number: u64,
    /// The name; empty when it has none.
    pub name: Vec<u8>,
}

/// Compares an archive with the tree below [`DiffOptions::directory`].
///
/// Only what the archive has at its top is looked up, and all that is below it: what else stands
/// in the directory is no difference. Differences go to the observer as [`Event::Differs`], in
/// listing order. What cannot be read is told and counted, and the rest is compared.
///
/// # Errors
///
/// What ends the whole job: the directory cannot be opened, the listing cannot be read, or
/// [`crate::Error::Cancelled`].
pub fn diff_tree(
    listing: Listing<'_>,
    options: &DiffOptions,
    observer: &mut dyn Observer,
) -> Result<DiffReport> {
    tree::Job::new(listing, options).run(observer)
}

/// Compares two archives by their listings: contents by digest where both have one, else by size
/// and time. Only the digest of what is stored of a sparse file tells nothing of a file that is
/// stored in another way: members with such digests are read when they differ, and what cannot be
/// read may differ. What is left out of one of them by intent is a difference here.
///
/// # Errors
///
/// What ends the whole job: a listing cannot be read, or [`crate::Error::Cancelled`].
pub fn diff_archives(
    old: Listing<'_>,
    new: Listing<'_>,
    options: &DiffOptions,
    observer: &mut dyn Observer,
) -> Result<DiffReport> {
    archives::Job::new(old, new, options).run(observer)
}

/// Counts differences and tells them.
fn tell(difference: &Difference, report: &mut DiffReport, observer: &mut dyn Observer) {
    match &difference.change {
        Change::Added(_) => report.added += 1,
        Change::Removed(_) => report.removed += 1,
        Change::Changed { content: ContentChange::Same, .. } => report.metadata += 1,
        Change::Changed { .. } => report.content += 1,
    }
    observer.event(Event::Differs { difference });
}
