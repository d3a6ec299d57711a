//! Predictions of a sample from its neighbours.

use super::experts::FRACTION_BITS;
use super::instructions::Instructions;
use super::least_squares::{
    INPUTS, Inputs, LeastSquares, MAX_FEATURE, SUM_BITS, Sample, WEIGHT_BITS, descend,
};
use super::planes::{BORDER, MARGIN, Plane};

/// Number of predictions.
pub const PREDICTIONS: usize = 6;

/// Numbers, one for each prediction; with room for the blend of all, to fill a vector.
pub type Predictions = [i32; 8];

/// Neighbours side by side: `(channels back, dx of the first, dy, number)`.
type Run = (usize, isize, isize, usize);

/// Inputs that are collected together.
const LANES: usize = MARGIN;

/// The inputs without, with one and with more than one earlier channel.
const NEIGHBOURS: [&[Run]; 3] = [
    &[(0, -4, 0, 4), (0, -4, -1, 9), (0, -3, -2, 7), (0, -3, -3, 7), (0, -2, -4, 5)],
    &[
        (0, -3, 0, 3),
        (0, -3, -1, 6),
        (0, -2, -2, 5),
        (0, 0, -3, 1),
        (1, -2, 0, 5),
        (1, -2, -1, 5),
        (1, -2, 1, 5),
        (1, 0, -2, 1),
        (1, 0, 2, 1),
    ],
    &[
        (0, -2, 0, 2),
        (0, -2, -1, 5),
        (0, -1, -2, 3),
        (1, -2, 0, 5),
        (1, -1, -1, 3),
        (1, -1, 1, 3),
        (2, -2, 0, 5),
        (2, -1, -1, 3),
        (2, -1, 1, 3),
    ],
];

/// Base-2 logarithms of the samples that least squares remember, and what is added to the sums.
const SLOW_MEMORY: u32 = 10;
const SLOW_RIDGE: i32 = 20_000;
const LOCAL_MEMORY: u32 = 7;
const LOCAL_RIDGE: i32 = 15_000;
const FAST_MEMORY: u32 = 6;
const FAST_RIDGE: i32 = 5_000;

const _: () = assert!(SLOW_MEMORY + IMPORTANCE_BITS <= SUM_BITS);

/// Bits of the largest importance of a sample.
pub const IMPORTANCE_BITS: u32 = 5;

/// Base-2 logarithm of the samples of a row that share a local problem.
const SEGMENT_BITS: usize = 5;

/// The samples around one that is to be predicted.
pub struct Neighbourhood {
    /// Inputs of least squares, relative to the mean of their channel here.
    inputs: Inputs,
    /// Mean of the near neighbours.
    mean: i32,
    /// W, N, NW, NE, WW, NN.
    pub near: [i32; 6],
    /// By how much the next earlier channel differs from its own neighbours W, N and NW.
    steps: [i32; 3],
    /// The weighted sum of the inputs.
    sign: i64,
}

impl Neighbourhood {
    /// Looks at a preview of the channel, too: its sample here, relative to the mean of those near it, takes the place
    /// of the last input. The preview knows of what comes, too.
    #[inline(always)]
    pub fn see(&mut self, shown: &Plane, index: usize) {
        self.inputs[INPUTS - 1] = shown.all()[index] - mean(shown, index);
    }
}

/// Samples side by side of which some are inputs: the part of a run in one vector of inputs.
struct Window {
    /// Channels back.
    back: usize,
    /// From the sample that is predicted to the first one of the window.
    offset: isize,
    /// All ones where the inputs are these samples, zeros elsewhere.
    mask: [i32; LANES],
}

/// Predictors of one channel.
pub struct Predictors {
    /// The first inputs, all of the same channel: from the sample that is predicted to each.
    first: [isize; LANES],
    windows: [Vec<Window>; INPUTS / LANES - 1],
    shift: u32,
    max: i32,
    slow: Vec<LeastSquares>,
    local: Vec<LeastSquares>,
    fast: LeastSquares,
    signs: Inputs,
}

impl Predictors {
    /// Predictors of samples of 0 to `max` in rows of `width`, with so many earlier channels.
    pub fn new(width: usize, max: i32, earlier: usize) -> Self {
        let (runs, stride) = (NEIGHBOURS[earlier.min(2)], width + 2 * BORDER);
        let start = LeastSquares::new([0; INPUTS]);
        Self {
            first: first(runs, stride),
            windows: windows(runs, stride),
            shift: (max.ilog2() + 1).saturating_sub(8),
            max: max << FRACTION_BITS,
            slow: vec![start.clone(); 4],
            local: vec![start.clone(); (width >> SEGMENT_BITS) + 1],
            fast: start,
            signs: [0; INPUTS],
        }
    }

    /// Looks around the sample at `index`.
    #[inline(always)]
    pub fn look(&self, own: &Plane, earlier: &[Plane], index: usize) -> Neighbourhood {
        let planes = match earlier {
            [] => [own; 3],
            [last] => [own, last, own],
            [.., second, last] => [own, last, second],
        };
        let means = [mean(planes[0], index), mean(planes[1], index), mean(planes[2], index)];
        let near = near(own, index);
        let mut steps = [0; 3];
        if let Some(plane) = earlier.last() {
            let here = plane.all()[index];
            let [w, n, nw, ..] = self::near(plane, index);
            steps = [here - w, here - n, here - nw];
        }
        let mut around =
            Neighbourhood { inputs: [0; INPUTS], mean: means[0], near, steps, sign: 0 };
        let (parts, _) = around.inputs.as_chunks_mut();
        // One by one, since a vector that includes W would wait until W is written.
        for (input, &offset) in parts[0].iter_mut().zip(&self.first) {
            *input = own.all()[index.wrapping_add_signed(offset)] - means[0];
        }
        for (inputs, windows) in parts[1..].iter_mut().zip(&self.windows) {
            *inputs = [0; LANES];
            for window in windows {
                let start = index.wrapping_add_signed(window.offset);
                let samples = &planes[window.back].all()[start..][..LANES];
                for lane in 0..LANES {
                    inputs[lane] |= (samples[lane] - means[window.back]) & window.mask[lane];
                }
            }
        }
        around
    }

    /// All predictions, within the range.
    #[inline(always)]
    pub fn predict<I: Instructions>(
        &self,
        around: &mut Neighbourhood,
        x: usize,
        y: usize,
    ) -> Predictions {
        let inputs = &around.inputs;
        let squares = |problem: &LeastSquares| {
            let sum = problem.predict::<I>(inputs) >> (WEIGHT_BITS - FRACTION_BITS);
            sum as i32 + (around.mean << FRACTION_BITS)
        };
        around.sign = I::dot(inputs, &self.signs);
        let [w, n, nw, ..] = around.near;
        let [sw, sn, snw] = around.steps;
        let (w, n, nw) = (w + sw, n + sn, nw + snw);
        let median = (w + n - nw).clamp(w.min(n), w.max(n));
        let mut predictions = [
            squares(&self.slow[parity(x, y)]),
            squares(&self.local[x >> SEGMENT_BITS]),
            squares(&self.fast),
            (around.sign >> (WEIGHT_BITS - FRACTION_BITS)) as i32 + (around.mean << FRACTION_BITS),
            median << FRACTION_BITS,
            (w + n - nw) << FRACTION_BITS,
            0,
            0,
        ];
        for prediction in &mut predictions {
            *prediction = (*prediction).clamp(0, self.max);
        }
        predictions
    }

    /// Learns the sample at column `x` of row `y`.
    #[inline(always)]
    pub fn learn<I: Instructions>(
        &mut self,
        around: &Neighbourhood,
        x: usize,
        y: usize,
        sample: i32,
        importance: i32,
    ) {
        let small = |value: i32| (value >> self.shift).clamp(-MAX_FEATURE, MAX_FEATURE);
        let target = small(sample - around.mean) * importance;
        let mut learned = Sample { features: [0; INPUTS], factors: [0; INPUTS], target };
        for (i, &input) in around.inputs.iter().enumerate() {
            learned.features[i] = small(input);
            learned.factors[i] = learned.features[i] * importance;
        }
        let slow = &mut self.slow[parity(x, y)];
        let local = &mut self.local[x >> SEGMENT_BITS];
        I::learn(slow, &learned, SLOW_MEMORY);
        I::learn(local, &learned, LOCAL_MEMORY);
        I::learn(&mut self.fast, &learned, FAST_MEMORY);
        let ridges = [SLOW_RIDGE, LOCAL_RIDGE, FAST_RIDGE];
        descend::<I>([slow, local, &mut self.fast], ridges);
        let missing = (i64::from(sample - around.mean) << WEIGHT_BITS) - around.sign;
        let step = (missing >> (WEIGHT_BITS - 2)).clamp(-32, 32) as i32;
        for (weight, feature) in self.signs.iter_mut().zip(learned.features) {
            *weight += (step * feature) >> 8;
            *weight = (*weight).clamp(-3 << WEIGHT_BITS, 3 << WEIGHT_BITS);
        }
    }
}

/// Where the first inputs are, in planes whose rows are `stride` apart.
fn first(runs: &[Run], stride: usize) -> [isize; LANES] {
    let places = |&(_, dx, dy, count): &Run| {
        (dx..dx + count as isize).map(move |dx| dy * stride as isize + dx)
    };
    let mut offsets = runs.iter().flat_map(places);
    std::array::from_fn(|_| offsets.next().unwrap_or(0))
}

/// The windows of all other inputs.
fn windows(runs: &[Run], stride: usize) -> [Vec<Window>; INPUTS / LANES - 1] {
    let mut windows = [const { Vec::new() }; INPUTS / LANES - 1];
    let mut first = 0;
    for &(back, dx, dy, count) in runs {
        for (part, windows) in windows.iter_mut().enumerate() {
            let input = (part + 1) * LANES;
            let covered = |lane| (first..first + count).contains(&(input + lane));
            if (0..LANES).any(covered) {
                windows.push(Window {
                    back,
                    offset: dy * stride as isize + dx + input as isize - first as isize,
                    mask: std::array::from_fn(|lane| -i32::from(covered(lane))),
                });
            }
        }
        first += count;
    }
    windows
}

/// The four kinds of pixels of pictures whose colours were sampled at half the resolution.
#[inline(always)]
fn parity(x: usize, y: usize) -> usize {
    y % 2 * 2 + x % 2
}

/// W, N, NW, NE, WW and NN.
#[inline(always)]
fn near(plane: &Plane, index: usize) -> [i32; 6] {
    let (all, stride) = (plane.all(), plane.stride());
    let above = index - stride;
    [
        all[index - 1],
        all[above],
        all[above - 1],
        all[above + 1],
        all[index - 2],
        all[above - stride],
    ]
}

#[inline(always)]
fn mean(plane: &Plane, index: usize) -> i32 {
    let [w, n, nw, ne, ..] = near(plane, index);
    (w + n + nw + ne + 2) >> 2
}
