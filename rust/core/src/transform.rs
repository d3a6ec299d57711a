//! The networks between pixels and codes, in exact integers.
//!
//! ```text
//! analysis:  pixels -> trunk -> out (+ skip from the pixels) -> gain -> quantiser -> codes
//! synthesis: codes -> quantiser -> gain -> trunk -> out (+ skip from the values) -> pixels
//! ```
//! Pictures go through in windows of bounded memory that overlap by all that the networks see, so
//! the result is that of the whole picture; rows of a window are computed on several threads.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::codes::{CodeGrid, Tile, tiles};
use crate::conv::{Conv, Grid, Scratch};
use crate::error::Result;
use crate::gain::{GAIN_BITS, Gain};
use crate::gradient::Backward;
use crate::kernels::Kernel;
use crate::quantizer::{Quantizer, VALUE_BITS};
use crate::shapes::{check_analysis, check_synthesis};
use crate::trunk::{Op, activation, reach, run};

/// Positions along a window's side, without its margins.
pub const CORE: usize = 128;

/// Fractional bits of the pixels that the synthesis gives.
pub(crate) const PIXEL_BITS: u32 = 6;

/// Colours of a pixel.
pub const COLOURS: usize = 3;

/// From pixels to latents.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Steps from pixels, `2 p - 255`, to activations.
    pub trunk: Vec<Op>,
    /// The last step.
    pub out: Conv,
    /// What is added to it: a linear map of patches of pixels.
    pub skip: Option<Conv>,
    /// From latents to multiples of the quantiser's step.
    pub gain: Gain,
}

/// From values to pixels.
#[derive(Debug, Clone)]
pub struct Synthesis {
    /// From values to the trunk's activations.
    pub gain: Gain,
    /// Steps between activations.
    pub trunk: Vec<Op>,
    /// The last step.
    pub out: Conv,
    /// What is added to it: a linear map to patches of pixels, and its own gain.
    pub skip: Option<(Gain, Conv)>,
}

impl Analysis {
    /// Positions on each side of one that its codes depend on.
    pub(crate) fn margin(&self, stride: usize) -> usize {
        let network = reach(&self.trunk, 1) + self.out.pad() * (stride / self.out.stride);
        network.max(self.skip.as_ref().map_or(0, Conv::pad)).div_ceil(stride)
    }
}

impl Synthesis {
    /// Positions on each side of one that its pixels depend on.
    pub(crate) fn margin(&self, stride: usize) -> usize {
        let network = reach(&self.trunk, stride) + self.out.pad() * self.out.fold;
        let skip = self.skip.as_ref().map_or(0, |(_, skip)| skip.pad() * stride);
        network.max(skip).div_ceil(stride)
    }
}

/// Both directions of a model.
#[derive(Debug, Clone)]
pub struct Transform {
    analysis: Analysis,
    pub(crate) synthesis: Synthesis,
    quantizer: Quantizer,
    /// Pixels from one position to the next.
    pub(crate) stride: usize,
    pub(crate) kernel: Kernel,
    /// Made when it is first needed.
    backward: OnceLock<Backward>,
}

impl Transform {
    /// Puts the parts together, if they fit each other and codes of `variables` a position.
    pub fn new(
        analysis: Analysis,
        synthesis: Synthesis,
        quantizer: Quantizer,
        (stride, variables): (usize, usize),
        kernel: Kernel,
    ) -> Result<Self> {
        let channels = variables * quantizer.width();
        check_analysis(&analysis, stride, channels)?;
        check_synthesis(&synthesis, stride, channels)?;
        let backward = OnceLock::new();
        Ok(Self { analysis, synthesis, quantizer, stride, kernel, backward })
    }

    pub(crate) fn with_kernel(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// The way back through the synthesis.
    pub(crate) fn backward(&self) -> Result<&Backward> {
        if let Some(backward) = self.backward.get() {
            return Ok(backward);
        }
        let backward = Backward::new(&self.synthesis)?;
        Ok(self.backward.get_or_init(|| backward))
    }

    /// The codes of `(height, width, 3)` pixels at a quality position. Parallel iterators inside
    /// run in the caller's thread pool; the picture is continued by its last row and column.
    pub fn analyze(&self, pixels: &[u8], height: usize, width: usize, quality: u8) -> CodeGrid {
        let (rows, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let variables = self.analysis.gain.channels() / self.quantizer.width();
        let mut codes = CodeGrid::zeros([variables, rows, columns]);
        let margin = self.analysis.margin(self.stride);
        for core in tiles(rows, columns, CORE) {
            let region = grow(core, margin, rows, columns);
            let found = self.analyze_window(pixels, (height, width), core, region, quality);
            codes.set_tile(core, &found);
        }
        codes
    }

    fn analyze_window(
        &self,
        pixels: &[u8],
        size: (usize, usize),
        core: Tile,
        region: Tile,
        quality: u8,
    ) -> CodeGrid {
        let Self { analysis, quantizer, kernel, .. } = self;
        let grid = centred(pixels, size, region, self.stride);
        let trunk = run(&analysis.trunk, *kernel, &grid, quality);
        let gains = analysis.gain.at(quality);
        let channels = gains.len();
        let variables = channels / quantizer.width();
        let mut codes = vec![0; core.height * core.width * variables];
        let rows = codes.par_chunks_mut(core.width * variables).enumerate();
        rows.for_each_init(Scratch::default, |scratch, (y, row)| {
            let y = y + core.y - region.y;
            let mut sums = vec![0; region.width * channels];
            analysis.out.add_row(*kernel, &trunk, y, &mut sums, scratch);
            if let Some(skip) = &analysis.skip {
                skip.add_row(*kernel, &grid, y, &mut sums, scratch);
            }
            let sums = sums.chunks_exact(channels).skip(core.x - region.x);
            let mut latents = vec![0; channels];
            for (codes, sums) in row.chunks_exact_mut(variables).zip(sums) {
                for ((latent, &sum), gain) in latents.iter_mut().zip(sums).zip(&gains) {
                    *latent = i64::from(sum) * gain;
                }
                quantizer.quantize(&latents, GAIN_BITS + VALUE_BITS, codes);
            }
        });
        CodeGrid::from_positions([variables, core.height, core.width], &codes)
    }

    /// Mirror of `analyze`: `(height, width, 3)` pixels of codes.
    pub fn synthesize(
        &self,
        codes: &CodeGrid,
        height: usize,
        width: usize,
        quality: u8,
    ) -> Result<Vec<u8>> {
        let [_, rows, columns] = codes.shape();
        let mut pixels = vec![0; height * width * COLOURS];
        let margin = self.synthesis.margin(self.stride);
        for core in tiles(rows, columns, CORE) {
            let region = grow(core, margin, rows, columns);
            self.synthesize_window(codes, &mut pixels, width, core, region, quality)?;
        }
        Ok(pixels)
    }

    fn synthesize_window(
        &self,
        codes: &CodeGrid,
        pixels: &mut [u8],
        width: usize,
        core: Tile,
        region: Tile,
        quality: u8,
    ) -> Result<()> {
        let Self { synthesis, kernel, stride, .. } = self;
        let input = self.activations(codes, region, &synthesis.gain, quality)?;
        let skip = synthesis
            .skip
            .as_ref()
            .map(|(gain, conv)| Ok((self.activations(codes, region, gain, quality)?, conv)));
        let skip = skip.transpose()?;
        let trunk = run(&synthesis.trunk, *kernel, &input, quality);
        let fold = synthesis.out.fold;
        let line = region.width * stride * COLOURS;
        let bands = pixels.par_chunks_mut(stride * width * COLOURS).enumerate();
        let bands = bands.skip(core.y).take(core.height);
        bands.for_each_init(Scratch::default, |scratch, (y, band)| {
            let y = y - region.y;
            let mut sums = vec![0; stride * line];
            for (row, sums) in sums.chunks_exact_mut(fold * line).enumerate() {
                synthesis.out.add_row(*kernel, &trunk, y * (stride / fold) + row, sums, scratch);
            }
            if let Some((input, conv)) = &skip {
                conv.add_row(*kernel, input, y, &mut sums, scratch);
            }
            let left = core.x * stride * COLOURS;
            for (row, sums) in band.chunks_exact_mut(width * COLOURS).zip(sums.chunks_exact(line)) {
                let row = &mut row[left..];
                let count = row.len().min(core.width * stride * COLOURS);
                let sums = &sums[(core.x - region.x) * stride * COLOURS..];
                for (pixel, &sum) in row[..count].iter_mut().zip(sums) {
                    *pixel = (sum.saturating_add(1 << (PIXEL_BITS - 1)) >> PIXEL_BITS).clamp(0, 255)
                        as u8;
                }
            }
        });
        Ok(())
    }

    /// The values of the codes of a region, times the gain of their channel.
    pub(crate) fn activations(
        &self,
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
                self.quantizer.values(&position, &mut values)?;
                for ((number, value), gain) in activations.iter_mut().zip(&values).zip(&gains) {
                    *number = activation(value * gain);
                }
            }
            Ok(())
        })?;
        Ok(grid)
    }
}

/// The pixels of a region of positions as `2 p - 255`; outside of the picture those at its edge.
fn centred(pixels: &[u8], (height, width): (usize, usize), region: Tile, stride: usize) -> Grid {
    let mut grid = Grid::zeros(region.height * stride, region.width * stride, COLOURS);
    let (top, left) = (region.y * stride, region.x * stride);
    let line = grid.width * COLOURS;
    grid.values.par_chunks_exact_mut(line).enumerate().for_each(|(y, row)| {
        let source = &pixels[(top + y).min(height - 1) * width * COLOURS..][..width * COLOURS];
        for (x, target) in row.chunks_exact_mut(COLOURS).enumerate() {
            let pixel = &source[(left + x).min(width - 1) * COLOURS..][..COLOURS];
            for (number, &colour) in target.iter_mut().zip(pixel) {
                *number = 2 * i16::from(colour) - 255;
            }
        }
    });
    grid
}

/// A rectangle with a margin around it, inside a grid of `rows x columns`.
pub(crate) fn grow(core: Tile, margin: usize, rows: usize, columns: usize) -> Tile {
    let (y, x) = (core.y.saturating_sub(margin), core.x.saturating_sub(margin));
    let bottom = (core.y + core.height + margin).min(rows);
    let right = (core.x + core.width + margin).min(columns);
    Tile { y, x, height: bottom - y, width: right - x }
}
