//! Where an archive is written to: slices that are finished one after another, then published.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::lock::{open_locked, output, partial_of, sync_directory};
use super::paths::{parent, resolve};
use super::slices::{OwnNames, SliceNames, finish_interrupted, is_sliced, remove_slices_after};
use crate::error::Result;

/// A slice all of whose bytes were handed to a [`Sink`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedSlice {
    /// Its number, from 1.
    pub number: u64,
    /// Whether the archive ends with it.
    pub is_last: bool,
    /// Its length in bytes.
    pub len: u64,
    /// SHA-256 of its bytes, when the sink has asked for slices.
    pub sha256: Option<[u8; 32]>,
}

impl FinishedSlice {
    /// Returns the only slice of an archive of `len` bytes.
    pub fn only(len: u64) -> Self {
        Self { number: 1, is_last: true, len, sha256: None }
    }
}

/// Takes the bytes of an archive in order.
///
/// A writer calls [`Self::write`] any number of times, [`Self::finish_slice`] at the end of each
/// slice, and [`Self::publish`] once after the last one. A sink that is dropped before that leaves
/// nothing under the archive's name.
pub trait Sink: Send {
    /// Appends bytes to the slice that is being written. Few and large pieces are handed over, so
    /// that a sink needs no buffer for small ones.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output).
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends a slice; when this returns, its bytes are on stable storage.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output).
    fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()>;

    /// Says that all members were written, and the header of `.backup.info` comes.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output).
    fn begin_listing(&mut self) -> Result<()> {
        Ok(())
    }

    /// Gives the finished slices their final names; `identity` is that of the archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output).
    fn publish(&mut self, identity: &[u8; 32]) -> Result<()>;

    /// Returns how long slices are to be; an archive that is longer is cut. At least
    /// [`MIN_SLICE_SIZE`](super::MIN_SLICE_SIZE), smaller values are taken for it.
    fn slice_size(&self) -> Option<u64> {
        None
    }

    /// Returns the device and inode numbers of the files that must not be put into the archive:
    /// the one being written, and the one that it will replace.
    fn own_files(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    /// Returns the names of files that must not be put into the archive and may not be there yet.
    fn own_names(&self) -> Vec<OwnNames> {
        Vec::new()
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (**self).write(bytes)
    }

    fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()> {
        (**self).finish_slice(slice)
    }

    fn begin_listing(&mut self) -> Result<()> {
        (**self).begin_listing()
    }

    fn publish(&mut self, identity: &[u8; 32]) -> Result<()> {
        (**self).publish(identity)
    }

    fn slice_size(&self) -> Option<u64> {
        (**self).slice_size()
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        (**self).own_files()
    }

    fn own_names(&self) -> Vec<OwnNames> {
        (**self).own_names()
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (**self).write(bytes)
    }

    fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()> {
        (**self).finish_slice(slice)
    }

    fn begin_listing(&mut self) -> Result<()> {
        (**self).begin_listing()
    }

    fn publish(&mut self, identity: &[u8; 32]) -> Result<()> {
        (**self).publish(identity)
    }

    fn slice_size(&self) -> Option<u64> {
        (**self).slice_size()
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        (**self).own_files()
    }

    fn own_names(&self) -> Vec<OwnNames> {
        (**self).own_names()
    }
}

/// Writes an archive of one slice to any [`Write`]: memory, a pipe, a socket.
#[derive(Debug)]
pub struct WriteSink<W> {
    writer: W,
    own: Vec<(u64, u64)>,
}

impl<W: Write + Send> WriteSink<W> {
    /// Makes a sink of a writer.
    pub fn new(writer: W) -> Self {
        Self { writer, own: Vec::new() }
    }

    /// Names a file by device and inode number that must not be put into the archive, such as the
    /// one that standard output leads to.
    #[must_use]
    pub fn with_own_file(mut self, dev: u64, ino: u64) -> Self {
        self.own.push((dev, ino));
        self
    }
}

impl<W: Write + Send> Sink for WriteSink<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(output("write", None))
    }

    fn finish_slice(&mut self, _slice: &FinishedSlice) -> Result<()> {
        self.writer.flush().map_err(output("write", None))
    }

    fn publish(&mut self, _identity: &[u8; 32]) -> Result<()> {
        Ok(())
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        self.own.clone()
    }
}

/// Writes an archive of one slice to a file: under a temporary name beside it, which is locked
/// while it is being written, synced at the end and renamed, and the directory synced.
///
/// A name that leads to a device or a FIFO is written to directly. A symbolic link is followed:
/// the file that it leads to is replaced.
#[derive(Debug)]
pub struct FileSink {
    file: Option<File>,
    /// The name being written to; the same as `path` for a device.
    partial: PathBuf,
    path: PathBuf,
    own: Vec<(u64, u64)>,
    leftover: bool,
    /// The names of an archive in slices that this one replaces.
    slices: Option<SliceNames>,
    done: bool,
}

impl FileSink {
    /// Begins an archive at `path`; what is there now stays until [`Sink::publish`].
    ///
    /// # Errors
    ///
    /// [`Error::Busy`](crate::Error::Busy) when another process writes the same archive, else
    /// [`Error::Output`](crate::Error::Output).
    pub fn create(path: &Path) -> Result<Self> {
        let path = resolve(path).map_err(output("create", Some(path)))?;
        let existing = match path.metadata() {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(output("create", Some(&path))(error)),
        };
        let mut own = Vec::new();
        if let Some(metadata) = &existing {
            let kind = metadata.file_type();
            if kind.is_dir() {
                let error = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(output("create", Some(&path))(error));
            }
            if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() {
                let file = OpenOptions::new().write(true).open(&path);
                let file = file.map_err(output("create", Some(&path)))?;
                return Ok(Self::start(file, path.clone(), path, own, false));
            }
            own.push((metadata.dev(), metadata.ino()));
        }
        let partial = partial_of(&path);
        let (file, leftover) = open_locked(&partial)?;
        // From here on, the temporary file is removed when anything fails.
        let mut sink = Self::start(file, partial, path, own, leftover);
        sink.prepare(existing.as_ref())?;
        let names = SliceNames::new(sink.path.clone());
        finish_interrupted(&names)?;
        sink.slices = is_sliced(&names).then_some(names);
        Ok(sink)
    }

    /// Notes what the temporary file is, and gives it the mode of the file that it will replace.
    fn prepare(&mut self, existing: Option<&std::fs::Metadata>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let metadata = file.metadata().map_err(output("create", Some(&self.partial)))?;
        self.own.push((metadata.dev(), metadata.ino()));
        if let Some(existing) = existing {
            // A backup that was readable by its owner alone must stay so.
            let mode = existing.permissions().mode() & 0o777;
            let permissions = std::fs::Permissions::from_mode(mode);
            let failed = output("set the mode of", Some(&self.partial));
            file.set_permissions(permissions).map_err(failed)?;
        }
        Ok(())
    }

    fn start(
        file: File,
        partial: PathBuf,
        path: PathBuf,
        own: Vec<(u64, u64)>,
        leftover: bool,
    ) -> Self {
        Self { file: Some(file), partial, path, own, leftover, slices: None, done: false }
    }

    /// Returns the name that an archive at `path` has while it is being written. What a killed run
    /// left there is removed by the next: who reads it must not write that archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output) when the symbolic links that `path` is cannot be followed.
    pub fn temporary(path: &Path) -> Result<PathBuf> {
        let path = resolve(path).map_err(output("create", Some(path)))?;
        Ok(partial_of(&path))
    }

    /// Returns the temporary file when an earlier run that was killed had left it; it is being
    /// written anew.
    pub fn leftover(&self) -> Option<&Path> {
        self.leftover.then_some(self.partial.as_path())
    }

    fn is_direct(&self) -> bool {
        self.partial == self.path
    }
}

impl Sink for FileSink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(output("write", Some(&self.partial))),
            None => Ok(()),
        }
    }

    fn finish_slice(&mut self, _slice: &FinishedSlice) -> Result<()> {
        match &self.file {
            Some(file) if !self.is_direct() => {
                file.sync_all().map_err(output("sync", Some(&self.partial)))
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self, _identity: &[u8; 32]) -> Result<()> {
        if !self.is_direct() {
            std::fs::rename(&self.partial, &self.path)
                .map_err(output("rename", Some(&self.partial)))?;
            self.done = true;
            sync_directory(parent(&self.path), &self.path)?;
        }
        if let Some(names) = &self.slices {
            // The archive is in place; slices that stay are told by whoever reads it.
            let _removed = remove_slices_after(names, 0);
        }
        self.done = true;
        self.file = None;
        Ok(())
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        self.own.clone()
    }

    fn own_names(&self) -> Vec<OwnNames> {
        // What is not there any more needs no name.
        self.slices.iter().filter_map(|names| OwnNames::beside(names).ok()).collect()
    }
}

impl Drop for FileSink {
    /// Removes the temporary file of an archive that was not published.
    fn drop(&mut self) {
        if !self.done && !self.is_direct() {
            // The error that led here is told already; a file that stays is told by the next run.
            let _removed = std::fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use rustix::fs::{FileType, Mode};

    fn write_all(sink: &mut FileSink, bytes: &[u8]) {
        sink.write(bytes).unwrap();
        sink.finish_slice(&FinishedSlice::only(bytes.len() as u64)).unwrap();
        sink.publish(&[0; 32]).unwrap();
    }

    #[test]
    fn nothing_stands_under_the_name_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar.gz");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut sink = FileSink::create(&path).unwrap();
        sink.write(&[1; 1 << 20]).unwrap();
        sink.finish_slice(&FinishedSlice::only(1 << 20)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert!(matches!(FileSink::create(&path), Err(Error::Busy { .. })));
        drop(sink);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);

        write_all(&mut FileSink::create(&path).unwrap(), b"new");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_written_into_what_stood_under_the_temporary_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar.gz");
        let partial = FileSink::temporary(&path).unwrap();
        let mine = directory.path().join("mine");
        std::fs::write(&mine, "").unwrap();
        std::fs::hard_link(&mine, &partial).unwrap();
        write_all(&mut FileSink::create(&path).unwrap(), b"new");
        assert_eq!(std::fs::read(&mine).unwrap(), b"");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = Mode::from_raw_mode(0o600);
        let fifo = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &partial, fifo, mode, 0).unwrap();
        assert!(matches!(FileSink::create(&path), Err(Error::Output { op: "create", .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_a_killed_run_left_is_told_and_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar.gz");
        std::fs::write(directory.path().join("a.tar.gz.isptar-partial"), "wreck").unwrap();
        let mut sink = FileSink::create(&path).unwrap();
        assert!(sink.leftover().is_some());
        write_all(&mut sink, b"new");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_link_is_followed_also_to_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink("target", &path).unwrap();
        write_all(&mut FileSink::create(&path).unwrap(), b"new");
        assert!(path.is_symlink());
        assert_eq!(std::fs::read(directory.path().join("target")).unwrap(), b"new");
    }
}
