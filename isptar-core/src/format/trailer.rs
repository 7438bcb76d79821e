//! The size trailer: the last 64 bytes of an archive, found by position.
//!
//! It is a gzip stream that holds the digits that end the archive info, the padding of
//! `.backup.info` and the two zero blocks that end a tar. An extra field in its head fills it to
//! 64 bytes, so that none of the suffixes in which the original program looks for its own, shorter
//! trailer (20 to 39 bytes) is a gzip stream.

use super::gzip;
use crate::error::FormatError;

/// Bytes of the size trailer.
pub const LEN: usize = 64;

/// Zero bytes that end a tar.
const END_MARK: u64 = 1024;

/// What the extra field begins with.
const MAGIC: &[u8] = b"isptar2";

/// Longest match of deflate.
const MAX_MATCH: u64 = 258;

/// The size trailer of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeTrailer {
    /// Packed bytes of the archive info, which stands right before.
    pub info_size: u64,
    /// Zero bytes that fill the last block of `.backup.info`: below 512.
    pub padding: u64,
}

impl SizeTrailer {
    /// Reads the last 64 bytes of an archive.
    ///
    /// # Errors
    ///
    /// [`FormatError::Missing`] when they are no size trailer at all, otherwise what is wrong.
    pub fn parse(bytes: &[u8; LEN]) -> Result<Self, FormatError> {
        const NONE: FormatError = FormatError::Missing("size trailer");
        // Magic first, then the length, then every byte against the only way to write it.
        let magic = bytes.get(16..).and_then(|rest| rest.get(..MAGIC.len())).ok_or(NONE)?;
        let head = bytes.get(..4).ok_or(NONE)?;
        if magic != MAGIC || head != [0x1f, 0x8b, 8, 4] {
            return Err(NONE);
        }
        let (_, tail) = bytes.split_last_chunk::<{ gzip::TAIL_LEN }>().ok_or(NONE)?;
        let [.., a, b, c, d] = *tail;
        let total = u64::from(u32::from_le_bytes([a, b, c, d]));
        // The numbers that a trailer can hold are few: 1 to 4 digits.
        let digits = Self::digits(bytes)?;
        let zeros = total.checked_sub(digits.len() as u64);
        let padding = zeros.and_then(|zeros| zeros.checked_sub(END_MARK)).filter(|&len| len < 512);
        let padding = padding.ok_or_else(|| {
            FormatError::mismatch("length of the size trailer", "1025 to 1539", total)
        })?;
        let info_size = super::text::decimal("header_size", &digits)?;
        let trailer = Self { info_size, padding };
        if trailer.encode()? != *bytes {
            return Err(FormatError::invalid("size trailer", bytes));
        }
        Ok(trailer)
    }

    /// Takes the digits out of the compressed data: literals of eight bits, after three bits of
    /// block header, up to the first zero byte.
    fn digits(bytes: &[u8; LEN]) -> Result<Vec<u8>, FormatError> {
        let invalid = || FormatError::invalid("size trailer", bytes);
        let [low, high] = *bytes.get(14..).and_then(<[u8]>::first_chunk).ok_or_else(invalid)?;
        let payload = usize::from(u16::from_le_bytes([low, high]));
        let data = payload.checked_add(16).and_then(|at| bytes.get(at..)).ok_or_else(invalid)?;
        let mut bits = BitReader { bytes: data, at: 3 };
        let mut digits = Vec::new();
        while digits.len() <= 4 {
            // Codes 00110000 to 10111111 are the literals 0 to 143.
            let literal =
                bits.code(8).and_then(|code| code.checked_sub(0x30)).ok_or_else(invalid)?;
            match u8::try_from(literal) {
                Ok(0) => return Ok(digits),
                Ok(digit @ b'0'..=b'9') => digits.push(digit),
                _ => return Err(invalid()),
            }
        }
        Err(invalid())
    }

    /// Returns the 64 bytes.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] when the info size has more than four digits, or the padding is 512
    /// or more.
    pub fn encode(&self) -> Result<[u8; LEN], FormatError> {
        let digits = self.info_size.to_string();
        if digits.len() > 4 {
            let (limit, actual) = (9999, self.info_size);
            return Err(FormatError::Limit {
                what: "packed archive info",
                limit,
                actual,
                raise: None,
            });
        }
        if self.padding >= 512 {
            let (limit, actual) = (511, self.padding);
            return Err(FormatError::Limit { what: "padding", limit, actual, raise: None });
        }
        // Both are small now.
        let zeros = self.padding.saturating_add(END_MARK);
        let deflated = deflate(digits.as_bytes(), zeros);
        let mut text = digits.into_bytes();
        text.resize(text.len().saturating_add(usize::try_from(zeros).unwrap_or(0)), 0);

        let fixed = gzip::HEAD.len().saturating_add(6).saturating_add(gzip::TAIL_LEN);
        let payload = LEN.saturating_sub(fixed).saturating_sub(deflated.len());
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]);
        out.extend_from_slice(&u16::try_from(payload.saturating_add(4)).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(b"IT");
        out.extend_from_slice(&u16::try_from(payload).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(MAGIC);
        out.resize(payload.saturating_add(16), 0);
        out.extend_from_slice(&deflated);
        out.extend_from_slice(&gzip::tail(crc32fast::hash(&text), text.len() as u64));
        out.try_into().map_err(|out: Vec<u8>| {
            FormatError::mismatch("length of the size trailer", LEN, out.len())
        })
    }
}

/// Returns the size trailer of a classic archive: 20 to 39 bytes, of which no suffix and nothing
/// that ends with it is taken for it. `padding` is below 512.
pub(crate) fn classic(info_size: u64, padding: u64) -> Vec<u8> {
    let mut text = info_size.to_string().into_bytes();
    let zeros = padding.min(511).saturating_add(END_MARK);
    let deflated = deflate(&text, zeros);
    text.resize(text.len().saturating_add(usize::try_from(zeros).unwrap_or(0)), 0);
    let tail = gzip::tail(crc32fast::hash(&text), text.len() as u64);
    [&gzip::HEAD[..], &deflated, &tail].concat()
}

/// Writes one final block with fixed Huffman codes: the digits, one zero, matches of 258 bytes at
/// distance 1, and what is left.
fn deflate(digits: &[u8], zeros: u64) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.number(0b011, 3);
    for &digit in digits {
        bits.code(u32::from(digit).saturating_add(0x30), 8);
    }
    bits.code(0x30, 8);
    let mut left = zeros.saturating_sub(1);
    while left >= 3 {
        let length = left.min(MAX_MATCH);
        bits.length(length);
        bits.code(0, 5);
        left = left.saturating_sub(length);
    }
    for _ in 0..left {
        bits.code(0x30, 8);
    }
    bits.code(0, 7);
    bits.bytes
}

/// Collects bits as deflate packs them: from the lowest bit of each byte.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    used: u32,
}

impl BitWriter {
    fn bit(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.used;
        }
        self.used = self.used.wrapping_add(1) & 7;
    }

    /// Huffman codes are packed from their highest bit.
    fn code(&mut self, code: u32, width: u32) {
        for position in (0..width).rev() {
            self.bit(code >> position & 1 != 0);
        }
    }

    /// Other numbers are packed from their lowest bit.
    fn number(&mut self, value: u32, width: u32) {
        for position in 0..width {
            self.bit(value >> position & 1 != 0);
        }
    }

    /// The length of a match, 3 to 258 (RFC 1951, section 3.2.5).
    fn length(&mut self, length: u64) {
        // First length, symbol of it, extra bits; the row below 258 ends at 257.
        const ROWS: [(u64, u32, u32); 8] = [
            (258, 285, 0),
            (131, 281, 5),
            (67, 277, 4),
            (35, 273, 3),
            (19, 269, 2),
            (11, 265, 1),
            (3, 257, 0),
            (0, 256, 0),
        ];
        let (first, symbol, extra) =
            ROWS.into_iter().find(|&(first, ..)| length >= first).unwrap_or_default();
        let beyond = u32::try_from(length.saturating_sub(first)).unwrap_or_default();
        let symbol = symbol.saturating_add(beyond >> extra);
        // Symbols 256 to 279 have codes of 7 bits from 0, 280 to 287 of 8 bits from 11000000.
        match symbol.checked_sub(280) {
            Some(above) => self.code(above.saturating_add(0xc0), 8),
            None => self.code(symbol.saturating_sub(256), 7),
        }
        self.number(beyond & (1u32 << extra).saturating_sub(1), extra);
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn code(&mut self, width: u32) -> Option<u32> {
        let mut code = 0;
        for _ in 0..width {
            let byte = self.bytes.get(self.at / 8)?;
            code = code << 1 | u32::from(byte >> (self.at & 7) & 1);
            self.at = self.at.checked_add(1)?;
        }
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Every padding with every info size that the limit on archive info allows, and all digits.
    #[test]
    fn every_trailer_is_64_bytes_of_gzip_that_the_original_refuses() {
        let sizes = (1..=2100).chain([9999]);
        for info_size in sizes {
            for padding in 0..512 {
                let trailer = SizeTrailer { info_size, padding };
                let bytes = trailer.encode().unwrap();
                for len in 20..=39 {
                    assert_ne!(bytes[LEN - len..LEN - len + 2], [0x1f, 0x8b], "{trailer:?}");
                }
                if info_size % 97 == 0 || padding % 73 == 0 {
                    let mut text = Vec::new();
                    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
                    let mut expected = info_size.to_string().into_bytes();
                    expected.resize(expected.len() + 1024 + usize::try_from(padding).unwrap(), 0);
                    assert_eq!(text, expected);
                    assert_eq!(SizeTrailer::parse(&bytes), Ok(trailer));
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = SizeTrailer { info_size: 217, padding: 300 }.encode().unwrap();
        for bit in 0..LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SizeTrailer::parse(&flipped).is_err(), "bit {bit}");
        }
    }
}
