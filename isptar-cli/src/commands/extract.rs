//! `isptar extract`: from an archive to a tree of files.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use clap::ValueEnum;
use isptar_core::{Error, ExtractOptions, ExtractReport, Overwrite};

use super::open::OpenArgs;
use super::part::PartArgs;
use super::select::Wanted;
use super::user::UserArgs;
use crate::bases;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{self, Input};
use crate::json;
use crate::output::{count, size};
use crate::reporter::{Reporter, Stream, Telling};
use crate::signals::Signals;
use crate::ui::Ui;

/// Restore members of an archive.
///
/// Nothing is ever written outside DIR, whatever the archive says. Files get their names when
/// their digests were found right.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to read; - is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Members to restore: names, which bring what is below them, and globs [default: all]
    #[arg(value_name = "PATH|GLOB")]
    paths: Vec<OsString>,
    /// Directory to restore into
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Drop the first N components of every name
    #[arg(long, value_name = "N", default_value_t = 0)]
    strip_components: usize,
    /// Which files that are there already are replaced
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = OverwriteArg::Always)]
    overwrite: OverwriteArg,
    /// Take owners by their numbers, not by their names
    #[arg(long)]
    numeric_owner: bool,
    /// Leave everything to the user who runs isptar
    #[arg(long, conflicts_with = "numeric_owner")]
    no_same_owner: bool,
    /// Restore no extended attributes, ACLs and SELinux labels
    #[arg(long)]
    no_xattrs: bool,
    /// Use N threads; what is restored is the same for any number [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Restore what is not in a base that is missing; otherwise nothing is restored then
    #[arg(long)]
    without_bases: bool,
    /// Delete what the target has in directories of the archive and the archive does not list: only
    /// when nothing failed, nothing that could not be read or was left out when the archive was
    /// made, and nothing on other file systems
    #[arg(long, conflicts_with = "strip_components")]
    delete: bool,
    /// Write nothing; print what would be restored
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print one JSON object a line: members, warnings, errors, the summary last
    #[arg(long)]
    json: bool,
    /// Print the name of every member
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar extract home.tar.gz -C /restore
  isptar extract home.tar.gz home/ann/notes.txt home/ann/photos
  isptar extract home.tar.gz '*.conf' --overwrite never
  isptar extract src.tar.gz --strip-components 1 -C src
  ssh host cat home.tar.gz | isptar extract - -C /restore";

/// Which files that the target already has are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OverwriteArg {
    /// None of them
    Never,
    /// All of them
    Always,
    /// Those that are older than the member
    Newer,
    /// Those whose size or time is not the member's
    Different,
}

impl From<OverwriteArg> for Overwrite {
    fn from(overwrite: OverwriteArg) -> Self {
        match overwrite {
            OverwriteArg::Never => Self::Never,
            OverwriteArg::Always => Self::Always,
            OverwriteArg::Newer => Self::Newer,
            OverwriteArg::Different => Self::Different,
        }
    }
}

impl Args {
    fn to_options(&self) -> ExtractOptions {
        let mut options = ExtractOptions::default();
        options.overwrite = self.overwrite.into();
        options.strip_components = self.strip_components;
        options.owner &= !self.no_same_owner;
        options.numeric_owner = self.numeric_owner;
        options.xattrs = !self.no_xattrs;
        options.without_bases = self.without_bases;
        options.delete = self.delete;
        options.dry_run = self.dry_run;
        options.threads = self.threads;
        options
    }

    fn telling(&self) -> Telling {
        let names = self.verbose || self.dry_run;
        Telling { names, left_out: names, json: self.json, results: false }
    }
}

/// Runs `isptar extract`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.user.act()?;
    let wanted = Wanted::new(&args.paths)?;
    let signals = Signals::start()?;
    let stream = Stream::Out(ui.out()?);
    let mut reporter = Reporter::new(ui, &signals, args.telling(), stream);
    reporter.pretend(args.dry_run);
    match job(args, &wanted, &mut reporter, ui) {
        Ok((report, ended)) => {
            let text = summary(&report, args.dry_run);
            let summary = summary_json(&report, args.dry_run);
            Ok(reporter.finish(&text, summary, exit(&report).max(ended)))
        }
        Err(failure) => Ok(reporter.fail(&failure.named(&args.archive))),
    }
}

fn job(
    args: &Args,
    wanted: &Wanted,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<(ExtractReport, Exit), Failure> {
    let (mut options, selection) = (args.to_options(), wanted.selection());
    let target = &args.directory;
    let mut input = input::open(&args.archive, &args.open, ui)?;
    args.part.select(&mut input)?;
    match input {
        Input::Listed(archive) => {
            if args.delete {
                options.own_files = bases::files(&archive);
            }
            let report = isptar_core::extract(&archive, selection, target, &options, reporter)?;
            Ok((report, Exit::Good))
        }
        Input::Foreign(..) if args.delete => {
            Err(Error::NoDelete("it has no listing, or comes through a pipe").into())
        }
        Input::Foreign(mut tar, _) => {
            let tar = &mut *tar;
            let report =
                isptar_core::extract_sequential(tar, selection, target, &options, reporter)?;
            Ok((report, input::check_end(tar, &args.archive, ui)))
        }
    }
}

fn exit(report: &ExtractReport) -> Exit {
    Exit::Incomplete
        .when(report.failed.saturating_add(report.lost))
        .max(Exit::Warnings.when(report.warnings))
}

fn summary(report: &ExtractReport, dry_run: bool) -> String {
    let verb = if dry_run { "would restore" } else { "restored" };
    let members = count(report.members, "member");
    let mut text = format!("{verb} {members}, {}, {} failed", size(report.bytes), report.failed);
    for (number, what) in
        [(report.deleted, "deleted"), (report.kept, "kept"), (report.lost, "lost when archived")]
    {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    if report.spared {
        text.push_str(", what is not listed was not deleted");
    }
    if report.warnings > 0 {
        text.push_str(&format!(", {}", count(report.warnings, "warning")));
    }
    text
}

fn summary_json(report: &ExtractReport, dry_run: bool) -> json::Object {
    let mut object = json::object("summary");
    object.insert("command".into(), "extract".into());
    for (key, value) in [
        ("members", report.members),
        ("files", report.files),
        ("bytes", report.bytes),
        ("deleted", report.deleted),
        ("failed", report.failed),
        ("kept", report.kept),
        ("lost", report.lost),
        ("warnings", report.warnings),
    ] {
        object.insert(key.into(), value.into());
    }
    if dry_run {
        object.insert("dry_run".into(), true.into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> ExtractOptions {
        crate::cli::parse_args::<Args>(args).unwrap().to_options()
    }

    #[test]
    fn arguments_become_options() {
        let plain = options(&["a"]);
        assert_eq!(plain.overwrite, Overwrite::Always);
        assert!(plain.xattrs && !plain.dry_run && !plain.numeric_owner);
        let all = options(&[
            "a",
            "b*",
            "-C",
            "d",
            "--strip-components",
            "2",
            "--overwrite",
            "newer",
            "-n",
            "--no-same-owner",
            "--no-xattrs",
            "--threads",
            "3",
        ]);
        assert_eq!((plain.threads, all.threads), (None, NonZero::new(3)));
        assert!(crate::cli::parse_args::<Args>(&["a", "--threads", "0"]).is_err());
        assert_eq!((all.overwrite, all.strip_components), (Overwrite::Newer, 2));
        assert!(!all.owner && !all.xattrs && all.dry_run);
    }

    #[test]
    fn lost_and_failed_members_make_it_incomplete() {
        let mut report = ExtractReport::default();
        report.kept = 3;
        assert_eq!(exit(&report), Exit::Good);
        report.warnings = 1;
        assert_eq!(exit(&report), Exit::Warnings);
        report.lost = 1;
        assert_eq!(exit(&report), Exit::Incomplete);
        report.members = 1;
        assert_eq!(
            summary(&report, false),
            "restored 1 member, 0 bytes, 0 failed, 3 kept, 1 lost when archived, 1 warning"
        );
        assert_eq!(summary_json(&report, true)["dry_run"], true);
    }
}
