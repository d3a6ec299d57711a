//! Time of the prior and of whole files, on one thread and every kernel of this machine, for a
//! Kodak-sized picture (48 x 32 positions) and the sizes of the photo model: 554 kMAC a position.
//! Besides criterion's figures it prints the best time in ns for each position.

#![allow(missing_docs)]

#[path = "../tests/tiny_model/mod.rs"]
mod tiny_model;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tiny_model::Sizes;
use vqcodec_core::kernels::Kernel;
use vqcodec_core::stream::{Picture, cross_entropy, read_codes, write_file};
use vqcodec_core::{Limits, Model};

const POSITIONS: u128 = 48 * 32;
const QUALITY: u8 = 40;

fn photo(criterion: &mut Criterion) {
    let sizes =
        Sizes { slices: vec![12, 28, 56, 96], hidden: 160, quality_levels: 8, ..Sizes::logistic() };
    let mut parts = sizes.parts();
    parts.calm_heads();
    let file = parts.file();
    let codes = [sizes.codes(32, 48, 4)];
    let picture = Picture {
        width: 768,
        height: 512,
        quality: QUALITY,
        gray: false,
        alpha: None,
        filter: b"",
    };

    for kernel in Kernel::available() {
        let model = Model::load(&file).expect("a valid model").with_kernel(kernel);
        let (file, _) = write_file(&model, picture, &codes, 1).expect("codes of the right shape");
        let features = model.prior.features(&codes[0], None).expect("codes of the right shape");
        let mut group = criterion.benchmark_group(format!("photo 768x512 {}", kernel.name()));
        group.sample_size(20);
        measure(&mut group, "network", || {
            for (slice, steps) in [(0, 4), (1, 2), (2, 2), (3, 2)] {
                for step in 0..steps {
                    let outputs = model.prior.head_outputs(&features, QUALITY, (slice, step));
                    black_box(outputs).expect("a step");
                }
            }
        });
        measure(&mut group, "measure", || {
            cross_entropy(&model, QUALITY, &codes, 1, true).expect("codes of the right shape");
        });
        measure(&mut group, "write", || {
            black_box(write_file(&model, picture, &codes, 1)).expect("codes of the right shape");
        });
        measure(&mut group, "read", || {
            black_box(read_codes(&model, &file, &Limits::default(), 1, 0)).expect("a valid file");
        });
        group.finish();
    }
}

fn measure(group: &mut BenchmarkGroup<WallTime>, name: &str, mut work: impl FnMut()) {
    let mut best = Duration::MAX;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                work();
                let time = start.elapsed();
                best = best.min(time);
                total += time;
            }
            total
        });
    });
    println!("{name}: at best {} ns a position", best.as_nanos() / POSITIONS);
}

criterion_group!(benches, photo);
criterion_main!(benches);
