//! An expert learned from photos: for each colour an exact network that tells what the blend of the
//! other predictions misses, and how far off it is itself.
//!
//! It sees what the other experts see and what they say, all relative to the blend: their state adapts to the
//! picture, its weights know what pictures are like. [`FORMAT.md`](super) has its inputs.

use super::channel::Channel;
use super::contexts::Earlier;
use super::experts::FRACTION_BITS;
use super::tables::OCTAVES;
use super::tile::Size;
use crate::error::Result;
use crate::kernels::Kernel;
use crate::network::Layer;
use crate::perceptron::{Memory, Perceptron};

/// Networks: for the first channel, and for those with one and two channels before them.
const COLOURS: usize = 3;

/// Bits of the samples that the networks know.
const BITS: u8 = 8;

/// Predictions that the networks see besides the blend.
pub const SEEN: usize = 5;

/// Largest magnitude of an input: what samples of [`BITS`] differ by, in units of predictions.
const MAX_INPUT: i32 = (255 << FRACTION_BITS) + 15;

/// Columns to the left, and those above on both sides, and rows above, of the own channel that are seen.
const REACH: usize = 3;

/// The same of earlier channels, on all sides.
const REACH_EARLIER: usize = 2;

/// Inputs from the own channel, and from each earlier one.
const OWN: usize = REACH * (2 * REACH + 1) + REACH + SEEN + 6;
const EARLIER: usize = (2 * REACH_EARLIER + 1) * (2 * REACH_EARLIER + 1) + 5;

/// Whether the networks know what to make of such samples.
pub fn suits(size: &Size) -> bool {
    size.channels == COLOURS && size.max == u16::MAX >> (16 - BITS)
}

/// Networks of all colours.
#[derive(Debug, Clone)]
pub struct Learned {
    networks: [Perceptron; COLOURS],
}

impl Learned {
    /// Takes the layers of `hidden` units from where `layer` finds them, by their colour, name,
    /// `(inputs, largest input)` and number of outputs.
    pub fn new(
        hidden: usize,
        mut layer: impl FnMut(usize, &str, (usize, i32), usize) -> Result<Layer>,
    ) -> Result<Self> {
        let mut network = |colour: usize| {
            let inputs = (OWN + colour * EARLIER, MAX_INPUT);
            Perceptron::new(inputs, hidden, 2, |name, inputs, outputs| {
                layer(colour, name, inputs, outputs)
            })
        };
        Ok(Self { networks: [network(0)?, network(1)?, network(2)?] })
    }

    /// The expert for a channel with so many channels before it.
    pub fn expert(&self, earlier: usize, kernel: Kernel) -> LearnedExpert<'_> {
        let network = &self.networks[earlier];
        let (inputs, memory) = (vec![0; network.stride()], Memory::default());
        LearnedExpert { network: Some((network, kernel)), inputs, memory, seen: None }
    }
}

/// A network at work.
pub struct LearnedExpert<'a> {
    network: Option<(&'a Perceptron, Kernel)>,
    inputs: Vec<i16>,
    memory: Memory,
    seen: Option<Vec<i16>>,
}

impl LearnedExpert<'static> {
    /// One that only takes down what a network would see, and what it should have said.
    pub fn pupil(earlier: usize) -> Self {
        let inputs = vec![0; OWN + earlier * EARLIER];
        Self { network: None, inputs, memory: Memory::default(), seen: Some(Vec::new()) }
    }

    /// For each sample, in raster order, the inputs and then what the blend missed.
    pub fn seen(self) -> Vec<i16> {
        self.seen.unwrap_or_default()
    }
}

impl LearnedExpert<'_> {
    /// What the sample at `index` is predicted to be, and the [`octaves`](super::tables::octaves) of the
    /// mean error, given what was predicted and the corrected `blend` of it.
    #[inline(always)]
    pub fn predict(
        &mut self,
        own: &Channel,
        earlier: &Earlier,
        index: usize,
        (seen, blend): ([i32; SEEN], i32),
    ) -> (i32, i32) {
        let (of_own, of_earlier) = self.inputs.split_at_mut(OWN);
        fill_own(of_own, own, index, (seen, blend));
        let planes = earlier.samples.iter().zip(&earlier.residuals);
        for (inputs, (samples, residuals)) in of_earlier.chunks_exact_mut(EARLIER).zip(planes) {
            fill_earlier(inputs, samples.all(), residuals.all(), (index, samples.stride()));
        }
        if let Some(seen) = &mut self.seen {
            let missed = (own.samples.all()[index] << FRACTION_BITS) - blend;
            seen.extend(self.inputs.iter().copied().chain([missed as i16]));
        }
        let Some((network, kernel)) = self.network else { return (blend, 0) };
        let outputs = network.run(kernel, &self.inputs, &mut self.memory);
        (blend.saturating_add(outputs[0]), outputs[1].clamp(0, OCTAVES as i32 - 1))
    }
}

/// What is known of the channel, and what others predict, relative to the blend.
#[inline(always)]
fn fill_own(inputs: &mut [i16], own: &Channel, index: usize, (seen, blend): ([i32; SEEN], i32)) {
    let (samples, stride) = (own.samples.all(), own.samples.stride());
    let width = 2 * REACH + 1;
    for row in 0..REACH {
        let start = index - (REACH - row) * stride - REACH;
        fill_row(&mut inputs[row * width..][..width], &samples[start..][..width], blend);
    }
    fill_row(&mut inputs[REACH * width..][..REACH], &samples[index - REACH..][..REACH], blend);
    let others = &mut inputs[REACH * width + REACH..];
    for (input, prediction) in others.iter_mut().zip(seen) {
        *input = (prediction - blend).clamp(-MAX_INPUT, MAX_INPUT) as i16;
    }
    let back = [1, stride, stride + 1, stride - 1, 2, 2 * stride];
    for (input, back) in others[SEEN..].iter_mut().zip(back) {
        *input = own.residuals.all()[index - back] as i16;
    }
}

/// Samples around in a channel before, relative to the one here; this one, relative to two before it;
/// and what was left of some.
#[inline(always)]
fn fill_earlier(
    inputs: &mut [i16],
    samples: &[i32],
    residuals: &[i32],
    (index, stride): (usize, usize),
) {
    let (here, width) = (samples[index] << FRACTION_BITS, 2 * REACH_EARLIER + 1);
    for row in 0..width {
        let start = index + row * stride - REACH_EARLIER * (stride + 1);
        fill_row(&mut inputs[row * width..][..width], &samples[start..][..width], here);
    }
    let around = (samples[index - 1] + samples[index - stride]) << FRACTION_BITS;
    inputs[REACH_EARLIER * (width + 1)] = (here - (around >> 1)) as i16;
    let places = [index, index - 1, index - stride, index + 1, index + stride];
    for (input, place) in inputs[width * width..].iter_mut().zip(places) {
        *input = residuals[place] as i16;
    }
}

/// Differences of samples of [`BITS`], which 16 bits hold.
#[inline(always)]
fn fill_row(inputs: &mut [i16], samples: &[i32], from: i32) {
    for (input, sample) in inputs.iter_mut().zip(samples) {
        *input = ((sample << FRACTION_BITS) - from) as i16;
    }
}
