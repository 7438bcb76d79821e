//! Reading past places that cannot be read, such as bad sectors.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{ReadAt, SliceError, SliceSet};
use crate::error::Error;

/// Bytes that are given up at once: the least that disks and file systems lose.
const STEP: u64 = 4 << 10;

/// Gives zeros where its source answers that it cannot read (`EIO`) or lacks a slice, and remembers where. What gave
/// zeros once does so for ever, so that two passes see the same.
#[derive(Debug)]
pub(crate) struct Tolerant<R> {
    source: R,
    holes: Mutex<Holes>,
}

#[derive(Debug, Default)]
struct Holes {
    /// In order, and apart.
    ranges: Vec<Range<u64>>,
    /// Whether there may be no more.
    closed: bool,
}

impl<R: ReadAt> Tolerant<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, holes: Mutex::default() }
    }

    /// Takes no more holes from now on: what cannot be read then is an error. Returns those there
    /// are, each with its error.
    pub(crate) fn close(&self) -> Vec<(Range<u64>, Error)> {
        let mut holes = self.holes();
        holes.closed = true;
        let error = |offset| Error::Input { offset, source: Errno::IO.into() };
        holes.ranges.iter().map(|range| (range.clone(), error(range.start))).collect()
    }

    fn holes(&self) -> MutexGuard<'_, Holes> {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a little where more could not be read.
    fn read_step(&self, buf: &mut [u8], offset: u64, error: io::Error) -> io::Result<usize> {
        let end = self.slices().and_then(|slices| slices.end_at(offset)).unwrap_or(u64::MAX);
        let step = (STEP - offset % STEP).min(end.saturating_sub(offset).max(1));
        let len = usize::try_from(step).unwrap_or(usize::MAX).min(buf.len());
        let few = &mut buf[..len];
        if let Some(read) = Some(self.source.read_at(few, offset)).filter(|read| !is_bad(read)) {
            return read;
        }
        let size = self.source.size()?;
        let mut holes = self.holes();
        if holes.closed || offset >= size {
            return Err(error);
        }
        holes.add(offset..size.min(offset.saturating_add(step)));
        few.fill(0);
        Ok(usize::try_from(size - offset).unwrap_or(usize::MAX).min(len))
    }
}

impl Holes {
    /// Returns whether a place is in a hole, and where the hole ends or the next one begins.
    fn at(&self, offset: u64) -> (bool, u64) {
        let after = self.ranges.partition_point(|range| range.end <= offset);
        match self.ranges.get(after) {
            Some(range) if range.start <= offset => (true, range.end),
            Some(range) => (false, range.start),
            None => (false, u64::MAX),
        }
    }

    /// Adds a range that is in no hole where it begins.
    fn add(&mut self, new: Range<u64>) {
        let after = self.ranges.partition_point(|range| range.end < new.start);
        match self.ranges.get_mut(after) {
            Some(range) if range.end == new.start => range.end = new.end,
            _ => self.ranges.insert(after, new),
        }
        // It may reach the next one.
        let next = self.ranges.get(after + 1).map_or(u64::MAX, |next| next.start);
        if let Some(range) = self.ranges.get_mut(after) {
            range.end = range.end.min(next);
        }
    }
}

fn is_bad(read: &io::Result<usize>) -> bool {
    let Err(error) = read else { return false };
    let is_slice = error.get_ref().is_some_and(|error| error.is::<SliceError>());
    is_slice || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

impl<R: ReadAt> ReadAt for Tolerant<R> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (is_hole, until) = self.holes().at(offset);
        let len = usize::try_from(until - offset).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..len];
        if is_hole {
            buf.fill(0);
            return Ok(len);
        }
        match self.source.read_at(buf, offset) {
            read if !is_bad(&read) => read,
            Err(error) => self.read_step(buf, offset, error),
            Ok(count) => Ok(count),
        }
    }

    fn size(&self) -> io::Result<u64> {
        self.source.size()
    }

    fn slices(&self) -> Option<&SliceSet> {
        self.source.slices()
    }
}
