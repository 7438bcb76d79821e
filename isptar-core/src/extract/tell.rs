//! What the job tells its observer, and counts.

use super::ExtractReport;
use super::notes::{Note, Notes, Watch};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::observe::{Event, LeftOut, Observer, Warning};
use crate::path::MemberPath;
use crate::scan::Damage;

/// Tells what happens to the member at hand, and counts it.
pub(super) struct Tell<'a> {
    observer: &'a mut dyn Observer,
    pub(super) report: ExtractReport,
    /// Whether leading slashes were told of.
    slash: bool,
    /// What could not be read when it was archived, as the last one that was told.
    lost: Option<MemberPath>,
    /// Kinds of metadata that were told not to be kept here.
    not_kept: Vec<&'static str>,
}

impl<'a> Tell<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer) -> Self {
        let report = ExtractReport::default();
        Self { observer, report, slash: false, lost: None, not_kept: Vec::new() }
    }

    pub(super) fn planned(&mut self, members: u64, bytes: u64) {
        self.observer.event(Event::Planned { members, bytes });
    }

    /// Has it told once that leading slashes are left out of names.
    pub(super) fn slash(&mut self, path: &MemberPath, notes: &mut Notes) {
        if !self.slash && path.as_bytes().starts_with(b"/") {
            self.slash = true;
            notes.mention(Warning::LeadingSlash);
        }
    }

    /// Has it told that what is restored may be of an earlier time: once of a directory with all that
    /// is in it.
    pub(super) fn lost(&mut self, entry: &Entry, notes: &mut Notes) {
        let is_told = |lost: &MemberPath| entry.path.is_within(lost);
        if entry.lost.is_some() && !self.lost.as_ref().is_some_and(is_told) {
            self.lost = Some(entry.path.clone());
            notes.warn(Warning::Older);
        }
    }

    /// Asks whether the job shall stop.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(super) fn progress(&mut self, bytes: u64) {
        if bytes > 0 {
            self.observer.event(Event::Progress { bytes });
        }
    }

    /// Tells what was noted of a member.
    pub(super) fn noted(&mut self, path: &MemberPath, notes: &mut Notes) {
        for note in notes.0.drain(..) {
            match note {
                Note::Warning(warning) => self.warn(path, &warning),
                Note::Mention(warning) => {
                    self.observer.event(Event::Warning { path, warning: &warning })
                }
                Note::NotKept(kind) if self.not_kept.contains(&kind) => {}
                Note::NotKept(kind) => {
                    self.not_kept.push(kind);
                    self.warn(path, &Warning::NotKept(kind));
                }
            }
        }
    }

    pub(super) fn done(&mut self, entry: &Entry) {
        self.report.members += 1;
        if let Kind::File { size } = entry.kind {
            self.report.files += 1;
            self.report.bytes += size;
        }
        self.observer.event(Event::Done { entry });
    }

    pub(super) fn deleted(&mut self, path: &MemberPath) {
        self.report.deleted += 1;
        self.observer.event(Event::Removed { path });
    }

    pub(super) fn left_out(&mut self, path: &MemberPath, reason: LeftOut) {
        self.report.kept += u64::from(reason == LeftOut::Exists);
        self.observer.event(Event::LeftOut { path, reason });
    }

    pub(super) fn failed(&mut self, path: &MemberPath, error: &Error) {
        match error {
            Error::Lost { .. } => self.report.lost += 1,
            _ => self.report.failed += 1,
        }
        self.observer.event(Event::Failed { path, error });
    }

    /// Tells damage of a tar that is read from front to back.
    pub(super) fn damaged(&mut self, damage: &Damage, error: &Error) {
        match &damage.path {
            Some(path) => self.failed(path, error),
            None => {
                self.report.failed += 1;
                self.observer.event(Event::Damaged { range: damage.range.clone(), error });
            }
        }
    }

    fn warn(&mut self, path: &MemberPath, warning: &Warning) {
        self.report.warnings += 1;
        self.observer.event(Event::Warning { path, warning });
    }
}

impl Watch for Tell<'_> {
    fn go_on(&self) -> Result<()> {
        Tell::go_on(self)
    }

    fn progress(&mut self, bytes: u64) {
        Tell::progress(self, bytes);
    }
}
