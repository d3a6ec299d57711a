//! Codes drawn at random from a model's prior: what it takes pictures to be like.

use crate::codes::CodeGrid;
use crate::distribution::{Distribution, TOTAL};
use crate::entropy::SymbolCoder;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::Model;
use crate::prior::Prior;
use crate::stream::{check_limits, coarse_features, codes_header};

/// Draws the codes, coarse to fine, of a picture of `[height, width]` pixels at a quality position. The
/// same `seed` gives the same codes on every machine. Scales do not adapt: they would follow their own draws.
pub fn sample(
    model: &Model,
    quality: u8,
    [height, width]: [u32; 2],
    seed: u64,
) -> Result<Vec<CodeGrid>> {
    if quality > model.max_quality() || height == 0 || width == 0 {
        let asked = format!("{width}x{height} pixels at quality position {quality}");
        return Err(Error::InvalidInput(format!("there are no pictures of {asked}")));
    }
    let header = codes_header(model, quality, [height, width]);
    check_limits(model, &header, &Limits::default())?;
    let mut random = Sampler(seed);
    let mut grids: Vec<CodeGrid> = Vec::new();
    for (&level, (_, prior)) in header.levels.iter().zip(model.levels()) {
        let (rows, columns) = header.grid(level);
        let mut codes = CodeGrid::zeros([prior.variables(), rows, columns]);
        for tile in header.tiles(level) {
            let coarse = coarse_features(model, grids.last(), tile)?;
            let mut drawn = CodeGrid::zeros([prior.variables(), tile.height, tile.width]);
            prior.code(&mut drawn, coarse.as_ref(), quality, false, &mut random)?;
            codes.set_tile(tile, &drawn);
        }
        grids.push(codes);
    }
    Ok(grids)
}

/// "Decodes" what it draws: SplitMix64 (Steele et al. 2014).
struct Sampler(u64);

impl SymbolCoder for Sampler {
    fn code(&mut self, _: i32, distribution: &impl Distribution) -> Result<i32> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let quantile = (mixed ^ (mixed >> 31)) % u64::from(TOTAL); // a power of two
        Ok(distribution.find(quantile as u32).0)
    }
}
