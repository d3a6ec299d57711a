//! Pixels to codes and back with a model's own networks, on several threads.

use crate::codes::CodeGrid;
use crate::container;
use crate::context::ContextPrior;
use crate::error::{Error, Result};
use crate::filter::{Filter, Unrounded};
use crate::header::Header;
use crate::limits::Limits;
use crate::model::Model;
use crate::prior::Prior;
use crate::search::{self, Goal, ROUNDS};
use crate::stream;
use crate::threads::with_threads;
use crate::transform::{COLOURS, CORE, Transform, bounded};

/// The codes, coarse to fine, of `(height, width, 3)` sRGB pixels at a `quality` position; the result does not
/// depend on `threads` (0: as many as there are cores). A `dead_zone` above 0, in 1/256, makes
/// codes cheaper and coarser: see [`Quantizer::quantize`](crate::quantizer::Quantizer::quantize).
pub fn analyze(
    model: &Model,
    pixels: &[u8],
    [height, width]: [usize; 2],
    (quality, dead_zone): (u8, u8),
    threads: usize,
) -> Result<Vec<CodeGrid>> {
    let transform = check(model, [height, width], quality)?;
    for shape in shapes(model, [height, width]) {
        Limits::default().check_codes(shape)?;
    }
    check_pixels(pixels, [height, width])?;
    let analyze = || transform.analyze(pixels, (height, width), quality, dead_zone);
    let mut codes = with_threads(threads, analyze)??;
    stream::settle(model, quality, &mut codes, dead_zone, threads)?;
    Ok(codes)
}

/// Mirror of `analyze`: `(height, width, 3)` sRGB pixels of codes, of all levels or of the first one
/// alone, through the picture's `filter` if there is one.
pub fn synthesize(
    model: &Model,
    codes: &[CodeGrid],
    [height, width]: [usize; 2],
    quality: u8,
    filter: Option<&Filter>,
    threads: usize,
) -> Result<Vec<u8>> {
    let transform = check(model, [height, width], quality)?;
    check_shapes(model, codes, [height, width])?;
    with_threads(threads, || transform.synthesize(codes, height, width, quality, filter))?
}

/// The same for several pictures of one size, in the thread pool of the caller.
pub(crate) fn synthesize_together(
    model: &Model,
    pictures: &[Vec<CodeGrid>],
    [height, width]: [usize; 2],
    quality: u8,
    filter: Option<&Filter>,
) -> Result<Vec<Vec<u8>>> {
    let transform = check(model, [height, width], quality)?;
    for codes in pictures {
        check_shapes(model, codes, [height, width])?;
    }
    if height.max(width) <= CORE << model.stride_log2 {
        return transform.synthesize_together(pictures, height, width, quality, filter);
    }
    let one = |codes: &Vec<CodeGrid>| transform.synthesize(codes, height, width, quality, filter);
    pictures.iter().map(one).collect()
}

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Samples of a pixel: 3 (sRGB), or 1 of a gray picture, the mean of these.
    pub channels: usize,
    /// `height * width * channels` samples, channels innermost.
    pub samples: Vec<u8>,
}

/// The picture in the first `levels` of a file, as [`stream::read_codes`] reads them.
pub fn decode(
    model: &Model,
    bytes: &[u8],
    limits: &Limits,
    threads: usize,
    levels: usize,
) -> Result<Pixels> {
    let codes = stream::read_codes(model, bytes, limits, threads, levels)?;
    let header = container::parse(bytes, limits)?.header;
    let (height, width) = (header.height as usize, header.width as usize);
    let whole = levels == 0 || levels == header.levels.len();
    let filter = if whole { header.filter()? } else { None };
    let size = [height, width];
    let samples = synthesize(model, &codes, size, header.quality, filter.as_ref(), threads)?;
    Ok(Pixels::of(&header, samples))
}

impl Pixels {
    /// The picture that a header and the sRGB samples make.
    pub(crate) fn of(header: &Header, samples: Vec<u8>) -> Self {
        let (height, width) = (header.height as usize, header.width as usize);
        if !header.gray {
            return Self { height, width, channels: 3, samples };
        }
        let mean =
            |pixel: &[u8; 3]| ((pixel.iter().map(|&c| u16::from(c)).sum::<u16>() + 1) / 3) as u8;
        let samples = samples.as_chunks().0.iter().map(mean).collect();
        Self { height, width, channels: 1, samples }
    }
}

/// Codes that cost fewer `bits + weight * squared error` than the given ones of a picture, or fewer
/// bits at about the same cost, found with some `effort`: 0 gives them back, more takes longer. Codes
/// that do not count from their means stay as they are.
pub fn search(
    model: &Model,
    codes: Vec<CodeGrid>,
    goal: Goal,
    effort: usize,
    threads: usize,
) -> Result<Vec<CodeGrid>> {
    let transform = check(model, goal.size, goal.quality)?;
    check_pixels(goal.pixels, goal.size)?;
    check_shapes(model, &codes, goal.size)?;
    check_weight(goal.weight)?;
    if effort >= ROUNDS.len() {
        let most = ROUNDS.len() - 1;
        return Err(Error::InvalidInput(format!("there is no such effort: the most is {most}")));
    }
    match <[CodeGrid; 1]>::try_from(codes) {
        Ok([codes]) if effort > 0 && model.prior.is_centred() => {
            let found = || search::search(model, transform, goal, codes, ROUNDS[effort]);
            Ok(vec![with_threads(threads, found)??])
        }
        Ok(codes) => Ok(codes.into()),
        Err(codes) => Ok(codes),
    }
}

/// The bytes of the filter that serves a picture's codes of all levels best, as a file holds them: empty where none is
/// worth its bits.
pub fn fit(model: &Model, codes: &[CodeGrid], goal: Goal, threads: usize) -> Result<Vec<u8>> {
    let transform = check(model, goal.size, goal.quality)?;
    check_pixels(goal.pixels, goal.size)?;
    check_shapes(model, codes, goal.size)?;
    check_weight(goal.weight)?;
    let filter = with_threads(threads, || transform.fit(codes, goal))??;
    filter.map_or(Ok(Vec::new()), |filter| filter.write())
}

/// Pixels `(height, width, 3)` in 1/64 of 255, which another synthesis gives, as a file's `filter` and a decoder show
/// them.
pub fn filtered(
    filter: &[u8],
    mut values: Vec<i16>,
    [height, width]: [usize; 2],
    threads: usize,
) -> Result<Vec<u8>> {
    let filter = Filter::read(filter)?;
    let mut pixels = vec![0; values.len()];
    if pixels.is_empty() || height.checked_mul(width * COLOURS) != Some(pixels.len()) {
        return Err(Error::InvalidInput(format!("the pixels are not {height} x {width} x 3")));
    }
    values.iter_mut().for_each(|value| *value = bounded((*value).into()));
    let unrounded = Unrounded { height, width, values };
    let target = (&mut pixels[..], width * COLOURS);
    with_threads(threads, || unrounded.show(Some(&filter), [0, 0], width, target))?;
    Ok(pixels)
}

/// The shapes of a picture's codes, coarse to fine.
fn shapes(model: &Model, [height, width]: [usize; 2]) -> Vec<[usize; 3]> {
    let shape = |(stride_log2, prior): (u8, &ContextPrior)| {
        let positions = |side: usize| side.div_ceil(1 << stride_log2);
        [prior.variables(), positions(height), positions(width)]
    };
    model.levels().map(shape).collect()
}

fn check_weight(weight: f64) -> Result<()> {
    if weight > 0.0 && weight < 1e6 {
        return Ok(());
    }
    Err(Error::InvalidInput(format!("an error cannot be worth {weight} bits")))
}

fn check_pixels(pixels: &[u8], [height, width]: [usize; 2]) -> Result<()> {
    if height.checked_mul(width).and_then(|size| size.checked_mul(3)) != Some(pixels.len()) {
        return Err(Error::InvalidInput(format!("the pixels are not {height} x {width} x 3")));
    }
    Ok(())
}

/// The codes must be those of a picture of that size, of all levels or of the first ones.
fn check_shapes(model: &Model, codes: &[CodeGrid], [height, width]: [usize; 2]) -> Result<()> {
    let shapes = shapes(model, [height, width]);
    let given: Vec<_> = codes.iter().map(CodeGrid::shape).collect();
    if given.is_empty() || !shapes.starts_with(&given) {
        return Err(Error::InvalidInput(format!(
            "codes of {given:?} are not those of a {width}x{height} picture, {shapes:?}"
        )));
    }
    codes.iter().zip(model.levels()).try_for_each(|(codes, (_, prior))| prior.check_range(codes))
}

fn check(model: &Model, [height, width]: [usize; 2], quality: u8) -> Result<&Transform> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    Limits::with_max_pixels(u64::MAX).check_picture(side(width), side(height))?;
    if height == 0 || width == 0 {
        return Err(Error::InvalidInput("the picture has no pixels".into()));
    }
    model.check_quality(quality)?;
    model.transform.as_ref().ok_or_else(|| {
        Error::InvalidModel("it holds no integer networks between pixels and codes".into())
    })
}
