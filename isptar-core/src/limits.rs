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
    /// Bases of an archive.
    pub bases: u64,
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
            bases: 1024,
        }
    }
}

impl Limits {
    /// Returns the limit of that name.
    pub fn get(&self, name: LimitName) -> u64 {
        let mut copy = *self;
        *copy.field(name)
    }

    /// Sets the limit of that name.
    pub fn set(&mut self, name: LimitName, value: u64) {
        *self.field(name) = value;
    }

    fn field(&mut self, name: LimitName) -> &mut u64 {
        match name {
            LimitName::Pax => &mut self.pax,
            LimitName::Line => &mut self.line,
            LimitName::Path => &mut self.path,
            LimitName::Components => &mut self.components,
            LimitName::Listing => &mut self.listing,
            LimitName::ListingRatio => &mut self.listing_ratio,
            LimitName::Segments => &mut self.segments,
            LimitName::Info => &mut self.info,
            LimitName::Group => &mut self.group,
            LimitName::Chunk => &mut self.chunk,
            LimitName::UnknownKeys => &mut self.unknown_keys,
            LimitName::Tables => &mut self.tables,
            LimitName::Bases => &mut self.bases,
        }
    }
}

/// Names a field of [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitName {
    /// [`Limits::pax`].
    Pax,
    /// [`Limits::line`].
    Line,
    /// [`Limits::path`].
    Path,
    /// [`Limits::components`].
    Components,
    /// [`Limits::listing`].
    Listing,
    /// [`Limits::listing_ratio`].
    ListingRatio,
    /// [`Limits::segments`].
    Segments,
    /// [`Limits::info`].
    Info,
    /// [`Limits::group`].
    Group,
    /// [`Limits::chunk`].
    Chunk,
    /// [`Limits::unknown_keys`].
    UnknownKeys,
    /// [`Limits::tables`].
    Tables,
    /// [`Limits::bases`].
    Bases,
}

impl LimitName {
    /// All names, in the order of the fields.
    pub const ALL: [Self; 13] = [
        Self::Pax,
        Self::Line,
        Self::Path,
        Self::Components,
        Self::Listing,
        Self::ListingRatio,
        Self::Segments,
        Self::Info,
        Self::Group,
        Self::Chunk,
        Self::UnknownKeys,
        Self::Tables,
        Self::Bases,
    ];

    /// Returns the name as people write it, words joined by `-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pax => "pax",
            Self::Line => "line",
            Self::Path => "path",
            Self::Components => "components",
            Self::Listing => "listing",
            Self::ListingRatio => "listing-ratio",
            Self::Segments => "segments",
            Self::Info => "info",
            Self::Group => "group",
            Self::Chunk => "chunk",
            Self::UnknownKeys => "unknown-keys",
            Self::Tables => "tables",
            Self::Bases => "bases",
        }
    }

    /// Says that this limit, raised to `value`, would let the input pass.
    pub(crate) const fn to(self, value: u64) -> Option<Raise> {
        Some(Raise { name: self, to: value })
    }
}

/// What would let an input pass that is above a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Raise {
    /// The limit.
    pub name: LimitName,
    /// A value that suffices, as far as the input was read; twice what was met where the input does
    /// not say how much follows.
    pub to: u64,
}
