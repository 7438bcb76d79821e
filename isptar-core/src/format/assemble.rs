//! Reading the headers of a member block by block, from wherever the blocks come.

use super::header::Header;
use super::member::{Assembled, Extensions, MapPlace};
use super::sparse::{self, MapParser, Segment, SparseMap};
use super::{BLOCK, padding, pax};
use crate::error::FormatError;
use crate::limits::{LimitName, Limits};

/// Hands out a tar block by block.
pub trait Blocks {
    /// What can go wrong.
    type Error: From<FormatError>;

    /// Returns the next block, or `None` at the end of the input.
    ///
    /// # Errors
    ///
    /// Whatever goes wrong when blocks are read.
    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, Self::Error>;
}

/// What stands at a place where headers of a member begin.
#[derive(Debug)]
pub enum Found {
    /// A member; its data follows.
    Member(Box<Assembled>),
    /// A global PAX header, and its records.
    Global(Vec<pax::Record>),
    /// A block of zeros.
    Zeros,
    /// The end of the input.
    End,
}

/// What is known of a member whose headers could not be read to their end.
#[derive(Debug, Default)]
pub struct Reached {
    /// Its name, as far as it was read.
    pub name: Option<Vec<u8>>,
    /// Bytes up to the block after the data of the header at hand, when its size is known.
    pub rest: Option<u64>,
    /// Whether the header of the member itself was read; else only such as speak of it.
    pub is_whole: bool,
}

/// Reads all headers of the next member, and its sparse map. Afterwards [`Assembled::stored`] is
/// what is left of the data.
///
/// # Errors
///
/// A header that is not valid, or a length above its limit.
pub fn read_headers<B: Blocks>(blocks: &mut B, limits: &Limits) -> Result<Found, B::Error> {
    read_headers_of(blocks, &[], limits, &mut Reached::default())
}

/// Reads headers like [`read_headers`]; `globals` are records that count where the member has none
/// of their key, and `reached` tells after an error how far it came.
///
/// # Errors
///
/// As for [`read_headers`].
pub fn read_headers_of<B: Blocks>(
    blocks: &mut B,
    globals: &[pax::Record],
    limits: &Limits,
    reached: &mut Reached,
) -> Result<Found, B::Error> {
    let mut extensions = Extensions::new(globals);
    let mut records = 0u64;
    loop {
        let block = blocks.next_block()?;
        let header = match &block {
            Some(block) => parse_block(block, &extensions, reached)?,
            None => None,
        };
        let (Some(block), Some(header)) = (block, header) else {
            if !extensions.is_empty() {
                reached.name = extensions.own_name().map(<[u8]>::to_vec);
                return Err(
                    FormatError::Missing("tar header after a PAX or long name header").into()
                );
            }
            return Ok(if block.is_some() { Found::Zeros } else { Found::End });
        };
        if header.typeflag == b'V' {
            // The label of a volume is no member.
            return Ok(Found::Global(Vec::new()));
        }
        if header.typeflag == b'g' {
            reached.expect(header.size);
            let body = read_body(blocks, header.size, limits.pax, LimitName::Pax)?;
            reached.rest = Some(0);
            reached.is_whole = true;
            return Ok(Found::Global(pax::parse(&body)?));
        }
        if Extensions::is_extension(header.typeflag) {
            // A long name ends with NUL.
            let (limit, name) = match header.typeflag {
                b'L' | b'K' => (limits.path.saturating_add(1), LimitName::Path),
                _ => (limits.pax, LimitName::Pax),
            };
            // The limit is one of all headers of a member.
            records = records.saturating_add(header.size);
            let most = limits.pax.saturating_add(limits.path.saturating_mul(2));
            reached.expect(header.size);
            let body = read_body(blocks, header.size, limit, name)?;
            reached.rest = Some(0);
            if records > most {
                let what = "length of the PAX and long name headers of a member";
                let (limit, actual, raise) = (most, records, LimitName::Pax.to(records));
                return Err(FormatError::Limit { what, limit, actual, raise }.into());
            }
            extensions.push(header.typeflag, &body)?;
            continue;
        }
        reached.is_whole = true;
        reached.name = Some(extensions.name(&header).to_vec());
        reached.expect(extensions.stored(&header).unwrap_or(header.size));
        let mut member = extensions.assemble(header, &block, limits)?;
        read_map(blocks, &mut member, limits, reached)?;
        return Ok(Found::Member(Box::new(member)));
    }
}

impl Reached {
    /// Notes that so many bytes of data follow.
    fn expect(&mut self, size: u64) {
        self.rest = size.checked_add(padding(size));
    }
}

/// Reads a block as a header, and notes what it says when it is not a good one.
fn parse_block(
    block: &[u8; BLOCK],
    extensions: &Extensions,
    reached: &mut Reached,
) -> Result<Option<Header>, FormatError> {
    let parsed = Header::parse(block);
    if parsed.is_err() {
        reached.rest = None;
        if let Some(name) = extensions.own_name() {
            reached.name = Some(name.to_vec());
        }
        if let Some((name, size)) = Header::parse_damaged(block) {
            reached.name.get_or_insert(name);
            reached.is_whole = true;
            if let Some(size) = size {
                reached.expect(size);
            }
        }
    }
    parsed
}

/// Reads the body of an extension header and its padding.
fn read_body<B: Blocks>(
    blocks: &mut B,
    size: u64,
    limit: u64,
    name: LimitName,
) -> Result<Vec<u8>, B::Error> {
    if size > limit {
        let what = "length of a PAX or long name header";
        return Err(FormatError::Limit { what, limit, actual: size, raise: name.to(size) }.into());
    }
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let mut body = Vec::new();
    while body.len() < len {
        let have = body.len() as u64;
        let what = "PAX or long name header";
        let cut = FormatError::Truncated { what, need: size, have };
        body.extend_from_slice(&blocks.next_block()?.ok_or(cut)?);
    }
    body.truncate(len);
    Ok(body)
}

/// Reads the sparse map where it stands, and checks that it adds up.
fn read_map<B: Blocks>(
    blocks: &mut B,
    member: &mut Assembled,
    limits: &Limits,
    reached: &mut Reached,
) -> Result<(), B::Error> {
    let segments = match std::mem::replace(&mut member.map, MapPlace::Known) {
        MapPlace::Known => {
            return member
                .header
                .sparse
                .as_ref()
                .map_or(Ok(()), |map| check_sum(map, member.stored));
        }
        MapPlace::InData => {
            let read = read_map_in_data(blocks, member, limits);
            reached.expect(member.stored);
            read?
        }
        MapPlace::InHeader { segments, more } => {
            // How many blocks of the map there are stands nowhere.
            let rest = reached.rest.take();
            let segments = read_map_in_header(blocks, segments, more, limits)?;
            reached.rest = rest;
            segments
        }
    };
    let map = SparseMap::new(member.header.kind.size(), segments, limits)?;
    check_sum(&map, member.stored)?;
    member.header.sparse = Some(map);
    Ok(())
}

fn check_sum<E: From<FormatError>>(map: &SparseMap, stored: u64) -> Result<(), E> {
    if map.data_len() == stored {
        return Ok(());
    }
    Err(FormatError::mismatch("length of the sparse segments", stored, map.data_len()).into())
}

fn read_map_in_data<B: Blocks>(
    blocks: &mut B,
    member: &mut Assembled,
    limits: &Limits,
) -> Result<Vec<Segment>, B::Error> {
    let mut parser = MapParser::default();
    loop {
        const LEN: u64 = BLOCK as u64;
        let cut = || FormatError::Truncated { what: "sparse map", need: LEN, have: 0 };
        member.stored = member.stored.checked_sub(LEN).ok_or_else(cut)?;
        let block = blocks.next_block()?.ok_or_else(cut)?;
        if let Some(segments) = parser.push(&block, limits)? {
            return Ok(segments);
        }
    }
}

fn read_map_in_header<B: Blocks>(
    blocks: &mut B,
    mut segments: Vec<Segment>,
    mut more: bool,
    limits: &Limits,
) -> Result<Vec<Segment>, B::Error> {
    while more {
        let (need, have) = (BLOCK as u64, 0);
        let cut = FormatError::Truncated { what: "sparse map", need, have };
        let block = blocks.next_block()?.ok_or(cut)?;
        // 21 pairs, then a byte that tells whether another block follows.
        let (pairs, rest) = block.split_at(504);
        segments.extend(sparse::parse_header_pairs(pairs)?);
        more = rest.first().is_some_and(|&byte| byte != 0);
        let actual = segments.len() as u64;
        if actual > limits.segments {
            // How many follow is not told anywhere.
            return Err(sparse::too_many(limits, actual.saturating_mul(2)).into());
        }
    }
    Ok(segments)
}

/// Hands out blocks that are in memory.
#[derive(Debug)]
pub struct SliceBlocks<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> SliceBlocks<'a> {
    /// Begins at `position` of `bytes`.
    pub fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    /// Returns where the next block begins.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Blocks for SliceBlocks<'_> {
    type Error = FormatError;

    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, FormatError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (need, have) = (BLOCK as u64, rest.len() as u64);
        let block = rest.first_chunk();
        let block = block.ok_or(FormatError::Truncated { what: "tar header", need, have })?;
        self.position = self.position.saturating_add(BLOCK);
        Ok(Some(*block))
    }
}
