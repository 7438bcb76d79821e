//! Watching the bytes of a gzip stream that no decoder looks at.

use std::io::{self, BufRead, Read};

use crate::error::FormatError;
use crate::format::gzip::HEAD;

/// Passes the bytes of one stream on to a decoder, and notes where they are not as the writer makes
/// them though every decoder takes them: the head (time, compressor, system), and the bits beside
/// the heads of stored blocks. What a flipped bit can do unseen is then left to the bits that fill
/// the last byte of deflated data.
#[derive(Debug)]
pub(crate) struct Watched<'a, B> {
    input: &'a mut B,
    watcher: Watcher,
}

#[derive(Debug)]
struct Watcher {
    form: Form,
    odd: Option<FormatError>,
}

/// Where in the stream the next byte is.
#[derive(Debug)]
enum Form {
    /// In the head, so much of which was seen.
    Head { bytes: [u8; HEAD.len()], have: usize },
    /// In the head of a stored block: its first byte, and how many of the four after it.
    Block { last: bool, lengths: [u8; 4], have: usize },
    /// At the head of a block.
    Between,
    /// In a stored block.
    Stored { last: bool, left: u16 },
    /// In deflated data or behind the last block: a CRC covers what follows.
    Free,
}

impl<'a, B> Watched<'a, B> {
    /// Watches the stream that `input` stands before.
    pub(crate) fn new(input: &'a mut B) -> Self {
        Self { input, watcher: Watcher::new() }
    }

    /// Returns what was not as the writer makes it.
    pub(crate) fn into_odd(self) -> Option<FormatError> {
        self.watcher.odd
    }
}

/// Returns what in the stream that `stream` begins with is not as the writer makes it, though every
/// decoder takes it.
pub(super) fn odd_in(stream: &[u8]) -> Option<FormatError> {
    let mut watcher = Watcher::new();
    watcher.watch(stream);
    watcher.odd
}

/// Reads the stream that is all of `input` to say the same of it.
pub(crate) fn odd_of(input: &mut impl BufRead) -> io::Result<Option<FormatError>> {
    let mut watcher = Watcher::new();
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() || matches!(watcher.form, Form::Free) {
            return Ok(watcher.odd);
        }
        watcher.watch(bytes);
        let len = bytes.len();
        input.consume(len);
    }
}

impl Watcher {
    fn new() -> Self {
        Self { form: Form::Head { bytes: [0; HEAD.len()], have: 0 }, odd: None }
    }

    fn watch(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.form {
                Form::Free => return,
                Form::Stored { last, left } if *left > 0 => {
                    let len = bytes.len().min(usize::from(*left));
                    *left -= u16::try_from(len).unwrap_or(*left);
                    bytes = &bytes[len..];
                    if *left == 0 {
                        self.form = if *last { Form::Free } else { Form::Between };
                    }
                    continue;
                }
                Form::Stored { last, .. } => {
                    self.form = if *last { Form::Free } else { Form::Between };
                    continue;
                }
                Form::Head { bytes, have } => {
                    bytes[*have] = byte;
                    *have += 1;
                    if *have == bytes.len() {
                        let same = *bytes == HEAD;
                        if !same {
                            self.odd = Some(FormatError::invalid("gzip head", bytes));
                        }
                        self.form = if same { Form::Between } else { Form::Free };
                    }
                }
                // The two bits above the lowest are the type of the block.
                Form::Between if byte & 0b110 != 0 => self.form = Form::Free,
                Form::Between => {
                    if byte > 1 {
                        let error = FormatError::invalid("head of a stored block", &[byte]);
                        self.odd.get_or_insert(error);
                    }
                    self.form = Form::Block { last: byte & 1 != 0, lengths: [0; 4], have: 0 };
                }
                Form::Block { last, lengths, have } => {
                    lengths[*have] = byte;
                    *have += 1;
                    if *have == lengths.len() {
                        let left = u16::from_le_bytes([lengths[0], lengths[1]]);
                        self.form = Form::Stored { last: *last, left };
                    }
                }
            }
            bytes = rest;
        }
    }
}

impl<B: BufRead> BufRead for Watched<'_, B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is buffered is handed out again.
        if !matches!(self.watcher.form, Form::Free)
            && let Ok(bytes) = self.input.fill_buf()
        {
            self.watcher.watch(bytes.get(..amount).unwrap_or_default());
        }
        self.input.consume(amount);
    }
}

impl<B: BufRead> Read for Watched<'_, B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Packer, Unpacker};

    fn odd(mut packed: &[u8]) -> Option<FormatError> {
        let mut watched = Watched::new(&mut packed);
        let mut out = Vec::new();
        Unpacker::new().read_to_end(&mut watched, 1 << 20, &mut out).ok();
        watched.into_odd()
    }

    #[test]
    fn what_the_writer_makes_is_not_odd() {
        let long = b"text, and more text".repeat(9000);
        for (level, data) in [(0, &b""[..]), (0, b"text"), (0, &long), (6, b""), (6, &long)] {
            let mut packed = Vec::new();
            Packer::new(level).pack(data, &mut packed);
            assert_eq!(odd(&packed), None);
        }
    }

    #[test]
    fn every_bit_of_a_stored_stream_is_looked_at_by_somebody() {
        let data = vec![b'x'; 66_000];
        let mut packed = Vec::new();
        Packer::new(0).pack(&data, &mut packed);
        let heads = (0..15).chain(15 + 65_535..15 + 65_540).chain(packed.len() - 8..packed.len());
        for bit in heads.flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut rest = flipped.as_slice();
            let mut out = Vec::new();
            let read = Unpacker::new().read_to_end(&mut rest, 1 << 20, &mut out);
            assert!(read.is_err() || odd(&flipped).is_some(), "{bit}");
        }
    }
}
