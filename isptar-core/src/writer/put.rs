//! What takes members, whatever its sink.

use std::io::Read;
use std::ops::Range;

use super::ArchiveWriter;
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::member::MemberHeader;
use crate::io::{ReadAt, Sink};
use crate::pack::Details;

/// Takes members, packed or not: an archive that is being written, whatever its sink.
pub(crate) trait Put {
    /// See [`ArchiveWriter::put_stream`].
    fn put_stream(&mut self, stream: &[u8]) -> Result<u64>;
    /// See [`ArchiveWriter::put_copy`].
    fn put_copy(&mut self, source: &dyn ReadAt, range: Range<u64>) -> Result<u64>;
    /// See [`ArchiveWriter::put_entry`].
    fn put_entry(&mut self, entry: &Entry) -> Result<()>;
    /// See [`ArchiveWriter::push`].
    fn push(&mut self, entry: Entry, stream: &[u8]) -> Result<Entry>;
    /// See [`ArchiveWriter::append`].
    fn append(
        &mut self,
        header: &MemberHeader,
        details: Details,
        content: &mut dyn Read,
    ) -> Result<Entry>;
}

impl<S: Sink> Put for ArchiveWriter<S> {
    fn put_stream(&mut self, stream: &[u8]) -> Result<u64> {
        Self::put_stream(self, stream)
    }

    fn put_copy(&mut self, source: &dyn ReadAt, range: Range<u64>) -> Result<u64> {
        Self::put_copy(self, source, range)
    }

    fn put_entry(&mut self, entry: &Entry) -> Result<()> {
        Self::put_entry(self, entry)
    }

    fn push(&mut self, entry: Entry, stream: &[u8]) -> Result<Entry> {
        Self::push(self, entry, stream)
    }

    fn append(
        &mut self,
        header: &MemberHeader,
        details: Details,
        content: &mut dyn Read,
    ) -> Result<Entry> {
        Self::append(self, header, details, content)
    }
}
