//! Between latents and codes: the integer grid, or learned codebooks.

use crate::error::{Error, Result};

/// Fractional bits of a value: what a code stands for before the synthesis gain.
pub const VALUE_BITS: u32 = 8;

/// Largest magnitude of a code of the grid, and of a symbol of one that counts from its mean.
pub const CODE_LIMIT: i32 = 16383;

const LIMIT: i64 = CODE_LIMIT as i64;

/// What turns latents into codes, and codes into values.
#[derive(Debug, Clone)]
pub enum Quantizer {
    /// A code is a number: a latent rounded to the nearest integer, half upwards.
    Grid,
    /// A code is a value: a latent in 1/256, from which the prior makes one that counts from its mean
    /// ([`centred`](crate::centred)).
    Centred,
    /// A code is the index of the nearest of `size` vectors of `width` channels, one codebook for
    /// each group of channels; a vector's price counts as squared distance.
    Codebook {
        /// Vectors of a codebook.
        size: usize,
        /// Channels of a vector.
        width: usize,
        /// `(groups, size, width)` values.
        table: Vec<i16>,
        /// `(groups, size)` prices, in squares of a value.
        prices: Vec<i32>,
    },
}

impl Quantizer {
    /// Channels of a latent for each code.
    pub fn width(&self) -> usize {
        match self {
            Self::Grid | Self::Centred => 1,
            Self::Codebook { width, .. } => *width,
        }
    }

    /// The codes of the latents of one position; `latents` have `bits` fractional ones.
    ///
    /// On the grid that does not count from means, latents first go towards zero by up to `dead_zone` / 256, which makes codes
    /// cheaper; codebooks have no zero.
    pub fn quantize(&self, latents: &[i64], bits: u32, dead_zone: u8, codes: &mut [i32]) {
        match self {
            Self::Grid => {
                let dead_zone = i64::from(dead_zone) << (bits - 8);
                for (&latent, code) in latents.iter().zip(codes) {
                    let latent = latent - latent.clamp(-dead_zone, dead_zone);
                    let nearest = (latent + ((1 << bits) >> 1)) >> bits;
                    *code = nearest.clamp(-LIMIT, LIMIT) as i32;
                }
            }
            Self::Centred => {
                let bits = bits - VALUE_BITS;
                for (&latent, code) in latents.iter().zip(codes) {
                    let nearest = (latent + ((1 << bits) >> 1)) >> bits;
                    *code = nearest.clamp(-LIMIT << VALUE_BITS, LIMIT << VALUE_BITS) as i32;
                }
            }
            Self::Codebook { size, width, table, prices } => {
                let bits = bits - VALUE_BITS;
                let books = table.chunks_exact(size * width).zip(prices.chunks_exact(*size));
                for ((latent, book), code) in latents.chunks_exact(*width).zip(books).zip(codes) {
                    *code = nearest(latent, book, bits) as i32;
                }
            }
        }
    }

    /// Mirror of `quantize`: the values of the codes of one position.
    pub fn values(&self, codes: &[i32], values: &mut [i64]) -> Result<()> {
        match self {
            Self::Grid => {
                for (&code, value) in codes.iter().zip(values) {
                    *value = i64::from(code) << VALUE_BITS;
                }
            }
            Self::Centred => {
                codes.iter().zip(values).for_each(|(&code, value)| *value = code.into());
            }
            Self::Codebook { size, width, table, .. } => {
                let books = table.chunks_exact(size * width);
                for ((&code, book), values) in
                    codes.iter().zip(books).zip(values.chunks_exact_mut(*width))
                {
                    let code = usize::try_from(code).ok().filter(|code| code < size);
                    let code = code.ok_or(Error::Corrupted { what: "a code has no vector" })?;
                    for (value, &entry) in values.iter_mut().zip(&book[code * width..]) {
                        *value = entry.into();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Index of the first of the vectors of `book` that are nearest to a latent, prices included.
fn nearest(latent: &[i64], (book, prices): (&[i16], &[i32]), bits: u32) -> usize {
    let distance = |vector: &[i16]| -> i64 {
        latent.iter().zip(vector).fold(0, |sum, (&latent, &entry)| {
            // far beyond any vector, and small enough that the square of it is no danger
            let latent = (latent >> bits).clamp(-(1 << 24), 1 << 24);
            sum + (latent - i64::from(entry)).pow(2)
        })
    };
    let vectors = book.chunks_exact(latent.len()).zip(prices);
    let distances = vectors.map(|(vector, &price)| distance(vector) + i64::from(price));
    distances.enumerate().min_by_key(|&(_, distance)| distance).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_dead_zone_rounds_towards_zero(latent in -(1_i64 << 30)..1 << 30, dead_zone: u8) {
            let code = |dead_zone| {
                let mut codes = [0];
                Quantizer::Grid.quantize(&[latent], 16, dead_zone, &mut codes);
                i64::from(codes[0])
            };
            let (plain, shrunk) = (code(0), code(dead_zone));
            prop_assert!((2 * (plain << 16) - 2 * latent).abs() <= 1 << 16 || plain.abs() == LIMIT);
            prop_assert!(shrunk.abs() <= plain.abs() && plain.abs() <= shrunk.abs() + 1);
            if latent.abs() < (1 << 15) + (i64::from(dead_zone) << 8) {
                prop_assert_eq!(shrunk, 0);
            }
        }
    }
}
