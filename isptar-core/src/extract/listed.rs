//! Restoring by the listing: three passes over it, none of which keeps it in memory.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::contents;
use super::delete::{Delete, Deleter};
use super::hand::{Outcome, Source};
use super::notes::Notes;
use super::plan::{Plan, each, entries};
use super::target::{Target, Written};
use super::tell::Tell;
use super::unfinished::{Nested, deepest_first};
use super::{ExtractOptions, ExtractReport, Overwrite, is_fatal, tell_missing};
use crate::archive::{Archive, Member, Rereads};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, EntryRef, Kind, KindRef};
use crate::format::member::Xattrs;
use crate::io::ReadAt;
use crate::observe::{LeftOut, Observer, Warning};
use crate::path::{MemberPath, PathReason, SafePath, name_hash};
use crate::scan::Damage;
use crate::select::Selection;

impl<R: ReadAt> Source for Member<'_, R> {
    fn xattrs(&self) -> &Xattrs {
        &self.header().xattrs
    }
}

/// See [`super::extract`].
pub(super) fn extract<R: ReadAt>(
    archive: &Archive<R>,
    selection: &Selection,
    target: &Path,
    options: &ExtractOptions,
    observer: &mut dyn Observer,
) -> Result<ExtractReport> {
    let mut tell = Tell::new(observer);
    let mut plan = Plan::new(archive, selection, options)?;
    tell.planned(plan.members, plan.bytes);
    tell_missing(selection, &plan.met, &mut tell);
    if !options.without_bases {
        plan.check_bases(archive)?;
    }
    if options.delete {
        check_delete(archive, options)?;
    }
    let targets = std::mem::take(&mut plan.targets);
    let mut job = Job {
        archive,
        selection,
        options,
        plan,
        tell,
        notes: Notes::default(),
        failed: HashSet::new(),
        run: archive.rereads(),
        firsts: None,
        previous: None,
    };
    if options.dry_run {
        job.pretend()?;
        if options.delete && target.exists() {
            job.delete(target, Delete::InTheWay)?;
            job.delete(target, Delete::Unlisted)?;
        }
        return Ok(job.tell.report);
    }
    let root = target;
    if options.delete {
        job.delete(root, Delete::InTheWay)?;
    }
    let mut target = Target::open(root, options, Written::only(targets))?;
    contents::restore(&mut job, &mut target)?;
    job.links_and_directories(&mut target)?;
    if options.delete {
        job.tell.report.spared = job.tell.report.failed > 0;
        if !job.tell.report.spared {
            job.delete(root, Delete::Unlisted)?;
        }
    }
    Ok(job.tell.report)
}

/// Checks that the names of an archive say what the target may have.
fn check_delete<R: ReadAt>(archive: &Archive<R>, options: &ExtractOptions) -> Result<()> {
    if !archive.info().sorted {
        return Err(Error::NoDelete("its listing is not in order"));
    }
    if options.strip_components > 0 {
        return Err(Error::NoDelete("parts of its names are dropped"));
    }
    match options.overwrite {
        Overwrite::Never => Err(Error::NoDelete("what the target has is to be kept")),
        _ => Ok(()),
    }
}

pub(super) struct Job<'a, R> {
    pub(super) archive: &'a Archive<R>,
    selection: &'a Selection,
    pub(super) options: &'a ExtractOptions,
    pub(super) plan: Plan,
    pub(super) tell: Tell<'a>,
    /// What is to be told of the member at hand.
    notes: Notes,
    /// Positions of the entries that later passes skip.
    failed: HashSet<u64>,
    pub(super) run: Arc<Rereads>,
    /// Of an unsorted listing: what its hard links lead to, by hashes of the names; known once it is
    /// asked for.
    firsts: Option<HashMap<u64, Entry>>,
    /// The member that was opened last: its stream may be that of the next one, too.
    pub(super) previous: Option<Member<'a, R>>,
}

/// Where an entry goes, if anywhere.
pub(super) enum Destination {
    At(SafePath),
    Nowhere(LeftOut),
    /// A later entry has the same name, or nothing is known to restore.
    Silent,
}

impl<'a, R: ReadAt> Job<'a, R> {
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, Result<Entry>)> + use<'a, R> {
        (0..).zip(entries(self.archive, self.selection))
    }

    /// Returns an entry; tells of a line that is none, among others that are.
    fn good(&mut self, entry: Result<Entry>) -> Result<Option<Entry>> {
        match entry {
            Ok(entry) => Ok(Some(entry)),
            Err(error @ Error::CorruptLine { .. }) => {
                self.tell.damaged(&Damage::default(), &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn destination(&self, index: u64, entry: &Entry) -> Result<Destination> {
        let whole = SafePath::new(&entry.path, self.archive.limits())?;
        if !self.archive.is_classic() && !entry.path.is_canonical() {
            let (path, reason) = (entry.path.clone(), PathReason::NotCanonical);
            return Err(Error::UnsafePath { path, reason });
        }
        let Some(path) = whole.strip_components(self.options.strip_components) else {
            return Ok(Destination::Nowhere(LeftOut::Stripped));
        };
        if self.plan.is_superseded(index, &path) {
            return Ok(Destination::Silent);
        }
        match lost(entry) {
            Some("vanished") => Ok(Destination::Silent),
            Some(reason) => {
                Err(Error::Lost { path: entry.path.clone(), reason: reason.to_owned() })
            }
            None => Ok(Destination::At(path)),
        }
    }

    /// Returns where an entry goes, and tells when it goes nowhere.
    fn told_destination(&mut self, index: u64, entry: &Entry) -> Option<SafePath> {
        match self.destination(index, entry) {
            Ok(Destination::At(path)) => {
                self.tell.slash(&entry.path, &mut self.notes);
                self.tell.lost(entry, &mut self.notes);
                self.tell.noted(&entry.path, &mut self.notes);
                return Some(path);
            }
            Ok(Destination::Nowhere(reason)) => self.tell.left_out(&entry.path, reason),
            Ok(Destination::Silent) => {}
            Err(error) => self.tell.failed(&entry.path, &error),
        }
        None
    }

    /// Tells what would be restored.
    fn pretend(&mut self) -> Result<()> {
        for (index, entry) in self.entries() {
            self.tell.go_on()?;
            let Some(entry) = self.good(entry)? else { continue };
            if self.told_destination(index, &entry).is_some() {
                self.tell.done(&entry);
            }
        }
        Ok(())
    }

    /// Deletes from the target what is not as the listing has it.
    fn delete(&mut self, target: &Path, what: Delete) -> Result<()> {
        let Self { archive, selection, options, tell, .. } = self;
        let how = (*archive.limits(), options.dry_run);
        let mut deleter = Deleter::new(what, target, how, &options.own_files, tell)?;
        for entry in entries(archive, selection) {
            deleter.entry(&entry?)?;
        }
        deleter.finish()
    }

    /// Opens a member in this run.
    pub(super) fn open(&mut self, entry: &Entry) -> Result<Member<'a, R>> {
        self.archive.next_member_of(&self.run, self.previous.take(), entry)
    }

    /// Tells what became of a member.
    pub(super) fn settle(
        &mut self,
        index: u64,
        entry: &Entry,
        outcome: Result<Option<Outcome>>,
    ) -> Result<()> {
        match outcome {
            Ok(Some(Outcome::Restored)) => self.tell.done(entry),
            Ok(Some(Outcome::Kept)) => self.tell.left_out(&entry.path, LeftOut::Exists),
            Ok(Some(Outcome::NotLinked) | None) => {}
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                self.failed.insert(index);
                self.tell.failed(&entry.path, &error);
            }
        }
        Ok(())
    }

    /// Makes the links, and sets the metadata of directories when nothing more comes into them.
    fn links_and_directories(&mut self, target: &mut Target) -> Result<()> {
        let Plan { directories, symlinks, hard_links, .. } = self.plan;
        if hard_links {
            // What a hard link leads to may be in a directory whose mode bars the way.
            self.finish(target, true, false)?;
            self.finish(target, false, directories)
        } else {
            self.finish(target, symlinks, directories)
        }
    }

    fn finish(&mut self, target: &mut Target, links: bool, directories: bool) -> Result<()> {
        if !links && !directories {
            return Ok(());
        }
        let sorted = self.archive.info().sorted;
        let mut nested = Nested::default();
        let mut unsorted = Vec::new();
        let concerns = |entry: &EntryRef<'_>| match entry.kind {
            KindRef::Directory => directories,
            KindRef::Symlink { .. } | KindRef::HardLink { .. } => links,
            _ => false,
        };
        let (archive, selection) = (self.archive, self.selection);
        each(archive, selection, concerns, |index, entry| {
            self.tell.go_on()?;
            let entry = match entry {
                Ok(entry) => entry,
                // A pass before this one told it.
                Err(Error::CorruptLine { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            // What has no destination was told by the pass before.
            let Ok(Destination::At(path)) = self.destination(index, &entry) else { return Ok(()) };
            let whole = SafePath::new(&entry.path, self.archive.limits())?;
            self.finish_directories(target, &mut nested, Some(&whole))?;
            if self.failed.contains(&index) {
                return Ok(());
            }
            match &entry.kind {
                Kind::Symlink { .. } | Kind::HardLink { .. } if links => {
                    let outcome = self.link(target, &path, &entry);
                    self.tell.noted(&entry.path, &mut self.notes);
                    self.settle(index, &entry, outcome.map(Some))?;
                }
                Kind::Directory if directories && sorted => nested.push(&whole, entry),
                Kind::Directory if directories => unsorted.push((path, entry)),
                _ => {}
            }
            Ok(())
        })?;
        self.finish_directories(target, &mut nested, None)?;
        deepest_first(&mut unsorted, |(path, _)| path);
        unsorted.iter().try_for_each(|(path, entry)| self.finish_directory(target, path, entry))
    }

    /// Finishes the directories that `next` is not in.
    fn finish_directories(
        &mut self,
        target: &mut Target,
        nested: &mut Nested,
        next: Option<&SafePath>,
    ) -> Result<()> {
        while let Some((whole, entry)) = nested.pop(next, self.archive.limits())? {
            if let Some(path) = whole.strip_components(self.options.strip_components) {
                self.finish_directory(target, &path, &entry)?;
            }
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        target: &mut Target,
        path: &SafePath,
        entry: &Entry,
    ) -> Result<()> {
        let finished = self
            .xattrs(entry)
            .and_then(|xattrs| target.finish_directory(path, entry, &xattrs, &mut self.notes));
        self.tell.noted(&entry.path, &mut self.notes);
        match finished {
            Err(error) if is_fatal(&error) => Err(error),
            Err(error) => {
                self.tell.failed(&entry.path, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reads the headers again where the listing says that there is something in them.
    fn xattrs(&mut self, entry: &Entry) -> Result<Xattrs> {
        if entry.xattr.is_none() || !self.options.xattrs {
            return Ok(Xattrs::default());
        }
        let member = self.open(entry)?;
        let xattrs = member.header().xattrs.clone();
        self.previous = Some(member);
        Ok(xattrs)
    }

    fn link(&mut self, target: &mut Target, path: &SafePath, entry: &Entry) -> Result<Outcome> {
        let Kind::HardLink { target: first } = &entry.kind else {
            let xattrs = self.xattrs(entry)?;
            return target.special(path, entry, &xattrs, &mut self.notes);
        };
        if *first == entry.path {
            // Tar writes these for a file that it is given twice.
            return Ok(Outcome::NotLinked);
        }
        let safe = SafePath::new(first, self.archive.limits())?;
        if let Some(stripped) = safe.strip_components(self.options.strip_components) {
            let outcome = target.hard_link(path, &stripped, entry)?;
            if outcome != Outcome::NotLinked {
                return Ok(outcome);
            }
        }
        self.copy(target, path, entry, first)
    }

    /// Returns the entry that a hard link leads to. A sorted listing is searched; another one is read
    /// once for all of them, not once for each.
    fn first(&mut self, path: &MemberPath) -> Result<Option<Entry>> {
        if self.archive.info().sorted {
            return self.archive.find(path);
        }
        if self.firsts.is_none() {
            self.firsts = Some(self.read_firsts()?);
        }
        let found = self.firsts.as_ref().and_then(|all| all.get(&name_hash(path.as_bytes())));
        Ok(found.filter(|entry| entry.path == *path).cloned())
    }

    fn read_firsts(&self) -> Result<HashMap<u64, Entry>> {
        let good = |entry: Result<Entry>| match entry {
            // The first pass told it.
            Err(Error::CorruptLine { .. }) => None,
            entry => Some(entry),
        };
        let mut wanted = HashSet::new();
        for entry in self.archive.entries().filter_map(good) {
            if let Kind::HardLink { target } = entry?.kind {
                wanted.insert(name_hash(target.as_bytes()));
            }
        }
        let mut firsts = HashMap::new();
        for entry in self.archive.entries().filter_map(good) {
            let entry = entry?;
            let hash = name_hash(entry.path.as_bytes());
            if wanted.contains(&hash) {
                // The last one of a name counts.
                firsts.insert(hash, entry);
            }
        }
        Ok(firsts)
    }

    /// Restores what a hard link leads to in its place.
    fn copy(
        &mut self,
        target: &mut Target,
        path: &SafePath,
        entry: &Entry,
        first: &MemberPath,
    ) -> Result<Outcome> {
        let found = self.first(first)?;
        let found = found.ok_or_else(|| Error::NotFound(first.clone()))?;
        if let Some(reason) = lost(&found) {
            return Err(Error::Lost { path: first.clone(), reason: reason.to_owned() });
        }
        if found.kind == Kind::Directory {
            return Err(Error::NotAFile { path: first.clone(), kind: found.kind.noun() });
        }
        if matches!(found.kind, Kind::HardLink { .. }) {
            let (path, range) = (entry.path.clone(), entry.claimed_range());
            let kind = FormatError::mismatch("target of a hard link", "a file", first);
            return Err(Error::CorruptMember { path, range, kind });
        }
        let depth = found.depth();
        let again = self.run.again(depth);
        let mut member = self.open(&found)?;
        let stand_in = Entry { path: entry.path.clone(), ..found };
        let outcome = match stand_in.kind {
            Kind::File { .. } => {
                target.file(path, &stand_in, &mut member, &mut self.notes, &mut self.tell)?
            }
            _ => target.special(path, &stand_in, member.xattrs(), &mut self.notes)?,
        };
        // As often as it is written, it may be read.
        self.run.forgive(depth, again, stand_in.kind.size());
        self.previous = Some(member);
        // Asked for alone, a hard link is its content.
        if outcome == Outcome::Restored && self.selection.matches(first, false, |_| {}) {
            let reason = format!("{first} was not restored here by this run, or cannot be linked");
            self.notes.warn(Warning::LinkCopied(reason));
        }
        Ok(outcome)
    }
}

/// Returns why there is nothing to restore of an entry.
fn lost(entry: &Entry) -> Option<&str> {
    // With a location, the bytes of an earlier time are there; directories have their headers.
    let is_lost = entry.location.is_none() && entry.kind != Kind::Directory;
    entry.lost.as_deref().filter(|_| is_lost)
}
