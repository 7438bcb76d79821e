//! How often a program that failed is run again, and how long that waits.

use std::time::Duration;

/// How often a program that failed is run again: after a second, and then after twice as long as
/// the time before, up to five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retries(pub(crate) u32);

/// The longest wait.
const LONGEST: u64 = 300;

impl Retries {
    /// Returns how long to wait before each further run.
    pub(super) fn waits(self) -> impl Iterator<Item = Duration> {
        (0..self.0).map(|run| Duration::from_secs(2_u64.saturating_pow(run).min(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_one_before_up_to_five_minutes() {
        let seconds =
            |retries| -> Vec<u64> { Retries(retries).waits().map(|wait| wait.as_secs()).collect() };
        assert!(seconds(0).is_empty());
        assert_eq!(seconds(11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(seconds(100).last(), Some(&300));
    }
}
