//! The job on an archive of ours: the passes, and the members.

use std::ops::Range;
use std::sync::Arc;

use super::claims::Scope;
use super::survey::{Survey, clean};
use super::tell::Tell;
use super::tiles::Tiles;
use super::walk::{See, Thing, hidden, walk};
use super::{VerifyOptions, VerifyReport, claims, classic, frame};
use crate::archive::{Archive, Member, Rereads};
use crate::content::Content;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::select::Selection;

/// See [`super::verify`].
pub(super) fn verify<R: ReadAt>(
    archive: &Archive<R>,
    selection: &Selection,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    let mut tell = Tell::new(observer);
    let survey = Survey::take(archive, selection, &mut tell)?;
    tell.planned(survey.members, if options.quick { 0 } else { survey.bytes });
    let (run, previous, group) = (archive.rereads(), None, None);
    let mut job = Job { archive, selection, options, survey, tell, run, previous, group };
    if archive.is_classic() {
        classic::verify(&mut job)?;
    } else {
        job.ours()?;
    }
    let Job { mut tell, survey, .. } = job;
    // Members whose entries are lost are met by their headers, if those were looked at.
    if survey.lost_blocks == 0 || !options.quick && !archive.is_classic() {
        tell.missing(selection, &survey.met);
    }
    Ok(tell.report)
}

pub(super) struct Job<'a, R> {
    pub(super) archive: &'a Archive<R>,
    selection: &'a Selection,
    pub(super) options: &'a VerifyOptions,
    survey: Survey,
    pub(super) tell: Tell<'a>,
    run: Arc<Rereads>,
    previous: Option<Member<'a, R>>,
    group: Option<Group>,
}

/// The stream of the member before.
#[derive(Debug)]
struct Group {
    range: Range<u64>,
    /// Where in it that member ends, unless it is damaged or was not looked at.
    end: Option<usize>,
}

impl<'a, R: ReadAt> Job<'a, R> {
    fn ours(&mut self) -> Result<()> {
        let deep = !self.options.quick;
        let start = if deep { frame::check_prologue(self.archive, &mut self.tell) } else { None };
        let mut tiles = Tiles::new(start);
        self.each_entry(&mut |job, entry, good| {
            let is_here = entry.location.is_some_and(|location| location.depth == 0);
            if good && is_here {
                for gap in tiles.place(entry, &mut job.tell) {
                    job.tell_gap(gap)?;
                }
            }
            Ok(())
        })?;
        self.end_group(None);
        let end = self.archive.data_end();
        // Without members, only the prologue says where they would begin.
        for gap in tiles.finish(end) {
            self.tell_gap(gap)?;
        }
        if deep {
            frame::check_info(self.archive, &self.survey, &mut self.tell);
        }
        Ok(())
    }

    /// Goes over all entries that can be read, checks what they claim, calls `place` with each and
    /// whether its claims are good, and looks at the members that are meant.
    pub(super) fn each_entry(
        &mut self,
        place: &mut dyn FnMut(&mut Self, &Entry, bool) -> Result<()>,
    ) -> Result<()> {
        let mut index = 0;
        for number in 0..self.archive.tables().blocks.len() {
            for entry in self.archive.entries_of_block(number) {
                // What is wrong with a block was told before.
                let Ok(entry) = entry else { continue };
                self.tell.go_on()?;
                let claims = claims::check(self.scope(), &entry);
                place(self, &entry, claims.is_ok())?;
                let linked = self.check_link(&entry);
                let claims = claims.and(linked);
                self.settle(index, &entry, claims)?;
                index += 1;
            }
        }
        Ok(())
    }

    fn scope(&self) -> Scope<'a> {
        let archive = self.archive;
        Scope {
            limits: archive.limits(),
            bases: &archive.tables().bases,
            data_end: archive.data_end(),
            is_classic: archive.is_classic(),
        }
    }

    fn check_link(&mut self, entry: &Entry) -> Result<()> {
        let linked = self.survey.links.check(entry, self.archive.limits());
        // In a damaged listing, what is not there is not known.
        match linked {
            Err(kind) if self.survey.is_whole => Err(claims::corrupt(entry, kind)),
            _ => Ok(()),
        }
    }

    /// Looks at the member of an entry, when it is meant, and tells what became of it.
    fn settle(&mut self, index: u64, entry: &Entry, claims: Result<()>) -> Result<()> {
        let path = clean(&entry.path, self.archive.limits());
        if self.survey.is_superseded(index, &entry.path, self.archive.limits()) {
            self.tell.duplicate(&entry.path);
        }
        let is_dir = entry.kind == Kind::Directory;
        let meant = self.selection.matches(&path, is_dir, |_| {});
        if let Err(error) = claims {
            // A listing that lies is told whatever was asked for.
            self.tell.damaged(&entry.path, &error);
            self.pass_by(entry);
            return Ok(());
        }
        if entry.location.is_some_and(|location| location.depth > 0) {
            self.tell.report.in_bases += 1;
            return Ok(());
        }
        if entry.lost.is_some() && (entry.location.is_none() || self.options.quick) {
            self.tell.lost(entry);
            return Ok(());
        }
        if !meant || self.options.quick {
            if meant {
                self.tell.whole(entry);
            }
            self.pass_by(entry);
            return Ok(());
        }
        if entry.lost.is_some() {
            self.tell.lost(entry);
        }
        match self.member(entry) {
            Ok(()) => self.tell.whole(entry),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => self.tell.damaged(&entry.path, &error),
        }
        Ok(())
    }

    /// Reads a member: streams, headers, digest, and what is beside it.
    fn member(&mut self, entry: &Entry) -> Result<()> {
        let begins = if self.end_group(Some(entry)) {
            self.group.as_mut().and_then(|group| group.end.take())
        } else {
            self.tell.report.read += entry.packed.unwrap_or(0);
            Some(0)
        };
        let mut member = self.archive.next_member_of(&self.run, self.previous.take(), entry)?;
        let mut told = 0;
        let read = loop {
            let len = match member.next_piece() {
                Ok(Some(piece)) => piece.bytes.len() as u64,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            self.tell.progress(len);
            told += len;
            self.tell.go_on()?;
        };
        // Holes take no time.
        self.tell.progress(entry.kind.size().saturating_sub(told));
        read?;
        let checked = self.check_form(entry, &member, begins);
        self.previous = Some(member);
        checked?;
        self.tell.report.bytes = self.tell.report.bytes.saturating_add(entry.kind.size());
        Ok(())
    }

    /// Checks a member that was read against what plain tar would make of it. `begins` is where in
    /// its stream it should begin, if that is known.
    fn check_form(
        &mut self,
        entry: &Entry,
        member: &Member<'_, R>,
        begins: Option<usize>,
    ) -> Result<()> {
        let Some(form) = member.check_form()? else { return Ok(()) };
        let zoffset = entry.location.map_or(0, |location| location.zoffset);
        let zoffset = usize::try_from(zoffset).unwrap_or(usize::MAX);
        if let Some(group) = &mut self.group {
            group.end = Some(form.end);
        }
        if let Some(begins) = begins.filter(|&begins| begins < zoffset) {
            let range = entry.claimed_range();
            tell_hidden(&mut self.tell, self.archive, range, form.stream, begins..zoffset);
        }
        if let Some(begins) = begins.filter(|&begins| begins > zoffset) {
            let kind = FormatError::mismatch("offset in a group", begins, zoffset);
            return Err(claims::corrupt(entry, kind));
        }
        claims::check_metadata(member.header(), entry).map_err(|kind| claims::corrupt(entry, kind))
    }

    /// Leaves out a member: where the next one in its stream begins is not known then.
    fn pass_by(&mut self, entry: &Entry) {
        self.end_group(Some(entry));
        if let Some(group) = &mut self.group {
            group.end = None;
        }
    }

    /// Turns to the stream of the next member, and looks at what is behind the last member in the
    /// stream before. Returns whether it is the same stream.
    fn end_group(&mut self, next: Option<&Entry>) -> bool {
        let range = next.map(Entry::claimed_range);
        let in_group = next.and_then(|entry| entry.location).is_some_and(|l| l.zoffset > 0);
        if self.group.as_ref().is_some_and(|group| Some(&group.range) == range.as_ref() && in_group)
        {
            return true;
        }
        let ended = self.group.take();
        if let (Some(Group { range, end: Some(end) }), Some(member)) = (ended, &self.previous)
            && let Ok(Some(form)) = member.check_form()
            && end < form.stream.len()
        {
            let rest = end..form.stream.len();
            tell_hidden(&mut self.tell, self.archive, range, form.stream, rest);
        }
        self.group = range.map(|range| Group { range, end: None });
        false
    }

    /// Tells what stands in a range of bytes that no entry speaks of.
    fn tell_gap(&mut self, gap: Range<u64>) -> Result<()> {
        if self.options.quick && self.survey.lost_blocks > 0 {
            // The damage of the listing was told.
            return Ok(());
        }
        if self.options.quick {
            self.tell.stray(gap.clone(), &surplus(&gap));
            return Ok(());
        }
        let (source, limits) = (self.archive.source(), self.archive.limits());
        let mut gap_seen = Gap {
            tell: &mut self.tell,
            selection: self.selection,
            survey: &mut self.survey,
            limits,
        };
        let walked = walk(source, gap.clone(), limits, &mut gap_seen);
        match walked {
            Err(error @ Error::Input { .. }) => {
                self.tell.stray(gap, &error);
                Ok(())
            }
            walked => walked,
        }
    }
}

/// Takes what stands in a range of bytes that no entry speaks of.
struct Gap<'j, 'a> {
    tell: &'j mut Tell<'a>,
    selection: &'j Selection,
    survey: &'j mut Survey,
    limits: &'j Limits,
}

impl Gap<'_, '_> {
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

fn surplus(range: &Range<u64>) -> Error {
    let len = range.end.saturating_sub(range.start);
    FormatError::Surplus { place: "that no entry speaks of", len }.at(range.start)
}

/// Tells of what a stream holds beside the members that its entries speak of: plain tar restores it,
/// or stops there.
fn tell_hidden<R: ReadAt>(
    tell: &mut Tell<'_>,
    archive: &Archive<R>,
    range: Range<u64>,
    stream: &[u8],
    part: Range<usize>,
) {
    let named = hidden(stream, part.clone(), archive.limits());
    for error in &named {
        tell.stray(range.clone(), error);
    }
    if named.is_empty() {
        let len = part.len() as u64;
        let place = "beside the members that its entries speak of, in the stream";
        tell.stray(range.clone(), &FormatError::Surplus { place, len }.at(range.start));
    }
}
