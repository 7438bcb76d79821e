//! What the base has of things that the client cannot look at: it is kept.
//!
//! As much as a whole tree may have to wait for one member that comes before it. So what waits is
//! only which entries of the base they are; they are read when they are recorded.

use std::collections::HashSet;

use crate::base::BaseListing;
use crate::create::changes::kept_entry;
use crate::error::Result;
use crate::format::entry::Entry;

/// Entries of the base that stand behind each other, in one thing that the client cannot look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// How many entries of the base stand before the first one.
    pub(super) start: u64,
    /// How many there are.
    pub(super) count: u64,
    /// The number of that thing.
    pub(super) thing: u64,
}

impl Kept {
    /// Takes in what stands right behind, and returns whether it does.
    pub(super) fn extend(&mut self, next: Self) -> bool {
        let follows = self.thing == next.thing && self.start + self.count == next.start;
        if follows {
            self.count += next.count;
        }
        follows
    }
}

/// Reads what is kept, in order, from the listing of the base once more.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// How many entries were read, and the number of the thing that the last one was in.
    read: u64,
    thing: u64,
    /// Hashes of the names of files that were kept there, for hard links to them.
    files: HashSet<u64>,
}

impl Keeper {
    /// Gives out entries to be recorded, one by one.
    pub(super) fn read(
        &mut self,
        base: &mut BaseListing<'_>,
        is_classic: bool,
        kept: Kept,
        record: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        if self.thing != kept.thing {
            self.thing = kept.thing;
            self.files.clear();
        }
        while self.read < kept.start + kept.count {
            let old = base.next_again()?;
            self.read += 1;
            if self.read <= kept.start {
                continue;
            }
            if let Some(entry) = kept_entry(old, is_classic, &mut self.files) {
                record(entry.into_owned())?;
            }
        }
        Ok(())
    }
}
