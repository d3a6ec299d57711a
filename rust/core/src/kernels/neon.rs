//! NEON: `smlal` multiplies 4 outputs by one input and adds to their sums.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::block::{self, Block, Microkernel};
use super::{Kernel, TILE};

pub const KERNEL: Kernel =
    Kernel { name: "neon", needs: "NEON", supported, apply: block::apply::<Neon> };

fn supported() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

pub struct Neon;

impl Microkernel for Neon {
    const VECTORS: usize = 4;
    const SUMS: usize = 4; // of four registers each: 16 of 32

    fn block<const V: usize, const T: usize>(block: Block<T>) {
        assert!(supported());
        // SAFETY: the processor has NEON.
        unsafe { compute::<V, T>(block) }
    }
}

#[target_feature(enable = "neon")]
fn compute<const V: usize, const T: usize>(mut block: Block<T>) {
    let sums = sums::<V, T>(&block);
    for (vector, sums) in sums.iter().enumerate() {
        for (tile, sums) in sums.iter().enumerate() {
            let shifts = load(&block.shifts[tile]);
            let mut outputs = [0; TILE];
            for (quarter, (&sum, shifts)) in sums.iter().zip(shifts).enumerate() {
                let output = vshlq_s32(sum, vnegq_s32(shifts));
                // SAFETY: a quarter of the tile has room for one register.
                unsafe { vst1q_s32(outputs.as_mut_ptr().add(4 * quarter), output) };
            }
            let target = block.target(vector, tile);
            target.copy_from_slice(&outputs[..target.len()]);
        }
    }
}

/// The sums, in a function of its own, since only then they stay in registers.
#[target_feature(enable = "neon")]
fn sums<const V: usize, const T: usize>(block: &Block<T>) -> [[[int32x4_t; 4]; T]; V] {
    let (stride, pairs) = block.sizes::<V>();
    let lines: *const i16 = block.lines.as_ptr().cast();
    let inputs: *const i32 = block.inputs.as_ptr().cast();
    let mut starts = [[vdupq_n_s32(0); 4]; T];
    for (start, numbers) in starts.iter_mut().zip(&block.starts) {
        *start = load(numbers);
    }
    let mut sums = [starts; V];
    let mut pair = 0;
    for span in block.spans {
        for line in span.clone() {
            for tile in 0..T {
                // SAFETY: there are `T * stride` lines of 32 weights each, and no span leaves its tile;
                // this parts even from odd inputs of outputs 0 to 7 and 8 to 15.
                let weights = unsafe {
                    let line = lines.add(2 * TILE * (tile * stride + line));
                    [vld2q_s16(line), vld2q_s16(line.add(TILE))]
                };
                for (vector, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: there are `V * pairs` pairs of inputs, and the spans have `pairs` lines.
                    let input = unsafe { inputs.add(vector * pairs + pair).read_unaligned() };
                    let input = vreinterpret_s16_s32(vdup_n_s32(input)); // even, odd, even, odd
                    for (half, int16x8x2_t(even, odd)) in weights.into_iter().enumerate() {
                        let low =
                            vmlal_lane_s16::<0>(sums[tile][2 * half], vget_low_s16(even), input);
                        let high = vmlal_high_lane_s16::<0>(sums[tile][2 * half + 1], even, input);
                        sums[tile][2 * half] = vmlal_lane_s16::<1>(low, vget_low_s16(odd), input);
                        sums[tile][2 * half + 1] = vmlal_high_lane_s16::<1>(high, odd, input);
                    }
                }
            }
            pair += 1;
        }
    }
    sums
}

#[target_feature(enable = "neon")]
fn load(numbers: &[i32; TILE]) -> [int32x4_t; 4] {
    // SAFETY: 16 numbers fill four registers.
    [0, 4, 8, 12].map(|first| unsafe { vld1q_s32(numbers.as_ptr().add(first)) })
}
