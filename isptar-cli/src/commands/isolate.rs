//! `isptar isolate`: the listing of an archive as a file of its own.

use std::path::PathBuf;

use super::open::SourceArgs;
use super::store;
use crate::bases;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{self, shown};
use crate::output::{count, size};
use crate::signals::Signals;
use crate::ui::Ui;

/// Write the listing of an archive alone.
///
/// The file knows all that the archive holds, and has none of the contents: ls, info and diff work
/// on it as on the archive, and it can be the base of an incremental archive.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to read
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// File to write; - is standard output
    #[arg(value_name = "OUT")]
    out: PathBuf,
    #[command(flatten)]
    open: SourceArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar isolate home.tar.gz home.tar.gz.lst
  isptar ls home.tar.gz.lst
  isptar diff home.tar.gz.lst -C /";

/// Runs `isptar isolate`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    store::check(&args.out)?;
    store::spare(&args.out, std::slice::from_ref(&args.archive))?;
    store::differ(&args.archive, &args.out)?;
    let _signals = Signals::start()?;
    let archive = input::open_listed(&args.archive, &args.open.alone())?;
    bases::spare(&archive, &args.out)?;
    let mut sink = store::sink(&args.out, ui)?;
    let written = archive.isolate(&mut *sink);
    let written = written.map_err(|error| Failure::from(error).named(&args.archive))?;
    let members = count(archive.info().entries, "member");
    ui.note(&format!("{}: listing of {members} in {}", shown(&args.out), size(written)));
    Ok(Exit::Good)
}
