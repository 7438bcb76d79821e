//! The jobs that look for damage and mend it.

use isptar_core::rewrite::{Part, RewriteOptions, merge, merge_parts};
use isptar_core::{
    Archive, DiffOptions, Entry, Event, Listing, MemberPath, Observer, RepairOptions, RepairReport,
    Selection, TarReader, VerifyOptions, WriteSink, diff_archives, repair, verify,
    verify_sequential,
};

use crate::agree::{Whole, pieces, read_plain};
use crate::archives::{CONTENT, ENTRIES, limits};
use crate::craft;
use crate::input::Input;

/// Takes an archive out of the input: the input itself, or one that is crafted.
fn archive(input: &mut Input<'_>) -> Vec<u8> {
    if input.byte().is_multiple_of(4) {
        input.rest().to_vec()
    } else {
        craft::archive(input, b"/nowhere")
    }
}

/// What verify finds good is, member for member, what the tar has.
pub fn verify_archive(data: &[u8]) {
    let bytes = archive(&mut Input::new(data));
    if let Ok(mut tar) = TarReader::new(bytes.as_slice(), limits()) {
        let _ = verify_sequential(&mut tar, &Selection::default(), &mut ());
    }
    let Some(entries) = good_entries(&bytes) else { return };
    let mut tar = TarReader::new(bytes.as_slice(), limits()).expect("memory gives all");
    let plain = read_plain(&mut tar);
    if !plain.enough {
        return;
    }
    assert!(plain.whole, "verify finds good what a tar reader refuses");
    let archive = Archive::open_with(bytes.as_slice(), limits()).expect("was opened");
    let mut left = CONTENT;
    let listed = entries.iter().map(|entry| {
        let mut member = archive.member(entry).expect("was found good");
        let pieces = pieces(&mut member, &mut left).expect("was found good");
        Whole { header: member.header().clone(), pieces }
    });
    let listed: Vec<Whole> = listed.collect();
    assert_eq!(listed.len(), plain.members.len());
    assert!(listed.iter().eq(plain.members.iter().map(|(_, member)| member)));
}

/// Returns the entries of an archive of ours that verify finds good, in the order of the members.
fn good_entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let archive = Archive::open_with(bytes, limits()).ok()?;
    let run = |quick| {
        let mut options = VerifyOptions::default();
        options.quick = quick;
        verify(&archive, &Selection::default(), &options, &mut ()).expect("nobody cancels")
    };
    let (quick, report) = (run(true), run(false));
    assert!(quick.is_good() || !report.is_good());
    let is_plain = report.is_good() && report.in_bases_unread == 0 && report.duplicates == 0;
    if !is_plain || archive.is_classic() || archive.info().entries > ENTRIES as u64 {
        return None;
    }
    let entries: Result<Vec<Entry>, _> = archive.entries().collect();
    let mut entries = entries.expect("was found good");
    entries.retain(|entry| entry.location.is_some());
    entries.sort_by_key(|entry| entry.location.map(|place| (place.offset, place.zoffset)));
    Some(entries)
}

/// What was told of members, and of damage.
#[derive(Default)]
struct Told {
    done: Vec<MemberPath>,
    damage: Vec<String>,
}

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { entry } => self.done.push(entry.path.clone()),
            Event::Failed { path, error } => self.damage.push(format!("{path}: {error}")),
            Event::Damaged { error, .. } => self.damage.push(error.to_string()),
            _ => {}
        }
    }
}

/// Whatever is left of an archive, what is made of it is good; of a good one nothing is lost, and
/// of one that is cut all members before the cut are brought back.
pub fn repair_archive(data: &[u8]) {
    let mut input = Input::new(data);
    let bytes = archive(&mut input);
    let mut told = Told::default();
    let scanned = isptar_core::repair::scan(&bytes, &RepairOptions::default(), &mut told);
    let mended = mend(&bytes);
    assert_eq!(scanned.is_ok(), mended.is_ok());
    let (Ok(scanned), Ok((report, new))) = (scanned, mended) else {
        assert!(good_entries(&bytes).is_none_or(|entries| entries.is_empty()));
        return;
    };
    assert_eq!((scanned.members, scanned.lost), (report.members, report.lost));
    assert_eq!(told.done.len() as u64, report.members);
    let found = good_entries(&new);
    if let Some(found) = &found {
        let (again, _) = mend(&new).expect("was repaired");
        assert_eq!(again.members, found.len() as u64);
    }
    let Some(entries) = good_entries(&bytes) else { return };
    assert!(report.lost == 0 && report.damaged == 0 && report.ended);
    let found = found.expect("nothing was wrong before");
    assert!(found.iter().map(|e| &e.path).eq(entries.iter().map(|e| &e.path)));
    check_cut(&bytes, input.below(bytes.len().min(1 << 16)), &entries);
}

fn mend(bytes: &Vec<u8>) -> isptar_core::Result<(RepairReport, Vec<u8>)> {
    let mut new = Vec::new();
    let mut sink = WriteSink::new(&mut new);
    let report = repair(bytes, &mut sink, &RepairOptions::default(), &mut ())?;
    if report.archive_size > 0 {
        assert_eq!(report.archive_size, new.len() as u64);
        let archive = Archive::open(new.as_slice()).expect("was written");
        let options = VerifyOptions::default();
        let mut told = Told::default();
        let found = verify(&archive, &Selection::default(), &options, &mut told);
        let found = found.expect("nobody cancels");
        assert!(found.is_good(), "{:?}", told.damage);
    }
    Ok((report, new))
}

fn check_cut(bytes: &[u8], end: usize, entries: &[Entry]) {
    let mut told = Told::default();
    let cut = bytes[..end].to_vec();
    let scanned = isptar_core::repair::scan(&cut, &RepairOptions::default(), &mut told);
    let whole = entries.iter().filter(|entry| entry.claimed_range().end <= end as u64);
    let whole: Vec<&MemberPath> = whole.map(|entry| &entry.path).collect();
    assert!(whole.is_empty() || scanned.is_ok());
    assert!(told.done.iter().eq(whole));
}

/// An archive does not differ from itself.
pub fn diff_listings(data: &[u8]) {
    let mut input = Input::new(data);
    let (old, new) = (archive(&mut input), archive(&mut input));
    let old = Archive::open_with(old.as_slice(), limits());
    let new = Archive::open_with(new.as_slice(), limits());
    let options = DiffOptions::default();
    for archive in [&old, &new].into_iter().flatten() {
        let listing = || Listing::of(archive, &mut ());
        if let (Ok(one), Ok(two)) = (listing(), listing())
            && let Ok(report) = diff_archives(one, two, &options, &mut ())
        {
            assert_eq!(report.differences(), 0);
        }
    }
    if let (Ok(old), Ok(new)) = (&old, &new)
        && let (Ok(old), Ok(new)) = (Listing::of(old, &mut ()), Listing::of(new, &mut ()))
    {
        let _ = diff_archives(old, new, &options, &mut ());
    }
}

/// What is copied out of a chain is good when the chain is, or when it was checked before.
pub fn rewrite_archives(data: &[u8]) {
    let [full, newest] = craft::chain(&mut Input::new(data));
    let open = |bytes| Archive::open_with(bytes, limits());
    let (Ok(full), Ok(mut newest)) = (open(full), open(newest)) else { return };
    if newest.attach_bases(vec![full]).is_err() {
        return;
    }
    let verified = |archive: &Archive<Vec<u8>>| {
        let options = VerifyOptions::default();
        let mut told = Told::default();
        let report = verify(archive, &Selection::default(), &options, &mut told);
        // Where hard links lead is no matter of single members.
        told.damage.retain(|damage| !damage.contains("target of a hard link"));
        (report.expect("nobody cancels"), told.damage)
    };
    let report = verified(&newest).0;
    let is_good = report.is_good() && report.in_bases_unread == 0;
    let part = Part { name: b"part".to_vec(), archive: &newest };
    for check in [false, true] {
        let mut options = RewriteOptions::default();
        options.verify = check;
        let mut bytes = Vec::new();
        let merged = merge(&mut WriteSink::new(&mut bytes), &newest, 2, &options, &mut ());
        assert!(!is_good || merged.is_ok(), "verify finds good what cannot be merged: {merged:?}");
        if merged.is_ok() && (is_good || check) {
            let merged = open(bytes).expect("was written");
            let (report, damage) = verified(&merged);
            assert!(damage.is_empty() && (!is_good || report.is_good()), "{damage:?}");
        }
        let mut bytes = Vec::new();
        let sink = &mut WriteSink::new(&mut bytes);
        let merged = merge_parts(sink, std::slice::from_ref(&part), &options, &mut ());
        if merged.is_ok() && (is_good || check) {
            let (_, damage) = verified(&open(bytes).expect("was written"));
            assert!(damage.is_empty(), "{damage:?}");
        }
    }
}
