//! Passes over the listing on several threads, a block at a time.

use std::num::NonZero;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::Archive;
use super::lines::{Lines, Next};
use super::stream::StreamReader;
use crate::error::{Error, Result};
use crate::format::entry::EntryRef;
use crate::io::ReadAt;
use crate::parallel::{self, in_order};
use crate::path::MemberPath;

/// The entries of one listing block, in order; see [`Archive::map_blocks`].
///
/// The only error it gives is [`Error::CorruptLine`], after which it goes on. Any other ends it, and
/// is told when its turn comes.
#[derive(Debug)]
pub struct BlockEntries<'a, R> {
    archive: &'a Archive<R>,
    text: &'a [u8],
    within: Option<&'a MemberPath>,
    lines: &'a mut Lines,
    end: Option<Result<Next>>,
}

impl<'a, R: ReadAt> Iterator for BlockEntries<'a, R> {
    type Item = Result<EntryRef<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        let found = match self.lines.seek(self.archive, self.text, self.within) {
            Ok(Next::Line) => self.lines.take(self.archive, self.text),
            Ok(next) => {
                self.end = Some(Ok(next));
                return None;
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(_) | Err(Error::CorruptLine { .. }) => Some(found),
            Err(error) => {
                self.end = Some(Err(error));
                None
            }
        }
    }
}

/// Makes a value of one block; one a thread.
struct Worker<'a, R> {
    archive: &'a Archive<R>,
    within: Option<&'a MemberPath>,
    reader: StreamReader<'a, R>,
    /// One block of many is wanted.
    is_alone: bool,
}

/// A block to be mapped, with a buffer for its text.
struct Job {
    block: usize,
    text: Vec<u8>,
}

/// What became of a block.
struct Mapped<T> {
    block: usize,
    text: Vec<u8>,
    /// None when the block could not be unpacked.
    value: Option<T>,
    /// The name of the last entry that was read, of a sorted archive.
    last: Option<Vec<u8>>,
    end: Result<Next>,
}

impl<'a, R: ReadAt> Worker<'a, R> {
    fn new(archive: &'a Archive<R>, within: Option<&'a MemberPath>, is_alone: bool) -> Self {
        Self { archive, within, reader: StreamReader::new(&archive.source), is_alone }
    }

    fn map<T>(
        &mut self,
        Job { block, mut text }: Job,
        work: impl Fn(&mut BlockEntries<'_, R>) -> T,
    ) -> Mapped<T> {
        let archive = self.archive;
        let read = match self.is_alone {
            true => archive.keep_block(block, &mut text),
            false => archive.unpack_block(block, &mut self.reader, &mut text),
        };
        if let Err(error) = read {
            return Mapped { block, text, value: None, last: None, end: Err(error) };
        }
        let mut lines = Lines::default();
        lines.begin(archive, block);
        let within = self.within;
        let mut entries =
            BlockEntries { archive, text: &text, within, lines: &mut lines, end: None };
        let value = Some(work(&mut entries));
        // What nobody asked for is checked as well.
        entries.by_ref().for_each(drop);
        let end = entries.end.unwrap_or(Ok(Next::End));
        Mapped { block, text, value, last: lines.into_last_name(), end }
    }
}

/// What the thread that has the blocks in order knows.
struct Driver<'a, R> {
    archive: &'a Archive<R>,
    /// The name of the last entry so far.
    last: Option<Vec<u8>>,
    /// Digests the text of an archive of ours, when all of it is read.
    identity: Option<Sha256>,
    /// Buffers that are free again.
    spare: Vec<Vec<u8>>,
}

impl<R: ReadAt> Driver<'_, R> {
    /// Takes what became of the next block, and returns whether there may be more.
    fn take<T, E: From<Error>>(
        &mut self,
        mapped: Mapped<T>,
        each: &mut impl FnMut(T) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Mapped { block, text, value, last, end } = mapped;
        if let Some(last) = last {
            self.check_order(block)?;
            self.last = Some(last);
        }
        value.map_or(Ok(()), each)?;
        let end = end?;
        if let Some(identity) = &mut self.identity {
            identity.update(&text);
        }
        self.spare.push(text);
        Ok(end == Next::End)
    }

    /// Checks that the first name of a block, which its worker compared with the tables, comes after
    /// the last one of the block before.
    fn check_order(&self, block: usize) -> Result<()> {
        let first = self.archive.tables.blocks.get(block).map(|block| &block.first);
        match (&self.last, first) {
            (Some(last), Some(first)) => Lines::check_pair(self.archive, block, last, first),
            _ => Ok(()),
        }
    }

    fn job(&mut self, block: usize) -> (Job, u64) {
        let text = self.spare.pop().unwrap_or_default();
        let weight = self.archive.tables.blocks.get(block).map_or(0, |block| block.real);
        (Job { block, text }, weight)
    }
}

impl<R: ReadAt> Archive<R> {
    /// Reads all entries, or those that [`entries_within`](Self::entries_within) gives, on several
    /// threads; `threads` of none means one for each core.
    ///
    /// `work` makes a value of the entries of one block, and `each` gets these values in the order
    /// of the archive, on the thread of the caller. Both get what stands before an error, which
    /// comes then, at the same entry as from [`entries`](Self::entries).
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Limit`] or [`Error::Input`]; what `each` returns.
    pub fn map_blocks<T: Send, E: From<Error>>(
        &self,
        within: Option<&MemberPath>,
        threads: Option<NonZero<usize>>,
        work: impl Fn(&mut BlockEntries<'_, R>) -> T + Sync,
        mut each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut blocks = within.map_or(0..self.tables.blocks.len(), |path| self.blocks_of(path));
        let threads = match NonZero::new(blocks.len()) {
            Some(count) if count.get() > 1 => parallel::threads(threads).min(count),
            _ => NonZero::<usize>::MIN,
        };
        let is_whole = within.is_none() && self.info.listing_sha256.is_some();
        let identity = is_whole.then(Sha256::new);
        let mut driver = Driver { archive: self, last: None, identity, spare: Vec::new() };
        let is_alone = blocks.len() == 1 && self.tables.blocks.len() > 1;
        let state = || Worker::new(self, within, is_alone);
        in_order(
            threads,
            state,
            |worker, job| worker.map(job, &work),
            |lane| {
                loop {
                    // More would leave the cache before its turn comes.
                    while lane.len() < 2 * threads.get() && !lane.is_full() {
                        let Some(block) = blocks.next() else { break };
                        let (job, weight) = driver.job(block);
                        lane.push(job, weight);
                    }
                    let Some(mapped) = lane.pop() else { break };
                    if !driver.take(mapped, &mut each)? {
                        return Ok(());
                    }
                }
                driver.identity.take().map_or(Ok(()), |identity| Ok(self.check_identity(identity)?))
            },
        )
    }

    /// Returns the blocks that the entry `path` and those below it can be in.
    pub(super) fn blocks_of(&self, path: &MemberPath) -> Range<usize> {
        if self.info.sorted {
            self.block_of(path)..self.block_after(path)
        } else {
            0..self.tables.blocks.len()
        }
    }
}
