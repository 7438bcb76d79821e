//! Writing an archive in the original program's layout (FORMAT.md 10.4).
//!
//! A stream holds the data of one file, its padding, and all headers up to that of the next file
//! with data. It is put together of open-ended streams: what was packed of the data, on any thread,
//! and the headers, which are known only when the next members come.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tempfile::SpooledTempFile;

use super::listing::{
    BLOCK_TEXT, LISTING_LEVEL, block_packer, check_spool, new_spool, spool_error,
};
use super::{Output, WriterOptions, Written, info_header, listing_name};
use crate::codec::{Joined, Packer};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Location};
use crate::format::header::Header;
use crate::format::info::ArchiveInfo;
use crate::format::member::MemberHeader;
use crate::format::{INFO_NAME, padding, trailer};
use crate::io::Sink;
use crate::limits::Limits;
use crate::path::{MemberName, MemberPath, SafePath};

/// Longest name or link target, less than the original's buffers have.
const LONGEST_PATH: u64 = 4095;

/// Bytes of headers that are collected before they are packed.
const HEADERS: usize = 64 << 10;

/// Makes packers of pieces of the listing, for archives of a level.
pub(crate) fn listing_packer(level: u8) -> Packer {
    Packer::open_ended(if level == 0 { 0 } else { LISTING_LEVEL })
}

/// Writes a classic archive, fed member by member in any order of names.
///
/// Nothing is complete before [`Self::finish`]; a writer that is dropped leaves no archive.
#[derive(Debug)]
pub(crate) struct ClassicWriter<S> {
    output: Output<S>,
    limits: Limits,
    level: u8,
    packer: Packer,
    buffer: Vec<u8>,
    /// Headers that are not packed yet.
    headers: Vec<u8>,
    /// The stream that is being written.
    stream: Option<Joined>,
    listing: ClassicListing,
    created: Option<u64>,
    entries: u64,
    content_size: u64,
    /// Names in the root that the listing's own name must differ from.
    reserved: BTreeSet<Vec<u8>>,
}

impl<S: Sink> ClassicWriter<S> {
    /// Begins an archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    pub(crate) fn new(sink: S, options: &WriterOptions) -> Result<Self> {
        check_spool(options.spool.as_deref())?;
        Ok(Self {
            output: Output::new(sink),
            limits: Limits { path: LONGEST_PATH, ..Limits::default() },
            level: options.level,
            packer: Packer::open_ended(options.level),
            buffer: Vec::new(),
            headers: Vec::new(),
            stream: None,
            listing: ClassicListing::new(options),
            created: options.created,
            entries: 0,
            content_size: 0,
            reserved: BTreeSet::new(),
        })
    }

    /// Returns whether a name is one that the original takes.
    pub(crate) fn takes(&self, path: &MemberName<'_>) -> bool {
        SafePath::new(path, &self.limits).is_ok() && path.is_canonical()
    }

    /// Appends a member whose data and padding are packed as one open-ended stream, empty when it
    /// has no data. Returns what its line says.
    ///
    /// # Errors
    ///
    /// [`Error::UnsafePath`] and [`Error::Unstorable`] leave the archive as it was, everything else
    /// leaves it unfit to be finished.
    pub(crate) fn push(&mut self, entry: &Entry, data: &[u8]) -> Result<Entry> {
        let entry = self.begin(&header_of(entry))?;
        if !data.is_empty() && entry.location.is_some() {
            self.append(data)?;
        }
        Ok(entry)
    }

    /// Appends the headers of a member; its data must follow, by [`Self::append`].
    pub(crate) fn begin(&mut self, header: &MemberHeader) -> Result<Entry> {
        let entry = entry_of(header);
        let mut headers = Vec::new();
        let line = self.describe(&entry, header, &mut headers)?;
        self.headers.extend_from_slice(&headers);
        let location = if entry.kind.size() > 0 { Some(self.next_stream()?) } else { None };
        if self.headers.len() >= HEADERS {
            self.pack_headers()?;
        }
        self.entries += 1;
        self.content_size += entry.kind.size();
        // The original does not list the root of a tree.
        if entry.path.as_bytes() != b"." {
            self.listing.push(&line, location)?;
        }
        let name = entry.path.as_bytes();
        if name.starts_with(INFO_NAME) && !name.contains(&b'/') {
            self.reserved.insert(name.to_vec());
        }
        Ok(Entry { location, ..entry })
    }

    /// Appends packed data of the file that was begun last.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let blocks = stream.add(data);
        self.output.write(blocks)
    }

    /// Makes headers and line of a member, or says why it cannot be stored.
    fn describe(
        &self,
        entry: &Entry,
        header: &MemberHeader,
        headers: &mut Vec<u8>,
    ) -> Result<Vec<u8>> {
        SafePath::new(&entry.path, &self.limits)?;
        let unstorable = |kind| Error::Unstorable { path: entry.path.clone(), kind };
        if !entry.path.is_canonical() {
            return Err(unstorable(FormatError::invalid("name", entry.path.as_bytes())));
        }
        header.encode(&self.limits, headers).map_err(unstorable)?;
        let mut line = Vec::new();
        entry.encode_classic(&self.limits, &mut line).map_err(unstorable)?;
        Ok(line)
    }

    /// Ends the stream that is being written and begins that of a file; returns where.
    fn next_stream(&mut self) -> Result<Location> {
        self.end_stream()?;
        let (slice, offset) = self.output.place();
        let location = Location { depth: 0, slice, offset, zoffset: 0 };
        self.begin_stream()?;
        Ok(location)
    }

    fn begin_stream(&mut self) -> Result<()> {
        self.stream = Some(Joined::default());
        self.output.write(&Joined::HEAD)
    }

    /// Packs the headers that were collected.
    fn pack_headers(&mut self) -> Result<()> {
        if self.headers.is_empty() {
            return Ok(());
        }
        if self.stream.is_none() {
            self.begin_stream()?;
        }
        let mut packed = std::mem::take(&mut self.buffer);
        packed.clear();
        self.packer.pack(&self.headers, &mut packed);
        self.headers.clear();
        let appended = self.append(&packed);
        self.buffer = packed;
        appended
    }

    fn end_stream(&mut self) -> Result<()> {
        self.pack_headers()?;
        match self.stream.take() {
            Some(stream) => self.output.write(&stream.end()),
            None => Ok(()),
        }
    }

    /// Leaves it to the caller to pack the pieces of the listing: see [`Self::full_piece`].
    pub(crate) fn defer_pieces(&mut self) {
        self.listing.deferred = Some(VecDeque::new());
    }

    /// Returns the text of a piece of the listing that is to be packed by a [`listing_packer`];
    /// what becomes of it goes to [`Self::put_piece`], in the same order.
    pub(crate) fn full_piece(&mut self) -> Option<Vec<u8>> {
        self.listing.deferred.as_mut()?.pop_front()
    }

    /// Takes a packed piece of the listing.
    pub(crate) fn put_piece(&mut self, stream: &[u8]) -> Result<()> {
        self.listing.put_piece(stream)
    }

    /// Writes listing, archive info and size trailer, and publishes the archive.
    ///
    /// # Errors
    ///
    /// [`Error::Output`].
    pub(crate) fn finish(mut self) -> Result<(S, Written)> {
        self.end_stream()?;
        let mut listing = self.listing.finish()?;
        let info = ArchiveInfo {
            listing_size: listing.packed_len,
            listing_real_size: listing.text_len,
            ..ArchiveInfo::default()
        };
        let info_text = info.encode_classic();
        let mut packed_info = Vec::new();
        let mut packer = block_packer(self.level);
        packer.pack(&info_text, &mut packed_info);

        let info_size = packed_info.len() as u64;
        let digits = info_size.to_string().len() as u64;
        let size = info.listing_real_size + info_text.len() as u64 + digits;
        let header = info_header(&listing_name(&self.reserved), 0o400, self.created, size);
        let root = b"root".to_vec();
        let header = Header { uname: root.clone(), gname: root, ..header };
        let mut packed_header = Vec::new();
        packer.pack(&header.encode(), &mut packed_header);

        let mut output = self.output;
        let failed = |error| spool_error(listing.directory.as_deref())(error);
        listing.spool.seek(SeekFrom::Start(0)).map_err(failed)?;
        output.write(&packed_header)?;
        output.copy(&mut listing.spool, failed)?;
        let trailer = trailer::classic(info_size, padding(size));
        output.write_uncut(&[&packed_info[..], &trailer[..]].concat())?;
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

/// Returns the headers of a member: what the listing cannot say stands there, too, for plain tar.
fn header_of(entry: &Entry) -> MemberHeader {
    MemberHeader {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        user: entry.user.clone(),
        group: entry.group.clone(),
        mtime: entry.mtime.unwrap_or_default(),
        ..MemberHeader::new(entry.path.clone(), entry.kind.clone())
    }
}

/// Returns what a classic listing says of a member, without its location.
fn entry_of(header: &MemberHeader) -> Entry {
    Entry {
        mode: header.mode & 0o7777,
        user: header.user.clone(),
        uid: header.uid,
        group: header.group.clone(),
        gid: header.gid,
        mtime: Some(header.mtime),
        ..Entry::new(header.path.clone(), header.kind.clone())
    }
}

/// Collects lines, and packs them piece by piece into a spool: one stream in the end.
#[derive(Debug)]
struct ClassicListing {
    packer: Packer,
    text: Vec<u8>,
    text_len: u64,
    packed_len: u64,
    identity: Sha256,
    joined: Joined,
    spool: SpooledTempFile,
    /// Where the spool is, when that was said.
    directory: Option<PathBuf>,
    /// Texts of full pieces that somebody else packs.
    deferred: Option<VecDeque<Vec<u8>>>,
    most: u64,
}

/// A listing that is complete.
struct FinishedListing {
    identity: [u8; 32],
    text_len: u64,
    packed_len: u64,
    spool: SpooledTempFile,
    directory: Option<PathBuf>,
}

impl ClassicListing {
    fn new(options: &WriterOptions) -> Self {
        Self {
            packer: listing_packer(options.level),
            text: Vec::new(),
            text_len: 0,
            packed_len: 0,
            identity: Sha256::new(),
            joined: Joined::default(),
            spool: new_spool(options.spool.as_deref()),
            directory: options.spool.clone(),
            deferred: None,
            most: Limits::default().listing,
        }
    }

    fn push(&mut self, line: &[u8], location: Option<Location>) -> Result<()> {
        self.text.extend_from_slice(line);
        if let Some(location) = location {
            location.encode(&mut self.text);
        }
        self.text.push(b'\n');
        if self.text.len() < BLOCK_TEXT {
            return Ok(());
        }
        self.end_piece()
    }

    fn end_piece(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        self.identity.update(&text);
        self.text_len += text.len() as u64;
        if self.text_len > self.most {
            let (what, limit, actual) = ("classic listing", self.most, self.text_len);
            let kind = FormatError::Limit { what, limit, actual, raise: None };
            return Err(Error::Unstorable { path: MemberPath::from(INFO_NAME), kind });
        }
        if let Some(deferred) = &mut self.deferred {
            deferred.push_back(text);
            return Ok(());
        }
        let mut stream = Vec::new();
        self.packer.pack(&text, &mut stream);
        self.put_piece(&stream)
    }

    fn put_piece(&mut self, stream: &[u8]) -> Result<()> {
        if self.packed_len == 0 {
            self.spool_bytes(&Joined::HEAD)?;
        }
        let blocks = self.joined.add(stream);
        self.spool_bytes(blocks)
    }

    fn spool_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.packed_len += bytes.len() as u64;
        self.spool.write_all(bytes).map_err(spool_error(self.directory.as_deref()))
    }

    /// Closes the listing with an empty line.
    fn finish(mut self) -> Result<FinishedListing> {
        self.text.push(b'\n');
        self.deferred = None;
        self.end_piece()?;
        let end = std::mem::take(&mut self.joined).end();
        self.spool_bytes(&end)?;
        Ok(FinishedListing {
            identity: self.identity.finalize().into(),
            text_len: self.text_len,
            packed_len: self.packed_len,
            spool: self.spool,
            directory: self.directory,
        })
    }
}
