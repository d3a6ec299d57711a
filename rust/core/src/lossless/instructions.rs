//! The instruction sets that the model is compiled for: the same safe code for each of them, and
//! by hand only what compilers do not vectorise.
#![allow(unsafe_code)]

use super::binary::Coder;
use super::channel::{Channel, Model};
use super::contexts::Earlier;
use super::least_squares::{Factors, Pairs, Sums, accumulate};
use crate::kernels::Kernel;

/// What is written by hand.
pub trait Instructions {
    /// See [`accumulate`].
    fn accumulate(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32);
}

/// Nothing beyond the baseline.
pub struct Scalar;

impl Instructions for Scalar {
    #[inline(always)]
    fn accumulate(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32) {
        accumulate(sums, features, factors, decay);
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

    pub struct Avx512;

    impl Instructions for Avx512 {
        #[inline(always)]
        fn accumulate(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32) {
            // SAFETY: this type is only used where the processor has these features.
            unsafe { accumulate_avx512(sums, features, factors, decay) }
        }
    }

    pub struct Avx2;

    impl Instructions for Avx2 {
        #[inline(always)]
        fn accumulate(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32) {
            // SAFETY: this type is only used where the processor has these features.
            unsafe { accumulate_avx2(sums, features, factors, decay) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn accumulate_avx512(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32) {
        let decay = _mm_cvtsi32_si128(decay as i32);
        let pointer: *const __m512i = features.as_ptr().cast();
        // SAFETY: the features fill two registers.
        let columns = unsafe { [_mm512_loadu_si512(pointer), _mm512_loadu_si512(pointer.add(1))] };
        for (row, &factors) in sums.iter_mut().zip(factors) {
            let factors = _mm512_set1_epi32(factors);
            let pointer: *mut __m512i = row.as_mut_ptr().cast();
            for (place, column) in columns.into_iter().enumerate() {
                // SAFETY: a row of sums fills two registers.
                unsafe {
                    let pointer = pointer.add(place);
                    let old = _mm512_loadu_si512(pointer);
                    let kept = _mm512_sub_epi32(old, _mm512_sra_epi32(old, decay));
                    _mm512_storeu_si512(pointer, _mm512_dpwssd_epi32(kept, column, factors));
                }
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn accumulate_avx2(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32) {
        let decay = _mm_cvtsi32_si128(decay as i32);
        let pointer: *const __m256i = features.as_ptr().cast();
        // SAFETY: the features fill four registers.
        let columns = [0, 1, 2, 3].map(|place| unsafe { _mm256_loadu_si256(pointer.add(place)) });
        for (row, &factors) in sums.iter_mut().zip(factors) {
            let factors = _mm256_set1_epi32(factors);
            let pointer: *mut __m256i = row.as_mut_ptr().cast();
            for (place, column) in columns.into_iter().enumerate() {
                // SAFETY: a row of sums fills four registers.
                unsafe {
                    let pointer = pointer.add(place);
                    let old = _mm256_loadu_si256(pointer);
                    let kept = _mm256_sub_epi32(old, _mm256_sra_epi32(old, decay));
                    let added = _mm256_madd_epi16(column, factors);
                    _mm256_storeu_si256(pointer, _mm256_add_epi32(kept, added));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lossless::least_squares::INPUTS;
    use proptest::prelude::*;

    type Apply = fn(&mut Sums, &Pairs, &Factors, u32);

    /// All twins of [`accumulate`] that run here.
    fn twins() -> Vec<(&'static str, Apply)> {
        let mut twins: Vec<(_, Apply)> = vec![("scalar", Scalar::accumulate)];
        #[cfg(target_arch = "x86_64")]
        for kernel in Kernel::available() {
            match kernel.name() {
                "avx512" => twins.push(("avx512", x86::Avx512::accumulate)),
                "avx2" => twins.push(("avx2", x86::Avx2::accumulate)),
                _ => {}
            }
        }
        twins
    }

    proptest! {
        #[test]
        fn twins_are_equal(
            sums in prop::collection::vec(any::<i32>(), INPUTS * (INPUTS + 1)),
            features in prop::collection::vec(-255..=255_i32, 2 * INPUTS),
            factors in prop::collection::vec(prop_oneof![-8160..=8160_i32, Just(8160)], 2 * INPUTS + 2),
            decay in 1..15_u32,
        ) {
            let pair = |all: &[i32], i: usize| all[2 * i] << 16 | all[2 * i + 1] & 0xffff;
            let features = std::array::from_fn(|i| pair(&features, i));
            let factors = std::array::from_fn(|i| pair(&factors, i));
            let start: Sums = std::array::from_fn(|i| std::array::from_fn(|j| sums[i * INPUTS + j]));
            let mut expected = start;
            accumulate(&mut expected, &features, &factors, decay);
            for (name, twin) in twins() {
                let mut sums = start;
                twin(&mut sums, &features, &factors, decay);
                prop_assert!(sums == expected, "{}", name);
            }
        }
    }
}
