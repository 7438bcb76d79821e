//! The lines of one listing block: read, and checked against what is known of the block.

use std::cmp::Ordering;
use std::ops::Range;

use super::Archive;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, EntryRef, name_of_line};
use crate::io::ReadAt;
use crate::limits::LimitName;
use crate::path::{self, MemberName, MemberPath};

/// Where in the text of a block a reader of its lines is. The text itself is lent to each call, so
/// that entries can borrow from it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The block, once there is one.
    block: Option<usize>,
    /// Where the rest of its text begins.
    position: usize,
    /// The line that was found last.
    line: Range<usize>,
    /// Entries met in the block, and, where only some are given out, in those before it.
    met: u64,
    before: u64,
    /// The name of the last entry, of this block or the one before; none before the first.
    previous: Vec<u8>,
    has_previous: bool,
}

/// What comes next in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A line that is meant: [`Lines::take`] reads it.
    Line,
    /// The end of the block.
    End,
    /// Nothing that is meant, in no later block either.
    Nothing,
}

impl Lines {
    /// Turns to the beginning of a block; the last name of the one before stays known.
    pub(super) fn begin<R>(&mut self, archive: &Archive<R>, block: usize) {
        self.block = Some(block);
        if archive.only.is_some() {
            let before = archive.tables.blocks.iter().take(block);
            self.before = before.fold(0, |sum, block| sum.saturating_add(block.entries));
        }
        self.position = 0;
        self.met = 0;
    }

    /// Finds the next line of `text` that is meant: that is `within`, or cannot be read. Those that
    /// are passed over are checked.
    pub(super) fn seek<R: ReadAt>(
        &mut self,
        archive: &Archive<R>,
        text: &[u8],
        within: Option<&MemberPath>,
    ) -> Result<Next> {
        while self.advance(archive, text)? {
            match self.is_meant(archive) {
                Some(true) => {}
                Some(false) => {
                    self.take(archive, text)?;
                    continue;
                }
                None => return Ok(Next::Nothing),
            }
            let Some(within) = within else { return Ok(Next::Line) };
            let name = name_of_line(self.line(text), &archive.limits);
            let Some(name) = name.ok().filter(|name| !name.is_within(within)) else {
                return Ok(Next::Line);
            };
            self.take(archive, text)?;
            if archive.info.sorted && name > *within {
                return Ok(Next::Nothing);
            }
        }
        self.check_count(archive)?;
        Ok(Next::End)
    }

    /// Returns whether the line that was found is one of those that are given out; `None` when no
    /// later one is either.
    fn is_meant<R: ReadAt>(&self, archive: &Archive<R>) -> Option<bool> {
        let Some(only) = &archive.only else { return Some(true) };
        let number = self.before.saturating_add(self.met);
        (number < only.end).then_some(number >= only.start)
    }

    /// Turns to the next line, if there is one.
    fn advance<R: ReadAt>(&mut self, archive: &Archive<R>, text: &[u8]) -> Result<bool> {
        let Some(block) = self.block else { return Ok(false) };
        let is_last = block + 1 == archive.tables.blocks.len();
        let rest = text.get(self.position..).unwrap_or_default();
        match memchr::memchr(b'\n', rest) {
            Some(len) if len > 0 || !is_last => {
                self.check_length(archive, len as u64 + 1)?;
                self.line = self.position..self.position + len;
                self.position = self.line.end + 1;
                Ok(true)
            }
            // The empty line that closes the listing.
            Some(_) if self.position + 1 < text.len() => {
                let (what, value) = ("end of the listing", String::new());
                Err(self.corrupt(archive, FormatError::Duplicate { what, value }))
            }
            _ => Ok(false),
        }
    }

    /// Returns the line that was found last.
    pub(super) fn line<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.line.clone()).unwrap_or_default()
    }

    /// Reads the line that was found last.
    pub(super) fn take<'t, R: ReadAt>(
        &mut self,
        archive: &Archive<R>,
        text: &'t [u8],
    ) -> Result<EntryRef<'t>> {
        let entry = EntryRef::parse(self.line(text), archive.dialect, &archive.limits);
        let entry = entry.map_err(|kind| {
            self.met += 1;
            self.corrupt_line(archive, kind)
        })?;
        self.pass(archive, &entry.path)?;
        Ok(entry)
    }

    /// Passes over the line that was found last, whose name its caller knows, and checks the name.
    pub(super) fn pass<R: ReadAt>(
        &mut self,
        archive: &Archive<R>,
        name: &MemberName<'_>,
    ) -> Result<()> {
        self.met += 1;
        self.check_first(archive, name)?;
        if archive.info.sorted {
            self.check_order(archive, name)?;
        }
        Ok(())
    }

    /// Checks the length of a line, its line feed included.
    fn check_length<R: ReadAt>(&self, archive: &Archive<R>, actual: u64) -> Result<()> {
        let limit = archive.limits.line;
        if archive.dialect == Dialect::Classic || actual <= limit {
            return Ok(());
        }
        let raise = LimitName::Line.to(actual);
        let what = "listing line";
        Err(self.corrupt(archive, FormatError::Limit { what, limit, actual, raise }))
    }

    /// Checks the name that the tables say a block begins with: a wrong one would hide members.
    fn check_first<R: ReadAt>(&self, archive: &Archive<R>, name: &MemberName<'_>) -> Result<()> {
        let blocks = &archive.tables.blocks;
        if self.met != 1 || blocks.len() < 2 {
            return Ok(());
        }
        match self.block.and_then(|block| blocks.get(block)) {
            Some(block) if block.first != *name => {
                let what = "first name of a listing block";
                Err(self.corrupt(archive, FormatError::mismatch(what, &block.first, name)))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a name comes after the one before, which it is for the next one.
    fn check_order<R: ReadAt>(
        &mut self,
        archive: &Archive<R>,
        name: &MemberName<'_>,
    ) -> Result<()> {
        if self.has_previous {
            let block = self.block.unwrap_or(0);
            Self::check_pair(archive, block, &self.previous, name)?;
        }
        self.previous.clear();
        self.previous.extend_from_slice(name.as_bytes());
        self.has_previous = true;
        Ok(())
    }

    /// Checks that `name`, in `block`, comes after the name of the entry before.
    pub(super) fn check_pair<R: ReadAt>(
        archive: &Archive<R>,
        block: usize,
        previous: &[u8],
        name: &MemberName<'_>,
    ) -> Result<()> {
        if path::compare(previous, name.as_bytes()).is_lt() {
            return Ok(());
        }
        let expected = format!("a name after {}", MemberPath::new(previous));
        let kind = FormatError::mismatch("name of an entry", expected, name);
        Err(kind.at(archive.block_offset(block)))
    }

    /// Returns the name of the last entry of a sorted archive, if one was read.
    pub(super) fn into_last_name(self) -> Option<Vec<u8>> {
        self.has_previous.then_some(self.previous)
    }

    /// Checks, at the end of a block, that it had as many entries as the tables say.
    fn check_count<R: ReadAt>(&self, archive: &Archive<R>) -> Result<()> {
        let block = self.block.and_then(|block| archive.tables.blocks.get(block));
        match block.filter(|_| archive.dialect == Dialect::Isptar) {
            Some(block) if block.entries != self.met => {
                let what = "number of entries in a listing block";
                Err(self.corrupt(archive, FormatError::mismatch(what, block.entries, self.met)))
            }
            _ => Ok(()),
        }
    }

    /// Places an error in the block at hand.
    fn corrupt<R: ReadAt>(&self, archive: &Archive<R>, kind: FormatError) -> Error {
        kind.at(archive.block_offset(self.block.unwrap_or(0)))
    }

    /// Returns the error of a line. The original escapes names in its own ways, and nothing says
    /// that its listing is whole: one line must not cost all others.
    fn corrupt_line<R: ReadAt>(&self, archive: &Archive<R>, kind: FormatError) -> Error {
        match archive.dialect {
            Dialect::Isptar => self.corrupt(archive, kind),
            Dialect::Classic => Error::CorruptLine { line: self.met, kind },
        }
    }
}

impl<R: ReadAt> Archive<R> {
    /// Returns the line of the entry `path` in the text of `block`, found by halving; none also
    /// where something is wrong that reading line by line would tell.
    pub(super) fn line_of<'t>(
        &self,
        block: usize,
        text: &'t [u8],
        path: &MemberPath,
    ) -> Option<&'t [u8]> {
        let text = text.strip_suffix(b"\n\n").or_else(|| text.strip_suffix(b"\n"))?;
        let name_at = |start: usize| {
            let rest = text.get(start..)?;
            let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len()))?;
            let fits = (line.len() as u64) < self.limits.line;
            Some((line, name_of_line(line, &self.limits).ok().filter(|_| fits)?))
        };
        let blocks = &self.tables.blocks;
        if blocks.len() > 1 && blocks.get(block)?.first != name_at(0)?.1 {
            return None;
        }
        let (mut low, mut high) = (0, text.len());
        while low < high {
            let before = text.get(low..low + (high - low) / 2)?;
            let start = memchr::memrchr(b'\n', before).map_or(low, |at| low + at + 1);
            let (line, name) = name_at(start)?;
            match name.cmp(path) {
                Ordering::Less => low = start + line.len() + 1,
                Ordering::Equal => return Some(line),
                Ordering::Greater => high = start,
            }
        }
        None
    }
}
