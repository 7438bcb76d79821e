//! Reading regular files of one chunk.

use std::fs::File;
use std::io;

use rustix::fs::{Stat, fstat};

use super::holes;
use super::item::{Item, Packed};
use crate::format::chunk_size;
use crate::format::entry::Kind;
use crate::format::sparse::Segment;
use crate::observe::Warning;
use crate::source::{OpenError, ctime, mtime, read_full};

/// A file as it was when it was opened.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) stat: Stat,
    /// Whether it is what the walk found, or a file that took its name meanwhile.
    pub(crate) same: bool,
}

/// Opens a file, and settles what the headers of its item say. What keeps it from being stored is
/// the error.
pub(crate) fn open(item: &mut Item) -> Result<Opened, Packed> {
    let (file, stat) = match item.found.open() {
        Ok(opened) => opened,
        Err(error) if error.is_vanished() => return Err(Packed::Vanished),
        Err(OpenError::Io(source)) => return Err(item.failed("open", source)),
        Err(error) => return Err(item.failed("read", io::Error::other(error))),
    };
    item.read_xattrs(Some(&file));
    // It may have been read before, for a group that it could not stay in.
    (item.details.dirty, item.details.sparse) = (false, false);
    let header = &mut item.header;
    header.kind = Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0) };
    header.mode = stat.st_mode & 0o7777;
    (header.uid, header.gid) = (u64::from(stat.st_uid), u64::from(stat.st_gid));
    header.mtime = mtime(&stat);
    header.sparse = None;
    if !item.reproducible {
        item.details.ctime = Some(ctime(&stat));
        item.details.ino = Some(stat.st_ino);
    }
    match holes::find(&file, &stat, &header.path, item.reproducible) {
        // Of the original, holes are zeros.
        Ok(_) if item.classic => {}
        Ok(holes::Holes::None) => {}
        Ok(holes::Holes::Dense) => item.details.sparse = true,
        Ok(holes::Holes::Map(map)) => header.sparse = Some(map),
        Err(source) => return Err(item.failed("read", source)),
    }
    let was = &item.found.stat;
    let same = (was.st_dev, was.st_ino) == (stat.st_dev, stat.st_ino);
    Ok(Opened { file, stat, same })
}

/// Reads a file of one chunk into `data`, and says in its item what it turned out to be; returns
/// how many bytes of `data` it is.
pub(crate) fn read(item: &mut Item, opened: &Opened, data: &mut Vec<u8>) -> io::Result<usize> {
    let (len, whole) = match &item.header.sparse {
        Some(map) => read_segments(&opened.file, map.segments(), data)?,
        None => read_whole(&opened.file, item.header.kind.size(), data)?,
    };
    if item.header.sparse.is_none() {
        // What was read is what is stored, whatever the size said.
        item.header.kind = Kind::File { size: len as u64 };
        item.details.sparse |= item.reproducible && holes::has_zero_block(&data[..len]);
    }
    if !whole || has_changed(&opened.file, &opened.stat) {
        item.details.dirty = true;
        item.warnings.push(Warning::Changed);
    }
    Ok(len)
}

/// Makes a buffer at least as long; what is in it stays, whatever it is.
pub(crate) fn provide(data: &mut Vec<u8>, len: usize) {
    if data.len() < len {
        data.resize(len, 0);
    }
}

/// Reads a file to its end; returns how many bytes it has, and whether they are as many as was said.
/// Files of /proc say 0.
fn read_whole(file: &File, size: u64, data: &mut Vec<u8>) -> io::Result<(usize, bool)> {
    let expected = usize::try_from(size).unwrap_or(usize::MAX);
    let limit = if size == 0 { usize::try_from(chunk_size(0)).unwrap_or(0) } else { expected };
    // One byte more than expected: a read that fills it shows that the file has grown, and one
    // that does not is at the end, so that no second read is needed.
    let mut room = if size == 0 { 4096 } else { expected.saturating_add(1) };
    let mut have = 0;
    loop {
        if have == room {
            if have > limit {
                break;
            }
            room = (2 * have).min(limit + 1);
        }
        provide(data, room);
        let count = read_full_once(file, &mut data[have..room], have as u64)?;
        have += count;
        if count == 0 || have == expected && size > 0 {
            break;
        }
    }
    let whole = (size == 0 && have <= limit) || have == expected;
    Ok((have.min(limit), whole))
}

fn read_full_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;
    loop {
        match file.read_at(buf, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Reads the segments of a sparse file; what is missing at its end is zeros.
fn read_segments(
    file: &File,
    segments: &[Segment],
    data: &mut Vec<u8>,
) -> io::Result<(usize, bool)> {
    let len: u64 = segments.iter().map(|segment| segment.len).sum();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    provide(data, len);
    let mut rest = &mut data[..len];
    let mut whole = true;
    for segment in segments {
        let (part, tail) = rest.split_at_mut(usize::try_from(segment.len).unwrap_or(usize::MAX));
        let count = read_full(file, part, segment.offset)?;
        part[count..].fill(0);
        whole &= count == part.len();
        rest = tail;
    }
    Ok((len, whole))
}

/// Returns whether a file is not what it was when it was opened.
pub(crate) fn has_changed(file: &File, before: &Stat) -> bool {
    let Ok(now) = fstat(file) else { return true };
    now.st_size != before.st_size || mtime(&now) != mtime(before) || ctime(&now) != ctime(before)
}
