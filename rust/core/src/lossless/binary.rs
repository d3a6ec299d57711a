//! Binary arithmetic coding: one decision with a 16-bit probability at a time.
//!
//! The state is an interval `[low, high]` of 64 bits. Its leading byte leaves as soon as it is
//! settled, so `low < high` holds before every decision, and every decision leaves both sides at
//! least one number: no bytes, damaged or not, can stop the decoder.

/// Bits of a probability: `1..=2^16 - 1` stands for that many parts of 2^16.
pub const PROBABILITY_BITS: u32 = 16;

/// What encoder and decoder have in common, so that one function drives both.
pub trait Coder {
    /// Codes one decision whose probability of being true is `truth / 2^16`. An encoder writes
    /// `decision` and returns it, a decoder ignores it and returns what was written.
    fn code(&mut self, truth: u32, decision: bool) -> bool;
}

/// The last number of the part of `[low, high]` that belongs to a true decision.
#[inline(always)]
fn split(low: u64, high: u64, truth: u32) -> u64 {
    low + ((high - low) >> PROBABILITY_BITS) * u64::from(truth)
}

/// Whether the leading byte of all numbers in `[low, high]` is the same.
#[inline(always)]
fn settled(low: u64, high: u64) -> bool {
    (low ^ high) >> 56 == 0
}

/// Writes decisions into bytes.
pub struct Encoder {
    low: u64,
    high: u64,
    bytes: Vec<u8>,
}

impl Encoder {
    /// An encoder that has written nothing.
    pub fn new() -> Self {
        Self { low: 0, high: u64::MAX, bytes: Vec::new() }
    }

    /// The shortest bytes that say everything written, given that zeros are read behind them.
    pub fn finish(mut self) -> Vec<u8> {
        if self.low > 0 {
            // The leading bytes differ, so this one alone lies between `low` and `high`.
            self.bytes.push((self.low >> 56) as u8 + 1);
        }
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }
}

impl Coder for Encoder {
    #[inline(always)]
    fn code(&mut self, truth: u32, decision: bool) -> bool {
        let split = split(self.low, self.high, truth);
        if decision {
            self.high = split;
        } else {
            self.low = split + 1;
        }
        while settled(self.low, self.high) {
            self.bytes.push((self.high >> 56) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        decision
    }
}

/// Reads decisions from bytes.
pub struct Decoder<'a> {
    low: u64,
    high: u64,
    window: u64,
    bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// A decoder of what an [`Encoder`] finished.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { low: 0, high: u64::MAX, window: 0, bytes };
        for _ in 0..8 {
            decoder.window = decoder.window << 8 | decoder.next();
        }
        decoder
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        let Some((&byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        byte.into()
    }
}

impl Coder for Decoder<'_> {
    #[inline(always)]
    fn code(&mut self, truth: u32, _: bool) -> bool {
        let split = split(self.low, self.high, truth);
        let decision = self.window <= split;
        if decision {
            self.high = split;
        } else {
            self.low = split + 1;
        }
        while settled(self.low, self.high) {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.window = self.window << 8 | self.next();
        }
        decision
    }
}
