//! Caps on what an archive may claim; the writer never makes what its reader refuses.

/// Caps on sizes that are read from an archive before memory is reserved for them.
///
/// The same table binds the writer (FORMAT.md section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of all PAX records of one member.
    pub pax: u64,
    /// Bytes of one line of the listing, its line feed included.
    pub line: u64,
    /// Bytes of a name or link target.
    pub path: u64,
    /// Components of a name.
    pub components: u64,
    /// Uncompressed bytes of one listing stream: what a classic listing may have in all.
    pub listing: u64,
    /// Times that a listing block may grow when it is decompressed.
    pub listing_ratio: u64,
    /// Segments of a sparse file.
    pub segments: u64,
    /// Uncompressed bytes of the archive info.
    pub info: u64,
    /// Uncompressed bytes before a member in a stream that it shares with others.
    pub group: u64,
    /// Bytes of a chunk of a big file.
    pub chunk: u64,
    /// Keys of one entry that are not known.
    pub unknown_keys: u64,
    /// Bytes of the tables text.
    pub tables: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pax: 1 << 20,
            line: 16 << 20,
            path: 64 << 10,
            components: 8192,
            listing: 1 << 30,
            listing_ratio: 100,
            segments: 32_768,
            info: 2048,
            group: 1 << 20,
            chunk: 64 << 20,
            unknown_keys: 256,
            tables: 64 << 20,
        }
    }
}
