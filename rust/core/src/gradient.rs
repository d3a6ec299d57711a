//! What the pixels of a synthesis change by when its codes do: for the encoder's search only.
//!
//! The backward pass of a network is made of convolutions too, with the weights transposed, so it
//! runs on the same exact layers as the forward pass. Between them gradients are `f32`, which a
//! convolution takes as int16 times one power of two. All floating-point sums are in a fixed order
//! and the integers exact, so gradients are equal on every machine.
//!
//! They are approximate: rounding and the clamps of trunks count as the identity, those of ReLUs
//! and of pixels do not.

use std::slice;

use rayon::prelude::*;

use crate::codes::{CodeGrid, Tile};
use crate::conv::{Block, Conv, Grid, LIMIT, Scratch};
use crate::error::Result;
use crate::gain::{GAIN_BITS, Gain};
use crate::kernels::Kernel;
use crate::network::{Layer, MAX_WEIGHT};
use crate::quantizer::VALUE_BITS;
use crate::transform::{COLOURS, PIXEL_BITS, Synthesis, Transform};
use crate::trunk::{Op, multiply};

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
        let largest = self.values.par_iter().map(|value| value.abs()).reduce(|| 0.0, f32::max);
        // below 2^(octave + 1), so times 2^exponent below 2^14; at least the smallest normal number
        let octave = (largest.max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127;
        let exponent = (13 - octave).min(126);
        let scale = exp2(exponent);
        let mut grid = Grid::zeros(self.height, self.width, self.channels);
        let values = self.values.par_chunks(self.channels);
        grid.values.par_chunks_mut(self.channels).zip(values).for_each(|(numbers, values)| {
            for (number, value) in numbers.iter_mut().zip(values) {
                *number = nearest(value * scale).clamp(-LIMIT, LIMIT) as i16;
            }
        });
        (grid, exponent)
    }

    /// Multiplies each channel by its factor.
    fn scale(&mut self, factors: &[f32]) {
        self.values.par_chunks_exact_mut(factors.len()).for_each(|values| {
            values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        });
    }

    fn add(&mut self, other: &Self) {
        let pairs = self.values.par_iter_mut().zip(&other.values).with_min_len(1 << 12);
        pairs.for_each(|(value, other)| *value += other);
    }

    /// Sets to 0 where an activation after a ReLU is at either of its ends.
    fn mask(&mut self, activations: &Grid) {
        let pairs = self.values.par_iter_mut().zip(&activations.values).with_min_len(1 << 12);
        pairs.for_each(|(value, &activation)| {
            if activation <= 0 || i32::from(activation) >= LIMIT {
                *value = 0.0;
            }
        });
    }
}

/// `2^exponent` for -126..=127.
fn exp2(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// The nearest integer to a number within +-2^22, without a call into a mathematical library.
fn nearest(value: f32) -> i32 {
    const ALIGN: f32 = (3 << 22) as f32; // leaves no bit below 1
    (value + ALIGN - ALIGN) as i32
}

/// A convolution transposed: from the gradient of its outputs to that of its inputs.
#[derive(Debug, Clone)]
struct Adjoint {
    /// Its outputs count `2^-exponent`.
    conv: Conv,
    exponent: i32,
}

impl Adjoint {
    /// The adjoint of a convolution without stride, whose fold becomes the stride.
    fn new(conv: &Conv) -> Result<Self> {
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

    fn apply(&self, kernel: Kernel, gradient: &Field) -> Field {
        let (input, exponent) = gradient.quantized();
        let (height, width) = (input.height / self.conv.stride, input.width / self.conv.stride);
        let channels = self.conv.channels();
        let mut values = vec![0.0; height * width * channels];
        let scale = (exp2(-exponent), exp2(-self.exponent));
        let rows = values.par_chunks_exact_mut(width * channels).enumerate();
        rows.for_each_init(Scratch::default, |scratch, (y, row)| {
            let mut sums = vec![0; row.len()];
            self.conv.add_rows(kernel, &input, y..y + 1, &mut sums, scratch);
            for (value, sum) in row.iter_mut().zip(sums) {
                *value = sum as f32 * scale.0 * scale.1;
            }
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

/// The adjoint of each step of a trunk.
#[derive(Debug, Clone)]
enum Back {
    Conv(Adjoint),
    Block { spatial: Adjoint, mix: Adjoint },
    Gain(Gain),
}

/// The backward pass of a synthesis.
#[derive(Debug, Clone)]
pub struct Backward {
    trunk: Vec<Back>,
    out: Adjoint,
    skip: Option<Adjoint>,
}

impl Backward {
    /// Transposes all layers.
    pub fn new(synthesis: &Synthesis) -> Result<Self> {
        let back = |op: &Op| {
            Ok(match op {
                Op::Conv(conv, _) => Back::Conv(Adjoint::new(conv)?),
                Op::Block(Block { spatial, mix }) => {
                    Back::Block { spatial: Adjoint::new(spatial)?, mix: Adjoint::new(mix)? }
                }
                Op::Gain(gain) => Back::Gain(gain.clone()),
            })
        };
        Ok(Self {
            trunk: synthesis.trunk.iter().map(back).collect::<Result<_>>()?,
            out: Adjoint::new(&synthesis.out)?,
            skip: synthesis.skip.as_ref().map(|(_, conv)| Adjoint::new(conv)).transpose()?,
        })
    }
}

/// A forward pass of the synthesis, with what the way back needs.
#[derive(Debug)]
pub struct Trace {
    /// The activations after the ReLU of each step that has one.
    hidden: Vec<Option<Grid>>,
    /// Pixels `(height, width, 3)` in 1/64 of 255, neither rounded nor clamped.
    pub sums: Vec<i32>,
    /// Columns of pixels.
    pub width: usize,
}

impl Trace {
    /// Whether a pixel moves with its sum.
    pub fn moves(sum: i32) -> bool {
        (0..=255 << PIXEL_BITS).contains(&sum)
    }
}

impl Transform {
    /// The pixels of a grid of codes that fits one window.
    pub fn trace(&self, codes: &CodeGrid, quality: u8) -> Result<Trace> {
        let Self { synthesis, kernel, stride, .. } = self;
        let [_, height, width] = codes.shape();
        let all = Tile { y: 0, x: 0, height, width };
        let (mut grid, skip) = self.inputs(slice::from_ref(codes), all, quality)?;
        let mut hidden = Vec::with_capacity(synthesis.trunk.len());
        for op in &synthesis.trunk {
            let (output, kept) = forward(op, *kernel, &grid, quality);
            hidden.push(kept);
            grid = output;
        }
        let line = width * stride * COLOURS;
        let mut sums = vec![0; height * stride * line];
        let bands = sums.par_chunks_mut(stride * line).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (y, band)| {
            self.add_band((&grid, skip.as_ref()), y..y + 1, band, scratch);
        });
        Ok(Trace { hidden, sums, width: width * stride })
    }

    /// The gradient with regard to the codes, one for each channel of a position, of a sum of
    /// pixels (0..255) times `weights` of the same shape.
    pub fn gradient(&self, trace: &Trace, weights: &Field, quality: u8) -> Result<Field> {
        let (backward, kernel) = (self.backward()?, self.kernel);
        let mut gradient = backward.out.apply(kernel, weights);
        for (back, hidden) in backward.trunk.iter().zip(&trace.hidden).rev() {
            gradient = back.apply(kernel, gradient, hidden.as_ref(), quality);
        }
        let bits = VALUE_BITS as i32 - GAIN_BITS as i32 - PIXEL_BITS as i32;
        gradient.scale(&factors(&self.synthesis.gain, quality, bits));
        if let (Some(adjoint), Some((gain, _))) = (&backward.skip, &self.synthesis.skip) {
            let mut skip = adjoint.apply(kernel, weights);
            skip.scale(&factors(gain, quality, bits));
            gradient.add(&skip);
        }
        Ok(gradient)
    }
}

/// A step's output, and its activations after a ReLU.
fn forward(op: &Op, kernel: Kernel, input: &Grid, quality: u8) -> (Grid, Option<Grid>) {
    match op {
        Op::Conv(conv, relu) => {
            let output = conv.apply(kernel, input, *relu);
            (output.clone(), relu.then_some(output))
        }
        Op::Block(Block { spatial, mix }) => {
            let hidden = spatial.apply(kernel, input, true);
            let mut output = input.clone();
            let rows = output.values.par_chunks_exact_mut(input.width * input.channels);
            rows.enumerate().for_each_init(Scratch::default, |scratch, (y, row)| {
                let mut sums: Vec<_> = row.iter().map(|&own| i32::from(own)).collect();
                mix.add_rows(kernel, &hidden, y..y + 1, &mut sums, scratch);
                for (value, sum) in row.iter_mut().zip(sums) {
                    *value = sum.clamp(-LIMIT, LIMIT) as i16;
                }
            });
            (output, Some(hidden))
        }
        Op::Gain(gain) => (multiply(input, &gain.at(quality)), None),
    }
}

impl Back {
    fn apply(
        &self,
        kernel: Kernel,
        mut gradient: Field,
        hidden: Option<&Grid>,
        quality: u8,
    ) -> Field {
        match self {
            Self::Conv(adjoint) => {
                if let Some(hidden) = hidden {
                    gradient.mask(hidden);
                }
                adjoint.apply(kernel, &gradient)
            }
            Self::Block { spatial, mix } => {
                let mut inner = mix.apply(kernel, &gradient);
                if let Some(hidden) = hidden {
                    inner.mask(hidden);
                }
                gradient.add(&spatial.apply(kernel, &inner));
                gradient
            }
            Self::Gain(gain) => {
                gradient.scale(&factors(gain, quality, -(GAIN_BITS as i32)));
                gradient
            }
        }
    }
}

/// The gains of all channels times `2^exponent`.
fn factors(gain: &Gain, quality: u8, exponent: i32) -> Vec<f32> {
    gain.at(quality).into_iter().map(|gain| gain as f32 * exp2(exponent)).collect()
}
