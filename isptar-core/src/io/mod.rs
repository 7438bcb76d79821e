//! Where archives are read from and written to.

mod listing_sink;
mod paths;
mod read_at;
mod sink;
mod slices;
mod tolerant;

pub use listing_sink::ListingSink;
pub use read_at::{Prefix, RangeReader, ReadAt};
pub use sink::{FileSink, Sink, WriteSink};
pub use slices::{MAX_SLICES, SliceError, SliceFault, SliceSet, archive_of_slice};
pub(crate) use tolerant::Tolerant;
