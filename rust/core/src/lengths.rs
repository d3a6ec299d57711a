//! What codes and their neighbours on the number line would cost, where all others stay as they are,
//! and what they would make the others cost.

use rayon::prelude::*;

use crate::adjoint::Field;
use crate::codes::CodeGrid;
use crate::context::{ContextPrior, StepTrace};
use crate::distribution::{Distribution, PRECISION};
use crate::entropy::SymbolCoder;
use crate::error::{Error, Result};
use crate::logistic::Logistic;
use crate::prior::Prior;

/// Fractional bits of a length.
pub const LENGTH_BITS: u32 = 16;

/// The length of what no file can hold.
pub const NEVER: i32 = 1 << 28;

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
fn length(logistic: &Logistic, code: i32) -> Result<i32> {
    if i16::try_from(code).is_err() {
        return Ok(NEVER);
    }
    let mut sum = Sum::default();
    logistic.code(code, &mut sum)?;
    Ok(sum.0 as i32) // an escape takes 24 bits and two for each of the offset
}

/// The length of a tile's codes as they are written, with a prior that adapts, in 2^-16 bit.
pub fn written_length(prior: &ContextPrior, mut codes: CodeGrid, quality: u8) -> Result<i64> {
    let mut sum = Sum::default();
    prior.code(&mut codes, None, quality, true, &mut sum)?;
    Ok(sum.0)
}

/// What is known about the codes of a tile, `(height, width, variables)`.
#[derive(Debug)]
pub struct Lengths {
    /// The lengths in 2^-16 bit of one below each code, of itself and of one above it.
    pub around: Vec<[i32; 3]>,
    /// What the lengths of all other codes change by with each code, in bits.
    pub gradient: Field,
}

/// The lengths of a tile's codes by a prior over numbers, which does not adapt.
pub fn lengths(prior: &ContextPrior, codes: &CodeGrid, quality: u8) -> Result<Lengths> {
    let [variables, height, width] = codes.shape();
    let features = prior.features(codes, None)?;
    let slices = prior.slices().iter().enumerate();
    let steps = slices.flat_map(|(index, slice)| {
        let steps = slice.steps.iter().enumerate();
        // narrow tiles have no position for some
        let used = steps.filter(|(_, step)| step.pattern.positions(height, width).next().is_some());
        used.map(move |(step, _)| (index, step))
    });
    let steps: Vec<_> = steps.collect();
    let of_step = |place: (usize, usize)| {
        let trace = prior.trace(&features, quality, place)?;
        let (around, slopes) = price(prior, codes, place, &trace)?;
        Ok((place, around, prior.step_gradient(place, &trace, slopes)?))
    };
    let mut around = vec![[0; 3]; variables * height * width];
    let values = vec![0.0; around.len()];
    let mut gradient = Field { height, width, channels: variables, values };
    for ((index, step), found, inputs) in
        steps.into_par_iter().map(of_step).collect::<Result<Vec<_>>>()?
    {
        let slice = &prior.slices()[index];
        let positions = slice.steps[step].pattern.positions(height, width);
        for ((y, x), found) in positions.zip(found.chunks_exact(slice.variables.len())) {
            around[(y * width + x) * variables..][slice.variables.clone()].copy_from_slice(found);
        }
        prior.add_step_gradient((index, step), &inputs, &mut gradient);
    }
    Ok(Lengths { around, gradient })
}

/// The lengths around the codes of a step, and the slopes of their own lengths with each output.
fn price(
    prior: &ContextPrior,
    codes: &CodeGrid,
    (slice, step): (usize, usize),
    trace: &StepTrace,
) -> Result<(Vec<[i32; 3]>, Vec<f32>)> {
    let [_, height, width] = codes.shape();
    let slice = &prior.slices()[slice];
    let mut around = Vec::with_capacity(trace.outputs.len() / 2);
    let mut slopes = vec![0.0; trace.outputs.len()];
    let positions = slice.steps[step].pattern.positions(height, width);
    let vectors = trace.outputs.chunks_exact(trace.columns);
    for ((y, x), (outputs, slopes)) in
        positions.zip(vectors.zip(slopes.chunks_exact_mut(trace.columns)))
    {
        let (means, classes) = outputs.split_at(trace.columns / 2);
        for (index, variable) in slice.variables.clone().enumerate() {
            let logistic = Logistic::new(means[index], classes[index]);
            let code = codes.at(variable, y, x);
            let [below, own, above] =
                [code - 1, code, code + 1].map(|code| length(&logistic, code));
            around.push([below?, own?, above?]);
            [slopes[index], slopes[means.len() + index]] = logistic.slopes(code);
        }
    }
    Ok((around, slopes))
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
