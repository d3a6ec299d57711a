//! The reference kernel: safe code that compilers turn into the baseline's vector instructions.

use super::{LANES, Matrix};

/// Vectors of inputs that share one pass over a row of weights.
const VECTORS: usize = 4;

/// See [`Kernel::matmul`](super::Kernel::matmul).
pub fn matmul(weights: &Matrix, inputs: &[i16], outputs: &mut [i32]) {
    let (stride, rows) = (weights.stride(), weights.rows());
    let inputs = inputs.chunks(VECTORS * stride);
    for (inputs, outputs) in inputs.zip(outputs.chunks_mut(VECTORS * rows)) {
        if inputs.len() == VECTORS * stride {
            product::<VECTORS>(weights, inputs, outputs);
        } else {
            for (input, output) in inputs.chunks(stride).zip(outputs.chunks_mut(rows)) {
                product::<1>(weights, input, output);
            }
        }
    }
}

/// The product for `N` vectors of inputs.
fn product<const N: usize>(weights: &Matrix, inputs: &[i16], outputs: &mut [i32]) {
    let (stride, rows) = (weights.stride(), weights.rows());
    let inputs: [&[i16]; N] = std::array::from_fn(|vector| &inputs[vector * stride..][..stride]);
    for row in 0..rows {
        let weights = weights.row(row);
        let sums: [i32; N] = std::array::from_fn(|vector| dot(weights, inputs[vector]));
        for (vector, sum) in sums.into_iter().enumerate() {
            outputs[vector * rows + row] = sum;
        }
    }
}

/// Sum of products; wrapping, because the load-time proof has excluded overflow.
fn dot(left: &[i16], right: &[i16]) -> i32 {
    let (left, _) = left.as_chunks::<LANES>();
    let (right, _) = right.as_chunks::<LANES>();
    let mut sum = 0_i32;
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sum = sum.wrapping_add(i32::from(left[lane]) * i32::from(right[lane]));
        }
    }
    sum
}
