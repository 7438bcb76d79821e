//! The convert job: from any tar to an archive of ours.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::content::{Content, ContentReader, into_io};
use crate::create::{CreateOptions, CreateReport, holes};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::sparse::Segment;
use crate::format::{acl, chunk_size};
use crate::io::Sink;
use crate::limits::Limits;
use crate::observe::{Event, Observer, Warning};
use crate::pack::Details;
use crate::path::{MemberPath, PathReason, SafePath};
use crate::scan::{Damage, Scanned, TarReader};
use crate::source;
use crate::writer::{ArchiveWriter, WriterOptions};

/// Writes the members of `tar` to a new archive, in their order, and publishes it. Of `options`,
/// level, created, tool, reproducible and spool count.
///
/// Names become those of our format: without leading slashes and `.` components. A member whose
/// name has a `..` component is told to the observer, counted as unreadable and left out; and so is
/// one that is damaged. The archive is then marked incomplete. A hard link to a hard link becomes one
/// to the file; memory grows with the number of hard links.
///
/// # Errors
///
/// [`Error::AlreadyIsptar`], [`Error::NothingStored`]; [`Error::Input`], or [`Error::CorruptTar`]
/// when the tar has no end: what makes it may have died; [`Error::CorruptMember`] of a file of more
/// than a chunk ([`crate::format::chunk_size`]), of which a part is written when the damage is met;
/// [`Error::Output`], [`Error::Cancelled`].
/// Nothing is published then.
pub fn convert<R: Read>(
    tar: &mut TarReader<R>,
    sink: &mut dyn Sink,
    options: &CreateOptions,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    if tar.peek_is_ours()? {
        // What the listing alone knows would be lost.
        return Err(Error::AlreadyIsptar);
    }
    let writer_options = WriterOptions { sorted: false, ..options.writer() };
    let mut writer = ArchiveWriter::new(sink, &writer_options)?;
    let mut told = Told { report: CreateReport::default(), observer };
    let mut links = Links::default();
    loop {
        if told.observer.cancelled() {
            return Err(Error::Cancelled);
        }
        match tar.next() {
            Ok(Some(member)) => store(member, &mut writer, &mut links, &mut told)?,
            Ok(None) => break,
            Err(error) if error.is_damage() => {
                told.damaged(&tar.damage().cloned().unwrap_or_default(), &error);
            }
            Err(error) => return Err(error),
        }
    }
    if tar.end_missing() {
        let kind = FormatError::Missing("end of the tar");
        return Err(Error::CorruptTar { position: tar.position(), kind });
    }
    let mut report = told.report;
    if report.members == 0 {
        // A program that failed must not replace a good archive by an empty one.
        return Err(Error::NothingStored);
    }
    if report.is_incomplete() {
        writer.set_incomplete();
    }
    let (_, written) = writer.finish()?;
    report.archive_size = written.archive_size;
    report.slices = written.slices;
    report.identity = Some(written.identity);
    Ok(report)
}

/// What was told and counted.
struct Told<'a> {
    report: CreateReport,
    observer: &'a mut dyn Observer,
}

impl Told<'_> {
    fn failed(&mut self, path: &MemberPath, error: &Error) {
        self.report.unreadable += 1;
        self.observer.event(Event::Failed { path, error });
    }

    fn damaged(&mut self, damage: &Damage, error: &Error) {
        if let Some(path) = &damage.path {
            return self.failed(path, error);
        }
        self.report.unreadable += 1;
        self.observer.event(Event::Damaged { range: damage.range.clone(), error });
    }

    fn done(&mut self, entry: &Entry) {
        self.report.count(entry);
        self.observer.event(Event::Progress { bytes: entry.kind.size() });
        self.observer.event(Event::Done { entry });
    }
}

/// What each hard link that was stored leads to: in our format, a file and not another link.
#[derive(Default)]
struct Links(HashMap<MemberPath, MemberPath>);

impl Links {
    /// Lets a hard link that leads to another one lead where that does.
    fn resolve(&self, header: &mut MemberHeader) {
        if let Kind::HardLink { target } = &mut header.kind
            && let Some(file) = self.0.get(target)
        {
            target.clone_from(file);
        }
    }

    /// Notes a member; the last one of a name counts.
    fn stored(&mut self, entry: &Entry) {
        match &entry.kind {
            Kind::HardLink { target } => {
                self.0.insert(entry.path.clone(), target.clone());
            }
            _ => {
                self.0.remove(&entry.path);
            }
        }
    }
}

/// Stores a member, or tells why it cannot be.
fn store<R: Read, S: Sink>(
    member: Scanned<'_, R>,
    writer: &mut ArchiveWriter<S>,
    links: &mut Links,
    told: &mut Told<'_>,
) -> Result<()> {
    let path = member.header().path.clone();
    let mut warnings = member.warnings().to_vec();
    let data_len = member.header().kind.size();
    let converted = match clean(member.header()) {
        Ok(mut header) => {
            links.resolve(&mut header);
            if matches!(&header.kind, Kind::HardLink { target } if *target == header.path) {
                // GNU tar writes these for a file that it is given twice.
                return Ok(());
            }
            convert_member(member, header, writer, &mut warnings, told.observer)
        }
        Err(error) => Err(error),
    };
    for warning in warnings {
        told.report.warnings += 1;
        let warning = &Warning::Header(warning);
        told.observer.event(Event::Warning { path: &path, warning });
    }
    match converted.map_err(content_error) {
        Ok(entry) => {
            links.stored(&entry);
            told.done(&entry);
            Ok(())
        }
        Err(error @ (Error::UnsafePath { .. } | Error::Unstorable { .. })) => {
            told.failed(&path, &error);
            Ok(())
        }
        // The chunks of a larger one are out already.
        Err(error) if error.is_damage() && data_len <= chunk_size(data_len) => {
            told.failed(&path, &error);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Returns the error that the tar was read with out of one of reading the content.
fn content_error(error: Error) -> Error {
    match error {
        Error::Content { path, source } => match source.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Content { path, source },
        },
        error => error,
    }
}

fn convert_member<R: Read, S: Sink>(
    member: Scanned<'_, R>,
    mut header: MemberHeader,
    writer: &mut ArchiveWriter<S>,
    warnings: &mut Vec<FormatError>,
    observer: &dyn Observer,
) -> Result<Entry> {
    for acl in [&mut header.xattrs.acl_access, &mut header.xattrs.acl_default] {
        *acl = acl.take().and_then(|text| numeric(&text, warnings));
    }
    let mut details = Details::default();
    let Some(map) = header.sparse.take() else {
        return writer.append(&header, details, Stoppable(ContentReader::new(member), observer));
    };
    match holes::decide(map.segments().to_vec(), map.real_size(), &header.path) {
        holes::Holes::Map(map) => {
            let segments = map.segments().to_vec();
            header.sparse = Some(map);
            let content = SegmentReader::new(member, segments);
            writer.append(&header, details, Stoppable(content, observer))
        }
        holes => {
            details.sparse = matches!(holes, holes::Holes::Dense);
            writer.append(&header, details, Stoppable(ContentReader::new(member), observer))
        }
    }
}

/// Returns an ACL with the ids of this system for the names that other programs write; one with
/// names that nobody has here is dropped.
fn numeric(text: &[u8], warnings: &mut Vec<FormatError>) -> Option<Vec<u8>> {
    let bytes = acl::from_text(text, &mut |class, name| match class {
        acl::Class::User => source::user_id(name),
        acl::Class::Group => source::group_id(name),
    });
    match bytes.and_then(|bytes| acl::to_text(&bytes)) {
        Ok(text) => Some(text),
        Err(error) => {
            warnings.push(error);
            None
        }
    }
}

/// Returns headers with names in the form of our format.
fn clean(header: &MemberHeader) -> Result<MemberHeader> {
    let mut header =
        MemberHeader { path: storable(&header.path)?.to_member_path(), ..header.clone() };
    if let Kind::HardLink { target } = &mut header.kind {
        *target = storable(target)?.to_member_path();
    }
    header.mode &= 0o7777;
    Ok(header)
}

/// Checks a name. The limits are those of what is written, which no reader's option raises.
fn storable(path: &MemberPath) -> Result<SafePath> {
    SafePath::new(path, &Limits::default()).map_err(|error| match error {
        Error::UnsafePath { path, reason } => {
            let (what, limit, actual) = match reason {
                PathReason::TooLong(actual, limit) => ("length of the name", limit, actual),
                PathReason::TooDeep(actual, limit) => ("depth of the name", limit, actual),
                reason => return Error::UnsafePath { path, reason },
            };
            let kind = FormatError::Limit { what, limit, actual, raise: None };
            Error::Unstorable { path, kind }
        }
        error => error,
    })
}

/// Reads until the job shall stop: holes are as long as a header claims.
struct Stoppable<'a, R>(R, &'a dyn Observer);

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.1.cancelled() {
            return Err(into_io(Error::Cancelled));
        }
        self.0.read(buf)
    }
}

/// Reads the segments of a sparse file one after the other; they may be wider than those that the
/// content has.
struct SegmentReader<C> {
    content: C,
    segments: std::vec::IntoIter<Segment>,
    /// What is left of the segment at hand.
    at: u64,
    end: u64,
    piece: Vec<u8>,
    piece_offset: u64,
    used: usize,
    ended: bool,
}

impl<C: Content> SegmentReader<C> {
    fn new(content: C, segments: Vec<Segment>) -> Self {
        Self {
            content,
            segments: segments.into_iter(),
            at: 0,
            end: 0,
            piece: Vec::new(),
            piece_offset: 0,
            used: 0,
            ended: false,
        }
    }

    /// Returns the offset of the next byte that the content has.
    fn next_data(&mut self) -> Result<u64> {
        if self.used == self.piece.len() && !self.ended {
            self.piece.clear();
            self.used = 0;
            match self.content.next_piece()? {
                Some(piece) => {
                    self.piece_offset = piece.offset;
                    self.piece.extend_from_slice(piece.bytes);
                }
                None => self.ended = true,
            }
        }
        Ok(if self.ended { u64::MAX } else { self.piece_offset + self.used as u64 })
    }
}

impl<C: Content> Read for SegmentReader<C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.end {
            let Some(segment) = self.segments.next() else { return Ok(0) };
            (self.at, self.end) = (segment.offset, segment.offset + segment.len);
        }
        let next = self.next_data().map_err(into_io)?;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let count = if next > self.at {
            let zeros = usize::try_from(next - self.at).unwrap_or(usize::MAX).min(left);
            buf[..zeros].fill(0);
            zeros
        } else {
            let bytes = &self.piece[self.used..];
            let count = left.min(bytes.len());
            buf[..count].copy_from_slice(&bytes[..count]);
            self.used += count;
            count
        };
        self.at += count as u64;
        Ok(count)
    }
}
