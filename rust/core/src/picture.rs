//! Pixels to codes and back with a model's own networks, on several threads.

use crate::codes::CodeGrid;
use crate::context::ContextPrior;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::Model;
use crate::prior::Prior;
use crate::threads::with_threads;
use crate::transform::Transform;

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
    if height.checked_mul(width).and_then(|size| size.checked_mul(3)) != Some(pixels.len()) {
        return Err(Error::InvalidInput(format!("the pixels are not {height} x {width} x 3")));
    }
    with_threads(threads, || transform.analyze(pixels, (height, width), quality, dead_zone))?
}

/// Mirror of `analyze`: `(height, width, 3)` sRGB pixels of codes, of all levels or of the first one
/// alone.
pub fn synthesize(
    model: &Model,
    codes: &[CodeGrid],
    [height, width]: [usize; 2],
    quality: u8,
    threads: usize,
) -> Result<Vec<u8>> {
    let transform = check(model, [height, width], quality)?;
    let shapes = shapes(model, [height, width]);
    let given: Vec<_> = codes.iter().map(CodeGrid::shape).collect();
    if given.is_empty() || !shapes.starts_with(&given) {
        return Err(Error::InvalidInput(format!(
            "codes of {given:?} are not those of a {width}x{height} picture, {shapes:?}"
        )));
    }
    with_threads(threads, || transform.synthesize(codes, height, width, quality))?
}

/// The shapes of a picture's codes, coarse to fine.
fn shapes(model: &Model, [height, width]: [usize; 2]) -> Vec<[usize; 3]> {
    let shape = |(stride_log2, prior): (u8, &ContextPrior)| {
        let positions = |side: usize| side.div_ceil(1 << stride_log2);
        [prior.variables(), positions(height), positions(width)]
    };
    model.levels().map(shape).collect()
}

fn check(model: &Model, [height, width]: [usize; 2], quality: u8) -> Result<&Transform> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    Limits::with_max_pixels(u64::MAX).check_picture(side(width), side(height))?;
    if height == 0 || width == 0 {
        return Err(Error::InvalidInput("the picture has no pixels".into()));
    }
    if quality > model.max_quality() {
        return Err(Error::InvalidInput(format!(
            "quality position {quality} is above the model's {}",
            model.max_quality()
        )));
    }
    model.transform.as_ref().ok_or_else(|| {
        Error::InvalidModel("it holds no integer networks between pixels and codes".into())
    })
}
