//! AVX2: `vpmaddwd` multiplies 8 outputs by a pair of inputs, `vpaddd` adds to their sums.
//!
//! `vpmaddwd` could only overflow where both weights and both inputs are -32768, which no weight
//! is; even then it would wrap like everything else here.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::block::{self, Block, Microkernel};
use super::{Kernel, TILE};

pub const KERNEL: Kernel =
    Kernel { name: "avx2", needs: "AVX2", supported, apply: block::apply::<Avx2> };

fn supported() -> bool {
    is_x86_feature_detected!("avx2")
}

pub struct Avx2;

impl Microkernel for Avx2 {
    const VECTORS: usize = 4;
    const SUMS: usize = 4; // of two registers each: 8 of 16

    fn block<const V: usize, const T: usize>(block: Block<T>) {
        assert!(supported());
        // SAFETY: the processor has AVX2.
        unsafe { compute::<V, T>(block) }
    }
}

#[target_feature(enable = "avx2")]
fn compute<const V: usize, const T: usize>(mut block: Block<T>) {
    let sums = sums::<V, T>(&block);
    for (vector, sums) in sums.iter().enumerate() {
        for (tile, &[low, high]) in sums.iter().enumerate() {
            let shifts = load(&block.shifts[tile]);
            let outputs = [_mm256_srav_epi32(low, shifts[0]), _mm256_srav_epi32(high, shifts[1])];
            store(outputs, block.target(vector, tile));
        }
    }
}

/// The sums, in a function of its own, since only then they stay in registers.
#[target_feature(enable = "avx2")]
fn sums<const V: usize, const T: usize>(block: &Block<T>) -> [[[__m256i; 2]; T]; V] {
    let (stride, pairs) = block.sizes::<V>();
    let lines: *const __m256i = block.lines.as_ptr().cast();
    let inputs: *const i32 = block.inputs.as_ptr().cast();
    let mut starts = [[_mm256_setzero_si256(); 2]; T];
    for (start, numbers) in starts.iter_mut().zip(&block.starts) {
        *start = load(numbers);
    }
    let mut sums = [starts; V];
    let mut pair = 0;
    for span in block.spans {
        for line in span.clone() {
            for tile in 0..T {
                // SAFETY: there are `T * stride` lines of two aligned registers each, and no span leaves
                // its tile.
                let weights = unsafe {
                    let line = lines.add(2 * (tile * stride + line));
                    [_mm256_load_si256(line), _mm256_load_si256(line.add(1))]
                };
                for (vector, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: there are `V * pairs` pairs of inputs, and the spans have `pairs` lines.
                    let input = unsafe { inputs.add(vector * pairs + pair).read_unaligned() };
                    let input = _mm256_set1_epi32(input);
                    for (sum, weights) in sums[tile].iter_mut().zip(weights) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, input));
                    }
                }
            }
            pair += 1;
        }
    }
    sums
}

#[target_feature(enable = "avx2")]
fn load(numbers: &[i32; TILE]) -> [__m256i; 2] {
    let numbers: *const __m256i = numbers.as_ptr().cast();
    // SAFETY: 16 numbers fill two registers.
    unsafe { [_mm256_loadu_si256(numbers), _mm256_loadu_si256(numbers.add(1))] }
}

/// Stores the first `target.len() <= 16` outputs.
#[target_feature(enable = "avx2")]
fn store(outputs: [__m256i; 2], target: &mut [i32]) {
    let mut tile = [0; TILE];
    let whole = target.len() == TILE;
    let pointer: *mut __m256i =
        if whole { target.as_mut_ptr().cast() } else { tile.as_mut_ptr().cast() };
    // SAFETY: the pointer is that of 16 numbers, which two registers fill.
    unsafe {
        _mm256_storeu_si256(pointer, outputs[0]);
        _mm256_storeu_si256(pointer.add(1), outputs[1]);
    }
    if !whole {
        target.copy_from_slice(&tile[..target.len()]);
    }
}
