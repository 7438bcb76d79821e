//! How much a run over the members of an archive decodes again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::FormatError;

/// What may be decoded again at least, whatever the archive is like.
const AT_LEAST: u64 = 64 << 20;

/// How many times the archive, or what was decoded of it once.
const TIMES: u64 = 8;

/// Bytes of the headers of a member, as they are at most where nobody is after time.
const HEADERS: u64 = 64 << 10;

/// What one run over members has decoded, of an archive and of each of its bases.
///
/// Streams follow each other as their entries do, so that a run goes forward. A listing that goes
/// to and fro, or whose streams begin within each other, would have it decode the same bytes for
/// every entry: that is what is limited here. Headers that are read again for directories and links
/// stay far below the limit. Entries of different depths go forward each in their own archive.
#[derive(Debug)]
pub(crate) struct Rereads {
    /// By depth.
    counters: Box<[Counter]>,
}

/// What was decoded of one archive.
#[derive(Debug, Default)]
struct Counter {
    /// Where the streams that were decoded end.
    end: AtomicU64,
    /// Bytes that were decoded once, and again.
    once: AtomicU64,
    again: AtomicU64,
}

impl Rereads {
    /// Begins a run over members of so many archives.
    pub(super) fn new(depths: usize) -> Self {
        Self { counters: (0..depths.max(1)).map(|_| Counter::default()).collect() }
    }

    fn of(&self, depth: u32) -> &Counter {
        let index = usize::try_from(depth).unwrap_or(usize::MAX);
        // Of a depth that does not exist nothing is decoded.
        self.counters.get(index).unwrap_or(&self.counters[0])
    }

    /// Returns how many bytes of an archive were decoded again.
    pub(crate) fn again(&self, depth: u32) -> u64 {
        self.of(depth).again()
    }

    /// Takes back what was counted since an earlier [`Self::again`], as far as it is the content of
    /// a file of `size` bytes, packed and unpacked, with its headers: it was put to use.
    pub(crate) fn forgive(&self, depth: u32, before: u64, size: u64) {
        let counter = self.of(depth);
        let used = size.saturating_mul(2).saturating_add(HEADERS);
        let wasted = counter.again().saturating_sub(before).saturating_sub(used);
        counter.again.store(before.saturating_add(wasted), Ordering::Relaxed);
    }

    /// Refuses a stream at `offset`, of an archive of `size` bytes, when too much was decoded again.
    pub(super) fn check(&self, depth: u32, size: u64, offset: u64) -> Result<(), FormatError> {
        let counter = self.of(depth);
        let (limit, actual) = (counter.limit(size), counter.again());
        if offset >= counter.end.load(Ordering::Relaxed) || actual <= limit {
            return Ok(());
        }
        let what = "number of bytes decoded again";
        Err(FormatError::Limit { what, limit, actual, raise: None })
    }

    /// Adds what a part of the run counted for itself, which was ahead of all before it.
    pub(crate) fn join(&self, part: &Self) {
        for (counter, part) in self.counters.iter().zip(&part.counters) {
            counter.end.fetch_max(part.end.load(Ordering::Relaxed), Ordering::Relaxed);
            add(&counter.once, part.once.load(Ordering::Relaxed));
            add(&counter.again, part.again());
        }
    }

    /// Counts a stream at `offset`: its `packed` bytes gave `real` ones.
    pub(crate) fn count(&self, depth: u32, offset: u64, packed: u64, real: u64) {
        let counter = self.of(depth);
        let end = counter.end.fetch_max(offset.saturating_add(packed), Ordering::Relaxed);
        let bytes = if offset < end { &counter.again } else { &counter.once };
        add(bytes, packed.saturating_add(real));
    }
}

impl Counter {
    /// Returns how much may be decoded again of an archive of `size` bytes.
    fn limit(&self, size: u64) -> u64 {
        let size = size.max(self.once.load(Ordering::Relaxed));
        size.saturating_mul(TIMES).saturating_add(AT_LEAST)
    }

    fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }
}

/// Adds to a counter, which stays at its end.
fn add(counter: &AtomicU64, bytes: u64) {
    let more = |count: u64| Some(count.saturating_add(bytes));
    let _never = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_forward_is_never_refused() {
        let rereads = Rereads::new(1);
        for offset in 0..1000 {
            rereads.check(0, 100, offset * 10).unwrap();
            rereads.count(0, offset * 10, 10, 4 << 20);
        }
        assert_eq!(rereads.again(0), 0);
        // All of it some times more is well within the limit.
        for offset in (0..1000).chain(0..1000).chain(0..1000) {
            rereads.check(0, 100, offset * 10).unwrap();
            rereads.count(0, offset * 10, 10, 4 << 20);
        }
    }

    #[test]
    fn parts_of_a_run_add_up() {
        let (whole, part) = (Rereads::new(1), Rereads::new(1));
        part.count(0, 0, 10, 90);
        part.count(0, 0, 10, 20);
        whole.join(&part);
        assert_eq!((whole.again(0), whole.of(0).limit(0)), (30, AT_LEAST + 100 * TIMES));
        whole.count(0, 5, 1, 1);
        assert_eq!(whole.again(0), 32);
    }

    #[test]
    fn what_is_beyond_all_numbers_does_not_start_from_zero() {
        let rereads = Rereads::new(1);
        for _ in 0..3 {
            rereads.count(0, 0, u64::MAX, u64::MAX);
        }
        rereads.join(&rereads);
        assert_eq!((rereads.again(0), rereads.of(0).limit(0)), (u64::MAX, u64::MAX));
    }

    #[test]
    fn going_to_and_fro_and_streams_within_each_other_are_refused() {
        for offsets in [[0, 10], [0, 0], [0, 1]] {
            let rereads = Rereads::new(1);
            let mut decoded = 0;
            for round in 0..1000 {
                let offset = offsets[round % 2];
                if rereads.check(0, 100, offset).is_err() {
                    break;
                }
                rereads.count(0, offset, 10, 4 << 20);
                decoded += 4 << 20;
            }
            assert!(decoded <= AT_LEAST + (2 * TIMES + 3) * (4 << 20), "{decoded}");
            // What is ahead can still be read.
            rereads.check(0, 100, 20).unwrap();
        }
    }

    #[test]
    fn each_archive_of_a_chain_has_its_own_limit() {
        let rereads = Rereads::new(2);
        for round in 0..1000 {
            rereads.check(1, 100, round * 10).unwrap();
            rereads.count(0, 10_000 - round * 10, 10, 4 << 20);
            rereads.count(1, round * 10, 10, 4 << 20);
        }
        assert_eq!(rereads.again(1), 0);
        rereads.check(0, 100, 0).unwrap_err();
        // A base that nobody knows is never one that is decoded.
        assert_eq!(rereads.again(7), rereads.again(0));
    }

    #[test]
    fn what_was_put_to_use_does_not_count() {
        let rereads = Rereads::new(1);
        rereads.count(0, 0, 10, 4 << 20);
        for _ in 0..1000 {
            let again = rereads.again(0);
            rereads.check(0, 100, 0).unwrap();
            rereads.count(0, 0, 10, 4 << 20);
            rereads.forgive(0, again, 4 << 20);
        }
        // Of a stream with a small file in it, the rest is.
        for _ in 0..100 {
            let again = rereads.again(0);
            rereads.count(0, 0, 10, 4 << 20);
            rereads.forgive(0, again, 5);
        }
        rereads.check(0, 100, 0).unwrap_err();
    }
}
