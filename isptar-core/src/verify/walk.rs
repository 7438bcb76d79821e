//! What stands in a range of bytes, by its gzip streams and tar headers alone.

use std::io::BufRead as _;
use std::ops::Range;

use crate::codec::{DecodeError, Unpacker};
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Blocks, Found, SliceBlocks};
use crate::format::entry::Entry;
use crate::format::{BLOCK, gzip, padding};
use crate::io::{RangeReader, ReadAt};
use crate::limits::Limits;
use crate::pack::{Details, entry_of};

/// Packed bytes that are read at once.
const READ: usize = 256 << 10;

/// Something that was found in a range of bytes.
#[derive(Debug)]
pub(super) enum Thing {
    /// A member whose streams are good; its entry has what the headers say.
    Member(Box<Entry>),
    /// Good streams without a member.
    Streams,
    /// No stream, or a damaged one; of a member when its headers were good.
    Damage(Option<Box<Entry>>, FormatError),
}

/// Walks over `range` and calls `see` with everything in it, one after the other. Members begin at
/// streams; those that share one have the same range.
///
/// # Errors
///
/// [`Error::Input`], and what `see` returns.
pub(super) fn walk<R: ReadAt>(
    source: &R,
    range: Range<u64>,
    limits: &Limits,
    see: &mut dyn FnMut(Range<u64>, Thing) -> Result<()>,
) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let mut streams = Streams::new(source, at..range.end);
        let end = match one(&mut streams, limits, at, see)? {
            Ended::At(end) => end,
            Ended::Told(end) => {
                at = end.max(at + 1);
                continue;
            }
            Ended::NoTar => match drain(source, at..range.end)? {
                Ok(end) => end,
                Err(_) => next_head(source, at + 1..range.end, &gzip::HEAD)?,
            },
            Ended::Broken(entry, kind) => {
                let end = next_head(source, at + 1..range.end, &gzip::HEAD)?;
                see(at..end, Thing::Damage(entry, kind))?;
                at = end;
                continue;
            }
        };
        see(at..end, Thing::Streams)?;
        at = end;
    }
    Ok(())
}

/// How a look at one place ended.
enum Ended {
    /// Good streams without a member end here.
    At(u64),
    /// What was there was told, up to here.
    Told(u64),
    /// There is a stream, and what is in it is no tar.
    NoTar,
    /// There is none, or it is damaged.
    Broken(Option<Box<Entry>>, FormatError),
}

/// Looks at what begins at `at`: a member, all members of a group, or none.
fn one<R: ReadAt>(
    streams: &mut Streams<'_, R>,
    limits: &Limits,
    at: u64,
    see: &mut dyn FnMut(Range<u64>, Thing) -> Result<()>,
) -> Result<Ended> {
    // A member is told when the stream that it ends in was found good.
    let mut members = Vec::new();
    loop {
        let found = match assemble::read_headers(streams, limits) {
            Ok(found) => found,
            Err(WalkError::NoTar) => return Ok(Ended::NoTar),
            Err(WalkError::Decode(error)) => return broken(error, None, at),
        };
        let entry = match found {
            Found::Member(found) => {
                let len = found.stored.saturating_add(padding(found.stored));
                let entry = Box::new(entry_of(&found.header, Details::default()));
                if let Err(error) = streams.skip(len) {
                    return broken(error, Some(entry), at);
                }
                Some(entry)
            }
            Found::Global(_) | Found::Zeros => None,
            Found::End => None,
        };
        let ended = match streams.is_between() {
            Ok(ended) => ended,
            Err(error) => return broken(error, entry, at),
        };
        members.extend(entry);
        if ended {
            let end = streams.position();
            if members.is_empty() {
                return Ok(Ended::At(end));
            }
            members.into_iter().try_for_each(|entry| see(at..end, Thing::Member(entry)))?;
            return Ok(Ended::Told(end));
        }
    }
}

fn broken(error: DecodeError, entry: Option<Box<Entry>>, at: u64) -> Result<Ended> {
    match error {
        DecodeError::Io(source) => Err(Error::Input { offset: at, source }),
        DecodeError::Format(kind) => Ok(Ended::Broken(entry, kind)),
    }
}

/// Reads a stream to its end, and returns where that is.
pub(super) fn drain<R: ReadAt>(
    source: &R,
    range: Range<u64>,
) -> Result<Result<u64, FormatError>> {
    let mut streams = Streams::new(source, range.clone());
    let mut buffer = [0; 16 << 10];
    loop {
        match streams.unpacker.read(&mut streams.reader, &mut buffer) {
            Ok(0) => return Ok(Ok(streams.reader.position())),
            Ok(_) => {}
            Err(DecodeError::Io(source)) => {
                return Err(Error::Input { offset: range.start, source });
            }
            Err(DecodeError::Format(kind)) => return Ok(Err(kind)),
        }
    }
}

/// Returns where in a range the next gzip head that is `head` begins, or its end.
pub(super) fn next_head<R: ReadAt>(
    source: &R,
    range: Range<u64>,
    head: &[u8; gzip::HEAD.len()],
) -> Result<u64> {
    let mut reader = RangeReader::new(source, range.start, range.end, READ);
    // How much of a head the bytes before are.
    let mut have = 0;
    loop {
        let at = reader.position();
        let input = |source| Error::Input { offset: at, source };
        let bytes = reader.fill_buf().map_err(input)?;
        if bytes.is_empty() {
            return Ok(range.end);
        }
        for (index, &byte) in bytes.iter().enumerate() {
            // No part of a head but its first byte begins another one.
            have = match byte {
                byte if byte == head[have] => have + 1,
                byte => usize::from(byte == head[0]),
            };
            if have == head.len() {
                return Ok(at + index as u64 + 1 - have as u64);
            }
        }
        let len = bytes.len();
        reader.consume(len);
    }
}

/// Names what stands in a decompressed stream between two members, or behind the last one.
pub(super) fn hidden(stream: &[u8], range: Range<usize>, limits: &Limits) -> Vec<Error> {
    let bytes = stream.get(..range.end).unwrap_or(stream);
    let mut names = Vec::new();
    let mut at = range.start;
    loop {
        let mut blocks = SliceBlocks::new(bytes, at);
        match assemble::read_headers(&mut blocks, limits) {
            Ok(Found::Member(found)) => {
                names.push(Error::Unlisted { path: found.header.path.clone() });
                let len = found.stored.saturating_add(padding(found.stored));
                at = blocks.position().saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
            }
            Ok(Found::Global(_) | Found::Zeros) => at = blocks.position(),
            Ok(Found::End) | Err(_) => return names,
        }
    }
}

/// The contents of streams that follow each other, block by block.
struct Streams<'a, R> {
    reader: RangeReader<&'a R>,
    end: u64,
    unpacker: Unpacker,
    /// Bytes that were taken from the stream to see whether there are any.
    peeked: Vec<u8>,
}

/// Why headers could not be read.
enum WalkError {
    /// The stream is damaged.
    Decode(DecodeError),
    /// What is in it is no header.
    NoTar,
}

impl From<FormatError> for WalkError {
    fn from(_: FormatError) -> Self {
        Self::NoTar
    }
}

impl<'a, R: ReadAt> Streams<'a, R> {
    fn new(source: &'a R, range: Range<u64>) -> Self {
        let reader = RangeReader::new(source, range.start, range.end, READ);
        Self { reader, end: range.end, unpacker: Unpacker::new(), peeked: Vec::new() }
    }

    fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Reads some bytes, from the next stream when one has ended; 0 is the end of the range.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        if !self.peeked.is_empty() {
            let count = buf.len().min(self.peeked.len());
            buf[..count].copy_from_slice(&self.peeked[..count]);
            self.peeked.drain(..count);
            return Ok(count);
        }
        while !buf.is_empty() {
            if self.unpacker.is_ended() {
                if self.position() >= self.end {
                    return Ok(0);
                }
                self.unpacker.reset();
            }
            let count = self.unpacker.read(&mut self.reader, buf)?;
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), DecodeError> {
        let mut buffer = [0; 16 << 10];
        while len > 0 {
            let want = usize::try_from(len).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.read(&mut buffer[..want])?;
            if count == 0 {
                let what = "data of the member";
                return Err(FormatError::Truncated { what, need: len, have: 0 }.into());
            }
            len -= count as u64;
        }
        Ok(())
    }

    /// Returns whether the stream at hand was read to its end.
    fn is_between(&mut self) -> Result<bool, DecodeError> {
        if self.peeked.is_empty() && !self.unpacker.is_ended() {
            let mut buffer = [0; BLOCK];
            let count = self.unpacker.read(&mut self.reader, &mut buffer)?;
            self.peeked.extend_from_slice(&buffer[..count]);
        }
        Ok(self.peeked.is_empty())
    }
}

impl<R: ReadAt> Blocks for Streams<'_, R> {
    type Error = WalkError;

    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, WalkError> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let count = self.read(&mut block[have..]).map_err(WalkError::Decode)?;
            if count == 0 && have == 0 {
                return Ok(None);
            }
            if count == 0 {
                return Err(WalkError::NoTar);
            }
            have += count;
        }
        Ok(Some(block))
    }
}
