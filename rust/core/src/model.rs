//! From the bytes of a model file to a proven prior.
//!
//! A model file is safetensors. Only the `runtime` object of its config and the tensors named
//! `prior.*` matter here; everything else belongs to the Python side.

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::categorical::MAX_ALPHABET;
use crate::checksum::ModelId;
use crate::container::MAX_LOG2;
use crate::context::{ContextPrior, Head, Slice, Step};
use crate::error::{Error, Result};
use crate::features::Embedding;
use crate::kernels::Kernel;
use crate::network::{Layer, MAX_ACTIVATION, MAX_FEATURE, QUALITY_STEPS};
use crate::order::{self, Source};

/// Largest number of slices, of variables a position and of hidden units.
const MAX_SLICES: usize = 16;
const MAX_VARIABLES: usize = 1024;
const MAX_HIDDEN: usize = 1024;
/// Largest width of an embedding.
const MAX_EMBEDDING: usize = 64;
/// Largest number of head outputs of a slice, which bounds the memory of a batch.
const MAX_OUTPUTS: usize = 1 << 16;
/// Largest number of quality levels: the last level's position, 240, must fit a byte.
const MAX_QUALITY_LEVELS: usize = 16;

/// A model: the exact prior and what a decoder must know besides.
#[derive(Debug, Clone)]
pub struct Model {
    /// Name by content.
    pub id: ModelId,
    /// JSON as it stands in the file.
    pub config: String,
    /// Base-2 logarithm of the pixels from one position to the next.
    pub stride_log2: u8,
    /// Number of quality levels; see [`max_quality`](Self::max_quality).
    pub quality_levels: usize,
    /// The prior of the only level.
    pub prior: ContextPrior,
}

#[derive(Deserialize)]
struct Config {
    runtime: Runtime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runtime {
    stride: u32,
    quality_levels: usize,
    prior: PriorConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorConfig {
    /// Variables of each slice.
    slices: Vec<usize>,
    hidden: usize,
    head: HeadKind,
    alphabet: Option<usize>,
    embedding: Option<usize>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum HeadKind {
    Logistic,
    Categorical,
}

impl Model {
    /// Reads a model file and proves that its arithmetic cannot overflow.
    pub fn load(file: &[u8]) -> Result<Self> {
        let kernel = Kernel::select()?;
        let tensors = SafeTensors::deserialize(file).map_err(invalid)?;
        let (_, metadata) = SafeTensors::read_metadata(file).map_err(invalid)?;
        let config = metadata.metadata().as_ref().and_then(|metadata| metadata.get("config"));
        let config = config.ok_or_else(|| invalid("there is no config in its metadata"))?;
        let Config { runtime } = serde_json::from_str(config)
            .map_err(|error| invalid(format!("its config is not understood: {error}")))?;
        let stride_log2 = check_runtime(&runtime)?;

        let mut reader = PriorReader { tensors, used: 0 };
        let prior = reader.prior(&runtime, kernel)?;
        reader.check_nothing_left()?;
        Ok(Self {
            id: ModelId::of(file),
            config: config.clone(),
            stride_log2,
            quality_levels: runtime.quality_levels,
            prior,
        })
    }

    /// The kernel that the prior runs on.
    pub fn kernel(&self) -> Kernel {
        self.prior.kernel
    }

    /// The same model on another kernel: nothing but its speed changes.
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.prior.kernel = kernel;
        self
    }

    /// The highest quality position, in 1/16 of a level.
    pub fn max_quality(&self) -> u8 {
        ((self.quality_levels - 1) * QUALITY_STEPS) as u8 // at most 240 by check_runtime
    }
}

fn invalid(why: impl ToString) -> Error {
    Error::InvalidModel(why.to_string())
}

/// Checks the bounds of everything in `runtime`; returns the base-2 logarithm of the stride.
fn check_runtime(runtime: &Runtime) -> Result<u8> {
    let check = |what: &str, value: usize, max: usize| match value {
        0 => Err(invalid(format!("its config has no {what}"))),
        _ if value > max => Err(invalid(format!("{what} = {value} is above {max}"))),
        _ => Ok(()),
    };
    let prior = &runtime.prior;
    if !runtime.stride.is_power_of_two() || runtime.stride > 1 << MAX_LOG2 {
        return Err(invalid(format!("stride = {} is no power of two up to 32768", runtime.stride)));
    }
    check("quality_levels", runtime.quality_levels, MAX_QUALITY_LEVELS)?;
    check("hidden", prior.hidden, MAX_HIDDEN)?;
    check("slices", prior.slices.len(), MAX_SLICES)?;
    for &variables in &prior.slices {
        check("variables of a slice", variables, MAX_VARIABLES)?;
    }
    check("variables", prior.slices.iter().sum(), MAX_VARIABLES)?;
    match (prior.head, prior.alphabet, prior.embedding) {
        (HeadKind::Logistic, None, None) => {}
        (HeadKind::Categorical, Some(alphabet), Some(embedding)) => {
            check("alphabet - 1", alphabet.saturating_sub(1), MAX_ALPHABET - 1)?;
            check("embedding", embedding, MAX_EMBEDDING)?;
            let widest = prior.slices.iter().max().copied().unwrap_or(0);
            check("outputs of a slice", widest * alphabet, MAX_OUTPUTS)?;
        }
        _ => {
            return Err(invalid(
                "a categorical head has an alphabet and an embedding, a logistic head neither",
            ));
        }
    }
    Ok(runtime.stride.trailing_zeros() as u8)
}

/// Takes the prior's tensors out of a file, checking type and shape of each.
struct PriorReader<'a> {
    tensors: SafeTensors<'a>,
    /// Number of tensors taken.
    used: usize,
}

impl<'a> PriorReader<'a> {
    fn prior(&mut self, runtime: &Runtime, kernel: Kernel) -> Result<ContextPrior> {
        let head = self.head(&runtime.prior)?;
        let mut slices = Vec::new();
        let mut first = 0;
        for (index, &variables) in runtime.prior.slices.iter().enumerate() {
            slices.push(self.slice(index, first..first + variables, &head, runtime)?);
            first += variables;
        }
        Ok(ContextPrior::new(head, slices, kernel))
    }

    fn head(&mut self, prior: &PriorConfig) -> Result<Head> {
        let (Some(alphabet), Some(width)) = (prior.alphabet, prior.embedding) else {
            return Ok(Head::Logistic);
        };
        let shape = [prior.slices.iter().sum(), alphabet, width];
        let bytes = self.tensor("prior.embedding", Dtype::I16, &shape)?;
        let table = bytes.as_chunks().0.iter().map(|&bytes| i16::from_le_bytes(bytes)).collect();
        Ok(Head::Categorical { alphabet, embedding: Embedding::new(alphabet, width, table)? })
    }

    fn slice(
        &mut self,
        index: usize,
        variables: std::ops::Range<usize>,
        head: &Head,
        runtime: &Runtime,
    ) -> Result<Slice> {
        let (hidden, levels) = (runtime.prior.hidden, runtime.quality_levels);
        let mut steps = Vec::new();
        for (number, order) in order::steps(index).into_iter().enumerate() {
            let seen = order.taps.iter().map(|tap| match tap.source {
                Source::Earlier => variables.start,
                Source::Own => variables.len(),
            });
            let columns = seen.sum::<usize>() * head.features();
            let name = format!("prior.{index}.{number}.context");
            let context = self.layer(&name, (columns, MAX_FEATURE), hidden, Some(levels))?;
            let order::StepOrder { pattern, sequential, taps } = order;
            steps.push(Step { pattern, sequential, taps, context });
        }
        let outputs = variables.len() * head.parameters();
        let inputs = (hidden, MAX_ACTIVATION);
        let shared = [
            self.layer(&format!("prior.{index}.hidden1"), inputs, hidden, None)?,
            self.layer(&format!("prior.{index}.hidden2"), inputs, hidden, None)?,
            self.layer(&format!("prior.{index}.head"), inputs, outputs, Some(levels))?,
        ];
        Ok(Slice { variables, steps, shared })
    }

    /// A layer with one row of biases, or with one for each of `levels`.
    fn layer(
        &mut self,
        name: &str,
        (columns, max_input): (usize, i32),
        rows: usize,
        levels: Option<usize>,
    ) -> Result<Layer> {
        let weights = self.tensor(&format!("{name}.weight"), Dtype::I8, &[rows, columns])?;
        let weights: Vec<i16> = weights.iter().map(|&byte| (byte as i8).into()).collect();
        let shape = [levels.unwrap_or(1), rows];
        let shape = if levels.is_some() { &shape[..] } else { &shape[1..] };
        let biases = self.tensor(&format!("{name}.bias"), Dtype::I32, shape)?;
        let biases = biases.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect();
        let shifts = self.tensor(&format!("{name}.shift"), Dtype::U8, &[rows])?.to_vec();
        Layer::new(name, (columns, max_input), &weights, biases, shifts)
    }

    fn tensor(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|_| invalid(format!("the tensor {name} is missing")))?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            return Err(invalid(format!(
                "{name} is {:?} {:?}, not {dtype:?} {shape:?}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        self.used += 1;
        Ok(tensor.data())
    }

    /// A tensor under `prior.` that nobody asked for means that file and config disagree.
    fn check_nothing_left(&self) -> Result<()> {
        let present = self.tensors.names().iter().filter(|name| name.starts_with("prior.")).count();
        if present != self.used {
            return Err(invalid(format!(
                "it has {present} tensors under prior., but its config describes {}",
                self.used
            )));
        }
        Ok(())
    }
}
