//! One directory of the target, open, and what is known of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::directory::ACL_DEFAULT;
use super::metadata::by_handle;

/// A directory that is open, for all threads that put something into it.
#[derive(Debug)]
pub(super) struct Directory {
    handle: OwnedFd,
    /// This run made it: unless another process is at work in it, all that it has is of this run.
    /// No more than a hint, which spares looking.
    pub(super) fresh: bool,
    facts: Mutex<Facts>,
    /// One for each that is open.
    _open: Arc<()>,
}

#[derive(Debug, Default)]
struct Facts {
    /// Whether what is made in it gets an ACL from it.
    inherits: Option<bool>,
    /// User and group of a new file.
    newcomers: Option<(u32, u32)>,
}

impl Directory {
    pub(super) fn new(handle: OwnedFd, fresh: bool, open: &Arc<()>) -> Self {
        Self { handle, fresh, facts: Mutex::default(), _open: Arc::clone(open) }
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether things made in it get an ACL from it.
    pub(super) fn inherits(&self) -> bool {
        *self.facts().inherits.get_or_insert_with(|| {
            match rustix::fs::fgetxattr_query(&self.handle, ACL_DEFAULT) {
                // A mere place has its attributes by its name alone.
                Err(Errno::BADF) => {
                    rustix::fs::getxattr_query(by_handle(self.handle()), ACL_DEFAULT).is_ok()
                }
                has => has.is_ok(),
            }
        })
    }

    /// Returns user and group that `file`, which was just made in it, has: those that all others
    /// get.
    pub(super) fn newcomers(&self, file: &OwnedFd) -> Option<(u32, u32)> {
        let mut facts = self.facts();
        if facts.newcomers.is_none() {
            facts.newcomers = rustix::fs::fstat(file).ok().map(|stat| (stat.st_uid, stat.st_gid));
        }
        facts.newcomers
    }

    /// Forgets what is known, because the directory was changed.
    pub(super) fn forget(&self) {
        *self.facts() = Facts::default();
    }
}
