//! Reading the listing: block by block, line by line.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Archive;
use super::open::{Tailed, place};
use crate::codec::Unpacker;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry};
use crate::format::tables::ListingBlock;
use crate::format::text;
use crate::io::{RangeReader, ReadAt};
use crate::limits::LimitName;
use crate::path::MemberPath;

/// Packed bytes of the listing that are read at once.
const READ: usize = 256 << 10;

/// Most bytes of text after which a block of ours ends at the next line end: 64 times the longest
/// name.
const BLOCK_TEXT: u64 = 4 << 20;

impl<R: ReadAt> Archive<R> {
    /// Returns where block `number` begins in the archive.
    fn block_offset(&self, number: usize) -> u64 {
        let before = self.tables.blocks.iter().take(number);
        before.fold(self.listing, |offset, block| offset + block.packed)
    }

    /// Returns the text of one block; the last one asked for is kept.
    pub(super) fn block_text(&self, number: usize) -> Result<Arc<Vec<u8>>> {
        let kept = self.block.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some((_, text)) = kept.filter(|(kept, _)| *kept == number) {
            return Ok(text);
        }
        let offset = self.block_offset(number);
        let end = offset + self.tables.blocks.get(number).map_or(0, |block| block.packed);
        let mut reader = RangeReader::new(&self.source, offset, end, READ);
        let mut text = Vec::new();
        self.unpack_block(number, &mut reader, &mut Unpacker::new(), &mut text)?;
        let text = Arc::new(text);
        let mut kept = self.block.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *kept = Some((number, Arc::clone(&text)));
        Ok(text)
    }

    /// Returns what the text of a block may be long at most, and the limits that say so.
    pub(crate) fn block_limits(&self, block: &ListingBlock) -> [(u64, LimitName); 2] {
        let limits = &self.limits;
        let text = match self.dialect {
            Dialect::Isptar => (limits.line.saturating_add(BLOCK_TEXT + 1), LimitName::Line),
            Dialect::Classic => (limits.listing, LimitName::Listing),
        };
        // A small block may be all alike; what it can grow to is small as well.
        let grown = block.packed.saturating_mul(limits.listing_ratio).max(1 << 20);
        [text, (grown, LimitName::ListingRatio)]
    }

    /// Unpacks the block that `reader` stands before.
    fn unpack_block(
        &self,
        number: usize,
        reader: &mut RangeReader<&Tailed<R>>,
        unpacker: &mut Unpacker,
        text: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(block) = self.tables.blocks.get(number) else { return Ok(()) };
        let offset = reader.position();
        let what = match self.dialect {
            Dialect::Isptar => "listing block",
            Dialect::Classic => "listing",
        };
        for (limit, name) in self.block_limits(block) {
            if block.real > limit {
                let actual = block.real;
                let raise = match name {
                    LimitName::ListingRatio => name.to(actual.div_ceil(block.packed.max(1))),
                    name => name.to(actual),
                };
                return Err(FormatError::Limit { what, limit, actual, raise }.at(offset));
            }
        }
        text.clear();
        unpacker.reset();
        let corrupt = |kind: FormatError| kind.at(offset);
        let what = "size of a listing block";
        unpacker
            .read_to_end(reader, block.real, text)
            .map_err(|error| place(error.claimed(what, block.real), offset))?;
        for (what, expected, actual) in [
            ("packed size of a listing block", block.packed, unpacker.packed()),
            (what, block.real, text.len() as u64),
        ] {
            if expected != actual {
                return Err(corrupt(FormatError::mismatch(what, expected, actual)));
            }
        }
        let last = number + 1 == self.tables.blocks.len();
        let ends_well = if last {
            text.as_slice() == b"\n" || text.ends_with(b"\n\n")
        } else {
            text.ends_with(b"\n")
        };
        if !ends_well {
            return Err(corrupt(FormatError::Missing("line feed at the end of a listing block")));
        }
        Ok(())
    }
}

/// Iterates over entries, in archive order; see [`Archive::entries`].
#[derive(Debug)]
pub struct Entries<'a, R> {
    archive: &'a Archive<R>,
    reader: RangeReader<&'a Tailed<R>>,
    unpacker: Unpacker,
    /// The next block to unpack, and the first one that is not wanted.
    block: usize,
    end: usize,
    text: Arc<Vec<u8>>,
    position: usize,
    /// Entries met in the current block.
    met: u64,
    within: Option<MemberPath>,
    previous: Option<MemberPath>,
    /// Digests the text of an archive of ours, when all of it is read.
    identity: Option<Sha256>,
    ended: bool,
}

impl<'a, R: ReadAt> Entries<'a, R> {
    /// Entries of the blocks `start..end`, only those within a path if one is given.
    pub(super) fn new(
        archive: &'a Archive<R>,
        start: usize,
        end: usize,
        within: Option<MemberPath>,
    ) -> Self {
        let (from, to) = (archive.block_offset(start), archive.block_offset(end));
        let whole = start == 0
            && end == archive.tables.blocks.len()
            && within.is_none()
            && archive.info.listing_sha256.is_some();
        Self {
            archive,
            reader: RangeReader::new(&archive.source, from, to, READ),
            unpacker: Unpacker::new(),
            block: start,
            end,
            text: Arc::default(),
            position: 0,
            met: 0,
            within,
            previous: None,
            identity: whole.then(Sha256::new),
            ended: false,
        }
    }

    /// Takes the first block from those that the archive keeps.
    pub(super) fn keeping_block(mut self) -> Result<Self> {
        self.text = self.archive.block_text(self.block)?;
        self.block += 1;
        Ok(self)
    }

    /// Returns the range in the text of the next line, unpacking the next block when needed.
    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>> {
        loop {
            let rest = self.text.get(self.position..).unwrap_or_default();
            let len = rest.iter().position(|&byte| byte == b'\n');
            match len {
                Some(len) if len > 0 || self.block < self.archive.tables.blocks.len() => {
                    self.check_length(len as u64 + 1)?;
                    let line = self.position..self.position + len;
                    self.position = line.end + 1;
                    return Ok(Some(line));
                }
                // The empty line that closes the listing.
                Some(_) if self.position + 1 < self.text.len() => {
                    return Err(self.corrupt(FormatError::Duplicate {
                        what: "end of the listing",
                        value: String::new(),
                    }));
                }
                _ => {}
            }
            self.check_count()?;
            if self.block >= self.end {
                return self.check_identity().map(|()| None);
            }
            let mut text = std::mem::take(Arc::make_mut(&mut self.text));
            self.archive.unpack_block(
                self.block,
                &mut self.reader,
                &mut self.unpacker,
                &mut text,
            )?;
            if let Some(identity) = &mut self.identity {
                identity.update(&text);
            }
            self.text = Arc::new(text);
            self.block += 1;
            self.position = 0;
        }
    }

    /// Checks the length of a line, its line feed included.
    fn check_length(&self, actual: u64) -> Result<()> {
        let limit = self.archive.limits.line;
        if self.archive.dialect == Dialect::Classic || actual <= limit {
            return Ok(());
        }
        let raise = LimitName::Line.to(actual);
        Err(self.corrupt(FormatError::Limit { what: "listing line", limit, actual, raise }))
    }

    /// Checks, at the end of a block, that it had as many entries as the tables say.
    fn check_count(&mut self) -> Result<()> {
        let met = std::mem::take(&mut self.met);
        let Some(block) = self.block.checked_sub(1) else { return Ok(()) };
        let expected = self.archive.tables.blocks.get(block).map_or(met, |block| block.entries);
        let checked = self.archive.dialect == Dialect::Isptar && !self.text.is_empty();
        if checked && met != expected {
            let what = "number of entries in a listing block";
            return Err(self.corrupt(FormatError::mismatch(what, expected, met)));
        }
        Ok(())
    }

    /// Checks, at the end of the whole listing, that it is the one the archive info speaks of.
    fn check_identity(&mut self) -> Result<()> {
        let (Some(expected), Some(actual)) =
            (self.archive.info.listing_sha256, self.identity.take())
        else {
            return Ok(());
        };
        let actual: [u8; 32] = actual.finalize().into();
        if actual == expected {
            return Ok(());
        }
        let (expected, actual) = (text::digest_text(&expected), text::digest_text(&actual));
        let kind = FormatError::Digest { what: "the listing", expected, actual };
        Err(kind.at(self.archive.listing))
    }

    /// Places an error in the block at hand.
    fn corrupt(&self, kind: FormatError) -> Error {
        kind.at(self.archive.block_offset(self.block.saturating_sub(1)))
    }

    /// Returns the error of a line. The original escapes names in its own ways, and nothing says
    /// that its listing is whole: one line must not cost all others.
    fn corrupt_line(&self, kind: FormatError) -> Error {
        match self.archive.dialect {
            Dialect::Isptar => self.corrupt(kind),
            Dialect::Classic => Error::CorruptLine { line: self.met, kind },
        }
    }

    fn parse(&mut self, line: std::ops::Range<usize>) -> Result<Entry> {
        let text = Arc::clone(&self.text);
        let line = text.get(line).unwrap_or_default();
        let entry = Entry::parse(line, self.archive.dialect, &self.archive.limits);
        self.met += 1;
        let entry = entry.map_err(|kind| self.corrupt_line(kind))?;
        self.check_first(&entry)?;
        if !self.archive.info.sorted {
            return Ok(entry);
        }
        if let Some(previous) = self.previous.as_ref().filter(|previous| **previous >= entry.path) {
            let expected = format!("a name after {previous}");
            let kind = FormatError::mismatch("name of an entry", expected, &entry.path);
            return Err(self.corrupt(kind));
        }
        self.previous = Some(entry.path.clone());
        Ok(entry)
    }

    /// Checks the name that the tables say a block begins with: a wrong one would hide members.
    fn check_first(&self, entry: &Entry) -> Result<()> {
        let blocks = &self.archive.tables.blocks;
        let block = self.block.checked_sub(1).and_then(|number| blocks.get(number));
        match block.filter(|_| self.met == 1 && blocks.len() > 1) {
            Some(block) if block.first != entry.path => {
                let what = "first name of a listing block";
                Err(self.corrupt(FormatError::mismatch(what, &block.first, &entry.path)))
            }
            _ => Ok(()),
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        while let Some(line) = self.next_line()? {
            let entry = self.parse(line)?;
            let Some(within) = &self.within else { return Ok(Some(entry)) };
            if entry.path.is_within(within) {
                return Ok(Some(entry));
            }
            if self.archive.info.sorted && entry.path > *within {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)) | Err(Error::CorruptLine { .. }));
        next.transpose()
    }
}
