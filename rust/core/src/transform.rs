//! The networks between pixels and codes, in exact integers.
//!
//! ```text
//! analysis:  pixels -> trunk -> out (+ skip from the pixels) -> gain -> quantiser -> codes
//! synthesis: codes -> quantiser -> gain -> trunk -> out (+ skip from the values) -> pixels
//! ```
//! Where there is a [coarse] level, its codes are found first, and both networks know them.
//!
//! Pictures go through in windows of bounded memory that overlap by all that the networks see, so
//! the result is that of the whole picture; rows of a window are computed on several threads.
//!
//! [coarse]: crate::coarse

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::coarse::Coarse;
use crate::codes::{CodeGrid, Tile, tiles};
use crate::conv::{Conv, Grid, Scratch};
use crate::error::Result;
use crate::filter::{Filter, Unrounded};
use crate::gain::Gain;
use crate::gradient::Backward;
use crate::kernels::Kernel;
use crate::latents::{Head, Window, activations};
use crate::quantizer::Quantizer;
use crate::search::Goal;
use crate::shapes::{check_analysis, check_coarse, check_synthesis};
use crate::trunk::{Op, reach, run};
use crate::wiener::Fit;

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
    /// From these to the codes of the fine level.
    pub head: Head,
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
        let Head { out, skip, .. } = &self.head;
        let network = reach(&self.trunk, 1) + out.pad() * (stride / out.stride);
        margin(network.max(skip.as_ref().map_or(0, Conv::pad)), stride)
    }
}

impl Synthesis {
    /// Positions on each side of one that its pixels depend on.
    pub(crate) fn margin(&self, stride: usize) -> usize {
        let network = reach(&self.trunk, stride) + self.out.pad() * self.out.fold;
        let skip = self.skip.as_ref().map_or(0, |(_, skip)| skip.pad() * stride);
        margin(network.max(skip), stride)
    }
}

/// Positions that cover a number of pixels: an even number, so that windows begin where positions
/// of a coarse level do.
fn margin(pixels: usize, stride: usize) -> usize {
    pixels.div_ceil(stride).next_multiple_of(2)
}

/// Both directions of a model.
#[derive(Debug, Clone)]
pub struct Transform {
    analysis: Analysis,
    pub(crate) synthesis: Synthesis,
    quantizer: Quantizer,
    coarse: Option<Coarse>,
    /// Codes of a position.
    variables: usize,
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
        (quantizer, coarse): (Quantizer, Option<Coarse>),
        (stride, variables): (usize, usize),
        kernel: Kernel,
    ) -> Result<Self> {
        let channels = variables * quantizer.width();
        check_analysis(&analysis, stride, channels)?;
        check_synthesis(&synthesis, stride, channels)?;
        if let Some(coarse) = &coarse {
            check_coarse(coarse, &analysis, &synthesis, stride)?;
        }
        let backward = OnceLock::new();
        Ok(Self { analysis, synthesis, quantizer, coarse, variables, stride, kernel, backward })
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

    /// The codes of `(height, width, 3)` pixels at a quality position, coarse to fine, with the dead
    /// zone of [`Quantizer::quantize`]. Parallel iterators inside run in the caller's thread pool;
    /// the picture is continued by its last row and column.
    pub fn analyze(
        &self,
        pixels: &[u8],
        (height, width): (usize, usize),
        quality: u8,
        dead_zone: u8,
    ) -> Result<Vec<CodeGrid>> {
        let (rows, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let whole = Tile { y: 0, x: 0, height: rows, width: columns };
        let mut fine = CodeGrid::zeros([self.variables, rows, columns]);
        let mut coarse = self.coarse.as_ref().map(|level| {
            let Tile { height, width, .. } = whole.halved();
            (level, CodeGrid::zeros([level.variables(), height, width]))
        });
        // Coarse positions are whole, so the last ones may reach beyond the fine positions.
        let multiple = if coarse.is_some() { 2 } else { 1 };
        let [all_rows, all_columns] = [rows, columns].map(|count| count.next_multiple_of(multiple));
        let margin = self.analysis.margin(self.stride);
        for core in tiles(all_rows, all_columns, CORE) {
            let region = grow(core, margin, all_rows, all_columns);
            let window = self.window(pixels, (height, width), region, (quality, dead_zone));
            let prediction = match &mut coarse {
                Some((level, codes)) => {
                    let half = core.halved();
                    codes.set_tile(half, &level.codes(&window, half.within(region.halved())));
                    Some(level.predict(codes, half, quality, self.kernel)?)
                }
                None => None,
            };
            let core = core.cut(rows, columns);
            let (head, inner) = (&self.analysis.head, core.within(region));
            fine.set_tile(core, &head.codes(&self.quantizer, &window, inner, prediction.as_ref()));
        }
        Ok(coarse.into_iter().map(|(_, codes)| codes).chain([fine]).collect())
    }

    /// A region of positions after the trunk of the analysis.
    fn window(
        &self,
        pixels: &[u8],
        size: (usize, usize),
        region: Tile,
        (quality, dead_zone): (u8, u8),
    ) -> Window {
        let kernel = self.kernel;
        let pixels = centred(pixels, size, region, self.stride);
        let trunk = run(&self.analysis.trunk, kernel, &pixels, quality);
        Window { pixels, trunk, quality, dead_zone, kernel }
    }

    /// Mirror of `analyze`: `(height, width, 3)` pixels of codes, of all levels or of the coarse one
    /// alone.
    pub fn synthesize(
        &self,
        codes: &[CodeGrid],
        height: usize,
        width: usize,
        quality: u8,
        filter: Option<&Filter>,
    ) -> Result<Vec<u8>> {
        let mut pixels = vec![0; height * width * COLOURS];
        let row_bytes = width * COLOURS;
        self.each_window(codes, [height, width], quality, |shown, inner, [y, x], size| {
            let start = y * row_bytes + x * COLOURS;
            let end = pixels.len().min(start + size[0] * row_bytes);
            shown.show(filter, inner, size[1], (&mut pixels[start..end], row_bytes));
        })?;
        Ok(pixels)
    }

    /// The filter of a picture's codes of all levels that serves a goal best; none where none pays.
    pub fn fit(&self, codes: &[CodeGrid], goal: Goal) -> Result<Option<Filter>> {
        let mut fit = Fit::new(goal);
        self.each_window(codes, goal.size, goal.quality, |shown, inner, place, size| {
            fit.see(shown, inner, place, size);
        })?;
        fit.filter()
    }

    /// Calls `work` with the pixels of each window, the place of the window's core in these and in the picture, and
    /// its size, as rows and columns.
    fn each_window(
        &self,
        codes: &[CodeGrid],
        [height, width]: [usize; 2],
        quality: u8,
        mut work: impl FnMut(&Unrounded, [usize; 2], [usize; 2], [usize; 2]),
    ) -> Result<()> {
        let (rows, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let margin = self.synthesis.margin(self.stride);
        for core in tiles(rows, columns, CORE) {
            let region = grow(core, margin, rows, columns);
            let inputs = self.inputs(codes, region, quality)?;
            let inner = core.within(region);
            let [inner, place] =
                [inner, core].map(|tile| [tile.y, tile.x].map(|n| n * self.stride));
            let size = [
                (core.height * self.stride).min(height - place[0]),
                (core.width * self.stride).min(width - place[1]),
            ];
            work(&self.unrounded(inputs, quality), inner, place, size);
        }
        Ok(())
    }

    /// The activations of a region for the synthesis trunk and skip: those of the fine codes, 0
    /// without them, and what the coarse ones foretell.
    pub(crate) fn inputs(
        &self,
        codes: &[CodeGrid],
        region: Tile,
        quality: u8,
    ) -> Result<(Grid, Option<Grid>)> {
        let coarse = self.coarse.as_ref().zip(codes.first());
        let fine = codes.get(usize::from(self.coarse.is_some()));
        let of_fine = |gain: &Gain| match fine {
            Some(codes) => activations(&self.quantizer, codes, region, gain, quality),
            None => Ok(Grid::zeros(region.height, region.width, gain.channels())),
        };
        let mut trunk = of_fine(&self.synthesis.gain)?;
        let skip = self.synthesis.skip.as_ref().map(|(gain, _)| of_fine(gain));
        let mut skip = skip.transpose()?;
        if let Some((level, codes)) = coarse {
            let prediction = level.predict(codes, region.halved(), quality, self.kernel)?;
            prediction.add_to_trunk(&mut trunk);
            skip.iter_mut().for_each(|skip| prediction.add_to_skip(skip));
        }
        Ok((trunk, skip))
    }

    /// `synthesize` of several pictures of one size, each of which fits a window: weights that were
    /// loaded once serve all of them.
    pub fn synthesize_together(
        &self,
        pictures: &[Vec<CodeGrid>],
        height: usize,
        width: usize,
        quality: u8,
        filter: Option<&Filter>,
    ) -> Result<Vec<Vec<u8>>> {
        let (rows, columns) = (height.div_ceil(self.stride), width.div_ceil(self.stride));
        let whole = Tile { y: 0, x: 0, height: rows, width: columns };
        let inputs = pictures.iter().map(|codes| self.inputs(codes, whole, quality));
        let (inputs, skips): (Vec<_>, Vec<_>) =
            inputs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let skips: Vec<Grid> = skips.into_iter().flatten().collect();
        let (Some(inputs), skip) = (Grid::stacked(&inputs), Grid::stacked(&skips)) else {
            return Ok(Vec::new());
        };
        let trunk = run(&self.synthesis.trunk, self.kernel, &inputs, quality);
        let line = columns * self.stride * COLOURS;
        let mut sums = vec![0; inputs.height * self.stride * line];
        let all = 0..inputs.height;
        self.add_band((&trunk, skip.as_ref()), all, &mut sums, &mut Scratch::default());
        let shown = sums.chunks_exact(rows * self.stride * line).map(|sums| {
            let values = sums.iter().map(|&sum| bounded(sum)).collect();
            let shown =
                Unrounded { height: rows * self.stride, width: columns * self.stride, values };
            let mut pixels = vec![0; height * width * COLOURS];
            shown.show(filter, [0, 0], width, (&mut pixels, width * COLOURS));
            pixels
        });
        Ok(shown.collect())
    }

    /// The pixels of a region from its activations for trunk and skip.
    fn unrounded(&self, (input, skip): (Grid, Option<Grid>), quality: u8) -> Unrounded {
        let trunk = run(&self.synthesis.trunk, self.kernel, &input, quality);
        let (height, width) = (input.height * self.stride, input.width * self.stride);
        let mut values = vec![0; height * width * COLOURS];
        let each = self.stride * width * COLOURS; // of a row of positions
        let together = input.rows_together(1);
        let bands = values.par_chunks_mut(together * each).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (index, band)| {
            let first = index * together;
            let mut sums = vec![0; band.len()];
            let rows = first..first + band.len() / each;
            self.add_band((&trunk, skip.as_ref()), rows, &mut sums, scratch);
            band.iter_mut().zip(&sums).for_each(|(value, &sum)| *value = bounded(sum));
        });
        Unrounded { height, width, values }
    }

    /// Adds the pixels of some rows of positions, in 1/64 of 255, to `sums`, rows of pixels: what the
    /// last steps make of the outputs of the trunk and of the inputs of the skip.
    pub(crate) fn add_band(
        &self,
        (trunk, skip): (&Grid, Option<&Grid>),
        rows: Range<usize>,
        sums: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let Self { synthesis: Synthesis { out, skip: skip_steps, .. }, kernel, stride, .. } = self;
        let each = stride / out.fold;
        out.add_rows(*kernel, trunk, rows.start * each..rows.end * each, sums, scratch);
        if let Some((input, (_, conv))) = skip.zip(skip_steps.as_ref()) {
            conv.add_rows(*kernel, input, rows, sums, scratch);
        }
    }
}

/// A pixel in 1/64 of 255, within what can be shown.
pub(crate) fn bounded(sum: i32) -> i16 {
    sum.clamp(0, 255 << PIXEL_BITS) as i16
}

/// A pixel in 1/64 of 255 as a decoder shows it.
pub(crate) fn shown(sum: i32) -> u8 {
    (sum.saturating_add(1 << (PIXEL_BITS - 1)) >> PIXEL_BITS).clamp(0, 255) as u8
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
