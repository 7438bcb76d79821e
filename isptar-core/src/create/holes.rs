//! Finding the holes of a file.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use crate::format::sparse::{Segment, SparseMap};
use crate::limits::Limits;
use crate::path::MemberPath;
use crate::source::read_full;

/// Bytes of holes from which on a file is stored as a sparse one; fewer zeros cost a kilobyte a
/// megabyte, and every program restores them.
const WORTH_IT: u64 = 64 << 20;

/// Unit of holes that are found by their zeros.
const ZERO_BLOCK: usize = 4096;

/// Segments begin and end at multiples of this, or GNU tar loses data.
const ALIGN: u64 = 512;

/// How the holes of a file are kept.
#[derive(Debug)]
pub(crate) enum Holes {
    /// There are none.
    None,
    /// The file is stored whole, and marked.
    Dense,
    /// The file is stored as a sparse one.
    Map(SparseMap),
}

/// Finds the holes: those of the file system, or, for archives that must not depend on it, the
/// blocks of zeros of files that may be worth it.
pub(super) fn find(
    file: &File,
    stat: &Stat,
    path: &MemberPath,
    reproducible: bool,
) -> io::Result<Holes> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    let segments = match reproducible {
        true if size < WORTH_IT => return Ok(Holes::None),
        true => nonzero_segments(file, size)?,
        false if allocated >= size => return Ok(Holes::None),
        false => data_segments(file, size)?,
    };
    Ok(decide(segments, size, path))
}

/// Decides how a file with these segments of data is stored.
pub(crate) fn decide(segments: Vec<Segment>, size: u64, path: &MemberPath) -> Holes {
    let segments = fill_smallest(align(segments, size), Limits::default().segments);
    let data: u64 = segments.iter().map(|segment| segment.len).sum();
    let holes = size - data;
    if holes == 0 {
        return Holes::None;
    }
    // The name of a sparse file stands in a PAX record, where only UTF-8 is safe.
    if holes < WORTH_IT || std::str::from_utf8(path.as_bytes()).is_err() {
        return Holes::Dense;
    }
    SparseMap::new(size, segments, &Limits::default()).map_or(Holes::Dense, Holes::Map)
}

/// Returns whether there is a whole block of zeros, which becomes a hole when it is restored.
pub(super) fn has_zero_block(data: &[u8]) -> bool {
    let (blocks, _) = data.as_chunks::<ZERO_BLOCK>();
    blocks.iter().any(is_zero)
}

fn is_zero(block: &[u8; ZERO_BLOCK]) -> bool {
    // Nearly every block differs in its first bytes.
    block[..16] == [0; 16] && block.iter().all(|&byte| byte == 0)
}

/// Asks the file system.
fn data_segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // A file system without holes.
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(vec![Segment { offset: 0, len: size }]),
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        if start >= size || end <= start {
            break;
        }
        segments.push(Segment { offset: start, len: end - start });
        at = end;
    }
    Ok(segments)
}

/// Reads the file and takes blocks of zeros for holes.
fn nonzero_segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let count = read_full(file, &mut buffer[..want], at)?;
        if count == 0 {
            break;
        }
        for block in buffer[..count].chunks(ZERO_BLOCK) {
            let len = block.len() as u64;
            let hole = block.first_chunk().is_some_and(is_zero);
            match segments.last_mut().filter(|last| last.offset + last.len == at) {
                _ if hole => {}
                Some(last) => last.len += len,
                None => segments.push(Segment { offset: at, len }),
            }
            at += len;
        }
    }
    Ok(segments)
}

/// Widens segments to whole blocks, and joins those that touch.
fn align(segments: Vec<Segment>, size: u64) -> Vec<Segment> {
    let mut aligned: Vec<Segment> = Vec::with_capacity(segments.len());
    for Segment { offset, len } in segments {
        let start = offset - offset % ALIGN;
        let end = (offset + len).checked_next_multiple_of(ALIGN).map_or(size, |end| end.min(size));
        match aligned.last_mut().filter(|last| last.offset + last.len >= start) {
            Some(last) => last.len = (last.len).max(end - last.offset),
            None => aligned.push(Segment { offset: start, len: end - start }),
        }
    }
    aligned
}

/// Fills the smallest holes until there are at most `limit` segments.
fn fill_smallest(segments: Vec<Segment>, limit: u64) -> Vec<Segment> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if segments.len() <= limit {
        return segments;
    }
    let gap = |pair: &[Segment]| match pair {
        [a, b] => b.offset - (a.offset + a.len),
        _ => 0,
    };
    let mut gaps: Vec<u64> = segments.windows(2).map(gap).collect();
    let fill = segments.len() - limit;
    let (_, &mut widest, _) = gaps.select_nth_unstable(fill - 1);
    // Gaps as wide as the widest that is filled are filled only as long as needed.
    let narrower = segments.windows(2).filter(|pair| gap(pair) < widest).count();
    let mut equal = fill - narrower;
    let mut filled: Vec<Segment> = Vec::with_capacity(limit);
    for segment in segments {
        if let Some(last) = filled.last_mut() {
            let gap = segment.offset - (last.offset + last.len);
            if gap < widest || (gap == widest && equal > 0) {
                equal -= usize::from(gap == widest);
                last.len = segment.offset + segment.len - last.offset;
                continue;
            }
        }
        filled.push(segment);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, u64)]) -> Vec<Segment> {
        list.iter().map(|&(offset, len)| Segment { offset, len }).collect()
    }

    #[test]
    fn segments_are_whole_blocks() {
        let aligned = align(segments(&[(10, 20), (600, 10), (5000, 100)]), 5100);
        assert_eq!(aligned, segments(&[(0, 1024), (4608, 492)]));
    }

    #[test]
    fn the_smallest_holes_are_filled_first() {
        let list = segments(&[(0, 1), (10, 1), (12, 1), (30, 1), (32, 1)]);
        assert_eq!(fill_smallest(list.clone(), 5), list);
        assert_eq!(fill_smallest(list.clone(), 4), segments(&[(0, 1), (10, 3), (30, 1), (32, 1)]));
        assert_eq!(fill_smallest(list.clone(), 3), segments(&[(0, 1), (10, 3), (30, 3)]));
        assert_eq!(fill_smallest(list, 1), segments(&[(0, 33)]));
    }

    #[test]
    fn only_large_holes_under_sound_names_make_a_map() {
        let data = || segments(&[(0, 4096)]);
        let name = MemberPath::from("a");
        assert!(matches!(decide(data(), 4096, &name), Holes::None));
        assert!(matches!(decide(data(), 1 << 20, &name), Holes::Dense));
        assert!(matches!(decide(data(), 1 << 30, &name), Holes::Map(_)));
        let name = MemberPath::new(vec![0xff]);
        assert!(matches!(decide(data(), 1 << 30, &name), Holes::Dense));
    }
}
