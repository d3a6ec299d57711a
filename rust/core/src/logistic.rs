//! The discretised logistic distribution over integers, in integer arithmetic.
//!
//! A network predicts a mean in 1/256 symbol and a scale class; the probability of a code is the
//! logistic mass of its unit cell. Cells within a window around the mean have an interval each,
//! all others share one escape interval.

use std::f64::consts::LN_2;

use crate::distribution::{Distribution, Interval, TOTAL};
use crate::entropy::SymbolCoder;
use crate::error::{Error, Result};
use crate::escape::code_outlier;
use crate::sigmoid::{inverse, sigmoid};

/// Number of scale classes; class `c` has the scale `2^((c - 96) / 16)` symbols.
pub const CLASSES: i32 = 240;

/// Largest magnitude of a mean, in 1/256 symbol.
pub const MAX_MEAN: i32 = 1 << 22;

/// `round(2^40 * 2^(i / 16))`.
const OCTAVE: [u64; 16] = [
    1099511627776,
    1148191166361,
    1199025932245,
    1252111345494,
    1307547050779,
    1365437104419,
    1425890169699,
    1489019720837,
    1554944255988,
    1623787519664,
    1695678735018,
    1770752846399,
    1849150772653,
    1931019671637,
    2016513216442,
    2105791883849,
];

/// Half widths of the windows: 14 scales (mass 2^-19 lies outside) and one more, at least 4 symbols
/// and at most 6866.
const WINDOW: [i32; CLASSES as usize] = {
    let mut table = [0; CLASSES as usize];
    let mut class = 0;
    while class < CLASSES {
        let (octave, step) = ((class - 96).div_euclid(16), (class - 96).rem_euclid(16));
        let window = ((14 * OCTAVE[step as usize]) << (octave + 6)).div_ceil(1 << 46) as i32 + 1;
        table[class as usize] = if window < 4 { 4 } else { window };
        class += 1;
    }
    table
};

/// `round(2^21 / scale)`: from 1/256 symbol to 2^-24 / 32 logistic unit.
pub(crate) const INVERSE_SCALE: [i64; CLASSES as usize] = {
    let mut table = [0; CLASSES as usize];
    let mut class = 0;
    while class < CLASSES {
        let (octave, step) = ((96 - class).div_euclid(16), (96 - class).rem_euclid(16));
        let shift = 19 - octave;
        table[class as usize] = ((OCTAVE[step as usize] + (1 << (shift - 1))) >> shift) as i64;
        class += 1;
    }
    table
};

/// `floor(2^19 * scale)`: from 1/32 logistic unit to 2^-16 / 256 symbol.
const SCALE: [i64; CLASSES as usize] = {
    let mut table = [0; CLASSES as usize];
    let mut class = 0;
    while class < CLASSES {
        let (octave, step) = ((class - 96).div_euclid(16), (class - 96).rem_euclid(16));
        table[class as usize] = ((OCTAVE[step as usize] << (octave + 6)) >> 27) as i64;
        class += 1;
    }
    table
};

/// A logistic unit, and a mass of 1, as `f64` of the integers that stand for them.
const UNIT: f64 = (1_u64 << 29) as f64;
const MASS: f64 = (1_u64 << 32) as f64;

/// Below this mass a value is coded otherwise, and the slopes of its length fall to 0.
const LEAST_MASS: f64 = 1.0 / (1_u64 << 20) as f64;

/// One discretised logistic distribution. Its symbols are offsets `-window..=window` from
/// [`center`](Self::center), and `window + 1` for the escape.
#[derive(Debug, Clone, Copy)]
pub struct Logistic {
    center: i32,
    /// Position of the mean inside the centre cell, in 1/256 symbol: -128..=127.
    fraction: i32,
    window: i32,
    scale: i64,
    inverse_scale: i64,
    /// Frequency units that are shared by mass; the others are the guaranteed 1 per symbol.
    shared: u64,
    /// Value of [`edge`](Self::edge) at the left end of the window.
    origin: u64,
}

impl Logistic {
    /// A distribution from any two integers: `mean` (1/256 symbol) is clamped to +-2^22 and `class` to
    /// 0..240.
    pub fn new(mean: i32, class: i32) -> Self {
        let mean = mean.clamp(-MAX_MEAN, MAX_MEAN);
        let class = class.clamp(0, CLASSES - 1) as usize;
        let center = (mean + 128) >> 8;
        let window = WINDOW[class];
        let mut logistic = Self {
            center,
            fraction: mean - 256 * center,
            window,
            scale: SCALE[class],
            inverse_scale: INVERSE_SCALE[class],
            shared: (TOTAL - (2 * window + 2) as u32).into(),
            origin: 0,
        };
        logistic.origin = logistic.edge(-window);
        logistic
    }

    /// The integer nearest to the mean: what an offset of 0 stands for.
    pub fn center(&self) -> i32 {
        self.center
    }

    /// The mean's place in the cell of the centre, in 1/256 symbol: -128..=127.
    pub fn fraction(&self) -> i32 {
        self.fraction
    }

    /// Largest offset with an interval of its own.
    pub fn window(&self) -> i32 {
        self.window
    }

    /// What the length of a value in bits changes by with the mean, one unit of it, and with the scale,
    /// one class. Only sums, products and quotients of `f64`, which are the same on every machine.
    pub fn slopes(&self, value: i32) -> [f32; 2] {
        let ends = [0, 1].map(|end| {
            let position = self.position(value - self.center + end);
            let below = sigmoid(position) as f64 / MASS;
            (position as f64 / UNIT, below, below * (1.0 - below))
        });
        let [(left, below_left, density_left), (right, below_right, density_right)] = ends;
        let mass = (below_right - below_left).max(LEAST_MASS);
        let unit = self.inverse_scale as f64 / UNIT;
        let of_mean = (density_right - density_left) * unit / (mass * LN_2);
        let of_octave = (density_right * right - density_left * left) / mass;
        [of_mean as f32, of_octave as f32 / 16.0]
    }

    /// 2^32 times the logistic mass of the cells at least `distance >= 1` symbols from the centre.
    pub fn mass_from(&self, distance: i32) -> u64 {
        self.mass_below(1 - distance) + ((1 << 32) - self.mass_below(distance))
    }

    /// 2^32 times the logistic mass below the cell of `offset`.
    fn mass_below(&self, offset: i32) -> u64 {
        sigmoid(self.position(offset))
    }

    /// The left end of the cell of `offset`, in 2^-29 logistic unit from the mean.
    fn position(&self, offset: i32) -> i64 {
        i64::from(256 * offset - 128 - self.fraction) * self.inverse_scale
    }

    /// Logistic mass below the cell of `offset`, in shared frequency units.
    fn edge(&self, offset: i32) -> u64 {
        (self.mass_below(offset) * self.shared) >> 32
    }

    /// Left end of the interval of `offset` in `-window..=window + 1`: strictly increasing from 0.
    fn left(&self, offset: i32) -> u32 {
        (self.edge(offset) - self.origin) as u32 + (offset + self.window) as u32
    }

    /// Right end of the interval of `offset`.
    fn right(&self, offset: i32) -> u32 {
        if offset > self.window { TOTAL } else { self.left(offset + 1) }
    }

    /// About the offset whose interval contains `quantile`.
    fn guess(&self, quantile: u32) -> i32 {
        let position = ((i64::from(inverse(quantile)) * self.scale) >> 16) as i32;
        ((position + 128 + self.fraction) >> 8).clamp(-self.window, self.window)
    }

    /// Codes one int16 `value`, through the escape where it lies outside the window.
    pub fn code(&self, value: i32, coder: &mut impl SymbolCoder) -> Result<i32> {
        let escape = self.window + 1;
        let offset = value - self.center;
        let symbol = if offset.abs() <= self.window { offset } else { escape };
        let mut coded = coder.code(symbol, self)?;
        if coded == escape {
            coded = code_outlier(offset, self.window, coder)?;
        }
        let value = self.center + coded;
        if i16::try_from(value).is_err() {
            return Err(Error::Corrupted { what: "a code is outside the 16-bit range" });
        }
        Ok(value)
    }
}

impl Distribution for Logistic {
    fn interval(&self, symbol: i32) -> Option<Interval> {
        (-self.window..=self.window + 1)
            .contains(&symbol)
            .then(|| between(self.left(symbol), self.right(symbol)))
    }

    /// Gallops outwards from a guess, then bisects: mostly the guess is right, which takes the two
    /// ends of its interval to see.
    fn find(&self, quantile: u32) -> (i32, Interval) {
        let mut low = self.guess(quantile);
        let mut left = self.left(low);
        let (mut high, mut right) = (low, left);
        let mut step = 1;
        while left > quantile {
            (high, right) = (low, left);
            low = (low - step).max(-self.window); // its left end is 0
            left = self.left(low);
            step *= 2;
        }
        while right <= quantile {
            (low, left) = (high, right);
            high = (high + step).min(self.window + 2);
            right = self.right(high - 1);
            step *= 2;
        }
        // Invariant: left(low) = left <= quantile < right = left(high).
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let edge = self.left(middle);
            if edge <= quantile {
                (low, left) = (middle, edge);
            } else {
                (high, right) = (middle, edge);
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

    /// Against half the difference of the lengths on both sides, by the masses in 2^-32.
    #[test]
    fn slopes_are_those_of_lengths() {
        let bits = |mean: i32, class: i32, value: i32| {
            let logistic = Logistic::new(mean, class);
            let offset = value - logistic.center;
            let mass = logistic.mass_below(offset + 1) - logistic.mass_below(offset);
            -(mass as f64 / MASS).log2()
        };
        for class in (56..200).step_by(9) {
            for mean in (-700..700).step_by(61) {
                for value in -6..7 {
                    if bits(mean, class, value) > 18.0 {
                        continue;
                    }
                    let of_mean =
                        (bits(mean + 4, class, value) - bits(mean - 4, class, value)) / 8.0;
                    let of_class =
                        (bits(mean, class + 1, value) - bits(mean, class - 1, value)) / 2.0;
                    let slopes = Logistic::new(mean, class).slopes(value).map(f64::from);
                    for (found, expected) in slopes.into_iter().zip([of_mean, of_class]) {
                        let allowed = 0.03 * expected.abs() + 0.002;
                        assert!(
                            (found - expected).abs() < allowed,
                            "mean {mean}, class {class}, value {value}: {found}, {expected}"
                        );
                    }
                }
            }
        }
        let far = Logistic::new(0, 40).slopes(30_000);
        assert!(far.into_iter().all(f32::is_finite));
    }
}
