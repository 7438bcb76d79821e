//! Metadata beyond stat: extended attributes, ACLs, labels, and the names of owners.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::format::acl;
use crate::format::member::Xattrs;
use crate::observe::Warning;

const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
const LABEL: &[u8] = b"security.selinux";

/// What most lists and values fit.
const SMALL: usize = 1024;

/// What all fit: XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux.
const LARGEST: usize = 64 << 10;

/// How many names of users, and of groups, are remembered.
const CACHED_NAMES: usize = 4096;

/// Where attributes are read.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// Of an open file or directory.
    Handle(BorrowedFd<'a>),
    /// Of what has this path, links not followed.
    Path(&'a Path),
}

impl Place<'_> {
    fn list(self) -> Result<Vec<u8>, Errno> {
        filled(|buffer| match self {
            Self::Handle(handle) => flistxattr(handle, buffer),
            Self::Path(path) => llistxattr(path, buffer),
        })
    }

    fn get(self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        filled(|buffer| match self {
            Self::Handle(handle) => fgetxattr(handle, name, buffer),
            Self::Path(path) => lgetxattr(path, name, buffer),
        })
    }
}

fn filled(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; SMALL];
    match read(&mut small) {
        Ok(count) => Ok(small.get(..count).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LARGEST];
            let count = read(&mut large)?;
            large.truncate(count);
            large.shrink_to_fit();
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

/// Reads all attributes of one thing, and tells what could not be read.
pub(super) fn read_xattrs(place: Place<'_>) -> (Xattrs, Vec<Warning>) {
    let mut xattrs = Xattrs::default();
    let mut warnings = Vec::new();
    let unread = |source: Errno| Warning::Unread {
        op: "read the extended attributes",
        source: source.into(),
    };
    match place.list() {
        Ok(list) => {
            for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
                match place.get(name) {
                    Ok(value) => put(&mut xattrs, name, value, &mut warnings),
                    // It was removed since; or a file system lists what it does not have.
                    Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                    Err(error) => warnings.push(unread(error)),
                }
            }
        }
        Err(Errno::OPNOTSUPP) => {}
        Err(error) => warnings.push(unread(error)),
    }
    (xattrs, warnings)
}

fn put(xattrs: &mut Xattrs, name: &[u8], mut value: Vec<u8>, warnings: &mut Vec<Warning>) {
    let slot = match name {
        ACL_ACCESS => &mut xattrs.acl_access,
        ACL_DEFAULT => &mut xattrs.acl_default,
        LABEL => {
            if value.last() == Some(&0) {
                value.pop();
            }
            xattrs.label = Some(value);
            return;
        }
        name => {
            xattrs.attributes.insert(name.to_vec(), value);
            return;
        }
    };
    match acl::to_text(&value) {
        Ok(text) => *slot = Some(text),
        Err(error) => warnings.push(Warning::XattrsLeftOut(error)),
    }
}

/// Looks up the names of users and groups, each once.
#[derive(Debug, Default)]
pub struct Names {
    look_up: bool,
    users: HashMap<u64, Vec<u8>>,
    groups: HashMap<u64, Vec<u8>>,
    last: Option<Owner>,
}

/// A user and a group, and what they are called.
#[derive(Debug)]
struct Owner {
    uid: u64,
    gid: u64,
    user: Vec<u8>,
    group: Vec<u8>,
}

impl Names {
    /// Makes an empty store; without `look_up` all names are empty.
    pub fn new(look_up: bool) -> Self {
        Self { look_up, ..Self::default() }
    }

    /// Returns the name of a user, empty when there is none.
    pub fn user(&mut self, uid: u64) -> Vec<u8> {
        cached(&mut self.users, self.look_up, uid, user_name).to_vec()
    }

    /// Returns the name of a group, empty when there is none.
    pub fn group(&mut self, gid: u64) -> Vec<u8> {
        cached(&mut self.groups, self.look_up, gid, group_name).to_vec()
    }

    /// Returns the names of a user and a group, empty when there are none.
    pub(crate) fn owner(&mut self, uid: u64, gid: u64) -> (&[u8], &[u8]) {
        // Most things belong to whom the one before does.
        if self.last.as_ref().is_none_or(|last| (last.uid, last.gid) != (uid, gid)) {
            let (user, group) = (self.user(uid), self.group(gid));
            self.last = Some(Owner { uid, gid, user, group });
        }
        self.last.as_ref().map_or((&[], &[]), |last| (&last.user, &last.group))
    }
}

fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

fn cached(
    names: &mut HashMap<u64, Vec<u8>>,
    look_up: bool,
    id: u64,
    find: impl Fn(u32) -> Option<String>,
) -> &[u8] {
    if !look_up {
        return &[];
    }
    // A tree with millions of owners must not fill the memory.
    if names.len() >= CACHED_NAMES && !names.contains_key(&id) {
        names.clear();
    }
    let name = || u32::try_from(id).ok().and_then(find).unwrap_or_default().into_bytes();
    names.entry(id).or_insert_with(name)
}

/// Returns the number of the user with a name.
pub(crate) fn user_id(name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?;
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// Returns the number of the group with a name.
pub(crate) fn group_id(name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?;
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::super::{SourceOptions, Walk};
    use super::*;
    use rustix::fs::{XattrFlags, fsetxattr, lsetxattr, setxattr};
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    fn xattrs_of(dir: &Path, name: &str) -> (Xattrs, Vec<Warning>) {
        let mut walk = Walk::new(dir, &[name.into()], SourceOptions::default()).unwrap();
        walk.next(&mut ()).unwrap().unwrap().xattrs(None)
    }

    #[test]
    fn attributes_acls_and_labels_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        let set = |name: &str, value: &[u8]| fsetxattr(&file, name, value, XattrFlags::empty());
        if set("user.note", b"a\0b\n").is_err() {
            return;
        }
        set("user.empty", b"").unwrap();
        set("user.big", &[7; 3000]).unwrap();
        let text = b"user::rw-,user:1000:r--,group::r--,mask::r--,other::---";
        let has_acl =
            set("system.posix_acl_access", &acl::from_text(text, &mut |_, _| None).unwrap())
                .is_ok();
        let mut walk = Walk::new(dir.path(), &["f".into()], SourceOptions::default()).unwrap();
        let found = walk.next(&mut ()).unwrap().unwrap();
        let (by_handle, warnings) = found.xattrs(Some(&found.open().unwrap().0));
        assert!(warnings.is_empty(), "{warnings:?}");
        let names: Vec<&[u8]> = by_handle.attributes.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [b"user.big".as_slice(), b"user.empty", b"user.note"]);
        assert_eq!(by_handle.attributes[b"user.note".as_slice()], b"a\0b\n");
        assert_eq!(by_handle.acl_access, has_acl.then(|| text.to_vec()));
        assert_eq!(found.xattrs(None).0, by_handle);

        let off = SourceOptions { xattrs: false, ..Default::default() };
        let found = Walk::new(dir.path(), &["f".into()], off).unwrap().next(&mut ()).unwrap();
        assert!(found.unwrap().xattrs(Some(&file)).0.is_empty());
    }

    #[test]
    fn directories_and_links_have_attributes_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        fs::create_dir(&path).unwrap();
        symlink("d", dir.path().join("l")).unwrap();
        let default = b"user::rwx,group::r-x,other::---";
        let bytes = acl::from_text(default, &mut |_, _| None).unwrap();
        if setxattr(&path, "system.posix_acl_default", &bytes, XattrFlags::empty()).is_ok() {
            assert_eq!(xattrs_of(dir.path(), "d").0.acl_default, Some(default.to_vec()));
        }
        let (xattrs, warnings) = xattrs_of(dir.path(), "l");
        assert!(xattrs.is_empty() && warnings.is_empty(), "{warnings:?}");
        let link = dir.path().join("l");
        if lsetxattr(&link, "trusted.note", b"on the link", XattrFlags::empty()).is_ok() {
            let (xattrs, _) = xattrs_of(dir.path(), "l");
            assert_eq!(xattrs.attributes[b"trusted.note".as_slice()], b"on the link");
        }
    }

    #[test]
    fn a_label_loses_the_nul_at_its_end() {
        let (mut xattrs, mut warnings) = (Xattrs::default(), Vec::new());
        put(&mut xattrs, LABEL, b"u:r:t:s0\0".to_vec(), &mut warnings);
        assert_eq!(xattrs.label, Some(b"u:r:t:s0".to_vec()));
        put(&mut xattrs, ACL_ACCESS, b"\x09\0\0\0".to_vec(), &mut warnings);
        assert!(xattrs.acl_access.is_none() && warnings.len() == 1);
    }

    #[test]
    fn owners_have_names_when_the_system_knows_them() {
        let mut names = Names::new(true);
        assert_eq!(names.user(0), b"root");
        assert_eq!(names.group(0), b"root");
        assert_eq!(names.user(4_000_000_123), b"");
        assert_eq!(names.user(1 << 40), b"");
        assert_eq!(Names::new(false).user(0), b"");
    }
}
