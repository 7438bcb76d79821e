//! What stands around the listing: the header before it, tables, archive info and size trailer
//! behind it.

use std::collections::BTreeSet;

use super::listing::pack_text;
use crate::codec::Packer;
use crate::error::{Error, FormatError, Result};
use crate::format::header::{Header, Magic};
use crate::format::info::ArchiveInfo;
use crate::format::tables::Tables;
use crate::format::trailer::{self, SizeTrailer};
use crate::format::{BLOCK, INFO_NAME, gzip, padding};
use crate::limits::Limits;
use crate::path::MemberPath;

/// What an archive ends with, but for the listing blocks between header and tables.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The header of `.backup.info`.
    pub(crate) header: Vec<u8>,
    pub(crate) tables: Vec<u8>,
    pub(crate) info: Vec<u8>,
    pub(crate) trailer: [u8; trailer::LEN],
}

impl Ending {
    /// Composes it. `info` has the sizes of the listing blocks alone, to which those of the tables
    /// are added; `name` is that of `.backup.info`.
    pub(crate) fn new(
        name: &[u8],
        mut info: ArchiveInfo,
        tables: &Tables,
        packer: &mut Packer,
        limits: &Limits,
    ) -> Result<Self> {
        let unstorable = |kind| Error::Unstorable { path: MemberPath::from(INFO_NAME), kind };
        let tables_text = if tables.is_implied() { Vec::new() } else { tables.encode() };
        let (limit, actual) = (limits.tables, tables_text.len() as u64);
        if actual > limit {
            return Err(unstorable(FormatError::Limit {
                what: "tables",
                limit,
                actual,
                raise: None,
            }));
        }
        let mut tables = Vec::new();
        if !tables_text.is_empty() {
            pack_text(packer, &tables_text, &mut tables);
        }
        info.tables_size = tables.len() as u64;
        info.listing_size += info.tables_size;
        info.listing_real_size += tables_text.len() as u64;
        let info_text = info.encode();
        let mut packed_info = Vec::new();
        packer.pack(&info_text, &mut packed_info);

        let info_size = packed_info.len() as u64;
        let digits = info_size.to_string().len() as u64;
        let size = info.listing_real_size + info_text.len() as u64 + digits;
        let trailer = SizeTrailer { info_size, padding: padding(size) };
        let trailer = trailer.encode().map_err(unstorable)?;
        let block = listing_header(name, info.created, size);
        let mut header = Vec::new();
        gzip::push_stored(&block, crc32fast::hash(&block), &mut header);
        Ok(Self { header, tables, info: packed_info, trailer })
    }

    /// Composes it for an archive whose slices may be `slice_size` long: the archive info speaks of
    /// slices when there is more than one.
    pub(crate) fn sliced(
        name: &[u8],
        info: ArchiveInfo,
        tables: &Tables,
        packer: &mut Packer,
        limits: &Limits,
        slice_size: Option<u64>,
    ) -> Result<Self> {
        let (data, listing) = (info.data_size, info.listing_size);
        let whole = ArchiveInfo { slice_size: None, ..info };
        let alone = Self::new(name, whole.clone(), tables, packer, limits)?;
        let fits = |size| tables.slices.is_empty() && data + listing + alone.len() <= size;
        if slice_size.is_none_or(fits) {
            return Ok(alone);
        }
        Self::new(name, ArchiveInfo { slice_size, ..whole }, tables, packer, limits)
    }

    /// Returns the bytes of all parts.
    fn len(&self) -> u64 {
        let Self { header, tables, info, trailer } = self;
        (header.len() + tables.len() + info.len() + trailer.len()) as u64
    }
}

/// Returns the name of the member that holds the listing: the first that nothing else has.
pub(crate) fn listing_name(reserved: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut name = INFO_NAME.to_vec();
    let mut number = 0u64;
    while reserved.contains(&name) {
        number += 1;
        name = [INFO_NAME, b".", number.to_string().as_bytes()].concat();
    }
    name
}

/// Returns the tar header of the member that holds the listing.
pub(crate) fn listing_header(name: &[u8], created: Option<u64>, size: u64) -> [u8; BLOCK] {
    info_header(name, 0o600, created, size).encode()
}

/// Returns that header, which is owned by root without a name.
pub(crate) fn info_header(name: &[u8], mode: u32, created: Option<u64>, size: u64) -> Header {
    Header {
        name: name.to_vec(),
        mode,
        uid: 0,
        gid: 0,
        size,
        mtime: created.and_then(|created| i64::try_from(created).ok()).unwrap_or(0),
        typeflag: b'0',
        linkname: Vec::new(),
        uname: Vec::new(),
        gname: Vec::new(),
        device: (0, 0),
        magic: Magic::Ustar,
    }
}
