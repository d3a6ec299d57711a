//! What an integer probability model is to the entropy coder.
//!
//! Every model divides the same total, 2^24, into one interval of at least 1 per symbol. Nothing
//! here is a float: the intervals are equal on every machine.

/// Bits of a probability: all frequencies of a model sum to `2^PRECISION`.
pub const PRECISION: usize = 24;

/// The sum of all frequencies of a model.
pub const TOTAL: u32 = 1 << PRECISION;

/// The share `left..left + width` of `0..TOTAL` that belongs to one symbol; `width >= 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Sum of the frequencies of all symbols to the left.
    pub left: u32,
    /// Frequency of the symbol itself.
    pub width: u32,
}

/// A division of `0..TOTAL` into the intervals of symbols.
pub trait Distribution {
    /// The interval of `symbol`, or `None` where the model has no such symbol.
    fn interval(&self, symbol: i32) -> Option<Interval>;

    /// The symbol whose interval contains `quantile < TOTAL`, with its interval.
    fn find(&self, quantile: u32) -> (i32, Interval);
}

/// One fair binary decision: symbols 0 and 1.
#[derive(Debug, Clone, Copy)]
pub struct FairBit;

impl Distribution for FairBit {
    fn interval(&self, symbol: i32) -> Option<Interval> {
        let width = TOTAL / 2;
        matches!(symbol, 0 | 1).then(|| Interval { left: symbol as u32 * width, width })
    }

    fn find(&self, quantile: u32) -> (i32, Interval) {
        let width = TOTAL / 2;
        let symbol = (quantile >= width) as u32;
        (symbol as i32, Interval { left: symbol * width, width })
    }
}
