//! The tar: decompressed when it is compressed.

use std::io::{BufRead, Read};

use super::raw::Raw;
use crate::codec::{DecodeError, Unpacker};
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::Blocks;
use crate::format::{BLOCK, header};

/// What gzip begins with.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes that are skipped at once.
const SKIP: usize = 16 << 10;

pub(super) struct Input<R> {
    pub(super) raw: Raw<R>,
    pub(super) unpacker: Option<Unpacker>,
    /// Where the stream at hand begins in the input.
    pub(super) stream: u64,
    /// Bytes of the tar that were looked at but not taken.
    ahead: Vec<u8>,
    taken: usize,
    /// Bytes of the tar that were taken.
    pub(super) position: u64,
    /// The stream at hand failed in a way that leaves no place to go on from.
    pub(super) is_broken: bool,
    /// Nothing more comes, though more was needed.
    pub(super) is_cut: bool,
    /// What was skipped at the end of the input were the zeros that end a tar.
    pub(super) ends_with_zeros: bool,
    /// Bytes worked on a second time.
    pub(super) spent: u64,
    /// Packed bytes that were looked at behind what looked like the heads of streams.
    pub(super) probed: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(input: R) -> Result<Self> {
        let mut raw = Raw::new(input);
        let start = raw.ahead(MAGIC.len()).map_err(|source| Error::input(0, source))?;
        let unpacker = start.starts_with(&MAGIC).then(Unpacker::new);
        Ok(Self {
            raw,
            unpacker,
            stream: 0,
            ahead: Vec::new(),
            taken: 0,
            position: 0,
            is_broken: false,
            is_cut: false,
            ends_with_zeros: false,
            spent: 0,
            probed: 0,
        })
    }

    /// Returns where reading is in the input.
    pub(super) fn offset(&self) -> u64 {
        // What was looked at in a plain tar is part of the input all the same.
        if self.unpacker.is_some() { self.raw.position() } else { self.position }
    }

    /// Reads some bytes of the tar; 0 is the end. After an error of a stream, what follows it can
    /// be read, unless it is broken: then there is nothing before [`Self::resync`].
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let waiting = self.ahead.get(self.taken..).unwrap_or_default();
        let count = if waiting.is_empty() {
            self.read_on(buf)?
        } else {
            let count = buf.len().min(waiting.len());
            buf[..count].copy_from_slice(&waiting[..count]);
            self.taken += count;
            count
        };
        self.position += count as u64;
        Ok(count)
    }

    fn read_on(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.is_broken || buf.is_empty() {
            return Ok(0);
        }
        let read = self.decode(buf);
        read.map_err(|error| self.fail(error))
    }

    fn decode(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        let Some(unpacker) = &mut self.unpacker else {
            return Ok(self.raw.read(buf)?);
        };
        loop {
            let count = unpacker.read(&mut self.raw, buf)?;
            if count > 0 {
                return Ok(count);
            }
            if at_end(&mut self.raw)? {
                return Ok(0);
            }
            self.stream = self.raw.position();
            unpacker.reset();
        }
    }

    /// Notes what an error means for what follows.
    fn fail(&mut self, error: DecodeError) -> Error {
        let end = self.raw.position();
        match error {
            DecodeError::Io(source) => Error::input(end, source),
            DecodeError::Format(kind) => {
                self.is_broken = !self.unpacker.as_ref().is_some_and(Unpacker::ended_in_place);
                self.is_cut |= self.is_broken && self.raw.ahead(1).is_ok_and(<[u8]>::is_empty);
                Error::CorruptStream { range: self.stream..end, kind }
            }
        }
    }

    /// Lets the stream at hand come to its end and be checked, if it ends here. With a limit it is
    /// read to its end also when more is in it: the rest of a group, of so many bytes at most.
    pub(super) fn settle(&mut self, group: Option<u64>) -> Result<()> {
        if self.taken < self.ahead.len() || self.is_broken {
            return Ok(());
        }
        self.forget();
        let Some(unpacker) = &mut self.unpacker else { return Ok(()) };
        let mut rest = std::mem::take(&mut self.ahead);
        rest.resize(1, 0);
        let mut read = unpacker.read(&mut self.raw, &mut rest).map(|count| rest.truncate(count));
        if let Some(limit) = group.filter(|_| read.is_ok() && !rest.is_empty()) {
            read = unpacker.read_to_end(&mut self.raw, limit, &mut rest);
        }
        if read.is_err() {
            // Nobody may have what was not checked.
            rest.clear();
        }
        self.ahead = rest;
        read.map_err(|error| self.fail(error))
    }

    /// Looks at the next `len` bytes, fewer at the end. What was read before an error is kept.
    pub(super) fn peek(&mut self, len: usize) -> Result<&[u8]> {
        if self.ahead.len() - self.taken < len {
            self.ahead.drain(..self.taken);
            self.taken = 0;
        }
        while self.ahead.len() - self.taken < len {
            let have = self.ahead.len();
            let mut bytes = std::mem::take(&mut self.ahead);
            bytes.resize(self.taken + len, 0);
            let read = self.read_on(&mut bytes[have..]);
            bytes.truncate(have + read.as_ref().copied().unwrap_or(0));
            self.ahead = bytes;
            if read? == 0 {
                break;
            }
        }
        let waiting = &self.ahead[self.taken..];
        Ok(&waiting[..waiting.len().min(len)])
    }

    /// Takes bytes that were looked at.
    fn take(&mut self, len: usize) {
        self.taken += len;
        self.position += len as u64;
    }

    /// Puts back the block that was taken last, if it is all zeros.
    pub(super) fn put_back_zeros(&mut self) {
        let Some(from) = self.taken.checked_sub(BLOCK) else { return };
        if self.ahead[from..self.taken].iter().all(|&byte| byte == 0) {
            self.taken = from;
            self.position -= BLOCK as u64;
        }
    }

    /// Throws away what was looked at.
    pub(super) fn forget(&mut self) {
        self.ahead.clear();
        self.taken = 0;
    }

    /// Skips `count` bytes, and counts them down.
    pub(super) fn skip(&mut self, count: &mut u64) -> Result<()> {
        let mut buffer = [0; SKIP];
        while *count > 0 {
            let len = usize::try_from(*count).unwrap_or(usize::MAX).min(buffer.len());
            let skipped = self.read(&mut buffer[..len])? as u64;
            if skipped == 0 {
                return Err(self.cut("data of a member", *count, 0));
            }
            *count -= skipped;
        }
        Ok(())
    }

    /// Returns the error of an end that comes too early.
    pub(super) fn cut(&mut self, what: &'static str, need: u64, have: u64) -> Error {
        self.is_cut = true;
        let kind = FormatError::Truncated { what, need, have };
        Error::CorruptTar { position: self.position, kind }
    }

    /// Skips blocks up to one that is a tar header, or to the end.
    pub(super) fn seek_header(&mut self) -> Result<()> {
        let mut zeros = 0u64;
        loop {
            let ahead = self.peek(BLOCK)?;
            let Some(block) = ahead.first_chunk::<BLOCK>() else {
                let len = ahead.len();
                self.take(len);
                // A tar ends with two blocks of zeros.
                self.ends_with_zeros = zeros >= 2;
                return Ok(());
            };
            if header::is_header(block) {
                return Ok(());
            }
            zeros = if block.iter().all(|&byte| byte == 0) { zeros + 1 } else { 0 };
            self.take(BLOCK);
        }
    }

    /// Reads everything that is left. Returns where in the input something stands that does not
    /// belong to the tar.
    pub(super) fn drain(&mut self) -> Result<Option<u64>> {
        let mut buffer = [0; SKIP];
        let mut foreign = None;
        let last = self.stream;
        loop {
            let offset = self.offset();
            let count = match self.read(&mut buffer) {
                Ok(count) => count,
                // What follows the last stream is none, or a damaged one that nobody needs.
                Err(Error::CorruptStream { .. }) if self.stream != last => {
                    return Ok(foreign.or(Some(self.stream)));
                }
                Err(error) => return Err(error),
            };
            if count == 0 {
                return Ok(foreign);
            }
            if foreign.is_none()
                && let Some(at) = buffer[..count].iter().position(|&byte| byte != 0)
            {
                let packed = self.unpacker.is_some();
                foreign = Some(if packed { self.stream } else { offset + at as u64 });
            }
        }
    }
}

/// Returns whether no stream follows: the input is at its end, or zeros fill a tape's last block.
fn at_end<B: BufRead>(raw: &mut B) -> Result<bool, DecodeError> {
    loop {
        let available = raw.fill_buf()?;
        if available.is_empty() {
            return Ok(true);
        }
        let zeros = available.iter().take_while(|&&byte| byte == 0).count();
        if zeros == 0 {
            return Ok(false);
        }
        raw.consume(zeros);
    }
}

/// Why headers could not be read.
pub(super) enum HeaderError {
    /// The input failed, or is damaged; the error says where.
    Input(Error),
    /// The headers are wrong.
    Format(FormatError),
}

impl From<FormatError> for HeaderError {
    fn from(kind: FormatError) -> Self {
        Self::Format(kind)
    }
}

impl<R: Read> Blocks for Input<R> {
    type Error = HeaderError;

    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, HeaderError> {
        let ahead = self.peek(BLOCK).map_err(HeaderError::Input)?;
        if ahead.is_empty() {
            return Ok(None);
        }
        let have = ahead.len();
        let block = ahead.first_chunk::<BLOCK>().copied();
        self.take(have);
        block
            .map(Some)
            .ok_or_else(|| HeaderError::Input(self.cut("tar header", BLOCK as u64, have as u64)))
    }
}
