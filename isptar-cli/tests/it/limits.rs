//! Limits as the user meets them, and memory that the system itself limits.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::{Kind, Limits, MemberHeader};

use crate::support::{World, have};

/// A tar of one file, its map of so many segments longer than is usual.
fn many_segments() -> Vec<u8> {
    let mut limits = Limits::default();
    limits.segments = 1 << 20;
    let (count, step) = (40_000, 4096);
    let segments = (0..count).map(|at| Segment { offset: at * step, len: 512 });
    let mut header = MemberHeader::new("f", Kind::File { size: count * step });
    header.sparse = Some(SparseMap::new(count * step, segments, &limits).unwrap());
    let mut tar = Vec::new();
    header.encode(&limits, &mut tar).unwrap();
    tar.resize(tar.len() + usize::try_from(count * 512).unwrap() + 1024, 0);
    tar
}

#[test]
fn a_limit_names_the_option_that_raises_it() {
    let world = World::new();
    world.file("a.tar", &many_segments());
    let hint = "raise it with --limit segments=40001";
    for args in [
        ["ls", "a.tar", "-l"],
        ["cat", "a.tar", "f"],
        ["info", "a.tar", "-q"],
        ["extract", "a.tar", "-C."],
        ["convert", "a.tar", "b.tar.gz"],
    ] {
        // Convert had nothing that it could store.
        let status = if args[0] == "convert" { 2 } else { 4 };
        let refused = world.run(&args).with_status(status);
        assert!(
            refused.err.contains("sparse segments is 40001, the limit is 32768"),
            "{refused:?}"
        );
        assert!(refused.err.contains(hint), "{}", refused.err);
        let raised = [&args[..], &["--limit", "segments=40001"]].concat();
        world.run(&raised).with_status(0);
    }
    // What convert wrote is within the limits of every reader.
    assert_eq!(world.run(&["ls", "b.tar.gz"]).with_status(0).text(), "f\n");
    assert_eq!(world.run(&["cat", "b.tar.gz", "f"]).with_status(0).out.len(), 40_000 * 4096);
    let json = world.run(&["extract", "a.tar", "--json"]).with_status(4);
    assert!(json.text().contains(hint), "{}", json.text());
}

#[test]
fn limits_can_be_lowered_and_nonsense_is_a_usage_error() {
    let world = World::with_tree();
    world.run(&["create", "a.tar.gz", "tree"]).with_status(0);
    let low = world.run(&["ls", "a.tar.gz", "--limit=path=4"]).with_status(4);
    assert!(low.err.contains("--limit path="), "{}", low.err);
    for limit in ["size=1", "path", "path=-1", "path=1T"] {
        world.run(&["ls", "a.tar.gz", "--limit", limit]).with_status(2);
    }
    let unknown = world.run(&["ls", "a.tar.gz", "--limit", "size=1"]).with_status(2);
    assert!(unknown.err.contains("segments"), "{}", unknown.err);
    let help = world.run(&["extract", "--help"]).with_status(0);
    for name in ["pax", "listing-ratio", "unknown-keys"] {
        assert!(help.text().contains(name), "{}", help.text());
    }
}

#[test]
fn what_convert_cannot_store_is_not_said_to_depend_on_an_option() {
    let world = World::new();
    let mut header = MemberHeader::new("f", Kind::File { size: 0 });
    header.xattrs.attributes.insert(b"user.big".to_vec(), vec![b'x'; 2 << 20]);
    let mut limits = Limits::default();
    limits.pax = 1 << 30;
    let mut tar = Vec::new();
    header.encode(&limits, &mut tar).unwrap();
    MemberHeader::new("g", Kind::File { size: 0 }).encode(&limits, &mut tar).unwrap();
    tar.resize(tar.len() + 1024, 0);
    world.file("a.tar", &tar);
    let done = world.run(&["convert", "a.tar", "b.tar.gz", "--limit", "pax=4M"]).with_status(3);
    assert!(done.err.contains("the limit is 1048576"), "{}", done.err);
    assert!(!done.err.contains("--limit"), "{}", done.err);
    assert_eq!(world.run(&["ls", "b.tar.gz"]).text(), "g\n");
}

/// Returns the gzip stream of a tar of one file of zeros, and then more zeros than memory.
fn bomb(header: &MemberHeader, zeros: u64) -> Vec<u8> {
    let mut tar = Vec::new();
    header.encode(&Limits::default(), &mut tar).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(zeros), &mut packed).unwrap();
    packed.finish().unwrap()
}

/// Files that want more memory than there is.
fn bombs(world: &World) -> Vec<PathBuf> {
    let size = 400 << 20;
    let file = |size| MemberHeader::new("zeros", Kind::File { size });
    world.file("bombs/zeros.tar.gz", &bomb(&file(size), size + 1024));
    let link = Kind::Symlink { target: vec![b'x'; 60_000] };
    world.file("bombs/cut.tar.gz", &bomb(&file(1 << 60), size));
    world.file("bombs/long.tar.gz", &bomb(&MemberHeader::new("link", link), 1024));
    world.file("bombs/segments.tar", &many_segments());
    let names = world.names("bombs");
    names.iter().map(|name| world.path("bombs").join(name)).collect()
}

#[test]
fn nothing_in_the_folder_needs_more_than_256_mib() {
    if !have(&["prlimit"]) {
        return;
    }
    let world = World::in_memory();
    let testdata = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata"));
    let mut files = bombs(&world);
    let found = walkdir::WalkDir::new(testdata).into_iter().map(Result::unwrap);
    files.extend(found.filter(|f| f.file_type().is_file()).map(|f| f.path().to_owned()));
    assert!(files.len() > 50);
    let mut list = String::new();
    for file in &files {
        writeln!(list, "{}", file.canonicalize().unwrap().display()).unwrap();
    }
    world.file("list", list.as_bytes());
    let limited = "prlimit --as=268435456 $ISPTAR";
    let script = format!(
        "while read -r file; do
            name=$({limited} ls -q \"$file\" 2>&- | head -n 1)
            for args in ls info \"extract -C t\" convert cat verify \"repair -n\" \"diff -C .\"; do
                set -- $args \"$file\"
                case $args in convert) set -- \"$@\" c.tar.gz ;; cat) set -- \"$@\" \"${{name:-x}}\" ;; esac
                {limited} \"$@\" >/dev/null 2>err </dev/null; status=$?
                echo \"$status $args $file $(head -c 300 err | tr '\\n' ' ')\"
                chmod -R u+rwx t 2>&-; rm -rf t c.tar.gz
            done
        done <list"
    );
    let done = world.script(&script).with_status(0);
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines.len(), files.len() * 8);
    for line in lines {
        let status: i32 = line.split(' ').next().unwrap().parse().unwrap();
        // 101 is a panic, 128 and more a signal: memory that was not there aborts.
        assert!((0..=5).contains(&status), "{line}");
        assert!(!line.contains("memory allocation"), "{line}");
    }
    // The bomb itself is no error: it is read piece by piece.
    let zeros = fs::canonicalize(world.path("bombs/zeros.tar.gz")).unwrap();
    let zeros = format!("0 cat {}", zeros.display());
    assert!(done.text().contains(&zeros), "{}", done.text());
}
