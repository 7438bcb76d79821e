//! Comparing archives with trees and with each other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use isptar_core::diff::{Change, ContentChange, Field, Ignore};
use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::{
    Archive, CreateOptions, DiffOptions, DiffReport, Error, Event, ExtractOptions, Kind, Limits,
    Listing, MemberHeader, Observer, Patterns, Selection, TarReader, Timestamp, WriteSink, create,
    diff_archives, diff_tree, extract,
};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, setxattr, utimensat};

use crate::support::{Counting, Item, build, dir, file, link, other};

/// Collects what is told: differences as `+ path`, `M path mode mtime`; the rest as words.
#[derive(Default)]
struct Told {
    differences: Vec<String>,
    failed: Vec<String>,
    left_out: Vec<String>,
}

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Differs { difference } => {
                let (letter, fields) = match &difference.change {
                    Change::Added(_) => ('+', [].as_slice()),
                    Change::Removed(_) => ('-', [].as_slice()),
                    Change::Changed { content, fields } => (
                        match content {
                            ContentChange::Same => 'M',
                            ContentChange::MayDiffer => '?',
                            ContentChange::Differs => 'C',
                        },
                        fields.as_slice(),
                    ),
                };
                let words: String = fields.iter().map(word).collect();
                self.differences.push(format!("{letter} {}{words}", difference.path));
            }
            Event::Failed { path, error } => self.failed.push(format!("{path}: {error}")),
            Event::LeftOut { path, reason } => self.left_out.push(format!("{path}: {reason}")),
            _ => {}
        }
    }
}

fn word(field: &Field) -> &'static str {
    match field {
        Field::Type(..) => " type",
        Field::Size(..) => " size",
        Field::Digest(..) => " digest",
        Field::Target(..) => " target",
        Field::Device(..) => " device",
        Field::Mode(..) => " mode",
        Field::Owner(..) => " owner",
        Field::Group(..) => " group",
        Field::Mtime(..) => " mtime",
        Field::Xattr(..) => " xattr",
        Field::Links(..) => " links",
        _ => " ?",
    }
}

/// A tree in a temporary directory.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.settle();
        tree
    }

    /// Makes `a/{b,link,sub/{c,empty}}`, `d` and `d`'s second name `z`.
    fn small() -> Self {
        let tree = Self::new();
        fs::create_dir_all(tree.at("a/sub")).unwrap();
        for (name, text) in [("a/b", "bee"), ("a/sub/c", "sea"), ("a/sub/empty", ""), ("d", "dee")]
        {
            fs::write(tree.at(name), text).unwrap();
        }
        symlink("b", tree.at("a/link")).unwrap();
        fs::hard_link(tree.at("d"), tree.at("z")).unwrap();
        tree.settle();
        tree
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Sets a time that has nanoseconds; links are not followed.
    fn touch(&self, name: &str, tv_sec: i64) {
        let time = Timespec { tv_sec, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, self.at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    /// Gives all directories one time, so that what happened in them does not show.
    fn settle(&self) {
        let entries = walkdir::WalkDir::new(self.0.path()).contents_first(true);
        for entry in entries.into_iter().map_while(Result::ok) {
            if entry.file_type().is_dir() {
                self.touch(entry.path().to_str().unwrap(), 1_500_000_000);
            }
        }
    }

    fn archive_of(&self, paths: &[&str], change: impl FnOnce(&mut CreateOptions)) -> Vec<u8> {
        let mut options = CreateOptions::default();
        options.directory = self.0.path().into();
        change(&mut options);
        let mut bytes = Vec::new();
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        create(&mut WriteSink::new(&mut bytes), &paths, &options, &mut ()).unwrap();
        bytes
    }

    fn archive(&self) -> Vec<u8> {
        self.archive_of(&["."], |_| {})
    }

    fn options(&self) -> DiffOptions {
        let mut options = DiffOptions::default();
        options.directory = self.0.path().into();
        options
    }

    fn diff_with(
        &self,
        archive: &[u8],
        change: impl FnOnce(&mut DiffOptions),
    ) -> (Told, DiffReport) {
        let mut options = self.options();
        change(&mut options);
        let archive = Archive::open(archive.to_vec()).unwrap();
        let mut told = Told::default();
        let listing = Listing::of(&archive, &mut told).unwrap();
        let report = diff_tree(listing, &options, &mut told).unwrap();
        assert_eq!(report.differences(), told.differences.len() as u64);
        (told, report)
    }

    /// Returns the differences, which must be all that there is to tell.
    fn diff(&self, archive: &[u8]) -> Vec<String> {
        let (told, report) = self.diff_with(archive, |_| {});
        assert!(!report.is_incomplete(), "{:?}", told.failed);
        told.differences
    }

    fn checksum(&self, archive: &[u8]) -> Vec<String> {
        self.diff_with(archive, |options| options.checksum = true).0.differences
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_tree_is_as_its_archive_until_it_changes() {
    let tree = Tree::small();
    let archive = tree.archive();
    assert_eq!(tree.diff(&archive), [""; 0]);
    assert_eq!(tree.checksum(&archive), [""; 0]);
    fs::write(tree.at("a/b"), "longer").unwrap();
    fs::write(tree.at("a/new"), "").unwrap();
    fs::remove_file(tree.at("a/sub/c")).unwrap();
    fs::remove_file(tree.at("a/link")).unwrap();
    symlink("nowhere", tree.at("a/link")).unwrap();
    chmod(&tree.at("d"), 0o600);
    tree.settle();
    let differences = tree.diff(&archive);
    assert_eq!(
        differences,
        ["C a/b size mtime", "C a/link target mtime", "+ a/new", "- a/sub/c", "M d mode"]
    );
}

#[test]
fn a_restored_tree_is_as_the_archive() {
    let (tree, target) = (Tree::small(), Tree::new());
    let archive = tree.archive();
    let opened = Archive::open(archive.clone()).unwrap();
    let options = ExtractOptions::default();
    extract(&opened, &Selection::default(), target.0.path(), &options, &mut ()).unwrap();
    assert_eq!(target.checksum(&archive), [""; 0]);
}

#[test]
fn contents_of_one_size_and_time_differ_by_digest_alone() {
    let tree = Tree::small();
    tree.touch("a/b", 1_600_000_000);
    let archive = tree.archive();
    fs::write(tree.at("a/b"), "BEE").unwrap();
    tree.touch("a/b", 1_600_000_000);
    assert_eq!(tree.diff(&archive), [""; 0]);
    assert_eq!(tree.checksum(&archive), ["C a/b digest"]);
    // Another time alone may be another content; reading tells.
    fs::write(tree.at("a/b"), "bee").unwrap();
    tree.touch("a/b", 1_600_000_001);
    assert_eq!(tree.diff(&archive), ["? a/b mtime"]);
    assert_eq!(tree.checksum(&archive), ["M a/b mtime"]);
}

#[test]
fn types_replace_each_other_and_bring_or_take_contents() {
    let tree = Tree::small();
    let archive = tree.archive();
    fs::remove_dir_all(tree.at("a/sub")).unwrap();
    fs::write(tree.at("a/sub"), "now a file").unwrap();
    fs::remove_file(tree.at("a/b")).unwrap();
    fs::create_dir(tree.at("a/b")).unwrap();
    fs::write(tree.at("a/b/x"), "").unwrap();
    fs::remove_file(tree.at("a/link")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(tree.at("a/link")).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(tree.at("a/socket")).unwrap();
    tree.settle();
    let differences = tree.diff(&archive);
    let expected =
        ["C a/b type", "+ a/b/x", "C a/link type", "C a/sub type", "- a/sub/c", "- a/sub/empty"];
    assert_eq!(differences, expected);
    drop(socket);
}

#[test]
fn hard_links_are_compared_as_sets_of_the_names_that_both_have() {
    let tree = Tree::small();
    fs::hard_link(tree.at("d"), tree.at("m")).unwrap();
    tree.settle();
    let archive = tree.archive();
    assert_eq!(tree.diff(&archive), [""; 0]);
    // A name that is gone, and another that is new, are no change of those that stay.
    fs::hard_link(tree.at("d"), tree.at("a/first")).unwrap();
    fs::remove_file(tree.at("d")).unwrap();
    tree.settle();
    assert_eq!(tree.checksum(&archive), ["+ a/first", "- d"]);
    // A name that became a file of its own.
    fs::copy(tree.at("z"), tree.at("copy")).unwrap();
    fs::rename(tree.at("copy"), tree.at("z")).unwrap();
    let time = fs::metadata(tree.at("m")).unwrap().modified().unwrap();
    fs::File::options().write(true).open(tree.at("z")).unwrap().set_modified(time).unwrap();
    tree.settle();
    assert_eq!(tree.checksum(&archive), ["+ a/first", "- d", "M z links"]);
    let ignore = |options: &mut DiffOptions| options.ignore.links = true;
    assert_eq!(tree.diff_with(&archive, ignore).0.differences, ["+ a/first", "- d"]);
    // Its content is compared with that of the name that is gone.
    fs::write(tree.at("z"), "other").unwrap();
    assert_eq!(tree.diff(&archive), ["+ a/first", "- d", "C z size mtime links"]);
}

#[test]
fn only_what_the_archive_has_at_its_top_is_looked_up() {
    let tree = Tree::small();
    let archive = tree.archive_of(&["a/sub", "d"], |_| {});
    assert_eq!(tree.diff(&archive), [""; 0]);
    fs::write(tree.at("a/sub/new"), "").unwrap();
    fs::write(tree.at("unrelated"), "").unwrap();
    tree.settle();
    assert_eq!(tree.diff(&archive), ["+ a/sub/new"]);
    fs::remove_dir_all(tree.at("a")).unwrap();
    let gone = ["- a/sub", "- a/sub/c", "- a/sub/empty"];
    assert_eq!(tree.diff(&archive), gone);
    fs::write(tree.at("a"), "in the way").unwrap();
    assert_eq!(tree.diff(&archive), gone);
}

#[test]
fn what_create_left_out_is_no_difference() {
    let tree = Tree::small();
    let archive =
        tree.archive_of(&["."], |options| options.exclude = Patterns::new(["sub", "d"]).unwrap());
    let (told, report) = tree.diff_with(&archive, |_| {});
    assert_eq!(told.differences, [""; 0]);
    assert_eq!((report.left_out, told.left_out.len()), (2, 2));
    // The other way round: what is excluded now is compared on neither side.
    let archive = tree.archive();
    fs::write(tree.at("a/sub/c"), "changed").unwrap();
    fs::remove_file(tree.at("d")).unwrap();
    tree.settle();
    let exclude = |options: &mut DiffOptions| {
        options.exclude = Patterns::new(["sub", "d"]).unwrap();
    };
    assert_eq!(tree.diff_with(&archive, exclude).0.differences, [""; 0]);
}

#[test]
fn a_cache_whose_contents_were_left_out_is_not_walked_through() {
    let tree = Tree::small();
    fs::create_dir(tree.at("cache")).unwrap();
    fs::write(tree.at("cache/mark"), "").unwrap();
    fs::write(tree.at("cache/big"), "x").unwrap();
    tree.settle();
    let archive =
        tree.archive_of(&["."], |options| options.exclude_if_present = vec![b"mark".to_vec()]);
    let (told, _) = tree.diff_with(&archive, |_| {});
    assert_eq!(told.differences, [""; 0]);
    assert_eq!(told.left_out.len(), 1, "{:?}", told.left_out);
    fs::remove_file(tree.at("cache/mark")).unwrap();
    tree.settle();
    assert_eq!(tree.diff(&archive), ["- cache/mark"]);
}

#[test]
fn a_selection_looks_at_nothing_else() {
    let tree = Tree::small();
    let archive = tree.archive();
    fs::write(tree.at("a/sub/c"), "longer").unwrap();
    fs::write(tree.at("a/b"), "longer").unwrap();
    fs::remove_file(tree.at("d")).unwrap();
    tree.settle();
    let only = |texts: &[&str]| {
        let selection = Selection::new(texts).unwrap();
        let (told, report) = tree.diff_with(&archive, |options| options.only = selection);
        (told.differences, report.failed)
    };
    assert_eq!(only(&["a/sub"]), (vec!["C a/sub/c size mtime".into()], 0));
    assert_eq!(only(&["*/b", "d"]), (vec!["C a/b size mtime".into(), "- d".into()], 0));
    // The other name of a file that is not asked for.
    assert_eq!(only(&["z"]), (vec![], 0));
    assert_eq!(only(&["nowhere", "z"]), (vec![], 1));
}

#[test]
fn metadata_can_be_ignored() {
    let tree = Tree::small();
    let archive = tree.archive();
    chmod(&tree.at("a/b"), 0o600);
    tree.touch("a/b", 5);
    let ignore =
        |ignore: Ignore| tree.diff_with(&archive, |options| options.ignore = ignore).0.differences;
    assert_eq!(ignore(Ignore::default()), ["? a/b mode mtime"]);
    assert_eq!(ignore(Ignore { mtime: true, ..Ignore::default() }), ["M a/b mode"]);
    assert_eq!(ignore(Ignore { mtime: true, mode: true, ..Ignore::default() }), [""; 0]);
    if setxattr(tree.at("d"), "user.note", b"x", XattrFlags::empty()).is_ok() {
        let quiet = Ignore { mtime: true, mode: true, ..Ignore::default() };
        assert_eq!(ignore(quiet), ["M d xattr"]);
        assert_eq!(ignore(Ignore { xattr: true, ..quiet }), [""; 0]);
        assert_eq!(tree.diff(&tree.archive()), [""; 0]);
    }
}

#[test]
fn whole_seconds_are_compared_where_the_archive_has_no_others() {
    let tree = Tree::small();
    let archive = tree.archive();
    for name in ["a/b", "a/link", "d", "a/sub/c", "a/sub/empty", "a/sub", "a", ""] {
        let path = tree.at(name);
        let seconds = fs::symlink_metadata(&path).unwrap().modified().unwrap();
        let seconds = seconds.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let time = Timespec { tv_sec: seconds.cast_signed(), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    assert_eq!(tree.diff(&archive).len(), 8);
    let nanos = |options: &mut DiffOptions| options.ignore.nanos = true;
    assert_eq!(tree.diff_with(&archive, nanos).0.differences, [""; 0]);
}

/// Reads an archive of ours as any other tar: seconds, no listing.
fn as_tar(archive: &[u8], digest: bool) -> Listing<'static> {
    let mut tar = TarReader::new(archive, Limits::default()).unwrap();
    Listing::read(&mut tar, digest, &mut ()).unwrap()
}

#[test]
fn a_tar_without_a_listing_is_compared_too() {
    let tree = Tree::small();
    for name in ["a/b", "a/sub/c"] {
        tree.touch(name, 1_600_000_000);
    }
    let archive = tree.archive();
    let diff = |digest: bool| {
        let mut options = tree.options();
        options.checksum = digest;
        let mut told = Told::default();
        diff_tree(as_tar(&archive, digest), &options, &mut told).unwrap();
        told.differences
    };
    assert_eq!(diff(false), [""; 0]);
    tree.touch("a/b", 1_600_000_001);
    fs::write(tree.at("a/sub/c"), "SEA").unwrap();
    tree.touch("a/sub/c", 1_600_000_000);
    fs::remove_file(tree.at("z")).unwrap();
    tree.settle();
    assert_eq!(diff(false), ["? a/b mtime", "- z"]);
    assert_eq!(diff(true), ["M a/b mtime", "C a/sub/c digest", "- z"]);
}

#[test]
fn what_was_lost_when_archived_is_told() {
    // It can be opened, and not read.
    let path = Path::new("proc/self/mem");
    let mut options = CreateOptions::default();
    options.directory = "/".into();
    let mut bytes = Vec::new();
    let tree = Tree::small();
    let paths = [path.to_owned(), tree.at("d")];
    create(&mut WriteSink::new(&mut bytes), &paths, &options, &mut ()).unwrap();
    let (told, report) = tree.diff_with(&bytes, |options| options.directory = "/".into());
    assert_eq!(told.differences, [""; 0]);
    assert_eq!((report.lost, report.compared, told.failed.len()), (1, 1, 1));
    assert!(report.is_incomplete());
    // What is neither in the archive nor there is no difference.
    let (told, _) = tree.diff_with(&bytes, |_| {});
    assert_eq!(told.differences.len(), 1, "{:?}", told.differences);
}

#[test]
fn what_cannot_be_read_is_told_and_nothing_in_it_is_taken_for_gone() {
    let tree = Tree::small();
    let archive = tree.archive();
    chmod(&tree.at("a/sub"), 0);
    if fs::read_dir(tree.at("a/sub")).is_ok() {
        eprintln!("skipped: root reads all; the tests of the program run it as nobody");
        return;
    }
    let (told, report) = tree.diff_with(&archive, |_| {});
    chmod(&tree.at("a/sub"), 0o755);
    assert_eq!(told.differences, ["M a/sub mode"]);
    assert_eq!((report.failed, report.unseen), (1, 2));
}

#[test]
fn names_that_lead_outside_are_refused() {
    let tree = Tree::new();
    let archive = build(&[dir("."), file("a", b"x")], 6);
    let (told, report) = tree.diff_with(&archive, |options| {
        options.ignore =
            Ignore { mode: true, owner: true, group: true, mtime: true, ..options.ignore };
    });
    assert_eq!((told.differences, report.failed), (vec!["- a".to_owned()], 0));
    let mut header = MemberHeader::new("../up", Kind::File { size: 0 });
    header.mtime = Timestamp::new(1, 0);
    let options = tree.options();
    let mut told = Told::default();
    let outside = build_tar(&header);
    let report = diff_tree(as_tar(&outside, false), &options, &mut told).unwrap();
    assert_eq!((told.differences.len(), report.failed), (0, 1));
    assert!(told.failed[0].contains(".."), "{:?}", told.failed);
}

/// A tar of one header.
fn build_tar(header: &MemberHeader) -> Vec<u8> {
    let mut tar = Vec::new();
    header.encode(&Limits::default(), &mut tar).unwrap();
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn diff_of(old: &[Item], new: &[Item]) -> Vec<String> {
    let (old, new) = (build(old, 6), build(new, 6));
    let (old, new) = (Archive::open(old).unwrap(), Archive::open(new).unwrap());
    let mut told = Told::default();
    let sides = (Listing::of(&old, &mut ()).unwrap(), Listing::of(&new, &mut ()).unwrap());
    diff_archives(sides.0, sides.1, &DiffOptions::default(), &mut told).unwrap();
    assert_eq!(told.failed, [""; 0]);
    told.differences
}

#[test]
fn two_archives_are_compared_by_their_digests() {
    let old = [
        dir("a"),
        file("a/f", b"one"),
        file("a/g", b"gone"),
        other("a/hard", Kind::HardLink { target: "a/f".into() }),
        link("l", "x"),
    ];
    assert_eq!(diff_of(&old, &old), [""; 0]);
    let mut touched = file("a/f", b"one");
    touched.header.mtime = Timestamp::new(5, 5);
    let mut owned = dir("a");
    owned.header.uid = 7;
    let new = [owned, touched, file("a/hard", b"two"), file("a/new", b""), link("l", "y")];
    let expected =
        ["M a owner", "M a/f mtime", "- a/g", "C a/hard digest links", "+ a/new", "C l target"];
    assert_eq!(diff_of(&old, &new), expected);
    // Names of owners count where both have one.
    let named = |uid: u64, name: &str| {
        let mut item = file("f", b"x");
        (item.header.uid, item.header.user) = (uid, name.into());
        [item]
    };
    assert_eq!(diff_of(&named(1, "ann"), &named(2, "ann")), [""; 0]);
    assert_eq!(diff_of(&named(1, "ann"), &named(1, "bob")), ["M f owner"]);
    assert_eq!(diff_of(&named(1, "ann"), &named(2, "")), ["M f owner"]);
}

#[test]
fn no_member_is_read_for_two_archives() {
    let noise = crate::support::noise(3 << 20, 1);
    let items = [file("big", &noise), file("small", b"x")];
    let other = [file("big", &noise[1..]), file("small", b"y")];
    let (old, new) = (Counting::new(build(&items, 0)), Counting::new(build(&other, 0)));
    let readers = (&old, &new);
    let (old, new) = (Archive::open(readers.0).unwrap(), Archive::open(readers.1).unwrap());
    let mut told = Told::default();
    let sides = (Listing::of(&old, &mut ()).unwrap(), Listing::of(&new, &mut ()).unwrap());
    diff_archives(sides.0, sides.1, &DiffOptions::default(), &mut told).unwrap();
    assert_eq!(told.differences, ["C big size", "C small digest"]);
    for (reads, bytes) in [readers.0.counts(), readers.1.counts()] {
        assert!(reads <= 3 && bytes < 128 << 10, "{reads} reads of {bytes} bytes");
    }
}

/// Does something to a tree when the first difference, or the first content, is told.
struct Meddler<'a> {
    told: Told,
    at_progress: bool,
    meddle: Option<&'a mut dyn FnMut()>,
}

impl Observer for Meddler<'_> {
    fn event(&mut self, event: Event<'_>) {
        let now = match event {
            Event::Differs { .. } => !self.at_progress,
            Event::Progress { .. } => self.at_progress,
            _ => false,
        };
        if let Some(meddle) = self.meddle.take_if(|_| now) {
            meddle();
        }
        self.told.event(event);
    }
}

/// Compares a tree that changes meanwhile with its archive, by contents.
fn meddled(at_progress: bool, meddle: impl Fn(&Tree)) -> (Vec<String>, DiffReport) {
    let tree = Tree::small();
    let archive = Archive::open(tree.archive()).unwrap();
    fs::write(tree.at("a/b"), "longer").unwrap();
    tree.settle();
    let mut options = tree.options();
    (options.checksum, options.ignore.mtime) = (true, true);
    let mut meddle = || meddle(&tree);
    let mut meddler = Meddler { told: Told::default(), at_progress, meddle: Some(&mut meddle) };
    let listing = Listing::of(&archive, &mut ()).unwrap();
    let report = diff_tree(listing, &options, &mut meddler).unwrap();
    assert!(meddler.meddle.is_none());
    (meddler.told.differences, report)
}

#[test]
fn a_tree_that_changes_meanwhile_is_compared_as_it_is_met() {
    let file = |tree: &Tree| tree.at("a/sub/c");
    let with = |make: &dyn Fn(&Path)| {
        let (mut differences, report) = meddled(false, |tree| {
            fs::remove_file(file(tree)).unwrap();
            make(&file(tree));
        });
        assert_eq!(differences.remove(0), "C a/b size");
        assert!(!report.is_incomplete());
        differences
    };
    assert_eq!(with(&|_| {}), ["- a/sub/c"]);
    assert_eq!(with(&|path| symlink("/etc/passwd", path).unwrap()), ["C a/sub/c type"]);
    let fifo = |path: &Path| {
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, path, kind, 0o600.into(), 0).unwrap();
    };
    assert_eq!(with(&fifo), ["C a/sub/c type"]);
    let (differences, _) = meddled(false, |tree| {
        fs::rename(tree.at("a/sub"), tree.at("elsewhere")).unwrap();
        symlink("../elsewhere", tree.at("a/sub")).unwrap();
    });
    let gone = ["C a/b size", "C a/sub type", "- a/sub/c", "- a/sub/empty", "+ elsewhere"];
    assert_eq!(differences[..4], gone[..4]);
    let (_, report) = meddled(true, |tree| {
        // The first content is that of the first file of the same size.
        fs::write(file(tree), "it grows").unwrap();
        fs::write(tree.at("d"), "it grows").unwrap();
    });
    assert_eq!((report.changing, report.failed), (1, 0));
}

/// A file that is stored as a sparse one: these ranges of its content alone.
fn sparse(path: &str, content: &[u8], ranges: &[(usize, usize)]) -> Item {
    let mut item = file(path, content);
    item.data = ranges.iter().flat_map(|&(at, len)| content[at..at + len].to_vec()).collect();
    let segments: Vec<_> =
        ranges.iter().map(|&(at, len)| Segment { offset: at as u64, len: len as u64 }).collect();
    let map = SparseMap::new(content.len() as u64, segments, &Limits::default()).unwrap();
    item.header.sparse = Some(map);
    item
}

#[test]
fn contents_are_compared_where_holes_are_stored_in_different_ways() {
    let mut content = vec![0; 1 << 20];
    content[5000..5010].fill(1);
    content[900_000..900_010].fill(2);
    let mut other = content.clone();
    other[5005] = 9;
    let (exact, wide) = ([(5000, 10), (900_000, 10)], [(4096, 4096), (899_072, 4096)]);
    let all = |content: &[u8]| {
        [file("f", content), sparse("f", content, &exact), sparse("f", content, &wide)]
    };
    let hard = other_name();
    for (n, old) in all(&content).into_iter().enumerate() {
        for (m, new) in all(&content).into_iter().enumerate() {
            assert_eq!(diff_of(from_ref(&old), &[new]), [""; 0], "{n} {m}");
        }
        for (m, new) in all(&other).into_iter().enumerate() {
            let expected = if (n, m) == (0, 0) { "C f digest" } else { "C f" };
            assert_eq!(diff_of(from_ref(&old), from_ref(&new)), [expected], "{n} {m}");
            // By another name, and of a tar that was read from front to back.
            let [old, new] = [vec![old.clone(), hard.clone()], vec![new, hard.clone()]];
            let (old, new) = (build(&old, 6), build(&new, 6));
            let mut told = Told::default();
            let archive = Archive::open(new.clone()).unwrap();
            let mut options = DiffOptions::default();
            options.only = Selection::new(["z"]).unwrap();
            let sides = (as_tar(&old, true), Listing::of(&archive, &mut ()).unwrap());
            let report = diff_archives(sides.0, sides.1, &options, &mut told).unwrap();
            assert_eq!(told.differences, [expected.replace('f', "z")], "{n} {m}");
            assert_eq!((report.failed, report.unrecorded), (0, 1), "times in whole seconds");
        }
    }
}

/// A second name of `f`.
fn other_name() -> Item {
    other("z", Kind::HardLink { target: "f".into() })
}

#[test]
fn contents_that_cannot_be_compared_are_not_the_same() {
    let mut content = vec![0; 1 << 20];
    content[5000..5010].copy_from_slice(b"0123456789");
    let old = build(&[file("f", &content)], 6);
    let mut new = build(&[sparse("f", &content, &[(5000, 10)])], 0);
    let at = new.windows(10).position(|window| window == b"0123456789").unwrap();
    new[at] ^= 1;
    let (old, new) = (Archive::open(old).unwrap(), Archive::open(new).unwrap());
    for (old, new) in [(&old, &new), (&new, &old)] {
        let mut told = Told::default();
        let sides = (Listing::of(old, &mut ()).unwrap(), Listing::of(new, &mut ()).unwrap());
        let report = diff_archives(sides.0, sides.1, &DiffOptions::default(), &mut told).unwrap();
        assert_eq!(told.differences, ["? f"]);
        assert_eq!((report.failed, report.unrecorded, told.failed.len()), (1, 1, 1));
    }
    // A tar whose contents were not digested, and a tree that is to be compared by contents.
    let tree = Tree::small();
    let mut options = tree.options();
    options.checksum = true;
    options.only = Selection::new(["a/b"]).unwrap();
    let mut told = Told::default();
    let report = diff_tree(as_tar(&tree.archive(), false), &options, &mut told).unwrap();
    assert!(told.differences[0].starts_with("? a/b"), "{:?}", told.differences);
    assert_eq!(report.unrecorded, 1);
}

#[test]
fn a_job_can_be_stopped() {
    struct Stop;
    impl Observer for Stop {
        fn cancelled(&self) -> bool {
            true
        }
    }
    let tree = Tree::small();
    let archive = Archive::open(tree.archive()).unwrap();
    let listing = Listing::of(&archive, &mut ()).unwrap();
    let result = diff_tree(listing, &tree.options(), &mut Stop);
    assert!(matches!(result, Err(Error::Cancelled)));
}

#[test]
fn holes_are_compared_where_they_are_stored_as_such() {
    use std::os::unix::fs::FileExt;
    let tree = Tree::new();
    let sparse = fs::File::create(tree.at("sparse")).unwrap();
    sparse.set_len(200 << 20).unwrap();
    sparse.write_all_at(b"data", 100 << 20).unwrap();
    tree.touch("sparse", 1);
    tree.settle();
    let archive = tree.archive();
    assert_eq!(tree.checksum(&archive), [""; 0]);
    for (offset, differs) in [(50 << 20, "C sparse"), (100 << 20, "C sparse digest")] {
        sparse.write_all_at(b"x", offset).unwrap();
        tree.touch("sparse", 1);
        assert_eq!(tree.checksum(&archive), [differs]);
        sparse.write_all_at(if offset == 50 << 20 { b"\0" } else { b"d" }, offset).unwrap();
        tree.touch("sparse", 1);
        assert_eq!(tree.checksum(&archive), [""; 0]);
    }
}

/// One change of a tree.
#[derive(Debug, Clone)]
enum Mutation {
    Remove,
    Grow,
    Touch,
    Chmod,
    Replace,
    AddBeside,
}

fn mutations() -> impl Strategy<Value = (Vec<u8>, BTreeMap<usize, Mutation>)> {
    let mutation = prop_oneof![
        Just(Mutation::Remove),
        Just(Mutation::Grow),
        Just(Mutation::Touch),
        Just(Mutation::Chmod),
        Just(Mutation::Replace),
        Just(Mutation::AddBeside),
    ];
    // Which directory each file is in, and what becomes of some of them.
    (
        proptest::collection::vec(0..5u8, 1..20),
        proptest::collection::btree_map(0..20usize, mutation, 0..8),
    )
}

const DIRECTORIES: [&str; 5] = ["", "a/", "a/b/", "a.b/", "c/"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn exactly_the_mutations_are_reported((places, mutations) in mutations()) {
        let tree = Tree::new();
        for directory in ["a/b", "a.b", "c"] {
            fs::create_dir_all(tree.at(directory)).unwrap();
        }
        let names: Vec<String> = places.iter().enumerate()
            .map(|(index, place)| format!("{}f{index}", DIRECTORIES[usize::from(*place)])).collect();
        for (index, name) in names.iter().enumerate() {
            if index % 5 == 4 {
                symlink("target", tree.at(name)).unwrap();
            } else {
                fs::write(tree.at(name), name).unwrap();
            }
            tree.touch(name, 1_600_000_000);
        }
        tree.settle();
        let archive = tree.archive();
        let mut expected = Vec::new();
        for (index, mutation) in &mutations {
            let Some(name) = names.get(*index) else { continue };
            let is_link = index % 5 == 4;
            let mut push = |line: String, path: String| {
                expected.push((isptar_core::MemberPath::new(path), line));
            };
            match mutation {
                Mutation::Remove => {
                    fs::remove_file(tree.at(name)).unwrap();
                    push(format!("- {name}"), name.clone());
                }
                Mutation::Grow if !is_link => {
                    fs::write(tree.at(name), format!("{name}+")).unwrap();
                    tree.touch(name, 1_600_000_000);
                    push(format!("C {name} size"), name.clone());
                }
                Mutation::Touch => {
                    tree.touch(name, 1_600_000_001);
                    let letter = if is_link { 'M' } else { '?' };
                    push(format!("{letter} {name} mtime"), name.clone());
                }
                Mutation::Chmod if !is_link => {
                    chmod(&tree.at(name), 0o4711);
                    push(format!("M {name} mode"), name.clone());
                }
                Mutation::Replace => {
                    fs::remove_file(tree.at(name)).unwrap();
                    fs::create_dir(tree.at(name)).unwrap();
                    fs::write(tree.at(name).join("x"), "").unwrap();
                    push(format!("C {name} type"), name.clone());
                    push(format!("+ {name}/x"), format!("{name}/x"));
                }
                _ => {
                    fs::write(tree.at(&format!("{name}.new")), "").unwrap();
                    push(format!("+ {name}.new"), format!("{name}.new"));
                }
            }
        }
        tree.settle();
        expected.sort();
        let expected: Vec<String> = expected.into_iter().map(|(_, line)| line).collect();
        prop_assert_eq!(tree.diff(&archive), &expected[..]);
        // And between the archives of both states, where digests tell a mere touch from a change.
        let after = tree.archive();
        let (old, new) = (Archive::open(archive).unwrap(), Archive::open(after).unwrap());
        let mut told = Told::default();
        let sides = (Listing::of(&old, &mut ()).unwrap(), Listing::of(&new, &mut ()).unwrap());
        diff_archives(sides.0, sides.1, &DiffOptions::default(), &mut told).unwrap();
        let expected: Vec<String> =
            expected.into_iter().map(|line| line.replace("? ", "M ")).collect();
        prop_assert_eq!(told.differences, expected);
    }
}
