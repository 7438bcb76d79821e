//! `isptar ls`: the names of an archive, and what the listing knows of them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use isptar_core::{Damage, Digest, Entry, Error, Kind, Warning};
use sha2::{Digest as _, Sha256};

use super::select::{self, Place, Visitor, Wanted};
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::input;
use crate::json;
use crate::limits::LimitArgs;
use crate::output::{leads_to, long, plain_name, sha256_line};
use crate::ui::{Out, Ui};

/// List the members of an archive.
///
/// Names stand one a line, in the order of the archive. Of an archive with a listing only the
/// parts that are needed are read; any other tar is read from front to back.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to list; - is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Members to list: names, which bring what is below them, and globs [default: all]
    #[arg(value_name = "PATH|GLOB")]
    paths: Vec<OsString>,
    /// Print mode, owner, size and time (UTC) like ls -l
    #[arg(short, long, group = "form")]
    long: bool,
    /// Go at most N levels below each PATH
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
    /// Indent names by their depth
    #[arg(long, group = "form")]
    tree: bool,
    /// End names with a NUL byte, and never escape them
    #[arg(short = '0', long, group = "form")]
    null: bool,
    /// Print digests of files as sha256sum -c takes them
    #[arg(long, group = "form")]
    sha256: bool,
    /// Print all that the listing knows, one JSON object a line, the summary last
    #[arg(long, group = "form")]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar ls home.tar.gz
  isptar ls -l home.tar.gz home/ann --depth 1
  isptar ls home.tar.gz '*.conf'
  isptar ls --sha256 home.tar.gz | (cd / && sha256sum -c --quiet)
  curl -s https://host/any.tar.gz | isptar ls -";

/// How an entry is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Names,
    Long,
    Tree,
    Null,
    Sha256,
    Json,
}

impl Args {
    fn form(&self) -> Form {
        match self {
            Self { long: true, .. } => Form::Long,
            Self { tree: true, .. } => Form::Tree,
            Self { null: true, .. } => Form::Null,
            Self { sha256: true, .. } => Form::Sha256,
            Self { json: true, .. } => Form::Json,
            _ => Form::Names,
        }
    }
}

/// Runs `isptar ls`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let mut wanted = Wanted::new(&args.paths)?;
    let mut printer = Printer {
        form: args.form(),
        out: ui.out()?,
        ui,
        tree: Tree::default(),
        names: None,
        count: 0,
        exit: Exit::Good,
    };
    let listed = list(args, &mut wanted, &mut printer);
    match listed {
        Ok(()) => wanted.missing().iter().for_each(|error| printer.failed(error)),
        // What was listed comes before the error.
        Err(failure) if failure.is_broken_pipe() => return Ok(Exit::Good),
        Err(failure) => {
            printer.out.finish()?;
            return Err(failure.named(&args.archive));
        }
    }
    printer.finish()
}

fn list(args: &Args, wanted: &mut Wanted, printer: &mut Printer<'_>) -> Result<(), Failure> {
    let mut input = input::open(&args.archive, args.limits.limits(), printer.ui)?;
    printer.names = (!input.is_sorted()).then(HashSet::new);
    wanted.visit(&mut input, &mut Lister { depth: args.depth, printer })?;
    printer.exit = printer.exit.max(input.check_end(&args.archive, printer.ui));
    Ok(())
}

/// Prints what is met down to a depth.
struct Lister<'a, 'b> {
    depth: Option<usize>,
    printer: &'a mut Printer<'b>,
}

impl Visitor for Lister<'_, '_> {
    fn member(
        &mut self,
        entry: &Entry,
        place: Place<'_, '_>,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        match self.depth {
            Some(most) if wanted.depth(&plain_name(&entry.path)) > most => Ok(()),
            _ => self.printer.entry(entry, place),
        }
    }

    fn damaged(&mut self, damage: &Damage, error: &Error) {
        self.printer.damaged(damage, error);
    }
}

struct Printer<'a> {
    form: Form,
    out: Out,
    ui: &'a Ui,
    tree: Tree,
    /// Hashes of the names met so far, of an archive in which one may stand twice.
    names: Option<HashSet<u64>>,
    count: u64,
    exit: Exit,
}

impl Printer<'_> {
    fn entry(&mut self, entry: &Entry, place: Place<'_, '_>) -> Result<(), Failure> {
        self.count += 1;
        self.note_name(entry);
        match self.form {
            Form::Names => {
                let mut line = self.name(entry);
                line.push(b'\n');
                self.out.put(&line)
            }
            Form::Null => {
                self.out.put(entry.path.as_bytes())?;
                self.out.put(b"\0")
            }
            Form::Json => self.out.put(&json::line(json::member(entry))),
            Form::Long => self.long(entry),
            Form::Tree => {
                let text = self.tree.lines(entry, |name| self.out.name(name));
                self.out.put(&text)
            }
            Form::Sha256 => self.sha256(entry, place),
        }
    }

    /// Tells of a name that stands twice: only its last member counts.
    fn note_name(&mut self, entry: &Entry) {
        let Some(names) = &mut self.names else { return };
        let mut hasher = DefaultHasher::new();
        plain_name(&entry.path).as_bytes().hash(&mut hasher);
        if !names.insert(hasher.finish()) && self.form != Form::Json {
            self.ui.warning(&format!("{}: {}", entry.path, Warning::Duplicate));
        }
    }

    /// Returns the name as it is shown, in its colour.
    fn name(&self, entry: &Entry) -> Vec<u8> {
        let name = self.out.name(entry.path.as_bytes());
        match color(entry).filter(|_| self.out.color()) {
            Some(start) => [start.as_bytes(), &name, b"\x1b[0m"].concat(),
            None => name,
        }
    }

    fn long(&mut self, entry: &Entry) -> Result<(), Failure> {
        let mut line = long(entry).into_bytes();
        line.extend_from_slice(&self.name(entry));
        if let Some((words, target)) = leads_to(&entry.kind) {
            line.extend_from_slice(words.as_bytes());
            line.extend_from_slice(&self.out.name(target));
        }
        if let Some(reason) = &entry.lost {
            let what = if entry.location.is_some() { "its contents were" } else { "not stored," };
            line.extend_from_slice(format!(" ({what} {reason})").as_bytes());
        }
        line.push(b'\n');
        self.out.put(&line)
    }

    fn sha256(&mut self, entry: &Entry, place: Place<'_, '_>) -> Result<(), Failure> {
        let read_once = matches!(place, Place::Met(_));
        match digest(entry, place) {
            Ok(Some(digest)) => {
                let line = sha256_line(&digest, entry.path.as_bytes());
                let mut line = self.out.name(&line);
                line.push(b'\n');
                self.out.put(&line)
            }
            Ok(None) => {
                // The content went by earlier; by the listing it would have been found.
                if let Kind::HardLink { target } = &entry.kind
                    && read_once
                {
                    let text = format!("{}: no digest, it is a hard link to {target}", entry.path);
                    self.ui.warning(&text);
                    self.exit = self.exit.max(Exit::Warnings);
                }
                Ok(())
            }
            Err(error) if is_fatal(&error) => Err(error.into()),
            Err(error) => {
                self.failed(&error);
                Ok(())
            }
        }
    }

    /// Tells what is wrong with one of the members.
    fn failed(&mut self, error: &Error) {
        self.exit = self.exit.max(Exit::of_member(error));
        if self.form == Form::Json {
            let object = json::message("error", None, &failure::chain(error));
            // A pipe that broke shows when the rest is written.
            drop(self.out.put(&json::line(object)));
        } else {
            self.ui.error(&failure::chain(error), failure::hint(error).as_deref());
        }
    }

    /// Tells damage of a tar that is read from front to back.
    fn damaged(&mut self, damage: &Damage, error: &Error) {
        match &damage.path {
            _ if self.form == Form::Json => self.failed(error),
            Some(path) => {
                self.exit = self.exit.max(Exit::Incomplete);
                self.ui.member_error(path, error);
            }
            None => {
                self.exit = self.exit.max(Exit::Incomplete);
                self.ui.damage(&damage.range, error);
            }
        }
    }

    fn finish(mut self) -> Result<Exit, Failure> {
        if self.form == Form::Json {
            let mut summary = json::object("summary");
            summary.insert("command".into(), "ls".into());
            summary.insert("members".into(), self.count.into());
            summary.insert("status".into(), self.exit.code().into());
            self.out.put(&json::line(summary))?;
        }
        self.out.finish()?;
        Ok(self.exit)
    }
}

/// Returns whether nothing can be read after an error.
pub(crate) fn is_fatal(error: &Error) -> bool {
    Exit::of(error) == Exit::NotAnArchive
}

/// Returns the digest of what an entry contains; `None` when it has no content to digest.
fn digest(entry: &Entry, place: Place<'_, '_>) -> Result<Option<[u8; 32]>, Error> {
    match place {
        Place::Listed(archive) => {
            if !matches!(entry.kind, Kind::File { .. } | Kind::HardLink { .. }) {
                return Ok(None);
            }
            let entry = match archive.content_entry(entry) {
                // Another name of a FIFO or a device.
                Err(Error::NotAFile { .. }) => return Ok(None),
                entry => entry?,
            };
            if let Some(known) = known_digest(&entry) {
                return Ok(Some(known));
            }
            let member = select::open(archive, &entry)?;
            select::digest(&entry.path, member).map(Some)
        }
        Place::Met(scanned) if matches!(entry.kind, Kind::File { .. }) => {
            select::digest(&entry.path, Met(scanned)).map(Some)
        }
        Place::Met(_) => Ok(None),
    }
}

/// Lends the content of a member that was met.
struct Met<'a, C>(&'a mut C);

impl<C: isptar_core::Content> isptar_core::Content for Met<'_, C> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn next_piece(&mut self) -> isptar_core::Result<Option<isptar_core::Piece<'_>>> {
        self.0.next_piece()
    }
}

/// Returns the digest that the listing knows.
fn known_digest(entry: &Entry) -> Option<[u8; 32]> {
    match (&entry.kind, &entry.digest, &entry.lost) {
        (Kind::File { .. }, Some(Digest::Content(digest)), None) => Some(*digest),
        (Kind::File { size: 0 }, None, None) => Some(Sha256::digest(b"").into()),
        _ => None,
    }
}

/// Returns the colour of a name, those of ls.
fn color(entry: &Entry) -> Option<&'static str> {
    match entry.kind {
        Kind::Directory => Some("\x1b[1;34m"),
        Kind::Symlink { .. } => Some("\x1b[1;36m"),
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => Some("\x1b[33m"),
        Kind::File { .. } if entry.mode & 0o111 != 0 => Some("\x1b[1;32m"),
        _ => None,
    }
}

/// Draws a tree by indentation: whether a directory is the last one of its parent is not known
/// before all that is in it was listed, so there are no lines that join them.
#[derive(Debug, Default)]
struct Tree {
    /// The components of the name drawn last.
    last: Vec<Vec<u8>>,
}

impl Tree {
    /// Returns the lines of an entry: its own, and those of directories above it that were not
    /// listed themselves.
    fn lines(&mut self, entry: &Entry, shown: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let name = plain_name(&entry.path);
        if name.is_root() {
            return b".\n".to_vec();
        }
        let parts: Vec<&[u8]> = name.as_bytes().split(|&byte| byte == b'/').collect();
        let known = parts.iter().zip(&self.last).take_while(|(part, last)| *part == last).count();
        // A name that stands twice, or a directory after its contents, is drawn again.
        let known = known.min(parts.len() - 1);
        let mut text = Vec::new();
        for (depth, part) in parts.iter().enumerate().skip(known) {
            text.resize(text.len() + 2 * depth, b' ');
            text.extend_from_slice(&shown(part));
            if depth + 1 < parts.len() || entry.kind == Kind::Directory {
                text.push(b'/');
            }
            if depth + 1 == parts.len()
                && let Some((words, target)) = leads_to(&entry.kind)
            {
                text.extend_from_slice(words.as_bytes());
                text.extend_from_slice(&shown(target));
            }
            text.push(b'\n');
        }
        self.last = parts.iter().map(|part| part.to_vec()).collect();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(args: &[&str]) -> Result<Args, clap::Error> {
        crate::cli::parse_args(args)
    }

    #[test]
    fn one_form_at_a_time() {
        assert_eq!(args(&["a"]).unwrap().form(), Form::Names);
        assert_eq!(args(&["-l", "a", "b", "c*"]).unwrap().form(), Form::Long);
        assert_eq!(args(&["-0", "a"]).unwrap().form(), Form::Null);
        assert_eq!(args(&["--json", "a"]).unwrap().form(), Form::Json);
        assert!(args(&["-l", "--json", "a"]).is_err());
        assert!(args(&[]).is_err());
    }

    #[test]
    fn trees_are_indented_and_complete() {
        let mut tree = Tree::default();
        let mut draw = |path: &str, kind| {
            let lines = tree.lines(&Entry::new(path.into(), kind), <[u8]>::to_vec);
            String::from_utf8(lines).unwrap()
        };
        assert_eq!(draw(".", Kind::Directory), ".\n");
        assert_eq!(draw("a", Kind::Directory), "a/\n");
        assert_eq!(draw("a/b", Kind::File { size: 0 }), "  b\n");
        assert_eq!(draw("a/c/d", Kind::File { size: 0 }), "  c/\n    d\n");
        assert_eq!(draw("a/e", Kind::Symlink { target: b"b".to_vec() }), "  e -> b\n");
        assert_eq!(draw("./a/e/", Kind::Directory), "  e/\n");
    }

    #[test]
    fn digests_that_are_known_are_not_computed() {
        let mut entry = Entry::new("a".into(), Kind::File { size: 0 });
        let nothing = known_digest(&entry).unwrap();
        assert_eq!(nothing[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        entry.kind = Kind::File { size: 5 };
        assert_eq!(known_digest(&entry), None);
        entry.digest = Some(Digest::Stored([1; 32]));
        assert_eq!(known_digest(&entry), None);
        entry.digest = Some(Digest::Content([1; 32]));
        assert_eq!(known_digest(&entry), Some([1; 32]));
        entry.lost = Some("unreadable".into());
        assert_eq!(known_digest(&entry), None);
    }
}
