//! A model of the pixels of small pictures: an exact network for each colour gives each sample a distribution.

use super::around::{COLOURS, INPUTS, Known, MAX_INPUT};
use super::following::Following;
use super::mixture::{MAX_PARTS, Mixture};
use crate::entropy::{Decoder, Encoder, Meter, SymbolCoder};
use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::lossless::Shape;
use crate::network::Layer;
use crate::perceptron::{Memory, Perceptron};
use crate::tensors::invalid;

/// Place of each sample of an RGB pixel in the order of coding.
const CODED: [usize; COLOURS] = [1, 0, 2];

const UNSUITABLE: &str = "a model of pixels codes 8-bit colours only";

/// The networks of all colours.
#[derive(Debug, Clone)]
pub struct Local {
    networks: [Perceptron; COLOURS],
    /// Number of logistics.
    parts: usize,
}

/// Whether the networks know what to make of such samples.
pub fn suits(shape: &Shape) -> bool {
    usize::from(shape.channels) == COLOURS && shape.bits == 8
}

impl Local {
    /// Takes the layers of `hidden` units and a mixture of so many logistics from where `layer` finds
    /// them, by their colour, name, `(inputs, largest input)` and number of outputs.
    pub fn new(
        hidden: usize,
        mixture: usize,
        mut layer: impl FnMut(usize, &str, (usize, i32), usize) -> Result<Layer>,
    ) -> Result<Self> {
        if !(1..=MAX_PARTS).contains(&mixture) {
            return Err(invalid(format!("there are no networks for {mixture} logistics")));
        }
        let mut network = |colour| {
            Perceptron::new((INPUTS, MAX_INPUT), hidden, 3 * mixture, |name, inputs, outputs| {
                layer(colour, name, inputs, outputs)
            })
        };
        Ok(Self { networks: [network(0)?, network(1)?, network(2)?], parts: mixture })
    }

    /// The payload of a tile, which [`suits`].
    pub fn encode(&self, samples: &[u16], shape: &Shape, kernel: Kernel) -> Result<Vec<u8>> {
        let mut coder = Encoder::default();
        self.code(&mut known(samples, shape), true, kernel, &mut coder)?;
        Ok(coder.finish())
    }

    /// Mirror of [`encode`](Self::encode), or of what it did when biases did not follow the picture.
    pub fn decode(
        &self,
        payload: &[u8],
        shape: &Shape,
        follows: bool,
        kernel: Kernel,
    ) -> Result<Vec<u16>> {
        shape.check()?;
        if !suits(shape) {
            return Err(Error::Corrupted { what: UNSUITABLE });
        }
        let mut picture = known(&vec![0; shape.samples()], shape);
        let mut coder = Decoder::new(payload);
        self.code(&mut picture, follows, kernel, &mut coder)?;
        coder.finish()?;
        let samples = |pixel: &[u8; COLOURS]| CODED.map(|place| pixel[place].into());
        Ok(picture.pixels.iter().flat_map(samples).collect())
    }

    /// Bits of information in the samples of a tile.
    pub fn cross_entropy(&self, samples: &[u16], shape: &Shape, kernel: Kernel) -> Result<f64> {
        shape.check()?;
        let in_range = samples.iter().all(|&sample| sample <= shape.max());
        if !suits(shape) || samples.len() != shape.samples() || !in_range {
            return Err(Error::InvalidInput(UNSUITABLE.into()));
        }
        let mut coder = Meter::default();
        self.code(&mut known(samples, shape), true, kernel, &mut coder)?;
        Ok(coder.bits())
    }

    /// Codes all samples: a decoder fills them in, other coders read them. Where biases follow the picture, they
    /// do so from sample to sample.
    fn code(
        &self,
        picture: &mut Known,
        follows: bool,
        kernel: Kernel,
        coder: &mut impl SymbolCoder,
    ) -> Result<()> {
        let (mut inputs, mut memory) = (Vec::new(), Memory::default());
        let mut mixture = Mixture::default();
        let mut following = vec![Following::new(3 * self.parts); COLOURS];
        for diagonal in picture.diagonals() {
            inputs.resize(diagonal.len() * INPUTS, 0);
            let each = diagonal.iter().zip(inputs.chunks_exact_mut(INPUTS));
            let guesses: Vec<_> =
                each.map(|(&place, inputs)| picture.inputs(place, inputs)).collect();
            for (colour, network) in self.networks.iter().enumerate() {
                let outputs = network.run(kernel, &inputs, &mut memory);
                let pixels = diagonal.iter().zip(&guesses).zip(inputs.chunks_exact_mut(INPUTS));
                let each = pixels.zip(outputs.chunks_exact(3 * self.parts));
                for (((&place, guesses), inputs), outputs) in each {
                    let guess = guesses[colour];
                    mixture.set(following[colour].add(outputs), guess.into());
                    let sample = picture.pixels[place.0 * picture.width + place.1][colour];
                    let sample = coder.code(sample.into(), &mixture)? as u8;
                    if follows {
                        following[colour].learn(&mixture, sample);
                    }
                    picture.enter(place, colour, sample, guess, inputs);
                }
            }
        }
        Ok(())
    }
}

/// The samples of a tile in the order of coding.
fn known(samples: &[u16], shape: &Shape) -> Known {
    let pixels = samples.as_chunks().0.iter();
    let pixels = pixels.map(|pixel: &[u16; COLOURS]| CODED.map(|place| pixel[place] as u8));
    Known { width: shape.width as usize, height: shape.height as usize, pixels: pixels.collect() }
}
