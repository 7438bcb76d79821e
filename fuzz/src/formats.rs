//! Pieces of the format: bytes to values and back.

use isptar_core::format::assemble::{Found, SliceBlocks, read_headers};
use isptar_core::format::entry::Dialect;
use isptar_core::format::info::ArchiveInfo;
use isptar_core::format::tables::Tables;
use isptar_core::format::trailer::{self, SizeTrailer};
use isptar_core::path::{compare, is_within};
use isptar_core::{Entry, Limits, MemberHeader, MemberPath, SafePath};

use crate::input::Input;

/// A trailer that is taken is the only one that says the same.
pub fn trailer_parse(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<{ trailer::LEN }>()
        && let Ok(trailer) = SizeTrailer::parse(bytes)
    {
        assert_eq!(trailer.encode().expect("was read"), *bytes);
    }
    let mut input = Input::new(data);
    let (info_size, padding) = (u64::from(input.number()), u64::from(input.number()));
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
