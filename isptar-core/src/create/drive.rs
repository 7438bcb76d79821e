//! The driver: walks ahead, hands out jobs, stores what becomes of them in order.

use std::collections::VecDeque;
use std::num::NonZero;

use super::agenda::{Agenda, Turn};
use super::batch::{Done, Job};
use super::big::{BigFile, Chunk};
use super::changes::{Change, Changes, Listed};
use super::extras::{Extras, Stage};
use super::file;
use super::item::{Item, Items, Packed};
use super::layout::Layout;
use super::store::Store;
use super::{CreateOptions, CreateReport};
use crate::codec::Method;
use crate::error::{Error, Result};
use crate::format::chunk_size;
use crate::limits::Limits;
use crate::observe::{Event, Observer, Warning};
use crate::parallel::{Lane, threads};
use crate::path::MemberPath;
use crate::run::Run;
use crate::source::Steps;

/// When a batch is full: members, bytes of tar, directories that it keeps open. Fewer and the
/// threads spend their time on handing over; more and they have less to share out.
const BATCH_MEMBERS: usize = 64;
const BATCH_BYTES: u64 = 256 << 10;
const BATCH_HANDLES: u64 = 6;

/// How many directories the members of a group come from at most; the archive depends on it.
const GROUP_HANDLES: u64 = 64;

/// Largest memory that is kept for the streams of batches.
const KEPT: usize = 64 << 10;

/// Memory that an item takes, its content apart.
const ITEM_WEIGHT: u64 = 2 << 10;

/// Handles that all else needs: the walk, standard streams, archive, spool, the batch that waits.
const OTHER_HANDLES: u64 = 24;

/// Most handles under way.
const MOST_HANDLES: u64 = 512;

/// Everything that works in order.
pub(super) struct Driver<'d, 'l, W: Layout> {
    pub(super) steps: Steps,
    pub(super) items: Items,
    pub(super) store: Store<W>,
    pub(super) lane: &'d mut Lane<'l, Job, Done>,
    pub(super) observer: &'d mut dyn Observer,
    pub(super) extras: Extras<'d>,
    agenda: Agenda,
    batch: Batch,
    /// Entries without bytes that come after the batch.
    run: Run,
    limits: Limits,
    /// Bytes of tar that share a stream; 0 when each member has its own.
    group: u64,
    /// Handles of the jobs under way, oldest first, and of all; how many may be.
    handles: VecDeque<u64>,
    handles_held: u64,
    most_handles: u64,
    /// Memory for streams of batches, and for chunks and their streams.
    small: Vec<Vec<u8>>,
    pub(super) large: Vec<Vec<u8>>,
}

/// Small members that wait for others to go with.
#[derive(Debug, Default)]
struct Batch {
    items: Vec<Item>,
    tar_len: u64,
    handles: u64,
}

impl<'d, 'l, W: Layout> Driver<'d, 'l, W> {
    pub(super) fn new(
        steps: Steps,
        store: Store<W>,
        options: &CreateOptions,
        lane: &'d mut Lane<'l, Job, Done>,
        extras: Extras<'d>,
        observer: &'d mut dyn Observer,
    ) -> Self {
        Self {
            steps,
            items: Items::new(options),
            store,
            lane,
            observer,
            agenda: Agenda::new(&extras),
            extras,
            batch: Batch::default(),
            run: Run::default(),
            limits: Limits::default(),
            group: options.group(),
            handles: VecDeque::new(),
            handles_held: 0,
            most_handles: most_handles(options),
            small: Vec::new(),
            large: Vec::new(),
        }
    }

    /// Does it all.
    pub(super) fn run(mut self, changes: Changes<'_>) -> Result<CreateReport> {
        if let Err(error) = self.store_all(changes) {
            self.wind_up();
            return Err(error);
        }
        for prefix in self.agenda.unused() {
            self.store.warn(prefix, &Warning::HookNotCalled, self.observer);
        }
        self.store.finish(self.steps.tally())
    }

    fn store_all(&mut self, mut changes: Changes<'_>) -> Result<()> {
        self.store.set_bases(changes.tables())?;
        loop {
            if changes.is_between()
                && !self.extras.is_empty()
                && let Some(walk) = self.steps.here()
            {
                let next = walk.upcoming(self.observer);
                self.take_turns(next.as_ref(), &mut changes)?;
            }
            if !self.take_change(&mut changes)? {
                break;
            }
        }
        self.end_batch()?;
        self.end_run()?;
        self.settle_all()
    }

    /// Stores or lists what comes next of the tree and the base; returns whether there was more.
    fn take_change(&mut self, changes: &mut Changes<'_>) -> Result<bool> {
        let report = &mut self.store.report;
        let next = changes.next(&mut self.steps, &mut self.items, report, self.observer)?;
        let Some(change) = next else { return Ok(false) };
        if self.observer.cancelled() {
            return Err(Error::Cancelled);
        }
        if !self.extras.supplies.is_empty()
            && let Some((path, is_directory)) = change.found()
        {
            self.agenda.found(&path, is_directory);
        }
        let (listed, count) = match change {
            Change::Unchanged(listed) => (listed, &mut report.unchanged),
            Change::Kept(entry) => (Listed::Entry(entry), &mut report.kept),
            Change::Item(item) => return self.take(*item).map(|()| true),
            Change::Deleted(name) => {
                report.deleted += 1;
                self.observer.event(Event::Deleted { path: &name.into_owned() });
                return Ok(true);
            }
            Change::Nothing => return Ok(true),
        };
        *count += 1;
        // Names up to this length have few enough components.
        let name = listed.name();
        let is_short = name.as_bytes().len() as u64 <= self.limits.components;
        if is_short || self.store.takes_name(name) {
            let unstorable = |kind| Error::Unstorable { path: name.clone().into_owned(), kind };
            listed.push(&mut self.run, &self.limits).map_err(unstorable)?;
        }
        if self.run.is_full() {
            self.end_batch()?;
            self.end_run()?;
        }
        Ok(true)
    }

    /// Hands on the entries without bytes that wait.
    pub(super) fn end_run(&mut self) -> Result<()> {
        let run = std::mem::take(&mut self.run);
        let weight = run.weight();
        if run.is_empty() { Ok(()) } else { self.push(Job::Run(run), weight, 0) }
    }

    /// Does what comes before the walk looks at `next`.
    fn take_turns(&mut self, next: Option<&MemberPath>, changes: &mut Changes<'_>) -> Result<()> {
        while let Some(turn) = self.agenda.turn(&self.extras, next)? {
            match turn {
                Turn::Before(index) => {
                    let called = self.call(index, Stage::Before);
                    called.inspect_err(|_| self.agenda.failed(index))?;
                }
                Turn::After(index) => self.call(index, Stage::After)?,
                Turn::Supply(index) => {
                    // What the base has before it, and then what it has under its names.
                    changes.turn_to(self.extras.supplies[index].first_name());
                    while !changes.is_between() {
                        self.take_change(changes)?;
                    }
                    let last = self.supply(index)?;
                    changes.replace(&self.extras.supplies[index], &last)?;
                }
            }
        }
        Ok(())
    }

    /// Calls a hook when all that came before is read.
    fn call(&mut self, index: usize, stage: Stage) -> Result<()> {
        self.end_batch()?;
        self.settle_all()?;
        self.extras.hooks[index].call(stage)
    }

    /// Calls the hooks that were called before, after the job has failed.
    fn wind_up(&mut self) {
        let active = self.agenda.take_active();
        if active.is_empty() {
            return;
        }
        // What is under way reads files.
        while self.lane.pop().is_some() {}
        for index in active {
            let hook = &mut self.extras.hooks[index];
            if let Err(error) = hook.call(Stage::After) {
                self.observer.event(Event::Failed { path: &hook.prefix, error: &error });
            }
        }
    }

    /// Takes the next item.
    fn take(&mut self, mut item: Item) -> Result<()> {
        if !self.run.is_empty() {
            if self.group > 0 && self.store.carries() {
                // Members in the order of names, for plain tar: no stream has some on both sides.
                self.end_batch()?;
            }
            item.before = Some(Box::new(std::mem::take(&mut self.run)));
        }
        let is_big = item.has_content() && item.header.kind.size() > chunk_size(0);
        if is_big && self.store.takes(&item) {
            self.end_batch()?;
            if item.is_read_first() {
                let stream = self.small.pop().unwrap_or_default();
                return self.push(Job::Batch(vec![item], stream), 2 * chunk_size(0), 1);
            }
            return self.big(item);
        }
        let tar_len = item.tar_len();
        // How members are grouped must follow from the tree alone.
        let fits = self.group == 0 || self.batch.tar_len + tar_len <= self.group;
        // What cannot be stored must not be in a stream with others, nor what is not compressed, nor
        // what may turn out unchanged only when all before it is stored.
        let is_alone = self.group > 0
            && (!self.store.takes(&item)
                || item.method == Method::Store
                || item.as_first().is_some());
        if !fits || is_alone {
            self.end_batch()?;
        }
        self.batch.add(item, tar_len);
        let is_full = self.batch.items.len() >= BATCH_MEMBERS || self.batch.tar_len >= BATCH_BYTES;
        let handles = if self.group == 0 { BATCH_HANDLES } else { GROUP_HANDLES };
        if is_alone || self.group == 0 && is_full || self.batch.handles >= handles {
            self.end_batch()?;
        }
        Ok(())
    }

    /// Hands out the members that wait.
    pub(super) fn end_batch(&mut self) -> Result<()> {
        let Batch { items, tar_len, handles } = std::mem::take(&mut self.batch);
        if items.is_empty() {
            return Ok(());
        }
        self.batch.items.reserve(items.len());
        let weight = 2 * tar_len + ITEM_WEIGHT * items.len() as u64;
        let stream = self.small.pop().unwrap_or_default();
        self.push(Job::Batch(items, stream), weight, handles)
    }

    /// Hands out a big file.
    fn big(&mut self, mut item: Item) -> Result<()> {
        let opened = match file::open(&mut item) {
            Ok(opened) => opened,
            Err(packed) => {
                return self.push(Job::Settled(Box::new((item, packed))), ITEM_WEIGHT, 1);
            }
        };
        if item.header.data_len() <= chunk_size(0) {
            // It shrank, or it is one large hole.
            let (tar_len, items) = (item.header.data_len(), vec![item]);
            return self.push(Job::Batch(items, Vec::new()), 2 * tar_len, 1);
        }
        let big = BigFile::new(&mut item, opened);
        let (source, method) = (big.source.clone(), item.method);
        let settled = Job::Settled(Box::new((item, Packed::Big(Box::new(big)))));
        self.push(settled, ITEM_WEIGHT, 1)?;
        for number in 0..source.chunks() {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            // So that what is there is used again.
            self.make_room(source.weight(), 1)?;
            let data = self.large.pop().unwrap_or_default();
            let stream = self.large.pop().unwrap_or_default();
            let chunk = Chunk { source: source.clone(), number, method, data, stream };
            // The file itself, with the last chunk that is under way.
            let handles = u64::from(number + 1 == source.chunks());
            self.push(Job::Chunk(Box::new(chunk)), source.weight(), handles)?;
        }
        Ok(())
    }

    /// Hands out a job as soon as there is room for it, and stores what is done.
    pub(super) fn push(&mut self, job: Job, weight: u64, handles: u64) -> Result<()> {
        self.make_room(weight, handles)?;
        self.lane.push(job, weight);
        self.handles.push_back(handles);
        self.handles_held += handles;
        while let Some(done) = self.lane.pop_done() {
            self.settle(done)?;
        }
        Ok(())
    }

    pub(super) fn make_room(&mut self, weight: u64, handles: u64) -> Result<()> {
        while self.lane.len() > 0
            && (self.lane.is_full_for(weight) || self.handles_held + handles > self.most_handles)
        {
            let Some(done) = self.lane.pop() else { break };
            self.settle(done)?;
        }
        Ok(())
    }

    pub(super) fn settle_all(&mut self) -> Result<()> {
        while let Some(done) = self.lane.pop() {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            self.settle(done)?;
        }
        Ok(())
    }

    /// Stores what became of the oldest job.
    fn settle(&mut self, done: Done) -> Result<()> {
        self.handles_held -= self.handles.pop_front().unwrap_or(0);
        match done {
            Done::Batch(mut members, stream) => {
                self.store.batch(&mut members, &stream, self.observer)?;
                if stream.capacity() <= KEPT {
                    self.small.push(stream);
                }
            }
            Done::Chunk(mut chunk) => {
                self.store.chunk(&mut chunk, self.observer)?;
                self.large.extend([chunk.data, chunk.stream]);
            }
            Done::Piece(mut piece) => {
                self.store.piece(&mut piece, self.observer)?;
                self.large.extend([piece.data, piece.stream]);
            }
            Done::Block(stream) => self.store.put_block(&stream)?,
            Done::Run(run) => self.store.run(&run)?,
            Done::Settled(settled) => {
                let (item, packed) = *settled;
                self.store.item(item, packed, &[], self.observer)?;
            }
        }
        while let Some(text) = self.store.full_block() {
            let weight = 2 * text.len() as u64;
            self.lane.push(Job::Block(text), weight);
            self.handles.push_back(0);
        }
        Ok(())
    }
}

impl Batch {
    fn add(&mut self, item: Item, tar_len: u64) {
        if item.found.holds_handle() {
            // A directory lets go of its own, so that it may stand between files that are beside
            // each other.
            let last = self.items.iter().rev().find(|item| item.found.holds_handle());
            let is_new = last.is_none_or(|last| !last.found.is_beside(&item.found));
            self.handles += u64::from(is_new);
        }
        self.tar_len += tar_len;
        self.items.push(item);
    }
}

/// Returns how many handles the system leaves to jobs and threads.
fn free_handles() -> u64 {
    crate::parallel::free_handles(OTHER_HANDLES)
}

/// Returns how many threads work: each opens a file.
pub(super) fn workers(options: &CreateOptions) -> NonZero<usize> {
    let threads = threads(options.threads);
    let most = usize::try_from(free_handles() / 2).ok().and_then(NonZero::new);
    threads.min(most.unwrap_or(NonZero::<usize>::MIN))
}

/// Returns whether threads and handles are enough for a walk that goes ahead of the driver.
pub(super) fn has_room_ahead(options: &CreateOptions) -> bool {
    let workers = workers(options).get();
    workers > 1 && free_handles() >= MOST_HANDLES + workers as u64 + Steps::HANDLES
}

/// Refuses groups where the system does not let the directories of one be open.
pub(super) fn check_handles(options: &CreateOptions) -> Result<()> {
    let (need, have) = (GROUP_HANDLES, most_handles(options));
    if options.group() > 0 && have < need {
        let more = need - have;
        return Err(Error::TooFewHandles { more });
    }
    Ok(())
}

/// Returns how many directories and files jobs may keep open.
fn most_handles(options: &CreateOptions) -> u64 {
    free_handles().saturating_sub(workers(options).get() as u64).clamp(1, MOST_HANDLES)
}
