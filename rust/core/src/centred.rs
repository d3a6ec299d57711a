//! Codes that count from their means: a code, in 1/256 symbol, is the mean that the prior gives at
//! its place and a whole number of symbols, and only these are coded.
//!
//! So what a picture shares with its surroundings costs nothing, not even the rounding to a common
//! grid. This takes a prior that is exact on both sides: an encoder must know the means to the last
//! bit before it can round anything. Means depend on the codes before, so rounding goes along the
//! prior's own walk.

use std::sync::LazyLock;

use crate::codes::CodeGrid;
use crate::context::{ContextPrior, Lane};
use crate::distribution::Distribution;
use crate::entropy::SymbolCoder;
use crate::error::Result;
use crate::lengths::{LENGTH_BITS, length};
use crate::logistic::{CLASSES, Logistic, MAX_MEAN};
use crate::quantizer::{CODE_LIMIT, VALUE_BITS};

/// How a walk turns numbers in 1/256 symbol into codes.
#[derive(Debug, Clone, Copy)]
pub enum Rounding<'a> {
    /// To the nearest code, after going towards the mean by up to so many 1/256. Codes stay as they
    /// are where that is 0.
    Nearest(u8),
    /// To the code of least cost, where the square of a symbol's distance from a number costs so many
    /// bits, for each variable.
    Cheapest(&'a [f64]),
}

/// What a code counts from, in 1/256 symbol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin(i32);

impl Origin {
    /// The mean that a head gives, as the logistic distribution takes it.
    pub fn of(mean: i32) -> Self {
        Self(mean.clamp(-MAX_MEAN, MAX_MEAN))
    }

    /// The symbol of a number.
    pub fn symbol(self, number: i32, class: i32, rounding: Rounding, variable: usize) -> i32 {
        match rounding {
            Rounding::Nearest(dead_zone) => self.nearest(number, dead_zone),
            Rounding::Cheapest(worth) => self.cheapest(number, class, worth[variable]),
        }
    }

    /// The nearest symbol, half upwards, of a number that goes towards the mean first.
    pub fn nearest(self, number: i32, dead_zone: u8) -> i32 {
        let (offset, dead_zone) = (number - self.0, i32::from(dead_zone));
        let offset = offset - offset.clamp(-dead_zone, dead_zone);
        ((offset + (1 << VALUE_BITS >> 1)) >> VALUE_BITS).clamp(-CODE_LIMIT, CODE_LIMIT)
    }

    /// The nearest symbol or one of its neighbours: whose length and squared distance cost least.
    fn cheapest(self, number: i32, class: i32, curvature: f64) -> i32 {
        let nearest = self.nearest(number, 0);
        let cost = |symbol: i32| {
            let distance = f64::from(self.plus(symbol) - number) / f64::from(1 << VALUE_BITS);
            let bits = f64::from(symbol_length(symbol, class)) / f64::from(1 << LENGTH_BITS);
            bits + curvature * distance * distance
        };
        let (mut best, mut lowest) = (nearest, cost(nearest));
        for symbol in [nearest - 1, nearest + 1] {
            let found = cost(symbol);
            if found < lowest {
                (best, lowest) = (symbol, found);
            }
        }
        best
    }

    /// The code of a symbol.
    pub fn plus(self, symbol: i32) -> i32 {
        self.0 + (symbol << VALUE_BITS)
    }
}

/// Symbols from 0 whose lengths are kept.
const KEPT: usize = 16;

static LENGTHS: LazyLock<Vec<[i32; KEPT]>> = LazyLock::new(|| {
    let of_class =
        |class| std::array::from_fn(|symbol| length(&Logistic::new(0, class), symbol as i32));
    (0..CLASSES).map(of_class).collect()
});

/// The length of a symbol that counts from the mean, in 2^-16 bit.
pub(crate) fn symbol_length(symbol: i32, class: i32) -> i32 {
    let class = class.clamp(0, CLASSES - 1);
    match LENGTHS[class as usize].get(symbol.unsigned_abs() as usize) {
        Some(&length) => length, // distributions around 0 are symmetric
        None => length(&Logistic::new(0, class), symbol),
    }
}

impl ContextPrior {
    /// Turns numbers in 1/256 symbol into codes that count from their means. Codes of other kinds stay
    /// as they are.
    pub fn settle(&self, codes: &mut CodeGrid, quality: u8, rounding: Rounding) -> Result<()> {
        if !self.is_centred() {
            return Ok(());
        }
        let lane = Lane { codes, coarse: None, coder: &mut Echo, rounding };
        self.code_together(&mut [lane], quality, false)
    }
}

/// A coder that leaves symbols as they are.
struct Echo;

impl SymbolCoder for Echo {
    const ECHOES: bool = true;

    fn code(&mut self, symbol: i32, _: &impl Distribution) -> Result<i32> {
        Ok(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_are_the_nearest_and_stay(mean in -3000..3000, number in -100_000..100_000) {
            let origin = Origin::of(mean);
            let code = origin.plus(origin.nearest(number, 0));
            prop_assert!((code - number).abs() <= 128 && (code - mean) % 256 == 0);
            prop_assert_eq!(origin.plus(origin.nearest(code, 0)), code);
        }

        #[test]
        fn a_dead_zone_rounds_towards_the_mean(mean in -3000..3000, number in -100_000..100_000, dead_zone: u8) {
            let origin = Origin::of(mean);
            let (plain, shrunk) = (origin.nearest(number, 0), origin.nearest(number, dead_zone));
            prop_assert!(shrunk.abs() <= plain.abs() && plain.abs() <= shrunk.abs() + 1);
            if (number - mean).abs() < 128 + i32::from(dead_zone) {
                prop_assert_eq!(shrunk, 0);
            }
        }

        #[test]
        fn the_cheapest_costs_no_more(number in -3000..3000, class in 0..CLASSES, curvature in 0.0..20.0) {
            let origin = Origin::of(77);
            let cost = |symbol: i32| {
                let distance = f64::from(origin.plus(symbol) - number) / 256.0;
                f64::from(length(&Logistic::new(0, class), symbol)) / 65536.0 + curvature * distance * distance
            };
            let (best, nearest) = (origin.cheapest(number, class, curvature), origin.nearest(number, 0));
            prop_assert!((best - nearest).abs() <= 1);
            prop_assert!((-1..=1).all(|change| cost(best) <= cost(nearest + change) + 1e-4));
        }
    }
}
