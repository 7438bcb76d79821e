//! Finding the bases of incremental archives.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isptar_core::format::tables::Base;
use isptar_core::{Archive, BaseProblem, OwnNames};

use crate::commands::open::OpenArgs;
use crate::failure::{Failure, chain};
use crate::input::{Listed, is_stdin, open_slices, shown};

/// Looks for bases where the user says they are, and else beside the archive.
#[derive(Debug)]
pub(crate) struct Finder {
    beside: PathBuf,
    args: OpenArgs,
}

impl Finder {
    /// Makes one for the archive at `path`.
    pub(crate) fn new(path: &Path, args: &OpenArgs) -> Self {
        Self { beside: path.parent().unwrap_or(Path::new("")).to_owned(), args: args.of_base() }
    }

    /// Opens a base.
    pub(crate) fn find(&self, base: &Base) -> Result<Listed, BaseProblem> {
        let mut problem = None;
        let name = OsStr::from_bytes(&base.name);
        let given = self.args.bases().iter();
        // Those of the right name first: the others need not be opened then.
        let (named, others): (Vec<_>, Vec<_>) =
            given.partition(|path| path.file_name() == Some(name));
        let beside = self.beside.join(name);
        for path in named.into_iter().chain(others) {
            match self.open(path, base) {
                Ok(archive) => return Ok(archive),
                // Of several, most are other bases.
                Err(BaseProblem::Wrong { .. }) => {}
                Err(other) => problem = Some(other),
            }
        }
        let found = regular(&beside).and_then(|()| self.open(&beside, base));
        found.map_err(|other| problem.unwrap_or(other))
    }

    fn open(&self, path: &Path, base: &Base) -> Result<Listed, BaseProblem> {
        let unreadable = |reason| BaseProblem::Unreadable { place: shown(path), reason };
        let slices = open_slices(path, &self.args).map_err(|failure| match failure {
            Failure::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                not_found(path)
            }
            Failure::Open { source, .. } => unreadable(source.to_string()),
            failure => unreadable(chain(&failure)),
        })?;
        let slices = slices.ok_or_else(|| unreadable("it is no file".into()))?;
        let archive = Archive::open_with(slices, self.args.limits())
            .map_err(|error| unreadable(chain(&error)))?;
        let actual = archive.identity().map_err(|error| unreadable(chain(&error)))?;
        if actual != base.identity {
            return Err(BaseProblem::wrong(shown(path), &actual));
        }
        match archive.is_listing() {
            true => Err(unreadable("it is the listing of that archive alone".into())),
            false => Ok(archive),
        }
    }
}

/// Returns the device and inode numbers of the files that an archive and its bases are in, as far
/// as these are there.
pub(crate) fn files(archive: &Listed) -> Vec<(u64, u64)> {
    let slices = [archive].into_iter().chain(bases_of(archive)).filter_map(Archive::slices);
    let paths = slices.flat_map(|set| (1..=set.count()).map(|number| set.path_of(number)));
    let found = paths.filter_map(|path| fs::metadata(path).ok());
    found.map(|file| (file.dev(), file.ino())).collect()
}

/// Refuses to write an archive in place of one that is read, or of a base of it: those that refer to
/// that base would have lost their members.
pub(crate) fn spare(archive: &Listed, new: &Path) -> Result<(), Failure> {
    spare_each([archive].into_iter().chain(bases_of(archive)), new)
}

/// Refuses to write an archive in place of a base of one that is read.
pub(crate) fn spare_bases(archive: &Listed, new: &Path) -> Result<(), Failure> {
    spare_each(bases_of(archive), new)
}

fn spare_each<'a>(archives: impl Iterator<Item = &'a Listed>, new: &Path) -> Result<(), Failure> {
    if is_stdin(new) {
        return Ok(());
    }
    // What cannot be looked at is told when it is written.
    let Ok(own) = OwnNames::of(new) else { return Ok(()) };
    for set in archives.filter_map(Archive::slices) {
        let damaged = set.path_of(1);
        let directory = match damaged.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let is_beside = fs::metadata(directory)
            .is_ok_and(|directory| (directory.dev(), directory.ino()) == own.directory);
        if is_beside && damaged.file_name().is_some_and(|name| own.has(name.as_bytes())) {
            return Err(Failure::SameFile { damaged, new: new.to_path_buf() });
        }
    }
    Ok(())
}

/// Returns the bases of an archive that are there.
fn bases_of(archive: &Listed) -> impl Iterator<Item = &Listed> {
    let depths = archive.tables().bases.iter().map(|base| base.depth);
    depths.filter_map(|depth| archive.at_depth(depth).ok())
}

/// Refuses what is beside the archive under the name of a base and is no regular file: a symbolic
/// link leads elsewhere, and a FIFO would be waited for. Slices have other names.
fn regular(path: &Path) -> Result<(), BaseProblem> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let reason = "it is no regular file".into();
            Err(BaseProblem::Unreadable { place: shown(path), reason })
        }
        _ => Ok(()),
    }
}

fn not_found(path: &Path) -> BaseProblem {
    BaseProblem::NotFound(format!("looked for {}", shown(path)))
}
