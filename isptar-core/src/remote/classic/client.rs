//! The client of the original's protocol.

use std::io::{Read, Write};
use std::path::PathBuf;

use super::wire::{Incoming, LONGEST, Outgoing, PIECE};
use crate::create::CreateOptions;
use crate::create::big::{BigFile, Seen};
use crate::create::file::{self, Opened};
use crate::create::item::{Item, Items, Packed};
use crate::create::moved::{Moved, Stored};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry, Kind};
use crate::limits::Limits;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, entry_of};
use crate::path::{MemberPath, SafePath};
use crate::remote::client::SendReport;
use crate::source::Walk;

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;

/// Sends `paths` to a server of the original program (`isptar -s`), which answers by `input`, one
/// line after the other. It does not say at the end whether it has an archive.
///
/// What cannot be read, and what has no place in the protocol, is told to the observer and counted,
/// and the rest is sent. Directories that are paths themselves are not sent, but what is in them.
///
/// # Errors
///
/// [`Error::BadSource`], [`Error::Remote`] or [`Error::Cancelled`].
pub fn send_classic<R: Read, W: Write>(
    input: R,
    output: W,
    paths: &[PathBuf],
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<SendReport> {
    let options =
        CreateOptions { dialect: Dialect::Classic, reproducible: false, ..options.clone() };
    let mut walk = Walk::new(&options.directory, paths, options.source(Vec::new()))?;
    let mut items = Items::new(&options);
    let mut client = Client {
        input: Incoming::new(input),
        output: Outgoing::new(output),
        observer,
        report: SendReport::default(),
        moved: Moved::default(),
        data: Vec::new(),
        limits: Limits::default(),
    };
    let mut root: Option<MemberPath> = None;
    while let Some(found) = walk.next(client.observer)? {
        if client.observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let item = items.next(found, &mut client.report.sent, client.observer);
        let Some(item) = item else { continue };
        let path = &item.found.path;
        if !root.as_ref().is_some_and(|root| path.is_within(root)) {
            root = Some(path.clone());
            if item.header.kind == Kind::Directory {
                continue;
            }
        }
        client.send(item)?;
    }
    client.output.number(0)?;
    client.output.flush()?;
    client.report.sent.add_walk(walk.tally());
    Ok(client.report)
}

struct Client<'o, R, W: Write> {
    input: Incoming<R>,
    output: Outgoing<W>,
    observer: &'o mut dyn Observer,
    report: SendReport,
    moved: Moved,
    data: Vec<u8>,
    limits: Limits,
}

impl<R: Read, W: Write> Client<'_, R, W> {
    fn send(&mut self, mut item: Item) -> Result<()> {
        let moved_from = match &item.header.kind {
            Kind::HardLink { target } => self.moved.instead_of(target, &item),
            _ => None,
        };
        let moved_from = moved_from.and_then(|(kind, first)| {
            item.header.kind = kind;
            first
        });
        if let Some(error) = item.lost_directory() {
            self.fail(&item.found.path, &error);
        }
        let stored = match item.has_content() {
            true => self.file(&mut item)?,
            false => self.without_data(&mut item)?,
        };
        self.moved.settle(item, stored, moved_from);
        Ok(())
    }

    fn without_data(&mut self, item: &mut Item) -> Result<Stored> {
        if !matches!(item.header.kind, Kind::HardLink { .. } | Kind::Directory) {
            item.read_xattrs(None);
        }
        let entry = entry_of(&item.header, item.details);
        match self.offer(&entry)? {
            None => return Ok(Stored::Without),
            Some(true) => return Err(self.no_data()),
            Some(false) => {}
        }
        for warning in &item.warnings {
            self.warn(&entry.path, warning);
        }
        self.done(&entry);
        Ok(Stored::Whole)
    }

    fn file(&mut self, item: &mut Item) -> Result<Stored> {
        let opened = match file::open(item) {
            Ok(opened) => opened,
            Err(packed) => {
                self.not_read(item, packed);
                return Ok(Stored::Without);
            }
        };
        let entry = entry_of(&item.header, item.details);
        let stored = if opened.same { Stored::Whole } else { Stored::Other };
        match self.offer(&entry)? {
            None => return Ok(Stored::Without),
            Some(false) if entry.kind.size() > 0 => {
                self.report.unchanged += 1;
                return Ok(stored);
            }
            Some(true) if entry.kind.size() == 0 => return Err(self.no_data()),
            Some(_) => {}
        }
        self.data(item, opened)?;
        Ok(stored)
    }

    /// Says that what has no data is wanted.
    fn no_data(&self) -> Error {
        let kind = FormatError::mismatch("answer to a line without data", 0, 1);
        self.input.corrupt(kind).into()
    }

    /// Sends as many bytes as were announced: what is missing is zeros.
    fn data(&mut self, item: &mut Item, opened: Opened) -> Result<()> {
        let big = BigFile::new(item, opened);
        let data_len = big.header.data_len();
        let mut buffer = std::mem::take(&mut self.data);
        file::provide(&mut buffer, BUFFER);
        let (mut seen, mut at) = (Seen::default(), 0);
        while at < data_len {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let len = usize::try_from(data_len - at).unwrap_or(usize::MAX).min(BUFFER);
            let part = buffer.get_mut(..len).unwrap_or_default();
            seen.add(big.source.read(part, at));
            for piece in part.chunks(PIECE) {
                self.output.sized(piece)?;
            }
            self.observer.event(Event::Progress { bytes: len as u64 });
            at += len as u64;
        }
        self.data = buffer;
        let details = big.finish(&seen);
        self.end(&big, &mut seen, details);
        Ok(())
    }

    fn end(&mut self, big: &BigFile, seen: &mut Seen, details: Details) {
        let path = &big.header.path;
        for warning in &big.warnings {
            self.warn(path, warning);
        }
        if let Some(error) = big.error(seen) {
            self.fail(path, &error);
        } else if details.dirty {
            self.warn(path, &Warning::Changed);
        }
        self.done(&entry_of(&big.header, details));
    }

    /// Sends a line; returns whether the data is wanted, and `None` when there is no such line.
    fn offer(&mut self, entry: &Entry) -> Result<Option<bool>> {
        let mut line = Vec::new();
        if let Err(error) = self.line(entry, &mut line) {
            self.fail(&entry.path, &error);
            return Ok(None);
        }
        self.output.sized(&line)?;
        self.output.flush()?;
        Ok(Some(self.input.number("answer to a line")? != 0))
    }

    fn line(&self, entry: &Entry, line: &mut Vec<u8>) -> Result<()> {
        SafePath::new(&entry.path, &self.limits)?;
        let unstorable = |kind| Error::Unstorable { path: entry.path.clone(), kind };
        entry.encode_classic(&self.limits, line).map_err(unstorable)?;
        if line.len() > LONGEST {
            let (what, limit) = ("line of the original's protocol", LONGEST as u64);
            let actual = line.len() as u64;
            return Err(unstorable(FormatError::Limit { what, limit, actual, raise: None }));
        }
        Ok(())
    }

    fn not_read(&mut self, item: &Item, packed: Packed) {
        match packed {
            Packed::Failed(error) => self.fail(&item.found.path, &error),
            _ => {
                self.report.sent.vanished += 1;
                let (path, warning) = (&item.found.path, &Warning::Vanished);
                self.observer.event(Event::Warning { path, warning });
            }
        }
    }

    fn fail(&mut self, path: &MemberPath, error: &Error) {
        self.report.sent.unreadable += 1;
        self.observer.event(Event::Failed { path, error });
    }

    fn warn(&mut self, path: &MemberPath, warning: &Warning) {
        match warning {
            Warning::Changed => self.report.sent.changed += 1,
            _ => self.report.sent.warnings += 1,
        }
        self.observer.event(Event::Warning { path, warning });
    }

    fn done(&mut self, entry: &Entry) {
        self.report.sent.count(entry);
        self.observer.event(Event::Done { entry });
    }
}
