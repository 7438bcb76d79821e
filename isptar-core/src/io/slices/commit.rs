//! Giving slices their names: all of them, or none.
//!
//! The commit file is there from the moment when all slices are on stable storage until all have
//! their names. Each step may be done again, so whoever finds the file can finish the job.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::fault::{SliceError, SliceFault};
use super::names::{MAX_SLICES, SliceNames, pending_sum_of, sum_of};
use super::tail;
use crate::error::{Error, Result};
use crate::format::text::{decimal, digest_text, parse_digest};
use crate::io::lock::{Lock, output, sync_directory};
use crate::io::paths::{make_anew, open_regular, with_suffix};

/// Most bytes of a commit file: a line for each slice that was taken away, and some more.
const MOST_TEXT: u64 = MAX_SLICES * 16;

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// The number of slices.
    pub(super) count: u64,
    /// The identity of the archive.
    pub(super) identity: [u8; 32],
    /// Whether each slice has a file with its digest.
    pub(super) sums: bool,
    /// Slices that were taken away when they were finished, in order.
    pub(super) gone: Vec<u64>,
}

impl Commit {
    /// Reads the commit file, if there is one.
    pub(super) fn read(names: &SliceNames) -> Result<Option<Self>> {
        let path = names.commit();
        let mut bytes = Vec::new();
        // A longer one is none: it does not end where a line does, or has too much in it.
        let read =
            open_regular(&path).and_then(|file| file.take(MOST_TEXT).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        // The name of the archive is told by whoever opens it: this is another file.
        let what = format!("{} is no commit file", path.display());
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, what);
        Self::parse(&bytes).ok_or_else(|| Error::io("read", path)(invalid())).map(Some)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut commit = Self { count: 0, identity: [0; 32], sums: false, gone: Vec::new() };
        for line in std::str::from_utf8(bytes).ok()?.lines() {
            let (key, value) = line.split_once('=')?;
            let number = || decimal("commit", value.as_bytes()).ok();
            match key {
                "slices" => commit.count = number()?,
                "identity" => commit.identity = parse_digest("commit", value.as_bytes()).ok()?,
                "sums" => commit.sums = value == "1",
                "gone" => commit.gone.push(number()?),
                _ => {}
            }
        }
        let is_ordered = commit.gone.is_sorted() && commit.gone.iter().all(|&n| n <= commit.count);
        ((1..=MAX_SLICES).contains(&commit.count) && is_ordered).then_some(commit)
    }

    fn encode(&self) -> String {
        let Self { count, identity, sums, gone } = self;
        let mut text = format!("slices={count}\nidentity={}\n", digest_text(identity));
        if *sums {
            text.push_str("sums=1\n");
        }
        for number in gone {
            text.push_str(&format!("gone={number}\n"));
        }
        text
    }

    /// Makes the commit file: when this returns, the new archive takes the place of the old one,
    /// whatever happens.
    pub(super) fn write(&self, names: &SliceNames) -> Result<()> {
        let path = names.commit();
        let temporary = with_suffix(&path, "~");
        let mut file = make_anew(&temporary).map_err(output("create", Some(&temporary)))?;
        file.write_all(self.encode().as_bytes()).map_err(output("write", Some(&temporary)))?;
        file.sync_all().map_err(output("sync", Some(&temporary)))?;
        rename(&temporary, &path)?;
        sync_directory(names.directory(), names.archive())
    }

    /// Renames the slices, removes what they replace, and the commit file last.
    pub(super) fn finish(&self, names: &SliceNames) -> Result<()> {
        self.check(names)?;
        for number in 1..=self.count {
            let (pending, slice) = (names.pending(number), names.last_name(number, self.count));
            if !rename_if_there(&pending, &slice)? && self.gone.binary_search(&number).is_ok() {
                remove_if_there(&slice)?;
            }
            let (pending, sum) = (pending_sum_of(&slice), sum_of(&slice));
            if self.sums {
                rename_if_there(&pending, &sum)?;
            } else if self.count > 1 {
                remove_if_there(&sum)?;
            }
        }
        let last = if self.count == 1 { 0 } else { self.count };
        remove_slices_after(names, last)?;
        if self.count > 1 {
            remove_if_there(names.archive())?;
        }
        sync_directory(names.directory(), names.archive())?;
        remove_if_there(&names.commit())?;
        sync_directory(names.directory(), names.archive())
    }

    /// Checks that the slices are those that the commit file means.
    fn check(&self, names: &SliceNames) -> Result<()> {
        let number = self.count;
        let places = [names.pending(number), names.last_name(number, number)];
        let Some((path, file)) =
            places.into_iter().find_map(|path| open_regular(&path).ok().map(|file| (path, file)))
        else {
            if self.gone.contains(&number) {
                return Ok(());
            }
            // Without it nothing is known of what has the archive's names now: that stays.
            let path = names.last_name(number, number);
            let fault = SliceFault::Unpublished { commit: names.commit() };
            return Err(SliceError { number, path, fault }.into());
        };
        // Another failure to read it shows when the archive is read.
        let Ok(Some(tail)) = tail::read(&file) else { return Ok(()) };
        let actual = tail.info.listing_sha256.unwrap_or_default();
        if actual == self.identity {
            return Ok(());
        }
        let (expected, actual) = (digest_text(&self.identity), digest_text(&actual));
        let fault = SliceFault::Identity { commit: names.commit(), expected, actual };
        Err(SliceError { number, path, fault }.into())
    }
}

/// Finishes what a run that was killed while it published has left; the archive must be locked.
pub(crate) fn finish_interrupted(names: &SliceNames) -> Result<()> {
    Commit::read(names)?.map_or(Ok(()), |commit| commit.finish(names))
}

/// Finishes it for a reader. `false` when that cannot be done here and now: then the slices can still
/// be read by the names they have.
pub(super) fn try_finish(names: &SliceNames) -> Result<bool> {
    let Ok(_lock) = Lock::take(names.archive()) else { return Ok(false) };
    // Whoever had the lock may have done it.
    match finish_interrupted(names) {
        Err(Error::Output { .. }) => Ok(false),
        finished => finished.map(|()| true),
    }
}

/// Returns whether the slices in the directory, if there are any, are those of an archive of ours.
pub(crate) fn is_sliced(names: &SliceNames) -> bool {
    if !names.slice(1).is_file() {
        return false;
    }
    let last = names.numbers().ok().and_then(|numbers| numbers.last().copied());
    let file = last.and_then(|last| File::open(names.slice(last)).ok());
    file.is_some_and(|file| matches!(tail::read(&file), Ok(Some(_))))
}

/// Removes the slices of an archive from number `last` + 1 on, and their digests.
pub(crate) fn remove_slices_after(names: &SliceNames, last: u64) -> Result<()> {
    let numbers = names.numbers().map_err(output("look for slices of", Some(names.archive())))?;
    for number in numbers.into_iter().filter(|&number| number > last) {
        let slice = names.slice(number);
        remove_if_there(&slice)?;
        remove_if_there(&sum_of(&slice))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(output("rename", Some(from)))
}

/// Returns whether there was a file to rename.
fn rename_if_there(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        renamed => renamed.map(|()| true).map_err(output("rename", Some(from))),
    }
}

pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(output("remove", Some(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_round_trips() {
        let commit = Commit { count: 3, identity: [5; 32], sums: true, gone: vec![1, 2] };
        assert_eq!(Commit::parse(commit.encode().as_bytes()), Some(commit));
        let many = format!("slices={}\n", MAX_SLICES + 1);
        for text in ["", "slices=0\n", "slices=x\n", "slices", &many, "slices=2\ngone=3\n"] {
            assert_eq!(Commit::parse(text.as_bytes()), None, "{text}");
        }
    }
}
