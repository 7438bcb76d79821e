//! Putting single members into the target, by handles, whatever stands there already.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::directory::{ACL_ACCESS, ACL_DEFAULT, Directories, Missing, in_the_way};
use super::made::{Made, Over, TEMPORARY};
use super::metadata::{Place, Restorer, file_type};
use super::tell::Tell;
use super::write::{Buffer, SMALL, Writer, stream};
use super::{ExtractOptions, Overwrite};
use crate::content::Content;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::member::Xattrs;
use crate::format::timestamp::Timestamp;
use crate::path::{SafePath, name_hash};

/// A member's content, and the metadata that only its headers have.
pub(super) trait Source: Content {
    /// Returns the extended attributes, ACLs and label.
    fn xattrs(&self) -> &Xattrs;
}

/// What became of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Restored,
    /// The target has it already, and the options say to keep that.
    Kept,
    /// A hard link whose target is not what this run wrote there, or that the file system refuses.
    NotLinked,
}

/// Device and inode number.
pub(super) type Identity = (u64, u64);

/// What this run wrote, as far as it may be needed again: by hashes of names.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The names to be remembered; all of them when absent.
    wanted: Option<HashSet<u64>>,
    things: HashMap<u64, Identity>,
}

impl Written {
    /// Remembers only those of `names`.
    pub(super) fn only(names: HashSet<u64>) -> Self {
        Self { wanted: Some(names), things: HashMap::new() }
    }

    fn wants(&self, path: &SafePath) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&hash(path)))
    }

    fn get(&self, path: &SafePath) -> Option<Identity> {
        self.things.get(&hash(path)).copied()
    }

    fn record(&mut self, path: &SafePath, stat: &Stat) {
        self.things.insert(hash(path), identity(stat));
    }
}

/// Returns a hash that stands for a name.
pub(super) fn hash(path: &SafePath) -> u64 {
    name_hash(path.as_bytes())
}

/// Returns the path of `other` in the directory of `path`, whose last component is `name`.
fn sibling(path: &SafePath, name: &[u8], other: &[u8]) -> Vec<u8> {
    let bytes = path.as_bytes();
    let directory = bytes.strip_suffix(name).unwrap_or_default();
    [directory, other].concat()
}

/// What is done where something stands already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Create,
    Replace,
    /// What this run wrote there, and nothing else.
    ReplaceOwn(Identity),
    Keep,
}

/// The tree that members are restored to.
#[derive(Debug)]
pub(super) struct Target {
    directories: Directories,
    restorer: Restorer,
    overwrite: Overwrite,
    written: Written,
    buffer: Buffer,
    /// When nothing that is there may be changed: hashes of the names of directories that this run
    /// made, and of those that were there.
    made: HashSet<u64>,
    kept: HashSet<u64>,
    /// Hashes of the names of members that look like temporary files.
    lookalikes: HashSet<u64>,
}

impl Target {
    /// Makes the target directory if it is missing, and opens it.
    pub(super) fn open(path: &Path, options: &ExtractOptions, written: Written) -> Result<Self> {
        Ok(Self {
            directories: Directories::open(path)?,
            restorer: Restorer::new(options),
            overwrite: options.overwrite,
            written,
            buffer: Buffer::default(),
            made: HashSet::new(),
            kept: HashSet::new(),
            lookalikes: HashSet::new(),
        })
    }

    /// Makes a directory, if it is missing, for its contents to be restored; its metadata are set
    /// by [`Self::finish_directory`].
    pub(super) fn directory(&mut self, path: &SafePath, tell: &mut Tell<'_>) -> Result<()> {
        tell.shown = self.directories.shown(path);
        let Some(name) = self.directories.enter_parent(path, Missing::Make, &tell.path)? else {
            self.keep_directory(path);
            return Ok(());
        };
        let directory = self.directories.current();
        match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700)) {
            Ok(()) if self.overwrite == Overwrite::Never => {
                self.made.insert(hash(path));
            }
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let kind = stat(directory, name, tell)?.as_ref().map(kind_of);
                return match kind {
                    None | Some(FileType::Directory) => {
                        self.keep_directory(path);
                        Ok(())
                    }
                    Some(kind) => Err(in_the_way(&tell.path, kind, path.as_bytes())),
                };
            }
            Err(error) => return Err(Error::io("make the directory", &tell.shown)(error)),
        }
        if self.directories.has_default_acl() {
            self.directories.enter(path, &tell.path)?;
            for attribute in [ACL_ACCESS, ACL_DEFAULT] {
                Place::Directory(self.directories.current()).remove_attribute(attribute);
            }
            self.directories.forget_acl();
        }
        Ok(())
    }

    /// Notes a directory that was there, when nothing that is there may be changed.
    fn keep_directory(&mut self, path: &SafePath) {
        if self.overwrite == Overwrite::Never && !self.made.contains(&hash(path)) {
            self.kept.insert(hash(path));
        }
    }

    /// Sets the metadata of a directory, after all that is in it was restored.
    pub(super) fn finish_directory(
        &mut self,
        path: &SafePath,
        entry: &Entry,
        xattrs: &Xattrs,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        if self.kept.contains(&hash(path)) {
            return Ok(());
        }
        tell.shown = self.directories.shown(path);
        self.directories.enter(path, &tell.path)?;
        let place = Place::Directory(self.directories.current());
        self.restorer.apply(place, entry, xattrs, tell)?;
        self.directories.forget_acl();
        Ok(())
    }

    /// Restores a file with its content. It gets its name when all checks have passed.
    pub(super) fn file(
        &mut self,
        path: &SafePath,
        entry: &Entry,
        source: &mut dyn Source,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome> {
        let (name, decision) = self.prepare(path, entry, tell)?;
        if decision == Decision::Keep {
            self.note_kept(path, name, tell)?;
            return Ok(Outcome::Kept);
        }
        let small = source.size() <= SMALL;
        if small {
            self.buffer.collect(source, tell)?;
        }
        let inherits = self.directories.has_default_acl();
        let directory = self.directories.current();
        if name.starts_with(TEMPORARY) {
            self.lookalikes.insert(hash(path));
        }
        let wreck = self.restorer.wreck(entry);
        let is_member = |temporary: &[u8]| {
            self.lookalikes.contains(&name_hash(&sibling(path, name, temporary)))
        };
        let made = Made::locked(directory, name, wreck, tell, is_member)?;
        let file = &made.value;
        let shown = tell.shown.clone();
        let mut writer = Writer::new(file, entry.sparse, &shown);
        let written =
            if small { self.buffer.write(&mut writer) } else { stream(source, &mut writer, tell) };
        let finished = written.and_then(|()| {
            if inherits {
                let _none = rustix::fs::fremovexattr(file, ACL_ACCESS);
            }
            self.restorer.apply(Place::Open(file.as_fd()), entry, source.xattrs(), tell)?;
            if self.written.wants(path) {
                let stat = rustix::fs::fstat(file).map_err(Error::io("look at", &shown))?;
                self.written.record(path, &stat);
            }
            Ok(())
        });
        made.finish(finished, self.over(decision), tell)
    }

    /// Notes a file that is kept because it is the member's already: its other names may be linked
    /// to it. Nothing of it is changed, because it may have names outside the target.
    fn note_kept(&mut self, path: &SafePath, name: &[u8], tell: &Tell<'_>) -> Result<()> {
        if self.overwrite == Overwrite::Different
            && self.written.wants(path)
            && let Some(stat) = stat(self.directories.current(), name, tell)?
        {
            self.written.record(path, &stat);
        }
        Ok(())
    }

    /// Restores a symbolic link, a FIFO or a device.
    pub(super) fn special(
        &mut self,
        path: &SafePath,
        entry: &Entry,
        xattrs: &Xattrs,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome> {
        let (name, decision) = self.prepare(path, entry, tell)?;
        if decision == Decision::Keep {
            return Ok(Outcome::Kept);
        }
        let inherits = self.directories.has_default_acl();
        let directory = self.directories.current();
        let direct = decision == Decision::Create;
        let made =
            Made::new(directory, name, direct, tell, |at, name| make(at, name, &entry.kind))?;
        let place = Place::Named(directory, made.name());
        if inherits && !matches!(entry.kind, Kind::Symlink { .. }) {
            place.remove_attribute(ACL_ACCESS);
        }
        let finished = self.restorer.apply(place, entry, xattrs, tell).map(|()| {
            if self.written.wants(path) {
                self.written.things.insert(hash(path), made.value);
            }
        });
        made.publish(finished, self.over(decision), tell)
    }

    /// Makes a hard link to what this run wrote at `target`, if that is what still stands there.
    pub(super) fn hard_link(
        &mut self,
        path: &SafePath,
        target: &SafePath,
        entry: &Entry,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome> {
        let Some(ours) = self.written.get(target) else { return Ok(Outcome::NotLinked) };
        // A target that cannot be reached any more is no error: its content can.
        let Ok(Some(old)) = self.directories.enter_parent(target, Missing::Fail, &tell.path) else {
            return Ok(Outcome::NotLinked);
        };
        let from = self.directories.current().try_clone_to_owned();
        let from =
            from.map_err(Error::io("open the directory of", self.directories.shown(target)))?;
        let is_ours =
            |stat: &Option<Stat>| stat.as_ref().is_some_and(|stat| identity(stat) == ours);
        if !is_ours(&stat(from.as_fd(), old, tell)?) {
            return Ok(Outcome::NotLinked);
        }
        let (name, decision) = self.prepare(path, entry, tell)?;
        let directory = self.directories.current();
        if decision != Decision::Create && is_ours(&stat(directory, name, tell)?) {
            return Ok(Outcome::Restored);
        }
        if decision == Decision::Keep {
            return Ok(Outcome::Kept);
        }
        let link = |at: BorrowedFd<'_>, name: &[u8]| {
            rustix::fs::linkat(&from, old, at, name, AtFlags::empty())?;
            rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| identity(&stat))
        };
        let direct = decision == Decision::Create;
        let made = match Made::try_new(directory, name, direct, link) {
            Ok(made) => made,
            Err(Errno::PERM | Errno::MLINK | Errno::XDEV | Errno::OPNOTSUPP) => {
                return Ok(Outcome::NotLinked);
            }
            Err(error) => return Err(Error::io("link", &tell.shown)(error)),
        };
        // The name may have been given to another file between the look and the link.
        if made.value != ours {
            made.remove();
            return Ok(Outcome::NotLinked);
        }
        // By a listing, what hard links lead to is a file; a tar may chain them.
        if self.written.wanted.is_none() {
            self.written.things.insert(hash(path), ours);
        }
        made.publish(Ok(()), self.over(decision), tell)
    }

    /// Returns what may be replaced by now: what another process has put there since is kept where
    /// nothing is to be overwritten.
    fn over(&self, decision: Decision) -> Over {
        match decision {
            Decision::ReplaceOwn(ours) => Over::Only(ours),
            Decision::Create if self.overwrite == Overwrite::Never => Over::Nothing,
            _ => Over::Anything,
        }
    }

    /// Goes to the directory of a member that is no directory, and decides what is done there.
    fn prepare<'p>(
        &mut self,
        path: &'p SafePath,
        entry: &Entry,
        tell: &mut Tell<'_>,
    ) -> Result<(&'p [u8], Decision)> {
        tell.shown = self.directories.shown(path);
        let Some(name) = self.directories.enter_parent(path, Missing::Make, &tell.path)? else {
            return Err(in_the_way(&tell.path, FileType::Directory, b""));
        };
        let directory = self.directories.current();
        let Some(existing) = stat(directory, name, tell)? else {
            return Ok((name, Decision::Create));
        };
        if kind_of(&existing) == FileType::Directory {
            return Err(in_the_way(&tell.path, FileType::Directory, path.as_bytes()));
        }
        let own = self.written.get(path) == Some(identity(&existing));
        let replace = match self.overwrite {
            // The last of several members of one name wins.
            Overwrite::Never if own => {
                return Ok((name, Decision::ReplaceOwn(identity(&existing))));
            }
            _ if own => true,
            Overwrite::Always => true,
            Overwrite::Never => false,
            Overwrite::Newer => entry.mtime.is_some_and(|mtime| changed(&existing) < mtime),
            Overwrite::Different => {
                !is_unchanged(directory, name, &existing, entry)
                    || !self.restorer.agrees(&existing, entry)
            }
        };
        Ok((name, if replace { Decision::Replace } else { Decision::Keep }))
    }
}

fn make(directory: BorrowedFd<'_>, name: &[u8], kind: &Kind) -> rustix::io::Result<Identity> {
    make_special(directory, name, kind)?;
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| identity(&stat))
}

fn make_special(directory: BorrowedFd<'_>, name: &[u8], kind: &Kind) -> rustix::io::Result<()> {
    let device = match kind {
        Kind::Symlink { target } => {
            return rustix::fs::symlinkat(target.as_slice(), directory, name);
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            rustix::fs::makedev(*major, *minor)
        }
        _ => 0,
    };
    rustix::fs::mknodat(directory, name, file_type(kind), Mode::from_raw_mode(0o600), device)
}

/// Looks at what stands at a name, which is not followed.
fn stat(directory: BorrowedFd<'_>, name: &[u8], tell: &Tell<'_>) -> Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io("look at", &tell.shown)(error)),
    }
}

pub(super) fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

pub(super) fn changed(stat: &Stat) -> Timestamp {
    Timestamp::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Returns whether what stands there is what the member is, as far as its inode tells.
fn is_unchanged(directory: BorrowedFd<'_>, name: &[u8], existing: &Stat, entry: &Entry) -> bool {
    if kind_of(existing) != file_type(&entry.kind) || entry.mtime != Some(changed(existing)) {
        return false;
    }
    match &entry.kind {
        Kind::File { size } => u64::try_from(existing.st_size) == Ok(*size),
        Kind::Symlink { target } => rustix::fs::readlinkat(directory, name, Vec::new())
            .is_ok_and(|found| found.to_bytes() == target),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            existing.st_rdev == rustix::fs::makedev(*major, *minor)
        }
        Kind::Fifo => true,
        Kind::Directory | Kind::HardLink { .. } => false,
    }
}
