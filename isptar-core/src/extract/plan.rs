//! What a job will do: the selected part of a listing, counted.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::hand::looks_temporary;
use super::made::TEMPORARY;
use super::target::hash;
use super::{ExtractOptions, clean};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryRef, Kind, KindRef, Location};
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::path::{MemberPath, SafePath};
use crate::select::Selection;

/// What the first pass over the listing found.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) members: u64,
    pub(super) bytes: u64,
    pub(super) directories: bool,
    pub(super) symlinks: bool,
    pub(super) hard_links: bool,
    /// Hashes of the names that hard links lead to, as they are restored.
    pub(super) targets: HashSet<u64>,
    /// Hashes of the names, as they are restored, of files that look like temporary ones.
    pub(super) lookalikes: HashSet<u64>,
    /// Which of the things asked for are there.
    pub(super) met: HashSet<usize>,
    /// The depths of the bases that members are in, as far as the tables know them.
    depths: BTreeSet<u32>,
    /// Of an unsorted listing: the last entry of each name, which wins.
    last: Option<HashMap<u64, u64>>,
}

impl Plan {
    /// Counts what the selection means.
    pub(super) fn new<R: ReadAt>(
        archive: &Archive<R>,
        selection: &Selection,
        options: &ExtractOptions,
    ) -> Result<Self> {
        let last = (!archive.info().sorted).then(HashMap::new);
        let mut plan = Self { last, ..Self::default() };
        let (mut files, mut bytes) = (0, 0u64);
        let mut depths = BTreeSet::new();
        let plain = |entry: &EntryRef<'_>| {
            let plain = matches!(entry.kind, KindRef::File { .. })
                && !may_look_temporary(entry.path.as_bytes());
            if plain {
                files += 1;
                depths.extend(known_depth(entry.location, archive));
                bytes = bytes.saturating_add(entry.kind.size());
            }
            !plain
        };
        each(archive, selection, plain, |index, entry| match entry {
            Ok(entry) => {
                plan.depths.extend(known_depth(entry.location, archive));
                plan.add(index, &entry, selection, options, archive.limits());
                Ok(())
            }
            // The job tells it.
            Err(Error::CorruptLine { .. }) => Ok(()),
            Err(error) => Err(error),
        })?;
        plan.depths.append(&mut depths);
        plan.members += files;
        plan.bytes = plan.bytes.saturating_add(bytes);
        Ok(plan)
    }

    fn add(
        &mut self,
        index: u64,
        entry: &Entry,
        selection: &Selection,
        options: &ExtractOptions,
        limits: &Limits,
    ) {
        self.members += 1;
        self.bytes = self.bytes.saturating_add(entry.kind.size());
        let is_dir = entry.kind == Kind::Directory;
        let path = clean(&entry.path, limits);
        selection.matches(&path, is_dir, |hit| {
            self.met.insert(hit);
        });
        match &entry.kind {
            Kind::Directory => self.directories = true,
            Kind::File { .. } if may_look_temporary(entry.path.as_bytes()) => {
                let path = restored_as(&entry.path, options, limits).filter(looks_temporary);
                self.lookalikes.extend(path.as_ref().map(hash));
            }
            Kind::Symlink { .. } => self.symlinks = true,
            Kind::HardLink { target } => {
                self.hard_links = true;
                if let Some(target) = restored_as(target, options, limits) {
                    self.targets.insert(hash(&target));
                }
                if *target == entry.path {
                    return;
                }
            }
            _ => {}
        }
        if let Some(last) = &mut self.last
            && let Some(path) = restored_as(&entry.path, options, limits)
        {
            last.insert(hash(&path), index);
        }
    }

    /// Checks that the bases are there which members are in.
    pub(super) fn check_bases<R: ReadAt>(&self, archive: &Archive<R>) -> Result<()> {
        self.depths.iter().try_for_each(|&depth| archive.at_depth(depth).map(drop))
    }

    /// Returns whether a later entry has the same name.
    pub(super) fn is_superseded(&self, index: u64, path: &SafePath) -> bool {
        let last = self.last.as_ref().and_then(|last| last.get(&hash(path)));
        last.is_some_and(|&last| index < last)
    }
}

/// Returns the depth of a base that a member is in; what the tables do not know is told with the
/// member.
fn known_depth<R: ReadAt>(location: Option<Location>, archive: &Archive<R>) -> Option<u32> {
    let depth = location?.depth;
    if depth == 0 {
        // Of a listing alone, this is what is missing.
        return archive.is_listing().then_some(0);
    }
    usize::try_from(depth).is_ok_and(|depth| depth < archive.depths()).then_some(depth)
}

/// Returns the name that a member gets, if it gets one.
fn restored_as(path: &MemberPath, options: &ExtractOptions, limits: &Limits) -> Option<SafePath> {
    SafePath::new(path, limits).ok()?.strip_components(options.strip_components)
}

/// Returns whether a name may be one for which [`looks_temporary`] holds: that is seldom so.
fn may_look_temporary(path: &[u8]) -> bool {
    path.windows(TEMPORARY.len()).any(|part| part == TEMPORARY)
}

/// Iterates over the entries that are meant, in archive order; reads only the blocks they can be in.
pub(super) fn entries<'a, R: ReadAt>(
    archive: &'a Archive<R>,
    selection: &'a Selection,
) -> Box<dyn Iterator<Item = Result<Entry>> + 'a> {
    if let Some(paths) = selection.paths().filter(|_| archive.info().sorted) {
        let subtrees = outermost(paths);
        return Box::new(subtrees.into_iter().flat_map(|path| archive.entries_within(path)));
    }
    let meant = |entry: &Result<Entry>| match entry {
        Ok(entry) => {
            let is_dir = entry.kind == Kind::Directory;
            selection.matches(&clean(&entry.path, archive.limits()), is_dir, |_| {})
        }
        Err(_) => true,
    };
    Box::new(archive.entries().filter(meant))
}

/// Goes over the entries that are meant, with their positions. Where all of a sorted archive are,
/// those that `wants` does not are passed over without a copy.
pub(super) fn each<R: ReadAt>(
    archive: &Archive<R>,
    selection: &Selection,
    mut wants: impl FnMut(&EntryRef<'_>) -> bool,
    mut take: impl FnMut(u64, Result<Entry>) -> Result<()>,
) -> Result<()> {
    if !selection.is_empty() || !archive.info().sorted {
        let mut meant = (0..).zip(entries(archive, selection));
        return meant.try_for_each(|(index, entry)| take(index, entry));
    }
    let mut all = archive.entries();
    let mut index = 0;
    while let Some(entry) = all.next_ref() {
        match entry {
            Ok(entry) if !wants(&entry) => {}
            entry => take(index, entry.map(EntryRef::into_owned))?,
        }
        index += 1;
    }
    Ok(())
}

/// Sorts paths and drops those that are within another one.
fn outermost(mut paths: Vec<&MemberPath>) -> Vec<&MemberPath> {
    paths.sort();
    let mut kept: Vec<&MemberPath> = Vec::with_capacity(paths.len());
    for path in paths {
        if !kept.last().is_some_and(|last| path.is_within(last)) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_paths_are_dropped() {
        let paths: Vec<MemberPath> = ["b", "a/b", "a-b", "a", "a/b/c", "b"].map(Into::into).into();
        let kept = outermost(paths.iter().collect());
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        assert_eq!(kept, ["a", "a-b", "b"]);
    }

    #[test]
    fn of_one_name_the_last_entry_counts() {
        let mut plan = Plan { last: Some(HashMap::new()), ..Plan::default() };
        let options = ExtractOptions { strip_components: 1, ..ExtractOptions::default() };
        let selection = Selection::new(["x"]).unwrap();
        let kinds = [
            ("x/a", Kind::Symlink { target: b"y".to_vec() }),
            ("./x/a", Kind::File { size: 5 }),
            ("x/a", Kind::HardLink { target: "x/a".into() }),
        ];
        for (index, (name, kind)) in (0..).zip(kinds) {
            let entry = Entry::new(name.into(), kind);
            plan.add(index, &entry, &selection, &options, &Limits::default());
        }
        let path = SafePath::try_from(&MemberPath::from("a")).unwrap();
        assert_eq!([0, 1, 2].map(|index| plan.is_superseded(index, &path)), [true, false, false]);
        assert_eq!((plan.members, plan.bytes, plan.met.len()), (3, 5, 1));
        assert!(plan.symlinks && plan.hard_links && !plan.directories);
        assert!(plan.targets.contains(&hash(&path)));
    }
}
