//! A chain of archives as one archive, or as a shorter chain.

use super::copier::{Copier, check_depth};
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
        check_depth(newest, &entry)?;
        match &mut entry.location {
            Some(Location { depth, .. }) if *depth < merged => {
                copier.take(&mut writer, entry, observer)?;
            }
            location => {
                if let Some(Location { depth, .. }) = location {
                    *depth = *depth - merged + 1;
                }
                report.carried += 1;
                copier.pass(&mut writer, entry, observer)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{ExtractOptions, extract};
    use crate::format::entry::{Entry, Kind};
    use crate::format::member::MemberHeader;
    use crate::io::WriteSink;
    use crate::pack::Details;
    use crate::select::Selection;
    use crate::verify::{VerifyOptions, verify};
    use crate::writer::WriterOptions;

    /// What was said of members that are not as they should be.
    #[derive(Default)]
    struct Told(Vec<String>);

    impl Observer for Told {
        fn event(&mut self, event: Event<'_>) {
            match event {
                Event::LeftOut { path, reason } => self.0.push(format!("{path}: {reason}")),
                Event::Failed { path, error } => self.0.push(format!("{path}: {error}")),
                _ => {}
            }
        }
    }

    /// Makes a base with one file, and an archive on it that could not read that file.
    fn lost() -> [Vec<u8>; 2] {
        let (mut base, mut newest) = (Vec::new(), Vec::new());
        let options = WriterOptions::default();
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut base), &options).unwrap();
        let header = MemberHeader::new("f", Kind::File { size: 3 });
        let mut entry = writer.append(&header, Details::default(), &b"old"[..]).unwrap();
        let (_, written) = writer.finish().unwrap();
        entry.location.as_mut().unwrap().depth = 1;
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut newest), &options).unwrap();
        let (identity, name) = (written.identity, b"base".to_vec());
        writer.set_bases(vec![Base { depth: 1, identity, name }]);
        writer.put_entry(&Entry { lost: Some("unreadable".into()), ..entry }).unwrap();
        writer.set_incomplete();
        writer.finish().unwrap();
        [base, newest]
    }

    #[test]
    fn an_owner_whose_name_has_changed_since_is_no_damage() {
        let (mut base, mut newest) = (Vec::new(), Vec::new());
        let options = WriterOptions::default();
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut base), &options).unwrap();
        let mut entries = Vec::new();
        for (name, size) in [("big", 3 << 20), ("small", 3)] {
            let mut header = MemberHeader::new(name, Kind::File { size });
            (header.user, header.uid) = (b"bob".to_vec(), 7);
            let data = std::io::Read::take(std::io::repeat(7), size);
            entries.push(writer.append(&header, Details::default(), data).unwrap());
        }
        let (_, written) = writer.finish().unwrap();
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut newest), &options).unwrap();
        writer.set_bases(vec![Base { depth: 1, identity: written.identity, name: b"b".to_vec() }]);
        for mut entry in entries {
            entry.location.as_mut().unwrap().depth = 1;
            entry.user = b"robert".to_vec();
            writer.put_entry(&entry).unwrap();
        }
        writer.finish().unwrap();
        let mut newest = Archive::open(newest).unwrap();
        attach_chain(&mut newest, vec![Archive::open(base).unwrap()]).unwrap();
        for verifying in [false, true] {
            let mut bytes = Vec::new();
            let options = RewriteOptions { verify: verifying, ..RewriteOptions::default() };
            merge(&mut WriteSink::new(&mut bytes), &newest, 2, &options, &mut ()).unwrap();
            let merged = Archive::open(bytes).unwrap();
            let all = Selection::default();
            let report = verify(&merged, &all, &VerifyOptions::default(), &mut ()).unwrap();
            assert!(report.is_good(), "{report:?}");
        }
    }

    #[test]
    fn a_depth_that_no_base_has_is_not_merged() {
        let [_, newest] = lost();
        let newest = Archive::open(newest).unwrap();
        let mut bytes = Vec::new();
        let options = WriterOptions::default();
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options).unwrap();
        for entry in newest.entries() {
            writer.put_entry(&entry.unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let archive = Archive::open(bytes).unwrap();
        let options = RewriteOptions::default();
        let merged = merge(&mut WriteSink::new(Vec::new()), &archive, 1, &options, &mut ());
        assert!(matches!(merged, Err(Error::CorruptMember { .. })), "{merged:?}");
    }

    #[test]
    fn what_could_not_be_read_brings_its_old_bytes() {
        let [base, newest] = lost();
        let mut newest = Archive::open(newest).unwrap();
        attach_chain(&mut newest, vec![Archive::open(base).unwrap()]).unwrap();
        let mut bytes = Vec::new();
        let options = RewriteOptions::default();
        merge(&mut WriteSink::new(&mut bytes), &newest, 2, &options, &mut ()).unwrap();
        let merged = Archive::open(bytes).unwrap();
        assert!(merged.info().incomplete);
        let all = Selection::default();
        for archive in [&newest, &merged] {
            let report = verify(archive, &all, &VerifyOptions::default(), &mut ()).unwrap();
            assert!(report.is_good(), "{report:?}");
            assert_eq!(report.lost, 1);
        }
        let mut told = Vec::new();
        for archive in [&newest, &merged] {
            let target = tempfile::tempdir().unwrap();
            let mut observer = Told::default();
            extract(archive, &all, target.path(), &ExtractOptions::default(), &mut observer)
                .unwrap();
            assert_eq!(std::fs::read(target.path().join("f")).unwrap(), b"old");
            told.push(observer.0);
        }
        assert_eq!(told[0], told[1]);
    }
}
