//! A directory of its own, and the program run in it.

use std::io::Write;
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
        pipe(isptar(self.dir.path()).args(args), input)
    }

    /// Runs another program in the directory; `None` when it is not installed.
    pub(crate) fn tool(&self, program: &str, args: &[&str], input: &[u8]) -> Option<Done> {
        let known = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        if known.is_err() {
            let required = std::env::var_os("ISPTAR_REQUIRE_TOOLS").is_some_and(|set| set == "1");
            assert!(!required, "{program} is not installed");
            return None;
        }
        Some(pipe(Command::new(program).current_dir(self.dir.path()).args(args), input))
    }
}

/// Returns the program, to be run in `dir`.
pub(crate) fn isptar(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isptar"));
    command.current_dir(dir).env_remove("NO_COLOR");
    command
}

fn pipe(command: &mut Command, input: &[u8]) -> Done {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not read all of its input must not stop the test.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Done {
        status: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
