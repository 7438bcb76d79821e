//! A member of a tar that is read from front to back.

use std::io::Read;

use super::{PIECE, TarReader};
use crate::content::{Content, Piece};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::member::{Assembled, MemberHeader};
use crate::format::sparse::Segment;
use crate::pack::{Details, entry_of};

/// A member that was met by [`TarReader::next`].
pub struct Scanned<'a, R> {
    reader: &'a mut TarReader<R>,
    found: Assembled,
    /// The segment at hand, and how much of it was handed out.
    segment: usize,
    within: u64,
    position: u64,
    failed: bool,
}

impl<'a, R: Read> Scanned<'a, R> {
    pub(super) fn new(reader: &'a mut TarReader<R>, found: Assembled) -> Self {
        Self { reader, found, segment: 0, within: 0, position: 0, failed: false }
    }

    /// Returns the headers; the name as it stands in the tar, without the slash at the end of a
    /// directory's.
    pub fn header(&self) -> &MemberHeader {
        &self.found.header
    }

    /// Returns an entry with what the headers say: no location, digest or packed size.
    pub fn entry(&self) -> Entry {
        entry_of(&self.found.header, Details::default())
    }

    /// Returns what was not right in the headers, though the member is good.
    pub fn warnings(&self) -> &[FormatError] {
        &self.found.warnings
    }

    /// Returns where the next byte of content belongs, and how many follow it.
    fn target(&mut self) -> Option<(u64, u64)> {
        let Some(map) = &self.found.header.sparse else {
            let left = self.found.header.kind.size().saturating_sub(self.position);
            return (left > 0).then_some((self.position, left));
        };
        loop {
            let Segment { offset, len } = *map.segments().get(self.segment)?;
            if self.within < len {
                return Some((offset + self.within, len - self.within));
            }
            self.segment += 1;
            self.within = 0;
        }
    }

    /// Reads up to `len` bytes of data into the buffer.
    fn read(&mut self, len: u64) -> Result<usize> {
        let reader = &mut *self.reader;
        let len = usize::try_from(len.min(reader.left)).unwrap_or(usize::MAX).min(PIECE);
        reader.buffer.resize(len, 0);
        let count = reader.input.read(&mut reader.buffer)?;
        if count == 0 {
            let have = self.found.stored.saturating_sub(reader.left);
            return Err(reader.input.cut("data of a member", self.found.stored, have));
        }
        reader.left -= count as u64;
        self.position += count as u64;
        self.within += count as u64;
        Ok(count)
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = true;
        self.reader.member_failed(error)
    }
}

impl<R: Read> Content for Scanned<'_, R> {
    fn size(&self) -> u64 {
        self.found.header.kind.size()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        if self.failed {
            let (path, kind) = (self.header().path.clone(), FormatError::Missing("content"));
            return Err(Error::CorruptMember { path, range: 0..0, kind });
        }
        let is_file = matches!(self.found.header.kind, Kind::File { .. });
        let Some((offset, len)) = self.target().filter(|_| is_file) else {
            // All of its bytes came, but their CRC may stand behind them.
            return match self.reader.leave_member() {
                Ok(()) => Ok(None),
                Err(error) => {
                    self.failed = true;
                    Err(error)
                }
            };
        };
        let read = self.read(len);
        let count = read.map_err(|error| self.fail(error))?;
        Ok(Some(Piece { offset, bytes: &self.reader.buffer[..count] }))
    }
}
