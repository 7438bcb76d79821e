//! What is read of an archive, as the system saw it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use crate::support::{World, have, is_set};
use crate::tree::{noise, text};

/// The reads of the archive in one run.
#[derive(Debug, Default)]
struct Reads {
    count: u64,
    bytes: u64,
}

/// Runs isptar under strace with arguments for bash, and returns what it printed and read.
fn traced(world: &World, args: &str) -> (Vec<u8>, Reads) {
    let calls = "read,readv,pread64,preadv,preadv2,mmap,sendfile,splice,copy_file_range";
    let script = format!("strace -f -y -e trace={calls} -o trace $ISPTAR {args}");
    let done = world.script(&script).with_status(0);
    let trace = String::from_utf8_lossy(&world.read("trace")).into_owned();
    (done.out, reads(&trace))
}

/// Adds up the calls whose first descriptor is the archive.
fn reads(trace: &str) -> Reads {
    let mut reads = Reads::default();
    // Calls that another thread interrupted in the trace, by process.
    let mut unfinished: HashMap<&str, bool> = HashMap::new();
    for line in trace.lines() {
        let (process, call) = line.split_once(' ').unwrap_or((line, ""));
        let of_archive = if call.contains(" resumed>") {
            unfinished.remove(process).unwrap_or(false)
        } else {
            call.contains("/a.tar.gz>")
        };
        if call.contains("<unfinished ...>") {
            unfinished.insert(process, of_archive);
            continue;
        }
        if !of_archive {
            continue;
        }
        assert!(!call.contains("mmap"), "what a mapping reads cannot be counted: {call}");
        let result = call.rsplit_once(" = ").unwrap().1;
        let result = result.split_whitespace().next().unwrap();
        reads.count += 1;
        reads.bytes += result.parse::<u64>().unwrap_or(0);
    }
    reads
}

#[test]
fn one_directory_or_file_of_100_000_costs_few_reads() {
    if !have(&["strace"]) {
        return;
    }
    let world = World::in_memory();
    for directory in 0..1000 {
        let directory = world.path(&format!("tree/d{directory:03}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..100 {
            let path = directory.join(format!("file {file:02}"));
            fs::write(path, file.to_string()).unwrap();
        }
    }
    world.run(&["create", "-q", "--level", "1", "a.tar.gz", "tree"]).with_status(0);
    for (args, lines) in [
        ("ls a.tar.gz tree/d500", 101),
        ("ls a.tar.gz tree/d000", 101),
        ("ls -l a.tar.gz tree/d999", 101),
    ] {
        let (out, reads) = traced(&world, args);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), lines, "{args}");
        assert!((1..=4).contains(&reads.count) && reads.bytes < 512 << 10, "{args}: {reads:?}");
    }
    for (directory, file) in [(0, 0), (123, 45), (500, 7), (999, 99)] {
        let args = format!("cat a.tar.gz 'tree/d{directory:03}/file {file:02}'");
        let (out, reads) = traced(&world, &args);
        assert_eq!(out, file.to_string().as_bytes());
        assert!((1..=4).contains(&reads.count) && reads.bytes < 512 << 10, "{args}: {reads:?}");
    }
}

/// Prints 1 KiB at `at` of the file `big` by its archive, and checks what it costs.
fn check_range(world: &World, at: u64) {
    let mut expected = [0; 1024];
    File::open(world.path("big")).unwrap().read_exact_at(&mut expected, at).unwrap();
    let args = format!("cat a.tar.gz big --range {at}-{}", at + 1023);
    let (out, reads) = traced(world, &args);
    assert!(out == expected, "{args}");
    assert!(reads.bytes < 3 << 20, "{args}: {reads:?}");
}

#[test]
fn a_range_of_a_sparse_file_of_4_gib_costs_little() {
    if !have(&["strace"]) {
        return;
    }
    let world = World::new();
    let file = File::create(world.path("big")).unwrap();
    file.set_len(4 << 30).unwrap();
    let (text, noise) = (text(8 << 20), noise(8 << 20, 4));
    let middle = 2 << 30;
    for (bytes, at) in
        [(&text, 0), (&noise, 1 << 30), (&text, middle - (4 << 20)), (&noise, 3 << 30)]
    {
        file.write_all_at(bytes, at).unwrap();
    }
    world.run(&["create", "-q", "--level", "1", "a.tar.gz", "big"]).with_status(0);
    // Data; a hole; the edges of both; and the end.
    for at in
        [middle, (1 << 30) + 500_000, (3 << 29) + 5, middle + (4 << 20) - 512, (4 << 30) - 1024]
    {
        check_range(&world, at);
    }
}

#[test]
fn a_range_of_a_big_file_costs_little() {
    if !have(&["strace"]) {
        return;
    }
    let size: u64 = if is_set("ISPTAR_SLOW_TESTS") { 4 << 30 } else { 256 << 20 };
    let world = World::new();
    let mut file = File::create(world.path("big")).unwrap();
    // Half of each piece compresses; pieces do not begin where chunks do.
    let piece = [text((4 << 20) + 12_345), noise(4 << 20, 6)].concat();
    let mut written = 0;
    while written < size {
        file.write_all(&piece).unwrap();
        written += piece.len() as u64;
    }
    file.set_len(size).unwrap();
    drop(file);
    world.run(&["create", "-q", "--level", "1", "a.tar.gz", "big"]).with_status(0);
    for at in [0, size / 2, size / 2 - 512, size - 1024] {
        check_range(&world, at);
    }
}
