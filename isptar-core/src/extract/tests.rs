//! Members from memory, restored into directories that want to lead astray.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::hand::{Outcome, Source};
use super::notes::Notes;
use super::sequential::Sequence;
use super::target::{Target, Written, hash};
use super::tell::Tell;
use super::*;
use crate::content::{Content, Piece};
use crate::error::FormatError;
use crate::format::entry::{Entry, Kind};
use crate::format::member::Xattrs;
use crate::format::timestamp::Timestamp;
use crate::observe::{Event, Warning};

/// A member in memory.
pub(super) struct Memory {
    pub(super) entry: Entry,
    xattrs: Xattrs,
    pieces: Vec<(u64, Vec<u8>)>,
    next: usize,
    damaged: bool,
}

impl Content for Memory {
    fn size(&self) -> u64 {
        self.entry.kind.size()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        let next = self.next;
        self.next += 1;
        match self.pieces.get(next) {
            Some((offset, bytes)) => Ok(Some(Piece { offset: *offset, bytes })),
            None if self.damaged => Err(Error::CorruptMember {
                path: self.entry.path.clone(),
                range: 0..0,
                kind: FormatError::Crc { expected: 1, actual: 2 },
            }),
            None => Ok(None),
        }
    }
}

impl Source for Memory {
    fn xattrs(&self) -> &Xattrs {
        &self.xattrs
    }
}

pub(super) fn member(path: &str, kind: Kind) -> Memory {
    let mut entry = Entry::new(path.into(), kind);
    entry.mode = if entry.kind == Kind::Directory { 0o755 } else { 0o644 };
    entry.uid = rustix::process::geteuid().as_raw().into();
    entry.gid = rustix::process::getegid().as_raw().into();
    entry.mtime = Some(Timestamp::new(1_000_000_000, 123_456_789));
    Memory { entry, xattrs: Xattrs::default(), pieces: Vec::new(), next: 0, damaged: false }
}

pub(super) fn file(path: &str, content: &[u8]) -> Memory {
    let mut file = member(path, Kind::File { size: content.len() as u64 });
    for (index, piece) in content.chunks(1 << 20).enumerate() {
        file.pieces.push(((index as u64) << 20, piece.to_vec()));
    }
    file
}

fn dir(path: &str, mode: u32) -> Memory {
    with_mode(member(path, Kind::Directory), mode)
}

pub(super) fn with_mode(mut member: Memory, mode: u32) -> Memory {
    member.entry.mode = mode;
    member
}

fn link(path: &str, target: &str) -> Memory {
    member(path, Kind::Symlink { target: target.into() })
}

fn hard(path: &str, target: &str) -> Memory {
    member(path, Kind::HardLink { target: target.into() })
}

pub(super) fn safe(path: &str) -> SafePath {
    SafePath::try_from(&MemberPath::from(path)).unwrap()
}

/// Keeps what it is told, and stops a job after some events.
#[derive(Default)]
pub(super) struct Told {
    pub(super) lines: Vec<String>,
    pub(super) progress: u64,
    pub(super) stop_after: Option<u64>,
}

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Failed { path, error } => self.lines.push(format!("failed {path}: {error}")),
            Event::Warning { path, warning } => self.lines.push(format!("warn {path}: {warning}")),
            Event::LeftOut { path, reason } => self.lines.push(format!("left {path}: {reason}")),
            Event::Progress { bytes } => self.progress += bytes,
            _ => {}
        }
    }

    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|limit| self.progress >= limit)
    }
}

/// A place with a target in it, and things beside the target that must stay as they are.
pub(super) struct World {
    pub(super) base: tempfile::TempDir,
    pub(super) told: Told,
    pub(super) options: ExtractOptions,
}

impl World {
    pub(super) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("outside")).unwrap();
        fs::set_permissions(base.path().join("outside"), Permissions::from_mode(0o700)).unwrap();
        fs::write(base.path().join("victim"), "original").unwrap();
        fs::set_permissions(base.path().join("victim"), Permissions::from_mode(0o600)).unwrap();
        Self { base, told: Told::default(), options: ExtractOptions::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join("target").join(name)
    }

    pub(super) fn restore(&mut self, members: Vec<Memory>) -> ExtractReport {
        let result = self.try_restore(members);
        result.unwrap()
    }

    fn try_restore(&mut self, members: Vec<Memory>) -> Result<ExtractReport> {
        self.told = Told { stop_after: self.told.stop_after, ..Told::default() };
        let target = self.base.path().join("target");
        let mut sequence =
            Sequence::new(&target, &self.options, Limits::default(), &mut self.told)?;
        for mut member in members {
            sequence.add(&member.entry.clone(), &mut member)?;
        }
        sequence.finish()?;
        Ok(sequence.tell.report)
    }

    fn assert_untouched(&self) {
        let outside = self.base.path().join("outside");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(outside.metadata().unwrap().mode() & 0o7777, 0o700);
        let victim = self.base.path().join("victim");
        assert_eq!(fs::read(&victim).unwrap(), b"original");
        let metadata = victim.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
        assert_eq!(fs::read_dir(self.base.path()).unwrap().count(), 3);
    }

    pub(super) fn no_temporaries(&self) {
        for found in walkdir::WalkDir::new(self.path("")) {
            let found = found.unwrap();
            let name = found.file_name().to_string_lossy();
            assert!(!name.starts_with(".isptar-"), "{}", found.path().display());
        }
    }
}

pub(super) fn mode(path: impl AsRef<Path>) -> u32 {
    path.as_ref().symlink_metadata().unwrap().mode() & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn everything_comes_back_with_its_metadata() {
    let mut world = World::new();
    let report = world.restore(vec![
        dir(".", 0o710),
        dir("d", 0o500),
        with_mode(file("d/f", b"content"), 0o640),
        file("d/empty", b""),
        with_mode(member("d/fifo", Kind::Fifo), 0o666),
        link("d/l", "f"),
        hard("d/h", "d/f"),
        file("plain/deep/x", b"x"),
    ]);
    assert_eq!(world.told.lines, [""; 0]);
    assert_eq!((report.members, report.files, report.bytes), (8, 3, 8));
    assert_eq!(world.told.progress, 8);
    assert_eq!(fs::read(world.path("d/h")).unwrap(), b"content");
    assert_eq!(fs::read_link(world.path("d/l")).unwrap(), Path::new("f"));
    assert!(world.path("d/fifo").metadata().unwrap().file_type().is_fifo());
    let modes = ["", "d", "d/f", "d/fifo", "d/empty"].map(|name| mode(world.path(name)));
    assert_eq!(modes, [0o710, 0o500, 0o640, 0o666, 0o644]);
    for name in ["", "d", "d/f", "d/l", "d/fifo", "d/h"] {
        let metadata = world.path(name).symlink_metadata().unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 123_456_789));
    }
    let inodes = ["d/f", "d/h"].map(|name| world.path(name).metadata().unwrap().ino());
    assert_eq!(inodes[0], inodes[1]);
    // A parent that no member is has a plain mode and the present time.
    assert_eq!(mode(world.path("plain")) & 0o700, 0o700);
    assert_ne!(world.path("plain").metadata().unwrap().mtime(), 1_000_000_000);
    fs::set_permissions(world.path("d"), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn no_link_of_the_archive_or_the_target_is_followed() {
    let mut world = World::new();
    let outside = world.base.path().join("outside").to_str().unwrap().to_owned();
    let victim = world.base.path().join("victim").to_str().unwrap().to_owned();
    // Hostile inputs p05, p08, p16: links are made last, so what came below is in the way of them.
    let report = world.restore(vec![
        link("a", &outside),
        file("a/evil", b"x"),
        link("b", &outside),
        dir("b", 0o777),
        link("loop", "loop"),
        file("loop/x", b"x"),
        hard("c", "../victim"),
        hard("d", &victim),
        dir("e/..", 0o777),
        file("../victim", b"evil"),
        file("", b"evil"),
        file(".", b"evil"),
        file("ok", b"ok"),
    ]);
    world.assert_untouched();
    assert_eq!(fs::read(world.path("ok")).unwrap(), b"ok");
    assert!(!world.path("c").exists() && !world.path("d").exists());
    assert!(world.path("b").symlink_metadata().unwrap().is_dir());
    assert_eq!(report.failed, 8, "{:#?}", world.told.lines);

    // p07, p14: the links are there from an earlier run.
    let mut world = World::new();
    world.restore(vec![
        link("in", "../outside"),
        link("name", "../victim"),
        link("fd", "../victim"),
    ]);
    let report = world.restore(vec![
        file("in/evil", b"x"),
        dir("in", 0o777),
        member("in/fifo", Kind::Fifo),
        hard("in/hard", "ok"),
        file("name", b"new"),
        with_mode(member("fd", Kind::Fifo), 0o666),
        file("ok", b"ok"),
    ]);
    world.assert_untouched();
    assert_eq!(report.failed, 4, "{:#?}", world.told.lines);
    assert!(world.told.lines[0].contains("a symbolic link is in the way at in"));
    assert_eq!(fs::read(world.path("name")).unwrap(), b"new");
    assert!(!world.path("name").is_symlink());
    assert!(world.path("fd").symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn a_hard_link_never_gives_a_foreign_file_away() {
    // p31: what is linked to was in the target before; it is no file of this run.
    let mut world = World::new();
    fs::create_dir(world.path("")).unwrap();
    fs::write(world.path("theirs"), "theirs").unwrap();
    let report = world.restore(vec![hard("h", "theirs"), with_mode(file("h", b"mine"), 0o4777)]);
    assert_eq!(report.failed, 0, "{:?}", world.told.lines);
    assert_eq!(fs::read(world.path("theirs")).unwrap(), b"theirs");
    assert_eq!(world.path("theirs").metadata().unwrap().nlink(), 1);
    let report = world.restore(vec![hard("k", "theirs"), hard("m", "nothing")]);
    assert_eq!(report.failed, 2);
    assert_eq!(
        world.told.lines,
        [
            "failed k: cannot restore k: it is a hard link to theirs, which was not restored",
            "failed m: cannot restore m: it is a hard link to nothing, which was not restored",
        ]
    );
    assert_eq!(world.path("theirs").metadata().unwrap().nlink(), 1);
}

#[test]
fn a_directory_never_gives_way_nor_does_a_file_to_a_directory() {
    let mut world = World::new();
    fs::create_dir_all(world.path("dir/full")).unwrap();
    fs::write(world.path("file"), "file").unwrap();
    let report = world.restore(vec![
        file("dir", b"x"),
        link("dir/full", "x"),
        dir("file", 0o777),
        file("file/below", b"x"),
    ]);
    assert_eq!(report.failed, 4);
    let told = world.told.lines.join("\n");
    assert!(told.contains("failed dir: cannot restore dir: a directory is in the way at dir"));
    assert!(told.contains("failed file: cannot restore file: a file is in the way at file"));
    assert!(told.contains("cannot restore file/below: a file is in the way at file"));
    assert!(world.path("dir/full").is_dir());
    assert_eq!(fs::read(world.path("file")).unwrap(), b"file");
    world.no_temporaries();
}

#[test]
fn overwriting_is_as_the_options_say() {
    let stamp = |offset: i64| {
        std::time::UNIX_EPOCH
            + std::time::Duration::new(u64::try_from(1_000_000_000 + offset).unwrap(), 123_456_789)
    };
    // What is there: contents and how much newer it is than the member "new".
    let cases = [("old", -1), ("old", 1), ("old", 0), ("older", 0)];
    for (overwrite, replaced) in [
        (Overwrite::Never, [false, false, false, false]),
        (Overwrite::Always, [true, true, true, true]),
        (Overwrite::Newer, [true, false, false, false]),
        (Overwrite::Different, [true, true, false, true]),
    ] {
        for ((content, offset), replaced) in cases.into_iter().zip(replaced) {
            let mut world = World::new();
            world.options.overwrite = overwrite;
            fs::create_dir(world.path("")).unwrap();
            fs::write(world.path("f"), content).unwrap();
            fs::File::open(world.path("f")).unwrap().set_modified(stamp(offset)).unwrap();
            let before = if overwrite == Overwrite::Different { 0o644 } else { 0o600 };
            fs::set_permissions(world.path("f"), Permissions::from_mode(before)).unwrap();
            let report = world.restore(vec![file("f", b"new"), link("f2", "x")]);
            let expected: &[u8] = if replaced { b"new" } else { content.as_bytes() };
            assert_eq!(fs::read(world.path("f")).unwrap(), expected, "{overwrite:?} {offset}");
            assert_eq!(report.kept, u64::from(!replaced));
            let expected = if replaced { 0o644 } else { before };
            assert_eq!(mode(world.path("f")), expected, "{overwrite:?} {offset}");
            world.no_temporaries();
        }
    }
}

#[test]
fn names_outside_the_target_keep_their_metadata() {
    for overwrite in [Overwrite::Different, Overwrite::Always, Overwrite::Newer] {
        let mut world = World::new();
        world.options.overwrite = overwrite;
        fs::create_dir(world.path("")).unwrap();
        let outside = world.base.path().join("a-file");
        fs::write(&outside, "old").unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
        fs::File::open(&outside).unwrap().set_modified(time).unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(&outside, world.path("f")).unwrap();
        world.restore(vec![file("f", b"new")]);
        assert_eq!(mode(outside.clone()), 0o600, "{overwrite:?}");
        assert_eq!(fs::read(&outside).unwrap(), b"old");
    }
}

#[test]
fn links_and_fifos_are_replaced_or_kept_too() {
    let again = || vec![link("l", "new"), member("p", Kind::Fifo), file("f", b"x"), hard("h", "f")];
    let mut world = World::new();
    world.restore(vec![
        link("l", "old"),
        link("p", "old"),
        file("g", b"old"),
        hard("h", "g"),
        file("f", b"x"),
    ]);
    world.options.overwrite = Overwrite::Never;
    let report = world.restore(again());
    // The target of the hard link was kept, so it is no file of this run.
    assert_eq!((report.kept, report.failed), (3, 1), "{:?}", world.told.lines);
    assert_eq!(fs::read_link(world.path("p")).unwrap(), Path::new("old"));

    world.options.overwrite = Overwrite::Always;
    let report = world.restore(again());
    assert_eq!((report.kept, report.failed), (0, 0), "{:?}", world.told.lines);
    assert_eq!(fs::read_link(world.path("l")).unwrap(), Path::new("new"));
    assert!(world.path("p").symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(fs::read(world.path("h")).unwrap(), b"x");
    assert_eq!(world.path("g").metadata().unwrap().nlink(), 1);
    world.no_temporaries();

    // Different keeps what is equal, and what is kept so may be linked to.
    world.options.overwrite = Overwrite::Different;
    let report = world.restore(again());
    assert_eq!((report.kept, report.failed), (3, 0), "{:?}", world.told.lines);
    assert_eq!(world.path("f").metadata().unwrap().nlink(), 2);
}

#[test]
fn of_members_with_one_name_the_last_wins() {
    let mut world = World::new();
    world.options.overwrite = Overwrite::Never;
    let report = world.restore(vec![
        file("f", b"first"),
        file("./f", b"second"),
        link("s", "../victim"),
        file("s", b"file"),
        file("t", b"file"),
        link("t", "x"),
        dir("d", 0o777),
        dir("d/", 0o750),
        file("same", b"x"),
        hard("same", "same"),
    ]);
    assert_eq!((report.failed, report.kept), (0, 0), "{:?}", world.told.lines);
    assert_eq!(fs::read(world.path("f")).unwrap(), b"second");
    assert_eq!(fs::read(world.path("s")).unwrap(), b"file");
    assert_eq!(fs::read_link(world.path("t")).unwrap(), Path::new("x"));
    assert_eq!(mode(world.path("d")), 0o750);
    assert_eq!(fs::read(world.path("same")).unwrap(), b"x");
    world.assert_untouched();
}

#[test]
fn damaged_content_never_gets_a_name() {
    for size in [10, (1 << 20) + 5, 3 << 20] {
        let mut world = World::new();
        let mut damaged = file("new", &vec![7; size]);
        damaged.damaged = true;
        let mut again = file("old", &vec![8; size]);
        again.damaged = true;
        let report = world.restore(vec![file("old", b"old"), damaged, again, file("ok", b"ok")]);
        assert_eq!((report.failed, report.files), (2, 2));
        assert!(world.told.lines[0].contains("CRC is"));
        assert!(!world.path("new").exists());
        assert_eq!(fs::read(world.path("old")).unwrap(), b"old");
        assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 2);
    }
    let mut world = World::new();
    let mut liar = file("liar", &[1; 100]);
    liar.entry.kind = Kind::File { size: 50 };
    assert_eq!(world.restore(vec![liar]).failed, 1);
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 0);
}

#[test]
fn a_stopped_job_leaves_no_temporary_file() {
    let mut world = World::new();
    world.told.stop_after = Some(2 << 20);
    let result = world.try_restore(vec![file("big", &vec![1; 5 << 20]), file("next", b"")]);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 0);
}

#[test]
fn big_files_come_back_whole() {
    let mut world = World::new();
    let content: Vec<u8> = (0..(5u32 << 20) + 77).map(|i| (i % 251) as u8).collect();
    for _ in 0..2 {
        let report = world.restore(vec![file("big", &content)]);
        assert_eq!(report.bytes, content.len() as u64);
        assert_eq!(world.told.progress, content.len() as u64);
        assert!(fs::read(world.path("big")).unwrap() == content);
    }
    world.no_temporaries();
}

#[test]
fn holes_stay_holes() {
    let mut world = World::new();
    let size = 64u64 << 20;
    let mut sparse = member("sparse", Kind::File { size });
    sparse.pieces = vec![(4 << 20, vec![1; 4096]), (32 << 20, vec![2; 10])];
    // Stored dense, with zeros.
    let mut content = vec![0u8; 8 << 20];
    content[(3 << 20) + 5] = 9;
    let mut dense = file("dense", &content);
    dense.entry.sparse = true;
    let mut small_content = vec![0u8; 900_000];
    small_content[500_000] = 3;
    let mut small = file("small", &small_content);
    small.entry.sparse = true;
    let mut hole = member("hole", Kind::File { size: 1000 });
    hole.entry.sparse = true;
    world.restore(vec![sparse, dense, small, hole]);
    assert_eq!(world.told.lines, [""; 0]);
    let mut expected = vec![0u8; 64 << 20];
    expected[4 << 20..(4 << 20) + 4096].fill(1);
    expected[32 << 20..(32 << 20) + 10].fill(2);
    assert!(fs::read(world.path("sparse")).unwrap() == expected);
    assert!(fs::read(world.path("dense")).unwrap() == content);
    assert!(fs::read(world.path("small")).unwrap() == small_content);
    assert_eq!(fs::read(world.path("hole")).unwrap(), vec![0; 1000]);
    for name in ["sparse", "dense", "small", "hole"] {
        let blocks = world.path(name).metadata().unwrap().blocks();
        assert!(blocks <= 64, "{name} has {blocks} blocks");
    }
}

#[test]
fn set_ids_go_with_the_owner_alone() {
    for (owner, expected) in [(false, 0o1755), (is_root(), if is_root() { 0o7755 } else { 0o1755 })]
    {
        let mut world = World::new();
        world.options.owner = owner;
        world.restore(vec![with_mode(file("f", b"x"), 0o7755)]);
        assert_eq!(mode(world.path("f")), expected);
    }
    if !is_root() {
        return;
    }
    // An owner that cannot be: the file stays, without rights it should not have.
    let mut world = World::new();
    let mut odd = with_mode(file("f", b"x"), 0o4755);
    odd.entry.uid = 1 << 39;
    odd.entry.gid = 12_345;
    let report = world.restore(vec![odd]);
    assert_eq!((report.failed, report.warnings), (0, 1));
    assert!(world.told.lines[0].contains("this system has no id 549755813888"));
    assert_eq!(mode(world.path("f")), 0o755);
    assert_eq!(world.path("f").metadata().unwrap().gid(), 12_345);
}

#[test]
fn owners_go_by_name_unless_by_number() {
    if !is_root() {
        return;
    }
    for (numeric, name, expected) in
        [(false, "root", 0), (true, "root", 4321), (false, "no such user", 4321), (false, "", 4321)]
    {
        let mut world = World::new();
        world.options.numeric_owner = numeric;
        let mut members = vec![
            file("f", b"x"),
            dir("d", 0o755),
            member("p", Kind::Fifo),
            link("l", "x"),
            member("c", Kind::CharDevice { major: 1, minor: 3 }),
        ];
        for member in &mut members {
            member.entry.uid = 4321;
            member.entry.user = name.into();
        }
        world.restore(members);
        for path in ["f", "d", "p", "l", "c"] {
            let Ok(metadata) = world.path(path).symlink_metadata() else {
                // Where devices may not be made, that is told.
                assert!(path == "c" && world.told.lines[0].contains("cannot make"));
                continue;
            };
            assert_eq!(metadata.uid(), expected, "{path}");
        }
    }
}

#[test]
fn extended_attributes_come_back() {
    let mut world = World::new();
    fs::create_dir(world.path("")).unwrap();
    let here = world.path("");
    if rustix::fs::setxattr(&here, "user.probe", b"x", rustix::fs::XattrFlags::empty()).is_err() {
        return;
    }
    let attributes = BTreeMap::from([(b"user.note".to_vec(), b"a\0b".to_vec())]);
    let with_note = |mut member: Memory| {
        member.xattrs.attributes.clone_from(&attributes);
        member
    };
    let members = || vec![with_note(with_mode(file("f", b"x"), 0o400)), with_note(dir("d", 0o500))];
    world.restore(members());
    let note = |path: PathBuf| {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(path, "user.note", &mut value[..]).ok()?;
        Some(value[..len].to_vec())
    };
    assert_eq!(world.told.lines, [""; 0]);
    assert_eq!(note(world.path("f")), Some(b"a\0b".to_vec()));
    assert_eq!(note(world.path("d")), Some(b"a\0b".to_vec()));
    assert_eq!((mode(world.path("f")), mode(world.path("d"))), (0o400, 0o500));

    let mut world = World::new();
    world.options.xattrs = false;
    world.restore(members());
    assert_eq!(note(world.path("f")), None);

    // user.* attributes cannot be set on a FIFO: that is told, and the FIFO stays.
    let report = world.restore(vec![with_note(member("p", Kind::Fifo)), file("g", b"")]);
    assert_eq!((report.failed, report.members), (0, 2));
    world.options.xattrs = true;
    let report = world.restore(vec![with_note(member("p", Kind::Fifo))]);
    assert_eq!((report.failed, report.warnings), (0, 1), "{:?}", world.told.lines);
}

#[test]
fn a_default_acl_of_the_target_leaves_nothing_behind() {
    let mut world = World::new();
    fs::create_dir(world.path("")).unwrap();
    // Version 2; user::rwx, user:1234:rwx, group::r-x, mask::rwx, other::r-x.
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (1u16, 7u16, u32::MAX),
        (2, 7, 1234),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 5, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let name = "system.posix_acl_default";
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(world.path(""), name, &acl, flags).is_err() {
        return;
    }
    world.restore(vec![
        with_mode(file("f", b"x"), 0o640),
        with_mode(member("p", Kind::Fifo), 0o640),
        dir("d", 0o750),
        with_mode(file("d/f", b"x"), 0o640),
        with_mode(file("big", &vec![1; 2 << 20]), 0o640),
    ]);
    assert_eq!(world.told.lines, [""; 0]);
    for path in ["f", "p", "d", "d/f", "big"] {
        let path = world.path(path);
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            let found = rustix::fs::lgetxattr(&path, name, &mut [0; 256][..]);
            assert!(found.is_err(), "{} has {name}", path.display());
        }
    }
    let modes = ["f", "p", "d", "d/f", "big"].map(|path| mode(world.path(path)));
    assert_eq!(modes, [0o640, 0o640, 0o750, 0o640, 0o640]);
}

#[test]
fn components_are_stripped_from_names_and_hard_link_targets() {
    let mut world = World::new();
    world.options.strip_components = 2;
    let report = world.restore(vec![
        dir("a", 0o700),
        dir("a/b", 0o700),
        dir("a/b/c", 0o711),
        file("/a//./b/c/f", b"x"),
        hard("a/b/h", "a/b/c/f"),
        link("a/b/s", "a/b/c"),
    ]);
    assert_eq!(report.failed, 0);
    assert_eq!(
        world.told.lines,
        [
            "left a: nothing is left of its name",
            "left a/b: nothing is left of its name",
            "warn /a//./b/c/f: the leading slash is left out of this name and of all others that \
             have one",
        ]
    );
    assert_eq!(
        world.path("h").metadata().unwrap().ino(),
        world.path("c/f").metadata().unwrap().ino()
    );
    assert_eq!(fs::read_link(world.path("s")).unwrap(), Path::new("a/b/c"));
    assert_eq!(mode(world.path("c")), 0o711);
}

#[test]
fn a_dry_run_makes_nothing() {
    let mut world = World::new();
    world.options.dry_run = true;
    let report = world.restore(vec![dir("d", 0o700), file("d/f", b"x"), file("../x", b"x")]);
    assert_eq!((report.members, report.failed), (2, 1));
    assert!(!world.path("").exists());
}

#[test]
fn depth_costs_neither_handles_nor_path_lengths() {
    let mut world = World::new();
    let deep = vec!["d"; 4999].join("/");
    let root = world.path("");
    let observer = &mut Told::default();
    let options = ExtractOptions::default();
    let mut sequence =
        Sequence::new(&world.path(""), &options, Limits::default(), observer).unwrap();
    let mut most = 0;
    let members = vec![
        file(&format!("{deep}/one"), b"1"),
        file(&format!("{deep}/two"), b"2"),
        hard("top", &format!("{deep}/one")),
        hard(&format!("{deep}/three"), "top"),
        dir(&deep[..deep.len() - 200], 0o700),
        dir(&deep, 0o711),
    ];
    for mut member in members {
        sequence.add(&member.entry.clone(), &mut member).unwrap();
        most = most.max(open_handles(&root));
    }
    sequence.finish().unwrap();
    let report = sequence.tell.report.clone();
    drop(sequence);
    assert_eq!((report.members, report.failed), (6, 0), "{:?}", observer.lines);
    // Eight of ours; another test may hold as many at the bottom of its own tree.
    assert!(most > 0 && most <= 48, "{most}");
    assert_eq!(world.path("top").metadata().unwrap().nlink(), 3);

    // Back up from the bottom, as directories are finished: each level opened a bounded number of
    // times.
    let tree: Vec<Memory> = (1..600).map(|depth| dir(&vec!["e"; depth].join("/"), 0o710)).collect();
    let report = world.restore(tree);
    assert_eq!((report.members, report.failed), (599, 0));
    remove_deep(&world.path("d"));
    remove_deep(&world.path("e"));
}

/// Counts the handles of this process that lead below `root`, or so deep that their path is longer
/// than the system can tell; other tests have theirs elsewhere.
fn open_handles(root: &Path) -> usize {
    let handles = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let leads_to = handles.map(|handle| fs::read_link(handle.path()));
    let is_ours = |leads_to: &std::io::Result<std::path::PathBuf>| match leads_to {
        Ok(path) => path.starts_with(root),
        Err(error) => error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()),
    };
    leads_to.filter(is_ours).count()
}

/// Removes a chain of directories whose path is too long for a call.
fn remove_deep(path: &Path) {
    let status = std::process::Command::new("rm").arg("-rf").arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_cache_of_handles_is_bounded() {
    let base = tempfile::tempdir().unwrap();
    let mut directories = super::directory::Directories::open(base.path()).unwrap();
    let path = safe(&vec!["x"; 300].join("/"));
    let member = MemberPath::from("x");
    let make = super::directory::Missing::Make;
    assert_eq!(directories.enter_parent(&path, make, &member).unwrap(), Some(&b"x"[..]));
    assert!(directories.open_count() <= 8);
    for depth in [299, 280, 150, 1, 299, 2, 298] {
        let path = safe(&vec!["x"; depth].join("/"));
        directories.enter(&path, &member).unwrap();
        let stat = rustix::fs::fstat(directories.current().handle()).unwrap();
        let seen = fs::metadata(base.path().join(vec!["x"; depth].join("/"))).unwrap();
        assert_eq!(stat.st_ino, seen.ino());
        assert!(directories.open_count() <= 8);
    }
}

#[test]
fn only_what_was_asked_for_is_remembered_for_links() {
    let world = World::new();
    let options = ExtractOptions::default();
    let wanted = Written::only(HashSet::from([hash(&safe("a"))]));
    let mut target = Target::open(&world.path(""), &options, wanted).unwrap();
    let mut told = Told::default();
    let mut tell = Tell::new(&mut told);
    for name in ["a", "b"] {
        let mut file = file(name, b"x");
        let entry = file.entry.clone();
        target.file(&safe(name), &entry, &mut file, &mut Notes::default(), &mut tell).unwrap();
    }
    let mut link = |name: &str, first: &str| {
        let entry = hard(name, first).entry;
        target.hard_link(&safe(name), &safe(first), &entry).unwrap()
    };
    assert_eq!(link("c", "a"), Outcome::Restored);
    assert_eq!(link("d", "b"), Outcome::NotLinked);
    // Somebody put another file under the name.
    fs::remove_file(world.path("a")).unwrap();
    fs::write(world.path("a"), "other").unwrap();
    assert_eq!(link("e", "a"), Outcome::NotLinked);
    assert!(!world.path("d").exists() && !world.path("e").exists());
}

#[test]
fn a_name_too_long_is_told_and_the_rest_goes_on() {
    let mut world = World::new();
    let long = "n".repeat(300);
    let report = world.restore(vec![
        file(&long, b"x"),
        file(&format!("{long}/x"), b"x"),
        link("empty", ""),
        file("ok", b"ok"),
    ]);
    assert_eq!((report.failed, report.files), (3, 1), "{:?}", world.told.lines);
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1);
}

/// A directory of the target is swapped for a link to the outside again and again while members
/// are put into it: nothing of them may arrive outside.
#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let mut world = World::new();
    fs::create_dir_all(world.path("d")).unwrap();
    let stop = AtomicBool::new(false);
    let (inner, trap) = (world.path("d"), world.path("trap"));
    symlink(world.base.path().join("outside"), &trap).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let mut spin = 1;
            while !stop.load(Ordering::Relaxed) {
                let (at, to) = (rustix::fs::CWD, rustix::fs::CWD);
                if rustix::fs::renameat_with(at, &inner, to, &trap, exchange).is_err() {
                    break;
                }
                // Let the other side come into the directory, now and then.
                std::thread::yield_now();
                for _ in 0..spin {
                    std::hint::spin_loop();
                }
                spin = (spin * 7 + 13) % 5000;
            }
        });
        // Rounds in which the swap came in between are the ones that count.
        let mut mixed = 0;
        for round in 0..1000 {
            let mut members = vec![dir("d", 0o755), dir("d/sub", 0o777)];
            for index in 0..5 {
                members.push(file(&format!("d/sub/f{index}"), b"evil"));
                members.push(file(&format!("d/g{}", index + round % 3), b"evil"));
            }
            members.push(hard("d/sub/h", "d/sub/f0"));
            members.push(member("d/sub/p", Kind::Fifo));
            world.restore(members);
            let trapped = |line: &&String| line.contains("in the way");
            mixed += u32::from((1..13).contains(&world.told.lines.iter().filter(trapped).count()));
            if mixed >= 20 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.assert_untouched();
}

#[test]
fn what_is_full_or_read_only_ends_the_job() {
    let error = |errno: Errno| Error::io("write", "x")(errno);
    assert!(is_fatal(&error(Errno::NOSPC)) && is_fatal(&error(Errno::ROFS)));
    assert!(is_fatal(&Error::Cancelled) && !is_fatal(&error(Errno::ACCESS)));
    let warning = Warning::Unset { op: "set", source: Errno::PERM.into() };
    assert!(warning.to_string().contains("set"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = ExtractOptions::default();
    let below = file.path().join("below");
    assert!(Target::open(&below, &options, Written::default()).is_err());
}

/// A file whose name is taken by somebody else while it is read.
struct Overtaken<'a>(Memory, &'a Path);

impl Content for Overtaken<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        // A new file, once: a second one might get the inode that the first one set free.
        if self.0.next == 0 {
            let beside = self.1.with_extension("new");
            fs::write(&beside, "theirs").unwrap();
            fs::rename(&beside, self.1).unwrap();
        }
        self.0.next_piece()
    }
}

impl Source for Overtaken<'_> {
    fn xattrs(&self) -> &Xattrs {
        &self.0.xattrs
    }
}

#[test]
fn what_another_process_made_meanwhile_is_kept_when_asked() {
    for (overwrite, outcome) in
        [(Overwrite::Never, Outcome::Kept), (Overwrite::Always, Outcome::Restored)]
    {
        // Small files in a directory that was just made have no name before they are whole.
        for (size, name) in [(10, "f"), (3 << 20, "f"), (10, "d/f"), (3 << 20, "d/f")] {
            let world = World::new();
            let options = ExtractOptions { overwrite, ..ExtractOptions::default() };
            let mut target = Target::open(&world.path(""), &options, Written::default()).unwrap();
            if name != "f" {
                target.directory(&safe("d"), &dir("d", 0o755).entry).unwrap();
            }
            let mut told = Told::default();
            let path = world.path(name);
            let memory = file(name, &vec![b'x'; size]);
            let entry = memory.entry.clone();
            let mut source = Overtaken(memory, &path);
            let mut tell = Tell::new(&mut told);
            let done = target
                .file(&safe(name), &entry, &mut source, &mut Notes::default(), &mut tell)
                .unwrap();
            assert_eq!(done, outcome);
            let kept = fs::read(&path).unwrap() == b"theirs";
            assert_eq!(kept, outcome == Outcome::Kept);
            let beside = fs::read_dir(path.parent().unwrap()).unwrap();
            assert_eq!(beside.count(), 1, "nothing is left over");
        }
    }
}

#[test]
fn of_what_another_process_put_in_place_of_a_first_member_nothing_is_overwritten() {
    for size in [10, 3 << 20] {
        let world = World::new();
        let options = ExtractOptions { overwrite: Overwrite::Never, ..ExtractOptions::default() };
        let mut target = Target::open(&world.path(""), &options, Written::default()).unwrap();
        let mut told = Told::default();
        let mut tell = Tell::new(&mut told);
        let mut first = file("f", b"first");
        let entry = first.entry.clone();
        let done =
            target.file(&safe("f"), &entry, &mut first, &mut Notes::default(), &mut tell).unwrap();
        assert_eq!(done, Outcome::Restored);
        let memory = file("f", &vec![b'x'; size]);
        let entry = memory.entry.clone();
        let path = world.path("f");
        let mut source = Overtaken(memory, &path);
        let done =
            target.file(&safe("f"), &entry, &mut source, &mut Notes::default(), &mut tell).unwrap();
        assert_eq!((done, fs::read(&path).unwrap().as_slice()), (Outcome::Kept, &b"theirs"[..]));
        assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1, "nothing is left over");
    }
}
