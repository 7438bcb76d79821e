//! The repair job: from a damaged archive of ours to a whole one with all members that are whole.
//!
//! Two passes. The first ([`scan`](self::scan())) goes through the file by its gzip heads, whatever
//! is left of the listing, decodes every stream once, and spools what it found: members and damaged
//! ranges, in their order. The second joins that with the old listing, which alone knows what is
//! lost by name, and copies the streams as they are. Packed again is only a stream of which
//! something is given up, or one whose form is not the writer's where no CRC covers it.
//!
//! The members are found by their bytes and not by the locations of the listing, because bytes may
//! be missing before them. What the listing alone knows of a member (nanoseconds, names of owners,
//! inode numbers, keys that this version does not know) is taken from its entry when header and
//! digest agree with that, by the same rules as when the member is restored.
//!
//! A member is accepted by the checks of verify, so that verify finds nothing wrong with what
//! repair made. Damaged stored streams are passed over by their computed length, so that an archive
//! stored within is not taken for the archive. Unreadable places are holes (`io::tolerant`).

mod listing;
mod probe;
mod repack;
mod rest;
mod scan;
mod spool;
mod window;
mod write;

use std::path::PathBuf;

use crate::error::{Error, FormatError, Result};
use crate::format::BLOCK;
use crate::format::header::Header;
use crate::io::{ReadAt, Sink, Tolerant};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::writer::{ArchiveWriter, WriterOptions};

use listing::OldListing;
use probe::Probe;
use rest::Rest;
use scan::{Scanned, Scanner};
use spool::Spool;
use write::{Joiner, Target};

/// How an archive is repaired.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Caps on what the damaged archive may claim.
    pub limits: Limits,
    /// What makes the new archive, for its info.
    pub tool: Option<String>,
    /// Directory for temporary files: the members found, once their entries are larger than a
    /// megabyte, and the new listing; the system's temporary directory when absent.
    pub spool: Option<PathBuf>,
}

/// What became of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ListingState {
    /// All of it could be read.
    Whole,
    /// Some of it could be read.
    Damaged,
    /// Nothing of it could be read.
    #[default]
    Missing,
}

/// What is whole in a damaged archive, and what was made of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// Members that are whole.
    pub members: u64,
    /// Bytes of content of all files among them.
    pub bytes: u64,
    /// Members that are known by name to be lost.
    pub lost: u64,
    /// Ranges of bytes that are damaged and belong to no member known by name.
    pub damaged: u64,
    /// Bytes in them.
    pub damaged_bytes: u64,
    /// Bytes that could not be read. Where the CRC of a member holds although they were taken for
    /// zeros, they are zeros.
    pub unreadable: u64,
    /// Members whose entry was made of their tar header alone, because theirs is lost: what only
    /// the listing had (nanoseconds, inode numbers, long names of owners) is gone.
    pub rebuilt: u64,
    /// Entries without bytes in this archive, carried over from the listing.
    pub carried: u64,
    /// Places that hold members which are not taken, because they belong to another archive: one
    /// that stands behind the end of this one, or that begins within it.
    pub others: u64,
    /// Where the first of them begins.
    pub other_start: Option<u64>,
    /// Bytes behind the end of the archive in which no member is.
    pub surplus: u64,
    /// Whether the end of the members was found; else nobody knows what came behind.
    pub ended: bool,
    /// What became of the listing.
    pub listing: ListingState,
    /// Length of the new archive; 0 when none was written.
    pub archive_size: u64,
    /// Identity of the new archive.
    pub identity: Option<[u8; 32]>,
}

impl RepairReport {
    /// Returns whether something is lost, or may be.
    pub fn is_incomplete(&self) -> bool {
        self.lost > 0 || self.damaged > 0 || self.others > 0 || !self.ended
    }
}

/// Finds out what is whole in an archive of ours, damaged or not, without its listing where need
/// be: [`Event::Done`] for each whole member, with its entry located in `source`,
/// [`Event::Failed`] for each that is lost and known by name, [`Event::Damaged`] for other damage.
///
/// # Errors
///
/// [`Error::Foreign`] and [`Error::NothingWhole`]; [`Error::Unsupported`], [`Error::Input`],
/// [`Error::Output`] when the spool fails, [`Error::Cancelled`].
pub fn scan<R: ReadAt>(
    source: &R,
    options: &RepairOptions,
    observer: &mut dyn Observer,
) -> Result<RepairReport> {
    let source = &Tolerant::new(source);
    let (scanned, mut listing) = first_pass(source, options, observer)?;
    let unreadable = tell_unreadable(source, observer);
    let mut joiner = Joiner::new(source, Target::None, observer, options.limits, 0)?;
    joiner.join(scanned, listing.as_mut())?;
    Ok(RepairReport { unreadable, ..joiner.into_parts().0 })
}

/// Writes a new archive with all whole members of a damaged one, and publishes it; tells the same
/// as [`scan()`]. Nothing is published when nothing is whole.
///
/// # Errors
///
/// As [`scan()`], and [`Error::Output`].
pub fn repair<R: ReadAt>(
    source: &R,
    sink: &mut dyn Sink,
    options: &RepairOptions,
    observer: &mut dyn Observer,
) -> Result<RepairReport> {
    let source = &Tolerant::new(source);
    let (scanned, mut listing) = first_pass(source, options, observer)?;
    let unreadable = tell_unreadable(source, observer);
    let created = match &listing {
        Some(listing) => listing.created,
        None => scanned.created,
    };
    let (tool, spool) = (options.tool.clone(), options.spool.clone());
    // As the old one was made: nothing is compressed in a stored archive.
    let level = if scanned.is_stored { 0 } else { WriterOptions::default().level };
    let writer_options = WriterOptions { level, sorted: false, created, tool, spool };
    let mut writer = ArchiveWriter::new(sink, &writer_options)?;
    if let Some(listing) = &listing {
        writer.set_bases(listing.bases.clone());
    }
    let was_incomplete =
        listing.as_ref().and_then(|listing| listing.info.as_ref()).is_some_and(|i| i.incomplete);
    let target = Target::Archive(Box::new(writer));
    let mut joiner = Joiner::new(source, target, observer, options.limits, level)?;
    joiner.join(scanned, listing.as_mut())?;
    let (mut report, target) = joiner.into_parts();
    let Target::Archive(mut writer) = target else { return Ok(report) };
    if report.is_incomplete() || was_incomplete {
        writer.set_incomplete();
    }
    let (_, written) = writer.finish()?;
    report.unreadable = unreadable;
    report.archive_size = written.archive_size;
    report.identity = Some(written.identity);
    Ok(report)
}

/// Tells which bytes could not be read, and returns how many they are. From now on every byte must
/// be what it was.
fn tell_unreadable<R: ReadAt>(source: &Tolerant<R>, observer: &mut dyn Observer) -> u64 {
    let mut bytes = 0;
    for (range, error) in source.close() {
        bytes += range.end - range.start;
        observer.event(Event::Damaged { range, error: &error });
    }
    bytes
}

fn first_pass<R: ReadAt>(
    source: &R,
    options: &RepairOptions,
    observer: &mut dyn Observer,
) -> Result<(Scanned, Option<OldListing>)> {
    let limits = options.limits;
    let len = source.size().map_err(|source| Error::input(0, source))?;
    let mut listing = OldListing::find(source, len, limits, observer)?;
    observer.event(Event::Planned { members: 0, bytes: len });
    let spool = Spool::new(options.spool.clone());
    let scanned = Scanner::new(source, len, listing.as_mut(), spool, limits).run(observer)?;
    let mut scanned = scanned;
    let end = listing.as_ref().map(OldListing::end).or(scanned.archive_end);
    if let Some((end, is_known)) = end {
        let rest = Rest::behind(source, end, limits, observer)?;
        scanned.rest = rest.filter(|rest| is_known || rest.has_members);
    }
    let is_empty = scanned.members == 0 && !(scanned.ended && scanned.spool.mark() == 0);
    if is_empty {
        return Err(nothing(source, len, limits)?);
    }
    Ok((scanned, listing))
}

/// Says why nothing was found.
fn nothing<R: ReadAt>(source: &R, len: u64, limits: Limits) -> Result<Error> {
    let mut probe = Probe::new(source, len, limits);
    let plain = probe.window.get(0, BLOCK)?.first_chunk::<BLOCK>().copied();
    let is_tar = plain.is_some_and(|block| matches!(Header::parse(&block), Ok(Some(_))));
    // It may be cut right there.
    drop(probe.decode(0, BLOCK as u64)?);
    let is_ours = probe.text() == crate::format::member::prologue().0;
    Ok(if !is_ours && (is_tar || probe.is_likely(0)?) {
        Error::Foreign { what: "a tar of another program" }
    } else if let Some(len) = rest::find_beginning(source, limits)? {
        FormatError::Surplus { place: "before the beginning of the archive", len }.at(0)
    } else {
        Error::NothingWhole { size: len }
    })
}
