//! What the walk finds, and how it is opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat, fstat, readlinkat};
use rustix::io::Errno;

use super::directory::open_quietly;
use super::metadata::{Place, read_xattrs};
use crate::format::member::Xattrs;
use crate::observe::Warning;
use crate::path::MemberPath;

/// A thing in the source tree.
///
/// It keeps the handle of the directory that it was found in open.
#[derive(Debug)]
pub struct Found {
    /// Its member name.
    pub path: MemberPath,
    /// Its metadata when it was found; a directory's is that of its opened handle.
    pub stat: Stat,
    /// Of a directory: something in it is left out by intent.
    pub partial: bool,
    /// Of a directory: the reason why it could not be opened, searched, or read to its end. What
    /// was read of it follows. It was not told to the observer.
    pub lost: Option<io::Error>,
    /// The directory that it is in; the root of the walk may have none.
    pub(super) parent: Option<Arc<OwnedFd>>,
    /// Of a directory that was opened: itself.
    pub(super) itself: Option<Arc<OwnedFd>>,
    /// Whether extended attributes are wanted.
    pub(super) wants_xattrs: bool,
}

/// Why a file that was found could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no longer a regular file.
    #[error("no longer a regular file")]
    ChangedKind,
}

impl OpenError {
    /// Returns whether the file is gone.
    pub fn is_vanished(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl Found {
    /// Returns what kind of thing it is.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file for reading and returns its metadata as of then. No link is followed,
    /// nothing blocks, and the time of access stays where the system permits that.
    ///
    /// # Errors
    ///
    /// [`OpenError::ChangedKind`] when it is something else by now.
    pub fn open(&self) -> Result<(File, Stat), OpenError> {
        let parent = self.parent.as_ref().ok_or(OpenError::ChangedKind)?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match open_quietly(parent, self.path.file_name(), flags) {
            // A symbolic link; a socket or a device without a driver.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(OpenError::ChangedKind),
            result => result.map_err(io::Error::from)?,
        };
        let stat = fstat(&file).map_err(io::Error::from)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file.into(), stat)),
            _ => Err(OpenError::ChangedKind),
        }
    }

    /// Returns whether it was found in the same directory as `other`: they share one handle.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        match (&self.parent, &other.parent) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Returns whether it keeps a directory open.
    pub(crate) fn holds_handle(&self) -> bool {
        self.parent.is_some() || self.itself.is_some()
    }

    /// Lets go of the handles of directories: it cannot be looked at any more.
    pub(crate) fn release(&mut self) {
        (self.parent, self.itself) = (None, None);
    }

    /// Returns the number of the kind of file system that it is on, if that can be known.
    pub(crate) fn file_system(&self) -> Option<u32> {
        let handle = self.itself.as_ref().or(self.parent.as_ref())?;
        let kind = rustix::fs::fstatfs(handle).ok()?.f_type;
        // The type has another width and sign on each machine; the numbers have 32 bits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        Some(kind as u32)
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// The system's, such as for something that is no symbolic link.
    pub fn read_link(&self) -> io::Result<Vec<u8>> {
        let parent = self.parent.as_ref().ok_or(Errno::INVAL)?;
        Ok(readlinkat(parent, self.path.file_name(), Vec::new())?.into_bytes())
    }

    /// Returns the extended attributes, ACLs and label, and what could not be read of them;
    /// nothing when the options say so. A regular file's are read from its open `file`, a
    /// directory's from the handle that the walk opened.
    pub fn xattrs(&self, file: Option<&File>) -> (Xattrs, Vec<Warning>) {
        if !self.wants_xattrs {
            return Default::default();
        }
        match (file, &self.itself, &self.parent) {
            (Some(file), _, _) => read_xattrs(Place::Handle(file.as_fd())),
            (None, Some(itself), _) => read_xattrs(Place::Handle(itself.as_fd())),
            (None, None, Some(parent)) => {
                // Links, FIFOs and devices are never opened, and there is no `lgetxattrat`: the
                // name of the handle in /proc is short, however deep the directory is.
                let name = OsStr::from_bytes(self.path.file_name());
                let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
                path.push(name);
                read_xattrs(Place::Path(&path))
            }
            (None, None, None) => Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SourceOptions, Walk};
    use super::*;
    use std::fs;

    fn only(dir: &std::path::Path, name: &str) -> Found {
        let mut walk = Walk::new(dir, &[name.into()], SourceOptions::default()).unwrap();
        walk.next(&mut ()).unwrap().unwrap()
    }

    #[test]
    fn a_file_is_opened_only_while_it_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "12345").unwrap();
        let found = only(dir.path(), "f");
        fs::write(&path, "1234567").unwrap();
        assert_eq!(found.open().unwrap().1.st_size, 7);
        fs::remove_file(&path).unwrap();
        assert!(found.open().unwrap_err().is_vanished());
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(found.open(), Err(OpenError::ChangedKind)));
        assert_eq!(found.read_link().unwrap(), b"/etc/passwd");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(found.open(), Err(OpenError::ChangedKind)));
        fs::remove_dir(&path).unwrap();
        let fifo = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(found.open(), Err(OpenError::ChangedKind)));
    }

    #[test]
    fn found_things_go_to_other_threads() {
        fn is_send<T: Send>() {}
        is_send::<Found>();
    }
}
