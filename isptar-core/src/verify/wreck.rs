//! Archives of ours that cannot be opened: what is wrong with them, and what is in them.

use std::collections::HashSet;

use super::VerifyReport;
use super::survey::clean;
use super::tell::Tell;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::format::entry::Kind;
use crate::format::trailer::{self, SizeTrailer};
use crate::io::{Prefix, RangeReader, ReadAt, Tolerant};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::path::MemberPath;
use crate::repair::{self, RepairOptions};
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
    /// They were one: most of its bytes are still there.
    pub trailer_is_damaged: bool,
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

impl Behind {
    /// Opens the archive that the bytes stand behind.
    ///
    /// # Errors
    ///
    /// As [`Archive::open_with`].
    pub fn open<R: ReadAt>(&self, source: R, limits: Limits) -> Result<Archive<Prefix<R>>> {
        Archive::open_with(Prefix::new(source, self.end), limits)
    }
}

impl Wreck {
    /// Looks at an archive that [`Archive::open`] refused: reads its first 64 KiB and its last
    /// megabyte. What cannot be read counts as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Input`].
    pub fn examine<R: ReadAt>(source: &R, limits: Limits) -> Result<Self> {
        let source = &Tolerant::new(source);
        let input = |source| Error::input(0, source);
        let size = source.size().map_err(input)?;
        let start = RangeReader::new(source, 0, size.min(START), 8 << 10);
        // Damage there, or too few bytes, are a no.
        let peeked = TarReader::new(start, limits).and_then(|mut tar| tar.peek_is_ours());
        let begins_as_ours = match peeked {
            Err(error @ (Error::Input { .. } | Error::Slice(_))) => return Err(error),
            peeked => peeked.unwrap_or(false),
        };
        let back = size.saturating_sub(BACK);
        let mut tail = vec![0; usize::try_from(size - back).unwrap_or(0)];
        let read = source.read_exact_at(&mut tail, back);
        read.map_err(|source| Error::input(back, source))?;
        let has_trailer = tail.last_chunk().is_some_and(|last| SizeTrailer::parse(last).is_ok());
        let behind = behind(source, &tail, back, limits);
        let trailer_is_damaged = !has_trailer && tail.last_chunk().is_some_and(resembles_trailer);
        Ok(Self { begins_as_ours, behind, has_trailer, trailer_is_damaged })
    }

    /// Returns whether it begins as an archive of ours and nothing is to be seen of an end.
    pub fn is_cut(&self) -> bool {
        let has_end = self.has_trailer || self.trailer_is_damaged || self.behind.is_some();
        self.begins_as_ours && !has_end
    }

    /// Returns what is wrong, in a few words, if that is known beyond what opening said.
    pub fn diagnosis(&self) -> Option<String> {
        match self.behind {
            Some(Behind { end, len, zeros }) => {
                let what = if zeros { ", all zero" } else { "" };
                let noun = if len == 1 { "byte" } else { "bytes" };
                Some(format!("{len} {noun} behind the end of the archive at {end}{what}"))
            }
            None if self.trailer_is_damaged => {
                Some("its last 64 bytes, the size trailer, are damaged".into())
            }
            None if !self.has_trailer && self.begins_as_ours => {
                Some("the archive was cut: it does not end with a size trailer".into())
            }
            None => None,
        }
    }
}

/// Returns whether most of the bytes are those of a size trailer.
fn resembles_trailer(bytes: &[u8; trailer::LEN]) -> bool {
    let model = SizeTrailer { info_size: 200, padding: 300 }.encode();
    model.is_ok_and(|model| {
        let same = model.iter().zip(bytes).filter(|(a, b)| a == b && **a != 0).count();
        let all = model.iter().filter(|&&byte| byte != 0).count();
        same * 2 > all
    })
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
        if len > 0 && Archive::open_with(Prefix::new(source, end), limits).is_ok() {
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

/// Names what is whole in an archive of ours that cannot be opened, as repair finds it: each whole
/// member that `selection` means is an [`Event::Done`], each that is known by name to be lost an
/// [`Event::Failed`], all other damage an [`Event::Damaged`]. Where the listing is lost there are no
/// entries to compare with: members are whole as far as their headers and CRCs say.
///
/// # Errors
///
/// [`Error::Cancelled`]; [`Error::Input`], and [`Error::Output`] when what was found cannot be
/// spooled.
pub fn name_whole_members<R: ReadAt>(
    source: &R,
    selection: &Selection,
    limits: Limits,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    let options = RepairOptions { limits, ..RepairOptions::default() };
    let (tell, met) = (Tell::new(observer), HashSet::new());
    let mut salvage = Salvage { tell, selection, limits, met };
    match repair::scan(source, &options, &mut salvage) {
        Ok(_) | Err(Error::NothingWhole { .. }) => {}
        Err(error) => return Err(error),
    }
    let Salvage { mut tell, met, .. } = salvage;
    tell.missing(selection, &met);
    Ok(tell.report)
}

/// Counts what repair finds, and passes on what was asked for.
struct Salvage<'a> {
    tell: Tell<'a>,
    selection: &'a Selection,
    limits: Limits,
    met: HashSet<usize>,
}

impl Salvage<'_> {
    fn is_meant(&mut self, path: &MemberPath, is_dir: bool) -> bool {
        let met = &mut self.met;
        self.selection.matches(&clean(path, &self.limits), is_dir, |hit| {
            met.insert(hit);
        })
    }
}

impl Observer for Salvage<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { entry } => {
                if self.is_meant(&entry.path, entry.kind == Kind::Directory) {
                    let bytes = &mut self.tell.report.bytes;
                    *bytes = bytes.saturating_add(entry.kind.size());
                    self.tell.whole(entry);
                }
            }
            Event::Failed { path, error } => {
                if self.is_meant(path, false) {
                    self.tell.damaged(path, error);
                }
            }
            Event::Damaged { range, error } => self.tell.beyond(range, error),
            event => self.tell.pass(event),
        }
    }

    fn cancelled(&self) -> bool {
        self.tell.go_on().is_err()
    }
}
