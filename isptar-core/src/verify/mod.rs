//! The verify job: is an archive what its listing says, down to the last byte?
//!
//! `survey` reads the listing once, for what must be known beforehand. A second pass hands out
//! batches of entries that follow each other, those of one group together; a worker judges their
//! claims and reads the members. A file from 16 MiB on is read by its chunks, whose digest is taken
//! in order. What needs the order (tiling, links, telling, how much was decoded again) is done with
//! results, oldest first; an entry whose streams are not behind all others waits until all before
//! it is done, so nothing depends on the number of threads. An archive that cannot be opened is
//! looked at by repair's scan (`wreck`).

mod batch;
mod big;
mod claims;
mod classic;
mod frame;
mod gap;
mod job;
mod links;
mod sequential;
mod slices;
mod survey;
mod tell;
mod tiles;
mod walk;
mod wreck;

use std::io::Read;
use std::num::NonZero;

use crate::archive::Archive;
use crate::error::Result;
use crate::io::ReadAt;
use crate::observe::Observer;
use crate::scan::TarReader;
use crate::select::Selection;

pub(crate) use claims::{Scope, check as check_claims, check_metadata, corrupt};
pub(crate) use links::Links;
pub use wreck::{Behind, Wreck, name_whole_members};

/// How deep an archive is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Stop after the listing: read no member.
    pub quick: bool,
    /// How many threads read members; all that the machine has by default. What is found and told
    /// is the same for any number.
    pub threads: Option<NonZero<usize>>,
}

/// What a verify job found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// No member was read: the run was quick, or the archive is a listing alone.
    pub quick: bool,
    /// Members that were looked at; of a quick run, their entries.
    pub members: u64,
    /// Of these, members that are as the listing says.
    pub whole: u64,
    /// Of the whole ones, members whose entries are lost with a part of the listing: they are whole
    /// by their own headers and CRCs.
    pub by_headers: u64,
    /// Of these, members that are not.
    pub damaged: u64,
    /// Places between members that no entry speaks of, or that several do.
    pub strays: u64,
    /// Damaged places of a tar without a listing, when it is not known which members were there.
    pub unnamed: u64,
    /// What is wrong beyond the members: prologue, listing, tables, archive info, `.backup.info`.
    pub beyond: u64,
    /// Slices that are missing, or are not what the tables say.
    pub slices: u64,
    /// Things asked for that the listing does not have.
    pub missing: u64,
    /// Entries of what could not be stored when the archive was made.
    pub lost: u64,
    /// Of the members that were looked at, those in bases.
    pub in_bases: u64,
    /// Entries whose members are in bases that were not looked at, because the run was quick or the
    /// base is missing.
    pub in_bases_unread: u64,
    /// Bases that are needed and missing, or are others than they should be.
    pub missing_bases: u64,
    /// Entries of names that stand again later; the last one counts.
    pub duplicates: u64,
    /// Bytes of content that were found good.
    pub bytes: u64,
    /// Bytes of the archive that members were read of.
    pub read: u64,
}

impl VerifyReport {
    /// Returns whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        let Self { damaged, strays, unnamed, beyond, slices, missing, missing_bases, .. } = *self;
        let bad = [damaged, strays, unnamed, beyond, slices, missing, missing_bases];
        bad.iter().all(|&count| count == 0)
    }
}

/// Checks an archive that could be opened, in levels:
///
/// 1. trailer and archive info, which opening did;
/// 2. the listing: every block, counts, order, identity, and what entries claim. A quick run ends
///    here;
/// 3. what is around the members: prologue, the header of `.backup.info`, and whether the members
///    fill all that is between, so that none is there that no entry speaks of;
/// 4. the members that `selection` means: every stream, header against entry, digest, and that
///    nothing else is in their streams.
///
/// Of an archive in slices, it is looked first whether all are there and, unless the run is quick
/// or only some members are meant, whether they have the digests that the tables give them.
///
/// Members in bases are read there as well. What else a base holds is for a job of its own.
///
/// A classic archive has no digests, and headers that are not to be told apart: of it the CRC of
/// all streams is checked, and that each file has its content.
///
/// Damage does not end the job. Each member that is damaged is an [`crate::Event::Failed`] with its
/// bytes, all other damage an [`crate::Event::Damaged`], each whole member an
/// [`crate::Event::Done`]. Members are read once and in archive order. Memory grows with the
/// hard-linked files, and with the names of an archive that is not sorted: a hash each.
///
/// # Errors
///
/// [`crate::Error::Cancelled`].
pub fn verify<R: ReadAt>(
    archive: &Archive<R>,
    selection: &Selection,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    job::verify(archive, selection, options, observer)
}

/// Checks a tar that is read from front to back: CRCs, headers, and the mark at its end. The reader
/// says at the end whether the mark was there ([`TarReader::end_missing`]).
///
/// Damage does not end the job; each damaged member is told once, and so is each damaged place of
/// which no member is known. Of an archive of ours it is checked as well that its members are those
/// that the listing names, in the same places, with the same kinds and sizes; not their digests, nor
/// tables and archive info.
///
/// # Errors
///
/// [`crate::Error::Cancelled`]; [`crate::Error::NotTar`] when nothing of it is a tar.
pub fn verify_sequential<R: Read>(
    tar: &mut TarReader<R>,
    selection: &Selection,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    sequential::verify(tar, selection, observer)
}
