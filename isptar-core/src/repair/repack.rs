//! Packing members anew whose streams cannot be copied as they are: others were in them that are
//! given up, or bytes that no CRC covers are not as the writer makes them.

use std::ops::Range;

use super::probe::Probe;
use crate::archive::stream_limit;
use crate::error::Result;
use crate::format::entry::{Chunks, Entry, Location};
use crate::io::{ReadAt, Sink};
use crate::limits::Limits;
use crate::rewrite::{Regroup, is_here};
use crate::writer::ArchiveWriter;

/// Packs streams.
#[derive(Debug)]
pub(super) struct Repacker {
    regroup: Regroup,
    limits: Limits,
}

impl Repacker {
    pub(super) fn new(level: u8, limits: Limits) -> Self {
        Self { regroup: Regroup::new(level), limits }
    }

    /// Appends the members of `entries` that are in the streams at `range`, and records all
    /// entries; returns them as they were recorded.
    pub(super) fn repack<R: ReadAt>(
        &mut self,
        probe: &mut Probe<'_, R>,
        writer: &mut ArchiveWriter<&mut dyn Sink>,
        range: Range<u64>,
        mut entries: Vec<Entry>,
    ) -> Result<Vec<Entry>> {
        match entries.as_mut_slice() {
            [Entry { chunks: Some(chunks), location, packed, .. }] => {
                let offset = self.chunks(probe, writer, range.start, chunks)?;
                *location = Some(Location { depth: 0, slice: 1, offset, zoffset: 0 });
                *packed = Some(chunks.packed.iter().sum());
            }
            entries => self.group(probe, writer, range.start, entries)?,
        }
        entries.iter().try_for_each(|entry| writer.put_entry(entry))?;
        Ok(entries)
    }

    /// Packs the streams of one member each for itself; returns where they begin.
    fn chunks<R: ReadAt>(
        &mut self,
        probe: &mut Probe<'_, R>,
        writer: &mut ArchiveWriter<&mut dyn Sink>,
        mut at: u64,
        chunks: &mut Chunks,
    ) -> Result<u64> {
        let limit = stream_limit(&self.limits).max(chunks.size.saturating_add(512));
        let mut first = None;
        for packed in &mut chunks.packed {
            let end = probe.decode(at, limit)?.map_err(|kind| kind.at(at))?;
            let (offset, len) = self.regroup.pack(writer, probe.text())?;
            first.get_or_insert(offset);
            *packed = len;
            at = end;
        }
        Ok(first.unwrap_or(0))
    }

    /// Packs what is kept of one stream.
    fn group<R: ReadAt>(
        &mut self,
        probe: &mut Probe<'_, R>,
        writer: &mut ArchiveWriter<&mut dyn Sink>,
        at: u64,
        entries: &mut [Entry],
    ) -> Result<()> {
        if !entries.iter().any(is_here) {
            return Ok(());
        }
        // It was whole when it was scanned.
        probe.decode(at, stream_limit(&self.limits))?.map_err(|kind| kind.at(at))?;
        self.regroup.begin();
        for location in entries.iter_mut().filter_map(|entry| entry.location.as_mut()) {
            if location.depth > 0 {
                continue;
            }
            let member = probe.member_at(location.zoffset).map_err(|kind| kind.at(at))?;
            location.zoffset = self.regroup.add(member);
        }
        self.regroup.seal(writer, entries)
    }
}
