//! The side of an archive: its entries in order, from the listing or collected.

use std::collections::HashMap;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::content::{Fingerprint, hash_zeros};
use crate::archive::{Archive, Entries};
use crate::content::{Content, Piece};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::{Digest, Entry, Kind};
use crate::format::sparse::SparseMap;
use crate::io::ReadAt;
use crate::limits::Limits;
use crate::observe::{Event, Observer, Warning};
use crate::pack::MemberDigest;
use crate::path::{MemberPath, SafePath};
use crate::scan::TarReader;

/// How often a hard link may lead to another one.
const HOPS: usize = 40;

/// The entries of an archive, in the order of names.
///
/// A sorted listing of ours is read as it is needed. All others are collected first: classic and
/// converted archives have their listings in any order, and other tars have none. Memory grows
/// with the number of their members then. Of several members with one name the last one counts.
pub struct Listing<'a> {
    source: Box<dyn Source + 'a>,
    pub(super) recorded: Recorded,
    pub(super) limits: Limits,
}

/// What entries of an archive tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Whether a time without a fraction is exact.
    pub(super) nanos: bool,
    /// Extended attributes.
    pub(super) xattrs: Attributes,
}

impl Recorded {
    pub(super) const ALL: Self = Self { nanos: true, xattrs: Attributes::Known };
}

/// What entries tell of extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    /// All there are.
    Known,
    /// An entry that has none may have had some.
    WhereGiven,
    /// Nothing that could be compared.
    Unknown,
}

impl Attributes {
    pub(super) fn are_known(self, entry: &Entry) -> bool {
        match self {
            Self::Known => true,
            Self::WhereGiven => entry.xattr.is_some(),
            Self::Unknown => false,
        }
    }
}

/// Where entries and contents come from.
trait Source {
    fn next(&mut self) -> Option<Result<Entry>>;
    fn find(&self, path: &MemberPath) -> Result<Option<Entry>>;
    /// Returns the map of a file that is stored as a sparse one.
    fn sparse_map(&self, entry: &Entry) -> Result<Option<SparseMap>>;
    /// Returns the digest of a file that the entry does not have.
    fn digest(&self, entry: &Entry) -> Result<Option<[u8; 32]>>;
    /// Returns the fingerprint of a file, when its content is at hand.
    fn fingerprint(&self, entry: &Entry, observer: &mut dyn Observer) -> Result<Option<[u8; 32]>>;
}

impl<'a> Listing<'a> {
    /// Takes the listing of an archive.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] or [`Error::Input`] when it is not sorted and cannot be read.
    pub fn of<R: ReadAt>(archive: &'a Archive<R>, observer: &mut dyn Observer) -> Result<Self> {
        if archive.info().sorted {
            let source = Box::new(Sorted { archive, entries: archive.entries() });
            let (recorded, limits) = (Recorded::ALL, *archive.limits());
            return Ok(Self { source, recorded, limits });
        }
        let mut names = Names::default();
        for entry in archive.entries() {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            names.push(entry?, archive.limits(), observer);
        }
        // What convert made of another program's tar has the times and attributes of that.
        let xattrs =
            if archive.is_classic() { Attributes::Unknown } else { Attributes::WhereGiven };
        let recorded = Recorded { nanos: false, xattrs };
        let contents = Contents::Archive(archive);
        let limits = *archive.limits();
        Ok(Self { source: Box::new(names.collected(contents)), recorded, limits })
    }

    /// Reads any tar from front to back, and with `digest` all its contents.
    ///
    /// # Errors
    ///
    /// Damage, and [`Error::Input`].
    pub fn read<R: Read>(
        tar: &mut TarReader<R>,
        digest: bool,
        observer: &mut dyn Observer,
    ) -> Result<Listing<'static>> {
        let mut names = Names::default();
        let mut read = HashMap::new();
        let limits = *tar.limits();
        while let Some(mut member) = tar.next()? {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let mut entry = member.entry();
            let header = member.header().clone();
            let mut fingerprint = None;
            if digest && entry.kind.size() > 0 {
                let mut digest = MemberDigest::new(&header);
                let mut print = Fingerprint::new();
                while let Some(piece) = member.next_piece()? {
                    digest.update(piece.bytes);
                    print.update(piece);
                }
                entry.digest = Some(digest.finish());
                fingerprint = Some(print.finish());
            }
            if let Some(path) = names.push(entry, &limits, observer) {
                match fingerprint {
                    Some(fingerprint) => {
                        read.insert(path, ReadContent { map: header.sparse, fingerprint })
                    }
                    None => read.remove(&path),
                };
            }
        }
        for entry in tar.lost() {
            names.push(entry.clone(), &limits, observer);
        }
        let contents: Contents<'static, Vec<u8>> = Contents::Read(read);
        let recorded = Recorded { nanos: false, xattrs: Attributes::Unknown };
        Ok(Listing { source: Box::new(names.collected(contents)), recorded, limits })
    }

    /// Returns the next entry whose name is fit for a file system; others are told and counted.
    pub(super) fn next(
        &mut self,
        failed: &mut u64,
        observer: &mut dyn Observer,
    ) -> Result<Option<Entry>> {
        loop {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let Some(entry) = self.source.next().transpose()? else { return Ok(None) };
            let reason = match SafePath::new(&entry.path, &self.limits) {
                Ok(_) if entry.path.is_canonical() => return Ok(Some(entry)),
                Ok(_) => Error::UnsafePath {
                    path: entry.path.clone(),
                    reason: crate::path::PathReason::NotCanonical,
                },
                Err(error) => error,
            };
            *failed += 1;
            observer.event(Event::Failed { path: &entry.path, error: &reason });
        }
    }

    /// Returns the entry that has the content and the metadata of `entry`: of a hard link, that of
    /// the first name.
    pub(super) fn resolve(&self, entry: &Entry) -> Result<Entry> {
        let mut found = entry.clone();
        for _ in 0..HOPS {
            let Kind::HardLink { target } = &found.kind else { return Ok(found) };
            match self.source.find(target)? {
                Some(next) if next.kind != Kind::Directory => found = next,
                _ => break,
            }
        }
        let target = match &entry.kind {
            Kind::HardLink { target } => target.to_string(),
            _ => String::new(),
        };
        let kind = FormatError::mismatch("target of a hard link", "a file", target);
        let (path, range) = (entry.path.clone(), entry.claimed_range());
        Err(Error::CorruptMember { path, range, kind })
    }

    /// Returns the map of a file whose digest is that of its stored form.
    pub(super) fn sparse_map(&self, entry: &Entry) -> Result<Option<SparseMap>> {
        self.source.sparse_map(entry)
    }

    /// Returns the digest of a file whose entry has none, by reading the member; `None` when it
    /// cannot be had.
    pub(super) fn digest(&self, entry: &Entry) -> Result<Option<[u8; 32]>> {
        self.source.digest(entry)
    }

    /// Returns the [`Fingerprint`] of a file, by reading the member; `None` when it cannot be had.
    pub(super) fn fingerprint(
        &self,
        entry: &Entry,
        observer: &mut dyn Observer,
    ) -> Result<Option<[u8; 32]>> {
        self.source.fingerprint(entry, observer)
    }
}

struct Sorted<'a, R> {
    archive: &'a Archive<R>,
    entries: Entries<'a, R>,
}

impl<R: ReadAt> Source for Sorted<'_, R> {
    fn next(&mut self) -> Option<Result<Entry>> {
        self.entries.next()
    }

    fn find(&self, path: &MemberPath) -> Result<Option<Entry>> {
        self.archive.find(path)
    }

    fn sparse_map(&self, entry: &Entry) -> Result<Option<SparseMap>> {
        Ok(self.archive.member(entry)?.header().sparse.clone())
    }

    fn digest(&self, entry: &Entry) -> Result<Option<[u8; 32]>> {
        digest_of(self.archive, entry).map(Some)
    }

    fn fingerprint(&self, entry: &Entry, observer: &mut dyn Observer) -> Result<Option<[u8; 32]>> {
        fingerprint_of(self.archive, entry, observer).map(Some)
    }
}

/// Collects entries under the names that they are restored with.
#[derive(Default)]
struct Names {
    entries: Vec<Named>,
}

struct Named {
    path: MemberPath,
    entry: Entry,
}

impl Names {
    fn push(
        &mut self,
        mut entry: Entry,
        limits: &Limits,
        observer: &mut dyn Observer,
    ) -> Option<MemberPath> {
        if let Kind::HardLink { target } = &mut entry.kind
            && let Ok(safe) = SafePath::new(target, limits)
        {
            *target = safe.to_member_path();
        }
        let path = match SafePath::new(&entry.path, limits) {
            Ok(safe) => safe.to_member_path(),
            // Told when its turn comes.
            Err(_) => entry.path.clone(),
        };
        // A second name of itself is nothing.
        if matches!(&entry.kind, Kind::HardLink { target } if *target == path) {
            observer.event(Event::Warning { path: &path, warning: &Warning::Duplicate });
            return None;
        }
        self.entries.push(Named { path: path.clone(), entry });
        Some(path)
    }

    /// Sorts the entries; of one name the last counts.
    fn collected<R>(mut self, contents: Contents<'_, R>) -> Collected<'_, R> {
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut kept: Vec<Named> = Vec::with_capacity(self.entries.len());
        for named in self.entries {
            match kept.last_mut().filter(|last| last.path == named.path) {
                Some(last) => *last = named,
                None => kept.push(named),
            }
        }
        Collected { entries: kept, next: 0, contents }
    }
}

enum Contents<'a, R> {
    Archive(&'a Archive<R>),
    /// All were read, those that have an entry here with their contents.
    Read(HashMap<MemberPath, ReadContent>),
}

struct ReadContent {
    /// The map, of a file that is stored as a sparse one.
    map: Option<SparseMap>,
    fingerprint: [u8; 32],
}

struct Collected<'a, R> {
    entries: Vec<Named>,
    next: usize,
    contents: Contents<'a, R>,
}

impl<R> Collected<'_, R> {
    fn named(&self, path: &MemberPath) -> Option<&Named> {
        let index = self.entries.binary_search_by(|named| named.path.cmp(path)).ok()?;
        self.entries.get(index)
    }

    /// Returns the entry as the archive has it.
    fn original<'b>(&'b self, entry: &'b Entry) -> &'b Entry {
        self.named(&entry.path).map_or(entry, |named| &named.entry)
    }
}

impl<R: ReadAt> Source for Collected<'_, R> {
    fn next(&mut self) -> Option<Result<Entry>> {
        let Named { path, entry } = self.entries.get(self.next)?;
        self.next += 1;
        Some(Ok(Entry { path: path.clone(), ..entry.clone() }))
    }

    fn find(&self, path: &MemberPath) -> Result<Option<Entry>> {
        let named = self.named(path);
        Ok(named.map(|named| Entry { path: named.path.clone(), ..named.entry.clone() }))
    }

    fn sparse_map(&self, entry: &Entry) -> Result<Option<SparseMap>> {
        match &self.contents {
            Contents::Archive(archive) => {
                Ok(archive.member(self.original(entry))?.header().sparse.clone())
            }
            Contents::Read(read) => Ok(read.get(&entry.path).and_then(|read| read.map.clone())),
        }
    }

    fn digest(&self, entry: &Entry) -> Result<Option<[u8; 32]>> {
        match &self.contents {
            Contents::Archive(archive) => digest_of(archive, self.original(entry)).map(Some),
            Contents::Read(_) => Ok(None),
        }
    }

    fn fingerprint(&self, entry: &Entry, observer: &mut dyn Observer) -> Result<Option<[u8; 32]>> {
        match &self.contents {
            Contents::Archive(archive) => {
                fingerprint_of(archive, self.original(entry), observer).map(Some)
            }
            Contents::Read(read) => Ok(read.get(&entry.path).map(|read| read.fingerprint)),
        }
    }
}

/// Reads a member and returns the digest of its content, holes being zeros.
fn digest_of<R: ReadAt>(archive: &Archive<R>, entry: &Entry) -> Result<[u8; 32]> {
    if let Some(Digest::Content(digest)) = entry.digest {
        return Ok(digest);
    }
    let mut hasher = Sha256::new();
    let mut member = archive.member(entry)?;
    let mut position = 0;
    while let Some(Piece { offset, bytes }) = member.next_piece()? {
        hash_zeros(offset.saturating_sub(position), &mut hasher);
        hasher.update(bytes);
        position = offset.saturating_add(bytes.len() as u64);
    }
    hash_zeros(member.size().saturating_sub(position), &mut hasher);
    Ok(hasher.finalize().into())
}

/// Reads a member and returns the fingerprint of its content.
fn fingerprint_of<R: ReadAt>(
    archive: &Archive<R>,
    entry: &Entry,
    observer: &mut dyn Observer,
) -> Result<[u8; 32]> {
    let mut print = Fingerprint::new();
    let mut member = archive.member(entry)?;
    while let Some(piece) = member.next_piece()? {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        observer.event(Event::Progress { bytes: piece.bytes.len() as u64 });
        print.update(piece);
    }
    Ok(print.finish())
}
