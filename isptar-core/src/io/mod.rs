//! Where archives are read from and written to.

mod listing_sink;
mod lock;
mod paths;
mod read_at;
mod sink;
mod slices;
mod tolerant;

pub use listing_sink::ListingSink;
pub use read_at::{Prefix, RangeReader, ReadAt};
pub use sink::{FileSink, FinishedSlice, Sink, WriteSink};
pub(crate) use slices::archive_of_file;
pub use slices::{
    FetchSlice, MAX_SLICES, MIN_SLICE_SIZE, OnSlice, OpenSlices, OwnNames, SliceError, SliceFault,
    SliceFile, SliceOptions, SliceSet, SliceSink, archive_of_slice,
};
pub(crate) use tolerant::Tolerant;
