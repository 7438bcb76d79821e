//! `isptar ls`: the names of an archive, and what the listing knows of them.

mod pages;
mod style;
mod tree;

use std::collections::HashSet;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use isptar_core::{Damage, Digest, Entry, EntryRef, Error, KindRef, Warning};
use sha2::{Digest as _, Sha256};

use self::style::{Form, Style};
use self::tree::Tree;
use super::open::OpenArgs;
use super::part::PartArgs;
use super::select::{self, Place, Visitor, Wanted};
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::input::{self, Input};
use crate::json;
use crate::output::{plain_name, sha256_line};
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
    part: PartArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar ls home.tar.gz
  isptar ls -l home.tar.gz home/ann --depth 1
  isptar ls home.tar.gz '*.conf'
  isptar ls --sha256 home.tar.gz | (cd / && sha256sum -c --quiet)
  curl -s https://host/any.tar.gz | isptar ls -";

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
    let _signals = args.open.watch()?;
    let out = ui.out()?;
    let mut printer = Printer {
        style: Style { form: args.form(), look: out.look(), bases: Arc::default() },
        out,
        line: Vec::new(),
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
    let mut input = input::open(&args.archive, &args.open, printer.ui)?;
    args.part.select(&mut input)?;
    if let Input::Listed(archive) = &input {
        printer.style.bases = archive.tables().bases.iter().map(|base| base.name.clone()).collect();
    }
    printer.names = input.may_repeat().then(HashSet::new);
    match &input {
        Input::Listed(archive) if archive.info().sorted && printer.style.form.is_plain() => {
            pages::print(archive, wanted, args.depth, printer)?;
        }
        _ => wanted.visit(&mut input, &mut Lister { depth: args.depth, printer })?,
    }
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
        entry: &EntryRef<'_>,
        place: Place<'_, '_>,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        match wanted.is_above(&entry.path, self.depth) {
            true => self.printer.entry(entry, place),
            false => Ok(()),
        }
    }

    fn damaged(&mut self, damage: &Damage, error: &Error) {
        self.printer.damaged(damage, error);
    }
}

struct Printer<'a> {
    style: Style,
    out: Out,
    /// Takes a line before it is written.
    line: Vec<u8>,
    ui: &'a Ui,
    tree: Tree,
    /// Hashes of the names met so far, of an archive in which none should stand twice.
    names: Option<HashSet<u64>>,
    count: u64,
    exit: Exit,
}

impl Printer<'_> {
    fn entry(&mut self, entry: &EntryRef<'_>, place: Place<'_, '_>) -> Result<(), Failure> {
        self.count += 1;
        self.note_name(entry);
        match self.style.form {
            Form::Tree => {
                let text = self.tree.lines(entry, self.style.look);
                self.out.put(&text)
            }
            Form::Sha256 => self.sha256(entry, place),
            _ => {
                self.line.clear();
                self.style.push(entry, &mut self.line);
                self.out.put(&self.line)
            }
        }
    }

    /// Tells of a name that stands twice: only its last member counts.
    fn note_name(&mut self, entry: &EntryRef<'_>) {
        let Some(names) = &mut self.names else { return };
        let mut hasher = DefaultHasher::new();
        plain_name(&entry.path).as_bytes().hash(&mut hasher);
        if !names.insert(hasher.finish()) && self.style.form != Form::Json {
            self.ui.warning(&format!("{}: {}", entry.path, Warning::Duplicate));
        }
    }

    fn sha256(&mut self, entry: &EntryRef<'_>, place: Place<'_, '_>) -> Result<(), Failure> {
        let read_once = matches!(place, Place::Met(_));
        match digest(entry, place) {
            Ok(Some(digest)) => {
                let line = sha256_line(&digest, entry.path.as_bytes());
                self.line.clear();
                self.style.look.push(&line, &mut self.line);
                self.line.push(b'\n');
                self.out.put(&self.line)
            }
            Ok(None) => {
                // The content went by earlier; by the listing it would have been found.
                if let KindRef::HardLink { target } = &entry.kind
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
        if self.style.form == Form::Json {
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
            _ if self.style.form == Form::Json => self.failed(error),
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
        if self.style.form == Form::Json {
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
fn digest(entry: &EntryRef<'_>, place: Place<'_, '_>) -> Result<Option<[u8; 32]>, Error> {
    match place {
        Place::Listed(archive) => {
            if !matches!(entry.kind, KindRef::File { .. } | KindRef::HardLink { .. }) {
                return Ok(None);
            }
            if let Some(known) = known_digest(entry) {
                return Ok(Some(known));
            }
            let entry: Entry = match archive.content_entry(&entry.clone().into_owned()) {
                // Another name of a FIFO or a device.
                Err(Error::NotAFile { .. }) => return Ok(None),
                entry => entry?,
            };
            if let Some(known) = known_digest(&entry.borrowed()) {
                return Ok(Some(known));
            }
            let member = select::open(archive, &entry)?;
            select::digest(&entry.path, member).map(Some)
        }
        Place::Met(scanned) if matches!(entry.kind, KindRef::File { .. }) => {
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
fn known_digest(entry: &EntryRef<'_>) -> Option<[u8; 32]> {
    match (&entry.kind, &entry.digest, &entry.lost) {
        (KindRef::File { .. }, Some(Digest::Content(digest)), None) => Some(*digest),
        (KindRef::File { size: 0 }, None, None) => Some(Sha256::digest(b"").into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::Kind;

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
    fn digests_that_are_known_are_not_computed() {
        let mut entry = Entry::new("a".into(), Kind::File { size: 0 });
        let nothing = known_digest(&entry.borrowed()).unwrap();
        assert_eq!(nothing[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        entry.kind = Kind::File { size: 5 };
        assert_eq!(known_digest(&entry.borrowed()), None);
        entry.digest = Some(Digest::Stored([1; 32]));
        assert_eq!(known_digest(&entry.borrowed()), None);
        entry.digest = Some(Digest::Content([1; 32]));
        assert_eq!(known_digest(&entry.borrowed()), Some([1; 32]));
        entry.lost = Some("unreadable".into());
        assert_eq!(known_digest(&entry.borrowed()), None);
    }
}
