//! Work items: what the walk found, with names and hard links settled, and how it is packed.

use std::collections::HashMap;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat, major, minor};

use super::file::{self, BigFile};
use super::{CreateOptions, CreateReport, is_file};
use crate::error::{Error, FormatError};
use crate::format::entry::{Entry, Kind};
use crate::format::member::{MemberHeader, Xattrs};
use crate::format::timestamp::Timestamp;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, MemberPacker, entry_of};
use crate::path::MemberPath;
use crate::source::{Found, Names};

/// One thing to be stored. Items are made in listing order; packing needs nothing but the item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) found: Found,
    /// Headers, but for extended attributes, and for the size and holes of a file.
    pub(super) header: MemberHeader,
    pub(super) details: Details,
    pub(super) reproducible: bool,
}

/// What became of an item.
#[derive(Debug)]
pub(super) enum Packed {
    /// One stream, and its entry without a location.
    Whole { entry: Box<Entry>, warnings: Vec<Warning> },
    /// A file of several chunks, open.
    Big(Box<BigFile>),
    /// Gone by now.
    Vanished,
    /// Not readable.
    Failed(Error),
}

/// Makes items in order.
#[derive(Debug)]
pub(super) struct Items {
    names: Names,
    links: HashMap<(u64, u64), Link>,
    reproducible: bool,
}

/// A file with several names, of which some were not met.
#[derive(Debug)]
struct Link {
    first: MemberPath,
    left: u64,
}

impl Items {
    pub(super) fn new(options: &CreateOptions) -> Self {
        Self {
            names: Names::new(!options.reproducible),
            links: HashMap::new(),
            reproducible: options.reproducible,
        }
    }

    /// Makes the item of what was found; `None` when it cannot be stored, which is told.
    pub(super) fn next(
        &mut self,
        found: Found,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Option<Item> {
        let kind = match self.kind(&found) {
            Ok(Some(kind)) => kind,
            Ok(None) => return None,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                report.vanished += 1;
                let (path, warning) = (&found.path, &Warning::Vanished);
                observer.event(Event::Warning { path, warning });
                return None;
            }
            Err(source) => {
                report.unreadable += 1;
                let path = PathBuf::from(found.path.to_string());
                let error = &Error::Io { op: "read the link", path, source };
                observer.event(Event::Failed { path: &found.path, error });
                return None;
            }
        };
        let stat = &found.stat;
        let header = MemberHeader {
            mode: stat.st_mode & 0o7777,
            uid: u64::from(stat.st_uid),
            gid: u64::from(stat.st_gid),
            user: self.names.user(u64::from(stat.st_uid)),
            group: self.names.group(u64::from(stat.st_gid)),
            mtime: mtime(stat),
            ..MemberHeader::new(found.path.clone(), kind)
        };
        let details = Details {
            ctime: Some(ctime(stat)).filter(|_| !self.reproducible),
            ino: Some(stat.st_ino).filter(|_| !self.reproducible),
            partial: found.partial,
            ..Details::default()
        };
        Some(Item { found, header, details, reproducible: self.reproducible })
    }

    /// Returns the kind; `None` for what no archive can hold.
    fn kind(&mut self, found: &Found) -> std::io::Result<Option<Kind>> {
        let stat = &found.stat;
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match found.file_type() {
            FileType::RegularFile => Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
            FileType::Directory => return Ok(Some(Kind::Directory)),
            FileType::Symlink => Kind::Symlink { target: found.read_link()? },
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        let earlier = self.earlier_name(found);
        Ok(Some(earlier.map_or(kind, |target| Kind::HardLink { target })))
    }

    /// Returns the first name of something that was met before under another. It is forgotten when
    /// all its names were met.
    fn earlier_name(&mut self, found: &Found) -> Option<MemberPath> {
        #[allow(clippy::useless_conversion, reason = "narrower on other machines")]
        let names = u64::from(found.stat.st_nlink);
        if names < 2 {
            return None;
        }
        let key = (found.stat.st_dev, found.stat.st_ino);
        let Some(link) = self.links.get_mut(&key) else {
            self.links.insert(key, Link { first: found.path.clone(), left: names - 1 });
            return None;
        };
        link.left -= 1;
        if link.left == 0 {
            return self.links.remove(&key).map(|link| link.first);
        }
        Some(link.first.clone())
    }
}

impl Item {
    /// Reads and packs the item; its stream is appended to `stream`. Big files are only opened.
    pub(super) fn pack(&self, packer: &mut MemberPacker, stream: &mut Vec<u8>) -> Packed {
        if is_file(&self.found) && !matches!(self.header.kind, Kind::HardLink { .. }) {
            return file::pack(self, packer, stream);
        }
        let mut header = self.header.clone();
        let mut warnings = Vec::new();
        // The names of a hard link share what its first name has.
        if !matches!(header.kind, Kind::HardLink { .. }) {
            (header.xattrs, warnings) = self.found.xattrs(None);
        }
        let mut packed = self.pack_whole(header, self.details, &[], packer, warnings, stream);
        if let (Packed::Whole { entry, .. }, Some(_)) = (&mut packed, &self.found.lost) {
            entry.lost = Some("unreadable".into());
        }
        packed
    }

    /// Packs one stream; attributes that there is no room for are left out.
    pub(super) fn pack_whole(
        &self,
        mut header: MemberHeader,
        details: Details,
        data: &[u8],
        packer: &mut MemberPacker,
        mut warnings: Vec<Warning>,
        stream: &mut Vec<u8>,
    ) -> Packed {
        let mut packed = packer.pack_whole(&header, details, data, stream);
        if let Err(kind @ FormatError::Limit { what: "PAX records", .. }) = packed {
            header.xattrs = Xattrs::default();
            warnings.push(Warning::XattrsLeftOut(kind));
            packed = packer.pack_whole(&header, details, data, stream);
        }
        match packed {
            Ok(entry) => Packed::Whole { entry: Box::new(entry), warnings },
            Err(kind) => Packed::Failed(Error::Unstorable { path: header.path, kind }),
        }
    }

    /// Returns an error of the system as one of this item.
    pub(super) fn failed(&self, op: &'static str, source: std::io::Error) -> Packed {
        let path = PathBuf::from(self.header.path.to_string());
        Packed::Failed(Error::Io { op, path, source })
    }

    /// Returns the entry of a file whose content is not in the archive.
    pub(super) fn lost_entry(&self, reason: &str) -> Entry {
        let size = u64::try_from(self.found.stat.st_size).unwrap_or(0);
        let header = MemberHeader { kind: Kind::File { size }, ..self.header.clone() };
        Entry { lost: Some(reason.into()), ..entry_of(&header, self.details) }
    }
}

pub(super) fn mtime(stat: &Stat) -> Timestamp {
    Timestamp::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

pub(super) fn ctime(stat: &Stat) -> Timestamp {
    Timestamp::new(stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0))
}
