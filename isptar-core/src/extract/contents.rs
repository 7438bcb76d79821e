//! The first pass over the listing: directories are made in order, all else is restored on all
//! threads, and told in order.

use std::collections::{HashSet, VecDeque};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::big::{Big, Buffers, ChunkJob, What, Written};
use super::hand::{Outcome, Put, Source};
use super::listed::{Destination, Job};
use super::notes::Notes;
use super::rooms::{self, Rooms};
use super::target::{Finished, Target, hash};
use super::worker::{Became, Destined, Done, Shared, Task, Todo, Turn, Work, Worker};
use super::write::SMALL;
use crate::archive::Front;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::ReadAt;
use crate::parallel::{Lane, in_order};
use crate::path::{SafePath, name_hash};
use crate::scan::Damage;

/// A batch is full with so many members, or bytes of their contents, or of memory.
const MEMBERS: usize = 1024;
const BYTES: u64 = 1 << 20;
const MEMORY: u64 = 4 << 20;

/// Members of one stream stay together, so that it is decoded once, up to so many, and to so many
/// times the memory.
const MEMBERS_OF_STREAM: usize = 4096;
const TIMES_OF_STREAM: u64 = 4;

/// A file of so many bytes that is not written by chunks is restored where it is asked now and then
/// whether to go on.
const LONE: u64 = 16 << 20;

/// Batches under way for each thread.
const BATCHES: usize = 4;

/// Big files under way.
const BIG: usize = 3;

/// What a member takes while it is under way, its content and names apart.
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
    let threads = rooms::workers(crate::parallel::threads(job.options.threads));
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

struct Pass<'p, 'l, 'a, R> {
    job: &'p mut Job<'a, R>,
    target: &'p mut Target,
    lane: &'p mut Lane<'l, Work, Done>,
    buffers: &'p Buffers,
    /// How many batches and chunks may be under way, and how many directories may be open.
    most: usize,
    rooms: Rooms,
    batch: Vec<Task>,
    /// Bytes of the contents in the batch, its memory, and how many directories it goes to.
    bytes: u64,
    memory: u64,
    directories: usize,
    /// Hashes of the names of what is under way, and the directory of the last one; whether that
    /// changed since something was put.
    under_way: HashSet<u64>,
    parent: Option<Vec<u8>>,
    has_moved: bool,
    /// The streams of the last members in the batch, and where the furthest ones end of all that
    /// were handed out.
    front: Front,
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
        let front = Front::new(job.archive.depths());
        Self {
            job,
            target,
            lane,
            buffers,
            most: threads.get().saturating_mul(BATCHES),
            rooms: Rooms::new(threads, threads.get().saturating_mul(BATCHES)),
            batch: Vec::new(),
            bytes: 0,
            memory: 0,
            directories: 0,
            under_way: HashSet::new(),
            parent: None,
            has_moved: true,
            front,
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
        let became = match self.job.destination(index, &entry) {
            Ok(Destination::At(path)) => return self.place(index, entry, path),
            Ok(Destination::Silent) => return Ok(()),
            Ok(Destination::Nowhere(reason)) => Became::Nowhere(reason),
            Err(error) => Became::Refused(error),
        };
        self.make_room(&entry, false)?;
        self.push(Task {
            index,
            hash: 0,
            entry,
            notes: Notes::default(),
            todo: Todo::Tell(became),
        });
        Ok(())
    }

    /// Does what is done in order, and leaves the rest to a worker.
    fn place(&mut self, index: u64, entry: Entry, path: SafePath) -> Result<()> {
        let mut notes = Notes::default();
        self.job.tell.slash(&entry.path, &mut notes);
        self.job.tell.lost(&entry, &mut notes);
        let hash = hash(&path);
        self.make_way(&path, hash)?;
        let has_streams = self.job.archive.has_streams(&entry);
        self.make_room(&entry, has_streams && self.front.is_beside(&entry))?;
        let is_back = has_streams && self.front.is_back(&entry) && !self.front.is_beside(&entry);
        let by_chunks = has_streams && entry.chunks.is_some() && entry.kind.size() > SMALL;
        let is_lone = entry.kind.size() >= LONE;
        if has_streams {
            self.front.note_end(&entry);
        }
        if is_back || is_lone && !by_chunks {
            return self.alone(index, &entry, &path, notes);
        }
        let todo = match entry.kind {
            Kind::Directory => Todo::Check(self.directory(&entry, &path)),
            Kind::Symlink { .. } | Kind::HardLink { .. } => Todo::Check(Ok(None)),
            _ => self.destined(&entry, path, hash),
        };
        let todo = match todo {
            Todo::Put(destined) if by_chunks => {
                return self.big(index, hash, entry, *destined, notes);
            }
            todo => todo,
        };
        if let Todo::Put(_) = &todo {
            self.under_way.insert(hash);
            self.directories += usize::from(std::mem::take(&mut self.has_moved));
        }
        if has_streams {
            self.front.note_streams(&entry);
        }
        self.push(Task { index, hash, entry, notes, todo });
        Ok(())
    }

    fn push(&mut self, task: Task) {
        self.bytes = self.bytes.saturating_add(task.entry.kind.size());
        self.memory = self.memory.saturating_add(memory_of(&task.entry));
        self.batch.push(task);
    }

    fn directory(&mut self, entry: &Entry, path: &SafePath) -> Result<Option<Put>> {
        self.target.directory(path, entry)?;
        Ok(Some(Put { outcome: Outcome::Restored, identity: None }))
    }

    /// Restores an entry after all before it: because its streams are before others that were read,
    /// and how much may be decoded again depends on all that was decoded before, or because it takes
    /// long.
    fn alone(
        &mut self,
        index: u64,
        entry: &Entry,
        path: &SafePath,
        mut notes: Notes,
    ) -> Result<()> {
        self.drain()?;
        let outcome = self.restore_alone(entry, path, &mut notes);
        self.job.tell.noted(&entry.path, &mut notes);
        self.job.settle(index, entry, outcome)
    }

    fn restore_alone(
        &mut self,
        entry: &Entry,
        path: &SafePath,
        notes: &mut Notes,
    ) -> Result<Option<Outcome>> {
        let mut member = self.job.open(entry)?;
        let target = &mut *self.target;
        let outcome = match entry.kind {
            Kind::Directory => target.directory(path, entry).map(|()| Some(Outcome::Restored)),
            Kind::Symlink { .. } | Kind::HardLink { .. } => Ok(None),
            Kind::File { .. } => {
                target.file(path, entry, &mut member, notes, &mut self.job.tell).map(Some)
            }
            _ => target.special(path, entry, member.xattrs(), notes).map(Some),
        };
        self.job.previous = Some(member);
        outcome
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
            self.has_moved = true;
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

    /// Hands out the batch when it is full; `beside` says that the next entry is in the stream of
    /// the last one.
    fn make_room(&mut self, next: &Entry, beside: bool) -> Result<()> {
        let (members, rooms) = (self.batch.len(), self.rooms);
        let directories = self.directories + usize::from(self.has_moved && is_put(next));
        let full = if beside {
            members >= MEMBERS_OF_STREAM
                || self.memory >= MEMORY * TIMES_OF_STREAM
                || directories > rooms.of_stream
        } else {
            members >= MEMBERS
                || self.bytes >= BYTES
                || self.memory >= MEMORY
                || directories > rooms.of_batch
        };
        if full {
            self.hand_out()?;
        }
        self.close_directories()
    }

    /// Waits until no more directories are open than may be, as far as others than the batch have
    /// them.
    fn close_directories(&mut self) -> Result<()> {
        while self.target.directories.open_everywhere() > self.rooms.open && self.lane.len() > 0 {
            self.pop()?;
        }
        Ok(())
    }

    fn hand_out(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let memory = std::mem::take(&mut self.memory);
        (self.bytes, self.directories, self.has_moved) = (0, 0, true);
        self.front.forget_streams();
        if batch.is_empty() {
            return Ok(());
        }
        while self.lane.is_full() || self.lane.len() >= self.most {
            self.pop()?;
        }
        self.lane.push(Work::Batch(batch, self.job.archive.rereads()), memory);
        while let Some(done) = self.lane.pop_done() {
            self.take(done)?;
        }
        self.close_directories()
    }

    fn pop(&mut self) -> Result<()> {
        self.job.tell.go_on()?;
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
            Done::Batch(turns, run) => {
                self.job.run.join(&run);
                self.tell(turns)
            }
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
        let (run, previous) = (self.job.archive.rereads(), self.job.previous.take());
        let opened = self.job.archive.next_member_of(&run, previous, &entry);
        let begun = opened.and_then(|member| {
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
        let big = Big::new(index, hash, Arc::clone(&what), xattrs, notes, begun, (digest, run));
        self.bigs.push_back(big);
        for chunk in member.chunks().into_iter().flatten() {
            self.job.tell.go_on()?;
            while self.lane.is_full() || self.lane.len() >= self.most {
                self.pop()?;
            }
            let Some(big) = self.bigs.back_mut().filter(|big| !big.has_failed()) else { break };
            big.handed_out += 1;
            big.run.count(chunk.member.depth, chunk.offset, chunk.packed, chunk.real);
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
        let todo = Todo::Tell(Became::Tried(result));
        self.push(Task { index, hash, entry, notes, todo });
        Ok(())
    }

    fn add_chunk(&mut self, written: Result<Written>) -> Result<()> {
        self.job.tell.go_on()?;
        if let Some(big) = self.bigs.front_mut() {
            let more = big.add(written, self.buffers);
            self.job.tell.progress(more);
        }
        self.finish_bigs()
    }

    /// Finishes the big files whose chunks are all there.
    fn finish_bigs(&mut self) -> Result<()> {
        while self.bigs.front().is_some_and(Big::is_done) {
            self.job.tell.go_on()?;
            let Some(big) = self.bigs.pop_front() else { break };
            let (index, hash, told) = (big.index, big.hash, big.told);
            let (what, run) = (Arc::clone(&big.what), Arc::clone(&big.run));
            let Finished { result, mut notes } = self.target.finish(big, None);
            self.under_way.remove(&hash);
            if let Ok(put) = &result {
                // How much of a file is decoded that fails depends on the threads.
                self.job.run.join(&run);
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
        for Turn { index, hash, entry, mut notes, became } in turns {
            self.job.tell.go_on()?;
            self.under_way.remove(&hash);
            let result = match became {
                Became::Tried(result) => result,
                Became::Nowhere(reason) => {
                    self.job.tell.left_out(&entry.path, reason);
                    continue;
                }
                Became::Refused(error) => {
                    self.job.tell.failed(&entry.path, &error);
                    continue;
                }
            };
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

/// Returns whether a worker puts a member somewhere.
fn is_put(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::Directory | Kind::Symlink { .. } | Kind::HardLink { .. })
}

/// Returns about how much memory an entry takes that is under way.
fn memory_of(entry: &Entry) -> u64 {
    let target = match &entry.kind {
        Kind::Symlink { target } => target.len(),
        Kind::HardLink { target } => target.as_bytes().len(),
        _ => 0,
    };
    let chunks = entry.chunks.as_ref().map_or(0, |chunks| chunks.packed.len() * 8);
    // The name once more: where it goes.
    WEIGHT.saturating_add((2 * entry.path.as_bytes().len() + target + chunks) as u64)
}
