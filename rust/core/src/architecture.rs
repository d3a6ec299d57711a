//! From the description of the transform in a model's config to its networks.

use safetensors::Dtype;
use serde::Deserialize;

use crate::conv::{Block, Conv, LIMIT};
use crate::error::Result;
use crate::kernels::Kernel;
use crate::quantizer::Quantizer;
use crate::tensors::{Tensors, invalid};
use crate::transform::{Analysis, Synthesis, Transform};
use crate::trunk::Op;

/// Largest magnitude of a pixel as the networks see it.
const MAX_PIXEL: i32 = 255;
/// Largest number of steps of a trunk, of channels, of a window's side, stride or fold.
const MAX_STEPS: usize = 64;
const MAX_CHANNELS: usize = 1024;
const MAX_SIDE: usize = 32;

/// `runtime.transform` of a model's config.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformConfig {
    analysis: NetworkConfig,
    synthesis: NetworkConfig,
    codebook: Option<CodebookConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkConfig {
    trunk: Vec<OpConfig>,
    out: ConvConfig,
    skip: Option<ConvConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodebookConfig {
    size: usize,
    width: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpConfig {
    Conv(ConvConfig),
    Block(BlockConfig),
    Gain(GainConfig),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConvConfig {
    name: String,
    inputs: usize,
    outputs: usize,
    size: usize,
    #[serde(default = "one")]
    stride: usize,
    #[serde(default = "one")]
    fold: usize,
    #[serde(default)]
    relu: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockConfig {
    name: String,
    width: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GainConfig {
    name: String,
    channels: usize,
}

fn one() -> usize {
    1
}

impl TransformConfig {
    /// Takes the networks' tensors out of a model file.
    pub fn read(
        &self,
        tensors: &mut Tensors,
        (stride, variables, levels): (usize, usize, usize),
        alphabet: Option<usize>,
        kernel: Kernel,
    ) -> Result<Transform> {
        let quantizer = self.quantizer(tensors, variables, alphabet)?;
        let channels = variables * quantizer.width();
        let mut reader = Reader { tensors, levels };
        let NetworkConfig { trunk, out, skip } = &self.analysis;
        let analysis = Analysis {
            trunk: reader.trunk(trunk, MAX_PIXEL)?,
            out: reader.linear(out, if trunk.is_empty() { MAX_PIXEL } else { LIMIT })?,
            skip: skip.as_ref().map(|skip| reader.linear(skip, MAX_PIXEL)).transpose()?,
            gain: reader.tensors.gain("analysis.gain", levels, channels)?,
        };
        let NetworkConfig { trunk, out, skip } = &self.synthesis;
        let skip = skip.as_ref().map(|skip| {
            let gain = reader.tensors.gain("synthesis.skip_gain", levels, channels)?;
            Ok((gain, reader.linear(skip, LIMIT)?))
        });
        let synthesis = Synthesis {
            skip: skip.transpose()?,
            gain: reader.tensors.gain("synthesis.gain", levels, channels)?,
            trunk: reader.trunk(trunk, LIMIT)?,
            out: reader.linear(out, LIMIT)?,
        };
        Transform::new(analysis, synthesis, quantizer, (stride, variables), kernel)
    }

    /// The codes of the transform must be those of the prior, numbers or an `alphabet`.
    fn quantizer(
        &self,
        tensors: &mut Tensors,
        variables: usize,
        alphabet: Option<usize>,
    ) -> Result<Quantizer> {
        let Some(CodebookConfig { size, width }) = self.codebook else {
            return match alphabet {
                None => Ok(Quantizer::Grid),
                Some(_) => Err(invalid("a categorical prior goes with a codebook")),
            };
        };
        if alphabet != Some(size) || width == 0 || width > MAX_CHANNELS / variables {
            return Err(invalid(format!("codebooks of {size} x {width} do not fit a model")));
        }
        let table = tensors.table("quantizer.codebook", &[variables, size, width])?;
        Ok(Quantizer::Codebook { size, width, table })
    }
}

struct Reader<'a, 'b> {
    tensors: &'a mut Tensors<'b>,
    levels: usize,
}

impl Reader<'_, '_> {
    /// The steps of a trunk; `max_input` bounds what the first one sees.
    fn trunk(&mut self, steps: &[OpConfig], mut max_input: i32) -> Result<Vec<Op>> {
        if steps.len() > MAX_STEPS {
            return Err(invalid(format!("a trunk has more than {MAX_STEPS} steps")));
        }
        let mut trunk = Vec::new();
        for step in steps {
            trunk.push(match step {
                OpConfig::Conv(conv) => Op::Conv(self.conv(conv, max_input)?, conv.relu),
                OpConfig::Block(block) => Op::Block(self.block(block)?),
                OpConfig::Gain(GainConfig { name, channels }) => {
                    Op::Gain(self.tensors.gain(name, self.levels, *channels)?)
                }
            });
            max_input = LIMIT;
        }
        Ok(trunk)
    }

    fn block(&mut self, BlockConfig { name, width }: &BlockConfig) -> Result<Block> {
        let conv = |part: &str, size| ConvConfig {
            name: format!("{name}.{part}"),
            inputs: *width,
            outputs: *width,
            size,
            stride: 1,
            fold: 1,
            relu: false,
        };
        let spatial = self.conv(&conv("spatial", 3), LIMIT)?;
        Ok(Block { spatial, mix: self.conv(&conv("mix", 1), LIMIT)? })
    }

    /// A convolution whose outputs are not activations.
    fn linear(&mut self, conv: &ConvConfig, max_input: i32) -> Result<Conv> {
        if conv.relu {
            return Err(invalid(format!("{}: there is no ReLU here", conv.name)));
        }
        self.conv(conv, max_input)
    }

    fn conv(&mut self, conv: &ConvConfig, max_input: i32) -> Result<Conv> {
        let &ConvConfig { ref name, inputs, outputs, size, stride, fold, .. } = conv;
        let counts = [inputs, outputs].iter().all(|count| (1..=MAX_CHANNELS).contains(count));
        let sides = [size, stride, fold].iter().all(|side| (1..=MAX_SIDE).contains(side));
        if !counts || !sides || size < stride {
            return Err(invalid(format!("{name}: its shape is not one of a convolution")));
        }
        let (columns, rows) = (inputs * size * size, outputs * fold * fold);
        let kind = (Dtype::I16, None);
        let layer = self.tensors.layer(name, (columns, max_input), rows, kind)?;
        Ok(Conv { layer, size, stride, fold })
    }
}
