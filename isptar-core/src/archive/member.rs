//! Reading a member: its headers checked against the entry, its content against CRC and digest.

use std::ops::Range;
use std::sync::Arc;

use super::Archive;
use super::chunks::{Blamed, DigestCheck, MemberChunks};
use super::classic::ClassicContent;
use super::rereads::Rereads;
use super::streams::{Form, Streams};
use crate::codec::DecodeError;
use crate::content::{Content, Piece};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry};
use crate::format::member::MemberHeader;
use crate::io::ReadAt;
use crate::path::MemberPath;

/// The member of an entry: its headers, and its content.
///
/// Content is handed out stream by stream, each only after its CRC was found good; the digest of
/// all of it is checked before [`Content::next_piece`] says that it is at the end.
#[derive(Debug)]
pub struct Member<'a, R> {
    /// The archive whose listing has the member, and how many bases back it is from there.
    archive: &'a Archive<R>,
    depth: u32,
    path: MemberPath,
    range: Range<u64>,
    header: MemberHeader,
    body: Body<'a, R>,
    shelf: Shelf<'a, R>,
}

#[derive(Debug)]
enum Body<'a, R> {
    Ours(Box<Streams<'a, R>>),
    Classic(Box<ClassicContent<'a, R>>),
}

/// How a member is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading<'r> {
    /// The run over many members that this is part of.
    pub(super) run: Option<&'r Arc<Rereads>>,
    /// Up to where the streams of this archive are known to be wanted.
    pub(super) ahead: Option<u64>,
    /// Refuse what gzip would not take.
    pub(super) strict: bool,
}

/// Most archives of a chain whose streams are kept at hand.
const SHELF: usize = 32;

/// The streams of other archives of the chain that were read in the same run: members of different
/// depths alternate, and each archive has its own stream at hand. The last one was used last.
#[derive(Debug)]
#[expect(clippy::vec_box, reason = "they move to and from the body of a member, which is boxed")]
struct Shelf<'a, R>(Vec<Box<Streams<'a, R>>>);

impl<'a, R: ReadAt> Shelf<'a, R> {
    /// Takes over what a member has.
    fn of(previous: Option<Member<'a, R>>) -> Self {
        let Some(Member { body, mut shelf, .. }) = previous else { return Self(Vec::new()) };
        if let Body::Ours(streams) = body {
            if shelf.0.len() >= SHELF {
                shelf.0.remove(0);
            }
            shelf.0.push(streams);
        }
        shelf
    }

    fn take(&mut self, depth: u32) -> Option<Box<Streams<'a, R>>> {
        let at = self.0.iter().rposition(|streams| streams.depth() == depth)?;
        Some(self.0.remove(at))
    }
}

impl<'a, R: ReadAt> Member<'a, R> {
    pub(super) fn open(
        archive: &'a Archive<R>,
        entry: &Entry,
        previous: Option<Self>,
        reading: Reading<'_>,
    ) -> Result<Self> {
        if let (Some(reason), None) = (&entry.lost, entry.location) {
            return Err(Error::Lost { path: entry.path.clone(), reason: reason.clone() });
        }
        let home = archive.home(entry)?;
        let shelf = Shelf::of(previous);
        if (home.dialect, archive.dialect) == (Dialect::Classic, Dialect::Isptar) && !entry.data {
            // A location in a classic archive is otherwise meant.
            let (path, range) = (entry.path.clone(), entry.claimed_range());
            let kind = FormatError::Missing("data");
            return Err(Error::CorruptMember { path, range, kind });
        }
        let opened = match home.dialect {
            Dialect::Classic => Self::open_classic(archive, home, entry, shelf),
            Dialect::Isptar => Self::open_ours(archive, home, entry, shelf, reading),
        };
        opened.map_err(|error| archive.placed(entry.depth(), error))
    }

    fn open_ours(
        archive: &'a Archive<R>,
        home: &'a Archive<R>,
        entry: &Entry,
        mut shelf: Shelf<'a, R>,
        reading: Reading<'_>,
    ) -> Result<Self> {
        let range = entry.claimed_range();
        let corrupt =
            |kind| Error::CorruptMember { path: entry.path.clone(), range: range.clone(), kind };
        let (start, packed) = check_range(home, entry).map_err(corrupt)?;
        let depth = entry.depth();
        let at_hand = shelf.take(depth);
        let mut streams = at_hand.unwrap_or_else(|| Box::new(Streams::new(home, depth)));
        streams
            .turn_to(home, entry, (start, packed), reading)
            .map_err(|error| locate(error, &entry.path, &range))?;
        let header = streams.begin(entry, &home.limits).map_err(corrupt)?;
        let (path, body) = (entry.path.clone(), Body::Ours(streams));
        Ok(Self { archive, depth, path, range, header, body, shelf })
    }

    fn open_classic(
        archive: &'a Archive<R>,
        home: &'a Archive<R>,
        entry: &Entry,
        shelf: Shelf<'a, R>,
    ) -> Result<Self> {
        let (path, size) = (entry.path.clone(), entry.kind.size());
        let offset = match home.data_offset(entry) {
            Ok(offset) => offset,
            Err(kind) => {
                let range = entry.claimed_range();
                return Err(Error::CorruptMember { path, range, kind });
            }
        };
        let header = MemberHeader {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            mtime: entry.mtime.unwrap_or_default(),
            ..MemberHeader::new(path.clone(), entry.kind.clone())
        };
        let content = ClassicContent::new(&home.source, offset, home.data_end, size);
        let range = offset..offset;
        let (depth, body) = (entry.depth(), Body::Classic(Box::new(content)));
        Ok(Self { archive, depth, path, range, header, body, shelf })
    }

    /// Returns the headers. Members of classic archives have none that belong to them alone: what
    /// the entry says stands here.
    pub fn header(&self) -> &MemberHeader {
        &self.header
    }

    /// Returns the chunks of a member that has any and whose content was not asked for, for whoever
    /// reads them by a [`super::ChunkReader`], in any order and on any thread, and puts them in
    /// order for [`Self::digest_check`].
    pub(crate) fn chunks(&self) -> Option<MemberChunks<'_>> {
        match &self.body {
            Body::Ours(streams) => streams.chunks(self.blamed(), &self.header),
            Body::Classic(_) => None,
        }
    }

    /// Returns the check of the content's digest: for whoever does not read it by
    /// [`Content::next_piece`]. It must get the data of all chunks.
    pub(crate) fn digest_check(&self) -> DigestCheck {
        match &self.body {
            Body::Ours(streams) => streams.digest_check(self.blamed()),
            Body::Classic(_) => DigestCheck { member: self.blamed(), expected: None, digest: None },
        }
    }

    /// Returns what in the streams that were read is not as the writer makes it, though a decoder
    /// takes it.
    pub(crate) fn odd(&self) -> Option<&FormatError> {
        match &self.body {
            Body::Ours(streams) => streams.odd(),
            Body::Classic(_) => None,
        }
    }

    /// Says of an error of this member in which base it is.
    pub(crate) fn placed(&self, error: Error) -> Error {
        self.archive.placed(self.depth, error)
    }

    fn blamed(&self) -> Arc<Blamed> {
        let (path, range, depth) = (self.path.clone(), self.range.clone(), self.depth);
        let base = self.archive.base_name(depth).map(Into::into);
        Arc::new(Blamed { path, range, depth, base })
    }

    /// Checks what readers need not: that padding is zero, and streams are as the writer makes them.
    /// To be called when [`Content::next_piece`] has said that all content was read. Returns where
    /// the member ends in its stream; members of classic archives have none for themselves.
    pub(crate) fn check_form(&self) -> Result<Option<Form<'_>>> {
        let Body::Ours(streams) = &self.body else { return Ok(None) };
        match streams.check_form(&self.header) {
            Ok(form) => Ok(Some(form)),
            Err(kind) => {
                let (path, range) = (self.path.clone(), self.range.clone());
                Err(self.placed(Error::CorruptMember { path, range, kind }))
            }
        }
    }

    /// Forgets the streams at hand, so that what is decoded for the next member does not depend on
    /// this one.
    pub(crate) fn forget_stream(&mut self) {
        if let Body::Ours(streams) = &mut self.body {
            streams.forget();
        }
        self.shelf.0.iter_mut().for_each(|streams| streams.forget());
    }

    /// Turns to the piece that has byte `start` of the content, or to one before it; the digest is
    /// not checked then.
    pub(super) fn skip_to(&mut self, start: u64) {
        let Body::Ours(streams) = &mut self.body else { return };
        if start > 0 {
            streams.skip_to(start, &self.header);
        }
    }
}

/// Returns offset and length of a member's streams after checking them.
fn check_range<R: ReadAt>(archive: &Archive<R>, entry: &Entry) -> Result<(u64, u64), FormatError> {
    let location = entry.location.ok_or(FormatError::Missing("location"))?;
    let len = entry.packed.ok_or(FormatError::Missing("packed"))?;
    let (offset, end) = (location.offset, archive.data_end);
    if location.slice != 1 {
        return Err(FormatError::mismatch("slice of a location", 1, location.slice));
    }
    offset
        .checked_add(len)
        .filter(|&member_end| member_end <= end)
        .ok_or(FormatError::OutOfBounds { what: "member", offset, len, end })?;
    Ok((offset, len))
}

pub(super) fn locate(error: DecodeError, path: &MemberPath, range: &Range<u64>) -> Error {
    let range = range.clone();
    match error {
        DecodeError::Io(source) => Error::input(range.start, source),
        DecodeError::Format(kind) => Error::CorruptMember { path: path.clone(), range, kind },
    }
}

impl<R: ReadAt> Content for Member<'_, R> {
    fn size(&self) -> u64 {
        self.header.kind.size()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        let (path, at) = (&self.path, &self.range);
        let failed = |error| self.archive.placed(self.depth, locate(error, path, at));
        match &mut self.body {
            Body::Classic(content) => {
                let next = content.next().map_err(failed)?;
                Ok(next.map(|(offset, bytes)| Piece { offset, bytes }))
            }
            Body::Ours(streams) => {
                let next = streams.next(&self.header).map_err(failed)?;
                Ok(next.map(|(offset, range)| Piece { offset, bytes: streams.bytes(range) }))
            }
        }
    }
}
