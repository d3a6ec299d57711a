//! Biases of a head that follow the picture at hand: after each sample they move to where it would have been shorter.

use super::mixture::Mixture;

/// Fractional bits of a bias, in units of the outputs.
const BIAS_BITS: u32 = 16;

/// Largest magnitude of a bias.
const MAX_BIAS: i32 = 1 << 30;

/// The biases of a colour, and its outputs with them.
#[derive(Debug, Clone)]
pub struct Following {
    biases: Vec<i32>,
    outputs: Vec<i32>,
}

impl Following {
    /// Biases of 0 for so many outputs.
    pub fn new(outputs: usize) -> Self {
        Self { biases: vec![0; outputs], outputs: vec![0; outputs] }
    }

    /// A head's outputs, with the biases added.
    pub fn add(&mut self, outputs: &[i32]) -> &[i32] {
        for ((sum, output), bias) in self.outputs.iter_mut().zip(outputs).zip(&self.biases) {
            *sum = output.saturating_add(bias >> BIAS_BITS);
        }
        &self.outputs
    }

    /// Moves the biases by what a sample says of the distribution that they had led to. Outputs are log2 weights
    /// and means in 1/256, scales in 1/16 octave: rates of 1/8 octave, 1/64 grey level and 1/64 octave.
    pub fn learn(&mut self, mixture: &Mixture, sample: u8) {
        let parts = self.biases.len() / 3;
        for (part, ascent) in mixture.ascents(sample).enumerate() {
            let steps = [ascent.weight << 6, ascent.mean << 3, ascent.scale >> 1];
            for (kind, step) in steps.into_iter().enumerate() {
                let bias = &mut self.biases[kind * parts + part];
                let moved = i64::from(*bias) + i64::from(step);
                *bias = moved.clamp((-MAX_BIAS).into(), MAX_BIAS.into()) as i32;
            }
        }
    }
}
