//! What stands beside the archive that is repaired: before it, or behind its end.

use std::ops::Range;

use super::probe::Probe;
use crate::error::{Error, FormatError, Result};
use crate::format::gzip;
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::observe::Observer;

/// Heads that are looked at: a file may be full of what looks like one.
const MOST_HEADS: usize = 10_000;

/// Bytes that are no part of the archive.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    pub(super) range: Range<u64>,
    /// Whether members are among them.
    pub(super) has_members: bool,
}

impl Rest {
    /// Looks at what stands from `start` to the end of `source`.
    pub(super) fn behind<R: ReadAt>(
        source: &R,
        start: u64,
        limits: Limits,
        observer: &dyn Observer,
    ) -> Result<Option<Self>> {
        let end = source.size().map_err(|source| Error::input(0, source))?;
        if start >= end {
            return Ok(None);
        }
        let mut probe = Probe::new(source, end, limits);
        let mut from = start;
        for _ in 0..MOST_HEADS {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let Some(at) = probe.window.find_head(from)? else {
                return Ok(Some(Self { range: start..end, has_members: false }));
            };
            if probe.is_likely(at)? {
                break;
            }
            from = at + gzip::HEAD.len() as u64;
        }
        // What was not looked at to its end may have some.
        Ok(Some(Self { range: start..end, has_members: true }))
    }

    /// Returns what is said of it.
    pub(super) fn to_error(&self) -> Error {
        let len = self.range.end - self.range.start;
        let place = if self.has_members {
            "behind the end of the archive, with members that are not taken"
        } else {
            "behind the end of the archive"
        };
        FormatError::Surplus { place, len }.at(self.range.start)
    }
}

/// Returns where the first prologue in `source` begins, if that is behind its first byte.
pub(super) fn find_beginning<R: ReadAt>(source: &R, limits: Limits) -> Result<Option<u64>> {
    let end = source.size().map_err(|source| Error::input(0, source))?;
    let mut probe = Probe::new(source, end, limits);
    let mut from = 0;
    for _ in 0..MOST_HEADS {
        let Some(at) = probe.window.find_head(from)? else { return Ok(None) };
        if probe.prologue_end(at)?.is_some() {
            return Ok(Some(at).filter(|&at| at > 0));
        }
        from = at + gzip::HEAD.len() as u64;
    }
    Ok(None)
}
