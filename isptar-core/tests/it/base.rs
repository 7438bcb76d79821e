//! Incremental archives: what is stored on a base, and what is left to it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, FileTimes, OpenOptions};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use isptar_core::{
    Archive, ArchiveWriter, BaseListing, CreateOptions, CreateReport, Details, Digest, Entry,
    Error, Event, Extras, Kind, MemberHeader, Observer, Patterns, Timestamp, WriteSink,
    WriterOptions, create, create_with,
};

use super::forge::Forge;
use super::support::{entries, noise};

/// Later than anything in these trees has changed, so that nothing is racy.
const LATER: u64 = 1 << 40;

/// What a job told.
#[derive(Debug, Default)]
struct Told {
    why: BTreeMap<String, &'static str>,
    stored: Vec<String>,
    deleted: Vec<String>,
    failed: Vec<String>,
}

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Why { path, why } => {
                self.why.insert(path.to_string(), why.word());
            }
            Event::Done { entry } => self.stored.push(entry.path.to_string()),
            Event::Deleted { path } => self.deleted.push(path.to_string()),
            Event::Failed { path, .. } => self.failed.push(path.to_string()),
            _ => {}
        }
    }
}

/// An archive in memory, and what was told when it was made.
struct Made {
    bytes: Vec<u8>,
    report: CreateReport,
    told: Told,
}

impl Made {
    fn open(&self) -> Archive<Vec<u8>> {
        Archive::open(self.bytes.clone()).unwrap()
    }

    fn entry(&self, name: &str) -> Entry {
        self.open().find(&name.into()).unwrap().unwrap_or_else(|| panic!("no {name}"))
    }

    fn depth(&self, name: &str) -> u32 {
        self.entry(name).location.unwrap().depth
    }

    /// Returns why members were stored, in order.
    fn why(&self) -> Vec<(&str, &str)> {
        assert!(self.told.stored.iter().all(|name| self.told.why.contains_key(name)));
        self.told.why.iter().map(|(name, why)| (name.as_str(), *why)).collect()
    }
}

fn options(tree: &Path) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.directory = tree.to_path_buf();
    options.created = Some(LATER);
    options
}

fn full(options: &CreateOptions) -> Made {
    full_of(&["."], options)
}

fn full_of(paths: &[&str], options: &CreateOptions) -> Made {
    let (mut bytes, mut told) = (Vec::new(), Told::default());
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let report = create(&mut WriteSink::new(&mut bytes), &paths, options, &mut told).unwrap();
    Made { bytes, report, told }
}

fn try_on(base: &Made, paths: &[&str], options: &CreateOptions) -> Result<Made, Error> {
    let (mut bytes, mut told) = (Vec::new(), Told::default());
    let archive = base.open();
    let listing = BaseListing::of(&archive, b"base.tar.gz")?;
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let sink = &mut WriteSink::new(&mut bytes);
    let mut extras = Extras::default();
    extras.set_base(listing);
    let report = create_with(sink, &paths, options, extras, &mut told)?;
    Ok(Made { bytes, report, told })
}

fn on(base: &Made, options: &CreateOptions) -> Made {
    try_on(base, &["."], options).unwrap()
}

/// Makes a tree of things of every kind that needs no rights.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("dir/inner")).unwrap();
    fs::write(at("dir/a"), "content of a").unwrap();
    fs::write(at("dir/inner/b"), "content of b").unwrap();
    fs::write(at("dir.txt"), "").unwrap();
    fs::write(at("big"), noise((2 << 20) + 99, 1)).unwrap();
    symlink("dir/a", at("link")).unwrap();
    fs::write(at("one"), "a file with three names").unwrap();
    fs::hard_link(at("one"), at("three")).unwrap();
    fs::hard_link(at("one"), at("two")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).unwrap();
    tree
}

/// Sets the time of the last change of the content.
fn touch(path: &Path, seconds: u64) {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn an_unchanged_tree_leaves_everything_to_its_base() {
    let tree = tree();
    let base = full(&options(tree.path()));
    let made = on(&base, &options(tree.path()));
    assert_eq!((made.report.members, made.report.unchanged, made.report.deleted), (0, 12, 0));
    assert!(made.told.stored.is_empty() && made.told.why.is_empty());
    let (old, new) = (entries(&base.open()), entries(&made.open()));
    assert_eq!(old.len(), new.len());
    for (old, mut new) in old.into_iter().zip(new) {
        new.location.as_mut().unwrap().depth -= 1;
        assert_eq!(old, new);
    }
    let archive = made.open();
    let info = archive.info();
    // Nothing but the prologue.
    assert!(info.data_size < 1200 && info.sorted && !info.incomplete);
    assert_eq!(info.content_size, base.open().info().content_size);
    let [table] = archive.tables().bases.as_slice() else { panic!("one base") };
    assert_eq!((table.depth, table.name.as_slice()), (1, &b"base.tar.gz"[..]));
    assert_eq!(Some(table.identity), base.report.identity);
}

#[test]
fn chains_know_all_their_bases() {
    let tree = tree();
    let first = full(&options(tree.path()));
    fs::write(tree.path().join("dir/a"), "another content of a").unwrap();
    let second = on(&first, &options(tree.path()));
    fs::write(tree.path().join("dir/new"), "new").unwrap();
    let third = on(&second, &options(tree.path()));
    assert_eq!(second.why(), [("dir/a", "size")]);
    assert_eq!(third.why(), [("dir", "mtime"), ("dir/new", "new")]);
    assert_eq!((third.depth("dir/a"), third.depth("big"), third.depth("dir/new")), (1, 2, 0));
    let archive = third.open();
    let bases: Vec<_> =
        archive.tables().bases.iter().map(|base| (base.depth, Some(base.identity))).collect();
    assert_eq!(bases, [(1, second.report.identity), (2, first.report.identity)]);
    // Chunks and digests are those of the member.
    let (old, new) = (first.entry("big"), third.entry("big"));
    assert_eq!((old.chunks, old.digest, old.packed), (new.chunks, new.digest, new.packed));
}

#[test]
fn every_change_is_told() {
    let tree = tree();
    let at = |name: &str| tree.path().join(name);
    for name in ["mode", "mtime", "size", "type", "gone", "xattr"] {
        fs::write(at(name), "some text").unwrap();
    }
    fs::create_dir(at("was a directory")).unwrap();
    fs::write(at("was a directory/in it"), "x").unwrap();
    let base = full(&options(tree.path()));
    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    touch(&at("mtime"), 1_000_000_000);
    fs::write(at("size"), "some more text").unwrap();
    fs::remove_file(at("type")).unwrap();
    symlink("size", at("type")).unwrap();
    fs::remove_file(at("gone")).unwrap();
    fs::remove_file(at("link")).unwrap();
    symlink("dir/b", at("link")).unwrap();
    fs::remove_dir_all(at("was a directory")).unwrap();
    fs::write(at("was a directory"), "a file now").unwrap();
    fs::write(at("inode"), "some text").unwrap();
    let made = on(&base, &options(tree.path()));
    let expected = [
        (".", "mtime"),
        ("inode", "new"),
        ("link", "target"),
        ("mode", "mode"),
        ("mtime", "mtime"),
        ("size", "size"),
        ("type", "type"),
        ("was a directory", "type"),
    ];
    assert_eq!(made.why(), expected);
    assert_eq!(made.told.deleted, ["gone", "was a directory/in it"]);
    assert_eq!((made.report.deleted, made.report.members), (2, 8));
    // A changed mode alone brings the content, too: plain tar would empty the file.
    assert_eq!(made.entry("mode").location.unwrap().depth, 0);
    assert!(made.entry("mode").packed > base.entry("dir").packed);
}

#[test]
fn inodes_and_their_times_can_be_ignored() {
    let tree = tree();
    let path = tree.path().join("dir/a");
    touch(&path, 1_000_000_000);
    let base = full(&options(tree.path()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mode = fs::metadata(tree.path().join("dir/inner/b")).unwrap().permissions();
    fs::set_permissions(&path, mode).unwrap();
    let mut options = options(tree.path());
    assert_eq!(on(&base, &options).why(), [("dir/a", "ctime")]);
    options.compare.ignore_ctime = true;
    let made = on(&base, &options);
    assert_eq!((made.report.members, made.report.unchanged), (0, 12));
    // What is recorded is what is there now.
    assert!(made.entry("dir/a").ctime > base.entry("dir/a").ctime);
    let text = fs::read(&path).unwrap();
    fs::write(tree.path().join("copy"), text).unwrap();
    fs::rename(tree.path().join("copy"), &path).unwrap();
    touch(&path, 1_000_000_000);
    let why = |options: &CreateOptions| on(&base, options).told.why.remove("dir/a");
    assert_eq!(why(&options), Some("inode"));
    options.compare.ignore_inode = true;
    assert_eq!(why(&options), None);
}

#[test]
fn what_changed_when_the_base_was_made_is_stored_again() {
    let tree = tree();
    let now = fs::metadata(tree.path().join("big")).unwrap();
    let now = now.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (created, racy) in [(now, true), (now + 2, true), (now + 60, false), (now - 9, true)] {
        let mut options = options(tree.path());
        options.created = Some(created);
        let base = full(&options);
        let made = on(&base, &options);
        for name in ["big", "dir", "dir/a"] {
            assert_eq!(made.told.why.get(name), racy.then_some(&"racy"), "{name}, {created}");
        }
    }
    // A time before all of that decides where those of inodes are not looked at.
    let mut options = options(tree.path());
    options.created = Some(now);
    options.compare.ignore_ctime = true;
    touch(&tree.path().join("big"), 1_000_000_000);
    assert_eq!(on(&full(&options), &options).told.why.get("big"), None);
}

#[test]
fn files_of_which_one_name_is_stored_have_all_later_ones_stored() {
    let tree = tree();
    let at = |name: &str| tree.path().join(name);
    let base = full(&options(tree.path()));
    fs::write(at("two"), "other content").unwrap();
    let made = on(&base, &options(tree.path()));
    assert_eq!(made.why(), [("one", "size"), ("three", "mtime"), ("two", "mtime")]);
    let target = |name: &str| made.entry(name).kind;
    assert_eq!(target("three"), Kind::HardLink { target: "one".into() });
    assert_eq!(target("two"), Kind::HardLink { target: "one".into() });
    // The first name is gone: the next one has the content.
    fs::remove_file(at("one")).unwrap();
    let made = on(&made, &options(tree.path()));
    assert_eq!(made.why(), [(".", "mtime"), ("three", "links"), ("two", "links")]);
    assert_eq!(made.entry("three").kind.size(), 13);
    // Without times of inodes a new name leaves the first one where it is.
    fs::hard_link(at("three"), at("u")).unwrap();
    let mut options = options(tree.path());
    options.compare.ignore_ctime = true;
    let made = on(&made, &options);
    assert_eq!(made.why(), [(".", "mtime"), ("u", "new")]);
    assert_eq!(made.entry("u").kind, Kind::HardLink { target: "three".into() });
    assert_eq!((made.depth("three"), made.depth("u")), (1, 0));
}

#[test]
fn checksums_find_what_times_hide() {
    let tree = tree();
    let at = |name: &str| tree.path().join(name);
    let keep_times = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(at(name)).unwrap();
        change(&mut bytes);
        fs::write(at(name), bytes).unwrap();
        touch(&at(name), 1_000_000_000);
    };
    for name in ["big", "one", "dir/a"] {
        keep_times(name, &|_| {});
    }
    let mut options = options(tree.path());
    options.compare.ignore_ctime = true;
    let base = full(&options);
    keep_times("big", &|bytes| bytes[5] ^= 1);
    keep_times("one", &|bytes| bytes[5] ^= 1);
    assert_eq!(on(&base, &options).why(), []);
    options.compare.checksum = true;
    for threads in [1, 3] {
        for group in [None, NonZero::new(64 << 10)] {
            options.threads = NonZero::new(threads);
            options.group_size = group;
            let made = on(&base, &options);
            let names: Vec<_> = made.told.stored.iter().map(String::as_str).collect();
            assert_eq!(names, ["big", "one", "three", "two"]);
            assert_eq!(made.told.why["big"], "content");
            assert_eq!(made.report.unchanged, 8);
            let same = on(&made, &options);
            assert_eq!((same.report.members, same.report.unchanged), (0, 12));
            assert_eq!((same.depth("big"), same.depth("two"), same.depth("dir/a")), (1, 1, 2));
        }
    }
}

/// Returns an archive with another listing, and all else of it right.
fn forged(base: &Made, change: impl Fn(&mut Forge)) -> Made {
    let mut forge = Forge::of(&base.bytes);
    change(&mut forge);
    let bytes = forge.seal_with(&|_| {}, &|info| info.created = Some(LATER));
    Made { bytes, report: base.report.clone(), told: Told::default() }
}

#[test]
fn checksums_are_compared_with_those_of_the_base() {
    let tree = tree();
    let mut options = options(tree.path());
    let base = full(&options);
    let digest = |made: &Made| match made.entry("dir/a").digest {
        Some(Digest::Content(digest)) => digest,
        other => panic!("{other:?}"),
    };
    let text = |digest: [u8; 32]| isptar_core::format::text::digest_text(&digest);
    let other = forged(&base, |forge| forge.replace(&text(digest(&base)), &text([7; 32])));
    let made = on(&other, &options);
    assert_eq!((made.report.unchanged, digest(&made)), (12, [7; 32]));
    options.compare.checksum = true;
    assert_eq!(on(&other, &options).why(), [("dir/a", "content")]);
}

#[test]
fn lines_of_a_base_that_lie_make_no_archive() {
    let tree = tree();
    let base = full(&options(tree.path()));
    let line = |name: &str| {
        let text = Forge::of(&base.bytes).listing();
        let start = format!("{name}\t");
        text.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
    };
    let [file, before] = ["dir/a", "dir"].map(line);
    let cases = [
        (file.clone(), file.replace("\t0:1:", "\t3:1:")),
        (format!("{before}\n{file}\n"), format!("{file}\n{before}\n")),
        (format!("{file}\n"), format!("{file}\n{file}\n")),
    ];
    for (from, to) in cases {
        let lying = forged(&base, |forge| forge.replace(&from, &to));
        let error = try_on(&lying, &["."], &options(tree.path())).err().unwrap();
        assert!(matches!(&error, Error::BadBase { .. }), "{error}");
    }
}

#[test]
fn what_is_left_out_now_decides_whether_a_directory_is_partial() {
    let tree = tree();
    let whole = options(tree.path());
    let mut without = whole.clone();
    without.exclude = Patterns::new(["dir/inner/b"]).unwrap();
    let is_partial = |made: &Made| made.entry("dir/inner").partial;
    for (first, then) in [(&whole, &without), (&without, &whole), (&without, &without)] {
        let base = full(first);
        let made = on(&base, then);
        let left_out = |options: &CreateOptions| !options.exclude.is_empty();
        assert_eq!((is_partial(&base), is_partial(&made)), (left_out(first), left_out(then)));
        assert_eq!((made.depth("dir/inner"), made.depth("dir/a")), (1, 1));
    }
}

#[test]
fn reproducible_archives_have_no_inodes_of_their_base() {
    let tree = tree();
    let mut options = options(tree.path());
    let base = full(&options);
    options.reproducible = true;
    let made = on(&base, &options);
    assert_eq!((made.report.members, made.report.unchanged), (0, 12));
    for entry in entries(&made.open()) {
        assert_eq!((entry.ctime, entry.ino, &entry.user[..]), (None, None, &b""[..]), "{entry:?}");
    }
}

#[test]
fn a_base_without_a_time_is_compared_by_content() {
    let tree = tree();
    let mut options = options(tree.path());
    options.reproducible = true;
    let base = full(&options);
    assert_eq!(base.open().info().created, None);
    let made = on(&base, &options);
    assert_eq!((made.report.members, made.report.unchanged), (0, 12));
    let modified = fs::metadata(tree.path().join("dir/a")).unwrap().modified().unwrap();
    fs::write(tree.path().join("dir/a"), "CONTENT of a").unwrap();
    let file = OpenOptions::new().write(true).open(tree.path().join("dir/a")).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    assert_eq!(on(&base, &options).why(), [("dir/a", "content")]);
}

#[test]
fn what_cannot_be_found_keeps_what_the_base_knows() {
    let tree = tree();
    let at = |name: &str| tree.path().join(name);
    fs::hard_link(at("one"), at("dir/inner/one")).unwrap();
    fs::hard_link(at("dir/a"), at("dir/z")).unwrap();
    let base = full_of(&["dir", "one"], &options(tree.path()));
    fs::rename(at("dir"), at("away")).unwrap();
    let made = try_on(&base, &["dir", "one"], &options(tree.path())).unwrap();
    assert_eq!(made.told.failed, ["dir"]);
    assert!(made.told.deleted.is_empty() && made.open().info().incomplete);
    let kept = ["dir", "dir/a", "dir/inner", "dir/inner/b", "dir/inner/one", "dir/z"];
    for name in kept {
        let (old, new) = (base.entry(name), made.entry(name));
        assert_eq!(new.lost.as_deref(), Some("unreadable"), "{name}");
        assert_eq!((old.packed, old.digest), (new.packed, new.digest), "{name}");
        assert_eq!(new.location.unwrap().depth, 1, "{name}");
    }
    assert_eq!(made.entry("dir/z").kind, Kind::HardLink { target: "dir/a".into() });
    assert_eq!(made.report.kept, 6);
    // It is there again, and stored whatever it is.
    fs::rename(at("away"), at("dir")).unwrap();
    let made = try_on(&made, &["dir", "one"], &options(tree.path())).unwrap();
    assert!(kept.iter().all(|name| made.depth(name) == 0));
    assert_eq!(made.told.why["dir/a"], "lost");
}

#[test]
fn a_kept_link_does_not_lead_to_what_is_not_there() {
    let tree = tree();
    fs::hard_link(tree.path().join("dir/a"), tree.path().join("link to a")).unwrap();
    let base = full_of(&["dir", "link to a", "one"], &options(tree.path()));
    fs::remove_file(tree.path().join("link to a")).unwrap();
    let made = try_on(&base, &["link to a", "one"], &options(tree.path())).unwrap();
    let entry = made.entry("link to a");
    assert_eq!((entry.kind, entry.location), (Kind::File { size: 0 }, None));
    assert!(entry.lost.is_some());
}

#[test]
fn nothing_found_is_nothing_stored() {
    let tree = tree();
    let base = full_of(&["dir"], &options(tree.path()));
    fs::remove_dir_all(tree.path().join("dir")).unwrap();
    let made = try_on(&base, &["dir"], &options(tree.path()));
    assert!(matches!(made, Err(Error::NothingStored)));
}

#[test]
fn archives_on_a_base_are_the_same_for_any_number_of_threads() {
    let tree = tree();
    let base = full(&options(tree.path()));
    for number in 0..400 {
        let name = tree.path().join(format!("dir/{}", number * 7 % 400));
        fs::write(name, format!("file {number}").repeat(number)).unwrap();
    }
    let base = on(&base, &options(tree.path()));
    for number in (0..400).step_by(3) {
        fs::write(tree.path().join(format!("dir/{number}")), noise(999, number)).unwrap();
    }
    for group in [None, NonZero::new(64 << 10)] {
        let bytes = [1, 2, 5].map(|threads| {
            let mut options = options(tree.path());
            options.threads = NonZero::new(threads);
            options.group_size = group;
            on(&base, &options).bytes
        });
        assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
    }
}

#[test]
fn a_damaged_base_makes_no_archive() {
    let tree = tree();
    let base = full(&options(tree.path()));
    let listing = base.open().info().data_size + 535;
    let mut bytes = base.bytes.clone();
    bytes[usize::try_from(listing).unwrap() + 30] ^= 0x40;
    let damaged = Made { bytes, ..base };
    let error = try_on(&damaged, &["."], &options(tree.path())).err().unwrap();
    assert!(matches!(&error, Error::BadBase { .. }), "{error}");
    assert!(error.to_string().contains("base.tar.gz"));
}

#[test]
fn a_base_has_one_component_as_name() {
    let tree = tree();
    let base = full(&options(tree.path()));
    for name in ["", "..", "a/b"] {
        let archive = base.open();
        let listing = BaseListing::of(&archive, name.as_bytes());
        assert!(matches!(listing, Err(Error::BaseName { .. })), "{name}");
    }
}

#[test]
fn members_from_elsewhere_replace_those_of_the_base() {
    let tree = tree();
    let options = options(tree.path());
    let supplied = |base: Option<&Made>, dump: &'static [u8]| {
        let archive = base.map(Made::open);
        let mut extras = Extras::default();
        let header = MemberHeader::new("any", Kind::Fifo);
        extras.add_supply(Path::new("c/dump"), header, dump, NonZero::new(4)).unwrap();
        if let Some(archive) = &archive {
            extras.set_base(BaseListing::of(archive, b"base").unwrap());
        }
        let (mut bytes, mut told) = (Vec::new(), Told::default());
        let sink = &mut WriteSink::new(&mut bytes);
        let paths = ["big".into(), "dir".into()];
        let report = create_with(sink, &paths, &options, extras, &mut told).unwrap();
        Made { bytes, report, told }
    };
    let base = supplied(None, b"some output");
    let made = supplied(Some(&base), b"less");
    assert_eq!(made.told.stored, ["c/dump.000"]);
    assert_eq!(made.told.deleted, ["c/dump.001", "c/dump.002"]);
    assert_eq!(made.report.unchanged, 5);
    assert_eq!(entries(&made.open()).len(), 6);
}

/// Removes a file when the job asks the fourth time whether it shall stop: after it was found, and
/// before it is opened.
struct Remover {
    asked: Cell<u32>,
    path: PathBuf,
}

impl Observer for Remover {
    fn cancelled(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() == 4 {
            fs::remove_file(&self.path).unwrap();
        }
        false
    }
}

#[test]
fn what_vanishes_keeps_what_the_base_knows() {
    let tree = tempfile::tempdir().unwrap();
    let path = tree.path().join("a");
    fs::write(&path, "as it was").unwrap();
    let options = options(tree.path());
    let base = full(&options);
    fs::write(&path, "as it is now").unwrap();
    let archive = base.open();
    let mut extras = Extras::default();
    extras.set_base(BaseListing::of(&archive, b"base").unwrap());
    let mut bytes = Vec::new();
    let mut remover = Remover { asked: Cell::new(0), path };
    let sink = &mut WriteSink::new(&mut bytes);
    let report = create_with(sink, &[".".into()], &options, extras, &mut remover).unwrap();
    assert_eq!((report.vanished, report.kept), (1, 1));
    let entry = Archive::open(bytes).unwrap().find(&"a".into()).unwrap().unwrap();
    let old = base.entry("a");
    assert_eq!(entry.lost.as_deref(), Some("vanished"));
    assert_eq!((&entry.kind, entry.mtime, entry.digest), (&old.kind, old.mtime, old.digest));
    assert_eq!(entry.location.unwrap().depth, 1);
}

#[test]
fn bases_in_any_order_are_sorted() {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    let mut bytes = Vec::new();
    let mut writer_options = WriterOptions::default();
    (writer_options.sorted, writer_options.created) = (false, Some(LATER));
    let sink = WriteSink::new(&mut bytes);
    let mut writer = ArchiveWriter::new(sink, &writer_options).unwrap();
    let mut add = |name: &str, content: &[u8]| {
        fs::write(at(name), content).unwrap();
        touch(&at(name), 1_000_000_000);
        let stat = fs::metadata(at(name)).unwrap();
        let size = content.len() as u64;
        let mut header = MemberHeader::new(name, Kind::File { size });
        header.mode = stat.permissions().mode() & 0o7777;
        (header.uid, header.gid) = (u64::from(stat.uid()), u64::from(stat.gid()));
        header.mtime = Timestamp::new(1_000_000_000, 0);
        writer.append(&header, Details::default(), content).unwrap();
    };
    add("c", b"another c");
    add("b", b"content of b");
    add("a", b"content of a");
    add("c", b"content of c");
    writer.finish().unwrap();
    let base = Made { bytes, report: CreateReport::default(), told: Told::default() };
    assert!(!base.open().info().sorted);
    let made = try_on(&base, &["a", "b", "c"], &options(tree.path())).unwrap();
    assert_eq!((made.report.members, made.report.unchanged), (0, 3));
    assert_eq!(made.entry("c").packed, base.entry("c").packed);
    // A time between two seconds may hide a change: the content tells.
    let name = at("b");
    fs::write(&name, "CONTENT of b").unwrap();
    let time = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    let file = OpenOptions::new().write(true).open(&name).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    let made = try_on(&base, &["a", "b", "c"], &options(tree.path())).unwrap();
    assert_eq!(made.why(), [("b", "content")]);
}
