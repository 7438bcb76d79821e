//! One file out of many, by its name.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isptar_benches::{Numbers, archive, archive_of, content, file_name, text};
use isptar_core::Archive;

const FILES: u64 = 100_000;
const BIG: usize = 64 << 20;
const RANGE: u64 = 1024;

fn extract_one(criterion: &mut Criterion) {
    let bytes = archive(FILES, 1, false).expect("an archive in memory");
    let mut group = criterion.benchmark_group("extract_one");
    group.throughput(Throughput::Elements(1));
    group.bench_function("small_of_100k", |bencher| {
        let mut numbers = Numbers::new(1);
        let mut read = Vec::new();
        bencher.iter(|| {
            let number = numbers.below(FILES);
            let archive = Archive::open(&bytes).expect("an archive of ours");
            let entry = archive.find(&file_name(number)).expect("a listing").expect("an entry");
            read.clear();
            archive.copy_range(&entry, 0, u64::MAX, &mut read).expect("a member");
            assert_eq!(read, content(number));
        });
    });

    let big = text(BIG, 1);
    let bytes = archive_of(&big, 1).expect("an archive in memory");
    group.throughput(Throughput::Bytes(RANGE));
    group.bench_function("range_of_64_mib", |bencher| {
        let mut numbers = Numbers::new(1);
        let mut read = Vec::new();
        bencher.iter(|| {
            let start = numbers.below(BIG as u64 - RANGE);
            let archive = Archive::open(&bytes).expect("an archive of ours");
            let entry = archive.find(&"file".into()).expect("a listing").expect("an entry");
            read.clear();
            archive.copy_range(&entry, start, start + RANGE, &mut read).expect("a member");
            let start = usize::try_from(start).expect("an index");
            assert_eq!(read, big[start..][..1024]);
        });
    });
    group.finish();
}

criterion_group!(benches, extract_one);
criterion_main!(benches);
