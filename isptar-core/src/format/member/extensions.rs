//! What stands before a tar header and belongs to it: PAX records and long names, to be read.

use super::{ACL_ACCESS_KEY, ACL_DEFAULT_KEY, LABEL_KEY, MemberHeader, XATTR_KEY, Xattrs};
use crate::error::FormatError;
use crate::format::entry::Kind;
use crate::format::header::{self, Header};
use crate::format::pax::{self, Record};
use crate::format::sparse::{self, Segment, SparseMap};
use crate::format::timestamp::Timestamp;
use crate::format::{BLOCK, text};
use crate::limits::Limits;
use crate::path::MemberPath;

/// What stands before the tar header of a member and speaks of it.
#[derive(Debug, Default)]
pub struct Extensions {
    /// Records of global headers first, then those of the member.
    records: Vec<Record>,
    /// How many of the records are global.
    globals: usize,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// Where the map of a sparse file is.
#[derive(Debug, PartialEq, Eq)]
pub enum MapPlace {
    /// The file is not sparse, or its map is known already.
    Known,
    /// In the blocks that begin the data: PAX format 1.0.
    InData,
    /// In the tar header, and in blocks right after it when `more`: the older format.
    InHeader {
        /// The segments in the header.
        segments: Vec<Segment>,
        /// Whether a block with more follows.
        more: bool,
    },
}

/// A header that was put together, and what its reader still has to know.
#[derive(Debug)]
pub struct Assembled {
    /// The header; the map of a sparse file is in it only when it is [`MapPlace::Known`].
    pub header: MemberHeader,
    /// Bytes of data that follow in the tar, the sparse map in the data included.
    pub stored: u64,
    /// Where the sparse map is.
    pub map: MapPlace,
    /// Values that were not taken, though the rest of the member was.
    pub warnings: Vec<FormatError>,
}

impl Extensions {
    /// Returns whether a header is one that speaks of the next.
    pub fn is_extension(typeflag: u8) -> bool {
        matches!(typeflag, b'x' | b'X' | b'L' | b'K')
    }

    /// Begins with the records of global headers, which those of the member beat.
    pub fn new(globals: &[Record]) -> Self {
        Self { records: globals.to_vec(), globals: globals.len(), ..Self::default() }
    }

    /// Returns whether nothing was taken so far.
    pub fn is_empty(&self) -> bool {
        !self.has_records() && self.long_name.is_none() && self.long_link.is_none()
    }

    /// Returns whether the member has PAX records of its own.
    fn has_records(&self) -> bool {
        self.records.len() > self.globals
    }

    /// Returns the name that what stands before the tar header gives, if it does.
    pub fn own_name(&self) -> Option<&[u8]> {
        let name = self.get("GNU.sparse.name").or_else(|| self.get("path"));
        name.or(self.long_name.as_deref())
    }

    /// Returns how many bytes of data follow the tar header: a PAX record beats the header.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`] when the record is no number.
    pub fn stored(&self, header: &Header) -> Result<u64, FormatError> {
        // Linking programs before PAX left the size of the file in the header of a hard link, but
        // wrote no data.
        if header.typeflag == b'1' && !self.has_records() {
            return Ok(0);
        }
        self.get("size").map_or(Ok(header.size), |size| pax_number("PAX size", size))
    }

    /// Returns the name of a member: PAX records beat long names, and these the tar header.
    pub fn name<'a>(&'a self, header: &'a Header) -> &'a [u8] {
        self.own_name().unwrap_or(&header.name)
    }

    /// Takes the body of a header for which [`Self::is_extension`] holds.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`] when the records of a PAX header are not.
    pub fn push(&mut self, typeflag: u8, body: &[u8]) -> Result<(), FormatError> {
        let name = || body.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
        match typeflag {
            b'L' => self.long_name = Some(name()),
            b'K' => self.long_link = Some(name()),
            _ => self.records.extend(pax::parse(body)?),
        }
        Ok(())
    }

    /// Returns the value of the last record with a key: the last one wins.
    fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(found, _)| found == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// Puts a member's headers together; PAX records beat fields. `block` is the tar header that
    /// `header` was read from.
    ///
    /// # Errors
    ///
    /// The value that is not valid, when the member cannot be read without it.
    pub fn assemble(
        &self,
        header: Header,
        block: &[u8; BLOCK],
        limits: &Limits,
    ) -> Result<Assembled, FormatError> {
        let mut warnings = Vec::new();
        let stored = self.stored(&header)?;
        let name = self.name(&header).to_vec();
        let kind = self.kind(&header, &name, stored, &mut warnings)?;
        let mut path = name;
        while kind == Kind::Directory && path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        let mut member = MemberHeader {
            path: MemberPath::new(path),
            kind,
            mode: header.mode,
            uid: self.number("uid", header.uid, &mut warnings),
            gid: self.number("gid", header.gid, &mut warnings),
            user: self.get("uname").map_or_else(|| header.uname.clone(), <[u8]>::to_vec),
            group: self.get("gname").map_or_else(|| header.gname.clone(), <[u8]>::to_vec),
            mtime: self.mtime(header.mtime, &mut warnings),
            xattrs: self.xattrs(),
            sparse: None,
        };
        let map = self.sparse(&header, block, &mut member, limits)?;
        Ok(Assembled { header: member, stored, map, warnings })
    }

    fn kind(
        &self,
        header: &Header,
        name: &[u8],
        stored: u64,
        warnings: &mut Vec<FormatError>,
    ) -> Result<Kind, FormatError> {
        let target = || {
            let target = self.get("linkpath").or(self.long_link.as_deref());
            target.unwrap_or(&header.linkname).to_vec()
        };
        let (major, minor) = header.device;
        Ok(match header.typeflag {
            b'1' => Kind::HardLink { target: MemberPath::new(target()) },
            b'2' => Kind::Symlink { target: target() },
            b'3' => Kind::CharDevice { major, minor },
            b'4' => Kind::BlockDevice { major, minor },
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'M' => return Err(FormatError::Unknown { what: "tar type", value: "M".into() }),
            // Before ustar a slash at the end was all that told a directory.
            0 | b'0' if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File { size: stored },
            other => {
                warnings.push(FormatError::Unknown {
                    what: "tar type",
                    value: other.escape_ascii().to_string(),
                });
                Kind::File { size: stored }
            }
        })
    }

    fn number(&self, key: &'static str, field: u64, warnings: &mut Vec<FormatError>) -> u64 {
        match self.get(key).map(|value| pax_number(key, value)) {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                warnings.push(error);
                field
            }
            None => field,
        }
    }

    fn mtime(&self, field: i64, warnings: &mut Vec<FormatError>) -> Timestamp {
        match self.get("mtime").map(|value| Timestamp::parse("PAX mtime", value)) {
            Some(Ok(time)) => time,
            Some(Err(error)) => {
                warnings.push(error);
                Timestamp::new(field, 0)
            }
            None => Timestamp::new(field, 0),
        }
    }

    fn xattrs(&self) -> Xattrs {
        let mut xattrs = Xattrs::default();
        for (key, value) in &self.records {
            match key.as_slice() {
                ACL_ACCESS_KEY => xattrs.acl_access = Some(value.clone()),
                ACL_DEFAULT_KEY => xattrs.acl_default = Some(value.clone()),
                LABEL_KEY => xattrs.label = Some(value.clone()),
                key => {
                    if let Some(name) = key.strip_prefix(XATTR_KEY) {
                        xattrs.attributes.insert(unescape_key(name), value.clone());
                    }
                }
            }
        }
        xattrs
    }

    /// Finds out whether the file is sparse, and where its map is.
    fn sparse(
        &self,
        header: &Header,
        block: &[u8; BLOCK],
        member: &mut MemberHeader,
        limits: &Limits,
    ) -> Result<MapPlace, FormatError> {
        let Kind::File { size } = &mut member.kind else { return Ok(MapPlace::Known) };
        if header.typeflag == b'S' {
            // Offsets in the older header: pairs at 386, "more" at 482, real size at 483.
            let field = |from: usize, len: usize| {
                block.get(from..).and_then(|rest| rest.get(..len)).unwrap_or_default()
            };
            let real = header::number("real size", field(483, 12))?;
            *size = u64::try_from(real)
                .map_err(|_| FormatError::invalid("real size", field(483, 12)))?;
            let segments = sparse::parse_header_pairs(field(386, 96))?;
            let more = field(482, 1) != [0];
            return Ok(MapPlace::InHeader { segments, more });
        }
        let real = self.get("GNU.sparse.realsize").or_else(|| self.get("GNU.sparse.size"));
        let Some(real) = real else { return Ok(MapPlace::Known) };
        *size = pax_number("GNU.sparse.realsize", real)?;
        if let Some(major) = self.get("GNU.sparse.major") {
            let minor = self.get("GNU.sparse.minor").unwrap_or(b"0");
            if (major, minor) == (b"1", b"0") {
                return Ok(MapPlace::InData);
            }
            if major != b"0" {
                return Err(FormatError::Unknown {
                    what: "sparse format",
                    value: major.escape_ascii().to_string(),
                });
            }
        }
        let segments = match self.get("GNU.sparse.map") {
            Some(list) => sparse::parse_list(list, limits)?,
            None => self.sparse_records()?,
        };
        member.sparse = Some(SparseMap::new(*size, segments, limits)?);
        Ok(MapPlace::Known)
    }

    /// Reads the map of format 0.0: a record for each number.
    fn sparse_records(&self) -> Result<Vec<Segment>, FormatError> {
        let mut segments = Vec::new();
        let mut offset = None;
        for (key, value) in &self.records {
            match key.as_slice() {
                b"GNU.sparse.offset" => offset = Some(pax_number("GNU.sparse.offset", value)?),
                b"GNU.sparse.numbytes" => segments.push(Segment {
                    offset: offset.take().ok_or(FormatError::Missing("GNU.sparse.offset"))?,
                    len: pax_number("GNU.sparse.numbytes", value)?,
                }),
                _ => {}
            }
        }
        Ok(segments)
    }
}

/// Reads a number of a PAX record, which other programs write with leading zeros.
fn pax_number(key: &'static str, value: &[u8]) -> Result<u64, FormatError> {
    let zeros = value.iter().take_while(|&&byte| byte == b'0').count();
    let digits = value.get(zeros..).unwrap_or_default();
    let digits = if digits.is_empty() && zeros > 0 { b"0" } else { digits };
    text::decimal(key, digits).map_err(|_| FormatError::invalid(key, value))
}

/// Undoes the escapes in the name of an extended attribute.
fn unescape_key(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match (byte, tail) {
            (b'%', [b'2', b'5', tail @ ..]) => (b'%', tail),
            (b'%', [b'3', b'D', tail @ ..]) => (b'=', tail),
            (byte, tail) => (byte, tail),
        };
        name.push(byte);
        rest = tail;
    }
    name
}
