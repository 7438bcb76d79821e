//! The hex dump in FORMAT.md is that of a real archive.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use isptar_core::{CreateOptions, WriteSink, create};

use super::support::{is_blessing, testdata};
use super::testdata::hello;

const BEGIN: &str = "<!-- hex dump: generated -->\n```\n";
const END: &str = "```\n<!-- hex dump: end -->";

fn format_page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../FORMAT.md"))
}

/// Returns the dump in FORMAT.md, and what stands before and after it.
fn parts() -> (String, String, String) {
    let page = fs::read_to_string(format_page()).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (dump, after) = rest.split_once(END).unwrap();
    (before.into(), dump.into(), after.into())
}

/// Takes a dump apart: lines of an offset and up to 16 bytes, `*` for rows like the last one,
/// remarks, and the length at the end.
fn parse(dump: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut repeats = false;
    for line in dump.lines().filter(|line| !line.is_empty() && !line.starts_with(';')) {
        if line == "*" {
            repeats = true;
            continue;
        }
        let (offset, rest) = line.split_at(8);
        let offset = usize::from_str_radix(offset, 16).unwrap();
        if std::mem::take(&mut repeats) {
            let row = bytes[bytes.len() - 16..].to_vec();
            while bytes.len() < offset {
                bytes.extend_from_slice(&row);
            }
        }
        assert_eq!(bytes.len(), offset, "{line}");
        let hex = rest.split('|').next().unwrap();
        let row = hex.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap());
        bytes.extend(row);
    }
    bytes
}

/// Where a part of the archive begins, and what it is.
type Remark = (usize, String);

/// Remarks on one stored stream of `real` bytes at `at`; returns where the next one begins.
fn stream(
    at: usize,
    real: usize,
    what: &str,
    fields: &[(usize, &str)],
    out: &mut Vec<Remark>,
) -> usize {
    out.push((at, format!("{what}: gzip head")));
    out.push((at + 10, format!("deflate: one stored block, the last one, {real} bytes")));
    out.extend(fields.iter().map(|&(offset, field)| (at + 15 + offset, field.to_owned())));
    out.push((at + 15 + real, "CRC-32 and length".into()));
    at + real + 23
}

fn remarks(bytes: &[u8]) -> Vec<Remark> {
    const USTAR: [(usize, &str); 12] = [
        (0, "name"),
        (100, "mode"),
        (108, "uid, gid"),
        (124, "size"),
        (136, "mtime"),
        (148, "checksum"),
        (156, "type"),
        (157, "linkname"),
        (257, "magic and version"),
        (265, "uname, gname"),
        (329, "devmajor, devminor"),
        (345, "prefix, and zeros"),
    ];
    let mut out = Vec::new();
    let at = stream(0, 512, "5.1 prologue, tar header", &USTAR, &mut out);
    let body = [(0, "PAX record, and zeros")];
    let at = stream(at, 512, "5.1 prologue, body", &body, &mut out);
    let at = stream(at, 512, "5.3 the directory `hello`", &USTAR, &mut out);
    let with_data = [&USTAR[..], &[(512, "data, and padding")]].concat();
    let at = stream(at, 1024, "5.3 the file `hello/world.txt`", &with_data, &mut out);
    let at = stream(at, 512, "7.4 tar header of .backup.info", &USTAR, &mut out);
    let listing = real_size(bytes, at);
    let at =
        stream(at, listing, "6.1 listing block", &[(0, "6.2 lines, and an empty one")], &mut out);
    let info = real_size(bytes, at);
    let at = stream(at, info, "7.2 archive info", &[(0, "key=value lines")], &mut out);
    out.push((at, "7.3 size trailer: gzip head with FEXTRA".into()));
    out.push((at + 10, "XLEN, `IT`, length of the subfield".into()));
    out.push((at + 16, "`isptar2`, zeros".into()));
    let fill = usize::from(bytes[at + 14]);
    out.push((at + 16 + fill, "deflate: fixed codes for the digits and the zeros".into()));
    out.push((at + 56, "CRC-32 and length of the text".into()));
    assert_eq!(at + 64, bytes.len());
    out
}

/// Returns the length of the stored block of the stream at `at`.
fn real_size(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at + 11], bytes[at + 12]]))
}

/// Makes a dump with remarks.
fn dump(bytes: &[u8]) -> String {
    let remarks = remarks(bytes);
    let ends = remarks.iter().skip(1).map(|remark| remark.0).chain([bytes.len()]);
    let mut out = String::new();
    for ((start, remark), end) in remarks.iter().zip(ends) {
        writeln!(out, "; {remark}").unwrap();
        let mut last: &[u8] = &[];
        let mut starred = false;
        for (number, row) in bytes[*start..end].chunks(16).enumerate() {
            if row == last {
                if !std::mem::replace(&mut starred, true) {
                    out.push_str("*\n");
                }
                continue;
            }
            (last, starred) = (row, false);
            let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let shown =
                |&byte: &u8| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' };
            let ascii: String = row.iter().map(shown).collect();
            let offset = start + 16 * number;
            writeln!(out, "{offset:08x}  {:<47}  |{ascii}|", hex.join(" ")).unwrap();
        }
    }
    writeln!(out, "{:08x}", bytes.len()).unwrap();
    out
}

#[test]
fn the_dump_is_that_of_the_archive() {
    let bytes = fs::read(testdata("good/hello.tar.gz")).unwrap();
    let (before, shown, after) = parts();
    if is_blessing() {
        fs::write(format_page(), [&before, BEGIN, &dump(&bytes), END, &after].concat()).unwrap();
        return;
    }
    assert!(parse(&shown) == bytes);
    assert_eq!(shown, dump(&bytes));
}

#[test]
fn the_library_makes_these_bytes() {
    assert!(fs::read(testdata("good/hello.tar.gz")).unwrap() == hello(0, 0));
}

#[test]
fn create_makes_these_bytes_of_a_tree() {
    let world = tempfile::tempdir().unwrap();
    let hello_dir = world.path().join("hello");
    let file = hello_dir.join("world.txt");
    fs::create_dir(&hello_dir).unwrap();
    fs::write(&file, "Hello, world!\n").unwrap();
    for (path, mode) in [(&file, 0o644), (&hello_dir, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    let mut options = CreateOptions::default();
    options.level = 0;
    options.reproducible = true;
    options.xattrs = false;
    options.created = Some(1);
    options.tool = Some("left out".into());
    options.directory = world.path().into();
    let mut bytes = Vec::new();
    create(&mut WriteSink::new(&mut bytes), &["hello".into()], &options, &mut ()).unwrap();
    let owner = fs::metadata(&file).unwrap();
    assert!(bytes == hello(owner.uid().into(), owner.gid().into()));
}
