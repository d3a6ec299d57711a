//! AVX-512 with VNNI: `vpdpwssd` multiplies 16 outputs by a pair of inputs and adds to their sums,
//! without saturating.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::block::{self, Block, Microkernel};
use super::{Kernel, TILE};

pub const KERNEL: Kernel = Kernel {
    name: "avx512",
    needs: "AVX-512 F, BW, VL or VNNI",
    supported,
    apply: block::apply::<Avx512>,
};

fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

pub struct Avx512;

impl Microkernel for Avx512 {
    const VECTORS: usize = 8;
    const SUMS: usize = 16; // of 32 registers

    fn block<const V: usize, const T: usize>(block: Block<T>) {
        assert!(supported());
        // SAFETY: the processor has all of these features.
        unsafe { compute::<V, T>(block) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn compute<const V: usize, const T: usize>(mut block: Block<T>) {
    let sums = sums::<V, T>(&block);
    for (vector, sums) in sums.iter().enumerate() {
        for (tile, &sum) in sums.iter().enumerate() {
            let output = _mm512_srav_epi32(sum, load(&block.shifts[tile]));
            let target = block.target(vector, tile);
            let mask = u16::MAX >> (TILE - target.len());
            // SAFETY: the mask has one bit for each of the 1 to 16 numbers of the target.
            unsafe { _mm512_mask_storeu_epi32(target.as_mut_ptr(), mask, output) };
        }
    }
}

/// The sums, in a function of its own, since only then they stay in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums<const V: usize, const T: usize>(block: &Block<T>) -> [[__m512i; T]; V] {
    let (stride, pairs) = block.sizes::<V>();
    let lines: *const __m512i = block.lines.as_ptr().cast();
    let inputs: *const i32 = block.inputs.as_ptr().cast();
    let mut starts = [_mm512_setzero_si512(); T];
    for (start, numbers) in starts.iter_mut().zip(&block.starts) {
        *start = load(numbers);
    }
    let mut sums = [starts; V];
    let mut pair = 0;
    for span in block.spans {
        for line in span.clone() {
            let mut weights = [_mm512_setzero_si512(); T];
            for (tile, weights) in weights.iter_mut().enumerate() {
                // SAFETY: there are `T * stride` lines of one aligned register each, and no span leaves
                // its tile.
                *weights = unsafe { _mm512_load_si512(lines.add(tile * stride + line)) };
            }
            for (vector, sums) in sums.iter_mut().enumerate() {
                // SAFETY: there are `V * pairs` pairs of inputs, and the spans have `pairs` lines.
                let input = unsafe { inputs.add(vector * pairs + pair).read_unaligned() };
                let input = _mm512_set1_epi32(input);
                for (sum, &weights) in sums.iter_mut().zip(&weights) {
                    *sum = _mm512_dpwssd_epi32(*sum, weights, input);
                }
            }
            pair += 1;
        }
    }
    sums
}

#[target_feature(enable = "avx512f")]
fn load(numbers: &[i32; TILE]) -> __m512i {
    // SAFETY: 16 numbers fill one register.
    unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
}
