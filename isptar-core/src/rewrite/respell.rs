//! Members whose headers change: their data is copied as it is packed, where it has streams of its
//! own.

use super::copier::header_of;
use crate::archive::Archive;
use crate::content::{Content as _, ContentReader};
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::member::MemberHeader;
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::pack::{Details, MemberPacker};
use crate::writer::Put;

/// Writes members under other headers.
pub(super) struct Respeller {
    packer: MemberPacker,
    stream: Vec<u8>,
    data: Vec<u8>,
}

impl Respeller {
    pub(super) fn new(level: u8) -> Self {
        let packer = MemberPacker::new(level, Limits::default());
        Self { packer, stream: Vec::new(), data: Vec::new() }
    }

    /// Appends a member that has no data, with the headers that its entry says.
    pub(super) fn bare(&mut self, writer: &mut dyn Put, entry: Entry) -> Result<Entry> {
        self.whole(writer, &header_of(&entry), entry, 0)
    }

    /// Appends the member of `from` in `archive`, or in a base of it, as that of `entry`.
    pub(super) fn with_data<R: ReadAt>(
        &mut self,
        writer: &mut dyn Put,
        archive: &Archive<R>,
        from: &Entry,
        entry: Entry,
    ) -> Result<Entry> {
        let mut member = archive.member(from)?;
        if from.data {
            // Content of any size, without a header, in a classic base.
            let details = Details {
                ctime: entry.ctime,
                ino: entry.ino,
                sparse: entry.sparse,
                dirty: entry.dirty,
                partial: entry.partial,
            };
            return writer.append(&header_of(&entry), details, &mut ContentReader::new(member));
        }
        let (xattrs, sparse) = (member.header().xattrs.clone(), member.header().sparse.clone());
        let header = MemberHeader { xattrs, sparse, ..header_of(&entry) };
        if entry.chunks.is_some() {
            return self.chunked(writer, archive, &header, entry);
        }
        self.data.clear();
        while let Some(piece) = member.next_piece()? {
            self.data.extend_from_slice(piece.bytes);
        }
        self.whole(writer, &header, entry, self.data.len())
    }

    /// Appends a member with the first `len` bytes of the data at hand.
    fn whole(
        &mut self,
        writer: &mut dyn Put,
        header: &MemberHeader,
        entry: Entry,
        len: usize,
    ) -> Result<Entry> {
        self.stream.clear();
        let data = self.data.get(..len).unwrap_or_default();
        let packed = self.packer.pack_whole(header, Details::default(), data, &mut self.stream);
        let packed = packed.map_err(|kind| Error::Unstorable { path: entry.path.clone(), kind })?;
        let (packed, digest) = (packed.packed, packed.digest);
        writer.push(Entry { packed, digest, ..entry }, &self.stream)
    }

    /// Appends a member of several streams: that of the headers is made anew.
    fn chunked<R: ReadAt>(
        &mut self,
        writer: &mut dyn Put,
        archive: &Archive<R>,
        header: &MemberHeader,
        mut entry: Entry,
    ) -> Result<Entry> {
        let unstorable = |kind| Error::Unstorable { path: header.path.clone(), kind };
        self.stream.clear();
        self.packer.pack_headers(header, &mut self.stream).map_err(unstorable)?;
        let range = entry.claimed_range();
        let depth = entry.location.map_or(0, |location| location.depth);
        let offset = writer.put_stream(&self.stream)?;
        if let (Some(chunks), Some(location)) = (&mut entry.chunks, &mut entry.location) {
            let first = chunks.packed.first().copied().unwrap_or(0);
            let data = range.start.saturating_add(first)..range.end;
            writer.put_copy(archive.at_depth(depth)?.source(), data)?;
            if let Some(first) = chunks.packed.first_mut() {
                *first = self.stream.len() as u64;
            }
            entry.packed = Some(chunks.packed.iter().sum());
            (location.depth, location.offset) = (0, offset);
        }
        writer.put_entry(&entry)?;
        Ok(entry)
    }
}
