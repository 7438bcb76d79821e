//! The lines of a base in the order of names.

use std::sync::Arc;

use crate::archive::{Archive, Entries};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, EntryRef, name_of_line};
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::path::{self, MemberName, SafePath};

/// Lines of a listing, turned to one after the other and each taken once.
pub(super) trait Lines {
    /// Turns to the next line, if there is one.
    fn advance(&mut self) -> Result<bool>;
    /// Returns the name in the line that was turned to.
    fn name(&self) -> MemberName<'_>;
    /// Returns the line that was turned to, without its line feed.
    fn line(&self) -> &[u8];
    /// Reads the line that was turned to.
    fn take(&mut self) -> Result<EntryRef<'_>>;
    /// Passes over the line that was turned to, instead of reading it: it has this name.
    fn pass(&mut self, name: &MemberName<'_>) -> Result<()>;
}

/// A sorted listing of ours, which is read as it is needed.
pub(super) struct Sorted<'a, R> {
    entries: Entries<'a, R>,
}

impl<'a, R: ReadAt> Sorted<'a, R> {
    pub(super) fn new(archive: &'a Archive<R>) -> Self {
        Self { entries: archive.entries() }
    }
}

impl<R: ReadAt> Lines for Sorted<'_, R> {
    fn advance(&mut self) -> Result<bool> {
        self.entries.advance()
    }

    fn name(&self) -> MemberName<'_> {
        self.entries.name()
    }

    fn line(&self) -> &[u8] {
        self.entries.line()
    }

    fn take(&mut self) -> Result<EntryRef<'_>> {
        self.entries.read_line()
    }

    fn pass(&mut self, name: &MemberName<'_>) -> Result<()> {
        self.entries.pass_line(name)
    }
}

/// A listing in any order: its lines in memory, and their order. A clone shares them.
#[derive(Clone)]
pub(super) struct Indexed {
    /// For each line the name as our archives have it, and the line itself.
    text: Arc<Vec<u8>>,
    slots: Arc<Vec<Slot>>,
    /// How many lines were turned to.
    turned: usize,
    dialect: Dialect,
    limits: Limits,
}

/// Where a name begins, where the line, and where the next name.
#[derive(Debug, Clone, Copy)]
struct Slot {
    name: usize,
    line: usize,
    end: usize,
}

impl Slot {
    fn name(self, text: &[u8]) -> &[u8] {
        text.get(self.name..self.line).unwrap_or_default()
    }
}

impl Indexed {
    /// Reads the whole listing. Lines that cannot be read, and names that no archive of ours can
    /// have, are nothing that a walk could meet.
    pub(super) fn new<R: ReadAt>(archive: &Archive<R>) -> Result<Self> {
        let dialect = if archive.is_classic() { Dialect::Classic } else { Dialect::Isptar };
        let limits = *archive.limits();
        let (mut text, mut slots) = (Vec::new(), Vec::new());
        let mut entries = archive.entries();
        while entries.advance()? {
            match entries.read_line() {
                Ok(_) => {}
                Err(Error::CorruptLine { .. }) => continue,
                Err(error) => return Err(error),
            }
            let line = entries.line();
            let path = name_of_line(line, &limits).ok();
            let Some(safe) = path.and_then(|path| SafePath::new(&path, &limits).ok()) else {
                continue;
            };
            let name = text.len();
            text.extend_from_slice(safe.to_member_path().as_bytes());
            let start = text.len();
            text.extend_from_slice(line);
            slots.push(Slot { name, line: start, end: text.len() });
        }
        // Of those with one name, which stay in their order, the last one is kept.
        slots.sort_by(|a, b| path::compare(a.name(&text), b.name(&text)));
        slots.dedup_by(|later, kept| {
            let same = later.name(&text) == kept.name(&text);
            if same {
                *kept = *later;
            }
            same
        });
        let (text, slots) = (Arc::new(text), Arc::new(slots));
        Ok(Self { text, slots, turned: 0, dialect, limits })
    }

    fn slot(&self) -> Option<Slot> {
        self.slots.get(self.turned.checked_sub(1)?).copied()
    }
}

impl Lines for Indexed {
    fn advance(&mut self) -> Result<bool> {
        self.turned += 1;
        Ok(self.slot().is_some())
    }

    fn name(&self) -> MemberName<'_> {
        let name = self.slot().map(|slot| slot.name(&self.text)).unwrap_or_default();
        MemberName::from(std::borrow::Cow::Borrowed(name))
    }

    fn line(&self) -> &[u8] {
        self.slot().and_then(|slot| self.text.get(slot.line..slot.end)).unwrap_or_default()
    }

    fn take(&mut self) -> Result<EntryRef<'_>> {
        let Some(slot) = self.slot() else {
            return Err(FormatError::Missing("line of the listing").at(0));
        };
        let line = self.text.get(slot.line..slot.end).unwrap_or_default();
        let mut entry = EntryRef::parse(line, self.dialect, &self.limits)
            .map_err(|kind| Error::CorruptLine { line: self.turned as u64, kind })?;
        entry.path = self.name();
        Ok(entry)
    }

    /// All that is checked was when the listing was read.
    fn pass(&mut self, _: &MemberName<'_>) -> Result<()> {
        Ok(())
    }
}
