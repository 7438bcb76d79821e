//! Reading listing blocks.

use std::sync::Arc;

use super::Archive;
use super::open::place;
use super::stream::StreamReader;
use crate::error::{FormatError, Result};
use crate::format::entry::Dialect;
use crate::format::tables::ListingBlock;
use crate::io::ReadAt;
use crate::limits::LimitName;

/// Most bytes of text after which a block of ours ends at the next line end: 64 times the longest
/// name.
const BLOCK_TEXT: u64 = 4 << 20;

/// Returns where blocks begin whose first one begins at `start`, and where the last one ends.
pub(super) fn block_offsets(blocks: &[ListingBlock], start: u64) -> Vec<u64> {
    let mut offset = start;
    let mut offsets = Vec::with_capacity(blocks.len() + 1);
    offsets.push(offset);
    for block in blocks {
        // Above the length of the archive there is nothing to be read, whatever it is.
        offset = offset.saturating_add(block.packed);
        offsets.push(offset);
    }
    offsets
}

impl<R: ReadAt> Archive<R> {
    /// Returns where block `number` begins in the archive.
    pub(super) fn block_offset(&self, number: usize) -> u64 {
        let end = || self.block_offsets.last().copied().unwrap_or(self.listing);
        self.block_offsets.get(number).copied().unwrap_or_else(end)
    }

    /// Returns the text of one block; the last one asked for is kept.
    pub(super) fn block_text(&self, number: usize) -> Result<Arc<Vec<u8>>> {
        let kept = self.block.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some((_, text)) = kept.filter(|(kept, _)| *kept == number) {
            return Ok(text);
        }
        let mut text = Vec::new();
        self.unpack_block(number, &mut StreamReader::new(&self.source), &mut text)?;
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

    /// Reads the text of a block that is read alone: more than one pass may go over it.
    pub(super) fn keep_block(&self, number: usize, text: &mut Vec<u8>) -> Result<()> {
        let kept = self.block_text(number)?;
        text.clear();
        text.extend_from_slice(&kept);
        Ok(())
    }

    /// Unpacks a block; `text` is its text then.
    pub(super) fn unpack_block(
        &self,
        number: usize,
        reader: &mut StreamReader<'_, R>,
        text: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(block) = self.tables.blocks.get(number) else { return Ok(()) };
        let offset = self.block_offset(number);
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
        let corrupt = |kind: FormatError| kind.at(offset);
        let what = "size of a listing block";
        let decoded = reader.read_some(offset, block.packed, block.real, text);
        decoded.result.map_err(|error| place(error.claimed(what, block.real), offset))?;
        for (what, expected, actual) in [
            ("packed size of a listing block", block.packed, decoded.packed),
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
