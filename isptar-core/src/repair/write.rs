//! The second pass: what was found, joined with what the old listing knows.

use std::collections::HashSet;
use std::ops::Range;

use super::listing::OldListing;
use super::probe::Probe;
use super::scan::{Damage, Scanned};
use super::spool::Record;
use super::{ListingState, RepairReport};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::{ReadAt, Sink};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::path::{MemberPath, name_hash};
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
    present: Present,
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
    ) -> Result<Self> {
        let len = source.size().map_err(|source| Error::Input { offset: 0, source })?;
        Ok(Self {
            source,
            lister: Probe::new(source, len, limits),
            target,
            observer,
            limits,
            report: RepairReport::default(),
            present: Present::All,
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
        self.damages = scanned.damages;
        if scanned.hard_links {
            self.present = match scanned.sorted {
                true => Present::Gaps(Gaps::default()),
                false => Present::Names(HashSet::new()),
            };
        }
        let mut next = 0;
        let mut records = scanned.spool.read(self.limits)?;
        while let Some(record) = records.next()? {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match record {
                Record::Damage(range, number) => self.damage(&range, number),
                Record::Member(entry, number) => {
                    if let (Some(listing), Some(number)) = (&mut listing, number) {
                        self.missing(listing, next, Some(number))?;
                        next = number + 1;
                    }
                    self.report.rebuilt += u64::from(number.is_none());
                    self.member(&entry)?;
                    self.recent = None;
                }
            }
        }
        if let Some(listing) = listing {
            self.missing(listing, next, None)?;
        }
        if !self.report.ended {
            let offset = self.source.size().map_err(|source| Error::Input { offset: 0, source })?;
            let error = FormatError::Missing("listing").at(offset);
            self.observer.event(Event::Damaged { range: offset..offset, error: &error });
        }
        Ok(())
    }

    /// Takes damaged bytes: where the listing is whole it says by name what is lost.
    fn damage(&mut self, range: &Range<u64>, number: u64) {
        self.present.gap();
        self.recent = Some((range.clone(), number));
        let damage = usize::try_from(number).ok().and_then(|number| self.damages.get(number));
        if self.report.listing == ListingState::Whole {
            return;
        }
        let kind =
            damage.map_or(FormatError::Missing("whole member"), |damage| damage.kind.clone());
        if let Some(path) = damage.and_then(|damage| damage.path.clone()) {
            self.lose(path, range.clone(), kind.clone());
        }
        self.report.damaged += 1;
        self.report.damaged_bytes += range.end - range.start;
        let error = &kind.at(range.start);
        self.observer.event(Event::Damaged { range: range.clone(), error });
    }

    /// Tells of a member that is lost.
    fn lose(&mut self, path: MemberPath, range: Range<u64>, kind: FormatError) {
        self.report.lost += 1;
        self.present.gap();
        let error = &Error::CorruptMember { path: path.clone(), range, kind };
        self.observer.event(Event::Failed { path: &path, error });
    }

    /// Goes through the entries of the listing from `from` to `to` that no member was found for.
    fn missing(&mut self, listing: &mut OldListing, from: u64, to: Option<u64>) -> Result<()> {
        let mut number = from;
        while to.is_none_or(|to| number < to) {
            let Some(entry) = listing.entry(&mut self.lister, number)? else { break };
            number += 1;
            let is_here = entry.location.is_some_and(|location| location.depth == 0);
            if !is_here {
                self.carry(&entry)?;
                continue;
            }
            let recent = self.recent.as_ref();
            let kind = recent.and_then(|(_, number)| usize::try_from(*number).ok());
            let kind = kind.and_then(|number| self.damages.get(number));
            let kind =
                kind.map_or(FormatError::Missing("whole member"), |found| found.kind.clone());
            self.lose(entry.path.clone(), entry.claimed_range(), kind);
        }
        Ok(())
    }

    /// Takes over an entry whose bytes were never in this archive.
    fn carry(&mut self, entry: &Entry) -> Result<()> {
        self.report.carried += 1;
        self.present.add(&entry.path);
        match &mut self.target {
            Target::Archive(writer) => writer.push_lost(entry),
            Target::None => Ok(()),
        }
    }

    /// Takes a whole member, unless it is a name of a file that is lost.
    fn member(&mut self, entry: &Entry) -> Result<()> {
        if let Kind::HardLink { target } = &entry.kind
            && !self.present.has(target)
        {
            let kind = FormatError::mismatch("target of a hard link", "a whole member", target);
            self.lose(entry.path.clone(), entry.claimed_range(), kind);
            return Ok(());
        }
        self.present.add(&entry.path);
        let copied;
        let entry = match &mut self.target {
            Target::Archive(writer) => {
                copied = writer.copy(self.source, entry)?;
                &copied
            }
            Target::None => entry,
        };
        self.report.members += 1;
        self.report.bytes += entry.kind.size();
        self.observer.event(Event::Done { entry });
        Ok(())
    }
}

/// Which names are in the new archive; asked for the targets of hard links.
enum Present {
    /// Nobody asks.
    All,
    /// Names ascend: one is lost when it lies between two that damage lies between.
    Gaps(Gaps),
    /// Hashes of all names, in any order.
    Names(HashSet<u64>),
}

impl Present {
    fn add(&mut self, path: &MemberPath) {
        match self {
            Self::All => {}
            Self::Gaps(gaps) => gaps.add(path),
            Self::Names(names) => {
                names.insert(name_hash(path.as_bytes()));
            }
        }
    }

    fn gap(&mut self) {
        if let Self::Gaps(gaps) = self {
            gaps.open = true;
        }
    }

    fn has(&self, path: &MemberPath) -> bool {
        match self {
            Self::All => true,
            Self::Gaps(gaps) => gaps.has(path),
            Self::Names(names) => names.contains(&name_hash(path.as_bytes())),
        }
    }
}

/// Where names are lost: between the last one before damage and the first one behind it.
#[derive(Default)]
struct Gaps {
    closed: Vec<(Option<MemberPath>, MemberPath)>,
    /// Whether there is damage behind the last name.
    open: bool,
    last: Option<MemberPath>,
}

impl Gaps {
    fn add(&mut self, path: &MemberPath) {
        if std::mem::take(&mut self.open) {
            self.closed.push((self.last.clone(), path.clone()));
        }
        self.last = Some(path.clone());
    }

    fn has(&self, path: &MemberPath) -> bool {
        if self.open && self.last.as_ref().is_none_or(|last| last < path) {
            return false;
        }
        let before = self.closed.partition_point(|(_, after)| after <= path);
        let gap = self.closed.get(before);
        gap.is_none_or(|(last, _)| last.as_ref().is_some_and(|last| path <= last))
    }
}
