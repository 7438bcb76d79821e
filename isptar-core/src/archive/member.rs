//! Reading a member: its headers checked against the entry, its content against CRC and digest.

use std::ops::Range;
use std::sync::Arc;

use super::Archive;
use super::classic::ClassicContent;
use super::open::Tailed;
use super::rereads::Rereads;
use super::watched::Watched;
use crate::codec::{DecodeError, Unpacker};
use crate::content::{Content, Piece};
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Found, SliceBlocks};
use crate::format::entry::{Chunks, Dialect, Digest, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::sparse::Segment;
use crate::format::{BLOCK, padding, text};
use crate::io::{RangeReader, ReadAt};
use crate::limits::{LimitName, Limits, Raise};
use crate::pack::MemberDigest;
use crate::path::MemberPath;

/// Bytes read at once when members are read one after the other.
const READ: usize = 256 << 10;

/// The member of an entry: its headers, and its content.
///
/// Content is handed out stream by stream, each only after its CRC was found good; the digest of
/// all of it is checked before [`Content::next_piece`] says that it is at the end.
#[derive(Debug)]
pub struct Member<'a, R> {
    path: MemberPath,
    range: Range<u64>,
    header: MemberHeader,
    body: Body<'a, R>,
}

#[derive(Debug)]
enum Body<'a, R> {
    Ours(Box<Streams<'a, R>>),
    Classic(Box<ClassicContent<'a, R>>),
}

/// The streams of a member of ours.
#[derive(Debug)]
struct Streams<'a, R> {
    reader: RangeReader<&'a Tailed<R>>,
    /// Where the member ends in the archive.
    member_end: Option<u64>,
    unpacker: Unpacker,
    /// The stream at hand, decompressed, and where it is in the archive.
    stream: Vec<u8>,
    loaded: Option<(u64, u64)>,
    /// Which bytes of `stream` are data that was not handed out.
    from: usize,
    to: usize,
    chunks: Option<Chunks>,
    /// The next chunk to load, and where it begins in the archive.
    next_chunk: u64,
    next_offset: u64,
    /// Bytes of data handed out, of how many.
    position: u64,
    data_len: u64,
    /// The segment that `position` is in, and where it begins in the data.
    segment: usize,
    segment_start: u64,
    expected: Option<Digest>,
    digest: Option<MemberDigest>,
    /// Where in the first stream the headers begin, and where the data would.
    headers: Range<usize>,
    /// What in the streams is not as the writer makes it, though a decoder takes it.
    odd: Option<FormatError>,
    /// The run over many members that this is part of.
    run: Option<Arc<Rereads>>,
}

/// What a member is in its stream: of interest when nothing else may be there.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    /// The stream, decompressed; of a chunked member the last one.
    pub(crate) stream: &'a [u8],
    /// Where in it the member ends.
    pub(crate) end: usize,
}

impl<'a, R: ReadAt> Member<'a, R> {
    pub(super) fn open(
        archive: &'a Archive<R>,
        entry: &Entry,
        previous: Option<Self>,
        run: Option<&Arc<Rereads>>,
    ) -> Result<Self> {
        if let (Some(reason), None) = (&entry.lost, entry.location) {
            return Err(Error::Lost { path: entry.path.clone(), reason: reason.clone() });
        }
        if let Some(location) = entry.location.filter(|location| location.depth > 0) {
            return Err(Error::InBase { path: entry.path.clone(), depth: location.depth });
        }
        if archive.dialect == Dialect::Classic {
            return Self::open_classic(archive, entry);
        }
        let range = entry.claimed_range();
        let corrupt =
            |kind| Error::CorruptMember { path: entry.path.clone(), range: range.clone(), kind };
        let (start, packed) = check_range(archive, entry).map_err(corrupt)?;
        let first = entry
            .chunks
            .as_ref()
            .map_or(packed, |chunks| chunks.packed.first().copied().unwrap_or(packed));
        let mut streams = match previous.map(|previous| previous.body) {
            Some(Body::Ours(streams)) => streams,
            _ => Box::new(Streams::new(archive)),
        };
        if let Some(run) = run {
            streams.run = Some(Arc::clone(run));
        }
        streams.odd = None;
        // Members that follow each other are fetched together; one alone costs no byte more.
        let follows = streams.member_end == Some(start);
        streams.reader.set_ahead(if follows { archive.data_end } else { 0 });
        streams.member_end = Some(start + packed);
        let limit = stream_limit(&archive.limits);
        let raise = LimitName::Group.to(limit.saturating_mul(2));
        streams
            .load(start, first, limit, raise)
            .map_err(|error| locate(error, &entry.path, &range))?;
        let header = streams.begin(entry, &archive.limits).map_err(corrupt)?;
        let (path, body) = (entry.path.clone(), Body::Ours(streams));
        Ok(Self { path, range, header, body })
    }

    fn open_classic(archive: &'a Archive<R>, entry: &Entry) -> Result<Self> {
        let size = entry.kind.size();
        let offset = entry.location.map_or(0, |location| location.offset);
        let (path, range, end) = (entry.path.clone(), entry.claimed_range(), archive.data_end);
        let place = entry.location.map_or((1, 0), |location| (location.slice, location.zoffset));
        if place != (1, 0) {
            let actual = format!("slice {}, offset {}", place.0, place.1);
            let kind = FormatError::mismatch("location", "slice 1, offset 0", actual);
            return Err(Error::CorruptMember { path, range, kind });
        }
        if size > 0 && (entry.location.is_none() || offset >= end) {
            let kind = match entry.location {
                None => FormatError::Missing("location"),
                Some(_) => FormatError::OutOfBounds { what: "member", offset, len: size, end },
            };
            return Err(Error::CorruptMember { path, range, kind });
        }
        let header = MemberHeader {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            mtime: entry.mtime.unwrap_or_default(),
            ..MemberHeader::new(path.clone(), entry.kind.clone())
        };
        let content = ClassicContent::new(&archive.source, offset, end, size);
        Ok(Self { path, range, header, body: Body::Classic(Box::new(content)) })
    }

    /// Returns the headers. Members of classic archives have none that belong to them alone: what
    /// the entry says stands here.
    pub fn header(&self) -> &MemberHeader {
        &self.header
    }

    /// Checks what readers need not: that padding is zero, and streams are as the writer makes them.
    /// To be called when [`Content::next_piece`] has said that all content was read. Returns where
    /// the member ends in its stream; members of classic archives have none for themselves.
    pub(crate) fn check_form(&self) -> Result<Option<Form<'_>>> {
        let Body::Ours(streams) = &self.body else { return Ok(None) };
        match streams.check_form(&self.header) {
            Ok(form) => Ok(Some(form)),
            Err(kind) => {
                let (path, range) = (self.path.clone(), self.range.clone());
                Err(Error::CorruptMember { path, range, kind })
            }
        }
    }

    /// Turns to the piece that has byte `start` of the content, or to one before it; the digest is
    /// not checked then.
    pub(super) fn skip_to(&mut self, start: u64) {
        let Body::Ours(streams) = &mut self.body else { return };
        if start > 0 {
            streams.skip_to(start, &self.header);
        }
    }
}

/// Returns offset and length of a member's streams after checking them.
fn check_range<R: ReadAt>(archive: &Archive<R>, entry: &Entry) -> Result<(u64, u64), FormatError> {
    let location = entry.location.ok_or(FormatError::Missing("location"))?;
    let len = entry.packed.ok_or(FormatError::Missing("packed"))?;
    let (offset, end) = (location.offset, archive.data_end);
    if location.slice != 1 {
        return Err(FormatError::mismatch("slice of a location", 1, location.slice));
    }
    offset
        .checked_add(len)
        .filter(|&member_end| member_end <= end)
        .ok_or(FormatError::OutOfBounds { what: "member", offset, len, end })?;
    Ok((offset, len))
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
    fn new(archive: &'a Archive<R>) -> Self {
        Self {
            reader: RangeReader::new(&archive.source, 0, 0, READ),
            member_end: None,
            unpacker: Unpacker::new(),
            stream: Vec::new(),
            loaded: None,
            from: 0,
            to: 0,
            chunks: None,
            next_chunk: 0,
            next_offset: 0,
            position: 0,
            data_len: 0,
            segment: 0,
            segment_start: 0,
            expected: None,
            digest: None,
            headers: 0..0,
            odd: None,
            run: None,
        }
    }

    fn check_form(&self, header: &MemberHeader) -> Result<Form<'_>, FormatError> {
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
            run.check(offset)?;
        }
        self.loaded = None;
        self.stream.clear();
        self.unpacker.reset();
        self.reader.seek(offset, offset + packed);
        let mut input = Watched::new(&mut self.reader);
        let read = self.unpacker.read_to_end(&mut input, limit, &mut self.stream);
        self.odd = self.odd.take().or(input.into_odd());
        if let Some(run) = &self.run {
            run.count(offset, self.unpacker.packed(), self.stream.len() as u64);
        }
        read.map_err(|error| error.raised(raise))?;
        let actual = self.unpacker.packed();
        if actual != packed {
            return Err(FormatError::mismatch("packed size of a stream", packed, actual).into());
        }
        self.loaded = Some((offset, packed));
        Ok(())
    }

    /// Reads the headers in the stream at hand and prepares for the data.
    fn begin(&mut self, entry: &Entry, limits: &Limits) -> Result<MemberHeader, FormatError> {
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
        self.chunks = entry.chunks.clone();
        (self.position, self.segment, self.segment_start, self.next_chunk) = (0, 0, 0, 0);
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
        let Some(chunks) = &self.chunks else {
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
        self.next_offset = offset + chunks.packed.first().copied().unwrap_or(0);
        Ok(())
    }

    /// Loads the next chunk, if there is one.
    fn next_chunk(&mut self) -> Result<bool, DecodeError> {
        let Some(chunks) = &self.chunks else { return Ok(false) };
        let index = usize::try_from(self.next_chunk + 1).unwrap_or(usize::MAX);
        let Some(&packed) = chunks.packed.get(index) else { return Ok(false) };
        let data = chunks.size.min(self.data_len - self.next_chunk * chunks.size);
        let is_last = index + 1 == chunks.packed.len();
        let expected = data + if is_last { padding(self.data_len) } else { 0 };
        let what = "length of a chunk";
        self.load(self.next_offset, packed, expected, None)
            .map_err(|error| error.claimed(what, expected))?;
        let actual = self.stream.len() as u64;
        if actual != expected {
            return Err(FormatError::mismatch(what, expected, actual).into());
        }
        (self.from, self.to) = (0, usize::try_from(data).unwrap_or(0));
        self.next_chunk += 1;
        self.next_offset += packed;
        Ok(true)
    }

    fn skip_to(&mut self, start: u64, header: &MemberHeader) {
        self.digest = None;
        let Some(chunks) = &self.chunks else { return };
        let mut data = 0;
        for segment in segments(header) {
            let end = segment.offset + segment.len;
            if end > start {
                data += start.saturating_sub(segment.offset);
                break;
            }
            data += segment.len;
        }
        let chunk = (data / chunks.size).min(self.data_len.div_ceil(chunks.size).saturating_sub(1));
        let skipped = usize::try_from(chunk).unwrap_or(0);
        self.next_offset += chunks.packed.iter().skip(1).take(skipped).sum::<u64>();
        self.next_chunk = chunk;
        self.position = chunk * chunks.size;
    }

    /// Returns where the byte at `position` of the data belongs in the file, and how many bytes
    /// from there on are in the same segment.
    fn target(&mut self, header: &MemberHeader) -> Option<(u64, u64)> {
        let Some(map) = &header.sparse else {
            return Some((self.position, self.data_len - self.position));
        };
        loop {
            let segment = map.segments().get(self.segment)?;
            let within = self.position - self.segment_start;
            if within < segment.len {
                return Some((segment.offset + within, segment.len - within));
            }
            self.segment_start += segment.len;
            self.segment += 1;
        }
    }

    fn next(&mut self, header: &MemberHeader) -> Result<Option<(u64, Range<usize>)>, DecodeError> {
        if self.from == self.to && !self.next_chunk()? {
            return self.check_digest().map(|()| None);
        }
        let Some((offset, len)) = self.target(header) else {
            return Err(FormatError::Missing("sparse segment").into());
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(self.to - self.from);
        let range = self.from..self.from + len;
        if let Some(digest) = &mut self.digest {
            digest.update(&self.stream[range.clone()]);
        }
        self.from += len;
        self.position += len as u64;
        Ok(Some((offset, range)))
    }

    fn check_digest(&mut self) -> Result<(), DecodeError> {
        let (Some(expected), Some(digest)) = (self.expected, self.digest.take()) else {
            return Ok(());
        };
        let actual = digest.finish();
        let (what, expected, actual) = match (expected, actual) {
            (Digest::Content(expected), Digest::Content(actual)) => {
                ("the content", expected, actual)
            }
            (Digest::Stored(expected), Digest::Stored(actual)) => {
                ("the stored data", expected, actual)
            }
            (Digest::Content(_), Digest::Stored(_)) => {
                return Err(FormatError::Missing("stored_sha256").into());
            }
            (Digest::Stored(_), Digest::Content(_)) => {
                return Err(FormatError::Missing("sha256").into());
            }
        };
        if expected == actual {
            return Ok(());
        }
        let (expected, actual) = (text::digest_text(&expected), text::digest_text(&actual));
        Err(FormatError::Digest { what, expected, actual }.into())
    }
}

/// Checks what stands behind the data of a member, up to the next block.
pub(crate) fn check_padding(padding: &[u8]) -> Result<(), FormatError> {
    match padding.iter().any(|&byte| byte != 0) {
        true => Err(FormatError::invalid("padding", padding)),
        false => Ok(()),
    }
}

/// Checks that `headers`, as they stand in the stream, end with the sparse map of a member that has
/// one, and the zeros behind it.
pub(crate) fn check_map(header: &MemberHeader, headers: &[u8]) -> Result<(), FormatError> {
    let Some(map) = &header.sparse else { return Ok(()) };
    let mut text = Vec::new();
    map.encode(&mut text);
    match headers.ends_with(&text) {
        true => Ok(()),
        false => Err(FormatError::Missing("zeros behind the sparse map")),
    }
}

/// Returns the parts of a file that are stored.
fn segments(header: &MemberHeader) -> Vec<Segment> {
    match &header.sparse {
        Some(map) => map.segments().to_vec(),
        None => vec![Segment { offset: 0, len: header.kind.size() }],
    }
}

/// Checks that header and entry say the same; when they do not, neither wins.
pub(crate) fn check_agreement(header: &MemberHeader, entry: &Entry) -> Result<(), FormatError> {
    if header.path != entry.path {
        return Err(FormatError::mismatch("name in the tar header", &entry.path, &header.path));
    }
    if header.kind != entry.kind {
        let show = |kind: &Kind| match kind {
            Kind::File { size } => format!("a file of {size} bytes"),
            Kind::Symlink { target } => format!("a link to {}", crate::path::printable(target)),
            Kind::HardLink { target } => format!("a hard link to {target}"),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                format!("{} {major}:{minor}", kind.noun())
            }
            kind => kind.noun().to_owned(),
        };
        let (expected, actual) = (show(&entry.kind), show(&header.kind));
        return Err(FormatError::mismatch("kind in the tar header", expected, actual));
    }
    match entry.mtime.map(|mtime| mtime.seconds()) {
        Some(seconds) if seconds != header.mtime.seconds() => {
            let actual = header.mtime.seconds();
            Err(FormatError::mismatch("mtime in the tar header", seconds, actual))
        }
        _ => Ok(()),
    }
}

fn locate(error: DecodeError, path: &MemberPath, range: &Range<u64>) -> Error {
    let range = range.clone();
    match error {
        DecodeError::Io(source) => Error::Input { offset: range.start, source },
        DecodeError::Format(kind) => Error::CorruptMember { path: path.clone(), range, kind },
    }
}

impl<R: ReadAt> Content for Member<'_, R> {
    fn size(&self) -> u64 {
        self.header.kind.size()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        let (path, at) = (&self.path, &self.range);
        match &mut self.body {
            Body::Classic(content) => {
                let next = content.next().map_err(|error| locate(error, path, at))?;
                Ok(next.map(|(offset, bytes)| Piece { offset, bytes }))
            }
            Body::Ours(streams) => {
                let next = streams.next(&self.header).map_err(|error| locate(error, path, at))?;
                Ok(next.map(|(offset, range)| Piece { offset, bytes: &streams.stream[range] }))
            }
        }
    }
}
