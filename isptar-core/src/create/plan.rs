//! What would be stored, without storing it.

use std::collections::HashSet;
use std::path::PathBuf;

use super::agenda::{Agenda, Turn};
use super::changes::{Change, Changes};
use super::extras::Extras;
use super::item::{Item, Items};
use super::supply::header_of;
use super::{CreateOptions, CreateReport, same};
use crate::error::Result;
use crate::format::entry::Kind;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, entry_of};
use crate::path::MemberPath;
use crate::source::{Steps, Walk};

/// Walks as [`super::create`] would and tells the observer what would be stored and what left out.
///
/// # Errors
///
/// [`crate::Error::BadSource`] or [`crate::Error::Cancelled`].
pub fn plan(
    paths: &[PathBuf],
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    plan_with(paths, options, &mut Extras::default(), observer)
}

/// Does what [`plan`] does, for [`super::create_with`]. No hook is called and no supply read: members
/// whose content would come from elsewhere are told with a size of 0, and without parts. The base is used
/// up: on one,
/// files are read where nothing else says whether they have changed.
///
/// # Errors
///
/// Those of [`plan`]; [`crate::Error::BadBase`].
pub fn plan_with(
    paths: &[PathBuf],
    options: &CreateOptions,
    extras: &mut Extras<'_>,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let changes = Changes::new(extras.base.take(), options);
    let walk = Walk::new(&options.directory, paths, options.source(Vec::new()))?;
    let plan = Plan {
        steps: Steps::Here(Box::new(walk)),
        items: Items::new(options),
        report: CreateReport::default(),
        agenda: Agenda::new(extras),
        extras,
        unchanged: HashSet::new(),
        data: Vec::new(),
        observer,
    };
    plan.run(changes)
}

/// What is planned in order.
struct Plan<'p> {
    steps: Steps,
    items: Items,
    report: CreateReport,
    agenda: Agenda,
    extras: &'p Extras<'p>,
    /// First names of files with several names that were read and found unchanged.
    unchanged: HashSet<MemberPath>,
    data: Vec<u8>,
    observer: &'p mut dyn Observer,
}

impl Plan<'_> {
    fn run(mut self, mut changes: Changes<'_>) -> Result<CreateReport> {
        loop {
            if changes.is_between() {
                self.turns(&mut changes)?;
            }
            if !self.change(&mut changes)? {
                break;
            }
        }
        for prefix in self.agenda.unused() {
            self.report.warnings += 1;
            self.observer.event(Event::Warning { path: prefix, warning: &Warning::HookNotCalled });
        }
        self.report.add_walk(self.steps.tally());
        Ok(self.report)
    }

    /// Tells which supplies would be stored before the walk goes on.
    fn turns(&mut self, changes: &mut Changes<'_>) -> Result<()> {
        let next = self.steps.here().and_then(|walk| walk.upcoming(self.observer));
        while let Some(turn) = self.agenda.turn(self.extras, next.as_ref())? {
            let Turn::Supply(index) = turn else { continue };
            changes.turn_to(self.extras.supplies[index].first_name());
            while !changes.is_between() {
                self.change(changes)?;
            }
            let supply = &self.extras.supplies[index];
            let entry = entry_of(&header_of(supply), Details::default());
            self.report.count(&entry);
            self.observer.event(Event::Done { entry: &entry });
            // How many parts there would be is not known.
            changes.replace(supply, &supply.last_name())?;
        }
        Ok(())
    }

    /// Tells what comes next of the tree and the base; returns whether there was more.
    fn change(&mut self, changes: &mut Changes<'_>) -> Result<bool> {
        let report = &mut self.report;
        let next = changes.next(&mut self.steps, &mut self.items, report, self.observer)?;
        let Some(change) = next else { return Ok(false) };
        if let Some((path, is_directory)) = change.found() {
            self.agenda.found(&path, is_directory);
        }
        match change {
            Change::Unchanged(_) => report.unchanged += 1,
            Change::Kept(_) => report.kept += 1,
            Change::Deleted(name) => {
                report.deleted += 1;
                self.observer.event(Event::Deleted { path: &name.into_owned() });
            }
            Change::Nothing => {}
            Change::Item(item) => self.item(*item),
        }
        Ok(true)
    }

    /// Tells whether an item would be stored, and could be.
    fn item(&mut self, mut item: Item) {
        let as_first = item.as_first().is_some_and(|first| self.unchanged.contains(first));
        if as_first || same::is_unchanged(&mut item, &mut self.data) {
            self.report.unchanged += 1;
            if item.has_several_names() {
                self.unchanged.insert(item.found.path);
            }
            return;
        }
        match item.try_open() {
            Ok(()) => self.done(&item),
            Err(None) => {
                self.report.vanished += 1;
                let (path, warning) = (&item.header.path, &Warning::Vanished);
                self.observer.event(Event::Warning { path, warning });
            }
            Err(Some(error)) => {
                self.report.unreadable += 1;
                let path = &item.header.path;
                self.observer.event(Event::Failed { path, error: &error });
                if item.header.kind == Kind::Directory {
                    self.done(&item);
                }
            }
        }
    }

    fn done(&mut self, item: &Item) {
        let entry = entry_of(&item.header, item.details);
        self.report.count(&entry);
        if let Some(why) = item.why {
            self.observer.event(Event::Why { path: &entry.path, why });
        }
        self.observer.event(Event::Done { entry: &entry });
    }
}
