//! What is around the members: prologue, header of `.backup.info`, and the streams after it.

use std::ops::Range;

use super::survey::Survey;
use super::tell::Tell;
use crate::archive::{Archive, Watched, odd_of};
use crate::codec::{DecodeError, Unpacker};
use crate::error::{Error, FormatError, Result};
use crate::format::header::Header;
use crate::format::member::prologue;
use crate::format::trailer::{self, SizeTrailer};
use crate::format::{BLOCK, HEADER_STREAM, gzip, padding};
use crate::io::{RangeReader, ReadAt};
use crate::writer::{listing_header, listing_name};

/// Bytes in which a prologue ends, whatever packed it.
const PROLOGUE: u64 = 4096;

/// Reads one stream after the other, each as the writer makes it.
struct Strict<'a, R> {
    reader: RangeReader<&'a R>,
    unpacker: Unpacker,
}

impl<'a, R: ReadAt> Strict<'a, R> {
    fn new(source: &'a R, range: Range<u64>) -> Self {
        let reader = RangeReader::new(source, range.start, range.end, 64 << 10);
        Self { reader, unpacker: Unpacker::new() }
    }

    /// Returns the content of the next stream.
    fn next(&mut self, limit: u64) -> Result<Vec<u8>, DecodeError> {
        let mut content = Vec::new();
        self.unpacker.reset();
        let mut input = Watched::new(&mut self.reader);
        self.unpacker.read_to_end(&mut input, limit, &mut content)?;
        match input.into_odd() {
            Some(odd) => Err(odd.into()),
            None => Ok(content),
        }
    }
}

impl<R: ReadAt> Strict<'_, R> {
    /// Looks at the form alone of a stream that was decoded before.
    fn form(&mut self) -> Result<Vec<u8>, DecodeError> {
        match odd_of(&mut self.reader)? {
            Some(odd) => Err(odd.into()),
            None => Ok(Vec::new()),
        }
    }
}

/// Checks the prologue and returns where it ends, if that is known.
pub(super) fn check_prologue<R: ReadAt>(archive: &Archive<R>, tell: &mut Tell<'_>) -> Option<u64> {
    let mut strict = Strict::new(archive.source(), 0..archive.data_end().min(PROLOGUE));
    let (header, body) = prologue();
    for expected in [header, body] {
        let start = strict.reader.position();
        let error = match strict.next(BLOCK as u64) {
            Ok(content) if content == expected => continue,
            Ok(content) => FormatError::invalid("prologue", &content).at(0),
            Err(error) => place(error, start),
        };
        tell.beyond(start..strict.reader.position().max(start), &error);
        return None;
    }
    Some(strict.reader.position())
}

/// Checks the header of `.backup.info`, byte by byte, and that of each stream behind it.
pub(super) fn check_info<R: ReadAt>(archive: &Archive<R>, survey: &Survey, tell: &mut Tell<'_>) {
    let start = archive.info_start();
    let header = start..start.saturating_add(HEADER_STREAM);
    let (info_start, trailer) = match read_trailer(archive) {
        Ok(found) => found,
        Err(error) => return tell.beyond(header.end..archive.size(), &error),
    };
    let info = info_start..info_start.saturating_add(trailer.info_size);
    let size = match check_streams(archive, survey, info.clone(), tell) {
        Some(len) => {
            let digits = trailer.info_size.to_string().len() as u64;
            archive.info().listing_real_size.saturating_add(len).saturating_add(digits)
        }
        None => return,
    };
    if trailer.padding != padding(size) {
        let what = "padding of .backup.info in the size trailer";
        let error = FormatError::mismatch(what, padding(size), trailer.padding).at(info.end);
        tell.beyond(info.end..archive.size(), &error);
    }
    if let Err(error) = check_header(archive, survey, header.clone(), size) {
        tell.beyond(header, &error);
    }
}

/// Returns where the archive info begins, and what the size trailer says.
fn read_trailer<R: ReadAt>(archive: &Archive<R>) -> Result<(u64, SizeTrailer)> {
    let start = archive.size().saturating_sub(trailer::LEN as u64);
    let mut bytes = [0; trailer::LEN];
    let read = archive.source().read_exact_at(&mut bytes, start);
    read.map_err(|source| Error::input(start, source))?;
    let trailer = SizeTrailer::parse(&bytes).map_err(|kind| kind.at(start))?;
    Ok((start.saturating_sub(trailer.info_size), trailer))
}

/// Checks the form of the streams of listing, tables and archive info; returns the length of the
/// latter's text. What they say was checked before.
fn check_streams<R: ReadAt>(
    archive: &Archive<R>,
    survey: &Survey,
    info: Range<u64>,
    tell: &mut Tell<'_>,
) -> Option<u64> {
    let limits = archive.limits();
    let tables = Some(limits.tables).filter(|_| archive.info().tables_size > 0);
    let blocks = archive.tables().blocks.iter();
    let lens = blocks.map(|block| {
        let most = archive.block_limits(block).map(|(limit, _)| limit);
        let limit = most.into_iter().fold(block.real, u64::min);
        // What was decoded is not decoded again.
        (block.packed, limit, survey.lost_blocks == 0)
    });
    let tables = tables.map(|limit| (archive.info().tables_size, limit, false));
    let info = (info.end.saturating_sub(info.start), limits.info, false);
    let mut start = archive.listing_start();
    let mut last = None;
    for (packed, limit, is_good) in lens.chain(tables).chain([info]) {
        let end = start.saturating_add(packed);
        let mut strict = Strict::new(archive.source(), start..end);
        let content = if is_good { strict.form() } else { strict.next(limit) };
        last = match content {
            Ok(content) => Some(content.len() as u64),
            Err(DecodeError::Format(kind @ FormatError::Invalid { .. })) => {
                tell.beyond(start..end, &kind.at(start));
                None
            }
            // The survey of the listing has told it.
            Err(_) => None,
        };
        start = end;
    }
    last
}

fn check_header<R: ReadAt>(
    archive: &Archive<R>,
    survey: &Survey,
    range: Range<u64>,
    size: u64,
) -> Result<()> {
    let mut strict = Strict::new(archive.source(), range.clone());
    let content = strict.next(BLOCK as u64).map_err(|error| place(error, range.start))?;
    let expected = listing_header(&listing_name(&survey.reserved), archive.info().created, size);
    if content == expected {
        let mut stream = Vec::new();
        gzip::push_stored(&expected, crc32fast::hash(&expected), &mut stream);
        return if strict.reader.position() == range.end && stream.len() as u64 == HEADER_STREAM {
            Ok(())
        } else {
            let actual = strict.reader.position().saturating_sub(range.start);
            let what = "length of the header of .backup.info";
            Err(FormatError::mismatch(what, HEADER_STREAM, actual).at(range.start))
        };
    }
    Err(difference(&expected, &content).at(range.start))
}

/// Says in what two headers of `.backup.info` differ.
fn difference(expected: &[u8; BLOCK], actual: &[u8]) -> FormatError {
    let header = |bytes: &[u8]| {
        let block = bytes.first_chunk().filter(|_| bytes.len() == BLOCK);
        block.map_or(Err(FormatError::Missing("tar header of .backup.info")), Header::parse)
    };
    let (expected, actual) = match (header(expected), header(actual)) {
        (Ok(Some(expected)), Ok(Some(actual))) => (expected, actual),
        (_, Err(kind)) | (Err(kind), _) => return kind,
        _ => return FormatError::Missing("tar header of .backup.info"),
    };
    let name = |header: &Header| header.name.escape_ascii().to_string();
    let mode = |header: &Header| format!("{:04o}", header.mode);
    for (what, expected, actual) in [
        ("name of .backup.info", name(&expected), name(&actual)),
        ("mode of .backup.info", mode(&expected), mode(&actual)),
        ("size of .backup.info", expected.size.to_string(), actual.size.to_string()),
        ("mtime of .backup.info", expected.mtime.to_string(), actual.mtime.to_string()),
    ] {
        if expected != actual {
            return FormatError::Mismatch { what, expected, actual };
        }
    }
    FormatError::Invalid { field: "tar header of .backup.info", value: name(&actual) }
}

/// Places a failure to decode a stream.
fn place(error: DecodeError, offset: u64) -> Error {
    match error {
        DecodeError::Io(source) => Error::input(offset, source),
        DecodeError::Format(kind) => kind.at(offset),
    }
}
