//! Whether hard links lead to files that stand before them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::survey::clean;
use crate::error::FormatError;
use crate::format::entry::{Entry, Kind, KindRef};
use crate::limits::Limits;
use crate::path::MemberName;

/// What hard links lead to; a hash for each target.
#[derive(Debug, Default)]
pub(crate) struct Links {
    hashes: RandomState,
    /// Whether such a file was met, by the hash of its name.
    targets: HashMap<u64, bool>,
}

impl Links {
    fn hash(&self, path: &MemberName<'_>, limits: &Limits) -> u64 {
        self.hashes.hash_one(clean(path, limits).as_bytes())
    }

    /// Takes note of an entry that [`Self::check`] will be asked of, once it was told of all.
    pub(crate) fn expect(&mut self, kind: &KindRef<'_>, limits: &Limits) {
        if let KindRef::HardLink { target } = kind {
            let hash = self.hash(target, limits);
            self.targets.insert(hash, false);
        }
    }

    /// Notes an entry that hard links may lead to, and returns what is wrong with one that is a
    /// hard link itself. Entries come in the order of the archive.
    pub(crate) fn check(&mut self, entry: &Entry, limits: &Limits) -> Result<(), FormatError> {
        match &entry.kind {
            Kind::HardLink { target } => {
                let hash = self.hash(target, limits);
                if self.targets.get(&hash) == Some(&true) {
                    return Ok(());
                }
                let what = "target of a hard link";
                Err(FormatError::mismatch(what, "a file earlier in the archive", target))
            }
            Kind::Directory => Ok(()),
            _ if self.targets.is_empty() => Ok(()),
            _ => {
                let hash = self.hash(&entry.path, limits);
                if let Some(met) = self.targets.get_mut(&hash) {
                    *met = true;
                }
                Ok(())
            }
        }
    }
}
