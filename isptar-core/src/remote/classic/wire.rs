//! Lengths, lines and pieces.

use std::io::{self, BufReader, BufWriter, Read, Write};

use crate::error::FormatError;
use crate::remote::error::{RemoteError, WRITE};

/// Most bytes of a line or piece: its length is a signed number of 16 bits.
pub(super) const LONGEST: usize = 0x7fff;

/// Bytes of a piece as the original sends them.
pub(super) const PIECE: usize = 4096;

/// What the other side sends.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    reader: BufReader<R>,
    position: u64,
    start: u64,
}

impl<R: Read> Incoming<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), position: 0, start: 0 }
    }

    /// Reads a number that is not negative.
    pub(super) fn number(&mut self, what: &'static str) -> Result<usize, RemoteError> {
        self.start = self.position;
        let mut bytes = [0; 2];
        self.fill(&mut bytes, what)?;
        let number = i16::from_le_bytes(bytes);
        usize::try_from(number)
            .map_err(|_| self.corrupt(FormatError::invalid(what, number.to_string().as_bytes())))
    }

    /// Fills `buffer`, a part of `what`.
    pub(super) fn fill(
        &mut self,
        buffer: &mut [u8],
        what: &'static str,
    ) -> Result<(), RemoteError> {
        let mut rest = buffer;
        while !rest.is_empty() {
            match self.reader.read(rest) {
                Ok(0) => return Err(RemoteError::Cut { position: self.position, what }),
                Ok(count) => {
                    self.position += count as u64;
                    rest = rest.split_at_mut(count).1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RemoteError::Wire { op: "read from", source }),
            }
        }
        Ok(())
    }

    /// Says that what was read last is wrong.
    pub(super) fn corrupt(&self, kind: FormatError) -> RemoteError {
        RemoteError::Corrupt { position: self.start, kind }
    }
}

/// What this side sends.
#[derive(Debug)]
pub(super) struct Outgoing<W: Write> {
    writer: BufWriter<W>,
}

impl<W: Write> Outgoing<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer: BufWriter::with_capacity(64 << 10, writer) }
    }

    /// Sends bytes with their length before them; there are at most [`LONGEST`].
    pub(super) fn sized(&mut self, bytes: &[u8]) -> Result<(), RemoteError> {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.bytes(&len.to_le_bytes())?;
        self.bytes(bytes)
    }

    /// Sends a number alone.
    pub(super) fn number(&mut self, number: u16) -> Result<(), RemoteError> {
        self.bytes(&number.to_le_bytes())
    }

    pub(super) fn flush(&mut self) -> Result<(), RemoteError> {
        self.writer.flush().map_err(|source| RemoteError::Wire { op: WRITE, source })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), RemoteError> {
        self.writer.write_all(bytes).map_err(|source| RemoteError::Wire { op: WRITE, source })
    }
}
