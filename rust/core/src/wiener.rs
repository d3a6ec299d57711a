//! How an encoder finds the [filter](crate::filter) of a picture: least squares, of as few weights as pay.
//!
//! The filter of the least squared error needs only second moments: those of its inputs, and of these
//! with what pixels lack. From all weights, the one whose loss costs least is dropped until each is worth its
//! bits. The others are rounded one after the other, those that are left making up for it each time.
//! Moments are integers and the rest takes only sums, products and quotients, so filters are the same
//! on every machine.

use std::{array, mem};

use rayon::prelude::*;

use crate::error::Result;
use crate::filter::{Filter, INPUTS, Inputs, MAX_COARSENESS, MAX_WEIGHT, PIXEL, Unrounded};
use crate::search::Goal;
use crate::transform::COLOURS;

/// Bits that a weight takes, about.
const PRICE: f64 = 5.0;

/// No filter that does anything takes fewer bytes.
const LEAST_BYTES: usize = 6;

/// Every so many rows are looked at.
const ROWS: usize = 2;

/// Fractional bits of pixels that moments do without.
const DROPPED_BITS: u32 = 2;

/// One pixel value in moments.
const UNIT: f64 = (PIXEL >> DROPPED_BITS) as f64;

/// Weights in [`Filter::unit`]s of 1.
const WEIGHT_UNIT: f64 = 256.0;

/// What is added to the moments of an input with itself, as a share.
const RIDGE: f64 = 1e-6;

/// Products of so many numbers below 2^13 and 2^14 add up below 2^31.
const TOGETHER: usize = 8;

/// Second moments of inputs, and of these with what each colour lacks.
#[derive(Debug)]
struct Moments {
    /// Of each input with those up to it: the others are the same.
    inputs: Vec<[i64; INPUTS]>,
    lacking: [[i64; INPUTS]; COLOURS],
}

impl Moments {
    fn zero() -> Self {
        Self { inputs: vec![[0; INPUTS]; INPUTS], lacking: [[0; INPUTS]; COLOURS] }
    }

    fn plus(mut self, other: &Self) -> Self {
        let rows = self.inputs.iter_mut().chain(&mut self.lacking);
        for (row, other) in rows.zip(other.inputs.iter().chain(&other.lacking)) {
            row.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        }
        self
    }

    /// Of a part of a picture: `size` rows and columns of `unrounded` from `inner` on, which are those from
    /// `place` on of the picture that is the goal.
    fn of(
        unrounded: &Unrounded,
        goal: &Goal,
        (inner, place): ([usize; 2], [usize; 2]),
        size: [usize; 2],
    ) -> Self {
        let rows = (0..size[0]).into_par_iter().filter(|y| (place[0] + y).is_multiple_of(ROWS));
        let moments = rows.map(|y| {
            let pixels = &goal.pixels[((place[0] + y) * goal.size[1] + place[1]) * COLOURS..];
            let inputs = unrounded.inputs(inner[0] + y);
            Self::of_row(&inputs, inner[1], &pixels[..size[1] * COLOURS])
        });
        moments.reduce(Self::zero, |sum, row| sum.plus(&row))
    }

    fn of_row(inputs: &Inputs, start: usize, wanted: &[u8]) -> Self {
        let count = wanted.len() / COLOURS;
        let short = |value: i32| (value >> DROPPED_BITS) as i16;
        let seen: Vec<Vec<i16>> = (0..INPUTS)
            .map(|input| inputs.input(input, start, count).iter().map(|&v| short(v)).collect())
            .collect();
        let mut moments = Self::zero();
        for (input, row) in moments.inputs.iter_mut().enumerate() {
            for (moment, second) in row.iter_mut().zip(&seen[..=input]) {
                *moment = product(&seen[input], second);
            }
        }
        for (colour, row) in moments.lacking.iter_mut().enumerate() {
            let wanted = wanted.iter().skip(colour).step_by(COLOURS);
            let shown = inputs.input(1 + colour, start, count);
            let lacking = wanted.zip(shown).map(|(&w, s)| short((i32::from(w) - 128) * PIXEL - s));
            let lacking: Vec<_> = lacking.collect();
            for (moment, seen) in row.iter_mut().zip(&seen) {
                *moment = product(&lacking, seen);
            }
        }
        moments
    }
}

/// The sum of products.
fn product(first: &[i16], second: &[i16]) -> i64 {
    let chunks = first.chunks(TOGETHER).zip(second.chunks(TOGETHER));
    let sums = chunks.map(|(first, second)| {
        first.iter().zip(second).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>()
    });
    sums.map(i64::from).sum()
}

/// Collects moments of the parts of a picture, and finds its filter.
#[derive(Debug)]
pub struct Fit<'a> {
    goal: Goal<'a>,
    moments: Moments,
}

impl<'a> Fit<'a> {
    /// Of a picture of which nothing was seen.
    pub fn new(goal: Goal<'a>) -> Self {
        Self { goal, moments: Moments::zero() }
    }

    /// Sees the part of the picture from `place` on, of `size` rows and columns, that is at `inner`.
    pub fn see(
        &mut self,
        unrounded: &Unrounded,
        inner: [usize; 2],
        place: [usize; 2],
        size: [usize; 2],
    ) {
        let part = Moments::of(unrounded, &self.goal, (inner, place), size);
        self.moments = part.plus(&self.moments);
    }

    /// The filter that saves most, its own bits counted; none where none saves any.
    pub fn filter(&self) -> Result<Option<Filter>> {
        // of a squared error of 1 in moments, over all rows
        let worth = self.goal.weight * ROWS as f64 / (UNIT * UNIT);
        let system = System::of(&self.moments);
        let lacking = self.moments.lacking.map(|row| row.map(|moment| moment as f64));
        let most: f64 = lacking.iter().map(|lacking| worth * system.most(lacking)).sum();
        if most <= 8.0 * LEAST_BYTES as f64 {
            return Ok(None); // as of most small pictures
        }
        let chosen = lacking.map(|lacking| system.chosen(&lacking, worth));
        let (mut best, mut most) = (None, 0.0);
        for coarseness in 0..=MAX_COARSENESS {
            let mut filter = Filter { coarseness, weights: [[0; INPUTS]; COLOURS] };
            let mut saved = 0.0;
            for ((weights, lacking), chosen) in filter.weights.iter_mut().zip(&lacking).zip(&chosen)
            {
                *weights = system.rounded(lacking, chosen, coarseness);
                saved += worth * system.gain(lacking, weights, coarseness);
            }
            let bytes = filter.write()?.len() + 1; // and that of their number
            let saved = saved - 8.0 * bytes as f64;
            if saved > most {
                (best, most) = (Some(filter), saved);
            }
        }
        Ok(best)
    }
}

/// The moments of the inputs.
struct System {
    inputs: Vec<Row>,
}

/// A number for each input.
type Row = [f64; INPUTS];

impl System {
    fn of(moments: &Moments) -> Self {
        let moment = |row: usize, column| moments.inputs[row.max(column)][row.min(column)] as f64;
        let row = |row| array::from_fn(|column| moment(row, column));
        let mut inputs: Vec<Row> = (0..INPUTS).map(row).collect();
        for (index, row) in inputs.iter_mut().enumerate() {
            row[index] += row[index] * RIDGE + 1.0; // some inputs may be 0, or the same
        }
        Self { inputs }
    }

    /// By how much all inputs together, their weights not rounded, lower the squared error of a colour.
    fn most(&self, lacking: &Row) -> f64 {
        let (weights, _) = self.solve(lacking, &array::from_fn::<_, INPUTS, _>(|input| input));
        weights.iter().zip(lacking).map(|(weight, lacking)| weight * lacking).sum()
    }

    /// The inputs that a colour is changed by: without any of them it would cost more than that one's bits.
    fn chosen(&self, lacking: &Row, worth: f64) -> Vec<usize> {
        let mut chosen: Vec<usize> = (0..INPUTS).collect();
        while !chosen.is_empty() {
            let (weights, inverse) = self.solve(lacking, &chosen);
            let loss =
                |index: usize| worth * weights[index] * weights[index] / inverse[index][index];
            let losses = (0..chosen.len()).map(|index| (index, loss(index)));
            let Some((index, loss)) = losses.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
            if loss > PRICE {
                break;
            }
            chosen.remove(index);
        }
        chosen
    }

    /// Weights of a colour in units: those of some inputs, rounded one after the other.
    fn rounded(&self, lacking: &Row, chosen: &[usize], coarseness: u8) -> [i32; INPUTS] {
        let (mut weights, mut lacking) = ([0; INPUTS], *lacking);
        for (index, &input) in chosen.iter().enumerate() {
            let (exact, _) = self.solve(&lacking, &chosen[index..]);
            let unit = f64::from(Filter::unit(coarseness, input)) / WEIGHT_UNIT;
            let most = f64::from(MAX_WEIGHT);
            weights[input] = (exact[0] / unit).round().clamp(-most, most) as i32;
            let weight = f64::from(weights[input]) * unit;
            for (lacking, moment) in lacking.iter_mut().zip(&self.inputs[input]) {
                *lacking -= weight * moment;
            }
        }
        weights
    }

    /// By how much weights lower the squared error of a colour.
    fn gain(&self, lacking: &Row, weights: &[i32; INPUTS], coarseness: u8) -> f64 {
        let weight = |input: usize| {
            f64::from(weights[input] * Filter::unit(coarseness, input)) / WEIGHT_UNIT
        };
        let gains = self.inputs.iter().zip(lacking).enumerate().map(|(input, (row, lacking))| {
            let seen: f64 =
                row.iter().enumerate().map(|(other, moment)| moment * weight(other)).sum();
            weight(input) * (2.0 * lacking - seen)
        });
        gains.sum()
    }

    /// The best weights of some inputs, and the inverse of these inputs' moments.
    fn solve(&self, lacking: &Row, chosen: &[usize]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let moments = chosen
            .iter()
            .map(|&row| chosen.iter().map(|&column| self.inputs[row][column]).collect::<Vec<_>>());
        let inverse = inverse(moments.collect());
        let weights = inverse.iter().map(|row| {
            row.iter().zip(chosen).map(|(number, &input)| number * lacking[input]).sum()
        });
        (weights.collect(), inverse)
    }
}

/// The inverse of a positive definite matrix (Gauss and Jordan, which need no pivots here).
fn inverse(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for pivot in 0..matrix.len() {
        let mut row = mem::take(&mut matrix[pivot]);
        let scale = 1.0 / row[pivot];
        row[pivot] = 1.0;
        row.iter_mut().for_each(|number| *number *= scale);
        for other in matrix.iter_mut().filter(|other| !other.is_empty()) {
            let factor = mem::take(&mut other[pivot]);
            other.iter_mut().zip(&row).for_each(|(number, pivot)| *number -= factor * pivot);
        }
        matrix[pivot] = row;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_of_a_matrix() {
        let matrix = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, -1.0], vec![0.5, -1.0, 2.0]];
        let inverse = inverse(matrix.clone());
        for (y, row) in matrix.iter().enumerate() {
            for x in 0..3 {
                let product: f64 = row.iter().zip(&inverse).map(|(a, row)| a * row[x]).sum();
                assert!((product - if x == y { 1.0 } else { 0.0 }).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn sums_of_products_do_not_overflow() {
        let first = vec![i16::MIN / 4; 1000];
        let second = vec![i16::MIN / 2; 1000];
        assert_eq!(product(&first, &second), 1000 << 27);
    }
}
