//! Exact convolutions over grids of int16 activations, row by row on all threads of the pool.
//!
//! A convolution gathers, for a batch of neighbouring positions, the part of the input that each
//! one sees, and puts them through a dense [`Layer`]. Whatever lies outside the grid is zero.

use std::ops::Range;

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
    /// Rows of one picture: the grid may hold several of one size, one below the other, which do not
    /// see each other.
    pub picture: usize,
    /// The numbers in C order.
    pub values: Vec<i16>,
}

impl Grid {
    /// A grid of zeros.
    pub fn zeros(height: usize, width: usize, channels: usize) -> Self {
        let values = vec![0; height * width * channels];
        Self { height, width, channels, picture: height, values }
    }

    /// Several grids of one size as one.
    pub fn stacked(grids: &[Self]) -> Option<Self> {
        let (first, rest) = grids.split_first()?;
        let mut stack = first.clone();
        for grid in rest {
            assert!(
                (grid.height, grid.width, grid.channels)
                    == (first.height, first.width, first.channels)
            );
            stack.values.extend_from_slice(&grid.values);
            stack.height += grid.height;
        }
        Some(stack)
    }

    /// Columns `start..start + count` of row `y` of the picture that begins at row `top`, of which
    /// some may lie outside, into `target`.
    fn copy_row(&self, top: usize, y: isize, start: isize, count: usize, target: &mut Vec<i16>) {
        let inside = |x: isize| x.clamp(0, self.width as isize) as usize;
        let (first, last) = (inside(start), inside(start + count as isize));
        if y < 0 || y >= self.picture as isize || first >= last {
            target.resize(target.len() + count * self.channels, 0);
            return;
        }
        let before = (first as isize - start) as usize;
        target.resize(target.len() + before * self.channels, 0);
        let row = (top + y as usize) * self.width;
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

    /// The outputs at the positions of some rows, in batches: `each(start, outputs)` from the position
    /// number `start` of these rows.
    fn for_rows(
        &self,
        kernel: Kernel,
        input: &Grid,
        rows: Range<usize>,
        (inputs, outputs): (&mut Vec<i16>, &mut Vec<i32>),
        mut each: impl FnMut(usize, &[i32]),
    ) {
        let (width, stride) = (input.width / self.stride, self.layer.stride());
        let pad = self.pad() as isize;
        let biases = self.layer.biases_at(0);
        let count = rows.len() * width;
        for start in (0..count).step_by(BATCH) {
            let batch = BATCH.min(count - start);
            inputs.clear();
            for index in start..start + batch {
                let (y, x) = ((rows.start + index / width) * self.stride, index % width);
                let left = (x * self.stride) as isize - pad;
                for dy in 0..self.size {
                    let row = (y % input.picture + dy) as isize - pad;
                    input.copy_row(y - y % input.picture, row, left, self.size, inputs);
                }
                inputs.resize((index - start + 1) * stride, 0);
            }
            outputs.resize(batch * self.layer.rows(), 0);
            self.layer.apply(kernel, &biases, inputs, outputs);
            each(start, outputs);
        }
    }

    /// The output as activations: clamped to +-[`LIMIT`], below at 0 where `relu` is set.
    pub fn apply(&self, kernel: Kernel, input: &Grid, relu: bool) -> Grid {
        let fold = self.fold;
        let (height, width) = (input.height / self.stride, input.width / self.stride);
        let mut output = Grid::zeros(height * fold, width * fold, self.channels());
        output.picture = input.picture / self.stride * fold;
        let line = output.width * output.channels;
        let low = if relu { 0 } else { -LIMIT };
        let together = rows_together(width);
        let bands = output.values.par_chunks_mut(together * fold * line).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (index, band)| {
            let memory = (&mut scratch.inputs, &mut scratch.outputs);
            let first = index * together;
            let rows = first..first + band.len() / (fold * line);
            self.for_rows(kernel, input, rows, memory, |start, outputs| {
                self.unfold(start, width, outputs, |at, outputs| {
                    clamp_into(outputs, low, &mut band[at..][..outputs.len()]);
                });
            });
        });
        output
    }

    /// Adds the output at some rows of the input to `target`: `fold` rows of numbers for each.
    pub fn add_rows(
        &self,
        kernel: Kernel,
        input: &Grid,
        rows: Range<usize>,
        target: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let memory = (&mut scratch.inputs, &mut scratch.outputs);
        let width = input.width / self.stride;
        self.for_rows(kernel, input, rows, memory, |start, outputs| {
            self.unfold(start, width, outputs, |at, outputs| {
                for (sum, &output) in target[at..].iter_mut().zip(outputs) {
                    *sum = sum.saturating_add(output);
                }
            });
        });
    }

    /// Calls `put(start, numbers)` for the pieces of outputs that stay together: those from the
    /// position number `start` on, in rows of `width` positions.
    fn unfold(
        &self,
        start: usize,
        width: usize,
        outputs: &[i32],
        mut put: impl FnMut(usize, &[i32]),
    ) {
        let (fold, numbers) = (self.fold, self.layer.rows());
        if fold == 1 {
            return put(start * numbers, outputs);
        }
        let piece = numbers / fold;
        for (index, outputs) in (start..).zip(outputs.chunks_exact(numbers)) {
            let (y, x) = (index / width, index % width);
            for (dy, outputs) in outputs.chunks_exact(piece).enumerate() {
                put(((y * fold + dy) * width + x) * piece, outputs);
            }
        }
    }
}

/// Rows that a thread takes at a time: several where they are short, so that weights which were
/// loaded once serve a whole batch.
pub(crate) fn rows_together(width: usize) -> usize {
    (BATCH / width.max(1)).max(1)
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
        output.picture = input.picture;
        let (hidden, stride) = (self.spatial.layer.rows(), self.mix.layer.stride());
        let biases = self.mix.layer.biases_at(0);
        let (together, line) = (rows_together(input.width), input.width * input.channels);
        let bands = output.values.par_chunks_mut(together * line);
        let bands = bands.zip(input.values.par_chunks(together * line)).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (index, (band, own))| {
            let Scratch { inputs, outputs, hidden: activations, mixed } = scratch;
            let first = index * together;
            let rows = first..first + band.len() / line;
            self.spatial.for_rows(kernel, input, rows, (inputs, outputs), |start, outputs| {
                let batch = outputs.len() / hidden;
                activations.resize(batch * stride, 0);
                for (outputs, activations) in
                    outputs.chunks_exact(hidden).zip(activations.chunks_exact_mut(stride))
                {
                    clamp_into(outputs, 0, &mut activations[..hidden]);
                }
                mixed.resize(batch * input.channels, 0);
                self.mix.layer.apply(kernel, &biases, activations, mixed);
                let at = start * input.channels;
                for ((sum, &own), &mixed) in band[at..].iter_mut().zip(&own[at..]).zip(&*mixed) {
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
