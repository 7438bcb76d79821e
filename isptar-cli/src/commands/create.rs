//! `isptar create`: from a tree of files to an archive.

pub(super) mod base;
mod listing;
mod programs;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ArgMatches;
use isptar_core::create::plan_with;
use isptar_core::format::entry::Dialect;
use isptar_core::{CreateOptions, CreateReport, create_with};

use self::base::BaseArgs;
use self::listing::ListingArgs;
use self::programs::ProgramArgs;
use super::exclude::read_patterns;
use super::format::FormatArgs;
use super::pack::PackArgs;
use super::store::{self, StoreArgs};
use super::tree::TreeArgs;
use super::user::UserArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reporter::{Reporter, Stream};
use crate::signals::Signals;
use crate::ui::Ui;

/// Archive files and directories.
///
/// Everything that PATHs name is stored, directories with all that they contain. An archive that
/// exists is replaced when the new one is complete and on disk, never before.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write; - is standard output
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Files and directories to store; a leading / is taken off their names
    #[arg(value_name = "PATH", required_unless_present_any = ["command", "stdin_name"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    tree: TreeArgs,
    /// Write nothing; print what would be stored, and what is left out and why
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    pack: PackArgs,
    #[command(flatten)]
    base: BaseArgs,
    /// Make a full archive all the same: copy from the base what did not change
    #[arg(long, requires = "base", help_heading = "Incremental archives")]
    copy_data: bool,
    #[command(flatten)]
    programs: ProgramArgs,
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    listing: ListingArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    store: StoreArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar create etc.tar.gz /etc
  isptar create home.tar.gz -C / home --exclude '*.o' --exclude /home/ann/tmp/ --exclude-caches
  isptar create --dry-run all.tar.gz / --one-file-system --exclude-from exclude.txt
  isptar create --base home.tar.gz home-monday.tar.gz -C / home
  isptar create - /var/www | ssh host 'cat > www.tar.gz'
  isptar create shop.tar.gz /srv/shop --command 'db/shop.sql=mysqldump --single-transaction shop'";

impl Args {
    /// Learns the order in which patterns and files of patterns were given: the last one that
    /// matches decides.
    pub(crate) fn order_patterns(&mut self, matches: &ArgMatches) {
        self.tree.order(matches);
    }

    /// Returns the options of the job; `read` gives the text of a file of patterns.
    fn to_options(
        &self,
        now: SystemTime,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<CreateOptions, Failure> {
        if self.programs.takes_stdin() && self.tree.takes_stdin() {
            return Err(Failure::Usage(
                "--stdin-name and --exclude-from - both read standard input",
            ));
        }
        let mut options = self.store.to_options(&self.archive, now);
        self.tree.fill(&mut options, read)?;
        self.pack.fill(&mut options)?;
        self.format.apply(&mut options)?;
        self.base.put_options(&mut options);
        if self.listing.path().is_some() && options.dialect == Dialect::Classic {
            return Err(Failure::Usage("--save-listing: classic archives have no listing alone"));
        }
        Ok(options)
    }
}

/// Runs `isptar create`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.user.act()?;
    // The clock is read before anything else: what changes later is newer than the archive.
    let options = args.to_options(SystemTime::now(), read_patterns)?;
    let signals = Signals::start()?;
    let mut telling = args.store.telling();
    let stream = if args.dry_run {
        telling.names = true;
        telling.left_out = true;
        Stream::Out(ui.out()?)
    } else {
        args.store.check(&args.archive)?;
        store::stream(&args.archive, ui)?
    };
    let mut reporter = Reporter::new(ui, &signals, telling, stream);
    match job(args, &options, &mut reporter, ui) {
        Ok(report) => {
            let base = args.base.shown();
            let text = store::summary(&report, args.dry_run, base.as_deref());
            let summary = store::summary_json("create", &report, args.dry_run);
            Ok(reporter.finish(&text, summary, store::exit(&report)))
        }
        Err(failure) => Ok(reporter.fail(&failure)),
    }
}

fn job(
    args: &Args,
    options: &CreateOptions,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<CreateReport, Failure> {
    let base = args.base.open(&args.archive)?;
    let mut extras = args.programs.extras(options)?;
    if let Some(base) = &base {
        args.listing.path().map_or(Ok(()), |listing| base.spare(listing))?;
        extras.set_base(base.listing()?);
        if args.copy_data {
            base.copy_data(&mut extras, options);
        } else {
            base.tell_doubts(&args.archive, ui);
        }
    }
    if args.dry_run {
        let mut options = options.clone();
        // An archive that is there would be replaced, never stored.
        let existing = std::fs::metadata(&args.archive).ok().filter(Metadata::is_file);
        options.own_files.extend(existing.map(|file| (file.dev(), file.ino())));
        options.own_names.extend(args.store.slices.own_names(&args.archive));
        return Ok(plan_with(&args.paths, &options, &mut extras, reporter)?);
    }
    let directory = &options.directory;
    let inputs: Vec<PathBuf> = args.paths.iter().map(|path| directory.join(path)).collect();
    store::spare(&args.archive, &inputs)?;
    let mut sink = args.listing.sink(&args.archive, &args.store.slices, ui)?;
    Ok(create_with(&mut *sink, &args.paths, options, extras, reporter)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_create;
    use std::num::NonZero;
    use std::time::UNIX_EPOCH;

    fn options(args: &[&str]) -> Result<CreateOptions, Failure> {
        let read = |path: &Path| match path.to_str() {
            Some("logs") => Ok("# a comment\n*.log\n\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        parse_create(args).unwrap().to_options(UNIX_EPOCH, read)
    }

    #[test]
    fn arguments_become_options() {
        let options = options(&[
            "--threads=3",
            "--group-size=64K",
            "-C",
            "/srv",
            "--exclude-caches",
            "--exclude-if-present",
            ".nobackup",
            "-x",
            "--level",
            "0",
            "a.tar.gz",
            "b",
            "c",
        ])
        .unwrap();
        assert_eq!(options.directory, PathBuf::from("/srv"));
        assert!(options.exclude_caches && options.one_file_system && options.xattrs);
        assert_eq!(options.exclude_if_present, [b".nobackup".to_vec()]);
        assert_eq!(options.level, 0);
        assert_eq!(options.threads.map(NonZero::get), Some(3));
        assert_eq!(options.group_size.map(NonZero::get), Some(64 << 10));
        assert!(options.exclude.is_empty());
    }

    #[test]
    fn the_last_pattern_of_the_command_line_decides() {
        let take_back = ["--exclude-from", "logs", "--exclude", "!keep.log", "a", "b"];
        let kept = options(&take_back).unwrap().exclude;
        assert!(!kept.matches(&"keep.log".into(), false));
        let leave_out = ["--exclude", "!keep.log", "--exclude-from", "logs", "a", "b"];
        let left = options(&leave_out).unwrap().exclude;
        assert!(left.matches(&"keep.log".into(), false));
    }

    #[test]
    fn no_threads_and_groups_beyond_a_mebibyte_are_refused() {
        let whole = ["--group-size", "1M", "a", "b"];
        assert_eq!(options(&whole).unwrap().group_size.map(NonZero::get), Some(1 << 20));
        for wrong in [["--threads", "0"], ["--group-size", "0"], ["--group-size", "1048577"]] {
            assert!(parse_create(&[&wrong[..], &["a", "b"]].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn classic_archives_have_no_groups() {
        assert_eq!(options(&["--format=classic", "a", "b"]).unwrap().dialect, Dialect::Classic);
        let failure = options(&["--format=classic", "--group-size=64K", "a", "b"]).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn bad_patterns_and_files_are_usage_errors() {
        for args in [["--exclude", "[z-a]", "a", "b"], ["--exclude-from", "gone", "a", "b"]] {
            assert_eq!(options(&args).unwrap_err().exit(), Exit::Usage);
        }
    }
}
