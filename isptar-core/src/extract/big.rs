//! Files of several chunks: all threads decode and write them, and the digest runs over them in
//! order before the file gets its name.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use super::hand::Decision;
use super::made::Paused;
use super::notes::{Notes, Site};
use super::place::Directory;
use super::worker::Destined;
use super::write::{Writer, check};
use crate::archive::{Chunk, ChunkReader, DigestCheck, Rereads};
use crate::content::Piece;
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::member::Xattrs;
use crate::io::ReadAt;

/// A file that is being written by chunks.
pub(super) struct Big {
    pub(super) index: u64,
    pub(super) hash: u64,
    pub(super) what: Arc<What>,
    pub(super) xattrs: Xattrs,
    pub(super) notes: Notes,
    pub(super) decision: Decision,
    pub(super) paused: Paused,
    /// Counts what is decoded for it.
    pub(super) run: Arc<Rereads>,
    /// Chunks that were handed out, and how many of these are done; whether there will be more.
    pub(super) handed_out: u64,
    pub(super) done: u64,
    pub(super) more: bool,
    /// The end of what was written, and how much was told to be done.
    end: u64,
    pub(super) told: u64,
    /// What is wrong with it, or the digest so far.
    state: Result<DigestCheck>,
}

/// What a big file is, for those who write it.
#[derive(Debug)]
pub(super) struct What {
    pub(super) entry: Entry,
    pub(super) destined: Destined,
}

impl What {
    pub(super) fn directory(&self) -> &Directory {
        &self.destined.directory
    }
}

/// A chunk, and the file that it belongs to.
#[derive(Debug)]
pub(super) struct ChunkJob {
    pub(super) chunk: Chunk,
    pub(super) file: Arc<OwnedFd>,
    pub(super) what: Arc<What>,
}

/// A chunk that was written.
#[derive(Debug)]
pub(super) struct Written {
    data: Vec<u8>,
    /// How many of these bytes are data.
    len: usize,
    /// Where the last of it is in the file, and the last that is no hole.
    reached: u64,
    end: u64,
}

/// Buffers that are used again: fresh ones cost a page fault a page.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

impl ChunkJob {
    /// Decodes the chunk and writes it to its file.
    pub(super) fn write<R: ReadAt>(
        &self,
        reader: &mut ChunkReader<'_, R>,
        root: &std::path::Path,
        buffers: &Buffers,
    ) -> Result<Written> {
        let mut data = buffers.take();
        reader.read(&self.chunk, &mut data)?;
        let What { entry, destined } = &*self.what;
        let site = Site { root, path: &destined.path, entry };
        let mut writer = Writer::new(&self.file, entry.sparse, site);
        let mut reached = 0;
        for (offset, range) in &self.chunk.pieces {
            let bytes = data.get(range.clone()).unwrap_or_default();
            let piece = Piece { offset: *offset, bytes };
            reached = check(piece, entry.kind.size(), site)?;
            writer.write(piece)?;
        }
        let end = writer.end();
        Ok(Written { data, len: self.chunk.data, reached, end })
    }
}

impl Big {
    pub(super) fn new(
        index: u64,
        hash: u64,
        what: Arc<What>,
        xattrs: Xattrs,
        notes: Notes,
        (decision, paused): (Decision, Paused),
        (check, run): (DigestCheck, Arc<Rereads>),
    ) -> Self {
        let (handed_out, done, more, end, told) = (0, 0, true, 0, 0);
        let state = Ok(check);
        Self {
            index,
            hash,
            what,
            xattrs,
            notes,
            decision,
            paused,
            run,
            handed_out,
            done,
            more,
            end,
            told,
            state,
        }
    }

    /// Takes the next chunk; returns how many bytes more of the content are there.
    pub(super) fn add(&mut self, written: Result<Written>, buffers: &Buffers) -> u64 {
        self.done += 1;
        let Ok(check) = &mut self.state else { return 0 };
        match written {
            Ok(Written { data, len, reached, end }) => {
                check.update(data.get(..len).unwrap_or_default());
                buffers.give_back(data);
                self.end = self.end.max(end);
                let more = reached.saturating_sub(self.told);
                self.told += more;
                more
            }
            Err(error) => {
                self.state = Err(error);
                0
            }
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.is_err()
    }

    /// Returns whether all its chunks are done.
    pub(super) fn is_done(&self) -> bool {
        !self.more && self.done == self.handed_out
    }

    /// Checks the digest, and gives the file its size.
    pub(super) fn complete(&mut self, site: Site<'_>) -> Result<()> {
        let cancelled = Err(crate::error::Error::Cancelled);
        std::mem::replace(&mut self.state, cancelled)?.finish()?;
        let size = site.entry.kind.size();
        if self.end != size {
            let set = rustix::fs::ftruncate(&self.paused.value, size);
            set.map_err(site.refused("set the size of"))?;
        }
        Ok(())
    }
}
