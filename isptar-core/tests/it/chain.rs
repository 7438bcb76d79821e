//! Incremental archives: members in bases, read from where their bytes are.

use std::sync::atomic::{AtomicUsize, Ordering};

use isptar_core::format::tables::Base;
use isptar_core::{
    Archive, BaseListing, BaseProblem, CreateOptions, Entry, Error, Event, ExtractOptions, Extras,
    Limits, Location, Observer, Selection, VerifyOptions, VerifyReport, WriteSink, create_with,
    extract, verify,
};

use super::forge::{Forge, deflated, tar_of};
use super::support::{build, dir, entries, file, noise, read};

/// One archive of a chain, in memory.
#[derive(Debug, Clone)]
struct Link {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Link {
    fn identity(&self) -> [u8; 32] {
        self.open().identity().unwrap()
    }

    fn open(&self) -> Archive<Vec<u8>> {
        Archive::open(self.bytes.clone()).unwrap()
    }
}

/// Returns the lines that stand for the bases of an archive whose bases are `chain`, nearest first.
fn base_lines(chain: &[&Link]) -> Vec<Base> {
    let line = |(depth, link): (u32, &&Link)| Base {
        depth,
        identity: link.identity(),
        name: link.name.into(),
    };
    (1..).zip(chain).map(line).collect()
}

/// Makes an incremental archive: what `base` has, except for the names in `gone`, with `new` files
/// and those that replace others.
fn increment(chain: &[&Link], name: &'static str, gone: &[&str], new: &[(&str, &[u8])]) -> Link {
    let base = chain[0].open();
    let mut forge = Forge::empty();
    let mut lines: Vec<Entry> = entries(&base)
        .into_iter()
        .filter(|entry| {
            !gone
                .iter()
                .chain(new.iter().map(|(path, _)| path))
                .any(|path| entry.path == (*path).into())
        })
        .map(|mut entry| {
            let location = entry.location.as_mut().unwrap();
            location.depth += 1;
            entry
        })
        .collect();
    for (path, data) in new {
        let item = file(path, data);
        let stream = deflated(&tar_of(&item.header, data));
        let offset = forge.data.len() as u64;
        let built = build(std::slice::from_ref(&item), 6);
        let archive = Archive::open(built).unwrap();
        let mut entry = archive.find(&item.header.path).unwrap().unwrap();
        entry.location = Some(Location { depth: 0, slice: 1, offset, zoffset: 0 });
        entry.packed = Some(stream.len() as u64);
        forge.data.extend_from_slice(&stream);
        lines.push(entry);
    }
    lines.sort_by(|a, b| a.path.cmp(&b.path));
    let mut text = Vec::new();
    lines.iter().for_each(|entry| entry.encode(&Limits::default(), &mut text).unwrap());
    text.push(b'\n');
    forge.set_listing(std::str::from_utf8(&text).unwrap());
    forge.force_tables = true;
    let bases = base_lines(chain);
    Link { name, bytes: forge.seal_with(&|tables| tables.bases.clone_from(&bases), &|_| {}) }
}

/// A full archive with a big file, and two incremental ones on it.
fn chain() -> [Link; 3] {
    let big = noise(3 << 20, 5);
    let items = [
        dir("d"),
        file("d/a", b"first a"),
        file("d/b", b"first b"),
        file("d/big", &big),
        file("e", b"first e"),
        file("f", b"first f"),
    ];
    let full = Link { name: "full.tgz", bytes: build(&items, 6) };
    let one = increment(&[&full], "one.tgz", &["f"], &[("d/b", b"second b"), ("d/c", b"first c")]);
    let two = increment(&[&one, &full], "two.tgz", &["e"], &[("d/b", b"third b!")]);
    [full, one, two]
}

/// What a job told.
#[derive(Default)]
struct Heard {
    wrong: Vec<String>,
}

impl Observer for Heard {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Failed { error, .. } | Event::Damaged { error, .. } = event {
            self.wrong.push(shown(error));
        }
    }
}

/// Returns an error with its causes.
fn shown(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn verified(archive: &Archive<Vec<u8>>, quick: bool) -> (VerifyReport, Vec<String>) {
    let mut heard = Heard::default();
    let mut options = VerifyOptions::default();
    options.quick = quick;
    let report = verify(archive, &Selection::default(), &options, &mut heard).unwrap();
    (report, heard.wrong)
}

const TREE: [(&str, &[u8]); 3] = [("d/a", b"first a"), ("d/b", b"third b!"), ("d/c", b"first c")];

/// Opens the last archive of the chain, with its bases.
fn opened([full, one, two]: &[Link; 3]) -> Archive<Vec<u8>> {
    let mut archive = two.open();
    archive.attach_bases(vec![one.open(), full.open()]).unwrap();
    archive
}

#[test]
fn every_member_is_read_from_where_it_is() {
    let links = chain();
    let archive = opened(&links);
    for (path, data) in TREE {
        let entry = archive.find(&path.into()).unwrap().unwrap();
        assert_eq!(read(&archive, &entry).unwrap(), data, "{path}");
    }
    let big = archive.find(&"d/big".into()).unwrap().unwrap();
    assert_eq!(big.depth(), 2);
    let mut part = Vec::new();
    archive.copy_range(&big, 1_500_000, 1_500_100, &mut part).unwrap();
    assert_eq!(part, noise(3 << 20, 5)[1_500_000..1_500_100]);
    assert!(archive.find(&"e".into()).unwrap().is_none());
    let depths: Vec<u32> = entries(&archive).iter().map(Entry::depth).collect();
    assert_eq!(depths, [2, 2, 0, 2, 1]);
    assert_eq!(archive.at_depth(2).unwrap().identity().unwrap(), links[0].identity());
}

#[test]
fn a_restored_chain_is_the_tree_of_its_day() {
    let archive = opened(&chain());
    for threads in [1, 3] {
        let target = tempfile::tempdir().unwrap();
        let mut options = ExtractOptions::default();
        options.threads = std::num::NonZero::new(threads);
        let (all, observer) = (Selection::default(), &mut Heard::default());
        let report = extract(&archive, &all, target.path(), &options, observer).unwrap();
        assert_eq!((report.members, report.failed), (5, 0));
        for (path, data) in TREE {
            assert_eq!(std::fs::read(target.path().join(path)).unwrap(), data, "{path}");
        }
        assert_eq!(std::fs::read(target.path().join("d/big")).unwrap(), noise(3 << 20, 5));
        assert!(!target.path().join("e").exists());
    }
}

#[test]
fn bases_are_looked_for_once_and_only_when_a_member_needs_them() {
    static LOOKED: AtomicUsize = AtomicUsize::new(0);
    let links = chain();
    let mut archive = links[2].open();
    let bases = links.clone();
    archive.find_bases(Box::new(move |base| {
        LOOKED.fetch_add(1, Ordering::Relaxed);
        let found = bases.iter().find(|link| link.name.as_bytes() == base.name);
        Ok(found.unwrap().open())
    }));
    let entry = |path: &str| archive.find(&path.into()).unwrap().unwrap();
    read(&archive, &entry("d/b")).unwrap();
    assert_eq!(LOOKED.load(Ordering::Relaxed), 0);
    read(&archive, &entry("d/a")).unwrap();
    read(&archive, &entry("d/a")).unwrap();
    assert_eq!(LOOKED.load(Ordering::Relaxed), 1);
    read(&archive, &entry("d/c")).unwrap();
    assert_eq!(LOOKED.load(Ordering::Relaxed), 2);
}

#[test]
fn a_wrong_base_is_refused_with_both_identities() {
    let links = chain();
    let identity = |link: &Link| isptar_core::format::text::digest_text(&link.identity());
    let [full, one, two] = &links;
    let error = two.open().attach_bases(vec![full.open(), one.open()]).unwrap_err();
    let text = shown(&error);
    assert!(text.starts_with("base one.tgz with the identity "), "{text}");
    for needed in [identity(one), identity(full)] {
        assert!(text.contains(&needed), "{text}");
    }
    let mut archive = two.open();
    let wrong = full.clone();
    archive.find_bases(Box::new(move |_| Ok(wrong.open())));
    assert_eq!(archive.at_depth(2).unwrap().identity().unwrap(), full.identity());
    assert!(shown(&archive.at_depth(1).unwrap_err()).contains(&identity(full)));
}

#[test]
fn without_a_base_nothing_is_restored_unless_that_is_asked_for() {
    let [_, one, two] = chain();
    let mut archive = two.open();
    archive.attach_bases(vec![one.open()]).unwrap();
    let target = tempfile::tempdir().unwrap();
    let mut options = ExtractOptions::default();
    let restore = |options: &ExtractOptions, paths: &[&str]| {
        let (selection, mut heard) = (Selection::new(paths).unwrap(), Heard::default());
        let report = extract(&archive, &selection, target.path(), options, &mut heard);
        report.map(|report| (report.members, report.failed, heard.wrong))
    };
    let error = restore(&options, &[]).unwrap_err();
    let Error::NoBase { name, problem: BaseProblem::NotGiven, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(name, "full.tgz");
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    // What is asked for does not need it.
    assert_eq!(restore(&options, &["d/b", "d/c"]).unwrap(), (2, 0, vec![]));
    options.without_bases = true;
    let (restored, failed, wrong) = restore(&options, &[]).unwrap();
    assert_eq!((restored, failed, wrong.len()), (2, 3, 3));
    assert!(wrong.iter().all(|text| text.starts_with("base full.tgz with the identity")));
}

#[test]
fn verify_reads_the_members_in_bases_and_names_the_base() {
    let mut links = chain();
    let (report, wrong) = verified(&opened(&links), false);
    assert!(report.is_good(), "{wrong:?}");
    assert_eq!((report.whole, report.in_bases, report.in_bases_unread), (5, 4, 0));
    let (report, _) = verified(&opened(&links), true);
    assert_eq!((report.whole, report.in_bases, report.in_bases_unread), (1, 0, 4));

    let big = opened(&links).find(&"d/big".into()).unwrap().unwrap().claimed_range();
    let at = usize::try_from(big.start).unwrap();
    links[0].bytes[at + 1_500_000] ^= 1;
    let at = opened(&links).find(&"d/a".into()).unwrap().unwrap().claimed_range().start;
    links[0].bytes[usize::try_from(at).unwrap() + 30] ^= 1;
    let (report, wrong) = verified(&opened(&links), false);
    assert_eq!((report.whole, report.damaged), (3, 2));
    for (text, path) in wrong.iter().zip(["d/a", "d/big"]) {
        assert!(text.starts_with(&format!("in base full.tgz: corrupt member {path} at bytes")));
    }

    let mut archive = links[2].open();
    archive.attach_bases(vec![links[1].open()]).unwrap();
    let (report, wrong) = verified(&archive, false);
    assert_eq!((report.missing_bases, report.in_bases_unread, report.whole), (1, 3, 2));
    assert!(wrong[0].starts_with("base full.tgz"), "{wrong:?}");
    assert!(!report.is_good());
}

#[test]
fn locations_are_checked_against_the_base_that_they_are_in() {
    let [full, one, _] = chain();
    let end = full.open().info().data_size;
    for (from, to, says) in [
        (format!("1:1:{}:0", at_of(&full, "d/a")), format!("1:1:{end}:0"), "ends after"),
        (format!("1:1:{}:0", at_of(&full, "d/a")), format!("2:1:{end}:0"), "base of the location"),
        (
            format!("1:1:{}:0", at_of(&full, "d/a")),
            format!("1:1:{}:0", at_of(&full, "d/b")),
            "corrupt member d/a",
        ),
    ] {
        let mut forge = Forge::of(&one.bytes);
        forge.replace(&from, &to);
        forge.force_tables = true;
        let bases = base_lines(&[&full]);
        let bytes = forge.seal_with(&|tables| tables.bases.clone_from(&bases), &|_| {});
        let mut archive = Archive::open(bytes).unwrap();
        archive.attach_bases(vec![full.open()]).unwrap();
        let entry = archive.find(&"d/a".into()).unwrap().unwrap();
        assert!(shown(&read(&archive, &entry).unwrap_err()).contains(says), "{says}");
        let (report, wrong) = verified(&archive, false);
        assert_eq!(report.damaged, 1);
        assert!(wrong[0].contains(says), "{wrong:?}");
    }
}

fn at_of(link: &Link, path: &str) -> u64 {
    link.open().find(&path.into()).unwrap().unwrap().location.unwrap().offset
}

#[test]
fn base_lines_that_lie_are_refused() {
    let [full, one, _] = chain();
    let line = |depth| Base { depth, identity: full.identity(), name: b"full.tgz".to_vec() };
    let mut forge = Forge::of(&one.bytes);
    forge.force_tables = true;
    let open = |lines: &[Base]| {
        Archive::open(forge.seal_with(&|tables| tables.bases = lines.to_vec(), &|_| {})).map(drop)
    };
    open(&[line(1), line(2)]).unwrap();
    for lines in [&[line(2)][..], &[line(0)], &[line(1), line(1)], &[line(1), line(4_000_000_000)]]
    {
        let error = open(lines).unwrap_err();
        assert!(error.to_string().contains("depth of a base"), "{error}");
    }
    let many: Vec<Base> = (1..=1025).map(line).collect();
    open(&many[..1024]).unwrap();
    assert!(open(&many).unwrap_err().to_string().contains("number of bases is 1025"));
}

#[test]
fn a_chain_that_no_reader_takes_is_not_begun() {
    let [full, one, _] = chain();
    let line = |depth| Base { depth, identity: full.identity(), name: b"full.tgz".to_vec() };
    let lines: Vec<Base> = (1..=1024).map(line).collect();
    let mut forge = Forge::of(&one.bytes);
    forge.force_tables = true;
    let longest = forge.seal_with(&|tables| tables.bases.clone_from(&lines), &|_| {});
    let tree = tempfile::tempdir().unwrap();
    let mut options = CreateOptions::default();
    options.directory = tree.path().to_path_buf();
    let base = Archive::open(longest).unwrap();
    let mut extras = Extras::default();
    extras.set_base(BaseListing::of(&base, b"long.tgz").unwrap());
    let mut sink = WriteSink::new(Vec::new());
    let error = create_with(&mut sink, &[".".into()], &options, extras, &mut ()).unwrap_err();
    assert!(matches!(error, Error::LongChain { count: 1025, limit: 1024 }), "{error}");
}

#[test]
fn a_chain_that_loops_ends() {
    let full = Link { name: "full.tgz", bytes: build(&[dir("d"), file("d/a", b"first a")], 6) };
    // Each of a thousand bases is the same archive, which lists members of other depths itself.
    let mut forge = Forge::of(&increment(&[&full], "one.tgz", &[], &[]).bytes);
    let text: String = (0..1000)
        .map(|n| {
            let depth = n % 1000 + 1;
            let at = at_of(&full, "d/a");
            format!(
                "f{n:04}\t#0\t#0\t420\tfile\t0\t7\t{depth}:1:{at}:0\tpacked=9\tsha256={}\n",
                "A".repeat(43)
            )
        })
        .collect();
    forge.set_listing(&format!("{text}\n"));
    forge.force_tables = true;
    let lines: Vec<Base> = (1..=1000)
        .map(|depth| Base { depth, identity: full.identity(), name: b"full.tgz".to_vec() })
        .collect();
    let bytes = forge.seal_with(&|tables| tables.bases.clone_from(&lines), &|_| {});
    let mut archive = Archive::open(bytes).unwrap();
    archive.find_bases(Box::new(move |_| Ok(full.open())));
    let (report, _) = verified(&archive, false);
    assert_eq!(report.damaged, 1000);
}
