//! Finding things in a big listing, and what that costs.

use std::sync::OnceLock;

use isptar_core::{Archive, Details, Entry, Kind, MemberHeader, MemberPath};

use super::support::{Counting, entries, writer};

const DIRECTORIES: usize = 1000;
const FILES: usize = 99;

/// An archive of 100,000 names: directories of many files, some of them nested.
fn many() -> &'static Vec<u8> {
    static MANY: OnceLock<Vec<u8>> = OnceLock::new();
    MANY.get_or_init(|| {
        let mut bytes = Vec::new();
        let mut writer = writer(&mut bytes, 1);
        for directory in 0..DIRECTORIES {
            let name = format!("dir{:02}/sub{:02}", directory / 50, directory % 50);
            let header = MemberHeader::new(name.as_str(), Kind::Directory);
            writer.append(&header, Details::default(), std::io::empty()).unwrap();
            for file in 0..FILES {
                let data = format!("{directory} {file}\n");
                let kind = Kind::File { size: data.len() as u64 };
                let header = MemberHeader::new(format!("{name}/file{file:03}.txt").as_str(), kind);
                writer.append(&header, Details::default(), data.as_bytes()).unwrap();
            }
        }
        writer.finish().unwrap();
        bytes
    })
}

fn open() -> Archive<Counting> {
    Archive::open(Counting::new(many().clone())).unwrap()
}

#[test]
fn every_name_is_found_and_no_other() {
    let archive = open();
    let all = entries(&archive);
    assert_eq!(all.len(), DIRECTORIES * (FILES + 1));
    assert!(archive.tables().blocks.len() > 20);
    assert!(all.windows(2).all(|pair| pair[0].path < pair[1].path));
    let firsts: Vec<MemberPath> =
        archive.tables().blocks.iter().map(|block| block.first.clone()).collect();
    let near_edges = all.windows(3).filter(|three| firsts.contains(&three[1].path)).flatten();
    for entry in all.iter().step_by(997).chain(near_edges).chain(all.first()).chain(all.last()) {
        assert_eq!(archive.find(&entry.path).unwrap().as_ref(), Some(entry));
    }
    for absent in [".", "", "a", "dir00", "dir00/sub00/", "dir07/sub13/file050", "zzz", "\u{ff}"] {
        assert_eq!(archive.find(&absent.into()).unwrap(), None, "{absent}");
    }
}

#[test]
fn subtrees_are_those_of_a_naive_filter() {
    let archive = open();
    let all = entries(&archive);
    let firsts = archive.tables().blocks.iter().map(|block| block.first.clone());
    let mut paths: Vec<MemberPath> = firsts.clone().collect();
    paths.extend(firsts.filter_map(|first| first.parent()));
    paths.extend([".", "dir00", "dir07", "dir19", "dir07/sub13", "dir1", "a", "z"].map(Into::into));
    for path in &paths {
        let found: Vec<Entry> = archive.entries_within(path).map(Result::unwrap).collect();
        let naive: Vec<&Entry> = all.iter().filter(|entry| entry.path.is_within(path)).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), naive, "{path}");
    }
}

#[test]
fn one_file_costs_three_reads() {
    let source = Counting::new(many().clone());
    let mut before = (0, 0);
    for path in ["dir00/sub00/file000.txt", "dir09/sub33/file050.txt", "dir19/sub49/file098.txt"] {
        let archive = Archive::open(&source).unwrap();
        let entry = archive.find(&path.into()).unwrap().unwrap();
        archive.copy_range(&entry, 0, u64::MAX, &mut Vec::new()).unwrap();
        let after = source.counts();
        let (reads, bytes) = (after.0 - before.0, after.1 - before.1);
        assert!(reads <= 3 && bytes < 512 << 10, "{path}: {reads} reads, {bytes} bytes");
        before = after;
    }
}

#[test]
fn one_directory_costs_few_reads() {
    let source = Counting::new(many().clone());
    let mut before = (0, 0);
    for path in ["dir00/sub00", "dir09/sub33", "dir13/sub07", "dir19/sub49"] {
        let archive = Archive::open(&source).unwrap();
        assert_eq!(archive.entries_within(&path.into()).count(), FILES + 1);
        let after = source.counts();
        let (reads, bytes) = (after.0 - before.0, after.1 - before.1);
        assert!(reads <= 4 && bytes < 512 << 10, "{path}: {reads} reads, {bytes} bytes");
        before = after;
    }
}

#[test]
fn opening_costs_one_read_of_64_kib() {
    let archive = open();
    drop(archive);
    let source = Counting::new(many().clone());
    Archive::open(&source).unwrap();
    assert_eq!(source.counts(), (1, 64 << 10));
}
