//! Which names are names of one file, as far as both sides have them.

use std::collections::{HashMap, HashSet};

use crate::format::entry::{Entry, Kind};
use crate::path::{MemberPath, name_hash};

/// Hard links of a listing. Names that are not compared do not count: when the first name of a
/// file is gone, its next one takes its place.
#[derive(Debug, Default)]
pub(super) struct ListedLinks {
    /// For the name that hard links lead to, the first name that is compared.
    leaders: HashMap<MemberPath, MemberPath>,
    /// Hashes of names of files that are not compared.
    gone: HashSet<u64>,
}

impl ListedLinks {
    /// Notes that a name is not compared.
    pub(super) fn forget(&mut self, entry: &Entry) {
        if !matches!(entry.kind, Kind::Directory | Kind::Symlink { .. } | Kind::HardLink { .. }) {
            self.gone.insert(name_hash(entry.path.as_bytes()));
        }
    }

    /// Returns the first name of the file, which may be the entry's own.
    pub(super) fn leader(&mut self, entry: &Entry) -> MemberPath {
        let path = &entry.path;
        let Kind::HardLink { target } = &entry.kind else {
            return self.leaders.get(path).unwrap_or(path).clone();
        };
        if let Some(leader) = self.leaders.get(target) {
            return leader.clone();
        }
        // In the tars of other programs the first name may come later.
        if *target > *path || self.gone.contains(&name_hash(target.as_bytes())) {
            self.leaders.insert(target.clone(), path.clone());
            return path.clone();
        }
        target.clone()
    }
}

/// Files of a tree with several names, by device and inode; forgotten when all names were met.
#[derive(Debug, Default)]
pub(super) struct TreeLinks {
    files: HashMap<(u64, u64), (MemberPath, u64)>,
}

impl TreeLinks {
    /// Returns the first name that was compared of a file with `names` names.
    pub(super) fn leader(&mut self, id: (u64, u64), names: u64, path: &MemberPath) -> MemberPath {
        if names < 2 {
            return path.clone();
        }
        let Some((leader, left)) = self.files.get_mut(&id) else {
            self.files.insert(id, (path.clone(), names - 1));
            return path.clone();
        };
        let leader = leader.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.files.remove(&id);
        }
        leader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry::new(path.into(), Kind::File { size: 1 })
    }

    fn hard(path: &str, target: &str) -> Entry {
        Entry::new(path.into(), Kind::HardLink { target: target.into() })
    }

    #[test]
    fn the_next_name_leads_when_the_first_is_gone() {
        let mut links = ListedLinks::default();
        assert_eq!(links.leader(&file("a")), "a".into());
        assert_eq!(links.leader(&hard("b", "a")), "a".into());
        links.forget(&file("c"));
        assert_eq!(links.leader(&hard("d", "c")), "d".into());
        assert_eq!(links.leader(&hard("e", "c")), "d".into());
        assert_eq!(links.leader(&hard("f", "g")), "f".into());
        assert_eq!(links.leader(&file("g")), "f".into());
    }

    #[test]
    fn files_of_a_tree_are_forgotten_when_all_names_were_met() {
        let mut links = TreeLinks::default();
        let id = (1, 2);
        assert_eq!(links.leader(id, 1, &"z".into()), "z".into());
        assert_eq!(links.leader(id, 2, &"a".into()), "a".into());
        assert_eq!(links.leader(id, 2, &"b".into()), "a".into());
        assert!(links.files.is_empty());
    }
}
