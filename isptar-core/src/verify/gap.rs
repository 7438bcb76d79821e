//! What stands between members, where no entry speaks of it.

use std::ops::Range;

use super::survey::{Survey, clean};
use super::tell::Tell;
use super::walk::{See, Thing, walk};
use crate::archive::Archive;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::select::Selection;

/// Takes what stands in a range of bytes that no entry speaks of.
pub(super) struct Gap<'j, 'a> {
    pub(super) tell: &'j mut Tell<'a>,
    pub(super) selection: &'j Selection,
    pub(super) survey: &'j mut Survey,
    pub(super) limits: &'j Limits,
}

impl Gap<'_, '_> {
    /// Tells what stands in `gap`.
    pub(super) fn look<R: ReadAt>(&mut self, archive: &Archive<R>, gap: Range<u64>) -> Result<()> {
        let limits = self.limits;
        match walk(archive.source(), gap.clone(), limits, self) {
            Err(error @ (Error::Input { .. } | Error::Slice(_))) => {
                self.tell.stray(gap, &error);
                Ok(())
            }
            walked => walked,
        }
    }

    /// Takes a member whose entry may be in the damaged part of the listing.
    fn unlisted(&mut self, entry: &Entry, damage: Option<Error>) {
        let path = clean(&entry.path, self.limits);
        let met = &mut self.survey.met;
        let meant = self.selection.matches(&path, entry.kind == Kind::Directory, |hit| {
            met.insert(hit);
        });
        match damage {
            _ if !meant => {}
            Some(error) => self.tell.damaged(&entry.path, &error),
            None => {
                let bytes = &mut self.tell.report.bytes;
                *bytes = bytes.saturating_add(entry.kind.size());
                self.tell.report.by_headers += 1;
                self.tell.whole(entry);
            }
        }
    }
}

impl See for Gap<'_, '_> {
    fn go_on(&self) -> Result<()> {
        self.tell.go_on()
    }

    fn see(&mut self, range: Range<u64>, thing: Thing) {
        let entries_are_lost = self.survey.lost_blocks > 0;
        let error = match thing {
            Thing::Member(entry) if entries_are_lost => return self.unlisted(&entry, None),
            Thing::Member(entry) => Error::Unlisted { path: entry.path },
            Thing::Damage(Some(entry), kind) => {
                let path = entry.path.clone();
                let error = Error::CorruptMember { path, range: range.clone(), kind };
                if entries_are_lost {
                    return self.unlisted(&entry, Some(error));
                }
                error
            }
            Thing::Damage(None, kind) if entries_are_lost => {
                let error = kind.at(range.start);
                return self.tell.unnamed(range, &error);
            }
            Thing::Streams | Thing::Damage(None, _) => surplus(&range),
        };
        self.tell.stray(range, &error);
    }
}

pub(super) fn surplus(range: &Range<u64>) -> Error {
    let len = range.end.saturating_sub(range.start);
    FormatError::Surplus { place: "that no entry speaks of", len }.at(range.start)
}
