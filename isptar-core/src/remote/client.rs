//! The client: offers its tree, and sends what is wanted of it.

mod content;
mod offers;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::error::{RemoteError, WRITE};
use super::frame::FrameKind;
use super::message::{ClientHello, Done, Published, ServerHello, parse_want};
use super::wire::{Incoming, Outgoing};
use crate::create::{CreateOptions, CreateReport};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::Dialect;
use crate::observe::Observer;
use crate::source::Walk;

use content::Contents;
use offers::{MOST_BATCHES, Offers};

/// How long the client waits for the reason of a server that does not take any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is sent, and how.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SendOptions {
    /// How the tree is read, and when that was begun; what belongs to writing does not count.
    pub create: CreateOptions,
    /// What tells this machine from others, so that an archive on the same one does not become part
    /// of itself.
    pub machine: Option<String>,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SendReport {
    /// What was sent and what not, and the archive that the server published.
    pub sent: CreateReport,
    /// Members that the server had already.
    pub unchanged: u64,
}

/// Sends `paths` to a server, which answers by `input`, and waits until it has published the archive.
///
/// What cannot be read is told to the observer and counted, and the rest is sent. `input` is read by
/// a thread of its own, which ends when `input` does.
///
/// # Errors
///
/// [`Error::BadSource`], [`Error::Remote`] or [`Error::Cancelled`]. Unless it is
/// [`RemoteError::Cut`] when all was sent, nothing is published.
pub fn send<R: Read + Send + 'static, W: Write>(
    input: R,
    output: W,
    paths: &[PathBuf],
    options: &SendOptions,
    observer: &mut dyn Observer,
) -> Result<SendReport> {
    let mut output = Outgoing::new(output);
    let (answers, inbox) = sync_channel(MOST_BATCHES + 2);
    let mut inbox = Inbox { answers: inbox };
    std::thread::spawn(move || listen(input, &answers));
    let sent = converse(&mut inbox, &mut output, paths, options, observer);
    sent.map_err(|error| inbox.explain(error, &mut output))
}

fn converse<W: Write>(
    inbox: &mut Inbox,
    output: &mut Outgoing<W>,
    paths: &[PathBuf],
    options: &SendOptions,
    observer: &mut dyn Observer,
) -> Result<SendReport> {
    let hello = ClientHello { created: options.create.created, machine: options.machine.clone() };
    output.send(FrameKind::Hello, &hello.encode())?;
    output.flush()?;
    let wishes = inbox.hello()?;
    let create = as_wished(options, &wishes);
    let own_files = match (&options.machine, &wishes.machine) {
        (Some(here), Some(there)) if here == there => wishes.own_files.clone(),
        _ => Vec::new(),
    };
    let walk = Walk::new(&create.directory, paths, create.source(own_files))?;
    let mut report = SendReport::default();
    let mut offers = Offers::new(walk, &create, &wishes);
    let mut contents = Contents::default();
    loop {
        while let Some(lines) = offers.next(&mut report.sent, observer)? {
            output.send(FrameKind::Offer, lines)?;
        }
        let Some(items) = offers.take_oldest() else { break };
        output.flush()?;
        let wanted = inbox.wanted(items.len())?;
        for (item, wanted) in items.into_iter().zip(wanted) {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            match (item, wanted) {
                (Some(item), true) => contents.send(item, output, &mut report.sent, observer)?,
                (Some(_), false) => report.unchanged += 1,
                (None, false) => {}
                (None, true) => return Err(inbox.unwanted().into()),
            }
        }
    }
    report.sent.add_walk(offers.walked());
    finish(inbox, output, offers.offered(), &mut report)?;
    Ok(report)
}

/// Says that this was all, and waits for the archive.
fn finish<W: Write>(
    inbox: &mut Inbox,
    output: &mut Outgoing<W>,
    offered: u64,
    report: &mut SendReport,
) -> Result<()> {
    let CreateReport { unreadable, vanished, left_out, warnings, .. } = report.sent;
    let done = Done { offered, unreadable, vanished, left_out, warnings };
    output.send(FrameKind::Done, &done.encode())?;
    output.flush()?;
    let published = inbox.published()?;
    report.sent.archive_size = published.archive_size;
    report.sent.identity = published.identity;
    Ok(())
}

/// Returns the options of reading the tree, as the server wishes it.
fn as_wished(options: &SendOptions, wishes: &ServerHello) -> CreateOptions {
    let mut create = options.create.clone();
    create.reproducible = wishes.reproducible;
    create.xattrs &= !wishes.no_xattrs;
    create.dialect = if wishes.classic { Dialect::Classic } else { Dialect::Isptar };
    create
}

/// A frame of the server, and where it began.
struct Said {
    position: u64,
    answer: Answer,
}

/// What the server says.
#[derive(Debug)]
enum Answer {
    Hello(ServerHello),
    Want(Vec<u8>),
    Published(Published),
}

/// Reads all that the server says. It must be read whatever the client does, or both sides could
/// wait for each other.
fn listen<R: Read>(input: R, answers: &SyncSender<Result<Said, RemoteError>>) {
    let mut input = Incoming::new(input);
    let mut next = first(&mut input);
    loop {
        let is_last = !matches!(next, Ok(Answer::Hello(_) | Answer::Want(_)));
        let said = next.map(|answer| Said { position: input.start(), answer });
        if answers.send(said).is_err() || is_last {
            return;
        }
        next = answer(&mut input);
    }
}

fn first<R: Read>(input: &mut Incoming<R>) -> Result<Answer, RemoteError> {
    input.preface()?;
    let hello = ServerHello::parse(input.expect(FrameKind::Hello)?);
    hello.map(Answer::Hello).map_err(|kind| input.corrupt(kind))
}

fn answer<R: Read>(input: &mut Incoming<R>) -> Result<Answer, RemoteError> {
    match input.next()? {
        FrameKind::Want => Ok(Answer::Want(input.payload().to_vec())),
        FrameKind::Published => {
            let published = Published::parse(input.payload());
            published.map(Answer::Published).map_err(|kind| input.corrupt(kind))
        }
        other => Err(input.unexpected(other, FrameKind::Want.noun())),
    }
}

/// What the listening thread hands over.
struct Inbox {
    answers: Receiver<Result<Said, RemoteError>>,
}

impl Inbox {
    fn next(&mut self) -> Result<Said, RemoteError> {
        // The thread ends only with an answer that ends all.
        let gone = |_| Err(RemoteError::Cut { position: 0, what: "an answer" });
        self.answers.recv().unwrap_or_else(gone)
    }

    fn hello(&mut self) -> Result<ServerHello, RemoteError> {
        let said = self.next()?;
        match said.answer {
            Answer::Hello(hello) => Ok(hello),
            _ => Err(said.unexpected(FrameKind::Hello)),
        }
    }

    fn wanted(&mut self, count: usize) -> Result<Vec<bool>, RemoteError> {
        let said = self.next()?;
        match &said.answer {
            Answer::Want(payload) => parse_want(payload, count)
                .map_err(|kind| RemoteError::Corrupt { position: said.position, kind }),
            _ => Err(said.unexpected(FrameKind::Want)),
        }
    }

    /// Says that what cannot be read is wanted.
    fn unwanted(&self) -> RemoteError {
        let kind = FormatError::mismatch("answer to a line of what is lost", 0, 1);
        RemoteError::Corrupt { position: 0, kind }
    }

    fn published(&mut self) -> Result<Published, RemoteError> {
        let said = self.next()?;
        match said.answer {
            Answer::Published(published) => Ok(published),
            _ => Err(said.unexpected(FrameKind::Published)),
        }
    }

    /// Tells the server of an error of this side, or finds out why the server takes no more.
    fn explain<W: Write>(&mut self, error: Error, output: &mut Outgoing<W>) -> Error {
        match error {
            Error::Remote(RemoteError::Wire { op: WRITE, .. }) => {
                self.reason().map_or(error, Error::from)
            }
            Error::Remote(remote) if remote.is_known_there() => remote.into(),
            error => {
                output.fail(&error);
                error
            }
        }
    }

    fn reason(&mut self) -> Option<RemoteError> {
        loop {
            match self.answers.recv_timeout(PATIENCE) {
                Ok(Ok(_)) => {}
                Ok(Err(RemoteError::Cut { .. })) | Err(_) => return None,
                Ok(Err(reason)) => return Some(reason),
            }
        }
    }
}

impl Said {
    fn unexpected(&self, expected: FrameKind) -> RemoteError {
        let actual = match self.answer {
            Answer::Hello(_) => FrameKind::Hello,
            Answer::Want(_) => FrameKind::Want,
            Answer::Published(_) => FrameKind::Published,
        };
        let (position, expected, actual) = (self.position, expected.noun(), actual.noun());
        RemoteError::Unexpected { position, expected, actual }
    }
}
