//! How well predictions did nearby: it blends them and tells calm from busy places.

use super::least_squares::quotient;
use super::predictors::{PREDICTIONS, Predictions};
use super::tables::{INVERSE_SQUARES, OCTAVES, octaves};

/// Magnitudes of the errors of all predictions and, in the last place, of their blend.
type Errors = [i32; 8];

const BORDER: usize = 2;

/// Errors of the current row and the one above.
pub struct History {
    rows: [Vec<Errors>; 3],
}

/// Weighted sums of the errors at the six nearest neighbours; the weights' sum is 8.
#[derive(Clone, Copy)]
pub struct Nearby(Errors);

impl History {
    /// No errors yet, in rows of `width`.
    pub fn new(width: usize) -> Self {
        Self { rows: [0; 3].map(|_| vec![[0; 8]; width + 2 * BORDER]) }
    }

    /// Errors around the sample at column `x`.
    #[inline(always)]
    pub fn near(&self, x: usize) -> Nearby {
        let [current, above, higher] = &self.rows;
        let (w, ww) = (&current[x + BORDER - 1], &current[x + BORDER - 2]);
        let (nw, n, ne) = (&above[x + BORDER - 1], &above[x + BORDER], &above[x + BORDER + 1]);
        let nn = &higher[x + BORDER];
        let mut nearby = [0; 8];
        for (i, sum) in nearby.iter_mut().enumerate() {
            *sum = 2 * (w[i] + n[i]) + nw[i] + ne[i] + ww[i] + nn[i];
        }
        Nearby(nearby)
    }

    /// Records the errors of `sample`'s predictions and their blend (all with the same fraction).
    #[inline(always)]
    pub fn record(&mut self, x: usize, predictions: &Predictions, sample: i32) {
        let errors = &mut self.rows[0][x + BORDER];
        for (error, prediction) in errors.iter_mut().zip(predictions) {
            *error = (sample - prediction).abs();
        }
    }

    /// Records that a sample was known without predictions.
    #[inline(always)]
    pub fn record_known(&mut self, x: usize) {
        self.rows[0][x + BORDER] = [0; 8];
    }

    /// Begins the next row.
    pub fn next_row(&mut self) {
        self.rows.rotate_right(1);
    }
}

impl Nearby {
    /// The mean of the predictions, each with the inverse of its squared error as its weight.
    #[inline(always)]
    pub fn blend(&self, predictions: &Predictions) -> i32 {
        let (mut sum, mut total) = (0, 0);
        for (&prediction, &error) in predictions[..PREDICTIONS].iter().zip(&self.0) {
            let index = octaves(error as u32 + 4) as usize;
            let weight = i64::from(INVERSE_SQUARES[index.min(OCTAVES - 1)]) + 1;
            sum += weight * i64::from(prediction);
            total += weight;
        }
        quotient(sum + total / 2, total) as i32
    }

    /// The sum for the blend: 128 for each value of the sample that its error is on average.
    #[inline(always)]
    pub fn energy(&self) -> u32 {
        self.0[7] as u32
    }
}
