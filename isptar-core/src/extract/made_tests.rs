//! What killed runs leave, and what only looks like it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::made::{Made, Over, Wreck, temporary_name_of};
use super::notes::{Notes, Site};
use super::tests::{World, file, mode, safe, with_mode};
use super::*;

const CONTENT: &[u8] = b"content";

/// Returns the temporary path of the member `f` in a target that was made.
fn temporary(world: &World) -> PathBuf {
    fs::create_dir_all(world.path("")).unwrap();
    world.path("").join(OsStr::from_bytes(&temporary_name_of(b"f", 0)))
}

fn put(path: &PathBuf, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Reads what its owner may not read.
fn read(path: &PathBuf) -> Vec<u8> {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn a_file_that_only_its_owner_may_write_is_not_taken_for_a_leftover() {
    for overwrite in [Overwrite::Never, Overwrite::Newer] {
        for mine in [&b"mine"[..], b"con", b""] {
            let mut world = World::new();
            world.options.overwrite = overwrite;
            fs::create_dir(world.path("")).unwrap();
            put(&world.path("f"), mine, 0o200);
            let report = world.restore(vec![file("f", CONTENT)]);
            assert_eq!((report.kept, report.files), (1, 0), "{:?}", world.told.lines);
            assert_eq!(mode(world.path("f")), 0o200);
            assert_eq!(read(&world.path("f")), mine);
        }
    }
}

#[test]
fn what_a_killed_run_left_is_removed_and_told() {
    let member = file("f", CONTENT);
    let mtime = member.entry.mtime.unwrap();
    let seconds = u64::try_from(mtime.seconds()).unwrap();
    let mtime = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, mtime.nanos());
    for (left, mode, time) in [
        (&b""[..], 0o200, None),
        (b"conte", 0o200, None),
        (CONTENT, 0o200, None),
        // Complete, but for its name.
        (CONTENT, 0o644, Some(mtime)),
    ] {
        let mut world = World::new();
        let path = temporary(&world);
        put(&path, left, 0o600);
        if let Some(time) = time {
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let report = world.restore(vec![file("f", CONTENT)]);
        assert_eq!((report.files, report.warnings), (1, 0));
        assert_eq!(world.told.lines.len(), 1, "{:?}", world.told.lines);
        assert!(world.told.lines[0].contains("left beside it by an earlier run"));
        assert_eq!(fs::read(world.path("f")).unwrap(), CONTENT);
        world.no_temporaries();
    }
}

#[test]
fn what_a_killed_run_wrote_out_of_order_is_removed() {
    for (wrong, left) in [(false, 1), (true, 2)] {
        let mut world = World::new();
        let content: Vec<u8> = (0..3u32 << 20).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let path = temporary(&world);
        let wreck = File::create(&path).unwrap();
        let mut chunk = content[1 << 20..2 << 20].to_vec();
        chunk[77_777] ^= u8::from(wrong);
        wreck.write_all_at(&chunk, 1 << 20).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o200)).unwrap();
        let report = world.restore(vec![file("f", &content)]);
        assert_eq!((report.files, world.told.lines.len()), (1, 1), "{:?}", world.told.lines);
        assert!(fs::read(world.path("f")).unwrap() == content);
        assert_eq!(fs::read_dir(world.path("")).unwrap().count(), left);
    }
}

#[test]
fn what_only_has_the_name_of_a_leftover_stays_and_is_told() {
    for what in ["mode", "links", "size", "content", "complete", "link", "directory"] {
        let mut world = World::new();
        let path = temporary(&world);
        match what {
            "mode" => put(&path, b"mine", 0o644),
            "links" => {
                put(&path, b"mine", 0o200);
                fs::hard_link(&path, world.path("second")).unwrap();
            }
            "size" => put(&path, b"more than the member", 0o200),
            "content" => put(&path, b"mine", 0o200),
            "complete" => {
                put(&path, b"CONTENT", 0o644);
                let mtime = file("f", CONTENT).entry.mtime.unwrap();
                let seconds = u64::try_from(mtime.seconds()).unwrap();
                let since = std::time::Duration::new(seconds, mtime.nanos());
                let time = std::time::UNIX_EPOCH + since;
                File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }
            "link" => symlink("nowhere", &path).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        let before = path.symlink_metadata().unwrap();
        let report = world.restore(vec![file("f", CONTENT)]);
        assert_eq!(report.files, 1, "{what}: {:?}", world.told.lines);
        let said = "stands beside it and is nothing that a run left: it stays";
        assert!(world.told.lines[0].contains(said), "{what}: {:?}", world.told.lines);
        assert_eq!(fs::read(world.path("f")).unwrap(), CONTENT, "{what}");
        let after = path.symlink_metadata().unwrap();
        assert_eq!((after.len(), after.mode()), (before.len(), before.mode()), "{what}");
        let names = fs::read_dir(world.path("")).unwrap().count();
        assert_eq!(names, 2 + usize::from(what == "links"), "{what}");
    }
}

#[test]
fn what_another_run_works_on_stays() {
    let mut world = World::new();
    let path = temporary(&world);
    fs::write(&path, "cont").unwrap();
    let other = File::open(&path).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o200)).unwrap();
    let report = world.restore(vec![with_mode(file("f", CONTENT), 0o600)]);
    assert_eq!((report.files, world.told.lines.as_slice()), (1, &[][..]));
    assert_eq!(read(&path), b"cont");
}

#[test]
fn a_failure_removes_nothing_that_another_process_put_in_its_place() {
    let world = World::new();
    let path = temporary(&world);
    let directory = File::open(world.path("")).unwrap();
    let wreck = Wreck { size: 7, mtime: None, user: 0, owner: None };
    let (root, path_of) = (world.path(""), safe("f"));
    let site = Site { root: &root, path: &path_of, entry: &file("f", CONTENT).entry };
    let notes = &mut Notes::default();
    let made = Made::locked(directory.as_fd(), b"f", wreck, site, |_| false, notes).unwrap();
    fs::write(world.path("theirs"), "theirs").unwrap();
    fs::rename(world.path("theirs"), &path).unwrap();
    made.publish(Err(Error::Cancelled), Over::Anything, site).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
}
