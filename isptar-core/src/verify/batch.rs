//! Looking at members that follow each other: what a worker does, for itself alone.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::VerifyOptions;
use super::claims::{self, Scope};
use super::survey::clean;
use super::walk::hidden;
use crate::archive::{Archive, Member, Rereads};
use crate::content::Content;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::ReadAt;
use crate::select::Selection;

/// What all workers look at, and by which rules.
#[derive(Debug)]
pub(super) struct Ground<'a, R> {
    pub(super) archive: &'a Archive<R>,
    pub(super) selection: &'a Selection,
    pub(super) options: &'a VerifyOptions,
    /// The depths of bases that are not there.
    pub(super) missing: &'a HashSet<u32>,
}

impl<R> Clone for Ground<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Ground<'_, R> {}

/// Entries that follow each other. Those of one group are in one batch; of a group that is far too
/// large, the next batch has the last entry before it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// The entry before, when the first one is in its stream.
    pub(super) lead: Option<Entry>,
    /// Whether the group of the last one goes on in the next batch.
    pub(super) goes_on: bool,
    /// Where its streams end.
    pub(super) end: u64,
}

/// Bytes that something is wrong with, beside members.
pub(super) type Stray = (Range<u64>, Error);

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It lies: its member is left out.
    Blamed,
    /// Its member is in a base that is not looked at.
    InBase,
    /// There is no member.
    Lost,
    /// Its member is left out.
    PassedBy,
    /// Its member is read.
    Read,
}

/// What was seen of an entry.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What was met before the member, and behind the one before it.
    pub(super) strays: Vec<Stray>,
    /// What its claims are worth.
    pub(super) claims: Option<Box<Error>>,
    /// Whether it was asked for.
    pub(super) meant: bool,
    /// Bytes of the archive that were read for it, and of content that were told of.
    pub(super) read: u64,
    pub(super) progress: u64,
    /// What is wrong with the member.
    pub(super) damage: Option<Box<Error>>,
}

/// What became of a batch.
pub(super) struct Looked {
    pub(super) entries: Vec<(Entry, Seen)>,
    /// What was met behind the last member.
    pub(super) strays: Vec<Stray>,
    /// How much was decoded.
    pub(super) run: Arc<Rereads>,
}

impl Batch {
    /// Makes a batch of one entry, which ends the streams so far at `end`.
    pub(super) fn of(entry: Entry, end: u64) -> Self {
        Self { entries: vec![entry], end, ..Self::default() }
    }

    /// Returns the last entry whose member is in the archive itself: its group may go on.
    pub(super) fn last_here(&self) -> Option<Entry> {
        let mut here = self.entries.iter().rev().chain(&self.lead).filter(|entry| is_here(entry));
        here.next().filter(|entry| entry.chunks.is_none()).cloned()
    }
}

fn is_here(entry: &Entry) -> bool {
    entry.depth() == 0 && entry.location.is_some()
}

impl<R: ReadAt> Ground<'_, R> {
    /// Returns whether the member of an entry is in a base where it is looked for.
    pub(super) fn reads_base(&self, entry: &Entry) -> bool {
        let depth = entry.depth();
        depth > 0
            && !self.options.quick
            && !self.missing.contains(&depth)
            && self.archive.has_streams(entry)
    }

    /// Judges an entry by itself.
    pub(super) fn judge(&self, entry: &Entry) -> Seen {
        let archive = self.archive;
        let limits = archive.limits();
        let scope = Scope {
            limits,
            bases: &archive.tables().bases,
            data_end: self.data_end(entry),
            is_classic: archive.is_classic(),
        };
        let path = clean(&entry.path, limits);
        let meant = self.selection.matches(&path, entry.kind == Kind::Directory, |_| {});
        let claims = claims::check(scope, entry).err().map(Box::new);
        Seen { claims, meant, ..Seen::default() }
    }

    /// Returns where members end in the archive that an entry's member is in, if that is looked at.
    fn data_end(&self, entry: &Entry) -> Option<u64> {
        match entry.depth() {
            0 => Some(self.archive.data_end()),
            depth if self.options.quick || self.missing.contains(&depth) => None,
            depth => self.archive.at_depth(depth).ok().map(Archive::data_end),
        }
    }

    /// Decides what is done with an entry.
    pub(super) fn fate(&self, entry: &Entry, seen: &Seen) -> Fate {
        let quick = self.options.quick;
        if seen.claims.is_some() {
            Fate::Blamed
        } else if entry.depth() > 0 && (quick || self.missing.contains(&entry.depth())) {
            Fate::InBase
        } else if entry.lost.is_some() && (entry.location.is_none() || quick) {
            Fate::Lost
        } else if !seen.meant || quick {
            Fate::PassedBy
        } else {
            Fate::Read
        }
    }
}

/// Looks at batches; one a thread.
pub(super) struct Looker<'a, R> {
    ground: Ground<'a, R>,
    previous: Option<Member<'a, R>>,
    /// The member before of those in bases.
    in_base: Option<Member<'a, R>>,
    group: Option<Group>,
}

/// The stream of the member before.
#[derive(Debug)]
struct Group {
    range: Range<u64>,
    /// Where in it that member ends, unless it is damaged or was not looked at.
    end: Option<usize>,
}

impl<'a, R: ReadAt> Looker<'a, R> {
    pub(super) fn new(ground: Ground<'a, R>) -> Self {
        Self { ground, previous: None, in_base: None, group: None }
    }

    /// Looks at the members of a batch, and asks `go_on` now and then. What is decoded is counted
    /// in `run`.
    ///
    /// # Errors
    ///
    /// Those of `go_on`.
    pub(super) fn look(
        &mut self,
        batch: Batch,
        run: Arc<Rereads>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Looked> {
        self.group = None;
        if let Some(member) = &mut self.in_base {
            member.forget_stream();
        }
        let goes_by = batch.goes_on && !batch.entries.iter().any(is_here);
        if let Some(lead) = batch.lead.as_ref().filter(|_| !goes_by) {
            let mut seen = self.ground.judge(lead);
            self.see(lead, &mut seen, &run, batch.end, go_on)?;
        }
        let mut entries = Vec::with_capacity(batch.entries.len());
        for entry in batch.entries {
            let mut seen = self.ground.judge(&entry);
            self.see(&entry, &mut seen, &run, batch.end, go_on)?;
            entries.push((entry, seen));
        }
        let mut strays = Vec::new();
        if !batch.goes_on {
            self.end_group(None, &mut strays);
        }
        Ok(Looked { entries, strays, run })
    }

    fn see(
        &mut self,
        entry: &Entry,
        seen: &mut Seen,
        run: &Arc<Rereads>,
        end: u64,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        match self.ground.fate(entry, seen) {
            Fate::InBase | Fate::Lost => return Ok(()),
            Fate::Blamed | Fate::PassedBy if entry.depth() > 0 => return Ok(()),
            Fate::Blamed | Fate::PassedBy => {
                self.pass_by(entry, seen);
                return Ok(());
            }
            Fate::Read => {}
        }
        let read = match entry.depth() {
            0 => self.member(entry, seen, run, end, go_on),
            _ => self.member_in_base(entry, seen, run, go_on),
        };
        match read {
            Err(Error::Cancelled) => Err(Error::Cancelled),
            read => {
                seen.damage = read.err().map(Box::new);
                Ok(())
            }
        }
    }

    /// Reads a member: streams, headers, digest, and what is beside it.
    fn member(
        &mut self,
        entry: &Entry,
        seen: &mut Seen,
        run: &Arc<Rereads>,
        end: u64,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let begins = if self.end_group(Some(entry), &mut seen.strays) {
            self.group.as_mut().and_then(|group| group.end.take())
        } else {
            seen.read = entry.packed.unwrap_or(0);
            Some(0)
        };
        let archive = self.ground.archive;
        let mut member = archive.member_of_batch(run, self.previous.take(), entry, end)?;
        // Holes take no time.
        seen.progress = entry.kind.size();
        while member.next_piece()?.is_some() {
            go_on()?;
        }
        let checked = self.check_form(entry, &member, begins, seen);
        self.previous = Some(member);
        checked
    }

    /// Reads a member in a base. What else is in its streams is the business of that base.
    fn member_in_base(
        &mut self,
        entry: &Entry,
        seen: &mut Seen,
        run: &Arc<Rereads>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let archive = self.ground.archive;
        let mut member = archive.member_of_batch(run, self.in_base.take(), entry, 0)?;
        seen.read = entry.packed.unwrap_or(0);
        seen.progress = entry.kind.size();
        while member.next_piece()?.is_some() {
            go_on()?;
        }
        member.check_form()?;
        let checked = claims::check_metadata(member.header(), entry);
        self.in_base = Some(member);
        let placed = |kind| archive.placed(entry.depth(), claims::corrupt(entry, kind));
        checked.map_err(placed)
    }

    /// Checks a member that was read against what plain tar would make of it. `begins` is where in
    /// its stream it should begin, if that is known.
    fn check_form(
        &mut self,
        entry: &Entry,
        member: &Member<'_, R>,
        begins: Option<usize>,
        seen: &mut Seen,
    ) -> Result<()> {
        let Some(form) = member.check_form()? else { return Ok(()) };
        let zoffset = entry.location.map_or(0, |location| location.zoffset);
        let zoffset = usize::try_from(zoffset).unwrap_or(usize::MAX);
        if let Some(group) = &mut self.group {
            group.end = Some(form.end);
        }
        if let Some(begins) = begins.filter(|&begins| begins < zoffset) {
            let range = entry.claimed_range();
            self.tell_hidden(range, form.stream, begins..zoffset, &mut seen.strays);
        }
        if let Some(begins) = begins.filter(|&begins| begins > zoffset) {
            let kind = FormatError::mismatch("offset in a group", begins, zoffset);
            return Err(claims::corrupt(entry, kind));
        }
        claims::check_metadata(member.header(), entry).map_err(|kind| claims::corrupt(entry, kind))
    }

    /// Leaves out a member: where the next one in its stream begins is not known then.
    fn pass_by(&mut self, entry: &Entry, seen: &mut Seen) {
        self.end_group(Some(entry), &mut seen.strays);
        if let Some(group) = &mut self.group {
            group.end = None;
        }
    }

    /// Turns to the stream of the next member, and looks at what is behind the last member in the
    /// stream before. Returns whether it is the same stream.
    fn end_group(&mut self, next: Option<&Entry>, strays: &mut Vec<Stray>) -> bool {
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
            self.tell_hidden(range, form.stream, rest, strays);
        }
        self.group = range.map(|range| Group { range, end: None });
        false
    }

    /// Tells of what a stream holds beside the members that its entries speak of: plain tar
    /// restores it, or stops there.
    fn tell_hidden(
        &self,
        range: Range<u64>,
        stream: &[u8],
        part: Range<usize>,
        strays: &mut Vec<Stray>,
    ) {
        let named = hidden(stream, part.clone(), self.ground.archive.limits());
        if named.is_empty() {
            let len = part.len() as u64;
            let place = "beside the members that its entries speak of, in the stream";
            let error = FormatError::Surplus { place, len }.at(range.start);
            strays.push((range.clone(), error));
        }
        strays.extend(named.into_iter().map(|error| (range.clone(), error)));
    }
}
