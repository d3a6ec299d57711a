//! Online least squares: prediction weights that follow the picture.
//!
//! The sums of a weighted least-squares problem decay with every sample, and a few steps of
//! coordinate descent a sample keep the weights near their solution. The sums are tracked, not an
//! inverse, so errors cannot accumulate.
//!
//! A row of sums is read only when its weight is solved for, every [`ROUND`] samples. Until then
//! samples wait, and the row takes them all at once, without leaving the registers in between.

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

/// Weights that are solved for with each sample, one after the other.
pub const DESCENTS: usize = 2;

/// Samples after which all weights were solved for.
const ROUND: usize = INPUTS / DESCENTS;

/// Pairs of samples that a row has not seen when its turn comes.
pub const WAITING: usize = ROUND / 2;

/// The rows of the weights that are solved for together.
pub type Rows = [Inputs; DESCENTS];

/// Two samples' features, 16 bits each (the second one's are the upper ones), and the same times
/// their importance.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Pair {
    /// Features.
    pub features: Inputs,
    /// Features times importance.
    pub factors: Inputs,
}

/// The latest pairs; the oldest one is at `oldest`, the next one follows it, and the first one the last.
#[derive(Clone)]
pub struct Waiting {
    /// Pairs.
    pub pairs: [Pair; WAITING],
    /// Place of the oldest pair.
    pub oldest: usize,
}

/// What is learned from: features and what they should predict, both within [`MAX_FEATURE`].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Sample {
    /// Features.
    pub features: Inputs,
    /// Features times the importance.
    pub factors: Inputs,
    /// What they should predict times the importance.
    pub target: i32,
}

/// One least-squares problem.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct LeastSquares {
    sums: [Rows; ROUND],
    /// Sums of what is predicted: these wait for nothing.
    targets: Inputs,
    weights: Inputs,
    waiting: Waiting,
    /// The first sample of a pair.
    first: Sample,
    /// Whether it waits for the second one.
    pending: bool,
    next: usize,
}

impl LeastSquares {
    /// A problem without samples yet, and its weights.
    pub fn new(weights: Inputs) -> Self {
        let nothing = Pair { features: [0; INPUTS], factors: [0; INPUTS] };
        Self {
            sums: [[[0; INPUTS]; DESCENTS]; ROUND],
            targets: [0; INPUTS],
            weights,
            waiting: Waiting { pairs: [nothing; WAITING], oldest: 0 },
            first: Sample { features: [0; INPUTS], target: 0, factors: [0; INPUTS] },
            pending: false,
            next: 0,
        }
    }

    /// The sum of weights times inputs, with [`WEIGHT_BITS`] of fraction.
    #[inline(always)]
    pub fn predict<I: Instructions>(&self, inputs: &Inputs) -> i64 {
        I::dot(&self.weights, inputs)
    }

    /// Learns a sample; the rows of the weights that are next know all samples then.
    #[inline(always)]
    pub fn learn<I: Instructions>(&mut self, sample: &Sample, memory: u32) {
        self.add(sample, memory - 1);
        let row = &mut self.sums[self.next];
        I::catch_up(row, DESCENTS * self.next, &self.waiting, memory - 1);
    }

    /// Adds a sample; the sums change with every second sample, by both.
    #[inline(always)]
    fn add(&mut self, sample: &Sample, decay: u32) {
        if !self.pending {
            self.first = *sample;
            self.pending = true;
            return;
        }
        self.pending = false;
        let waiting = &mut self.waiting;
        let both = &mut waiting.pairs[waiting.oldest % WAITING];
        waiting.oldest = (waiting.oldest + 1) % WAITING;
        for i in 0..INPUTS {
            both.features[i] = pair(self.first.features[i], sample.features[i]);
            both.factors[i] = pair(self.first.factors[i], sample.factors[i]);
        }
        let target = pair(self.first.target, sample.target);
        accumulate(&mut self.targets, target, &both.features, decay);
    }

    /// What the weights explain of the next two targets.
    #[inline(always)]
    fn explained<I: Instructions>(&self) -> [i64; DESCENTS] {
        let [first, second] = &self.sums[self.next];
        [I::dot(first, &self.weights), I::dot(second, &self.weights)]
    }

    /// The solution for one of the next two weights, and by how much it differs from that weight.
    #[inline(always)]
    fn solve(&self, row: usize, explained: i64, ridge: i32) -> (i32, i64) {
        let input = DESCENTS * self.next + row;
        let missing = (i64::from(self.targets[input]) << WEIGHT_BITS) - explained;
        let own = i64::from(self.sums[self.next][row][input]);
        let old = i64::from(self.weights[input]);
        let weight = old + quotient(missing, own + i64::from(ridge));
        let weight = weight.clamp(-MAX_WEIGHT, MAX_WEIGHT);
        (weight as i32, weight - old)
    }
}

/// Solves for the next two weights of each problem in turn, all others given; `ridges` are added to
/// inputs' own sums.
#[inline(always)]
pub fn descend<I: Instructions>(problems: [&mut LeastSquares; 3], ridges: [i32; 3]) {
    // Step by step and side by side, since each problem alone is a chain of dependent instructions;
    // with all sums before the first weight moves, so that only one product waits for it.
    let mut explained = [[0; DESCENTS]; 3];
    for (explained, problem) in explained.iter_mut().zip(&problems) {
        *explained = problem.explained::<I>();
    }
    let mut first = [(0, 0); 3];
    for i in 0..3 {
        first[i] = problems[i].solve(0, explained[i][0], ridges[i]);
    }
    let mut second = [(0, 0); 3];
    for i in 0..3 {
        let problem = &problems[i];
        let product = i64::from(problem.sums[problem.next][1][DESCENTS * problem.next]);
        second[i] = problem.solve(1, explained[i][1] + product * first[i].1, ridges[i]);
    }
    for (i, problem) in problems.into_iter().enumerate() {
        I::set(&mut problem.weights, problem.next, [first[i].0, second[i].0]);
        problem.next = (problem.next + 1) % ROUND;
    }
}

/// `left / right`, rounded towards zero, for `left` within 2^52 and `right` of 1 to 2^32: exact where
/// it is within 2^21, else beyond 2^21 likewise, which is all that is used.
///
/// Compilers choose between divisions of 32 and of 64 bits by a branch that cannot be predicted, so
/// this is that of floats. Both sides convert without loss, and a quotient within 2^21 is rounded by
/// at most 2^-33, which is less than the 2^-32 that a fraction is away from the next integer.
#[inline(always)]
pub fn quotient(left: i64, right: i64) -> i64 {
    (left as f64 / right as f64) as i64
}

/// The rows from input `first` on take the waiting pairs, from the oldest on: the definition of
/// [`Instructions::catch_up`].
#[inline(always)]
pub fn catch_up(rows: &mut Rows, first: usize, waiting: &Waiting, decay: u32) {
    for place in 0..WAITING {
        let pair = &waiting.pairs[(waiting.oldest + place) % WAITING];
        for (row, &factors) in rows.iter_mut().zip(&pair.factors[first..]) {
            accumulate(row, factors, &pair.features, decay);
        }
    }
}

/// `row[j] += factors . features[j] - row[j] / 2^decay`, where `.` is the sum of two products.
#[inline(always)]
fn accumulate(row: &mut Inputs, factors: i32, features: &Inputs, decay: u32) {
    let halves = |pair: i32| [i32::from(pair as i16), pair >> 16];
    let factors = halves(factors);
    for (sum, &pair) in row.iter_mut().zip(features) {
        let pair = halves(pair);
        let added = factors[0] * pair[0] + factors[1] * pair[1];
        *sum = sum.wrapping_add(added).wrapping_sub(*sum >> decay);
    }
}

/// Sets the `place`-th pair of numbers: the definition of [`Instructions::set`].
#[inline(always)]
pub fn set(inputs: &mut Inputs, place: usize, pair: [i32; 2]) {
    let (pairs, _) = inputs.as_chunks_mut();
    pairs[place] = pair;
}

/// Two numbers of 16 bits as one.
#[inline(always)]
fn pair(first: i32, second: i32) -> i32 {
    second << 16 | first & 0xffff
}

/// The sum of all products.
#[inline(always)]
pub fn dot(left: &Inputs, right: &Inputs) -> i64 {
    left.iter().zip(right).map(|(&left, &right)| i64::from(left) * i64::from(right)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quotients_are_exact(
            whole in -(1_i64 << 20)..1 << 20,
            right in prop_oneof![1..=1_i64 << 32, 1..100_000_i64, (1_i64 << 32) - 9..=1 << 32],
            near in -2..=2_i64,
            left in -(1_i64 << 52)..1 << 52,
        ) {
            // Fractions next to integers are the hardest ones.
            let hard = (whole * right + near).clamp(-(1 << 52), 1 << 52);
            for left in [hard, left] {
                let limit = 1 << 21;
                let [found, exact] = [quotient(left, right), left / right];
                prop_assert_eq!(found.clamp(-limit, limit), exact.clamp(-limit, limit));
            }
        }
    }
}
