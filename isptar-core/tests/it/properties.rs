//! Properties that hold for anything that is put in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use isptar_core::format::entry::Dialect;
use isptar_core::format::info::ArchiveInfo;
use isptar_core::format::tables::{Base, ListingBlock, Slice, Tables};
use isptar_core::{
    Archive, Chunks, CreateOptions, Digest, Entry, ExtractOptions, Kind, Limits, Location,
    MemberHeader, MemberPath, SafePath, Selection, Timestamp, WriteSink, create, extract,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::support::{Item, build, entries, read, scan};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(2026),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Any bytes, among them often those that mean something.
fn bytes(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"\t\n\\/.#=,: \0\xff".to_vec());
    vec(prop_oneof![4 => any::<u8>(), 1 => special, 4 => b'a'..b'f'], len)
}

/// A component of a name: any bytes but `/` and NUL.
fn component() -> impl Strategy<Value = Vec<u8>> {
    let clean = |mut name: Vec<u8>| {
        name.retain(|&byte| byte != 0 && byte != b'/');
        if matches!(name.as_slice(), b"" | b"." | b"..") { b"x".to_vec() } else { name }
    };
    prop_oneof![8 => bytes(1..12), 1 => bytes(90..255)].prop_map(clean)
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(component(), 1..5).prop_map(|parts| parts.join(&b'/'))
}

fn time() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![4 => -5i64..5, 4 => 0..1i64 << 36, 1 => -(1i64 << 40)..0];
    let nanos = prop_oneof![Just(0), 0u32..1_000_000_000, (0u32..1000).prop_map(|n| n * 1_000_000)];
    (seconds, nanos).prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos))
}

fn kind(size: impl Strategy<Value = u64> + 'static) -> impl Strategy<Value = Kind> {
    let target = bytes(1..200).prop_map(|mut target| {
        target.retain(|&byte| byte != 0);
        target.push(b'x');
        target
    });
    let char = |(major, minor)| Kind::CharDevice { major, minor };
    let block = |(major, minor)| Kind::BlockDevice { major, minor };
    prop_oneof![
        4 => size.prop_map(|size| Kind::File { size }),
        2 => Just(Kind::Directory),
        2 => target.prop_map(|target| Kind::Symlink { target }),
        1 => path().prop_map(|target| Kind::HardLink { target: target.into() }),
        1 => any::<(u32, u32)>().prop_map(char),
        1 => any::<(u32, u32)>().prop_map(block),
        1 => Just(Kind::Fifo),
    ]
}

fn digest() -> impl Strategy<Value = Digest> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(Digest::Content),
        any::<[u8; 32]>().prop_map(Digest::Stored)
    ]
}

type Places = (Option<Location>, Option<Chunks>, Option<Digest>, Option<String>);

fn places() -> impl Strategy<Value = Places> {
    let location = (0..3u32, any::<u64>(), any::<u64>())
        .prop_map(|(depth, offset, zoffset)| Location { depth, slice: 1, offset, zoffset });
    let chunks = (9u32..30, vec(0..1u64 << 40, 1..6))
        .prop_map(|(bits, packed)| Chunks { size: 1 << bits, packed });
    (option::of(location), option::of(chunks), option::of(digest()), option::of("[ -~\t\n]{1,20}"))
}

fn entry() -> impl Strategy<Value = Entry> {
    let owners = (bytes(0..40), any::<u64>(), bytes(0..40), any::<u64>(), 0..0o10000u32);
    let recorded = (time(), option::of(time()), option::of(any::<u64>()), option::of(any::<u64>()));
    let flags = any::<(bool, bool, bool)>();
    (path(), kind(any::<u64>()), owners, recorded, places(), flags).prop_map(
        |(path, kind, owners, recorded, places, flags)| {
            let is_file = matches!(kind, Kind::File { .. });
            let chunks = places.1.filter(|_| is_file);
            let packed = chunks.as_ref().map(|chunks| chunks.packed.iter().sum());
            Entry {
                user: owners.0,
                uid: owners.1,
                group: owners.2,
                gid: owners.3,
                mode: owners.4,
                mtime: Some(recorded.0),
                ctime: recorded.1,
                ino: recorded.2,
                xattr: recorded.3,
                location: places.0,
                packed,
                chunks,
                digest: places.2,
                lost: places.3,
                dirty: flags.0,
                sparse: flags.1,
                partial: flags.2,
                ..Entry::new(path.into(), kind)
            }
        },
    )
}

/// A member with headers of any kind, and its data.
fn item() -> impl Strategy<Value = Item> {
    let size = prop_oneof![0..3u64, 500..1030u64, 0..20_000u64];
    let owners = (bytes(0..40), 0..1u64 << 50, bytes(0..40), 0..1u64 << 22, 0..0o10000u32);
    let attributes = btree_map(bytes(1..20), bytes(0..50), 0..3);
    (kind(size), owners, time(), attributes, any::<u64>()).prop_map(
        |(kind, owners, mtime, attributes, seed)| {
            let mut header = MemberHeader::new("", kind);
            (header.user, header.uid) = (owners.0, owners.1);
            (header.group, header.gid, header.mode) = (owners.2, owners.3, owners.4);
            header.mtime = mtime;
            let named = attributes.into_iter().map(|(name, value)| {
                let name = name.into_iter().filter(|&byte| byte != 0).collect::<Vec<_>>();
                ([b"user.".as_slice(), &name].concat(), value)
            });
            header.xattrs.attributes = named.collect();
            let size = usize::try_from(header.kind.size()).unwrap();
            Item { data: super::support::noise(size, seed), ..Item::new(header) }
        },
    )
}

/// Members under distinct names, in order.
fn items() -> impl Strategy<Value = Vec<Item>> {
    btree_map(path().prop_map(MemberPath::from), item(), 0..20).prop_map(|items| {
        let named = |(path, mut item): (MemberPath, Item)| {
            item.header.path = path;
            item
        };
        items.into_iter().map(named).collect()
    })
}

fn tables() -> impl Strategy<Value = Tables> {
    let block = (any::<u64>(), any::<u64>(), any::<u64>(), path()).prop_map(
        |(packed, real, entries, first)| ListingBlock {
            packed,
            real,
            entries,
            first: first.into(),
        },
    );
    let base = (any::<[u8; 32]>(), component());
    let slice = (any::<u64>(), any::<[u8; 16]>(), any::<[u8; 32]>())
        .prop_map(|(length, head, sha256)| Slice { length, head, sha256 });
    (vec(block, 0..4), vec(base, 0..3), vec(slice, 0..3)).prop_map(|(blocks, bases, slices)| {
        let numbered = |(depth, (identity, name))| Base { depth, identity, name };
        Tables { blocks, bases: (1..).zip(bases).map(numbered).collect(), slices }
    })
}

fn info() -> impl Strategy<Value = ArchiveInfo> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), any::<u64>(), any::<u64>());
    let optional = (option::of(any::<u64>()), option::of(1..u64::MAX), option::of(any::<u64>()));
    let flags = any::<(bool, bool, bool)>();
    (numbers, optional, any::<[u8; 32]>(), flags, option::of("[ -~é]{1,30}")).prop_map(
        |(numbers, optional, identity, flags, tool)| ArchiveInfo {
            listing_size: u64::from(numbers.0) + u64::from(numbers.2),
            listing_real_size: numbers.1.into(),
            format: Some(2),
            tables_size: numbers.2.into(),
            entries: numbers.3,
            data_size: numbers.4,
            content_size: optional.0,
            listing_sha256: Some(identity),
            slice_size: optional.1,
            created: optional.2,
            sorted: flags.0,
            incomplete: flags.1,
            parts: flags.2,
            tool,
            unknown: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn entries_come_back_from_their_lines(entry in entry()) {
        let limits = Limits::default();
        let mut line = Vec::new();
        entry.encode(&limits, &mut line).unwrap();
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(Entry::parse(&line, Dialect::Isptar, &limits).unwrap(), entry);
    }

    #[test]
    fn lines_of_anything_are_no_panic(line in bytes(0..300)) {
        for dialect in [Dialect::Isptar, Dialect::Classic] {
            if let Ok(entry) = Entry::parse(&line, dialect, &Limits::default()) {
                let mut again = Vec::new();
                entry.encode(&Limits::default(), &mut again).unwrap();
            }
        }
    }

    #[test]
    fn tables_come_back(tables in tables()) {
        // Tables of nothing are left out.
        let text = tables.encode();
        prop_assert_eq!(text.is_empty(), tables == Tables::default());
        if !text.is_empty() {
            prop_assert_eq!(Tables::parse(&text).unwrap(), tables);
        }
    }

    #[test]
    fn archive_info_comes_back(info in info()) {
        prop_assert_eq!(ArchiveInfo::parse(&info.encode()).unwrap(), info);
    }

    #[test]
    fn a_safe_path_stays_inside(name in bytes(0..60)) {
        if let Ok(safe) = SafePath::new(&MemberPath::new(name), &Limits::default()) {
            let parts: Vec<&[u8]> = safe.components().collect();
            for part in &parts {
                prop_assert!(!matches!(*part, b"" | b"." | b".."));
                prop_assert!(!part.contains(&0) && !part.contains(&b'/'));
            }
            prop_assert_eq!(safe.is_root(), parts.is_empty());
            prop_assert!(safe.to_member_path().is_canonical());
        }
    }

    #[test]
    fn what_is_written_is_read(items in items(), level in 0u8..=7) {
        let bytes = build(&items, level);
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let listed = entries(&archive);
        let (scanned, ended) = scan(bytes.as_slice());
        prop_assert!(matches!(ended, Ok(false)));
        prop_assert_eq!(listed.len(), items.len());
        prop_assert_eq!(scanned.len(), items.len());
        for ((item, entry), (header, data)) in items.iter().zip(&listed).zip(&scanned) {
            let wanted = &item.header;
            prop_assert_eq!((&entry.path, &entry.kind), (&wanted.path, &wanted.kind));
            prop_assert_eq!((&header.path, &header.kind), (&wanted.path, &wanted.kind));
            prop_assert_eq!((entry.mode, entry.uid, entry.gid), (wanted.mode, wanted.uid, wanted.gid));
            prop_assert_eq!((header.mode, header.uid, header.gid), (wanted.mode, wanted.uid, wanted.gid));
            prop_assert_eq!((&entry.user, &entry.group), (&wanted.user, &wanted.group));
            prop_assert_eq!(entry.mtime, Some(wanted.mtime));
            prop_assert_eq!(header.mtime.seconds(), wanted.mtime.seconds());
            prop_assert_eq!(&header.xattrs, &wanted.xattrs);
            let member = archive.member(entry).unwrap();
            prop_assert_eq!(member.header(), header);
            prop_assert!(data == &item.data);
            if matches!(entry.kind, Kind::File { .. }) {
                prop_assert!(read(&archive, entry).unwrap() == item.data);
            }
            let found = archive.find(&entry.path).unwrap();
            prop_assert_eq!(found.as_ref(), Some(entry));
        }
    }
}

/// Something in a generated tree, in a directory made before it.
#[derive(Debug, Clone)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(Vec<u8>),
    HardLink(prop::sample::Index),
}

type Planted = (prop::sample::Index, Vec<u8>, Node, u32, (u64, u32));

fn node() -> impl Strategy<Value = Planted> {
    let target = component().prop_map(|target| [b"../".as_slice(), &target].concat());
    let node = prop_oneof![
        2 => Just(Node::Directory),
        4 => bytes(0..3000).prop_map(Node::File),
        1 => target.prop_map(Node::Link),
        1 => any::<prop::sample::Index>().prop_map(Node::HardLink),
    ];
    let time = (0..1u64 << 33, 0..1_000_000_000u32);
    (any::<prop::sample::Index>(), component(), node, 0..0o10000u32, time)
}

/// Makes the tree; what does not fit (a name that is taken, no file to link to) is passed over.
fn plant(root: &Path, nodes: &[Planted]) {
    let mut directories = vec![root.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    let mut times = Vec::new();
    for (parent, name, node, mode, time) in nodes {
        let path = parent.get(&directories).join(OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() || path.as_os_str().len() > 3000 {
            continue;
        }
        let readable = match node {
            Node::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
                0o700
            }
            Node::File(data) => {
                fs::write(&path, data).unwrap();
                files.push(path.clone());
                0o600
            }
            Node::Link(target) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).unwrap();
                continue;
            }
            Node::HardLink(_) if files.is_empty() => continue,
            Node::HardLink(target) => {
                fs::hard_link(target.get(&files), &path).unwrap();
                0o600
            }
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | readable)).unwrap();
        times.push((path, *time));
    }
    for (path, (seconds, nanos)) in times {
        let time = UNIX_EPOCH + Duration::new(seconds, nanos);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
}

/// What a tree looks like: of each path its kind, mode, time and content.
type Look = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

/// Looks at a tree; hard links come as sets of names.
fn look(root: &Path) -> (Look, BTreeSet<BTreeSet<PathBuf>>) {
    let mut seen = Look::new();
    let mut inodes: BTreeMap<u64, BTreeSet<PathBuf>> = BTreeMap::new();
    for found in walkdir::WalkDir::new(root).min_depth(1).into_iter().map(Result::unwrap) {
        let path = found.path().strip_prefix(root).unwrap().to_path_buf();
        let data = found.path().symlink_metadata().unwrap();
        let content = if data.is_file() {
            inodes.entry(data.ino()).or_default().insert(path.clone());
            fs::read(found.path()).unwrap()
        } else if data.is_symlink() {
            fs::read_link(found.path()).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        seen.insert(path, (data.mode(), data.mtime(), data.mtime_nsec(), content));
    }
    (seen, inodes.into_values().collect())
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn what_is_created_is_extracted(nodes in vec(node(), 0..30), level in 0u8..=6) {
        let world = tempfile::tempdir().unwrap();
        let (source, target) = (world.path().join("source"), world.path().join("target"));
        fs::create_dir(&source).unwrap();
        plant(&source, &nodes);
        let mut options = CreateOptions::default();
        options.directory = source.clone();
        options.level = level;
        let mut bytes = Vec::new();
        let mut sink = WriteSink::new(&mut bytes);
        let report = create(&mut sink, &[".".into()], &options, &mut ()).unwrap();
        prop_assert!(!report.is_incomplete() && report.changed == 0, "{:?}", report);
        let archive = Archive::open(bytes).unwrap();
        let everything = Selection::default();
        let report =
            extract(&archive, &everything, &target, &ExtractOptions::default(), &mut ()).unwrap();
        prop_assert_eq!(report.failed, 0);
        prop_assert_eq!(look(&target), look(&source));
    }
}
