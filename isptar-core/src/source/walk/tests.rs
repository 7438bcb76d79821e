//! Tests of the walk.

use super::stack::MAX_HANDLES;
use super::*;
use crate::observe::Event;
use crate::select::Patterns;
use crate::source::directory::open_place;
use rustix::fs::{mkdirat, mknodat};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    events: Vec<String>,
}

impl Observer for Notes {
    fn event(&mut self, event: Event<'_>) {
        self.events.push(match event {
            Event::LeftOut { path, reason } => format!("{path}: {reason}"),
            Event::Failed { path, error } => format!("{path}: {error}"),
            Event::Warning { path, warning } => format!("{path}: {warning}"),
            event => format!("{event:?}"),
        });
    }
}

/// Makes files, and directories for names that end in a slash.
fn tree(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    }
    dir
}

/// Returns the names found, partial directories with a `+` and lost ones with a `!`, and what the
/// observer was told.
fn walked(dir: &Path, paths: &[&str], options: SourceOptions) -> (Vec<String>, Vec<String>) {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let mut walk = Walk::new(dir, &paths, options).unwrap();
    let mut notes = Notes::default();
    let mut names = Vec::new();
    while let Some(found) = walk.next(&mut notes).unwrap() {
        let marks = ["", "+"][usize::from(found.partial)].to_owned()
            + ["", "!"][usize::from(found.lost.is_some())];
        names.push(format!("{}{marks}", found.path));
    }
    let told = walk.left_out() + walk.failed() + walk.vanished();
    assert_eq!(told, notes.events.len() as u64);
    (names, notes.events)
}

fn excluding(patterns: &[&str]) -> SourceOptions {
    SourceOptions { exclude: Patterns::new(patterns).unwrap(), ..Default::default() }
}

#[test]
fn the_order_is_that_of_member_names() {
    let dir = tree(&["a.b", "a/b", "a/b.c", "a-b", "a/d/x", "b", ".x", "A", "a/e/"]);
    let (names, events) = walked(dir.path(), &["."], SourceOptions::default());
    assert_eq!(
        names,
        [".", ".x", "A", "a", "a/b", "a/b.c", "a/d", "a/d/x", "a/e", "a-b", "a.b", "b"]
    );
    assert!(events.is_empty());
    let mut sorted: Vec<MemberPath> = names.iter().map(|name| name.as_str().into()).collect();
    sorted.sort();
    assert_eq!(sorted.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
}

#[test]
fn given_paths_are_sorted_and_their_links_not_followed() {
    let dir = tree(&["a/b", "a/c/d", "z"]);
    symlink("a", dir.path().join("link")).unwrap();
    let find = |paths: &[&str]| walked(dir.path(), paths, SourceOptions::default()).0;
    assert_eq!(find(&["z", "a/c", "a/b"]), ["a/b", "a/c", "a/c/d", "z"]);
    assert_eq!(find(&["link"]), ["link"]);
    assert_eq!(find(&["link/"]), ["link", "link/b", "link/c", "link/c/d"]);
    assert_eq!(find(&["./a//c/."]), ["a/c", "a/c/d"]);
    assert_eq!(find(&["."]).len(), 7);
    let absolute = dir.path().join("a/c");
    let names = find(&[absolute.to_str().unwrap()]);
    assert_eq!(names[0], absolute.to_str().unwrap()[1..]);
    assert_eq!(names.len(), 2);
}

#[test]
fn missing_paths_are_told_and_the_rest_is_found() {
    let dir = tree(&["a"]);
    let paths = ["none", "none/deep", "a", "a/", "no/"];
    let (names, events) = walked(dir.path(), &paths[..3], SourceOptions::default());
    assert_eq!(names, ["a"]);
    assert_eq!(events.len(), 1);
    assert!(events[0].starts_with("none: cannot find "), "{events:?}");
    let (names, events) = walked(dir.path(), &paths[3..], SourceOptions::default());
    assert!(names.is_empty() && events.len() == 2);
    assert!(Walk::new(&dir.path().join("none"), &[], SourceOptions::default()).is_err());
}

#[test]
fn patterns_leave_out_and_mark_the_directory() {
    let dir = tree(&["a/x.log", "a/y", "cache/c", "b/cache/d", "tmp/t", "b/tmp", "c/keep.log"]);
    let options = excluding(&["*.log", "/cache", "tmp/", "!keep.log"]);
    let (names, events) = walked(dir.path(), &["."], options);
    assert_eq!(names, [".+", "a+", "a/y", "b", "b/cache", "b/cache/d", "b/tmp", "c", "c/keep.log"]);
    assert_eq!(events, ["a/x.log: excluded", "cache: excluded", "tmp: excluded"]);
    let (names, events) =
        walked(dir.path(), &["a/x.log", "tmp", "a/y"], excluding(&["*.log", "tmp/"]));
    assert_eq!(names, ["a/y"]);
    assert_eq!(events, ["a/x.log: excluded", "tmp: excluded"]);
    assert_eq!(walked(dir.path(), &["."], excluding(&["*"])).0, [".+"]);
}

#[test]
fn caches_and_marked_directories_keep_their_tags() {
    let dir = tree(&["c/x", "c/y/z", "f/CACHEDIR.TAG", "f/x", "m/.nobackup", "m/x"]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# comment\n";
    fs::write(dir.path().join("c/CACHEDIR.TAG"), tag).unwrap();
    let options = SourceOptions {
        exclude_caches: true,
        exclude_if_present: vec![b".nobackup".to_vec(), b".other".to_vec()],
        ..Default::default()
    };
    let (names, events) = walked(dir.path(), &["."], options);
    assert_eq!(
        names,
        [".", "c+", "c/CACHEDIR.TAG", "f", "f/CACHEDIR.TAG", "f/x", "m+", "m/.nobackup"]
    );
    let marked = "m: contents of a directory marked by its owner";
    assert_eq!(events, ["c: contents of a cache directory", marked]);
    assert_eq!(walked(dir.path(), &["."], SourceOptions::default()).0.len(), 12);
}

#[test]
fn the_archive_is_not_archived() {
    let dir = tree(&["a/new", "a/old", "a/x"]);
    let own = |name| {
        let metadata = fs::metadata(dir.path().join(name)).unwrap();
        (metadata.dev(), metadata.ino())
    };
    let own_files = vec![own("a/new"), own("a/old")];
    fs::hard_link(dir.path().join("a/old"), dir.path().join("link")).unwrap();
    let options = SourceOptions { own_files, ..Default::default() };
    let (names, events) = walked(dir.path(), &["."], options.clone());
    assert_eq!(names, [".+", "a+", "a/x"]);
    assert_eq!(
        events,
        ["a/new", "a/old", "link"].map(|name| format!("{name}: the archive itself"))
    );
    assert_eq!(walked(dir.path(), &["a/new"], options).1.len(), 1);
}

#[test]
fn restored_listings_and_sockets_are_left_out() {
    let dir = tree(&["d/.backup.info", ".backup.info.2", ".backup.info.x"]);
    let listing = "a\t…\n\nlisting_header=512\nformat=2\nheader_size=123";
    for name in [".backup.info", ".backup.info.1", "d/.backup.info", ".backup.info.x"] {
        fs::write(dir.path().join(name), "x".repeat(9000) + listing).unwrap();
    }
    mknodat(CWD, dir.path().join("s"), FileType::Socket, 0o600.into(), 0).unwrap();
    let (names, events) = walked(dir.path(), &["."], SourceOptions::default());
    assert_eq!(names, [".", ".backup.info.2", ".backup.info.x", "d", "d/.backup.info"]);
    let listing = "the listing of a restored archive";
    assert_eq!(
        events,
        [
            format!(".backup.info: {listing}"),
            format!(".backup.info.1: {listing}"),
            "s: a socket".into()
        ]
    );
}

#[test]
fn what_vanishes_is_counted() {
    let dir = tree(&["a/x", "b", "c"]);
    let mut walk = Walk::new(dir.path(), &[".".into()], SourceOptions::default()).unwrap();
    let mut notes = Notes::default();
    assert!(walk.next(&mut notes).unwrap().unwrap().path.is_root());
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    fs::remove_file(dir.path().join("c")).unwrap();
    assert_eq!(walk.next(&mut notes).unwrap().unwrap().path, MemberPath::from("b"));
    assert!(walk.next(&mut notes).unwrap().is_none());
    assert_eq!(notes.events, ["a", "c"].map(|name| format!("{name}: vanished before it was read")));
    assert_eq!((walk.vanished(), walk.failed()), (2, 0));
}

#[test]
fn a_directory_of_another_file_system_is_kept_empty() {
    let other = Path::new("/proc");
    let (Ok(root), Ok(proc)) = (fs::metadata("/"), fs::metadata(other)) else { return };
    if root.dev() == proc.dev() {
        return;
    }
    let options = SourceOptions { one_file_system: true, ..Default::default() };
    let mut walk = Walk::new(Path::new("/"), &["/".into()], options).unwrap();
    // Only the names that come before and after: the test must not walk through the machine.
    walk.options.exclude = Patterns::new(["/*", "!/proc"]).unwrap();
    let mut notes = Notes::default();
    assert!(walk.next(&mut notes).unwrap().unwrap().partial);
    let found = walk.next(&mut notes).unwrap().unwrap();
    assert!(found.path == MemberPath::from("proc") && found.partial);
    assert!(walk.next(&mut notes).unwrap().is_none());
    assert!(notes.events.contains(&"proc: on another file system".to_owned()));
}

#[test]
fn unreadable_directories_are_lost() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tree(&["a/x", "b/x", "c"]);
    let mode = |name: &str, mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(dir.path().join(name), permissions).unwrap();
    };
    mode("a", 0o300);
    mode("b", 0o600);
    let (names, events) = walked(dir.path(), &["."], SourceOptions::default());
    mode("a", 0o700);
    mode("b", 0o700);
    assert_eq!(names, [".", "a!", "b!", "c"]);
    assert!(events.is_empty());
}

/// Makes `depth` directories in each other, and a file beside each.
fn deep(dir: &Path, depth: usize) {
    let mut at: OwnedFd = fs::File::open(dir).unwrap().into();
    for _ in 0..depth {
        mkdirat(&at, "d", 0o700.into()).unwrap();
        mknodat(&at, "e", FileType::RegularFile, 0o600.into(), 0).unwrap();
        at = open_place(&at, b"d").unwrap();
    }
}

#[test]
fn depth_is_not_limited_by_handles_or_path_length() {
    const DEPTH: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    deep(dir.path(), DEPTH);
    let mut walk = Walk::new(dir.path(), &[".".into()], SourceOptions::default()).unwrap();
    let (mut count, mut last, mut handles) = (0, MemberPath::from("."), 0);
    while let Some(found) = walk.next(&mut ()).unwrap() {
        assert!(count == 0 || found.path > last);
        handles = handles.max(walk.stack.iter().filter(|frame| frame.handle.is_some()).count());
        (count, last) = (count + 1, found.path);
    }
    assert_eq!((count, handles), (1 + 2 * DEPTH, MAX_HANDLES));
    assert_eq!((walk.failed(), walk.vanished()), (0, 0));
    remove_deep(dir.path());
}

/// Removes what [`deep`] made, with one handle at a time.
fn remove_deep(dir: &Path) {
    let mut at: OwnedFd = fs::File::open(dir).unwrap().into();
    while let Ok(next) = open_place(&at, b"d") {
        at = next;
    }
    let top = fs::metadata(dir).unwrap().ino();
    while rustix::fs::fstat(&at).unwrap().st_ino != top {
        at = open_place(&at, b"..").unwrap();
        rustix::fs::unlinkat(&at, "d", AtFlags::REMOVEDIR).unwrap();
        rustix::fs::unlinkat(&at, "e", AtFlags::empty()).unwrap();
    }
}

#[test]
fn a_moved_directory_is_found_again_by_names_or_given_up() {
    let dir = tree(&["else/"]);
    deep(dir.path(), 40);
    let name = |depth: usize| vec!["d"; depth].join("/");
    let mut walk = Walk::new(dir.path(), &["d".into()], SourceOptions::default()).unwrap();
    let mut notes = Notes::default();
    let mut rest = 0;
    while let Some(found) = walk.next(&mut notes).unwrap() {
        rest += 1;
        if found.path.as_bytes() == name(40).as_bytes() {
            // `..` of level 20 is another directory now, and level 19 is where it was.
            let from = dir.path().join(name(20));
            fs::rename(from, dir.path().join("else/d")).unwrap();
            rest = 0;
        }
    }
    // The files of levels 39 to 1.
    assert_eq!((rest, notes.events), (39, vec![]));

    let dir = tree(&["else/"]);
    deep(dir.path(), 40);
    let mut walk = Walk::new(dir.path(), &["d".into()], SourceOptions::default()).unwrap();
    let mut notes = Notes::default();
    let mut files = 0;
    while let Some(found) = walk.next(&mut notes).unwrap() {
        files += usize::from(!found.path.as_bytes().ends_with(b"d"));
        if found.path.as_bytes() == name(40).as_bytes() {
            fs::rename(dir.path().join(name(20)), dir.path().join("else/d")).unwrap();
            fs::rename(dir.path().join(name(15)), dir.path().join("else/x")).unwrap();
        }
    }
    // Levels 15 to 19 are nowhere to be found.
    assert_eq!((files, notes.events.len()), (34, 5));
    assert!(notes.events[0].starts_with(&format!("{}: cannot go back to", name(19))));
}

#[test]
fn the_caller_can_stop_it() {
    struct Stop;
    impl Observer for Stop {
        fn cancelled(&self) -> bool {
            true
        }
    }
    let mut walk = Walk::new(Path::new("/"), &["/".into()], SourceOptions::default()).unwrap();
    assert!(matches!(walk.next(&mut Stop), Err(Error::Cancelled)));
}

#[test]
fn what_comes_next_is_known_before_it_is_looked_at() {
    let deep = "a/b/c/d/e/f/g/h/i/";
    let mut names = vec![deep.to_owned(), "a/b/z".into(), "a/left out".into(), "a.b".into()];
    names.extend((0..9).map(|depth| format!("{}z{depth}", &deep[..2 * depth])));
    let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let exclude = Patterns::new(["left out", "z3"]).unwrap();
    let options = SourceOptions { exclude, ..SourceOptions::default() };
    let given = ["a".into(), "a.b".into(), "gone".into(), "z0".into()];
    let mut walk = Walk::new(dir.path(), &given, options).unwrap();
    let mut notes = Notes::default();
    let mut count = 0;
    while let Some(path) = walk.upcoming(&mut notes) {
        assert_eq!(walk.upcoming(&mut ()), Some(path.clone()));
        let found = match walk.step(&mut notes).unwrap() {
            Step::Found(found) => Some(found),
            _ => None,
        };
        // What is not there is known to be so only then.
        let gone = path == MemberPath::from("gone");
        assert_eq!(found.map(|found| found.path), (!gone).then_some(path));
        count += 1;
    }
    assert!(walk.next(&mut notes).unwrap().is_none());
    assert_eq!(count, 9 + 8 + 3);
    assert_eq!((walk.left_out(), walk.failed()), (2, 1));
}
