//! Owner, mode, ACLs, extended attributes and times of what was restored.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::ExtractOptions;
use super::directory::{ACL_ACCESS, ACL_DEFAULT};
use super::made::Wreck;
use super::notes::{Notes, Site};
use crate::error::Result;
use crate::format::acl;
use crate::format::entry::{Entry, Kind};
use crate::format::member::Xattrs;
use crate::observe::Warning;
use crate::owners::Owners;
use crate::source::{group_id, user_id};

const LABEL: &[u8] = b"security.selinux";

/// The attribute that gives a program rights, as setuid does.
const CAPABILITY: &[u8] = b"security.capability";

/// Bits that give a program the rights of its owner or group.
const SET_IDS: u32 = 0o6000;

/// What metadata is set on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// A file that is open; user and group that it is known to have.
    Open(BorrowedFd<'a>, Option<(u32, u32)>),
    /// A directory that is open, perhaps as a mere place (O_PATH).
    Directory(BorrowedFd<'a>),
    /// Anything else by its name in an open directory.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl Place<'_> {
    /// Removes an attribute, if there is one.
    pub(super) fn remove_attribute(self, key: &str) {
        let _none = match self {
            Self::Open(handle, _) => rustix::fs::fremovexattr(handle, key),
            Self::Directory(handle) => match rustix::fs::fremovexattr(handle, key) {
                Err(Errno::BADF) => rustix::fs::removexattr(by_handle(handle), key),
                removed => removed,
            },
            Self::Named(directory, name) => rustix::fs::lremovexattr(path_in(directory, name), key),
        };
    }
}

/// The kernel's path of the thing behind a handle: no name in the target is walked again.
pub(super) fn by_handle(handle: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// The kernel's path of a name in an open directory: the directory's path is not walked again.
fn path_in(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Sets metadata as the options say.
#[derive(Debug)]
pub(super) struct Restorer {
    /// The user who runs this.
    user: u32,
    owner: bool,
    owners: Owners,
    xattrs: bool,
}

impl Restorer {
    pub(super) fn new(options: &ExtractOptions) -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            owner: options.owner,
            owners: Owners::new(options.numeric_owner),
            xattrs: options.xattrs,
        }
    }

    /// Returns whether something has the mode and the owner that restoring would give it.
    pub(super) fn agrees(&mut self, existing: &Stat, entry: &Entry) -> bool {
        if matches!(entry.kind, Kind::Symlink { .. }) {
            return true;
        }
        let bits = if self.owner { 0o7777 } else { 0o777 };
        if (existing.st_mode ^ entry.mode) & bits != 0 {
            return false;
        }
        let (uid, gid) = self.owners.ids(entry);
        !self.owner || (uid, gid) == (Some(existing.st_uid), Some(existing.st_gid))
    }

    /// Returns what a killed run may have left of a file.
    pub(super) fn wreck(&mut self, entry: &Entry) -> Wreck {
        let gives_away = self.owner && self.user == 0;
        let owner = if gives_away { self.owners.ids(entry).0 } else { None };
        Wreck { size: entry.kind.size(), mtime: entry.mtime, user: self.user, owner }
    }

    /// Sets all metadata of a member; what cannot be set is told, and the rest set nevertheless.
    ///
    /// # Errors
    ///
    /// Only when what stands at the place is no longer what was made there.
    pub(super) fn apply(
        &mut self,
        place: Place<'_>,
        site: Site<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<()> {
        let entry = site.entry;
        match place {
            Place::Open(handle, has) => {
                let object = Object { handle, at: None, symlink: false, has };
                self.apply_to(&object, entry, xattrs, notes);
            }
            Place::Directory(handle) => {
                let flags = rustix::fs::fcntl_getfl(handle);
                let place = flags.is_ok_and(|flags| flags.contains(OFlags::PATH));
                let at = place.then_some((handle, b".".as_slice()));
                let object = Object { handle, at, symlink: false, has: None };
                self.apply_to(&object, entry, xattrs, notes);
            }
            Place::Named(directory, name) => {
                // The handle makes sure that all is set on one thing, and that it is the one that
                // was made: nobody's file, put here meanwhile, shall be given away.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let failed = |error: Errno| site.refused("open")(error);
                let handle = rustix::fs::openat(directory, name, flags, Mode::empty());
                let handle = handle.map_err(failed)?;
                let stat = rustix::fs::fstat(&handle).map_err(failed)?;
                if FileType::from_raw_mode(stat.st_mode) != file_type(&entry.kind) {
                    return Err(failed(Errno::STALE));
                }
                let symlink = matches!(entry.kind, Kind::Symlink { .. });
                let at = Some((directory, name));
                let object = Object { handle: handle.as_fd(), at, symlink, has: None };
                self.apply_to(&object, entry, xattrs, notes);
            }
        }
        Ok(())
    }

    /// Returns whether ACLs are restored, or left alone.
    pub(super) fn restores_acls(&self) -> bool {
        self.xattrs
    }

    fn apply_to(&mut self, on: &Object<'_>, entry: &Entry, xattrs: &Xattrs, notes: &mut Notes) {
        let owned = self.owner && self.set_owner(on, entry, notes);
        // Attributes come before the mode: a mode may forbid its own owner to write them.
        if self.xattrs {
            self.set_attributes(on, xattrs, owned, notes);
        }
        // Times come before the mode, so that a file with its own mode is complete.
        if let Some(mtime) = entry.mtime {
            let time = Timespec { tv_sec: mtime.seconds(), tv_nsec: mtime.nanos().into() };
            let times = Timestamps { last_access: time, last_modification: time };
            warn(on.set_times(&times), "set the times", notes);
        }
        if !on.symlink {
            // Rights of an owner must not go to another one.
            let mode = entry.mode & 0o7777 & if owned { !0 } else { !SET_IDS };
            warn(on.set_mode(Mode::from_raw_mode(mode)), "set the mode", notes);
            if self.xattrs {
                self.set_acls(on, xattrs, notes);
            }
        }
    }

    /// Sets the owner; returns whether user and group are those of the member now.
    fn set_owner(&mut self, on: &Object<'_>, entry: &Entry, notes: &mut Notes) -> bool {
        let (uid, gid) = self.owners.ids(entry);
        for (id, value, op) in
            [(uid, entry.uid, "set the owner"), (gid, entry.gid, "set the group")]
        {
            if id.is_none() {
                let text = format!("this system has no id {value}");
                let source = io::Error::new(io::ErrorKind::InvalidInput, text);
                notes.warn(Warning::Unset { op, source });
            }
        }
        if uid.is_none() && gid.is_none() {
            return false;
        }
        if let (Some(has), Some(uid), Some(gid)) = (on.has, uid, gid)
            && has == (uid, gid)
        {
            return true;
        }
        match on.set_owner(uid.map(Uid::from_raw), gid.map(Gid::from_raw)) {
            Ok(()) => uid.is_some() && gid.is_some(),
            // Who is not root cannot give files away, and knows.
            Err(Errno::PERM) if self.user != 0 => false,
            Err(error) => {
                notes.warn(Warning::Unset { op: "set the owner", source: error.into() });
                false
            }
        }
    }

    fn set_attributes(&mut self, on: &Object<'_>, xattrs: &Xattrs, owned: bool, notes: &mut Notes) {
        for (name, value) in &xattrs.attributes {
            if name == CAPABILITY && !owned {
                continue;
            }
            let kind = "an extended attribute";
            let result = on.set_xattr(name, value);
            self.check(result, kind, "set an extended attribute", notes);
        }
        if let Some(label) = &xattrs.label {
            let mut value = label.clone();
            value.push(0);
            let result = on.set_xattr(LABEL, &value);
            self.check(result, "a security label", "set the security label", notes);
        }
    }

    fn set_acls(&mut self, on: &Object<'_>, xattrs: &Xattrs, notes: &mut Notes) {
        let acls = [(&xattrs.acl_access, ACL_ACCESS), (&xattrs.acl_default, ACL_DEFAULT)];
        for (text, attribute) in acls {
            let Some(text) = text else { continue };
            let resolved = acl::from_text(text, &mut |class, name| match class {
                acl::Class::User => user_id(name),
                acl::Class::Group => group_id(name),
            });
            match resolved {
                Ok(value) => {
                    let result = on.set_xattr(attribute.as_bytes(), &value);
                    self.check(result, "an ACL", "set an ACL", notes);
                }
                Err(kind) => notes.warn(Warning::Header(kind)),
            }
        }
    }

    /// Tells a failure; that the file system has no such thing is told once.
    fn check(
        &mut self,
        result: rustix::io::Result<()>,
        kind: &'static str,
        op: &'static str,
        notes: &mut Notes,
    ) {
        match result {
            Err(Errno::OPNOTSUPP) => notes.not_kept(kind),
            result => warn(result, op, notes),
        }
    }
}

fn warn(result: rustix::io::Result<()>, op: &'static str, notes: &mut Notes) {
    if let Err(error) = result {
        notes.warn(Warning::Unset { op, source: error.into() });
    }
}

/// Returns the type of file that a member becomes.
pub(super) fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::File { .. } | Kind::HardLink { .. } => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink { .. } => FileType::Symlink,
        Kind::CharDevice { .. } => FileType::CharacterDevice,
        Kind::BlockDevice { .. } => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
    }
}

/// One thing in the target.
struct Object<'a> {
    handle: BorrowedFd<'a>,
    /// Its directory and name, when the handle can do nothing but name it (O_PATH).
    at: Option<(BorrowedFd<'a>, &'a [u8])>,
    symlink: bool,
    /// User and group that it is known to have.
    has: Option<(u32, u32)>,
}

impl Object<'_> {
    fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> rustix::io::Result<()> {
        match self.at {
            None => rustix::fs::fchown(self.handle, uid, gid),
            Some(_) => rustix::fs::chownat(self.handle, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        match self.at {
            None => rustix::fs::fchmod(self.handle, mode),
            Some(_) => rustix::fs::chmodat(CWD, by_handle(self.handle), mode, AtFlags::empty()),
        }
    }

    fn set_times(&self, times: &Timestamps) -> rustix::io::Result<()> {
        match self.at {
            None => rustix::fs::futimens(self.handle, times),
            Some((directory, name)) if self.symlink => {
                rustix::fs::utimensat(directory, name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
            Some(_) => rustix::fs::utimensat(CWD, by_handle(self.handle), times, AtFlags::empty()),
        }
    }

    fn set_xattr(&self, key: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        let flags = XattrFlags::empty();
        match self.at {
            None => rustix::fs::fsetxattr(self.handle, key, value, flags),
            Some((directory, name)) if self.symlink => {
                rustix::fs::lsetxattr(path_in(directory, name), key, value, flags)
            }
            Some(_) => rustix::fs::setxattr(by_handle(self.handle), key, value, flags),
        }
    }
}
