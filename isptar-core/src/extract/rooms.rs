//! How many handles there are for threads and directories.

use std::num::NonZero;

use crate::parallel::free_handles;

/// How many directories may be open at a time where handles are few: `ulimit -n 32` must do. Of
/// these the way to the last one takes some.
const OPEN: usize = 14;
const WAY: usize = 10;

/// How many may be open where there are more handles.
const MOST_OPEN: usize = 512;

/// Handles that are open besides those of workers, of which each has one.
const HANDLES: u64 = 26;

/// How many directories a batch goes through at most, and at least where it is full.
const MOST_OF_BATCH: usize = 64;
const LEAST_OF_BATCH: usize = 4;

/// How many directories may be open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rooms {
    /// At a time.
    pub(super) open: usize,
    /// Of one batch, and of one whose members are all in one stream.
    pub(super) of_batch: usize,
    pub(super) of_stream: usize,
}

impl Rooms {
    /// Says how many there may be beside so many workers, with `batches` under way.
    pub(super) fn new(workers: NonZero<usize>, batches: usize) -> Self {
        Self::of(free_handles(HANDLES.saturating_add(workers.get() as u64)), batches)
    }

    fn of(free: u64, batches: usize) -> Self {
        // Whoever else opens files in this process has the other half.
        let more = usize::try_from(free / 2).unwrap_or(MOST_OPEN);
        let open = OPEN.saturating_add(more).min(MOST_OPEN);
        let of_stream = open - WAY;
        let of_batch = (of_stream / batches.max(1)).clamp(LEAST_OF_BATCH, MOST_OF_BATCH);
        Self { open, of_batch, of_stream }
    }
}

/// Returns how many workers there are handles for.
pub(super) fn workers(threads: NonZero<usize>) -> NonZero<usize> {
    let most = usize::try_from(free_handles(HANDLES)).unwrap_or(usize::MAX);
    NonZero::new(most).map_or(NonZero::<usize>::MIN, |most| most.min(threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_handles_do_and_more_are_used() {
        for (free, batches, expected) in [
            (0, 8, (14, 4, 4)),
            (4, 8, (16, 4, 6)),
            (996, 8, (512, 62, 502)),
            (u64::MAX, 4, (512, 64, 502)),
        ] {
            let Rooms { open, of_batch, of_stream } = Rooms::of(free, batches);
            assert_eq!((open, of_batch, of_stream), expected);
        }
    }
}
