//! What all commands that read archives take: how the archive is opened.

use isptar_core::Limits;

use crate::limits::LimitArgs;

/// How an archive is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    limits: LimitArgs,
}

impl OpenArgs {
    /// Returns the limits in force.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.limits()
    }
}
