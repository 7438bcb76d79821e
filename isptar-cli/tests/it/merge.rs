//! Archives made out of others, as a user makes them.

use crate::support::World;

/// Returns the identity of an archive.
fn identity(world: &World, name: &str) -> String {
    let done = world.run(&["info", "--json", name]).with_status(0);
    let info: serde_json::Value = serde_json::from_slice(&done.out).unwrap();
    info["identity"].as_str().unwrap().to_owned()
}

/// Makes archives of the tree: one of single members, one of groups, one that is stored.
fn three() -> World {
    let world = World::with_tree();
    for number in 0..200 {
        world.file(&format!("tree/many/{number}"), format!("{number}\n").repeat(number).as_bytes());
    }
    world.script("head -c 3000000 /dev/urandom >tree/big").with_status(0);
    world.run(&["create", "-q", "one.tar.gz", "tree"]).with_status(0);
    world.run(&["create", "-q", "--group-size=64K", "two.tar.gz", "tree"]).with_status(0);
    world.run(&["create", "-q", "--level=0", "three.tar.gz", "tree"]).with_status(0);
    world
}

#[test]
fn parts_are_merged_and_split_again() {
    let world = three();
    let merge = ["merge", "--parts", "-o", "all.tar.gz"];
    let archives = ["one.tar.gz", "zwei=two.tar.gz", "three.tar.gz"];
    let done = world.run(&[&merge[..], &archives].concat()).with_status(0);
    assert!(done.err.starts_with("isptar: merged 624 members, "), "{}", done.err);
    assert!(!done.err.contains("packed again"), "{}", done.err);
    let done = world.run(&["verify", "all.tar.gz"]).with_status(0);
    assert!(!done.err.contains("twice"), "{}", done.err);
    let info = world.run(&["info", "all.tar.gz"]).with_status(0);
    assert!(
        info.text().contains("parts:      one.tar.gz, zwei, three.tar.gz\n"),
        "{}",
        info.text()
    );
    let whole = world.run(&["ls", "two.tar.gz"]).with_status(0);
    let part = world.run(&["ls", "--part", "zwei", "all.tar.gz"]).with_status(0);
    assert_eq!(whole.text(), part.text());
    let part = ["cat", "--part", "three.tar.gz", "all.tar.gz", "tree/many/7"];
    assert!(world.run(&part).with_status(0).out == world.read("tree/many/7"));
    let done = world.run(&["split", "all.tar.gz", "-C", "out"]);
    assert_eq!(done.status, 6, "the directory is not there: {}", done.err);
    std::fs::create_dir(world.path("out")).unwrap();
    let done = world.run(&["split", "--json", "all.tar.gz", "-C", "out"]).with_status(0);
    let lines = done.text().lines().map(|line| serde_json::from_str(line).unwrap());
    let objects: Vec<serde_json::Value> =
        lines.filter(|object: &serde_json::Value| object["type"] == "archive").collect();
    for ((old, new), object) in
        [("one.tar.gz", "one.tar.gz"), ("two.tar.gz", "zwei"), ("three.tar.gz", "three.tar.gz")]
            .iter()
            .zip(&objects)
    {
        let out = format!("out/{new}");
        assert_eq!(identity(&world, old), identity(&world, &out), "{new}");
        assert_eq!(object["identity"], identity(&world, old), "{object}");
        world.run(&["verify", "-q", &out]).with_status(0);
    }
    let done = world.run(&["split", "all.tar.gz", "-C", "out"]).with_status(6);
    assert!(done.err.contains("out/one.tar.gz is there already"), "{}", done.err);
    world.run(&["split", "-q", "--overwrite", "all.tar.gz", "zwei", "-C", "out"]).with_status(0);
    world.run(&["split", "all.tar.gz", "vier", "-C", "out"]).with_status(3);
}

#[test]
fn parts_that_would_be_files_of_another_archive_are_not_written() {
    let world = World::with_tree();
    world.run(&["create", "-q", "one", "tree"]).with_status(0);
    std::fs::create_dir(world.path("out")).unwrap();
    for name in
        ["x.isptar-partial", "x.part1", "x.part2~", "x.commit", "x.part1.sha256", "x.sha256"]
    {
        let part = format!("{name}=one");
        let merge = ["merge", "-q", "--parts", "-o", "all", &part, "x=one"];
        world.run(&merge).with_status(0);
        let done = world.run(&["split", "all", "-C", "out"]).with_status(2);
        let said = format!(
            "part {name}: a file of this name would be taken for one that is beside the archive x\n"
        );
        assert!(done.err.contains(&said), "{}", done.err);
        assert!(std::fs::read_dir(world.path("out")).unwrap().next().is_none(), "{name}");
        world.run(&["ls", "--part", name, "all"]).with_status(0);
    }
    world.run(&["split", "-q", "all", "x", "-C", "out"]).with_status(0);
    assert_eq!(identity(&world, "out/x"), identity(&world, "one"));
}

#[test]
fn other_programs_read_merged_archives() {
    let world = three();
    world.script("mkdir x && printf later >tree/a.txt").with_status(0);
    world.run(&["create", "-q", "new.tar.gz", "tree/a.txt"]).with_status(0);
    let merge = ["merge", "-q", "--parts", "-o", "all.tar.gz", "two.tar.gz", "new.tar.gz"];
    world.run(&merge).with_status(0);
    let check = "diff -r tree x/tree && test \"$(readlink x/.partname.2)\" = .new.tar.gz";
    for (tool, script) in [
        ("tar", "tar -xzf all.tar.gz -C x"),
        ("bsdtar", "bsdtar -xf all.tar.gz -C x"),
        (
            "python3",
            "python3 -c 'import tarfile; tarfile.open(\"all.tar.gz\").extractall(\"x\")' 2>/dev/null",
        ),
    ] {
        if crate::support::have(&[tool]) {
            let script = format!("rm -r x; mkdir x; {script} && rm -f x/.backup.info && {check}");
            let done = world.script(&script).with_status(0);
            assert_eq!(done.err, "", "{tool}");
        }
    }
}

#[test]
fn what_is_read_is_not_written_over() {
    let world = three();
    let same = ["merge", "--parts", "-o", "one.tar.gz", "two.tar.gz", "one.tar.gz"];
    let before = world.read("one.tar.gz");
    let done = world.run(&same).with_status(2);
    assert!(
        done.err.contains("one.tar.gz, which will be written, is the same file"),
        "{}",
        done.err
    );
    assert!(world.read("one.tar.gz") == before);
    let done = world.run(&["split", "one.tar.gz"]).with_status(2);
    assert!(done.err.contains("the archive has no parts"), "{}", done.err);
    world.run(&["merge", "--parts", "-o", "x", "one.tar.gz", "a=one.tar.gz"]).with_status(0);
    world.run(&["merge", "--parts", "-o", "y", "a=one.tar.gz", "a=two.tar.gz"]).with_status(2);
    world.run(&["merge", "--parts", "-o", "y", "..=one.tar.gz"]).with_status(2);
    assert!(!world.path("y").exists());
}

#[test]
fn what_is_appended_is_in_the_archive_and_the_old_one_is_replaced() {
    let world = three();
    world.file("tree/a.txt", b"changed");
    world.file("more/x", b"new");
    let args = ["append", "-v", "two.tar.gz", "tree/a.txt", "more"];
    let dry = world.run(&[&["append", "-n"][..], &args[2..]].concat()).with_status(0);
    assert_eq!(dry.text(), "more\nmore/x\ntree/a.txt\n");
    assert!(dry.err.contains("replaced tree/a.txt"), "{}", dry.err);
    let done = world.run(&args).with_status(0);
    assert_eq!(done.text(), "more\nmore/x\ntree/a.txt\n");
    assert!(done.err.contains("isptar: stored 3 members, "), "{}", done.err);
    assert!(done.err.contains(", 1 old member replaced; now 210 members, "), "{}", done.err);
    world.run(&["verify", "-q", "two.tar.gz"]).with_status(0);
    world.run(&["diff", "-q", "two.tar.gz", "-C", "."]).with_status(0);
    assert!(!world.names(".").iter().any(|name| name.contains("partial")));
    let script =
        "mkdir x && tar -xzf two.tar.gz -C x && diff -r tree x/tree && diff -r more x/more";
    world.script(script).with_status(0);
}

#[test]
fn the_archive_is_not_put_into_itself_and_survives_a_failed_run() {
    let world = three();
    world.run(&["create", "-q", "tree/in.tar.gz", "tree/sub"]).with_status(0);
    let done = world.run(&["append", "tree/in.tar.gz", "tree"]).with_status(0);
    assert!(done.err.contains("left out tree/in.tar.gz: the archive itself"), "{}", done.err);
    let before = world.read("one.tar.gz");
    world.run(&["append", "-q", "one.tar.gz", "gone"]).with_status(2);
    let done =
        world.run(&["append", "--json", "-o", "-", "one.tar.gz", "tree/a.txt"]).with_status(0);
    assert!(
        done.out.starts_with(&[0x1f, 0x8b]) && done.err.contains("\"replaced\":1"),
        "{}",
        done.err
    );
    assert!(world.read("one.tar.gz") == before);
    let damaged: Vec<u8> =
        before.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 1500)).collect();
    world.file("one.tar.gz", &damaged);
    let done = world.run(&["append", "--verify", "one.tar.gz", "tree/a.txt"]).with_status(3);
    assert!(done.err.contains("corrupt member tree"), "{}", done.err);
    assert!(world.read("one.tar.gz") == damaged);
}

/// Makes a chain of three archives of a tree that changes.
fn chain() -> World {
    let world = three();
    let script = r#"
        set -e
        rm ./*.tar.gz
        ln tree/a.txt tree/zlink
        touch -d 2020-01-01 tree/* tree/*/*
        $ISPTAR create -q full.tar.gz tree
        echo changed >tree/many/7; rm -r tree/sub; mkdir tree/new; echo n >tree/new/n
        $ISPTAR create -q --ignore-ctime --base full.tar.gz inc1.tar.gz tree
        echo again >tree/many/8; rm tree/many/9; ln -s elsewhere tree/many/9
        $ISPTAR create -q --ignore-ctime --base inc1.tar.gz inc2.tar.gz tree
    "#;
    world.script(script).with_status(0);
    world
}

#[test]
fn a_base_is_not_written_over() {
    let world = chain();
    world.script("mkdir link && ln -s ../full.tar.gz link/l").with_status(0);
    let before = world.read("full.tar.gz");
    for args in [
        &["create", "--base", "inc2.tar.gz", "full.tar.gz", "tree"][..],
        &["create", "--base", "inc1.tar.gz", "--slice-size", "4K", "full.tar.gz", "tree"],
        &["append", "-o", "full.tar.gz", "inc1.tar.gz", "tree"],
        &["append", "-o", "link/l", "inc1.tar.gz", "tree"],
        &["merge", "-o", "full.tar.gz", "inc2.tar.gz"],
        &["merge", "-o", "full.tar.gz", "inc1.tar.gz", "inc2.tar.gz"],
        &["merge", "-o", "inc1.tar.gz", "inc2.tar.gz"],
        &["merge", "--parts", "-o", "full.tar.gz", "inc1.tar.gz"],
        &["isolate", "inc2.tar.gz", "full.tar.gz"],
        &["reslice", "inc2.tar.gz", "--join", "-o", "full.tar.gz"],
    ] {
        let done = world.run(args).with_status(2);
        assert!(done.err.contains("which will be written, is the same file"), "{}", done.err);
        assert!(world.read("full.tar.gz") == before, "{args:?}");
    }
    world.run(&["verify", "-q", "inc2.tar.gz"]).with_status(0);
    // Nor is what is taken apart.
    world.run(&["merge", "-q", "--parts", "-o", "all", "all=full.tar.gz"]).with_status(0);
    world.run(&["split", "--overwrite", "all"]).with_status(2);
    world.run(&["append", "-q", "inc1.tar.gz", "tree/new"]).with_status(0);
}

#[test]
fn a_chain_is_merged_wholly_and_in_part() {
    let world = chain();
    world.run(&["merge", "-q", "-o", "all.tar.gz", "inc2.tar.gz"]).with_status(0);
    world.run(&["verify", "-q", "all.tar.gz"]).with_status(0);
    world.run(&["diff", "-q", "all.tar.gz", "-C", "."]).with_status(0);
    world
        .script("mkdir x && tar -xzf all.tar.gz -C x && diff -r --no-dereference tree x/tree")
        .with_status(0);
    let args = ["merge", "-q", "-o", "short.tar.gz", "inc1.tar.gz", "inc2.tar.gz"];
    world.run(&args).with_status(0);
    world.run(&["diff", "-q", "short.tar.gz", "-C", "."]).with_status(0);
    let plain = "mkdir y && for a in full short; do tar -xzf $a.tar.gz -C y; done
                 rm -r y/tree/sub && diff -r --no-dereference tree y/tree";
    world.script(plain).with_status(0);
    // Without its base it is not whole.
    world.script("mkdir away && mv full.tar.gz away").with_status(0);
    let done = world.run(&["merge", "-o", "z", "inc2.tar.gz"]).with_status(5);
    assert!(done.err.contains("full.tar.gz"), "{}", done.err);
    world
        .run(&["merge", "-q", "-o", "z", "--base", "away/full.tar.gz", "inc2.tar.gz"])
        .with_status(0);
    let wrong = ["merge", "-o", "y.tar.gz", "inc2.tar.gz", "inc1.tar.gz"];
    let done = world.run(&wrong).with_status(5);
    assert!(done.err.contains("identity"), "{}", done.err);
    assert!(!world.path("y.tar.gz").exists());
}

#[test]
fn unchanged_members_are_copied_from_the_base_and_its_bases() {
    let world = chain();
    let args =
        ["create", "--ignore-ctime", "--base", "inc2.tar.gz", "--copy-data", "c.tar.gz", "tree"];
    for group in [&[][..], &["--group-size=64K"]] {
        let done = world.run(&[&args[..], group].concat()).with_status(0);
        assert!(done.err.contains("unchanged"), "{}", done.err);
        world.script("mkdir away && mv full.tar.gz inc?.tar.gz away").with_status(0);
        world.run(&["verify", "-q", "c.tar.gz"]).with_status(0);
        world.run(&["diff", "-q", "c.tar.gz", "-C", "."]).with_status(0);
        let script =
            "mkdir x && tar -xzf c.tar.gz -C x && diff -r --no-dereference tree x/tree && rm -r x
                      mv away/* . && rmdir away; echo later >tree/many/100";
        world.script(script).with_status(0);
    }
}

#[test]
fn what_is_made_of_archives_may_be_in_slices() {
    let world = three();
    let merge =
        ["merge", "-q", "--slice-size=1M", "--parts", "-o", "s", "one.tar.gz", "two.tar.gz"];
    world.run(&merge).with_status(0);
    assert!(world.path("s.part6").exists() && !world.path("s").exists());
    std::fs::create_dir(world.path("out")).unwrap();
    world.run(&["split", "-q", "s", "-C", "out"]).with_status(0);
    assert_eq!(identity(&world, "out/two.tar.gz"), identity(&world, "two.tar.gz"));
    let create = ["create", "-q", "--slice-size=1M", "c", "tree"];
    world.run(&create).with_status(0);
    world.file("more", b"more");
    world.run(&["append", "-q", "c", "more"]).with_status(2);
    world.run(&["append", "-q", "--slice-size=500K", "c", "more"]).with_status(0);
    assert!(world.path("c.part6").exists());
    world.run(&["verify", "-q", "c"]).with_status(0);
    world.run(&["diff", "-q", "c", "-C", "."]).with_status(0);
}
