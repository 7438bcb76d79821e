//! The extract job: from an archive to a tree of files.

use std::io::Read;
use std::path::Path;

use crate::archive::Archive;
use crate::error::Result;
use crate::io::ReadAt;
use crate::observe::Observer;
use crate::scan::TarReader;
use crate::select::Selection;

/// What happens to files that the target already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Keep them.
    Never,
    /// Replace them.
    #[default]
    Always,
    /// Replace those whose time of change is before the member's.
    Newer,
    /// Replace those whose size or time of change is not the member's.
    Different,
}

/// How members are restored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExtractOptions {
    /// What happens to files that the target already has.
    pub overwrite: Overwrite,
    /// Leading components that are dropped from every name.
    pub strip_components: usize,
    /// Restore owners; only root can. Default: whether the process is root.
    pub owner: bool,
    /// Take owners by their numbers, not by the names.
    pub numeric_owner: bool,
    /// Restore extended attributes, ACLs and labels. Default true.
    pub xattrs: bool,
    /// Change nothing, only tell what would be restored.
    pub dry_run: bool,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            overwrite: Overwrite::default(),
            strip_components: 0,
            owner: rustix::process::geteuid().is_root(),
            numeric_owner: false,
            xattrs: true,
            dry_run: false,
        }
    }
}

/// What an extract job did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExtractReport {
    /// Members restored.
    pub members: u64,
    /// Of these, regular files.
    pub files: u64,
    /// Bytes of content restored.
    pub bytes: u64,
    /// Members that could not be restored.
    pub failed: u64,
    /// Members that the target had already and that were kept.
    pub kept: u64,
    /// Members that were known but unreadable when the archive was made.
    pub lost: u64,
    /// Warnings.
    pub warnings: u64,
}

/// Restores the members of `archive` that `selection` means below `target`.
pub fn extract<R: ReadAt>(
    _archive: &Archive<R>,
    _selection: &Selection,
    _target: &Path,
    _options: &ExtractOptions,
    _observer: &mut dyn Observer,
) -> Result<ExtractReport> {
    todo!()
}

/// Restores the members of a tar that is read from front to back.
pub fn extract_sequential<R: Read>(
    _tar: &mut TarReader<R>,
    _selection: &Selection,
    _target: &Path,
    _options: &ExtractOptions,
    _observer: &mut dyn Observer,
) -> Result<ExtractReport> {
    todo!()
}
