//! Hostile and damaged tars, plain and packed, through every command that reads.
//!
//! `testdata/hostile/expected.tsv`: file; statuses of `isptar extract`, `ls` and `verify` as root;
//! what extract must say on standard error; what it restores: `NAME=CONTENT` of files, `NAME/MODE`
//! of directories, `NAME>TARGET` of symbolic links, `NAME|` of all else.
//!
//! Decided here: what stands behind the end of a tar (g21, t04, g09) is warned of and not read, as
//! another archive may stand there; a time that is none or does not fit (h17) is warned of and the
//! header's is taken; data of a hard link with a size (h26) is skipped as damage, the link is made.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::{Kind, Limits, MemberHeader};

use crate::support::{World, am_root, have, is_set};

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata")).join(name)
}

/// Names, contents, modes and link counts of what must not change.
fn canary(world: &World) -> Vec<(String, u32, u64, Vec<u8>)> {
    let mut seen = Vec::new();
    for name in [".", "victim", "vdir"] {
        let path = world.path("outside").join(name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = fs::read(&path).unwrap_or_default();
        seen.push((name.to_owned(), metadata.mode(), metadata.nlink(), content));
    }
    assert_eq!(world.names("outside"), ["vdir", "victim"]);
    seen
}

/// A directory with the canaries that the names in the archives aim at.
fn guarded() -> World {
    let world = World::new();
    world.file("outside/victim", b"original\n");
    fs::create_dir(world.path("outside/vdir")).unwrap();
    for (name, mode) in [("victim", 0o600), ("vdir", 0o700)] {
        let path = world.path("outside").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    world
}

/// Returns text that fits a field of the table.
fn short(bytes: &[u8]) -> String {
    if let Some((&first, _)) = bytes.split_first().filter(|_| bytes.len() > 40)
        && bytes.iter().all(|&byte| byte == first)
    {
        return format!("{}*{}", [first].escape_ascii(), bytes.len());
    }
    let text = bytes.get(..40).unwrap_or(bytes).escape_ascii().to_string();
    if bytes.len() > 40 { format!("{text}~{}", bytes.len()) } else { text }
}

/// Says what is below a directory.
fn restored(root: &Path) -> String {
    let mut text = String::new();
    if !root.exists() {
        return text;
    }
    for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = short(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            write!(text, "{name}/{:o}", metadata.mode() & 0o7777).unwrap();
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).unwrap();
            write!(text, "{name}>{}", short(target.as_os_str().as_bytes())).unwrap();
        } else if metadata.is_file() {
            write!(text, "{name}={}", short(&fs::read(path).unwrap())).unwrap();
        } else {
            write!(text, "{name}|").unwrap();
        }
        text.push(' ');
    }
    text.trim_end().to_owned()
}

/// What became of an archive.
struct Outcome {
    statuses: [i32; 3],
    said: String,
    tree: String,
}

/// Takes an archive through all commands.
fn through(world: &World, archive: &str) -> Outcome {
    let before = canary(world);
    let done = world.run(&["extract", archive, "-C", "root"]);
    let said = done.err.clone();
    let mut statuses = [done.status, 0, 0];
    let tree = restored(&world.path("root"));
    let has_ok = tree.contains("ok.txt=ok\\n");
    for (index, args) in [
        &["extract", "-q", "--dry-run", archive][..],
        &["ls", "-q", archive],
        &["verify", "-q", archive],
        &["info", "-q", archive],
        &["cat", "-q", archive, "ok.txt"],
        &["diff", "-q", archive, "-C", "root"],
        &["convert", "-q", archive, "new.tar.gz"],
    ]
    .into_iter()
    .enumerate()
    {
        let done = world.run(args);
        assert!((0..=4).contains(&done.status), "{archive} {args:?}: {} {}", done.status, done.err);
        assert!(!done.err.contains("panicked"), "{archive} {args:?}: {}", done.err);
        match args[0] {
            "ls" | "verify" => statuses[index] = done.status,
            "cat" if has_ok => assert_eq!(done.out, b"ok\n", "{archive}"),
            "convert" if world.path("new.tar.gz").exists() => {
                let done = world.run(&["ls", "-q", "new.tar.gz"]);
                assert_eq!(done.status, 0, "{archive} converted: {}", done.err);
            }
            _ => {}
        }
    }
    assert!(before == canary(world), "{archive} left its target");
    drop(fs::remove_file(world.path("new.tar.gz")));
    drop(fs::remove_dir_all(world.path("root")));
    Outcome { statuses, said, tree }
}

#[test]
fn hostile_tars_harm_nothing_and_lose_only_what_is_damaged() {
    if !am_root() || !have(&["gzip"]) {
        return;
    }
    let world = guarded();
    let table = fs::read_to_string(testdata("hostile/expected.tsv")).unwrap();
    let mut known: Vec<&str> = vec!["expected.tsv"];
    let mut found = String::new();
    let bless = is_set("ISPTAR_BLESS");
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, _, _, _, message, _] = fields[..] else { panic!("{line}") };
        known.push(name);
        let bytes = fs::read(testdata("hostile").join(name)).unwrap();
        world.file(name, &bytes);
        let Outcome { statuses: [extract, ls, verify], said, tree } = through(&world, name);
        let row = format!("{name}\t{extract}\t{ls}\t{verify}\t{message}\t{tree}");
        assert!(bless || row == line, "\n{line}\n{row}\n{said}");
        assert!(said.contains(message), "{name}: {message} is not in {said}");
        found.push_str(&row);
        found.push('\n');
        if name.ends_with(".tar") && !bytes.is_empty() {
            let packed = world.tool("gzip", &["-c"], &bytes).unwrap();
            let packed_name = format!("{name}.gz");
            world.file(&packed_name, &packed.out);
            let packed = through(&world, &packed_name);
            assert_eq!(packed.statuses, [extract, ls, verify], "{packed_name}: {}", packed.said);
            assert_eq!(packed.tree, tree, "{packed_name}");
            assert!(packed.said.contains(message), "{packed_name}: {}", packed.said);
        }
    }
    for file in fs::read_dir(testdata("hostile")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name.as_str()), "{name} has no row");
    }
    if bless {
        fs::write(testdata("hostile/expected.tsv"), found).unwrap();
    }
}

#[test]
fn without_root_devices_are_left_out_and_modes_stripped() {
    if !am_root() || !have(&["setpriv"]) {
        return;
    }
    let world = World::new();
    for name in
        ["p18_devices_fifo", "p19_setuid_root", "p20_dir_0000_with_children", "h27_uid_base256_big"]
    {
        world.file(
            &format!("{name}.tar"),
            &fs::read(testdata(&format!("hostile/{name}.tar"))).unwrap(),
        );
    }
    let user = |archive: &str| {
        world.script(&format!(
            "chmod 755 . && cp $ISPTAR isptar && rm -rf root && mkdir root && chmod 777 root && \
             cd root && setpriv --reuid 65534 --regid 65534 --clear-groups \
             ../isptar extract ../{archive}.tar"
        ))
    };
    let done = user("p18_devices_fifo");
    assert!(done.err.contains("null") && done.status == 3, "{} {}", done.status, done.err);
    assert_eq!(restored(&world.path("root")), "fifo| ok.txt=ok\\n");
    user("p19_setuid_root").with_status(0);
    assert_eq!(fs::metadata(world.path("root/su")).unwrap().mode() & 0o7000, 0);
    user("p20_dir_0000_with_children").with_status(0);
    assert_eq!(restored(&world.path("root")), "d/0 d/a=evil\\n ok.txt=ok\\n");
    user("h27_uid_base256_big").with_status(0);
}

#[test]
fn a_sparse_map_of_200_000_segments_needs_a_raised_limit() {
    let segments = (0..200_000).map(|at| Segment { offset: at * 4096, len: 1 });
    let size = 200_000 * 4096;
    let mut limits = Limits::default();
    limits.segments = 1 << 20;
    let mut header = MemberHeader::new("many", Kind::File { size });
    header.mode = 0o644;
    header.sparse = Some(SparseMap::new(size, segments, &limits).unwrap());
    let mut tar = Vec::new();
    header.encode(&limits, &mut tar).unwrap();
    tar.extend_from_slice(&[b'x'; 200_000]);
    tar.resize(tar.len().next_multiple_of(512), 0);
    let mut ok = MemberHeader::new("ok.txt", Kind::File { size: 3 });
    ok.mode = 0o644;
    ok.encode(&limits, &mut tar).unwrap();
    tar.extend_from_slice(b"ok\n");
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    let world = World::new();
    world.file("h32.tar", &tar);
    let done = world.run(&["extract", "h32.tar", "-C", "root"]).with_status(3);
    assert!(
        done.err.contains("many: sparse segments is 200001, the limit is 32768"),
        "{}",
        done.err
    );
    assert!(done.err.contains("--limit segments=200001"), "{}", done.err);
    assert_eq!(world.read("root/ok.txt"), b"ok\n");
    let args = ["extract", "--limit", "segments=200001", "h32.tar", "-C", "root"];
    world.run(&args).with_status(0);
    let metadata = fs::metadata(world.path("root/many")).unwrap();
    assert_eq!(metadata.len(), size);
}

#[test]
fn a_bomb_is_read_in_flat_memory() {
    if !have(&["time", "gzip"]) {
        return;
    }
    let size = if is_set("ISPTAR_SLOW_TESTS") { 1u64 << 30 } else { 128 << 20 };
    let world = World::in_memory();
    let mut header = Vec::new();
    let mut bomb = MemberHeader::new("bomb", Kind::File { size });
    bomb.mode = 0o644;
    bomb.encode(&Limits::default(), &mut header).unwrap();
    world.file("header", &header);
    let made = format!("(cat header; head -c {} /dev/zero) | gzip -1 > g16.tar.gz", size + 1024);
    world.script(&made).with_status(0);
    for args in ["extract -q g16.tar.gz", "verify -q g16.tar.gz", "ls -q g16.tar.gz"] {
        let done = world.script(&format!("command time -f %M -o peak $ISPTAR {args}"));
        done.with_status(0);
        let peak: u64 = String::from_utf8(world.read("peak")).unwrap().trim().parse().unwrap();
        assert!(peak < 64 << 10, "{args}: {peak} KiB");
    }
    let metadata = fs::metadata(world.path("bomb")).unwrap();
    assert_eq!(metadata.len(), size);
}

#[test]
fn where_three_tars_agree_the_same_members_are_listed() {
    let world = World::new();
    let table = fs::read_to_string(testdata("tar-corpus/expected.tsv")).unwrap();
    for (number, line) in table.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, _, members, _, _, _, _, agree] = fields[..] else { panic!("{line}") };
        let path = testdata("tar-corpus").join(name);
        let path = path.to_str().unwrap();
        let done = world.run(&["ls", "-q", "--json", path]);
        let same = done.text_lossy().contains(&format!("\"members\":{members},"));
        match agree {
            "all" => assert!(same && done.status <= 1, "{name}: {} {}", done.status, done.err),
            "reject" => {
                assert!(done.status >= 3, "{name}");
                assert!(done.text_lossy().contains("\"error\"") || !done.err.is_empty(), "{name}");
            }
            _ => assert!((0..=4).contains(&done.status), "{name}"),
        }
        // What ls reads, the others read too.
        let verified = world.run(&["verify", "-q", path]);
        assert!((0..=4).contains(&verified.status), "{name}: {}", verified.err);
        assert_eq!(verified.status >= 3, done.status >= 3, "{name}: {}", verified.err);
        if am_root() && have(&["tar"]) && agree == "all" && number % 4 == 0 {
            let tree = format!("tree{number}");
            fs::create_dir(world.path(&tree)).unwrap();
            let args = ["-xf", path, "-C", &tree, "--same-owner", "-p"];
            if world.tool("tar", &args, b"").is_some_and(|tar| tar.status == 0) {
                let done = world.run(&[
                    "diff",
                    "-q",
                    "--checksum",
                    "--ignore",
                    "owner,group",
                    path,
                    "-C",
                    &tree,
                ]);
                assert!(done.status <= 1, "{name}: {}{}", done.text_lossy(), done.err);
                assert_eq!(done.text_lossy(), "", "{name}: {}", done.err);
            }
        }
    }
}

/// File; statuses of ls, extract and verify; what extract says; the first that it restores, and the
/// last.
type ClassicRow = (&'static str, [i32; 3], &'static str, &'static str, &'static str);

const CLASSIC: [ClassicRow; 15] = [
    (
        "bad-escape.tgz",
        [3, 3, 4],
        r#"line 1 of the listing: name is not valid: "bad\\q""#,
        r"f=x\n",
        r"f=x\n",
    ),
    (
        "data-flip.tgz",
        [0, 3, 3],
        "corrupt member small/r.bin at offset 1114: CRC is",
        "small/755 small/d/755 small/d/f1=file 1",
        "small/p.jpg=j*700",
    ),
    (
        "dotdot.tgz",
        [0, 3, 3],
        "ok/../../esc2: it has a .. component",
        "ok/755 ok/dbl=8",
        r"esc3=3\n",
    ),
    ("extra-fields.tgz", [0, 0, 0], "0 failed", r"d/755 d/a=hello\n", "d/l>a"),
    ("hardlink-out.tgz", [0, 3, 3], "hl-up: unsafe member path ../outside", r"ok=ok\n", r"ok=ok\n"),
    ("header-flip.tgz", [4, 4, 4], "corrupt archive at offset 2962", "", ""),
    ("header-too-long.tgz", [4, 4, 4], "length of a stream is 2171, the limit is 2048", "", ""),
    ("listing-flip.tgz", [4, 4, 4], "corrupt archive at offset 2762", "", ""),
    ("multi-member-data.tgz", [0, 0, 0], "0 failed", r"f=\x00\x01", r"g=y\n"),
    ("multi-member-listing.tgz", [4, 4, 4], "listing block is 59, expected 136", "", ""),
    (
        "offset-missing.tgz",
        [0, 3, 3],
        "corrupt member f at offset 0: location is missing",
        "g=",
        r"y\n",
    ),
    (
        "symlink-dir.tgz",
        [0, 3, 0],
        "cannot restore d: a directory is in the way",
        "d/755 d/pwn=",
        "",
    ),
    // Without a trailer that can be found they are tars like any other.
    ("tail-40.tgz", [0, 0, 0], "has no listing", ".backup.info=", r"f=x\n"),
    (
        "truncated-1.tgz",
        [3, 3, 3],
        "gzip tail needs 8 bytes, there are 7",
        ".backup.info=",
        "~1500",
    ),
    ("truncated-200.tgz", [3, 3, 3], "corrupt member .backup.info", "small/755", "~1500"),
];

#[test]
fn hostile_archives_of_the_original_lose_only_what_is_bad() {
    if !am_root() {
        return;
    }
    let world = guarded();
    let before = canary(&world);
    assert_eq!(fs::read_dir(testdata("classic/hostile")).unwrap().count(), CLASSIC.len());
    for (name, statuses, said, first, last) in CLASSIC {
        let path = testdata("classic/hostile").join(name);
        let path = path.to_str().unwrap();
        let extract = world.run(&["extract", path, "-C", "root"]);
        let found = restored(&world.path("root"));
        let ls = world.run(&["ls", "-q", path]).status;
        let verify = world.run(&["verify", "-q", path]).status;
        assert_eq!([ls, extract.status, verify], statuses, "{name}: {}", extract.err);
        assert!(extract.err.contains(said), "{name}: {}", extract.err);
        assert!(found.starts_with(first) && found.ends_with(last), "{name}: {found}");
        assert_eq!(found.is_empty(), first.is_empty(), "{name}: {found}");
        for line in found.split(' ').filter_map(|thing| thing.split_once('=')).take(5) {
            let done = world.run(&["cat", "-q", path, line.0]);
            assert_eq!(done.out, world.read(&format!("root/{}", line.0)), "{name} {}", line.0);
        }
        drop(fs::remove_dir_all(world.path("root")));
        assert!(before == canary(&world), "{name} left its target");
        assert!(!Path::new("/tmp/isptar-esc3").exists() && !Path::new("/tmp/isptar-evil").exists());
    }
}

#[test]
fn hard_links_to_hard_links_become_links_to_the_file() {
    let world = World::new();
    world.file("tree/a", b"content");
    fs::hard_link(world.path("tree/a"), world.path("tree/b")).unwrap();
    if !have(&["tar"]) {
        return;
    }
    world.tool("tar", &["-cf", "y.tar", "-C", "tree", "a", "b"], b"");
    let mut tar = world.read("y.tar");
    tar.truncate(3 * 512);
    // GNU tar makes such chains with --append.
    let mut block = Vec::new();
    let mut c = MemberHeader::new("c", Kind::HardLink { target: "b".into() });
    c.mode = 0o644;
    c.encode(&Limits::default(), &mut block).unwrap();
    tar.extend_from_slice(&block);
    tar.resize(tar.len() + 1024, 0);
    world.file("chain.tar", &tar);
    world.run(&["extract", "-q", "chain.tar", "-C", "plain"]).with_status(0);
    world.run(&["convert", "-q", "chain.tar", "new.tar.gz"]).with_status(0);
    world.run(&["verify", "-q", "new.tar.gz"]).with_status(0);
    world.run(&["extract", "-q", "new.tar.gz", "-C", "root"]).with_status(0);
    for root in ["plain", "root"] {
        assert_eq!(fs::metadata(world.path(root).join("c")).unwrap().nlink(), 3, "{root}");
    }
    let cat = world.run(&["cat", "new.tar.gz", "c"]).with_status(0);
    assert_eq!(cat.out, b"content");
    let list = world.run(&["ls", "-l", "new.tar.gz"]).with_status(0);
    assert_eq!(list.text().matches(" a\n").count(), 3, "{}", list.text());
}

#[test]
fn verify_reads_a_tar_behind_its_damage_and_compares_ours_with_its_listing() {
    let world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.file(&format!("tree/{name}"), name.repeat(3000).as_bytes());
    }
    // A foreign one, plain: a header and a size that lies are found, the rest is read.
    if !have(&["tar"]) {
        return;
    }
    world.tool("tar", &["-cf", "x.tar", "--format=ustar", "-C", "tree", "a", "b", "c", "d"], b"");
    let mut tar = world.read("x.tar");
    let header = |number: usize| number * (512 + 3072);
    tar[header(1) + 130] ^= 1;
    tar[header(3) + 150] ^= 1;
    world.file("x.tar", &tar);
    for (args, input) in [(["verify", "-v", "x.tar"], &b""[..]), (["verify", "-v", "-"], &tar)] {
        let done = world.run_with(&args, input).with_status(3);
        assert!(done.text().contains('a') && done.text().contains('c'), "{}", done.text());
        assert_eq!(done.err.matches("error:").count(), 2, "{}", done.err);
    }
    // Ours: whole, one member damaged, one left out, the end cut.
    world.run(&["create", "-q", "x.tar.gz", "tree"]).with_status(0);
    let good = world.read("x.tar.gz");
    world.run_with(&["verify", "-"], &good).with_status(0);
    let list = world.run(&["ls", "--json", "x.tar.gz"]).with_status(0);
    let line = list.text().lines().find(|line| line.contains("\"tree/b\"")).unwrap();
    let number = |key: &str| -> usize {
        let rest = line.split(&format!("\"{key}\":")).nth(1).unwrap_or_else(|| panic!("{line}"));
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (at, packed) = (number("offset"), number("packed"));
    let mut bad = good.clone();
    bad[at + packed - 6] ^= 1;
    let done = world.run_with(&["verify", "-"], &bad).with_status(3);
    assert_eq!(done.err.matches("error:").count(), 1, "{}", done.err);
    assert!(done.err.contains("corrupt member tree/b"), "{}", done.err);
    let mut without = good.clone();
    without.drain(at..at + packed);
    let done = world.run_with(&["verify", "-"], &without).with_status(4);
    assert!(done.err.contains("number of members is 4, expected 5, as listed"), "{}", done.err);
    let done = world.run_with(&["extract", "-", "-C", "root"], &without).with_status(3);
    assert!(done.err.contains("number of members"), "{}", done.err);
    let done = world.run_with(&["verify", "-"], &good[..at + packed]).with_status(4);
    assert!(done.err.contains("ends before its listing"), "{}", done.err);
}
