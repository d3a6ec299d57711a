//! Integer matrix products: the only hot loop of the networks.
//!
//! A kernel is a function pointer, so that one of them can be chosen at run time. All of them give
//! the same numbers: integer sums do not depend on their order as long as nothing overflows, which
//! [`network`](crate::network) proves at load time. [`block`] cuts a product into blocks that fit
//! the registers; the other files compute one block with one set of instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod scalar;

use std::ops::Range;

use crate::error::{Error, Result};

/// Outputs that are computed side by side.
pub const TILE: usize = 16;

/// The environment variable that forces one kernel by its name.
pub const KERNEL_VARIABLE: &str = "VQCODEC_KERNEL";

/// The weights of a tile of outputs at two neighbouring inputs: a pair for each output.
///
/// It is one cache line, and what multiplies a pair of inputs in one instruction of AVX-512.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [[i16; 2]; TILE]);

/// `rows x columns` int16 weights, packed for all kernels: `(tiles, column pairs)` lines, zeros
/// wherever there is no row or no column.
#[derive(Debug, Clone)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    lines: Vec<Line>,
}

impl Matrix {
    /// Packs row-major int16 `weights`, `columns > 0` to a row.
    pub fn new(columns: usize, weights: &[i16]) -> Self {
        let pairs = columns.div_ceil(2);
        let mut lines = Vec::with_capacity((weights.len() / columns).div_ceil(TILE) * pairs);
        for tile in weights.chunks(TILE * columns) {
            let first = lines.len();
            lines.resize(first + pairs, Line([[0; 2]; TILE]));
            for (output, row) in tile.chunks_exact(columns).enumerate() {
                let (row, last) = row.as_chunks();
                for (line, &pair) in lines[first..].iter_mut().zip(row) {
                    line.0[output] = pair;
                }
                if let (Some(line), &[weight]) = (lines.last_mut(), last) {
                    line.0[output] = [weight, 0];
                }
            }
        }
        Self { rows: weights.len() / columns, columns, lines }
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One weight.
    pub fn at(&self, row: usize, column: usize) -> i16 {
        let pairs = self.stride() / 2;
        self.lines[row / TILE * pairs + column / 2].0[row % TILE][column % 2]
    }

    /// Numbers from one vector of inputs to the next: `columns` rounded up to an even number.
    pub fn stride(&self) -> usize {
        self.columns.next_multiple_of(2)
    }

    /// The lines of some neighbouring tiles.
    fn tiles(&self, first: usize, count: usize) -> &[Line] {
        let pairs = self.stride() / 2;
        &self.lines[first * pairs..][..count * pairs]
    }
}

/// Column pairs of some spans.
fn pairs(spans: &[Range<usize>]) -> usize {
    spans.iter().map(ExactSizeIterator::len).sum()
}

/// The shifts of a tile of outputs, and what rounds them to nearest.
#[derive(Debug, Clone, Copy)]
pub struct Rounding {
    halves: [i32; TILE],
    shifts: [i32; TILE],
}

impl Rounding {
    /// Packs one shift of at most 30 for each output into tiles.
    pub fn tiles(shifts: &[u8]) -> Vec<Self> {
        let tile = |shifts: &[u8]| {
            let mut tile = Self { halves: [0; TILE], shifts: [0; TILE] };
            for (index, &shift) in shifts.iter().enumerate() {
                tile.halves[index] = (1 << shift) >> 1;
                tile.shifts[index] = shift.into();
            }
            tile
        };
        shifts.chunks(TILE).map(tile).collect()
    }

    /// The shift of one output.
    pub fn shift(&self, output: usize) -> i32 {
        self.shifts[output]
    }
}

/// `(weights, spans, rounding, biases, inputs, outputs)`: see [`Kernel::apply`].
type Apply = fn(&Matrix, &[Range<usize>], &[Rounding], &[i32], &[i16], &mut [i32]);

/// One implementation of the matrix product.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// What the processor must have.
    needs: &'static str,
    supported: fn() -> bool,
    apply: Apply,
}

/// All kernels of this build, the best one first.
const KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    avx512::KERNEL,
    #[cfg(target_arch = "x86_64")]
    avx2::KERNEL,
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    neon::KERNEL,
    scalar::KERNEL,
];

impl Kernel {
    /// The kernels that run on this machine, the best one first; the last one is the scalar one.
    pub fn available() -> impl Iterator<Item = Self> {
        KERNELS.iter().copied().filter(|kernel| (kernel.supported)())
    }

    /// The kernel named by `VQCODEC_KERNEL`, else the best one.
    pub fn select() -> Result<Self> {
        match std::env::var_os(KERNEL_VARIABLE) {
            None => Ok(Self::available().next().unwrap_or(scalar::KERNEL)),
            Some(name) => Self::named(&name.to_string_lossy()),
        }
    }

    /// The kernel of that name.
    pub fn named(name: &str) -> Result<Self> {
        if let Some(kernel) = Self::available().find(|kernel| kernel.name == name) {
            return Ok(kernel);
        }
        let reason = match KERNELS.iter().find(|kernel| kernel.name == name) {
            Some(kernel) => format!("this machine lacks {}", kernel.needs),
            None => "no such kernel here".into(),
        };
        let names: Vec<_> = Self::available().map(|kernel| kernel.name).collect();
        Err(Error::InvalidInput(format!(
            "{KERNEL_VARIABLE}={name}: {reason}, choose from: {}",
            names.join(", ")
        )))
    }

    /// The name of the kernel.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `outputs[b][r] = (biases[r] + sum over c of weights[r][c] * inputs[b][c]) >> shift[r]`,
    /// rounded to nearest, for every vector `b`.
    ///
    /// The columns `c` are those of the `spans` of column pairs, one after the other: all other inputs
    /// are 0 and left out. `inputs` holds `(batch, 2 * pairs)` and `outputs` `(batch, rows)` numbers;
    /// inputs beyond `columns` meet zero weights and do not matter. Sums that leave int32 wrap.
    pub fn apply(
        &self,
        (weights, spans): (&Matrix, &[Range<usize>]),
        rounding: &[Rounding],
        biases: &[i32],
        inputs: &[i16],
        outputs: &mut [i32],
    ) {
        let batch = outputs.len() / weights.rows();
        assert_eq!(biases.len(), weights.rows());
        assert_eq!(outputs.len(), batch * weights.rows());
        assert_eq!(inputs.len(), batch * 2 * pairs(spans));
        (self.apply)(weights, spans, rounding, biases, inputs, outputs);
    }
}
