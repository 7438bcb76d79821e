//! Work items: what the walk found, with names and hard links settled.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FileType, major, minor};

use super::big::BigFile;
use super::{CreateOptions, CreateReport};
use crate::base::Why;
use crate::codec::Method;
use crate::error::Error;
use crate::format::entry::{Dialect, Entry, EntryRef, Frame, Kind, KindRef};
use crate::format::member::{MemberHeader, Xattrs};
use crate::format::timestamp::Timestamp;
use crate::format::{BLOCK, padding};
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, entry_of};
use crate::path::MemberPath;
use crate::run::Run;
use crate::select::Patterns;
use crate::source::{Found, Names, OpenError, ctime, mtime};

/// One thing to be stored. Items are made in listing order; packing needs nothing but the item.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) found: Found,
    /// Headers, but for the extended attributes of all but directories, and for the size and holes
    /// of a file. They go into the entry when the item is packed.
    pub(crate) header: MemberHeader,
    pub(crate) details: Details,
    /// What is to be told when it is stored.
    pub(crate) warnings: Vec<Warning>,
    pub(crate) reproducible: bool,
    /// How its content is written.
    pub(crate) method: Method,
    pub(crate) classic: bool,
    /// Why it is stored although there is a base.
    pub(crate) why: Option<Why>,
    /// What the base has of it.
    pub(crate) old: Option<Box<Old>>,
    /// Entries without bytes that come before it.
    pub(crate) before: Option<Box<Run>>,
    /// Of a directory: why not all that is in it is known.
    lost: Option<std::io::Error>,
}

/// What a base has of an item.
#[derive(Debug)]
pub(crate) struct Old {
    /// The entry, as an archive on the base has it.
    pub(crate) entry: Entry,
    /// What the entry stands for.
    pub(crate) use_of: Use,
}

/// What an entry of a base stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// For an item that cannot be stored now.
    Lost,
    /// For an item of which these turn out to be the same.
    Same {
        /// Extended attributes, ACLs and label.
        xattr: bool,
        /// The content.
        content: bool,
    },
    /// For a hard link whose first name turns out to be unchanged.
    AsFirst,
}

/// What became of an item.
#[derive(Debug)]
pub(crate) enum Packed {
    /// It is what the base has of it.
    Unchanged,
    /// Its entry, with a location in the streams that were packed together with it.
    Whole {
        entry: Box<Entry>,
        /// Whether it is what the walk found, or a file that took its name meanwhile.
        same: bool,
    },
    /// A file of several chunks, open.
    Big(Box<BigFile>),
    /// A file that the walk found to be of one chunk, and that is of several by now.
    Grown,
    /// Gone by now.
    Vanished,
    /// Not readable.
    Failed(Error),
}

/// Makes items in order.
#[derive(Debug)]
pub(crate) struct Items {
    names: Names,
    links: HashMap<(u64, u64), Link>,
    reproducible: bool,
    no_compress: Patterns,
    classic: bool,
}

/// A file with several names, of which some were not met.
#[derive(Debug)]
struct Link {
    first: MemberPath,
    left: u64,
    /// Size and time of change.
    version: (i64, Timestamp),
    fate: Fate,
}

/// What becomes of the first name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    /// It is stored.
    #[default]
    Stored,
    /// The base has it.
    Unchanged,
    /// That is known only when it is read.
    Open,
}

/// What was found, as an archive has it.
#[derive(Debug)]
pub(crate) enum Met {
    /// A thing of this kind; of a hard link, with what becomes of its first name.
    Kind(Kind, Fate),
    /// Nothing that could be stored: it is gone.
    Nothing,
    /// Something that cannot be read, which was told.
    Unreadable,
}

impl Items {
    pub(crate) fn new(options: &CreateOptions) -> Self {
        Self {
            names: Names::new(!options.reproducible),
            links: HashMap::new(),
            reproducible: options.reproducible,
            no_compress: options.no_compress.clone(),
            classic: options.dialect == Dialect::Classic,
        }
    }

    /// Makes the item of what was found; `None` when it cannot be stored, which is told.
    pub(crate) fn next(
        &mut self,
        found: Found,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Option<Item> {
        match self.meet(&found, report, observer) {
            Met::Kind(kind, _) => Some(self.make(found, kind)),
            Met::Nothing | Met::Unreadable => None,
        }
    }

    /// Returns what was found as an archive has it.
    pub(crate) fn meet(
        &mut self,
        found: &Found,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Met {
        match self.kind(found) {
            Ok(Some((kind, fate))) => Met::Kind(kind, fate),
            Ok(None) => Met::Nothing,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                report.vanished += 1;
                let (path, warning) = (&found.path, &Warning::Vanished);
                observer.event(Event::Warning { path, warning });
                Met::Nothing
            }
            Err(source) => {
                report.unreadable += 1;
                let path = PathBuf::from(found.path.to_string());
                let error = &Error::Io { op: "read the link", path, source };
                observer.event(Event::Failed { path: &found.path, error });
                Met::Unreadable
            }
        }
    }

    /// Says what becomes of a first name, for those that may follow.
    pub(crate) fn settle(&mut self, found: &Found, fate: Fate) {
        if found.stat.st_nlink > 1
            && let Some(link) = self.links.get_mut(&(found.stat.st_dev, found.stat.st_ino))
        {
            link.fate = fate;
        }
    }

    /// Returns the entry of something that has not changed, made of what the base has of it.
    pub(crate) fn unchanged<'e>(
        &'e mut self,
        found: &'e Found,
        old: EntryRef<'e>,
        is_classic: bool,
    ) -> EntryRef<'e> {
        let stat = &found.stat;
        let (user, group) = self.names.owner(u64::from(stat.st_uid), u64::from(stat.st_gid));
        let mut entry = old.above(is_classic);
        (entry.user, entry.group) = (Cow::Borrowed(user), Cow::Borrowed(group));
        entry.mtime = Some(mtime(stat));
        entry.ctime = Some(ctime(stat)).filter(|_| !self.reproducible);
        entry.ino = Some(stat.st_ino).filter(|_| !self.reproducible);
        entry.partial = found.partial;
        entry
    }

    /// Sets the frame of the entry of a file with one name, or a directory.
    pub(crate) fn frame(&mut self, found: &Found, frame: &mut Frame) {
        let stat = &found.stat;
        let (uid, gid) = (u64::from(stat.st_uid), u64::from(stat.st_gid));
        let (user, group) = self.names.owner(uid, gid);
        let kind = match found.file_type() {
            FileType::Directory => KindRef::Directory,
            _ => KindRef::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
        };
        let mut entry = EntryRef::new(found.path.borrowed(), kind);
        entry.mode = stat.st_mode & 0o7777;
        (entry.user, entry.uid) = (Cow::Borrowed(user), uid);
        (entry.group, entry.gid) = (Cow::Borrowed(group), gid);
        (entry.mtime, entry.ctime) = (Some(mtime(stat)), Some(ctime(stat)));
        entry.ino = Some(stat.st_ino);
        frame.set(&entry);
    }

    /// Makes the item of what was found.
    pub(crate) fn make(&mut self, mut found: Found, kind: Kind) -> Item {
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
        let lost = found.lost.take();
        let method = self.method(&found);
        let mut item = Item {
            found,
            header,
            details,
            warnings: Vec::new(),
            reproducible: self.reproducible,
            method,
            classic: self.classic,
            why: None,
            old: None,
            before: None,
            lost,
        };
        if item.header.kind == Kind::Directory {
            // At once, so that the handles of directories need not be kept.
            item.read_xattrs(None);
            item.found.release();
        }
        item
    }

    /// Returns how the content of a file is written, which its other names do as well: their first
    /// one may turn out to be gone.
    fn method(&self, found: &Found) -> Method {
        match found.file_type() {
            FileType::RegularFile => self.method_of(&found.path),
            _ => Method::Deflate,
        }
    }

    /// Returns how content of that name is written.
    pub(crate) fn method_of(&self, path: &MemberPath) -> Method {
        match self.no_compress.matches_within(path, false) {
            true => Method::Store,
            false => Method::Deflate,
        }
    }

    /// Returns the kind; `None` for what no archive can hold. Of a hard link, with what becomes of
    /// its first name.
    fn kind(&mut self, found: &Found) -> std::io::Result<Option<(Kind, Fate)>> {
        let stat = &found.stat;
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match found.file_type() {
            FileType::RegularFile => Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
            FileType::Directory => return Ok(Some((Kind::Directory, Fate::Stored))),
            // Never as a hard link: Python sets the mode of one through the link.
            FileType::Symlink => {
                let target = found.read_link()?;
                return Ok(Some((Kind::Symlink { target }, Fate::Stored)));
            }
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        Ok(Some(match self.earlier_name(found) {
            Some((target, fate)) => (Kind::HardLink { target }, fate),
            None => (kind, Fate::Stored),
        }))
    }

    /// Returns the first name of something that was met before under another. It is forgotten when
    /// all its names were met.
    fn earlier_name(&mut self, found: &Found) -> Option<(MemberPath, Fate)> {
        #[allow(clippy::useless_conversion, reason = "narrower on other machines")]
        let names = u64::from(found.stat.st_nlink);
        if names < 2 {
            return None;
        }
        let key = (found.stat.st_dev, found.stat.st_ino);
        let version = (found.stat.st_size, mtime(&found.stat));
        // An inode number may be given to another file while the walk goes on.
        let link = self.links.get_mut(&key).filter(|link| link.version == version);
        let Some(link) = link else {
            let (first, fate) = (found.path.clone(), Fate::Stored);
            let link = Link { first, left: names - 1, version, fate };
            self.links.insert(key, link);
            return None;
        };
        link.left -= 1;
        if link.left == 0 {
            return self.links.remove(&key).map(|link| (link.first, link.fate));
        }
        Some((link.first.clone(), link.fate))
    }
}

impl Item {
    /// Returns whether it has content: a regular file that is not another name of one.
    pub(crate) fn has_content(&self) -> bool {
        matches!(self.header.kind, Kind::File { .. })
    }

    /// Reads the extended attributes, of a file through its handle, and begins to collect what is
    /// to be told.
    pub(crate) fn read_xattrs(&mut self, file: Option<&File>) {
        (self.header.xattrs, self.warnings) = self.found.xattrs(file);
        if self.classic && !self.header.xattrs.is_empty() {
            self.header.xattrs = Xattrs::default();
            self.warnings.push(Warning::NoXattrs);
        }
    }

    /// Returns whether it is to be read before it is known whether it is stored.
    pub(crate) fn is_read_first(&self) -> bool {
        let use_of = self.old.as_ref().map(|old| old.use_of);
        matches!(use_of, Some(Use::Same { .. }))
    }

    /// Returns the first name of a hard link which is unchanged if that is.
    pub(crate) fn as_first(&self) -> Option<&MemberPath> {
        match self.old.as_deref()? {
            Old { entry, use_of: Use::AsFirst } => match &entry.kind {
                Kind::HardLink { target } => Some(target),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns whether a directory could not be read to its end.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Returns how many bytes of tar it will be, as far as the walk knows.
    pub(crate) fn tar_len(&self) -> u64 {
        let size = self.header.kind.size();
        (BLOCK as u64).saturating_add(size).saturating_add(padding(size))
    }

    /// Takes the headers back out of an entry, to be packed again.
    pub(crate) fn take_back(&mut self, entry: Entry) {
        self.header = MemberHeader {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user,
            group: entry.group,
            mtime: mtime(&self.found.stat),
            xattrs: std::mem::take(&mut self.header.xattrs),
            ..MemberHeader::new(entry.path, entry.kind)
        };
    }

    /// Returns the kind of the thing itself, for a name that was to be a hard link; the size of a
    /// file is settled when it is read.
    pub(crate) fn own_kind(&self) -> Kind {
        let device = self.found.stat.st_rdev;
        let (major, minor) = (major(device), minor(device));
        match self.found.file_type() {
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            _ => Kind::File { size: 0 },
        }
    }

    /// Returns whether the file had other names when the walk found it.
    pub(crate) fn has_several_names(&self) -> bool {
        self.found.stat.st_nlink > 1 && self.found.file_type() != FileType::Directory
    }

    /// Returns the error that kept a directory from being read, if one did.
    pub(crate) fn lost_directory(&self) -> Option<Error> {
        let source = self.lost.as_ref()?;
        let source = std::io::Error::new(source.kind(), source.to_string());
        Some(self.error("read the directory", source))
    }

    /// Tries whether the item can be read, without reading it; the error is absent when it is gone.
    pub(crate) fn try_open(&self) -> Result<(), Option<Error>> {
        if let Some(error) = self.lost_directory() {
            return Err(Some(error));
        }
        if !matches!(self.header.kind, Kind::File { .. }) {
            return Ok(());
        }
        match self.found.open() {
            Ok(_) => Ok(()),
            Err(error) if error.is_vanished() => Err(None),
            Err(OpenError::Io(source)) => Err(Some(self.error("open", source))),
            Err(error) => Err(Some(self.error("read", std::io::Error::other(error)))),
        }
    }

    fn error(&self, op: &'static str, source: std::io::Error) -> Error {
        Error::Io { op, path: PathBuf::from(self.found.path.to_string()), source }
    }

    /// Returns an error of the system as one of this item.
    pub(crate) fn failed(&self, op: &'static str, source: std::io::Error) -> Packed {
        Packed::Failed(self.error(op, source))
    }

    /// Returns the entry of a file whose content is not in the archive.
    pub(crate) fn lost_entry(&self, reason: &str) -> Entry {
        let size = u64::try_from(self.found.stat.st_size).unwrap_or(0);
        let header = MemberHeader { kind: Kind::File { size }, ..self.header.clone() };
        Entry { lost: Some(reason.into()), ..entry_of(&header, self.details) }
    }
}
