//! Adaptation of scales to the picture at hand, from the codes of the tile that are known.
//!
//! The network has fixed weights, and it gives all codes of a slice at a position their
//! distributions at once. So it knows neither how this picture differs from those it was trained
//! on, nor that the codes just before missed their means by more than it expected. Both show in
//! the magnitudes of residuals (distances of codes from the centres of their distributions), and
//! both call for another scale: three slots in 2^-20 scale class are added to the network's class.
//! One belongs to the variable, one to the *surprise* (residuals of the variables before, at this
//! position, against what the network expected) and one to the *activity* (residuals of this
//! variable at the neighbours that are known). After each code all three take a small step along
//! the gradient of its likelihood.

use std::sync::LazyLock;

use crate::entropy::SymbolCoder;
use crate::error::Result;
use crate::logistic::{CLASSES, Logistic};

/// Magnitudes of residuals count up to here, so that one outlier does not upset a slot.
const MAX_MAGNITUDE: i32 = 8;

/// Fractional bits of slots.
const SLOT_BITS: u32 = 20;

/// A slot changes the scale by up to 4 octaves.
const MAX_SLOT: i32 = 64 << SLOT_BITS;

/// Fractional bits of magnitudes and of what is expected of them.
const MAGNITUDE_BITS: u32 = 16;

/// Base-2 logarithms of the learning rates of the slots, in codes to each octave.
const RATES: [u32; 3] = [7, 7, 8];

/// Half octaves of surprise that are told apart, on either side of none.
const SURPRISES: i32 = 5;

/// Half octaves of activity that are told apart.
const ACTIVITIES: i32 = 16;

/// Half octaves below an activity of one symbol.
const LOWEST_ACTIVITY: i32 = 5;

/// Positions around that may be known, depending on the step.
const NEIGHBOURS: [(isize, isize); 12] = [
    (-2, 0),
    (-1, -1),
    (-1, 0),
    (-1, 1),
    (0, -2),
    (0, -1),
    (0, 1),
    (0, 2),
    (1, -1),
    (1, 0),
    (1, 1),
    (2, 0),
];

/// Rows and columns that neighbours reach.
const MARGIN: usize = 2;

/// What one slice of a tile has taught so far.
#[derive(Debug, PartialEq, Eq)]
pub struct Adaptation {
    variables: Vec<i32>,
    surprises: [i32; 2 * SURPRISES as usize + 1],
    activities: [i32; ACTIVITIES as usize],
    residuals: ResidualGrid,
    /// Sums of magnitudes at the position that is being coded, in 2^-16 symbol; what is 16
    /// variables back counts for a third.
    observed: i32,
    expected: i32,
}

impl Adaptation {
    /// The state before the first code of a slice of `variables` in a tile of `height x width`.
    pub fn new(variables: usize, height: usize, width: usize) -> Self {
        let slope = |index: usize, zero: i32| (index as i32 - zero) * 3;
        Self {
            variables: vec![0; variables],
            surprises: std::array::from_fn(|index| slope(index, SURPRISES) << SLOT_BITS),
            activities: std::array::from_fn(|index| {
                slope(index, LOWEST_ACTIVITY) << (SLOT_BITS - 2)
            }),
            residuals: ResidualGrid::new(variables, height, width),
            observed: 0,
            expected: 0,
        }
    }

    /// Goes on to a position, whose variables are then coded in their order.
    pub fn move_to(&mut self, y: usize, x: usize) {
        self.residuals.move_to(y, x);
        (self.observed, self.expected) = (0, 0);
    }

    /// Codes one `value` of the slice's variable `index`, for which the network says `mean` and
    /// `class` (any two integers, as in [`Logistic::new`]), and learns from it.
    pub fn code(
        &mut self,
        index: usize,
        (mean, class): (i32, i32),
        value: i32,
        coder: &mut impl SymbolCoder,
    ) -> Result<i32> {
        let slots = [
            &mut self.variables[index],
            &mut self.surprises[surprise(self.observed, self.expected)],
            &mut self.activities[activity(self.residuals.around(index), self.residuals.known)],
        ];
        let change = slots.iter().map(|slot| **slot).sum::<i32>();
        let class = class.clamp(0, CLASSES - 1);
        let adapted =
            (class + ((change + (1 << (SLOT_BITS - 1))) >> SLOT_BITS)).clamp(0, CLASSES - 1);

        let logistic = Logistic::new(mean, adapted);
        let value = logistic.code(value, coder)?;
        let magnitude = (value - logistic.center()).abs().min(MAX_MAGNITUDE);
        self.residuals.note(index, magnitude as u8);

        let magnitude = magnitude << MAGNITUDE_BITS;
        let Moments { expected, gain } = Moments::of(&logistic, adapted);
        let gradient = i64::from(magnitude - expected) * i64::from(gain);
        for (slot, rate) in slots.into_iter().zip(RATES) {
            let step = (gradient >> (GRADIENT_SHIFT + rate)) as i32;
            *slot = (*slot + step).clamp(-MAX_SLOT, MAX_SLOT);
        }
        self.observed += magnitude - (self.observed >> 4);
        self.expected += Moments::of(&logistic, class).expected - (self.expected >> 4);
        Ok(value)
    }
}

/// From a magnitude times a gain, in octaves, to a slot, in scale classes of 1/16 octave.
const GRADIENT_SHIFT: u32 = MAGNITUDE_BITS + GAIN_BITS - SLOT_BITS - 4;

/// The slot of a surprise: half octaves between two sums of magnitudes, one symbol added to both.
fn surprise(observed: i32, expected: i32) -> usize {
    let level = |sum: i32| log2(sum as u32 + (1 << MAGNITUDE_BITS));
    let half_octaves = (level(observed) - level(expected) + 64) >> 7;
    (half_octaves.clamp(-SURPRISES, SURPRISES) + SURPRISES) as usize
}

/// The slot of an activity: half octaves of the mean of `known` magnitudes.
fn activity(sum: u8, known: u32) -> usize {
    let half_octaves = (log2(4 * u32::from(sum) + 1) - log2(4 * known + 2)) >> 7;
    (half_octaves + 2 * LOWEST_ACTIVITY).clamp(0, ACTIVITIES - 1) as usize
}

/// Base-2 logarithm of a positive number in 1/256 octave, linear inside each octave.
fn log2(number: u32) -> i32 {
    let octave = number.ilog2();
    let mantissa = (number << (31 - octave)) >> 23;
    (octave << 8 | mantissa & 0xff) as i32
}

/// Fractional bits of [`Moments::gain`].
const GAIN_BITS: u32 = 12;

/// Steps of the fraction of a mean in [`MOMENTS`], for fractions of 0 to 128.
const FRACTIONS: usize = 9;

/// What a distribution expects of the magnitude of a residual.
#[derive(Debug, Clone, Copy)]
struct Moments {
    /// Its mean in 2^-16 symbol.
    expected: i32,
    /// Change of this mean with the scale over its variance, in 2^-12 octave for each symbol: how
    /// much one symbol of difference says about the scale.
    gain: i32,
}

/// Moments for each scale class and each 16/256 of the mean's distance from the centre.
static MOMENTS: LazyLock<Vec<[Moments; FRACTIONS]>> = LazyLock::new(|| {
    (0..CLASSES).map(|class| std::array::from_fn(|index| Moments::new(class, index))).collect()
});

impl Moments {
    fn of(logistic: &Logistic, class: i32) -> Self {
        MOMENTS[class as usize][((logistic.fraction().abs() + 8) >> 4) as usize]
    }

    fn new(class: i32, fraction: usize) -> Self {
        // Beyond these classes the mass of all residuals is at one end, and nothing has a slope.
        let class = class.clamp(16, CLASSES - 5);
        let sums = |class| {
            let logistic = Logistic::new(-16 * fraction as i32, class);
            let tails = (1..=MAX_MAGNITUDE).map(|magnitude| logistic.mass_from(magnitude));
            let odd = tails.clone().zip((1..).step_by(2)).map(|(tail, odd)| tail * odd);
            (tails.sum::<u64>(), odd.sum::<u64>())
        };
        let (mean, square) = sums(class);
        let variance = square - ((u128::from(mean) * u128::from(mean)) >> 32) as u64;
        let half_an_octave = sums(class + 4).0 - sums(class - 4).0;
        Self {
            expected: (mean >> (32 - MAGNITUDE_BITS)) as i32,
            gain: ((half_an_octave << (GAIN_BITS + 1)) / variance) as i32,
        }
    }
}

/// Magnitudes of the residuals of a slice, 0 where they are not known and outside the tile.
#[derive(Debug, PartialEq, Eq)]
struct ResidualGrid {
    /// Positions in a row, margins included.
    columns: usize,
    /// A row of variables for each position.
    magnitudes: Vec<u8>,
    /// 1 where a position has been coded.
    coded: Vec<u8>,
    /// The position that is being coded.
    position: usize,
    /// Sums over its neighbours for each variable, and how many of them are known.
    sums: Vec<u8>,
    known: u32,
}

impl ResidualGrid {
    fn new(variables: usize, height: usize, width: usize) -> Self {
        let columns = width + 2 * MARGIN;
        let positions = (height + 2 * MARGIN) * columns;
        Self {
            columns,
            magnitudes: vec![0; positions * variables],
            coded: vec![0; positions],
            position: 0,
            sums: vec![0; variables],
            known: 0,
        }
    }

    fn move_to(&mut self, y: usize, x: usize) {
        let variables = self.sums.len();
        self.position = (y + MARGIN) * self.columns + x + MARGIN;
        self.sums.fill(0);
        self.known = 0;
        for (dy, dx) in NEIGHBOURS {
            let neighbour = self.position.wrapping_add_signed(dy * self.columns as isize + dx);
            self.known += u32::from(self.coded[neighbour]);
            let magnitudes = &self.magnitudes[neighbour * variables..][..variables];
            for (sum, magnitude) in self.sums.iter_mut().zip(magnitudes) {
                *sum += magnitude;
            }
        }
        self.coded[self.position] = 1;
    }

    /// Sum of a variable's magnitudes over the neighbours.
    fn around(&self, variable: usize) -> u8 {
        self.sums[variable]
    }

    fn note(&mut self, variable: usize, magnitude: u8) {
        self.magnitudes[self.position * self.sums.len() + variable] = magnitude;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_logistic() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let moments = |class: f64, fraction: f64| {
            let scale = 2_f64.powf((class - 96.0) / 16.0);
            let (mut mean, mut square) = (0.0, 0.0);
            for magnitude in 1..=MAX_MAGNITUDE {
                let reach = f64::from(magnitude) - 0.5;
                let tail =
                    sigmoid((fraction - reach) / scale) + sigmoid((-fraction - reach) / scale);
                mean += tail;
                square += tail * f64::from(2 * magnitude - 1);
            }
            (mean, square - mean * mean)
        };
        for class in 32..224 {
            for index in 0..FRACTIONS {
                let fraction = index as f64 / 16.0;
                let Moments { expected, gain } = Moments::new(class, index);
                let (mean, variance) = moments(class.into(), fraction);
                assert!((f64::from(expected) / 65536.0 - mean).abs() < 1e-3);
                let at = |distance| moments(f64::from(class) + distance, fraction).0;
                let exact = 2.0 * (at(4.0) - at(-4.0)) / variance;
                let error = f64::from(gain) / 4096.0 - exact;
                assert!(error.abs() < 0.02 * exact + 1e-3, "class {class}, {index}: {error}");
            }
        }
    }

    /// What the arithmetic of a step relies on.
    #[test]
    fn moments_are_bounded() {
        for &Moments { expected, gain } in MOMENTS.iter().flatten() {
            assert!((0..=MAX_MAGNITUDE << MAGNITUDE_BITS).contains(&expected));
            assert!((0..1 << 18).contains(&gain), "{gain}");
        }
    }

    #[test]
    fn logarithm() {
        for number in (1..2000).chain([1 << 16, 1 << 31, u32::MAX]) {
            let exact = f64::from(number).log2();
            assert!((f64::from(log2(number)) / 256.0 - exact).abs() < 0.09, "{number}");
        }
    }

    #[test]
    fn slots_of_extreme_sums() {
        let most = (16 * MAX_MAGNITUDE) << MAGNITUDE_BITS;
        assert_eq!([surprise(0, most), surprise(0, 0), surprise(most, 0)], [0, 5, 10]);
        assert_eq!(
            [activity(0, 12), activity(0, 0), activity(12, 12), activity(96, 12)],
            [0, 8, 9, 15]
        );
    }
}
