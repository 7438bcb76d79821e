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
}
