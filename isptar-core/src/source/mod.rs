//! Reading the source tree: what is there, in listing order, and its metadata.
//!
//! [`Walk`] goes by directory handles: after the first look-up of each given path no path string
//! is handed to the system, so there is no longest path and nobody can swap a directory for a
//! link below it. Its memory is the names of the directories from the root down to where it is;
//! its open handles are bounded.

mod directory;
mod found;
mod given;
mod metadata;
mod read;
mod steps;
mod tag;
mod walk;

pub use found::{Found, OpenError};
pub(crate) use given::member_path;
pub use metadata::Names;
pub(crate) use metadata::{group_id, user_id};
pub(crate) use read::{ctime, mtime, read_full};
pub(crate) use steps::Steps;
pub use walk::Walk;
pub(crate) use walk::{Step, Tally};

use crate::io::OwnNames;
use crate::select::Patterns;

/// What of a tree is read, and how.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// What is left out.
    pub exclude: Patterns,
    /// Leave out the contents of directories that have a valid CACHEDIR.TAG, but that file.
    pub exclude_caches: bool,
    /// Leave out the contents of directories that have a file of one of these names, but that file.
    pub exclude_if_present: Vec<Vec<u8>>,
    /// Stay on the file systems of the paths given.
    pub one_file_system: bool,
    /// Read extended attributes, ACLs and labels. Default true.
    pub xattrs: bool,
    /// Look up the names of users and groups: see [`Names::new`]. Default true.
    pub names: bool,
    /// Files that are never archived, by device and inode: the archive that is being written and
    /// the one that it replaces.
    pub own_files: Vec<(u64, u64)>,
    /// Names of such files, which may come to be only while the tree is read.
    pub own_names: Vec<OwnNames>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            exclude: Patterns::default(),
            exclude_caches: false,
            exclude_if_present: Vec::new(),
            one_file_system: false,
            xattrs: true,
            names: true,
            own_files: Vec::new(),
            own_names: Vec::new(),
        }
    }
}
