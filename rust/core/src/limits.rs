//! What this implementation is willing to handle, as opposed to what the format can express.

use crate::error::{Error, Result};

/// Upper bounds that are checked before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of a picture (width x height). The default is where Pillow refuses, too.
    pub max_pixels: u64,
    /// Pixels of the longer side.
    pub max_side: u32,
    /// Tiles over all levels: one rate-coded payload each.
    pub max_tiles: u64,
    /// Codes of one level (variables x height x width), and features of one tile. While a level is
    /// read, a code takes 8 bytes of memory (in its tile, then in the grid) and a feature 2.
    pub max_codes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 178_956_970, max_side: 1 << 20, max_tiles: 1 << 20, max_codes: 1 << 28 }
    }
}

impl Limits {
    /// Default limits with another bound on the number of pixels.
    pub fn with_max_pixels(max_pixels: u64) -> Self {
        Self { max_pixels, ..Self::default() }
    }

    /// Checks the size of a picture in pixels.
    pub fn check_picture(&self, width: u32, height: u32) -> Result<()> {
        let side = width.max(height).into();
        within("pixels on the longer side", side, self.max_side.into())?;
        within("pixels", u64::from(width) * u64::from(height), self.max_pixels)
    }

    /// Checks the number of tiles of all levels together.
    pub fn check_tiles(&self, tiles: u64) -> Result<()> {
        within("tiles", tiles, self.max_tiles)
    }

    /// Checks the size of one level's codes.
    pub fn check_codes(&self, [variables, height, width]: [usize; 3]) -> Result<()> {
        within("codes", product([variables, height, width]), self.max_codes)
    }

    /// Checks the size of the features of one tile: a file may choose its tiles, but not how much
    /// memory they take.
    pub fn check_features(&self, [channels, height, width]: [usize; 3]) -> Result<()> {
        within("features of a tile", product([channels, height, width]), self.max_codes)
    }
}

/// A number of elements that is rejected rather than overflowing.
fn product(shape: [usize; 3]) -> u64 {
    shape.iter().fold(1, |product: u64, &size| product.saturating_mul(size as u64))
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<()> {
    if value > limit { Err(Error::OverLimit { what, value, limit }) } else { Ok(()) }
}
