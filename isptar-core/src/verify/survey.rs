//! The first pass over the listing: is it in order, and what has to be known before members are
//! looked at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use super::links::Links;
use super::tell::Tell;
use crate::archive::Archive;
use crate::error::{Error, FormatError, Result};
use crate::format::INFO_NAME;
use crate::format::entry::{EntryRef, KindRef};
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::path::{MemberName, MemberPath, SafePath};
use crate::select::Selection;

/// What the listing says.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Entries that are meant, and the bytes of their contents.
    pub(super) members: u64,
    pub(super) bytes: u64,
    /// Which of the things asked for are there.
    pub(super) met: HashSet<usize>,
    /// Names in the root that the listing's own name must differ from.
    pub(super) reserved: BTreeSet<Vec<u8>>,
    /// Whether every block could be read.
    pub(super) is_whole: bool,
    /// Blocks that could not be read: their entries are not known.
    pub(super) lost_blocks: u64,
    known_depths: u32,
    entries: u64,
    content_size: u64,
    hashes: RandomState,
    pub(super) links: Links,
    /// The depths of the bases that members are in which are meant.
    pub(super) depths: BTreeSet<u32>,
    /// Of a listing that is not sorted, and whose names do not repeat between parts: the last entry
    /// of each name.
    last: Option<HashMap<u64, u64>>,
}

impl Survey {
    /// Reads the listing, and tells where it is wrong.
    pub(super) fn take<R: ReadAt>(
        archive: &Archive<R>,
        selection: &Selection,
        tell: &mut Tell<'_>,
    ) -> Result<Self> {
        let repeats = archive.info().parts;
        let last = (!archive.info().sorted && !repeats).then(HashMap::new);
        let known_depths = u32::try_from(archive.depths().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut survey = Self { last, is_whole: true, known_depths, ..Self::default() };
        let mut entries = archive.entries();
        while let Some(entry) = entries.next_ref() {
            tell.go_on()?;
            match entry {
                Ok(entry) => survey.add(&entry, selection, archive.limits()),
                Err(error) => return survey.take_blocks(archive, selection, &error, tell),
            }
        }
        survey.check_totals(archive, tell);
        Ok(survey)
    }

    /// Takes what is left of a damaged listing, block by block.
    fn take_blocks<R: ReadAt>(
        self,
        archive: &Archive<R>,
        selection: &Selection,
        error: &Error,
        tell: &mut Tell<'_>,
    ) -> Result<Self> {
        let last = self.last.map(|_| HashMap::new());
        let mut survey = Self { last, known_depths: self.known_depths, ..Self::default() };
        for number in 0..archive.tables().blocks.len() {
            tell.go_on()?;
            let mut entries = archive.entries_of_block(number);
            while let Some(entry) = entries.next_ref() {
                match entry {
                    Ok(entry) => survey.add(&entry, selection, archive.limits()),
                    Err(error) => {
                        tell.beyond(block_range(archive, number), &error);
                        survey.lost_blocks += 1;
                    }
                }
            }
        }
        if survey.lost_blocks == 0 {
            // Each block is good by itself: their order or the identity is not.
            let start = block_range(archive, 0).start;
            tell.beyond(start..start.saturating_add(archive.info().listing_size), error);
        }
        Ok(survey)
    }

    fn add(&mut self, entry: &EntryRef<'_>, selection: &Selection, limits: &Limits) {
        let path = clean(&entry.path, limits);
        let met = &mut self.met;
        let meant = selection.matches(&path, entry.kind == KindRef::Directory, |hit| {
            met.insert(hit);
        });
        if meant {
            self.members += 1;
            self.bytes = self.bytes.saturating_add(entry.kind.size());
            let depth = entry.location.map_or(0, |location| location.depth);
            // What the tables do not know is told with the entry.
            if depth > 0 && depth <= self.known_depths {
                self.depths.insert(depth);
            }
        }
        if entry.location.is_some() {
            self.content_size = self.content_size.saturating_add(entry.kind.size());
        }
        let name = entry.path.as_bytes();
        if name.starts_with(INFO_NAME) && !name.contains(&b'/') {
            self.reserved.insert(name.to_vec());
        }
        self.links.expect(&entry.kind, limits);
        let hash = self.last.is_some().then(|| self.hash(&path));
        if let (Some(last), Some(hash)) = (&mut self.last, hash) {
            last.insert(hash, self.entries);
        }
        self.entries += 1;
    }

    /// Checks the sum that the tables do not have; opening checked the others.
    fn check_totals<R: ReadAt>(&self, archive: &Archive<R>, tell: &mut Tell<'_>) {
        let Some(expected) = archive.info().content_size else { return };
        if expected != self.content_size {
            let kind = FormatError::mismatch("size of all contents", expected, self.content_size);
            let end = archive.size();
            let start = block_range(archive, 0).start;
            tell.beyond(start..end, &kind.at(start));
        }
    }

    fn hash(&self, path: &MemberName<'_>) -> u64 {
        self.hashes.hash_one(path.as_bytes())
    }

    /// Returns whether an entry of the same name comes later.
    pub(super) fn is_superseded(&self, index: u64, path: &MemberPath, limits: &Limits) -> bool {
        let Some(last) = &self.last else { return false };
        last.get(&self.hash(&clean(path, limits))).is_some_and(|&last| index < last)
    }
}

/// Returns the bytes of a listing block.
fn block_range<R: ReadAt>(archive: &Archive<R>, number: usize) -> Range<u64> {
    let blocks = &archive.tables().blocks;
    let before = blocks.iter().take(number).map(|block| block.packed).sum::<u64>();
    let start = archive.listing_start().saturating_add(before);
    start..start.saturating_add(blocks.get(number).map_or(0, |block| block.packed))
}

/// Returns a name as the selection knows it: clean, when it can be cleaned.
pub(super) fn clean<'a>(path: &'a MemberName<'_>, limits: &Limits) -> MemberName<'a> {
    if path.is_canonical() {
        return path.borrowed();
    }
    match SafePath::new(path, limits) {
        Ok(safe) => safe.to_member_path(),
        Err(_) => path.borrowed(),
    }
}
