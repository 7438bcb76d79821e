//! What the server has already: the listing of its base, beside what is offered.

use std::borrow::Cow;
use std::collections::HashSet;

use super::kept::{Keeper, Kept};
use crate::base::{BaseListing, Now, Rules, Verdict};
use crate::create::CreateOptions;
use crate::error::Result;
use crate::format::entry::{Entry, EntryRef, Kind, KindRef};
use crate::format::tables::Base;
use crate::path::{MemberPath, name_hash};

/// Key that a client adds to the lines of files with several names. It is in no archive.
pub(super) const SEVERAL: &[u8] = b"several";

/// What the server makes of an offer.
pub(super) enum Decision {
    /// It is wanted; what the base has of the file counts if it does not come.
    Want(Option<Box<Entry>>),
    /// The base has it.
    Have(Box<Entry>),
    /// The client cannot look at it, and what the base has is kept.
    Keep(Kept),
    /// There is nothing to record.
    Nothing,
}

/// Goes through the listing of a base beside the offers; without a base all is wanted.
pub(super) struct Known<'b> {
    base: Option<Beside<'b>>,
    /// Entries of the base that the tree does not have any more.
    pub(super) deleted: u64,
}

struct Beside<'b> {
    listing: BaseListing<'b>,
    rules: Rules,
    xattrs: bool,
    reproducible: bool,
    /// Whether offers have fingerprints, and digests.
    attributes: bool,
    digests: bool,
    /// What the client could not look into: what the base has in it is not deleted.
    hidden: Option<MemberPath>,
    /// How many such things there were.
    things: u64,
    /// How many entries of the base were passed.
    passed: u64,
    keeper: Keeper,
    /// Hashes of the names of files with several names that are stored again, for hard links to
    /// them.
    stored: HashSet<u64>,
}

impl<'b> Known<'b> {
    pub(super) fn new(base: Option<BaseListing<'b>>, options: &CreateOptions) -> Self {
        let base = base.map(|listing| {
            let is_undated = listing.created().is_none();
            Beside {
                rules: listing.rules(options.compare),
                xattrs: options.xattrs,
                reproducible: options.reproducible,
                attributes: options.compare.ignore_ctime || is_undated,
                digests: options.compare.checksum || is_undated,
                listing,
                hidden: None,
                things: 0,
                passed: 0,
                keeper: Keeper::default(),
                stored: HashSet::new(),
            }
        });
        Self { base, deleted: 0 }
    }

    /// Returns whether offers shall have the fingerprints of attributes, and digests.
    pub(super) fn wishes(&self) -> (bool, bool) {
        self.base.as_ref().map_or((false, false), |base| (base.attributes, base.digests))
    }

    /// Returns what the tables of the archive say of its bases.
    pub(super) fn tables(&self) -> Vec<Base> {
        self.base.as_ref().map(|base| base.listing.tables()).unwrap_or_default()
    }

    /// Goes to the end of the base, or to an offer; what must be recorded of the base before that goes to
    /// `keep`.
    pub(super) fn pass(
        &mut self,
        until: Option<&MemberPath>,
        keep: &mut dyn FnMut(Kept),
    ) -> Result<()> {
        let Some(base) = &mut self.base else { return Ok(()) };
        loop {
            let next = base.listing.peek()?;
            if next.is_none_or(|name| until.is_some_and(|until| name >= *until)) {
                return Ok(());
            }
            let kept = base.next_kept();
            let Some(old) = base.listing.next_ref()? else { return Ok(()) };
            base.passed += 1;
            if base.hidden.as_ref().is_some_and(|hidden| old.path.is_within(hidden)) {
                keep(kept);
            } else {
                self.deleted += 1;
            }
        }
    }

    /// Reads what is kept of the base, to be called in order.
    pub(super) fn read(
        &mut self,
        kept: Kept,
        record: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        let Some(Beside { keeper, listing, rules, .. }) = &mut self.base else { return Ok(()) };
        keeper.read(listing, rules.is_classic(), kept, record)
    }

    /// Compares an offer with what the base has under its name; [`Self::pass`] must have come to it.
    pub(super) fn decide(&mut self, mut offer: Entry) -> Result<Decision> {
        let is_missed = offer.lost.is_some() && offer.kind != Kind::Directory;
        let Some(base) = &mut self.base else {
            return Ok(if is_missed { Decision::Nothing } else { Decision::Want(None) });
        };
        let several = offer.unknown.iter().any(|(key, _)| key == SEVERAL);
        offer.unknown.clear();
        base.decide(&offer, is_missed, several)
    }
}

impl Beside<'_> {
    /// Returns the next entry as one that is kept.
    fn next_kept(&self) -> Kept {
        Kept { start: self.passed, count: 1, thing: self.things }
    }

    fn decide(&mut self, offer: &Entry, is_missed: bool, several: bool) -> Result<Decision> {
        if offer.lost.is_some() {
            self.hide(&offer.path);
        }
        let hash = name_hash(offer.path.as_bytes());
        let is_classic = self.rules.is_classic();
        let is_there = self.listing.peek()?.is_some_and(|name| name == offer.path);
        let kept = self.next_kept();
        let old = if is_there { self.listing.next_ref()? } else { None };
        let Some(old) = old else {
            if several {
                self.stored.insert(hash);
            }
            return Ok(if is_missed { Decision::Nothing } else { Decision::Want(None) });
        };
        self.passed += 1;
        if is_missed {
            return Ok(Decision::Keep(kept));
        }
        let follows_stored = match &offer.kind {
            Kind::HardLink { target } => self.stored.contains(&name_hash(target.as_bytes())),
            _ => false,
        };
        let wishes = (self.attributes || offer.kind == Kind::Directory, self.digests);
        let is_same = !follows_stored
            && offer.lost.is_none()
            && is_same(&self.rules, &old, offer, wishes, self.xattrs);
        if is_same {
            let reproducible = self.reproducible;
            return Ok(Decision::Have(Box::new(today(old.above(is_classic), offer, reproducible))));
        }
        if several {
            self.stored.insert(hash);
        }
        let is_file = matches!((&old.kind, old.location), (KindRef::File { .. }, Some(_)));
        let old = is_file.then(|| Box::new(old.above(is_classic).into_owned()));
        Ok(Decision::Want(old))
    }

    /// Notes something that the client cannot look into.
    fn hide(&mut self, path: &MemberPath) {
        if self.hidden.as_ref().is_none_or(|hidden| !path.is_within(hidden)) {
            self.hidden = Some(path.clone());
            self.things += 1;
        }
    }
}

/// Returns whether an offer is what the base has; `attributes` and `digests` say whether the offer
/// has them.
fn is_same(
    rules: &Rules,
    old: &EntryRef<'_>,
    offer: &Entry,
    (attributes, digests): (bool, bool),
    xattrs: bool,
) -> bool {
    let (Some(mtime), Some(ctime), Some(ino)) = (offer.mtime, offer.ctime, offer.ino) else {
        return false;
    };
    let now = Now {
        mode: offer.mode,
        uid: offer.uid,
        gid: offer.gid,
        mtime,
        ctime,
        ino,
        ..Now::new(offer.kind.borrowed())
    };
    // Whose clock gave the times of the client's files is not known here.
    match rules.compare(old, &now, || true) {
        Verdict::Same => true,
        Verdict::Changed(_) => false,
        Verdict::Open { xattr, content } => {
            let same_xattrs = !xattr || !xattrs || attributes && offer.xattr == old.xattr;
            let same_content =
                !content || digests && offer.digest.is_some() && offer.digest == old.digest;
            same_xattrs && same_content
        }
    }
}

/// Returns an entry of the base with the metadata of today.
fn today(mut old: EntryRef<'_>, offer: &Entry, reproducible: bool) -> Entry {
    old.user = Cow::Owned(offer.user.clone());
    old.group = Cow::Owned(offer.group.clone());
    old.mtime = offer.mtime;
    old.ctime = offer.ctime.filter(|_| !reproducible);
    old.ino = offer.ino.filter(|_| !reproducible);
    old.partial = offer.partial;
    old.into_owned()
}
