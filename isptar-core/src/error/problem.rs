//! What is wrong with a base or a part of an archive.

use super::Error;
use crate::path::{MemberPath, printable};

/// Why a base cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseProblem {
    /// Nobody said where bases are.
    #[error("no bases were given")]
    NotGiven,
    /// There is no file.
    #[error("not found: {0}")]
    NotFound(String),
    /// It is another archive.
    #[error("{place} is another archive, with the identity {actual}")]
    Wrong {
        /// Where that archive is.
        place: String,
        /// Its identity.
        actual: String,
    },
    /// It cannot be opened.
    #[error("cannot open {place}: {reason}")]
    Unreadable {
        /// Where it is.
        place: String,
        /// What was wrong with it.
        reason: String,
    },
}

/// What is wrong with a part of a merged archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartProblem {
    /// Its name cannot be that of a file in a directory.
    #[error("the name of a part is 1 to 255 bytes, without a slash and not . or ..")]
    Name,
    /// Two parts have that name.
    #[error("two parts have this name")]
    Twice,
    /// A file of that name would be taken for one of another archive; its name, escaped for display.
    #[error("a file of this name would be taken for one that is beside the archive {0}")]
    OfAnother(String),
    /// A member of it would be taken for its end.
    #[error("its member {0} would be taken for the end of a part")]
    Reserved(MemberPath),
    /// The archive has others; their names, escaped for display.
    #[error("the archive has no such part but {0}")]
    Unknown(String),
}

impl PartProblem {
    /// Says it of a part.
    pub(crate) fn of(self, name: &[u8]) -> Error {
        Error::Part { name: printable(name), problem: self }
    }
}
