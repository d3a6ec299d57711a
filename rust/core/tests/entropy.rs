//! The range coder gives back what went in, at almost the cross entropy, and survives garbage.

#![allow(missing_docs)]

use proptest::prelude::*;
use vqcodec_core::categorical::Categorical;
use vqcodec_core::distribution::{Distribution, Interval, TOTAL};
use vqcodec_core::entropy::{Decoder, Encoder, Meter, SymbolCoder};
use vqcodec_core::logistic::{CLASSES, Logistic};
use vqcodec_core::{CodeGrid, Error, Result, prior::StaticPrior};

/// Codes `(mean, class, value)` triples, returning the values.
fn walk(triples: &[(i32, i32, i32)], coder: &mut impl SymbolCoder) -> Result<Vec<i32>> {
    triples
        .iter()
        .map(|&(mean, class, value)| Logistic::new(mean, class).code(value, coder))
        .collect()
}

/// Encodes and decodes; returns the payload.
fn round_trip(triples: &[(i32, i32, i32)]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let values = walk(triples, &mut encoder).unwrap();
    assert!(values.iter().eq(triples.iter().map(|(_, _, value)| value)));
    let payload = encoder.finish();

    let blind: Vec<_> = triples.iter().map(|&(mean, class, _)| (mean, class, 0)).collect();
    let mut decoder = Decoder::new(&payload);
    assert_eq!(walk(&blind, &mut decoder).unwrap(), values);
    decoder.finish().unwrap();

    let mut meter = Meter::default();
    walk(triples, &mut meter).unwrap();
    let bits = 8.0 * payload.len() as f64;
    assert!(bits <= 1.001 * meter.bits() + 16.0, "{bits} bits for {}", meter.bits());
    assert_ne!(payload.last(), Some(&0), "a trailing zero is not stored");
    payload
}

/// The measure is the sum of logarithms, for probabilities near 1, near 2^-24 and in between.
#[test]
fn bits_are_exact() {
    struct Width(u32);
    impl Distribution for Width {
        fn interval(&self, _: i32) -> Option<Interval> {
            Some(Interval { left: 0, width: self.0 })
        }

        fn find(&self, _: u32) -> (i32, Interval) {
            (0, Interval { left: 0, width: self.0 })
        }
    }
    for widths in [vec![1], vec![TOTAL - 1], vec![1, TOTAL / 3, 77, TOTAL - 9]] {
        let (mut encoder, mut meter, mut exact) = (Encoder::default(), Meter::default(), 0.0);
        for &width in widths.iter().cycle().take(10_000) {
            encoder.code(0, &Width(width)).unwrap();
            meter.code(0, &Width(width)).unwrap();
            exact -= (f64::from(width) / f64::from(TOTAL)).log2();
        }
        assert!((meter.bits() / exact - 1.0).abs() < 1e-9, "{} for {exact}", meter.bits());
        assert_eq!(encoder.bits(), meter.bits());
    }
}

#[test]
fn extreme_values_and_escapes() {
    let mut triples = Vec::new();
    for mean in [-(1 << 22), -1000, 0, 1000, 1 << 22] {
        for class in [0, 96, CLASSES - 1] {
            let logistic = Logistic::new(mean, class);
            let edge = logistic.window() + logistic.center();
            for value in [-32768, -32767, -1, 0, 1, 32767, edge, edge + 1, edge + 2] {
                triples.push((mean, class, value.clamp(-32768, 32767)));
            }
        }
    }
    round_trip(&triples);
}

#[test]
fn nothing_takes_no_bytes() {
    assert!(round_trip(&[]).is_empty());
}

/// A likely sequence costs almost nothing: 10000 codes of probability near 1.
#[test]
fn certain_codes_are_almost_free() {
    assert!(round_trip(&[(0, 0, 0); 10_000]).len() <= 2);
}

/// Three symbols, the middle one a sliver around one half: keeps the coder waiting for a carry.
struct Sliver;

const SLIVER: [u32; 4] = [0, TOTAL / 2 - 1, TOTAL / 2 + 1, TOTAL];

impl Distribution for Sliver {
    fn interval(&self, symbol: i32) -> Option<Interval> {
        let symbol = usize::try_from(symbol).ok().filter(|&symbol| symbol < 3)?;
        Some(Interval { left: SLIVER[symbol], width: SLIVER[symbol + 1] - SLIVER[symbol] })
    }

    fn find(&self, quantile: u32) -> (i32, Interval) {
        let symbol = SLIVER.iter().rposition(|&left| left <= quantile).unwrap() as i32;
        (symbol, self.interval(symbol).unwrap())
    }
}

/// Writes and reads symbols of [`Sliver`].
fn round_trip_slivers(symbols: &[i32]) {
    let mut encoder = Encoder::default();
    for &symbol in symbols {
        encoder.code(symbol, &Sliver).unwrap();
    }
    let payload = encoder.finish();
    let mut decoder = Decoder::new(&payload);
    for &symbol in symbols {
        assert_eq!(decoder.code(0, &Sliver).unwrap(), symbol);
    }
    decoder.finish().unwrap();
}

/// All runs of the sliver, resolved to either side or not at all.
#[test]
fn carries() {
    for before in 0..4 {
        for run in 0..12 {
            for after in [vec![], vec![0], vec![2], vec![0; 9], vec![2; 9], vec![2, 0, 1]] {
                let symbols: Vec<i32> =
                    [vec![2; before], vec![1; run], after, vec![1; run]].concat();
                round_trip_slivers(&symbols);
            }
        }
    }
}

#[test]
fn unknown_symbols_are_refused() {
    let mut categorical = Categorical::default();
    categorical.set_logits(&[0, 0, 0]);
    for symbol in [-1, 3, i32::MIN, i32::MAX] {
        let refused = |result| matches!(result, Err(Error::InvalidInput(_)));
        assert!(refused(Encoder::default().code(symbol, &categorical)));
        assert!(refused(Meter::default().code(symbol, &categorical)));
    }
}

#[test]
fn superfluous_bytes_are_noticed() {
    let mut payload = round_trip(&[(0, 96, 3), (0, 96, -3)]);
    payload.extend([1; 12]);
    let mut decoder = Decoder::new(&payload);
    walk(&[(0, 96, 0); 2], &mut decoder).unwrap();
    assert!(matches!(decoder.finish(), Err(Error::Corrupted { .. })));
}

fn triples() -> impl Strategy<Value = Vec<(i32, i32, i32)>> {
    let anything = (-(1 << 22)..1 << 22, 0..CLASSES, -32768..=32767);
    let likely = (0..CLASSES, -8..=8_i32, -128..=127).prop_map(|(class, offset, fraction)| {
        let value = 50 + offset * (1 << ((class / 16).max(6) - 6));
        (50 * 256 + fraction, class, value)
    });
    prop::collection::vec(prop_oneof![1 => anything, 4 => likely], 0..200)
}

proptest! {
    #[test]
    fn logistic(triples in triples()) {
        round_trip(&triples);
    }

    #[test]
    fn slivers(symbols in prop::collection::vec(prop_oneof![0..3, Just(1)], 0..60)) {
        round_trip_slivers(&symbols);
    }

    /// Garbage decodes to garbage within the range, or to an error.
    #[test]
    fn garbage(payload in prop::collection::vec(any::<u8>(), 0..64), triples in triples()) {
        let mut decoder = Decoder::new(&payload);
        match walk(&triples, &mut decoder) {
            Ok(values) => prop_assert!(values.iter().all(|&value| i16::try_from(value).is_ok())),
            Err(error) => assert!(matches!(error, Error::Corrupted { .. })),
        }
    }

    #[test]
    fn static_prior(
        (shape, codes) in (1..4_usize, 1..9_usize, 1..9_usize).prop_flat_map(|(n, h, w)| {
            let code = prop_oneof![8 => -5..=5_i32, 1 => -32768..=32767];
            (Just([n, h, w]), prop::collection::vec(code, n * h * w))
        }),
        window in 0..5_usize,
        count in 0..9_u64,
    ) {
        let counts = vec![count; shape[0] * (2 * window + 1)];
        let prior = StaticPrior::from_counts(shape[0], &counts).unwrap();
        let codes = CodeGrid::new(shape, codes).unwrap();
        let payload = prior.encode(&codes).unwrap();
        prop_assert_eq!(prior.decode(&payload, CodeGrid::zeros(shape)).unwrap(), codes);
    }
}

#[test]
fn static_prior_refuses_bad_shapes() {
    for (variables, counts) in [(0, 0), (0, 3), (1, 0), (1, 2), (2, 3), (1, 2 * 8191 + 3)] {
        assert!(StaticPrior::from_counts(variables, &vec![1; counts]).is_err());
    }
    let prior = StaticPrior::from_counts(2, &[1; 6]).unwrap();
    assert!(prior.encode(&CodeGrid::zeros([3, 1, 1])).is_err());
}
