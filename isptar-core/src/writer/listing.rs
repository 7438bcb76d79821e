//! The listing while an archive is written: packed block by block into a spool.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::SpooledTempFile;

use crate::codec::Packer;
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::gzip;
use crate::format::tables::{ListingBlock, Tables};
use crate::limits::Limits;
use crate::path::MemberPath;
use crate::run::Line;

/// Level at which listing, tables and archive info are packed, unless nothing is. Most of a listing are
/// digests and numbers: level 6 makes that of 400,000 files 4 % smaller, in twice the time, which is a
/// quarter of all that an increment takes in which nothing has changed.
pub(super) const LISTING_LEVEL: u8 = 1;

/// Bytes of text after which a listing block ends at the next line end.
pub(super) const BLOCK_TEXT: usize = 256 << 10;

/// Bytes of packed listing that are kept in memory before a file is made for them.
const SPOOL_MEMORY: usize = 1 << 20;

/// Returns a function that says that the listing could not be spooled, and where.
pub(super) fn spool_error(directory: Option<&Path>) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = directory.map(Path::to_path_buf);
    move |source| Error::Output { op: "spool the listing of", path, source }
}

/// Checks that a spool can be made: before hours of work, not after.
pub(super) fn check_spool(directory: Option<&Path>) -> Result<()> {
    let Some(directory) = directory else { return Ok(()) };
    let found = std::fs::metadata(directory).and_then(|metadata| match metadata.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    found.map_err(spool_error(Some(directory)))
}

pub(super) fn new_spool(directory: Option<&Path>) -> SpooledTempFile {
    match directory {
        Some(directory) => tempfile::spooled_tempfile_in(SPOOL_MEMORY, directory),
        None => tempfile::spooled_tempfile(SPOOL_MEMORY),
    }
}

/// Collects entries and packs them block by block into a spool.
#[derive(Debug)]
pub(super) struct ListingWriter {
    pub(super) packer: Packer,
    limits: Limits,
    text: Vec<u8>,
    /// Entries in `text`, and the name of the first.
    entries: u64,
    first: MemberPath,
    text_len: u64,
    packed_len: u64,
    identity: Sha256,
    pub(super) tables: Tables,
    spool: SpooledTempFile,
    /// Where the spool is, when that was said.
    directory: Option<PathBuf>,
    /// Texts of full blocks that somebody else packs.
    pub(super) deferred: Option<VecDeque<Vec<u8>>>,
    /// Blocks that were not spooled yet, oldest first.
    awaited: VecDeque<ListingBlock>,
}

/// A listing that is complete.
pub(super) struct Listing {
    pub(super) identity: [u8; 32],
    pub(super) text_len: u64,
    pub(super) packed_len: u64,
    pub(super) tables: Tables,
    pub(super) spool: SpooledTempFile,
    pub(super) directory: Option<PathBuf>,
    pub(super) packer: Packer,
}

/// Makes packers of listing blocks, for archives of a level.
pub(crate) fn block_packer(level: u8) -> Packer {
    Packer::new(if level == 0 { 0 } else { LISTING_LEVEL })
}

/// Appends the stream of a listing block: see [`super::ArchiveWriter::full_block`].
pub(crate) fn pack_block(packer: &mut Packer, text: &[u8], out: &mut Vec<u8>) {
    pack_text(packer, text, out);
}

/// Appends a stream of listing or tables; what its reader would take for a bomb is stored.
pub(super) fn pack_text(packer: &mut Packer, text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    packer.pack(text, out);
    let packed = (out.len() - start) as u64;
    if text.len() as u64 > Limits::default().listing_ratio * packed {
        out.truncate(start);
        gzip::push_stored(text, crc32fast::hash(text), out);
    }
}

impl ListingWriter {
    pub(super) fn new(level: u8, limits: Limits, directory: Option<&Path>) -> Self {
        Self {
            packer: block_packer(level),
            limits,
            text: Vec::new(),
            entries: 0,
            first: MemberPath::default(),
            text_len: 0,
            packed_len: 0,
            identity: Sha256::new(),
            tables: Tables::default(),
            spool: new_spool(directory),
            directory: directory.map(Path::to_path_buf),
            deferred: None,
            awaited: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, entry: &Entry) -> Result<()> {
        self.begin_line(entry.path.as_bytes())?;
        let unstorable = |kind| Error::Unstorable { path: entry.path.clone(), kind };
        entry.encode(&self.limits, &mut self.text).map_err(unstorable)?;
        self.entries += 1;
        Ok(())
    }

    pub(super) fn push_line(&mut self, line: &Line<'_>) -> Result<()> {
        self.begin_line(line.name)?;
        self.text.extend_from_slice(line.text);
        self.entries += 1;
        Ok(())
    }

    /// Ends the block when it is full, and notes the first name of one.
    fn begin_line(&mut self, name: &[u8]) -> Result<()> {
        // The tables have the first name of each block: with long names, blocks are longer.
        if self.text.len() >= BLOCK_TEXT.max(64 * self.first.as_bytes().len()) {
            self.flush()?;
        }
        if self.entries == 0 {
            self.first = MemberPath::new(name);
        }
        Ok(())
    }

    /// Ends a block.
    fn flush(&mut self) -> Result<()> {
        let mut text = std::mem::take(&mut self.text);
        self.identity.update(&text);
        self.text_len += text.len() as u64;
        self.awaited.push_back(ListingBlock {
            packed: 0,
            real: text.len() as u64,
            entries: std::mem::take(&mut self.entries),
            first: std::mem::take(&mut self.first),
        });
        if let Some(deferred) = &mut self.deferred {
            deferred.push_back(text);
            self.text = Vec::with_capacity(BLOCK_TEXT + BLOCK_TEXT / 8);
            return Ok(());
        }
        let mut stream = Vec::new();
        pack_text(&mut self.packer, &text, &mut stream);
        text.clear();
        self.text = text;
        self.put_block(&stream)
    }

    /// Spools the oldest block that was not.
    pub(super) fn put_block(&mut self, stream: &[u8]) -> Result<()> {
        let Some(mut block) = self.awaited.pop_front() else { return Ok(()) };
        let failed = spool_error(self.directory.as_deref());
        self.spool.write_all(stream).map_err(failed)?;
        block.packed = stream.len() as u64;
        self.packed_len += block.packed;
        self.tables.blocks.push(block);
        Ok(())
    }

    /// Closes the listing with an empty line.
    pub(super) fn finish(mut self) -> Result<Listing> {
        self.text.push(b'\n');
        self.deferred = None;
        self.flush()?;
        let listing = Listing {
            identity: self.identity.finalize().into(),
            text_len: self.text_len,
            packed_len: self.packed_len,
            tables: self.tables,
            spool: self.spool,
            directory: self.directory,
            packer: self.packer,
        };
        Ok(listing)
    }
}
