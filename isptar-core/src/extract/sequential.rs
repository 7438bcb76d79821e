//! Restoring a tar that is read from front to back.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use super::hand::{Outcome, Source};
use super::notes::Notes;
use super::target::{Target, Written, hash};
use super::tell::Tell;
use super::unfinished::deepest_first;
use super::{ExtractOptions, ExtractReport, clean, is_fatal, tell_missing};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::member::Xattrs;
use crate::limits::Limits;
use crate::observe::{LeftOut, Observer, Warning};
use crate::path::SafePath;
use crate::scan::{Damage, Scanned, TarReader};
use crate::select::Selection;

impl<R: Read> Source for Scanned<'_, R> {
    fn xattrs(&self) -> &Xattrs {
        &self.header().xattrs
    }
}

/// See [`super::extract_sequential`].
pub(super) fn extract<R: Read>(
    tar: &mut TarReader<R>,
    selection: &Selection,
    target: &Path,
    options: &ExtractOptions,
    observer: &mut dyn Observer,
) -> Result<ExtractReport> {
    let mut restored = Sequence::new(target, options, *tar.limits(), observer)?;
    let mut met = HashSet::new();
    let read = loop {
        let mut member = match tar.next() {
            Ok(Some(member)) => member,
            Ok(None) => break Ok(()),
            Err(error) if error.is_damage() => {
                let damage = tar.damage().cloned().unwrap_or_default();
                if restored.concerns(&damage, selection) {
                    restored.tell.damaged(&damage, &error);
                }
                continue;
            }
            Err(error) => break Err(error),
        };
        let entry = member.entry();
        let path = clean(&entry.path, &restored.limits);
        let is_dir = entry.kind == Kind::Directory;
        let meant = selection.matches(&path, is_dir, |hit| {
            met.insert(hit);
        });
        if meant {
            let warnings = member.warnings().to_vec();
            for warning in warnings {
                restored.notes.warn(Warning::Header(warning));
            }
            restored.tell.noted(&entry.path, &mut restored.notes);
            restored.add(&entry, &mut member)?;
        }
    };
    // What was read before the input failed is finished, then that is told.
    restored.finish()?;
    read?;
    for entry in tar.lost() {
        let is_dir = entry.kind == Kind::Directory;
        let meant = selection.matches(&entry.path, is_dir, |hit| {
            met.insert(hit);
        });
        if let Some(reason) = entry.lost.clone().filter(|reason| meant && reason != "vanished") {
            let path = entry.path.clone();
            restored.tell.failed(&entry.path, &Error::Lost { path, reason });
        }
    }
    tell_missing(selection, &met, &mut restored.tell);
    Ok(restored.tell.report)
}

/// Something that is done after all files were restored.
#[derive(Debug)]
struct Later {
    path: SafePath,
    entry: Entry,
    xattrs: Xattrs,
}

/// The members of a tar, one after another.
pub(super) struct Sequence<'a> {
    /// Absent for a dry run.
    target: Option<Target>,
    options: &'a ExtractOptions,
    pub(super) tell: Tell<'a>,
    notes: Notes,
    limits: Limits,
    links: Vec<Option<Later>>,
    directories: Vec<Option<Later>>,
    /// Positions in the two lists by hashes of the names.
    waiting: HashMap<u64, Waiting>,
}

#[derive(Debug, Clone, Copy)]
enum Waiting {
    Link(usize),
    Directory(usize),
}

impl<'a> Sequence<'a> {
    pub(super) fn new(
        target: &Path,
        options: &'a ExtractOptions,
        limits: Limits,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let target = match options.dry_run {
            true => None,
            false => Some(Target::open(target, options, Written::default())?),
        };
        Ok(Self {
            target,
            options,
            tell: Tell::new(observer),
            notes: Notes::default(),
            limits,
            links: Vec::new(),
            directories: Vec::new(),
            waiting: HashMap::new(),
        })
    }

    /// Takes the next member: restores it, or keeps it for later.
    ///
    /// # Errors
    ///
    /// What ends the whole job.
    pub(super) fn add(&mut self, entry: &Entry, source: &mut dyn Source) -> Result<()> {
        self.tell.go_on()?;
        let outcome = self.place(&entry.path).and_then(|path| match path {
            Some(path) => {
                self.tell.slash(&entry.path, &mut self.notes);
                self.restore(path, entry, source)
            }
            None => {
                self.tell.left_out(&entry.path, LeftOut::Stripped);
                Ok(None)
            }
        });
        self.settle(entry, outcome)
    }

    /// Returns whether damage may be of something that is meant.
    fn concerns(&self, damage: &Damage, selection: &Selection) -> bool {
        let Some(path) = &damage.path else { return true };
        // Whether it is a directory is not known.
        let path = clean(path, &self.limits);
        [false, true].iter().any(|&is_dir| selection.matches(&path, is_dir, |_| {}))
    }

    fn place(&self, path: &crate::path::MemberPath) -> Result<Option<SafePath>> {
        Ok(SafePath::new(path, &self.limits)?.strip_components(self.options.strip_components))
    }

    fn restore(
        &mut self,
        path: SafePath,
        entry: &Entry,
        source: &mut dyn Source,
    ) -> Result<Option<Outcome>> {
        let own = matches!(&entry.kind, Kind::HardLink { target } if *target == entry.path);
        if own {
            // Tar writes these for a file that it is given twice.
            return Ok(None);
        }
        let Some(target) = &mut self.target else { return Ok(Some(Outcome::Restored)) };
        // The last of several members of one name wins.
        match self.waiting.remove(&hash(&path)) {
            Some(Waiting::Link(index)) => self.links[index] = None,
            Some(Waiting::Directory(index)) if entry.kind == Kind::Directory => {
                self.directories[index] = None;
            }
            Some(Waiting::Directory(_)) | None => {}
        }
        match &entry.kind {
            Kind::File { .. } => {
                target.file(&path, entry, source, &mut self.notes, &mut self.tell).map(Some)
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {
                target.special(&path, entry, source.xattrs(), &mut self.notes).map(Some)
            }
            Kind::Directory => {
                target.directory(&path, entry)?;
                self.waiting.insert(hash(&path), Waiting::Directory(self.directories.len()));
                self.directories.push(later(path, entry, source));
                Ok(Some(Outcome::Restored))
            }
            Kind::Symlink { .. } => {
                self.waiting.insert(hash(&path), Waiting::Link(self.links.len()));
                self.links.push(later(path, entry, source));
                Ok(None)
            }
            Kind::HardLink { target: first } => {
                let outcome = match self.place(first)? {
                    Some(first) => self.hard_link(&path, &first, entry)?,
                    None => Outcome::NotLinked,
                };
                if outcome != Outcome::NotLinked {
                    return Ok(Some(outcome));
                }
                self.waiting.insert(hash(&path), Waiting::Link(self.links.len()));
                self.links.push(later(path, entry, source));
                Ok(None)
            }
        }
    }

    fn hard_link(&mut self, path: &SafePath, first: &SafePath, entry: &Entry) -> Result<Outcome> {
        match &mut self.target {
            Some(target) => target.hard_link(path, first, entry),
            None => Ok(Outcome::Restored),
        }
    }

    /// Makes the links that had to wait, then sets the metadata of directories.
    ///
    /// # Errors
    ///
    /// What ends the whole job.
    pub(super) fn finish(&mut self) -> Result<()> {
        // Hard links come after the symbolic links that they may lead to.
        let (symlinks, hard_links): (Vec<Later>, Vec<Later>) = std::mem::take(&mut self.links)
            .into_iter()
            .flatten()
            .partition(|later| matches!(later.entry.kind, Kind::Symlink { .. }));
        for later in symlinks.iter().chain(&hard_links) {
            self.tell.go_on()?;
            let outcome = self.link(later);
            self.settle(&later.entry, outcome.map(Some))?;
        }
        let directories = std::mem::take(&mut self.directories);
        let mut directories: Vec<Later> = directories.into_iter().flatten().collect();
        deepest_first(&mut directories, |later| &later.path);
        for later in &directories {
            let Some(target) = &mut self.target else { continue };
            let Later { path, entry, xattrs } = later;
            let finished = target.finish_directory(path, entry, xattrs, &mut self.notes);
            self.settle(entry, finished.map(|()| None))?;
        }
        Ok(())
    }

    fn link(&mut self, later: &Later) -> Result<Outcome> {
        let Later { path, entry, xattrs } = later;
        let Kind::HardLink { target: first } = &entry.kind else {
            return match &mut self.target {
                Some(target) => target.special(path, entry, xattrs, &mut self.notes),
                None => Ok(Outcome::Restored),
            };
        };
        let outcome = match self.place(first)? {
            Some(place) => self.hard_link(path, &place, entry)?,
            None => Outcome::NotLinked,
        };
        // The content cannot be read again.
        if outcome == Outcome::NotLinked {
            let reason = format!("it is a hard link to {first}, which was not restored");
            return Err(Error::InTheWay { path: entry.path.clone(), reason });
        }
        Ok(outcome)
    }

    /// Tells what became of a member.
    fn settle(&mut self, entry: &Entry, outcome: Result<Option<Outcome>>) -> Result<()> {
        self.tell.noted(&entry.path, &mut self.notes);
        match outcome {
            Ok(Some(Outcome::Restored)) => self.tell.done(entry),
            Ok(Some(Outcome::Kept)) => self.tell.left_out(&entry.path, LeftOut::Exists),
            Ok(Some(Outcome::NotLinked) | None) => {}
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => self.tell.failed(&entry.path, &error),
        }
        Ok(())
    }
}

fn later(path: SafePath, entry: &Entry, source: &dyn Source) -> Option<Later> {
    Some(Later { path, entry: entry.clone(), xattrs: source.xattrs().clone() })
}
