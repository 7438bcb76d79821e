//! The listing of an archive of ours that is read from front to back.

use std::io::Read;

use super::{PIECE, Remark, TarReader, in_tar};
use crate::error::{Error, FormatError, Result};
use crate::format::INFO_NAME;
use crate::format::entry::{Dialect, Entry};
use crate::format::member::Assembled;
use crate::limits::LimitName;

impl<R: Read> TarReader<R> {
    /// Returns whether a member is the listing: its header is as the writer makes it, and it begins
    /// with an entry, or with the empty line and the archive info of an archive without any.
    pub(super) fn is_listing(&mut self, found: &Assembled) -> Result<bool> {
        let header = &found.header;
        let is_named = match header.path.as_bytes().strip_prefix(INFO_NAME) {
            Some([]) => true,
            Some([b'.', digits @ ..]) => {
                !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
            }
            _ => false,
        };
        let is_plain = header.mode == 0o600
            && (header.uid, header.gid) == (0, 0)
            && header.user.is_empty()
            && header.group.is_empty()
            && header.xattrs.is_empty();
        if !is_named || !is_plain {
            return Ok(false);
        }
        let start = self.input.peek(usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE))?;
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.is_empty() {
            return Ok(start.starts_with(b"\nlisting_header=512\n"));
        }
        // The line of a file of many gigabytes is longer than what was looked at.
        let tabs = line.iter().filter(|&&byte| byte == b'\t').count();
        Ok(if line.len() < start.len() {
            Entry::parse(line, Dialect::Isptar, &self.limits).is_ok()
        } else {
            tabs >= 5
        })
    }

    /// Reads the listing, line by line, for what only it knows: what should be in the archive and
    /// is not.
    pub(super) fn read_listing(&mut self) -> Result<()> {
        let mut line = Vec::new();
        let mut buffer = vec![0; PIECE];
        while self.left > 0 {
            let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
            let count = self.input.read(&mut buffer[..len])?;
            if count == 0 {
                return Err(self.input.cut("listing", self.left, 0));
            }
            self.left -= count as u64;
            for part in buffer[..count].split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(part);
                let actual = line.len() as u64;
                if actual > self.limits.line {
                    let (what, limit) = ("listing line", self.limits.line);
                    // Where it ends was not looked for.
                    let raise = LimitName::Line.to(actual.saturating_mul(2));
                    return Err(Error::Limit { what, limit, actual, raise });
                }
                if line == b"\n" {
                    // Tables and archive info follow; they speak of offsets.
                    return self.check_tally();
                }
                if line.ends_with(b"\n") {
                    self.read_entry(&line[..line.len() - 1])?;
                    line.clear();
                }
            }
        }
        Ok(())
    }

    /// Compares the members that were met with those that the listing names.
    fn check_tally(&mut self) -> Result<()> {
        if self.in_bases > 0 {
            self.remark(Remark::InBases { members: self.in_bases });
        }
        let (met, listed) = (self.met.count(), self.listed.count());
        let kind = if self.damage.is_some() {
            // What is missing was told.
            return Ok(());
        } else if met != listed {
            FormatError::mismatch("number of members", format!("{listed}, as listed"), met)
        } else if self.met != self.listed {
            let what = "names, kinds, sizes or order of the members";
            FormatError::Differ { what, expected: "those that the listing says" }
        } else {
            return Ok(());
        };
        Err(Error::CorruptTar { position: self.input.position, kind })
    }

    fn read_entry(&mut self, line: &[u8]) -> Result<()> {
        let entry = Entry::parse(line, Dialect::Isptar, &self.limits);
        let entry = entry.map_err(|kind| in_tar(kind, self.input.position))?;
        match entry.location {
            Some(location) if location.depth > 0 => self.in_bases += 1,
            Some(_) => self.listed.add(&entry.path, &entry.kind),
            None => {}
        }
        if entry.lost.is_some() && entry.location.is_none() {
            // They are kept to the end, where they are told.
            self.lost_len += line.len() as u64;
            let (limit, actual) = (self.limits.line, self.lost_len);
            if actual > limit {
                let what = "length of the lines of members that could not be stored";
                let raise = LimitName::Line.to(actual.saturating_mul(2));
                return Err(Error::Limit { what, limit, actual, raise });
            }
            self.lost.push(entry);
        }
        Ok(())
    }
}
