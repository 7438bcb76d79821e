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

/// Bytes of content after which it is asked whether to go on.
const PART: u64 = 1 << 20;

/// Bytes of entries that are held until their stream has ended.
const MOST_NAMES: usize = 1 << 20;

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

/// Takes what a walk finds.
pub(super) trait See {
    /// Asks whether the walk shall go on.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`].
    fn go_on(&self) -> Result<()>;

    /// Takes a thing and where it is.
    fn see(&mut self, range: Range<u64>, thing: Thing);
}

/// Bytes, packed and not, that may be decoded in vain for each byte of the range, and in any case.
/// Beyond this, what was decoded in vain is not searched again: heads that overlap could cost the
/// square of the range.
const WASTE: (u64, u64) = (16, 64 << 20);

/// Walks over `range` and hands `see` everything in it, one after the other. Members begin at
/// streams; those that share one have the same range, unless there are very many of them.
///
/// # Errors
///
/// [`Error::Input`], and what `see` returns.
pub(super) fn walk<R: ReadAt>(
    source: &R,
    range: Range<u64>,
    limits: &Limits,
    see: &mut dyn See,
) -> Result<()> {
    let len = range.end.saturating_sub(range.start);
    let mut allowed = len.saturating_mul(WASTE.0).saturating_add(WASTE.1);
    let mut at = range.start;
    while at < range.end {
        see.go_on()?;
        let mut streams = Streams::new(source, at..range.end);
        let ended = match one(&mut streams, limits, at, see)? {
            Ended::NoTar => match streams.restart(at, see)? {
                Ok(end) => Ended::At(end),
                Err(kind) => Ended::Broken(None, kind),
            },
            ended => ended,
        };
        let (end, thing) = match ended {
            Ended::Told(end) => {
                at = end.max(at + 1);
                continue;
            }
            Ended::At(end) => (end, Thing::Streams),
            Ended::NoTar | Ended::Broken(..) => {
                let stopped = streams.position();
                allowed = allowed.saturating_sub(streams.read.saturating_add(stopped - at));
                let from = if allowed == 0 { stopped.max(at + 1) } else { at + 1 };
                let end = next_head(source, from..range.end, &gzip::HEAD)?;
                match ended {
                    Ended::Broken(entry, kind) => (end, Thing::Damage(entry, kind)),
                    _ => (end, Thing::Streams),
                }
            }
        };
        see.see(at..end, thing);
        at = end.max(at + 1);
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
    see: &mut dyn See,
) -> Result<Ended> {
    // A member is told when the stream that it ends in was found good, or when they are many.
    let (mut members, mut names, mut told) = (Vec::new(), 0, false);
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
                let mut left = len;
                while left > 0 {
                    see.go_on()?;
                    let part = left.min(PART);
                    if let Err(error) = streams.skip(part) {
                        return broken(error, Some(entry), at);
                    }
                    left -= part;
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
        if let Some(entry) = entry {
            names += entry.path.as_bytes().len() + size_of::<Entry>();
            members.push(entry);
        }
        let end = streams.position();
        if ended && members.is_empty() && !told {
            return Ok(Ended::At(end));
        }
        if ended || names > MOST_NAMES {
            see.go_on()?;
            (told, names) = (true, 0);
            members.drain(..).for_each(|entry| see.see(at..end, Thing::Member(entry)));
        }
        if ended {
            return Ok(Ended::Told(end));
        }
    }
}

fn broken(error: DecodeError, entry: Option<Box<Entry>>, at: u64) -> Result<Ended> {
    match error {
        DecodeError::Io(source) => Err(Error::input(at, source)),
        DecodeError::Format(kind) => Ok(Ended::Broken(entry, kind)),
    }
}

/// Reads a stream to its end, and returns where that is.
pub(super) fn drain<R: ReadAt>(source: &R, range: Range<u64>) -> Result<Result<u64, FormatError>> {
    let mut streams = Streams::new(source, range.clone());
    let mut buffer = [0; 16 << 10];
    loop {
        match streams.unpacker.read(&mut streams.reader, &mut buffer) {
            Ok(0) => return Ok(Ok(streams.reader.position())),
            Ok(_) => {}
            Err(DecodeError::Io(source)) => {
                return Err(Error::input(range.start, source));
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
        let input = |source| Error::input(at, source);
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
    /// Bytes that were decoded.
    read: u64,
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
        Self { reader, end: range.end, unpacker: Unpacker::new(), peeked: Vec::new(), read: 0 }
    }

    /// Reads the stream at `at`, whatever is in it, to its end; returns where that is.
    fn restart(&mut self, at: u64, see: &dyn See) -> Result<Result<u64, FormatError>> {
        self.reader.seek(at, self.end);
        self.unpacker.reset();
        self.peeked.clear();
        let mut buffer = [0; 16 << 10];
        loop {
            see.go_on()?;
            match self.unpacker.read(&mut self.reader, &mut buffer) {
                Ok(0) => return Ok(Ok(self.position())),
                Ok(count) => self.read += count as u64,
                Err(DecodeError::Io(source)) => return Err(Error::input(at, source)),
                Err(DecodeError::Format(kind)) => return Ok(Err(kind)),
            }
        }
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
            self.read += count as u64;
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
