//! What `create` and `convert` share: where the archive goes, and what is told at the end.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use isptar_core::format::text::digest_text;
use isptar_core::{CreateOptions, CreateReport, FileSink, Sink, WriteSink};

use super::heading;
use super::slices::SliceArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::is_stdin;
use crate::json;
use crate::output::{count, size};
use crate::reporter::{Stream, Telling};
use crate::ui::{Ui, stdout_file};

/// How an archive is written.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// Compression level: 0 stores, 12 is the smallest
    #[arg(long, value_name = "LEVEL", default_value_t = 6, help_heading = heading::STORED,
          value_parser = clap::value_parser!(u8).range(0..=12))]
    pub(crate) level: u8,
    /// Leave out extended attributes, ACLs and SELinux labels
    #[arg(long, help_heading = heading::STORED)]
    pub(crate) no_xattrs: bool,
    /// Make the same bytes of the same tree: no clock, no inode numbers, no names of owners
    #[arg(long, help_heading = heading::STORED)]
    pub(crate) reproducible: bool,
    /// Directory for temporary files [default: that of ARCHIVE]
    #[arg(long, value_name = "DIR", help_heading = heading::STORED)]
    pub(crate) spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) slices: SliceArgs,
    /// Print one JSON object a line: members, warnings, errors, the summary last
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the name of every member
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl StoreArgs {
    /// Returns the options of an archive that is begun `now`.
    pub(crate) fn to_options(&self, archive: &Path, now: SystemTime) -> CreateOptions {
        let mut options = CreateOptions::default();
        options.level = self.level;
        options.xattrs = !self.no_xattrs;
        options.reproducible = self.reproducible;
        if !self.reproducible {
            options.created = now.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
            options.tool = Some(concat!("isptar ", env!("CARGO_PKG_VERSION")).into());
        }
        options.spool = Some(self.spool_dir.clone().unwrap_or_else(|| spool(archive)));
        options
    }

    /// Refuses to write an archive to where it cannot go.
    pub(crate) fn check(&self, archive: &Path) -> Result<(), Failure> {
        self.slices.check(archive)?;
        check(archive)
    }

    /// Returns what is told while the archive is made.
    pub(crate) fn telling(&self) -> Telling {
        Telling { names: self.verbose, left_out: self.verbose, json: self.json, results: false }
    }
}

/// Returns the directory for temporary files: beside the archive there is room.
pub(crate) fn spool(archive: &Path) -> PathBuf {
    // What is neither a file nor to become one is a device or a pipe.
    let file = fs::metadata(archive).map_or(true, |metadata| metadata.is_file());
    if is_stdin(archive) || !file {
        return std::env::temp_dir();
    }
    match archive.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Returns where names and JSON go: to standard output, unless that is the archive.
pub(crate) fn stream(archive: &Path, ui: &Ui) -> Result<Stream, Failure> {
    if is_stdin(archive) {
        return Ok(Stream::Err(io::stderr()));
    }
    Ok(Stream::Out(ui.out()?))
}

/// Refuses to write an archive to a terminal.
pub(crate) fn check(archive: &Path) -> Result<(), Failure> {
    if is_stdin(archive) && io::stdout().is_terminal() {
        return Err(Failure::Terminal);
    }
    Ok(())
}

/// Refuses to read what stands under the temporary name of the archive: it would be removed.
pub(crate) fn spare(archive: &Path, inputs: &[PathBuf]) -> Result<(), Failure> {
    if is_stdin(archive) {
        return Ok(());
    }
    let partial = FileSink::temporary(archive)?;
    let Ok(there) = fs::symlink_metadata(&partial) else { return Ok(()) };
    for input in inputs {
        // What is not there is told when it is read.
        let same = fs::metadata(input)
            .is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()));
        if same {
            return Err(Failure::SameFile { damaged: input.clone(), new: partial });
        }
    }
    Ok(())
}

/// Refuses to write one file over the other.
pub(crate) fn differ(one: &Path, other: &Path) -> Result<(), Failure> {
    let file = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let is_same = one == other || file(one).is_some_and(|found| file(other) == Some(found));
    match is_same && !is_stdin(one) {
        true => Err(Failure::SameFile { damaged: one.to_owned(), new: other.to_owned() }),
        false => Ok(()),
    }
}

/// Begins the archive.
pub(crate) fn sink(archive: &Path, ui: &Ui) -> Result<Box<dyn Sink>, Failure> {
    if is_stdin(archive) {
        let file = stdout_file().map_err(Failure::Stdout)?;
        let metadata = file.metadata().map_err(Failure::Stdout)?;
        let mut sink = WriteSink::new(file);
        if metadata.is_file() {
            sink = sink.with_own_file(metadata.dev(), metadata.ino());
        }
        return Ok(Box::new(sink));
    }
    let sink = FileSink::create(archive)?;
    if let Some(partial) = sink.leftover() {
        let partial = partial.display();
        ui.warning(&format!("{partial}: left by an earlier run that was killed, written anew"));
    }
    Ok(Box::new(sink))
}

/// Returns the status of what was stored.
pub(crate) fn exit(report: &CreateReport) -> Exit {
    Exit::Incomplete
        .when(report.unreadable)
        .max(Exit::Warnings.when(report.changed.saturating_add(report.warnings)))
}

/// Returns the summary line; `base` is what the base is called.
pub(crate) fn summary(report: &CreateReport, dry_run: bool, base: Option<&str>) -> String {
    let members = count(report.members, "member");
    let mut text = if dry_run {
        format!("would store {members}, {}", size(report.bytes))
    } else {
        let archive = size(report.archive_size);
        format!("stored {members}, {} in {archive}", size(report.bytes))
    };
    if report.slices > 1 {
        text.push_str(&format!(", {} slices", report.slices));
    }
    if let Some(base) = base {
        let (unchanged, deleted) = (report.unchanged, report.deleted);
        text.push_str(&format!(", {unchanged} unchanged since {base}, {deleted} deleted"));
    }
    text.push_str(&troubles(report));
    text
}

/// Returns the end of a summary line: what did not go as it should.
pub(crate) fn troubles(report: &CreateReport) -> String {
    let mut text = format!(", {} unreadable", report.unreadable);
    let others = [
        (report.kept, "kept as the base has them"),
        (report.changed, "changed while read"),
        (report.vanished, "vanished"),
        (report.left_out, "left out"),
    ];
    for (number, what) in others {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    if report.warnings > 0 {
        text.push_str(&format!(", {}", count(report.warnings, "other warning")));
    }
    text
}

/// Returns the summary as JSON.
pub(crate) fn summary_json(command: &str, report: &CreateReport, dry_run: bool) -> json::Object {
    let mut object = json::object("summary");
    object.insert("command".into(), command.into());
    for (key, value) in [
        ("members", report.members),
        ("files", report.files),
        ("bytes", report.bytes),
        ("changed", report.changed),
        ("unreadable", report.unreadable),
        ("vanished", report.vanished),
        ("left_out", report.left_out),
        ("unchanged", report.unchanged),
        ("deleted", report.deleted),
        ("kept", report.kept),
        ("warnings", report.warnings),
    ] {
        object.insert(key.into(), value.into());
    }
    if dry_run {
        object.insert("dry_run".into(), true.into());
    } else {
        object.insert("archive_size".into(), report.archive_size.into());
        object.insert("slices".into(), report.slices.into());
    }
    if let Some(identity) = &report.identity {
        object.insert("identity".into(), digest_text(identity).into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn args(args: &[&str]) -> StoreArgs {
        crate::cli::parse_args(args).unwrap()
    }

    #[test]
    fn options_say_when_and_by_what_unless_reproducible() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let options = args(&["--level", "9", "--no-xattrs"]).to_options("a".as_ref(), now);
        assert_eq!((options.level, options.xattrs), (9, false));
        assert_eq!(options.created, Some(1_700_000_000));
        assert!(options.tool.is_some_and(|tool| tool.starts_with("isptar ")));
        let options = args(&["--reproducible"]).to_options("a".as_ref(), now);
        assert_eq!((options.created, options.tool), (None, None));
        assert!(options.reproducible);
    }

    #[test]
    fn temporary_files_stand_beside_the_archive() {
        assert_eq!(spool("a.tar.gz".as_ref()), PathBuf::from("."));
        assert_eq!(spool("/backup/a.tar.gz".as_ref()), PathBuf::from("/backup"));
        assert_eq!(spool("-".as_ref()), std::env::temp_dir());
        assert_eq!(spool("/dev/null".as_ref()), std::env::temp_dir());
        let options = args(&["--spool-dir", "/s"]).to_options("a".as_ref(), UNIX_EPOCH);
        assert_eq!(options.spool, Some(PathBuf::from("/s")));
    }

    #[test]
    fn the_status_is_that_of_the_worst_thing() {
        let mut report = CreateReport::default();
        report.vanished = 1;
        report.left_out = 5;
        assert_eq!(exit(&report), Exit::Good);
        report.changed = 1;
        assert_eq!(exit(&report), Exit::Warnings);
        report.unreadable = 1;
        assert_eq!(exit(&report), Exit::Incomplete);
    }

    #[test]
    fn the_summary_counts() {
        let mut report = CreateReport::default();
        report.members = 1234;
        report.bytes = 59_454_259;
        report.archive_size = 2048;
        let text = "stored 1234 members, 56.6 MiB in 2.0 KiB, 0 unreadable";
        assert_eq!(summary(&report, false, None), text);
        report.changed = 2;
        report.warnings = 1;
        let text = "would store 1234 members, 56.6 MiB, 0 unreadable, 2 changed while read, \
                    1 other warning";
        assert_eq!(summary(&report, true, None), text);
        report.unchanged = 49_988;
        let text = "would store 1234 members, 56.6 MiB, 49988 unchanged since full.tar.gz, \
                    0 deleted, 0 unreadable, 2 changed while read, 1 other warning";
        assert_eq!(summary(&report, true, Some("full.tar.gz")), text);
        report.identity = Some([0; 32]);
        let object = summary_json("create", &report, false);
        assert_eq!(object["members"], 1234);
        assert_eq!(object["identity"], "A".repeat(43));
    }
}
