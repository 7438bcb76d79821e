//! What the client sends of what is wanted.

use std::io::Write;

use crate::create::CreateReport;
use crate::create::big::{BigFile, Seen};
use crate::create::file::{self, Opened};
use crate::create::item::{Item, Packed};
use crate::create::moved::{Moved, Stored};
use crate::error::{Error, FormatError, Result};
use crate::format::chunk_size;
use crate::format::entry::{Digest, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::limits::Limits;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, MemberDigest, entry_of, leave_out_unstorable};
use crate::remote::frame::FrameKind;
use crate::remote::message::{End, Member};
use crate::remote::wire::Outgoing;

/// Bytes of data in a frame.
const PIECE: usize = 256 << 10;

/// Sends members, and knows what must be known of those before.
#[derive(Debug, Default)]
pub(super) struct Contents {
    moved: Moved,
    payload: Vec<u8>,
    data: Vec<u8>,
    limits: Limits,
}

/// Where members go, and what is told of them.
struct Way<'a, W> {
    output: &'a mut Outgoing<W>,
    report: &'a mut CreateReport,
    observer: &'a mut dyn Observer,
}

impl Contents {
    /// Sends an item that is wanted.
    pub(super) fn send<W: Write>(
        &mut self,
        mut item: Item,
        output: &mut Outgoing<W>,
        report: &mut CreateReport,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let mut way = Way { output, report, observer };
        let moved_from = self.redirect(&mut item);
        if let Some(error) = item.lost_directory() {
            way.failed(&item, &error);
        }
        let stored = match item.has_content() {
            true => self.file(&mut item, &mut way)?,
            false => self.without_data(&mut item, &mut way)?,
        };
        self.moved.settle(item, stored, moved_from);
        Ok(())
    }

    /// Makes another link, or the thing itself, of a hard link whose first name was not sent;
    /// returns that name when this one may stand for it.
    fn redirect(&self, item: &mut Item) -> Option<crate::path::MemberPath> {
        let Kind::HardLink { target } = &item.header.kind else { return None };
        let (kind, first) = self.moved.instead_of(target, item)?;
        item.header.kind = kind;
        first
    }

    fn without_data<W: Write>(&mut self, item: &mut Item, way: &mut Way<'_, W>) -> Result<Stored> {
        if !matches!(item.header.kind, Kind::HardLink { .. } | Kind::Directory) {
            item.read_xattrs(None);
        }
        self.shorten(item);
        let lost = item.is_lost().then_some("unreadable");
        if !self.announce(&item.header, item.details, lost, way)? {
            return self.give_up(item, "unreadable", way);
        }
        way.warnings(item);
        way.done(&item.header, item.details, lost);
        Ok(Stored::Whole)
    }

    fn file<W: Write>(&mut self, item: &mut Item, way: &mut Way<'_, W>) -> Result<Stored> {
        let opened = match file::open(item) {
            Ok(opened) => opened,
            Err(packed) => return self.not_read(item, packed, way),
        };
        let stored = if opened.same { Stored::Whole } else { Stored::Other };
        if item.header.data_len() > chunk_size(0) {
            self.big(item, opened, way)?;
            return Ok(stored);
        }
        let mut data = std::mem::take(&mut self.data);
        let sent = match file::read(item, &opened, &mut data) {
            Ok(len) => self.small(item, data.get(..len).unwrap_or_default(), stored, way),
            Err(source) => {
                let failed = item.failed("read", source);
                self.not_read(item, failed, way)
            }
        };
        self.data = data;
        sent
    }

    fn small<W: Write>(
        &mut self,
        item: &mut Item,
        data: &[u8],
        stored: Stored,
        way: &mut Way<'_, W>,
    ) -> Result<Stored> {
        self.shorten(item);
        if !self.announce(&item.header, item.details, None, way)? {
            return self.give_up(item, "unreadable", way);
        }
        for piece in data.chunks(PIECE) {
            way.data(piece)?;
        }
        if !data.is_empty() {
            way.output.send(FrameKind::End, &End::default().encode())?;
        }
        way.warnings(item);
        way.done(&item.header, item.details, None);
        Ok(stored)
    }

    /// Sends a file that is read piece by piece: what is missing is zeros.
    fn big<W: Write>(
        &mut self,
        item: &mut Item,
        opened: Opened,
        way: &mut Way<'_, W>,
    ) -> Result<()> {
        let big = BigFile::new(item, opened);
        if !self.announce(&big.header, item.details, None, way)? {
            return self.give_up(item, "unreadable", way).map(|_| ());
        }
        let data_len = big.header.data_len();
        let mut seen = Seen::default();
        let mut at = 0;
        file::provide(&mut self.data, PIECE);
        while at < data_len {
            if way.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let len = usize::try_from(data_len - at).unwrap_or(usize::MAX).min(PIECE);
            let piece = self.data.get_mut(..len).unwrap_or_default();
            seen.add(big.source.read(piece, at));
            way.data(piece)?;
            at += len as u64;
        }
        let details = big.finish(&seen);
        let end = End { dirty: details.dirty, sparse: details.sparse };
        way.output.send(FrameKind::End, &end.encode())?;
        way.end_of_big(&big, &mut seen, details);
        Ok(())
    }

    /// Leaves out what there is no room for, and remembers to tell that.
    fn shorten(&self, item: &mut Item) {
        if let Some(reason) = leave_out_unstorable(&mut item.header, &self.limits) {
            item.warnings.push(Warning::XattrsLeftOut(reason));
        }
    }

    /// Announces a member; returns whether it can be in an archive.
    fn announce<W: Write>(
        &mut self,
        header: &MemberHeader,
        details: Details,
        lost: Option<&str>,
        way: &mut Way<'_, W>,
    ) -> Result<bool> {
        self.payload.clear();
        let encoded = Member::encode(header, details, lost, &self.limits, &mut self.payload);
        if let Err(kind) = encoded {
            way.unstorable(header, kind);
            return Ok(false);
        }
        way.output.send(FrameKind::Member, &self.payload)?;
        Ok(true)
    }

    fn not_read<W: Write>(
        &mut self,
        item: &Item,
        packed: Packed,
        way: &mut Way<'_, W>,
    ) -> Result<Stored> {
        match packed {
            Packed::Failed(error) => {
                way.failed(item, &error);
                self.give_up(item, "unreadable", way)
            }
            _ => {
                way.report.vanished += 1;
                let (path, warning) = (&item.found.path, &Warning::Vanished);
                way.observer.event(Event::Warning { path, warning });
                self.give_up(item, "vanished", way)
            }
        }
    }

    /// Says that a member that is wanted will not come.
    fn give_up<W: Write>(
        &mut self,
        item: &Item,
        reason: &str,
        way: &mut Way<'_, W>,
    ) -> Result<Stored> {
        self.payload.clear();
        let entry = match item.has_content() {
            true => item.lost_entry(reason),
            false => Entry {
                lost: Some(reason.into()),
                ..Entry::new(item.found.path.clone(), item.own_kind())
            },
        };
        let unstorable = |kind| Error::Unstorable { path: entry.path.clone(), kind };
        entry.encode(&self.limits, &mut self.payload).map_err(unstorable)?;
        way.output.send(FrameKind::Member, &self.payload)?;
        Ok(Stored::Without)
    }
}

impl<W: Write> Way<'_, W> {
    fn data(&mut self, piece: &[u8]) -> Result<()> {
        self.output.send(FrameKind::Data, piece)?;
        self.observer.event(Event::Progress { bytes: piece.len() as u64 });
        Ok(())
    }

    fn failed(&mut self, item: &Item, error: &Error) {
        self.report.unreadable += 1;
        self.observer.event(Event::Failed { path: &item.found.path, error });
    }

    fn unstorable(&mut self, header: &MemberHeader, kind: FormatError) {
        self.report.unreadable += 1;
        let error = &Error::Unstorable { path: header.path.clone(), kind };
        self.observer.event(Event::Failed { path: &header.path, error });
    }

    fn warnings(&mut self, item: &Item) {
        for warning in &item.warnings {
            self.warn(&item.header, warning);
        }
    }

    fn warn(&mut self, header: &MemberHeader, warning: &Warning) {
        match warning {
            Warning::Changed => self.report.changed += 1,
            _ => self.report.warnings += 1,
        }
        self.observer.event(Event::Warning { path: &header.path, warning });
    }

    fn end_of_big(&mut self, big: &BigFile, seen: &mut Seen, details: Details) {
        for warning in &big.warnings {
            self.warn(&big.header, warning);
        }
        if let Some(error) = big.error(seen) {
            self.report.unreadable += 1;
            self.observer.event(Event::Failed { path: &big.header.path, error: &error });
        } else if details.dirty {
            self.warn(&big.header, &Warning::Changed);
        }
        self.done(&big.header, details, None);
    }

    fn done(&mut self, header: &MemberHeader, details: Details, lost: Option<&str>) {
        let entry = Entry { lost: lost.map(str::to_owned), ..entry_of(header, details) };
        self.report.count(&entry);
        self.observer.event(Event::Done { entry: &entry });
    }
}

/// Reads a file for its digest; `None` when it cannot be read, or changed meanwhile: it will be told
/// when it is sent.
pub(super) fn digest(item: &mut Item, data: &mut Vec<u8>) -> Option<Digest> {
    let opened = file::open(item).ok()?;
    item.warnings.clear();
    let data_len = item.header.data_len();
    if data_len <= chunk_size(0) {
        let len = file::read(item, &opened, data).ok()?;
        let is_dirty = std::mem::take(&mut item.details.dirty);
        item.warnings.clear();
        let mut digest = MemberDigest::new(&item.header);
        digest.update(data.get(..len)?);
        return (!is_dirty).then(|| digest.finish());
    }
    let mut digest = MemberDigest::new(&item.header);
    let header = item.header.clone();
    let big = BigFile::new(item, opened);
    item.header = header;
    let mut seen = Seen::default();
    let mut at = 0;
    file::provide(data, PIECE);
    while at < data_len {
        let len = usize::try_from(data_len - at).unwrap_or(usize::MAX).min(PIECE);
        let piece = data.get_mut(..len)?;
        seen.add(big.source.read(piece, at));
        digest.update(piece);
        at += len as u64;
    }
    (!big.finish(&seen).dirty).then(|| digest.finish())
}
