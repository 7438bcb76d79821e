//! The listing of a damaged archive, as far as it can be read.

use std::ops::Range;

use super::probe::Probe;
use super::window::find;
use crate::archive::Archive;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry};
use crate::format::header::Header;
use crate::format::info::ArchiveInfo;
use crate::format::member::prologue;
use crate::format::tables::{Base, Tables};
use crate::format::{BLOCK, INFO_NAME, gzip, text, trailer};
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::path::MemberPath;
use crate::writer::prologue_lengths;

/// Packed bytes of the header of `.backup.info`.
const HEADER: u64 = 535;

/// Listings that are looked at: a file may be full of those of other archives.
const MOST_TRIES: usize = 100;

/// Entries that are compared with what stands where they say.
const SAMPLE: u64 = 16;

/// Bytes that may be read to find a listing for each byte of the archive, and in any case.
const EFFORT: (u64, u64) = (64, 256 << 20);

/// Bytes that are searched at once.
const STEP: u64 = 1 << 20;

/// A block of the listing that is whole.
#[derive(Debug)]
struct Block {
    offset: u64,
    first: MemberPath,
    last: MemberPath,
    /// Number of its first entry, and of entries in it.
    number: u64,
    entries: u64,
    /// Where the first and the last member of depth 0 begin.
    starts: Option<(u64, u64)>,
    /// Whether something is missing right before it.
    after_gap: bool,
}

/// The listing of a damaged archive: what of it is whole.
#[derive(Debug)]
pub(super) struct OldListing {
    blocks: Vec<Block>,
    /// Something is missing at its end.
    ends_in_gap: bool,
    /// Where the header of `.backup.info` is.
    pub(super) header: u64,
    pub(super) created: Option<u64>,
    pub(super) info: Option<ArchiveInfo>,
    pub(super) bases: Vec<Base>,
    /// Names ascend.
    sorted: bool,
    /// Where the last member ends, by the entries.
    members_end: u64,
    /// Where the archive ends.
    end: u64,
    /// Whether it was seen to end there.
    end_is_known: bool,
    /// How far the last member that was looked up has moved: the next one has too, as a rule.
    shift: i64,
    /// The block that was looked at last.
    cached: Option<(usize, Vec<Entry>)>,
    limits: Limits,
}

/// What it costs to find a listing: a file may be full of what looks like one.
pub(super) struct Effort<'o> {
    observer: &'o dyn Observer,
    left: u64,
}

impl<'o> Effort<'o> {
    pub(super) fn new(observer: &'o dyn Observer, len: u64) -> Self {
        Self { observer, left: len.saturating_mul(EFFORT.0).saturating_add(EFFORT.1) }
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.saturating_sub(bytes);
        self.go_on()
    }

    fn is_spent(&self) -> bool {
        self.left == 0
    }

    fn go_on(&self) -> Result<()> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// What the listing says of a member.
#[derive(Debug)]
pub(super) enum Lookup {
    /// It has this entry, with this number.
    Found(u64, Box<Entry>),
    /// It has none.
    Absent,
    /// The entry would be in a part of the listing that is lost.
    Unknown,
}

/// Returns whether a text is the beginning of a listing: an entry, or the empty line of an empty
/// one.
pub(super) fn begins_listing(text: &[u8], limits: &Limits) -> bool {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match line {
        [] => text == b"\n",
        line => Entry::parse(line, Dialect::Isptar, limits).is_ok(),
    }
}

impl OldListing {
    /// Finds the listing of the archive in `source`: where its info says that it is, else the last
    /// one in the file that can be its own.
    pub(super) fn find<R: ReadAt>(
        source: &R,
        len: u64,
        limits: Limits,
        observer: &dyn Observer,
    ) -> Result<Option<Self>> {
        let opened = match Archive::open_with(source, limits) {
            Ok(archive) if archive.is_classic() => {
                return Err(Error::Foreign { what: "an archive of the original isptar" });
            }
            Ok(archive) => Some(archive.info().data_size),
            Err(error @ (Error::Unsupported { .. } | Error::Input { .. } | Error::Slice(_))) => {
                return Err(error);
            }
            Err(_) => None,
        };
        let mut probe = Probe::new(source, len, limits);
        let mut effort = Effort::new(observer, len);
        if let Some(header) = opened {
            let listing = Self::read(&mut probe, header, len, limits, &mut effort)?;
            if listing.is_of_archive() {
                return Ok(Some(listing));
            }
        }
        let mut before = len;
        for _ in 0..MOST_TRIES {
            if effort.is_spent() {
                break;
            }
            let Some(header) = find_header(source, before, &effort)? else { break };
            let mut listing = Self::read(&mut probe, header, len, limits, &mut effort)?;
            if listing.is_of_archive() || listing.is_pushed(&mut probe)? {
                return Ok(Some(listing));
            }
            before = header;
        }
        Ok(None)
    }

    /// Returns whether this can be the listing of the archive, not of one that is stored in it:
    /// that one's members end sooner, counted from its own beginning, than its listing begins in
    /// the file. Where bytes are missing before the listing, members end later.
    fn is_of_archive(&self) -> bool {
        let is_read = self.info.is_some() || !self.blocks.is_empty();
        is_read && self.claimed_end() >= self.header
    }

    /// Returns whether this is the listing of the archive though it stands behind where members end:
    /// bytes were inserted before it. Members at the beginning are where it says then. Those of an
    /// archive that is stored in this one are all as far from there as its listing is.
    fn is_pushed<R: ReadAt>(&mut self, probe: &mut Probe<'_, R>) -> Result<bool> {
        let is_read = self.info.is_some() && !self.blocks.is_empty();
        let Some(by) = self.header.checked_sub(self.claimed_end()).filter(|_| is_read) else {
            return Ok(false);
        };
        if prologue_lengths().iter().all(|&len| by < len) {
            // No archive can be stored there: the prologue of this one is.
            return Ok(true);
        }
        // Or they were inserted before all members: no archive begins where the inner one would.
        let is_inserted = match probe.prologue_end(0)? {
            Some(end) if probe.prologue_end(by)?.is_none() => !probe.is_whole_member(end)?,
            _ => false,
        };
        for number in 0..SAMPLE {
            let Some(entry) = self.entry(probe, number)? else { break };
            let Some(location) = entry.location.filter(|location| location.depth == 0) else {
                continue;
            };
            let mut stands = |offset| probe.is_member_at(offset, location.zoffset, &entry.path);
            let (here, there) =
                (stands(location.offset)?, stands(location.offset.saturating_add(by))?);
            if here != there {
                return Ok(here || is_inserted);
            }
        }
        Ok(is_inserted)
    }

    /// Returns where the members end, by what the archive says.
    fn claimed_end(&self) -> u64 {
        self.info.as_ref().map_or(self.members_end, |info| info.data_size)
    }

    /// Reads what is whole of the listing behind the header at `header`.
    pub(super) fn read<R: ReadAt>(
        probe: &mut Probe<'_, R>,
        header: u64,
        len: u64,
        limits: Limits,
        effort: &mut Effort<'_>,
    ) -> Result<Self> {
        let mut listing = Self {
            blocks: Vec::new(),
            ends_in_gap: true,
            header,
            created: None,
            info: None,
            bases: Vec::new(),
            sorted: true,
            members_end: 0,
            end: len,
            end_is_known: false,
            shift: 0,
            cached: None,
            limits,
        };
        if probe.decode(header, BLOCK as u64)?.is_ok()
            && let Some(block) = probe.text().first_chunk::<BLOCK>()
            && let Ok(Some(header)) = Header::parse(block)
        {
            listing.created = u64::try_from(header.mtime).ok().filter(|&mtime| mtime > 0);
        }
        let most = limits.listing.min(5 << 20).saturating_add(limits.line);
        let (mut at, mut gap) = (header + HEADER, false);
        listing.end = at.min(len);
        while at < len && listing.info.is_none() {
            let decoded = probe.decode(at, most)?;
            effort.spend(probe.spent())?;
            if let Ok(next) = decoded {
                if !listing.take(probe.text(), at, &mut gap) {
                    break;
                }
                listing.end = next;
                if next - at == trailer::LEN as u64 && probe.is_trailer(at)? {
                    listing.end_is_known = true;
                    return Ok(listing);
                }
                at = next;
            } else {
                gap = true;
                // Heads that overlap are searched again only as long as that costs little.
                let from = if effort.is_spent() { probe.stopped(at).max(at + 1) } else { at + 1 };
                let Some(next) = probe.window.find_head(from)? else { break };
                at = next;
            }
        }
        listing.end = listing.archive_end(probe, len)?;
        listing.end_is_known = listing.info.is_some();
        if let Some(info) = &listing.info {
            listing.created = info.created.or(listing.created);
        }
        Ok(listing)
    }

    /// Returns where the archive ends, whose last good stream ends at `self.end`.
    fn archive_end<R: ReadAt>(&self, probe: &mut Probe<'_, R>, len: u64) -> Result<u64> {
        let end = self.end;
        if self.info.is_none() {
            return Ok(end);
        }
        let follows = probe.window.peek(end, gzip::HEAD.len())? == gzip::HEAD;
        let has_trailer = probe.is_trailer(end)? || !follows;
        Ok(if has_trailer { end.saturating_add(trailer::LEN as u64).min(len) } else { end })
    }

    /// Takes the text of a stream behind the header; returns whether more may follow.
    fn take(&mut self, text: &[u8], offset: u64, gap: &mut bool) -> bool {
        if text.starts_with(b"listing_header=") {
            self.info = ArchiveInfo::parse(text).ok();
            return self.info.is_some();
        }
        if text == prologue().0 {
            return false;
        }
        if let Some((entries, is_last)) = parse_block(text, &self.limits) {
            if !self.ends_in_gap {
                // Another archive may stand behind this one.
                return false;
            }
            let after_gap = std::mem::take(gap);
            // A gap before an empty block is one at the end.
            self.ends_in_gap = !is_last || after_gap && entries.is_empty();
            self.push(&entries, offset, after_gap);
            return true;
        }
        match Tables::parse(text) {
            Ok(tables) if !tables.blocks.is_empty() || !tables.bases.is_empty() => {
                self.bases = tables.bases;
            }
            _ => *gap = true,
        }
        // A tar begins or ends here.
        !(text.ends_with(&[0; BLOCK / 2]))
    }

    fn push(&mut self, entries: &[Entry], offset: u64, after_gap: bool) {
        let previous = self.blocks.last();
        let number = previous.map_or(0, |block| block.number + block.entries);
        let mut names = previous.map(|block| &block.last).into_iter();
        let names = names.by_ref().chain(entries.iter().map(|entry| &entry.path));
        let names: Vec<&MemberPath> = names.collect();
        self.sorted &= names.windows(2).all(|pair| pair[0] < pair[1]);
        let here = entries.iter().filter_map(|entry| {
            let location = entry.location.filter(|location| location.depth == 0)?;
            Some((location.offset, entry.claimed_range().end))
        });
        let here: Vec<(u64, u64)> = here.collect();
        let end = here.iter().map(|(_, end)| *end).max().unwrap_or(0);
        self.members_end = self.members_end.max(end);
        let starts = here.first().zip(here.last()).map(|(first, last)| (first.0, last.0));
        let name = |entry: Option<&Entry>| entry.map(|entry| entry.path.clone());
        let (Some(first), Some(last)) = (name(entries.first()), name(entries.last())) else {
            return;
        };
        let entries = entries.len() as u64;
        self.blocks.push(Block { offset, first, last, number, entries, starts, after_gap });
    }

    /// Returns where the archive ends, and whether it was seen to end there: behind, there may be
    /// damaged parts of the listing else.
    pub(super) fn end(&self) -> (u64, bool) {
        (self.end, self.end_is_known)
    }

    /// Returns whether all of the listing is there.
    pub(super) fn is_complete(&self) -> bool {
        !self.ends_in_gap && self.blocks.iter().all(|block| !block.after_gap)
    }

    /// Returns by how much members may have moved towards the beginning, because bytes are missing,
    /// and towards the end, because some were inserted.
    fn shifts(&self) -> (u64, u64) {
        let (claimed, actual) = (self.claimed_end(), self.header);
        (claimed.saturating_sub(actual), actual.saturating_sub(claimed))
    }

    fn has_moved(&self) -> bool {
        self.shifts() != (0, 0)
    }

    /// Returns the entry of a member that was found at `offset`; it has a number above `after`.
    pub(super) fn lookup<R: ReadAt>(
        &mut self,
        probe: &mut Probe<'_, R>,
        path: &MemberPath,
        zoffset: u64,
        offset: u64,
        after: Option<u64>,
    ) -> Result<Lookup> {
        let (back, forth) = self.shifts();
        let moved = offset.saturating_sub(forth)..=offset.saturating_add(back);
        let (from, to) = if self.sorted {
            let at = self.blocks.partition_point(|block| block.first <= *path);
            (at.saturating_sub(1), at)
        } else {
            let starts = |block: &Block| block.starts.unwrap_or((0, u64::MAX));
            let from = self.blocks.partition_point(|block| starts(block).1 < *moved.start());
            let to = self.blocks.partition_point(|block| starts(block).0 <= *moved.end());
            (from, to.max(from))
        };
        // Numbers ascend.
        let passed = self.blocks.partition_point(|block| {
            after.is_some_and(|after| block.number + block.entries <= after + 1)
        });
        let from = from.max(passed);
        let likely = match self.sorted {
            true => 0..0,
            false => self.likely(offset, from..to),
        };
        for index in likely.clone().chain((from..to).filter(|index| !likely.contains(index))) {
            let number = self.blocks[index].number;
            let found =
                self.entries_of(probe, index)?.iter().zip(number..).find(|(entry, number)| {
                    let location = entry.location.filter(|location| location.depth == 0);
                    entry.path == *path
                        && after.is_none_or(|after| after < *number)
                        && location.is_some_and(|location| {
                            moved.contains(&location.offset) && location.zoffset == zoffset
                        })
                });
            if let Some((entry, number)) = found {
                let entry = Box::new(entry.clone());
                let claimed = entry.location.map_or(offset, |location| location.offset);
                self.shift = claimed.wrapping_sub(offset).cast_signed();
                return Ok(Lookup::Found(number, entry));
            }
        }
        if self.is_complete() { Ok(Lookup::Absent) } else { Ok(self.in_gap(path, offset)) }
    }

    /// Returns which of some blocks have a member that has moved as far as the one before.
    fn likely(&self, offset: u64, among: Range<usize>) -> Range<usize> {
        let Some(claimed) = offset.checked_add_signed(self.shift) else { return 0..0 };
        let starts = |block: &Block| block.starts.unwrap_or((0, u64::MAX));
        let from = self.blocks.partition_point(|block| starts(block).1 < claimed);
        let to = self.blocks.partition_point(|block| starts(block).0 <= claimed);
        from.max(among.start)..to.min(among.end).max(from.max(among.start))
    }

    /// Returns whether a name, or a place, is in a part that is missing.
    fn in_gap(&self, path: &MemberPath, offset: u64) -> Lookup {
        let before = match self.sorted {
            true => self.blocks.partition_point(|block| block.first <= *path),
            false => self
                .blocks
                .partition_point(|block| block.starts.is_none_or(|(first, _)| first <= offset)),
        };
        let within = before.checked_sub(1).and_then(|index| self.blocks.get(index));
        let known = within.is_some_and(|block| match self.sorted {
            true => *path <= block.last,
            // Members that moved cannot be told by their place.
            false => !self.has_moved() && block.starts.is_some_and(|(_, last)| offset <= last),
        });
        let gap = self.blocks.get(before).map_or(self.ends_in_gap, |block| block.after_gap);
        if known || !gap && (self.sorted || !self.has_moved()) {
            Lookup::Absent
        } else {
            Lookup::Unknown
        }
    }

    /// Returns the entries of a block; those asked for last are kept.
    fn entries_of<R: ReadAt>(
        &mut self,
        probe: &mut Probe<'_, R>,
        index: usize,
    ) -> Result<&[Entry]> {
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != index) {
            let Some(offset) = self.blocks.get(index).map(|block| block.offset) else {
                return Ok(&[]);
            };
            let most = self.limits.listing.min(5 << 20).saturating_add(self.limits.line);
            let entries = match probe.decode(offset, most)? {
                Ok(_) => parse_block(probe.text(), &self.limits),
                Err(_) => None,
            };
            // It was whole before.
            let changed = || FormatError::Missing("listing block that was read before").at(offset);
            self.cached = Some((index, entries.ok_or_else(changed)?.0));
        }
        Ok(self.cached.as_ref().map_or(&[], |(_, entries)| entries))
    }

    /// Returns the entry with a number.
    pub(super) fn entry<R: ReadAt>(
        &mut self,
        probe: &mut Probe<'_, R>,
        number: u64,
    ) -> Result<Option<Entry>> {
        let index = self.blocks.partition_point(|block| block.number <= number);
        let Some(index) = index.checked_sub(1) else { return Ok(None) };
        let within = number - self.blocks[index].number;
        let entries = self.entries_of(probe, index)?;
        Ok(usize::try_from(within).ok().and_then(|within| entries.get(within)).cloned())
    }
}

/// Reads a listing block; returns its entries, and whether it ends the listing.
fn parse_block(text: &[u8], limits: &Limits) -> Option<(Vec<Entry>, bool)> {
    let body = text.strip_suffix(b"\n")?;
    if body.is_empty() {
        return Some((Vec::new(), true));
    }
    let (body, is_last) = match body.strip_suffix(b"\n") {
        Some(body) => (body, true),
        None => (body, false),
    };
    let lines = body.split(|&byte| byte == b'\n');
    let entries = lines.map(|line| Entry::parse(line, Dialect::Isptar, limits));
    Some((entries.collect::<std::result::Result<_, _>>().ok()?, is_last))
}

/// Finds the last header of a `.backup.info` that begins before `before`.
fn find_header<R: ReadAt>(source: &R, before: u64, effort: &Effort<'_>) -> Result<Option<u64>> {
    let mut pattern = gzip::HEAD.to_vec();
    // One stored block of 512 bytes, as the writer always makes it.
    pattern.extend_from_slice(&[1, 0, 2, 0xff, 0xfd]);
    pattern.extend_from_slice(INFO_NAME);
    let overlap = pattern.len() as u64 - 1;
    let size = source.size().map_err(|source| Error::input(0, source))?;
    let mut end = before;
    let mut bytes = Vec::new();
    while end > 0 {
        effort.go_on()?;
        let start = end.saturating_sub(STEP);
        let until = end.saturating_add(overlap).min(size);
        bytes.resize(usize::try_from(until - start).unwrap_or(0), 0);
        let input = |source| Error::input(start, source);
        source.read_exact_at(&mut bytes, start).map_err(input)?;
        let (mut last, mut from) = (None, 0);
        while let Some(at) = find(bytes.get(from..).unwrap_or_default(), &pattern) {
            last = Some(start + (from + at) as u64).filter(|&at| at < before).or(last);
            from += at + 1;
        }
        if last.is_some() {
            return Ok(last);
        }
        end = start;
    }
    Ok(None)
}

/// Returns an error of a member whose content is not the one that its entry says.
pub(super) fn digest_error(expected: [u8; 32], actual: [u8; 32]) -> FormatError {
    let (expected, actual) = (text::digest_text(&expected), text::digest_text(&actual));
    FormatError::Digest { what: "the content", expected, actual }
}
