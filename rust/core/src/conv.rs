//! Exact convolutions over grids of int16 activations, row by row on all threads of the pool.
//!
//! A convolution gathers, for a batch of neighbouring positions, the part of the input that each
//! one sees, and puts them through a dense [`Layer`]. Whatever lies outside the grid is zero: taps
//! that are outside for a whole batch are left out. In small pictures those are most, so the
//! positions of several pictures go together that are at the same place of theirs.

use std::iter;
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

    /// Rows of positions, one for every `stride` rows, that a thread takes at a time: several where they
    /// are short, so that weights which were loaded once serve a whole batch, and all those of stacked
    /// pictures.
    pub(crate) fn rows_together(&self, stride: usize) -> usize {
        match self.picture < self.height {
            true => self.height / stride,
            false => (BATCH / (self.width / stride).max(1)).max(1),
        }
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

/// The part of a window that lies inside the grid for some of a batch of positions.
#[derive(Debug)]
struct Taps {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Taps {
    /// The smallest part that holds both.
    fn or(self, other: Self) -> Self {
        let cover = |a: Range<usize>, b: Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        Self { rows: cover(self.rows, other.rows), columns: cover(self.columns, other.columns) }
    }
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

    /// The taps that are inside an `input` for a position of its first picture.
    fn taps(&self, input: &Grid, y: usize, x: usize) -> Taps {
        let pad = self.pad();
        let inside = |position: usize, length: usize| {
            let first = position * self.stride;
            pad.saturating_sub(first)..self.size.min(length + pad - first)
        };
        Taps { rows: inside(y, input.picture), columns: inside(x, input.width) }
    }

    /// The column pairs of the layer that see some taps.
    fn spans(&self, taps: &Taps, channels: usize) -> Vec<Range<usize>> {
        let pairs = |tap: usize| tap * channels / 2;
        let row = |dy: usize| dy * self.size;
        let Taps { rows, columns } = taps;
        let spans = rows.clone().map(row);
        spans.map(|row| pairs(row + columns.start)..pairs(row + columns.end)).collect()
    }

    /// The outputs at the positions of some rows, in batches: `each(places, outputs)` for the numbers
    /// of positions in these rows.
    fn for_rows(
        &self,
        kernel: Kernel,
        input: &Grid,
        rows: Range<usize>,
        (inputs, outputs): (&mut Vec<i16>, &mut Vec<i32>),
        mut each: impl FnMut(&[usize], &[i32]),
    ) {
        let biases = self.layer.biases_at(0);
        let width = input.width / self.stride;
        let places = places(rows.len() * width, input.picture / self.stride * width);
        for places in places.chunks(BATCH) {
            let positions = places.iter().map(|place| (rows.start + place / width, place % width));
            let spans = self.gather(input, positions, inputs);
            outputs.resize(places.len() * self.layer.rows(), 0);
            self.layer.apply_to(&spans, kernel, &biases, inputs, outputs);
            each(places, outputs);
        }
    }

    /// Fills the inputs with what a batch of positions sees; returns the column pairs they belong to.
    fn gather(
        &self,
        input: &Grid,
        positions: impl Iterator<Item = (usize, usize)> + Clone,
        inputs: &mut Vec<i16>,
    ) -> Vec<Range<usize>> {
        let (pad, picture) = (self.pad() as isize, input.picture / self.stride);
        let taps =
            positions.clone().map(|(y, x)| self.taps(input, y % picture, x)).reduce(Taps::or);
        let whole = || Taps { rows: 0..self.size, columns: 0..self.size };
        let (taps, spans) = match taps {
            Some(taps) if input.channels.is_multiple_of(2) => {
                let spans = self.spans(&taps, input.channels);
                (taps, spans)
            }
            _ => (whole(), iter::once(0..self.layer.stride() / 2).collect()),
        };
        inputs.clear();
        for (y, x) in positions {
            let (top, left) =
                (y - y % picture, (x * self.stride + taps.columns.start) as isize - pad);
            for dy in taps.rows.clone() {
                let row = (y % picture * self.stride + dy) as isize - pad;
                input.copy_row(top * self.stride, row, left, taps.columns.len(), inputs);
            }
            inputs.resize(inputs.len().next_multiple_of(2), 0);
        }
        spans
    }

    /// The output as activations: clamped to +-[`LIMIT`], below at 0 where `relu` is set.
    pub fn apply(&self, kernel: Kernel, input: &Grid, relu: bool) -> Grid {
        let fold = self.fold;
        let (height, width) = (input.height / self.stride, input.width / self.stride);
        let mut output = Grid::zeros(height * fold, width * fold, self.channels());
        output.picture = input.picture / self.stride * fold;
        let line = output.width * output.channels;
        let low = if relu { 0 } else { -LIMIT };
        let together = input.rows_together(self.stride);
        let bands = output.values.par_chunks_mut(together * fold * line).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (index, band)| {
            let memory = (&mut scratch.inputs, &mut scratch.outputs);
            let first = index * together;
            let rows = first..first + band.len() / (fold * line);
            self.for_rows(kernel, input, rows, memory, |places, outputs| {
                self.unfold(places, width, outputs, |at, outputs| {
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
        self.for_rows(kernel, input, rows, memory, |places, outputs| {
            self.unfold(places, width, outputs, |at, outputs| {
                for (sum, &output) in target[at..].iter_mut().zip(outputs) {
                    *sum = sum.saturating_add(output);
                }
            });
        });
    }

    /// Calls `put(x, numbers)` for the outputs at the positions of a row.
    pub fn each_in_row(
        &self,
        kernel: Kernel,
        input: &Grid,
        row: usize,
        scratch: &mut Scratch,
        mut put: impl FnMut(usize, &[i32]),
    ) {
        let memory = (&mut scratch.inputs, &mut scratch.outputs);
        self.for_rows(kernel, input, row..row + 1, memory, |places, outputs| {
            let each = outputs.chunks_exact(self.layer.rows());
            places.iter().zip(each).for_each(|(&x, outputs)| put(x, outputs));
        });
    }

    /// Calls `put(start, numbers)` for the pieces of outputs that stay together: those of positions by
    /// their numbers in rows of `width`.
    fn unfold(
        &self,
        places: &[usize],
        width: usize,
        outputs: &[i32],
        mut put: impl FnMut(usize, &[i32]),
    ) {
        let (fold, numbers) = (self.fold, self.layer.rows());
        let piece = numbers / fold;
        for (place, outputs) in places.iter().zip(outputs.chunks_exact(numbers)) {
            let (y, x) = (place / width, place % width);
            for (dy, outputs) in outputs.chunks_exact(piece).enumerate() {
                put(((y * fold + dy) * width + x) * piece, outputs);
            }
        }
    }
}

/// The numbers of `count` positions in the order in which they go through a layer: where they are
/// whole pictures of `each` positions, first those at the first place of all pictures, and so on.
fn places(count: usize, each: usize) -> Vec<usize> {
    let whole = count > each && count.is_multiple_of(each);
    let pictures = if whole { count / each } else { 1 };
    let each = count / pictures;
    (0..count).map(|index| index % pictures * each + index / pictures).collect()
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
        let (together, line) = (input.rows_together(1), input.width * input.channels);
        let bands = output.values.par_chunks_mut(together * line);
        let bands = bands.zip(input.values.par_chunks(together * line)).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (index, (band, own))| {
            let Scratch { inputs, outputs, hidden: activations, mixed } = scratch;
            let first = index * together;
            let rows = first..first + band.len() / line;
            self.spatial.for_rows(kernel, input, rows, (inputs, outputs), |places, outputs| {
                activations.resize(places.len() * stride, 0);
                for (outputs, activations) in
                    outputs.chunks_exact(hidden).zip(activations.chunks_exact_mut(stride))
                {
                    clamp_into(outputs, 0, &mut activations[..hidden]);
                }
                mixed.resize(places.len() * input.channels, 0);
                self.mix.layer.apply(kernel, &biases, activations, mixed);
                for (place, mixed) in places.iter().zip(mixed.chunks_exact(input.channels)) {
                    let at = place * input.channels;
                    let sums = band[at..].iter_mut().zip(&own[at..]);
                    for ((sum, &own), &mixed) in sums.zip(mixed) {
                        *sum = mixed.saturating_add(own.into()).clamp(-LIMIT, LIMIT) as i16;
                    }
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
