//! Which members of an input are meant, in archive order, and which of them were not there.

use std::ffi::OsString;
use std::fs::File;

use std::os::unix::ffi::OsStrExt;

use isptar_core::archive::Member;
use isptar_core::scan::Scanned;
use isptar_core::{Content, ContentReader, Damage, Entry, Error, MemberPath, Selection};
use sha2::{Digest as _, Sha256};
use std::io::Read;

use crate::failure::Failure;
use crate::input::{Foreign, Input, Listed, Source};
use crate::output::plain_name;

/// Where the content of a member that was met can be had.
pub(crate) enum Place<'a, 'b> {
    /// By the listing, at any time.
    Listed(&'a Listed),
    /// Here and now.
    Met(&'a mut Scanned<'b, Box<dyn Read + Send>>),
}

/// Takes what is met in an input.
pub(crate) trait Visitor {
    /// Takes a member that is meant.
    fn member(
        &mut self,
        entry: &Entry,
        place: Place<'_, '_>,
        wanted: &Wanted,
    ) -> Result<(), Failure>;

    /// Takes damage of what is meant, or may be.
    fn damaged(&mut self, damage: &Damage, error: &Error);
}

/// What was asked for, and whether it was found.
pub(crate) struct Wanted {
    selection: Selection,
    found: Vec<bool>,
}

impl Wanted {
    /// Makes a selection of what stands on the command line.
    pub(crate) fn new(texts: &[OsString]) -> Result<Self, Failure> {
        let selection = Selection::new(texts.iter().map(|text| text.as_bytes()))?;
        let found = vec![false; selection.len()];
        Ok(Self { selection, found })
    }

    /// Returns the selection.
    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Returns whether a member is meant, and notes what was found with it.
    fn takes(&mut self, path: &MemberPath, is_dir: bool) -> bool {
        let found = &mut self.found;
        self.selection.matches(path, is_dir, |index| {
            if let Some(found) = found.get_mut(index) {
                *found = true;
            }
        })
    }

    /// Returns an error for each thing that was asked for and not found.
    pub(crate) fn missing(&self) -> Vec<Error> {
        let missing = self.found.iter().enumerate().filter(|(_, found)| !**found);
        missing.map(|(index, _)| Error::NotFound(self.selection.text(index).into())).collect()
    }

    /// Returns how many levels a member that is meant lies below what was asked for.
    pub(crate) fn depth(&self, path: &MemberPath) -> usize {
        if self.selection.is_everything() {
            return levels(path);
        }
        let mut base = path.clone();
        let mut above = path.parent();
        // The root is asked for by its name alone; it is above all that have no slash.
        if self.selection.matches(&".".into(), true, |_| {}) {
            return levels(path);
        }
        while let Some(parent) = above {
            if self.selection.matches(&parent, true, |_| {}) {
                base = parent.clone();
            }
            above = parent.parent();
        }
        levels(path).saturating_sub(levels(&base))
    }

    /// Shows `visitor` every member that is meant, in archive order.
    pub(crate) fn visit(
        &mut self,
        input: &mut Input,
        visitor: &mut dyn Visitor,
    ) -> Result<(), Failure> {
        match input {
            Input::Listed(archive) => self.visit_listed(archive, visitor),
            Input::Foreign(tar, _) => self.visit_foreign(tar, visitor),
        }
    }

    fn visit_listed(&mut self, archive: &Listed, visitor: &mut dyn Visitor) -> Result<(), Failure> {
        let paths = self.selection.paths().filter(|_| archive.info().sorted);
        let Some(paths) = paths.map(|paths| outermost(&paths)) else {
            for entry in archive.entries() {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error @ Error::CorruptLine { .. }) => {
                        visitor.damaged(&Damage::default(), &error);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                if self.takes(&plain_name(&entry.path), is_dir(&entry)) {
                    visitor.member(&entry, Place::Listed(archive), self)?;
                }
            }
            return Ok(());
        };
        for path in paths {
            for entry in archive.entries_within(&path) {
                let entry = entry?;
                if self.takes(&entry.path, is_dir(&entry)) {
                    visitor.member(&entry, Place::Listed(archive), self)?;
                }
            }
        }
        Ok(())
    }

    fn visit_foreign(
        &mut self,
        tar: &mut Foreign,
        visitor: &mut dyn Visitor,
    ) -> Result<(), Failure> {
        loop {
            let mut scanned = match tar.next() {
                Ok(Some(scanned)) => scanned,
                Ok(None) => return Ok(()),
                Err(error) if error.is_damage() => {
                    let damage = tar.damage().cloned().unwrap_or_default();
                    if self.concerns(&damage) {
                        visitor.damaged(&damage, &error);
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let entry = scanned.entry();
            if self.takes(&plain_name(&entry.path), is_dir(&entry)) {
                visitor.member(&entry, Place::Met(&mut scanned), self)?;
            }
        }
    }

    /// Returns whether damage may be of something that is meant.
    fn concerns(&self, damage: &Damage) -> bool {
        let Some(path) = &damage.path else { return true };
        let path = plain_name(path);
        [false, true].iter().any(|&is_dir| self.selection.matches(&path, is_dir, |_| {}))
    }
}

/// Returns whether an entry is a directory.
fn is_dir(entry: &Entry) -> bool {
    matches!(entry.kind, isptar_core::Kind::Directory)
}

/// Returns how many levels a name lies below the root.
pub(crate) fn levels(path: &MemberPath) -> usize {
    if path.is_root() { 0 } else { path.as_bytes().split(|&byte| byte == b'/').count() }
}

/// Returns the names in order, without those that lie below others.
fn outermost(paths: &[&MemberPath]) -> Vec<MemberPath> {
    let mut sorted: Vec<MemberPath> = paths.iter().map(|&path| path.clone()).collect();
    sorted.sort();
    let mut kept: Vec<MemberPath> = Vec::new();
    for path in sorted {
        if !kept.last().is_some_and(|last| path.is_within(last)) {
            kept.push(path);
        }
    }
    kept
}

/// Returns the content of a file that the listing has.
pub(crate) fn open<'a>(
    archive: &'a Listed,
    entry: &Entry,
) -> Result<Member<'a, Source<File>>, Error> {
    check_file(entry)?;
    archive.member(entry)
}

/// Checks that an entry is a file whose content was stored.
pub(crate) fn check_file(entry: &Entry) -> Result<(), Error> {
    if !matches!(entry.kind, isptar_core::Kind::File { .. }) {
        let kind = entry.kind.noun();
        return Err(Error::NotAFile { path: entry.path.clone(), kind });
    }
    match &entry.lost {
        Some(reason) => Err(Error::Lost { path: entry.path.clone(), reason: reason.clone() }),
        None => Ok(()),
    }
}

/// Returns the SHA-256 of content, holes being zeros.
pub(crate) fn digest(path: &MemberPath, content: impl Content) -> Result<[u8; 32], Error> {
    let mut hasher = Sha256::new();
    let mut reader = ContentReader::new(content);
    std::io::copy(&mut reader, &mut HashWriter(&mut hasher))
        .map_err(|source| unwrap(path, source))?;
    Ok(hasher.finalize().into())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes an error of the library out of one of reading.
fn unwrap(path: &MemberPath, source: std::io::Error) -> Error {
    match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Content { path: path.clone(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::{Kind, Piece};

    fn wanted(texts: &[&str]) -> Wanted {
        Wanted::new(&texts.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn depth_counts_from_what_was_asked_for() {
        let everything = wanted(&[]);
        assert_eq!(everything.depth(&".".into()), 0);
        assert_eq!(everything.depth(&"a".into()), 1);
        assert_eq!(everything.depth(&"a/b/c".into()), 3);
        let etc = wanted(&["etc/ssh", "etc"]);
        assert_eq!(etc.depth(&"etc".into()), 0);
        assert_eq!(etc.depth(&"etc/ssh/key".into()), 2);
        let root = wanted(&["."]);
        assert_eq!(root.depth(&"a/b".into()), 2);
        let glob = wanted(&["usr/lib*"]);
        assert_eq!(glob.depth(&"usr/lib64/x".into()), 1);
    }

    #[test]
    fn what_was_not_found_is_told() {
        let mut wanted = wanted(&["a", "b*", "c"]);
        assert!(wanted.takes(&"a/x".into(), false));
        assert!(!wanted.takes(&"d".into(), false));
        let missing: Vec<_> = wanted.missing().iter().map(ToString::to_string).collect();
        assert_eq!(missing, ["no member named b*", "no member named c"]);
    }

    #[test]
    fn paths_within_others_are_read_once() {
        let paths: Vec<MemberPath> =
            ["b", "a/x", "a", "a.b", "b"].iter().map(|&path| path.into()).collect();
        let paths: Vec<&MemberPath> = paths.iter().collect();
        let expected: Vec<MemberPath> = vec!["a".into(), "a.b".into(), "b".into()];
        assert_eq!(outermost(&paths), expected);
    }

    #[test]
    fn only_files_that_were_stored_have_content() {
        let mut entry = Entry::new("a".into(), Kind::Directory);
        assert!(matches!(check_file(&entry), Err(Error::NotAFile { kind: "a directory", .. })));
        entry.kind = Kind::File { size: 3 };
        assert!(check_file(&entry).is_ok());
        entry.lost = Some("unreadable".into());
        assert!(matches!(check_file(&entry), Err(Error::Lost { .. })));
    }

    /// Content with a hole of three bytes, then `end`.
    struct Holey(Option<&'static [u8]>);

    impl Content for Holey {
        fn size(&self) -> u64 {
            5
        }

        fn next_piece(&mut self) -> isptar_core::Result<Option<Piece<'_>>> {
            match self.0.take() {
                Some(b"bad") => Err(Error::Cancelled),
                piece => Ok(piece.map(|bytes| Piece { offset: 3, bytes })),
            }
        }
    }

    #[test]
    fn digests_are_of_the_content_with_its_holes() {
        let expected: [u8; 32] = Sha256::digest(b"\0\0\0ab").into();
        assert_eq!(digest(&"a".into(), Holey(Some(b"ab"))).unwrap(), expected);
        assert!(matches!(digest(&"a".into(), Holey(Some(b"bad"))), Err(Error::Cancelled)));
    }
}
