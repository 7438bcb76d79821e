//! Decompressing a stream piece by piece, as its bytes come.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};

use super::DecodeError;
use crate::error::FormatError;
use crate::format::gzip::{self, Head};

/// Decompresses streams piece by piece; reusable.
#[derive(Debug)]
pub(crate) struct Unpacker {
    state: Decompress,
    crc: crc32fast::Hasher,
    /// Bytes that came out of the stream so far.
    len: u64,
    /// Bytes of the stream that were taken from the input so far.
    packed: u64,
    phase: Phase,
    /// What is wrong with the tail, told after the last bytes were handed out.
    failed: Option<DecodeError>,
    /// The tail was read, and the CRC or the length in it holds.
    ended_in_place: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    Failed,
    End,
}

impl Unpacker {
    /// Makes one that stands before a stream.
    pub(crate) fn new() -> Self {
        Self {
            state: Decompress::new(false),
            crc: crc32fast::Hasher::new(),
            len: 0,
            packed: 0,
            phase: Phase::Head,
            failed: None,
            ended_in_place: false,
        }
    }

    /// Turns to a new stream.
    pub(crate) fn reset(&mut self) {
        self.state.reset(false);
        self.crc.reset();
        self.len = 0;
        self.packed = 0;
        self.phase = Phase::Head;
        self.failed = None;
        self.ended_in_place = false;
    }

    /// Returns how many bytes of the stream were taken from the input.
    pub(crate) fn packed(&self) -> u64 {
        self.packed
    }

    /// Returns whether the stream was read to its end, and its CRC and length hold.
    pub(crate) fn is_ended(&self) -> bool {
        self.phase == Phase::End
    }

    /// Returns whether nothing but the tail is wrong with a stream that failed: it was decoded to
    /// its end, to as many bytes as its tail says or to the bytes whose CRC that has, so that the
    /// next stream follows right here and in its place.
    pub(crate) fn ended_in_place(&self) -> bool {
        self.ended_in_place
    }

    /// Reads decompressed bytes; 0 is the end of the stream, when `buf` has room.
    pub(crate) fn read<B: BufRead>(
        &mut self,
        input: &mut B,
        buf: &mut [u8],
    ) -> Result<usize, DecodeError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.phase == Phase::Head {
            self.head(input)?;
        }
        while self.phase == Phase::Body && !buf.is_empty() {
            let available = fill(input)?;
            let ended = available.is_empty();
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(available, buf, FlushDecompress::None)
                .map_err(|_| FormatError::Deflate("a code is not valid"))?;
            let taken = self.state.total_in() - before_in;
            let count = usize::try_from(self.state.total_out() - before_out).unwrap_or(0);
            input.consume(usize::try_from(taken).unwrap_or(0));
            self.packed += taken;
            let bytes = buf.get(..count).unwrap_or_default();
            self.crc.update(bytes);
            self.len += count as u64;
            if status == Status::StreamEnd {
                match self.tail(input) {
                    Err(error) if count > 0 => self.failed = Some(error),
                    tail => tail?,
                }
            } else if count == 0 && taken == 0 && ended {
                return Err(FormatError::Deflate("the stream is cut off").into());
            }
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    }

    /// Appends the rest of the stream to `out`, which may grow to `limit` bytes.
    pub(crate) fn read_to_end<B: BufRead>(
        &mut self,
        input: &mut B,
        limit: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        const STEP: usize = 64 << 10;
        loop {
            let len = out.len();
            // Grown as bytes really come, whatever is claimed; one step more than the limit shows
            // that there is too much.
            out.resize(len + STEP.max(len.min(1 << 20)), 0);
            let read = self.read(input, &mut out[len..]);
            out.truncate(len + read.as_ref().copied().unwrap_or(0));
            let count = read?;
            let actual = out.len() as u64;
            if actual > limit {
                let (what, raise) = ("length of a stream", None);
                return Err(FormatError::Limit { what, limit, actual, raise }.into());
            }
            // Room for another step is not cleared when nothing will come.
            if count == 0 || self.is_ended() {
                return Ok(());
            }
        }
    }

    fn head<B: BufRead>(&mut self, input: &mut B) -> Result<(), DecodeError> {
        let fixed = self.take::<{ gzip::HEAD.len() }, B>(input, "gzip head")?;
        let head = Head::parse(&fixed)?;
        if !head.is_plain() {
            self.optional_fields(head, input)?;
        }
        self.phase = Phase::Body;
        Ok(())
    }

    /// Skips what other programs put into the head; each field is at most 64 KiB long.
    fn optional_fields<B: BufRead>(
        &mut self,
        head: Head,
        input: &mut B,
    ) -> Result<(), DecodeError> {
        const LIMIT: u64 = 1 << 16;
        if head.has_extra() {
            let len = u16::from_le_bytes(self.take(input, "gzip extra field")?);
            for _ in 0..len {
                self.take::<1, B>(input, "gzip extra field")?;
            }
        }
        for _ in 0..head.strings() {
            let mut len = 0;
            while self.take::<1, B>(input, "gzip file name")? != [0] {
                len += 1;
                if len > LIMIT {
                    let (what, limit, actual) = ("gzip file name", LIMIT, len);
                    return Err(FormatError::Limit { what, limit, actual, raise: None }.into());
                }
            }
        }
        if head.has_crc() {
            self.take::<2, B>(input, "CRC of a gzip head")?;
        }
        Ok(())
    }

    fn tail<B: BufRead>(&mut self, input: &mut B) -> Result<(), DecodeError> {
        let tail = self.take::<{ gzip::TAIL_LEN }, B>(input, "gzip tail")?;
        let crc = self.crc.clone().finalize();
        // What comes after a stream with a bad tail is not part of it.
        self.phase = Phase::Failed;
        let expected = gzip::tail(crc, self.len);
        self.ended_in_place = tail[..4] == expected[..4] || tail[4..] == expected[4..];
        gzip::check_tail(tail, crc, self.len)?;
        self.phase = Phase::End;
        Ok(())
    }

    /// Takes exactly `N` bytes.
    fn take<const N: usize, B: BufRead>(
        &mut self,
        input: &mut B,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        let mut have = 0;
        while have < N {
            let available = fill(input)?;
            if available.is_empty() {
                let (need, have) = (N as u64, have as u64);
                return Err(FormatError::Truncated { what, need, have }.into());
            }
            let count = available.len().min(N - have);
            bytes[have..have + count].copy_from_slice(&available[..count]);
            input.consume(count);
            have += count;
        }
        self.packed += N as u64;
        Ok(bytes)
    }
}

/// Waits for input, whatever signals come in between.
fn fill<B: BufRead>(input: &mut B) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    // What is buffered is handed out again; asking twice is what the borrow checker demands.
    input.fill_buf()
}
