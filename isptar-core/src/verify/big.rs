//! Looking at a big file: its chunks are read on all threads, their digest is taken in order.

use super::batch::Seen;
use super::claims;
use super::job::{Done, Job, VerifyLane, Work};
use crate::archive::{Chunk, ChunkReader, DigestCheck, Member, check_padding};
use crate::error::{FormatError, Result};
use crate::format::entry::Entry;
use crate::io::ReadAt;

/// A chunk to be read, and what became of it.
pub(super) struct ChunkJob {
    chunk: Chunk,
    bytes: Vec<u8>,
    read: Result<Option<FormatError>>,
}

impl ChunkJob {
    /// Reads the chunk.
    pub(super) fn read<R: ReadAt>(mut self, reader: &mut ChunkReader<'_, R>) -> Self {
        self.read = reader.read(&self.chunk, &mut self.bytes);
        self
    }
}

/// What is known of the content as far as it was read.
struct Read {
    check: DigestCheck,
    /// What in the streams is not as the writer makes it.
    odd: Option<FormatError>,
    /// What stands behind the data.
    padding: Result<(), FormatError>,
    /// Bytes of content that were told of.
    told: u64,
    failed: Result<()>,
}

impl Read {
    fn of<R: ReadAt>(member: &Member<'_, R>) -> Self {
        let (check, odd) = (member.digest_check(), member.odd().cloned());
        Self { check, odd, padding: Ok(()), told: 0, failed: Ok(()) }
    }

    /// Takes the next chunk; what follows one that is damaged is of no interest. Returns its
    /// buffer, and how much of the content it is.
    fn take(&mut self, done: ChunkJob) -> (Vec<u8>, u64) {
        let ChunkJob { chunk, bytes, read } = done;
        if self.failed.is_err() {
            return (bytes, 0);
        }
        match read {
            Ok(odd) => {
                let (data, padding) = bytes.split_at(chunk.data.min(bytes.len()));
                self.check.update(data);
                self.odd = self.odd.take().or(odd);
                self.padding = std::mem::replace(&mut self.padding, Ok(()))
                    .and_then(|()| check_padding(padding));
                let len = data.len() as u64;
                self.told = self.told.saturating_add(len);
                (bytes, len)
            }
            Err(error) => {
                self.failed = Err(error);
                (bytes, 0)
            }
        }
    }

    /// Returns what is wrong with the member, when all of it was taken.
    fn finish<R: ReadAt>(self, entry: &Entry, member: &Member<'_, R>) -> Result<()> {
        self.failed?;
        self.check.finish()?;
        self.odd
            .map_or(Ok(()), Err)
            .and(self.padding)
            .and_then(|()| claims::check_metadata(member.header(), entry))
            .map_err(|kind| member.placed(claims::corrupt(entry, kind)))
    }
}

impl<R: ReadAt> Job<'_, R> {
    /// Looks at a member in chunks that is to be read, when all before it is done.
    pub(super) fn big(&mut self, lane: &mut VerifyLane<'_>, entry: &Entry) -> Result<()> {
        self.drain(lane)?;
        let mut seen = self.ground.judge(entry);
        seen.read = entry.packed.unwrap_or(0);
        let opened = self.ground.archive.member_of_batch(&self.run, None, entry, 0);
        let read = match opened {
            Ok(member) => self.read_chunks(lane, entry, &member, &mut seen)?,
            Err(error) => Err(error),
        };
        seen.damage = read.err().map(Box::new);
        self.tell_entry(entry, seen)
    }

    /// Reads the chunks, and returns what is wrong with the member.
    fn read_chunks(
        &mut self,
        lane: &mut VerifyLane<'_>,
        entry: &Entry,
        member: &Member<'_, R>,
        seen: &mut Seen,
    ) -> Result<Result<()>> {
        let mut read = Read::of(member);
        let mut chunks = member.chunks().into_iter().flatten();
        let mut spare = Vec::new();
        loop {
            while read.failed.is_ok() && !lane.is_full() && lane.len() < self.most {
                let Some(chunk) = chunks.next() else { break };
                let weight = chunk.packed.saturating_add(chunk.real);
                let bytes = spare.pop().unwrap_or_default();
                lane.push(Work::Chunk(ChunkJob { chunk, bytes, read: Ok(None) }), weight);
            }
            let Some(Done::Chunk(done)) = lane.pop() else { break };
            self.tell.go_on()?;
            self.run.count(
                done.chunk.member.depth,
                done.chunk.offset,
                done.chunk.packed,
                done.chunk.real,
            );
            let (bytes, len) = read.take(done);
            self.tell.progress(len);
            spare.push(bytes);
        }
        // Holes take no time.
        seen.progress = entry.kind.size().saturating_sub(read.told);
        Ok(read.finish(entry, member))
    }
}
