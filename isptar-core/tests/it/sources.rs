//! Create while the tree changes under it.

use std::fs;
use std::path::Path;

use isptar_core::{
    Archive, ContentReader, CreateOptions, CreateReport, Kind, Observer, WriteSink, create,
};

/// Does something once, when the job asks for the given time whether it shall stop.
struct Meddler<F> {
    asked: std::cell::Cell<u32>,
    at: u32,
    meddle: F,
}

impl<F: Fn()> Observer for Meddler<F> {
    fn cancelled(&self) -> bool {
        // Asked twice for each thing: before it is looked at, and before it is opened.
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() == self.at {
            (self.meddle)();
        }
        false
    }
}

/// Archives a tree of `a`, `b` and `c`, which are one file, and `d`; `meddle` comes between finding
/// and opening `a`.
fn archive(meddle: impl Fn(&Path)) -> (CreateReport, Archive<Vec<u8>>) {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::write(at("a"), "shared").unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::hard_link(at("a"), at("c")).unwrap();
    fs::write(at("d"), "other").unwrap();
    let mut options = CreateOptions::default();
    options.directory = tree.path().to_path_buf();
    let mut bytes = Vec::new();
    let meddle = || meddle(tree.path());
    let mut observer = Meddler { asked: 0.into(), at: 4, meddle };
    let report =
        create(&mut WriteSink::new(&mut bytes), &[".".into()], &options, &mut observer).unwrap();
    (report, Archive::open(bytes).unwrap())
}

fn content(archive: &Archive<Vec<u8>>, name: &str) -> String {
    let entry = archive.find(&name.into()).unwrap().unwrap();
    let entry = archive.content_entry(&entry).unwrap();
    std::io::read_to_string(ContentReader::new(archive.member(&entry).unwrap())).unwrap()
}

fn is_link_to(archive: &Archive<Vec<u8>>, name: &str, target: &str) -> bool {
    let entry = archive.find(&name.into()).unwrap().unwrap();
    entry.kind == Kind::HardLink { target: target.into() }
}

#[test]
fn names_of_one_file_share_its_content() {
    let (report, archive) = archive(|_| {});
    assert_eq!((report.members, report.files, report.unreadable), (5, 2, 0));
    assert!(is_link_to(&archive, "b", "a") && is_link_to(&archive, "c", "a"));
    assert_eq!(content(&archive, "c"), "shared");
}

#[test]
fn a_first_name_that_is_replaced_takes_nothing_from_the_others() {
    let (report, archive) = archive(|tree| {
        fs::write(tree.join("new"), "replaced").unwrap();
        fs::rename(tree.join("new"), tree.join("a")).unwrap();
    });
    assert_eq!((report.members, report.unreadable), (5, 0));
    assert_eq!(content(&archive, "a"), "replaced");
    assert_eq!(content(&archive, "b"), "shared");
    assert!(is_link_to(&archive, "c", "b"));
}

#[test]
fn a_first_name_that_vanishes_leaves_the_content_to_the_others() {
    let (report, archive) = archive(|tree| fs::remove_file(tree.join("a")).unwrap());
    assert_eq!((report.vanished, report.unreadable), (1, 0));
    let lost = archive.find(&"a".into()).unwrap().unwrap().lost;
    assert_eq!(lost.as_deref(), Some("vanished"));
    assert_eq!(content(&archive, "b"), "shared");
    assert!(is_link_to(&archive, "c", "b"));
}

#[test]
fn a_first_name_that_is_no_file_any_more_is_told() {
    let (report, archive) = archive(|tree| {
        fs::remove_file(tree.join("a")).unwrap();
        std::os::unix::fs::symlink("b", tree.join("a")).unwrap();
    });
    assert_eq!(report.unreadable, 1);
    assert!(archive.info().incomplete);
    assert_eq!(content(&archive, "b"), "shared");
    assert!(is_link_to(&archive, "c", "b"));
}

#[test]
fn a_file_that_is_another_one_by_now_is_stored_as_it_is() {
    let (report, archive) = archive(|tree| {
        fs::write(tree.join("d"), "longer than before").unwrap();
    });
    assert_eq!((report.changed, report.unreadable), (0, 0));
    assert_eq!(content(&archive, "d"), "longer than before");
}
