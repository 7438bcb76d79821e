//! Archives that hold together and lie: each lie is found out, and nothing wrong is given out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use isptar_core::{
    Archive, Error, Event, ExtractOptions, Kind, MemberHeader, MemberPath, Observer, Selection,
};
use proptest::prelude::*;

use super::forge::{Forge, deflated, tar_of};
use super::support::{Item, build, dir, file, link, listed, noise, other, scan};

/// The sound archive from which lies are made.
fn sound() -> Vec<Item> {
    vec![
        dir("."),
        file("a", b"content of a"),
        dir("d"),
        file("d/big", &noise((1 << 20) + 700, 4)),
        file("d/file", b"content of d/file"),
        other("d/hard", Kind::HardLink { target: "d/file".into() }),
        link("l", "d/file"),
    ]
}

/// Collects what failed.
#[derive(Default)]
struct Failures(Vec<String>);

impl Observer for Failures {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Failed { error, .. } = event {
            self.0.push(error.to_string());
        }
    }
}

/// What may be given out under a name.
type Truth = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

fn truth(items: &[Item]) -> Truth {
    let mut truth = Truth::new();
    for item in items {
        let content = match &item.header.kind {
            Kind::HardLink { target } => {
                items.iter().find(|item| item.header.path == *target).unwrap().data.clone()
            }
            _ => item.data.clone(),
        };
        truth.entry(item.header.path.as_bytes().to_vec()).or_default().push(content);
    }
    truth
}

/// Reads an archive in every way and returns all errors; what is given out must be true.
fn errors(bytes: &[u8], truth: &Truth) -> Vec<String> {
    let mut errors = Vec::new();
    let _sequential = scan(bytes);
    let archive = match Archive::open(bytes) {
        Ok(archive) => archive,
        Err(error) => return vec![error.to_string()],
    };
    listed(&archive);
    for entry in archive.entries() {
        match entry {
            Ok(entry) => read_entry(&archive, &entry, truth, &mut errors),
            Err(error) => errors.push(error.to_string()),
        }
    }
    for name in [".", "a", "d/file", "d/big", "d/hard", "l", "nothing"] {
        match archive.find(&name.into()) {
            Ok(Some(entry)) => assert_eq!(entry.path, MemberPath::from(name)),
            Ok(None) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    restore(&archive, truth, &mut errors);
    errors
}

fn read_entry(
    archive: &Archive<&[u8]>,
    entry: &isptar_core::Entry,
    truth: &Truth,
    errors: &mut Vec<String>,
) {
    let known = truth.get(entry.path.as_bytes());
    for (start, end) in [(0, u64::MAX), (3, 8), (1 << 20, (1 << 20) + 5)] {
        let mut out = Vec::new();
        match archive.copy_range(entry, start, end, &mut out) {
            Ok(()) if matches!(entry.kind, Kind::File { .. }) => {
                let cut = |data: &[u8]| {
                    let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
                    data[at(start)..at(end)].to_vec()
                };
                // Nothing is no wrong content: the entry may say that it ends before.
                let is_nothing = start > 0 && out.is_empty();
                let is_true =
                    is_nothing || known.is_some_and(|all| all.iter().any(|data| cut(data) == out));
                assert!(is_true, "{} {start}..{end}: {} wrong bytes", entry.path, out.len());
            }
            Ok(()) | Err(Error::NotAFile { .. }) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
}

/// Restores an archive, checks the files, and that nothing appeared beside the target.
fn restore(archive: &Archive<&[u8]>, truth: &Truth, errors: &mut Vec<String>) {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("in/target");
    let mut failures = Failures::default();
    let options = ExtractOptions::default();
    let all = Selection::default();
    let report = isptar_core::extract(archive, &all, &target, &options, &mut failures);
    errors.append(&mut failures.0);
    errors.extend(report.err().map(|error| error.to_string()));
    for found in walkdir::WalkDir::new(base.path()).min_depth(1) {
        let found = found.unwrap();
        let Ok(name) = found.path().strip_prefix(&target) else {
            assert!(found.path() == base.path().join("in"), "{found:?} is outside");
            continue;
        };
        if !found.file_type().is_file() {
            continue;
        }
        let name = name.as_os_str().as_encoded_bytes();
        let content = fs::read(found.path()).unwrap();
        let is_true = truth.get(name).is_some_and(|all| all.contains(&content));
        assert!(is_true, "{found:?} has {} wrong bytes", content.len());
    }
}

/// A lie: its name, the archive that tells it, and what an error must say.
type Lie = (&'static str, Vec<u8>, &'static str);

/// Returns the field `number` of the line of `path`, and all of that line.
fn line_of(forge: &Forge, path: &str) -> String {
    let text = forge.listing();
    text.lines().find(|line| line.starts_with(&format!("{path}\t"))).unwrap().to_owned()
}

/// Lies in the line of one entry: location, sizes, chunks, keys.
#[allow(clippy::too_many_lines, reason = "a table")]
fn lines() -> Vec<Lie> {
    let forge = Forge::of(&build(&sound(), 6));
    let a = line_of(&forge, "a");
    let big = line_of(&forge, "d/big");
    let value = |line: &str, key: &str| {
        let from = line.find(key).unwrap() + key.len();
        line[from..].split(['\t', ':']).next().unwrap().to_owned()
    };
    let (at, packed, end) = (value(&a, "\t0:1:"), value(&a, "packed="), forge.data.len());
    let big_packed: u64 = value(&big, "packed=").parse().unwrap();
    let chunks = big[big.find("chunks=").unwrap()..].split('\t').next().unwrap().to_owned();
    let parts: Vec<u64> =
        chunks.split(':').nth(1).unwrap().split(',').map(|p| p.parse().unwrap()).collect();
    let other_at = value(&line_of(&forge, "d/file"), "\t0:1:");
    let location = |to: String| (format!("0:1:{at}:0"), to);
    let size = |to: &str| (format!("packed={packed}"), format!("packed={to}"));
    let chunk = |to: String| (chunks.clone(), to);
    let [p0, p1, p2] = parts[..] else { panic!("{parts:?}") };
    let mib = 1 << 20;
    let changes = [
        ("offset past the end", location(format!("0:1:{}:0", end + 100_000)), "ends after"),
        ("offset in the listing", location(format!("0:1:{}:0", end + 535)), "ends after"),
        ("offset where data ends", location(format!("0:1:{end}:0")), "ends after"),
        ("offset of another member", location(format!("0:1:{other_at}:0")), "corrupt member a"),
        (
            "offset in a stream",
            location(format!("0:1:{}:0", at.parse::<u64>().unwrap() + 3)),
            "gzip",
        ),
        ("offset 0", location("0:1:0:0".into()), "packed size of a stream"),
        ("negative offset", location(format!("0:1:-{at}:0")), "location"),
        ("offset 10^19", location("0:1:10000000000000000000:0".into()), "ends after"),
        ("offset 2^64", location("0:1:18446744073709551616:0".into()), "location"),
        ("offset 2^64-1", location("0:1:18446744073709551615:0".into()), "ends after"),
        ("slice 2", location(format!("0:2:{at}:0")), "slice of a location"),
        (
            "depth 1 without a base",
            location(format!("1:1:{at}:0")),
            "base of the location is missing",
        ),
        ("depth 2^32", location(format!("4294967296:1:{at}:0")), "location"),
        ("zoffset in the data", location(format!("0:1:{at}:512")), "corrupt member a"),
        ("zoffset at the end", location(format!("0:1:{at}:1024")), "tar header is missing"),
        ("zoffset not a block", location(format!("0:1:{at}:100")), "whole blocks"),
        ("zoffset 2^63", location(format!("0:1:{at}:9223372036854775808")), "limit is 1048576"),
        ("five numbers", location(format!("0:1:{at}:0:0")), "location"),
        ("no location", (format!("\t0:1:{at}:0"), String::new()), "location is missing"),
        ("packed 0", size("0"), "corrupt member a"),
        ("packed too small", size("50"), "corrupt member a"),
        (
            "packed too large",
            size(&(packed.parse::<u64>().unwrap() + 9).to_string()),
            "packed size",
        ),
        ("packed huge", size("10000000000000000000"), "ends after"),
        ("packed 2^64-1", size("18446744073709551615"), "ends after"),
        ("packed twice", size(&format!("{packed}\tpacked={packed}")), "stands twice"),
        ("no packed", (format!("\tpacked={packed}"), String::new()), "packed is missing"),
        (
            "no digest",
            (a[a.find("\tsha256").unwrap()..].to_owned(), String::new()),
            "sha256 is missing",
        ),
        (
            "size smaller",
            ("file\t1700000000\t12".into(), "file\t1700000000\t11".into()),
            "kind in the tar header",
        ),
        (
            "size larger",
            ("file\t1700000000\t12".into(), "file\t1700000000\t4096".into()),
            "kind in the tar header",
        ),
        (
            "size 2^64-1",
            ("file\t1700000000\t12".into(), "file\t1700000000\t18446744073709551615".into()),
            "kind in the tar header",
        ),
        (
            "another time",
            ("1700000000\t12\t".into(), "1700000001\t12\t".into()),
            "mtime in the tar header",
        ),
        (
            "mode above 7777",
            ("\t420\tfile\t1700000000\t12\t".into(), "\t4096\tfile\t1700000000\t12\t".into()),
            "mode",
        ),
        (
            "a directory as a file",
            ("\t493\tdir\t".into(), "\t493\tfile\t1600000000\t5\t".into()),
            "tar header",
        ),
        (
            "a file as a directory",
            ("file\t1700000000\t12\t".into(), "dir\t".into()),
            "kind in the tar header",
        ),
        ("sum of chunks", chunk(format!("chunks={mib}:{p0},{p1},{}", p2 + 1)), "sum of chunks"),
        (
            "chunks shifted",
            chunk(format!("chunks={mib}:{p0},{},{}", p1 - 1, p2 + 1)),
            "corrupt member d/big",
        ),
        (
            "header chunk shifted",
            chunk(format!("chunks={mib}:{},{},{p2}", p0 + 1, p1 - 1)),
            "corrupt member d/big",
        ),
        ("one chunk less", chunk(format!("chunks={mib}:{p0},{}", p1 + p2)), "number of chunks"),
        ("one chunk more", chunk(format!("chunks={mib}:{p0},{p1},{p2},0")), "number of chunks"),
        (
            "zero packed chunk",
            chunk(format!("chunks={mib}:{p0},0,{}", p1 + p2)),
            "corrupt member d/big",
        ),
        (
            "all in the first",
            chunk(format!("chunks={mib}:{big_packed},0,0")),
            "corrupt member d/big",
        ),
        ("chunk size 0", chunk(format!("chunks=0:{p0},{p1},{p2}")), "chunks"),
        ("chunk size 1000", chunk(format!("chunks=1000:{p0},{p1},{p2}")), "chunks"),
        ("chunk size 512", chunk(format!("chunks=512:{p0},{p1},{p2}")), "number of chunks"),
        (
            "chunk size twice",
            chunk(format!("chunks={}:{p0},{p1},{p2}", 2 * mib)),
            "number of chunks",
        ),
        (
            "chunk size 2^62",
            chunk(format!("chunks={}:{p0},{p1},{p2}", 1u64 << 62)),
            "limit is 67108864",
        ),
        ("chunk size 2^64", chunk(format!("chunks=18446744073709551616:{p0},{p1},{p2}")), "chunks"),
        (
            "chunks that overflow",
            chunk(format!("chunks={mib}:18446744073709551615,{p1},{p2}")),
            "above 2^64",
        ),
        ("no chunks", (format!("\t{chunks}"), String::new()), "corrupt member d/big"),
        (
            "chunks of a directory",
            (
                "\tmtime=1600000000".into(),
                format!(
                    "\tmtime=1600000000\tchunks={mib}:{}",
                    value(&line_of(&forge, "."), "packed=")
                ),
            ),
            "type of a chunked member",
        ),
        (
            "hard link to itself",
            ("hard\td/file".into(), "hard\td/hard".into()),
            "target of a hard link",
        ),
        (
            "hard link to another file",
            ("hard\td/file".into(), "hard\ta".into()),
            "kind in the tar header",
        ),
        (
            "another link target",
            ("link\td/file".into(), "link\t/etc/passwd".into()),
            "kind in the tar header",
        ),
        ("unknown escape", ("a\t#0".into(), "a\\x\t#0".into()), "name"),
        ("a tab too many", ("a\t#0".into(), "a\t\t#0".into()), "user"),
        ("no type", ("\tfile\t1700000000\t12".into(), String::new()), "type"),
        ("empty key", ("\tsha256=".into(), "\t=".into()), "sha256 is missing"),
    ];
    changes
        .into_iter()
        .map(|(name, (from, to), error)| {
            let mut lying = forge.clone();
            // Of a change that several lines could have, the first is meant.
            let text = lying.listing();
            assert!(text.contains(&from), "{name}: {from:?} is not in {text}");
            lying.set_listing(&text.replacen(&from, &to, 1));
            (name, lying.seal(), error)
        })
        .collect()
}

/// Lies of the listing as a whole, of tables, archive info and the parts around them.
#[allow(clippy::too_many_lines, reason = "a table")]
fn wholes() -> Vec<Lie> {
    let forge = Forge::of(&build(&sound(), 6));
    let text = forge.listing();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let listing = |lines: &[&str]| {
        let mut lying = forge.clone();
        lying.set_listing(&(lines.join("\n") + "\n\n"));
        lying
    };
    let mut twice = lines.clone();
    twice.insert(2, lines[1]);
    let mut swapped = lines.clone();
    swapped.swap(1, 4);
    let mut two_roots = lines.clone();
    two_roots.insert(1, lines[0]);
    let mut blocks = forge.clone();
    blocks.blocks = lines.iter().map(|line| format!("{line}\n").into_bytes()).collect();
    blocks.blocks.push(b"\n".to_vec());
    let last = blocks.blocks.pop().unwrap();
    blocks.blocks.last_mut().unwrap().extend(last);
    let none = &|_: &mut _| {};
    let info = |change: &dyn Fn(&mut isptar_core::format::info::ArchiveInfo)| {
        forge.seal_with(&|_| {}, change)
    };
    let key = |from: &'static str, to: &'static str| {
        forge.seal_text(&|_| {}, &|_| {}, &|text| {
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(from));
            text.replacen(from, to, 1).into_bytes()
        })
    };
    let table =
        |change: &dyn Fn(&mut isptar_core::format::tables::Tables)| blocks.seal_with(change, none);
    let good = forge.seal();
    let mut no_end = forge.clone();
    no_end.set_listing(text.trim_end());
    let mut two_ends = forge.clone();
    two_ends.set_listing(&format!("{text}\n"));
    let mut cut_line = blocks.clone();
    let moved = cut_line.blocks[1].split_off(5);
    cut_line.blocks[2].splice(0..0, moved);
    let count = lines.len() as u64;
    vec![
        ("a name twice", listing(&twice).seal(), "a name after a"),
        ("unsorted", listing(&swapped).seal(), "a name after"),
        ("two roots", listing(&two_roots).seal(), "a name after ."),
        ("two trailers", [good.as_slice(), &good[good.len() - 64..]].concat(), "corrupt archive"),
        ("no empty line", no_end.seal(), "line feed at the end"),
        ("two empty lines", two_ends.seal(), "end of the listing"),
        ("a line over two blocks", cut_line.seal(), ""),
        ("more entries", info(&|info| info.entries += 1), "entries"),
        ("fewer entries", info(&|info| info.entries -= 1), "entries"),
        ("2^64-1 entries", info(&|info| info.entries = u64::MAX), "entries"),
        ("another identity", info(&|info| info.listing_sha256 = Some([1; 32])), "the listing"),
        ("listing_size", info(&|info| info.listing_size += 1), "length of the archive"),
        ("listing_size huge", info(&|info| info.listing_size = u64::MAX), "above 2^64"),
        ("data_size smaller", info(&|info| info.data_size -= 1), "length of the archive"),
        ("data_size huge", info(&|info| info.data_size = u64::MAX - 600), "length of the archive"),
        (
            "sizes that balance",
            info(&|info| {
                info.data_size -= 50;
                info.listing_size += 50;
            }),
            "corrupt archive",
        ),
        (
            "listing_real_size larger",
            info(&|info| info.listing_real_size += 1),
            "size of a listing block",
        ),
        (
            "listing_real_size smaller",
            info(&|info| info.listing_real_size -= 1),
            "size of a listing block",
        ),
        ("listing_real_size huge", info(&|info| info.listing_real_size = u64::MAX), "limit is"),
        ("tables that are not there", info(&|info| info.tables_size = 10), "corrupt archive"),
        (
            "tables larger than all",
            info(&|info| info.tables_size = info.listing_size + 1),
            "tables_size",
        ),
        ("a key twice", key("sorted=1\n", "sorted=1\nsorted=1\n"), "stands twice"),
        ("a negative number", key("entries=", "entries=-"), "entries"),
        (
            "another header length",
            key("listing_header=512", "listing_header=1024"),
            "listing_header",
        ),
        ("no format", key("format=2\n", ""), "format is missing"),
        ("format 10^30", key("format=2\n", "format=1000000000000000000000000000000\n"), "format"),
        ("a line without a value", key("sorted=1\n", "sorted\n"), "archive info line"),
        ("block packed", table(&|tables| tables.blocks[1].packed += 1), "corrupt archive"),
        (
            "blocks shifted",
            table(&|tables| {
                tables.blocks[1].packed += 1;
                tables.blocks[2].packed -= 1;
            }),
            "packed size of a",
        ),
        (
            "blocks overflow",
            table(&|tables| {
                tables.blocks[0].packed = u64::MAX;
            }),
            "corrupt archive",
        ),
        ("block real", table(&|tables| tables.blocks[1].real += 1), "corrupt archive"),
        ("block real huge", table(&|tables| tables.blocks[1].real = u64::MAX), "corrupt archive"),
        (
            "block reals shifted",
            table(&|tables| {
                tables.blocks[1].real += 1;
                tables.blocks[2].real -= 1;
            }),
            "size of a listing block",
        ),
        (
            "block entries shifted",
            table(&|tables| {
                tables.blocks[1].entries += 1;
                tables.blocks[2].entries -= 1;
            }),
            "number of entries",
        ),
        ("block entries", table(&|tables| tables.blocks[1].entries += 1), "corrupt archive"),
        ("a first name", table(&|tables| tables.blocks[2].first = "b".into()), "first name"),
        (
            "first names unsorted",
            table(&|tables| tables.blocks[2].first = "zz".into()),
            "first name",
        ),
        (
            "the first first name",
            table(&|tables| tables.blocks[0].first = "!".into()),
            "first name",
        ),
        (
            "a block less",
            table(&|tables| {
                tables.blocks.remove(1);
            }),
            "corrupt archive",
        ),
        (
            "a block more",
            table(&|tables| {
                let more = tables.blocks[1].clone();
                tables.blocks.insert(1, more);
            }),
            "corrupt archive",
        ),
        ("no blocks", table(&|tables| tables.blocks.clear()), ""),
        (
            "a base that escapes",
            table(&|tables| {
                tables.bases.push(isptar_core::format::tables::Base {
                    depth: 1,
                    identity: [0; 32],
                    name: b"../x".to_vec(),
                })
            }),
            "base",
        ),
        (
            "all entries gone",
            {
                let mut lying = forge.clone();
                lying.set_listing("\n");
                lying.seal_with(&|_| {}, &move |info| info.entries = count)
            },
            "entries",
        ),
    ]
}

/// Lies that header and listing tell together, or against each other.
fn names() -> Vec<Lie> {
    let member = |name: &str, in_listing: &str, kind: Kind| {
        let mut header = MemberHeader::new(name, kind);
        header.mtime = isptar_core::Timestamp::new(1_600_000_000, 0);
        let word = match &header.kind {
            Kind::File { .. } => "file\t1600000000\t0".to_owned(),
            Kind::Symlink { target } => format!("link\t{}", String::from_utf8_lossy(target)),
            Kind::HardLink { target } => format!("hard\t{target}"),
            _ => "dir".to_owned(),
        };
        let line = format!("{in_listing}\t#0\t#0\t420\t{word}\t0:1:{{at}}:0\tpacked={{packed}}");
        (deflated(&tar_of(&header, b"")), line)
    };
    let archive = |members: &[(Vec<u8>, String)], sorted: bool| {
        let mut forge = Forge::of(&build(&sound(), 6));
        forge.sorted = sorted;
        members.iter().for_each(|(stream, line)| forge.push(stream, line));
        forge.seal()
    };
    let empty = || Kind::File { size: 0 };
    let to = |target: &str| Kind::Symlink { target: target.into() };
    let hard = |target: &str| Kind::HardLink { target: target.into() };
    let one = |name: &str, listed: &str, kind: Kind| archive(&[member(name, listed, kind)], false);
    vec![
        ("escapes in both", one("../x", "../x", empty()), "unsafe member path ../x"),
        ("escapes in the listing", one("x", "../x", empty()), "../x"),
        ("escapes in the header", one("../x", "x", empty()), "name in the tar header"),
        ("absolute in the listing", one("x", "/x", empty()), "/x"),
        ("absolute in the header", one("/x", "x", empty()), "name in the tar header"),
        (".. in the middle", one("d/../../x", "d/../../x", empty()), "unsafe member path"),
        ("the root as a file", one(".", ".", empty()), "directory"),
        ("no name", one("", "", empty()), ""),
        ("below a file", one("a/x", "a/x", empty()), "cannot restore a/x"),
        (
            "below a link that escapes",
            archive(
                &[
                    member("out", "out", to("/")),
                    member("out/tmp/isptar-x", "out/tmp/isptar-x", empty()),
                ],
                false,
            ),
            "",
        ),
        (
            "below a link in the target",
            archive(&[member("in", "in", to("d")), member("in/x", "in/x", empty())], false),
            "",
        ),
        ("hard link out", one("h", "h", hard("../x")), "unsafe"),
        ("hard link to a directory", one("h", "h", hard("d")), "hard link"),
        ("hard link to nothing", one("h", "h", hard("nothing")), "hard link"),
        ("hard link to a hard link", one("h", "h", hard("d/hard")), "hard link"),
        (
            "hard links in a ring",
            archive(&[member("h", "h", hard("i")), member("i", "i", hard("h"))], false),
            "hard link",
        ),
        ("a directory again as a file", one("d", "d", empty()), "d"),
        (
            "sorted=1 and out of order",
            archive(&[member("b", "b", empty())], true),
            "a name after l",
        ),
    ]
}

#[test]
fn lies_are_found_out() {
    let mut told = String::new();
    let mut allowed = truth(&sound());
    for name in ["", "x", "b", "d", "a/x", "in/x", "h", "i", ".", "/x", "../x", "out/tmp/isptar-x"]
    {
        allowed.entry(name.into()).or_default().push(Vec::new());
    }
    allowed.insert(b"d/../../x".to_vec(), vec![Vec::new()]);
    // A hard link to another one has the content of the first name.
    allowed.get_mut(&b"h"[..]).unwrap().push(b"content of d/file".to_vec());
    let tmp = std::path::Path::new("/tmp/isptar-x");
    let all = lines().into_iter().chain(wholes()).chain(names());
    for (name, bytes, expected) in all {
        let errors = errors(&bytes, &allowed);
        assert!(!tmp.exists(), "{name}");
        if errors.is_empty() || !errors.iter().any(|error| error.contains(expected)) {
            writeln!(told, "{name}: expected {expected:?}, was told {errors:#?}").unwrap();
        }
    }
    assert!(told.is_empty(), "{told}");
    assert!(errors(&Forge::of(&build(&sound(), 6)).seal(), &allowed).is_empty(), "the sound one");
}

#[test]
fn an_archive_inside_an_archive_is_not_taken_for_it() {
    let inner = build(&[file("inner", b"a file of the inner archive")], 0);
    let outer = build(&[file("a", b"1"), file("z.tar.gz", &inner)], 0);
    // Stored, it stands there byte for byte: cut there, the outer one ends as the inner one does.
    let at = outer.windows(inner.len()).position(|window| window == inner).unwrap();
    let cut = &outer[..at + inner.len()];
    let error = Archive::open(cut).unwrap_err();
    assert!(error.to_string().contains("length of the archive"), "{error}");
    assert!(Archive::open(&outer[at..at + inner.len()]).is_ok());
    let (_, ended) = scan(cut);
    assert!(!matches!(ended, Ok(false)), "read from front to back, it is cut");
}

#[test]
fn names_twice_in_a_listing_without_order_are_those_of_the_last() {
    let mut options = super::support::level(6);
    options.sorted = false;
    let items = [file("a", b"first"), file("a", b"second")];
    let (bytes, _) = super::support::build_with(&items, &options);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    assert!(!archive.info().sorted);
    let entry = archive.find(&"a".into()).unwrap().unwrap();
    assert_eq!(super::support::read(&archive, &entry).unwrap(), b"second");
    let target = tempfile::tempdir().unwrap();
    let all = Selection::default();
    let options = ExtractOptions::default();
    isptar_core::extract(&archive, &all, target.path(), &options, &mut Failures::default())
        .unwrap();
    assert_eq!(fs::read(target.path().join("a")).unwrap(), b"second");
}

#[test]
fn a_listing_that_is_a_bomb_is_refused_by_its_numbers() {
    // 10 GiB of text, were they to be unpacked: each block honest, and 1,000 times its packed size.
    let mut forge = Forge::of(&build(&[file("a", b"1")], 6));
    let long = "x".repeat(8 << 20);
    let name = |number: u32| format!("n{number:08}");
    forge.blocks = (0..2)
        .map(|number| format!("{}\t#0\t#0\t493\tdir\tnew={long}\n", name(number)).into_bytes())
        .collect();
    forge.blocks.last_mut().unwrap().push(b'\n');
    let error = Archive::open(forge.seal().as_slice())
        .and_then(|archive| archive.entries().try_for_each(|entry| entry.map(|_| ())))
        .unwrap_err();
    assert!(error.to_string().contains("the limit is 1048576"), "{error}");
    // A line of a gigabyte, as a number and as bytes.
    let claims = forge.seal_with(&|tables| tables.blocks[0].real += 1 << 30, &|info| {
        info.listing_real_size += 1 << 30;
    });
    let error = Archive::open(claims.as_slice())
        .and_then(|archive| archive.entries().try_for_each(|entry| entry.map(|_| ())))
        .unwrap_err();
    assert!(error.to_string().contains("limit is"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Any field of any line replaced by any of many values, everything around it made right.
    #[test]
    fn a_wrong_field_is_found_or_changes_nothing(
        line in 0usize..7,
        field in 0usize..12,
        part in 0usize..6,
        number in any::<u64>(),
        kind in 0usize..8,
        sorted in any::<bool>(),
        in_blocks in any::<bool>(),
    ) {
        let mut forge = Forge::of(small());
        forge.sorted = sorted;
        let text = forge.listing();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut fields: Vec<String> = lines[line].split('\t').map(str::to_owned).collect();
        let at = field % fields.len();
        let others: Vec<&str> = text.split(['\t', '\n']).collect();
        let near = number % 3000;
        let value = match kind {
            0 => number.to_string(),
            1 => near.to_string(),
            2 => others[usize::try_from(near).unwrap() % others.len()].to_owned(),
            3 => String::new(),
            4 => "../".repeat(usize::try_from(near % 5).unwrap()) + "x",
            5 => format!("-{near}"),
            6 => "\\".to_owned(),
            _ => forge.data.len().saturating_sub(usize::try_from(near).unwrap()).to_string(),
        };
        // A part of a field: of a location, of chunks, the value of a key.
        let seps = [':', ',', '=', '#'];
        let cuts: Vec<usize> =
            fields[at].char_indices().filter(|(_, c)| seps.contains(c)).map(|(i, _)| i + 1).collect();
        fields[at] = match cuts.get(part.saturating_sub(1)).filter(|_| part > 0) {
            Some(&cut) => {
                let rest = &fields[at][cut..];
                let end = rest.find(seps).unwrap_or(rest.len());
                format!("{}{value}{}", &fields[at][..cut], &rest[end..])
            }
            None => value,
        };
        lines[line] = fields.join("\t");
        forge.set_listing(&(lines.join("\n") + "\n"));
        if in_blocks {
            forge.blocks = forge.listing().split_inclusive('\n').map(|l| l.as_bytes().to_vec()).collect();
            let end = forge.blocks.pop().unwrap();
            forge.blocks.last_mut().unwrap().extend(end);
        }
        let _errors = errors(&forge.seal(), small_truth());
    }
}

fn cases() -> u32 {
    if std::env::var_os("ISPTAR_SLOW_TESTS").is_some_and(|set| set == "1") { 100_000 } else { 300 }
}

fn small_items() -> Vec<Item> {
    let mut items = sound();
    items.retain(|item| item.header.path.as_bytes() != b"d/big");
    items.push(file("m", &vec![b'z'; (1 << 20) + 600]));
    items.push(file("n", b""));
    items
}

fn small() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| build(&small_items(), 6))
}

fn small_truth() -> &'static Truth {
    static TRUTH: std::sync::OnceLock<Truth> = std::sync::OnceLock::new();
    TRUTH.get_or_init(|| truth(&small_items()))
}
