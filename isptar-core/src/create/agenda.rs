//! Whose turn it is between the files of the walk: hooks and supplies.

use super::extras::{Extras, Supply};
use crate::error::{Error, Result};
use crate::path::MemberPath;

/// What comes before the walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// This hook is called: what is below its name comes next.
    Before(usize),
    /// This hook is called: all that is below its name is done.
    After(usize),
    /// This supply is stored.
    Supply(usize),
}

/// Knows whose turn it is. Names come in order, so what is below the name of a hook comes in one
/// run.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    hooks: Vec<(MemberPath, State)>,
    /// Hooks that were called before, and not after, innermost last.
    active: Vec<usize>,
    /// How many supplies had their turn.
    supplied: usize,
    /// What came last, when nothing can be below it.
    file: Option<MemberPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Called,
}

impl Agenda {
    pub(super) fn new(extras: &Extras<'_>) -> Self {
        let hooks = extras.hooks.iter().map(|hook| (hook.prefix.clone(), State::Waiting));
        Self { hooks: hooks.collect(), ..Self::default() }
    }

    /// Returns whose turn it is before `next`, which is what the walk has next; `None` when it is
    /// the walk's.
    pub(super) fn turn(
        &mut self,
        extras: &Extras<'_>,
        next: Option<&MemberPath>,
    ) -> Result<Option<Turn>> {
        let supply = extras.supplies.get(self.supplied);
        let first = supply.map(Supply::first_name);
        if let (Some(supply), Some(next)) = (supply, next)
            && supply.covers(next)
        {
            return Err(in_the_way(&supply.name, next));
        }
        let supply = first.filter(|first| next.is_none_or(|next| first < next));
        let target = supply.as_ref().or(next);
        if let (Some(file), Some(target)) = (&self.file, target)
            && target.is_within(file)
        {
            let (name, other) = if supply.is_some() { (target, file) } else { (file, target) };
            return Err(in_the_way(name, other));
        }
        if let Some(hook) = self.border(target) {
            return Ok(Some(hook));
        }
        Ok(supply.map(|first| {
            self.supplied += 1;
            self.file = Some(first);
            Turn::Supply(self.supplied - 1)
        }))
    }

    /// Returns the next hook that is to be called before `target`.
    fn border(&mut self, target: Option<&MemberPath>) -> Option<Turn> {
        let is_within = |prefix: &MemberPath| target.is_some_and(|target| target.is_within(prefix));
        let innermost = self.active.last().copied();
        if let Some(index) = innermost.filter(|&index| !is_within(&self.hooks[index].0)) {
            self.active.pop();
            return Some(Turn::After(index));
        }
        let waits =
            |(prefix, state): &(MemberPath, State)| *state == State::Waiting && is_within(prefix);
        // The outermost first.
        let waiting = self.hooks.iter().enumerate().filter(|(_, hook)| waits(hook));
        let (index, _) = waiting.min_by_key(|(_, (prefix, _))| depth(prefix))?;
        self.hooks[index].1 = State::Called;
        self.active.push(index);
        Some(Turn::Before(index))
    }

    /// Says what the walk found, where there are supplies whose names may be below.
    pub(super) fn found(&mut self, path: &MemberPath, is_directory: bool) {
        self.file = (!is_directory).then(|| path.clone());
    }

    /// Says that a hook which was called before has failed: it is not called after.
    pub(super) fn failed(&mut self, index: usize) {
        self.active.retain(|&active| active != index);
    }

    /// Takes the hooks that must be called after the job has failed, innermost first.
    pub(super) fn take_active(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.active).into_iter().rev().collect()
    }

    /// Returns the names of hooks that were not called, because nothing is below them.
    pub(super) fn unused(&self) -> impl Iterator<Item = &MemberPath> {
        self.hooks.iter().filter(|(_, state)| *state == State::Waiting).map(|(prefix, _)| prefix)
    }
}

fn depth(path: &MemberPath) -> usize {
    if path.is_root() { 0 } else { path.as_bytes().len() }
}

fn in_the_way(name: &MemberPath, other: &MemberPath) -> Error {
    let path = std::path::PathBuf::from(name.to_string());
    Error::BadSource { path, reason: format!("the tree has {other}, which is in its way") }
}

#[cfg(test)]
mod tests {
    use super::super::extras::{Hook, Stage};
    use super::*;
    use crate::format::entry::Kind;
    use crate::format::member::MemberHeader;
    use std::io;
    use std::num::NonZero;
    use std::path::Path;

    struct Nothing;

    impl Hook for Nothing {
        fn call(&mut self, _: Stage) -> io::Result<()> {
            Ok(())
        }
    }

    fn extras(hooks: &[&str], supplies: &[(&str, u64)]) -> Extras<'static> {
        let mut extras = Extras::default();
        for prefix in hooks {
            extras.add_hook(Path::new(prefix), Nothing).unwrap();
        }
        for &(path, part_size) in supplies {
            let header = MemberHeader::new(path, Kind::Fifo);
            let part_size = NonZero::new(part_size);
            extras.add_supply(Path::new(path), header, io::empty(), part_size).unwrap();
        }
        extras
    }

    /// Returns the turns around a walk; names that end with a slash are of directories.
    fn turns(extras: &Extras<'_>, walk: &[&str]) -> Result<Vec<String>> {
        let (mut agenda, mut turns) = (Agenda::new(extras), Vec::new());
        let mut names = walk.iter();
        loop {
            let name = names.next();
            let path = name.map(|name| MemberPath::from(name.trim_end_matches('/')));
            while let Some(turn) = agenda.turn(extras, path.as_ref())? {
                turns.push(match turn {
                    Turn::Before(index) => format!("+{}", extras.hooks[index].prefix),
                    Turn::After(index) => format!("-{}", extras.hooks[index].prefix),
                    Turn::Supply(index) => format!("={}", extras.supplies[index].name),
                });
            }
            let (Some(name), Some(path)) = (name, path) else { break };
            agenda.found(&path, name.ends_with('/'));
            turns.push((*name).to_owned());
        }
        turns.extend(agenda.unused().map(|prefix| format!("!{prefix}")));
        Ok(turns)
    }

    #[test]
    fn hooks_stand_around_what_is_below_their_names() {
        let extras = extras(&["a/b", "/a", "c/", "x", "."], &[]);
        let walk = ["./", "a/", "a/a", "a/b/", "a/b/c", "a/d", "a.b", "c"];
        let expected = [
            "+.", "./", "+a", "a/", "a/a", "+a/b", "a/b/", "a/b/c", "-a/b", "a/d", "-a", "a.b",
            "+c", "c", "-c", "-.", "!x",
        ];
        assert_eq!(turns(&extras, &walk).unwrap(), expected);
    }

    #[test]
    fn supplies_come_in_the_order_of_names_and_hooks_stand_around_them() {
        let extras = extras(&["a", "z"], &[("a/dump", 0), ("z/b", 5), ("0", 0)]);
        let walk = ["a/", "a/c", "a/e", "b", "z.c"];
        let expected =
            ["=0", "+a", "a/", "a/c", "=a/dump", "a/e", "-a", "b", "+z", "=z/b", "-z", "z.c"];
        assert_eq!(turns(&extras, &walk).unwrap(), expected);
        let alone = ["=0", "+a", "=a/dump", "-a", "+z", "=z/b", "-z"];
        assert_eq!(turns(&extras, &[]).unwrap(), alone);
    }

    #[test]
    fn what_is_in_the_way_of_a_supply_is_an_error() {
        for (supply, walk) in [
            (("a", 0), ["a"]),
            (("a", 0), ["a/"]),
            (("a", 0), ["a/x"]),
            (("a/b/c", 0), ["a"]),
            (("a", 1), ["a.000"]),
            (("a", 1), ["a.0001"]),
            (("a", 1), ["a.999/x"]),
        ] {
            let error = turns(&extras(&[], &[supply]), &walk).unwrap_err();
            assert!(matches!(error, Error::BadSource { .. }), "{supply:?} {walk:?}: {error}");
        }
        assert!(turns(&extras(&[], &[("a", 1)]), &["a", "a.9990"]).is_ok());
    }
}
