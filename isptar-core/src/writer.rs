//! Writing an archive member by member.
//!
//! Streams go to the sink as they are made; lines of the listing are packed block by block into a
//! spool (in memory, above a megabyte an unlinked file), which follows the members. A run that ends
//! before [`ArchiveWriter::finish`] publishes nothing.

mod classic;
mod ending;
mod listing;
mod output;
mod put;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use crate::codec::{Method, Packer};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Chunks, Entry, Kind, Location};
use crate::format::info::{ArchiveInfo, FORMAT};
use crate::format::member::{MemberHeader, prologue};
use crate::format::tables::Base;
use crate::format::{INFO_NAME, chunk_size};
use crate::io::{ReadAt, Sink};
use crate::limits::Limits;
use crate::pack::{Details, MemberDigest, MemberPacker, entry_of};
use crate::path::{MemberName, MemberPath, compare};
use crate::run::Run;

pub(crate) use classic::{ClassicWriter, listing_packer};
pub(crate) use ending::{Ending, info_header, listing_header, listing_name};
pub(crate) use listing::{block_packer, pack_block};
pub(crate) use output::Output;
pub(crate) use put::Put;

use listing::{LISTING_LEVEL, ListingWriter, check_spool, spool_error};

/// How an archive is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WriterOptions {
    /// Compression level: 0 stores, 12 is the smallest. Default 6.
    pub level: u8,
    /// Refuse members that do not come in the order of their names, each name once. Default true.
    /// Without it members may come in any order; a search in an archive that they did not come to
    /// in order reads the whole listing.
    pub sorted: bool,
    /// When the archive was begun, in seconds since 1970.
    pub created: Option<u64>,
    /// What makes the archive, for its info: its first 256 characters, without control characters.
    pub tool: Option<String>,
    /// Directory for the packed listing, once it is larger than a megabyte; the system's temporary
    /// directory when absent.
    pub spool: Option<PathBuf>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { level: 6, sorted: true, created: None, tool: None, spool: None }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Length of the archive in bytes.
    pub archive_size: u64,
    /// How many slices it is cut into.
    pub slices: u64,
    /// SHA-256 of the listing: the archive's identity.
    pub identity: [u8; 32],
    /// Number of entries.
    pub entries: u64,
    /// Bytes of content of all files, holes included.
    pub content_size: u64,
}

/// Writes an archive, fed member by member.
///
/// Nothing is complete before [`Self::finish`]; a writer that is dropped leaves no archive.
#[derive(Debug)]
pub struct ArchiveWriter<S> {
    output: Output<S>,
    packer: MemberPacker,
    buffer: Vec<u8>,
    listing: ListingWriter,
    limits: Limits,
    /// Whether the order of names is demanded, and whether it was kept so far.
    sorted: bool,
    in_order: bool,
    created: Option<u64>,
    tool: Option<String>,
    incomplete: bool,
    parts: bool,
    previous: Option<MemberPath>,
    entries: u64,
    content_size: u64,
    /// Names in the root that the listing's own name must differ from.
    reserved: BTreeSet<Vec<u8>>,
    /// The stream that was copied last: its bytes in its source, and where it is here.
    copied: Option<(Range<u64>, u64)>,
}

impl<S: Sink> ArchiveWriter<S> {
    /// Begins an archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    pub fn new(sink: S, options: &WriterOptions) -> Result<Self> {
        check_spool(options.spool.as_deref())?;
        let limits = Limits::default();
        let mut writer = Self {
            output: Output::new(sink),
            packer: MemberPacker::new(options.level, limits),
            buffer: Vec::new(),
            listing: ListingWriter::new(options.level, limits, options.spool.as_deref()),
            limits,
            sorted: options.sorted,
            in_order: true,
            created: options.created,
            tool: options.tool.as_deref().map(one_line),
            incomplete: false,
            parts: false,
            previous: None,
            entries: 0,
            content_size: 0,
            reserved: BTreeSet::new(),
            copied: None,
        };
        let mut streams = Vec::new();
        push_prologue(&mut writer.listing.packer, &mut streams);
        writer.output.write(&streams)?;
        Ok(writer)
    }

    /// Says that something which should be in the archive is not.
    pub fn set_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Says that several archives are merged in this one, as its parts: their names repeat.
    pub(crate) fn set_parts(&mut self) {
        self.parts = true;
        self.sorted = false;
    }

    /// Appends a member and returns its entry. Of a file, `content` must give exactly
    /// [`MemberHeader::data_len`] bytes; of anything else it is not read.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`], [`Error::UnsafePath`], [`Error::Unstorable`] and a failure to read
    /// the content of a small file leave the archive as it was, everything else leaves it unfit to
    /// be finished.
    pub fn append<R: Read>(
        &mut self,
        header: &MemberHeader,
        details: Details,
        mut content: R,
    ) -> Result<Entry> {
        self.check_path(&header.path)?;
        let data_len = if let Kind::File { .. } = header.kind { header.data_len() } else { 0 };
        let chunk = chunk_size(data_len);
        let failed = |source| Error::Content { path: header.path.clone(), source };
        if data_len > chunk {
            let mut member = self.begin(header, chunk)?;
            let mut digest = MemberDigest::new(header);
            let mut stream = std::mem::take(&mut self.buffer);
            let mut data = vec![0; usize::try_from(chunk).unwrap_or(usize::MAX)];
            let mut left = data_len;
            while left > 0 {
                let len = usize::try_from(left.min(chunk)).unwrap_or(usize::MAX);
                let data = &mut data[..len];
                content.read_exact(data).map_err(failed)?;
                left -= len as u64;
                digest.update(data);
                stream.clear();
                let last_of = (left == 0).then_some(data_len);
                self.packer.pack_chunk(data, last_of, Method::Deflate, &mut stream);
                self.append_packed_chunk(&mut member, &stream)?;
            }
            self.buffer = stream;
            at_end(&mut content).map_err(failed)?;
            return self.end(member, digest, details);
        }
        let mut data = vec![0; usize::try_from(data_len).unwrap_or(usize::MAX)];
        content.read_exact(&mut data).map_err(failed)?;
        if matches!(header.kind, Kind::File { .. }) {
            at_end(&mut content).map_err(failed)?;
        }
        let mut stream = std::mem::take(&mut self.buffer);
        stream.clear();
        let packed = self.packer.pack_whole(header, details, &data, &mut stream);
        let unstorable = |kind| Error::Unstorable { path: header.path.clone(), kind };
        let appended = packed.map_err(unstorable).and_then(|entry| self.push(entry, &stream));
        self.buffer = stream;
        appended
    }

    /// Appends a member that was packed as one stream.
    pub(crate) fn push(&mut self, mut entry: Entry, stream: &[u8]) -> Result<Entry> {
        self.check_path(&entry.path)?;
        entry.location = Some(self.location());
        // An entry that its line has no room for is refused before its bytes are out.
        self.record(&entry)?;
        self.output.write(stream)?;
        Ok(entry)
    }

    /// Appends a stream, whose entries must follow; returns where it begins.
    pub(crate) fn put_stream(&mut self, stream: &[u8]) -> Result<u64> {
        let offset = self.output.offset();
        self.output.write(stream)?;
        Ok(offset)
    }

    /// Records an entry that has no bytes here, or whose streams were put out before.
    pub(crate) fn put_entry(&mut self, entry: &Entry) -> Result<()> {
        self.check_path(&entry.path)?;
        self.record(entry)
    }

    /// Appends a member of another archive: the bytes of its streams are copied as they are. Of
    /// `entry`, location and `packed` say which bytes of `source` these are; what is recorded has
    /// the new location. Members of a group must come one after the other, and share the copy of
    /// their stream.
    ///
    /// Nothing is decoded: whether the member is whole, and its entry true, is for the caller to
    /// know.
    ///
    /// # Errors
    ///
    /// As [`Self::append`]; [`Error::CorruptMember`] when the entry has no location in `source`,
    /// and [`Error::Input`].
    pub fn copy<R: ReadAt + ?Sized>(&mut self, source: &R, entry: &Entry) -> Result<Entry> {
        self.check_path(&entry.path)?;
        let from = entry.location.filter(|location| location.depth == 0);
        let (Some(from), Some(packed)) = (from, entry.packed) else {
            let (path, range) = (entry.path.clone(), entry.claimed_range());
            let kind = FormatError::Missing("location in this archive");
            return Err(Error::CorruptMember { path, range, kind });
        };
        let range = entry.claimed_range();
        let shared = self.copied.take().filter(|(copied, _)| *copied == range && from.zoffset > 0);
        let offset = shared.as_ref().map_or(self.output.offset(), |(_, offset)| *offset);
        let location = Location { offset, depth: 0, slice: 1, zoffset: from.zoffset };
        let entry = Entry { location: Some(location), ..entry.clone() };
        self.record(&entry)?;
        if shared.is_none() {
            self.copy_bytes(source, from.offset, packed)?;
        }
        self.copied = Some((range, offset));
        Ok(entry)
    }

    /// Appends bytes of another archive, whose entries must follow; returns where they begin.
    pub(crate) fn put_copy<R: ReadAt + ?Sized>(
        &mut self,
        source: &R,
        range: Range<u64>,
    ) -> Result<u64> {
        let offset = self.output.offset();
        self.copy_bytes(source, range.start, range.end.saturating_sub(range.start))?;
        Ok(offset)
    }

    fn copy_bytes<R: ReadAt + ?Sized>(
        &mut self,
        source: &R,
        mut from: u64,
        len: u64,
    ) -> Result<()> {
        const STEP: usize = 256 << 10;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = len;
        let mut copied = Ok(());
        while left > 0 && copied.is_ok() {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(STEP);
            buffer.resize(step, 0);
            let input = |source| Error::input(from, source);
            copied = source.read_exact_at(&mut buffer, from).map_err(input);
            copied = copied.and_then(|()| self.output.write(&buffer));
            from += step as u64;
            left -= step as u64;
        }
        self.buffer = buffer;
        copied
    }

    /// Leaves it to the caller to pack the blocks of the listing: see [`Self::full_block`].
    pub(crate) fn defer_blocks(&mut self) {
        self.listing.deferred = Some(VecDeque::new());
    }

    /// Returns the text of a listing block that is to be packed by [`pack_block`]; what becomes of
    /// it goes to [`Self::put_block`], in the same order.
    pub(crate) fn full_block(&mut self) -> Option<Vec<u8>> {
        self.listing.deferred.as_mut()?.pop_front()
    }

    /// Takes a packed block of the listing.
    pub(crate) fn put_block(&mut self, stream: &[u8]) -> Result<()> {
        self.listing.put_block(stream)
    }

    /// Says which bases the entries of other depths refer to.
    pub(crate) fn set_bases(&mut self, bases: Vec<Base>) {
        self.listing.tables.bases = bases;
    }

    /// Begins a member of several streams, with chunks of that size.
    pub(crate) fn begin(&mut self, header: &MemberHeader, chunk: u64) -> Result<OpenMember> {
        self.check_path(&header.path)?;
        let mut stream = Vec::new();
        let unstorable = |kind| Error::Unstorable { path: header.path.clone(), kind };
        self.packer.pack_headers(header, &mut stream).map_err(unstorable)?;
        let location = self.location();
        self.output.write(&stream)?;
        Ok(OpenMember {
            header: header.clone(),
            location,
            packed: vec![stream.len() as u64],
            chunk,
        })
    }

    /// Appends the next chunk of a member, in its packed form.
    pub(crate) fn append_packed_chunk(
        &mut self,
        member: &mut OpenMember,
        stream: &[u8],
    ) -> Result<()> {
        member.packed.push(stream.len() as u64);
        self.output.write(stream)
    }

    /// Ends a member of several streams; the digest is that of all its data.
    pub(crate) fn end(
        &mut self,
        member: OpenMember,
        digest: MemberDigest,
        details: Details,
    ) -> Result<Entry> {
        let chunks = Chunks { size: member.chunk, packed: member.packed };
        let entry = Entry {
            location: Some(member.location),
            packed: Some(chunks.packed.iter().sum()),
            chunks: Some(chunks),
            digest: Some(digest.finish()),
            ..entry_of(&member.header, details)
        };
        self.record(&entry)?;
        Ok(entry)
    }

    fn location(&self) -> Location {
        Location { depth: 0, slice: 1, offset: self.output.offset(), zoffset: 0 }
    }

    /// Returns whether a name is one that every reader takes.
    pub(crate) fn takes(&self, path: &MemberName<'_>) -> bool {
        crate::path::SafePath::new(path, &self.limits).is_ok() && path.is_canonical()
    }

    /// Checks that a member may come next.
    fn check_path(&self, path: &MemberPath) -> Result<()> {
        crate::path::SafePath::new(path, &self.limits)?;
        if !path.is_canonical() {
            let kind = FormatError::invalid("name", path.as_bytes());
            return Err(Error::Unstorable { path: path.clone(), kind });
        }
        match &self.previous {
            Some(previous) if self.sorted && previous >= path => {
                Err(Error::OutOfOrder { previous: previous.clone(), next: path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Records entries that have no bytes here, and whose names every reader takes.
    pub(crate) fn put_run(&mut self, run: &Run) -> Result<()> {
        let mut previous: Option<&[u8]> = None;
        for line in run.lines() {
            let before = previous.or(self.previous.as_ref().map(MemberPath::as_bytes));
            if let Some(before) = before.filter(|before| compare(before, line.name).is_ge()) {
                let (previous, next) = (MemberPath::new(before), MemberPath::new(line.name));
                return Err(Error::OutOfOrder { previous, next });
            }
            previous = Some(line.name);
            self.listing.push_line(&line)?;
            self.count(line.name, line.size);
        }
        self.previous = previous.map(MemberPath::new).or(self.previous.take());
        Ok(())
    }

    /// Counts an entry that was recorded.
    fn count(&mut self, name: &[u8], size: u64) {
        self.entries += 1;
        self.content_size += size;
        if name.starts_with(INFO_NAME) && !name.contains(&b'/') {
            self.reserved.insert(name.to_vec());
        }
    }

    fn record(&mut self, entry: &Entry) -> Result<()> {
        self.listing.push(entry)?;
        let size = entry.location.map_or(0, |_| entry.kind.size());
        self.count(entry.path.as_bytes(), size);
        // Where order is demanded, it was checked.
        self.in_order = self.in_order
            && (self.sorted
                || self.previous.as_ref().is_none_or(|previous| *previous < entry.path));
        match &mut self.previous {
            Some(previous) => previous.clone_from(&entry.path),
            none => *none = Some(entry.path.clone()),
        }
        Ok(())
    }

    /// Writes listing, tables, archive info and size trailer, and publishes the archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    pub fn finish(self) -> Result<(S, Written)> {
        let mut listing = self.listing.finish()?;
        let mut output = self.output;
        let data_size = output.offset();
        listing.tables.slices = output.finished()?;
        let info = ArchiveInfo {
            listing_size: listing.packed_len,
            listing_real_size: listing.text_len,
            format: Some(FORMAT),
            entries: self.entries,
            data_size,
            content_size: Some(self.content_size),
            listing_sha256: Some(listing.identity),
            // Each part begins anew, however few names there are.
            sorted: self.in_order && !self.parts,
            created: self.created,
            incomplete: self.incomplete,
            parts: self.parts,
            tool: self.tool,
            ..ArchiveInfo::default()
        };
        let name = listing_name(&self.reserved);
        let (tables, packer) = (&listing.tables, &mut listing.packer);
        let slice_size = output.slice_size();
        let ending = Ending::sliced(&name, info, tables, packer, &self.limits, slice_size)?;
        let failed = |error| spool_error(listing.directory.as_deref())(error);
        listing.spool.seek(SeekFrom::Start(0)).map_err(failed)?;
        output.begin_listing()?;
        output.write(&ending.header)?;
        output.copy(&mut listing.spool, failed)?;
        output.write(&ending.tables)?;
        output.write_uncut(&[&ending.info, &ending.trailer[..]].concat())?;
        let archive_size = output.offset();
        let (sink, slices) = output.publish(&listing.identity)?;
        let written = Written {
            archive_size,
            slices,
            identity: listing.identity,
            entries: self.entries,
            content_size: self.content_size,
        };
        Ok((sink, written))
    }
}

/// Appends the two streams that begin an archive.
fn push_prologue(packer: &mut Packer, out: &mut Vec<u8>) {
    let (header, body) = prologue();
    packer.pack(&header, out);
    packer.pack(&body, out);
}

/// Returns the lengths that a prologue has: stored, and packed.
pub(crate) fn prologue_lengths() -> [u64; 2] {
    [0, LISTING_LEVEL].map(|level| {
        let mut streams = Vec::new();
        push_prologue(&mut Packer::new(level), &mut streams);
        streams.len() as u64
    })
}

/// Returns a text that fits into a line of the archive info, which has room for 2 KiB in all.
fn one_line(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(256).collect()
}

/// A member of several streams that is being written.
#[derive(Debug)]
pub(crate) struct OpenMember {
    header: MemberHeader,
    location: Location,
    packed: Vec<u64>,
    chunk: u64,
}

/// Checks that a reader has no more to give than was said.
fn at_end(content: &mut impl Read) -> io::Result<()> {
    let mut byte = [0];
    match content.read(&mut byte)? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "there is more of it than its size")),
    }
}
