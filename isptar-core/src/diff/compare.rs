//! Comparing what two sides say of one name.

use super::listing::{Attributes, Recorded};
use super::{ContentChange, DiffOptions, Field, Id, Ignore};
use crate::format::entry::{Digest, Entry, Kind};
use crate::format::timestamp::Timestamp;
use crate::owners;
use crate::source::Names;

/// Compares entries.
pub(super) struct Comparer {
    ignore: Ignore,
    numeric: bool,
    old: Recorded,
    new: Recorded,
    owners: Owners,
}

/// What comparing gave.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) content: ContentChange,
    pub(super) fields: Vec<Field>,
    /// Something could not be compared, because it was not recorded.
    pub(super) unrecorded: bool,
    /// The digests do not tell whether the contents are the same: those must be read.
    pub(super) unsettled: bool,
}

impl Compared {
    pub(super) fn is_same(&self) -> bool {
        self.content == ContentChange::Same && self.fields.is_empty()
    }

    /// Takes what reading the contents told; `None` when it could not be known.
    pub(super) fn settle(&mut self, same: Option<bool>) {
        self.unsettled = false;
        self.unrecorded |= same.is_none();
        self.content = match same {
            Some(true) => ContentChange::Same,
            Some(false) => ContentChange::Differs,
            None => ContentChange::MayDiffer,
        };
    }

    /// Takes what the digests of the contents told.
    pub(super) fn set_digests(&mut self, old: [u8; 32], new: [u8; 32]) {
        self.content = if old == new { ContentChange::Same } else { ContentChange::Differs };
        if old != new {
            self.fields.insert(0, Field::Digest(old, new));
        }
    }
}

/// How owners of the new side are known.
enum Owners {
    /// By the names and numbers of an archive.
    Recorded,
    /// By the numbers of this system.
    System(Box<System>),
}

struct System {
    owners: owners::Owners,
    names: Names,
}

impl Comparer {
    /// Compares two listings.
    pub(super) fn of_listings(options: &DiffOptions, old: Recorded, new: Recorded) -> Self {
        let (ignore, numeric) = (options.ignore, options.numeric_owner);
        Self { ignore, numeric, old, new, owners: Owners::Recorded }
    }

    /// Compares a listing with things of this system.
    pub(super) fn of_tree(options: &DiffOptions, old: Recorded) -> Self {
        let names = Names::new(!options.numeric_owner);
        let system = System { owners: owners::Owners::new(options.numeric_owner), names };
        let owners = Owners::System(Box::new(system));
        Self { owners, ..Self::of_listings(options, old, Recorded::ALL) }
    }

    /// Returns whether extended attributes of an old entry are to be compared.
    pub(super) fn wants_xattrs(&self, old: &Entry) -> bool {
        !self.ignore.xattr && self.old.xattrs.are_known(old)
    }

    /// Compares two entries of one name, neither of which is a hard link.
    pub(super) fn compare(&mut self, old: &Entry, new: &Entry) -> Compared {
        let mut compared = Compared {
            content: ContentChange::Same,
            fields: Vec::new(),
            unrecorded: false,
            unsettled: false,
        };
        if old.kind.word() != new.kind.word() {
            compared.content = ContentChange::Differs;
            compared.fields.push(Field::Type(old.kind.word(), new.kind.word()));
            return compared;
        }
        let other_time = self.mtime(old, new);
        self.content(old, new, other_time.is_some(), &mut compared);
        self.metadata(old, new, &mut compared);
        compared.fields.extend(other_time);
        compared.unrecorded |= !self.ignore.mtime && (old.mtime.is_none() || new.mtime.is_none());
        self.xattrs(old, new, &mut compared);
        compared
    }

    fn content(&self, old: &Entry, new: &Entry, other_time: bool, compared: &mut Compared) {
        let differs = match (&old.kind, &new.kind) {
            (Kind::File { size: a }, Kind::File { size: b }) if a != b => Field::Size(*a, *b),
            (Kind::File { .. }, Kind::File { .. }) => {
                match (&old.digest, &new.digest) {
                    (Some(Digest::Content(a)), Some(Digest::Content(b))) => {
                        compared.set_digests(*a, *b);
                    }
                    (Some(a), Some(b)) if a == b => {}
                    // One of a map and its segments says nothing about other maps.
                    (Some(_), Some(_)) => compared.unsettled = true,
                    _ if other_time => compared.content = ContentChange::MayDiffer,
                    _ => {}
                }
                return;
            }
            (Kind::Symlink { target: a }, Kind::Symlink { target: b }) if a != b => {
                Field::Target(a.clone(), b.clone())
            }
            (a, b) => match (numbers(a), numbers(b)) {
                (Some(a), Some(b)) if a != b => Field::Device(a, b),
                _ => return,
            },
        };
        compared.content = ContentChange::Differs;
        compared.fields.push(differs);
    }

    fn metadata(&mut self, old: &Entry, new: &Entry, compared: &mut Compared) {
        let symlink = matches!(old.kind, Kind::Symlink { .. });
        let (a, b) = (old.mode & 0o7777, new.mode & 0o7777);
        if !self.ignore.mode && !symlink && a != b {
            compared.fields.push(Field::Mode(a, b));
        }
        let (owner, group) = self.owners(old, new);
        compared.fields.extend(owner.filter(|_| !self.ignore.owner));
        compared.fields.extend(group.filter(|_| !self.ignore.group));
    }

    /// Returns the owner and the group, where restoring the old entry would change them.
    fn owners(&mut self, old: &Entry, new: &Entry) -> (Option<Field>, Option<Field>) {
        let (other_user, other_group, user, group) = match &mut self.owners {
            Owners::Recorded => (
                is_other(&old.user, old.uid, &new.user, new.uid, self.numeric),
                is_other(&old.group, old.gid, &new.group, new.gid, self.numeric),
                new.user.clone(),
                new.group.clone(),
            ),
            Owners::System(system) => {
                let (uid, gid) = system.owners.ids(old);
                let (other_user, other_group) =
                    (uid.map(u64::from) != Some(new.uid), gid.map(u64::from) != Some(new.gid));
                let user = if other_user { system.names.user(new.uid) } else { Vec::new() };
                let group = if other_group { system.names.group(new.gid) } else { Vec::new() };
                (other_user, other_group, user, group)
            }
        };
        let id = |number, name: &[u8]| Id { number, name: name.to_vec() };
        let owner = other_user.then(|| Field::Owner(id(old.uid, &old.user), id(new.uid, &user)));
        let group = other_group.then(|| Field::Group(id(old.gid, &old.group), id(new.gid, &group)));
        (owner, group)
    }

    /// Returns the times when they differ, as finely as both sides know them.
    fn mtime(&self, old: &Entry, new: &Entry) -> Option<Field> {
        let (a, b) = (old.mtime?, new.mtime?);
        let coarse = |recorded: Recorded, time: Timestamp| !recorded.nanos && time.nanos() == 0;
        let seconds = self.ignore.nanos || coarse(self.old, a) || coarse(self.new, b);
        let same = if seconds { a.seconds() == b.seconds() } else { a == b };
        (!self.ignore.mtime && !same).then_some(Field::Mtime(a, b))
    }

    fn xattrs(&self, old: &Entry, new: &Entry, compared: &mut Compared) {
        if self.ignore.xattr {
            return;
        }
        if !self.old.xattrs.are_known(old) || !self.new.xattrs.are_known(new) {
            compared.unrecorded |=
                self.old.xattrs == Attributes::Unknown || self.new.xattrs == Attributes::Unknown;
        } else if old.xattr != new.xattr {
            compared.fields.push(Field::Xattr(old.xattr, new.xattr));
        }
    }
}

/// Returns whether two archives give a thing to different owners: by name where both have one.
fn is_other(a: &[u8], a_id: u64, b: &[u8], b_id: u64, numeric: bool) -> bool {
    if numeric || a.is_empty() || b.is_empty() { a_id != b_id } else { a != b }
}

fn numbers(kind: &Kind) -> Option<(u32, u32)> {
    match kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            Some((*major, *minor))
        }
        _ => None,
    }
}
