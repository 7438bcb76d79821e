//! Archives made in the original program's layout.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use isptar_core::format::entry::Dialect;
use isptar_core::{
    Archive, CreateOptions, CreateReport, Error, Event, Kind, Observer, ReadAt, Selection,
    SliceOptions, SliceSet, SliceSink, VerifyOptions, Warning, WriteSink, create, verify,
};

use super::classic_walker::{check, check_slices, streams};
use super::support::{entries, noise, read, scan, testdata};

fn options(directory: &Path) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.directory = directory.to_path_buf();
    options.dialect = Dialect::Classic;
    options.created = Some(1_700_000_000);
    options
}

fn archive_with(
    options: &CreateOptions,
    path: &str,
    observer: &mut dyn Observer,
) -> (Vec<u8>, CreateReport) {
    let mut bytes = Vec::new();
    let mut sink = WriteSink::new(&mut bytes);
    let report = create(&mut sink, &[path.into()], options, observer).unwrap();
    (bytes, report)
}

fn archive(directory: &Path, path: &str) -> Vec<u8> {
    archive_with(&options(directory), path, &mut ()).0
}

/// A thousand files in forty directories: empty ones, long names, links, times before 1970, files
/// of several chunks.
fn make_thousand(root: &Path) {
    for d in 0..40 {
        let dir = root.join(format!("tree/dir-{d:02}/{}", "x".repeat(5 * d)));
        fs::create_dir_all(&dir).unwrap();
        for f in 0..25 {
            let text = format!("line of file {f} in {d}\n").repeat((d * f) % 91);
            fs::write(dir.join(format!("{f:02}{}", "n".repeat(2 * d))), text).unwrap();
        }
        symlink("y".repeat(4 * d + 1), dir.join("link")).unwrap();
        fs::hard_link(dir.join(format!("07{}", "n".repeat(2 * d))), dir.join("hard")).unwrap();
    }
    fs::write(root.join("tree/big"), b"a text of some length, ".repeat(150_000)).unwrap();
    fs::write(root.join("tree/noise"), noise((2 << 20) + 17, 1)).unwrap();
    let old = fs::File::options().write(true).open(root.join("tree/big")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(86_400)).unwrap();
}

/// Names and contents of all regular files.
fn contents_on_disk(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let files = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let files = files.filter(|file| file.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
    files.map(|file| (name(file.path()), fs::read(file.path()).unwrap())).collect()
}

fn contents<R: ReadAt>(archive: &Archive<R>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let entries = entries(archive).into_iter();
    let files = entries.filter(|e| matches!(e.kind, Kind::File { .. } | Kind::HardLink { .. }));
    files.map(|e| (e.path.as_bytes().to_vec(), read(archive, &e).unwrap())).collect()
}

#[test]
fn the_original_keeps_the_rules_that_are_checked() {
    for name in ["base", "dotroot", "empty", "flat", "merged", "nocomp", "plain", "saved", "server"]
    {
        let archive = fs::read(testdata(&format!("classic/{name}.tgz"))).unwrap();
        let shown = fs::read(testdata(&format!("classic/{name}.tgz.list"))).unwrap();
        assert!(check(&archive) == shown, "{name}");
    }
}

#[test]
fn a_thousand_files_are_laid_out_as_by_the_original() {
    let world = tempfile::tempdir().unwrap();
    make_thousand(world.path());
    let on_disk = contents_on_disk(world.path());
    for level in [0, 6] {
        let mut options = options(world.path());
        options.level = level;
        let (bytes, report) = archive_with(&options, "tree", &mut ());
        let listing = check(&bytes);
        assert_eq!(
            listing.iter().filter(|&&byte| byte == b'\n').count() as u64,
            report.members + 1
        );
        assert!(listing.windows(18).any(|text| text == b"\tfile\t-86400\t34500"));
        // A stream for each file with data, one of headers before, four behind.
        let with_data = entries(&Archive::open(bytes.clone()).unwrap())
            .iter()
            .filter(|entry| entry.kind.size() > 0)
            .count();
        assert_eq!(streams(&bytes).len(), with_data + 5);

        let archive = Archive::open(bytes.clone()).unwrap();
        assert!(archive.is_classic());
        assert!(contents(&archive) == on_disk);
        let report =
            verify(&archive, &Selection::default(), &VerifyOptions::default(), &mut ()).unwrap();
        assert_eq!((report.damaged, report.members), (0, 1000 + 40 * 4 + 2));
        let (scanned, ended) = scan(bytes.as_slice());
        assert!(!ended.unwrap());
        assert_eq!(scanned.len() as u64, report.members + 1);
    }
}

#[test]
fn the_same_tree_gives_the_same_archive_on_any_number_of_threads() {
    let world = tempfile::tempdir().unwrap();
    make_thousand(world.path());
    let alone = archive(world.path(), "tree");
    for threads in [1, 3] {
        let mut options = options(world.path());
        options.threads = NonZero::new(threads);
        assert!(archive_with(&options, "tree", &mut ()).0 == alone, "{threads} threads");
    }
}

/// Locations say slice and place in it; archive info and trailer are not cut, so that the original,
/// which reads the last 39 bytes, finds them.
#[test]
fn slices_are_cut_as_by_the_original() {
    let world = tempfile::tempdir().unwrap();
    make_thousand(world.path());
    let on_disk = contents_on_disk(&world.path().join("tree"));
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("a.tgz");
    for size in [4096, 65_536, 1 << 20] {
        let mut slices = SliceOptions::default();
        slices.size = size;
        let mut sink = SliceSink::create(&path, slices).unwrap();
        create(&mut sink, &["tree".into()], &options(world.path()), &mut ()).unwrap();
        let set = SliceSet::open(&path).unwrap().unwrap();
        let count = set.count();
        let parts: Vec<Vec<u8>> =
            (1..=count).map(|number| fs::read(set.path_of(number)).unwrap()).collect();
        assert!(count > 2 && parts[parts.len() - 1].len() >= 39);
        let whole = usize::try_from(size).unwrap();
        assert!(parts[..parts.len() - 2].iter().all(|part| part.len() == whole));
        check_slices(&parts.concat(), whole);
        let archive = Archive::open(set).unwrap();
        let read: BTreeMap<Vec<u8>, Vec<u8>> = contents(&archive)
            .into_iter()
            .map(|(name, content)| (name.strip_prefix(b"tree/").unwrap().to_vec(), content))
            .collect();
        assert!(read == on_disk, "slices of {size}");
    }
}

/// Its lines but the first: the original does not list the directory that it is given.
#[test]
fn a_listing_is_that_of_the_original_but_for_offsets() {
    let world = tempfile::tempdir().unwrap();
    let at = |name: &str| world.path().join("small").join(name);
    fs::create_dir_all(at("d/sub")).unwrap();
    fs::create_dir_all(at("e")).unwrap();
    let lines = |name: &str, count: usize| -> String {
        (1..=count).map(|line| format!("{name} line {line} of a text file\n")).collect()
    };
    for n in 1..=5 {
        fs::write(at(&format!("d/f{n}")), lines(&format!("file {n}"), 4)).unwrap();
    }
    fs::write(at("d/sub/s"), lines("sub", 2)).unwrap();
    fs::write(at("e/empty"), "").unwrap();
    fs::write(at("p.jpg"), "j".repeat(700)).unwrap();
    fs::write(at("r.bin"), noise(1500, 5)).unwrap();
    symlink("f1", at("d/lnk")).unwrap();
    fs::hard_link(at("d/f1"), at("d/hl")).unwrap();
    let ours = String::from_utf8(check(&archive(world.path(), "small"))).unwrap();
    let theirs = fs::read_to_string(testdata("classic/base.tgz.list")).unwrap();
    let (first, ours) = ours.split_once('\n').unwrap();
    assert!(first.starts_with("small\t"));
    assert_eq!(shape(ours), shape(&theirs));
}

/// Lines without owner, mode, time, and offset, which are not those of the fixture's tree.
fn shape(listing: &str) -> Vec<String> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let Some((kind, rest)) = fields.get(4..).and_then(<[&str]>::split_first) else {
            return line.to_owned();
        };
        let rest = if *kind == "file" { &rest[1..] } else { rest };
        let of = |field: &str| match field.strip_prefix("0:1:") {
            Some(_) => "0:1:".to_owned(),
            None => field.to_owned(),
        };
        let rest: Vec<String> = rest.iter().map(|field| of(field)).collect();
        format!("{} {kind} {}", fields[0], rest.join(" "))
    };
    listing.lines().map(line).collect()
}

#[test]
fn a_tree_without_data_and_the_root_of_a_tree_are_stored() {
    let world = tempfile::tempdir().unwrap();
    fs::create_dir(world.path().join("d")).unwrap();
    fs::write(world.path().join("d/empty"), "").unwrap();
    let bytes = archive(world.path(), ".");
    let shown: Vec<String> = shape(std::str::from_utf8(&check(&bytes)).unwrap());
    assert_eq!(shown, ["d dir ", "d/empty file 0", ""]);
    assert_eq!(streams(&bytes).len(), 5);
    // Plain tar has the root.
    let (scanned, _) = scan(bytes.as_slice());
    let names: Vec<String> = scanned.iter().map(|(header, _)| header.path.to_string()).collect();
    assert_eq!(names, [".", "d", "d/empty", ".backup.info"]);
}

/// Many headers without data between them do not wait in memory, and become one stream.
#[test]
fn very_many_empty_files_are_in_one_stream() {
    let world = tempfile::tempdir().unwrap();
    fs::create_dir(world.path().join("d")).unwrap();
    for n in 0..300 {
        fs::write(world.path().join(format!("d/{n:03}")), "").unwrap();
    }
    let bytes = archive(world.path(), "d");
    check(&bytes);
    assert_eq!(streams(&bytes).len(), 5);
}

#[derive(Default)]
struct Told(Vec<String>);

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Warning { path, warning } => self.0.push(format!("{path}: {warning}")),
            Event::Failed { path, error } => {
                let path = path.to_string();
                self.0.push(format!("{} failed: {error}", path.len()));
            }
            _ => {}
        }
    }
}

#[test]
fn what_has_no_place_in_a_classic_archive_is_told() {
    let world = tempfile::tempdir().unwrap();
    let dir = world.path().join("t");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("plain"), "1").unwrap();
    fs::write(dir.join("with"), "2").unwrap();
    let set =
        rustix::fs::setxattr(dir.join("with"), "user.note", b"x", rustix::fs::XattrFlags::empty());
    let mut told = Told::default();
    let (bytes, report) = archive_with(&options(world.path()), "t", &mut told);
    check(&bytes);
    if set.is_ok() {
        assert_eq!(told.0, [format!("t/with: {}", Warning::NoXattrs)]);
        assert_eq!(report.warnings, 1);
    }
    let mut without = options(world.path());
    without.xattrs = false;
    let mut told = Told::default();
    assert_eq!(archive_with(&without, "t", &mut told).1.warnings, 0);
    assert!(told.0.is_empty());
}

/// The original cannot name it: its paths end at 4,095 bytes.
#[test]
fn a_name_that_is_too_long_for_the_original_is_refused() {
    let world = tempfile::tempdir().unwrap();
    let mut place =
        rustix::fs::open(world.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .unwrap();
    for _ in 0..25 {
        let name = "n".repeat(200);
        rustix::fs::mkdirat(&place, &name, 0o755.into()).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        place = rustix::fs::openat(&place, &name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    let mut told = Told::default();
    let (bytes, report) = archive_with(&options(world.path()), ".", &mut told);
    assert_eq!((report.unreadable, report.members), (5, 21));
    check(&bytes);
    assert!(told.0[0].starts_with("4220 failed: unsafe member path"), "{}", told.0[0]);
}

#[test]
fn nothing_stored_is_no_archive() {
    let world = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let created =
        create(&mut WriteSink::new(&mut bytes), &["gone".into()], &options(world.path()), &mut ());
    assert!(matches!(created, Err(Error::BadSource { .. } | Error::NothingStored)));
}
