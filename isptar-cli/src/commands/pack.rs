//! How new members are packed, as `create` and `append` do it.

use std::num::NonZero;

use isptar_core::{CreateOptions, Patterns};

use super::heading;
use crate::failure::Failure;
use crate::limits::parse_value;

/// How members are packed.
#[derive(Debug, clap::Args)]
pub(crate) struct PackArgs {
    /// Store what matches as it is: patterns as of --exclude, for what is compressed already
    #[arg(long, value_name = "GLOB", help_heading = heading::STORED)]
    no_compress: Vec<String>,
    /// Let small members share streams of up to SIZE bytes of tar, at most 1M: smaller archives,
    /// and reading one member decodes its whole group [default: a stream for each member]
    #[arg(long, value_name = "SIZE", value_parser = parse_group, help_heading = heading::STORED)]
    group_size: Option<NonZero<u64>>,
    /// Use N threads; the archive is the same for any number [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

impl PackArgs {
    /// Puts them into the options of a job.
    pub(crate) fn fill(&self, options: &mut CreateOptions) -> Result<(), Failure> {
        options.no_compress = Patterns::new(&self.no_compress)?;
        options.threads = self.threads;
        options.group_size = self.group_size;
        Ok(())
    }
}

fn parse_group(text: &str) -> Result<NonZero<u64>, String> {
    let most = CreateOptions::MAX_GROUP_SIZE;
    let size = NonZero::new(parse_value(text)?).filter(|size| size.get() <= most);
    size.ok_or_else(|| format!("a group has from 1 byte to 1M, which is {most} bytes"))
}
