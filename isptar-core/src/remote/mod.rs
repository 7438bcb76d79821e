//! A tree on one machine, its archive on another: the jobs [`send`] and [`receive`].
//!
//! The client walks and reads its tree, the server compares, packs and writes. They speak frames
//! over any two pipes (PROTOCOL.md). The client offers what it has, in listing order and far ahead
//! of what it sends; the server answers which of it it wants. So nothing waits for an answer for
//! each file, and what is offered and not sent is bounded by [`WINDOW`] on both sides.
//!
//! Neither side trusts the other: the server takes names only into the archive, and the client
//! reads only what it has offered itself.
//!
//! The client has a thread of its own that reads the answers, whatever the client is doing, so the
//! two sides cannot wait for each other. It opens and reads with the code of create
//! (`create::file`, `create::big`), and knows of moved hard links as that does. The server reads
//! frames in order and hands batches and chunks to workers; storing is in order, as in create. It
//! compresses, because the streams and their digests must be its own. With a base, `known` compares
//! offers with its listing by the rules of [`crate::base`].

mod classic;
mod client;
mod error;
pub mod frame;
mod kept;
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
