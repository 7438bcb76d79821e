//! `isptar repair` as a user runs it.

use crate::support::{PROGRAM, World, have, pipe};

/// Makes a tree and its archive; returns the length of the archive.
fn archived(world: &World) -> usize {
    for number in 0..20 {
        world.file(&format!("tree/f{number:02}"), format!("content {number}\n").as_bytes());
    }
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    world.read("a.tar.gz").len()
}

/// Returns where a member begins in the archive, by what `ls` says.
fn offset(world: &World, name: &str) -> usize {
    let done = world.run(&["ls", "--json", "a.tar.gz", name]).with_status(0);
    let object: serde_json::Value =
        serde_json::from_str(done.text().lines().next().unwrap()).unwrap();
    usize::try_from(object["location"]["offset"].as_u64().unwrap()).unwrap()
}

#[test]
fn what_a_killed_create_left_is_not_removed_by_those_who_read_it() {
    let world = World::new();
    archived(&world);
    let wreck = &world.read("a.tar.gz")[..2000];
    world.file("b.tar.gz.isptar-partial", wreck);
    for args in [
        ["repair", "b.tar.gz.isptar-partial", "b.tar.gz"],
        ["convert", "b.tar.gz.isptar-partial", "b.tar.gz"],
        ["create", "b.tar.gz", "b.tar.gz.isptar-partial"],
    ] {
        let refused = world.run(&args).with_status(2);
        assert!(refused.err.contains("is the same file as"), "{}", refused.err);
        assert_eq!(world.read("b.tar.gz.isptar-partial"), wreck);
    }
    world.run(&["repair", "b.tar.gz.isptar-partial", "c.tar.gz"]).with_status(3);
}

#[test]
fn a_cut_archive_is_saved_up_to_the_cut() {
    let world = World::new();
    archived(&world);
    let cut = &world.read("a.tar.gz")[..offset(&world, "tree/f10") + 20];
    world.file("cut.tar.gz", cut);
    let looked = world.run(&["repair", "-n", "-v", "cut.tar.gz"]).with_status(3);
    assert_eq!(looked.text().lines().count(), 11, "{}", looked.text());
    assert_eq!(world.names("."), ["a.tar.gz", "cut.tar.gz", "tree"]);

    let done = world.run(&["repair", "cut.tar.gz", "new.tar.gz"]).with_status(3);
    assert!(done.err.contains("saved 11 members"), "{}", done.err);
    assert!(done.err.contains("its end is missing"), "{}", done.err);
    assert!(done.err.contains("error: bytes "), "{}", done.err);
    assert_eq!(world.read("cut.tar.gz"), cut);
    let listed = world.run(&["ls", "new.tar.gz"]).with_status(0);
    assert_eq!(listed.out, looked.out);
    world.run(&["extract", "-q", "-C", "out", "new.tar.gz"]).with_status(0);
    assert_eq!(world.read("out/tree/f09"), b"content 9\n");
    let Some(tar) = world.tool("tar", &["-tzf", "new.tar.gz"], b"") else { return };
    let tar = tar.with_status(0);
    assert_eq!(tar.err, "");
    assert_eq!(tar.text().lines().count(), 12);
}

#[test]
fn tar_restores_of_a_repaired_archive_what_is_whole() {
    let world = World::new();
    archived(&world);
    for level in ["0", "6"] {
        world.run(&["create", "-q", "--level", level, "a.tar.gz", "tree"]).with_status(0);
        let mut damaged = world.read("a.tar.gz");
        let at = offset(&world, "tree/f10");
        damaged[at + 10..at + 50].fill(0);
        world.file("hole.tar.gz", &damaged);
        world.run(&["repair", "hole.tar.gz", "new.tar.gz"]).with_status(3);
        world.run(&["verify", "-q", "new.tar.gz"]).with_status(0);
        let Some(_) = world.tool("tar", &["--version"], b"") else { return };
        let done = world.script(&format!(
            "mkdir {level} && tar -xzf new.tar.gz -C {level} && diff -r tree {level}/tree"
        ));
        assert_eq!((done.text(), done.err.as_str()), ("Only in tree: f10\n", ""));
        let kept = world.read(&format!("{level}/tree/f19"));
        assert_eq!(kept, b"content 19\n");
    }
}

#[test]
fn a_hole_costs_one_member_by_name() {
    let world = World::new();
    archived(&world);
    let mut damaged = world.read("a.tar.gz");
    let at = offset(&world, "tree/f10");
    damaged[at + 15..at + 25].fill(0);
    world.file("hole.tar.gz", &damaged);
    let done = world.run(&["repair", "--json", "hole.tar.gz", "new.tar.gz"]).with_status(3);
    let lines: Vec<serde_json::Value> =
        done.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors: Vec<_> = lines.iter().filter(|line| line["type"] == "error").collect();
    assert_eq!(errors.len(), 1, "{}", done.text());
    assert_eq!(errors[0]["path"], "tree/f10");
    let summary = lines.last().unwrap();
    assert_eq!((summary["type"].as_str(), summary["status"].as_u64()), (Some("summary"), Some(3)));
    assert_eq!((summary["members"].as_u64(), summary["lost"].as_u64()), (Some(20), Some(1)));
    let info = world.run(&["ls", "--json", "new.tar.gz"]).with_status(0);
    // What only the listing knows is still there.
    assert!(info.text().contains("mtime_nanos"), "{}", info.text());
}

#[test]
fn a_lost_listing_loses_no_member() {
    let world = World::new();
    let len = archived(&world);
    world.file("cut.tar.gz", &world.read("a.tar.gz")[..len - 10]);
    let done = world.run(&["repair", "cut.tar.gz", "new.tar.gz"]).with_status(0);
    assert!(done.err.contains("saved 21 members"), "{}", done.err);
    let names = world.run(&["ls", "a.tar.gz"]);
    assert_eq!(world.run(&["ls", "new.tar.gz"]).out, names.out);
    // All of it gone, but its header.
    let mut damaged = world.read("a.tar.gz");
    let header = damaged.windows(12).rposition(|window| window == b".backup.info").unwrap();
    damaged.truncate(header - 15 + 535 + 20);
    world.file("cut.tar.gz", &damaged);
    let done = world.run(&["repair", "cut.tar.gz", "new.tar.gz"]).with_status(1);
    assert!(done.err.contains("21 entries made from tar headers"), "{}", done.err);
}

#[test]
fn the_damaged_archive_is_never_written_over() {
    let world = World::new();
    let len = archived(&world);
    world.file("cut.tar.gz", &world.read("a.tar.gz")[..len / 2]);
    let before = world.read("cut.tar.gz");
    std::fs::hard_link(world.path("cut.tar.gz"), world.path("same")).unwrap();
    std::os::unix::fs::symlink("cut.tar.gz", world.path("link")).unwrap();
    for new in ["cut.tar.gz", "same", "link"] {
        let done = world.run(&["repair", "cut.tar.gz", new]).with_status(2);
        assert!(done.err.contains("same file"), "{}", done.err);
    }
    let done = world.script("$ISPTAR repair cut.tar.gz - >> cut.tar.gz");
    assert!(done.with_status(2).err.contains("same file"));
    assert_eq!(world.read("cut.tar.gz"), before);
    world.run(&["repair", "cut.tar.gz"]).with_status(2);
    world.run(&["repair", "missing", "new"]).with_status(4);
    assert_eq!(world.names(".").len(), 5);
}

#[test]
fn what_is_not_ours_makes_no_archive() {
    let world = World::with_tree();
    world.file("text", &b"no archive at all\n".repeat(100));
    let done = world.run(&["repair", "text", "new.tar.gz"]).with_status(4);
    assert!(done.err.contains("no whole member"), "{}", done.err);
    if have(&["tar"]) {
        world.script("tar -czf foreign.tar.gz tree; tar -cf foreign.tar tree").with_status(0);
        for foreign in ["foreign.tar.gz", "foreign.tar"] {
            let done = world.run(&["repair", foreign, "new.tar.gz"]).with_status(4);
            assert!(done.err.contains("isptar convert"), "{}", done.err);
        }
    }
    assert!(!world.path("new.tar.gz").exists());
}

#[test]
fn a_pipe_gets_the_same_archive() {
    let world = World::new();
    archived(&world);
    world.run(&["repair", "-q", "a.tar.gz", "new.tar.gz"]).with_status(0);
    let piped = world.run(&["repair", "-q", "a.tar.gz", "-"]).with_status(0);
    assert!(piped.out == world.read("new.tar.gz"));
}

#[test]
fn a_full_disk_publishes_nothing() {
    let world = World::new();
    archived(&world);
    world.file("big/noise", &b"0123456789abcdef".repeat(100_000));
    world.run(&["create", "-q", "--level", "0", "big.tar.gz", "big"]).with_status(0);
    world.file("new.tar.gz", b"what was there");
    // Files end at 64 KiB, and the signal for that is one that is not caught here.
    let mut limited = std::process::Command::new("bash");
    limited.current_dir(world.path("."));
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" repair big.tar.gz new.tar.gz"]);
    limited.arg(PROGRAM);
    let done = pipe(&mut limited, b"").with_status(6);
    assert!(done.err.contains("cannot write"), "{}", done.err);
    assert_eq!(world.read("new.tar.gz"), b"what was there");
    assert!(!world.path("new.tar.gz.isptar-partial").exists());
}
