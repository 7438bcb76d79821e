//! Sparse maps: which parts of a file hold data (GNU's PAX format 1.0 is written, 0.0, 0.1 and the
//! older one in the header are read).

use super::BLOCK;
use super::text::push_decimal;
use crate::error::FormatError;
use crate::limits::{LimitName, Limits};

/// A part of a file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

impl Segment {
    /// Returns where the segment ends, if that is a number.
    pub fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// The data of a sparse file; everything between is holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    real_size: u64,
    segments: Vec<Segment>,
}

impl SparseMap {
    /// Makes a map after checking that segments are in order, apart, and inside the file. Segments
    /// without bytes are dropped.
    ///
    /// # Errors
    ///
    /// [`FormatError::OutOfBounds`] or [`FormatError::Limit`].
    pub fn new(
        real_size: u64,
        segments: impl IntoIterator<Item = Segment>,
        limits: &Limits,
    ) -> Result<Self, FormatError> {
        let mut kept: Vec<Segment> = Vec::new();
        let mut after = 0;
        let mut segments = segments.into_iter();
        while let Some(segment) = segments.next() {
            let Segment { offset, len } = segment;
            let end = segment.end().filter(|&end| end <= real_size && offset >= after).ok_or(
                FormatError::OutOfBounds { what: "sparse segment", offset, len, end: real_size },
            )?;
            after = end;
            if len > 0 {
                kept.push(segment);
            }
            if kept.len() as u64 > limits.segments {
                let actual = (kept.len() as u64).saturating_add(segments.count() as u64);
                return Err(too_many(limits, actual));
            }
        }
        Ok(Self { real_size, segments: kept })
    }

    /// Returns the size of the file, holes included.
    pub fn real_size(&self) -> u64 {
        self.real_size
    }

    /// Returns the segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the bytes of all segments.
    pub fn data_len(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.len))
    }

    /// Appends the map as PAX format 1.0 has it before the data: numbers of one line each, padded
    /// to whole blocks. A file that ends in a hole ends its map with an empty segment.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let end = self.segments.last().and_then(Segment::end).unwrap_or(0);
        let closing = (end < self.real_size).then_some(Segment { offset: self.real_size, len: 0 });
        let count = self.segments.len().saturating_add(usize::from(closing.is_some()));
        push_decimal(count, out);
        out.push(b'\n');
        for segment in self.segments.iter().chain(&closing) {
            push_decimal(segment.offset, out);
            out.push(b'\n');
            push_decimal(segment.len, out);
            out.push(b'\n');
        }
        let len = out.len().saturating_sub(start);
        out.resize(start.saturating_add(len.next_multiple_of(BLOCK)), 0);
    }
}

/// Reads the map of PAX format 1.0, fed block by block because its length stands nowhere.
#[derive(Debug, Default)]
pub struct MapParser {
    numbers: Vec<u64>,
    partial: Option<u64>,
}

impl MapParser {
    /// Takes the next block; returns the segments once the map is complete.
    ///
    /// # Errors
    ///
    /// [`FormatError::Invalid`] or [`FormatError::Limit`].
    pub fn push(
        &mut self,
        block: &[u8; BLOCK],
        limits: &Limits,
    ) -> Result<Option<Vec<Segment>>, FormatError> {
        let invalid = || FormatError::invalid("sparse map", block);
        for &byte in block {
            if byte == b'\n' {
                self.numbers.push(self.partial.take().ok_or_else(invalid)?);
                if self.numbers.len() == 1 {
                    self.check_count(limits)?;
                }
                if let Some(segments) = self.complete() {
                    return Ok(Some(segments));
                }
                continue;
            }
            let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9).ok_or_else(invalid)?;
            let value = self.partial.unwrap_or(0).checked_mul(10);
            let value = value.and_then(|value| value.checked_add(u64::from(digit)));
            self.partial = Some(value.ok_or_else(invalid)?);
        }
        Ok(None)
    }

    fn check_count(&self, limits: &Limits) -> Result<(), FormatError> {
        let actual = self.numbers.first().copied().unwrap_or(0);
        // One more than the limit: the empty segment at the end.
        if actual > limits.segments.saturating_add(1) {
            return Err(too_many(limits, actual));
        }
        Ok(())
    }

    fn complete(&self) -> Option<Vec<Segment>> {
        let (&count, rest) = self.numbers.split_first()?;
        (rest.len() as u64 == count.checked_mul(2)?).then(|| pairs(rest))
    }
}

/// Reads the list of PAX format 0.1: `offset,length,offset,length`.
///
/// # Errors
///
/// [`FormatError::Invalid`] or [`FormatError::Limit`].
pub fn parse_list(text: &[u8], limits: &Limits) -> Result<Vec<Segment>, FormatError> {
    let invalid = || FormatError::invalid("GNU.sparse.map", text);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut numbers = Vec::new();
    for number in text.split(|&byte| byte == b',') {
        if numbers.len() as u64 >= limits.segments.saturating_add(1).saturating_mul(2) {
            let actual = text.split(|&byte| byte == b',').count() as u64;
            return Err(too_many(limits, actual / 2));
        }
        numbers.push(super::text::decimal("GNU.sparse.map", number)?);
    }
    if numbers.len() % 2 != 0 {
        return Err(invalid());
    }
    Ok(pairs(&numbers))
}

/// The error of a map that has `actual` segments.
pub(crate) fn too_many(limits: &Limits, actual: u64) -> FormatError {
    let (limit, raise) = (limits.segments, LimitName::Segments.to(actual));
    FormatError::Limit { what: "sparse segments", limit, actual, raise }
}

fn pairs(numbers: &[u64]) -> Vec<Segment> {
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|&[offset, len]| Segment { offset, len }).collect()
}

/// Reads the pairs of twelve-byte numbers in a header of the older format, or in one of the blocks
/// after it; a pair without a size ends them.
///
/// # Errors
///
/// [`FormatError::Invalid`].
pub fn parse_header_pairs(bytes: &[u8]) -> Result<Vec<Segment>, FormatError> {
    let (pairs, _) = bytes.as_chunks::<24>();
    let mut segments = Vec::new();
    for pair in pairs {
        let (offset, len) = pair.split_at(12);
        if offset.first() == Some(&0) || len.first() == Some(&0) {
            break;
        }
        let read = |bytes| {
            u64::try_from(super::header::number("sparse segment", bytes)?)
                .map_err(|_| FormatError::invalid("sparse segment", bytes))
        };
        segments.push(Segment { offset: read(offset)?, len: read(len)? });
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(real_size: u64, segments: &[(u64, u64)]) -> Result<SparseMap, FormatError> {
        let segments = segments.iter().map(|&(offset, len)| Segment { offset, len });
        SparseMap::new(real_size, segments, &Limits::default())
    }

    #[test]
    fn maps_round_trip() {
        for (real_size, segments) in [
            (100, vec![]),
            (100, vec![(0, 100)]),
            (1 << 40, vec![(512, 512), (1 << 30, 4096)]),
            (1 << 50, (0..1000).map(|i| (i * 1_000_000, 512)).collect()),
        ] {
            let map = map(real_size, &segments).unwrap();
            let mut out = Vec::new();
            map.encode(&mut out);
            assert_eq!(out.len() % BLOCK, 0);
            let mut parser = MapParser::default();
            let mut parsed = None;
            for block in out.as_chunks::<BLOCK>().0 {
                assert!(parsed.is_none());
                parsed = parser.push(block, &Limits::default()).unwrap();
            }
            let limits = Limits::default();
            assert_eq!(SparseMap::new(real_size, parsed.unwrap(), &limits), Ok(map));
        }
    }

    #[test]
    fn maps_that_lie_are_refused() {
        assert!(map(100, &[(0, 101)]).is_err());
        assert!(map(100, &[(50, 10), (55, 10)]).is_err());
        assert!(map(100, &[(50, 10), (0, 10)]).is_err());
        assert!(map(u64::MAX, &[(u64::MAX, 2)]).is_err());
        let many: Vec<_> = (0..32_769).map(|i| (i * 2, 1)).collect();
        assert!(map(1 << 30, &many).is_err());
        let limits = Limits::default();
        let mut block = [0; BLOCK];
        block[..12].copy_from_slice(b"99999999999\n");
        assert!(matches!(
            MapParser::default().push(&block, &limits),
            Err(FormatError::Limit { .. })
        ));
        assert!(parse_list(b"1,2,3", &limits).is_err());
        assert!(parse_list(b"1,-2", &limits).is_err());
    }
}
