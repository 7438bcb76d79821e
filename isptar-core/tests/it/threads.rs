//! Create on several threads, and with members that share streams.

use std::fs;
use std::num::NonZero;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use isptar_core::{
    Archive, CreateOptions, CreateReport, Entry, ExtractOptions, Kind, Limits, RepairOptions,
    Selection, TarReader, VerifyOptions, WriteSink, create, extract, repair, verify,
};

use super::support::{entries, noise, plain_tar, read};

/// Makes a tree with everything that is packed in a way of its own.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    for number in 0..300 {
        let dir = at(&format!("small/{}", number % 7));
        fs::create_dir_all(&dir).unwrap();
        let text = format!("file {number}, with some text in it\n").repeat(number % 50);
        fs::write(dir.join(format!("f{number}")), text).unwrap();
    }
    for number in 0..30 {
        let dir = at(&format!("wide/{number}/sub"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("only"), number.to_string()).unwrap();
    }
    fs::create_dir(at("empty dir")).unwrap();
    fs::write(at("middle"), noise(700_000, 3)).unwrap();
    fs::write(at("one chunk"), noise(1 << 20, 4)).unwrap();
    fs::write(at("big"), b"a line of a big file\n".repeat(300_000)).unwrap();
    fs::write(at("big noise"), noise((2 << 20) + 77, 5)).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(200 << 20).unwrap();
    sparse.write_all_at(&noise(3 << 20, 6), 100 << 20).unwrap();
    let hole = fs::File::create(at("hole")).unwrap();
    hole.set_len(100 << 20).unwrap();
    symlink("big", at("link")).unwrap();
    fs::hard_link(at("small/1/f1"), at("small/2/again")).unwrap();
    fs::hard_link(at("big"), at("big again")).unwrap();
    fs::write(at("unreadable"), "secret").unwrap();
    fs::set_permissions(at("unreadable"), PermissionsExt::from_mode(0o000)).unwrap();
    tree
}

fn options(tree: &Path) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.directory = tree.to_path_buf();
    options.created = Some(1_700_000_000);
    options
}

fn archive(options: &CreateOptions) -> (CreateReport, Vec<u8>) {
    let mut bytes = Vec::new();
    let sink = &mut WriteSink::new(&mut bytes);
    let report = create(sink, &[".".into()], options, &mut ()).unwrap();
    (report, bytes)
}

#[test]
fn any_number_of_threads_makes_the_same_bytes() {
    let tree = tree();
    for level in [0, 1, 6] {
        for group in [None, NonZero::new(20_000), NonZero::new(1 << 20)] {
            let mut options = options(tree.path());
            (options.level, options.group_size) = (level, group);
            options.reproducible = level == 1;
            options.threads = NonZero::new(1);
            let (report, bytes) = archive(&options);
            assert!(report.members > 400);
            for threads in [2, 7] {
                options.threads = NonZero::new(threads);
                let (again, other) = archive(&options);
                assert_eq!(again, report, "level {level}, {threads} threads, {group:?}");
                assert!(other == bytes, "level {level}, {threads} threads, {group:?}");
            }
            let archive = Archive::open(bytes.as_slice()).unwrap();
            assert_whole(&archive);
            assert_eq!(plain_tar(&bytes).len(), entries(&archive).len() + 1);
        }
    }
}

fn assert_whole(archive: &Archive<&[u8]>) {
    let options = VerifyOptions::default();
    let report = verify(archive, &Selection::default(), &options, &mut ()).unwrap();
    assert!(report.is_good(), "{report:?}");
}

/// Archives the tree in groups.
fn grouped(tree: &Path, size: u64) -> Vec<u8> {
    let mut options = options(tree);
    options.group_size = NonZero::new(size);
    archive(&options).1
}

/// Returns the entries stream by stream.
fn streams(listed: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut streams: Vec<Vec<Entry>> = Vec::new();
    for entry in listed.into_iter().filter(|entry| entry.location.is_some()) {
        match streams.last_mut() {
            Some(stream) if stream[0].range() == entry.range() => stream.push(entry),
            _ => streams.push(vec![entry]),
        }
    }
    streams
}

#[test]
fn small_members_share_streams_up_to_a_size() {
    let tree = tree();
    let size = 20_000;
    let bytes = grouped(tree.path(), size);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let streams = streams(entries(&archive));
    assert!(streams.len() < 100, "{}", streams.len());
    for stream in &streams {
        let zoffsets: Vec<u64> =
            stream.iter().map(|entry| entry.location.unwrap().zoffset).collect();
        assert!(zoffsets[0] == 0 && zoffsets.is_sorted_by(|a, b| a < b), "{zoffsets:?}");
        let last = stream.last().unwrap();
        let end = zoffsets[zoffsets.len() - 1] + 512 + last.kind.size().next_multiple_of(512);
        assert!(stream.len() == 1 || end <= size, "{end}");
        assert!(stream.len() == 1 || stream.iter().all(|entry| entry.chunks.is_none()));
    }
    let (_, alone) = self::archive(&options(tree.path()));
    let alone = Archive::open(alone.as_slice()).unwrap();
    for entry in entries(&archive) {
        let other = alone.find(&entry.path).unwrap().unwrap();
        assert_eq!((&entry.kind, entry.digest), (&other.kind, other.digest));
        if matches!(entry.kind, Kind::File { size: 1..20_000 }) {
            assert!(read(&archive, &entry).unwrap() == read(&alone, &other).unwrap());
        }
    }
}

#[test]
fn files_that_are_alone_in_their_directories_share_streams() {
    let tree = tempfile::tempdir().unwrap();
    for number in 0..200 {
        let dir = tree.path().join(format!("d{number:03}"));
        fs::create_dir_all(dir.join("empty")).unwrap();
        fs::write(dir.join("file"), format!("{number}\n")).unwrap();
    }
    let bytes = grouped(tree.path(), 64 << 10);
    let streams = streams(entries(&Archive::open(bytes.as_slice()).unwrap()));
    // 601 headers and 200 blocks of data, 128 blocks in a stream.
    assert!((7..=9).contains(&streams.len()), "{}", streams.len());
}

#[test]
fn groups_are_restored_and_repaired() {
    let tree = tree();
    let bytes = grouped(tree.path(), 64 << 10);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let options = ExtractOptions::default();
    let report =
        extract(&archive, &Selection::default(), target.path(), &options, &mut ()).unwrap();
    assert_eq!(report.failed, 0, "{report:?}");
    for name in ["small/3/f3", "small/2/again", "wide/7/sub/only", "middle"] {
        let content = |root: &Path| fs::read(root.join(name)).unwrap();
        assert!(content(target.path()) == content(tree.path()), "{name}");
    }

    let mut new = Vec::new();
    let sink = &mut WriteSink::new(&mut new);
    let cut = &bytes[..bytes.len() - 3000];
    let report = repair(&cut, sink, &RepairOptions::default(), &mut ()).unwrap();
    assert_eq!((report.lost, report.damaged), (0, 0), "{report:?}");
    let repaired = Archive::open(new.as_slice()).unwrap();
    assert_whole(&repaired);
    assert_eq!(entries(&repaired).len(), entries(&archive).len());
}

#[test]
fn damage_to_a_group_costs_that_group() {
    let tree = tree();
    let mut bytes = grouped(tree.path(), 20_000);
    let listed = entries(&Archive::open(bytes.as_slice()).unwrap());
    let streams = streams(listed);
    let hit = streams.iter().filter(|stream| stream.len() > 5).nth(2).unwrap();
    let range = hit[0].claimed_range();
    bytes[usize::try_from(range.start + 50).unwrap()] ^= 0x10;
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let report =
        verify(&archive, &Selection::default(), &VerifyOptions::default(), &mut ()).unwrap();
    assert_eq!(report.damaged, hit.len() as u64);
}

#[test]
fn from_front_to_back_no_member_of_a_damaged_group_gets_its_name() {
    let tree = tempfile::tempdir().unwrap();
    for number in 0..12 {
        let text = format!("{number} and more text\n").repeat(40);
        fs::write(tree.path().join(format!("f{number:02}")), text).unwrap();
    }
    for level in [0, 6] {
        let mut options = options(tree.path());
        (options.level, options.group_size) = (level, NonZero::new(6000));
        let (_, mut bytes) = archive(&options);
        let listed = entries(&Archive::open(bytes.as_slice()).unwrap());
        let (start, end) = (listed[0].claimed_range().start, listed[12].claimed_range().end);
        let mut lost = 0;
        for at in (start..end).step_by(if level == 0 { 61 } else { 7 }) {
            let at = usize::try_from(at).unwrap();
            bytes[at] ^= 4;
            let target = tempfile::tempdir().unwrap();
            let all = Selection::default();
            let mut tar = TarReader::new(bytes.as_slice(), Limits::default()).unwrap();
            let extract = isptar_core::extract_sequential;
            let report =
                extract(&mut tar, &all, target.path(), &ExtractOptions::default(), &mut ());
            let mut missing = 12;
            for restored in fs::read_dir(target.path()).unwrap() {
                let name = restored.unwrap().file_name();
                let content = |root: &Path| fs::read(root.join(&name)).unwrap();
                assert!(content(target.path()) == content(tree.path()), "{name:?}, {at}");
                missing -= 1;
            }
            // What is missing is told; damage of what is no member may be told as well.
            let told = report.map_or(12, |report| report.failed + report.lost);
            assert!(missing == 0 || told > 0, "{at}: {missing} missing, {told} told");
            lost += missing;
            bytes[at] ^= 4;
        }
        assert!(lost > 100, "{lost}");
    }
}
