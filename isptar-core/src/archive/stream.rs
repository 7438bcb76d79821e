//! Reading whole streams whose places are known.

use std::io;

use super::open::Tailed;
use super::watched::{Watched, odd_in};
use crate::codec::{DecodeError, Unpacker, WholeUnpacker, check_packed};
use crate::error::FormatError;
use crate::io::{RangeReader, ReadAt};

/// Bytes read at once when streams are read one after the other.
const READ: usize = 256 << 10;

/// Longest stream that is fetched before it is decoded: a chunk of 4 MiB that is stored fits.
const WHOLE: usize = (4 << 20) + (64 << 10);

/// Decodes whole streams; reusable, one a thread.
#[derive(Debug)]
pub(super) struct StreamReader<'a, R> {
    fetched: Fetched<'a, R>,
    whole: WholeUnpacker,
    /// For streams that are not fetched whole.
    pieces: Option<Box<Pieces<'a, R>>>,
}

/// Decodes streams piece by piece.
#[derive(Debug)]
struct Pieces<'a, R> {
    reader: RangeReader<&'a Tailed<R>>,
    unpacker: Unpacker,
}

/// What became of a stream.
pub(super) struct Decoded {
    /// How many bytes of it were gone through.
    pub(super) packed: u64,
    /// What in it is not as the writer makes it, though a decoder takes it.
    pub(super) odd: Option<FormatError>,
    pub(super) result: Result<(), DecodeError>,
}

impl<'a, R: ReadAt> StreamReader<'a, R> {
    pub(super) fn new(source: &'a Tailed<R>) -> Self {
        let fetched = Fetched { source, bytes: Vec::new(), len: 0, start: 0, ahead: 0 };
        Self { fetched, whole: WholeUnpacker::new(), pieces: None }
    }

    /// Reads another archive from now on.
    pub(super) fn turn_to(&mut self, source: &'a Tailed<R>) {
        if !std::ptr::eq(self.fetched.source, source) {
            (self.fetched.source, self.fetched.len) = (source, 0);
            self.pieces = None;
        }
    }

    /// Fetches beyond a stream up to `end` from now on, because more streams follow; 0 ends that.
    pub(super) fn set_ahead(&mut self, end: u64) {
        self.fetched.ahead = end;
    }

    /// Refuses, from now on, what gzip would not take, though the bytes that come out may be right.
    pub(super) fn set_strict(&mut self) {
        self.whole.set_strict();
    }

    /// Decodes the stream at `offset`, whose `packed` bytes must give at most `limit`, into `out`,
    /// in place of what is there.
    pub(super) fn read(
        &mut self,
        offset: u64,
        packed: u64,
        limit: u64,
        out: &mut Vec<u8>,
    ) -> Decoded {
        let Decoded { packed: actual, odd, result } = self.read_some(offset, packed, limit, out);
        Decoded { packed: actual, odd, result: result.and_then(|()| check_packed(packed, actual)) }
    }

    /// Like [`Self::read`] of a stream that may end earlier.
    pub(super) fn read_some(
        &mut self,
        offset: u64,
        packed: u64,
        limit: u64,
        out: &mut Vec<u8>,
    ) -> Decoded {
        out.clear();
        let len = usize::try_from(packed).ok().filter(|&len| len <= WHOLE);
        // What cannot be fetched may be readable up to some place.
        let bytes = len.and_then(|len| Some((self.fetched.get(offset, len).ok()?, len)));
        let Some((bytes, len)) = bytes else {
            return self.read_pieces(offset, packed, limit, out);
        };
        let odd = odd_in(bytes.get(..len).unwrap_or(bytes));
        let (actual, result) = self.whole.unpack(bytes, len, limit, out);
        Decoded { packed: actual, odd, result }
    }

    fn read_pieces(&mut self, offset: u64, packed: u64, limit: u64, out: &mut Vec<u8>) -> Decoded {
        let source = self.fetched.source;
        let reader = || RangeReader::new(source, 0, 0, READ);
        let make = || Box::new(Pieces { reader: reader(), unpacker: Unpacker::new() });
        let Pieces { reader, unpacker } = &mut **self.pieces.get_or_insert_with(make);
        unpacker.reset();
        reader.seek(offset, offset.saturating_add(packed));
        let mut input = Watched::new(reader);
        let result = unpacker.read_to_end(&mut input, limit, out);
        let odd = input.into_odd();
        Decoded { packed: unpacker.packed(), odd, result }
    }
}

/// A part of the archive that was fetched.
#[derive(Debug)]
struct Fetched<'a, R> {
    source: &'a Tailed<R>,
    /// The first `len` ones are those of the archive from `start` on.
    bytes: Vec<u8>,
    len: usize,
    start: u64,
    /// How far bytes beyond a stream may be fetched.
    ahead: u64,
}

impl<R: ReadAt> Fetched<'_, R> {
    /// Returns the bytes from `offset` on, `len` of them or more, unless the archive ends before.
    fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let have = self.have(offset);
        if have.is_none_or(|at| self.len - at < len) {
            self.fetch(offset, len)?;
        }
        let at = self.have(offset).unwrap_or(self.len);
        Ok(&self.bytes[at..self.len])
    }

    /// Returns where in the bytes at hand `offset` is.
    fn have(&self, offset: u64) -> Option<usize> {
        let at = offset.checked_sub(self.start)?;
        usize::try_from(at).ok().filter(|&at| at <= self.len)
    }

    fn fetch(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let left = usize::try_from(self.ahead.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = len.max(left.min(READ));
        // What is at hand already is not read again.
        let kept = self.have(offset).map_or(0, |at| {
            self.bytes.copy_within(at..self.len, 0);
            self.len - at
        });
        (self.start, self.len) = (offset, kept);
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        }
        match self.fill(want) {
            // What lies ahead may be unreadable; that costs no stream before it.
            Err(error) if self.len < len => Err(error),
            _ => Ok(()),
        }
    }

    fn fill(&mut self, want: usize) -> io::Result<()> {
        while self.len < want {
            let at = self.start.saturating_add(self.len as u64);
            match self.source.read_at(&mut self.bytes[self.len..want], at) {
                Ok(0) => break,
                Ok(count) => self.len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
