//! Repair: every member that is whole comes back, nothing else does, and what is lost is told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use isptar_core::{
    Archive, Entry, Error, Event, Kind, Limits, ListingState, Observer, ReadAt, RepairOptions,
    RepairReport, Selection, VerifyOptions, WriteSink, repair, verify,
};

use super::support::{
    Counting, Item, Seen, build, dir, entries, every_kind, file, level, link, noise, other, read,
    scan,
};

/// What a repair told.
#[derive(Debug, Default)]
struct Told {
    done: Vec<String>,
    failed: Vec<String>,
    damaged: Vec<Range<u64>>,
}

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { entry } => self.done.push(entry.path.to_string()),
            Event::Failed { path, .. } => self.failed.push(path.to_string()),
            Event::Damaged { range, .. } => self.damaged.push(range),
            _ => {}
        }
    }
}

/// A repaired archive.
struct Repaired {
    archive: Archive<Vec<u8>>,
    report: RepairReport,
    told: Told,
}

impl Repaired {
    fn names(&self) -> BTreeSet<String> {
        self.told.done.iter().cloned().collect()
    }
}

/// Everything that verify finds wrong with an archive.
fn complaints<R: ReadAt>(archive: &Archive<R>) -> Vec<String> {
    struct Wrong(Vec<String>);
    impl Observer for Wrong {
        fn event(&mut self, event: Event<'_>) {
            match event {
                Event::Failed { error, .. } => self.0.push(error.to_string()),
                Event::Damaged { range, error } => self.0.push(format!("{range:?}: {error}")),
                _ => {}
            }
        }
    }
    let mut wrong = Wrong(Vec::new());
    let options = VerifyOptions::default();
    let report = verify(archive, &Selection::default(), &options, &mut wrong).unwrap();
    assert_eq!(report.is_good(), wrong.0.is_empty());
    wrong.0
}

fn repaired(damaged: &[u8]) -> Result<Repaired, Error> {
    let (mut bytes, mut told) = (Vec::new(), Told::default());
    let options = RepairOptions::default();
    let mut sink = WriteSink::new(&mut bytes);
    let report = repair(&damaged, &mut sink, &options, &mut told)?;
    assert_eq!(report.archive_size, bytes.len() as u64);
    // A look without writing tells the same.
    let mut looked = Told::default();
    let look = isptar_core::repair::scan(&damaged, &options, &mut looked).unwrap();
    assert_eq!((&looked.done, &looked.failed), (&told.done, &told.failed));
    assert_eq!(
        (look.members, look.lost, look.damaged),
        (report.members, report.lost, report.damaged)
    );
    let archive = Archive::open(bytes).unwrap();
    assert_eq!(complaints(&archive), Vec::<String>::new(), "of what was repaired: {told:?}");
    Ok(Repaired { archive, report, told })
}

/// An archive, and what repair has to bring back of it.
struct Whole {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    contents: BTreeMap<String, Vec<u8>>,
    data_end: usize,
}

impl Whole {
    fn new(bytes: Vec<u8>) -> Self {
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let entries = entries(&archive);
        let content = |entry: &Entry| match entry.kind {
            Kind::File { .. } => read(&archive, entry).unwrap(),
            _ => Vec::new(),
        };
        let contents =
            entries.iter().map(|entry| (entry.path.to_string(), content(entry))).collect();
        let data_end = usize::try_from(archive.info().data_size).unwrap();
        drop(archive);
        Self { bytes, entries, contents, data_end }
    }

    /// Returns the names of the members that bytes `damage` do not touch, and whose first name
    /// they do not touch either.
    fn spared(&self, damage: &Range<usize>) -> BTreeSet<String> {
        let hit = |entry: &Entry| {
            let range = entry.claimed_range();
            range.start < damage.end as u64 && (damage.start as u64) < range.end
        };
        let lost: Vec<_> =
            self.entries.iter().filter(|entry| hit(entry)).map(|entry| &entry.path).collect();
        let spared = self.entries.iter().filter(|entry| {
            !hit(entry)
                && !matches!(&entry.kind, Kind::HardLink { target } if lost.contains(&target))
        });
        spared.map(|entry| entry.path.to_string()).collect()
    }

    /// Checks what repair made of `damaged`: exactly these members, each with its content, and
    /// with its old entry when the listing was to be had.
    fn check(&self, damaged: &[u8], expected: &BTreeSet<String>, what: &str) -> Option<Repaired> {
        let repaired = match repaired(damaged) {
            Ok(repaired) => repaired,
            Err(Error::NothingWhole { .. } | Error::Foreign { .. }) if expected.is_empty() => {
                return None;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(&repaired.names(), expected, "{what}: {:?}", repaired.told);
        self.check_members(&repaired, what);
        Some(repaired)
    }

    /// Checks that members have the content that they had.
    fn check_contents(&self, repaired: &Repaired, what: &str) {
        for entry in entries(&repaired.archive) {
            let name = entry.path.to_string();
            if let Kind::File { .. } = entry.kind {
                assert!(read(&repaired.archive, &entry).unwrap() == self.contents[&name], "{what}");
            }
            let old = self.entries.iter().find(|old| old.path == entry.path);
            assert_eq!(old.map(|old| &old.kind), Some(&entry.kind), "{what}: {name}");
        }
    }

    fn check_members(&self, repaired: &Repaired, what: &str) {
        let archive = &repaired.archive;
        let all = entries(archive);
        assert_eq!(all.len() as u64, repaired.report.members + repaired.report.carried);
        for entry in &all {
            let name = entry.path.to_string();
            let old = self.entries.iter().find(|old| old.path == entry.path);
            let old = old.unwrap_or_else(|| panic!("{what}: {name} is alien"));
            if repaired.report.listing == ListingState::Whole {
                let moved = Entry { location: entry.location, ..old.clone() };
                assert_eq!(entry, &moved, "{what}");
            } else {
                assert_eq!((&entry.kind, entry.digest), (&old.kind, old.digest), "{what}");
                assert_eq!((entry.mode, entry.uid), (old.mode, old.uid), "{what}");
                assert_eq!((&entry.chunks, entry.packed), (&old.chunks, old.packed), "{what}");
            }
            let content = match entry.kind {
                Kind::File { .. } => read(archive, entry).unwrap(),
                _ => archive.member(entry).map(|_| Vec::new()).unwrap(),
            };
            assert!(content == self.contents[&name], "{what}: {name}");
        }
        let sorted = all.windows(2).all(|pair| pair[0].path < pair[1].path);
        assert_eq!(archive.info().sorted, sorted, "{what}");
        // It stays so once it is.
        assert!(archive.info().incomplete >= repaired.report.is_incomplete(), "{what}");
    }
}

/// A small archive with everything that repair treats in its own way.
fn sample() -> Vec<Item> {
    let hard = |path: &str, target: &str| other(path, Kind::HardLink { target: target.into() });
    vec![
        dir("."),
        dir("d"),
        file("d/a", b"first name of a file"),
        hard("d/b", "d/a"),
        file("d/c", &b"some text, some text\n".repeat(40)),
        file(&format!("d/{}", "long".repeat(60)), b"long name"),
        file("e", b""),
        link("l", "d/a"),
        file("n", &noise(700, 3)),
        hard("z", "d/c"),
    ]
}

/// A chunked file in a few kilobytes.
fn chunked() -> Vec<Item> {
    let mut data = vec![7; (2 << 20) + 1000];
    data[1_500_000] = 1;
    vec![file("a", b"before"), file("big", &data), file("c", b"behind")]
}

/// Returns by how many bytes a test goes on at once: archives of megabytes take their time.
fn step(items: &[Item]) -> usize {
    let is_slow = std::env::var_os("ISPTAR_SLOW_TESTS").is_some_and(|set| set == "1");
    if is_slow || items.iter().all(|item| item.data.len() < 1 << 20) { 1 } else { 13 }
}

/// Puts streams in the place of all members of an archive, by hand: groups.
fn grouped() -> Vec<u8> {
    let items = [file("a", b"1"), file("b", b"22"), file("c", b"333"), file("d", b"4444")];
    let bytes = build(&items, 0);
    let old = Whole::new(bytes);
    // One stream of the members b and c.
    let tar = |entry: &Entry| {
        let (offset, len) = entry.range().unwrap();
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
        let mut tar = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&old.bytes[range]);
        std::io::Read::read_to_end(&mut decoder, &mut tar).unwrap();
        tar
    };
    let both = [tar(&old.entries[1]), tar(&old.entries[2])].concat();
    let mut stream = Vec::new();
    let mut packer = isptar_core::codec::Packer::new(6);
    packer.pack(&both, &mut stream);
    let start = usize::try_from(old.entries[1].claimed_range().start).unwrap();
    let end = usize::try_from(old.entries[2].claimed_range().end).unwrap();
    // Without its listing, which would be another one.
    [&old.bytes[..start], &stream, &old.bytes[end..old.data_end]].concat()
}

#[test]
fn what_is_whole_stays_as_it_is() {
    for (items, of_level) in [(every_kind(), 0), (every_kind(), 6), (chunked(), 6), (vec![], 6)] {
        let whole = Whole::new(build(&items, of_level));
        let all = whole.spared(&(0..0));
        let repaired = whole.check(&whole.bytes, &all, "untouched").unwrap();
        assert!(!repaired.report.is_incomplete() && repaired.report.rebuilt == 0);
        assert_eq!(repaired.report.listing, ListingState::Whole);
        assert!(repaired.told.failed.is_empty() && repaired.told.damaged.is_empty());
        let identity = Archive::open(whole.bytes.as_slice()).unwrap().info().listing_sha256;
        assert_eq!(repaired.archive.info().listing_sha256, identity);
        // A stored one stays one.
        assert_eq!(repaired.report.archive_size, whole.bytes.len() as u64);
    }
}

#[test]
fn of_every_cut_all_that_is_whole_comes_back() {
    for (items, of_level) in [(sample(), 0), (sample(), 6), (chunked(), 6)] {
        let whole = Whole::new(build(&items, of_level));
        let len = whole.bytes.len();
        for cut in (0..len).step_by(step(&items)) {
            let what = format!("level {of_level}, cut at {cut} of {len}");
            let expected = whole.spared(&(cut..len));
            let repaired = whole.check(&whole.bytes[..cut], &expected, &what);
            let Some(repaired) = repaired else { continue };
            // All members are there, and it is certain, once the header of the listing is.
            let certain = cut >= whole.data_end + 535;
            assert_eq!(!repaired.report.is_incomplete(), certain, "{what}");
        }
    }
}

#[test]
fn a_flipped_byte_costs_one_member() {
    for (items, of_level) in [(sample(), 0), (sample(), 6), (chunked(), 6)] {
        let whole = Whole::new(build(&items, of_level));
        let mut damaged = whole.bytes.clone();
        for at in (0..whole.bytes.len()).step_by(step(&items)) {
            let flip = if at % 2 == 0 { 1 } else { 0xff };
            damaged[at] ^= flip;
            let what = format!("level {of_level}, {flip:#x} at {at}");
            let repaired = repaired(&damaged).unwrap_or_else(|error| panic!("{what}: {error}"));
            whole.check_members(&repaired, &what);
            let names = repaired.names();
            let spared = whole.spared(&(at..at + 1));
            // Some bits mean nothing: padding of deflated data, fields of a gzip head.
            let is_meant = names == spared || names == whole.spared(&(0..0));
            assert!(is_meant, "{what}: {:?}", spared.difference(&names).collect::<Vec<_>>());
            damaged[at] ^= flip;
        }
    }
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % most
    }
}

/// Some hundred files of all sizes.
fn large() -> Vec<Item> {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut items = vec![dir(".")];
    for number in 0..150 {
        let len = [10, 700, 5_000, 100_000][random.below(4)];
        let len = random.below(len);
        let data = match number % 3 {
            0 => noise(len, number),
            1 => b"line of text\n".repeat(len / 13),
            _ => [noise(len / 2, number), vec![0; len / 2]].concat(),
        };
        items.push(file(&format!("f{number:03}"), &data));
        if number % 10 == 0 {
            let target = format!("f{number:03}");
            let kind = Kind::HardLink { target: target.as_str().into() };
            items.push(other(&format!("f{number:03}h"), kind));
        }
    }
    items.push(file("x", &noise((1 << 20) + 300_000, 5)));
    items.push(file("y", &[noise(1 << 20, 6), b"text, text ".repeat(60_000)].concat()));
    items.push(file("z", b"last"));
    items
}

#[test]
fn random_cuts_and_holes_of_a_larger_archive() {
    for of_level in [0, 6] {
        let whole = Whole::new(build(&large(), of_level));
        let len = whole.bytes.len();
        let mut random = Random(0xfeed_beef_0bad_cafe);
        for _ in 0..50 {
            let cut = random.below(len);
            let expected = whole.spared(&(cut..len));
            whole.check(&whole.bytes[..cut], &expected, &format!("level {of_level}, cut at {cut}"));
        }
        for round in 0..60 {
            let start = random.below(whole.data_end);
            let hole = start..(start + 1 + random.below(8192)).min(whole.data_end);
            let what = format!("level {of_level}, hole at {hole:?}, {}", round % 4);
            let mut damaged = whole.bytes.clone();
            match round % 4 {
                0 => damaged[hole.clone()].fill(0),
                1 => damaged[hole.clone()].copy_from_slice(&noise(hole.len(), round)),
                2 => drop(damaged.drain(hole.clone())),
                _ => {
                    // And no listing either.
                    damaged[hole.clone()].fill(0xff);
                    damaged.truncate(whole.data_end);
                }
            }
            let repaired = whole.check(&damaged, &whole.spared(&hole), &what).unwrap();
            assert!(repaired.report.is_incomplete());
            if round % 4 != 3 {
                assert_eq!(repaired.report.listing, ListingState::Whole, "{what}");
                let lost = whole.entries.len() - repaired.names().len();
                assert_eq!(repaired.told.failed.len(), lost, "{what}: by name");
            }
        }
    }
}

#[test]
fn a_damaged_listing_costs_no_member() {
    let mut items = every_kind();
    for number in 0..6000 {
        items.push(file(&format!("x/{number:05}"), b"many, so that the listing has many blocks"));
    }
    let whole = Whole::new(build(&items, 6));
    let archive = Archive::open(whole.bytes.as_slice()).unwrap();
    let blocks = archive.tables().blocks.clone();
    assert!(blocks.len() >= 3);
    let (all, len) = (whole.spared(&(0..0)), whole.bytes.len());
    let listing = whole.data_end + 535;
    // The tables, the info, the trailer; what comes behind the trailer.
    let listing_end =
        listing + blocks.iter().map(|b| usize::try_from(b.packed).unwrap()).sum::<usize>();
    for hole in [listing_end..listing_end + 20, len - 200..len - 180, len - 10..len, len - 64..len]
    {
        let mut damaged = whole.bytes.clone();
        damaged[hole.clone()].fill(0x55);
        let repaired = whole.check(&damaged, &all, &format!("hole at {hole:?}")).unwrap();
        assert_eq!(repaired.report.listing, ListingState::Whole, "{hole:?}");
        assert!(!repaired.report.is_incomplete());
    }
    let longer = [whole.bytes.as_slice(), &whole.bytes].concat();
    for longer in [longer, [whole.bytes.as_slice(), b"x"].concat()] {
        let repaired = whole.check(&longer, &all, "bytes behind").unwrap();
        assert_eq!((repaired.report.listing, repaired.report.rebuilt), (ListingState::Whole, 0));
    }
    // One block: its members come back with what their headers know.
    let second = listing + usize::try_from(blocks[0].packed).unwrap();
    let mut damaged = whole.bytes.clone();
    damaged[second + 500..second + 600].fill(0x55);
    let repaired = whole.check(&damaged, &all, "second block").unwrap();
    assert_eq!(repaired.report.listing, ListingState::Damaged);
    assert_eq!(repaired.report.rebuilt, blocks[1].entries);
    assert!(!repaired.report.is_incomplete());
    // The same, and a hole in the data: names where the listing knows them.
    let at = usize::try_from(whole.entries[20].claimed_range().start).unwrap();
    damaged[at + 20..at + 40].fill(0);
    let repaired = whole.check(&damaged, &whole.spared(&(at + 20..at + 40)), "both").unwrap();
    assert_eq!(repaired.told.failed, [whole.entries[20].path.to_string()]);
    // All of it.
    let mut damaged = whole.bytes.clone();
    damaged[listing..].fill(0);
    let repaired = whole.check(&damaged, &all, "all").unwrap();
    assert_eq!(repaired.report.listing, ListingState::Missing);
    assert_eq!(repaired.report.rebuilt, whole.entries.len() as u64);
    assert!(!repaired.report.is_incomplete());
}

#[test]
fn a_damaged_prologue_costs_nothing() {
    for of_level in [0, 6] {
        let whole = Whole::new(build(&sample(), of_level));
        let first = usize::try_from(whole.entries[0].claimed_range().start).unwrap();
        for listing in [true, false] {
            let mut damaged = whole.bytes.clone();
            damaged[..first].fill(0);
            damaged.truncate(if listing { damaged.len() } else { whole.data_end + 535 });
            let all = whole.spared(&(0..0));
            let repaired = whole.check(&damaged, &all, "prologue").unwrap();
            assert!(!repaired.report.is_incomplete());
        }
        // Cut away altogether.
        let repaired = whole.check(&whole.bytes[first..], &whole.spared(&(0..0)), "cut").unwrap();
        assert!(!repaired.report.is_incomplete(), "{:?}", repaired.told);
    }
}

#[test]
fn groups_are_copied_as_groups() {
    let cut = grouped();
    let repaired = repaired(&cut).unwrap();
    assert_eq!(repaired.told.done, ["a", "b", "c", "d"]);
    let all = entries(&repaired.archive);
    assert_eq!(all[1].range(), all[2].range());
    assert!(all[1].location.unwrap().zoffset == 0 && all[2].location.unwrap().zoffset == 1024);
    let contents: Vec<_> =
        all.iter().map(|entry| read(&repaired.archive, entry).unwrap()).collect();
    assert_eq!(contents, [b"1".as_slice(), b"22", b"333", b"4444"]);
    // With its new listing it is an archive like any other.
    let mut bytes = Vec::new();
    repair(&cut, &mut WriteSink::new(&mut bytes), &RepairOptions::default(), &mut ()).unwrap();
    let whole = Whole::new(bytes);
    for cut in 0..whole.bytes.len() {
        let expected = whole.spared(&(cut..whole.bytes.len()));
        whole.check(&whole.bytes[..cut], &expected, &format!("group, cut at {cut}"));
    }
}

/// Packs the tars of some members as one stream.
fn one_stream(items: &[Item]) -> Vec<u8> {
    let mut tar = Vec::new();
    for item in items {
        item.header.encode(&Limits::default(), &mut tar).unwrap();
        tar.extend_from_slice(&item.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    let mut stream = Vec::new();
    isptar_core::codec::Packer::new(6).pack(&tar, &mut stream);
    stream
}

fn hard(path: &str, target: &str) -> Item {
    other(path, Kind::HardLink { target: target.into() })
}

/// An archive without a listing: the prologue, and streams.
fn unlisted(streams: &[Vec<u8>]) -> Vec<u8> {
    let bytes = build(&[], 0);
    [&bytes[..1070], &streams.concat()].concat()
}

#[test]
fn a_group_keeps_nothing_that_is_given_up() {
    // The links c and f lead nowhere.
    let items = [file("a", b"1"), hard("c", "nowhere"), file("d", b"22"), hard("e", "d")];
    let more = [hard("f", "z"), file("z", b"333")];
    let repaired = repaired(&unlisted(&[one_stream(&items), one_stream(&more)])).unwrap();
    assert_eq!(repaired.told.done, ["a", "d", "e", "z"]);
    assert_eq!(repaired.told.failed, ["c", "f"]);
    let all = entries(&repaired.archive);
    let places: Vec<u64> = all.iter().map(|entry| entry.location.unwrap().zoffset).collect();
    assert_eq!(places, [0, 1024, 2048, 0]);
    assert!(all[..3].windows(2).all(|pair| pair[0].range() == pair[1].range()));
    for (entry, content) in all.iter().zip([b"1".as_slice(), b"22", b"", b"333"]) {
        if entry.kind.size() > 0 {
            assert_eq!(read(&repaired.archive, entry).unwrap(), content);
        }
    }
}

#[test]
fn links_that_lead_to_no_file_before_them_are_lost() {
    let streams = [
        vec![dir("d"), hard("d/a", "d")],
        vec![hard("d/b", "d/b"), hard("d/c", "d/d")],
        vec![file("d/d", b"text"), hard("d/e", "d/d"), hard("d/f", "d/e")],
    ];
    let each: Vec<Vec<u8>> =
        streams.iter().flatten().map(|item| one_stream(std::slice::from_ref(item))).collect();
    let groups: Vec<Vec<u8>> = streams.iter().map(|items| one_stream(items)).collect();
    for streams in [each, groups] {
        let mut repaired = repaired(&unlisted(&streams)).unwrap();
        assert_eq!(repaired.told.done, ["d", "d/d", "d/e"]);
        repaired.told.failed.sort();
        assert_eq!(repaired.told.failed, ["d/a", "d/b", "d/c", "d/f"]);
    }
}

#[test]
fn what_no_crc_covers_is_made_as_it_should_be() {
    let text = b"text, text, text, ".repeat(70_000);
    for of_level in [0, 6] {
        let items = [file("a", b"some text"), file("b", &text), file("c", b"more")];
        let whole = Whole::new(build(&items, of_level));
        let all = whole.spared(&(0..0));
        let heads = whole.bytes.windows(10).enumerate();
        let heads = heads.filter(|(_, head)| *head == isptar_core::format::gzip::HEAD);
        // The time, and the system, of every stream; those that a search would find.
        for (at, _) in heads.filter(|(at, _)| *at < whole.data_end) {
            for within in [4, 7, 9] {
                let mut damaged = whole.bytes.clone();
                damaged[at + within] ^= 1;
                let what = format!("level {of_level}, {within} at {at}");
                let repaired = repaired(&damaged).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(repaired.names(), all, "{what}: {:?}", repaired.told);
                for entry in entries(&repaired.archive) {
                    let content = read(&repaired.archive, &entry).unwrap();
                    assert!(content == whole.contents[&entry.path.to_string()], "{what}");
                }
            }
        }
    }
}

#[test]
fn what_a_crc_covers_and_no_writer_makes_is_lost() {
    let mut tar = Vec::new();
    file("b", b"text").header.encode(&Limits::default(), &mut tar).unwrap();
    tar.extend_from_slice(b"text");
    tar.resize(1023, 0);
    tar.push(1);
    let mut stream = Vec::new();
    isptar_core::codec::Packer::new(6).pack(&tar, &mut stream);
    let around = [one_stream(&[file("a", b"1")]), stream, one_stream(&[file("c", b"2")])];
    let repaired = repaired(&unlisted(&around)).unwrap();
    assert_eq!(
        (repaired.told.done, repaired.told.failed),
        (vec!["a".into(), "c".into()], vec!["b".into()])
    );
}

/// An archive that holds another one, stored, between others.
fn nested(of_level: u8, inner_len: usize) -> (Whole, Range<usize>) {
    let inner_items = [
        file("b/inner", b"its name would fit"),
        file("inner", &noise(inner_len, 8)),
        file("n/inner", b"so would this one"),
        file("z", b"the same as outside"),
        file("zz/inner", &noise(3000, 9)),
    ];
    let inner = build(&inner_items, 6);
    let outer = [
        file("a", b"text"),
        file("b", &inner),
        file("c", b"behind it"),
        file("y", &noise(50_000, 4)),
        file("z", b"the same as outside"),
    ];
    let whole = Whole::new(build(&outer, of_level));
    let range = whole.entries[1].claimed_range();
    (whole, usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
}

#[test]
fn members_of_an_inner_archive_are_never_taken_for_ours() {
    for (of_level, inner_len) in [(0, 20_000), (6, 20_000), (0, 1_500_000), (6, 1_500_000)] {
        let (whole, inner) = nested(of_level, inner_len);
        let len = whole.bytes.len();
        let step = (inner.len() / 150).max(1);
        // Cut anywhere in it, and exactly where it ends.
        let text = whole.contents["b"].clone();
        let tail = &text[text.len() - 64..];
        let ends = whole.bytes.windows(64).position(|window| window == tail);
        // Deflated, its trailer stands nowhere as it is.
        let ends = ends.map_or(0..0, |at| at - 6..at + 74);
        for cut in inner.clone().step_by(step).chain(ends).chain([inner.end]) {
            let what = format!("level {of_level}, {inner_len}, cut at {cut}");
            whole.check(&whole.bytes[..cut], &whole.spared(&(cut..len)), &what);
        }
        // A hole anywhere in it, with and without the listing.
        for start in inner.clone().step_by(step) {
            for with_listing in [true, false] {
                let hole = start..(start + 4096).min(whole.data_end);
                let what = format!("level {of_level}, {inner_len}, {hole:?} {with_listing}");
                let mut damaged = whole.bytes.clone();
                damaged[hole.clone()].fill(0);
                damaged.truncate(if with_listing { len } else { whole.data_end });
                whole.check(&damaged, &whole.spared(&hole), &what);
            }
        }
    }
}

#[test]
fn a_hole_at_a_border_of_chunks_shows_no_inner_members() {
    for of_level in [0, 6] {
        let (whole, inner) = nested(of_level, 2_300_000);
        let entry = &whole.entries[1];
        let mut border = usize::try_from(entry.claimed_range().start).unwrap();
        for packed in &entry.chunks.as_ref().unwrap().packed {
            border += usize::try_from(*packed).unwrap();
            for before in [4096, 2000, 10, 0] {
                let start = border.saturating_sub(before).max(inner.start);
                for (removed, with_listing) in [(false, true), (false, false), (true, true)] {
                    let hole = start..(start + 4096).min(whole.data_end);
                    let mut damaged = whole.bytes.clone();
                    if removed {
                        damaged.drain(hole.clone());
                    } else {
                        damaged[hole.clone()].fill(0);
                    }
                    if !with_listing {
                        damaged.truncate(whole.data_end);
                    }
                    let what = format!("level {of_level}, {hole:?} {removed} {with_listing}");
                    whole.check(&damaged, &whole.spared(&hole), &what);
                }
            }
        }
    }
}

#[test]
fn an_inner_archive_whose_end_shows_is_given_up() {
    // Nothing tells where the stored stream ends: its head is gone, and bytes are missing in it.
    let (whole, inner) = nested(0, 20_000);
    let mut damaged = whole.bytes[..whole.data_end].to_vec();
    damaged[inner.start..inner.start + 2000].fill(0);
    damaged.drain(inner.start + 3000..inner.start + 3100);
    let expected = whole.spared(&inner);
    whole.check(&damaged, &expected, "head gone, bytes missing").unwrap();
}

#[test]
fn inserted_bytes_cost_the_member_they_are_in() {
    for of_level in [0, 6] {
        let whole = Whole::new(build(&sample(), of_level));
        for (len, at) in [(1, 0), (100, 3), (5000, 5), (77, 9), (3000, whole.entries.len())] {
            let entry = whole.entries.get(at).map(Entry::claimed_range);
            // Before a member, within it, and before the listing.
            let start = entry.map_or(whole.data_end as u64, |range| range.start);
            let start = usize::try_from(start).unwrap();
            for within in [0, 20] {
                let place = start + within;
                let cut = |end: usize| {
                    [&whole.bytes[..place], &noise(len, 5), &whole.bytes[place..end]].concat()
                };
                let hit = if within == 0 { 0..0 } else { place..place + 1 };
                let what = format!("level {of_level}, {len} bytes at {place}");
                let repaired = whole.check(&cut(whole.bytes.len()), &whole.spared(&hit), &what);
                let repaired = repaired.unwrap();
                if place <= whole.data_end {
                    assert_eq!(repaired.report.listing, ListingState::Whole, "{what}");
                    assert_eq!(repaired.report.rebuilt, 0, "{what}");
                }
                // Without tables and trailer; the header of the listing and some of it are there.
                whole.check(&cut(whole.data_end + 545), &whole.spared(&hit), &what).unwrap();
            }
        }
    }
}

#[test]
fn bytes_inserted_into_the_first_member_cost_it_alone() {
    for of_level in [0, 6] {
        let whole = Whole::new(build(&sample(), of_level));
        let first = usize::try_from(whole.entries[0].claimed_range().start).unwrap();
        for (len, within) in [(1, 0), (1, 30), (512, 0), (512, 30), (100_000, 0), (100_000, 30)] {
            let place = first + within;
            for bytes in [noise(len, 3), vec![0; len]] {
                let damaged = [&whole.bytes[..place], &bytes, &whole.bytes[place..]].concat();
                let hit = if within == 0 { 0..0 } else { place..place + 1 };
                let what = format!("level {of_level}, {len} bytes at {place}");
                let repaired = whole.check(&damaged, &whole.spared(&hit), &what).unwrap();
                assert_eq!(repaired.report.listing, ListingState::Whole, "{what}");
            }
        }
    }
}

#[test]
fn archives_that_stand_behind_each_other_are_told() {
    for of_level in [0, 6] {
        let first = Whole::new(build(&sample(), of_level));
        let (len, end) = (first.bytes.len() as u64, first.data_end as u64);
        let second = build(&[file("other", b"text"), file("some", b"text")], 6);
        let all = first.spared(&(0..0));
        let mut flipped = first.bytes.clone();
        // Listing, archive info and trailer are damaged, or only the trailer.
        flipped[first.data_end + 560..].iter_mut().for_each(|byte| *byte ^= 1);
        let mut trailer = first.bytes.clone();
        trailer[first.bytes.len() - 20] ^= 1;
        for one in [&first.bytes, &trailer, &flipped] {
            for behind in [&second[..], &second[..second.len() - 100], &first.bytes] {
                let repaired =
                    first.check(&[one, behind].concat(), &all, &format!("level {of_level}"));
                let Repaired { report, told, .. } = repaired.unwrap();
                assert_eq!((report.others, report.lost), (1, 0), "level {of_level}");
                assert!(report.is_incomplete());
                let range = told.damaged.last().unwrap();
                assert!(range.start > end && range.start <= len, "{range:?} of {len}");
            }
        }
        // No members: some bytes.
        for junk in [noise(10_000, 1), vec![0; 10_000], b"x".to_vec()] {
            let repaired = first.check(&[&first.bytes[..], &junk].concat(), &all, "junk").unwrap();
            assert_eq!((repaired.report.others, repaired.report.surplus), (0, junk.len() as u64));
            assert_eq!(repaired.told.damaged.len(), 1);
            assert_eq!(repaired.told.damaged[0], len..len + junk.len() as u64);
        }
        // A cut one before another: members of the second one are none of the first.
        let cut = &first.bytes[..first.data_end - 30];
        let spared = first.spared(&(first.data_end - 30..first.data_end));
        let repaired = first.check(&[cut, &second].concat(), &spared, "cut before").unwrap();
        assert_eq!(repaired.report.others, 1);
        assert_eq!(repaired.report.other_start, Some(cut.len() as u64));
        // What stands before an archive is said to.
        let before = repair(
            &[&noise(1000, 2), &second[..]].concat(),
            &mut WriteSink::new(&mut Vec::new()),
            &RepairOptions::default(),
            &mut (),
        );
        let error = before.unwrap_err().to_string();
        assert!(error.contains("1000 bytes before the beginning of the archive"), "{error}");
    }
}

#[test]
fn a_listing_full_of_false_heads_costs_little() {
    let whole = build(&sample(), 6);
    let data_end = usize::try_from(Archive::open(whole.as_slice()).unwrap().info().data_size);
    let mut bytes = whole[..data_end.unwrap() + 535].to_vec();
    let heads = 3000;
    for number in 1..=heads {
        // A stored block that all following heads are in, up to what expands to 16 MiB.
        let len = u16::try_from((heads - number) * 15).unwrap();
        bytes.extend_from_slice(&isptar_core::format::gzip::HEAD);
        bytes.push(0);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&(!len).to_le_bytes());
    }
    let bomb = build(&[file("zeros", &vec![0; 900_000])], 6);
    let at = bomb.windows(10).rposition(|w| w == isptar_core::format::gzip::HEAD).unwrap();
    bytes.extend_from_slice(&bomb[1000.min(at)..]);
    let counting = Counting::new(bytes);
    let mut told = Told::default();
    isptar_core::repair::scan(&counting, &RepairOptions::default(), &mut told).unwrap();
    assert_eq!(told.done.len(), sample().len());
    let (_, read) = counting.counts();
    assert!(read < 900 << 20, "{read} bytes read");
}

#[test]
fn a_search_ends_when_it_is_cancelled() {
    /// Says yes to every question but the first few.
    struct Impatient(std::cell::Cell<u32>);
    impl Observer for Impatient {
        fn event(&mut self, _: Event<'_>) {}

        fn cancelled(&self) -> bool {
            self.0.set(self.0.get() + 1);
            self.0.get() > 2
        }
    }
    let whole = build(&sample(), 6);
    // Many listings, none of them ours.
    let bytes = [&whole[..], &whole.repeat(50)].concat();
    let mut observer = Impatient(std::cell::Cell::new(0));
    let scanned = isptar_core::repair::scan(&bytes, &RepairOptions::default(), &mut observer);
    assert!(matches!(scanned, Err(Error::Cancelled)));
    assert_eq!(observer.0.get(), 3, "it went on after it was cancelled");
}

#[test]
fn names_that_are_not_in_order_are_found_fast_though_much_is_missing() {
    let items: Vec<Item> =
        (0..20_000).map(|n| file(&format!("{:05}{:0>100}", n * 7919 % 20_000, n), b"x")).collect();
    let mut options = level(0);
    options.sorted = false;
    let (bytes, _) = super::support::build_with(&items, &options);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let (data_end, blocks) = (archive.info().data_size, archive.tables().blocks.len() as u64);
    let listing = archive.size() - data_end;
    assert!(blocks > 1);
    let data_end = usize::try_from(data_end).unwrap();
    drop(archive);
    let mut damaged = bytes;
    damaged.drain(data_end / 2..data_end / 2 + data_end / 10);
    let counting = Counting::new(damaged);
    let mut told = Told::default();
    let report =
        isptar_core::repair::scan(&counting, &RepairOptions::default(), &mut told).unwrap();
    assert_eq!((report.members + report.lost, report.rebuilt), (20_000, 0));
    assert!(report.members > 17_000);
    let (_, read) = counting.counts();
    let size = counting.size().unwrap();
    assert!(read < 4 * size + 20 * listing, "{read} bytes read of {size}, listing {listing}");
}

#[test]
fn names_that_are_not_in_order_are_found_again() {
    let names = ["m", "b", "z", "b", "a", "k"];
    let items: Vec<Item> = names.iter().map(|name| file(name, name.as_bytes())).collect();
    let mut options = level(6);
    options.sorted = false;
    let (bytes, _) = super::support::build_with(&items, &options);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let all = entries(&archive);
    for (index, entry) in all.iter().enumerate() {
        let at = usize::try_from(entry.claimed_range().start).unwrap();
        let mut damaged = bytes.clone();
        damaged[at + 30..at + 40].fill(0);
        for removed in [false, true] {
            if removed {
                damaged = bytes.clone();
                damaged.drain(at + 30..at + 40);
            }
            let repaired = repaired(&damaged).unwrap();
            let mut expected = names.to_vec();
            assert_eq!(repaired.told.failed, [expected.remove(index)]);
            assert_eq!(repaired.told.done, expected);
            assert_eq!(repaired.report.rebuilt, 0);
        }
    }
}

#[test]
fn what_only_the_listing_knows_is_carried_over() {
    let mut bytes = build(&[file("a", b"text"), file("b", b"text")], 0);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let listing = usize::try_from(archive.info().data_size).unwrap() + 535;
    let mut text = archive.listing_text().unwrap();
    drop(archive);
    // A key that this version does not know, as long as one that it does.
    let at = text.windows(9).position(|window| window == b"\tctime=-\n").unwrap();
    text[at..at + 9].copy_from_slice(b"\tlater=1\n");
    let mut stream = Vec::new();
    isptar_core::codec::Packer::new(0).pack(&text, &mut stream);
    bytes[listing..listing + stream.len()].copy_from_slice(&stream);
    bytes.pop();
    let repaired = repaired(&bytes).unwrap();
    let all = entries(&repaired.archive);
    assert_eq!(all[0].unknown, [(b"later".to_vec(), b"1".to_vec())]);
    assert!(all[1].unknown.is_empty());
}

#[test]
fn hard_links_follow_their_file() {
    let hard = |path: &str, target: &str| other(path, Kind::HardLink { target: target.into() });
    let items = [file("a", b"1"), file("b", b"2"), hard("c", "a"), hard("d", "b"), file("e", b"3")];
    let whole = Whole::new(build(&items, 0));
    let range = whole.entries[0].claimed_range();
    let hole = usize::try_from(range.start).unwrap() + 100..usize::try_from(range.end).unwrap() - 9;
    let mut damaged = whole.bytes.clone();
    damaged[hole.clone()].fill(1);
    for len in [damaged.len(), whole.data_end + 535] {
        let repaired = whole.check(&damaged[..len], &whole.spared(&hole), "a").unwrap();
        assert_eq!(repaired.told.done, ["b", "d", "e"]);
        assert!(repaired.told.failed.contains(&"c".to_owned()));
        for entry in entries(&repaired.archive) {
            repaired.archive.content_entry(&entry).unwrap();
        }
    }
}

#[test]
fn random_damage_is_repaired_to_what_verify_takes() {
    let streams = [
        one_stream(&[dir("."), dir("d"), file("d/a", b"first"), hard("d/b", "d/a")]),
        one_stream(&[file("e", &noise(5000, 1)), hard("f", "d/a"), file("g", b"text")]),
        one_stream(&[file("h", &b"text, ".repeat(9000))]),
        one_stream(&[hard("i", "e"), link("j", "e"), file("k", b"")]),
        one_stream(&[hard("l", "h"), hard("m", "k"), file("n", b"last")]),
    ];
    let mut groups = Vec::new();
    let cut = unlisted(&streams);
    repair(&cut, &mut WriteSink::new(&mut groups), &RepairOptions::default(), &mut ()).unwrap();
    let wholes = [
        Whole::new(groups),
        Whole::new(build(&sample(), 0)),
        Whole::new(build(&sample(), 6)),
        Whole::new(build(&every_kind(), 6)),
    ];
    let mut random = Random(0x0dd_ba11_cafe);
    for round in 0..600 {
        let whole = &wholes[round % wholes.len()];
        let mut damaged = whole.bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(damaged.len());
            let len = 1 + random.below(300);
            let range = at..(at + len).min(damaged.len());
            match random.below(5) {
                0 => damaged[at] ^= 1 << random.below(8),
                1 => damaged[range].fill(0),
                2 => drop(damaged.drain(range)),
                3 => drop(damaged.splice(at..at, noise(len, at as u64))),
                _ if round % 3 == 0 => damaged.truncate(at.max(1)),
                _ => damaged[at] = 0xff,
            }
        }
        match repaired(&damaged) {
            Ok(repaired) => whole.check_contents(&repaired, &format!("round {round}")),
            Err(Error::NothingWhole { .. } | Error::Foreign { .. }) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }
}

#[test]
fn what_is_not_ours_is_said_to_be_not() {
    let tar = std::fs::read(super::support::testdata("foreign/gnu.tar")).unwrap();
    let classic = std::fs::read(super::support::testdata("classic/base.tgz")).unwrap();
    let mut gzipped = Vec::new();
    isptar_core::codec::Packer::new(6).pack(&tar, &mut gzipped);
    for bytes in [tar, classic, gzipped] {
        assert!(matches!(repaired(&bytes), Err(Error::Foreign { .. })));
    }
    for bytes in [Vec::new(), noise(100_000, 3), vec![0; 5000], build(&sample(), 6)[..100].to_vec()]
    {
        assert!(matches!(repaired(&bytes), Err(Error::NothingWhole { .. })));
    }
}

/// A tar header with a right checksum, of a file of `size` bytes, stored behind a gzip head.
fn fake(size: u64) -> Vec<u8> {
    let tar = &build(&[file("fake", &vec![0; usize::try_from(size).unwrap()])], 0);
    tar[1070..1070 + 600].to_vec()
}

#[test]
fn false_heads_cost_little() {
    let heads: Vec<u8> = isptar_core::format::gzip::HEAD.repeat(200_000);
    let mut stored = Vec::new();
    for _ in 0..200_000 {
        stored.extend_from_slice(&isptar_core::format::gzip::HEAD);
        // A stored block that the next heads are in.
        stored.extend_from_slice(&[0, 0xff, 0xff, 0, 0]);
    }
    let fakes = fake(900_000).repeat(3000);
    for (number, bait) in [heads, stored, fakes].into_iter().enumerate() {
        let mut items = sample();
        items.insert(5, file("d/d", &noise(bait.len(), 1)));
        let mut bytes = build(&items, 6);
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let entry = archive.find(&"d/d".into()).unwrap().unwrap();
        let data_end = usize::try_from(archive.info().data_size).unwrap();
        drop(archive);
        let at = usize::try_from(entry.claimed_range().start).unwrap();
        bytes[at..at + bait.len()].copy_from_slice(&bait);
        // Without the listing, which would know that they are false.
        bytes.truncate(data_end);
        let counting = Counting::new(bytes);
        let mut told = Told::default();
        isptar_core::repair::scan(&counting, &RepairOptions::default(), &mut told).unwrap();
        let (_, read) = counting.counts();
        let size = counting.size().unwrap();
        assert!(read < 40 * size + (64 << 20), "{read} bytes read of {size}");
        let spared: Vec<String> =
            sample().iter().map(|item| item.header.path.to_string()).collect();
        assert_eq!(told.done, spared, "{number}: {:?}", told.damaged);
    }
}

#[test]
fn the_front_to_back_reader_reads_what_was_repaired() {
    let whole = Whole::new(build(&sample(), 6));
    let cut = &whole.bytes[..whole.data_end - 300];
    let mut bytes = Vec::new();
    repair(&cut, &mut WriteSink::new(&mut bytes), &RepairOptions::default(), &mut ()).unwrap();
    let (seen, ended): (Vec<Seen>, _) = scan(bytes.as_slice());
    assert!(!ended.unwrap());
    assert_eq!(seen.len(), entries(&Archive::open(bytes).unwrap()).len());
}

#[test]
fn a_sink_that_fails_is_told() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
            // Writes are few and large: it takes a little of each.
            Ok(bytes.len().min(100))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let bytes = build(&sample(), 6);
    let mut writes = 0;
    loop {
        let mut sink = WriteSink::new(Full(writes));
        match repair(&bytes, &mut sink, &RepairOptions::default(), &mut ()) {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, Error::Output { .. }), "{error}"),
        }
        writes += 1;
    }
    assert!(writes > sample().len());
}
