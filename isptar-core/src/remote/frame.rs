//! Frames: how what one side sends is cut into pieces, and checked (PROTOCOL.md 2).

use crate::error::FormatError;

/// What each side sends first. The number is that of the protocol.
pub const PREFACE: &[u8; 16] = b"isptar remote 1\n";

/// How a preface begins, whatever the version.
const ANY_PREFACE: &[u8] = b"isptar remote ";

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameKind {
    /// Who speaks, and what it wishes: the first frame of each side.
    Hello,
    /// Client: entries of its tree, in listing order.
    Offer,
    /// Server: which entries of an offer it wants.
    Want,
    /// Client: the headers of a member that is wanted.
    Member,
    /// Client: a piece of that member's data.
    Data,
    /// Client: the end of that data.
    End,
    /// Client: the end of the tree.
    Done,
    /// Server: the archive is complete and has its name.
    Published,
    /// Why the side that sends it gives up; nothing follows.
    Fail,
}

impl FrameKind {
    const ALL: [Self; 9] = [
        Self::Hello,
        Self::Offer,
        Self::Want,
        Self::Member,
        Self::Data,
        Self::End,
        Self::Done,
        Self::Published,
        Self::Fail,
    ];

    /// Returns the number that stands for it.
    pub fn number(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Offer => 2,
            Self::Want => 3,
            Self::Member => 4,
            Self::Data => 5,
            Self::End => 6,
            Self::Done => 7,
            Self::Published => 8,
            Self::Fail => 9,
        }
    }

    /// Returns the most bytes of payload that such a frame may have.
    pub fn limit(self) -> u64 {
        match self {
            // A line that is the longest, which is three names of 64 KiB with all bytes escaped,
            // after those that make a batch.
            Self::Offer => 1 << 20,
            // As many bits as the largest offer has lines.
            Self::Want => 128 << 10,
            // A line, 1 MiB of PAX records, the map of a sparse file.
            Self::Member => 4 << 20,
            Self::Data => 1 << 20,
            Self::Hello | Self::Done | Self::Published => 64 << 10,
            Self::End => 1,
            Self::Fail => 4 << 10,
        }
    }

    /// Returns what messages call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Hello => "a greeting",
            Self::Offer => "an offer",
            Self::Want => "an answer to an offer",
            Self::Member => "a member",
            Self::Data => "data of a member",
            Self::End => "the end of a member",
            Self::Done => "the end of the tree",
            Self::Published => "the word that the archive is published",
            Self::Fail => "a failure",
        }
    }
}

/// The head of a frame: kind, length of the payload, CRC-32 of both. The CRC-32 of the payload
/// follows the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the frame holds.
    pub kind: FrameKind,
    /// Bytes of its payload.
    pub len: u64,
}

impl Head {
    /// Bytes of a head.
    pub const LEN: usize = 13;

    /// Reads a head.
    ///
    /// # Errors
    ///
    /// [`FormatError::Mismatch`] of the CRC first, so that damage is told from a kind that is not
    /// known; then [`FormatError::Unknown`] and [`FormatError::Limit`].
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, FormatError> {
        let [number, len @ .., a, b, c, d] = *bytes;
        let (claimed, _) = bytes.split_at(Self::LEN - 4);
        check("CRC of the head of a frame", claimed, [a, b, c, d])?;
        let kind = FrameKind::ALL.into_iter().find(|kind| kind.number() == number);
        let kind =
            kind.ok_or(FormatError::Unknown { what: "kind of frame", value: number.to_string() })?;
        let (len, limit) = (u64::from_le_bytes(len), kind.limit());
        if len > limit {
            let what = "length of a frame";
            return Err(FormatError::Limit { what, limit, actual: len, raise: None });
        }
        Ok(Self { kind, len })
    }

    /// Returns the bytes of the head.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (claimed, crc) = bytes.split_at_mut(Self::LEN - 4);
        if let Some((number, len)) = claimed.split_first_mut() {
            *number = self.kind.number();
            len.copy_from_slice(&self.len.to_le_bytes());
        }
        crc.copy_from_slice(&crc32fast::hash(claimed).to_le_bytes());
        bytes
    }
}

/// Checks the payload of a frame against the CRC-32 behind it.
///
/// # Errors
///
/// [`FormatError::Mismatch`].
pub fn check_payload(payload: &[u8], crc: [u8; 4]) -> Result<(), FormatError> {
    check("CRC of a frame", payload, crc)
}

fn check(what: &'static str, bytes: &[u8], crc: [u8; 4]) -> Result<(), FormatError> {
    let (expected, actual) = (u32::from_le_bytes(crc), crc32fast::hash(bytes));
    if expected == actual || cfg!(fuzzing) {
        return Ok(());
    }
    Err(FormatError::mismatch(what, format!("{expected:#010x}"), format!("{actual:#010x}")))
}

/// Checks what the other side sent first.
///
/// # Errors
///
/// [`FormatError::Unknown`] for another version of the protocol, [`FormatError::Invalid`] with
/// what came instead: a shell that greets, say.
pub fn check_preface(bytes: &[u8; 16]) -> Result<(), FormatError> {
    if bytes == PREFACE {
        return Ok(());
    }
    match bytes.strip_prefix(ANY_PREFACE) {
        Some(version) => {
            let value = version.trim_ascii_end().escape_ascii().to_string();
            Err(FormatError::Unknown { what: "version of the protocol", value })
        }
        None => Err(FormatError::invalid("beginning of what isptar sends", bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        for kind in FrameKind::ALL {
            for len in [0, 1, kind.limit()] {
                let head = Head { kind, len };
                assert_eq!(Head::parse(&head.encode()).unwrap(), head);
            }
        }
    }

    #[test]
    fn any_flipped_bit_of_a_head_is_found() {
        let bytes = Head { kind: FrameKind::Data, len: 4096 }.encode();
        for bit in 0..8 * Head::LEN {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Head::parse(&damaged), Err(FormatError::Mismatch { .. })), "{bit}");
        }
    }

    #[test]
    fn lengths_above_the_limit_and_unknown_kinds_are_refused() {
        for kind in FrameKind::ALL {
            let bytes = Head { kind, len: kind.limit() + 1 }.encode();
            assert!(matches!(Head::parse(&bytes), Err(FormatError::Limit { .. })), "{kind:?}");
            let bytes = Head { kind, len: u64::MAX }.encode();
            assert!(matches!(Head::parse(&bytes), Err(FormatError::Limit { .. })), "{kind:?}");
        }
        let mut bytes = Head { kind: FrameKind::End, len: 0 }.encode();
        bytes[0] = 77;
        let crc = crc32fast::hash(&bytes[..9]).to_le_bytes();
        bytes[9..].copy_from_slice(&crc);
        assert!(matches!(Head::parse(&bytes), Err(FormatError::Unknown { .. })));
    }

    #[test]
    fn another_program_and_another_version_are_told_apart() {
        assert!(check_preface(PREFACE).is_ok());
        let newer = check_preface(b"isptar remote 2\n");
        assert!(matches!(newer, Err(FormatError::Unknown { value, .. }) if value == "2"));
        assert!(matches!(check_preface(b"Welcome to host\n"), Err(FormatError::Invalid { .. })));
    }
}
