//! What the files of a sliced archive are called.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::format::text::decimal;
use crate::io::paths::{parent, with_suffix};

/// Most slices of an archive: their lines in the tables stay far below the limit of those.
pub const MAX_SLICES: u64 = 100_000;

/// What stands between the name of an archive and the number of a slice.
const PART: &str = ".part";

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

    /// Returns the numbers of all slices in the directory, from the lowest to the highest.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let Some(name) = self.archive.file_name() else { return Ok(numbers) };
        for found in std::fs::read_dir(self.directory())? {
            let found = found?.file_name();
            let rest = found.as_bytes().strip_prefix(name.as_bytes());
            numbers.extend(rest.and_then(slice_number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
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
    Some(path.with_file_name(std::ffi::OsStr::from_bytes(&name[..dot])))
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
        assert_eq!(names.slice(7), directory.path().join("a.tgz.part7"));
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
