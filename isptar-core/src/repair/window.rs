//! Looking at bytes here and there, and searching them, without reading any twice in a row.

use crate::error::{Error, Result};
use crate::format::gzip;
use crate::io::ReadAt;

/// Bytes that are held.
const LEN: usize = 256 << 10;

/// A part of the archive that is in memory.
#[derive(Debug)]
pub(super) struct Window<'a, R> {
    source: &'a R,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    peeked: Vec<u8>,
}

impl<'a, R: ReadAt> Window<'a, R> {
    /// Looks at `source` up to `end`.
    pub(super) fn new(source: &'a R, end: u64) -> Self {
        Self { source, end, start: 0, bytes: Vec::new(), peeked: Vec::new() }
    }

    /// Returns `len` bytes at `at`, or those that there are before the end.
    pub(super) fn get(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.start <= at && at + len as u64 <= held.end) {
            self.bytes.resize(left.min(LEN), 0);
            self.start = at;
            let read = self.source.read_exact_at(&mut self.bytes, at);
            if let Err(source) = read {
                self.bytes.clear();
                return Err(Error::input(at, source));
            }
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from.saturating_add(len)).unwrap_or_default())
    }

    /// Returns a few bytes at `at`, or those that there are before the end, wherever the window is:
    /// it stays there.
    pub(super) fn peek(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let held = self.start..self.start + self.bytes.len() as u64;
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = len.min(left);
        if held.start <= at && at + len as u64 <= held.end {
            return self.get(at, len);
        }
        self.peeked.resize(len, 0);
        let input = |source| Error::input(at, source);
        self.source.read_exact_at(&mut self.peeked, at).map_err(input)?;
        Ok(&self.peeked)
    }

    /// Returns where the next head of a stream of ours begins, at `from` or behind it.
    pub(super) fn find_head(&mut self, from: u64) -> Result<Option<u64>> {
        let mut at = from;
        while at + gzip::HEAD.len() as u64 <= self.end {
            // What is held already is searched first.
            let held = (self.start + self.bytes.len() as u64).saturating_sub(at);
            let len = usize::try_from(held).unwrap_or(0).max(gzip::HEAD.len());
            let len = if len > self.bytes.len() { LEN } else { len };
            let bytes = self.get(at, len)?;
            if let Some(found) = find(bytes, &gzip::HEAD) {
                return Ok(Some(at + found as u64));
            }
            let step = bytes.len().saturating_sub(gzip::HEAD.len() - 1).max(1);
            at += step as u64;
        }
        Ok(None)
    }
}

/// Returns where `pattern`, which is not empty, first stands in `bytes`.
pub(super) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    let first = *pattern.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|&byte| byte == first) {
        if bytes.get(from + at..)?.starts_with(pattern) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
