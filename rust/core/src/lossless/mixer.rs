//! Logistic mixing: log-odds from many sources become one probability.
//!
//! The weights are sums of one vector from each of a few sets; which one is a matter of context.
//! All of them follow the same error.

use super::tables::{MAX_LOGIT, squash};

/// Sources of log-odds.
pub const SOURCES: usize = 16;

/// Logits, one of each source.
pub type Logits = [i32; SOURCES];

/// Bits of the fraction of a weight.
const WEIGHT_BITS: u32 = 16;

/// Bits of a product that are dropped before the sum, which keeps it within 32 bits.
const DROPPED_BITS: u32 = 8;

/// Largest magnitude of a weight: 8.
const MAX_WEIGHT: i32 = 8 << WEIGHT_BITS;

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
    pub fn mix(&self, logits: &Logits, selection: &Selection) -> i32 {
        let [a, b, c, d] = self.selected(selection);
        let mut sum = 0;
        for (i, logit) in logits.iter().enumerate() {
            let weight = a.weights[i] + b.weights[i] + c.weights[i] + d.weights[i];
            sum += (weight * logit) >> DROPPED_BITS;
        }
        (sum >> (WEIGHT_BITS - DROPPED_BITS)).clamp(-MAX_LOGIT, MAX_LOGIT)
    }

    #[inline(always)]
    fn selected(&self, selection: &Selection) -> [&Weights; SETS] {
        std::array::from_fn(|set| &self.sets[set][selection[set]])
    }

    /// Moves the weights of a decision of which `logit` was what they gave.
    #[inline(always)]
    pub fn learn(&mut self, logits: &Logits, selection: &Selection, logit: i32, decision: bool) {
        let error = (i32::from(decision) << 16) - squash(logit) as i32;
        for (set, &place) in self.sets.iter_mut().zip(selection) {
            let weights = &mut set[place];
            let factor = (error * (weights.rate >> 8)) >> 10;
            weights.rate -= (weights.rate - (LAST_RATE << 8)) >> 6;
            for (weight, &logit) in weights.weights.iter_mut().zip(logits) {
                let moved = *weight + ((logit * factor + (1 << 13)) >> 14);
                *weight = moved.clamp(-MAX_WEIGHT / 4, MAX_WEIGHT / 4);
            }
        }
    }
}
