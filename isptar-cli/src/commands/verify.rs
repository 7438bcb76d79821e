//! `isptar verify`: is an archive whole, down to the last byte?

use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use isptar_core::verify::{Wreck, name_whole_members};
use isptar_core::{Error, VerifyOptions, VerifyReport};

use super::open::OpenArgs;
use super::select::Wanted;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::input::{self, Foreign, shown};
use crate::json;
use crate::output::{count, size};
use crate::reporter::{Reporter, Stream, Telling};
use crate::signals::Signals;
use crate::ui::Ui;

/// Check that an archive is whole.
///
/// Looks at everything: trailer, listing, the CRC of every stream, headers against the listing, the
/// SHA-256 of every file, and that nothing is in the archive that the listing does not name. What
/// is damaged is named with its bytes, and the rest goes on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to check; - is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Read only these members: names, which bring what is below them, and globs [default: all]
    #[arg(value_name = "PATH|GLOB")]
    paths: Vec<OsString>,
    /// Stop after the listing; read no member
    #[arg(long)]
    quick: bool,
    /// Use N threads; the result is the same for any number [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Print one JSON object a line: members and their results, damage, the summary last
    #[arg(long)]
    json: bool,
    /// Print the name of every whole member
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar verify home.tar.gz
  isptar verify --quick home.tar.gz
  isptar verify -v home.tar.gz home/ann '*.conf'
  ssh host cat home.tar.gz | isptar verify -

Exit status:
  0  everything that was looked at is whole
  3  members are damaged or missing, or there is what no entry speaks of
  4  not an archive, or its listing or what is around it is damaged
  5  slices, or a base that members are in, are missing or wrong";

/// What was verified, and what is to be said of it beside the report.
struct Verified {
    report: VerifyReport,
    /// At least this status.
    exit: Exit,
    /// Members are whole only as far as their own headers and CRCs say.
    unlisted: bool,
}

/// Runs `isptar verify`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let wanted = Wanted::new(&args.paths)?;
    let signals = Signals::start()?;
    let telling = Telling { names: args.verbose, left_out: true, json: args.json, results: true };
    let mut reporter = Reporter::new(ui, &signals, telling, Stream::Out(ui.out()?));
    match job(args, &wanted, &mut reporter, ui) {
        Ok(verified) => {
            let Verified { report, exit, unlisted } = &verified;
            let quick = args.quick || report.quick;
            let text = summary(report, quick, *unlisted);
            let summary = summary_json(report, quick, *unlisted);
            Ok(reporter.finish(&text, summary, exit_of(report).max(*exit)))
        }
        Err(failure) => Ok(reporter.fail(&failure.named(&args.archive))),
    }
}

fn job(
    args: &Args,
    wanted: &Wanted,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<Verified, Failure> {
    let path = &args.archive;
    let mut options = VerifyOptions::default();
    options.quick = args.quick;
    options.threads = args.threads;
    if let Some(file) = input::open_slices(path, &args.open)? {
        match input::list(file, path, &args.open) {
            Ok(archive) => {
                let selection = wanted.selection();
                let report = isptar_core::verify(&archive, selection, &options, reporter)?;
                return Ok(Verified { report, exit: Exit::Good, unlisted: false });
            }
            Err(error) => {
                if let Some(verified) = wreck(args, error, wanted, &options, reporter, ui)? {
                    return Ok(verified);
                }
            }
        }
    }
    let (mut tar, _) = input::open_foreign(path, &args.open)?;
    let why = input::unlisted(path, &args.open);
    ui.note(&format!("{} {why}: there is nothing to check its members against", shown(path)));
    sequential(path, &mut tar, wanted, reporter, ui)
}

/// Checks a tar without a listing, or one that is read from a pipe.
fn sequential(
    path: &Path,
    tar: &mut Foreign,
    wanted: &Wanted,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<Verified, Failure> {
    let report = isptar_core::verify_sequential(tar, wanted.selection(), reporter)?;
    let ended = input::check_end(tar, path, ui);
    // Nothing is whole in an archive of nothing.
    let is_empty = tar.members() == 0 && !tar.is_ours();
    let exit = ended.max(Exit::NotAnArchive.when(u64::from(is_empty)));
    Ok(Verified { report, exit, unlisted: true })
}

/// Says what is wrong with an archive that cannot be opened, and what in it is whole; `None` when
/// it is none of ours.
fn wreck(
    args: &Args,
    error: Error,
    wanted: &Wanted,
    options: &VerifyOptions,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<Option<Verified>, Failure> {
    let (path, limits) = (&args.archive, args.open.limits());
    input::check_last_slice(path, &args.open, &error)?;
    let Some(file) = input::open_slices(path, &args.open)? else { return Err(error.into()) };
    let wreck = Wreck::examine(&file, limits)?;
    if !wreck.begins_as_ours && wreck.behind.is_none() {
        return match error {
            Error::NotIsptar(_) => Ok(None),
            error => Err(error.into()),
        };
    }
    if error.raise().is_some() {
        return Err(error.into());
    }
    let diagnosis = match error {
        Error::Unsupported { .. } => return Err(error.into()),
        // What cannot be read is not known to be wrong.
        Error::Input { .. } => None,
        _ => wreck.diagnosis(),
    };
    let why = diagnosis.unwrap_or_else(|| failure::chain(&error));
    reporter.trouble(&format!("{}: {why}", shown(path)), Some(HINT));
    let exit = Exit::NotAnArchive;
    if let Some(behind) = wreck.behind {
        let archive = behind.open(&file, limits)?;
        let report = isptar_core::verify(&archive, wanted.selection(), options, reporter)?;
        return Ok(Some(Verified { report, exit, unlisted: false }));
    }
    ui.note(&format!("{}: looking for members that are whole", shown(path)));
    let report = name_whole_members(&file, wanted.selection(), limits, reporter)?;
    Ok(Some(Verified { report, exit, unlisted: true }))
}

const HINT: &str = "isptar repair makes a valid archive of what is whole";

fn exit_of(report: &VerifyReport) -> Exit {
    let VerifyReport { damaged, strays, unnamed, missing, .. } = *report;
    let bases = Exit::Base.when(report.missing_bases);
    let members = damaged.saturating_add(strays).saturating_add(unnamed).saturating_add(missing);
    if report.slices > 0 {
        // Whatever else is wrong comes of that.
        return Exit::Base;
    }
    Exit::NotAnArchive.when(report.beyond).max(bases).max(Exit::Incomplete.when(members))
}

fn summary(report: &VerifyReport, quick: bool, unlisted: bool) -> String {
    let VerifyReport { whole, members, damaged, .. } = report;
    let mut text = match quick && !unlisted {
        true => format!("{whole} of {members} entries good, members not read"),
        false => format!("{whole} of {} whole, {damaged} damaged", count(*members, "member")),
    };
    let plural = |number, one, several| (number, if number == 1 { one } else { several });
    for (number, what) in [
        (report.strays, "not in the listing"),
        (report.unnamed, "damaged where no name is known"),
        (report.beyond, "damaged beyond the members"),
        plural(report.slices, "slice missing or wrong", "slices missing or wrong"),
        (report.missing, "not found"),
        (report.lost, "lost when archived"),
        plural(report.missing_bases, "base missing or wrong", "bases missing or wrong"),
        (report.in_bases, "of them in bases"),
        (report.in_bases_unread, "in bases, not checked"),
        (report.duplicates, "standing again later"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    if report.by_headers > 0 {
        let number = report.by_headers;
        text.push_str(&format!(", {number} by their own headers: their entries are lost"));
    }
    if !quick || unlisted {
        text.push_str(&format!(", {} of content read", size(report.bytes)));
    }
    text
}

fn summary_json(report: &VerifyReport, quick: bool, unlisted: bool) -> json::Object {
    let mut object = json::object("summary");
    object.insert("command".into(), "verify".into());
    let good = report.is_good() && !(unlisted && report.members == 0);
    object.insert("good".into(), good.into());
    for (key, value) in [
        ("members", report.members),
        ("whole", report.whole),
        ("by_headers", report.by_headers),
        ("damaged", report.damaged),
        ("strays", report.strays),
        ("unnamed", report.unnamed),
        ("beyond", report.beyond),
        ("slices", report.slices),
        ("missing", report.missing),
        ("lost", report.lost),
        ("in_bases", report.in_bases),
        ("in_bases_unread", report.in_bases_unread),
        ("missing_bases", report.missing_bases),
        ("duplicates", report.duplicates),
        ("bytes", report.bytes),
    ] {
        object.insert(key.into(), value.into());
    }
    for (key, set) in [("quick", quick), ("unlisted", unlisted)] {
        if set {
            object.insert(key.into(), true.into());
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_of_the_listing_is_worse_than_that_of_members() {
        let mut report = VerifyReport::default();
        report.members = 3;
        report.whole = 3;
        assert_eq!(exit_of(&report), Exit::Good);
        assert_eq!(
            summary(&report, false, false),
            "3 of 3 members whole, 0 damaged, 0 bytes of content read"
        );
        assert_eq!(summary(&report, true, false), "3 of 3 entries good, members not read");
        report.lost = 1;
        assert_eq!(exit_of(&report), Exit::Good);
        report.strays = 1;
        assert_eq!(exit_of(&report), Exit::Incomplete);
        report.beyond = 1;
        assert_eq!(exit_of(&report), Exit::NotAnArchive);
        let text = summary(&report, false, false);
        assert!(text.contains(", 1 not in the listing, 1 damaged beyond the members, 1 lost"));
        assert_eq!(summary_json(&report, true, false)["quick"], true);
        report.slices = 1;
        report.missing_bases = 2;
        let text = summary(&report, false, false);
        assert!(text.contains(", 1 slice missing or wrong, 1 lost"), "{text}");
        assert!(text.contains(", 2 bases missing or wrong"), "{text}");
    }
}
