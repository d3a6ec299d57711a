//! Exact layers: int16 activations and weights, int32 accumulators, shifts instead of scales.
//!
//! A layer computes `(weights . inputs + bias + rounding) >> shift` for every output. Loading a
//! layer proves that no accumulator can leave int32 for any inputs within the stated bound, so
//! any order of summation, vector width or number of threads gives the same numbers.

use std::ops::Range;
use std::slice;

use crate::error::{Error, Result};
use crate::kernels::{Kernel, Matrix, Rounding, TILE};

/// Largest activation: what hidden layers are clamped to.
pub const MAX_ACTIVATION: i32 = 32767;

/// Largest magnitude of a feature of a code.
pub const MAX_FEATURE: i32 = 2047 << 3;

/// Largest magnitude of a weight: without -32768, no pair of products leaves int32.
pub const MAX_WEIGHT: u16 = 32767;

/// Largest shift of an output.
pub const MAX_SHIFT: u8 = 30;

/// Fractions of a quality level in the quality position of a file.
pub const QUALITY_STEPS: usize = 16;

/// One dense layer; its biases may depend on the quality level.
#[derive(Debug, Clone)]
pub struct Layer {
    weights: Matrix,
    /// `(levels, rows)`, levels >= 1.
    biases: Vec<i32>,
    rounding: Vec<Rounding>,
}

impl Layer {
    /// Checks and packs a layer of `shifts.len()` outputs and `columns` inputs.
    ///
    /// `weights` is `(rows, columns)` of at most [`MAX_WEIGHT`] in magnitude, `biases` `(levels, rows)`; no input may exceed `max_input`
    /// in magnitude. `name` is for the error message only.
    pub fn new(
        name: &str,
        (columns, max_input): (usize, i32),
        weights: &[i16],
        biases: Vec<i32>,
        shifts: Vec<u8>,
    ) -> Result<Self> {
        let rows = shifts.len();
        if rows == 0 || columns == 0 || weights.len() != rows * columns {
            return Err(Error::InvalidModel(format!("{name}: the weights do not fit the shifts")));
        }
        if biases.is_empty() || !biases.len().is_multiple_of(rows) {
            return Err(Error::InvalidModel(format!("{name}: the biases do not fit the shifts")));
        }
        for (row, weights) in weights.chunks_exact(columns).enumerate() {
            let largest_bias =
                biases.iter().skip(row).step_by(rows).map(|bias| bias.unsigned_abs());
            prove(name, row, weights, max_input, largest_bias.max().unwrap_or(0), shifts[row])?;
        }
        let rounding = Rounding::tiles(&shifts);
        Ok(Self { weights: Matrix::new(columns, weights), biases, rounding })
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.weights.rows()
    }

    /// What an output changes by when an input does: the weight, shifted.
    pub fn coefficient(&self, row: usize, column: usize) -> f32 {
        let shift = self.rounding[row / TILE].shift(row % TILE);
        f32::from(self.weights.at(row, column)) / (1_u32 << shift) as f32
    }

    /// Number of inputs.
    pub fn columns(&self) -> usize {
        self.weights.columns()
    }

    /// Numbers from one vector of inputs to the next.
    pub fn stride(&self) -> usize {
        self.weights.stride()
    }

    /// The biases at a `quality` position: linear between the levels, rounded to nearest.
    pub fn biases_at(&self, quality: u8) -> Vec<i32> {
        interpolate(&self.biases, self.rows(), quality)
    }

    /// Applies the layer to `(batch, stride)` inputs, giving `(batch, rows)` int32 outputs.
    pub fn apply(&self, kernel: Kernel, biases: &[i32], inputs: &[i16], outputs: &mut [i32]) {
        let all = 0..self.stride() / 2;
        self.apply_to(slice::from_ref(&all), kernel, biases, inputs, outputs);
    }

    /// The same where all inputs but some spans of pairs are 0: `inputs` holds `(batch, 2 * pairs)`
    /// numbers, those of the spans one after the other.
    pub fn apply_to(
        &self,
        spans: &[Range<usize>],
        kernel: Kernel,
        biases: &[i32],
        inputs: &[i16],
        outputs: &mut [i32],
    ) {
        kernel.apply((&self.weights, spans), &self.rounding, biases, inputs, outputs);
    }
}

/// The row of a `(levels, columns)` table at a `quality` position: linear between the levels,
/// rounded to nearest.
pub fn interpolate(table: &[i32], columns: usize, quality: u8) -> Vec<i32> {
    let last = table.len() / columns - 1;
    let level = (usize::from(quality) / QUALITY_STEPS).min(last);
    let fraction = (usize::from(quality) % QUALITY_STEPS) as i64;
    let lower = &table[level * columns..][..columns];
    let upper = &table[(level + 1).min(last) * columns..][..columns];
    let blend = |(&lower, &upper): (&i32, &i32)| {
        let (lower, upper) = (i64::from(lower), i64::from(upper));
        (lower + (((upper - lower) * fraction + 8) >> 4)) as i32
    };
    lower.iter().zip(upper).map(blend).collect()
}

/// Clamps `(batch, rows)` outputs to activations, in vectors of `stride` for the next layer.
pub fn activate(outputs: &[i32], rows: usize, stride: usize, activations: &mut [i16]) {
    for (outputs, activations) in
        outputs.chunks_exact(rows).zip(activations.chunks_exact_mut(stride))
    {
        for (&output, activation) in outputs.iter().zip(activations) {
            *activation = output.clamp(0, MAX_ACTIVATION) as i16;
        }
    }
}

/// The largest accumulator of a row, `sum |w| * max_input + |bias| + rounding`, must fit int32.
fn prove(
    name: &str,
    row: usize,
    weights: &[i16],
    max_input: i32,
    largest_bias: u32,
    shift: u8,
) -> Result<()> {
    if shift > MAX_SHIFT {
        return Err(Error::InvalidModel(format!(
            "{name}: shift {shift} of output {row} is above {MAX_SHIFT}"
        )));
    }
    let largest = weights.iter().map(|weight| weight.unsigned_abs()).max();
    if largest > Some(MAX_WEIGHT) {
        return Err(Error::InvalidModel(format!(
            "{name}: a weight of output {row} is above {MAX_WEIGHT} in magnitude"
        )));
    }
    let magnitude: u64 = weights.iter().map(|weight| u64::from(weight.unsigned_abs())).sum();
    let round = (1_u64 << shift) >> 1;
    let largest_sum = magnitude.saturating_mul(max_input.unsigned_abs().into());
    let bound = largest_sum.saturating_add(u64::from(largest_bias) + round);
    if bound >= i32::MAX as u64 {
        return Err(Error::InvalidModel(format!(
            "{name}: output {row} could reach {bound}, which overflows its 32-bit accumulator"
        )));
    }
    Ok(())
}
