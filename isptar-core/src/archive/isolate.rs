//! The listing of an archive as a file of its own.

use super::Archive;
use crate::error::{Error, Result};
use crate::format::entry::Dialect;
use crate::io::{FinishedSlice, ReadAt, Sink};

/// Bytes that are copied at once.
const STEP: usize = 256 << 10;

impl<R: ReadAt> Archive<R> {
    /// Writes the listing alone into `sink` and publishes it: the bytes from the header of
    /// `.backup.info` to the end of the archive. It opens as an archive that knows all its members
    /// and has none of their bytes, and it can be a base. Returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] for a classic archive, whose header of `.backup.info` has no stream of its
    /// own; [`Error::Output`]; [`Error::Corrupt`] and [`Error::Input`] when the listing is damaged.
    pub fn isolate(&self, sink: &mut dyn Sink) -> Result<u64> {
        if self.dialect == Dialect::Classic {
            return Err(Error::Foreign { what: "a classic archive" });
        }
        // What is damaged is no substitute for the archive's own listing.
        let mut entries = self.entries();
        while let Some(entry) = entries.next_ref() {
            entry?;
        }
        let (start, end) = (self.info_start(), self.size());
        let mut buffer = vec![0; STEP];
        let mut at = start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(STEP);
            let input = |source| Error::input(at, source);
            self.source.read_exact_at(&mut buffer[..len], at).map_err(input)?;
            sink.write(&buffer[..len])?;
            at += len as u64;
        }
        sink.finish_slice(&FinishedSlice::only(end - start))?;
        sink.publish(&self.identity()?)?;
        Ok(end - start)
    }

    /// Returns where the header of `.backup.info` begins in the source.
    pub(crate) fn info_start(&self) -> u64 {
        if self.is_listing { 0 } else { self.data_end }
    }
}
