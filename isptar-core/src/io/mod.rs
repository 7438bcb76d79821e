//! Where archives are read from and written to.

mod read_at;
mod sink;
mod tolerant;

pub use read_at::{Prefix, RangeReader, ReadAt};
pub use sink::{FileSink, Sink, WriteSink};
pub(crate) use tolerant::Tolerant;
