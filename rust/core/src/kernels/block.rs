//! How a product is cut into blocks, each of which keeps its sums in registers.

use std::ops::Range;

use super::{Line, Matrix, Rounding, TILE, pairs};

/// A set of instructions that computes blocks.
pub trait Microkernel {
    /// Most vectors of inputs in a block: 1, 2, 4 or 8.
    const VECTORS: usize;

    /// Most sums that the registers hold, in tiles: at least `VECTORS`.
    const SUMS: usize;

    /// Computes one block of `V` vectors and `T` tiles, `V * T <= SUMS`.
    fn block<const V: usize, const T: usize>(block: Block<T>);
}

/// Some vectors of inputs times `T` tiles of weights.
pub struct Block<'a, const T: usize> {
    /// The lines of the first tile, of the second one, and so on.
    pub lines: &'a [Line],
    /// Which lines of each tile meet the inputs, in the order of these.
    pub spans: &'a [Range<usize>],
    /// What the sums start from: biases, and half a unit for the rounding.
    pub starts: [[i32; TILE]; T],
    /// Shifts of the sums.
    pub shifts: [[i32; TILE]; T],
    /// `(vectors, 2 * pairs)`.
    pub inputs: &'a [i16],
    /// From the block's first output to the end of its last vector.
    pub outputs: &'a mut [i32],
    /// Numbers from one vector of outputs to the next.
    pub rows: usize,
    /// Outputs of each vector that belong to the block: fewer than `T` tiles at the end of a row.
    pub width: usize,
}

impl<const T: usize> Block<'_, T> {
    /// Lines of a tile and pairs of a vector, after a check that all operands have that many.
    pub fn sizes<const V: usize>(&self) -> (usize, usize) {
        let (lines, pairs) = (self.lines.len() / T, pairs(self.spans));
        assert!(self.lines.len() == lines * T && self.inputs.len() == 2 * pairs * V);
        assert!(self.spans.iter().all(|span| span.end <= lines));
        (lines, pairs)
    }

    /// Where the outputs of one tile of one vector belong: 16 of them, or fewer in the last tile.
    pub fn target(&mut self, vector: usize, tile: usize) -> &mut [i32] {
        let width = (self.width - tile * TILE).min(TILE);
        &mut self.outputs[vector * self.rows + tile * TILE..][..width]
    }
}

/// The operands of a product: see [`Kernel::apply`](super::Kernel::apply).
struct Product<'a> {
    weights: &'a Matrix,
    spans: &'a [Range<usize>],
    rounding: &'a [Rounding],
    biases: &'a [i32],
    inputs: &'a [i16],
    outputs: &'a mut [i32],
}

/// See [`Kernel::apply`](super::Kernel::apply).
///
/// Few vectors at a time go together with more tiles at a time: one sum alone would wait for
/// itself, and weights that are used once or twice only are limited by how fast they are loaded.
pub fn apply<M: Microkernel>(
    weights: &Matrix,
    spans: &[Range<usize>],
    rounding: &[Rounding],
    biases: &[i32],
    inputs: &[i16],
    outputs: &mut [i32],
) {
    let vectors = (outputs.len() / weights.rows()).clamp(1, M::VECTORS);
    let mut product = Product { weights, spans, rounding, biases, inputs, outputs };
    let mut tile = 0;
    while tile < rounding.len() {
        tile += match (rounding.len() - tile).min(M::SUMS / vectors) {
            4.. => product.tiles::<M, 4>(tile),
            2 | 3 => product.tiles::<M, 2>(tile),
            _ => product.tiles::<M, 1>(tile),
        };
    }
}

impl Product<'_> {
    /// Computes all vectors of `T` tiles; returns `T`.
    fn tiles<M: Microkernel, const T: usize>(&mut self, tile: usize) -> usize {
        let batch = self.outputs.len() / self.weights.rows();
        let mut vector = 0;
        while vector < batch {
            vector += match (batch - vector).min(M::VECTORS) {
                8.. => self.block::<M, 8, T>(vector, tile),
                4..8 => self.block::<M, 4, T>(vector, tile),
                2 | 3 => self.block::<M, 2, T>(vector, tile),
                _ => self.block::<M, 1, T>(vector, tile),
            };
        }
        T
    }

    /// Computes one block; returns `V`.
    fn block<M: Microkernel, const V: usize, const T: usize>(
        &mut self,
        vector: usize,
        tile: usize,
    ) -> usize {
        let (rows, stride) = (self.weights.rows(), 2 * pairs(self.spans));
        let first = tile * TILE;
        let mut starts = [[0; TILE]; T];
        for (start, &bias) in starts.as_flattened_mut().iter_mut().zip(&self.biases[first..]) {
            *start = bias;
        }
        let mut shifts = [[0; TILE]; T];
        for (index, rounding) in self.rounding[tile..][..T].iter().enumerate() {
            for (start, half) in starts[index].iter_mut().zip(rounding.halves) {
                *start = start.wrapping_add(half);
            }
            shifts[index] = rounding.shifts;
        }
        M::block::<V, T>(Block {
            lines: self.weights.tiles(tile, T),
            spans: self.spans,
            starts,
            shifts,
            inputs: &self.inputs[vector * stride..][..V * stride],
            outputs: &mut self.outputs[vector * rows + first..(vector + V) * rows],
            rows,
            width: (rows - first).min(T * TILE),
        });
        V
    }
}
