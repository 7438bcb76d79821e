//! The program with single calls of the system failing, or a signal arriving at them: strace does
//! both at the very call that it is told, so each moment of a small job is met once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use isptar_core::{Archive, Kind};

use crate::support::{Done, PROGRAM, World, have, is_set, pipe, with_threads};
use crate::tree::noise;

const OLD: &[u8] = b"the archive of an earlier run";
// strace counts the calls of each thread for itself.
const CREATE: [&str; 8] =
    ["create", "--threads=1", "-q", "--reproducible", "-C", "in", "out/a.tar.gz", "tree"];
const EXTRACT: [&str; 5] = ["extract", "-q", "new.tar.gz", "-C", "target"];

/// Calls that work on files; a failure of the others (memory, threads) is another subject.
const FILE_CALLS: [&str; 32] = [
    "openat",
    "newfstatat",
    "fstat",
    "statx",
    "fcntl",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "getdents64",
    "lseek",
    "fsync",
    "flock",
    "rename",
    "renameat",
    "readlinkat",
    "flistxattr",
    "llistxattr",
    "fgetxattr",
    "fsetxattr",
    "close",
    "mkdir",
    "mkdirat",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "utimensat",
    "ftruncate",
    "linkat",
    "symlinkat",
    "mknodat",
];

/// Makes a tree with small and big files, links and a FIFO, an archive of it, and the archive of an
/// earlier run.
fn world() -> World {
    let world = World::in_memory();
    world.file("in/tree/big", &noise((1 << 20) + 70_000, 1));
    world.file("in/tree/sub/big", &noise((1 << 20) + 5, 2));
    for name in ["a", "b", "sub/c", "sub/d"] {
        world.file(&format!("in/tree/{name}"), &noise(9000, u64::from(name.as_bytes()[0])));
    }
    fs::hard_link(world.path("in/tree/a"), world.path("in/tree/sub/hard")).unwrap();
    std::os::unix::fs::symlink("a", world.path("in/tree/link")).unwrap();
    world.file("out/a.tar.gz", OLD);
    let args = ["create", "-q", "--reproducible", "-C", "in", "new.tar.gz", "tree"];
    world.run(&args).with_status(0);
    world
}

fn strace(world: &World, options: &[&str], args: &[&str]) -> Done {
    // Signals that whoever runs the tests ignores would be ignored by the program as well.
    let mut command = std::process::Command::new("env");
    command.current_dir(world.path("")).env("LC_ALL", "C");
    command.args(["--default-signal", "strace", "-f", "-o", "trace"]).args(options);
    pipe(command.arg(PROGRAM).args(with_threads(args)), b"")
}

/// Runs isptar under strace with something done to the `at`-th of the calls `call`; `None` when
/// there are not so many.
fn inject(world: &World, call: &str, action: &str, at: u32, args: &[&str]) -> Option<Done> {
    let inject = format!("inject={call}:{action}:when={at}");
    let trace = format!("trace={call}");
    let done = strace(world, &["-e", &trace, "-e", &inject], args);
    let trace = String::from_utf8_lossy(&world.read("trace")).into_owned();
    let hit = ["(INJECTED)", "(DELAYED)", "--- SIG", "+++ killed by"];
    hit.iter().any(|mark| trace.contains(mark)).then_some(done)
}

/// Returns how often each call is made by a run that nothing happens to.
fn calls(world: &World, args: &[&str]) -> BTreeMap<String, u32> {
    strace(world, &[], args).with_status(0);
    let mut calls = BTreeMap::new();
    for line in String::from_utf8_lossy(&world.read("trace")).lines() {
        let call = line.split_whitespace().nth(1).and_then(|call| call.split_once('('));
        if let Some((call, _)) = call.filter(|(call, _)| !matches!(*call, "execve" | "exit_group"))
        {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// Checks that an archive is whole by reading all that is in it.
fn is_complete(path: &Path) -> bool {
    let Ok(archive) = Archive::open(fs::File::open(path).unwrap()) else { return false };
    archive.entries().all(|entry| {
        let entry = entry.unwrap();
        match entry.kind {
            Kind::File { .. } if entry.location.is_some() => {
                archive.copy_range(&entry, 0, u64::MAX, &mut std::io::sink()).is_ok()
            }
            _ => true,
        }
    })
}

/// Checks what a run of create left: the old archive or a complete new one. Returns whether it is
/// the old one, and puts that back.
fn check_archive(world: &World, done: &Done, what: &str) -> bool {
    let found = world.read("out/a.tar.gz");
    if found == OLD {
        assert!(!matches!(done.status, 0 | 1 | 3), "{what}: status {}", done.status);
        return true;
    }
    assert!(is_complete(&world.path("out/a.tar.gz")), "{what}: a wreck under the final name");
    if done.status == 0 {
        assert!(found == world.read("new.tar.gz"), "{what}: status 0, and another archive");
    }
    fs::write(world.path("out/a.tar.gz"), OLD).unwrap();
    false
}

/// Calls of a job at which something is to happen: all of them, or a few of each.
fn moments(calls: &BTreeMap<String, u32>, most: u32) -> Vec<(String, u32)> {
    let of = |(call, count): (&String, &u32)| {
        let step = if is_set("ISPTAR_SLOW_TESTS") { 1 } else { count.div_ceil(most) };
        let call = call.clone();
        (1..=*count).step_by(step as usize).map(move |at| (call.clone(), at)).collect::<Vec<_>>()
    };
    calls.iter().flat_map(of).collect()
}

fn is_file_call(call: &str) -> bool {
    FILE_CALLS.contains(&call)
}

#[test]
fn a_call_that_fails_leaves_the_old_archive() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    let mut calls = calls(&world, &CREATE);
    calls.retain(|call, _| is_file_call(call));
    let (mut failures, mut old) = (0, 0);
    for error in ["EIO", "ENOSPC", "EACCES"] {
        for (call, at) in moments(&calls, 4) {
            let what = format!("{error} from {call} {at}");
            let action = format!("error={error}");
            let Some(done) = inject(&world, &call, &action, at, &CREATE) else { continue };
            failures += 1;
            assert!(matches!(done.status, 0..=6 | 127), "{what}: {}\n{}", done.status, done.err);
            assert!(done.status == 0 || !done.err.is_empty(), "{what}: no word");
            old += u32::from(check_archive(&world, &done, &what));
            // Whose the temporary file is cannot be known when it cannot be looked at.
            let partial = "out/a.tar.gz.isptar-partial";
            if call.contains("stat")
                && fs::metadata(world.path(partial)).is_ok_and(|it| it.len() == 0)
            {
                fs::remove_file(world.path(partial)).unwrap();
            }
            assert_eq!(world.names("out"), ["a.tar.gz"], "{what}");
        }
    }
    eprintln!("create: {failures} failures, {old} left the old archive");
    assert!(failures > 60 && old > 20 && old < failures);
}

#[test]
fn writing_syncing_and_renaming_name_what_failed() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    for (call, error, said) in [
        ("write", "ENOSPC", "cannot write the archive out/a.tar.gz.isptar-partial: No space"),
        ("write", "EIO", "cannot write the archive out/a.tar.gz.isptar-partial: Input/output"),
        ("write", "EDQUOT", "cannot write the archive out/a.tar.gz.isptar-partial: Disk quota"),
        ("fsync", "EIO", "cannot sync the archive out/a.tar.gz.isptar-partial: Input/output"),
        ("rename", "EACCES", "cannot rename the archive out/a.tar.gz.isptar-partial: Permission"),
    ] {
        let done = inject(&world, call, &format!("error={error}"), 1, &CREATE).unwrap();
        assert_eq!(done.status, 6, "{call} {error}: {}", done.err);
        assert!(done.err.starts_with(&format!("isptar: error: {said}")), "{}", done.err);
        assert!(check_archive(&world, &done, call));
        assert_eq!(world.names("out"), ["a.tar.gz"], "{call} {error}");
    }
    // The rename is done, and only whether it lasts is not known.
    let done = inject(&world, "fsync", "error=EIO", 2, &CREATE).unwrap().with_status(6);
    let said = "cannot sync the directory of the archive out/a.tar.gz: Input/output";
    assert!(done.err.contains(said), "{}", done.err);
    assert!(!check_archive(&world, &done, "sync of the directory"));
}

#[test]
fn interrupted_calls_are_made_again() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    let mut hits = 0;
    for (args, calls) in [
        (&CREATE[..], &["write", "fsync", "pread64", "read"][..]),
        (&EXTRACT, &["pwrite64", "pread64"]),
    ] {
        for call in calls {
            for at in 1..40 {
                fs::create_dir_all(world.path("target")).unwrap();
                let Some(done) = inject(&world, call, "error=EINTR", at, args) else { break };
                // The first reads are those of the loader, which knows no second try.
                if done.status == 127 {
                    continue;
                }
                hits += 1;
                assert_eq!(done.status, 0, "{call} {at}: {}", done.err);
                if args[0] == "create" {
                    assert!(!check_archive(&world, &done, call));
                } else {
                    check_target(&world, Left::Everything, &format!("{call} {at}"));
                }
            }
        }
    }
    eprintln!("{hits} interrupted calls");
    assert!(hits > 15);
}

#[test]
fn create_may_be_killed_at_any_call() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    let calls = calls(&world, &CREATE);
    let (mut kills, mut old, mut wrecks) = (0, 0, 0);
    for (call, at) in moments(&calls, 3) {
        let what = format!("killed at {call} {at}");
        let Some(done) = inject(&world, &call, "signal=KILL", at, &CREATE) else { continue };
        kills += 1;
        assert_eq!(done.status, -9, "{what}");
        old += u32::from(check_archive(&world, &done, &what));
        let partial = world.path("out/a.tar.gz.isptar-partial");
        if fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > 0) {
            wrecks += 1;
            let done = world.run(&CREATE).with_status(0);
            assert!(done.err.contains("left by an earlier run that was killed"), "{what}");
            assert!(!check_archive(&world, &done, &what));
        } else if partial.exists() {
            world.run(&CREATE).with_status(0);
            fs::write(world.path("out/a.tar.gz"), OLD).unwrap();
        }
        assert_eq!(world.names("out"), ["a.tar.gz"], "{what}");
    }
    eprintln!("create: {kills} kills, {old} left the old archive, {wrecks} a partial file");
    assert!(kills > 40 && old > 40 && wrecks > 0);
}

/// Checks that `out/a.tar.gz`, in slices, is the old archive or the new one, and returns whether it is
/// the old one.
fn check_slices(world: &World, what: &str) -> bool {
    let listed = world.run(&["ls", "-q", "out/a.tar.gz"]).with_status(0);
    world.run(&["verify", "-q", "out/a.tar.gz"]).with_status(0);
    let lines = listed.text().lines().count();
    assert!(lines == 3 || lines == 10, "{what}: {lines} members");
    lines == 3
}

#[test]
fn create_in_slices_may_be_killed_at_any_call() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    world.file("old/tree/a", &noise(700_000, 5));
    world.file("old/tree/b", &noise(700_000, 6));
    let slices = ["--slice-size", "300K", "--slice-sha256"];
    let put_old = || {
        let _none = fs::remove_dir_all(world.path("out"));
        fs::create_dir(world.path("out")).unwrap();
        let args = ["create", "-q", "--slice-size", "100K", "-C", "old", "out/a.tar.gz", "tree"];
        world.run(&args).with_status(0);
    };
    let args = [&CREATE[..1], &slices, &CREATE[1..]].concat();
    put_old();
    let calls = calls(&world, &args);
    let (mut kills, mut old) = (0, 0);
    let mut moments = moments(&calls, 3);
    // The renames and removals of publishing are all met.
    for call in ["rename", "unlink"] {
        let count = calls.get(call).copied().unwrap_or_default();
        moments.retain(|(other, _)| other != call);
        moments.extend((1..=count).map(|at| (call.to_owned(), at)));
    }
    for (call, at) in moments {
        let what = format!("killed at {call} {at}");
        put_old();
        let Some(done) = inject(&world, &call, "signal=KILL", at, &args) else { continue };
        kills += 1;
        assert_eq!(done.status, -9, "{what}");
        old += u32::from(check_slices(&world, &what));
        world.run(&args).with_status(0);
        assert!(!check_slices(&world, &what));
        let names = world.names("out");
        assert!(names.iter().all(|name| name.contains(".part") && !name.ends_with('~')), "{what}");
        assert_eq!(names.len() % 2, 0, "{what}: {names:?}");
    }
    eprintln!("create in slices: {kills} kills, {old} left the old archive");
    assert!(kills > 60 && old > 30 && old < kills);
}

#[test]
fn create_clears_up_when_it_is_asked_to_stop_at_any_call() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    let calls = calls(&world, &CREATE);
    let mut stops = 0;
    for (number, name) in [(2, "INT"), (15, "TERM"), (1, "HUP")] {
        for (call, at) in moments(&calls, 2) {
            let what = format!("SIG{name} at {call} {at}");
            let action = format!("signal={name}");
            let Some(done) = inject(&world, &call, &action, at, &CREATE) else { continue };
            // Before the handlers are there it is a plain death; at the very end all is done.
            let ended = [0, -number, 128 + number];
            assert!(ended.contains(&done.status), "{what}: {} {}", done.status, done.err);
            let old = check_archive(&world, &done, &what);
            stops += u32::from(old && done.status > 0);
            assert_eq!(world.names("out"), ["a.tar.gz"], "{what}");
        }
    }
    eprintln!("create: {stops} runs stopped by a signal");
    assert!(stops > 20);
}

/// What a run of extract may have left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// All files with their content.
    Everything,
    /// Some files are missing; no temporary file.
    Some,
    /// Some files are missing, and there may be temporary files.
    Temporaries,
}

/// Makes a target that has older versions of a small and of a big file.
fn plant(world: &World) {
    let _none = fs::remove_dir_all(world.path("target"));
    world.file("target/tree/a", b"old a");
    world.file("target/tree/sub/big", b"old big");
}

/// Checks that no file of the target has other content than the source or, where there was an older
/// file, that one's. Returns how many temporary files there are.
fn check_target(world: &World, left: Left, what: &str) -> usize {
    let (mut files, mut temporaries) = (0, 0);
    let target = world.path("target");
    for found in walkdir::WalkDir::new(&target) {
        let found = found.unwrap();
        if !found.file_type().is_file() {
            continue;
        }
        let name = found.path().strip_prefix(&target).unwrap().to_str().unwrap().to_owned();
        if found.file_name().to_str().unwrap().starts_with(".isptar-") {
            assert!(left == Left::Temporaries, "{what}: {name} is left");
            temporaries += 1;
            continue;
        }
        let content = fs::read(found.path()).unwrap();
        let new = content == world.read(&format!("in/{name}"));
        let old = matches!(
            (name.as_str(), content.as_slice()),
            ("tree/a", b"old a") | ("tree/sub/big", b"old big")
        );
        assert!(new || (old && left != Left::Everything), "{what}: {name} has wrong content");
        files += usize::from(new);
    }
    assert!(files == 7 || left != Left::Everything, "{what}: {files} files");
    temporaries
}

#[test]
fn a_call_that_fails_costs_extract_no_more_than_it_says() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    plant(&world);
    let mut calls = calls(&world, &EXTRACT);
    calls.retain(|call, _| is_file_call(call));
    let mut failures = 0;
    for error in ["EIO", "ENOSPC", "EACCES"] {
        for (call, at) in moments(&calls, 4) {
            let what = format!("{error} from {call} {at}");
            plant(&world);
            let action = format!("error={error}");
            let Some(done) = inject(&world, &call, &action, at, &EXTRACT) else { continue };
            failures += 1;
            assert!(matches!(done.status, 0..=6 | 127), "{what}: {}\n{}", done.status, done.err);
            assert!(done.status == 0 || !done.err.is_empty(), "{what}: no word");
            let left = if done.status < 2 { Left::Everything } else { Left::Some };
            check_target(&world, left, &format!("{what} (status {})", done.status));
        }
    }
    eprintln!("extract: {failures} failures");
    assert!(failures > 60);
}

#[test]
fn extract_may_be_killed_or_stopped_at_any_call() {
    if !have(&["strace"]) {
        return;
    }
    let world = world();
    plant(&world);
    let calls = calls(&world, &EXTRACT);
    let (mut kills, mut stops, mut wrecks) = (0, 0, 0);
    for signal in ["KILL", "INT", "TERM"] {
        for (call, at) in moments(&calls, 2) {
            let what = format!("SIG{signal} at {call} {at}");
            plant(&world);
            let action = format!("signal={signal}");
            let Some(done) = inject(&world, &call, &action, at, &EXTRACT) else { continue };
            if signal == "KILL" {
                assert_eq!(done.status, -9, "{what}");
                let left = check_target(&world, Left::Temporaries, &what);
                (kills, wrecks) = (kills + 1, wrecks + left);
                let again = [&EXTRACT[..], &["--overwrite", "different"]].concat();
                let again = world.run(&again).with_status(0);
                assert_eq!(
                    again.err.matches("left beside it").count(),
                    left,
                    "{what}: {}",
                    again.err
                );
                check_target(&world, Left::Everything, &what);
            } else {
                assert!(matches!(done.status, 0 | -2 | -15 | 130 | 143), "{what}: {}", done.status);
                // The call comes in each thread: a second signal ends the process at once.
                let trace = String::from_utf8_lossy(&world.read("trace")).into_owned();
                let at_once = trace.matches("--- SIG").count() > 1;
                let left = match done.status {
                    0 => Left::Everything,
                    _ if at_once => Left::Temporaries,
                    _ => Left::Some,
                };
                check_target(&world, left, &what);
                stops += u32::from(done.status > 0);
            }
        }
    }
    eprintln!("extract: {kills} kills, {wrecks} left a temporary file, {stops} runs stopped");
    assert!(kills > 40 && stops > 20 && wrecks > 0);
}

#[test]
fn a_source_that_cannot_be_read_in_its_middle_loses_a_chunk_at_most() {
    if !have(&["strace"]) {
        return;
    }
    const MIB: usize = 1 << 20;
    let world = World::in_memory();
    let content = noise(4 * MIB + 5000, 3);
    world.file("in/tree/big", &content);
    world.file("in/tree/next", b"next");
    fs::create_dir(world.path("out")).unwrap();
    let mut lost = Vec::new();
    for at in 1..20 {
        let Some(done) = inject(&world, "pread64", "error=EIO", at, &CREATE) else { break };
        if done.status == 127 {
            continue;
        }
        let done = done.with_status(3);
        let archive = Archive::open(fs::File::open(world.path("out/a.tar.gz")).unwrap()).unwrap();
        assert!(archive.info().incomplete, "{at}");
        if !done.err.contains("cannot read tree/big: Input/output error") {
            continue;
        }
        let entry = archive.find(&"tree/big".into()).unwrap().unwrap();
        let mut stored = Vec::new();
        archive.copy_range(&entry, 0, u64::MAX, &mut stored).unwrap();
        assert!(entry.dirty && stored.len() == content.len(), "{at}");
        for (chunk, (stored, good)) in stored.chunks(MIB).zip(content.chunks(MIB)).enumerate() {
            if stored != good {
                assert!(stored.iter().all(|&byte| byte == 0), "{at}: wrong bytes in {chunk}");
                lost.push(chunk);
            }
        }
    }
    assert_eq!(lost, [0, 1, 2, 3, 4]);
}
