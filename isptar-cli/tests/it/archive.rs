//! The commands on archives of ours.

use std::process::Stdio;

use crate::support::{World, isptar};

const NAMES: &str = "\
tree
tree/a.txt
tree/empty
tree/sub
tree/sub/b.conf
tree/sub/link
";

fn archived() -> World {
    let world = World::with_tree();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    world
}

#[test]
fn create_tells_one_line() {
    let world = World::with_tree();
    let done = world.run(&["create", "a.tar.gz", "tree"]).with_status(0);
    assert!(done.out.is_empty());
    assert!(done.err.starts_with("isptar: stored 6 members, 16 bytes in "), "{}", done.err);
    assert_eq!(done.err.lines().count(), 1);
    let done = world.run(&["create", "-v", "-q", "a.tar.gz", "tree"]).with_status(0);
    assert_eq!((done.text(), done.err.as_str()), (NAMES, ""));
}

#[test]
fn create_streams_the_same_archive() {
    let world = World::with_tree();
    world.run(&["create", "-q", "--reproducible", "a.tar.gz", "tree"]).with_status(0);
    let done = world.run(&["create", "-q", "--reproducible", "-", "tree"]).with_status(0);
    assert_eq!(done.out, world.read("a.tar.gz"));
}

#[test]
fn create_leaves_out_what_it_is_told_to() {
    let world = World::with_tree();
    let args = ["create", "--dry-run", "a.tar.gz", "tree", "--exclude", "*.conf"];
    let done = world.run(&args).with_status(0);
    assert_eq!(done.text(), NAMES.replace("tree/sub/b.conf\n", ""));
    assert!(done.err.contains("isptar: left out tree/sub/b.conf: excluded\n"), "{}", done.err);
    assert!(done.err.contains("isptar: would store 5 members"), "{}", done.err);
    assert!(!world.path("a.tar.gz").exists());
    let done = world.run(&["create", "a.tar.gz", "tree", "--exclude-from", "gone"]).with_status(2);
    assert!(done.err.contains("cannot read the patterns of gone: No such file"), "{}", done.err);
}

#[test]
fn create_speaks_json() {
    let world = World::with_tree();
    let done = world.run(&["create", "--json", "a.tar.gz", "tree"]).with_status(0);
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines.len(), 7);
    assert!(lines[1].contains("\"path\":\"tree/a.txt\"") && lines[1].contains("\"member\""));
    assert!(lines[6].contains("\"type\":\"summary\"") && lines[6].contains("\"members\":6"));
    assert_eq!(done.err, "");
}

#[test]
fn create_that_cannot_write_has_status_6() {
    let world = World::with_tree();
    let done = world.run(&["create", "gone/a.tar.gz", "tree"]).with_status(6);
    assert!(done.err.starts_with("isptar: error: cannot create the archive gone/a.tar.gz"));
}

#[test]
fn ls_prints_names() {
    let world = archived();
    assert_eq!(world.run(&["ls", "a.tar.gz"]).with_status(0).text(), NAMES);
    let done = world.run(&["ls", "a.tar.gz", "tree/sub", "*.txt"]).with_status(0);
    assert_eq!(done.text(), "tree/a.txt\ntree/sub\ntree/sub/b.conf\ntree/sub/link\n");
    let done = world.run(&["ls", "-0", "--depth", "1", "a.tar.gz"]).with_status(0);
    assert_eq!(done.text(), "tree\0");
    let done = world.run(&["ls", "--tree", "a.tar.gz", "tree/sub"]).with_status(0);
    assert_eq!(done.text(), "tree/\n  sub/\n    b.conf\n    link -> b.conf\n");
    let done = world.run(&["ls", "a.tar.gz", "gone", "tree/a.txt"]).with_status(3);
    assert_eq!(done.text(), "tree/a.txt\n");
    assert!(done.err.starts_with("isptar: error: no member named gone\nisptar: hint: "));
}

#[test]
fn ls_prints_what_it_knows() {
    let world = archived();
    let done = world.run(&["ls", "-l", "a.tar.gz", "tree/sub/b.conf"]).with_status(0);
    assert!(done.text().starts_with("-rw") && done.text().ends_with(" tree/sub/b.conf\n"));
    let done = world.run(&["ls", "--json", "a.tar.gz"]).with_status(0);
    assert_eq!(done.text().lines().count(), 7);
    assert!(done.text().contains("\"target\":\"b.conf\""));
    let done = world.run(&["ls", "--sha256", "a.tar.gz"]).with_status(0);
    assert_eq!(done.text().lines().count(), 3);
    if let Some(checked) = world.tool("sha256sum", &["-c", "--strict"], &done.out) {
        let checked = checked.with_status(0);
        assert_eq!(checked.text(), "tree/a.txt: OK\ntree/empty: OK\ntree/sub/b.conf: OK\n");
    }
}

#[test]
fn cat_prints_contents_and_ranges() {
    let world = archived();
    let done = world.run(&["cat", "a.tar.gz", "tree/sub/b.conf", "tree/a.txt"]).with_status(0);
    assert_eq!(done.text(), "0123456789first\n");
    for (range, bytes) in [("2-4", "234"), ("7-", "789"), ("-2", "89"), ("9-99", "9")] {
        let range = format!("--range={range}");
        let done = world.run(&["cat", "a.tar.gz", "tree/sub/b.conf", &range]).with_status(0);
        assert_eq!(done.text(), bytes, "{range}");
    }
    let done = world.run(&["cat", "a.tar.gz", "tree/sub", "tree/a.txt"]).with_status(3);
    assert_eq!(done.text(), "first\n");
    assert!(done.err.contains("isptar: error: tree/sub is a directory, not a file\n"));
}

#[test]
fn extract_restores_what_was_asked_for() {
    let world = archived();
    let done = world.run(&["extract", "a.tar.gz", "-C", "all"]).with_status(0);
    assert!(done.err.starts_with("isptar: restored 6 members, 16 bytes, 0 failed"));
    assert_eq!(world.read("all/tree/sub/link"), b"0123456789");
    let args = ["extract", "-qv", "a.tar.gz", "tree/sub/b.conf", "-C", "one"];
    let done = world.run(&args).with_status(0);
    assert_eq!(done.text(), "tree/sub/b.conf\n");
    assert!(world.path("one/tree/sub/b.conf").exists() && !world.path("one/tree/a.txt").exists());
    let done = world.run(&["extract", "a.tar.gz", "gone", "-C", "none"]).with_status(3);
    assert!(done.err.contains("no member named gone"), "{}", done.err);
}

#[test]
fn info_tells_what_it_is() {
    let world = archived();
    let done = world.run(&["info", "a.tar.gz"]).with_status(0);
    assert!(done.text().contains("kind:       isptar archive, format 2\nentries:    6\n"));
    let done = world.run(&["info", "--json", "a.tar.gz"]).with_status(0);
    assert!(done.text().contains("\"content_size\":16,"), "{}", done.text());
}

#[test]
fn damage_costs_one_member() {
    let world = World::with_tree();
    world.run(&["create", "-q", "--level", "0", "a.tar.gz", "tree"]).with_status(0);
    let mut bytes = world.read("a.tar.gz");
    let at = bytes.windows(10).position(|window| window == b"0123456789").unwrap();
    bytes[at] ^= 1;
    world.file("a.tar.gz", &bytes);
    let done = world.run(&["cat", "a.tar.gz", "tree/sub/b.conf", "tree/a.txt"]).with_status(3);
    assert_eq!(done.text(), "first\n");
    assert!(done.err.starts_with("isptar: error: corrupt member tree/sub/b.conf "), "{}", done.err);
    let done = world.run(&["extract", "a.tar.gz", "-C", "out", "--json"]).with_status(3);
    assert!(done.text().contains("\"path\":\"tree/sub/b.conf\",\"type\":\"error\""));
    assert!(!world.path("out/tree/sub/b.conf").exists());
    assert_eq!(world.read("out/tree/a.txt"), b"first\n");
}

#[test]
fn a_cut_archive_is_never_a_success() {
    let world = archived();
    let bytes = world.read("a.tar.gz");
    for length in (0..bytes.len()).step_by(7) {
        world.file("cut.tar.gz", &bytes[..length]);
        world.run(&["ls", "cut.tar.gz"]).with_status(4);
    }
}

#[test]
fn a_signal_leaves_the_old_archive() {
    let world = World::with_tree();
    world.file("a.tar.gz", b"the old one");
    let mut state = 1u32;
    let noise = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"abcdefgh"[(state >> 29) as usize]
    };
    world.file("tree/big", &(0..64 << 20).map(noise).collect::<Vec<u8>>());
    let mut command = isptar(&world.path("."));
    command.args(["create", "--level", "12", "a.tar.gz", "tree"]).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // The handlers stand by the time that the temporary file is there.
    while !world.path("a.tar.gz.isptar-partial").exists() {
        std::thread::yield_now();
    }
    world.tool("kill", &["-TERM", &child.id().to_string()], b"").unwrap().with_status(0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 15));
    assert_eq!(output.stderr, b"isptar: error: interrupted\n");
    assert_eq!(world.read("a.tar.gz"), b"the old one");
    assert!(!world.path("a.tar.gz.isptar-partial").exists());
}

#[test]
fn nobody_has_to_read_all_of_a_report() {
    let world = archived();
    let names: Vec<String> = (0..20_000).map(|n| format!("tree/many/{n:0100}")).collect();
    names.iter().for_each(|name| world.file(name, b""));
    world.run(&["create", "-q", "b.tar.gz", "tree"]).with_status(0);
    let program = env!("CARGO_BIN_EXE_isptar");
    let script = format!("{program} ls b.tar.gz | head -n 1; echo ${{PIPESTATUS[0]}}");
    let done = world.tool("bash", &["-c", &script], b"").unwrap();
    assert_eq!((done.text(), done.err.as_str()), ("tree\n0\n", ""));
}
