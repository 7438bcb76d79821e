//! The archives in `testdata/`: each is taken as the table in its README says.
//!
//! `ISPTAR_BLESS=1 cargo test -p isptar-core testdata` writes those that are made here, and the
//! last column of the table.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::iter;
use std::path::Path;

use isptar_core::format::{gzip, text};
use isptar_core::{
    Archive, Error, Kind, Limits, MemberPath, RangeReader, ReadAt, SafePath, SliceSet, Timestamp,
};
use sha2::{Digest as _, Sha256};

use super::support::{
    Item, build, dir, entries, every_kind, file, is_blessing, link, noise, other, read, scan,
    testdata,
};

/// The archive of the hex dump in FORMAT.md.
pub(crate) fn hello(uid: u64, gid: u64) -> Vec<u8> {
    let mut items = vec![dir("hello"), file("hello/world.txt", b"Hello, world!\n")];
    for item in &mut items {
        item.header.mtime = Timestamp::new(1_700_000_000, 0);
        (item.header.uid, item.header.gid) = (uid, gid);
    }
    build(&items, 0)
}

/// The sound archive from which the bad ones are made.
fn sound() -> Vec<Item> {
    let hard = other("d/hard", Kind::HardLink { target: "d/file".into() });
    vec![dir("."), dir("d"), file("d/file", b"content"), hard, link("link", "d/file")]
}

/// Returns `bytes`, stored streams alone, with `from` replaced by the equally long `to` wherever it
/// stands; CRCs and the digest of the listing are made to hold again.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let (body, trailer) = bytes.split_at(bytes.len() - 64);
    let identity = Archive::open(bytes).unwrap().info().listing_sha256.unwrap();
    let mut out = Vec::new();
    let mut rest = body;
    let mut digests = (text::digest_text(&identity), String::new());
    while !rest.is_empty() {
        let mut real = Vec::new();
        flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut real).unwrap();
        replace(&mut real, from, to);
        if real.ends_with(b"\n\n") {
            digests.1 = text::digest_text(&Sha256::digest(&real).into());
        }
        if !digests.1.is_empty() {
            replace(&mut real, digests.0.as_bytes(), digests.1.as_bytes());
        }
        if real.len() % 512 == 0 && real[257..].starts_with(b"ustar") {
            let sum: u32 = real[..512].iter().map(|&byte| u32::from(byte)).sum();
            let field: u32 = real[148..156].iter().map(|&byte| u32::from(byte)).sum();
            let sum = format!("{:06o}\0 ", sum - field + 8 * 32);
            real[148..156].copy_from_slice(sum.as_bytes());
        }
        gzip::push_stored(&real, crc32fast::hash(&real), &mut out);
    }
    out.extend_from_slice(trailer);
    assert_eq!(out.len(), bytes.len());
    assert!(from == to || out != bytes, "nothing was replaced");
    out
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
}

/// Returns `bytes` with one bit changed where `what` stands.
fn flipped(mut bytes: Vec<u8>, what: &[u8]) -> Vec<u8> {
    let at = bytes.windows(what.len()).position(|window| window == what).unwrap();
    bytes[at] ^= 1;
    bytes
}

/// The archives that are made here. Those with compressed streams are checked by their contents
/// alone: another compressor may write other bytes.
fn made() -> Vec<(&'static str, Vec<u8>, bool)> {
    let bytes = build(&sound(), 0);
    let patch = |from: &str, to: &str| patched(&bytes, from.as_bytes(), to.as_bytes());
    let mut unlike = sound();
    unlike[2] = file("d/fake", b"content");
    let mut spliced = bytes.clone();
    let entry = Archive::open(bytes.as_slice()).unwrap().find(&"d/file".into()).unwrap().unwrap();
    let (offset, len) = entry.range().unwrap();
    let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
    spliced[range.clone()].copy_from_slice(&build(&unlike, 0)[range]);
    let mut big = every_kind();
    big.retain(|item| matches!(item.header.kind, Kind::File { .. }));
    big.push(file("zeros", &vec![0; (3 << 20) + 17]));
    let last = bytes.len() - 1;
    vec![
        ("good/hello.tar.gz", hello(0, 0), true),
        ("good/kinds-stored.tar.gz", build(&every_kind(), 0), true),
        ("good/kinds.tar.gz", build(&every_kind(), 6), false),
        ("good/chunks.tar.gz", build(&big, 9), false),
        ("good/empty.tar.gz", build(&[], 0), true),
        ("bad/cut-1.tar.gz", bytes[..last].to_vec(), true),
        ("bad/cut-trailer.tar.gz", bytes[..bytes.len() - 64].to_vec(), true),
        ("bad/byte-behind.tar.gz", [bytes.as_slice(), b"\0"].concat(), true),
        ("bad/data-flip.tar.gz", flipped(bytes.clone(), b"content"), true),
        ("bad/listing-flip.tar.gz", flipped(bytes.clone(), b"\tdir\t"), true),
        ("bad/content-differs.tar.gz", patch("content\0", "contend\0"), true),
        ("bad/name-differs.tar.gz", spliced, true),
        ("bad/unknown-type.tar.gz", patch("\t420\tfile", "\t420\tfilo"), true),
        (
            "bad/dotdot.tar.gz",
            patched(&patch("link\0\0", "z/..\0\0"), b"link\t#0", b"z/..\t#0"),
            true,
        ),
        ("bad/newer-format.tar.gz", patch("format=2\n", "format=3\n"), true),
        ("bad/older-format.tar.gz", patch("format=2\n", "format=1\n"), true),
        ("bad/flag-0.tar.gz", patch("sorted=1\n", "sorted=0\n"), true),
        ("bad/entries-6.tar.gz", patch("entries=5\n", "entries=6\n"), true),
        ("bad/location-2.tar.gz", patch("\t0:1:", "\t0:2:"), true),
        ("bad/hard-link-to-nothing.tar.gz", patch("hard\td/file", "hard\td/fils"), true),
        ("bad/unsorted.tar.gz", patch("d/file\t#0", "a/file\t#0"), true),
        ("bad/noise.tar.gz", noise(1000, 1), true),
    ]
}

#[test]
fn archives_made_here_are_those_in_the_folder() {
    for (name, bytes, is_exact) in made() {
        let path = testdata(name);
        if is_blessing() && (is_exact || !path.exists()) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let stored = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!is_exact || stored == bytes, "{name} differs");
        assert_eq!(outcome(&stored), outcome(&bytes), "{name}");
    }
}

/// Says what isptar does with an archive, in the words of the table.
fn outcome(bytes: &[u8]) -> String {
    outcome_of(Archive::open(bytes), bytes)
}

/// The same of a file, or of slices.
fn outcome_on_disk(path: &Path) -> String {
    let slices = || SliceSet::open(path).unwrap().unwrap();
    let (mut bytes, end) = (Vec::new(), slices().size().unwrap());
    RangeReader::new(slices(), 0, end, 1 << 16).read_to_end(&mut bytes).unwrap();
    outcome_of(Archive::open(slices()), &bytes)
}

fn outcome_of<R: ReadAt>(archive: Result<Archive<R>, Error>, bytes: &[u8]) -> String {
    let archive = match archive {
        Ok(archive) => archive,
        Err(Error::NotIsptar(_)) => return scanned(bytes),
        Err(error) => return format!("error: {error}"),
    };
    super::support::listed(&archive);
    let listed = match archive.entries().collect::<Result<Vec<_>, _>>() {
        Ok(listed) => listed,
        Err(error) => return format!("error: {error}"),
    };
    let mut said: Vec<(String, usize)> = Vec::new();
    for entry in &listed {
        let safe = SafePath::new(&entry.path, &Limits::default()).map(|_| ());
        if let Err(error) = safe.and_then(|()| read(&archive, entry).map(|_| ())) {
            let error = error.to_string();
            match said.iter_mut().find(|(other, _)| *other == error) {
                Some((_, times)) => *times += 1,
                None => said.push((error, 1)),
            }
        }
    }
    let said = said.into_iter().map(|(error, times)| match times {
        1 => error,
        times => format!("{error} ({times} times)"),
    });
    iter::once(count(listed.len())).chain(said).collect::<Vec<_>>().join("; ")
}

fn scanned(bytes: &[u8]) -> String {
    let (seen, ended) = scan(bytes);
    match ended {
        Ok(false) => count(seen.len()),
        Ok(true) => format!("{}, end missing", count(seen.len())),
        Err(error) if seen.is_empty() => format!("error: {error}"),
        Err(error) => format!("{}, then error: {error}", count(seen.len())),
    }
}

fn count(number: usize) -> String {
    if number == 1 { "1 entry".into() } else { format!("{number} entries") }
}

/// All archives below `testdata/`; lists and sums belong to the archive they are named after, and
/// slices are one archive.
fn files() -> BTreeSet<String> {
    let root = testdata("");
    let mut files = BTreeSet::new();
    for found in walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap) {
        if !found.file_type().is_file() {
            continue;
        }
        let name = found.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let owner = name.strip_suffix(".list").or_else(|| name.strip_suffix(".sha256"));
        let slice = name.rsplit_once(".part").filter(|(_, number)| number.parse::<u64>().is_ok());
        match owner.filter(|_| name.starts_with("classic/")) {
            Some(owner) => {
                assert!(SliceSet::open(&root.join(owner)).is_ok(), "{name} belongs to nothing");
            }
            None if slice.is_some() => drop(slice.map(|(owner, _)| files.insert(owner.to_owned()))),
            // These have tables of their own, which tests of the program walk.
            None if name.starts_with("hostile/") || name.starts_with("tar-corpus/") => {}
            None if name == "README.md" => {}
            None => assert!(files.insert(name)),
        }
    }
    files
}

#[test]
fn each_archive_is_taken_as_the_table_says() {
    let readme = testdata("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let mut stray = files();
    let mut actual = String::new();
    for line in text.lines() {
        // What a table shows as a bar may be part of a name.
        let plain = line.replace("\\|", "");
        let cells: Vec<&str> = plain.split('|').map(str::trim).collect();
        let ["", name, what, how, _, ""] = cells[..] else {
            actual.push_str(&format!("{line}\n"));
            continue;
        };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
            actual.push_str(&format!("{line}\n"));
            continue;
        };
        assert!(stray.remove(name), "{name} has a row but is not there, or has two rows");
        let outcome = outcome_on_disk(&testdata(name)).replace('|', "\\|");
        actual.push_str(&format!("| `{name}` | {what} | {how} | {outcome} |\n"));
    }
    assert!(stray.is_empty(), "without a row: {stray:?}");
    if is_blessing() {
        fs::write(&readme, &actual).unwrap();
    } else {
        for (said, is) in text.lines().zip(actual.lines()) {
            assert_eq!(said, is);
        }
    }
}

#[test]
fn foreign_archives_give_the_names_that_other_tars_list() {
    for (name, expected) in [
        ("gnu.tar", ["small.txt", "small2.txt"].as_slice()),
        ("star.tar", &["small.txt", "small2.txt"]),
        ("v7.tar", &["small.txt", "small2.txt"]),
        (
            "sparse-formats.tar",
            &["sparse-gnu", "sparse-posix-0.0", "sparse-posix-0.1", "sparse-posix-1.0", "end"],
        ),
        ("hardlink.tar", &["file.txt", "hard.txt"]),
    ] {
        let (seen, ended) = scan(fs::read(testdata("foreign").join(name)).unwrap().as_slice());
        assert!(ended.is_ok(), "{name}");
        let names: Vec<String> = seen.iter().map(|(header, _)| header.path.to_string()).collect();
        assert_eq!(names, expected, "{name}");
    }
}

#[test]
fn all_spellings_of_a_sparse_file_give_the_same_content() {
    let bytes = fs::read(testdata("foreign/sparse-formats.tar")).unwrap();
    let (seen, _) = scan(bytes.as_slice());
    assert_eq!(seen[0].1.len(), 200);
    assert!(seen[..4].iter().all(|(_, data)| *data == seen[0].1));
}

#[test]
fn sound_archives_have_what_was_put_in() {
    for name in ["good/kinds.tar.gz", "good/kinds-stored.tar.gz"] {
        let archive = Archive::open(fs::read(testdata(name)).unwrap()).unwrap();
        for (entry, item) in entries(&archive).iter().zip(every_kind()) {
            assert_eq!(entry.path, item.header.path);
            assert_eq!(
                archive.member(entry).unwrap().header().xattrs.attributes,
                item.header.xattrs.attributes
            );
        }
    }
    let archive = Archive::open(fs::read(testdata("good/chunks.tar.gz")).unwrap()).unwrap();
    let entry = archive.find(&MemberPath::from("zeros")).unwrap().unwrap();
    assert_eq!(entry.chunks.as_ref().unwrap().packed.len(), 5);
    assert!(read(&archive, &entry).unwrap() == vec![0; (3 << 20) + 17]);
}
