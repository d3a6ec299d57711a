//! Time of the prior and of whole files, on one thread, for a Kodak-sized picture (48 x 32
//! positions) and the sizes of the photo model.

#![allow(missing_docs)]

#[path = "../tests/tiny_model/mod.rs"]
mod tiny_model;

use criterion::{Criterion, criterion_group, criterion_main};
use tiny_model::Sizes;
use vqcodec_core::Limits;
use vqcodec_core::stream::{Picture, cross_entropy, read_codes, write_file};

fn photo(criterion: &mut Criterion) {
    let sizes =
        Sizes { slices: vec![12, 28, 56, 96], hidden: 160, quality_levels: 8, ..Sizes::logistic() };
    let mut parts = sizes.parts();
    parts.calm_heads();
    let model = vqcodec_core::Model::load(&parts.file()).expect("a valid model");
    let codes = [sizes.codes(32, 48, 4)];
    let picture = Picture { width: 768, height: 512, quality: 40, gray: false, alpha: None };
    let (file, _) = write_file(&model, picture, &codes, 1).expect("codes of the right shape");

    let mut group = criterion.benchmark_group("photo 768x512");
    group.sample_size(20);
    group.bench_function("network", |bencher| {
        bencher.iter(|| {
            for (slice, steps) in [(0, 4), (1, 2), (2, 2), (3, 2)] {
                for step in 0..steps {
                    model.prior.head_outputs(&codes[0], 40, (slice, step)).expect("a step");
                }
            }
        });
    });
    group.bench_function("measure", |bencher| {
        bencher.iter(|| cross_entropy(&model, 40, &codes, 1, true));
    });
    group.bench_function("write", |bencher| {
        bencher.iter(|| write_file(&model, picture, &codes, 1));
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| read_codes(&model, &file, &Limits::default(), 1));
    });
    group.finish();
}

criterion_group!(benches, photo);
criterion_main!(benches);
