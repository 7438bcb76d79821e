//! Signals that stop a job: noted, asked for by the job, told in the exit status.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::failure::Failure;

/// What [`Signals::start`] made, for those who read deep within a job.
static STARTED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Fails when a signal came that stops the job: reads that go through it end with the next one, even
/// where the library looks for its end in what never ends.
pub(crate) fn check() -> io::Result<()> {
    match STARTED.get().map(|received| received.load(Ordering::Relaxed)) {
        None | Some(0) => Ok(()),
        Some(_) => Err(io::Error::other("interrupted")),
    }
}

/// Returns the number of the signal that stops the job, if one came.
pub(crate) fn noted() -> Option<u8> {
    let received = STARTED.get()?.load(Ordering::Relaxed);
    u8::try_from(received).ok().filter(|&number| number > 0)
}

/// The signals that were received.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Begins to note SIGINT, SIGTERM and SIGHUP; the second one ends the process at once.
    pub(crate) fn start() -> Result<Self, Failure> {
        let signals = Self::listen().map_err(Failure::Signals)?;
        // A process runs one job.
        let _first = STARTED.set(Arc::clone(&signals.received));
        Ok(signals)
    }

    fn listen() -> io::Result<Self> {
        let signals = Self::default();
        let again = Arc::new(AtomicBool::new(false));
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Under nohup, or in the background of a plain shell, they are ignored on purpose.
            if ignored & (1 << (signal - 1)) != 0 {
                continue;
            }
            // The order matters: the first signal must find the flag unset.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&signals.received), number)?;
        }
        Ok(signals)
    }

    /// Returns the number of the last signal received.
    pub(crate) fn received(&self) -> Option<u8> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            number => u8::try_from(number).ok(),
        }
    }
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`) fail, as on a full disk, instead of
/// ending the process, which could clear nothing up then.
pub(crate) fn survive_size_limit() {
    // When the system refuses, such a write ends the process, as it would have without this.
    let _registered = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Returns the mask of ignored signals that /proc/self/status tells.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_hexadecimal() {
        let status = "Name:\tisptar\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored(""), 0);
    }

    #[test]
    fn nothing_was_received_at_first() {
        assert_eq!(Signals::default().received(), None);
        let signals = Signals { received: Arc::new(AtomicUsize::new(15)) };
        assert_eq!(signals.received(), Some(15));
    }
}
