//! Reading the slices of an archive as one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::fault::{SliceError, SliceFault};
use super::names::SliceNames;
use crate::error::{Error, Result};
use crate::io::ReadAt;
use crate::io::paths::resolve;

/// Most slices that are open at a time: threads read close to each other.
const MOST_OPEN: usize = 16;

/// An archive as it lies in files: one, or NAME.part1, NAME.part2 and so on, read as one.
///
/// Slices are opened when something in them is read.
#[derive(Debug)]
pub struct SliceSet {
    names: SliceNames,
    /// The file of an archive that is not cut.
    whole: Option<File>,
    slices: Vec<Slice>,
    /// Slices that are open by their index, the one used last at the end.
    open: Mutex<Vec<(usize, Arc<File>)>>,
}

/// Where a slice stands in the archive.
#[derive(Debug, Clone, Copy)]
struct Slice {
    start: u64,
    len: u64,
    present: bool,
}

impl SliceSet {
    /// Opens the archive named `path`: a regular file of that name, or slices. `None` when what is
    /// there is a pipe or a device.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is neither, [`Error::Slice`] when a slice is missing.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let failed = || Error::io::<io::Error>("open", path);
        let names = SliceNames::new(resolve(path).map_err(failed())?);
        match std::fs::metadata(names.archive()) {
            Ok(found) if found.is_dir() => Err(failed()(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => Ok(None),
            Ok(_) => Self::open_whole(names).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let numbers = names.numbers().unwrap_or_default();
                if numbers.is_empty() {
                    return Err(failed()(error));
                }
                Self::open_slices(names, &numbers).map(Some)
            }
            Err(error) => Err(failed()(error)),
        }
    }

    fn open_whole(names: SliceNames) -> Result<Self> {
        let file = File::open(names.archive()).map_err(Error::io("open", names.archive()))?;
        let len = ReadAt::size(&file).map_err(Error::io("open", names.archive()))?;
        let slices = vec![Slice { start: 0, len, present: true }];
        Ok(Self { names, whole: Some(file), slices, open: Mutex::default() })
    }

    fn open_slices(names: SliceNames, numbers: &[u64]) -> Result<Self> {
        let mut slices = Vec::new();
        let mut start = 0u64;
        for &number in numbers {
            let next = slices.len() as u64 + 1;
            if number != next {
                return Err(Error::Slice(missing(&names, next)));
            }
            let path = names.slice(number);
            let len = std::fs::metadata(&path).map_err(Error::io("open", path))?.len();
            slices.push(Slice { start, len, present: true });
            start = start.saturating_add(len);
        }
        Ok(Self { names, whole: None, slices, open: Mutex::default() })
    }

    /// Returns how many slices there are: 1 when the archive is not cut.
    pub fn count(&self) -> u64 {
        self.slices.len() as u64
    }

    /// Returns where in the archive slice `number`, from 1, begins.
    pub fn start_of(&self, number: u64) -> Option<u64> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.slices.get(index).map(|slice| slice.start)
    }

    /// Returns the file of slice `number`.
    pub fn path_of(&self, number: u64) -> PathBuf {
        match &self.whole {
            Some(_) => self.names.archive().to_path_buf(),
            None => self.names.slice(number),
        }
    }

    /// Returns the index of the slice that has the byte at `offset`.
    fn index_of(&self, offset: u64) -> Option<usize> {
        let behind = self.slices.partition_point(|slice| slice.start <= offset);
        let index = behind.checked_sub(1)?;
        let slice = self.slices.get(index)?;
        (offset - slice.start < slice.len).then_some(index)
    }

    /// Returns the open file of a slice.
    fn file(&self, index: usize) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(open, _)| *open == index) {
            let used = open.remove(at);
            let file = Arc::clone(&used.1);
            open.push(used);
            return Ok(file);
        }
        let number = index as u64 + 1;
        if self.slices.get(index).is_none_or(|slice| !slice.present) {
            return Err(io::Error::other(missing(&self.names, number)));
        }
        let file = match File::open(self.names.slice(number)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(io::Error::other(missing(&self.names, number)));
            }
            Err(error) => return Err(error),
        };
        if open.len() == MOST_OPEN {
            open.remove(0);
        }
        open.push((index, Arc::clone(&file)));
        Ok(file)
    }
}

fn missing(names: &SliceNames, number: u64) -> SliceError {
    SliceError { number, path: names.slice(number), fault: SliceFault::Missing }
}

impl ReadAt for SliceSet {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(file) = &self.whole {
            return FileExt::read_at(file, buf, offset);
        }
        let Some(index) = self.index_of(offset).filter(|_| !buf.is_empty()) else { return Ok(0) };
        let slice = self.slices[index];
        let within = offset - slice.start;
        let left = usize::try_from(slice.len - within).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        match FileExt::read_at(&*self.file(index)?, &mut buf[..len], within)? {
            // It is shorter than it was: what comes behind it is no continuation.
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    fn size(&self) -> io::Result<u64> {
        if let Some(file) = &self.whole {
            return ReadAt::size(file);
        }
        Ok(self.slices.last().map_or(0, |last| last.start.saturating_add(last.len)))
    }

    fn slices(&self) -> Option<&SliceSet> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], size: usize) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tgz");
        for (index, slice) in bytes.chunks(size).enumerate() {
            std::fs::write(SliceNames::new(path.clone()).slice(index as u64 + 1), slice).unwrap();
        }
        (directory, path)
    }

    #[test]
    fn slices_are_read_as_one_however_many() {
        let bytes: Vec<u8> = (0..=255).collect();
        for size in [3, 100, 255, 256] {
            let (_directory, path) = cut(&bytes, size);
            let set = SliceSet::open(&path).unwrap().unwrap();
            assert_eq!(ReadAt::size(&set).unwrap(), 256);
            for (start, len) in [(0, 256), (1, 99), (99, 2), (255, 1), (250, 0)] {
                let mut buf = vec![0; len];
                set.read_exact_at(&mut buf, start as u64).unwrap();
                assert_eq!(buf, bytes[start..start + len], "{size} {start}");
            }
            assert!(set.read_exact_at(&mut [0; 2], 255).is_err());
            assert_eq!(set.start_of(2), (size < 256).then_some(size as u64));
        }
    }

    #[test]
    fn one_file_is_one_slice_and_a_pipe_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tgz");
        std::fs::write(&path, "abc").unwrap();
        let set = SliceSet::open(&path).unwrap().unwrap();
        assert_eq!((set.count(), set.start_of(1), set.path_of(1)), (1, Some(0), path));
        assert!(SliceSet::open("/dev/null".as_ref()).unwrap().is_none());
        assert!(matches!(SliceSet::open(directory.path()), Err(Error::Io { .. })));
        let gone = directory.path().join("gone");
        assert!(matches!(SliceSet::open(&gone), Err(Error::Io { op: "open", .. })));
    }

    #[test]
    fn a_gap_is_named() {
        let (_directory, path) = cut(&[7; 40], 10);
        std::fs::remove_file(SliceNames::new(path.clone()).slice(2)).unwrap();
        let error = SliceSet::open(&path).unwrap_err().to_string();
        assert!(error.starts_with("slice 2, ") && error.ends_with("a.tgz.part2, is missing"));
    }
}
