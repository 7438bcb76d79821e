//! Archives in the original program's layout: made here, and read by programs that nobody here
//! wrote.

use std::fs;

use crate::support::{World, am_root, have, skip};
use crate::tree;

#[test]
fn everyone_restores_a_classic_archive() {
    if !have(&["find", "tar", "bsdtar", "gzip"]) || !am_root() {
        return;
    }
    let world = World::new();
    tree::make(&world.path("tree"));
    // Of holes there are only zeros, and no program restores sockets.
    world.script("rm -r tree/sparse tree/special/socket").with_status(0);
    let args = ["create", "-q", "--format", "classic", "--no-xattrs", "a.tar.gz", "tree"];
    assert_eq!(world.run(&args).with_status(0).err, "");
    assert_eq!(world.script("gzip -t a.tar.gz").with_status(0).err, "");
    for (program, times) in [
        ("tar -xzpf ../a.tar.gz", "bcdflps"),
        ("LC_ALL=C bsdtar -xpf ../a.tar.gz", "bcdflps"),
        ("LC_ALL=C.UTF-8 bsdtar -xpf ../a.tar.gz", "bcdflps"),
        // Its listing has the times of files alone.
        ("$ISPTAR extract -q ../a.tar.gz", "f"),
    ] {
        fs::create_dir(world.path("out")).unwrap();
        world.script(&format!("cd out && {program}")).with_status(0);
        // Times to the second.
        let list = format!(
            "(find tree -printf '%P %y %m %U %G %n %l\\0'; \
             find tree -type f -printf '%P %s\\0'; \
             find tree -printf '%y %T@ %P\\0' | sed -Ez '/^[{times}] /!d; s/\\.[0-9]{{10}} / /') \
             | sort -z | tr '\\0\\n' '\\n?'"
        );
        let done = world.script(&format!(
            "diff <({list}) <(cd out && {list}) && diff -r --no-dereference -x special tree out/tree"
        ));
        assert_eq!(done.text_lossy(), "", "{program}");
        fs::remove_dir_all(world.path("out")).unwrap();
    }
}

#[test]
fn attributes_that_a_classic_archive_has_no_place_for_are_told() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::with_tree();
    let set = "import os; os.setxattr('tree/a.txt', 'user.note', b'x')";
    if world.script(&format!("python3 -c \"{set}\"")).status != 0 {
        return skip("attributes cannot be set");
    }
    let done = world.run(&["create", "--format", "classic", "a.tar.gz", "tree"]).with_status(1);
    let told = "tree/a.txt: its extended attributes were left out: classic archives have none";
    assert!(done.err.contains(told), "{}", done.err);
    assert!(done.err.contains("1 other warning"), "{}", done.err);
}

#[test]
fn options_that_classic_archives_have_nothing_for_are_wrong_usage() {
    let world = World::with_tree();
    let args = ["create", "--format", "classic", "--group-size", "64K", "a.tar.gz", "tree"];
    let done = world.run(&args).with_status(2);
    assert!(done.err.contains("classic archives have no groups"), "{}", done.err);
    assert!(!world.path("a.tar.gz").exists());
}

/// Copies an archive of the test archives into the world, in slices or not.
fn bring(world: &World, names: &[&str]) {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/classic");
    for name in names {
        world.script(&format!("cp {from}/{name} {from}/{name}.part* . 2> /dev/null; true"));
    }
}

/// Returns what NAME.list or NAME.sha256 says.
fn fixture(name: &str) -> Vec<u8> {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/classic");
    fs::read(format!("{from}/{name}")).unwrap()
}

/// The names of a listing of the original, escaped.
fn names_of(listing: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(listing).into_owned();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn slices_of_the_original_are_read_as_one() {
    let world = World::new();
    bring(&world, &["sliced.tgz", "badcut.tgz"]);
    for name in ["sliced.tgz", "badcut.tgz"] {
        let listed = world.run(&["ls", "-0", name]).with_status(0).out;
        let count = listed.iter().filter(|&&byte| byte == 0).count();
        assert_eq!(count, names_of(&fixture("sliced.tgz.list")).len(), "{name}");
        let done = world.run(&["cat", name, "full/a/text.txt"]).with_status(0);
        assert_eq!(done.out.len(), 4242);
        world.run(&["verify", "-q", name]).with_status(0);
        world.run(&["info", name]).with_status(0);
        let done = world.run(&["extract", "-C", name.trim_end_matches(".tgz"), name]);
        assert_eq!(done.with_status(0).err.lines().count(), 1);
    }
    let done = world.script("diff -r --no-dereference sliced badcut").with_status(0);
    assert_eq!(done.text_lossy(), "");
    fs::remove_file(world.path("sliced.tgz.part3")).unwrap();
    let done = world.run(&["cat", "sliced.tgz", "full/a/text.txt"]).with_status(5);
    assert!(done.err.contains("slice 3, "), "{}", done.err);
}

#[test]
fn a_part_of_a_merged_archive_is_read_alone() {
    let world = World::new();
    bring(&world, &["merged.tgz", "split.v0", "split-v2"]);
    for (part, alone) in [("--part=.v0", "split.v0"), ("--part=-v2", "split-v2")] {
        let names = |args: &[&str]| world.run(args).with_status(0).out;
        assert_eq!(names(&["ls", part, "merged.tgz"]), names(&["ls", alone]));
        let (of, whole) = (format!("of-{alone}"), format!("whole-{alone}"));
        world.run(&["extract", "-q", "-C", &of, part, "merged.tgz"]).with_status(0);
        world.run(&["extract", "-q", "-C", &whole, alone]).with_status(0);
        let done = world.script(&format!("diff -r --no-dereference {of} {whole}")).with_status(0);
        assert_eq!(done.text_lossy(), "");
        let done = world.run(&["diff", part, "merged.tgz", "-C", &of]);
        assert_eq!(done.with_status(0).text_lossy(), "");
    }
    let cat = |part| world.run(&["cat", part, "merged.tgz", "small/d/f2"]).with_status(0).out;
    assert_ne!(cat("--part=.v0"), cat("--part=-v2"));
    let done = world.run(&["ls", "--part=v3", "merged.tgz"]).with_status(2);
    assert!(
        done.err.contains("part v3: the archive has no such part but .v0, -v2"),
        "{}",
        done.err
    );
    let done = world.run(&["ls", "--part=v3", "split.v0"]).with_status(2);
    assert!(done.err.contains("has no parts"), "{}", done.err);
}

#[test]
fn a_part_of_an_archive_merged_by_us_is_read_alone() {
    let world = World::with_tree();
    world.run(&["create", "-q", "one.tar.gz", "tree"]).with_status(0);
    world.file("tree/a.txt", b"second\n");
    world.run(&["create", "-q", "two.tar.gz", "tree"]).with_status(0);
    let merge = ["merge", "-q", "--parts", "-o", "all.tar.gz", "one.tar.gz", "two.tar.gz"];
    world.run(&merge).with_status(0);
    for (part, content) in [("one.tar.gz", "first\n"), ("two.tar.gz", "second\n")] {
        let listed = world.run(&["ls", "--part", part, "all.tar.gz"]).with_status(0);
        assert_eq!(listed.out, world.run(&["ls", part]).with_status(0).out);
        let done = world.run(&["cat", "--part", part, "all.tar.gz", "tree/a.txt"]).with_status(0);
        assert_eq!(done.text(), content);
        let out = format!("out {part}");
        world.run(&["extract", "-q", "--part", part, "-C", &out, "all.tar.gz"]).with_status(0);
        assert_eq!(world.read(&format!("{out}/tree/a.txt")), content.as_bytes());
    }
}

#[test]
fn chains_of_the_original_are_read_with_their_bases_in_order() {
    let world = World::new();
    bring(&world, &["inc1.tgz", "inc2.tgz", "base.tgz", "inc1sl.tgz", "basesl.tgz"]);
    for (archive, bases) in [
        ("inc1.tgz", &["base.tgz"][..]),
        ("inc2.tgz", &["inc1.tgz", "base.tgz"]),
        ("inc1sl.tgz", &["basesl.tgz"]),
    ] {
        let with = |command: &[&str]| {
            let given = bases.iter().flat_map(|base| ["--base", base]);
            world.run(&command.iter().copied().chain(given).collect::<Vec<_>>())
        };
        with(&["extract", "-q", "-C", "out", archive]).with_status(0);
        for line in String::from_utf8(fixture(&format!("{archive}.sha256"))).unwrap().lines() {
            let Some((name, sum)) = line.split_once('\t').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            let check = format!("echo '{sum}  out/{name}' | sha256sum -c --quiet --strict");
            world.script(&check).with_status(0);
            let done = with(&["cat", archive, name]).with_status(0);
            assert!(done.out == world.read(&format!("out/{name}")), "{archive}: {name}");
        }
        with(&["verify", "-q", archive]).with_status(0);
        assert_eq!(with(&["diff", archive, "-C", "out"]).with_status(0).text(), "");
        world.run(&["ls", "-l", archive]).with_status(0);
        let done = world.run(&["cat", archive, "small/d/f1"]).with_status(5);
        assert!(done.err.contains("do not name their bases"), "{}", done.err);
        fs::remove_dir_all(world.path("out")).unwrap();
    }
    let done = world.run(&["cat", "inc1.tgz", "small/d/f1", "--base", "gone.tgz"]).with_status(5);
    assert!(done.err.contains("gone.tgz"), "{}", done.err);
}

#[test]
fn a_listing_alone_is_listed_and_compared() {
    let world = World::new();
    bring(&world, &["isolated.lst", "base.tgz"]);
    let names = |archive: &str| world.run(&["ls", "-l", archive]).with_status(0).out;
    assert_eq!(names("isolated.lst"), names("base.tgz"));
    world.run(&["diff", "isolated.lst", "base.tgz"]).with_status(0);
    world.run(&["info", "isolated.lst"]).with_status(0);
    world.run(&["cat", "isolated.lst", "small/p.jpg"]).with_status(5);
    let done = world.run(&["extract", "-q", "-C", "out", "isolated.lst"]).with_status(5);
    assert!(done.err.contains("the listing of an archive alone"), "{}", done.err);
}
