//! One module a command: its arguments, the job, what is printed.

pub(crate) mod append;
pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod extract;
pub(crate) mod info;
pub(crate) mod isolate;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod open;
pub(crate) mod receive;
pub(crate) mod repair;
pub(crate) mod reslice;
pub(crate) mod send;
pub(crate) mod split;
pub(crate) mod verify;

mod exclude;
mod format;
mod pack;
mod part;
mod rewrite;
mod select;
mod slices;
mod store;
mod tree;
mod user;

/// Headings of options in help.
mod heading {
    /// What of a tree is not looked at.
    pub(super) const LEFT_OUT: &str = "What is left out";
    /// What the archive is like.
    pub(super) const STORED: &str = "How it is stored";
    /// What is stored of a tree that was archived before.
    pub(super) const BASES: &str = "Incremental archives";
    /// Slices.
    pub(super) const SLICES: &str = "Slices";
    /// What programs do.
    pub(super) const PROGRAMS: &str = "Programs";
}
