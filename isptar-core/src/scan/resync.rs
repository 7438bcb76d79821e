//! Finding the next good stream behind a broken one.

use std::io::{BufRead, Read};

use super::input::Input;
use crate::codec::Unpacker;
use crate::error::{Error, Result};
use crate::format::header::Header;
use crate::format::{BLOCK, gzip};

/// Packed bytes in which a stream must give its first block to be taken for one.
const TRY: usize = 4 << 10;

/// Bytes of a broken stream's content that are looked through for what is stored in it.
const CONTENT: usize = 256 << 10;

/// Packed bytes by which a stream inside another is known.
const SAMPLE: usize = 32;

/// Work done twice that is always allowed; beyond, as much as there is input.
const ALLOWANCE: u64 = 16 << 20;

/// What a stream begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Header,
    Zeros,
    Other,
}

impl<R: Read> Input<R> {
    /// Goes to the next stream whose content begins with a tar header, or to the end of the input.
    ///
    /// A decoder that was led astray may have run past the beginning of the next stream, so the
    /// search begins right behind the head of the broken one, as far as its bytes are still held.
    /// Streams that are stored in the broken one as content of a file are not taken.
    ///
    /// # Errors
    ///
    /// [`Error::Input`].
    pub(super) fn resync(&mut self) -> Result<()> {
        self.forget();
        let failed_at = self.raw.position();
        let content = self.go_back();
        let mut zeros = false;
        while self.find_head()? {
            let offset = self.raw.position();
            let window = self.raw.ahead(TRY).map_err(|source| Error::input(offset, source))?;
            let (start, probed) = probe(window);
            self.probed += probed as u64;
            let sample = window.get(..SAMPLE).unwrap_or(window).to_vec();
            zeros |= start == Start::Zeros;
            if start == Start::Header && !(offset < failed_at && self.holds(&content, &sample)) {
                self.stream = offset;
                self.is_broken = false;
                self.is_cut = false;
                self.unpacker = Some(Unpacker::new());
                return Ok(());
            }
            self.raw.consume(1);
        }
        self.ends_with_zeros = zeros;
        Ok(())
    }

    /// Goes back to behind the head of the broken stream. Returns its content.
    fn go_back(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        let Some(packed) = self.raw.since(self.stream).filter(|held| !held.is_empty()) else {
            return content;
        };
        if self.spent > ALLOWANCE.saturating_add(self.raw.position()) {
            return content;
        }
        let len = packed.len() as u64;
        let mut rest = packed;
        let mut unpacker = Unpacker::new();
        content.resize(CONTENT, 0);
        let mut have = 0;
        while let Ok(count @ 1..) = unpacker.read(&mut rest, &mut content[have..]) {
            have += count;
        }
        content.truncate(have);
        self.spent += len + have as u64;
        self.raw.go_back(self.stream + 1);
        content
    }

    /// Returns whether a broken stream's content has these bytes, or this cannot be found out.
    fn holds(&mut self, content: &[u8], sample: &[u8]) -> bool {
        if self.spent > ALLOWANCE.saturating_add(self.raw.position()) {
            return true;
        }
        self.spent += content.len() as u64;
        content.windows(sample.len().max(1)).any(|window| window == sample)
    }

    /// Goes to the next bytes that look like the head of a stream.
    fn find_head(&mut self) -> Result<bool> {
        loop {
            let offset = self.raw.position();
            let window = self.raw.ahead(TRY).map_err(|source| Error::input(offset, source))?;
            let heads = window.windows(gzip::HEAD.len());
            let found = heads.map(<[u8]>::first_chunk).position(|head| {
                head.is_some_and(|head| head[0] == 0x1f && gzip::Head::parse(head).is_ok())
            });
            if let Some(at) = found {
                self.raw.consume(at);
                return Ok(true);
            }
            let is_last = window.len() < TRY;
            let len = window.len();
            self.raw.consume(if is_last { len } else { len + 1 - gzip::HEAD.len() });
            if is_last {
                return Ok(false);
            }
        }
    }
}

/// Looks what a stream begins with, and at how many bytes that was seen.
fn probe(window: &[u8]) -> (Start, usize) {
    let window = window.get(..TRY).unwrap_or(window);
    let mut rest = window;
    let mut unpacker = Unpacker::new();
    let mut block = [0; BLOCK];
    let mut have = 0;
    while have < BLOCK {
        match unpacker.read(&mut rest, &mut block[have..]) {
            Ok(count @ 1..) => have += count,
            _ => return (Start::Other, window.len() - rest.len()),
        }
    }
    let start = match Header::parse(&block) {
        Ok(Some(_)) => Start::Header,
        Ok(None) => Start::Zeros,
        Err(_) => Start::Other,
    };
    (start, window.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Packer;
    use crate::format::entry::Kind;
    use crate::format::member::MemberHeader;
    use crate::limits::Limits;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Packer::new(6).pack(bytes, &mut out);
        out
    }

    fn stored(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        gzip::push_stored(bytes, crc32fast::hash(bytes), &mut out);
        out
    }

    fn tar_header() -> Vec<u8> {
        let mut block = Vec::new();
        let header = MemberHeader::new("a", Kind::File { size: 0 });
        header.encode(&Limits::default(), &mut block).unwrap();
        block
    }

    /// Breaks at the beginning of each stream that is found, as often as one is; returns how often,
    /// the bytes that heads were probed with, and the bytes that were worked on again.
    fn broken_again_and_again(bytes: &[u8]) -> (u64, u64, u64) {
        let mut input = Input::new(bytes).unwrap();
        let mut found = 0;
        loop {
            input.is_broken = true;
            // As a decoder that fails late.
            let mut piece = [0; 4 << 10];
            let _read = input.raw.read(&mut piece).unwrap();
            input.resync().unwrap();
            if input.is_broken {
                return (found, input.probed, input.spent);
            }
            found += 1;
        }
    }

    #[test]
    fn work_on_heads_that_lead_nowhere_is_linear() {
        for unit in [
            gzip::HEAD.to_vec(),
            [&gzip::HEAD[..], &[0xff; 10]].concat(),
            // A stored block of another length than it says.
            [&gzip::HEAD[..], &[0, 200, 0, 55, 255]].concat(),
            packed(b""),
            stored(b"short"),
            packed(&[7; 600]),
        ] {
            let bytes = unit.repeat((1 << 20) / unit.len());
            let (found, probed, spent) = broken_again_and_again(&bytes);
            assert_eq!(found, 0);
            let len = bytes.len() as u64;
            assert!(probed <= 64 * len, "{probed} of {len}, {unit:?}");
            assert!(spent <= 2 * len, "{spent} of {len}, {unit:?}");
        }
    }

    #[test]
    fn work_on_streams_that_break_one_after_the_other_has_a_bound() {
        let one = packed(&tar_header());
        let bytes = one.repeat(5000);
        let (found, probed, spent) = broken_again_and_again(&bytes);
        assert!(found > 10, "{found}");
        let len = bytes.len() as u64;
        let one_more = (CONTENT + 2 * TRY) as u64;
        // Going back reads again what one piece of 4 KiB took, at each stream.
        assert!(probed <= ALLOWANCE + 64 * len, "{probed} of {len}");
        assert!(spent <= ALLOWANCE + len + one_more, "{spent} of {len}");
    }

    #[test]
    fn streams_stored_in_the_broken_one_are_not_taken_and_cost_a_bounded_search() {
        let inner = packed(&tar_header()).repeat(3000);
        let mut bytes = stored(&inner);
        bytes.extend_from_slice(&packed(&tar_header()));
        let at = bytes.len();
        let mut input = Input::new(bytes.as_slice()).unwrap();
        input.is_broken = true;
        let mut piece = vec![0; inner.len()];
        input.raw.read_exact(&mut piece).unwrap();
        input.resync().unwrap();
        assert!(!input.is_broken);
        assert_eq!(input.stream, (at - packed(&tar_header()).len()) as u64);
        assert!(input.spent <= ALLOWANCE + 2 * at as u64 + CONTENT as u64, "{}", input.spent);
    }
}
