//! What the benches work on: generated archives, trees and bytes, the same in every run.

use std::io;
use std::path::Path;

use isptar_core::{
    ArchiveWriter, Details, Kind, MemberHeader, MemberPath, Timestamp, WriteSink, WriterOptions,
};
use tempfile::TempDir;

/// Files in one directory of a generated archive.
pub const FILES_PER_DIRECTORY: u64 = 1000;

/// A generator of numbers that look random: splitmix64.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Makes a directory in memory where there is `/dev/shm`, else in the system's temporary one: disks are
/// too erratic to compare on.
///
/// # Errors
///
/// Those of making it.
pub fn scratch() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
}

/// Returns `len` bytes that no compressor makes smaller.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Returns `len` bytes that look like source code to a compressor: lines of words from a
/// vocabulary of 512, common ones more often, with indentation and numbers. They pack to about a
/// quarter.
pub fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let vocabulary: Vec<Vec<u8>> = (0..512)
        .map(|word| {
            let mut letters = Numbers::new(word + 1);
            let len = 2 + letters.below(9);
            (0..len).map(|_| b"etaoinshrdlcumwfgypbvk_"[small(letters.below(23))]).collect()
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + 128);
    while bytes.len() < len {
        bytes.resize(bytes.len() + 4 * small(numbers.below(4)), b' ');
        for _ in 0..=numbers.below(8) {
            // The product of two numbers is small more often than not.
            let word = numbers.below(512) * numbers.below(512) / 512;
            bytes.extend_from_slice(&vocabulary[small(word)]);
            bytes
                .extend_from_slice([b" ".as_slice(), b"(", b", ", b" = "][small(numbers.below(4))]);
        }
        if numbers.below(4) == 0 {
            bytes.extend_from_slice(numbers.below(10_000).to_string().as_bytes());
        }
        bytes.extend_from_slice(b";\n");
    }
    bytes.truncate(len);
    bytes
}

/// Returns the name of file `number` of [`archive`].
pub fn file_name(number: u64) -> MemberPath {
    let directory = number / FILES_PER_DIRECTORY;
    MemberPath::from(format!("tree/dir{directory:05}/file{number:07}.txt").as_str())
}

/// Returns the name of the directory that file `number` of [`archive`] is in.
pub fn directory_name(number: u64) -> MemberPath {
    let directory = number / FILES_PER_DIRECTORY;
    MemberPath::from(format!("tree/dir{directory:05}").as_str())
}

/// Returns the content of file `number` of [`archive`].
pub fn content(number: u64) -> Vec<u8> {
    format!("The content of file {number}.\n").into_bytes()
}

/// Makes an archive of `files` small files at `level`, with owners, times and inode numbers as a
/// real tree has them, in directories of [`FILES_PER_DIRECTORY`]. `empty` files have no content.
///
/// # Errors
///
/// Those of the writer.
pub fn archive(files: u64, level: u8, empty: bool) -> isptar_core::Result<Vec<u8>> {
    let mut options = WriterOptions::default();
    options.level = level;
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options)?;
    for number in 0..files {
        if number % FILES_PER_DIRECTORY == 0 {
            let header = header(directory_name(number), Kind::Directory, number);
            writer.append(&header, details(number), io::empty())?;
        }
        let content = if empty { Vec::new() } else { content(number) };
        let kind = Kind::File { size: content.len() as u64 };
        let header = header(file_name(number), kind, number);
        writer.append(&header, details(number), content.as_slice())?;
    }
    writer.finish()?;
    Ok(bytes)
}

/// Makes an archive of one file named `file`.
///
/// # Errors
///
/// Those of the writer.
pub fn archive_of(content: &[u8], level: u8) -> isptar_core::Result<Vec<u8>> {
    let mut options = WriterOptions::default();
    options.level = level;
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options)?;
    let kind = Kind::File { size: content.len() as u64 };
    let header = header(MemberPath::from("file"), kind, 0);
    writer.append(&header, details(0), content)?;
    writer.finish()?;
    Ok(bytes)
}

/// Returns how many entries [`archive`] makes of `files` files.
pub fn entries(files: u64) -> u64 {
    files + files.div_ceil(FILES_PER_DIRECTORY)
}

fn header(path: MemberPath, kind: Kind, number: u64) -> MemberHeader {
    MemberHeader {
        uid: 1000,
        gid: 1000,
        user: b"user".to_vec(),
        group: b"users".to_vec(),
        mtime: time(number),
        ..MemberHeader::new(path, kind)
    }
}

fn details(number: u64) -> Details {
    let mut details = Details::default();
    details.ctime = Some(time(number));
    details.ino = Some(1_000_000 + number);
    details
}

fn time(number: u64) -> Timestamp {
    let mut numbers = Numbers::new(number);
    let seconds = 1_700_000_000 + i64::try_from(numbers.below(10_000_000)).unwrap_or(0);
    Timestamp::new(seconds, u32::try_from(numbers.below(1_000_000_000)).unwrap_or(0))
}

/// Writes a tree of `files` files and about `bytes` bytes below `root`: three quarters text, a
/// quarter noise; most files small, every hundredth one large. Returns the bytes written.
///
/// # Errors
///
/// Those of the file system.
pub fn write_tree(root: &Path, files: u64, bytes: u64) -> io::Result<u64> {
    let large = bytes / 2 / files.div_ceil(100).max(1);
    let small_mean = bytes / 2 / files.max(1);
    let mut numbers = Numbers::new(1);
    let mut written = 0;
    for number in 0..files {
        let directory = root.join(format!("dir{:03}", number / 50));
        std::fs::create_dir_all(&directory)?;
        let len = if number % 100 == 0 { large } else { numbers.below(2 * small_mean.max(1)) };
        let make = if numbers.below(4) == 0 { noise } else { text };
        std::fs::write(directory.join(format!("file{number:05}")), make(small(len), number))?;
        written += len;
    }
    Ok(written)
}

/// Converts a number that is known to be small.
fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
