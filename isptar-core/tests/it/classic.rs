//! Archives of the original program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use isptar_core::format::tables::Base;
use isptar_core::format::text;
use isptar_core::rewrite::{RewriteOptions, append, select_part};
use isptar_core::{
    Archive, BaseListing, CreateOptions, Entry, Error, ExtractOptions, Extras, Kind, RangeReader,
    ReadAt, Selection, SliceSet, VerifyOptions, WriteSink, create_with, extract, verify,
};
use sha2::{Digest as _, Sha256};

use super::forge::{Forge, deflated, tar_of};
use super::support::{entries, link, read, scan, testdata};

const ARCHIVES: [&str; 15] = [
    "base.tgz",
    "basesl.tgz",
    "copydata.tgz",
    "dotroot.tgz",
    "empty.tgz",
    "flat.tgz",
    "merged.tgz",
    "nocomp.tgz",
    "plain.tgz",
    "saved.tgz",
    "server.tgz",
    "sliced.tgz",
    "special.tgz",
    "split.v0",
    "split-v2",
];

/// Incremental archives with their bases, nearest first.
const CHAINS: [(&str, &[&str]); 3] = [
    ("inc1.tgz", &["base.tgz"]),
    ("inc2.tgz", &["inc1.tgz", "base.tgz"]),
    ("inc1sl.tgz", &["basesl.tgz"]),
];

/// Names, escaped and without `./`, and the SHA-256 of the content.
type Sums = BTreeMap<Vec<u8>, String>;

fn bytes_of(name: &str) -> Vec<u8> {
    fs::read(testdata("classic").join(name)).unwrap()
}

/// Opens an archive, in slices or not.
fn open(name: &str) -> Archive<SliceSet> {
    let path = testdata("classic").join(name);
    let archive = Archive::open(SliceSet::open(&path).unwrap().unwrap()).unwrap();
    assert!(archive.is_classic());
    archive
}

/// Opens an archive with its bases.
fn open_chain(name: &str, bases: &[&str]) -> Archive<SliceSet> {
    let mut archive = open(name);
    archive.attach_bases(bases.iter().map(|base| open(base)).collect()).unwrap();
    archive
}

/// Reads NAME.sha256; `special.tgz` has none.
fn sums(name: &str) -> Sums {
    let Ok(text) = fs::read(testdata("classic").join(format!("{name}.sha256"))) else {
        return Sums::new();
    };
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| {
            let tab = line.iter().rposition(|&byte| byte == b'\t').unwrap();
            (line[..tab].to_vec(), String::from_utf8(line[tab + 1..].to_vec()).unwrap())
        })
        .collect()
}

fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    text::escape(name.strip_prefix(b"./").unwrap_or(name), &mut out);
    out
}

/// The sums of all files and hard links; the last of a name counts.
fn sums_of<'a, R: ReadAt>(
    archive: &Archive<R>,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Sums {
    let has_content =
        |entry: &&Entry| matches!(entry.kind, Kind::File { .. } | Kind::HardLink { .. });
    let sum_of =
        |entry: &Entry| (escaped(entry.path.as_bytes()), sum(&read(archive, entry).unwrap()));
    entries.into_iter().filter(has_content).map(sum_of).collect()
}

#[test]
fn listings_are_those_that_the_original_shows() {
    for name in ARCHIVES {
        let shown = bytes_of(&format!("{name}.list"));
        assert!(open(name).listing_text().unwrap() == shown, "{name}");
        let lines = shown.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(entries(&open(name)).len(), lines, "{name}");
    }
}

#[test]
fn contents_are_those_that_the_original_extracts() {
    for name in ARCHIVES.into_iter().filter(|&name| name != "special.tgz") {
        let archive = open(name);
        assert_eq!(sums_of(&archive, &entries(&archive)), sums(name), "{name}");
    }
}

#[test]
fn each_part_of_a_merged_archive_has_its_own_contents() {
    let archive = open("merged.tgz");
    let all = entries(&archive);
    let end = all.iter().position(|entry| entry.path.to_string() == ".partname.1").unwrap();
    assert_eq!(sums_of(&archive, &all[..end]), sums("base.tgz"));
    assert_eq!(sums_of(&archive, &all[end..]), sums("flat.tgz"));
}

#[test]
fn reading_from_front_to_back_gives_the_same_files() {
    for name in ARCHIVES {
        let archive = open(name);
        let end = archive.size();
        let (scanned, ended) = scan(RangeReader::new(archive.into_source(), 0, end, 1 << 16));
        assert!(!ended.unwrap(), "{name}");
        let scanned: Sums = scanned
            .iter()
            .filter(|(header, _)| matches!(header.kind, Kind::File { .. }))
            .map(|(header, data)| (escaped(header.path.as_bytes()), sum(data)))
            .filter(|(name, _)| name != b".backup.info")
            .collect();
        let archive = open(name);
        let all = entries(&archive);
        let files = all.iter().filter(|entry| matches!(entry.kind, Kind::File { .. }));
        assert_eq!(scanned, sums_of(&archive, files), "{name}");
    }
}

/// Extracts and returns the sums of all files below the target.
fn extracted(archive: &Archive<SliceSet>, target: &Path) -> Sums {
    let mut options = ExtractOptions::default();
    options.owner = rustix::process::geteuid().is_root();
    let everything = Selection::default();
    let report = extract(archive, &everything, target, &options, &mut ()).unwrap();
    assert_eq!(report.failed, 0, "{report:?}");
    let mut sums = Sums::new();
    for file in walkdir::WalkDir::new(target).into_iter().map(Result::unwrap) {
        if file.file_type().is_file() {
            let path = file.path().strip_prefix(target).unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
            let content = fs::read(file.path()).unwrap();
            sums.insert(escaped(path.as_os_str().as_bytes()), sum(&content));
        }
    }
    sums
}

#[test]
fn extracting_gives_the_files_of_the_original() {
    for name in ["plain.tgz", "flat.tgz", "dotroot.tgz", "merged.tgz", "empty.tgz", "sliced.tgz"] {
        let target = tempfile::tempdir().unwrap();
        assert_eq!(extracted(&open(name), target.path()), sums(name), "{name}");
    }
}

#[test]
fn chains_are_read_when_their_bases_are_given() {
    for (name, bases) in CHAINS {
        let archive = open_chain(name, bases);
        assert!(archive.listing_text().unwrap() == bytes_of(&format!("{name}.list")), "{name}");
        assert_eq!(sums_of(&archive, &entries(&archive)), sums(name), "{name}");
        let target = tempfile::tempdir().unwrap();
        assert_eq!(extracted(&archive, target.path()), sums(name), "{name}");
        let (everything, options) = (Selection::default(), VerifyOptions::default());
        let report = verify(&archive, &everything, &options, &mut ()).unwrap();
        assert_eq!(report.damaged, 0, "{name}: {report:?}");
    }
}

#[test]
fn a_base_that_was_not_given_is_missed_by_its_members_alone() {
    let archive = open("inc2.tgz");
    let find = |name: &str| archive.find(&name.into()).unwrap().unwrap();
    assert_eq!(read(&archive, &find("small/d/new")).unwrap(), b"new2!\n");
    for (name, expected) in [("small/d/f2", 1), ("small/d/f1", 2)] {
        match read(&archive, &find(name)) {
            Err(Error::UnnamedBase { depth }) => assert_eq!(depth, expected),
            other => panic!("{name}: {other:?}"),
        }
    }
    let archive = open_chain("inc2.tgz", &["inc1.tgz"]);
    assert!(read(&archive, &archive.find(&"small/d/f2".into()).unwrap().unwrap()).is_ok());
}

/// The last slice is shorter than the 39 bytes that the original reads.
#[test]
fn a_cut_in_the_last_bytes_does_no_harm() {
    let archive = open("badcut.tgz");
    assert_eq!(sums_of(&archive, &entries(&archive)), sums("plain.tgz"));
}

#[test]
fn a_listing_alone_is_listed() {
    for (name, of) in [("isolated.lst", "base.tgz"), ("saved.lst", "saved.tgz")] {
        let (listing, archive) = (open(name), open(of));
        assert!(listing.listing_text().unwrap() == bytes_of(&format!("{name}.list")), "{name}");
        assert_eq!(entries(&listing), entries(&archive));
        assert_eq!(listing.identity().unwrap(), archive.identity().unwrap());
        let file = listing.find(&"small/p.jpg".into()).unwrap().unwrap();
        assert!(matches!(read(&listing, &file), Err(Error::ListingAlone)), "{name}");
    }
}

#[test]
fn a_part_is_read_alone() {
    for (part, archive) in [(&b".v0"[..], "split.v0"), (b"-v2", "split-v2")] {
        let mut merged = open("merged.tgz");
        select_part(&mut merged, part).unwrap();
        assert_eq!(sums_of(&merged, &entries(&merged)), sums(archive));
        let names = |archive: &Archive<_>| -> Vec<_> {
            entries(archive).into_iter().map(|entry| entry.path).collect()
        };
        assert_eq!(names(&merged), names(&open(archive)));
        let target = tempfile::tempdir().unwrap();
        assert_eq!(extracted(&merged, target.path()), sums(archive));
    }
    let mut merged = open("merged.tgz");
    let error = select_part(&mut merged, b"v3").unwrap_err();
    assert_eq!(error.to_string(), "part v3: the archive has no such part but .v0, -v2");
    assert!(matches!(select_part(&mut open("base.tgz"), b"v3"), Err(Error::NoParts)));
}

/// An archive of ours on a classic base: files that did not change are in the base, whose listing
/// does not say so much that anything else could be.
#[test]
fn archives_of_ours_on_classic_bases_are_read() {
    for (name, base_name) in [("base.tgz", "base.tgz"), ("basesl.tgz", "basesl.tgz")] {
        let (world, base) = (tempfile::tempdir().unwrap(), open(name));
        let tree = world.path().join("tree");
        let before = extracted(&base, &tree);
        // Reading the sums has changed modes, which counts as a change; so has this the content.
        for entry in entries(&base) {
            let mode = fs::Permissions::from_mode(entry.mode);
            if matches!(entry.kind, Kind::File { .. }) {
                fs::set_permissions(tree.join(entry.path.to_string()), mode).unwrap();
            }
        }
        fs::write(tree.join("small/d/f3"), "changed").unwrap();
        let mut options = CreateOptions::default();
        options.directory = tree.clone();
        let (mut bytes, mut extras) = (Vec::new(), Extras::default());
        extras.set_base(BaseListing::of(&base, base_name.as_bytes()).unwrap());
        let mut sink = WriteSink::new(&mut bytes);
        create_with(&mut sink, &["small".into()], &options, extras, &mut ()).unwrap();

        let path = world.path().join("new.tar.gz");
        fs::write(&path, bytes).unwrap();
        let mut new = Archive::open(SliceSet::open(&path).unwrap().unwrap()).unwrap();
        let carried = entries(&new).iter().filter(|entry| entry.data).count();
        // f1 has two names, and the owner is root's.
        assert_eq!(carried, if rustix::process::geteuid().is_root() { 7 } else { 0 }, "{name}");
        if carried > 0 {
            let file = new.find(&"small/p.jpg".into()).unwrap().unwrap();
            assert!(matches!(read(&new, &file), Err(Error::NoBase { .. })));
        }
        new.attach_bases(vec![open(name)]).unwrap();
        let mut expected = before;
        expected.insert(b"small/d/f3".to_vec(), sum(b"changed"));
        assert_eq!(sums_of(&new, &entries(&new)), expected, "{name}");
        let (everything, verifying) = (Selection::default(), VerifyOptions::default());
        let report = verify(&new, &everything, &verifying, &mut ()).unwrap();
        assert_eq!(report.damaged, 0, "{name}: {report:?}");
        assert_eq!(extracted(&new, &world.path().join("out")), expected, "{name}");
    }
}

/// The content of a file with two names is in a classic base, and its first name is replaced.
#[test]
fn content_in_a_classic_base_moves_to_another_name() {
    let (world, base) = (tempfile::tempdir().unwrap(), open("base.tgz"));
    let photo = base.find(&"small/p.jpg".into()).unwrap().unwrap();
    let (size, at) = (photo.kind.size(), photo.location.unwrap().offset);
    let content = read(&base, &photo).unwrap();
    let mut forge = Forge::empty();
    forge.force_tables = true;
    forge.push(&[], &format!("a\t#0\t#0\t420\tfile\t5\t{size}\t1:1:{at}:0\tdata=1"));
    let stream = deflated(&tar_of(&link("b", "a").header, b""));
    forge.push(&stream, "b\t#0\t#0\t420\thard\ta\t0:1:{at}:0\tpacked={packed}");
    let line = Base { depth: 1, identity: base.identity().unwrap(), name: b"base.tgz".to_vec() };
    let path = world.path().join("old.tar.gz");
    fs::write(&path, forge.seal_with(&|tables| tables.bases = vec![line.clone()], &|_| {}))
        .unwrap();
    let mut old = Archive::open(SliceSet::open(&path).unwrap().unwrap()).unwrap();
    old.attach_bases(vec![base]).unwrap();

    fs::write(world.path().join("a"), "new").unwrap();
    let mut options = CreateOptions::default();
    options.directory = world.path().to_path_buf();
    let (mut bytes, rewriting) = (Vec::new(), RewriteOptions::default());
    let mut sink = WriteSink::new(&mut bytes);
    append(&mut sink, &old, &["a".into()], &options, &rewriting, &mut ()).unwrap();
    let new = Archive::open(bytes).unwrap();
    let moved = new.find(&"b".into()).unwrap().unwrap();
    assert!(!moved.data && moved.kind == photo.kind, "{moved:?}");
    assert_eq!(read(&new, &moved).unwrap(), content);
    let report = verify(&new, &Selection::default(), &VerifyOptions::default(), &mut ()).unwrap();
    assert!(report.is_good(), "{report:?}");
}

/// What the original's option -T writes has no listing.
#[test]
fn a_tar_taken_out_is_a_tar() {
    let bytes = bytes_of("subtar.tgz");
    assert!(matches!(Archive::open(bytes.as_slice()), Err(Error::NotIsptar(_))));
    let (scanned, ended) = scan(bytes.as_slice());
    assert!(!ended.unwrap());
    let names: Vec<String> = scanned.iter().map(|(header, _)| header.path.to_string()).collect();
    assert!(names.contains(&"small/d/f1".into()), "{names:?}");
}

#[test]
fn hostile_archives_touch_nothing_outside() {
    for file in fs::read_dir(testdata("classic/hostile")).unwrap() {
        let file = file.unwrap().path();
        let world = tempfile::tempdir().unwrap();
        fs::write(world.path().join("outside"), "untouched").unwrap();
        let target = world.path().join("target");
        if let Ok(archive) = Archive::open(fs::read(&file).unwrap()) {
            let mut options = ExtractOptions::default();
            options.owner = false;
            let everything = Selection::default();
            // Whether it fails or not: what counts is what is there then.
            let _report = extract(&archive, &everything, &target, &options, &mut ());
        }
        let names: Vec<_> = fs::read_dir(world.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "target")
            .collect();
        assert_eq!(names, ["outside"], "{}", file.display());
        assert_eq!(fs::read(world.path().join("outside")).unwrap(), b"untouched");
        let links = std::os::unix::fs::MetadataExt::nlink;
        assert_eq!(links(&fs::metadata(world.path().join("outside")).unwrap()), 1);
        assert!(!Path::new("/tmp/isptar-esc3").exists() && !Path::new("/tmp/isptar-evil").exists());
    }
}
