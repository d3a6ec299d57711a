//! Online least squares: prediction weights that follow the picture.
//!
//! The sums of a weighted least-squares problem decay with every sample, and a few steps of
//! coordinate descent a sample keep the weights near their solution. The sums are tracked, not an
//! inverse, so errors cannot accumulate.

use super::instructions::Instructions;

/// Inputs of a prediction.
pub const INPUTS: usize = 32;

/// Numbers, one for each input.
pub type Inputs = [i32; INPUTS];

/// Largest magnitude of what the sums are made of.
pub const MAX_FEATURE: i32 = 255;

/// Most bits of a sample's importance and of the memory together: `255^2 * 2^15 < 2^31`.
pub const SUM_BITS: u32 = 15;

/// Bits of the fraction of a weight.
pub const WEIGHT_BITS: u32 = 14;

/// Largest magnitude of a weight: 3.
const MAX_WEIGHT: i64 = 3 << WEIGHT_BITS;

/// Two samples' features, 16 bits each: the second one's are the upper ones.
pub type Pairs = Inputs;

/// Two samples' features and what they should predict, times their importance, likewise.
pub type Factors = [i32; INPUTS + 1];

/// A row for each input, and one for what is predicted.
pub type Sums = [Inputs; INPUTS + 1];

/// One least-squares problem.
#[derive(Clone)]
#[repr(align(64))]
pub struct LeastSquares {
    sums: Sums,
    weights: Inputs,
    features: Inputs,
    factors: Factors,
    pending: bool,
    next: usize,
}

impl LeastSquares {
    /// A problem without samples yet, and its weights.
    pub fn new(weights: Inputs) -> Self {
        Self {
            sums: [[0; INPUTS]; INPUTS + 1],
            weights,
            features: [0; INPUTS],
            factors: [0; INPUTS + 1],
            pending: false,
            next: 0,
        }
    }

    /// The sum of weights times inputs, with [`WEIGHT_BITS`] of fraction.
    #[inline(always)]
    pub fn predict(&self, inputs: &Inputs) -> i64 {
        dot(&self.weights, inputs)
    }

    /// Adds a sample: its features, what they should predict (both within [`MAX_FEATURE`]) and its
    /// importance; `importance * 2^memory` has at most [`SUM_BITS`] bits, and the sums are those of
    /// about `2^memory` samples. They change with every second sample, by both.
    #[inline(always)]
    pub fn learn<I: Instructions>(
        &mut self,
        features: &Inputs,
        target: i32,
        importance: i32,
        memory: u32,
    ) {
        let mut factors = [target * importance; INPUTS + 1];
        for (factor, feature) in factors.iter_mut().zip(features) {
            *factor = feature * importance;
        }
        if self.pending {
            let pairs = std::array::from_fn(|i| pair(self.features[i], features[i]));
            let factors = std::array::from_fn(|i| pair(self.factors[i], factors[i]));
            I::accumulate(&mut self.sums, &pairs, &factors, memory - 1);
        } else {
            (self.features, self.factors) = (*features, factors);
        }
        self.pending = !self.pending;
    }

    /// Solves for the next weight, all others given; `ridge` is added to each input's own sum.
    #[inline(always)]
    pub fn descend(&mut self, ridge: i32) {
        let input = self.next;
        let sums = &self.sums[input];
        let explained = dot(sums, &self.weights);
        let missing = (i64::from(self.sums[INPUTS][input]) << WEIGHT_BITS) - explained;
        let step = missing / (i64::from(sums[input]) + i64::from(ridge));
        let weight = (i64::from(self.weights[input]) + step).clamp(-MAX_WEIGHT, MAX_WEIGHT);
        self.weights[input] = weight as i32;
        self.next = (input + 1) % INPUTS;
    }
}

/// `sums[i][j] += factors[i] . features[j] - sums[i][j] / 2^decay`, where `.` is the sum of two
/// products: the definition of [`Instructions::accumulate`].
#[inline(always)]
pub fn accumulate(sums: &mut Sums, features: &Pairs, factors: &Factors, decay: u32) {
    let halves = |pair: i32| [i32::from(pair as i16), pair >> 16];
    for (row, &factors) in sums.iter_mut().zip(factors) {
        let factors = halves(factors);
        for (sum, &pair) in row.iter_mut().zip(features) {
            let pair = halves(pair);
            let added = factors[0] * pair[0] + factors[1] * pair[1];
            *sum = sum.wrapping_add(added).wrapping_sub(*sum >> decay);
        }
    }
}

/// Two numbers of 16 bits as one.
#[inline(always)]
fn pair(first: i32, second: i32) -> i32 {
    second << 16 | first & 0xffff
}

#[inline(always)]
fn dot(left: &Inputs, right: &Inputs) -> i64 {
    left.iter().zip(right).map(|(&left, &right)| i64::from(left) * i64::from(right)).sum()
}
