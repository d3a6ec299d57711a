//! A mixture of discretised logistic distributions over the samples 0..=255, in integer arithmetic.

use crate::categorical::weight;
use crate::distribution::{Distribution, Interval, TOTAL};
use crate::logistic::{CLASSES, INVERSE_SCALE, MAX_MEAN};
use crate::sigmoid::{MAX_ARGUMENT, sigmoid};

/// Largest number of logistics.
pub const MAX_PARTS: usize = 16;

/// Number of samples there are.
const SAMPLES: i32 = 256;

/// Bits of the share of a part.
const SHARE_BITS: u32 = 16;

/// Fractional bits of an [`Ascent`].
const ASCENT_BITS: u32 = 15;

/// Largest magnitude of an [`Ascent`].
const MAX_ASCENT: i64 = 2 << ASCENT_BITS;

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

/// What a sample's log-likelihood grows by with the parameters of one part, in 2^-15, at most 2 each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ascent {
    /// In octaves with the log2 weight.
    pub weight: i32,
    /// In nats with the mean, a grey level.
    pub mean: i32,
    /// In octaves with the log2 scale.
    pub scale: i32,
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

    /// How the parts would have to change for `sample` to be likelier.
    pub fn ascents(&self, sample: u8) -> impl Iterator<Item = Ascent> + use<'_> {
        let mut cells = [Cell::default(); MAX_PARTS];
        for (cell, part) in cells.iter_mut().zip(&self.0) {
            *cell = part.cell(sample);
        }
        let joint = |(cell, part): (&Cell, &Part)| part.share * cell.mass();
        let total = cells.iter().zip(&self.0).map(joint).sum::<u64>().max(1);
        self.0.iter().zip(cells).map(move |(part, cell)| {
            let responsible = ((part.share * cell.mass()) << ASCENT_BITS) / total;
            part.ascent(&cell, responsible as i64)
        })
    }

    /// 2^32 times the mass below `sample`: that of 0 and of 255 reaches to infinity.
    fn mass_below(&self, sample: i32) -> u64 {
        let mass = |part: &Part| part.share * sigmoid(part.position(sample));
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

impl Part {
    /// The left end of the cell of `sample`, in 2^-29 logistic unit from the mean.
    fn position(&self, sample: i32) -> i64 {
        (i64::from(256 * sample - 128) - self.mean) * self.inverse_scale
    }

    fn cell(&self, sample: u8) -> Cell {
        let position = |sample| self.position(sample).clamp(-MAX_ARGUMENT, MAX_ARGUMENT);
        let (left, right) = (position(sample.into()), position(i32::from(sample) + 1));
        let below_left = if sample == 0 { 0 } else { sigmoid(left) };
        let below_right = if sample == u8::MAX { 1 << 32 } else { sigmoid(right) };
        Cell { ends: [left, right], below: [below_left, below_right] }
    }

    /// `responsible` is the part's share of the sample's probability.
    fn ascent(&self, cell: &Cell, responsible: i64) -> Ascent {
        let limited = |slope: i64| slope.clamp(-MAX_ASCENT, MAX_ASCENT) as i32;
        let weight = responsible - (self.share >> (SHARE_BITS - ASCENT_BITS)) as i64;
        let mean = (responsible * cell.of_mean() * self.inverse_scale) >> (16 + 21);
        let scale = (responsible * cell.of_scale()) >> 16;
        Ascent { weight: weight as i32, mean: limited(mean), scale: limited(scale) }
    }
}

/// What a part has of a sample.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// In 2^-29 logistic unit from the mean.
    ends: [i64; 2],
    /// 2^32 times the mass below the ends.
    below: [u64; 2],
}

impl Cell {
    /// 2^32 times its mass.
    fn mass(&self) -> u64 {
        self.below[1] - self.below[0]
    }

    /// 2^16 times what the logarithm of the mass grows by with the mean, a logistic unit: the densities at the ends
    /// are `S (1 - S)`, and the mass divides their difference.
    fn of_mean(&self) -> i64 {
        ((self.below[0] + self.below[1]) as i64 - (1 << 32)) >> 16
    }

    /// 2^16 times what the log2 of the mass grows by with the log2 scale.
    fn of_scale(&self) -> i64 {
        let density = |below: u64| ((below * ((1 << 32) - below)) >> 32) as i64;
        let flow = |end: usize| (self.ends[end] >> 13) * density(self.below[end]);
        (flow(0) - flow(1)) / self.mass().max(1) as i64
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
            for ascent in (0..=u8::MAX).flat_map(|sample| mixture.ascents(sample)) {
                prop_assert!(ascent.weight.abs() <= 1 << ASCENT_BITS);
                prop_assert!(i64::from(ascent.mean.abs().max(ascent.scale.abs())) <= MAX_ASCENT);
            }
        }
    }

    /// Against differences of the lengths of a distribution in `f64`.
    #[test]
    fn ascents_are_those_of_the_likelihood() {
        let (guess, parts) = (100, 2);
        let log_likelihood = |outputs: &[f64], sample: u8| {
            let shares: Vec<_> = outputs[..parts].iter().map(|weight| weight.exp2()).collect();
            let mass = |part: usize| {
                let scale = outputs[2 * parts + part].exp2();
                let mean = f64::from(guess) + outputs[parts + part];
                let below = |edge: f64| 1.0 / (1.0 + (-(edge - mean) / scale).exp());
                let left = if sample == 0 { 0.0 } else { below(f64::from(sample) - 0.5) };
                let right = if sample == 255 { 1.0 } else { below(f64::from(sample) + 0.5) };
                shares[part] * (right - left)
            };
            ((0..parts).map(mass).sum::<f64>() / shares.iter().sum::<f64>()).log2()
        };
        // masses that round to 0 have no slopes
        let near = [60, 92, 99, 100, 101, 105, 130];
        let cases = [
            ([3.25, -7.0], [2.0, 3.5], &near[..]),
            ([0.5, -100.0], [-1.0, 4.0], &near),
            ([150.0, -90.0], [4.0, 5.0], &[0, 1, 128, 254, 255]),
        ];
        for (means, scales, samples) in cases {
            let exact = [[0.0, -1.5], means, scales].concat();
            let integers = [[0, -384], means.map(|mean| (256.0 * mean) as i32)].concat();
            let classes = scales.map(|scale: f64| (16.0 * scale) as i32 + 96);
            let mixture = mixture(&[&integers[..], &classes].concat(), guess);
            for &sample in samples {
                for (part, ascent) in mixture.ascents(sample).enumerate() {
                    let slope = |place: usize| {
                        let moved = |by: f64| {
                            let mut outputs = exact.clone();
                            outputs[place] += by;
                            log_likelihood(&outputs, sample)
                        };
                        (moved(1e-4) - moved(-1e-4)) / 2e-4
                    };
                    let nats = std::f64::consts::LN_2;
                    let expected =
                        [slope(part), slope(parts + part) * nats, slope(2 * parts + part)];
                    for (found, expected) in
                        [ascent.weight, ascent.mean, ascent.scale].into_iter().zip(expected)
                    {
                        let found = f64::from(found) / f64::from(1 << ASCENT_BITS);
                        let difference = found - expected.clamp(-2.0, 2.0);
                        assert!(difference.abs() < 0.02, "{sample}: {found} for {expected}");
                    }
                }
            }
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
