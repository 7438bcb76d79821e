//! Archives made out of others.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use isptar_core::rewrite::{
    Part, PartInfo, PartSinks, RewriteOptions, RewriteReport, merge_parts, parts_of, split,
};
use isptar_core::{
    Archive, Error, Observer, Result, Selection, Sink, VerifyOptions, WriteSink, verify,
};

use crate::support::{build, dir, entries, every_kind, file, level, link, noise, plain_tar};

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
