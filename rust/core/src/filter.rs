//! The last step of decoding where a file has one: a small linear filter made for its picture.
//!
//! A synthesis is fitted to many pictures, so on each of them its errors have something in common: a
//! cast, edges that are too soft or too hard. An encoder knows them and may send the linear map of
//! a pixel's surroundings that takes most of them away (as the adaptive loop filter of VVC does;
//! Tsai et al. 2013). It sees pixels before they are rounded.

use rayon::prelude::*;

use crate::adapt::Adaptation;
use crate::entropy::{Decoder, Encoder, SymbolCoder};
use crate::error::{Error, Result};
use crate::transform::{COLOURS, PIXEL_BITS, shown};

/// Pairs of pixels that it sees, on either side of the one that it changes: rows and columns of one of them.
pub const PAIRS: [(usize, isize); 6] = [(0, 1), (0, 2), (1, -1), (1, 0), (1, 1), (2, 0)];

/// What the change of a colour is a sum of: one pixel, the colours of the pixel, and for each pair and colour how
/// far the sum of both is from twice the pixel.
pub const INPUTS: usize = 1 + COLOURS + PAIRS.len() * COLOURS;

/// Largest magnitude of a weight.
pub const MAX_WEIGHT: i32 = 127;

/// Largest coarseness.
pub const MAX_COARSENESS: u8 = 3;

/// Most bytes of a filter.
pub const MAX_BYTES: usize = 512;

/// Columns that pairs reach.
const REACH: usize = 2;

/// One pixel value (1 of 255), as an input.
pub(crate) const PIXEL: i32 = 1 << PIXEL_BITS;

/// Fractional bits of weights, if a unit of theirs were that of the inputs.
const WEIGHT_BITS: u32 = 8;

/// Scale classes of weights before any is known: of the constant, of colours and of pairs.
const CLASSES: [i32; 3] = [80, 112, 105];

/// A filter for a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Base-2 logarithm of what the weights of colours and pairs count by.
    pub coarseness: u8,
    /// For each colour that it changes, within +-[`MAX_WEIGHT`].
    pub weights: [[i32; INPUTS]; COLOURS],
}

/// Pixels `(height, width, 3)` that are not rounded yet, in 1/64 of 255 within 0 and 255.
#[derive(Debug)]
pub struct Unrounded {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The numbers in C order.
    pub values: Vec<i16>,
}

impl Filter {
    /// What a weight of 1 stands for, in 1/256.
    pub fn unit(coarseness: u8, input: usize) -> i32 {
        match input {
            0 => 1 << (WEIGHT_BITS - 1),
            1..=COLOURS => 1 << coarseness,
            _ => 2 << coarseness,
        }
    }

    /// The bytes that a file holds.
    pub fn write(&self) -> Result<Vec<u8>> {
        let mut coder = Encoder::default();
        self.clone().code(&mut coder)?;
        Ok([vec![self.coarseness], coder.finish()].concat())
    }

    /// Mirror of `write`.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let damaged = Error::Corrupted { what: "there is no filter like this one" };
        let Some((&coarseness @ 0..=MAX_COARSENESS, payload)) = bytes.split_first() else {
            return Err(damaged);
        };
        let mut filter = Self { coarseness, weights: [[0; INPUTS]; COLOURS] };
        let mut coder = Decoder::new(payload);
        filter.code(&mut coder)?;
        coder.finish()?;
        let legal = |weight: &i32| (-MAX_WEIGHT..=MAX_WEIGHT).contains(weight);
        if filter.weights.as_flattened().iter().all(legal) { Ok(filter) } else { Err(damaged) }
    }

    /// All weights, as codes of a slice of three positions.
    fn code(&mut self, coder: &mut impl SymbolCoder) -> Result<()> {
        let mut adaptation = Adaptation::new(INPUTS, COLOURS, 1);
        for (colour, weights) in self.weights.iter_mut().enumerate() {
            adaptation.move_to(colour, 0);
            for (input, weight) in weights.iter_mut().enumerate() {
                let class = CLASSES[input.min(1) + usize::from(input > COLOURS)];
                *weight = adaptation.code(input, (0, class), *weight, coder)?;
            }
        }
        Ok(())
    }

    /// A row of pixels, filtered and rounded: `columns` of it, interleaved.
    fn row(&self, row: &Inputs, start: usize, shown: &mut [u8]) {
        let count = shown.len() / COLOURS;
        let mut sums = vec![0; count];
        for (colour, weights) in self.weights.iter().enumerate() {
            let centre = row.colour(colour, start, count);
            for (sum, &value) in sums.iter_mut().zip(centre) {
                *sum = (value << WEIGHT_BITS) + (1 << (WEIGHT_BITS + PIXEL_BITS - 1));
            }
            for (input, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0) {
                let factor = weight * Self::unit(self.coarseness, input);
                // at most 2^8 * 2^14 of the pixel, 127 * 2^13 of the constant, 3 * 127 * 2^3 * 2^13 of colours and
                // 18 * 127 * 2^4 * 2^15 of pairs: below 2^31
                for (sum, &value) in sums.iter_mut().zip(row.input(input, start, count)) {
                    *sum += factor * value;
                }
            }
            for (pixel, &sum) in shown.chunks_exact_mut(COLOURS).zip(&sums) {
                pixel[colour] = (sum >> (WEIGHT_BITS + PIXEL_BITS)).clamp(0, 255) as u8;
            }
        }
    }
}

/// What filters see of the pixels of a row.
#[derive(Debug)]
pub struct Inputs {
    width: usize,
    /// The row's colours, then the inputs: one row each.
    values: Vec<i32>,
}

impl Inputs {
    fn colour(&self, colour: usize, start: usize, count: usize) -> &[i32] {
        &self.values[colour * self.width + start..][..count]
    }

    /// One of the inputs for some columns.
    pub fn input(&self, input: usize, start: usize, count: usize) -> &[i32] {
        &self.values[(COLOURS + input) * self.width + start..][..count]
    }
}

impl Unrounded {
    /// What filters see of the pixels of row `y`; outside are the pixels of the edge.
    pub fn inputs(&self, y: usize) -> Inputs {
        let Self { height, width, .. } = *self;
        let line = width + 2 * REACH;
        let mut rows = [const { Vec::new() }; 2 * REACH + 1];
        for (index, row) in rows.iter_mut().enumerate() {
            let y = (y + index).saturating_sub(REACH).min(height - 1);
            let pixels = &self.values[y * width * COLOURS..][..width * COLOURS];
            *row = vec![0; COLOURS * line];
            for (colour, plane) in row.chunks_exact_mut(line).enumerate() {
                let values = pixels.iter().skip(colour).step_by(COLOURS);
                for (target, &value) in plane[REACH..].iter_mut().zip(values) {
                    *target = i32::from(value);
                }
                let (first, last) = (plane[REACH], plane[REACH + width - 1]);
                plane[..REACH].fill(first);
                plane[REACH + width..].fill(last);
            }
        }
        let at = |dy: isize, colour: usize, dx: isize| {
            let row = &rows[REACH.wrapping_add_signed(dy)];
            &row[colour * line + REACH.wrapping_add_signed(dx)..][..width]
        };
        let mut values = Vec::with_capacity((COLOURS + INPUTS) * width);
        (0..COLOURS).for_each(|colour| values.extend(at(0, colour, 0)));
        values.resize((COLOURS + 1) * width, PIXEL);
        for colour in 0..COLOURS {
            values.extend(at(0, colour, 0).iter().map(|value| value - 128 * PIXEL));
        }
        for (dy, dx) in PAIRS {
            for colour in 0..COLOURS {
                let (below, above) = (at(dy as isize, colour, dx), at(-(dy as isize), colour, -dx));
                let pairs = below.iter().zip(above).zip(at(0, colour, 0));
                values.extend(pairs.map(|((below, above), centre)| below + above - 2 * centre));
            }
        }
        Inputs { width, values }
    }

    /// Rounds the pixels of some rows of `columns`, from `(top, left)` on, into rows of `row_bytes`
    /// of which these are the first.
    pub fn show(
        &self,
        filter: Option<&Filter>,
        [top, left]: [usize; 2],
        columns: usize,
        (pixels, row_bytes): (&mut [u8], usize),
    ) {
        pixels.par_chunks_mut(row_bytes).enumerate().for_each(|(y, row)| {
            let row = &mut row[..columns * COLOURS];
            let y = top + y;
            if let Some(filter) = filter {
                return filter.row(&self.inputs(y), left, row);
            }
            let values = &self.values[(y * self.width + left) * COLOURS..];
            for (pixel, &value) in row.iter_mut().zip(values) {
                *pixel = shown(value.into());
            }
        });
    }
}
