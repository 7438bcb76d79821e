#![doc = include_str!("../README.md")]

pub mod archive;
pub mod base;
pub mod codec;
pub mod content;
pub mod convert;
pub mod create;
pub mod diff;
pub mod error;
pub mod extract;
pub mod format;
pub mod io;
pub mod limits;
pub mod observe;
mod owners;
mod pack;
mod parallel;
pub mod path;
pub mod remote;
pub mod repair;
pub mod rewrite;
mod run;
pub mod scan;
pub mod select;
pub mod source;
pub mod verify;
pub mod writer;

pub use archive::{Archive, FindBase};
pub use base::{BaseListing, CompareOptions, Why};
pub use content::{Content, ContentReader, Piece};
pub use convert::convert;
pub use create::{CreateOptions, CreateReport, Extras, create, create_with, plan};
pub use diff::{DiffOptions, DiffReport, Difference, Listing, diff_archives, diff_tree};
pub use error::{BaseProblem, Error, FormatError, PartProblem, Result};
pub use extract::{ExtractOptions, ExtractReport, Overwrite, extract, extract_sequential};
pub use format::entry::{Chunks, ChunksRef, Digest, Entry, EntryRef, Kind, KindRef, Location};
pub use format::member::{MemberHeader, Xattrs};
pub use format::timestamp::Timestamp;
pub use io::{
    FetchSlice, FileSink, ListingSink, OnSlice, OpenSlices, OwnNames, RangeReader, ReadAt, Sink,
    SliceError, SliceFile, SliceOptions, SliceSet, SliceSink, WriteSink,
};
pub use limits::{LimitName, Limits, Raise};
pub use observe::{Event, LeftOut, Observer, Warning};
pub use pack::Details;
pub use path::{MemberName, MemberPath, SafePath};
pub use repair::{ListingState, RepairOptions, RepairReport, repair};
pub use scan::{Damage, Remark, TarReader};
pub use select::{Patterns, Selection};
pub use verify::{VerifyOptions, VerifyReport, verify, verify_sequential};
pub use writer::{ArchiveWriter, WriterOptions, Written};
