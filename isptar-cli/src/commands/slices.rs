//! What commands that write archives take for slices.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use isptar_core::io::MIN_SLICE_SIZE;
use isptar_core::{OnSlice, OwnNames, Sink, SliceFile, SliceOptions, SliceSink};

use super::{heading, store};
use crate::failure::Failure;
use crate::input::is_stdin;
use crate::limits::parse_value;
use crate::program::{Program, Retries};
use crate::ui::Ui;

/// How an archive is cut.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SliceArgs {
    /// Cut an archive of more than SIZE bytes into ARCHIVE.part1, ARCHIVE.part2 and so on; SIZE may
    /// end in K, M or G
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = heading::SLICES)]
    slice_size: Option<u64>,
    /// Write a file ARCHIVE.partN.sha256 with each slice, for sha256sum -c
    #[arg(long, requires = "slice_size", help_heading = heading::SLICES)]
    slice_sha256: bool,
    /// Run CMD when a slice is finished, while the next one is written; {path} is its file for now,
    /// {name} the name it will have, {number}, {last} (1 or 0), {size}, {sha256}. It may remove the
    /// file
    #[arg(long, value_name = "CMD", requires = "slice_size", help_heading = heading::SLICES)]
    on_slice: Option<Program>,
    /// Run CMD of --on-slice again when it fails, up to N times, waiting longer each time
    #[arg(long, value_name = "N", default_value_t = 0, requires = "on_slice", help_heading = heading::SLICES)]
    on_slice_retries: u32,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let size = parse_value(text)?;
    if size < MIN_SLICE_SIZE {
        return Err(format!("slices have at least 4K, which is {MIN_SLICE_SIZE} bytes"));
    }
    Ok(size)
}

impl SliceArgs {
    /// Returns whether the archive is to be cut.
    pub(crate) fn is_given(&self) -> bool {
        self.slice_size.is_some()
    }

    /// Refuses to cut what does not go to files.
    pub(crate) fn check(&self, archive: &Path) -> Result<(), Failure> {
        if self.slice_size.is_some() && is_stdin(archive) {
            return Err(Failure::Usage("slices are files: --slice-size needs a name, not -"));
        }
        Ok(())
    }

    /// Returns the names of files of the archive that are not to be archived.
    pub(crate) fn own_names(&self, archive: &Path) -> Option<OwnNames> {
        // Where there is no directory yet, there is nothing in it.
        self.slice_size.and_then(|_| OwnNames::of(archive).ok())
    }

    /// Begins the archive.
    pub(crate) fn sink(&self, archive: &Path, ui: &Ui) -> Result<Box<dyn Sink>, Failure> {
        let Some(size) = self.slice_size else { return store::sink(archive, ui) };
        let mut options = SliceOptions::default();
        options.size = size;
        options.sums = self.slice_sha256;
        let retries = Retries(self.on_slice_retries);
        let hook = self.on_slice.clone().map(|program| Hook { program, retries });
        options.on_slice = hook.map(|hook| Box::new(hook) as Box<dyn OnSlice>);
        let sink = SliceSink::create(archive, options)?;
        if sink.had_leftovers() {
            let name = archive.display();
            ui.warning(&format!("{name}: slices left by an earlier run that was killed, removed"));
        }
        Ok(Box::new(sink))
    }
}

/// Runs a program for each slice.
#[derive(Debug)]
struct Hook {
    program: Program,
    retries: Retries,
}

impl OnSlice for Hook {
    fn finished(&mut self, slice: &SliceFile) -> io::Result<()> {
        let name = slice.name.file_name().unwrap_or_default();
        let values = [
            ("path", slice.path.as_os_str().as_bytes().to_vec()),
            ("name", name.as_bytes().to_vec()),
            ("number", slice.number.to_string().into_bytes()),
            ("last", u8::from(slice.is_last).to_string().into_bytes()),
            ("size", slice.len.to_string().into_bytes()),
            ("sha256", HEXLOWER.encode(&slice.sha256).into_bytes()),
        ];
        Ok(self.program.run_again(&values, self.retries)?)
    }
}
