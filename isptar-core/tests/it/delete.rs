//! Restores over a tree that is there: what the archive does not list is deleted, with guards.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use isptar_core::{
    Archive, Error, Event, ExtractOptions, ExtractReport, MemberPath, Observer, Selection, extract,
};

use super::forge::Forge;
use super::support::{build, dir, file, link};

/// Names that were told to be removed.
#[derive(Default)]
struct Removed(Vec<String>);

impl Observer for Removed {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Removed { path } = event {
            self.0.push(path.to_string());
        }
    }
}

/// An archive of a small tree, with these changes to its listing.
fn archive(changes: &[(&str, &str)]) -> Archive<Vec<u8>> {
    let items = [
        dir("."),
        dir("d"),
        file("d/a", b"a"),
        dir("d/s"),
        file("d/s/x", b"x"),
        file("f", b"f"),
        link("l", "f"),
    ];
    let mut forge = Forge::of(&build(&items, 6));
    changes.iter().for_each(|(from, to)| forge.replace(from, to));
    Archive::open(forge.seal()).unwrap()
}

/// Makes a tree that has more, and other things in the way.
fn fill(root: &Path) {
    for path in ["d/old/deep", "d/s", "f/was/a/directory", "mine"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for path in ["d/b", "d/old/deep/file", "d/s/y", "f/was/a/file", "mine/own", "zz"] {
        fs::write(root.join(path), path).unwrap();
    }
    symlink("/", root.join("d/link")).unwrap();
    symlink("/", root.join("d/old/root")).unwrap();
}

fn options() -> ExtractOptions {
    let mut options = ExtractOptions::default();
    options.delete = true;
    options
}

fn restore(
    archive: &Archive<Vec<u8>>,
    paths: &[&str],
    root: &Path,
    options: &ExtractOptions,
) -> Result<(ExtractReport, Vec<String>), Error> {
    let (selection, mut removed) = (Selection::new(paths).unwrap(), Removed::default());
    let report = extract(archive, &selection, root, options, &mut removed)?;
    assert_eq!(report.deleted, removed.0.len() as u64);
    removed.0.sort_by_key(|path| MemberPath::from(path.as_str()));
    Ok((report, removed.0))
}

/// Returns all names below a directory.
fn names(root: &Path) -> Vec<String> {
    let found = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    let name = |entry: walkdir::DirEntry| {
        entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned()
    };
    found.into_iter().map(|entry| name(entry.unwrap())).collect()
}

const LISTED: [&str; 6] = ["d", "d/a", "d/s", "d/s/x", "f", "l"];

#[test]
fn what_is_not_listed_is_deleted_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let archive = archive(&[]);
    let mut dry = options();
    dry.dry_run = true;
    let before = names(root.path());
    let (_, would) = restore(&archive, &[], root.path(), &dry).unwrap();
    assert_eq!(names(root.path()), before);
    let (report, removed) = restore(&archive, &[], root.path(), &options()).unwrap();
    assert_eq!(would, removed);
    assert_eq!(names(root.path()), LISTED);
    assert_eq!((report.failed, report.spared), (0, false));
    // The time of a directory is that of its member, though things in it were deleted after.
    assert_eq!(fs::metadata(root.path().join("d")).unwrap().mtime(), 1_600_000_000);
    let (report, removed) = restore(&archive, &[], root.path(), &options()).unwrap();
    assert_eq!((report.deleted, removed.len()), (0, 0));
}

#[test]
fn only_what_was_asked_for_is_looked_at() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let (_, removed) = restore(&archive(&[]), &["d/s"], root.path(), &options()).unwrap();
    assert_eq!(removed, ["d/s/y"]);
    assert!(root.path().join("d/b").exists());
}

#[test]
fn lost_and_partial_directories_keep_what_they_have() {
    for (key, kept) in [
        ("partial=1", ["d", "d/a", "d/b", "d/link", "d/old", "d/s", "d/s/x"].as_slice()),
        ("lost=unreadable", &["d", "d/a", "d/b", "d/link", "d/old", "d/s", "d/s/x", "d/s/y"]),
    ] {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        let plain = archive(&[]);
        let entry = plain.find(&"d".into()).unwrap().unwrap();
        let mut text = Vec::new();
        entry.encode(plain.limits(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let marked = format!("{}\t{key}\n", text.trim_end_matches('\n'));
        let spoilt = archive(&[(&text, &marked)]);
        let (report, _) = restore(&spoilt, &[], root.path(), &options()).unwrap();
        assert_eq!(report.warnings, u64::from(key == "lost=unreadable"));
        let found = names(root.path());
        for name in kept {
            assert!(found.iter().any(|found| found == name), "{key}: {name} of {found:?}");
        }
        assert!(found.iter().any(|found| found == "d/old/deep/file"), "{key}");
        assert!(!found.iter().any(|found| found == "zz"), "{key}");
    }
}

#[test]
fn what_failed_spares_what_is_not_listed() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let plain = archive(&[]);
    let at = plain.find(&"d/a".into()).unwrap().unwrap().location.unwrap().offset;
    let wrong = archive(&[(&format!("\t0:1:{at}:0\t"), &format!("\t0:1:{}:0\t", at + 1))]);
    let (report, removed) = restore(&wrong, &[], root.path(), &options()).unwrap();
    assert!(report.spared && report.failed == 1);
    // What was in the way was not spared.
    assert!(removed.iter().all(|path| path == "f" || path.starts_with("f/")), "{removed:?}");
    assert!(root.path().join("zz").exists());
}

#[test]
fn the_archive_itself_stays() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let own = fs::metadata(root.path().join("d/old/deep/file")).unwrap();
    let mut options = options();
    options.own_files = vec![(own.dev(), own.ino())];
    restore(&archive(&[]), &[], root.path(), &options).unwrap();
    let left = ["d/old", "d/old/deep", "d/old/deep/file"];
    let expected = [&LISTED[..2], &left, &LISTED[2..]].concat();
    assert_eq!(names(root.path()), expected);
}

#[test]
fn names_that_do_not_tell_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut stripped = options();
    stripped.strip_components = 1;
    let refused = restore(&archive(&[]), &[], root.path(), &stripped);
    assert!(matches!(refused, Err(Error::NoDelete(_))));
}
