//! Any number of threads restores the same, and tells the same in the same order.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::listed_tests::{
    Bytes, Run, archive_of, describe, dir, file, hard, header, link, open_closed, plant, write,
};
use super::tests::Told;
use super::*;
use crate::format::entry::Kind;
use crate::format::member::MemberHeader;
use crate::observe::{Event, Observer};

type Members<'a> = Vec<(MemberHeader, &'a [u8])>;

fn counts() -> [Option<NonZero<usize>>; 3] {
    [1, 2, 7].map(NonZero::new)
}

/// Restores by each number of threads, `prepare`d targets if that is said; returns what came of it,
/// which must be one and the same.
fn restore(
    archive: &Archive<Bytes>,
    options: &ExtractOptions,
    prepare: impl Fn(&Path),
) -> (Run, ExtractReport) {
    let runs = counts().map(|threads| {
        let mut run = Run::new();
        run.options = ExtractOptions { threads, ..options.clone() };
        fs::create_dir(run.path("")).unwrap();
        prepare(&run.path(""));
        let report = run.extract(archive, &[]);
        (run, report)
    });
    let [(run, report), others @ ..] = runs;
    for (other, its) in others {
        assert_eq!(its, report);
        assert_eq!(other.told.lines, run.told.lines);
        assert_eq!(other.told.progress, run.told.progress);
        let (tree, expected) = (described(&other), described(&run));
        let differ = tree.iter().zip(&expected).find(|(some, other)| some != other);
        assert_eq!((tree.len(), differ), (expected.len(), None));
    }
    (run, report)
}

/// Describes what was restored; the time of this test, which things have that no member is, is one.
fn described(run: &Run) -> BTreeMap<PathBuf, String> {
    let mut tree = describe(&run.path(""));
    for text in tree.values_mut() {
        let mut fields: Vec<&str> = text.splitn(4, ' ').collect();
        if fields[2] != "0.000000000" {
            fields[2] = "now";
        }
        *text = fields.join(" ");
    }
    tree
}

/// Some thousand small files, big ones, links and directories, some of them damaged by `spoil`.
fn members<'a>(small: &'a [u8], big: &'a [u8]) -> Members<'a> {
    let mut members = vec![dir(".", 0o755)];
    for directory in 0..20 {
        members.push(dir(&format!("d{directory:02}"), 0o750));
        for number in 0..120 {
            let len = (directory * 120 + number) % small.len();
            members.push(file(&format!("d{directory:02}/f{number:03}"), &small[..len]));
        }
        if directory % 7 == 3 {
            members.push(file(&format!("d{directory:02}/g"), &big[directory..]));
        }
        members.push(hard(&format!("d{directory:02}/h"), &format!("d{directory:02}/f007")));
        members.push(link(&format!("d{directory:02}/l"), "f001"));
        members.push(dir(&format!("d{directory:02}/m"), 0o700));
        members.push(file(&format!("d{directory:02}/m/n"), b"below"));
    }
    members
}

fn contents() -> (Vec<u8>, Vec<u8>) {
    let small = (0..5000u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
    let big = (0..2_500_000u32).map(|n| u8::try_from(n / 3 % 253).unwrap()).collect();
    (small, big)
}

#[test]
fn trees_are_equal() {
    let (small, big) = contents();
    for sorted in [true, false] {
        let archive = write(&members(&small, &big), sorted);
        let (run, report) = restore(&archive, &ExtractOptions::default(), |_| {});
        assert_eq!((report.failed, report.warnings), (0, 0), "{:?}", run.told.lines);
        assert_eq!(report.members, 1 + 20 * 125 + 3);
        assert_eq!(run.told.progress, report.bytes);
        assert_eq!(fs::read(run.path("d03/g")).unwrap(), big[3..]);
        assert_eq!(fs::read(run.path("d19/f119")).unwrap(), small[..2399]);
    }
}

#[test]
fn damage_is_told_in_order_and_costs_only_what_is_damaged() {
    let (small, big) = contents();
    let archive = write(&members(&small, &big), true);
    let entries: Vec<_> = archive.entries().collect::<Result<_>>().unwrap();
    let mut spoiled = archive.into_source();
    let mut lost = 0;
    for entry in entries.iter().skip(5).step_by(37) {
        let range = entry.claimed_range();
        let at = usize::try_from((range.start + range.end) / 2).unwrap();
        spoiled[at] ^= 0x10;
        lost += 1;
    }
    let archive = Archive::open(spoiled).unwrap();
    let (run, report) = restore(&archive, &ExtractOptions::default(), |_| {});
    assert!(report.failed >= lost && report.failed < lost + 10, "{} {lost}", report.failed);
    let failed = run.told.lines.iter().filter(|line| line.starts_with("failed")).count();
    assert_eq!(failed as u64, report.failed);
}

#[test]
fn what_stands_there_is_treated_alike() {
    let (small, big) = contents();
    let archive = write(&members(&small, &big), true);
    let modes = [Overwrite::Never, Overwrite::Always, Overwrite::Newer, Overwrite::Different];
    for overwrite in modes {
        let options = ExtractOptions { overwrite, ..ExtractOptions::default() };
        let (run, report) = restore(&archive, &options, |target| {
            for directory in 0..20 {
                let directory = target.join(format!("d{directory:02}"));
                fs::create_dir(&directory).unwrap();
                for name in ["f000", "f050", "f100", "g", "l"] {
                    fs::write(directory.join(name), "theirs").unwrap();
                }
                fs::create_dir(directory.join("f003")).unwrap();
            }
        });
        assert_eq!(report.failed, 20, "{:?}", run.told.lines);
        let kept = if overwrite == Overwrite::Never { 83 } else { 0 };
        if matches!(overwrite, Overwrite::Never | Overwrite::Always) {
            assert_eq!(report.kept, kept);
        }
        let theirs = fs::read(run.path("d00/f050")).unwrap() == b"theirs";
        // What was written just now is newer than the members.
        assert_eq!(theirs, matches!(overwrite, Overwrite::Never | Overwrite::Newer));
    }
}

#[test]
fn names_that_meet_after_stripping_come_in_order() {
    let archive = write(
        &[
            dir("a", 0o755),
            file("a/f", b"first"),
            file("a/g", b"a file"),
            dir("a/h", 0o700),
            file("a/h/x", b"below"),
            dir("b", 0o755),
            file("b/f", b"second"),
            file("b/g/x", b"g is a file"),
            file("b/h", b"h is a directory"),
        ],
        true,
    );
    for (overwrite, content) in [(Overwrite::Always, "second"), (Overwrite::Never, "first")] {
        let options =
            ExtractOptions { overwrite, strip_components: 1, ..ExtractOptions::default() };
        let (run, report) = restore(&archive, &options, |_| {});
        assert_eq!(fs::read_to_string(run.path("f")).unwrap(), content);
        assert_eq!(fs::read(run.path("g")).unwrap(), b"a file");
        assert!(run.path("h").is_dir());
        let in_the_way: Vec<&String> =
            run.told.lines.iter().filter(|line| line.contains("in the way")).collect();
        assert_eq!((in_the_way.len(), report.failed), (2, 2));
    }
}

#[test]
fn a_file_with_things_below_it_comes_before_them() {
    let mut members = Vec::new();
    for name in ["a", "a/b", "c", "d", "d/e/f"] {
        members.push(file(name, b"content"));
    }
    let (run, report) = restore(&write(&members, true), &ExtractOptions::default(), |_| {});
    assert_eq!(report.failed, 2, "{:?}", run.told.lines);
    assert!(run.path("a").is_file() && run.path("d").is_file());
}

#[test]
fn members_that_look_like_temporary_files_are_no_ones_temporary_file() {
    let names: Vec<String> = (0..300).map(|number| format!("d/f{number:03}")).collect();
    let mut members = vec![dir("d", 0o755)];
    let temporary: Vec<String> = names
        .iter()
        .flat_map(|name| {
            let name = name.strip_prefix("d/").unwrap().as_bytes();
            let first = super::made::temporary_name_of(name, 0);
            [format!("d/{}", String::from_utf8(first).unwrap())]
        })
        .collect();
    for name in temporary.iter().chain(&names) {
        members.push(file(name, name.as_bytes()));
    }
    members.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    for fresh in [true, false] {
        let (run, report) = restore(&write(&members, true), &ExtractOptions::default(), |target| {
            if !fresh {
                fs::create_dir(target.join("d")).unwrap();
            }
        });
        assert_eq!((report.failed, run.told.lines.len()), (0, 0), "{:?}", run.told.lines);
        for name in temporary.iter().chain(&names) {
            assert_eq!(fs::read_to_string(run.path(name)).unwrap(), *name);
        }
        assert_eq!(fs::read_dir(run.path("d")).unwrap().count(), 600);
    }
}

#[test]
fn special_files_and_warnings_are_alike() {
    let mut members = vec![dir("d", 0o755)];
    for number in 0..200 {
        members.push((header(&format!("d/p{number:03}"), Kind::Fifo, 0o640), &b""[..]));
    }
    for number in 0..200 {
        let mut odd = file(&format!("d/q{number:03}"), b"x");
        // No system has such an id.
        odd.0.uid = 1 << 40;
        members.push(odd);
    }
    let options = ExtractOptions { owner: true, numeric_owner: true, ..ExtractOptions::default() };
    let (run, report) = restore(&write(&members, true), &options, |_| {});
    assert_eq!((report.failed, report.members), (0, 401), "{:?}", run.told.lines);
    assert!(report.warnings >= 200);
}

/// Bytes that a file really takes.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn holes_attributes_and_links_are_alike() {
    let source = tempfile::tempdir().unwrap();
    plant(source.path());
    // A hole of more than 64 MiB is stored as one, a smaller one is zeros.
    for (name, len, at) in [("sparse", 80 << 20, 70 << 20), ("zeros", 20 << 20, 5 << 20)] {
        let file = fs::File::create(source.path().join(name)).unwrap();
        file.set_len(len).unwrap();
        file.write_all_at(&vec![7; 3 << 20], at).unwrap();
    }
    fs::File::create(source.path().join("hole")).unwrap().set_len(70 << 20).unwrap();
    let archive = Archive::open(archive_of(source.path())).unwrap();
    for threads in counts() {
        let mut run = Run::new();
        run.options.threads = threads;
        let report = run.extract(&archive, &[]);
        assert_eq!((report.failed, report.warnings), (0, 0), "{:?}", run.told.lines);
        assert_eq!(run.told.progress, report.bytes);
        for root in [source.path(), &run.path("")] {
            open_closed(root);
        }
        assert_eq!(describe(&run.path("")), describe(source.path()));
        for (name, most) in [("sparse", 4 << 20), ("zeros", 4 << 20), ("hole", 1 << 20)] {
            assert!(taken(&run.path(name)) < most, "{name}");
        }
    }
}

#[test]
fn a_job_that_is_stopped_leaves_whole_files_and_nothing_else() {
    let (small, big) = contents();
    let archive = write(&members(&small, &big), true);
    for threads in counts() {
        for stop in [1, 1 << 20, 8 << 20] {
            let run = Run::new();
            let options = ExtractOptions { threads, ..ExtractOptions::default() };
            let mut told = Told { stop_after: Some(stop), ..Told::default() };
            let all = Selection::new([""; 0]).unwrap();
            let result = extract(&archive, &all, &run.path(""), &options, &mut told);
            assert!(matches!(result, Err(Error::Cancelled)));
            for found in walkdir::WalkDir::new(run.path("")) {
                let found = found.unwrap();
                let name = found.file_name().to_str().unwrap();
                assert!(!name.starts_with(".isptar-"), "{name}");
                if found.file_type().is_file() && name == "g" {
                    assert!(found.metadata().unwrap().len() > 2_499_900);
                }
            }
        }
    }
}

/// Asks to stop after so many members, and must hear nothing more.
struct Stopper {
    done: u64,
    stop_after: u64,
}

impl Observer for Stopper {
    fn event(&mut self, event: Event<'_>) {
        assert!(!self.cancelled(), "{event:?}");
        self.done += u64::from(matches!(event, Event::Done { .. }));
    }

    fn cancelled(&self) -> bool {
        self.done >= self.stop_after
    }
}

#[test]
fn who_cancels_hears_nothing_more() {
    let (small, big) = contents();
    let archive = write(&members(&small, &big), true);
    for threads in counts() {
        for stop_after in [1, 500, 501, 2000] {
            let run = Run::new();
            let options = ExtractOptions { threads, ..ExtractOptions::default() };
            let mut stopper = Stopper { done: 0, stop_after };
            let all = Selection::new([""; 0]).unwrap();
            let result = extract(&archive, &all, &run.path(""), &options, &mut stopper);
            assert!(matches!(result, Err(Error::Cancelled)));
            assert_eq!(stopper.done, stop_after);
        }
    }
}

#[test]
fn what_is_no_file_is_told_while_the_job_runs() {
    let names: Vec<String> = (0..5000).map(|number| format!("{number:04}")).collect();
    let members: Members<'_> = names.iter().map(|name| dir(name, 0o755)).collect();
    let archive = write(&members, true);
    let run = Run::new();
    let threads = NonZero::new(1);
    let options = ExtractOptions { threads, ..ExtractOptions::default() };
    let mut stopper = Stopper { done: 0, stop_after: 1 };
    let all = Selection::new([""; 0]).unwrap();
    let result = extract(&archive, &all, &run.path(""), &options, &mut stopper);
    assert!(matches!(result, Err(Error::Cancelled)));
    // A batch, and not all of them.
    assert!(fs::read_dir(run.path("")).unwrap().count() < 2000);
}
