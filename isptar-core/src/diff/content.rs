//! Reading files of the tree to compare their contents.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::format::sparse::SparseMap;
use crate::observe::{Event, Observer};
use crate::source::{ctime, mtime, read_full};

/// Bytes of a file that are read at once.
const PIECE: usize = 256 << 10;

/// Why a file has no digest.
#[derive(Debug)]
pub(super) enum Unread {
    /// The system refused.
    Io(io::Error),
    /// The caller asked to stop.
    Cancelled,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Feeds zeros to a digest.
pub(super) fn hash_zeros(count: u64, hasher: &mut Sha256) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = count;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(ZEROS.get(..len).unwrap_or_default());
        left -= len as u64;
    }
}

/// Reads files into digests.
pub(super) struct FileReader {
    buffer: Vec<u8>,
}

impl FileReader {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; PIECE] }
    }

    /// Returns the SHA-256 of the whole file, and whether it stayed the same meanwhile.
    pub(super) fn digest(
        &mut self,
        file: &File,
        observer: &mut dyn Observer,
    ) -> Result<([u8; 32], bool), Unread> {
        let before = fstat(file).map_err(io::Error::from)?;
        let mut hasher = Sha256::new();
        let mut position = 0;
        loop {
            let count = self.read(file, position, PIECE as u64, observer)?;
            hasher.update(&self.buffer[..count]);
            position += count as u64;
            if count < PIECE {
                break;
            }
        }
        Ok((hasher.finalize().into(), is_unchanged(file, &before)?))
    }

    /// Returns the SHA-256 of the map and its segments, as the listing has it of a file stored as a
    /// sparse one, and whether the file stayed the same. `None` when there is data elsewhere.
    pub(super) fn digest_segments(
        &mut self,
        file: &File,
        map: &SparseMap,
        observer: &mut dyn Observer,
    ) -> Result<(Option<[u8; 32]>, bool), Unread> {
        let before = fstat(file).map_err(io::Error::from)?;
        let mut text = Vec::new();
        map.encode(&mut text);
        let mut hasher = Sha256::new();
        hasher.update(&text);
        let mut after = 0;
        let mut elsewhere = false;
        for segment in map.segments() {
            elsewhere = elsewhere || !self.is_zero(file, after, segment.offset, observer)?;
            let (mut position, end) = (segment.offset, segment.offset + segment.len);
            while position < end {
                let count = self.read(file, position, end - position, observer)?;
                if count == 0 {
                    break;
                }
                hasher.update(&self.buffer[..count]);
                position += count as u64;
            }
            after = end;
        }
        elsewhere = elsewhere || !self.is_zero(file, after, map.real_size(), observer)?;
        let digest = (!elsewhere).then(|| hasher.finalize().into());
        Ok((digest, is_unchanged(file, &before)?))
    }

    /// Returns whether a range of a file is holes and zeros.
    fn is_zero(
        &mut self,
        file: &File,
        start: u64,
        end: u64,
        observer: &mut dyn Observer,
    ) -> Result<bool, Unread> {
        let mut position = start;
        while position < end {
            position = match seek(file, SeekFrom::Data(position)) {
                Ok(data) => data,
                Err(Errno::NXIO) => return Ok(true),
                // A file system without holes.
                Err(Errno::INVAL | Errno::NOTSUP) => position,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            if position >= end {
                break;
            }
            let count = self.read(file, position, end - position, observer)?;
            if self.buffer[..count].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            if count == 0 {
                break;
            }
            position += count as u64;
        }
        Ok(true)
    }

    /// Fills the buffer, at most with `most` bytes; fewer than that are the end of the file.
    fn read(
        &mut self,
        file: &File,
        position: u64,
        most: u64,
        observer: &mut dyn Observer,
    ) -> Result<usize, Unread> {
        if observer.cancelled() {
            return Err(Unread::Cancelled);
        }
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(PIECE);
        let count = read_full(file, &mut self.buffer[..len], position)?;
        observer.event(Event::Progress { bytes: count as u64 });
        Ok(count)
    }
}

fn is_unchanged(file: &File, before: &rustix::fs::Stat) -> io::Result<bool> {
    let now = fstat(file)?;
    Ok(now.st_size == before.st_size
        && mtime(&now) == mtime(before)
        && ctime(&now) == ctime(before))
}
