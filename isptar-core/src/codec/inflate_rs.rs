//! Inflating deflated data that is in memory as a whole, by zlib-rs.

use flate2::{Decompress, FlushDecompress, Status};

/// A decompressor.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    /// Bytes of room beyond the end that are of use.
    pub(super) const ROOM: usize = 512;

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
        let start = out.len();
        let bytes = bytes.get(..packed)?;
        let status = self.0.decompress_vec(bytes, out, FlushDecompress::Finish).ok()?;
        let is_whole = out.len() == start + len && self.0.total_in() == packed as u64;
        (status == Status::StreamEnd && is_whole).then_some(())
    }
}
