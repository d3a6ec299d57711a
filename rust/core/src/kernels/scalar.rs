//! The reference kernel: safe code that compilers turn into the baseline's vector instructions.

use super::{LANES, Matrix};

/// Vectors of inputs that share one pass over the weights: few enough to stay in the level-1 cache.
const VECTORS: usize = 8;

/// See [`Kernel::matmul`](super::Kernel::matmul).
pub fn matmul(weights: &Matrix, inputs: &[i16], outputs: &mut [i32]) {
    let (stride, rows) = (weights.stride(), weights.rows());
    let inputs = inputs.chunks(VECTORS * stride);
    for (inputs, outputs) in inputs.zip(outputs.chunks_mut(VECTORS * rows)) {
        for row in 0..rows {
            let weights = weights.row(row);
            let outputs = outputs.chunks_exact_mut(rows);
            for (input, output) in inputs.chunks_exact(stride).zip(outputs) {
                output[row] = dot(weights, input);
            }
        }
    }
}

/// Sum of products; wrapping, because the load-time proof has excluded overflow.
///
/// The inner loop over a constant number of lanes is what becomes multiply-add instructions (8
/// products each on SSE2); a plain fold over both slices is half as fast.
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
