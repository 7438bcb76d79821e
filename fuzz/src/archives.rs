//! Whole archives, of any bytes.

use isptar_core::{Archive, Content, Entry, Kind, Limits, TarReader};

/// Bytes of content that are read of one input: what a few kilobytes unpack to is bounded.
pub(crate) const CONTENT: u64 = 4 << 20;

/// Entries that are read of one input.
pub(crate) const ENTRIES: usize = 2000;

/// Limits that keep one input small.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.listing = 16 << 20;
    limits.tables = 16 << 20;
    limits.components = 64;
    limits
}

/// Any bytes are an archive or an error; what an archive gives out is bounded.
pub fn archive_open(data: &[u8]) {
    let mut limits = Limits::default();
    limits.listing = 16 << 20;
    limits.tables = 16 << 20;
    let Ok(archive) = Archive::open_with(data, limits) else { return };
    let read: Vec<_> = archive.entries().take(ENTRIES).collect();
    // Duplicates and wrong order are found when all is read.
    let is_sound = read.len() < ENTRIES && read.iter().all(Result::is_ok);
    let entries: Vec<Entry> = read.into_iter().filter_map(Result::ok).collect();
    let _ = archive.listing_text();
    let mut left = CONTENT;
    let mut previous = None;
    for entry in &entries {
        let found = archive.find(&entry.path);
        if is_sound && archive.info().sorted && !archive.is_classic() {
            assert!(matches!(&found, Ok(Some(found)) if found == entry), "{entry:?} {found:?}");
        }
        let Ok(mut member) = archive.next_member(previous.take(), entry) else { continue };
        assert!(archive.is_classic() || member.header().path == entry.path);
        let whole = drain(&mut member, &mut left);
        previous = Some(member);
        // The same content by itself, in two ranges.
        if let Some(content) = whole.filter(|_| matches!(entry.kind, Kind::File { .. })) {
            let size = content.len() as u64;
            let mut parts = Vec::new();
            for (start, end) in [(0, size / 2), (size / 2, size)] {
                archive.copy_range(entry, start, end, &mut parts).expect("was read");
            }
            assert!(parts == content);
        }
    }
    if let Some(entry) = entries.get(entries.len() / 2) {
        let _ = archive.entries_within(&entry.path).take(ENTRIES).count();
    }
}

/// Reads content to its end; `None` when it is damaged, too much, or has large holes.
fn drain(content: &mut impl Content, left: &mut u64) -> Option<Vec<u8>> {
    let size = content.size();
    let mut whole = Vec::new();
    let mut last = 0;
    while let Some(piece) = content.next_piece().ok()? {
        assert!(piece.offset >= last && !piece.bytes.is_empty());
        last = piece.offset + piece.bytes.len() as u64;
        assert!(last <= size);
        *left = left.checked_sub(piece.bytes.len() as u64)?;
        if size <= CONTENT {
            whole.resize(usize::try_from(piece.offset).ok()?, 0);
            whole.extend_from_slice(piece.bytes);
        }
    }
    (size <= CONTENT).then(|| {
        whole.resize(usize::try_from(size).unwrap_or(0), 0);
        whole
    })
}

/// Any bytes are a tar or an error.
pub fn tar_reader(data: &[u8]) {
    let mut limits = Limits::default();
    limits.components = 64;
    let Ok(mut tar) = TarReader::new(data, limits) else { return };
    let mut left = CONTENT;
    for _ in 0..ENTRIES {
        let Ok(Some(mut member)) = tar.next() else { return };
        let _ = (member.entry(), member.warnings().len());
        if drain(&mut member, &mut left).is_none() && left < CONTENT / 2 {
            return;
        }
    }
}
