//! A directory of its own, and the program run in it.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Done {
    /// Returns standard output, which must be text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Returns standard output, whatever bytes it is.
    pub(crate) fn text_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.out)
    }

    /// Checks the status, and shows what was said when it is another.
    #[track_caller]
    pub(crate) fn with_status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}{}", String::from_utf8_lossy(&self.out), self.err);
        self
    }
}

/// A temporary directory that isptar is run in.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// Makes an empty one.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Makes an empty one, in memory where the system has a place for that: for very many files.
    pub(crate) fn in_memory() -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(dir) => Self { dir },
            Err(_) => Self::new(),
        }
    }

    /// Makes one with a small tree: `tree/{a.txt,empty,sub/{b.conf,link}}`.
    pub(crate) fn with_tree() -> Self {
        let world = Self::new();
        world.file("tree/a.txt", b"first\n");
        world.file("tree/empty", b"");
        world.file("tree/sub/b.conf", b"0123456789");
        std::os::unix::fs::symlink("b.conf", world.path("tree/sub/link")).unwrap();
        world
    }

    /// Returns the path of something in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and the directories that it is in.
    pub(crate) fn file(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs isptar.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, b"")
    }

    /// Runs isptar with something on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Done {
        pipe(isptar(self.dir.path()).args(with_threads(args)), input)
    }

    /// Runs another program in the directory; `None` when it is not installed.
    pub(crate) fn tool(&self, program: &str, args: &[&str], input: &[u8]) -> Option<Done> {
        if !have(&[program]) {
            return None;
        }
        Some(pipe(Command::new(program).current_dir(self.dir.path()).args(args), input))
    }

    /// Runs a script of bash in the directory; `$ISPTAR` is the program.
    pub(crate) fn script(&self, script: &str) -> Done {
        let mut command = Command::new("bash");
        command.current_dir(self.dir.path()).env("ISPTAR", PROGRAM).env("LC_ALL", "C");
        pipe(command.args(["-c", &script_with_threads(script)]), b"")
    }

    /// Returns the names of what is in a directory, sorted.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The program that is tested.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_isptar");

/// Commands that have `--threads`.
const THREADED: [&str; 3] = ["create", "extract", "verify"];

/// Returns how many threads all tests are to run the program with: `.ci/run` sets this variable.
/// Tests that ask for a number themselves get that one.
fn threads() -> Option<String> {
    std::env::var("ISPTAR_TEST_THREADS").ok()
}

/// Returns arguments of the program with the number of threads that the tests are run with.
pub(crate) fn with_threads(args: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let takes_them = args.first().is_some_and(|command| THREADED.contains(&command.as_str()));
    let has_them = args.iter().any(|arg| arg.starts_with("--threads"));
    if let (Some(threads), true, false) = (threads(), takes_them, has_them) {
        args.insert(1, format!("--threads={threads}"));
    }
    args
}

/// Returns a script whose runs of the program have that number.
fn script_with_threads(script: &str) -> String {
    match threads() {
        Some(threads) if !script.contains("--threads") => {
            THREADED.iter().fold(script.to_owned(), |script, command| {
                let run = format!("$ISPTAR {command} ");
                script.replace(&run, &format!("{run}--threads={threads} "))
            })
        }
        _ => script.to_owned(),
    }
}

/// Returns whether a variable of the environment is set to 1.
pub(crate) fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|set| set == "1")
}

/// Says that a test leaves something out; fails where nothing may be left out.
#[track_caller]
pub(crate) fn skip(what: &str) {
    assert!(!is_set("ISPTAR_REQUIRE_TOOLS"), "required, but {what}");
    eprintln!("skipped: {what}");
}

/// Returns whether programs are installed; says so when one of them is not.
#[track_caller]
pub(crate) fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed =
        |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    match programs.iter().find(|program| !installed(program)) {
        Some(program) => {
            skip(&format!("{program} is not installed"));
            false
        }
        None => true,
    }
}

/// Returns whether the tests run as root; says so when they do not.
#[track_caller]
pub(crate) fn am_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("the tests do not run as root");
    }
    root
}

/// Returns the program, to be run in `dir`.
pub(crate) fn isptar(dir: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(dir).env_remove("NO_COLOR");
    command
}

/// Runs a command to its end.
pub(crate) fn pipe(command: &mut Command, input: &[u8]) -> Done {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not read all of its input must not stop the test.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Done {
        status: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap()),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
