//! What a caller does with slices as they are finished.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// A slice that is finished and synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceFile {
    /// Its number, from 1.
    pub number: u64,
    /// Whether the archive ends with it.
    pub is_last: bool,
    /// The file that has its bytes now.
    pub path: PathBuf,
    /// The name that it gets when all are finished.
    pub name: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// Does something with each slice when it is finished, while the next one is written: uploads it,
/// say. It may remove the file; the archive is then without it here.
pub trait OnSlice: Send + Debug {
    /// Is called for one slice after the other, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Any error ends the job; nothing is published.
    fn finished(&mut self, slice: &SliceFile) -> io::Result<()>;
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Running {
    number: u64,
    thread: JoinHandle<(Box<dyn OnSlice>, io::Result<()>)>,
}

impl Running {
    pub(super) fn start(mut hook: Box<dyn OnSlice>, slice: SliceFile) -> Result<Self> {
        let number = slice.number;
        let work = move || {
            let done = hook.finished(&slice);
            (hook, done)
        };
        let thread = std::thread::Builder::new().name("on-slice".into()).spawn(work);
        Ok(Self { number, thread: thread.map_err(failed(number))? })
    }

    /// Waits for its end; gives the hook back, unless it panicked.
    pub(super) fn wait(self) -> (Option<Box<dyn OnSlice>>, Result<()>) {
        match self.thread.join() {
            Ok((hook, done)) => (Some(hook), done.map_err(failed(self.number))),
            Err(_panic) => (None, Err(failed(self.number)(io::Error::other("it panicked")))),
        }
    }
}

/// Returns a function that tells what is wrong with the job on a slice.
pub(super) fn failed(number: u64) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Hook { purpose: format!("for slice {number}"), source }
}
