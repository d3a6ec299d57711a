//! Symbols per second through the range coder, on one thread: the integer models of this crate
//! beside constriction's own ones, all at 24 bits (the lookup table at 12).
//!
//! The logistic models are set up anew for each symbol, as the prior does, and so is constriction's
//! quantised Gaussian; tables are set up once. The categorical model is timed both ways.

#![allow(missing_docs)]

#[path = "../tests/tiny_model/mod.rs"]
mod tiny_model;

use constriction::stream::model::{
    ContiguousCategoricalEntropyModel, DecoderModel, DefaultContiguousCategoricalEntropyModel,
    DefaultLeakyQuantizer, EncoderModel, SmallContiguousLookupDecoderModel,
};
use constriction::stream::queue::{
    DefaultRangeDecoder, DefaultRangeEncoder, SmallRangeDecoder, SmallRangeEncoder,
};
use constriction::stream::{Decode, Encode};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use probability::distribution::Gaussian;
use std::hint::black_box;
use tiny_model::Random;
use vqcodec_core::categorical::{Categorical, Table};
use vqcodec_core::distribution::Distribution;
use vqcodec_core::entropy::{Decoder, Encoder, SymbolCoder};
use vqcodec_core::logistic::Logistic;

type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

const SYMBOLS: usize = 100_000;
const ALPHABET: usize = 64;

/// A mean in 1/256 symbol, a scale class and a symbol drawn from the logistic distribution.
type Number = (i32, i32, i32);

fn numbers() -> Vec<Number> {
    let mut random = Random(1);
    let mut number = || {
        let (mean, class) = (random.within(-1000, 1000), random.within(48, 128));
        let quantile = random.within(0, (1 << 24) - 1) as u32;
        let logistic = Logistic::new(mean, class);
        let (offset, _) = logistic.find(quantile);
        (mean, class, logistic.center() + offset.min(logistic.window()))
    };
    (0..SYMBOLS).map(|_| number()).collect()
}

fn logistic(criterion: &mut Criterion) {
    let numbers = numbers();
    let mut group = criterion.benchmark_group("logistic");
    group.throughput(Throughput::Elements(SYMBOLS as u64)).sample_size(20);

    let encode = || {
        let mut coder = Encoder::default();
        for &(mean, class, symbol) in &numbers {
            Logistic::new(mean, class).code(symbol, &mut coder).expect("a code");
        }
        coder.finish()
    };
    let payload = encode();
    group.bench_function("encode/ours", |bencher| bencher.iter(encode));
    group.bench_function("decode/ours", |bencher| {
        bencher.iter(|| {
            let mut coder = Decoder::new(&payload);
            for &(mean, class, symbol) in &numbers {
                let decoded = Logistic::new(mean, class).code(0, &mut coder).expect("a code");
                assert_eq!(decoded, symbol);
            }
        });
    });

    let quantizer = DefaultLeakyQuantizer::new(-200..=200);
    let gaussian = |mean: i32, class: i32| {
        let scale = f64::from(class - 96).exp2().powf(1.0 / 16.0) * 1.8; // about the same spread
        quantizer.quantize(Gaussian::new(f64::from(mean) / 256.0, scale))
    };
    let encode = || {
        let mut coder = DefaultRangeEncoder::new();
        for &(mean, class, symbol) in &numbers {
            coder.encode_symbol(symbol, gaussian(mean, class)).expect("a symbol");
        }
        coder.into_compressed().expect("memory")
    };
    let words = encode();
    group.bench_function("encode/constriction quantised Gaussian", |bencher| bencher.iter(encode));
    group.bench_function("decode/constriction quantised Gaussian", |bencher| {
        bencher.iter(|| {
            let mut coder = DefaultRangeDecoder::from_compressed(&words[..]).expect("words");
            for &(mean, class, symbol) in &numbers {
                let decoded = coder.decode_symbol(gaussian(mean, class)).expect("a symbol");
                assert_eq!(decoded, symbol);
            }
        });
    });
    group.finish();
}

/// Counts of a peaked distribution, and symbols drawn from it.
fn symbols() -> (Vec<u64>, Vec<i32>) {
    let counts: Vec<u64> = (0..ALPHABET as u64).map(|symbol| 1 << 30 >> (symbol / 4)).collect();
    let table = Table::from_counts(&counts).expect("counts");
    let mut random = Random(2);
    let mut symbol = || table.find(random.within(0, (1 << 24) - 1) as u32).0;
    (counts, (0..SYMBOLS).map(|_| symbol()).collect())
}

fn categorical(criterion: &mut Criterion) {
    let (counts, symbols) = symbols();
    let mut group = criterion.benchmark_group(format!("categorical {ALPHABET}"));
    group.throughput(Throughput::Elements(SYMBOLS as u64)).sample_size(20);

    let logits: Vec<i32> =
        counts.iter().map(|&count| ((count as f64).log2() * 256.0) as i32).collect();
    let mut model = Categorical::default();
    ours(&mut group, "ours, new logits", &symbols, &mut model, |model| {
        model.set_logits(black_box(&logits));
    });
    ours(&mut group, "ours, logits set once", &symbols, &mut model, |_| ());
    let mut table = Table::from_counts(&counts).expect("counts");
    ours(&mut group, "ours, table", &symbols, &mut table, |_| ());

    let total: u64 = counts.iter().sum();
    let probabilities: Vec<f64> = counts.iter().map(|&c| c as f64 / total as f64).collect();
    let model = DefaultContiguousCategoricalEntropyModel::from_floating_point_probabilities_fast::<
        f64,
    >(&probabilities, None)
    .expect("probabilities");
    constriction_table(&mut group, &symbols, model.as_view());
    constriction_lookup(&mut group, &symbols, &probabilities);
    group.finish();
}

/// Times a model after a call of `set` for each symbol.
fn ours<M: Distribution>(
    group: &mut Group,
    name: &str,
    symbols: &[i32],
    model: &mut M,
    set: impl Fn(&mut M),
) {
    let mut encode = || {
        let mut coder = Encoder::default();
        for &symbol in symbols {
            set(model);
            coder.code(symbol, model).expect("a symbol");
        }
        coder.finish()
    };
    let payload = encode();
    group.bench_function(format!("encode/{name}"), |bencher| bencher.iter(&mut encode));
    group.bench_function(format!("decode/{name}"), |bencher| {
        bencher.iter(|| {
            let mut coder = Decoder::new(&payload);
            for &symbol in symbols {
                set(model);
                assert_eq!(coder.code(0, model).expect("a symbol"), symbol);
            }
        });
    });
}

fn constriction_table<M>(group: &mut Group, symbols: &[i32], model: M)
where
    M: Copy
        + EncoderModel<24, Symbol = usize, Probability = u32>
        + DecoderModel<24, Symbol = usize, Probability = u32>,
{
    let encode = || {
        let mut coder = DefaultRangeEncoder::new();
        for &symbol in symbols {
            coder.encode_symbol(symbol as usize, model).expect("a symbol");
        }
        coder.into_compressed().expect("memory")
    };
    let words = encode();
    group.bench_function("encode/constriction table", |bencher| bencher.iter(encode));
    group.bench_function("decode/constriction table", |bencher| {
        bencher.iter(|| {
            let mut coder = DefaultRangeDecoder::from_compressed(&words[..]).expect("words");
            for &symbol in symbols {
                assert_eq!(coder.decode_symbol(model).expect("a symbol"), symbol as usize);
            }
        });
    });
}

fn constriction_lookup(group: &mut Group, symbols: &[i32], probabilities: &[f64]) {
    let model =
        ContiguousCategoricalEntropyModel::<u16, _, 12>::from_floating_point_probabilities_fast(
            probabilities,
            None,
        )
        .expect("probabilities");
    let mut coder = SmallRangeEncoder::new();
    for &symbol in symbols {
        coder.encode_symbol(symbol as usize, &model).expect("a symbol");
    }
    let words = coder.into_compressed().expect("memory");
    let lookup = SmallContiguousLookupDecoderModel::from_floating_point_probabilities_fast(
        probabilities,
        None,
    )
    .expect("probabilities");
    group.bench_function("decode/constriction lookup", |bencher| {
        bencher.iter(|| {
            let mut coder = SmallRangeDecoder::from_compressed(&words[..]).expect("words");
            for &symbol in symbols {
                assert_eq!(coder.decode_symbol(&lookup).expect("a symbol"), symbol as usize);
            }
        });
    });
}

criterion_group!(benches, logistic, categorical);
criterion_main!(benches);
