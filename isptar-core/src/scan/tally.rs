//! Whether two runs of members are the same, without keeping either.

use sha2::{Digest as _, Sha256};

use crate::format::entry::Kind;
use crate::path::MemberPath;

/// A digest of members in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    count: u64,
    digest: Sha256,
}

impl Tally {
    /// Adds a member. Where it lies does not count: the tar may have come out of its streams.
    pub(super) fn add(&mut self, path: &MemberPath, kind: &Kind) {
        self.count += 1;
        let path = path.as_bytes();
        for number in [path.len() as u64, kind.size()] {
            self.digest.update(number.to_le_bytes());
        }
        self.digest.update(path);
        self.digest.update([letter(kind)]);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

impl PartialEq for Tally {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count
            && self.digest.clone().finalize() == other.digest.clone().finalize()
    }
}

fn letter(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => b'f',
        Kind::Directory => b'd',
        Kind::Symlink { .. } => b's',
        Kind::HardLink { .. } => b'h',
        Kind::CharDevice { .. } => b'c',
        Kind::BlockDevice { .. } => b'b',
        Kind::Fifo => b'p',
    }
}
