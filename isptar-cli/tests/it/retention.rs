//! A year in full, months, decades and days on it: each day is restored exactly.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::{World, have, is_set};

/// Seconds of the first day, and of each.
const START: u64 = 1_600_000_000;
const DAY: u64 = 86_400;

/// Numbers that look like chance and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}

/// A tree that changes from day to day.
struct Tree {
    root: PathBuf,
    /// Names of the regular files, and how many were made.
    files: Vec<String>,
    made: usize,
    day: u64,
    chance: Chance,
}

impl Tree {
    fn new(root: PathBuf, count: usize) -> Self {
        let chance = Chance(0x9e37_79b9_7f4a_7c15);
        let mut tree = Self { root, files: Vec::new(), made: 0, day: 0, chance };
        for _ in 0..count {
            tree.add();
        }
        tree
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file, as if it were that day.
    fn write(&mut self, name: &str) {
        let path = self.at(name);
        // A file that has another name as well is left to that.
        drop(fs::remove_file(&path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let len = self.chance.below(3000);
        let text = format!("{name} on day {}\n", self.day).repeat(len / 30);
        fs::write(&path, text).unwrap();
        self.touch(&path);
    }

    fn touch(&mut self, path: &Path) {
        let nanos = u32::try_from(self.chance.below(1_000_000_000)).unwrap();
        let time = UNIX_EPOCH + Duration::new(START + DAY * self.day, nanos);
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    fn add(&mut self) {
        self.made += 1;
        let made = self.made;
        let name = format!("d{:03}/s{}/file {made}", made / 97 % 211, made % 5);
        self.write(&name);
        self.files.push(name);
    }

    fn pick(&mut self) -> String {
        let at = self.chance.below(self.files.len());
        self.files[at].clone()
    }

    fn take(&mut self) -> String {
        let at = self.chance.below(self.files.len());
        self.files.swap_remove(at)
    }

    /// Lets a day pass.
    fn change(&mut self, changes: usize) {
        self.day += 1;
        for _ in 0..changes {
            match self.chance.below(10) {
                0..=2 => self.add(),
                3..=5 => {
                    let name = self.pick();
                    self.write(&name);
                }
                6 => {
                    let name = self.take();
                    fs::remove_file(self.at(&name)).unwrap();
                }
                7 => {
                    let (mode, name) = (0o600 + self.chance.below(64), self.pick());
                    let mode = Permissions::from_mode(u32::try_from(mode).unwrap());
                    fs::set_permissions(self.at(&name), mode).unwrap();
                }
                8 => {
                    let old = self.take();
                    let new = format!("{old}'");
                    fs::rename(self.at(&old), self.at(&new)).unwrap();
                    self.files.push(new);
                }
                _ => {
                    let (old, new) = (self.pick(), format!("links/{}", self.made));
                    self.made += 1;
                    fs::create_dir_all(self.at("links")).unwrap();
                    fs::hard_link(self.at(&old), self.at(&new)).unwrap();
                    self.files.push(new);
                }
            }
        }
        self.change_types();
    }

    /// Makes directories, files, links and FIFOs of each other.
    fn change_types(&mut self) {
        for number in 0..4 {
            let name = format!("changing/{number}");
            let path = self.at(&name);
            fs::create_dir_all(self.at("changing")).unwrap();
            drop(fs::remove_dir_all(&path));
            drop(fs::remove_file(&path));
            match (self.day + number) % 5 {
                0 => {
                    fs::create_dir(&path).unwrap();
                    self.write(&format!("{name}/in it"));
                }
                1 => symlink(format!("../d000/{}", self.day / 7), &path).unwrap(),
                2 => self.write(&name),
                3 => rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o640.into()).unwrap(),
                _ => {}
            }
        }
    }
}

/// Returns what a tree is: for each name all that is to be restored.
fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut firsts: HashMap<u64, PathBuf> = HashMap::new();
    let entries = walkdir::WalkDir::new(root).sort_by_file_name();
    entries
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(root).unwrap().to_owned();
            let stat = entry.metadata().unwrap();
            let mut text = format!(
                "{:o} {}:{} {}.{:09}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec()
            );
            if stat.is_symlink() {
                text.push_str(&format!(" to {:?}", fs::read_link(entry.path()).unwrap()));
            } else if stat.is_file() {
                let mut hasher = DefaultHasher::new();
                fs::read(entry.path()).unwrap().hash(&mut hasher);
                text.push_str(&format!(" {} {:x}", stat.len(), hasher.finish()));
            }
            if !stat.is_dir() && stat.nlink() > 1 {
                let first = firsts.entry(stat.ino()).or_insert_with(|| name.clone());
                text.push_str(&format!(" as {first:?}"));
            }
            (name, text)
        })
        .collect()
}

#[track_caller]
fn assert_same(expected: &BTreeMap<PathBuf, String>, actual: &BTreeMap<PathBuf, String>) {
    for (name, text) in expected {
        assert_eq!(Some(text), actual.get(name), "{name:?}");
    }
    let extra: Vec<_> = actual.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

/// Restores a chain by GNU tar, in order, as README says, and compares all but what was deleted and
/// the times of directories; whole seconds of times are all that tar knows.
fn check_by_tar(world: &World, chain: &[String], expected: &BTreeMap<PathBuf, String>) {
    let chain = chain.join(" ");
    // A directory that has become something else stays in tar's way.
    let done = world.script(&format!(
        "rm -rf by-tar && mkdir by-tar && cd by-tar && for archive in {chain}; do
            tar --quoting-style=literal -tzf ../$archive | grep -v '/$' | while IFS= read -r name; do
                if [ -d \"$name\" ] && [ ! -L \"$name\" ]; then rm -r \"$name\"; fi
            done
            tar --no-same-owner -pxzf ../$archive || exit
        done; rm .backup.info"
    ));
    assert_eq!(done.err, "");
    done.with_status(0);
    let restored = picture(&world.path("by-tar"));
    let comparable = |text: &str| {
        let fields: Vec<&str> = text.splitn(4, ' ').collect();
        let is_directory = fields[0].starts_with("40");
        let seconds = fields[2].split('.').next().unwrap();
        let time = if is_directory { "" } else { seconds };
        // A link to a file of which tar still has a deleted name has that as its first name.
        let rest = fields.get(3).map_or("", |rest| rest.split(" as ").next().unwrap());
        format!("{} {time} {rest}", fields[0])
    };
    for (name, text) in expected {
        let actual = restored.get(name).map(|text| comparable(text));
        assert_eq!(Some(comparable(text)), actual, "{name:?}");
    }
}

/// Lets days pass, with an archive at the end of each: a year in full, and on it months, on the
/// latest of these decades, on the latest of all these days.
fn simulate(files: usize, changes: usize, days: u64, tar_every: u64) {
    let world = World::in_memory();
    let mut tree = Tree::new(world.path("tree"), files);
    // The archives that later ones may be made on: of the year, the month, the decade.
    let mut levels: Vec<(u64, String)> = Vec::new();
    for day in 0..days {
        let level = match day {
            0 => 0,
            day if day % 31 == 0 => 1,
            day if day % 10 == 0 => 2,
            _ => 3,
        };
        levels.retain(|(other, _)| *other < level);
        let name = format!("{day}.tar.gz");
        let mut args = vec!["create", "-q", "--level=1", &name, "-C", "tree", "."];
        if let Some((_, base)) = levels.last() {
            args.extend(["--ignore-ctime", "--base", base]);
        }
        world.run(&args).with_status(0);
        let expected = picture(&world.path("tree"));
        world.run(&["extract", "-q", &name, "-C", "restored"]).with_status(0);
        assert_same(&expected, &picture(&world.path("restored")));
        fs::remove_dir_all(world.path("restored")).unwrap();
        levels.push((level, name));
        if day % tar_every == 0 && have(&["tar"]) {
            let chain: Vec<_> = levels.iter().map(|(_, name)| name.clone()).collect();
            check_by_tar(&world, &chain, &expected);
        }
        if level == 3 {
            let (_, name) = levels.pop().unwrap();
            fs::remove_file(world.path(&name)).unwrap();
        }
        tree.change(changes);
    }
}

#[test]
fn days_on_decades_on_months_on_a_year_are_restored_exactly() {
    simulate(120, 12, 34, 3);
}

#[test]
fn sixty_two_days_of_fifty_thousand_files_are_restored_exactly() {
    if is_set("ISPTAR_SLOW_TESTS") {
        simulate(50_000, 600, 62, 5);
    }
}
