//! An archive that has the bytes of what did not change, too: they are copied from the base.

use super::layout::Layout;
use crate::error::{Error, Result};
use crate::format::entry::{Dialect, Entry};
use crate::format::member::MemberHeader;
use crate::format::tables::Base;
use crate::io::Sink;
use crate::limits::Limits;
use crate::pack::{Details, MemberDigest};
use crate::path::{MemberName, MemberPath};
use crate::run::Run;
use crate::writer::{ArchiveWriter, OpenMember, Put, Written};

/// Brings along the bytes of what did not change since a base.
pub(crate) trait Carry {
    /// Takes the next member, whose entry says how many bases back of the new archive its bytes are.
    fn take(&mut self, writer: &mut dyn Put, entry: Entry) -> Result<()>;

    /// Writes what was taken, before anything else is written.
    fn flush(&mut self, writer: &mut dyn Put) -> Result<()>;
}

/// A writer that has what is carried brought along.
pub(super) struct Carried<'c, S> {
    writer: ArchiveWriter<S>,
    carry: Box<dyn Carry + Send + 'c>,
    limits: Limits,
}

impl<'c, S: Sink> Carried<'c, S> {
    pub(super) fn new(writer: ArchiveWriter<S>, carry: Box<dyn Carry + Send + 'c>) -> Self {
        Self { writer, carry, limits: Limits::default() }
    }

    fn flushed(&mut self) -> Result<&mut ArchiveWriter<S>> {
        self.carry.flush(&mut self.writer)?;
        Ok(&mut self.writer)
    }
}

impl<S: Sink> Layout for Carried<'_, S> {
    type Open = OpenMember;

    fn defer_blocks(&mut self) {
        self.writer.defer_blocks();
    }

    fn full_block(&mut self) -> Option<Vec<u8>> {
        self.writer.full_block()
    }

    fn put_block(&mut self, stream: &[u8]) -> Result<()> {
        self.writer.put_block(stream)
    }

    fn takes(&self, path: &MemberName<'_>) -> bool {
        self.writer.takes(path)
    }

    fn carries(&self) -> bool {
        true
    }

    fn push(&mut self, entry: Entry, stream: &[u8]) -> Result<Entry> {
        self.flushed()?.push(entry, stream)
    }

    fn put_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.depth() > 0 {
            return self.carry.take(&mut self.writer, entry.clone());
        }
        self.flushed()?.put_entry(entry)
    }

    /// There are none.
    fn set_bases(&mut self, _: Vec<Base>) -> Result<()> {
        Ok(())
    }

    fn put_run(&mut self, run: &Run) -> Result<()> {
        for line in run.lines() {
            let text = line.text.strip_suffix(b"\n").unwrap_or(line.text);
            let entry = Entry::parse(text, Dialect::Isptar, &self.limits);
            let unstorable = |kind| Error::Unstorable { path: MemberPath::new(line.name), kind };
            self.put_entry(&entry.map_err(unstorable)?)?;
        }
        Ok(())
    }

    fn begin(&mut self, header: &MemberHeader, chunk: u64) -> Result<OpenMember> {
        self.flushed()?.begin(header, chunk)
    }

    fn append_packed_chunk(&mut self, member: &mut OpenMember, stream: &[u8]) -> Result<()> {
        self.writer.append_packed_chunk(member, stream)
    }

    fn end(&mut self, member: OpenMember, digest: MemberDigest, details: Details) -> Result<Entry> {
        self.writer.end(member, digest, details)
    }

    fn set_incomplete(&mut self) {
        self.writer.set_incomplete();
    }

    fn finish(mut self) -> Result<Written> {
        self.carry.flush(&mut self.writer)?;
        self.writer.finish().map(|(_, written)| written)
    }
}
