//! From the description of the transform in a model's config to its networks.

use safetensors::Dtype;
use serde::Deserialize;

use crate::coarse::Coarse;
use crate::conv::{Block, Conv, LIMIT};
use crate::error::Result;
use crate::kernels::Kernel;
use crate::latents::Head;
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
    coarse: Option<CoarseConfig>,
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
struct CoarseConfig {
    out: ConvConfig,
    skip: Option<ConvConfig>,
    up: ConvConfig,
    codebook: Option<CodebookConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodebookConfig {
    size: usize,
    width: usize,
    #[serde(default)]
    priced: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpConfig {
    Conv(ConvConfig),
    Block(BlockConfig),
    Gain(GainConfig),
}

#[derive(Deserialize, Clone)]
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

/// What the codes of a level may be, as its prior has them.
#[derive(Clone, Copy)]
pub struct Alphabet {
    /// Codes of a position.
    pub variables: usize,
    /// How many codes there are, from 0, or none where they are numbers.
    pub size: Option<usize>,
    /// Whether they count from the prior's means.
    pub centred: bool,
}

impl TransformConfig {
    /// Whether it describes a coarse level.
    pub fn has_coarse(&self) -> bool {
        self.coarse.is_some()
    }

    /// Takes the networks' tensors out of a model file whose fine level has this `stride` and whose
    /// levels have codes of these kinds.
    pub fn read(
        &self,
        tensors: &mut Tensors,
        (stride, levels): (usize, usize),
        (codes, coarse_codes): (Alphabet, Option<Alphabet>),
        kernel: Kernel,
    ) -> Result<Transform> {
        let quantizer = read_quantizer(tensors, "quantizer", &self.codebook, codes)?;
        let channels = codes.variables * quantizer.width();
        let mut reader = Reader { tensors, levels };
        let NetworkConfig { trunk, out, skip } = &self.analysis;
        let largest = if trunk.is_empty() { MAX_PIXEL } else { LIMIT };
        let analysis = Analysis {
            trunk: reader.trunk(trunk, MAX_PIXEL)?,
            head: Head {
                out: reader.linear(out, largest)?,
                skip: skip.as_ref().map(|skip| reader.linear(skip, MAX_PIXEL)).transpose()?,
                gain: reader.tensors.gain("analysis.gain", levels, channels)?,
            },
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
        let skip = synthesis.skip.is_some();
        let coarse = self.coarse.as_ref().zip(coarse_codes);
        let coarse = coarse.map(|(config, codes)| config.read(&mut reader, largest, codes, skip));
        let coarse = coarse.transpose()?;
        Transform::new(analysis, synthesis, (quantizer, coarse), (stride, codes.variables), kernel)
    }
}

impl CoarseConfig {
    /// Takes a coarse level's tensors out of a model file; the trunk of the analysis gives numbers up
    /// to `largest`, and where the synthesis has a `skip` the coarse codes have a share in it.
    fn read(
        &self,
        reader: &mut Reader,
        largest: i32,
        codes: Alphabet,
        skip: bool,
    ) -> Result<Coarse> {
        let Self { out, skip: analysis_skip, up, codebook } = self;
        let quantizer = read_quantizer(reader.tensors, "coarse.quantizer", codebook, codes)?;
        let channels = codes.variables * quantizer.width();
        let analysis_skip = analysis_skip.as_ref().map(|skip| reader.linear(skip, MAX_PIXEL));
        let skip_up = ConvConfig { name: "coarse.skip_up".into(), ..up.clone() };
        Ok(Coarse {
            head: Head {
                out: reader.linear(out, largest)?,
                skip: analysis_skip.transpose()?,
                gain: reader.tensors.gain("coarse.analysis_gain", reader.levels, channels)?,
            },
            quantizer,
            gain: reader.tensors.gain("coarse.synthesis_gain", reader.levels, channels)?,
            up: reader.linear(up, LIMIT)?,
            skip_up: skip.then(|| reader.linear(&skip_up, LIMIT)).transpose()?,
        })
    }
}

/// The codes of the transform must be those of the prior.
fn read_quantizer(
    tensors: &mut Tensors,
    name: &str,
    codebook: &Option<CodebookConfig>,
    codes: Alphabet,
) -> Result<Quantizer> {
    let &Some(CodebookConfig { size, width, priced }) = codebook else {
        return match codes.size {
            None if codes.centred => Ok(Quantizer::Centred),
            None => Ok(Quantizer::Grid),
            Some(_) => Err(invalid("a categorical prior goes with a codebook")),
        };
    };
    if codes.size != Some(size) || width == 0 || width > MAX_CHANNELS / codes.variables {
        return Err(invalid(format!("codebooks of {size} x {width} do not fit a model")));
    }
    let table = tensors.table(&format!("{name}.codebook"), &[codes.variables, size, width])?;
    let prices = match priced {
        true => tensors.numbers(&format!("{name}.price"), &[codes.variables, size])?,
        false => vec![0; codes.variables * size],
    };
    Ok(Quantizer::Codebook { size, width, table, prices })
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
