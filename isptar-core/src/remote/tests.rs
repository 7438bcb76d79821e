//! Both sides on threads of this process, over the system's pipes: they are as small as any.

use std::fs::{self, File};
use std::io::{self, Read, pipe};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::frame::{FrameKind, Head, PREFACE};
use super::*;
use crate::archive::Archive;
use crate::base::BaseListing;
use crate::create::{CreateOptions, CreateReport, Extras, create, create_with};
use crate::error::{Error, Result};
use crate::format::entry::{Dialect, Entry};
use crate::io::{FinishedSlice, Sink, WriteSink};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::pack::Details;
use crate::writer::{ArchiveWriter, WriterOptions};

/// An archive in memory, and whether it was published.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    published: bool,
}

impl Sink for Memory {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish_slice(&mut self, _slice: &FinishedSlice) -> Result<()> {
        Ok(())
    }

    fn publish(&mut self, _identity: &[u8; 32]) -> Result<()> {
        self.published = true;
        Ok(())
    }
}

/// Keeps what goes through it.
struct Tee<T>(T, Arc<Mutex<Vec<u8>>>);

impl<T: Read> Read for Tee<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buf)?;
        self.1.lock().unwrap().extend_from_slice(&buf[..count]);
        Ok(count)
    }
}

/// What one run gave.
struct Run {
    sent: Result<SendReport>,
    received: Result<CreateReport>,
    sink: Memory,
    /// What the client sent, and what the server answered.
    up: Vec<u8>,
    down: Vec<u8>,
}

fn options(dir: &Path, level: u8) -> CreateOptions {
    CreateOptions {
        directory: dir.to_owned(),
        level,
        created: Some(1_700_000_000),
        tool: Some("test".into()),
        ..CreateOptions::default()
    }
}

fn run(dir: &Path, names: &[&str], client: CreateOptions, server: CreateOptions) -> Run {
    observed(dir, names, client, server, &mut ())
}

fn observed(
    dir: &Path,
    names: &[&str],
    client: CreateOptions,
    server: CreateOptions,
    observer: &mut dyn Observer,
) -> Run {
    on_base(dir, names, client, server, None, observer)
}

fn on_base(
    dir: &Path,
    names: &[&str],
    client: CreateOptions,
    server: CreateOptions,
    base: Option<&[u8]>,
    observer: &mut dyn Observer,
) -> Run {
    let (from_client, to_server) = pipe().unwrap();
    let (from_server, to_client) = pipe().unwrap();
    let (up, down) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let input = Tee(from_client, Arc::clone(&up));
    let answers = Tee(from_server, Arc::clone(&down));
    let paths: Vec<_> = names.iter().map(std::path::PathBuf::from).collect();
    let client = CreateOptions { directory: dir.to_owned(), ..client };
    let mut sink = Memory::default();
    let (sent, received) = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let options = ReceiveOptions { create: server, machine: None };
            let base = base.map(|bytes| Archive::open(bytes).unwrap());
            let base = base.as_ref().map(|base| BaseListing::of(base, b"base").unwrap());
            receive(input, to_client, &mut sink, &options, base, &mut ())
        });
        let options = SendOptions { create: client, machine: None };
        let sent = send(answers, to_server, &paths, &options, observer);
        (sent, server.join().unwrap())
    });
    let (up, down) = (up.lock().unwrap().clone(), down.lock().unwrap().clone());
    Run { sent, received, sink, up, down }
}

/// A tree with all that can be made without rights.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("d/sub")).unwrap();
    fs::write(at("d/one"), "content of one").unwrap();
    fs::hard_link(at("d/one"), at("d/two")).unwrap();
    fs::write(at("d/empty"), "").unwrap();
    fs::write(at("d/name\twith\nall\\"), "odd").unwrap();
    symlink("one", at("d/link")).unwrap();
    fs::set_permissions(at("d/empty"), fs::Permissions::from_mode(0o4711)).unwrap();
    let noise: Vec<u8> =
        (0..3_300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(at("d/big"), noise).unwrap();
    let sparse = File::create(at("d/sub/sparse")).unwrap();
    sparse.set_len(80 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 40 << 20).unwrap();
    let zeros = File::create(at("d/sub/zeros")).unwrap();
    zeros.set_len(3 << 20).unwrap();
    dir
}

fn created(dir: &Path, options: CreateOptions) -> Vec<u8> {
    let mut sink = Memory::default();
    let options = CreateOptions { directory: dir.to_owned(), ..options };
    create(&mut sink, &["d".into()], &options, &mut ()).unwrap();
    sink.bytes
}

#[test]
fn what_is_received_is_what_create_makes() {
    let dir = tree();
    for level in [0, 6] {
        let here = options(dir.path(), level);
        let run = run(dir.path(), &["d"], here.clone(), here.clone());
        let (sent, received) = (run.sent.unwrap(), run.received.unwrap());
        assert!(run.sink.published);
        assert_eq!(run.sink.bytes, created(dir.path(), here), "level {level}");
        assert_eq!(sent.sent.identity, received.identity);
        assert_eq!(sent.sent.members, 10);
        assert_eq!(received.members, 10);
        assert_eq!(received.archive_size, run.sink.bytes.len() as u64);
        // Holes are not sent.
        assert!(run.up.len() < 8 << 20, "{}", run.up.len());
    }
}

#[test]
fn the_server_says_how_the_tree_is_read() {
    let dir = tree();
    let client = options(dir.path(), 6);
    let server = CreateOptions { reproducible: true, xattrs: false, ..client.clone() };
    let run = run(dir.path(), &["d"], client, server.clone());
    run.received.unwrap();
    assert_eq!(run.sink.bytes, created(dir.path(), server));
}

#[test]
fn archives_in_the_layout_of_the_original_are_received_too() {
    let dir = tree();
    let client = options(dir.path(), 6);
    let server = CreateOptions { dialect: Dialect::Classic, ..client.clone() };
    let run = run(dir.path(), &["d"], client, server.clone());
    run.sent.unwrap();
    assert_eq!(run.sink.bytes, created(dir.path(), server));
}

#[test]
fn what_is_compressed_already_is_stored() {
    let dir = tree();
    let no_compress = crate::Patterns::new(["one", "big"]).unwrap();
    let here = CreateOptions { no_compress, ..options(dir.path(), 6) };
    let run = run(dir.path(), &["d"], here.clone(), here.clone());
    run.received.unwrap();
    assert_eq!(run.sink.bytes, created(dir.path(), here));
}

#[test]
fn many_more_files_than_pipes_hold_go_through() {
    let dir = tempfile::tempdir().unwrap();
    let long = "n".repeat(200);
    for n in 0..3000 {
        let parent = dir.path().join(format!("d/{:03}", n / 10));
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(format!("{long}{n}")), n.to_string()).unwrap();
    }
    let here = options(dir.path(), 0);
    let run = run(dir.path(), &["d"], here.clone(), here.clone());
    run.sent.unwrap();
    assert_eq!(run.sink.bytes, created(dir.path(), here));
}

/// Does something to a file as soon as another was sent.
struct Meddler<F: FnMut(&Entry)>(F);

impl<F: FnMut(&Entry)> Observer for Meddler<F> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Done { entry } = event {
            (self.0)(entry);
        }
    }
}

/// Makes an increment of the tree by `create` and by sending it.
fn increments(dir: &Path, base: &[u8], options: &CreateOptions) -> (Vec<u8>, Run) {
    let archive = Archive::open(base).unwrap();
    let mut extras = Extras::default();
    extras.set_base(BaseListing::of(&archive, b"base").unwrap());
    let mut sink = Memory::default();
    create_with(&mut sink, &["d".into()], options, extras, &mut ()).unwrap();
    let run = on_base(dir, &["d"], options.clone(), options.clone(), Some(base), &mut ());
    (sink.bytes, run)
}

#[test]
fn with_a_base_only_what_changed_is_sent_and_the_archive_is_that_of_create() {
    let dir = tree();
    let at = |name: &str| dir.path().join(name);
    // After all that the files went through: nothing is racy.
    let here = CreateOptions { created: Some(4_000_000_000), ..options(dir.path(), 6) };
    let base = created(dir.path(), here.clone());
    let (expected, run) = increments(dir.path(), &base, &here);
    let (sent, received) = (run.sent.unwrap(), run.received.unwrap());
    assert_eq!((sent.unchanged, received.unchanged), (10, 10));
    assert_eq!(run.sink.bytes, expected);
    assert!(run.up.len() < 4096, "{}", run.up.len());

    fs::write(at("d/new"), "new").unwrap();
    fs::write(at("d/one"), "changed, with both of its names").unwrap();
    fs::remove_file(at("d/empty")).unwrap();
    fs::set_permissions(at("d/sub/zeros"), fs::Permissions::from_mode(0o600)).unwrap();
    let (expected, run) = increments(dir.path(), &base, &here);
    let (sent, received) = (run.sent.unwrap(), run.received.unwrap());
    assert_eq!(run.sink.bytes, expected);
    assert_eq!((sent.sent.identity, received.deleted), (received.identity, 1));
    let stored: Vec<_> = names_of(&run.sink.bytes)
        .into_iter()
        .filter(|entry| entry.location.is_some_and(|location| location.depth == 0))
        .map(|entry| entry.path.to_string())
        .collect();
    assert_eq!(stored, ["d", "d/new", "d/one", "d/sub/zeros", "d/two"]);
}

#[test]
fn a_base_without_times_is_compared_by_content() {
    let dir = tree();
    let here = CreateOptions { reproducible: true, ..options(dir.path(), 6) };
    let base = created(dir.path(), here.clone());
    let (expected, run) = increments(dir.path(), &base, &here);
    assert_eq!(run.received.unwrap().unchanged, 10);
    assert_eq!(run.sink.bytes, expected);
    // As many bytes, at the same time.
    let file = File::options().write(true).open(dir.path().join("d/one")).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"CONTENT", 0).unwrap();
    file.set_modified(time).unwrap();
    let (expected, run) = increments(dir.path(), &base, &here);
    assert_eq!(run.received.unwrap().unchanged, 8);
    assert_eq!(run.sink.bytes, expected);
}

fn names_of(bytes: &[u8]) -> Vec<Entry> {
    let archive = Archive::open(bytes).unwrap();
    archive.entries().map(|entry| entry.unwrap()).collect()
}

#[test]
fn what_vanishes_or_grows_meanwhile_is_told_and_links_lead_to_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join("d").join(name);
    fs::create_dir(dir.path().join("d")).unwrap();
    for name in ["a", "grows", "gone", "x"] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("x"), at("x1")).unwrap();
    fs::hard_link(at("x"), at("x2")).unwrap();
    let mut meddler = Meddler(|entry: &Entry| {
        if entry.path.as_bytes() == b"d/a" {
            fs::remove_file(at("gone")).unwrap();
            fs::remove_file(at("x")).unwrap();
            fs::write(at("grows"), vec![7; 2 << 20]).unwrap();
        }
    });
    let here = options(dir.path(), 6);
    let run = observed(dir.path(), &["d"], here.clone(), here, &mut meddler);
    let (sent, received) = (run.sent.unwrap().sent, run.received.unwrap());
    assert_eq!((sent.vanished, received.vanished), (2, 2));
    let entries = names_of(&run.sink.bytes);
    let find = |name: &str| entries.iter().find(|entry| entry.path.as_bytes() == name.as_bytes());
    assert_eq!(find("d/gone").unwrap().lost.as_deref(), Some("vanished"));
    assert_eq!(find("d/grows").unwrap().kind.size(), 2 << 20);
    assert_eq!(find("d/x1").unwrap().kind.size(), 1);
    assert!(matches!(&find("d/x2").unwrap().kind,
        crate::Kind::HardLink { target } if target.as_bytes() == b"d/x1"));
}

#[test]
fn an_empty_tree_makes_no_archive_and_both_sides_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let here = options(dir.path(), 6);
    let run = run(dir.path(), &["nothing"], here.clone(), here);
    assert!(matches!(run.received, Err(Error::NothingStored)));
    let Err(Error::Remote(RemoteError::GaveUp { reason })) = run.sent else { panic!() };
    assert_eq!(reason, Error::NothingStored.to_string());
    assert!(!run.sink.published);
}

/// A sink that fails after some bytes.
struct Full(usize);

impl Sink for Full {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| Error::Output {
            op: "write",
            path: None,
            source: io::ErrorKind::StorageFull.into(),
        })?;
        Ok(())
    }

    fn finish_slice(&mut self, _slice: &FinishedSlice) -> Result<()> {
        Ok(())
    }

    fn publish(&mut self, _identity: &[u8; 32]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_of_the_server_is_told_to_the_client() {
    let dir = tree();
    let (from_client, to_server) = pipe().unwrap();
    let (from_server, to_client) = pipe().unwrap();
    let server = std::thread::spawn(move || {
        let options = ReceiveOptions::default();
        receive(from_client, to_client, &mut Full(100_000), &options, None, &mut ())
    });
    let options = SendOptions { create: options(dir.path(), 0), machine: None };
    let sent = send(from_server, to_server, &["d".into()], &options, &mut ());
    assert!(matches!(server.join().unwrap(), Err(Error::Output { .. })));
    let Err(Error::Remote(RemoteError::GaveUp { reason })) = sent else { panic!("{sent:?}") };
    assert!(reason.contains("no storage space"), "{reason}");
}

/// Stops the client after its first member.
#[derive(Default)]
struct Stop(bool);

impl Observer for Stop {
    fn event(&mut self, event: Event<'_>) {
        self.0 |= matches!(event, Event::Done { .. });
    }

    fn cancelled(&self) -> bool {
        self.0
    }
}

#[test]
fn a_client_that_is_stopped_tells_the_server() {
    let dir = tree();
    let here = options(dir.path(), 0);
    let run = observed(dir.path(), &["d"], here.clone(), here, &mut Stop::default());
    assert!(matches!(run.sent, Err(Error::Cancelled)));
    let Err(Error::Remote(RemoteError::GaveUp { reason })) = run.received else { panic!() };
    assert_eq!(reason, "interrupted");
    assert!(!run.sink.published);
}

fn small_run() -> (tempfile::TempDir, Run) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/a"), "some text").unwrap();
    fs::write(dir.path().join("d/b"), "more text").unwrap();
    let here = options(dir.path(), 0);
    let run = run(dir.path(), &["d"], here.clone(), here);
    run.received.as_ref().unwrap();
    (dir, run)
}

fn serve_bytes(bytes: &[u8]) -> (Result<CreateReport>, Memory) {
    let mut sink = Memory::default();
    let options = ReceiveOptions::default();
    let received = receive(bytes, io::sink(), &mut sink, &options, None, &mut ());
    (received, sink)
}

#[test]
fn a_connection_cut_at_any_byte_publishes_nothing() {
    let (_dir, run) = small_run();
    for len in 0..run.up.len() {
        let (received, sink) = serve_bytes(&run.up[..len]);
        let Err(Error::Remote(RemoteError::Cut { position, .. })) = received else {
            panic!("{len}: {received:?}")
        };
        assert_eq!(position, len as u64);
        assert!(!sink.published, "{len}");
    }
    assert!(serve_bytes(&run.up).1.published);
}

#[test]
fn a_client_whose_server_is_cut_at_any_byte_reports_no_success() {
    let (dir, run) = small_run();
    let send_with = |answers: &[u8]| {
        let options = SendOptions { create: options(dir.path(), 0), machine: None };
        let answers = io::Cursor::new(answers.to_vec());
        send(answers, io::sink(), &["d".into()], &options, &mut ())
    };
    for len in 0..run.down.len() {
        let sent = send_with(&run.down[..len]);
        assert!(matches!(sent, Err(Error::Remote(RemoteError::Cut { .. }))), "{len}: {sent:?}");
    }
    assert_eq!(send_with(&run.down).unwrap(), run.sent.unwrap());
}

#[test]
fn a_flipped_bit_of_any_byte_is_found() {
    let (_dir, run) = small_run();
    for (bit, at) in (0..run.up.len()).enumerate() {
        let mut damaged = run.up.clone();
        damaged[at] ^= 1 << (bit % 8);
        let (received, sink) = serve_bytes(&damaged);
        assert!(matches!(received, Err(Error::Remote(RemoteError::Corrupt { .. }))), "{bit}");
        assert!(!sink.published, "{bit}");
    }
}

/// A frame to be: its kind and payload.
type Sent<'a> = (FrameKind, &'a [u8]);

/// A stream of frames.
fn frames(frames: &[Sent<'_>]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    for &(kind, payload) in frames {
        bytes.extend_from_slice(&Head { kind, len: payload.len() as u64 }.encode());
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    }
    bytes
}

/// The payload of a member.
fn member(name: &str, size: u64) -> Vec<u8> {
    let header = crate::MemberHeader::new(name, crate::Kind::File { size });
    let mut payload = Vec::new();
    let limits = crate::Limits::default();
    message::Member::encode(&header, crate::Details::default(), None, &limits, &mut payload)
        .unwrap();
    payload
}

#[test]
fn frames_out_of_place_and_names_that_lead_outside_are_refused() {
    use FrameKind::{Data, Done, End, Hello, Member, Offer, Want};
    let line = |name: &str| format!("{name}\t#0\t#0\t420\tfile\t0\t3\n").into_bytes();
    let (a, b, bad) = (line("a"), line("b"), line("../a"));
    let (small, large, outside) = (member("a", 3), member("a", 3 << 20), member("../a", 0));
    let hello: Sent<'_> = (Hello, b"");
    let cases: Vec<(&str, Vec<Sent<'_>>)> = vec![
        ("no greeting", vec![(Offer, &a)]),
        ("two greetings", vec![hello, hello]),
        ("a server's frame", vec![hello, (Want, b"\x01")]),
        ("a member that was not offered", vec![hello, (Member, &small)]),
        ("another member", vec![hello, (Offer, &b), (Member, &small)]),
        ("offers out of order", vec![hello, (Offer, &b), (Offer, &a)]),
        ("a name twice", vec![hello, (Offer, &a), (Offer, &a)]),
        ("a name outside", vec![hello, (Offer, &bad), (Member, &outside)]),
        ("data without a member", vec![hello, (Data, b"x")]),
        ("too much data", vec![hello, (Offer, &a), (Member, &small), (Data, b"four")]),
        ("too little", vec![hello, (Offer, &a), (Member, &small), (Data, b"x"), (End, b"\0")]),
        (
            "too little of much",
            vec![hello, (Offer, &a), (Member, &large), (Data, b"x"), (End, b"\0")],
        ),
        ("no data", vec![hello, (Offer, &a), (Member, &small), (Data, b"")]),
        ("an end too soon", vec![hello, (Offer, &a), (Done, b"offered=1\n")]),
        (
            "a wrong count",
            vec![
                hello,
                (Offer, &a),
                (Member, &small),
                (Data, b"abc"),
                (End, b"\0"),
                (Done, b"offered=2\n"),
            ],
        ),
    ];
    for (case, list) in cases {
        let (received, sink) = serve_bytes(&frames(&list));
        let error = received.expect_err(case);
        assert!(!matches!(error, Error::Remote(RemoteError::Cut { .. })), "{case}: {error}");
        assert!(!sink.published, "{case}");
    }
    let good = [
        hello,
        (Offer, &a),
        (Member, &small),
        (Data, b"abc"),
        (End, b"\0"),
        (Done, b"offered=1\n"),
    ];
    assert!(serve_bytes(&frames(&good)).1.published);
}

#[test]
fn offers_without_end_are_refused() {
    let mut list: Vec<Vec<u8>> = Vec::new();
    for n in 0..40 {
        let name = |m: usize| format!("{n:03}{m:03}{}\t#0\t#0\t420\tfifo\n", "x".repeat(500));
        list.push((0..200).map(name).collect::<String>().into_bytes());
    }
    let mut stream = vec![(FrameKind::Hello, b"".as_slice())];
    stream.extend(list.iter().map(|payload| (FrameKind::Offer, payload.as_slice())));
    let (received, _) = serve_bytes(&frames(&stream));
    let Err(Error::Remote(RemoteError::Corrupt { kind, .. })) = received else { panic!() };
    assert!(matches!(kind, crate::FormatError::Limit { .. }), "{kind}");
}

#[test]
fn offers_of_what_the_base_has_are_bounded_as_well() {
    let (mut base, mut list) = (Vec::new(), vec![b"0\t#0\t#0\t420\tfifo\n".to_vec()]);
    let writer = WriterOptions { level: 0, ..WriterOptions::default() };
    let mut writer = ArchiveWriter::new(WriteSink::new(&mut base), &writer).unwrap();
    for n in 0..40 {
        let mut offer = Vec::new();
        for m in 0..200 {
            let name = format!("{n:03}{m:03}{}", "x".repeat(500));
            let mut header = crate::MemberHeader::new(name.as_str(), crate::Kind::Fifo);
            header.mtime = crate::Timestamp::new(5, 0);
            let mut entry = writer.append(&header, Details::default(), io::empty()).unwrap();
            (entry.location, entry.packed) = (None, None);
            (entry.ctime, entry.ino) = (Some(header.mtime), Some(1));
            entry.encode(&Limits::default(), &mut offer).unwrap();
        }
        list.push(offer);
    }
    writer.finish().unwrap();
    let base = Archive::open(base).unwrap();
    for wanted in [0, 1] {
        let mut stream = vec![(FrameKind::Hello, b"".as_slice())];
        let offers = list.iter().skip(1 - wanted).map(Vec::as_slice);
        stream.extend(offers.map(|payload| (FrameKind::Offer, payload)));
        stream.push((FrameKind::Done, b"offered=8000\n"));
        let mut options = ReceiveOptions::default();
        options.create.xattrs = false;
        let base = BaseListing::of(&base, b"base").unwrap();
        let (input, mut sink) = (frames(&stream), Memory::default());
        let received = receive(&input[..], io::sink(), &mut sink, &options, Some(base), &mut ());
        match received {
            Ok(report) if wanted == 0 => assert_eq!(report.unchanged, 8000),
            Err(Error::Remote(RemoteError::Corrupt { kind, .. })) if wanted == 1 => {
                assert!(matches!(kind, crate::FormatError::Limit { .. }), "{kind}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

#[test]
fn what_the_client_cannot_look_at_is_kept_in_its_place() {
    use FrameKind::{Data, Done, End, Hello, Member, Offer};
    let (mut base, limits) = (Vec::new(), Limits::default());
    let mut writer =
        ArchiveWriter::new(WriteSink::new(&mut base), &WriterOptions::default()).unwrap();
    let file = || crate::Kind::File { size: 3 };
    let link = |target: &str| crate::Kind::HardLink { target: target.into() };
    for (name, kind) in [
        ("a", file()),
        ("b", crate::Kind::Fifo),
        ("d", crate::Kind::Directory),
        ("d/f", file()),
        ("d/g", link("d/f")),
        ("d/h", link("a")),
        ("e", file()),
        ("x", file()),
        ("y", link("d/f")),
        ("z", crate::Kind::Directory),
        ("z/f", file()),
        ("z/g", link("z/f")),
    ] {
        let header = crate::MemberHeader::new(name, kind);
        let data: &[u8] = if header.kind == file() { b"abc" } else { b"" };
        writer.append(&header, Details::default(), data).unwrap();
    }
    writer.finish().unwrap();
    let offer = b"a\t#0\t#0\t420\tfile\t0\t3\n\
        d\t#0\t#0\t420\tdir\tlost=unreadable\n\
        x\t#0\t#0\t420\tfile\t0\t3\tlost=unreadable\n\
        y\t#0\t#0\t420\tfile\t0\t3\tlost=unreadable\n\
        z\t#0\t#0\t420\tdir\tlost=unreadable\n";
    let dir = |name: &str| {
        let header = crate::MemberHeader::new(name, crate::Kind::Directory);
        let (mut payload, lost) = (Vec::new(), Some("unreadable"));
        super::message::Member::encode(&header, Details::default(), lost, &limits, &mut payload)
            .unwrap();
        payload
    };
    let (a, d, z) = (member("a", 3), dir("d"), dir("z"));
    let stream: [Sent<'_>; 8] = [
        (Hello, b""),
        (Offer, offer),
        (Member, &a),
        (Data, b"new"),
        (End, b"\0"),
        (Member, &d),
        (Member, &z),
        (Done, b"offered=5\n"),
    ];
    let base = Archive::open(base).unwrap();
    let listing = BaseListing::of(&base, b"base").unwrap();
    let (input, mut sink) = (frames(&stream), Memory::default());
    let options = ReceiveOptions::default();
    let received = receive(&input[..], io::sink(), &mut sink, &options, Some(listing), &mut ());
    let report = received.unwrap();
    let shown: Vec<String> = names_of(&sink.bytes)
        .iter()
        .map(|entry| {
            let depth = entry.location.map(|location| location.depth);
            let lost = entry.lost.is_some();
            format!("{} {:?} {depth:?} {lost}", entry.path, entry.kind)
        })
        .collect();
    // Hard links lead only to what was kept of the same thing.
    let expected = [
        "a File { size: 3 } Some(0) false",
        "d Directory Some(0) true",
        "d/f File { size: 3 } Some(1) true",
        "d/g HardLink { target: \"d/f\" } Some(1) true",
        "d/h File { size: 0 } None true",
        "x File { size: 3 } Some(1) true",
        "y File { size: 0 } None true",
        "z Directory Some(0) true",
        "z/f File { size: 3 } Some(1) true",
        "z/g HardLink { target: \"z/f\" } Some(1) true",
    ];
    assert_eq!(shown, expected);
    assert_eq!(report.deleted, 2);
}

#[test]
fn a_shell_that_greets_is_shown() {
    let (received, _) = serve_bytes(b"Welcome to the machine of Ann\n");
    let error = received.unwrap_err().to_string();
    assert!(error.contains("Welcome to the m"), "{error}");
}

#[test]
fn on_one_machine_the_archive_does_not_become_part_of_itself() {
    let dir = tree();
    let own = fs::metadata(dir.path().join("d/one")).unwrap();
    let (dev, ino) = (own.dev(), own.ino());
    for (machine, members) in [("same", 8), ("other", 10)] {
        let (from_client, to_server) = pipe().unwrap();
        let (from_server, to_client) = pipe().unwrap();
        let server = std::thread::spawn(move || {
            let mut sink = WriteSink::new(io::sink()).with_own_file(dev, ino);
            let machine = Some("same".into());
            let options = ReceiveOptions { machine, ..ReceiveOptions::default() };
            receive(from_client, to_client, &mut sink, &options, None, &mut ())
        });
        let options = SendOptions { create: options(dir.path(), 0), machine: Some(machine.into()) };
        let sent = send(from_server, to_server, &["d".into()], &options, &mut ());
        assert_eq!(sent.unwrap().sent.members, members);
        assert_eq!(server.join().unwrap().unwrap().members, members);
    }
}
