//! Comparing two listings.

use std::cmp::Ordering;

use super::compare::{Compared, Comparer};
use super::links::ListedLinks;
use super::listing::Listing;
use super::scope::Scope;
use super::{Change, DiffOptions, DiffReport, Difference, Field, tell};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::observe::{Event, Observer};

/// A job at work.
pub(super) struct Job<'a> {
    options: &'a DiffOptions,
    scope: Scope<'a>,
    old: Side<'a>,
    new: Side<'a>,
    comparer: Comparer,
    report: DiffReport,
}

struct Side<'a> {
    listing: Listing<'a>,
    links: ListedLinks,
    next: Option<Entry>,
    excluded: Option<crate::path::MemberPath>,
}

impl<'a> Side<'a> {
    fn new(listing: Listing<'a>) -> Self {
        Self { listing, links: ListedLinks::default(), next: None, excluded: None }
    }

    /// Goes on to the next entry that is to be compared.
    fn advance(
        &mut self,
        options: &DiffOptions,
        scope: &mut Scope<'_>,
        failed: &mut u64,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        self.next = None;
        while let Some(entry) = self.listing.next(failed, observer)? {
            let is_dir = entry.kind == Kind::Directory;
            let inside = self.excluded.as_ref().is_some_and(|above| entry.path.is_within(above));
            let excluded = inside || options.exclude.matches(&entry.path, is_dir);
            if excluded && !inside {
                self.excluded = Some(entry.path.clone());
            }
            if !excluded && scope.takes(&entry.path, is_dir) {
                self.next = Some(entry);
                return Ok(());
            }
            self.links.forget(&entry);
        }
        Ok(())
    }
}

impl<'a> Job<'a> {
    pub(super) fn new(old: Listing<'a>, new: Listing<'a>, options: &'a DiffOptions) -> Self {
        Self {
            options,
            scope: Scope::new(options),
            comparer: Comparer::of_listings(options, old.recorded, new.recorded),
            old: Side::new(old),
            new: Side::new(new),
            report: DiffReport::default(),
        }
    }

    pub(super) fn run(mut self, observer: &mut dyn Observer) -> Result<DiffReport> {
        self.advance(true, true, observer)?;
        loop {
            let order = match (&self.old.next, &self.new.next) {
                (Some(old), Some(new)) => old.path.cmp(&new.path),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let old = self.old.next.take_if(|_| order != Ordering::Greater);
            let new = self.new.next.take_if(|_| order != Ordering::Less);
            match (&old, &new) {
                (Some(old), Some(new)) => self.both(old, new, observer)?,
                (old, new) => {
                    let change = |entry: &Entry, old| {
                        let entry = Box::new(entry.clone());
                        if old { Change::Removed(entry) } else { Change::Added(entry) }
                    };
                    if let Some(old) = old {
                        self.old.links.forget(old);
                        self.one(old, change(old, true), observer);
                    }
                    if let Some(new) = new {
                        self.new.links.forget(new);
                        self.one(new, change(new, false), observer);
                    }
                }
            }
            self.advance(order != Ordering::Greater, order != Ordering::Less, observer)?;
        }
        self.scope.tell_missing(&mut self.report, observer);
        Ok(self.report)
    }

    fn advance(&mut self, old: bool, new: bool, observer: &mut dyn Observer) -> Result<()> {
        let (scope, failed) = (&mut self.scope, &mut self.report.failed);
        if old {
            self.old.advance(self.options, scope, failed, observer)?;
        }
        if new {
            self.new.advance(self.options, scope, failed, observer)?;
        }
        Ok(())
    }

    /// Tells of a name that one side has.
    fn one(&mut self, entry: &Entry, change: Change, observer: &mut dyn Observer) {
        // The archive does not hold it, either.
        if entry.lost.is_some() && entry.kind != Kind::Directory {
            return;
        }
        tell(&Difference { path: entry.path.clone(), change }, &mut self.report, observer);
    }

    fn both(&mut self, old: &Entry, new: &Entry, observer: &mut dyn Observer) -> Result<()> {
        let path = &old.path;
        if let Some(reason) = old.lost.as_ref().or(new.lost.as_ref()) {
            self.report.lost += 1;
            let error = &Error::Lost { path: path.clone(), reason: reason.clone() };
            observer.event(Event::Failed { path, error });
            if old.kind != Kind::Directory || new.kind != Kind::Directory {
                self.old.links.forget(old);
                self.new.links.forget(new);
                return Ok(());
            }
        }
        self.report.compared += 1;
        let (old_first, new_first) = (self.old.links.leader(old), self.new.links.leader(new));
        let same_file = old_first == new_first && old_first != *path;
        if same_file {
            // It was compared under its first name.
            return Ok(());
        }
        let (resolved_old, resolved_new) =
            match (self.old.listing.resolve(old), self.new.listing.resolve(new)) {
                (Ok(old), Ok(new)) => (old, new),
                (Err(error @ Error::CorruptMember { .. }), _)
                | (_, Err(error @ Error::CorruptMember { .. })) => {
                    self.report.failed += 1;
                    observer.event(Event::Failed { path, error: &error });
                    return Ok(());
                }
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
        let mut compared = self.comparer.compare(&resolved_old, &resolved_new);
        if compared.unsettled {
            let old = fingerprint(&self.old.listing, &resolved_old, &mut self.report, observer)?;
            let new = fingerprint(&self.new.listing, &resolved_new, &mut self.report, observer)?;
            compared.settle(old.zip(new).map(|(old, new)| old == new));
        }
        self.report.unrecorded += u64::from(compared.unrecorded);
        let is_type = matches!(compared.fields.first(), Some(Field::Type(..)));
        if old_first != new_first && !is_type && !self.options.ignore.links {
            let other = |leader: crate::path::MemberPath| (leader != *path).then_some(leader);
            compared.fields.push(Field::Links(other(old_first), other(new_first)));
        }
        if !compared.is_same() {
            let Compared { content, fields, .. } = compared;
            let (path, change) = (path.clone(), Change::Changed { content, fields });
            tell(&Difference { path, change }, &mut self.report, observer);
        }
        Ok(())
    }
}

/// Returns the fingerprint of a file; `None` when its content cannot be had, or is damaged, which is
/// told.
fn fingerprint(
    listing: &Listing<'_>,
    entry: &Entry,
    report: &mut DiffReport,
    observer: &mut dyn Observer,
) -> Result<Option<[u8; 32]>> {
    match listing.fingerprint(entry, observer) {
        Err(
            Error::NoBase { .. }
            | Error::UnnamedBase { .. }
            | Error::ListingAlone
            | Error::Lost { .. },
        ) => Ok(None),
        Err(error @ (Error::CorruptMember { .. } | Error::InBase { .. })) => {
            report.failed += 1;
            observer.event(Event::Failed { path: &entry.path, error: &error });
            Ok(None)
        }
        read => read,
    }
}
