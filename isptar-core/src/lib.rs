#![doc = include_str!("../README.md")]

pub mod archive;
pub mod codec;
pub mod content;
pub mod convert;
pub mod create;
pub mod error;
pub mod extract;
pub mod format;
pub mod io;
pub mod limits;
pub mod observe;
mod pack;
pub mod path;
pub mod scan;
pub mod select;
pub mod source;
pub mod verify;
pub mod writer;

pub use archive::Archive;
pub use content::{Content, ContentReader, Piece};
pub use convert::convert;
pub use create::{CreateOptions, CreateReport, create, plan};
pub use error::{Error, FormatError, Result};
pub use extract::{ExtractOptions, ExtractReport, Overwrite, extract, extract_sequential};
pub use format::entry::{Chunks, Digest, Entry, Kind, Location};
pub use format::member::{MemberHeader, Xattrs};
pub use format::timestamp::Timestamp;
pub use io::{FileSink, RangeReader, ReadAt, Sink, WriteSink};
pub use limits::Limits;
pub use observe::{Event, LeftOut, Observer, Warning};
pub use pack::Details;
pub use path::{MemberPath, SafePath};
pub use scan::TarReader;
pub use select::{Patterns, Selection};
pub use verify::{VerifyOptions, VerifyReport, verify, verify_sequential};
pub use writer::{ArchiveWriter, WriterOptions, Written};
