//! Verifying: what is whole is said to be, and everything else is found.

use std::fs;
use std::io::{Cursor, Read as _};
use std::ops::Range;

use isptar_core::format::entry::Location;
use isptar_core::format::header::{Header, Magic};
use isptar_core::format::info::ArchiveInfo;
use isptar_core::format::member::prologue;
use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::format::trailer::SizeTrailer;
use isptar_core::format::{gzip, padding};
use isptar_core::verify::{Wreck, name_whole_members};
use isptar_core::{
    Archive, Chunks, Digest, Entry, Event, Kind, Limits, MemberHeader, Observer, ReadAt, Result,
    Selection, TarReader, Timestamp, VerifyOptions, VerifyReport, verify, verify_sequential,
};
use sha2::{Digest as _, Sha256};

use super::support::{
    Counting, Item, build, dir, entries, every_kind, file, link, noise, other, testdata,
};

/// What an observer was told.
#[derive(Debug, Default)]
struct Heard {
    whole: Vec<String>,
    failed: Vec<String>,
    damaged: Vec<(Range<u64>, String)>,
    left_out: Vec<String>,
    warned: Vec<String>,
    planned: (u64, u64),
    progress: u64,
}

impl Observer for Heard {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Planned { members, bytes } => self.planned = (members, bytes),
            Event::Progress { bytes } => self.progress += bytes,
            Event::Done { entry } => self.whole.push(entry.path.to_string()),
            Event::Failed { error, .. } => self.failed.push(error.to_string()),
            Event::Damaged { range, error } => self.damaged.push((range, error.to_string())),
            Event::LeftOut { path, .. } => self.left_out.push(path.to_string()),
            Event::Warning { path, .. } => self.warned.push(path.to_string()),
            _ => {}
        }
    }
}

impl Heard {
    /// Everything that was wrong.
    fn wrong(&self) -> Vec<String> {
        let places = self.damaged.iter().map(|(range, text)| format!("{range:?} {text}"));
        self.failed.iter().cloned().chain(places).collect()
    }
}

fn checked_with<R: ReadAt>(
    archive: &Archive<R>,
    paths: &[&str],
    quick: bool,
) -> (VerifyReport, Heard) {
    let mut heard = Heard::default();
    let mut options = VerifyOptions::default();
    options.quick = quick;
    let selection = Selection::new(paths).unwrap();
    let report = verify(archive, &selection, &options, &mut heard).unwrap();
    assert_eq!(report.whole, heard.whole.len() as u64);
    assert_eq!(report.damaged + report.missing, heard.failed.len() as u64);
    assert_eq!(report.strays + report.beyond, heard.damaged.len() as u64);
    assert_eq!(report.is_good(), heard.wrong().is_empty());
    assert_eq!(report.members, report.whole + report.damaged);
    (report, heard)
}

fn checked(bytes: &[u8]) -> (VerifyReport, Heard) {
    checked_with(&Archive::open(bytes).unwrap(), &[], false)
}

/// Returns whether nothing is found wrong with an archive.
fn is_good(bytes: &[u8]) -> bool {
    Archive::open(bytes).is_ok_and(|archive| checked_with(&archive, &[], false).0.is_good())
}

/// A sparse file of a megabyte, with two segments.
fn sparse(path: &str) -> Item {
    let segments = [Segment { offset: 512, len: 512 }, Segment { offset: 1 << 19, len: 1024 }];
    let map = SparseMap::new(1 << 20, segments, &Limits::default()).unwrap();
    let mut item = other(path, Kind::File { size: 1 << 20 });
    item.header.sparse = Some(map);
    item.data = noise(1536, 3);
    item
}

fn some_members() -> Vec<Item> {
    let mut rich = file("rich", b"with attributes");
    rich.header.xattrs.attributes.insert(b"user.a".to_vec(), b"value".to_vec());
    rich.header.uid = 3_000_000;
    vec![
        dir("."),
        dir("d"),
        file("d/empty", b""),
        file("d/file", b"some text, some text, some other text"),
        other("d/hard", Kind::HardLink { target: "d/file".into() }),
        link("link", "d/file"),
        rich,
        sparse("sparse"),
        file("z", &noise(300, 1)),
    ]
}

#[test]
fn what_is_whole_is_said_to_be_and_read_once() {
    let mut many = every_kind();
    many.push(file("x/big", &noise(3_500_000, 2)));
    many.push(sparse("x/sparse"));
    many.push(file("x/text", &b"text ".repeat(500_000)));
    for (items, level) in
        [(many.clone(), 0), (many, 6), (some_members(), 6), (Vec::new(), 0), (Vec::new(), 6)]
    {
        let bytes = build(&items, level);
        let len = bytes.len() as u64;
        let archive = Archive::open(Counting::new(bytes)).unwrap();
        let (report, heard) = checked_with(&archive, &[], false);
        assert!(report.is_good(), "{:?}", heard.wrong());
        let names: Vec<String> = items.iter().map(|item| item.header.path.to_string()).collect();
        assert_eq!(heard.whole, names);
        let content: u64 = items.iter().map(|item| item.header.kind.size()).sum();
        assert_eq!((report.bytes, heard.progress), (content, content));
        assert_eq!(heard.planned, (items.len() as u64, content));
        let info = archive.info();
        assert!(report.read < info.data_size && report.read + 2000 > info.data_size);
        let (_, read) = drop_in(archive);
        assert!(read < len + (200 << 10), "{read} of {len}");
    }
}

/// Returns how often, and how many bytes, were read of an archive.
fn drop_in(archive: Archive<Counting>) -> (u64, u64) {
    archive.into_source().counts()
}

/// Flips bytes of an archive, each in the ways of `flips`, and returns where that was not found.
fn unseen_flips(
    bytes: &[u8],
    step: usize,
    flips: impl Fn(usize) -> Vec<u8> + Sync,
) -> Vec<(usize, u8)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Each thread takes every so manieth place.
    let look = |first: usize| {
        let mut damaged = bytes.to_vec();
        let mut unseen = Vec::new();
        for at in (first * step..bytes.len()).step_by(step * threads) {
            for flip in flips(at) {
                damaged[at] = bytes[at] ^ flip;
                if is_good(&damaged) {
                    unseen.push((at, flip));
                }
            }
            damaged[at] = bytes[at];
        }
        unseen
    };
    let mut unseen: Vec<(usize, u8)> = std::thread::scope(|scope| {
        let look = &look;
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || look(first))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    unseen.sort_unstable();
    unseen
}

/// The contents of all streams, by a decoder that is not ours.
fn decoded(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut tar)?;
    Ok(tar)
}

/// Of a stored archive every flipped bit is found, heads of streams included. Deflated data can be
/// flipped without effect: in the bits that fill its last byte, and where another spelling (zeros
/// from another distance) means the same. A flip that is not seen must be of that kind: every byte
/// that comes out of a decoder which is not ours is what it was.
fn check_flips(items: &[Item], level: u8, step: usize, flips: impl Fn(usize) -> Vec<u8> + Sync) {
    let bytes = build(items, level);
    assert!(is_good(&bytes));
    let unseen = unseen_flips(&bytes, step, flips);
    if level == 0 {
        assert_eq!(unseen, [], "in {} bytes", bytes.len());
    }
    let good = decoded(&bytes).unwrap();
    let heads: Vec<usize> =
        (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&gzip::HEAD)).collect();
    for (at, flip) in unseen {
        let mut damaged = bytes.clone();
        damaged[at] ^= flip;
        assert!(decoded(&damaged).is_ok_and(|tar| tar == good), "{flip:#x} at {at}");
        assert!(!heads.iter().any(|&head| (head..head + 10).contains(&at)), "head at {at}");
    }
}

fn each_bit(_: usize) -> Vec<u8> {
    (0..8).map(|bit| 1 << bit).chain([0xff]).collect()
}

fn hundred_files() -> Vec<Item> {
    let mut items = some_members();
    items.extend((0..100usize).map(|n| {
        let text = format!("the content of file {n}, and some more of it\n").repeat(n % 7);
        file(&format!("many/{n:03}"), text.as_bytes())
    }));
    items.sort_by(|a, b| a.header.path.cmp(&b.header.path));
    items
}

#[test]
fn every_flipped_byte_is_found() {
    let slow = std::env::var_os("ISPTAR_SLOW_TESTS").is_some_and(|set| set == "1");
    let small = some_members();
    check_flips(&small, 0, if slow { 1 } else { 7 }, each_bit);
    check_flips(&small, 6, if slow { 1 } else { 3 }, each_bit);
    check_flips(&hundred_files(), 0, if slow { 1 } else { 211 }, |at| vec![1 << (at % 8), 0xff]);
    check_flips(&hundred_files(), 6, if slow { 1 } else { 53 }, |at| vec![1 << (at % 8), 0xff]);
}

#[test]
fn every_flipped_byte_of_chunks_and_groups_is_found() {
    for bytes in [chunked().0, grouped(&[0, 1, 2]).0] {
        assert!(is_good(&bytes));
        let unseen = unseen_flips(&bytes, 1, |at| vec![1 << (at % 8), 0xff]);
        assert_eq!(unseen, []);
    }
}

#[test]
fn every_cut_is_refused_and_named() {
    let bytes = build(&some_members(), 6);
    for len in 0..bytes.len() {
        let cut = &bytes[..len];
        assert!(Archive::open(cut).is_err(), "{len}");
        let wreck = Wreck::examine(&cut, Limits::default()).unwrap();
        assert_eq!((wreck.behind, wreck.has_trailer), (None, false), "{len}");
        // The two streams of the prologue.
        let prologue = entries(&Archive::open(bytes.as_slice()).unwrap())[0].range().unwrap().0;
        // The end of the second one is not looked at.
        let begins = len as u64 >= prologue;
        assert!(wreck.begins_as_ours || !begins, "{len}");
        assert!(!wreck.begins_as_ours || len as u64 + 16 > prologue, "{len}");
        assert_eq!(wreck.diagnosis().is_some(), wreck.begins_as_ours);
    }
}

#[test]
fn of_a_cut_archive_what_is_whole_is_named() {
    for level in [0, 6] {
        let items = some_members();
        let bytes = build(&items, level);
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let listed = entries(&archive);
        for len in (0..bytes.len()).step_by(if level == 0 { 37 } else { 1 }) {
            let whole: Vec<String> = listed
                .iter()
                .filter(|entry| entry.claimed_range().end <= len as u64)
                .map(|entry| entry.path.to_string())
                .collect();
            let mut heard = Heard::default();
            let cut = &bytes[..len];
            let everything = Selection::default();
            name_whole_members(&cut, &everything, Limits::default(), &mut heard).unwrap();
            assert_eq!(heard.whole, whole, "{len}");
        }
    }
}

#[test]
fn what_is_behind_the_end_is_counted() {
    let bytes = build(&some_members(), 6);
    for (junk, zeros) in [
        (b"\0".to_vec(), true),
        (vec![0; 20_000], true),
        (b"x".to_vec(), false),
        (noise(70_000, 1), false),
        (bytes[bytes.len() - 64..].to_vec(), false),
    ] {
        let longer = [bytes.as_slice(), &junk].concat();
        assert!(Archive::open(longer.as_slice()).is_err());
        let wreck = Wreck::examine(&longer, Limits::default()).unwrap();
        let behind = wreck.behind.unwrap();
        assert_eq!(behind.end, bytes.len() as u64);
        assert_eq!((behind.len, behind.zeros), (junk.len() as u64, zeros));
        assert!(wreck.diagnosis().unwrap().starts_with(&format!("{} byte", junk.len())));
    }
    // An archive that was stored in one that is cut is not the whole one.
    let outer = build(&[file("a", b"text"), file("b", &bytes)], 0);
    let at = outer.windows(bytes.len()).position(|window| window == bytes).unwrap();
    let cut = [&outer[..at + bytes.len()], b"junk"].concat();
    assert_eq!(Wreck::examine(&cut, Limits::default()).unwrap().behind, None);
}

/// Packs a tar as one stored stream.
pub(super) fn stream(tar: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    gzip::push_stored(tar, crc32fast::hash(tar), &mut out);
    out
}

/// The tar of a member.
pub(super) fn tar_of(item: &Item) -> Vec<u8> {
    let mut tar = Vec::new();
    item.header.encode(&Limits::default(), &mut tar).unwrap();
    tar.extend_from_slice(&item.data);
    tar.resize(tar.len() + usize::try_from(padding(item.data.len() as u64)).unwrap(), 0);
    tar
}

/// The entry of a member whose stream is at `range`.
pub(super) fn entry_of(item: &Item, range: &Range<u64>, zoffset: u64) -> Entry {
    let header: &MemberHeader = &item.header;
    let digest = (header.kind.size() > 0).then(|| Sha256::digest(&item.data).into());
    Entry {
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        mtime: Some(header.mtime),
        location: Some(Location { depth: 0, slice: 1, offset: range.start, zoffset }),
        packed: Some(range.end - range.start),
        digest: digest.map(Digest::Content),
        xattr: header.xattrs.fingerprint(),
        ..Entry::new(header.path.clone(), header.kind.clone())
    }
}

/// Bytes of the stored prologue.
pub(super) const PROLOGUE: u64 = 1070;

/// Puts an archive together of streams that follow the prologue, and entries that may lie.
pub(super) fn assembled(
    streams: &[Vec<u8>],
    entries: &[Entry],
    change: impl Fn(&mut ArchiveInfo),
) -> Vec<u8> {
    let (header, body) = prologue();
    let mut out = [stream(&header), stream(&body), streams.concat()].concat();
    let mut listing = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&Limits::default(), &mut listing).unwrap());
    listing.push(b'\n');
    let packed_listing = stream(&listing);
    let located = entries.iter().filter(|entry| entry.location.is_some());
    let mut info = ArchiveInfo {
        listing_size: packed_listing.len() as u64,
        listing_real_size: listing.len() as u64,
        format: Some(2),
        entries: entries.len() as u64,
        data_size: out.len() as u64,
        content_size: Some(located.map(|entry| entry.kind.size()).sum()),
        listing_sha256: Some(Sha256::digest(&listing).into()),
        sorted: entries.windows(2).all(|pair| pair[0].path < pair[1].path),
        ..ArchiveInfo::default()
    };
    change(&mut info);
    let info = info.encode();
    let packed_info = stream(&info);
    let info_size = packed_info.len() as u64;
    let size = (listing.len() + info.len() + info_size.to_string().len()) as u64;
    out.extend(stream(&listing_header(".backup.info", size)));
    out.extend(packed_listing);
    out.extend(packed_info);
    out.extend(SizeTrailer { info_size, padding: padding(size) }.encode().unwrap());
    out
}

fn listing_header(name: &str, size: u64) -> [u8; 512] {
    Header {
        name: name.into(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        size,
        mtime: 0,
        typeflag: b'0',
        linkname: Vec::new(),
        uname: Vec::new(),
        gname: Vec::new(),
        device: (0, 0),
        magic: Magic::Ustar,
    }
    .encode()
}

/// Streams with one member each, and their entries.
fn parts(items: &[Item]) -> (Vec<Vec<u8>>, Vec<Entry>) {
    let mut at = PROLOGUE;
    let mut parts = (Vec::new(), Vec::new());
    for item in items {
        let stream = stream(&tar_of(item));
        let range = at..at + stream.len() as u64;
        at = range.end;
        parts.1.push(entry_of(item, &range, 0));
        parts.0.push(stream);
    }
    parts
}

fn abc() -> Vec<Item> {
    vec![file("a", b"first"), file("b", b"second"), file("c", b"third")]
}

/// A file in chunks of 512 bytes, and one after it.
fn chunked() -> (Vec<u8>, Vec<Entry>) {
    let mut big = file("big", &noise(1300, 7));
    let after = file("c", b"third");
    let mut tar = tar_of(&big);
    tar.truncate(512);
    let padded = [big.data.clone(), vec![0; 236]].concat();
    let mut streams = vec![stream(&tar)];
    streams.extend([0..512, 512..1024, 1024..1536].map(|range| stream(&padded[range])));
    let packed: Vec<u64> = streams.iter().map(|stream| stream.len() as u64).collect();
    let end = PROLOGUE + packed.iter().sum::<u64>();
    big.header.mtime = Timestamp::new(1_700_000_000, 0);
    let mut entry = entry_of(&big, &(PROLOGUE..end), 0);
    entry.chunks = Some(Chunks { size: 512, packed });
    streams.push(stream(&tar_of(&after)));
    let last = entry_of(&after, &(end..end + streams[4].len() as u64), 0);
    let entries = vec![entry, last];
    (assembled(&streams, &entries, |_| {}), entries)
}

/// The members a, b and c in one stream, and d after it; entries only of those in `listed`.
fn grouped(listed: &[usize]) -> (Vec<u8>, Vec<Entry>) {
    let tars: Vec<Vec<u8>> = abc().iter().map(tar_of).collect();
    let group = stream(&tars.concat());
    let after = file("d", b"after the group");
    let end = PROLOGUE + group.len() as u64;
    let mut entries: Vec<Entry> = abc()
        .iter()
        .enumerate()
        .filter(|(index, _)| listed.contains(index))
        .map(|(index, item)| entry_of(item, &(PROLOGUE..end), 1024 * index as u64))
        .collect();
    let streams = [group, stream(&tar_of(&after))];
    entries.push(entry_of(&after, &(end..end + streams[1].len() as u64), 0));
    (assembled(&streams, &entries, |_| {}), entries)
}

#[test]
fn members_without_entries_are_named() {
    let (streams, entries) = parts(&abc());
    let (a, b, c) = (&entries[0], &entries[1], &entries[2]);
    assert!(is_good(&assembled(&streams, &entries, |_| {})));
    for (kept, gone) in [([b, c], a), ([a, c], b), ([a, b], c)] {
        let kept = kept.map(Clone::clone);
        let (report, heard) = checked(&assembled(&streams, &kept, |_| {}));
        let text = format!("a member without entry: {}", gone.path);
        assert_eq!(heard.damaged, [(gone.claimed_range(), text)]);
        assert_eq!((report.strays, report.whole), (1, 2));
    }
    // Two of them, of which one is in chunks.
    let (bytes, entries) = chunked();
    let data = &bytes[1070..usize::try_from(entries[1].claimed_range().end).unwrap()];
    let (_, heard) = checked(&assembled(&[data.to_vec()], &[], |_| {}));
    let expected = [("big", &entries[0]), ("c", &entries[1])];
    let expected = expected
        .map(|(name, entry)| (entry.claimed_range(), format!("a member without entry: {name}")));
    assert_eq!(heard.damaged, expected);
}

#[test]
fn entries_without_members_are_named() {
    let (streams, entries) = parts(&abc());
    // The bytes of b are gone, all else moved up, entries too.
    let mut moved = entries.clone();
    let len = entries[1].packed.unwrap();
    moved[2].location.as_mut().unwrap().offset -= len;
    let without = [streams[0].clone(), streams[2].clone()];
    let (report, heard) = checked(&assembled(&without, &moved, |_| {}));
    assert!(heard.failed[0].contains("corrupt member b at bytes"), "{:?}", heard.wrong());
    assert_eq!((report.whole, report.damaged, report.strays), (2, 1, 1));
    // The bytes are gone, and nothing was told of it.
    let (report, _) = checked(&assembled(&without, &entries, |_| {}));
    assert_eq!((report.whole, report.damaged), (1, 2));
}

#[test]
fn swapped_members_are_found() {
    let (streams, entries) = parts(&abc());
    let swapped = [streams[0].clone(), streams[2].clone(), streams[1].clone()];
    let (_, heard) = checked(&assembled(&swapped, &entries, |_| {}));
    assert_eq!(heard.failed.len(), 2);
    assert!(heard.failed[0].contains("name in the tar header is c, expected b"));
    // With their entries: each is whole, but they are not where they were written.
    let mut moved = entries.clone();
    (moved[1].location, moved[2].location) = (entries[2].location, entries[1].location);
    let (report, heard) = checked(&assembled(&swapped, &moved, |_| {}));
    assert_eq!((report.whole, report.strays), (3, 1), "{:?}", heard.wrong());
    assert_eq!(heard.damaged[0].0, entries[1].claimed_range());
    assert!(heard.damaged[0].1.contains("corrupt member c"), "{:?}", heard.damaged);
    assert!(heard.damaged[0].1.contains("offset of the member is 2117, expected 4211 or more"));
}

#[test]
fn members_of_other_archives_are_found() {
    let (mut streams, entries) = parts(&abc());
    streams[1] = stream(&tar_of(&file("b", b"SECOND")));
    let (_, heard) = checked(&assembled(&streams, &entries, |_| {}));
    assert!(heard.failed[0].contains("SHA-256 of the content"), "{:?}", heard.wrong());
    let mut older = file("b", b"second");
    older.header.mtime = Timestamp::new(5, 0);
    for (theirs, says) in [
        (older, "mtime in the tar header is 5"),
        (other("b", Kind::Fifo), "is a FIFO, expected a file of 6 bytes"),
        (file("b", b"other length"), "a file of 12 bytes"),
    ] {
        streams[1] = stream(&tar_of(&theirs));
        let len = streams[0].len();
        streams[1].resize(len, 0);
        let (report, heard) = checked(&assembled(&streams, &entries, |_| {}));
        assert_eq!(report.damaged, 1);
        assert!(heard.failed[0].contains(says) || heard.failed[0].contains("packed size"));
    }
}

/// Changes a member.
type Change<'a> = &'a dyn Fn(&mut Item);

#[test]
fn what_extract_takes_from_the_entry_must_be_in_the_header_too() {
    let changes: [(Change<'_>, &str); 4] = [
        (&|item| item.header.mode = 0o4755, "mode in the tar header is 4755, expected 0644"),
        (&|item| item.header.uid = 5, "uid in the tar header is 5, expected 0"),
        (&|item| item.header.gid = 6, "gid in the tar header is 6, expected 0"),
        (&|item| item.header.user = b"eve".to_vec(), "user in the tar header is eve, expected "),
    ];
    for (change, says) in changes {
        let (mut streams, entries) = parts(&abc());
        let mut item = abc().remove(1);
        change(&mut item);
        streams[1] = stream(&tar_of(&item));
        let (_, heard) = checked(&assembled(&streams, &entries, |_| {}));
        assert!(heard.failed[0].contains(says), "{:?}", heard.wrong());
    }
    let (streams, mut entries) = parts(&abc());
    entries[0].xattr = Some(7);
    let (_, heard) = checked(&assembled(&streams, &entries, |_| {}));
    assert!(heard.failed[0].contains("is none, expected 0000000000000007"), "{:?}", heard.failed);
}

#[test]
fn a_stream_holds_what_its_entries_say_and_nothing_else() {
    let items = abc();
    let whole = tar_of(&items[0]);
    let evil = tar_of(&file("evil", b"not listed"));
    let name = "a member without entry: evil";
    for (tar, says) in [
        ([whole.clone(), evil.clone()].concat(), name),
        ([whole.clone(), vec![0; 1024], evil.clone()].concat(), name),
        ([whole.clone(), vec![0; 1024]].concat(), "1024 bytes beside the members"),
        ([whole.clone(), b"x".repeat(512)].concat(), "512 bytes beside the members"),
    ] {
        let packed = stream(&tar);
        let range = PROLOGUE..PROLOGUE + packed.len() as u64;
        let entries = [entry_of(&items[0], &range, 0)];
        let (report, heard) = checked(&assembled(&[packed], &entries, |_| {}));
        assert_eq!((report.whole, report.strays), (1, 1));
        assert_eq!(heard.damaged[0].0, range);
        assert!(heard.damaged[0].1.contains(says), "{:?}", heard.damaged);
    }
    // Before it.
    let packed = stream(&[evil.clone(), whole.clone()].concat());
    let range = PROLOGUE..PROLOGUE + packed.len() as u64;
    let (_, heard) =
        checked(&assembled(&[packed], &[entry_of(&items[0], &range, evil.len() as u64)], |_| {}));
    assert_eq!(heard.damaged, [(range, name.into())]);
    // In the padding.
    let mut padded = whole;
    *padded.last_mut().unwrap() = b'x';
    let packed = stream(&padded);
    let range = PROLOGUE..PROLOGUE + packed.len() as u64;
    let (_, heard) = checked(&assembled(&[packed], &[entry_of(&items[0], &range, 0)], |_| {}));
    assert!(heard.failed[0].contains("padding is not valid"), "{:?}", heard.failed);
}

#[test]
fn members_of_a_group_fill_their_stream() {
    let (report, heard) = checked(&grouped(&[0, 1, 2]).0);
    assert_eq!((report.whole, report.strays), (4, 0), "{:?}", heard.wrong());
    for (listed, hidden) in [([0, 1], "c"), ([0, 2], "b"), ([1, 2], "a")] {
        let (bytes, _) = grouped(&listed);
        let (report, heard) = checked(&bytes);
        assert_eq!((report.whole, report.strays), (3, 1), "{:?}", heard.wrong());
        assert_eq!(heard.damaged[0].1, format!("a member without entry: {hidden}"));
    }
    // One twice.
    let (_, mut entries) = grouped(&[0, 1, 2]);
    let tars: Vec<Vec<u8>> = abc().iter().map(tar_of).collect();
    let streams = [stream(&tars.concat()), stream(&tar_of(&file("d", b"after the group")))];
    entries[1].location.as_mut().unwrap().zoffset = 100;
    let (report, heard) = checked(&assembled(&streams, &entries, |_| {}));
    assert_eq!(report.damaged, 1);
    assert!(heard.failed[0].contains("offset in a group is 100, expected whole blocks"));
    // Of those that are not asked for, nothing is said.
    let archive = Archive::open(grouped(&[0, 1, 2]).0).unwrap();
    for wanted in ["a", "b", "c"] {
        let (report, heard) = checked_with(&archive, &[wanted], false);
        assert_eq!((report.whole, report.strays), (1, 0), "{:?}", heard.wrong());
    }
}

#[test]
fn bytes_between_members_are_found() {
    let (streams, entries) = parts(&abc());
    let middle = usize::try_from(entries[0].packed.unwrap()).unwrap();
    for junk in [vec![0; 100], noise(700, 2), stream(b""), stream(b"no tar at all")] {
        let mut moved = entries.clone();
        for entry in &mut moved[1..] {
            entry.location.as_mut().unwrap().offset += junk.len() as u64;
        }
        let data = streams.concat();
        let data = [&data[..middle], &junk, &data[middle..]].concat();
        let (report, heard) = checked(&assembled(&[data], &moved, |_| {}));
        let start = entries[0].claimed_range().end;
        assert_eq!(report.whole, 3);
        assert_eq!(heard.damaged[0].0, start..start + junk.len() as u64);
        let says = format!("{} bytes that no entry speaks of", junk.len());
        assert!(heard.damaged[0].1.contains(&says), "{:?}", heard.damaged);
    }
}

#[test]
fn listings_that_lie_are_found_without_reading_members() {
    let (streams, entries) = parts(&abc());
    let lie = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        let archive = Archive::open(assembled(&streams, &entries, |_| {})).unwrap();
        let quick = checked_with(&archive, &[], true).1.wrong();
        assert!(!quick.is_empty() && !checked_with(&archive, &[], false).0.is_good());
        quick.join("\n")
    };
    let at = |entry: &mut Entry, offset| entry.location.as_mut().unwrap().offset = offset;
    let chunks = Chunks { size: 512, packed: vec![523, 523, 1] };
    let hard = |path: &str, target: &str| {
        let kind = Kind::HardLink { target: target.into() };
        entry_of(&other(path, kind), &(3164..4211), 0)
    };
    for (says, text) in [
        ("ends after", lie(&|entries| at(&mut entries[2], u64::MAX - 5))),
        ("ends after", lie(&|entries| at(&mut entries[2], 1 << 40))),
        ("ends after", lie(&|entries| entries[2].packed = Some(u64::MAX))),
        ("packed is missing", lie(&|entries| entries[1].packed = None)),
        ("packed is missing", lie(&|entries| entries[1].packed = Some(0))),
        ("bytes that no entry speaks of", lie(&|entries| entries[1].packed = Some(1000))),
        ("offset of the member is", lie(&|entries| entries[1].packed = Some(1100))),
        ("offset of the member is", lie(&|entries| at(&mut entries[1], 1070))),
        ("sha256 is missing", lie(&|entries| entries[1].digest = None)),
        ("location is missing", lie(&|entries| entries[1].location = None)),
        (
            "number of chunks is 3, expected 2",
            lie(&|entries| entries[1].chunks = Some(chunks.clone())),
        ),
        (
            "limit is 1048576",
            lie(&|entries| entries[1].location.as_mut().unwrap().zoffset = 1 << 30),
        ),
        (
            "base of the location is missing",
            lie(&|entries| entries[1].location.as_mut().unwrap().depth = 1),
        ),
        (
            "target of a hard link is nothing, expected a file earlier",
            lie(&|entries| entries[2] = hard("c", "nothing")),
        ),
        (
            "target of a hard link is d",
            lie(&|entries| {
                entries[2] = hard("c", "d");
                let mut later = entries[0].clone();
                later.path = "d".into();
                entries.push(later);
            }),
        ),
        ("unsafe member path ../b", lie(&|entries| entries[1].path = "../b".into())),
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let bytes = assembled(&streams, &entries, |info| info.content_size = Some(5));
    let (report, heard) = checked_with(&Archive::open(bytes).unwrap(), &[], true);
    assert_eq!((report.beyond, report.whole), (1, 3));
    assert!(heard.damaged[0].1.contains("size of all contents is 16, expected 5"));
}

#[test]
fn a_link_that_leads_nowhere_is_told_once() {
    let hard = other("b", Kind::HardLink { target: "nothing".into() });
    let (streams, entries) = parts(&[file("a", b"text"), hard, file("c", b"text")]);
    let bytes = assembled(&streams, &entries, |_| {});
    let (report, heard) = checked(&bytes);
    assert_eq!((report.damaged, report.strays, report.beyond, report.whole), (1, 0, 0, 2));
    assert!(heard.failed[0].contains("target of a hard link is nothing"), "{:?}", heard.failed);
}

#[test]
fn the_header_of_the_listing_is_the_one_it_must_be() {
    let bytes = build(&abc(), 0);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let start = usize::try_from(archive.info().data_size).unwrap();
    let size: u64 = {
        let digits = std::str::from_utf8(&bytes[start + 15 + 124..][..11]).unwrap();
        u64::from_str_radix(digits, 8).unwrap()
    };
    assert!(is_good(&bytes));
    for (header, says) in [
        (listing_header(".backup.info.1", size), "name of .backup.info is .backup.info.1"),
        (listing_header(".backup.info", size - 1), "size of .backup.info is"),
        ([0; 512], "tar header of .backup.info is missing"),
    ] {
        let mut bytes = bytes.clone();
        bytes[start..start + 535].copy_from_slice(&stream(&header));
        let (report, heard) = checked(&bytes);
        assert_eq!((report.beyond, report.whole), (1, 3), "{:?}", heard.wrong());
        assert_eq!(heard.damaged[0].0, start as u64..start as u64 + 535);
        assert!(heard.damaged[0].1.contains(says), "{:?}", heard.damaged);
    }
    // With an entry of that name in the root, ours has another one.
    let items = [file(".backup.info", b"mine"), file(".backup.info.1", b"mine, too")];
    assert!(is_good(&build(&items, 6)));
}

#[test]
fn a_prologue_of_others_is_found() {
    let mut bytes = build(&abc(), 0);
    let (header, mut body) = prologue();
    body[0..27].copy_from_slice(b"27 comment=isptar format 3\n");
    bytes[..1070].copy_from_slice(&[stream(&header), stream(&body)].concat());
    let (report, heard) = checked(&bytes);
    assert_eq!((report.beyond, report.whole), (1, 3));
    assert_eq!(heard.damaged[0].0, 535..1070);
}

#[test]
fn what_is_lost_or_in_a_base_is_counted_and_no_damage() {
    let (streams, mut entries) = parts(&abc());
    let mut lost = Entry::new("d".into(), Kind::File { size: 5 });
    lost.mtime = Some(Timestamp::new(5, 0));
    lost.lost = Some("unreadable".into());
    entries.push(lost);
    let (report, heard) = checked(&assembled(&streams, &entries, |_| {}));
    assert!(report.is_good(), "{:?}", heard.wrong());
    assert_eq!((report.members, report.whole, report.lost), (3, 3, 1));
    assert_eq!(heard.left_out, ["d"]);
}

#[test]
fn names_that_stand_twice_are_told() {
    let items = [file("b", b"first"), file("a", b"second"), file("b", b"third")];
    let (streams, entries) = parts(&items);
    let (report, heard) = checked(&assembled(&streams, &entries, |_| {}));
    assert!(report.is_good(), "{:?}", heard.wrong());
    assert_eq!((report.duplicates, heard.warned), (1, vec!["b".to_owned()]));
}

#[test]
fn quick_reads_no_member() {
    let mut items = abc();
    items.push(file("d", &noise(3 << 20, 1)));
    let bytes = build(&items, 6);
    let archive = Archive::open(Counting::new(bytes.clone())).unwrap();
    let (report, heard) = checked_with(&archive, &[], true);
    assert!(report.is_good() && heard.planned == (4, 0));
    assert_eq!((report.members, report.whole, report.read, report.bytes), (4, 4, 0, 0));
    // The end, which was read when the archive was opened, is all.
    assert_eq!(drop_in(archive), (1, 64 << 10));
    let mut damaged = bytes;
    damaged[2000] ^= 1;
    let archive = Archive::open(damaged).unwrap();
    assert!(checked_with(&archive, &[], true).0.is_good());
    assert!(!checked_with(&archive, &[], false).0.is_good());
}

#[test]
fn what_was_asked_for_is_read() {
    let mut bytes = build(&some_members(), 0);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let bad = archive.find(&"d/file".into()).unwrap().unwrap().claimed_range();
    drop(archive);
    bytes[usize::try_from(bad.start).unwrap() + 600] ^= 1;
    let archive = Archive::open(bytes).unwrap();
    for (paths, whole, failed) in [
        (&["d"][..], &["d", "d/empty", "d/hard"][..], &["corrupt member d/file"][..]),
        (&["z", "link"], &["link", "z"], &[]),
        (&["sp*"], &["sparse"], &[]),
        (&["z", "gone"], &["z"], &["no member named gone"]),
    ] {
        let (_, heard) = checked_with(&archive, paths, false);
        assert_eq!(heard.whole, whole);
        assert_eq!(heard.failed.len(), failed.len());
        assert!(heard.failed.iter().zip(failed).all(|(is, says)| is.starts_with(says)));
    }
    let (_, heard) = checked_with(&archive, &[], false);
    assert_eq!(heard.whole.len(), 8);
    assert!(heard.failed[0].contains(&format!("at bytes {}..{}", bad.start, bad.end)));
}

#[test]
fn a_gap_full_of_members_that_claim_all_that_follows_costs_little() {
    let (mut streams, entries) = parts(&abc());
    let mut claims = file("f", b"");
    if let Kind::File { size, .. } = &mut claims.header.kind {
        *size = 8 << 30;
    }
    let mut header = Vec::new();
    claims.header.encode(&Limits::default(), &mut header).unwrap();
    let gap = stream(&header).repeat(2000);
    streams.push(gap.clone());
    let bytes = assembled(&streams, &entries, |_| {});
    let archive = Archive::open(Counting::new(bytes)).unwrap();
    let (report, heard) = checked_with(&archive, &[], false);
    assert_eq!(report.whole, 3);
    assert!(report.strays > 0);
    assert!(heard.damaged[0].1.starts_with("corrupt member f "), "{}", heard.damaged[0].1);
    let end = heard.damaged.iter().map(|(range, _)| range.end).max();
    assert_eq!(end, Some(archive.info().data_size), "some of the gap was not told");
    let (_, read) = drop_in(archive);
    // All that is behind each of them would be a gigabyte.
    assert!(read < 20 * gap.len() as u64 + (128 << 20), "{read} bytes read");
}

#[test]
fn members_without_entries_are_told_while_their_stream_goes_on() {
    let (mut streams, entries) = parts(&abc());
    let tar = tar_of(&file("f", b"")).repeat(10_000);
    streams.push(stream(&tar));
    let (report, heard) = checked(&assembled(&streams, &entries, |_| {}));
    assert_eq!((report.whole, report.strays), (3, 10_000));
    assert!(heard.damaged.iter().all(|(_, text)| text == "a member without entry: f"));
    // Not all were held until the end of the stream was known.
    assert!(heard.damaged[0].0.end < heard.damaged[9999].0.end);
}

#[test]
fn of_a_damaged_listing_the_other_blocks_are_used() {
    let name = |n: usize| format!("{:0>150}/{n:05}", "long");
    let items: Vec<Item> = (0..2500).map(|n| file(&name(n), b"x")).collect();
    let bytes = build(&items, 0);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let blocks = archive.tables().blocks.clone();
    assert!(blocks.len() > 2);
    let second = archive.info().data_size + 535 + blocks[0].packed;
    drop(archive);
    let mut damaged = bytes;
    damaged[usize::try_from(second).unwrap() + 5000] ^= 1;
    let (report, heard) = checked(&damaged);
    assert_eq!(report.beyond, 1);
    assert_eq!(heard.damaged[0].0, second..second + blocks[1].packed);
    // Its members are there, and are checked by their own headers.
    assert_eq!((report.whole, report.by_headers), (2500, blocks[1].entries));
    assert_eq!((report.strays, report.missing, heard.damaged.len()), (0, 0, 1));
    let first = usize::try_from(blocks[0].entries).unwrap();
    let archive = Archive::open(damaged.as_slice()).unwrap();
    let (report, heard) = checked_with(&archive, &[&name(first)], false);
    assert_eq!((heard.whole, report.missing), (vec![name(first)], 0));
    let (report, _) = checked_with(&archive, &["nowhere"], false);
    assert_eq!(report.missing, 1);
    // What was not looked for is not said to be missing.
    let (report, _) = checked_with(&archive, &[&name(first)], true);
    assert_eq!((report.missing, report.beyond), (0, 1));
}

#[test]
fn classic_archives_are_verified() {
    for found in fs::read_dir(testdata("classic")).unwrap() {
        let path = found.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // A tar without a listing, and those that need bases.
        let is_whole = !name.starts_with("inc") && name != "subtar.tgz";
        if is_whole && name.ends_with(".tgz") {
            let archive = Archive::open(fs::read(&path).unwrap()).unwrap();
            let (report, heard) = checked_with(&archive, &[], false);
            assert!(report.is_good(), "{}: {:?}", path.display(), heard.wrong());
            assert!(checked_with(&archive, &[], true).0.is_good());
        }
    }
    let archive = Archive::open(fs::read(testdata("classic/hostile/data-flip.tgz")).unwrap());
    let (report, heard) = checked_with(&archive.unwrap(), &[], false);
    assert_eq!((report.damaged, report.beyond), (1, 0), "{:?}", heard.wrong());
    assert!(heard.failed[0].starts_with("corrupt member small/r.bin"), "{:?}", heard.failed);
    for found in fs::read_dir(testdata("classic/hostile")).unwrap() {
        let path = found.unwrap().path();
        if let Ok(archive) = Archive::open(fs::read(&path).unwrap()) {
            let (report, _) = checked_with(&archive, &[], false);
            let sound = ["extra-fields", "multi-member-data", "symlink-dir", "tail-40"];
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(report.is_good(), sound.contains(&name), "{name}");
        }
    }
}

#[test]
fn every_flipped_byte_of_classic_contents_is_found() {
    let bytes = fs::read(testdata("classic/base.tgz")).unwrap();
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let listed = entries(&archive);
    assert!(listed.len() > 5);
    let good = decoded(&bytes).unwrap();
    let heads = &bytes[..10];
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        damaged[at] ^= 0xff;
        // Time, compressor and system in the heads of streams are read by nobody.
        let in_head = (4..10).any(|n| at >= n && bytes[at - n..].starts_with(&heads[..4]));
        assert!(!is_good(&damaged) || in_head || decoded(&damaged).is_ok_and(|tar| tar == good));
        damaged[at] = bytes[at];
    }
}

fn scanned(bytes: &[u8]) -> (Result<VerifyReport>, Heard, bool) {
    let mut heard = Heard::default();
    let mut tar = TarReader::new(Cursor::new(bytes), Limits::default()).unwrap();
    let report = verify_sequential(&mut tar, &Selection::default(), &mut heard);
    (report, heard, tar.end_missing())
}

#[test]
fn tars_are_read_from_front_to_back() {
    let good = fs::read(testdata("foreign/writer.tar")).unwrap();
    let (report, heard, end_missing) = scanned(&good);
    assert!(report.unwrap().is_good() && !end_missing && heard.whole.len() == 3);
    let (report, _, end_missing) =
        scanned(&fs::read(testdata("foreign/t01_no_eof_blocks.tar")).unwrap());
    assert!(report.unwrap().is_good() && end_missing);
    for name in ["bad-cksum.tar", "t06_trunc_in_data.tar", "t05_trunc_in_header.tar"] {
        let (report, heard, _) = scanned(&fs::read(testdata("foreign").join(name)).unwrap());
        assert!(!report.unwrap().is_good() && !heard.wrong().is_empty(), "{name}");
    }
    assert!(scanned(&noise(5000, 1)).0.is_err());
    let ours = build(&some_members(), 6);
    let (report, heard, _) = scanned(&ours);
    assert!(report.unwrap().is_good() && heard.whole.len() == 9);
    let (report, _, end_missing) = scanned(&ours[..ours.len() - 100]);
    assert!(!report.unwrap().is_good() || end_missing);
}
