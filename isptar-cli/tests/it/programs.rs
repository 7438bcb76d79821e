//! What `create` does beside archiving files: programs and other users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::support::{World, am_root};

#[test]
fn names_say_what_is_not_compressed() {
    let world = World::new();
    let text = b"a text that is compressed very well\n".repeat(100);
    for name in ["t/a.txt", "t/b.mp4", "t/raw/c"] {
        world.file(name, &text);
    }
    let patterns = ["--no-compress", "*.mp4", "--no-compress", "raw/"];
    world.run(&[&["create", "a.tar.gz", "t"], &patterns[..]].concat()).with_status(0);
    let listed = world.run(&["ls", "--json", "a.tar.gz"]).with_status(0);
    for (name, is_stored) in [("t/a.txt", false), ("t/b.mp4", true), ("t/raw/c", true)] {
        let line = listed.text().lines().find(|line| line.contains(name)).unwrap();
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let packed = object["packed"].as_u64().unwrap();
        assert_eq!(packed > text.len() as u64, is_stored, "{line}");
    }
    let bad = ["create", "b.tar.gz", "t", "--no-compress", "[z-a]"];
    world.run(&bad).with_status(2);
}

/// Lets anybody read and write in a directory of a test.
fn open_to_all(world: &World, name: &str) {
    for path in [world.path(""), world.path(name)] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
}

#[test]
fn create_reads_as_another_user() {
    if !am_root() {
        return;
    }
    let world = World::with_tree();
    world.file("tree/secret", b"of root");
    fs::set_permissions(world.path("tree/secret"), PermissionsExt::from_mode(0o600)).unwrap();
    open_to_all(&world, "tree");
    let done = world.run(&["create", "a.tar.gz", "tree", "--user", "nobody"]).with_status(3);
    assert!(done.err.contains("cannot open tree/secret: Permission denied"), "{}", done.err);
    let nobody = fs::metadata(world.path("a.tar.gz")).unwrap().uid();
    assert_ne!(nobody, 0);
    let number = nobody.to_string();
    world.run(&["create", "b.tar.gz", "tree", "--user", &number]).with_status(3);
    world.run(&["create", "c.tar.gz", "tree"]).with_status(0);
}

#[test]
fn extract_writes_as_another_user() {
    if !am_root() {
        return;
    }
    let world = World::with_tree();
    world.run(&["create", "a.tar.gz", "tree"]).with_status(0);
    world.file("out/owned", b"");
    open_to_all(&world, "out");
    world.run(&["extract", "a.tar.gz", "-C", "out", "--user", "nobody"]).with_status(0);
    for name in ["out/tree", "out/tree/a.txt", "out/tree/sub/b.conf"] {
        assert_ne!(fs::metadata(world.path(name)).unwrap().uid(), 0, "{name}");
    }
}

#[test]
fn only_users_that_there_are_can_be_acted_as() {
    let world = World::with_tree();
    let done = world.run(&["create", "a.tar.gz", "tree", "--user", "no-such-user"]).with_status(2);
    assert!(done.err.contains("there is no user no-such-user"), "{}", done.err);
    assert!(!world.path("a.tar.gz").exists());
}
