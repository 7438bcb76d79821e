//! Memory that does not grow with the number of files.

use std::fs::{self, File};
use std::time::SystemTime;

use crate::support::{World, have, is_set};

/// What a run may take at its peak.
const MOST_KIB: u64 = 96 << 10;

/// When files were changed that an archive on a base does not store.
const OLD: SystemTime = SystemTime::UNIX_EPOCH;

/// Runs isptar and checks the peak of its memory, in KiB as the system counted.
fn measured(world: &World, args: &str) {
    let done = world.script(&format!("command time -f %M -o peak $ISPTAR {args} > out"));
    let done = done.with_status(0);
    assert_eq!(done.err, "");
    check_peak(world, args, MOST_KIB);
}

fn check_peak(world: &World, args: &str, most: u64) {
    let text = String::from_utf8(world.read("peak")).unwrap();
    // A line says with what status it ended, unless that was 0.
    let peak: u64 = text.lines().last().unwrap().trim().parse().unwrap();
    eprintln!("{args}: {peak} KiB");
    assert!(peak < most, "{args}: {peak} KiB");
}

#[test]
fn memory_does_not_grow_with_what_is_repaired_without_a_listing() {
    if !have(&["time"]) {
        return;
    }
    let world = World::in_memory();
    for number in 0..100_000 {
        let directory = world.path(&format!("tree/{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        File::create(directory.join(format!("a file without contents {number:07}"))).unwrap();
    }
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    fs::remove_dir_all(world.path("tree")).unwrap();
    let mut bytes = world.read("a.tar.gz");
    let header = bytes.windows(12).rposition(|window| window == b".backup.info").unwrap();
    bytes.truncate(header);
    world.file("a.tar.gz", &bytes);
    let args = "repair -q a.tar.gz new.tar.gz";
    world.script(&format!("command time -f %M -o peak $ISPTAR {args}")).with_status(3);
    check_peak(&world, args, 64 << 10);
    measured(&world, "verify -q new.tar.gz");
    world.script("$ISPTAR ls new.tar.gz | wc -l > count").with_status(0);
    assert_eq!(world.read("count"), b"100101\n");
}

fn check(directories: usize, files: usize) {
    if !have(&["time"]) {
        return;
    }
    let world = World::in_memory();
    for directory in 0..directories {
        let directory = world.path(&format!("tree/{directory:05}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..files {
            let file = directory.join(format!("a file without contents {file:07}"));
            File::create(file).unwrap().set_modified(OLD).unwrap();
        }
    }
    let count = directories * (files + 1) + 1;
    measured(&world, "create -q a.tar.gz tree");
    measured(&world, "create -q --ignore-ctime --base a.tar.gz b.tar.gz tree");
    assert!(world.read("b.tar.gz").len() < world.read("a.tar.gz").len() / 2);
    fs::remove_dir_all(world.path("tree")).unwrap();
    measured(&world, "ls a.tar.gz");
    let lines = world.read("out").iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, count);
    measured(&world, "extract -qv a.tar.gz");
    let restored = walkdir::WalkDir::new(world.path("tree")).into_iter().count();
    assert_eq!(restored, count);
}

#[test]
fn memory_does_not_grow_with_files() {
    match is_set("ISPTAR_SLOW_TESTS") {
        true => check(1000, 1000),
        false => check(100, 1000),
    }
}

#[test]
fn memory_does_not_grow_with_the_files_of_one_directory() {
    match is_set("ISPTAR_SLOW_TESTS") {
        true => check(1, 1_000_000),
        false => check(1, 50_000),
    }
}
