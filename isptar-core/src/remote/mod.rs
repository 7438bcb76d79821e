//! A tree on one machine, its archive on another: the jobs [`send`] and [`receive`].
//!
//! The client walks and reads its tree, the server compares, packs and writes. They speak frames
//! over any two pipes (PROTOCOL.md). The client offers what it has, in listing order and far ahead
//! of what it sends; the server answers which of it it wants. So nothing waits for an answer for
//! each file, and what is offered and not sent is bounded by [`WINDOW`] on both sides.
//!
//! Neither side trusts the other: the server takes names only into the archive, and the client
//! reads only what it has offered itself.

mod classic;
mod client;
mod error;
pub mod frame;
mod known;
pub mod message;
mod pack;
mod server;
mod store;
mod wire;

pub use classic::{receive_classic, send_classic};
pub use client::{SendOptions, SendReport, send};
pub use error::RemoteError;
pub use server::{ReceiveOptions, receive};

/// Bytes of lines that are offered ahead at most, counted until all that is wanted of them was sent.
pub const WINDOW: u64 = 2 << 20;

#[cfg(test)]
mod tests;
