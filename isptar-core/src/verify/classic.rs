//! The job on an archive of the original program.

use std::collections::HashSet;

use super::job::{Job, VerifyLane};
use super::walk::{drain, next_head};
use crate::error::{Error, Result};
use crate::format::gzip;
use crate::io::{ReadAt, Tolerant};

/// Checks the files by the listing and then, because headers stand at the ends of streams that
/// belong to others, the CRC of every stream of the archive.
pub(super) fn verify<R: ReadAt>(job: &mut Job<'_, R>, lane: &mut VerifyLane<'_>) -> Result<()> {
    let before = job.tell.report.damaged;
    let mut files = HashSet::new();
    let archive = job.ground.archive;
    job.each_entry(lane, &mut |entry| {
        if entry.location.is_some_and(|location| location.depth == 0) {
            files.extend(archive.data_offset(entry));
        }
    })?;
    if job.ground.options.quick {
        return Ok(());
    }
    let told = job.tell.report.damaged > before;
    let source = &Tolerant::new(archive.source());
    let end = archive.size();
    // All heads are alike; which bytes they are depends on the library that was used.
    let mut head = gzip::HEAD;
    let read = source.read_exact_at(&mut head, 0);
    read.map_err(|source| Error::input(0, source))?;
    let mut at = 0;
    while at < end {
        job.tell.go_on()?;
        at = match drain(source, at..end)? {
            Ok(next) => next,
            Err(kind) => {
                let next = next_head(source, at + 1..end, &head)?;
                // The stream of a file that was told already is not told again.
                if !(told && files.contains(&at)) {
                    job.tell.beyond(at..next, &kind.at(at));
                }
                next
            }
        };
    }
    for (range, error) in source.close() {
        job.tell.beyond(range, &error);
    }
    Ok(())
}
