//! The side of the tree: what the walk meets below each of the archive's topmost names, in order.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat, major, minor};

use super::DiffOptions;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::observe::{Event, LeftOut, Observer};
use crate::path::MemberPath;
use crate::source::{Found, SourceOptions, Walk, mtime};

/// What the walk met.
pub(super) enum Seen {
    /// A thing.
    Found(Box<Found>),
    /// A socket, which no archive holds.
    Socket(MemberPath),
    /// It was not looked at, nor what is in it: by intent, or because it could not be, which was
    /// told.
    Hidden(MemberPath, Option<LeftOut>),
}

impl Seen {
    pub(super) fn path(&self) -> &MemberPath {
        match self {
            Self::Found(found) => &found.path,
            Self::Socket(path) | Self::Hidden(path, _) => path,
        }
    }
}

/// Walks below one name after the other.
pub(super) struct Walked<'a> {
    options: &'a DiffOptions,
    walk: Option<Walk>,
    seen: VecDeque<Seen>,
    pub(super) failed: u64,
    pub(super) left_out: u64,
}

impl<'a> Walked<'a> {
    pub(super) fn new(options: &'a DiffOptions) -> Self {
        Self { options, walk: None, seen: VecDeque::new(), failed: 0, left_out: 0 }
    }

    /// Turns to another topmost name.
    pub(super) fn begin(&mut self, root: &MemberPath) -> Result<()> {
        let source = SourceOptions {
            exclude: self.options.exclude.clone(),
            one_file_system: self.options.one_file_system,
            xattrs: !self.options.ignore.xattr,
            names: false,
            own_files: self.options.own_files.clone(),
            own_names: self.options.own_names.clone(),
            ..SourceOptions::default()
        };
        let path = OsStr::from_bytes(root.as_bytes()).into();
        self.walk = Some(Walk::new(&self.options.directory, &[path], source)?);
        Ok(())
    }

    /// Returns what comes next, without taking it.
    pub(super) fn peek(&mut self, observer: &mut dyn Observer) -> Result<Option<&Seen>> {
        if self.seen.is_empty()
            && let Some(walk) = &mut self.walk
        {
            let (seen, failed, left_out) = (&mut self.seen, &mut self.failed, &mut self.left_out);
            let mut listener = Listener { seen, failed, left_out, observer };
            match walk.next(&mut listener)? {
                Some(found) => self.seen.push_back(Seen::Found(Box::new(found))),
                None => self.walk = None,
            }
        }
        Ok(self.seen.front())
    }

    /// Takes what was peeked at.
    pub(super) fn take(&mut self) -> Option<Seen> {
        self.seen.pop_front()
    }

    /// Goes on behind what is in the directory that was just taken.
    pub(super) fn skip_contents(&mut self, directory: &MemberPath, observer: &mut dyn Observer) {
        if let Some(walk) = &mut self.walk
            && self.seen.is_empty()
        {
            walk.skip_contents(directory, observer);
        }
    }
}

/// Learns from the walk what it did not look at.
struct Listener<'a> {
    seen: &'a mut VecDeque<Seen>,
    failed: &'a mut u64,
    left_out: &'a mut u64,
    observer: &'a mut dyn Observer,
}

impl Observer for Listener<'_> {
    fn event(&mut self, event: Event<'_>) {
        match &event {
            // A topmost name that is not there is a difference.
            Event::Failed { error: Error::Io { op: "find", source, .. }, .. }
                if is_absent(source) =>
            {
                return;
            }
            Event::Failed { path, .. } => {
                *self.failed += 1;
                self.seen.push_back(Seen::Hidden((*path).clone(), None));
            }
            Event::LeftOut { path, reason: LeftOut::Socket } => {
                self.seen.push_back(Seen::Socket((*path).clone()));
                return;
            }
            // What vanished is not there.
            Event::Warning { .. } => return,
            Event::LeftOut { path, reason } => {
                *self.left_out += 1;
                if *reason != LeftOut::Excluded {
                    self.seen.push_back(Seen::Hidden((*path).clone(), Some(*reason)));
                }
            }
            _ => {}
        }
        self.observer.event(event);
    }

    fn cancelled(&self) -> bool {
        self.observer.cancelled()
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the entry that a thing would have, but for attributes and the names of its owners.
pub(super) fn describe(found: &Found) -> io::Result<Entry> {
    let stat = &found.stat;
    let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
    let kind = match found.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink { target: found.read_link()? },
        FileType::CharacterDevice => Kind::CharDevice { major: numbers.0, minor: numbers.1 },
        FileType::BlockDevice => Kind::BlockDevice { major: numbers.0, minor: numbers.1 },
        FileType::Fifo => Kind::Fifo,
        _ => Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
    };
    Ok(Entry {
        mode: stat.st_mode & 0o7777,
        uid: u64::from(stat.st_uid),
        gid: u64::from(stat.st_gid),
        mtime: Some(mtime(stat)),
        ino: Some(stat.st_ino),
        ..Entry::new(found.path.clone(), kind)
    })
}

/// Returns whether two looks at a name saw one and the same state.
pub(super) fn is_same_state(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino, a.st_size, a.st_mode) == (b.st_dev, b.st_ino, b.st_size, b.st_mode)
        && mtime(a) == mtime(b)
}
