//! `isptar split`: the parts of an archive as archives again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use isptar_core::path::printable;
use isptar_core::rewrite::{PartInfo, PartSinks, RewriteReport, parts_of, split};
use isptar_core::{Error, Event, FileSink, Observer, Sink};

use super::open::OpenArgs;
use super::rewrite::{self, RewriteArgs};
use crate::bases;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{self, Listed};
use crate::json;
use crate::output::count;
use crate::reporter::{Reporter, Stream};
use crate::signals::Signals;
use crate::ui::Ui;

/// Take the parts of an archive that was made by merge --parts out of it again.
///
/// Each becomes an archive of its own, named like the part, with the same listing and identity as
/// the one that was merged.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to take apart
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Names of the parts to take out [default: all]
    #[arg(value_name = "PART")]
    parts: Vec<OsString>,
    /// Directory to write the archives into
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Replace files that are there already
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    rewrite: RewriteArgs,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar split all.tar.gz -C restored          write every part
  isptar split all.tar.gz www.tar.gz           write one
  isptar ls --part www.tar.gz all.tar.gz       look into one";

/// Runs `isptar split`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let signals = Signals::start()?;
    let reporter = Reporter::new(ui, &signals, args.rewrite.telling(), Stream::Out(ui.out()?));
    let mut sinks = Sinks { args, reporter, written: 0 };
    match job(args, &mut sinks) {
        Ok(()) => {
            let text = format!("wrote {}", count(sinks.written, "archive"));
            let mut summary = json::object("summary");
            summary.insert("command".into(), "split".into());
            summary.insert("archives".into(), sinks.written.into());
            Ok(sinks.reporter.finish(&text, summary, Exit::Good))
        }
        Err(failure) => Ok(sinks.reporter.fail(&failure.named(&args.archive))),
    }
}

fn job(args: &Args, sinks: &mut Sinks<'_>) -> Result<(), Failure> {
    let archive: Listed = input::open_listed(&args.archive, &args.open)?;
    let parts = parts_of(&archive)?;
    for wanted in &args.parts {
        if !parts.iter().any(|part| part.name == wanted.as_bytes()) {
            return Err(Error::NoPart { name: printable(wanted.as_bytes()) }.into());
        }
    }
    parts.iter().filter(|part| args.wants(part)).try_for_each(PartInfo::check_file_name)?;
    for path in parts.iter().filter(|part| args.wants(part)).map(|part| args.path(part)) {
        bases::spare(&archive, &path)?;
    }
    if !args.overwrite {
        for path in parts.iter().filter(|part| args.wants(part)).map(|part| args.path(part)) {
            if path.symlink_metadata().is_ok() {
                return Err(Failure::Exists { path });
            }
        }
    }
    let total = parts.iter().filter(|part| args.wants(part));
    let members = total.map(|part| part.entries).sum();
    sinks.reporter.event(Event::Planned { members, bytes: 0 });
    Ok(split(&archive, &args.rewrite.to_options(&args.directory.join("part")), sinks)?)
}

impl Args {
    fn wants(&self, part: &PartInfo) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted.as_bytes() == part.name)
    }

    /// Returns the file that a part goes to; its name was checked to be one of a file.
    fn path(&self, part: &PartInfo) -> PathBuf {
        self.directory.join(OsStr::from_bytes(&part.name))
    }
}

/// Makes a file of each part.
struct Sinks<'a> {
    args: &'a Args,
    reporter: Reporter<'a>,
    written: u64,
}

impl Observer for Sinks<'_> {
    fn event(&mut self, event: Event<'_>) {
        self.reporter.event(event);
    }

    fn cancelled(&self) -> bool {
        self.reporter.cancelled()
    }
}

impl PartSinks for Sinks<'_> {
    fn sink(&mut self, part: &PartInfo) -> isptar_core::Result<Option<Box<dyn Sink>>> {
        if !self.args.wants(part) {
            return Ok(None);
        }
        let sink = FileSink::create(&self.args.path(part))?;
        if let Some(partial) = sink.leftover() {
            let partial = printable(partial.as_os_str().as_bytes());
            let text = "left by an earlier run that was killed, written anew";
            self.reporter.note(&format!("{partial}: {text}"));
        }
        Ok(Some(Box::new(sink)))
    }

    fn done(&mut self, part: &PartInfo, archive: RewriteReport) {
        self.written += 1;
        let path = self.args.path(part);
        if self.args.rewrite.telling().json {
            let mut object = json::object("archive");
            json::put_bytes(&mut object, "path", path.as_os_str().as_bytes());
            rewrite::put(&mut object, &archive);
            self.reporter.write(&json::line(object));
        } else {
            let name = printable(path.as_os_str().as_bytes());
            self.reporter.note(&format!("{name}: {}", rewrite::made(&archive)));
        }
    }
}
