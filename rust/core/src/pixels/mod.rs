#![doc = include_str!("FORMAT.md")]

mod around;
mod following;
mod local;
mod mixture;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::checksum::ModelId;
use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::lossless::{self, Learned, Shape};
use crate::tensors::{Tensors, invalid, runtime_of};
use local::Local;

/// First byte of a tile that a model of small pictures has coded; all others are those of [`lossless`].
const NETWORK: u8 = 4;

/// The same where the networks' biases follow the picture.
const FOLLOWING: u8 = 7;

/// Largest number of hidden units.
const MAX_HIDDEN: usize = 1024;

/// A model of pixels: exact networks for each colour.
#[derive(Debug, Clone)]
pub struct PixelModel {
    /// Name by content.
    pub id: ModelId,
    /// JSON as it stands in the file.
    pub config: String,
    networks: Networks,
    kernel: Kernel,
}

#[derive(Debug, Clone)]
enum Networks {
    /// Of small pictures.
    Local(Local),
    /// Of photos, beside the experts of [`lossless`].
    Expert(Learned),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Runtime {
    Pixels { hidden: usize, mixture: usize },
    Expert { hidden: usize },
}

impl PixelModel {
    /// Reads a model file and proves that its arithmetic cannot overflow.
    pub fn load(file: &[u8]) -> Result<Self> {
        let kernel = Kernel::select()?;
        let (config, runtime) = runtime_of(file)?;
        let (Runtime::Pixels { hidden, .. } | Runtime::Expert { hidden }) = runtime;
        if !(1..=MAX_HIDDEN).contains(&hidden) {
            return Err(invalid(format!("there are no networks of {hidden} units")));
        }
        let mut tensors = Tensors::new(SafeTensors::deserialize(file).map_err(invalid)?);
        let networks = match runtime {
            Runtime::Pixels { mixture, .. } => {
                let layer = |colour: usize, name: &str, inputs, rows| {
                    let name = format!("pixels.{colour}.{name}");
                    tensors.layer(&name, inputs, rows, (Dtype::I8, None))
                };
                Networks::Local(Local::new(hidden, mixture, layer)?)
            }
            Runtime::Expert { .. } => {
                let layer = |colour: usize, name: &str, inputs, rows| {
                    let name = format!("expert.{colour}.{name}");
                    tensors.layer(&name, inputs, rows, (Dtype::I16, None))
                };
                Networks::Expert(Learned::new(hidden, layer)?)
            }
        };
        tensors.check_nothing_left(&["pixels.", "expert."])?;
        Ok(Self { id: ModelId::of(file), config, networks, kernel })
    }

    /// The same model on another kernel: nothing but its speed changes.
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// Encodes the samples of a tile as [`lossless::encode_tile`] does, or with the help of the model.
    pub fn encode_tile(&self, samples: &[u16], shape: &Shape) -> Result<Vec<u8>> {
        let local = match &self.networks {
            Networks::Expert(learned) => {
                return lossless::encode_tile_learned(samples, shape, (learned, self.kernel));
            }
            Networks::Local(local) => local,
        };
        let plain = lossless::encode_tile(samples, shape)?;
        if !local::suits(shape) {
            return Ok(plain);
        }
        let tile = [&[FOLLOWING], &local.encode(samples, shape, self.kernel)?[..]].concat();
        Ok(if tile.len() < plain.len() { tile } else { plain })
    }

    /// Mirror of [`encode_tile`](Self::encode_tile).
    pub fn decode_tile(&self, bytes: &[u8], shape: &Shape) -> Result<Vec<u16>> {
        match (&self.networks, bytes.split_first()) {
            (Networks::Expert(learned), _) => {
                lossless::decode_tile_learned(bytes, shape, (learned, self.kernel))
            }
            (Networks::Local(local), Some((&mode @ (NETWORK | FOLLOWING), payload))) => {
                local.decode(payload, shape, mode == FOLLOWING, self.kernel)
            }
            _ => lossless::decode_tile(bytes, shape),
        }
    }

    /// Bits of information in the samples of a tile under the model's integers; an expert has no
    /// distribution of its own.
    pub fn cross_entropy(&self, samples: &[u16], shape: &Shape) -> Result<f64> {
        match &self.networks {
            Networks::Local(local) => local.cross_entropy(samples, shape, self.kernel),
            Networks::Expert(_) => {
                Err(Error::InvalidInput("a learned expert has no distribution of its own".into()))
            }
        }
    }
}

/// Whether a tile was coded by a model of small pictures.
pub(crate) fn is_network(tile: &[u8]) -> bool {
    matches!(tile.first(), Some(&(NETWORK | FOLLOWING)))
}

/// Whether it was while biases followed the picture.
pub(crate) fn is_following(tile: &[u8]) -> bool {
    tile.first() == Some(&FOLLOWING)
}
