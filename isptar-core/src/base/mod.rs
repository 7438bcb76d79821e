//! Bases: older archives that an incremental one refers to.
//!
//! [`BaseListing`] goes through the listing of a base in the order of names, beside a walk or
//! anything else in that order; [`Rules::compare`] says whether a thing is still what the base
//! has of it.

mod compare;
mod lines;

use crate::archive::Archive;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{EntryRef, Frame, KindRef, Location, Stored};
use crate::format::tables::Base;
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::path::{MemberName, printable};

pub use compare::{CompareOptions, Now, Rules, Verdict, Why};
use lines::{Indexed, Lines, Sorted};

/// The listing of a base, read in the order of names.
///
/// A sorted listing of ours is read as it is needed. Those of classic and converted archives are
/// in any order: their lines are held in memory, all of them. Of several entries with one name the
/// last one counts.
pub struct BaseListing<'a> {
    lines: Box<dyn Lines + 'a>,
    /// The same lines from the beginning, for what is read once more.
    again: Box<dyn Lines + 'a>,
    name: Vec<u8>,
    identity: [u8; 32],
    created: Option<u64>,
    bases: Vec<Base>,
    is_classic: bool,
    /// Turned to an entry that was not taken.
    is_ahead: bool,
}

impl<'a> BaseListing<'a> {
    /// Takes the listing of an archive, which incremental ones will look for under `name`.
    ///
    /// # Errors
    ///
    /// [`Error::BaseName`] when `name` is not one path component; [`Error::BadBase`] when the
    /// listing is not sorted and cannot be read.
    pub fn of<R: ReadAt>(archive: &'a Archive<R>, name: &[u8]) -> Result<Self> {
        if !Base::is_name(name) {
            return Err(Error::BaseName { name: printable(name) });
        }
        let bad = |error| bad_base(name, error);
        let (lines, again): (Box<dyn Lines + 'a>, Box<dyn Lines + 'a>) = if archive.info().sorted {
            (Box::new(Sorted::new(archive)), Box::new(Sorted::new(archive)))
        } else {
            let lines = Indexed::new(archive).map_err(bad)?;
            (Box::new(lines.clone()), Box::new(lines))
        };
        Ok(Self {
            lines,
            again,
            name: name.to_vec(),
            identity: archive.identity().map_err(bad)?,
            created: archive.info().created,
            bases: archive.tables().bases.clone(),
            is_classic: archive.is_classic(),
            is_ahead: false,
        })
    }

    /// Returns the name under which the base is looked for.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns when the base was begun, if it says so.
    pub fn created(&self) -> Option<u64> {
        self.created
    }

    /// Returns what the tables of an archive on this base say: this base at depth 1, and its own
    /// bases behind it.
    pub fn tables(&self) -> Vec<Base> {
        let itself = Base { depth: 1, identity: self.identity, name: self.name.clone() };
        let others = self.bases.iter().map(|base| Base { depth: base.depth + 1, ..base.clone() });
        std::iter::once(itself).chain(others).collect()
    }

    /// Returns the rules by which things are compared with entries of this base.
    pub fn rules(&self, options: CompareOptions) -> Rules {
        Rules { options, created: self.created, is_classic: self.is_classic }
    }

    /// Returns the name of the next entry, without taking it.
    ///
    /// # Errors
    ///
    /// [`Error::BadBase`].
    pub fn peek(&mut self) -> Result<Option<MemberName<'_>>> {
        Ok(if self.turn()? { Some(self.lines.name()) } else { None })
    }

    /// Returns the next entry. That the listing is whole is known only when there is none left.
    ///
    /// # Errors
    ///
    /// [`Error::BadBase`].
    pub fn next_ref(&mut self) -> Result<Option<EntryRef<'_>>> {
        if !self.turn()? {
            return Ok(None);
        }
        self.take().map(Some)
    }

    /// Returns what the line of the next entry, which was peeked at, says of bytes, if it is that of a
    /// frame: then [`Self::take_line`] may take it, and need not read it.
    pub(crate) fn stored_in(&self, frame: &Frame) -> Option<Stored> {
        let line = self.lines.line();
        let stored = frame.stored_in(line).filter(|_| self.is_ahead)?;
        // The depth may get one more digit.
        let fits = line.len() as u64 + 2 <= Limits::default().line;
        (fits && has_base(&self.bases, stored.location.depth)).then_some(stored)
    }

    /// Takes the next entry, whose name is known, as it stands in the listing.
    pub(crate) fn take_line(&mut self, name: &MemberName<'_>) -> Result<&[u8]> {
        self.is_ahead = false;
        self.lines.pass(name).map_err(|error| bad_base(&self.name, error))?;
        Ok(self.lines.line())
    }

    /// Returns the first entry, and the one behind it when it is called again, of those that
    /// [`Self::next_ref`] and [`Self::take_line`] have given out: so nobody has to hold what must be
    /// looked at later.
    pub(crate) fn next_again(&mut self) -> Result<EntryRef<'_>> {
        let entry = match self.again.advance() {
            Ok(true) => self.again.take(),
            Ok(false) => Err(FormatError::Missing("line of the listing").at(0)),
            Err(error) => Err(error),
        };
        entry.map_err(|error| bad_base(&self.name, error))
    }

    /// Turns to the next entry, if there is one.
    fn turn(&mut self) -> Result<bool> {
        if !self.is_ahead {
            self.is_ahead = self.lines.advance().map_err(|error| bad_base(&self.name, error))?;
        }
        Ok(self.is_ahead)
    }

    fn take(&mut self) -> Result<EntryRef<'_>> {
        self.is_ahead = false;
        let entry = self.lines.take().map_err(|error| bad_base(&self.name, error))?;
        let depth = entry.location.map_or(0, |location| location.depth);
        if !has_base(&self.bases, depth) {
            let kind = FormatError::invalid("depth of a location", depth.to_string().as_bytes());
            let (path, range) = (entry.path.into_owned(), 0..0);
            return Err(bad_base(&self.name, Error::CorruptMember { path, range, kind }));
        }
        Ok(entry)
    }
}

impl EntryRef<'_> {
    /// Returns where an archive on the base that this entry is from finds its bytes, if the base
    /// has any that can be referred to: of a classic one only the data of files.
    pub(crate) fn referred(&self, is_classic: bool) -> Option<Location> {
        let location = self.location?;
        if is_classic && !matches!(self.kind, KindRef::File { size } if size > 0) {
            return None;
        }
        Some(Location { depth: location.depth.checked_add(1)?, ..location })
    }

    /// Returns the entry as an archive on its base has it, with the bytes that the base knows.
    pub(crate) fn above(mut self, is_classic: bool) -> Self {
        self.location = self.referred(is_classic);
        self.data |= is_classic && self.location.is_some();
        self
    }
}

/// Returns whether an archive on these bases has something so many bases back.
fn has_base(bases: &[Base], depth: u32) -> bool {
    depth == 0 || bases.iter().any(|base| base.depth == depth)
}

fn bad_base(name: &[u8], error: Error) -> Error {
    Error::BadBase { name: printable(name), error: Box::new(error) }
}
