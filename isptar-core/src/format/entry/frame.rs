//! What a line says of a thing itself, around what it says of the bytes that an archive has of it.

use std::ops::Range;

use super::line::{parse_hex, parse_location};
use super::{EntryRef, Location};
use crate::format::text::{decimal, fields, parse_digest};

/// The line of an entry without what only the archive knows: the fields before the location, and the
/// times and the inode number behind packed size and digest. With it, a line of a base is known to be
/// that of a thing which has not changed, and need not be taken apart. It has its keys in the order in
/// which lines are written: one in another order fits no frame, and is read.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    text: Vec<u8>,
    /// Where the part behind begins.
    behind: usize,
}

/// What the line of a base says of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) location: Location,
    /// Where in the line packed size and digest are.
    keys: Range<usize>,
    /// Where the fingerprint of extended attributes begins, which may be the end.
    xattr: usize,
}

/// How the field begins with which a line ends that has a fingerprint, and how long the field is.
const XATTR: &[u8] = b"\txattr=";
const XATTR_LEN: usize = 23;

impl Frame {
    /// Takes the frame of an entry, of which location, packed size, digest, fingerprint and marks do
    /// not count.
    pub(crate) fn set(&mut self, entry: &EntryRef<'_>) {
        self.text.clear();
        entry.push_fields(&mut self.text);
        self.behind = self.text.len();
        entry.push_times(&mut self.text);
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.text.split_at_checked(self.behind).unwrap_or_default()
    }

    /// Returns what a line, without its line feed, says of bytes, if there is nothing else in it but
    /// this frame. None for lines with other keys, too: those must be read.
    pub(crate) fn stored_in(&self, line: &[u8]) -> Option<Stored> {
        let (before, behind) = self.parts();
        let xattr = xattr_at(line);
        let middle = line.get(..xattr)?.strip_prefix(before)?.strip_suffix(behind)?;
        let end = before.len().checked_add(middle.len())?;
        let mut middle = fields(middle.strip_prefix(b"\t")?, b'\t');
        let location = middle.next()?;
        // The TAB before the location, and the location.
        let keys = before.len().checked_add(1)?.checked_add(location.len())?..end;
        let location = parse_location(location).ok().filter(|it| it.depth < u32::MAX)?;
        decimal("packed", middle.next()?.strip_prefix(b"packed=")?).ok()?;
        if let Some(digest) = middle.next() {
            parse_digest("sha256", digest.strip_prefix(b"sha256=")?).ok()?;
        }
        middle.next().is_none().then_some(Stored { location, keys, xattr })
    }

    /// Appends the line, with its line feed, that an archive on this base has instead of `line`.
    pub(crate) fn encode(&self, stored: &Stored, line: &[u8], out: &mut Vec<u8>) {
        let (before, behind) = self.parts();
        out.extend_from_slice(before);
        let location = stored.location;
        Location { depth: location.depth.saturating_add(1), ..location }.encode(out);
        out.extend_from_slice(line.get(stored.keys.clone()).unwrap_or_default());
        out.extend_from_slice(behind);
        out.extend_from_slice(line.get(stored.xattr..).unwrap_or_default());
        out.push(b'\n');
    }
}

/// Returns where the fingerprint begins that a line ends with, or the end of the line.
fn xattr_at(line: &[u8]) -> usize {
    let at = line.len().checked_sub(XATTR_LEN);
    let is_there = |at: &usize| {
        let value = line.get(*at..).and_then(|field| field.strip_prefix(XATTR));
        value.is_some_and(|value| parse_hex(value).is_ok())
    };
    at.filter(is_there).unwrap_or(line.len())
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, KindRef};
    use super::*;
    use crate::limits::Limits;

    const LINE: &str = "a\\tb\troot#0\twheel#7\t420\tfile\t17\t5\t2:1:1070:512\tpacked=150\tmtime=17.5\tctime=18.25\tino=7";

    fn frame_of(line: &str) -> Frame {
        let mut frame = Frame::default();
        frame.set(&EntryRef::parse(line.as_bytes(), Dialect::Isptar, &Limits::default()).unwrap());
        frame
    }

    /// Returns the line of the same thing one base further, by its bytes.
    fn above(frame: &Frame, line: &str) -> Option<String> {
        let stored = frame.stored_in(line.as_bytes())?;
        let mut out = Vec::new();
        frame.encode(&stored, line.as_bytes(), &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_taken_by_its_bytes_is_what_reading_gives() {
        let digest = format!("\tsha256={}\t", "A".repeat(43));
        for line in [
            LINE.to_owned(),
            LINE.replace("\tmtime", &format!("{digest}mtime")),
            LINE.replace("\tmtime=17.5", ""),
            LINE.replace("\tctime=18.25", ""),
            format!("{LINE}\txattr=00ff00ff00ff00ff"),
            "d\troot#0\troot#0\t493\tdir\t0:1:1:0\tpacked=3\tmtime=5\tino=0".to_owned(),
            ".\troot#0\troot#0\t493\tdir\t4294967294:1:1:0\tpacked=3\tmtime=-5\tino=0".to_owned(),
        ] {
            let limits = Limits::default();
            let entry = EntryRef::parse(line.as_bytes(), Dialect::Isptar, &limits).unwrap();
            let mut expected = Vec::new();
            entry.above(false).encode(&limits, &mut expected).unwrap();
            let expected = String::from_utf8(expected).unwrap();
            assert_eq!(above(&frame_of(&line), &line), Some(expected), "{line:?}");
        }
    }

    #[test]
    fn other_things_and_other_keys_must_be_read() {
        let frame = frame_of(LINE);
        assert!(above(&frame, LINE).is_some());
        for (from, to) in [
            ("a\\tb", "a\\tc"),
            ("root", "rooT"),
            ("#7", "#8"),
            ("420", "421"),
            ("\t5\t", "\t6\t"),
            ("17.5", "17.6"),
            ("18.25", "18.2"),
            ("ino=7", "ino=8"),
            ("ino=7", "ino=7\tdirty=1"),
            ("ino=7", "ino=7\tlost=unreadable"),
            ("ino=7", "ino=7\tx=y"),
            ("ino=7", "ino=7\txattr=00FF00ff00ff00ff"),
            ("ino=7", "ino=7\txattr=00ff00ff00ff00ff\tdata=1"),
            ("2:1:1070:512\tpacked=150\t", ""),
            ("2:1:1070:512\t", ""),
            ("\tpacked=150", ""),
            (":512", ""),
            (":512", ":0512"),
            ("2:1", "4294967295:1"),
            ("2:1", "4294967296:1"),
            ("=150", "=0150"),
            ("=150", "=150\tsha256=AA"),
            ("=150", "=150\tpacked=150"),
            ("=150", "=150\tchunks=1048576:10,140"),
            ("=150\tm", "=150\tdirty=1\tm"),
        ] {
            let line = LINE.replacen(from, to, 1);
            assert_ne!(line, LINE);
            assert_eq!(above(&frame, &line), None, "{line:?}");
        }
        let directory = EntryRef::new("a".into(), KindRef::Directory);
        let mut frame = Frame::default();
        frame.set(&directory);
        assert_eq!(above(&frame, ""), None);
    }
}
