//! The bytes of the input, with a short memory: what was just read can be read again.

use std::io::{self, BufRead, Read};

/// Bytes that can be read again.
const KEEP: usize = 64 << 10;

/// Bytes that are read at once.
const STEP: usize = 256 << 10;

/// Reads an input whatever signals come in between, and knows where it is.
pub(super) struct Raw<R> {
    inner: R,
    buffer: Vec<u8>,
    /// Offset of the buffer in the input.
    offset: u64,
    /// What of the buffer is still to be handed out.
    start: usize,
    end: usize,
}

impl<R: Read> Raw<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; KEEP + STEP], offset: 0, start: 0, end: 0 }
    }

    /// Returns the offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.start as u64
    }

    /// Returns what was handed out from `position` on, if all of it is still held.
    pub(super) fn since(&self, position: u64) -> Option<&[u8]> {
        let from = usize::try_from(position.checked_sub(self.offset)?).ok()?;
        self.buffer.get(from..self.start)
    }

    /// Goes back to a position that is still held.
    pub(super) fn go_back(&mut self, position: u64) {
        if let Some(held) = self.since(position) {
            self.start -= held.len();
        }
    }

    /// Returns at least `len` of the next bytes, fewer at the end of the input.
    pub(super) fn ahead(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.end - self.start < len.min(KEEP) {
            if self.read_more()? == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn read_more(&mut self) -> io::Result<usize> {
        if self.end == self.buffer.len() {
            let from = self.start.saturating_sub(KEEP);
            self.buffer.copy_within(from..self.end, 0);
            self.offset += from as u64;
            self.start -= from;
            self.end -= from;
        }
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Raw<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.ahead(1)
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_read_is_read_again() {
        let bytes: Vec<u8> =
            (0..2_000_000u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
        let mut raw = Raw::new(bytes.as_slice());
        let mut seen = Vec::new();
        let mut piece = [0; 1000];
        loop {
            let count = raw.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            seen.extend_from_slice(&piece[..count]);
            let back = raw.position() - (count as u64).min(10);
            assert_eq!(raw.since(back).unwrap(), &seen[usize::try_from(back).unwrap()..]);
            raw.go_back(back);
            seen.truncate(usize::try_from(raw.position()).unwrap());
            assert_eq!(raw.ahead(5000).unwrap()[..5], bytes[seen.len()..][..5]);
            raw.consume(10);
            seen.extend_from_slice(&bytes[seen.len()..][..10.min(bytes.len() - seen.len())]);
        }
        assert!(seen == bytes);
        assert_eq!(raw.position(), bytes.len() as u64);
        assert!(raw.since(0).is_none());
    }
}
