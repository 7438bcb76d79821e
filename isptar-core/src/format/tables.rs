//! Tables: where the listing blocks, the bases and the slices are.

use super::text::{decimal, escape, parse_digest, push_decimal, push_digest, unescape};
use crate::error::FormatError;
use crate::path::MemberPath;

/// One stream of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingBlock {
    /// Packed bytes.
    pub packed: u64,
    /// Bytes of text.
    pub real: u64,
    /// Entries that begin in it.
    pub entries: u64,
    /// Name of the first entry.
    pub first: MemberPath,
}

/// An older archive that members' bytes are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// How many bases back it is, from 1.
    pub depth: u32,
    /// Its identity.
    pub identity: [u8; 32],
    /// Its file name, one path component.
    pub name: Vec<u8>,
}

impl Base {
    /// Returns whether a base can have this name: it is looked for beside the archive, so it must
    /// not lead anywhere else.
    pub fn is_name(name: &[u8]) -> bool {
        !matches!(name, b"" | b"." | b"..") && !name.iter().any(|b| matches!(b, b'/' | 0))
    }
}

/// A slice that was finished before `.backup.info` began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its length in bytes.
    pub length: u64,
    /// Its first 16 bytes.
    pub head: [u8; 16],
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
}

/// The tables of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tables {
    /// The streams of the listing, in order.
    pub blocks: Vec<ListingBlock>,
    /// The bases, nearest first.
    pub bases: Vec<Base>,
    /// The slices that were finished before `.backup.info` began, first to last.
    pub slices: Vec<Slice>,
}

impl Tables {
    /// Returns whether an archive with these tables needs none in the file.
    pub fn is_implied(&self) -> bool {
        self.blocks.len() <= 1 && self.bases.is_empty() && self.slices.is_empty()
    }

    /// Reads the text; lines of unknown types are ignored.
    ///
    /// # Errors
    ///
    /// What is wrong with a line.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let body =
            text.strip_suffix(b"\n").ok_or(FormatError::Missing("line feed of the tables"))?;
        let mut tables = Self::default();
        for line in body.split(|&byte| byte == b'\n') {
            let mut fields = line.split(|&byte| byte == b'\t');
            let word = fields.next().unwrap_or_default();
            let mut next = |field| fields.next().ok_or(FormatError::Missing(field));
            match word {
                b"block" => tables.blocks.push(ListingBlock {
                    packed: decimal("block", next("block")?)?,
                    real: decimal("block", next("block")?)?,
                    entries: decimal("block", next("block")?)?,
                    first: MemberPath::new(unescape("block", next("block")?)?),
                }),
                b"base" => tables.bases.push(parse_base(&mut next)?),
                b"slice" => tables.slices.push(parse_slice(&mut next)?),
                _ => continue,
            }
            if fields.next().is_some() {
                return Err(FormatError::invalid("line of the tables", line));
            }
        }
        Ok(tables)
    }

    /// Returns the text.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for block in &self.blocks {
            out.extend_from_slice(b"block\t");
            for number in [block.packed, block.real, block.entries] {
                push_decimal(number, &mut out);
                out.push(b'\t');
            }
            escape(block.first.as_bytes(), &mut out);
            out.push(b'\n');
        }
        for base in &self.bases {
            out.extend_from_slice(b"base\t");
            push_decimal(base.depth, &mut out);
            out.push(b'\t');
            push_digest(&base.identity, &mut out);
            out.push(b'\t');
            escape(&base.name, &mut out);
            out.push(b'\n');
        }
        for slice in &self.slices {
            out.extend_from_slice(b"slice\t");
            push_decimal(slice.length, &mut out);
            out.push(b'\t');
            out.extend_from_slice(data_encoding::HEXLOWER.encode(&slice.head).as_bytes());
            out.push(b'\t');
            push_digest(&slice.sha256, &mut out);
            out.push(b'\n');
        }
        out
    }
}

fn parse_base<'a>(
    next: &mut impl FnMut(&'static str) -> Result<&'a [u8], FormatError>,
) -> Result<Base, FormatError> {
    let depth = decimal("base", next("base")?)?;
    let identity = parse_digest("base", next("base")?)?;
    let name = unescape("base", next("base")?)?.into_owned();
    if !Base::is_name(&name) {
        return Err(FormatError::invalid("name of a base", &name));
    }
    let depth = u32::try_from(depth).map_err(|_| FormatError::invalid("base", &name))?;
    Ok(Base { depth, identity, name })
}

fn parse_slice<'a>(
    next: &mut impl FnMut(&'static str) -> Result<&'a [u8], FormatError>,
) -> Result<Slice, FormatError> {
    let length = decimal("slice", next("slice")?)?;
    let text = next("slice")?;
    let head = data_encoding::HEXLOWER
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| FormatError::invalid("head of a slice", text))?;
    Ok(Slice { length, head, sha256: parse_digest("slice", next("slice")?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tables {
        Tables {
            blocks: vec![
                ListingBlock { packed: 9, real: 90, entries: 2, first: ".".into() },
                ListingBlock { packed: 8, real: 80, entries: 1, first: "a\tb\n".into() },
            ],
            bases: vec![Base { depth: 1, identity: [3; 32], name: b"old \xff.tgz".to_vec() }],
            slices: vec![Slice { length: 4096, head: [0x1f; 16], sha256: [4; 32] }],
        }
    }

    #[test]
    fn the_text_round_trips() {
        assert_eq!(Tables::parse(&sample().encode()), Ok(sample()));
        let mut longer = b"later\tx\n".to_vec();
        longer.extend(sample().encode());
        assert_eq!(Tables::parse(&longer), Ok(sample()));
    }

    #[test]
    fn a_base_is_one_component() {
        for name in ["", ".", "..", "a/b", "/etc/passwd"] {
            let mut tables = sample();
            tables.bases[0].name = name.into();
            assert!(Tables::parse(&tables.encode()).is_err(), "{name}");
        }
    }

    #[test]
    fn lines_that_lie_are_refused() {
        for text in
            ["", "block\t1\t2\t3\n", "block\t1\t2\t3\ta\tb\n", "block\t1\t2\t-3\ta\n", "slice\t1\n"]
        {
            assert!(Tables::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
