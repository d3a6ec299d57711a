//! Logistic distributions around several predictions, and what they say about a walk's decisions.
//!
//! The log-odds of each decision is a closed expression of
//!
//! ```text
//! softplus(z) = ln(1 + e^z)     growth(d) = ln(e^d - 1)
//! ```
//!
//! at the bounds `z` of the steps, in logistic scales: given that the sample is at least at `z`, the
//! log-odds of being `d` farther is `softplus(-z) - growth(d)`; given that it is between `z` and
//! `z + 2 d`, that of the upper half is `d + softplus(z) - softplus(z + 2 d)`.

use super::tables::{MAX_LOGIT, SCALES, softplus, step_growth};

/// Distributions that are mixed.
pub const EXPERTS: usize = 8;

/// Bits of the fraction of a prediction.
pub const FRACTION_BITS: u32 = 4;

/// Largest distance in units of a prediction that a z is computed from.
const MAX_DISTANCE: i32 = (1 << 19) - 1;

/// Numbers, one for each expert.
pub type Each = [i32; EXPERTS];

/// The experts' distributions around a boundary.
pub struct Experts {
    errors: Each,
    reciprocals: Each,
    shifts: [u32; EXPERTS],
    start: Each,
}

/// Where in the experts' distributions a bound of a step is.
#[derive(Clone, Copy)]
pub struct Bound {
    z: Each,
    softplus: Each,
}

impl Experts {
    /// Logistic distributions around `predictions`, with the [`octaves`](super::tables::octaves) of mean errors in 1/256
    /// of a sample value, below [`OCTAVES`](super::tables::OCTAVES); `boundary` is a prediction, too.
    #[inline(always)]
    pub fn new(predictions: &Each, errors: &Each, boundary: i32) -> Self {
        let mut experts = Self {
            errors: [0; EXPERTS],
            reciprocals: [0; EXPERTS],
            shifts: [0; EXPERTS],
            start: [0; EXPERTS],
        };
        for i in 0..EXPERTS {
            let scale = SCALES[errors[i] as usize];
            let distance = (boundary - predictions[i]).clamp(-MAX_DISTANCE, MAX_DISTANCE);
            experts.errors[i] = errors[i];
            experts.reciprocals[i] = scale.reciprocal;
            experts.shifts[i] = scale.shift;
            experts.start[i] = (distance * scale.reciprocal) >> scale.shift;
        }
        experts
    }

    /// Log-odds of the sample being above the boundary.
    #[inline(always)]
    pub fn above(&self) -> Each {
        self.start.map(|z| (-2 * z).clamp(-MAX_LOGIT, MAX_LOGIT))
    }

    /// Turns the distributions around the boundary, for a walk downwards.
    #[inline(always)]
    pub fn mirror(&mut self) {
        self.start = self.start.map(|z| -z);
    }

    /// The bound `steps` values away from the boundary.
    #[inline(always)]
    pub fn bound(&self, steps: i32) -> Bound {
        let distance = (steps << FRACTION_BITS).min(MAX_DISTANCE);
        let mut bound = Bound { z: [0; EXPERTS], softplus: [0; EXPERTS] };
        for i in 0..EXPERTS {
            let z = self.start[i] + ((distance * self.reciprocals[i]) >> self.shifts[i]);
            bound.z[i] = z;
            bound.softplus[i] = softplus(z);
        }
        bound
    }

    /// Log-odds of being at least `2^step` values beyond a bound, given that it is beyond it.
    #[inline(always)]
    pub fn beyond(&self, bound: &Bound, step: i32) -> Each {
        std::array::from_fn(|i| {
            let logit = bound.softplus[i] - 2 * bound.z[i] - step_growth(self.errors[i], step);
            logit.clamp(-MAX_LOGIT, MAX_LOGIT)
        })
    }

    /// Log-odds of being in the upper half between two bounds, given that it is between them.
    #[inline(always)]
    pub fn upper_half(&self, low: &Bound, middle: &Bound, high: &Bound) -> Each {
        std::array::from_fn(|i| {
            let distance = 2 * (middle.z[i] - low.z[i]);
            let logit = distance + low.softplus[i] - high.softplus[i];
            logit.clamp(-MAX_LOGIT, MAX_LOGIT)
        })
    }
}
