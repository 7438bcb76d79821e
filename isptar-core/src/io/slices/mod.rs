//! Archives in several files: their names, reading them as one.

mod fault;
mod names;
mod set;

pub use fault::{SliceError, SliceFault};
pub use names::{MAX_SLICES, archive_of_slice};
pub use set::SliceSet;
