//! `isptar repair`: a whole archive of what is whole in a damaged one.

use std::path::{Path, PathBuf};

use isptar_core::format::text::digest_text;
use isptar_core::{ListingState, RepairOptions, RepairReport, repair};

use super::open::SourceArgs;
use super::rewrite::check_other;
use super::store;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{open_slices, shown};
use crate::json;
use crate::output::{count, size};
use crate::reporter::{Reporter, Telling};
use crate::signals::Signals;
use crate::ui::Ui;

/// Make a whole archive of all members that are whole in a damaged one.
///
/// DAMAGED is an isptar archive that was cut off, whose listing is damaged or missing, or that has
/// holes. It is only read. What is lost is told: by name where the listing knows it, else as bytes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to read: a file, or slices, of which any may be missing
    #[arg(value_name = "DAMAGED")]
    damaged: PathBuf,
    /// File to write; - is standard output
    #[arg(value_name = "NEW", required_unless_present = "dry_run")]
    new: Option<PathBuf>,
    /// Write nothing; tell what is whole and what is lost
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Directory for temporary files [default: that of NEW]
    #[arg(long, value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Print one JSON object a line: members, errors, the summary last
    #[arg(long)]
    json: bool,
    /// Print the name of every member that is whole
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    open: SourceArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar repair --dry-run cut.tar.gz        what is whole, what is lost
  isptar repair cut.tar.gz saved.tar.gz     keep what is whole

Status 0: everything was whole. 1: everything was, but what only the listing knew of some members
is lost. 3: something is lost. 4: nothing is whole, or it is not an isptar archive.";

impl Args {
    fn to_options(&self) -> RepairOptions {
        let mut options = RepairOptions::default();
        options.limits = self.open.limits();
        options.tool = Some(concat!("isptar ", env!("CARGO_PKG_VERSION")).into());
        options.spool = self.spool_dir.clone().or_else(|| self.new.as_deref().map(store::spool));
        options
    }
}

/// Runs `isptar repair`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let new = args.new.as_deref().filter(|_| !args.dry_run);
    let signals = Signals::start()?;
    let telling = Telling { names: args.verbose, left_out: false, json: args.json, results: false };
    let stream = match new {
        Some(new) => {
            store::check(new)?;
            store::stream(new, ui)?
        }
        None => store::stream(Path::new(""), ui)?,
    };
    let mut reporter = Reporter::new(ui, &signals, telling, stream);
    match job(args, new, &mut reporter, ui) {
        Ok(report) => {
            if let Some(start) = report.other_start {
                let from = start.saturating_add(1);
                reporter.note(&format!(
                    "hint: tail -c +{from} ARCHIVE >REST, then isptar repair REST NEW, gets at the \
                     members of another archive"
                ));
            }
            let summary = summary_json(&report, new.is_none());
            Ok(reporter.finish(&summary_text(&report, new.is_none()), summary, exit(&report)))
        }
        Err(failure) => Ok(reporter.fail(&failure.named(&args.damaged))),
    }
}

fn job(
    args: &Args,
    new: Option<&Path>,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<RepairReport, Failure> {
    let Some(damaged) = open_slices(&args.damaged, &args.open.alone())? else {
        let source = std::io::Error::other("it is no file, and repair reads here and there");
        return Err(Failure::Open { name: shown(&args.damaged), source });
    };
    let options = args.to_options();
    let Some(new) = new else {
        return Ok(isptar_core::repair::scan(&damaged, &options, reporter)?);
    };
    check_other(new, &damaged.paths())?;
    let mut sink = store::sink(new, ui)?;
    Ok(repair(&damaged, &mut *sink, &options, reporter)?)
}

/// Returns the status of what was found.
fn exit(report: &RepairReport) -> Exit {
    Exit::Incomplete
        .when(u64::from(report.is_incomplete()))
        .max(Exit::Warnings.when(report.rebuilt.max(report.unreadable).max(report.surplus)))
}

/// Returns the summary line.
fn summary_text(report: &RepairReport, dry_run: bool) -> String {
    let members = count(report.members, "member");
    let mut text = String::new();
    if report.lost > 0 {
        text.push_str(&format!("lost {}, ", count(report.lost, "member")));
    }
    text.push_str(&if dry_run {
        format!("{members} whole, {}", size(report.bytes))
    } else {
        let archive = size(report.archive_size);
        format!("saved {members}, {} in {archive}", size(report.bytes))
    });
    if report.damaged > 0 {
        let places = count(report.damaged, "place");
        text.push_str(&format!(", {} damaged at {places}", size(report.damaged_bytes)));
    }
    if report.others > 0 {
        let places = count(report.others, "place");
        text.push_str(&format!(", members of other archives at {places} not taken"));
    }
    if report.unreadable > 0 {
        text.push_str(&format!(", {} unreadable", size(report.unreadable)));
    }
    if !report.ended {
        text.push_str(", its end is missing");
    }
    let listing = match report.listing {
        ListingState::Whole => None,
        ListingState::Damaged => Some("a part of the listing"),
        _ => Some("the listing"),
    };
    if let Some(listing) = listing.filter(|_| report.rebuilt > 0) {
        let entries = if report.rebuilt == 1 { "entry" } else { "entries" };
        text.push_str(&format!(
            ", {listing} was lost: {} {entries} made from tar headers, without nanoseconds",
            report.rebuilt
        ));
    }
    text
}

/// Returns the summary as JSON.
fn summary_json(report: &RepairReport, dry_run: bool) -> json::Object {
    let mut object = json::object("summary");
    object.insert("command".into(), "repair".into());
    for (key, value) in [
        ("members", report.members),
        ("bytes", report.bytes),
        ("lost", report.lost),
        ("damaged", report.damaged),
        ("damaged_bytes", report.damaged_bytes),
        ("others", report.others),
        ("surplus", report.surplus),
        ("unreadable", report.unreadable),
        ("rebuilt", report.rebuilt),
        ("carried", report.carried),
    ] {
        object.insert(key.into(), value.into());
    }
    object.insert("ended".into(), report.ended.into());
    let listing = match report.listing {
        ListingState::Whole => "whole",
        ListingState::Damaged => "damaged",
        _ => "missing",
    };
    object.insert("listing".into(), listing.into());
    if dry_run {
        object.insert("dry_run".into(), true.into());
    } else {
        object.insert("archive_size".into(), report.archive_size.into());
    }
    if let Some(identity) = &report.identity {
        object.insert("identity".into(), digest_text(identity).into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(args: &[&str]) -> Result<Args, clap::Error> {
        crate::cli::parse_args(args)
    }

    #[test]
    fn a_dry_run_needs_no_new_name() {
        assert!(args(&["a"]).is_err());
        assert!(args(&["a", "-n"]).unwrap().new.is_none());
        let options = args(&["a", "/backup/b"]).unwrap().to_options();
        assert_eq!(options.spool, Some("/backup".into()));
        let options = args(&["a", "b", "--spool-dir", "/s"]).unwrap().to_options();
        assert_eq!(options.spool, Some("/s".into()));
    }

    #[test]
    fn the_status_is_that_of_the_worst_loss() {
        let mut report = RepairReport::default();
        report.ended = true;
        assert_eq!(exit(&report), Exit::Good);
        report.rebuilt = 1;
        assert_eq!(exit(&report), Exit::Warnings);
        report.ended = false;
        assert_eq!(exit(&report), Exit::Incomplete);
    }

    #[test]
    fn the_summary_says_what_is_lost() {
        let mut report = RepairReport::default();
        (report.members, report.bytes, report.archive_size) = (3, 2048, 1024);
        report.ended = true;
        assert_eq!(summary_text(&report, false), "saved 3 members, 2.0 KiB in 1.0 KiB");
        (report.damaged, report.damaged_bytes, report.rebuilt) = (2, 512, 3);
        (report.lost, report.others) = (2, 1);
        report.ended = false;
        assert_eq!(
            summary_text(&report, true),
            "lost 2 members, 3 members whole, 2.0 KiB, 512 bytes damaged at 2 places, members of \
             other archives at 1 place not taken, its end is missing, the listing was lost: 3 entries made from tar headers, without nanoseconds"
        );
        assert_eq!(summary_json(&report, true)["listing"], "missing");
    }
}
