//! What the commands share that make archives out of others.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isptar_core::format::text::digest_text;
use isptar_core::rewrite::{RewriteOptions, RewriteReport};

use super::store;
use crate::failure::Failure;
use crate::input::is_stdin;
use crate::json;
use crate::output::{count, size};
use crate::reporter::Telling;
use crate::ui::stdout_file;

/// How archives are made out of others.
#[derive(Debug, clap::Args)]
pub(crate) struct RewriteArgs {
    /// Decode all that is copied, and check it, before it is written
    #[arg(long)]
    verify: bool,
    /// Directory for temporary files [default: that of the new archive]
    #[arg(long, value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// Print one JSON object a line: members, errors, the summary last
    #[arg(long)]
    json: bool,
    /// Print the name of every member
    #[arg(short, long)]
    verbose: bool,
}

impl RewriteArgs {
    /// Returns the options of a new archive.
    pub(crate) fn to_options(&self, archive: &Path) -> RewriteOptions {
        let mut options = RewriteOptions::default();
        options.verify = self.verify;
        options.tool = Some(concat!("isptar ", env!("CARGO_PKG_VERSION")).into());
        options.spool = Some(self.spool_dir.clone().unwrap_or_else(|| store::spool(archive)));
        options
    }

    /// Returns what is told meanwhile.
    pub(crate) fn telling(&self) -> Telling {
        Telling { names: self.verbose, left_out: false, json: self.json, results: false }
    }
}

/// Refuses to write over what is read.
pub(crate) fn check_other(new: &Path, inputs: &[PathBuf]) -> Result<(), Failure> {
    let there = if is_stdin(new) {
        stdout_file().and_then(|file| file.metadata())
    } else {
        fs::metadata(new)
    };
    // What is not there yet, or cannot be looked at, is told when it is written.
    let Ok(there) = there else { return store::spare(new, inputs) };
    for input in inputs {
        let same = fs::metadata(input)
            .is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()));
        if same {
            return Err(Failure::SameFile { damaged: input.clone(), new: new.to_path_buf() });
        }
    }
    store::spare(new, inputs)
}

/// Says what an archive was made of.
pub(crate) fn made(report: &RewriteReport) -> String {
    let members = count(report.members, "member");
    let mut text = format!("{members}, {} in {}", size(report.bytes), size(report.archive_size));
    if report.carried > 0 {
        let entries = if report.carried == 1 { "entry" } else { "entries" };
        text.push_str(&format!(", {} {entries} without bytes here", report.carried));
    }
    if report.repacked > 0 {
        text.push_str(&format!(", {} packed again", count(report.repacked, "member")));
    }
    text
}

/// Puts what was made into an object.
pub(crate) fn put(object: &mut json::Object, report: &RewriteReport) {
    for (key, value) in [
        ("members", report.members),
        ("bytes", report.bytes),
        ("carried", report.carried),
        ("copied", report.copied),
        ("repacked", report.repacked),
        ("archive_size", report.archive_size),
    ] {
        object.insert(key.into(), value.into());
    }
    if let Some(identity) = &report.identity {
        object.insert("identity".into(), digest_text(identity).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_not_copied() {
        let mut report = RewriteReport::default();
        (report.members, report.bytes, report.archive_size) = (3, 2048, 1024);
        assert_eq!(made(&report), "3 members, 2.0 KiB in 1.0 KiB");
        (report.carried, report.repacked) = (1, 2);
        let text = "3 members, 2.0 KiB in 1.0 KiB, 1 entry without bytes here, 2 members packed \
                    again";
        assert_eq!(made(&report), text);
        let mut object = json::object("summary");
        put(&mut object, &report);
        assert_eq!((&object["members"], &object["repacked"]), (&3.into(), &2.into()));
    }
}
