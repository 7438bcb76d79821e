//! `isptar send`: a tree to an isptar elsewhere.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ArgMatches;
use isptar_core::Error;
use isptar_core::remote::{SendOptions, SendReport, send, send_classic};

use super::exclude::read_patterns;
use super::store;
use super::tree::TreeArgs;
use super::user::UserArgs;
use crate::connection::{self, Watched};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{count, size};
use crate::program::Program;
use crate::reporter::{Reporter, Stream, Telling};
use crate::signals::Signals;
use crate::ui::Ui;

/// Send files and directories to isptar receive, which makes the archive.
///
/// The other side is what --via runs: its standard input and output are the connection. Without
/// --via they are those of this command. Only what the other side asks for is read and sent: with a
/// base there, what has changed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files and directories to send; a leading / is taken off their names
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Run CMD, without a shell, and speak with it: what connects to the other side
    #[arg(long, value_name = "CMD")]
    via: Option<Program>,
    #[command(flatten)]
    tree: TreeArgs,
    /// Speak with a server of the original program (isptar -s), which does not say how it ends: the
    /// status of what --via runs tells
    #[arg(long)]
    classic: bool,
    /// Leave out extended attributes, ACLs and SELinux labels
    #[arg(long)]
    no_xattrs: bool,
    #[command(flatten)]
    user: UserArgs,
    /// Print one JSON object a line: members, warnings, errors, the summary last
    #[arg(long)]
    json: bool,
    /// Print the name of every member that is sent
    #[arg(short, long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  isptar send /etc --via 'ssh host isptar receive /backup/etc.tar.gz'
  isptar send -C / home --exclude-caches --via 'ssh -C host isptar receive home.tar.gz'
  socat TCP:host:7000 EXEC:'isptar send /srv'";

impl Args {
    /// Learns the order of patterns: the last one that matches decides.
    pub(crate) fn order_patterns(&mut self, matches: &ArgMatches) {
        self.tree.order(matches);
    }

    /// Returns the options of the job; `read` gives the text of a file of patterns.
    fn to_options(
        &self,
        now: SystemTime,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<SendOptions, Failure> {
        if self.via.is_none() && self.tree.takes_stdin() {
            return Err(Failure::Usage("standard input is the connection: --exclude-from a file"));
        }
        let mut options = SendOptions::default();
        self.tree.fill(&mut options.create, read)?;
        options.create.xattrs = !self.no_xattrs;
        options.create.created = now.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
        options.machine = connection::machine();
        Ok(options)
    }
}

/// Runs `isptar send`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    args.user.act()?;
    // The clock is read before anything else: what changes later is newer than the archive.
    let options = args.to_options(SystemTime::now(), read_patterns)?;
    let signals = Signals::start()?;
    let telling =
        Telling { names: args.verbose, left_out: args.verbose, json: args.json, results: false };
    let stream = match args.via {
        Some(_) => Stream::Out(ui.out()?),
        None if io::stdout().is_terminal() => return Err(Failure::NoConnection),
        None => Stream::Err(io::stderr()),
    };
    let mut reporter = Reporter::new(ui, &signals, telling, stream);
    match job(args, &options, &mut reporter, ui) {
        Ok(report) => {
            let mut summary = store::summary_json("send", &report.sent, false);
            summary.insert("unchanged".into(), report.unchanged.into());
            Ok(reporter.finish(&summary_line(&report), summary, store::exit(&report.sent)))
        }
        Err(_) if signals.received().is_some() => Ok(reporter.fail(&Error::Cancelled.into())),
        Err(failure) => Ok(reporter.fail(&failure)),
    }
}

fn job(
    args: &Args,
    options: &SendOptions,
    reporter: &mut Reporter<'_>,
    ui: &Ui,
) -> Result<SendReport, Failure> {
    let Some(program) = &args.via else {
        let (input, output) = connection::standard()?;
        return speak(args, input, output, options, reporter);
    };
    let (connection, input, output) = program.connect()?;
    let sent = speak(args, Watched::new(input), output, options, reporter);
    match (sent, connection.end()) {
        (Ok(report), Ok(())) => Ok(report),
        (Ok(_), Err(error)) if args.classic => Err(error.into()),
        (Ok(report), Err(error)) => {
            // It has said that the archive is published.
            ui.warning(&error.to_string());
            Ok(report)
        }
        // The program that could not connect has told more.
        (Err(Failure::Core(Error::Remote(error))), Err(ended)) if error.is_cut() => {
            Err(Failure::Via { ended, error })
        }
        (Err(failure), _) => Err(failure),
    }
}

fn speak<R: Read + Send + 'static, W: Write>(
    args: &Args,
    input: R,
    output: W,
    options: &SendOptions,
    reporter: &mut Reporter<'_>,
) -> Result<SendReport, Failure> {
    if args.classic {
        return Ok(send_classic(input, output, &args.paths, &options.create, reporter)?);
    }
    Ok(send(input, output, &args.paths, options, reporter)?)
}

fn summary_line(report: &SendReport) -> String {
    let sent = &report.sent;
    let mut text = format!("sent {}, {}", count(sent.members, "member"), size(sent.bytes));
    if report.unchanged > 0 {
        text.push_str(&format!(", {} unchanged", report.unchanged));
    }
    text.push_str(&store::troubles(sent));
    // The original does not say.
    if sent.identity.is_some() {
        text.push_str(&format!(": published in {}", size(sent.archive_size)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_args;

    fn args(args: &[&str]) -> Args {
        parse_args(args).unwrap()
    }

    #[test]
    fn arguments_become_options() {
        let args = args(&["-C", "/srv", "--no-xattrs", "-x", "a", "--via", "ssh 'a host'"]);
        let options = args.to_options(UNIX_EPOCH, |_| Ok(String::new())).unwrap();
        assert_eq!(options.create.directory, PathBuf::from("/srv"));
        assert!(options.create.one_file_system && !options.create.xattrs);
        assert_eq!(options.create.created, Some(0));
        assert!(args.via.is_some());
    }

    #[test]
    fn the_summary_says_what_the_other_side_had() {
        let mut report = SendReport::default();
        report.sent.members = 2;
        report.unchanged = 7;
        let text = summary_line(&report);
        assert!(text.starts_with("sent 2 members, 0 bytes, 7 unchanged, 0 unreadable"), "{text}");
    }
}
