//! Integer matrix products: the only hot loop of the network.
//!
//! A kernel is a function pointer, so that faster ones can stand beside the scalar one and be
//! chosen at run time. All of them give the same numbers: integer sums do not depend on their
//! order as long as nothing overflows, which [`network`](crate::network) proves at load time.

mod scalar;

use crate::error::{Error, Result};

/// Rows are padded with zeros to a multiple of this many columns.
const LANES: usize = 32;

/// The environment variable that forces one kernel by its name.
pub const KERNEL_VARIABLE: &str = "VQCODEC_KERNEL";

/// `rows x columns` weights, held as int16 in rows of [`stride`](Self::stride) numbers.
#[derive(Debug, Clone)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    weights: Vec<i16>,
}

impl Matrix {
    /// Packs row-major int16 `weights`, `columns > 0` to a row.
    pub fn new(columns: usize, weights: &[i16]) -> Self {
        let stride = columns.next_multiple_of(LANES);
        let mut packed = Vec::with_capacity(weights.len() / columns * stride);
        for row in weights.chunks_exact(columns) {
            packed.extend_from_slice(row);
            packed.resize(packed.len().next_multiple_of(LANES), 0);
        }
        Self { rows: packed.len() / stride, columns, weights: packed }
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Numbers from one row, or one vector of inputs, to the next: `columns` rounded up.
    pub fn stride(&self) -> usize {
        self.columns.next_multiple_of(LANES)
    }

    /// The weights of one row, padding included.
    pub fn row(&self, row: usize) -> &[i16] {
        &self.weights[row * self.stride()..][..self.stride()]
    }
}

/// `(weights, inputs, outputs)`: see [`Kernel::matmul`].
type Matmul = fn(&Matrix, &[i16], &mut [i32]);

/// One implementation of the matrix product.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    matmul: Matmul,
}

/// All kernels of this build, the best one first.
const KERNELS: &[Kernel] = &[Kernel { name: "scalar", matmul: scalar::matmul }];

impl Kernel {
    /// The kernel named by `VQCODEC_KERNEL`, else the best one.
    pub fn select() -> Result<Self> {
        match std::env::var_os(KERNEL_VARIABLE) {
            None => Ok(KERNELS[0]),
            Some(name) => Self::named(&name.to_string_lossy()),
        }
    }

    /// The kernel of that name.
    pub fn named(name: &str) -> Result<Self> {
        KERNELS.iter().find(|kernel| kernel.name == name).copied().ok_or_else(|| {
            let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
            Error::InvalidInput(format!(
                "{KERNEL_VARIABLE}={name}: no such kernel here, choose from: {}",
                names.join(", ")
            ))
        })
    }

    /// The name of the kernel.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `outputs[b][r] = sum over c of weights[r][c] * inputs[b][c]` for every vector `b`.
    ///
    /// `inputs` holds `(batch, stride)` and `outputs` `(batch, rows)` numbers; inputs beyond
    /// `columns` meet zero weights and do not matter.
    pub fn matmul(&self, weights: &Matrix, inputs: &[i16], outputs: &mut [i32]) {
        debug_assert_eq!(inputs.len() / weights.stride(), outputs.len() / weights.rows());
        (self.matmul)(weights, inputs, outputs);
    }
}
