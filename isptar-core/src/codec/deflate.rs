//! Compressing without libdeflate: what it does, as far as it is needed, by zlib-rs.

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::format::gzip;

/// A level from 0 to 12; zlib has none above 9.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompressionLvl(u32);

impl CompressionLvl {
    pub(super) fn new(level: i32) -> Result<Self, OutOfRange> {
        let level = u32::try_from(level).ok().filter(|level| *level <= 12).ok_or(OutOfRange)?;
        Ok(Self(level.min(9)))
    }
}

/// A level that there is not, or data that does not fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutOfRange;

/// Compresses what is in memory as a whole.
pub(super) struct Compressor(Compress);

impl Compressor {
    pub(super) fn new(level: CompressionLvl) -> Self {
        Self(Compress::new(Compression::new(level.0), false))
    }

    /// Returns how much room is worth while: nobody wants what is larger than stored data.
    pub(super) fn deflate_compress_bound(&mut self, len: usize) -> usize {
        gzip::stored_len(len)
    }

    /// Compresses `data` into `out`, and returns how many bytes that are.
    pub(super) fn deflate_compress(
        &mut self,
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, OutOfRange> {
        self.0.reset();
        match self.0.compress(data, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => usize::try_from(self.0.total_out()).map_err(|_| OutOfRange),
            Ok(_) | Err(_) => Err(OutOfRange),
        }
    }
}
