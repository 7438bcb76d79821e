//! Finding things in a big listing, and what that costs.

use std::num::NonZero;
use std::sync::OnceLock;

use isptar_core::{Archive, Details, Entry, Error, Kind, MemberHeader, MemberPath};

use super::forge::Forge;
use super::support::{Counting, entries, listed, writer};

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

#[test]
fn any_number_of_threads_lists_the_same() {
    let archive = open();
    assert_eq!(listed(&archive), (entries(&archive), Vec::new()));
    for path in ["dir07", "dir07/sub13", "dir07/sub13/file050.txt", "a", "zzz"] {
        let path = path.into();
        let expected: Vec<Entry> = archive.entries_within(&path).map(Result::unwrap).collect();
        for threads in [1, 2, 7] {
            let mut found = Vec::new();
            let each = |block: Vec<Entry>| {
                found.extend(block);
                Ok::<_, Error>(())
            };
            let threads = NonZero::new(threads);
            let own = |block: &mut isptar_core::archive::BlockEntries<'_, _>| {
                block.map(|entry| entry.unwrap().into_owned()).collect()
            };
            archive.map_blocks(Some(&path), threads, own, each).unwrap();
            assert!(found == expected, "{path}");
        }
    }
}

#[test]
fn a_pass_ends_with_the_error_of_the_one_who_takes_it() {
    for threads in [1, 2, 7] {
        let mut taken = 0;
        let each = |count: usize| {
            taken += 1;
            if taken == 3 || count == 0 { Err(Error::Cancelled) } else { Ok(()) }
        };
        let counted = open().map_blocks(None, NonZero::new(threads), |block| block.count(), each);
        assert!(matches!(counted, Err(Error::Cancelled)));
        assert_eq!(taken, 3);
    }
}

#[test]
fn lies_in_any_block_are_told_alike_on_any_number_of_threads() {
    let forge = Forge::of(many());
    let text = |block: usize| String::from_utf8(forge.blocks[block].clone()).unwrap();
    let with = |block: usize, text: String| {
        let mut lying = forge.clone();
        lying.blocks[block] = text.into_bytes();
        lying.seal()
    };
    let lines: Vec<String> = text(5).lines().map(|line| format!("{line}\n")).collect();
    let middle = lines.len() / 2;
    let mut swapped = lines.clone();
    swapped.swap(middle, middle + 1);
    let mut twice = lines.clone();
    twice.insert(middle, lines[middle].clone());
    let mut later = open().tables().blocks[5].first.as_bytes().to_vec();
    later.push(b'!');
    let later = MemberPath::new(later);
    // The last name of the block is also the first one of the next.
    let overlap = text(5) + text(6).split_inclusive('\n').next().unwrap();
    for (bytes, expected) in [
        (with(5, swapped.concat()), "name of an entry"),
        (with(5, twice.concat()), "name of an entry"),
        (with(5, overlap), "name of an entry"),
        (with(5, text(5).replacen("file\t", "fille\t", 40)), "type is not valid"),
        (with(5, text(5).replacen('\n', "\n\n", 1)), "user is missing"),
        (forge.seal_with(&|tables| tables.blocks[5].first = later.clone(), &|_| {}), "first name"),
        (forge.seal_with(&|_| {}, &|info| info.listing_sha256 = Some([7; 32])), "SHA-256"),
    ] {
        let archive = match Archive::open(bytes.as_slice()) {
            Ok(archive) => archive,
            Err(error) => panic!("{expected}: {error}"),
        };
        let (entries, errors) = listed(&archive);
        assert!(errors.len() == 1 && errors[0].contains(expected), "{expected}: {errors:?}");
        assert!(expected == "SHA-256" || entries.len() < DIRECTORIES * (FILES + 1));
    }
}

#[test]
fn what_is_wrong_in_a_block_does_not_hide_its_names() {
    let forge = Forge::of(many());
    let mut lying = forge.clone();
    let text = String::from_utf8(forge.blocks[5].clone()).unwrap();
    let name = |line: &str| MemberPath::from(line.split('\t').next().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let (good, bad) = (name(lines[lines.len() / 3]), name(lines[lines.len() / 2]));
    let broken = lines[lines.len() / 2].replacen("file\t", "fille\t", 1);
    lying.blocks[5] = text.replace(lines[lines.len() / 2], &broken).into_bytes();
    let bytes = lying.seal();
    let archive = Archive::open(bytes.as_slice()).unwrap();
    assert_eq!(archive.find(&good).unwrap().unwrap().path, good);
    assert!(archive.find(&bad).is_err());
    // Whether a name is not there cannot be told.
    let absent = bad.join(b"absent");
    assert!(archive.find(&absent).is_err());
}
