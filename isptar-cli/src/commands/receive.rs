//! `isptar receive`: the archive of a tree elsewhere.

use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::SystemTime;

use isptar_core::remote::{ReceiveOptions, receive, receive_classic};
use isptar_core::{CreateReport, Error, Patterns};

use super::create::base::{BaseArgs, OpenBase};
use super::format::FormatArgs;
use super::heading;
use super::store::{self, StoreArgs};
use super::user::UserArgs;
use crate::connection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::is_stdin;
use crate::reporter::{Reporter, Stream};
use crate::signals::Signals;
use crate::ui::Ui;

/// Make an archive of what isptar send sends.
///
/// Standard input and output are the connection, so that ssh, socat or inetd can run this; messages
/// go to standard error. An archive that exists is replaced when the new one is complete and on
/// disk, never before; a connection that is cut leaves everything as it was.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Store what matches as it is: patterns as of create --exclude, for what is compressed already
    #[arg(long, value_name = "GLOB", help_heading = heading::STORED)]
    no_compress: Vec<String>,
    /// Use N threads; the archive is the same for any number [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Speak with a client of the original program (isptar -n), which is not told how it ends
    #[arg(long)]
    classic: bool,
    #[command(flatten)]
    base: BaseArgs,
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    store: StoreArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar receive /backup/etc.tar.gz
  isptar send /etc --via 'ssh host isptar receive /backup/etc.tar.gz --level 9'
  isptar send /etc --via 'ssh host isptar receive /backup/etc-2.tar.gz --base /backup/etc.tar.gz'
  socat TCP-LISTEN:7000 EXEC:'isptar receive srv.tar.gz'";

impl Args {
    fn to_options(&self, now: SystemTime) -> Result<ReceiveOptions, Failure> {
        let mut options = ReceiveOptions::default();
        options.create = self.store.to_options(&self.archive, now);
        options.create.no_compress = Patterns::new(&self.no_compress)?;
        options.create.threads = self.threads;
        self.base.put_options(&mut options.create);
        self.format.apply(&mut options.create)?;
        options.machine = connection::machine();
        Ok(options)
    }
}

/// Runs `isptar receive`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.user.act()?;
    if is_stdin(&args.archive) {
        return Err(Failure::Usage("standard output is the connection: name a file to write"));
    }
    let options = args.to_options(SystemTime::now())?;
    let base = args.base.open(&args.archive)?;
    if args.classic && base.is_some() {
        return Err(Failure::Usage("--base: the original's protocol tells too little of a tree"));
    }
    if let Some(base) = &base {
        base.tell_doubts(&args.archive, ui);
    }
    let (input, output) = connection::standard()?;
    let signals = Signals::start()?;
    let stream = Stream::Err(io::stderr());
    let mut reporter = Reporter::new(ui, &signals, args.store.telling(), stream);
    let job = |reporter: &mut Reporter<'_>| -> Result<CreateReport, Failure> {
        let mut sink = args.store.slices.sink(&args.archive, ui)?;
        if args.classic {
            return Ok(receive_classic(input, output, &mut *sink, &options.create, reporter)?);
        }
        let base = base.as_ref().map(OpenBase::listing).transpose()?;
        Ok(receive(input, output, &mut *sink, &options, base, reporter)?)
    };
    match job(&mut reporter) {
        Ok(report) => {
            let text = store::summary(&report, false, args.base.shown().as_deref());
            let summary = store::summary_json("receive", &report, false);
            Ok(reporter.finish(&text, summary, store::exit(&report)))
        }
        Err(_) if signals.received().is_some() => Ok(reporter.fail(&Error::Cancelled.into())),
        Err(failure) => Ok(reporter.fail(&failure)),
    }
}
