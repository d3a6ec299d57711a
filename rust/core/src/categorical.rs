//! Distributions over `0..K`: from logits in log2 units (a network) or from counts (a table).

use crate::distribution::{Distribution, Interval, TOTAL};
use crate::error::{Error, Result};

/// Largest alphabet.
pub const MAX_ALPHABET: usize = 4096;

/// Bits of a weight `2^-d`.
const WEIGHT_BITS: u32 = 20;

/// Differences below the largest logit are clamped to just under this many octaves.
const OCTAVES: i32 = 20;

/// Bits that the scale factor from weight sums to frequencies carries.
const SCALE_BITS: u32 = 28;

/// `2^20 * 2^(-i / 256)` by a cubic: relative error 1.1e-4, exact at both ends, strictly decreasing.
static FRACTIONS: [u32; 256] = {
    let mut table = [0; 256];
    let mut fraction = 0;
    while fraction < 256 {
        let slope = 241_756 - ((41_035 * fraction) >> 8);
        let slope = 725_009 - ((slope * fraction) >> 8);
        table[fraction as usize] = (1 << WEIGHT_BITS) - ((slope * fraction) >> 8);
        fraction += 1;
    }
    table
};

/// `2^20 * 2^(-difference / 256)` for `difference >= 0`, at least 1.
///
/// The fraction goes through a table, the octaves through a shift.
pub(crate) fn weight(difference: i32) -> u32 {
    let difference = difference.min(OCTAVES * 256 - 1) as usize;
    FRACTIONS[difference % 256] >> (difference / 256)
}

/// A distribution over `0..K` from `K` logits; reusable, so that a loop allocates once.
#[derive(Debug, Clone, Default)]
pub struct Categorical {
    /// Sums of the weights before each symbol: `K + 1` entries from 0, at most 2^32.
    sums: Vec<u64>,
    scale: u64,
}

impl Categorical {
    /// Replaces the distribution by the one of `logits`, in 1/256 octave, clamped to int16.
    ///
    /// `2 <= logits.len() <= MAX_ALPHABET`, so that all products below fit 64 bits:
    /// sums <= 4096 * 2^20 = 2^32, scale <= 2^52 / 2^20 = 2^32, sum * scale <= 2^52.
    pub fn set_logits(&mut self, logits: &[i32]) {
        debug_assert!((2..=MAX_ALPHABET).contains(&logits.len()));
        let clamp = |logit: i32| logit.clamp(i16::MIN.into(), i16::MAX.into());
        let largest = logits.iter().copied().map(clamp).max().unwrap_or(0);
        self.sums.clear();
        self.sums.push(0);
        let mut sum = 0;
        self.sums.extend(logits.iter().map(|&logit| {
            sum += u64::from(weight(largest - clamp(logit)));
            sum
        }));
        self.scale = (u64::from(TOTAL - logits.len() as u32) << SCALE_BITS) / sum.max(1);
    }

    /// Number of symbols.
    pub fn alphabet(&self) -> usize {
        self.sums.len().saturating_sub(1)
    }

    /// Left end of the interval of `symbol` in `0..=K`: strictly increasing from 0 to `TOTAL`.
    fn left(&self, symbol: usize) -> u32 {
        if symbol == self.alphabet() {
            TOTAL
        } else {
            ((self.sums[symbol] * self.scale) >> SCALE_BITS) as u32 + symbol as u32
        }
    }
}

impl Distribution for Categorical {
    fn interval(&self, symbol: i32) -> Option<Interval> {
        let symbol = usize::try_from(symbol).ok().filter(|&symbol| symbol < self.alphabet())?;
        Some(between(self.left(symbol), self.left(symbol + 1)))
    }

    fn find(&self, quantile: u32) -> (i32, Interval) {
        bisect(self.alphabet(), quantile, |symbol| self.left(symbol))
    }
}

/// A fixed distribution over `0..K`.
#[derive(Debug, Clone)]
pub struct Table {
    /// `K + 1` strictly increasing left ends from 0 to `TOTAL`.
    lefts: Vec<u32>,
}

impl Table {
    /// Frequencies in proportion to `counts` plus one, and one unit for every symbol besides.
    pub fn from_counts(counts: &[u64]) -> Result<Self> {
        if !(2..=1 << 16).contains(&counts.len()) {
            return Err(Error::InvalidInput(format!(
                "a table has 2 to 65536 symbols, not {}",
                counts.len()
            )));
        }
        let total: u128 = counts.iter().map(|&count| u128::from(count) + 1).sum();
        let shared = u128::from(TOTAL) - counts.len() as u128;
        let mut sum = 0_u128; // at most 2^16 * 2^64, times 2^24: fits 128 bits
        let mut lefts = vec![0];
        for (symbol, &count) in counts.iter().enumerate() {
            sum += u128::from(count) + 1;
            lefts.push((sum * shared / total) as u32 + symbol as u32 + 1);
        }
        Ok(Self { lefts })
    }

    /// Number of symbols.
    pub fn alphabet(&self) -> usize {
        self.lefts.len() - 1
    }
}

impl Distribution for Table {
    fn interval(&self, symbol: i32) -> Option<Interval> {
        let symbol = usize::try_from(symbol).ok().filter(|&symbol| symbol < self.alphabet())?;
        Some(between(self.lefts[symbol], self.lefts[symbol + 1]))
    }

    fn find(&self, quantile: u32) -> (i32, Interval) {
        bisect(self.alphabet(), quantile, |symbol| self.lefts[symbol])
    }
}

fn between(left: u32, right: u32) -> Interval {
    Interval { left, width: right - left }
}

/// The symbol of `0..alphabet` with `left(symbol) <= quantile < left(symbol + 1)`.
fn bisect(alphabet: usize, quantile: u32, left: impl Fn(usize) -> u32) -> (i32, Interval) {
    let (mut low, mut high) = (0, alphabet);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if left(middle) <= quantile {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low as i32, between(left(low), left(high)))
}
