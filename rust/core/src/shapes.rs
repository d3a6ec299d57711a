//! Whether the parts of a transform fit each other: a model file may describe anything.
//!
//! Shapes are pairs `(scale, channels)`: pixels from one position to the next, numbers at each.

use crate::conv::{Block, Conv};
use crate::error::{Error, Result};
use crate::transform::{Analysis, COLOURS, CORE, Synthesis};
use crate::trunk::Op;

/// Largest number of activations of a window between two steps: models that need more are refused.
const MAX_WINDOW: usize = 1 << 28;

/// Largest number of pixels between positions.
const MAX_SCALE: usize = 1 << 15;

/// Checks a network from pixels to latents of `channels` every `stride` pixels.
pub fn check_analysis(analysis: &Analysis, stride: usize, channels: usize) -> Result<()> {
    let (scale, width) = check_trunk("analysis", &analysis.trunk, (1, COLOURS))?;
    let (scale, width) = check_conv("analysis.out", &analysis.out, (scale, width))?;
    let skip = match &analysis.skip {
        Some(skip) => check_conv("analysis.skip", skip, (1, COLOURS))?,
        None => (scale, width),
    };
    let folds =
        convs(&analysis.trunk, &analysis.out, analysis.skip.as_ref()).any(|conv| conv.fold != 1);
    let wanted = (stride, channels);
    if folds || (scale, width) != wanted || skip != wanted || analysis.gain.channels() != channels {
        return Err(misfit("analysis"));
    }
    check_windows("analysis", &analysis.trunk, (1, COLOURS), analysis.margin(stride), stride)
}

/// Checks a network from values of `channels` every `stride` pixels to pixels.
pub fn check_synthesis(synthesis: &Synthesis, stride: usize, channels: usize) -> Result<()> {
    let (scale, width) = check_trunk("synthesis", &synthesis.trunk, (stride, channels))?;
    let end = check_conv("synthesis.out", &synthesis.out, (scale, width))?;
    let (skip, gain) = match &synthesis.skip {
        Some((gain, conv)) => (check_conv("synthesis.skip", conv, (stride, channels))?, gain),
        None => (end, &synthesis.gain),
    };
    let skip_conv = synthesis.skip.as_ref().map(|(_, conv)| conv);
    let strides = convs(&synthesis.trunk, &synthesis.out, skip_conv).any(|conv| conv.stride != 1);
    let gains = [synthesis.gain.channels(), gain.channels()] == [channels; 2];
    if strides || !gains || end != (1, COLOURS) || skip != (1, COLOURS) {
        return Err(misfit("synthesis"));
    }
    let margin = synthesis.margin(stride);
    check_windows("synthesis", &synthesis.trunk, (stride, channels), margin, stride)
}

/// The convolutions of a network that may have strides and folds.
fn convs<'a>(
    trunk: &'a [Op],
    out: &'a Conv,
    skip: Option<&'a Conv>,
) -> impl Iterator<Item = &'a Conv> {
    let trunk = trunk.iter().filter_map(|op| match op {
        Op::Conv(conv, _) => Some(conv),
        Op::Block(_) | Op::Gain(_) => None,
    });
    trunk.chain([out]).chain(skip)
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
    let check = |(scale, channels): (usize, usize)| {
        let side = (CORE + 2 * margin).saturating_mul(stride / scale);
        let size = side.saturating_mul(side).saturating_mul(channels);
        if size <= MAX_WINDOW {
            return Ok((scale, channels));
        }
        Err(Error::InvalidModel(format!("a window of the {name} network has {size} activations")))
    };
    trunk.iter().try_fold(check(start)?, |start, op| check(check_op(name, op, start)?))?;
    Ok(())
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
