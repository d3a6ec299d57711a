//! Whether the parts of a transform fit each other: a model file may describe anything.
//!
//! Shapes are pairs `(scale, channels)`: pixels from one position to the next, numbers at each.

use crate::coarse::Coarse;
use crate::conv::{Block, Conv};
use crate::error::{Error, Result};
use crate::latents::Head;
use crate::transform::{Analysis, COLOURS, CORE, Synthesis};
use crate::trunk::Op;

/// Largest number of activations of a window between two steps: models that need more are refused.
const MAX_WINDOW: usize = 1 << 28;

/// Largest number of pixels between positions.
const MAX_SCALE: usize = 1 << 15;

/// Checks a network from pixels to latents of `channels` every `stride` pixels.
pub fn check_analysis(analysis: &Analysis, stride: usize, channels: usize) -> Result<()> {
    let end = check_trunk("analysis", &analysis.trunk, (1, COLOURS))?;
    let folds = convs(&analysis.trunk).any(|conv| conv.fold != 1);
    if folds || !leads_to("analysis", &analysis.head, end, (stride, channels))? {
        return Err(misfit("analysis"));
    }
    check_windows("analysis", &analysis.trunk, (1, COLOURS), analysis.margin(stride), stride)
}

/// Whether a head leads from what a trunk gives, and from pixels, to latents of the `wanted` shape.
fn leads_to(
    name: &str,
    Head { out, skip, gain }: &Head,
    trunk: (usize, usize),
    wanted: (usize, usize),
) -> Result<bool> {
    let end = check_conv(&format!("{name}.out"), out, trunk)?;
    let skip_end = match skip {
        Some(skip) => check_conv(&format!("{name}.skip"), skip, (1, COLOURS))?,
        None => end,
    };
    let folds = skip.iter().chain([out]).any(|conv| conv.fold != 1);
    Ok(!folds && [end, skip_end] == [wanted; 2] && gain.channels() == wanted.1)
}

/// Checks a network from values of `channels` every `stride` pixels to pixels.
pub fn check_synthesis(synthesis: &Synthesis, stride: usize, channels: usize) -> Result<()> {
    let (scale, width) = check_trunk("synthesis", &synthesis.trunk, (stride, channels))?;
    let end = check_conv("synthesis.out", &synthesis.out, (scale, width))?;
    let (skip, gain) = match &synthesis.skip {
        Some((gain, conv)) => (check_conv("synthesis.skip", conv, (stride, channels))?, gain),
        None => (end, &synthesis.gain),
    };
    let ends = synthesis.skip.iter().map(|(_, conv)| conv).chain([&synthesis.out]);
    let strides = convs(&synthesis.trunk).chain(ends).any(|conv| conv.stride != 1);
    let gains = [synthesis.gain.channels(), gain.channels()] == [channels; 2];
    if strides || !gains || end != (1, COLOURS) || skip != (1, COLOURS) {
        return Err(misfit("synthesis"));
    }
    let margin = synthesis.margin(stride);
    check_windows("synthesis", &synthesis.trunk, (stride, channels), margin, stride)
}

/// Checks what a coarse level adds to two networks that fit each other at `stride`: its positions
/// cover 2x2 fine ones and see nothing around them.
pub fn check_coarse(
    coarse: &Coarse,
    analysis: &Analysis,
    synthesis: &Synthesis,
    stride: usize,
) -> Result<()> {
    let (own, fine) = ((2 * stride, coarse.gain.channels()), (stride, synthesis.gain.channels()));
    let trunk = check_trunk("analysis", &analysis.trunk, (1, COLOURS))?;
    let latents = leads_to("coarse", &coarse.head, trunk, own)?;
    let heads = coarse.head.skip.iter().chain([&coarse.head.out]);
    let sees_around = heads.into_iter().any(|conv| conv.size != conv.stride);
    let mut ups = coarse.skip_up.iter().chain([&coarse.up]);
    let up = ups.try_fold(true, |fit, conv| {
        let end = check_conv("coarse.up", conv, own)?;
        Ok(fit && end == fine && [conv.size, conv.stride] == [1, 1])
    })?;
    let skips = coarse.skip_up.is_some() == synthesis.skip.is_some();
    if !latents || sees_around || !up || !skips {
        return Err(misfit("coarse"));
    }
    let margin = analysis.margin(stride).max(synthesis.margin(stride));
    check_window("coarse", margin, stride, own)
}

/// The convolutions of a trunk that may have strides and folds.
fn convs(trunk: &[Op]) -> impl Iterator<Item = &Conv> {
    trunk.iter().filter_map(|op| match op {
        Op::Conv(conv, _) => Some(conv),
        Op::Block(_) | Op::Gain(_) => None,
    })
}

/// The scale and the channels after a trunk that starts with the given ones.
fn check_trunk(name: &str, trunk: &[Op], start: (usize, usize)) -> Result<(usize, usize)> {
    trunk.iter().try_fold(start, |start, op| check_op(name, op, start))
}

fn check_op(name: &str, op: &Op, (scale, channels): (usize, usize)) -> Result<(usize, usize)> {
    match op {
        Op::Conv(conv, _) => check_conv(name, conv, (scale, channels)),
        Op::Block(Block { spatial, mix }) => {
            let hidden = check_conv(name, spatial, (scale, channels))?;
            let end = check_conv(name, mix, hidden)?;
            let same = mix.size == 1 && end == (scale, channels) && hidden.0 == scale;
            if same { Ok(end) } else { Err(misfit(name)) }
        }
        Op::Gain(gain) if gain.channels() == channels => Ok((scale, channels)),
        Op::Gain(_) => Err(misfit(name)),
    }
}

/// No window may take more memory than a machine has.
fn check_windows(
    name: &str,
    trunk: &[Op],
    start: (usize, usize),
    margin: usize,
    stride: usize,
) -> Result<()> {
    check_window(name, margin, stride, start)?;
    trunk.iter().try_fold(start, |start, op| {
        let end = check_op(name, op, start)?;
        check_window(name, margin, stride, end).map(|()| end)
    })?;
    Ok(())
}

/// The same for the activations at one place, `scale` pixels from one position to the next.
fn check_window(
    name: &str,
    margin: usize,
    stride: usize,
    (scale, channels): (usize, usize),
) -> Result<()> {
    let side = (CORE + 2 * margin).saturating_mul(stride).div_ceil(scale);
    let size = side.saturating_mul(side).saturating_mul(channels);
    if size <= MAX_WINDOW {
        return Ok(());
    }
    Err(Error::InvalidModel(format!("a window of the {name} network has {size} activations")))
}

fn check_conv(
    name: &str,
    conv: &Conv,
    (scale, channels): (usize, usize),
) -> Result<(usize, usize)> {
    let Conv { layer, size, stride, fold } = conv;
    let fits = *stride >= 1
        && size >= stride
        && layer.columns() == size * size * channels
        && *fold >= 1
        && layer.rows().is_multiple_of(fold * fold)
        && scale * stride <= MAX_SCALE
        && (scale * stride).is_multiple_of(*fold);
    if fits { Ok((scale * stride / fold, conv.channels())) } else { Err(misfit(name)) }
}

fn misfit(name: &str) -> Error {
    Error::InvalidModel(format!("the shapes of the {name} network do not fit each other"))
}
