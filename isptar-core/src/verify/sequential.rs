//! The job on a tar that is read from front to back.

use std::collections::HashSet;
use std::io::Read;

use super::VerifyReport;
use super::survey::clean;
use super::tell::Tell;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::format::INFO_NAME;
use crate::format::entry::{Entry, Kind};
use crate::observe::{Observer, Warning};
use crate::scan::{Scanned, TarReader};
use crate::select::Selection;

/// See [`super::verify_sequential`].
pub(super) fn verify<R: Read>(
    tar: &mut TarReader<R>,
    selection: &Selection,
    observer: &mut dyn Observer,
) -> Result<VerifyReport> {
    let mut tell = Tell::new(observer);
    let mut met = HashSet::new();
    let limits = *tar.limits();
    loop {
        tell.go_on()?;
        match tar.next() {
            Ok(None) => break,
            Ok(Some(mut member)) => {
                let entry = member.entry();
                let is_dir = entry.kind == Kind::Directory;
                let meant = selection.matches(&clean(&entry.path, &limits), is_dir, |hit| {
                    met.insert(hit);
                });
                match read(&mut member, &entry, meant, &mut tell) {
                    Ok(()) => {}
                    Err(error) if error.is_damage() => tell.damaged(&entry.path, &error),
                    Err(error) => return Err(error),
                }
            }
            // The reader goes on with the next good member.
            Err(error) if error.is_damage() => tell_damage(tar, &error, &mut tell),
            Err(error) => return Err(error),
        }
    }
    for entry in tar.lost() {
        tell.lost(entry);
    }
    tell.missing(selection, &met);
    Ok(tell.report)
}

/// Tells of damage that was met between members.
fn tell_damage<R: Read>(tar: &TarReader<R>, error: &Error, tell: &mut Tell<'_>) {
    let damage = tar.damage().cloned().unwrap_or_default();
    match &damage.path {
        // What only ours have: the listing.
        Some(path) if tar.is_ours() && path.as_bytes().starts_with(INFO_NAME) => {
            tell.beyond(damage.range, error);
        }
        Some(path) => tell.damaged(path, error),
        None => tell.unnamed(damage.range, error),
    }
}

/// Reads a member to its end, which is all that there is to be checked.
fn read<R: Read>(
    member: &mut Scanned<'_, R>,
    entry: &Entry,
    meant: bool,
    tell: &mut Tell<'_>,
) -> Result<()> {
    for warning in member.warnings() {
        tell.warn(&entry.path, &Warning::Header(warning.clone()));
    }
    while let Some(piece) = member.next_piece()? {
        let len = piece.bytes.len() as u64;
        tell.progress(len);
        tell.go_on()?;
    }
    if meant {
        tell.report.bytes = tell.report.bytes.saturating_add(entry.kind.size());
        tell.whole(entry);
    }
    Ok(())
}
