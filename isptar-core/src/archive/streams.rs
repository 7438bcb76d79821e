//! The streams of one member, one after the other.

use std::ops::Range;
use std::sync::Arc;

use super::Archive;
use super::agree::{check_agreement, check_map, check_padding};
use super::chunks::{
    Blamed, ChunkPlaces, DigestCheck, MemberChunks, Placing, check_digest, check_real, claimed,
};
use super::member::Reading;
use super::rereads::Rereads;
use super::stream::StreamReader;
use crate::codec::DecodeError;
use crate::error::FormatError;
use crate::format::assemble::{self, Found, SliceBlocks};
use crate::format::entry::{Digest, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::sparse::Segment;
use crate::format::{BLOCK, padding};
use crate::io::ReadAt;
use crate::limits::{LimitName, Limits, Raise};
use crate::pack::MemberDigest;

/// The streams of a member of ours.
#[derive(Debug)]
pub(super) struct Streams<'a, R> {
    reader: StreamReader<'a, R>,
    /// Where the member ends in the archive.
    member_end: Option<u64>,
    /// The stream at hand, decompressed, and where it is in the archive.
    stream: Vec<u8>,
    loaded: Option<(u64, u64)>,
    /// Which bytes of `stream` are data that was not handed out.
    from: usize,
    to: usize,
    /// The chunks that were not loaded.
    chunks: Option<ChunkPlaces>,
    /// Where the data goes that was not handed out.
    placing: Placing,
    data_len: u64,
    expected: Option<Digest>,
    digest: Option<MemberDigest>,
    /// Where in the first stream the headers begin, and where the data would.
    headers: Range<usize>,
    /// What in the streams is not as the writer makes it, though a decoder takes it.
    odd: Option<FormatError>,
    /// The run over many members that this is part of.
    run: Option<Arc<Rereads>>,
    /// Which archive of the chain this is, and its length.
    depth: u32,
    archive_size: u64,
}

/// What a member is in its stream: of interest when nothing else may be there.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    /// The stream, decompressed; of a chunked member the last one.
    pub(crate) stream: &'a [u8],
    /// Where in it the member ends.
    pub(crate) end: usize,
}

/// Returns how long the stream of a small member may be: all its headers, and either a chunk or a
/// group.
pub(crate) fn stream_limit(limits: &Limits) -> u64 {
    let map = limits.segments.saturating_mul(42);
    let names = limits.path.saturating_mul(2);
    let data = limits.group.max(crate::format::chunk_size(0));
    [names, map, 16 << 10, data, limits.group].into_iter().fold(limits.pax, u64::saturating_add)
}

impl<'a, R: ReadAt> Streams<'a, R> {
    /// Makes those of members of `archive`, which is `depth` bases back.
    pub(super) fn new(archive: &'a Archive<R>, depth: u32) -> Self {
        Self {
            reader: StreamReader::new(&archive.source),
            member_end: None,
            stream: Vec::new(),
            loaded: None,
            from: 0,
            to: 0,
            chunks: None,
            placing: Placing::default(),
            data_len: 0,
            expected: None,
            digest: None,
            headers: 0..0,
            odd: None,
            run: None,
            depth,
            archive_size: archive.size(),
        }
    }

    /// Returns how many bases back the archive is.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Turns to the member of an entry that is at `start` of `archive`, `packed` bytes long, and
    /// decodes its first stream.
    pub(super) fn turn_to(
        &mut self,
        archive: &'a Archive<R>,
        entry: &Entry,
        (start, packed): (u64, u64),
        Reading { run, ahead, strict }: Reading<'_>,
    ) -> Result<(), DecodeError> {
        if let Some(run) = run {
            self.run = Some(Arc::clone(run));
        }
        self.odd = None;
        // Members that follow each other are fetched together; one alone costs no byte more.
        let follows = self.member_end == Some(start);
        let guessed = if follows { archive.data_end } else { 0 };
        // What is known to be wanted is of the archive that the listing is of.
        self.reader.set_ahead(ahead.filter(|_| self.depth == 0).unwrap_or(guessed));
        if strict {
            self.reader.set_strict();
        }
        self.member_end = Some(start + packed);
        let first = entry
            .chunks
            .as_ref()
            .map_or(packed, |chunks| chunks.packed.first().copied().unwrap_or(packed));
        let limit = stream_limit(&archive.limits);
        let raise = LimitName::Group.to(limit.saturating_mul(2));
        self.load(start, first, limit, raise)
    }

    /// Forgets the stream at hand.
    pub(super) fn forget(&mut self) {
        self.loaded = None;
    }

    pub(super) fn odd(&self) -> Option<&FormatError> {
        self.odd.as_ref()
    }

    /// Returns bytes of the stream at hand.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.stream.get(range).unwrap_or_default()
    }

    /// Returns the chunks that were not loaded.
    pub(super) fn chunks<'m>(
        &self,
        member: Arc<Blamed>,
        header: &'m MemberHeader,
    ) -> Option<MemberChunks<'m>> {
        let (places, placing) = (self.chunks.clone()?, self.placing.clone());
        Some(MemberChunks { member, places, placing, map: header.sparse.as_ref() })
    }

    pub(super) fn digest_check(&self, member: Arc<Blamed>) -> DigestCheck {
        DigestCheck { member, expected: self.expected, digest: self.digest.clone() }
    }

    pub(super) fn check_form(&self, header: &MemberHeader) -> Result<Form<'_>, FormatError> {
        if let Some(odd) = &self.odd {
            return Err(odd.clone());
        }
        let zeros = usize::try_from(padding(self.data_len)).unwrap_or(usize::MAX);
        let end = self.to.saturating_add(zeros);
        check_padding(self.stream.get(self.to..end).unwrap_or_default())?;
        // Of a chunked member the first stream is gone; its map is in the digest.
        if self.chunks.is_none() {
            check_map(header, self.stream.get(self.headers.clone()).unwrap_or_default())?;
        }
        Ok(Form { stream: &self.stream, end })
    }

    /// Decompresses the stream at `offset`, unless it is the one at hand; `raise` would let more
    /// than `limit` bytes come out of it.
    fn load(
        &mut self,
        offset: u64,
        packed: u64,
        limit: u64,
        raise: Option<Raise>,
    ) -> Result<(), DecodeError> {
        if self.loaded == Some((offset, packed)) {
            return Ok(());
        }
        if let Some(run) = &self.run {
            run.check(self.depth, self.archive_size, offset)?;
        }
        self.loaded = None;
        let decoded = self.reader.read(offset, packed, limit, &mut self.stream);
        self.odd = self.odd.take().or(decoded.odd);
        if let Some(run) = &self.run {
            run.count(self.depth, offset, decoded.packed, self.stream.len() as u64);
        }
        decoded.result.map_err(|error| error.raised(raise))?;
        self.loaded = Some((offset, packed));
        Ok(())
    }

    /// Reads the headers in the stream at hand and prepares for the data.
    pub(super) fn begin(
        &mut self,
        entry: &Entry,
        limits: &Limits,
    ) -> Result<MemberHeader, FormatError> {
        let zoffset = entry.location.map_or(0, |location| location.zoffset);
        if zoffset > limits.group {
            let (limit, actual) = (limits.group, zoffset);
            let (what, raise) = ("offset in a group", LimitName::Group.to(actual));
            return Err(FormatError::Limit { what, limit, actual, raise });
        }
        if !zoffset.is_multiple_of(BLOCK as u64) {
            return Err(FormatError::mismatch("offset in a group", "whole blocks", zoffset));
        }
        let start = usize::try_from(zoffset).unwrap_or(usize::MAX);
        let mut blocks = SliceBlocks::new(&self.stream, start);
        let Found::Member(found) = assemble::read_headers(&mut blocks, limits)? else {
            return Err(FormatError::Missing("tar header"));
        };
        let header = found.header;
        check_agreement(&header, entry)?;
        self.data_len =
            if matches!(header.kind, Kind::File { .. }) { header.data_len() } else { 0 };
        if found.stored != self.data_len {
            return Err(FormatError::mismatch("size in the header", self.data_len, found.stored));
        }
        self.expected = entry.digest;
        if entry.digest.is_none() && header.kind.size() > 0 {
            return Err(FormatError::Missing("sha256"));
        }
        self.digest = entry.digest.map(|_| MemberDigest::new(&header));
        self.placing = Placing::default();
        let from = blocks.position();
        self.headers = start..from;
        self.place_data(from, entry, limits)?;
        Ok(header)
    }

    /// Finds out where the data is: right here, or in chunks.
    fn place_data(
        &mut self,
        from: usize,
        entry: &Entry,
        limits: &Limits,
    ) -> Result<(), FormatError> {
        (self.from, self.to) = (from, from);
        self.chunks = None;
        let Some(chunks) = &entry.chunks else {
            let have = (self.stream.len() - from) as u64;
            let need = self.data_len.saturating_add(padding(self.data_len));
            if need > have {
                return Err(FormatError::Truncated { what: "data of the member", need, have });
            }
            // Not above what is in memory.
            self.to = from + usize::try_from(self.data_len).unwrap_or(0);
            return Ok(());
        };
        let (size, streams) = (chunks.size, chunks.packed.len() as u64);
        if size > limits.chunk {
            let (limit, raise) = (limits.chunk, LimitName::Chunk.to(size));
            return Err(FormatError::Limit { what: "chunk", limit, actual: size, raise });
        }
        let expected = self.data_len.div_ceil(size).saturating_add(1);
        if streams != expected {
            return Err(FormatError::mismatch("number of chunks", expected, streams));
        }
        if from != self.stream.len() {
            let after = self.stream.len() - from;
            return Err(FormatError::mismatch("bytes after the headers", 0, after));
        }
        let offset = entry.location.map_or(0, |location| location.offset);
        self.chunks = Some(ChunkPlaces::new(chunks.clone(), offset, self.data_len));
        Ok(())
    }

    /// Loads the next chunk, if there is one.
    fn next_chunk(&mut self) -> Result<bool, DecodeError> {
        let Some(place) = self.chunks.as_mut().and_then(ChunkPlaces::next) else {
            return Ok(false);
        };
        self.load(place.offset, place.packed, place.real, None)
            .map_err(|error| claimed(error, place.real))?;
        check_real(&place, &self.stream)?;
        (self.from, self.to) = (0, usize::try_from(place.data).unwrap_or(0));
        Ok(true)
    }

    pub(super) fn skip_to(&mut self, start: u64, header: &MemberHeader) {
        self.digest = None;
        let Some(chunks) = &mut self.chunks else { return };
        let mut data = 0;
        for segment in segments(header) {
            let end = segment.offset + segment.len;
            if end > start {
                data += start.saturating_sub(segment.offset);
                break;
            }
            data += segment.len;
        }
        self.placing.position = chunks.skip_to(data);
    }

    /// Returns where the next piece of data belongs in the file, and which bytes of the stream at
    /// hand it is; `None` when all was handed out and its digest found good.
    pub(super) fn next(
        &mut self,
        header: &MemberHeader,
    ) -> Result<Option<(u64, Range<usize>)>, DecodeError> {
        if self.from == self.to && !self.next_chunk()? {
            check_digest(self.expected, self.digest.take())?;
            return Ok(None);
        }
        let most = (self.to - self.from) as u64;
        let Some((offset, len)) = self.placing.next(header.sparse.as_ref(), most) else {
            return Err(FormatError::Missing("sparse segment").into());
        };
        let range = self.from..self.from + usize::try_from(len).unwrap_or(usize::MAX);
        if let Some(digest) = &mut self.digest {
            digest.update(&self.stream[range.clone()]);
        }
        self.from = range.end;
        Ok(Some((offset, range)))
    }
}

/// Returns the parts of a file that are stored.
fn segments(header: &MemberHeader) -> Vec<Segment> {
    match &header.sparse {
        Some(map) => map.segments().to_vec(),
        None => vec![Segment { offset: 0, len: header.kind.size() }],
    }
}
