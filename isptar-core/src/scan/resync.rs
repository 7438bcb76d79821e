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
            let window = self.raw.ahead(TRY).map_err(|source| Error::Input { offset, source })?;
            let start = probe(window);
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
            let window = self.raw.ahead(TRY).map_err(|source| Error::Input { offset, source })?;
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

/// Looks what a stream begins with.
fn probe(window: &[u8]) -> Start {
    let mut rest = window.get(..TRY).unwrap_or(window);
    let mut unpacker = Unpacker::new();
    let mut block = [0; BLOCK];
    let mut have = 0;
    while have < BLOCK {
        match unpacker.read(&mut rest, &mut block[have..]) {
            Ok(count @ 1..) => have += count,
            _ => return Start::Other,
        }
    }
    match Header::parse(&block) {
        Ok(Some(_)) => Start::Header,
        Ok(None) => Start::Zeros,
        Err(_) => Start::Other,
    }
}
