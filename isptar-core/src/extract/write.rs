//! Content to a file: holes stay holes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::notes::{Site, Watch};
use crate::content::{Content, Piece};
use crate::error::{Error, FormatError, Result};

/// Content up to this size is collected, and so checked, before its file is made.
pub(super) const SMALL: u64 = 1 << 20;

/// Unit in which zeros become holes.
const HOLE: usize = 4096;

static ZEROS: [u8; HOLE] = [0; HOLE];

/// The whole content of a small file.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Offset and length of each piece.
    pieces: Vec<(u64, usize)>,
    size: u64,
}

impl Buffer {
    /// Takes all of `content`; when this returns, all its checks have passed.
    pub(super) fn collect(&mut self, content: &mut dyn Content, site: Site<'_>) -> Result<()> {
        self.bytes.clear();
        self.pieces.clear();
        self.size = content.size();
        while let Some(piece) = content.next_piece()? {
            check(piece, self.size, site)?;
            self.bytes.extend_from_slice(piece.bytes);
            self.pieces.push((piece.offset, piece.bytes.len()));
        }
        Ok(())
    }

    /// Writes all to an empty file.
    pub(super) fn write(&self, out: &mut Writer<'_>) -> Result<()> {
        let mut rest = self.bytes.as_slice();
        for &(offset, len) in &self.pieces {
            let (bytes, others) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            out.write(Piece { offset, bytes })?;
            rest = others;
        }
        out.finish(self.size)
    }
}

/// Writes content to an empty file, piece by piece as it comes.
pub(super) fn stream(
    content: &mut dyn Content,
    out: &mut Writer<'_>,
    watch: &mut dyn Watch,
) -> Result<()> {
    let size = content.size();
    let mut told = 0;
    loop {
        watch.go_on()?;
        let Some(piece) = content.next_piece()? else { break };
        let end = check(piece, size, out.site)?;
        out.write(piece)?;
        watch.progress(end.saturating_sub(told));
        told = end;
    }
    watch.progress(size.saturating_sub(told));
    out.finish(size)
}

/// Refuses a piece that leaves the file; returns its end.
pub(super) fn check(piece: Piece<'_>, size: u64, site: Site<'_>) -> Result<u64> {
    let len = piece.bytes.len() as u64;
    let end = piece.offset.checked_add(len).filter(|&end| end <= size);
    end.ok_or_else(|| Error::CorruptMember {
        path: site.member().clone(),
        range: 0..0,
        kind: FormatError::OutOfBounds { what: "content", offset: piece.offset, len, end: size },
    })
}

/// Writes to a new file at any offsets.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    file: &'a OwnedFd,
    /// Blocks of zeros are not written.
    holes: bool,
    end: u64,
    site: Site<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(file: &'a OwnedFd, holes: bool, site: Site<'a>) -> Self {
        Self { file, holes, end: 0, site }
    }

    pub(super) fn write(&mut self, piece: Piece<'_>) -> Result<()> {
        if !self.holes {
            return self.write_at(piece.bytes, piece.offset);
        }
        let Piece { mut offset, mut bytes } = piece;
        while !bytes.is_empty() {
            let zeros = run(bytes, offset, true);
            offset += zeros as u64;
            bytes = bytes.get(zeros..).unwrap_or_default();
            let data = run(bytes, offset, false);
            let (head, rest) = bytes.split_at_checked(data).unwrap_or((bytes, &[]));
            self.write_at(head, offset)?;
            offset += data as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn write_at(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            let count = match rustix::io::pwrite(self.file, bytes, offset) {
                Ok(0) => return Err(self.site.refused("write")(Errno::IO)),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(self.site.refused("write")(error)),
            };
            offset += count as u64;
            bytes = bytes.get(count..).unwrap_or_default();
            self.end = self.end.max(offset);
        }
        Ok(())
    }

    /// Returns where what was written ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Gives the file its size, which a hole at its end has not yet.
    fn finish(&mut self, size: u64) -> Result<()> {
        if self.end != size {
            let result = rustix::fs::ftruncate(self.file, size);
            result.map_err(self.site.refused("set the size of"))?;
        }
        Ok(())
    }
}

/// Returns how many bytes at the beginning, in blocks aligned in the file, are all zeros, or are
/// not.
fn run(bytes: &[u8], offset: u64, zeros: bool) -> usize {
    let mut len = 0;
    while let Some(rest) = bytes.get(len..).filter(|rest| !rest.is_empty()) {
        let within = usize::try_from((offset + len as u64) % HOLE as u64).unwrap_or(0);
        let block = rest.get(..HOLE - within).unwrap_or(rest);
        if ZEROS.starts_with(block) != zeros {
            break;
        }
        len += block.len();
    }
    len
}
