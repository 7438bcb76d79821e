//! The parts of an archive as archives of their own again.

use super::copier::Copier;
use super::parts::{PartInfo, parts_of};
use super::{RewriteOptions, RewriteReport};
use crate::archive::{Archive, Entries};
use crate::error::{Error, FormatError, Result};
use crate::format::entry::Entry;
use crate::io::{ReadAt, Sink};
use crate::observe::Observer;
use crate::writer::{ArchiveWriter, WriterOptions};

/// Says where the parts of an archive go.
pub trait PartSinks: Observer {
    /// Returns where a part goes; `None` leaves it out.
    ///
    /// # Errors
    ///
    /// Whatever ends the job.
    fn sink(&mut self, part: &PartInfo) -> Result<Option<Box<dyn Sink>>>;

    /// Is told of the archive that a part became.
    fn done(&mut self, part: &PartInfo, archive: RewriteReport);
}

/// Writes the parts of an archive as archives of their own and publishes each when it is complete.
///
/// # Errors
///
/// [`Error::NoParts`], [`Error::Part`], [`Error::Foreign`] for a classic archive; those of reading
/// members, of `sinks`, and [`Error::Output`]. What was published before stays.
pub fn split<R: ReadAt>(
    archive: &Archive<R>,
    options: &RewriteOptions,
    sinks: &mut dyn PartSinks,
) -> Result<()> {
    if archive.is_classic() {
        return Err(Error::Foreign { what: "an archive of the original isptar" });
    }
    let parts = parts_of(archive)?;
    if parts.is_empty() {
        return Err(Error::NoParts);
    }
    let mut entries = archive.entries();
    for part in parts {
        match sinks.sink(&part)? {
            Some(sink) => {
                let report = one(archive, &part, &mut entries, sink, options, sinks)?;
                sinks.done(&part, report);
            }
            None => {
                for _ in 0..part.entries {
                    next(&mut entries)?;
                }
            }
        }
        // Its end.
        next(&mut entries)?;
    }
    Ok(())
}

fn next<R: ReadAt>(entries: &mut Entries<'_, R>) -> Result<Entry> {
    let missing = || FormatError::Missing("entry of a part").at(0);
    entries.next().unwrap_or_else(|| Err(missing()))
}

/// Writes one part.
fn one<R: ReadAt>(
    archive: &Archive<R>,
    part: &PartInfo,
    entries: &mut Entries<'_, R>,
    sink: Box<dyn Sink + '_>,
    options: &RewriteOptions,
    observer: &mut dyn Observer,
) -> Result<RewriteReport> {
    let writer_options =
        WriterOptions { sorted: false, ..options.writer(part.level, part.created) };
    let mut writer = ArchiveWriter::new(sink, &writer_options)?;
    if part.incomplete {
        writer.set_incomplete();
    }
    let mut copier = Copier::new(archive, part.level, options.verify);
    let mut report = RewriteReport::default();
    for _ in 0..part.entries {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let entry = next(entries)?;
        report.carried += u64::from(entry.location.is_none());
        copier.take(&mut writer, entry, observer)?;
    }
    copier.flush(&mut writer, observer)?;
    report.add(copier.copied);
    let (_, written) = writer.finish()?;
    report.finish(&written);
    Ok(report)
}
