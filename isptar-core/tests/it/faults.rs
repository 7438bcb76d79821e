//! Sinks, writers and sources that fail at the k-th call, for every k; and sources whose bytes can
//! in part not be read.

use std::fs;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use isptar_core::io::FinishedSlice;
use isptar_core::verify::{Wreck, name_whole_members};
use isptar_core::{
    Archive, CreateOptions, Error, Event, ExtractOptions, FileSink, Limits, Observer, ReadAt,
    RepairOptions, Result, Selection, Sink, TarReader, VerifyOptions, WriteSink, convert, create,
    extract, repair, verify,
};

use super::support::{build, dir, file, link, noise, read, testdata};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EINTR: i32 = 4;

/// Counts calls, and says at which one to fail.
#[derive(Debug)]
struct Fault {
    calls: AtomicU64,
    at: u64,
    errno: i32,
}

impl Fault {
    fn new(at: u64, errno: i32) -> Self {
        Self { calls: AtomicU64::new(0), at, errno }
    }

    fn call(&self) -> io::Result<()> {
        match self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            true => Err(io::Error::from_raw_os_error(self.errno)),
            false => Ok(()),
        }
    }

    fn was_met(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > self.at
    }
}

/// A file whose writing, finishing or publishing fails.
struct FaultySink<'a> {
    inner: FileSink,
    fault: &'a Fault,
    path: PathBuf,
}

impl FaultySink<'_> {
    fn call(&self, op: &'static str) -> Result<()> {
        let path = Some(self.path.clone());
        self.fault.call().map_err(|source| Error::Output { op, path, source })
    }
}

impl Sink for FaultySink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.call("write")?;
        self.inner.write(bytes)
    }

    fn finish_slice(&mut self, slice: &FinishedSlice) -> Result<()> {
        self.call("sync")?;
        self.inner.finish_slice(slice)
    }

    fn publish(&mut self, identity: &[u8; 32]) -> Result<()> {
        self.call("rename")?;
        self.inner.publish(identity)
    }

    fn own_files(&self) -> Vec<(u64, u64)> {
        self.inner.own_files()
    }
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("sub")).unwrap();
    for (name, len) in [("a", 10), ("b", 5000), ("sub/big", (2 << 20) + 77), ("sub/c", 0)] {
        fs::write(tree.path().join(name), noise(len, len as u64)).unwrap();
    }
    std::os::unix::fs::symlink("a", tree.path().join("l")).unwrap();
    tree
}

fn options(tree: &Path) -> CreateOptions {
    let mut options = CreateOptions::default();
    options.directory = tree.to_path_buf();
    options.reproducible = true;
    options
}

/// Runs a job that writes an archive once for each call of the sink, which fails at that call.
fn fail_at_every_call(mut job: impl FnMut(&mut dyn Sink) -> Result<()>) -> u64 {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("a.tar.gz");
    for errno in [ENOSPC, EIO] {
        for at in 0.. {
            fs::write(&path, "old").unwrap();
            let fault = Fault::new(at, errno);
            let inner = FileSink::create(&path).unwrap();
            let mut sink = FaultySink { inner, fault: &fault, path: path.clone() };
            let ended = job(&mut sink);
            drop(sink);
            assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "call {at}: something is left");
            if !fault.was_met() {
                ended.unwrap();
                Archive::open(fs::File::open(&path).unwrap()).unwrap();
                if errno == EIO {
                    return 2 * at;
                }
                break;
            }
            let error = ended.unwrap_err();
            let named = format!("the archive {}", path.display());
            assert!(matches!(&error, Error::Output { source, .. }
                if source.raw_os_error() == Some(errno)));
            assert!(error.to_string().contains(&named), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old", "call {at}");
        }
    }
    unreachable!("a job has an end")
}

#[test]
fn create_fails_at_any_call_of_the_sink_without_harm() {
    let tree = tree();
    let faults = fail_at_every_call(|sink| {
        create(sink, &[".".into()], &options(tree.path()), &mut ()).map(drop)
    });
    eprintln!("create: {faults} faults");
    assert!(faults > 10);
}

#[test]
fn convert_fails_at_any_call_of_the_sink_without_harm() {
    let tar = fs::read(testdata("foreign/gnu.tar")).unwrap();
    let faults = fail_at_every_call(|sink| {
        let mut tar = TarReader::new(tar.as_slice(), Limits::default())?;
        convert(&mut tar, sink, &CreateOptions::default(), &mut ()).map(drop)
    });
    eprintln!("convert: {faults} faults");
    assert!(faults > 4);
}

/// Takes one to seven bytes at a time, is interrupted at every third call, and fails at one.
struct Stingy<'a> {
    bytes: Vec<u8>,
    calls: u64,
    fault: &'a Fault,
}

impl Write for Stingy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(io::Error::from_raw_os_error(EINTR));
        }
        self.fault.call()?;
        let count = bytes.len().min(1 + usize::try_from(self.calls % 7).unwrap());
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn small_tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("a"), "some text").unwrap();
    fs::write(tree.path().join("b"), "other text").unwrap();
    tree
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let tree = small_tree();
    let mut plain = Vec::new();
    let options = options(tree.path());
    create(&mut WriteSink::new(&mut plain), &[".".into()], &options, &mut ()).unwrap();
    for at in 0.. {
        let fault = Fault::new(at, EIO);
        let mut stingy = Stingy { bytes: Vec::new(), calls: 0, fault: &fault };
        let ended = create(&mut WriteSink::new(&mut stingy), &[".".into()], &options, &mut ());
        if !fault.was_met() {
            ended.unwrap();
            assert!(stingy.bytes == plain);
            assert!(at > 100, "{at} writes");
            break;
        }
        let error = ended.unwrap_err();
        assert_eq!(error.to_string(), "cannot write the archive");
        assert!(plain.starts_with(&stingy.bytes) && stingy.bytes.len() < plain.len(), "call {at}");
    }
}

#[test]
fn convert_fails_at_any_read_without_harm() {
    struct FaultyReader<'a>(&'a [u8], &'a Fault);
    impl Read for FaultyReader<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1.call()?;
            let len = buf.len().min(100);
            self.0.read(&mut buf[..len])
        }
    }
    let tar = fs::read(testdata("foreign/gnu.tar")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("a.tar.gz");
    for errno in [EIO, EINTR] {
        for at in 0.. {
            fs::write(&path, "old").unwrap();
            let fault = Fault::new(at, errno);
            let ended = TarReader::new(FaultyReader(&tar, &fault), Limits::default()).and_then(
                |mut tar| {
                    let mut sink = FileSink::create(&path)?;
                    convert(&mut tar, &mut sink, &CreateOptions::default(), &mut ())
                },
            );
            assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "call {at}");
            let old = fs::read(&path).unwrap() == b"old";
            assert_eq!(old, ended.is_err(), "call {at}");
            if !fault.was_met() {
                assert!(!old && at > 10);
                break;
            }
            match ended {
                Err(error) => {
                    assert_eq!(errno, EIO, "an interrupted read is made again: {error}");
                    assert!(matches!(error, Error::Input { .. }), "call {at}: {error}");
                }
                // The end of the tar is behind all members.
                Ok(_) => assert!(errno == EINTR || at > 10, "call {at}: a read error is lost"),
            }
        }
    }
}

/// Bytes of which some cannot be read, by a read that begins there or, when `strict`, by any read
/// that touches them; and of which one read fails.
struct FaultyAt<'a> {
    bytes: &'a [u8],
    bad: Range<u64>,
    strict: bool,
    fault: Fault,
}

impl<'a> FaultyAt<'a> {
    fn bad(bytes: &'a [u8], bad: Range<u64>, strict: bool) -> Self {
        Self { bytes, bad, strict, fault: Fault::new(u64::MAX, EIO) }
    }

    fn failing(bytes: &'a [u8], at: u64, errno: i32) -> Self {
        Self { bytes, bad: 0..0, strict: true, fault: Fault::new(at, errno) }
    }
}

impl ReadAt for FaultyAt<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fault.call()?;
        let end = offset + buf.len() as u64;
        let touches = offset < self.bad.end && end > self.bad.start;
        if touches && (self.strict || offset >= self.bad.start) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let end = if touches { self.bad.start } else { end };
        self.bytes.read_at(&mut buf[..usize::try_from(end - offset).unwrap()], offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }
}

/// What a job told of a source that cannot be read everywhere.
#[derive(Default)]
struct Told {
    done: Vec<String>,
    failed: Vec<String>,
    damaged: Vec<(Range<u64>, String)>,
}

impl Observer for Told {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Done { entry } => self.done.push(entry.path.to_string()),
            Event::Failed { path, .. } => self.failed.push(path.to_string()),
            Event::Damaged { range, error } => self.damaged.push((range, error.to_string())),
            _ => {}
        }
    }
}

/// Returns whether names have all of `least`, and none that is not in `most`.
fn is_between(names: &[String], least: &[String], most: &[String]) -> bool {
    least.iter().all(|name| names.contains(name)) && names.iter().all(|name| most.contains(name))
}

#[test]
fn unreadable_places_cost_repair_and_verify_what_is_in_them() {
    let bytes = archive();
    let whole = Archive::open(bytes.as_slice()).unwrap();
    let listed: Vec<_> = whole.entries().map(Result::unwrap).collect();
    let (len, data_end) = (bytes.len() as u64, whole.info().data_size);
    let starts = (0..len).step_by(100_000).chain([0, data_end - 9000, data_end, len - 64, len - 1]);
    for start in starts {
        for strict in [false, true] {
            let bad = start..(start + 6000).min(len);
            let source = FaultyAt::bad(&bytes, bad.clone(), strict);
            // What is not read, in steps of 4 KiB, may begin sooner.
            let lost = start - start % 4096..bad.end.next_multiple_of(4096).min(len);
            let names = |hit: &Range<u64>| -> Vec<String> {
                let spared = |range: &Range<u64>| range.end <= hit.start || hit.end <= range.start;
                let spared = listed.iter().filter(|entry| spared(&entry.claimed_range()));
                spared.map(|entry| entry.path.to_string()).collect()
            };
            let (mut new, mut told) = (Vec::new(), Told::default());
            let mut sink = WriteSink::new(&mut new);
            let report = repair(&source, &mut sink, &RepairOptions::default(), &mut told).unwrap();
            assert!(
                is_between(&told.done, &names(&lost), &names(&bad)),
                "{bad:?}: {:?}",
                told.done
            );
            assert!(report.unreadable > 0 && report.unreadable <= lost.end - lost.start);
            let unread: Vec<_> =
                told.damaged.iter().filter(|(_, text)| text.starts_with("cannot read")).collect();
            assert_eq!(unread.len(), 1, "{bad:?}: {:?}", told.damaged);
            assert!(lost.start <= unread[0].0.start && unread[0].0.end <= lost.end);
            let new = Archive::open(new).unwrap();
            let (all, options) = (Selection::default(), VerifyOptions::default());
            assert!(verify(&new, &all, &options, &mut ()).unwrap().is_good());

            let mut told = Told::default();
            match Archive::open(FaultyAt::bad(&bytes, bad.clone(), strict)) {
                Ok(archive) => {
                    let report = verify(&archive, &all, &options, &mut told).unwrap();
                    assert!(!report.is_good());
                    assert_eq!(told.done, names(&bad), "{bad:?}");
                }
                Err(error) => {
                    assert!(matches!(error, Error::Input { .. }), "{error}");
                    assert!(Wreck::examine(&source, Limits::default()).unwrap().begins_as_ours);
                    let report = name_whole_members(&source, &all, Limits::default(), &mut told);
                    assert!(!report.unwrap().is_good());
                    assert!(is_between(&told.done, &names(&lost), &names(&bad)), "{bad:?}");
                }
            }
        }
    }
}

#[test]
fn what_can_no_longer_be_read_when_it_is_copied_is_an_error() {
    let bytes = archive();
    let calls = {
        let counting = FaultyAt::failing(&bytes, u64::MAX, EIO);
        isptar_core::repair::scan(&counting, &RepairOptions::default(), &mut ()).unwrap();
        counting.fault.calls.load(Ordering::Relaxed)
    };
    // One that fails while members are found gives zeros, and so it does ever after.
    for at in 0..calls + 20 {
        let source = FaultyAt::failing(&bytes, at, EIO);
        let (mut new, mut told) = (Vec::new(), Told::default());
        let mut sink = WriteSink::new(&mut new);
        match repair(&source, &mut sink, &RepairOptions::default(), &mut told) {
            Ok(_) => {
                let new = Archive::open(new.as_slice()).unwrap();
                let (all, options) = (Selection::default(), VerifyOptions::default());
                assert!(verify(&new, &all, &options, &mut ()).unwrap().is_good(), "{at}");
            }
            Err(error) => assert!(matches!(error, Error::Input { .. }), "{at}: {error}"),
        }
    }
}

/// An archive of small and of big files, larger than what is read of its end at once.
fn archive() -> Vec<u8> {
    let mut items = vec![dir("d"), link("d/l", "x")];
    for number in 0..6u32 {
        items.push(file(
            &format!("d/small{number}"),
            &noise(usize::try_from(3000 + 4000 * number).unwrap(), number.into()),
        ));
    }
    items.push(file("e", &noise((2 << 20) + 5, 7)));
    items.push(file("f", &noise(40_000, 8)));
    items.push(file("g", &noise(90_000, 9)));
    build(&items, 1)
}

/// Checks that what was restored is as it was stored, and returns the names that are missing.
fn missing(target: &Path, good: &Archive<&[u8]>) -> Vec<String> {
    let mut missing = Vec::new();
    for entry in good.entries() {
        let entry = entry.unwrap();
        let path = target.join(entry.path.to_string());
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => {
                assert!(fs::read(&path).unwrap() == read(good, &entry).unwrap(), "{}", entry.path);
            }
            Ok(_) => {}
            Err(_) => missing.push(entry.path.to_string()),
        }
    }
    for found in walkdir::WalkDir::new(target) {
        let name = found.unwrap().file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with(".isptar-"), "{name} is left");
    }
    missing
}

#[test]
fn what_cannot_be_read_costs_the_members_that_it_is_in() {
    let bytes = archive();
    let good = Archive::open(bytes.as_slice()).unwrap();
    let data_size = good.info().data_size;
    let ranges: Vec<(String, Range<u64>)> = (good.entries())
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path.to_string(), entry.claimed_range()))
        .collect();
    let target = tempfile::tempdir().unwrap();
    let mut faults = 0;
    // What is within the last 4 KiB is needed to open the archive.
    let end = data_size.min(bytes.len() as u64 - 4096);
    for start in (0..end).step_by(if cfg!(debug_assertions) { 49_999 } else { 9973 }) {
        for strict in [false, true] {
            let bad = start..(start + 512).min(end);
            let at = target.path().join(format!("{start}-{strict}"));
            let archive = Archive::open(FaultyAt::bad(&bytes, bad.clone(), strict)).unwrap();
            let options = ExtractOptions::default();
            let report = extract(&archive, &Selection::default(), &at, &options, &mut ()).unwrap();
            faults += 1;
            let hit = |range: &Range<u64>| range.start < bad.end && bad.start < range.end;
            let expected: Vec<&str> = (ranges.iter())
                .filter(|(_, range)| hit(range))
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(report.failed, expected.len() as u64, "{bad:?} {strict}");
            // The directory is made all the same, for what is in it.
            let expected: Vec<&str> = expected.into_iter().filter(|name| *name != "d").collect();
            assert_eq!(missing(&at, &good), expected, "{bad:?} {strict}");
            fs::remove_dir_all(&at).unwrap();
        }
    }
    eprintln!("{faults} unreadable places");
    assert!(faults > 50);
}

#[test]
fn a_read_that_fails_at_any_call_is_told_and_gives_nothing_wrong() {
    let bytes = archive();
    let good = Archive::open(bytes.as_slice()).unwrap();
    let target = tempfile::tempdir().unwrap();
    for errno in [EIO, EINTR] {
        for at in 0.. {
            let source = FaultyAt::failing(&bytes, at, errno);
            let place = target.path().join(format!("{errno}-{at}"));
            let ended = Archive::open(&source as &dyn ReadAt).and_then(|archive| {
                let options = ExtractOptions::default();
                extract(&archive, &Selection::default(), &place, &options, &mut ())
            });
            let missing = missing(&place, &good).len();
            let failed = ended.as_ref().map_or(1, |report| report.failed);
            assert!(missing == 0 || failed > 0, "read {at}: {missing} files are missing");
            if errno == EINTR {
                assert_eq!((missing, failed), (0, 0), "an interrupted read is made again");
            }
            if place.exists() {
                fs::remove_dir_all(&place).unwrap();
            }
            if !source.fault.was_met() {
                assert!(at > 5 && failed == 0);
                break;
            }
        }
    }
}

#[test]
fn listing_and_contents_fail_at_any_read_without_a_wrong_byte() {
    let bytes = archive();
    let good = Archive::open(bytes.as_slice()).unwrap();
    let expected: Vec<_> = good.entries().map(|entry| entry.unwrap()).collect();
    for at in 0.. {
        let source = FaultyAt::failing(&bytes, at, EIO);
        let listed = Archive::open(&source as &dyn ReadAt).and_then(|archive| {
            let entries = archive.entries().collect::<Result<Vec<_>>>()?;
            assert_eq!(entries, expected);
            for entry in &entries {
                match (read(&archive, entry), read(&good, entry)) {
                    (Ok(content), Ok(wanted)) => assert!(content == wanted, "{}", entry.path),
                    (Err(error), _) => {
                        assert!(matches!(error, Error::Input { .. }), "{error}");
                    }
                    (Ok(_), Err(error)) => unreachable!("{error}"),
                }
            }
            Ok(())
        });
        if let Err(error) = listed {
            assert!(matches!(error, Error::Input { .. }), "{error}");
        }
        if !source.fault.was_met() {
            assert!(at > 5);
            break;
        }
    }
}
