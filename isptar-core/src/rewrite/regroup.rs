//! A stream that is made anew of members that were in others.

use crate::codec::Packer;
use crate::error::Result;
use crate::format::entry::{Entry, Location};
use crate::writer::Put;

/// Collects the tar of members and packs it as one stream.
#[derive(Debug)]
pub(crate) struct Regroup {
    packer: Packer,
    tar: Vec<u8>,
    stream: Vec<u8>,
}

impl Regroup {
    pub(crate) fn new(level: u8) -> Self {
        Self { packer: Packer::new(level), tar: Vec::new(), stream: Vec::new() }
    }

    /// Begins a stream.
    pub(crate) fn begin(&mut self) {
        self.tar.clear();
    }

    /// Adds the tar of a member; returns where in the stream it begins.
    pub(crate) fn add(&mut self, member: &[u8]) -> u64 {
        let zoffset = self.tar.len() as u64;
        self.tar.extend_from_slice(member);
        zoffset
    }

    /// Appends the stream of what was added, and says in the entries where it is; they say where in
    /// it they are, and those without bytes stay as they are.
    pub(crate) fn seal(&mut self, writer: &mut dyn Put, entries: &mut [Entry]) -> Result<()> {
        self.stream.clear();
        self.packer.pack(&self.tar, &mut self.stream);
        let offset = writer.put_stream(&self.stream)?;
        place(entries, offset, self.stream.len() as u64);
        Ok(())
    }

    /// Packs one stream of a member that has several, and appends it; returns where it begins, and
    /// how long it is.
    pub(crate) fn pack(&mut self, writer: &mut dyn Put, text: &[u8]) -> Result<(u64, u64)> {
        self.stream.clear();
        self.packer.pack(text, &mut self.stream);
        Ok((writer.put_stream(&self.stream)?, self.stream.len() as u64))
    }
}

/// Says in the entries of one stream where it is now.
pub(super) fn place(entries: &mut [Entry], offset: u64, packed: u64) {
    for entry in entries.iter_mut().filter(|entry| is_here(entry)) {
        let zoffset = entry.location.map_or(0, |location| location.zoffset);
        entry.location = Some(Location { depth: 0, slice: 1, offset, zoffset });
        entry.packed = Some(packed);
    }
}

/// Returns whether the bytes of a member are in this archive.
pub(crate) fn is_here(entry: &Entry) -> bool {
    entry.location.is_some_and(|location| location.depth == 0)
}
