//! What an entry claims, as far as it can be judged without its member.

use crate::error::{Error, FormatError, Result};
use crate::format::BLOCK;
use crate::format::entry::{Entry, Kind, Location};
use crate::format::member::MemberHeader;
use crate::format::tables::Base;
use crate::limits::{LimitName, Limits};
use crate::path::{PathReason, SafePath};

/// The archive that an entry is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) bases: &'a [Base],
    /// Where members end in the archive that the entry's is in, if that is known.
    pub(crate) data_end: Option<u64>,
    pub(crate) is_classic: bool,
}

/// Checks what an entry of ours says of itself.
pub(crate) fn check(scope: Scope<'_>, entry: &Entry) -> Result<()> {
    check_name(scope, entry)?;
    check_place(scope, entry).map_err(|kind| corrupt(entry, kind))
}

/// Blames a member.
pub(crate) fn corrupt(entry: &Entry, kind: FormatError) -> Error {
    Error::CorruptMember { path: entry.path.clone(), range: entry.claimed_range(), kind }
}

fn check_name(scope: Scope<'_>, entry: &Entry) -> Result<()> {
    SafePath::new(&entry.path, scope.limits)?;
    if !scope.is_classic && !entry.path.is_canonical() {
        let (path, reason) = (entry.path.clone(), PathReason::NotCanonical);
        return Err(Error::UnsafePath { path, reason });
    }
    Ok(())
}

fn check_place(scope: Scope<'_>, entry: &Entry) -> Result<(), FormatError> {
    let Some(location) = entry.location else {
        let has_none = entry.lost.is_some() || scope.is_classic && entry.kind.size() == 0;
        return if has_none { Ok(()) } else { Err(FormatError::Missing("location")) };
    };
    if scope.is_classic {
        return Ok(());
    }
    if location.depth > 0 {
        let known = scope.bases.iter().any(|base| base.depth == location.depth);
        if !known {
            return Err(FormatError::Missing("base of the location"));
        }
    }
    if entry.data {
        return check_data(entry, location);
    }
    if location.slice != 1 {
        return Err(FormatError::mismatch("slice of a location", 1, location.slice));
    }
    if entry.digest.is_none() && entry.kind.size() > 0 {
        return Err(FormatError::Missing("sha256"));
    }
    check_chunks(scope, entry)?;
    let (limit, actual) = (scope.limits.group, location.zoffset);
    if actual > limit {
        let raise = LimitName::Group.to(actual);
        return Err(FormatError::Limit { what: "offset in a group", limit, actual, raise });
    }
    if !actual.is_multiple_of(BLOCK as u64) {
        return Err(FormatError::mismatch("offset in a group", "whole blocks", actual));
    }
    let len = entry.packed.filter(|&len| len > 0).ok_or(FormatError::Missing("packed"))?;
    let Some(end) = scope.data_end else { return Ok(()) };
    let offset = location.offset;
    match offset.checked_add(len) {
        Some(member_end) if member_end <= end => Ok(()),
        _ => Err(FormatError::OutOfBounds { what: "member", offset, len, end }),
    }
}

/// Checks what is said of a file whose data is in a classic base: reading it tells the rest.
fn check_data(entry: &Entry, location: Location) -> Result<(), FormatError> {
    let is_file = matches!(entry.kind, Kind::File { size } if size > 0);
    if !is_file || location.depth == 0 {
        return Err(FormatError::mismatch("data", "a file with data in a base", entry.kind.noun()));
    }
    match (entry.packed, &entry.chunks) {
        (None, None) => Ok(()),
        _ => Err(FormatError::mismatch("packed size of data in a classic base", "absent", "there")),
    }
}

/// Checks the number of chunks; of a file stored sparse it depends on the map, which is in the
/// member.
fn check_chunks(scope: Scope<'_>, entry: &Entry) -> Result<(), FormatError> {
    let Some(chunks) = &entry.chunks else { return Ok(()) };
    let (limit, actual) = (scope.limits.chunk, chunks.size);
    if actual > limit {
        let raise = LimitName::Chunk.to(actual);
        return Err(FormatError::Limit { what: "chunk", limit, actual, raise });
    }
    if entry.location.is_some_and(|location| location.zoffset > 0) {
        return Err(FormatError::mismatch("offset in a group of a chunked member", 0, "not 0"));
    }
    let is_sparse = matches!(entry.digest, Some(crate::format::entry::Digest::Stored(_)));
    let streams = chunks.packed.len() as u64;
    let expected = entry.kind.size().div_ceil(chunks.size.max(1)).saturating_add(1);
    if !is_sparse && streams != expected || streams > expected {
        return Err(FormatError::mismatch("number of chunks", expected, streams));
    }
    Ok(())
}

/// Checks what a reader takes from the entry alone, though the header says it too: plain tar takes
/// it from there. Name, kind, size and time were compared when the member was opened.
pub(crate) fn check_metadata(header: &MemberHeader, entry: &Entry) -> Result<(), FormatError> {
    for (what, expected, actual) in [
        ("uid in the tar header", entry.uid, header.uid),
        ("gid in the tar header", entry.gid, header.gid),
    ] {
        if expected != actual {
            return Err(FormatError::mismatch(what, expected, actual));
        }
    }
    if entry.mode != header.mode {
        let show = |mode: u32| format!("{mode:04o}");
        let (expected, actual) = (show(entry.mode), show(header.mode));
        return Err(FormatError::mismatch("mode in the tar header", expected, actual));
    }
    for (what, expected, actual) in [
        ("user in the tar header", &entry.user, &header.user),
        ("group in the tar header", &entry.group, &header.group),
    ] {
        // Long names and those that are not ASCII are in the listing only; a member in a base has
        // the name that its owner had then.
        if !actual.is_empty() && expected != actual && entry.depth() == 0 {
            let show = |name: &[u8]| name.escape_ascii().to_string();
            return Err(FormatError::mismatch(what, show(expected), show(actual)));
        }
    }
    let show = |print: Option<u64>| print.map_or_else(|| "none".into(), |p| format!("{p:016x}"));
    let fingerprint = header.xattrs.fingerprint();
    if entry.xattr != fingerprint {
        let what = "fingerprint of the extended attributes in the headers";
        return Err(FormatError::mismatch(what, show(entry.xattr), show(fingerprint)));
    }
    if matches!(header.kind, Kind::File { .. }) && entry.sparse && header.sparse.is_some() {
        return Err(FormatError::mismatch("way the file is stored", "whole", "sparse"));
    }
    Ok(())
}
