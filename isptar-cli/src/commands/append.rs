//! `isptar append`: an archive with more members.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ArgMatches;
use isptar_core::rewrite::{AppendReport, RewriteOptions, append, plan_append};
use isptar_core::{CreateOptions, OwnNames};

use super::exclude::read_patterns;
use super::open::OpenArgs;
use super::pack::PackArgs;
use super::rewrite;
use super::store::{self, StoreArgs};
use super::tree::TreeArgs;
use super::user::UserArgs;
use crate::bases;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input;
use crate::json;
use crate::output::count;
use crate::reporter::{Reporter, Stream};
use crate::signals::Signals;
use crate::ui::Ui;

/// Add files and directories to an archive.
///
/// A new archive is made of the members that ARCHIVE has, whose streams are copied and not packed
/// again, and of those that PATHs name, which take the place of members of the same name. ARCHIVE is
/// replaced by it when it is complete and on disk, never before. Increments on ARCHIVE need it as it was:
/// leave it so with -o NEW.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to add to
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Files and directories to store; a leading / is taken off their names
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Write the new archive to NEW and leave ARCHIVE as it is; - is standard output
    #[arg(short, long, value_name = "NEW")]
    output: Option<PathBuf>,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    pack: PackArgs,
    /// Write nothing; print what would be stored and replaced, and what is left out and why
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Decode all that is copied, and check it, before it is written
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar append home.tar.gz -C / home/ben
  isptar append --dry-run etc.tar.gz /etc/hosts
  isptar append -o more.tar.gz home.tar.gz notes";

impl Args {
    /// Learns the order in which patterns were given: see [`TreeArgs::order`].
    pub(crate) fn order_patterns(&mut self, matches: &ArgMatches) {
        self.tree.order(matches);
    }

    /// Returns the archive that is written.
    fn new_archive(&self) -> &Path {
        self.output.as_deref().unwrap_or(&self.archive)
    }

    fn to_options(
        &self,
        now: SystemTime,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<(CreateOptions, RewriteOptions), Failure> {
        let mut create = self.store.to_options(self.new_archive(), now);
        self.tree.fill(&mut create, read)?;
        self.pack.fill(&mut create)?;
        let mut options = RewriteOptions::default();
        options.verify = self.verify;
        options.tool.clone_from(&create.tool);
        options.spool.clone_from(&create.spool);
        Ok((create, options))
    }
}

/// Runs `isptar append`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.user.act()?;
    let options = args.to_options(SystemTime::now(), read_patterns)?;
    let signals = Signals::start()?;
    let mut telling = args.store.telling();
    let stream = if args.dry_run {
        (telling.names, telling.left_out) = (true, true);
        Stream::Out(ui.out()?)
    } else {
        store::check(args.new_archive())?;
        args.store.slices.check(args.new_archive())?;
        store::stream(args.new_archive(), ui)?
    };
    let mut reporter = Reporter::new(ui, &signals, telling, stream);
    match job(args, options, &mut reporter, ui) {
        Ok(report) => {
            let text = summary(&report, args.dry_run);
            let object = summary_json(&report, args.dry_run);
            Ok(reporter.finish(&text, object, store::exit(&report.stored)))
        }
        Err(failure) => Ok(reporter.fail(&failure.named(&args.archive))),
    }
}

fn job(
    args: &Args,
    (mut create, options): (CreateOptions, RewriteOptions),
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<AppendReport, Failure> {
    let old = input::open_listed(&args.archive, &args.open)?;
    let existing = std::fs::metadata(&args.archive).ok().filter(Metadata::is_file);
    let stays_whole = args.output.is_none() && !args.store.slices.is_given() && !args.dry_run;
    if existing.is_none() && stays_whole {
        return Err(Failure::Usage(
            "an archive in slices is replaced by slices: --slice-size says of which size",
        ));
    }
    create.own_files.extend(existing.map(|file| (file.dev(), file.ino())));
    // Its slices, too.
    create.own_names.extend(OwnNames::of(&args.archive).ok());
    if args.dry_run {
        return Ok(plan_append(&old, &args.paths, &create, reporter)?);
    }
    let base = &create.directory;
    let mut inputs: Vec<PathBuf> = args.paths.iter().map(|path| base.join(path)).collect();
    inputs.push(args.archive.clone());
    store::spare(args.new_archive(), &inputs)?;
    bases::spare_bases(&old, args.new_archive())?;
    if let Some(new) = &args.output {
        rewrite::check_other(new, std::slice::from_ref(&args.archive))?;
        bases::spare(&old, new)?;
    }
    create.own_names.extend(args.store.slices.own_names(args.new_archive()));
    let mut sink = args.store.slices.sink(args.new_archive(), ui)?;
    Ok(append(&mut *sink, &old, &args.paths, &create, &options, reporter)?)
}

/// Returns the summary line.
fn summary(report: &AppendReport, dry_run: bool) -> String {
    let mut text = store::summary(&report.stored, dry_run, None);
    if report.replaced > 0 {
        text.push_str(&format!(", {} replaced", count(report.replaced, "old member")));
    }
    if !dry_run {
        text.push_str(&format!("; now {}", rewrite::made(&report.archive)));
    }
    text
}

/// Returns the summary as JSON.
fn summary_json(report: &AppendReport, dry_run: bool) -> json::Object {
    let mut object = store::summary_json("append", &report.stored, dry_run);
    object.insert("replaced".into(), report.replaced.into());
    if !dry_run {
        let mut archive = json::Object::new();
        rewrite::put(&mut archive, &report.archive);
        object.insert("archive".into(), archive.into());
    }
    object
}
