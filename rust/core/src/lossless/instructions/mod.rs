//! The instruction sets that the model is compiled for: the same safe code for each of them, and
//! by hand only what compilers do not vectorise.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::binary::Coder;
use super::channel::{Channel, Model};
use super::contexts::Earlier;
use super::counters::{self, CONTEXTS, Counter, Node};
use super::experts::Each;
use super::least_squares::{self, Inputs, LeastSquares, Rows, Sample, Waiting};
use super::mixer::{self, Logits, SETS};
use super::walk::Walk;
use crate::kernels::Kernel;

/// What is written by hand; the definitions serve where it is not.
pub trait Instructions: Sized {
    /// See [`LeastSquares::learn`]: not inlined, so that the code of a sample fits the caches.
    #[inline(never)]
    fn learn(problem: &mut LeastSquares, sample: &Sample, memory: u32) {
        problem.learn::<Self>(sample, memory);
    }

    /// See [`Walk::decide`]: not inlined, either.
    #[inline(never)]
    fn decide(
        walk: &mut Walk,
        coder: &mut impl Coder,
        experts: &Each,
        node: Node,
        truth: bool,
    ) -> bool {
        walk.decide::<Self>(coder, experts, node, truth)
    }

    /// See [`least_squares::catch_up`].
    #[inline(always)]
    fn catch_up(rows: &mut Rows, first: usize, waiting: &Waiting, decay: u32) {
        least_squares::catch_up(rows, first, waiting, decay);
    }

    /// See [`least_squares::dot`].
    #[inline(always)]
    fn dot(left: &Inputs, right: &Inputs) -> i64 {
        least_squares::dot(left, right)
    }

    /// See [`least_squares::set`]; by hand so that reading all of them as vectors need not wait.
    #[inline(always)]
    fn set(inputs: &mut Inputs, place: usize, pair: [i32; 2]) {
        least_squares::set(inputs, place, pair);
    }

    /// See [`mixer::mix`].
    #[inline(always)]
    fn mix(weights: [&Logits; SETS], logits: &Logits) -> i32 {
        mixer::mix(weights, logits)
    }

    /// See [`mixer::adapt`].
    #[inline(always)]
    fn adapt(weights: &mut Logits, logits: &Logits, factor: i32) {
        mixer::adapt(weights, logits, factor);
    }

    /// See [`counters::lines`].
    #[inline(always)]
    fn lines(keys: &[u32; CONTEXTS]) -> [u32; CONTEXTS] {
        counters::lines(keys)
    }

    /// See [`counters::count`].
    #[inline(always)]
    fn count(
        counters: &[Counter; CONTEXTS],
        rates: &[i32; CONTEXTS],
        target: i32,
        start: i32,
    ) -> [Counter; CONTEXTS] {
        counters::count(counters, rates, target, start)
    }

    /// Has memory brought into the cache.
    #[inline(always)]
    fn prefetch<T>(_: &T) {}
}

/// Nothing beyond the baseline.
pub struct Scalar;

impl Instructions for Scalar {}

/// Codes a channel with the instructions that a kernel's name stands for.
pub fn code(
    kernel: Kernel,
    model: &mut Model<'_>,
    own: &mut Channel,
    earlier: &Earlier,
    coder: &mut impl Coder,
) {
    match kernel.name() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has these features.
        "avx512" if avx512::supported() => unsafe { avx512::code(model, own, earlier, coder) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        "avx2" if avx2::supported() => unsafe { avx2::code(model, own, earlier, coder) },
        _ => model.code::<Scalar>(own, earlier, coder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lossless::least_squares::{DESCENTS, INPUTS, Pair, WAITING};
    use proptest::prelude::*;

    /// Compares twins of what is written by hand, one with the definitions.
    trait Compare {
        fn with<I: Instructions>(&self) -> Vec<i64>;

        fn check(&self) {
            let expected = self.with::<Scalar>();
            #[cfg(target_arch = "x86_64")]
            for kernel in Kernel::available() {
                let found = match kernel.name() {
                    "avx512" => self.with::<avx512::Avx512>(),
                    "avx2" => self.with::<avx2::Avx2>(),
                    _ => continue,
                };
                assert_eq!(found, expected, "{}", kernel.name());
            }
        }
    }

    struct CatchUp(Rows, usize, Waiting, u32);

    impl Compare for CatchUp {
        fn with<I: Instructions>(&self) -> Vec<i64> {
            let mut rows = self.0;
            I::catch_up(&mut rows, self.1, &self.2, self.3);
            rows.as_flattened().iter().map(|&sum| sum.into()).collect()
        }
    }

    struct Dot(Inputs, Inputs);

    impl Compare for Dot {
        fn with<I: Instructions>(&self) -> Vec<i64> {
            vec![I::dot(&self.0, &self.1)]
        }
    }

    struct Mix([Logits; SETS], Logits, i32);

    impl Compare for Mix {
        fn with<I: Instructions>(&self) -> Vec<i64> {
            let mut weights = self.0[0];
            I::adapt(&mut weights, &self.1, self.2);
            let mixed = I::mix(self.0.each_ref(), &self.1);
            weights.into_iter().chain([mixed]).map(i64::from).collect()
        }
    }

    struct Count([Counter; CONTEXTS], [i32; CONTEXTS], i32, i32);

    impl Compare for Count {
        fn with<I: Instructions>(&self) -> Vec<i64> {
            let lines = I::lines(&self.0);
            let counted = I::count(&self.0, &self.1, self.2, self.3);
            lines.into_iter().chain(counted).map(i64::from).collect()
        }
    }

    struct Set(Inputs, usize, [i32; 2]);

    impl Compare for Set {
        fn with<I: Instructions>(&self) -> Vec<i64> {
            let mut inputs = self.0;
            I::set(&mut inputs, self.1, self.2);
            inputs.into_iter().map(i64::from).collect()
        }
    }

    fn numbers<const N: usize>(magnitude: i32) -> impl Strategy<Value = [i32; N]> {
        let number = prop_oneof![-magnitude..=magnitude, Just(magnitude), Just(-magnitude)];
        prop::collection::vec(number, N).prop_map(|all| std::array::from_fn(|i| all[i]))
    }

    proptest! {
        #[test]
        fn rows_catch_up_equally(
            sums in numbers::<{ DESCENTS * INPUTS }>(i32::MAX),
            features in numbers::<{ 2 * WAITING * INPUTS }>(255),
            factors in numbers::<{ 2 * WAITING * INPUTS }>(8160),
            oldest in 0..WAITING,
            next in 0..INPUTS / DESCENTS,
            decay in 1..15_u32,
        ) {
            let pairs = |all: &[i32], place: usize| std::array::from_fn(|i| {
                let i = 2 * (place * INPUTS + i);
                all[i] << 16 | all[i + 1] & 0xffff
            });
            let pairs = std::array::from_fn(|place| {
                Pair { features: pairs(&features, place), factors: pairs(&factors, place) }
            });
            let rows = std::array::from_fn(|i| std::array::from_fn(|j| sums[i * INPUTS + j]));
            CatchUp(rows, DESCENTS * next, Waiting { pairs, oldest }, decay).check();
        }

        #[test]
        fn products_are_equal(left in numbers(i32::MAX), right in numbers(3 << 14)) {
            Dot(left, right).check();
        }

        #[test]
        fn pairs_are_set_equally(old in numbers(i32::MAX), place in 0..INPUTS / 2, pair in numbers(i32::MAX)) {
            Set(old, place, pair).check();
        }

        #[test]
        fn counters_are_equal(
            probabilities in numbers::<CONTEXTS>((1 << 21) - 1),
            counts in prop::collection::vec(0..=counters::LIMIT as u32, CONTEXTS),
            rates in prop::collection::vec(0..1_i32 << 16, CONTEXTS),
            decision: bool,
            start in 1..1_i32 << 16,
        ) {
            let counter = |i: usize| ((probabilities[i] + (1 << 21)) as u32) << 10 | counts[i];
            let counters = std::array::from_fn(counter);
            let rates = std::array::from_fn(|i| rates[i]);
            Count(counters, rates, i32::from(decision) * ((1 << 22) - 1), start << 6).check();
        }

        #[test]
        fn mixers_are_equal(
            a in numbers(1 << 17),
            b in numbers(1 << 17),
            c in numbers(1 << 17),
            d in numbers(1 << 17),
            logits in numbers(3071),
            factor in -14336..=14336_i32,
        ) {
            Mix([a, b, c, d], logits, factor).check();
        }
    }
}
