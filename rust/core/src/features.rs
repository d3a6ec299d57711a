//! What the network sees of codes: small integers in a grid with a margin of zeros.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::network::MAX_FEATURE;
use crate::order::{REACH, Source, Tap};
use crate::quantizer::VALUE_BITS;

/// Fractional bits of the feature of a code that is a number: room for weights above 1/2, since a
/// layer can only shift its sums to the right.
pub(crate) const NUMBER_BITS: u32 = 3;

/// Features of the codes of a tile, 0 where nothing is known and outside.
///
/// Positions are rows of `channels` numbers, the slices' features one after the other, so that
/// "all earlier slices" and "this slice" are contiguous; the margin spares the taps bounds checks.
#[derive(Debug)]
pub struct FeatureGrid {
    channels: usize,
    height: usize,
    /// Positions in a row, margins included.
    columns: usize,
    features: Vec<i16>,
}

impl FeatureGrid {
    /// Rows and columns with margins for a tile of `height x width`.
    pub fn size(height: usize, width: usize) -> [usize; 2] {
        [height + 2 * REACH, width + 2 * REACH]
    }

    /// A grid in which no code is known yet.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        let [rows, columns] = Self::size(height, width);
        Self { channels, height, columns, features: vec![0; rows * columns * channels] }
    }

    /// Channels, and rows and columns of the tile, without margins.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.columns - 2 * REACH]
    }

    /// Enters, before all other channels, what a coarse grid has at the position that covers this one.
    pub fn set_coarse(&mut self, coarse: &Self) {
        let [_, height, width] = self.shape();
        let here = Tap { dy: 0, dx: 0, source: Source::Earlier };
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let seen = coarse.seen(y / 2, x / 2, &here, 0..coarse.channels);
            self.at_mut(y, x, 0..coarse.channels).copy_from_slice(seen);
        }
    }

    /// Some channels of a position of the tile.
    pub fn at_mut(&mut self, y: usize, x: usize, channels: Range<usize>) -> &mut [i16] {
        let start = ((y + REACH) * self.columns + x + REACH) * self.channels;
        &mut self.features[start..][channels]
    }

    /// Some channels of what `tap` sees from a position of the tile.
    pub fn seen(&self, y: usize, x: usize, tap: &Tap, channels: Range<usize>) -> &[i16] {
        let y = (y + REACH).wrapping_add_signed(tap.dy);
        let x = (x + REACH).wrapping_add_signed(tap.dx);
        &self.features[(y * self.columns + x) * self.channels..][channels]
    }
}

/// Features of categorical codes: a learned table.
#[derive(Debug, Clone)]
pub struct Embedding {
    alphabet: usize,
    width: usize,
    /// `(variables, alphabet, width)`.
    table: Vec<i16>,
}

impl Embedding {
    /// Takes a `(variables, alphabet, width)` table of features of at most [`MAX_FEATURE`].
    /// `name` is for the error message only.
    pub fn new(name: &str, alphabet: usize, width: usize, table: Vec<i16>) -> Result<Self> {
        if table.iter().any(|&feature| i32::from(feature).abs() > MAX_FEATURE) {
            return Err(Error::InvalidModel(format!(
                "{name}: a feature is above {MAX_FEATURE} in magnitude"
            )));
        }
        Ok(Self { alphabet, width, table })
    }

    /// Features of each code.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The features of one code of one variable.
    pub fn of(&self, variable: usize, code: i32) -> Result<&[i16]> {
        let code = usize::try_from(code).ok().filter(|&code| code < self.alphabet);
        code.and_then(|code| {
            self.table.get((variable * self.alphabet + code) * self.width..)?.get(..self.width)
        })
        .ok_or_else(|| {
            Error::InvalidInput(format!("a code is outside the alphabet of {}", self.alphabet))
        })
    }

    /// The feature of a code that is a number in 1/256: rounded to 3 fractional bits, clamped.
    pub fn of_value(code: i32) -> i16 {
        const SHIFT: u32 = VALUE_BITS - NUMBER_BITS;
        const LIMIT: i32 = MAX_FEATURE >> NUMBER_BITS << NUMBER_BITS; // as for a number
        ((code + (1 << SHIFT >> 1)) >> SHIFT).clamp(-LIMIT, LIMIT) as i16
    }

    /// The feature of a code that is a number: itself with 3 fractional bits, clamped.
    pub fn of_number(code: i32) -> i16 {
        const LIMIT: i32 = MAX_FEATURE >> NUMBER_BITS;
        (code.clamp(-LIMIT, LIMIT) << NUMBER_BITS) as i16
    }
}
