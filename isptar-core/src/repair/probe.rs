//! What stands at a place of a damaged archive: one stream, or all streams of a big member.

use std::ops::Range;

use super::window::Window;
use crate::archive::{Watched, check_map, check_padding, stream_limit};
use crate::codec::{DecodeError, Unpacker};
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Found, SliceBlocks};
use crate::format::entry::{Chunks, Digest, Kind};
use crate::format::header::Header;
use crate::format::member::{MemberHeader, prologue};
use crate::format::trailer::{self, SizeTrailer};
use crate::format::{BLOCK, INFO_NAME, chunk_size, gzip, padding};
use crate::io::{RangeReader, ReadAt};
use crate::limits::{LimitName, Limits};
use crate::pack::MemberDigest;
use crate::path::MemberPath;

/// Bytes read at once.
const READ: usize = 256 << 10;

/// Packed bytes in which the first block of a stream of ours is found: a candidate that needs more
/// is none, so that a false one costs little.
const PROOF: u64 = 4 << 10;

/// Bytes that wrong data may be decoded for before that is noticed: a stored block is copied
/// unseen, codes that are not valid show much sooner.
const UNNOTICED: u64 = 66_000;

/// Bytes of wrong data that never decode by chance when they are not stored.
const CHANCE: u64 = 4 << 10;

/// Most bytes of a stored deflate block, and the bytes of its head.
const STORED: u64 = 65_535;
const STORED_HEAD: u64 = 5;

/// Damaged heads of stored blocks in a row that are passed over.
const MOST_BAD: u32 = 4;

/// Most chunks of a file (FORMAT.md section 12).
const MOST_CHUNKS: u64 = 1 << 18;

/// Members that are whole: one, or those of a group.
#[derive(Debug)]
pub(super) struct Unit {
    /// Their streams.
    pub(super) range: Range<u64>,
    pub(super) members: Vec<Whole>,
    /// Whether bytes that no CRC covers are not as the writer makes them.
    pub(super) is_odd: bool,
}

/// A member whose streams are whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) header: MemberHeader,
    pub(super) zoffset: u64,
    pub(super) digest: Option<Digest>,
    pub(super) chunks: Option<Chunks>,
    /// Whether the headers are spelled as our writer does.
    pub(super) is_ours: bool,
}

/// What stands at a place.
#[derive(Debug)]
pub(super) enum Step {
    /// Whole members.
    Unit(Unit),
    /// The beginning of an archive of ours, up to this place.
    Prologue(u64),
    /// The header of `.backup.info`, up to this place: listing and trailer follow.
    Info(u64, Box<Header>),
    /// A size trailer, up to this place.
    Trailer(u64),
    /// A whole stream that no member begins with, or that this member is not well-formed in, up to
    /// this place.
    Stray(u64, FormatError, Option<MemberPath>),
    /// A damaged stream, or a member that lacks some.
    Broken(Broken),
}

/// Damage at a place.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) kind: FormatError,
    /// The member that is lost by it, when its headers are whole.
    pub(super) path: Option<MemberPath>,
    /// Where the damaged stream begins.
    pub(super) start: u64,
    /// Where a stored stream should end, though nothing there says so.
    pub(super) claimed: Option<u64>,
    /// Bytes that were decoded in vain.
    pub(super) wasted: u64,
    /// Whether it ends where its headers or the heads of its blocks say.
    pub(super) fits: bool,
    pub(super) resume: Resume,
}

/// Where to go on behind damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// The next stream begins there, or the archive ends there.
    At(u64),
    /// From this place on a head must be searched; before the second place, decoding was possible.
    Search(u64, u64),
}

/// Decodes streams wherever it is told.
#[derive(Debug)]
pub(super) struct Probe<'a, R> {
    reader: RangeReader<&'a R>,
    pub(super) window: Window<'a, R>,
    unpacker: Unpacker,
    stream: Vec<u8>,
    limits: Limits,
    /// Where members end at the latest.
    end: u64,
    /// Whether a listing may be met; else what looks like one is a file.
    info: bool,
    /// Whether the form of the stream at hand is not that of the writer.
    is_odd: bool,
}

impl<'a, R: ReadAt> Probe<'a, R> {
    pub(super) fn new(source: &'a R, end: u64, limits: Limits) -> Self {
        let mut reader = RangeReader::new(source, 0, end, READ);
        reader.set_ahead(end);
        Self {
            reader,
            window: Window::new(source, end),
            unpacker: Unpacker::new(),
            stream: Vec::new(),
            limits,
            end,
            info: true,
            is_odd: false,
        }
    }

    /// Says whether a listing may be met.
    pub(super) fn looking_for_info(self, info: bool) -> Self {
        Self { info, ..self }
    }

    /// Returns the text of the stream at `at`, at most `limit` bytes, and where it ends.
    pub(super) fn decode(
        &mut self,
        at: u64,
        limit: u64,
    ) -> Result<std::result::Result<u64, FormatError>> {
        self.stream.clear();
        self.unpacker.reset();
        self.reader.seek(at, self.end);
        let mut input = Watched::new(&mut self.reader);
        let read = self.unpacker.read_to_end(&mut input, limit, &mut self.stream);
        self.is_odd = input.into_odd().is_some();
        match read {
            Ok(()) => Ok(Ok(at + self.unpacker.packed())),
            Err(DecodeError::Format(kind)) => Ok(Err(kind)),
            Err(DecodeError::Io(source)) => Err(Error::input(at, source)),
        }
    }

    /// Returns where decoding stopped that began at `at`.
    pub(super) fn stopped(&self, at: u64) -> u64 {
        at + self.unpacker.packed()
    }

    /// Returns how many bytes, packed and not, the last decoding went through.
    pub(super) fn spent(&self) -> u64 {
        self.unpacker.packed() + self.stream.len() as u64
    }

    /// Returns where a prologue ends that begins at `at`.
    pub(super) fn prologue_end(&mut self, at: u64) -> Result<Option<u64>> {
        match self.decode(at, BLOCK as u64)? {
            Ok(end) if self.stream == prologue().0 => match self.prologue(end)? {
                Step::Prologue(end) => Ok(Some(end)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Returns whether a whole member begins at `at`.
    pub(super) fn is_whole_member(&mut self, at: u64) -> Result<bool> {
        Ok(matches!(self.step(at)?, Step::Unit(_)))
    }

    /// Returns what [`Self::decode`] decoded.
    pub(super) fn text(&self) -> &[u8] {
        &self.stream
    }

    /// Returns whether a tar header begins the stream at `at`: a look that costs little.
    pub(super) fn is_likely(&mut self, at: u64) -> Result<bool> {
        Ok(self.first_header(at)?.is_some())
    }

    /// Returns whether a member of this name stands at a place.
    pub(super) fn is_member_at(
        &mut self,
        at: u64,
        zoffset: u64,
        path: &MemberPath,
    ) -> Result<bool> {
        // Where its data is damaged, the headers are at hand all the same.
        drop(self.decode(at, stream_limit(&self.limits))?);
        let zoffset = usize::try_from(zoffset).unwrap_or(usize::MAX);
        Ok(self.headers_at(zoffset).is_ok_and(|(whole, _, _)| whole.header.path == *path))
    }

    fn first_header(&mut self, at: u64) -> Result<Option<Header>> {
        self.unpacker.reset();
        self.reader.seek(at, self.end.min(at + PROOF));
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.unpacker.read(&mut self.reader, &mut block[have..]) {
                Ok(0) | Err(DecodeError::Format(_)) => return Ok(None),
                Ok(count) => have += count,
                Err(DecodeError::Io(source)) => return Err(Error::input(at, source)),
            }
        }
        Ok(Header::parse(&block).ok().flatten())
    }

    /// Finds out what stands at `at`.
    pub(super) fn step(&mut self, at: u64) -> Result<Step> {
        let limit = stream_limit(&self.limits);
        let end = match self.decode(at, limit)? {
            Ok(end) => end,
            Err(kind) => {
                let real = self.expected_real();
                return Ok(Step::Broken(self.broken(at, kind, real)?));
            }
        };
        if self.stream == prologue().0 {
            return self.prologue(end);
        }
        if end - at == trailer::LEN as u64 && self.is_trailer(at)? {
            return Ok(Step::Trailer(end));
        }
        self.members(at, end)
    }

    /// Returns whether a size trailer stands at `at`.
    pub(super) fn is_trailer(&mut self, at: u64) -> Result<bool> {
        const LEN: usize = trailer::LEN;
        let bytes = self.window.peek(at, LEN)?.first_chunk::<LEN>();
        Ok(bytes.is_some_and(|bytes| SizeTrailer::parse(bytes).is_ok()))
    }

    fn prologue(&mut self, at: u64) -> Result<Step> {
        match self.decode(at, BLOCK as u64)? {
            Ok(end) if self.stream == prologue().1 => Ok(Step::Prologue(end)),
            _ => Ok(Step::Stray(at, FormatError::Missing("body of the prologue"), None)),
        }
    }

    /// Reads the members in the stream at hand.
    fn members(&mut self, at: u64, end: u64) -> Result<Step> {
        let mut members = Vec::new();
        let mut position = 0;
        while position < self.stream.len() {
            let found = match self.headers_at(position) {
                Ok(found) => found,
                Err(kind) => return Ok(Step::Stray(end, kind, None)),
            };
            let (mut whole, from, data_len) = found;
            if position == 0 && from == self.stream.len() && data_len > 0 {
                if let Some(header) = self.info_header(&whole.header, end)? {
                    return Ok(Step::Info(end, Box::new(header)));
                }
                // What looks on may have decoded something else; the headers are at hand.
                return self.chunked(at, end, whole, data_len);
            }
            let (need, have) =
                (data_len.saturating_add(padding(data_len)), (self.stream.len() - from) as u64);
            if need > have {
                let what = "data of the member";
                return Ok(Step::Stray(end, FormatError::Truncated { what, need, have }, None));
            }
            // Not above what is in memory.
            let data_end = from + usize::try_from(data_len).unwrap_or(0);
            let mut digest = MemberDigest::new(&whole.header);
            digest.update(&self.stream[from..data_end]);
            whole.digest = Some(digest.finish()).filter(|_| whole.header.kind.size() > 0);
            let headers = &self.stream[position..from];
            position = from + usize::try_from(need).unwrap_or(0);
            let form = check_padding(&self.stream[data_end..position]);
            if let Err(kind) = form.and_then(|()| check_map(&whole.header, headers)) {
                // A CRC says that it was written so, and the writer does not.
                return Ok(Step::Stray(end, kind, Some(whole.header.path)));
            }
            members.push(whole);
        }
        let kind = FormatError::Missing("tar header");
        Ok(match members.is_empty() {
            true => Step::Stray(end, kind, None),
            false => Step::Unit(Unit { range: at..end, members, is_odd: self.is_odd }),
        })
    }

    /// Reads the headers at a place of the stream at hand; returns where the data is, and its
    /// length.
    fn headers_at(&self, position: usize) -> std::result::Result<(Whole, usize, u64), FormatError> {
        let zoffset = position as u64;
        if zoffset > self.limits.group {
            let (limit, actual) = (self.limits.group, zoffset);
            let raise = LimitName::Group.to(actual);
            return Err(FormatError::Limit { what: "offset in a group", limit, actual, raise });
        }
        let mut blocks = SliceBlocks::new(&self.stream, position);
        let Found::Member(found) = assemble::read_headers(&mut blocks, &self.limits)? else {
            return Err(FormatError::Missing("tar header"));
        };
        let header = found.header;
        let is_file = matches!(header.kind, Kind::File { .. });
        let data_len = if is_file { header.data_len() } else { 0 };
        if found.stored != data_len {
            return Err(FormatError::mismatch("size in the header", data_len, found.stored));
        }
        let mut spelled = Vec::new();
        let encoded = header.encode(&self.limits, &mut spelled).is_ok();
        let is_ours = encoded && self.stream.get(position..blocks.position()) == Some(&spelled);
        let whole = Whole { header, zoffset, digest: None, chunks: None, is_ours };
        Ok((whole, blocks.position(), data_len))
    }

    /// Returns the tar of the member that begins at `zoffset` in the stream at hand.
    pub(super) fn member_at(&self, zoffset: u64) -> std::result::Result<&[u8], FormatError> {
        let start = usize::try_from(zoffset).unwrap_or(usize::MAX);
        let (_, from, data_len) = self.headers_at(start)?;
        let len = data_len.saturating_add(padding(data_len));
        let end = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        self.stream.get(start..end).ok_or(FormatError::Missing("data of the member"))
    }

    /// Returns the header of the stream at hand when it is the one before a listing, which begins
    /// at `end`.
    fn info_header(&mut self, header: &MemberHeader, end: u64) -> Result<Option<Header>> {
        let name = header.path.as_bytes();
        let is_plain = header.mode == 0o600
            && (header.uid, header.gid) == (0, 0)
            && header.user.is_empty()
            && header.group.is_empty();
        if !self.info || self.stream.len() != BLOCK || !name.starts_with(INFO_NAME) || !is_plain {
            return Ok(None);
        }
        let block = self.stream.first_chunk::<BLOCK>().copied();
        let parsed = block.and_then(|block| Header::parse(&block).ok().flatten());
        let limit = stream_limit(&self.limits);
        let size = header.data_len();
        let begins = match self.decode(end, limit)? {
            // A file with a restored listing has chunks, which do not end with a line.
            Ok(_) if self.stream.len() as u64 == chunk_size(size) => false,
            Ok(_) => super::listing::begins_listing(&self.stream, &self.limits),
            // A file of that name, made by root, whose first chunk is damaged as well, would be
            // lost in any case.
            Err(_) => true,
        };
        Ok(parsed.filter(|_| begins))
    }

    /// Reads the chunks of a member whose headers are a stream of their own.
    fn chunked(&mut self, at: u64, end: u64, mut whole: Whole, data_len: u64) -> Result<Step> {
        let mut digest = MemberDigest::new(&whole.header);
        let mut chunks = Chunks { size: chunk_size(data_len), packed: vec![end - at] };
        let mut is_odd = self.is_odd;
        let (mut next, mut left) = (end, data_len);
        while left > 0 {
            let first = chunks.packed.len() == 1;
            let most = if first { self.limits.chunk.min(left) } else { chunks.size.min(left) };
            let most = if most == left { left.saturating_add(padding(data_len)) } else { most };
            let read = self.chunk(next, most, left, &mut digest)?;
            let size = chunks.size;
            let real = match read {
                Ok(real) => check_chunk(real, &mut chunks.size, left, data_len, first),
                Err(kind) => Err(kind),
            };
            let real = match real {
                Ok(real) => real,
                Err(kind) => {
                    let expected = size.min(left);
                    let last = if expected == left { padding(data_len) } else { 0 };
                    let mut broken = self.broken(next, kind, Some(expected + last))?;
                    broken.path = Some(whole.header.path);
                    return Ok(Step::Broken(broken));
                }
            };
            chunks.packed.push(self.unpacker.packed());
            is_odd |= self.is_odd;
            next += self.unpacker.packed();
            left -= real.min(left);
        }
        whole.digest = Some(digest.finish());
        whole.chunks = Some(chunks);
        Ok(Step::Unit(Unit { range: at..next, members: vec![whole], is_odd }))
    }

    /// Reads a chunk of at most `most` bytes, piece by piece: it may be large. Returns its length.
    fn chunk(
        &mut self,
        at: u64,
        most: u64,
        data: u64,
        digest: &mut MemberDigest,
    ) -> Result<std::result::Result<u64, FormatError>> {
        self.unpacker.reset();
        self.reader.seek(at, self.end);
        self.stream.resize(64 << 10, 0);
        let (mut real, mut data) = (0, data);
        let mut input = Watched::new(&mut self.reader);
        loop {
            match self.unpacker.read(&mut input, &mut self.stream) {
                Ok(0) => {
                    self.is_odd = input.into_odd().is_some();
                    return Ok(Ok(real));
                }
                Ok(count) => {
                    real += count as u64;
                    if real > most {
                        // The format says how long it is.
                        return Ok(Err(FormatError::mismatch("length of a chunk", most, real)));
                    }
                    let bytes = usize::try_from(data).unwrap_or(usize::MAX).min(count);
                    digest.update(&self.stream[..bytes]);
                    data -= bytes as u64;
                    if let Err(kind) = check_padding(&self.stream[bytes..count]) {
                        return Ok(Err(kind));
                    }
                }
                Err(DecodeError::Format(kind)) => return Ok(Err(kind)),
                Err(DecodeError::Io(source)) => return Err(Error::input(at, source)),
            }
        }
    }

    /// Returns the real length of the stream of which a part is at hand, if its headers are.
    fn expected_real(&self) -> Option<u64> {
        let (_, from, data_len) = self.headers_at(0).ok()?;
        let data = if data_len > chunk_size(data_len) { 0 } else { data_len };
        (from as u64).checked_add(data)?.checked_add(padding(data))
    }

    /// Finds out where to go on behind the stream at `at`, which was just read in vain and should
    /// have had `real` bytes.
    fn broken(&mut self, at: u64, kind: FormatError, real: Option<u64>) -> Result<Broken> {
        let packed = self.unpacker.packed();
        let stopped = at + packed;
        let ended = matches!(kind, FormatError::Crc { .. })
            || matches!(kind, FormatError::Mismatch { what: "length of a stream modulo 2^32", .. });
        let cut = matches!(kind, FormatError::Truncated { .. })
            || matches!(kind, FormatError::Deflate("the stream is cut off"));
        let mut claimed = None;
        let mut fits = true;
        let resume = if ended && self.is_border(stopped)? {
            fits = real == Some(self.stream.len() as u64);
            Resume::At(stopped)
        } else if let Some(end) = self.stored_end(at, real, &mut claimed)? {
            Resume::At(end)
        } else if cut && packed >= CHANCE {
            Resume::At(self.end)
        } else {
            Resume::Search((at + 1).max(stopped.saturating_sub(UNNOTICED)), stopped.max(at + 1))
        };
        let wasted = packed + self.stream.len() as u64;
        Ok(Broken { kind, path: None, start: at, claimed, wasted, fits, resume })
    }

    /// Returns whether a stream begins at a place, or the members end there.
    fn is_border(&mut self, at: u64) -> Result<bool> {
        if at == self.end {
            return Ok(true);
        }
        let is_head = self.window.peek(at, gzip::HEAD.len())? == gzip::HEAD;
        Ok(is_head || self.is_trailer(at)?)
    }

    /// Returns where the stored stream at `at` ends. Its length follows from the `real` one, or
    /// from the heads of its blocks, which stand at fixed distances: those that are damaged are
    /// passed over. What it holds is never looked at, so an archive stored in an archive is never
    /// taken for a part of it.
    ///
    /// When there is no border where it should be, that too may be damaged, or bytes are missing
    /// in the stream: the place is `claimed`.
    fn stored_end(
        &mut self,
        at: u64,
        real: Option<u64>,
        claimed: &mut Option<u64>,
    ) -> Result<Option<u64>> {
        let real = real.and_then(|real| usize::try_from(real).ok());
        let expected = real.map(|real| at.saturating_add(gzip::stored_len(real) as u64));
        if let Some(end) = expected.filter(|&end| end <= self.end)
            && self.is_border(end)?
        {
            return Ok(Some(end));
        }
        let most = real.map_or(stream_limit(&self.limits), |real| real as u64) / STORED + 1;
        let (mut seen, mut total, mut bad) = (false, 0, 0);
        for number in 0..most {
            if bad > MOST_BAD {
                break;
            }
            let head = at + gzip::HEAD.len() as u64 + number * (STORED + STORED_HEAD);
            if head >= self.end {
                // Cut off within a block.
                return Ok((total == 0).then_some(self.end));
            }
            match self.stored_head(head)? {
                Some((true, len)) => {
                    let end = head + STORED_HEAD + len + gzip::TAIL_LEN as u64;
                    if end > self.end && total == 0 {
                        return Ok(Some(self.end));
                    }
                    if self.is_border(end)? {
                        return Ok(Some(end));
                    }
                    if expected.is_none_or(|expected| expected == end) {
                        *claimed = Some(end);
                        return Ok(None);
                    }
                    (total, bad) = (total + 1, bad + 1);
                }
                Some((false, STORED)) => (seen, bad) = (true, 0),
                _ => (total, bad) = (total + 1, bad + 1),
            }
        }
        // A hole hits one head; more that are wrong are none.
        *claimed = expected.filter(|_| seen && total <= 1);
        Ok(None)
    }

    /// Reads the head of a stored block: whether it is the last one, and its length.
    fn stored_head(&mut self, at: u64) -> Result<Option<(bool, u64)>> {
        let Some(&[last, a, b, c, d]) = self.window.peek(at, 5)?.first_chunk::<5>() else {
            return Ok(None);
        };
        let len = u16::from_le_bytes([a, b]);
        let is_head = last <= 1 && len == !u16::from_le_bytes([c, d]);
        Ok(is_head.then_some((last == 1, u64::from(len))))
    }
}

/// Checks the real length of a chunk; the first one tells the size of all.
fn check_chunk(
    real: u64,
    size: &mut u64,
    left: u64,
    data_len: u64,
    first: bool,
) -> std::result::Result<u64, FormatError> {
    if real == left.saturating_add(padding(data_len)) && (first || left <= *size) {
        if first {
            *size = (*size).max(left.checked_next_power_of_two().unwrap_or(*size)).max(512);
        }
        return Ok(real);
    }
    if first && real >= 512 && real.is_power_of_two() && data_len.div_ceil(real) <= MOST_CHUNKS {
        *size = real;
        return Ok(real);
    }
    if !first && real == *size && real < left {
        return Ok(real);
    }
    let expected = (*size).min(left);
    Err(FormatError::mismatch("length of a chunk", expected, real))
}
