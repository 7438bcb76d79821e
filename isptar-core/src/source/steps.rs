//! The steps of a walk, taken when they are asked for, or ahead of that by a thread of its own.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope};

use super::walk::{Note, Step, Tally, Walk};
use crate::error::{Error, Result};
use crate::observe::Observer;

/// When a batch of steps is full: steps, and handles of directories that they keep.
const BATCH_STEPS: usize = 256;
const BATCH_HANDLES: usize = 16;

/// How many batches wait at most.
const BATCHES: usize = 4;

/// The steps of a walk.
#[derive(Debug)]
pub(crate) enum Steps {
    /// Each is taken when it is asked for.
    Here(Box<Walk>),
    /// A thread takes them ahead.
    Ahead(Ahead),
}

/// Steps that a thread takes ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    batches: Receiver<Batch>,
    batch: Batch,
}

/// Steps that follow each other.
#[derive(Debug, Default)]
struct Batch {
    /// Each with what is to be told before it.
    steps: VecDeque<(Vec<Note>, Step)>,
    /// What the walk counted up to the last of them.
    tally: Tally,
}

impl Steps {
    /// How many handles steps hold at most that are taken ahead, in the batches that wait, that are made
    /// and that are taken apart: the last step of each may bring two.
    pub(crate) const HANDLES: u64 = ((BATCHES + 2) * (BATCH_HANDLES + 1)) as u64;

    /// Lets a thread take the steps, which ends when it is left alone; without one, if the system has
    /// none.
    pub(crate) fn ahead<'scope>(walk: Box<Walk>, scope: &'scope Scope<'scope, '_>) -> Self {
        // Handed over when there is somebody to take it.
        let (hand, walks) = channel();
        let (sender, batches) = sync_channel(BATCHES);
        let body = move || {
            if let Ok(walk) = walks.recv() {
                take_all(walk, &sender);
            }
        };
        if Builder::new().spawn_scoped(scope, body).is_err() {
            return Self::Here(walk);
        }
        match hand.send(walk) {
            Ok(()) => Self::Ahead(Ahead { batches, batch: Batch::default() }),
            Err(unsent) => Self::Here(unsent.0),
        }
    }

    /// Returns the next step, and tells what there is to tell of it.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`].
    pub(crate) fn step(&mut self, observer: &mut dyn Observer) -> Result<Step> {
        match self {
            Self::Here(walk) => walk.step(observer),
            Self::Ahead(ahead) => ahead.step(observer),
        }
    }

    /// Returns the walk, unless it is somewhere ahead.
    pub(crate) fn here(&mut self) -> Option<&mut Walk> {
        match self {
            Self::Here(walk) => Some(walk),
            Self::Ahead(_) => None,
        }
    }

    /// Returns what the walk has counted; of steps taken ahead, of the batch of the last one.
    pub(crate) fn tally(&self) -> Tally {
        match self {
            Self::Here(walk) => walk.tally(),
            Self::Ahead(ahead) => ahead.batch.tally,
        }
    }
}

impl Ahead {
    fn step(&mut self, observer: &mut dyn Observer) -> Result<Step> {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        loop {
            if let Some((notes, step)) = self.batch.steps.pop_front() {
                notes.iter().for_each(|note| note.tell(observer));
                return Ok(step);
            }
            // A walk that ended without its last step has panicked, which its scope will tell: what
            // it would have found must not be taken for deleted.
            self.batch = self.batches.recv().map_err(|_| Error::Cancelled)?;
        }
    }
}

/// Takes all steps of a walk, until there are no more or nobody waits for them.
fn take_all(mut walk: Box<Walk>, sender: &SyncSender<Batch>) {
    loop {
        let batch = next_batch(&mut walk);
        let is_last = matches!(batch.steps.back(), Some((_, Step::End)));
        if sender.send(batch).is_err() || is_last {
            return;
        }
    }
}

fn next_batch(walk: &mut Walk) -> Batch {
    let mut batch = Batch::default();
    let (mut handles, mut is_ended) = (0, false);
    while !is_ended && batch.steps.len() < BATCH_STEPS && handles < BATCH_HANDLES {
        let step = walk.advance();
        is_ended = matches!(step, Step::End);
        handles += step.handles(batch.steps.back().map(|(_, last)| last));
        batch.steps.push_back((walk.take_notes(), step));
    }
    batch.tally = walk.tally();
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceOptions;

    #[test]
    fn the_way_back_up_from_far_below_keeps_few_handles() {
        let root = tempfile::tempdir().unwrap();
        let mut here = root.path().to_path_buf();
        for _ in 0..60 {
            std::fs::write(here.join("z"), "").unwrap();
            here.push("d");
            std::fs::create_dir(&here).unwrap();
        }
        let mut walk = Walk::new(root.path(), &[".".into()], SourceOptions::default()).unwrap();
        let (mut found, mut is_ended) = (0, false);
        while !is_ended {
            let batch = next_batch(&mut walk);
            is_ended = matches!(batch.steps.back(), Some((_, Step::End)));
            found += batch.steps.iter().filter(|(_, step)| matches!(step, Step::Found(_))).count();
            let pairs = batch.steps.iter().zip(batch.steps.iter().skip(1));
            let handles: usize = pairs.map(|((_, last), (_, step))| step.handles(Some(last))).sum();
            assert!(handles <= BATCH_HANDLES + 1, "{handles}");
        }
        assert_eq!(found, 121);
    }
}
