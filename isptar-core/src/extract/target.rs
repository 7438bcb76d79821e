//! The tree that members are restored to, one after the other.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::big::Big;
use super::directory::{ACL_ACCESS, ACL_DEFAULT, Directories, Missing, in_the_way};
use super::hand::{Begun, Decision, Hand, Identity, Outcome, Put, Source, Spot};
use super::hand::{identity, kind_of, looks_temporary, stat};
use super::made::{Made, Paused};
use super::metadata::Place;
use super::notes::{Notes, Site, Watch, shown};
use super::place::Directory;
use super::worker::Destined;
use super::{ExtractOptions, Overwrite};
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::member::Xattrs;
use crate::path::{SafePath, name_hash};

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

    pub(super) fn wants(&self, hash: u64) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&hash))
    }

    pub(super) fn get(&self, hash: u64) -> Option<Identity> {
        self.things.get(&hash).copied()
    }

    pub(super) fn record(&mut self, hash: u64, put: &Put) {
        if let Some(identity) = put.identity.filter(|_| self.wants(hash)) {
            self.things.insert(hash, identity);
        }
    }
}

/// What became of a big file.
pub(super) struct Finished {
    pub(super) result: Result<Put>,
    pub(super) notes: Notes,
}

/// Returns a hash that stands for a name.
pub(super) fn hash(path: &SafePath) -> u64 {
    name_hash(path.as_bytes())
}

/// The tree that members are restored to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) directories: Directories,
    hand: Hand,
    overwrite: Overwrite,
    pub(super) written: Written,
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
            hand: Hand::new(options),
            overwrite: options.overwrite,
            written,
            made: HashSet::new(),
            kept: HashSet::new(),
            lookalikes: HashSet::new(),
        })
    }

    /// Makes a directory, if it is missing, for its contents to be restored; its metadata are set
    /// by [`Self::finish_directory`].
    pub(super) fn directory(&mut self, path: &SafePath, entry: &Entry) -> Result<()> {
        let root = self.directories.root();
        let site = Site { root: &root, path, entry };
        let Some(name) = self.directories.enter_parent(path, Missing::Make, site.member())? else {
            self.keep_directory(path);
            return Ok(());
        };
        let directory = self.directories.current();
        match rustix::fs::mkdirat(directory.handle(), name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                if self.overwrite == Overwrite::Never {
                    self.made.insert(hash(path));
                }
            }
            Err(Errno::EXIST) => {
                let kind = stat(directory.handle(), name, site)?.as_ref().map(kind_of);
                return match kind {
                    None | Some(FileType::Directory) => {
                        self.keep_directory(path);
                        Ok(())
                    }
                    Some(kind) => Err(in_the_way(site.member(), kind, path.as_bytes())),
                };
            }
            Err(error) => return Err(site.refused("make the directory")(error)),
        }
        let inherits = directory.inherits();
        self.directories.note_made(path);
        if inherits {
            self.directories.enter(path, site.member())?;
            let directory = self.directories.current();
            for attribute in [ACL_ACCESS, ACL_DEFAULT] {
                Place::Directory(directory.handle()).remove_attribute(attribute);
            }
            directory.forget();
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
        notes: &mut Notes,
    ) -> Result<()> {
        if self.kept.contains(&hash(path)) {
            return Ok(());
        }
        let root = self.directories.root();
        self.directories.enter(path, &entry.path)?;
        let directory = self.directories.current();
        let site = Site { root: &root, path, entry };
        let place = Place::Directory(directory.handle());
        if self.hand.restorer.restores_acls() {
            // One that was here may let in whom the member's does not.
            for (acl, attribute) in
                [(&xattrs.acl_access, ACL_ACCESS), (&xattrs.acl_default, ACL_DEFAULT)]
            {
                if acl.is_none() {
                    place.remove_attribute(attribute);
                }
            }
        }
        self.hand.restorer.apply(place, site, xattrs, notes)?;
        directory.forget();
        Ok(())
    }

    /// Restores a file with its content. It gets its name when all checks have passed.
    pub(super) fn file(
        &mut self,
        path: &SafePath,
        entry: &Entry,
        source: &mut dyn Source,
        notes: &mut Notes,
        watch: &mut dyn Watch,
    ) -> Result<Outcome> {
        if looks_temporary(path) {
            self.lookalikes.insert(hash(path));
        }
        self.put(path, entry, |hand, site, spot| hand.file(site, spot, source, notes, watch))
    }

    /// Restores a symbolic link, a FIFO or a device.
    pub(super) fn special(
        &mut self,
        path: &SafePath,
        entry: &Entry,
        xattrs: &Xattrs,
        notes: &mut Notes,
    ) -> Result<Outcome> {
        self.put(path, entry, |hand, site, spot| hand.special(site, spot, xattrs, notes))
    }

    /// Takes hashes of the names of all members that look like temporary files.
    pub(super) fn note_lookalikes(&mut self, hashes: &HashSet<u64>) {
        self.lookalikes.clone_from(hashes);
    }

    /// Goes to the directory of a member that is no directory, which is made if it is missing.
    pub(super) fn directory_of(
        &mut self,
        path: &SafePath,
        entry: &Entry,
    ) -> Result<Arc<Directory>> {
        match self.directories.enter_parent(path, Missing::Make, &entry.path)? {
            Some(_) => Ok(Arc::clone(self.directories.current())),
            None => Err(in_the_way(&entry.path, FileType::Directory, b"")),
        }
    }

    /// Begins to write a big file, which the digest of others completes; `Err` is what became of it
    /// already.
    pub(super) fn begin(
        &mut self,
        destined: &Destined,
        entry: &Entry,
        notes: &mut Notes,
    ) -> Result<Result<(Decision, Paused), Put>> {
        let root = self.directories.root();
        let site = Site { root: &root, path: &destined.path, entry };
        let spot = destined.spot(&self.lookalikes);
        let decision = self.hand.decide(site, spot)?;
        if decision == Decision::Keep {
            return Ok(Err(self.hand.kept(site, spot)?));
        }
        let begun = self.hand.begin(site, spot, decision, notes)?;
        Ok(Ok((decision, begun.made.pause())))
    }

    /// Gives a big file its metadata and its name, or removes it.
    pub(super) fn finish(&mut self, mut big: Big, failed: Option<Error>) -> Finished {
        let root = self.directories.root();
        let what = Arc::clone(&big.what);
        let site = Site { root: &root, path: &what.destined.path, entry: &what.entry };
        let spot = what.destined.spot(&self.lookalikes);
        let written = failed.map_or_else(|| big.complete(site), Err);
        let Big { paused, decision, xattrs, mut notes, .. } = big;
        let made = paused.resume(what.directory().handle(), spot.name);
        let begun = Begun { made, decision };
        let result = self.hand.finish(begun, written, site, spot, &xattrs, &mut notes);
        Finished { result, notes }
    }

    /// Goes to the directory of a member that is no directory, and has it put there.
    fn put(
        &mut self,
        path: &SafePath,
        entry: &Entry,
        put: impl FnOnce(&mut Hand, Site<'_>, Spot<'_>) -> Result<Put>,
    ) -> Result<Outcome> {
        let root = self.directories.root();
        let Some(name) = self.directories.enter_parent(path, Missing::Make, &entry.path)? else {
            return Err(in_the_way(&entry.path, FileType::Directory, b""));
        };
        let hash = hash(path);
        let spot = Spot {
            directory: self.directories.current(),
            name,
            own: self.written.get(hash),
            wanted: self.written.wants(hash),
            lookalikes: &self.lookalikes,
        };
        let put = put(&mut self.hand, Site { root: &root, path, entry }, spot)?;
        self.written.record(hash, &put);
        Ok(put.outcome)
    }

    /// Makes a hard link to what this run wrote at `target`, if that is what still stands there.
    pub(super) fn hard_link(
        &mut self,
        path: &SafePath,
        target: &SafePath,
        entry: &Entry,
    ) -> Result<Outcome> {
        let Some(ours) = self.written.get(hash(target)) else { return Ok(Outcome::NotLinked) };
        let root = self.directories.root();
        let site = Site { root: &root, path, entry };
        // A target that cannot be reached any more is no error: its content can.
        let Ok(Some(old)) = self.directories.enter_parent(target, Missing::Fail, &entry.path)
        else {
            return Ok(Outcome::NotLinked);
        };
        let from = self.directories.current().handle().try_clone_to_owned();
        let from =
            from.map_err(Error::io("open the directory of", shown(&root, target.as_bytes())))?;
        let is_ours =
            |stat: &Option<Stat>| stat.as_ref().is_some_and(|stat| identity(stat) == ours);
        if !is_ours(&stat(from.as_fd(), old, site)?) {
            return Ok(Outcome::NotLinked);
        }
        let Some(name) = self.directories.enter_parent(path, Missing::Make, &entry.path)? else {
            return Err(in_the_way(&entry.path, FileType::Directory, b""));
        };
        let spot = Spot {
            directory: self.directories.current(),
            name,
            own: self.written.get(hash(path)),
            wanted: false,
            lookalikes: &self.lookalikes,
        };
        let decision = self.hand.decide(site, spot)?;
        if decision != Decision::Create && is_ours(&spot.stat(site)?) {
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
        let made = match Made::try_new(spot.directory.handle(), name, direct, link) {
            Ok(made) => made,
            Err(Errno::PERM | Errno::MLINK | Errno::XDEV | Errno::OPNOTSUPP) => {
                return Ok(Outcome::NotLinked);
            }
            Err(error) => return Err(site.refused("link")(error)),
        };
        // The name may have been given to another file between the look and the link.
        if made.value != ours {
            made.remove();
            return Ok(Outcome::NotLinked);
        }
        let outcome = made.publish(Ok(()), self.hand.over(decision), site)?;
        // By a listing, what hard links lead to is a file; a tar may chain them.
        if self.written.wanted.is_none() {
            self.written.things.insert(hash(path), ours);
        }
        Ok(outcome)
    }
}
