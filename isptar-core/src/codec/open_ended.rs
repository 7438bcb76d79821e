//! Streams that can be gone on with: what was packed apart, on any thread, becomes one stream.
//!
//! An open-ended stream is a whole gzip stream whose deflate blocks begin and end at bytes, and of
//! which only an empty one at the end says that it is the last. Without head, last block and tail
//! they can stand one after the other, and their CRCs can be added up.

use flate2::{Compress, Compression, FlushCompress};

use crate::format::gzip;

/// The last block of every open-ended stream: fixed codes, nothing in it.
const LAST: [u8; 2] = [3, 0];

/// Most bytes of a stored deflate block.
const STORED_MAX: usize = 0xffff;

/// The highest level of zlib.
const MAX_LEVEL: u8 = 9;

/// Compresses data as open-ended streams; reusable, one a thread.
pub(super) struct OpenEnded {
    /// `None` stores.
    compress: Option<Compress>,
}

impl OpenEnded {
    pub(super) fn new(level: u8) -> Self {
        let level = Compression::new(u32::from(level.min(MAX_LEVEL)));
        Self { compress: (level.level() > 0).then(|| Compress::new(level, false)) }
    }

    pub(super) fn stores(&self) -> bool {
        self.compress.is_none()
    }

    /// Appends a stream with `data`, which is stored when that is not larger, or `dense`.
    pub(super) fn pack(&mut self, data: &[u8], dense: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&gzip::HEAD);
        let start = out.len();
        let compress = self.compress.as_mut().filter(|_| !dense);
        let deflated = compress.is_some_and(|compress| deflate(compress, data, out));
        if !deflated || out.len() - start > stored_len(data.len()) {
            out.truncate(start);
            push_stored_blocks(data, out);
        }
        out.extend_from_slice(&LAST);
        out.extend_from_slice(&gzip::tail(crc32fast::hash(data), data.len() as u64));
    }
}

/// Appends blocks that end at a byte; returns whether that went well.
fn deflate(compress: &mut Compress, data: &[u8], out: &mut Vec<u8>) -> bool {
    compress.reset();
    let mut taken = 0;
    loop {
        // Room for all, so that one call does; the mark that ends the blocks needs six bytes.
        out.reserve((data.len() - taken) / 2 + 128);
        let before = compress.total_in();
        if compress.compress_vec(&data[taken..], out, FlushCompress::Sync).is_err() {
            return false;
        }
        taken += usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
        if taken >= data.len() && out.len() < out.capacity() {
            return true;
        }
    }
}

fn stored_len(len: usize) -> usize {
    len + 5 * len.div_ceil(STORED_MAX)
}

fn push_stored_blocks(data: &[u8], out: &mut Vec<u8>) {
    for block in data.chunks(STORED_MAX) {
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
}

/// Puts open-ended streams together to one.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    crc: crc32fast::Hasher,
    len: u64,
}

impl Joined {
    /// What every joined stream begins with.
    pub(crate) const HEAD: [u8; 10] = gzip::HEAD;

    /// Adds an open-ended stream, and returns the part of it that goes into the joined one.
    pub(crate) fn add<'a>(&mut self, stream: &'a [u8]) -> &'a [u8] {
        let Some((rest, &tail)) = stream.split_last_chunk::<{ gzip::TAIL_LEN }>() else {
            return &[];
        };
        let [a, b, c, d, e, f, g, h] = tail;
        let len = u64::from(u32::from_le_bytes([e, f, g, h]));
        let crc = u32::from_le_bytes([a, b, c, d]);
        self.crc.combine(&crc32fast::Hasher::new_with_initial_len(crc, len));
        self.len += len;
        rest.strip_suffix(&LAST).and_then(|rest| rest.get(gzip::HEAD.len()..)).unwrap_or_default()
    }

    /// Returns what every joined stream ends with: the last block and the tail.
    pub(crate) fn end(self) -> [u8; LAST.len() + gzip::TAIL_LEN] {
        let mut end = [0; LAST.len() + gzip::TAIL_LEN];
        end[..LAST.len()].copy_from_slice(&LAST);
        end[LAST.len()..].copy_from_slice(&gzip::tail(self.crc.finalize(), self.len));
        end
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unpacker;
    use super::*;

    fn unpack(stream: &[u8]) -> Vec<u8> {
        let (mut rest, mut out) = (stream, Vec::new());
        Unpacker::new().read_to_end(&mut rest, 1 << 30, &mut out).unwrap();
        assert!(rest.is_empty());
        out
    }

    #[test]
    fn streams_that_were_packed_apart_become_one() {
        for level in [0, 1, 6, 12] {
            let mut packer = OpenEnded::new(level);
            let parts: [&[u8]; 5] =
                [b"", &b"some text ".repeat(30_000), b"x", &[0; 70_000], &b"end".repeat(9)];
            let (mut joined, mut stream) = (Joined::default(), Joined::HEAD.to_vec());
            for (number, part) in parts.iter().enumerate() {
                let mut packed = Vec::new();
                packer.pack(part, number == 3, &mut packed);
                assert_eq!(unpack(&packed), *part, "alone, too");
                stream.extend_from_slice(joined.add(&packed));
            }
            stream.extend_from_slice(&joined.end());
            assert_eq!(unpack(&stream), parts.concat(), "level {level}");
        }
    }

    #[test]
    fn noise_is_stored() {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let noise: Vec<u8> = (0..100_000).map(|_| next()).collect();
        let mut packed = Vec::new();
        OpenEnded::new(6).pack(&noise, false, &mut packed);
        assert_eq!(packed.len(), 20 + noise.len() + 10);
        assert_eq!(unpack(&packed), noise);
    }
}
