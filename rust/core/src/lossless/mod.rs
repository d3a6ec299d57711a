//! Lossless coding of the samples of one tile.

mod binary;
mod channel;
mod contexts;
mod counters;
mod experts;
mod history;
mod instructions;
mod least_squares;
mod mixer;
mod planes;
mod predictors;
mod raw;
mod tables;
mod tile;
mod walk;

use crate::error::{Error, Result};
use crate::kernels::Kernel;

/// Size and kind of a tile's samples, which lie `(height, width, channels)` in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Pixels in a row, 1 or more.
    pub width: u32,
    /// Rows, 1 or more.
    pub height: u32,
    /// 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    pub channels: u8,
    /// Bits of a sample, 1 to 16.
    pub bits: u8,
}

/// Most pixels of a tile: 2^24.
pub const MAX_PIXELS: u64 = 1 << 24;

/// First byte of a tile: what follows.
const RAW: u8 = 0;
const MIXED: u8 = 1;

impl Shape {
    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.pixels() * usize::from(self.channels)
    }

    fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }

    fn check(&self) -> Result<()> {
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels == 0 || !(1..=4).contains(&self.channels) || !(1..=16).contains(&self.bits) {
            return Err(Error::InvalidInput(format!("no tile has the shape {self:?}")));
        }
        if pixels > MAX_PIXELS {
            let what = "pixels of a lossless tile";
            return Err(Error::OverLimit { what, value: pixels, limit: MAX_PIXELS });
        }
        Ok(())
    }
}

/// Encodes the samples of a tile, each below `2^bits`.
pub fn encode_tile(samples: &[u16], shape: &Shape) -> Result<Vec<u8>> {
    shape.check()?;
    let max = u32::from(u16::MAX) >> (16 - shape.bits);
    if samples.len() != shape.samples() || samples.iter().any(|&sample| u32::from(sample) > max) {
        return Err(Error::InvalidInput(format!("these samples are not those of {shape:?}")));
    }
    let mixed = tile::encode(samples, shape, Kernel::select()?);
    Ok(if mixed.len() < raw::length(shape) {
        [&[MIXED], &mixed[..]].concat()
    } else {
        [&[RAW], &raw::encode(samples, shape)[..]].concat()
    })
}

/// Decodes the samples of a tile. Damage is an error, or else shows in the samples.
pub fn decode_tile(bytes: &[u8], shape: &Shape) -> Result<Vec<u16>> {
    shape.check()?;
    match bytes.split_first() {
        None => Err(Error::Truncated { what: "lossless tile" }),
        Some((&RAW, samples)) => raw::decode(samples, shape),
        Some((&MIXED, channels)) => tile::decode(channels, shape, Kernel::select()?),
        Some(_) => Err(Error::Corrupted { what: "unknown mode of a lossless tile" }),
    }
}
