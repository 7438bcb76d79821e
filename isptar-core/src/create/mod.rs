//! The create job: from a tree of files to an archive.
//!
//! One thread, the driver, has all that must be in order. It walks the paths, sorted, by directory
//! handles, and makes `Item`s: names, hard links. Small ones go to the workers in batches, so that
//! what handing over costs is shared by many; with groups a batch is a group, composed from the
//! sizes that the walk saw. A worker opens, reads, makes headers, digests and packs: a small file
//! is read whole, then its header is made, so header and data agree. A big file is opened by the
//! driver and is a job for each chunk, whose data goes into the digest of the file when the chunk before
//! has; what is missing when it shrinks is zeros, and it is marked dirty.
//!
//! Results come back in order. `Store` puts out streams and adds lines to the listing block that is
//! open; a full block is a job, too, and then goes to the spool. What only then turns out to be
//! otherwise is packed again there: a hard link whose first name has no content, a file that has
//! outgrown its batch, and a group with such a link as single members. What is under way is bounded
//! in bytes, and in directories that are kept open.
//!
//! What [`Extras`] bring has its turn between the files of the walk (`agenda`); before a hook is
//! called, all jobs are done. Content of unknown length is packed by chunks into an unlinked file,
//! and copied from there when its headers can be written (`supply`). With a base, `changes` goes
//! through its listing beside the walk, which goes ahead on a thread of its own: what did not change
//! is handed on as lines, many at a time, and nothing of it is opened.

mod agenda;
mod batch;
pub(crate) mod big;
mod carried;
pub(crate) mod changes;
mod drive;
mod extras;
pub(crate) mod file;
pub(crate) mod holes;
pub(crate) mod item;
pub(crate) mod layout;
pub(crate) mod moved;
mod plan;
mod same;
mod store;
mod supply;

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use crate::base::CompareOptions;
use crate::error::{Error, Result};
use crate::format::entry::{Dialect, Entry, Kind};
use crate::io::{OwnNames, Sink};
use crate::limits::Limits;
use crate::observe::Observer;
use crate::parallel::in_order;
use crate::select::Patterns;
use crate::source::{SourceOptions, Steps, Tally, Walk};
use crate::writer::{ArchiveWriter, ClassicWriter, WriterOptions};

pub use extras::{Extras, Hook, Stage};
pub use plan::{plan, plan_with};

use batch::Worker;
use carried::Carried;
pub(crate) use carried::Carry;
use changes::Changes;
use drive::{Driver, workers};
use layout::Layout;
use store::Store;

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
    /// Files whose contents are stored as they are, in streams of their own: what matches, and what
    /// is in a directory that matches.
    pub no_compress: Patterns,
    /// Leave out the contents of directories that have a valid CACHEDIR.TAG, but that file.
    pub exclude_caches: bool,
    /// Leave out the contents of directories that have a file of one of these names, but that file.
    pub exclude_if_present: Vec<Vec<u8>>,
    /// Stay on the file systems of the paths given.
    pub one_file_system: bool,
    /// How things are compared with a base: see [`Extras::set_base`].
    pub compare: CompareOptions,
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
    /// Names of such files, which may come to be only while the tree is read. Those that the sink
    /// has need not be here.
    pub own_names: Vec<OwnNames>,
    /// Directory for the spooled listing, once it is larger than a megabyte; the system's
    /// temporary directory when absent.
    pub spool: Option<PathBuf>,
    /// How many threads read and pack; one for each core when absent. The archive is the same for
    /// any number.
    pub threads: Option<NonZero<usize>>,
    /// Bytes of tar, headers included, up to which small members that follow each other share one
    /// stream; at most [`Self::MAX_GROUP_SIZE`], larger values are taken for it. Each member has
    /// its own when absent.
    pub group_size: Option<NonZero<u64>>,
    /// In which program's layout the archive is written. Default ours. In the original's there are
    /// no groups, extended attributes, holes, fractions of seconds, and times of anything but files;
    /// attributes that are lost so are told.
    pub dialect: Dialect,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            level: 6,
            directory: PathBuf::from("."),
            exclude: Patterns::default(),
            no_compress: Patterns::default(),
            exclude_caches: false,
            exclude_if_present: Vec::new(),
            one_file_system: false,
            compare: CompareOptions::default(),
            xattrs: true,
            reproducible: false,
            created: None,
            tool: None,
            own_files: Vec::new(),
            own_names: Vec::new(),
            spool: None,
            threads: None,
            group_size: None,
            dialect: Dialect::Isptar,
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
    /// How many slices it is in; 0 for a dry run.
    pub slices: u64,
    /// The archive's identity; absent for a dry run.
    pub identity: Option<[u8; 32]>,
    /// Files that changed while they were read.
    pub changed: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// Files that vanished before they were read.
    pub vanished: u64,
    /// Not stored, because a base has them unchanged.
    pub unchanged: u64,
    /// In the base, and not there any more.
    pub deleted: u64,
    /// Not stored because they could not be read, or are in what could not be: what the base has of
    /// them is kept.
    pub kept: u64,
    /// Left out by intent.
    pub left_out: u64,
    /// Other warnings.
    pub warnings: u64,
}

impl CreateOptions {
    /// Largest group that readers take.
    pub const MAX_GROUP_SIZE: u64 = 1 << 20;

    /// Returns the size of groups; 0 when there are none.
    fn group(&self) -> u64 {
        if self.dialect == Dialect::Classic {
            return 0;
        }
        let most = Self::MAX_GROUP_SIZE.min(Limits::default().group);
        self.group_size.map_or(0, |size| size.get().min(most))
    }

    pub(crate) fn source(&self, mut own_files: Vec<(u64, u64)>) -> SourceOptions {
        own_files.extend(&self.own_files);
        SourceOptions {
            exclude: self.exclude.clone(),
            exclude_caches: self.exclude_caches,
            exclude_if_present: self.exclude_if_present.clone(),
            one_file_system: self.one_file_system,
            xattrs: self.xattrs,
            names: !self.reproducible,
            own_files,
            own_names: self.own_names.clone(),
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
/// [`crate::Error::BadSource`], [`crate::Error::TooFewHandles`], [`crate::Error::NothingStored`],
/// [`crate::Error::Output`] or [`crate::Error::Cancelled`]; nothing is published then.
pub fn create(
    sink: &mut dyn Sink,
    paths: &[PathBuf],
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    create_with(sink, paths, options, Extras::default(), observer)
}

/// Archives `paths` as [`create`] does, and what takes part beside them.
///
/// # Errors
///
/// Those of [`create`]; [`crate::Error::Hook`] and [`crate::Error::Supply`]. A hook that was called
/// before is called after in any case.
pub fn create_with(
    sink: &mut dyn Sink,
    paths: &[PathBuf],
    options: &CreateOptions,
    mut extras: Extras<'_>,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    drive::check_handles(options)?;
    if options.dialect == Dialect::Classic && extras.base.is_some() {
        return Err(Error::ClassicOnBase);
    }
    let mut source = options.source(sink.own_files());
    source.own_names.extend(sink.own_names());
    let walk = Walk::new(&options.directory, paths, source)?;
    if options.dialect == Dialect::Classic {
        let writer = ClassicWriter::new(sink, &options.writer())?;
        return fill(writer, walk, options, extras, observer);
    }
    let writer = ArchiveWriter::new(sink, &options.writer())?;
    match extras.carry.take() {
        Some(carry) => fill(Carried::new(writer, carry), walk, options, extras, observer),
        None => fill(writer, walk, options, extras, observer),
    }
}

/// Stores all that the walk finds.
fn fill(
    writer: impl Layout + Send,
    walk: Walk,
    options: &CreateOptions,
    mut extras: Extras<'_>,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let store = Store::new(writer, options);
    let worker = || Worker::new(options);
    let base = extras.base.take();
    // With a base the walk is most of the work. Hooks and supplies have their turns between its steps.
    let walk = Box::new(walk);
    let ahead = base.is_some() && extras.is_empty() && drive::has_room_ahead(options);
    thread::scope(|scope| {
        let steps = if ahead { Steps::ahead(walk, scope) } else { Steps::Here(walk) };
        in_order(workers(options), worker, Worker::work, |lane| {
            let changes = Changes::new(base, options);
            Driver::new(steps, store, options, lane, extras, observer).run(changes)
        })
    })
}

impl CreateReport {
    pub(crate) fn count(&mut self, entry: &Entry) {
        self.members += 1;
        self.files += u64::from(matches!(entry.kind, Kind::File { .. }));
        self.bytes += entry.kind.size();
    }

    pub(crate) fn add_walk(&mut self, walk: Tally) {
        self.left_out += walk.left_out;
        self.vanished += walk.vanished;
        self.unreadable += walk.failed;
    }

    /// Returns whether something that should be in the archive is not.
    pub fn is_incomplete(&self) -> bool {
        self.unreadable > 0
    }
}
