//! The sink, and where slices end.

use std::io::{self, Read};
use std::mem;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::format::tables::Slice;
use crate::io::{FinishedSlice, MAX_SLICES, MIN_SLICE_SIZE, Sink};

/// Bytes that are collected before they go to the sink.
const BUFFER: usize = 256 << 10;

/// Bytes from which on it is not worth while to collect them.
const LARGE: usize = 64 << 10;

/// The sink, and how many bytes it took. It is handed few and large pieces, however small members
/// are, and slices as long as it asks for.
#[derive(Debug)]
pub(crate) struct Output<S> {
    sink: S,
    offset: u64,
    buffer: Vec<u8>,
    cutter: Option<Cutter>,
}

/// Says where slices end, and keeps what the tables say of them.
#[derive(Debug)]
struct Cutter {
    size: u64,
    /// Of the slice that is being written: its length so far, its first bytes, its digest.
    len: u64,
    head: Vec<u8>,
    digest: Sha256,
    finished: Vec<Slice>,
}

impl<S: Sink> Output<S> {
    pub(crate) fn new(sink: S) -> Self {
        let cutter = sink.slice_size().map(|size| Cutter::new(size.max(MIN_SLICE_SIZE)));
        Self { sink, offset: 0, buffer: Vec::with_capacity(BUFFER), cutter }
    }

    /// Returns how many bytes were written.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the slice that the next byte goes to, and where in it, before the end of the archive.
    pub(crate) fn place(&self) -> (u32, u64) {
        match self.slice_size() {
            Some(size) => {
                let slice = u32::try_from(self.offset / size + 1).unwrap_or(u32::MAX);
                (slice, self.offset % size)
            }
            None => (1, self.offset),
        }
    }

    /// Returns the length of slices, when there are any.
    pub(crate) fn slice_size(&self) -> Option<u64> {
        self.cutter.as_ref().map(|cutter| cutter.size)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len() as u64;
        if bytes.len() >= LARGE || self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= LARGE {
            return self.emit(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends all that a reader gives; `failed` tells of what it fails with.
    pub(crate) fn copy(
        &mut self,
        reader: &mut dyn Read,
        failed: impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.write(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Appends bytes that must not be cut.
    pub(crate) fn write_uncut(&mut self, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        if self.cutter.as_ref().is_some_and(|cutter| cutter.room() < bytes.len() as u64) {
            self.finish_slice(false)?;
        }
        self.write(bytes)
    }

    /// Ends the slice at hand if it is full, because more follows; returns all that are finished.
    pub(crate) fn finished(&mut self) -> Result<Vec<Slice>> {
        self.flush()?;
        if self.cutter.as_ref().is_some_and(|cutter| cutter.room() == 0) {
            self.finish_slice(false)?;
        }
        Ok(self.cutter.as_ref().map(|cutter| cutter.finished.clone()).unwrap_or_default())
    }

    /// Tells the sink that all members were written.
    pub(crate) fn begin_listing(&mut self) -> Result<()> {
        self.flush()?;
        self.sink.begin_listing()
    }

    /// Ends the last slice and publishes the archive; returns the sink and the number of slices.
    pub(crate) fn publish(mut self, identity: &[u8; 32]) -> Result<(S, u64)> {
        self.flush()?;
        self.finish_slice(true)?;
        self.sink.publish(identity)?;
        Ok((self.sink, self.cutter.map_or(1, |cutter| cutter.finished.len() as u64)))
    }

    /// Hands the sink all that was collected.
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = mem::take(&mut self.buffer);
        let written = self.emit(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    /// Hands the sink bytes, cut where slices end.
    fn emit(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(cutter) = self.cutter.as_mut().filter(|_| !bytes.is_empty()) {
            let room = usize::try_from(cutter.room()).unwrap_or(usize::MAX);
            if room == 0 {
                self.finish_slice(false)?;
                continue;
            }
            let (within, rest) = bytes.split_at(bytes.len().min(room));
            cutter.add(within);
            self.sink.write(within)?;
            bytes = rest;
        }
        if bytes.is_empty() { Ok(()) } else { self.sink.write(bytes) }
    }

    fn finish_slice(&mut self, is_last: bool) -> Result<()> {
        let Some(cutter) = &mut self.cutter else {
            let len = self.offset;
            return self.sink.finish_slice(&FinishedSlice {
                number: 1,
                is_last,
                len,
                sha256: None,
            });
        };
        let slice = cutter.finish();
        let (len, sha256) = (slice.length, Some(slice.sha256));
        cutter.finished.push(slice);
        let number = cutter.finished.len() as u64;
        if number >= MAX_SLICES && !is_last {
            let (limit, actual) = (MAX_SLICES, number + 1);
            return Err(Error::Limit { what: "number of slices", limit, actual, raise: None });
        }
        self.sink.finish_slice(&FinishedSlice { number, is_last, len, sha256 })
    }
}

impl Cutter {
    fn new(size: u64) -> Self {
        Self { size, len: 0, head: Vec::new(), digest: Sha256::new(), finished: Vec::new() }
    }

    fn room(&self) -> u64 {
        self.size - self.len
    }

    fn add(&mut self, bytes: &[u8]) {
        let missing = size_of::<[u8; 16]>() - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Returns what is known of the slice at hand, and begins the next.
    fn finish(&mut self) -> Slice {
        let mut head = mem::take(&mut self.head);
        head.resize(size_of::<[u8; 16]>(), 0);
        Slice {
            length: mem::take(&mut self.len),
            head: head.try_into().unwrap_or_default(),
            sha256: self.digest.finalize_reset().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps slices in memory.
    #[derive(Default)]
    struct Slices {
        size: Option<u64>,
        done: Vec<(Vec<u8>, FinishedSlice)>,
        open: Vec<u8>,
    }

    impl Sink for Slices {
        fn write(&mut self, bytes: &[u8]) -> Result<()> {
            self.open.extend_from_slice(bytes);
            Ok(())
        }

        fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()> {
            self.done.push((mem::take(&mut self.open), slice.clone()));
            Ok(())
        }

        fn publish(&mut self, _identity: &[u8; 32]) -> Result<()> {
            Ok(())
        }

        fn slice_size(&self) -> Option<u64> {
            self.size
        }
    }

    fn written(size: Option<u64>, data: usize, uncut: usize) -> Vec<(Vec<u8>, FinishedSlice)> {
        let mut output = Output::new(Slices { size, ..Slices::default() });
        let bytes: Vec<u8> = (0..=250).cycle().take(data).collect();
        for piece in bytes.chunks(70_000) {
            output.write(piece).unwrap();
        }
        output.write_uncut(&vec![7; uncut]).unwrap();
        output.publish(&[0; 32]).unwrap().0.done
    }

    #[test]
    fn slices_are_as_long_as_was_asked_for_but_the_last_two() {
        for (size, data, lengths) in [
            (None, 9000, vec![9100]),
            (Some(4096), 3996, vec![4096]),
            (Some(4096), 3997, vec![3997, 100]),
            (Some(4096), 4096, vec![4096, 100]),
            (Some(4096), 4097, vec![4096, 101]),
            (Some(4096), 12_280, vec![4096, 4096, 4088, 100]),
            (Some(100_000), 250_000, vec![100_000, 100_000, 50_100]),
            // What is too small for the end of an archive is taken for the least that is not.
            (Some(1), 4096, vec![4096, 100]),
        ] {
            let slices = written(size, data, 100);
            let found: Vec<usize> = slices.iter().map(|slice| slice.0.len()).collect();
            assert_eq!(found, lengths, "{size:?} {data}");
            for (index, (bytes, told)) in slices.iter().enumerate() {
                assert_eq!(told.number, index as u64 + 1);
                assert_eq!(told.is_last, index + 1 == slices.len());
                assert_eq!(told.len, bytes.len() as u64);
                let digest: [u8; 32] = Sha256::digest(bytes).into();
                assert_eq!(told.sha256, size.map(|_| digest));
            }
        }
    }

    #[test]
    fn the_tables_speak_of_slices_that_are_full() {
        let mut output = Output::new(Slices { size: Some(4096), ..Slices::default() });
        output.write(&[1; 4095]).unwrap();
        assert!(output.finished().unwrap().is_empty());
        output.write(&[2; 4097]).unwrap();
        let slices = output.finished().unwrap();
        assert_eq!(slices.iter().map(|slice| slice.length).collect::<Vec<_>>(), [4096, 4096]);
        assert_eq!((slices[0].head, slices[1].head), ([1; 16], [2; 16]));
    }
}
