//! `isptar diff` as a user runs it: lines, JSON, statuses, other programs' restores.

use std::fs;
use std::path::Path;

use crate::restoring::{as_nobody, set_mode, shared_world};
use crate::support::{World, am_root, have, is_set, skip};
use crate::tree;

/// The tree of [`World::with_tree`], archived.
fn archived() -> World {
    let world = World::with_tree();
    world.run(&["create", "a.tgz", "tree"]).with_status(0);
    world
}

#[test]
fn equal_is_0_and_different_is_1() {
    let world = archived();
    let done = world.run(&["diff", "a.tgz"]).with_status(0);
    assert_eq!(done.text(), "");
    assert!(done.err.contains("0 differences: 0 added"), "{}", done.err);
    world.file("tree/new", b"");
    fs::remove_file(world.path("tree/empty")).unwrap();
    world.file("tree/a.txt", b"first and more\n");
    let done = world.run(&["diff", "a.tgz", "--ignore", "mtime"]).with_status(1);
    let lines = "C tree/a.txt\tsize 6 -> 15\n- tree/empty\n+ tree/new\n";
    assert_eq!(done.text(), lines);
    assert!(done.err.contains("3 differences: 1 added, 1 removed, 1 with other content"));
    // Another directory, told in three ways.
    world.run(&["extract", "a.tgz", "-C", "else/where"]).with_status(0);
    for args in [["diff", "a.tgz", "else/where"], ["diff", "a.tgz", "-Celse/where"]] {
        world.run(&args).with_status(0);
    }
    let script = "cd else/where && $ISPTAR diff ../../a.tgz --checksum";
    world.script(script).with_status(0);
}

#[test]
fn json_has_one_object_a_line_and_the_summary_last() {
    let world = archived();
    world.file("tree/new", b"");
    world.file("tree/a.txt", b"first and more\n");
    let done = world.run(&["diff", "--json", "a.tgz", "--ignore=mtime"]).with_status(1);
    let lines: Vec<serde_json::Value> =
        done.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["type"], &lines[0]["path"]), (&"changed".into(), &"tree/a.txt".into()));
    assert_eq!(lines[0]["fields"]["size"], serde_json::json!({"old": 6, "new": 15}));
    assert_eq!(lines[1]["type"], "added");
    assert_eq!((&lines[2]["type"], &lines[2]["differences"]), (&"summary".into(), &2.into()));
    assert_eq!(lines[2]["status"], 1);
    assert_eq!(done.err, "");
}

#[test]
fn statuses_tell_what_went_wrong() {
    let world = archived();
    world.run(&["diff", "a.tgz", "a.tgz", "--checksum"]).with_status(2);
    world.run(&["diff", "a.tgz", "--ignore", "size"]).with_status(2);
    world.run(&["diff", "a.tgz", "-C", "nowhere"]).with_status(3);
    let done = world.run(&["diff", "a.tgz", "--only", "tree/nothing"]).with_status(3);
    assert!(done.err.contains("tree/nothing is on neither side"), "{}", done.err);
    world.run(&["diff", "nowhere.tgz"]).with_status(4);
    let bytes = world.read("a.tgz");
    world.file("cut.tgz", &bytes[..bytes.len() - 700]);
    world.run(&["diff", "cut.tgz"]).with_status(4);
    // The listing is damaged, its end is not.
    let mut damaged = bytes;
    let at = damaged.len() - 500;
    damaged[at] ^= 0xff;
    world.file("damaged.tgz", &damaged);
    world.run(&["diff", "damaged.tgz"]).with_status(4);
}

#[test]
fn nobody_has_to_read_all_of_it() {
    let world = archived();
    fs::remove_dir_all(world.path("tree")).unwrap();
    for n in 0..3000 {
        world.file(&format!("tree/{n}-{}", "x".repeat(100)), b"");
    }
    let script = "$ISPTAR diff a.tgz | head -n 1; echo ${PIPESTATUS[0]}";
    let done = world.script(script).with_status(0);
    assert!(done.text().ends_with("\n0\n"), "{}", done.text());
    let done = world.script("$ISPTAR diff a.tgz > /dev/full");
    assert!(done.status != 0 && done.status != 1, "{}", done.err);
    assert!(done.err.contains("standard output"), "{}", done.err);
}

#[test]
fn archives_of_two_days_are_compared() {
    let world = archived();
    world.file("tree/sub/b.conf", b"9876543210");
    world.run(&["create", "b.tgz", "tree"]).with_status(0);
    let done = world.run(&["diff", "a.tgz", "b.tgz", "--ignore", "mtime"]).with_status(1);
    assert_eq!(done.text(), "C tree/sub/b.conf\tcontent\n");
    let done = world.run_with(&["diff", "a.tgz", "-", "--ignore=mtime"], &world.read("b.tgz"));
    assert_eq!(done.with_status(1).text(), "C tree/sub/b.conf\tcontent\n");
    let only = ["diff", "a.tgz", "b.tgz", "--only", "tree/sub", "--exclude", "*.conf"];
    world.run(&[&only[..], &["--ignore=mtime"]].concat()).with_status(0);
}

#[test]
fn the_archive_itself_and_restored_listings_are_no_additions() {
    let world = World::with_tree();
    // Its name is there before the times of the directory are taken.
    world.file("tree/a.tgz", b"");
    world.run(&["create", "-C", "tree", "tree/a.tgz", "."]).with_status(0);
    let done = world.run(&["diff", "tree/a.tgz", "tree", "--ignore=mtime"]).with_status(0);
    assert_eq!(done.text(), "");
    if have(&["tar"]) {
        world.script("mkdir out && tar xzf tree/a.tgz -C out").with_status(0);
        assert!(world.names("out").contains(&".backup.info".into()));
        let args = ["diff", "tree/a.tgz", "out", "--ignore=mtime,owner,group"];
        assert_eq!(world.run(&args).with_status(0).text(), "");
    }
}

#[test]
fn every_kind_of_file_is_equal_right_after_create_and_after_extract() {
    let world = World::new();
    tree::make(&world.path("tree"));
    if !is_set("ISPTAR_SLOW_TESTS") {
        // One file with large holes will do, and no large file of another kind.
        for found in fs::read_dir(world.path("tree/sparse")).unwrap().map_while(Result::ok) {
            if found.file_name() != *"middle" && found.file_name() != *"small" {
                fs::remove_file(found.path()).unwrap();
            }
        }
    }
    let created = world.run(&["create", "a.tgz", "tree"]);
    let root = rustix::process::geteuid().is_root();
    // Not root cannot read all of it.
    let status = if root { 0 } else { 3 };
    assert_eq!(created.status, status, "{}", created.err);
    for checksum in [&["--checksum"][..], &[]] {
        let done = world.run(&[&["diff", "a.tgz"], checksum].concat());
        assert_eq!((done.text_lossy().as_ref(), done.status), ("", status), "{}", done.err);
    }
    if !am_root() {
        return;
    }
    world.run(&["extract", "a.tgz", "-C", "out"]).with_status(0);
    let done = world.run(&["diff", "a.tgz", "out", "--checksum"]).with_status(0);
    assert_eq!(done.text_lossy(), "");
    world.run(&["create", "b.tgz", "-C", "out", "tree"]).with_status(0);
    let done = world.run(&["diff", "a.tgz", "b.tgz"]).with_status(0);
    assert_eq!(done.text_lossy(), "");
    if have(&["tar"]) {
        let restore = "mkdir tar && tar --xattrs --xattrs-include='*' --acls -xzpf a.tgz -C tar";
        world.script(restore);
        let done = world.run(&["diff", "a.tgz", "tar", "--checksum", "--ignore", "nanos"]);
        assert_eq!(done.with_status(0).text_lossy(), "");
    }
}

#[test]
fn foreign_and_converted_tars_are_compared_in_whole_seconds() {
    if !have(&["tar"]) {
        return;
    }
    let world = World::with_tree();
    fs::hard_link(world.path("tree/a.txt"), world.path("tree/second")).unwrap();
    world.script("tar cf t.tar tree && gzip -k t.tar").with_status(0);
    for tar in ["t.tar", "t.tar.gz"] {
        let done = world.run(&["diff", tar, "--checksum"]).with_status(0);
        assert_eq!(done.text(), "", "{}", done.err);
    }
    world.run(&["convert", "t.tar", "t.tgz"]).with_status(0);
    world.run(&["diff", "t.tgz", "--checksum"]).with_status(0);
    world.run(&["diff", "t.tar", "t.tgz"]).with_status(0);
    world.file("tree/sub/b.conf", b"9876543210");
    let done = world.run(&["diff", "t.tar", "--checksum", "--ignore=mtime"]).with_status(1);
    assert_eq!(done.text(), "C tree/sub/b.conf\tcontent\n");
    assert!(done.err.contains("does not record"), "{}", done.err);
}

#[test]
fn archives_of_the_original_are_compared_by_what_they_have() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/classic"));
    let mut compared = 0;
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let world = World::new();
        let archive = path.to_str().unwrap();
        if world.run(&["ls", archive]).status != 0 {
            continue;
        }
        let done = world.run(&["extract", archive, "-C", "out"]);
        if done.status != 0 {
            continue;
        }
        let done = world.run(&["diff", archive, "out", "--checksum", "--ignore=owner,group"]);
        assert_eq!((done.text(), done.status), ("", 0), "{archive}: {}", done.err);
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn what_a_user_may_not_read_is_told_and_never_taken_for_gone() {
    let Some(world) = shared_world() else { return };
    world.file("tree/closed/file", b"x");
    world.file("tree/closed/sub/file", b"x");
    world.file("tree/hidden", b"x");
    world.file("tree/listed/file", b"x");
    world.file("tree/open", b"open");
    set_mode(&world, "tree/closed", 0o700);
    set_mode(&world, "tree/hidden", 0o600);
    // Its names can be read, and nothing else.
    set_mode(&world, "tree/listed", 0o744);
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    set_mode(&world, "a.tar.gz", 0o644);
    for (checksum, failed) in [("", "2 failed"), ("--checksum", "3 failed")] {
        let done = as_nobody(&world, &format!("diff a.tar.gz {checksum}")).with_status(3);
        assert_eq!(done.text(), "", "{}", done.err);
        assert!(done.err.contains("cannot read the directory tree/closed: Perm"), "{}", done.err);
        assert!(done.err.contains(failed), "{}", done.err);
        let opened = done.err.contains("cannot open tree/hidden: Perm");
        assert_eq!(opened, !checksum.is_empty(), "{}", done.err);
    }
    world.file("tree/open", b"changed");
    let done = as_nobody(&world, "diff a.tar.gz --ignore mtime").with_status(3);
    assert_eq!(done.text(), "C tree/open\tsize 4 -> 7\n");
}

#[test]
fn more_attributes_than_an_archive_takes_are_no_difference() {
    use rustix::fs::{XattrFlags, setxattr};
    let world = World::new();
    // Few file systems on disks take as much.
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (dir, file) = (memory.path().to_str().unwrap(), memory.path().join("f"));
    fs::write(&file, "x").unwrap();
    for n in 0..20_usize {
        let (key, value) = (format!("user.{n:02}"), vec![b'x'; 64_000 + n]);
        if let Err(error) = setxattr(&file, &*key, &value, XattrFlags::empty()) {
            return skip(&format!("no file system takes such attributes: {error}"));
        }
    }
    world.run(&["create", "-C", dir, "a.tgz", "f"]).with_status(1);
    let done = world.run(&["diff", "-C", dir, "a.tgz"]).with_status(0);
    assert!(done.text().is_empty() && done.err.contains("attributes"), "{}", done.err);
    // What could not be stored is not compared, all else is.
    setxattr(&file, "user.00", b"y", XattrFlags::empty()).unwrap();
    let done = world.run(&["diff", "-C", dir, "a.tgz"]).with_status(1);
    assert!(done.text().starts_with("M f\txattr"), "{}", done.text());
}
