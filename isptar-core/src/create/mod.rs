//! The create job: from a tree of files to an archive.
//!
//! The walk finds things in listing order; each becomes an `Item` (names, hard links: in order),
//! is packed (opened, read, digested, compressed: in any order), and stored (in order again).

mod file;
pub(crate) mod holes;
mod item;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use rustix::fs::FileType;

use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::Sink;
use crate::limits::Limits;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{MemberPacker, entry_of};
use crate::path::MemberPath;
use crate::select::Patterns;
use crate::source::{Found, SourceOptions, Walk};
use crate::writer::{ArchiveWriter, WriterOptions};

use file::BigFile;
use item::{Item, Items, Packed};

/// What goes into an archive, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Compression level: 0 stores, 12 is the smallest. Default 6.
    pub level: u8,
    /// Directory in which relative paths are looked up. Default `.`.
    pub directory: PathBuf,
    /// What is left out.
    pub exclude: Patterns,
    /// Leave out the contents of directories that have a valid CACHEDIR.TAG, but that file.
    pub exclude_caches: bool,
    /// Leave out the contents of directories that have a file of one of these names, but that file.
    pub exclude_if_present: Vec<Vec<u8>>,
    /// Stay on the file systems of the paths given.
    pub one_file_system: bool,
    /// Store extended attributes, ACLs and labels. Default true.
    pub xattrs: bool,
    /// Leave out everything that differs between two copies of the same tree.
    pub reproducible: bool,
    /// When the archive is begun, in seconds since 1970.
    pub created: Option<u64>,
    /// What makes the archive, for its info.
    pub tool: Option<String>,
    /// Files that are never archived, by device and inode number. Those that the sink names need not
    /// be here.
    pub own_files: Vec<(u64, u64)>,
    /// Directory for the spooled listing, once it is larger than a megabyte; the system's
    /// temporary directory when absent.
    pub spool: Option<PathBuf>,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            level: 6,
            directory: PathBuf::from("."),
            exclude: Patterns::default(),
            exclude_caches: false,
            exclude_if_present: Vec::new(),
            one_file_system: false,
            xattrs: true,
            reproducible: false,
            created: None,
            tool: None,
            own_files: Vec::new(),
            spool: None,
        }
    }
}

/// What a create job did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CreateReport {
    /// Members stored.
    pub members: u64,
    /// Of these, regular files.
    pub files: u64,
    /// Bytes of content stored.
    pub bytes: u64,
    /// Length of the archive; 0 for a dry run.
    pub archive_size: u64,
    /// The archive's identity; absent for a dry run.
    pub identity: Option<[u8; 32]>,
    /// Files that changed while they were read.
    pub changed: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// Files that vanished before they were read.
    pub vanished: u64,
    /// Left out by intent.
    pub left_out: u64,
    /// Other warnings.
    pub warnings: u64,
}

impl CreateOptions {
    fn source(&self, mut own_files: Vec<(u64, u64)>) -> SourceOptions {
        own_files.extend(&self.own_files);
        SourceOptions {
            exclude: self.exclude.clone(),
            exclude_caches: self.exclude_caches,
            exclude_if_present: self.exclude_if_present.clone(),
            one_file_system: self.one_file_system,
            xattrs: self.xattrs,
            names: !self.reproducible,
            own_files,
        }
    }

    /// Returns how the writer is to write.
    pub(crate) fn writer(&self) -> WriterOptions {
        WriterOptions {
            level: self.level,
            created: self.created.filter(|_| !self.reproducible),
            tool: self.tool.clone().filter(|_| !self.reproducible),
            spool: self.spool.clone(),
            ..WriterOptions::default()
        }
    }
}

/// Archives `paths` into `sink` and publishes it.
///
/// What cannot be read is told to the observer and counted, and the rest is stored.
///
/// # Errors
///
/// [`Error::BadSource`], [`Error::NothingStored`], [`Error::Output`] or [`Error::Cancelled`]; nothing is
/// published then.
pub fn create(
    sink: &mut dyn Sink,
    paths: &[PathBuf],
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let mut walk = Walk::new(&options.directory, paths, options.source(sink.own_files()))?;
    let mut items = Items::new(options);
    let packer = MemberPacker::new(options.level, Limits::default());
    let writer = ArchiveWriter::new(sink, &options.writer())?;
    let mut job = Job::new(writer, packer, options.reproducible);
    let mut stream = Vec::new();
    while let Some(found) = walk.next(observer)? {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(item) = items.next(found, &mut job.report, observer) else { continue };
        stream.clear();
        let packed = item.pack(&mut job.packer, &mut stream);
        job.store(item, packed, &stream, observer)?;
    }
    if job.report.members == 0 {
        // A slip of the pen, or a disk that is not mounted, must not replace a good backup by an
        // empty one.
        return Err(Error::NothingStored);
    }
    job.finish(&walk)
}

/// Walks as [`create`] would and tells the observer what would be stored and what left out.
///
/// # Errors
///
/// [`Error::BadSource`] or [`Error::Cancelled`].
pub fn plan(
    paths: &[PathBuf],
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let mut walk = Walk::new(&options.directory, paths, options.source(Vec::new()))?;
    let mut items = Items::new(options);
    let mut report = CreateReport::default();
    while let Some(found) = walk.next(observer)? {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(item) = items.next(found, &mut report, observer) else { continue };
        let path = &item.header.path;
        let entry = entry_of(&item.header, item.details);
        match item.try_open() {
            Ok(()) => {
                report.count(&entry);
                observer.event(Event::Done { entry: &entry });
            }
            Err(None) => {
                report.vanished += 1;
                observer.event(Event::Warning { path, warning: &Warning::Vanished });
            }
            Err(Some(error)) => {
                report.unreadable += 1;
                observer.event(Event::Failed { path, error: &error });
                if item.header.kind == Kind::Directory {
                    report.count(&entry);
                    observer.event(Event::Done { entry: &entry });
                }
            }
        }
    }
    report.add_walk(&walk);
    Ok(report)
}

impl CreateReport {
    pub(crate) fn count(&mut self, entry: &Entry) {
        self.members += 1;
        self.files += u64::from(matches!(entry.kind, Kind::File { .. }));
        self.bytes += entry.kind.size();
    }

    fn add_walk(&mut self, walk: &Walk) {
        self.left_out += walk.left_out();
        self.vanished += walk.vanished();
        self.unreadable += walk.failed();
    }

    /// Returns whether something that should be in the archive is not.
    pub fn is_incomplete(&self) -> bool {
        self.unreadable > 0
    }
}

/// What an item left in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// What the walk found under its name.
    Whole,
    /// Another file, which replaced the one that the walk found.
    Other,
    /// No content.
    Without,
}

/// The part of the job that works in order: storing what was packed, and telling of it.
struct Job<S> {
    writer: ArchiveWriter<S>,
    report: CreateReport,
    /// First names of files with several names whose content is not in the archive under them:
    /// they could not be stored, or were replaced meanwhile. With the name that has it instead, once
    /// there is one.
    moved: HashMap<MemberPath, Option<MemberPath>>,
    packer: MemberPacker,
    reproducible: bool,
}

impl<S: Sink> Job<S> {
    fn new(writer: ArchiveWriter<S>, packer: MemberPacker, reproducible: bool) -> Self {
        let report = CreateReport::default();
        Self { writer, report, moved: HashMap::new(), packer, reproducible }
    }

    /// Stores an item; what no reader would take is told.
    fn store(
        &mut self,
        mut item: Item,
        mut packed: Packed,
        stream: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let path = item.header.path.clone();
        let mut stream = Cow::Borrowed(stream);
        let mut moved_from = None;
        if let Kind::HardLink { target } = &item.header.kind
            && let Some(moved) = self.moved.get(target)
        {
            // The content is under another name, or this one is the first that may have it.
            let first = target.clone();
            item.header.kind = match moved {
                Some(target) => Kind::HardLink { target: target.clone() },
                None => item.own_kind(),
            };
            moved_from = Some(first).filter(|_| moved.is_none());
            let mut again = Vec::new();
            packed = item.pack(&mut self.packer, &mut again);
            stream = Cow::Owned(again);
        }
        if let Some(error) = item.lost_directory() {
            self.fail(&path, &error, observer);
        }
        let several = item.has_several_names();
        let stored = match self.store_packed(&item, packed, &stream, observer) {
            // Longer or deeper than any reader takes.
            Err(error @ (Error::Unstorable { .. } | Error::UnsafePath { .. })) => {
                self.fail(&path, &error, observer);
                Stored::Without
            }
            stored => stored?,
        };
        match (stored, moved_from) {
            (Stored::Whole, Some(first)) => {
                self.moved.insert(first, Some(path));
            }
            (Stored::Without | Stored::Other, None) if several => {
                self.moved.insert(path, None);
            }
            _ => {}
        }
        Ok(())
    }

    fn store_packed(
        &mut self,
        item: &Item,
        packed: Packed,
        stream: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<Stored> {
        let path = &item.header.path;
        match packed {
            Packed::Whole { entry, warnings, same } => {
                let entry = self.writer.push(*entry, stream)?;
                for warning in &warnings {
                    self.warn(path, warning, observer);
                }
                observer.event(Event::Progress { bytes: entry.kind.size() });
                self.done(&entry, observer);
                Ok(if same { Stored::Whole } else { Stored::Other })
            }
            Packed::Big(big) => {
                let same = big.same;
                self.store_big(big, observer)?;
                Ok(if same { Stored::Whole } else { Stored::Other })
            }
            Packed::Vanished => {
                self.report.vanished += 1;
                observer.event(Event::Warning { path, warning: &Warning::Vanished });
                self.lose(item, "vanished")
            }
            Packed::Failed(error) => {
                self.fail(path, &error, observer);
                self.lose(item, "unreadable")
            }
        }
    }

    /// Stores a file of several chunks.
    fn store_big(&mut self, mut big: Box<BigFile>, observer: &mut dyn Observer) -> Result<()> {
        let path = big.header.path.clone();
        for warning in &big.warnings {
            self.warn(&path, warning, observer);
        }
        let mut member = self.writer.begin(&big.header)?;
        while let Some(chunk) = big.next_chunk() {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            self.writer.append_chunk(&mut member, chunk)?;
            observer.event(Event::Progress { bytes: chunk.len() as u64 });
        }
        let details = big.finish(self.reproducible);
        if let Some(error) = &big.error {
            self.fail(&path, error, observer);
        } else if details.dirty {
            self.warn(&path, &Warning::Changed, observer);
        }
        let entry = self.writer.end(member, details)?;
        self.done(&entry, observer);
        Ok(())
    }

    /// Records a thing whose content is not in the archive.
    fn lose(&mut self, item: &Item, reason: &str) -> Result<Stored> {
        if matches!(item.header.kind, Kind::File { .. }) {
            match self.writer.put_entry(&item.lost_entry(reason)) {
                // What the listing cannot name is told all the same.
                Ok(()) | Err(Error::Unstorable { .. } | Error::UnsafePath { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Stored::Without)
    }

    fn done(&mut self, entry: &Entry, observer: &mut dyn Observer) {
        self.report.count(entry);
        observer.event(Event::Done { entry });
    }

    fn fail(&mut self, path: &MemberPath, error: &Error, observer: &mut dyn Observer) {
        self.report.unreadable += 1;
        observer.event(Event::Failed { path, error });
    }

    fn warn(&mut self, path: &MemberPath, warning: &Warning, observer: &mut dyn Observer) {
        match warning {
            Warning::Changed => self.report.changed += 1,
            _ => self.report.warnings += 1,
        }
        observer.event(Event::Warning { path, warning });
    }

    fn finish(mut self, walk: &Walk) -> Result<CreateReport> {
        self.report.add_walk(walk);
        if self.report.is_incomplete() {
            self.writer.set_incomplete();
        }
        let (_, written) = self.writer.finish()?;
        self.report.archive_size = written.archive_size;
        self.report.identity = Some(written.identity);
        Ok(self.report)
    }
}

/// Returns whether a found thing is a regular file.
fn is_file(found: &Found) -> bool {
    found.file_type() == FileType::RegularFile
}
