//! Archives in memory, and readers of them that count, stutter or know nothing of isptar.

use std::io::{self, Read};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use isptar_core::archive::BlockEntries;
use isptar_core::{
    Archive, ArchiveWriter, Content, Details, Entry, EntryRef, Error, Kind, MemberHeader, ReadAt,
    Result, TarReader, Timestamp, WriteSink, WriterOptions, Written,
};

/// A member to be written: its headers, what is recorded beside them, and its data.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) header: MemberHeader,
    pub(crate) details: Details,
    pub(crate) data: Vec<u8>,
}

impl Item {
    pub(crate) fn new(header: MemberHeader) -> Self {
        Self { header, details: Details::default(), data: Vec::new() }
    }
}

/// A file with time and content.
pub(crate) fn file(path: &str, data: &[u8]) -> Item {
    let mut header = MemberHeader::new(path, Kind::File { size: data.len() as u64 });
    header.mtime = Timestamp::new(1_700_000_000, 0);
    Item { data: data.to_vec(), ..Item::new(header) }
}

/// Anything without content.
pub(crate) fn other(path: &str, kind: Kind) -> Item {
    let mut header = MemberHeader::new(path, kind);
    header.mtime = Timestamp::new(1_600_000_000, 0);
    Item::new(header)
}

pub(crate) fn dir(path: &str) -> Item {
    other(path, Kind::Directory)
}

pub(crate) fn link(path: &str, target: &str) -> Item {
    other(path, Kind::Symlink { target: target.into() })
}

/// Options of a level.
pub(crate) fn level(level: u8) -> WriterOptions {
    let mut options = WriterOptions::default();
    options.level = level;
    options
}

/// Begins an archive in memory.
pub(crate) fn writer(bytes: &mut Vec<u8>, level_of: u8) -> ArchiveWriter<WriteSink<&mut Vec<u8>>> {
    ArchiveWriter::new(WriteSink::new(bytes), &level(level_of)).unwrap()
}

/// Writes an archive.
pub(crate) fn build_with(items: &[Item], options: &WriterOptions) -> (Vec<u8>, Written) {
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), options).unwrap();
    for item in items {
        writer.append(&item.header, item.details, item.data.as_slice()).unwrap();
    }
    let (_, written) = writer.finish().unwrap();
    assert_eq!(written.archive_size, bytes.len() as u64);
    (bytes, written)
}

pub(crate) fn build(items: &[Item], level_of: u8) -> Vec<u8> {
    build_with(items, &level(level_of)).0
}

/// Returns all entries, which must be readable.
pub(crate) fn entries<R: ReadAt>(archive: &Archive<R>) -> Vec<Entry> {
    archive.entries().collect::<Result<_>>().unwrap()
}

/// Returns what the listing gives, up to the error that ends it; it must be the same entry by entry
/// and block by block, on any number of threads.
pub(crate) fn listed<R: ReadAt>(archive: &Archive<R>) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for entry in archive.entries() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error.to_string()),
        }
    }
    for threads in [1, 2, 7] {
        let mut mapped = (Vec::new(), Vec::new());
        let own = |entries: &mut BlockEntries<'_, R>| {
            entries.map(|entry| entry.map(EntryRef::into_owned)).collect::<Vec<_>>()
        };
        let each = |block: Vec<Result<Entry>>| {
            for entry in block {
                match entry {
                    Ok(entry) => mapped.0.push(entry),
                    Err(error) => mapped.1.push(error.to_string()),
                }
            }
            Ok::<_, Error>(())
        };
        let ended = archive.map_blocks(None, NonZero::new(threads), own, each);
        mapped.1.extend(ended.err().map(|error| error.to_string()));
        assert!(mapped.0 == entries, "other entries on {threads} threads");
        assert_eq!(mapped.1, errors, "{threads} threads");
    }
    (entries, errors)
}

/// Returns the content of an entry; nothing of what has none.
pub(crate) fn read<R: ReadAt>(archive: &Archive<R>, entry: &Entry) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match archive.copy_range(entry, 0, u64::MAX, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(Error::NotAFile { .. }) => archive.member(entry).map(|_| bytes),
        Err(error) => Err(error),
    }
}

/// A member as the sequential reader gives it out.
pub(crate) type Seen = (MemberHeader, Vec<u8>);

/// What reading from front to back gave before it ended, and how it ended: whether the end of the
/// tar was missing.
pub(crate) fn scan(input: impl Read) -> (Vec<Seen>, Result<bool>) {
    let mut seen = Vec::new();
    let ended = scan_into(input, &mut seen);
    (seen, ended)
}

fn scan_into(input: impl Read, seen: &mut Vec<Seen>) -> Result<bool> {
    let mut tar = TarReader::new(input, isptar_core::Limits::default())?;
    while let Some(mut member) = tar.next()? {
        let mut data = Vec::new();
        // Of sizes that are a mere claim, holes are not filled.
        let is_small = member.size() < 64 << 20;
        while let Some(piece) = member.next_piece()? {
            if is_small {
                data.resize(usize::try_from(piece.offset).unwrap(), 0);
            }
            data.extend_from_slice(piece.bytes);
        }
        if is_small {
            data.resize(usize::try_from(member.size()).unwrap(), 0);
        }
        seen.push((member.header().clone(), data));
    }
    Ok(tar.end_missing())
}

/// Memory that counts how it is read.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    bytes: Vec<u8>,
    reads: AtomicU64,
    read: AtomicU64,
}

impl Counting {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Returns the number of reads and of bytes read.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed))
    }
}

impl ReadAt for Counting {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.bytes.read_at(buf, offset)?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }
}

/// Memory that gives out one to seven bytes at a time, and is interrupted at every third try.
#[derive(Debug)]
pub(crate) struct Stuttering {
    bytes: Vec<u8>,
    tries: AtomicU64,
}

impl Stuttering {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, tries: AtomicU64::new(0) }
    }

    fn next(&self, wanted: usize) -> io::Result<usize> {
        let tries = self.tries.fetch_add(1, Ordering::Relaxed);
        if tries % 3 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(wanted.min(1 + usize::try_from(tries % 7).unwrap()))
    }
}

impl ReadAt for Stuttering {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = self.next(buf.len())?;
        self.bytes.read_at(&mut buf[..len], offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }
}

/// [`Stuttering`] from front to back.
pub(crate) struct StutteringReader(pub(crate) Stuttering, pub(crate) u64);

impl Read for StutteringReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buf, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// A member as plain tar sees it: name, type, link target, data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) name: Vec<u8>,
    pub(crate) typeflag: u8,
    pub(crate) target: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// Decompresses all streams and walks the tar with no code of ours.
pub(crate) fn plain_tar(archive: &[u8]) -> Vec<Plain> {
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(archive).read_to_end(&mut tar).unwrap();
    let text = |field: &[u8]| {
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        field[..end].to_vec()
    };
    let (mut members, mut at) = (Vec::new(), 0);
    let (mut long_name, mut long_target) = (None, None);
    while tar[at] != 0 {
        let header = &tar[at..at + 512];
        let size = std::str::from_utf8(&header[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let data = tar[at + 512..at + 512 + size].to_vec();
        at += 512 + size.next_multiple_of(512);
        let mut name = text(&header[..100]);
        if header[345] != 0 {
            name = [text(&header[345..500]), name].join(&b'/');
        }
        match header[156] {
            b'L' => long_name = Some(text(&data)),
            b'K' => long_target = Some(text(&data)),
            b'x' | b'g' => {}
            typeflag => members.push(Plain {
                name: long_name.take().unwrap_or(name),
                typeflag,
                target: long_target.take().unwrap_or_else(|| text(&header[157..257])),
                data,
            }),
        }
    }
    assert!(tar[at..].iter().all(|&byte| byte == 0) && tar.len() == at + 1024);
    members
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// One member of every kind, with everything that headers can say, in order of names.
pub(crate) fn every_kind() -> Vec<Item> {
    let mut items = vec![
        dir("."),
        other("block", Kind::BlockDevice { major: 8, minor: 1 }),
        other("char", Kind::CharDevice { major: 4_000_000, minor: u32::MAX }),
        dir("dir"),
        file("dir/empty", b""),
        other("dir/fifo", Kind::Fifo),
        file("dir/file", b"content of the file\n"),
        other("dir/hard", Kind::HardLink { target: "dir/file".into() }),
        link("dir/link", "../dir/file"),
        file("dir.d", b"sorts after what is in dir"),
        file("new\nline\ttab\\backslash", b"escaped"),
        file(&format!("{}x", "long/".repeat(30)), b"split"),
        link("target", &"up/".repeat(50)),
        file(&format!("w{}", "e".repeat(200)), b"unsplittable"),
    ];
    let odd = items.iter_mut().find(|item| item.header.path.as_bytes() == b"dir/file").unwrap();
    odd.header.mode = 0o4751;
    odd.header.uid = 3_000_000;
    odd.header.gid = 1 << 40;
    odd.header.user = b"someone".to_vec();
    odd.header.group = "grüppe mit # und\ttab".into();
    odd.header.mtime = Timestamp::new(-2, 750_000_000);
    odd.header.xattrs.attributes.insert(b"user.a=b%c".to_vec(), b"\0bin\n\xff".to_vec());
    odd.header.xattrs.acl_access =
        Some(b"user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::--x".to_vec());
    odd.header.xattrs.label = Some(b"system_u:object_r:etc_t:s0".to_vec());
    odd.details.ino = Some(42);
    odd.details.ctime = Some(Timestamp::new(1_700_000_001, 5));
    let bytes = items.iter_mut().find(|item| item.header.path.as_bytes() == b"dir.d").unwrap();
    bytes.header.path = b"dir.\xff\xfe".as_slice().into();
    bytes.header.mtime = Timestamp::new(1_700_000_000, 123_456_789);
    items.sort_by(|a, b| a.header.path.cmp(&b.header.path));
    items
}

/// Returns a path in the repository's test archives.
pub(crate) fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata")).join(name)
}

/// Returns whether generated files are to be written instead of compared.
pub(crate) fn is_blessing() -> bool {
    std::env::var_os("ISPTAR_BLESS").is_some()
}
