//! The one place that prints: results on standard output, all else on standard error.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

use clap::ColorChoice;
use isptar_core::MemberPath;
use isptar_core::path::printable;

use crate::failure::{self, Failure};
use crate::output::sanitize;

/// How the program talks to its user.
#[derive(Debug)]
pub(crate) struct Ui {
    quiet: bool,
    color: ColorChoice,
    no_color: bool,
    /// The hints that were given: each is told once, not with every member that needs it.
    hinted: Mutex<HashSet<String>>,
}

/// What a line on standard error is about; it gives the word and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Error,
    Warning,
    Hint,
}

impl Tone {
    /// Returns the word that begins the line, and the escape sequence of its colour.
    fn label(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Plain => None,
            Self::Error => Some(("error", "\x1b[1;31m")),
            Self::Warning => Some(("warning", "\x1b[1;33m")),
            Self::Hint => Some(("hint", "\x1b[1;36m")),
        }
    }
}

impl Ui {
    /// Makes the user interface of a run.
    pub(crate) fn new(quiet: bool, color: ColorChoice) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { quiet, color, no_color, hinted: Mutex::default() }
    }

    /// Returns whether a progress bar can be shown.
    pub(crate) fn has_terminal(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    fn colored(&self, terminal: bool) -> bool {
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !self.no_color,
        }
    }

    /// Opens standard output for results.
    pub(crate) fn out(&self) -> Result<Out, Failure> {
        let file = stdout_file().map_err(Failure::Stdout)?;
        let terminal = io::stdout().is_terminal();
        let writer = BufWriter::with_capacity(64 << 10, file);
        Ok(Out { writer, look: Look { terminal, color: self.colored(terminal) } })
    }

    /// Tells something good to know, unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.print(Tone::Plain, text);
        }
    }

    /// Tells what is not quite as it should be.
    pub(crate) fn warning(&self, text: &str) {
        self.print(Tone::Warning, text);
    }

    /// Tells an error and, when there is something and it was not told yet, what can be done about it.
    pub(crate) fn error(&self, text: &str, hint: Option<&str>) {
        self.print(Tone::Error, text);
        if let Some(hint) = hint.filter(|hint| self.is_new_hint(hint)) {
            self.print(Tone::Hint, hint);
        }
    }

    fn is_new_hint(&self, hint: &str) -> bool {
        self.hinted.lock().unwrap_or_else(PoisonError::into_inner).insert(hint.to_owned())
    }

    /// Tells why a command, or a part of it, failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.error(&failure::chain(failure), failure.hint().as_deref());
    }

    /// Tells an error of one member.
    pub(crate) fn member_error(&self, path: &MemberPath, error: &isptar_core::Error) {
        self.error(&about(path, error), failure::hint(error).as_deref());
    }

    /// Tells damage of bytes that belong to no member that is known.
    pub(crate) fn damage(&self, range: &Range<u64>, error: &isptar_core::Error) {
        let text = failure::chain(error);
        if range.is_empty() {
            let is_elsewhere = matches!(error, isptar_core::Error::NoBase { .. });
            let hint = failure::hint(error).filter(|_| is_elsewhere);
            self.error(&text, hint.as_deref());
        } else {
            self.error(&format!("bytes {}..{}: {text}", range.start, range.end), None);
        }
    }

    fn print(&self, tone: Tone, text: &str) {
        let mut stderr = io::stderr();
        let line = line(tone, text, self.colored(stderr.is_terminal()));
        // When standard error takes nothing, there is no place left to say so.
        drop(stderr.write_all(line.as_bytes()));
    }
}

/// Returns the line that is printed.
fn line(tone: Tone, text: &str, color: bool) -> String {
    let text = sanitize(text);
    match tone.label() {
        None => format!("isptar: {text}\n"),
        Some((word, start)) if color => format!("isptar: {start}{word}:\x1b[0m {text}\n"),
        Some((word, _)) => format!("isptar: {word}: {text}\n"),
    }
}

/// Returns an error with its causes and the name of the member, which most errors name themselves.
pub(crate) fn about(path: &MemberPath, error: &isptar_core::Error) -> String {
    let text = failure::chain(error);
    let is_named = match error {
        // A file in the target or the source, whose path ends with the name.
        isptar_core::Error::Io { path: file, .. } => {
            file.ends_with(OsStr::from_bytes(path.as_bytes()))
        }
        error => error.member() == Some(path),
    };
    if is_named { text } else { format!("{path}: {text}") }
}

/// Returns standard output as a file of its own: archives and contents go past the line buffer.
pub(crate) fn stdout_file() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Returns standard input as a file of its own.
pub(crate) fn stdin_file() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Standard output, through a large buffer.
#[derive(Debug)]
pub(crate) struct Out {
    writer: BufWriter<File>,
    look: Look,
}

/// How names look where they are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// It is a terminal.
    pub(crate) terminal: bool,
    /// Colours are to be used.
    pub(crate) color: bool,
}

impl Look {
    /// Appends a name as it is to be shown in a line: raw in pipes and files, escaped on a terminal,
    /// and where it would make two lines of one.
    pub(crate) fn push(self, name: &[u8], out: &mut Vec<u8>) {
        if self.terminal || name.contains(&b'\n') {
            out.extend_from_slice(printable(name).as_bytes());
        } else {
            out.extend_from_slice(name);
        }
    }
}

impl Out {
    /// Returns a name as it is to be shown in a line.
    pub(crate) fn name(&self, name: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(name.len());
        self.look.push(name, &mut shown);
        shown
    }

    /// Returns how names look.
    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// Writes bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_all(bytes).map_err(Failure::Stdout)
    }

    /// Writes out what is buffered.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.flush().map_err(Failure::Stdout)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        if self.look.terminal && bytes.ends_with(b"\n") {
            self.writer.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::Error;

    #[test]
    fn lines_begin_with_the_program_and_a_word() {
        assert_eq!(line(Tone::Plain, "a", false), "isptar: a\n");
        assert_eq!(line(Tone::Error, "a: b", false), "isptar: error: a: b\n");
        assert_eq!(line(Tone::Hint, "a", true), "isptar: \x1b[1;36mhint:\x1b[0m a\n");
        assert_eq!(line(Tone::Warning, "a\x1b]0;b", false), "isptar: warning: a\\u{1b}]0;b\n");
    }

    #[test]
    fn the_member_is_named_once() {
        let error = Error::NotFound("a/b".into());
        assert_eq!(about(&"a/b".into(), &error), "no member named a/b");
        assert_eq!(about(&"a/b".into(), &Error::Cancelled), "a/b: interrupted");
        // A name that happens to be a part of the message is no name in it.
        assert_eq!(about(&"r".into(), &Error::Cancelled), "r: interrupted");
        let target = Error::NotFound("to/a".into());
        assert_eq!(about(&"a".into(), &target), "a: no member named to/a");
        let io = |path: &str| {
            let source = io::ErrorKind::NotADirectory.into();
            about(&"a/b".into(), &Error::Io { op: "open", path: path.into(), source })
        };
        assert_eq!(io("/x/a/b"), "cannot open /x/a/b: not a directory");
        assert_eq!(io("/x/aa/b"), "a/b: cannot open /x/aa/b: not a directory");
    }

    #[test]
    fn colours_follow_the_choice_and_the_environment() {
        let ui = |color, no_color| Ui { no_color, ..Ui::new(false, color) };
        assert!(ui(ColorChoice::Auto, false).colored(true));
        assert!(!ui(ColorChoice::Auto, true).colored(true));
        assert!(!ui(ColorChoice::Auto, false).colored(false));
        assert!(ui(ColorChoice::Always, true).colored(false));
        assert!(!ui(ColorChoice::Never, false).colored(true));
    }
}
