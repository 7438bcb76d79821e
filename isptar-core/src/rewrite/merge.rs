//! A chain of archives as one archive, or as a shorter chain.

use super::copier::Copier;
use super::{RewriteOptions, RewriteReport, level_at};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::format::entry::Location;
use crate::format::tables::Base;
use crate::format::text::digest_text;
use crate::io::{ReadAt, Sink};
use crate::observe::{Event, Observer};
use crate::writer::ArchiveWriter;

/// Writes an archive of the same entries as `newest` that has the bytes of the members which are in
/// `newest` and in its nearest bases, `merged` archives in all, and publishes it. The other bases
/// stay its bases; with all of them merged, it has none.
///
/// # Errors
///
/// [`Error::Foreign`] for a classic archive, [`Error::NoBase`]; those of reading members, and
/// [`Error::Output`]. Nothing is published then.
pub fn merge<R: ReadAt>(
    sink: &mut dyn Sink,
    newest: &Archive<R>,
    merged: u32,
    options: &RewriteOptions,
    observer: &mut dyn Observer,
) -> Result<RewriteReport> {
    if newest.is_classic() {
        return Err(Error::Foreign { what: "an archive of the original isptar" });
    }
    let info = newest.info();
    let level = level_at(newest, 0)?;
    let mut writer_options = options.writer(level, info.created);
    writer_options.sorted = info.sorted;
    let mut writer = ArchiveWriter::new(sink, &writer_options)?;
    writer.set_bases(remaining(&newest.tables().bases, merged));
    if info.incomplete {
        writer.set_incomplete();
    }
    if info.parts {
        writer.set_parts();
    }
    observer.event(Event::Planned { members: info.entries, bytes: info.content_size.unwrap_or(0) });
    let mut copier = Copier::new(newest, level, options.verify);
    let mut report = RewriteReport::default();
    for entry in newest.entries() {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        let mut entry = entry?;
        match &mut entry.location {
            Some(Location { depth, .. }) if *depth < merged => {
                copier.take(&mut writer, entry, observer)?;
            }
            location => {
                if let Some(Location { depth, .. }) = location {
                    *depth = *depth - merged + 1;
                }
                report.carried += 1;
                copier.pass(&mut writer, entry)?;
            }
        }
    }
    copier.flush(&mut writer, observer)?;
    report.add(copier.copied);
    let (_, written) = writer.finish()?;
    report.finish(&written);
    Ok(report)
}

/// Says which archives the bases of `newest` are that are to be merged, nearest first; all of them
/// must be among its bases.
///
/// # Errors
///
/// [`Error::NotABase`] and [`Error::NoBase`], with both identities; those of
/// [`Archive::identity`].
pub fn attach_chain<R: ReadAt>(newest: &mut Archive<R>, older: Vec<Archive<R>>) -> Result<()> {
    let bases = newest.tables().bases.len();
    if let Some(surplus) = older.get(bases) {
        let [newest, actual] = [newest.identity()?, surplus.identity()?].map(|it| digest_text(&it));
        return Err(Error::NotABase { newest, actual, bases });
    }
    newest.attach_bases(older)
}

/// Returns the bases that stay, nearest first.
fn remaining(bases: &[Base], merged: u32) -> Vec<Base> {
    let stays = bases.iter().filter(|base| base.depth >= merged);
    stays.map(|base| Base { depth: base.depth - merged + 1, ..base.clone() }).collect()
}
