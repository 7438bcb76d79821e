//! `isptar convert`: from any tar to an archive with a listing.

use std::path::PathBuf;
use std::time::SystemTime;

use isptar_core::{CreateOptions, CreateReport};

use super::open::SourceArgs;
use super::store::{self, StoreArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{check_end, open_foreign};
use crate::reporter::Reporter;
use crate::signals::Signals;
use crate::ui::Ui;

/// Make an archive with a listing of any tar.
///
/// FOREIGN is a tar of any program, plain or compressed by gzip, zstd, xz or bzip2. It is read once
/// from front to back, and nothing is written but the archive.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Tar to read; - is standard input
    #[arg(value_name = "FOREIGN")]
    foreign: PathBuf,
    /// File to write; - is standard output
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    open: SourceArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar convert old.tar.xz new.tar.gz
  docker save image | isptar convert - image.tar.gz";

/// Runs `isptar convert`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.store.check(&args.archive)?;
    let options = args.store.to_options(&args.archive, SystemTime::now());
    let signals = Signals::start()?;
    let stream = store::stream(&args.archive, ui)?;
    let mut reporter = Reporter::new(ui, &signals, args.store.telling(), stream);
    match job(args, &options, &mut reporter, ui) {
        Ok((report, ended)) => {
            let text = store::summary(&report, false, None);
            let summary = store::summary_json("convert", &report, false);
            Ok(reporter.finish(&text, summary, store::exit(&report).max(ended)))
        }
        Err(failure) => Ok(reporter.fail(&failure.named(&args.foreign))),
    }
}

fn job(
    args: &Args,
    options: &CreateOptions,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<(CreateReport, Exit), Failure> {
    // The input comes first: a wrong name must not even begin an archive.
    let (mut tar, _) = open_foreign(&args.foreign, &args.open.alone())?;
    store::spare(&args.archive, std::slice::from_ref(&args.foreign))?;
    let mut sink = args.store.slices.sink(&args.archive, ui)?;
    let report = isptar_core::convert(&mut tar, &mut *sink, options, reporter)?;
    Ok((report, check_end(&tar, &args.foreign, ui)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_may_be_pipes() {
        let args: Args = crate::cli::parse_args(&["-", "-", "--level", "12"]).unwrap();
        assert_eq!((args.foreign, args.archive), ("-".into(), "-".into()));
        assert_eq!(args.store.level, 12);
        assert!(crate::cli::parse_args::<Args>(&["a"]).is_err());
    }
}
