//! Decompressing a stream that is in memory as a whole.
//!
//! What is not exactly as it should be is decoded again piece by piece, which finds out what is
//! wrong and where: so errors do not depend on the decoder. libdeflate takes streams that gzip
//! refuses: distances and lengths without a meaning, and either bit where a code has one symbol.
//! Those who restore lose nothing by that, CRC and digest hold; verify must not call whole what
//! gzip does not restore, and so judges by zlib-rs (a test flips every bit).

#[cfg(feature = "libdeflate")]
use super::inflate::Inflater;
use super::strict::StrictInflater;
use super::{DecodeError, Unpacker};
use crate::error::FormatError;
use crate::format::gzip::{self, StoredBlock};

/// Most bytes that come out of one packed byte: 258 of two bits.
const MOST_GROWTH: u64 = 1032;

/// Decompresses streams whose bytes are at hand from the first to the last; reusable.
#[derive(Debug)]
pub(crate) struct WholeUnpacker {
    /// Unless a stream must be one that gzip takes, not only give the right bytes.
    #[cfg(feature = "libdeflate")]
    lenient: Option<Inflater>,
    strict: Option<Box<StrictInflater>>,
    /// For streams that are not as they should be: it finds out where, and says so.
    slow: Option<Box<Unpacker>>,
}

impl WholeUnpacker {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "libdeflate")]
            lenient: Some(Inflater::new()),
            strict: None,
            slow: None,
        }
    }

    /// Refuses, from now on, what gzip would not take, though the bytes that come out may be right.
    pub(crate) fn set_strict(&mut self) {
        #[cfg(feature = "libdeflate")]
        {
            self.lenient = None;
        }
    }

    /// Appends what is in the stream that `bytes` begins with, and which should be its first
    /// `packed` bytes, to `out`, which may grow by `limit` bytes. Bytes beyond the stream may be
    /// looked at, but change nothing. Returns how many bytes were gone through.
    ///
    /// What the stream claims of itself makes `out` grow at most to what so many packed bytes can
    /// give.
    pub(crate) fn unpack(
        &mut self,
        bytes: &[u8],
        packed: usize,
        limit: u64,
        out: &mut Vec<u8>,
    ) -> (u64, Result<(), DecodeError>) {
        let start = out.len();
        if self.unpack_good(bytes, packed, limit, out).is_some() {
            return (packed as u64, Ok(()));
        }
        out.truncate(start);
        let unpacker = self.slow.get_or_insert_with(|| Box::new(Unpacker::new()));
        unpacker.reset();
        let mut stream = bytes.get(..packed).unwrap_or(bytes);
        let result = unpacker.read_to_end(&mut stream, limit, out);
        (unpacker.packed(), result)
    }

    /// Does so with a stream in which nothing is wrong, and which ends where it should.
    fn unpack_good(
        &mut self,
        bytes: &[u8],
        packed: usize,
        limit: u64,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let stream = bytes.get(..packed)?;
        let (head, rest) = stream.split_first_chunk::<{ gzip::HEAD.len() }>()?;
        if !gzip::Head::parse(head).is_ok_and(gzip::Head::is_plain) {
            return None;
        }
        let (body, tail) = rest.split_last_chunk::<{ gzip::TAIL_LEN }>()?;
        let [.., a, b, c, d] = *tail;
        let len = u32::from_le_bytes([a, b, c, d]);
        if u64::from(len) > limit.min((body.len() as u64).saturating_mul(MOST_GROWTH)) {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        let start = out.len();
        out.reserve(len);
        if copy_stored(body, len, out).is_none() {
            out.truncate(start);
            let beyond = bytes.get(head.len()..)?;
            self.inflate(beyond, body.len(), len, out)?;
        }
        let data = out.get(start..)?;
        let crc = crc32fast::hash(data);
        gzip::check_tail(*tail, crc, data.len() as u64).ok()
    }
}

impl WholeUnpacker {
    fn inflate(
        &mut self,
        bytes: &[u8],
        packed: usize,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        #[cfg(feature = "libdeflate")]
        if let Some(lenient) = &mut self.lenient {
            return lenient.inflate(bytes, packed, len, out);
        }
        let strict = self.strict.get_or_insert_with(|| Box::new(StrictInflater::new()));
        strict.inflate(bytes, packed, len, out)
    }
}

/// Appends what is in a stream that is stored, when it is `len` bytes; no inflater is needed.
fn copy_stored(mut body: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    let most = out.len() + len;
    loop {
        let StoredBlock { is_last, data, rest } = StoredBlock::parse(body)?;
        if data.len() > most - out.len() {
            return None;
        }
        out.extend_from_slice(data);
        body = rest;
        if is_last {
            return (body.is_empty() && out.len() == most).then_some(());
        }
    }
}

/// Says of a stream that it is not as long as the listing claims.
pub(crate) fn check_packed(expected: u64, actual: u64) -> Result<(), DecodeError> {
    match actual == expected {
        true => Ok(()),
        false => {
            let what = "packed size of a stream";
            Err(FormatError::mismatch(what, expected, actual).into())
        }
    }
}
