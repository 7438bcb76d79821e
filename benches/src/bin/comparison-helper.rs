//! What `benches/compare` needs beside scripts: whether two trees are the same, and how long
//! compressing every file of a tree takes by itself.
//!
//! ```text
//! comparison-helper same A B [--times exact|seconds|none] [--no-modes]
//! comparison-helper deflate LEVEL DIR
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program, for one script")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use libdeflater::{CompressionLvl, Compressor};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// As many bytes of a file as create compresses at once.
const CHUNK: usize = 1 << 20;

/// What of times is compared.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    Exact,
    Seconds,
    Ignored,
}

#[derive(Clone, Copy)]
struct Strictness {
    times: Times,
    modes: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["same", a, b, options @ ..] => {
            strictness(options).and_then(|strictness| same(Path::new(a), Path::new(b), strictness))
        }
        ["deflate", level, dir] => deflate(level, Path::new(dir)),
        _ => Err("usage: same A B [OPTIONS] | deflate LEVEL DIR".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comparison-helper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn strictness(options: &[&str]) -> Result<Strictness> {
    let mut strictness = Strictness { times: Times::Exact, modes: true };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match (*option, option.starts_with("--times").then(|| options.next().copied()).flatten()) {
            ("--no-modes", _) => strictness.modes = false,
            ("--times", Some("exact")) => strictness.times = Times::Exact,
            ("--times", Some("seconds")) => strictness.times = Times::Seconds,
            ("--times", Some("none")) => strictness.times = Times::Ignored,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok(strictness)
}

/// Fails at the first thing below `b` that is not as below `a`: names, kinds, link targets,
/// contents, modes, times of files.
fn same(a: &Path, b: &Path, strictness: Strictness) -> Result<()> {
    let mut files = Vec::new();
    let mut entries = 0u64;
    compare_directories(a, b, Path::new(""), strictness, &mut files, &mut entries)?;
    let next = AtomicUsize::new(0);
    let compare = || -> Result<()> {
        let mut buffers = (Vec::new(), Vec::new());
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            compare_contents(&a.join(file), &b.join(file), &mut buffers)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(compare)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("threads do not panic"))
    })?;
    println!("{entries}");
    Ok(())
}

fn compare_directories(
    a: &Path,
    b: &Path,
    within: &Path,
    strictness: Strictness,
    files: &mut Vec<PathBuf>,
    entries: &mut u64,
) -> Result<()> {
    let (listed, other) = (list(&a.join(within))?, list(&b.join(within))?);
    if let Some(extra) = other.keys().find(|name| !listed.contains_key(*name)) {
        return Err(format!("{} should not be there", within.join(extra).display()).into());
    }
    for (name, wanted) in &listed {
        let path = within.join(name);
        let Some(found) = other.get(name) else {
            return Err(format!("{} is missing", path.display()).into());
        };
        compare_metadata(&path, wanted, found, strictness)?;
        *entries += 1;
        if wanted.is_dir() {
            compare_directories(a, b, &path, strictness, files, entries)?;
        } else if wanted.is_symlink() {
            if fs::read_link(a.join(&path))? != fs::read_link(b.join(&path))? {
                return Err(format!("{} leads elsewhere", path.display()).into());
            }
        } else if wanted.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<BTreeMap<OsString, Metadata>> {
    let read = fs::read_dir(directory).map_err(|error| at(directory, &error))?;
    read.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name(), entry.metadata()?))
    })
    .collect()
}

fn compare_metadata(
    path: &Path,
    wanted: &Metadata,
    found: &Metadata,
    strictness: Strictness,
) -> Result<()> {
    let wrong = |what: &str, wanted: String, found: String| {
        Err(format!("{}: {what} is {found}, should be {wanted}", path.display()).into())
    };
    if wanted.file_type() != found.file_type() {
        let [wanted, found] = [wanted, found].map(|data| format!("{:?}", data.file_type()));
        return wrong("kind", wanted, found);
    }
    if strictness.modes && !wanted.is_symlink() && wanted.mode() != found.mode() {
        return wrong("mode", format!("{:o}", wanted.mode()), format!("{:o}", found.mode()));
    }
    if !wanted.is_file() {
        return Ok(());
    }
    let time = |data: &Metadata| match strictness.times {
        Times::Exact => (data.mtime(), data.mtime_nsec()),
        Times::Seconds => (data.mtime(), 0),
        Times::Ignored => (0, 0),
    };
    if time(wanted) != time(found) {
        return wrong("time", format!("{:?}", time(wanted)), format!("{:?}", time(found)));
    }
    if wanted.len() != found.len() {
        return wrong("length", wanted.len().to_string(), found.len().to_string());
    }
    Ok(())
}

fn compare_contents(a: &Path, b: &Path, buffers: &mut (Vec<u8>, Vec<u8>)) -> Result<()> {
    let open = |path: &Path| File::open(path).map_err(|error| at(path, &error));
    let (mut wanted, mut found) = (open(a)?, open(b)?);
    loop {
        let (left, right) = (&mut buffers.0, &mut buffers.1);
        read_chunk(&mut wanted, left).map_err(|error| at(a, &error))?;
        read_chunk(&mut found, right).map_err(|error| at(b, &error))?;
        if left != right {
            return Err(format!("{} has other contents", b.display()).into());
        }
        if left.len() < CHUNK {
            return Ok(());
        }
    }
}

fn read_chunk(file: &mut File, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    buffer.clear();
    file.take(CHUNK as u64).read_to_end(buffer)
}

/// Compresses every file below a directory, in chunks, by one thread, and throws the bytes away.
/// Prints how many bytes went in and came out, and the seconds of CPU of the compressing alone.
fn deflate(level: &str, dir: &Path) -> Result<()> {
    let level = CompressionLvl::new(level.parse()?).map_err(|_| "not a level")?;
    let mut compressor = Compressor::new(level);
    let (mut data, mut packed) = (Vec::with_capacity(CHUNK), Vec::new());
    let (mut total, mut total_packed, mut seconds) = (0, 0, 0.0);
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for (name, found) in list(&directory)? {
            let path = directory.join(name);
            if found.is_dir() {
                directories.push(path);
                continue;
            }
            if !found.is_file() {
                continue;
            }
            let mut file = File::open(&path).map_err(|error| at(&path, &error))?;
            while read_chunk(&mut file, &mut data).map_err(|error| at(&path, &error))? > 0 {
                let begun = cpu_seconds();
                packed.resize(compressor.gzip_compress_bound(data.len()), 0);
                total_packed += compressor.gzip_compress(&data, &mut packed)?;
                seconds += cpu_seconds() - begun;
                total += data.len();
            }
        }
    }
    println!("{total} {total_packed} {seconds:.6}");
    Ok(())
}

/// Returns the processor time of this process so far.
#[allow(clippy::cast_precision_loss, reason = "a fraction of a second")]
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn at(path: &Path, error: &std::io::Error) -> Box<dyn Error + Send + Sync> {
    format!("{}: {error}", path.display()).into()
}
