//! Which members of an input are meant, in archive order, and which of them were not there.

use std::ffi::OsString;

use std::os::unix::ffi::OsStrExt;

use isptar_core::archive::{Entries, Member};
use isptar_core::scan::Scanned;
use isptar_core::{
    Content, ContentReader, Damage, Entry, EntryRef, Error, KindRef, MemberName, MemberPath,
    Selection, SliceSet,
};
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
        entry: &EntryRef<'_>,
        place: Place<'_, '_>,
        wanted: &Wanted,
    ) -> Result<(), Failure>;

    /// Takes damage of what is meant, or may be.
    fn damaged(&mut self, damage: &Damage, error: &Error);
}

/// Which of the things asked for were found.
#[derive(Debug, Clone)]
pub(crate) struct Found(Vec<bool>);

impl Found {
    /// Notes what was found elsewhere.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(found, other)| *found |= other);
    }
}

/// What was asked for, and whether it was found.
pub(crate) struct Wanted {
    selection: Selection,
    found: Found,
}

impl Wanted {
    /// Makes a selection of what stands on the command line.
    pub(crate) fn new(texts: &[OsString]) -> Result<Self, Failure> {
        let selection = Selection::new(texts.iter().map(|text| text.as_bytes()))?;
        let found = Found(vec![false; selection.len()]);
        Ok(Self { selection, found })
    }

    /// Returns the selection.
    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Makes a note for [`Self::takes`].
    pub(crate) fn nothing_found(&self) -> Found {
        Found(vec![false; self.selection.len()])
    }

    /// Notes what was found elsewhere.
    pub(crate) fn add_found(&mut self, found: &Found) {
        self.found.add(found);
    }

    /// Returns whether a member is meant, and notes what was found with it.
    pub(crate) fn takes(&self, entry: &EntryRef<'_>, found: &mut Found) -> bool {
        if self.selection.is_everything() {
            return true;
        }
        let is_dir = entry.kind == KindRef::Directory;
        self.selection.matches(&plain_name(&entry.path), is_dir, |index| {
            if let Some(found) = found.0.get_mut(index) {
                *found = true;
            }
        })
    }

    /// Returns whether a member that is meant lies at most `depth` levels below what was asked for.
    pub(crate) fn is_above(&self, path: &MemberName<'_>, depth: Option<usize>) -> bool {
        depth.is_none_or(|most| self.depth(&plain_name(path)) <= most)
    }

    /// Returns the names that all that is meant is or lies below, if only those parts of a listing
    /// have to be read.
    pub(crate) fn subtrees(&self, archive: &Listed) -> Option<Vec<MemberPath>> {
        let paths = self.selection.paths().filter(|_| archive.info().sorted)?;
        Some(outermost(&paths))
    }

    /// Returns an error for each thing that was asked for and not found.
    pub(crate) fn missing(&self) -> Vec<Error> {
        let missing = self.found.0.iter().enumerate().filter(|(_, found)| !**found);
        missing.map(|(index, _)| Error::NotFound(self.selection.text(index).into())).collect()
    }

    /// Returns how many levels a member that is meant lies below what was asked for.
    fn depth(&self, path: &MemberName<'_>) -> usize {
        if self.selection.is_everything() {
            return levels(path);
        }
        let mut base = levels(path);
        let mut above = path.parent();
        // The root is asked for by its name alone; it is above all that have no slash.
        if self.selection.matches(&".".into(), true, |_| {}) {
            return levels(path);
        }
        while let Some(parent) = above {
            if self.selection.matches(&parent, true, |_| {}) {
                base = levels(&parent);
            }
            above = parent.parent();
        }
        levels(path).saturating_sub(base)
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
        match self.subtrees(archive) {
            Some(subtrees) => subtrees.iter().try_for_each(|path| {
                self.visit_entries(archive, archive.entries_within(path), visitor)
            }),
            None => self.visit_entries(archive, archive.entries(), visitor),
        }
    }

    fn visit_entries(
        &mut self,
        archive: &Listed,
        mut entries: Entries<'_, Source<SliceSet>>,
        visitor: &mut dyn Visitor,
    ) -> Result<(), Failure> {
        let mut found = self.nothing_found();
        while let Some(entry) = entries.next_ref() {
            match entry {
                Ok(entry) if self.takes(&entry, &mut found) => {
                    visitor.member(&entry, Place::Listed(archive), self)?;
                }
                Ok(_) => {}
                Err(error @ Error::CorruptLine { .. }) => {
                    visitor.damaged(&Damage::default(), &error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.add_found(&found);
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
            let mut found = self.nothing_found();
            if self.takes(&entry.borrowed(), &mut found) {
                self.add_found(&found);
                visitor.member(&entry.borrowed(), Place::Met(&mut scanned), self)?;
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

/// Returns how many levels a name lies below the root.
fn levels(path: &MemberName<'_>) -> usize {
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
) -> Result<Member<'a, Source<SliceSet>>, Error> {
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
pub(crate) fn digest(path: &MemberName<'_>, content: impl Content) -> Result<[u8; 32], Error> {
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
fn unwrap(path: &MemberName<'_>, source: std::io::Error) -> Error {
    match source.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Content { path: path.clone().into_owned(), source },
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
        let mut found = wanted.nothing_found();
        let mut takes = |path: &str| {
            let entry = Entry::new(path.into(), Kind::Fifo);
            wanted.takes(&entry.borrowed(), &mut found)
        };
        assert!(takes("a/x") && !takes("d"));
        wanted.add_found(&found);
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
