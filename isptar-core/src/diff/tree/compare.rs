//! Comparing one entry with what the tree has under its name.

use std::fs::File;

use super::Job;
use crate::diff::compare::Compared;
use crate::diff::content::Unread;
use crate::diff::walked::{Seen, describe, is_same_state};
use crate::diff::{Change, ContentChange, Field};
use crate::error::{Error, Result};
use crate::format::entry::{Digest, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::sparse::SparseMap;
use crate::observe::{Event, Observer, Warning};
use crate::pack::leave_out_unstorable;
use crate::path::MemberPath;
use crate::source::{Found, OpenError};

impl Job<'_> {
    /// Compares an entry with what the tree has under its name.
    pub(super) fn compare(
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
            self.read_xattrs(&mut new, found, file.as_ref(), observer);
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

    /// Reads the extended attributes, of which an archive may not have room for all.
    fn read_xattrs(
        &mut self,
        new: &mut Entry,
        found: &Found,
        file: Option<&File>,
        observer: &mut dyn Observer,
    ) {
        let (xattrs, warnings) = found.xattrs(file);
        if warnings.is_empty() {
            let mut header = MemberHeader::new(new.path.clone(), new.kind.clone());
            header.xattrs = xattrs;
            if let Some(kind) = leave_out_unstorable(&mut header, &self.listing.limits) {
                self.report.unrecorded += 1;
                let warning = &Warning::XattrsLeftOut(kind);
                observer.event(Event::Warning { path: &found.path, warning });
            }
            new.xattr = header.xattrs.fingerprint();
        }
        for warning in &warnings {
            self.report.failed += 1;
            observer.event(Event::Warning { path: &found.path, warning });
        }
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
                error @ (Error::CorruptMember { .. }
                | Error::InBase { .. }
                | Error::NoBase { .. }
                | Error::UnnamedBase { .. }
                | Error::ListingAlone
                | Error::Lost { .. }),
            ) => {
                self.fail(&found.path, &error, observer);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let Some(expected) = expected else {
            compared.settle(None);
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
            None => compared.settle(Some(false)),
        }
        if !same {
            self.report.changing += 1;
            observer.event(Event::Warning { path: &found.path, warning: &Warning::Changed });
        }
        Ok(true)
    }

    /// Returns the digest that a file must have, and the map when it is one of stored segments.
    fn expected(&self, old: &Entry) -> Result<(Option<[u8; 32]>, Option<SparseMap>)> {
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
}

/// Returns whether two files can differ in content alone.
fn reads_content(old: &Entry, found: &Found) -> bool {
    let size = u64::try_from(found.stat.st_size).unwrap_or(0);
    found.file_type() == rustix::fs::FileType::RegularFile
        && old.kind == Kind::File { size }
        && size > 0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::archive::Archive;
    use crate::create::{CreateOptions, create};
    use crate::diff::{DiffOptions, DiffReport, Difference, Listing};
    use crate::io::WriteSink;

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Observer for Told {
        fn event(&mut self, event: Event<'_>) {
            match event {
                Event::Differs { difference: Difference { change, .. } } => {
                    self.0.push(match change {
                        Change::Changed { content, .. } => format!("{content:?}"),
                        Change::Removed(_) => "removed".into(),
                        Change::Added(_) => "added".into(),
                    })
                }
                Event::Failed { error: Error::Io { op, source, .. }, .. } => {
                    self.0.push(format!("{op}: {source}"));
                }
                Event::Warning { warning, .. } => self.0.push(warning.to_string()),
                _ => {}
            }
        }
    }

    /// Compares a file, and changes it after the walk met it.
    fn changed_between(checksum: bool, change: impl FnOnce(&Path)) -> (Vec<String>, DiffReport) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "content").unwrap();
        let options = CreateOptions { directory: dir.path().into(), ..Default::default() };
        let mut bytes = Vec::new();
        create(&mut WriteSink::new(&mut bytes), &["f".into()], &options, &mut ()).unwrap();
        let archive = Archive::open(bytes).unwrap();
        let listing = Listing::of(&archive, &mut ()).unwrap();
        let options = DiffOptions { directory: dir.path().into(), checksum, ..Default::default() };
        let (mut job, mut told) = (Job::new(listing, &options), Told::default());
        let entry = job.next_entry(&mut told).unwrap().unwrap();
        job.walked.begin(&entry.path).unwrap();
        let seen = job.seek(&entry.path, &mut told).unwrap();
        change(&path);
        job.compare(&entry, seen, &mut told).unwrap();
        (told.0, job.report)
    }

    #[test]
    fn what_becomes_something_else_before_it_is_opened_is_told() {
        let replaced = |make: &dyn Fn(&Path)| {
            changed_between(true, |path| {
                fs::remove_file(path).unwrap();
                make(path);
            })
        };
        let (told, report) = replaced(&|_| {});
        assert_eq!((told, report.removed, report.compared), (vec!["removed".to_owned()], 1, 0));
        let link = |path: &Path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        let fifo = |path: &Path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), 0).unwrap();
        };
        let dir = |path: &Path| fs::create_dir(path).unwrap();
        for make in [&link as &dyn Fn(&Path), &fifo, &dir] {
            let (told, report) = replaced(make);
            assert!(told[0].contains("no longer a regular file"), "{told:?}");
            assert_eq!((told.len(), report.failed, report.differences()), (1, 1, 0));
        }
        // Another file is compared as it is.
        let (told, _) = replaced(&|path| fs::write(path, "longer content").unwrap());
        assert_eq!(told, ["Differs"]);
    }

    #[test]
    fn what_vanishes_is_told_by_its_attributes_when_it_is_not_opened() {
        let (told, report) = changed_between(false, |path| fs::remove_file(path).unwrap());
        assert_eq!((told.len(), report.failed + report.removed), (1, 1), "{told:?}");
    }
}
