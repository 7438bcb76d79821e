//! Reading regular files: small ones whole, big ones chunk by chunk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Stat, fstat};

use super::holes;
use super::item::{Item, Packed};
use crate::error::{Error, FormatError};
use crate::format::chunk_size;
use crate::format::entry::Kind;
use crate::format::member::MemberHeader;
use crate::format::sparse::Segment;
use crate::limits::Limits;
use crate::observe::Warning;
use crate::pack::{Details, MemberPacker, leave_out_largest};
use crate::source::{OpenError, ctime, mtime, read_full};

/// Opens and reads a file; a small one is packed at once.
pub(super) fn pack(item: &Item, packer: &mut MemberPacker, stream: &mut Vec<u8>) -> Packed {
    let (file, stat) = match item.found.open() {
        Ok(opened) => opened,
        Err(error) if error.is_vanished() => return Packed::Vanished,
        Err(OpenError::Io(source)) => return item.failed("open", source),
        Err(error) => return item.failed("read", io::Error::other(error)),
    };
    let (xattrs, warnings) = item.found.xattrs(Some(&file));
    let mut header = MemberHeader {
        kind: Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
        mode: stat.st_mode & 0o7777,
        uid: u64::from(stat.st_uid),
        gid: u64::from(stat.st_gid),
        mtime: mtime(&stat),
        xattrs,
        ..item.header.clone()
    };
    let mut details = item.details;
    if !item.reproducible {
        details.ctime = Some(ctime(&stat));
        details.ino = Some(stat.st_ino);
    }
    match holes::find(&file, &stat, &header.path, item.reproducible) {
        Ok(holes::Holes::None) => {}
        Ok(holes::Holes::Dense) => details.sparse = true,
        Ok(holes::Holes::Map(map)) => header.sparse = Some(map),
        Err(source) => return item.failed("read", source),
    }
    let was = &item.found.stat;
    let replaced = (was.st_dev, was.st_ino) != (stat.st_dev, stat.st_ino);
    if header.data_len() > chunk_size(0) {
        let mut big = BigFile::new(file, stat, header, details, warnings);
        big.same = !replaced;
        return Packed::Big(Box::new(big));
    }
    let opened = Opened { file, stat };
    let mut packed = pack_small(item, &opened, header, details, packer, warnings, stream);
    if let Packed::Whole { same, .. } = &mut packed {
        *same = !replaced;
    }
    packed
}

/// A file as it was when it was opened.
struct Opened {
    file: File,
    stat: Stat,
}

fn pack_small(
    item: &Item,
    opened: &Opened,
    mut header: MemberHeader,
    mut details: Details,
    packer: &mut MemberPacker,
    mut warnings: Vec<Warning>,
    stream: &mut Vec<u8>,
) -> Packed {
    let data = match &header.sparse {
        Some(map) => read_segments(&opened.file, map.segments()),
        None => read_whole(&opened.file, header.kind.size()),
    };
    let (data, whole) = match data {
        Ok(read) => read,
        Err(source) => return item.failed("read", source),
    };
    if header.sparse.is_none() {
        // What was read is what is stored, whatever the size said.
        header.kind = Kind::File { size: data.len() as u64 };
        details.sparse |= item.reproducible && holes::has_zero_block(&data);
    }
    if !whole || has_changed(&opened.file, &opened.stat) {
        details.dirty = true;
        warnings.push(Warning::Changed);
    }
    item.pack_whole(header, details, &data, packer, warnings, stream)
}

/// Reads a file to its end; returns its bytes, and whether they are as many as was said. Files of
/// /proc say 0.
fn read_whole(file: &File, size: u64) -> io::Result<(Vec<u8>, bool)> {
    let expected = usize::try_from(size).unwrap_or(usize::MAX);
    let limit = if size == 0 { usize::try_from(chunk_size(0)).unwrap_or(0) } else { expected };
    // One byte more than expected: a read that fills it shows that the file has grown, and one
    // that does not is at the end, so that no second read is needed.
    let mut data = vec![0; if size == 0 { 4096 } else { expected.saturating_add(1) }];
    let mut have = 0;
    loop {
        if have == data.len() {
            if have > limit {
                break;
            }
            data.resize((2 * have).min(limit + 1), 0);
        }
        match file.read_at(&mut data[have..], have as u64) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if have == expected && size > 0 {
            break;
        }
    }
    let whole = (size == 0 && have <= limit) || have == expected;
    data.truncate(have.min(limit));
    Ok((data, whole))
}

/// Reads the segments of a sparse file; what is missing at its end is zeros.
fn read_segments(file: &File, segments: &[Segment]) -> io::Result<(Vec<u8>, bool)> {
    let len: u64 = segments.iter().map(|segment| segment.len).sum();
    let mut data = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let mut rest = data.as_mut_slice();
    let mut whole = true;
    for segment in segments {
        let (part, tail) = rest.split_at_mut(usize::try_from(segment.len).unwrap_or(usize::MAX));
        whole &= read_full(file, part, segment.offset)? == part.len();
        rest = tail;
    }
    Ok((data, whole))
}

/// Returns whether a file is not what it was when it was opened.
fn has_changed(file: &File, before: &Stat) -> bool {
    let Ok(now) = fstat(file) else { return true };
    now.st_size != before.st_size || mtime(&now) != mtime(before) || ctime(&now) != ctime(before)
}

/// A file of several chunks that is being read. Its header says how much there will be: what is
/// missing is filled with zeros, what is more is cut.
#[derive(Debug)]
pub(super) struct BigFile {
    pub(super) header: MemberHeader,
    pub(super) warnings: Vec<Warning>,
    /// Why bytes are missing, when the system said so.
    pub(super) error: Option<Error>,
    /// Whether it is what the walk found, or a file that took its name meanwhile.
    pub(super) same: bool,
    file: File,
    stat: Stat,
    details: Details,
    segments: Vec<Segment>,
    /// Segments that were read, and how much of the next one.
    segment: usize,
    within: u64,
    left: u64,
    chunk: Vec<u8>,
    short: bool,
    zeros: bool,
}

impl BigFile {
    fn new(
        file: File,
        stat: Stat,
        mut header: MemberHeader,
        details: Details,
        mut warnings: Vec<Warning>,
    ) -> Self {
        let mut headers = Vec::new();
        while let Err(kind @ FormatError::Limit { what: "PAX records", .. }) =
            header.encode(&Limits::default(), &mut headers)
        {
            headers.clear();
            if !leave_out_largest(&mut header.xattrs) {
                break;
            }
            warnings.push(Warning::XattrsLeftOut(kind));
        }
        let segments = match &header.sparse {
            Some(map) => map.segments().to_vec(),
            None => vec![Segment { offset: 0, len: header.kind.size() }],
        };
        let left = header.data_len();
        Self {
            header,
            warnings,
            error: None,
            same: true,
            file,
            stat,
            details,
            segments,
            segment: 0,
            within: 0,
            left,
            chunk: Vec::new(),
            short: false,
            zeros: false,
        }
    }

    /// Reads the next chunk; `None` after the last one.
    pub(super) fn next_chunk(&mut self) -> Option<&[u8]> {
        if self.left == 0 {
            return None;
        }
        let len = self.left.min(chunk_size(self.header.data_len()));
        self.left -= len;
        self.chunk.clear();
        self.chunk.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        let mut filled = 0;
        while filled < self.chunk.len() {
            let Some(&Segment { offset, len }) = self.segments.get(self.segment) else { break };
            let want = usize::try_from(len - self.within).unwrap_or(usize::MAX);
            let part = filled..filled + want.min(self.chunk.len() - filled);
            filled = part.end;
            let at = offset + self.within;
            self.within += part.len() as u64;
            if self.within == len {
                self.segment += 1;
                self.within = 0;
            }
            self.read_part(part, at);
        }
        self.zeros |= holes::has_zero_block(&self.chunk);
        Some(&self.chunk)
    }

    fn read_part(&mut self, part: std::ops::Range<usize>, offset: u64) {
        let want = part.len();
        match read_full(&self.file, &mut self.chunk[part], offset) {
            Ok(count) => self.short |= count < want,
            // A bad sector costs the rest of a chunk, not the rest of the file.
            Err(source) if self.error.is_none() => {
                let path = PathBuf::from(self.header.path.to_string());
                self.error = Some(Error::Io { op: "read", path, source });
            }
            Err(_) => {}
        }
    }

    /// Returns what the entry records, now that all was read.
    pub(super) fn finish(&self, reproducible: bool) -> Details {
        let mut details = self.details;
        details.dirty = self.short || self.error.is_some() || has_changed(&self.file, &self.stat);
        details.sparse |= reproducible && self.header.sparse.is_none() && self.zeros;
        details
    }
}
