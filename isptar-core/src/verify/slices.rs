//! The slices of an archive: are they all there, and what the tables say?

use super::tell::Tell;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::io::ReadAt;

/// Looks whether all slices are there; with `read`, compares their digests.
pub(super) fn check<R: ReadAt>(
    archive: &Archive<R>,
    read: bool,
    tell: &mut Tell<'_>,
) -> Result<()> {
    let Some(set) = archive.source().slices().filter(|set| !set.is_whole()) else { return Ok(()) };
    let range = |number| {
        let start = set.start_of(number).unwrap_or_default();
        start..set.start_of(number + 1).unwrap_or(archive.size())
    };
    let missing = set.missing();
    for error in &missing {
        tell.slice(range(error.number), &Error::Slice(error.clone()));
    }
    if !read {
        return Ok(());
    }
    for number in (1..=set.count()).filter(|number| !missing.iter().any(|it| it.number == *number))
    {
        match set.check_digest(number, &mut || tell.go_on()) {
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => tell.slice(range(number), &error),
            Ok(()) => {}
        }
    }
    Ok(())
}
