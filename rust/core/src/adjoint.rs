//! Layers transposed: from the gradient of their outputs to that of their inputs.
//!
//! The backward pass of a network is made of convolutions too, with the weights transposed, so it
//! runs on the same exact layers as the forward pass. Between them gradients are `f32`, which a
//! convolution takes as int16 times one power of two. All floating-point sums are in a fixed order
//! and the integers exact, so gradients are equal on every machine.

use rayon::prelude::*;

use crate::conv::{Conv, Grid, LIMIT, Scratch};
use crate::error::Result;
use crate::kernels::Kernel;
use crate::network::{Layer, MAX_WEIGHT};

/// Numbers of shape `(height, width, channels)`, channels innermost: a [`Grid`] of `f32`.
#[derive(Debug, Clone)]
pub struct Field {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Numbers at each position.
    pub channels: usize,
    /// The numbers in C order.
    pub values: Vec<f32>,
}

impl Field {
    /// The numbers as int16 activations times `2^-exponent`, with as many bits as these have.
    fn quantized(&self) -> (Grid, i32) {
        // the bits of numbers that are not negative are in the order of these
        let bits = |value: &f32| value.abs().to_bits() as i32;
        let largest = |values: &[f32]| values.iter().map(bits).fold(0, i32::max);
        let largest = self.values.par_chunks(1 << 12).map(largest).reduce(|| 0, i32::max);
        // below 2^(octave + 1), so times 2^exponent below 2^14; at least the smallest normal number
        let octave = (largest.max(f32::MIN_POSITIVE.to_bits() as i32) >> 23) - 127;
        let exponent = (13 - octave).min(126);
        let scale = exp2(exponent);
        let mut grid = Grid::zeros(self.height, self.width, self.channels);
        let values = self.values.par_chunks(self.channels);
        grid.values.par_chunks_mut(self.channels).zip(values).for_each(|(numbers, values)| {
            for (number, value) in numbers.iter_mut().zip(values) {
                *number = nearest((value * scale).clamp(-LIMIT as f32, LIMIT as f32)) as i16;
            }
        });
        (grid, exponent)
    }

    /// Multiplies each channel by its factor.
    pub fn scale(&mut self, factors: &[f32]) {
        self.values.par_chunks_exact_mut(factors.len()).for_each(|values| {
            values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        });
    }
}

/// Adds numbers to others.
pub fn add(values: &mut [f32], others: &[f32]) {
    values.iter_mut().zip(others).for_each(|(value, other)| *value += other);
}

/// Sets numbers to 0 where an activation after a ReLU is at either of its ends, 0 and `limit`.
pub fn mask(values: &mut [f32], activations: &[i16], limit: i32) {
    for (value, &activation) in values.iter_mut().zip(activations) {
        let between = activation > 0 && i32::from(activation) < limit;
        *value = if between { *value } else { 0.0 };
    }
}

/// `2^exponent` for -126..=127.
pub fn exp2(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// The nearest integer to a number within +-2^22, without a call into a mathematical library or a cast that saturates.
fn nearest(value: f32) -> i32 {
    const ALIGN: f32 = (3 << 22) as f32; // leaves no bit below 1
    (value + ALIGN).to_bits() as i32 - ALIGN.to_bits() as i32
}

/// A convolution transposed: from the gradient of its outputs to that of its inputs.
#[derive(Debug, Clone)]
pub struct Adjoint {
    /// Its outputs count `2^-exponent`.
    conv: Conv,
    exponent: i32,
}

impl Adjoint {
    /// The adjoint of a convolution without stride, whose fold becomes the stride.
    pub fn new(conv: &Conv) -> Result<Self> {
        let (layer, fold, channels) = (&conv.layer, conv.fold, conv.channels());
        let inputs = layer.columns() / (conv.size * conv.size);
        let size = conv.size | 1; // an even window reaches as far as the next odd one, on one side
        let side = size * fold;
        let columns = side * side * channels;
        let mut weights = vec![0.0; inputs * columns];
        for (index, weight) in weights.iter_mut().enumerate() {
            let (input, column) = (index / columns, index % columns);
            let (pixel, channel) = (column / channels, column % channels);
            let (y, x) = (pixel / side, pixel % side);
            let (dy, dx) = (size - 1 - y / fold, size - 1 - x / fold);
            if dy < conv.size && dx < conv.size {
                let row = (y % fold * fold + x % fold) * channels + channel;
                *weight = layer.coefficient(row, (dy * conv.size + dx) * inputs + input);
            }
        }
        let exponent = largest_exponent(&weights, columns);
        let scale = exp2(exponent);
        let weights: Vec<_> = weights.iter().map(|w| nearest(w * scale) as i16).collect();
        let (biases, shifts) = (vec![0; inputs], vec![0; inputs]);
        let layer = Layer::new("adjoint", (columns, LIMIT), &weights, biases, shifts)?;
        Ok(Self { conv: Conv { layer, size: side, stride: fold, fold: 1 }, exponent })
    }

    /// The gradient of the inputs, after `finish(start, numbers)` for the numbers of each position.
    pub fn apply(
        &self,
        kernel: Kernel,
        gradient: &Field,
        finish: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Field {
        let (input, exponent) = gradient.quantized();
        let (height, width) = (input.height / self.conv.stride, input.width / self.conv.stride);
        let channels = self.conv.channels();
        let mut values = vec![0.0; height * width * channels];
        let scale = (exp2(-exponent), exp2(-self.exponent));
        let rows = values.par_chunks_exact_mut(width * channels).enumerate();
        rows.for_each_init(Scratch::default, |scratch, (y, row)| {
            self.conv.each_in_row(kernel, &input, y, scratch, |x, sums| {
                let values = &mut row[x * channels..][..channels];
                for (value, &sum) in values.iter_mut().zip(sums) {
                    *value = sum as f32 * scale.0 * scale.1;
                }
                finish((y * width + x) * channels, values);
            });
        });
        Field { height, width, channels, values }
    }
}

/// The largest exponent for which rows of weights, times two to that, are legal in a [`Layer`].
fn largest_exponent(weights: &[f32], columns: usize) -> i32 {
    let largest = weights.iter().fold(0.0_f64, |largest, w| largest.max(w.abs().into()));
    let sums = weights.chunks_exact(columns);
    let sums = sums.map(|row| row.iter().map(|w| f64::from(w.abs())).sum::<f64>());
    let sum = sums.fold(0.0, f64::max);
    // rounding to nearest adds a half to each weight at most
    let most = f64::from(i32::MAX - 1) / f64::from(LIMIT) - columns as f64 / 2.0;
    let legal = |exponent| {
        let scale = f64::from(exp2(exponent));
        sum * scale < most && largest * scale < f64::from(MAX_WEIGHT)
    };
    (-60..60).rev().find(|&exponent| legal(exponent)).unwrap_or(-60)
}
