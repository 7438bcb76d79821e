//! Compressing and decompressing one stream.

use std::io::{self, BufRead};

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor};

use crate::error::FormatError;
use crate::format::gzip::{self, Head};
use crate::limits::Raise;
use crate::small::{self, SmallPacker};

/// The highest compression level.
pub const MAX_LEVEL: u8 = 12;

/// Compresses whole streams; reusable, one a thread.
pub struct Packer {
    /// `None` stores.
    compressor: Option<Compressor>,
    /// For small streams, at levels where it is as good.
    small: Option<SmallPacker>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("stores", &self.compressor.is_none()).finish()
    }
}

impl Packer {
    /// Makes a packer of a level: 0 stores, levels above [`MAX_LEVEL`] are taken for it.
    pub fn new(level: u8) -> Self {
        let small = (1..=9).contains(&level).then(|| SmallPacker::new(level));
        let level = i32::from(level.min(MAX_LEVEL));
        let level = CompressionLvl::new(level).ok().filter(|_| level > 0);
        Self { compressor: level.map(Compressor::new), small }
    }

    /// Appends a stream with `data`: deflated, or stored when that is not larger or `data` does
    /// not look as if it could be compressed.
    pub fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let crc = crc32fast::hash(data);
        let start = out.len();
        if let Some(small) = self.small.as_mut().filter(|_| data.len() <= small::MOST) {
            out.extend_from_slice(&gzip::HEAD);
            small.deflate(data, out);
            out.extend_from_slice(&gzip::tail(crc, data.len() as u64));
            if out.len() - start < gzip::stored_len(data.len()) {
                return;
            }
            out.truncate(start);
        } else if let Some(compressor) = self.compressor.as_mut().filter(|_| !is_dense(data)) {
            out.extend_from_slice(&gzip::HEAD);
            let body = out.len();
            out.resize(body + compressor.deflate_compress_bound(data.len()), 0);
            if let Ok(len) = compressor.deflate_compress(data, &mut out[body..]) {
                out.truncate(body + len);
                out.extend_from_slice(&gzip::tail(crc, data.len() as u64));
                if out.len() - start < gzip::stored_len(data.len()) {
                    return;
                }
            }
            out.truncate(start);
        }
        gzip::push_stored(data, crc, out);
    }
}

/// Returns whether data is as good as random: the bytes of 16 samples of 512 bytes have an entropy
/// above 7.9 bits. Costs about 4 us, found 97 % of what does not compress and nothing else on
/// sources, logs and binaries (DESIGN: section 5). Data below 16 KiB is not looked at.
fn is_dense(data: &[u8]) -> bool {
    const SAMPLES: usize = 16;
    const SAMPLE: usize = 512;
    if data.len() < 2 * SAMPLES * SAMPLE {
        return false;
    }
    let mut counts = [0u32; 256];
    let step = (data.len() - SAMPLE) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        for &byte in &data[sample * step..][..SAMPLE] {
            counts[usize::from(byte)] += 1;
        }
    }
    let total = f64::from(8192u32);
    let entropy: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| f64::from(count) / total)
        .map(|share| -share * share.log2())
        .sum();
    entropy > 7.9
}

/// Why a stream could not be decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// Its bytes could not be read.
    Io(io::Error),
    /// Its bytes are wrong.
    Format(FormatError),
}

impl DecodeError {
    /// Says what would let a stream pass that is longer than its limit.
    pub(crate) fn raised(mut self, by: Option<Raise>) -> Self {
        if let Self::Format(FormatError::Limit { raise: raise @ None, .. }) = &mut self {
            *raise = by;
        }
        self
    }

    /// Says, of a stream that is longer than its limit, that it is not as long as was claimed.
    pub(crate) fn claimed(self, what: &'static str, claimed: u64) -> Self {
        match self {
            Self::Format(FormatError::Limit { limit, raise: None, .. }) if limit == claimed => {
                FormatError::mismatch(what, claimed, "more").into()
            }
            other => other,
        }
    }
}

impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FormatError> for DecodeError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..len).map(|_| next()).collect()
    }

    fn unpack(mut packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        let mut unpacker = Unpacker::new();
        unpacker.read_to_end(&mut packed, 1 << 30, &mut out)?;
        assert!(unpacker.is_ended() && packed.is_empty());
        Ok(out)
    }

    #[test]
    fn streams_round_trip_at_every_level() {
        for level in 0..=MAX_LEVEL {
            let mut packer = Packer::new(level);
            for data in [vec![], b"text ".repeat(1000), noise(100_000), vec![0; 1 << 20]] {
                let mut packed = Vec::new();
                packer.pack(&data, &mut packed);
                assert!(packed.len() <= gzip::stored_len(data.len()));
                assert_eq!(unpack(&packed).unwrap(), data);
            }
        }
    }

    #[test]
    fn noise_is_told_from_text() {
        assert!(is_dense(&noise(1 << 20)));
        assert!(!is_dense(&b"a line of text\n".repeat(10_000)));
        assert!(!is_dense(&noise(16_000)));
    }

    #[test]
    fn heads_of_all_kinds_are_read() {
        let mut packed = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3];
        packed.extend_from_slice(b"\x03\0abcname\0comment\0\x12\x34");
        packed.extend_from_slice(&[1, 1, 0, 0xfe, 0xff, b'x']);
        packed.extend_from_slice(&gzip::tail(crc32fast::hash(b"x"), 1));
        assert_eq!(unpack(&packed).unwrap(), b"x");
    }

    #[test]
    fn every_cut_and_every_flip_in_a_stream_is_found() {
        let data = b"some text that is packed, some text that is packed";
        let mut packed = Vec::new();
        Packer::new(6).pack(data, &mut packed);
        for len in 0..packed.len() {
            assert!(unpack(&packed[..len]).is_err(), "cut at {len}");
        }
        // The flag that says "text", and the bytes for time, compressor and system, are read by
        // nobody.
        for bit in (0..packed.len() * 8).filter(|bit| *bit != 24 && !(32..80).contains(bit)) {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut rest = flipped.as_slice();
            let mut out = Vec::new();
            let read = Unpacker::new().read_to_end(&mut rest, 1 << 20, &mut out);
            // Bits that fill the last byte of the deflated data mean nothing.
            assert!(read.is_err() || out == data, "{bit}");
        }
    }

    #[test]
    fn a_stream_that_grows_too_large_is_refused() {
        let mut packed = Vec::new();
        Packer::new(6).pack(&vec![0; 10 << 20], &mut packed);
        let mut out = Vec::new();
        let result = Unpacker::new().read_to_end(&mut packed.as_slice(), 1 << 20, &mut out);
        assert!(matches!(result, Err(DecodeError::Format(FormatError::Limit { .. }))));
        assert!(out.len() < 4 << 20);
    }
}
