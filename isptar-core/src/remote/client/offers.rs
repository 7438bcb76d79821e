//! What the client offers ahead of what it sends.

use std::collections::VecDeque;

use super::content::digest;
use crate::create::item::{Item, Items, Met};
use crate::create::{CreateOptions, CreateReport};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::timestamp::Timestamp;
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::pack::entry_of;
use crate::path::{MemberPath, SafePath};
use crate::remote::WINDOW;
use crate::remote::known::SEVERAL;
use crate::remote::message::ServerHello;
use crate::source::{Found, Step, Tally, Walk, ctime};

/// When an offer is full: bytes of lines, directories that it keeps open.
const BATCH_BYTES: u64 = 32 << 10;
const BATCH_HANDLES: u64 = 16;

/// How many offers may be under way.
pub(super) const MOST_BATCHES: usize = 256;

/// Handles of directories that may be under way, and that all else needs.
const MOST_HANDLES: u64 = 256;
const OTHER_HANDLES: u64 = 32;

/// Walks ahead, and keeps what was offered until it is sent.
pub(super) struct Offers {
    walk: Walk,
    items: Items,
    /// What offers have beside what the walk sees.
    attributes: bool,
    digests: bool,
    window: VecDeque<Batch>,
    bytes: u64,
    handles: u64,
    most_handles: u64,
    offered: u64,
    ended: bool,
    lines: Vec<u8>,
    data: Vec<u8>,
    limits: Limits,
}

/// An offer.
#[derive(Default)]
struct Batch {
    /// What each line is of; nothing for what cannot be looked at.
    offered: Vec<Option<Item>>,
    bytes: u64,
    handles: u64,
}

impl Offers {
    pub(super) fn new(walk: Walk, options: &CreateOptions, wishes: &ServerHello) -> Self {
        let free = crate::parallel::free_handles(OTHER_HANDLES);
        Self {
            walk,
            items: Items::new(options),
            attributes: wishes.attributes,
            digests: wishes.digests,
            window: VecDeque::new(),
            bytes: 0,
            handles: 0,
            most_handles: free.clamp(BATCH_HANDLES, MOST_HANDLES),
            offered: 0,
            ended: false,
            lines: Vec::new(),
            data: Vec::new(),
            limits: Limits::default(),
        }
    }

    pub(super) fn walked(&self) -> Tally {
        self.walk.tally()
    }

    /// Returns how many entries were offered.
    pub(super) fn offered(&self) -> u64 {
        self.offered
    }

    /// Returns the lines of the next offer; `None` when there is no room for it, or nothing left.
    pub(super) fn next(
        &mut self,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Result<Option<&[u8]>> {
        if self.ended || !self.has_room() {
            return Ok(None);
        }
        self.lines.clear();
        let mut batch = Batch::default();
        while batch.bytes < BATCH_BYTES && batch.handles < BATCH_HANDLES {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match self.walk.step(observer)? {
                Step::Found(found) => self.found(found, &mut batch, report, observer),
                Step::Missed(path) => self.missed(path, &mut batch),
                Step::Nothing => {}
                Step::End => {
                    self.ended = true;
                    break;
                }
            }
        }
        if batch.offered.is_empty() {
            return Ok(None);
        }
        self.bytes += batch.bytes;
        self.handles += batch.handles;
        self.offered += batch.offered.len() as u64;
        self.window.push_back(batch);
        Ok(Some(&self.lines))
    }

    fn has_room(&self) -> bool {
        self.window.len() < MOST_BATCHES
            && self.bytes + BATCH_BYTES <= WINDOW
            && self.handles + BATCH_HANDLES <= self.most_handles
    }

    /// Gives away the oldest offer that was not sent.
    pub(super) fn take_oldest(&mut self) -> Option<Vec<Option<Item>>> {
        let batch = self.window.pop_front()?;
        self.bytes -= batch.bytes;
        self.handles -= batch.handles;
        Some(batch.offered)
    }

    fn found(
        &mut self,
        found: Found,
        batch: &mut Batch,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) {
        match self.items.meet(&found, report, observer) {
            Met::Kind(kind, _) => {
                let item = self.items.make(found, kind);
                self.add(item, batch, report, observer);
            }
            Met::Unreadable => self.missed(found.path, batch),
            Met::Nothing => {}
        }
    }

    /// Offers what cannot be looked at: a base may know of it.
    fn missed(&mut self, path: MemberPath, batch: &mut Batch) {
        let entry = Entry {
            lost: Some("unreadable".into()),
            mtime: Some(Timestamp::default()),
            ctime: Some(Timestamp::default()),
            ..Entry::new(path, Kind::File { size: 0 })
        };
        let start = self.lines.len();
        // A name that no archive can have was told as what it is.
        if push_line(&entry, &self.limits, &mut self.lines).is_ok() {
            batch.bytes += (self.lines.len() - start) as u64;
            batch.offered.push(None);
        }
    }

    fn add(
        &mut self,
        mut item: Item,
        batch: &mut Batch,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) {
        let entry = self.entry(&mut item);
        let start = self.lines.len();
        if let Err(error) = push_line(&entry, &self.limits, &mut self.lines) {
            report.unreadable += 1;
            observer.event(Event::Failed { path: &entry.path, error: &error });
            return;
        }
        batch.bytes += (self.lines.len() - start) as u64;
        batch.add(item);
    }

    /// Returns what is offered of an item.
    fn entry(&mut self, item: &mut Item) -> Entry {
        let mut entry = entry_of(&item.header, item.details);
        // The server compares them, whether or not they come into the archive.
        (entry.ctime, entry.ino) = (Some(ctime(&item.found.stat)), Some(item.found.stat.st_ino));
        if item.has_several_names() {
            entry.unknown.push((SEVERAL.to_vec(), b"1".to_vec()));
        }
        entry.lost = item.is_lost().then(|| "unreadable".into());
        let has_own = !matches!(item.header.kind, Kind::Directory | Kind::HardLink { .. });
        if self.attributes && has_own {
            entry.xattr = item.found.xattrs(None).0.fingerprint();
        }
        if self.digests && item.has_content() && item.header.kind.size() > 0 {
            entry.digest = digest(item, &mut self.data);
        }
        entry
    }
}

/// Appends the line of an entry whose name every reader takes.
fn push_line(entry: &Entry, limits: &Limits, lines: &mut Vec<u8>) -> Result<()> {
    SafePath::new(&entry.path, limits)?;
    let unstorable = |kind| Error::Unstorable { path: entry.path.clone(), kind };
    entry.encode(limits, lines).map_err(unstorable)
}

impl Batch {
    fn add(&mut self, item: Item) {
        if item.found.holds_handle() {
            // Directories let go of theirs, and may stand between files that are beside each other.
            let items = self.offered.iter().rev().flatten();
            let last = items.into_iter().find(|item| item.found.holds_handle());
            let is_new = last.is_none_or(|last| !last.found.is_beside(&item.found));
            self.handles += u64::from(is_new);
        }
        self.offered.push(Some(item));
    }
}
