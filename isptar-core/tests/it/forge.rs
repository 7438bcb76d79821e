//! Archives put together by hand: every number that holds one together can be made to lie.

use std::fmt::Write as _;

use isptar_core::codec::Packer;
use isptar_core::format::info::ArchiveInfo;
use isptar_core::format::tables::{ListingBlock, Tables};
use isptar_core::format::trailer::SizeTrailer;
use isptar_core::format::{BLOCK, INFO_NAME, gzip, padding};
use isptar_core::{Archive, Kind, Limits, MemberHeader};
use sha2::{Digest as _, Sha256};

/// The parts of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Forge {
    /// Prologue and members, packed.
    pub(crate) data: Vec<u8>,
    /// The text of each listing block; the last one ends with the empty line.
    pub(crate) blocks: Vec<Vec<u8>>,
    /// What the archive info says beside what follows from the rest.
    pub(crate) sorted: bool,
    /// Whether there are tables though one block needs none.
    pub(crate) force_tables: bool,
    /// The level that listing, tables and info are packed with.
    pub(crate) level: u8,
}

/// A change of a part, made before what depends on it is computed.
type Change<'a, T> = &'a dyn Fn(&mut T);

impl Forge {
    /// Takes an archive apart.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let archive = Archive::open(bytes).unwrap();
        let data = bytes[..usize::try_from(archive.info().data_size).unwrap()].to_vec();
        let mut text = archive.listing_text().unwrap();
        let mut blocks = Vec::new();
        for block in &archive.tables().blocks {
            let rest = text.split_off(usize::try_from(block.real).unwrap());
            blocks.push(std::mem::replace(&mut text, rest));
        }
        Self { data, blocks, sorted: archive.info().sorted, force_tables: false, level: 6 }
    }

    /// Begins an archive without members.
    pub(crate) fn empty() -> Self {
        Self::of(&super::support::build(&[], 6))
    }

    /// Returns the whole listing.
    pub(crate) fn listing(&self) -> String {
        String::from_utf8(self.blocks.concat()).unwrap()
    }

    /// Replaces the listing, one block.
    pub(crate) fn set_listing(&mut self, text: &str) {
        self.blocks = vec![text.as_bytes().to_vec()];
    }

    /// Replaces what stands in the listing; it must stand there.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        let text = self.listing();
        assert!(text.contains(from), "{from:?} is not in {text}");
        self.set_listing(&text.replace(from, to));
    }

    /// Adds a member: its stream, and a line with `{at}` and `{packed}` replaced by what is right.
    pub(crate) fn push(&mut self, stream: &[u8], line: &str) {
        let (at, packed) = (self.data.len().to_string(), stream.len().to_string());
        self.data.extend_from_slice(stream);
        let line = line.replace("{at}", &at).replace("{packed}", &packed);
        let mut text = self.listing();
        text.pop();
        writeln!(text, "{line}\n").unwrap();
        self.set_listing(&text);
    }

    /// Returns the archive, all of it right.
    pub(crate) fn seal(&self) -> Vec<u8> {
        self.seal_with(&|_| {}, &|_| {})
    }

    /// Returns the archive with tables and archive info changed.
    pub(crate) fn seal_with(
        &self,
        tables: Change<'_, Tables>,
        info: Change<'_, ArchiveInfo>,
    ) -> Vec<u8> {
        self.seal_text(tables, info, &|text| text)
    }

    /// Returns the archive with the text of the archive info changed as well.
    pub(crate) fn seal_text(
        &self,
        change_tables: Change<'_, Tables>,
        change_info: Change<'_, ArchiveInfo>,
        change_text: &dyn Fn(Vec<u8>) -> Vec<u8>,
    ) -> Vec<u8> {
        let mut packer = Packer::new(self.level);
        let mut pack = |text: &[u8]| {
            let mut out = Vec::new();
            packer.pack(text, &mut out);
            out
        };
        let mut tables = Tables::default();
        let mut listing = Vec::new();
        let mut identity = Sha256::new();
        for text in &self.blocks {
            let packed = pack(text);
            identity.update(text);
            tables.blocks.push(block_line(text, packed.len()));
            listing.extend_from_slice(&packed);
        }
        let entries = tables.blocks.iter().map(|block| block.entries).sum();
        let implied = tables.is_implied() && !self.force_tables;
        change_tables(&mut tables);
        let tables_text = if implied { Vec::new() } else { tables.encode() };
        let packed_tables = if implied { Vec::new() } else { pack(&tables_text) };
        let real = self.blocks.iter().map(Vec::len).sum::<usize>() + tables_text.len();
        let mut info = ArchiveInfo {
            listing_size: (listing.len() + packed_tables.len()) as u64,
            listing_real_size: real as u64,
            format: Some(2),
            tables_size: packed_tables.len() as u64,
            entries,
            data_size: self.data.len() as u64,
            listing_sha256: Some(identity.finalize().into()),
            sorted: self.sorted,
            ..ArchiveInfo::default()
        };
        change_info(&mut info);
        let info_text = change_text(info.encode());
        let packed_info = pack(&info_text);
        let size = real + info_text.len() + packed_info.len().to_string().len();
        let padding = u16::try_from(padding(size as u64)).unwrap();
        let trailer = SizeTrailer { info_size: packed_info.len() as u64, padding: padding.into() };
        [
            self.data.clone(),
            info_header(size as u64),
            listing,
            packed_tables,
            packed_info,
            trailer.encode().unwrap().to_vec(),
        ]
        .concat()
    }
}

/// Returns the line of the tables for a listing block.
fn block_line(text: &[u8], packed: usize) -> ListingBlock {
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let first = text.split(|&byte| byte == b'\t').next().unwrap_or_default();
    let first = isptar_core::format::text::unescape("name", first).unwrap_or_default();
    ListingBlock {
        packed: packed as u64,
        real: text.len() as u64,
        entries: lines.count() as u64,
        first: if text == b"\n" { Vec::new() } else { first.into_owned() }.into(),
    }
}

/// Returns the stream with the header of `.backup.info`.
fn info_header(size: u64) -> Vec<u8> {
    let mut header = MemberHeader::new(INFO_NAME, Kind::File { size });
    header.mode = 0o600;
    let mut block = Vec::new();
    header.encode(&Limits::default(), &mut block).unwrap();
    assert_eq!(block.len(), BLOCK);
    stored(&block)
}

/// Returns a stored stream.
pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    gzip::push_stored(bytes, crc32fast::hash(bytes), &mut out);
    out
}

/// Returns a deflated stream.
pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Packer::new(6).pack(bytes, &mut out);
    out
}

/// Returns the tar of a member: headers, data, padding.
pub(crate) fn tar_of(header: &MemberHeader, data: &[u8]) -> Vec<u8> {
    let mut limits = Limits::default();
    (limits.pax, limits.path) = (1 << 30, 1 << 30);
    let mut tar = Vec::new();
    header.encode(&limits, &mut tar).unwrap();
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    tar
}
