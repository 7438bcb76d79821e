//! What all commands that read archives take: how the archive is opened.

use std::path::PathBuf;

use isptar_core::Limits;

use crate::limits::LimitArgs;

/// How an archive is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct OpenArgs {
    /// A base of an incremental archive, when it is not beside it; may be given several times, in
    /// any order: bases are known by their identity. Archives of the original isptar say nothing of
    /// their bases: give all of them, the nearest first
    #[arg(long = "base", value_name = "PATH", display_order = 80)]
    bases: Vec<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl OpenArgs {
    /// Returns where the user says that bases are.
    pub(crate) fn bases(&self) -> &[PathBuf] {
        &self.bases
    }

    /// Returns the limits in force.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.limits()
    }
}
