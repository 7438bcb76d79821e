//! Full and read-only disks, limits of file sizes, broken pipes, deep and wide trees.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::support::{World, am_root, have, is_set, skip};
use crate::tree::noise;

/// A file system in memory of its own, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one; `None`, and a word, where that is not permitted.
    fn mount(world: &World, name: &str, kind: &str, options: &str) -> Option<Self> {
        if !am_root() || !have(&["mount"]) {
            return None;
        }
        let path = world.path(name);
        fs::create_dir_all(&path).unwrap();
        let place = path.to_str().unwrap();
        let args = ["-t", kind, "-o", options, "isptar-test", place];
        let done = world.tool("mount", &args, b"")?;
        if done.status != 0 {
            skip(&format!("nothing can be mounted: {}", done.err));
            return None;
        }
        Some(Self(path))
    }

    fn remount(&self, world: &World, options: &str) {
        let place = self.0.to_str().unwrap();
        let options = format!("remount,{options}");
        world.tool("mount", &["-o", &options, place], b"").unwrap().with_status(0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A mount that stays shows itself when the directory is removed.
        let _done = std::process::Command::new("umount").arg(&self.0).status();
    }
}

/// Removes a tree of any depth: the upper half of what is left is moved up, again and again.
fn remove_deep(path: &Path) {
    let parent = path.parent().unwrap();
    let spare = parent.join("being removed");
    fs::rename(path, &spare).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    loop {
        let mut here = rustix::fs::open(&spare, flags, Mode::empty()).unwrap();
        let mut deep = None;
        for _ in 0..500 {
            let Some(name) = only_directory(&here) else { break };
            let next = rustix::fs::openat(&here, name.as_str(), flags, Mode::empty()).unwrap();
            deep = Some((here, name));
            here = next;
        }
        let Some((above, name)) = deep else { break };
        rustix::fs::renameat(&above, name.as_str(), CWD, parent.join("rest")).unwrap();
        fs::remove_dir_all(&spare).unwrap();
        fs::rename(parent.join("rest"), &spare).unwrap();
    }
    fs::remove_dir_all(&spare).unwrap();
}

fn only_directory(at: &OwnedFd) -> Option<String> {
    let names = rustix::fs::Dir::read_from(at).unwrap().map(|entry| entry.unwrap());
    let mut names = names.map(|entry| entry.file_name().to_str().unwrap().to_owned());
    names.find(|name| name.starts_with('d'))
}

#[test]
fn a_full_disk_leaves_the_old_archive_whatever_its_size() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, "disk", "tmpfs", "size=64k") else { return };
    for number in 0..30u32 {
        world.file(
            &format!("tree/{number}"),
            &noise(usize::try_from(5000 + 100 * number).unwrap(), (number + 1).into()),
        );
    }
    world.file("disk/a.tar.gz", b"old");
    let (mut full, step) = (0, if is_set("ISPTAR_SLOW_TESTS") { 4 } else { 20 });
    for kib in (8..).step_by(step) {
        disk.remount(&world, &format!("size={kib}k"));
        let done = world.run(&["create", "disk/a.tar.gz", "tree"]);
        assert_eq!(world.names("disk"), ["a.tar.gz"], "{kib} KiB");
        if done.status == 0 {
            assert!(kib > 150, "{kib} KiB");
            world.run(&["ls", "disk/a.tar.gz"]).with_status(0);
            break;
        }
        full += 1;
        let done = done.with_status(6);
        let said = "isptar: error: cannot write the archive disk/a.tar.gz.isptar-partial: No space";
        assert!(done.err.starts_with(said), "{}", done.err);
        assert!(done.err.contains("an archive that was there is unchanged"), "{}", done.err);
        assert_eq!(world.read("disk/a.tar.gz"), b"old", "{kib} KiB");
    }
    assert!(full > 5, "{full}");
    eprintln!("create: {full} sizes of a full disk");
}

#[test]
fn a_full_target_ends_extract_and_what_it_has_is_whole() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, "disk", "tmpfs", "size=64k") else { return };
    for number in 0..10u64 {
        world.file(&format!("tree/{number}"), &noise(9000, number + 1));
    }
    world.file("tree/x", &noise((1 << 20) + 5000, 99));
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let mut full = 0;
    for kib in (8..).step_by(if is_set("ISPTAR_SLOW_TESTS") { 8 } else { 96 }) {
        let _none = fs::remove_dir_all(world.path("disk/tree"));
        disk.remount(&world, &format!("size={kib}k"));
        let done = world.run(&["extract", "a.tar.gz", "-C", "disk"]);
        for name in world.names("disk/tree") {
            let (found, good) = (format!("disk/tree/{name}"), format!("tree/{name}"));
            assert!(world.read(&found) == world.read(&good), "{kib} KiB: {name}");
        }
        if done.status == 0 {
            assert_eq!(world.names("disk/tree").len(), 11);
            break;
        }
        full += 1;
        let done = done.with_status(6);
        assert!(done.err.starts_with("isptar: error: cannot write disk/tree/"), "{}", done.err);
        assert!(done.err.contains("No space left on device"), "{}", done.err);
        assert!(done.err.contains("what was restored so far is whole"), "{}", done.err);
    }
    assert!(full > 5, "{full}");
    disk.remount(&world, "ro");
    let done = world.run(&["extract", "a.tar.gz", "-C", "disk"]).with_status(6);
    assert!(done.err.contains("Read-only file system"), "{}", done.err);
    let done = world.run(&["create", "disk/a.tar.gz", "tree"]).with_status(6);
    assert!(done.err.contains("cannot create the archive disk/a.tar.gz"), "{}", done.err);
}

/// Makes links whose targets make a listing of more than a megabyte, even packed.
fn many_links(world: &World) {
    fs::create_dir(world.path("links")).unwrap();
    for number in 0..8000u64 {
        let seed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let target: String =
            noise(300, seed).iter().map(|byte| char::from(b'!' + byte % 90)).collect();
        let link = world.path(&format!("links/{number}"));
        std::os::unix::fs::symlink(target.replace('/', "|"), link).unwrap();
    }
}

#[test]
fn a_full_directory_for_temporary_files_is_named() {
    let world = World::in_memory();
    let Some(disk) = Disk::mount(&world, "disk", "tmpfs", "size=600k") else { return };
    many_links(&world);
    world.file("a.tar.gz", b"old");
    let args = ["create", "-q", "--spool-dir", "disk", "a.tar.gz", "links"];
    let done = world.run(&args).with_status(6);
    let said = "isptar: error: cannot spool the listing of the archive disk: No space left";
    assert!(done.err.starts_with(said), "{}", done.err);
    assert_eq!(world.names("."), ["a.tar.gz", "disk", "links"]);
    assert_eq!(world.read("a.tar.gz"), b"old");
    // The same where the environment says it: the archive is a pipe.
    let script = "TMPDIR=disk $ISPTAR create -q - links > piped";
    let done = world.script(script).with_status(6);
    assert!(done.err.starts_with(said), "{}", done.err);
    disk.remount(&world, "size=20m");
    world.run(&args).with_status(0);
    world.run(&["ls", "a.tar.gz"]).with_status(0);
}

#[test]
fn a_limit_of_file_sizes_is_an_error_like_any_other() {
    let world = World::new();
    world.file("tree/big", &noise(3 << 20, 1));
    world.file("tree/small", b"small");
    world.run(&["create", "-q", "good.tar.gz", "tree"]).with_status(0);
    world.file("out/a.tar.gz", b"old");
    for kib in [0, 1, 100, 1024, 3000] {
        let done = world.script(&format!("ulimit -f {kib}; $ISPTAR create out/a.tar.gz tree"));
        let done = done.with_status(6);
        assert!(done.err.contains("File too large"), "{}", done.err);
        assert_eq!(world.names("out"), ["a.tar.gz"]);
        assert_eq!(world.read("out/a.tar.gz"), b"old");
    }
    let done = world.script("ulimit -f 1024; $ISPTAR extract good.tar.gz -C target");
    let done = done.with_status(3);
    assert!(done.err.contains("cannot write target/tree/big: File too large"), "{}", done.err);
    assert_eq!(world.names("target/tree"), ["small"]);
    let done = world.script("ulimit -f 0; $ISPTAR cat good.tar.gz tree/small > taken");
    assert!(done.status > 0 && done.err.contains("File too large"), "{}", done.err);
}

#[test]
fn a_broken_pipe_is_an_error_where_it_is_the_archive() {
    let world = World::new();
    world.file("tree/big", &noise(3 << 20, 1));
    for number in 0..3000 {
        world.file(&format!("tree/many/a file with a long name, to fill the pipe {number}"), b"x");
    }
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    for (command, status) in [
        ("create -q - tree", 6),
        ("ls a.tar.gz", 0),
        ("ls --json a.tar.gz", 0),
        ("cat a.tar.gz tree/big", 0),
        ("info a.tar.gz", 0),
        ("create -v b.tar.gz tree", 0),
        ("extract -v a.tar.gz -C target", 0),
    ] {
        // The reader is gone before the first byte is written.
        let script = format!(
            "exec 3> >(exec <&-; touch gone); while [ ! -e gone ]; do :; done; \
             $ISPTAR {command} >&3; s=$?; rm gone; exit $s"
        );
        let done = world.script(&script);
        assert_eq!(done.status, status, "{command}: {}", done.err);
        assert_eq!(done.err.contains("Broken pipe"), status == 6, "{command}: {}", done.err);
    }
    world.run(&["ls", "b.tar.gz"]).with_status(0);
    assert!(world.read("target/tree/big") == world.read("tree/big"));
}

/// Makes directories in each other and a file in the last one; returns its name in the archive.
fn dig(root: &Path, depth: usize, name: &str) -> String {
    fs::create_dir(root).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
        here = rustix::fs::openat(&here, name, flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let file = rustix::fs::openat(&here, "leaf", flags, Mode::RUSR).unwrap();
    rustix::io::write(file, b"deep").unwrap();
    format!("{}{}/leaf", "deep", format!("/{name}").repeat(depth))
}

/// Archives, lists and restores a deep tree with 32 handles.
fn deep(depth: usize, name: &str) {
    let world = World::in_memory();
    let leaf = dig(&world.path("deep"), depth, name);
    world.file("leaf", leaf.as_bytes());
    let run = |command: &str| world.script(&format!("ulimit -n 32; $ISPTAR {command}"));
    run("create -q a.tar.gz deep").with_status(0);
    let done = run("ls a.tar.gz").with_status(0);
    assert_eq!(done.text().lines().count(), depth + 2);
    assert_eq!(done.text().lines().last().unwrap(), leaf);
    run("extract -q a.tar.gz -C target").with_status(0);
    assert_eq!(run("cat a.tar.gz \"$(cat leaf)\"").with_status(0).out, b"deep");
    run("extract -q a.tar.gz -C one \"$(cat leaf)\"").with_status(0);
    run("create -q b.tar.gz -C target deep").with_status(0);
    assert_eq!(run("ls b.tar.gz").text(), run("ls a.tar.gz").text());
    for root in ["deep", "target", "one"] {
        remove_deep(&world.path(root));
    }
}

#[test]
fn trees_5000_deep_and_paths_longer_than_the_system_takes() {
    // Paths of 10,000 and of 20,000 bytes: the system takes 4,096.
    deep(if is_set("ISPTAR_SLOW_TESTS") { 5000 } else { 1000 }, "d23456789");
    deep(80, &format!("d{}", "x".repeat(249)));
}

#[test]
fn a_wide_tree_needs_few_handles() {
    let world = World::in_memory();
    for number in 0..300 {
        world.file(&format!("tree/{number}/sub/{number}/file"), b"x");
    }
    let run = |command: &str| world.script(&format!("ulimit -n 32; $ISPTAR {command}"));
    run("create -q a.tar.gz tree").with_status(0);
    run("extract -q a.tar.gz -C target").with_status(0);
    run("extract -q - -C target < a.tar.gz").with_status(0);
    run("extract -q --threads 7 a.tar.gz -C other").with_status(0);
    for target in ["target", "other"] {
        let found = walkdir::WalkDir::new(world.path(target)).into_iter().count();
        assert_eq!(found, 2 + 4 * 300);
    }
}

#[test]
fn a_file_system_without_attributes_is_told_once() {
    let world = World::in_memory();
    let Some(_disk) = Disk::mount(&world, "disk", "ramfs", "rw") else { return };
    for name in ["a", "b"] {
        world.file(&format!("tree/{name}"), b"x");
        let path = world.path(&format!("tree/{name}"));
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(path, "user.a", b"b", flags).is_err() {
            return skip("no extended attributes here");
        }
    }
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let done = world.run(&["extract", "a.tar.gz", "-C", "disk"]).with_status(1);
    assert_eq!(done.err.matches("cannot be kept on this file system").count(), 1, "{}", done.err);
    assert_eq!(world.names("disk/tree"), ["a", "b"]);
}

#[test]
fn a_mount_point_in_the_target_is_a_directory_like_any_other() {
    let world = World::in_memory();
    let Some(_disk) = Disk::mount(&world, "target/tree/sub", "tmpfs", "size=1m") else { return };
    world.file("tree/sub/file", b"x");
    world.file("tree/last", b"y");
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    world.run(&["extract", "-q", "a.tar.gz", "-C", "target"]).with_status(0);
    assert_eq!(world.read("target/tree/sub/file"), b"x");
    // A file that something is mounted on cannot be replaced.
    let bind = world.script("touch here && mount --bind here target/tree/last");
    if bind.status == 0 {
        let done = world.run(&["extract", "a.tar.gz", "-C", "target"]);
        world.script("umount target/tree/last").with_status(0);
        let done = done.with_status(3);
        assert!(done.err.contains("cannot replace target/tree/last"), "{}", done.err);
        assert_eq!(world.names("target/tree"), ["last", "sub"]);
        assert_eq!(world.read("target/tree/last"), b"y");
    }
}

#[test]
fn files_of_the_kernel_come_to_an_end() {
    let world = World::new();
    let paths = ["/proc/self", "/proc/cpuinfo", "/sys/kernel/mm", "/dev/null"];
    let done = world.run(&[&["create", "a.tar.gz"], &paths[..]].concat());
    assert!(matches!(done.status, 0 | 1 | 3), "{}", done.err);
    let info = fs::read("/proc/cpuinfo").unwrap();
    let stored = world.run(&["cat", "a.tar.gz", "proc/cpuinfo"]).with_status(0).out;
    assert_eq!(stored.is_empty(), info.is_empty());
    // A process's memory begins with what cannot be read.
    assert!(done.err.contains("proc/self/mem: cannot read: ") || done.err.contains("/mem"));
    let done = world.run(&["extract", "-q", "a.tar.gz", "-C", "target"]);
    assert!(matches!(done.status, 0 | 1 | 3), "{}", done.err);
    let metadata = rustix::fs::statat(CWD, world.path("target/dev/null"), AtFlags::empty());
    assert!(metadata.is_ok() || !rustix::process::geteuid().is_root());
}

#[test]
fn deleting_stays_on_the_file_system_of_the_target() {
    let world = World::new();
    world.file("tree/dir/file", b"stored");
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    world.file("tree/dir/later", b"not listed");
    for place in ["tree/dir/disk", "tree/dir/file system/disk"] {
        let Some(_disk) = Disk::mount(&world, place, "tmpfs", "size=64k") else { return };
        world.file(&format!("{place}/kept"), b"somebody else's");
        let done = world.run(&["extract", "a.tar.gz", "--delete"]).with_status(0);
        assert_eq!(world.read(&format!("{place}/kept")), b"somebody else's", "{done:?}");
        assert!(!world.path("tree/dir/later").exists(), "{done:?}");
        world.file("tree/dir/later", b"not listed");
    }
    // Nothing is mounted any more.
    world.run(&["extract", "a.tar.gz", "--delete"]).with_status(0);
    assert_eq!(world.names("tree/dir"), ["file"]);
}
