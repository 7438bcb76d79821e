//! The files of slices: open while they are read, brought here when they are not.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::commit::Commit;
use super::fault::{SliceError, SliceFault};
use super::names::SliceNames;
use crate::io::paths::open_regular;

/// Most slices that are open at a time: threads read close to each other.
const MOST_OPEN: usize = 16;

/// Most slices that were fetched and are kept; fewer where there is no room for them.
const MOST_FETCHED: usize = 4;

/// Brings slices that are not here.
pub trait FetchSlice: Send + Sync + Debug {
    /// Makes the file `to` with the bytes of slice `number`, whose own name is `name`.
    ///
    /// # Errors
    ///
    /// Any error is told as a fault of the slice.
    fn fetch(&self, number: u64, name: &Path, to: &Path) -> io::Result<()>;
}

/// Opens slices, and keeps those open that were used last.
#[derive(Debug)]
pub(super) struct Files {
    names: SliceNames,
    /// What is being published: slices may still have the names that they have before.
    pending: Option<Commit>,
    fetcher: Option<Fetcher>,
    /// The one used last at the end.
    open: Mutex<Vec<Opened>>,
}

#[derive(Debug)]
struct Opened {
    number: u64,
    file: Arc<File>,
    fetched: bool,
}

/// Fetches slices into a directory of its own, which goes with it.
#[derive(Debug)]
pub(super) struct Fetcher {
    fetch: Arc<dyn FetchSlice>,
    directory: PathBuf,
    /// One slice at a time is fetched.
    scratch: Mutex<Option<TempDir>>,
}

impl Files {
    pub(super) fn new(
        names: SliceNames,
        pending: Option<Commit>,
        fetcher: Option<Fetcher>,
    ) -> Self {
        Self { names, pending, fetcher, open: Mutex::default() }
    }

    pub(super) fn names(&self) -> &SliceNames {
        &self.names
    }

    pub(super) fn can_fetch(&self) -> bool {
        self.fetcher.is_some()
    }

    /// Returns the error of a slice.
    pub(super) fn fault(&self, number: u64, fault: SliceFault) -> SliceError {
        SliceError { number, path: self.names.slice(number), fault }
    }

    /// Returns the length of a slice; `None` when it is not here.
    pub(super) fn len(&self, number: u64) -> io::Result<Option<u64>> {
        for path in self.places(number) {
            match path.metadata() {
                Ok(found) if found.is_file() => return Ok(Some(found.len())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns the open file of a slice that should have `len` bytes, as far as that is known;
    /// `check` looks at it when it was just opened.
    pub(super) fn get(
        &self,
        number: u64,
        len: u64,
        check: impl Fn(&File) -> io::Result<()>,
    ) -> io::Result<Arc<File>> {
        if let Some(file) = self.known(number) {
            return Ok(file);
        }
        if let Some(file) = self.open_here(number)? {
            check(&file)?;
            return Ok(self.keep(number, file, false));
        }
        let missing = || io::Error::other(self.fault(number, SliceFault::Missing));
        let fetcher = self.fetcher.as_ref().ok_or_else(missing)?;
        let mut scratch = lock(&fetcher.scratch);
        // Another thread may have fetched it meanwhile.
        if let Some(file) = self.known(number) {
            return Ok(file);
        }
        let not_fetched = |error: io::Error| {
            let fault = SliceFault::NotFetched { reason: error.to_string() };
            io::Error::other(self.fault(number, fault))
        };
        self.make_room(fetcher, len);
        let file = fetcher.fetch(&mut scratch, number, &self.names).map_err(not_fetched)?;
        check(&file)?;
        Ok(self.keep(number, file, true))
    }

    /// Calls `look` with each slice that is open.
    pub(super) fn each_open<E>(
        &self,
        mut look: impl FnMut(u64, &File) -> Result<(), E>,
    ) -> Result<(), E> {
        lock(&self.open).iter().try_for_each(|opened| look(opened.number, &opened.file))
    }

    fn known(&self, number: u64) -> Option<Arc<File>> {
        let mut open = lock(&self.open);
        let at = open.iter().position(|opened| opened.number == number)?;
        let used = open.remove(at);
        let file = Arc::clone(&used.file);
        open.push(used);
        Some(file)
    }

    fn keep(&self, number: u64, file: File, fetched: bool) -> Arc<File> {
        let file = Arc::new(file);
        let mut open = lock(&self.open);
        let full = open.len() >= MOST_OPEN;
        let too_many = fetched && open.iter().filter(|other| other.fetched).count() >= MOST_FETCHED;
        let oldest = open.iter().position(|other| full || other.fetched);
        if let Some(oldest) = oldest.filter(|_| full || too_many) {
            open.remove(oldest);
        }
        open.push(Opened { number, file: Arc::clone(&file), fetched });
        file
    }

    /// Lets go of slices that were fetched, the one used last at the end, until there is room for
    /// one more.
    fn make_room(&self, fetcher: &Fetcher, len: u64) {
        while !fetcher.has_room(len) {
            let mut open = lock(&self.open);
            let Some(oldest) = open.iter().position(|other| other.fetched) else { return };
            open.remove(oldest);
        }
    }

    /// Returns where a slice may be.
    fn places(&self, number: u64) -> impl Iterator<Item = PathBuf> + '_ {
        let pending = self.pending.as_ref().map(|_| self.names.pending(number));
        // What has the name of one that was taken away is of an older archive.
        let is_gone = |commit: &Commit| commit.gone.binary_search(&number).is_ok();
        let here = !self.pending.as_ref().is_some_and(is_gone);
        pending.into_iter().chain(here.then(|| self.names.slice(number)))
    }

    fn open_here(&self, number: u64) -> io::Result<Option<File>> {
        for path in self.places(number) {
            match open_regular(&path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let fault = SliceFault::NotOpened { reason: error.to_string() };
                    return Err(io::Error::other(self.fault(number, fault)));
                }
            }
        }
        Ok(None)
    }
}

impl Fetcher {
    pub(super) fn new(fetch: Arc<dyn FetchSlice>, directory: PathBuf) -> Self {
        Self { fetch, directory, scratch: Mutex::default() }
    }

    /// Returns whether there is room for a file of `len` bytes.
    fn has_room(&self, len: u64) -> bool {
        // Where nobody can tell, whoever brings the slice will.
        rustix::fs::statvfs(&self.directory)
            .map_or(true, |found| found.f_bavail.saturating_mul(found.f_frsize) >= len)
    }

    /// Fetches a slice. Its file has no name any more when this returns, so its room is free again
    /// as soon as nobody reads it.
    fn fetch(
        &self,
        scratch: &mut Option<TempDir>,
        number: u64,
        names: &SliceNames,
    ) -> io::Result<File> {
        let directory = match scratch {
            Some(directory) => directory,
            None => {
                let made = tempfile::Builder::new().prefix(".isptar-").tempdir_in(&self.directory);
                scratch.insert(made?)
            }
        };
        let name = names.slice(number);
        let to = directory.path().join(name.file_name().unwrap_or_default());
        self.fetch.fetch(number, &name, &to)?;
        let file = open_regular(&to)?;
        std::fs::remove_file(&to)?;
        Ok(file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what it is asked for.
    #[derive(Debug, Default)]
    struct Counting(Mutex<Vec<u64>>);

    impl FetchSlice for Counting {
        fn fetch(&self, number: u64, _name: &Path, to: &Path) -> io::Result<()> {
            lock(&self.0).push(number);
            std::fs::write(to, "bytes")
        }
    }

    #[test]
    fn what_was_fetched_makes_room_for_what_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let fetch = Arc::new(Counting::default());
        let fetcher = Fetcher::new(fetch.clone(), directory.path().into());
        let names = SliceNames::new(directory.path().join("a.tgz"));
        let files = Files::new(names, None, Some(fetcher));
        let get = |number, len| files.get(number, len, |_| Ok(())).unwrap();
        for number in [1, 2, 1, 2] {
            get(number, 5);
        }
        assert_eq!(*lock(&fetch.0), [1, 2]);
        // No file system has room for this one, and it is asked for all the same.
        get(3, u64::MAX);
        for number in [3, 1, 2] {
            get(number, 5);
        }
        assert_eq!(*lock(&fetch.0), [1, 2, 3, 1, 2]);
    }
}
