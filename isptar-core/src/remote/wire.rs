//! Frames over readers and writers.

use std::io::{self, BufReader, Read, Write};

use super::error::{RemoteError, WRITE};
use super::frame::{FrameKind, Head, PREFACE, check_payload, check_preface};
use crate::error::FormatError;
use crate::path::printable;

/// Bytes that are collected before they are handed to the system.
const BUFFER: usize = 128 << 10;

/// Frames that come in.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    reader: BufReader<R>,
    /// Bytes taken so far, and where the frame at hand begins.
    position: u64,
    start: u64,
    payload: Vec<u8>,
}

impl<R: Read> Incoming<R> {
    pub(super) fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(BUFFER, reader);
        Self { reader, position: 0, start: 0, payload: Vec::new() }
    }

    /// Reads what the other side sends first.
    pub(super) fn preface(&mut self) -> Result<(), RemoteError> {
        let mut bytes = [0; PREFACE.len()];
        self.fill(&mut bytes, "its first bytes")?;
        check_preface(&bytes).map_err(|kind| self.corrupt(kind))
    }

    /// Reads the next frame; its payload is that of [`Self::payload`]. Why the other side gives up
    /// is an error.
    pub(super) fn next(&mut self) -> Result<FrameKind, RemoteError> {
        self.start = self.position;
        let mut head = [0; Head::LEN];
        self.fill(&mut head, "the head of a frame")?;
        let Head { kind, len } = Head::parse(&head).map_err(|kind| self.corrupt(kind))?;
        // The limits of all kinds are small.
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        let filled = self.fill(&mut payload, kind.noun());
        self.payload = payload;
        filled?;
        let mut crc = [0; 4];
        self.fill(&mut crc, kind.noun())?;
        check_payload(&self.payload, crc).map_err(|kind| self.corrupt(kind))?;
        match kind {
            FrameKind::Fail => Err(RemoteError::GaveUp { reason: printable(&self.payload) }),
            kind => Ok(kind),
        }
    }

    /// Reads the next frame, which must be of that kind.
    pub(super) fn expect(&mut self, kind: FrameKind) -> Result<&[u8], RemoteError> {
        match self.next()? {
            actual if actual == kind => Ok(&self.payload),
            actual => Err(self.unexpected(actual, kind.noun())),
        }
    }

    /// Returns the payload of the last frame.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns where the last frame begins.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Says that the last frame is damaged.
    pub(super) fn corrupt(&self, kind: FormatError) -> RemoteError {
        RemoteError::Corrupt { position: self.start, kind }
    }

    /// Says that the last frame has no place here.
    pub(super) fn unexpected(&self, actual: FrameKind, expected: &'static str) -> RemoteError {
        RemoteError::Unexpected { position: self.start, expected, actual: actual.noun() }
    }

    /// Reads on without looking, for some time: who still sends can read why nobody listens.
    pub(super) fn drain(&mut self) {
        const MOST: u64 = 64 << 20;
        // Whatever comes of it, the job has failed already.
        let _drained = io::copy(&mut (&mut self.reader).take(MOST), &mut io::sink());
    }

    fn fill(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), RemoteError> {
        let mut rest = buffer;
        while !rest.is_empty() {
            match self.reader.read(rest) {
                Ok(0) => return Err(RemoteError::Cut { position: self.position, what }),
                Ok(count) => {
                    self.position += count as u64;
                    rest = rest.split_at_mut(count).1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RemoteError::Wire { op: "read from", source }),
            }
        }
        Ok(())
    }
}

/// Frames that go out. Nothing is surely out before [`Self::flush`].
#[derive(Debug)]
pub(super) struct Outgoing<W> {
    writer: W,
    buffer: Vec<u8>,
}

impl<W: Write> Outgoing<W> {
    /// Begins with what stands before all frames.
    pub(super) fn new(writer: W) -> Self {
        Self { writer, buffer: PREFACE.to_vec() }
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), RemoteError> {
        self.buffer.extend_from_slice(&Head { kind, len: payload.len() as u64 }.encode());
        self.buffer.extend_from_slice(payload);
        self.buffer.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        if self.buffer.len() >= BUFFER { self.write_out() } else { Ok(()) }
    }

    /// Hands all to the system.
    pub(super) fn flush(&mut self) -> Result<(), RemoteError> {
        self.write_out()?;
        self.writer.flush().map_err(refused)
    }

    /// Tells why this side gives up, as far as that is possible.
    pub(super) fn fail(&mut self, error: &dyn std::error::Error) {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        let most = usize::try_from(FrameKind::Fail.limit()).unwrap_or(0);
        let reason = reason.as_bytes().get(..most).unwrap_or(reason.as_bytes());
        // It may be gone already.
        let _told = self.send(FrameKind::Fail, reason).and_then(|()| self.flush());
    }

    fn write_out(&mut self) -> Result<(), RemoteError> {
        let written = self.writer.write_all(&self.buffer).map_err(refused);
        self.buffer.clear();
        written
    }
}

fn refused(source: io::Error) -> RemoteError {
    RemoteError::Wire { op: WRITE, source }
}
