//! The first pass over the listing: directories are made in order, all else is restored on all
//! threads, and told in order.

use std::collections::{HashSet, VecDeque};
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::big::{Big, Buffers, ChunkJob, What, Written};
use super::hand::{Outcome, Put};
use super::listed::{Destination, Job};
use super::notes::Notes;
use super::target::{Finished, Target, hash};
use super::worker::{Batch, Destined, Done, Shared, Task, Todo, Turn, Work, Worker};
use super::write::SMALL;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::ReadAt;
use crate::parallel::{Lane, in_order};
use crate::path::{SafePath, name_hash};
use crate::scan::Damage;

/// A batch is full with so many members, or bytes of their contents.
const MEMBERS: usize = 1024;
const BYTES: u64 = 1 << 20;

/// Members of one stream stay together, so that it is decoded once, up to so many.
const MEMBERS_OF_STREAM: usize = 4096;

/// How many directories a batch may go through.
const DIRECTORIES: usize = 4;

/// How many directories may be open at a time: `ulimit -n 32` must do.
const OPEN: usize = 14;

/// Handles that are open besides those of workers, of which each has one.
const HANDLES: u64 = 26;

/// Batches under way for each thread.
const BATCHES: usize = 4;

/// Big files under way.
const BIG: usize = 3;

/// What a member takes while it is under way, its content apart.
const WEIGHT: u64 = 2 << 10;

/// Checks every member, makes the directories, and restores what has no name but its own.
pub(super) fn restore<R: ReadAt>(job: &mut Job<'_, R>, target: &mut Target) -> Result<()> {
    let lookalikes = std::mem::take(&mut job.plan.lookalikes);
    let shared = Shared {
        archive: job.archive,
        options: job.options,
        root: target.directories.root(),
        lookalikes: &lookalikes,
        buffers: Buffers::default(),
        stop: AtomicBool::new(false),
    };
    target.note_lookalikes(&lookalikes);
    let threads = workers(crate::parallel::threads(job.options.threads));
    in_order(
        threads,
        || Worker::new(&shared),
        Worker::work,
        |lane| {
            let mut pass = Pass::new(job, target, lane, &shared.buffers, threads);
            let result = pass.run();
            shared.stop.store(true, Ordering::Relaxed);
            pass.give_up();
            result
        },
    )
}

/// Returns how many workers there are handles for.
fn workers(threads: NonZero<usize>) -> NonZero<usize> {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = most.map_or(usize::MAX, |most| {
        usize::try_from(most.saturating_sub(HANDLES)).unwrap_or(usize::MAX)
    });
    NonZero::new(most).map_or(NonZero::<usize>::MIN, |most| most.min(threads))
}

struct Pass<'p, 'l, 'a, R> {
    job: &'p mut Job<'a, R>,
    target: &'p mut Target,
    lane: &'p mut Lane<'l, Work, Done>,
    buffers: &'p Buffers,
    /// How many batches and chunks may be under way.
    most: usize,
    batch: Batch,
    /// Bytes of the contents in the batch, and how many directories they go to.
    bytes: u64,
    directories: usize,
    directory: Option<Arc<super::place::Directory>>,
    /// Hashes of the names of what is under way, and the directory of the last one.
    under_way: HashSet<u64>,
    parent: Option<Vec<u8>>,
    /// The streams that were read last.
    streams: Range<u64>,
    /// Big files under way, in order.
    bigs: VecDeque<Big>,
}

impl<'p, 'l, 'a, R: ReadAt> Pass<'p, 'l, 'a, R> {
    fn new(
        job: &'p mut Job<'a, R>,
        target: &'p mut Target,
        lane: &'p mut Lane<'l, Work, Done>,
        buffers: &'p Buffers,
        threads: NonZero<usize>,
    ) -> Self {
        Self {
            job,
            target,
            lane,
            buffers,
            most: threads.get().saturating_mul(BATCHES),
            batch: Batch::default(),
            bytes: 0,
            directories: 0,
            directory: None,
            under_way: HashSet::new(),
            parent: None,
            streams: 0..0,
            bigs: VecDeque::new(),
        }
    }

    fn run(&mut self) -> Result<()> {
        for (index, entry) in self.job.entries() {
            self.job.tell.go_on()?;
            match entry {
                Ok(entry) => self.entry(index, entry)?,
                Err(error) => {
                    self.drain()?;
                    let Error::CorruptLine { .. } = error else { return Err(error) };
                    self.job.tell.damaged(&Damage::default(), &error);
                }
            }
        }
        self.drain()
    }

    fn entry(&mut self, index: u64, entry: Entry) -> Result<()> {
        match self.job.destination(index, &entry) {
            Ok(Destination::At(path)) => return self.place(index, entry, path),
            Ok(Destination::Silent) => {}
            Ok(Destination::Nowhere(reason)) => {
                self.drain()?;
                self.job.tell.left_out(&entry.path, reason);
            }
            Err(error) => {
                self.drain()?;
                self.job.tell.failed(&entry.path, &error);
            }
        }
        Ok(())
    }

    /// Does what is done in order, and leaves the rest to a worker.
    fn place(&mut self, index: u64, entry: Entry, path: SafePath) -> Result<()> {
        let mut notes = Notes::default();
        self.job.tell.slash(&entry.path, &mut notes);
        let hash = hash(&path);
        self.make_way(&path, hash)?;
        let same = self.streams == entry.claimed_range();
        let is_directory = entry.kind == Kind::Directory;
        let forward = same || is_directory || self.goes_forward(&entry);
        self.streams = entry.claimed_range();
        if !forward {
            self.drain()?;
            self.batch.run = Some(Arc::clone(&self.job.run));
        }
        let todo = match entry.kind {
            Kind::Directory => Todo::Tell(self.directory(&entry, &path)),
            Kind::Symlink { .. } | Kind::HardLink { .. } => Todo::Check(Ok(())),
            _ => self.destined(&entry, path, hash),
        };
        let by_chunks = entry.chunks.is_some() && entry.kind.size() > SMALL && forward;
        let todo = match todo {
            Todo::Put(destined) if by_chunks => {
                return self.big(index, hash, entry, *destined, notes);
            }
            todo => todo,
        };
        if let Todo::Put(destined) = &todo {
            self.make_room(destined, same)?;
            self.under_way.insert(hash);
        }
        self.bytes = self.bytes.saturating_add(entry.kind.size());
        self.batch.tasks.push(Task { index, hash, entry, notes, todo });
        if !forward { self.drain() } else { Ok(()) }
    }

    /// Returns whether the streams of an entry lie behind all that were read.
    fn goes_forward(&self, entry: &Entry) -> bool {
        let range = entry.claimed_range();
        self.job.archive.is_classic() || range.is_empty() || self.job.run.goes_forward(range)
    }

    fn directory(&mut self, entry: &Entry, path: &SafePath) -> Result<Option<Put>> {
        let member = self.job.open(entry)?;
        self.job.previous = Some(member);
        self.target.directory(path, entry)?;
        Ok(Some(Put { outcome: Outcome::Restored, identity: None }))
    }

    fn destined(&mut self, entry: &Entry, path: SafePath, hash: u64) -> Todo {
        match self.target.directory_of(&path, entry) {
            Ok(directory) => {
                let (own, wanted) =
                    (self.target.written.get(hash), self.target.written.wants(hash));
                Todo::Put(Box::new(Destined { path, directory, own, wanted }))
            }
            Err(error) => Todo::Check(Err(error)),
        }
    }

    /// Waits for what a member stands in the way of, or depends on: files of the same name, and those
    /// that have the name of one of its directories.
    fn make_way(&mut self, path: &SafePath, hash: u64) -> Result<()> {
        let bytes = path.as_bytes();
        let parent = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at);
        let parent = &bytes[..parent];
        let mut waits = self.under_way.contains(&hash);
        if self.parent.as_deref() != Some(parent) {
            let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            for (at, _) in slashes {
                waits |= self.under_way.contains(&name_hash(&bytes[..at]));
            }
            let last = self.parent.get_or_insert_default();
            last.clear();
            last.extend_from_slice(parent);
        }
        if waits { self.drain() } else { Ok(()) }
    }

    /// Hands out the batch when it is full; `same` says that the next member is in the stream of
    /// the last one.
    fn make_room(&mut self, next: &Destined, same: bool) -> Result<()> {
        let members = self.batch.tasks.len();
        let other = !self.directory.as_ref().is_some_and(|last| Arc::ptr_eq(last, &next.directory));
        self.directories += usize::from(other);
        let full = members >= MEMBERS || self.bytes >= BYTES || self.directories > DIRECTORIES;
        if full && (!same || members >= MEMBERS_OF_STREAM) {
            self.hand_out()?;
            self.directories = 1;
        }
        if other {
            self.directory = Some(Arc::clone(&next.directory));
        }
        Ok(())
    }

    fn hand_out(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.tasks.is_empty() {
            return Ok(());
        }
        (self.bytes, self.directories, self.directory) = (0, 0, None);
        while self.lane.is_full() || self.lane.len() >= self.most {
            self.pop()?;
        }
        let weight = WEIGHT.saturating_mul(batch.tasks.len() as u64);
        self.lane.push(Work::Batch(batch), weight);
        while let Some(done) = self.lane.pop_done() {
            self.take(done)?;
        }
        while self.target.directories.open_everywhere() > OPEN && self.lane.len() > 0 {
            self.pop()?;
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<()> {
        let done = self.lane.pop();
        done.map_or(Ok(()), |done| self.take(done))
    }

    /// Waits for all that was handed out, and tells it.
    fn drain(&mut self) -> Result<()> {
        self.hand_out()?;
        while self.lane.len() > 0 {
            self.pop()?;
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Batch(turns) => self.tell(turns),
            Done::Chunk(written) => self.add_chunk(written),
        }
    }

    /// Has a big file written by chunks.
    fn big(
        &mut self,
        index: u64,
        hash: u64,
        entry: Entry,
        destined: Destined,
        mut notes: Notes,
    ) -> Result<()> {
        // What comes before must not end the job between its file and the note of that.
        self.hand_out()?;
        while self.bigs.len() >= BIG {
            self.pop()?;
        }
        let begun = self.job.open(&entry).and_then(|member| {
            let begun = self.target.begin(&destined, &entry, &mut notes);
            begun.map(|begun| (begun, member))
        });
        let (begun, member) = match begun {
            Ok((Ok(begun), member)) => (begun, member),
            Ok((Err(put), _)) => return self.settled(index, hash, entry, notes, Ok(Some(put))),
            Err(error) => return self.settled(index, hash, entry, notes, Err(error)),
        };
        self.under_way.insert(hash);
        let what = Arc::new(What { entry, destined });
        let file = Arc::clone(&begun.1.value);
        let (xattrs, digest) = (member.header().xattrs.clone(), member.digest_check());
        let big = Big::new(index, hash, Arc::clone(&what), xattrs, notes, begun, digest);
        self.bigs.push_back(big);
        for chunk in member.chunks().into_iter().flatten() {
            self.job.tell.go_on()?;
            while self.lane.is_full() || self.lane.len() >= self.most {
                self.pop()?;
            }
            let Some(big) = self.bigs.back_mut().filter(|big| !big.has_failed()) else { break };
            big.handed_out += 1;
            let weight = chunk.real;
            let (file, what) = (Arc::clone(&file), Arc::clone(&what));
            self.lane.push(Work::Chunk(ChunkJob { chunk, file, what }), weight);
        }
        self.job.previous = Some(member);
        if self.bigs.back().is_some_and(|big| big.handed_out == 0) {
            // All of it is a hole: no chunk has its turn.
            self.drain()?;
        }
        if let Some(big) = self.bigs.back_mut() {
            big.more = false;
        }
        self.finish_bigs()
    }

    /// Has it told in its turn what became of an entry.
    fn settled(
        &mut self,
        index: u64,
        hash: u64,
        entry: Entry,
        notes: Notes,
        result: Result<Option<Put>>,
    ) -> Result<()> {
        let todo = Todo::Tell(result);
        self.batch.tasks.push(Task { index, hash, entry, notes, todo });
        Ok(())
    }

    fn add_chunk(&mut self, written: Result<Written>) -> Result<()> {
        if let Some(big) = self.bigs.front_mut() {
            let more = big.add(written, self.buffers);
            self.job.tell.progress(more);
        }
        self.finish_bigs()
    }

    /// Finishes the big files whose chunks are all there.
    fn finish_bigs(&mut self) -> Result<()> {
        while self.bigs.front().is_some_and(Big::is_done) {
            let Some(big) = self.bigs.pop_front() else { break };
            let (index, hash, told) = (big.index, big.hash, big.told);
            let what = Arc::clone(&big.what);
            let Finished { result, mut notes } = self.target.finish(big, None);
            self.under_way.remove(&hash);
            if let Ok(put) = &result {
                self.job.run.gave(what.entry.kind.size());
                self.target.written.record(hash, put);
                if put.outcome == Outcome::Restored {
                    self.job.tell.progress(what.entry.kind.size().saturating_sub(told));
                }
            }
            self.job.tell.noted(&what.entry.path, &mut notes);
            self.job.settle(index, &what.entry, result.map(|put| Some(put.outcome)))?;
        }
        Ok(())
    }

    /// Removes what is not finished when the job ends before its time.
    fn give_up(&mut self) {
        for big in std::mem::take(&mut self.bigs) {
            let _cancelled = self.target.finish(big, Some(Error::Cancelled));
        }
    }

    fn tell(&mut self, turns: Vec<Turn>) -> Result<()> {
        for turn in turns {
            let Turn { index, hash, entry, mut notes, result, is_uncounted } = turn;
            self.under_way.remove(&hash);
            if is_uncounted && result.is_ok() {
                self.job.run.gave(entry.kind.size());
            }
            if let Ok(Some(put)) = &result {
                self.target.written.record(hash, put);
                if put.outcome == Outcome::Restored {
                    self.job.tell.progress(entry.kind.size());
                }
            }
            self.job.tell.noted(&entry.path, &mut notes);
            self.job.settle(index, &entry, result.map(|put| put.map(|put| put.outcome)))?;
        }
        Ok(())
    }
}
