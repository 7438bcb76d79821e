//! Comparing a listing with a tree.

mod compare;

use std::cmp::Ordering;
use std::path::PathBuf;

use super::compare::Comparer;
use super::content::FileReader;
use super::links::{ListedLinks, TreeLinks};
use super::listing::Listing;
use super::scope::Scope;
use super::walked::{Seen, Walked, describe};
use super::{Change, DiffOptions, DiffReport, Difference, tell};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::observe::{Event, LeftOut, Observer};
use crate::path::MemberPath;
use crate::source::Found;

/// A job at work.
pub(super) struct Job<'a> {
    listing: Listing<'a>,
    options: &'a DiffOptions,
    scope: Scope<'a>,
    walked: Walked<'a>,
    comparer: Comparer,
    reader: FileReader,
    listed_links: ListedLinks,
    tree_links: TreeLinks,
    /// The topmost listed name that the job is below.
    root: Option<MemberPath>,
    /// The listed directory that a pattern excludes and the listing may be inside of.
    excluded: Option<MemberPath>,
    /// The listed directories that the job is in, and how well their contents are known.
    directories: Vec<(MemberPath, Known)>,
    /// What was not looked at, of which the job may be inside.
    hidden: Vec<(MemberPath, Option<LeftOut>)>,
    report: DiffReport,
}

/// How much of a directory's contents the archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    All,
    /// Something was left out by intent.
    Partial,
    /// It could not be read.
    Lost,
}

impl<'a> Job<'a> {
    pub(super) fn new(listing: Listing<'a>, options: &'a DiffOptions) -> Self {
        Self {
            comparer: Comparer::of_tree(options, listing.recorded),
            listing,
            options,
            scope: Scope::new(options),
            walked: Walked::new(options),
            reader: FileReader::new(),
            listed_links: ListedLinks::default(),
            tree_links: TreeLinks::default(),
            root: None,
            excluded: None,
            directories: Vec::new(),
            hidden: Vec::new(),
            report: DiffReport::default(),
        }
    }

    pub(super) fn run(mut self, observer: &mut dyn Observer) -> Result<DiffReport> {
        let mut current = self.next_entry(observer)?;
        while let Some(entry) = current {
            let next = self.next_entry(observer)?;
            let empty = !next.as_ref().is_some_and(|next| next.path.is_within(&entry.path));
            self.entry(&entry, empty, observer)?;
            current = next;
        }
        self.extras(observer)?;
        self.scope.tell_missing(&mut self.report, observer);
        self.report.failed += self.walked.failed;
        self.report.left_out += self.walked.left_out;
        Ok(self.report)
    }

    /// Returns the next entry that no pattern excludes.
    fn next_entry(&mut self, observer: &mut dyn Observer) -> Result<Option<Entry>> {
        while let Some(entry) = self.listing.next(&mut self.report.failed, observer)? {
            let is_dir = entry.kind == Kind::Directory;
            let above = self.excluded.as_ref();
            let inside = above.is_some_and(|above| entry.path.is_within(above));
            if !inside && !self.options.exclude.matches(&entry.path, is_dir) {
                return Ok(Some(entry));
            }
            if !inside {
                self.excluded = Some(entry.path.clone());
            }
            self.listed_links.forget(&entry);
        }
        Ok(None)
    }

    /// Compares one entry, after what comes before it in the tree; `empty` says that nothing listed
    /// is below it.
    fn entry(&mut self, entry: &Entry, empty: bool, observer: &mut dyn Observer) -> Result<()> {
        if !self.root.as_ref().is_some_and(|root| entry.path.is_within(root)) {
            self.extras(observer)?;
            self.directories.clear();
            self.hidden.clear();
            self.walked.begin(&entry.path)?;
            self.root = Some(entry.path.clone());
        }
        let is_dir = entry.kind == Kind::Directory;
        let seen = self.seek(&entry.path, observer)?;
        self.leave_directories(&entry.path);
        let wanted = self.scope.takes(&entry.path, is_dir);
        let there = seen.is_some();
        if wanted {
            self.compare(entry, seen, observer)?;
        } else {
            self.listed_links.forget(entry);
        }
        if is_dir {
            let known = match (&entry.lost, entry.partial) {
                (Some(_), _) => Known::Lost,
                (None, true) => Known::Partial,
                (None, false) => Known::All,
            };
            self.directories.push((entry.path.clone(), known));
            if wanted && there && empty && known == Known::Partial {
                // A mount or a cache may be large, and there is nothing to compare with.
                self.report.left_out += 1;
                let (path, reason) = (&entry.path, LeftOut::Contents);
                observer.event(Event::LeftOut { path, reason });
                self.walked.skip_contents(path, observer);
            }
        }
        if !wanted && !self.scope.leads_to(&entry.path) {
            self.walked.skip_contents(&entry.path, observer);
        }
        Ok(())
    }

    /// Takes what the tree has under a name; what comes before it is only in the tree.
    fn seek(&mut self, path: &MemberPath, observer: &mut dyn Observer) -> Result<Option<Seen>> {
        loop {
            let order = match self.walked.peek(observer)? {
                Some(seen) => seen.path().cmp(path),
                None => return Ok(None),
            };
            if order == Ordering::Greater {
                return Ok(None);
            }
            match self.walked.take() {
                Some(Seen::Hidden(path, reason)) => self.hide(path, reason),
                Some(seen) if order == Ordering::Less => self.extra(seen, observer),
                seen => return Ok(seen),
            }
        }
    }

    /// Takes all that is left of the tree below the topmost name.
    fn extras(&mut self, observer: &mut dyn Observer) -> Result<()> {
        while self.walked.peek(observer)?.is_some() {
            if let Some(seen) = self.walked.take() {
                self.extra(seen, observer);
            }
        }
        Ok(())
    }

    /// Tells of something that only the tree has.
    fn extra(&mut self, seen: Seen, observer: &mut dyn Observer) {
        let found = match seen {
            Seen::Found(found) => found,
            Seen::Socket(path) => {
                let reason = LeftOut::Socket;
                return observer.event(Event::LeftOut { path: &path, reason });
            }
            Seen::Hidden(path, reason) => return self.hide(path, reason),
        };
        let path = &found.path;
        self.leave_directories(path);
        let entry = match describe(&found) {
            Ok(entry) => entry,
            Err(source) => return self.unreadable(&found, "read the link", source, observer),
        };
        let is_dir = entry.kind == Kind::Directory;
        if !self.scope.takes(path, is_dir) {
            if !self.scope.leads_to(path) {
                self.walked.skip_contents(path, observer);
            }
            return;
        }
        let parent = path.parent().unwrap_or_else(|| MemberPath::from("."));
        let known = self.directories.last().filter(|(directory, _)| *directory == parent);
        let reason = match known {
            Some((_, Known::Partial)) => LeftOut::Partial,
            Some((_, Known::Lost)) => LeftOut::Unknown,
            _ => {
                self.lost_in_tree(&found, observer);
                let change = Change::Added(Box::new(entry));
                return self.tell(path.clone(), change, observer);
            }
        };
        self.report.left_out += 1;
        observer.event(Event::LeftOut { path, reason });
        self.walked.skip_contents(path, observer);
    }

    /// Tells of a directory that could not be read, or not to its end.
    fn lost_in_tree(&mut self, found: &Found, observer: &mut dyn Observer) {
        if let Some(lost) = &found.lost {
            let source = std::io::Error::new(lost.kind(), lost.to_string());
            self.unreadable(found, "read the directory", source, observer);
            self.hide(found.path.clone(), None);
        }
    }

    fn unreadable(
        &mut self,
        found: &Found,
        op: &'static str,
        source: std::io::Error,
        observer: &mut dyn Observer,
    ) {
        let path = PathBuf::from(found.path.to_string());
        self.fail(&found.path, &Error::Io { op, path, source }, observer);
    }

    fn fail(&mut self, path: &MemberPath, error: &Error, observer: &mut dyn Observer) {
        self.report.failed += 1;
        observer.event(Event::Failed { path, error });
    }

    fn tell(&mut self, path: MemberPath, change: Change, observer: &mut dyn Observer) {
        tell(&Difference { path, change }, &mut self.report, observer);
    }

    /// Notes that a name, and what is in it, was not looked at.
    fn hide(&mut self, path: MemberPath, reason: Option<LeftOut>) {
        self.leave_hidden(&path);
        self.hidden.push((path, reason));
    }

    fn leave_hidden(&mut self, path: &MemberPath) {
        while self.hidden.last().is_some_and(|(hidden, _)| !path.is_within(hidden)) {
            self.hidden.pop();
        }
    }

    fn leave_directories(&mut self, path: &MemberPath) {
        while self.directories.last().is_some_and(|(above, _)| !path.is_within(above)) {
            self.directories.pop();
        }
    }
}
