//! Search for codes that cost less than rounded latents: slower encoding, smaller files.
//!
//! Any codes are valid in a file, so the encoder may change them. The cost of a window is
//! `bits + weight * squared error`, over what its codes can reach. Codes count from their means, and
//! each change moves the means of those after it, so changes are made along the prior's walk
//! ([`centred`](crate::centred)): to the code whose length and squared distance from a *target* cost
//! least. Targets are the latents at first. A pass runs the synthesis and the prior on the codes as
//! they are, and moves the targets towards where the cost would be lowest if all codes but one
//! stayed:
//! ```text
//! target += rate * (code - gradient / (2 * damping * curvature of the error) - target)
//! ```
//! where the gradient is that of the error and of the lengths of all other codes. The rate falls from
//! pass to pass. How much damping a window needs differs much from picture to picture: where the first
//! pass goes astray, the search begins again with twice as much.
//!
//! Changed codes take fewer bits for more error. So that both fall along the curve, and not the bits
//! alone, passes count errors for more than they are worth. The codes of the cheapest pass are taken if
//! they cost less as they are written, with adaptation of the prior, and by what errors are worth. In the
//! first round they may cost a little more where they take fewer bits: the lowest qualities have two
//! kinds of codes of about equal cost, and sizes rise with the quality if it is always the smaller.

use rayon::prelude::*;

use crate::adjoint::Field;
use crate::centred::Rounding;
use crate::codes::{CodeGrid, Tile, tiles};
use crate::error::Result;
use crate::gradient::Trace;
use crate::lengths::{LENGTH_BITS, Lengths, Traces, trace, written_length};
use crate::model::Model;
use crate::quantizer::VALUE_BITS;
use crate::stream::TILE_LOG2;
use crate::transform::{COLOURS, Transform, grow, shown};

/// One bit, in units of lengths.
const BIT: f64 = (1 << LENGTH_BITS) as f64;

/// Rounds of each effort: each begins with the codes of the one before, so rounds after the first never cost more.
pub const ROUNDS: [u32; 3] = [0, 1, 3];

/// Passes of a round.
const PASSES: u32 = 8;

/// How far targets move at first: as far as the quality is up the range, within these. Where most codes
/// are 0 they move with their means, and large steps go astray.
const RATES: [f64; 2] = [0.4, 0.6];

/// What remains of that from pass to pass: a fiftieth in the end, when codes should not wander any more.
const COOLING: f64 = 0.613_2;

/// Damping of the lowest and of the highest quality: more than 1, because other changes are made beside
/// it and the synthesis is not linear.
const DAMPING: [f64; 2] = [1.8, 1.2];

/// What passes count errors for, in their worth: lowest BD-rate of mean curves on validation photos.
const EMPHASIS: f64 = 1.4;

/// How many times as much as at first a window may cost after its first pass.
const ASTRAY: f64 = 1.1;

/// How many times as much as at first codes of fewer bits may cost after the first round.
const ABOUT_EQUAL: f64 = 1.03;

/// No target lies farther than this many symbols from its code.
const FARTHEST: f64 = 2.0;

/// A picture and what its codes are to be good for.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    /// `(height, width, 3)` sRGB pixels.
    pub pixels: &'a [u8],
    /// Rows and columns of pixels.
    pub size: [usize; 2],
    /// Quality position.
    pub quality: u8,
    /// Bits that a squared error of 1 (of 255, in one colour of one pixel) is worth.
    pub weight: f64,
}

/// Better codes than `codes`, which count from their means and are those of a whole picture, found in so
/// many rounds. Parallel iterators inside run in the caller's thread pool; windows are searched one
/// after the other.
pub fn search(
    model: &Model,
    transform: &Transform,
    goal: Goal,
    mut codes: CodeGrid,
    rounds: u32,
) -> Result<CodeGrid> {
    let [_, rows, columns] = codes.shape();
    let margin = transform.synthesis.margin(transform.stride);
    let [height, width] = goal.size;
    let latents = transform.analyze(goal.pixels, (height, width), goal.quality, 0)?.remove(0);
    for round in 0..rounds {
        let wanted = wanted(&latents, &codes);
        for core in tiles(rows, columns, 1 << TILE_LOG2) {
            let region = grow(core, margin, rows, columns);
            let window = Window { model, transform, goal, core, region };
            let dearest = if round == 0 { ABOUT_EQUAL } else { 1.0 };
            let found = window.search(codes.tile(region), &wanted.tile(core), dearest)?;
            codes.set_tile(core, &found.tile(window.inner()));
        }
    }
    Ok(codes)
}

/// What codes were rounded from: the latents of the picture, or the codes where these are not the
/// nearest to them.
fn wanted(latents: &CodeGrid, codes: &CodeGrid) -> CodeGrid {
    let mut wanted = codes.clone();
    for (wanted, latent) in wanted.codes_mut().iter_mut().zip(latents.codes()) {
        if (*wanted - latent).abs() <= 1 << VALUE_BITS >> 1 {
            *wanted = *latent;
        }
    }
    wanted
}

/// One tile of the codes, which may change, in a region that shows all that they do.
struct Window<'a> {
    model: &'a Model,
    transform: &'a Transform,
    goal: Goal<'a>,
    core: Tile,
    region: Tile,
}

/// What a pass finds out about some codes of a window.
struct Pass {
    trace: Trace,
    /// What the cost changes by with each pixel of the region.
    slopes: Field,
    /// Of the codes of the core.
    lengths: Lengths,
    /// What the squared error is worth, in bits.
    error: f64,
    /// Bits of the codes of the core, and the error with its emphasis.
    cost: f64,
}

impl Window<'_> {
    /// The core as a part of the region.
    fn inner(&self) -> Tile {
        Tile { y: self.core.y - self.region.y, x: self.core.x - self.region.x, ..self.core }
    }

    /// The positions of the core in the region.
    fn positions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Tile { y, x, height, width } = self.inner();
        (y..y + height).flat_map(move |y| (x..x + width).map(move |x| (y, x)))
    }

    /// Better codes of the region than `codes`, or codes of fewer bits that cost at most `dearest` times
    /// as much; those of the core were rounded from `wanted`.
    fn search(&self, codes: CodeGrid, wanted: &CodeGrid, dearest: f64) -> Result<CodeGrid> {
        let length = |codes: &CodeGrid| -> Result<f64> {
            let core = codes.tile(self.inner());
            Ok(written_length(&self.model.prior, core, self.goal.quality)? as f64 / BIT)
        };
        // a length as it is written keeps one thread busy
        let (bits, found) = rayon::join(|| length(&codes), || self.descend(&codes, wanted));
        let (bits, (found, error, first)) = (bits?, found?);
        let (found_bits, cost) = (length(&found)?, bits + first);
        let factor = if found_bits < bits { dearest } else { 1.0 };
        Ok(if found_bits + error < factor * cost { found } else { codes })
    }

    /// The codes of the cheapest pass, and what their error is worth, and what it was at first.
    fn descend(&self, start: &CodeGrid, wanted: &CodeGrid) -> Result<(CodeGrid, f64, f64)> {
        let (model, quality, inner) = (self.model, self.goal.quality, self.inner());
        let mut core = start.tile(inner);
        let traces = trace(&model.prior, &mut core, quality, None)?;
        let first = self.measure(start, &core, traces)?;
        let share = f64::from(quality) / f64::from(model.max_quality().max(1));
        let damping = DAMPING[0] + share * (DAMPING[1] - DAMPING[0]);
        let mut worth = self.curvature(&first.trace)?;
        worth.iter_mut().for_each(|worth| *worth *= damping);
        let mut rate = share.clamp(RATES[0], RATES[1]);
        let mut gradient = self.gradient(&first)?;
        let latents: Vec<_> = wanted.codes().iter().map(|&code| f64::from(code)).collect();
        let (mut codes, mut targets) = (start.clone(), latents.clone());
        let (mut best, mut lowest, mut begun) =
            ((start.clone(), first.error), f64::INFINITY, false);
        for remaining in (0..PASSES).rev() {
            let mut core = codes.tile(inner);
            self.aim(&mut targets, &mut core, &gradient, &worth, rate);
            let rounding = Rounding::Cheapest(&worth);
            let traces = trace(&model.prior, &mut core, quality, Some(rounding))?;
            codes.set_tile(inner, &core);
            let pass = self.measure(&codes, &core, traces)?;
            if !begun && pass.cost > ASTRAY * first.cost {
                (codes, targets) = (start.clone(), latents.clone());
                worth.iter_mut().for_each(|worth| *worth *= 2.0);
                continue;
            }
            begun = true;
            if pass.cost < lowest {
                (lowest, best) = (pass.cost, (codes.clone(), pass.error));
            }
            if remaining > 0 {
                rate *= COOLING;
                gradient = self.gradient(&pass)?;
            }
        }
        Ok((best.0, best.1, first.error))
    }

    /// Moves the targets of the core's codes, and puts them in the place of these.
    fn aim(
        &self,
        targets: &mut [f64],
        codes: &mut CodeGrid,
        gradient: &Field,
        worth: &[f64],
        rate: f64,
    ) {
        let unit = f64::from(1 << VALUE_BITS);
        let positions = self.core.height * self.core.width;
        let planes = targets.par_chunks_exact_mut(positions);
        let planes = planes.zip(codes.codes_mut().par_chunks_exact_mut(positions));
        planes.enumerate().for_each(|(variable, (targets, codes))| {
            for (position, (target, code)) in targets.iter_mut().zip(codes).enumerate() {
                let slope = f64::from(gradient.values[position * gradient.channels + variable]);
                let step = slope / (2.0 * worth[variable]);
                // no curvature, no step
                let step = if step.is_finite() { step.clamp(-FARTHEST, FARTHEST) } else { 0.0 };
                *target += rate * (f64::from(*code) - unit * step - *target);
                *code = *target as i32;
            }
        });
    }

    /// What there is to know about codes of the region, those of the `core` among them.
    fn measure(&self, codes: &CodeGrid, core: &CodeGrid, traces: Traces) -> Result<Pass> {
        let Self { model, transform, goal, .. } = self;
        let trace = || transform.trace(codes, goal.quality);
        let (trace, lengths) = rayon::join(trace, || Lengths::of(&model.prior, core, traces));
        let trace = trace?;
        let (error, slopes) = self.errors(&trace);
        let bits: i64 = lengths.codes.iter().map(|&length| i64::from(length)).sum();
        let error = error as f64 * goal.weight;
        let cost = bits as f64 / BIT + EMPHASIS * error;
        Ok(Pass { trace, slopes, lengths, error, cost })
    }

    /// With regard to the codes of the core: of the error, and of the lengths of other codes.
    fn gradient(&self, pass: &Pass) -> Result<Field> {
        let of_error = self.transform.gradient(&pass.trace, &pass.slopes, self.goal.quality)?;
        let (channels, Tile { height, width, .. }) = (of_error.channels, self.core);
        let at = |(y, x): (usize, usize)| (y * self.region.width + x) * channels;
        let values = self.positions().flat_map(|place| &of_error.values[at(place)..][..channels]);
        let mut gradient = Field { height, width, channels, values: values.copied().collect() };
        pass.lengths.add_gradient(&self.model.prior, &mut gradient)?;
        Ok(gradient)
    }

    /// The squared error, and what the cost changes by with each pixel.
    fn errors(&self, trace: &Trace) -> (u64, Field) {
        let Self { goal: Goal { pixels, size: [height, width], weight, .. }, region, .. } = *self;
        let stride = self.transform.stride;
        let line = trace.width * COLOURS;
        let unit = (2.0 * EMPHASIS * weight) as f32;
        let mut slopes = self.pixels();
        let bands = slopes.values.par_chunks_exact_mut(stride * line);
        let errors = bands.enumerate().map(|(band, slopes)| {
            let rows = (height - (region.y + band) * stride).min(stride);
            let mut sum = 0;
            let count = (width - region.x * stride).min(trace.width) * COLOURS;
            for row in 0..rows {
                let y = band * stride + row;
                let start = ((region.y * stride + y) * width + region.x * stride) * COLOURS;
                let targets = &pixels[start..][..count];
                let sums = &trace.sums[y * line..][..count];
                let slopes = &mut slopes[row * line..][..count];
                for ((slope, &value), &target) in slopes.iter_mut().zip(sums).zip(targets) {
                    let error = i32::from(shown(value)) - i32::from(target);
                    sum += (error * error) as u64;
                    *slope = if Trace::moves(value) { unit * error as f32 } else { 0.0 };
                }
            }
            sum
        });
        let error = errors.sum();
        (error, slopes)
    }

    /// Half the second derivative of the cost's error term for the codes of each channel: the mean
    /// over the region of the squared norm of what a code moves, by Hutchinson's estimate (the
    /// gradient of pixels with random signs has that as its mean square).
    fn curvature(&self, trace: &Trace) -> Result<Vec<f64>> {
        let mut signs = self.pixels();
        for (index, sign) in signs.values.iter_mut().enumerate() {
            *sign = if hash(index as u32) & 1 == 0 { -1.0 } else { 1.0 };
        }
        let gradient = self.transform.gradient(trace, &signs, self.goal.quality)?;
        let mut sums = vec![0.0; gradient.channels];
        for values in gradient.values.chunks_exact(gradient.channels) {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        let positions = (gradient.values.len() / gradient.channels) as f64;
        Ok(sums.iter().map(|sum| EMPHASIS * self.goal.weight * sum / positions).collect())
    }

    /// A zero for each pixel of the region.
    fn pixels(&self) -> Field {
        let stride = self.transform.stride;
        let (height, width) = (self.region.height * stride, self.region.width * stride);
        Field { height, width, channels: COLOURS, values: vec![0.0; height * width * COLOURS] }
    }
}

/// A random number for a number (the finaliser of MurmurHash3).
fn hash(number: u32) -> u32 {
    let mixed = (number ^ (number >> 16)).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}
