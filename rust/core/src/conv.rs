//! Exact convolutions over grids of int16 activations, row by row on all threads of the pool.
//!
//! A convolution gathers, for a batch of neighbouring positions, the part of the input that each
//! one sees, and puts them through a dense [`Layer`]. Whatever lies outside the grid is zero.

use rayon::prelude::*;

use crate::kernels::Kernel;
use crate::network::Layer;

/// Largest magnitude of an activation between convolutions.
pub const LIMIT: i32 = 16383;

/// Positions that go through a layer together: what they see fits the level-2 cache.
const BATCH: usize = 32;

/// Activations of shape `(height, width, channels)`, channels innermost.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Numbers at each position.
    pub channels: usize,
    /// The numbers in C order.
    pub values: Vec<i16>,
}

impl Grid {
    /// A grid of zeros.
    pub fn zeros(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, values: vec![0; height * width * channels] }
    }

    /// Columns `start..start + count` of a row, of which some may lie outside, into `target`.
    fn copy_row(&self, y: isize, start: isize, count: usize, target: &mut Vec<i16>) {
        let inside = |x: isize| x.clamp(0, self.width as isize) as usize;
        let (first, last) = (inside(start), inside(start + count as isize));
        if y < 0 || y >= self.height as isize || first >= last {
            target.resize(target.len() + count * self.channels, 0);
            return;
        }
        let before = (first as isize - start) as usize;
        target.resize(target.len() + before * self.channels, 0);
        let row = y as usize * self.width;
        target.extend_from_slice(
            &self.values[(row + first) * self.channels..(row + last) * self.channels],
        );
        target.resize(target.len() + (count - before - (last - first)) * self.channels, 0);
    }
}

/// A convolution with square windows of `size`, one for every `stride` rows and columns.
///
/// Its outputs are in the order `(dy, dx, channel)` where it has a `fold` above 1: each position
/// then gives `fold x fold` positions of the output (depth to space).
#[derive(Debug, Clone)]
pub struct Conv {
    /// `(outputs, size * size * inputs)` weights, the inputs in the order `(dy, dx, channel)`.
    pub layer: Layer,
    /// Side of the window.
    pub size: usize,
    /// From one position to the next.
    pub stride: usize,
    /// Positions of the output along each side of a position.
    pub fold: usize,
}

/// The memory that a thread works in.
#[derive(Debug, Default)]
pub struct Scratch {
    inputs: Vec<i16>,
    outputs: Vec<i32>,
    hidden: Vec<i16>,
    mixed: Vec<i32>,
}

impl Conv {
    /// Rows above and columns left of a position that its window reaches.
    pub fn pad(&self) -> usize {
        (self.size - self.stride).div_ceil(2)
    }

    /// Channels of the output.
    pub fn channels(&self) -> usize {
        self.layer.rows() / (self.fold * self.fold)
    }

    /// The outputs at the positions of row `y`, in batches: `each(x, outputs)` from column `x`.
    fn for_row(
        &self,
        kernel: Kernel,
        input: &Grid,
        y: usize,
        (inputs, outputs): (&mut Vec<i16>, &mut Vec<i32>),
        mut each: impl FnMut(usize, &[i32]),
    ) {
        let (width, stride) = (input.width / self.stride, self.layer.stride());
        let pad = self.pad() as isize;
        let biases = self.layer.biases_at(0);
        for x in (0..width).step_by(BATCH) {
            let batch = BATCH.min(width - x);
            inputs.clear();
            for index in 0..batch {
                let left = ((x + index) * self.stride) as isize - pad;
                for dy in 0..self.size {
                    let row = (y * self.stride + dy) as isize - pad;
                    input.copy_row(row, left, self.size, inputs);
                }
                inputs.resize((index + 1) * stride, 0);
            }
            outputs.resize(batch * self.layer.rows(), 0);
            self.layer.apply(kernel, &biases, inputs, outputs);
            each(x, outputs);
        }
    }

    /// The output as activations: clamped to +-[`LIMIT`], below at 0 where `relu` is set.
    pub fn apply(&self, kernel: Kernel, input: &Grid, relu: bool) -> Grid {
        let fold = self.fold;
        let (height, width) = (input.height / self.stride, input.width / self.stride);
        let mut output = Grid::zeros(height * fold, width * fold, self.channels());
        let line = output.width * output.channels;
        let low = if relu { 0 } else { -LIMIT };
        let rows = output.values.par_chunks_mut(fold * line).enumerate();
        rows.for_each_init(Scratch::default, |scratch, (y, row)| {
            let memory = (&mut scratch.inputs, &mut scratch.outputs);
            self.for_row(kernel, input, y, memory, |x, outputs| {
                self.unfold(x, line, outputs, |at, outputs| {
                    clamp_into(outputs, low, &mut row[at..][..outputs.len()]);
                });
            });
        });
        output
    }

    /// Adds the output at row `y` of the input to `target`: `fold` rows of `line` numbers.
    pub fn add_row(
        &self,
        kernel: Kernel,
        input: &Grid,
        y: usize,
        target: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let line = target.len() / self.fold;
        let memory = (&mut scratch.inputs, &mut scratch.outputs);
        self.for_row(kernel, input, y, memory, |x, outputs| {
            self.unfold(x, line, outputs, |at, outputs| {
                for (sum, &output) in target[at..].iter_mut().zip(outputs) {
                    *sum = sum.saturating_add(output);
                }
            });
        });
    }

    /// Calls `put(start, numbers)` for the pieces of outputs that stay together in rows of `line`.
    fn unfold(&self, x: usize, line: usize, outputs: &[i32], mut put: impl FnMut(usize, &[i32])) {
        if self.fold == 1 {
            return put(x * self.layer.rows(), outputs);
        }
        let piece = self.layer.rows() / self.fold;
        for (x, outputs) in (x..).zip(outputs.chunks_exact(self.layer.rows())) {
            for (dy, outputs) in outputs.chunks_exact(piece).enumerate() {
                put(dy * line + x * piece, outputs);
            }
        }
    }
}

/// `x + mix(relu(spatial(x)))`: a 3x3 convolution and a 1x1 one beside the identity.
#[derive(Debug, Clone)]
pub struct Block {
    /// From the block's width to hidden activations.
    pub spatial: Conv,
    /// And back.
    pub mix: Conv,
}

impl Block {
    /// Applies the block.
    pub fn apply(&self, kernel: Kernel, input: &Grid) -> Grid {
        let mut output = Grid::zeros(input.height, input.width, input.channels);
        let (hidden, stride) = (self.spatial.layer.rows(), self.mix.layer.stride());
        let biases = self.mix.layer.biases_at(0);
        let rows = output.values.par_chunks_mut(input.width * input.channels);
        let rows = rows.zip(input.values.par_chunks(input.width * input.channels)).enumerate();
        rows.for_each_init(Scratch::default, |scratch, (y, (row, own))| {
            let Scratch { inputs, outputs, hidden: activations, mixed } = scratch;
            self.spatial.for_row(kernel, input, y, (inputs, outputs), |x, outputs| {
                let batch = outputs.len() / hidden;
                activations.resize(batch * stride, 0);
                for (outputs, activations) in
                    outputs.chunks_exact(hidden).zip(activations.chunks_exact_mut(stride))
                {
                    clamp_into(outputs, 0, &mut activations[..hidden]);
                }
                mixed.resize(batch * input.channels, 0);
                self.mix.layer.apply(kernel, &biases, activations, mixed);
                let at = x * input.channels;
                for ((sum, &own), &mixed) in row[at..].iter_mut().zip(&own[at..]).zip(&*mixed) {
                    *sum = mixed.saturating_add(own.into()).clamp(-LIMIT, LIMIT) as i16;
                }
            });
        });
        output
    }
}

/// Numbers as activations within `low..=LIMIT`.
fn clamp_into(numbers: &[i32], low: i32, activations: &mut [i16]) {
    for (activation, &number) in activations.iter_mut().zip(numbers) {
        *activation = number.clamp(low, LIMIT) as i16;
    }
}
