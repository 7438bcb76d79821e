//! A tree with every type of file and every oddity that a file system takes.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, linkat, lsetxattr, makedev,
    mknodat, utimensat,
};

use crate::support::{have, skip};

const MIB: usize = 1 << 20;

/// Makes the tree at `root`, whose name must have four bytes: some lengths of names count it.
pub(crate) fn make(root: &Path) {
    assert_eq!(root.file_name().map(OsStr::len), Some(4));
    let tree = Tree { root: root.to_owned() };
    tree.dir("");
    tree.contents();
    tree.symlinks();
    tree.hard_links();
    tree.special();
    tree.names();
    tree.lengths();
    tree.sparse();
    tree.xattrs();
    tree.acls();
    tree.owners();
    tree.modes();
    tree.times();
}

/// Bytes that do not compress, always the same ones.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    bytes
}

/// Text in which every line is another one.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 64);
    for line in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes
            .extend_from_slice(format!("line {line} of a long text, {}\n", line * 7919).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Goes on without what the file system or the user cannot do, and says so.
fn attempt<E: std::fmt::Display>(what: &Path, result: Result<(), E>) -> bool {
    if let Err(error) = &result {
        skip(&format!("{} cannot be made: {error}", what.display()));
    }
    result.is_ok()
}

struct Tree {
    root: PathBuf,
}

impl Tree {
    fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        match name.as_ref() {
            b"" => self.root.clone(),
            name => self.root.join(OsStr::from_bytes(name)),
        }
    }

    fn dir(&self, name: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, name: impl AsRef<[u8]>, content: &[u8]) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn contents(&self) {
        self.file("contents/empty", b"");
        self.file("contents/one", b"1");
        self.file("contents/block", &text(512));
        self.file("contents/mib", &text(MIB));
        self.file("contents/mib and one", &text(MIB + 1));
        self.file("contents/text", &text(3 * MIB + MIB / 2));
        self.file("contents/noise", &noise(2 * MIB + MIB / 2, 1));
        self.file("contents/zeros", &vec![0; 70_000]);
        // Looks like one of ours within one of ours.
        self.file("contents/.backup.info", b"a file of this name\n");
    }

    fn symlinks(&self) {
        self.dir("symlinks");
        let link = |target: &[u8], name: &str| {
            symlink(OsStr::from_bytes(target), self.at(format!("symlinks/{name}"))).unwrap();
        };
        link(b"../contents/one", "relative");
        link(b"/etc/hostname", "absolute");
        link(b"nowhere", "dangling");
        link(b"../contents", "directory");
        link(b"./a//b/../c/", "not normal");
        link(b"odd \xff\xfe\n\t\\ =", "odd");
        link("größe".as_bytes(), "utf8");
        for len in [99, 100, 101, 255, 256, 4000] {
            link(&vec![b't'; len], &format!("to {len}"));
        }
    }

    fn hard_links(&self) {
        let link = |old: &str, new: &str| {
            let new = self.at(format!("links/{new}"));
            fs::create_dir_all(new.parent().unwrap()).unwrap();
            fs::hard_link(self.at(format!("links/{old}")), new).unwrap();
        };
        self.file("links/two", &text(3000));
        link("two", "two again");
        self.file("links/b/three", &text(2 * MIB));
        link("b/three", "a/three");
        link("b/three", "c/d/three");
        self.file("links/empty", b"");
        link("empty", "z/empty");
        let long = "long".repeat(40);
        self.file(format!("links/{long}"), b"a long name");
        link(&long, "to a long name");
    }

    fn special(&self) {
        self.dir("special");
        let make = |name: &str, kind, major, minor| {
            let path = self.at(format!("special/{name}"));
            let mode = Mode::from_raw_mode(0o640);
            attempt(&path, mknodat(CWD, &path, kind, mode, makedev(major, minor)));
        };
        make("fifo", FileType::Fifo, 0, 0);
        make("null", FileType::CharacterDevice, 1, 3);
        make("large", FileType::CharacterDevice, 511, 70_000);
        make("block", FileType::BlockDevice, 7, 200);
        let again = self.at("special/fifo again");
        attempt(&again, linkat(CWD, self.at("special/fifo"), CWD, &again, AtFlags::empty()));
        let path = self.at("special/socket");
        attempt(&path, UnixListener::bind(&path).map(drop));
    }

    fn names(&self) {
        let nfd = "gro\u{308}\u{df}e NFD";
        for name in [
            &b"new\nline"[..],
            b"tab\tulator",
            b"back\\slash",
            b"\\n",
            b"escape \x1b[31m",
            b"-leading-dash",
            b"--checkpoint=1",
            b" leading space",
            b"trailing space ",
            b"\xff\xfe",
            b"latin \xe4",
            "größe NFC".as_bytes(),
            nfd.as_bytes(),
            "\u{1f4be}\u{202e}".as_bytes(),
            b".x",
            b"...",
            b"a.b",
            b"a/b",
            b"a/.b",
            b"a-b",
            b"*?[x]{y}",
            b"'quoted' \"twice\" $HOME `id`",
            b"%41=;,",
            b"@list",
            b"c:drive",
        ] {
            self.file([b"names/", name].concat(), name);
        }
        self.dir(b"names/dir \xfe\n");
        self.file(b"names/dir \xfe\n/within", b"");
        self.file(format!("names/{}", "n".repeat(255)), b"255");
    }

    /// Names whose length in the archive is at the edges of the header's fields.
    fn lengths(&self) {
        for len in [98, 99, 100, 101, 155, 156, 255, 256, 257, 600, 3000] {
            for (kind, component) in [('s', 60), ('m', 120), ('l', 250)] {
                let start = format!("lengths/{kind}{len}/");
                let rest = len - "tree/".len() - start.len();
                let mut name = start;
                for at in 0..rest {
                    let separator = at % component == component - 1 && at + 1 < rest;
                    name.push(if separator { '/' } else { kind });
                }
                match kind {
                    'm' => drop(self.dir(&name)),
                    _ => drop(self.file(&name, name.as_bytes())),
                }
            }
        }
        // Prefix and name both full, and each one byte too long.
        for (prefix, name) in [(155, 100), (156, 100), (155, 101)] {
            let start = format!("lengths/{prefix}-{name}/");
            let prefix = "p".repeat(prefix - "tree/".len() - start.len());
            self.file(format!("{start}{prefix}/{}", "n".repeat(name)), b"split");
        }
    }

    fn sparse(&self) {
        let mib = 1 << 20;
        let make = |name: &[u8], size: u64, data: &[(u64, &[u8])]| {
            let path = self.file([b"sparse/", name].concat(), b"");
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(size).unwrap();
            data.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        };
        let (text, noise) = (text(5 * MIB / 2), noise(50_000, 3));
        make(b"start", 101 * mib + 500, &[(101 * mib - 300, &noise[..800])]);
        make(b"middle", 120 * mib, &[(0, &noise), (119 * mib, &text[..MIB])]);
        make(b"end", 100 * mib + 1, &[(0, &text)]);
        make(b"all", 200 * mib, &[]);
        make(b"small", mib, &[(0, b"first"), (mib - 4, b"last")]);
        make(b"not text \xff", 70 * mib, &[(0, b"first"), (70 * mib - 4, b"last")]);
        let step = 100 * 1024;
        let many: Vec<(u64, &[u8])> = (0..1000).map(|n| (n * step, &noise[..4096])).collect();
        make(b"many", 1000 * step, &many);
        let long = "sparse".repeat(30);
        make(long.as_bytes(), 80 * mib, &[(40 * mib, b"a long name")]);
    }

    fn xattrs(&self) {
        let all: Vec<u8> = (0..=255).collect();
        let set = |path: &Path, key: &str, value: &[u8]| {
            attempt(path, lsetxattr(path, key, value, XattrFlags::empty()));
        };
        let path = self.file("xattrs/user", b"attributes");
        set(&path, "user.text", b"value");
        set(&path, "user.empty", b"");
        set(&path, "user.binary", &all);
        set(&path, "user.100%25=x=%3D", b"%=");
        set(&path, "user.line\nfeed", b"a\nb\n");
        set(&path, "user.größe", "größe".as_bytes());
        let path = self.file("xattrs/several", &text(2 * MIB));
        (0..20).for_each(|n| set(&path, &format!("user.key{n}"), &all[..n]));
        let path = self.file("xattrs/large", b"");
        if lsetxattr(&path, "user.large", &noise(30_000, 5), XattrFlags::empty()).is_err() {
            // Most file systems take one block.
            set(&path, "user.large", &noise(3000, 5));
        }
        set(&self.dir("xattrs/directory"), "user.of", b"a directory");
        let path = self.file("xattrs/trusted", b"");
        set(&path, "trusted.isptar", b"\0\xff");
        // What setcap cap_net_raw+ep writes.
        let path = self.file("xattrs/capable", b"#!/bin/sh\n");
        let bytes = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        set(&path, "security.capability", bytes);
        symlink("nowhere", self.at("xattrs/symlink")).unwrap();
        set(&self.at("xattrs/symlink"), "trusted.isptar", b"of a symlink");
    }

    fn acls(&self) {
        let file = self.file("acls/file", b"acl");
        let masked = self.file("acls/masked", b"acl");
        let dir = self.dir("acls/dir");
        let both = self.dir("acls/both");
        if !have(&["setfacl"]) {
            return;
        }
        let set = |path: &Path, args: &[&str]| {
            let done = Command::new("setfacl").args(args).arg(path).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            attempt(path, if done.status.success() { Ok(()) } else { Err(said) });
        };
        set(&file, &["-m", "u:12345:rw,g:54321:r"]);
        set(&masked, &["-m", "u:12345:rwx,g::rwx,m::r"]);
        set(&dir, &["-d", "-m", "u:12345:rwx,g:54321:r-x"]);
        set(&both, &["-m", "u:12345:r,d:g:54321:rwx"]);
        self.file("acls/both/inherits", b"");
    }

    fn owners(&self) {
        for (n, id) in [1, 65_534, 0o7_777_777, 0o10_000_000, 2_200_000, 4_000_000_000_u32]
            .into_iter()
            .enumerate()
        {
            let path = self.file(format!("owners/{id}"), b"owned");
            attempt(&path, lchown(&path, Some(id), Some(id - 1)));
            if n == 5 {
                let path = self.dir(format!("owners/dir {id}"));
                attempt(&path, lchown(&path, Some(id), Some(id)));
                let path = self.at(format!("owners/symlink {id}"));
                symlink("nowhere", &path).unwrap();
                attempt(&path, lchown(&path, Some(id), Some(id)));
            }
        }
    }

    /// After the owners: a change of owner takes setuid and setgid away.
    fn modes(&self) {
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        for mode in [0, 0o200, 0o400, 0o444, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777] {
            let path = self.file(format!("modes/{mode:o}"), b"mode");
            if mode & 0o6000 != 0 {
                attempt(&path, lchown(&path, Some(1000), Some(1000)));
            }
            set(&path, mode).unwrap();
        }
        set(&self.dir("modes/sticky"), 0o1777).unwrap();
        set(&self.dir("modes/setgid"), 0o2775).unwrap();
        self.file("modes/setgid/within", b"");
        self.file("modes/read only/a", b"a");
        self.file("modes/read only/b/c", b"c");
        set(&self.at("modes/read only"), 0o555).unwrap();
        // Nobody but root could remove or read it.
        if rustix::process::geteuid().is_root() {
            self.file("modes/closed/a", b"a");
            set(&self.at("modes/closed"), 0).unwrap();
        }
    }

    fn times(&self) {
        for (name, seconds, nanos) in [
            ("epoch", 0, 0),
            ("before", -86_400, 0),
            ("just before", -1, 500_000_000),
            ("one before", -1, 0),
            ("1901", -2_147_483_648, 0),
            ("1901 and a half", -2_147_483_648 + 1, 999_999_999),
            ("2038", 2_147_483_648, 0),
            ("2242", 0o77_777_777_777, 1),
            ("beyond 2242", 0o100_000_000_000, 0),
            ("2300", 10_413_792_000, 123),
            ("nanos", 1_700_000_000, 123_456_789),
            ("one nano", 1_700_000_000, 1),
        ] {
            let file = self.file(format!("times/{name}"), name.as_bytes());
            let dir = self.dir(format!("times/{name} dir"));
            let link = self.at(format!("times/{name} link"));
            symlink("nowhere", &link).unwrap();
            for path in [file, dir, link] {
                self.touch(&path, seconds, nanos).unwrap();
            }
        }
        self.file("times/full dir/file", b"");
        self.touch(&self.at("times/full dir"), 1, 2).unwrap();
        self.touch(&self.at("times"), 1_000_000_000, 9).unwrap();
    }

    fn touch(&self, path: &Path, tv_sec: i64, tv_nsec: i64) -> io::Result<()> {
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}
