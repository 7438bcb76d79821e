//! What threads do: members that came to streams.

use crate::codec::{self, Method};
use crate::create::CreateOptions;
use crate::error::{Error, Result};
use crate::format::entry::{Dialect, Entry};
use crate::format::member::MemberHeader;
use crate::limits::Limits;
use crate::pack::{Details, MemberPacker, into_entry};
use crate::remote::message::Member;
use crate::writer::{block_packer, listing_packer, pack_block};

/// A member that came, with all of its data.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) member: Member,
    pub(super) data: Vec<u8>,
    pub(super) method: Method,
}

impl Received {
    pub(super) fn new(member: Member, data: Vec<u8>) -> Self {
        Self { member, data, method: Method::default() }
    }

    /// Makes one of an entry that has no bytes here.
    pub(super) fn entry_alone(entry: Entry) -> Self {
        Self::new(Member { header: None, entry }, Vec::new())
    }

    /// Returns how many bytes of memory it takes.
    pub(super) fn weight(&self) -> u64 {
        self.data.len() as u64
    }
}

/// Work for any thread; what becomes of it depends on the job alone.
#[derive(Debug)]
pub(super) enum Job {
    /// Members that follow each other.
    Batch(Vec<Received>),
    /// A chunk of a big file, the length of whose data the last one has.
    Chunk { data: Vec<u8>, last_of: Option<u64>, method: Method },
    /// The text of a block of the listing.
    Block(Vec<u8>),
    /// What only waits for its turn.
    Turn(Turn),
}

/// What is done in order, between the streams.
#[derive(Debug)]
pub(super) enum Turn {
    /// A big file begins.
    Begin(Box<MemberHeader>),
    /// It ends.
    End(Details),
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Done {
    /// The entries of members, and their streams one after the other.
    Batch(Vec<Result<Entry>>, Vec<u8>),
    /// A chunk, and its stream.
    Chunk { data: Vec<u8>, stream: Vec<u8> },
    /// The stream of a block of the listing.
    Block(Vec<u8>),
    /// What waited.
    Turn(Turn),
}

/// One thread's packers.
#[derive(Debug)]
pub(super) struct Packer {
    packer: MemberPacker,
    listing: codec::Packer,
}

impl Packer {
    pub(super) fn new(options: &CreateOptions) -> Self {
        let (level, limits) = (options.level, Limits::default());
        let (packer, listing) = match options.dialect {
            Dialect::Isptar => (MemberPacker::new(level, limits), block_packer(level)),
            Dialect::Classic => (MemberPacker::classic(level, limits), listing_packer(level)),
        };
        Self { packer, listing }
    }

    pub(super) fn work(&mut self, job: Job) -> Done {
        let mut stream = Vec::new();
        match job {
            Job::Batch(members) => {
                let pack = |member| self.member(member, &mut stream);
                let entries = members.into_iter().map(pack).collect();
                Done::Batch(entries, stream)
            }
            Job::Chunk { data, last_of, method } => {
                self.packer.pack_chunk(&data, last_of, method, &mut stream);
                Done::Chunk { data, stream }
            }
            Job::Block(text) => {
                pack_block(&mut self.listing, &text, &mut stream);
                Done::Block(stream)
            }
            Job::Turn(turn) => Done::Turn(turn),
        }
    }

    /// Packs a member as a stream of its own. The entry of one that is lost has no bytes.
    fn member(&mut self, received: Received, stream: &mut Vec<u8>) -> Result<Entry> {
        let Received { member, data, method } = received;
        let details = member.details();
        let Member { header: Some(header), entry } = member else {
            return Ok(member.entry);
        };
        let unstorable = |kind| Error::Unstorable { path: header.path.clone(), kind };
        let digest = self.packer.add(&header, &data).map_err(unstorable)?;
        // Classic archives have headers elsewhere.
        let is_empty = self.packer.tar_len() == 0;
        let packed = if is_empty { 0 } else { self.packer.seal(method, stream) };
        let Entry { lost, mtime, .. } = entry;
        Ok(Entry { lost, mtime, digest, packed: Some(packed), ..into_entry(header, details) })
    }
}
