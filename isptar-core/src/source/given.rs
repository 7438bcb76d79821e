//! The paths that a person gave: their member names, their order, and which of them count.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, statat};

use crate::error::{Error, Result};
use crate::path::MemberPath;

/// One given path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// Its member name.
    pub(super) member: MemberPath,
    /// The path as it was given.
    pub(super) path: PathBuf,
    /// The directory that its last component is looked up in; absent when the path means the
    /// directory itself, even behind a symbolic link: `.`, `/` and what ends in a slash.
    pub(super) parent: Option<PathBuf>,
    /// Given paths inside it, which come with it.
    pub(super) inner: Vec<PathBuf>,
}

impl Given {
    fn new(path: &Path) -> Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let bad = |reason: &str| Error::BadSource { path: path.into(), reason: reason.into() };
        if bytes.is_empty() {
            return Err(bad("the path is empty"));
        }
        let mut parts: Vec<&[u8]> = bytes.split(|&byte| byte == b'/').collect();
        let itself = matches!(parts.last(), Some(&b"" | &b"."));
        parts.retain(|part| !matches!(*part, b"" | b"."));
        if parts.iter().any(|part| *part == b"..") {
            return Err(bad("it has a .. component"));
        }
        let member = if parts.is_empty() {
            MemberPath::from(".")
        } else {
            MemberPath::new(parts.join(&b'/'))
        };
        let parent = (!itself).then(|| parent_of(bytes, &parts));
        Ok(Self { member, path: path.into(), parent, inner: Vec::new() })
    }
}

/// Returns the name in the archive that a given path becomes.
///
/// # Errors
///
/// [`Error::BadSource`].
pub(crate) fn member_path(path: &Path) -> Result<MemberPath> {
    Ok(Given::new(path)?.member)
}

fn parent_of(bytes: &[u8], parts: &[&[u8]]) -> PathBuf {
    let mut parent = if bytes.starts_with(b"/") { b"/".to_vec() } else { b"./".to_vec() };
    if let Some((_, parents)) = parts.split_last() {
        parent.extend_from_slice(&parents.join(&b'/'));
    }
    PathBuf::from(OsStr::from_bytes(&parent))
}

/// Puts the given paths in listing order and drops those that come with another.
///
/// # Errors
///
/// [`Error::BadSource`] for a path with `..`, for two sources of the same member name, and for a
/// path that leads through a symbolic link which is itself archived.
pub(super) fn arrange(directory: &OwnedFd, paths: &[PathBuf]) -> Result<Vec<Given>> {
    let mut all = paths.iter().map(|path| Given::new(path)).collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| a.member.cmp(&b.member));
    let mut kept: Vec<Given> = Vec::new();
    for given in all {
        match kept.last_mut() {
            Some(outer) if given.member.is_within(&outer.member) => {
                check_nested(directory, outer, &given)?;
                // `link/` says more than `link`: the directory behind it.
                if given.member == outer.member && given.parent.is_none() {
                    outer.parent = None;
                }
                outer.inner.push(given.path);
            }
            _ => kept.push(given),
        }
    }
    Ok(kept)
}

fn check_nested(directory: &OwnedFd, outer: &Given, inner: &Given) -> Result<()> {
    let bad = |reason| Err(Error::BadSource { path: inner.path.clone(), reason });
    if outer.path.is_absolute() != inner.path.is_absolute() {
        return bad(format!(
            "its members would have the names of those of {}",
            outer.path.display()
        ));
    }
    let root = if inner.path.is_absolute() { "/" } else { "./" };
    let mut path = PathBuf::from(root);
    let parts: Vec<&[u8]> = inner.member.as_bytes().split(|&byte| byte == b'/').collect();
    for part in parts.split_last().map(|(_, parents)| parents).unwrap_or_default() {
        path.push(OsStr::from_bytes(part));
        let member = Given::new(&path)?.member;
        let archived =
            member.is_within(&outer.member) && (member != outer.member || outer.parent.is_some());
        if archived && is_symlink(directory, &path) {
            return bad(format!(
                "{member} is a symbolic link and is archived as one, because {} is given, too",
                outer.path.display()
            ));
        }
    }
    Ok(())
}

fn is_symlink(directory: &OwnedFd, path: &Path) -> bool {
    statat(directory, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn arranged(directory: &Path, paths: &[&str]) -> Result<Vec<Given>> {
        let handle = fs::File::open(directory).unwrap().into();
        arrange(&handle, &paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn paths_become_member_names_and_look_ups() {
        for (path, member, parent) in [
            (".", ".", None),
            ("/", ".", None),
            ("./", ".", None),
            ("//", ".", None),
            ("a", "a", Some("./")),
            ("./a", "a", Some("./")),
            ("a/", "a", None),
            ("a/.", "a", None),
            ("/a", "a", Some("/")),
            ("//a///b/./c", "a/b/c", Some("/a/b")),
            ("a/./b", "a/b", Some("./a")),
            (".a", ".a", Some("./")),
            ("...", "...", Some("./")),
        ] {
            let given = Given::new(Path::new(path)).unwrap();
            assert_eq!(given.member, MemberPath::from(member), "{path}");
            assert_eq!(given.parent, parent.map(PathBuf::from), "{path}");
        }
        for path in ["", "..", "a/..", "../a", "/.."] {
            assert!(matches!(Given::new(Path::new(path)), Err(Error::BadSource { .. })), "{path}");
        }
    }

    #[test]
    fn nested_paths_come_with_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        let names = |paths: &[&str]| -> Vec<String> {
            let arranged = arranged(dir.path(), paths).unwrap();
            arranged.iter().map(|given| given.member.to_string()).collect()
        };
        assert_eq!(names(&["b", "a.b", "a/c", "a", "a/b"]), ["a", "a.b", "b"]);
        assert_eq!(names(&["a/b", "."]), ["."]);
        assert_eq!(names(&["/x/y", "/x/", "/x/y/z"]), ["x"]);
        assert_eq!(names(&["/x", "y"]), ["x", "y"]);
    }

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        for paths in [["/x", "x"], ["/x", "x/y"], [".", "/x"], ["link", "link/etc"]] {
            let result = arranged(dir.path(), &paths);
            assert!(matches!(result, Err(Error::BadSource { .. })), "{paths:?}: {result:?}");
        }
        assert_eq!(arranged(dir.path(), &["link/", "link/etc"]).unwrap().len(), 1);
        assert_eq!(arranged(dir.path(), &["link", "link/"]).unwrap()[0].parent, None);
    }
}
