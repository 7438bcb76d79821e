//! Hostile entries, and targets that change meanwhile: nothing outside the target is touched.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isptar_core::format::text::{digest_text, escape};
use isptar_core::{
    Archive, ExtractOptions, ExtractReport, Kind, MemberHeader, Observer, Overwrite, Selection,
    TarReader, Timestamp,
};
use sha2::{Digest as _, Sha256};

use super::forge::{Forge, stored, tar_of};
use super::support::{Item, build, dir, file, link, noise, other};

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn event(&mut self, _event: isptar_core::Event<'_>) {}
}

/// A target with traps in it, and what they lead to.
struct World {
    base: tempfile::TempDir,
    before: String,
}

impl World {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for made in ["outside/vdir/deeper", "target/d", "target/a/b"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        fs::write(at("outside/victim"), "original").unwrap();
        fs::write(at("outside/vdir/f"), "other").unwrap();
        fs::hard_link(at("outside/victim"), at("outside/second")).unwrap();
        symlink("victim", at("outside/link")).unwrap();
        fs::set_permissions(at("outside/victim"), Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(at("outside/vdir"), Permissions::from_mode(0o700)).unwrap();
        symlink(at("outside"), at("target/s")).unwrap();
        symlink("../outside", at("target/t")).unwrap();
        symlink("../outside/victim", at("target/v")).unwrap();
        symlink("../../outside/vdir", at("target/d/s")).unwrap();
        symlink("../../../outside", at("target/a/b/s")).unwrap();
        symlink("..", at("target/up")).unwrap();
        let before = String::new();
        let mut world = Self { base, before };
        world.before = world.outside();
        world
    }

    fn target(&self) -> PathBuf {
        self.base.path().join("target")
    }

    /// Everything beside the target: names, contents, and all that an inode knows. Its time of
    /// change is set by any change of metadata, attributes and links too.
    fn outside(&self) -> String {
        let mut text = String::new();
        let walk = walkdir::WalkDir::new(self.base.path()).sort_by_file_name();
        let target = self.target();
        for found in walk.into_iter().filter_entry(|found| found.path() != target) {
            let found = found.unwrap();
            let stat = fs::symlink_metadata(found.path()).unwrap();
            let content = if stat.is_file() { fs::read(found.path()).unwrap() } else { Vec::new() };
            let (inode, links) = (stat.ino(), stat.nlink());
            let (mode, owner) = (stat.mode(), (stat.uid(), stat.gid()));
            let changed = (stat.ctime(), stat.ctime_nsec(), stat.mtime(), stat.mtime_nsec());
            writeln!(
                text,
                "{:?} {inode} {links} {mode:o} {owner:?} {changed:?} {content:?}",
                found.path()
            )
            .unwrap();
        }
        text
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        assert_eq!(self.outside(), self.before, "{what}");
    }
}

/// Random numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides as u64).unwrap()
    }

    fn pick<'a>(&mut self, of: &[&'a [u8]]) -> &'a [u8] {
        of[self.roll(of.len())]
    }

    /// A name: of few parts, so that entries meet, with all that names can do to escape.
    fn path(&mut self, base: &Path) -> Vec<u8> {
        const PARTS: [&[u8]; 18] = [
            b"a",
            b"b",
            b"d",
            b"s",
            b"t",
            b"v",
            b"up",
            b"f",
            b"outside",
            b"victim",
            b"vdir",
            b"x y",
            b"\xff\xfe",
            b"new\nline",
            b"a",
            b"s",
            b"C:",
            b"...",
        ];
        const ODD: [&[u8]; 5] = [b"..", b".", b"", b"..", b"target"];
        let mut path = Vec::new();
        match self.roll(30) {
            0 => path.push(b'/'),
            1 => {
                path.extend_from_slice(base.as_os_str().as_encoded_bytes());
                path.extend_from_slice(b"/outside/");
            }
            2 => path.extend_from_slice(b"../outside/"),
            3 => path.extend(b"deep/".repeat(self.roll(60))),
            4 => path.extend(vec![b'l'; self.roll(400)]),
            _ => {}
        }
        for part in 0..=self.roll(4) {
            if part > 0 {
                path.push(b'/');
            }
            let odd = self.roll(15) == 0;
            path.extend_from_slice(self.pick(if odd { &ODD } else { &PARTS }));
        }
        if self.roll(20) == 0 {
            path.extend_from_slice(b"/..");
        }
        path
    }

    fn kind(&mut self, base: &Path) -> (Kind, Vec<u8>) {
        let kind = match self.roll(20) {
            0..6 => {
                let data = noise(self.roll(50), self.0);
                return (Kind::File { size: data.len() as u64 }, data);
            }
            6..10 => Kind::Directory,
            10..15 => {
                let target = match self.roll(4) {
                    0 => [base.as_os_str().as_encoded_bytes(), b"/outside"].concat(),
                    1 => b"../outside/vdir".to_vec(),
                    2 => [b"../".repeat(self.roll(4)), b"outside".to_vec()].concat(),
                    _ => self.path(base),
                };
                Kind::Symlink { target }
            }
            15..18 => Kind::HardLink { target: self.path(base).into() },
            18 => Kind::Fifo,
            _ => Kind::CharDevice { major: 1, minor: 3 },
        };
        (kind, Vec::new())
    }

    fn member(&mut self, base: &Path) -> Item {
        let path = self.path(base);
        let (kind, data) = self.kind(base);
        let mut header = MemberHeader::new(path, kind);
        header.mode = [0, 0o7777, 0o4755, 0o644, 0o777, 0o2000][self.roll(6)];
        (header.uid, header.gid) = (self.roll(3) as u64, self.roll(3) as u64);
        header.mtime = Timestamp::new(1_000_000_000 + i64::try_from(self.roll(9)).unwrap(), 0);
        if self.roll(4) == 0 {
            header.xattrs.attributes.insert(b"user.evil".to_vec(), b"1".to_vec());
        }
        if self.roll(8) == 0 {
            let acl = b"user::rwx,user:1:rwx,group::rwx,mask::rwx,other::rwx";
            header.xattrs.acl_access = Some(acl.to_vec());
        }
        Item { data, ..Item::new(header) }
    }
}

/// Members as a tar, and as an archive with a listing that agrees.
fn archives(items: &[Item]) -> (Vec<u8>, Vec<u8>) {
    let mut forge = Forge::empty();
    let (mut tar, mut text) = (Vec::new(), Vec::new());
    for item in items {
        let member = tar_of(&item.header, &item.data);
        let at = forge.data.len();
        forge.data.extend(stored(&member));
        line(item, at, forge.data.len() - at, &mut text);
        tar.extend(member);
    }
    tar.extend([0; 1024]);
    text.push(b'\n');
    forge.blocks = vec![text];
    forge.sorted = false;
    (tar, forge.seal())
}

fn line(item: &Item, at: usize, packed: usize, text: &mut Vec<u8>) {
    let MemberHeader { path, kind, mode, uid, gid, mtime, .. } = &item.header;
    let seconds = mtime.seconds();
    escape(path.as_bytes(), text);
    text.extend(format!("\t#{uid}\t#{gid}\t{mode}\t{}", kind.word()).bytes());
    match kind {
        Kind::File { size } => text.extend(format!("\t{seconds}\t{size}").bytes()),
        Kind::Symlink { target } => {
            text.push(b'\t');
            escape(target, text);
        }
        Kind::HardLink { target } => {
            text.push(b'\t');
            escape(target.as_bytes(), text);
        }
        Kind::CharDevice { major, minor } => text.extend(format!("\t{major}\t{minor}").bytes()),
        _ => {}
    }
    text.extend(format!("\t0:1:{at}:0\tpacked={packed}").bytes());
    if !item.data.is_empty() {
        let digest = digest_text(&Sha256::digest(&item.data).into());
        text.extend(format!("\tsha256={digest}").bytes());
    }
    if !matches!(kind, Kind::File { .. }) {
        text.extend(format!("\tmtime={seconds}").bytes());
    }
    text.push(b'\n');
}

const OVERWRITES: [Overwrite; 4] =
    [Overwrite::Always, Overwrite::Never, Overwrite::Newer, Overwrite::Different];

/// Restores one batch of hostile entries; returns how many members were restored.
fn batch(seed: u64, size: usize) -> u64 {
    let world = World::new();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let items: Vec<Item> = (0..size)
        .map(|_| dice.member(world.base.path()))
        // The listing of ours refuses a hard link to itself as a whole.
        .filter(|item| {
            !matches!(&item.header.kind, Kind::HardLink { target } if *target == item.header.path)
        })
        .collect();
    let (tar, listed) = archives(&items);
    let mut options = ExtractOptions::default();
    options.overwrite = OVERWRITES[dice.roll(4)];
    options.strip_components = [0, 0, 0, 1, 2][dice.roll(5)];
    options.owner &= dice.roll(3) > 0;
    let what = format!("seed {seed}, {:?}, strip {}", options.overwrite, options.strip_components);
    let by_listing = restore_listed(&listed, &world.target(), &options);
    world.assert_untouched(&format!("{what}, by the listing"));
    // Again, from front to back, over what the first run left.
    let in_turn = restore_tar(&tar, &world.target(), &options);
    world.assert_untouched(&format!("{what}, from front to back"));
    by_listing.members + in_turn.members
}

fn restore_listed(bytes: &[u8], target: &Path, options: &ExtractOptions) -> ExtractReport {
    let archive = Archive::open(bytes).unwrap();
    isptar_core::extract(&archive, &Selection::default(), target, options, &mut Deaf).unwrap()
}

fn restore_tar(bytes: &[u8], target: &Path, options: &ExtractOptions) -> ExtractReport {
    let mut tar = TarReader::new(bytes, isptar_core::Limits::default()).unwrap();
    let all = Selection::default();
    isptar_core::extract_sequential(&mut tar, &all, target, options, &mut Deaf).unwrap()
}

fn is_slow() -> bool {
    std::env::var_os("ISPTAR_SLOW_TESTS").is_some_and(|set| set == "1")
}

/// 20,000 generated entries, each restored twice; 1,000,000 with `ISPTAR_SLOW_TESTS=1`.
#[test]
fn hostile_entries_write_nothing_outside() {
    let batches = if is_slow() { 2000 } else { 40 };
    let next = AtomicU64::new(0);
    let restored = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= batches {
                        break;
                    }
                    restored.fetch_add(batch(seed + 1, 500), Ordering::Relaxed);
                }
            });
        }
    });
    // Enough of them are restored for the test to mean something.
    assert!(restored.load(Ordering::Relaxed) > batches * 100);
}

/// The same for a user without root's rights, whom other calls are refused.
#[test]
fn hostile_entries_write_nothing_outside_for_a_user_either() {
    const NOBODY: u32 = 65534;
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || Command::new("setpriv").arg("--version").output().is_err() {
        // Without root, the test above ran as a user.
        let required = std::env::var_os("ISPTAR_REQUIRE_TOOLS").is_some_and(|set| set == "1");
        assert!(!is_root || !required, "required, but there is no setpriv");
        eprintln!("left out: not root, or there is no setpriv");
        return;
    }
    let base = tempfile::tempdir().unwrap();
    // Where this program lies may be closed to others.
    let program = base.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    chown(base.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let ran = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "outside::hostile_entries_write_nothing_outside"])
        .env("TMPDIR", base.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// A tree whose directories are swapped for links while it is restored.
fn swapped_tree() -> Vec<Item> {
    let mut items = vec![dir("."), dir("d")];
    for number in 0..20 {
        items.push(file(&format!("d/f{number:02}"), b"content"));
    }
    items.push(file("d/large", &noise((1 << 20) + 5, 8)));
    items.push(dir("d/sub"));
    for number in 0..20 {
        items.push(file(&format!("d/sub/f{number:02}"), b"content"));
        let target = Kind::HardLink { target: format!("d/f{number:02}").into_bytes().into() };
        items.push(other(&format!("d/sub/hard{number:02}"), target));
        items.push(link(&format!("d/sub/link{number:02}"), "f00"));
    }
    // What the traps lead to has these names too.
    items.push(dir("d/vdir"));
    items.push(file("d/vdir/f", b"content"));
    items.push(file("d/victim", b"content"));
    for item in &mut items {
        item.header.mode = 0o4777;
        item.header.xattrs.attributes.insert(b"user.evil".to_vec(), b"1".to_vec());
        (item.header.uid, item.header.gid) = (1, 1);
    }
    items.sort_by(|a, b| a.header.path.cmp(&b.header.path));
    items
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let rounds = if is_slow() { 3000 } else { 60 };
    let bytes = build(&swapped_tree(), 0);
    let (tar, _) = archives(&swapped_tree());
    let world = World::new();
    let target = world.target();
    fs::create_dir_all(target.join("d/sub")).unwrap();
    symlink("../outside", target.join("trap")).unwrap();
    symlink("../../outside", target.join("d/trap")).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (name, trap) in [("d", "trap"), ("d/sub", "d/trap")] {
                    let (name, trap) = (target.join(name), target.join(trap));
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    let cwd = rustix::fs::CWD;
                    if rustix::fs::renameat_with(cwd, &name, cwd, &trap, exchange).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        for round in 0..rounds {
            let mut options = ExtractOptions::default();
            options.overwrite = OVERWRITES[round % 4];
            restore_listed(&bytes, &target, &options);
            restore_tar(&tar, &target, &options);
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.assert_untouched(&format!("{} swaps", swaps.into_inner()));
}
