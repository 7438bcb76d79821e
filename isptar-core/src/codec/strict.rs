//! Inflating deflated data that is in memory as a whole, by zlib-rs.

use flate2::{Decompress, FlushDecompress, Status};

/// A decompressor that takes what gzip takes, and nothing else.
#[derive(Debug)]
pub(super) struct StrictInflater(Decompress);

impl StrictInflater {
    /// Bytes of room beyond the end that let it run fast up to there.
    const ROOM: usize = 512;

    pub(super) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Appends `len` bytes to `out` that the first `packed` ones of `bytes` are inflated to;
    /// `None` when they are not, or not all of them are needed.
    pub(super) fn inflate(
        &mut self,
        bytes: &[u8],
        packed: usize,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        self.0.reset(false);
        let bytes = bytes.get(..packed.saturating_add(Self::ROOM)).unwrap_or(bytes);
        let start = out.len();
        out.resize(start + len + Self::ROOM, 0);
        let room = out.get_mut(start..)?;
        let status = self.0.decompress(bytes, room, FlushDecompress::Finish).ok()?;
        out.truncate(start + len);
        let is_whole = (self.0.total_in(), self.0.total_out()) == (packed as u64, len as u64);
        (status == Status::StreamEnd && is_whole).then_some(())
    }
}
