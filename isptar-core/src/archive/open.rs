//! From the last bytes of an archive to its info and tables.

use std::io;
use std::sync::Mutex;

use super::bases::Bases;
use super::blocks::block_offsets;
use super::{Archive, classic};
use crate::codec::{DecodeError, Unpacker};
use crate::error::{Error, FormatError, Result};
use crate::format::HEADER_STREAM;
use crate::format::entry::Dialect;
use crate::format::header::Header;
use crate::format::info::ArchiveInfo;
use crate::format::tables::{ListingBlock, Tables};
use crate::format::trailer::{self, SizeTrailer};
use crate::format::{BLOCK, INFO_NAME};
use crate::io::{RangeReader, ReadAt, SliceSet};
use crate::limits::{LimitName, Limits, Raise};
use crate::path::MemberPath;

/// Bytes at the end that are read first: they bring trailer, info, tables of about 5,000 blocks,
/// and the whole listing of a small archive.
const TAIL: u64 = 64 << 10;

/// The fewest bytes that are tried where so many cannot be read: trailer and info are within them.
const LEAST_TAIL: u64 = 4 << 10;

/// A source whose last bytes are kept in memory.
#[derive(Debug)]
pub(crate) struct Tailed<R> {
    source: R,
    tail: Vec<u8>,
    tail_start: u64,
}

impl<R: ReadAt> Tailed<R> {
    fn new(source: R) -> Result<Self> {
        let input = |offset| move |source| Error::input(offset, source);
        let size = source.size().map_err(input(0))?;
        // The end of a sliced archive is all in its last slice: no other is touched for it.
        let last = source.slices().map(SliceSet::last_len).filter(|&len| len > 0);
        let mut len = TAIL.min(last.unwrap_or(TAIL));
        loop {
            let tail_start = size.saturating_sub(len);
            let mut tail = vec![0; usize::try_from(size - tail_start).unwrap_or(0)];
            match source.read_exact_at(&mut tail, tail_start) {
                Ok(()) => return Ok(Self { source, tail, tail_start }),
                // What cannot be read may be a member: that costs the member alone.
                Err(_) if len > LEAST_TAIL => len /= 4,
                Err(error) => return Err(input(tail_start)(error)),
            }
        }
    }

    pub(super) fn into_inner(self) -> R {
        self.source
    }

    pub(super) fn len(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }
}

impl<R: ReadAt> ReadAt for Tailed<R> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match offset.checked_sub(self.tail_start) {
            Some(offset) => self.tail.as_slice().read_at(buf, offset),
            None => {
                let before = usize::try_from(self.tail_start - offset).unwrap_or(usize::MAX);
                let len = buf.len().min(before);
                self.source.read_at(&mut buf[..len], offset)
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len())
    }

    fn slices(&self) -> Option<&SliceSet> {
        self.source.slices()
    }
}

pub(super) fn open<R: ReadAt>(reader: R, limits: Limits) -> Result<Archive<R>> {
    let source = Tailed::new(reader)?;
    let Some(last) = source.tail().last_chunk::<{ trailer::LEN }>() else {
        return classic::open(source, limits);
    };
    match SizeTrailer::parse(last) {
        Ok(trailer) => open_ours(source, limits, trailer),
        Err(FormatError::Missing(_)) => classic::open(source, limits),
        Err(kind) => Err(kind.at(source.len() - trailer::LEN as u64)),
    }
}

fn open_ours<R: ReadAt>(
    source: Tailed<R>,
    limits: Limits,
    trailer: SizeTrailer,
) -> Result<Archive<R>> {
    let info_end = source.len() - trailer::LEN as u64;
    let info = read_info(&source, info_end, trailer.info_size, &limits)?;
    let corrupt = |kind: FormatError| kind.at(info_end);
    if info.format.is_none() {
        return Err(corrupt(FormatError::Missing("format")));
    }
    // An archive whose listing is in order, but which is not as long as it says, lacks a slice, or
    // is an inner archive at the end of a cut outer one.
    let alone = HEADER_STREAM
        .checked_add(info.listing_size)
        .and_then(|end| end.checked_add(trailer.info_size));
    let end = alone.and_then(|end| end.checked_add(info.data_size));
    let is_listing = alone == Some(info_end) && is_info_header(&source, HEADER_STREAM);
    let claimed = end.and_then(|end| end.checked_add(trailer::LEN as u64));
    if let (Some(slices), Some(claimed)) = (source.slices(), claimed) {
        slices.check_lengths(&info, claimed)?;
    }
    if end != Some(info_end) && !is_listing {
        let claimed = claimed.map_or_else(|| "above 2^64".into(), |end| end.to_string());
        return Err(corrupt(FormatError::mismatch("length of the archive", claimed, source.len())));
    }
    let listing = if is_listing { HEADER_STREAM } else { info.data_size + HEADER_STREAM };
    let tables = read_tables(&source, &info, info_end - trailer.info_size, &limits)?;
    if let Some(slices) = source.slices() {
        slices.check_tables(&tables.slices)?;
    }
    let places = Places { data_end: info.data_size, listing, is_listing };
    Ok(Archive::new(source, limits, Dialect::Isptar, info, tables, places))
}

/// Where the parts of an archive are.
pub(super) struct Places {
    /// Where the streams of members end.
    pub(super) data_end: u64,
    /// Where the listing begins.
    pub(super) listing: u64,
    /// It is the listing of an archive alone.
    pub(super) is_listing: bool,
}

impl<R> Archive<R> {
    pub(super) fn new(
        source: Tailed<R>,
        limits: Limits,
        dialect: Dialect,
        info: ArchiveInfo,
        tables: Tables,
        Places { data_end, listing, is_listing }: Places,
    ) -> Self {
        Self {
            source,
            limits,
            bases: Bases::new(tables.bases.len()),
            block_offsets: block_offsets(&tables.blocks, listing),
            info,
            tables,
            dialect,
            is_listing,
            listing,
            data_end,
            block: Mutex::new(None),
            only: None,
        }
    }
}

/// Returns whether a file begins with the header of `.backup.info`, which is all that stands before
/// `end`: it is the listing of an archive alone.
pub(super) fn is_info_header<R: ReadAt>(source: &Tailed<R>, end: u64) -> bool {
    let stream = unpack_at(source, 0, end, BLOCK as u64, None).ok();
    let block = stream.as_deref().and_then(|stream| stream.first_chunk());
    let header = block.and_then(|block| Header::parse(block).ok().flatten());
    header.is_some_and(|header| header.name.starts_with(INFO_NAME))
}

/// Reads the archive info that ends at `end`.
pub(super) fn read_info<R: ReadAt>(
    source: &Tailed<R>,
    end: u64,
    packed: u64,
    limits: &Limits,
) -> Result<ArchiveInfo> {
    let out_of_bounds =
        FormatError::OutOfBounds { what: "archive info", offset: end, len: packed, end };
    let start = end.checked_sub(packed).ok_or_else(|| out_of_bounds.at(end))?;
    let raise = LimitName::Info.to(limits.info.saturating_mul(2));
    let text = unpack_at(source, start, packed, limits.info, raise)?;
    ArchiveInfo::parse(&text).map_err(|kind| kind.at(start))
}

/// Reads the tables that end at `end`, or makes those of an archive without any.
fn read_tables<R: ReadAt>(
    source: &Tailed<R>,
    info: &ArchiveInfo,
    end: u64,
    limits: &Limits,
) -> Result<Tables> {
    if info.tables_size == 0 {
        return Ok(one_block(info));
    }
    let start = end - info.tables_size;
    let grown = info.tables_size.saturating_mul(limits.listing_ratio).max(1 << 20);
    // What they are at most, if the archive info is right.
    let real = info.listing_real_size;
    let (name, to) = if grown < limits.tables {
        (LimitName::ListingRatio, real.div_ceil(info.tables_size))
    } else {
        (LimitName::Tables, real)
    };
    let limit = limits.tables.min(grown);
    let text = unpack_at(source, start, info.tables_size, limit, name.to(to))?;
    let tables = Tables::parse(&text).map_err(|kind| kind.at(start))?;
    if tables.blocks.is_empty() {
        return Err(FormatError::Missing("block line of the tables").at(start));
    }
    check_tables(&tables, info, text.len() as u64).map_err(|kind| kind.at(start))?;
    check_bases(&tables, limits).map_err(|kind| kind.at(start))?;
    Ok(tables)
}

/// Returns the tables of a listing of one stream.
pub(super) fn one_block(info: &ArchiveInfo) -> Tables {
    let block = ListingBlock {
        packed: info.listing_size,
        real: info.listing_real_size,
        entries: info.entries,
        first: MemberPath::default(),
    };
    Tables { blocks: vec![block], ..Tables::default() }
}

/// Checks that the blocks add up to what the archive info says, and are in order.
fn check_tables(tables: &Tables, info: &ArchiveInfo, text_len: u64) -> Result<(), FormatError> {
    let sum = |start: u64, part: fn(&ListingBlock) -> u64| {
        tables.blocks.iter().map(part).try_fold(start, u64::checked_add)
    };
    for (what, expected, actual) in [
        ("packed size of the listing", info.listing_size, sum(info.tables_size, |b| b.packed)),
        ("size of the listing", info.listing_real_size, sum(text_len, |b| b.real)),
        ("number of entries", info.entries, sum(0, |b| b.entries)),
    ] {
        if actual != Some(expected) {
            let actual = actual.map_or_else(|| "above 2^64".into(), |actual| actual.to_string());
            return Err(FormatError::mismatch(what, expected, actual));
        }
    }
    let unordered = tables.blocks.windows(2).find(|pair| match pair {
        [a, b] => info.sorted && a.first >= b.first,
        _ => false,
    });
    match unordered {
        Some([a, b]) => Err(FormatError::mismatch(
            "first name of a listing block",
            format!("a name after {}", a.first),
            &b.first,
        )),
        _ => Ok(()),
    }
}

/// Checks that there is one base line for each depth, in order.
fn check_bases(tables: &Tables, limits: &Limits) -> Result<(), FormatError> {
    let (limit, actual) = (limits.bases, tables.bases.len() as u64);
    if actual > limit {
        let raise = LimitName::Bases.to(actual);
        return Err(FormatError::Limit { what: "number of bases", limit, actual, raise });
    }
    match (1..).zip(&tables.bases).find(|(depth, base)| *depth != base.depth) {
        Some((depth, base)) => Err(FormatError::mismatch("depth of a base", depth, base.depth)),
        None => Ok(()),
    }
}

/// Unpacks the stream at `offset`, which must be exactly `packed` bytes long; `raise` would let
/// more than `limit` bytes come out of it.
pub(super) fn unpack_at<R: ReadAt>(
    source: &Tailed<R>,
    offset: u64,
    packed: u64,
    limit: u64,
    raise: Option<Raise>,
) -> Result<Vec<u8>> {
    let capacity = usize::try_from(packed.min(1 << 18)).unwrap_or(1 << 18);
    let mut reader = RangeReader::new(source, offset, offset.saturating_add(packed), capacity);
    let mut out = Vec::new();
    let mut unpacker = Unpacker::new();
    unpacker
        .read_to_end(&mut reader, limit, &mut out)
        .map_err(|error| place(error.raised(raise), offset))?;
    if unpacker.packed() != packed {
        let kind = FormatError::mismatch("packed size of a stream", packed, unpacker.packed());
        return Err(kind.at(offset));
    }
    Ok(out)
}

/// Places a failure to decode a stream.
pub(crate) fn place(error: DecodeError, offset: u64) -> Error {
    match error {
        DecodeError::Io(source) => Error::input(offset, source),
        DecodeError::Format(kind) => kind.at(offset),
    }
}
