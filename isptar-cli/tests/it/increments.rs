//! Archives on a base, made and restored by the program.

use std::fs::{self, FileTimes, OpenOptions};
use std::time::{Duration, UNIX_EPOCH};

use isptar_core::Archive;

use crate::support::{World, have};

/// Makes a tree whose files are older than any archive, and an archive of it.
fn world() -> World {
    let world = World::with_tree();
    for name in ["tree/a.txt", "tree/empty", "tree/sub/b.conf"] {
        age(&world, name, 1_000_000_000);
    }
    world.run(&["create", "full.tar.gz", "-C", "tree", "."]).with_status(0);
    world
}

/// Sets the time of the last change of a file.
fn age(world: &World, name: &str, seconds: u64) {
    let file = OpenOptions::new().write(true).open(world.path(name)).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Makes an archive on another.
fn on(world: &World, base: &str, archive: &str) -> crate::support::Done {
    let args = ["create", "--ignore-ctime", "--base", base, archive, "-C", "tree", "."];
    world.run(&args).with_status(0)
}

#[test]
fn the_summary_says_what_has_not_changed() {
    let world = world();
    world.file("tree/new", b"new");
    age(&world, "tree/new", 1_000_000_000);
    fs::remove_file(world.path("tree/empty")).unwrap();
    let done = on(&world, "full.tar.gz", "inc.tar.gz");
    assert!(done.err.contains(" unchanged since full.tar.gz, 1 deleted, 0 unreadable"), "{done:?}");
    let args =
        ["create", "--ignore-ctime", "--json", "--base", "full.tar.gz", "-", "-C", "tree", "."];
    let done = world.run(&args).with_status(0);
    // The archive goes to standard output, what is told to standard error.
    assert_eq!(Archive::open(done.out).unwrap().tables().bases.len(), 1);
    let line = |text: &str| done.err.lines().find(|line| line.contains(text)).unwrap().to_owned();
    assert!(line("\"path\":\"new\"").contains("\"why\":\"new\""));
    assert_eq!(line("\"type\":\"deleted\""), "{\"path\":\"empty\",\"type\":\"deleted\"}");
    let summary = line("\"type\":\"summary\"");
    assert!(summary.contains("\"deleted\":1") && summary.contains("\"unchanged\":"), "{summary}");
    let args = ["create", "-n", "-v", "--base", "full.tar.gz", "x.tar.gz", "-C", "tree", "."];
    let done = world.run(&args).with_status(0);
    assert!(done.err.contains("deleted since the base was made: empty"), "{done:?}");
    assert!(!world.path("x.tar.gz").exists());
}

#[test]
fn a_chain_is_restored_by_isptar_and_by_tar() {
    let world = world();
    world.file("tree/a.txt", b"changed once\n");
    age(&world, "tree/a.txt", 1_000_000_001);
    on(&world, "full.tar.gz", "one.tar.gz");
    fs::hard_link(world.path("tree/a.txt"), world.path("tree/again")).unwrap();
    fs::remove_file(world.path("tree/sub/link")).unwrap();
    world.file("tree/sub/link/now a directory", b"x");
    on(&world, "one.tar.gz", "two.tar.gz");
    let archive = Archive::open(world.read("two.tar.gz")).unwrap();
    let depth = |name: &str| archive.find(&name.into()).unwrap().unwrap().depth();
    assert_eq!((depth("sub/b.conf"), depth("a.txt"), depth("again")), (2, 1, 0));
    world.run(&["extract", "two.tar.gz", "-C", "out"]).with_status(0);
    assert_eq!(world.names("out"), ["a.txt", "again", "empty", "sub"]);
    assert_eq!(world.read("out/again"), b"changed once\n");
    assert_eq!(world.read("out/sub/b.conf"), b"0123456789");
    assert_eq!(world.run(&["cat", "two.tar.gz", "again"]).with_status(0).out, b"changed once\n");
    world.run(&["diff", "two.tar.gz", "-C", "tree"]).with_status(0);
    world.run(&["verify", "two.tar.gz"]).with_status(0);
    if !have(&["tar"]) {
        return;
    }
    let script = "mkdir by-tar && for archive in full one two; do
        tar -xzf $archive.tar.gz -C by-tar || exit; done; rm by-tar/.backup.info";
    assert_eq!(world.script(script).with_status(0).err, "");
    assert_eq!(world.names("by-tar"), world.names("out"));
    assert_eq!(world.read("by-tar/again"), b"changed once\n");
    assert_eq!(world.names("by-tar/sub"), world.names("out/sub"));
}

#[test]
fn a_base_is_never_written_over() {
    let world = world();
    let before = world.read("full.tar.gz");
    std::os::unix::fs::symlink("full.tar.gz", world.path("link.tar.gz")).unwrap();
    fs::hard_link(world.path("full.tar.gz"), world.path("hard.tar.gz")).unwrap();
    for name in ["full.tar.gz", "./full.tar.gz", "link.tar.gz", "hard.tar.gz"] {
        let done = world.run(&["create", "--base", "full.tar.gz", name, "tree"]).with_status(2);
        assert!(done.err.contains("is the same file as"), "{done:?}");
    }
    assert_eq!(world.read("full.tar.gz"), before);
}

#[test]
fn what_is_no_base_is_named() {
    let world = world();
    let mut bytes = world.read("full.tar.gz");
    let listing = usize::try_from(Archive::open(bytes.clone()).unwrap().info().data_size).unwrap();
    bytes[listing + 560] ^= 0x10;
    fs::write(world.path("damaged.tar.gz"), bytes).unwrap();
    world.file("text", b"no archive");
    world.file("out.tar.gz", b"what was there");
    for base in ["damaged.tar.gz", "text"] {
        let done = world.run(&["create", "--base", base, "out.tar.gz", "tree"]).with_status(5);
        assert!(done.err.contains(base), "{done:?}");
    }
    assert_eq!(world.read("out.tar.gz"), b"what was there");
    for args in [["--base", "gone.tar.gz"], ["--base", "-"], ["--base-name", "full.tar.gz"]] {
        let args = [&["create"][..], &args, &["out.tar.gz", "tree"]].concat();
        assert!(world.run(&args).status > 1, "{args:?}");
    }
    let args = ["create", "--base", "full.tar.gz", "--base-name", "a/b", "out.tar.gz", "tree"];
    world.run(&args).with_status(2);
    let args = ["create", "--base", "full.tar.gz", "--format", "classic", "out.tar.gz", "tree"];
    world.run(&args).with_status(2);
    assert_eq!(world.read("out.tar.gz"), b"what was there");
}

#[test]
fn a_base_with_the_name_of_the_archive_is_told() {
    let world = world();
    fs::create_dir(world.path("later")).unwrap();
    let args = [
        "create",
        "--ignore-ctime",
        "--base",
        "full.tar.gz",
        "later/full.tar.gz",
        "-C",
        "tree",
        ".",
    ];
    let told = "its base is looked for beside it as full.tar.gz, which is its own name";
    let done = world.run(&args).with_status(0);
    assert!(done.err.contains(told), "{done:?}");
    world.run(&["verify", "-q", "later/full.tar.gz"]).with_status(5);
    world.run(&["verify", "-q", "--base", "full.tar.gz", "later/full.tar.gz"]).with_status(0);
    for more in [&["--copy-data"][..], &["--base-name", "sunday.tar.gz"]] {
        let done = world.run(&[&args, more].concat()).with_status(0);
        assert!(!done.err.contains("is looked for"), "{done:?}");
    }
    // A base of the base.
    on(&world, "full.tar.gz", "one.tar.gz");
    let args = ["create", "--base", "one.tar.gz", "later/full.tar.gz", "tree"];
    let done = world.run(&args).with_status(0);
    assert!(done.err.contains(told), "{done:?}");
}

#[test]
fn a_full_archive_copies_what_has_not_changed() {
    let world = world();
    world.file("tree/a.txt", b"changed once\n");
    on(&world, "full.tar.gz", "one.tar.gz");
    world.file("tree/empty", b"no more");
    fs::remove_file(world.path("tree/sub/link")).unwrap();
    let args = ["create", "--ignore-ctime", "--copy-data", "--base", "one.tar.gz"];
    let done = world.run(&[&args[..], &["new.tar.gz", "-C", "tree", "."]].concat()).with_status(0);
    assert!(done.err.contains(" unchanged since one.tar.gz, 1 deleted"), "{done:?}");
    for name in ["full.tar.gz", "one.tar.gz"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    assert!(Archive::open(world.read("new.tar.gz")).unwrap().tables().bases.is_empty());
    world.run(&["verify", "new.tar.gz"]).with_status(0);
    world.run(&["diff", "--checksum", "new.tar.gz", "-C", "tree"]).with_status(0);
    assert_eq!(world.names("."), ["new.tar.gz", "tree"]);
}

#[test]
fn a_listing_alone_is_a_base_under_the_name_of_its_archive() {
    let world = world();
    world.run(&["isolate", "full.tar.gz", "full.tar.gz.lst"]).with_status(0);
    on(&world, "full.tar.gz.lst", "one.tar.gz");
    let archive = Archive::open(world.read("one.tar.gz")).unwrap();
    assert_eq!(archive.tables().bases[0].name, b"full.tar.gz");
    assert_eq!(world.run(&["cat", "one.tar.gz", "sub/b.conf"]).with_status(0).out, b"0123456789");
    fs::rename(world.path("full.tar.gz.lst"), world.path("listing")).unwrap();
    let args = ["create", "--base", "listing", "x.tar.gz", "tree"];
    assert!(world.run(&args).with_status(2).err.contains("--base-name"));
}
