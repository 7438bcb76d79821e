//! Whether the members fill the space between the prologue and `.backup.info`, each byte once.

use std::ops::Range;

use super::tell::Tell;
use crate::error::{Error, FormatError};
use crate::format::entry::Entry;

/// Most gaps that are remembered, in case that a later entry fills them.
const GAPS: usize = 4096;

/// Where members were, in the order of the listing.
#[derive(Debug)]
pub(super) struct Tiles {
    /// Where the next member should begin; unknown before the first.
    next: Option<u64>,
    /// Where the streams of the member before are.
    last: Range<u64>,
    gaps: Vec<Range<u64>>,
}

impl Tiles {
    /// Begins at `start`, or with the first member.
    pub(super) fn new(start: Option<u64>) -> Self {
        Self { next: start, last: 0..0, gaps: Vec::new() }
    }

    /// Places the member of an entry, whose range is within the archive. Returns gaps that are too
    /// many to be remembered.
    pub(super) fn place(&mut self, entry: &Entry, tell: &mut Tell<'_>) -> Vec<Range<u64>> {
        let range = entry.claimed_range();
        let zoffset = entry.location.map_or(0, |location| location.zoffset);
        if zoffset > 0 && range == self.last {
            return Vec::new();
        }
        self.last = range.clone();
        let next = self.next.unwrap_or(range.start);
        if range.start >= next {
            if range.start > next {
                self.gaps.push(next..range.start);
            }
            self.next = Some(range.end);
        } else {
            self.place_back(entry, range, next, tell);
        }
        if self.gaps.len() > GAPS { std::mem::take(&mut self.gaps) } else { Vec::new() }
    }

    /// Places a member that is not behind the one before it.
    fn place_back(&mut self, entry: &Entry, range: Range<u64>, next: u64, tell: &mut Tell<'_>) {
        let within = |gap: &Range<u64>| gap.start <= range.start && range.end <= gap.end;
        let what = "offset of the member";
        let expected = format!("{next} or more");
        let kind = FormatError::mismatch(what, expected, range.start);
        let path = entry.path.clone();
        let error = Error::CorruptMember { path, range: range.clone(), kind };
        let Some(at) = self.gaps.iter().position(within) else {
            tell.stray(range.start..range.end.min(next), &error);
            self.next = Some(next.max(range.end));
            return;
        };
        tell.stray(range.clone(), &error);
        let gap = self.gaps.swap_remove(at);
        let rest = [gap.start..range.start, range.end..gap.end];
        self.gaps.extend(rest.into_iter().filter(|gap| !gap.is_empty()));
    }

    /// Ends at `end`, and returns the gaps in order.
    pub(super) fn finish(mut self, end: u64) -> Vec<Range<u64>> {
        let next = self.next.unwrap_or(end);
        if next < end {
            self.gaps.push(next..end);
        }
        self.gaps.sort_by_key(|gap| gap.start);
        self.gaps
    }
}
