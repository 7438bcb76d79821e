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
    /// This run made it, and nobody else may write to it: unless a process of the same user is at
    /// work in it, all that it has is of this run, and what is known of it stays true.
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
    /// Takes a directory; `made` says that this run made one of that name. Whoever may write to
    /// where it is can have put another in its place since.
    pub(super) fn new(handle: OwnedFd, made: bool, open: &Arc<()>) -> Self {
        let fresh = made && is_private(&handle);
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
        if !self.fresh {
            return self.has_default_acl();
        }
        *self.facts().inherits.get_or_insert_with(|| self.has_default_acl())
    }

    fn has_default_acl(&self) -> bool {
        match rustix::fs::fgetxattr_query(&self.handle, ACL_DEFAULT) {
            // A mere place has its attributes by its name alone.
            Err(Errno::BADF) => {
                rustix::fs::getxattr_query(by_handle(self.handle()), ACL_DEFAULT).is_ok()
            }
            has => has.is_ok(),
        }
    }

    /// Returns user and group that `file`, which was just made in it, has: those that all others
    /// get.
    pub(super) fn newcomers(&self, file: &OwnedFd) -> Option<(u32, u32)> {
        let look = || rustix::fs::fstat(file).ok().map(|stat| (stat.st_uid, stat.st_gid));
        if !self.fresh {
            return look();
        }
        let mut facts = self.facts();
        if facts.newcomers.is_none() {
            facts.newcomers = look();
        }
        facts.newcomers
    }

    /// Forgets what is known, because the directory was changed.
    pub(super) fn forget(&self) {
        *self.facts() = Facts::default();
    }
}

/// Returns whether a directory is of this user, and nobody else may write to it.
fn is_private(directory: &OwnedFd) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_uid == ours && stat.st_mode & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_may_write_to_is_looked_at_each_time() {
        let at = tempfile::tempdir().unwrap();
        let open = || File::open(at.path()).unwrap().into();
        for (mode, made, fresh) in [(0o700, true, true), (0o755, true, true), (0o700, false, false)]
            .into_iter()
            .chain([(0o770, true, false), (0o707, true, false), (0o2720, true, false)])
        {
            set_permissions(at.path(), Permissions::from_mode(mode)).unwrap();
            let directory = Directory::new(open(), made, &Arc::new(()));
            assert_eq!(directory.fresh, fresh, "{mode:o} {made}");
            let has = directory.newcomers(&open());
            assert!(has.is_some() && !directory.inherits());
            let facts = directory.facts();
            assert_eq!((facts.newcomers.is_some(), facts.inherits.is_some()), (fresh, fresh));
        }
    }
}
