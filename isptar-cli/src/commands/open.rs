//! What all commands that read archives take: how the archive is opened.

use std::env;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isptar_core::io::MAX_SLICES;
use isptar_core::{FetchSlice, Limits, OpenSlices};

use crate::failure::Failure;
use crate::limits::LimitArgs;
use crate::program::{Program, Retries};
use crate::signals::Signals;

/// How an archive is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct OpenArgs {
    /// A base of an incremental archive, when it is not beside it; may be given several times, in
    /// any order: bases are known by their identity. Archives of the original isptar say nothing of
    /// their bases: give all of them, the nearest first
    #[arg(long = "base", value_name = "PATH", display_order = 80)]
    bases: Vec<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

/// Where the bytes of an archive come from, and what they may claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct SourceArgs {
    /// Run CMD to bring a slice that is not here: {path} is where it is wanted, {name} is its name,
    /// {number} its number
    #[arg(long, value_name = "CMD", display_order = 81)]
    fetch_slice: Option<Program>,
    /// Run CMD of --fetch-slice again when it fails, up to N times, waiting longer each time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "fetch_slice",
        display_order = 82
    )]
    fetch_retries: u32,
    /// Keep the slices that were fetched, up to five at a time as there is room, in DIR [default: that of
    /// the system]
    #[arg(long, value_name = "DIR", requires = "fetch_slice", display_order = 83)]
    fetch_dir: Option<PathBuf>,
    /// Say how many slices there are, when the last one is not here; of a base, when none is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_SLICES),
          display_order = 84)]
    slices: Option<u64>,
    /// It is a base, of which that number is right only when none of its slices is here.
    #[arg(skip)]
    is_base: bool,
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
        self.source.limits()
    }

    /// Returns how slices are found.
    pub(crate) fn slices(&self) -> OpenSlices {
        self.source.slices()
    }

    /// Returns how a base of the archive is opened.
    pub(crate) fn of_base(&self) -> Self {
        let source = SourceArgs { is_base: true, ..self.source.clone() };
        Self { source, ..self.clone() }
    }

    /// Begins to note signals where a program fetches slices: one that stops the job ends that
    /// program, and what it has fetched is removed.
    pub(crate) fn watch(&self) -> Result<Option<Signals>, Failure> {
        self.source.fetch_slice.as_ref().map(|_| Signals::start()).transpose()
    }

    /// Returns whether slices that are not here can be fetched, but it is not known how many there
    /// are.
    pub(crate) fn wants_count(&self) -> bool {
        self.source.fetch_slice.is_some() && self.source.slices.is_none()
    }
}

impl SourceArgs {
    /// Returns the limits in force.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.limits()
    }

    /// Returns how an archive is opened whose bases are not read.
    pub(crate) fn alone(&self) -> OpenArgs {
        OpenArgs { bases: Vec::new(), source: self.clone() }
    }

    fn slices(&self) -> OpenSlices {
        let mut options = OpenSlices::default();
        match self.is_base {
            true if self.fetch_slice.is_none() => {}
            true => options.count_if_none = self.slices,
            false => options.count = self.slices,
        }
        options.fetch = self.fetch_slice.clone().map(|program| {
            let fetch = Fetch { program, retries: Retries(self.fetch_retries) };
            let directory = self.fetch_dir.clone().unwrap_or_else(env::temp_dir);
            (Arc::new(fetch) as Arc<dyn FetchSlice>, directory)
        });
        options
    }
}

/// Fetches slices by a program.
#[derive(Debug)]
struct Fetch {
    program: Program,
    retries: Retries,
}

impl FetchSlice for Fetch {
    fn fetch(&self, number: u64, name: &Path, to: &Path) -> io::Result<()> {
        let values = [
            ("path", to.as_os_str().as_bytes().to_vec()),
            ("name", name.file_name().unwrap_or_default().as_bytes().to_vec()),
            ("number", number.to_string().into_bytes()),
        ];
        Ok(self.program.run_again(&values, self.retries)?)
    }
}
