//! `isptar cat`: contents of files to standard output.

use std::ffi::OsString;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use isptar_core::{Content, Damage, Entry, Error, Kind, MemberPath};

use super::ls::is_fatal;
use super::open::OpenArgs;
use super::part::PartArgs;
use super::select;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{self, Foreign, Input, Listed, is_stdin};
use crate::output::plain_name;
use crate::ui::{Out, Ui};

/// Print the contents of files.
///
/// Contents go to standard output in the order of PATHs. Every byte printed has passed the
/// archive's CRC; where a whole file is printed its SHA-256 is checked too, and a mismatch is told
/// at its end (status 3).
///
/// Of a tar without a listing, contents come in the order of the tar.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to read; - is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Files to print; a hard link stands for the file that it leads to
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
    /// Print only these bytes of each file, both ends included, counted from 0 as HTTP does:
    /// 0-99 are the first 100 bytes, 100- all from the 101st, -100 the last 100
    #[arg(long, value_name = "START-END", allow_hyphen_values = true, value_parser = parse_range)]
    range: Option<Range>,
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar cat etc.tar.gz etc/fstab
  isptar cat logs.tar.gz var/log/syslog --range=-2000
  isptar cat disk.tar.gz images/disk.img --range 1048576-2097151 | xxd";

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// From one byte to another, or to the end; both included.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl Range {
    /// Returns the first byte and the one after the last, of a file of `size` bytes; `Err` is the
    /// first byte when the file has none there.
    fn resolve(self, size: u64) -> Result<(u64, u64), u64> {
        match self {
            Self::From(start, _) if start >= size && start > 0 => Err(start),
            Self::From(start, last) => {
                Ok((start, last.map_or(size, |last| last.saturating_add(1).min(size))))
            }
            Self::Last(count) => Ok((size.saturating_sub(count), size)),
        }
    }
}

fn parse_range(text: &str) -> Result<Range, String> {
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u64>().map_err(|error| error.to_string()),
        false => Err(format!("{digits:?} is not a number of bytes")),
    };
    let (start, last) =
        text.split_once('-').ok_or("expected START-END, START- or -COUNT, such as 0-99")?;
    match (start, last) {
        ("", last) => number(last).map(Range::Last),
        (start, "") => number(start).map(|start| Range::From(start, None)),
        (start, last) => {
            let (start, last) = (number(start)?, number(last)?);
            if last < start {
                return Err(format!("the end, {last}, is before the start, {start}"));
            }
            Ok(Range::From(start, Some(last)))
        }
    }
}

/// Runs `isptar cat`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let paths: Vec<MemberPath> =
        args.paths.iter().map(|path| plain_name(&path.as_bytes().into()).into_owned()).collect();
    let _signals = args.open.watch()?;
    let mut printer = Printer { out: ui.out()?, range: args.range, ui, exit: Exit::Good };
    let mut input = input::open(&args.archive, &args.open, ui)?;
    args.part.select(&mut input)?;
    let done = match input {
        Input::Listed(archive) => paths.iter().try_for_each(|path| {
            let printed = printer.listed(&archive, path);
            printer.settle(printed)
        }),
        Input::Foreign(tar, _) => printer.foreign(args, *tar, &paths),
    };
    let flushed = printer.out.finish();
    done.map_err(|failure| failure.named(&args.archive))?;
    flushed?;
    Ok(printer.exit)
}

struct Printer<'a> {
    out: Out,
    range: Option<Range>,
    ui: &'a Ui,
    exit: Exit,
}

/// What became of a name in a tar that is read from front to back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Met {
    /// It was not there.
    No,
    /// It was printed, or told why not.
    Done,
    /// It is a hard link to this member.
    Link(MemberPath),
}

impl Printer<'_> {
    /// Tells an error of one of the files; the next one may still be printed.
    fn settle(&mut self, printed: Result<(), Failure>) -> Result<(), Failure> {
        match printed {
            Err(Failure::Core(error)) if !is_fatal(&error) && !is_delivery(&error) => {
                self.exit = self.exit.max(Exit::of_member(&error));
                self.ui.failure(&error.into());
                Ok(())
            }
            Err(failure @ (Failure::Range { .. } | Failure::LinkGone { .. })) => {
                self.exit = self.exit.max(failure.exit());
                self.ui.failure(&failure);
                Ok(())
            }
            other => other,
        }
    }

    fn listed(&mut self, archive: &Listed, path: &MemberPath) -> Result<(), Failure> {
        let entry = find(archive, path)?.ok_or_else(|| Error::NotFound(path.clone()))?;
        let entry = archive.content_entry(&entry)?;
        select::check_file(&entry)?;
        let (start, end) = self.resolve(&entry.path, entry.kind.size())?;
        if self.range.is_some() {
            return Ok(archive.copy_range(&entry, start, end, &mut self.out)?);
        }
        let mut member = archive.member(&entry)?;
        copy(&mut member, start, end, &mut self.out)
    }

    /// Returns the bytes of a file that were asked for.
    fn resolve(&self, path: &MemberPath, size: u64) -> Result<(u64, u64), Failure> {
        let range = self.range.unwrap_or(Range::From(0, None)).resolve(size);
        range.map_err(|start| Failure::Range { path: path.clone(), size, start })
    }

    /// Prints what a tar has of `paths`, and follows hard links in a second pass.
    fn foreign(
        &mut self,
        args: &Args,
        mut tar: Foreign,
        paths: &[MemberPath],
    ) -> Result<(), Failure> {
        let met = self.pass(&mut tar, paths, true)?;
        let archive = args.archive.as_path();
        self.exit = self.exit.max(input::check_end(&tar, archive, self.ui));
        let mut targets = Vec::new();
        for (path, met) in paths.iter().zip(met) {
            let failure = match met {
                Met::Done => continue,
                Met::No => not_there(&tar, path).into(),
                Met::Link(target) if is_stdin(archive) => {
                    Failure::LinkGone { path: path.clone(), target }
                }
                Met::Link(target) => {
                    targets.push(target);
                    continue;
                }
            };
            self.settle(Err(failure))?;
        }
        if targets.is_empty() {
            return Ok(());
        }
        let (mut tar, _) = input::open_foreign(archive, &args.open)?;
        let met = self.pass(&mut tar, &targets, false)?;
        for (target, _) in targets.iter().zip(met).filter(|(_, met)| *met == Met::No) {
            self.settle(Err(Error::NotFound(target.clone()).into()))?;
        }
        Ok(())
    }

    /// Reads the tar once, and prints the files among `paths`.
    fn pass(
        &mut self,
        tar: &mut Foreign,
        paths: &[MemberPath],
        follow: bool,
    ) -> Result<Vec<Met>, Failure> {
        let mut met = vec![Met::No; paths.len()];
        loop {
            let mut scanned = match tar.next() {
                Ok(Some(scanned)) => scanned,
                Ok(None) => return Ok(met),
                Err(error) if error.is_damage() => {
                    let damage = tar.damage().cloned().unwrap_or_default();
                    self.damaged(&damage, &error, paths, &mut met);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let entry = scanned.entry();
            let name = plain_name(&entry.path);
            let wanted = || paths.iter().enumerate().filter(|(_, path)| **path == name);
            let Some((first, _)) = wanted().next() else { continue };
            if met[first] != Met::No {
                // The last one is what tar restores, but the first one is printed by now.
                self.ui.warning(&format!("{name}: stands twice in the archive"));
                self.exit = self.exit.max(Exit::Warnings);
                continue;
            }
            let outcome = match &entry.kind {
                Kind::HardLink { target } if follow => Met::Link(plain_name(target).into_owned()),
                _ => Met::Done,
            };
            wanted().for_each(|(index, _)| met[index] = outcome.clone());
            if outcome == Met::Done {
                let printed = self.scanned(&entry, &mut scanned);
                self.settle(printed)?;
            }
        }
    }

    /// Tells damage of a file that is wanted, or may be.
    fn damaged(&mut self, damage: &Damage, error: &Error, paths: &[MemberPath], met: &mut [Met]) {
        let Some(path) = &damage.path else {
            self.exit = self.exit.max(Exit::Incomplete);
            self.ui.damage(&damage.range, error);
            return;
        };
        let name = plain_name(path);
        let mut wanted = paths.iter().zip(met).filter(|(path, _)| **path == name).peekable();
        if wanted.peek().is_some() {
            self.exit = self.exit.max(Exit::Incomplete);
            self.ui.member_error(path, error);
        }
        wanted.for_each(|(_, met)| *met = Met::Done);
    }

    fn scanned(&mut self, entry: &Entry, content: &mut dyn Content) -> Result<(), Failure> {
        select::check_file(entry)?;
        let (start, end) = self.resolve(&entry.path, content.size())?;
        copy(content, start, end, &mut self.out)
    }
}

/// Returns why a tar that was read to its end has no content of a name.
fn not_there(tar: &Foreign, path: &MemberPath) -> Error {
    let lost = tar.lost().iter().find(|entry| entry.path == *path);
    match lost.and_then(|entry| entry.lost.clone()) {
        Some(reason) => Error::Lost { path: path.clone(), reason },
        None => Error::NotFound(path.clone()),
    }
}

/// Returns the entry of a name; classic archives may have it as `./NAME`.
fn find(archive: &Listed, path: &MemberPath) -> Result<Option<Entry>, Error> {
    let found = archive.find(path)?;
    if found.is_some() || !archive.is_classic() {
        return Ok(found);
    }
    let mut last = None;
    for entry in archive.entries() {
        match entry {
            Ok(entry) if plain_name(&entry.path) == *path => last = Some(entry),
            Ok(_) | Err(Error::CorruptLine { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(last)
}

/// Returns whether contents could not be handed on.
fn is_delivery(error: &Error) -> bool {
    matches!(error, Error::Deliver { .. })
}

/// Writes bytes `start..end` of content, all of which is read and checked.
fn copy(
    content: &mut dyn Content,
    start: u64,
    end: u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut next = start;
    while let Some(piece) = content.next_piece()? {
        let (from, to) =
            (piece.offset.max(next), (piece.offset + piece.bytes.len() as u64).min(end));
        if from >= to {
            continue;
        }
        zeros(from - next, out)?;
        let index = |at: u64| usize::try_from(at - piece.offset).unwrap_or(usize::MAX);
        let bytes = piece.bytes.get(index(from)..index(to)).unwrap_or_default();
        out.write_all(bytes).map_err(Failure::Stdout)?;
        next = to;
    }
    zeros(end.saturating_sub(next), out)
}

/// Writes the zeros of a hole.
fn zeros(mut count: u64, out: &mut dyn Write) -> Result<(), Failure> {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while count > 0 {
        let len = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        out.write_all(&ZEROS[..len]).map_err(Failure::Stdout)?;
        count -= len as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::Piece;

    #[test]
    fn ranges_are_those_of_http() {
        for (text, size, bytes) in [
            ("0-99", 1000, (0, 100)),
            ("0-0", 1000, (0, 1)),
            ("500-", 1000, (500, 1000)),
            ("-100", 1000, (900, 1000)),
            ("-100", 10, (0, 10)),
            ("5-99", 10, (5, 10)),
            ("0-", 0, (0, 0)),
            ("0-18446744073709551615", 7, (0, 7)),
        ] {
            assert_eq!(parse_range(text).unwrap().resolve(size), Ok(bytes), "{text}");
        }
        assert_eq!(parse_range("10-20").unwrap().resolve(10), Err(10));
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for text in ["", "-", "5", "5-4", "a-b", "+1-2", "1-2-3", "0-18446744073709551616"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
        let args: Args = crate::cli::parse_args(&["a", "b", "--range", "-5"]).unwrap();
        assert_eq!(args.range, Some(Range::Last(5)));
    }

    /// Ten bytes: `ab` at 2, `cd` at 6, the rest holes.
    struct Holey(usize);

    impl Content for Holey {
        fn size(&self) -> u64 {
            10
        }

        fn next_piece(&mut self) -> isptar_core::Result<Option<Piece<'_>>> {
            self.0 += 1;
            Ok(match self.0 {
                1 => Some(Piece { offset: 2, bytes: b"ab" }),
                2 => Some(Piece { offset: 6, bytes: b"cd" }),
                _ => None,
            })
        }
    }

    #[test]
    fn holes_are_zeros() {
        let cut = |start, end| {
            let mut bytes = Vec::new();
            copy(&mut Holey(0), start, end, &mut bytes).unwrap();
            bytes
        };
        let whole = b"\0\0ab\0\0cd\0\0";
        for start in 0..10 {
            for end in start..=10 {
                assert_eq!(cut(start as u64, end as u64), whole[start..end], "{start}..{end}");
            }
        }
    }
}
