//! Archives in slices, as a user meets them.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Done, World, have};
use crate::tree::noise;

/// Makes a tree of 40 small files and one of 300 KB: at 20 KB about 30 slices.
fn world() -> World {
    let world = World::in_memory();
    for n in 0..40 {
        world.file(&format!("in/tree/{n:02}"), &noise(6000, n + 1));
    }
    world.file("in/tree/big", &noise(300_000, 99));
    world
}

const CREATE: [&str; 5] = ["create", "-q", "--reproducible", "-C", "in"];

/// Archives the tree with more options.
fn create(world: &World, options: &[&str], archive: &str) -> Done {
    let args = [&CREATE[..], options, &[archive, "tree"]].concat();
    world.run(&args)
}

/// Makes `a.tgz` in slices of 20 KB, and returns how many there are.
fn sliced(world: &World) -> usize {
    create(world, &["--slice-size", "20000"], "a.tgz").with_status(0);
    slices(world, ".").len()
}

/// Returns the names of all slices in a directory, in the order of their numbers.
fn slices(world: &World, directory: &str) -> Vec<String> {
    let mut names = world.names(directory);
    names.retain(|name| number(name).is_some());
    names.sort_by_key(|name| number(name));
    names
}

fn number(name: &str) -> Option<u64> {
    name.rsplit_once(".part")?.1.parse().ok()
}

/// Returns the bytes of all slices of `a.tgz`.
fn joined(world: &World) -> Vec<u8> {
    slices(world, ".").iter().flat_map(|name| world.read(name)).collect()
}

fn identity(world: &World, archive: &str) -> String {
    let done = world.run(&["info", "--json", archive]).with_status(0);
    let object: serde_json::Value = serde_json::from_str(done.text()).unwrap();
    object["identity"].as_str().unwrap().to_owned()
}

#[track_caller]
fn check_restored(world: &World, options: &[&str], archive: &str) {
    let _none = fs::remove_dir_all(world.path("target"));
    let args = [&["extract", "-q", archive, "-C", "target"], options].concat();
    world.run(&args).with_status(0);
    for name in world.names("in/tree") {
        let (found, good) = (format!("target/tree/{name}"), format!("in/tree/{name}"));
        assert!(world.read(&found) == world.read(&good), "{name}");
    }
}

#[test]
fn what_is_cut_anywhere_reads_as_one() {
    let world = World::with_tree();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let listed = world.run(&["ls", "-l", "a.tar.gz"]).with_status(0);
    for (number, slice) in (1..).zip(world.read("a.tar.gz").chunks(700)) {
        world.file(&format!("a.tar.gz.part{number}"), slice);
    }
    fs::remove_file(world.path("a.tar.gz")).unwrap();
    let again = world.run(&["ls", "-l", "a.tar.gz"]).with_status(0);
    assert_eq!((again.text(), &again.err), (listed.text(), &listed.err));
    world.run(&["verify", "-q", "a.tar.gz"]).with_status(0);
    let done = world.run(&["cat", "a.tar.gz", "tree/sub/b.conf"]).with_status(0);
    assert_eq!(done.text(), "0123456789");
    world.run(&["extract", "-q", "a.tar.gz", "-C", "target"]).with_status(0);
    assert_eq!(world.read("target/tree/a.txt"), b"first\n");
    world.run(&["diff", "-q", "a.tar.gz", "-C", "."]).with_status(0);
}

#[test]
fn the_listing_and_the_identity_do_not_depend_on_slices() {
    let world = world();
    create(&world, &[], "whole.tgz").with_status(0);
    let listing = world.run(&["ls", "--json", "whole.tgz"]).with_status(0);
    for (size, least) in [("4K", 100), ("20000", 20), ("100K", 5), ("300001", 2), ("1M", 0)] {
        create(&world, &["--slice-size", size], "a.tgz").with_status(0);
        assert!(slices(&world, ".").len() >= least, "{size}");
        assert_eq!(world.path("a.tgz").exists(), least == 0, "{size}");
        assert_eq!(identity(&world, "a.tgz"), identity(&world, "whole.tgz"), "{size}");
        let sliced = world.run(&["ls", "--json", "a.tgz"]).with_status(0);
        assert_eq!(sliced.text(), listing.text(), "{size}");
        world.run(&["verify", "-q", "a.tgz"]).with_status(0);
        check_restored(&world, &[], "a.tgz");
    }
    // What needs no second slice is the same to the byte.
    assert!(world.read("a.tgz") == world.read("whole.tgz"));
}

#[test]
fn slices_make_one_tar_and_have_their_digests() {
    let world = world();
    create(&world, &["--slice-size", "20000", "--slice-sha256"], "a.tgz").with_status(0);
    let all = slices(&world, ".");
    for name in &all[..all.len() - 2] {
        assert_eq!(world.read(name).len(), 20_000, "{name}");
    }
    world.file("joined", &joined(&world));
    world.run(&["verify", "-q", "joined"]).with_status(0);
    if let Some(done) = world.tool("tar", &["-xzf", "joined", "-C", "in/..", "tree/big"], b"") {
        assert_eq!((done.status, done.err.as_str()), (0, ""));
        assert!(world.read("tree/big") == world.read("in/tree/big"));
    }
    let sums = "sha256sum -c --quiet a.tgz.part*.sha256";
    if have(&["sha256sum"]) {
        world.script(sums).with_status(0);
        create(&world, &["--slice-size", "30000", "--slice-sha256"], "a.tgz").with_status(0);
        world.script(sums).with_status(0);
        // Digests that nobody asked for any more would be wrong.
        create(&world, &["--slice-size", "40000"], "a.tgz").with_status(0);
        assert!(world.names(".").iter().all(|name| !name.ends_with(".sha256")));
    }
}

#[test]
fn slices_that_are_missing_or_wrong_are_named() {
    let world = world();
    let count = sliced(&world);
    let last = format!("a.tgz.part{count}");
    let keep: Vec<(String, Vec<u8>)> =
        slices(&world, ".").into_iter().map(|name| (name.clone(), world.read(&name))).collect();
    let bytes = |number: usize| keep[number - 1].1.clone();
    let remove = |name: &str| fs::remove_file(world.path(name)).unwrap();
    let cases: [(&dyn Fn(), &str); 8] = [
        (&|| remove("a.tgz.part4"), "slice 4, a.tgz.part4, is missing"),
        (&|| world.file("a.tgz.part4", &bytes(4)[..500]), "part4, has 500 bytes, expected 20000"),
        (&|| world.file("a.tgz.part4", &bytes(7)), ": it is slice 7\n"),
        (&|| world.file("a.tgz.part4", &noise(20_000, 5)), "slice 4, a.tgz.part4, begins with "),
        (&|| remove(&last), &format!("slice {count}, {last}, is missing")),
        (
            &|| {
                remove(&format!("a.tgz.part{}", count - 1));
                fs::rename(world.path(&last), world.path(&format!("a.tgz.part{}", count - 1)))
                    .unwrap();
            },
            &format!("is the last of an archive of {count} slices"),
        ),
        (
            &|| {
                // It must not be waited for.
                remove("a.tgz.part4");
                mknodat(CWD, world.path("a.tgz.part4"), FileType::Fifo, Mode::RWXU, 0).unwrap();
            },
            "slice 4, a.tgz.part4, cannot be opened: it is no regular file",
        ),
        (&|| world.file("a.tgz.part4", &[&bytes(4)[..], b"x"].concat()), "has 20001 bytes"),
    ];
    for (spoil, said) in cases {
        spoil();
        for command in [&["extract", "a.tgz", "-C", "target"][..], &["verify", "a.tgz"]] {
            let done = world.run(command).with_status(5);
            assert!(done.err.contains(said), "{said}: {}", done.err);
        }
        for name in slices(&world, ".") {
            remove(&name);
        }
        keep.iter().for_each(|(name, bytes)| world.file(name, bytes));
        world.run(&["verify", "-q", "a.tgz"]).with_status(0);
    }
}

#[test]
fn a_commit_file_without_its_slices_is_named() {
    let world = world();
    let zeros = "A".repeat(43);
    world.file("a.tgz.commit", format!("slices=2\nidentity={zeros}\n").as_bytes());
    let hint = "to give up what was being published, remove a.tgz.commit\n";
    let ls = |said: &str| {
        let done = world.run(&["ls", "a.tgz"]).with_status(5);
        assert!(done.err.contains(said) && done.err.contains(hint), "{}", done.err);
    };
    ls("slice 2, a.tgz.part2, is missing, and a.tgz.commit says that it was being published\n");
    let done = create(&world, &[], "a.tgz").with_status(5);
    assert!(done.err.contains(hint), "{}", done.err);
    fs::remove_file(world.path("a.tgz.commit")).unwrap();
    create(&world, &["--slice-size=200K"], "a.tgz").with_status(0);
    let count = slices(&world, ".").len();
    let commit = format!("slices={count}\nidentity={zeros}\n");
    world.file("a.tgz.commit", commit.as_bytes());
    ls(&format!("expected {zeros}, which was being published by a.tgz.commit\n"));
    fs::remove_file(world.path("a.tgz.commit")).unwrap();
    world.run(&["verify", "-q", "a.tgz"]).with_status(0);
}

#[test]
fn what_is_in_slices_that_are_here_can_be_had() {
    let world = world();
    let count = sliced(&world);
    for number in [1, 2, 3] {
        fs::remove_file(world.path(&format!("a.tgz.part{number}"))).unwrap();
    }
    let done = world.run(&["ls", "-q", "a.tgz"]).with_status(0);
    assert_eq!(done.text().lines().count(), 42);
    let done = world.run(&["cat", "a.tgz", "tree/30"]).with_status(0);
    assert!(done.out == world.read("in/tree/30"));
    let done = world.run(&["cat", "a.tgz", "tree/00", "tree/30"]).with_status(5);
    assert!(done.out == world.read("in/tree/30"));
    assert!(done.err.contains("slice 1, a.tgz.part1, is missing"), "{}", done.err);
    let done = world.run(&["extract", "a.tgz", "-C", "target"]).with_status(5);
    assert!(done.err.contains("tree/00: slice 1, a.tgz.part1, is missing"), "{}", done.err);
    assert!(world.names("target/tree").len() > 25);
    let done = world.run(&["verify", "a.tgz"]).with_status(5);
    for number in [1, 2, 3] {
        let said = format!("slice {number}, a.tgz.part{number}, is missing\n");
        assert!(done.err.contains(&said), "{}", done.err);
    }
    // What can be done about that is said once.
    assert_eq!(done.err.matches("isptar: hint: ").count(), 1, "{}", done.err);
    let done = world.run(&["ls", "a.tgz.part9"]).with_status(5);
    assert!(done.err.contains("hint: name the archive: a.tgz\n"), "{}", done.err);
    assert!(count > 20);
}

#[test]
fn a_base_of_which_no_slice_is_here_is_fetched() {
    let world = world();
    fs::create_dir(world.path("away")).unwrap();
    let take = "mv {path} away/{name}";
    let options = ["--slice-size", "20000", "--on-slice", take, "--save-listing", "a.tgz.lst"];
    create(&world, &options, "a.tgz").with_status(0);
    let count = slices(&world, "away").len().to_string();
    world.file("in/tree/new", b"new");
    create(&world, &["--base", "a.tgz.lst"], "b.tgz").with_status(0);
    let fetch = ["cat", "b.tgz", "tree/new", "tree/11", "--fetch-slice", "cp away/{name} {path}"];
    let done = world.run(&[&fetch[..], &["--slices", &count]].concat()).with_status(0);
    assert!(done.out == [b"new", &world.read("in/tree/11")[..]].concat());
    world.run(&fetch).with_status(5);
}

#[test]
fn slices_of_another_length_are_like_missing_ones() {
    let world = world();
    let count = sliced(&world);
    let whole = world.read("a.tgz.part4");
    for len in [0, 9_000, 19_999, 20_001] {
        let bytes: Vec<u8> = whole.iter().chain(b"more").copied().take(len).collect();
        world.file("a.tgz.part4", &bytes);
        let said = format!("slice 4, a.tgz.part4, has {len} bytes, expected 20000");
        world.run(&["ls", "-q", "a.tgz"]).with_status(0);
        let done = world.run(&["cat", "a.tgz", "tree/30"]).with_status(0);
        assert!(done.out == world.read("in/tree/30"));
        for command in [&["cat", "a.tgz", "tree/11"][..], &["extract", "a.tgz", "-C", "target"]] {
            let done = world.run(command).with_status(5);
            assert!(done.err.contains(&said), "{}", done.err);
        }
        assert!(world.names("target/tree").len() > 35);
        fs::remove_dir_all(world.path("target")).unwrap();
        let done = world.run(&["verify", "a.tgz"]).with_status(5);
        assert!(done.err.contains(&format!("{said}\n")), "{}", done.err);
        world.run(&["repair", "a.tgz", "saved.tgz"]).with_status(3);
        world.run(&["verify", "-q", "saved.tgz"]).with_status(0);
        let saved = world.run(&["ls", "saved.tgz"]).with_status(0);
        assert!(saved.text().lines().count() > 35, "{}", saved.text());
        fs::remove_file(world.path("saved.tgz")).unwrap();
        let done = create(&world, &["--base", "a.tgz"], "on.tgz").with_status(0);
        assert!(done.err.contains(&format!("warning: the base a.tgz: {said}")), "{}", done.err);
    }
    assert!(count > 20);
}

#[test]
fn a_slice_of_an_older_run_is_found_out_by_verify() {
    let world = world();
    sliced(&world);
    let old = world.read("a.tgz.part1");
    world.file("in/tree/00", &noise(6000, 1000));
    sliced(&world);
    world.file("a.tgz.part1", &old);
    let done = world.run(&["verify", "a.tgz"]).with_status(5);
    assert!(done.err.contains("slice 1, a.tgz.part1, has SHA-256 "), "{}", done.err);
}

#[test]
fn what_is_replaced_goes_when_the_new_archive_is_there() {
    let world = world();
    let long = sliced(&world);
    create(&world, &["--slice-size", "100K"], "a.tgz").with_status(0);
    assert!(slices(&world, ".").len() < long);
    world.run(&["verify", "-q", "a.tgz"]).with_status(0);
    // One file takes the place of slices, and slices that of a file.
    create(&world, &[], "a.tgz").with_status(0);
    assert_eq!(world.names("."), ["a.tgz", "in"]);
    sliced(&world);
    assert!(!world.path("a.tgz").exists());
    create(&world, &["--slice-size", "1G"], "a.tgz").with_status(0);
    assert_eq!(world.names("."), ["a.tgz", "in"]);
    // Slices beside a whole archive are another's.
    world.file("a.tgz.part1", b"another");
    let done = world.run(&["ls", "a.tgz"]).with_status(0);
    assert!(done.err.contains("a.tgz.part1 is there as well"), "{}", done.err);
    // What nobody can take for slices of isptar stays.
    create(&world, &[], "a.tgz").with_status(0);
    assert_eq!(world.names("."), ["a.tgz", "a.tgz.part1", "in"]);
}

#[test]
fn an_archive_in_slices_does_not_contain_itself() {
    let world = world();
    for _ in 0..2 {
        let args =
            ["create", "-q", "--slice-size", "20000", "--slice-sha256", "in/tree/a.tgz", "in"];
        world.run(&args).with_status(0);
        let done = world.run(&["ls", "in/tree/a.tgz"]).with_status(0);
        assert_eq!(done.text().lines().count(), 43, "{}", done.text());
        let done = world.run(&["diff", "-q", "in/tree/a.tgz"]);
        assert!(!done.text().contains("a.tgz"), "{}", done.text());
    }
}

#[test]
fn a_program_takes_each_slice_while_the_next_is_written() {
    let world = world();
    fs::create_dir(world.path("store")).unwrap();
    // Never more than the slice at hand and the one that is taken away.
    world.file(
        "take",
        b"set -e\n\
          test $(ls a.tgz.part*~ | wc -l) -le 2\n\
          test $(stat -c %s \"$1\") = $ISPTAR_SIZE\n\
          echo \"$ISPTAR_SHA256  $1\" | sha256sum -c --status\n\
          mv \"$1\" \"store/$2\"\n\
          echo $3 $ISPTAR_LAST >>log\n",
    );
    let hook = "bash take {path} {name} {number}";
    create(&world, &["--slice-size", "20000", "--on-slice", hook], "a.tgz").with_status(0);
    let count = slices(&world, "store").len();
    let expected: String = (1..=count).map(|n| format!("{n} {}\n", u8::from(n == count))).collect();
    assert_eq!(String::from_utf8(world.read("log")).unwrap(), expected);
    assert_eq!(world.names("."), ["in", "log", "store", "take"]);
    // The same, with slices of an older run in their place.
    for name in slices(&world, "store") {
        fs::copy(world.path(&format!("store/{name}")), world.path(&name)).unwrap();
    }
    create(&world, &["--slice-size", "20000", "--on-slice", hook], "a.tgz").with_status(0);
    assert!(slices(&world, ".").is_empty());

    let count = count.to_string();
    let fetch = [
        "--slices",
        &count,
        "--fetch-slice",
        "bash -c 'echo {number} >>got; cp store/$ISPTAR_NAME $ISPTAR_PATH'",
    ];
    check_restored(&world, &fetch, "a.tgz");
    fs::remove_file(world.path("got")).unwrap();
    let done = world.run(&[&["cat", "a.tgz", "tree/20"], &fetch[..]].concat()).with_status(0);
    assert!(done.out == world.read("in/tree/20"));
    assert!(
        (2..=3).contains(&world.read("got").split(|&byte| byte == b'\n').count().saturating_sub(1))
    );
    let failing = ["ls", "a.tgz", "--slices", &count, "--fetch-slice", "false"];
    let done = world.run(&failing).with_status(5);
    assert!(done.err.contains("could not be fetched: false ended with status 1"), "{}", done.err);
    let done = world.run(&["ls", "a.tgz", "--fetch-slice", "false"]).with_status(2);
    assert!(done.err.contains("--slices N"), "{}", done.err);
}

#[test]
fn a_signal_ends_a_program_that_fetches() {
    let world = world();
    fs::create_dir(world.path("fetched")).unwrap();
    for command in [&["ls", "a.tgz"][..], &["info", "a.tgz"], &["cat", "a.tgz", "tree/20"]] {
        let stopping = "sh -c 'touch {path}; kill -TERM $PPID; exec sleep 100'";
        let options = ["--slices", "9", "--fetch-dir", "fetched", "--fetch-slice", stopping];
        let done = world.run(&[command, &options[..]].concat()).with_status(143);
        assert!(done.out.is_empty(), "{command:?}");
        assert!(world.names("fetched").is_empty(), "{command:?}");
    }
}

#[test]
fn a_program_that_fails_leaves_the_old_archive() {
    let world = world();
    sliced(&world);
    let (old, names) = (joined(&world), world.names("."));
    world.file("in/tree/new", b"new");
    for hook in [
        "false",
        "bash -c 'test {number} -lt 5'",
        "truncate -s 100 {path}",
        "/no/such/program {path}",
    ] {
        let done = create(&world, &["--slice-size", "20000", "--on-slice", hook], "a.tgz");
        let done = done.with_status(8);
        assert!(done.err.contains("the program for slice "), "{}", done.err);
        assert!(joined(&world) == old && world.names(".") == names, "{hook}");
    }
    // It is run again when that is asked for.
    let once = "bash -c 'test -e second || { touch second; false; }'";
    let again = ["--slice-size", "200K", "--on-slice", once, "--on-slice-retries", "1"];
    create(&world, &again, "a.tgz").with_status(0);
    assert!(joined(&world) != old);
}

#[test]
fn reslicing_keeps_the_archive_as_it_is() {
    let world = world();
    create(&world, &[], "whole.tgz").with_status(0);
    let reslice = |args: &[&str]| world.run(&[&["reslice", "-q"], args].concat());
    reslice(&["whole.tgz", "-o", "a.tgz", "--slice-size", "20000"]).with_status(0);
    let first = joined(&world);
    assert_eq!(identity(&world, "a.tgz"), identity(&world, "whole.tgz"));
    reslice(&["a.tgz", "--slice-size", "50000"]).with_status(0);
    check_restored(&world, &[], "a.tgz");
    world.run(&["verify", "-q", "a.tgz"]).with_status(0);
    create(&world, &["--slice-size", "50000"], "made.tgz").with_status(0);
    let made: Vec<u8> =
        (1..=7).flat_map(|number| world.read(&format!("made.tgz.part{number}"))).collect();
    for number in 1.. {
        if fs::remove_file(world.path(&format!("made.tgz.part{number}"))).is_err() {
            break;
        }
    }
    assert!(joined(&world).starts_with(&made), "as create makes it");
    reslice(&["a.tgz", "--slice-size", "20000"]).with_status(0);
    assert!(joined(&world) == first);
    reslice(&["a.tgz", "--join"]).with_status(0);
    assert!(world.read("a.tgz") == world.read("whole.tgz") && slices(&world, ".").is_empty());
    let done = reslice(&["a.tgz", "--join", "-o", "-"]).with_status(0);
    assert!(done.out == world.read("whole.tgz"));
    reslice(&["a.tgz"]).with_status(2);
    // What is copied is compared with the digests of its slices.
    sliced(&world);
    let mut bytes = world.read("a.tgz.part5");
    bytes[9000] ^= 1;
    world.file("a.tgz.part5", &bytes);
    let done = reslice(&["a.tgz", "-o", "b.tgz", "--join"]).with_status(5);
    assert!(done.err.contains("slice 5, a.tgz.part5, has SHA-256 "), "{}", done.err);
    assert!(!world.path("b.tgz").exists());
}

#[test]
fn what_is_whole_is_saved_from_slices_that_are_left() {
    let world = world();
    let count = sliced(&world);
    for number in [4, 5, count] {
        fs::remove_file(world.path(&format!("a.tgz.part{number}"))).unwrap();
    }
    let done = world.run(&["repair", "a.tgz", "saved.tgz"]);
    assert!(matches!(done.status, 1 | 3), "{}", done.err);
    world.run(&["verify", "-q", "saved.tgz"]).with_status(0);
    let done = world.run(&["cat", "saved.tgz", "tree/00", "tree/39"]).with_status(0);
    assert!(done.out == [world.read("in/tree/00"), world.read("in/tree/39")].concat());
    world.run(&["repair", "a.tgz", "a.tgz.part1"]).with_status(2);
}

#[test]
fn slices_do_not_go_to_standard_output() {
    let world = world();
    let done = create(&world, &["--slice-size", "20000"], "-").with_status(2);
    assert!(done.err.contains("slices are files"), "{}", done.err);
    let done = create(&world, &["--slice-size", "4095"], "a.tgz").with_status(2);
    assert!(done.err.contains("slices have at least 4K"), "{}", done.err);
    create(&world, &["--slice-sha256"], "a.tgz").with_status(2);
}

#[test]
fn one_file_of_100_slices_opens_two_or_three() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    world.file("in/tree/big", &noise(6_000_000, 7));
    create(&world, &["--slice-size", "60000"], "a.tgz").with_status(0);
    assert!(slices(&world, ".").len() >= 100);
    for file in ["00", "17", "39"] {
        let script = format!("strace -f -e trace=openat -o trace $ISPTAR cat a.tgz tree/{file}");
        let done = world.script(&script).with_status(0);
        assert!(done.out == world.read(&format!("in/tree/{file}")));
        let trace = String::from_utf8(world.read("trace")).unwrap();
        let opened = trace.lines().filter(|line| line.contains("a.tgz.part")).count();
        // The last one, which has the listing, and those that the member is in.
        assert!((2..=3).contains(&opened), "{file}: {trace}");
    }
}
