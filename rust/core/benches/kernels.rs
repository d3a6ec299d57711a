//! Speed of every kernel of this machine, on one thread: elements are multiply-adds, so that
//! "Gelem/s" reads GMAC/s. Shapes are `rows x columns x batch`.

#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vqcodec_core::kernels::Kernel;
use vqcodec_core::network::Layer;

const SHAPES: [(usize, usize, usize); 6] = [
    (160, 1056, 32),
    (160, 160, 32),
    (160, 160, 1),
    (128, 1152, 32),
    (128, 128, 32),
    (192, 1728, 16),
];

fn layers(criterion: &mut Criterion) {
    for (rows, columns, batch) in SHAPES {
        let weights: Vec<i16> = (0..rows * columns).map(|i| (i % 251) as i16 - 125).collect();
        let layer =
            Layer::new("bench", (columns, 8191), &weights, vec![7; rows], vec![9; rows]).unwrap();
        let biases = layer.biases_at(0);
        let inputs: Vec<i16> = (0..batch * layer.stride()).map(|i| (i % 8191) as i16).collect();
        let mut outputs = vec![0; batch * rows];
        let mut group = criterion.benchmark_group(format!("{rows}x{columns}x{batch}"));
        group.throughput(Throughput::Elements((rows * columns * batch) as u64));
        for kernel in Kernel::available() {
            group.bench_function(BenchmarkId::from_parameter(kernel.name()), |bencher| {
                bencher.iter(|| {
                    layer.apply(kernel, &biases, black_box(&inputs), &mut outputs);
                    black_box(&mut outputs);
                });
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1));
    targets = layers
}
criterion_main!(benches);
