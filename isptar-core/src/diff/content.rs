//! Reading files of the tree to compare their contents.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::content::Piece;
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

/// Bytes of a file that are taken together.
const BLOCK: usize = 4096;

/// The digest of all blocks of a file that are not zeros, each with its place: the same however the
/// holes of the file are stored, and no slower for large ones. Only for files of one size.
pub(super) struct Fingerprint {
    hasher: Sha256,
    /// The block that is being filled, and its number.
    block: Vec<u8>,
    number: u64,
}

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self { hasher: Sha256::new(), block: vec![0; BLOCK], number: 0 }
    }

    /// Takes the next piece of the content.
    pub(super) fn update(&mut self, Piece { offset, mut bytes }: Piece<'_>) {
        let mut offset = offset;
        while !bytes.is_empty() {
            let number = offset / BLOCK as u64;
            let at = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
            if number != self.number {
                self.end_block();
                self.number = number;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - at));
            self.block[at..at + part.len()].copy_from_slice(part);
            offset = offset.saturating_add(part.len() as u64);
            bytes = rest;
        }
    }

    pub(super) fn finish(mut self) -> [u8; 32] {
        self.end_block();
        self.hasher.finalize().into()
    }

    fn end_block(&mut self) {
        if self.block.iter().any(|&byte| byte != 0) {
            self.hasher.update(self.number.to_le_bytes());
            self.hasher.update(&self.block);
            self.block.fill(0);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn print(pieces: &[(u64, &[u8])]) -> [u8; 32] {
        let mut print = Fingerprint::new();
        pieces.iter().for_each(|&(offset, bytes)| print.update(Piece { offset, bytes }));
        print.finish()
    }

    #[test]
    fn fingerprints_know_contents_and_no_holes() {
        let mut dense = vec![0; 20_000];
        dense[4090..4100].fill(7);
        dense[19_999] = 1;
        let whole = print(&[(0, &dense)]);
        assert_eq!(print(&[(4090, &[7; 10]), (19_999, &[1])]), whole);
        assert_eq!(print(&[(0, &dense[..4095]), (4095, &dense[4095..])]), whole);
        assert_eq!(print(&[(4000, &dense[4000..9000]), (19_000, &dense[19_000..])]), whole);
        for other in [&[(4091, [7; 10].as_slice()), (19_999, &[1])][..], &[(4090, &[7; 10])], &[]] {
            assert_ne!(print(other), whole);
        }
        assert_eq!(print(&[(0, &[0; 9000])]), print(&[]));
        print(&[(u64::MAX - 1, &[1])]);
    }
}
