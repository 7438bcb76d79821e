//! What the commands answer, and their exit statuses, on whole trees and with other programs.

use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::support::{Done, World, am_root, have};

/// Returns the objects of a run with `--json`, of which the last one is the summary.
#[track_caller]
fn objects(done: &Done) -> Vec<Value> {
    let objects: Vec<Value> =
        done.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().all(|object| object["type"].is_string()));
    objects
}

#[track_caller]
fn summary(done: &Done) -> Value {
    let summary = objects(done).pop().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["status"], done.status);
    summary
}

fn archived() -> World {
    let world = World::with_tree();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    world
}

#[test]
fn every_command_ends_json_with_a_summary() {
    let world = archived();
    world.script("tar -cf t.tar tree").with_status(0);
    for (args, members) in [
        (&["create", "--json", "b.tar.gz", "tree"][..], 6),
        (&["create", "--json", "--dry-run", "b.tar.gz", "tree"], 6),
        (&["ls", "--json", "a.tar.gz"], 6),
        (&["ls", "--json", "a.tar.gz", "tree/sub"], 3),
        (&["extract", "--json", "a.tar.gz", "-C", "out"], 6),
        (&["extract", "--json", "--dry-run", "a.tar.gz", "-C", "out"], 6),
        (&["convert", "--json", "t.tar", "c.tar.gz"], 6),
    ] {
        let done = world.run(args).with_status(0);
        assert_eq!(done.err, "", "{args:?}");
        assert_eq!(summary(&done)["members"], members, "{args:?}");
        let count = objects(&done).iter().filter(|object| object["type"] == "member").count();
        assert_eq!(count, members, "{args:?}");
    }
    let done = world.run(&["ls", "--json", "a.tar.gz", "gone"]).with_status(3);
    summary(&done);
    let done = world.run(&["info", "--json", "a.tar.gz"]).with_status(0);
    assert_eq!(objects(&done).len(), 1);
}

#[test]
fn the_status_says_how_it_went() {
    let world = archived();
    world.file("cut", &world.read("a.tar.gz")[..500]);
    world.file("noise", &crate::tree::noise(5000, 1));
    for (status, args) in [
        (2, &["create", "b.tar.gz"][..]),
        (2, &["create", "b.tar.gz", "../tree"]),
        (2, &["ls"]),
        (2, &["cat", "a.tar.gz"]),
        (2, &["ls", "a.tar.gz", "-l", "--json"]),
        (2, &["extract", "a.tar.gz", "--overwrite", "perhaps"]),
        (2, &["convert", "a.tar.gz"]),
        (3, &["ls", "a.tar.gz", "gone"]),
        (3, &["cat", "a.tar.gz", "gone"]),
        (3, &["cat", "a.tar.gz", "tree"]),
        (3, &["cat", "a.tar.gz", "tree/a.txt", "--range", "6-"]),
        (3, &["extract", "a.tar.gz", "gone", "-C", "out"]),
        (4, &["ls", "noise"]),
        (4, &["info", "noise"]),
        (4, &["extract", "noise", "-C", "out"]),
        (4, &["cat", "noise", "a"]),
        (4, &["convert", "noise", "b.tar.gz"]),
        (4, &["convert", "gone", "b.tar.gz"]),
        (4, &["ls", "cut"]),
        (6, &["create", "tree", "tree"]),
        (6, &["create", "gone/b.tar.gz", "tree"]),
        (6, &["create", "/dev/full", "tree"]),
        (6, &["convert", "a.tar.gz", "gone/b.tar.gz"]),
        (6, &["extract", "a.tar.gz", "-C", "noise"]),
    ] {
        let done = world.run(args);
        assert_eq!(done.status, status, "{args:?}: {}", done.err);
        assert!(done.err.contains("error: "), "{args:?}: {}", done.err);
    }
    assert!(!world.path("b.tar.gz").exists());
}

#[test]
fn a_report_may_be_cut_short_and_an_archive_may_not() {
    let world = World::with_tree();
    world.file("tree/noise", &crate::tree::noise(4 << 20, 1));
    world.file("tree/text", &crate::tree::text(4 << 20));
    (0..3000).for_each(|n| world.file(&format!("tree/many/{n:050}"), b""));
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    for (command, status) in [
        ("$ISPTAR ls a.tar.gz", 0),
        ("$ISPTAR ls --json a.tar.gz", 0),
        ("$ISPTAR cat a.tar.gz tree/text", 0),
        ("$ISPTAR cat a.tar.gz tree/text --range 5-", 0),
        ("$ISPTAR ls - < a.tar.gz 2>/dev/null", 0),
        ("$ISPTAR create -q - tree 2>/dev/null", 6),
        ("$ISPTAR create -qv b.tar.gz tree", 0),
    ] {
        let script = format!("{command} | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}");
        let done = world.script(&script).with_status(0);
        assert_eq!(
            (done.text().trim(), done.err.as_str()),
            (&*status.to_string(), ""),
            "{command}"
        );
    }
    for command in ["ls", "info", "cat"] {
        let file = if command == "cat" { "tree/text" } else { "" };
        let script = format!("$ISPTAR {command} a.tar.gz {file} > /dev/full");
        let done = world.script(&script).with_status(6);
        assert!(done.err.contains("cannot write to standard output"), "{}", done.err);
    }
}

#[test]
fn archives_go_through_pipes() {
    let world = archived();
    let lines = "$ISPTAR create -q - tree | tar tzf - | wc -l";
    assert_eq!(world.script(lines).with_status(0).text().trim(), "7");
    let done = world.script("cat a.tar.gz | $ISPTAR ls -").with_status(0);
    assert!(done.text().starts_with("tree\ntree/a.txt\n"), "{}", done.text());
    assert_eq!(done.err.lines().count(), 1);
    let script = "$ISPTAR create -q - tree | $ISPTAR extract -q - -C out && diff -r tree out/tree";
    assert_eq!(world.script(script).with_status(0).text(), "");
    let done = world.script("cat a.tar.gz | $ISPTAR cat -q - tree/a.txt").with_status(0);
    assert_eq!((done.text(), done.err.as_str()), ("first\n", ""));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_stored() {
    if !have(&["setpriv"]) || !am_root() {
        return;
    }
    let world = World::with_tree();
    world.file("tree/secret", b"secret");
    world.file("tree/closed/within", b"");
    world.script("chmod 600 tree/secret; chmod 700 tree/closed; chmod 777 .").with_status(0);
    world.script("cp $ISPTAR ./program").with_status(0);
    let run = "setpriv --reuid=65534 --regid=65534 --clear-groups ./program";
    let done = world.script(&format!("{run} create a.tar.gz tree")).with_status(3);
    assert!(done.err.contains("isptar: error: cannot open tree/secret: Perm"), "{}", done.err);
    assert!(
        done.err.contains("isptar: error: cannot read the directory tree/closed: "),
        "{}",
        done.err
    );
    assert!(done.err.contains("2 unreadable"), "{}", done.err);
    let done = world.run(&["cat", "a.tar.gz", "tree/a.txt"]).with_status(0);
    assert_eq!(done.text(), "first\n");
    let done = world.run(&["cat", "a.tar.gz", "tree/secret"]).with_status(3);
    assert!(done.out.is_empty() && done.err.contains("tree/secret"), "{}", done.err);
    // What was not stored is not restored as an empty file.
    world.run(&["extract", "-q", "a.tar.gz", "-C", "out"]).with_status(3);
    assert!(!world.path("out/tree/secret").exists());
    let done = world.script("tar -tzf a.tar.gz").with_status(0);
    assert!(!done.text().contains("secret"), "{}", done.text());
    let done = world.script(&format!("{run} create --json a.tar.gz tree")).with_status(3);
    assert_eq!(summary(&done)["unreadable"], 2);
    // Restored by somebody else, everything is theirs.
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let done = world.script(&format!("{run} extract -q a.tar.gz -C theirs")).with_status(0);
    assert_eq!(done.err, "");
    let metadata = std::fs::metadata(world.path("theirs/tree/secret")).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (65534, 0o600));
}

#[test]
fn sockets_are_left_out_and_that_is_told() {
    let world = World::with_tree();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("tree/socket")).unwrap();
    let done = world.run(&["create", "a.tar.gz", "tree"]).with_status(0);
    assert!(
        done.err.starts_with("isptar: warning: tree/socket: left out, it is a socket\n"),
        "{}",
        done.err
    );
    assert!(done.err.contains("1 left out"), "{}", done.err);
    let done = world.run(&["create", "--json", "a.tar.gz", "tree"]).with_status(0);
    let left_out = objects(&done).into_iter().find(|object| object["type"] == "left_out").unwrap();
    assert_eq!(
        (&left_out["path"], &left_out["message"]),
        (&"tree/socket".into(), &"a socket".into())
    );
}

/// A file that another process writes all the time, while a big one before it is read.
#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let world = World::new();
    world.file("tree/big", &crate::tree::noise(64 << 20, 1));
    let script = "(while :; do echo x >> tree/big; done) & writer=$!; \
                  $ISPTAR create a.tar.gz tree; status=$?; kill $writer; wait $writer; exit $status";
    let done = world.script(script).with_status(1);
    assert!(
        done.err.contains("isptar: warning: tree/big: changed while it was read\n"),
        "{}",
        done.err
    );
    assert!(done.err.contains("1 changed while read"), "{}", done.err);
    let done = world.run(&["ls", "--json", "a.tar.gz", "tree/big"]).with_status(0);
    assert_eq!(objects(&done)[0]["dirty"], true);
    assert_eq!(world.script("gzip -t a.tar.gz && tar -tzf a.tar.gz").with_status(0).err, "");
}

#[test]
fn an_archive_does_not_contain_itself() {
    let world = World::with_tree();
    for _again in 0..2 {
        let done = world.run(&["create", "tree/a.tar.gz", "tree"]).with_status(0);
        assert!(done.err.contains("isptar: left out tree/a.tar.gz"), "{}", done.err);
        let done = world.run(&["ls", "tree/a.tar.gz"]).with_status(0);
        assert_eq!(done.text().lines().count(), 6, "{}", done.text());
    }
    world.script("$ISPTAR create -q - tree > tree/b.tar.gz").with_status(0);
    let done = world.run(&["ls", "tree/b.tar.gz"]).with_status(0);
    assert!(done.text().contains("tree/a.tar.gz\n") && !done.text().contains("tree/b"));
}

#[test]
fn a_restored_listing_is_not_stored_again() {
    let world = archived();
    world.script("cd tree && tar -xzf ../a.tar.gz").with_status(0);
    assert!(world.path("tree/.backup.info").exists());
    let done = world.run(&["create", "-C", "tree", "b.tar.gz", "."]).with_status(0);
    assert!(done.err.contains("the listing of a restored archive"), "{}", done.err);
    let done = world.run(&["ls", "b.tar.gz", "*.info"]).with_status(3);
    assert!(done.out.is_empty());
}

/// Returns the names that are stored.
fn stored(world: &World, args: &[&str]) -> String {
    let all = [&["create", "-q", "-C", "root", "a.tar.gz", "tree"], args].concat();
    world.run(&all).with_status(0);
    let names = world.run(&["ls", "a.tar.gz"]).with_status(0);
    names.text().replace("tree/", "").replace('\n', " ")
}

#[test]
fn excludes_are_those_of_gitignore() {
    let world = World::new();
    for name in ["a.o", "a.c", "sub/a.o", "sub/b.log", "sub/deep/keep.o", "tmp/x", "sub/tmp/y"] {
        world.file(&format!("root/tree/{name}"), b"");
    }
    world.file("patterns", b"# a comment\n*.o\n\n!keep.o\n");
    let all =
        "tree a.c a.o sub sub/a.o sub/b.log sub/deep sub/deep/keep.o sub/tmp sub/tmp/y tmp tmp/x ";
    assert_eq!(stored(&world, &[]), all);
    for (args, gone) in [
        (&["--exclude", "*.o"][..], &["a.o ", "sub/a.o ", "sub/deep/keep.o "][..]),
        (&["--exclude", "/tree/a.*"], &["a.c ", "a.o "]),
        (&["--exclude", "tree/sub/*.log"], &["sub/b.log "]),
        (&["--exclude", "tmp/"], &["sub/tmp ", "sub/tmp/y ", "tmp ", "tmp/x "]),
        (&["--exclude", "/tree/tmp"], &["tmp ", "tmp/x "]),
        (&["--exclude", "**/deep"], &["sub/deep ", "sub/deep/keep.o "]),
        (&["--exclude", "tree/**/y"], &["sub/tmp/y "]),
        (&["--exclude", "[ab].?", "--exclude", "x"], &["a.c ", "a.o ", "sub/a.o ", "tmp/x "]),
        (&["--exclude-from", "patterns"], &["a.o ", "sub/a.o "]),
        (&["--exclude", "keep.o", "--exclude-from", "patterns"], &["a.o ", "sub/a.o "]),
        (
            &["--exclude-from", "patterns", "--exclude", "keep.o"],
            &["a.o ", "sub/a.o ", "sub/deep/keep.o "],
        ),
    ] {
        let names: Vec<&str> = all.split_inclusive(' ').collect();
        let left: String = names.into_iter().filter(|name| !gone.contains(name)).collect();
        assert_eq!(stored(&world, args), left, "{args:?}");
    }
}

#[test]
fn directories_say_by_a_file_that_their_contents_are_left_out() {
    let world = World::new();
    for name in ["cache/x/y", "fake/x", "marked/x/y", "plain/x"] {
        world.file(&format!("root/tree/{name}"), b"");
    }
    world.file("root/tree/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n");
    world.file("root/tree/fake/CACHEDIR.TAG", b"Signature: none\n");
    world.file("root/tree/marked/.nobackup", b"");
    let names = stored(&world, &["--exclude-caches"]);
    assert!(
        names.starts_with("tree cache cache/CACHEDIR.TAG fake fake/CACHEDIR.TAG fake/x "),
        "{names}"
    );
    let names = stored(&world, &["--exclude-if-present", ".nobackup"]);
    assert!(names.contains(" marked marked/.nobackup plain "), "{names}");
    let done = world.run(&["ls", "--json", "a.tar.gz", "tree/marked"]).with_status(0);
    assert_eq!(objects(&done)[0]["partial"], true);
}

/// Unmounts when the test is over, however it ends.
struct Mounted<'a>(&'a World);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        self.0.script("umount tree/mounted");
    }
}

#[test]
fn other_file_systems_are_skipped_and_each_is_told() {
    if !have(&["mount"]) || !am_root() {
        return;
    }
    let world = World::with_tree();
    let done = world.script("mkdir tree/mounted && mount -t tmpfs none tree/mounted");
    if done.status != 0 {
        return crate::support::skip(&format!("nothing can be mounted: {}", done.err));
    }
    let _mounted = Mounted(&world);
    world.file("tree/mounted/file", b"on another file system");
    let done = world.run(&["create", "-x", "a.tar.gz", "tree"]).with_status(0);
    assert!(
        done.err.starts_with("isptar: left out tree/mounted: on another file system\n"),
        "{}",
        done.err
    );
    let names = world.run(&["ls", "a.tar.gz", "tree/mounted"]).with_status(0);
    assert_eq!(names.text(), "tree/mounted\n");
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let names = world.run(&["ls", "a.tar.gz", "tree/mounted"]).with_status(0);
    assert_eq!(names.text(), "tree/mounted\ntree/mounted/file\n");
}

#[test]
fn what_is_there_is_overwritten_as_asked() {
    let world = World::new();
    for name in ["newer", "older", "other", "same"] {
        world.file(&format!("tree/{name}"), b"of the archive");
    }
    world.script("touch -d @1000000000 tree/*").with_status(0);
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let ours = |world: &World| {
        let names = ["missing", "newer", "older", "other", "same"].into_iter();
        let is_ours = |name: &&str| {
            let path = format!("out/tree/{name}");
            world.path(&path).exists() && world.read(&path) == b"of the archive"
        };
        names.filter(is_ours).collect::<Vec<_>>().join(" ")
    };
    for (when, expected, kept) in [
        ("never", "", 4),
        ("always", "newer older other same", 0),
        // Newer are members whose time is later than that of the file.
        ("newer", "newer", 3),
        ("different", "newer older other", 1),
    ] {
        world.script("rm -rf out; mkdir -p out/tree").with_status(0);
        for name in ["newer", "older", "same"] {
            world.file(&format!("out/tree/{name}"), b"of the target_");
        }
        world.file("out/tree/other", b"of another size");
        let times = "cd out/tree; touch -d @999999999 newer; touch -d @1000000001 older; \
                     touch -d @1000000000 other same";
        world.script(times).with_status(0);
        let args = ["extract", "--json", "--overwrite", when, "a.tar.gz", "-C", "out"];
        let done = world.run(&args).with_status(0);
        assert_eq!(ours(&world), expected, "{when}");
        assert_eq!(summary(&done)["kept"], kept, "{when}");
    }
}

#[test]
fn components_are_stripped() {
    let world = archived();
    world
        .run(&["extract", "-q", "--strip-components", "1", "a.tar.gz", "-C", "one"])
        .with_status(0);
    assert_eq!(world.names("one"), ["a.txt", "empty", "sub"]);
    world
        .run(&["extract", "-q", "--strip-components", "2", "a.tar.gz", "-C", "two"])
        .with_status(0);
    assert_eq!(world.names("two"), ["b.conf", "link"]);
    let args = ["extract", "-q", "--strip-components", "9", "a.tar.gz", "-C", "nine"];
    world.run(&args).with_status(0);
    assert!(!world.path("nine").exists() || world.names("nine").is_empty());
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = archived();
    let state = "find . -printf '%p %s %m %T@ %C@ %i\\n' | sort";
    let before = world.script(state).with_status(0).out;
    for args in [
        &["create", "--dry-run", "a.tar.gz", "tree"][..],
        &["create", "--dry-run", "gone/b.tar.gz", "tree"],
        &["extract", "--dry-run", "a.tar.gz"],
        &["extract", "--dry-run", "a.tar.gz", "-C", "gone"],
    ] {
        let done = world.run(args).with_status(0);
        assert_eq!(done.text().lines().count(), 6, "{args:?}");
        assert!(done.err.contains("would "), "{args:?}: {}", done.err);
        let after = world.script(state).with_status(0).out;
        assert_eq!(String::from_utf8_lossy(&after), String::from_utf8_lossy(&before), "{args:?}");
    }
}

#[test]
fn tars_of_gnu_tar_are_converted_and_restored_as_they_were() {
    let programs = ["tar", "gzip", "zstd", "xz", "bzip2", "rsync"];
    if !have(&programs) || !am_root() {
        return;
    }
    let world = World::new();
    crate::tree::make(&world.path("tree"));
    // Big contents are told apart by the tests of one format, and GNU tar stores no second name of a
    // FIFO.
    let remove = "rm -rf tree/sparse/* tree/special/socket 'tree/special/fifo again' tree/contents/{noise,text}";
    world.script(remove).with_status(0);
    for (options, ending) in [
        ("--format=pax", "tar"),
        ("--format=pax -z", "tar.gz"),
        ("--format=gnu -z", "tar.gz"),
        ("--format=pax --zstd", "tar.zst"),
        ("--format=pax -J", "tar.xz"),
        ("--format=pax -j", "tar.bz2"),
    ] {
        let pax = options.contains("pax");
        let xattrs = if pax { "--xattrs --xattrs-include='*' --acls" } else { "" };
        let compare = if pax { "-aHAXSn --exclude=/xattrs/user" } else { "-aHSn" };
        let script = format!(
            "rm -rf out in.*; \
             tar {options} --numeric-owner {xattrs} -cf in.{ending} tree 2>/dev/null; \
             $ISPTAR convert -q in.{ending} a.tar.gz && \
             $ISPTAR extract -q a.tar.gz -C out && \
             rsync {compare} --itemize-changes --checksum --delete tree/ out/tree/"
        );
        let done = world.script(&script).with_status(0);
        assert_eq!((done.text_lossy().as_ref(), done.err.as_str()), ("", ""), "{options}");
        let script = "mkdir by-tar && tar --xattrs --xattrs-include='*' --acls -xzpf a.tar.gz -C by-tar \
                      2>/dev/null; rsync -aHAXn --itemize-changes --delete out/tree/ by-tar/tree/; \
                      rm -rf by-tar";
        let done = world.script(script).with_status(0);
        assert_eq!((done.text_lossy().as_ref(), done.err.as_str()), ("", ""), "{options} by tar");
    }
}
