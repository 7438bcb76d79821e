//! What members are stored in: an archive of ours, or one in the original program's layout.

use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::member::MemberHeader;
use crate::format::tables::Base;
use crate::io::Sink;
use crate::limits::Limits;
use crate::pack::{Details, MemberDigest};
use crate::path::MemberName;
use crate::run::Run;
use crate::writer::{ArchiveWriter, ClassicWriter, OpenMember, Written};

/// An archive that is being written. Members come packed as its layout has them: see
/// [`super::batch::Worker`].
pub(crate) trait Layout {
    /// A member of several chunks that is being written.
    type Open;

    /// Leaves it to the caller to pack the blocks of the listing: see [`Self::full_block`].
    fn defer_blocks(&mut self);

    /// Returns the text of a block of the listing that is to be packed.
    fn full_block(&mut self) -> Option<Vec<u8>>;

    /// Takes a packed block of the listing.
    fn put_block(&mut self, stream: &[u8]) -> Result<()>;

    /// Returns whether a name is one that every reader takes.
    fn takes(&self, path: &MemberName<'_>) -> bool;

    /// Returns whether entries that refer to a base become members here.
    fn carries(&self) -> bool {
        false
    }

    /// Appends a member that was packed as one stream.
    fn push(&mut self, entry: Entry, stream: &[u8]) -> Result<Entry>;

    /// Records an entry that has no bytes here, or whose streams were put out before, if the
    /// listing can say that.
    fn put_entry(&mut self, entry: &Entry) -> Result<()>;

    /// Says which bases the entries of other depths refer to.
    ///
    /// # Errors
    ///
    /// [`Error::LongChain`] for more than readers take.
    fn set_bases(&mut self, bases: Vec<Base>) -> Result<()>;

    /// Records entries that have no bytes here, and whose names every reader takes.
    fn put_run(&mut self, run: &Run) -> Result<()>;

    /// Begins a member of several chunks, which have that size but for the last.
    fn begin(&mut self, header: &MemberHeader, chunk: u64) -> Result<Self::Open>;

    /// Appends the next chunk of a member, in its packed form.
    fn append_packed_chunk(&mut self, member: &mut Self::Open, stream: &[u8]) -> Result<()>;

    /// Ends a member of several chunks; the digest is that of all its data.
    fn end(&mut self, member: Self::Open, digest: MemberDigest, details: Details) -> Result<Entry>;

    /// Says that something which should be in the archive is not, if the archive can say that.
    fn set_incomplete(&mut self);

    /// Completes the archive.
    fn finish(self) -> Result<Written>;
}

impl<S: Sink> Layout for ArchiveWriter<S> {
    type Open = OpenMember;

    fn defer_blocks(&mut self) {
        self.defer_blocks();
    }

    fn full_block(&mut self) -> Option<Vec<u8>> {
        self.full_block()
    }

    fn put_block(&mut self, stream: &[u8]) -> Result<()> {
        self.put_block(stream)
    }

    fn takes(&self, path: &MemberName<'_>) -> bool {
        self.takes(path)
    }

    fn push(&mut self, entry: Entry, stream: &[u8]) -> Result<Entry> {
        self.push(entry, stream)
    }

    fn put_entry(&mut self, entry: &Entry) -> Result<()> {
        self.put_entry(entry)
    }

    fn set_bases(&mut self, bases: Vec<Base>) -> Result<()> {
        let (count, limit) = (bases.len() as u64, Limits::default().bases);
        if count > limit {
            return Err(Error::LongChain { count, limit });
        }
        self.set_bases(bases);
        Ok(())
    }

    fn put_run(&mut self, run: &Run) -> Result<()> {
        self.put_run(run)
    }

    fn begin(&mut self, header: &MemberHeader, chunk: u64) -> Result<OpenMember> {
        self.begin(header, chunk)
    }

    fn append_packed_chunk(&mut self, member: &mut OpenMember, stream: &[u8]) -> Result<()> {
        self.append_packed_chunk(member, stream)
    }

    fn end(&mut self, member: OpenMember, digest: MemberDigest, details: Details) -> Result<Entry> {
        self.end(member, digest, details)
    }

    fn set_incomplete(&mut self) {
        self.set_incomplete();
    }

    fn finish(self) -> Result<Written> {
        self.finish().map(|(_, written)| written)
    }
}

/// What could not be stored, or is incomplete, has no place in a classic listing. None is made on a
/// base.
impl<S: Sink> Layout for ClassicWriter<S> {
    type Open = Entry;

    fn defer_blocks(&mut self) {
        self.defer_pieces();
    }

    fn full_block(&mut self) -> Option<Vec<u8>> {
        self.full_piece()
    }

    fn put_block(&mut self, stream: &[u8]) -> Result<()> {
        self.put_piece(stream)
    }

    fn takes(&self, path: &MemberName<'_>) -> bool {
        self.takes(path)
    }

    fn push(&mut self, entry: Entry, stream: &[u8]) -> Result<Entry> {
        self.push(&entry, stream)
    }

    fn put_entry(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn set_bases(&mut self, _: Vec<Base>) -> Result<()> {
        Ok(())
    }

    fn put_run(&mut self, _: &Run) -> Result<()> {
        Ok(())
    }

    fn begin(&mut self, header: &MemberHeader, _: u64) -> Result<Entry> {
        self.begin(header)
    }

    fn append_packed_chunk(&mut self, _: &mut Entry, stream: &[u8]) -> Result<()> {
        self.append(stream)
    }

    fn end(&mut self, member: Entry, _: MemberDigest, _: Details) -> Result<Entry> {
        Ok(member)
    }

    fn set_incomplete(&mut self) {}

    fn finish(self) -> Result<Written> {
        self.finish().map(|(_, written)| written)
    }
}
