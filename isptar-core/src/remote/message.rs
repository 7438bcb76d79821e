//! What frames say: values to bytes and back (PROTOCOL.md 3).

use crate::archive::check_agreement;
use crate::error::FormatError;
use crate::format::assemble::{Found, SliceBlocks, read_headers};
use crate::format::entry::{Dialect, Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::text::{decimal, digest_text, fields, parse_digest};
use crate::limits::Limits;
use crate::pack::{Details, entry_of};

/// What the client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// When the client began, by its clock, in seconds since 1970.
    pub created: Option<u64>,
    /// What tells its machine from others.
    pub machine: Option<String>,
}

/// What the server says of itself, and how the client is to read its tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerHello {
    /// What tells its machine from others.
    pub machine: Option<String>,
    /// The archive shall not tell two copies of a tree apart.
    pub reproducible: bool,
    /// The archive is one in the original program's layout, which has no holes and no attributes.
    pub classic: bool,
    /// Extended attributes, ACLs and labels are not wanted.
    pub no_xattrs: bool,
    /// Offers shall have the digests of files.
    pub digests: bool,
    /// Offers shall have the fingerprints of extended attributes.
    pub attributes: bool,
    /// Files that the server writes or will replace, by device and inode number: they count on its own
    /// machine.
    pub own_files: Vec<(u64, u64)>,
}

/// What the client counted, when it has come to the end of its tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Entries offered.
    pub offered: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// Files that vanished before they were read.
    pub vanished: u64,
    /// Left out by intent.
    pub left_out: u64,
    /// Warnings, but for changed files.
    pub warnings: u64,
}

/// What the server says of the archive that it published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// The archive's identity; an archive in the original program's layout may have none.
    pub identity: Option<[u8; 32]>,
    /// Its length.
    pub archive_size: u64,
}

/// A member that is sent: its headers, and what its entry has beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The headers; absent when nothing of the member is stored.
    pub header: Option<MemberHeader>,
    /// The entry as far as the client knows it.
    pub entry: Entry,
}

/// Collects `key=value` lines.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string().replace('\n', " ");
        self.0.push_str(&format!("{key}={value}\n"));
    }

    fn flag(&mut self, key: &str, set: bool) {
        if set {
            self.put(key, 1);
        }
    }

    fn some(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }
}

/// Calls `take` with each key and value; keys that it does not know are for later versions.
fn each_line(
    what: &'static str,
    text: &[u8],
    mut take: impl FnMut(&str, &[u8]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let text = std::str::from_utf8(text).map_err(|_| FormatError::invalid(what, text))?;
    for line in text.split_terminator('\n') {
        let (key, value) =
            line.split_once('=').ok_or_else(|| FormatError::invalid(what, line.as_bytes()))?;
        take(key, value.as_bytes())?;
    }
    Ok(())
}

fn flag(field: &'static str, value: &[u8]) -> Result<bool, FormatError> {
    if value == b"1" { Ok(true) } else { Err(FormatError::invalid(field, value)) }
}

/// Reads two numbers with a colon between them.
fn own_file(value: &[u8]) -> Result<(u64, u64), FormatError> {
    let mut numbers = fields(value, b':');
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(dev), Some(ino), None) => Ok((decimal("own", dev)?, decimal("own", ino)?)),
        _ => Err(FormatError::invalid("own", value)),
    }
}

fn words(value: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(value).into_owned())
}

impl ClientHello {
    /// Returns the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Lines::default();
        lines.some("created", self.created);
        lines.some("machine", self.machine.as_ref());
        lines.0.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`].
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        let mut hello = Self::default();
        each_line("greeting", payload, |key, value| {
            match key {
                "created" => hello.created = Some(decimal("created", value)?),
                "machine" => hello.machine = words(value),
                _ => {}
            }
            Ok(())
        })?;
        Ok(hello)
    }
}

impl ServerHello {
    /// Returns the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Lines::default();
        lines.some("machine", self.machine.as_ref());
        lines.flag("reproducible", self.reproducible);
        lines.flag("classic", self.classic);
        lines.flag("no_xattrs", self.no_xattrs);
        lines.flag("digests", self.digests);
        lines.flag("attributes", self.attributes);
        for (dev, ino) in &self.own_files {
            lines.put("own", format_args!("{dev}:{ino}"));
        }
        lines.0.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`].
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        let mut hello = Self::default();
        each_line("greeting", payload, |key, value| {
            match key {
                "machine" => hello.machine = words(value),
                "reproducible" => hello.reproducible = flag("reproducible", value)?,
                "classic" => hello.classic = flag("classic", value)?,
                "no_xattrs" => hello.no_xattrs = flag("no_xattrs", value)?,
                "digests" => hello.digests = flag("digests", value)?,
                "attributes" => hello.attributes = flag("attributes", value)?,
                "own" => hello.own_files.push(own_file(value)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(hello)
    }
}

impl Done {
    /// Returns the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Lines::default();
        lines.put("offered", self.offered);
        lines.put("unreadable", self.unreadable);
        lines.put("vanished", self.vanished);
        lines.put("left_out", self.left_out);
        lines.put("warnings", self.warnings);
        lines.0.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`].
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        let mut done = Self::default();
        each_line("end of the tree", payload, |key, value| {
            match key {
                "offered" => done.offered = decimal("offered", value)?,
                "unreadable" => done.unreadable = decimal("unreadable", value)?,
                "vanished" => done.vanished = decimal("vanished", value)?,
                "left_out" => done.left_out = decimal("left_out", value)?,
                "warnings" => done.warnings = decimal("warnings", value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(done)
    }
}

impl Published {
    /// Returns the payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Lines::default();
        lines.some("identity", self.identity.as_ref().map(digest_text));
        lines.put("archive_size", self.archive_size);
        lines.0.into_bytes()
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`].
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        let mut published = Self::default();
        each_line("word that the archive is published", payload, |key, value| {
            match key {
                "identity" => published.identity = Some(parse_digest("identity", value)?),
                "archive_size" => published.archive_size = decimal("archive_size", value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(published)
    }
}

/// Reads an offer: lines of a listing that say what the client has.
///
/// # Errors
///
/// What is wrong with a line; one that says where bytes are is wrong.
pub fn parse_offer(payload: &[u8], limits: &Limits) -> Result<Vec<Entry>, FormatError> {
    let text = payload
        .strip_suffix(b"\n")
        .ok_or(FormatError::Missing("line feed at the end of an offer"))?;
    fields(text, b'\n').map(|line| parse_line(line, limits)).collect()
}

/// Reads a line of the listing that has no bytes.
fn parse_line(line: &[u8], limits: &Limits) -> Result<Entry, FormatError> {
    let entry = Entry::parse(line, Dialect::Isptar, limits)?;
    if entry.location.is_some() || entry.packed.is_some() || entry.chunks.is_some() {
        return Err(FormatError::invalid("line without a location", line));
    }
    Ok(entry)
}

/// Returns the answer to an offer: a bit for each line, the first one the lowest.
pub fn encode_want(wanted: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| {
        bits.iter().rev().fold(0u8, |byte, &bit| byte.wrapping_shl(1) | u8::from(bit))
    };
    wanted.chunks(8).map(byte).collect()
}

/// Reads the answer to an offer of `count` lines.
///
/// # Errors
///
/// [`FormatError::Mismatch`] when it is no answer to so many lines, [`FormatError::Invalid`] when
/// bits are set that stand for none.
pub fn parse_want(payload: &[u8], count: usize) -> Result<Vec<bool>, FormatError> {
    let expected = count.div_ceil(8);
    if payload.len() != expected {
        return Err(FormatError::mismatch("length of an answer", expected, payload.len()));
    }
    let bits = |&byte: &u8| (0..8u32).map(move |bit| byte.wrapping_shr(bit) & 1 == 1);
    let mut wanted: Vec<bool> = payload.iter().flat_map(bits).collect();
    if wanted.iter().skip(count).any(|&bit| bit) {
        return Err(FormatError::invalid("answer to an offer", payload));
    }
    wanted.truncate(count);
    Ok(wanted)
}

impl Member {
    /// Appends the payload that announces a member: its line, and its tar headers.
    ///
    /// # Errors
    ///
    /// As [`MemberHeader::encode`] and [`Entry::encode`].
    pub fn encode(
        header: &MemberHeader,
        details: Details,
        lost: Option<&str>,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let lost = lost.map(str::to_owned);
        Entry { lost, ..entry_of(header, details) }.encode(limits, out)?;
        header.encode(limits, out)
    }

    /// Appends the payload that says why a member that is wanted is not sent.
    ///
    /// # Errors
    ///
    /// As [`Entry::encode`].
    pub fn encode_lost(
        entry: &Entry,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        entry.encode(limits, out)
    }

    /// Reads a payload. Line and headers must agree, as in an archive.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(payload: &[u8], limits: &Limits) -> Result<Self, FormatError> {
        let end = payload.iter().position(|&byte| byte == b'\n');
        let (line, headers) = end
            .and_then(|end| payload.split_at_checked(end))
            .ok_or(FormatError::Missing("line feed behind the line of a member"))?;
        let entry = parse_line(line, limits)?;
        let headers = headers.get(1..).unwrap_or_default();
        if headers.is_empty() {
            return match entry.lost {
                Some(_) => Ok(Self { header: None, entry }),
                None => Err(FormatError::Missing("tar header of a member")),
            };
        }
        let mut blocks = SliceBlocks::new(headers, 0);
        let Found::Member(found) = read_headers(&mut blocks, limits)? else {
            return Err(FormatError::Missing("tar header of a member"));
        };
        if blocks.position() != headers.len() {
            let (expected, actual) = (blocks.position(), headers.len());
            return Err(FormatError::mismatch("length of the headers", expected, actual));
        }
        if let Some(warning) = found.warnings.into_iter().next() {
            return Err(warning);
        }
        check_agreement(&found.header, &entry)?;
        // The header has whole seconds and short names; on all else that an entry has, it wins.
        let header = MemberHeader {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.clone(),
            group: entry.group.clone(),
            mtime: entry.mtime.unwrap_or(found.header.mtime),
            ..found.header
        };
        Ok(Self { header: Some(header), entry })
    }

    /// Returns what the entry records beside the headers.
    pub fn details(&self) -> Details {
        Details {
            ctime: self.entry.ctime,
            ino: self.entry.ino,
            sparse: self.entry.sparse,
            dirty: self.entry.dirty,
            partial: self.entry.partial,
        }
    }

    /// Returns how many bytes of data follow.
    pub fn data_len(&self) -> u64 {
        match &self.header {
            Some(header) if matches!(header.kind, Kind::File { .. }) => header.data_len(),
            _ => 0,
        }
    }
}

/// What became of a file while its data was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// It changed.
    pub dirty: bool,
    /// It has blocks of zeros that shall become holes.
    pub sparse: bool,
}

impl End {
    /// Returns the payload.
    pub fn encode(self) -> [u8; 1] {
        [u8::from(self.dirty) | u8::from(self.sparse) << 1]
    }

    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`].
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        match payload {
            &[flags @ 0..=3] => Ok(Self { dirty: flags & 1 != 0, sparse: flags & 2 != 0 }),
            other => Err(FormatError::invalid("end of a member", other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sparse::{Segment, SparseMap};
    use crate::format::timestamp::Timestamp;

    #[test]
    fn greetings_and_ends_come_back() {
        let client = ClientHello { created: Some(7), machine: Some("a b".into()) };
        assert_eq!(ClientHello::parse(&client.encode()).unwrap(), client);
        let server = ServerHello {
            machine: None,
            reproducible: true,
            classic: true,
            no_xattrs: false,
            digests: true,
            attributes: true,
            own_files: vec![(1, 2), (3, u64::MAX)],
        };
        assert_eq!(ServerHello::parse(&server.encode()).unwrap(), server);
        let done = Done { offered: 1, unreadable: 2, vanished: 3, left_out: 4, warnings: 5 };
        assert_eq!(Done::parse(&done.encode()).unwrap(), done);
        let published = Published { identity: Some([7; 32]), archive_size: 9 };
        assert_eq!(Published::parse(&published.encode()).unwrap(), published);
    }

    #[test]
    fn keys_of_later_versions_are_passed_over_and_wrong_values_are_not() {
        assert_eq!(ClientHello::parse(b"colour=red\n").unwrap(), ClientHello::default());
        assert!(ClientHello::parse(b"created=-1\n").is_err());
        assert!(ServerHello::parse(b"digests=yes\n").is_err());
        assert!(ServerHello::parse(b"own=1:2:3\n").is_err());
        assert!(Done::parse(b"offered\n").is_err());
    }

    #[test]
    fn answers_have_a_bit_for_each_line() {
        let wanted = [true, false, false, true, false, false, false, false, true];
        assert_eq!(encode_want(&wanted), [0b1001, 1]);
        assert_eq!(parse_want(&[0b1001, 1], 9).unwrap(), wanted);
        assert!(parse_want(&[0b1001, 3], 9).is_err());
        assert!(parse_want(&[0b1001], 9).is_err());
        assert!(parse_want(&[0, 0], 8).is_err());
    }

    #[test]
    fn members_come_back_with_attributes_holes_and_all_of_their_times() {
        let limits = Limits::default();
        let mut header = MemberHeader::new("a/f", Kind::File { size: 1 << 30 });
        header.mtime = Timestamp::new(-5, 7);
        header.user = "ä long name that no tar header can have in its field".into();
        header.xattrs.attributes.insert(b"user.a=b".to_vec(), b"\0\n".to_vec());
        let segments = [Segment { offset: 512, len: 512 }];
        header.sparse = Some(SparseMap::new(1 << 30, segments, &limits).unwrap());
        let details = Details { ino: Some(3), dirty: true, ..Details::default() };
        let mut payload = Vec::new();
        Member::encode(&header, details, None, &limits, &mut payload).unwrap();
        let member = Member::parse(&payload, &limits).unwrap();
        assert_eq!(member.data_len(), 512);
        assert_eq!(member.details(), details);
        assert_eq!(member.header, Some(header));
    }

    #[test]
    fn lines_with_bytes_and_headers_of_another_member_are_refused() {
        let limits = Limits::default();
        let line = b"a\t#0\t#0\t420\tfile\t0\t1\t0:1:0:0\tpacked=9\n";
        assert!(parse_offer(line, &limits).is_err());
        assert!(parse_offer(b"", &limits).is_err());
        let mut payload = Vec::new();
        let header = MemberHeader::new("a", Kind::Fifo);
        Member::encode(&header, Details::default(), None, &limits, &mut payload).unwrap();
        let end = payload.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let other = [b"b".as_slice(), &payload[1..]].concat();
        assert!(matches!(Member::parse(&other, &limits), Err(FormatError::Mismatch { .. })));
        assert!(Member::parse(&payload[..end], &limits).is_err());
        assert!(Member::parse(&[&payload[..], &[0; 512]].concat(), &limits).is_err());
    }
}
