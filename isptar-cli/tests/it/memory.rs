//! Memory that does not grow with the number of files.

use std::fs::{self, File};

use crate::support::{World, have, is_set};

/// What a run may take at its peak.
const MOST_KIB: u64 = 96 << 10;

/// Runs isptar and checks the peak of its memory, in KiB as the system counted.
fn measured(world: &World, args: &str) {
    let done = world.script(&format!("command time -f %M -o peak $ISPTAR {args} > out"));
    let done = done.with_status(0);
    assert_eq!(done.err, "");
    let peak: u64 = String::from_utf8(world.read("peak")).unwrap().trim().parse().unwrap();
    eprintln!("{args}: {peak} KiB");
    assert!(peak < MOST_KIB, "{args}: {peak} KiB");
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
            File::create(directory.join(format!("a file without contents {file:07}"))).unwrap();
        }
    }
    let count = directories * (files + 1) + 1;
    measured(&world, "create -q a.tar.gz tree");
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
