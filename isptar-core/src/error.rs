//! What can go wrong, with the place and both sides of each disagreement.

mod format;
mod problem;

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::io::SliceError;
use crate::limits::{LimitName, Raise};
use crate::path::{MemberPath, PathReason};
use crate::remote::RemoteError;

pub use format::FormatError;
pub use problem::{BaseProblem, PartProblem};

/// The result of isptar's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a whole operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes at `offset` of the archive are damaged.
    #[error("corrupt archive at offset {offset}: {kind}")]
    Corrupt {
        /// Offset in the archive (all slices together).
        offset: u64,
        /// What is wrong there.
        kind: FormatError,
    },
    /// A tar that is read from front to back is damaged.
    #[error("corrupt tar at byte {position} of its uncompressed form: {kind}")]
    CorruptTar {
        /// Where in the decompressed tar.
        position: u64,
        /// What is wrong there.
        kind: FormatError,
    },
    /// A gzip stream of a tar that is read from front to back is damaged, and which members that
    /// concerns is not known.
    #[error(
        "corrupt gzip stream at {}, what was read from it may be damaged: {kind}",
        shown(range)
    )]
    CorruptStream {
        /// The bytes of the input that the stream is, as far as it was read.
        range: Range<u64>,
        /// What is wrong with it.
        kind: FormatError,
    },
    /// A line of an archive in the original program's layout cannot be read; the others can.
    #[error("line {line} of the listing: {kind}")]
    CorruptLine {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        kind: FormatError,
    },
    /// A member is damaged, or its tar header and its entry disagree.
    #[error("corrupt member {path} at {}: {kind}", shown(range))]
    CorruptMember {
        /// The member's name in the listing.
        path: MemberPath,
        /// The bytes of the archive that the member's streams are; empty, at their beginning, when
        /// their end is not known.
        range: Range<u64>,
        /// What is wrong there.
        kind: FormatError,
    },
    /// A member that no entry of the listing speaks of: plain tar would restore it.
    #[error("a member without entry: {path}")]
    Unlisted {
        /// The name in its tar header.
        path: MemberPath,
    },
    /// The input is not an isptar archive; it may still be a tar archive of another program.
    #[error("not an isptar archive: {0}")]
    NotIsptar(FormatError),
    /// The input is no tar archive at all: what should be its first header is none.
    #[error("not a tar archive: {0}")]
    NotTar(FormatError),
    /// The archive is valid, but newer than this program.
    #[error("unsupported archive: {what} is {value}, this version understands {understood}")]
    Unsupported {
        /// What is newer.
        what: &'static str,
        /// Its value in the archive.
        value: String,
        /// What this version understands.
        understood: &'static str,
    },
    /// A number claimed by the input is above its limit.
    #[error("{what} is {actual}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit in force, see [`crate::Limits`].
        limit: u64,
        /// The claimed value.
        actual: u64,
        /// What would let it pass; none when the format itself sets the limit.
        raise: Option<Raise>,
    },
    /// The archive has no such member.
    #[error("no member named {0}")]
    NotFound(MemberPath),
    /// What was to be compared is neither in the archive nor in what stands for it.
    #[error("{0} is on neither side")]
    OnNeitherSide(MemberPath),
    /// The member is of a kind that the operation cannot work on.
    #[error("{path} is {kind}, not a file")]
    NotAFile {
        /// The member's name.
        path: MemberPath,
        /// The kind of member it is, such as "a directory".
        kind: &'static str,
    },
    /// The member was known when the archive was made, but its contents were not stored.
    #[error("{path} is not in this archive: it was {reason} when the archive was made")]
    Lost {
        /// The member's name.
        path: MemberPath,
        /// Why: "unreadable" or "vanished".
        reason: String,
    },
    /// A base of this incremental archive, which members' bytes are in, cannot be read.
    #[error("base {name} with the identity {identity}")]
    NoBase {
        /// The base's file name, escaped for display.
        name: String,
        /// The identity that it must have, as the tables have it.
        identity: String,
        /// Why it cannot be read.
        #[source]
        problem: BaseProblem,
    },
    /// A member's bytes are in a base of a classic archive, which does not say what its bases are.
    #[error(
        "its bytes are in base {depth}, and archives of the original isptar do not name their bases"
    )]
    UnnamedBase {
        /// How many archives back.
        depth: u32,
    },
    /// Something is wrong with a member whose bytes are in a base.
    #[error("in base {base}")]
    InBase {
        /// The base's file name, escaped for display.
        base: String,
        /// What is wrong; its offsets are those of the base.
        #[source]
        error: Box<Self>,
    },
    /// Something is wrong with an archive that was to be a part of another.
    #[error("in part {name}")]
    InPart {
        /// The part's name, escaped for display.
        name: String,
        /// What is wrong; its offsets are those of the part's archive.
        #[source]
        error: Box<Self>,
    },
    /// The listing of an archive alone has no members.
    #[error("this is the listing of an archive alone, without the members' bytes")]
    ListingAlone,
    /// The base of an incremental archive cannot be used.
    #[error("cannot use the base {name}")]
    BadBase {
        /// Its file name, with everything escaped that could confuse a terminal.
        name: String,
        /// What is wrong with it.
        #[source]
        error: Box<Self>,
    },
    /// The chain that an incremental archive would be the newest of is too long.
    #[error(
        "the new archive would have {count} bases, and readers take {limit}: merge the chain, or \
         make a full archive"
    )]
    LongChain {
        /// How many bases it would have.
        count: u64,
        /// How many [`crate::Limits`] allow.
        limit: u64,
    },
    /// The name under which an incremental archive would look for its base.
    #[error("a base cannot be named {name}: it must be one path component")]
    BaseName {
        /// The name that was given, escaped.
        name: String,
    },
    /// Archives in the original program's layout are made in full alone.
    #[error("an archive in the original program's layout cannot be made on a base")]
    ClassicOnBase,
    /// A member's name would lead outside the target.
    #[error("unsafe member path {path}: {reason}")]
    UnsafePath {
        /// The name as it stands in the archive.
        path: MemberPath,
        /// Why it is refused.
        reason: PathReason,
    },
    /// Something in the target stands where a member should go.
    #[error("cannot restore {path}: {reason}")]
    InTheWay {
        /// The member's name.
        path: MemberPath,
        /// What stands in the way, such as "a symbolic link is in the way at a/b".
        reason: String,
    },
    /// A path to archive that cannot be used.
    #[error("cannot archive {}: {reason}", path.display())]
    BadSource {
        /// The path as it was given.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// The system's limit of open files is too low for the members of a group to be collected.
    #[error("groups need {more} more open files than the limit allows")]
    TooFewHandles {
        /// By how much the limit must be raised at least.
        more: u64,
    },
    /// There was nothing to archive, or nothing of it could be read.
    #[error("nothing was stored, so no archive was made")]
    NothingStored,
    /// An archive or tar of another program: only archives of ours have streams to salvage.
    #[error("not an isptar archive of format 2 but {what}")]
    Foreign {
        /// What it is, such as "a tar of another program".
        what: &'static str,
    },
    /// An archive in which no whole member was found.
    #[error("no whole member was found in {size} bytes, so no archive was made")]
    NothingWhole {
        /// Bytes that were searched.
        size: u64,
    },
    /// An archive that is to be merged with another is none of its bases.
    #[error(
        "the archive with the identity {actual} is no base of the one with the identity {newest}, \
         which has {bases}"
    )]
    NotABase {
        /// The identity of the newest archive.
        newest: String,
        /// The identity of the one that is none of its bases.
        actual: String,
        /// How many bases the newest has.
        bases: usize,
    },
    /// Members can be added only where all are in the order of names.
    #[error("the members of this archive are not in the order of names, so none can be added")]
    Unordered,
    /// The archive was not made by merging several.
    #[error("the archive has no parts")]
    NoParts,
    /// The archive has no part of this name.
    #[error("no part named {name}")]
    NoPart {
        /// The name, escaped for display.
        name: String,
    },
    /// A part of a merged archive cannot be what it should be.
    #[error("part {name}: {problem}")]
    Part {
        /// The part's name, escaped for display.
        name: String,
        /// What is wrong.
        problem: PartProblem,
    },
    /// An archive of ours is not converted.
    #[error("the input is an isptar archive already")]
    AlreadyIsptar,
    /// A pattern that does not parse.
    #[error("bad pattern {pattern}: {reason}")]
    BadPattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A member cannot be written, because the format has no room for it.
    #[error("cannot store {path}: {kind}")]
    Unstorable {
        /// The member's name.
        path: MemberPath,
        /// The limit that it breaks.
        kind: FormatError,
    },
    /// Members must come in name order, each name once.
    #[error("{next} cannot follow {previous}: members must come in name order")]
    OutOfOrder {
        /// The member written last.
        previous: MemberPath,
        /// The member that was refused.
        next: MemberPath,
    },
    /// Another process is writing the same archive.
    #[error("another isptar is writing {}", path.display())]
    Busy {
        /// The temporary file that the other process holds locked.
        path: PathBuf,
    },
    /// The archive could not be written.
    #[error("cannot {op} the archive{}", at(path.as_ref()))]
    Output {
        /// What was tried: "create", "write", "sync", "rename" and the like.
        op: &'static str,
        /// The file, when it has a name.
        path: Option<PathBuf>,
        /// The system's answer.
        source: io::Error,
    },
    /// The archive could not be read.
    #[error("cannot read the archive at offset {offset}")]
    Input {
        /// Where the read began.
        offset: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// A slice of the archive is missing or wrong.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A file or directory could not be worked on.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried, such as "open" or "set the owner of".
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Content for a member could not be read.
    #[error("cannot read the content of {path}")]
    Content {
        /// The member's name.
        path: MemberPath,
        /// The reader's answer.
        source: io::Error,
    },
    /// Content could not be handed to the caller's writer.
    #[error("cannot write the content of {path}")]
    Deliver {
        /// The member's name.
        path: MemberPath,
        /// The writer's answer.
        source: io::Error,
    },
    /// A program that the caller was to run failed.
    #[error("the program {purpose} failed")]
    Hook {
        /// What it was run for, such as "for slice 3" or "before the files under db".
        purpose: String,
        /// Which command it was, and how it ended.
        source: io::Error,
    },
    /// The connection to another isptar, or that one, failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What was to give the content of a member failed.
    #[error("cannot get the content of {path}")]
    Supply {
        /// The member's name.
        path: MemberPath,
        /// The answer of the reader.
        source: io::Error,
    },
    /// What is not listed cannot be deleted.
    #[error("cannot delete what the archive does not list: {0}")]
    NoDelete(&'static str),
    /// The caller asked to stop, see [`crate::Observer::cancelled`].
    #[error("interrupted")]
    Cancelled,
}

fn at(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(" {}", path.display())).unwrap_or_default()
}

/// Returns a range of bytes for messages; its end is the first byte after it.
fn shown(range: &Range<u64>) -> String {
    if range.is_empty() {
        return format!("offset {}", range.start);
    }
    format!("bytes {}..{}", range.start, range.end)
}

impl Error {
    /// Returns whether the error is one of the bytes of a tar that is read from front to back,
    /// behind which more members may be read.
    pub fn is_damage(&self) -> bool {
        matches!(
            self.unplaced(),
            Self::CorruptTar { .. }
                | Self::CorruptStream { .. }
                | Self::CorruptMember { .. }
                | Self::Limit { .. }
                | Self::Unsupported { .. }
        )
    }

    /// Returns the member that the message names, if it names one.
    pub fn member(&self) -> Option<&MemberPath> {
        match self {
            Self::CorruptMember { path, .. }
            | Self::Unlisted { path }
            | Self::NotFound(path)
            | Self::OnNeitherSide(path)
            | Self::NotAFile { path, .. }
            | Self::Lost { path, .. }
            | Self::UnsafePath { path, .. }
            | Self::InTheWay { path, .. }
            | Self::Unstorable { path, .. }
            | Self::OutOfOrder { next: path, .. }
            | Self::Content { path, .. }
            | Self::Supply { path, .. }
            | Self::Deliver { path, .. } => Some(path),
            Self::InBase { error, .. } | Self::InPart { error, .. } => error.member(),
            _ => None,
        }
    }

    /// A failure to read the archive at `offset`.
    pub(crate) fn input(offset: u64, source: io::Error) -> Self {
        match source.downcast() {
            Ok(slice) => Self::Slice(slice),
            Err(source) => Self::Input { offset, source },
        }
    }

    /// Returns what is wrong, without the base or part that it is in.
    pub fn unplaced(&self) -> &Self {
        match self {
            Self::InBase { error, .. } | Self::InPart { error, .. } => error.unplaced(),
            error => error,
        }
    }

    /// Returns a function that names the failed operation and file of an I/O error.
    pub(crate) fn io<E: Into<io::Error>>(
        op: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { op, path: path.into(), source: source.into() }
    }
}

impl Error {
    /// Returns the limit that stopped the operation, and a value of it that would not.
    pub fn raise(&self) -> Option<Raise> {
        match self.unplaced() {
            Self::Limit { raise, .. } => *raise,
            Self::UnsafePath { reason: PathReason::TooLong(actual, _), .. } => {
                LimitName::Path.to(*actual)
            }
            Self::UnsafePath { reason: PathReason::TooDeep(actual, _), .. } => {
                LimitName::Components.to(*actual)
            }
            Self::Corrupt { kind, .. }
            | Self::CorruptTar { kind, .. }
            | Self::CorruptMember { kind, .. } => match kind {
                FormatError::Limit { raise, .. } => *raise,
                _ => None,
            },
            _ => None,
        }
    }
}
