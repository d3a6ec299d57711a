//! Search for codes that cost less than rounded latents: slower encoding, smaller files.
//!
//! Any codes are valid in a file, so the encoder may change them. The cost of a window is
//! `bits + weight * squared error`, over what its codes can reach. A pass runs the synthesis and the
//! prior on the codes as they are, and prices every change of a code by one:
//! ```text
//! gradient * change + damping * curvature of the error + change of the code's own length
//! ```
//! where the gradient is that of the error and of the lengths of all other codes.
//! All changes with a negative price are made at once, though they interact. The next pass sees what
//! came of them: where the own cost of a position has grown, its codes go back and its damping grows
//! (as in Levenberg and Marquardt's method), elsewhere it falls. The codes of the cheapest pass
//! remain, unless those at first are written in fewer bits: passes count them without adaptation of
//! the prior. So a window never costs more than at first.

use rayon::prelude::*;

use crate::adjoint::Field;
use crate::codes::{CodeGrid, Tile, tiles};
use crate::error::Result;
use crate::gradient::Trace;
use crate::lengths::{LENGTH_BITS, Lengths, NEVER, lengths, written_length};
use crate::model::Model;
use crate::stream::TILE_LOG2;
use crate::transform::{COLOURS, Transform, grow, shown};

/// One bit, in units of lengths.
const BIT: f64 = (1 << LENGTH_BITS) as f64;

/// Passes of each effort.
pub const PASSES: [u32; 3] = [0, 10, 24];

/// Damping at first: more than 1, because other changes are made beside it and the synthesis is
/// not linear.
const START: f64 = 1.8;

/// Factors of the damping of a position whose cost has fallen, and of one whose cost has grown.
const BETTER: f64 = 0.9;
const WORSE: f64 = 1.3;

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

/// Better codes than `codes`, which are those of a whole picture, found in so many passes. Parallel
/// iterators inside run in the caller's thread pool; windows are searched one after the other.
pub fn search(
    model: &Model,
    transform: &Transform,
    goal: Goal,
    mut codes: CodeGrid,
    passes: u32,
) -> Result<CodeGrid> {
    let [_, rows, columns] = codes.shape();
    let margin = transform.synthesis.margin(transform.stride);
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

/// What a pass finds out about some codes of a window.
struct Pass {
    trace: Trace,
    /// What the cost changes by with each pixel of the region.
    slopes: Field,
    /// Of the codes of the core.
    lengths: Lengths,
    /// The error's part of the cost.
    error: f64,
    /// For each position of the region: its error, and inside the core the lengths of its codes.
    costs: Vec<f64>,
}

impl Pass {
    fn cost(&self) -> f64 {
        self.costs.iter().sum()
    }
}

/// The cheapest codes so far of each position of the core, and what is known about them.
struct Kept {
    codes: CodeGrid,
    costs: Vec<f64>,
    lengths: Vec<[i32; 3]>,
    /// With regard to the codes of the region, in bits.
    gradient: Field,
    /// For each position of the core.
    damping: Vec<f64>,
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

    fn search(&self, codes: CodeGrid, passes: u32) -> Result<CodeGrid> {
        let start = self.measure(&codes)?;
        let curvature = self.curvature(&start.trace)?;
        let first = (codes.clone(), start.error);
        let (mut lowest, mut best) = (start.cost(), first.clone());
        let gradient = self.gradient(&start)?;
        let damping = vec![START; self.core.height * self.core.width];
        let Pass { lengths: Lengths { around, .. }, costs, .. } = start;
        let mut kept = Kept { codes, costs, lengths: around, gradient, damping };
        for number in 0..=passes {
            let last = number == passes; // only takes back what the one before has made worse
            let codes = if last { kept.codes.clone() } else { self.change(&kept, &curvature) };
            let pass = self.measure(&codes)?;
            if pass.cost() < lowest {
                (lowest, best) = (pass.cost(), (codes.clone(), pass.error));
            }
            if !last {
                let gradient = self.gradient(&pass)?;
                self.merge(&mut kept, &codes, &pass, &gradient);
            }
        }
        let written = |(codes, error): &(CodeGrid, f64)| -> Result<f64> {
            let codes = codes.tile(self.inner());
            let length = written_length(&self.model.prior, codes, self.goal.quality)?;
            Ok(length as f64 / BIT + error)
        };
        Ok(if written(&best)? < written(&first)? { best.0 } else { first.0 })
    }

    /// The kept codes with all changes that seem to pay.
    fn change(&self, kept: &Kept, curvature: &[f64]) -> CodeGrid {
        let mut codes = kept.codes.clone();
        let variables = curvature.len();
        let lengths = kept.lengths.chunks_exact(variables);
        for (((y, x), lengths), damping) in self.positions().zip(lengths).zip(&kept.damping) {
            let gradients = &kept.gradient.values[(y * self.region.width + x) * variables..];
            for (variable, &[below, own, above]) in lengths.iter().enumerate() {
                let bits = |length: i32| match length {
                    NEVER => f64::INFINITY, // whatever the error would fall by
                    length => f64::from(length - own) / BIT,
                };
                let gradient = f64::from(gradients[variable]);
                let (down, up) = (bits(below) - gradient, bits(above) + gradient);
                let (price, step) = if up < down { (up, 1) } else { (down, -1) };
                if price + damping * curvature[variable] < 0.0 {
                    *codes.at_mut(variable, y, x) += step;
                }
            }
        }
        codes
    }

    /// Keeps the codes of all positions that cost no more than those that are kept there.
    fn merge(&self, kept: &mut Kept, codes: &CodeGrid, pass: &Pass, gradient: &Field) {
        let variables = gradient.channels;
        for (index, (y, x)) in self.positions().enumerate() {
            let at = y * self.region.width + x;
            let damping = &mut kept.damping[index];
            if pass.costs[at] > kept.costs[at] {
                *damping *= WORSE;
                continue;
            }
            *damping *= BETTER;
            kept.costs[at] = pass.costs[at];
            let (from, to) = (index * variables, (index + 1) * variables);
            kept.lengths[from..to].copy_from_slice(&pass.lengths.around[from..to]);
            let (from, to) = (at * variables, (at + 1) * variables);
            kept.gradient.values[from..to].copy_from_slice(&gradient.values[from..to]);
            for variable in 0..variables {
                *kept.codes.at_mut(variable, y, x) = codes.at(variable, y, x);
            }
        }
    }

    fn measure(&self, codes: &CodeGrid) -> Result<Pass> {
        let Self { model, transform, goal, .. } = self;
        let trace = transform.trace(codes, goal.quality)?;
        let (errors, slopes) = self.errors(&trace);
        let lengths = lengths(&model.prior, &codes.tile(self.inner()), goal.quality)?;
        let mut costs: Vec<_> = errors.iter().map(|&error| error as f64 * goal.weight).collect();
        let error = costs.iter().sum();
        let positions = self.positions().zip(lengths.around.chunks_exact(codes.shape()[0]));
        for ((y, x), lengths) in positions {
            let sum: i64 = lengths.iter().map(|&[_, own, _]| i64::from(own)).sum();
            costs[y * self.region.width + x] += sum as f64 / BIT;
        }
        Ok(Pass { trace, slopes, lengths, error, costs })
    }

    /// With regard to the codes of the region: of the error, and of the lengths of other codes.
    fn gradient(&self, pass: &Pass) -> Result<Field> {
        let mut gradient = self.transform.gradient(&pass.trace, &pass.slopes, self.goal.quality)?;
        let Field { channels, values, .. } = &pass.lengths.gradient;
        for ((y, x), found) in self.positions().zip(values.chunks_exact(*channels)) {
            let sums = &mut gradient.values[(y * self.region.width + x) * channels..][..*channels];
            sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
        }
        Ok(gradient)
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
                    let error = i32::from(shown(sum)) - i32::from(target);
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
        Ok(sums.iter().map(|sum| self.goal.weight * sum / positions).collect())
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
