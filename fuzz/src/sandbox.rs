//! Restoring hostile members beside things that must not be touched.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use isptar_core::{
    Archive, DiffOptions, ExtractOptions, Listing, Overwrite, Selection, TarReader, diff_tree,
    extract, extract_sequential,
};
use tempfile::TempDir;

use crate::archives::limits;
use crate::craft;
use crate::input::Input;

/// A target, `root`, and the tree `outside` beside it.
struct Sandbox {
    base: TempDir,
    before: Vec<Seen>,
}

/// What is seen of a file outside. The time of the last change of the inode tells of anything that
/// was done to it, be it written, linked, renamed or given another mode.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    inode: u64,
    mode: u32,
    links: u64,
    changed: (i64, i64),
    content: Vec<u8>,
}

thread_local! {
    static SANDBOX: Sandbox = Sandbox::new().expect("a temporary directory can be made");
}

/// Nothing of what the input holds, and nothing of what stands in the target, leads out of it.
pub fn extract_sandbox(data: &[u8]) {
    SANDBOX.with(|sandbox| {
        let root = sandbox.root();
        empty(&root).expect("the target can be emptied");
        let mut input = Input::new(data);
        sandbox.prepare(input.byte()).expect("links can be made");
        let options = options(&mut input);
        match input.byte() % 4 {
            0 => sequential(input.rest(), &root, &options),
            1 => listed(input.rest(), &root, &options),
            both => {
                let base = sandbox.base.path().as_os_str().as_bytes();
                let archive = craft::archive(&mut input, base);
                if both == 2 {
                    sequential(&archive, &root, &options);
                }
                // And into what is there by now.
                listed(&archive, &root, &options);
            }
        }
        assert_eq!(sandbox.look().expect("it can be read"), sandbox.before);
    });
}

fn options(input: &mut Input<'_>) -> ExtractOptions {
    let choice = input.byte();
    let mut options = ExtractOptions::default();
    options.overwrite = match choice % 4 {
        0 => Overwrite::Always,
        1 => Overwrite::Never,
        2 => Overwrite::Newer,
        _ => Overwrite::Different,
    };
    options.strip_components = usize::from(choice >> 2) % 4 / 2;
    options.xattrs = choice & 16 == 0;
    options.numeric_owner = choice & 32 == 0;
    options
}

fn sequential(data: &[u8], root: &Path, options: &ExtractOptions) {
    if let Ok(mut tar) = TarReader::new(data, limits()) {
        let _ = extract_sequential(&mut tar, &Selection::default(), root, options, &mut ());
    }
}

fn listed(data: &[u8], root: &Path, options: &ExtractOptions) {
    if let Ok(archive) = Archive::open_with(data, limits()) {
        let _ = extract(&archive, &Selection::default(), root, options, &mut ());
        compare(&archive, root);
    }
}

/// Reading the target leads out of it no more than writing does.
fn compare(archive: &Archive<&[u8]>, root: &Path) {
    let mut options = DiffOptions::default();
    options.directory = root.to_path_buf();
    options.checksum = true;
    if let Ok(listing) = Listing::of(archive, &mut ()) {
        let _ = diff_tree(listing, &options, &mut ());
    }
}

impl Sandbox {
    fn new() -> io::Result<Self> {
        let place = std::env::var_os("ISPTAR_FUZZ_DIR").map(PathBuf::from);
        let memory = Path::new("/dev/shm");
        let base = match place {
            Some(place) => tempfile::tempdir_in(place)?,
            None if memory.is_dir() => tempfile::tempdir_in(memory)?,
            None => tempfile::tempdir()?,
        };
        let outside = base.path().join("outside");
        fs::create_dir_all(outside.join("vdir"))?;
        fs::create_dir(base.path().join("root"))?;
        for (name, content) in [("victim", "original\n"), ("vdir/inner", "inner\n")] {
            fs::write(outside.join(name), content)?;
            fs::set_permissions(outside.join(name), Permissions::from_mode(0o600))?;
        }
        fs::set_permissions(outside.join("vdir"), Permissions::from_mode(0o700))?;
        let mut sandbox = Self { base, before: Vec::new() };
        sandbox.before = sandbox.look()?;
        Ok(sandbox)
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    /// Looks at everything outside the target.
    fn look(&self) -> io::Result<Vec<Seen>> {
        let base = self.base.path();
        let mut seen = Vec::new();
        for name in ["", "outside", "outside/vdir", "outside/victim", "outside/vdir/inner"] {
            let path = base.join(name);
            let found = fs::symlink_metadata(&path)?;
            seen.push(Seen {
                inode: found.ino(),
                mode: found.mode(),
                links: found.nlink(),
                changed: (found.ctime(), found.ctime_nsec()),
                content: if found.is_file() { fs::read(&path)? } else { Vec::new() },
                path,
            });
        }
        Ok(seen)
    }

    /// Puts things into the target that lead out of it.
    fn prepare(&self, what: u8) -> io::Result<()> {
        let root = self.root();
        let outside = self.base.path().join("outside");
        if what & 1 != 0 {
            symlink("../outside", root.join("out"))?;
            symlink(&outside, root.join("abs"))?;
        }
        if what & 2 != 0 {
            symlink("loop", root.join("loop"))?;
            symlink("../outside/victim", root.join("victim"))?;
        }
        if what & 4 != 0 {
            symlink(outside.join("vdir"), root.join("a"))?;
        }
        if what & 8 != 0 {
            fs::create_dir(root.join("b"))?;
            symlink("../../outside/victim", root.join("b/victim"))?;
            symlink("../../outside/vdir", root.join("b/a"))?;
        }
        if what & 16 != 0 {
            symlink("../outside/new", root.join("c"))?;
        }
        Ok(())
    }
}

/// Removes everything in a directory, whatever its mode became.
fn empty(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty(&entry.path())?;
            fs::remove_dir(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
