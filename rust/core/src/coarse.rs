//! The coarse level of a transform: few codes that foretell the fine level's latents.
//!
//! ```text
//! analysis:  trunk -> coarse head -> coarse codes -> prediction; fine latents - prediction -> fine codes
//! synthesis: fine values + prediction of the coarse codes -> the networks of the synthesis
//! ```
//! A coarse position covers 2x2 fine ones and depends on nothing else. Without the fine codes the
//! prediction alone gives the coarse picture.

use crate::codes::{CodeGrid, Tile};
use crate::conv::{Conv, Grid, LIMIT};
use crate::error::Result;
use crate::gain::Gain;
use crate::kernels::Kernel;
use crate::latents::{Head, Window, activations};
use crate::quantizer::Quantizer;

/// Base-2 logarithms of the unit of latents (2^-12) in those of the activations that the synthesis
/// skip and the synthesis trunk see (2^-7 and 2^-9).
const SKIP_SHIFT: u32 = 5;
const TRUNK_SHIFT: u32 = 3;

/// What a coarse level adds to both networks.
#[derive(Debug, Clone)]
pub struct Coarse {
    /// From the analysis trunk to coarse latents.
    pub head: Head,
    /// Between these and the coarse codes.
    pub quantizer: Quantizer,
    /// From the values of coarse codes to activations.
    pub gain: Gain,
    /// From these to what is added to the fine level's activations for the synthesis trunk.
    pub up: Conv,
    /// The same for the synthesis skip, where there is one.
    pub skip_up: Option<Conv>,
}

/// What coarse codes foretell of the fine level's activations.
#[derive(Debug)]
pub struct Prediction {
    /// For the synthesis trunk.
    trunk: Grid,
    /// For the synthesis skip.
    skip: Option<Grid>,
}

impl Coarse {
    /// Codes of a position.
    pub fn variables(&self) -> usize {
        self.gain.channels() / self.quantizer.width()
    }

    /// The codes of the coarse positions `inner` of a window.
    pub fn codes(&self, window: &Window, inner: Tile) -> CodeGrid {
        self.head.codes(&self.quantizer, window, inner, None)
    }

    /// What the codes of a region foretell of the fine positions that it covers.
    pub fn predict(
        &self,
        codes: &CodeGrid,
        region: Tile,
        quality: u8,
        kernel: Kernel,
    ) -> Result<Prediction> {
        let input = activations(&self.quantizer, codes, region, &self.gain, quality)?;
        let up = |conv: &Conv| conv.apply(kernel, &input, false);
        Ok(Prediction { trunk: up(&self.up), skip: self.skip_up.as_ref().map(up) })
    }
}

impl Prediction {
    /// The foretold latents of a position, in 2^-12.
    pub fn latents(&self, y: usize, x: usize) -> impl Iterator<Item = i64> {
        let (grid, shift) = match &self.skip {
            Some(skip) => (skip, SKIP_SHIFT),
            None => (&self.trunk, TRUNK_SHIFT),
        };
        let latents = &grid.values[(y * grid.width + x) * grid.channels..][..grid.channels];
        latents.iter().map(move |&latent| i64::from(latent) << shift)
    }

    /// Adds what is foretold to the activations for the synthesis trunk.
    pub fn add_to_trunk(&self, activations: &mut Grid) {
        add(activations, &self.trunk);
    }

    /// The same for the synthesis skip.
    pub fn add_to_skip(&self, activations: &mut Grid) {
        if let Some(skip) = &self.skip {
            add(activations, skip);
        }
    }
}

/// Adds a grid to another one, which may end sooner below and on the right.
fn add(target: &mut Grid, foretold: &Grid) {
    let rows = target.values.chunks_exact_mut(target.width * target.channels);
    let foretold = foretold.values.chunks_exact(foretold.width * foretold.channels);
    for (row, foretold) in rows.zip(foretold) {
        for (activation, &foretold) in row.iter_mut().zip(foretold) {
            let sum = i32::from(*activation) + i32::from(foretold);
            *activation = sum.clamp(-LIMIT, LIMIT) as i16;
        }
    }
}
