//! Archives in several files: their names, reading them as one, writing and publishing them.

mod commit;
mod fault;
mod files;
mod hook;
mod layout;
mod names;
mod set;
mod sink;
mod tail;

pub(crate) use commit::{finish_interrupted, is_sliced, remove_slices_after};
pub use fault::{SliceError, SliceFault};
pub use files::FetchSlice;
pub use hook::{OnSlice, SliceFile};
pub use names::{MAX_SLICES, MIN_SLICE_SIZE, OwnNames, archive_of_slice};
pub(crate) use names::{SliceNames, archive_of_file};
pub use set::{OpenSlices, SliceSet};
pub use sink::{SliceOptions, SliceSink};
