//! What changed since a base: the walk beside the listing of the base.

use std::borrow::Cow;
use std::collections::HashSet;

use super::extras::Supply;
use super::item::{Fate, Item, Items, Met, Old, Use};
use super::{CreateOptions, CreateReport};
use crate::base::{BaseListing, Now, Rules, Verdict, Why};
use crate::error::Result;
use crate::format::entry::{EntryRef, Kind, KindRef};
use crate::format::tables::Base;
use crate::observe::Observer;
use crate::path::{MemberName, MemberPath, name_hash};
use crate::source::{Found, Step, Steps, ctime, mtime};

/// Reason that is recorded of what could not be looked at.
const UNREADABLE: &str = "unreadable";

/// What the walk and the base together come to next.
pub(super) enum Change<'c> {
    /// It is as the base has it.
    Unchanged(EntryRef<'c>),
    /// It must be stored, or read before that is known.
    Item(Box<Item>),
    /// It cannot be looked at: what the base knows is kept.
    Kept(EntryRef<'c>),
    /// The base has it, and the tree does not.
    Deleted(MemberName<'c>),
    /// Nothing that an archive could have.
    Nothing,
}

/// Goes through a tree and the listing of a base, side by side; without a base all is new.
pub(super) struct Changes<'b> {
    base: Option<Beside<'b>>,
    /// What the walk has come to.
    place: Place,
}

/// What the walk has come to: the base may have more before that.
enum Place {
    /// Nothing new.
    Start,
    Found(Found),
    /// Something that cannot be looked at.
    Missed(MemberPath),
    /// What comes from elsewhere.
    Other(MemberPath),
    End,
}

/// A base, and how far the walk beside it is.
struct Beside<'b> {
    listing: BaseListing<'b>,
    judge: Judge,
    /// What was found last and has not changed.
    last: Option<Found>,
    /// What the walk could not look into: what the base has in it is not deleted.
    hidden: Option<MemberPath>,
    /// Hashes of the names of files that were kept, for hard links to them.
    kept: HashSet<u64>,
}

impl Change<'_> {
    /// Returns the name of what was found, and whether it is a directory.
    pub(super) fn found(&self) -> Option<(MemberPath, bool)> {
        match self {
            Self::Unchanged(entry) => {
                Some((entry.path.clone().into_owned(), entry.kind == KindRef::Directory))
            }
            Self::Item(item) => {
                Some((item.found.path.clone(), item.header.kind == Kind::Directory))
            }
            Self::Kept(_) | Self::Deleted(_) | Self::Nothing => None,
        }
    }
}

impl<'b> Changes<'b> {
    pub(super) fn new(base: Option<BaseListing<'b>>, options: &CreateOptions) -> Self {
        let base = base.map(|listing| {
            let rules = listing.rules(options.compare);
            let judge = Judge { rules, xattrs: options.xattrs, remote: None };
            Beside { listing, judge, last: None, hidden: None, kept: HashSet::new() }
        });
        Self { base, place: Place::Start }
    }

    /// Returns what the tables of the archive say of its bases.
    pub(super) fn tables(&self) -> Vec<Base> {
        self.base.as_ref().map(|base| base.listing.tables()).unwrap_or_default()
    }

    /// Returns whether the walk goes on next.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.place, Place::Start)
    }

    /// Turns to what comes from elsewhere: what the base has before that comes next.
    pub(super) fn turn_to(&mut self, path: MemberPath) {
        self.place = Place::Other(path);
    }

    /// Passes over what the base has under the names of members that came from elsewhere, up to the
    /// last one.
    pub(super) fn replace(&mut self, supply: &Supply<'_>, last: &MemberPath) -> Result<()> {
        let Some(base) = &mut self.base else { return Ok(()) };
        while let Some(name) = base.listing.peek()? {
            let name = name.into_owned();
            if name > *last || !supply.covers(&name) {
                break;
            }
            base.listing.next_ref()?;
        }
        Ok(())
    }

    /// Returns what comes next, in listing order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::BadBase`] or [`crate::Error::Cancelled`].
    pub(super) fn next<'c>(
        &'c mut self,
        steps: &mut Steps,
        items: &'c mut Items,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Result<Option<Change<'c>>> {
        loop {
            if let Some(base) = &mut self.base
                && base.has_before(&self.place)?
            {
                break;
            }
            match std::mem::replace(&mut self.place, Place::Start) {
                Place::Found(found) => {
                    let Some(base) = &mut self.base else {
                        let item = items.next(found, report, observer).map(Box::new);
                        return Ok(Some(item.map_or(Change::Nothing, Change::Item)));
                    };
                    return base.settle(found, items, report, observer).map(Some);
                }
                Place::Missed(path) => {
                    if let Some(base) = &mut self.base {
                        base.hide(&path);
                    }
                    return Ok(Some(Change::Nothing));
                }
                Place::Other(_) => return Ok(Some(Change::Nothing)),
                Place::End => return Ok(None),
                Place::Start => {
                    self.place = match steps.step(observer)? {
                        Step::Found(found) => Place::Found(found),
                        Step::Missed(path) => Place::Missed(path),
                        Step::Nothing => return Ok(Some(Change::Nothing)),
                        Step::End => Place::End,
                    }
                }
            }
        }
        self.base.as_mut().map(Beside::pass).transpose()
    }
}

impl Beside<'_> {
    /// Returns whether the base has something before what the walk has come to.
    fn has_before(&mut self, place: &Place) -> Result<bool> {
        let path = match place {
            Place::Start => return Ok(false),
            Place::Found(found) => &found.path,
            Place::Missed(path) | Place::Other(path) => path,
            Place::End => return Ok(self.listing.peek()?.is_some()),
        };
        Ok(self.listing.peek()?.is_some_and(|name| name < *path))
    }

    /// Takes an entry of the base that the walk has not met.
    fn pass(&mut self) -> Result<Change<'_>> {
        let Some(old) = self.listing.next_ref()? else { return Ok(Change::Nothing) };
        let is_hidden = self.hidden.as_ref().is_some_and(|hidden| old.path.is_within(hidden));
        if !is_hidden {
            return Ok(Change::Deleted(old.path));
        }
        Ok(keep(old, self.judge.rules.is_classic(), &mut self.kept))
    }

    /// Notes something that cannot be looked into.
    fn hide(&mut self, path: &MemberPath) {
        if self.hidden.as_ref().is_none_or(|hidden| !path.is_within(hidden)) {
            self.hidden = Some(path.clone());
            self.kept.clear();
        }
    }

    /// Compares what was found with what the base has under that name.
    fn settle<'c>(
        &'c mut self,
        found: Found,
        items: &'c mut Items,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Result<Change<'c>> {
        if found.lost.is_some() {
            self.hide(&found.path);
        }
        let is_classic = self.judge.rules.is_classic();
        let is_there = self.listing.peek()?.is_some_and(|name| name == found.path);
        let old = if is_there { self.listing.next_ref()? } else { None };
        let (kind, fate) = match (items.meet(&found, report, observer), old.clone()) {
            (Met::Kind(kind, fate), _) => (kind, fate),
            (_, None) => return Ok(Change::Nothing),
            (Met::Unreadable, Some(old)) => return Ok(keep(old, is_classic, &mut self.kept)),
            (Met::Nothing, Some(old)) => return Ok(Change::Deleted(old.path)),
        };
        let Some(old) = old else {
            return Ok(item(items.make(found, kind), Why::New, None));
        };
        let verdict = self.judge.verdict(&found, &kind, fate, &old);
        if !matches!(kind, Kind::HardLink { .. }) {
            items.settle(&found, Fate::after(verdict));
        }
        let is_file = matches!((&old.kind, old.location), (KindRef::File { .. }, Some(_)));
        let (why, use_of) = match verdict {
            Verdict::Same if fate == Fate::Open => (Why::Links, Use::AsFirst),
            Verdict::Same => {
                let found = self.last.insert(found);
                return Ok(Change::Unchanged(items.unchanged(found, old, is_classic)));
            }
            Verdict::Open { xattr, content: true } => {
                (Why::Content, Use::Same { xattr, content: true })
            }
            Verdict::Open { xattr, content } => (Why::Xattr, Use::Same { xattr, content }),
            Verdict::Changed(why) if is_file => {
                let entry = old.above(is_classic).into_owned();
                let old = Some(Old { entry, use_of: Use::Lost });
                return Ok(item(items.make(found, kind), why, old));
            }
            Verdict::Changed(why) => return Ok(item(items.make(found, kind), why, None)),
        };
        let entry = items.unchanged(&found, old, is_classic).into_owned();
        Ok(item(items.make(found, kind), why, Some(Old { entry, use_of })))
    }
}

/// Makes an item one that is stored on a base.
fn item(mut item: Item, why: Why, old: Option<Old>) -> Change<'static> {
    (item.why, item.old) = (Some(why), old.map(Box::new));
    Change::Item(Box::new(item))
}

/// Keeps what the base knows of something that cannot be looked at.
fn keep<'e>(old: EntryRef<'e>, is_classic: bool, kept: &mut HashSet<u64>) -> Change<'e> {
    kept_entry(old, is_classic, kept).map_or(Change::Nothing, Change::Kept)
}

/// Returns what is recorded of something that the base has and that cannot be looked at; `kept` has
/// the hashes of the names of files that this was called for.
pub(crate) fn kept_entry<'e>(
    old: EntryRef<'e>,
    is_classic: bool,
    kept: &mut HashSet<u64>,
) -> Option<EntryRef<'e>> {
    let hash = |name: &MemberName<'_>| name_hash(name.as_bytes());
    let mut old = old.above(is_classic);
    old.lost = Some(Cow::Borrowed(UNREADABLE));
    match &old.kind {
        KindRef::File { .. } if old.location.is_some() => {
            kept.insert(hash(&old.path));
        }
        KindRef::File { .. } => {}
        // The name that it leads to may not be in this archive, or be something else.
        KindRef::HardLink { target } if old.location.is_none() || !kept.contains(&hash(target)) => {
            old.kind = KindRef::File { size: 0 };
            (old.location, old.packed) = (None, None);
        }
        // Of a classic base: there is nothing that could be referred to.
        _ if old.location.is_none() => return None,
        _ => {}
    }
    Some(old)
}

/// Compares things with entries of the base.
struct Judge {
    rules: Rules,
    /// Whether extended attributes are wanted.
    xattrs: bool,
    /// The file system that was asked for last, and whether it is a network's.
    remote: Option<(u64, bool)>,
}

impl Judge {
    /// Compares what was found; `fate` is that of the first name of a hard link.
    fn verdict(&mut self, found: &Found, kind: &Kind, fate: Fate, old: &EntryRef<'_>) -> Verdict {
        if found.lost.is_some() {
            return Verdict::Changed(Why::Lost);
        }
        let stat = &found.stat;
        let now = Now {
            mode: stat.st_mode & 0o7777,
            uid: u64::from(stat.st_uid),
            gid: u64::from(stat.st_gid),
            mtime: mtime(stat),
            ctime: ctime(stat),
            ino: stat.st_ino,
            ..Now::new(kind.borrowed())
        };
        let remote = &mut self.remote;
        let is_link = matches!(kind, Kind::HardLink { .. });
        match self.rules.compare(old, &now, || is_remote(found, remote)) {
            Verdict::Same if is_link && fate == Fate::Stored => Verdict::Changed(Why::Links),
            Verdict::Open { content: false, .. } if !self.xattrs => Verdict::Same,
            Verdict::Open { content, .. } if !self.xattrs => {
                Verdict::Open { xattr: false, content }
            }
            verdict => verdict,
        }
    }
}

impl Fate {
    /// Returns what becomes of a first name that was compared.
    fn after(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Same => Self::Unchanged,
            Verdict::Open { .. } => Self::Open,
            Verdict::Changed(_) => Self::Stored,
        }
    }
}

/// Returns whether something is on a file system whose clock may be another machine's.
fn is_remote(found: &Found, known: &mut Option<(u64, bool)>) -> bool {
    let device = found.stat.st_dev;
    if let Some((_, is_remote)) = known.filter(|(known, _)| *known == device) {
        return is_remote;
    }
    // What cannot be asked for may be anything.
    let is_remote = found.file_system().is_none_or(|kind| REMOTE.contains(&kind));
    *known = Some((device, is_remote));
    is_remote
}

/// Numbers of file systems (`statfs`) whose files have times of other machines: NFS, SMB (three),
/// FUSE, AFS (two), Coda, 9P, Ceph, Lustre, GPFS, OCFS2.
const REMOTE: [u32; 13] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x5346_414f,
    0x6b41_4653,
    0x7375_7245,
    0x0102_1997,
    0x00c3_6400,
    0x0bd0_0bd0,
    0x4750_4653,
    0x7461_636f,
];
