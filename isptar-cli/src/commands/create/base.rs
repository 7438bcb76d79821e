//! What `create` stores on: the options of a base.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isptar_core::io::SliceFault;
use isptar_core::path::printable;
use isptar_core::rewrite::copy_data;
use isptar_core::{BaseListing, CreateOptions, Error, Extras, SliceSet};

use super::super::heading;
use crate::bases;
use crate::commands::open::OpenArgs;
use crate::failure::Failure;
use crate::input::{self, Listed, is_stdin, shown};
use crate::ui::Ui;

/// On what an archive is made.
#[derive(Debug, clap::Args)]
pub(crate) struct BaseArgs {
    /// Store only what changed since ARCHIVE was made, and refer to it for the rest; the listing of
    /// an archive alone will do
    #[arg(long, value_name = "ARCHIVE", help_heading = heading::BASES)]
    base: Option<PathBuf>,
    /// Look for the base under NAME when members are read [default: its file name; that of a listing
    /// alone without its last extension]
    #[arg(long, value_name = "NAME", requires = "base", help_heading = heading::BASES)]
    base_name: Option<OsString>,
    /// Read files that seem unchanged, too, and compare their digests
    #[arg(long, requires = "base", help_heading = heading::BASES)]
    checksum: bool,
    /// Do not take a file for changed because its inode changed at another time
    #[arg(long, requires = "base", help_heading = heading::BASES)]
    ignore_ctime: bool,
    /// Do not take a file for changed because it has another inode number
    #[arg(long, requires = "base", help_heading = heading::BASES)]
    ignore_inode: bool,
}

/// A base that was opened.
pub(crate) struct OpenBase {
    archive: Listed,
    name: Vec<u8>,
}

impl BaseArgs {
    /// Says how things are compared.
    pub(crate) fn put_options(&self, options: &mut CreateOptions) {
        options.compare.checksum = self.checksum;
        options.compare.ignore_ctime = self.ignore_ctime;
        options.compare.ignore_inode = self.ignore_inode;
    }

    /// Returns what the base is called in messages, if there is one.
    pub(crate) fn shown(&self) -> Option<String> {
        self.base.as_deref().map(shown)
    }

    /// Opens the base, if there is one; neither it nor a base of it may be `new`, which
    /// will be written.
    pub(crate) fn open(&self, new: &Path) -> Result<Option<OpenBase>, Failure> {
        let Some(path) = self.base.as_deref() else { return Ok(None) };
        let bad = |error| Error::BadBase { name: shown(path), error: Box::new(error) };
        let opened = input::open_slices(path, &OpenArgs::default());
        let opened = opened.map_err(|failure| match failure {
            Failure::Open { source, .. } => {
                Failure::Core(bad(Error::Io { op: "open", path: path.to_owned(), source }))
            }
            failure => failure,
        });
        let Some(slices) = opened? else {
            return Err(Failure::Usage("a base is a file: its listing is read from its end"));
        };
        if !is_stdin(new) && files_of(new).iter().any(|file| files_of(path).contains(file)) {
            let (damaged, new) = (path.to_owned(), new.to_owned());
            return Err(Failure::SameFile { damaged, new });
        }
        let archive = input::list(slices, path, &OpenArgs::default()).map_err(bad)?;
        bases::spare(&archive, new)?;
        // What a link leads to is its name: a link is not followed when the base is looked for.
        let real = std::fs::canonicalize(path).ok();
        let path = real.as_deref().unwrap_or(path);
        let file_name = match archive.is_listing() {
            true => path.file_stem().filter(|_| path.extension().is_some()),
            false => path.file_name(),
        };
        let Some(name) = self.base_name.as_deref().or(file_name) else {
            let text = "--base-name must say what the archive of this listing is called";
            return Err(Failure::Usage(text));
        };
        Ok(Some(OpenBase { archive, name: name.as_bytes().to_vec() }))
    }
}

impl OpenBase {
    /// Returns the listing of the base.
    pub(crate) fn listing(&self) -> Result<BaseListing<'_>, Error> {
        BaseListing::of(&self.archive, &self.name)
    }

    /// Tells what will keep those who read the archive `new` from what is in its bases: slices that are
    /// wrong, and a base that nobody will find beside it because it has its name.
    pub(crate) fn tell_doubts(&self, new: &Path, ui: &Ui) {
        let faults = self.archive.slices().map(SliceSet::missing).unwrap_or_default();
        for wrong in faults.iter().filter(|error| error.fault != SliceFault::Missing) {
            ui.warning(&format!("the base {}: {wrong}", printable(&self.name)));
        }
        let others = self.archive.tables().bases.iter().map(|base| &base.name);
        let is_same = |name: &&Vec<u8>| new.file_name().is_some_and(|new| new.as_bytes() == **name);
        let Some(name) = [&self.name].into_iter().chain(others).find(is_same) else { return };
        if !is_stdin(new) {
            let (name, new) = (printable(name), shown(new));
            ui.note(&format!(
                "{new}: its base is looked for beside it as {name}, which is its own name: \
                 --base tells readers where it is, --base-name gives it another"
            ));
        }
    }

    /// Refuses to write a listing in place of the base, or of a base of it. The listing of an archive
    /// alone may be replaced by the next one.
    pub(super) fn spare(&self, listing: &Path) -> Result<(), Failure> {
        match self.archive.is_listing() {
            true => bases::spare_bases(&self.archive, listing),
            false => bases::spare(&self.archive, listing),
        }
    }

    /// Has what did not change copied from the base.
    pub(crate) fn copy_data<'e>(&'e self, extras: &mut Extras<'e>, options: &CreateOptions) {
        copy_data(extras, &self.archive, options);
    }
}

/// Returns the device and inode numbers of an archive, or of its slices.
fn files_of(path: &Path) -> Vec<(u64, u64)> {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let slice = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".part{number}"));
        id(Path::new(&name))
    };
    id(path).into_iter().chain((1..).map_while(slice)).collect()
}
