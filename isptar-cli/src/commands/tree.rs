//! How a tree is read, as `create` and `send` do it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use isptar_core::CreateOptions;

use super::exclude::ExcludeArgs;
use super::heading;
use crate::failure::Failure;

/// Where a tree is, and what is left out of it.
#[derive(Debug, clap::Args)]
pub(crate) struct TreeArgs {
    /// Look up relative PATHs in DIR
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// Leave out the contents of directories that have a CACHEDIR.TAG
    #[arg(long, help_heading = heading::LEFT_OUT)]
    exclude_caches: bool,
    /// Leave out the contents of directories that have a file NAME
    #[arg(long, value_name = "NAME", help_heading = heading::LEFT_OUT)]
    exclude_if_present: Vec<OsString>,
    /// Stay on the file systems of the PATHs
    #[arg(short = 'x', long, help_heading = heading::LEFT_OUT)]
    one_file_system: bool,
}

impl TreeArgs {
    /// Learns the order of patterns: see [`ExcludeArgs::order`].
    pub(crate) fn order(&mut self, matches: &ArgMatches) {
        self.exclude.order(matches);
    }

    /// Returns whether patterns are read from standard input.
    pub(crate) fn takes_stdin(&self) -> bool {
        self.exclude.takes_stdin()
    }

    /// Puts them into the options of a job; `read` gives the text of a file of patterns.
    pub(crate) fn fill(
        &self,
        options: &mut CreateOptions,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<(), Failure> {
        options.directory.clone_from(&self.directory);
        options.exclude = self.exclude.patterns(read)?;
        options.exclude_caches = self.exclude_caches;
        options.exclude_if_present =
            self.exclude_if_present.iter().map(|name| name.clone().into_vec()).collect();
        options.one_file_system = self.one_file_system;
        Ok(())
    }
}
