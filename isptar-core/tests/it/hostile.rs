//! Hostile tars at the very places that their names aim at: as they are, and wrapped in archives of
//! ours whose listing says the same as their headers.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use isptar_core::{
    Archive, Content, Digest, ExtractOptions, ExtractReport, Kind, Limits, Location, Selection,
    TarReader, VerifyOptions, extract, extract_sequential, verify,
};
use sha2::{Digest as _, Sha256};

use crate::forge::{Forge, deflated};
use crate::support::testdata;

/// Where the archives aim.
const PLACE: &str = "/var/tmp/isptar-escape";

/// Those whose members are not all restored, by their listing. The links of p10 and p31 never are:
/// the last member of a name counts.
const REFUSED: [&str; 10] = [
    // Names of ours are never absolute.
    "p01_abs_path.tar",
    "p02_dotdot.tar",
    "p04_trailing_dotdot_dir.tar",
    "p05_symlink_abs_then_file.tar",
    "p13_pathmax_symlink_chain.tar",
    "p16_symlink_loop.tar",
    "p17_hardlink_missing.tar",
    // Its last name is `./a`: names of ours have no `.` component.
    "p22_duplicate_names.tar",
    "p23_empty_dot_slash_names.tar",
    "p27_component_300.tar",
];

/// The canaries; one run at a time has them.
struct Guarded {
    _lock: File,
}

impl Guarded {
    fn new() -> Self {
        let lock = File::create("/var/tmp/isptar-escape.lock").unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        drop(fs::remove_dir_all(PLACE));
        fs::create_dir_all(outside().join("vdir")).unwrap();
        fs::write(outside().join("victim"), "original\n").unwrap();
        for (name, mode) in [("victim", 0o600), ("vdir", 0o700)] {
            fs::set_permissions(outside().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { _lock: lock }
    }

    fn check(&self, what: &str) {
        let mut names: Vec<_> =
            fs::read_dir(outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["vdir", "victim"], "{what}");
        let stat = |name: &str| fs::symlink_metadata(outside().join(name)).unwrap();
        assert_eq!(fs::read(outside().join("victim")).unwrap(), b"original\n", "{what}");
        let (victim, vdir) = (stat("victim"), stat("vdir"));
        assert_eq!((victim.mode(), victim.nlink()), (0o100_600, 1), "{what}");
        assert_eq!((vdir.mode(), vdir.nlink()), (0o040_700, 2), "{what}");
        assert_eq!(fs::read_dir(outside().join("vdir")).unwrap().count(), 0, "{what}");
        assert_eq!(fs::read_dir(PLACE).unwrap().count(), 2, "{what}");
    }

    /// Empties the target.
    fn root(&self) -> PathBuf {
        let root = Path::new(PLACE).join("root");
        drop(fs::remove_dir_all(&root));
        fs::create_dir(&root).unwrap();
        root
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(PLACE));
    }
}

fn outside() -> PathBuf {
    Path::new(PLACE).join("outside")
}

/// Makes an archive of ours of the members of a tar, each a stream of its own, with the names and
/// links that their headers have.
fn wrapped(tar: &[u8]) -> Vec<u8> {
    let mut forge = Forge::empty();
    forge.sorted = false;
    let mut lines = Vec::new();
    let limits = Limits::default();
    let mut reader = TarReader::new(tar, limits).unwrap();
    let mut start = 0;
    loop {
        let mut member = match reader.next() {
            Ok(Some(member)) => member,
            Ok(None) | Err(isptar_core::Error::NotTar(_)) => break,
            Err(_) => {
                start = usize::try_from(reader.position()).unwrap();
                continue;
            }
        };
        let mut entry = member.entry();
        let mut content = Sha256::new();
        while let Ok(Some(piece)) = member.next_piece() {
            content.update(piece.bytes);
        }
        let end = usize::try_from(reader.position()).unwrap().min(tar.len());
        let stream = deflated(&tar[start..end]);
        if matches!(entry.kind, Kind::File { size: 1.. }) {
            entry.digest = Some(Digest::Content(content.finalize().into()));
        }
        entry.location =
            Some(Location { depth: 0, slice: 1, offset: forge.data.len() as u64, zoffset: 0 });
        entry.packed = Some(stream.len() as u64);
        if entry.encode(&limits, &mut lines).is_ok() {
            forge.data.extend_from_slice(&stream);
        }
        start = end;
    }
    lines.push(b'\n');
    forge.blocks = vec![lines];
    forge.seal()
}

fn options() -> ExtractOptions {
    ExtractOptions::default()
}

fn sequential(tar: &[u8], root: &Path) -> Option<ExtractReport> {
    let mut reader = TarReader::new(tar, Limits::default()).unwrap();
    extract_sequential(&mut reader, &Selection::default(), root, &options(), &mut ()).ok()
}

fn listed(archive: &[u8], root: &Path) -> ExtractReport {
    let archive = Archive::open(archive).unwrap();
    let report = extract(&archive, &Selection::default(), root, &options(), &mut ()).unwrap();
    for entry in archive.entries().map(Result::unwrap) {
        // Whether it has content or not: it is read without harm.
        let found = archive.content_entry(&entry).and_then(|found| archive.member(&found));
        if let Ok(mut member) = found {
            while let Ok(Some(_)) = member.next_piece() {}
        }
    }
    verify(&archive, &Selection::default(), &VerifyOptions::default(), &mut ()).unwrap();
    report
}

fn tars() -> Vec<(String, bool)> {
    let table = fs::read_to_string(testdata("hostile/expected.tsv")).unwrap();
    let rows = table.lines().map(|line| {
        let mut fields = line.split('\t');
        let name = fields.next().unwrap().to_owned();
        (name, line.contains("ok.txt="))
    });
    rows.filter(|(name, _)| name.ends_with(".tar")).collect()
}

#[test]
fn nothing_outside_changes_by_header_or_by_listing() {
    let guarded = Guarded::new();
    for (name, has_ok) in tars() {
        let tar = fs::read(testdata("hostile").join(&name)).unwrap();
        let root = guarded.root();
        sequential(&tar, &root);
        guarded.check(&name);
        let ok = |root: &Path| fs::read(root.join("ok.txt")).is_ok_and(|text| text == b"ok\n");
        assert_eq!(ok(&root), has_ok, "{name}");

        let root = guarded.root();
        let report = listed(&wrapped(&tar), &root);
        guarded.check(&name);
        assert_eq!(ok(&root), has_ok, "{name} as a listed archive");
        if name.starts_with('p') {
            let refused = REFUSED.contains(&name.as_str());
            assert_eq!(report.failed > 0, refused, "{name}: {report:?}");
        }
    }
}

#[test]
fn the_second_of_two_archives_does_not_go_through_a_link_of_the_first() {
    let guarded = Guarded::new();
    let read = |name: &str| fs::read(testdata("hostile").join(name)).unwrap();
    let (first, second) = (read("p14a_twostep_first.tar"), read("p14b_twostep_second.tar"));
    let root = guarded.root();
    sequential(&first, &root);
    assert!(fs::symlink_metadata(root.join("x")).unwrap().is_symlink());
    let report = sequential(&second, &root).unwrap();
    guarded.check("by headers");
    assert_eq!(report.failed, 1);
    let root = guarded.root();
    listed(&wrapped(&first), &root);
    let report = listed(&wrapped(&second), &root);
    guarded.check("by the listing");
    assert_eq!(report.failed, 1);
}
