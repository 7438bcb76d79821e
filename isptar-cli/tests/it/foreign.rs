//! The commands on tars of other programs, and making archives of them.

use crate::support::World;

/// Makes a world with `a.tar` of the small tree by GNU tar.
fn tarred() -> Option<World> {
    let world = World::with_tree();
    let args = ["-cf", "a.tar", "--sort=name", "--format=gnu", "tree"];
    world.tool("tar", &args, b"")?.with_status(0);
    Some(world)
}

#[test]
fn tars_are_read_from_front_to_back_and_that_is_told_once() {
    let Some(world) = tarred() else { return };
    let said = "isptar: a.tar has no listing, reading it from front to back\n";
    let done = world.run(&["ls", "a.tar", "tree/sub"]).with_status(0);
    assert_eq!(done.err, said);
    assert_eq!(done.text().lines().count(), 3);
    let done = world.run(&["cat", "a.tar", "tree/sub/b.conf", "--range", "3-5"]).with_status(0);
    assert_eq!((done.text(), done.err.as_str()), ("345", said));
    let done = world.run_with(&["ls", "-q", "-"], &world.read("a.tar")).with_status(0);
    assert_eq!((done.text().lines().count(), done.err.as_str()), (6, ""));
    let done = world.run(&["extract", "-q", "a.tar", "-C", "all"]).with_status(0);
    assert_eq!(done.err, "");
    assert_eq!(world.read("all/tree/a.txt"), b"first\n");
    let done = world.run(&["info", "-q", "a.tar"]).with_status(0);
    assert!(done.text().contains("kind:       archive of another program (tar)\nentries:    6\n"));
}

#[test]
fn every_compression_becomes_an_archive_with_a_listing() {
    let Some(world) = tarred() else { return };
    for (program, ending) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz"), ("bzip2", "bz2")] {
        let Some(packed) = world.tool(program, &["-c"], &world.read("a.tar")) else { continue };
        let name = format!("b.tar.{ending}");
        world.file(&name, &packed.with_status(0).out);
        let done = world.run(&["convert", &name, "new.tar.gz"]).with_status(0);
        assert!(done.err.starts_with("isptar: stored 6 members, 16 bytes in "), "{}", done.err);
        let done = world.run(&["cat", "new.tar.gz", "tree/a.txt"]).with_status(0);
        assert_eq!((done.text(), done.err.as_str()), ("first\n", ""));
    }
}

#[test]
fn hard_links_and_names_with_dots_are_followed() {
    let world = World::with_tree();
    std::fs::hard_link(world.path("tree/a.txt"), world.path("tree/z.txt")).unwrap();
    let args = ["-cf", "a.tar", "--sort=name", "-C", "tree", "."];
    let Some(done) = world.tool("tar", &args, b"") else { return };
    done.with_status(0);
    let done = world.run(&["cat", "-q", "a.tar", "z.txt", "sub/b.conf"]).with_status(0);
    assert_eq!(done.text(), "0123456789first\n");
    let done = world.run_with(&["cat", "-q", "-", "z.txt"], &world.read("a.tar")).with_status(3);
    assert!(done.err.contains("is a hard link to a.txt"), "{}", done.err);
    let done = world.run(&["ls", "-q", "--depth", "0", "a.tar", "sub"]).with_status(0);
    assert_eq!(done.text().trim_end().trim_end_matches('/'), "./sub");
}

#[test]
fn nothing_is_no_archive() {
    let world = World::new();
    world.file("empty", b"");
    let done = world.run(&["extract", "empty"]).with_status(4);
    assert_eq!(done.err, "isptar: error: empty is empty\n");
    let done = world.run(&["ls", "-"]).with_status(4);
    assert_eq!(done.err, "isptar: error: standard input is empty\n");
}

#[test]
fn what_is_no_tar_is_refused_with_status_4() {
    let world = World::new();
    world.file("noise", &[0x5a; 5000]);
    for args in [&["ls", "noise"][..], &["convert", "noise", "new.tar.gz"]] {
        let done = world.run(args).with_status(4);
        assert!(done.err.contains("isptar: error: "), "{}", done.err);
    }
    assert!(!world.path("new.tar.gz").exists());
}
