//! The job: the passes over the listing, the members in batches, and telling all of it in order.

use std::collections::HashSet;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use super::batch::{Batch, Fate, Ground, Looked, Looker, Seen};
use super::big::ChunkJob;
use super::claims;
use super::gap::{Gap, surplus};
use super::survey::Survey;
use super::tell::Tell;
use super::tiles::Tiles;
use super::{VerifyOptions, VerifyReport, classic, frame, slices};
use crate::archive::{Archive, ChunkReader, Front, Rereads};
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::io::ReadAt;
use crate::observe::Observer;
use crate::parallel::{self, Lane, in_order};
use crate::select::Selection;

/// Most entries in a batch, and most bytes of archive and contents that are read for it.
const BATCH: usize = 512;
const BATCH_BYTES: u64 = 2 << 20;

/// Most entries of one group in a batch.
const GROUP: usize = 8 * BATCH;

/// Content from which on the chunks of a file are work of their own; a file of no chunks that is as
/// large is read where it is asked now and then whether to go on.
const BIG: u64 = 16 << 20;

/// Memory of an entry beside its name.
const ENTRY: usize = 640;

/// Work for another thread.
pub(super) enum Work {
    Batch(Box<Batch>, Arc<Rereads>),
    Chunk(ChunkJob),
}

/// What became of it.
pub(super) enum Done {
    Batch(Result<Looked>),
    Chunk(ChunkJob),
}

pub(super) type VerifyLane<'l> = Lane<'l, Work, Done>;

/// See [`super::verify`].
pub(super) fn verify<R: ReadAt>(
    archive: &Archive<R>,
    selection: &Selection,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    let mut tell = Tell::new(observer);
    slices::check(archive, !options.quick && selection.is_everything(), &mut tell)?;
    let survey = Survey::take(archive, selection, &mut tell)?;
    // The members of a listing alone are elsewhere.
    let quick = options.quick || archive.is_listing();
    let options = &VerifyOptions { quick, ..*options };
    tell.report.quick = quick;
    let missing =
        if options.quick { HashSet::new() } else { missing_bases(&survey, archive, &mut tell)? };
    tell.planned(survey.members, if options.quick { 0 } else { survey.bytes });
    let ground = Ground { archive, selection, options, missing: &missing };
    let threads =
        if options.quick { NonZero::<usize>::MIN } else { parallel::threads(options.threads) };
    let state = || (Looker::new(ground), ChunkReader::strict(archive));
    let work = |(looker, chunks): &mut (Looker<'_, R>, ChunkReader<'_, R>), work| match work {
        Work::Batch(batch, run) => Done::Batch(looker.look(*batch, run, &|| Ok(()))),
        Work::Chunk(chunk) => Done::Chunk(chunk.read(chunks)),
    };
    in_order(threads, state, work, |lane| {
        let mut job = Job::new(ground, survey, tell, threads.get());
        if archive.is_classic() {
            classic::verify(&mut job, lane)?;
        } else {
            job.ours(lane)?;
        }
        let Job { mut tell, survey, .. } = job;
        // Members whose entries are lost are met by their headers, if those were looked at.
        if survey.lost_blocks == 0 || !options.quick && !archive.is_classic() {
            tell.missing(selection, &survey.met);
        }
        Ok(tell.report)
    })
}

/// Looks for the bases that members are in, and tells which are not there.
fn missing_bases<R: ReadAt>(
    survey: &Survey,
    archive: &Archive<R>,
    tell: &mut Tell<'_>,
) -> Result<HashSet<u32>> {
    let mut missing = HashSet::new();
    for &depth in &survey.depths {
        tell.go_on()?;
        if let Err(error @ Error::NoBase { .. }) = archive.at_depth(depth) {
            tell.no_base(&error);
            missing.insert(depth);
        }
    }
    Ok(missing)
}

/// What must be done in the order of the listing.
pub(super) struct Job<'a, R> {
    pub(super) ground: Ground<'a, R>,
    pub(super) survey: Survey,
    pub(super) tell: Tell<'a>,
    pub(super) run: Arc<Rereads>,
    /// Looks at what cannot be looked at beside other things.
    own: Looker<'a, R>,
    /// Work under way at most.
    pub(super) most: usize,
    /// The batch that is being filled, its bytes and its memory.
    batch: Batch,
    bytes: u64,
    memory: usize,
    /// Whether its streams are before others that were read.
    is_back: bool,
    /// The streams of the last entries that have some, and where the furthest ones end.
    front: Front,
    /// Entries that were told.
    index: u64,
    tiles: Option<Tiles>,
}

impl<'a, R: ReadAt> Job<'a, R> {
    fn new(ground: Ground<'a, R>, survey: Survey, tell: Tell<'a>, threads: usize) -> Self {
        Self {
            ground,
            survey,
            tell,
            run: ground.archive.rereads(),
            own: Looker::new(ground),
            most: 4 * threads,
            batch: Batch::default(),
            bytes: 0,
            memory: 0,
            is_back: false,
            front: Front::new(ground.archive.depths()),
            index: 0,
            tiles: None,
        }
    }

    fn ours(&mut self, lane: &mut VerifyLane<'_>) -> Result<()> {
        let archive = self.ground.archive;
        let deep = !self.ground.options.quick;
        let has_frame = deep || archive.is_listing();
        let start = if deep { frame::check_prologue(archive, &mut self.tell) } else { None };
        self.tiles = Some(Tiles::new(start));
        self.each_entry(lane, &mut |_| {})?;
        // Without members, only the prologue says where they would begin.
        for gap in
            self.tiles.take().map(|tiles| tiles.finish(archive.data_end())).into_iter().flatten()
        {
            self.tell_gap(gap)?;
        }
        if has_frame {
            frame::check_info(archive, &self.survey, &mut self.tell);
        }
        Ok(())
    }

    /// Goes over all entries that can be read, hands `meet` each, and looks at them and at the
    /// members that are meant.
    pub(super) fn each_entry(
        &mut self,
        lane: &mut VerifyLane<'_>,
        meet: &mut dyn FnMut(&Entry),
    ) -> Result<()> {
        let archive = self.ground.archive;
        for number in 0..archive.tables().blocks.len() {
            for entry in archive.entries_of_block(number) {
                // What is wrong with a block was told before.
                let Ok(entry) = entry else { continue };
                self.tell.go_on()?;
                meet(&entry);
                self.take(lane, entry)?;
            }
        }
        self.hand_out(lane, None)?;
        self.drain(lane)
    }

    /// Takes the next entry into the batch, or hands that out before.
    fn take(&mut self, lane: &mut VerifyLane<'_>, entry: Entry) -> Result<()> {
        let is_here = entry.depth() == 0 && entry.location.is_some();
        let has_streams = is_here || self.ground.reads_base(&entry);
        let beside = has_streams && self.front.is_beside(&entry);
        if is_here && beside {
            if self.batch.entries.len() >= GROUP {
                let lead = self.batch.last_here();
                self.hand_out(lane, lead)?;
            }
        } else {
            let is_back = has_streams && !beside && self.front.is_back(&entry);
            // A group may go on behind entries whose members are elsewhere.
            let lead = |batch: &Batch| if is_here { None } else { batch.last_here() };
            let is_full = self.bytes >= BATCH_BYTES || self.batch.entries.len() >= BATCH;
            if is_full || self.is_back || is_back {
                self.hand_out(lane, lead(&self.batch))?;
            }
            self.is_back = is_back;
            if !is_back && entry.kind.size() >= BIG && self.is_read(&entry) {
                self.hand_out(lane, lead(&self.batch))?;
                self.note(has_streams, &entry);
                if entry.chunks.is_some() {
                    return self.big(lane, &entry);
                }
                return self.look_here(lane, Batch::of(entry, self.front.end()));
            }
        }
        if has_streams && !beside {
            let len = entry.packed.unwrap_or(0).saturating_add(entry.kind.size().min(BIG));
            self.bytes = self.bytes.saturating_add(len);
        }
        if is_here {
            self.batch.end = self.batch.end.max(entry.claimed_range().end);
        }
        self.note(has_streams, &entry);
        self.memory += ENTRY + entry.path.as_bytes().len();
        self.batch.entries.push(entry);
        Ok(())
    }

    fn note(&mut self, has_streams: bool, entry: &Entry) {
        if has_streams {
            // A claim beyond the members is refused, so nothing is read there.
            if self.ground.archive.has_streams(entry) {
                self.front.note_end(entry);
            }
            self.front.note_streams(entry);
        }
    }

    fn is_read(&self, entry: &Entry) -> bool {
        let seen = self.ground.judge(entry);
        self.ground.fate(entry, &seen) == Fate::Read
    }

    /// Gives the batch to whoever has time; `lead` is the last entry of a group that goes on.
    fn hand_out(&mut self, lane: &mut VerifyLane<'_>, lead: Option<Entry>) -> Result<()> {
        let next = Batch { lead: lead.clone(), ..Batch::default() };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.goes_on = lead.is_some();
        if lead.is_some() {
            self.batch.end = batch.end;
        }
        let weight = std::mem::take(&mut self.memory) as u64;
        self.bytes = 0;
        if batch.entries.is_empty() {
            return Ok(());
        }
        if self.is_back {
            // How much may be decoded again depends on all that was decoded before.
            return self.look_here(lane, batch);
        }
        while lane.is_full() || lane.len() >= self.most {
            self.pop(lane)?;
        }
        lane.push(Work::Batch(Box::new(batch), self.ground.archive.rereads()), weight);
        Ok(())
    }

    /// Looks at a batch when all before it is done.
    fn look_here(&mut self, lane: &mut VerifyLane<'_>, batch: Batch) -> Result<()> {
        self.drain(lane)?;
        let (tell, run) = (&self.tell, Arc::clone(&self.run));
        let looked = self.own.look(batch, run, &|| tell.go_on())?;
        self.tell_batch(looked)
    }

    /// Waits for all that is under way.
    pub(super) fn drain(&mut self, lane: &mut VerifyLane<'_>) -> Result<()> {
        while lane.len() > 0 {
            self.pop(lane)?;
        }
        Ok(())
    }

    fn pop(&mut self, lane: &mut VerifyLane<'_>) -> Result<()> {
        self.tell.go_on()?;
        match lane.pop() {
            Some(Done::Batch(looked)) => {
                let looked = looked?;
                self.run.join(&looked.run);
                self.tell_batch(looked)
            }
            Some(Done::Chunk(_)) | None => Ok(()),
        }
    }

    fn tell_batch(&mut self, looked: Looked) -> Result<()> {
        for (entry, seen) in looked.entries {
            self.tell_entry(&entry, seen)?;
        }
        for (range, error) in looked.strays {
            self.tell.stray(range, &error);
        }
        Ok(())
    }

    /// Tells what became of an entry, together with what only the order of all of them shows.
    pub(super) fn tell_entry(&mut self, entry: &Entry, mut seen: Seen) -> Result<()> {
        self.tell.go_on()?;
        let limits = self.ground.archive.limits();
        let is_here = entry.depth() == 0 && entry.location.is_some();
        if let Some(tiles) = self.tiles.as_mut().filter(|_| is_here && seen.claims.is_none()) {
            for gap in tiles.place(entry, &mut self.tell) {
                self.tell_gap(gap)?;
            }
        }
        if let Err(kind) = self.survey.links.check(entry, limits)
            // In a damaged listing, what is not there is not known.
            && self.survey.is_whole
        {
            seen.claims.get_or_insert_with(|| Box::new(claims::corrupt(entry, kind)));
        }
        for (range, error) in seen.strays.drain(..) {
            self.tell.stray(range, &error);
        }
        if self.survey.is_superseded(self.index, &entry.path, limits) {
            self.tell.duplicate(&entry.path);
        }
        self.index += 1;
        self.tell_fate(entry, seen);
        Ok(())
    }

    fn tell_fate(&mut self, entry: &Entry, seen: Seen) {
        let tell = &mut self.tell;
        match self.ground.fate(entry, &seen) {
            Fate::Blamed => {
                // A listing that lies is told whatever was asked for.
                if let Some(error) = &seen.claims {
                    tell.damaged(&entry.path, error);
                }
            }
            Fate::InBase => tell.report.in_bases_unread += 1,
            Fate::Lost => tell.lost(entry),
            Fate::PassedBy if seen.meant => tell.whole(entry),
            Fate::PassedBy => {}
            Fate::Read => {
                if entry.lost.is_some() {
                    tell.lost(entry);
                }
                if entry.depth() > 0 {
                    tell.report.in_bases += 1;
                }
                tell.report.read = tell.report.read.saturating_add(seen.read);
                tell.progress(seen.progress);
                match &seen.damage {
                    Some(error) => tell.damaged(&entry.path, error),
                    None => {
                        let size = entry.kind.size();
                        tell.report.bytes = tell.report.bytes.saturating_add(size);
                        tell.whole(entry);
                    }
                }
            }
        }
    }

    /// Tells what stands in a range of bytes that no entry speaks of.
    fn tell_gap(&mut self, gap: Range<u64>) -> Result<()> {
        let archive = self.ground.archive;
        if self.ground.options.quick {
            // The damage of the listing was told.
            if self.survey.lost_blocks == 0 {
                self.tell.stray(gap.clone(), &surplus(&gap));
            }
            return Ok(());
        }
        let (tell, survey) = (&mut self.tell, &mut self.survey);
        let (selection, limits) = (self.ground.selection, archive.limits());
        Gap { tell, selection, survey, limits }.look(archive, gap)
    }
}
