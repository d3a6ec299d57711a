//! Every distribution divides 0..2^24 into one interval of at least 1 per symbol.

#![allow(missing_docs)]

use proptest::prelude::*;
use vqcodec_core::categorical::{Categorical, MAX_ALPHABET, Table};
use vqcodec_core::distribution::{Distribution, FairBit, Interval, TOTAL};
use vqcodec_core::logistic::{CLASSES, Logistic, MAX_MEAN};

/// Checks the intervals of `symbols`, and that `find` is their inverse at both ends of each.
fn check(distribution: &impl Distribution, symbols: std::ops::RangeInclusive<i32>) {
    let mut end = 0;
    for symbol in symbols.clone() {
        let interval = distribution.interval(symbol).expect("an interval for every symbol");
        let Interval { left, width } = interval;
        assert_eq!(left, end, "symbol {symbol} must begin where the one before ends");
        assert!(width >= 1);
        assert_eq!(distribution.find(left), (symbol, interval));
        assert_eq!(distribution.find(left + width - 1), (symbol, interval));
        end = left + width;
    }
    assert_eq!(end, TOTAL);
    assert_eq!(distribution.interval(symbols.start() - 1), None);
    assert_eq!(distribution.interval(symbols.end() + 1), None);
}

fn check_logistic(logistic: &Logistic) {
    check(logistic, -logistic.window()..=logistic.window() + 1);
}

#[test]
fn fair_bit() {
    check(&FairBit, 0..=1);
}

#[test]
fn logistic_at_the_limits() {
    for class in [i32::MIN, 0, 1, CLASSES / 2, CLASSES - 1, i32::MAX] {
        for mean in [i32::MIN, -MAX_MEAN, -129, -128, 0, 127, 128, MAX_MEAN, i32::MAX] {
            check_logistic(&Logistic::new(mean, class));
        }
    }
}

/// The integer masses are the logistic ones, up to the guaranteed mass of every symbol.
#[test]
fn logistic_is_logistic() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    for class in [0, 50, 96, 120, 200, 239] {
        for mean in [-300, 0, 77, 128, 100_000] {
            let logistic = Logistic::new(mean, class);
            let scale = 2_f64.powf(f64::from(class - 96) / 16.0);
            let mut divergence = 0.0;
            for offset in -logistic.window()..=logistic.window() {
                let distance = f64::from(logistic.center() + offset) - f64::from(mean) / 256.0;
                let exact = sigmoid((distance + 0.5) / scale) - sigmoid((distance - 0.5) / scale);
                let width = logistic.interval(offset).unwrap().width;
                let share = f64::from(width) / f64::from(TOTAL);
                assert!((share - exact).abs() < 1e-3, "class {class}, mean {mean}, {offset}");
                if exact > 0.0 {
                    divergence += exact * (exact / share).log2();
                }
            }
            assert!(divergence < 2e-3, "{divergence} bit lost, class {class}, mean {mean}");
        }
    }
}

#[test]
fn categorical_at_the_limits() {
    let mut categorical = Categorical::default();
    for alphabet in [2, 3, 255, MAX_ALPHABET] {
        for logit in [i32::MIN, -32768, 0, 32767, i32::MAX] {
            categorical.set_logits(&vec![logit; alphabet]);
            check(&categorical, 0..=alphabet as i32 - 1);
            let mut logits = vec![i32::MIN; alphabet];
            logits[alphabet / 2] = logit;
            categorical.set_logits(&logits);
            check(&categorical, 0..=alphabet as i32 - 1);
        }
    }
}

#[test]
fn table_at_the_limits() {
    for counts in [vec![0; 2], vec![0; 1 << 16], vec![u64::MAX; 1 << 16], vec![u64::MAX, 0, 1]] {
        check(&Table::from_counts(&counts).unwrap(), 0..=counts.len() as i32 - 1);
    }
    assert!(Table::from_counts(&[1]).is_err());
    assert!(Table::from_counts(&vec![1; (1 << 16) + 1]).is_err());
}

proptest! {
    #[test]
    fn logistic(mean in -(1 << 23)..(1 << 23), class in 0..CLASSES) {
        check_logistic(&Logistic::new(mean, class));
    }

    /// Probabilities are powers of two of the logits' differences.
    #[test]
    fn categorical(logits in prop::collection::vec(-3000..3000, 2..600)) {
        let mut categorical = Categorical::default();
        categorical.set_logits(&logits);
        check(&categorical, 0..=logits.len() as i32 - 1);
        let octaves = |logit: i32| 2_f64.powf(f64::from(logit) / 256.0);
        let sum: f64 = logits.iter().copied().map(octaves).sum();
        for (symbol, &logit) in logits.iter().enumerate() {
            let share = f64::from(categorical.interval(symbol as i32).unwrap().width);
            let share = share / f64::from(TOTAL);
            prop_assert!((share - octaves(logit) / sum).abs() < 3e-4 * share + 1e-4);
        }
    }

    #[test]
    fn table(counts in prop::collection::vec(0..1_000_000_u64, 2..300)) {
        check(&Table::from_counts(&counts).unwrap(), 0..=counts.len() as i32 - 1);
    }
}
