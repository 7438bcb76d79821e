//! Files that have no name while they are written: a killed run leaves nothing of them, and nobody
//! else can meet them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::Errno;

use super::made::UNFINISHED;

/// How a file gets its first name here, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Linking {
    /// By its handle: Linux 6.10, or a capability.
    #[default]
    ByHandle,
    /// By the path that the kernel has for its handle.
    ByPath,
    /// Not at all: each file needs a temporary name.
    Never,
}

impl Linking {
    /// Makes a file without a name; `None` when that cannot be done in this directory.
    pub(super) fn make(&mut self, directory: BorrowedFd<'_>) -> Option<OwnedFd> {
        if *self == Self::Never {
            return None;
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, c".", flags, UNFINISHED) {
            Ok(file) => Some(file),
            Err(error) => {
                if matches!(error, Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) {
                    *self = Self::Never;
                }
                None
            }
        }
    }

    /// Gives a file that has none its name, which must be free; returns whether it has it now.
    pub(super) fn give_name(
        &mut self,
        file: &OwnedFd,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> bool {
        if *self == Self::ByHandle {
            match rustix::fs::linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
                Ok(()) => return true,
                Err(Errno::EXIST) => return false,
                Err(_) => {}
            }
        }
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        match rustix::fs::linkat(CWD, path, directory, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => *self = Self::ByPath,
            Err(Errno::EXIST) => return false,
            Err(_) => {
                *self = Self::Never;
                return false;
            }
        }
        true
    }
}
