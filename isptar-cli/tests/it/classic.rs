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
