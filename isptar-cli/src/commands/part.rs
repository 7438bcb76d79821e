//! The option that reads one part of a merged archive.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use isptar_core::Error;
use isptar_core::rewrite::select_part;

use crate::failure::Failure;
use crate::input::Input;

/// Which part of a merged archive is read.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PartArgs {
    /// Of a merged archive, read only the part NAME
    #[arg(long, value_name = "NAME")]
    part: Option<OsString>,
}

impl PartArgs {
    /// Makes an input give out that part alone.
    pub(crate) fn select(&self, input: &mut Input) -> Result<(), Failure> {
        let Some(name) = &self.part else { return Ok(()) };
        match input {
            Input::Listed(archive) => Ok(select_part(archive, name.as_bytes())?),
            Input::Foreign(..) => Err(Error::NoParts.into()),
        }
    }
}
