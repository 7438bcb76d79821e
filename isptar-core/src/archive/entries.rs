//! Iterating over the listing, block by block.

use sha2::{Digest as _, Sha256};

use super::Archive;
use super::lines::{Lines, Next};
use super::stream::StreamReader;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, EntryRef, name_of_line};
use crate::format::text;
use crate::io::ReadAt;
use crate::path::{MemberName, MemberPath};

/// Iterates over entries, in archive order; see [`Archive::entries`].
///
/// The iterator gives entries with bytes of their own; [`Self::next_ref`] lends them, which costs
/// a third.
#[derive(Debug)]
pub struct Entries<'a, R> {
    archive: &'a Archive<R>,
    reader: StreamReader<'a, R>,
    /// The next block to unpack, and the first one that is not wanted.
    block: usize,
    end: usize,
    /// One block of many is wanted.
    is_alone: bool,
    text: Vec<u8>,
    lines: Lines,
    within: Option<MemberPath>,
    /// Digests the text of an archive of ours, when all of it is read.
    identity: Option<Sha256>,
    ended: bool,
}

impl<'a, R: ReadAt> Entries<'a, R> {
    /// Entries of the blocks `start..end` that are given out, only those within a path if one is given.
    pub(super) fn new(
        archive: &'a Archive<R>,
        start: usize,
        end: usize,
        within: Option<MemberPath>,
    ) -> Self {
        let mut reader = StreamReader::new(&archive.source);
        reader.set_ahead(archive.block_offset(end));
        let whole = start == 0
            && end == archive.tables.blocks.len()
            && within.is_none()
            && archive.info.listing_sha256.is_some();
        Self {
            archive,
            reader,
            block: start,
            end,
            is_alone: end - start == 1 && archive.tables.blocks.len() > 1,
            text: Vec::new(),
            lines: Lines::default(),
            within,
            identity: whole.then(Sha256::new),
            ended: false,
        }
    }

    /// Returns the next entry, which borrows from the text of its block. Like the iterator it goes
    /// on after [`Error::CorruptLine`], and ends after any other error.
    pub fn next_ref(&mut self) -> Option<Result<EntryRef<'_>>> {
        if self.ended {
            return None;
        }
        let next = match self.seek() {
            Ok(true) => Some(self.lines.take(self.archive, &self.text)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        self.ended = !matches!(next, Some(Ok(_) | Err(Error::CorruptLine { .. })));
        next
    }

    /// Turns to the next line, which [`Self::read_line`] reads and [`Self::line`] has.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let next = self.seek();
        self.ended = !matches!(next, Ok(true));
        next
    }

    /// Returns the line that was turned to, as it stands in the listing.
    pub(crate) fn line(&self) -> &[u8] {
        self.lines.line(&self.text)
    }

    /// Returns the name in the line that was turned to; empty when it cannot be read, which
    /// [`Self::read_line`] tells.
    pub(crate) fn name(&self) -> MemberName<'_> {
        name_of_line(self.line(), &self.archive.limits).unwrap_or_default()
    }

    /// Reads the line that was turned to; to be called once for each.
    pub(crate) fn read_line(&mut self) -> Result<EntryRef<'_>> {
        self.lines.take(self.archive, &self.text)
    }

    /// Passes over the line that was turned to, instead of reading it: its name is known.
    pub(crate) fn pass_line(&mut self, name: &MemberName<'_>) -> Result<()> {
        self.lines.pass(self.archive, name)
    }

    /// Finds the next line that is meant, unpacking the next block when needed.
    fn seek(&mut self) -> Result<bool> {
        loop {
            match self.lines.seek(self.archive, &self.text, self.within.as_ref())? {
                Next::Line => return Ok(true),
                Next::Nothing => return Ok(false),
                Next::End if self.block >= self.end => {
                    return self.check_identity().map(|()| false);
                }
                Next::End => self.next_block()?,
            }
        }
    }

    fn next_block(&mut self) -> Result<()> {
        if self.is_alone {
            self.archive.keep_block(self.block, &mut self.text)?;
        } else {
            self.archive.unpack_block(self.block, &mut self.reader, &mut self.text)?;
        }
        if let Some(identity) = &mut self.identity {
            identity.update(&self.text);
        }
        self.lines.begin(self.archive, self.block);
        self.block += 1;
        Ok(())
    }

    /// Checks, at the end of the whole listing, that it is the one the archive info speaks of.
    fn check_identity(&mut self) -> Result<()> {
        match self.identity.take() {
            Some(identity) => self.archive.check_identity(identity),
            None => Ok(()),
        }
    }
}

impl<R> Archive<R> {
    /// Checks the digest of the text of the whole listing.
    pub(super) fn check_identity(&self, identity: Sha256) -> Result<()> {
        let Some(expected) = self.info.listing_sha256 else { return Ok(()) };
        let actual: [u8; 32] = identity.finalize().into();
        if actual == expected {
            return Ok(());
        }
        let (expected, actual) = (text::digest_text(&expected), text::digest_text(&actual));
        let kind = FormatError::Digest { what: "the listing", expected, actual };
        Err(kind.at(self.listing))
    }
}

impl<R: ReadAt> Iterator for Entries<'_, R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_ref()?.map(EntryRef::into_owned))
    }
}
