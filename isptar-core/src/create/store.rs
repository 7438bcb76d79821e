//! The part of the job that works in order: storing what was packed, and telling of it.

use std::collections::HashSet;

use std::path::PathBuf;

use super::batch::Worker;
use super::big::{BigFile, Chunk, PackedChunk, Seen};
use super::file;
use super::item::{Item, Packed};
use super::layout::Layout;
use super::moved::{Moved, Stored};
use super::supply::Spooled;
use super::{CreateOptions, CreateReport};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::format::tables::Base;
use crate::observe::{Event, Observer, Warning};
use crate::pack::entry_of;
use crate::path::{MemberName, MemberPath};
use crate::run::Run;
use crate::source::Tally;

/// A big file of which chunks are being stored.
struct OpenBig<M> {
    file: Box<BigFile>,
    member: M,
    seen: Seen,
}

/// Stores items in order.
pub(super) struct Store<W: Layout> {
    pub(super) writer: W,
    pub(super) report: CreateReport,
    moved: Moved,
    /// First names of files with several names that were read and found unchanged.
    unchanged: HashSet<MemberPath>,
    /// Packs what must be packed anew.
    pub(super) worker: Worker,
    groups: bool,
    /// Where the stream is that members of a group share.
    shared: u64,
    big: Option<OpenBig<W::Open>>,
    /// Where to spool, and the member that is being spooled.
    pub(super) spool: Option<PathBuf>,
    pub(super) spooled: Option<Spooled>,
}

impl<W: Layout> Store<W> {
    pub(super) fn new(mut writer: W, options: &CreateOptions) -> Self {
        writer.defer_blocks();
        Self {
            writer,
            report: CreateReport::default(),
            moved: Moved::default(),
            unchanged: HashSet::new(),
            worker: Worker::new(options),
            groups: options.group() > 0,
            shared: 0,
            big: None,
            spool: options.spool.clone(),
            spooled: None,
        }
    }

    /// Returns the text of a block of the listing that is to be packed.
    pub(super) fn full_block(&mut self) -> Option<Vec<u8>> {
        self.writer.full_block()
    }

    /// Takes a packed block of the listing.
    pub(super) fn put_block(&mut self, stream: &[u8]) -> Result<()> {
        self.writer.put_block(stream)
    }

    /// Records entries that have no bytes here.
    pub(super) fn run(&mut self, run: &Run) -> Result<()> {
        self.writer.put_run(run)
    }

    /// Returns whether entries that refer to a base become members.
    pub(super) fn carries(&self) -> bool {
        self.writer.carries()
    }

    /// Says which bases there are.
    pub(super) fn set_bases(&mut self, bases: Vec<Base>) -> Result<()> {
        self.writer.set_bases(bases)
    }

    /// Returns whether an item can be in an archive at all: names can be longer or deeper than any
    /// reader takes.
    pub(super) fn takes(&self, item: &Item) -> bool {
        self.takes_name(&item.header.path)
    }

    /// Returns whether every reader takes a name.
    pub(super) fn takes_name(&self, path: &MemberName<'_>) -> bool {
        self.writer.takes(path)
    }

    /// Stores a batch.
    pub(super) fn batch(
        &mut self,
        members: &mut Vec<(Item, Packed)>,
        stream: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if !self.groups || !(self.breaks_group(members) || self.tears_group(members)) {
            let mut members = members.drain(..);
            return members
                .try_for_each(|(item, packed)| self.item(item, packed, stream, observer));
        }
        // A member cannot be taken out of a stream that is packed.
        let mut alone = Vec::new();
        for (mut item, mut packed) in members.drain(..) {
            alone.clear();
            if let Packed::Whole { entry, .. } = packed {
                item.take_back(*entry);
                packed = self.worker.alone(&mut item, &mut alone);
            }
            self.item(item, packed, &alone, observer)?;
        }
        Ok(())
    }

    /// Returns whether one of the members must be stored otherwise than it was packed, which is as
    /// a hard link to a name that does not have its content.
    fn breaks_group(&self, members: &[(Item, Packed)]) -> bool {
        let mut without = HashSet::new();
        members.iter().any(|(item, packed)| {
            let kind = match packed {
                Packed::Whole { entry, .. } => &entry.kind,
                _ => &item.header.kind,
            };
            let broken = match kind {
                Kind::HardLink { target } => self.moved.has(target) || without.contains(target),
                _ => false,
            };
            let is_whole = matches!(packed, Packed::Whole { same: true, .. } | Packed::Unchanged);
            if item.has_several_names() && !is_whole {
                without.insert(&item.found.path);
            }
            broken
        })
    }

    /// Returns whether something is copied from the base between members of a group: for plain tar
    /// members must come in the order of names.
    fn tears_group(&self, members: &[(Item, Packed)]) -> bool {
        let is_packed = |(_, packed): &(Item, Packed)| matches!(packed, Packed::Whole { .. });
        let mut between = members.iter().skip_while(|member| !is_packed(member));
        let is_copied = |member: &(Item, Packed)| !is_packed(member) && member.0.old.is_some();
        self.carries() && between.any(is_copied)
    }

    /// Stores an item; what no reader would take is told.
    pub(super) fn item(
        &mut self,
        mut item: Item,
        mut packed: Packed,
        stream: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if let Some(run) = item.before.take() {
            self.run(&run)?;
        }
        if item.as_first().is_some_and(|first| self.unchanged.contains(first)) {
            packed = Packed::Unchanged;
        }
        let mut again = Vec::new();
        let moved_from = self.move_link(&mut item, &mut packed, &mut again);
        let stream = if again.is_empty() { stream } else { &again };
        if let Some(error) = item.lost_directory() {
            self.fail(&item.found.path, &error, observer);
        }
        let stored = match self.packed(&mut item, packed, stream, observer) {
            // Longer or deeper than any reader takes.
            Err(error @ (Error::Unstorable { .. } | Error::UnsafePath { .. })) => {
                self.fail(&item.found.path, &error, observer);
                Stored::Without
            }
            stored => stored?,
        };
        self.moved.settle(item, stored, moved_from);
        Ok(())
    }

    /// Packs a hard link anew whose content is not under the name that it leads to. Returns that
    /// name when the content may now be under this one.
    fn move_link(
        &mut self,
        item: &mut Item,
        packed: &mut Packed,
        stream: &mut Vec<u8>,
    ) -> Option<MemberPath> {
        if self.moved.is_empty() {
            return None;
        }
        let kind = match packed {
            Packed::Whole { entry, .. } => &entry.kind,
            _ => &item.header.kind,
        };
        let Kind::HardLink { target } = kind else { return None };
        let (kind, first) = self.moved.instead_of(target, item)?;
        if let Packed::Whole { entry, .. } = std::mem::replace(packed, Packed::Vanished) {
            item.take_back(*entry);
        }
        item.header.kind = kind;
        *packed = self.worker.alone(item, stream);
        first
    }

    fn packed(
        &mut self,
        item: &mut Item,
        packed: Packed,
        stream: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<Stored> {
        match packed {
            Packed::Unchanged => self.unchanged(item),
            Packed::Whole { entry, same } => {
                let entry = self.whole(*entry, stream)?;
                tell_why(item, observer);
                for warning in &item.warnings {
                    self.warn(&entry.path, warning, observer);
                }
                observer.event(Event::Progress { bytes: entry.kind.size() });
                self.done(&entry, observer);
                Ok(if same { Stored::Whole } else { Stored::Other })
            }
            Packed::Big(big) => {
                let begun = self.begin(big, observer)?;
                tell_why(item, observer);
                Ok(begun)
            }
            Packed::Grown => self.grown(item, observer),
            Packed::Vanished => {
                self.report.vanished += 1;
                let (path, warning) = (&item.found.path, &Warning::Vanished);
                observer.event(Event::Warning { path, warning });
                self.lose(item, "vanished")
            }
            Packed::Failed(error) => {
                self.fail(&item.found.path, &error, observer);
                self.lose(item, "unreadable")
            }
        }
    }

    /// Stores a member that is in `stream`: with its streams, or in the one of the member before.
    fn whole(&mut self, mut entry: Entry, stream: &[u8]) -> Result<Entry> {
        if let Some(location) = entry.location.as_mut().filter(|location| location.zoffset > 0) {
            location.offset = self.shared;
            self.writer.put_entry(&entry)?;
            return Ok(entry);
        }
        let range = entry.claimed_range();
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        let stream = stream.get(at(range.start)..at(range.end)).unwrap_or_default();
        let entry = self.writer.push(entry, stream)?;
        self.shared = entry.location.map_or(0, |location| location.offset);
        Ok(entry)
    }

    /// Begins to store a file of several chunks.
    fn begin(&mut self, file: Box<BigFile>, observer: &mut dyn Observer) -> Result<Stored> {
        for warning in &file.warnings {
            self.warn(&file.header.path, warning, observer);
        }
        let member = self.writer.begin(&file.header, file.source.chunk_size())?;
        let stored = if file.same { Stored::Whole } else { Stored::Other };
        self.big = Some(OpenBig { file, member, seen: Seen::default() });
        Ok(stored)
    }

    /// Stores the next chunk of the file that was begun.
    pub(super) fn chunk(
        &mut self,
        chunk: &mut PackedChunk,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        // Of a file that could not be begun, chunks may be under way.
        let Some(big) = &mut self.big else { return Ok(()) };
        let data = chunk.data.get(..chunk.len).unwrap_or_default();
        big.file.source.digest(chunk.number, data);
        self.writer.append_packed_chunk(&mut big.member, &chunk.stream)?;
        observer.event(Event::Progress { bytes: data.len() as u64 });
        big.seen.add(std::mem::take(&mut chunk.seen));
        if chunk.is_last
            && let Some(big) = self.big.take()
        {
            self.end(big, observer)?;
        }
        Ok(())
    }

    fn end(&mut self, mut big: OpenBig<W::Open>, observer: &mut dyn Observer) -> Result<()> {
        let details = big.file.finish(&big.seen);
        let path = &big.file.header.path;
        if let Some(error) = big.file.error(&mut big.seen) {
            self.fail(path, &error, observer);
        } else if details.dirty {
            self.warn(path, &Warning::Changed, observer);
        }
        let digest = big.file.source.whole_digest();
        let entry = self.writer.end(big.member, digest, details)?;
        self.done(&entry, observer);
        Ok(())
    }

    /// Stores a file that is larger than was known when jobs were made.
    fn grown(&mut self, item: &mut Item, observer: &mut dyn Observer) -> Result<Stored> {
        let file = match file::open(item) {
            Ok(opened) => BigFile::new(item, opened),
            Err(packed) => return self.packed(item, packed, &[], observer),
        };
        if file.source.chunks() == 0 {
            return self.hollow(&file, item, observer);
        }
        let source = file.source.clone();
        let stored = self.begin(Box::new(file), observer)?;
        tell_why(item, observer);
        let (mut data, mut stream) = (Vec::new(), Vec::new());
        for number in 0..source.chunks() {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let (source, method) = (source.clone(), item.method);
            let chunk = Chunk { source, number, method, data, stream };
            let mut packed = self.worker.chunk(chunk);
            self.chunk(&mut packed, observer)?;
            (data, stream) = (packed.data, packed.stream);
        }
        Ok(stored)
    }

    /// Stores a file that has lost all of its data meanwhile, or is one hole.
    fn hollow(
        &mut self,
        file: &BigFile,
        item: &Item,
        observer: &mut dyn Observer,
    ) -> Result<Stored> {
        let (header, details) = (&file.header, file.finish(&Seen::default()));
        for warning in &file.warnings {
            self.warn(&header.path, warning, observer);
        }
        if details.dirty {
            self.warn(&header.path, &Warning::Changed, observer);
        }
        let mut stream = Vec::new();
        let packed = self.worker.whole(header.clone(), &[], item.method, &mut stream);
        let unstorable = |kind| Error::Unstorable { path: header.path.clone(), kind };
        let Entry { packed, digest, .. } = packed.map_err(unstorable)?;
        let entry = Entry { packed, digest, ..entry_of(header, details) };
        let entry = self.writer.push(entry, &stream)?;
        tell_why(item, observer);
        self.done(&entry, observer);
        Ok(if file.same { Stored::Whole } else { Stored::Other })
    }

    /// Records something as the base has it.
    fn unchanged(&mut self, item: &mut Item) -> Result<Stored> {
        let Some(old) = item.old.take() else { return Ok(Stored::Without) };
        self.writer.put_entry(&old.entry)?;
        self.report.unchanged += 1;
        if item.has_several_names() {
            self.unchanged.insert(item.found.path.clone());
        }
        Ok(Stored::Whole)
    }

    /// Records a thing whose content is not in the archive: what a base has of it is kept.
    fn lose(&mut self, item: &mut Item, reason: &str) -> Result<Stored> {
        if item.has_content() {
            let old = item.old.take().filter(|old| matches!(old.entry.kind, Kind::File { .. }));
            let entry = match old {
                Some(old) => {
                    self.report.kept += 1;
                    Entry { lost: Some(reason.into()), ..old.entry }
                }
                None => item.lost_entry(reason),
            };
            match self.writer.put_entry(&entry) {
                // What the listing cannot name is told all the same.
                Ok(()) | Err(Error::Unstorable { .. } | Error::UnsafePath { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Stored::Without)
    }

    pub(super) fn done(&mut self, entry: &Entry, observer: &mut dyn Observer) {
        self.report.count(entry);
        observer.event(Event::Done { entry });
    }

    pub(super) fn fail(&mut self, path: &MemberPath, error: &Error, observer: &mut dyn Observer) {
        self.report.unreadable += 1;
        observer.event(Event::Failed { path, error });
    }

    pub(super) fn warn(
        &mut self,
        path: &MemberPath,
        warning: &Warning,
        observer: &mut dyn Observer,
    ) {
        match warning {
            Warning::Changed => self.report.changed += 1,
            _ => self.report.warnings += 1,
        }
        observer.event(Event::Warning { path, warning });
    }

    /// Completes the archive.
    pub(super) fn finish(mut self, walk: Tally) -> Result<CreateReport> {
        if self.report.members + self.report.unchanged == 0 {
            // A slip of the pen, or a disk that is not mounted, must not replace a good backup by an
            // empty one.
            return Err(Error::NothingStored);
        }
        self.report.add_walk(walk);
        if self.report.is_incomplete() {
            self.writer.set_incomplete();
        }
        let written = self.writer.finish()?;
        self.report.archive_size = written.archive_size;
        self.report.slices = written.slices;
        self.report.identity = Some(written.identity);
        Ok(self.report)
    }
}

/// Tells why an item is stored although there is a base.
fn tell_why(item: &Item, observer: &mut dyn Observer) {
    if let Some(why) = item.why {
        observer.event(Event::Why { path: &item.found.path, why });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Archive;
    use crate::create::item::Items;
    use crate::io::WriteSink;
    use crate::select::Selection;
    use crate::source::{SourceOptions, Walk};
    use crate::verify::{VerifyOptions, verify};
    use crate::writer::ArchiveWriter;

    #[test]
    fn what_grew_and_has_no_data_by_now_is_stored_whole() {
        let tree = tempfile::tempdir().unwrap();
        for (name, size) in [("hole", 3 << 20), ("nothing", 0)] {
            std::fs::File::create(tree.path().join(name)).unwrap().set_len(size).unwrap();
        }
        let mut walk = Walk::new(tree.path(), &[".".into()], SourceOptions::default()).unwrap();
        let options = CreateOptions::default();
        let mut bytes = Vec::new();
        let sink = WriteSink::new(&mut bytes);
        let mut store = Store::new(ArchiveWriter::new(sink, &options.writer()).unwrap(), &options);
        let (mut items, mut report) = (Items::new(&options), CreateReport::default());
        while let Some(found) = walk.next(&mut ()).unwrap() {
            let item = items.next(found, &mut report, &mut ()).unwrap();
            if item.has_content() {
                store.item(item, Packed::Grown, &[], &mut ()).unwrap();
            }
        }
        assert_eq!(store.finish(Tally::default()).unwrap().members, 2);
        let archive = Archive::open(bytes).unwrap();
        let sizes: Vec<u64> = archive.entries().map(|entry| entry.unwrap().kind.size()).collect();
        assert_eq!(sizes, [3 << 20, 0]);
        let all = Selection::default();
        let report = verify(&archive, &all, &VerifyOptions::default(), &mut ()).unwrap();
        assert!(report.is_good(), "{report:?}");
    }
}
