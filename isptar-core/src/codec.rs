//! Compressing and decompressing one stream.

#[cfg(not(feature = "libdeflate"))]
mod deflate;
#[cfg(feature = "libdeflate")]
mod inflate;
mod open_ended;
mod strict;
mod unpack;
mod whole;

use std::io;

#[cfg(not(feature = "libdeflate"))]
use deflate::{CompressionLvl, Compressor};
#[cfg(feature = "libdeflate")]
use libdeflater::{CompressionLvl, Compressor};

use crate::error::FormatError;
use crate::format::gzip;
use crate::limits::Raise;

pub(crate) use open_ended::Joined;
pub(crate) use unpack::Unpacker;
pub(crate) use whole::{WholeUnpacker, check_packed};

/// The highest compression level.
pub const MAX_LEVEL: u8 = 12;

/// Compresses whole streams; reusable, one a thread.
pub struct Packer {
    coder: Coder,
}

/// How streams are made.
enum Coder {
    Store,
    Deflate(Compressor),
    OpenEnded(open_ended::OpenEnded),
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stores = match &self.coder {
            Coder::Store => true,
            Coder::Deflate(_) => false,
            Coder::OpenEnded(packer) => packer.stores(),
        };
        f.debug_struct("Packer").field("stores", &stores).finish()
    }
}

impl Packer {
    /// Makes a packer of a level: 0 stores, levels above [`MAX_LEVEL`] are taken for it.
    pub fn new(level: u8) -> Self {
        let level = i32::from(level.min(MAX_LEVEL));
        let level = CompressionLvl::new(level).ok().filter(|_| level > 0);
        let deflate = |level| Coder::Deflate(Compressor::new(level));
        Self { coder: level.map_or(Coder::Store, deflate) }
    }

    /// Makes a packer of streams that can be put together to one by [`Joined`]. They are some bytes
    /// longer, and made by zlib-rs, whose levels end at 9.
    pub(crate) fn open_ended(level: u8) -> Self {
        Self { coder: Coder::OpenEnded(open_ended::OpenEnded::new(level)) }
    }

    /// Appends a stream with `data`: deflated, or stored when that is not larger or `data` does
    /// not look as if it could be compressed.
    pub fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.pack_by(Method::Deflate, data, out);
    }

    /// Appends a stream with `data`, stored when the method says so.
    pub(crate) fn pack_by(&mut self, method: Method, data: &[u8], out: &mut Vec<u8>) {
        let deflates = || method == Method::Deflate && !is_dense(data);
        let compressor = match &mut self.coder {
            Coder::OpenEnded(packer) => {
                let deflates = !packer.stores() && deflates();
                return packer.pack(data, !deflates, out);
            }
            Coder::Deflate(compressor) => Some(compressor),
            Coder::Store => None,
        };
        let crc = crc32fast::hash(data);
        let start = out.len();
        if let Some(compressor) = compressor.filter(|_| deflates()) {
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

/// How the data of a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Method {
    /// Deflated at the packer's level, where that makes it smaller.
    #[default]
    Deflate,
    /// As it is, whatever the level.
    Store,
}

/// Returns whether data is as good as random: the bytes of 16 samples of 512 bytes, in the middle of
/// as many equal parts, have an entropy above 7.9 bits. Nothing is taken of the first bytes: what does
/// not compress begins with a head that does. Costs about 4 us, found 97 % of what does not compress
/// and nothing else on sources, logs and binaries (DESIGN: section 5). Data below 16 KiB is not looked
/// at.
fn is_dense(data: &[u8]) -> bool {
    const SAMPLES: usize = 16;
    const SAMPLE: usize = 512;
    if data.len() < 2 * SAMPLES * SAMPLE {
        return false;
    }
    let mut counts = [0u32; 256];
    let part = data.len() / SAMPLES;
    for sample in 0..SAMPLES {
        let start = sample * part + (part - SAMPLE) / 2;
        for &byte in &data[start..][..SAMPLE] {
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
        let with_head = |len: usize| [&b"head".repeat(256)[..], &noise(len)].concat();
        assert!(is_dense(&with_head(1 << 20)) && is_dense(&with_head(64 << 10)));
        assert!(!is_dense(&[noise(1 << 19), vec![b'x'; 1 << 19]].concat()));
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
