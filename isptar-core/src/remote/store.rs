//! The part of the server that works in order: handing out jobs, storing what becomes of them.

use super::message;
use super::pack::{Done, Job, Packer, Received, Turn};
use crate::codec::Method;
use crate::create::layout::Layout;
use crate::create::{CreateOptions, CreateReport};
use crate::error::{Error, Result};
use crate::format::chunk_size;
use crate::format::entry::{Dialect, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::tables::Base;
use crate::io::Sink;
use crate::observe::{Event, Observer, Warning};
use crate::pack::{Details, MemberDigest};
use crate::parallel::{Lane, in_order, threads};
use crate::path::MemberPath;
use crate::select::Patterns;
use crate::writer::{ArchiveWriter, ClassicWriter, WriterOptions};

/// When a batch is full: members, bytes of data.
const BATCH_MEMBERS: usize = 64;
const BATCH_BYTES: u64 = 256 << 10;

/// Memory that a member takes, its data apart.
const MEMBER_WEIGHT: u64 = 2 << 10;

/// A client that is listened to until all has come.
pub(super) trait Conversation {
    /// Stores what comes, and completes the archive.
    fn hold<L: Layout>(self, store: Store<'_, '_, L>) -> Result<CreateReport>;
}

/// Makes an archive of what comes, in the layout that the options say; with `sorted` names must come
/// in order.
pub(super) fn make_archive(
    sink: &mut dyn Sink,
    options: &CreateOptions,
    sorted: bool,
    observer: &mut dyn Observer,
    conversation: impl Conversation,
) -> Result<CreateReport> {
    let writer = WriterOptions { sorted, ..options.writer() };
    match options.dialect {
        Dialect::Isptar => {
            fill(ArchiveWriter::new(sink, &writer)?, options, observer, conversation)
        }
        Dialect::Classic => {
            fill(ClassicWriter::new(sink, &writer)?, options, observer, conversation)
        }
    }
}

fn fill(
    writer: impl Layout,
    options: &CreateOptions,
    observer: &mut dyn Observer,
    conversation: impl Conversation,
) -> Result<CreateReport> {
    in_order(
        threads(options.threads),
        || Packer::new(options),
        Packer::work,
        |lane| conversation.hold(Store::new(writer, lane, options.no_compress.clone(), observer)),
    )
}

/// Hands out jobs and stores what becomes of them.
pub(super) struct Store<'s, 'l, L: Layout> {
    writer: L,
    lane: &'s mut Lane<'l, Job, Done>,
    pub(super) observer: &'s mut dyn Observer,
    report: CreateReport,
    batch: Vec<Received>,
    batch_bytes: u64,
    /// What is stored as it is.
    no_compress: Patterns,
    /// The file of several chunks that comes, and the one that is being stored.
    method: Method,
    open: Option<(L::Open, MemberDigest)>,
    /// Memory of chunks that were stored.
    spare: Vec<Vec<u8>>,
}

impl<'s, 'l, L: Layout> Store<'s, 'l, L> {
    pub(super) fn new(
        mut writer: L,
        lane: &'s mut Lane<'l, Job, Done>,
        no_compress: Patterns,
        observer: &'s mut dyn Observer,
    ) -> Self {
        writer.defer_blocks();
        Self {
            writer,
            lane,
            observer,
            report: CreateReport::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            no_compress,
            method: Method::default(),
            open: None,
            spare: Vec::new(),
        }
    }

    /// Takes a member that came whole.
    pub(super) fn small(&mut self, mut received: Received) -> Result<()> {
        received.method = self.method(&received.member.entry.path, &received.member.entry.kind);
        self.batch_bytes += received.weight();
        self.batch.push(received);
        if self.batch.len() >= BATCH_MEMBERS || self.batch_bytes >= BATCH_BYTES {
            self.end_batch()?;
        }
        Ok(())
    }

    /// Begins a file of several chunks.
    pub(super) fn begin(&mut self, header: &MemberHeader) -> Result<()> {
        self.end_batch()?;
        self.method = self.method(&header.path, &header.kind);
        self.push(Job::Turn(Turn::Begin(Box::new(header.clone()))), MEMBER_WEIGHT)
    }

    /// Takes its next chunk; with the length of all data when it is the last.
    pub(super) fn chunk(&mut self, data: Vec<u8>, last_of: Option<u64>) -> Result<()> {
        let weight = 2 * data.len() as u64;
        let method = self.method;
        self.push(Job::Chunk { data, last_of, method }, weight)
    }

    /// Returns how the content of a file is written, which its other names do as well.
    fn method(&self, path: &MemberPath, kind: &Kind) -> Method {
        let is_file = matches!(kind, Kind::File { .. } | Kind::HardLink { .. });
        match is_file && self.no_compress.matches_within(path, false) {
            true => Method::Store,
            false => Method::Deflate,
        }
    }

    /// Ends it.
    pub(super) fn end(&mut self, details: Details) -> Result<()> {
        self.push(Job::Turn(Turn::End(details)), MEMBER_WEIGHT)
    }

    /// Returns memory for a chunk.
    pub(super) fn memory(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn end_batch(&mut self) -> Result<()> {
        let members = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        if members.is_empty() {
            return Ok(());
        }
        let weight = 2 * bytes + MEMBER_WEIGHT * members.len() as u64;
        self.push(Job::Batch(members), weight)
    }

    fn push(&mut self, job: Job, weight: u64) -> Result<()> {
        while self.lane.len() > 0 && self.lane.is_full_for(weight) {
            let Some(done) = self.lane.pop() else { break };
            self.settle(done)?;
        }
        self.lane.push(job, weight);
        while let Some(done) = self.lane.pop_done() {
            self.settle(done)?;
        }
        Ok(())
    }

    /// Stores what became of the oldest job.
    fn settle(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Batch(entries, streams) => self.members(entries, &streams)?,
            Done::Chunk { mut data, stream } => {
                if let Some((open, digest)) = &mut self.open {
                    digest.update(&data);
                    self.writer.append_packed_chunk(open, &stream)?;
                }
                self.observer.event(Event::Progress { bytes: data.len() as u64 });
                data.clear();
                self.spare.push(data);
            }
            Done::Block(stream) => self.writer.put_block(&stream)?,
            Done::Turn(Turn::Begin(header)) => {
                let open = self.writer.begin(&header, chunk_size(header.data_len()))?;
                self.open = Some((open, MemberDigest::new(&header)));
            }
            Done::Turn(Turn::End(details)) => {
                if let Some((open, digest)) = self.open.take() {
                    let entry = self.writer.end(open, digest, details)?;
                    self.tell(&entry, details.dirty);
                }
            }
        }
        while let Some(text) = self.writer.full_block() {
            let weight = 2 * text.len() as u64;
            self.lane.push(Job::Block(text), weight);
        }
        Ok(())
    }

    fn members(&mut self, entries: Vec<Result<Entry>>, mut streams: &[u8]) -> Result<()> {
        for entry in entries {
            let entry = entry?;
            if entry.location.is_some() {
                self.in_base(&entry)?;
                continue;
            }
            let Some(packed) = entry.packed else {
                self.lost(&entry)?;
                continue;
            };
            let len = usize::try_from(packed).unwrap_or(usize::MAX).min(streams.len());
            let (stream, rest) = streams.split_at(len);
            let dirty = entry.dirty;
            let entry = self.writer.push(entry, stream)?;
            streams = rest;
            self.observer.event(Event::Progress { bytes: entry.kind.size() });
            self.tell(&entry, dirty);
        }
        Ok(())
    }

    /// Says which bases there are.
    pub(super) fn set_bases(&mut self, bases: Vec<Base>) -> Result<()> {
        self.writer.set_bases(bases)
    }

    /// Records a thing whose bytes are in a base.
    fn in_base(&mut self, entry: &Entry) -> Result<()> {
        match entry.lost {
            Some(_) => self.report.kept += 1,
            None => self.report.unchanged += 1,
        }
        self.writer.put_entry(entry)
    }

    /// Records a thing whose content did not come.
    fn lost(&mut self, entry: &Entry) -> Result<()> {
        if matches!(entry.kind, Kind::File { .. }) {
            self.writer.put_entry(entry)?;
        }
        let reason = entry.lost.clone().unwrap_or_default();
        let error = &Error::Lost { path: entry.path.clone(), reason };
        self.observer.event(Event::Failed { path: &entry.path, error });
        Ok(())
    }

    fn tell(&mut self, entry: &Entry, dirty: bool) {
        self.report.count(entry);
        if dirty {
            self.report.changed += 1;
            let (path, warning) = (&entry.path, &Warning::Changed);
            self.observer.event(Event::Warning { path, warning });
        }
        self.observer.event(Event::Done { entry });
    }

    /// Completes the archive.
    pub(super) fn finish(mut self, done: &message::Done, deleted: u64) -> Result<CreateReport> {
        self.end_batch()?;
        while let Some(done) = self.lane.pop() {
            self.settle(done)?;
        }
        if self.report.members + self.report.unchanged + self.report.kept == 0 {
            return Err(Error::NothingStored);
        }
        let mut report = self.report;
        (report.unreadable, report.vanished) = (done.unreadable, done.vanished);
        (report.left_out, report.warnings) = (done.left_out, done.warnings);
        report.deleted = deleted;
        if report.is_incomplete() {
            self.writer.set_incomplete();
        }
        let written = self.writer.finish()?;
        report.archive_size = written.archive_size;
        report.identity = Some(written.identity);
        Ok(report)
    }
}
