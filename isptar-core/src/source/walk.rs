//! The walk: one thing after the other, in listing order.

mod stack;
mod step;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::SourceOptions;
use super::directory::{NameList, open_directory, open_quietly, stat_directory};
use super::found::Found;
use super::given::{Given, arrange};
use super::tag::{CACHE_TAG, is_cache, is_listing_name, is_restored_listing};
use crate::error::{Error, Result};
use crate::observe::{LeftOut, Observer};
use crate::path::MemberPath;

use stack::{Frame, Id};
pub(crate) use step::{Note, Step, Tally};

/// How often something is looked at again that changes between two looks.
const LOOKS: usize = 3;

/// Walks through a tree by directory handles and finds what is there, in listing order.
///
/// Patterns, tags, file systems and own files are seen to: what is left out is told to the
/// observer as [`Event::LeftOut`](crate::Event::LeftOut), and what cannot be looked at as
/// [`Event::Failed`](crate::Event::Failed).
#[derive(Debug)]
pub struct Walk {
    options: SourceOptions,
    /// Where given paths are looked up.
    directory: Arc<OwnedFd>,
    directory_path: PathBuf,
    given: VecDeque<Given>,
    /// The directories from the given one down to where the walk is. The first and the last few
    /// are open.
    stack: Vec<Frame>,
    /// Member name of the last directory on the stack; empty for the root of the tree.
    path: Vec<u8>,
    /// File systems of the given path that the walk is in, and of those given inside it.
    devices: Vec<u64>,
    tally: Tally,
    /// What could not be looked at since the last step.
    missed: Option<MemberPath>,
    /// What is to be told.
    notes: Vec<Note>,
}

/// What comes of opening a directory that was found.
enum Entered {
    Found(Option<Found>),
    /// It is no directory any more.
    Changed,
}

impl Walk {
    /// Prepares to walk through `paths`, those that are relative as seen from `directory`.
    ///
    /// # Errors
    ///
    /// [`Error::BadSource`] for paths that have `..` or whose member names collide, [`Error::Io`]
    /// when `directory` cannot be opened. A path that does not exist is told later.
    pub fn new(directory: &Path, paths: &[PathBuf], options: SourceOptions) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle =
            openat(CWD, directory, flags, Mode::empty()).map_err(Error::io("open", directory))?;
        Ok(Self {
            options,
            given: arrange(&handle, paths)?.into(),
            directory: Arc::new(handle),
            directory_path: directory.into(),
            stack: Vec::new(),
            path: Vec::new(),
            devices: Vec::new(),
            tally: Tally::default(),
            missed: None,
            notes: Vec::new(),
        })
    }

    /// Returns how many things were left out by intent; a directory whose contents were left out
    /// counts as one.
    pub fn left_out(&self) -> u64 {
        self.tally.left_out
    }

    /// Returns how many things could not be looked at. Directories that were found and are
    /// [`lost`](Found::lost) are not among them.
    pub fn failed(&self) -> u64 {
        self.tally.failed
    }

    /// Returns how many things were gone when the walk came to them.
    pub fn vanished(&self) -> u64 {
        self.tally.vanished
    }

    /// Returns the next thing in listing order, a directory before its contents.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] alone: all else is told to the observer, and the walk goes on.
    pub fn next(&mut self, observer: &mut dyn Observer) -> Result<Option<Found>> {
        loop {
            match self.step(observer)? {
                Step::Found(found) => return Ok(Some(found)),
                Step::Missed(_) | Step::Nothing => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// Looks at one name alone, that of [`Self::upcoming`] after a call of it, unless something was
    /// missed on the way there.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`].
    pub(crate) fn step(&mut self, observer: &mut dyn Observer) -> Result<Step> {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let step = self.advance();
        self.tell(observer);
        Ok(step)
    }

    /// Takes the step that [`Self::step`] takes; what there is to tell of it waits for
    /// [`Self::take_notes`].
    pub(crate) fn advance(&mut self) -> Step {
        if let Some(path) = self.missed.take() {
            return Step::Missed(path);
        }
        let found = if !self.stack.is_empty() {
            self.go_on()
        } else if let Some(given) = self.given.pop_front() {
            self.begin(&given)
        } else {
            return Step::End;
        };
        match (found, self.missed.take()) {
            (Some(found), _) => Step::Found(found),
            (None, Some(path)) => Step::Missed(path),
            (None, None) => Step::Nothing,
        }
    }

    /// Returns what is to be told, oldest first.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn tell(&mut self, observer: &mut dyn Observer) {
        self.notes.drain(..).for_each(|note| note.tell(observer));
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Returns the name that is looked at next, past what is left out by its name. Nothing else of it
    /// was looked at yet.
    pub(crate) fn upcoming(&mut self, observer: &mut dyn Observer) -> Option<MemberPath> {
        let next = self.look_ahead();
        self.tell(observer);
        next
    }

    fn look_ahead(&mut self) -> Option<MemberPath> {
        while let Some(frame) = self.stack.last_mut() {
            match frame.names.peek() {
                Some((name, None)) => return Some(join(&self.path, name)),
                Some(_) => drop(self.go_on()),
                None => self.leave(),
            }
        }
        self.given.front().map(|given| given.member.clone())
    }

    /// Passes over what is in a directory, which must be what was found last.
    pub fn skip_contents(&mut self, directory: &MemberPath, observer: &mut dyn Observer) {
        let path = if directory.is_root() { &[] } else { directory.as_bytes() };
        // One that was not entered is not on the stack.
        if self.path == path && !self.stack.is_empty() {
            self.leave();
            self.tell(observer);
        }
    }

    /// Goes on in the last directory on the stack.
    fn go_on(&mut self) -> Option<Found> {
        let frame = self.stack.last_mut()?;
        let Some((name, reason)) = frame.names.take() else {
            self.leave();
            return None;
        };
        let path = join(&self.path, name);
        let parent = frame.handle.clone()?;
        match reason {
            Some(reason) => self.leave_out(&path, reason),
            None => self.visit(&parent, path),
        }
    }

    /// Begins with the next given path.
    fn begin(&mut self, given: &Given) -> Option<Found> {
        let found = match &given.parent {
            Some(parent) => self.begin_named(given, parent),
            None => self.begin_directory(given),
        };
        found.unwrap_or_else(|errno| {
            let path = self.directory_path.join(&given.path);
            self.fail(&given.member, "find", path, errno.into())
        })
    }

    fn begin_named(&mut self, given: &Given, parent: &Path) -> Result<Option<Found>, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(&self.directory, parent, flags, Mode::empty())?;
        let name = given.member.file_name();
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.note_devices(given, &stat);
        if self.excludes(&given.member, is_directory(&stat)) {
            return Ok(self.leave_out(&given.member, LeftOut::Excluded));
        }
        Ok(self.visit(&Arc::new(parent), given.member.clone()))
    }

    /// Begins with a given path that means the directory itself, even behind a link.
    fn begin_directory(&mut self, given: &Given) -> Result<Option<Found>, Errno> {
        let path = given.path.as_path();
        let stat = statat(&self.directory, path, AtFlags::empty())?;
        if !is_directory(&stat) {
            return Err(Errno::NOTDIR);
        }
        self.note_devices(given, &stat);
        let member = given.member.clone();
        if !member.is_root() && self.excludes(&member, true) {
            return Ok(self.leave_out(&member, LeftOut::Excluded));
        }
        let bytes = path.as_os_str().as_bytes();
        match open_quietly(&self.directory, bytes, OFlags::DIRECTORY) {
            Ok(handle) => Ok(Some(self.descend(None, handle, stat, member))),
            Err(error @ Errno::NOENT) => Err(error),
            Err(error) => {
                let lost = Some(error.into());
                Ok(Some(Found { lost, ..self.found(None, member, stat) }))
            }
        }
    }

    /// Notes the file systems that a given path brings.
    fn note_devices(&mut self, given: &Given, stat: &Stat) {
        self.devices = vec![stat.st_dev];
        for path in &given.inner {
            if let Ok(stat) = statat(&self.directory, path, AtFlags::SYMLINK_NOFOLLOW) {
                self.devices.push(stat.st_dev);
            }
        }
    }

    /// Looks at one thing, and goes into it when it is a directory.
    fn visit(&mut self, parent: &Arc<OwnedFd>, path: MemberPath) -> Option<Found> {
        for _ in 0..LOOKS {
            let stat = match statat(parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return self.vanish(&path),
                Err(errno) => {
                    let file = self.file(&path);
                    return self.fail(&path, "read the metadata of", file, errno.into());
                }
            };
            if !is_directory(&stat) {
                return self.visit_file(parent, path, stat);
            }
            if let Entered::Found(found) = self.enter(parent, &path, stat) {
                return found;
            }
        }
        let file = self.file(&path);
        self.fail(&path, "open", file, Errno::NOTDIR.into())
    }

    fn visit_file(&mut self, parent: &Arc<OwnedFd>, path: MemberPath, stat: Stat) -> Option<Found> {
        let id = Id::of(&stat);
        let reason = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => Some(LeftOut::Socket),
            // Where the directory gives another inode than stat does, this is the first to see it.
            _ if self.options.own_files.contains(&(id.0, id.1))
                || is_own_name(&self.options, parent, path.file_name()) =>
            {
                Some(LeftOut::Archive)
            }
            FileType::RegularFile
                if is_listing_name(path.as_bytes())
                    && is_restored_listing(parent, path.file_name()) =>
            {
                Some(LeftOut::RestoredListing)
            }
            _ => None,
        };
        match reason {
            Some(reason) => self.leave_out(&path, reason),
            None => Some(self.found(Some(parent.clone()), path, stat)),
        }
    }

    fn enter(&mut self, parent: &Arc<OwnedFd>, path: &MemberPath, stat: Stat) -> Entered {
        let place = || Some(parent.clone());
        if self.is_elsewhere(&stat) {
            self.leave_out(path, LeftOut::OtherFileSystem);
            let found = self.found(place(), path.clone(), stat);
            return Entered::Found(Some(Found { partial: true, ..found }));
        }
        match open_directory(parent, path.file_name()) {
            Ok(handle) => {
                let found = self.descend(place(), handle, stat, path.clone());
                Entered::Found(Some(found))
            }
            Err(Errno::NOENT) => Entered::Found(self.vanish(path)),
            Err(Errno::NOTDIR | Errno::LOOP) => Entered::Changed,
            Err(errno) => {
                let found = self.found(place(), path.clone(), stat);
                Entered::Found(Some(Found { lost: Some(errno.into()), ..found }))
            }
        }
    }

    /// Reads the names in an open directory, and makes it the one that the walk goes on in.
    fn descend(
        &mut self,
        parent: Option<Arc<OwnedFd>>,
        handle: OwnedFd,
        stat: Stat,
        path: MemberPath,
    ) -> Found {
        let handle = Arc::new(handle);
        let (stat, unsearchable) = stat_directory(&handle).unwrap_or((stat, None));
        let mut found = Found { itself: Some(handle.clone()), ..self.found(parent, path, stat) };
        // Opening can mount what was not there when it was looked at.
        if self.is_elsewhere(&stat) {
            self.leave_out(&found.path, LeftOut::OtherFileSystem);
            found.partial = true;
            return found;
        }
        if unsearchable.is_some() {
            found.lost = unsearchable;
            return found;
        }
        let (names, partial, error) = self.read_names(&found.path, &handle);
        (found.partial, found.lost) = (partial, error);
        self.push(handle, Id::of(&stat), &found.path, names);
        found
    }

    fn read_names(
        &mut self,
        path: &MemberPath,
        handle: &OwnedFd,
    ) -> (NameList, bool, Option<io::Error>) {
        let options = &self.options;
        let (mut names, error) =
            NameList::read(handle, |name, kind, ino| judge(options, handle, path, name, kind, ino));
        let marks = &options.exclude_if_present;
        let tag = if options.exclude_caches && names.has(CACHE_TAG) && is_cache(handle) {
            names.retain(|name| name == CACHE_TAG);
            Some(LeftOut::CacheDirectory)
        } else if marks.iter().any(|mark| names.has(mark)) {
            names.retain(|name| marks.iter().any(|mark| mark == name));
            Some(LeftOut::Marked)
        } else {
            None
        };
        if let Some(reason) = tag {
            self.leave_out(path, reason);
        }
        let partial = tag.is_some() || names.any_left_out();
        (names, partial, error)
    }

    fn found(&self, parent: Option<Arc<OwnedFd>>, path: MemberPath, stat: Stat) -> Found {
        let wants_xattrs = self.options.xattrs;
        Found { path, stat, partial: false, lost: None, parent, itself: None, wants_xattrs }
    }

    fn excludes(&self, path: &MemberPath, is_dir: bool) -> bool {
        self.options.exclude.matches(path, is_dir)
    }

    fn is_elsewhere(&self, stat: &Stat) -> bool {
        self.options.one_file_system && !self.devices.contains(&stat.st_dev)
    }

    fn file(&self, path: &MemberPath) -> PathBuf {
        self.directory_path.join(OsStr::from_bytes(path.as_bytes()))
    }

    fn leave_out(&mut self, path: &MemberPath, reason: LeftOut) -> Option<Found> {
        self.tally.left_out += 1;
        self.notes.push(Note::LeftOut { path: path.clone(), reason });
        None
    }

    fn vanish(&mut self, path: &MemberPath) -> Option<Found> {
        self.tally.vanished += 1;
        self.notes.push(Note::Vanished { path: path.clone() });
        None
    }

    fn fail(
        &mut self,
        path: &MemberPath,
        op: &'static str,
        file: PathBuf,
        source: io::Error,
    ) -> Option<Found> {
        self.tally.failed += 1;
        // Directories that are given up one after the other are within each other.
        self.missed = Some(path.clone());
        let error = Error::Io { op, path: file, source };
        self.notes.push(Note::Failed { path: path.clone(), error });
        None
    }
}

/// Says why a name in a directory is left out, as far as that can be said before it is visited:
/// whether its directory is whole must be known then.
fn judge(
    options: &SourceOptions,
    directory: &OwnedFd,
    path: &MemberPath,
    name: &[u8],
    kind: FileType,
    ino: u64,
) -> Option<LeftOut> {
    let stat = || statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    if !options.exclude.is_empty() {
        let is_dir = match kind {
            FileType::Unknown => stat().is_ok_and(|stat| is_directory(&stat)),
            kind => kind == FileType::Directory,
        };
        if options.exclude.matches(&path.join(name), is_dir) {
            return Some(LeftOut::Excluded);
        }
    }
    let own = options.own_files.iter().any(|file| file.1 == ino)
        && stat().is_ok_and(|stat| options.own_files.contains(&(stat.st_dev, stat.st_ino)));
    let own = own || (kind != FileType::Directory && is_own_name(options, directory, name));
    own.then_some(LeftOut::Archive)
}

/// Returns whether a file has a name that belongs to the archive that is being written.
fn is_own_name(options: &SourceOptions, directory: &OwnedFd, name: &[u8]) -> bool {
    let mut own = options.own_names.iter().filter(|own| own.has(name)).peekable();
    if own.peek().is_none() {
        return false;
    }
    let id = rustix::fs::fstat(directory).map(|stat| (stat.st_dev, stat.st_ino));
    id.is_ok_and(|id| own.any(|own| own.directory == id))
}

fn join(directory: &[u8], name: &[u8]) -> MemberPath {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    MemberPath::new(path)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests;
