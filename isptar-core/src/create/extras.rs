//! What takes part in a create job beside the files of the tree.

use std::fmt;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::Path;

use super::Carry;
use crate::base::BaseListing;
use crate::error::{Error, Result};
use crate::format::member::MemberHeader;
use crate::limits::Limits;
use crate::path::{MemberPath, SafePath};
use crate::source::member_path;

/// The highest number of a part of a supply.
pub(super) const LAST_PART: u32 = 999;

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the first file is opened.
    Before,
    /// After all files were read, and when the job fails between.
    After,
}

/// Is called before and after the files at and below a name are read: to stop and start what
/// changes them, say.
pub trait Hook {
    /// Does what is to be done. An error ends the job.
    ///
    /// # Errors
    ///
    /// Why it could not be done.
    fn call(&mut self, stage: Stage) -> io::Result<()>;
}

/// What takes part in a create job beside the files of the tree: members that come from elsewhere,
/// what is done before and after files are read, and the base of an incremental archive.
#[derive(Default)]
pub struct Extras<'e> {
    pub(super) hooks: Vec<Guarded<'e>>,
    /// In the order of their names.
    pub(super) supplies: Vec<Supply<'e>>,
    pub(super) base: Option<BaseListing<'e>>,
    /// Brings along what did not change.
    pub(super) carry: Option<Box<dyn Carry + Send + 'e>>,
}

/// A hook, and what it is for.
pub(super) struct Guarded<'e> {
    pub(super) prefix: MemberPath,
    pub(super) hook: Box<dyn Hook + 'e>,
}

/// Content of unknown length that becomes a member, or several.
pub(super) struct Supply<'e> {
    /// The name of the member, or the one that its parts begin with.
    pub(super) name: MemberPath,
    pub(super) header: MemberHeader,
    pub(super) content: Box<dyn Read + 'e>,
    pub(super) part_size: Option<NonZero<u64>>,
}

impl Guarded<'_> {
    pub(super) fn call(&mut self, stage: Stage) -> Result<()> {
        let when = match stage {
            Stage::Before => "before",
            Stage::After => "after",
        };
        self.hook.call(stage).map_err(|source| {
            let purpose = format!("{when} the files under {}", self.prefix);
            Error::Hook { purpose, source }
        })
    }
}

impl<'e> Extras<'e> {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty() && self.supplies.is_empty() && self.base.is_none()
    }

    /// Has only what changed since `base` stored. Of the rest the archive has entries that refer to
    /// the base, and no bytes. What of the base cannot be looked at or read now is kept with the
    /// bytes that the base knows, and stored by the next archive. [`super::CreateOptions::compare`]
    /// says how things are compared.
    pub fn set_base(&mut self, base: BaseListing<'e>) {
        self.base = Some(base);
    }

    /// Has the bytes of what did not change since the base brought along.
    pub(crate) fn set_carry(&mut self, carry: Box<dyn Carry + Send + 'e>) {
        self.carry = Some(carry);
    }

    /// Has `hook` called before and after what is at and below `prefix` is read, which is a name in
    /// the archive or a path that becomes one. Of several for one name, the first is called first
    /// before, and last after.
    ///
    /// # Errors
    ///
    /// [`Error::BadSource`] for a path that cannot be a name.
    pub fn add_hook(&mut self, prefix: &Path, hook: impl Hook + 'e) -> Result<()> {
        let prefix = member_path(prefix)?;
        self.hooks.push(Guarded { prefix, hook: Box::new(hook) });
        Ok(())
    }

    /// Makes a member of `content` with the name that `path` becomes and the metadata of `header`,
    /// whose name and kind do not matter. It is read when its turn comes, to its end, which must mean
    /// that it is whole. With `part_size` it becomes members `NAME.000`, `NAME.001`... of so many
    /// bytes, so that no more than these must be kept at a time.
    ///
    /// # Errors
    ///
    /// [`Error::BadSource`] for a path that cannot be the name of a file, and for one that another
    /// supply has already.
    pub fn add_supply(
        &mut self,
        path: &Path,
        header: MemberHeader,
        content: impl Read + 'e,
        part_size: Option<NonZero<u64>>,
    ) -> Result<()> {
        let bad = |reason: String| Error::BadSource { path: path.into(), reason };
        let name = member_path(path)?;
        if name.is_root() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(bad("it is the name of a directory".into()));
        }
        let supply = Supply { name, header, content: Box::new(content), part_size };
        SafePath::new(&supply.last_name(), &Limits::default())?;
        if let Some(other) = self.supplies.iter().find(|other| supply.meets(other)) {
            return Err(bad(format!("{} is to be stored as well", other.name)));
        }
        let place = self.supplies.partition_point(|other| other.first_name() < supply.first_name());
        self.supplies.insert(place, supply);
        Ok(())
    }
}

impl Supply<'_> {
    /// Returns the name of a part; that of the member when there are none.
    pub(super) fn name_of(&self, part: u32) -> MemberPath {
        if self.part_size.is_none() {
            return self.name.clone();
        }
        let number = format!(".{part:03}");
        MemberPath::new([self.name.as_bytes(), number.as_bytes()].concat())
    }

    pub(super) fn first_name(&self) -> MemberPath {
        self.name_of(0)
    }

    pub(super) fn last_name(&self) -> MemberPath {
        self.name_of(LAST_PART)
    }

    /// Returns whether a name stands where its members do, or below one.
    pub(super) fn covers(&self, path: &MemberPath) -> bool {
        (self.first_name()..=self.last_name()).contains(path)
            || path.is_within(&self.first_name())
            || path.is_within(&self.last_name())
    }

    fn meets(&self, other: &Supply<'_>) -> bool {
        self.covers(&other.first_name())
            || other.covers(&self.first_name())
            || self.covers(&other.last_name())
    }
}

impl fmt::Debug for Extras<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes: Vec<_> = self.hooks.iter().map(|hook| &hook.prefix).collect();
        let names: Vec<_> = self.supplies.iter().map(|supply| &supply.name).collect();
        f.debug_struct("Extras").field("hooks", &prefixes).field("supplies", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Kind;

    fn add(extras: &mut Extras<'_>, path: &str, part_size: u64) -> Result<()> {
        let header = MemberHeader::new(path, Kind::Fifo);
        extras.add_supply(Path::new(path), header, io::empty(), NonZero::new(part_size))
    }

    #[test]
    fn supplies_have_names_of_their_own_and_are_in_order() {
        let mut extras = Extras::default();
        for (path, part_size) in [("/b/dump", 0), ("b", 7), ("a.x", 0), ("a/x", 0)] {
            add(&mut extras, path, part_size).unwrap();
        }
        let names: Vec<_> =
            extras.supplies.iter().map(|one| one.first_name().to_string()).collect();
        assert_eq!(names, ["a/x", "a.x", "b/dump", "b.000"]);
        for path in
            ["b/dump", "./b//dump", "b/dump/x", "a", "b.0005", "b.999/x", "a.x/y", "/", "c/"]
        {
            let error = add(&mut extras, path, 0).unwrap_err();
            assert!(matches!(error, Error::BadSource { .. }), "{path}: {error}");
        }
        assert!(add(&mut extras, "../x", 0).is_err());
        add(&mut extras, "b.x", 0).unwrap();
        assert!(add(&mut extras, "a", 1).is_ok());
    }
}
