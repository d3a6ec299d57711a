//! Logistic mixing: log-odds from many sources become one probability.
//!
//! The weights are sums of one vector from each of a few sets; which one is a matter of context.
//! All of them follow the same error.

use super::instructions::Instructions;
use super::tables::MAX_LOGIT;

/// Sources of log-odds.
pub const SOURCES: usize = 16;

/// Logits, one of each source.
pub type Logits = [i32; SOURCES];

/// Bits of the fraction of a weight.
const WEIGHT_BITS: u32 = 16;

/// Bits of a product that are dropped before the sum, which keeps it within 32 bits.
pub const DROPPED_BITS: u32 = 8;

/// Largest magnitude of a weight of one set: 2.
pub const LARGEST: i32 = 2 << WEIGHT_BITS;

/// Bits of the fraction of what a weight moves for each unit of its logit.
pub const RATE_BITS: u32 = 14;

/// Number of sets.
pub const SETS: usize = 4;

/// The weights of one set and how much they still move.
#[derive(Clone)]
#[repr(align(64))]
struct Weights {
    weights: Logits,
    rate: i32,
}

/// All weights.
pub struct Mixer {
    sets: [Vec<Weights>; SETS],
}

/// A weight vector's place in each set.
pub type Selection = [usize; SETS];

const FIRST_RATE: i32 = 224;
const LAST_RATE: i32 = 50;

impl Mixer {
    /// A mixer with `sizes` contexts in its sets that starts from the weights `start` (`2^16` is 1).
    pub fn new(sizes: [usize; SETS], start: [[i32; SOURCES / 2]; 2]) -> Self {
        let mut share = [0; SOURCES];
        share.copy_from_slice(start.as_flattened());
        let share = share.map(|weight| weight / SETS as i32);
        let weights = Weights { weights: share, rate: FIRST_RATE << 8 };
        Self { sets: sizes.map(|size| vec![weights.clone(); size]) }
    }

    /// The mixed logit.
    #[inline(always)]
    pub fn mix<I: Instructions>(&self, logits: &Logits, selection: &Selection) -> i32 {
        let weights = std::array::from_fn(|set| &self.sets[set][selection[set]].weights);
        let sum = I::mix(weights, logits);
        (sum >> (WEIGHT_BITS - DROPPED_BITS)).clamp(-MAX_LOGIT, MAX_LOGIT)
    }

    /// Moves the weights of a decision that they gave this probability in 1/2^16.
    #[inline(always)]
    pub fn learn<I: Instructions>(
        &mut self,
        logits: &Logits,
        selection: &Selection,
        probability: u32,
        decision: bool,
    ) {
        let error = (i32::from(decision) << 16) - probability as i32;
        for (set, &place) in self.sets.iter_mut().zip(selection) {
            let weights = &mut set[place];
            let factor = (error * (weights.rate >> 8)) >> 10;
            weights.rate -= (weights.rate - (LAST_RATE << 8)) >> 6;
            I::adapt(&mut weights.weights, logits, factor);
        }
    }
}

/// The sum of logits times the sums of the sets' weights, without [`DROPPED_BITS`]: the definition of
/// [`Instructions::mix`].
#[inline(always)]
pub fn mix([a, b, c, d]: [&Logits; SETS], logits: &Logits) -> i32 {
    let mut sum = 0;
    for (i, logit) in logits.iter().enumerate() {
        sum += ((a[i] + b[i] + c[i] + d[i]) * logit) >> DROPPED_BITS;
    }
    sum
}

/// Moves weights by `factor` times their logits: the definition of [`Instructions::adapt`].
#[inline(always)]
pub fn adapt(weights: &mut Logits, logits: &Logits, factor: i32) {
    for (weight, &logit) in weights.iter_mut().zip(logits) {
        let moved = *weight + ((logit * factor + (1 << (RATE_BITS - 1))) >> RATE_BITS);
        *weight = moved.clamp(-LARGEST, LARGEST);
    }
}
