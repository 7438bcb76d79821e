//! From the first byte to the last: which members are whole, and what lies between them.
//!
//! As long as streams follow each other the scanner is *in step*, and takes what it meets. Damage
//! costs the step. It is found again without looking into the damaged stream where that is possible
//! (see [`Resume::At`]); else a head is searched, and what is found may be alien: the member of an
//! archive that is stored in this one. Five things tell the alien:
//!
//! - the listing, when it can be read, has no such entry there;
//! - its headers are not spelled as ours;
//! - its name does not come after the last one that is certain, where names ascended so far;
//! - it was met within a stored stream, and what follows does not lead out of that;
//! - it is followed by a `.backup.info`, which says where its archive began: all that was found
//!   since then is given up. A prologue says the same from the front.

use std::collections::VecDeque;
use std::ops::Range;

use super::listing::{Effort, Lookup, OldListing, digest_error};
use super::probe::{Broken, Probe, Resume, Step, Unit, Whole};
use super::rest::Rest;
use super::spool::Spool;
use crate::archive::check_agreement;
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Digest, Entry, Kind, Location};
use crate::format::gzip;
use crate::format::header::Header;
use crate::format::info::ArchiveInfo;
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::pack::{Details, entry_of};
use crate::path::{MemberPath, SafePath};
use crate::verify::Links;
use crate::writer::prologue_lengths;

/// Kinds of damage that are remembered in words; beyond, its place alone is.
const MOST_KINDS: usize = 10_000;

/// Bytes of names and words of damage that are remembered, and as many of the runs.
const MOST_WORDS: usize = 4 << 20;

/// The number of damage that is another archive, and of which nothing else is remembered.
pub(super) const OTHER: u64 = u64::MAX - 1;

/// Runs of searched members that can be given up again.
const MOST_RUNS: usize = 10_000;

/// Bytes that may be decoded in vain for each byte of the archive, and in any case. Candidates
/// that overlap could cost the square of the archive's length; beyond this, what was decoded in
/// vain is not searched again. Stored ones, each with a header of its own, stay below 130 a byte.
const WASTE: (u64, u64) = (256, 1 << 30);

/// What is known of some damage.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) kind: FormatError,
    /// A member whose headers are whole and whose data is not.
    pub(super) path: Option<MemberPath>,
}

/// What the scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) spool: Spool,
    pub(super) damages: Vec<Damage>,
    /// Where members end, when that was found: at `.backup.info`.
    pub(super) ended: bool,
    /// Whether the prologue is not compressed, as that of an archive that was stored.
    pub(super) is_stored: bool,
    pub(super) members: u64,
    /// Names ascend.
    pub(super) sorted: bool,
    /// What hard links lead to.
    pub(super) links: Links,
    /// Where the archive ends, when its end was found; see [`OldListing::end`].
    pub(super) archive_end: Option<(u64, bool)>,
    /// What stands behind that.
    pub(super) rest: Option<Rest>,
    /// When the archive was begun, by the header of a listing that cannot be read.
    pub(super) created: Option<u64>,
}

/// A run of members that began with a search.
#[derive(Debug)]
struct Run {
    /// Bytes of names and words.
    size: usize,
    start: u64,
    mark: u64,
    /// Where the damaged stream that it was found in should end.
    claimed: u64,
    /// What the state was before.
    members: u64,
    sorted: bool,
    last: Option<MemberPath>,
    damage: (u64, FormatError, Option<MemberPath>),
}

/// Damage whose end is not known yet.
type Open = (u64, FormatError, Option<MemberPath>);

pub(super) struct Scanner<'a, 'b, R> {
    probe: Probe<'a, R>,
    /// Reads the listing, which is beyond the end of the members.
    lister: Probe<'a, R>,
    listing: Option<&'b mut OldListing>,
    limits: Limits,
    len: u64,
    end: u64,
    found: Scanned,
    /// Damage that goes on.
    open: Option<Open>,
    damaged: bool,
    /// Whether nothing was searched so far, or the listing confirmed where we are.
    certain: bool,
    /// The last name of those that are certain, and of all.
    last_certain: Option<MemberPath>,
    last: Option<MemberPath>,
    /// The number of the last entry of the listing that was found again.
    last_number: Option<u64>,
    /// Within an archive that is stored in this one.
    alien: bool,
    runs: VecDeque<Run>,
    /// Bytes of names and words in them, and in the damages found.
    run_bytes: usize,
    said: usize,
    /// In step since the last of them began.
    in_run: bool,
    /// Where the stored stream should end in which the search began.
    claimed: u64,
    wasted: u64,
}

/// Where the scanner goes on: in step, or searching.
enum Next {
    At(u64),
    Search(u64),
    Done,
}

impl<'a, 'b, R: ReadAt> Scanner<'a, 'b, R> {
    pub(super) fn new(
        source: &'a R,
        len: u64,
        listing: Option<&'b mut OldListing>,
        spool: Spool,
        limits: Limits,
    ) -> Self {
        let end = listing.as_ref().map_or(len, |listing| listing.header);
        let found = Scanned {
            spool,
            damages: Vec::new(),
            ended: listing.is_some(),
            is_stored: false,
            members: 0,
            sorted: true,
            links: Links::default(),
            archive_end: None,
            rest: None,
            created: None,
        };
        Self {
            probe: Probe::new(source, end, limits).looking_for_info(listing.is_none()),
            lister: Probe::new(source, len, limits),
            listing,
            limits,
            len,
            end,
            found,
            open: None,
            damaged: false,
            certain: true,
            last_certain: None,
            last: None,
            last_number: None,
            alien: false,
            runs: VecDeque::new(),
            run_bytes: 0,
            said: 0,
            in_run: false,
            claimed: 0,
            wasted: 0,
        }
    }

    /// Scans the archive.
    pub(super) fn run(mut self, observer: &mut dyn Observer) -> Result<Scanned> {
        let mut next = Next::At(0);
        let mut told = 0;
        loop {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let at = match next {
                Next::At(at) if at < self.end => at,
                Next::Search(from) => match self.search(from, observer)? {
                    Some(at) => at,
                    None => break,
                },
                Next::At(_) | Next::Done => break,
            };
            observer.event(Event::Progress { bytes: at.saturating_sub(told) });
            told = told.max(at);
            let searched = matches!(next, Next::Search(_));
            next = self.step(at, searched, observer)?;
        }
        self.close(self.end)?;
        observer.event(Event::Progress { bytes: self.end.saturating_sub(told) });
        Ok(self.found)
    }

    /// Finds the next place where a member may begin.
    fn search(&mut self, from: u64, observer: &dyn Observer) -> Result<Option<u64>> {
        let mut from = from;
        while let Some(at) = self.probe.window.find_head(from)? {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            if self.probe.is_likely(at)? {
                return Ok(Some(at));
            }
            from = at + gzip::HEAD.len() as u64;
        }
        Ok(None)
    }

    fn step(&mut self, at: u64, searched: bool, observer: &dyn Observer) -> Result<Next> {
        if searched {
            (self.certain, self.in_run) = (false, false);
        }
        let step = self.probe.step(at)?;
        // Without a prologue this may be anything.
        self.damaged |= at == 0 && !matches!(step, Step::Prologue(_));
        match step {
            Step::Unit(unit) => self.unit(unit, searched),
            Step::Prologue(end) => {
                if at == 0 {
                    self.found.is_stored = end == prologue_lengths()[0];
                } else {
                    self.alien = true;
                    self.close(at)?;
                    self.damage(at, FormatError::Another, None);
                }
                Ok(Next::At(end))
            }
            Step::Info(end, header) => self.info(at, end, &header, observer),
            Step::Trailer(end) => self.trailer(at, end),
            Step::Stray(end, kind, path) => {
                self.damage(at, kind, path.filter(|_| self.open.is_none() && !self.alien));
                Ok(Next::At(end))
            }
            Step::Broken(broken) => self.broken(at, broken, searched),
        }
    }

    /// Begins damage, unless it goes on already.
    fn damage(&mut self, at: u64, kind: FormatError, path: Option<MemberPath>) {
        self.damaged = true;
        if self.open.is_none() {
            self.open = Some((at, kind, path));
        }
    }

    /// Ends damage at `end`.
    fn close(&mut self, end: u64) -> Result<()> {
        let Some((start, kind, path)) = self.open.take() else { return Ok(()) };
        if start == 0 && self.found.members == 0 && is_prologue(end) {
            self.found.is_stored = end == prologue_lengths()[0];
            return Ok(());
        }
        self.record(&(start..end), Damage { kind, path })
    }

    fn record(&mut self, range: &Range<u64>, damage: Damage) -> Result<()> {
        let number = self.found.damages.len();
        let bytes = self.said + words(&damage.kind, damage.path.as_ref());
        if number < MOST_KINDS && bytes <= MOST_WORDS {
            self.said = bytes;
            self.found.damages.push(damage);
        } else if damage.kind == FormatError::Another {
            return self.found.spool.damage(range, OTHER);
        } else {
            return self.found.spool.damage(range, u64::MAX);
        }
        self.found.spool.damage(range, number as u64)
    }

    fn broken(&mut self, at: u64, broken: Broken, searched: bool) -> Result<Next> {
        self.wasted = self.wasted.saturating_add(broken.wasted);
        let is_within = |run: &Run| at < run.claimed && run.start < run.claimed;
        if self.in_run && self.runs.back().is_some_and(is_within) {
            // What was found in a stored stream did not lead out of it: it was what is stored.
            self.give_up(None)?;
            self.in_run = false;
        }
        // A head that was met in a search may be a false one, and claim all that follows it; or
        // what was decoded behind it has run into the end of another stream.
        let claims_all = broken.resume == Resume::At(self.end);
        let is_doubtful = searched && broken.path.is_none() && (claims_all || !broken.fits);
        if let Some(path) = broken.path.filter(|_| self.open.is_none() && !self.alien) {
            self.damage(at, broken.kind, Some(path));
        } else {
            self.damage(broken.start.min(at), broken.kind, None);
        }
        self.claimed = self.claimed.max(broken.claimed.unwrap_or(0));
        Ok(match broken.resume {
            Resume::At(_) if is_doubtful => Next::Search(at + 1),
            Resume::At(next) => Next::At(next),
            Resume::Search(from, stopped) => {
                self.alien = false;
                let allowed = stopped.saturating_mul(WASTE.0).saturating_add(WASTE.1);
                Next::Search(if self.wasted > allowed { stopped } else { from })
            }
        })
    }

    fn unit(&mut self, unit: Unit, searched: bool) -> Result<Next> {
        let end = unit.range.end;
        if self.alien {
            self.damage(unit.range.start, inner(), None);
            return Ok(Next::At(end));
        }
        let mut entries = Vec::with_capacity(unit.members.len());
        let mut refused = Vec::new();
        for whole in &unit.members {
            match self.admit(whole, &unit.range)? {
                Ok(entry) => entries.push(entry),
                Err(kind) => {
                    let path = is_own_target(whole).then(|| whole.header.path.clone());
                    refused.push(Damage { kind, path });
                }
            }
        }
        let is_listed = entries.iter().any(|(_, number)| number.is_some());
        let is_alien = refused.iter().any(|damage| damage.path.is_none());
        if (entries.is_empty() || is_alien && !is_listed)
            && let Some(Damage { kind, path }) = refused.pop()
        {
            // A stream that is half alien is none of ours, unless the listing knows the rest.
            self.damage(unit.range.start, kind, path.filter(|_| self.open.is_none()));
            return Ok(Next::At(end));
        }
        if searched && !self.certain {
            self.begin_run(unit.range.start);
            self.in_run = true;
        }
        self.close(unit.range.start)?;
        let repack = unit.is_odd || !refused.is_empty();
        for (entry, number) in entries {
            self.take(&entry, number, repack)?;
        }
        for damage in refused {
            self.record(&unit.range, damage)?;
        }
        Ok(Next::At(end))
    }

    fn begin_run(&mut self, start: u64) {
        let Some((from, kind, path)) = &self.open else { return };
        let size =
            words(kind, path.as_ref()) + self.last.as_ref().map_or(0, |last| last.as_bytes().len());
        self.run_bytes += size;
        while self.runs.len() == MOST_RUNS || self.run_bytes > MOST_WORDS {
            let Some(first) = self.runs.pop_front() else { break };
            self.run_bytes -= first.size;
        }
        self.runs.push_back(Run {
            size,
            start,
            mark: self.found.spool.mark(),
            claimed: self.claimed,
            members: self.found.members,
            sorted: self.found.sorted,
            last: self.last.clone(),
            damage: (*from, kind.clone(), path.clone()),
        });
    }

    /// Records a member.
    fn take(&mut self, entry: &Entry, number: Option<u64>, repack: bool) -> Result<()> {
        self.found.spool.member(entry, number, repack, &self.limits)?;
        self.found.links.expect(&entry.kind.borrowed(), &self.limits);
        self.found.members += 1;
        self.found.sorted &= self.last.as_ref().is_none_or(|last| *last < entry.path);
        self.last = Some(entry.path.clone());
        if self.certain {
            self.last_certain = self.last.clone();
        }
        Ok(())
    }

    /// Decides whether a whole member is one of this archive; returns its entry.
    fn admit(
        &mut self,
        whole: &Whole,
        range: &Range<u64>,
    ) -> Result<std::result::Result<(Entry, Option<u64>), FormatError>> {
        let header = &whole.header;
        if SafePath::new(&header.path, &self.limits).is_err() || !header.path.is_canonical() {
            return Ok(Err(FormatError::invalid("name", header.path.as_bytes())));
        }
        if is_own_target(whole) {
            return Ok(Err(FormatError::invalid("target of a hard link", header.path.as_bytes())));
        }
        let lookup = match &mut self.listing {
            Some(listing) => {
                let (zoffset, after) = (whole.zoffset, self.last_number);
                listing.lookup(&mut self.lister, &header.path, zoffset, range.start, after)?
            }
            None => Lookup::Unknown,
        };
        let (entry, number) = match lookup {
            Lookup::Found(number, entry) => {
                if let Err(kind) = agrees(whole, &entry) {
                    return Ok(Err(kind));
                }
                self.last_number = Some(number);
                self.certain = true;
                (*entry, Some(number))
            }
            Lookup::Absent => return Ok(Err(FormatError::Missing("entry of a member"))),
            Lookup::Unknown => {
                if let Some(kind) = self.suspicion(whole) {
                    return Ok(Err(kind));
                }
                let details = Details::default();
                (entry_of(header, details), None)
            }
        };
        let location = Location { depth: 0, slice: 1, offset: range.start, zoffset: whole.zoffset };
        let entry = Entry {
            location: Some(location),
            packed: Some(range.end - range.start),
            chunks: whole.chunks.clone(),
            digest: whole.digest,
            ..entry
        };
        Ok(Ok((entry, number)))
    }

    /// Returns why a member that no listing knows may be alien.
    fn suspicion(&self, whole: &Whole) -> Option<FormatError> {
        if !self.damaged {
            return None;
        }
        let path = &whole.header.path;
        if !whole.is_ours {
            return Some(FormatError::invalid("spelling of the tar header", path.as_bytes()));
        }
        let last = self.last_certain.as_ref().filter(|last| *last >= path);
        let last = last.filter(|_| !self.certain && self.found.sorted)?;
        Some(FormatError::mismatch("name of a member", format!("a name after {last}"), path))
    }

    /// Meets the header of a listing, of `size` bytes of text, that is not the one we know.
    fn info(
        &mut self,
        at: u64,
        end: u64,
        header: &Header,
        observer: &dyn Observer,
    ) -> Result<Next> {
        let (size, mtime) = (header.size, header.mtime);
        if self.alien {
            self.damage(at, inner(), None);
            return Ok(Next::At(end));
        }
        if self.certain || self.is_own(at, end, size)? {
            self.close(at)?;
            self.found.ended = true;
            self.found.created = u64::try_from(mtime).ok().filter(|&mtime| mtime > 0);
            let mut effort = Effort::new(observer, self.end);
            let (probe, limits) = (&mut self.lister, self.limits);
            let listing = OldListing::read(probe, at, self.len, limits, &mut effort)?;
            self.found.archive_end = Some(listing.end());
            self.end = at;
            return Ok(Next::Done);
        }
        let start = self.data_size(end)?.map(|data_size| at.saturating_sub(data_size));
        self.give_up(start)?;
        self.damage(at, inner(), None);
        self.alien = true;
        Ok(Next::At(end))
    }

    /// Returns whether a listing that was met after a search can be that of the archive: it says
    /// so, or it cannot be read, and the archive ends about where it would.
    fn is_own(&mut self, at: u64, end: u64, size: u64) -> Result<bool> {
        const SLACK: u64 = 4096;
        if let Some(data_size) = self.data_size(end)? {
            return Ok(data_size >= at);
        }
        let most = size.saturating_add(size / 100).saturating_add(SLACK);
        Ok(self.end - end <= most)
    }

    /// Returns what the archive info behind a listing that begins at `at` says of the members.
    fn data_size(&mut self, at: u64) -> Result<Option<u64>> {
        let mut at = at;
        while at < self.end {
            let most = self.limits.listing.min(5 << 20).saturating_add(self.limits.line);
            let Ok(next) = self.probe.decode(at, most)? else { return Ok(None) };
            if self.probe.text().starts_with(b"listing_header=") {
                let info = ArchiveInfo::parse(self.probe.text());
                return Ok(info.ok().map(|info| info.data_size));
            }
            at = next;
        }
        Ok(None)
    }

    /// Gives up the runs that began at `start` or later, or else the one that goes on.
    fn give_up(&mut self, start: Option<u64>) -> Result<()> {
        let going_on = self.runs.back().filter(|_| self.in_run).map(|run| run.start);
        let start = start.or(going_on).unwrap_or(u64::MAX);
        while self.runs.back().is_some_and(|run| run.start >= start)
            && let Some(run) = self.runs.pop_back()
        {
            self.run_bytes -= run.size;
            self.found.spool.truncate(run.mark)?;
            self.found.members = run.members;
            self.found.sorted = run.sorted;
            self.last = run.last;
            self.open = Some(run.damage);
        }
        Ok(())
    }

    fn trailer(&mut self, at: u64, end: u64) -> Result<Next> {
        if self.certain && !self.alien {
            // The end of the archive, whose listing is lost altogether.
            self.close(at)?;
            self.found.archive_end = Some((end, true));
            self.found.ended = true;
            self.end = at;
            return Ok(Next::Done);
        }
        if !self.alien {
            self.give_up(None)?;
        }
        self.damage(at, inner(), None);
        self.alien = false;
        Ok(Next::Search(end))
    }
}

/// Returns about how much memory what is known of some damage takes.
fn words(kind: &FormatError, path: Option<&MemberPath>) -> usize {
    kind.to_string().len() + path.map_or(0, |path| path.as_bytes().len())
}

/// Returns whether a member is a hard link to itself, which no entry can say.
fn is_own_target(whole: &Whole) -> bool {
    matches!(&whole.header.kind, Kind::HardLink { target } if *target == whole.header.path)
}

/// What is said of bytes that belong to an archive within the archive.
fn inner() -> FormatError {
    FormatError::Missing("beginning of the member that these bytes belong to")
}

/// Returns whether `end` bytes are exactly a prologue, stored or packed as the writer does.
fn is_prologue(end: u64) -> bool {
    prologue_lengths().contains(&end)
}

/// Checks that a member is the one that its entry says.
fn agrees(whole: &Whole, entry: &Entry) -> std::result::Result<(), FormatError> {
    check_agreement(&whole.header, entry)?;
    // A listing that says something else of it would not pass verify.
    crate::verify::check_metadata(&whole.header, entry)?;
    match (entry.digest, whole.digest) {
        (Some(expected), Some(actual)) if expected != actual => {
            let (Digest::Content(expected) | Digest::Stored(expected)) = expected;
            let (Digest::Content(actual) | Digest::Stored(actual)) = actual;
            Err(digest_error(expected, actual))
        }
        (None, Some(_)) => Err(FormatError::Missing("sha256")),
        _ => Ok(()),
    }
}
