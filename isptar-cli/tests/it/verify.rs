//! `isptar verify` as a user meets it.

use serde_json::Value;

use crate::support::{Done, World};

fn archived(level: &str) -> World {
    let world = World::with_tree();
    world.run(&["create", "-q", "--level", level, "a.tar.gz", "tree"]).with_status(0);
    world
}

/// Changes the archive where `what` stands in it.
fn flip(world: &World, what: &[u8]) {
    let mut bytes = world.read("a.tar.gz");
    let at = bytes.windows(what.len()).position(|window| window == what).unwrap();
    bytes[at] ^= 1;
    world.file("a.tar.gz", &bytes);
}

#[track_caller]
fn says(done: &Done, text: &str) {
    assert!(done.err.contains(text), "{}", done.err);
}

fn objects(done: &Done) -> Vec<Value> {
    done.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_whole_archive_takes_one_line() {
    let world = archived("6");
    let done = world.run(&["verify", "a.tar.gz"]).with_status(0);
    let line = "isptar: 6 of 6 members whole, 0 damaged, 16 bytes of content read\n";
    assert_eq!((done.text(), done.err.as_str()), ("", line));
    let done = world.run(&["verify", "-qv", "a.tar.gz", "tree/sub"]).with_status(0);
    assert_eq!(done.text(), "tree/sub\ntree/sub/b.conf\ntree/sub/link\n");
    assert_eq!(done.err, "");
    let done = world.run(&["verify", "--quick", "a.tar.gz"]).with_status(0);
    assert_eq!(done.err, "isptar: 6 of 6 entries good, members not read\n");
}

#[test]
fn a_damaged_member_is_named_with_its_bytes() {
    let world = archived("0");
    flip(&world, b"0123456789");
    let done = world.run(&["verify", "-v", "a.tar.gz"]).with_status(3);
    assert_eq!(done.text(), "tree\ntree/a.txt\ntree/empty\ntree/sub\ntree/sub/link\n");
    says(&done, "isptar: error: corrupt member tree/sub/b.conf at bytes ");
    says(&done, ": CRC is ");
    says(&done, "isptar: 5 of 6 members whole, 1 damaged, 6 bytes of content read\n");
    world.run(&["verify", "--quick", "a.tar.gz"]).with_status(0);
    world.run(&["verify", "a.tar.gz", "tree/a.txt"]).with_status(0);
    let done = world.run(&["verify", "a.tar.gz", "gone"]).with_status(3);
    says(&done, "isptar: error: no member named gone\n");
}

#[test]
fn json_has_a_result_for_each_member() {
    let world = archived("0");
    flip(&world, b"0123456789");
    let done = world.run(&["verify", "--json", "a.tar.gz"]).with_status(3);
    let mut objects = objects(&done);
    let summary = objects.pop().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!((&summary["members"], &summary["whole"]), (&6.into(), &5.into()));
    assert_eq!((&summary["good"], &summary["status"]), (&false.into(), &3.into()));
    assert_eq!(objects.len(), 6);
    for object in objects {
        assert_eq!(object["type"], "member");
        let bad = object["path"] == "tree/sub/b.conf";
        assert_eq!(object["result"], if bad { "damaged" } else { "whole" });
        if bad {
            let len = object["end"].as_u64().unwrap() - object["start"].as_u64().unwrap();
            assert_eq!(len, 1047);
            assert!(object["message"].as_str().unwrap().contains("CRC is"));
        }
    }
    assert_eq!(done.err, "");
}

#[test]
fn damage_beyond_the_members_is_status_4() {
    let world = archived("0");
    flip(&world, b"tree/sub/b.conf\t");
    let done = world.run(&["verify", "a.tar.gz"]).with_status(4);
    says(&done, "isptar: error: bytes ");
    // What the listing no longer names is still there.
    says(&done, "6 of 6 members whole, 0 damaged, 1 damaged beyond the members");
    says(&done, "6 by their own headers: their entries are lost");
    let done = world.run(&["verify", "-v", "a.tar.gz", "tree/sub/b.conf"]).with_status(4);
    assert_eq!(done.text(), "tree/sub/b.conf\n");
    let world = archived("0");
    flip(&world, b".backup.info\0");
    let done = world.run(&["verify", "a.tar.gz"]).with_status(4);
    says(&done, "6 of 6 members whole, 0 damaged, 1 damaged beyond the members");
    let world = archived("0");
    flip(&world, b"pax_global_header");
    world.run(&["verify", "a.tar.gz"]).with_status(4);
}

#[test]
fn an_archive_that_cannot_be_opened_is_looked_at() {
    let world = archived("6");
    let bytes = world.read("a.tar.gz");
    for junk in [&[0; 1000][..], b"x"] {
        world.file("a.tar.gz", &[&bytes, junk].concat());
        let done = world.run(&["verify", "a.tar.gz"]).with_status(4);
        let noun = if junk.len() == 1 { "byte" } else { "bytes" };
        let zeros = if junk.len() == 1 { "" } else { ", all zero" };
        let (len, end) = (junk.len(), bytes.len());
        says(
            &done,
            &format!("a.tar.gz: {len} {noun} behind the end of the archive at {end}{zeros}\n"),
        );
        says(&done, "hint: isptar repair");
        says(&done, "6 of 6 members whole");
        // By its listing: what is asked for and not there is missing.
        let done = world.run(&["verify", "a.tar.gz", "tree/sub", "nowhere"]).with_status(4);
        says(&done, "nowhere");
        says(&done, "3 of 3 members whole, 0 damaged, 1 not found");
        let done = world.run(&["verify", "--quick", "a.tar.gz"]).with_status(4);
        says(&done, "6 of 6 entries good, members not read");
    }
    let cut = &bytes[..bytes.len() - 1];
    world.file("a.tar.gz", cut);
    let done = world.run(&["verify", "a.tar.gz", "tree/sub", "nowhere"]).with_status(4);
    says(&done, "3 of 3 members whole, 0 damaged, 1 not found");
    world.file("a.tar.gz", &bytes[..bytes.len() - 1]);
    let done = world.run(&["verify", "-v", "a.tar.gz"]).with_status(4);
    says(&done, "a.tar.gz: the archive was cut: it does not end with a size trailer\n");
    assert_eq!(done.text().lines().count(), 6);
    let done = world.run(&["verify", "--json", "a.tar.gz"]).with_status(4);
    assert_eq!(objects(&done)[0]["type"], "error");
    assert_eq!(objects(&done).last().unwrap()["status"], 4);
    for len in (0..bytes.len()).step_by(61) {
        world.file("a.tar.gz", &bytes[..len]);
        world.run(&["verify", "a.tar.gz"]).with_status(4);
    }
}

#[test]
fn standard_input_and_tars_of_others_are_read_from_front_to_back() {
    let world = archived("6");
    let bytes = world.read("a.tar.gz");
    let done = world.run_with(&["verify", "-"], &bytes).with_status(0);
    says(&done, "standard input cannot be read by its listing: there is nothing to check");
    says(&done, "6 of 6 members whole, 0 damaged");
    // Without its streams, or in one, it is the same tar.
    world.script("gunzip <a.tar.gz | $ISPTAR verify -").with_status(0);
    world.script("gunzip <a.tar.gz | gzip | $ISPTAR verify -").with_status(0);
    world.run_with(&["verify", "-"], &bytes[..bytes.len() - 400]).with_status(4);
    world.script("tar -cf t.tar tree && gzip -k t.tar").with_status(0);
    for name in ["t.tar", "t.tar.gz"] {
        let done = world.run(&["verify", "-v", name]).with_status(0);
        says(&done, &format!("{name} has no listing: there is nothing to check"));
        assert_eq!(done.text().lines().count(), 6);
    }
    let mut tar = world.read("t.tar.gz");
    let last = tar.len() - 6;
    tar[last] ^= 1;
    world.file("t.tar.gz", &tar);
    let done = world.run(&["verify", "t.tar.gz"]).with_status(3);
    says(&done, "CRC is ");
    world.file("noise", &crate::tree::noise(5000, 1));
    world.run(&["verify", "noise"]).with_status(4);
    world.file("nothing", b"");
    world.run(&["verify", "nothing"]).with_status(4);
    world.run(&["verify"]).with_status(2);
}
