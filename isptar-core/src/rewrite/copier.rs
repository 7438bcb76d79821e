//! Copying members from an archive, and from its bases, as they are packed.

use std::io::Read as _;
use std::sync::Arc;

use super::regroup::{Regroup, is_here, place};
use crate::archive::{Archive, Member, Rereads, Tailed, check_agreement, stream_limit};
use crate::codec::Unpacker;
use crate::content::{Content as _, ContentReader};
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Blocks, Found};
use crate::format::entry::{Digest, Entry, Location};
use crate::format::member::MemberHeader;
use crate::format::{BLOCK, gzip, padding};
use crate::io::{RangeReader, ReadAt};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::pack::Details;
use crate::verify::{Scope, check_claims, check_metadata, corrupt};
use crate::writer::Put;

/// Packed bytes that are read at once.
const READ: usize = 1 << 20;

/// Entries of one stream, and those without bytes between them, that are held.
const MOST_HELD: usize = 8192;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Copied {
    /// Members, and bytes of content of the files among them.
    pub(crate) members: u64,
    pub(crate) bytes: u64,
    /// Packed bytes that were copied as they are.
    pub(crate) packed: u64,
    /// Members that were packed again.
    pub(crate) repacked: u64,
}

/// Copies members in the order of a new archive.
///
/// What is not decoded is not checked beyond what its entry claims, where its stream begins, and
/// how long it says it is. Streams that may hold others than the members asked for are decoded, with
/// all checks of reading; those that do are packed again without them.
pub(crate) struct Copier<'a, R> {
    archive: &'a Archive<R>,
    /// By depth, as far as they were needed.
    sources: Vec<Option<Source<'a, R>>>,
    unit: Option<Unit>,
    regroup: Regroup,
    limits: Limits,
    /// Whether all that is copied is decoded and checked before.
    verify: bool,
    stream: Vec<u8>,
    headers: Vec<u8>,
    unpacker: Unpacker,
    pub(crate) copied: Copied,
}

/// An archive that members are copied from.
struct Source<'a, R> {
    archive: &'a Archive<R>,
    reader: RangeReader<&'a Tailed<R>>,
    /// Where the member ended that was copied last.
    end: u64,
    run: Arc<Rereads>,
    /// What reading the last member left: its stream, and buffers.
    member: Option<Member<'a, R>>,
}

/// Members that share a stream, and entries between them that have no bytes.
struct Unit {
    depth: u32,
    entries: Vec<Entry>,
}

impl<'a, R: ReadAt> Copier<'a, R> {
    /// Copies members of `archive`, and of its bases; what must be packed again is at `level`.
    pub(crate) fn new(archive: &'a Archive<R>, level: u8, verify: bool) -> Self {
        Self {
            archive,
            sources: Vec::new(),
            unit: None,
            regroup: Regroup::new(level),
            limits: *archive.limits(),
            verify,
            stream: Vec::new(),
            headers: Vec::new(),
            unpacker: Unpacker::new(),
            copied: Copied::default(),
        }
    }

    /// Takes the next member, whose entry says at which depth its bytes are.
    ///
    /// # Errors
    ///
    /// [`Error::CorruptMember`] of this or an earlier member, those of the writer, and
    /// [`Error::Input`].
    pub(crate) fn take(
        &mut self,
        writer: &mut dyn Put,
        mut entry: Entry,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(location) = &mut entry.location else {
            return self.pass(writer, entry, observer);
        };
        if entry.data {
            self.flush(writer, observer)?;
            return self.pack(writer, &entry, observer);
        }
        let depth = std::mem::take(&mut location.depth);
        let archive = self.archive;
        let placed = |error| archive.placed(depth, error);
        self.check(depth, &entry).map_err(placed)?;
        if self.unit.as_ref().is_some_and(|unit| unit.goes_on_with(depth, &entry)) {
            return self.hold(depth, entry);
        }
        self.flush(writer, observer)?;
        if self.verify {
            return self.hold(depth, entry);
        }
        if entry.chunks.is_some() {
            if depth > 0 {
                self.adopt_names_of_chunked(depth, &mut entry)?;
            }
            let (source, range) = (self.source(depth)?, entry.claimed_range());
            source.end = range.end;
            if let Some(location) = &mut entry.location {
                location.offset = writer.put_copy(source.archive.source(), range)?;
            }
            writer.put_entry(&entry)?;
            self.count(&entry, observer);
            return Ok(());
        }
        if self.read_alone(depth, &mut entry).map_err(placed)? {
            let copied = writer.push(entry, &self.stream)?;
            self.count(&copied, observer);
            return Ok(());
        }
        self.hold(depth, entry)
    }

    /// Packs a member of a classic base, which is content alone.
    fn pack(
        &mut self,
        writer: &mut dyn Put,
        entry: &Entry,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let details = Details {
            ctime: entry.ctime,
            ino: entry.ino,
            sparse: entry.sparse,
            dirty: entry.dirty,
            partial: entry.partial,
        };
        let mut content = ContentReader::new(self.archive.member(entry)?);
        let packed = writer.append(&header_of(entry), details, &mut content)?;
        self.copied.repacked += 1;
        self.tell(&packed, observer);
        Ok(())
    }

    /// Records an entry that has no bytes in the new archive.
    pub(crate) fn pass(
        &mut self,
        writer: &mut dyn Put,
        entry: Entry,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        // Much may stand between two members of a stream: of an increment all that did not change.
        if self.unit.as_ref().is_some_and(|unit| unit.entries.len() >= MOST_HELD) {
            self.flush(writer, observer)?;
        }
        match &mut self.unit {
            Some(unit) => unit.entries.push(entry),
            None => writer.put_entry(&entry)?,
        }
        Ok(())
    }

    /// Writes what is held back, because members may follow that share its stream: before anything
    /// else goes into the archive.
    pub(crate) fn flush(
        &mut self,
        writer: &mut dyn Put,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(Unit { depth, mut entries }) = self.unit.take() else { return Ok(()) };
        let archive = self.archive;
        let read = self.read_unit(depth, &mut entries);
        let is_whole = read.map_err(|error| archive.placed(depth, error))?;
        match entries.iter().find(|entry| is_here(entry)).map(Entry::claimed_range) {
            Some(_) if !is_whole => {
                self.regroup.seal(writer, &mut entries)?;
                self.copied.repacked +=
                    entries.iter().filter(|entry| is_here(entry)).count() as u64;
            }
            Some(range) => {
                let from = self.source(depth)?.archive.source();
                let offset = writer.put_copy(from, range.clone())?;
                let packed = range.end - range.start;
                place(&mut entries, offset, packed);
                self.copied.packed += packed;
            }
            None => {}
        }
        for entry in &entries {
            writer.put_entry(entry)?;
            if is_here(entry) {
                self.tell(entry, observer);
            }
        }
        Ok(())
    }

    fn hold(&mut self, depth: u32, entry: Entry) -> Result<()> {
        let unit = self.unit.get_or_insert_with(|| Unit { depth, entries: Vec::new() });
        unit.entries.push(entry);
        Ok(())
    }

    fn count(&mut self, entry: &Entry, observer: &mut dyn Observer) {
        self.copied.packed += entry.packed.unwrap_or(0);
        self.tell(entry, observer);
    }

    fn tell(&mut self, entry: &Entry, observer: &mut dyn Observer) {
        let bytes = entry.kind.size();
        self.copied.members += 1;
        self.copied.bytes += bytes;
        observer.event(Event::Progress { bytes });
        observer.event(Event::Done { entry });
    }

    /// Checks what the entry claims.
    fn check(&mut self, depth: u32, entry: &Entry) -> Result<()> {
        let archive = self.source(depth)?.archive;
        if archive.is_classic() {
            let kind = FormatError::invalid("location", b"in a classic archive");
            return Err(corrupt(entry, kind));
        }
        let data_end = archive.data_end();
        let scope =
            Scope { limits: &self.limits, bases: &[], data_end: Some(data_end), is_classic: false };
        check_claims(scope, entry)
    }

    /// Returns the archive that many bases back.
    fn source(&mut self, depth: u32) -> Result<&mut Source<'a, R>> {
        // A depth that the tables know is a small number.
        let archive = self.archive.at_depth(depth)?;
        let index = usize::try_from(depth).unwrap_or(usize::MAX);
        if self.sources.len() <= index {
            self.sources.resize_with(index + 1, || None);
        }
        let slot = &mut self.sources[index];
        if slot.is_none() {
            *slot = Some(Source::new(archive));
        }
        Ok(slot.as_mut().expect("it was just made"))
    }

    /// Reads the stream of a member that should be alone in it; returns whether it says so.
    fn read_alone(&mut self, depth: u32, entry: &mut Entry) -> Result<bool> {
        let range = entry.claimed_range();
        let len = range.end - range.start;
        let zoffset = entry.location.map_or(0, |location| location.zoffset);
        // What is longer was never written; who decodes it says so.
        if zoffset > 0 || len > stream_limit(&self.limits) {
            return Ok(false);
        }
        let mut stream = std::mem::take(&mut self.stream);
        let read = self.source(depth).and_then(|source| source.read(range, &mut stream));
        self.stream = stream;
        read?;
        let real = self.stream.last_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes));
        let begins = self.stream.starts_with(&gzip::HEAD) && self.stream.len() > gzip::HEAD.len();
        Ok(begins && self.tar_len(depth, entry) == Some(u64::from(real)))
    }

    /// Takes over the names of owners from the headers of a member of several streams.
    fn adopt_names_of_chunked(&mut self, depth: u32, entry: &mut Entry) -> Result<()> {
        let archive = self.archive;
        let source = self.source(depth)?;
        let (run, last) = (Arc::clone(&source.run), source.member.take());
        let member = source.archive.next_member_of(&run, last, entry);
        let member = member.map_err(|error| archive.placed(depth, error))?;
        adopt_names(entry, member.header());
        self.source(depth)?.member = Some(member);
        Ok(())
    }

    /// Returns how long the tar of the member is whose stream is at hand: by its entry where that
    /// spells all of its headers, else by the headers.
    fn tar_len(&mut self, depth: u32, entry: &mut Entry) -> Option<u64> {
        let is_sparse = matches!(entry.digest, Some(Digest::Stored(_)));
        if entry.xattr.is_some() || is_sparse || depth > 0 {
            return self.tar_len_of_stream(depth, entry);
        }
        self.headers.clear();
        header_of(entry).encode(&self.limits, &mut self.headers).ok()?;
        let data = entry.kind.size();
        Some((self.headers.len() as u64).saturating_add(data).saturating_add(padding(data)))
    }

    fn tar_len_of_stream(&mut self, depth: u32, entry: &mut Entry) -> Option<u64> {
        self.unpacker.reset();
        let mut blocks = Front { unpacker: &mut self.unpacker, rest: &self.stream, read: 0 };
        let Found::Member(found) = assemble::read_headers(&mut blocks, &self.limits).ok()? else {
            return None;
        };
        check_agreement(&found.header, entry).ok()?;
        if depth > 0 {
            adopt_names(entry, &found.header);
        }
        let data = found.stored;
        Some(blocks.read.saturating_add(data).saturating_add(padding(data)))
    }

    /// Reads the members of a stream, with all checks, and collects their tar. Returns whether they
    /// are all that is in it; if not, the entries say where they are in what was collected.
    fn read_unit(&mut self, depth: u32, entries: &mut [Entry]) -> Result<bool> {
        self.regroup.begin();
        let (mut at, mut len, mut end) = (0, 0, 0);
        for entry in entries.iter_mut() {
            let Some(location) = entry.location.filter(|location| location.depth == 0) else {
                continue;
            };
            let source = self.source(depth)?;
            let (run, last) = (Arc::clone(&source.run), source.member.take());
            let mut member = source.archive.next_member_of(&run, last, entry)?;
            while member.next_piece()?.is_some() {}
            if depth > 0 {
                adopt_names(entry, member.header());
            }
            if self.verify {
                check_metadata(member.header(), entry).map_err(|kind| corrupt(entry, kind))?;
            }
            let is_chunked = entry.chunks.is_some();
            if let Some(form) = member.check_form()?.filter(|_| !is_chunked) {
                let start = usize::try_from(location.zoffset).unwrap_or(usize::MAX);
                if start < end {
                    // Copied as often as it is claimed, one stream would become very many.
                    let (what, expected) = ("offset in a group", format!("{end} or more"));
                    return Err(corrupt(entry, FormatError::mismatch(what, expected, start)));
                }
                end = form.end;
                let tar = form.stream.get(start..form.end).unwrap_or_default();
                let zoffset = self.regroup.add(tar);
                if zoffset != location.zoffset {
                    // Something before it is left out.
                    at = usize::MAX;
                }
                entry.location = Some(Location { zoffset, ..location });
                (at, len) = (at.max(form.end), form.stream.len());
            }
            self.source(depth)?.member = Some(member);
        }
        Ok(at == len)
    }
}

impl<'a, R: ReadAt> Source<'a, R> {
    fn new(archive: &'a Archive<R>) -> Self {
        let reader = RangeReader::new(archive.source(), 0, 0, READ);
        Self { archive, reader, end: 0, run: archive.rereads(), member: None }
    }

    /// Reads a range; those that follow each other are fetched together.
    fn read(&mut self, range: std::ops::Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let ahead = if range.start == self.end { self.archive.data_end() } else { 0 };
        self.reader.set_ahead(ahead);
        self.reader.seek(range.start, range.end);
        self.end = range.end;
        out.resize(usize::try_from(range.end - range.start).unwrap_or(0), 0);
        let input = |source| Error::input(range.start, source);
        self.reader.read_exact(out).map_err(input)
    }
}

impl Unit {
    /// Returns whether a member goes on in the stream of this one.
    fn goes_on_with(&self, depth: u32, entry: &Entry) -> bool {
        let last = self.entries.iter().rev().find(|entry| is_here(entry));
        let place = |entry: &Entry| entry.location.map_or(0, |location| location.zoffset);
        self.depth == depth
            && self.entries.len() < MOST_HELD
            && last.is_some_and(|last| {
                last.claimed_range() == entry.claimed_range() && place(last) < place(entry)
            })
    }
}

/// Has the entry of a member from a base say the owners that its header names: in an archive of its
/// own they must agree, and the entry has the names of today for the same numbers.
fn adopt_names(entry: &mut Entry, header: &MemberHeader) {
    for (name, then) in [(&mut entry.user, &header.user), (&mut entry.group, &header.group)] {
        if !then.is_empty() {
            name.clone_from(then);
        }
    }
}

/// Checks that the archive knows the base that an entry is in: nobody could read it else.
pub(super) fn check_depth<R: ReadAt>(archive: &Archive<R>, entry: &Entry) -> Result<()> {
    match usize::try_from(entry.depth()) {
        Ok(depth) if depth < archive.depths() => Ok(()),
        _ => Err(corrupt(entry, FormatError::Missing("base of the location"))),
    }
}

/// The beginning of a stream.
struct Front<'f> {
    unpacker: &'f mut Unpacker,
    rest: &'f [u8],
    /// Bytes that came out of it.
    read: u64,
}

impl Blocks for Front<'_> {
    type Error = FormatError;

    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, FormatError> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.unpacker.read(&mut self.rest, &mut block[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) | Err(_) => return Err(FormatError::Missing("tar header")),
                Ok(count) => have += count,
            }
        }
        self.read += BLOCK as u64;
        Ok(Some(block))
    }
}

/// Returns the headers that a member has by its entry, its attributes apart.
pub(super) fn header_of(entry: &Entry) -> MemberHeader {
    MemberHeader {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        user: entry.user.clone(),
        group: entry.group.clone(),
        mtime: entry.mtime.unwrap_or_default(),
        ..MemberHeader::new(entry.path.clone(), entry.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Kind;
    use crate::io::WriteSink;
    use crate::pack::MemberPacker;
    use crate::writer::{ArchiveWriter, WriterOptions};

    /// Makes the tar of a file, and its entry.
    fn tar_of(name: &str, data: &[u8]) -> (Vec<u8>, Entry) {
        let (mut stream, mut tar) = (Vec::new(), Vec::new());
        let header = MemberHeader::new(name, Kind::File { size: data.len() as u64 });
        let mut packer = MemberPacker::new(0, Limits::default());
        let entry = packer.pack_whole(&header, Details::default(), data, &mut stream).unwrap();
        Unpacker::new().read_to_end(&mut stream.as_slice(), 1 << 20, &mut tar).unwrap();
        (tar, entry)
    }

    /// Makes an archive of one stream, with a member at each place in it.
    fn archive(tar: &[u8], members: &[(u64, &Entry)]) -> Archive<Vec<u8>> {
        let mut bytes = Vec::new();
        let options = WriterOptions::default();
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options).unwrap();
        let (mut regroup, mut entries) = (Regroup::new(0), Vec::new());
        regroup.begin();
        regroup.add(tar);
        for &(zoffset, entry) in members {
            let location = Some(Location { depth: 0, slice: 1, offset: 0, zoffset });
            entries.push(Entry { location, ..entry.clone() });
        }
        regroup.seal(&mut writer, &mut entries).unwrap();
        entries.iter().for_each(|entry| writer.put_entry(entry).unwrap());
        writer.finish().unwrap();
        Archive::open(bytes).unwrap()
    }

    /// Copies an archive, with entries that have no bytes behind each member.
    fn copied(archive: &Archive<Vec<u8>>, between: usize) -> Result<Archive<Vec<u8>>> {
        let mut bytes = Vec::new();
        let options = WriterOptions { sorted: false, ..WriterOptions::default() };
        let mut writer = ArchiveWriter::new(WriteSink::new(&mut bytes), &options)?;
        let mut copier = Copier::new(archive, 0, false);
        for entry in archive.entries() {
            copier.take(&mut writer, entry?, &mut ())?;
            for number in 0..between {
                let entry = Entry::new(format!("lost{number}").as_str().into(), Kind::Fifo);
                let lost = Some("unreadable".into());
                copier.pass(&mut writer, Entry { lost, ..entry }, &mut ())?;
                assert!(copier.unit.as_ref().is_none_or(|unit| unit.entries.len() <= MOST_HELD));
            }
        }
        copier.flush(&mut writer, &mut ())?;
        writer.finish()?;
        Archive::open(bytes)
    }

    #[test]
    fn however_much_stands_between_members_of_a_stream_little_is_held() {
        let [(a, a_entry), (b, b_entry)] = [tar_of("a", b"of a"), tar_of("b", b"of b")];
        let old = archive(&[&a[..], &b].concat(), &[(0, &a_entry), (a.len() as u64, &b_entry)]);
        for between in [0, 10, 2 * MOST_HELD + 1] {
            let new = copied(&old, between).unwrap();
            for (name, content) in [("a", b"of a"), ("b", b"of b")] {
                let entry = new.find(&name.into()).unwrap().unwrap();
                let mut data = Vec::new();
                let mut reader = ContentReader::new(new.member(&entry).unwrap());
                reader.read_to_end(&mut data).unwrap();
                assert_eq!(data, content);
            }
        }
    }

    #[test]
    fn members_within_each_other_are_not_copied_out_of_each_other() {
        let (inner, c) = tar_of("c", b"content");
        let (middle, b) = tar_of("b", &inner);
        let (outer, a) = tar_of("a", &middle);
        let block = BLOCK as u64;
        let nested = archive(&outer, &[(0, &a), (block, &b), (2 * block, &c)]);
        let copied = copied(&nested, 0).map(|archive| archive.size());
        assert!(matches!(copied, Err(Error::CorruptMember { .. })), "{copied:?}");
    }
}
