//! What the job tells its observer, and counts.

use std::collections::HashSet;
use std::ops::Range;

use super::VerifyReport;
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::observe::{Event, LeftOut, Observer, Warning};
use crate::path::MemberPath;
use crate::select::Selection;

/// Tells what was found, and counts it.
pub(super) struct Tell<'a> {
    observer: &'a mut dyn Observer,
    pub(super) report: VerifyReport,
}

impl<'a> Tell<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer) -> Self {
        Self { observer, report: VerifyReport::default() }
    }

    /// Asks whether the job shall stop.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(super) fn planned(&mut self, members: u64, bytes: u64) {
        self.observer.event(Event::Planned { members, bytes });
    }

    pub(super) fn progress(&mut self, bytes: u64) {
        if bytes > 0 {
            self.observer.event(Event::Progress { bytes });
        }
    }

    /// Passes on what is not counted.
    pub(super) fn pass(&mut self, event: Event<'_>) {
        self.observer.event(event);
    }

    /// Tells of a member that is as its entry says.
    pub(super) fn whole(&mut self, entry: &Entry) {
        self.report.members += 1;
        self.report.whole += 1;
        self.observer.event(Event::Done { entry });
    }

    /// Tells of a member that is not.
    pub(super) fn damaged(&mut self, path: &MemberPath, error: &Error) {
        self.report.members += 1;
        self.report.damaged += 1;
        self.observer.event(Event::Failed { path, error });
    }

    /// Tells of bytes between members.
    pub(super) fn stray(&mut self, range: Range<u64>, error: &Error) {
        self.report.strays += 1;
        self.observer.event(Event::Damaged { range, error });
    }

    /// Tells of damage to what is no member.
    pub(super) fn beyond(&mut self, range: Range<u64>, error: &Error) {
        self.report.beyond += 1;
        self.observer.event(Event::Damaged { range, error });
    }

    /// Tells of a base that is missing, or is another.
    pub(super) fn no_base(&mut self, error: &Error) {
        self.report.missing_bases += 1;
        self.observer.event(Event::Damaged { range: 0..0, error });
    }

    /// Tells of a slice that is missing or wrong.
    pub(super) fn slice(&mut self, range: Range<u64>, error: &Error) {
        self.report.slices += 1;
        self.observer.event(Event::Damaged { range, error });
    }

    /// Tells of damage that may have cost any number of members.
    pub(super) fn unnamed(&mut self, range: Range<u64>, error: &Error) {
        self.report.unnamed += 1;
        self.observer.event(Event::Damaged { range, error });
    }

    pub(super) fn lost(&mut self, entry: &Entry) {
        self.report.lost += 1;
        let reason = LeftOut::NotStored;
        self.observer.event(Event::LeftOut { path: &entry.path, reason });
    }

    pub(super) fn duplicate(&mut self, path: &MemberPath) {
        self.report.duplicates += 1;
        self.observer.event(Event::Warning { path, warning: &Warning::Duplicate });
    }

    pub(super) fn warn(&mut self, path: &MemberPath, warning: &Warning) {
        self.observer.event(Event::Warning { path, warning });
    }

    /// Tells which things asked for were not met.
    pub(super) fn missing(&mut self, selection: &Selection, met: &HashSet<usize>) {
        for index in (0..selection.len()).filter(|index| !met.contains(index)) {
            let path = MemberPath::new(selection.text(index));
            self.report.missing += 1;
            let error = Error::NotFound(path.clone());
            self.observer.event(Event::Failed { path: &path, error: &error });
        }
    }
}
