//! The protocol of the original program (PROTOCOL.md 6): lines and pieces with a length of 16 bits before
//! them, an answer to each line.

mod client;
mod server;
mod wire;

pub use client::send_classic;
pub use server::receive_classic;

#[cfg(test)]
mod tests;
