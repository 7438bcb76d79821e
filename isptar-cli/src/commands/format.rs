//! The option that says in which program's layout an archive is written.

use isptar_core::CreateOptions;
use isptar_core::format::entry::Dialect;

use super::heading;
use crate::failure::Failure;

/// Options of the layout.
#[derive(Debug, clap::Args)]
pub(crate) struct FormatArgs {
    /// Layout of the archive: that of the original program, which reads it, is classic. It has no
    /// extended attributes, digests, fractions of seconds, nor times of directories and links
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Isptar,
          help_heading = heading::STORED)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Isptar,
    Classic,
}

impl FormatArgs {
    /// Says in which layout to write, and refuses what it does not have.
    pub(crate) fn apply(&self, options: &mut CreateOptions) -> Result<(), Failure> {
        options.dialect = match self.format {
            Format::Isptar => return Ok(()),
            Format::Classic => Dialect::Classic,
        };
        if options.group_size.is_some() {
            return Err(Failure::Usage("--group-size: classic archives have no groups"));
        }
        Ok(())
    }
}
