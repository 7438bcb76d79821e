//! Writing, then reading.

use isptar_core::{
    Archive, ArchiveWriter, Content, Details, Entry, Kind, Limits, MemberHeader, MemberPath,
    TarReader, Timestamp, WriteSink, WriterOptions,
};

use crate::agree::pieces;
use crate::input::Input;
use crate::members::{attributes, map};

/// A member that was written.
struct Member {
    header: MemberHeader,
    entry: Entry,
    data: Vec<u8>,
}

/// What is written is read the same, by the listing and from front to back.
pub fn write_then_read(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    // Odd metadata, and mostly the levels that are quick.
    let odd = choice & 0x80 != 0;
    let mut options = WriterOptions::default();
    options.level = if odd && choice & 0x70 != 0 { choice & 1 } else { choice % 13 };
    options.sorted = input.byte().is_multiple_of(2);
    let mut bytes = Vec::new();
    let sink = WriteSink::new(&mut bytes);
    let mut writer = ArchiveWriter::new(sink, &options).expect("memory takes all");
    let mut written = Vec::new();
    while !input.is_empty() && written.len() < 64 {
        let (mut header, data) = member(&mut input);
        if odd {
            make_odd(&mut input, &mut header, data.len() as u64);
        }
        let details = details(&mut input, odd);
        if let Ok(entry) = writer.append(&header, details, data.as_slice()) {
            written.push(Member { header, entry, data });
        }
    }
    let (_, report) = writer.finish().expect("memory takes all");
    assert_eq!(report.archive_size, bytes.len() as u64);
    check_listing(&bytes, &written);
    check_stream(&bytes, &written);
}

fn details(input: &mut Input<'_>, odd: bool) -> Details {
    let mut details = Details::default();
    let choice = input.byte();
    details.dirty = choice % 8 == 1;
    details.ino = Some(u64::from(input.number()));
    if odd {
        details.ino = Some(input.odd_number()).filter(|_| choice & 16 == 0);
        details.ctime = (choice & 32 != 0)
            .then(|| Timestamp::new(i64::from(input.number()) - 1000, input.number() % 1000));
        (details.sparse, details.partial) = (choice & 64 != 0, choice & 128 != 0);
    }
    details
}

fn make_odd(input: &mut Input<'_>, header: &mut MemberHeader, len: u64) {
    header.group = input.text();
    attributes(input, header);
    if let Kind::File { size } = &mut header.kind
        && input.byte().is_multiple_of(4)
        && let Some(map) = map(input, len)
    {
        *size = map.real_size();
        header.sparse = Some(map);
    }
}

fn check_listing(bytes: &[u8], written: &[Member]) {
    let archive = Archive::open(bytes).expect("was written");
    let entries: Result<Vec<Entry>, _> = archive.entries().collect();
    let entries = entries.expect("was written");
    assert!(entries.iter().eq(written.iter().map(|member| &member.entry)));
    let mut previous = None;
    for member in written {
        let found = archive.next_member(previous.take(), &member.entry).expect("was written");
        let found = previous.insert(found);
        check_header(found.header(), &member.header);
        check_content(found, member);
    }
}

fn check_stream(bytes: &[u8], written: &[Member]) {
    let mut tar = TarReader::new(bytes, Limits::default()).expect("memory gives all");
    for member in written {
        let mut found = tar.next().expect("was written").expect("was written");
        assert!(found.warnings().is_empty());
        check_header(found.header(), &member.header);
        check_content(&mut found, member);
    }
    assert!(tar.next().expect("was written").is_none() && tar.is_ours() && !tar.end_missing());
}

/// The header has all but fractions of seconds, and names of owners that are long or no ASCII.
fn check_header(found: &MemberHeader, written: &MemberHeader) {
    assert!(found.path == written.path && found.kind == written.kind);
    assert!((found.mode, found.uid, found.gid) == (written.mode, written.uid, written.gid));
    assert_eq!(found.mtime.seconds(), written.mtime.seconds());
    assert!(found.user.is_empty() || found.user == written.user);
    assert!(found.group.is_empty() || found.group == written.group);
    assert!(found.xattrs == written.xattrs);
    assert!(found.sparse == written.sparse);
}

fn check_content(found: &mut impl Content, member: &Member) {
    let mut left = u64::MAX;
    let pieces = pieces(found, &mut left).expect("was written");
    if !matches!(member.entry.kind, Kind::File { .. }) {
        return;
    }
    let data: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes).copied().collect();
    assert!(data == member.data);
    if member.header.sparse.is_none() {
        assert!(pieces.iter().all(|(offset, _)| *offset == 0));
    }
}

/// Takes a member out of the input.
fn member(input: &mut Input<'_>) -> (MemberHeader, Vec<u8>) {
    let path = MemberPath::new(input.text());
    let mut content = Vec::new();
    let kind = match input.byte() % 12 {
        0 => Kind::Directory,
        1 => Kind::Symlink { target: input.text() },
        2 => Kind::HardLink { target: MemberPath::new(input.text()) },
        3 => Kind::Fifo,
        4 => Kind::CharDevice { major: input.number(), minor: input.number() },
        5 => Kind::BlockDevice { major: input.number(), minor: input.number() },
        large => {
            content = input.text();
            // Now and then a file of several chunks.
            if large == 6 && !content.is_empty() && input.byte().is_multiple_of(16) {
                content = content.iter().copied().cycle().take(1_200_000).collect();
            }
            Kind::File { size: content.len() as u64 }
        }
    };
    let mut header = MemberHeader::new(path, kind);
    header.mode = input.number() & 0o7777;
    header.uid = u64::from(input.number()) << (input.byte() % 32);
    header.gid = u64::from(input.number());
    header.user = input.text();
    header.mtime = Timestamp::new(
        i64::from(input.number()) - i64::from(input.number()),
        input.number() % 1_000_000_000,
    );
    if input.byte() % 4 == 1 {
        let name = [b"user.".to_vec(), input.text()].concat();
        header.xattrs.attributes.insert(name, input.text());
    }
    (header, content)
}
