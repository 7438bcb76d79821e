//! Files that say something about what they are in: cache tags, and restored listings of ours.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::pread;

use super::directory::open_quietly;
use crate::format::INFO_NAME;

/// Name of the file that marks a directory as a cache.
pub(super) const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";

/// What that file begins with (<https://bford.info/cachedir/>).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// How much of its end tells a listing of ours: the archive info has at most 2,048 bytes.
const LISTING_TAIL: usize = 4096;

/// Returns whether a directory has a valid cache tag.
pub(super) fn is_cache(directory: impl AsFd) -> bool {
    open_regular(directory, CACHE_TAG).is_some_and(|(file, _)| {
        read_at(&file, 0, CACHE_SIGNATURE.len()).is_some_and(|bytes| bytes == CACHE_SIGNATURE)
    })
}

/// Returns whether a member of this name in the root of the tree may be a listing of ours.
pub(super) fn is_listing_name(member: &[u8]) -> bool {
    member.strip_prefix(INFO_NAME).is_some_and(|rest| match rest.strip_prefix(b".") {
        Some(digits) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        None => rest.is_empty(),
    })
}

/// Returns whether a file is the listing of an archive of ours, as tar restores it.
pub(super) fn is_restored_listing(directory: impl AsFd, name: &[u8]) -> bool {
    open_regular(directory, name).is_some_and(|(file, size)| {
        let start = size.saturating_sub(LISTING_TAIL as u64);
        read_at(&file, start, LISTING_TAIL).is_some_and(|tail| ends_as_listing(&tail))
    })
}

fn ends_as_listing(tail: &[u8]) -> bool {
    let mut lines = tail.rsplit(|&byte| byte == b'\n');
    let ends = lines
        .next()
        .and_then(|last| last.strip_prefix(b"header_size="))
        .is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    let lines: Vec<&[u8]> = lines.collect();
    ends && lines.contains(&b"format=2".as_slice())
        && lines.contains(&b"listing_header=512".as_slice())
}

fn open_regular(directory: impl AsFd, name: &[u8]) -> Option<(OwnedFd, u64)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = open_quietly(directory, name, flags).ok()?;
    let stat = fstat(&file).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    regular.then_some((file, u64::try_from(stat.st_size).unwrap_or_default()))
}

fn read_at(file: &OwnedFd, offset: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    bytes.truncate(filled);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_known_by_its_name_and_its_end() {
        for name in [".backup.info", ".backup.info.1", ".backup.info.12"] {
            assert!(is_listing_name(name.as_bytes()), "{name}");
        }
        for name in [".backup.info.", ".backup.info.x", ".backup.infos", "a/.backup.info", "a"] {
            assert!(!is_listing_name(name.as_bytes()), "{name}");
        }
        let info = "a\tb\n\nlisting_header=512\nlisting_size=9\nformat=2\nheader_size=";
        assert!(ends_as_listing(format!("{info}123").as_bytes()));
        assert!(!ends_as_listing(info.as_bytes()));
        assert!(!ends_as_listing(format!("{info}123\n").as_bytes()));
        assert!(!ends_as_listing(info.replace("format=2", "").as_bytes()));
        assert!(!ends_as_listing(b""));
    }
}
