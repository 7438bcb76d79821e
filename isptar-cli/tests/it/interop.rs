//! Archives of ours, read by programs that nobody here wrote, and compared by such programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Done, World, am_root, have};
use crate::tree;

/// Everything, to the second.
const ALL: &str = "-aHAXSn";
/// What Python restores: no attributes, and no times of symbolic links.
const PLAIN: &str = "-aHSn --omit-link-times";
/// Everything, to the nanosecond.
const EXACT: &str = "-aHAXSn --modify-window=-1";

/// Makes the tree, and an archive of it.
fn archived(level: u8) -> World {
    let world = World::new();
    tree::make(&world.path("tree"));
    let level = level.to_string();
    let done = world.run(&["create", "--level", &level, "a.tar.gz", "tree"]).with_status(0);
    let mut said = done.err.lines();
    assert_eq!(said.next(), Some("isptar: warning: tree/special/socket: left out, it is a socket"));
    assert!(said.next().unwrap().starts_with("isptar: stored "), "{}", done.err);
    assert_eq!(said.next(), None);
    // What is left is what has to come back.
    let script = "cd tree; touch -r special ../time; rm special/socket; touch -r ../time special";
    world.script(script).with_status(0);
    world
}

/// Restores by a script that finds the archive in `../a.tar.gz`, and returns what was said.
fn restore(world: &World, to: &str, script: &str) -> Done {
    fs::create_dir(world.path(to)).unwrap();
    world.script(&format!("cd {to} && {script}")).with_status(0)
}

/// Compares a restored tree by rsync and diff.
#[track_caller]
fn compare(world: &World, to: &str, flags: &str) {
    let done = world
        .script(&format!("rsync {flags} --itemize-changes --checksum --delete tree/ {to}/tree/"));
    assert_eq!((done.text_lossy().as_ref(), done.err.as_str()), ("", ""), "{to} by rsync");
    let done = world.script(&format!("diff -r --no-dereference -x special tree {to}/tree"));
    assert_eq!((done.text_lossy().as_ref(), done.err.as_str()), ("", ""), "{to} by diff");
    assert_eq!(hard_links(&world.path("tree")), hard_links(&world.path(to).join("tree")), "{to}");
}

/// Returns the sets of names that are one file.
fn hard_links(root: &Path) -> Vec<Vec<PathBuf>> {
    let mut sets: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.nlink() > 1 && !metadata.is_dir() {
            let name = entry.path().strip_prefix(root).unwrap().to_owned();
            sets.entry(metadata.ino()).or_default().push(name);
        }
    }
    let mut sets: Vec<_> = sets.into_values().collect();
    sets.sort();
    sets
}

/// Compares attributes and ACLs as the system's own tools print them.
#[track_caller]
fn compare_attributes(world: &World, to: &str) {
    for command in ["getfattr -d -m- -e hex -h", "getfacl -n -P"] {
        let all = format!("find . -print0 | sort -z | xargs -0 {command}");
        let done = world.script(&format!("diff <(cd tree; {all}) <(cd {to}/tree; {all})"));
        assert_eq!((done.text_lossy().as_ref(), done.err.as_str()), ("", ""), "{to}: {command}");
    }
}

/// Checks that files with big holes do not take up more room than their data.
#[track_caller]
fn compare_holes(world: &World, to: &str) {
    for entry in fs::read_dir(world.path("tree/sparse")).unwrap() {
        let entry = entry.unwrap();
        let restored = world.path(to).join("tree/sparse").join(entry.file_name());
        let blocks = |path: &Path| fs::symlink_metadata(path).unwrap().blocks();
        let (before, after) = (blocks(&entry.path()), blocks(&restored));
        let name = entry.file_name();
        // GNU tar finds no holes in what is stored as zeros; file systems round up.
        if to == "isptar" || !(name == "small" || name.as_bytes().contains(&0xff)) {
            assert!(after <= before + 64, "{to}: {name:?} has {after} blocks of {before}");
        }
    }
}

/// GNU tar always remarks on dates before 1970 and in the future; nothing else may be said.
#[track_caller]
fn assert_silent(done: &Done) {
    let is_remark = |line: &str| {
        line.contains(": implausibly old time stamp ")
            || (line.contains(": time stamp ") && line.ends_with(" s in the future"))
    };
    let rest: Vec<&str> = done.err.lines().filter(|line| !is_remark(line)).collect();
    assert!(rest.is_empty(), "{rest:#?}");
}

fn by_isptar(world: &World) {
    let done = restore(world, "isptar", "$ISPTAR extract -q ../a.tar.gz");
    assert_eq!(done.err, "");
    compare(world, "isptar", EXACT);
    compare_attributes(world, "isptar");
    compare_holes(world, "isptar");
    clear(world, "isptar");
}

fn by_gnu_tar(world: &World) {
    let script = "tar --xattrs --xattrs-include='*' --acls -xzpf ../a.tar.gz";
    assert_silent(&restore(world, "gnu", script));
    compare(world, "gnu", ALL);
    compare_attributes(world, "gnu");
    compare_holes(world, "gnu");
    clear(world, "gnu");
}

fn by_bsdtar(world: &World) {
    for locale in ["C", "C.UTF-8"] {
        let done = restore(world, "bsd", &format!("LC_ALL={locale} bsdtar -xpf ../a.tar.gz"));
        assert_eq!(done.err, "", "{locale}");
        // It does not take back the escapes of GNU tar in the keys of attributes.
        compare(world, "bsd", &format!("{ALL} --exclude=/xattrs/user"));
        clear(world, "bsd");
    }
}

fn by_python(world: &World) {
    let script = "LC_ALL=C.UTF-8 python3 -c 'import tarfile; \
                  tarfile.open(\"../a.tar.gz\", \"r:gz\").extractall(filter=\"fully_trusted\")'";
    let done = restore(world, "python", script);
    assert_eq!(done.err, "");
    compare(world, "python", PLAIN);
    clear(world, "python");
}

fn clear(world: &World, to: &str) {
    fs::remove_dir_all(world.path(to)).unwrap();
}

#[test]
fn everyone_restores_what_was_stored() {
    let programs = ["rsync", "diff", "setfacl", "getfacl", "getfattr", "tar", "bsdtar", "python3"];
    if !have(&programs) || !am_root() {
        return;
    }
    let world = archived(6);
    by_isptar(&world);
    by_gnu_tar(&world);
    by_bsdtar(&world);
    by_python(&world);
}

#[test]
fn everyone_restores_what_was_stored_at_every_level() {
    let programs = ["rsync", "diff", "setfacl", "getfacl", "getfattr", "tar", "bsdtar", "python3"];
    if !have(&programs) || !am_root() {
        return;
    }
    let world = archived(0);
    by_isptar(&world);
    by_gnu_tar(&world);
    by_bsdtar(&world);
    by_python(&world);
    for level in ["1", "12"] {
        let args = ["create", "-q", "--level", level, "a.tar.gz", "tree"];
        world.run(&args).with_status(0);
        by_isptar(&world);
        by_gnu_tar(&world);
    }
}

#[test]
fn everyone_reads_groups() {
    let programs = ["rsync", "diff", "setfacl", "getfacl", "getfattr", "tar", "bsdtar", "python3"];
    if !have(&programs) || !am_root() {
        return;
    }
    let world = archived(6);
    for group in ["64K", "1M"] {
        let alone = world.run(&["ls", "-l", "a.tar.gz"]).with_status(0).text_lossy().into_owned();
        let args = ["create", "-q", "--group-size", group, "--threads", "3", "a.tar.gz", "tree"];
        world.run(&args).with_status(0);
        by_isptar(&world);
        by_gnu_tar(&world);
        by_bsdtar(&world);
        by_python(&world);
        assert_eq!(world.run(&["verify", "-q", "a.tar.gz"]).with_status(0).err, "");
        assert_eq!(world.run(&["ls", "-l", "a.tar.gz"]).with_status(0).text_lossy(), alone);
        assert_eq!(world.run(&["cat", "a.tar.gz", "tree/contents/one"]).with_status(0).out, b"1");
        assert_eq!(world.run(&["diff", "-q", "a.tar.gz"]).with_status(0).text_lossy(), "");
        world.run(&["info", "a.tar.gz"]).with_status(0);
        world.run(&["repair", "-q", "a.tar.gz", "new.tar.gz"]).with_status(0);
        assert_eq!(world.run(&["ls", "-l", "new.tar.gz"]).with_status(0).text_lossy(), alone);
        fs::remove_file(world.path("new.tar.gz")).unwrap();
    }
}

/// The root of a tree is the entry `.`, and has metadata of its own.
#[test]
fn a_tree_is_restored_by_its_root() {
    if !have(&["rsync", "tar", "bsdtar"]) || !am_root() {
        return;
    }
    let world = World::with_tree();
    let set = "chmod 2751 tree; chown 7:8 tree; touch -d @1234567890.5 tree/sub tree";
    world.script(set).with_status(0);
    world.run(&["create", "-q", "-C", "tree", "a.tar.gz", "."]).with_status(0);
    // bsdtar does not restore the time of the directory that it works in, in no archive.
    for (command, flags) in [
        ("$ISPTAR extract -q", "--modify-window=-1"),
        ("tar -xzpf", "-aHAXS"),
        ("bsdtar -xpf", "--omit-dir-times"),
    ] {
        let done = restore(&world, "out", &format!("{command} ../a.tar.gz"));
        assert_eq!(done.err, "", "{command}");
        let compare = "rsync -aHAXSn --checksum --delete -i --exclude=/.backup.info";
        let done = world.script(&format!("{compare} {flags} tree/ out/")).with_status(0);
        assert_eq!(done.text(), "", "{command}");
        clear(&world, "out");
    }
}

#[test]
fn everyone_counts_the_same_members() {
    if !have(&["gzip", "tar", "bsdtar", "python3", "busybox", "7z", "go"]) || !am_root() {
        return;
    }
    let world = archived(6);
    let names = world.run(&["ls", "-0", "a.tar.gz"]).with_status(0).out;
    let count = |byte| names.iter().filter(|&&other| other == byte).count();
    // The listing is a member, too; busybox does not escape line feeds.
    let (members, lines) = (count(0) + 1, count(0) + 1 + count(b'\n'));
    assert_eq!(world.script("gzip -t a.tar.gz").with_status(0).err, "");
    let go = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/go/main.go");
    let go = format!("GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local go run {go} a.tar.gz");
    for (script, expected) in [
        ("tar --quoting-style=escape -tzf a.tar.gz | wc -l", members),
        ("LC_ALL=C.UTF-8 bsdtar -tf a.tar.gz | wc -l", members),
        ("LC_ALL=C bsdtar -tf a.tar.gz | wc -l", members),
        ("busybox tar -tzf a.tar.gz | wc -l", lines),
        ("7z x -so a.tar.gz | 7z l -ba -slt -si -ttar | grep -ac '^Path = '", members),
        ("python3 -c 'import tarfile; print(len(tarfile.open(\"a.tar.gz\").getnames()))'", members),
        (&format!("{go} | cut -d' ' -f1"), members),
    ] {
        let done = world.script(&format!("set -o pipefail; {script}")).with_status(0);
        assert_eq!(done.text().trim(), expected.to_string(), "{script}: {}", done.err);
    }
    let done = world.script("7z t a.tar.gz").with_status(0);
    assert!(done.text_lossy().contains("Everything is Ok"), "{}", done.text_lossy());
}

/// Reading one gzip stream as if it were all must not look like success.
#[test]
fn a_reader_that_stops_after_one_stream_fails() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::with_tree();
    world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    let script = "mkdir out && cd out && python3 -c 'import tarfile; \
                  tarfile.open(\"../a.tar.gz\", \"r|gz\").extractall()'";
    let done = world.script(script).with_status(1);
    assert!(done.err.contains("tarfile.ReadError"), "{}", done.err);
    assert!(world.names("out").is_empty());
}

#[test]
fn digests_are_those_of_sha256sum() {
    if !have(&["sha256sum"]) || !am_root() {
        return;
    }
    let world = archived(6);
    restore(&world, "out", "$ISPTAR extract -q ../a.tar.gz");
    let script =
        "$ISPTAR ls --sha256 a.tar.gz > sums && cd out && sha256sum -c --strict --quiet ../sums";
    let done = world.script(script).with_status(0);
    assert_eq!((done.text_lossy().as_ref(), done.err.as_str()), ("", ""));
    // One line for each of the files, however many names it has.
    let files = world.script("find tree -type f -printf x | wc -c; wc -l < sums").with_status(0);
    let counts: Vec<&str> = files.text().lines().collect();
    assert_eq!(counts[0], counts[1]);
}

/// Every member is a tar.gz of its own, when its bytes are cut out.
#[test]
fn every_member_cut_out_is_a_tar_of_one() {
    if !have(&["tar"]) || !am_root() {
        return;
    }
    let world = archived(6);
    let listed = world.run(&["ls", "--json", "a.tar.gz"]).with_status(0);
    let archive = fs::File::open(world.path("a.tar.gz")).unwrap();
    let mut end = None;
    for line in listed.text().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        if entry["type"] != "member" {
            continue;
        }
        let offset = entry["location"]["offset"].as_u64().unwrap();
        let packed = entry["packed"].as_u64().unwrap();
        assert!(end.is_none_or(|end| end == offset), "{entry}");
        end = Some(offset + packed);
        let mut bytes = vec![0; usize::try_from(packed).unwrap()];
        archive.read_exact_at(&mut bytes, offset).unwrap();
        fs::write(world.path("cut.tar.gz"), bytes).unwrap();
        let done = world.script("tar --quoting-style=literal -tzf cut.tar.gz").with_status(0);
        assert_silent(&done);
        assert_eq!(named(&entry), done.out, "{entry}");
    }
}

/// Returns what tar prints of a member.
fn named(entry: &Value) -> Vec<u8> {
    let mut name = match &entry["path"] {
        Value::String(name) => name.clone().into_bytes(),
        _ => data_encoding::BASE64.decode(entry["path_b64"].as_str().unwrap().as_bytes()).unwrap(),
    };
    if entry["kind"] == "dir" {
        name.push(b'/');
    }
    name.push(b'\n');
    name
}

/// Longer than a path can be in a system call: only what walks by handles gets there.
#[test]
fn paths_beyond_the_limit_of_the_system_are_stored_and_restored() {
    if !have(&["find", "tar", "bsdtar", "python3"]) {
        return;
    }
    let world = World::new();
    let make = "mkdir tree && cd tree && for n in {1..25}; do \
                name=$n$(printf %0200d 0); mkdir $name && cd -P $name; done; \
                echo deep > file && ln -s nowhere link && ln file hard";
    world.script(make).with_status(0);
    let done = world.run(&["create", "-q", "a.tar.gz", "tree"]).with_status(0);
    assert_eq!(done.err, "");
    restore(&world, "out", "$ISPTAR extract -q ../a.tar.gz");
    let list = "find tree -printf '%d %f %y %m %T@ %n %l\\n'";
    let done = world.script(&format!("diff <({list}) <(cd out && {list}) && {list} | tail -n 3"));
    let done = done.with_status(0);
    assert!(done.text().contains(" file f "), "{}", done.text());
    let name = world.script("tar -tzf a.tar.gz | tail -n 2 | head -n 1").with_status(0).out;
    assert!(name.len() > 5000 && name.ends_with(b"/link\n"), "{}", name.len());
    for count in [
        "tar -tzf a.tar.gz | wc -l",
        "bsdtar -tf a.tar.gz | wc -l",
        "python3 -c 'import tarfile; print(len(tarfile.open(\"a.tar.gz\").getnames()))'",
    ] {
        assert_eq!(world.script(count).with_status(0).text().trim(), "30", "{count}");
    }
    let name = String::from_utf8(name).unwrap().replace("/link\n", "/file");
    let done = world.run(&["cat", "a.tar.gz", &name]).with_status(0);
    assert_eq!(done.text(), "deep\n");
}

/// Two copies of a tree, with other inodes and another order on disk, give the same bytes.
#[test]
fn a_copy_of_a_tree_gives_the_same_reproducible_archive() {
    if !have(&["cp", "cmp"]) || !am_root() {
        return;
    }
    let world = World::new();
    tree::make(&world.path("tree"));
    world.script("mkdir copy && cp -a tree copy/tree").with_status(0);
    for (directory, archive) in [(".", "a.tar.gz"), ("copy", "b.tar.gz")] {
        let args = ["create", "-q", "--reproducible", "-C", directory, archive, "tree"];
        world.run(&args).with_status(0);
    }
    assert_eq!(world.script("cmp a.tar.gz b.tar.gz").with_status(0).text(), "");
}
