//! Putting single members into a directory of the target that is open, whatever stands there.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::directory::{ACL_ACCESS, in_the_way};
use super::made::{Made, Over, TEMPORARY};
use super::metadata::{Place, Restorer, file_type};
use super::notes::{Notes, Site, Watch};
use super::place::Directory;
use super::unnamed::Linking;
use super::write::{Buffer, SMALL, Writer, stream};
use super::{ExtractOptions, Overwrite};
use crate::content::Content;
use crate::error::Result;
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

/// What became of a member, and what its other names may be linked to, if that is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Put {
    pub(super) outcome: Outcome,
    pub(super) identity: Option<Identity>,
}

/// Where a member goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) directory: &'a Directory,
    pub(super) name: &'a [u8],
    /// What this run wrote under the name before.
    pub(super) own: Option<Identity>,
    /// Whether hard links may lead to it.
    pub(super) wanted: bool,
    /// Hashes of the names of members that look like temporary files.
    pub(super) lookalikes: &'a HashSet<u64>,
}

impl Spot<'_> {
    /// Looks at what stands there, which is not followed.
    pub(super) fn stat(&self, site: Site<'_>) -> Result<Option<Stat>> {
        stat(self.directory.handle(), self.name, site)
    }

    /// Returns whether another name in the same directory is that of a member that looks like a
    /// temporary file.
    fn is_lookalike(&self, site: Site<'_>, other: &[u8]) -> bool {
        let directory = site.path.as_bytes().strip_suffix(self.name).unwrap_or_default();
        let is = || self.lookalikes.contains(&name_hash(&[directory, other].concat()));
        !self.lookalikes.is_empty() && is()
    }
}

/// Returns whether the name of a member is like those of temporary files.
pub(super) fn looks_temporary(path: &SafePath) -> bool {
    path.components().next_back().is_some_and(|name| name.starts_with(TEMPORARY))
}

/// What is done where something stands already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Create,
    Replace,
    /// What this run wrote there, and nothing else.
    ReplaceOwn(Identity),
    Keep,
}

/// A file that is being written under a temporary name.
pub(super) struct Begun<'a> {
    pub(super) made: Made<'a, Arc<OwnedFd>>,
    pub(super) decision: Decision,
}

/// Puts members into directories; one a thread.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) restorer: Restorer,
    overwrite: Overwrite,
    buffer: Buffer,
    linking: Linking,
}

impl Hand {
    pub(super) fn new(options: &ExtractOptions) -> Self {
        Self {
            restorer: Restorer::new(options),
            overwrite: options.overwrite,
            buffer: Buffer::default(),
            linking: Linking::default(),
        }
    }

    /// Restores a file with its content. It gets its name when all checks have passed.
    pub(super) fn file(
        &mut self,
        site: Site<'_>,
        spot: Spot<'_>,
        source: &mut dyn Source,
        notes: &mut Notes,
        watch: &mut dyn Watch,
    ) -> Result<Put> {
        let small = source.size() <= SMALL;
        if small && spot.directory.fresh && spot.own.is_none() {
            self.collect(site, source, watch)?;
            let put = self.unnamed(site, spot, source.xattrs(), notes)?;
            return match put {
                Some(put) => Ok(put),
                None => self.named(site, spot, source.xattrs(), notes),
            };
        }
        if !small {
            return self.streamed(site, spot, source, notes, watch);
        }
        let decision = self.decide(site, spot)?;
        if decision == Decision::Keep {
            return self.kept(site, spot);
        }
        self.collect(site, source, watch)?;
        let begun = self.begin(site, spot, decision, notes)?;
        self.write_small(begun, site, spot, source.xattrs(), notes)
    }

    fn collect(
        &mut self,
        site: Site<'_>,
        source: &mut dyn Source,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        self.buffer.collect(source, site)?;
        watch.progress(source.size());
        Ok(())
    }

    /// Restores what was collected by a file that has no name until it is whole; `None` when that
    /// cannot be done here, or the name is not free.
    fn unnamed(
        &mut self,
        site: Site<'_>,
        spot: Spot<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Option<Put>> {
        let directory = spot.directory.handle();
        let Some(file) = self.linking.make(directory) else { return Ok(None) };
        self.buffer.write(&mut Writer::new(&file, site.entry.sparse, site))?;
        let has = spot.directory.newcomers(&file);
        let noted = notes.0.len();
        let identity = self.complete(&file, has, site, spot, xattrs, notes)?;
        if !self.linking.give_name(&file, directory, spot.name) {
            // It is all done again.
            notes.0.truncate(noted);
            return Ok(None);
        }
        Ok(Some(Put { outcome: Outcome::Restored, identity }))
    }

    /// Restores what was collected under a temporary name.
    fn named(
        &mut self,
        site: Site<'_>,
        spot: Spot<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Put> {
        let decision = self.decide(site, spot)?;
        if decision == Decision::Keep {
            return self.kept(site, spot);
        }
        let begun = self.begin(site, spot, decision, notes)?;
        self.write_small(begun, site, spot, xattrs, notes)
    }

    fn write_small(
        &mut self,
        begun: Begun<'_>,
        site: Site<'_>,
        spot: Spot<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Put> {
        let written = {
            let mut writer = Writer::new(&begun.made.value, site.entry.sparse, site);
            self.buffer.write(&mut writer)
        };
        self.finish(begun, written, site, spot, xattrs, notes)
    }

    /// Restores a file whose content is not collected beforehand.
    fn streamed(
        &mut self,
        site: Site<'_>,
        spot: Spot<'_>,
        source: &mut dyn Source,
        notes: &mut Notes,
        watch: &mut dyn Watch,
    ) -> Result<Put> {
        let decision = self.decide(site, spot)?;
        if decision == Decision::Keep {
            return self.kept(site, spot);
        }
        let begun = self.begin(site, spot, decision, notes)?;
        let written = {
            let mut writer = Writer::new(&begun.made.value, site.entry.sparse, site);
            stream(source, &mut writer, watch)
        };
        self.finish(begun, written, site, spot, source.xattrs(), notes)
    }

    /// Makes the temporary file of a member that is not to be kept as it is.
    pub(super) fn begin<'s>(
        &mut self,
        site: Site<'_>,
        spot: Spot<'s>,
        decision: Decision,
        notes: &mut Notes,
    ) -> Result<Begun<'s>> {
        let wreck = self.restorer.wreck(site.entry);
        let is_member = |name: &[u8]| spot.is_lookalike(site, name);
        let (directory, name) = (spot.directory.handle(), spot.name);
        let made = Made::locked(directory, name, wreck, site, is_member, notes)?;
        Ok(Begun { made, decision })
    }

    /// Gives a file that was written its metadata and its name; or removes it.
    pub(super) fn finish(
        &mut self,
        begun: Begun<'_>,
        written: Result<()>,
        site: Site<'_>,
        spot: Spot<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Put> {
        let Begun { made, decision } = begun;
        let completed =
            written.and_then(|()| self.complete(&made.value, None, site, spot, xattrs, notes));
        let (finished, identity) = match completed {
            Ok(identity) => (Ok(()), identity),
            Err(error) => (Err(error), None),
        };
        let outcome = made.finish(finished, self.over(decision), site, notes)?;
        Ok(Put { outcome, identity })
    }

    /// Gives a file its metadata, of which it `has` an owner already; returns what hard links may
    /// lead to.
    fn complete(
        &mut self,
        file: &OwnedFd,
        has: Option<(u32, u32)>,
        site: Site<'_>,
        spot: Spot<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Option<Identity>> {
        if spot.directory.inherits() {
            let _none = rustix::fs::fremovexattr(file, ACL_ACCESS);
        }
        self.restorer.apply(Place::Open(file.as_fd(), has), site, xattrs, notes)?;
        if !spot.wanted {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(file).map_err(site.refused("look at"))?;
        Ok(Some(identity(&stat)))
    }

    /// Notes a file that is kept because it is the member's already: its other names may be linked
    /// to it. Nothing of it is changed, because it may have names outside the target.
    pub(super) fn kept(&self, site: Site<'_>, spot: Spot<'_>) -> Result<Put> {
        let mut put = Put { outcome: Outcome::Kept, identity: None };
        if self.overwrite == Overwrite::Different && spot.wanted {
            put.identity = spot.stat(site)?.as_ref().map(identity);
        }
        Ok(put)
    }

    /// Restores a symbolic link, a FIFO or a device.
    pub(super) fn special(
        &mut self,
        site: Site<'_>,
        spot: Spot<'_>,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Put> {
        let decision = self.decide(site, spot)?;
        if decision == Decision::Keep {
            return Ok(Put { outcome: Outcome::Kept, identity: None });
        }
        let directory = spot.directory.handle();
        let direct = decision == Decision::Create;
        let kind = &site.entry.kind;
        let made = Made::new(directory, spot.name, direct, site, |at, name| make(at, name, kind))?;
        let place = Place::Named(directory, made.name());
        if spot.directory.inherits() && !matches!(kind, Kind::Symlink { .. }) {
            place.remove_attribute(ACL_ACCESS);
        }
        let finished = self.restorer.apply(place, site, xattrs, notes);
        let identity = finished.is_ok().then_some(made.value);
        let outcome = made.publish(finished, self.over(decision), site)?;
        Ok(Put { outcome, identity })
    }

    /// Returns what may be replaced by now: what another process has put there since is kept where
    /// nothing is to be overwritten.
    pub(super) fn over(&self, decision: Decision) -> Over {
        match decision {
            Decision::ReplaceOwn(ours) => Over::Only(ours),
            Decision::Create if self.overwrite == Overwrite::Never => Over::Nothing,
            _ => Over::Anything,
        }
    }

    /// Decides what is done where a member that is no directory goes.
    pub(super) fn decide(&mut self, site: Site<'_>, spot: Spot<'_>) -> Result<Decision> {
        let Some(existing) = spot.stat(site)? else { return Ok(Decision::Create) };
        if kind_of(&existing) == FileType::Directory {
            return Err(in_the_way(site.member(), FileType::Directory, site.path.as_bytes()));
        }
        let own = spot.own == Some(identity(&existing));
        let entry = site.entry;
        let replace = match self.overwrite {
            // The last of several members of one name wins.
            Overwrite::Never if own => return Ok(Decision::ReplaceOwn(identity(&existing))),
            _ if own => true,
            Overwrite::Always => true,
            Overwrite::Never => false,
            Overwrite::Newer => entry.mtime.is_some_and(|mtime| changed(&existing) < mtime),
            Overwrite::Different => {
                !is_unchanged(spot.directory.handle(), spot.name, &existing, entry)
                    || !self.restorer.agrees(&existing, entry)
            }
        };
        Ok(if replace { Decision::Replace } else { Decision::Keep })
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
pub(super) fn stat(directory: BorrowedFd<'_>, name: &[u8], site: Site<'_>) -> Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(site.refused("look at")(error)),
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
