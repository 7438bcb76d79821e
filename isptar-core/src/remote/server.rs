//! The server: says what it wants, and makes an archive of what comes.

use std::collections::VecDeque;
use std::io::{Read, Write};

use super::WINDOW;
use super::error::RemoteError;
use super::frame::FrameKind;
use super::kept::Kept;
use super::known::{Decision, Known};
use super::message::{
    ClientHello, Done, End, Member, Published, ServerHello, encode_want, parse_offer,
};
use super::pack::Received;
use super::store::{Conversation, Store, make_archive};
use super::wire::{Incoming, Outgoing};
use crate::base::BaseListing;
use crate::create::layout::Layout;
use crate::create::{CreateOptions, CreateReport};
use crate::error::{Error, FormatError, Result};
use crate::format::chunk_size;
use crate::format::entry::{Dialect, Entry};
use crate::io::Sink;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::path::{MemberPath, SafePath};

/// How an archive is made of what a client sends.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReceiveOptions {
    /// How it is written; what belongs to reading a tree does not count, but for extended
    /// attributes: without them the client does not send any. The archive is begun by the client's
    /// clock, which is the one that the times of files are of.
    pub create: CreateOptions,
    /// What tells this machine from others: see [`super::SendOptions::machine`].
    pub machine: Option<String>,
}

/// Makes an archive of what a client sends by `input`, which is answered by `output`, and publishes
/// it. With a base only what has changed since is asked for.
///
/// # Errors
///
/// [`Error::Remote`], [`Error::NothingStored`], [`Error::Output`] or [`Error::Cancelled`]: nothing is
/// published then, unless it is [`RemoteError::Untold`]. The client is told why, as far as that is
/// possible.
pub fn receive<R: Read, W: Write>(
    input: R,
    output: W,
    sink: &mut dyn Sink,
    options: &ReceiveOptions,
    base: Option<BaseListing<'_>>,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    let (mut input, mut output) = (Incoming::new(input), Outgoing::new(output));
    let received = serve(&mut input, &mut output, sink, options, base, observer);
    let report = received.inspect_err(|error| {
        if !matches!(error, Error::Remote(remote) if remote.is_known_there()) {
            output.fail(error);
            input.drain();
        }
    })?;
    let published =
        Published { identity: report.identity, archive_size: report.archive_size }.encode();
    let told = output.send(FrameKind::Published, &published).and_then(|()| output.flush());
    told.map_err(|_| RemoteError::Untold)?;
    Ok(report)
}

fn serve<R: Read, W: Write>(
    input: &mut Incoming<R>,
    output: &mut Outgoing<W>,
    sink: &mut dyn Sink,
    options: &ReceiveOptions,
    base: Option<BaseListing<'_>>,
    observer: &mut dyn Observer,
) -> Result<CreateReport> {
    if options.create.dialect == Dialect::Classic && base.is_some() {
        return Err(Error::ClassicOnBase);
    }
    let known = Known::new(base, &options.create);
    let (attributes, digests) = known.wishes();
    let hello = ServerHello {
        machine: options.machine.clone(),
        reproducible: options.create.reproducible,
        classic: options.create.dialect == Dialect::Classic,
        no_xattrs: !options.create.xattrs,
        digests,
        attributes,
        own_files: sink.own_files(),
    };
    output.send(FrameKind::Hello, &hello.encode())?;
    output.flush()?;
    input.preface()?;
    let client = ClientHello::parse(input.expect(FrameKind::Hello)?);
    let client = client.map_err(|kind| input.corrupt(kind))?;
    let mut create = options.create.clone();
    create.created = client.created;
    let serving = Serving { input, output, known, limits: Limits::default() };
    make_archive(sink, &create, true, observer, serving)
}

/// What is known of the client.
struct Serving<'s, 'b, R, W> {
    input: &'s mut Incoming<R>,
    output: &'s mut Outgoing<W>,
    known: Known<'b>,
    limits: Limits,
}

impl<R: Read, W: Write> Conversation for Serving<'_, '_, R, W> {
    fn hold<L: Layout>(self, mut store: Store<'_, '_, L>) -> Result<CreateReport> {
        let Serving { input, output, known, limits } = self;
        store.set_bases(known.tables())?;
        Server { input, output, store, known, queue: Queue::default(), limits }.run()
    }
}

/// Reads what comes, in order.
struct Server<'i, 'b, 's, 'l, R, W, L: Layout> {
    input: &'i mut Incoming<R>,
    output: &'i mut Outgoing<W>,
    store: Store<'s, 'l, L>,
    known: Known<'b>,
    queue: Queue,
    limits: Limits,
}

/// What was offered, and has not come yet; and what is recorded between.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Bytes of the lines of what was offered.
    bytes: u64,
    last: Option<MemberPath>,
    count: u64,
}

/// What must be recorded, in order.
enum Waiting {
    /// A member that was offered and is wanted, and what the base has of it.
    Member { path: MemberPath, bytes: u64, old: Option<Box<Entry>> },
    /// What has no bytes here.
    Entry { entry: Box<Entry>, bytes: u64 },
    /// What is kept of the base; few lines were offered for it, or none.
    Kept { kept: Kept, bytes: u64 },
}

impl<R: Read, W: Write, L: Layout> Server<'_, '_, '_, '_, R, W, L> {
    fn run(mut self) -> Result<CreateReport> {
        loop {
            if self.store.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match self.input.next()? {
                FrameKind::Offer => self.offer()?,
                FrameKind::Member => self.member()?,
                FrameKind::Done => return self.done(),
                other => return Err(self.input.unexpected(other, "an offer or a member").into()),
            }
        }
    }

    /// Answers an offer.
    fn offer(&mut self) -> Result<()> {
        let payload = self.input.payload();
        let bytes = payload.len() as u64;
        let entries =
            parse_offer(payload, &self.limits).map_err(|kind| self.input.corrupt(kind))?;
        // As much as is offered ahead, and what may be in one frame above that.
        if self.queue.bytes > WINDOW {
            let (what, limit, actual) = ("bytes of offers ahead", WINDOW, self.queue.bytes);
            let kind = FormatError::Limit { what, limit, actual, raise: None };
            return Err(self.input.corrupt(kind).into());
        }
        let share = bytes / (entries.len() as u64).max(1);
        let mut wanted = Vec::with_capacity(entries.len());
        for entry in entries {
            self.check_name(&entry.path)?;
            wanted.push(self.decide(entry, share)?);
        }
        self.record_waiting()?;
        self.output.send(FrameKind::Want, &encode_want(&wanted))?;
        self.output.flush()?;
        Ok(())
    }

    /// Decides about an entry that is offered; returns whether it is wanted.
    fn decide(&mut self, offer: Entry, bytes: u64) -> Result<bool> {
        let queue = &mut self.queue;
        let path = offer.path.clone();
        self.known.pass(Some(&path), &mut |kept| queue.keep(kept, 0))?;
        queue.count += 1;
        queue.last = Some(path.clone());
        match self.known.decide(offer)? {
            Decision::Want(old) => {
                queue.bytes += bytes;
                queue.waiting.push_back(Waiting::Member { path, bytes, old });
                return Ok(true);
            }
            Decision::Have(entry) => {
                queue.bytes += bytes;
                queue.waiting.push_back(Waiting::Entry { entry, bytes });
            }
            Decision::Keep(kept) => queue.keep(kept, bytes),
            Decision::Nothing => {}
        }
        Ok(false)
    }

    /// Records all that stands before the next member that must come.
    fn record_waiting(&mut self) -> Result<()> {
        let (queue, store) = (&mut self.queue, &mut self.store);
        while let Some(next) = queue.pop_here() {
            match next {
                Waiting::Entry { entry, .. } => store.small(Received::entry_alone(*entry))?,
                Waiting::Kept { kept, .. } => self.known.read(kept, &mut |entry| {
                    if store.observer.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    store.small(Received::entry_alone(entry))
                })?,
                Waiting::Member { .. } => {}
            }
        }
        Ok(())
    }

    /// Checks that a name is one that every reader takes, and comes in order.
    fn check_name(&self, name: &MemberPath) -> Result<()> {
        let kind = match &self.queue.last {
            _ if !name.is_canonical() || SafePath::new(name, &self.limits).is_err() => {
                FormatError::invalid("name of an offer", name.as_bytes())
            }
            Some(last) if last >= name => {
                FormatError::mismatch("order of offers", format!("a name after {last}"), name)
            }
            _ => return Ok(()),
        };
        Err(self.input.corrupt(kind).into())
    }

    /// Takes a member, and its data.
    fn member(&mut self) -> Result<()> {
        let parsed = Member::parse(self.input.payload(), &self.limits);
        let member = parsed.map_err(|kind| self.input.corrupt(kind))?;
        let Some((expected, old)) = self.queue.pop() else {
            let (actual, expected) = (FrameKind::Member, "an offer");
            return Err(self.input.unexpected(actual, expected).into());
        };
        if expected != member.entry.path {
            let (expected, actual) = (&expected, &member.entry.path);
            let kind = FormatError::mismatch("name of the member that comes", expected, actual);
            return Err(self.input.corrupt(kind).into());
        }
        self.take(member, old)?;
        self.record_waiting()
    }

    /// Takes a member; if it does not come, what the base has of it is kept.
    fn take(&mut self, member: Member, old: Option<Box<Entry>>) -> Result<()> {
        if let (None, Some(old)) = (&member.header, old) {
            let entry = Entry { lost: member.entry.lost, ..*old };
            return self.store.small(Received::entry_alone(entry));
        }
        match member.data_len() {
            0 => self.store.small(Received::new(member, Vec::new())),
            len if len <= chunk_size(0) => self.small(member, len),
            len => self.big(member, len),
        }
    }

    fn small(&mut self, mut member: Member, data_len: u64) -> Result<()> {
        let mut data = Vec::with_capacity(usize::try_from(data_len).unwrap_or(usize::MAX));
        let end = loop {
            match self.input.next()? {
                FrameKind::Data => self.take_data(data_len, &mut data)?,
                FrameKind::End => break self.end(data_len - data.len() as u64)?,
                other => return Err(self.input.unexpected(other, "data of a member").into()),
            }
        };
        member.entry.dirty |= end.dirty;
        member.entry.sparse |= end.sparse;
        self.store.small(Received::new(member, data))
    }

    fn big(&mut self, member: Member, data_len: u64) -> Result<()> {
        let chunk = usize::try_from(chunk_size(data_len)).unwrap_or(usize::MAX);
        let Some(header) = &member.header else { return Ok(()) };
        self.store.begin(header)?;
        let mut left = data_len;
        let mut data = self.store.memory();
        let end = loop {
            match self.input.next()? {
                FrameKind::Data => self.take_data(left, &mut data)?,
                FrameKind::End => break self.end(left - data.len() as u64)?,
                other => return Err(self.input.unexpected(other, "data of a member").into()),
            }
            while data.len() >= chunk || data.len() as u64 == left && left > 0 {
                let rest = data.split_off(data.len().min(chunk));
                left -= data.len() as u64;
                self.store.chunk(data, (left == 0).then_some(data_len))?;
                data = self.store.memory();
                data.extend_from_slice(&rest);
            }
        };
        let mut details = member.details();
        details.dirty |= end.dirty;
        details.sparse |= end.sparse;
        self.store.end(details)
    }

    /// Appends a piece of data to what came before it of `most` bytes.
    fn take_data(&mut self, most: u64, data: &mut Vec<u8>) -> Result<()> {
        if self.store.observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let piece = self.input.payload();
        let actual = data.len() as u64 + piece.len() as u64;
        if actual > most || piece.is_empty() {
            let kind = FormatError::mismatch("bytes of data that are left", most, actual);
            return Err(self.input.corrupt(kind).into());
        }
        data.extend_from_slice(piece);
        Ok(())
    }

    /// Takes the end of a member of which `left` bytes have not come.
    fn end(&mut self, left: u64) -> Result<End> {
        if left > 0 {
            let kind = FormatError::mismatch("bytes of data that are left at the end", 0, left);
            return Err(self.input.corrupt(kind).into());
        }
        Ok(End::parse(self.input.payload()).map_err(|kind| self.input.corrupt(kind))?)
    }

    fn done(mut self) -> Result<CreateReport> {
        let done = Done::parse(self.input.payload()).map_err(|kind| self.input.corrupt(kind))?;
        if !self.queue.waiting.is_empty() {
            return Err(self.input.unexpected(FrameKind::Done, FrameKind::Member.noun()).into());
        }
        if done.offered != self.queue.count {
            let (expected, actual) = (self.queue.count, done.offered);
            let kind = FormatError::mismatch("number of entries offered", expected, actual);
            return Err(self.input.corrupt(kind).into());
        }
        let queue = &mut self.queue;
        self.known.pass(None, &mut |kept| queue.keep(kept, 0))?;
        self.record_waiting()?;
        self.store.finish(&done, self.known.deleted)
    }
}

impl Waiting {
    /// Returns how many bytes of lines were offered for it.
    fn bytes(&self) -> u64 {
        match self {
            Self::Member { bytes, .. } | Self::Entry { bytes, .. } | Self::Kept { bytes, .. } => {
                *bytes
            }
        }
    }
}

impl Queue {
    /// Returns the name of the member that must come next, and what the base has of it.
    fn pop(&mut self) -> Option<(MemberPath, Option<Box<Entry>>)> {
        match self.waiting.pop_front()? {
            Waiting::Member { path, bytes, old } => {
                self.bytes -= bytes;
                Some((path, old))
            }
            Waiting::Entry { .. } | Waiting::Kept { .. } => None,
        }
    }

    /// Returns what is next, unless it must come.
    fn pop_here(&mut self) -> Option<Waiting> {
        if matches!(self.waiting.front(), None | Some(Waiting::Member { .. })) {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.bytes -= next.bytes();
        Some(next)
    }

    /// Takes what is kept of the base, for which `bytes` were offered.
    fn keep(&mut self, next: Kept, bytes: u64) {
        self.bytes += bytes;
        if let Some(Waiting::Kept { kept, bytes: all }) = self.waiting.back_mut()
            && kept.extend(next)
        {
            *all += bytes;
            return;
        }
        self.waiting.push_back(Waiting::Kept { kept: next, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_kept_waits_as_one() {
        let mut queue = Queue::default();
        for (start, thing, bytes) in [(3, 1, 0), (4, 1, 7), (5, 1, 0), (6, 2, 0), (9, 2, 1)] {
            queue.keep(Kept { start, count: 1, thing }, bytes);
        }
        assert_eq!(queue.bytes, 8);
        let kept = std::iter::from_fn(|| queue.pop_here()).map(|next| match next {
            Waiting::Kept { kept, bytes } => (kept.start, kept.count, bytes),
            _ => panic!("nothing else was kept"),
        });
        assert_eq!(kept.collect::<Vec<_>>(), [(3, 3, 7), (6, 1, 0), (9, 1, 1)]);
        assert_eq!(queue.bytes, 0);
    }
}
