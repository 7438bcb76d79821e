//! Archives of ours that cannot be opened: what is wrong with them, and what is in them.

use std::io;
use std::ops::Range;

use super::VerifyReport;
use super::survey::clean;
use super::tell::Tell;
use super::walk::{Thing, walk};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::format::INFO_NAME;
use crate::format::entry::{Entry, Kind};
use crate::format::trailer::{self, SizeTrailer};
use crate::io::{RangeReader, ReadAt};
use crate::limits::Limits;
use crate::observe::Observer;
use crate::scan::TarReader;
use crate::select::Selection;

/// How far back from the end a size trailer is looked for.
const BACK: u64 = 1 << 20;

/// Bytes from the start in which a prologue ends, whatever packed it.
const START: u64 = 64 << 10;

/// An archive that cannot be opened, looked at from both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Wreck {
    /// It begins as every archive of ours does.
    pub begins_as_ours: bool,
    /// Behind a whole archive, which begins at 0, stands something.
    pub behind: Option<Behind>,
    /// The last 64 bytes are a size trailer.
    pub has_trailer: bool,
}

/// What stands behind the end of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Where the archive ends.
    pub end: u64,
    /// Bytes behind it.
    pub len: u64,
    /// They are all zero.
    pub zeros: bool,
}

impl Wreck {
    /// Looks at an archive that [`Archive::open`] refused: reads its first 64 KiB and its last
    /// megabyte.
    ///
    /// # Errors
    ///
    /// [`Error::Input`].
    pub fn examine<R: ReadAt>(source: &R, limits: Limits) -> Result<Self> {
        let input = |source| Error::Input { offset: 0, source };
        let size = source.size().map_err(input)?;
        let start = RangeReader::new(source, 0, size.min(START), 8 << 10);
        // Damage there, or too few bytes, are a no.
        let peeked = TarReader::new(start, limits).and_then(|mut tar| tar.peek_is_ours());
        let begins_as_ours = match peeked {
            Err(error @ Error::Input { .. }) => return Err(error),
            peeked => peeked.unwrap_or(false),
        };
        let back = size.saturating_sub(BACK);
        let mut tail = vec![0; usize::try_from(size - back).unwrap_or(0)];
        let read = source.read_exact_at(&mut tail, back);
        read.map_err(|source| Error::Input { offset: back, source })?;
        let has_trailer = tail.last_chunk().is_some_and(|last| SizeTrailer::parse(last).is_ok());
        let behind = behind(source, &tail, back, limits);
        Ok(Self { begins_as_ours, behind, has_trailer })
    }

    /// Returns what is wrong, in a few words, if that is known beyond what opening said.
    pub fn diagnosis(&self) -> Option<String> {
        match self.behind {
            Some(Behind { end, len, zeros }) => {
                let what = if zeros { ", all zero" } else { "" };
                let noun = if len == 1 { "byte" } else { "bytes" };
                Some(format!("{len} {noun} behind the end of the archive at {end}{what}"))
            }
            None if !self.has_trailer && self.begins_as_ours => {
                Some("the archive was cut: it does not end with a size trailer".into())
            }
            None => None,
        }
    }
}

/// Looks for the end of a whole archive among the last bytes.
fn behind<R: ReadAt>(source: &R, tail: &[u8], back: u64, limits: Limits) -> Option<Behind> {
    let mut tried = 0;
    for (at, window) in tail.windows(trailer::LEN).enumerate().rev() {
        // Most places are no trailer at their first bytes.
        let parsed = window.first_chunk().filter(|_| window.starts_with(&[0x1f, 0x8b, 8, 4]));
        if parsed.is_none_or(|window| SizeTrailer::parse(window).is_err()) {
            continue;
        }
        let end = at + trailer::LEN;
        let rest = tail.get(end..).unwrap_or_default();
        let (end, len) = (back + end as u64, rest.len() as u64);
        if len > 0 && Archive::open_with(Prefix { source, len: end }, limits).is_ok() {
            return Some(Behind { end, len, zeros: rest.iter().all(|&byte| byte == 0) });
        }
        // Somebody may have filled the file with trailers.
        tried += 1;
        if tried == 16 {
            break;
        }
    }
    None
}

/// The first bytes of a source.
struct Prefix<'a, R> {
    source: &'a R,
    len: u64,
}

impl<R: ReadAt> ReadAt for Prefix<'_, R> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        self.source.read_at(&mut buf[..len], offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

/// Names what is whole in an archive of ours that cannot be opened: each member whose streams are
/// good is an [`crate::Event::Done`], what is damaged an [`crate::Event::Failed`] or an
/// [`crate::Event::Damaged`]. There are no entries to compare with: names are those of the headers,
/// and a stream that ends where another file begins is taken as it is.
///
/// # Errors
///
/// [`Error::Cancelled`]; [`Error::Input`].
pub fn name_whole_members<R: ReadAt>(
    source: &R,
    selection: &Selection,
    limits: Limits,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    let size = source.size().map_err(|source| Error::Input { offset: 0, source })?;
    let mut tell = Tell::new(observer);
    walk(source, 0..size, &limits, &mut |range: Range<u64>, thing| {
        tell.go_on()?;
        match thing {
            Thing::Member(entry) if is_listing(&entry) => {}
            Thing::Damage(Some(entry), kind) if is_listing(&entry) => {
                let start = range.start;
                tell.beyond(range, &kind.at(start));
            }
            Thing::Member(entry) => {
                let path = clean(&entry.path, &limits);
                if selection.matches(&path, entry.kind == Kind::Directory, |_| {}) {
                    tell.report.bytes = tell.report.bytes.saturating_add(entry.kind.size());
                    tell.whole(&entry);
                }
            }
            // The prologue, and what is left of the listing.
            Thing::Streams => {}
            Thing::Damage(Some(entry), kind) => {
                let path = entry.path.clone();
                tell.damaged(&entry.path, &Error::CorruptMember { path, range, kind });
            }
            Thing::Damage(None, kind) => {
                let start = range.start;
                tell.stray(range, &kind.at(start));
            }
        }
        Ok(())
    })?;
    Ok(tell.report)
}

/// Returns whether a member is `.backup.info`, by its name.
fn is_listing(entry: &Entry) -> bool {
    let rest = entry.path.as_bytes().strip_prefix(INFO_NAME);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".") && !rest.contains(&b'/'))
}
