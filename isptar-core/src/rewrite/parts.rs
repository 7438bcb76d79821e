//! Several archives as the named parts of one.

use std::collections::HashSet;

use super::copier::Copier;
use super::{RewriteOptions, RewriteReport, level_at};
use crate::archive::Archive;
use crate::error::{Error, FormatError, PartProblem, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::member::MemberHeader;
use crate::format::timestamp::Timestamp;
use crate::io::{ReadAt, Sink, archive_of_file};
use crate::limits::Limits;
use crate::observe::Observer;
use crate::pack::{Details, MemberPacker};
use crate::path::{MemberPath, printable};
use crate::verify::corrupt;
use crate::writer::ArchiveWriter;

/// Name of the symbolic link that ends a part, but for its number.
const END: &[u8] = b".partname.";

/// Key of the end of a part whose archive says that something could not be read.
const INCOMPLETE: &[u8] = b"incomplete";

/// An archive that is to be a part of another.
#[derive(Debug, Clone)]
pub struct Part<'a, R> {
    /// What the part is called: one path component. The parts of an archive that has such keep
    /// their names, and this is not looked at.
    pub name: Vec<u8>,
    /// The archive, with its bases.
    pub archive: &'a Archive<R>,
}

/// A part of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartInfo {
    /// What it is called.
    pub name: Vec<u8>,
    /// How many entries of the listing stand before its first one, and how many it has.
    pub start: u64,
    /// How many entries it has, its end apart.
    pub entries: u64,
    /// When its archive was begun, in seconds since 1970.
    pub created: Option<u64>,
    /// Whether something that should be in it is not.
    pub incomplete: bool,
    /// Level at which its archive is packed again.
    pub(super) level: u8,
}

impl PartInfo {
    /// Checks that the part may become an archive of its own that is called like it: not what
    /// another archive's slice, or a file that is left of its writing, would be called. Whoever
    /// writes that other archive removes such files.
    ///
    /// # Errors
    ///
    /// [`Error::Part`].
    pub fn check_file_name(&self) -> Result<()> {
        match archive_of_file(&self.name) {
            Some(archive) => Err(PartProblem::OfAnother(printable(archive)).of(&self.name)),
            None => Ok(()),
        }
    }
}

/// Checks the name of a part: it names a file in a directory.
///
/// # Errors
///
/// [`Error::Part`].
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    let is_name = !matches!(name, b"" | b"." | b"..")
        && !name.iter().any(|&byte| matches!(byte, 0 | b'/'))
        && name.len() <= 255;
    match is_name {
        true => Ok(()),
        false => Err(PartProblem::Name.of(name)),
    }
}

/// Returns whether an entry has the name of the end of a part.
pub(super) fn is_end_name(path: &MemberPath) -> bool {
    let number = path.as_bytes().strip_prefix(END);
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Returns the name of the part that an entry is the end of.
pub(super) fn name_of_end(entry: &Entry) -> Result<Option<Vec<u8>>> {
    if !is_end_name(&entry.path) {
        return Ok(None);
    }
    let name = match &entry.kind {
        Kind::Symlink { target } => target.strip_prefix(b"."),
        _ => None,
    };
    match name {
        Some(name) => check_name(name).map(|()| Some(name.to_vec())),
        None => Err(corrupt(entry, FormatError::Missing("name of a part"))),
    }
}

/// Returns the part that an entry is the end of, whose first entry is number `start` of the listing,
/// and which is number `number` itself.
fn part_of_end<R: ReadAt>(
    archive: &Archive<R>,
    entry: &Entry,
    start: u64,
    number: u64,
) -> Result<Option<PartInfo>> {
    let Some(name) = name_of_end(entry)? else { return Ok(None) };
    let created = entry.mtime.and_then(|mtime| u64::try_from(mtime.seconds()).ok());
    Ok(Some(PartInfo {
        name,
        start,
        entries: number - start,
        created: created.filter(|&created| created > 0),
        incomplete: entry.unknown.iter().any(|(key, _)| key == INCOMPLETE),
        // It was packed like the part.
        level: level_at(archive, entry.claimed_range().start)?,
    }))
}

/// Returns the parts of an archive, in their order; none of one that is not merged.
///
/// # Errors
///
/// [`Error::Part`], [`Error::Corrupt`], [`Error::CorruptMember`] or [`Error::Input`].
pub fn parts_of<R: ReadAt>(archive: &Archive<R>) -> Result<Vec<PartInfo>> {
    let (mut parts, mut names) = (Vec::new(), HashSet::new());
    let (mut start, mut number) = (0, 0);
    if !archive.info().parts {
        return Ok(parts);
    }
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_ref() {
        let entry = entry?;
        if entry.path.as_bytes().starts_with(END)
            && let Some(part) = part_of_end(archive, &entry.into_owned(), start, number)?
        {
            if !names.insert(part.name.clone()) {
                return Err(PartProblem::Twice.of(&part.name));
            }
            start = number + 1;
            parts.push(part);
        }
        number += 1;
    }
    if start != number {
        let kind = FormatError::mismatch("entries behind the last part", 0, number - start);
        return Err(kind.at(archive.listing_start()));
    }
    Ok(parts)
}

/// Makes an archive give out the entries of one of its parts alone.
///
/// # Errors
///
/// [`Error::NoParts`], [`Error::Part`] when it has none of that name, and those of [`parts_of`].
pub fn select_part<R: ReadAt>(archive: &mut Archive<R>, name: &[u8]) -> Result<()> {
    let parts = parts_of(archive)?;
    if parts.is_empty() {
        return Err(Error::NoParts);
    }
    let part = parts.iter().find(|part| part.name == name);
    let part = part.ok_or_else(|| {
        let names: Vec<String> = parts.iter().map(|part| printable(&part.name)).collect();
        PartProblem::Unknown(names.join(", ")).of(name)
    })?;
    archive.give_out(part.start..part.start.saturating_add(part.entries));
    Ok(())
}

/// Writes an archive that has others as its parts, one after the other, and publishes it. Members
/// that are in bases come along. Parts of an archive that is merged itself become parts of the new
/// one.
///
/// # Errors
///
/// [`Error::Part`]; [`Error::Foreign`] for a classic archive; those of reading members, and
/// [`Error::Output`]. Nothing is published then.
pub fn merge_parts<R: ReadAt>(
    sink: &mut dyn Sink,
    parts: &[Part<'_, R>],
    options: &RewriteOptions,
    observer: &mut dyn Observer,
) -> Result<RewriteReport> {
    let mut level = 0;
    for part in parts {
        if part.archive.is_classic() {
            return Err(Error::Foreign { what: "an archive of the original isptar" });
        }
        level = level_at(part.archive, 0)?.max(level);
    }
    let created = parts.iter().filter_map(|part| part.archive.info().created).max();
    let mut writer = ArchiveWriter::new(sink, &options.writer(level, created))?;
    writer.set_parts();
    let mut merger = Merger {
        writer,
        verify: options.verify,
        names: HashSet::new(),
        observer,
        report: RewriteReport::default(),
    };
    for part in parts {
        if part.archive.info().incomplete {
            merger.writer.set_incomplete();
        }
        merger.part(part).map_err(|error| in_part(&part.name, error))?;
    }
    let (_, written) = merger.writer.finish()?;
    merger.report.finish(&written);
    Ok(merger.report)
}

/// Says which archive an error is about, unless it is about the new one.
fn in_part(name: &[u8], error: Error) -> Error {
    match error {
        Error::Part { .. } | Error::Output { .. } | Error::Cancelled => error,
        error => Error::InPart { name: printable(name), error: Box::new(error) },
    }
}

/// Writes parts.
struct Merger<'s, 'o> {
    writer: ArchiveWriter<&'s mut dyn Sink>,
    verify: bool,
    /// Names of the parts so far.
    names: HashSet<Vec<u8>>,
    observer: &'o mut dyn Observer,
    report: RewriteReport,
}

impl Merger<'_, '_> {
    /// Writes one archive.
    fn part<R: ReadAt>(&mut self, part: &Part<'_, R>) -> Result<()> {
        let archive = part.archive;
        let level = level_at(archive, 0)?;
        let mut copier = Copier::new(archive, level, self.verify);
        let (mut start, mut number) = (0, 0);
        for entry in archive.entries() {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let entry = entry?;
            if !is_end_name(&entry.path) {
                self.report.carried += u64::from(entry.location.is_none());
                copier.take(&mut self.writer, entry, self.observer)?;
            } else if archive.info().parts
                && let Some(part) = part_of_end(archive, &entry, start, number)?
            {
                copier.flush(&mut self.writer, self.observer)?;
                self.end(&part)?;
                start = number + 1;
            } else {
                // Nobody could tell it from the end of a part.
                return Err(PartProblem::Reserved(entry.path).of(&part.name));
            }
            number += 1;
        }
        copier.flush(&mut self.writer, self.observer)?;
        self.report.add(copier.copied);
        if archive.info().parts {
            return Ok(());
        }
        let info = archive.info();
        self.end(&PartInfo {
            name: part.name.clone(),
            start: 0,
            entries: number,
            created: info.created,
            incomplete: info.incomplete,
            level,
        })
    }

    /// Writes the end of a part.
    fn end(&mut self, part: &PartInfo) -> Result<()> {
        check_name(&part.name)?;
        if !self.names.insert(part.name.clone()) {
            return Err(PartProblem::Twice.of(&part.name));
        }
        let path = [END, self.names.len().to_string().as_bytes()].concat();
        let target = [b".", part.name.as_slice()].concat();
        let seconds = part.created.and_then(|created| i64::try_from(created).ok()).unwrap_or(0);
        let header = MemberHeader {
            mode: 0o600,
            mtime: Timestamp::new(seconds, 0),
            ..MemberHeader::new(MemberPath::new(path), Kind::Symlink { target })
        };
        let mut stream = Vec::new();
        let mut packer = MemberPacker::new(part.level, Limits::default());
        let packed = packer.pack_whole(&header, Details::default(), &[], &mut stream);
        let unstorable = |kind| Error::Unstorable { path: header.path.clone(), kind };
        let mut entry = packed.map_err(unstorable)?;
        if part.incomplete {
            entry.unknown.push((INCOMPLETE.to_vec(), b"1".to_vec()));
        }
        self.writer.push(entry, &stream)?;
        Ok(())
    }
}
