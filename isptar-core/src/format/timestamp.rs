//! Points in time, with nanoseconds, before 1970 and after 2038.

use std::fmt;

use super::text;
use crate::error::FormatError;

const NANOS: u32 = 1_000_000_000;

/// A point in time: seconds since 1970-01-01T00:00:00Z, and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// Makes a point in time; `nanos` of a second and more are cut to the last nanosecond.
    pub const fn new(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos: if nanos < NANOS { nanos } else { NANOS - 1 } }
    }

    /// Returns the whole seconds: the last full second at or before this point.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns the nanoseconds after [`Self::seconds`].
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// Reads `SECONDS[.FRACTION]`; a minus belongs to the whole number. Digits of the fraction
    /// beyond the ninth are ignored.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`] when it is anything else.
    pub fn parse(field: &'static str, input: &[u8]) -> Result<Self, FormatError> {
        let invalid = || FormatError::invalid(field, input);
        let (negative, number) = match input.strip_prefix(b"-") {
            Some(number) => (true, number),
            None => (false, input),
        };
        let mut parts = number.splitn(2, |&byte| byte == b'.');
        let whole =
            text::decimal(field, parts.next().unwrap_or_default()).map_err(|_| invalid())?;
        let nanos = match parts.next() {
            Some(fraction) => nanos(fraction).ok_or_else(invalid)?,
            None => 0,
        };
        let seconds = i64::try_from(whole).map_err(|_| invalid())?;
        if !negative {
            return Ok(Self { seconds, nanos });
        }
        match NANOS.checked_sub(nanos).filter(|&nanos| nanos < NANOS) {
            // -1.25 is 0.75 after second -2.
            Some(nanos) => Some(Self { seconds: !seconds, nanos }),
            None => seconds.checked_neg().map(|seconds| Self { seconds, nanos: 0 }),
        }
        .ok_or_else(invalid)
    }

    /// Appends `SECONDS[.FRACTION]`, without trailing zeros.
    pub fn encode(self, out: &mut Vec<u8>) {
        let (sign, seconds, nanos) = self.parts();
        out.extend_from_slice(sign.as_bytes());
        text::push_decimal(seconds, out);
        if nanos > 0 {
            // A one before them keeps the zeros that they begin with.
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(NANOS.saturating_add(nanos)).as_bytes();
            let fraction = digits.get(1..).unwrap_or_default();
            let len = fraction
                .iter()
                .rposition(|&digit| digit != b'0')
                .map_or(0, |at| at.saturating_add(1));
            out.push(b'.');
            out.extend_from_slice(fraction.get(..len).unwrap_or_default());
        }
    }

    /// Returns the sign, the whole seconds and the nanoseconds of the number.
    fn parts(self) -> (&'static str, i64, u32) {
        // -2 s and 0.75 s after it is written -1.25; the complement of a negative number is not
        // negative, and never overflows.
        if self.nanos > 0 && self.seconds < 0 {
            ("-", !self.seconds, NANOS.saturating_sub(self.nanos))
        } else {
            ("", self.seconds, self.nanos)
        }
    }
}

/// Reads the digits of a fraction as nanoseconds.
fn nanos(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nine = digits.get(..9).unwrap_or(digits);
    let value = nine.iter().try_fold(0u32, |value, digit| {
        value.checked_mul(10)?.checked_add(u32::from(digit.checked_sub(b'0')?))
    })?;
    let zeros = u32::try_from(nine.len()).ok().and_then(|len| 9u32.checked_sub(len))?;
    value.checked_mul(10u32.checked_pow(zeros)?)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, seconds, nanos) = self.parts();
        write!(f, "{sign}{seconds}")?;
        if nanos == 0 {
            return Ok(());
        }
        let fraction = format!("{nanos:09}");
        write!(f, ".{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_decimal_numbers() {
        for (seconds, nanos, shown) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (1_700_000_000, 1, "1700000000.000000001"),
            (-1, 0, "-1"),
            (-2, 750_000_000, "-1.25"),
            (-1, 999_999_999, "-0.000000001"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
        ] {
            let time = Timestamp::new(seconds, nanos);
            assert_eq!(time.to_string(), shown);
            let mut text = Vec::new();
            time.encode(&mut text);
            assert_eq!(text, shown.as_bytes());
            assert_eq!(Timestamp::parse("mtime", shown.as_bytes()), Ok(time));
        }
        assert_eq!(Timestamp::parse("t", b"1.1234567899").unwrap().nanos(), 123_456_789);
        for text in ["", "-", ".5", "1.", "1.x", "+1", "1e3", "nan", "01", "--1", "1.5.5"] {
            assert!(Timestamp::parse("t", text.as_bytes()).is_err(), "{text}");
        }
    }
}
