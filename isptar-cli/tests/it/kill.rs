//! Runs of create that do not come to their end.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PROGRAM, World, is_set, with_threads};
use crate::tree::noise;

const PARTIAL: &str = "a.tar.gz.isptar-partial";
/// Size of the sources: most of a run is spent writing them.
const SIZE: usize = 48 << 20;

/// Makes a source, and the archive of an earlier run.
fn world() -> World {
    let world = World::new();
    for n in 0..48 {
        world.file(&format!("in/tree/{n}"), &noise(SIZE / 48, n + 1));
    }
    world.file("out/a.tar.gz", b"the archive of an earlier run");
    world
}

fn start(world: &World) -> Child {
    let args = ["create", "--reproducible", "--level", "1", "-C", "../in", "a.tar.gz", "tree"];
    // Signals that whoever runs the tests ignores would be ignored by the program as well.
    let mut command = Command::new("env");
    command.current_dir(world.path("out")).args(["--default-signal", PROGRAM]);
    command.args(with_threads(&args));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Sends a signal when so much was written, unless the run ends before.
fn stop(world: &World, written: u64, signal: Signal) -> ExitStatus {
    let mut child = start(world);
    let partial = world.path("out").join(PARTIAL);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if fs::metadata(&partial).is_ok_and(|metadata| metadata.len() >= written) {
            break;
        }
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap()
}

#[test]
fn a_killed_run_leaves_the_old_archive_as_it_was() {
    let world = world();
    let old = world.read("out/a.tar.gz");
    let args = ["create", "-q", "--reproducible", "--level", "1", "-C", "in", "new", "tree"];
    world.run(&args).with_status(0);
    let new = world.read("new");
    let mut killed = 0;
    let moments = if is_set("ISPTAR_SLOW_TESTS") { 300 } else { 20 };
    for moment in 0..moments {
        // From the first byte to the last: the last moments are those of syncing and renaming.
        let written = new.len() as u64 * moment / (moments - 1);
        let status = stop(&world, written, Signal::KILL);
        let found = world.read("out/a.tar.gz");
        if found == old {
            killed += 1;
            assert_eq!(status.signal(), Some(9));
            assert_eq!(world.names("out"), ["a.tar.gz", PARTIAL], "{moment}");
        } else {
            assert!(found == new, "neither the old nor the new archive: {moment}");
            fs::write(world.path("out/a.tar.gz"), &old).unwrap();
        }
    }
    eprintln!("create: {killed} of {moments} runs killed while they wrote");
    assert!(killed >= moments / 2, "only {killed} runs were stopped on their way");
}

#[test]
fn the_run_after_a_killed_one_tells_and_succeeds() {
    let world = world();
    let status = stop(&world, 1 << 20, Signal::KILL);
    assert_eq!(status.signal(), Some(9));
    let done = world.run(&["create", "-C", "in", "out/a.tar.gz", "tree"]).with_status(0);
    let said = format!("isptar: warning: out/{PARTIAL}: left by an earlier run that was killed");
    assert!(done.err.starts_with(&said), "{}", done.err);
    assert_eq!(world.names("out"), ["a.tar.gz"]);
    let done = world.run(&["ls", "out/a.tar.gz"]).with_status(0);
    assert_eq!(done.text().lines().count(), 49);
}

#[test]
fn a_run_that_is_asked_to_stop_clears_up() {
    let world = world();
    let old = world.read("out/a.tar.gz");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        for written in [0, 1 << 20, 16 << 20] {
            let status = stop(&world, written, signal);
            let name = format!("{signal:?} after {written} bytes: {status}");
            assert_eq!(status.code(), Some(128 + signal.as_raw()), "{name}");
            assert_eq!(world.names("out"), ["a.tar.gz"], "{name}");
            assert!(world.read("out/a.tar.gz") == old, "{name}");
        }
    }
}

#[test]
fn two_runs_do_not_write_one_archive() {
    let world = world();
    let mut child = start(&world);
    let partial = world.path("out").join(PARTIAL);
    while !fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > 0) {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    let done = world.run(&["create", "-C", "in", "out/a.tar.gz", "tree"]).with_status(6);
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    assert!(done.err.contains("isptar: hint: wait until it has ended"), "{}", done.err);
    assert!(child.wait().unwrap().success());
    world.run(&["ls", "out/a.tar.gz"]).with_status(0);
    assert_eq!(world.names("out"), ["a.tar.gz"]);
}

#[test]
fn a_signal_while_an_archive_comes_through_a_pipe_leaves_whole_files_alone() {
    let world = World::new();
    for n in 0..4 {
        world.file(&format!("tree/{n}"), &noise((1 << 20) + 5000, n + 1));
    }
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let archive = world.read("a.tar.gz");
    for (signal, part) in [(Signal::INT, 3), (Signal::TERM, 5), (Signal::HUP, 6)] {
        let _none = fs::remove_dir_all(world.path("target"));
        let mut command = Command::new("env");
        command.current_dir(world.path("")).args(["--default-signal", PROGRAM]);
        command.args(with_threads(&["extract", "-", "-C", "target"])).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than the pipe holds: when it is taken, the program is at its work.
        stdin.write_all(&archive[..archive.len() * part / 8]).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        drop(stdin);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{signal:?}");
        for name in world.names("target/tree") {
            let (found, good) = (format!("target/tree/{name}"), format!("tree/{name}"));
            assert!(world.read(&found) == world.read(&good), "{signal:?}: {name}");
        }
        assert!(world.names("target/tree").len() < 4, "{signal:?}");
    }
}
