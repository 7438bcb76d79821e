//! Runs every target over its seeds, and those that take archives over the test archives too.

use std::path::Path;

use isptar_fuzz::{TARGETS, archive_open, tar_reader};

/// Calls `run` with each file below a directory; returns how many there are.
fn each_file(directory: &Path, run: &mut dyn FnMut(&[u8])) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += each_file(&path, run);
        } else {
            eprintln!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn seeds_break_no_promise() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, body) in TARGETS {
        body(b"");
        let count = each_file(&seeds.join(name), &mut |data| body(data));
        assert!(count > 0, "{name} has no seeds");
    }
}

#[test]
fn test_archives_break_no_promise() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    each_file(&testdata, &mut |data| {
        archive_open(data);
        tar_reader(data);
    });
}
