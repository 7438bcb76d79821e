//! Packing one chunk, and reading a file of many chunks, text and noise, and many tiny files.
//! Members are decoded by libdeflate, in verify and front to back by zlib-rs.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isptar_benches::{archive, archive_of, noise, text};
use isptar_core::codec::Packer;
use isptar_core::{Archive, Content as _, Limits, Selection, TarReader, VerifyOptions, verify};

const CHUNK: usize = 1 << 20;
const FILE: usize = 16 << 20;
const TINY: u64 = 2000;

fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for (name, data) in [("text", text(CHUNK, 1)), ("noise", noise(CHUNK, 1))] {
        for level in [1, 6, 12] {
            let mut packer = Packer::new(level);
            let mut out = Vec::new();
            group.bench_function(BenchmarkId::new(name, level), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    packer.pack(black_box(&data), &mut out);
                    assert_eq!(out.len() > CHUNK, name == "noise");
                });
            });
        }
    }
    group.finish();
}

fn unpack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unpack");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Bytes(FILE as u64));
    for (name, data) in [("text", text(FILE, 1)), ("noise", noise(FILE, 1))] {
        let bytes = archive_of(&data, 6).expect("an archive in memory");
        let archive = Archive::open(&bytes).expect("an archive of ours");
        let entry = archive.find(&"file".into()).expect("a listing").expect("an entry");
        group.bench_function(BenchmarkId::new("member", name), |bencher| {
            bencher.iter(|| archive.copy_range(&entry, 0, u64::MAX, &mut io::sink()));
        });
        group.bench_function(BenchmarkId::new("sequential", name), |bencher| {
            bencher.iter(|| {
                let mut tar = TarReader::new(bytes.as_slice(), Limits::default()).expect("a tar");
                let mut members = 0;
                while tar.next().expect("a member").is_some() {
                    members += 1;
                }
                assert_eq!(members, 1);
            });
        });
    }
    group.finish();
}

/// All members of an archive of tiny files, whose streams cost more than their bytes.
fn tiny(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tiny");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Elements(TINY));
    for level in [0, 6] {
        let bytes = archive(TINY, level, false).expect("an archive in memory");
        let opened = Archive::open(&bytes).expect("an archive of ours");
        let entries: Vec<_> = opened.entries().map(|entry| entry.expect("an entry")).collect();
        group.bench_function(BenchmarkId::new("members", level), |bencher| {
            bencher.iter(|| {
                let mut previous = None;
                for entry in &entries {
                    let mut member = opened.next_member(previous, entry).expect("a member");
                    while member.next_piece().expect("a piece").is_some() {}
                    previous = Some(member);
                }
            });
        });
        group.bench_function(BenchmarkId::new("verify", level), |bencher| {
            let mut options = VerifyOptions::default();
            options.threads = NonZero::new(1);
            bencher.iter(|| {
                let everything = Selection::default();
                let report = verify(&opened, &everything, &options, &mut ());
                assert!(report.expect("a report").is_good());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pack, unpack, tiny);
criterion_main!(benches);
