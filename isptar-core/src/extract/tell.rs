//! What the job tells its observer, and counts.

use std::path::PathBuf;

use super::ExtractReport;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::observe::{Event, LeftOut, Observer, Warning};
use crate::path::MemberPath;
use crate::scan::Damage;

/// Tells what happens to the member at hand, and counts it.
pub(super) struct Tell<'a> {
    observer: &'a mut dyn Observer,
    pub(super) report: ExtractReport,
    /// The member at hand.
    pub(super) path: MemberPath,
    /// Where it is restored, for messages.
    pub(super) shown: PathBuf,
    /// Whether leading slashes were told of.
    slash: bool,
}

impl<'a> Tell<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer) -> Self {
        let report = ExtractReport::default();
        let (path, shown) = (MemberPath::default(), PathBuf::new());
        Self { observer, report, path, shown, slash: false }
    }

    pub(super) fn planned(&mut self, members: u64, bytes: u64) {
        self.observer.event(Event::Planned { members, bytes });
    }

    /// Tells once that leading slashes are left out of names.
    pub(super) fn slash(&mut self) {
        if !self.slash && self.path.as_bytes().starts_with(b"/") {
            self.slash = true;
            self.mention(&Warning::LeadingSlash);
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

    pub(super) fn done(&mut self, entry: &Entry) {
        self.report.members += 1;
        if let Kind::File { size } = entry.kind {
            self.report.files += 1;
            self.report.bytes += size;
        }
        self.observer.event(Event::Done { entry });
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

    /// Tells something about the member at hand that does it no harm, and is not counted.
    pub(super) fn mention(&mut self, warning: &Warning) {
        self.observer.event(Event::Warning { path: &self.path, warning });
    }

    /// Warns of the member at hand.
    pub(super) fn warn(&mut self, warning: &Warning) {
        self.report.warnings += 1;
        self.observer.event(Event::Warning { path: &self.path, warning });
    }
}
