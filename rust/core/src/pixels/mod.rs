#![doc = include_str!("FORMAT.md")]

mod around;
mod mixture;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::checksum::ModelId;
use crate::entropy::{Decoder, Encoder, Meter, SymbolCoder};
use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::lossless::{self, Shape};
use crate::network::{Layer, MAX_ACTIVATION, activate};
use crate::tensors::{Tensors, invalid, runtime_of};
use around::{COLOURS, INPUTS, Known, MAX_INPUT};
use mixture::{MAX_PARTS, Mixture};

/// First byte of a tile that a model of pixels has coded; all others are those of [`lossless`].
const NETWORK: u8 = 4;

/// Largest number of hidden units.
const MAX_HIDDEN: usize = 1024;

/// Place of each sample of an RGB pixel in the order of coding.
const CODED: [usize; COLOURS] = [1, 0, 2];

/// A model of the pixels of small pictures: one exact network for each colour.
#[derive(Debug, Clone)]
pub struct PixelModel {
    /// Name by content.
    pub id: ModelId,
    /// JSON as it stands in the file.
    pub config: String,
    networks: [Network; COLOURS],
    /// Number of logistics.
    parts: usize,
    kernel: Kernel,
}

/// `context`, `hidden1`, `hidden2` and `head` of a colour, and their biases.
type Network = [(Layer, Vec<i32>); 4];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runtime {
    pixels: PixelsConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PixelsConfig {
    hidden: usize,
    mixture: usize,
}

impl PixelModel {
    /// Reads a model file and proves that its arithmetic cannot overflow.
    pub fn load(file: &[u8]) -> Result<Self> {
        let kernel = Kernel::select()?;
        let (config, Runtime { pixels: PixelsConfig { hidden, mixture } }) = runtime_of(file)?;
        if !(1..=MAX_HIDDEN).contains(&hidden) || !(1..=MAX_PARTS).contains(&mixture) {
            let why = format!("there are no networks of {hidden} units for {mixture} logistics");
            return Err(invalid(why));
        }
        let mut tensors = Tensors::new(SafeTensors::deserialize(file).map_err(invalid)?);
        let mut network = |colour: usize| {
            let mut layer = |name: &str, inputs, rows| {
                let name = format!("pixels.{colour}.{name}");
                let layer = tensors.layer(&name, inputs, rows, (Dtype::I8, None))?;
                let biases = layer.biases_at(0);
                Ok((layer, biases))
            };
            Ok::<_, Error>([
                layer("context", (INPUTS, MAX_INPUT), hidden)?,
                layer("hidden1", (hidden, MAX_ACTIVATION), hidden)?,
                layer("hidden2", (hidden, MAX_ACTIVATION), hidden)?,
                layer("head", (hidden, MAX_ACTIVATION), 3 * mixture)?,
            ])
        };
        let networks = [network(0)?, network(1)?, network(2)?];
        tensors.check_nothing_left(&["pixels."])?;
        Ok(Self { id: ModelId::of(file), config, networks, parts: mixture, kernel })
    }

    /// The same model on another kernel: nothing but its speed changes.
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// Encodes the samples of a tile as [`lossless::encode_tile`] does, or in fewer bytes.
    pub fn encode_tile(&self, samples: &[u16], shape: &Shape) -> Result<Vec<u8>> {
        let plain = lossless::encode_tile(samples, shape)?;
        if !fits(shape) {
            return Ok(plain);
        }
        let mut coder = Encoder::default();
        self.code(&mut known(samples, shape), &mut coder)?;
        let tile = [&[NETWORK], &coder.finish()[..]].concat();
        Ok(if tile.len() < plain.len() { tile } else { plain })
    }

    /// Mirror of [`encode_tile`](Self::encode_tile).
    pub fn decode_tile(&self, bytes: &[u8], shape: &Shape) -> Result<Vec<u16>> {
        let payload = match bytes.split_first() {
            Some((&NETWORK, payload)) => payload,
            _ => return lossless::decode_tile(bytes, shape),
        };
        shape.check()?;
        if !fits(shape) {
            return Err(Error::Corrupted { what: "a model of pixels codes 8-bit colours only" });
        }
        let mut picture = known(&vec![0; shape.samples()], shape);
        let mut coder = Decoder::new(payload);
        self.code(&mut picture, &mut coder)?;
        coder.finish()?;
        let samples = |pixel: &[u8; COLOURS]| CODED.map(|place| pixel[place].into());
        Ok(picture.pixels.iter().flat_map(samples).collect())
    }

    /// Bits of information in the samples of a tile under the model's integers.
    pub fn cross_entropy(&self, samples: &[u16], shape: &Shape) -> Result<f64> {
        shape.check()?;
        let in_range = samples.iter().all(|&sample| sample <= shape.max());
        if !fits(shape) || samples.len() != shape.samples() || !in_range {
            return Err(Error::InvalidInput("a model of pixels codes 8-bit colours only".into()));
        }
        let mut coder = Meter::default();
        self.code(&mut known(samples, shape), &mut coder)?;
        Ok(coder.bits())
    }

    /// Codes all samples: a decoder fills them in, other coders read them.
    fn code(&self, picture: &mut Known, coder: &mut impl SymbolCoder) -> Result<()> {
        let (mut inputs, mut memory) = (Vec::new(), Memory::default());
        let mut mixture = Mixture::default();
        for diagonal in picture.diagonals() {
            inputs.resize(diagonal.len() * INPUTS, 0);
            let each = diagonal.iter().zip(inputs.chunks_exact_mut(INPUTS));
            let guesses: Vec<_> =
                each.map(|(&place, inputs)| picture.inputs(place, inputs)).collect();
            for (colour, network) in self.networks.iter().enumerate() {
                let outputs = memory.run(network, self.kernel, &inputs);
                let pixels = diagonal.iter().zip(&guesses).zip(inputs.chunks_exact_mut(INPUTS));
                let each = pixels.zip(outputs.chunks_exact(3 * self.parts));
                for (((&place, guesses), inputs), outputs) in each {
                    let guess = guesses[colour];
                    mixture.set(outputs, guess.into());
                    let sample = picture.pixels[place.0 * picture.width + place.1][colour];
                    let sample = coder.code(sample.into(), &mixture)? as u8;
                    picture.enter(place, colour, sample, guess, inputs);
                }
            }
        }
        Ok(())
    }
}

/// Whether a tile was coded by a model of pixels.
pub(crate) fn is_network(tile: &[u8]) -> bool {
    tile.first() == Some(&NETWORK)
}

/// What the layers of a network write into.
#[derive(Default)]
struct Memory {
    activations: Vec<i16>,
    outputs: Vec<i32>,
}

impl Memory {
    /// The head's outputs for vectors of inputs.
    fn run(&mut self, network: &Network, kernel: Kernel, inputs: &[i16]) -> &[i32] {
        let count = inputs.len() / INPUTS;
        for (number, (layer, biases)) in network.iter().enumerate() {
            let inputs = match number.checked_sub(1) {
                None => inputs,
                Some(before) => {
                    self.activations.resize(count * layer.stride(), 0);
                    let rows = network[before].0.rows();
                    activate(&self.outputs, rows, layer.stride(), &mut self.activations);
                    &self.activations
                }
            };
            self.outputs.resize(count * layer.rows(), 0);
            layer.apply(kernel, biases, inputs, &mut self.outputs);
        }
        &self.outputs
    }
}

fn fits(shape: &Shape) -> bool {
    usize::from(shape.channels) == COLOURS && shape.bits == 8
}

/// The samples of a tile in the order of coding.
fn known(samples: &[u16], shape: &Shape) -> Known {
    let pixels = samples.as_chunks().0.iter();
    let pixels = pixels.map(|pixel: &[u16; COLOURS]| CODED.map(|place| pixel[place] as u8));
    Known { width: shape.width as usize, height: shape.height as usize, pixels: pixels.collect() }
}
