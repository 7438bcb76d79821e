//! The program as a whole: it is run as a user runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archive;
mod foreign;
mod program;
mod support;
