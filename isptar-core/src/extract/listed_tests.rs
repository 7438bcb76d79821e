//! Archives that were made, restored by their listings.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::tests::Told;
use super::*;
use crate::create::{CreateOptions, create};
use crate::format::entry::Kind;
use crate::format::member::MemberHeader;
use crate::io::WriteSink;
use crate::pack::Details;
use crate::writer::{ArchiveWriter, WriterOptions};

pub(super) type Bytes = Vec<u8>;

pub(super) fn write(members: &[(MemberHeader, &[u8])], sorted: bool) -> Archive<Bytes> {
    Archive::open(written(members, sorted)).unwrap()
}

fn written(members: &[(MemberHeader, &[u8])], sorted: bool) -> Bytes {
    let mut bytes = Vec::new();
    let options = WriterOptions { sorted, ..WriterOptions::default() };
    let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options).unwrap();
    for (header, content) in members {
        writer.append(header, Details::default(), *content).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

pub(super) fn header(path: &str, kind: Kind, mode: u32) -> MemberHeader {
    MemberHeader {
        mode,
        uid: rustix::process::geteuid().as_raw().into(),
        gid: rustix::process::getegid().as_raw().into(),
        ..MemberHeader::new(path, kind)
    }
}

pub(super) fn file<'a>(path: &str, content: &'a [u8]) -> (MemberHeader, &'a [u8]) {
    (header(path, Kind::File { size: content.len() as u64 }, 0o644), content)
}

pub(super) fn dir(path: &str, mode: u32) -> (MemberHeader, &'static [u8]) {
    (header(path, Kind::Directory, mode), b"")
}

pub(super) fn link(path: &str, target: &str) -> (MemberHeader, &'static [u8]) {
    (header(path, Kind::Symlink { target: target.into() }, 0o777), b"")
}

pub(super) fn hard(path: &str, target: &str) -> (MemberHeader, &'static [u8]) {
    (header(path, Kind::HardLink { target: target.into() }, 0o644), b"")
}

pub(super) struct Run {
    base: tempfile::TempDir,
    pub(super) told: Told,
    pub(super) options: ExtractOptions,
}

impl Run {
    pub(super) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        Self { base, told: Told::default(), options: ExtractOptions::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join("target").join(name)
    }

    pub(super) fn extract(
        &mut self,
        archive: &Archive<Bytes>,
        selection: &[&str],
    ) -> ExtractReport {
        self.told = Told::default();
        let selection = Selection::new(selection).unwrap();
        let target = self.base.path().join("target");
        extract(archive, &selection, &target, &self.options, &mut self.told).unwrap()
    }
}

/// Describes a tree: everything that restoring is about.
pub(super) fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut first_names = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for found in walkdir::WalkDir::new(root).sort_by_file_name() {
        let found = found.unwrap();
        let metadata = found.path().symlink_metadata().unwrap();
        let name = found.path().strip_prefix(root).unwrap().to_path_buf();
        let first = first_names.entry(metadata.ino()).or_insert_with(|| name.clone());
        let content = match metadata.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(found.path()).unwrap()),
            kind if kind.is_file() => {
                format!("{:08x}", crc32fast::hash(&fs::read(found.path()).unwrap()))
            }
            _ => String::new(),
        };
        let text = format!(
            "{:o} {}:{} {}.{:09} {first:?} {content}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        );
        tree.insert(name, text);
    }
    tree
}

/// Makes a tree of every kind of thing that needs no rights.
pub(super) fn plant(root: &Path) {
    for name in ["d/e/f", "closed", "a.b", "a"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("a/first"), "shared").unwrap();
    fs::hard_link(root.join("a/first"), root.join("d/second")).unwrap();
    fs::hard_link(root.join("a/first"), root.join("third")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("d/e/big"), vec![5; (3 << 20) + 1]).unwrap();
    fs::write(root.join("closed/in"), "x").unwrap();
    symlink("../nowhere", root.join("d/link")).unwrap();
    symlink("d", root.join("to-d")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o622);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("d/fifo"), fifo, mode, 0).unwrap();
    let attribute = root.join("a/first");
    let flags = rustix::fs::XattrFlags::empty();
    let _unsupported = rustix::fs::setxattr(attribute, "user.note", b"x", flags);
    let _unsupported = rustix::fs::setxattr(root.join("d"), "user.note", b"d", flags);
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o500)).unwrap();
    fs::set_permissions(root.join("d/e"), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(root.join("a"), Permissions::from_mode(0o711)).unwrap();
}

pub(super) fn archive_of(root: &Path) -> Bytes {
    let mut bytes = Vec::new();
    let options = CreateOptions { directory: root.into(), ..CreateOptions::default() };
    let mut sink = WriteSink::new(&mut bytes);
    create(&mut sink, &[PathBuf::from(".")], &options, &mut ()).unwrap();
    bytes
}

pub(super) fn open_closed(root: &Path) {
    fs::set_permissions(root.join("closed"), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_was_archived_comes_back_the_same() {
    let source = tempfile::tempdir().unwrap();
    plant(source.path());
    let bytes = archive_of(source.path());
    let archive = Archive::open(bytes.clone()).unwrap();
    let mut run = Run::new();
    let report = run.extract(&archive, &[]);
    assert_eq!(run.told.lines, [""; 0]);
    assert_eq!((report.failed, report.warnings, report.kept), (0, 0, 0));
    assert_eq!(report.members, archive.entries().count() as u64);
    assert_eq!(describe(&run.path("")), describe(source.path()));
    for (name, expected) in [("a/first", b"x"), ("d", b"d")] {
        let mut value = [0; 8];
        let found = rustix::fs::getxattr(source.path().join(name), "user.note", &mut value[..]);
        if found.is_ok() {
            let len = rustix::fs::getxattr(run.path(name), "user.note", &mut value[..]).unwrap();
            assert_eq!(&value[..len], expected);
        }
    }
    // Once more over what is there.
    let report = run.extract(&archive, &[]);
    assert_eq!(report.failed, 0, "{:?}", run.told.lines);
    assert_eq!(describe(&run.path("")), describe(source.path()));

    // Without the listing: whole seconds only.
    let sequential = run.base.path().join("sequential");
    let mut tar = TarReader::new(bytes.as_slice(), Limits::default()).unwrap();
    let options = ExtractOptions::default();
    let mut told = Told::default();
    let selection = Selection::default();
    let report = extract_sequential(&mut tar, &selection, &sequential, &options, &mut told);
    assert_eq!(report.unwrap().failed, 0, "{:?}", told.lines);
    let in_seconds = |root: &Path| -> Vec<String> {
        let cut = |text: String| {
            let (head, tail) = text.split_once('.').unwrap();
            format!("{head}{}", &tail[9..])
        };
        describe(root).into_values().map(cut).collect()
    };
    assert_eq!(in_seconds(&sequential), in_seconds(source.path()));
    for root in [source.path(), &run.path(""), &sequential] {
        open_closed(root);
    }
}

#[test]
fn a_selection_brings_subtrees_globs_and_targets_of_links() {
    let archive = write(
        &[
            dir(".", 0o750),
            dir("a", 0o700),
            file("a/f.txt", b"shared"),
            file("a/g.bin", b"g"),
            dir("b", 0o711),
            hard("b/h", "a/f.txt"),
            hard("b/i", "a/f.txt"),
            link("b/s", "x"),
            file("c.txt", b"c"),
        ],
        true,
    );
    let mut run = Run::new();
    let report = run.extract(&archive, &["b", "b/h", "nothing", "c.txt"]);
    assert_eq!((report.members, report.failed, report.warnings), (5, 1, 0));
    assert!(run.told.lines.contains(&"failed nothing: no member named nothing".into()));
    assert_eq!(fs::read(run.path("b/h")).unwrap(), b"shared");
    assert_eq!(fs::read(run.path("b/i")).unwrap(), b"shared");
    assert!(!run.path("a").exists());
    assert_eq!(run.path("b").metadata().unwrap().mode() & 0o7777, 0o711);

    let mut run = Run::new();
    let report = run.extract(&archive, &["*.txt", "*.none"]);
    assert_eq!((report.members, report.failed), (2, 1), "{:?}", run.told.lines);
    assert!(run.path("a/f.txt").exists() && !run.path("a/g.bin").exists());
    // A parent that was not asked for.
    assert_ne!(run.path("a").metadata().unwrap().mtime(), 0);

    let mut run = Run::new();
    run.options.strip_components = 1;
    let report = run.extract(&archive, &[]);
    assert_eq!(report.failed, 0, "{:?}", run.told.lines);
    let inodes = ["f.txt", "h", "i"].map(|name| run.path(name).metadata().unwrap().ino());
    assert!(inodes[0] == inodes[1] && inodes[0] == inodes[2]);
}

#[test]
fn damage_is_told_and_the_rest_goes_on() {
    let noise: Vec<u8> =
        (0u32..5000).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let mut bytes = written(
        &[dir("d", 0o700), file("d/bad", &noise), hard("d/hard", "d/bad"), file("ok", b"ok")],
        true,
    );
    let archive = Archive::open(bytes.clone()).unwrap();
    let location = archive.find(&"d/bad".into()).unwrap().unwrap().location.unwrap();
    bytes[usize::try_from(location.offset).unwrap() + 900] ^= 1;
    let damaged = Archive::open(bytes).unwrap();
    let mut run = Run::new();
    let report = run.extract(&damaged, &[]);
    assert_eq!((report.failed, report.members), (2, 2), "{:?}", run.told.lines);
    assert_eq!(fs::read_dir(run.path("d")).unwrap().count(), 0);
    assert_eq!(fs::read(run.path("ok")).unwrap(), b"ok");
}

#[test]
fn unsorted_archives_keep_the_last_of_each_name() {
    let archive = write(
        &[
            file("z/f", b"first"),
            link("a", "/"),
            dir("z", 0o500),
            dir("y/x", 0o500),
            dir("y", 0o500),
            file("a", b"file"),
            file("z/f", b"last"),
            file("y/x/n", b"n"),
            link("s", "z"),
            hard("h", "z/f"),
        ],
        false,
    );
    let mut run = Run::new();
    let report = run.extract(&archive, &[]);
    assert_eq!(report.failed, 0, "{:?}", run.told.lines);
    assert_eq!(fs::read(run.path("z/f")).unwrap(), b"last");
    assert_eq!(fs::read(run.path("h")).unwrap(), b"last");
    assert_eq!(fs::read(run.path("a")).unwrap(), b"file");
    for name in ["z", "y", "y/x"] {
        assert_eq!(run.path(name).metadata().unwrap().mode() & 0o7777, 0o500, "{name}");
    }
    for name in ["z", "y", "y/x"] {
        fs::set_permissions(run.path(name), Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn hard_links_to_what_is_no_file_are_refused_by_both_names() {
    let archive = write(
        &[
            dir("d", 0o755),
            link("l", "x"),
            hard("m", "d"),
            hard("n", "gone"),
            hard("o", "../x"),
            hard("p", "l"),
        ],
        true,
    );
    let mut run = Run::new();
    let report = run.extract(&archive, &[]);
    assert_eq!(report.failed, 3, "{:?}", run.told.lines);
    assert_eq!(run.told.lines[0], "failed m: d is a directory, not a file");
    assert_eq!(run.told.lines[1], "failed n: no member named gone");
    assert!(run.told.lines[2].starts_with("failed o: unsafe member path ../x"));
    // A link of ours is ours to link to, and is not followed.
    assert_eq!(fs::read_link(run.path("p")).unwrap(), Path::new("x"));
}

#[test]
fn a_dry_run_tells_and_makes_nothing() {
    let archive = write(&[dir("d", 0o755), file("d/f", b"x"), link("l", "x")], true);
    let mut run = Run::new();
    run.options.dry_run = true;
    let report = run.extract(&archive, &["d", "none"]);
    assert_eq!((report.members, report.failed), (2, 1));
    assert!(!run.path("").exists());
}
