//! Comparing a listing with a tree.

use std::cmp::Ordering;
use std::fs::File;
use std::path::PathBuf;

use super::compare::{Compared, Comparer};
use super::content::{FileReader, Unread};
use super::links::{ListedLinks, TreeLinks};
use super::listing::Listing;
use super::scope::Scope;
use super::walked::{Seen, Walked, describe, is_same_state};
use super::{Change, ContentChange, DiffOptions, DiffReport, Difference, Field, tell};
use crate::error::{Error, Result};
use crate::format::entry::{Digest, Entry, Kind};
use crate::observe::{Event, LeftOut, Observer, Warning};
use crate::path::MemberPath;
use crate::source::{Found, OpenError};

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

    /// Compares an entry with what the tree has under its name.
    fn compare(
        &mut self,
        entry: &Entry,
        seen: Option<Seen>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        match seen {
            Some(Seen::Found(found)) => self.compare_found(entry, *found, observer),
            Some(Seen::Socket(path)) if entry.lost.is_none() => {
                self.report.compared += 1;
                self.listed_links.forget(entry);
                let word = self.listing.resolve(entry).map_or("hard", |entry| entry.kind.word());
                let (content, fields) = (ContentChange::Differs, vec![Field::Type(word, "socket")]);
                self.tell(path, Change::Changed { content, fields }, observer);
                Ok(())
            }
            _ => {
                self.missing(entry, observer);
                Ok(())
            }
        }
    }

    /// Tells of an entry that nothing in the tree was compared with.
    fn missing(&mut self, entry: &Entry, observer: &mut dyn Observer) {
        let path = &entry.path;
        self.listed_links.forget(entry);
        self.leave_hidden(path);
        match self.hidden.last() {
            Some((_, Some(reason))) => {
                self.report.left_out += 1;
                observer.event(Event::LeftOut { path, reason: *reason });
            }
            Some((_, None)) => self.report.unseen += 1,
            // Restoring would not bring it back.
            None if entry.lost.is_some() && entry.kind != Kind::Directory => {}
            None => self.tell(path.clone(), Change::Removed(Box::new(entry.clone())), observer),
        }
    }

    fn compare_found(
        &mut self,
        entry: &Entry,
        mut found: Found,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        self.lost_in_tree(&found, observer);
        if let Some(reason) = &entry.lost {
            self.report.lost += 1;
            let error = &Error::Lost { path: entry.path.clone(), reason: reason.clone() };
            observer.event(Event::Failed { path: &entry.path, error });
            if entry.kind != Kind::Directory {
                self.listed_links.forget(entry);
                return Ok(());
            }
        }
        self.report.compared += 1;
        let links = self.links(entry, &found);
        if matches!(entry.kind, Kind::HardLink { .. })
            && links.is_none()
            && self.listed_links.leader(entry) != entry.path
        {
            // It was compared under its first name.
            return Ok(());
        }
        let old = match self.listing.resolve(entry) {
            Ok(old) => old,
            Err(error @ (Error::CorruptMember { .. } | Error::UnsafePath { .. })) => {
                self.fail(&entry.path, &error, observer);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(mut compared) = self.compare_both(&old, &mut found, observer)? else {
            return Ok(());
        };
        self.report.unrecorded += u64::from(compared.unrecorded);
        if !matches!(old.kind, Kind::Symlink { .. })
            && !matches!(compared.fields.first(), Some(Field::Type(..)))
        {
            compared.fields.extend(links);
        }
        if !compared.is_same() {
            let Compared { content, fields, .. } = compared;
            self.tell(entry.path.clone(), Change::Changed { content, fields }, observer);
        }
        Ok(())
    }

    /// Returns the first names of the files, when they are not the same.
    fn links(&mut self, entry: &Entry, found: &Found) -> Option<Field> {
        if entry.kind == Kind::Directory || self.options.ignore.links {
            return None;
        }
        let stat = &found.stat;
        #[allow(clippy::useless_conversion, reason = "narrower on other machines")]
        let names = match found.file_type() {
            rustix::fs::FileType::Directory => 1,
            _ => u64::from(stat.st_nlink),
        };
        let old = self.listed_links.leader(entry);
        let new = self.tree_links.leader((stat.st_dev, stat.st_ino), names, &entry.path);
        let other = |leader: &MemberPath| (*leader != entry.path).then(|| leader.clone());
        (old != new).then(|| Field::Links(other(&old), other(&new)))
    }

    /// Compares metadata and, where that is asked for and can change the answer, contents; `None`
    /// when it could not be compared, which was told.
    fn compare_both(
        &mut self,
        old: &Entry,
        found: &mut Found,
        observer: &mut dyn Observer,
    ) -> Result<Option<Compared>> {
        let mut file = None;
        if self.options.checksum && reads_content(old, found) {
            match found.open() {
                Ok((opened, stat)) => {
                    if !is_same_state(&stat, &found.stat) {
                        found.stat = stat;
                    }
                    file = Some(opened);
                }
                Err(error) => {
                    self.not_opened(old, found, error, observer);
                    return Ok(None);
                }
            }
        }
        let mut new = match describe(found) {
            Ok(new) => new,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.gone(old, found, observer);
                return Ok(None);
            }
            Err(source) => {
                self.unreadable(found, "read the link", source, observer);
                return Ok(None);
            }
        };
        // Links are told apart before attributes are looked at: of what has another type there is
        // nothing to compare.
        new.xattr = old.xattr;
        if self.comparer.wants_xattrs(old) && old.kind.word() == new.kind.word() {
            let (xattrs, warnings) = found.xattrs(file.as_ref());
            if warnings.is_empty() {
                new.xattr = xattrs.fingerprint();
            }
            for warning in &warnings {
                self.report.failed += 1;
                observer.event(Event::Warning { path: &found.path, warning });
            }
        }
        let mut compared = self.comparer.compare(old, &new);
        if let Some(file) = &file
            && old.kind == new.kind
            && !self.compare_content(old, found, file, &mut compared, observer)?
        {
            return Ok(None);
        }
        Ok(Some(compared))
    }

    /// Compares the content of a file; returns whether that was possible.
    fn compare_content(
        &mut self,
        old: &Entry,
        found: &Found,
        file: &File,
        compared: &mut Compared,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let (expected, map) = match self.expected(old) {
            Ok(expected) => expected,
            Err(
                error @ (Error::CorruptMember { .. } | Error::InBase { .. } | Error::Lost { .. }),
            ) => {
                self.fail(&found.path, &error, observer);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let Some(expected) = expected else {
            compared.unrecorded = true;
            return Ok(true);
        };
        let read = match &map {
            Some(map) => self.reader.digest_segments(file, map, observer),
            None => self.reader.digest(file, observer).map(|(digest, same)| (Some(digest), same)),
        };
        let (actual, same) = match read {
            Ok(read) => read,
            Err(Unread::Cancelled) => return Err(Error::Cancelled),
            Err(Unread::Io(source)) => {
                self.unreadable(found, "read", source, observer);
                return Ok(false);
            }
        };
        match actual {
            Some(actual) => compared.set_digests(expected, actual),
            // There is data where the archive has a hole.
            None => compared.content = ContentChange::Differs,
        }
        if !same {
            self.report.changing += 1;
            observer.event(Event::Warning { path: &found.path, warning: &Warning::Changed });
        }
        Ok(true)
    }

    /// Returns the digest that a file must have, and the map when it is one of stored segments.
    fn expected(
        &self,
        old: &Entry,
    ) -> Result<(Option<[u8; 32]>, Option<crate::format::sparse::SparseMap>)> {
        match old.digest {
            Some(Digest::Content(digest)) => Ok((Some(digest), None)),
            Some(Digest::Stored(digest)) => match self.listing.sparse_map(old)? {
                Some(map) => Ok((Some(digest), Some(map))),
                None => Ok((self.listing.digest(old)?, None)),
            },
            None => Ok((self.listing.digest(old)?, None)),
        }
    }

    fn not_opened(
        &mut self,
        old: &Entry,
        found: &Found,
        error: OpenError,
        observer: &mut dyn Observer,
    ) {
        match error {
            error if error.is_vanished() => self.gone(old, found, observer),
            OpenError::Io(source) => self.unreadable(found, "open", source, observer),
            error @ OpenError::ChangedKind => {
                self.unreadable(found, "read", std::io::Error::other(error), observer);
            }
        }
    }

    /// Tells of something that was removed after the walk met it.
    fn gone(&mut self, old: &Entry, found: &Found, observer: &mut dyn Observer) {
        let entry = Entry { path: found.path.clone(), ..old.clone() };
        self.report.compared -= 1;
        self.tell(found.path.clone(), Change::Removed(Box::new(entry)), observer);
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

/// Returns whether two files can differ in content alone.
fn reads_content(old: &Entry, found: &Found) -> bool {
    let size = u64::try_from(found.stat.st_size).unwrap_or(0);
    found.file_type() == rustix::fs::FileType::RegularFile
        && old.kind == Kind::File { size }
        && size > 0
}
