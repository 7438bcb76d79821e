//! What is done on all threads: files are read, checked and put where they belong.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::big::{Buffers, ChunkJob, Written};
use super::hand::{Hand, Identity, Put, Source, Spot};
use super::notes::{Notes, Site, Watch};
use super::place::Directory;
use super::{ExtractOptions, is_fatal};
use crate::archive::{Archive, ChunkReader, Member, Rereads};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::io::ReadAt;
use crate::observe::LeftOut;
use crate::path::SafePath;

/// One entry, in its turn.
#[derive(Debug)]
pub(super) struct Task {
    /// Its position in the listing.
    pub(super) index: u64,
    /// The hash of the name that it gets.
    pub(super) hash: u64,
    pub(super) entry: Entry,
    pub(super) notes: Notes,
    pub(super) todo: Todo,
}

#[derive(Debug)]
pub(super) enum Todo {
    /// Nothing more: this became of it.
    Tell(Became),
    /// To check its headers; if they are good, this became of it.
    Check(Result<Option<Put>>),
    /// To restore it.
    Put(Box<Destined>),
}

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Became {
    /// It was tried; `None` when there is nothing to be told yet, because later passes restore it.
    Tried(Result<Option<Put>>),
    /// It has no place in the target.
    Nowhere(LeftOut),
    /// Its entry alone says that it cannot be restored.
    Refused(Error),
}

/// Where a member goes.
#[derive(Debug)]
pub(super) struct Destined {
    pub(super) path: SafePath,
    pub(super) directory: Arc<Directory>,
    /// See [`Spot`].
    pub(super) own: Option<Identity>,
    pub(super) wanted: bool,
}

impl Destined {
    pub(super) fn spot<'s>(&'s self, lookalikes: &'s HashSet<u64>) -> Spot<'s> {
        Spot {
            directory: &self.directory,
            name: self.path.components().next_back().unwrap_or_default(),
            own: self.own,
            wanted: self.wanted,
            lookalikes,
        }
    }
}

/// An entry that waits for its turn to be told.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) index: u64,
    pub(super) hash: u64,
    pub(super) entry: Entry,
    pub(super) notes: Notes,
    pub(super) became: Became,
}

/// What is handed out.
#[derive(Debug)]
pub(super) enum Work {
    /// Entries that one thread takes care of, and what counts the bytes that are decoded.
    Batch(Vec<Task>, Arc<Rereads>),
    Chunk(ChunkJob),
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum Done {
    Batch(Vec<Turn>, Arc<Rereads>),
    Chunk(Result<Written>),
}

/// What all workers share.
pub(super) struct Shared<'a, R> {
    pub(super) archive: &'a Archive<R>,
    pub(super) options: &'a ExtractOptions,
    /// The target, for messages alone.
    pub(super) root: Arc<Path>,
    pub(super) lookalikes: &'a HashSet<u64>,
    pub(super) buffers: Buffers,
    /// The job was given up.
    pub(super) stop: AtomicBool,
}

impl<R> Watch for &Shared<'_, R> {
    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    // It is told with the member.
    fn progress(&mut self, _bytes: u64) {}
}

/// One thread's own.
pub(super) struct Worker<'s, 'a, R> {
    shared: &'s Shared<'a, R>,
    hand: Hand,
    /// The member that was opened last: its stream may be that of the next one, too.
    previous: Option<Member<'a, R>>,
    chunks: ChunkReader<'a, R>,
}

impl<'s, 'a, R: ReadAt> Worker<'s, 'a, R> {
    pub(super) fn new(shared: &'s Shared<'a, R>) -> Self {
        let chunks = ChunkReader::new(shared.archive);
        Self { shared, hand: Hand::new(shared.options), previous: None, chunks }
    }

    pub(super) fn work(&mut self, work: Work) -> Done {
        match work {
            Work::Batch(tasks, run) => Done::Batch(self.batch(tasks, &run), run),
            Work::Chunk(job) => Done::Chunk(self.shared.go_on().and_then(|()| {
                job.write(&mut self.chunks, &self.shared.root, &self.shared.buffers)
            })),
        }
    }

    /// Does a batch; what comes after the end of the job is left out.
    fn batch(&mut self, tasks: Vec<Task>, run: &Arc<Rereads>) -> Vec<Turn> {
        // What is counted must not depend on which thread had the batch before.
        if let Some(previous) = &mut self.previous {
            previous.forget_stream();
        }
        let mut turns = Vec::with_capacity(tasks.len());
        for task in tasks {
            let turn = self.turn(task, run);
            let ends = matches!(&turn.became, Became::Tried(Err(error)) if is_fatal(error));
            turns.push(turn);
            if ends {
                break;
            }
        }
        turns
    }

    fn turn(&mut self, task: Task, run: &Arc<Rereads>) -> Turn {
        let Task { index, hash, entry, mut notes, todo } = task;
        let became = match todo {
            Todo::Tell(became) => became,
            Todo::Check(then) => Became::Tried(self.open(&entry, run).and_then(|member| {
                self.previous = Some(member);
                then
            })),
            Todo::Put(destined) => {
                Became::Tried(self.put(&entry, &destined, run, &mut notes).map(Some))
            }
        };
        Turn { index, hash, entry, notes, became }
    }

    fn open(&mut self, entry: &Entry, run: &Arc<Rereads>) -> Result<Member<'a, R>> {
        self.shared.go_on()?;
        self.shared.archive.next_member_of(run, self.previous.take(), entry)
    }

    fn put(
        &mut self,
        entry: &Entry,
        destined: &Destined,
        run: &Arc<Rereads>,
        notes: &mut Notes,
    ) -> Result<Put> {
        let mut member = self.open(entry, run)?;
        let site = Site { root: &self.shared.root, path: &destined.path, entry };
        let spot = destined.spot(self.shared.lookalikes);
        let mut watch = self.shared;
        let put = match entry.kind {
            Kind::File { .. } => self.hand.file(site, spot, &mut member, notes, &mut watch),
            _ => self.hand.special(site, spot, member.xattrs(), notes),
        };
        self.previous = Some(member);
        put
    }
}
