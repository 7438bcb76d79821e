//! `isptar diff`: what differs between an archive and a tree, or between two archives.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, ValueEnum};
use isptar_core::diff::Ignore;
use isptar_core::path::printable;
use isptar_core::{
    DiffOptions, DiffReport, Error, Event, Listing, Observer, OwnNames, diff_archives, diff_tree,
};

use super::exclude::{ExcludeArgs, read_patterns};
use super::heading;
use super::open::OpenArgs;
use super::part::PartArgs;
use super::select::Wanted;
use crate::difference;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{self, Input, is_stdin};
use crate::json;
use crate::output::count;
use crate::reporter::{Reporter, Stream, Telling};
use crate::signals::Signals;
use crate::ui::Ui;

/// Compare an archive with a directory, or with another archive.
///
/// Each name that differs is one line: + is new, - is gone, C has other content, M other metadata;
/// what differs follows after a tab, as old -> new. Files of the same size and time are taken for
/// the same, and those of another time for changed, unless --checksum has them read. Two archives are
/// compared by their listings, files by their digests. Nothing is ever changed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to compare; - is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// The newer archive, or the directory as with -C [default: the current directory]
    #[arg(value_name = "OTHER")]
    other: Option<PathBuf>,
    /// Directory to compare with: where extract -C DIR would restore
    #[arg(short = 'C', long, value_name = "DIR", conflicts_with = "other")]
    directory: Option<PathBuf>,
    /// Compare only this, and what is below it; may be given several times
    #[arg(long, value_name = "PATH|GLOB")]
    only: Vec<OsString>,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Stay on the file systems of what the archive has at its top
    #[arg(short = 'x', long, help_heading = heading::LEFT_OUT)]
    one_file_system: bool,
    /// Read files of the same size and compare their contents
    #[arg(long)]
    checksum: bool,
    /// Do not compare these
    #[arg(long, value_enum, value_name = "FIELD,...", value_delimiter = ',')]
    ignore: Vec<FieldArg>,
    /// Compare owners by their numbers, not by their names
    #[arg(long)]
    numeric_owner: bool,
    /// Print one JSON object a line: differences, warnings, errors, the summary last
    #[arg(long)]
    json: bool,
    /// Tell what was left out of the comparison, and why
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar diff home.tar.gz -C /
  isptar diff home.tar.gz -C /restored --checksum
  isptar diff etc.tar.gz -C / --only etc/ssh --only '*.conf' --ignore mtime,nanos
  isptar diff monday.tar.gz tuesday.tar.gz | grep '^+'
  isptar diff any.tar.xz unpacked/";

/// Metadata that can be left uncompared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FieldArg {
    /// Permissions
    Mode,
    /// Owners
    Owner,
    /// Groups
    Group,
    /// Times of change; without --checksum size alone tells then
    Mtime,
    /// Fractions of seconds, which plain tar does not restore
    Nanos,
    /// Extended attributes, ACLs and labels
    Xattr,
    /// Which names are names of one file
    Links,
}

fn ignore(fields: &[FieldArg]) -> Ignore {
    let has = |field| fields.contains(&field);
    Ignore {
        mode: has(FieldArg::Mode),
        owner: has(FieldArg::Owner),
        group: has(FieldArg::Group),
        mtime: has(FieldArg::Mtime),
        nanos: has(FieldArg::Nanos),
        xattr: has(FieldArg::Xattr),
        links: has(FieldArg::Links),
    }
}

/// What the archive is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other<'a> {
    Directory(&'a Path),
    Archive(&'a Path),
}

impl Args {
    /// Learns the order of the patterns.
    pub(crate) fn order_patterns(&mut self, matches: &ArgMatches) {
        self.exclude.order(matches);
    }

    fn to_options(&self, wanted: &Wanted) -> Result<DiffOptions, Failure> {
        let mut options = DiffOptions::default();
        options.only = wanted.selection().clone();
        options.exclude = self.exclude.patterns(read_patterns)?;
        options.one_file_system = self.one_file_system;
        options.checksum = self.checksum;
        options.ignore = ignore(&self.ignore);
        options.numeric_owner = self.numeric_owner;
        if let Other::Directory(directory) = self.other()? {
            options.directory = directory.into();
            let archive = std::fs::metadata(&self.archive).ok().filter(std::fs::Metadata::is_file);
            match archive {
                Some(file) => options.own_files.push((file.dev(), file.ino())),
                None => options.own_names.extend(OwnNames::of(&self.archive)),
            }
        }
        Ok(options)
    }

    /// Decides what to compare with: an archive is never a directory.
    fn other(&self) -> Result<Other<'_>, Failure> {
        let directory = match (&self.other, &self.directory) {
            (Some(other), _) if !other.is_dir() => {
                self.check_archives(other)?;
                return Ok(Other::Archive(other));
            }
            (Some(other), _) => other.as_path(),
            (None, Some(directory)) => directory,
            (None, None) => Path::new("."),
        };
        let failed = |source| Failure::Tree { name: input::shown(directory), source };
        if !std::fs::metadata(directory).map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        Ok(Other::Directory(directory))
    }

    fn check_archives(&self, other: &Path) -> Result<(), Failure> {
        let reason = if self.checksum {
            "--checksum reads files of a directory; archives are compared by the digests they have"
        } else if self.one_file_system {
            "--one-file-system is for comparing with a directory"
        } else if is_stdin(&self.archive) && is_stdin(other) {
            "standard input cannot be both archives"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(reason))
    }
}

/// Runs `isptar diff`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let wanted = Wanted::new(&args.only)?;
    let options = args.to_options(&wanted)?;
    let signals = Signals::start()?;
    // No bar: differences are printed while it would move.
    let telling = Telling { names: true, left_out: true, json: args.json, results: false };
    let reporter = Reporter::new(ui, &signals, telling, Stream::Out(ui.out()?));
    let mut teller = Teller { reporter, json: args.json, verbose: args.verbose };
    let done = job(args, &options, &mut teller, ui);
    let mut reporter = teller.reporter;
    // Who closes the pipe of a report has seen enough of it.
    if reporter.reader_left() {
        return Ok(Exit::Good);
    }
    match done {
        Ok((report, ended)) => {
            let exit = exit(&report).max(ended);
            Ok(reporter.finish(&summary(&report), summary_json(&report), exit))
        }
        Err(Failure::Core(Error::Cancelled)) if reporter.is_broken() => {
            // Told, and made the status, when the stream is closed.
            Ok(reporter.finish("stopped", json::object("summary"), Exit::Destination))
        }
        Err(failure) => Ok(reporter.fail(&failure)),
    }
}

fn job(
    args: &Args,
    options: &DiffOptions,
    teller: &mut Teller<'_>,
    ui: &Ui,
) -> Result<(DiffReport, Exit), Failure> {
    let other = args.other()?;
    let mut old = input::open(&args.archive, &args.open, ui)?;
    args.part.select(&mut old)?;
    match other {
        Other::Directory(_) => {
            let named = |failure: Failure| failure.named(&args.archive);
            let listing = listing(&mut old, options.checksum, teller).map_err(named)?;
            let report =
                diff_tree(listing, options, teller).map_err(Failure::from).map_err(named)?;
            Ok((report, old.check_end(&args.archive, ui)))
        }
        Other::Archive(other) => {
            let mut new = input::open(other, &args.open, ui)?;
            let named = |path| move |failure: Failure| failure.named(path);
            let old_listing = listing(&mut old, true, teller).map_err(named(&args.archive))?;
            let new_listing = listing(&mut new, true, teller).map_err(named(other))?;
            let report = diff_archives(old_listing, new_listing, options, teller)?;
            let ended = old.check_end(&args.archive, ui).max(new.check_end(other, ui));
            Ok((report, ended))
        }
    }
}

/// Takes the listing of an input, or reads the input to its end.
fn listing<'a>(
    input: &'a mut Input,
    digest: bool,
    teller: &mut Teller<'_>,
) -> Result<Listing<'a>, Failure> {
    Ok(match input {
        Input::Listed(archive) => Listing::of(archive, teller)?,
        Input::Foreign(tar, _) => Listing::read(tar, digest, teller)?,
    })
}

/// Tells differences, and leaves all else to the reporter.
struct Teller<'a> {
    reporter: Reporter<'a>,
    json: bool,
    verbose: bool,
}

impl Observer for Teller<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Differs { difference } if self.json => {
                self.reporter.write(&json::line(difference::object(difference)));
            }
            Event::Differs { difference } => {
                let name = self.reporter.name(&difference.path);
                self.reporter.write(&difference::line(difference, &name));
            }
            Event::LeftOut { path, reason } if !self.json => {
                if self.verbose {
                    let text = format!("not compared: {}: {reason}\n", printable(path.as_bytes()));
                    self.reporter.note(text.trim_end());
                }
            }
            event => self.reporter.event(event),
        }
    }

    fn cancelled(&self) -> bool {
        self.reporter.cancelled() || self.reporter.is_broken()
    }
}

fn exit(report: &DiffReport) -> Exit {
    let warnings = report.differences().saturating_add(report.changing);
    Exit::Warnings.when(warnings).max(Exit::Incomplete.when(u64::from(report.is_incomplete())))
}

fn summary(report: &DiffReport) -> String {
    let mut text = format!(
        "{}: {} added, {} removed, {} with other content, {} with other metadata; compared {}",
        count(report.differences(), "difference"),
        report.added,
        report.removed,
        report.content,
        report.metadata,
        count(report.compared, "name"),
    );
    for (number, what) in [
        (report.left_out, "left out"),
        (report.lost, "lost when archived"),
        (report.failed, "failed"),
        (report.unseen, "not reached"),
        (report.unrecorded, "of which the archive does not record all that is compared"),
        (report.changing, "changed while read"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    text
}

fn summary_json(report: &DiffReport) -> json::Object {
    let mut object = json::object("summary");
    object.insert("command".into(), "diff".into());
    for (key, value) in [
        ("differences", report.differences()),
        ("added", report.added),
        ("removed", report.removed),
        ("content", report.content),
        ("metadata", report.metadata),
        ("compared", report.compared),
        ("left_out", report.left_out),
        ("lost", report.lost),
        ("failed", report.failed),
        ("unseen", report.unseen),
        ("unrecorded", report.unrecorded),
        ("changing", report.changing),
    ] {
        object.insert(key.into(), value.into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(args: &[&str]) -> Result<Args, clap::Error> {
        crate::cli::parse_args(args)
    }

    fn usage(list: &[&str]) -> bool {
        let args = args(list).unwrap();
        matches!(args.to_options(&Wanted::new(&[]).unwrap()), Err(Failure::Usage(_)))
    }

    #[test]
    fn what_follows_the_archive_is_a_directory_or_an_archive() {
        assert_eq!(args(&["a"]).unwrap().other().unwrap(), Other::Directory(".".as_ref()));
        let root = args(&["a", "/"]).unwrap();
        assert_eq!(root.other().unwrap(), Other::Directory("/".as_ref()));
        assert_eq!(args(&["a", "b"]).unwrap().other().unwrap(), Other::Archive("b".as_ref()));
        assert!(args(&["a", "/", "-C", "/"]).is_err());
        assert!(args(&["a", "b", "c"]).is_err());
        assert!(usage(&["a", "b", "--checksum"]) && usage(&["a", "b", "-x"]));
        assert!(usage(&["-", "-"]));
        let none = args(&["a", "-C", "/nonexistent"]).unwrap();
        assert!(none.other().is_err_and(|failure| failure.exit() == Exit::Incomplete));
    }

    #[test]
    fn fields_to_ignore_are_a_list() {
        let list = args(&["a", "--ignore", "mtime,owner", "--ignore", "xattr"]).unwrap().ignore;
        let ignore = ignore(&list);
        assert!(ignore.mtime && ignore.owner && ignore.xattr);
        assert!(!ignore.mode && !ignore.group && !ignore.nanos && !ignore.links);
        assert!(args(&["a", "--ignore", "size"]).is_err());
    }

    #[test]
    fn the_status_tells_differences_from_what_was_not_compared() {
        let mut report = DiffReport::default();
        report.left_out = 3;
        assert_eq!(exit(&report), Exit::Good);
        report.metadata = 1;
        assert_eq!(exit(&report), Exit::Warnings);
        report.unseen = 1;
        assert_eq!(exit(&report), Exit::Incomplete);
        assert_eq!(
            summary(&report),
            "1 difference: 0 added, 0 removed, 0 with other content, 1 with other metadata; \
             compared 0 names, 3 left out, 1 not reached"
        );
        assert_eq!(summary_json(&report)["differences"], 1);
    }
}
