//! Whether an item is what a base has of it, where that must be read.

use std::io;

use super::file::{self, Opened, has_changed};
use super::item::{Item, Packed, Use};
use crate::base::Why;
use crate::format::chunk_size;
use crate::format::entry::Kind;
use crate::limits::Limits;
use crate::observe::Warning;
use crate::pack::{MemberDigest, leave_out_unstorable};
use crate::source::{ctime, mtime, read_full};

/// How far an opened file is known to be what the base has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// It is.
    Passed,
    /// If its content is.
    Content,
}

impl Test {
    /// Begins to compare a file that was opened; `None` when it is to be stored.
    pub(super) fn begin(item: &mut Item, opened: &Opened) -> Option<Self> {
        let old = item.old.as_deref()?;
        let Use::Same { content, .. } = old.use_of else { return None };
        // All else was compared with what the walk found.
        let (was, is) = (&item.found.stat, &opened.stat);
        let is_same = opened.same
            && was.st_size == is.st_size
            && (mtime(was), ctime(was)) == (mtime(is), ctime(is));
        if !is_same || !passes_xattrs(item) {
            return None;
        }
        Some(if content { Self::Content } else { Self::Passed })
    }
}

/// Returns whether an item without content is what the base has: if its attributes are.
pub(super) fn has_same_xattrs(item: &mut Item) -> bool {
    let use_of = item.old.as_ref().map(|old| old.use_of);
    matches!(use_of, Some(Use::Same { content: false, .. })) && passes_xattrs(item)
}

/// Reads what must be read of an item, and returns whether it is what the base has of it.
pub(super) fn is_unchanged(item: &mut Item, data: &mut Vec<u8>) -> bool {
    if !item.has_content() {
        if !matches!(item.header.kind, Kind::HardLink { .. } | Kind::Directory) {
            item.read_xattrs(None);
        }
        return has_same_xattrs(item);
    }
    if !item.is_read_first() {
        return false;
    }
    // What cannot be opened is told by whoever tries to store it.
    let Ok(opened) = file::open(item) else { return false };
    match Test::begin(item, &opened) {
        Some(Test::Passed) => true,
        Some(Test::Content) => digest(item, &opened, data).unwrap_or(false),
        None => false,
    }
}

/// Compares the attributes of an item, if they are to be.
fn passes_xattrs(item: &mut Item) -> bool {
    let Some(old) = item.old.as_deref() else { return false };
    if !matches!(old.use_of, Use::Same { xattr: true, .. }) {
        return true;
    }
    // As they would be stored.
    if let Some(kind) = leave_out_unstorable(&mut item.header, &Limits::default()) {
        item.warnings.push(Warning::XattrsLeftOut(kind));
    }
    let is_same = item.header.xattrs.fingerprint() == old.entry.xattr;
    if !is_same {
        item.why = Some(Why::Xattr);
    }
    is_same
}

/// Returns whether a file of one chunk, whose data was read, is what the base has.
pub(super) fn small(item: &Item, data: &[u8]) -> bool {
    let mut digest = MemberDigest::new(&item.header);
    digest.update(data);
    let digest = Some(digest.finish()).filter(|_| !item.details.dirty);
    digest.is_some() && item.old.as_ref().is_some_and(|old| old.entry.digest == digest)
}

/// Reads a file of several chunks, to find out whether it is what the base has.
pub(super) fn big(item: &mut Item, opened: &Opened, data: &mut Vec<u8>) -> Packed {
    match digest(item, opened, data) {
        Ok(true) => Packed::Unchanged,
        Ok(false) => Packed::Grown,
        Err(source) => item.failed("read", source),
    }
}

/// Returns whether the content of a file has the digest that the base has of it.
fn digest(item: &Item, opened: &Opened, data: &mut Vec<u8>) -> io::Result<bool> {
    let whole = [(0, item.header.kind.size())];
    let segments = item.header.sparse.as_ref().map(|map| {
        map.segments().iter().map(|segment| (segment.offset, segment.len)).collect::<Vec<_>>()
    });
    let mut digest = MemberDigest::new(&item.header);
    let step = chunk_size(0);
    file::provide(data, usize::try_from(step).unwrap_or(usize::MAX));
    for &(offset, len) in segments.as_deref().unwrap_or(&whole) {
        let mut done = 0;
        while done < len {
            let want = usize::try_from(step.min(len - done)).unwrap_or(usize::MAX);
            let count = read_full(&opened.file, &mut data[..want], offset + done)?;
            if count < want {
                return Ok(false);
            }
            digest.update(&data[..count]);
            done += count as u64;
        }
    }
    let is_same = item.old.as_ref().is_some_and(|old| old.entry.digest == Some(digest.finish()));
    Ok(is_same && !has_changed(&opened.file, &opened.stat))
}
