//! Reading whole streams whose places are known.

use super::open::Tailed;
use super::watched::Watched;
use crate::codec::{DecodeError, Unpacker};
use crate::error::FormatError;
use crate::io::{RangeReader, ReadAt};

/// Bytes read at once when streams are read one after the other.
const READ: usize = 256 << 10;

/// Decodes whole streams; reusable, one a thread.
#[derive(Debug)]
pub(super) struct StreamReader<'a, R> {
    reader: RangeReader<&'a Tailed<R>>,
    unpacker: Unpacker,
}

/// What became of a stream.
pub(super) struct Decoded {
    /// How many bytes of it were gone through.
    pub(super) packed: u64,
    /// What in it is not as the writer makes it, though a decoder takes it.
    pub(super) odd: Option<FormatError>,
    pub(super) result: Result<(), DecodeError>,
}

impl<'a, R: ReadAt> StreamReader<'a, R> {
    pub(super) fn new(source: &'a Tailed<R>) -> Self {
        let reader = RangeReader::new(source, 0, 0, READ);
        Self { reader, unpacker: Unpacker::new() }
    }

    /// Fetches beyond a stream up to `end` from now on, because more streams follow; 0 ends that.
    pub(super) fn set_ahead(&mut self, end: u64) {
        self.reader.set_ahead(end);
    }

    /// Decodes the stream at `offset`, whose `packed` bytes must give at most `limit`, into `out`,
    /// in place of what is there.
    pub(super) fn read(
        &mut self,
        offset: u64,
        packed: u64,
        limit: u64,
        out: &mut Vec<u8>,
    ) -> Decoded {
        out.clear();
        self.unpacker.reset();
        self.reader.seek(offset, offset.saturating_add(packed));
        let mut input = Watched::new(&mut self.reader);
        let result = self.unpacker.read_to_end(&mut input, limit, out);
        let odd = input.into_odd();
        let actual = self.unpacker.packed();
        let result = result.and_then(|()| match actual == packed {
            true => Ok(()),
            false => Err(FormatError::mismatch("packed size of a stream", packed, actual).into()),
        });
        Decoded { packed: actual, odd, result }
    }
}
