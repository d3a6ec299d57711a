//! A mixture of discretised logistic distributions over the samples 0..=255, in integer arithmetic.

use crate::categorical::weight;
use crate::distribution::{Distribution, Interval, TOTAL};
use crate::logistic::{CLASSES, INVERSE_SCALE, MAX_MEAN};
use crate::sigmoid::sigmoid;

/// Largest number of logistics.
pub const MAX_PARTS: usize = 16;

/// Number of samples there are.
const SAMPLES: i32 = 256;

/// Bits of the share of a part.
const SHARE_BITS: u32 = 16;

/// Frequency units that are shared by mass; the others are the guaranteed 1 per sample.
const SHARED: u64 = (TOTAL - SAMPLES as u32) as u64;

#[derive(Debug, Clone, Copy)]
struct Part {
    /// Share of the whole, all together 2^16.
    share: u64,
    /// Mean in 1/256 grey level.
    mean: i64,
    inverse_scale: i64,
}

/// One distribution; reusable, so that a loop allocates once.
#[derive(Debug, Clone, Default)]
pub struct Mixture(Vec<Part>);

impl Mixture {
    /// Replaces the distribution by that of a head: log2 weights (1/256), means from `guess`
    /// (1/256 grey level, clamped to +-2^22), scale classes (clamped to 0..240), a third of `outputs` each.
    pub fn set(&mut self, outputs: &[i32], guess: i32) {
        let parts = outputs.len() / 3;
        let (logits, rest) = outputs.split_at(parts);
        let (means, classes) = rest.split_at(parts);
        let clamp = |logit: i32| logit.clamp(i16::MIN.into(), i16::MAX.into());
        let largest = logits.iter().copied().map(clamp).max().unwrap_or(0);
        self.0.clear();
        self.0.extend(logits.iter().zip(means).zip(classes).map(|((&logit, &mean), &class)| {
            Part {
                share: weight(largest - clamp(logit)).into(),
                mean: i64::from(256 * guess + mean.clamp(-MAX_MEAN, MAX_MEAN)),
                inverse_scale: INVERSE_SCALE[class.clamp(0, CLASSES - 1) as usize],
            }
        }));
        let total: u64 = self.0.iter().map(|part| part.share).sum();
        self.0.iter_mut().for_each(|part| part.share = (part.share << SHARE_BITS) / total.max(1));
        let rest = (1 << SHARE_BITS) - self.0.iter().map(|part| part.share).sum::<u64>();
        if let Some(first) = self.0.first_mut() {
            first.share += rest;
        }
    }

    /// 2^32 times the mass below `sample`: that of 0 and of 255 reaches to infinity.
    fn mass_below(&self, sample: i32) -> u64 {
        let edge = i64::from(256 * sample - 128);
        let mass = |part: &Part| part.share * sigmoid((edge - part.mean) * part.inverse_scale);
        self.0.iter().map(mass).sum::<u64>() >> SHARE_BITS
    }

    /// Left end of the interval of `sample` in `0..=256`: strictly increasing from 0 to `TOTAL`.
    fn left(&self, sample: i32) -> u32 {
        match sample {
            ..=0 => 0,
            SAMPLES.. => TOTAL,
            _ => ((self.mass_below(sample) * SHARED) >> 32) as u32 + sample as u32,
        }
    }
}

impl Distribution for Mixture {
    fn interval(&self, symbol: i32) -> Option<Interval> {
        (0..SAMPLES).contains(&symbol).then(|| between(self.left(symbol), self.left(symbol + 1)))
    }

    fn find(&self, quantile: u32) -> (i32, Interval) {
        let (mut low, mut high) = (0, SAMPLES);
        let (mut left, mut right) = (0, TOTAL);
        // Invariant: left(low) = left <= quantile < right = left(high).
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.left(middle) {
                edge if edge <= quantile => (low, left) = (middle, edge),
                edge => (high, right) = (middle, edge),
            }
        }
        (low, between(left, right))
    }
}

fn between(left: u32, right: u32) -> Interval {
    Interval { left, width: right - left }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mixture(outputs: &[i32], guess: i32) -> Mixture {
        let mut mixture = Mixture::default();
        mixture.set(outputs, guess);
        mixture
    }

    proptest! {
        /// Whatever a network says: every sample has its interval, and `find` finds it.
        #[test]
        fn intervals_divide_the_whole(
            outputs in prop::collection::vec(prop_oneof![any::<i32>(), -70_000..70_000], 3..=3 * MAX_PARTS),
            guess in 0..=255,
            quantile in 0..TOTAL,
        ) {
            let outputs = &outputs[..outputs.len() / 3 * 3];
            let mixture = mixture(outputs, guess);
            let mut end = 0;
            for sample in 0..SAMPLES {
                let Interval { left, width } = mixture.interval(sample).unwrap();
                prop_assert_eq!(left, end);
                prop_assert!(width >= 1);
                end = left + width;
            }
            prop_assert_eq!(end, TOTAL);
            let (sample, interval) = mixture.find(quantile);
            prop_assert_eq!(Some(interval), mixture.interval(sample));
            prop_assert!((interval.left..interval.left + interval.width).contains(&quantile));
        }
    }

    #[test]
    fn it_is_the_mixture_of_logistics() {
        let (guess, logits, means, scales) = (100, [0.0, -1.5], [3.25, -40.0], [2.0_f64, 16.0]);
        let class = |scale: f64| (16.0 * scale.log2()) as i32 + 96;
        let outputs = [
            [(256.0 * logits[0]) as i32, (256.0 * logits[1]) as i32],
            [(256.0 * means[0]) as i32, (256.0 * means[1]) as i32],
            [class(scales[0]), class(scales[1])],
        ];
        let mixture = mixture(&outputs.concat(), guess);
        let total: f64 = logits.iter().map(|logit: &f64| logit.exp2()).sum();
        for sample in 1..=255 {
            let below: f64 = (0..2)
                .map(|part| {
                    let mean = f64::from(guess) + means[part];
                    let distance = (f64::from(sample) - 0.5 - mean) / scales[part];
                    logits[part].exp2() / total / (1.0 + (-distance).exp())
                })
                .sum();
            let left = f64::from(mixture.left(sample)) / f64::from(TOTAL);
            assert!((left - below).abs() < 1e-4, "{sample}: {left} for {below}");
        }
    }
}
