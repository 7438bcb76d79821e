//! Waiting for a program, and for time to pass, with an ear for signals.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::signals;

/// How long a signal may go unnoticed.
const LOOK: Duration = Duration::from_millis(100);

/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_secs(10);

/// Whether signals that stop this program end the other one as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heed {
    /// They do.
    Signals,
    /// It runs to its end: it undoes what another one did.
    Nothing,
}

/// Waits for the end of a program; `None` when a signal came and the program was ended.
pub(super) fn wait(child: &mut Child, heed: Heed) -> io::Result<Option<ExitStatus>> {
    let handle = handle(child);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if heed == Heed::Signals && signals::check().is_err() {
            end(child)?;
            return Ok(None);
        }
        pause(handle.as_ref());
    }
}

/// Asks a program to end, and ends it when it does not.
pub(super) fn end(child: &mut Child) -> io::Result<()> {
    let handle = handle(child);
    // Its number is its own as long as nobody has waited for it.
    if let Some(pid) = pid(child) {
        // It may have ended by itself, or act for another user by now.
        let _sent = kill_process(pid, Signal::TERM);
    }
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        pause(handle.as_ref());
    }
    child.kill()?;
    child.wait().map(drop)
}

/// Waits a while, or until the program ends.
fn pause(handle: Option<&OwnedFd>) {
    let Some(handle) = handle else { return thread::sleep(LOOK / 5) };
    let time = Timespec::try_from(LOOK).ok();
    // Whatever it answers, the program is looked at next.
    let _ready = poll(&mut [PollFd::new(handle, PollFlags::IN)], time.as_ref());
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Returns a handle that tells the end of a program; Linux has them since 5.3.
fn handle(child: &Child) -> Option<OwnedFd> {
    pidfd_open(pid(child)?, PidfdFlags::empty()).ok()
}

/// Waits; fails as soon as a signal comes that stops this program.
pub(super) fn sleep(time: Duration) -> io::Result<()> {
    let until = Instant::now() + time;
    loop {
        signals::check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK));
    }
}
