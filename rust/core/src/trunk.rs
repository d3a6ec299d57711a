//! The body of a network: steps from activations to activations.

use rayon::prelude::*;

use crate::conv::{Block, Conv, Grid, LIMIT};
use crate::gain::{GAIN_BITS, Gain};
use crate::kernels::Kernel;

/// One step of a trunk.
#[derive(Debug, Clone)]
pub enum Op {
    /// A convolution, with a clipped ReLU where the flag is set.
    Conv(Conv, bool),
    /// A residual block.
    Block(Block),
    /// A factor for each channel.
    Gain(Gain),
}

/// Applies the steps of a trunk.
pub fn run(trunk: &[Op], kernel: Kernel, input: &Grid, quality: u8) -> Grid {
    let mut grid: Option<Grid> = None;
    for op in trunk {
        let input = grid.as_ref().unwrap_or(input);
        grid = Some(match op {
            Op::Conv(conv, relu) => conv.apply(kernel, input, *relu),
            Op::Block(block) => block.apply(kernel, input),
            Op::Gain(gain) => multiply(input, &gain.at(quality)),
        });
    }
    grid.unwrap_or_else(|| input.clone())
}

/// Activations times the gain of their channel.
pub fn multiply(input: &Grid, gains: &[i64]) -> Grid {
    let mut output = input.clone();
    output.values.par_chunks_exact_mut(gains.len()).for_each(|values| {
        for (value, gain) in values.iter_mut().zip(gains) {
            *value = activation(i64::from(*value) * gain);
        }
    });
    output
}

/// A product with a gain as an activation.
pub fn activation(product: i64) -> i16 {
    let rounded = (product + (1 << (GAIN_BITS - 1))) >> GAIN_BITS;
    rounded.clamp((-LIMIT).into(), LIMIT.into()) as i16
}

/// Pixels that a trunk sees on each side, where its input has a position every `scale` pixels.
pub fn reach(trunk: &[Op], mut scale: usize) -> usize {
    let mut reach = 0;
    for op in trunk {
        let conv = match op {
            Op::Conv(conv, _) => conv,
            Op::Block(block) => &block.spatial,
            Op::Gain(_) => continue,
        };
        reach += conv.pad() * scale;
        scale = scale * conv.stride / conv.fold;
    }
    reach
}
