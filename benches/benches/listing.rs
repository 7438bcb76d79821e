//! Opening archives and reading their listing: all of it, one entry, one directory.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isptar_benches::{FILES_PER_DIRECTORY, archive, directory_name, entries, file_name};
use isptar_core::archive::BlockEntries;
use isptar_core::{Archive, Error};

const SIZES: [u64; 4] = [1000, 100_000, 400_000, 1_000_000];

fn listing(criterion: &mut Criterion) {
    let archives = SIZES.map(|files| {
        // A million members with content would take a gigabyte.
        let bytes = archive(files, 1, files >= 400_000).expect("an archive in memory");
        (files, bytes)
    });
    let mut group = criterion.benchmark_group("listing");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for (files, bytes) in &archives {
        group.throughput(Throughput::Elements(entries(*files)));
        group.bench_with_input(BenchmarkId::new("all", files), bytes, |bencher, bytes| {
            bencher.iter(|| {
                let archive = Archive::open(bytes).expect("an archive of ours");
                let mut count = 0;
                for entry in archive.entries() {
                    black_box(entry.expect("an entry"));
                    count += 1;
                }
                assert_eq!(count, entries(*files));
            });
        });
        group.bench_with_input(BenchmarkId::new("lent", files), bytes, |bencher, bytes| {
            bencher.iter(|| {
                let archive = Archive::open(bytes).expect("an archive of ours");
                let (mut listed, mut count) = (archive.entries(), 0);
                while let Some(entry) = listed.next_ref() {
                    black_box(entry.expect("an entry"));
                    count += 1;
                }
                assert_eq!(count, entries(*files));
            });
        });
        group.bench_with_input(BenchmarkId::new("parallel", files), bytes, |bencher, bytes| {
            bencher.iter(|| {
                let archive = Archive::open(bytes).expect("an archive of ours");
                let mut count = 0;
                let each = |block: usize| {
                    count += block as u64;
                    Ok::<_, Error>(())
                };
                let work = |block: &mut BlockEntries<'_, &Vec<u8>>| block.map(black_box).count();
                archive.map_blocks(None, None, work, each).expect("a listing");
                assert_eq!(count, entries(*files));
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("listing_part");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for (files, bytes) in &archives {
        let middle = files / 2 + 1;
        group.throughput(Throughput::Elements(1));
        let path = file_name(middle);
        group.bench_with_input(BenchmarkId::new("open", files), bytes, |bencher, bytes| {
            bencher.iter(|| {
                let archive = Archive::open(bytes).expect("an archive of ours");
                assert_eq!(archive.info().entries, entries(*files));
            });
        });
        group.bench_with_input(BenchmarkId::new("find", files), bytes, |bencher, bytes| {
            bencher.iter(|| {
                let archive = Archive::open(bytes).expect("an archive of ours");
                let found = archive.find(&path).expect("a listing").expect("an entry");
                assert_eq!(found.path, path);
            });
        });
        let path = directory_name(middle);
        group.throughput(Throughput::Elements(FILES_PER_DIRECTORY + 1));
        group.bench_with_input(BenchmarkId::new("within", files), bytes, |bencher, bytes| {
            bencher.iter(|| {
                let archive = Archive::open(bytes).expect("an archive of ours");
                let within = archive.entries_within(&path);
                let count = within.filter(|entry| entry.is_ok()).count();
                assert_eq!(count as u64, FILES_PER_DIRECTORY + 1);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, listing);
criterion_main!(benches);
