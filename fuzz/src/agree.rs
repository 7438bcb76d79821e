//! Reading by the listing against reading from front to back.

use std::collections::HashMap;
use std::io::Read;

use isptar_core::format::assemble::{Found, SliceBlocks, read_headers};
use isptar_core::format::padding;
use isptar_core::{Archive, Content, Entry, Kind, MemberHeader, TarReader};

use crate::archives::{CONTENT, ENTRIES, limits};
use crate::craft;
use crate::input::Input;
use crate::streams::{Stream, walk};

/// A member that was read to its end: its headers, and its data with their offsets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) header: MemberHeader,
    pub(crate) pieces: Vec<(u64, Vec<u8>)>,
}

/// What a tar gave when it was read from front to back.
#[derive(Debug)]
pub(crate) struct Plain {
    /// Members, and where in the tar the data of each ended.
    pub(crate) members: Vec<(u64, Whole)>,
    /// There was nothing wrong.
    pub(crate) whole: bool,
    /// There was not too much of it.
    pub(crate) enough: bool,
}

/// Reads a tar up to the first thing that is wrong with it, or there is too much of it.
pub(crate) fn read_plain<R: Read>(tar: &mut TarReader<R>) -> Plain {
    let mut plain = Plain { members: Vec::new(), whole: false, enough: true };
    let mut left = CONTENT;
    while plain.members.len() < ENTRIES {
        match tar.next() {
            Ok(Some(mut member)) => {
                let header = member.header().clone();
                let Some(pieces) = pieces(&mut member, &mut left) else {
                    plain.enough = left >= CONTENT / 2;
                    return plain;
                };
                plain.members.push((tar.position(), Whole { header, pieces }));
            }
            Ok(None) => {
                plain.whole = true;
                return plain;
            }
            Err(_) => return plain,
        }
    }
    plain.enough = false;
    plain
}

/// Reads content to its end; pieces that touch are made one. `None` when it is damaged, or longer
/// than what is `left` to be read.
pub(crate) fn pieces(content: &mut impl Content, left: &mut u64) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
    while let Some(piece) = content.next_piece().ok()? {
        *left = left.checked_sub(piece.bytes.len() as u64)?;
        match pieces.last_mut() {
            Some((offset, bytes)) if *offset + bytes.len() as u64 == piece.offset => {
                bytes.extend_from_slice(piece.bytes);
            }
            _ => pieces.push((piece.offset, piece.bytes.to_vec())),
        }
    }
    Some(pieces)
}

/// Any bytes: what the listing gives is what the tar has.
pub fn listed_and_sequential(data: &[u8]) {
    agree(data);
}

/// Likewise for archives that are right but for what their listings say.
pub fn lying_listing(data: &[u8]) {
    let archive = craft::archive(&mut Input::new(data), b"/nowhere");
    crate::archives::archive_open(&archive);
    agree(&archive);
}

/// Checks that every member that the listing gives out as good, and whose headers begin where
/// those of a member of the tar do, is that member: the same headers, the same content.
///
/// A listing can also point into the content of a member, where a stream may be stored; only
/// reading everything tells.
fn agree(data: &[u8]) {
    let Ok(archive) = Archive::open_with(data, limits()) else { return };
    if archive.is_classic() {
        return;
    }
    let (streams, tar) = walk(data);
    let starts = starts(&tar);
    let mut reader = TarReader::new(data, limits()).expect("memory gives all");
    let plain = read_plain(&mut reader);
    let members: HashMap<u64, &Whole> =
        plain.members.iter().map(|(end, member)| (*end, member)).collect();
    let mut left = CONTENT;
    for entry in archive.entries().take(ENTRIES).map_while(Result::ok) {
        let Ok(mut member) = archive.member(&entry) else { continue };
        assert!(member.header().path == entry.path && member.header().kind == entry.kind);
        let Some(pieces) = pieces(&mut member, &mut left) else { continue };
        let place = place(&entry, &streams).and_then(|start| starts.get(&start));
        if let Some(plain) = place.and_then(|end| members.get(end)) {
            assert!(plain.header == *member.header());
            assert!(plain.pieces == pieces);
        }
    }
}

/// Returns where in the tar an entry says that its member begins.
fn place(entry: &Entry, streams: &[Stream]) -> Option<usize> {
    let location = entry.location?;
    let stream = streams.iter().find(|stream| stream.offset == location.offset)?;
    stream.tar_offset.checked_add(usize::try_from(location.zoffset).ok()?)
}

/// Returns where the members of a tar begin, each with where its data ends.
fn starts(tar: &[u8]) -> HashMap<usize, u64> {
    let mut starts = HashMap::new();
    let mut position = 0;
    loop {
        let mut blocks = SliceBlocks::new(tar, position);
        match read_headers(&mut blocks, &limits()) {
            Ok(Found::Member(found)) => {
                let is_file = matches!(found.header.kind, Kind::File { .. });
                let end = blocks.position() as u64;
                starts
                    .insert(position, if is_file { end.saturating_add(found.stored) } else { end });
                let len = found.stored.saturating_add(padding(found.stored));
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                position = blocks.position().saturating_add(len);
            }
            Ok(Found::Global(_)) => position = blocks.position(),
            _ => return starts,
        }
    }
}
