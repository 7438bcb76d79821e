//! Where archives are read from and written to.

mod read_at;
mod sink;

pub use read_at::{RangeReader, ReadAt};
pub use sink::{FileSink, Sink, WriteSink};
