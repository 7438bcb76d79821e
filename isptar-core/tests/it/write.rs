//! What the writer writes, the readers read.

use std::io::Read;

use isptar_core::format::entry::Dialect;
use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::{
    Archive, Content, ContentReader, Details, Digest, Entry, Error, Kind, Limits, MemberHeader,
};

use super::support::{
    Item, build, build_with, dir, entries, every_kind, file, level, noise, plain_tar, read, scan,
    writer,
};

#[test]
fn every_kind_of_member_comes_back() {
    for level in [0, 6, 12] {
        let items = every_kind();
        let archive = Archive::open(build(&items, level)).unwrap();
        let listed = entries(&archive);
        assert_eq!(listed.len(), items.len());
        for (item, entry) in items.iter().zip(&listed) {
            let header = &item.header;
            assert_eq!(entry.path, header.path);
            assert_eq!(entry.kind, header.kind);
            assert_eq!((entry.mode, entry.uid, entry.gid), (header.mode, header.uid, header.gid));
            assert_eq!((&entry.user, &entry.group), (&header.user, &header.group));
            assert_eq!(entry.mtime, Some(header.mtime));
            assert_eq!((entry.ctime, entry.ino), (item.details.ctime, item.details.ino));
            assert_eq!(entry.xattr, header.xattrs.fingerprint());
            let member = archive.member(entry).unwrap();
            assert_eq!(member.header().xattrs, header.xattrs);
            assert_eq!(member.header().mtime.seconds(), header.mtime.seconds());
            if entry.kind.size() > 0 {
                assert_eq!(read(&archive, entry).unwrap(), item.data);
            }
        }
        let hard = archive.find(&"dir/hard".into()).unwrap().unwrap();
        assert_eq!(read(&archive, &hard).unwrap(), b"content of the file\n");
    }
}

#[test]
fn plain_tar_the_listing_and_the_sequential_reader_see_the_same_members() {
    let mut items = every_kind();
    items.extend([file("x/big", &noise(2 << 20, 7)), file("x/zeros", &vec![0; 3 << 20])]);
    for level in [0, 1] {
        let bytes = build(&items, level);
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let listed = entries(&archive);
        let mut plain = plain_tar(&bytes);
        let listing = plain.pop().unwrap();
        assert_eq!(listing.name, b".backup.info");
        assert!(listing.data.starts_with(&archive.listing_text().unwrap()));
        let (scanned, ended) = scan(bytes.as_slice());
        assert!(!ended.unwrap());
        assert_eq!((plain.len(), scanned.len()), (listed.len(), listed.len()));
        for ((entry, plain), (header, data)) in listed.iter().zip(&plain).zip(&scanned) {
            let slash: &[u8] = if entry.kind == Kind::Directory { b"/" } else { b"" };
            assert_eq!([entry.path.as_bytes(), slash].concat(), plain.name);
            assert_eq!((&header.path, &header.kind), (&entry.path, &entry.kind));
            assert_eq!(data, &plain.data);
            match &entry.kind {
                Kind::HardLink { target } => assert_eq!(target.as_bytes(), plain.target),
                Kind::Symlink { target } => assert_eq!(target, &plain.target),
                Kind::File { .. } => assert_eq!(&read(&archive, entry).unwrap(), data),
                _ => {}
            }
        }
    }
}

#[test]
fn lengths_add_up_and_the_trailer_is_last() {
    for count in [0, 1, 10, 1000, 100_000] {
        let mut bytes = Vec::new();
        let mut writer = writer(&mut bytes, 1);
        let mut header = MemberHeader::new("", Kind::File { size: 1 });
        for number in 0..count {
            header.path = format!("f{number:06}").as_str().into();
            writer.append(&header, Details::default(), [b'x'].as_slice()).unwrap();
        }
        let (_, written) = writer.finish().unwrap();
        assert_eq!((written.entries, written.content_size), (count, count));
        assert_eq!(written.archive_size, bytes.len() as u64);

        let trailer = &bytes[bytes.len() - 64..];
        assert_eq!(trailer[..4], [0x1f, 0x8b, 8, 4]);
        assert_eq!(&trailer[16..23], b"isptar2");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(trailer).read_to_end(&mut text).unwrap();
        let digits = text.iter().take_while(|&&byte| byte != 0).count();
        let header_size: u64 = std::str::from_utf8(&text[..digits]).unwrap().parse().unwrap();

        let archive = Archive::open(bytes.as_slice()).unwrap();
        let info = archive.info();
        let sum = info.data_size + 535 + info.listing_size + header_size + 64;
        assert_eq!(sum, bytes.len() as u64);
        assert_eq!((info.entries, info.content_size), (count, Some(count)));
        assert_eq!(info.listing_sha256, Some(written.identity));
        assert!(info.sorted && !info.incomplete);
        assert_eq!(archive.entries().map(Result::unwrap).count() as u64, count);
    }
}

#[test]
fn depth_0_streams_follow_each_other() {
    let mut items = every_kind();
    items.push(file("x", &noise(1_048_577, 1)));
    let archive = Archive::open(build(&items, 6)).unwrap();
    let mut next = None;
    for entry in entries(&archive) {
        let (offset, len) = entry.range().unwrap();
        assert!(next.is_none_or(|next| next == offset), "{}", entry.path);
        next = Some(offset + len);
    }
    assert_eq!(next, Some(archive.info().data_size));
}

/// Sizes around those at which a member gets another stream or another padding.
fn sizes() -> impl Iterator<Item = usize> {
    const CHUNK: usize = 1 << 20;
    [511, 512, 513, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1]
        .into_iter()
        .chain([3 * CHUNK + 17])
}

#[test]
fn any_range_of_any_file_is_that_of_its_content() {
    for level in [0, 6] {
        for size in sizes() {
            let mut data = noise(size, size as u64);
            data[size / 3..size / 2].fill(b' ');
            let archive = Archive::open(build(&[file("f", &data)], level)).unwrap();
            let entry = archive.find(&"f".into()).unwrap().unwrap();
            let streams = entry.chunks.as_ref().map_or(1, |chunks| chunks.packed.len());
            let expected = if size > 1 << 20 { 1 + size.div_ceil(1 << 20) } else { 1 };
            assert_eq!(streams, expected, "{size}");
            let edges = [0, 1, 511, size / 2, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20];
            for start in edges.into_iter().chain([size - 1, size, size + 1]) {
                for len in [0, 1, 600, 1 << 20, (1 << 20) + 2, size, usize::MAX / 2] {
                    let mut out = Vec::new();
                    archive
                        .copy_range(&entry, start as u64, (start + len) as u64, &mut out)
                        .unwrap();
                    let expected = &data[start.min(size)..(start + len).min(size)];
                    assert!(out == expected, "{size}: {start} + {len}");
                }
            }
            let mut whole = Vec::new();
            let member = archive.member(&entry).unwrap();
            ContentReader::new(member).read_to_end(&mut whole).unwrap();
            assert!(whole == data);
        }
    }
}

#[test]
fn a_range_of_nothing_gives_nothing() {
    let archive = Archive::open(build(&[file("e", b""), file("f", b"abc")], 6)).unwrap();
    for (name, start, end) in [("e", 0, 0), ("e", 0, 9), ("f", 3, 9), ("f", 2, 2), ("f", 9, 1)] {
        let entry = archive.find(&name.into()).unwrap().unwrap();
        let mut out = Vec::new();
        archive.copy_range(&entry, start, end, &mut out).unwrap();
        assert!(out.is_empty(), "{name} {start}..{end}");
    }
}

/// A sparse file, its whole content, and its segments alone.
fn sparse(real: u64, segments: &[(u64, u64)]) -> (Item, Vec<u8>) {
    let segments = segments.iter().map(|&(offset, len)| Segment { offset, len });
    let map = SparseMap::new(real, segments, &Limits::default()).unwrap();
    let mut whole = vec![0; usize::try_from(real).unwrap()];
    let mut data = Vec::new();
    for segment in map.segments() {
        let start = usize::try_from(segment.offset).unwrap();
        let bytes = noise(usize::try_from(segment.len).unwrap(), segment.offset + 1);
        whole[start..start + bytes.len()].copy_from_slice(&bytes);
        data.extend_from_slice(&bytes);
    }
    let mut header = MemberHeader::new("dir/sparse", Kind::File { size: real });
    header.sparse = Some(map);
    (Item { data, ..Item::new(header) }, whole)
}

#[test]
fn sparse_files_come_back_with_their_holes() {
    const MIB: u64 = 1 << 20;
    for (real, segments) in [
        (4 * MIB, vec![]),
        (4 * MIB, vec![(0, 512)]),
        (4 * MIB + 5, vec![(1024, 512), (4 * MIB, 5)]),
        (8 * MIB, vec![(512, 2 * MIB), (5 * MIB, 2 * MIB + 512)]),
        (8 * MIB, vec![(0, MIB), (2 * MIB, MIB), (4 * MIB, MIB)]),
    ] {
        let (item, whole) = sparse(real, &segments);
        for level in [0, 6] {
            let bytes = build(&[dir("dir"), item.clone(), file("f", b"next")], level);
            let archive = Archive::open(bytes.as_slice()).unwrap();
            let entry = archive.find(&"dir/sparse".into()).unwrap().unwrap();
            assert_eq!(entry.kind.size(), real);
            assert!(matches!(entry.digest, Some(Digest::Stored(_))));
            let mut member = archive.member(&entry).unwrap();
            assert_eq!(member.header().sparse, item.header.sparse);
            let mut stored = 0;
            while let Some(piece) = member.next_piece().unwrap() {
                let start = usize::try_from(piece.offset).unwrap();
                assert!(piece.bytes == &whole[start..start + piece.bytes.len()]);
                stored += piece.bytes.len();
            }
            assert_eq!(stored, item.data.len());
            let mut read = Vec::new();
            ContentReader::new(archive.member(&entry).unwrap()).read_to_end(&mut read).unwrap();
            assert!(read == whole);
            for (start, end) in [
                (0, real),
                (1, 2),
                (500, 1100),
                (MIB - 1, 3 * MIB + 1),
                (2 * MIB + 400, 2 * MIB + 600),
                (5 * MIB, 7 * MIB),
                (real - 1, real),
                (real - 3, u64::MAX),
            ] {
                let mut out = Vec::new();
                archive.copy_range(&entry, start, end, &mut out).unwrap();
                let range = usize::try_from(start.min(real)).unwrap()
                    ..usize::try_from(end.min(real)).unwrap();
                assert!(out == whole[range], "{segments:?} {start}..{end}");
            }
            let (scanned, ended) = scan(bytes.as_slice());
            ended.unwrap();
            assert_eq!(scanned[1].0.path, entry.path);
            assert!(scanned[1].1 == whole);
        }
    }
}

#[test]
fn names_come_once_and_in_order() {
    let mut bytes = Vec::new();
    let mut writer = writer(&mut bytes, 6);
    let mut append = |path: &str| {
        let item = file(path, b"x");
        writer.append(&item.header, item.details, item.data.as_slice()).map(|_| ())
    };
    append("b").unwrap();
    append("b/c").unwrap();
    for refused in ["b/c", "b", "a", "b/a", "."] {
        assert!(matches!(append(refused), Err(Error::OutOfOrder { .. })), "{refused}");
    }
    append("b.c").unwrap();
    writer.finish().unwrap();
    let archive = Archive::open(bytes).unwrap();
    let names: Vec<_> = entries(&archive).iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(names, ["b", "b/c", "b.c"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut bytes = Vec::new();
    let mut writer = writer(&mut bytes, 6);
    for path in [
        "",
        "..",
        "a/..",
        "../a",
        "a/../b",
        "/",
        "/a",
        "a/",
        "a//b",
        "./a",
        "a/.",
        "a\0b",
        &"a/".repeat(8192).replace("//", "/"),
        &"a".repeat(65_537),
    ] {
        let header = MemberHeader::new(path, Kind::Directory);
        let refused = writer.append(&header, Details::default(), std::io::empty());
        assert!(
            matches!(refused, Err(Error::UnsafePath { .. } | Error::Unstorable { .. })),
            "{path:?}"
        );
    }
    writer.finish().unwrap();
    assert_eq!(entries(&Archive::open(bytes).unwrap()), []);
}

#[test]
fn content_of_another_length_is_refused() {
    for (size, given) in [(3, "ab"), (3, "abcd"), (0, "a"), ((1 << 20) + 1, "short")] {
        let mut bytes = Vec::new();
        let mut writer = writer(&mut bytes, 6);
        let header = MemberHeader::new("f", Kind::File { size });
        let refused = writer.append(&header, Details::default(), given.as_bytes());
        assert!(matches!(refused, Err(Error::Content { .. })), "{size} {given}");
    }
}

#[test]
fn the_listing_takes_a_name_that_is_free() {
    let names = |items: &[Item]| {
        let bytes = build(items, 6);
        let listed = entries(&Archive::open(bytes.as_slice()).unwrap()).len();
        assert_eq!(listed, items.len());
        let (scanned, _) = scan(bytes.as_slice());
        assert_eq!(scanned.len(), items.len());
        String::from_utf8(plain_tar(&bytes).pop().unwrap().name).unwrap()
    };
    assert_eq!(names(&[]), ".backup.info");
    assert_eq!(names(&[file(".backup.info", b"a file\n")]), ".backup.info.1");
    assert_eq!(names(&[dir(".backup.info"), file(".backup.info.1", b"x")]), ".backup.info.2");
    assert_eq!(names(&[dir("d"), file("d/.backup.info", b"x")]), ".backup.info");
}

#[test]
fn unsorted_archives_say_so_and_the_last_of_a_name_counts() {
    let mut options = level(6);
    options.sorted = false;
    let (bytes, _) = build_with(&[file("b", b"1"), file("a", b"2"), file("b", b"3")], &options);
    let archive = Archive::open(bytes).unwrap();
    assert!(!archive.info().sorted);
    let entry = archive.find(&"b".into()).unwrap().unwrap();
    assert_eq!(read(&archive, &entry).unwrap(), b"3");
    assert_eq!(archive.entries_within(&"b".into()).count(), 2);
}

#[test]
fn two_runs_give_the_same_bytes() {
    let mut items = every_kind();
    items.push(file("x", &noise(2_500_000, 3)));
    for level in [0, 1, 6, 9, 12] {
        assert!(build(&items, level) == build(&items, level));
    }
}

#[test]
fn options_stand_in_the_archive_info() {
    let mut options = level(6);
    options.created = Some(1_700_000_000);
    options.tool = Some("a test".into());
    let (bytes, written) = build_with(&[file("a", b"123"), file("b", b"4")], &options);
    let archive = Archive::open(bytes).unwrap();
    let info = archive.info();
    assert_eq!((info.created, info.tool.as_deref()), (Some(1_700_000_000), Some("a test")));
    assert_eq!((info.entries, info.content_size), (2, Some(4)));
    assert_eq!((written.entries, written.content_size), (2, 4));
    let text = archive.listing_text().unwrap();
    let line = text.split(|&byte| byte == b'\n').next().unwrap();
    let entry = Entry::parse(line, Dialect::Isptar, &Limits::default()).unwrap();
    assert_eq!(entry.path.to_string(), "a");
}
