//! The content of a file, handed out in pieces with their offsets so that holes stay holes.

use std::io::{self, Read};

use crate::error::{Error, Result};

/// A part of a file's content that is not a hole.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Where it belongs in the file.
    pub offset: u64,
    /// Its bytes, never empty.
    pub bytes: &'a [u8],
}

/// Hands out the content of one member.
pub trait Content {
    /// Returns the size of the whole content, holes included.
    fn size(&self) -> u64;

    /// Returns the next piece in the order of offsets; what lies between pieces, and between the
    /// last one and [`Self::size`], is holes. `None` is the end: all checks have passed by then,
    /// and only then.
    ///
    /// # Errors
    ///
    /// [`Error::CorruptMember`] as soon as a check fails.
    fn next_piece(&mut self) -> Result<Option<Piece<'_>>>;
}

/// Reads content with its holes filled with zeros.
#[derive(Debug)]
pub struct ContentReader<C> {
    content: C,
    /// Where the reader is in the content.
    position: u64,
    /// The piece that is being handed out: its offset and bytes, and how many were handed out.
    piece: Vec<u8>,
    piece_offset: u64,
    ended: bool,
}

impl<C: Content> ContentReader<C> {
    /// Makes a reader of content that nothing was taken of.
    pub fn new(content: C) -> Self {
        Self { content, position: 0, piece: Vec::new(), piece_offset: 0, ended: false }
    }

    /// Returns the content.
    pub fn get_ref(&self) -> &C {
        &self.content
    }

    fn fill(&mut self) -> Result<()> {
        let piece_end = self.piece_offset + self.piece.len() as u64;
        if self.ended || self.position < piece_end {
            return Ok(());
        }
        self.piece.clear();
        match self.content.next_piece()? {
            Some(piece) => {
                self.piece_offset = piece.offset;
                self.piece.extend_from_slice(piece.bytes);
            }
            None => {
                self.ended = true;
                self.piece_offset = self.content.size();
            }
        }
        Ok(())
    }
}

impl<C: Content> Read for ContentReader<C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fill().map_err(into_io)?;
        if self.position < self.piece_offset {
            let hole = usize::try_from(self.piece_offset - self.position).unwrap_or(usize::MAX);
            let count = buf.len().min(hole);
            buf[..count].fill(0);
            self.position += count as u64;
            return Ok(count);
        }
        let start = usize::try_from(self.position - self.piece_offset).unwrap_or(usize::MAX);
        let rest = self.piece.get(start..).unwrap_or_default();
        let count = buf.len().min(rest.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

/// Carries an error of ours through [`Read`].
pub(crate) fn into_io(error: Error) -> io::Error {
    io::Error::other(error)
}
