//! Reading any tar from front to back, listing or not.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use crate::codec::{DecodeError, Unpacker};
use crate::content::{Content, Piece};
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Blocks, Found};
use crate::format::entry::{Dialect, Entry, Kind};
use crate::format::member::{Assembled, MemberHeader, PROLOGUE_COMMENT, prologue};
use crate::format::sparse::Segment;
use crate::format::{BLOCK, INFO_NAME, padding};
use crate::limits::{LimitName, Limits};
use crate::pack::{Details, entry_of};

/// What gzip begins with.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes of content handed out at once.
const PIECE: usize = 64 << 10;

/// Reads a tar, or a gzip-compressed one of any number of streams, from front to back.
///
/// Nothing but the CRC of gzip tells whether the content is what was stored, and it comes after
/// it: errors are found late. An archive of ours is known by its prologue; its listing is not
/// handed out.
pub struct TarReader<R> {
    input: Input<R>,
    limits: Limits,
    /// What is left of the data of the last member, and its padding.
    left: u64,
    padding: u64,
    is_ours: bool,
    ended: bool,
    end_missing: bool,
    buffer: Vec<u8>,
    lost: Vec<Entry>,
}

impl<R: Read> TarReader<R> {
    /// Reads `input`, which is decompressed when it begins with the magic of gzip.
    ///
    /// # Errors
    ///
    /// [`Error::Input`].
    pub fn new(input: R, limits: Limits) -> Result<Self> {
        Ok(Self {
            input: Input::new(input)?,
            limits,
            left: 0,
            padding: 0,
            is_ours: false,
            ended: false,
            end_missing: false,
            buffer: Vec::new(),
            lost: Vec::new(),
        })
    }

    /// Returns whether the input is an archive of ours; known once the first member was read.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Looks whether the input begins as an archive of ours does.
    ///
    /// # Errors
    ///
    /// As [`Self::next`].
    pub fn peek_is_ours(&mut self) -> Result<bool> {
        let (header, body) = prologue();
        let start = self.input.peek(2 * BLOCK)?;
        Ok(start == [header, body].concat())
    }

    /// Returns the entries that the listing of an archive of ours has without their content; known
    /// at the end.
    pub fn lost(&self) -> &[Entry] {
        &self.lost
    }

    /// Returns whether the input ended without the zero blocks that end a tar; known at its end.
    pub fn end_missing(&self) -> bool {
        self.end_missing
    }

    /// Returns how many bytes of the tar were read.
    pub fn position(&self) -> u64 {
        self.input.position
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the next member, or `None` at the end of the tar. What was left of the content of
    /// the one before is skipped.
    ///
    /// # Errors
    ///
    /// [`Error::NotTar`]; [`Error::Corrupt`], its offset in the decompressed tar;
    /// [`Error::Input`].
    #[expect(clippy::should_implement_trait, reason = "members borrow the reader")]
    pub fn next(&mut self) -> Result<Option<Scanned<'_, R>>> {
        while !self.ended {
            self.skip_rest()?;
            let offset = self.input.position;
            let headers = assemble::read_headers(&mut self.input, &self.limits);
            match headers.map_err(|error| error.place(offset))? {
                Found::Global(records) => {
                    let comment = records.iter().find(|(key, _)| key == b"comment");
                    self.is_ours |= comment.is_some_and(|(_, value)| value == PROLOGUE_COMMENT);
                }
                Found::Zeros => self.end(true)?,
                Found::End => self.end(false)?,
                Found::Member(found) => {
                    self.left = found.stored;
                    self.padding = padding(found.stored);
                    if self.is_ours && self.is_listing(&found)? {
                        self.read_listing()?;
                        continue;
                    }
                    return Ok(Some(Scanned::new(self, *found)));
                }
            }
        }
        Ok(None)
    }

    fn skip_rest(&mut self) -> Result<()> {
        self.input.skip(std::mem::take(&mut self.left))?;
        self.input.skip(std::mem::take(&mut self.padding))
    }

    /// Reads the input to its end, because only there its last CRC stands.
    fn end(&mut self, marked: bool) -> Result<()> {
        self.ended = true;
        self.end_missing = !marked;
        self.input.drain()
    }

    /// Returns whether a member is the listing: its header is as the writer makes it, and it begins
    /// with an entry, or with the empty line and the archive info of an archive without any.
    fn is_listing(&mut self, found: &Assembled) -> Result<bool> {
        let header = &found.header;
        let is_named = match header.path.as_bytes().strip_prefix(INFO_NAME) {
            Some([]) => true,
            Some([b'.', digits @ ..]) => {
                !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
            }
            _ => false,
        };
        let is_plain = header.mode == 0o600
            && (header.uid, header.gid) == (0, 0)
            && header.user.is_empty()
            && header.group.is_empty()
            && header.xattrs.is_empty();
        if !is_named || !is_plain {
            return Ok(false);
        }
        let start = self.input.peek(usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE))?;
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.is_empty() {
            return Ok(start.starts_with(b"\nlisting_header=512\n"));
        }
        // The line of a file of many gigabytes is longer than what was looked at.
        let tabs = line.iter().filter(|&&byte| byte == b'\t').count();
        Ok(if line.len() < start.len() {
            Entry::parse(line, Dialect::Isptar, &self.limits).is_ok()
        } else {
            tabs >= 5
        })
    }
}

impl<R: Read> TarReader<R> {
    /// Reads the listing, line by line, for what only it knows: what should be in the archive and
    /// is not.
    fn read_listing(&mut self) -> Result<()> {
        let mut line = Vec::new();
        let mut buffer = vec![0; PIECE];
        while self.left > 0 {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
            self.input.read_exact(&mut buffer[..len])?;
            self.left -= len as u64;
            for part in buffer[..len].split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(part);
                let actual = line.len() as u64;
                if actual > self.limits.line {
                    let (what, limit) = ("listing line", self.limits.line);
                    // Where it ends was not looked for.
                    let raise = LimitName::Line.to(actual.saturating_mul(2));
                    return Err(Error::Limit { what, limit, actual, raise });
                }
                if line == b"\n" {
                    // Tables and archive info follow; they speak of offsets.
                    return Ok(());
                }
                if line.ends_with(b"\n") {
                    self.read_entry(&line[..line.len() - 1])?;
                    line.clear();
                }
            }
        }
        Ok(())
    }

    fn read_entry(&mut self, line: &[u8]) -> Result<()> {
        // Most lines need not be taken apart.
        if !line.windows(6).any(|key| key == b"\tlost=") {
            return Ok(());
        }
        let entry = Entry::parse(line, Dialect::Isptar, &self.limits);
        let entry = entry.map_err(|kind| in_tar(kind, self.input.position))?;
        if entry.lost.is_some() && entry.location.is_none() {
            self.lost.push(entry);
        }
        Ok(())
    }
}

/// A member that was met by [`TarReader::next`].
pub struct Scanned<'a, R> {
    reader: &'a mut TarReader<R>,
    found: Assembled,
    /// The segment at hand, and how much of it was handed out.
    segment: usize,
    within: u64,
    position: u64,
}

impl<'a, R: Read> Scanned<'a, R> {
    fn new(reader: &'a mut TarReader<R>, found: Assembled) -> Self {
        Self { reader, found, segment: 0, within: 0, position: 0 }
    }

    /// Returns the headers; the name as it stands in the tar, without the slash at the end of a
    /// directory's.
    pub fn header(&self) -> &MemberHeader {
        &self.found.header
    }

    /// Returns an entry with what the headers say: no location, digest or packed size.
    pub fn entry(&self) -> Entry {
        entry_of(&self.found.header, Details::default())
    }

    /// Returns what was not right in the headers, though the member is good.
    pub fn warnings(&self) -> &[FormatError] {
        &self.found.warnings
    }

    /// Returns where the next byte of content belongs, and how many follow it.
    fn target(&mut self) -> Option<(u64, u64)> {
        let Some(map) = &self.found.header.sparse else {
            let left = self.found.header.kind.size().saturating_sub(self.position);
            return (left > 0).then_some((self.position, left));
        };
        loop {
            let Segment { offset, len } = *map.segments().get(self.segment)?;
            if self.within < len {
                return Some((offset + self.within, len - self.within));
            }
            self.segment += 1;
            self.within = 0;
        }
    }
}

impl<R: Read> Content for Scanned<'_, R> {
    fn size(&self) -> u64 {
        self.found.header.kind.size()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        if !matches!(self.found.header.kind, Kind::File { .. }) {
            return Ok(None);
        }
        let Some((offset, len)) = self.target() else { return Ok(None) };
        let reader = &mut *self.reader;
        let len = usize::try_from(len.min(reader.left)).unwrap_or(usize::MAX).min(PIECE);
        reader.buffer.resize(len, 0);
        reader.input.read_exact(&mut reader.buffer)?;
        reader.left -= len as u64;
        self.position += len as u64;
        self.within += len as u64;
        Ok(Some(Piece { offset, bytes: &reader.buffer }))
    }
}

/// Reads on when a signal came in between.
struct Patient<R>(R);

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// The tar: decompressed when it is compressed.
struct Input<R> {
    raw: BufReader<Chain<Cursor<Vec<u8>>, Patient<R>>>,
    unpacker: Option<Unpacker>,
    /// Bytes of the tar that were looked at but not taken.
    peeked: Vec<u8>,
    /// Bytes of the tar that were taken.
    position: u64,
}

impl<R: Read> Input<R> {
    fn new(input: R) -> Result<Self> {
        // The first read may bring a single byte, and the magic has two.
        let mut magic = Vec::with_capacity(MAGIC.len());
        let mut start = Patient(input).take(MAGIC.len() as u64);
        start.read_to_end(&mut magic).map_err(|source| Error::Input { offset: 0, source })?;
        let unpacker = (magic == MAGIC).then(Unpacker::new);
        let input = Cursor::new(magic).chain(start.into_inner());
        let raw = BufReader::with_capacity(256 << 10, input);
        Ok(Self { raw, unpacker, peeked: Vec::new(), position: 0 })
    }

    /// Reads some bytes of the tar; 0 is the end.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let offset = self.position;
        let read = self.read_raw(buf);
        let count = read.map_err(|error| match error {
            DecodeError::Io(source) => Error::Input { offset, source },
            DecodeError::Format(kind) => in_tar(kind, offset),
        })?;
        self.position += count as u64;
        Ok(count)
    }

    fn read_raw(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        if !self.peeked.is_empty() {
            let count = buf.len().min(self.peeked.len());
            buf[..count].copy_from_slice(&self.peeked[..count]);
            self.peeked.drain(..count);
            return Ok(count);
        }
        let Some(unpacker) = &mut self.unpacker else {
            return Ok(self.raw.read(buf)?);
        };
        while !buf.is_empty() {
            let count = unpacker.read(&mut self.raw, buf)?;
            if count > 0 {
                return Ok(count);
            }
            if at_end(&mut self.raw)? {
                return Ok(0);
            }
            unpacker.reset();
        }
        Ok(0)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> Result<()> {
        let mut have = 0;
        while have < buf.len() {
            let count = self.read(&mut buf[have..])?;
            if count == 0 {
                let (need, have) = (buf.len() as u64, have as u64);
                let what = "data of a member";
                return Err(in_tar(FormatError::Truncated { what, need, have }, self.position));
            }
            have += count;
        }
        Ok(())
    }

    /// Looks at the next `len` bytes, fewer at the end.
    fn peek(&mut self, len: usize) -> Result<&[u8]> {
        let position = self.position;
        let mut bytes = vec![0; len];
        let mut have = 0;
        while have < len {
            let count = self.read(&mut bytes[have..])?;
            if count == 0 {
                break;
            }
            have += count;
        }
        bytes.truncate(have);
        bytes.extend_from_slice(&self.peeked);
        self.peeked = bytes;
        self.position = position;
        Ok(&self.peeked[..have])
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        while count > 0 {
            let len = usize::try_from(count).unwrap_or(usize::MAX).min(buffer.len());
            self.read_exact(&mut buffer[..len])?;
            count -= len as u64;
        }
        Ok(())
    }

    /// Reads everything that is left.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }
}

/// Returns whether no stream follows: the input is at its end, or zeros fill a tape's last block.
fn at_end<B: BufRead>(raw: &mut B) -> Result<bool, DecodeError> {
    loop {
        let available = raw.fill_buf()?;
        if available.is_empty() {
            return Ok(true);
        }
        let zeros = available.iter().take_while(|&&byte| byte == 0).count();
        if zeros == 0 {
            return Ok(false);
        }
        raw.consume(zeros);
    }
}

/// Places an error in the decompressed tar.
fn in_tar(kind: FormatError, position: u64) -> Error {
    match kind.at(position) {
        Error::Corrupt { offset, kind } => Error::CorruptTar { position: offset, kind },
        error => error,
    }
}

/// Why headers could not be read.
enum HeaderError {
    /// The input failed, or is damaged; the error says where.
    Input(Error),
    /// The headers are wrong.
    Format(FormatError),
}

impl HeaderError {
    fn place(self, offset: u64) -> Error {
        match self {
            Self::Input(error) => error,
            Self::Format(
                kind @ (FormatError::Mismatch { .. }
                | FormatError::Truncated { .. }
                | FormatError::Invalid { field: "checksum", .. }),
            ) if offset == 0 => Error::NotTar(kind),
            Self::Format(kind) => in_tar(kind, offset),
        }
    }
}

impl From<FormatError> for HeaderError {
    fn from(kind: FormatError) -> Self {
        Self::Format(kind)
    }
}

impl<R: Read> Blocks for Input<R> {
    type Error = HeaderError;

    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, HeaderError> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let count = self.read(&mut block[have..]).map_err(HeaderError::Input)?;
            if count == 0 && have == 0 {
                return Ok(None);
            }
            if count == 0 {
                let (need, have) = (BLOCK as u64, have as u64);
                return Err(FormatError::Truncated { what: "tar header", need, have }.into());
            }
            have += count;
        }
        Ok(Some(block))
    }
}
