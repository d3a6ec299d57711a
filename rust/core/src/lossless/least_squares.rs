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

/// One least-squares problem.
#[derive(Clone)]
#[repr(align(64))]
pub struct LeastSquares {
    covariance: [Inputs; INPUTS],
    correlation: Inputs,
    weights: Inputs,
    next: usize,
}

impl LeastSquares {
    /// A problem without samples yet, and its weights.
    pub fn new(weights: Inputs) -> Self {
        Self { covariance: [[0; INPUTS]; INPUTS], correlation: [0; INPUTS], weights, next: 0 }
    }

    /// The sum of weights times inputs, with [`WEIGHT_BITS`] of fraction.
    #[inline(always)]
    pub fn predict(&self, inputs: &Inputs) -> i64 {
        dot(&self.weights, inputs)
    }

    /// Adds a sample: its features, what they should predict (both within [`MAX_FEATURE`]) and its
    /// importance; `importance * 2^memory` has at most [`SUM_BITS`] bits, and the sums are those of
    /// about `2^memory` samples.
    #[inline(always)]
    pub fn learn<I: Instructions>(
        &mut self,
        features: &Inputs,
        target: i32,
        importance: i32,
        memory: u32,
    ) {
        I::accumulate(&mut self.covariance, features, importance, memory);
        accumulate(&mut self.correlation, features, target * importance, memory);
    }

    /// Solves for the next weight, all others given; `ridge` is added to each input's own sum.
    #[inline(always)]
    pub fn descend(&mut self, ridge: i32) {
        let input = self.next;
        let sums = &self.covariance[input];
        let explained = dot(sums, &self.weights);
        let missing = (i64::from(self.correlation[input]) << WEIGHT_BITS) - explained;
        let step = missing / (i64::from(sums[input]) + i64::from(ridge));
        let weight = (i64::from(self.weights[input]) + step).clamp(-MAX_WEIGHT, MAX_WEIGHT);
        self.weights[input] = weight as i32;
        self.next = (input + 1) % INPUTS;
    }
}

/// `sums += factor * features - sums / 2^decay`.
#[inline(always)]
pub fn accumulate(sums: &mut Inputs, features: &Inputs, factor: i32, decay: u32) {
    for (sum, &feature) in sums.iter_mut().zip(features) {
        *sum = sum.wrapping_add(factor.wrapping_mul(feature)).wrapping_sub(*sum >> decay);
    }
}

#[inline(always)]
fn dot(left: &Inputs, right: &Inputs) -> i64 {
    left.iter().zip(right).map(|(&left, &right)| i64::from(left) * i64::from(right)).sum()
}
