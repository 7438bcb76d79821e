//! Limits: what is above one is refused with its name, and passes once it is raised.

use std::io::Read;
use std::num::NonZero;

use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::format::text::digest_text;
use isptar_core::{
    Archive, Error, Event, ExtractOptions, Kind, LimitName, Limits, MemberHeader, MemberPath,
    Observer, Result, SafePath, Selection, TarReader,
};
use sha2::{Digest as _, Sha256};

use super::forge::{Forge, deflated, stored, tar_of};
use super::support::{build, file, noise, testdata};

/// Reads all that an archive has by its listing.
fn listed(bytes: &[u8], limits: Limits) -> Result<()> {
    let archive = Archive::open_with(bytes, limits)?;
    for entry in archive.entries() {
        let entry = entry?;
        archive.copy_range(&entry, 0, u64::MAX, &mut std::io::sink())?;
    }
    Ok(())
}

/// Reads all members from front to back.
fn scanned(bytes: &[u8], limits: Limits) -> Result<()> {
    let mut tar = TarReader::new(bytes, limits)?;
    while let Some(member) = tar.next()? {
        std::io::copy(&mut isptar_core::ContentReader::new(member), &mut std::io::sink())
            .map_err(|source| Error::Input { offset: 0, source })?;
    }
    Ok(())
}

/// Checks that the limit `name` refuses an input, says a value that suffices, and no other limit is
/// in the way.
#[track_caller]
fn raised(name: LimitName, limits: Limits, attempt: &dyn Fn(Limits) -> Result<()>) {
    let error = attempt(limits).unwrap_err();
    let raise = error.raise().unwrap_or_else(|| panic!("{}: {error}", name.as_str()));
    assert_eq!(raise.name, name, "{error}");
    let text = error.to_string();
    assert!(text.contains("the limit is "), "{text}");
    let mut higher = limits;
    higher.set(name, raise.to);
    assert!(raise.to > limits.get(name));
    attempt(higher).unwrap_or_else(|error| panic!("{} {}: {error}", name.as_str(), raise.to));
}

/// A file whose headers and map are as long as they may be, and its line.
fn member(header: &MemberHeader, data: &[u8]) -> (Vec<u8>, String) {
    let tar = tar_of(header, data);
    let mut hashed = Vec::new();
    if let Some(map) = &header.sparse {
        map.encode(&mut hashed);
    }
    hashed.extend_from_slice(data);
    let key = if header.sparse.is_some() { "stored_sha256" } else { "sha256" };
    let digest = digest_text(&Sha256::digest(&hashed).into());
    let (path, size) = (&header.path, header.kind.size());
    let line = format!(
        "{path}\t#0\t#0\t420\tfile\t0\t{size}\t0:1:{{at}}:0\tpacked={{packed}}\t{key}={digest}"
    );
    (tar, line)
}

/// Tries a member by its listing and from front to back.
#[track_caller]
fn both_ways(name: LimitName, header: &MemberHeader, data: &[u8]) {
    let (tar, line) = member(header, data);
    let mut forge = Forge::empty();
    forge.push(&deflated(&tar), &line);
    let bytes = forge.seal();
    raised(name, Limits::default(), &|limits| listed(&bytes, limits));
    raised(name, Limits::default(), &|limits| scanned(&bytes, limits));
    raised(name, Limits::default(), &|limits| {
        scanned(&[tar.as_slice(), &[0; 1024]].concat(), limits)
    });
}

#[test]
fn pax_records() {
    let mut header = MemberHeader::new("f", Kind::File { size: 1 });
    header.xattrs.attributes.insert(b"user.big".to_vec(), noise(2 << 20, 1));
    both_ways(LimitName::Pax, &header, b"x");
}

#[test]
fn names() {
    let name = "n".repeat(200) + &("/".to_owned() + &"m".repeat(200)).repeat(400);
    both_ways(LimitName::Path, &MemberHeader::new(name.as_str(), Kind::File { size: 1 }), b"x");
}

#[test]
fn segments_of_sparse_files() {
    let segments = (0..100_000).map(|at| Segment { offset: at * 4096, len: 1 });
    let mut limits = Limits::default();
    limits.segments = 1 << 20;
    let size = 100_000 * 4096;
    let mut header = MemberHeader::new("f", Kind::File { size });
    header.sparse = Some(SparseMap::new(size, segments, &limits).unwrap());
    both_ways(LimitName::Segments, &header, &noise(100_000, 2));
}

/// Collects what failed.
#[derive(Default)]
struct Failures(Vec<Error>);

impl Observer for Failures {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Failed { path, error: Error::UnsafePath { reason, .. } } = event {
            self.0.push(Error::UnsafePath { path: path.clone(), reason: *reason });
        }
    }
}

#[test]
fn levels_of_names() {
    let name = "d/".repeat(9000) + "f";
    let header = MemberHeader::new(name.as_str(), Kind::File { size: 1 });
    let (tar, line) = member(&header, b"x");
    let mut forge = Forge::empty();
    forge.push(&deflated(&tar), &line);
    let bytes = forge.seal();
    let path = MemberPath::from(name.as_str());
    raised(LimitName::Components, Limits::default(), &|limits| {
        SafePath::new(&path, &limits).map(|_| ())
    });
    let mut options = ExtractOptions::default();
    options.dry_run = true;
    let target = tempfile::tempdir().unwrap();
    let restore = |limits: Limits| {
        let mut failures = Failures::default();
        let archive = Archive::open_with(bytes.as_slice(), limits)?;
        let all = Selection::default();
        isptar_core::extract(&archive, &all, target.path(), &options, &mut failures)?;
        let mut tar = TarReader::new(tar.as_slice(), limits)?;
        isptar_core::extract_sequential(&mut tar, &all, target.path(), &options, &mut failures)?;
        failures.0.pop().map_or(Ok(()), Err)
    };
    raised(LimitName::Components, Limits::default(), &restore);
}

#[test]
fn lines_of_the_listing() {
    let mut forge = Forge::of(&build(&[file("f", b"x")], 0));
    forge.level = 0;
    let long = "x".repeat(17 << 20);
    forge.replace("\n\n", &format!("\tnew={long}\n\n"));
    raised(LimitName::Line, Limits::default(), &|limits| listed(&forge.seal(), limits));
    // So long that the block alone tells.
    forge.replace("\n\n", &format!("\tnewer={long}\n\n"));
    raised(LimitName::Line, Limits::default(), &|limits| listed(&forge.seal(), limits));
    let mut limits = Limits::default();
    limits.line = 20;
    let bytes = build(&[file("f", b"x")], 0);
    let mut tries = 0;
    while let Err(error) = scanned(&bytes, limits) {
        // From front to back the end of the line is not known: twice what was met is told.
        let raise = error.raise().unwrap();
        assert_eq!(raise.name, LimitName::Line);
        limits.line = raise.to;
        tries += 1;
    }
    assert!((1..6).contains(&tries));
}

#[test]
fn growth_of_the_listing() {
    let mut forge = Forge::of(&build(&[file("f", b"x")], 6));
    forge.replace("\n\n", &format!("\tnew={}\n\n", "x".repeat(3 << 20)));
    let bytes = forge.seal();
    raised(LimitName::ListingRatio, Limits::default(), &|limits| listed(&bytes, limits));
    let many: Vec<Vec<u8>> = (0..20_000)
        .map(|number| format!("{number:0100}\t#0\t#0\t493\tdir\t0:1:0:0\n").into_bytes())
        .collect();
    forge.blocks = many;
    forge.blocks.push(b"\n".to_vec());
    let bytes = forge.seal_with(
        &|tables| tables.blocks.iter_mut().for_each(|block| block.first = vec![b'y'; 900].into()),
        &|_| {},
    );
    let opened = |limits| Archive::open_with(bytes.as_slice(), limits).map(|_| ());
    let error = opened(Limits::default()).unwrap_err();
    assert_eq!(error.raise().unwrap().name, LimitName::ListingRatio, "{error}");
}

#[test]
fn length_of_a_classic_listing() {
    let classic = std::fs::read_dir(testdata("classic")).unwrap().map(|file| file.unwrap().path());
    let classic = classic.filter(|path| path.extension().is_some_and(|end| end == "tgz"));
    let mut tried = 0;
    for path in classic {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(archive) = Archive::open(bytes.as_slice()) else { continue };
        if archive.entries().any(|entry| entry.is_err()) || archive.info().listing_real_size < 20 {
            continue;
        }
        let mut limits = Limits::default();
        limits.listing = 10;
        let read = |limits: Limits| {
            Archive::open_with(bytes.as_slice(), limits)?.entries().try_for_each(|e| e.map(|_| ()))
        };
        raised(LimitName::Listing, limits, &read);
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn archive_info() {
    let forge = Forge::of(&build(&[file("f", b"x")], 6));
    let bytes = forge.seal_with(&|_| {}, &|info| {
        info.unknown.push(("later".into(), "l".repeat(3000)));
    });
    raised(LimitName::Info, Limits::default(), &|limits| listed(&bytes, limits));
}

#[test]
fn groups() {
    let (tar, line) = member(&MemberHeader::new("f", Kind::File { size: 1 }), b"x");
    let before = (2 << 20) / 512;
    let mut group = vec![0; before * 512];
    group.extend_from_slice(&tar);
    let mut forge = Forge::empty();
    forge.push(&deflated(&group), &line.replace("{at}:0", &format!("{{at}}:{}", before * 512)));
    let bytes = forge.seal();
    raised(LimitName::Group, Limits::default(), &|limits| listed(&bytes, limits));
}

#[test]
fn a_stream_that_goes_on_and_on() {
    let (mut tar, line) = member(&MemberHeader::new("f", Kind::File { size: 1 }), b"x");
    tar.resize(6 << 20, 0);
    let mut forge = Forge::empty();
    forge.push(&deflated(&tar), &line);
    raised(LimitName::Group, Limits::default(), &|limits| listed(&forge.seal(), limits));
}

#[test]
fn chunks() {
    let (tar, line) = member(&MemberHeader::new("f", Kind::File { size: 512 }), &[7; 512]);
    let (head, chunk) = (stored(&tar[..512]), stored(&tar[512..]));
    let line = format!("{line}\tchunks={}:{},{}", 128 << 20, head.len(), chunk.len());
    let mut forge = Forge::empty();
    forge.push(&[head, chunk].concat(), &line);
    let bytes = forge.seal();
    raised(LimitName::Chunk, Limits::default(), &|limits| listed(&bytes, limits));
}

#[test]
fn keys_that_are_not_known() {
    let mut forge = Forge::of(&build(&[file("f", b"x")], 6));
    let keys: String = (0..300).map(|key| format!("\tkey{key}=1")).collect();
    forge.replace("\n\n", &format!("{keys}\n\n"));
    let bytes = forge.seal();
    raised(LimitName::UnknownKeys, Limits::default(), &|limits| listed(&bytes, limits));
}

#[test]
fn tables() {
    let mut forge = Forge::of(&build(&[file("f", b"x")], 6));
    forge.force_tables = true;
    let bytes = forge.seal();
    let mut limits = Limits::default();
    limits.tables = 10;
    raised(LimitName::Tables, limits, &|limits| listed(&bytes, limits));
}

#[test]
fn limits_as_high_as_numbers_go_are_no_overflow() {
    let mut limits = Limits::default();
    LimitName::ALL.into_iter().for_each(|name| limits.set(name, u64::MAX));
    let bytes = build(&super::support::every_kind(), 6);
    let archive = Archive::open_with(bytes.as_slice(), limits).unwrap();
    for entry in archive.entries() {
        archive.member(&entry.unwrap()).unwrap();
    }
    scanned(&bytes, limits).unwrap();
}

#[test]
fn a_bomb_that_is_read_from_front_to_back_takes_no_memory() {
    // A sequential reader has no cap on content: it holds one piece at a time.
    let size = 300u64 << 20;
    let header = MemberHeader::new("f", Kind::File { size });
    let mut limits = Limits::default();
    limits.path = 100;
    let mut tar = Vec::new();
    header.encode(&limits, &mut tar).unwrap();
    let input = tar.as_slice().chain(std::io::repeat(0).take(size + 1024));
    let mut tar = TarReader::new(input, limits).unwrap();
    let mut member = tar.next().unwrap().unwrap();
    let (mut most, mut sum) = (0, 0);
    while let Some(piece) = isptar_core::Content::next_piece(&mut member).unwrap() {
        most = most.max(piece.bytes.len());
        sum += piece.bytes.len() as u64;
    }
    assert_eq!(sum, size);
    assert!(most <= 64 << 10);
}

/// An archive whose entries go to and fro between two streams of 4 MB, each a group of all of them.
/// Before them stand `more` lines.
fn to_and_fro(count: usize, more: &str) -> Vec<u8> {
    let mut forge = Forge::empty();
    let mut places = Vec::new();
    for last in [0, 1] {
        let mut group = Vec::new();
        for number in 0..count {
            let kind = Kind::File { size: 0 };
            group.extend(tar_of(&MemberHeader::new(format!("f{number:04}").as_str(), kind), b""));
        }
        group.resize(4 << 20, 0);
        group.push(last);
        let stream = deflated(&group);
        places.push((forge.data.len(), stream.len()));
        forge.data.extend(stream);
    }
    let mut text = more.to_owned();
    for number in 0..count {
        let (at, packed) = places[number % 2];
        let zoffset = number * 512;
        let line = format!("f{number:04}\t#0\t#0\t420\tfile\t0\t0\t0:1:{at}:{zoffset}");
        text.push_str(&format!("{line}\tpacked={packed}\n"));
    }
    text.push('\n');
    forge.set_listing(&text);
    forge.seal()
}

/// Counts members that are good, and those that were refused.
#[derive(Default)]
struct Refused {
    good: usize,
    refused: usize,
    other: Vec<String>,
}

impl Observer for Refused {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { .. } => self.good += 1,
            Event::Failed { error, .. } => {
                let text = error.to_string();
                if text.contains("number of bytes decoded again is ") {
                    // No option lets it pass.
                    assert!(error.raise().is_none());
                    self.refused += 1;
                } else {
                    self.other.push(text);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_listing_that_goes_to_and_fro_is_not_decoded_for_every_entry() {
    // Those that lie, or are elsewhere, are none to go forward from.
    let line = |location: &str, packed: u64| {
        format!("a\t#0\t#0\t420\tfile\t0\t0\t{location}\tpacked={packed}\n")
    };
    let more = ["".into(), line("0:1:0:0", u64::MAX - 1), line("1:1:0:0", 1 << 50)];
    for more in more {
        for threads in [1, 2, 7] {
            limited_to_and_fro(&to_and_fro(200, &more), NonZero::new(threads));
        }
    }
}

fn limited_to_and_fro(bytes: &[u8], threads: Option<NonZero<usize>>) {
    let archive = Archive::open(bytes).unwrap();
    let all = Selection::default();
    let target = tempfile::tempdir().unwrap();
    let (mut extract, mut verify) = (Refused::default(), Refused::default());
    let mut options = ExtractOptions::default();
    options.threads = threads;
    isptar_core::extract(&archive, &all, target.path(), &options, &mut extract).unwrap();
    let mut options = isptar_core::VerifyOptions::default();
    options.threads = threads;
    isptar_core::verify(&archive, &all, &options, &mut verify).unwrap();
    // 64 MiB, and eight times what was decoded of both streams once, and the last one.
    for (job, heard) in [("extract", extract), ("verify", verify)] {
        assert!(heard.refused > 100, "{job}: {} {:?}", heard.refused, heard.other);
        let decoded = 200 - heard.refused;
        assert!((30..=36).contains(&decoded), "{job}: {decoded}");
    }
}

#[test]
fn hard_links_that_are_copied_are_never_refused() {
    // Of several streams, decoded for each link: the first name is not restored beside it.
    const LINKS: usize = 36;
    let content = vec![b'x'; 4 << 20];
    let mut items = vec![file("d/first", &content)];
    for number in 0..LINKS {
        let target = Kind::HardLink { target: "d/first".into() };
        items.push(super::support::other(&format!("e{number:03}/link"), target));
        items.push(file(&format!("e{number:03}/other"), b"between"));
    }
    let bytes = build(&items, 6);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let all = Selection::new(["e*/link"]).unwrap();
    let mut heard = Refused::default();
    let target = tempfile::tempdir().unwrap();
    let options = ExtractOptions::default();
    isptar_core::extract(&archive, &all, target.path(), &options, &mut heard).unwrap();
    assert_eq!((heard.good, heard.refused, heard.other.as_slice()), (LINKS, 0, &[][..]));
}
