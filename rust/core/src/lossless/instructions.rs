//! The instruction sets that the model is compiled for: the same safe code for each of them, and
//! by hand only what compilers do not vectorise.
#![allow(unsafe_code)]

use super::binary::Coder;
use super::channel::{Channel, Model};
use super::contexts::Earlier;
use super::least_squares::{INPUTS, Inputs, accumulate};
use crate::kernels::Kernel;

/// What is written by hand.
pub trait Instructions {
    /// `sums[i][j] += importance * features[i] * features[j] - sums[i][j] / 2^decay`.
    fn accumulate(sums: &mut [Inputs; INPUTS], features: &Inputs, importance: i32, decay: u32);
}

/// Nothing beyond the baseline.
pub struct Scalar;

impl Instructions for Scalar {
    #[inline(always)]
    fn accumulate(sums: &mut [Inputs; INPUTS], features: &Inputs, importance: i32, decay: u32) {
        for (sums, &feature) in sums.iter_mut().zip(features) {
            accumulate(sums, features, feature * importance, decay);
        }
    }
}

/// Codes a channel with the instructions that a kernel's name stands for.
pub fn code(
    kernel: Kernel,
    model: &mut Model,
    own: &mut Channel,
    earlier: &Earlier,
    coder: &mut impl Coder,
) {
    match kernel.name() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: there is a kernel of that name only where the processor has these features.
        "avx512" => unsafe { x86::code_avx512(model, own, earlier, coder) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        "avx2" => unsafe { x86::code_avx2(model, own, earlier, coder) },
        _ => model.code::<Scalar>(own, earlier, coder),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub fn code_avx512(
        model: &mut Model,
        own: &mut Channel,
        earlier: &Earlier,
        coder: &mut impl Coder,
    ) {
        model.code::<Avx512>(own, earlier, coder);
    }

    #[target_feature(enable = "avx2")]
    pub fn code_avx2(
        model: &mut Model,
        own: &mut Channel,
        earlier: &Earlier,
        coder: &mut impl Coder,
    ) {
        model.code::<Avx2>(own, earlier, coder);
    }

    struct Avx512;

    impl Instructions for Avx512 {
        #[inline(always)]
        fn accumulate(sums: &mut [Inputs; INPUTS], features: &Inputs, importance: i32, decay: u32) {
            // SAFETY: only `code_avx512` uses this type.
            unsafe { accumulate_avx512(sums, features, importance, decay) }
        }
    }

    struct Avx2;

    impl Instructions for Avx2 {
        #[inline(always)]
        fn accumulate(sums: &mut [Inputs; INPUTS], features: &Inputs, importance: i32, decay: u32) {
            // SAFETY: only `code_avx2` uses this type.
            unsafe { accumulate_avx2(sums, features, importance, decay) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn accumulate_avx512(
        sums: &mut [Inputs; INPUTS],
        features: &Inputs,
        importance: i32,
        decay: u32,
    ) {
        let decay = _mm_cvtsi32_si128(decay as i32);
        let pointer: *const __m512i = features.as_ptr().cast();
        // SAFETY: the features fill two registers.
        let columns = unsafe { [_mm512_loadu_si512(pointer), _mm512_loadu_si512(pointer.add(1))] };
        for (row, &feature) in sums.iter_mut().zip(features) {
            let factor = _mm512_set1_epi32(feature * importance);
            let pointer: *mut __m512i = row.as_mut_ptr().cast();
            for (place, column) in columns.into_iter().enumerate() {
                // SAFETY: a row of sums fills two registers.
                let pointer = unsafe { pointer.add(place) };
                let old = unsafe { _mm512_loadu_si512(pointer) };
                let new = _mm512_add_epi32(old, _mm512_mullo_epi32(column, factor));
                let new = _mm512_sub_epi32(new, _mm512_sra_epi32(old, decay));
                // SAFETY: as above.
                unsafe { _mm512_storeu_si512(pointer, new) };
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn accumulate_avx2(
        sums: &mut [Inputs; INPUTS],
        features: &Inputs,
        importance: i32,
        decay: u32,
    ) {
        let decay = _mm_cvtsi32_si128(decay as i32);
        let pointer: *const __m256i = features.as_ptr().cast();
        // SAFETY: the features fill four registers.
        let columns = [0, 1, 2, 3].map(|i| unsafe { _mm256_loadu_si256(pointer.add(i)) });
        for (row, &feature) in sums.iter_mut().zip(features) {
            let factor = _mm256_set1_epi32(feature * importance);
            let pointer: *mut __m256i = row.as_mut_ptr().cast();
            for (place, column) in columns.into_iter().enumerate() {
                // SAFETY: a row of sums fills four registers.
                let pointer = unsafe { pointer.add(place) };
                let old = unsafe { _mm256_loadu_si256(pointer) };
                let new = _mm256_add_epi32(old, _mm256_mullo_epi32(column, factor));
                let new = _mm256_sub_epi32(new, _mm256_sra_epi32(old, decay));
                // SAFETY: as above.
                unsafe { _mm256_storeu_si256(pointer, new) };
            }
        }
    }
}
