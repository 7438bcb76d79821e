//! Keeping the listing of an archive in a second place while the archive is written.

use super::{FinishedSlice, OwnNames, Sink};
use crate::error::Result;

/// Writes an archive to one sink, and its listing alone to another as well, which is published
/// after the archive.
#[derive(Debug)]
pub struct ListingSink<A, L> {
    archive: A,
    listing: L,
    has_begun: bool,
    /// Bytes of the listing so far.
    len: u64,
}

impl<A: Sink, L: Sink> ListingSink<A, L> {
    /// Writes the archive to `archive`, and the listing to `listing` too.
    pub fn new(archive: A, listing: L) -> Self {
        Self { archive, listing, has_begun: false, len: 0 }
    }
}

impl<A: Sink, L: Sink> Sink for ListingSink<A, L> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.has_begun {
            self.listing.write(bytes)?;
            self.len += bytes.len() as u64;
        }
        self.archive.write(bytes)
    }

    fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()> {
        self.archive.finish_slice(slice)
    }

    fn begin_listing(&mut self) -> Result<()> {
        self.has_begun = true;
        self.archive.begin_listing()
    }

    fn slice_size(&self) -> Option<u64> {
        self.archive.slice_size()
    }

    fn publish(&mut self, identity: &[u8; 32]) -> Result<()> {
        // Before the archive has its name: a full disk must not leave it without its listing.
        self.listing.finish_slice(&FinishedSlice::only(self.len))?;
        self.archive.publish(identity)?;
        self.listing.publish(identity)
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        let mut files = self.archive.own_files();
        files.extend(self.listing.own_files());
        files
    }

    fn own_names(&self) -> Vec<OwnNames> {
        let mut names = self.archive.own_names();
        names.extend(self.listing.own_names());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;
    use crate::format::entry::Kind;
    use crate::format::member::MemberHeader;
    use crate::io::WriteSink;
    use crate::pack::Details;
    use crate::writer::{ArchiveWriter, WriterOptions};

    #[test]
    fn the_listing_is_the_end_of_the_archive() {
        let (mut archive, mut listing) = (Vec::new(), Vec::new());
        let sinks = ListingSink::new(WriteSink::new(&mut archive), WriteSink::new(&mut listing));
        let mut writer = ArchiveWriter::new(sinks, &WriterOptions::default()).unwrap();
        let header = MemberHeader::new("a", Kind::File { size: 3 });
        writer.append(&header, Details::default(), &b"abc"[..]).unwrap();
        writer.finish().unwrap();
        assert!(archive.ends_with(&listing));
        let [archive, listing] = [&archive, &listing].map(|bytes| Archive::open(bytes).unwrap());
        assert!(listing.is_listing() && !archive.is_listing());
        assert_eq!(listing.identity().unwrap(), archive.identity().unwrap());
        let mut isolated = Vec::new();
        archive.isolate(&mut WriteSink::new(&mut isolated)).unwrap();
        assert!(Archive::open(&isolated).unwrap().is_listing());
    }
}
