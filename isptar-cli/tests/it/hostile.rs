//! Hostile and damaged tars, plain and packed, through every command that reads.
//!
//! `testdata/hostile/expected.tsv`: file, status of `isptar extract`, whether its good member
//! `ok.txt` is restored.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::support::{World, am_root};

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata")).join(name)
}

/// Names, contents, modes and link counts of what must not change.
fn canary(world: &World) -> Vec<(String, u32, u64, Vec<u8>)> {
    let mut seen = Vec::new();
    for name in [".", "victim", "vdir"] {
        let path = world.path("outside").join(name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = fs::read(&path).unwrap_or_default();
        seen.push((name.to_owned(), metadata.mode(), metadata.nlink(), content));
    }
    assert_eq!(world.names("outside"), ["vdir", "victim"]);
    seen
}

/// A directory with the canaries that the names in the archives aim at.
fn guarded() -> World {
    let world = World::new();
    world.file("outside/victim", b"original\n");
    fs::create_dir(world.path("outside/vdir")).unwrap();
    for (name, mode) in [("victim", 0o600), ("vdir", 0o700)] {
        let path = world.path("outside").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    world
}

/// Takes an archive through all commands; returns the status of extract, and what was `ok.txt`.
fn through(world: &World, archive: &str) -> (i32, bool) {
    let before = canary(world);
    let done = world.run(&["extract", "-q", archive, "-C", "root"]);
    assert!((0..=4).contains(&done.status), "{archive}: {}", done.err);
    assert!(done.status == 0 || !done.err.is_empty(), "{archive}: {} is silent", done.status);
    let ok = fs::read(world.path("root/ok.txt")).is_ok_and(|content| content == b"ok\n");
    for args in [
        &["ls", "-q", archive][..],
        &["info", "-q", archive],
        &["cat", "-q", archive, "ok.txt"],
        &["convert", "-q", archive, "new.tar.gz"],
    ] {
        let done = world.run(args);
        assert!((0..=4).contains(&done.status), "{archive} {args:?}: {}", done.err);
        if args[0] == "cat" && ok {
            assert_eq!(done.out, b"ok\n", "{archive}");
        }
    }
    assert!(before == canary(world), "{archive} left its target");
    drop(fs::remove_file(world.path("new.tar.gz")));
    drop(fs::remove_dir_all(world.path("root")));
    (done.status, ok)
}

#[test]
fn hostile_tars_harm_nothing_and_lose_only_what_is_damaged() {
    if !am_root() {
        return;
    }
    let world = guarded();
    let table = fs::read_to_string(testdata("hostile/expected.tsv")).unwrap();
    let mut known: Vec<&str> = vec!["expected.tsv"];
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, status, ok] = fields[..] else { panic!("{line}") };
        known.push(name);
        let bytes = fs::read(testdata("hostile").join(name)).unwrap();
        world.file(name, &bytes);
        let expected = (status.parse().unwrap(), ok == "1");
        assert_eq!(through(&world, name), expected, "{name}");
        if name.ends_with(".tar") {
            let packed = world.tool("gzip", &["-c"], &bytes);
            let Some(packed) = packed else { continue };
            let packed_name = format!("{name}.gz");
            world.file(&packed_name, &packed.out);
            assert_eq!(through(&world, &packed_name).1, expected.1, "{packed_name}");
        }
    }
    for file in fs::read_dir(testdata("hostile")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name.as_str()), "{name} has no row");
    }
}

#[test]
fn where_three_tars_agree_the_same_members_are_listed() {
    let world = World::new();
    let table = fs::read_to_string(testdata("tar-corpus/expected.tsv")).unwrap();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, _, members, _, _, _, _, agree] = fields[..] else { panic!("{line}") };
        let path = testdata("tar-corpus").join(name);
        let done = world.run(&["ls", "-q", "--json", path.to_str().unwrap()]);
        let same = done.text_lossy().contains(&format!("\"members\":{members},"));
        match agree {
            "all" => assert!(same && done.status <= 1, "{name}: {} {}", done.status, done.err),
            "reject" => {
                assert!(done.status >= 3, "{name}");
                assert!(done.text_lossy().contains("\"error\"") || !done.err.is_empty(), "{name}");
            }
            _ => assert!((0..=4).contains(&done.status), "{name}"),
        }
    }
}
