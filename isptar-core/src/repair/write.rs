//! The second pass: what was found, joined with what the old listing knows.

use std::ops::Range;

use super::listing::OldListing;
use super::probe::Probe;
use super::repack::Repacker;
use super::rest::Rest;
use super::scan::{Damage, OTHER, Scanned};
use super::spool::{Found, Record};
use super::{ListingState, RepairReport};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::Entry;
use crate::format::tables::Base;
use crate::io::{ReadAt, Sink};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::path::MemberPath;
use crate::rewrite::is_here;
use crate::verify::{Links, Scope, check_claims, corrupt};
use crate::writer::ArchiveWriter;

/// Where members go.
pub(super) enum Target<'s> {
    /// Nowhere: they are only told.
    None,
    /// Into a new archive.
    Archive(Box<ArchiveWriter<&'s mut dyn Sink>>),
}

/// Joins members and listing.
pub(super) struct Joiner<'a, 's, R> {
    source: &'a R,
    lister: Probe<'a, R>,
    target: Target<'s>,
    observer: &'a mut dyn Observer,
    limits: Limits,
    report: RepairReport,
    /// What the old listing refers to.
    bases: Vec<Base>,
    data_end: u64,
    links: Links,
    repacker: Repacker,
    /// The members that come next into the new archive.
    unit: Option<Unit>,
    damages: Vec<Damage>,
    /// Damage that was met since the last entry, for the words of what is lost there.
    recent: Option<(Range<u64>, u64)>,
}

impl<'a, 's, R: ReadAt> Joiner<'a, 's, R> {
    pub(super) fn new(
        source: &'a R,
        target: Target<'s>,
        observer: &'a mut dyn Observer,
        limits: Limits,
        level: u8,
    ) -> Result<Self> {
        let len = source.size().map_err(|source| Error::input(0, source))?;
        Ok(Self {
            source,
            lister: Probe::new(source, len, limits),
            target,
            observer,
            limits,
            report: RepairReport::default(),
            bases: Vec::new(),
            data_end: len,
            links: Links::default(),
            repacker: Repacker::new(level, limits),
            unit: None,
            damages: Vec::new(),
            recent: None,
        })
    }

    pub(super) fn into_parts(self) -> (RepairReport, Target<'s>) {
        (self.report, self.target)
    }

    /// Goes through all that was found.
    pub(super) fn join(
        &mut self,
        scanned: Scanned,
        mut listing: Option<&mut OldListing>,
    ) -> Result<()> {
        self.report.ended = scanned.ended;
        self.report.listing = match &listing {
            Some(listing) if listing.is_complete() => ListingState::Whole,
            Some(_) => ListingState::Damaged,
            None => ListingState::Missing,
        };
        (self.damages, self.links) = (scanned.damages, scanned.links);
        if let Some(listing) = &listing {
            self.bases.clone_from(&listing.bases);
        }
        let mut next = 0;
        let mut records = scanned.spool.read(self.limits)?;
        while let Some(record) = records.next()? {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match record {
                Record::Damage(range, number) => self.damage(&range, number),
                Record::Member(found) => {
                    let range = found.entry.claimed_range();
                    if self.unit.as_ref().is_some_and(|unit| unit.range != range) {
                        self.flush()?;
                    }
                    if let (Some(listing), Some(number)) = (&mut listing, found.number) {
                        self.missing(listing, next, Some(number))?;
                        next = number + 1;
                    }
                    self.report.rebuilt += u64::from(found.number.is_none());
                    self.member(*found);
                    self.recent = None;
                }
            }
        }
        self.flush()?;
        if let Some(listing) = listing {
            self.missing(listing, next, None)?;
        }
        if let Some(rest) = scanned.rest {
            self.tell_rest(&rest);
        }
        if !self.report.ended {
            let offset = self.source.size().map_err(|source| Error::input(0, source))?;
            let error = FormatError::Missing("listing").at(offset);
            self.observer.event(Event::Damaged { range: offset..offset, error: &error });
        }
        Ok(())
    }

    /// Tells what stands behind the end of the archive.
    fn tell_rest(&mut self, rest: &Rest) {
        if rest.has_members {
            self.report.others += 1;
            self.report.other_start.get_or_insert(rest.range.start);
        } else {
            self.report.surplus += rest.range.end - rest.range.start;
        }
        let (range, error) = (rest.range.clone(), &rest.to_error());
        self.observer.event(Event::Damaged { range, error });
    }

    /// Takes damaged bytes: where the listing is whole it says by name what is lost.
    fn damage(&mut self, range: &Range<u64>, number: u64) {
        self.recent = Some((range.clone(), number));
        let damage = usize::try_from(number).ok().and_then(|number| self.damages.get(number));
        let is_other =
            number == OTHER || damage.is_some_and(|damage| damage.kind == FormatError::Another);
        if self.report.listing == ListingState::Whole && !is_other {
            return;
        }
        self.report.others += u64::from(is_other);
        if is_other {
            self.report.other_start.get_or_insert(range.start);
        }
        let unknown =
            if is_other { FormatError::Another } else { FormatError::Missing("whole member") };
        let kind = damage.map_or(unknown, |damage| damage.kind.clone());
        if let Some(path) = damage.and_then(|damage| damage.path.clone()) {
            let (range, kind) = (range.clone(), kind.clone());
            self.lose(&path, &Error::CorruptMember { path: path.clone(), range, kind });
        }
        self.report.damaged += 1;
        self.report.damaged_bytes += range.end - range.start;
        let error = &kind.at(range.start);
        self.observer.event(Event::Damaged { range: range.clone(), error });
    }

    /// Tells of a member that is lost.
    fn lose(&mut self, path: &MemberPath, error: &Error) {
        self.report.lost += 1;
        self.observer.event(Event::Failed { path, error });
    }

    /// Goes through the entries of the listing from `from` to `to` that no member was found for.
    fn missing(&mut self, listing: &mut OldListing, from: u64, to: Option<u64>) -> Result<()> {
        let mut number = from;
        while to.is_none_or(|to| number < to) {
            let Some(entry) = listing.entry(&mut self.lister, number)? else { break };
            number += 1;
            if !is_here(&entry) {
                self.carry(entry)?;
                continue;
            }
            let recent = self.recent.as_ref();
            let kind = recent.and_then(|(_, number)| usize::try_from(*number).ok());
            let kind = kind.and_then(|number| self.damages.get(number));
            let kind = kind.map_or(GONE, |found| found.kind.clone());
            self.lose(&entry.path, &corrupt(&entry, words_of_loss(kind)));
            // What was met there speaks of the first one alone.
            self.recent = None;
        }
        Ok(())
    }

    /// Takes over an entry whose bytes were never in this archive.
    fn carry(&mut self, entry: Entry) -> Result<()> {
        if let Err(error) = self.check(&entry) {
            self.lose(&entry.path, &error);
            return Ok(());
        }
        self.report.carried += 1;
        match (&mut self.unit, &mut self.target) {
            (Some(unit), _) => unit.entries.push(entry),
            (None, Target::Archive(writer)) => writer.put_entry(&entry)?,
            (None, Target::None) => {}
        }
        Ok(())
    }

    /// Checks an entry like verify does.
    fn check(&mut self, entry: &Entry) -> Result<()> {
        let limits = &self.limits;
        let scope =
            Scope { limits, bases: &self.bases, data_end: Some(self.data_end), is_classic: false };
        check_claims(scope, entry)?;
        self.links.check(entry, limits).map_err(|kind| corrupt(entry, kind))
    }

    /// Takes a whole member, unless it is a name of a file that is lost.
    fn member(&mut self, found: Found) {
        let Found { entry, repack, .. } = found;
        let checked = self.check(&entry);
        let unit = self.unit.get_or_insert_with(|| Unit::new(entry.claimed_range()));
        unit.repack |= repack;
        match checked {
            Ok(()) => unit.entries.push(entry),
            Err(error) => {
                // Plain tar must not restore what the listing does not name.
                unit.repack = true;
                self.lose(&entry.path, &error);
            }
        }
    }

    /// Writes the members that were taken.
    fn flush(&mut self) -> Result<()> {
        let Some(unit) = self.unit.take() else { return Ok(()) };
        let entries = match &mut self.target {
            Target::None => unit.entries,
            Target::Archive(writer) if unit.repack => {
                self.repacker.repack(&mut self.lister, writer, unit.range, unit.entries)?
            }
            Target::Archive(writer) => {
                let mut copied = Vec::with_capacity(unit.entries.len());
                for entry in unit.entries {
                    copied.push(match is_here(&entry) {
                        true => writer.copy(self.source, &entry)?,
                        false => writer.put_entry(&entry).map(|()| entry)?,
                    });
                }
                copied
            }
        };
        for entry in entries.iter().filter(|entry| is_here(entry)) {
            self.report.members += 1;
            self.report.bytes += entry.kind.size();
            self.observer.event(Event::Done { entry });
        }
        Ok(())
    }
}

/// What is said of a member of which nothing is known but that it is not there.
const GONE: FormatError = FormatError::Missing("a whole stream of it");

/// Returns what is said of a lost member, by what was met where it should be.
fn words_of_loss(kind: FormatError) -> FormatError {
    match kind {
        // That was said of other bytes, which are none of the archive's.
        FormatError::Missing("entry of a member" | "whole member") | FormatError::Another => GONE,
        kind => kind,
    }
}

/// Members that share their streams, and entries between them that have none.
struct Unit {
    range: Range<u64>,
    entries: Vec<Entry>,
    /// Whether their streams cannot be copied as they are.
    repack: bool,
}

impl Unit {
    fn new(range: Range<u64>) -> Self {
        Self { range, entries: Vec::new(), repack: false }
    }
}
