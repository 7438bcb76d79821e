//! Opening an archive by its listing: entries, finding, contents.

use crate::content::{Content, Piece};
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::info::ArchiveInfo;
use crate::format::member::MemberHeader;
use crate::format::tables::Tables;
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::path::MemberPath;

/// An archive with a listing: ours, or a classic one.
#[derive(Debug)]
pub struct Archive<R> {
    reader: R,
}

impl<R: ReadAt> Archive<R> {
    /// Opens an archive: one read at its end, when trailer, archive info and tables are there.
    pub fn open(_reader: R) -> Result<Self> {
        todo!()
    }

    /// Opens an archive with other limits.
    pub fn open_with(_reader: R, _limits: Limits) -> Result<Self> {
        todo!()
    }

    /// Returns the archive info.
    pub fn info(&self) -> &ArchiveInfo {
        todo!()
    }

    /// Returns the tables; an archive without any has one block.
    pub fn tables(&self) -> &Tables {
        todo!()
    }

    /// Returns the length of the archive in bytes.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// Returns whether the original program made it.
    pub fn is_classic(&self) -> bool {
        todo!()
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> &Limits {
        todo!()
    }

    /// Iterates over all entries, in archive order.
    pub fn entries(&self) -> Entries<'_, R> {
        todo!()
    }

    /// Iterates over the entry `path` and all entries below it; reads only the blocks they are in
    /// when the archive is sorted.
    pub fn entries_within(&self, _path: &MemberPath) -> Entries<'_, R> {
        todo!()
    }

    /// Returns the entry named `path`, if the listing has one; the last one of several.
    pub fn find(&self, _path: &MemberPath) -> Result<Option<Entry>> {
        todo!()
    }

    /// Opens the member of an entry: reads and checks its headers. The content of a file follows;
    /// other kinds have none. A hard link has none of its own either.
    pub fn member(&self, _entry: &Entry) -> Result<Member<'_, R>> {
        todo!()
    }

    /// Like [`Self::member`], reusing what `previous` (of the archive's last member) has read
    /// ahead.
    pub fn next_member<'a>(
        &'a self,
        _previous: Member<'a, R>,
        _entry: &Entry,
    ) -> Result<Member<'a, R>> {
        todo!()
    }

    /// Writes bytes `start..end` of a file's content to `out`, reading only the chunks they are in.
    pub fn copy_range(
        &self,
        _entry: &Entry,
        _start: u64,
        _end: u64,
        _out: &mut dyn std::io::Write,
    ) -> Result<()> {
        todo!()
    }
}

/// Iterates over entries, block by block.
#[derive(Debug)]
pub struct Entries<'a, R> {
    archive: &'a Archive<R>,
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// The member of an entry: its headers, and its content.
#[derive(Debug)]
pub struct Member<'a, R> {
    archive: &'a Archive<R>,
}

impl<R: ReadAt> Member<'_, R> {
    /// Returns the headers. Members of classic archives have none that belong to them alone: what
    /// the entry says stands here.
    pub fn header(&self) -> &MemberHeader {
        todo!()
    }
}

impl<R: ReadAt> Content for Member<'_, R> {
    fn size(&self) -> u64 {
        todo!()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        todo!()
    }
}
