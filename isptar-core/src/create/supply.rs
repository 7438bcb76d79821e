//! Members from elsewhere, whose length is known only when all was read. A longer one is packed
//! chunk by chunk into a spool, and copied from there when its headers can say how long it is.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::batch::Job;
use super::drive::Driver;
use super::extras::{LAST_PART, Supply};
use super::file::provide;
use super::layout::Layout;
use super::store::Store;
use crate::codec::Method;
use crate::error::{Error, Result};
use crate::format::chunk_size;
use crate::format::entry::Kind;
use crate::format::member::MemberHeader;
use crate::observe::{Event, Observer};
use crate::pack::{Details, MemberDigest, MemberPacker};
use crate::path::MemberPath;

/// The most chunks of a member whose length was not known when the first was packed: its line in
/// the listing has room for some more.
const MOST_CHUNKS: u64 = 1 << 20;

/// A chunk of content, and memory for its stream.
#[derive(Debug)]
pub(super) struct Piece {
    /// The first `len` bytes are the chunk's.
    pub(super) data: Vec<u8>,
    len: usize,
    /// The length of the whole content, with its last chunk.
    last_of: Option<u64>,
    /// The headers of the member, with its first chunk.
    begins: Option<MemberHeader>,
    method: Method,
    pub(super) stream: Vec<u8>,
}

impl Piece {
    pub(super) fn pack(&mut self, packer: &mut MemberPacker) {
        self.stream.clear();
        packer.pack_chunk(&self.data[..self.len], self.last_of, self.method, &mut self.stream);
    }
}

/// Content that is read one chunk ahead, so that the last chunk is known as such.
struct Feed<'e> {
    content: Box<dyn Read + 'e>,
    /// The first `len` bytes are what was read ahead; none when there is no more.
    data: Vec<u8>,
    len: usize,
    ended: bool,
}

impl Feed<'_> {
    /// Reads ahead up to `most` bytes, fewer only at the end.
    fn fill(&mut self, most: u64) -> io::Result<()> {
        let most = usize::try_from(most.min(chunk_size(0))).unwrap_or(usize::MAX);
        provide(&mut self.data, most);
        self.len = 0;
        while self.len < most && !self.ended {
            match self.content.read(&mut self.data[self.len..most]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Layout> Driver<'_, '_, W> {
    /// Stores what a supply gives: as one member, or in parts. Returns the name of the last one.
    pub(super) fn supply(&mut self, index: usize) -> Result<MemberPath> {
        self.end_batch()?;
        self.end_run()?;
        let supply = &mut self.extras.supplies[index];
        let content = std::mem::replace(&mut supply.content, Box::new(io::empty()));
        let part_size = supply.part_size.map_or(u64::MAX, std::num::NonZero::get);
        let failed = |path: MemberPath| move |source| Error::Supply { path, source };
        let mut feed = Feed { content, data: Vec::new(), len: 0, ended: false };
        feed.fill(part_size).map_err(failed(supply.name.clone()))?;
        for part in 0..=LAST_PART {
            let supply = &self.extras.supplies[index];
            let (name, method) = (supply.name.clone(), self.items.method_of(&supply.name));
            let last = supply.name_of(part);
            let header = MemberHeader { path: last.clone(), ..header_of(supply) };
            self.part(&mut feed, part_size, header, method, failed(name))?;
            if feed.len == 0 {
                return Ok(last);
            }
        }
        let path = self.extras.supplies[index].name.clone();
        let most = u64::from(LAST_PART) + 1;
        let text = format!("it has more than {most} parts of {part_size} bytes");
        Err(Error::Supply { path, source: io::Error::other(text) })
    }

    /// Stores up to `size` bytes, of which the first chunk was read ahead, as a member.
    fn part(
        &mut self,
        feed: &mut Feed<'_>,
        size: u64,
        header: MemberHeader,
        method: Method,
        failed: impl FnOnce(io::Error) -> Error,
    ) -> Result<()> {
        let mut begins = Some(header);
        let mut total = 0;
        for number in 0..MOST_CHUNKS {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let next = self.large.pop().unwrap_or_default();
            let (data, len) = (std::mem::replace(&mut feed.data, next), feed.len);
            total += len as u64;
            let left = size - total;
            // What comes after the last byte of a part is the next part's.
            if let Err(source) = feed.fill(if left > 0 { left } else { size }) {
                return Err(failed(source));
            }
            let is_last = left == 0 || feed.len == 0;
            if let (true, 0, Some(header)) = (is_last, number, &begins) {
                self.settle_all()?;
                let stored = self.store.supplied(header, &data[..len], method, self.observer);
                self.large.push(data);
                return stored;
            }
            let weight = 2 * chunk_size(0);
            self.make_room(weight, 0)?;
            let stream = self.large.pop().unwrap_or_default();
            let last_of = is_last.then_some(total);
            let piece = Piece { data, len, last_of, begins: begins.take(), method, stream };
            self.push(Job::Piece(Box::new(piece)), weight, 0)?;
            if is_last {
                return Ok(());
            }
        }
        Err(failed(io::Error::other("it is longer than a TiB, and must be stored in parts")))
    }
}

/// Returns the headers of a supply that is not stored in parts, but for its size.
pub(super) fn header_of(supply: &Supply<'_>) -> MemberHeader {
    let (path, kind) = (supply.name.clone(), Kind::File { size: 0 });
    MemberHeader { path, kind, ..supply.header.clone() }
}

/// The packed chunks of a member, until its length is known.
pub(super) struct Spooled {
    header: MemberHeader,
    spool: File,
    /// The length of each stream.
    packed: Vec<usize>,
    size: u64,
    digest: MemberDigest,
}

impl Spooled {
    fn new(header: MemberHeader, directory: Option<&Path>) -> io::Result<Self> {
        let spool = match directory {
            Some(directory) => tempfile::tempfile_in(directory)?,
            None => tempfile::tempfile()?,
        };
        let digest = MemberDigest::new(&header);
        Ok(Self { header, spool, packed: Vec::new(), size: 0, digest })
    }

    fn add(&mut self, data: &[u8], stream: &[u8]) -> io::Result<()> {
        self.digest.update(data);
        self.size += data.len() as u64;
        self.packed.push(stream.len());
        self.spool.write_all(stream)
    }
}

impl<W: Layout> Store<W> {
    /// Stores a member of at most a chunk.
    fn supplied(
        &mut self,
        header: &MemberHeader,
        data: &[u8],
        method: Method,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let header =
            MemberHeader { kind: Kind::File { size: data.len() as u64 }, ..header.clone() };
        let path = header.path.clone();
        let mut stream = Vec::new();
        let packed = self.worker.whole(header, data, method, &mut stream);
        let entry = packed.map_err(|kind| Error::Unstorable { path, kind })?;
        let entry = self.writer.push(entry, &stream)?;
        observer.event(Event::Progress { bytes: data.len() as u64 });
        self.done(&entry, observer);
        Ok(())
    }

    /// Spools the next chunk; with the last one, the member is stored.
    pub(super) fn piece(&mut self, piece: &mut Piece, observer: &mut dyn Observer) -> Result<()> {
        let directory = self.spool.clone();
        let failed = |source| Error::Output { op: "spool a member of", path: directory, source };
        if let Some(header) = piece.begins.take() {
            match Spooled::new(header, self.spool.as_deref()) {
                Ok(spooled) => self.spooled = Some(spooled),
                Err(source) => return Err(failed(source)),
            }
        }
        let Some(spooled) = &mut self.spooled else { return Ok(()) };
        spooled.add(&piece.data[..piece.len], &piece.stream).map_err(failed)?;
        observer.event(Event::Progress { bytes: piece.len as u64 });
        match self.spooled.take_if(|_| piece.last_of.is_some()) {
            Some(spooled) => self.unspool(spooled, observer),
            None => Ok(()),
        }
    }

    /// Stores a member that is spooled as a whole.
    fn unspool(&mut self, spooled: Spooled, observer: &mut dyn Observer) -> Result<()> {
        let Spooled { mut header, mut spool, packed, size, digest } = spooled;
        header.kind = Kind::File { size };
        let mut member = self.writer.begin(&header, chunk_size(0))?;
        let op = "read the spooled member of";
        let failed = |source| Error::Output { op, path: self.spool.clone(), source };
        spool.rewind().map_err(&failed)?;
        let mut stream = Vec::new();
        for len in packed {
            stream.resize(len, 0);
            spool.read_exact(&mut stream).map_err(&failed)?;
            self.writer.append_packed_chunk(&mut member, &stream)?;
        }
        let entry = self.writer.end(member, digest, Details::default())?;
        self.done(&entry, observer);
        Ok(())
    }
}
