//! Archives made out of others.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use isptar_core::rewrite::{
    AppendReport, Part, PartInfo, PartSinks, RewriteOptions, RewriteReport, append, merge_parts,
    parts_of, split,
};
use isptar_core::{
    Archive, CreateOptions, Entry, Error, Kind, Observer, Result, Selection, Sink, VerifyOptions,
    WriteSink, create, verify,
};

use crate::support::{build, dir, entries, every_kind, file, level, link, noise, plain_tar, read};

type Named<'a> = (&'a str, &'a [u8]);

fn merged_with(parts: &[Named<'_>], options: &RewriteOptions) -> Result<(Vec<u8>, RewriteReport)> {
    let archives: Vec<_> =
        parts.iter().map(|(name, bytes)| (*name, Archive::open(*bytes).unwrap())).collect();
    let parts: Vec<_> = archives
        .iter()
        .map(|(name, archive)| Part { name: name.as_bytes().to_vec(), archive })
        .collect();
    let mut bytes = Vec::new();
    let mut sink = WriteSink::new(&mut bytes);
    let report = merge_parts(&mut sink, &parts, options, &mut ())?;
    drop(sink);
    Ok((bytes, report))
}

fn merged(parts: &[Named<'_>]) -> Vec<u8> {
    merged_with(parts, &RewriteOptions::default()).unwrap().0
}

/// Memory that is read when its writer is gone.
#[derive(Default, Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The archives that parts became, but for those that are left out.
#[derive(Default)]
struct Shelf {
    without: Option<&'static str>,
    parts: Vec<(String, Shared)>,
    reports: Vec<RewriteReport>,
}

impl Observer for Shelf {}

impl PartSinks for Shelf {
    fn sink(&mut self, part: &PartInfo) -> Result<Option<Box<dyn Sink>>> {
        let name = String::from_utf8(part.name.clone()).unwrap();
        if self.without == Some(name.as_str()) {
            return Ok(None);
        }
        let bytes = Shared::default();
        self.parts.push((name, bytes.clone()));
        Ok(Some(Box::new(WriteSink::new(bytes))))
    }

    fn done(&mut self, _: &PartInfo, archive: RewriteReport) {
        self.reports.push(archive);
    }
}

/// Splits an archive; returns what its parts are called, and them.
fn parted(bytes: &[u8], without: Option<&'static str>) -> Vec<(String, Vec<u8>)> {
    let mut shelf = Shelf { without, ..Shelf::default() };
    split(&Archive::open(bytes).unwrap(), &RewriteOptions::default(), &mut shelf).unwrap();
    assert_eq!(shelf.reports.len(), shelf.parts.len());
    shelf.parts.into_iter().map(|(name, bytes)| (name, bytes.0.lock().unwrap().clone())).collect()
}

fn identity(bytes: &[u8]) -> [u8; 32] {
    Archive::open(bytes).unwrap().info().listing_sha256.unwrap()
}

fn assert_whole(bytes: &[u8]) {
    let archive = Archive::open(bytes).unwrap();
    let report =
        verify(&archive, &Selection::default(), &VerifyOptions::default(), &mut ()).unwrap();
    assert_eq!((report.damaged, report.strays), (0, 0), "{report:?}");
}

#[test]
fn parts_come_out_as_the_archives_that_went_in() {
    let mut incomplete = Vec::new();
    {
        let mut options = level(6);
        options.created = Some(1_700_000_000);
        let mut writer =
            isptar_core::ArchiveWriter::new(WriteSink::new(&mut incomplete), &options).unwrap();
        writer.set_incomplete();
        for item in [dir("."), file("big", &noise(3 << 20, 7)), file("z", b"last")] {
            writer.append(&item.header, item.details, item.data.as_slice()).unwrap();
        }
        writer.finish().unwrap();
    }
    let stored = build(&every_kind(), 0);
    let packed = build(&every_kind(), 9);
    let empty = build(&[], 6);
    let parts: [Named<'_>; 4] =
        [("stored", &stored), ("packed.tar.gz", &packed), ("-", &empty), ("inc", &incomplete)];
    let all = merged(&parts);
    assert_whole(&all);
    let archive = Archive::open(&all).unwrap();
    assert!(archive.info().parts && !archive.info().sorted && archive.info().incomplete);
    let out = parted(&all, None);
    assert_eq!(out.len(), 4);
    for ((name, bytes), (out_name, out_bytes)) in parts.iter().zip(&out) {
        assert_eq!(name, out_name);
        assert_eq!(identity(bytes), identity(out_bytes), "{name}");
        let (old, new) = (Archive::open(*bytes).unwrap(), Archive::open(out_bytes).unwrap());
        let data = usize::try_from(old.info().data_size).unwrap();
        assert_eq!(bytes[..data], out_bytes[..data], "{name}");
        assert_eq!(old.info().created, new.info().created);
        assert_eq!(old.info().incomplete, new.info().incomplete);
        assert!(new.info().sorted && !new.info().parts);
    }
}

#[test]
fn a_merged_archive_is_a_plain_tar_with_ends_of_parts() {
    let (one, two) = (build(&[dir("."), file("a", b"1")], 6), build(&[file("a", b"2")], 6));
    let all = merged(&[("x", &one), ("y.tgz", &two)]);
    let shown = |member: &crate::support::Plain| {
        let [name, target] =
            [&member.name, &member.target].map(|text| String::from_utf8_lossy(text));
        format!("{name}>{target}")
    };
    let plain: Vec<_> = plain_tar(&all).iter().map(shown).collect();
    let expected = ["./>", "a>", ".partname.1>.x", "a>", ".partname.2>.y.tgz", ".backup.info>"];
    assert_eq!(plain, expected);
}

#[test]
fn parts_of_merged_archives_become_parts() {
    let archives: Vec<_> = (0..4u8).map(|n| build(&[file("same", &[n])], 6)).collect();
    let two = merged(&[("a", &archives[0]), ("b", &archives[1])]);
    let all = merged(&[("ignored", &two), ("c", &archives[2]), ("d", &archives[3])]);
    let names: Vec<_> = parts_of(&Archive::open(&all).unwrap())
        .unwrap()
        .into_iter()
        .map(|part| part.name)
        .collect();
    assert_eq!(names, [b"a", b"b", b"c", b"d"]);
    for ((_, out), archive) in parted(&all, None).iter().zip(&archives) {
        assert_eq!(identity(out), identity(archive));
    }
    let names: Vec<_> = parted(&all, Some("b")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "c", "d"]);
}

#[test]
fn what_would_not_come_apart_is_not_merged() {
    let good = build(&[file("a", b"1")], 6);
    let marked = build(&[link(".partname.7", ".x")], 6);
    for (parts, expected) in [
        (vec![("a", &good), ("a", &good)], "part a: two parts have this name"),
        (vec![("a/b", &good)], "part a/b: the name of a part"),
        (vec![("..", &good)], "part ..: the name of a part"),
        (vec![("", &good)], "part : the name of a part"),
        (vec![("m", &marked)], "part m: its member .partname.7 would be taken"),
    ] {
        let parts: Vec<Named<'_>> =
            parts.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        let error = merged_with(&parts, &RewriteOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let archive = Archive::open(&good).unwrap();
    let refused = split(&archive, &RewriteOptions::default(), &mut Shelf::default());
    assert!(matches!(refused, Err(Error::NoParts)));
}

#[test]
fn verifying_finds_damage_before_it_is_copied() {
    let bytes = build(&[dir("."), file("a", b"some content\n"), file("b", &noise(2 << 20, 1))], 6);
    let all = entries(&Archive::open(&bytes).unwrap());
    let mut options = RewriteOptions::default();
    options.verify = true;
    let (copy, report) = merged_with(&[("a", &bytes)], &options).unwrap();
    assert_eq!(copy, merged(&[("a", &bytes)]));
    assert_eq!((report.members, report.repacked), (3, 0));
    for entry in &all[1..] {
        let mut damaged = bytes.clone();
        let range = entry.claimed_range();
        let at = usize::try_from(range.end - 20).unwrap();
        damaged[at] ^= 1;
        let error = merged_with(&[("a", &damaged)], &options).unwrap_err();
        assert_eq!(error.member(), Some(&entry.path));
    }
}

/// A tree, and an archive of it.
struct Tree {
    dir: tempfile::TempDir,
    archive: Vec<u8>,
}

impl Tree {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let tree = Self { dir: tempfile::tempdir().unwrap(), archive: Vec::new() };
        tree.write(files);
        tree
    }

    fn write(&self, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = self.dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn link(&self, name: &str, to: &str) {
        std::fs::hard_link(self.dir.path().join(to), self.dir.path().join(name)).unwrap();
    }

    fn options(&self, group: Option<u64>) -> CreateOptions {
        let mut options = CreateOptions::default();
        options.directory = self.dir.path().to_path_buf();
        options.created = Some(1_000_000_000);
        options.group_size = group.and_then(std::num::NonZero::new);
        options
    }

    fn create(&mut self, group: Option<u64>) {
        let mut bytes = Vec::new();
        let mut sink = WriteSink::new(&mut bytes);
        create(&mut sink, &[".".into()], &self.options(group), &mut ()).unwrap();
        drop(sink);
        self.archive = bytes;
    }

    fn append(&self, paths: &[&str], group: Option<u64>) -> (Vec<u8>, AppendReport) {
        let (mut bytes, old) = (Vec::new(), Archive::open(&self.archive).unwrap());
        let paths: Vec<_> = paths.iter().map(std::path::PathBuf::from).collect();
        let mut sink = WriteSink::new(&mut bytes);
        let (create, options) = (self.options(group), RewriteOptions::default());
        let report = append(&mut sink, &old, &paths, &create, &options, &mut ()).unwrap();
        assert_whole(&bytes);
        assert!(Archive::open(&bytes).unwrap().info().sorted);
        (bytes, report)
    }
}

/// Returns names and contents, of hard links too.
fn contents(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let archive = Archive::open(bytes).unwrap();
    let files = entries(&archive).into_iter().filter(|entry| entry.kind != Kind::Directory);
    let read = |entry: Entry| (entry.path.to_string(), read(&archive, &entry).unwrap());
    files.map(read).collect()
}

fn shown(contents: &[(String, Vec<u8>)]) -> String {
    let show = |(name, bytes): &(String, Vec<u8>)| {
        format!("{name}={}", String::from_utf8_lossy(&bytes[..bytes.len().min(9)]))
    };
    contents.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn appended_members_stand_in_order_and_take_the_place_of_old_ones() {
    for group in [None, Some(1 << 16)] {
        let mut tree =
            Tree::new(&[("a", b"old a"), ("c/x", b"x"), ("c/y", b"old y"), ("e", b"old e")]);
        tree.create(group);
        tree.write(&[("b", b"new b"), ("c/y", b"new y"), ("f/g", b"g")]);
        let (bytes, report) = tree.append(&["b", "c/y", "f"], group);
        let expected = "a=old a b=new b c/x=x c/y=new y e=old e f/g=g";
        assert_eq!(shown(&contents(&bytes)), expected);
        assert_eq!((report.replaced, report.stored.members), (1, 4));
        assert_eq!(report.archive.members, 9);
        // Of groups, only those that are torn apart are packed again.
        assert_eq!(report.archive.repacked > 0, group.is_some(), "{report:?}");
        assert_eq!(Archive::open(&bytes).unwrap().info().created, Some(1_000_000_000));
    }
}

#[test]
fn streams_are_copied_and_not_packed_again() {
    let mut tree = Tree::new(&[("big", &noise(3 << 20, 3)), ("small", b"s")]);
    tree.create(None);
    tree.write(&[("new", b"n")]);
    let (bytes, report) = tree.append(&["new"], None);
    assert_eq!(report.archive.repacked, 0);
    let (old, new) = (Archive::open(&tree.archive).unwrap(), Archive::open(&bytes).unwrap());
    for entry in entries(&old) {
        let copied = new.find(&entry.path).unwrap().unwrap();
        let [from, to] = [&entry, &copied].map(|entry| {
            let range = entry.claimed_range();
            usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
        });
        assert!(tree.archive[from] == bytes[to], "{}", entry.path);
        assert_eq!(Entry { location: entry.location, ..copied }, entry);
    }
}

#[test]
fn files_keep_their_content_when_their_first_name_is_replaced() {
    for (content, group) in
        [(b"shared".to_vec(), None), (b"shared".to_vec(), Some(1 << 16)), (noise(3 << 20, 9), None)]
    {
        let mut tree = Tree::new(&[("a", &content), ("k", b"other")]);
        tree.link("m", "a");
        tree.link("z", "a");
        tree.create(group);
        std::fs::remove_file(tree.dir.path().join("a")).unwrap();
        tree.write(&[("a", b"not shared")]);
        let (bytes, report) = tree.append(&["a"], group);
        assert!(report.archive.repacked >= 2, "{report:?}");
        let names = ["m", "z"].map(|name| (name.to_owned(), content.clone()));
        let expected = [("a".to_owned(), b"not shared".to_vec()), ("k".into(), b"other".to_vec())];
        assert!(contents(&bytes) == [&expected[..], &names].concat());
        let z = Archive::open(&bytes).unwrap().find(&"z".into()).unwrap().unwrap();
        assert_eq!(z.kind, Kind::HardLink { target: "m".into() });
    }
}

#[test]
fn nothing_old_stays_below_a_file_or_above_a_new_member() {
    let mut tree = Tree::new(&[("d/x", b"x"), ("d/y/z", b"z"), ("f", b"file"), ("g", b"g")]);
    tree.create(None);
    std::fs::remove_dir_all(tree.dir.path().join("d")).unwrap();
    std::fs::remove_file(tree.dir.path().join("f")).unwrap();
    tree.write(&[("d", b"now a file"), ("f/in", b"in")]);
    let (bytes, report) = tree.append(&["d", "f/in"], None);
    assert_eq!(shown(&contents(&bytes)), "d=now a fil f/in=in g=g");
    assert_eq!(report.replaced, 5);
}

#[test]
fn members_are_added_only_where_names_are_in_order() {
    let tree = Tree::new(&[("a", b"a")]);
    let merged = merged(&[("x", &build(&[file("a", b"1")], 6))]);
    let old = Archive::open(&merged).unwrap();
    let (mut bytes, options) = (Vec::new(), RewriteOptions::default());
    let mut sink = WriteSink::new(&mut bytes);
    let paths = ["a".into()];
    let refused = append(&mut sink, &old, &paths, &tree.options(None), &options, &mut ());
    assert!(matches!(refused, Err(Error::Unordered)));
    drop(sink);
    assert!(bytes.is_empty());
}

#[test]
fn what_is_alone_in_its_stream_is_copied_without_a_look_at_its_data() {
    let mut bytes = build(&every_kind(), 0);
    let clean = merged(&[("a", &bytes)]);
    let all = entries(&Archive::open(bytes.as_slice()).unwrap());
    for entry in all {
        if entry.kind.size() > 0 {
            // The last byte before CRC and length.
            bytes[usize::try_from(entry.claimed_range().end - 9).unwrap()] ^= 1;
        }
    }
    let (copy, report) = merged_with(&[("a", &bytes)], &RewriteOptions::default()).unwrap();
    assert_eq!(report.repacked, 0);
    assert!(copy.len() == clean.len() && copy != clean);
    let archive = Archive::open(&copy).unwrap();
    let entry = archive.find(&"dir/file".into()).unwrap().unwrap();
    assert!(entry.xattr.is_some() && read(&archive, &entry).is_err());
}
