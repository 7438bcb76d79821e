//! Opening archives: through bad readers, and archives that contradict themselves.

use std::io::Read;

use isptar_core::{Archive, Error, FormatError, Kind, ReadAt, Timestamp};

use super::support::{
    Item, Stuttering, StutteringReader, build, dir, entries, every_kind, file, link, noise, other,
    read, scan,
};

#[test]
fn short_reads_and_interrupts_change_nothing() {
    let mut items = every_kind();
    items.push(file("x", &noise(1_100_000, 5)));
    let bytes = build(&items, 6);
    let whole = Archive::open(bytes.as_slice()).unwrap();
    let stuttering = Archive::open(Stuttering::new(bytes.clone())).unwrap();
    let listed = entries(&whole);
    assert_eq!(entries(&stuttering), listed);
    for entry in &listed {
        assert!(read(&stuttering, entry).unwrap() == read(&whole, entry).unwrap());
    }
    let path = "dir/file".into();
    assert_eq!(stuttering.find(&path).unwrap(), whole.find(&path).unwrap());

    let (expected, ended) = scan(bytes.as_slice());
    ended.unwrap();
    let (scanned, ended) = scan(StutteringReader(Stuttering::new(bytes.clone()), 0));
    ended.unwrap();
    assert!(scanned == expected);
}

#[test]
fn an_archive_is_read_from_a_file_and_by_threads() {
    let mut items = every_kind();
    items.push(file("x", &noise(2_100_000, 5)));
    let mut temporary = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut temporary, &build(&items, 6)).unwrap();
    let archive = Archive::open(temporary).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for item in items.iter().filter(|item| item.header.kind.size() > 0) {
                    let entry = archive.find(&item.header.path).unwrap().unwrap();
                    assert!(read(&archive, &entry).unwrap() == item.data);
                }
            });
        }
    });
}

#[test]
fn members_are_read_one_after_the_other_as_each_alone() {
    let mut items = every_kind();
    items.push(file("x/a", &noise(1_500_000, 5)));
    items.push(file("x/b", b"after a big one"));
    let archive = Archive::open(build(&items, 6)).unwrap();
    let mut previous = None;
    for (entry, item) in entries(&archive).iter().zip(&items) {
        let mut member = archive.next_member(previous.take(), entry).unwrap();
        let mut data = Vec::new();
        // Every other one is left unread.
        if entry.range().unwrap().0 % 2 == 0 {
            while let Some(piece) = isptar_core::Content::next_piece(&mut member).unwrap() {
                data.extend_from_slice(piece.bytes);
            }
            assert!(data == item.data);
        }
        previous = Some(member);
    }
}

/// Puts the member of `theirs` in the place of that of `ours`: both are equally long at level 0,
/// and all CRCs hold.
fn spliced(ours: Item, theirs: Item) -> Result<Vec<u8>, Error> {
    let before = dir("a");
    let mut bytes = build(&[before.clone(), ours], 0);
    let other = build(&[before, theirs], 0);
    let entry = entries(&Archive::open(bytes.as_slice())?).pop().unwrap();
    let (offset, len) = entry.range().unwrap();
    let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
    bytes[range.clone()].copy_from_slice(&other[range]);
    let archive = Archive::open(bytes.as_slice())?;
    archive.member(&entry)?;
    read(&archive, &entry)
}

#[test]
fn where_listing_and_header_disagree_nobody_wins() {
    let with_time = |seconds| {
        let mut item = file("f", b"text");
        item.header.mtime = Timestamp::new(seconds, 0);
        item
    };
    let hard = |target: &str| other("f", Kind::HardLink { target: target.into() });
    for (ours, theirs, says) in [
        (file("f", b"text"), file("g", b"text"), "name in the tar header is g, expected f"),
        (file("f", b"text"), file("f", b"texts"), "a file of 5 bytes, expected a file of 4 bytes"),
        (with_time(5), with_time(6), "mtime in the tar header is 6, expected 5"),
        (link("f", "here"), link("f", "there"), "a link to there, expected a link to here"),
        (hard("a"), hard("b"), "a hard link to b, expected a hard link to a"),
        (file("f", b""), other("f", Kind::Fifo), "is a FIFO, expected a file of 0 bytes"),
        (dir("f"), file("f", b""), "is a file of 0 bytes, expected a directory"),
        (file("f", b"text"), file("f", b"TEXT"), "SHA-256 of the content is"),
    ] {
        let error = spliced(ours, theirs).unwrap_err();
        let Error::CorruptMember { path, .. } = &error else { panic!("{error:?}") };
        assert_eq!(path.to_string(), "f");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn of_mode_and_owner_the_listing_wins() {
    let mut theirs = file("f", b"text");
    (theirs.header.mode, theirs.header.uid) = (0o600, 77);
    assert_eq!(spliced(file("f", b"text"), theirs).unwrap(), b"text");
}

#[test]
fn an_archive_within_a_cut_one_is_not_taken_for_it() {
    let inner = build(&[file("inner", b"text")], 6);
    let outer = build(&[file("a", b"text"), file("b", &inner)], 0);
    let at = outer.windows(inner.len()).position(|window| window == inner).unwrap();
    let cut = &outer[..at + inner.len()];
    let error = Archive::open(cut).unwrap_err();
    assert!(error.to_string().contains("length of the archive"), "{error}");
    Archive::open(inner.as_slice()).unwrap();
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    for bytes in [Vec::new(), vec![0; 64], vec![0x1f; 100], b"text".to_vec(), noise(200_000, 1)] {
        assert!(matches!(
            Archive::open(bytes),
            Err(Error::NotIsptar(FormatError::Missing("size trailer")))
        ));
    }
}

#[test]
fn a_reader_that_fails_is_named_with_the_place() {
    struct Failing(Vec<u8>);
    impl ReadAt for Failing {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            if offset < 100_000 {
                return Err(std::io::Error::other("bad sector"));
            }
            self.0.read_at(buf, offset)
        }

        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
    }
    let bytes = build(&[file("a", &noise(60_000, 1)), file("b", &noise(200_000, 2))], 0);
    let archive = Archive::open(Failing(bytes)).unwrap();
    let entry = archive.find(&"a".into()).unwrap().unwrap();
    assert!(matches!(archive.member(&entry), Err(Error::Input { .. })));
}

#[test]
fn what_is_no_file_has_no_content() {
    let archive = Archive::open(build(&every_kind(), 6)).unwrap();
    for path in ["block", "char", "dir", "dir/fifo", "dir/link"] {
        let entry = archive.find(&path.into()).unwrap().unwrap();
        let mut out = Vec::new();
        let refused = archive.copy_range(&entry, 0, 1, &mut out);
        assert!(matches!(refused, Err(Error::NotAFile { .. })), "{path}");
        let member = archive.member(&entry).unwrap();
        isptar_core::ContentReader::new(member).read_to_end(&mut out).unwrap();
        assert!(out.is_empty());
    }
}

#[test]
fn a_hard_link_that_leads_nowhere_is_corrupt() {
    let hard = |path: &str, target: &str| other(path, Kind::HardLink { target: target.into() });
    let items = [hard("a", "missing"), dir("d"), hard("e", "d")];
    let archive = Archive::open(build(&items, 6)).unwrap();
    for entry in entries(&archive).iter().filter(|entry| entry.kind != Kind::Directory) {
        let refused = archive.content_entry(entry);
        assert!(matches!(refused, Err(Error::CorruptMember { .. })), "{}", entry.path);
    }
}
