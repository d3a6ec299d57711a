//! Search for codes that cost less than rounded latents: slower encoding, smaller files.
//!
//! Any codes are valid in a file, so the encoder may change them. The cost of a window is
//! `bits + weight * squared error`, over what its codes can reach. A pass runs the synthesis and the
//! prior on the codes as they are, and prices every change of a code by one:
//! ```text
//! gradient of the error * change + SAFETY * curvature of the error + change of the code's own length
//! ```
//! Left out is what a change does to the lengths of later codes (measured: it gains nothing here).
//! Changes interact, so a random half of those with a negative price are made at once. The next
//! pass sees what came of them, and takes those of a position back where its own cost has grown. The
//! best codes of all passes remain, so a search never costs more than it started from.

use rayon::prelude::*;

use crate::codes::{CodeGrid, Tile, tiles};
use crate::error::Result;
use crate::gradient::{Field, Trace};
use crate::lengths::{LENGTH_BITS, lengths};
use crate::model::Model;
use crate::stream::TILE_LOG2;
use crate::transform::{COLOURS, Transform, grow};

/// Passes of each effort.
const PASSES: [u32; 3] = [0, 6, 16];

/// A step of one changes the error by more than its curvature says, since others are made beside it.
const SAFETY: f64 = 2.0;

fn tune(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

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

/// Better codes than `codes`, which are those of a whole picture, at an effort of 1 or more. Parallel
/// iterators inside run in the caller's thread pool; windows are searched one after the other.
pub fn search(
    model: &Model,
    transform: &Transform,
    goal: Goal,
    mut codes: CodeGrid,
    effort: u8,
) -> Result<CodeGrid> {
    let [_, rows, columns] = codes.shape();
    let margin = transform.synthesis.margin(transform.stride);
    let passes = PASSES[usize::from(effort).min(PASSES.len() - 1)];
    let passes = tune("PASSES", passes.into()) as u32;
    for core in tiles(rows, columns, 1 << TILE_LOG2) {
        let region = grow(core, margin, rows, columns);
        let window = Window { model, transform, goal, core, region };
        let found = window.search(codes.tile(region), passes)?;
        codes.set_tile(core, &found.tile(window.inner()));
    }
    Ok(codes)
}

/// One tile of the codes, which may change, in a region that shows all that they do.
struct Window<'a> {
    model: &'a Model,
    transform: &'a Transform,
    goal: Goal<'a>,
    core: Tile,
    region: Tile,
}

/// What is known about some codes of a window.
struct Pass {
    trace: Trace,
    /// For each position of the region.
    costs: Vec<f64>,
    /// With regard to the codes of the region, in bits.
    gradient: Field,
    /// Of the codes of the core.
    lengths: Vec<[i32; 3]>,
}

impl Window<'_> {
    /// The core as a part of the region.
    fn inner(&self) -> Tile {
        Tile { y: self.core.y - self.region.y, x: self.core.x - self.region.x, ..self.core }
    }

    /// Index in the region of each position of the core.
    fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        let Tile { y, x, height, width } = self.inner();
        (y..y + height).flat_map(move |y| (x..x + width).map(move |x| (y, x)))
    }

    fn search(&self, mut codes: CodeGrid, passes: u32) -> Result<CodeGrid> {
        let mut pass = self.evaluate(&codes)?;
        let curvature = self.curvature(&pass.trace)?;
        let mut best = (pass.costs.iter().sum::<f64>(), codes.clone());
        let (mut kept, mut costs) = (codes.clone(), vec![f64::INFINITY; pass.costs.len()]);
        let (up, down, first, low, high) = (tune("UP", 1.0), tune("DOWN", 1.0), tune("SAFETY", 2.0), tune("LOW", 1.0), tune("HIGH", 6.0));
        let mut safety = vec![first; pass.costs.len()];
        let variables = curvature.len();
        let (mut gradients, mut all_lengths) = (pass.gradient.values.clone(), pass.lengths.clone());
        let retry = tune("RETRY", 1.0) > 0.0;
        let start = best.0;
        for number in 0..passes {
            for (index, (y, x)) in self.positions().enumerate() {
                let at = y * self.region.width + x;
                let good = pass.costs[at] <= costs[at];
                if good {
                    if number > 0 { safety[at] = (safety[at] * down).max(low); }
                    costs[at] = pass.costs[at];
                    copy(&codes, &mut kept, (y, x));
                    gradients[at * variables..][..variables].copy_from_slice(&pass.gradient.values[at * variables..][..variables]);
                    all_lengths[index * variables..][..variables].copy_from_slice(&pass.lengths[index * variables..][..variables]);
                } else {
                    safety[at] = (safety[at] * up).min(high);
                    copy(&kept, &mut codes, (y, x));
                }
                if good || retry {
                    self.change(&mut codes, &gradients, &all_lengths, &curvature, index, (y, x), number, safety[at]);
                }
            }
            pass = self.evaluate(&codes)?;
            let cost = pass.costs.iter().sum::<f64>();
            if tune("DEBUG", 0.0) > 0.0 {
                eprint!("{:.2} ", 100.0 * (cost / start - 1.0));
            }
            if cost < best.0 {
                best = (cost, codes.clone());
            }
        }
        Ok(best.1)
    }

    /// Makes about half of the changes at a position that seem to pay.
    fn change(
        &self,
        codes: &mut CodeGrid,
        gradients: &[f32],
        lengths: &[[i32; 3]],
        curvature: &[f64],
        index: usize,
        (y, x): (usize, usize),
        number: u32,
        safety: f64,
    ) {
        let variables = curvature.len();
        let gradients = &gradients[(y * self.region.width + x) * variables..];
        let lengths = &lengths[index * variables..];
        let (row, column) = (self.region.y + y, self.region.x + x);
        let threshold = (tune_frac() * 4294967296.0) as u32;
        for (variable, &curvature) in curvature.iter().enumerate() {
            let (gradient, [below, own, above]) =
                (f64::from(gradients[variable]), lengths[variable]);
            let bits = |length: i32| f64::from(length - own) / f64::from(1 << LENGTH_BITS);
            let (down, up) = (bits(below) - gradient, bits(above) + gradient);
            let (price, step) = if up < down { (up, 1) } else { (down, -1) };
            if price + safety * curvature < 0.0 && hash([number, variable as u32, row as u32, column as u32]) < threshold
            {
                *codes.at_mut(variable, y, x) += step;
            }
        }
    }

    fn evaluate(&self, codes: &CodeGrid) -> Result<Pass> {
        let Self { model, transform, goal, .. } = self;
        let trace = transform.trace(codes, goal.quality)?;
        let (errors, slopes) = self.errors(&trace);
        let gradient = transform.gradient(&trace, &slopes, goal.quality)?;
        let lengths = lengths(&model.prior, &codes.tile(self.inner()), goal.quality)?;
        let mut costs: Vec<_> = errors.iter().map(|&error| error as f64 * goal.weight).collect();
        let variables = codes.shape()[0];
        for ((y, x), lengths) in self.positions().zip(lengths.chunks_exact(variables)) {
            let bits: i64 = lengths.iter().map(|&[_, own, _]| i64::from(own)).sum();
            costs[y * self.region.width + x] += bits as f64 / f64::from(1 << LENGTH_BITS);
        }
        Ok(Pass { trace, costs, gradient, lengths })
    }

    /// The squared error of each position, and what the cost changes by with each pixel.
    fn errors(&self, trace: &Trace) -> (Vec<u64>, Field) {
        let Self { goal: Goal { pixels, size: [height, width], weight, .. }, region, .. } = *self;
        let stride = self.transform.stride;
        let line = trace.width * COLOURS;
        let mut slopes = self.pixels();
        let mut errors = vec![0; region.height * region.width];
        let bands = slopes.values.par_chunks_exact_mut(stride * line);
        let bands = bands.zip(errors.par_chunks_exact_mut(region.width)).enumerate();
        bands.for_each(|(band, (slopes, errors))| {
            let rows = (height - (region.y + band) * stride).min(stride);
            let count = (width - region.x * stride).min(trace.width) * COLOURS;
            for row in 0..rows {
                let y = band * stride + row;
                let start = ((region.y * stride + y) * width + region.x * stride) * COLOURS;
                let targets = &pixels[start..][..count];
                let sums = &trace.sums[y * line..][..count];
                let slopes = &mut slopes[row * line..][..count];
                for (index, ((slope, &sum), &target)) in
                    slopes.iter_mut().zip(sums).zip(targets).enumerate()
                {
                    let error = Trace::shown(sum) - i32::from(target);
                    errors[index / (stride * COLOURS)] += (error * error) as u64;
                    if Trace::moves(sum) {
                        *slope = (2.0 * weight) as f32 * error as f32;
                    }
                }
            }
        });
        (errors, slopes)
    }

    /// Half the second derivative of the cost's error term for the codes of each channel: the mean
    /// over the region of the squared norm of what a code moves, by Hutchinson's estimate (the
    /// gradient of pixels with random signs has that as its mean square).
    fn curvature(&self, trace: &Trace) -> Result<Vec<f64>> {
        let mut signs = self.pixels();
        for (index, sign) in signs.values.iter_mut().enumerate() {
            *sign = if hash([index as u32, 0, 0, 0]) & 1 == 0 { -1.0 } else { 1.0 };
        }
        let gradient = self.transform.gradient(trace, &signs, self.goal.quality)?;
        let mut sums = vec![0.0; gradient.channels];
        for values in gradient.values.chunks_exact(gradient.channels) {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        let positions = (gradient.values.len() / gradient.channels) as f64;
        Ok(sums.iter().map(|sum| self.goal.weight * sum / positions).collect())
    }

    /// A zero for each pixel of the region.
    fn pixels(&self) -> Field {
        let stride = self.transform.stride;
        let (height, width) = (self.region.height * stride, self.region.width * stride);
        Field { height, width, channels: COLOURS, values: vec![0.0; height * width * COLOURS] }
    }
}

fn tune_frac() -> f64 {
    use std::sync::OnceLock;
    static F: OnceLock<f64> = OnceLock::new();
    *F.get_or_init(|| tune("FRAC", 0.5))
}

/// Copies the codes of a position.
fn copy(source: &CodeGrid, target: &mut CodeGrid, (y, x): (usize, usize)) {
    for variable in 0..source.shape()[0] {
        *target.at_mut(variable, y, x) = source.at(variable, y, x);
    }
}

/// A random number for four (the finaliser of MurmurHash3 after each).
fn hash(numbers: [u32; 4]) -> u32 {
    numbers.into_iter().fold(0x9e37_79b9, |state, number| {
        let mut mixed = state ^ number.wrapping_mul(0xcc9e_2d51);
        mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85eb_ca6b);
        mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
        mixed ^ (mixed >> 16)
    })
}
