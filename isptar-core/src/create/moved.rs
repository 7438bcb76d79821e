//! Hard links whose first name does not have the content.

use std::collections::HashMap;

use super::item::Item;
use crate::format::entry::Kind;
use crate::path::MemberPath;

/// What an item left in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// What the walk found under its name.
    Whole,
    /// Another file, which replaced the one that the walk found.
    Other,
    /// No content.
    Without,
}

/// First names of files with several names whose content is not in the archive under them: they
/// could not be stored, or were replaced meanwhile. With the name that has it instead, once there
/// is one.
#[derive(Debug, Default)]
pub(crate) struct Moved(HashMap<MemberPath, Option<MemberPath>>);

impl Moved {
    /// Returns whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the content of a set is not under its first name.
    pub(crate) fn has(&self, first: &MemberPath) -> bool {
        self.0.contains_key(first)
    }

    /// Returns what `item`, a hard link to `first`, is instead, when the content is not there:
    /// a link to the name that has it, or the thing itself. With `first` when the content may now
    /// be under this name.
    pub(crate) fn instead_of(
        &self,
        first: &MemberPath,
        item: &Item,
    ) -> Option<(Kind, Option<MemberPath>)> {
        Some(match self.0.get(first)? {
            Some(target) => (Kind::HardLink { target: target.clone() }, None),
            None => (item.own_kind(), Some(first.clone())),
        })
    }

    /// Notes what became of an item; `moved_from` is the first name that it stands for.
    pub(crate) fn settle(&mut self, item: Item, stored: Stored, moved_from: Option<MemberPath>) {
        let several = item.has_several_names();
        match (stored, moved_from) {
            (Stored::Whole, Some(first)) => {
                self.0.insert(first, Some(item.found.path));
            }
            (Stored::Without | Stored::Other, None) if several => {
                self.0.insert(item.found.path, None);
            }
            _ => {}
        }
    }
}
