//! The server of the original's protocol.

use std::io::{Read, Write};

use super::wire::{Incoming, Outgoing};
use crate::create::layout::Layout;
use crate::create::{CreateOptions, CreateReport};
use crate::error::{Error, FormatError, Result};
use crate::format::chunk_size;
use crate::format::entry::{Dialect, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::io::Sink;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::pack::Details;
use crate::path::{MemberPath, SafePath};
use crate::remote::message::{Done, Member};
use crate::remote::pack::Received;
use crate::remote::store::{Conversation, Store, make_archive};

/// Makes an archive of what a client of the original program (`isptar -n`) sends by `input`, and
/// publishes it. The client is answered by `output`, and not told whether that succeeded: the protocol
/// has no words for it.
///
/// Names are stored relative, without `.` components. When the archive was begun is for `options` to
/// say. What a file lacks of its announced size is zeros, and it is marked as changed.
///
/// # Errors
///
/// Those of [`crate::remote::receive`]; names with `..` components are wrong bytes.
pub fn receive_classic<R: Read, W: Write>(
    input: R,
    output: W,
    sink: &mut dyn Sink,
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let (input, output) = (Incoming::new(input), Outgoing::new(output));
    let serving = Serving { input, output, limits: Limits::default() };
    make_archive(sink, options, false, observer, serving)
}

/// What is known of the client.
struct Serving<R, W: Write> {
    input: Incoming<R>,
    output: Outgoing<W>,
    limits: Limits,
}

impl<R: Read, W: Write> Conversation for Serving<R, W> {
    fn hold<L: Layout>(mut self, mut store: Store<'_, '_, L>) -> Result<CreateReport> {
        while let Some(member) = self.next()? {
            if store.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match member.data_len() {
                0 => {
                    self.answer(false)?;
                    store.small(Received::new(member, Vec::new()))?;
                }
                len => {
                    self.answer(true)?;
                    self.data(member, len, &mut store)?;
                }
            }
        }
        store.finish(&Done::default(), 0)
    }
}

impl<R: Read, W: Write> Serving<R, W> {
    /// Reads the next line; `None` at the end.
    fn next(&mut self) -> Result<Option<Member>> {
        let len = self.input.number("length of a line")?;
        if len == 0 {
            return Ok(None);
        }
        let mut line = vec![0; len];
        self.input.fill(&mut line, "a line")?;
        let parsed = self.parse(&line);
        Ok(Some(parsed.map_err(|kind| self.input.corrupt(kind))?))
    }

    fn parse(&self, line: &[u8]) -> Result<Member, FormatError> {
        let mut entry = Entry::parse(line, Dialect::Classic, &self.limits)?;
        if entry.location.is_some() {
            return Err(FormatError::invalid("line without a location", line));
        }
        let safe = |path: &MemberPath| {
            let safe = SafePath::new(path, &self.limits).map(|path| path.to_member_path());
            safe.map_err(|_| FormatError::invalid("name of a member", path.as_bytes()))
        };
        entry.path = safe(&entry.path)?;
        if let Kind::HardLink { target } = &mut entry.kind {
            *target = safe(target)?;
        }
        let header = MemberHeader {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            mtime: entry.mtime.unwrap_or_default(),
            ..MemberHeader::new(entry.path.clone(), entry.kind.clone())
        };
        Ok(Member { header: Some(header), entry })
    }

    fn answer(&mut self, wanted: bool) -> Result<()> {
        self.output.number(u16::from(wanted))?;
        self.output.flush()?;
        Ok(())
    }

    /// Reads the data of a file, piece by piece.
    fn data<L: Layout>(
        &mut self,
        mut member: Member,
        data_len: u64,
        store: &mut Store<'_, '_, L>,
    ) -> Result<()> {
        let chunk = chunk_size(data_len);
        let mut pieces = Pieces { left: data_len, in_piece: 0, ended: false };
        if data_len <= chunk {
            let mut data = vec![0; usize::try_from(data_len).unwrap_or(usize::MAX)];
            member.entry.dirty = !pieces.fill(&mut self.input, &mut data)?;
            return store.small(Received::new(member, data));
        }
        if let Some(header) = &member.header {
            store.begin(header)?;
        }
        let mut left = data_len;
        let mut dirty = false;
        while left > 0 {
            if store.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let mut data = store.memory();
            data.resize(usize::try_from(left.min(chunk)).unwrap_or(usize::MAX), 0);
            dirty |= !pieces.fill(&mut self.input, &mut data)?;
            left -= data.len() as u64;
            store.chunk(data, (left == 0).then_some(data_len))?;
        }
        store.end(Details { dirty, ..member.details() })
    }
}

/// Where in the pieces of a file's data the reader is.
struct Pieces {
    /// Bytes that were announced and have not come.
    left: u64,
    /// Of these, in the piece at hand.
    in_piece: usize,
    /// A piece without bytes came: there is no more.
    ended: bool,
}

impl Pieces {
    /// Fills a zeroed buffer; returns whether all of it came.
    fn fill<R: Read>(&mut self, input: &mut Incoming<R>, buffer: &mut [u8]) -> Result<bool> {
        let mut rest = buffer;
        while !rest.is_empty() && !self.ended {
            if self.in_piece == 0 {
                self.next(input)?;
                continue;
            }
            let (part, tail) = rest.split_at_mut(self.in_piece.min(rest.len()));
            input.fill(part, "data of a member")?;
            self.in_piece -= part.len();
            self.left -= part.len() as u64;
            rest = tail;
        }
        rest.fill(0);
        Ok(rest.is_empty())
    }

    fn next<R: Read>(&mut self, input: &mut Incoming<R>) -> Result<()> {
        self.in_piece = input.number("length of a piece")?;
        self.ended = self.in_piece == 0;
        if self.in_piece as u64 > self.left {
            let (expected, actual) = (self.left, self.in_piece);
            let kind = FormatError::mismatch("bytes of data that are left", expected, actual);
            return Err(input.corrupt(kind).into());
        }
        Ok(())
    }
}
