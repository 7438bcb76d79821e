//! How far a run over members has come, in each archive of a chain.

use std::ops::Range;

use super::Archive;
use crate::format::entry::{Dialect, Entry};
use crate::io::ReadAt;

/// Where the streams were that a run over members in the order of the listing has met: in each
/// archive of a chain they follow each other, whatever those of the others do.
#[derive(Debug)]
pub(crate) struct Front {
    /// By depth.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Default)]
struct Place {
    /// The streams of the last member.
    last: Range<u64>,
    /// Where the furthest ones end.
    end: u64,
}

impl Front {
    /// Begins a run over members of so many archives.
    pub(crate) fn new(depths: usize) -> Self {
        Self { places: vec![Place::default(); depths] }
    }

    fn place(&self, entry: &Entry) -> Option<&Place> {
        self.places.get(usize::try_from(entry.depth()).ok()?)
    }

    /// Returns whether an entry is in the same stream as the last one in its archive.
    pub(crate) fn is_beside(&self, entry: &Entry) -> bool {
        let in_group = entry.location.is_some_and(|location| location.zoffset > 0);
        let place = self.place(entry).filter(|_| in_group && entry.chunks.is_none());
        place.is_some_and(|place| place.last == entry.claimed_range())
    }

    /// Returns whether an entry's streams are not behind all others that were met in its archive.
    pub(crate) fn is_back(&self, entry: &Entry) -> bool {
        self.place(entry).is_some_and(|place| entry.claimed_range().start < place.end)
    }

    fn place_mut(&mut self, entry: &Entry) -> Option<&mut Place> {
        self.places.get_mut(usize::try_from(entry.depth()).ok()?)
    }

    /// Notes where the streams of an entry end.
    pub(crate) fn note_end(&mut self, entry: &Entry) {
        if let Some(place) = self.place_mut(entry) {
            place.end = place.end.max(entry.claimed_range().end);
        }
    }

    /// Notes that the streams of an entry are the last ones in its archive.
    pub(crate) fn note_streams(&mut self, entry: &Entry) {
        if let Some(place) = self.place_mut(entry) {
            place.last = entry.claimed_range();
        }
    }

    /// Returns where the furthest streams of the archive itself end.
    pub(crate) fn end(&self) -> u64 {
        self.places.first().map_or(0, |place| place.end)
    }

    /// Forgets which streams the last members were in.
    pub(crate) fn forget_streams(&mut self) {
        self.places.iter_mut().for_each(|place| place.last = 0..0);
    }
}

impl<R: ReadAt> Archive<R> {
    /// Returns whether streams of an entry would be decoded that can be counted: what lies about
    /// where they are is refused, and classic archives have one for each member.
    pub(crate) fn has_streams(&self, entry: &Entry) -> bool {
        let range = entry.claimed_range();
        entry.location.is_some()
            && !range.is_empty()
            && self
                .at_depth(entry.depth())
                .is_ok_and(|home| home.dialect == Dialect::Isptar && range.end <= home.data_end)
    }
}
