//! What the files of a sliced archive are called.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::format::text::decimal;
use crate::io::paths::{parent, resolve, with_suffix};

/// Most slices of an archive: their lines in the tables stay far below the limit of those.
pub const MAX_SLICES: u64 = 100_000;

/// The shortest slices: they have room for archive info and size trailer, which are not cut.
pub const MIN_SLICE_SIZE: u64 = 4096;

/// What stands between the name of an archive and the number of a slice.
const PART: &str = ".part";

/// What is added to the name of a slice for the file with its digest.
const SUM: &str = ".sha256";

/// The names of the files that belong to an archive in slices.
#[derive(Debug, Clone)]
pub(crate) struct SliceNames {
    archive: PathBuf,
}

impl SliceNames {
    /// Names of the archive at `archive`, no symbolic link.
    pub(crate) fn new(archive: PathBuf) -> Self {
        Self { archive }
    }

    /// Returns the name of the whole archive, and of a slice that is alone.
    pub(crate) fn archive(&self) -> &Path {
        &self.archive
    }

    /// Returns the directory that all slices are in.
    pub(crate) fn directory(&self) -> &Path {
        parent(&self.archive)
    }

    /// Returns the name of slice `number`.
    pub(crate) fn slice(&self, number: u64) -> PathBuf {
        with_suffix(&self.archive, &format!("{PART}{number}"))
    }

    /// Returns the name of slice `number` while the archive is being written.
    pub(crate) fn pending(&self, number: u64) -> PathBuf {
        with_suffix(&self.archive, &format!("{PART}{number}~"))
    }

    /// Returns the name that slice `number` of `count` gets.
    pub(crate) fn last_name(&self, number: u64, count: u64) -> PathBuf {
        if count == 1 { self.archive.clone() } else { self.slice(number) }
    }

    /// Returns the name of the file that says that all slices are there and are to be renamed.
    pub(crate) fn commit(&self) -> PathBuf {
        with_suffix(&self.archive, ".commit")
    }

    /// Returns the numbers of all slices in the directory, from the lowest to the highest.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = self.suffixes(slice_number)?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns all files in the directory that are called as those of an archive which was not
    /// published.
    pub(crate) fn temporaries(&self) -> io::Result<Vec<PathBuf>> {
        let is_temporary = |suffix: &[u8]| {
            let suffix = suffix.strip_suffix(b"~").filter(|suffix| !suffix.is_empty());
            suffix.is_some_and(is_own_suffix)
        };
        self.suffixes(|suffix| {
            is_temporary(suffix).then(|| {
                let mut path = self.archive.clone().into_os_string();
                path.push(OsStr::from_bytes(suffix));
                PathBuf::from(path)
            })
        })
    }

    /// Returns what is made of what stands behind the archive's name in names of the directory.
    fn suffixes<T>(&self, make: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
        let mut made = Vec::new();
        let Some(name) = self.archive.file_name() else { return Ok(made) };
        for found in std::fs::read_dir(self.directory())? {
            let found = found?.file_name();
            made.extend(found.as_bytes().strip_prefix(name.as_bytes()).and_then(&make));
        }
        Ok(made)
    }
}

/// Returns the name of the file with the digest of a slice, for `sha256sum -c`.
pub(crate) fn sum_of(slice: &Path) -> PathBuf {
    with_suffix(slice, SUM)
}

/// Returns the name of that file while the archive is being written.
pub(crate) fn pending_sum_of(slice: &Path) -> PathBuf {
    with_suffix(slice, ".sha256~")
}

/// The names that an archive and its slices have in a directory, whether they are there or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNames {
    /// The directory, by device and inode number.
    pub directory: (u64, u64),
    /// The name of the archive there.
    pub archive: Vec<u8>,
}

impl OwnNames {
    /// Returns the names of the archive at `path` when it is written in slices.
    ///
    /// # Errors
    ///
    /// Whatever the system answers when it is asked for the directory.
    pub fn of(path: &Path) -> io::Result<Self> {
        Self::beside(&SliceNames::new(resolve(path)?))
    }

    pub(crate) fn beside(names: &SliceNames) -> io::Result<Self> {
        let directory = names.directory().metadata()?;
        let archive = names.archive.file_name().unwrap_or_default().as_bytes().to_vec();
        Ok(Self { directory: (directory.dev(), directory.ino()), archive })
    }

    /// Returns whether `name` is one of them, in whichever directory.
    pub fn has(&self, name: &[u8]) -> bool {
        let Some(suffix) = name.strip_prefix(self.archive.as_slice()) else { return false };
        suffix.is_empty() || is_file_suffix(suffix)
    }
}

/// Returns whether a file that an archive has, for good or for a time, is called so behind the
/// archive's name.
fn is_file_suffix(suffix: &[u8]) -> bool {
    suffix == b".isptar-partial"
        || (suffix != b"~" && is_own_suffix(suffix.strip_suffix(b"~").unwrap_or(suffix)))
}

/// Returns the name of the archive when a file called `name` would be taken for a slice of it, or
/// something else that is written beside it.
pub(crate) fn archive_of_file(name: &[u8]) -> Option<&[u8]> {
    let dots = (1..name.len()).filter(|&at| name.get(at) == Some(&b'.'));
    dots.filter_map(|at| name.split_at_checked(at))
        .find(|(_, suffix)| is_file_suffix(suffix))
        .map(|(archive, _)| archive)
}

/// Returns whether a file of a sliced archive is called so, behind the archive's name.
fn is_own_suffix(suffix: &[u8]) -> bool {
    let slice = suffix.strip_suffix(SUM.as_bytes()).unwrap_or(suffix);
    slice.is_empty() || slice_number(slice).is_some() || suffix == b".commit"
}

/// Returns the number in `.part7`: at least 1, without leading zeros.
fn slice_number(suffix: &[u8]) -> Option<u64> {
    let digits = suffix.strip_prefix(PART.as_bytes())?;
    decimal("number of a slice", digits).ok().filter(|number| (1..=MAX_SLICES).contains(number))
}

/// Returns the name of the archive when `path` is called as a slice is.
pub fn archive_of_slice(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    let dot = name.windows(PART.len()).rposition(|window| window == PART.as_bytes())?;
    slice_number(&name[dot..]).filter(|_| dot > 0)?;
    Some(path.with_file_name(OsStr::from_bytes(&name[..dot])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_this_archive_alone() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "a.tgz.part10",
            "a.tgz.part2",
            "a.tgz.part02",
            "a.tgz.part0",
            "a.tgz.part3~",
            "a.tgz.part4.sha256",
            "a.tgz.part",
            "a.tgz.part100001",
            "b.tgz.part1",
            "a.tgz",
        ] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let names = SliceNames::new(directory.path().join("a.tgz"));
        assert_eq!(names.numbers().unwrap(), [2, 10]);
        assert_eq!(names.temporaries().unwrap(), [names.pending(3)]);
        assert_eq!(names.slice(7), directory.path().join("a.tgz.part7"));
    }

    #[test]
    fn all_names_of_an_archive_are_its_own() {
        let own = OwnNames { directory: (0, 0), archive: b"a.tgz".to_vec() };
        for suffix in [
            "",
            ".part1",
            ".part20~",
            ".part1.sha256",
            ".part1.sha256~",
            ".commit",
            ".commit~",
            ".sha256",
            ".isptar-partial",
        ] {
            let name = format!("a.tgz{suffix}");
            assert!(own.has(name.as_bytes()), "{suffix}");
            let archive = (!suffix.is_empty()).then_some(&b"a.tgz"[..]);
            assert_eq!(archive_of_file(name.as_bytes()), archive, "{suffix}");
        }
        for name in ["a.tg", "a.tgz~", "a.tgz.part", "a.tgz.part1.txt", "a.tgz.bak", "b.tgz.part1"]
        {
            assert!(!own.has(name.as_bytes()), "{name}");
        }
        for name in ["a.tgz~", "a.tgz.part", "a.part1.txt", "a.tgz.bak", ".part1", ".commit", "a."]
        {
            assert_eq!(archive_of_file(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_slice_is_known_by_its_name() {
        for (path, archive) in [
            ("/b/a.tgz.part12", Some("/b/a.tgz")),
            ("a.part1.part2", Some("a.part1")),
            ("a.part0", None),
            ("a.part", None),
            ("a.partial", None),
            (".part1", None),
            ("a.tgz", None),
        ] {
            assert_eq!(archive_of_slice(path.as_ref()), archive.map(PathBuf::from), "{path}");
        }
    }
}
