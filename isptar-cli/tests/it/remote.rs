//! `send` and `receive` as programs that speak with each other.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::restoring::{as_nobody, set_mode, shared_world};
use super::support::{PROGRAM, World, isptar, skip};
use super::tree::noise;

/// Returns the option that runs `isptar receive` with these words.
fn via(words: &str) -> String {
    format!("--via='{PROGRAM}' receive {words}")
}

#[test]
fn what_is_received_is_what_create_makes() {
    let world = World::with_tree();
    let sent = world.run(&["send", "tree", &via("a.tar.gz --reproducible")]).with_status(0);
    assert!(sent.err.contains("stored 6 members"), "{}", sent.err);
    assert!(sent.err.contains("sent 6 members"), "{}", sent.err);
    world.run(&["create", "b.tar.gz", "tree", "--reproducible"]).with_status(0);
    assert_eq!(world.read("a.tar.gz"), world.read("b.tar.gz"));
    world.run(&["verify", "a.tar.gz"]).with_status(0);
    world.run(&["send", "tree", &via("c.tar.gz")]).with_status(0);
    world.run(&["diff", "c.tar.gz"]).with_status(0);
}

#[test]
fn options_of_both_sides_count() {
    let world = World::with_tree();
    let words = via("a.tar.gz --level 0 --no-compress '*.conf' --json");
    let sent = ["send", "-C", "tree", ".", "--exclude", "empty", "--json", &words];
    let sent = world.run(&sent).with_status(0);
    let last = sent.text().lines().last().unwrap();
    let summary: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(summary["command"], "send");
    assert_eq!((&summary["members"], &summary["left_out"]), (&5.into(), &1.into()));
    let listed = world.run(&["ls", "a.tar.gz"]).with_status(0);
    assert_eq!(listed.text(), ".\na.txt\nsub\nsub/b.conf\nsub/link\n");
}

#[test]
fn what_is_received_is_cut_as_create_cuts_it() {
    let world = World::with_tree();
    world.file("tree/noise", &noise(20_000, 1));
    let options = "--reproducible --slice-size 5000 --slice-sha256";
    let took = "echo {number} {last} >>took";
    let received = via(&format!("a.tar.gz {options} --on-slice \"sh -c '{took}'\""));
    world.run(&["send", "tree", &received]).with_status(0);
    world.script(&format!("$ISPTAR create b.tar.gz tree {options}")).with_status(0);
    let count = (1..).take_while(|n| world.path(&format!("a.tar.gz.part{n}")).exists()).count();
    assert!(count > 3, "{count}");
    for n in 1..=count {
        let [ours, theirs] = ["a", "b"].map(|name| world.read(&format!("{name}.tar.gz.part{n}")));
        assert!(ours == theirs, "{n}");
        assert!(world.path(&format!("a.tar.gz.part{n}.sha256")).exists());
    }
    let took = String::from_utf8(world.read("took")).unwrap();
    assert_eq!((took.lines().count(), took.lines().last()), (count, Some(&*format!("{count} 1"))));
    world.run(&["verify", "-q", "a.tar.gz"]).with_status(0);
}

#[test]
fn standard_input_and_output_are_the_connection() {
    let world = World::with_tree();
    world
        .script(
            "mkfifo up down
             \"$ISPTAR\" receive a.tar.gz <up >down 2>receive.err & receiver=$!
             \"$ISPTAR\" send -q tree >up <down && wait $receiver",
        )
        .with_status(0);
    world.run(&["diff", "a.tar.gz"]).with_status(0);
}

#[test]
fn what_goes_wrong_there_is_told_here_and_nothing_is_published() {
    let world = World::with_tree();
    world.file("old.tar.gz", b"an old archive");
    let there = world.run(&["send", "tree", &via("no/such/a.tar.gz")]).with_status(6);
    assert!(there.err.contains("No such file or directory"), "{}", there.err);
    let cut = format!("--via=sh -c 'head -c 200 | \"{PROGRAM}\" receive old.tar.gz'");
    let cut = world.run(&["send", "tree", &cut]).with_status(6);
    assert!(cut.err.contains("the connection was cut"), "{}", cut.err);
    let shell = world.run(&["send", "tree", "--via=echo Welcome to this fine machine"]);
    let shell = shell.with_status(6);
    assert!(shell.err.contains("Welcome to this"), "{}", shell.err);
    let ended = world.run(&["send", "tree", "--via=sh -c 'exit 255'"]).with_status(6);
    assert!(ended.err.contains("ended with status 255"), "{}", ended.err);
    world.run(&["send", "tree", "--via=/no/such/program"]).with_status(6);
    world.run(&["send", "nothing", &via("old.tar.gz")]).with_status(6);
    assert_eq!(world.read("old.tar.gz"), b"an old archive");
}

#[test]
fn no_names_of_the_client_become_files_of_the_server() {
    let world = World::with_tree();
    world.run(&["send", "-C", "tree", ".", &via("a.tar.gz")]).with_status(0);
    assert_eq!(world.names("."), ["a.tar.gz", "tree"]);
    world.run(&["receive", "-"]).with_status(2);
}

#[test]
fn an_archive_within_the_tree_does_not_become_part_of_itself() {
    let world = World::with_tree();
    for _ in 0..2 {
        world.run(&["send", "tree", &via("tree/a.tar.gz")]).with_status(0);
        let listed = world.run(&["ls", "tree/a.tar.gz"]).with_status(0);
        assert!(!listed.text().contains("a.tar.gz"), "{}", listed.text());
    }
}

#[test]
fn a_receiver_that_is_stopped_leaves_the_old_archive() {
    let world = World::with_tree();
    world.file("a.tar.gz", b"an old archive");
    let mut command = isptar(world.path("").as_path());
    let command = command.args(["receive", "a.tar.gz"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut hello = [0; 16];
    child.stdout.as_mut().unwrap().read_exact(&mut hello).unwrap();
    child.stdin.as_mut().unwrap().write_all(b"isptar re").unwrap();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    assert_eq!(world.read("a.tar.gz"), b"an old archive");
    assert_eq!(world.names("."), ["a.tar.gz", "tree"]);
}

#[test]
fn files_that_cannot_be_read_are_told_on_both_sides() {
    let Some(world) = shared_world() else { return };
    world.file("tree/open", b"open");
    world.file("tree/secret", b"secret");
    set_mode(&world, "tree/secret", 0o000);
    set_mode(&world, "", 0o777);
    let sent = as_nobody(&world, "send tree --via='./isptar receive a.tar.gz'").with_status(3);
    assert!(sent.err.contains("cannot open tree/secret"), "{}", sent.err);
    assert!(sent.err.contains("1 unreadable"), "{}", sent.err);
    assert_eq!(world.run(&["cat", "a.tar.gz", "tree/open"]).with_status(0).text(), "open");
}

/// Returns the path of a capture of the original program.
fn capture(name: &str) -> String {
    format!("{}/../testdata/classic/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_original_protocol_is_spoken_as_the_captures_have_it() {
    let world = World::new();
    let client = fs::read(capture("client-to-server.bin")).unwrap();
    for format in ["isptar", "classic"] {
        let args = ["receive", "--classic", "--format", format, "a.tar.gz"];
        let received = world.run_with(&args, &client).with_status(0);
        assert_eq!(received.out, fs::read(capture("server-to-client.bin")).unwrap());
        world.run(&["verify", "a.tar.gz"]).with_status(0);
        let listed = world.run(&["ls", "a.tar.gz"]).with_status(0);
        let original = world.run(&["ls", &capture("server.tgz")]).with_status(0);
        assert_eq!(listed.text(), original.text());
    }
}

#[test]
fn what_the_captures_hold_is_sent_as_the_original_sent_it() {
    if !super::support::am_root() {
        return skip("a tree with foreign owners");
    }
    let named = |name: &str, file: &str| fs::read_to_string(file).unwrap().contains(name);
    if !named("games:x:5:", "/etc/passwd") || !named("tty:x:5:", "/etc/group") {
        return skip("owners by the names that the captures have");
    }
    let world = World::new();
    let (client, server) = (capture("client-to-server.bin"), capture("server-to-client.bin"));
    world
        .run_with(&["receive", "--classic", "a.tar.gz"], &fs::read(&client).unwrap())
        .with_status(0);
    world.run(&["extract", "a.tar.gz"]).with_status(0);
    let sent = world.run_with(&["send", "--classic", "small"], &fs::read(&server).unwrap());
    assert_eq!(sent.with_status(0).out, fs::read(&client).unwrap());
}

#[test]
fn the_status_of_a_classic_server_tells_how_it_ended() {
    let world = World::with_tree();
    let words = via("--classic a.tar.gz");
    let sent = world.run(&["send", "--classic", "tree", &words]).with_status(0);
    assert!(sent.err.contains("sent 5 members"), "{}", sent.err);
    world.run(&["verify", "a.tar.gz"]).with_status(0);
    let failing = format!("--via=sh -c '\"{PROGRAM}\" receive --classic b.tar.gz; exit 9'");
    let failed = world.run(&["send", "--classic", "tree", &failing]).with_status(6);
    assert!(failed.err.contains("ended with status 9"), "{}", failed.err);
}

#[test]
fn with_a_base_there_only_what_has_changed_is_sent() {
    let world = World::with_tree();
    // A base without times is compared by content: with times all would be too young to be trusted.
    world.run(&["send", "tree", &via("a.tar.gz --reproducible")]).with_status(0);
    world.file("tree/new", b"new");
    fs::remove_file(world.path("tree/empty")).unwrap();
    let sent = world.run(&["send", "tree", &via("b.tar.gz --base a.tar.gz")]).with_status(0);
    assert!(sent.err.contains("sent 2 members"), "{}", sent.err);
    assert!(sent.err.contains("4 unchanged"), "{}", sent.err);
    world.run(&["extract", "b.tar.gz", "-C", "out"]).with_status(0);
    assert_eq!(world.names("out/tree"), ["a.txt", "new", "sub"]);
    assert_eq!(world.read("out/tree/a.txt"), b"first\n");
    world.run(&["send", "tree", &via("b.tar.gz --base b.tar.gz")]).with_status(6);
    world.run(&["receive", "--classic", "c.tar.gz", "--base", "a.tar.gz"]).with_status(2);
}
