//! The directories that the walk is in: few of them stay open.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::Walk;
use crate::path::MemberPath;
use crate::source::directory::{NameList, open_place};

/// How many directories on the way down are kept open; at least 2. The others are opened again,
/// and found to be the same, when the walk comes back to them.
pub(super) const MAX_HANDLES: usize = 6;

/// A directory that the walk is in.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) handle: Option<Arc<OwnedFd>>,
    id: Id,
    /// Length of its member name, which is the beginning of [`Walk::path`].
    pub(super) path_len: usize,
    pub(super) names: NameList,
}

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u64, pub(super) u64);

impl Id {
    pub(super) fn of(stat: &Stat) -> Self {
        Self(stat.st_dev, stat.st_ino)
    }
}

impl Walk {
    /// Makes a directory the one that the walk goes on in.
    pub(super) fn push(
        &mut self,
        handle: Arc<OwnedFd>,
        id: Id,
        path: &MemberPath,
        names: NameList,
    ) {
        self.path.clear();
        if !path.is_root() {
            self.path.extend_from_slice(path.as_bytes());
        }
        // The first one stays open: from there every other can be found again by names.
        let far = self.stack.len().checked_sub(MAX_HANDLES - 1).filter(|&index| index > 0);
        if let Some(frame) = far.and_then(|index| self.stack.get_mut(index)) {
            frame.handle = None;
        }
        let path_len = self.path.len();
        self.stack.push(Frame { handle: Some(handle), id, path_len, names });
    }

    /// Goes back up from a directory whose names were all taken.
    pub(super) fn leave(&mut self) {
        let mut child = self.stack.pop().and_then(|frame| frame.handle);
        while let Some(frame) = self.stack.last() {
            self.path.truncate(frame.path_len);
            if frame.handle.is_some() {
                return;
            }
            match self.reopen(child.take()) {
                Ok(handle) => {
                    if let Some(frame) = self.stack.last_mut() {
                        frame.handle = Some(Arc::new(handle));
                    }
                    return;
                }
                Err(errno) => self.abandon(errno),
            }
        }
    }

    /// Opens the last directory on the stack again, best from its child.
    fn reopen(&self, child: Option<Arc<OwnedFd>>) -> Result<OwnedFd, Errno> {
        let frame = self.stack.last().ok_or(Errno::STALE)?;
        let above = child.and_then(|child| open_place(child, b"..").ok());
        if let Some(handle) = above.filter(|handle| is_same(handle, frame.id)) {
            return Ok(handle);
        }
        let open = self.stack.iter().rposition(|frame| frame.handle.is_some());
        let below = open.and_then(|index| self.stack.get(index..)).unwrap_or_default();
        let mut handle: Option<OwnedFd> = None;
        for pair in below.windows(2) {
            let [upper, lower] = pair else { continue };
            let name = self.path.get(upper.path_len..lower.path_len).unwrap_or_default();
            let name = name.strip_prefix(b"/").unwrap_or(name);
            let next = match (&handle, &upper.handle) {
                (Some(handle), _) => open_place(handle, name)?,
                (None, Some(handle)) => open_place(handle, name)?,
                (None, None) => return Err(Errno::STALE),
            };
            if !is_same(&next, lower.id) {
                return Err(Errno::STALE);
            }
            handle = Some(next);
        }
        handle.ok_or(Errno::STALE)
    }

    /// Gives up the rest of a directory that is no longer where it was.
    fn abandon(&mut self, errno: Errno) {
        let rest = self.stack.pop().is_some_and(|frame| !frame.names.is_exhausted());
        if rest {
            let member = if self.path.is_empty() {
                MemberPath::from(".")
            } else {
                MemberPath::new(self.path.clone())
            };
            let file = self.file(&member);
            self.fail(&member, "go back to", file, errno.into());
        }
    }
}

fn is_same(handle: &OwnedFd, id: Id) -> bool {
    rustix::fs::fstat(handle).is_ok_and(|stat| Id::of(&stat) == id)
}
