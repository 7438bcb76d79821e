//! Reading any tar from front to back, listing or not, damaged or not.
//!
//! Past damage, `resync` searches the last 64 KiB of the input, and what comes, for the next
//! stream. Each candidate gets 4 KiB to give a tar header, and work done twice is counted.

mod input;
mod listing;
mod member;
mod raw;
mod recover;
mod resync;
mod tally;

use std::io::Read;
use std::ops::Range;

use self::input::Input;
pub use self::member::Scanned;
use self::recover::{Current, Place};
use self::tally::Tally;
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Found, Reached};
use crate::format::entry::Entry;
use crate::format::header::Header;
use crate::format::member::{Assembled, PROLOGUE_COMMENT, prologue};
use crate::format::{BLOCK, header, padding, pax};
use crate::limits::Limits;
use crate::path::MemberPath;

/// Bytes of content handed out at once.
const PIECE: usize = 64 << 10;

/// Remarks that are kept; more than these tell nobody more.
const REMARKS: usize = 16;

/// Reads a tar, or a gzip-compressed one of any number of streams, from front to back.
///
/// Nothing but the CRC of gzip tells whether the content is what was stored, and it comes after
/// it: errors are found late. An archive of ours is known by its prologue; its listing is not
/// handed out, but a member that it does not name, or one that is not there, is an error at the end.
///
/// Damage does not end the reading: after an error for which [`Error::is_damage`] holds, wherever
/// it came from, [`Self::next`] goes on with the next good member.
///
/// - Of a member whose headers are wrong but whose size is known, exactly the data is skipped; else
///   blocks are skipped up to one that is a tar header.
/// - A gzip stream that is wrong in its CRC or its length alone costs the members in it; reading
///   goes on right behind it. Behind one that does not decode, it goes on with the next stream
///   that begins with a tar header.
///
/// What is found behind damage may be part of the damaged member: a tar that was stored in it.
pub struct TarReader<R> {
    input: Input<R>,
    limits: Limits,
    /// What is left of the data of the last member, and its padding.
    left: u64,
    padding: u64,
    /// The last member, until all of it was read.
    current: Option<Current>,
    /// The stream in which the last member begins, and how many members are in it.
    stream: Option<(u64, u64)>,
    /// Records of global headers that count for all members.
    globals: Vec<pax::Record>,
    is_ours: bool,
    ended: bool,
    end_missing: bool,
    members: u64,
    damage: Option<Damage>,
    /// An error that is told next.
    pending: Option<Error>,
    remarks: Vec<Remark>,
    buffer: Vec<u8>,
    lost: Vec<Entry>,
    /// Bytes of the lines of `lost`.
    lost_len: u64,
    /// What was met, and what the listing says, of an archive of ours.
    met: Tally,
    listed: Tally,
    /// How many members the listing has elsewhere.
    in_bases: u64,
}

/// What the last error of a [`TarReader`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Damage {
    /// The member that cannot be read, when its name is known.
    pub path: Option<MemberPath>,
    /// The bytes of the decompressed tar that were skipped; empty when reading went on where it
    /// was.
    pub range: Range<u64>,
}

/// Something about a tar that is odd, though all its members are read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Remark {
    /// One block of zeros, where two end a tar.
    #[error("a single block of zeros at byte {position} of the tar does not end it")]
    LoneZeroBlock {
        /// Where in the decompressed tar.
        position: u64,
    },
    /// A record of a global header that would change every member.
    #[error("a global header says {key} for all members, which is not taken")]
    GlobalIgnored {
        /// Its key, non-printing bytes escaped.
        key: String,
    },
    /// It is an incremental archive of ours, whose bases are found only by its listing.
    #[error("{members} of its entries are in bases, which are not found from front to back")]
    InBases {
        /// How many members are not here.
        members: u64,
    },
    /// Something stands behind the end of the tar.
    #[error("what stands behind the end of the tar was not read, from byte {offset}")]
    Trailing {
        /// Where in the input.
        offset: u64,
    },
}

impl<R: Read> TarReader<R> {
    /// Reads `input`, which is decompressed when it begins with the magic of gzip.
    ///
    /// # Errors
    ///
    /// [`Error::Input`].
    pub fn new(input: R, limits: Limits) -> Result<Self> {
        Ok(Self {
            input: Input::new(input)?,
            limits,
            left: 0,
            padding: 0,
            current: None,
            stream: None,
            globals: Vec::new(),
            is_ours: false,
            ended: false,
            end_missing: false,
            members: 0,
            damage: None,
            pending: None,
            remarks: Vec::new(),
            buffer: Vec::new(),
            lost: Vec::new(),
            lost_len: 0,
            met: Tally::default(),
            listed: Tally::default(),
            in_bases: 0,
        })
    }

    /// Returns whether the input is an archive of ours; known once the first member was read.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Looks whether the input begins as an archive of ours does. What is damaged there is told by
    /// [`Self::next`].
    ///
    /// # Errors
    ///
    /// [`Error::Input`].
    pub fn peek_is_ours(&mut self) -> Result<bool> {
        let (header, body) = prologue();
        match self.input.peek(2 * BLOCK) {
            Ok(start) => Ok(start == [header, body].concat()),
            Err(error) if error.is_damage() => {
                self.pending = Some(self.damaged(error, None, self.here(), None));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the entries that the listing of an archive of ours has without their content; known
    /// at the end.
    pub fn lost(&self) -> &[Entry] {
        &self.lost
    }

    /// Returns whether the input ended without the zero blocks that end a tar; known at its end.
    pub fn end_missing(&self) -> bool {
        self.end_missing
    }

    /// Returns whether the input ended within a member, a header or a stream, which an error told.
    pub fn is_cut(&self) -> bool {
        self.input.is_cut
    }

    /// Returns how many members were met.
    pub fn members(&self) -> u64 {
        self.members
    }

    /// Returns what the last error was about, if any was damage.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Returns what is odd about the tar so far; not more than 16 of very many.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Returns how many bytes of the tar were read.
    pub fn position(&self) -> u64 {
        self.input.position
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the next member, or `None` at the end of the tar. What was left of the content of
    /// the one before is skipped.
    ///
    /// # Errors
    ///
    /// [`Error::NotTar`] and [`Error::Input`], which end the reading; or damage, after which this
    /// can be called again: [`Error::CorruptMember`] with the bytes of the input that are lost
    /// (also of the member before this one, when it was not read to its end), or
    /// [`Error::CorruptTar`] and [`Error::CorruptStream`] when the name is not known,
    /// [`Error::Limit`] and [`Error::Unsupported`]; [`Self::damage`] says more.
    #[expect(clippy::should_implement_trait, reason = "members borrow the reader")]
    pub fn next(&mut self) -> Result<Option<Scanned<'_, R>>> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        self.leave_member()?;
        while !self.ended {
            let start = self.here();
            match self.read_headers()? {
                Found::Global(records) => self.take_globals(records),
                Found::Zeros => self.zeros(start)?,
                Found::End => self.end(self.input.ends_with_zeros)?,
                Found::Member(found) => {
                    self.left = found.stored;
                    self.padding = padding(found.stored);
                    let path = found.header.path.clone();
                    self.current = Some(Current { path, start });
                    if self.is_ours && self.skip_listing(&found)? {
                        continue;
                    }
                    self.count_member();
                    if self.is_ours {
                        self.met.add(&found.header.path, &found.header.kind);
                    }
                    if found.stored == 0 {
                        // The stream ends here, or others are in it.
                        self.leave_member()?;
                    }
                    return Ok(Some(Scanned::new(self, *found)));
                }
            }
        }
        Ok(None)
    }

    fn read_headers(&mut self) -> Result<Found> {
        self.check_start()?;
        let start = self.here();
        let mut reached = Reached::default();
        let (input, globals) = (&mut self.input, &self.globals);
        match assemble::read_headers_of(input, globals, &self.limits, &mut reached) {
            Ok(found) => Ok(found),
            Err(error) => Err(self.bad_headers(error, reached, start)),
        }
    }

    /// Refuses what is no tar at all: its first block has neither the mark of a tar header nor a
    /// checksum that holds.
    fn check_start(&mut self) -> Result<()> {
        let start = self.here();
        if self.members > 0 || self.damage.is_some() || start.position > 0 {
            return Ok(());
        }
        let ahead = match self.input.peek(BLOCK) {
            Ok(ahead) => ahead,
            Err(error) => return Err(self.damaged(error, None, start, None)),
        };
        let kind = match ahead.first_chunk::<BLOCK>() {
            None if ahead.is_empty() => return Ok(()),
            None => {
                let (need, have) = (BLOCK as u64, ahead.len() as u64);
                FormatError::Truncated { what: "tar header", need, have }
            }
            Some(block) if header::has_magic(block) || header::is_header(block) => return Ok(()),
            Some(block) => match Header::parse(block) {
                Err(kind) => kind,
                Ok(_) => return Ok(()),
            },
        };
        self.ended = true;
        Err(Error::NotTar(kind))
    }

    /// Takes the records of a global header that may count for all members.
    fn take_globals(&mut self, records: Vec<pax::Record>) {
        for (key, value) in records {
            match key.as_slice() {
                b"comment" => self.is_ours |= value == PROLOGUE_COMMENT,
                b"uid" | b"gid" | b"uname" | b"gname" | b"mtime" => {
                    self.globals.retain(|(known, _)| *known != key);
                    self.globals.push((key, value));
                }
                key if !is_of_one(key) => {}
                key => {
                    let key = key.get(..32).unwrap_or(key).escape_ascii().to_string();
                    self.remark(Remark::GlobalIgnored { key });
                }
            }
        }
    }

    fn remark(&mut self, remark: Remark) {
        if self.remarks.len() < REMARKS && !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Finds out whether zeros end the tar: two blocks of them do.
    fn zeros(&mut self, start: Place) -> Result<()> {
        let next = match self.input.peek(BLOCK) {
            Ok(next) => next,
            Err(error) => return Err(self.damaged(error, None, start, None)),
        };
        if next.is_empty() {
            return self.end(false);
        }
        if next.iter().all(|&byte| byte == 0) {
            return self.end(true);
        }
        self.remark(Remark::LoneZeroBlock { position: start.position });
        Ok(())
    }

    /// Reads the input to its end, because only there its last CRC stands.
    fn end(&mut self, marked: bool) -> Result<()> {
        self.ended = true;
        self.end_missing = !marked;
        let start = self.here();
        match self.input.drain() {
            Ok(None) => Ok(()),
            Ok(Some(offset)) => {
                self.remark(Remark::Trailing { offset });
                Ok(())
            }
            Err(error) => Err(self.damaged(error, None, start, None)),
        }
    }

    /// Skips a member that is the listing, after it was read.
    fn skip_listing(&mut self, found: &Assembled) -> Result<bool> {
        let read = match self.is_listing(found) {
            Ok(false) => return Ok(false),
            Ok(true) => self.read_listing().and_then(|()| self.finish_data()),
            Err(error) => Err(error),
        };
        match read {
            Ok(()) => {
                self.current = None;
                Ok(true)
            }
            Err(error) => Err(self.member_failed(error)),
        }
    }

    /// Counts the members of the stream at hand.
    fn count_member(&mut self) {
        self.members += 1;
        let stream = self.input.stream;
        self.stream = match self.stream {
            Some((same, count)) if same == stream => Some((stream, count + 1)),
            _ => Some((stream, 1)),
        };
    }
}

/// Returns whether a PAX key speaks of one member, so that it makes no sense for all.
fn is_of_one(key: &[u8]) -> bool {
    let starts: [&[u8]; 4] = [b"GNU.sparse.", b"SCHILY.xattr.", b"SCHILY.acl.", b"RHT."];
    matches!(key, b"path" | b"linkpath" | b"size")
        || starts.iter().any(|start| key.starts_with(start))
}

/// Places an error in the decompressed tar.
fn in_tar(kind: FormatError, position: u64) -> Error {
    match kind.at(position) {
        Error::Corrupt { offset, kind } => Error::CorruptTar { position: offset, kind },
        error => error,
    }
}
