//! AVX-512: a row of sums in two registers.

use std::arch::x86_64::*;

use super::avx2::{self, Avx2};
use super::{
    CONTEXTS, Channel, Coder, Counter, Each, Earlier, Inputs, Instructions, LeastSquares, Logits,
    Model, Node, Rows, SETS, Sample, Waiting, Walk,
};
use crate::lossless::least_squares::{DESCENTS, WAITING};

/// Whether the processor has what is used here.
pub fn supported() -> bool {
    avx2::supported()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512vnni")
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512cd,avx512vnni,bmi1,bmi2,lzcnt")]
pub fn code(model: &mut Model<'_>, own: &mut Channel, earlier: &Earlier, coder: &mut impl Coder) {
    model.code::<Avx512>(own, earlier, coder);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512cd,avx512vnni,bmi1,bmi2,lzcnt")]
fn learn(problem: &mut LeastSquares, sample: &Sample, memory: u32) {
    problem.learn::<Avx512>(sample, memory);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512cd,avx512vnni,bmi1,bmi2,lzcnt")]
fn decide(
    walk: &mut Walk,
    coder: &mut impl Coder,
    experts: &Each,
    node: Node,
    truth: bool,
) -> bool {
    walk.decide::<Avx512>(coder, experts, node, truth)
}

pub struct Avx512;

impl Instructions for Avx512 {
    #[inline(always)]
    fn learn(problem: &mut LeastSquares, sample: &Sample, memory: u32) {
        // SAFETY: this type is only used where the processor has these features.
        unsafe { learn(problem, sample, memory) }
    }

    #[inline(always)]
    fn decide(
        walk: &mut Walk,
        coder: &mut impl Coder,
        experts: &Each,
        node: Node,
        truth: bool,
    ) -> bool {
        // SAFETY: as above.
        unsafe { decide(walk, coder, experts, node, truth) }
    }

    #[inline(always)]
    fn catch_up(rows: &mut Rows, first: usize, waiting: &Waiting, decay: u32) {
        // SAFETY: as above.
        unsafe { catch_up(rows, first, waiting, decay) }
    }

    #[inline(always)]
    fn dot(left: &Inputs, right: &Inputs) -> i64 {
        Avx2::dot(left, right)
    }

    #[inline(always)]
    fn set(inputs: &mut Inputs, place: usize, pair: [i32; 2]) {
        Avx2::set(inputs, place, pair);
    }

    #[inline(always)]
    fn mix(weights: [&Logits; SETS], logits: &Logits) -> i32 {
        Avx2::mix(weights, logits)
    }

    #[inline(always)]
    fn adapt(weights: &mut Logits, logits: &Logits, factor: i32) {
        Avx2::adapt(weights, logits, factor);
    }

    #[inline(always)]
    fn lines(keys: &[u32; CONTEXTS]) -> [u32; CONTEXTS] {
        Avx2::lines(keys)
    }

    #[inline(always)]
    fn count(
        counters: &[Counter; CONTEXTS],
        rates: &[i32; CONTEXTS],
        target: i32,
        start: i32,
    ) -> [Counter; CONTEXTS] {
        Avx2::count(counters, rates, target, start)
    }

    #[inline(always)]
    fn prefetch<T>(place: &T) {
        Avx2::prefetch(place);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn catch_up(rows: &mut Rows, first: usize, waiting: &Waiting, decay: u32) {
    let decay = _mm_cvtsi32_si128(decay as i32);
    let [mut sums, mut more] = [load(&rows[0]), load(&rows[1])];
    for place in 0..WAITING {
        let pair = &waiting.pairs[(waiting.oldest + place) % WAITING];
        let columns = load(&pair.features);
        let factors = &pair.factors[first..][..DESCENTS];
        let [own, other] = [_mm512_set1_epi32(factors[0]), _mm512_set1_epi32(factors[1])];
        for half in 0..2 {
            let kept = _mm512_sub_epi32(sums[half], _mm512_sra_epi32(sums[half], decay));
            sums[half] = _mm512_dpwssd_epi32(kept, columns[half], own);
            let kept = _mm512_sub_epi32(more[half], _mm512_sra_epi32(more[half], decay));
            more[half] = _mm512_dpwssd_epi32(kept, columns[half], other);
        }
    }
    store(&mut rows[0], sums);
    store(&mut rows[1], more);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(inputs: &Inputs) -> [__m512i; 2] {
    let (halves, _) = inputs.as_chunks::<16>();
    // SAFETY: each half fills a register.
    unsafe {
        [
            _mm512_loadu_si512(halves[0].as_ptr().cast()),
            _mm512_loadu_si512(halves[1].as_ptr().cast()),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(inputs: &mut Inputs, [low, high]: [__m512i; 2]) {
    let (halves, _) = inputs.as_chunks_mut::<16>();
    // SAFETY: each half fills a register.
    unsafe {
        _mm512_storeu_si512(halves[0].as_mut_ptr().cast(), low);
        _mm512_storeu_si512(halves[1].as_mut_ptr().cast(), high);
    }
}
