//! The headers of a member: one tar header and what stands before it, as one value.

mod extensions;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::entry::Kind;
use super::header::{self, Header, MAX_OCTAL_8, MAX_OCTAL_12, Magic};
use super::pax::{self, Record};
use super::sparse::SparseMap;
use super::timestamp::Timestamp;
use super::{BLOCK, padding};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::path::MemberPath;

pub use extensions::{Assembled, Extensions, MapPlace};

/// Prefix of the PAX keys of extended attributes.
const XATTR_KEY: &[u8] = b"SCHILY.xattr.";
const ACL_ACCESS_KEY: &[u8] = b"SCHILY.acl.access";
const ACL_DEFAULT_KEY: &[u8] = b"SCHILY.acl.default";
const LABEL_KEY: &[u8] = b"RHT.security.selinux";

/// Name of the headers that hold PAX records.
const PAX_NAME: &[u8] = b"PaxHeaders/x";

/// Name of the headers that hold long names, as GNU tar has it.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Directory of the names that sparse files have for programs that do not know sparse files.
const SPARSE_NAME: &[u8] = b"GNUSparseFile.0/";

/// Largest id: what a field of eight bytes holds in base-256, mark and sign apart.
const MAX_ID: u64 = (1 << 62) - 1;

/// Metadata beyond mode and owner: extended attributes, ACLs and security label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xattrs {
    /// Extended attributes by their full names, such as `user.note`; never the ACLs and the label.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Access ACL as text with numeric ids: see [`super::acl`].
    pub acl_access: Option<Vec<u8>>,
    /// Default ACL of a directory, likewise.
    pub acl_default: Option<Vec<u8>>,
    /// SELinux label, without a NUL at its end.
    pub label: Option<Vec<u8>>,
}

impl Xattrs {
    /// Returns whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the fingerprint that the listing has (`xattr=`): the first eight bytes of the
    /// SHA-256 of the PAX records, sorted by key; `None` when there is nothing.
    pub fn fingerprint(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let mut records = Vec::new();
        self.push_records(&mut records);
        records.sort();
        let mut text = Vec::new();
        for (key, value) in &records {
            pax::push(key, value, &mut text);
        }
        let digest: [u8; 32] = Sha256::digest(&text).into();
        digest.first_chunk().map(|&bytes| u64::from_be_bytes(bytes))
    }

    fn push_records(&self, records: &mut Vec<Record>) {
        for (key, value) in [
            (ACL_ACCESS_KEY, &self.acl_access),
            (ACL_DEFAULT_KEY, &self.acl_default),
            (LABEL_KEY, &self.label),
        ] {
            if let Some(value) = value {
                records.push((key.to_vec(), value.clone()));
            }
        }
        for (name, value) in &self.attributes {
            let mut key = XATTR_KEY.to_vec();
            for &byte in name {
                match byte {
                    b'%' => key.extend_from_slice(b"%25"),
                    b'=' => key.extend_from_slice(b"%3D"),
                    byte => key.push(byte),
                }
            }
            records.push((key, value.clone()));
        }
    }
}

/// All that the headers of a member say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberHeader {
    /// The member's name.
    pub path: MemberPath,
    /// What it is; the size of a sparse file counts its holes.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Number of the owner.
    pub uid: u64,
    /// Number of the group.
    pub gid: u64,
    /// Name of the owner, or empty.
    pub user: Vec<u8>,
    /// Name of the group, or empty.
    pub group: Vec<u8>,
    /// Time of the last change. In a header of ours only its seconds are stored.
    pub mtime: Timestamp,
    /// Extended attributes, ACLs and label.
    pub xattrs: Xattrs,
    /// The data of a file that is stored as a sparse one.
    pub sparse: Option<SparseMap>,
}

impl MemberHeader {
    /// Makes a header of a name and a kind: mode 0644, or 0755 for directories, owner 0, time 0.
    pub fn new(path: impl Into<MemberPath>, kind: Kind) -> Self {
        let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            mtime: Timestamp::default(),
            xattrs: Xattrs::default(),
            sparse: None,
        }
    }

    /// Returns the bytes of file data that follow the headers: the sparse map belongs to those.
    pub fn data_len(&self) -> u64 {
        match &self.sparse {
            Some(map) => map.data_len(),
            None => self.kind.size(),
        }
    }

    /// Appends the headers, and the map of a sparse file.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] when the records or names are longer than a reader takes or an id
    /// does not fit,
    /// [`FormatError::Invalid`] when a name or link target has a NUL byte.
    pub fn encode(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut map = Vec::new();
        if let Some(sparse) = &self.sparse {
            sparse.encode(&mut map);
        }
        let size = self.data_len().saturating_add(map.len() as u64);
        self.encode_pax(size, limits, out)?;
        let target = match &self.kind {
            Kind::Symlink { target } => target.as_slice(),
            Kind::HardLink { target } => target.as_bytes(),
            _ => &[],
        };
        for (what, name) in [("name", self.path.as_bytes()), ("link target", target)] {
            let actual = name.len() as u64;
            if actual > limits.path {
                return Err(FormatError::Limit { what, limit: limits.path, actual, raise: None });
            }
            // A reader ends a name there.
            if name.contains(&0) {
                return Err(FormatError::invalid(what, name));
            }
        }
        for (what, actual) in [("uid", self.uid), ("gid", self.gid)] {
            if actual > MAX_ID {
                return Err(FormatError::Limit { what, limit: MAX_ID, actual, raise: None });
            }
        }
        let name = self.tar_name();
        if target.len() > header::NAME_LEN {
            push_long(b'K', target, out);
        }
        if header::split_name(&name).is_none() {
            push_long(b'L', &name, out);
        }
        out.extend_from_slice(&self.ustar(name, target, size).encode());
        out.extend_from_slice(&map);
        Ok(())
    }

    /// Returns the name as the tar header has it.
    fn tar_name(&self) -> Vec<u8> {
        if self.sparse.is_some() {
            let digest: [u8; 32] = Sha256::digest(self.path.as_bytes()).into();
            let mut name = SPARSE_NAME.to_vec();
            name.extend_from_slice(data_encoding::HEXLOWER.encode(&digest).as_bytes());
            return name;
        }
        let mut name = self.path.as_bytes().to_vec();
        if self.kind == Kind::Directory {
            name.push(b'/');
        }
        name
    }

    fn ustar(&self, name: Vec<u8>, target: &[u8], size: u64) -> Header {
        let (typeflag, device) = match self.kind {
            Kind::File { .. } => (b'0', (0, 0)),
            Kind::HardLink { .. } => (b'1', (0, 0)),
            Kind::Symlink { .. } => (b'2', (0, 0)),
            Kind::CharDevice { major, minor } => (b'3', (major, minor)),
            Kind::BlockDevice { major, minor } => (b'4', (major, minor)),
            Kind::Directory => (b'5', (0, 0)),
            Kind::Fifo => (b'6', (0, 0)),
        };
        // Other readers stumble over names that are not ASCII, and all end them at a NUL, which
        // would make them another's; the listing has them all.
        let short = |name: &[u8]| {
            let fits = name.len() <= 31 && name.is_ascii() && !name.contains(&0);
            if fits { name.to_vec() } else { Vec::new() }
        };
        Header {
            name,
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            size,
            mtime: self.mtime.seconds(),
            typeflag,
            linkname: target.to_vec(),
            uname: short(&self.user),
            gname: short(&self.group),
            device,
            magic: Magic::Ustar,
        }
    }

    fn encode_pax(&self, size: u64, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut records = Vec::new();
        self.xattrs.push_records(&mut records);
        let mut put = |key: &str, value: String| records.push((key.into(), value.into_bytes()));
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > MAX_OCTAL_8 {
                put(key, id.to_string());
            }
        }
        if size > MAX_OCTAL_12 {
            put("size", size.to_string());
        }
        let seconds = self.mtime.seconds();
        if seconds < 0 || seconds.unsigned_abs() > MAX_OCTAL_12 {
            put("mtime", seconds.to_string());
        }
        if let Some(map) = &self.sparse {
            put("GNU.sparse.major", "1".into());
            put("GNU.sparse.minor", "0".into());
            put("GNU.sparse.realsize", map.real_size().to_string());
            records.push((b"GNU.sparse.name".to_vec(), self.path.as_bytes().to_vec()));
        }
        if records.is_empty() {
            return Ok(());
        }
        records.sort();
        let mut body = Vec::new();
        for (key, value) in &records {
            pax::push(key, value, &mut body);
        }
        let actual = body.len() as u64;
        if actual > limits.pax {
            let (limit, raise) = (limits.pax, None);
            return Err(FormatError::Limit { what: "PAX records", limit, actual, raise });
        }
        push_extension(b'x', PAX_NAME, &body, out);
        Ok(())
    }
}

/// Appends a header of type `L` or `K`, its body a name that ends with NUL.
fn push_long(typeflag: u8, name: &[u8], out: &mut Vec<u8>) {
    let mut body = name.to_vec();
    body.push(0);
    push_extension(typeflag, LONG_NAME, &body, out);
}

/// Appends a header that says something of what follows it, and its body.
fn push_extension(typeflag: u8, name: &[u8], body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&extension_header(typeflag, name, body.len() as u64));
    out.extend_from_slice(body);
    let padding = usize::try_from(padding(body.len() as u64)).unwrap_or(0);
    out.resize(out.len().saturating_add(padding), 0);
}

fn extension_header(typeflag: u8, name: &[u8], size: u64) -> [u8; BLOCK] {
    Header {
        name: name.to_vec(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        size,
        mtime: 0,
        typeflag,
        linkname: Vec::new(),
        uname: Vec::new(),
        gname: Vec::new(),
        device: (0, 0),
        magic: Magic::Ustar,
    }
    .encode()
}

/// The comment in the global header that every archive begins with.
pub const PROLOGUE_COMMENT: &[u8] = b"isptar format 2";

/// Returns the two blocks that every archive begins with: the header of a global PAX header, and
/// its body.
pub fn prologue() -> ([u8; BLOCK], [u8; BLOCK]) {
    let mut record = Vec::new();
    pax::push(b"comment", PROLOGUE_COMMENT, &mut record);
    let header = extension_header(b'g', b"pax_global_header", record.len() as u64);
    let mut body = [0; BLOCK];
    for (to, from) in body.iter_mut().zip(record) {
        *to = from;
    }
    (header, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sparse::Segment;

    /// Reads headers from memory, as the readers do from streams.
    fn decode(mut bytes: &[u8]) -> (Assembled, Vec<u8>) {
        let limits = Limits::default();
        let mut extensions = Extensions::default();
        loop {
            let (block, rest) = bytes.split_first_chunk::<BLOCK>().unwrap();
            let header = Header::parse(block).unwrap().unwrap();
            bytes = rest;
            if Extensions::is_extension(header.typeflag) {
                let len = usize::try_from(header.size).unwrap();
                extensions.push(header.typeflag, &bytes[..len]).unwrap();
                bytes = &bytes[len.next_multiple_of(BLOCK)..];
                continue;
            }
            return (extensions.assemble(header, block, &limits).unwrap(), bytes.to_vec());
        }
    }

    fn file(path: impl Into<MemberPath>) -> MemberHeader {
        MemberHeader {
            mtime: Timestamp::new(5, 0),
            ..MemberHeader::new(path, Kind::File { size: 9 })
        }
    }

    #[test]
    fn headers_round_trip() {
        let mut rich = file("rich");
        rich.xattrs.attributes.insert(b"user.a%=b".to_vec(), b"\0\n=v".to_vec());
        rich.xattrs.acl_access =
            Some(b"user::rw-,user:7:r--,group::r--,mask::r--,other::---".to_vec());
        rich.xattrs.label = Some(b"system_u:object_r:etc_t:s0".to_vec());
        let target = b"t".repeat(300);
        for header in [
            file("a"),
            rich,
            file(b"\xff\x01\n".repeat(90)),
            MemberHeader { uid: 1 << 40, gid: 3_000_000, ..file("ids") },
            MemberHeader { kind: Kind::File { size: 1 << 34 }, ..file("big") },
            MemberHeader { mtime: Timestamp::new(-86_400, 0), ..file("old") },
            MemberHeader { mtime: Timestamp::new(1 << 40, 0), ..file("late") },
            MemberHeader { kind: Kind::Directory, ..file("d/e") },
            MemberHeader { kind: Kind::Directory, ..file("x".repeat(200).as_str()) },
            MemberHeader { kind: Kind::Symlink { target: target.clone() }, ..file("l") },
            MemberHeader { kind: Kind::HardLink { target: MemberPath::new(target) }, ..file("h") },
            MemberHeader { kind: Kind::BlockDevice { major: 8, minor: 300 }, ..file("b") },
            MemberHeader { kind: Kind::Fifo, ..file("f") },
            MemberHeader { user: b"me".to_vec(), group: b"us".to_vec(), ..file("owned") },
        ] {
            let mut bytes = Vec::new();
            header.encode(&Limits::default(), &mut bytes).unwrap();
            let (assembled, rest) = decode(&bytes);
            assert!(rest.is_empty());
            assert_eq!(assembled.header, header);
            assert_eq!(assembled.stored, header.data_len());
            assert!(assembled.warnings.is_empty());
        }
    }

    #[test]
    fn sparse_files_have_their_map_before_the_data() {
        let limits = Limits::default();
        let segment = Segment { offset: 1 << 30, len: 512 };
        let map = SparseMap::new(1 << 31, [segment], &limits).unwrap();
        let kind = Kind::File { size: 1 << 31 };
        let header = MemberHeader { kind, sparse: Some(map), ..file("holes") };
        let mut bytes = Vec::new();
        header.encode(&limits, &mut bytes).unwrap();
        let (assembled, map) = decode(&bytes);
        assert_eq!(assembled.map, MapPlace::InData);
        assert_eq!(assembled.stored, 512 + 512);
        assert_eq!(assembled.header.path, header.path);
        assert_eq!(assembled.header.kind, header.kind);
        assert_eq!(map.len(), 512);
        assert!(map.starts_with(b"2\n1073741824\n512\n2147483648\n0\n\0"));
    }

    #[test]
    fn records_beyond_the_limit_are_not_written() {
        let mut header = file("a");
        header.xattrs.attributes.insert(b"user.a".to_vec(), vec![0; 1 << 20]);
        let error = header.encode(&Limits::default(), &mut Vec::new());
        assert!(matches!(error, Err(FormatError::Limit { .. })));
    }

    #[test]
    fn the_fingerprint_tells_attributes_apart() {
        let mut a = Xattrs::default();
        assert_eq!(a.fingerprint(), None);
        a.attributes.insert(b"user.a".to_vec(), b"1".to_vec());
        let first = a.fingerprint();
        a.attributes.insert(b"user.a".to_vec(), b"2".to_vec());
        assert!(first.is_some() && a.fingerprint() != first);
    }

    #[test]
    fn the_prologue_is_a_global_header() {
        let (header, body) = prologue();
        let header = Header::parse(&header).unwrap().unwrap();
        assert_eq!((header.typeflag, header.size), (b'g', 27));
        assert!(body.starts_with(b"27 comment=isptar format 2\n\0"));
    }

    #[test]
    fn names_that_a_reader_would_cut_are_not_written() {
        let link = |target: &str| Kind::Symlink { target: target.into() };
        for header in [MemberHeader::new("a", link("b\0c")), MemberHeader::new("a\0", link("b"))] {
            let encoded = header.encode(&Limits::default(), &mut Vec::new());
            assert!(matches!(encoded, Err(FormatError::Invalid { .. })));
        }
        // The listing has the names of owners; the number stands in the header.
        let mut out = Vec::new();
        let header = MemberHeader { user: b"root\0x".into(), ..MemberHeader::new("a", link("b")) };
        header.encode(&Limits::default(), &mut out).unwrap();
        assert!(decode(&out).0.header.user.is_empty());
    }

    #[test]
    fn ids_that_do_not_fit_are_not_written() {
        for (uid, fits) in [(MAX_ID, true), (MAX_ID + 1, false), (u64::MAX, false)] {
            let header = MemberHeader { uid, ..MemberHeader::new("a", Kind::Fifo) };
            let mut out = Vec::new();
            assert_eq!(header.encode(&Limits::default(), &mut out).is_ok(), fits);
            if fits {
                assert_eq!(decode(&out).0.header.uid, uid);
            }
        }
    }
}
