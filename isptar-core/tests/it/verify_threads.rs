//! Verifying on several threads: what is told, and in which order, is the same for any number.

use std::cell::Cell;
use std::num::NonZero;

use isptar_core::{
    Archive, Error, Event, Kind, Limits, Observer, Result, Selection, VerifyOptions, VerifyReport,
    verify,
};

use super::support::{Item, build, dir, file, noise, other};
use super::verify::{PROLOGUE, assembled, entry_of, stream, tar_of};

/// Writes down all that it is told, and cancels at some point.
#[derive(Default)]
struct Notes {
    told: Vec<String>,
    asked: Cell<u64>,
    most: Option<u64>,
}

impl Observer for Notes {
    fn event(&mut self, event: Event<'_>) {
        self.told.push(match event {
            Event::Done { entry } => format!("done {}", entry.path),
            event => format!("{event:?}"),
        });
    }

    fn cancelled(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.most.is_some_and(|most| self.asked.get() > most)
    }
}

fn run(bytes: &[u8], limits: Limits, threads: usize, notes: &mut Notes) -> Result<VerifyReport> {
    let mut options = VerifyOptions::default();
    options.threads = NonZero::new(threads);
    let archive = Archive::open_with(bytes, limits).unwrap();
    verify(&archive, &Selection::default(), &options, notes)
}

/// Verifies with 1, 2 and 7 threads, which must tell the same; returns what.
fn told(bytes: &[u8], limits: Limits) -> (VerifyReport, Vec<String>) {
    let [one, two, seven] = [1, 2, 7].map(|threads| {
        let mut notes = Notes::default();
        let report = run(bytes, limits, threads, &mut notes).unwrap();
        (report, notes.told)
    });
    assert_eq!(one, two);
    assert_eq!(one, seven);
    one
}

/// Enough files for some batches.
fn many() -> Vec<Item> {
    let name = |number: usize| format!("f{number:04}");
    (0..1300).map(|number| file(&name(number), &noise(number % 90, number as u64))).collect()
}

/// Members around a file whose chunks are work of their own.
fn around_a_big_one() -> Vec<Item> {
    let text = b"a line of text in a big file, the same again and again\n".repeat(400_000);
    let hard = other("later", Kind::HardLink { target: "big".into() });
    vec![file("a", b"before"), file("big", &text[..20 << 20]), file("c", b"after"), hard]
}

#[test]
fn good_archives() {
    let (report, notes) = told(&build(&many(), 6), Limits::default());
    assert!(report.is_good() && report.whole == 1300);
    let done = notes.iter().filter(|note| note.starts_with("done"));
    assert!(done.is_sorted());
    let (report, notes) = told(&build(&around_a_big_one(), 1), Limits::default());
    assert!(report.is_good() && report.bytes == (20 << 20) + 11, "{notes:?}");
}

#[test]
fn damage_anywhere() {
    for (items, places) in [(many(), 40), (around_a_big_one(), 6)] {
        let good = build(&items, 1);
        let step = good.len() / places;
        for at in (0..places).map(|place| step / 2 + place * step) {
            let mut bytes = good.clone();
            for byte in &mut bytes[at..at + 3] {
                *byte ^= 0x55;
            }
            if Archive::open(&bytes).is_ok() {
                assert!(!told(&bytes, Limits::default()).0.is_good(), "{at}");
            }
        }
    }
}

#[test]
fn a_big_file_whose_digest_or_padding_is_wrong() {
    let mut items = around_a_big_one();
    let good = build(&items, 0);
    // The data of chunks is changed together with its CRC, as nothing but the digest would show.
    items[1].data[(7 << 20) + 5] ^= 1;
    let other = build(&items, 0);
    let end = usize::try_from(Archive::open(&good).unwrap().info().data_size).unwrap();
    let mixed = [&other[..end], &good[end..]].concat();
    let (report, notes) = told(&mixed, Limits::default());
    assert_eq!((report.damaged, report.whole), (1, 3));
    assert!(notes.iter().any(|note| note.contains("Digest")), "{notes:?}");
    // The second byte of the length of the last stored block: its stream ends elsewhere.
    let mut cut = good.clone();
    cut[end - 600] ^= 1;
    assert!(!told(&cut, Limits::default()).0.is_good());
}

/// A group of very many members; entries of all but some.
fn large_group(unlisted: &[usize]) -> Vec<u8> {
    let items: Vec<Item> = (0..5000).map(|number| dir(&format!("d{number:04}"))).collect();
    let group = stream(&items.iter().flat_map(tar_of).collect::<Vec<u8>>());
    let range = PROLOGUE..PROLOGUE + group.len() as u64;
    let entries: Vec<_> = items
        .iter()
        .enumerate()
        .filter(|(number, _)| !unlisted.contains(number))
        .map(|(number, item)| entry_of(item, &range, 512 * number as u64))
        .collect();
    assembled(&[group], &entries, |_| {})
}

#[test]
fn groups_that_are_far_too_large() {
    let mut limits = Limits::default();
    limits.group = 16 << 20;
    let (report, _) = told(&large_group(&[]), limits);
    assert!(report.is_good() && report.whole == 5000);
    // Where the entries before fill a batch, and behind the last one.
    for hidden in [4095, 4096, 4097, 4999] {
        let (report, notes) = told(&large_group(&[hidden]), limits);
        assert_eq!((report.strays, report.whole), (1, 4999), "{hidden}");
        assert!(notes.iter().any(|note| note.contains(&format!("d{hidden}"))), "{notes:?}");
    }
}

#[test]
fn going_back_and_entries_twice() {
    let good = build(&many(), 0);
    let archive = Archive::open(&good).unwrap();
    let mut entries: Vec<_> = archive.entries().map(std::result::Result::unwrap).collect();
    entries.swap(100, 900);
    entries[700] = entries[20].clone();
    let range = [PROLOGUE, archive.info().data_size].map(|at| usize::try_from(at).unwrap());
    let streams = vec![good[range[0]..range[1]].to_vec()];
    let (report, _) = told(&assembled(&streams, &entries, |_| {}), Limits::default());
    assert!(!report.is_good());
}

#[test]
fn a_run_is_cancelled_at_once() {
    for bytes in [build(&many(), 6), build(&around_a_big_one(), 1)] {
        for threads in [1, 2, 7] {
            for most in [0, 1, 5, 1310, 2000] {
                let mut notes = Notes { most: Some(most), ..Notes::default() };
                match run(&bytes, Limits::default(), threads, &mut notes) {
                    Err(Error::Cancelled) => assert!(notes.asked.get() <= most + 3),
                    // It was not asked so often.
                    Ok(_) => assert!(notes.asked.get() <= most),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}
