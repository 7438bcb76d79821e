//! Restoring where something stands in the way: permissions, owners, running programs, umasks.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::support::{Done, PROGRAM, World, am_root, have, is_set};
use crate::tree::noise;

const NOBODY: u32 = 65534;

/// A directory in which nobody can work with a program of their own.
pub(crate) fn shared_world() -> Option<World> {
    if !am_root() || !have(&["setpriv"]) {
        return None;
    }
    let world = World::new();
    fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::copy(PROGRAM, world.path("isptar")).unwrap();
    Some(world)
}

/// Makes a directory that belongs to nobody.
fn nobodys(world: &World, name: &str, mode: u32) {
    fs::create_dir_all(world.path(name)).unwrap();
    fs::set_permissions(world.path(name), Permissions::from_mode(mode)).unwrap();
    chown(world.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
}

pub(crate) fn as_nobody(world: &World, command: &str) -> Done {
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    world.script(&format!("{user} ./isptar {command}"))
}

fn mode(world: &World, name: &str) -> u32 {
    fs::symlink_metadata(world.path(name)).unwrap().mode() & 0o7777
}

pub(crate) fn set_mode(world: &World, name: &str, mode: u32) {
    fs::set_permissions(world.path(name), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn others_files_become_the_users_without_their_rights() {
    let Some(world) = shared_world() else { return };
    world.file("tree/program", b"#!/bin/sh\n");
    chown(world.path("tree/program"), Some(1234), Some(1234)).unwrap();
    set_mode(&world, "tree/program", 0o6755);
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    nobodys(&world, "target", 0o755);
    let done = as_nobody(&world, "extract a.tar.gz -C target").with_status(0);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    let restored = fs::metadata(world.path("target/tree/program")).unwrap();
    assert_eq!((restored.uid(), restored.mode() & 0o7777), (NOBODY, 0o755));
}

#[test]
fn directories_that_may_not_be_read_are_written_to_all_the_same() {
    let Some(world) = shared_world() else { return };
    world.file("tree/sub/file", b"first");
    world.file("tree/sub/below/file", b"second");
    set_mode(&world, "tree/sub", 0o300);
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    nobodys(&world, "target", 0o300);
    for _ in 0..2 {
        as_nobody(&world, "extract -q a.tar.gz -C target").with_status(0);
        assert_eq!(world.read("target/tree/sub/file"), b"first");
        assert_eq!(world.read("target/tree/sub/below/file"), b"second");
        assert_eq!(mode(&world, "target/tree/sub"), 0o300);
    }
    let time = |name: &str| fs::metadata(world.path(name)).unwrap().mtime_nsec();
    assert_eq!(time("target/tree/sub"), time("tree/sub"));
}

#[test]
fn a_target_that_may_not_be_written_is_told_and_stays() {
    let Some(world) = shared_world() else { return };
    world.file("tree/a", b"new");
    world.file("tree/b", b"new");
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    nobodys(&world, "target/tree", 0o555);
    world.file("target/tree/a", b"old");
    let done = as_nobody(&world, "extract a.tar.gz -C target").with_status(3);
    for name in ["a", "b"] {
        let said = format!("isptar: error: cannot make target/tree/{name}: Permission");
        assert!(done.err.contains(&said), "{}", done.err);
    }
    assert_eq!(world.names("target/tree"), ["a"]);
    assert_eq!(world.read("target/tree/a"), b"old");
    let done = as_nobody(&world, "extract a.tar.gz -C new").with_status(6);
    assert!(done.err.contains("cannot create new: Permission denied"), "{}", done.err);
}

#[test]
fn sources_that_may_not_be_read_are_told_and_the_rest_is_stored() {
    let Some(world) = shared_world() else { return };
    world.file("tree/closed/file", b"x");
    world.file("tree/hidden", b"x");
    world.file("tree/open", b"open");
    set_mode(&world, "tree/closed", 0o700);
    set_mode(&world, "tree/hidden", 0o600);
    nobodys(&world, "out", 0o755);
    let done = as_nobody(&world, "create out/a.tar.gz tree").with_status(3);
    for said in ["cannot read the directory tree/closed: Perm", "cannot open tree/hidden: Perm"] {
        assert!(done.err.contains(said), "{}", done.err);
    }
    let done = world.run(&["ls", "out/a.tar.gz"]).with_status(0);
    assert_eq!(done.text(), "tree\ntree/closed\ntree/hidden\ntree/open\n");
    let done = world.run(&["extract", "out/a.tar.gz", "-C", "target"]).with_status(3);
    assert!(done.err.contains("tree/hidden"), "{}", done.err);
    assert_eq!(world.names("target/tree"), ["closed", "open"]);
}

#[test]
fn modes_are_those_of_the_archive_under_any_umask() {
    let world = World::new();
    for (name, mode) in [("a", 0o644), ("b", 0o600), ("c", 0o777), ("d/e", 0o666), ("f", 0o400)] {
        world.file(&format!("tree/{name}"), b"x");
        set_mode(&world, &format!("tree/{name}"), mode);
    }
    let modes = [("tree", 0o755), ("tree/d", 0o1777)];
    for (name, mode) in modes {
        set_mode(&world, name, mode);
    }
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    for umask in ["000", "077", "777"] {
        let script = format!(
            "umask {umask}; $ISPTAR extract -q a.tar.gz -C target{umask}/tree --strip-components 1"
        );
        fs::create_dir_all(world.path(&format!("target{umask}/tree"))).unwrap();
        world.script(&script).with_status(0);
        for name in ["a", "b", "c", "d/e", "f", "d"] {
            let restored = mode(&world, &format!("target{umask}/tree/{name}"));
            assert_eq!(restored, mode(&world, &format!("tree/{name}")), "umask {umask}: {name}");
        }
    }
    for umask in ["000", "077"] {
        let script = format!("umask {umask}; $ISPTAR create -q {umask}.tar.gz tree");
        world.script(&script).with_status(0);
        let expected = if umask == "000" { 0o666 } else { 0o600 };
        assert_eq!(mode(&world, &format!("{umask}.tar.gz")), expected);
    }
}

#[test]
fn files_are_never_open_to_more_than_their_own_mode_says() {
    if !have(&["strace"]) {
        return;
    }
    let world = World::new();
    world.file("tree/secret", b"x");
    world.file("tree/big", &noise((1 << 20) + 5, 1));
    set_mode(&world, "tree/secret", 0o600);
    set_mode(&world, "tree/big", 0o600);
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let script = "umask 0; strace -f -o trace -e trace=openat,fchmod $ISPTAR extract -q a.tar.gz";
    fs::rename(world.path("tree"), world.path("source")).unwrap();
    world.script(script).with_status(0);
    let trace = String::from_utf8(world.read("trace")).unwrap();
    let makes = |line: &&str| line.contains("O_CREAT") || line.contains("O_TMPFILE");
    let made: Vec<&str> = trace.lines().filter(makes).collect();
    assert_eq!(made.len(), 2, "{made:?}");
    for line in made {
        let alone = line.contains("O_EXCL") || line.contains("O_TMPFILE");
        // With several threads, the end of a call can stand on a later line.
        let narrow = [", 0200)", ", 0200 <unfinished"].iter().any(|mode| line.contains(mode));
        assert!(alone && narrow, "{line}");
    }
    let wide = trace.lines().any(|line| line.contains("fchmod") && line.contains("644"));
    assert!(!wide, "{trace}");
}

#[test]
fn a_program_that_runs_is_replaced() {
    let world = World::new();
    fs::create_dir(world.path("tree")).unwrap();
    fs::copy("/bin/sleep", world.path("tree/sleep")).unwrap();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let before = fs::metadata(world.path("tree/sleep")).unwrap().ino();
    let mut running =
        std::process::Command::new(world.path("tree/sleep")).arg("600").spawn().unwrap();
    let done = world.run(&["extract", "-q", "a.tar.gz"]);
    running.kill().unwrap();
    running.wait().unwrap();
    done.with_status(0);
    assert_ne!(fs::metadata(world.path("tree/sleep")).unwrap().ino(), before);
}

#[test]
fn a_directory_never_gives_way_to_a_file_nor_a_file_to_a_directory() {
    let world = World::new();
    world.file("tree/file", b"x");
    world.file("tree/dir/inner", b"x");
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    for overwrite in ["always", "never", "newer", "different"] {
        let _none = fs::remove_dir_all(world.path("target"));
        world.file("target/tree/file/kept", b"kept");
        world.file("target/tree/dir", b"kept");
        fs::create_dir(world.path("target/empty")).unwrap();
        let args = ["extract", "a.tar.gz", "-C", "target", "--overwrite", overwrite];
        let done = world.run(&args).with_status(3);
        for said in [
            "tree/dir: a file is in the way at tree/dir",
            "tree/file: a directory is in the way at tree/file",
            "tree/dir/inner: a file is in the way at tree/dir",
        ] {
            assert!(done.err.contains(said), "{overwrite}: {}", done.err);
        }
        assert_eq!(world.read("target/tree/file/kept"), b"kept");
        assert_eq!(world.read("target/tree/dir"), b"kept");
    }
}

#[test]
fn a_target_may_be_a_link_to_a_directory() {
    let world = World::with_tree();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    fs::create_dir(world.path("real")).unwrap();
    std::os::unix::fs::symlink("real", world.path("target")).unwrap();
    world.run(&["extract", "-q", "a.tar.gz", "-C", "target"]).with_status(0);
    assert_eq!(world.read("real/tree/a.txt"), b"first\n");
    assert!(world.path("target").is_symlink());
}

#[test]
fn a_file_that_may_not_change_is_told_and_the_rest_goes_on() {
    if !am_root() || !have(&["chattr"]) {
        return;
    }
    let world = World::new();
    world.file("tree/a", b"new");
    world.file("tree/b", b"new");
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    world.file("target/tree/a", b"old");
    if world.script("chattr +i target/tree/a").status != 0 {
        assert!(!is_set("ISPTAR_REQUIRE_CHATTR"));
        eprintln!("skipped: this file system has no immutable files");
        return;
    }
    let done = world.run(&["extract", "a.tar.gz", "-C", "target"]);
    world.script("chattr -i target/tree/a").with_status(0);
    let done = done.with_status(3);
    assert!(
        done.err.contains("cannot replace target/tree/a: Operation not permitted"),
        "{}",
        done.err
    );
    assert_eq!(world.names("target/tree"), ["a", "b"]);
    assert_eq!(world.read("target/tree/a"), b"old");
}

#[test]
fn a_wrong_digest_never_stands_under_its_name() {
    let world = World::new();
    let sizes = [("small", 9000), ("big", (2 << 20) + 99)];
    for (name, size) in sizes {
        for which in ["new", "old"] {
            world.file(&format!("tree/{which}-{name}"), &noise(size, size as u64));
        }
    }
    world.file("tree/whole", b"whole");
    world.run(&["create", "-q", "--level", "0", "a.tar.gz", "tree"]).with_status(0);
    let good = world.read("a.tar.gz");
    for (name, size) in sizes {
        // In the middle of the data, and near its end: the last chunk of a big file.
        let data = noise(size, size as u64);
        for at in [size / 2, size - 3] {
            let mut damaged = good.clone();
            let piece = &data[at - 40..at];
            let found = (0..good.len() - 40).filter(|&start| &good[start..start + 40] == piece);
            let places: Vec<usize> = found.collect();
            assert_eq!(places.len(), 2, "{name} {at}");
            places.iter().for_each(|&place| damaged[place + 20] ^= 4);
            world.file("damaged.tar.gz", &damaged);
            let _none = fs::remove_dir_all(world.path("target"));
            world.file(&format!("target/tree/old-{name}"), b"older");
            let done = world.run(&["extract", "damaged.tar.gz", "-C", "target"]).with_status(3);
            assert_eq!(done.err.matches("corrupt member").count(), 2, "{}", done.err);
            assert!(!world.path(&format!("target/tree/new-{name}")).exists());
            assert_eq!(world.read(&format!("target/tree/old-{name}")), b"older");
            // The rest is there, and no temporary file.
            assert_eq!(world.names("target/tree").len(), 4, "{:?}", world.names("target/tree"));
            assert_eq!(world.read("target/tree/whole"), b"whole");
        }
    }
}

#[test]
fn a_file_that_may_only_be_written_is_never_taken_for_a_wreck() {
    let world = World::new();
    world.file("tree/small", &noise(9000, 1));
    world.file("tree/big", &noise((1 << 20) + 5, 2));
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    for mode in ["never", "newer"] {
        world.file("target/tree/small", b"precious");
        set_mode(&world, "target/tree/small", 0o200);
        let done = world.run(&["extract", "a.tar.gz", "-C", "target", "--overwrite", mode]);
        assert!(done.with_status(0).err.contains("kept"), "{mode}");
        set_mode(&world, "target/tree/small", 0o600);
        assert_eq!(world.read("target/tree/small"), b"precious");
        assert_eq!(world.names("target/tree"), ["big", "small"]);
    }
    world.file("target/tree/small", b"mine");
    let args = ["extract", "a.tar.gz", "-C", "target", "--overwrite", "never"];
    let done = world.run(&args).with_status(0);
    assert!(done.err.contains("2 kept"), "{}", done.err);
    assert_eq!(world.read("target/tree/small"), b"mine");
}
