//! `isptar reslice`: the same archive in slices of another length, or in one file.

use std::path::{Path, PathBuf};

use isptar_core::Written;
use isptar_core::format::text::digest_text;
use isptar_core::rewrite::reslice;

use super::open::SourceArgs;
use super::slices::SliceArgs;
use super::store;
use crate::bases;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input;
use crate::json;
use crate::output::{count, size};
use crate::reporter::{Reporter, Telling};
use crate::signals::Signals;
use crate::ui::Ui;

/// Cut an archive into slices of another length, or join them.
///
/// Nothing is compressed again, and the archive keeps its identity: increments on it go on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to read
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Archive to write; - is standard output [default: ARCHIVE, which is replaced]
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    /// Make one file of all slices
    #[arg(long, conflicts_with = "slice_size", required_unless_present = "slice_size")]
    join: bool,
    #[command(flatten)]
    slices: SliceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    open: SourceArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar reslice home.tar.gz --slice-size 650M          in its place
  isptar reslice home.tar.gz --join -o /big/home.tar.gz
  isptar reslice home.tar.gz --join -o - | ssh host 'cat > home.tar.gz'";

impl Args {
    fn output(&self) -> &Path {
        self.output.as_deref().unwrap_or(&self.archive)
    }
}

/// Runs `isptar reslice`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.slices.check(args.output())?;
    store::check(args.output())?;
    let signals = Signals::start()?;
    let telling = Telling { names: false, left_out: false, json: args.json, results: false };
    let stream = store::stream(args.output(), ui)?;
    let mut reporter = Reporter::new(ui, &signals, telling, stream);
    match job(args, &mut reporter, ui) {
        Ok(written) => Ok(reporter.finish(&summary(&written), summary_json(&written), Exit::Good)),
        Err(failure) => Ok(reporter.fail(&failure.named(&args.archive))),
    }
}

fn job(args: &Args, reporter: &mut Reporter<'_>, ui: &Ui) -> Result<Written, Failure> {
    let archive = input::open_listed(&args.archive, &args.open.alone())?;
    store::spare(args.output(), std::slice::from_ref(&args.archive))?;
    bases::spare_bases(&archive, args.output())?;
    let mut sink = args.slices.sink(args.output(), ui)?;
    Ok(reslice(&archive, &mut *sink, reporter)?)
}

fn summary(written: &Written) -> String {
    let (members, slices) = (count(written.entries, "member"), count(written.slices, "slice"));
    format!("copied {members} in {slices}, {}", size(written.archive_size))
}

fn summary_json(written: &Written) -> json::Object {
    let mut object = json::object("summary");
    object.insert("command".into(), "reslice".into());
    object.insert("members".into(), written.entries.into());
    object.insert("slices".into(), written.slices.into());
    object.insert("archive_size".into(), written.archive_size.into());
    object.insert("identity".into(), digest_text(&written.identity).into());
    object
}
