//! The captures that the original made, and what else a line may be.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use super::*;
use crate::archive::Archive;
use crate::content::ContentReader;
use crate::create::{CreateOptions, CreateReport};
use crate::error::{Error, Result};
use crate::format::entry::{Dialect, Entry};
use crate::io::WriteSink;
use crate::remote::RemoteError;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/classic"));
    fs::read(folder.join(name)).unwrap()
}

/// Returns what a server makes of these bytes, what it answers, and the archive.
fn serve(bytes: &[u8], dialect: Dialect) -> (Result<CreateReport>, Vec<u8>, Vec<u8>) {
    let (mut answers, mut archive) = (Vec::new(), Vec::new());
    let options = CreateOptions { dialect, ..CreateOptions::default() };
    let mut sink = WriteSink::new(&mut archive);
    let received = receive_classic(bytes, &mut answers, &mut sink, &options, &mut ());
    (received, answers, archive)
}

fn entries(archive: &Archive<Vec<u8>>) -> Vec<Entry> {
    archive.entries().map(|entry| entry.unwrap()).collect()
}

fn content(archive: &Archive<Vec<u8>>, entry: &Entry) -> Vec<u8> {
    let mut content = Vec::new();
    let member = archive.member(entry).unwrap();
    ContentReader::new(member).read_to_end(&mut content).unwrap();
    content
}

/// Returns what the original's listing says of a member.
fn line(entry: &Entry) -> Vec<u8> {
    let mut line = Vec::new();
    entry.encode_classic(&crate::Limits::default(), &mut line).unwrap();
    line
}

#[test]
fn the_captured_client_is_answered_as_the_original_did_and_gives_its_archive() {
    let original = Archive::open(fixture("server.tgz")).unwrap();
    for dialect in [Dialect::Isptar, Dialect::Classic] {
        let (received, answers, bytes) = serve(&fixture("client-to-server.bin"), dialect);
        assert_eq!(received.unwrap().members, 14);
        assert_eq!(answers, fixture("server-to-client.bin"));
        let archive = Archive::open(bytes).unwrap();
        let (mine, theirs) = (entries(&archive), entries(&original));
        assert_eq!(mine.len(), theirs.len());
        for (mine, theirs) in mine.iter().zip(&theirs) {
            assert_eq!(line(mine), line(theirs));
            if mine.kind.size() > 0 {
                assert_eq!(content(&archive, mine), content(&original, theirs));
            }
        }
    }
}

#[test]
fn times_that_the_protocol_does_not_tell_are_not_made_up() {
    let (_, _, bytes) = serve(&fixture("client-to-server.bin"), Dialect::Isptar);
    let archive = Archive::open(bytes).unwrap();
    for entry in entries(&archive) {
        assert_eq!(entry.mtime.is_some(), matches!(entry.kind, crate::Kind::File { .. }));
    }
}

#[test]
fn a_capture_cut_at_any_byte_makes_no_archive() {
    let bytes = fixture("client-to-server.bin");
    for len in 0..bytes.len() {
        let (received, _, _) = serve(&bytes[..len], Dialect::Isptar);
        assert!(matches!(received, Err(Error::Remote(RemoteError::Cut { .. }))), "{len}");
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap().to_le_bytes();
    [&len, bytes].concat()
}

#[test]
fn a_file_that_shrank_is_filled_with_zeros_and_marked() {
    let line = sized(b"f\t#0\t#0\t420\tfile\t7\t5");
    let stream = [line, sized(b"ab"), sized(b""), sized(b"")].concat();
    let (received, answers, bytes) = serve(&stream, Dialect::Isptar);
    assert_eq!(received.unwrap().changed, 1);
    assert_eq!(answers, [1, 0]);
    let archive = Archive::open(bytes).unwrap();
    let entry = entries(&archive).remove(0);
    assert!(entry.dirty);
    assert_eq!(content(&archive, &entry), b"ab\0\0\0");
}

#[test]
fn hostile_lines_and_lengths_are_refused() {
    let line = |text: &str| sized(text.as_bytes());
    let file = line("f\t#0\t#0\t420\tfile\t7\t5");
    let cases = [
        line("../f\t#0\t#0\t420\tfifo"),
        line("a/../../f\t#0\t#0\t420\tfifo"),
        line("f\t#0\t#0\t420\thard\t../../etc/passwd"),
        line("f\t#0\t#0\t420\tdoor"),
        line("f\t#0\t#0\t420\tfile\t7\t5\t0:1:0:0"),
        vec![0xff, 0xff],
        [file.clone(), sized(b"123456")].concat(),
        [file, vec![0, 0x80]].concat(),
    ];
    for (number, case) in cases.iter().enumerate() {
        let (received, _, _) = serve(&[case.as_slice(), &[0; 8]].concat(), Dialect::Isptar);
        let Err(Error::Remote(RemoteError::Corrupt { .. })) = received else {
            panic!("{number}: {received:?}")
        };
    }
}

#[test]
fn names_lose_what_is_before_them() {
    let stream = [sized(b"/etc//./f\t#0\t#0\t420\tfifo"), sized(b"")].concat();
    let (_, _, bytes) = serve(&stream, Dialect::Isptar);
    let archive = Archive::open(bytes).unwrap();
    assert_eq!(entries(&archive)[0].path.as_bytes(), b"etc/f");
}

/// Sends a tree to a server whose answers are known.
fn client(dir: &std::path::Path, paths: &[&str], answers: Vec<u8>) -> (Result<u64>, Vec<u8>) {
    let mut sent = Vec::new();
    let options = CreateOptions { directory: dir.to_owned(), ..CreateOptions::default() };
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let input = io::Cursor::new(answers);
    let report = send_classic(input, &mut sent, &paths, &options, &mut ());
    (report.map(|report| report.sent.unreadable), sent)
}

#[test]
fn what_is_too_long_for_a_line_is_refused_and_the_rest_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut deep = dir.path().join("d");
    fs::create_dir(&deep).unwrap();
    fs::write(deep.join("z"), "content").unwrap();
    let handle = |path: &std::path::Path| fs::File::open(path).unwrap();
    let mut parent = handle(&deep);
    // Deeper than a path may be long for the system, so by handles.
    for _ in 0..130 {
        deep.push("n".repeat(255));
        let name = "n".repeat(255);
        rustix::fs::mkdirat(&parent, &name, 0o755.into()).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        parent = rustix::fs::openat(&parent, &name, flags, 0.into()).unwrap().into();
    }
    let answers = [[0, 0].repeat(127), vec![1, 0]].concat();
    let (unreadable, sent) = client(dir.path(), &["d"], answers);
    assert_eq!(unreadable.unwrap(), 3);
    assert!(sent.ends_with(&[sized(b"content"), vec![0, 0]].concat()));
}

#[test]
fn content_is_sent_in_pieces_and_only_when_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/a"), vec![7; 10_000]).unwrap();
    fs::write(dir.path().join("d/b"), "unchanged").unwrap();
    let (unreadable, sent) = client(dir.path(), &["d"], vec![1, 0, 0, 0]);
    assert_eq!(unreadable.unwrap(), 0);
    let data = [4096, 4096, 1808].map(|len| sized(&vec![7; len])).concat();
    assert!(sent.windows(data.len()).any(|window| window == data));
    assert!(!sent.windows(9).any(|window| window == b"unchanged"));
    assert!(sent.ends_with(&[0, 0]));
    let (cut, _) = client(dir.path(), &["d"], vec![1, 0, 0]);
    assert!(matches!(cut, Err(Error::Remote(RemoteError::Cut { .. }))));
}
