//! What the lengths of codes change by when the codes before them do, which their contexts see: for
//! the encoder's search only.

use crate::adjoint::{Adjoint, Field, mask};
use crate::context::{ContextPrior, Slice};
use crate::context_network::StepTrace;
use crate::conv::Conv;
use crate::error::Result;
use crate::features::NUMBER_BITS;
use crate::network::{Layer, MAX_ACTIVATION};

/// Positions that go through the way back together.
const TOGETHER: usize = 32;

/// The backward pass of a prior over numbers without a coarse level.
#[derive(Debug, Clone)]
pub struct BackwardPrior {
    slices: Vec<BackwardSlice>,
}

#[derive(Debug, Clone)]
struct BackwardSlice {
    /// Of each step.
    contexts: Vec<Adjoint>,
    /// `hidden1`, `hidden2` and `head`.
    shared: [Adjoint; 3],
}

impl BackwardPrior {
    /// Transposes all layers.
    pub fn new(slices: &[Slice]) -> Result<Self> {
        let of_slice = |slice: &Slice| {
            let [hidden1, hidden2, head] = &slice.shared;
            Ok(BackwardSlice {
                contexts: slice
                    .steps
                    .iter()
                    .map(|step| adjoint(&step.context))
                    .collect::<Result<_>>()?,
                shared: [adjoint(hidden1)?, adjoint(hidden2)?, adjoint(head)?],
            })
        };
        Ok(Self { slices: slices.iter().map(of_slice).collect::<Result<_>>()? })
    }
}

/// The adjoint of a dense layer.
fn adjoint(layer: &Layer) -> Result<Adjoint> {
    Adjoint::new(&Conv { layer: layer.clone(), size: 1, stride: 1, fold: 1 })
}

impl ContextPrior {
    /// The gradient with regard to the inputs of a step's context, `(positions, inputs)` and maybe some
    /// zeros, of a sum of the head's outputs times `slopes`, which are `(positions, outputs)`.
    pub(crate) fn step_gradient(
        &self,
        (slice, step): (usize, usize),
        trace: &StepTrace,
        slopes: Vec<f32>,
    ) -> Result<Field> {
        let back = &self.backward()?.slices[slice];
        let (channels, width) = (trace.columns, TOGETHER);
        let height = slopes.len().div_ceil(channels * width); // rows go through on several threads
        let mut values = slopes;
        values.resize(height * width * channels, 0.0);
        let mut gradient = Field { height, width, channels, values };
        for (adjoint, hidden) in back.shared.iter().zip(&trace.hidden).rev() {
            gradient = adjoint.apply(self.kernel, &gradient, |start, values| {
                // the last row may go on behind the last position, in zeros
                mask(values, hidden.get(start..).unwrap_or(&[]), MAX_ACTIVATION);
            });
        }
        Ok(back.contexts[step].apply(self.kernel, &gradient, |_, _| ()))
    }

    /// Adds what [`step_gradient`](Self::step_gradient) found to the gradient with regard to the
    /// codes, `(height, width, variables)`.
    pub(crate) fn add_step_gradient(
        &self,
        (slice, step): (usize, usize),
        found: &Field,
        sum: &mut Field,
    ) {
        let slice = &self.slices()[slice];
        let step = &slice.steps[step];
        let unit = (1 << NUMBER_BITS) as f32;
        let positions = step.pattern.positions(sum.height, sum.width);
        for ((y, x), found) in positions.zip(found.values.chunks_exact(found.channels)) {
            let mut columns = 0;
            for tap in &step.taps {
                let variables = tap.channels(&slice.variables);
                let found = &found[columns..][..variables.len()];
                columns += variables.len();
                let (y, x) = (y.wrapping_add_signed(tap.dy), x.wrapping_add_signed(tap.dx));
                if y < sum.height && x < sum.width {
                    let sums = &mut sum.values[(y * sum.width + x) * sum.channels..][variables];
                    sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += unit * found);
                }
            }
        }
    }
}
