//! What the scan found, in the order of the archive: kept in memory up to a megabyte, then in an
//! unlinked file, so that memory does not grow with the number of members.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use tempfile::SpooledTempFile;

use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Dialect, Entry};
use crate::limits::Limits;

/// Bytes that are kept in memory before a file is made for them.
const MEMORY: usize = 1 << 20;

/// One thing that the scan found.
#[derive(Debug)]
pub(super) enum Record {
    /// A whole member.
    Member(Box<Found>),
    /// Damaged bytes, and the number of what is known of them.
    Damage(Range<u64>, u64),
}

/// A whole member that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its entry, located in the damaged archive.
    pub(super) entry: Entry,
    /// The number of the entry of the old listing that it was completed from.
    pub(super) number: Option<u64>,
    /// Whether its streams must be packed anew, and not be copied.
    pub(super) repack: bool,
}

/// Takes records, and gives them back from the first on.
#[derive(Debug)]
pub(super) struct Spool {
    file: SpooledTempFile,
    /// Bytes taken.
    len: u64,
    buffer: Vec<u8>,
    directory: Option<PathBuf>,
}

impl Spool {
    /// Makes an empty one; its file, if it needs one, is made in `directory`.
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        let file = match &directory {
            Some(directory) => tempfile::spooled_tempfile_in(MEMORY, directory),
            None => tempfile::spooled_tempfile(MEMORY),
        };
        Self { file, len: 0, buffer: Vec::new(), directory }
    }

    /// Returns a mark to go back to.
    pub(super) fn mark(&self) -> u64 {
        self.len
    }

    /// Forgets all records after a mark.
    pub(super) fn truncate(&mut self, mark: u64) -> Result<()> {
        self.flush()?;
        let cut = self.file.set_len(mark);
        let cut = cut.and_then(|()| self.file.seek(SeekFrom::Start(mark)));
        cut.map_err(|source| self.error(source))?;
        self.len = mark;
        Ok(())
    }

    pub(super) fn member(
        &mut self,
        entry: &Entry,
        number: Option<u64>,
        repack: bool,
        limits: &Limits,
    ) -> Result<()> {
        let before = self.buffer.len();
        let number = number.map_or_else(|| "-".into(), |number| number.to_string());
        let kind = if repack { 'R' } else { 'M' };
        self.buffer.extend_from_slice(format!("{kind} {number} ").as_bytes());
        let unstorable = |kind| Error::Unstorable { path: entry.path.clone(), kind };
        let encoded = entry.encode(limits, &mut self.buffer).map_err(unstorable);
        if encoded.is_err() {
            self.buffer.truncate(before);
            return encoded;
        }
        self.grown(before)
    }

    pub(super) fn damage(&mut self, range: &Range<u64>, number: u64) -> Result<()> {
        let before = self.buffer.len();
        let line = format!("D {} {} {number}\n", range.start, range.end);
        self.buffer.extend_from_slice(line.as_bytes());
        self.grown(before)
    }

    fn grown(&mut self, before: usize) -> Result<()> {
        self.len += (self.buffer.len() - before) as u64;
        if self.buffer.len() >= 64 << 10 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Output { op: "spool the members of", path: self.directory.clone(), source }
    }

    /// Hands out all records.
    pub(super) fn read(mut self, limits: Limits) -> Result<Records> {
        self.flush()?;
        self.file.seek(SeekFrom::Start(0)).map_err(|source| self.error(source))?;
        let Self { file, directory, .. } = self;
        Ok(Records { file: BufReader::new(file), line: Vec::new(), limits, directory })
    }
}

/// Hands out records, first to last.
#[derive(Debug)]
pub(super) struct Records {
    file: BufReader<SpooledTempFile>,
    line: Vec<u8>,
    limits: Limits,
    directory: Option<PathBuf>,
}

impl Records {
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        self.line.clear();
        let read = self.file.by_ref().read_until(b'\n', &mut self.line);
        read.map_err(|source| self.error(source))?;
        let Some(line) = self.line.strip_suffix(b"\n") else { return Ok(None) };
        // What is read back was written here; a disk that gives something else has failed.
        let record = parse(line, &self.limits);
        let failed = |_| self.error(io::ErrorKind::InvalidData.into());
        record.map(Some).map_err(failed)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Output { op: "spool the members of", path: self.directory.clone(), source }
    }
}

fn parse(line: &[u8], limits: &Limits) -> std::result::Result<Record, FormatError> {
    let invalid = || FormatError::invalid("record", line);
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    let mut next = || fields.next().ok_or_else(invalid);
    let number = |text: &[u8]| crate::format::text::decimal("record", text);
    match next()? {
        kind @ (b"M" | b"R") => {
            let text = next()?;
            let number = if text == b"-" { None } else { Some(number(text)?) };
            let entry = Entry::parse(next()?, Dialect::Isptar, limits)?;
            Ok(Record::Member(Box::new(Found { entry, number, repack: kind == b"R" })))
        }
        b"D" => {
            let start = number(next()?)?;
            let rest = next()?;
            let at = rest.iter().position(|&byte| byte == b' ').ok_or_else(invalid)?;
            let end = number(rest.get(..at).unwrap_or_default())?;
            let kind = number(rest.get(at + 1..).unwrap_or_default())?;
            Ok(Record::Damage(start..end, kind))
        }
        _ => Err(invalid()),
    }
}
