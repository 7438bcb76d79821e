//! Where an archive is written to: slices that are finished one after another, then published.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, OFlags};

use super::paths::{parent, resolve, with_suffix};
use crate::error::{Error, Result};

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
    /// [`Error::Output`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends a slice; when this returns, its bytes are on stable storage.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    fn finish_slice(&mut self) -> Result<()>;

    /// Says that all members were written, and the header of `.backup.info` comes.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    fn begin_listing(&mut self) -> Result<()> {
        Ok(())
    }

    /// Gives the finished slices their final names.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    fn publish(&mut self) -> Result<()>;

    /// Returns the device and inode numbers of the files that must not be put into the archive:
    /// the one being written, and the one that it will replace.
    fn own_files(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (**self).write(bytes)
    }

    fn finish_slice(&mut self) -> Result<()> {
        (**self).finish_slice()
    }

    fn begin_listing(&mut self) -> Result<()> {
        (**self).begin_listing()
    }

    fn publish(&mut self) -> Result<()> {
        (**self).publish()
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        (**self).own_files()
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (**self).write(bytes)
    }

    fn finish_slice(&mut self) -> Result<()> {
        (**self).finish_slice()
    }

    fn begin_listing(&mut self) -> Result<()> {
        (**self).begin_listing()
    }

    fn publish(&mut self) -> Result<()> {
        (**self).publish()
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        (**self).own_files()
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

    fn finish_slice(&mut self) -> Result<()> {
        self.writer.flush().map_err(output("write", None))
    }

    fn publish(&mut self) -> Result<()> {
        Ok(())
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        self.own.clone()
    }
}

/// What is added to an archive's name while it is being written.
const PARTIAL: &str = ".isptar-partial";

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
    done: bool,
}

impl FileSink {
    /// Begins an archive at `path`; what is there now stays until [`Sink::publish`].
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when another process writes the same archive, else [`Error::Output`].
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
        Self { file: Some(file), partial, path, own, leftover, done: false }
    }

    /// Returns the name that an archive at `path` has while it is being written. What a killed run
    /// left there is removed by the next: who reads it must not write that archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`] when the symbolic links that `path` is cannot be followed.
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

    fn finish_slice(&mut self) -> Result<()> {
        match &self.file {
            Some(file) if !self.is_direct() => {
                file.sync_all().map_err(output("sync", Some(&self.partial)))
            }
            _ => Ok(()),
        }
    }

    fn publish(&mut self) -> Result<()> {
        if !self.is_direct() {
            std::fs::rename(&self.partial, &self.path)
                .map_err(output("rename", Some(&self.partial)))?;
            self.done = true;
            let directory = parent(&self.path);
            match File::open(directory).and_then(|directory| directory.sync_all()) {
                // The archive is in place; some directories cannot be opened for reading, and some
                // file systems cannot sync them.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied
                            | io::ErrorKind::InvalidInput
                            | io::ErrorKind::Unsupported
                    ) => {}
                synced => synced.map_err(output("sync the directory of", Some(&self.path)))?,
            }
        }
        self.done = true;
        self.file = None;
        Ok(())
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        self.own.clone()
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

fn partial_of(path: &Path) -> PathBuf {
    with_suffix(path, PARTIAL)
}

/// Makes the temporary file and locks it; returns whether a killed run had left one, which is removed
/// then. Nothing is ever written into what was there: it may have other names, and other users.
fn open_locked(partial: &Path) -> Result<(File, bool)> {
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

fn output<E: Into<io::Error>>(
    op: &'static str,
    path: Option<&Path>,
) -> impl FnOnce(E) -> Error + use<E> {
    let path = path.map(Path::to_path_buf);
    move |source| Error::Output { op, path, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;

    fn write_all(sink: &mut FileSink, bytes: &[u8]) {
        sink.write(bytes).unwrap();
        sink.finish_slice().unwrap();
        sink.publish().unwrap();
    }

    #[test]
    fn nothing_stands_under_the_name_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar.gz");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut sink = FileSink::create(&path).unwrap();
        sink.write(&[1; 1 << 20]).unwrap();
        sink.finish_slice().unwrap();
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
