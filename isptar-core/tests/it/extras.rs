//! What takes part in a create job beside the files of the tree: hooks and supplies.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use isptar_core::create::{Hook, Stage, plan_with};
use isptar_core::{
    Archive, CreateOptions, CreateReport, Entry, Error, Event, Extras, Kind, MemberHeader,
    Observer, Result, Selection, Timestamp, VerifyOptions, WriteSink, create_with, verify,
};

use super::support::{entries, noise, read};

/// Does in the tree what a hook is there for, and writes down when it was called.
struct Meddler<'t, F> {
    name: &'static str,
    calls: &'t RefCell<Vec<String>>,
    meddle: F,
}

impl<F: FnMut(Stage) -> io::Result<()>> Hook for Meddler<'_, F> {
    fn call(&mut self, stage: Stage) -> io::Result<()> {
        self.calls.borrow_mut().push(format!("{stage:?} {}", self.name));
        (self.meddle)(stage)
    }
}

/// Stops the job when a member was stored.
struct StopAt(&'static str, bool);

impl Observer for StopAt {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Done { entry } = event {
            self.1 |= entry.path.to_string() == self.0;
        }
    }

    fn cancelled(&self) -> bool {
        self.1
    }
}

fn options(tree: &Path, threads: usize) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.directory = tree.to_path_buf();
    options.threads = NonZero::new(threads);
    options
}

fn archive(
    options: &CreateOptions,
    paths: &[&str],
    extras: Extras<'_>,
) -> Result<(CreateReport, Vec<u8>)> {
    let mut bytes = Vec::new();
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let sink = &mut WriteSink::new(&mut bytes);
    let report = create_with(sink, &paths, options, extras, &mut ())?;
    Ok((report, bytes))
}

fn header() -> MemberHeader {
    let mut header = MemberHeader::new("", Kind::Fifo);
    (header.mode, header.uid) = (0o600, 7);
    header.mtime = Timestamp::new(1_700_000_000, 0);
    header
}

fn listed(bytes: &[u8]) -> Vec<Entry> {
    let archive = Archive::open(bytes).unwrap();
    let options = VerifyOptions::default();
    assert!(verify(&archive, &Selection::default(), &options, &mut ()).unwrap().is_good());
    entries(&archive)
}

#[test]
fn files_are_there_only_between_the_calls_of_their_hook() {
    for (threads, group) in [(1, 0), (2, 0), (7, 0), (2, 1 << 20)] {
        let tree = tempfile::tempdir().unwrap();
        for dir in ["a", "db", "z"] {
            fs::create_dir(tree.path().join(dir)).unwrap();
            fs::write(tree.path().join(dir).join("own"), "own").unwrap();
        }
        let file = |number: usize| tree.path().join(format!("db/f{number}"));
        let calls = RefCell::new(Vec::new());
        let meddle = |stage| {
            for number in 0..300 {
                match stage {
                    Stage::Before => fs::write(file(number), noise(5000, number as u64))?,
                    Stage::After => fs::remove_file(file(number))?,
                }
            }
            Ok(())
        };
        let mut extras = Extras::default();
        extras.add_hook(Path::new("/db"), Meddler { name: "db", calls: &calls, meddle }).unwrap();
        let mut options = options(tree.path(), threads);
        options.group_size = NonZero::new(group);
        let (report, bytes) = archive(&options, &["."], extras).unwrap();
        assert_eq!((report.files, report.vanished, report.changed), (303, 0, 0));
        assert_eq!(*calls.borrow(), ["Before db", "After db"]);
        assert_eq!(listed(&bytes).len(), 307);
    }
}

#[test]
fn a_hook_that_was_called_before_is_called_after_whatever_happens() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("a/b")).unwrap();
    fs::write(tree.path().join("a/b/f"), "f").unwrap();
    fs::write(tree.path().join("a/c"), "c").unwrap();
    let run = |fails: &'static str, stop: &'static str| {
        let calls = RefCell::new(Vec::new());
        let mut extras = Extras::default();
        for name in ["a", "a/b"] {
            let meddle = move |stage| match format!("{stage:?} {name}") == fails {
                true => Err(io::Error::other("no")),
                false => Ok(()),
            };
            let meddler = Meddler { name, calls: &calls, meddle };
            extras.add_hook(Path::new(name), meddler).unwrap();
        }
        let mut bytes = Vec::new();
        let sink = &mut WriteSink::new(&mut bytes);
        let (options, observer) = (options(tree.path(), 2), &mut StopAt(stop, false));
        let error = create_with(sink, &["a".into()], &options, extras, observer).unwrap_err();
        (error.to_string(), calls.into_inner())
    };
    let (error, calls) = run("Before a/b", "");
    assert_eq!(error, "the program before the files under a/b failed");
    assert_eq!(calls, ["Before a", "Before a/b", "After a"]);
    let (error, calls) = run("After a/b", "");
    assert_eq!(error, "the program after the files under a/b failed");
    assert_eq!(calls, ["Before a", "Before a/b", "After a/b", "After a"]);
    let (error, calls) = run("", "a/b");
    assert_eq!(error, "interrupted");
    assert_eq!(calls, ["Before a", "Before a/b", "After a/b", "After a"]);
}

#[test]
fn what_is_gone_hides_no_hook_and_no_supply() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("b"), "b").unwrap();
    let calls = RefCell::new(Vec::new());
    let mut extras = Extras::default();
    extras
        .add_hook("b".as_ref(), Meddler { name: "b", calls: &calls, meddle: |_| Ok(()) })
        .unwrap();
    extras.add_supply("ab".as_ref(), header(), io::empty(), None).unwrap();
    let (report, bytes) = archive(&options(tree.path(), 2), &["a", "b"], extras).unwrap();
    assert_eq!((report.unreadable, report.warnings), (1, 0));
    assert_eq!(*calls.borrow(), ["Before b", "After b"]);
    assert_eq!(listed(&bytes).len(), 2);
}

#[test]
fn a_hook_for_nothing_is_told() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("f"), "f").unwrap();
    let calls = RefCell::new(Vec::new());
    let extras = || {
        let mut extras = Extras::default();
        let meddler = Meddler { name: "g", calls: &calls, meddle: |_| Ok(()) };
        extras.add_hook(Path::new("g"), meddler).unwrap();
        extras
    };
    let options = options(tree.path(), 1);
    assert_eq!(archive(&options, &["."], extras()).unwrap().0.warnings, 1);
    assert_eq!(plan_with(&[".".into()], &options, &mut extras(), &mut ()).unwrap().warnings, 1);
    assert!(calls.borrow().is_empty());
}

const MIB: usize = 1 << 20;

#[test]
fn content_of_any_length_becomes_the_same_member_on_any_number_of_threads() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("m"), "of the tree").unwrap();
    for len in [0, 1, 511, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB + 77] {
        let content = noise(len, 3);
        let make = |threads| {
            let mut extras = Extras::default();
            for name in ["a/dump", "z"] {
                let path = Path::new(name);
                extras.add_supply(path, header(), content.as_slice(), None).unwrap();
            }
            archive(&options(tree.path(), threads), &["m"], extras).unwrap().1
        };
        let bytes = make(1);
        assert!(make(4) == bytes, "{len}");
        let entries = listed(&bytes);
        let names: Vec<_> = entries.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(names, ["a/dump", "m", "z"]);
        for entry in [&entries[0], &entries[2]] {
            assert_eq!((entry.mode, entry.uid, entry.ino), (0o600, 7, None));
            assert_eq!((entry.mtime, entry.ctime), (Some(header().mtime), None));
            let archive = Archive::open(bytes.as_slice()).unwrap();
            assert!(read(&archive, entry).unwrap() == content, "{len}");
            assert_eq!(entry.chunks.is_some(), len > MIB, "{len}");
        }
    }
}

#[test]
fn content_in_parts_is_cut_at_their_size() {
    let tree = tempfile::tempdir().unwrap();
    for (len, size, expected) in [
        (0, 10, vec![0]),
        (10, 10, vec![10]),
        (25, 10, vec![10, 10, 5]),
        (MIB + 5, MIB, vec![MIB, 5]),
        (5 * MIB, 2 * MIB + 1, vec![2 * MIB + 1, 2 * MIB + 1, MIB - 2]),
    ] {
        let content = noise(len, 4);
        let mut extras = Extras::default();
        let size = NonZero::new(size as u64);
        extras.add_supply(Path::new("d"), header(), content.as_slice(), size).unwrap();
        let (_, bytes) = archive(&options(tree.path(), 2), &[], extras).unwrap();
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let mut whole = Vec::new();
        for (number, entry) in listed(&bytes).iter().enumerate() {
            assert_eq!(entry.path.to_string(), format!("d.{number:03}"));
            assert_eq!(entry.kind.size(), expected[number] as u64);
            whole.extend(read(&archive, entry).unwrap());
        }
        assert!(whole == content);
    }
    let mut extras = Extras::default();
    let size = NonZero::new(1);
    extras.add_supply(Path::new("d"), header(), io::repeat(0).take(1001), size).unwrap();
    let error = archive(&options(tree.path(), 2), &[], extras).unwrap_err();
    let Error::Supply { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.to_string(), "it has more than 1000 parts of 1 bytes");
}

/// Gives bytes, and then fails.
struct Failing(u64);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match io::repeat(b'x').take(self.0).read(buffer)? {
            0 => Err(io::Error::other("status 3")),
            count => {
                self.0 -= count as u64;
                Ok(count)
            }
        }
    }
}

#[test]
fn content_that_fails_ends_the_job() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("a"), "a").unwrap();
    for len in [0, 5, 3 << 20] {
        let mut extras = Extras::default();
        extras.add_supply(Path::new("d"), header(), Failing(len), None).unwrap();
        let error = archive(&options(tree.path(), 2), &["a"], extras).unwrap_err();
        assert_eq!(error.to_string(), "cannot get the content of d");
        assert!(matches!(error, Error::Supply { .. }));
    }
}

#[test]
fn a_name_that_the_tree_has_is_refused() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("d")).unwrap();
    for name in ["d", "d/x"] {
        fs::write(tree.path().join("d/x"), "x").unwrap();
        let mut extras = Extras::default();
        extras.add_supply(Path::new(name), header(), io::empty(), None).unwrap();
        let options = options(tree.path(), 2);
        let planned = plan_with(&["d".into()], &options, &mut extras, &mut ());
        for result in [planned.map(drop), archive(&options, &["d"], extras).map(drop)] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::BadSource { .. }), "{error}");
        }
    }
}
