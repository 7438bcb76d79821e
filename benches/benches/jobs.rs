//! The create, extract and verify jobs over files, with one thread and with two.

use std::fs::{self, File};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use isptar_benches::{scratch, write_tree};
use isptar_core::{
    Archive, CreateOptions, ExtractOptions, FileSink, Selection, VerifyOptions, create, extract,
    verify,
};
use tempfile::TempDir;

const FILES: u64 = 4000;
const BYTES: u64 = 24 << 20;
const THREADS: [usize; 2] = [1, 2];

/// A tree, and the archive of it.
struct World {
    directory: TempDir,
    bytes: u64,
}

impl World {
    fn new() -> Self {
        let directory = scratch().expect("a place");
        let bytes = write_tree(&directory.path().join("tree"), FILES, BYTES).expect("a tree");
        let world = Self { directory, bytes };
        world.create(None);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn create(&self, threads: Option<NonZero<usize>>) {
        let mut options = CreateOptions::default();
        options.directory = self.path("tree");
        options.threads = threads;
        let mut sink = FileSink::create(&self.path("archive.tar.gz")).expect("a file");
        let report =
            create(&mut sink, &[PathBuf::from(".")], &options, &mut ()).expect("an archive");
        assert_eq!((report.files, report.bytes), (FILES, self.bytes));
    }

    fn open(&self) -> Archive<File> {
        let file = File::open(self.path("archive.tar.gz")).expect("the archive");
        Archive::open(file).expect("an archive of ours")
    }

    fn extract(&self, threads: Option<NonZero<usize>>) {
        let mut options = ExtractOptions::default();
        options.threads = threads;
        let (everything, target) = (Selection::default(), self.path("target"));
        let report =
            extract(&self.open(), &everything, &target, &options, &mut ()).expect("a target");
        assert_eq!((report.files, report.bytes, report.failed), (FILES, self.bytes, 0));
    }

    fn verify(&self, threads: Option<NonZero<usize>>) {
        let mut options = VerifyOptions::default();
        options.threads = threads;
        let report =
            verify(&self.open(), &Selection::default(), &options, &mut ()).expect("a report");
        assert_eq!((report.bytes, report.damaged), (self.bytes, 0));
    }

    fn remove_target(&self) {
        let target = self.path("target");
        if target.exists() {
            fs::remove_dir_all(target).expect("it can be removed");
        }
    }
}

fn jobs(criterion: &mut Criterion) {
    let world = World::new();
    let mut group: BenchmarkGroup<'_, WallTime> = criterion.benchmark_group("jobs");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Bytes(world.bytes));
    for count in THREADS {
        let threads = NonZero::new(count);
        group.bench_function(BenchmarkId::new("create", count), |bencher| {
            bencher.iter(|| world.create(threads));
        });
        group.bench_function(BenchmarkId::new("extract", count), |bencher| {
            let again = || world.remove_target();
            bencher.iter_batched(again, |()| world.extract(threads), BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("verify", count), |bencher| {
            bencher.iter(|| world.verify(threads));
        });
    }
    group.finish();
}

criterion_group!(benches, jobs);
criterion_main!(benches);
