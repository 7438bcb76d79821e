//! What would be stored, without storing it.

use std::path::PathBuf;

use rustix::fs::FileType;

use super::agenda::{Agenda, Turn};
use super::extras::Extras;
use super::item::{Item, Items};
use super::supply::header_of;
use super::{CreateOptions, CreateReport};
use crate::error::Result;
use crate::format::entry::Kind;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, entry_of};
use crate::path::MemberPath;
use crate::source::Walk;

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
    plan_with(paths, options, &Extras::default(), observer)
}

/// Does what [`plan`] does, for [`super::create_with`]. No hook is called and no supply read: members
/// whose content would come from elsewhere are told with a size of 0, and without parts.
///
/// # Errors
///
/// Those of [`plan`].
pub fn plan_with(
    paths: &[PathBuf],
    options: &CreateOptions,
    extras: &Extras<'_>,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let mut walk = Walk::new(&options.directory, paths, options.source(Vec::new()))?;
    let mut items = Items::new(options);
    let mut report = CreateReport::default();
    let mut agenda = Agenda::new(extras);
    loop {
        let next = walk.upcoming(observer);
        plan_turns(&mut agenda, extras, next.as_ref(), &mut report, observer)?;
        if next.is_none() {
            break;
        }
        let Some(found) = walk.try_next(observer)? else { continue };
        if !extras.supplies.is_empty() {
            agenda.found(&found.path, found.file_type() == FileType::Directory);
        }
        if let Some(item) = items.next(found, &mut report, observer) {
            plan_item(&item, &mut report, observer);
        }
    }
    for prefix in agenda.unused() {
        report.warnings += 1;
        observer.event(Event::Warning { path: prefix, warning: &Warning::HookNotCalled });
    }
    report.add_walk(&walk);
    Ok(report)
}

/// Tells which supplies would be stored before the walk goes on.
fn plan_turns(
    agenda: &mut Agenda,
    extras: &Extras<'_>,
    next: Option<&MemberPath>,
    report: &mut CreateReport,
    observer: &mut dyn Observer,
) -> Result<()> {
    while let Some(turn) = agenda.turn(extras, next)? {
        if let Turn::Supply(index) = turn {
            let entry = entry_of(&header_of(&extras.supplies[index]), Details::default());
            report.count(&entry);
            observer.event(Event::Done { entry: &entry });
        }
    }
    Ok(())
}

/// Tells whether an item could be stored.
fn plan_item(item: &Item, report: &mut CreateReport, observer: &mut dyn Observer) {
    let path = &item.header.path;
    let entry = entry_of(&item.header, item.details);
    match item.try_open() {
        Ok(()) => {
            report.count(&entry);
            observer.event(Event::Done { entry: &entry });
        }
        Err(None) => {
            report.vanished += 1;
            observer.event(Event::Warning { path, warning: &Warning::Vanished });
        }
        Err(Some(error)) => {
            report.unreadable += 1;
            observer.event(Event::Failed { path, error: &error });
            if item.header.kind == Kind::Directory {
                report.count(&entry);
                observer.event(Event::Done { entry: &entry });
            }
        }
    }
}
