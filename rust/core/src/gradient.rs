//! What the pixels of a synthesis change by when its codes do: for the encoder's search only.
//!
//! Gradients are approximate: rounding and the clamps of trunks count as the identity, those of ReLUs
//! and of pixels do not.

use std::slice;

use rayon::prelude::*;

use crate::adjoint::{Adjoint, Field, add, exp2, mask};
use crate::codes::{CodeGrid, Tile};
use crate::conv::{Block, Grid, LIMIT, Scratch};
use crate::error::Result;
use crate::gain::{GAIN_BITS, Gain};
use crate::kernels::Kernel;
use crate::quantizer::VALUE_BITS;
use crate::transform::{COLOURS, PIXEL_BITS, Synthesis, Transform};
use crate::trunk::{Op, multiply};

/// The adjoint of each step of a trunk.
#[derive(Debug, Clone)]
enum Back {
    Conv(Adjoint),
    Block { spatial: Adjoint, mix: Adjoint },
    Gain(Gain),
}

/// The backward pass of a synthesis.
#[derive(Debug, Clone)]
pub struct Backward {
    trunk: Vec<Back>,
    out: Adjoint,
    skip: Option<Adjoint>,
}

impl Backward {
    /// Transposes all layers.
    pub fn new(synthesis: &Synthesis) -> Result<Self> {
        let back = |op: &Op| {
            Ok(match op {
                Op::Conv(conv, _) => Back::Conv(Adjoint::new(conv)?),
                Op::Block(Block { spatial, mix }) => {
                    Back::Block { spatial: Adjoint::new(spatial)?, mix: Adjoint::new(mix)? }
                }
                Op::Gain(gain) => Back::Gain(gain.clone()),
            })
        };
        Ok(Self {
            trunk: synthesis.trunk.iter().map(back).collect::<Result<_>>()?,
            out: Adjoint::new(&synthesis.out)?,
            skip: synthesis.skip.as_ref().map(|(_, conv)| Adjoint::new(conv)).transpose()?,
        })
    }
}

/// A forward pass of the synthesis, with what the way back needs.
#[derive(Debug)]
pub struct Trace {
    /// The activations after the ReLU of each step that has one.
    hidden: Vec<Option<Grid>>,
    /// Pixels `(height, width, 3)` in 1/64 of 255, neither rounded nor clamped.
    pub sums: Vec<i32>,
    /// Columns of pixels.
    pub width: usize,
}

impl Trace {
    /// Whether a pixel moves with its sum.
    pub fn moves(sum: i32) -> bool {
        (0..=255 << PIXEL_BITS).contains(&sum)
    }
}

impl Transform {
    /// The pixels of a grid of codes that fits one window.
    pub fn trace(&self, codes: &CodeGrid, quality: u8) -> Result<Trace> {
        let Self { synthesis, kernel, stride, .. } = self;
        let [_, height, width] = codes.shape();
        let all = Tile { y: 0, x: 0, height, width };
        let (mut grid, skip) = self.inputs(slice::from_ref(codes), all, quality)?;
        let mut hidden = Vec::with_capacity(synthesis.trunk.len());
        for op in &synthesis.trunk {
            let (output, kept) = forward(op, *kernel, &grid, quality);
            hidden.push(kept);
            grid = output;
        }
        let line = width * stride * COLOURS;
        let mut sums = vec![0; height * stride * line];
        let bands = sums.par_chunks_mut(stride * line).enumerate();
        bands.for_each_init(Scratch::default, |scratch, (y, band)| {
            self.add_band((&grid, skip.as_ref()), y..y + 1, band, scratch);
        });
        Ok(Trace { hidden, sums, width: width * stride })
    }

    /// The gradient with regard to the codes, one for each channel of a position, of a sum of
    /// pixels (0..255) times `weights` of the same shape.
    pub fn gradient(&self, trace: &Trace, weights: &Field, quality: u8) -> Result<Field> {
        let (backward, kernel) = (self.backward()?, self.kernel);
        let mut gradient = backward.out.apply(kernel, weights, |_, _| ());
        for (back, hidden) in backward.trunk.iter().zip(&trace.hidden).rev() {
            gradient = back.apply(kernel, gradient, hidden.as_ref(), quality);
        }
        let bits = VALUE_BITS as i32 - GAIN_BITS as i32 - PIXEL_BITS as i32;
        gradient.scale(&factors(&self.synthesis.gain, quality, bits));
        if let (Some(adjoint), Some((gain, _))) = (&backward.skip, &self.synthesis.skip) {
            let factors = factors(gain, quality, bits);
            gradient = adjoint.apply(kernel, weights, |start, values| {
                values.iter_mut().zip(&factors).for_each(|(value, factor)| *value *= factor);
                add(values, &gradient.values[start..]);
            });
        }
        Ok(gradient)
    }
}

/// A step's output, and its activations after a ReLU.
fn forward(op: &Op, kernel: Kernel, input: &Grid, quality: u8) -> (Grid, Option<Grid>) {
    match op {
        Op::Conv(conv, relu) => {
            let output = conv.apply(kernel, input, *relu);
            (output.clone(), relu.then_some(output))
        }
        Op::Block(Block { spatial, mix }) => {
            let hidden = spatial.apply(kernel, input, true);
            let mut output = input.clone();
            let rows = output.values.par_chunks_exact_mut(input.width * input.channels);
            rows.enumerate().for_each_init(Scratch::default, |scratch, (y, row)| {
                mix.each_in_row(kernel, &hidden, y, scratch, |x, mixed| {
                    let values = &mut row[x * input.channels..][..input.channels];
                    for (value, mixed) in values.iter_mut().zip(mixed) {
                        let sum = mixed.saturating_add((*value).into());
                        *value = sum.clamp(-LIMIT, LIMIT) as i16;
                    }
                });
            });
            (output, Some(hidden))
        }
        Op::Gain(gain) => (multiply(input, &gain.at(quality)), None),
    }
}

impl Back {
    fn apply(
        &self,
        kernel: Kernel,
        mut gradient: Field,
        hidden: Option<&Grid>,
        quality: u8,
    ) -> Field {
        match self {
            Self::Conv(adjoint) => {
                if let Some(hidden) = hidden {
                    let values = gradient.values.par_chunks_mut(1 << 12);
                    let pairs = values.zip(hidden.values.par_chunks(1 << 12));
                    pairs.for_each(|(values, hidden)| mask(values, hidden, LIMIT));
                }
                adjoint.apply(kernel, &gradient, |_, _| ())
            }
            Self::Block { spatial, mix } => {
                let inner = mix.apply(kernel, &gradient, |start, values| {
                    if let Some(hidden) = hidden {
                        mask(values, &hidden.values[start..], LIMIT);
                    }
                });
                spatial
                    .apply(kernel, &inner, |start, values| add(values, &gradient.values[start..]))
            }
            Self::Gain(gain) => {
                gradient.scale(&factors(gain, quality, -(GAIN_BITS as i32)));
                gradient
            }
        }
    }
}

/// The gains of all channels times `2^exponent`.
fn factors(gain: &Gain, quality: u8, exponent: i32) -> Vec<f32> {
    gain.at(quality).into_iter().map(|gain| gain as f32 * exp2(exponent)).collect()
}
