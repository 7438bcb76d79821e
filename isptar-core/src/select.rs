//! Which members of an archive are meant: paths, which bring their subtrees, and globs.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::path::{MemberName, MemberPath, SafePath};

/// Patterns in the style of gitignore: one without a slash matches a name at any depth, one with a
/// slash in front or within is anchored at the root of the tree, one that ends with a slash
/// matches directories alone, `*` stops at slashes and `**` does not; `!` takes back what an
/// earlier pattern matched. The last pattern that matches decides.
#[derive(Debug, Clone)]
pub struct Patterns {
    matcher: Gitignore,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { matcher: Gitignore::empty() }
    }
}

impl Patterns {
    /// Compiles patterns; empty ones and comments (`#`) are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::BadPattern`].
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        let mut texts = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let bad = |error: ignore::Error| Error::BadPattern {
                pattern: pattern.into(),
                reason: error.to_string(),
            };
            builder.add_line(None, &anchored(pattern)).map_err(bad)?;
            texts.push(pattern.to_owned());
        }
        let bad = |error: ignore::Error| Error::BadPattern {
            pattern: texts.join(", "),
            reason: error.to_string(),
        };
        let matcher = builder.build().map_err(bad)?;
        Ok(Self { matcher })
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    /// Returns whether the name itself matches; the directories that it is in are not looked at.
    pub fn matches(&self, path: &MemberName<'_>, is_dir: bool) -> bool {
        !self.is_empty() && self.matcher.matched(as_path(path), is_dir).is_ignore()
    }

    /// Returns whether the name or a directory that it is in matches.
    pub fn matches_within(&self, path: &MemberName<'_>, is_dir: bool) -> bool {
        !self.is_empty()
            && !path.is_root()
            && path.is_canonical()
            && self.matcher.matched_path_or_any_parents(as_path(path), is_dir).is_ignore()
    }
}

/// Returns a pattern that begins with `./`, which no name does, as the anchored one that it means.
fn anchored(pattern: &str) -> Cow<'_, str> {
    match (pattern.strip_prefix("./"), pattern.strip_prefix("!./")) {
        (Some(rest), _) => format!("/{rest}").into(),
        (None, Some(rest)) => format!("!/{rest}").into(),
        (None, None) => pattern.into(),
    }
}

fn as_path<'a>(path: &'a MemberName<'_>) -> &'a Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

/// What a person asked for: names, which bring their subtrees, and globs.
///
/// A text with one of `*?[` is a glob in the sense of [`Patterns`], and still means the member
/// that has exactly this name. Leading `/` and `./`, and slashes at the end, are dropped. A
/// selection of nothing means everything.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
struct Item {
    text: Vec<u8>,
    path: MemberPath,
    glob: Option<Patterns>,
}

impl Selection {
    /// Compiles what a person asked for.
    ///
    /// # Errors
    ///
    /// [`Error::BadPattern`].
    pub fn new<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Result<Self> {
        let items = texts.into_iter().map(|text| Item::new(text.as_ref()));
        Ok(Self { items: items.collect::<Result<_>>()? })
    }

    /// Returns whether everything is meant.
    pub fn is_everything(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the names, when there are no globs: nothing else has to be looked at.
    pub fn paths(&self) -> Option<Vec<&MemberPath>> {
        let path = |item: &'_ Item| item.glob.is_none();
        (!self.is_everything() && self.items.iter().all(path))
            .then(|| self.items.iter().map(|item| &item.path).collect())
    }

    /// Returns the number of things asked for.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether nothing in particular was asked for, which means everything.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the text of the thing asked for at `index`.
    pub fn text(&self, index: usize) -> &[u8] {
        self.items.get(index).map(|item| item.text.as_slice()).unwrap_or_default()
    }

    /// Returns whether a member is meant, and calls `hit` with the index of each thing asked for
    /// that means it.
    pub fn matches(&self, path: &MemberName<'_>, is_dir: bool, mut hit: impl FnMut(usize)) -> bool {
        let mut any = self.is_everything();
        // Names in other programs' archives may begin with `./` or `/`.
        let cleaned = (!path.is_canonical()).then(|| SafePath::try_from(path).ok()).flatten();
        let cleaned = cleaned.map(|path| path.to_member_path());
        let path = cleaned.as_ref().unwrap_or(path);
        for (index, item) in self.items.iter().enumerate() {
            if item.matches(path, is_dir) {
                hit(index);
                any = true;
            }
        }
        any
    }
}

impl Item {
    fn new(text: &[u8]) -> Result<Self> {
        let mut parts: Vec<&[u8]> = text.split(|&byte| byte == b'/').collect();
        parts.retain(|part| !matches!(*part, b"" | b"."));
        let path = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
        let glob = if text.iter().any(|byte| b"*?[".contains(byte)) {
            let pattern = std::str::from_utf8(text).map_err(|error| Error::BadPattern {
                pattern: String::from_utf8_lossy(text).into_owned(),
                reason: error.to_string(),
            })?;
            Some(Patterns::new([pattern])?)
        } else {
            None
        };
        Ok(Self { text: text.to_vec(), path: MemberPath::new(path), glob })
    }

    fn matches(&self, path: &MemberName<'_>, is_dir: bool) -> bool {
        path.is_within(&self.path)
            || self.glob.as_ref().is_some_and(|glob| glob.matches_within(path, is_dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selection: &[&str], path: &str) -> bool {
        Selection::new(selection).unwrap().matches(&path.into(), false, |_| {})
    }

    #[test]
    fn a_directory_brings_its_subtree_and_nothing_beside_it() {
        assert!(matches(&[], "anything"));
        assert!(matches(&["/etc/"], "etc/passwd"));
        assert!(matches(&["./etc"], "etc"));
        assert!(!matches(&["etc"], "etcetera"));
        assert!(matches(&["."], "a/b"));
        assert!(matches(&["a"], "./a/b") && matches(&["a/b"], "/a/b"));
    }

    #[test]
    fn globs_are_those_of_gitignore() {
        assert!(matches(&["*.conf"], "etc/a.conf"));
        assert!(matches(&["etc/*.conf"], "etc/a.conf"));
        assert!(!matches(&["etc/*.conf"], "etc/b/a.conf"));
        assert!(matches(&["etc/**/*.conf"], "etc/b/c/a.conf"));
        assert!(matches(&["etc/b*"], "etc/bin/file"));
        assert!(matches(&["a[1].txt"], "a[1].txt"));
        assert!(matches(&["a[1].txt"], "a1.txt"));
    }

    #[test]
    fn patterns_exclude_by_name_and_by_place() {
        let patterns = Patterns::new(["*.log", "/cache", "tmp/", "!keep.log"]).unwrap();
        let excluded = |path: &str, is_dir| patterns.matches(&path.into(), is_dir);
        assert!(excluded("a/b.log", false));
        assert!(!excluded("a/keep.log", false));
        let here = Patterns::new(["./a/b", "*.c", "!./a/x.c"]).unwrap();
        assert!(here.matches(&"a/b".into(), false) && !here.matches(&"c/a/b".into(), false));
        assert!(here.matches(&"x.c".into(), false) && !here.matches(&"a/x.c".into(), false));
        assert!(excluded("cache", true) && !excluded("a/cache", true));
        assert!(excluded("a/tmp", true) && !excluded("a/tmp", false));
        assert!(Patterns::new(["[z-a]"]).is_err());
    }
}
