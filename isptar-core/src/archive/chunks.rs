//! The chunks of a big file, each to be read on its own.

use std::ops::Range;
use std::sync::Arc;

use super::Archive;
use super::member::locate;
use super::stream::StreamReader;
use crate::codec::DecodeError;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Chunks, Digest};
use crate::format::sparse::{Segment, SparseMap};
use crate::format::{padding, text};
use crate::io::ReadAt;
use crate::pack::MemberDigest;
use crate::path::MemberPath;

/// One chunk: what any thread needs to read it.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// The member that it is of.
    pub(crate) member: Arc<Blamed>,
    /// Where its stream is.
    pub(crate) offset: u64,
    pub(crate) packed: u64,
    /// Bytes of its stream, decoded: data and, in the last chunk, padding.
    pub(crate) real: u64,
    /// Bytes of data.
    pub(crate) data: usize,
    /// Where its data belongs in the file: an offset, and which bytes of the data. What is between
    /// is a hole.
    pub(crate) pieces: Vec<(u64, Range<usize>)>,
}

/// What errors say of a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Blamed {
    pub(crate) path: MemberPath,
    pub(crate) range: Range<u64>,
    /// How many bases back the member is, and what that base is called.
    pub(crate) depth: u32,
    pub(crate) base: Option<Arc<str>>,
}

impl Blamed {
    /// Says what is wrong with the member.
    pub(super) fn located(&self, error: DecodeError) -> Error {
        let error = locate(error, &self.path, &self.range);
        match &self.base {
            Some(base) => Error::InBase { base: base.to_string(), error: Box::new(error) },
            None => error,
        }
    }
}

/// Where the chunks of a member are in the archive.
#[derive(Debug, Clone)]
pub(super) struct ChunkPlaces {
    chunks: Chunks,
    /// The next chunk, and where it begins in the archive.
    next: u64,
    offset: u64,
    data_len: u64,
}

/// Where a chunk is in the archive.
pub(super) struct ChunkPlace {
    pub(super) offset: u64,
    pub(super) packed: u64,
    pub(super) real: u64,
    pub(super) data: u64,
}

impl ChunkPlaces {
    /// Places the chunks of a member whose streams begin at `offset` and hold `data_len` bytes of
    /// data.
    pub(super) fn new(chunks: Chunks, offset: u64, data_len: u64) -> Self {
        let offset = offset.saturating_add(chunks.packed.first().copied().unwrap_or(0));
        Self { chunks, next: 0, offset, data_len }
    }

    /// Turns to the chunk that has byte `position` of the data, and returns where its data begins.
    pub(super) fn skip_to(&mut self, position: u64) -> u64 {
        let size = self.chunks.size;
        let last = self.data_len.div_ceil(size).saturating_sub(1);
        let chunk = (position / size).min(last);
        let skipped = usize::try_from(chunk).unwrap_or(0);
        self.offset += self.chunks.packed.iter().skip(1).take(skipped).sum::<u64>();
        self.next = chunk;
        chunk * size
    }

    pub(super) fn next(&mut self) -> Option<ChunkPlace> {
        let index = usize::try_from(self.next + 1).unwrap_or(usize::MAX);
        let packed = *self.chunks.packed.get(index)?;
        let data = self.chunks.size.min(self.data_len - self.next * self.chunks.size);
        let is_last = index + 1 == self.chunks.packed.len();
        let real = data + if is_last { padding(self.data_len) } else { 0 };
        let offset = self.offset;
        self.next += 1;
        self.offset += packed;
        Some(ChunkPlace { offset, packed, real, data })
    }
}

/// Where the data of a member belongs in the file, from its beginning on.
#[derive(Debug, Clone, Default)]
pub(super) struct Placing {
    /// Bytes of data that were placed.
    pub(super) position: u64,
    /// The segment that `position` is in, and where it begins in the data.
    segment: usize,
    segment_start: u64,
}

impl Placing {
    /// Returns where the next byte of the data belongs in the file, and how many bytes from there
    /// on are in the same segment, at most `most`.
    pub(super) fn next(&mut self, map: Option<&SparseMap>, most: u64) -> Option<(u64, u64)> {
        let (offset, len) = match map {
            None => (self.position, most),
            Some(map) => self.in_segment(map.segments(), most)?,
        };
        self.position += len;
        Some((offset, len))
    }

    fn in_segment(&mut self, segments: &[Segment], most: u64) -> Option<(u64, u64)> {
        loop {
            let segment = segments.get(self.segment)?;
            let within = self.position - self.segment_start;
            if within < segment.len {
                return Some((segment.offset + within, (segment.len - within).min(most)));
            }
            self.segment_start += segment.len;
            self.segment += 1;
        }
    }
}

/// Iterates over the chunks of a member, in order.
#[derive(Debug)]
pub(crate) struct MemberChunks<'m> {
    pub(super) member: Arc<Blamed>,
    pub(super) places: ChunkPlaces,
    pub(super) placing: Placing,
    pub(super) map: Option<&'m SparseMap>,
}

impl Iterator for MemberChunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let ChunkPlace { offset, packed, real, data } = self.places.next()?;
        let data = usize::try_from(data).unwrap_or(usize::MAX);
        let (mut pieces, mut done) = (Vec::new(), 0);
        while done < data {
            // The map adds up to the length of the data: this was checked with the headers.
            let (offset, len) = self.placing.next(self.map, (data - done) as u64)?;
            let end = done + usize::try_from(len).unwrap_or(usize::MAX);
            pieces.push((offset, done..end));
            done = end;
        }
        Some(Chunk { member: Arc::clone(&self.member), offset, packed, real, data, pieces })
    }
}

/// Reads chunks, whichever it is given; one a thread.
#[derive(Debug)]
pub(crate) struct ChunkReader<'a, R> {
    archive: &'a Archive<R>,
    streams: StreamReader<'a, R>,
}

impl<'a, R: ReadAt> ChunkReader<'a, R> {
    pub(crate) fn new(archive: &'a Archive<R>) -> Self {
        Self { archive, streams: StreamReader::new(&archive.source) }
    }

    /// Makes one that refuses what gzip would not take, though the bytes that come out may be right.
    pub(crate) fn strict(archive: &'a Archive<R>) -> Self {
        let mut reader = Self::new(archive);
        reader.streams.set_strict();
        reader
    }

    /// Decodes a chunk into `out`, in place of what is there: [`Chunk::data`] bytes, and the
    /// padding of the last one. The stream's CRC, length and packed length were found good then;
    /// what remains is the digest over all chunks, see [`DigestCheck`]. Returns what in the stream
    /// is not as the writer makes it though a decoder takes it: of interest to verify.
    ///
    /// # Errors
    ///
    /// [`crate::Error::CorruptMember`] or [`crate::Error::Input`].
    pub(crate) fn read(&mut self, chunk: &Chunk, out: &mut Vec<u8>) -> Result<Option<FormatError>> {
        let place = ChunkPlace {
            offset: chunk.offset,
            packed: chunk.packed,
            real: chunk.real,
            data: chunk.data as u64,
        };
        self.streams.turn_to(&self.archive.at_depth(chunk.member.depth)?.source);
        let decoded = self.streams.read(place.offset, place.packed, place.real, out);
        let odd = decoded.odd;
        let result = decoded.result.map_err(|error| claimed(error, place.real));
        result
            .and_then(|()| check_real(&place, out))
            .map_err(|error| chunk.member.located(error))?;
        Ok(odd)
    }
}

const WHAT: &str = "length of a chunk";

/// Says, of a chunk that is too long, that it is not as long as the listing claims.
pub(super) fn claimed(error: DecodeError, real: u64) -> DecodeError {
    error.claimed(WHAT, real)
}

/// Checks that as much came out of a chunk as should.
pub(super) fn check_real(place: &ChunkPlace, out: &[u8]) -> Result<(), DecodeError> {
    let actual = out.len() as u64;
    match actual == place.real {
        true => Ok(()),
        false => Err(FormatError::mismatch(WHAT, place.real, actual).into()),
    }
}

/// The check of a member's content against the digest in its entry: by whoever has the content in
/// order.
#[derive(Debug, Clone)]
pub(crate) struct DigestCheck {
    pub(super) member: Arc<Blamed>,
    pub(super) expected: Option<Digest>,
    pub(super) digest: Option<MemberDigest>,
}

impl DigestCheck {
    /// Adds what comes next of the data.
    pub(crate) fn update(&mut self, data: &[u8]) {
        if let Some(digest) = &mut self.digest {
            digest.update(data);
        }
    }

    /// Checks the digest of all that was added.
    ///
    /// # Errors
    ///
    /// [`crate::Error::CorruptMember`].
    pub(crate) fn finish(self) -> Result<()> {
        check_digest(self.expected, self.digest).map_err(|kind| self.member.located(kind.into()))
    }
}

pub(super) fn check_digest(
    expected: Option<Digest>,
    digest: Option<MemberDigest>,
) -> Result<(), FormatError> {
    let (Some(expected), Some(digest)) = (expected, digest) else { return Ok(()) };
    let (what, expected, actual) = match (expected, digest.finish()) {
        (Digest::Content(expected), Digest::Content(actual)) => ("the content", expected, actual),
        (Digest::Stored(expected), Digest::Stored(actual)) => ("the stored data", expected, actual),
        (Digest::Content(_), Digest::Stored(_)) => {
            return Err(FormatError::Missing("stored_sha256"));
        }
        (Digest::Stored(_), Digest::Content(_)) => return Err(FormatError::Missing("sha256")),
    };
    if expected == actual {
        return Ok(());
    }
    let (expected, actual) = (text::digest_text(&expected), text::digest_text(&actual));
    Err(FormatError::Digest { what, expected, actual })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;
    use crate::error::Error;
    use crate::format::chunk_size;
    use crate::format::entry::Kind;
    use crate::format::member::MemberHeader;
    use crate::io::WriteSink;
    use crate::limits::Limits;
    use crate::pack::Details;
    use crate::writer::{ArchiveWriter, WriterOptions};

    /// An archive of a file of some chunks, `f`, and of a sparse one, `s`.
    fn bytes() -> Vec<u8> {
        let chunk = usize::try_from(chunk_size(0)).unwrap();
        let content: Vec<u8> = (0..3 * chunk + 100)
            .map(|at| u8::try_from(((at * at) >> 13) & 0xff).unwrap())
            .collect();
        let mut bytes = Vec::new();
        let sink = WriteSink::new(&mut bytes);
        let mut writer = ArchiveWriter::new(sink, &WriterOptions::default()).unwrap();
        let header = MemberHeader::new("f", Kind::File { size: content.len() as u64 });
        writer.append(&header, Details::default(), content.as_slice()).unwrap();
        let size = 64 << 20;
        let mut header = MemberHeader::new("s", Kind::File { size });
        let segments: Vec<Segment> =
            (0..5).map(|n| Segment { offset: n << 23, len: 600 << 10 }).collect();
        header.sparse = Some(SparseMap::new(size, segments, &Limits::default()).unwrap());
        let data = &content[..5 * (600 << 10)];
        writer.append(&header, Details::default(), data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    /// What one reader after the other hands out.
    fn pieces(content: &mut dyn Content) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::new();
        while let Some(piece) = content.next_piece().unwrap() {
            pieces.push((piece.offset, piece.bytes.to_vec()));
        }
        pieces
    }

    #[test]
    fn chunks_read_backwards_are_those_of_the_member() {
        let bytes = bytes();
        let archive = Archive::open(&bytes).unwrap();
        for path in ["f", "s"] {
            let entry = archive.find(&path.into()).unwrap().unwrap();
            let mut member = archive.member(&entry).unwrap();
            let chunks: Vec<Chunk> = member.chunks().unwrap().collect();
            assert!(chunks.len() > 2);
            let mut check = member.digest_check();
            let mut reader = ChunkReader::new(&archive);
            let mut out = Vec::new();
            let mut read = Vec::new();
            for chunk in chunks.iter().rev() {
                assert_eq!(reader.read(chunk, &mut out).unwrap(), None);
                read.push(out.clone());
            }
            read.reverse();
            let mut joined = Vec::new();
            for (chunk, bytes) in chunks.iter().zip(&read) {
                check.update(&bytes[..chunk.data]);
                let piece =
                    |(at, range): &(u64, Range<usize>)| (*at, bytes[range.clone()].to_vec());
                joined.extend(chunk.pieces.iter().map(piece));
            }
            assert!(joined == pieces(&mut member));
            check.clone().finish().unwrap();
            check.update(b"more");
            assert!(matches!(check.finish(), Err(Error::CorruptMember { .. })));
        }
    }

    #[test]
    fn a_damaged_chunk_fails_as_the_member_does() {
        let mut bytes = bytes();
        let archive = Archive::open(&bytes).unwrap();
        let entry = archive.find(&"f".into()).unwrap().unwrap();
        let member = archive.member(&entry).unwrap();
        let chunks: Vec<Chunk> = member.chunks().unwrap().collect();
        let tail = usize::try_from(chunks[1].offset + chunks[1].packed - 8).unwrap();
        drop(member);
        drop(archive);
        bytes[tail] ^= 1;
        let archive = Archive::open(&bytes).unwrap();
        let mut reader = ChunkReader::new(&archive);
        let mut out = Vec::new();
        let failed = reader.read(&chunks[1], &mut out).unwrap_err();
        reader.read(&chunks[0], &mut out).unwrap();
        let mut member = archive.member(&entry).unwrap();
        member.next_piece().unwrap();
        let expected = member.next_piece().unwrap_err();
        assert_eq!(failed.to_string(), expected.to_string());
        // One that the listing claims to be longer or shorter is no better.
        for (packed, real) in [(1, 0), (0, 512)] {
            let mut wrong = chunks[0].clone();
            wrong.packed -= packed;
            wrong.real += real;
            reader.read(&wrong, &mut out).unwrap_err();
        }
    }
}
