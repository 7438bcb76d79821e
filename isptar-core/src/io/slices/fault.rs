//! What is wrong with a slice.

use std::path::PathBuf;

/// A slice that cannot be used, by its number and its file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slice {number}, {}, {fault}", path.display())]
pub struct SliceError {
    /// Its number, from 1.
    pub number: u64,
    /// The file that it is, or should be.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: SliceFault,
}

/// Why a slice cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SliceFault {
    /// There is no such file.
    #[error("is missing")]
    Missing,
    /// What has its name cannot be opened, or is no regular file.
    #[error("cannot be opened: {reason}")]
    NotOpened {
        /// What was said about it.
        reason: String,
    },
    /// The archive does not end with the slice before.
    #[error("is missing, or the one before was cut")]
    NoEnd,
    /// There is no such file, and the commit file says that it ends an archive which was being
    /// published: without it nothing is done with the files of that name.
    #[error("is missing, and {} says that it was being published", commit.display())]
    Unpublished {
        /// The commit file.
        commit: PathBuf,
    },
    /// It is not here, and could not be brought.
    #[error("could not be fetched: {reason}")]
    NotFetched {
        /// What was said about it.
        reason: String,
    },
    /// It is cut, grown, or of another archive.
    #[error("has {actual} bytes, expected {expected}")]
    Length {
        /// Its length by the archive.
        expected: u64,
        /// Its length.
        actual: u64,
    },
    /// It is another slice, or of another archive.
    #[error("begins with {actual}, expected {expected}{}", is.map(|is| format!(": it is slice {is}")).unwrap_or_default())]
    Head {
        /// Its first bytes by the tables, hexadecimal.
        expected: String,
        /// Its first bytes.
        actual: String,
        /// The slice that begins so by the tables, if one does.
        is: Option<u64>,
    },
    /// It is damaged, or of another archive.
    #[error("has SHA-256 {actual}, expected {expected}")]
    Digest {
        /// Its digest by the tables, hexadecimal.
        expected: String,
        /// Its digest.
        actual: String,
    },
    /// It ends an archive of another number of slices.
    #[error("is the last of an archive of {count} slices")]
    Last {
        /// How many slices its archive has.
        count: u64,
    },
    /// It is the last slice of another archive than the one that was written last.
    #[error("ends the archive {actual}, expected {expected}, which was being published by {}", commit.display())]
    Identity {
        /// The commit file.
        commit: PathBuf,
        /// The identity in the commit file.
        expected: String,
        /// Its own.
        actual: String,
    },
}
