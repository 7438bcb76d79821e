//! Pieces of the text parts: escapes, decimal numbers, digests.

use data_encoding::BASE64URL_NOPAD;

use crate::error::FormatError;

/// Appends `bytes` with backslash, TAB and LF escaped.
pub fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
}

/// Undoes [`escape`].
///
/// # Errors
///
/// [`FormatError::Invalid`] when an escape is none of the three.
pub fn unescape(field: &'static str, text: &[u8]) -> Result<Vec<u8>, FormatError> {
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
    Ok(bytes)
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
    text.iter()
        .try_fold(0u64, |value, byte| {
            let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
            value.checked_mul(10)?.checked_add(u64::from(digit))
        })
        .ok_or_else(invalid)
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

/// Appends a SHA-256 as 43 characters of base64url.
pub fn push_digest(digest: &[u8; 32], out: &mut Vec<u8>) {
    out.extend_from_slice(digest_text(digest).as_bytes());
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
    BASE64URL_NOPAD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| FormatError::invalid(field, text))
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
        assert_eq!(unescape("name", &out).unwrap(), b"a\\b\tc\nd\xff\r");
        assert!(unescape("name", b"a\\q").is_err());
        assert!(unescape("name", b"a\\").is_err());
    }
}
