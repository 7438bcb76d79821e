//! Chains as a user reads them: bases beside the archive or elsewhere, missing, wrong; listings
//! alone; restores over a tree that is there.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::World;

/// Makes files whose times are long ago, so that a base that is made now has them unchanged.
fn aged(world: &World) {
    world.script("find tree -exec touch -h -d 2020-01-01 {} +").with_status(0);
}

/// A full archive, and an increment on it that has one file of its own.
fn chained() -> World {
    let world = World::new();
    for (name, content) in [("tree/d/a", "first a"), ("tree/d/b", "first b"), ("tree/gone", "x")] {
        world.file(name, content.as_bytes());
    }
    aged(&world);
    world.run(&["create", "full.tgz", "tree"]).with_status(0);
    world.file("tree/d/b", b"second b");
    fs::remove_file(world.path("tree/gone")).unwrap();
    let base = ["create", "inc.tgz", "tree", "--base", "full.tgz", "--ignore-ctime"];
    world.run(&base).with_status(0);
    world
}

#[test]
fn bases_are_found_beside_the_archive_and_told() {
    let world = chained();
    assert_eq!(world.run(&["cat", "inc.tgz", "tree/d/a"]).with_status(0).text(), "first a");
    assert_eq!(world.run(&["cat", "inc.tgz", "tree/d/b"]).with_status(0).text(), "second b");
    let long = world.run(&["ls", "-l", "inc.tgz"]).with_status(0);
    let in_base = |name: &str| {
        let line = long.text().lines().find(|line| line.contains(name)).unwrap();
        line.ends_with(" (in full.tgz)")
    };
    assert!(in_base("tree/d/a") && !in_base("tree/d/b"), "{}", long.text());
    let json = world.run(&["ls", "--json", "inc.tgz", "tree/d/a"]).with_status(0);
    assert!(json.text().contains("\"base\":\"full.tgz\""), "{}", json.text());
    let info = world.run(&["info", "inc.tgz"]).with_status(0);
    assert!(info.text().contains("1: full.tgz ") && info.text().contains("(found)"));
    let verified = world.run(&["verify", "inc.tgz"]).with_status(0);
    assert!(verified.err.contains("of them in bases"), "{}", verified.err);
    world.run(&["extract", "inc.tgz", "-C", "out"]).with_status(0);
    world.script("diff -r tree out/tree").with_status(0);
    world.run(&["diff", "inc.tgz"]).with_status(0);
}

#[test]
fn a_base_elsewhere_is_given_and_one_that_is_missing_named() {
    let world = chained();
    fs::create_dir(world.path("old")).unwrap();
    fs::rename(world.path("full.tgz"), world.path("old/moved.tgz")).unwrap();
    let missing = |args: &[&str]| {
        let done = world.run(args).with_status(5);
        let told = done.err.contains("base full.tgz with the identity ");
        assert!(told && done.err.contains("looked for full.tgz"), "{}", done.err);
        assert!(done.err.contains("hint: bases lie beside the archive"), "{}", done.err);
    };
    missing(&["cat", "inc.tgz", "tree/d/a"]);
    missing(&["extract", "inc.tgz", "-C", "out"]);
    missing(&["verify", "inc.tgz"]);
    assert!(!world.path("out/tree").exists());
    // What does not need it is read, and the rest when that is asked for.
    world.run(&["cat", "inc.tgz", "tree/d/b"]).with_status(0);
    world.run(&["verify", "--quick", "inc.tgz"]).with_status(0);
    world.run(&["extract", "inc.tgz", "-C", "some", "--without-bases"]).with_status(5);
    assert_eq!(world.read("some/tree/d/b"), b"second b");
    let given = ["cat", "inc.tgz", "tree/d/a", "--base", "inc.tgz", "--base", "old/moved.tgz"];
    assert_eq!(world.run(&given).with_status(0).text(), "first a");
    // Nothing can be made on a base that is not there.
    for base in ["nothing.tgz", "old"] {
        let done = world.run(&["create", "new.tgz", "tree", "--base", base]).with_status(5);
        assert!(done.err.contains(&format!("cannot use the base {base}: ")), "{}", done.err);
    }
    // A link of that name leads elsewhere: it is not followed.
    symlink("old/moved.tgz", world.path("full.tgz")).unwrap();
    let done = world.run(&["cat", "inc.tgz", "tree/d/a"]).with_status(5);
    assert!(done.err.contains("no regular file"), "{}", done.err);
}

#[test]
fn another_archive_under_the_name_of_a_base_is_refused() {
    let world = chained();
    let identity = |archive: &str| {
        let info = world.run(&["info", "--json", archive]).with_status(0);
        let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
        info["identity"].as_str().unwrap().to_owned()
    };
    let expected = identity("full.tgz");
    world.run(&["create", "full.tgz", "tree/d"]).with_status(0);
    let done = world.run(&["extract", "inc.tgz", "-C", "out"]).with_status(5);
    for identity in [expected, identity("full.tgz")] {
        assert!(done.err.contains(&identity), "{}", done.err);
    }
}

#[test]
fn a_listing_alone_is_listed_compared_and_a_base() {
    let world = World::new();
    world.file("tree/a", b"first a");
    world.file("tree/b", b"first b");
    aged(&world);
    let save = ["create", "full.tgz", "tree", "--save-listing", "saved.lst"];
    world.run(&save).with_status(0);
    world.run(&["isolate", "full.tgz", "full.lst"]).with_status(0);
    assert_eq!(world.read("saved.lst"), world.read("full.lst"));
    for command in [&["ls", "full.lst"][..], &["diff", "full.lst"], &["verify", "full.lst"]] {
        world.run(command).with_status(0);
    }
    assert_eq!(
        world.run(&["ls", "full.lst"]).text(),
        world.run(&["ls", "full.tgz"]).with_status(0).text()
    );
    let info = world.run(&["info", "full.lst"]).with_status(0);
    assert!(info.text().contains("without its members"), "{}", info.text());
    for command in [&["cat", "full.lst", "tree/a"][..], &["extract", "full.lst", "-C", "out"]] {
        let done = world.run(command).with_status(5);
        assert!(done.err.contains("listing of an archive alone"), "{}", done.err);
    }
    if let Some(tar) = world.tool("tar", &["-tzf", "full.lst"], b"") {
        assert_eq!(tar.with_status(0).text(), ".backup.info\n");
    }
    // An increment on it finds the archive itself.
    world.file("tree/b", b"second b");
    let base = ["create", "inc.tgz", "tree", "--base", "full.lst", "--base-name", "full.tgz"];
    world.run(&[&base[..], &["--ignore-ctime"]].concat()).with_status(0);
    assert_eq!(world.run(&["cat", "inc.tgz", "tree/a"]).with_status(0).text(), "first a");
    // As long as nothing is wrong, the archive is what it was made of, and no file is written over.
    world.run(&["isolate", "full.tgz", "full.tgz"]).with_status(2);
    world.run(&["create", "x.tgz", "tree", "--save-listing", "x.tgz"]).with_status(2);
}

#[test]
fn every_change_of_kind_is_restored_over_the_tree_before() {
    let world = World::new();
    let make = |kind: &str, name: &str| match kind {
        "file" => fs::write(world.path(name), kind).unwrap(),
        "directory" => {
            fs::create_dir(world.path(name)).unwrap();
            fs::write(world.path(&format!("{name}/in")), name).unwrap();
        }
        "link" => symlink("nowhere", world.path(name)).unwrap(),
        "hard" => fs::hard_link(world.path("tree/0"), world.path(name)).unwrap(),
        _ => drop(world.script(&format!("mkfifo {name}")).with_status(0)),
    };
    let kinds = ["file", "directory", "link", "hard", "fifo", "nothing"];
    let fill = |swap: bool| {
        fs::create_dir(world.path("tree")).unwrap();
        world.file("tree/0", b"the first name");
        for from in kinds {
            for to in kinds {
                let kind = if swap { to } else { from };
                if kind != "nothing" {
                    make(kind, &format!("tree/{from}-{to}"));
                }
            }
        }
    };
    fill(false);
    world.run(&["create", "full.tgz", "tree"]).with_status(0);
    fs::remove_dir_all(world.path("tree")).unwrap();
    fill(true);
    world.run(&["create", "inc.tgz", "tree", "--base", "full.tgz"]).with_status(0);
    world.run(&["extract", "full.tgz", "-C", "out"]).with_status(0);
    let done = world.run(&["extract", "inc.tgz", "-C", "out", "--delete"]).with_status(0);
    assert!(done.err.contains(" deleted"), "{}", done.err);
    world.run(&["diff", "inc.tgz", "-C", "out", "--checksum"]).with_status(0);
    world.script("cd tree && find . | sort >../there; cd ../out/tree && find . | sort | cmp - ../../there").with_status(0);
}

#[test]
fn what_was_asked_for_itself_may_change_its_kind() {
    let world = World::new();
    world.script("mkdir d; touch d/i f; ln -s f l; mkfifo p").with_status(0);
    world.run(&["create", "one.tgz", "d", "f", "l", "p"]).with_status(0);
    world.script("rm -r d f l p; mkdir f l p; touch d f/n l/n").with_status(0);
    world.run(&["create", "two.tgz", "d", "f", "l", "p"]).with_status(0);
    for (archive, count) in [("one.tgz", 0), ("two.tgz", 5), ("one.tgz", 6), ("two.tgz", 5)] {
        let restore = ["extract", archive, "-C", "out", "--delete"];
        let told = world.run(&[&restore[..], &["-n"]].concat()).with_status(0);
        let done = world.run(&[&restore[..], &["-v"]].concat()).with_status(0);
        assert_eq!(told.err.matches("would remove").count(), count, "{}", told.err);
        assert_eq!(done.err.matches("removed").count(), count, "{}", done.err);
        world.run(&["diff", archive, "-C", "out"]).with_status(0);
    }
    // What a link leads to is no business of the archive.
    world.script("rm -r out; mkdir -p out/x else/f; touch else/f/mine; ln -s ../else out/x/t");
    world.script("mkdir -p x/t/f; touch x/t/f/new").with_status(0);
    world.run(&["create", "deep.tgz", "x/t/f"]).with_status(0);
    world.run(&["extract", "deep.tgz", "-C", "out", "--delete"]).with_status(3);
    assert_eq!(world.names("else/f"), ["mine"]);
}

#[test]
fn a_base_that_is_given_by_a_link_is_what_the_link_leads_to() {
    let world = chained();
    symlink("full.tgz", world.path("latest")).unwrap();
    let base = ["create", "linked.tgz", "tree", "--base", "latest", "--ignore-ctime"];
    world.run(&base).with_status(0);
    fs::remove_file(world.path("latest")).unwrap();
    assert_eq!(world.run(&["cat", "linked.tgz", "tree/d/a"]).with_status(0).text(), "first a");
}

#[test]
fn a_listing_is_not_saved_over_what_the_archive_needs() {
    let world = chained();
    let full = world.read("full.tgz");
    for base in ["inc.tgz", "full.tgz"] {
        let save = ["create", "new.tgz", "tree", "--base", base, "--save-listing", "full.tgz"];
        let done = world.run(&save).with_status(2);
        assert!(done.err.contains("which will be written, is the same file"), "{}", done.err);
        assert!(!world.path("new.tgz").exists() && world.read("full.tgz") == full);
    }
    // The listing of an archive alone may be where the last one was.
    world.run(&["isolate", "full.tgz", "last.lst"]).with_status(0);
    let roll = ["create", "new.tgz", "tree", "--base", "last.lst", "--base-name", "full.tgz"];
    world.run(&[&roll[..], &["--save-listing", "last.lst"]].concat()).with_status(0);
    let listed = world.run(&["ls", "--json", "last.lst"]).with_status(0);
    assert_eq!(listed.text(), world.run(&["ls", "--json", "new.tgz"]).with_status(0).text());
    // What only has the name of a base may be replaced.
    world.file("else/full.tgz", b"x");
    world.run(&["create", "else/full.tgz", "tree", "--base", "inc.tgz"]).with_status(0);
}

#[test]
fn an_increment_from_a_pipe_is_not_taken_for_all() {
    let world = chained();
    for command in ["extract - -C out", "verify -", "ls -"] {
        let done = world.script(&format!("$ISPTAR {command} < inc.tgz")).with_status(5);
        assert!(done.err.contains("standard input: 2 of its entries are in bases"), "{}", done.err);
    }
    assert_eq!(world.names("out/tree/d"), ["b"]);
    world.script("$ISPTAR extract - -C out < full.tgz").with_status(0);
}

#[test]
fn delete_keeps_the_archive_and_is_told_beforehand() {
    let world = World::new();
    world.file("tree/a", b"a");
    world.run(&["create", "out.tgz", "tree"]).with_status(0);
    fs::rename(world.path("out.tgz"), world.path("tree/own.tgz")).unwrap();
    world.file("tree/more", b"more");
    let restore = ["extract", "tree/own.tgz", "--delete"];
    let told = world.run(&[&restore[..], &["--dry-run"]].concat()).with_status(0);
    assert!(told.err.contains("would remove tree/more"), "{}", told.err);
    assert!(world.path("tree/more").exists());
    world.run(&restore).with_status(0);
    assert_eq!(world.names("tree"), ["a", "own.tgz"]);
    world.run(&[&restore[..], &["--overwrite", "never"]].concat()).with_status(2);
    world.run(&[&restore[..], &["--strip-components", "1"]].concat()).with_status(2);
}
