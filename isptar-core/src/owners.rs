//! Which user and group of this system a member belongs to.

use std::collections::HashMap;

use crate::format::entry::Entry;
use crate::source::{group_id, user_id};

/// Names of users or groups that are remembered with their numbers.
const NAMES_AT_MOST: usize = 1024;

/// Finds the numbers that owners have on this system.
#[derive(Debug)]
pub(crate) struct Owners {
    numeric: bool,
    users: HashMap<Vec<u8>, Option<u32>>,
    groups: HashMap<Vec<u8>, Option<u32>>,
}

impl Owners {
    /// Goes by the recorded numbers alone when `numeric` is set.
    pub(crate) fn new(numeric: bool) -> Self {
        Self { numeric, users: HashMap::new(), groups: HashMap::new() }
    }

    /// Returns the numbers of user and group; `None` for what no system has.
    pub(crate) fn ids(&mut self, entry: &Entry) -> (Option<u32>, Option<u32>) {
        let numeric = self.numeric;
        let uid = resolve(&mut self.users, &entry.user, entry.uid, numeric, |name| {
            user_id(name.as_bytes())
        });
        let gid = resolve(&mut self.groups, &entry.group, entry.gid, numeric, |name| {
            group_id(name.as_bytes())
        });
        (uid, gid)
    }
}

/// Returns the number on this system: by the name where there is one, else as it was recorded.
fn resolve(
    known: &mut HashMap<Vec<u8>, Option<u32>>,
    name: &[u8],
    recorded: u64,
    numeric: bool,
    look_up: impl FnOnce(&str) -> Option<u32>,
) -> Option<u32> {
    // The highest number means "do not change" to the kernel.
    let recorded = u32::try_from(recorded).ok().filter(|&id| id != u32::MAX);
    if numeric || name.is_empty() {
        return recorded;
    }
    if let Some(found) = known.get(name) {
        return found.or(recorded);
    }
    if known.len() >= NAMES_AT_MOST {
        known.clear();
    }
    let found = std::str::from_utf8(name).ok().and_then(look_up);
    known.insert(name.to_vec(), found);
    found.or(recorded)
}
