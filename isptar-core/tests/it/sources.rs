//! Create while the tree changes under it.

use std::fs;
use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;

use isptar_core::{
    Archive, ContentReader, CreateOptions, CreateReport, Event, Kind, Observer, Selection,
    VerifyOptions, WriteSink, create, verify,
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
    archive_with(CreateOptions::default(), meddle)
}

fn archive_with(
    mut options: CreateOptions,
    meddle: impl Fn(&Path),
) -> (CreateReport, Archive<Vec<u8>>) {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::write(at("a"), "shared").unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::hard_link(at("a"), at("c")).unwrap();
    fs::write(at("d"), "other").unwrap();
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

/// What can happen to `a` and `d` until they are opened.
const MEDDLES: [fn(&Path); 4] = [
    |tree| fs::remove_file(tree.join("a")).unwrap(),
    |tree| {
        fs::remove_file(tree.join("a")).unwrap();
        fs::create_dir(tree.join("a")).unwrap();
    },
    |tree| {
        fs::write(tree.join("new"), "replaced").unwrap();
        fs::rename(tree.join("new"), tree.join("a")).unwrap();
    },
    // Later names of the set are found to be of another version.
    |tree| fs::write(tree.join("a"), super::support::noise(BIG, 9)).unwrap(),
];

#[test]
fn what_happens_to_members_of_a_group_is_told_as_if_they_had_their_own_streams() {
    for meddle in MEDDLES {
        let (alone, expected) = archive(meddle);
        for (threads, group) in [(1, 64 << 10), (2, 64 << 10), (7, 1 << 20), (2, 1), (1, 1536)] {
            let mut options = CreateOptions::default();
            options.threads = NonZero::new(threads);
            options.group_size = NonZero::new(group);
            let (report, archive) = archive_with(options, meddle);
            assert_eq!((report.members, report.bytes), (alone.members, alone.bytes));
            assert_eq!((report.unreadable, report.vanished), (alone.unreadable, alone.vanished));
            let listed = super::support::entries(&archive);
            assert_eq!(listed.len(), super::support::entries(&expected).len());
            for entry in listed {
                let other = expected.find(&entry.path).unwrap().unwrap();
                assert_eq!((&entry.kind, &entry.lost), (&other.kind, &other.lost));
                assert_eq!(entry.digest, other.digest);
            }
            let (all, options) = (Selection::default(), VerifyOptions::default());
            assert!(verify(&archive, &all, &options, &mut ()).unwrap().strays == 0);
        }
    }
}

#[test]
fn files_that_outgrow_their_group_are_stored_whole() {
    for len in [3000, 60_000, 1 << 20, BIG] {
        for threads in [1, 2] {
            let mut options = CreateOptions::default();
            (options.threads, options.group_size) = (NonZero::new(threads), NonZero::new(2560));
            let meddle = |tree: &Path| {
                let noise = super::support::noise(len, 9);
                fs::File::options().write(true).open(tree.join("b")).unwrap().write_all(&noise).unwrap();
            };
            let (_, archive) = archive_with(options, meddle);
            let entry = archive.find(&"a".into()).unwrap().unwrap();
            assert!(super::support::read(&archive, &entry).unwrap() == super::support::noise(len, 9));
            assert_eq!(content(&archive, "d"), "other");
            let (all, options) = (Selection::default(), VerifyOptions::default());
            assert!(verify(&archive, &all, &options, &mut ()).unwrap().is_good());
        }
    }
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

/// Does something once, when so many bytes of content were stored.
struct Midway<F> {
    left: u64,
    meddle: Option<F>,
    told: Vec<String>,
}

impl<F: FnOnce()> Observer for Midway<F> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Progress { bytes } => {
                self.left = self.left.saturating_sub(bytes);
                if let Some(meddle) = self.meddle.take_if(|_| self.left == 0) {
                    meddle();
                }
            }
            Event::Warning { path, warning } => self.told.push(format!("{path}: {warning}")),
            Event::Failed { path, error } => self.told.push(format!("{path}: {error}")),
            _ => {}
        }
    }
}

/// Size of a file that is read in four pieces.
const BIG: usize = (3 << 20) + 1000;

/// Archives a file of four chunks and one behind it; `meddle` comes after the first chunk.
fn archive_midway(meddle: impl FnOnce(&Path)) -> (CreateReport, Archive<Vec<u8>>, Vec<String>) {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("big"), super::support::noise(BIG, 5)).unwrap();
    fs::write(tree.path().join("next"), "next").unwrap();
    let mut options = CreateOptions::default();
    options.directory = tree.path().to_path_buf();
    // With more, the next chunks may have been read by then.
    options.threads = NonZero::new(1);
    let mut bytes = Vec::new();
    let meddle = Some(|| meddle(tree.path()));
    let mut observer = Midway { left: 1 << 20, meddle, told: Vec::new() };
    let report =
        create(&mut WriteSink::new(&mut bytes), &[".".into()], &options, &mut observer).unwrap();
    assert!(observer.meddle.is_none());
    (report, Archive::open(bytes).unwrap(), observer.told)
}

/// Returns what is stored of the big file, and whether it is marked as dirty.
fn stored(archive: &Archive<Vec<u8>>) -> (Vec<u8>, bool) {
    let entry = archive.find(&"big".into()).unwrap().unwrap();
    let header = archive.member(&entry).unwrap().header().clone();
    assert_eq!(header.kind, entry.kind);
    let content = super::support::read(archive, &entry).unwrap();
    assert_eq!(content.len() as u64, entry.kind.size());
    (content, entry.dirty)
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_filled_up_and_marked() {
    let (report, archive, told) = archive_midway(|tree| {
        fs::File::options().write(true).open(tree.join("big")).unwrap().set_len(1_500_000).unwrap();
    });
    assert_eq!((report.changed, report.unreadable), (1, 0));
    assert_eq!(told, ["big: changed while it was read"]);
    let (content, dirty) = stored(&archive);
    assert!(dirty && content.len() == BIG);
    assert!(content[..1_500_000] == super::support::noise(BIG, 5)[..1_500_000]);
    assert!(content[1_500_000..].iter().all(|&byte| byte == 0));
    assert_eq!(self::content(&archive, "next"), "next");
}

#[test]
fn a_file_that_grows_while_it_is_read_is_cut_and_marked() {
    let (report, archive, _) = archive_midway(|tree| {
        let mut file = fs::File::options().append(true).open(tree.join("big")).unwrap();
        std::io::Write::write_all(&mut file, &[1; 5000]).unwrap();
    });
    assert_eq!((report.changed, report.unreadable), (1, 0));
    let (content, dirty) = stored(&archive);
    assert!(dirty && content == super::support::noise(BIG, 5));
}

#[test]
fn a_file_that_is_rewritten_while_it_is_read_is_marked() {
    let (report, archive, _) = archive_midway(|tree| {
        fs::write(tree.join("big"), super::support::noise(BIG, 6)).unwrap();
    });
    assert_eq!((report.changed, report.unreadable), (1, 0));
    let (content, dirty) = stored(&archive);
    assert!(dirty && content.len() == BIG);
}

#[test]
fn a_file_that_loses_its_name_while_it_is_read_is_stored_whole() {
    let meddles: [fn(&Path); 2] = [
        |tree| fs::remove_file(tree.join("big")).unwrap(),
        |tree| {
            fs::remove_file(tree.join("big")).unwrap();
            fs::create_dir(tree.join("big")).unwrap();
        },
    ];
    for meddle in meddles {
        let (report, archive, _) = archive_midway(meddle);
        assert_eq!(report.unreadable, 0);
        // Its inode changed: it has no name any more.
        let (content, dirty) = stored(&archive);
        assert!(dirty && content == super::support::noise(BIG, 5));
    }
}

#[test]
fn a_file_that_is_no_file_any_more_is_told_and_nothing_hangs() {
    let meddles: [fn(&Path); 4] = [
        |place| fs::create_dir(place).unwrap(),
        |place| std::os::unix::fs::symlink("/dev/zero", place).unwrap(),
        |place| {
            let (kind, mode) = (rustix::fs::FileType::Fifo, 0o600.into());
            rustix::fs::mknodat(rustix::fs::CWD, place, kind, mode, 0).unwrap();
        },
        |place| drop(std::os::unix::net::UnixListener::bind(place).unwrap()),
    ];
    for meddle in meddles {
        let (report, archive) = archive(|tree| {
            fs::remove_file(tree.join("a")).unwrap();
            meddle(&tree.join("a"));
        });
        assert_eq!((report.unreadable, report.members), (1, 4));
        let lost = archive.find(&"a".into()).unwrap().unwrap().lost;
        assert_eq!(lost.as_deref(), Some("unreadable"));
        assert_eq!(content(&archive, "d"), "other");
    }
}

#[test]
fn a_small_file_is_stored_as_long_as_it_is_by_now() {
    for text in ["", "s", "longer than it was when it was found"] {
        let (report, archive) = archive(|tree| {
            fs::write(tree.join("d"), text).unwrap();
        });
        assert_eq!((report.changed, report.unreadable), (0, 0));
        assert_eq!(content(&archive, "d"), text);
        let entry = archive.find(&"d".into()).unwrap().unwrap();
        assert_eq!(archive.member(&entry).unwrap().header().kind, entry.kind);
        assert!(!entry.dirty);
    }
}

#[test]
fn what_the_system_gives_no_size_of_is_stored_as_it_is() {
    let mut options = CreateOptions::default();
    options.directory = "/proc/self".into();
    let mut bytes = Vec::new();
    let paths = ["limits".into(), "mem".into()];
    let report = create(&mut WriteSink::new(&mut bytes), &paths, &options, &mut ()).unwrap();
    // Memory cannot be read from its beginning.
    assert_eq!(report.unreadable, 1);
    let archive = Archive::open(bytes).unwrap();
    let wanted = fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(content(&archive, "limits"), wanted);
    let entry = archive.find(&"limits".into()).unwrap().unwrap();
    assert_eq!(entry.kind, Kind::File { size: wanted.len() as u64 });
}
