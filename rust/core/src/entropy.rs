//! The range coder, and the one traversal that serves both directions.
//!
//! A prior walks over codes and calls [`SymbolCoder::code`] for each. The three coders make the
//! same walk an encoder, a decoder or a measurement, so the two directions cannot drift apart.
//!
//! A payload is a number in `[0, 1)` written as big-endian bytes: the shortest one inside the
//! final interval of constriction's range coder. Bytes that are missing at the end read as zero,
//! so trailing zero bytes are never stored. Ending a payload costs less than 8 bits on average.

use constriction::backends::ReadWords;
use constriction::stream::model::{DecoderModel, EncoderModel, EntropyModel};
use constriction::stream::queue::{DefaultRangeDecoder, DefaultRangeEncoder, EncoderSituation};
use constriction::stream::{Decode, Encode};
use constriction::{Queue, UnwrapInfallible};
use std::borrow::Borrow;
use std::convert::Infallible;
use std::num::NonZeroU32;

use crate::distribution::{Distribution, Interval, PRECISION, TOTAL};
use crate::error::{Error, Result};

/// Codes symbols one after the other: writes, reads or measures them.
pub trait SymbolCoder {
    /// Whether it gives every symbol back whatever its distribution, which is then not needed.
    const ECHOES: bool = false;

    /// Codes one symbol. An encoder returns its input; a decoder ignores it and returns what it
    /// has read.
    fn code(&mut self, symbol: i32, distribution: &impl Distribution) -> Result<i32>;
}

/// Writes symbols into a payload, and measures them as [`Meter`] does.
#[derive(Debug, Default)]
pub struct Encoder {
    coder: DefaultRangeEncoder,
    meter: Meter,
}

impl Encoder {
    /// Information content so far: what an ideal coder would have written.
    pub fn bits(&self) -> f64 {
        self.meter.bits()
    }

    /// Ends the payload and returns its bytes.
    pub fn finish(self) -> Vec<u8> {
        let (words, state, situation) = self.coder.into_raw_parts();
        let (lower, range) = (state.lower(), state.range().get());
        // Any number in lower..lower + range (modulo 2^64) will do: keep the fewest leading bytes.
        // Invariant of the coder: range >= 2^32, so that four bytes always suffice.
        let number = (0..=4)
            .map(|bytes| round_up(lower, bytes))
            .find(|number| number.wrapping_sub(lower) < range)
            .unwrap_or(lower);

        let mut payload: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        if let EncoderSituation::Inverted(held, first) = situation {
            // The coder held words back until it is known whether a carry runs through them.
            let (first, others) =
                if number < lower { (first.wrapping_add(1), 0) } else { (first, u32::MAX) };
            payload.extend(first.to_be_bytes());
            (1..held.get()).for_each(|_| payload.extend(others.to_be_bytes()));
        }
        payload.extend(number.to_be_bytes());
        let length = payload.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        payload.truncate(length);
        payload
    }
}

/// `number` rounded up to a multiple of `2^(64 - 8 * bytes)`, modulo 2^64.
fn round_up(number: u64, bytes: u32) -> u64 {
    let below = u64::MAX.checked_shr(8 * bytes).unwrap_or(0);
    number.wrapping_add(below) & !below
}

impl SymbolCoder for Encoder {
    fn code(&mut self, symbol: i32, distribution: &impl Distribution) -> Result<i32> {
        let interval = distribution.interval(symbol).ok_or_else(|| unknown_symbol(symbol))?;
        self.meter.add(interval);
        self.coder.encode_symbol(symbol, Known(interval)).map_err(|_| unknown_symbol(symbol))?;
        Ok(symbol)
    }
}

/// Reads symbols from a payload.
#[derive(Debug)]
pub struct Decoder<'a>(DefaultRangeDecoder<Words<'a>>);

impl<'a> Decoder<'a> {
    /// Starts reading `payload`, which may hold anything.
    pub fn new(payload: &'a [u8]) -> Self {
        Self(DefaultRangeDecoder::with_backend(Words(payload)).unwrap_infallible())
    }

    /// Ends reading. Bytes that no symbol needed mean that something else was encoded.
    pub fn finish(self) -> Result<()> {
        match self.0.into_raw_parts().0 {
            Words([]) => Ok(()),
            _ => Err(Error::Corrupted { what: "a payload is longer than its codes" }),
        }
    }
}

impl SymbolCoder for Decoder<'_> {
    fn code(&mut self, _: i32, distribution: &impl Distribution) -> Result<i32> {
        self.0
            .decode_symbol(Model(distribution))
            .map_err(|_| Error::Corrupted { what: "a payload is not a sequence of codes" })
    }
}

/// Measures symbols: the cross entropy under the integer model, without coding anything.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Information content of the symbols that are not in `product` any more.
    bits: f64,
    /// Product of the latest symbols' probabilities, so that few logarithms are taken.
    product: f64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { bits: 0.0, product: 1.0 }
    }
}

impl Meter {
    /// Information content so far.
    pub fn bits(&self) -> f64 {
        self.bits - self.product.log2()
    }

    fn add(&mut self, interval: Interval) {
        self.product *= f64::from(interval.width) / f64::from(TOTAL);
        if self.product < 1e-280 {
            *self = Self { bits: self.bits(), product: 1.0 };
        }
    }
}

impl SymbolCoder for Meter {
    fn code(&mut self, symbol: i32, distribution: &impl Distribution) -> Result<i32> {
        self.add(distribution.interval(symbol).ok_or_else(|| unknown_symbol(symbol))?);
        Ok(symbol)
    }
}

fn unknown_symbol(symbol: i32) -> Error {
    Error::InvalidInput(format!("code {symbol} is outside the prior's alphabet"))
}

/// The big-endian words of a payload, the last one filled up with zeros.
#[derive(Debug)]
struct Words<'a>(&'a [u8]);

impl ReadWords<u32, Queue> for Words<'_> {
    type ReadError = Infallible;

    fn read(&mut self) -> std::result::Result<Option<u32>, Infallible> {
        let (bytes, rest) = self.0.split_at(self.0.len().min(4));
        self.0 = rest;
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        Ok((!bytes.is_empty()).then(|| u32::from_be_bytes(word)))
    }

    fn maybe_exhausted(&self) -> bool {
        self.0.is_empty()
    }
}

/// The interval of the one symbol to encode, as constriction's model trait.
struct Known(Interval);

impl EntropyModel<PRECISION> for Known {
    type Symbol = i32;
    type Probability = u32;
}

impl EncoderModel<PRECISION> for Known {
    fn left_cumulative_and_probability(&self, _: impl Borrow<i32>) -> Option<(u32, NonZeroU32)> {
        NonZeroU32::new(self.0.width).map(|width| (self.0.left, width))
    }
}

/// Our [`Distribution`] as constriction's model trait for decoding.
struct Model<'a, D>(&'a D);

impl<D: Distribution> EntropyModel<PRECISION> for Model<'_, D> {
    type Symbol = i32;
    type Probability = u32;
}

impl<D: Distribution> DecoderModel<PRECISION> for Model<'_, D> {
    fn quantile_function(&self, quantile: u32) -> (i32, u32, NonZeroU32) {
        debug_assert!(quantile < TOTAL);
        let (symbol, Interval { left, width }) = self.0.find(quantile);
        (symbol, left, NonZeroU32::new(width).unwrap_or(NonZeroU32::MIN))
    }
}
