//! The archives that members' bytes are in: this one, and its bases.

use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::Archive;
use crate::error::{BaseProblem, Error, FormatError, Result};
use crate::format::entry::Entry;
use crate::format::tables::Base;
use crate::format::text::digest_text;
use crate::io::ReadAt;
use crate::path::printable;

/// Opens a base when a member needs it.
pub type FindBase<R> = dyn Fn(&Base) -> Result<Archive<R>, BaseProblem> + Send + Sync;

/// A base that was looked for.
type Found<R> = Result<Box<Archive<R>>, BaseProblem>;

/// The bases of an archive, as far as they were needed or given.
pub(super) struct Bases<R> {
    /// By depth. The first one is empty, unless the archive is a listing alone: then it is the
    /// archive that this is the listing of.
    found: Vec<OnceLock<Found<R>>>,
    find: Option<Box<FindBase<R>>>,
}

impl<R> Bases<R> {
    /// Has room for `count` bases.
    pub(super) fn new(count: usize) -> Self {
        Self { found: (0..=count).map(|_| OnceLock::new()).collect(), find: None }
    }
}

impl<R> fmt::Debug for Bases<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.found.iter().filter(|base| matches!(base.get(), Some(Ok(_)))).count();
        f.debug_struct("Bases").field("known", &self.found.len()).field("open", &open).finish()
    }
}

impl<R: ReadAt> Archive<R> {
    /// Returns the archive's identity: the digest of its listing. That of a classic archive, which
    /// does not record it, is computed.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Input`], of a classic archive.
    pub fn identity(&self) -> Result<[u8; 32]> {
        match self.info.listing_sha256 {
            Some(identity) => Ok(identity),
            None => Ok(Sha256::digest(self.listing_text()?).into()),
        }
    }

    /// Says where the bases are that members' bytes are in, nearest first; each is proved by the
    /// identity that the tables have of it. A classic archive has no such proof.
    ///
    /// # Errors
    ///
    /// [`Error::NoBase`] with both identities for another archive than the base; those of
    /// [`Self::identity`].
    pub fn attach_bases(&mut self, bases: Vec<Self>) -> Result<()> {
        for (base, archive) in self.tables.bases.iter().zip(&bases) {
            let actual = archive.identity()?;
            if actual != base.identity {
                let place = "what was given for it".to_owned();
                return Err(base.failed(BaseProblem::wrong(place, &actual)));
            }
        }
        let kept = if self.is_classic() { bases.len() } else { self.tables.bases.len() };
        self.bases.found.resize_with(kept.saturating_add(1), OnceLock::new);
        for (place, archive) in self.bases.found.iter_mut().skip(1).zip(bases) {
            *place = OnceLock::from(Ok(Box::new(archive)));
        }
        Ok(())
    }

    /// Says how bases are found once members need them: each is looked for once at most, and proved
    /// by the identity that the tables have of it.
    pub fn find_bases(&mut self, find: Box<FindBase<R>>) {
        self.bases.find = Some(find);
    }

    /// Returns the archive that members of this depth are in: this one for 0, else a base.
    ///
    /// # Errors
    ///
    /// [`Error::NoBase`] when the base cannot be read, [`Error::Corrupt`] when the tables do not
    /// know it, [`Error::ListingAlone`] for 0 when this is a listing alone.
    pub fn at_depth(&self, depth: u32) -> Result<&Self> {
        let index = usize::try_from(depth).unwrap_or(usize::MAX);
        if index == 0 {
            return if self.is_listing { Err(Error::ListingAlone) } else { Ok(self) };
        }
        let place = self.bases.found.get(index);
        if self.is_classic() {
            let given = place.and_then(OnceLock::get).and_then(|found| found.as_ref().ok());
            return given.map(Box::as_ref).ok_or(Error::UnnamedBase { depth });
        }
        let unknown = || FormatError::Missing("base of the location").at(self.listing);
        let found = place.ok_or_else(unknown)?;
        let base = self.tables.bases.get(index - 1).ok_or_else(unknown)?;
        match found.get_or_init(|| self.find_base(base)) {
            Ok(archive) => Ok(archive),
            Err(problem) => Err(base.failed(problem.clone())),
        }
    }

    fn find_base(&self, base: &Base) -> Found<R> {
        let find = self.bases.find.as_ref().ok_or(BaseProblem::NotGiven)?;
        let archive = find(base)?;
        let place = || format!("what was found of {}", base.shown_name());
        let unreadable = |error: Error| BaseProblem::unreadable(place(), &error);
        let actual = archive.identity().map_err(unreadable)?;
        match actual == base.identity {
            true => Ok(Box::new(archive)),
            false => Err(BaseProblem::wrong(place(), &actual)),
        }
    }

    /// Returns how many archives members may be in: this one and its bases.
    pub(crate) fn depths(&self) -> usize {
        self.bases.found.len()
    }

    /// Returns the archive that a member is in.
    pub(super) fn home(&self, entry: &Entry) -> Result<&Self> {
        let depth = entry.depth();
        match self.at_depth(depth) {
            Err(Error::Corrupt { kind, .. }) => {
                Err(Error::CorruptMember { path: entry.path.clone(), range: 0..0, kind })
            }
            home => home,
        }
    }

    /// Returns what a base is called in messages; `None` for this archive.
    pub fn base_name(&self, depth: u32) -> Option<String> {
        let index = usize::try_from(depth).ok()?.checked_sub(1)?;
        Some(self.tables.bases.get(index).map_or_else(|| depth.to_string(), Base::shown_name))
    }

    /// Says of an error that it is about a member of this depth.
    pub(crate) fn placed(&self, depth: u32, error: Error) -> Error {
        match (self.base_name(depth), error) {
            (_, error @ (Error::NoBase { .. } | Error::UnnamedBase { .. } | Error::Cancelled)) => {
                error
            }
            (Some(base), error) => Error::InBase { base, error: Box::new(error) },
            (None, error) => error,
        }
    }
}

impl Base {
    /// Returns the file name, escaped for messages.
    pub fn shown_name(&self) -> String {
        printable(&self.name)
    }

    /// Returns the error of a base that cannot be read.
    pub fn failed(&self, problem: BaseProblem) -> Error {
        Error::NoBase { name: self.shown_name(), identity: digest_text(&self.identity), problem }
    }
}

impl BaseProblem {
    /// Says that another archive is where the base should be.
    pub fn wrong(place: String, actual: &[u8; 32]) -> Self {
        Self::Wrong { place, actual: digest_text(actual) }
    }

    /// Says that what should be the base cannot be opened.
    pub fn unreadable(place: String, error: &Error) -> Self {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            reason = format!("{reason}: {inner}");
            source = inner.source();
        }
        Self::Unreadable { place, reason }
    }
}
