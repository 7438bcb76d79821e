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
    path: MemberPath,
    range: Range<u64>,
    header: MemberHeader,
    body: Body<'a, R>,
}

#[derive(Debug)]
enum Body<'a, R> {
    Ours(Box<Streams<'a, R>>),
    Classic(Box<ClassicContent<'a, R>>),
}

impl<'a, R: ReadAt> Member<'a, R> {
    pub(super) fn open(
        archive: &'a Archive<R>,
        entry: &Entry,
        previous: Option<Self>,
        run: Option<&Arc<Rereads>>,
        ahead: Option<u64>,
    ) -> Result<Self> {
        if let (Some(reason), None) = (&entry.lost, entry.location) {
            return Err(Error::Lost { path: entry.path.clone(), reason: reason.clone() });
        }
        if let Some(location) = entry.location.filter(|location| location.depth > 0) {
            return Err(Error::InBase { path: entry.path.clone(), depth: location.depth });
        }
        if archive.dialect == Dialect::Classic {
            return Self::open_classic(archive, entry);
        }
        let range = entry.claimed_range();
        let corrupt =
            |kind| Error::CorruptMember { path: entry.path.clone(), range: range.clone(), kind };
        let (start, packed) = check_range(archive, entry).map_err(corrupt)?;
        let mut streams = match previous.map(|previous| previous.body) {
            Some(Body::Ours(streams)) => streams,
            _ => Box::new(Streams::new(archive)),
        };
        streams
            .turn_to(archive, entry, (start, packed), run, ahead)
            .map_err(|error| locate(error, &entry.path, &range))?;
        let header = streams.begin(entry, &archive.limits).map_err(corrupt)?;
        let (path, body) = (entry.path.clone(), Body::Ours(streams));
        Ok(Self { path, range, header, body })
    }

    fn open_classic(archive: &'a Archive<R>, entry: &Entry) -> Result<Self> {
        let size = entry.kind.size();
        let offset = entry.location.map_or(0, |location| location.offset);
        let (path, range, end) = (entry.path.clone(), entry.claimed_range(), archive.data_end);
        let place = entry.location.map_or((1, 0), |location| (location.slice, location.zoffset));
        if place != (1, 0) {
            let actual = format!("slice {}, offset {}", place.0, place.1);
            let kind = FormatError::mismatch("location", "slice 1, offset 0", actual);
            return Err(Error::CorruptMember { path, range, kind });
        }
        if size > 0 && (entry.location.is_none() || offset >= end) {
            let kind = match entry.location {
                None => FormatError::Missing("location"),
                Some(_) => FormatError::OutOfBounds { what: "member", offset, len: size, end },
            };
            return Err(Error::CorruptMember { path, range, kind });
        }
        let header = MemberHeader {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            mtime: entry.mtime.unwrap_or_default(),
            ..MemberHeader::new(path.clone(), entry.kind.clone())
        };
        let content = ClassicContent::new(&archive.source, offset, end, size);
        Ok(Self { path, range, header, body: Body::Classic(Box::new(content)) })
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

    fn blamed(&self) -> Arc<Blamed> {
        Arc::new(Blamed { path: self.path.clone(), range: self.range.clone() })
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
                Err(Error::CorruptMember { path, range, kind })
            }
        }
    }

    /// Forgets the stream at hand, so that what is decoded for the next member does not depend on
    /// this one.
    pub(crate) fn forget_stream(&mut self) {
        if let Body::Ours(streams) = &mut self.body {
            streams.forget();
        }
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
        match &mut self.body {
            Body::Classic(content) => {
                let next = content.next().map_err(|error| locate(error, path, at))?;
                Ok(next.map(|(offset, bytes)| Piece { offset, bytes }))
            }
            Body::Ours(streams) => {
                let next = streams.next(&self.header).map_err(|error| locate(error, path, at))?;
                Ok(next.map(|(offset, range)| Piece { offset, bytes: streams.bytes(range) }))
            }
        }
    }
}
