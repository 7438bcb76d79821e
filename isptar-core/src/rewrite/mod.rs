//! New archives out of old ones: their streams are copied as they are packed.
//!
//! Members are copied one stream after the other, in the order of the new listing. What is packed
//! again are members that share a stream with others which do not come along, and those whose
//! headers change. Copying trusts what was written: it decodes only what it must, and compares the
//! rest with what its entry claims. The digests of the listing go along, so that whoever reads a
//! member finds damage that was copied; [`RewriteOptions::verify`] finds it before.
//!
//! One thread goes through listings in order; `Copier` copies streams from the archive of each
//! member's depth, those that follow each other by one read. Whether a stream holds more than the
//! members that are wanted is known by its length (its last four bytes) beside that of their
//! headers, which the entry spells; only where that does not fit, or there are attributes, it is
//! decoded. `append` lets create make an archive without a name of the new members, and joins the
//! two by their listings: create need not know of old members, at the price of writing new ones
//! twice.

mod append;
mod copier;
mod copy_data;
mod merge;
mod parts;
mod regroup;
mod reslice;
mod respell;
mod split;

use std::path::PathBuf;

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::format::gzip;
use crate::io::ReadAt;
use crate::writer::{WriterOptions, Written};

pub use append::{AppendReport, append, plan_append};
use copier::Copied;
pub use copy_data::copy_data;
pub use merge::{attach_chain, merge};
pub use parts::{Part, PartInfo, merge_parts, parts_of, select_part};
pub(crate) use regroup::{Regroup, is_here};
pub use reslice::reslice;
pub use split::{PartSinks, split};

/// How archives are written out of others.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RewriteOptions {
    /// Decode all that is copied, and check it like [`crate::verify()`], before it is written.
    pub verify: bool,
    /// What makes the new archive, for its info.
    pub tool: Option<String>,
    /// Directory for the new listing, once it is larger than a megabyte; the system's temporary
    /// directory when absent.
    pub spool: Option<PathBuf>,
}

impl RewriteOptions {
    /// Returns how the writer is to write at a level.
    fn writer(&self, level: u8, created: Option<u64>) -> WriterOptions {
        let (tool, spool) = (self.tool.clone(), self.spool.clone());
        WriterOptions { level, created, tool, spool, ..WriterOptions::default() }
    }
}

/// What was made of old archives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RewriteReport {
    /// Members whose bytes are in the new archive.
    pub members: u64,
    /// Bytes of content of all files among them.
    pub bytes: u64,
    /// Entries whose bytes are elsewhere: in a base, or nowhere.
    pub carried: u64,
    /// Packed bytes that were copied as they are.
    pub copied: u64,
    /// Members that were packed again.
    pub repacked: u64,
    /// Length of the new archive.
    pub archive_size: u64,
    /// Identity of the new archive.
    pub identity: Option<[u8; 32]>,
}

impl RewriteReport {
    fn add(&mut self, copied: Copied) {
        self.members += copied.members;
        self.bytes += copied.bytes;
        self.copied += copied.packed;
        self.repacked += copied.repacked;
    }

    fn finish(&mut self, written: &Written) {
        self.archive_size = written.archive_size;
        self.identity = Some(written.identity);
    }
}

/// Returns the level at which what is in an archive is packed again: nothing is compressed where the
/// stream at `offset` is stored.
fn level_at<R: ReadAt>(archive: &Archive<R>, offset: u64) -> Result<u8> {
    let mut head = [0; gzip::HEAD.len() + 1];
    let input = |source| Error::input(offset, source);
    archive.source().read_exact_at(&mut head, offset).map_err(input)?;
    Ok(if gzip::begins_stored(&head) { 0 } else { WriterOptions::default().level })
}
