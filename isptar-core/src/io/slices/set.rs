//! Reading the slices of an archive as one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::commit::{Commit, try_finish};
use super::fault::{SliceError, SliceFault};
use super::files::{FetchSlice, Fetcher, Files};
use super::layout::{Place, place};
use super::names::SliceNames;
use super::tail::{self, Tail};
use crate::error::{Error, Result};
use crate::format::info::ArchiveInfo;
use crate::format::tables;
use crate::io::ReadAt;
use crate::io::paths::resolve;

/// How slices are found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OpenSlices {
    /// How many there are; else the one with the highest number is taken for the last.
    pub count: Option<u64>,
    /// How many there are if none is here.
    pub count_if_none: Option<u64>,
    /// What brings slices that are not here, and the directory that they are put into: at most five
    /// at a time.
    pub fetch: Option<(Arc<dyn FetchSlice>, PathBuf)>,
}

/// An archive as it lies in files: one, or NAME.part1, NAME.part2 and so on, read as one.
///
/// Slices are opened, and looked at, when something in them is read; those that are not needed may
/// be missing.
#[derive(Debug)]
pub struct SliceSet {
    /// The file of an archive that is not cut.
    whole: Option<File>,
    places: Vec<Place>,
    /// Slices that are not as long as the end of the archive says, in order: none is read.
    wrong: Vec<SliceError>,
    files: Files,
    /// What the tables say of slices, once they are read.
    expected: OnceLock<Vec<tables::Slice>>,
}

impl SliceSet {
    /// Opens the archive named `path`: a regular file of that name, or slices. `None` when what is
    /// there is a pipe or a device. Where a run was killed while it gave its slices their names,
    /// that is finished first.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when there is neither, [`Error::Slice`] when a slice is missing that is needed
    /// to know where the others are.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        Self::open_with(path, &OpenSlices::default())
    }

    /// Opens an archive of which more is known.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(path: &Path, options: &OpenSlices) -> Result<Option<Self>> {
        let failed = || Error::io::<io::Error>("open", path);
        let names = SliceNames::new(resolve(path).map_err(failed())?);
        let pending = match Commit::read(&names)? {
            Some(_) if try_finish(&names)? => None,
            pending => pending,
        };
        if let Some(commit) = pending.as_ref().filter(|commit| commit.count > 1) {
            let count = commit.count;
            return Self::open_slices(names, pending, count, options).map(Some);
        }
        if pending.is_some() && names.pending(1).exists() {
            return Self::open_whole(names.pending(1), names).map(Some);
        }
        match std::fs::metadata(names.archive()) {
            Ok(found) if found.is_dir() => Err(failed()(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => Ok(None),
            Ok(_) => Self::open_whole(names.archive().to_path_buf(), names).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let highest = || names.numbers().ok()?.last().copied();
                let count = options.count.or_else(highest).or(options.count_if_none);
                let count = count.ok_or(error).map_err(failed())?;
                Self::open_slices(names, None, count, options).map(Some)
            }
            Err(error) => Err(failed()(error)),
        }
    }

    fn open_whole(path: PathBuf, names: SliceNames) -> Result<Self> {
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let len = ReadAt::size(&file).map_err(Error::io("open", &path))?;
        let places = vec![Place { start: 0, len, here: true }];
        let (files, expected) = (Files::new(names, None, None), OnceLock::new());
        Ok(Self { whole: Some(file), places, wrong: Vec::new(), files, expected })
    }

    fn open_slices(
        names: SliceNames,
        pending: Option<Commit>,
        count: u64,
        options: &OpenSlices,
    ) -> Result<Self> {
        let fetcher = options.fetch.clone().map(|(fetch, to)| Fetcher::new(fetch, to));
        let files = Files::new(names, pending, fetcher);
        let mut lengths = Vec::new();
        for number in 1..=count {
            let len = files.len(number).map_err(Error::io("open", files.names().slice(number)))?;
            lengths.push(len);
        }
        let (mut tail, mut wrong) = (None, Vec::new());
        if lengths.contains(&None) {
            let file = files.get(count, 0, |_| Ok(())).map_err(|error| Error::input(0, error))?;
            let len = ReadAt::size(&*file).map_err(|error| Error::input(0, error))?;
            lengths.last_mut().map(|last| last.replace(len));
            tail = tail::read(&*file)?;
        } else if count > 1 {
            // Where all are here, it is no harm if the end cannot be read, or not all of it.
            let last = files.get(count, 0, |_| Ok(())).ok();
            tail = last.and_then(|file| tail::read(&*file).ok().flatten());
        }
        let placed = |fault| Error::Slice(files.fault(count, fault));
        if let Some(tail) = tail.as_ref().filter(|tail| tail.info.slice_size.is_some()) {
            // What one slice lacks must not shift those behind it.
            let last = lengths.last().copied().flatten().unwrap_or(0);
            let right = place(&last_alone(lengths.len(), last), Some(tail)).map_err(placed)?;
            for (number, (len, right)) in (1..).zip(lengths.iter_mut().zip(&right)) {
                let Some(actual) = *len else { continue };
                if actual != right.len {
                    let fault = SliceFault::Length { expected: right.len, actual };
                    wrong.push(files.fault(number, fault));
                    *len = Some(right.len);
                }
            }
        }
        let places = place(&lengths, tail.as_ref()).map_err(placed)?;
        Ok(Self { whole: None, places, wrong, files, expected: OnceLock::new() })
    }

    /// Returns whether the archive is one file.
    pub fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Returns how many slices there are: 1 when the archive is not cut.
    pub fn count(&self) -> u64 {
        self.places.len() as u64
    }

    /// Returns where in the archive slice `number`, from 1, begins.
    pub fn start_of(&self, number: u64) -> Option<u64> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.places.get(index).map(|place| place.start)
    }

    /// Returns where the slice ends that has the byte at `offset`.
    pub(crate) fn end_at(&self, offset: u64) -> Option<u64> {
        let (_, place) = self.place_of(offset)?;
        place.start.checked_add(place.len)
    }

    /// Returns the file of slice `number`.
    pub fn path_of(&self, number: u64) -> PathBuf {
        match &self.whole {
            Some(_) => self.files.names().archive().to_path_buf(),
            None => self.files.names().slice(number),
        }
    }

    /// Returns the first slice of another archive that has the name of this one, which is in one
    /// file: it is not read.
    pub fn ignored(&self) -> Option<PathBuf> {
        let first = self.files.names().slice(1);
        (self.whole.is_some() && first.is_file()).then_some(first)
    }

    /// Returns the slices that are not here and cannot be fetched, and those that are not as long as
    /// they should be.
    pub fn missing(&self) -> Vec<SliceError> {
        let numbered = (1..).zip(&self.places);
        let missing = numbered.filter(|(_, place)| !place.here && !self.files.can_fetch());
        let missing = missing.map(|(number, _)| self.files.fault(number, SliceFault::Missing));
        let mut all: Vec<SliceError> = missing.chain(self.wrong.iter().cloned()).collect();
        all.sort_by_key(|error| error.number);
        all
    }

    /// Returns the slice behind those that there are as what an archive without an end lacks.
    pub fn next_missing(&self) -> SliceError {
        self.files.fault(self.count() + 1, SliceFault::NoEnd)
    }

    /// Returns how many bytes of the last slice may be read without touching the one before.
    pub(crate) fn last_len(&self) -> u64 {
        self.places.last().map_or(0, |last| last.len)
    }

    /// Checks the lengths of slices against the archive info; `size` is the length of the archive
    /// by it.
    pub(crate) fn check_lengths(&self, info: &ArchiveInfo, size: u64) -> Result<()> {
        if self.count() < 2 || info.slice_size.is_none() {
            return Ok(());
        }
        let lengths = last_alone(self.places.len(), self.last_len());
        let fault = |number, fault| Err(Error::Slice(self.files.fault(number, fault)));
        let expected = match place(&lengths, Some(&Tail { info: info.clone(), size })) {
            Ok(expected) => expected,
            Err(wrong) => return fault(self.count(), wrong),
        };
        for (number, (place, expected)) in (1..).zip(self.places.iter().zip(&expected)) {
            if place.len != expected.len {
                let (expected, actual) = (expected.len, place.len);
                return fault(number, SliceFault::Length { expected, actual });
            }
        }
        Ok(())
    }

    /// Learns what the tables say of slices, and checks those that are open already.
    pub(crate) fn check_tables(&self, slices: &[tables::Slice]) -> Result<()> {
        if self.count() < 2 {
            return Ok(());
        }
        for (number, (place, slice)) in (1..).zip(self.places.iter().zip(slices)) {
            if place.len != slice.length {
                let (expected, actual) = (slice.length, place.len);
                let fault = SliceFault::Length { expected, actual };
                return Err(Error::Slice(self.files.fault(number, fault)));
            }
        }
        let expected = self.expected.get_or_init(|| slices.to_vec());
        let checked = self.files.each_open(|number, file| self.check(expected, number, file));
        checked.map_err(|error| Error::input(0, error))
    }

    /// Checks a slice that was opened: its length, and the beginning that the tables give it.
    fn check(&self, expected: &[tables::Slice], number: u64, file: &File) -> io::Result<()> {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let fault = |fault| Err(io::Error::other(self.files.fault(number, fault)));
        let (expected_len, actual) =
            (self.places.get(index).map_or(0, |place| place.len), ReadAt::size(file)?);
        if actual != expected_len {
            return fault(SliceFault::Length { expected: expected_len, actual });
        }
        let Some(slice) = expected.get(index) else { return Ok(()) };
        let mut head = [0; 16];
        let len = usize::try_from(actual).unwrap_or(usize::MAX).min(head.len());
        ReadAt::read_exact_at(file, &mut head[..len], 0)?;
        if head == slice.head {
            return Ok(());
        }
        let is = expected.iter().position(|other| other.head == head).map(|at| at as u64 + 1);
        let (expected, actual) = (HEXLOWER.encode(&slice.head), HEXLOWER.encode(&head));
        fault(SliceFault::Head { expected, actual, is })
    }

    /// Reads a slice and compares its digest with the one in the tables, which have none of the
    /// last ones. `go_on` is asked between pieces.
    pub(crate) fn check_digest(
        &self,
        number: u64,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let (Some(_), Some(place)) = (self.expected_of(number), self.places.get(index)) else {
            return Ok(());
        };
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut at = place.start;
        let end = place.start.saturating_add(place.len);
        while at < end {
            go_on()?;
            let left = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.read_exact_at(&mut buffer[..left], at);
            read.map_err(|source| Error::input(at, source))?;
            digest.update(&buffer[..left]);
            at += left as u64;
        }
        self.compare_digest(number, digest.finalize().into())
    }

    /// Compares the digest of a slice with the one in the tables, if they have one.
    pub(crate) fn compare_digest(&self, number: u64, actual: [u8; 32]) -> Result<()> {
        let expected = self.expected_of(number).filter(|slice| slice.sha256 != actual);
        let Some(expected) = expected else { return Ok(()) };
        let (expected, actual) = (HEXLOWER.encode(&expected.sha256), HEXLOWER.encode(&actual));
        Err(Error::Slice(self.files.fault(number, SliceFault::Digest { expected, actual })))
    }

    /// Returns what the tables say of a slice, when they do and the archive lies in slices.
    fn expected_of(&self, number: u64) -> Option<&tables::Slice> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.expected.get()?.get(index)
    }

    /// Returns the number and place of the slice that has the byte at `offset`.
    fn place_of(&self, offset: u64) -> Option<(u64, Place)> {
        let number = self.places.partition_point(|place| place.start <= offset);
        let place = *self.places.get(number.checked_sub(1)?)?;
        (offset - place.start < place.len).then_some((number as u64, place))
    }
}

/// Returns the lengths of so many slices of which the last one alone is known.
fn last_alone(count: usize, len: u64) -> Vec<Option<u64>> {
    let mut lengths = vec![None; count];
    if let Some(last) = lengths.last_mut() {
        *last = Some(len);
    }
    lengths
}

impl ReadAt for SliceSet {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(file) = &self.whole {
            return ReadAt::read_at(file, buf, offset);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let Some((number, place)) = self.place_of(offset) else { return Ok(0) };
        let within = offset - place.start;
        let left = usize::try_from(place.len - within).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let expected = self.expected.get().map_or(&[][..], Vec::as_slice);
        let file = self.files.get(number, place.len, |file| self.check(expected, number, file))?;
        match ReadAt::read_at(&*file, &mut buf[..len], within)? {
            // It is shorter than it was: what comes behind it is no continuation.
            0 => {
                let actual = ReadAt::size(&*file)?;
                let fault = SliceFault::Length { expected: place.len, actual };
                Err(io::Error::other(self.files.fault(number, fault)))
            }
            count => Ok(count),
        }
    }

    fn size(&self) -> io::Result<u64> {
        if let Some(file) = &self.whole {
            return ReadAt::size(file);
        }
        Ok(self.places.last().map_or(0, |last| last.start.saturating_add(last.len)))
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
    fn a_slice_that_is_not_here_is_an_error_when_it_is_read() {
        let (_directory, path) = cut(&[7; 40], 10);
        std::fs::remove_file(SliceNames::new(path.clone()).slice(2)).unwrap();
        let set = SliceSet::open(&path).unwrap().unwrap();
        set.read_exact_at(&mut [0; 10], 0).unwrap();
        set.read_exact_at(&mut [0; 20], 20).unwrap();
        let error = set.read_exact_at(&mut [0; 10], 15).unwrap_err().to_string();
        assert!(error.starts_with("slice 2, ") && error.ends_with("a.tgz.part2, is missing"));
        assert_eq!(set.missing().len(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let (_directory, path) = cut(&[7; 40], 10);
        let names = SliceNames::new(path.clone());
        std::fs::remove_file(names.slice(2)).unwrap();
        for fifo in [names.slice(2), names.commit()] {
            mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }
        assert!(matches!(SliceSet::open(&path), Err(Error::Io { op: "read", .. })));
        std::fs::remove_file(names.commit()).unwrap();
        let set = SliceSet::open(&path).unwrap().unwrap();
        set.read_exact_at(&mut [0; 10], 15).unwrap_err();
    }

    #[test]
    fn a_commit_file_without_its_slices_removes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tgz");
        let names = SliceNames::new(path.clone());
        std::fs::write(&path, "another archive").unwrap();
        let commit = Commit { count: 3, identity: [5; 32], sums: false, gone: Vec::new() };
        let link = directory.path().join("a.tgz.commit~");
        std::os::unix::fs::symlink(&path, link).unwrap();
        commit.write(&names).unwrap();
        SliceSet::open(&path).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"another archive");
        // Nor does one that lies about their number go on for ever.
        std::fs::write(names.commit(), format!("slices={}\n", u64::MAX)).unwrap();
        assert!(matches!(SliceSet::open(&path), Err(Error::Io { op: "read", .. })));
    }

    /// Fetches what it is asked for, all the same bytes.
    #[derive(Debug)]
    struct Same(std::sync::Mutex<Vec<u64>>);

    impl FetchSlice for Same {
        fn fetch(&self, number: u64, name: &Path, to: &Path) -> io::Result<()> {
            assert_eq!(name.file_name(), to.file_name());
            self.0.lock().unwrap().push(number);
            std::fs::write(to, [u8::try_from(number).unwrap(); 10])
        }
    }

    #[test]
    fn slices_are_fetched_when_they_are_read_and_a_few_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let fetch = Arc::new(Same(std::sync::Mutex::default()));
        let to = directory.path().to_path_buf();
        let options = OpenSlices {
            count: Some(9),
            fetch: Some((fetch.clone(), to)),
            ..OpenSlices::default()
        };
        let set = SliceSet::open_with(&directory.path().join("a.tgz"), &options).unwrap().unwrap();
        let mut byte = [0];
        for number in [1, 1, 2, 3, 4, 5, 5, 4, 1, 9] {
            set.read_exact_at(&mut byte, number * 10 - 1).unwrap();
            assert_eq!(u64::from(byte[0]), number);
        }
        assert_eq!(*fetch.0.lock().unwrap(), [9, 1, 2, 3, 4, 5, 1, 9]);
        let scratch = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        drop(set);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    }
}
