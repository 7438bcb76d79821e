//! Directories whose metadata wait for their contents.

use crate::error::Result;
use crate::format::entry::Entry;
use crate::limits::Limits;
use crate::path::{MemberPath, SafePath, is_within};

/// Directories of a sorted listing that more members may be in: each one is in the one before.
///
/// Only the longest name is kept whole; the others are beginnings of it.
#[derive(Debug, Default)]
pub(super) struct Nested {
    path: Vec<u8>,
    /// Length of the name, and the entry without it.
    directories: Vec<(usize, Entry)>,
}

impl Nested {
    /// Adds a directory, which must be within the last one.
    pub(super) fn push(&mut self, path: &SafePath, mut entry: Entry) {
        entry.path = MemberPath::default();
        self.path.clear();
        self.path.extend_from_slice(path.as_bytes());
        self.directories.push((self.path.len(), entry));
    }

    /// Takes the last directory that `next` is not in; each one that is left when there is no next.
    pub(super) fn pop(
        &mut self,
        next: Option<&SafePath>,
        limits: &Limits,
    ) -> Result<Option<(SafePath, Entry)>> {
        let Some((len, _)) = self.directories.last() else { return Ok(None) };
        let name = self.path.get(..*len).unwrap_or_default();
        let contains = |next: &SafePath| name.is_empty() || is_within(next.as_bytes(), name);
        if next.is_some_and(contains) {
            return Ok(None);
        }
        let path = MemberPath::new(if name.is_empty() { b"." } else { name });
        let safe = SafePath::new(&path, limits)?;
        let popped = self.directories.pop();
        Ok(popped.map(|(_, entry)| (safe, Entry { path, ..entry })))
    }
}

/// Brings directories into the order in which they are finished: the deepest first, so that no
/// mode of a directory bars the way to those in it.
pub(super) fn deepest_first<T>(directories: &mut [T], path: impl Fn(&T) -> &SafePath) {
    directories.sort_by_cached_key(|item| std::cmp::Reverse(path(item).components().count()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Kind;

    #[test]
    fn a_directory_is_finished_by_the_first_name_outside_it() {
        let safe = |name: &str| SafePath::try_from(&MemberPath::from(name)).unwrap();
        let mut nested = Nested::default();
        let limits = Limits::default();
        let mut order = Vec::new();
        for name in [".", "a", "a/b", "a/b/c", "a-x", "b"] {
            while let Some((path, entry)) = nested.pop(Some(&safe(name)), &limits).unwrap() {
                assert_eq!(path.to_member_path(), entry.path);
                order.push(entry.path.to_string());
            }
            nested.push(&safe(name), Entry::new(name.into(), Kind::Directory));
        }
        while let Some((_, entry)) = nested.pop(None, &limits).unwrap() {
            order.push(entry.path.to_string());
        }
        assert_eq!(order, ["a/b/c", "a/b", "a", "a-x", "b", "."]);
    }
}
