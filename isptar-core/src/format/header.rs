//! Tar headers: one block of 512 bytes.

use super::BLOCK;
use crate::error::FormatError;

/// Largest number in a field of eight bytes, seven octal digits.
pub const MAX_OCTAL_8: u64 = 0o777_7777;

/// Largest number in a field of twelve bytes, eleven octal digits.
pub const MAX_OCTAL_12: u64 = 0o777_7777_7777;

/// Bytes of the name field.
pub const NAME_LEN: usize = 100;

/// Bytes of the prefix field.
pub const PREFIX_LEN: usize = 155;

/// Which kind of tar wrote a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    /// POSIX: `ustar`, NUL, `00`. The prefix belongs to the name.
    Ustar,
    /// GNU before PAX: `ustar`, two spaces, NUL. Other fields stand where the prefix would.
    Gnu,
    /// No magic: the seventh edition of Unix.
    V7,
}

/// A header as it stands, its fields read but not yet joined with those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name, with the prefix before it.
    pub name: Vec<u8>,
    /// Permission bits; bits of the file type, which some programs add, are dropped.
    pub mode: u32,
    /// Number of the owner.
    pub uid: u64,
    /// Number of the group.
    pub gid: u64,
    /// Bytes of data that follow.
    pub size: u64,
    /// Time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// The type: a byte.
    pub typeflag: u8,
    /// Target of links.
    pub linkname: Vec<u8>,
    /// Name of the owner.
    pub uname: Vec<u8>,
    /// Name of the group.
    pub gname: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Which kind of tar wrote it.
    pub magic: Magic,
}

/// Offsets and lengths of the fields (POSIX.1-2017, pax, "ustar Interchange Format").
mod field {
    pub(super) const NAME: (usize, usize) = (0, 100);
    pub(super) const MODE: (usize, usize) = (100, 8);
    pub(super) const UID: (usize, usize) = (108, 8);
    pub(super) const GID: (usize, usize) = (116, 8);
    pub(super) const SIZE: (usize, usize) = (124, 12);
    pub(super) const MTIME: (usize, usize) = (136, 12);
    pub(super) const CHECKSUM: (usize, usize) = (148, 8);
    pub(super) const TYPE: (usize, usize) = (156, 1);
    pub(super) const LINKNAME: (usize, usize) = (157, 100);
    pub(super) const MAGIC: (usize, usize) = (257, 8);
    pub(super) const UNAME: (usize, usize) = (265, 32);
    pub(super) const GNAME: (usize, usize) = (297, 32);
    pub(super) const MAJOR: (usize, usize) = (329, 8);
    pub(super) const MINOR: (usize, usize) = (337, 8);
    pub(super) const PREFIX: (usize, usize) = (345, 155);
    /// The prefix of star, which puts times and `tar` after it.
    pub(super) const STAR_PREFIX: (usize, usize) = (345, 131);
    pub(super) const STAR_MAGIC: (usize, usize) = (508, 4);
}

fn get(block: &[u8; BLOCK], (offset, len): (usize, usize)) -> &[u8] {
    block.get(offset..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}

impl Header {
    /// Reads a block; a block of zeros is `None`.
    ///
    /// # Errors
    ///
    /// [`FormatError::Mismatch`] of the checksum, or the field that is not valid.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, FormatError> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        check_sum(block)?;
        let magic = magic(block);
        let typeflag = get(block, field::TYPE).first().copied().unwrap_or_default();
        let id = |name, range| {
            let value = number(name, get(block, range))?;
            // Some programs write numbers like -2 for nobody: 32 bits, as the kernel sees them.
            u64::try_from(value)
                .ok()
                .or_else(|| i32::try_from(value).ok().map(|id| u64::from(id.cast_unsigned())))
                .ok_or_else(|| FormatError::invalid(name, get(block, range)))
        };
        let device = |name, range| {
            let value =
                if matches!(typeflag, b'3' | b'4') { number(name, get(block, range))? } else { 0 };
            u32::try_from(value).map_err(|_| FormatError::invalid(name, get(block, range)))
        };
        let size = number("size", get(block, field::SIZE))?;
        Ok(Some(Self {
            name: full_name(block, magic),
            mode: u32::try_from(number("mode", get(block, field::MODE))? & 0o7777).unwrap_or(0),
            uid: id("uid", field::UID)?,
            gid: id("gid", field::GID)?,
            size: u64::try_from(size)
                .map_err(|_| FormatError::invalid("size", get(block, field::SIZE)))?,
            mtime: number("mtime", get(block, field::MTIME))?,
            typeflag,
            linkname: text(get(block, field::LINKNAME)).to_vec(),
            uname: if magic == Magic::V7 {
                Vec::new()
            } else {
                text(get(block, field::UNAME)).to_vec()
            },
            gname: if magic == Magic::V7 {
                Vec::new()
            } else {
                text(get(block, field::GNAME)).to_vec()
            },
            device: (device("devmajor", field::MAJOR)?, device("devminor", field::MINOR)?),
            magic,
        }))
    }

    /// Returns the name and, when it can be read, the size in a block whose checksum holds, though
    /// something else in it does not; `None` when the checksum does not.
    pub fn parse_damaged(block: &[u8; BLOCK]) -> Option<(Vec<u8>, Option<u64>)> {
        if !is_header(block) {
            return None;
        }
        let magic = magic(block);
        let size = number("size", get(block, field::SIZE)).ok();
        Some((full_name(block, magic), size.and_then(|size| u64::try_from(size).ok())))
    }

    /// Returns the block; names beyond their fields are cut (a header before this one has them
    /// whole), and the prefix is used where [`split_name`] finds room.
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let (prefix, name) = split_name(&self.name).unwrap_or((&[], &self.name));
        put(&mut block, field::NAME, name);
        put(&mut block, field::PREFIX, prefix);
        put_number(&mut block, field::MODE, u64::from(self.mode));
        put_number(&mut block, field::UID, self.uid);
        put_number(&mut block, field::GID, self.gid);
        put_number(&mut block, field::SIZE, self.size);
        // Times before 1970 stand in a PAX record.
        put_number(&mut block, field::MTIME, u64::try_from(self.mtime).unwrap_or(0));
        put(&mut block, field::TYPE, &[self.typeflag]);
        put(&mut block, field::LINKNAME, &self.linkname);
        put(&mut block, field::MAGIC, b"ustar\x0000");
        put(&mut block, field::UNAME, &self.uname);
        put(&mut block, field::GNAME, &self.gname);
        if matches!(self.typeflag, b'3' | b'4') {
            put_number(&mut block, field::MAJOR, u64::from(self.device.0));
            put_number(&mut block, field::MINOR, u64::from(self.device.1));
        }
        put(&mut block, field::CHECKSUM, b"        ");
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        put(&mut block, field::CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Returns prefix and name of a path that fits into the two fields, split at the last possible
/// slash, or `None` when it does not fit.
pub fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME_LEN {
        return Some((&[], path));
    }
    let end = path.len().checked_sub(2)?.min(PREFIX_LEN);
    // A slash at the very end belongs to the name: a directory's.
    let slash = path.get(..=end)?.iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0)?;
    let (prefix, rest) = path.split_at_checked(slash)?;
    let name = rest.get(1..)?;
    (name.len() <= NAME_LEN).then_some((prefix, name))
}

/// Returns whether a block is a tar header: its checksum holds, and it is not all zeros.
pub fn is_header(block: &[u8; BLOCK]) -> bool {
    block.iter().any(|&byte| byte != 0) && check_sum(block).is_ok()
}

/// Returns whether a block has the mark of POSIX or GNU tar, whatever else is in it.
pub fn has_magic(block: &[u8; BLOCK]) -> bool {
    get(block, field::MAGIC).starts_with(b"ustar")
}

fn magic(block: &[u8; BLOCK]) -> Magic {
    match get(block, field::MAGIC) {
        [b'u', b's', b't', b'a', b'r', 0, ..] => Magic::Ustar,
        b"ustar  \0" => Magic::Gnu,
        _ => Magic::V7,
    }
}

fn full_name(block: &[u8; BLOCK], magic: Magic) -> Vec<u8> {
    let name = text(get(block, field::NAME));
    if magic != Magic::Ustar {
        return name.to_vec();
    }
    let range =
        if get(block, field::STAR_MAGIC) == b"tar\0" { field::STAR_PREFIX } else { field::PREFIX };
    let prefix = text(get(block, range));
    if prefix.is_empty() { name.to_vec() } else { [prefix, name].join(&b'/') }
}

/// Returns a text field: up to the first NUL, or all of it.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Reads a number: octal digits with blanks around them, or base-256 when the highest bit is set.
/// An empty field is 0.
pub fn number(name: &'static str, bytes: &[u8]) -> Result<i64, FormatError> {
    let invalid = || FormatError::invalid(name, bytes);
    let Some((&first, rest)) = bytes.split_first() else { return Ok(0) };
    if first & 0x80 != 0 {
        // Two's complement of the whole field but its highest bit.
        let negative = first & 0x40 != 0;
        let top = i64::from(first & 0x3f);
        let start = if negative { top.wrapping_sub(0x40) } else { top };
        return rest
            .iter()
            .try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)))
            .ok_or_else(invalid);
    }
    let digits = text(bytes).trim_ascii();
    digits
        .iter()
        .try_fold(0i64, |value, &digit| {
            let digit = digit.checked_sub(b'0').filter(|&digit| digit < 8)?;
            value.checked_mul(8)?.checked_add(i64::from(digit))
        })
        .ok_or_else(invalid)
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), FormatError> {
    let stored = number("checksum", get(block, field::CHECKSUM))?;
    let (start, len) = field::CHECKSUM;
    let spaces = 32i64.saturating_mul(i64::try_from(len).unwrap_or(8));
    let before = block.get(..start).unwrap_or_default();
    let after = block.get(start.saturating_add(len)..).unwrap_or_default();
    // Half a million at most; in this form the compiler adds many bytes at once.
    let add = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, &b| sum.wrapping_add(u32::from(b)));
    let unsigned = i64::from(add(before).wrapping_add(add(after))).saturating_add(spaces);
    if unsigned == stored {
        return Ok(());
    }
    // Old tars added signed bytes.
    let signed = before
        .iter()
        .chain(after)
        .fold(spaces, |sum, &b| sum.saturating_add(i64::from(b.cast_signed())));
    if signed == stored {
        return Ok(());
    }
    // A fuzzer would hardly ever get past it.
    if cfg!(fuzzing) {
        return Ok(());
    }
    Err(FormatError::mismatch("checksum of the tar header", unsigned, stored))
}

fn put(block: &mut [u8; BLOCK], (offset, len): (usize, usize), value: &[u8]) {
    let room = block.get_mut(offset..).and_then(|rest| rest.get_mut(..len));
    for (to, from) in room.into_iter().flatten().zip(value) {
        *to = *from;
    }
}

/// Writes octal digits and a NUL; numbers that do not fit as base-256.
fn put_number(block: &mut [u8; BLOCK], range: (usize, usize), value: u64) {
    let (_, len) = range;
    let digits = len.saturating_sub(1);
    let octal = format!("{value:0digits$o}");
    if octal.len() <= digits {
        put(block, range, octal.as_bytes());
        return;
    }
    let mut bytes = vec![0; len];
    for (to, from) in bytes.iter_mut().rev().zip(value.to_be_bytes().iter().rev()) {
        *to = *from;
    }
    // Fields of eight bytes hold 63 bits after the mark; ids and device numbers are far below.
    if let Some(first) = bytes.first_mut() {
        *first |= 0x80;
    }
    put(block, range, &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Header {
        Header {
            name: b"a/b".to_vec(),
            mode: 0o4755,
            uid: 1000,
            gid: 100,
            size: 5,
            mtime: 1_700_000_000,
            typeflag: b'0',
            linkname: Vec::new(),
            uname: b"me".to_vec(),
            gname: b"us".to_vec(),
            device: (0, 0),
            magic: Magic::Ustar,
        }
    }

    #[test]
    fn headers_round_trip() {
        let long = [b"p".repeat(120), b"n".repeat(90)].join(&b'/');
        for header in [
            sample(),
            Header { name: long, ..sample() },
            Header {
                uid: 1 << 39,
                gid: MAX_OCTAL_8 + 1,
                size: 1 << 40,
                mtime: 1 << 35,
                ..sample()
            },
            Header { typeflag: b'3', device: (4095, 1_048_575), size: 0, ..sample() },
            Header { typeflag: b'2', linkname: b"t".repeat(100), size: 0, ..sample() },
        ] {
            assert_eq!(Header::parse(&header.encode()), Ok(Some(header)));
        }
        assert_eq!(Header::parse(&[0; BLOCK]), Ok(None));
    }

    #[test]
    fn numbers_of_all_spellings_are_read() {
        for (bytes, value) in [
            (&b"0000017\0"[..], 15),
            (b"     17 ", 15),
            (b"17\0garb!", 15),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"        ", 0),
            (b"\x80\0\0\0\0\0\x01\0", 256),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
        ] {
            assert_eq!(number("n", bytes), Ok(value), "{bytes:?}");
        }
        for bytes in
            [&b"0000018\0"[..], b"-000001\0", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(number("n", bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn names_are_split_where_both_parts_fit() {
        let path = |parts: &[usize]| {
            parts.iter().map(|&len| b"x".repeat(len)).collect::<Vec<_>>().join(&b'/')
        };
        assert_eq!(split_name(&path(&[100])).unwrap().0, b"");
        assert_eq!(split_name(&path(&[101])), None);
        let (prefix, name) = path(&[155, 100]).pipe_split();
        assert_eq!((prefix, name), (155, 100));
        assert_eq!(split_name(&path(&[156, 100])), None);
        assert_eq!(split_name(&path(&[10, 101])), None);
        assert_eq!(path(&[50, 50, 50]).pipe_split(), (101, 50));
        // The slash at the end of a directory's name is not where to split.
        assert_eq!(path(&[60, 60, 0]).pipe_split(), (60, 61));
        assert_eq!(split_name(&path(&[0, 120])), None);
    }

    trait PipeSplit {
        fn pipe_split(&self) -> (usize, usize);
    }

    impl PipeSplit for Vec<u8> {
        fn pipe_split(&self) -> (usize, usize) {
            let (prefix, name) = split_name(self).unwrap();
            (prefix.len(), name.len())
        }
    }

    #[test]
    fn a_flipped_bit_breaks_the_checksum() {
        let block = sample().encode();
        let mut found = 0;
        for bit in 0..BLOCK * 8 {
            let mut flipped = block;
            flipped[bit / 8] ^= 1 << (bit % 8);
            found += usize::from(Header::parse(&flipped) != Ok(Some(sample())));
        }
        // The blank and the NUL that end the checksum may change without changing its value.
        assert!(found >= BLOCK * 8 - 16, "{found}");
    }
}
