//! Members that are added to an archive.
//!
//! The new ones are packed by the create job into an archive of their own, which has no name; then
//! the streams of both are copied into the new one, in the order of names. So create need not know
//! of old members, at the price of writing new ones twice.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use super::copier::{Copier, check_depth};
use super::respell::Respeller;
use super::{RewriteOptions, RewriteReport, level_at};
use crate::archive::{Archive, Entries};
use crate::create::{CreateOptions, CreateReport, create, plan};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, KindRef};
use crate::io::{ReadAt, Sink, WriteSink};
use crate::observe::{Event, Observer};
use crate::path::{MemberPath, name_hash};
use crate::writer::ArchiveWriter;

/// What an append job did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AppendReport {
    /// What was stored; size and identity are those of the new archive.
    pub stored: CreateReport,
    /// Members that are not in the new archive because what was stored took their place.
    pub replaced: u64,
    /// The new archive; its members are old and new ones.
    pub archive: RewriteReport,
}

/// Writes an archive of the members of `old` and of `paths`, in the order of names, and publishes
/// it. What is stored takes the place of an old member of that name, and of those below it when it
/// is no directory; what could not be read does not. Bases of `old` are those of the new archive.
///
/// # Errors
///
/// [`Error::Foreign`] for a classic archive, [`Error::Unordered`] for one whose members are not in
/// the order of names; those of [`create`] and of reading members. Nothing is published then.
pub fn append<R: ReadAt>(
    sink: &mut dyn Sink,
    old: &Archive<R>,
    paths: &[PathBuf],
    create_options: &CreateOptions,
    options: &RewriteOptions,
    observer: &mut dyn Observer,
) -> Result<AppendReport> {
    check(old)?;
    let file = spool(options)?;
    let mut create_options = create_options.clone();
    create_options.own_files.extend(sink.own_files());
    create_options.own_names.extend(sink.own_names());
    let stored = {
        let mut to_spool = WriteSink::new(&file);
        let mut quiet = Quiet(observer);
        create(&mut to_spool, paths, &create_options, &mut quiet)?
    };
    let new = Archive::open(&file)?;
    let level = level_at(old, 0)?;
    let mut writer = ArchiveWriter::new(sink, &options.writer(level, old.info().created))?;
    writer.set_bases(old.tables().bases.clone());
    if old.info().incomplete || stored.is_incomplete() {
        writer.set_incomplete();
    }
    let mut joiner = Joiner {
        old: Copier::new(old, level, options.verify),
        new: Copier::new(&new, level, false),
        respeller: Respeller::new(level),
        links: Links::of(old)?,
        archive: old,
        writer,
        observer,
        report: AppendReport { stored, ..AppendReport::default() },
    };
    joiner.join(&new)?;
    joiner.finish()
}

/// Walks as [`append`] would and tells what would be stored, left out and replaced.
///
/// # Errors
///
/// As [`append`].
pub fn plan_append<R: ReadAt>(
    old: &Archive<R>,
    paths: &[PathBuf],
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<AppendReport> {
    check(old)?;
    let mut finder = Finder { old, replaced: 0, failed: None, observer };
    let stored = plan(paths, options, &mut finder)?;
    match finder.failed {
        Some(error) => Err(error),
        None => Ok(AppendReport { stored, replaced: finder.replaced, ..AppendReport::default() }),
    }
}

fn check<R: ReadAt>(old: &Archive<R>) -> Result<()> {
    if old.is_classic() {
        return Err(Error::Foreign { what: "an archive of the original isptar" });
    }
    if old.info().sorted { Ok(()) } else { Err(Error::Unordered) }
}

/// Makes a file without a name.
fn spool(options: &RewriteOptions) -> Result<File> {
    let made = match &options.spool {
        Some(directory) => tempfile::tempfile_in(directory),
        None => tempfile::tempfile(),
    };
    let path = options.spool.clone();
    made.map_err(|source| Error::Output { op: "spool the new members of", path, source })
}

/// Tells of everything but single members.
struct Quiet<'o>(&'o mut dyn Observer);

impl Observer for Quiet<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { .. } | Event::Progress { .. } => {}
            event => self.0.event(event),
        }
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// Tells of what would be stored, and of what it would take the place of.
struct Finder<'f, R> {
    old: &'f Archive<R>,
    replaced: u64,
    failed: Option<Error>,
    observer: &'f mut dyn Observer,
}

impl<R: ReadAt> Observer for Finder<'_, R> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Done { entry } = &event {
            match self.old.find(&entry.path) {
                Ok(None) => {}
                Ok(Some(old)) => {
                    self.replaced += 1;
                    self.observer.event(Event::Replaced { path: &old.path });
                }
                Err(error) => self.failed = Some(error),
            }
        }
        self.observer.event(event);
    }

    fn cancelled(&self) -> bool {
        self.failed.is_some() || self.observer.cancelled()
    }
}

/// The entries of one side.
struct Side<'s, R> {
    entries: Entries<'s, R>,
    next: Option<Entry>,
}

impl<'s, R: ReadAt> Side<'s, R> {
    fn new(archive: &'s Archive<R>) -> Result<Self> {
        let mut side = Self { entries: archive.entries(), next: None };
        side.take()?;
        Ok(side)
    }

    /// Takes the next entry, and reads the one after it.
    fn take(&mut self) -> Result<Option<Entry>> {
        let next = self.entries.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// Old files with several names whose first name is not in the new archive.
struct Links {
    /// What hard links lead to.
    targets: HashSet<u64>,
    /// By their first names.
    gone: HashMap<MemberPath, Gone>,
}

/// A file whose first name is gone.
struct Gone {
    entry: Entry,
    /// The name that has the content now.
    instead: Option<MemberPath>,
}

impl Links {
    /// Looks for what hard links lead to.
    fn of<R: ReadAt>(archive: &Archive<R>) -> Result<Self> {
        let (mut targets, gone) = (HashSet::new(), HashMap::new());
        let mut entries = archive.entries();
        while let Some(entry) = entries.next_ref() {
            if let KindRef::HardLink { target } = entry?.kind {
                targets.insert(name_hash(target.as_bytes()));
            }
        }
        Ok(Self { targets, gone })
    }

    /// Takes note of an entry that is not in the new archive.
    fn drop(&mut self, entry: Entry) {
        let is_name = matches!(entry.kind, Kind::Directory | Kind::HardLink { .. });
        if !is_name && self.targets.contains(&name_hash(entry.path.as_bytes())) {
            self.gone.insert(entry.path.clone(), Gone { entry, instead: None });
        }
    }
}

/// Joins old and new members.
struct Joiner<'a, 's, R, N> {
    archive: &'a Archive<R>,
    old: Copier<'a, R>,
    new: Copier<'a, N>,
    respeller: Respeller,
    links: Links,
    writer: ArchiveWriter<&'s mut dyn Sink>,
    observer: &'a mut dyn Observer,
    report: AppendReport,
}

impl<R: ReadAt, N: ReadAt> Joiner<'_, '_, R, N> {
    /// Goes through both listings.
    fn join(&mut self, new: &Archive<N>) -> Result<()> {
        let (mut olds, mut news) = (Side::new(self.archive)?, Side::new(new)?);
        // The last new member, when it is no directory: nothing can be below it.
        let mut end: Option<MemberPath> = None;
        loop {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match (&olds.next, &news.next) {
                (None, None) => return Ok(()),
                (Some(old), Some(new)) if old.path == new.path => {
                    if is_stored(new) {
                        self.replace(olds.take()?);
                    } else {
                        news.take()?;
                    }
                }
                (Some(old), new) if new.as_ref().is_none_or(|new| old.path < new.path) => {
                    let is_below = end.as_ref().is_some_and(|end| old.path.is_within(end));
                    let is_above = old.kind != Kind::Directory
                        && new.as_ref().is_some_and(|new| new.path.is_within(&old.path));
                    match olds.take()? {
                        old if is_below || is_above => self.replace(old),
                        old => self.keep(old)?,
                    }
                }
                _ => {
                    let Some(new) = news.take()? else { continue };
                    end = Some(new.path.clone()).filter(|_| new.kind != Kind::Directory);
                    self.old.flush(&mut self.writer, &mut Quiet(self.observer))?;
                    self.new.take(&mut self.writer, new, self.observer)?;
                }
            }
        }
    }

    /// Leaves out an old member.
    fn replace(&mut self, old: Option<Entry>) {
        let Some(old) = old else { return };
        self.report.replaced += 1;
        self.observer.event(Event::Replaced { path: &old.path });
        self.links.drop(old);
    }

    /// Copies an old member.
    fn keep(&mut self, old: Option<Entry>) -> Result<()> {
        let Some(old) = old else { return Ok(()) };
        self.new.flush(&mut self.writer, self.observer)?;
        if let Kind::HardLink { target } = &old.kind
            && self.links.gone.contains_key(target)
        {
            let target = target.clone();
            return self.move_link(old, &target);
        }
        let is_here = old.location.is_some_and(|location| location.depth == 0);
        if is_here {
            return self.old.take(&mut self.writer, old, &mut Quiet(self.observer));
        }
        check_depth(self.archive, &old)?;
        self.report.archive.carried += 1;
        self.old.pass(&mut self.writer, old, &mut Quiet(self.observer))
    }

    /// Writes a hard link whose first name is gone: as a link to the name that has the content, or
    /// as the thing itself.
    fn move_link(&mut self, old: Entry, target: &MemberPath) -> Result<()> {
        self.old.flush(&mut self.writer, &mut Quiet(self.observer))?;
        let Some(gone) = self.links.gone.get_mut(target) else { return Ok(()) };
        let writer = &mut self.writer;
        if let Some(instead) = &gone.instead {
            let kind = Kind::HardLink { target: instead.clone() };
            self.respeller.bare(writer, Entry { kind, ..old })?;
        } else {
            let entry = Entry { path: old.path.clone(), ..gone.entry.clone() };
            gone.instead = Some(old.path);
            if entry.location.is_none() {
                self.report.archive.carried += 1;
                return writer.put_entry(&entry);
            }
            self.respeller.with_data(writer, self.archive, &gone.entry, entry)?;
        }
        self.report.archive.members += 1;
        self.report.archive.repacked += 1;
        Ok(())
    }

    /// Completes the archive.
    fn finish(mut self) -> Result<AppendReport> {
        self.old.flush(&mut self.writer, &mut Quiet(self.observer))?;
        self.new.flush(&mut self.writer, self.observer)?;
        self.report.archive.add(self.old.copied);
        self.report.archive.add(self.new.copied);
        let (_, written) = self.writer.finish()?;
        self.report.archive.finish(&written);
        self.report.stored.archive_size = written.archive_size;
        self.report.stored.identity = Some(written.identity);
        Ok(self.report)
    }
}

/// Returns whether there is something of a new member.
fn is_stored(new: &Entry) -> bool {
    new.location.is_some()
}
