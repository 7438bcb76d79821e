//! Archives whose listings say what the input wants, in bytes that are right otherwise.

use isptar_core::format::entry::{Chunks, Digest, Entry, Location};
use isptar_core::format::header::{Header, Magic};
use isptar_core::format::info::{ArchiveInfo, FORMAT};
use isptar_core::format::member::prologue;
use isptar_core::format::tables::{Base, ListingBlock, Tables};
use isptar_core::format::trailer::SizeTrailer;
use isptar_core::format::{INFO_NAME, gzip, padding};
use isptar_core::{Kind, Limits, MemberHeader, MemberPath};
use sha2::{Digest as _, Sha256};

use crate::input::Input;
use crate::members::{member, name};

/// Makes an archive of members of an attacker. The listing may lie, and bytes may be changed after
/// all; without either, all is as it should be but for the names.
pub(crate) fn archive(input: &mut Input<'_>, base: &[u8]) -> Vec<u8> {
    let flags = input.byte();
    let Packed { mut bytes, mut entries, .. } = packed(input, flags, base);
    if flags & 2 != 0 {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
    }
    for _ in 0..input.byte() % 4 {
        lie(input, &mut entries, base);
    }
    push_listing(&entries, flags, Vec::new(), &mut bytes);
    for _ in 0..input.byte() % 4 {
        change(input, &mut bytes);
    }
    bytes
}

/// Makes an archive as [`archive`] does, and one on it that has some of its members and others.
pub(crate) fn chain(input: &mut Input<'_>) -> [Vec<u8>; 2] {
    let flags = input.byte();
    let Packed { bytes: mut full, entries: mut below, .. } = packed(input, flags, b"");
    below.sort_by(|a, b| a.path.cmp(&b.path));
    let identity = push_listing(&below, flags | 2, Vec::new(), &mut full);
    let Packed { bytes: mut newest, mut entries, .. } = packed(input, flags, b"");
    for mut entry in below {
        if let Some(location) = &mut entry.location {
            location.depth = 1;
        }
        if !entries.iter().any(|other| other.path == entry.path) && input.byte() % 8 != 1 {
            entries.push(entry);
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    for _ in 0..input.byte() % 4 {
        lie(input, &mut entries, b"");
    }
    let line = Base { depth: 1, identity, name: b"full".to_vec() };
    push_listing(&entries, flags | 2, vec![line], &mut newest);
    for _ in 0..input.byte() % 4 {
        change(input, if flags & 8 == 0 { &mut full } else { &mut newest });
    }
    [full, newest]
}

/// Makes members, with a prologue before them or not.
fn packed(input: &mut Input<'_>, flags: u8, base: &[u8]) -> Packed {
    let mut packed = Packed::default();
    if flags & 1 == 0 {
        let (header, body) = prologue();
        push_stream(&header, &mut packed.bytes);
        push_stream(&body, &mut packed.bytes);
    }
    for _ in 0..1 + input.byte() % 12 {
        let (header, data) = member(input, base);
        packed.add(&header, &data, input.byte());
    }
    packed.flush();
    packed
}

pub(crate) fn push_stream(data: &[u8], out: &mut Vec<u8>) {
    gzip::push_stored(data, crc32fast::hash(data), out);
}

/// Members as streams, and their entries.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The stream that is open, and the first of the entries in it.
    stream: Vec<u8>,
    first: usize,
}

impl Packed {
    /// Adds a member: in a stream of its own, in the one before, or in chunks.
    fn add(&mut self, header: &MemberHeader, data: &[u8], layout: u8) {
        let mut tar = Vec::new();
        if header.encode(&Limits::default(), &mut tar).is_err() {
            return;
        }
        let mut entry = entry_of(header, data);
        let end = data.len() + usize::try_from(padding(data.len() as u64)).unwrap_or(0);
        let mut padded = data.to_vec();
        padded.resize(end, 0);
        if layout % 8 != 1 {
            self.flush();
        }
        if layout % 8 == 2 && !data.is_empty() {
            let offset = self.bytes.len() as u64;
            entry.chunks = Some(self.add_chunks(&tar, data.len(), &padded, layout));
            entry.location = Some(Location { depth: 0, slice: 1, offset, zoffset: 0 });
            entry.packed = Some(self.bytes.len() as u64 - offset);
            self.entries.push(entry);
            self.first = self.entries.len();
            return;
        }
        let zoffset = self.stream.len() as u64;
        entry.location = Some(Location { depth: 0, slice: 1, offset: 0, zoffset });
        self.stream.extend_from_slice(&tar);
        self.stream.extend_from_slice(&padded);
        self.entries.push(entry);
    }

    fn add_chunks(&mut self, tar: &[u8], len: usize, padded: &[u8], layout: u8) -> Chunks {
        let size = (1 + usize::from(layout >> 3)).max(len.div_ceil(16));
        let mut packed = Vec::new();
        let mut push = |data: &[u8]| {
            let start = self.bytes.len();
            push_stream(data, &mut self.bytes);
            packed.push((self.bytes.len() - start) as u64);
        };
        push(tar);
        for start in (0..len).step_by(size) {
            let end = start + size;
            push(&padded[start..if end >= len { padded.len() } else { end }]);
        }
        Chunks { size: size as u64, packed }
    }

    /// Ends the stream that is open.
    fn flush(&mut self) {
        let start = self.bytes.len();
        if !self.stream.is_empty() {
            push_stream(&std::mem::take(&mut self.stream), &mut self.bytes);
        }
        for entry in &mut self.entries[self.first..] {
            entry.packed = Some((self.bytes.len() - start) as u64);
            if let Some(location) = &mut entry.location {
                location.offset = start as u64;
            }
        }
        self.first = self.entries.len();
    }
}

fn entry_of(header: &MemberHeader, data: &[u8]) -> Entry {
    let mut entry = Entry::new(header.path.clone(), header.kind.clone());
    entry.mode = header.mode & 0o7777;
    (entry.uid, entry.gid) = (header.uid, header.gid);
    (entry.user, entry.group) = (header.user.clone(), header.group.clone());
    entry.mtime = Some(header.mtime);
    entry.xattr = header.xattrs.fingerprint();
    if header.kind.size() > 0 {
        let mut map = Vec::new();
        if let Some(sparse) = &header.sparse {
            sparse.encode(&mut map);
        }
        let digest = Sha256::digest([&map, data].concat()).into();
        let is_sparse = header.sparse.is_some();
        entry.digest =
            Some(if is_sparse { Digest::Stored(digest) } else { Digest::Content(digest) });
    }
    entry
}

/// Makes one entry say something else.
fn lie(input: &mut Input<'_>, entries: &mut Vec<Entry>, base: &[u8]) {
    if entries.is_empty() {
        return;
    }
    let what = input.byte() % 24;
    let index = input.below(entries.len());
    let other = entries[input.below(entries.len())].clone();
    let entry = &mut entries[index];
    match what {
        0..=5 => lie_of_place(what, input, entry),
        6 => entry.location = other.location,
        7 => (entry.location, entry.packed) = (other.location, other.packed),
        8 => entry.path = MemberPath::new(name(input, base)),
        9 => entry.path = other.path,
        10 => entry.kind = other.kind,
        11 => entry.kind = Kind::Symlink { target: name(input, base) },
        12 => entry.kind = Kind::HardLink { target: MemberPath::new(name(input, base)) },
        13 => entry.kind = Kind::File { size: input.odd_number() },
        14 => entry.digest = other.digest,
        15 => entry.chunks = other.chunks,
        16 => {
            let packed = (0..input.byte() % 8).map(|_| input.odd_number()).collect();
            entry.chunks = Some(Chunks { size: input.odd_number(), packed });
        }
        17 => entry.chunks = None,
        18 => (entry.sparse, entry.xattr) = (true, Some(7)),
        19 => entry.lost = Some("unreadable".into()),
        20 => entry.mode = input.number() & 0o7777,
        21 => entries.push(other),
        22 => drop(entries.remove(index)),
        _ => entries.swap(0, index),
    }
}

fn lie_of_place(what: u8, input: &mut Input<'_>, entry: &mut Entry) {
    let Some(location) = &mut entry.location else { return };
    match what {
        0 => location.offset = input.odd_number(),
        1 => {
            location.offset =
                location.offset.wrapping_add(u64::from(input.byte())).wrapping_sub(128)
        }
        2 => location.zoffset = 512 * u64::from(input.byte()),
        3 => (location.depth, location.slice) = (input.number() % 3, input.number() % 3),
        4 => entry.packed = entry.packed.map(|len| len.wrapping_add(u64::from(input.byte()))),
        _ => entry.packed = Some(input.odd_number()),
    }
}

/// Appends listing, tables, archive info and size trailer; returns the identity of the archive.
fn push_listing(entries: &[Entry], flags: u8, bases: Vec<Base>, out: &mut Vec<u8>) -> [u8; 32] {
    let data_size = out.len() as u64;
    // Two blocks, when they are asked for and there is something for each.
    let count = if flags & 4 != 0 && entries.len() > 1 { 2 } else { 1 };
    let (texts, numbers) = texts(entries, count);
    let mut streams = Vec::new();
    let mut tables = Tables { bases, ..Tables::default() };
    for ((text, first), entries) in texts.iter().zip(numbers) {
        let start = streams.len();
        push_stream(text, &mut streams);
        let (packed, real) = ((streams.len() - start) as u64, text.len() as u64);
        tables.blocks.push(ListingBlock { packed, real, entries, first: first.clone() });
    }
    let has_tables = !tables.is_implied();
    let tables_text = if has_tables { tables.encode() } else { Vec::new() };
    let tables_start = streams.len();
    if has_tables {
        push_stream(&tables_text, &mut streams);
    }
    let text: Vec<u8> = texts.iter().flat_map(|(text, _)| text).copied().collect();
    let identity = Sha256::digest(&text).into();
    let info = ArchiveInfo {
        listing_size: streams.len() as u64,
        listing_real_size: (text.len() + tables_text.len()) as u64,
        format: Some(FORMAT),
        tables_size: (streams.len() - tables_start) as u64,
        entries: tables.blocks.iter().map(|block| block.entries).sum(),
        data_size,
        content_size: Some(entries.iter().fold(0, |sum, e| e.kind.size().wrapping_add(sum))),
        listing_sha256: Some(identity),
        sorted: flags & 2 != 0,
        ..ArchiveInfo::default()
    };
    let info = info.encode();
    let mut packed_info = Vec::new();
    push_stream(&info, &mut packed_info);
    let digits = packed_info.len().to_string().len();
    let size = (text.len() + tables_text.len() + info.len() + digits) as u64;
    let trailer = SizeTrailer { info_size: packed_info.len() as u64, padding: padding(size) };
    push_stream(&listing_header(size), out);
    out.extend_from_slice(&streams);
    out.extend_from_slice(&packed_info);
    out.extend_from_slice(&trailer.encode().expect("archive info is short"));
    identity
}

/// Returns the text of each block with its first name, and its number of entries.
fn texts(entries: &[Entry], count: usize) -> (Vec<(Vec<u8>, MemberPath)>, Vec<u64>) {
    let per_block = entries.len().div_ceil(count).max(1);
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for block in 0..count {
        let entries = entries.chunks(per_block).nth(block).unwrap_or_default();
        let (mut text, mut number) = (Vec::new(), 0);
        for entry in entries {
            let mut line = Vec::new();
            if entry.encode(&Limits::default(), &mut line).is_ok() {
                text.extend_from_slice(&line);
                number += 1;
            }
        }
        let first = entries.first().map(|entry| entry.path.clone()).unwrap_or_default();
        texts.push((text, first));
        numbers.push(number);
    }
    if let Some((text, _)) = texts.last_mut() {
        text.push(b'\n');
    }
    (texts, numbers)
}

fn listing_header(size: u64) -> [u8; 512] {
    Header {
        name: INFO_NAME.to_vec(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        size,
        mtime: 0,
        typeflag: b'0',
        linkname: Vec::new(),
        uname: Vec::new(),
        gname: Vec::new(),
        device: (0, 0),
        magic: Magic::Ustar,
    }
    .encode()
}

/// Changes bytes of the archive.
fn change(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = input.below(bytes.len());
    match input.byte() % 8 {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..bytes.len().min(at + usize::from(input.byte())))),
        2 => drop(bytes.splice(at..at, input.text())),
        3 => bytes.extend_from_within(at..),
        4 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
        _ => bytes[at] = input.byte(),
    }
}
