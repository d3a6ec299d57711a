//! AVX2: eight numbers in a register.

use std::arch::x86_64::*;

use super::{
    CONTEXTS, Channel, Coder, Counter, Each, Earlier, Inputs, Instructions, LeastSquares, Logits,
    Model, Node, Rows, SETS, Sample, Waiting, Walk,
};
use crate::lossless::counters::{COUNT_BITS, COUNTS, HASH, LIMIT, TABLES};
use crate::lossless::least_squares::WAITING;
use crate::lossless::mixer::{DROPPED_BITS, LARGEST, RATE_BITS};

/// Whether the processor has AVX2 and what all processors with it should have.
pub fn supported() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub fn code(model: &mut Model<'_>, own: &mut Channel, earlier: &Earlier, coder: &mut impl Coder) {
    model.code::<Avx2>(own, earlier, coder);
}

#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn learn(problem: &mut LeastSquares, sample: &Sample, memory: u32) {
    problem.learn::<Avx2>(sample, memory);
}

#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn decide(
    walk: &mut Walk,
    coder: &mut impl Coder,
    experts: &Each,
    node: Node,
    truth: bool,
) -> bool {
    walk.decide::<Avx2>(coder, experts, node, truth)
}

pub struct Avx2;

impl Instructions for Avx2 {
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
        // SAFETY: as above.
        unsafe { dot(left, right) }
    }

    #[inline(always)]
    fn set(inputs: &mut Inputs, place: usize, pair: [i32; 2]) {
        // SAFETY: as above.
        unsafe { set(inputs, place, pair) }
    }

    #[inline(always)]
    fn mix(weights: [&Logits; SETS], logits: &Logits) -> i32 {
        // SAFETY: as above.
        unsafe { mix(weights, logits) }
    }

    #[inline(always)]
    fn adapt(weights: &mut Logits, logits: &Logits, factor: i32) {
        // SAFETY: as above.
        unsafe { adapt(weights, logits, factor) }
    }

    #[inline(always)]
    fn lines(keys: &[u32; CONTEXTS]) -> [u32; CONTEXTS] {
        // SAFETY: as above.
        unsafe { lines(keys) }
    }

    #[inline(always)]
    fn count(
        counters: &[Counter; CONTEXTS],
        rates: &[i32; CONTEXTS],
        target: i32,
        start: i32,
    ) -> [Counter; CONTEXTS] {
        // SAFETY: as above.
        unsafe { count(counters, rates, target, start) }
    }

    #[inline(always)]
    fn prefetch<T>(place: &T) {
        // SAFETY: as above; and what this does cannot be seen.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }
}

#[target_feature(enable = "avx2")]
fn catch_up(rows: &mut Rows, first: usize, waiting: &Waiting, decay: u32) {
    let decay = _mm_cvtsi32_si128(decay as i32);
    for (input, row) in rows.iter_mut().enumerate() {
        let mut sums = [load(row, 0), load(row, 1), load(row, 2), load(row, 3)];
        for place in 0..WAITING {
            let pair = &waiting.pairs[(waiting.oldest + place) % WAITING];
            let factors = _mm256_set1_epi32(pair.factors[first + input]);
            for (part, sum) in sums.iter_mut().enumerate() {
                let kept = _mm256_sub_epi32(*sum, _mm256_sra_epi32(*sum, decay));
                let added = _mm256_madd_epi16(load(&pair.features, part), factors);
                *sum = _mm256_add_epi32(kept, added);
            }
        }
        for (part, sum) in sums.into_iter().enumerate() {
            store(row, part, sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot(left: &Inputs, right: &Inputs) -> i64 {
    let mut sum = _mm256_setzero_si256();
    for part in 0..left.len() / 8 {
        let (left, right) = (load(left, part), load(right, part));
        let even = _mm256_mul_epi32(left, right);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64(left, 32), _mm256_srli_epi64(right, 32));
        sum = _mm256_add_epi64(sum, _mm256_add_epi64(even, odd));
    }
    let half = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    _mm_cvtsi128_si64(_mm_add_epi64(half, _mm_unpackhi_epi64(half, half)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn set(inputs: &mut Inputs, place: usize, [first, second]: [i32; 2]) {
    let pairs = _mm256_setr_epi64x(0, 1, 2, 3);
    let chosen = _mm256_cmpeq_epi64(pairs, _mm256_set1_epi64x(place as i64 % 4));
    let pair = i64::from(second) << 32 | i64::from(first as u32);
    let old = load(inputs, place / 4);
    let new = _mm256_blendv_epi8(old, _mm256_set1_epi64x(pair), chosen);
    store(inputs, place / 4, new);
}

#[inline]
#[target_feature(enable = "avx2")]
fn mix([a, b, c, d]: [&Logits; SETS], logits: &Logits) -> i32 {
    let product = |part| {
        let first = _mm256_add_epi32(load(a, part), load(b, part));
        let second = _mm256_add_epi32(load(c, part), load(d, part));
        let weights = _mm256_add_epi32(first, second);
        let product = _mm256_mullo_epi32(weights, load(logits, part));
        _mm256_srai_epi32(product, DROPPED_BITS as i32)
    };
    let sum = _mm256_add_epi32(product(0), product(1));
    let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    let pair = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
    _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32(pair, 1)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn adapt(weights: &mut Logits, logits: &Logits, factor: i32) {
    let (factor, half) = (_mm256_set1_epi32(factor), _mm256_set1_epi32(1 << (RATE_BITS - 1)));
    let (most, least) = (_mm256_set1_epi32(LARGEST), _mm256_set1_epi32(-LARGEST));
    for part in 0..2 {
        let product = _mm256_mullo_epi32(load(logits, part), factor);
        let step = _mm256_srai_epi32(_mm256_add_epi32(product, half), RATE_BITS as i32);
        let moved = _mm256_add_epi32(load(weights, part), step);
        store(weights, part, _mm256_max_epi32(_mm256_min_epi32(moved, most), least));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn lines(keys: &[u32; CONTEXTS]) -> [u32; CONTEXTS] {
    let [first, shifts] = TABLES;
    let factor = |factor: u32| _mm256_set1_epi32(factor as i32);
    let mixed = _mm256_mullo_epi32(load(&keys.map(u32::cast_signed), 0), factor(HASH.0));
    let mixed = _mm256_xor_si256(mixed, _mm256_srli_epi32(mixed, HASH.1 as i32));
    let hash = _mm256_mullo_epi32(mixed, factor(HASH.2));
    let hash = _mm256_srlv_epi32(hash, load(&shifts.map(u32::cast_signed), 0));
    array(_mm256_add_epi32(hash, load(&first.map(u32::cast_signed), 0)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn count(
    counters: &[Counter; CONTEXTS],
    rates: &[i32; CONTEXTS],
    target: i32,
    start: i32,
) -> [Counter; CONTEXTS] {
    let (all, one) = (_mm256_set1_epi32, _mm256_set1_epi32(1));
    let (old, rates) = (load(&counters.map(u32::cast_signed), 0), load(rates, 0));
    let count = _mm256_and_si256(old, all(COUNTS as i32 - 1));
    let new = _mm256_cmpeq_epi32(count, _mm256_setzero_si256());
    let known = _mm256_srli_epi32(old, COUNT_BITS as i32);
    let known = _mm256_blendv_epi8(known, all(start), new);
    let missing = _mm256_sub_epi32(all(target), known);
    let high = _mm256_mullo_epi32(_mm256_srai_epi32(missing, 8), rates);
    let low = _mm256_mullo_epi32(_mm256_and_si256(missing, all(255)), rates);
    let moved = _mm256_srai_epi32(_mm256_add_epi32(high, _mm256_srli_epi32(low, 8)), 8);
    let moved = _mm256_slli_epi32(_mm256_add_epi32(known, moved), COUNT_BITS as i32);
    let count = _mm256_min_epi32(_mm256_add_epi32(count, one), all(LIMIT as i32));
    array(_mm256_or_si256(moved, count))
}

#[inline]
#[target_feature(enable = "avx2")]
fn array(numbers: __m256i) -> [u32; 8] {
    // SAFETY: both are eight numbers of 32 bits.
    unsafe { std::mem::transmute(numbers) }
}

/// Eight numbers, the `part`-th ones.
#[inline]
#[target_feature(enable = "avx2")]
fn load<const N: usize>(numbers: &[i32; N], part: usize) -> __m256i {
    let (parts, _) = numbers.as_chunks::<8>();
    // SAFETY: a part fills a register.
    unsafe { _mm256_loadu_si256(parts[part].as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const N: usize>(numbers: &mut [i32; N], part: usize, values: __m256i) {
    let (parts, _) = numbers.as_chunks_mut::<8>();
    // SAFETY: a part fills a register.
    unsafe { _mm256_storeu_si256(parts[part].as_mut_ptr().cast(), values) }
}
