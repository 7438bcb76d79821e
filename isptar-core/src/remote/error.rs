//! What can go wrong between two sides of a connection.

use std::io;

use crate::error::FormatError;

/// What fails when nothing can be sent.
pub(super) const WRITE: &str = "write to";

/// An error of the connection, or of the side at its other end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The other side said why it ends.
    #[error("the other side gave up: {reason}")]
    GaveUp {
        /// Its words.
        reason: String,
    },
    /// The connection ended, and the other side did not say why.
    #[error("the connection was cut at byte {position} of what the other side sends, in {what}")]
    Cut {
        /// How many bytes came.
        position: u64,
        /// What was being read.
        what: &'static str,
    },
    /// What came is damaged, or is not this protocol.
    #[error("wrong bytes from the other side, at byte {position}: {kind}")]
    Corrupt {
        /// Where what is wrong begins.
        position: u64,
        /// What is wrong.
        kind: FormatError,
    },
    /// What came is whole, but has no place here.
    #[error("{actual} came from the other side at byte {position}, where {expected} should be")]
    Unexpected {
        /// Where it begins.
        position: u64,
        /// What may come here.
        expected: &'static str,
        /// What came.
        actual: &'static str,
    },
    /// The system refused to read or write.
    #[error("cannot {op} the other side")]
    Wire {
        /// What was tried: "read from" or "write to".
        op: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Everything was done, and the other side could not be told.
    #[error("the archive is published, but the other side could not be told")]
    Untold,
}

impl RemoteError {
    /// Returns whether the other side went without a word: what connects to it may know why.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Wire { .. })
    }

    /// Returns whether it is of no use to tell the other side.
    pub(super) fn is_known_there(&self) -> bool {
        match self {
            Self::GaveUp { .. } | Self::Cut { .. } | Self::Untold => true,
            Self::Wire { op, .. } => *op == WRITE,
            Self::Corrupt { .. } | Self::Unexpected { .. } => false,
        }
    }
}
