//! The convert job: from any tar to an archive with a listing.

use std::io::Read;

use crate::create::{CreateOptions, CreateReport};
use crate::error::Result;
use crate::io::Sink;
use crate::observe::Observer;
use crate::scan::TarReader;

/// Stores the members of `tar` in `sink` and publishes it.
pub fn convert<R: Read>(
    _tar: &mut TarReader<R>,
    _sink: &mut dyn Sink,
    _options: &CreateOptions,
    _observer: &mut dyn Observer,
) -> Result<CreateReport> {
    todo!()
}
