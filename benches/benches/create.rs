//! The create job over a generated tree, its archive thrown away.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isptar_benches::{scratch, write_tree};
use isptar_core::{CreateOptions, WriteSink, create};

const FILES: u64 = 2000;
const BYTES: u64 = 64 << 20;

fn create_tree(criterion: &mut Criterion) {
    let tree = scratch().expect("a directory");
    let bytes = write_tree(tree.path(), FILES, BYTES).expect("a tree");
    let mut group = criterion.benchmark_group("create");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Bytes(bytes));
    for level in [0, 1, 6, 12] {
        let mut options = CreateOptions::default();
        options.level = level;
        options.directory = tree.path().to_owned();
        let paths = [PathBuf::from(".")];
        group.bench_function(BenchmarkId::new("level", level), |bencher| {
            bencher.iter(|| {
                let mut sink = WriteSink::new(io::sink());
                let report = create(&mut sink, &paths, &options, &mut ()).expect("an archive");
                assert_eq!((report.files, report.bytes), (FILES, bytes));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, create_tree);
criterion_main!(benches);
