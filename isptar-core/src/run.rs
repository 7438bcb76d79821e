//! Entries without bytes in the archive that is made, as lines of its listing.

use crate::error::FormatError;
use crate::format::entry::{EntryRef, KindRef};
use crate::limits::Limits;

/// Bytes of text after which a run is handed on.
const FULL: usize = 64 << 10;

/// Lines of the listing that follow each other. Most entries of an increment are such: they are
/// handed on many at a time.
#[derive(Debug, Default)]
pub(crate) struct Run {
    text: Vec<u8>,
    names: Vec<u8>,
    ends: Vec<End>,
}

/// Where a line and its name end, and the bytes of content of its entry.
#[derive(Debug, Clone, Copy)]
struct End {
    text: usize,
    name: usize,
    size: u64,
}

/// One line of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a [u8],
    /// With its line feed.
    pub(crate) text: &'a [u8],
    /// Bytes of content that can be restored.
    pub(crate) size: u64,
}

impl Run {
    /// Adds an entry.
    pub(crate) fn push(
        &mut self,
        entry: &EntryRef<'_>,
        limits: &Limits,
    ) -> Result<(), FormatError> {
        entry.encode(limits, &mut self.text)?;
        let size = match entry.kind {
            KindRef::File { size } if entry.location.is_some() => size,
            _ => 0,
        };
        self.end(entry.path.as_bytes(), size);
        Ok(())
    }

    /// Adds a line, with its line feed, which `push` appends; its entry has that name and that many
    /// bytes of content which can be restored.
    pub(crate) fn push_line(&mut self, name: &[u8], size: u64, push: impl FnOnce(&mut Vec<u8>)) {
        push(&mut self.text);
        self.end(name, size);
    }

    fn end(&mut self, name: &[u8], size: u64) {
        self.names.extend_from_slice(name);
        self.ends.push(End { text: self.text.len(), name: self.names.len(), size });
    }

    /// Returns whether it should be handed on.
    pub(crate) fn is_full(&self) -> bool {
        self.text.len() >= FULL
    }

    /// Returns whether it has no line.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the memory that it takes.
    pub(crate) fn weight(&self) -> u64 {
        (self.text.len() + self.names.len() + size_of_val(self.ends.as_slice())) as u64
    }

    /// Returns its lines, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let (mut text, mut name) = (0, 0);
        self.ends.iter().map(move |end| {
            let line = Line {
                name: self.names.get(name..end.name).unwrap_or_default(),
                text: self.text.get(text..end.text).unwrap_or_default(),
                size: end.size,
            };
            (text, name) = (end.text, end.name);
            line
        })
    }
}
