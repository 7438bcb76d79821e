//! What changed since a base: the walk beside the listing of the base.

use std::borrow::Cow;
use std::collections::HashSet;

use rustix::fs::FileType;

use super::extras::Supply;
use super::item::{Fate, Item, Items, Met, Old, Use};
use super::{CreateOptions, CreateReport};
use crate::base::{BaseListing, Now, Rules, Verdict, Why};
use crate::error::{FormatError, Result};
use crate::format::entry::{EntryRef, Frame, Kind, KindRef, Stored};
use crate::format::tables::Base;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::path::{MemberName, MemberPath, name_hash};
use crate::run::Run;
use crate::source::{Found, Step, Steps, ctime, mtime};

/// Reason that is recorded of what could not be looked at.
const UNREADABLE: &str = "unreadable";

/// What the walk and the base together come to next.
pub(super) enum Change<'c> {
    /// It is as the base has it.
    Unchanged(Listed<'c>),
    /// It must be stored, or read before that is known.
    Item(Box<Item>),
    /// It cannot be looked at: what the base knows is kept.
    Kept(EntryRef<'c>),
    /// The base has it, and the tree does not.
    Deleted(MemberName<'c>),
    /// Nothing that an archive could have.
    Nothing,
}

/// What is recorded of something whose bytes a base has.
#[allow(clippy::large_enum_variant, reason = "one at a time, for as long as it takes to write it")]
pub(super) enum Listed<'c> {
    /// Its entry.
    Entry(EntryRef<'c>),
    /// The line of the base, whose frame is that of what was found, and what it says of bytes.
    Line { found: &'c Found, frame: &'c Frame, line: &'c [u8], stored: Stored },
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
    /// The frame of an entry, and whether the line of the base is compared with it.
    frame: Frame,
    uses_frames: bool,
    /// What the walk could not look into: what the base has in it is not deleted.
    hidden: Option<MemberPath>,
    /// Hashes of the names of files that were kept, for hard links to them.
    kept: HashSet<u64>,
}

impl Listed<'_> {
    pub(super) fn name(&self) -> &MemberName<'_> {
        match self {
            Self::Entry(entry) => &entry.path,
            Self::Line { found, .. } => &found.path,
        }
    }

    fn is_directory(&self) -> bool {
        match self {
            Self::Entry(entry) => entry.kind == KindRef::Directory,
            Self::Line { found, .. } => found.file_type() == FileType::Directory,
        }
    }

    /// Adds it to entries without bytes.
    pub(super) fn push(&self, run: &mut Run, limits: &Limits) -> Result<(), FormatError> {
        match self {
            Self::Entry(entry) => run.push(entry, limits),
            Self::Line { found, frame, line, stored } => {
                let content = Some(found.stat.st_size).filter(|_| !self.is_directory());
                let size = content.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                run.push_line(found.path.as_bytes(), size, |text| frame.encode(stored, line, text));
                Ok(())
            }
        }
    }
}

impl Change<'_> {
    /// Returns the name of what was found, and whether it is a directory.
    pub(super) fn found(&self) -> Option<(MemberPath, bool)> {
        match self {
            Self::Unchanged(listed) => {
                Some((listed.name().clone().into_owned(), listed.is_directory()))
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
            let uses_frames = rules.entry_decides() && !options.reproducible;
            let (frame, kept) = (Frame::default(), HashSet::new());
            Beside { listing, judge, last: None, frame, uses_frames, hidden: None, kept }
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

    /// Returns what the line of the base says of bytes, if all that it says of the thing itself is so.
    /// Most lines of an increment are such, and need not be read.
    fn stored_of(&mut self, found: &Found, items: &mut Items) -> Option<Stored> {
        if !self.uses_frames || !self.judge.line_decides(found) {
            return None;
        }
        items.frame(found, &mut self.frame);
        self.listing.stored_in(&self.frame)
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
        if is_there && let Some(stored) = self.stored_of(&found, items) {
            let found = self.last.insert(found);
            let line = self.listing.take_line(&found.path)?;
            let frame = &self.frame;
            return Ok(Change::Unchanged(Listed::Line { found, frame, line, stored }));
        }
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
                let entry = items.unchanged(found, old, is_classic);
                return Ok(Change::Unchanged(Listed::Entry(entry)));
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
    /// Returns whether something has not changed if the line of the base is what its line would be:
    /// it has one name, is what it seems, and is not racy.
    fn line_decides(&mut self, found: &Found) -> bool {
        let is_plain = match found.file_type() {
            FileType::RegularFile => found.stat.st_nlink == 1,
            FileType::Directory => !found.partial && found.lost.is_none(),
            _ => false,
        };
        let remote = &mut self.remote;
        is_plain && !self.rules.is_racy(ctime(&found.stat), || is_remote(found, remote))
    }

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
