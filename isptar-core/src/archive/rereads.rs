//! How much a run over the members of an archive decodes again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::FormatError;

/// What may be decoded again at least, whatever the archive is like.
const AT_LEAST: u64 = 64 << 20;

/// How many times the archive, or what was decoded of it once.
const TIMES: u64 = 8;

/// Bytes of the headers of a member, as they are at most where nobody is after time.
const HEADERS: u64 = 64 << 10;

/// What one run over members has decoded.
///
/// Streams follow each other as their entries do, so that a run goes forward. A listing that goes
/// to and fro, or whose streams begin within each other, would have it decode the same bytes for
/// every entry: that is what is limited here. Headers that are read again for directories and links
/// stay far below the limit.
#[derive(Debug)]
pub(crate) struct Rereads {
    archive_size: u64,
    /// Where the streams that were decoded end.
    end: AtomicU64,
    /// Bytes that were decoded once, and again.
    once: AtomicU64,
    again: AtomicU64,
}

impl Rereads {
    pub(super) fn new(archive_size: u64) -> Self {
        let (end, once, again) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { archive_size, end, once, again }
    }

    fn limit(&self) -> u64 {
        let size = self.archive_size.max(self.once.load(Ordering::Relaxed));
        size.saturating_mul(TIMES).saturating_add(AT_LEAST)
    }

    /// Returns how many bytes were decoded again.
    pub(crate) fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }

    /// Takes back what was counted since an earlier [`Self::again`], as far as it is the content of
    /// a file of `size` bytes, packed and unpacked, with its headers: it was put to use.
    pub(crate) fn forgive(&self, before: u64, size: u64) {
        let used = size.saturating_mul(2).saturating_add(HEADERS);
        let wasted = self.again().saturating_sub(before).saturating_sub(used);
        self.again.store(before.saturating_add(wasted), Ordering::Relaxed);
    }

    /// Refuses a stream at `offset` when too much was decoded again.
    pub(super) fn check(&self, offset: u64) -> Result<(), FormatError> {
        let (limit, actual) = (self.limit(), self.again());
        if offset >= self.end.load(Ordering::Relaxed) || actual <= limit {
            return Ok(());
        }
        let what = "number of bytes decoded again";
        Err(FormatError::Limit { what, limit, actual, raise: None })
    }

    /// Adds what a part of the run counted for itself, which was ahead of all before it.
    pub(crate) fn join(&self, part: &Self) {
        self.end.fetch_max(part.end.load(Ordering::Relaxed), Ordering::Relaxed);
        add(&self.once, part.once.load(Ordering::Relaxed));
        add(&self.again, part.again());
    }

    /// Counts a stream at `offset`: its `packed` bytes gave `real` ones.
    pub(crate) fn count(&self, offset: u64, packed: u64, real: u64) {
        let end = self.end.fetch_max(offset.saturating_add(packed), Ordering::Relaxed);
        let counter = if offset < end { &self.again } else { &self.once };
        add(counter, packed.saturating_add(real));
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
        let rereads = Rereads::new(100);
        for offset in 0..1000 {
            rereads.check(offset * 10).unwrap();
            rereads.count(offset * 10, 10, 4 << 20);
        }
        assert_eq!(rereads.again(), 0);
        // All of it some times more is well within the limit.
        for offset in (0..1000).chain(0..1000).chain(0..1000) {
            rereads.check(offset * 10).unwrap();
            rereads.count(offset * 10, 10, 4 << 20);
        }
    }

    #[test]
    fn parts_of_a_run_add_up() {
        let (whole, part) = (Rereads::new(0), Rereads::new(0));
        part.count(0, 10, 90);
        part.count(0, 10, 20);
        whole.join(&part);
        assert_eq!((whole.again(), whole.limit()), (30, AT_LEAST + 100 * TIMES));
        whole.count(5, 1, 1);
        assert_eq!(whole.again(), 32);
    }

    #[test]
    fn what_is_beyond_all_numbers_does_not_start_from_zero() {
        let rereads = Rereads::new(0);
        for _ in 0..3 {
            rereads.count(0, u64::MAX, u64::MAX);
        }
        rereads.join(&rereads);
        assert_eq!((rereads.again(), rereads.limit()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn going_to_and_fro_and_streams_within_each_other_are_refused() {
        for offsets in [[0, 10], [0, 0], [0, 1]] {
            let rereads = Rereads::new(100);
            let mut decoded = 0;
            for round in 0..1000 {
                let offset = offsets[round % 2];
                if rereads.check(offset).is_err() {
                    break;
                }
                rereads.count(offset, 10, 4 << 20);
                decoded += 4 << 20;
            }
            assert!(decoded <= AT_LEAST + (2 * TIMES + 3) * (4 << 20), "{decoded}");
            // What is ahead can still be read.
            rereads.check(20).unwrap();
        }
    }

    #[test]
    fn what_was_put_to_use_does_not_count() {
        let rereads = Rereads::new(100);
        rereads.count(0, 10, 4 << 20);
        for _ in 0..1000 {
            let again = rereads.again();
            rereads.check(0).unwrap();
            rereads.count(0, 10, 4 << 20);
            rereads.forgive(again, 4 << 20);
        }
        // Of a stream with a small file in it, the rest is.
        for _ in 0..100 {
            let again = rereads.again();
            rereads.count(0, 10, 4 << 20);
            rereads.forgive(again, 5);
        }
        rereads.check(0).unwrap_err();
    }
}
