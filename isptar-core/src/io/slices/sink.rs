//! Writing an archive in slices.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use data_encoding::HEXLOWER;

use super::MIN_SLICE_SIZE;
use super::commit::{Commit, finish_interrupted, remove_if_there};
use super::hook::{OnSlice, Running, SliceFile, failed as hook_failed};
use super::names::{OwnNames, SliceNames, pending_sum_of};
use crate::error::Result;
use crate::io::lock::{Lock, output, sync_directory};
use crate::io::paths::{make_anew, resolve};
use crate::io::{FinishedSlice, Sink};

/// How an archive is cut.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SliceOptions {
    /// The length of all slices but the last; at least [`MIN_SLICE_SIZE`], smaller values are taken
    /// for it.
    pub size: u64,
    /// Write a file with the digest of each slice, named `.sha256` and as sha256sum writes it.
    pub sums: bool,
    /// What is to be done with each slice when it is finished.
    pub on_slice: Option<Box<dyn OnSlice>>,
}

/// Writes an archive in slices: NAME.part1 and so on, or NAME when there is only one.
///
/// They have names that end in `~` until all are written and synced; then a commit file is made,
/// and they get their names and take the place of what was there. A run that is killed before the
/// commit file is there has changed nothing; after it, whoever reads or writes the archive next
/// finishes the job.
#[derive(Debug)]
pub struct SliceSink {
    names: SliceNames,
    options: SliceOptions,
    _lock: Lock,
    own: Vec<OwnNames>,
    /// The slice that is being written, and its number.
    open: Option<File>,
    number: u64,
    /// The lengths of those that are finished.
    lengths: Vec<u64>,
    /// The job that is at work on the slice before.
    running: Option<Running>,
    hooked: bool,
    /// The mode of what will be replaced: a backup that was readable by its owner alone must stay so.
    mode: Option<u32>,
    leftover: bool,
    committed: bool,
}

impl SliceSink {
    /// Begins an archive at `path`; what is there now stays until [`Sink::publish`].
    ///
    /// # Errors
    ///
    /// [`Error::Busy`](crate::Error::Busy) when another process writes the same archive, else
    /// [`Error::Output`](crate::Error::Output).
    pub fn create(path: &Path, options: SliceOptions) -> Result<Self> {
        let failed = |error: io::Error| output("create", Some(path))(error);
        let names = SliceNames::new(resolve(path).map_err(failed)?);
        let found = match names.archive().metadata() {
            Ok(found) if !found.is_file() => {
                let error = io::Error::other("slices are files, and what is there is none");
                return Err(failed(error));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            found => found.ok(),
        };
        let lock = Lock::take(names.archive())?;
        let mode = found.or_else(|| names.slice(1).metadata().ok()).map(|found| found.mode());
        let own = OwnNames::beside(&names).map_err(failed)?;
        let mut sink = Self {
            names,
            hooked: options.on_slice.is_some(),
            options,
            _lock: lock,
            own: vec![own],
            open: None,
            number: 1,
            lengths: Vec::new(),
            running: None,
            mode: mode.map(|mode| mode & 0o777),
            leftover: false,
            committed: false,
        };
        sink.clear_up()?;
        Ok(sink)
    }

    /// Finishes or removes what an earlier run that was killed has left.
    fn clear_up(&mut self) -> Result<()> {
        // Until that is done, its slices are the archive that there is.
        self.committed = true;
        finish_interrupted(&self.names)?;
        self.committed = false;
        self.leftover = remove_temporaries(&self.names)?;
        Ok(())
    }

    /// Returns whether slices that an earlier run had left when it was killed were removed.
    pub fn had_leftovers(&self) -> bool {
        self.leftover
    }

    /// Opens the slice that is to be written.
    fn begin(&mut self) -> Result<&mut File> {
        let path = self.names.pending(self.number);
        let failed = |error: io::Error| output("create", Some(&path))(error);
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(&path);
        let file = file.map_err(failed)?;
        if let Some(mode) = self.mode {
            file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        }
        Ok(self.open.insert(file))
    }

    /// Writes the file with the digest of a slice.
    fn write_sum(&self, name: &Path, slice: &FinishedSlice) -> Result<()> {
        let Some(sha256) = slice.sha256.filter(|_| self.options.sums) else { return Ok(()) };
        let path = pending_sum_of(name);
        let file_name = name.file_name().unwrap_or_default().as_encoded_bytes();
        let line = sum_line(&sha256, file_name);
        let written = make_anew(&path).and_then(|mut file| {
            file.write_all(&line)?;
            file.sync_all()
        });
        written.map_err(output("write", Some(&path)))
    }

    /// Waits for the job on the slice before, and begins the one on `file`.
    fn hand_over(&mut self, file: SliceFile) -> Result<()> {
        self.settle()?;
        if let Some(hook) = self.options.on_slice.take() {
            self.running = Some(Running::start(hook, file)?);
        }
        Ok(())
    }

    /// Waits for the job that is at work.
    fn settle(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let (hook, done) = running.wait();
        self.options.on_slice = hook;
        done
    }

    /// Returns the slices that the job on them has taken away; it may not change them.
    fn gone(&self) -> Result<Vec<u64>> {
        let mut gone = Vec::new();
        for (number, &len) in (1..).zip(&self.lengths) {
            let path = self.names.pending(number);
            match path.symlink_metadata() {
                Ok(found) if found.is_file() && found.len() == len => {}
                Ok(found) => {
                    let left = found.len();
                    let text = format!("it left {left} bytes in {}, of {len}", path.display());
                    return Err(hook_failed(number)(io::Error::other(text)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.hooked => {
                    gone.push(number);
                }
                Err(error) => return Err(output("find", Some(&path))(error)),
            }
        }
        Ok(gone)
    }
}

impl Sink for SliceSink {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.names.pending(self.number);
        let file = match self.open.take() {
            Some(file) => self.open.insert(file),
            None => self.begin()?,
        };
        file.write_all(bytes).map_err(output("write", Some(&path)))
    }

    fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()> {
        let path = self.names.pending(self.number);
        if let Some(file) = self.open.take() {
            file.sync_all().map_err(output("sync", Some(&path)))?;
        }
        let count = if slice.is_last { slice.number } else { u64::MAX };
        let name = self.names.last_name(slice.number, count);
        self.write_sum(&name, slice)?;
        self.number += 1;
        self.lengths.push(slice.len);
        self.hand_over(SliceFile {
            number: slice.number,
            is_last: slice.is_last,
            path,
            name,
            len: slice.len,
            sha256: slice.sha256.unwrap_or_default(),
        })
    }

    fn publish(&mut self, identity: &[u8; 32]) -> Result<()> {
        self.settle()?;
        sync_directory(self.names.directory(), self.names.archive())?;
        let count = self.number - 1;
        let (sums, gone) = (self.options.sums, self.gone()?);
        let commit = Commit { count, identity: *identity, sums, gone };
        let written = commit.write(&self.names);
        // From here on the slices are the archive, whatever fails.
        self.committed = written.is_ok() || self.names.commit().exists();
        written?;
        commit.finish(&self.names)
    }

    fn slice_size(&self) -> Option<u64> {
        Some(self.options.size.max(MIN_SLICE_SIZE))
    }

    fn own_names(&self) -> Vec<OwnNames> {
        self.own.clone()
    }
}

impl Drop for SliceSink {
    /// Removes the slices of an archive that was not published.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _told_already = running.wait();
        }
        if !self.committed {
            // The error that led here is told already; a file that stays is told by the next run.
            let _removed = remove_temporaries(&self.names);
        }
    }
}

/// Removes all that a run may have left before its commit file was there; returns whether there was
/// anything.
fn remove_temporaries(names: &SliceNames) -> Result<bool> {
    let failed = output("look for slices of", Some(names.archive()));
    let found = names.temporaries().map_err(failed)?;
    // One that cannot be removed does not keep the others.
    found.iter().map(|path| remove_if_there(path)).fold(Ok(()), Result::and)?;
    Ok(!found.is_empty())
}

/// Returns a line as sha256sum writes it.
fn sum_line(sha256: &[u8; 32], name: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    let odd = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r');
    if name.iter().any(odd) {
        line.push(b'\\');
    }
    line.extend_from_slice(HEXLOWER.encode(sha256).as_bytes());
    line.extend_from_slice(b"  ");
    for &byte in name {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}
