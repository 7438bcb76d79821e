//! What is wrong with bytes, whatever they are read from.

use super::Error;
use crate::limits::Raise;

/// What is wrong with a piece of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes end too early.
    #[error("{what} needs {need} bytes, there are {have}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes it needs.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A value does not have the form it must have.
    #[error("{field} is not valid: \"{value}\"")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The value, non-printing bytes escaped.
        value: String,
    },
    /// Two statements about the same thing disagree.
    #[error("{what} is {actual}, expected {expected}")]
    Mismatch {
        /// The thing.
        what: &'static str,
        /// What the archive says elsewhere, or the format demands.
        expected: String,
        /// What was found.
        actual: String,
    },
    /// A CRC-32 does not hold.
    #[error("CRC is {actual:#010x}, expected {expected:#010x}")]
    Crc {
        /// The stored CRC.
        expected: u32,
        /// The CRC of the bytes.
        actual: u32,
    },
    /// A SHA-256 does not hold.
    #[error("SHA-256 of {what} is {actual}, expected {expected}")]
    Digest {
        /// What was digested.
        what: &'static str,
        /// The stored digest, base64url.
        expected: String,
        /// The digest of the bytes, base64url.
        actual: String,
    },
    /// The compressed data does not decode.
    #[error("compressed data is damaged: {0}")]
    Deflate(&'static str),
    /// A number is above its limit.
    #[error("{what} is {actual}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit in force.
        limit: u64,
        /// The claimed value.
        actual: u64,
        /// What would let it pass; none when the format itself sets the limit.
        raise: Option<Raise>,
    },
    /// There is more than there may be.
    #[error("{len} bytes {place}")]
    Surplus {
        /// Where they are, such as "behind the end of the archive".
        place: &'static str,
        /// How many.
        len: u64,
    },
    /// Something required is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Another archive begins within this one, and its members are none of this one's.
    #[error("another archive begins here, whose members are not taken")]
    Another,
    /// Two things that must be the same are not, and where they differ is not known.
    #[error("{what} are not {expected}")]
    Differ {
        /// What was found.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Something stands twice.
    #[error("{what} stands twice: {value:?}")]
    Duplicate {
        /// What stands twice.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A range leaves the archive.
    #[error("{what} at offset {offset}, {len} bytes, ends after {end}")]
    OutOfBounds {
        /// What has that range.
        what: &'static str,
        /// Its claimed offset.
        offset: u64,
        /// Its claimed length.
        len: u64,
        /// Where it would have to end at the latest.
        end: u64,
    },
    /// The format is newer than this program.
    #[error("{what} {value:?} is not known to this version")]
    Unknown {
        /// What is unknown.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

impl FormatError {
    /// A field whose value is not valid; the bytes are escaped for display.
    pub(crate) fn invalid(field: &'static str, value: &[u8]) -> Self {
        // Long garbage tells nobody more than its beginning.
        let shown = value.get(..32).unwrap_or(value);
        Self::Invalid { field, value: shown.escape_ascii().to_string() }
    }

    /// A disagreement between two statements.
    pub(crate) fn mismatch(
        what: &'static str,
        expected: impl ToString,
        actual: impl ToString,
    ) -> Self {
        Self::Mismatch { what, expected: expected.to_string(), actual: actual.to_string() }
    }

    /// Places the error in the archive.
    pub(crate) fn at(self, offset: u64) -> Error {
        match self {
            Self::Unknown { what, value } => {
                Error::Unsupported { what, value, understood: "format 2" }
            }
            Self::Limit { what, limit, actual, raise } => {
                Error::Limit { what, limit, actual, raise }
            }
            kind => Error::Corrupt { offset, kind },
        }
    }
}
