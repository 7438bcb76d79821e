//! The option that keeps the listing in a second place.

use std::path::{Path, PathBuf};

use isptar_core::{FileSink, ListingSink, Sink};

use super::super::slices::SliceArgs;
use super::super::{heading, store};
use crate::failure::Failure;
use crate::ui::Ui;

/// Where the listing is written beside the archive.
#[derive(Debug, clap::Args)]
pub(crate) struct ListingArgs {
    /// Write the listing alone to FILE as well: for ls, diff, and as a base where the archive is not
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run", help_heading = heading::STORED)]
    save_listing: Option<PathBuf>,
}

impl ListingArgs {
    /// Begins the archive, and the listing beside it.
    pub(super) fn sink(
        &self,
        archive: &Path,
        slices: &SliceArgs,
        ui: &Ui,
    ) -> Result<Box<dyn Sink>, Failure> {
        let Some(listing) = &self.save_listing else { return slices.sink(archive, ui) };
        store::differ(archive, listing)?;
        let sinks = ListingSink::new(slices.sink(archive, ui)?, FileSink::create(listing)?);
        Ok(Box::new(sinks))
    }

    /// Returns where the listing goes, if it is wanted.
    pub(super) fn path(&self) -> Option<&Path> {
        self.save_listing.as_deref()
    }
}
