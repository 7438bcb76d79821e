//! The bodies of the fuzz targets: each takes any bytes, and panics when a promise is broken.

use std::io::Read;

use isptar_core::format::assemble::{Found, SliceBlocks, read_headers};
use isptar_core::format::entry::Dialect;
use isptar_core::format::info::ArchiveInfo;
use isptar_core::format::tables::Tables;
use isptar_core::format::trailer::{self, SizeTrailer};
use isptar_core::path::{compare, is_within};
use isptar_core::{
    Archive, ArchiveWriter, Content, ContentReader, Details, Entry, Kind, Limits, MemberHeader,
    MemberPath, SafePath, TarReader, Timestamp, WriteSink, WriterOptions,
};

/// A body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("trailer_parse", trailer_parse),
    ("info_parse", info_parse),
    ("listing_line", listing_line),
    ("tables_parse", tables_parse),
    ("tar_headers", tar_headers),
    ("safe_path", safe_path),
    ("archive_open", archive_open),
    ("tar_reader", tar_reader),
    ("write_then_read", write_then_read),
];

/// Bytes of content that are read of one input: what a few kilobytes unpack to is bounded.
const CONTENT: u64 = 4 << 20;

/// Entries that are read of one input.
const ENTRIES: usize = 2000;

/// A trailer that is taken is the only one that says the same.
pub fn trailer_parse(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<{ trailer::LEN }>()
        && let Ok(trailer) = SizeTrailer::parse(bytes)
    {
        assert_eq!(trailer.encode().expect("was read"), *bytes);
    }
    let mut rest = data;
    let (info_size, padding) = (u64::from(number(&mut rest)), u64::from(number(&mut rest)));
    let trailer = SizeTrailer { info_size, padding };
    match trailer.encode() {
        Ok(bytes) => assert_eq!(SizeTrailer::parse(&bytes).expect("was written"), trailer),
        Err(_) => assert!(info_size > 9999 || padding > 511),
    }
}

/// Archive info that is taken is written so that it says the same.
pub fn info_parse(data: &[u8]) {
    if let Ok(info) = ArchiveInfo::parse(data) {
        let text = info.encode();
        // Keys that were left out in what was read may make it a little too long.
        if text.len() <= isptar_core::format::info::MAX_LEN {
            assert_eq!(ArchiveInfo::parse(&text).expect("was written"), info);
        }
    }
}

/// A line that is taken is written so that it says the same.
pub fn listing_line(data: &[u8]) {
    let limits = Limits::default();
    let _ = Entry::parse(data, Dialect::Classic, &limits);
    if let Ok(entry) = Entry::parse(data, Dialect::Isptar, &limits) {
        let mut line = Vec::new();
        entry.encode(&limits, &mut line).expect("was read");
        assert_eq!(line.pop(), Some(b'\n'));
        assert_eq!(Entry::parse(&line, Dialect::Isptar, &limits).expect("was written"), entry);
        let mut again = Vec::new();
        entry.encode(&limits, &mut again).expect("was read");
        assert_eq!(again[..line.len()], line);
    }
}

/// Tables that are taken are written so that they say the same.
pub fn tables_parse(data: &[u8]) {
    if let Ok(tables) = Tables::parse(data)
        && tables != Tables::default()
    {
        assert_eq!(Tables::parse(&tables.encode()).expect("was written"), tables);
    }
}

/// Headers that are taken, and can be written, are written so that they say the same.
pub fn tar_headers(data: &[u8]) {
    let limits = Limits::default();
    let mut blocks = SliceBlocks::new(data, 0);
    while let Ok(found) = read_headers(&mut blocks, &limits) {
        match found {
            Found::Member(found) => rewrite(&found.header, &limits),
            Found::End => return,
            Found::Global(_) | Found::Zeros => {}
        }
    }
}

fn rewrite(header: &MemberHeader, limits: &Limits) {
    let mut out = Vec::new();
    if !header.path.is_canonical() || header.encode(limits, &mut out).is_err() {
        return;
    }
    let mut blocks = SliceBlocks::new(&out, 0);
    let Ok(Found::Member(again)) = read_headers(&mut blocks, limits) else {
        panic!("headers that were written are not taken: {header:?}");
    };
    assert_eq!(blocks.position(), out.len());
    let again = again.header;
    assert_eq!(again.path, header.path);
    assert_eq!(again.kind, header.kind);
    assert_eq!((again.uid, again.gid, again.mode), (header.uid, header.gid, header.mode & 0o7777));
    assert_eq!(again.mtime.seconds(), header.mtime.seconds());
    assert_eq!(again.sparse, header.sparse);
}

/// A path that is safe has only components that stay where they are, whatever is done to it; and
/// the order of names is an order.
pub fn safe_path(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(safe) = SafePath::new(&MemberPath::from(data), &limits) {
        check_safe(&safe);
        let path = safe.to_member_path();
        assert!(path.is_canonical());
        assert_eq!(SafePath::new(&path, &limits).expect("is safe"), safe);
        for count in 0..4 {
            if let Some(stripped) = safe.strip_components(count) {
                check_safe(&stripped);
            }
        }
    }
    let mut parts = data.split(|&byte| byte == b'\n');
    let (Some(a), Some(b), Some(c)) = (parts.next(), parts.next(), parts.next()) else { return };
    assert_eq!(compare(a, b), compare(b, a).reverse());
    assert_eq!(compare(a, b).is_eq(), a == b);
    if compare(a, b).is_le() && compare(b, c).is_le() {
        assert!(compare(a, c).is_le());
        // A subtree is one run of names.
        let canonical = [a, b, c].iter().all(|name| MemberPath::from(*name).is_canonical());
        if canonical && is_within(c, a) {
            assert!(is_within(b, a));
        }
    }
}

fn check_safe(path: &SafePath) {
    for part in path.components() {
        assert!(!matches!(part, b"" | b"." | b".."));
        assert!(!part.contains(&b'/') && !part.contains(&0));
    }
}

/// Any bytes are an archive or an error; what an archive gives out is bounded.
pub fn archive_open(data: &[u8]) {
    let mut limits = Limits::default();
    limits.listing = 16 << 20;
    limits.tables = 16 << 20;
    let Ok(archive) = Archive::open_with(data, limits) else { return };
    let entries: Vec<Entry> = archive.entries().take(ENTRIES).map_while(Result::ok).collect();
    let _ = archive.listing_text();
    let mut left = CONTENT;
    let mut previous = None;
    for entry in &entries {
        let found = archive.find(&entry.path);
        if archive.info().sorted && !archive.is_classic() {
            assert!(matches!(found, Ok(Some(found)) if found == *entry));
        }
        let Ok(mut member) = archive.next_member(previous.take(), entry) else { continue };
        assert!(archive.is_classic() || member.header().path == entry.path);
        let whole = drain(&mut member, &mut left);
        previous = Some(member);
        // The same content by itself, in two ranges.
        if let Some(content) = whole.filter(|_| matches!(entry.kind, Kind::File { .. })) {
            let size = content.len() as u64;
            let mut parts = Vec::new();
            for (start, end) in [(0, size / 2), (size / 2, size)] {
                archive.copy_range(entry, start, end, &mut parts).expect("was read");
            }
            assert!(parts == content);
        }
    }
    if let Some(entry) = entries.get(entries.len() / 2) {
        let _ = archive.entries_within(&entry.path).take(ENTRIES).count();
    }
}

/// Reads content to its end; `None` when it is damaged, too much, or has large holes.
fn drain(content: &mut impl Content, left: &mut u64) -> Option<Vec<u8>> {
    let size = content.size();
    let mut whole = Vec::new();
    let mut last = 0;
    while let Some(piece) = content.next_piece().ok()? {
        assert!(piece.offset >= last && !piece.bytes.is_empty());
        last = piece.offset + piece.bytes.len() as u64;
        assert!(last <= size);
        *left = left.checked_sub(piece.bytes.len() as u64)?;
        if size <= CONTENT {
            whole.resize(usize::try_from(piece.offset).ok()?, 0);
            whole.extend_from_slice(piece.bytes);
        }
    }
    (size <= CONTENT).then(|| {
        whole.resize(usize::try_from(size).unwrap_or(0), 0);
        whole
    })
}

/// Any bytes are a tar or an error.
pub fn tar_reader(data: &[u8]) {
    let mut limits = Limits::default();
    limits.components = 64;
    let Ok(mut tar) = TarReader::new(data, limits) else { return };
    let mut left = CONTENT;
    for _ in 0..ENTRIES {
        let Ok(Some(mut member)) = tar.next() else { return };
        let _ = (member.entry(), member.warnings().len());
        if drain(&mut member, &mut left).is_none() && left < CONTENT / 2 {
            return;
        }
    }
}

/// What is written is read the same, by the listing and from front to back.
pub fn write_then_read(data: &[u8]) {
    let mut rest = data;
    let mut options = WriterOptions::default();
    options.level = byte(&mut rest) % 13;
    options.sorted = byte(&mut rest) % 2 == 0;
    let mut bytes = Vec::new();
    let sink = WriteSink::new(&mut bytes);
    let mut writer = ArchiveWriter::new(sink, &options).expect("memory takes all");
    let mut written = Vec::new();
    while !rest.is_empty() && written.len() < 64 {
        let (header, content) = member(&mut rest);
        let mut details = Details::default();
        details.dirty = byte(&mut rest) % 8 == 1;
        details.ino = Some(u64::from(number(&mut rest)));
        if let Ok(entry) = writer.append(&header, details, content.as_slice()) {
            written.push((entry, content));
        }
    }
    let (_, report) = writer.finish().expect("memory takes all");
    assert_eq!(report.archive_size, bytes.len() as u64);
    check_listing(&bytes, &written);
    check_stream(&bytes, &written);
}

fn check_listing(bytes: &[u8], written: &[(Entry, Vec<u8>)]) {
    let archive = Archive::open(bytes).expect("was written");
    let entries: Result<Vec<Entry>, _> = archive.entries().collect();
    let entries = entries.expect("was written");
    assert!(entries.iter().eq(written.iter().map(|(entry, _)| entry)));
    for (entry, content) in written {
        let mut read = Vec::new();
        let member = archive.member(entry).expect("was written");
        ContentReader::new(member).read_to_end(&mut read).expect("was written");
        if matches!(entry.kind, Kind::File { .. }) {
            assert!(read == *content);
        }
    }
}

fn check_stream(bytes: &[u8], written: &[(Entry, Vec<u8>)]) {
    let mut tar = TarReader::new(bytes, Limits::default()).expect("memory gives all");
    for (entry, content) in written {
        let member = tar.next().expect("was written").expect("was written");
        let (path, kind) = (&member.header().path, &member.header().kind);
        assert!(*path == entry.path && *kind == entry.kind);
        let mut read = Vec::new();
        ContentReader::new(member).read_to_end(&mut read).expect("was written");
        if matches!(entry.kind, Kind::File { .. }) {
            assert!(read == *content);
        }
    }
    assert!(tar.next().expect("was written").is_none() && tar.is_ours() && !tar.end_missing());
}

/// Takes a member out of the input.
fn member(rest: &mut &[u8]) -> (MemberHeader, Vec<u8>) {
    let path = MemberPath::new(text(rest));
    let mut content = Vec::new();
    let kind = match byte(rest) % 12 {
        0 => Kind::Directory,
        1 => Kind::Symlink { target: text(rest) },
        2 => Kind::HardLink { target: MemberPath::new(text(rest)) },
        3 => Kind::Fifo,
        4 => Kind::CharDevice { major: number(rest), minor: number(rest) },
        5 => Kind::BlockDevice { major: number(rest), minor: number(rest) },
        large => {
            content = text(rest);
            // Now and then a file of several chunks.
            if large == 6 && !content.is_empty() && byte(rest) % 16 == 0 {
                content = content.iter().copied().cycle().take(1_200_000).collect();
            }
            Kind::File { size: content.len() as u64 }
        }
    };
    let mut header = MemberHeader::new(path, kind);
    header.mode = number(rest) & 0o7777;
    header.uid = u64::from(number(rest)) << (byte(rest) % 32);
    header.gid = u64::from(number(rest));
    header.user = text(rest);
    header.mtime = Timestamp::new(
        i64::from(number(rest)) - i64::from(number(rest)),
        number(rest) % 1_000_000_000,
    );
    if byte(rest) % 4 == 1 {
        let name = [b"user.".to_vec(), text(rest)].concat();
        header.xattrs.attributes.insert(name, text(rest));
    }
    (header, content)
}

fn byte(rest: &mut &[u8]) -> u8 {
    rest.split_off_first().copied().unwrap_or(0)
}

/// Takes a number: of one byte mostly, else of four.
fn number(rest: &mut &[u8]) -> u32 {
    match byte(rest) {
        small @ 0..=200 => u32::from(small),
        _ => (0..4).fold(0, |number, _| number << 8 | u32::from(byte(rest))),
    }
}

/// Takes bytes, their length first.
fn text(rest: &mut &[u8]) -> Vec<u8> {
    let len = usize::from(byte(rest)) << (byte(rest) % 8).saturating_sub(4);
    rest.split_off(..len.min(rest.len())).unwrap_or_default().to_vec()
}
