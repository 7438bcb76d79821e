//! The create job: from a tree of files to an archive.

use std::path::PathBuf;

use crate::error::Result;
use crate::io::Sink;
use crate::observe::Observer;
use crate::select::Patterns;

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

/// Archives `paths` into `sink` and publishes it.
pub fn create(
    _sink: &mut dyn Sink,
    _paths: &[PathBuf],
    _options: &CreateOptions,
    _observer: &mut dyn Observer,
) -> Result<CreateReport> {
    todo!()
}

/// Walks as [`create`] would and tells the observer what would be stored and what left out.
pub fn plan(
    _paths: &[PathBuf],
    _options: &CreateOptions,
    _observer: &mut dyn Observer,
) -> Result<CreateReport> {
    todo!()
}
