//! Pieces of the text parts: escapes, decimal numbers, digests.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;

use crate::error::FormatError;

/// Appends `bytes` with backslash, TAB and LF escaped.
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some((plain, tail)) =
        memchr::memchr3(b'\\', b'\t', b'\n', rest).and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(plain);
        out.extend_from_slice(match tail.first() {
            Some(b'\t') => b"\\t",
            Some(b'\n') => b"\\n",
            _ => b"\\\\",
        });
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Takes text apart at each `separator`; text without one is one field.
pub fn fields(text: &[u8], separator: u8) -> Fields<'_> {
    Fields { rest: Some(text), separator }
}

/// Iterates over fields; see [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Fields<'a> {
    /// Returns the text that was not taken apart yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or_default()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        let end = memchr::memchr(self.separator, text);
        let (field, rest) = match end.and_then(|at| text.split_at_checked(at)) {
            Some((field, rest)) => (field, rest.get(1..)),
            None => (text, None),
        };
        self.rest = rest;
        Some(field)
    }
}

/// Undoes [`escape`]; text without escapes is lent as it is.
///
/// # Errors
///
/// [`FormatError::Invalid`] when an escape is none of the three.
pub fn unescape<'a>(field: &'static str, text: &'a [u8]) -> Result<Cow<'a, [u8]>, FormatError> {
    if memchr::memchr(b'\\', text).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&escaped, tail) =
            rest.split_first().ok_or_else(|| FormatError::invalid(field, text))?;
        rest = tail;
        bytes.push(match escaped {
            b'\\' => b'\\',
            b't' => b'\t',
            b'n' => b'\n',
            _ => return Err(FormatError::invalid(field, text)),
        });
    }
    Ok(Cow::Owned(bytes))
}

/// Reads a decimal number: digits alone, no plus, no leading zeros.
///
/// # Errors
///
/// [`FormatError::Invalid`] when it is anything else or does not fit.
pub fn decimal(field: &'static str, text: &[u8]) -> Result<u64, FormatError> {
    let invalid = || FormatError::invalid(field, text);
    if text.is_empty() || (text.len() > 1 && text.starts_with(b"0")) {
        return Err(invalid());
    }
    let digit = |byte: &u8| Some(byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9);
    if text.len() < 20 {
        // So few digits cannot be too many.
        let add =
            |value: u64, byte| Some(value.wrapping_mul(10).wrapping_add(u64::from(digit(byte)?)));
        return text.iter().try_fold(0, add).ok_or_else(invalid);
    }
    let add = |value: u64, byte| value.checked_mul(10)?.checked_add(u64::from(digit(byte)?));
    text.iter().try_fold(0, add).ok_or_else(invalid)
}

/// Reads a decimal number that may have a minus before it.
///
/// # Errors
///
/// As [`decimal`].
pub fn signed_decimal(field: &'static str, text: &[u8]) -> Result<i64, FormatError> {
    match text.strip_prefix(b"-") {
        Some(digits) => decimal(field, digits)
            .ok()
            .and_then(|value| 0i64.checked_sub_unsigned(value))
            .ok_or_else(|| FormatError::invalid(field, text)),
        None => decimal(field, text)
            .and_then(|value| i64::try_from(value).map_err(|_| FormatError::invalid(field, text))),
    }
}

/// Appends a number in decimal.
pub fn push_decimal(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Characters of a SHA-256.
const DIGEST_TEXT: usize = 43;

/// Appends a SHA-256 as 43 characters of base64url.
pub fn push_digest(digest: &[u8; 32], out: &mut Vec<u8>) {
    let mut text = [0; DIGEST_TEXT];
    BASE64URL_NOPAD.encode_mut(digest, &mut text);
    out.extend_from_slice(&text);
}

/// Returns a SHA-256 as 43 characters of base64url.
pub fn digest_text(digest: &[u8; 32]) -> String {
    BASE64URL_NOPAD.encode(digest)
}

/// Reads a SHA-256 from 43 characters of base64url.
///
/// # Errors
///
/// [`FormatError::Invalid`] when it is anything else.
pub fn parse_digest(field: &'static str, text: &[u8]) -> Result<[u8; 32], FormatError> {
    let mut digest = [0; 32];
    // So many characters are 32 bytes; only their form can be wrong.
    match text.len() {
        DIGEST_TEXT if BASE64URL_NOPAD.decode_mut(text, &mut digest).is_ok() => Ok(digest),
        _ => Err(FormatError::invalid(field, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_numbers() {
        for (text, value) in [("0", 0), ("7", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(decimal("n", text.as_bytes()), Ok(value));
        }
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616"] {
            assert!(decimal("n", text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(signed_decimal("n", b"-9223372036854775808"), Ok(i64::MIN));
        assert!(signed_decimal("n", b"9223372036854775808").is_err());
        assert!(signed_decimal("n", b"--1").is_err());
    }

    #[test]
    fn escapes_are_the_three_and_no_others() {
        let mut out = Vec::new();
        escape(b"a\\b\tc\nd\xff\r", &mut out);
        assert_eq!(out, b"a\\\\b\\tc\\nd\xff\r");
        assert_eq!(unescape("name", &out).unwrap().as_ref(), b"a\\b\tc\nd\xff\r");
        assert!(unescape("name", b"a\\q").is_err());
        assert!(unescape("name", b"a\\").is_err());
    }
}
