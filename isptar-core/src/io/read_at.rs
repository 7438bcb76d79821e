//! Reading at any offset, shared between threads.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::slices::SliceSet;

/// Something that is read at offsets: a file, memory, an object in a store.
pub trait ReadAt: Send + Sync {
    /// Reads some bytes at `offset`; 0 is the end.
    ///
    /// # Errors
    ///
    /// Whatever the source answers.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    ///
    /// Whatever the source answers.
    fn size(&self) -> io::Result<u64>;

    /// Returns the slices that the bytes lie in, when they do.
    fn slices(&self) -> Option<&SliceSet> {
        None
    }

    /// Reads exactly `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when there are fewer.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buf = &mut buf[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = buf.len().min(rest.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

macro_rules! forward {
    ($($type:ty $(where $param:ident)?),*) => {$(
        impl$(<$param: ReadAt + ?Sized>)? ReadAt for $type {
            fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
                (**self).read_at(buf, offset)
            }

            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }

            fn slices(&self) -> Option<&SliceSet> {
                (**self).slices()
            }
        }
    )*};
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

forward!(&T where T, Box<T> where T, Arc<T> where T);

/// The first bytes of a source, as if it ended there.
#[derive(Debug, Clone, Copy)]
pub struct Prefix<R> {
    source: R,
    len: u64,
}

impl<R: ReadAt> Prefix<R> {
    /// Ends `source` after `len` bytes, which it must have.
    pub fn new(source: R, len: u64) -> Self {
        Self { source, len }
    }
}

impl<R: ReadAt> ReadAt for Prefix<R> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        self.source.read_at(&mut buf[..len], offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// Reads a range of a [`ReadAt`] from front to back, through a buffer.
#[derive(Debug)]
pub struct RangeReader<R> {
    source: R,
    /// The next byte to fetch, and the end of the range.
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were consumed.
    used: usize,
    /// Most bytes fetched at once.
    capacity: usize,
    /// How far bytes beyond the range may be fetched, for the ranges that come next.
    ahead: u64,
}

impl<R: ReadAt> RangeReader<R> {
    /// Reads `start..end`, at most `capacity` bytes at once.
    pub fn new(source: R, start: u64, end: u64, capacity: usize) -> Self {
        Self { source, next: start, end, buffer: Vec::new(), used: 0, capacity, ahead: 0 }
    }

    /// Fetches beyond a range up to `end` from now on, because more ranges follow; 0 ends that.
    pub fn set_ahead(&mut self, end: u64) {
        self.ahead = end;
    }

    /// Returns the offset of the next byte that will be handed out.
    pub fn position(&self) -> u64 {
        self.next - (self.buffer.len() - self.used) as u64
    }

    /// Turns to another range; what the buffer already holds of it is not fetched again.
    pub fn seek(&mut self, start: u64, end: u64) {
        let buffered = self.next - self.buffer.len() as u64..self.next;
        self.end = end;
        if buffered.contains(&start) || start == self.next {
            self.used = usize::try_from(start - buffered.start).unwrap_or(usize::MAX);
            return;
        }
        self.buffer.clear();
        self.used = 0;
        self.next = start;
    }
}

impl<R: ReadAt> RangeReader<R> {
    /// Fills the empty buffer with what comes next, at most up to `end`. After an error there is
    /// what was read before it, if anything was: the error comes again with the next fetch.
    fn fetch(&mut self, end: u64) -> io::Result<()> {
        let left = usize::try_from(end.saturating_sub(self.next)).unwrap_or(usize::MAX);
        let want = left.min(self.capacity);
        self.buffer.resize(want, 0);
        self.used = 0;
        let mut count = 0;
        while count < want {
            match self.source.read_at(&mut self.buffer[count..], self.next + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if count > 0 => break,
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(count);
        self.next += count as u64;
        Ok(())
    }
}

impl<R: ReadAt> BufRead for RangeReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            let end = if self.next < self.end { self.end.max(self.ahead) } else { self.end };
            if let Err(error) = self.fetch(end) {
                // What lies ahead may be unreadable; that costs no range before it.
                let within = usize::try_from(self.end.saturating_sub(self.next));
                if end == self.end || within.is_ok_and(|within| within >= self.capacity) {
                    return Err(error);
                }
                self.fetch(self.end)?;
            }
        }
        // A seek may have set an end before what the buffer holds.
        let beyond = usize::try_from(self.next.saturating_sub(self.end)).unwrap_or(usize::MAX);
        let end = self.buffer.len().saturating_sub(beyond);
        Ok(self.buffer.get(self.used..end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.used = (self.used + amount).min(self.buffer.len());
    }
}

impl<R: ReadAt> Read for RangeReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_through_any_buffer() {
        let data: Vec<u8> = (0..=255).collect();
        for capacity in [1, 7, 256, 1000] {
            let mut reader = RangeReader::new(&data, 10, 200, capacity);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, data[10..200]);
            assert_eq!(reader.position(), 200);
            for (start, end) in [(200, 220), (195, 199), (5, 9), (0, 256), (250, 400)] {
                reader.seek(start, end);
                read.clear();
                reader.read_to_end(&mut read).unwrap();
                let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
                assert_eq!(read, data[from..to.min(256)], "{capacity} {start}..{end}");
            }
        }
    }
}
