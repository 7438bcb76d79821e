//! What workers do: pack batches of small members, chunks of big files, blocks of the listing.

use super::CreateOptions;
use super::big::{Chunk, PackedChunk};
use super::file;
use super::item::{Item, Packed};
use super::same::{self, Test};
use super::supply::Piece;
use crate::codec::{Method, Packer};
use crate::error::{Error, FormatError};
use crate::format::chunk_size;
use crate::format::entry::{Dialect, Entry, Kind, Location};
use crate::format::member::MemberHeader;
use crate::limits::Limits;
use crate::observe::Warning;
use crate::pack::{Details, MemberPacker, into_entry, leave_out_largest};
use crate::path::MemberPath;
use crate::run::Run;
use crate::writer::{block_packer, listing_packer, pack_block};

/// Work for any thread. What becomes of it depends on the job alone.
#[derive(Debug)]
pub(super) enum Job {
    /// Small members that follow each other, and memory for their streams.
    Batch(Vec<Item>, Vec<u8>),
    /// A chunk of the file that was opened last.
    Chunk(Box<Chunk>),
    /// A chunk of content whose length is not known yet.
    Piece(Box<Piece>),
    /// The text of a block of the listing.
    Block(Vec<u8>),
    /// Entries without bytes.
    Run(Run),
    /// What is settled already, and only waits for its turn.
    Settled(Box<(Item, Packed)>),
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Done {
    /// Each item, and the streams of all.
    Batch(Vec<(Item, Packed)>, Vec<u8>),
    Chunk(Box<PackedChunk>),
    /// The same, with its stream.
    Piece(Box<Piece>),
    /// The stream of a block of the listing.
    Block(Vec<u8>),
    Run(Run),
    Settled(Box<(Item, Packed)>),
}

/// One thread's packers and memory.
#[derive(Debug)]
pub(super) struct Worker {
    packer: MemberPacker,
    listing: Packer,
    pub(super) data: Vec<u8>,
    /// Streams that are being made: with more room than they need at last.
    streams: Vec<u8>,
    /// Bytes of tar that members may have who share a stream; 0 when none do.
    group: usize,
}

impl Worker {
    pub(super) fn new(options: &CreateOptions) -> Self {
        let (level, limits) = (options.level, Limits::default());
        let (packer, listing) = match options.dialect {
            Dialect::Isptar => (MemberPacker::new(level, limits), block_packer(level)),
            Dialect::Classic => (MemberPacker::classic(level, limits), listing_packer(level)),
        };
        Self {
            packer,
            listing,
            data: Vec::new(),
            streams: Vec::new(),
            group: usize::try_from(options.group()).unwrap_or(0),
        }
    }

    pub(super) fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Batch(items, stream) => self.batch(items, stream),
            Job::Chunk(chunk) => Done::Chunk(Box::new(self.chunk(*chunk))),
            Job::Piece(mut piece) => {
                piece.pack(&mut self.packer);
                Done::Piece(piece)
            }
            Job::Block(text) => {
                let mut stream = Vec::new();
                pack_block(&mut self.listing, &text, &mut stream);
                Done::Block(stream)
            }
            Job::Run(run) => Done::Run(run),
            Job::Settled(settled) => Done::Settled(settled),
        }
    }

    /// Packs a member whose data is at hand as a stream, appended to `stream`.
    pub(super) fn whole(
        &mut self,
        header: MemberHeader,
        data: &[u8],
        method: Method,
        stream: &mut Vec<u8>,
    ) -> Result<Entry, FormatError> {
        let digest = self.packer.add(&header, data)?;
        let packed = Some(self.packer.seal(method, stream));
        Ok(Entry { packed, digest, ..into_entry(header, Details::default()) })
    }

    /// Reads and packs a chunk of a big file.
    pub(super) fn chunk(&mut self, chunk: Chunk) -> PackedChunk {
        chunk.pack(&mut self.packer)
    }

    /// Packs members: each as a stream of its own, or as many together as a group may have.
    fn batch(&mut self, items: Vec<Item>, mut stream: Vec<u8>) -> Done {
        self.streams.clear();
        let mut members: Vec<(Item, Packed)> = Vec::with_capacity(items.len());
        // The first member of the stream that is being made.
        let mut first = 0;
        for mut item in items {
            let before = self.packer.tar_len();
            let mut packed = self.add(&mut item);
            let mut zoffset = before;
            // Files can be larger than the walk found them; what has streams of its own stands
            // between those of its neighbours.
            let apart = self.packer.tar_len() > self.group || matches!(packed, Packed::Grown);
            if before > 0 && apart {
                self.seal(before, &mut members[first..]);
                (first, zoffset) = (members.len(), 0);
            }
            if let Packed::Whole { entry, .. } = &mut packed {
                let (depth, slice, zoffset) = (0, 1, zoffset as u64);
                entry.location = Some(Location { depth, slice, offset: 0, zoffset });
            }
            members.push((item, packed));
            let len = self.packer.tar_len();
            if len > self.group {
                self.seal(len, &mut members[first..]);
                first = members.len();
            }
        }
        self.seal(self.packer.tar_len(), &mut members[first..]);
        stream.clear();
        stream.reserve_exact(self.streams.len());
        stream.extend_from_slice(&self.streams);
        Done::Batch(members, stream)
    }

    /// Packs the first `len` bytes of the tar as the stream of these members.
    fn seal(&mut self, len: usize, members: &mut [(Item, Packed)]) {
        if len == 0 {
            return;
        }
        let start = self.streams.len() as u64;
        // What is stored is never with others.
        let method = members.first().map_or_else(Method::default, |(item, _)| item.method);
        let len = self.packer.seal_first(len, method, &mut self.streams);
        for (_, packed) in members {
            if let Packed::Whole { entry, .. } = packed {
                entry.packed = Some(len);
                if let Some(location) = &mut entry.location {
                    location.offset = start;
                }
            }
        }
    }

    /// Packs one member as a stream of its own, appended to `stream`.
    pub(super) fn alone(&mut self, item: &mut Item, stream: &mut Vec<u8>) -> Packed {
        let mut packed = self.add(item);
        let start = stream.len() as u64;
        let len = self.packer.seal(item.method, stream);
        if let Packed::Whole { entry, .. } = &mut packed {
            entry.packed = Some(len);
            entry.location = Some(Location { depth: 0, slice: 1, offset: start, zoffset: 0 });
        }
        packed
    }

    /// Reads a member and adds it to the tar of the stream that is being made.
    fn add(&mut self, item: &mut Item) -> Packed {
        if !item.has_content() {
            // The names of a hard link share what its first name has.
            if !matches!(item.header.kind, Kind::HardLink { .. } | Kind::Directory) {
                item.read_xattrs(None);
            }
            if same::has_same_xattrs(item) {
                return Packed::Unchanged;
            }
            return self.add_with(item, 0, true);
        }
        let opened = match file::open(item) {
            Ok(opened) => opened,
            Err(packed) => return packed,
        };
        let test = same::Test::begin(item, &opened);
        if test == Some(Test::Passed) {
            return Packed::Unchanged;
        }
        if item.header.data_len() > chunk_size(0) {
            return match test {
                Some(Test::Content) => same::big(item, &opened, &mut self.data),
                _ => Packed::Grown,
            };
        }
        let mut data = std::mem::take(&mut self.data);
        let read = file::read(item, &opened, &mut data);
        self.data = data;
        match read {
            Ok(len) if test.is_some() && same::small(item, &self.data[..len]) => Packed::Unchanged,
            Ok(len) => self.add_with(item, len, opened.same),
            Err(source) => item.failed("read", source),
        }
    }

    /// Adds a member with the first `len` bytes of the data; attributes that there is no room for
    /// are left out.
    fn add_with(&mut self, item: &mut Item, len: usize, same: bool) -> Packed {
        let data = &self.data[..len];
        let mut added = self.packer.add(&item.header, data);
        while let Err(kind @ FormatError::Limit { what: "PAX records", .. }) = added {
            if !leave_out_largest(&mut item.header.xattrs) {
                added = Err(kind);
                break;
            }
            item.warnings.push(Warning::XattrsLeftOut(kind));
            added = self.packer.add(&item.header, data);
        }
        let digest = match added {
            Ok(digest) => digest,
            Err(kind) => {
                return Packed::Failed(Error::Unstorable { path: item.header.path.clone(), kind });
            }
        };
        let none = MemberHeader::new(MemberPath::default(), Kind::Directory);
        let header = std::mem::replace(&mut item.header, none);
        if header.kind == Kind::Directory {
            item.header.xattrs.clone_from(&header.xattrs);
        }
        let mut entry = into_entry(header, item.details);
        entry.digest = digest;
        entry.lost = item.is_lost().then(|| "unreadable".into());
        Packed::Whole { entry: Box::new(entry), same }
    }
}
