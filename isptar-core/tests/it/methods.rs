//! Files that are stored as they are, by their names.

use std::fs;
use std::num::NonZero;
use std::path::Path;

use isptar_core::{
    Archive, CreateOptions, Entry, Patterns, Selection, VerifyOptions, WriteSink, create, verify,
};

use super::support::{entries, read};

const TEXT: &[u8] = b"a text that is compressed very well\n";

/// Makes a tree of texts.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (name, times) in [("a.txt", 30), ("b.mp4", 30), ("c.txt", 30), ("big.mp4", 70_000)] {
        fs::write(tree.path().join(name), TEXT.repeat(times)).unwrap();
    }
    fs::create_dir(tree.path().join("packed")).unwrap();
    fs::write(tree.path().join("packed/d"), TEXT.repeat(30)).unwrap();
    fs::write(tree.path().join("packed/e"), TEXT.repeat(30)).unwrap();
    fs::hard_link(tree.path().join("b.mp4"), tree.path().join("packed/f")).unwrap();
    tree
}

/// Archives the tree; some of it is not to be compressed.
fn archive(tree: &Path, group: u64, threads: usize) -> Vec<u8> {
    let mut options = CreateOptions::default();
    options.directory = tree.to_path_buf();
    options.reproducible = true;
    options.no_compress = Patterns::new(["*.mp4", "/packed/", "!e"]).unwrap();
    (options.group_size, options.threads) = (NonZero::new(group), NonZero::new(threads));
    let mut bytes = Vec::new();
    create(&mut WriteSink::new(&mut bytes), &[".".into()], &options, &mut ()).unwrap();
    bytes
}

fn is_stored(entry: &Entry) -> bool {
    entry.packed.unwrap() > entry.kind.size()
}

#[test]
fn what_matches_is_stored_in_streams_of_its_own() {
    let tree = tree();
    for group in [0, 1 << 20] {
        let archive = Archive::open(archive(tree.path(), group, 2)).unwrap();
        assert!(
            verify(&archive, &Selection::default(), &VerifyOptions::default(), &mut ())
                .unwrap()
                .is_good()
        );
        for entry in entries(&archive).iter().filter(|entry| entry.kind.size() > 0) {
            let name = entry.path.to_string();
            let expected = ["b.mp4", "big.mp4", "packed/d"].contains(&name.as_str());
            assert_eq!(is_stored(entry), expected, "{name}");
            assert!(!expected || entry.location.unwrap().zoffset == 0, "{name}");
        }
        assert_eq!(
            archive
                .find(&"big.mp4".into())
                .map(|big| read(&archive, &big.unwrap()).unwrap())
                .unwrap(),
            TEXT.repeat(70_000)
        );
    }
}

#[test]
fn any_number_of_threads_makes_the_same_bytes() {
    let tree = tree();
    for group in [0, 1 << 20] {
        assert!(archive(tree.path(), group, 1) == archive(tree.path(), group, 7));
    }
}
