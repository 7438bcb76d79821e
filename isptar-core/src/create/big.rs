//! Files of several chunks: each chunk is a job.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::Stat;

use super::file::{Opened, has_changed, provide};
use super::holes;
use super::item::Item;
use crate::codec::Method;
use crate::error::{Error, FormatError};
use crate::format::chunk_size;
use crate::format::member::MemberHeader;
use crate::format::sparse::Segment;
use crate::limits::Limits;
use crate::observe::Warning;
use crate::pack::{Details, MemberDigest, MemberPacker, leave_out_largest};
use crate::source::read_full;

/// A file of several chunks that is being read. Its header says how much there will be: what is
/// missing is filled with zeros, what is more is cut.
#[derive(Debug)]
pub(crate) struct BigFile {
    pub(crate) header: MemberHeader,
    pub(crate) warnings: Vec<Warning>,
    /// Whether it is what the walk found, or a file that took its name meanwhile.
    pub(crate) same: bool,
    pub(crate) source: Arc<Source>,
    details: Details,
}

/// What is read of a big file, on any thread.
#[derive(Debug)]
pub(crate) struct Source {
    file: std::fs::File,
    stat: Stat,
    /// Its segments, and where in the data each begins.
    segments: Vec<(u64, Segment)>,
    data_len: u64,
    chunk: u64,
    reproducible: bool,
    digest: Mutex<Digested>,
}

/// The digest of the first chunks, and how many they are.
#[derive(Debug)]
struct Digested {
    chunks: u64,
    digest: MemberDigest,
}

/// One chunk to read and pack, and memory to do it in.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) source: Arc<Source>,
    pub(crate) number: u64,
    pub(crate) method: Method,
    pub(crate) data: Vec<u8>,
    pub(crate) stream: Vec<u8>,
}

/// A chunk that was read and packed.
#[derive(Debug)]
pub(crate) struct PackedChunk {
    pub(crate) number: u64,
    /// The first `len` bytes are the chunk's.
    pub(crate) data: Vec<u8>,
    pub(crate) len: usize,
    pub(crate) stream: Vec<u8>,
    pub(crate) is_last: bool,
    pub(crate) seen: Seen,
}

/// What was seen when chunks were read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// There were fewer bytes than there should be.
    short: bool,
    /// There is a block of zeros.
    zeros: bool,
    /// Why bytes are missing, when the system said so.
    pub(crate) error: Option<io::Error>,
}

impl Seen {
    /// Adds what was seen in the next chunk.
    pub(crate) fn add(&mut self, next: Self) {
        self.short |= next.short;
        self.zeros |= next.zeros;
        self.error = self.error.take().or(next.error);
    }
}

impl BigFile {
    /// Prepares to read an opened file, whose headers are taken out of its item.
    pub(crate) fn new(item: &mut Item, opened: Opened) -> Self {
        let empty = MemberHeader::new(item.found.path.clone(), item.header.kind.clone());
        let mut header = std::mem::replace(&mut item.header, empty);
        let mut warnings = std::mem::take(&mut item.warnings);
        let mut headers = Vec::new();
        while let Err(kind @ FormatError::Limit { what: "PAX records", .. }) =
            header.encode(&Limits::default(), &mut headers)
        {
            headers.clear();
            if !leave_out_largest(&mut header.xattrs) {
                break;
            }
            warnings.push(Warning::XattrsLeftOut(kind));
        }
        let data_len = header.data_len();
        let whole = [Segment { offset: 0, len: header.kind.size() }];
        let segments = header.sparse.as_ref().map_or(whole.as_slice(), |map| map.segments());
        let segments = segments
            .iter()
            .scan(0, |at, &segment| {
                let start = *at;
                *at += segment.len;
                Some((start, segment))
            })
            .collect();
        let source = Source {
            file: opened.file,
            stat: opened.stat,
            segments,
            data_len,
            chunk: chunk_size(data_len),
            reproducible: item.reproducible && header.sparse.is_none(),
            digest: Mutex::new(Digested { chunks: 0, digest: MemberDigest::new(&header) }),
        };
        let (details, same) = (item.details, opened.same);
        Self { header, warnings, same, source: Arc::new(source), details }
    }

    /// Returns what the entry records, now that all was read.
    pub(crate) fn finish(&self, seen: &Seen) -> Details {
        let changed = has_changed(&self.source.file, &self.source.stat);
        let mut details = self.details;
        details.dirty = seen.short || seen.error.is_some() || changed;
        details.sparse |= seen.zeros;
        details
    }

    /// Returns why bytes are missing, if the system said so.
    pub(crate) fn error(&self, seen: &mut Seen) -> Option<Error> {
        let path = std::path::PathBuf::from(self.header.path.to_string());
        seen.error.take().map(|source| Error::Io { op: "read", path, source })
    }
}

impl Source {
    /// Returns how many chunks there are.
    pub(crate) fn chunks(&self) -> u64 {
        self.data_len.div_ceil(self.chunk)
    }

    /// Returns how many bytes each chunk but the last has.
    pub(crate) fn chunk_size(&self) -> u64 {
        self.chunk
    }

    /// Adds a chunk to the digest if it is the next one. Whoever has read it does so, in turn, while
    /// streams are written; who comes too early leaves it to the driver, who has them in order.
    pub(crate) fn digest(&self, number: u64, data: &[u8]) {
        let mut digested = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        if digested.chunks == number {
            digested.digest.update(data);
            digested.chunks += 1;
        }
    }

    /// Returns the digest of all chunks.
    pub(crate) fn whole_digest(&self) -> MemberDigest {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).digest.clone()
    }

    /// Returns how many bytes of memory a chunk needs, packed and unpacked.
    pub(crate) fn weight(&self) -> u64 {
        self.chunk.saturating_mul(2)
    }

    /// Reads bytes of the data, which has the segments one after the other. `at` is a multiple of
    /// 4 KiB, and so is the length, but at the end.
    pub(crate) fn read(&self, buf: &mut [u8], at: u64) -> Seen {
        let mut seen = self.read_segments(buf, at);
        seen.zeros = self.reproducible && holes::has_zero_block(buf);
        seen
    }

    fn read_segments(&self, buf: &mut [u8], mut at: u64) -> Seen {
        let mut seen = Seen::default();
        let mut index = self.segments.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let mut rest = buf;
        while let Some(&(start, segment)) = self.segments.get(index).filter(|_| !rest.is_empty()) {
            let within = at - start;
            let len = usize::try_from(segment.len - within).unwrap_or(usize::MAX).min(rest.len());
            let (part, tail) = rest.split_at_mut(len);
            self.read_part(part, segment.offset + within, &mut seen);
            at += len as u64;
            index += 1;
            rest = tail;
        }
        seen
    }

    fn read_part(&self, part: &mut [u8], offset: u64, seen: &mut Seen) {
        match read_full(&self.file, part, offset) {
            Ok(count) => {
                seen.short |= count < part.len();
                part[count..].fill(0);
            }
            // A bad sector costs the rest of a chunk, not the rest of the file.
            Err(source) => {
                part.fill(0);
                seen.error.get_or_insert(source);
            }
        }
    }
}

impl Chunk {
    /// Reads and packs it.
    pub(crate) fn pack(mut self, packer: &mut MemberPacker) -> PackedChunk {
        let Source { chunk, data_len, .. } = *self.source;
        let start = self.number * chunk;
        let len = usize::try_from(chunk.min(data_len - start)).unwrap_or(usize::MAX);
        provide(&mut self.data, len);
        let data = &mut self.data[..len];
        let seen = self.source.read(data, start);
        let is_last = start + len as u64 == data_len;
        self.stream.clear();
        let last_of = is_last.then_some(data_len);
        packer.pack_chunk(data, last_of, self.method, &mut self.stream);
        self.source.digest(self.number, data);
        PackedChunk {
            number: self.number,
            data: self.data,
            len,
            stream: self.stream,
            is_last,
            seen,
        }
    }
}
