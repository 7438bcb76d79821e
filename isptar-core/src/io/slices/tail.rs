//! What the last slice says of all of them.

use crate::codec::Unpacker;
use crate::error::{Error, Result};
use crate::format::HEADER_STREAM;
use crate::format::info::ArchiveInfo;
use crate::format::trailer::{self, SizeTrailer};
use crate::io::ReadAt;
use crate::limits::Limits;

/// Most packed bytes of archive info: the trailer has room for four digits.
const MOST_INFO: u64 = 9999;

/// The end of an archive of ours.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) info: ArchiveInfo,
    /// The length of all slices together.
    pub(super) size: u64,
}

/// Reads the end of a slice; `None` when it is not that of an archive of ours.
pub(super) fn read<R: ReadAt + ?Sized>(slice: &R) -> Result<Option<Tail>> {
    let input = |source| Error::input(0, source);
    let len = slice.size().map_err(input)?;
    let start = len.saturating_sub(MOST_INFO + trailer::LEN as u64);
    let mut bytes = vec![0; usize::try_from(len - start).unwrap_or(0)];
    slice.read_exact_at(&mut bytes, start).map_err(input)?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Option<Tail> {
    let (before, last) = bytes.split_last_chunk::<{ trailer::LEN }>()?;
    let trailer = SizeTrailer::parse(last).ok()?;
    let packed = usize::try_from(trailer.info_size).ok()?;
    let mut info = before.get(before.len().checked_sub(packed)?..)?;
    let mut text = Vec::new();
    Unpacker::new().read_to_end(&mut info, Limits::default().info, &mut text).ok()?;
    let info = ArchiveInfo::parse(&text).ok()?;
    let size = [HEADER_STREAM, info.listing_size, trailer.info_size, trailer::LEN as u64]
        .into_iter()
        .try_fold(info.data_size, u64::checked_add)?;
    Some(Tail { info, size })
}
