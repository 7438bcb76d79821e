//! What `create` does beside archiving files: programs and other users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use super::support::{PROGRAM, World, am_root, with_threads};

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
    // So do programs.
    let args = ["create", "d.tar.gz", "--command", "who=id -un", "--user", "nobody"];
    world.run(&args).with_status(0);
    assert_eq!(world.run(&["cat", "d.tar.gz", "who"]).with_status(0).text(), "nobody\n");
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

#[test]
fn what_programs_print_becomes_members_in_name_order() {
    let world = World::with_tree();
    let rows = "sh -c 'seq 500000; test \"$ISPTAR_NAME\" = \"$1\"' x {name}";
    let (small, large) = (format!("tree/b.sql={rows}"), format!("/z/it's big.sql={rows}"));
    let args = ["create", "a.tar.gz", "tree", "--command", &small, "--command", &large];
    world.run(&[&args[..], &["--group-size", "64K", "-v"]].concat()).with_status(0);
    let names = world.run(&["ls", "a.tar.gz"]).with_status(0);
    let expected = "tree\ntree/a.txt\ntree/b.sql\ntree/empty\ntree/sub\ntree/sub/b.conf\n\
                    tree/sub/link\nz/it's big.sql\n";
    assert_eq!(names.text(), expected);
    let long = world.run(&["ls", "-l", "a.tar.gz", "tree/b.sql"]).with_status(0);
    assert!(long.text().starts_with("-rw-------"), "{}", long.text());
    let seq = world.script("seq 500000").with_status(0);
    world.run(&["verify", "a.tar.gz"]).with_status(0);
    for name in ["tree/b.sql", "z/it's big.sql"] {
        assert!(world.run(&["cat", "a.tar.gz", name]).with_status(0).out == seq.out, "{name}");
        for tool in ["tar", "bsdtar"] {
            let args = ["-xzOf", "a.tar.gz", name];
            let Some(done) = world.tool(tool, &args, b"") else { continue };
            assert!(done.with_status(0).out == seq.out, "{tool}: {name}");
        }
    }
}

#[test]
fn standard_input_becomes_a_member_without_any_path() {
    let world = World::new();
    let text = b"some lines\n".repeat(500_000);
    let args = ["create", "a.tar.gz", "--stdin-name", "in/dump", "--json"];
    let done = world.run_with(&args, &text).with_status(0);
    assert!(done.text().contains("\"path\":\"in/dump\""), "{}", done.text());
    assert!(world.run(&["cat", "a.tar.gz", "in/dump"]).with_status(0).out == text);
    // The archive and its only member by pipes.
    let done = world.run_with(&["create", "-", "--stdin-name", "dump"], &text).with_status(0);
    world.file("b.tar.gz", &done.out);
    assert!(world.run(&["cat", "b.tar.gz", "dump"]).with_status(0).out == text);
}

#[test]
fn classic_archives_take_what_programs_print() {
    let world = World::with_tree();
    for (name, rows) in [("a.tar.gz", "700000"), ("b.tar.gz", "7")] {
        let command = format!("tree/b.sql=seq {rows}");
        let hook = "tree/sub=touch tree/sub/locked";
        let args = ["create", "--format", "classic", name, "tree", "--hook", hook];
        world.run(&[&args[..], &["--command", &command]].concat()).with_status(0);
        let seq = world.script(&format!("seq {rows}")).with_status(0);
        assert!(world.run(&["cat", name, "tree/b.sql"]).with_status(0).out == seq.out);
        world.run(&["verify", name]).with_status(0);
        let Some(done) = world.tool("tar", &["-xzOf", name, "tree/b.sql"], b"") else { continue };
        assert!(done.with_status(0).out == seq.out);
    }
}

#[test]
fn parts_are_members_of_their_own() {
    let world = World::new();
    let command = "dump=seq 200000";
    let parts = ["--command", command, "--command-parts", "500K"];
    world.run(&[&["create", "a.tar.gz"], &parts[..]].concat()).with_status(0);
    let names = world.run(&["ls", "a.tar.gz"]).with_status(0);
    assert_eq!(names.text(), "dump.000\ndump.001\ndump.002\n");
    let all = world.script("$ISPTAR cat a.tar.gz dump.000 dump.001 dump.002 | cmp - <(seq 200000)");
    all.with_status(0);
    world.run(&["create", "b.tar.gz", "a.tar.gz", "--command-parts", "1M"]).with_status(2);
}

#[test]
fn a_program_that_fails_leaves_the_archive_that_was_there() {
    let world = World::with_tree();
    world.file("a.tar.gz", b"old");
    for (command, said) in [
        ("d=sh -c 'seq 1000000; echo no rows >&2; exit 3'", "ended with status 3"),
        ("d=sh -c 'kill -9 $$'", "ended by signal 9 (SIGKILL)"),
        ("d=/no/such/program", "cannot run /no/such/program"),
    ] {
        let args = ["create", "a.tar.gz", "tree", "--command", command];
        let done = world.run(&args).with_status(8);
        assert!(done.err.contains("cannot get the content of d: "), "{}", done.err);
        assert!(done.err.contains(said), "{}", done.err);
        assert_eq!(done.err.contains("no rows\n"), command.contains("no rows"));
        assert_eq!(world.read("a.tar.gz"), b"old");
        assert_eq!(world.names(""), ["a.tar.gz", "tree"]);
    }
}

#[test]
fn names_of_programs_must_be_free() {
    let world = World::with_tree();
    for (one, other) in [("x", "x"), ("x", "x/y"), ("tree/a.txt", "y"), ("tree/a.txt/y", "z")] {
        let (one, other) = (format!("{one}=true"), format!("{other}=true"));
        let args = ["create", "a.tar.gz", "tree", "--command", &one, "--command", &other];
        world.run(&args).with_status(2);
        assert!(!world.path("a.tar.gz").exists());
    }
    for wrong in ["x", "=true", "x=", "x='true", "../x=true", "x/=true"] {
        world.run(&["create", "a.tar.gz", "--command", wrong]).with_status(2);
    }
    let both = ["create", "a.tar.gz", "--stdin-name", "x", "--exclude-from", "-"];
    world.run(&both).with_status(2);
}

#[test]
fn hooks_run_around_the_files_below_their_prefix() {
    let world = World::with_tree();
    let hook =
        "/tree/sub=sh -c 'echo \"$ISPTAR_STAGE $2\"; echo $1 >>tree/sub/$1' x {stage} {prefix}";
    let done = world.run(&["create", "-", "tree", "--hook", hook]).with_status(0);
    // The archive is on standard output: what the hook prints is not.
    assert!(done.err.contains("before /tree/sub\nafter /tree/sub\n"), "{}", done.err);
    world.file("a.tar.gz", &done.out);
    let names = world.run(&["ls", "a.tar.gz", "tree/sub"]).with_status(0);
    assert_eq!(names.text(), "tree/sub\ntree/sub/b.conf\ntree/sub/before\ntree/sub/link\n");
    assert!(world.path("tree/sub/after").exists());
}

#[test]
fn a_hook_that_fails_leaves_the_archive_that_was_there() {
    let world = World::with_tree();
    world.file("a.tar.gz", b"old");
    for stage in ["before", "after"] {
        let hook = format!("tree/sub=sh -c 'touch ran-$1; test $1 != {stage}' x {{stage}}");
        let done = world.run(&["create", "a.tar.gz", "tree", "--hook", &hook]).with_status(8);
        let said = format!("the program {stage} the files under tree/sub failed: sh -c");
        assert!(done.err.contains(&said), "{}", done.err);
        assert!(done.err.contains("ended with status 1"), "{}", done.err);
        assert_eq!(world.read("a.tar.gz"), b"old");
        assert_eq!(world.path("ran-after").exists(), stage == "after");
    }
}

#[test]
fn a_hook_for_nothing_is_told_and_a_dry_run_runs_nothing() {
    let world = World::with_tree();
    let hooks = ["--hook", "tree=touch ran", "--hook", "gone=touch ran"];
    let args = [&["create", "a.tar.gz", "tree", "--command", "x=touch ran", "-n"], &hooks[..]];
    let done = world.run(&args.concat()).with_status(1);
    assert!(done.text().ends_with("tree/sub/link\nx\n"), "{}", done.text());
    assert!(done.err.contains("gone: there is nothing of that name"), "{}", done.err);
    assert_eq!(world.names(""), ["tree"]);
}

#[test]
fn a_signal_ends_the_program_and_undoes_what_hooks_did() {
    let world = World::with_tree();
    mknodat(CWD, world.path("started"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let hook = "tree=sh -c 'if test $1 = before; then touch lock; else rm lock; fi' x {stage}";
    // The program says its number, which proves that it runs, and waits.
    let command = "tree/dump=sh -c 'ls lock; echo $$ >started; exec sleep 1000'";
    let args = ["create", "a.tar.gz", "tree", "--hook", hook, "--command", command];
    // Signals that whoever runs the tests ignores would be ignored by the program as well.
    let mut run = Command::new("env");
    run.current_dir(world.path("")).args(["--default-signal", PROGRAM]).args(with_threads(&args));
    let mut run = run.stderr(Stdio::null()).spawn().unwrap();
    let number = fs::read_to_string(world.path("started")).unwrap();
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(143));
    assert!(!std::path::Path::new("/proc").join(number.trim()).exists());
    assert_eq!(world.names(""), ["started", "tree"]);
}
