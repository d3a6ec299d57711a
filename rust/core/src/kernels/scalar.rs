//! The reference kernel: safe code that compilers turn into the baseline's vector instructions.

use std::ops::Range;

use super::block::{self, Block, Microkernel};
use super::{Kernel, Line, TILE};

pub const KERNEL: Kernel =
    Kernel { name: "scalar", needs: "nothing", supported: || true, apply: block::apply::<Scalar> };

pub struct Scalar;

impl Microkernel for Scalar {
    const VECTORS: usize = 1;
    const SUMS: usize = 1;

    fn block<const V: usize, const T: usize>(mut block: Block<T>) {
        let (stride, pairs) = block.sizes::<V>();
        for vector in 0..V {
            for tile in 0..T {
                let (inputs, _) = block.inputs[2 * pairs * vector..].as_chunks();
                let lines = &block.lines[stride * tile..];
                let sums = sums(lines, block.spans, inputs);
                let (starts, shifts) = (block.starts[tile], block.shifts[tile]);
                for (output, target) in block.target(vector, tile).iter_mut().enumerate() {
                    *target = starts[output].wrapping_add(sums[output]) >> shifts[output];
                }
            }
        }
    }
}

/// Sums of products of one tile; wrapping, because the load-time proof has excluded overflow.
///
/// Even and odd inputs are summed apart: a loop that adds neighbours is several times slower.
fn sums(lines: &[Line], spans: &[Range<usize>], mut inputs: &[[i16; 2]]) -> [i32; TILE] {
    let mut sums = [0_i32; 2 * TILE];
    for span in spans {
        let (met, rest) = inputs.split_at(span.len());
        for (line, &[even, odd]) in lines[span.clone()].iter().zip(met) {
            for (lane, (sum, &weight)) in sums.iter_mut().zip(line.0.as_flattened()).enumerate() {
                let input = if lane % 2 == 0 { even } else { odd };
                *sum = sum.wrapping_add(i32::from(weight) * i32::from(input));
            }
        }
        inputs = rest;
    }
    std::array::from_fn(|output| sums[2 * output].wrapping_add(sums[2 * output + 1]))
}
