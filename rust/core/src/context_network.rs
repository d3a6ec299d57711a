//! The network of a prior's step: what the positions of the step see, and what comes of it.

use std::ops::Range;
use std::slice;

use crate::context::{BATCH, ContextPrior, Slice, Step};
use crate::features::FeatureGrid;
use crate::network::activate;
use crate::order::Tap;

impl ContextPrior {
    /// The network of one step at some of its positions, with what the way back needs.
    pub(crate) fn trace(
        &self,
        features: &FeatureGrid,
        quality: u8,
        (slice, step): (usize, usize),
        positions: &[(usize, usize)],
    ) -> StepTrace {
        let slice = &self.slices()[slice];
        let mut network = Evaluation::new(self, slice, &slice.steps[step], quality);
        let mut trace = StepTrace { columns: slice.shared[2].rows(), ..StepTrace::default() };
        let StepTrace { hidden, outputs, .. } = &mut trace;
        for positions in positions.chunks(BATCH) {
            let note = |layer: usize, rows: usize, activations: &[i16]| {
                let vectors = activations.chunks_exact(activations.len() / positions.len());
                vectors.for_each(|vector| hidden[layer].extend_from_slice(&vector[..rows]));
            };
            outputs.extend_from_slice(network.run_noting([features], positions, note));
        }
        trace
    }
}

/// What the network of a step has come to at some of its positions, in raster order.
#[derive(Debug, Default)]
pub(crate) struct StepTrace {
    /// `(positions, rows)` activations of the three hidden layers.
    pub hidden: [Vec<i16>; 3],
    /// `(positions, columns)` numbers.
    pub outputs: Vec<i32>,
    /// Outputs of a position.
    pub columns: usize,
}

impl StepTrace {
    /// Adds what it has come to at positions behind these.
    pub fn append(&mut self, next: Self) {
        for (hidden, next) in self.hidden.iter_mut().zip(next.hidden) {
            hidden.extend(next);
        }
        self.outputs.extend(next.outputs);
        self.columns = next.columns;
    }
}

/// A tap and the channels that it sees.
type Seen = (Tap, Range<usize>);

/// The network of one step at one quality, with the memory it works in.
pub(crate) struct Evaluation<'a> {
    prior: &'a ContextPrior,
    /// The slice and the step.
    pub slice: &'a Slice,
    pub step: &'a Step,
    /// Biases of the context layer and of the shared ones.
    biases: [Vec<i32>; 4],
    inputs: Vec<i16>,
    outputs: Vec<i32>,
}

impl<'a> Evaluation<'a> {
    pub fn new(prior: &'a ContextPrior, slice: &'a Slice, step: &'a Step, quality: u8) -> Self {
        let [hidden1, hidden2, head] = &slice.shared;
        let biases = [&step.context, hidden1, hidden2, head].map(|layer| layer.biases_at(quality));
        Self { prior, slice, step, biases, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// The head's `(grids, positions, outputs)` numbers at `positions` of each of several grids.
    pub fn run<'f>(
        &mut self,
        grids: impl IntoIterator<Item = &'f FeatureGrid>,
        positions: &[(usize, usize)],
    ) -> &[i32] {
        self.run_noting(grids, positions, |_, _, _| {})
    }

    /// The same, which calls `note(layer, rows, activations)` for each of the three hidden layers:
    /// vectors that hold `rows` activations first.
    fn run_noting<'f>(
        &mut self,
        grids: impl IntoIterator<Item = &'f FeatureGrid>,
        positions: &[(usize, usize)],
        mut note: impl FnMut(usize, usize, &[i16]),
    ) -> &[i32] {
        let (count, spans) = self.gather(grids, positions);
        let [hidden1, hidden2, head] = &self.slice.shared;
        let layers = [&self.step.context, hidden1, hidden2, head];
        for (index, (layer, biases)) in layers.into_iter().zip(&self.biases).enumerate() {
            let all = 0..layer.stride() / 2;
            let spans = if index == 0 { &spans[..] } else { slice::from_ref(&all) };
            if index > 0 {
                let rows = layers[index - 1].rows();
                self.inputs.resize(count * layer.stride(), 0);
                activate(&self.outputs, rows, layer.stride(), &mut self.inputs);
                note(index - 1, rows, &self.inputs);
            }
            self.outputs.resize(count * layer.rows(), 0);
            let kernel = self.prior.kernel;
            layer.apply_to(spans, kernel, biases, &self.inputs, &mut self.outputs);
        }
        &self.outputs
    }

    /// Fills the inputs of the context layer: for every tap the features it sees. Returns the number
    /// of vectors and the column pairs that the inputs belong to.
    fn gather<'f>(
        &mut self,
        grids: impl IntoIterator<Item = &'f FeatureGrid>,
        positions: &[(usize, usize)],
    ) -> (usize, Vec<Range<usize>>) {
        let mut grids = grids.into_iter().peekable();
        let size = grids.peek().map_or([0; 3], |features| features.shape());
        let (taps, spans) = self.taps_inside(size, positions);
        let mut count = 0;
        self.inputs.clear();
        for features in grids {
            for &(y, x) in positions {
                for (tap, channels) in &taps {
                    self.inputs.extend_from_slice(features.seen(y, x, tap, channels.clone()));
                }
                count += 1;
                self.inputs.resize(self.inputs.len().next_multiple_of(2), 0);
            }
        }
        (count, spans)
    }

    /// The taps that see something of a tile from any of some positions, the channels they see, and
    /// the column pairs of the context layer for all of them.
    fn taps_inside(
        &self,
        [_, height, width]: [usize; 3],
        positions: &[(usize, usize)],
    ) -> (Vec<Seen>, Vec<Range<usize>>) {
        let own = self.prior.own_channels(&self.slice.variables);
        let inside = |tap: &Tap| {
            positions.iter().any(|&(y, x)| {
                y.wrapping_add_signed(tap.dy) < height && x.wrapping_add_signed(tap.dx) < width
            })
        };
        let in_pairs = own.start.is_multiple_of(2) && own.end.is_multiple_of(2);
        let (mut taps, mut spans, mut columns) = (Vec::new(), Vec::<Range<usize>>::new(), 0..0);
        for &tap in &self.step.taps {
            let channels = tap.channels(&own);
            columns = columns.end..columns.end + channels.len();
            if in_pairs && !inside(&tap) {
                continue;
            }
            let (first, end) = (columns.start / 2, columns.end.div_ceil(2));
            match spans.last_mut() {
                Some(last) if last.end >= first => last.end = end,
                _ => spans.push(first..end),
            }
            taps.push((tap, channels));
        }
        (taps, spans)
    }
}
