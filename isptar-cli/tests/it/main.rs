//! The program as a whole: it is run as a user runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::panic, reason = "a missing tool fails where all are required")]
#![allow(clippy::print_stderr, reason = "tests that skip something say so")]

mod archive;
mod chain;
mod classic;
mod commands;
mod diff;
mod disk;
mod foreign;
mod hostile;
mod increments;
mod inject;
mod interop;
mod kill;
mod limits;
mod memory;
mod merge;
mod program;
mod programs;
mod remote;
mod repair;
mod restoring;
mod retention;
mod slices;
mod strace;
mod support;
mod tree;
mod verify;
