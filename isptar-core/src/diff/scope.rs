//! Which names are compared at all.

use std::collections::HashSet;

use super::{DiffOptions, DiffReport};
use crate::error::Error;
use crate::observe::{Event, Observer};
use crate::path::MemberPath;
use crate::select::Selection;

/// The selection of a job, and what of it was met.
pub(super) struct Scope<'a> {
    only: &'a Selection,
    met: HashSet<usize>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(options: &'a DiffOptions) -> Self {
        Self { only: &options.only, met: HashSet::new() }
    }

    /// Returns whether a name is to be compared, and notes that it is there.
    pub(super) fn takes(&mut self, path: &MemberPath, is_dir: bool) -> bool {
        let met = &mut self.met;
        self.only.matches(path, is_dir, |index| {
            met.insert(index);
        })
    }

    /// Returns whether something that is to be compared may be below a directory.
    pub(super) fn leads_to(&self, path: &MemberPath) -> bool {
        match self.only.paths() {
            Some(paths) => paths.iter().any(|only| only.is_within(path) || path.is_within(only)),
            None => true,
        }
    }

    /// Tells which of the things asked for are on neither side.
    pub(super) fn tell_missing(&self, report: &mut DiffReport, observer: &mut dyn Observer) {
        for index in (0..self.only.len()).filter(|index| !self.met.contains(index)) {
            report.failed += 1;
            let path = &MemberPath::new(self.only.text(index));
            observer.event(Event::Failed { path, error: &Error::OnNeitherSide(path.clone()) });
        }
    }
}
