//! The temporary name of an archive, which locks it: only one run writes an archive at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, OFlags};

use super::paths::with_suffix;
use crate::error::{Error, Result};

/// What is added to an archive's name while it is being written.
const PARTIAL: &str = ".isptar-partial";

/// Returns the temporary name.
pub(super) fn partial_of(path: &Path) -> PathBuf {
    with_suffix(path, PARTIAL)
}

/// The temporary name, held only as a lock: nothing is written to it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Locks the archive at `archive`.
    pub(super) fn take(archive: &Path) -> Result<Self> {
        let path = partial_of(archive);
        let (file, _leftover) = open_locked(&path)?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What stays is empty and not locked: the next run removes it.
        let _removed = std::fs::remove_file(&self.path);
    }
}

/// Makes the temporary file and locks it; returns whether a killed run had left one, which is removed
/// then. Nothing is ever written into what was there: it may have other names, and other users.
pub(super) fn open_locked(partial: &Path) -> Result<(File, bool)> {
    let mut leftover = false;
    loop {
        let Some((file, is_new)) =
            open_or_make(partial).map_err(output("create", Some(partial)))?
        else {
            continue;
        };
        let opened = rustix::fs::fstat(file.as_fd()).map_err(output("create", Some(partial)))?;
        if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
            let error = io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no file");
            return Err(output("create", Some(partial))(error));
        }
        // File systems without locks have to do without.
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked == Err(rustix::io::Errno::WOULDBLOCK) && !is_new {
            return Err(Error::Busy { path: partial.into() });
        }
        // Before it was locked, another run may have renamed it, or taken it for a leftover.
        let named = match std::fs::symlink_metadata(partial) {
            Ok(metadata) => (metadata.dev(), metadata.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(output("create", Some(partial))(error)),
        };
        if named != (opened.st_dev, opened.st_ino) {
            continue;
        }
        if is_new {
            return Ok((file, leftover));
        }
        leftover |= opened.st_size > 0;
        std::fs::remove_file(partial).map_err(output("remove", Some(partial)))?;
    }
}

/// Makes the file, or opens what is there; returns whether it was made, and `None` when what was
/// there has gone meanwhile.
fn open_or_make(partial: &Path) -> io::Result<Option<(File, bool)>> {
    let mut options = OpenOptions::new();
    // A FIFO must not be waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).write(true).custom_flags(flags.bits().cast_signed());
    match options.create_new(true).open(partial) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(|file| Some((file, true))),
    }
    match options.create_new(false).open(partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(|file| Some((file, false))),
    }
}

/// Syncs a directory, so that the names in it last.
pub(super) fn sync_directory(directory: &Path, path: &Path) -> Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        // What was renamed is in place; some directories cannot be opened for reading, and some
        // file systems cannot sync them.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced.map_err(output("sync the directory of", Some(path))),
    }
}

/// Returns a function that tells what could not be done to an archive.
pub(super) fn output<E: Into<io::Error>>(
    op: &'static str,
    path: Option<&Path>,
) -> impl FnOnce(E) -> Error + use<E> {
    let path = path.map(Path::to_path_buf);
    move |source| Error::Output { op, path, source: source.into() }
}
