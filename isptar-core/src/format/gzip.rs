//! Heads and tails of gzip streams (RFC 1952, which calls a stream a "member").

use crate::error::FormatError;

/// The head of every stream of ours: deflate, no flags, no time, unknown system.
pub const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Bytes after the compressed data: CRC-32 and length.
pub const TAIL_LEN: usize = 8;

/// Bytes that storing adds to each block of up to 65,535 bytes.
const STORED_HEAD: usize = 5;

/// Most bytes of a stored deflate block.
const STORED_MAX: usize = 0xffff;

/// Flags of the head: what follows its ten bytes.
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// Returns whether the first deflate block of a stream that begins with [`HEAD`] is stored.
pub(crate) fn begins_stored(stream: &[u8]) -> bool {
    stream.strip_prefix(&HEAD).and_then(<[u8]>::first).is_some_and(|byte| byte & 0b110 == 0)
}

/// What a head is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    flags: u8,
}

impl Head {
    /// Reads the ten fixed bytes.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`] when they are not those of gzip.
    pub fn parse(bytes: &[u8; HEAD.len()]) -> Result<Self, FormatError> {
        let [magic @ .., _, _, _, _, _, _] = bytes;
        let [0x1f, 0x8b, 8, flags] = *magic else {
            return Err(FormatError::invalid("gzip magic", magic));
        };
        if flags & RESERVED != 0 {
            return Err(FormatError::invalid("gzip flags", &[flags]));
        }
        Ok(Self { flags })
    }

    /// Returns whether an extra field follows.
    pub fn has_extra(self) -> bool {
        self.flags & FEXTRA != 0
    }

    /// Returns how many strings ended by NUL follow: the file name and the comment.
    pub fn strings(self) -> usize {
        usize::from(self.flags & FNAME != 0).saturating_add(usize::from(self.flags & FCOMMENT != 0))
    }

    /// Returns whether a CRC-16 of the head follows.
    pub fn has_crc(self) -> bool {
        self.flags & FHCRC != 0
    }

    /// Returns whether nothing follows but the compressed data.
    pub fn is_plain(self) -> bool {
        self.flags == 0
    }
}

/// Returns the tail of a stream: CRC-32 and length modulo 2^32.
pub fn tail(crc: u32, len: u64) -> [u8; TAIL_LEN] {
    let [a, b, c, d] = crc.to_le_bytes();
    let [e, f, g, h, ..] = len.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Checks a tail against what was decoded.
///
/// # Errors
///
/// [`FormatError::Crc`] or [`FormatError::Mismatch`].
pub fn check_tail(bytes: [u8; TAIL_LEN], crc: u32, len: u64) -> Result<(), FormatError> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let expected = u32::from_le_bytes([a, b, c, d]);
    // A fuzzer would hardly ever get past it.
    if expected != crc && !cfg!(fuzzing) {
        return Err(FormatError::Crc { expected, actual: crc });
    }
    let stored = u64::from(u32::from_le_bytes([e, f, g, h]));
    let actual = len & 0xffff_ffff;
    if stored != actual {
        return Err(FormatError::mismatch("length of a stream modulo 2^32", stored, actual));
    }
    Ok(())
}

/// Returns the length of a stream that stores `len` bytes uncompressed.
pub fn stored_len(len: usize) -> usize {
    let blocks = len.div_ceil(STORED_MAX).max(1);
    len.saturating_add(blocks.saturating_mul(STORED_HEAD))
        .saturating_add(HEAD.len())
        .saturating_add(TAIL_LEN)
}

/// A block that stores its data, at the beginning of deflated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlock<'a> {
    /// Whether no block follows.
    pub is_last: bool,
    /// What it stores.
    pub data: &'a [u8],
    /// What comes behind it.
    pub rest: &'a [u8],
}

impl<'a> StoredBlock<'a> {
    /// Reads the block that `bytes` begins with, which must be at the beginning of a byte, as it is
    /// behind another such block; `None` when it is of another type, or not whole.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[head, a, b, c, d], rest) = bytes.split_first_chunk::<STORED_HEAD>()?;
        // The two bits above the lowest are the type.
        if head & 0b110 != 0 {
            return None;
        }
        let len = u16::from_le_bytes([a, b]);
        if len != !u16::from_le_bytes([c, d]) {
            return None;
        }
        let (data, rest) = rest.split_at_checked(usize::from(len))?;
        Some(Self { is_last: head & 1 != 0, data, rest })
    }
}

/// Appends a stream that stores `data` uncompressed; `crc` is the CRC-32 of `data`.
pub fn push_stored(data: &[u8], crc: u32, out: &mut Vec<u8>) {
    out.reserve(stored_len(data.len()));
    out.extend_from_slice(&HEAD);
    let mut rest = data;
    loop {
        let (block, tail) = rest.split_at(rest.len().min(STORED_MAX));
        let [low, high, ..] = block.len().to_le_bytes();
        out.extend_from_slice(&[u8::from(tail.is_empty()), low, high, !low, !high]);
        out.extend_from_slice(block);
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    out.extend_from_slice(&tail(crc, data.len() as u64));
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn stored_streams_are_gzip() {
        for len in [0, 1, 512, 65_535, 65_536, 200_000] {
            let data: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut stream = Vec::new();
            push_stored(&data, crc32fast::hash(&data), &mut stream);
            assert_eq!(stream.len(), stored_len(len));
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(&stream[..]).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, data);
        }
        // FORMAT.md relies on this figure for the header of .backup.info.
        assert_eq!(stored_len(512), 535);
    }

    #[test]
    fn heads_of_others_are_told_apart() {
        assert!(Head::parse(&HEAD).unwrap().is_plain());
        assert!(Head::parse(&[0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 255]).is_err());
        assert!(Head::parse(&[0x1f, 0x8b, 8, 0x20, 0, 0, 0, 0, 0, 255]).is_err());
        let head = Head::parse(&[0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 255]).unwrap();
        assert!(head.has_extra() && head.has_crc() && head.strings() == 2);
    }
}
