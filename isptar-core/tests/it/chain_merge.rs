//! Chains of archives as one archive, or as a shorter chain.

use std::fs;
use std::path::{Path, PathBuf};

use isptar_core::rewrite::{RewriteOptions, RewriteReport, attach_chain, merge};
use isptar_core::{
    Archive, BaseListing, CreateOptions, Entry, Error, Extras, Kind, Result, Selection,
    VerifyOptions, WriteSink, create_with, verify,
};

use crate::support::{entries, noise, plain_tar, read};

/// Later than anything in these trees has changed, so that nothing is racy.
const LATER: u64 = 1 << 40;

type Bytes = Vec<u8>;

fn archive(tree: &Path, base: Option<&Bytes>, group: u64) -> Bytes {
    let mut options = CreateOptions::default();
    options.directory = tree.to_path_buf();
    options.created = Some(LATER);
    options.group_size = std::num::NonZero::new(group);
    let opened = base.map(|bytes| Archive::open(bytes.clone()).unwrap());
    let mut extras = Extras::default();
    if let Some(base) = &opened {
        extras.set_base(BaseListing::of(base, b"base").unwrap());
    }
    let mut bytes = Vec::new();
    let paths = [PathBuf::from(".")];
    create_with(&mut WriteSink::new(&mut bytes), &paths, &options, extras, &mut ()).unwrap();
    bytes
}

/// A tree that changes, with an archive of each state: a full one, and two on it.
fn chain(group: u64) -> [Bytes; 3] {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    for number in 0..40 {
        fs::write(at(&format!("many{number:02}")), format!("{number}\n").repeat(number)).unwrap();
    }
    fs::create_dir_all(at("dir/gone")).unwrap();
    fs::write(at("dir/gone/x"), "x").unwrap();
    fs::write(at("big"), noise((2 << 20) + 99, 1)).unwrap();
    fs::write(at("one"), "a file with three names").unwrap();
    fs::hard_link(at("one"), at("three")).unwrap();
    fs::hard_link(at("one"), at("two")).unwrap();
    let full = archive(tree.path(), None, group);
    fs::write(at("many07"), "changed").unwrap();
    fs::write(at("many071"), "new").unwrap();
    fs::write(at("big2"), noise((1 << 20) + 5, 2)).unwrap();
    fs::remove_dir_all(at("dir/gone")).unwrap();
    let first = archive(tree.path(), Some(&full), group);
    fs::write(at("many08"), "changed later").unwrap();
    fs::remove_file(at("many071")).unwrap();
    fs::remove_file(at("one")).unwrap();
    fs::write(at("one"), "another file").unwrap();
    let second = archive(tree.path(), Some(&first), group);
    [full, first, second]
}

fn open(newest: &Bytes, bases: &[&Bytes]) -> Archive<Bytes> {
    let mut archive = Archive::open(newest.clone()).unwrap();
    let bases = bases.iter().map(|bytes| Archive::open((*bytes).clone()).unwrap());
    archive.attach_bases(bases.collect()).unwrap();
    archive
}

fn merged(newest: &Archive<Bytes>, count: u32) -> Result<(Bytes, RewriteReport)> {
    let mut bytes = Vec::new();
    let mut sink = WriteSink::new(&mut bytes);
    let report = merge(&mut sink, newest, count, &RewriteOptions::default(), &mut ())?;
    drop(sink);
    Ok((bytes, report))
}

/// Returns all that can be read of an archive.
fn contents(archive: &Archive<Bytes>) -> Vec<(String, Kind, Bytes)> {
    let read = |entry: Entry| {
        let bytes = match entry.kind {
            Kind::File { .. } => read(archive, &entry).unwrap(),
            _ => archive.member(&entry).map(|_| Vec::new()).unwrap(),
        };
        (entry.path.to_string(), entry.kind, bytes)
    };
    entries(archive).into_iter().map(read).collect()
}

fn assert_whole(archive: &Archive<Bytes>) {
    let options = VerifyOptions::default();
    let report = verify(archive, &Selection::default(), &options, &mut ()).unwrap();
    assert!(report.is_good() && report.in_bases_unread == 0, "{report:?}");
}

/// Everything of an entry but where its bytes are.
fn without_place(mut entry: Entry) -> Entry {
    (entry.location, entry.packed) = (None, None);
    entry
}

#[test]
fn a_chain_becomes_a_full_archive_with_the_same_members() {
    for group in [0, 1 << 16] {
        let [full, first, second] = chain(group);
        let newest = open(&second, &[&first, &full]);
        let (bytes, report) = merged(&newest, 3).unwrap();
        let archive = open(&bytes, &[]);
        assert!(archive.tables().bases.is_empty());
        assert_eq!(archive.info().created, Some(LATER));
        assert!(archive.info().sorted);
        assert_eq!(contents(&archive), contents(&newest));
        assert_whole(&archive);
        let [old, new] = [&newest, &archive].map(entries);
        let [old, new] = [old, new].map(|all| all.into_iter().map(without_place));
        assert!(old.eq(new));
        assert_eq!(report.members, archive.info().entries);
        // Only the group of small files was torn apart.
        assert_eq!(report.repacked > 0, group > 0, "{report:?}");
        // For plain tar as well, links come behind what they lead to.
        let names: Vec<_> = plain_tar(&bytes).into_iter().map(|member| member.name).collect();
        let place = |name: &str| names.iter().position(|other| other == name.as_bytes()).unwrap();
        assert!(place("three") < place("two") && place("one") < place("three"));
    }
}

#[test]
fn two_increments_become_one_on_the_same_base() {
    for group in [0, 1 << 16] {
        let [full, first, second] = chain(group);
        let (bytes, report) = merged(&open(&second, &[&first]), 2).unwrap();
        let shorter = Archive::open(bytes.clone()).unwrap();
        let [base] = shorter.tables().bases.as_slice() else { panic!("not one base") };
        assert_eq!(base.depth, 1);
        assert_eq!(base.identity, Archive::open(full.clone()).unwrap().identity().unwrap());
        let shorter = open(&bytes, &[&full]);
        assert_eq!(contents(&shorter), contents(&open(&second, &[&first, &full])));
        assert_whole(&shorter);
        assert!(report.carried > 30 && report.members > 4, "{report:?}");
        assert!(bytes.len() < full.len());
        let depths: Vec<_> = entries(&shorter).iter().map(Entry::depth).collect();
        assert!(depths.iter().all(|&depth| depth <= 1) && depths.contains(&1));
    }
}

#[test]
fn archives_that_do_not_belong_together_are_told_by_their_identities() {
    let [full, first, second] = chain(0);
    let opened = |bytes: &Bytes| Archive::open(bytes.clone()).unwrap();
    let identity =
        |bytes| isptar_core::format::text::digest_text(&opened(bytes).identity().unwrap());
    let chain_error = |error: Error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    // In the wrong order, and one left out.
    let error = attach_chain(&mut opened(&second), vec![opened(&full)]).map_err(chain_error);
    let error = error.unwrap_err();
    assert!(error.contains(&identity(&first)) && error.contains(&identity(&full)), "{error}");
    let error = attach_chain(&mut opened(&full), vec![opened(&first)]).map_err(chain_error);
    let error = error.unwrap_err();
    assert!(error.contains(&identity(&first)) && error.contains(&identity(&full)), "{error}");
    // Without its base.
    let error = merged(&opened(&first), 2).unwrap_err();
    assert!(matches!(error, Error::NoBase { .. }), "{error}");
}

#[test]
fn damage_in_a_base_is_told_with_the_base() {
    let [full, first, second] = chain(1 << 16);
    let all = entries(&Archive::open(full.clone()).unwrap());
    let torn = all.iter().find(|entry| entry.path.as_bytes() == b"many08").unwrap();
    let mut damaged = full.clone();
    damaged[usize::try_from(torn.claimed_range().end - 20).unwrap()] ^= 0x10;
    let error = merged(&open(&second, &[&first, &damaged]), 3).unwrap_err();
    assert!(matches!(error, Error::InBase { .. }), "{error}");
    assert!(error.member().is_some());
}
