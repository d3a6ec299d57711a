//! Where codes meet the networks: latents to codes, and codes to activations.

use rayon::prelude::*;

use crate::coarse::Prediction;
use crate::codes::{CodeGrid, Tile};
use crate::conv::{Conv, Grid, Scratch};
use crate::error::Result;
use crate::gain::{GAIN_BITS, Gain};
use crate::kernels::Kernel;
use crate::quantizer::{Quantizer, VALUE_BITS};
use crate::trunk::activation;

/// From the activations of the analysis trunk to the latents of a level.
#[derive(Debug, Clone)]
pub struct Head {
    /// The last step.
    pub out: Conv,
    /// What is added to it: a linear map of patches of pixels.
    pub skip: Option<Conv>,
    /// From latents to multiples of the quantiser's step.
    pub gain: Gain,
}

/// A part of a picture on its way through the analysis.
#[derive(Debug)]
pub struct Window {
    /// Its pixels, `2 p - 255`.
    pub pixels: Grid,
    /// What the trunk makes of them.
    pub trunk: Grid,
    /// The quality position.
    pub quality: u8,
    /// How far latents go towards zero before they are rounded, in 1/256.
    pub dead_zone: u8,
    /// The kernel to run on.
    pub kernel: Kernel,
}

impl Head {
    /// The codes of the positions `inner` of a window, what is left of latents that were foretold for
    /// these positions; see [`Quantizer::quantize`] for the dead zone.
    pub fn codes(
        &self,
        quantizer: &Quantizer,
        window: &Window,
        inner: Tile,
        prediction: Option<&Prediction>,
    ) -> CodeGrid {
        let gains = self.gain.at(window.quality);
        let (channels, width) = (gains.len(), window.trunk.width / self.out.stride);
        let variables = channels / quantizer.width();
        let mut codes = vec![0; inner.height * inner.width * variables];
        let rows = codes.par_chunks_mut(inner.width * variables).enumerate();
        rows.for_each_init(Scratch::default, |scratch, (y, row)| {
            let mut sums = vec![0; width * channels];
            self.out.add_rows(
                window.kernel,
                &window.trunk,
                inner.y + y..inner.y + y + 1,
                &mut sums,
                scratch,
            );
            if let Some(skip) = &self.skip {
                skip.add_rows(
                    window.kernel,
                    &window.pixels,
                    inner.y + y..inner.y + y + 1,
                    &mut sums,
                    scratch,
                );
            }
            let sums = sums.chunks_exact(channels).skip(inner.x);
            let mut latents = vec![0; channels];
            for (x, (codes, sums)) in row.chunks_exact_mut(variables).zip(sums).enumerate() {
                for ((latent, &sum), gain) in latents.iter_mut().zip(sums).zip(&gains) {
                    *latent = i64::from(sum) * gain;
                }
                if let Some(prediction) = prediction {
                    let foretold = prediction.latents(y, x);
                    for ((latent, foretold), gain) in latents.iter_mut().zip(foretold).zip(&gains) {
                        *latent -= foretold * gain;
                    }
                }
                quantizer.quantize(&latents, GAIN_BITS + VALUE_BITS, window.dead_zone, codes);
            }
        });
        CodeGrid::from_positions([variables, inner.height, inner.width], &codes)
    }
}

/// The values of the codes of a region, times the gain of their channel.
pub fn activations(
    quantizer: &Quantizer,
    codes: &CodeGrid,
    region: Tile,
    gain: &Gain,
    quality: u8,
) -> Result<Grid> {
    let gains = gain.at(quality);
    let mut grid = Grid::zeros(region.height, region.width, gains.len());
    let rows = grid.values.par_chunks_exact_mut(region.width * gains.len()).enumerate();
    rows.try_for_each(|(y, row)| {
        let mut position = vec![0; codes.shape()[0]];
        let mut values = vec![0; gains.len()];
        for (x, activations) in row.chunks_exact_mut(gains.len()).enumerate() {
            for (variable, code) in position.iter_mut().enumerate() {
                *code = codes.at(variable, region.y + y, region.x + x);
            }
            quantizer.values(&position, &mut values)?;
            for ((number, value), gain) in activations.iter_mut().zip(&values).zip(&gains) {
                *number = activation(value * gain);
            }
        }
        Ok(())
    })?;
    Ok(grid)
}
