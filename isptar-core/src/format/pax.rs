//! PAX records: `LENGTH key=value` lines before a tar header.

use super::text::push_decimal;
use crate::error::FormatError;

/// One record: key and value, any bytes.
pub type Record = (Vec<u8>, Vec<u8>);

/// Reads all records of the body of a PAX header.
///
/// # Errors
///
/// [`FormatError::Invalid`] or [`FormatError::Truncated`].
pub fn parse(body: &[u8]) -> Result<Vec<Record>, FormatError> {
    let mut records = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (record, tail) = parse_one(rest)?;
        records.push(record);
        rest = tail;
    }
    Ok(records)
}

fn parse_one(rest: &[u8]) -> Result<(Record, &[u8]), FormatError> {
    let invalid = || FormatError::invalid("PAX record", rest);
    // Other programs write leading zeros; twenty digits are all that a length can have.
    let digits = rest.iter().take(20).position(|&byte| byte == b' ').ok_or_else(invalid)?;
    let length = rest
        .get(..digits)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse::<usize>().ok())
        .ok_or_else(invalid)?;
    let (record, tail) = rest.split_at_checked(length).ok_or(FormatError::Truncated {
        what: "PAX record",
        need: length as u64,
        have: rest.len() as u64,
    })?;
    let line = record
        .get(digits..)
        .and_then(|line| line.strip_prefix(b" "))
        .and_then(|line| line.strip_suffix(b"\n"))
        .ok_or_else(invalid)?;
    let equals = line.iter().position(|&byte| byte == b'=').ok_or_else(invalid)?;
    let (key, value) = line.split_at_checked(equals).ok_or_else(invalid)?;
    if key.is_empty() {
        return Err(invalid());
    }
    Ok(((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()), tail))
}

/// Appends a record; its length counts its own digits.
pub fn push(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    // A space, an equals sign and a line feed.
    let body = key.len().saturating_add(value.len()).saturating_add(3);
    let mut length = body;
    loop {
        let digits = usize::try_from(length.max(1).ilog10()).unwrap_or(0).saturating_add(1);
        let total = body.saturating_add(digits);
        if total == length {
            break;
        }
        length = total;
    }
    push_decimal(length, out);
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for len in 0..2000 {
            let value = vec![b'v'; len];
            let mut out = Vec::new();
            push(b"key", &value, &mut out);
            assert_eq!(parse(&out).unwrap(), [(b"key".to_vec(), value)]);
        }
        let mut out = Vec::new();
        push(b"comment", b"isptar format 2", &mut out);
        assert_eq!(out, b"27 comment=isptar format 2\n");
    }

    #[test]
    fn values_may_hold_any_bytes() {
        let mut out = Vec::new();
        push(b"a", b"x=\n\0y", &mut out);
        push(b"b", b"", &mut out);
        let expected = [(b"a".to_vec(), b"x=\n\0y".to_vec()), (b"b".to_vec(), vec![])];
        assert_eq!(parse(&out).unwrap(), expected);
    }

    #[test]
    fn broken_records_are_refused() {
        for body in [
            "5 a=b", "6 a=bc", "x a=b\n", "-6 a=b\n", "6 ab\n\n", "5 =b\n", "99 a=b\n", " 6 a=b\n",
            "0 a=b\n",
        ] {
            assert!(parse(body.as_bytes()).is_err(), "{body:?}");
        }
    }
}
