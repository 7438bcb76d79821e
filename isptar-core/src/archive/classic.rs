//! Archives of the original program: finding their trailer, reading their contents.

use super::Archive;
use super::open::{Places, Tailed, is_info_header, one_block, read_info};
use crate::codec::{DecodeError, Unpacker};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry, Location};
use crate::format::text::decimal;
use crate::io::{RangeReader, ReadAt, SliceSet};
use crate::limits::Limits;

/// Lengths of a classic size trailer: the original tries them in turn.
const TRAILER: std::ops::RangeInclusive<usize> = 20..=39;

/// Most bytes that a classic trailer decompresses to: digits, padding, two zero blocks.
const TRAILER_REAL: u64 = 2048;

/// Most bytes that the packed header of `.backup.info` has, where it is a stream of its own.
const LISTING_HEADER: u64 = 1024;

/// Opens a classic archive, or says that this is none.
pub(super) fn open<R: ReadAt>(source: Tailed<R>, limits: Limits) -> Result<Archive<R>> {
    let Some((trailer_len, info_size)) = find_trailer(source.tail()) else {
        return Err(Error::NotIsptar(FormatError::Missing("size trailer")));
    };
    let info_end = source.len() - trailer_len;
    let info = read_info(&source, info_end, info_size, &limits)?;
    if let Some(format) = info.format {
        // Ours has another trailer; a classic one never says a format.
        return Err(FormatError::invalid("format", format.to_string().as_bytes()).at(info_end));
    }
    let bounds = FormatError::OutOfBounds {
        what: "listing",
        offset: info_end - info_size,
        len: info.listing_size,
        end: info_end - info_size,
    };
    let listing = (info_end - info_size).checked_sub(info.listing_size);
    let listing = listing.ok_or_else(|| bounds.at(info_end))?;
    let tables = one_block(&info);
    let is_listing = listing <= LISTING_HEADER && is_info_header(&source, listing);
    let places = Places { data_end: listing, listing, is_listing };
    Ok(Archive::new(source, limits, Dialect::Classic, info, tables, places))
}

/// Finds the trailer among the last bytes; returns its length and the number it holds.
fn find_trailer(tail: &[u8]) -> Option<(u64, u64)> {
    TRAILER.filter_map(|len| tail.get(tail.len().checked_sub(len)?..)).find_map(|bytes| {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return None;
        }
        let mut rest = bytes;
        let mut text = Vec::new();
        let mut unpacker = Unpacker::new();
        unpacker.read_to_end(&mut rest, TRAILER_REAL, &mut text).ok()?;
        let digits = text.iter().position(|&byte| byte == 0)?;
        let (digits, zeros) = text.split_at(digits);
        let only_zeros = zeros.iter().all(|&byte| byte == 0);
        let info_size = decimal("header_size", digits).ok()?;
        (rest.is_empty() && only_zeros).then_some((bytes.len() as u64, info_size))
    })
}

impl<R: ReadAt> Archive<R> {
    /// Returns where in this classic archive the first stream of a file's data begins; 0 when it
    /// has no data.
    pub(crate) fn data_offset(&self, entry: &Entry) -> Result<u64, FormatError> {
        let len = entry.kind.size();
        let Some(Location { slice, offset, zoffset, .. }) = entry.location else {
            return if len == 0 { Ok(0) } else { Err(FormatError::Missing("location")) };
        };
        if zoffset != 0 {
            return Err(FormatError::mismatch("last number of a location", 0, zoffset));
        }
        let slices = self.source.slices();
        let count = slices.map_or(1, SliceSet::count);
        let start = match slices {
            _ if slice == 1 => Some(0),
            Some(slices) => slices.start_of(u64::from(slice)),
            None => None,
        };
        let expected = || format!("1 to {count}");
        let start =
            start.ok_or_else(|| FormatError::mismatch("slice of a location", expected(), slice))?;
        let end = self.data_end;
        let offset = start.saturating_add(offset);
        if len > 0 && offset >= end {
            return Err(FormatError::OutOfBounds { what: "member", offset, len, end });
        }
        Ok(offset)
    }
}

/// Reads the content of a file: from one stream, or from several that follow each other.
#[derive(Debug)]
pub(super) struct ClassicContent<'a, R> {
    reader: RangeReader<&'a Tailed<R>>,
    unpacker: Unpacker,
    position: u64,
    size: u64,
    buffer: Vec<u8>,
}

impl<'a, R: ReadAt> ClassicContent<'a, R> {
    /// Content of `size` bytes whose first stream is at `offset`.
    pub(super) fn new(source: &'a Tailed<R>, offset: u64, end: u64, size: u64) -> Self {
        const BUFFER: usize = 64 << 10;
        Self {
            reader: RangeReader::new(source, offset, end, BUFFER),
            unpacker: Unpacker::new(),
            position: 0,
            size,
            buffer: vec![0; BUFFER],
        }
    }

    /// Returns the next bytes and their offset; at the end the last stream is read to its end,
    /// because only there its CRC stands.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, DecodeError> {
        while self.position < self.size {
            let count = self.unpacker.read(&mut self.reader, &mut self.buffer)?;
            if count == 0 {
                self.unpacker.reset();
                continue;
            }
            let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
            let bytes = &self.buffer[..count.min(left)];
            let offset = self.position;
            self.position += bytes.len() as u64;
            return Ok(Some((offset, bytes)));
        }
        while self.size > 0 && !self.unpacker.is_ended() {
            self.unpacker.read(&mut self.reader, &mut self.buffer)?;
        }
        Ok(None)
    }
}
