//! The same archive cut otherwise: streams and listing are copied byte for byte.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::level_at;
use crate::archive::Archive;
use crate::codec::Unpacker;
use crate::error::{Error, FormatError, Result};
use crate::format::header::Header;
use crate::format::info::ArchiveInfo;
use crate::format::tables::Tables;
use crate::format::{BLOCK, HEADER_STREAM};
use crate::io::{RangeReader, ReadAt, Sink};
use crate::observe::{Event, Observer};
use crate::writer::{Ending, Output, Written, block_packer};

/// Bytes that are copied at once.
const STEP: usize = 1 << 20;

/// Writes the archive to `sink` in slices as long as that asks for, or in one piece. It has the same
/// listing and identity; tables, archive info and size trailer are made anew. The listing is read
/// and checked before, slices of the old archive while they are copied, members are not.
///
/// # Errors
///
/// [`Error::Foreign`] for a classic archive, [`Error::ListingAlone`]; [`Error::Corrupt`],
/// [`Error::Slice`] and [`Error::Input`] when the old archive is damaged; [`Error::Output`],
/// [`Error::Hook`] and [`Error::Cancelled`]. Nothing is published then.
pub fn reslice<R: ReadAt>(
    archive: &Archive<R>,
    sink: &mut dyn Sink,
    observer: &mut dyn Observer,
) -> Result<Written> {
    if archive.is_classic() {
        return Err(Error::Foreign { what: "a classic archive" });
    }
    if archive.is_listing() {
        return Err(Error::ListingAlone);
    }
    let tables = checked_tables(archive)?;
    let info = archive.info();
    observer.event(Event::Planned { members: info.entries, bytes: info.data_size });
    let mut copy = Copy { archive, output: Output::new(sink), observer, slice: None };
    copy.members()?;
    let tables = Tables { slices: copy.output.finished()?, ..tables };
    copy.ending(&tables)
}

/// Reads the listing, which checks it, and returns its tables with all that they may have to say.
fn checked_tables<R: ReadAt>(archive: &Archive<R>) -> Result<Tables> {
    let mut tables = archive.tables().clone();
    let mut entries = archive.entries();
    let mut is_first = true;
    while let Some(entry) = entries.next_ref() {
        let entry = entry?;
        // A listing of one block has no tables, or none that say how it begins.
        if let Some(block) = tables.blocks.first_mut().filter(|_| is_first) {
            block.first = entry.path.into_owned();
        }
        is_first = false;
    }
    Ok(tables)
}

/// An archive on its way.
struct Copy<'a, R, S> {
    archive: &'a Archive<R>,
    output: Output<S>,
    observer: &'a mut dyn Observer,
    /// The slice of the old archive that is being copied, and its digest so far.
    slice: Option<(u64, Sha256)>,
}

impl<R: ReadAt, S: Sink> Copy<'_, R, S> {
    /// Copies prologue and members.
    fn members(&mut self) -> Result<()> {
        let end = self.archive.info().data_size;
        let Some(set) = self.archive.slices() else { return self.bytes(0..end) };
        for number in 1..=set.count() {
            let start = set.start_of(number).unwrap_or(end).min(end);
            let slice = start..set.start_of(number + 1).unwrap_or(end).min(end);
            self.slice = Some((number, Sha256::new()));
            self.bytes(slice)?;
            if let Some((number, digest)) = self.slice.take() {
                set.compare_digest(number, digest.finalize().into())?;
            }
        }
        Ok(())
    }

    /// Copies a range.
    fn bytes(&mut self, range: Range<u64>) -> Result<()> {
        let mut buffer = vec![0; STEP];
        let mut at = range.start;
        while at < range.end {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(STEP);
            let read = self.archive.source().read_exact_at(&mut buffer[..len], at);
            read.map_err(|source| Error::input(at, source))?;
            if let Some((_, digest)) = &mut self.slice {
                digest.update(&buffer[..len]);
            }
            self.output.write(&buffer[..len])?;
            self.observer.event(Event::Progress { bytes: len as u64 });
            at += len as u64;
        }
        Ok(())
    }

    /// Writes what is behind the members, and publishes the archive.
    fn ending(mut self, tables: &Tables) -> Result<Written> {
        let old = self.archive.info();
        let sum = |part: fn(&crate::format::tables::ListingBlock) -> u64| {
            tables.blocks.iter().map(part).sum::<u64>()
        };
        let info = ArchiveInfo {
            listing_size: sum(|block| block.packed),
            listing_real_size: sum(|block| block.real),
            tables_size: 0,
            slice_size: None,
            ..old.clone()
        };
        let start = self.archive.listing_start();
        let listing = start..start.saturating_add(info.listing_size);
        let name = listing_name(self.archive)?;
        // The archive info is never too small to be compressed.
        let level = level_at(self.archive, start.saturating_add(old.listing_size))?;
        let mut packer = block_packer(level);
        let (size, limits) = (self.output.slice_size(), self.archive.limits());
        let ending = Ending::sliced(&name, info, tables, &mut packer, limits, size)?;
        self.output.begin_listing()?;
        self.output.write(&ending.header)?;
        self.bytes(listing)?;
        self.output.write(&ending.tables)?;
        self.output.write_uncut(&[&ending.info, &ending.trailer[..]].concat())?;
        let archive_size = self.output.offset();
        let identity = self.archive.identity()?;
        let (_sink, slices) = self.output.publish(&identity)?;
        let (entries, content_size) = (old.entries, old.content_size.unwrap_or_default());
        Ok(Written { archive_size, slices, identity, entries, content_size })
    }
}

/// Returns the name that the listing has among the members.
fn listing_name<R: ReadAt>(archive: &Archive<R>) -> Result<Vec<u8>> {
    let start = archive.info_start();
    let end = start.saturating_add(HEADER_STREAM);
    let mut reader = RangeReader::new(archive.source(), start, end, BLOCK * 2);
    let mut block = Vec::new();
    let read = Unpacker::new().read_to_end(&mut reader, BLOCK as u64, &mut block);
    read.map_err(|error| crate::archive::place(error, start))?;
    let missing = || FormatError::Missing("header of .backup.info").at(start);
    let header = block.first_chunk().ok_or_else(missing)?;
    let header = Header::parse(header).map_err(|kind| kind.at(start))?;
    header.map(|header| header.name).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Kind;
    use crate::format::member::MemberHeader;
    use crate::io::{SliceOptions, SliceSet, SliceSink, WriteSink};
    use crate::pack::Details;
    use crate::verify::{VerifyOptions, verify};
    use crate::writer::{ArchiveWriter, WriterOptions};

    fn made(level: u8, members: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = WriterOptions { level, created: Some(7), ..WriterOptions::default() };
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options).unwrap();
        for number in 0..members {
            let content = format!("{number} ").repeat(number * 10);
            let kind = Kind::File { size: content.len() as u64 };
            let header = MemberHeader::new(format!("{number:04}").as_str(), kind);
            writer.append(&header, Details::default(), content.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn cut_and_joined_again_it_is_the_same() {
        for (level, members) in [(0, 40), (6, 40), (6, 0), (6, 300)] {
            let whole = made(level, members);
            let archive = Archive::open(&whole).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.tgz");
            let options = SliceOptions { size: 4096, ..SliceOptions::default() };
            let mut sink = SliceSink::create(&path, options).unwrap();
            let written = reslice(&archive, &mut sink, &mut ()).unwrap();
            drop(sink);
            assert_eq!(written.identity, archive.identity().unwrap());
            let sliced = Archive::open(SliceSet::open(&path).unwrap().unwrap()).unwrap();
            assert_eq!(sliced.identity().unwrap(), archive.identity().unwrap());
            assert!(members == 0 || written.slices > 1, "{written:?}");
            let selection = crate::Selection::default();
            let options = VerifyOptions::default();
            assert!(verify(&sliced, &selection, &options, &mut ()).unwrap().is_good());
            let mut joined = Vec::new();
            reslice(&sliced, &mut WriteSink::new(&mut joined), &mut ()).unwrap();
            assert!(joined == whole, "{level} {members}");
        }
    }
}
