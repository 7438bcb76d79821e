//! Reading any tar from front to back, listing or not.

use std::io::Read;

use crate::content::{Content, Piece};
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::member::MemberHeader;
use crate::limits::Limits;

/// Reads a tar, or a gzip-compressed one of any number of streams, from front to back.
pub struct TarReader<R> {
    input: R,
}

impl<R: Read> TarReader<R> {
    /// Reads `input`, which is decompressed when it begins with the magic of gzip.
    pub fn new(_input: R, _limits: Limits) -> Result<Self> {
        todo!()
    }

    /// Returns the next member, or `None` at the end of the tar. What was left of the content of
    /// the one before is skipped.
    pub fn next(&mut self) -> Result<Option<Scanned<'_, R>>> {
        todo!()
    }
}

/// A member that was met.
pub struct Scanned<'a, R> {
    reader: &'a mut TarReader<R>,
}

impl<R: Read> Scanned<'_, R> {
    /// Returns the headers; the name as it stands in the tar.
    pub fn header(&self) -> &MemberHeader {
        todo!()
    }

    /// Returns an entry with what the headers say; it has no location, digest or packed size.
    pub fn entry(&self) -> Entry {
        todo!()
    }

    /// Takes what was not right in the headers though the member is good.
    pub fn warnings(&self) -> &[crate::error::FormatError] {
        todo!()
    }
}

impl<R: Read> Content for Scanned<'_, R> {
    fn size(&self) -> u64 {
        todo!()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        todo!()
    }
}
