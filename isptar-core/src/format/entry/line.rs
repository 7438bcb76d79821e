//! Reading a line of the listing.

use std::borrow::Cow;

use super::borrowed::{ChunksRef, EntryRef, KindRef, Unknown};
use super::{Dialect, Digest, Location};
use crate::error::FormatError;
use crate::format::text::{Fields, decimal, fields, parse_digest, signed_decimal, unescape};
use crate::format::timestamp::Timestamp;
use crate::limits::{LimitName, Limits};
use crate::path::MemberName;

impl<'a> EntryRef<'a> {
    /// Reads a line, without its line feed.
    ///
    /// # Errors
    ///
    /// What is wrong with the line, or [`FormatError::Limit`].
    pub fn parse(line: &'a [u8], dialect: Dialect, limits: &Limits) -> Result<Self, FormatError> {
        let mut fields = fields(line, b'\t');
        let path = parse_name("name", next(&mut fields, "name")?, limits)?;
        let (user, uid) = parse_owner("user", next(&mut fields, "user")?, dialect)?;
        let (group, gid) = parse_owner("group", next(&mut fields, "group")?, dialect)?;
        let mode = parse_mode(next(&mut fields, "mode")?)?;
        let (kind, mtime) = parse_kind(&mut fields, dialect, limits)?;
        let unknown = Unknown::Text(fields.rest(), 0);
        let mut entry =
            Self { mode, user, uid, group, gid, mtime, unknown, ..Self::new(path, kind) };
        let mut seen = Seen::default();
        let mut is_first = true;
        for field in fields {
            if std::mem::take(&mut is_first) && !field.contains(&b'=') {
                entry.location = Some(parse_location(field)?);
            } else if dialect == Dialect::Isptar {
                entry.set_key(field, &mut seen, limits)?;
            }
            // The original ignored what came after the location.
        }
        entry.ctime = match (seen.ctime, dialect) {
            (Some(recorded), _) => recorded,
            (None, Dialect::Isptar) => entry.mtime,
            (None, Dialect::Classic) => None,
        };
        entry.check(&seen, dialect)?;
        Ok(entry)
    }

    /// Takes one `key=value` field.
    fn set_key(
        &mut self,
        field: &'a [u8],
        seen: &mut Seen,
        limits: &Limits,
    ) -> Result<(), FormatError> {
        let (key, value) =
            pair(field).ok_or_else(|| FormatError::invalid("key=value field", field))?;
        // A key that was there is an error: two values would be two truths.
        let was_set = match key {
            b"packed" => self.packed.replace(decimal("packed", value)?).is_some(),
            b"chunks" => {
                let (chunks, sum) = parse_chunks(value)?;
                seen.chunk_sum = sum;
                self.chunks.replace(chunks).is_some()
            }
            b"sha256" => {
                let digest = Digest::Content(parse_digest("sha256", value)?);
                self.digest.replace(digest).is_some()
            }
            b"stored_sha256" => {
                let digest = Digest::Stored(parse_digest("stored_sha256", value)?);
                self.digest.replace(digest).is_some()
            }
            b"mtime" => {
                let time = Timestamp::parse("mtime", value)?;
                let field = self.mtime.replace(time).filter(|_| !seen.mtime);
                if let Some(field) = field.filter(|field| field.seconds() != time.seconds().max(0))
                {
                    return Err(FormatError::mismatch("mtime field", time, field));
                }
                std::mem::replace(&mut seen.mtime, true)
            }
            b"ctime" if value == b"-" => seen.ctime.replace(None).is_some(),
            b"ctime" => seen.ctime.replace(Some(Timestamp::parse("ctime", value)?)).is_some(),
            b"ino" => self.ino.replace(decimal("ino", value)?).is_some(),
            b"xattr" => self.xattr.replace(parse_hex(value)?).is_some(),
            b"dirty" => set_flag("dirty", value, &mut self.dirty)?,
            b"sparse" => set_flag("sparse", value, &mut self.sparse)?,
            b"partial" => set_flag("partial", value, &mut self.partial)?,
            b"data" => set_flag("data", value, &mut self.data)?,
            b"lost" => self.lost.replace(parse_reason(value)?).is_some(),
            _ => self.add_unknown(field, key, limits)?,
        };
        if was_set {
            let value = key.escape_ascii().to_string();
            return Err(FormatError::Duplicate { what: "key", value });
        }
        Ok(())
    }

    /// Counts a key that is not known; returns whether it was there before.
    fn add_unknown(
        &mut self,
        field: &[u8],
        key: &[u8],
        limits: &Limits,
    ) -> Result<bool, FormatError> {
        let Unknown::Text(text, count) = &mut self.unknown else { return Ok(false) };
        if *count >= limits.unknown_keys {
            let (limit, actual) = (limits.unknown_keys, fields(text, b'\t').count() as u64);
            let raise = LimitName::UnknownKeys.to(actual);
            return Err(FormatError::Limit { what: "number of keys", limit, actual, raise });
        }
        *count = count.saturating_add(1);
        let mut before = fields(text, b'\t').take_while(|other| !std::ptr::eq(*other, field));
        Ok(before.any(|other| pair(other).is_some_and(|(other, _)| other == key)))
    }

    /// Checks what the fields say of each other.
    fn check(&self, seen: &Seen, dialect: Dialect) -> Result<(), FormatError> {
        if dialect == Dialect::Isptar
            && matches!(&self.kind, KindRef::HardLink { target } if *target == self.path)
        {
            return Err(FormatError::invalid("target of a hard link", self.path.as_bytes()));
        }
        if self.chunks.is_none() {
            return Ok(());
        }
        let sum = seen.chunk_sum;
        if sum.is_none() || sum != self.packed {
            let expected = self.packed.map_or_else(|| "absent".into(), |len| len.to_string());
            let actual = sum.map_or_else(|| "above 2^64".into(), |sum| sum.to_string());
            return Err(FormatError::mismatch("sum of chunks", expected, actual));
        }
        if !matches!(self.kind, KindRef::File { .. }) {
            let what = "type of a chunked member";
            return Err(FormatError::mismatch(what, "file", self.kind.word()));
        }
        Ok(())
    }
}

/// What is told by the keys, but not by the entry.
#[derive(Default)]
struct Seen {
    mtime: bool,
    /// The outer value: whether the key was there; the inner: whether it has a time.
    ctime: Option<Option<Timestamp>>,
    /// Packed bytes of all chunks; none above 2^64.
    chunk_sum: Option<u64>,
}

/// Returns the name that a line begins with, whatever the rest of it is.
pub(crate) fn name_of_line<'a>(
    line: &'a [u8],
    limits: &Limits,
) -> Result<MemberName<'a>, FormatError> {
    parse_name("name", next(&mut fields(line, b'\t'), "name")?, limits)
}

/// Takes a field apart: key and value.
pub(super) fn pair(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = field.iter().position(|&byte| byte == b'=')?;
    let (key, rest) = field.split_at_checked(equals)?;
    Some((key, rest.get(1..).unwrap_or_default()))
}

/// Returns whether a key has a meaning.
pub(super) fn is_known(key: &[u8]) -> bool {
    matches!(
        key,
        b"packed"
            | b"chunks"
            | b"sha256"
            | b"stored_sha256"
            | b"mtime"
            | b"ctime"
            | b"ino"
            | b"xattr"
            | b"dirty"
            | b"sparse"
            | b"partial"
            | b"lost"
            | b"data"
    )
}

fn next<'a>(fields: &mut Fields<'a>, field: &'static str) -> Result<&'a [u8], FormatError> {
    fields.next().ok_or(FormatError::Missing(field))
}

/// Reads the type and what belongs to it, with the whole seconds of a file's mtime.
fn parse_kind<'a>(
    fields: &mut Fields<'a>,
    dialect: Dialect,
    limits: &Limits,
) -> Result<(KindRef<'a>, Option<Timestamp>), FormatError> {
    let kind = match next(fields, "type")? {
        b"file" => {
            let seconds = parse_mtime(next(fields, "mtime")?, dialect)?;
            let size = decimal("size", next(fields, "size")?)?;
            return Ok((KindRef::File { size }, Some(Timestamp::new(seconds, 0))));
        }
        b"dir" => KindRef::Directory,
        b"link" => {
            KindRef::Symlink { target: parse_bytes("target", next(fields, "target")?, limits)? }
        }
        b"hard" => {
            KindRef::HardLink { target: parse_name("target", next(fields, "target")?, limits)? }
        }
        b"fifo" => KindRef::Fifo,
        word @ (b"char" | b"block") => {
            let major = parse_u32("major", next(fields, "major")?)?;
            let minor = parse_u32("minor", next(fields, "minor")?)?;
            if word == b"char" {
                KindRef::CharDevice { major, minor }
            } else {
                KindRef::BlockDevice { major, minor }
            }
        }
        other => return Err(FormatError::invalid("type", other)),
    };
    Ok((kind, None))
}

fn parse_bytes<'a>(
    field: &'static str,
    text: &'a [u8],
    limits: &Limits,
) -> Result<Cow<'a, [u8]>, FormatError> {
    let bytes = unescape(field, text)?;
    let actual = bytes.len() as u64;
    if actual > limits.path {
        let (limit, raise) = (limits.path, LimitName::Path.to(actual));
        return Err(FormatError::Limit { what: field, limit, actual, raise });
    }
    Ok(bytes)
}

fn parse_name<'a>(
    field: &'static str,
    text: &'a [u8],
    limits: &Limits,
) -> Result<MemberName<'a>, FormatError> {
    parse_bytes(field, text, limits).map(MemberName::from)
}

fn parse_owner<'a>(
    field: &'static str,
    text: &'a [u8],
    dialect: Dialect,
) -> Result<(Cow<'a, [u8]>, u64), FormatError> {
    let hash = text.iter().rposition(|&byte| byte == b'#');
    let (name, number) = hash
        .and_then(|at| text.split_at_checked(at))
        .map(|(name, rest)| (name, rest.get(1..).unwrap_or_default()))
        .ok_or_else(|| FormatError::invalid(field, text))?;
    let id = match dialect {
        Dialect::Isptar => decimal(field, number)?,
        // The original printed 32-bit numbers as signed.
        Dialect::Classic => match signed_decimal(field, number)? {
            id if id < 0 => {
                let id = i32::try_from(id).map_err(|_| FormatError::invalid(field, text))?;
                u64::from(id.cast_unsigned())
            }
            id => id.unsigned_abs(),
        },
    };
    Ok((unescape(field, name)?, id))
}

fn parse_reason(value: &[u8]) -> Result<Cow<'_, str>, FormatError> {
    let invalid = || FormatError::invalid("lost", value);
    match unescape("lost", value)? {
        Cow::Borrowed(reason) => {
            std::str::from_utf8(reason).map(Cow::Borrowed).map_err(|_| invalid())
        }
        Cow::Owned(reason) => String::from_utf8(reason).map(Cow::Owned).map_err(|_| invalid()),
    }
}

fn parse_mode(text: &[u8]) -> Result<u32, FormatError> {
    let mode = parse_u32("mode", text)?;
    if mode > 0o7777 { Err(FormatError::invalid("mode", text)) } else { Ok(mode) }
}

fn parse_mtime(text: &[u8], dialect: Dialect) -> Result<i64, FormatError> {
    match dialect {
        Dialect::Isptar => {
            let seconds = decimal("mtime", text)?;
            i64::try_from(seconds).map_err(|_| FormatError::invalid("mtime", text))
        }
        Dialect::Classic => signed_decimal("mtime", text),
    }
}

fn parse_u32(field: &'static str, text: &[u8]) -> Result<u32, FormatError> {
    u32::try_from(decimal(field, text)?).map_err(|_| FormatError::invalid(field, text))
}

pub(super) fn parse_location(text: &[u8]) -> Result<Location, FormatError> {
    let invalid = || FormatError::invalid("location", text);
    let mut parts = fields(text, b':');
    let mut next = || decimal("location", parts.next().unwrap_or_default()).map_err(|_| invalid());
    let (depth, slice, offset, zoffset) = (next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(invalid());
    }
    Ok(Location {
        depth: u32::try_from(depth).map_err(|_| invalid())?,
        slice: u32::try_from(slice).map_err(|_| invalid())?,
        offset,
        zoffset,
    })
}

/// Reads how a member is cut, and returns the sum of its packed sizes; none above 2^64.
fn parse_chunks(text: &[u8]) -> Result<(ChunksRef<'_>, Option<u64>), FormatError> {
    let colon = text.iter().position(|&byte| byte == b':');
    let (size, list) = colon
        .and_then(|at| text.split_at_checked(at))
        .ok_or_else(|| FormatError::invalid("chunks", text))?;
    let size = decimal("chunks", size)?;
    if !size.is_power_of_two() || size < 512 {
        return Err(FormatError::invalid("chunks", text));
    }
    let list = list.get(1..).unwrap_or_default();
    let mut sum = Some(0u64);
    for len in fields(list, b',') {
        let len = decimal("chunks", len)?;
        sum = sum.and_then(|sum| sum.checked_add(len));
    }
    Ok((ChunksRef::of_text(size, list), sum))
}

pub(super) fn parse_hex(text: &[u8]) -> Result<u64, FormatError> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| {
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| FormatError::invalid("xattr", text))
}

fn set_flag(key: &'static str, value: &[u8], flag: &mut bool) -> Result<bool, FormatError> {
    if value != b"1" {
        return Err(FormatError::invalid(key, value));
    }
    Ok(std::mem::replace(flag, true))
}
