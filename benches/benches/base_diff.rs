//! An increment of a tree in which nothing has changed, beside a walk that looks at everything and
//! does nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isptar_benches::{scratch, write_tree};
use isptar_core::{Archive, BaseListing, CreateOptions, Extras, WriteSink, create, create_with};

const FILES: u64 = 20_000;
const BYTES: u64 = 20 << 20;

/// Looks at everything in a tree, as `find -printf %s` does.
fn walk(directory: &Path) -> io::Result<u64> {
    let mut count = 1;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        count += if metadata.is_dir() { walk(&entry.path())? } else { 1 };
    }
    Ok(count)
}

fn unchanged(criterion: &mut Criterion) {
    let scratch = scratch().expect("a directory");
    let tree = scratch.path().join("tree");
    write_tree(&tree, FILES, BYTES).expect("a tree");
    let mut options = CreateOptions::default();
    options.directory.clone_from(&tree);
    options.spool = Some(scratch.path().to_owned());
    // Later than anything has changed, so that nothing is stored to be sure.
    options.created = Some(1 << 40);
    let paths = [PathBuf::from(".")];
    let mut bytes = Vec::new();
    create(&mut WriteSink::new(&mut bytes), &paths, &options, &mut ()).expect("an archive");
    let base = Archive::open(bytes).expect("an archive");
    let entries = base.info().entries;

    let mut group = criterion.benchmark_group("base_diff");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(entries));
    group.bench_function(BenchmarkId::new("walk", entries), |bencher| {
        bencher.iter(|| assert_eq!(walk(&tree).expect("a walk"), entries));
    });
    group.bench_function(BenchmarkId::new("unchanged", entries), |bencher| {
        bencher.iter(|| {
            let mut extras = Extras::default();
            extras.set_base(BaseListing::of(&base, b"base.tar.gz").expect("a listing"));
            let mut sink = WriteSink::new(io::sink());
            let report = create_with(&mut sink, &paths, &options, extras, &mut ());
            let report = report.expect("an archive");
            assert_eq!((report.members, report.unchanged), (0, entries));
        });
    });
    group.finish();
}

criterion_group!(benches, unchanged);
criterion_main!(benches);
