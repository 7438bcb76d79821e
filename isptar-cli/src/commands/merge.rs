//! `isptar merge`: a chain as one archive, or several archives as the parts of one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use isptar_core::rewrite::{Part, RewriteReport, attach_chain, merge, merge_parts};

use super::open::OpenArgs;
use super::rewrite::{self, RewriteArgs};
use super::slices::SliceArgs;
use super::store;
use crate::bases;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{self, Listed};
use crate::json;
use crate::reporter::Reporter;
use crate::signals::Signals;
use crate::ui::Ui;

/// Make one archive of a chain of incremental ones, or of several as named parts.
///
/// What is packed is copied as it is, not compressed again. One ARCHIVE brings all its bases and
/// becomes a full archive with the same members; several, oldest first, become one archive that has
/// the bases of the oldest. The old archives are only read.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archives to merge, oldest first; with --parts in any order, and each may be NAME=ARCHIVE
    #[arg(value_name = "ARCHIVE", required = true)]
    archives: Vec<OsString>,
    /// File to write; - is standard output
    #[arg(short, long, value_name = "NEW")]
    output: PathBuf,
    /// Make the archives named parts of the new one [default names: those of their files]
    #[arg(long)]
    parts: bool,
    #[command(flatten)]
    rewrite: RewriteArgs,
    #[command(flatten)]
    slices: SliceArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar merge -o full.tar.gz friday.tar.gz                    Friday and its bases as one archive
  isptar merge -o week.tar.gz monday.tar.gz friday.tar.gz      two increments as one
  isptar merge --parts -o all.tar.gz www.tar.gz db=mysql.tar.gz
  isptar split all.tar.gz                                      the parts again";

/// Runs `isptar merge`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let signals = Signals::start()?;
    store::check(&args.output)?;
    args.slices.check(&args.output)?;
    let stream = store::stream(&args.output, ui)?;
    let mut reporter = Reporter::new(ui, &signals, args.rewrite.telling(), stream);
    let merged = match args.parts {
        true => parts(args, &mut reporter, ui),
        false => chain(args, &mut reporter, ui),
    };
    match merged {
        Ok(report) => {
            let mut summary = json::object("summary");
            summary.insert("command".into(), "merge".into());
            rewrite::put(&mut summary, &report);
            let text = format!("merged {}", rewrite::made(&report));
            Ok(reporter.finish(&text, summary, Exit::Good))
        }
        Err(failure) => Ok(reporter.fail(&failure)),
    }
}

/// Merges archives of one chain.
fn chain(args: &Args, reporter: &mut Reporter<'_>, ui: &Ui) -> Result<RewriteReport, Failure> {
    let paths: Vec<PathBuf> = args.archives.iter().map(PathBuf::from).collect();
    rewrite::check_other(&args.output, &paths)?;
    let mut archives = paths.iter().map(|path| input::open_listed(path, &args.open));
    let mut newest = match archives.next_back() {
        Some(newest) => newest?,
        None => return Err(Failure::Usage("merge needs an archive")),
    };
    let older = archives.rev().collect::<Result<Vec<Listed>, Failure>>()?;
    let merged = match older.is_empty() {
        true => newest.tables().bases.len(),
        false => older.len(),
    };
    let newest_path = paths.last().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let named = |error| Failure::from(error).named(newest_path);
    attach_chain(&mut newest, older).map_err(named)?;
    bases::spare(&newest, &args.output)?;
    let mut sink = args.slices.sink(&args.output, ui)?;
    let merged = u32::try_from(merged).unwrap_or(u32::MAX).saturating_add(1);
    let options = args.rewrite.to_options(&args.output);
    merge(&mut *sink, &newest, merged, &options, reporter).map_err(named)
}

/// Makes archives the parts of one.
fn parts(args: &Args, reporter: &mut Reporter<'_>, ui: &Ui) -> Result<RewriteReport, Failure> {
    let named: Vec<_> = args.archives.iter().map(|text| part(text)).collect();
    let paths: Vec<PathBuf> = named.iter().map(|(_, path)| path.to_path_buf()).collect();
    rewrite::check_other(&args.output, &paths)?;
    let opened = named.iter().map(|(_, path)| input::open_listed(path, &args.open));
    let archives = opened.collect::<Result<Vec<Listed>, Failure>>()?;
    archives.iter().try_for_each(|archive| bases::spare(archive, &args.output))?;
    let named = named.iter().map(|(name, _)| name.as_bytes().to_vec());
    let parts: Vec<_> =
        named.zip(&archives).map(|(name, archive)| Part { name, archive }).collect();
    let mut sink = args.slices.sink(&args.output, ui)?;
    Ok(merge_parts(&mut *sink, &parts, &args.rewrite.to_options(&args.output), reporter)?)
}

/// Returns name and archive of a part: `NAME=ARCHIVE`, or the archive alone, whose file name is the
/// name then. What has a slash before its first `=` is an archive.
fn part(text: &OsStr) -> (&OsStr, &Path) {
    let bytes = text.as_bytes();
    let cut = bytes.iter().position(|&byte| byte == b'=');
    if let Some(at) = cut.filter(|&at| !bytes[..at].contains(&b'/')) {
        return (OsStr::from_bytes(&bytes[..at]), Path::new(OsStr::from_bytes(&bytes[at + 1..])));
    }
    let path = Path::new(text);
    (path.file_name().unwrap_or(text), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_hand_or_by_their_files() {
        for (text, name, path) in [
            ("a.tar.gz", "a.tar.gz", "a.tar.gz"),
            ("/backup/a.tar.gz", "a.tar.gz", "/backup/a.tar.gz"),
            ("www=/backup/a.tar.gz", "www", "/backup/a.tar.gz"),
            ("./a=b.tar.gz", "a=b.tar.gz", "./a=b.tar.gz"),
            ("a=b=c", "a", "b=c"),
        ] {
            assert_eq!(part(text.as_ref()), (name.as_ref(), path.as_ref()));
        }
    }
}
