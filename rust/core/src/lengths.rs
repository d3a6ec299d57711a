//! What the codes of a tile cost that count from their means, and what they would make others cost.

use rayon::prelude::*;

use crate::adjoint::Field;
use crate::centred::{Origin, Rounding, symbol_length};
use crate::codes::CodeGrid;
use crate::context::{BATCH, ContextPrior};
use crate::context_network::StepTrace;
use crate::distribution::{Distribution, PRECISION};
use crate::entropy::SymbolCoder;
use crate::error::{Error, Result};
use crate::features::FeatureGrid;
use crate::logistic::Logistic;
use crate::prior::Prior;
use crate::quantizer::VALUE_BITS;

/// Fractional bits of a length.
pub const LENGTH_BITS: u32 = 16;

/// The length of what no file can hold.
const NEVER: i32 = 1 << 28;

/// `log2(1 + i / 256)` in 2^-16, rounded down.
const LOG2: [i32; 257] = {
    let mut table = [0; 257];
    let mut index = 0;
    while index < 256 {
        let mut mantissa = (256 + index as u64) << 23; // 31 fractional bits, within 1..2
        let mut bit = 0;
        while bit < LENGTH_BITS {
            mantissa = (mantissa * mantissa) >> 31;
            let above = mantissa >> 32;
            table[index] = table[index] << 1 | above as i32;
            mantissa >>= above;
            bit += 1;
        }
        index += 1;
    }
    table[256] = 1 << LENGTH_BITS;
    table
};

/// `log2(number)` of a positive number in 2^-16, to about 2^-15: integers, so that it is the same everywhere.
fn log2(number: u32) -> i32 {
    let octave = number.ilog2();
    let fraction = (number << (31 - octave)) & (u32::MAX >> 1);
    let (index, rest) = ((fraction >> 23) as usize, (fraction & 0x7f_ffff) as i64);
    let slope = i64::from(LOG2[index + 1] - LOG2[index]);
    ((octave as i32) << LENGTH_BITS) + LOG2[index] + ((slope * rest) >> 23) as i32
}

/// Sums the lengths of symbols, in 2^-16 bit.
#[derive(Default)]
struct Sum(i64);

impl SymbolCoder for Sum {
    fn code(&mut self, symbol: i32, distribution: &impl Distribution) -> Result<i32> {
        let interval = distribution.interval(symbol);
        let interval =
            interval.ok_or_else(|| Error::InvalidInput(format!("no symbol {symbol}")))?;
        self.0 += i64::from(((PRECISION as i32) << LENGTH_BITS) - log2(interval.width));
        Ok(symbol)
    }
}

/// The length of one code.
pub(crate) fn length(logistic: &Logistic, code: i32) -> i32 {
    let mut sum = Sum::default();
    match i16::try_from(code).map(|_| logistic.code(code, &mut sum)) {
        Ok(Ok(_)) => sum.0 as i32, // an escape takes 24 bits and two for each of the offset
        _ => NEVER,
    }
}

/// The length of a tile's codes as they are written, with a prior that adapts, in 2^-16 bit.
pub fn written_length(prior: &ContextPrior, mut codes: CodeGrid, quality: u8) -> Result<i64> {
    let mut sum = Sum::default();
    prior.code(&mut codes, None, quality, true, &mut sum)?;
    Ok(sum.0)
}

/// What is known about the codes of a tile.
#[derive(Debug)]
pub struct Lengths {
    /// The length of each code in 2^-16 bit, `(height, width, variables)`.
    pub codes: Vec<i32>,
    steps: Vec<Priced>,
}

/// What a step of the prior has found.
#[derive(Debug)]
struct Priced {
    /// Slice and step.
    place: (usize, usize),
    trace: StepTrace,
    /// Of each code of the step.
    lengths: Vec<i32>,
    /// What the length of each code changes by with each of the head's outputs, if what it stands for stays where
    /// it is: `(positions, outputs)`.
    slopes: Vec<f32>,
}

/// What the networks of all steps come to on a tile's codes, which count from their means.
#[derive(Debug)]
pub struct Traces(Vec<((usize, usize), StepTrace)>);

/// Runs the networks of a prior that does not adapt. With a `rounding` numbers become codes first, as
/// [`ContextPrior::settle`] makes them.
pub fn trace(
    prior: &ContextPrior,
    codes: &mut CodeGrid,
    quality: u8,
    rounding: Option<Rounding>,
) -> Result<Traces> {
    let [_, height, width] = codes.shape();
    let mut features = prior.first_features([height, width], None)?;
    let mut traces = Vec::new();
    for (index, slice) in prior.slices().iter().enumerate() {
        for step in 0..slice.steps.len() {
            let known = (&mut *codes, &mut features);
            let trace = settle_step(prior, known, quality, (index, step), rounding)?;
            traces.push(((index, step), trace));
        }
    }
    // narrow tiles have no position for some steps
    traces.retain(|(_, trace)| !trace.outputs.is_empty());
    Ok(Traces(traces))
}

/// Runs the network of a step, turns the numbers at its positions into codes, and enters their features.
fn settle_step(
    prior: &ContextPrior,
    (codes, features): (&mut CodeGrid, &mut FeatureGrid),
    quality: u8,
    place: (usize, usize),
    rounding: Option<Rounding>,
) -> Result<StepTrace> {
    let slice = &prior.slices()[place.0];
    let step = &slice.steps[place.1];
    let [_, height, width] = codes.shape();
    let positions: Vec<_> = step.pattern.positions(height, width).collect();
    // what does not see each other goes through at once, on all threads
    let together = if step.sequential { 1 } else { positions.len().max(1) };
    let mut whole = StepTrace::default();
    for positions in positions.chunks(together) {
        let run = |some: &[_]| prior.trace(features, quality, place, some);
        let traces: Vec<_> = positions.par_chunks(BATCH).map(run).collect();
        let first = whole.outputs.len();
        traces.into_iter().for_each(|trace| whole.append(trace));
        let outputs = whole.outputs[first..].chunks_exact(whole.columns);
        for (&(y, x), outputs) in positions.iter().zip(outputs) {
            let (means, classes) = outputs.split_at(whole.columns / 2);
            let each = slice.variables.clone().zip(means.iter().zip(classes));
            for (variable, (&mean, &class)) in each {
                if let Some(rounding) = rounding {
                    let (origin, code) = (Origin::of(mean), codes.at_mut(variable, y, x));
                    *code = origin.plus(origin.symbol(*code, class, rounding, variable));
                }
            }
            prior.note_features(features, codes, slice.variables.clone(), (y, x))?;
        }
    }
    Ok(whole)
}

/// Scale classes up to which a code moves with its mean, and from which it stays where it is.
const MOVES: i32 = 50;
const STAYS: i32 = 80;

/// How much of a code moves with its mean: all of it where it is hardly ever off the mean, nothing where it is
/// spread over many symbols and so rounded to about the same place whatever it counts from.
fn share_that_moves(class: i32) -> f32 {
    (STAYS - class).clamp(0, STAYS - MOVES) as f32 / (STAYS - MOVES) as f32
}

impl Lengths {
    /// The lengths of codes, by what the networks have come to on them.
    pub fn of(prior: &ContextPrior, codes: &CodeGrid, traces: Traces) -> Self {
        let [variables, height, width] = codes.shape();
        let traces = traces.0.into_par_iter();
        let steps: Vec<_> =
            traces.map(|(place, trace)| price(prior, codes, place, trace)).collect();
        let mut codes = vec![0; variables * height * width];
        for Priced { place: (slice, step), lengths, .. } in &steps {
            let slice = &prior.slices()[*slice];
            let positions = slice.steps[*step].pattern.positions(height, width);
            for ((y, x), found) in positions.zip(lengths.chunks_exact(slice.variables.len())) {
                codes[(y * width + x) * variables..][slice.variables.clone()]
                    .copy_from_slice(found);
            }
        }
        Self { codes, steps }
    }

    /// Adds to what something changes by with each code, `(height, width, variables)` in bits a symbol, what
    /// the lengths of other codes change by, and what comes of it that these move with their means. Within
    /// a step whose positions see each other, only what other steps find counts for the latter.
    pub fn add_gradient(&self, prior: &ContextPrior, sum: &mut Field) -> Result<()> {
        for Priced { place, trace, slopes, .. } in self.steps.iter().rev() {
            let (slice, mut slopes) = (&prior.slices()[place.0], slopes.clone());
            let positions = slice.steps[place.1].pattern.positions(sum.height, sum.width);
            let outputs = trace.outputs.chunks_exact(trace.columns);
            let vectors = slopes.chunks_exact_mut(trace.columns).zip(outputs);
            for ((y, x), (slopes, outputs)) in positions.zip(vectors) {
                let sums = &sum.values[(y * sum.width + x) * sum.channels..];
                let classes = &outputs[slice.variables.len()..];
                let codes = sums[slice.variables.clone()].iter().zip(classes);
                for (slope, (value, &class)) in slopes.iter_mut().zip(codes) {
                    let share = share_that_moves(class);
                    *slope = share * value / (1 << VALUE_BITS) as f32 + (1.0 - share) * *slope;
                }
            }
            let found = prior.step_gradient(*place, trace, slopes)?;
            prior.add_step_gradient(*place, &found, sum);
        }
        Ok(())
    }
}

/// The lengths of the codes of a step, and their slopes with each output.
fn price(
    prior: &ContextPrior,
    codes: &CodeGrid,
    place: (usize, usize),
    trace: StepTrace,
) -> Priced {
    let [_, height, width] = codes.shape();
    let slice = &prior.slices()[place.0];
    let mut lengths = Vec::new();
    let mut slopes = vec![0.0; trace.outputs.len()];
    let positions = slice.steps[place.1].pattern.positions(height, width);
    let vectors = trace.outputs.chunks_exact(trace.columns);
    for ((y, x), (outputs, slopes)) in
        positions.zip(vectors.zip(slopes.chunks_exact_mut(trace.columns)))
    {
        let (means, classes) = outputs.split_at(trace.columns / 2);
        for (index, variable) in slice.variables.clone().enumerate() {
            let symbol = Origin::of(means[index]).nearest(codes.at(variable, y, x), 0);
            lengths.push(symbol_length(symbol, classes[index]));
            [slopes[index], slopes[means.len() + index]] =
                Logistic::new(0, classes[index]).slopes(symbol);
        }
    }
    Priced { place, trace, lengths, slopes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        for number in (1..1 << 24).step_by(1237).chain([1, 2, 3, 1 << 24]) {
            let exact = f64::from(number).log2();
            let found = f64::from(log2(number)) / 65536.0;
            assert!((found - exact).abs() < 1.0 / 16384.0, "log2({number}) = {exact}: {found}");
        }
    }
}
