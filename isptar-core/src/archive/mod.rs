//! Opening an archive by its listing: entries, finding, contents.
//!
//! Opening reads the last 64 KiB: trailer, archive info, tables. [`Archive::map_blocks`] picks
//! listing blocks by their first names; threads read one each, unpack it, parse its lines to
//! entries that borrow from the text (`EntryRef`), and make of them what they are asked for. The
//! results come in order: there the order of names and the digest of the whole text are checked
//! across blocks. [`Archive::find`] halves the lines of one block by their names, and reads all of
//! them only where that finds nothing.
//!
//! A chain: every reader asks `at_depth` for the archive that a member is in, which opens a base
//! when the first member needs it. Streams, how much is decoded again, and how far a run has come
//! are kept for each depth, because members of a chain alternate between archives.

mod agree;
mod bases;
mod blocks;
mod chunks;
mod classic;
mod entries;
mod front;
mod isolate;
mod lines;
mod member;
mod open;
mod pass;
mod rereads;
mod stream;
mod streams;
mod watched;

use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::content::Content;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry, Kind};
use crate::format::info::ArchiveInfo;
use crate::format::tables::Tables;
use crate::io::{ReadAt, SliceSet};
use crate::limits::Limits;
use crate::path::MemberPath;
use lines::{Lines, Next};
use member::Reading;

pub(crate) use agree::{check_agreement, check_map, check_padding};
use bases::Bases;
pub use bases::FindBase;
pub(crate) use chunks::{Chunk, ChunkReader, DigestCheck};
pub use entries::Entries;
pub(crate) use front::Front;
pub use member::Member;
pub(crate) use open::{Tailed, place};
pub use pass::BlockEntries;
pub(crate) use rereads::Rereads;
pub(crate) use streams::stream_limit;
pub(crate) use watched::{Watched, odd_of};

/// An archive with a listing: ours, or a classic one.
///
/// It is read through a shared [`ReadAt`], so any number of threads may use one `Archive`.
#[derive(Debug)]
pub struct Archive<R> {
    source: Tailed<R>,
    limits: Limits,
    info: ArchiveInfo,
    tables: Tables,
    bases: Bases<R>,
    dialect: Dialect,
    /// It is the listing of an archive alone: offsets mean that archive.
    is_listing: bool,
    /// Where the listing begins, and each of its blocks.
    listing: u64,
    block_offsets: Vec<u64>,
    /// Where the streams of members end: the header of `.backup.info`, or the listing of a classic
    /// archive, whose headers stand in the streams before.
    data_end: u64,
    /// The text of the block that was searched last, with its number.
    block: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
    /// The numbers of the entries that are given out, from 0; all when absent.
    only: Option<Range<u64>>,
}

impl<R: ReadAt> Archive<R> {
    /// Opens an archive: one read of 64 KiB at its end, and another only when archive info and
    /// tables are larger than that.
    ///
    /// # Errors
    ///
    /// [`Error::NotIsptar`] when there is no size trailer, [`Error::Unsupported`] when the archive
    /// is newer, [`Error::Corrupt`] otherwise.
    pub fn open(reader: R) -> Result<Self> {
        Self::open_with(reader, Limits::default())
    }

    /// Opens an archive with other limits.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with(reader: R, limits: Limits) -> Result<Self> {
        open::open(reader, limits)
    }

    /// Returns the archive info.
    pub fn info(&self) -> &ArchiveInfo {
        &self.info
    }

    /// Returns the tables; those of an archive without any have one block, whose first name is
    /// empty.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Returns the length of the archive in bytes.
    pub fn size(&self) -> u64 {
        self.source.len()
    }

    /// Returns the slices that the archive lies in, when it was opened from a [`SliceSet`].
    pub fn slices(&self) -> Option<&SliceSet> {
        self.source.slices()
    }

    /// Returns whether the original program made the archive.
    pub fn is_classic(&self) -> bool {
        self.dialect == Dialect::Classic
    }

    /// Returns whether this is the listing of an archive alone, without the members' bytes.
    pub fn is_listing(&self) -> bool {
        self.is_listing
    }

    /// Returns the source that the archive was opened from.
    pub fn into_source(self) -> R {
        self.source.into_inner()
    }

    /// Gives out only the entries with these numbers, from 0, from now on: a part of a merged
    /// archive.
    pub(crate) fn give_out(&mut self, only: Range<u64>) {
        self.only = Some(only);
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Iterates over all entries, in archive order.
    pub fn entries(&self) -> Entries<'_, R> {
        Entries::new(self, 0, self.tables.blocks.len(), None)
    }

    /// Iterates over the entries of one listing block, whatever the others are like.
    pub(crate) fn entries_of_block(&self, number: usize) -> Entries<'_, R> {
        Entries::new(self, number, number + 1, None)
    }

    /// Returns where the listing begins.
    pub(crate) fn listing_start(&self) -> u64 {
        self.listing
    }

    /// Returns the bytes of the archive.
    pub(crate) fn source(&self) -> &Tailed<R> {
        &self.source
    }

    /// Returns where the streams of members end: where the header of `.backup.info` begins, or the
    /// listing of a classic archive.
    pub(crate) fn data_end(&self) -> u64 {
        self.data_end
    }

    /// Iterates over the entry `path` and all entries below it. In a sorted archive only the
    /// listing blocks that they are in are read.
    pub fn entries_within(&self, path: &MemberPath) -> Entries<'_, R> {
        let Range { start, end } = self.blocks_of(path);
        Entries::new(self, start, end, Some(path.clone()))
    }

    /// Returns the number of the block that the entry `path` would be in.
    fn block_of(&self, path: &MemberPath) -> usize {
        self.tables.blocks.partition_point(|block| block.first <= *path).saturating_sub(1)
    }

    /// Returns the number of the first block that begins after the subtree of `path`.
    fn block_after(&self, path: &MemberPath) -> usize {
        let blocks = &self.tables.blocks;
        blocks.partition_point(|block| block.first <= *path || block.first.is_within(path)).max(1)
    }

    /// Returns the text of the listing, as it stands in the archive.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Input`].
    pub fn listing_text(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        for number in 0..self.tables.blocks.len() {
            text.extend_from_slice(&self.block_text(number)?);
        }
        Ok(text)
    }

    /// Returns the entry named `path`, if the listing has one; the last one of several.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Input`].
    pub fn find(&self, path: &MemberPath) -> Result<Option<Entry>> {
        if !self.info.sorted {
            let mut found = None;
            let mut entries = self.entries();
            while let Some(entry) = entries.next_ref() {
                match entry {
                    Ok(entry) if entry.path == *path => found = Some(entry.into_owned()),
                    Ok(_) | Err(Error::CorruptLine { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(found);
        }
        let block = self.block_of(path);
        let text = self.block_text(block)?;
        let line = self.line_of(block, &text, path);
        let entry = line.map(|line| Entry::parse(line, self.dialect, &self.limits));
        if let Some(Ok(entry)) = entry {
            return Ok(Some(entry));
        }
        // That it is not there is certain only when all lines of the block are good.
        let mut lines = Lines::default();
        lines.begin(self, block);
        while lines.seek(self, &text, Some(path))? == Next::Line {
            let entry = lines.take(self, &text)?;
            if entry.path == *path {
                return Ok(Some(entry.into_owned()));
            }
        }
        Ok(None)
    }

    /// Returns the entry whose member has the content of `entry`: that of the first name of a hard
    /// link, `entry` itself of a file.
    ///
    /// # Errors
    ///
    /// [`Error::NotAFile`] when it has no content, [`Error::CorruptMember`] when the first name of
    /// a hard link is not a file.
    pub fn content_entry(&self, entry: &Entry) -> Result<Entry> {
        let target = match &entry.kind {
            Kind::File { .. } => return Ok(entry.clone()),
            Kind::HardLink { target } => target,
            kind => {
                return Err(Error::NotAFile { path: entry.path.clone(), kind: kind.noun() });
            }
        };
        match self.find(target)? {
            Some(found) if matches!(found.kind, Kind::File { .. }) => Ok(found),
            Some(found) if !matches!(found.kind, Kind::Directory | Kind::HardLink { .. }) => {
                Err(Error::NotAFile { path: entry.path.clone(), kind: found.kind.noun() })
            }
            _ => {
                let kind = FormatError::mismatch("target of a hard link", "a file", target);
                Err(Error::CorruptMember {
                    path: entry.path.clone(),
                    range: entry.claimed_range(),
                    kind,
                })
            }
        }
    }

    /// Opens the member of an entry: reads its headers and checks that they agree with the entry.
    /// The content of a file follows; other kinds have none, hard links neither.
    ///
    /// # Errors
    ///
    /// [`Error::CorruptMember`], [`Error::Lost`], [`Error::NoBase`] or [`Error::Input`];
    /// [`Error::InBase`] around one that concerns a base.
    pub fn member(&self, entry: &Entry) -> Result<Member<'_, R>> {
        Member::open(self, entry, None, Reading::default())
    }

    /// Like [`Self::member`] in a run over many members in archive order: takes over the buffers of
    /// `previous` and what it has read ahead, and reads ahead itself when the member follows right
    /// after `previous`.
    ///
    /// # Errors
    ///
    /// As [`Self::member`].
    pub fn next_member<'a>(
        &'a self,
        previous: Option<Member<'a, R>>,
        entry: &Entry,
    ) -> Result<Member<'a, R>> {
        Member::open(self, entry, previous, Reading::default())
    }

    /// Begins a run over members.
    pub(crate) fn rereads(&self) -> Arc<Rereads> {
        Arc::new(Rereads::new(self.depths()))
    }

    /// Like [`Self::next_member`], in a run that refuses to decode too much again.
    pub(crate) fn next_member_of<'a>(
        &'a self,
        run: &Arc<Rereads>,
        previous: Option<Member<'a, R>>,
        entry: &Entry,
    ) -> Result<Member<'a, R>> {
        Member::open(self, entry, previous, Reading { run: Some(run), ..Reading::default() })
    }

    /// Like [`Self::next_member_of`], for members of which it is known that their streams in this
    /// archive are wanted up to `end`: so far is read ahead. To be verified: streams that gzip would not take are
    /// refused even when the right bytes come out of them.
    pub(crate) fn member_of_batch<'a>(
        &'a self,
        run: &Arc<Rereads>,
        previous: Option<Member<'a, R>>,
        entry: &Entry,
        end: u64,
    ) -> Result<Member<'a, R>> {
        Member::open(
            self,
            entry,
            previous,
            Reading { run: Some(run), ahead: Some(end), strict: true },
        )
    }

    /// Writes bytes `start..end` of a file's content to `out`; an `end` beyond the content is
    /// taken for its end. Only the chunks that these bytes are in are read, and of each the CRC is
    /// checked; the digest is, when all bytes are asked for.
    ///
    /// # Errors
    ///
    /// As [`Self::member`]; [`Error::NotAFile`]; [`Error::Deliver`] when `out` fails.
    pub fn copy_range(
        &self,
        entry: &Entry,
        start: u64,
        end: u64,
        out: &mut dyn Write,
    ) -> Result<()> {
        let entry = self.content_entry(entry)?;
        let end = end.min(entry.kind.size());
        if start >= end && entry.kind.size() > 0 {
            return Ok(());
        }
        let mut member = self.member(&entry)?;
        member.skip_to(start);
        let deliver = |source| Error::Deliver { path: entry.path.clone(), source };
        let mut position = start;
        loop {
            let complete = position >= end && end < entry.kind.size();
            let piece = if complete { None } else { member.next_piece()? };
            let hole_end = piece.as_ref().map_or(end, |piece| piece.offset.min(end));
            write_zeros(hole_end.saturating_sub(position), out).map_err(deliver)?;
            position = position.max(hole_end);
            let Some(piece) = piece else { return Ok(()) };
            let before = usize::try_from(position.saturating_sub(piece.offset)).unwrap_or(0);
            let bytes = piece.bytes.get(before..).unwrap_or_default();
            let len = usize::try_from(end - position).unwrap_or(usize::MAX).min(bytes.len());
            out.write_all(&bytes[..len]).map_err(deliver)?;
            position += len as u64;
        }
    }
}

/// Writes `count` zero bytes.
fn write_zeros(count: u64, out: &mut dyn Write) -> std::io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = count;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        out.write_all(&ZEROS[..len])?;
        left -= len as u64;
    }
    Ok(())
}
