//! Gains: one positive factor per channel, which depends on the quality (gained VAE, Cui et al. 2021).

use crate::error::{Error, Result};
use crate::network::interpolate;

/// Fractional bits of a gain.
pub const GAIN_BITS: u32 = 16;

/// Largest magnitude of a base-2 logarithm of a gain, in octaves.
const MAX_OCTAVES: i32 = 14;

/// A table of `(levels, channels)` base-2 logarithms of gains, in 2^-16 octaves.
#[derive(Debug, Clone)]
pub struct Gain {
    channels: usize,
    log2: Vec<i32>,
}

impl Gain {
    /// Takes a table of gains within 14 octaves around 1; `name` is for the error message only.
    pub fn new(name: &str, channels: usize, log2: Vec<i32>) -> Result<Self> {
        let bound = MAX_OCTAVES << 16;
        match log2.iter().find(|log2| !(-bound..=bound).contains(log2)) {
            Some(_) => Err(Error::InvalidModel(format!("{name}: a gain is above 2^{MAX_OCTAVES}"))),
            None => Ok(Self { channels, log2 }),
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The gains at a `quality` position in 2^-16, one per channel: geometric between the levels.
    pub fn at(&self, quality: u8) -> Vec<i64> {
        interpolate(&self.log2, self.channels, quality).into_iter().map(exp2).collect()
    }
}

/// `2^(log2 / 65536)` in 2^-16, to 1e-6 of itself or half a unit: a polynomial around half an octave.
fn exp2(log2: i32) -> i64 {
    /// `round(2^30 sqrt(2) ln(2)^k / k!)`
    const TAYLOR: [i64; 7] =
        [1518500250, 1052544167, 364784011, 84283003, 14605131, 2024701, 233903];
    let (octave, fraction) = (log2 >> 16, i64::from(log2 & 0xffff) - 0x8000);
    let mantissa = TAYLOR.iter().rev().fold(0, |sum, term| term + ((sum * fraction) >> 16));
    let shift = 30 - GAIN_BITS as i32 - octave; // 0..=28 for a gain within 14 octaves
    (mantissa + ((1 << shift) >> 1)) >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_powers_of_two() {
        for log2 in (-14 << 16..=14 << 16).step_by(977) {
            let exact = (f64::from(log2) / 65536.0).exp2() * 65536.0;
            let error = (exp2(log2) as f64 - exact).abs();
            assert!(error <= 0.5 + exact * 1e-6, "2^{log2}: {} not {exact}", exp2(log2));
        }
        assert_eq!(exp2(0), 65536);
    }

    #[test]
    fn gains_are_geometric_between_levels() {
        let gain = Gain::new("test", 1, vec![0, 2 << 16]).unwrap();
        assert_eq!([0, 8, 16].map(|quality| gain.at(quality)[0]), [65536, 131072, 262144]);
        assert!(Gain::new("test", 1, vec![15 << 16]).is_err());
    }
}
