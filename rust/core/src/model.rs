//! From the bytes of a model file to a proven prior and transform.
//!
//! A model file is safetensors. Only the `runtime` object of its config and the tensors that it
//! describes matter here. Files without `runtime.transform` hold float networks for the Python
//! side under names of its own; codes can be read and written with them.

use std::ops::Range;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::architecture::TransformConfig;
use crate::categorical::MAX_ALPHABET;
use crate::checksum::ModelId;
use crate::container::MAX_LOG2;
use crate::context::{ContextPrior, Head, Slice, Step};
use crate::error::Result;
use crate::features::Embedding;
use crate::kernels::Kernel;
use crate::network::{MAX_ACTIVATION, MAX_FEATURE, QUALITY_STEPS};
use crate::order::{self, Source};
use crate::prior::Prior;
use crate::tensors::{Tensors, invalid};
use crate::transform::Transform;

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
    /// The networks between pixels and codes.
    pub transform: Option<Transform>,
    /// The kernel that all networks run on.
    pub kernel: Kernel,
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
    transform: Option<TransformConfig>,
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

        let mut tensors = Tensors::new(tensors);
        let prior = read_prior(&mut tensors, &runtime, kernel)?;
        let shape = (runtime.stride as usize, prior.variables(), runtime.quality_levels);
        let transform = runtime.transform.as_ref();
        let transform = transform
            .map(|config| config.read(&mut tensors, shape, runtime.prior.alphabet, kernel));
        let transform = transform.transpose()?;
        tensors.check_nothing_left(match transform {
            Some(_) => &["prior.", "analysis.", "synthesis.", "quantizer."],
            None => &["prior."],
        })?;
        Ok(Self {
            id: ModelId::of(file),
            config: config.clone(),
            stride_log2,
            quality_levels: runtime.quality_levels,
            prior,
            transform,
            kernel,
        })
    }

    /// The same model on another kernel: nothing but its speed changes.
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.prior.kernel = kernel;
        self.transform = self.transform.map(|transform| transform.with_kernel(kernel));
        self.kernel = kernel;
        self
    }

    /// The highest quality position, in 1/16 of a level.
    pub fn max_quality(&self) -> u8 {
        ((self.quality_levels - 1) * QUALITY_STEPS) as u8 // at most 240 by check_runtime
    }
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

/// Takes the prior's tensors out of a file.
fn read_prior(tensors: &mut Tensors, runtime: &Runtime, kernel: Kernel) -> Result<ContextPrior> {
    let head = read_head(tensors, &runtime.prior)?;
    let mut slices = Vec::new();
    let mut first = 0;
    for (index, &variables) in runtime.prior.slices.iter().enumerate() {
        slices.push(read_slice(tensors, index, first..first + variables, &head, runtime)?);
        first += variables;
    }
    Ok(ContextPrior::new(head, slices, kernel))
}

fn read_head(tensors: &mut Tensors, prior: &PriorConfig) -> Result<Head> {
    let (Some(alphabet), Some(width)) = (prior.alphabet, prior.embedding) else {
        return Ok(Head::Logistic);
    };
    let shape = [prior.slices.iter().sum(), alphabet, width];
    let table = tensors.table("prior.embedding", &shape)?;
    Ok(Head::Categorical { alphabet, embedding: Embedding::new(alphabet, width, table)? })
}

fn read_slice(
    tensors: &mut Tensors,
    index: usize,
    variables: Range<usize>,
    head: &Head,
    runtime: &Runtime,
) -> Result<Slice> {
    let (hidden, levels) = (runtime.prior.hidden, Some(runtime.quality_levels));
    let mut steps = Vec::new();
    for (number, order) in order::steps(index).into_iter().enumerate() {
        let seen = order.taps.iter().map(|tap| match tap.source {
            Source::Earlier => variables.start,
            Source::Own => variables.len(),
        });
        let inputs = (seen.sum::<usize>() * head.features(), MAX_FEATURE);
        let name = format!("prior.{index}.{number}.context");
        let context = tensors.layer(&name, inputs, hidden, (Dtype::I8, levels))?;
        let order::StepOrder { pattern, sequential, taps } = order;
        steps.push(Step { pattern, sequential, taps, context });
    }
    let outputs = variables.len() * head.parameters();
    let mut layer = |name: &str, rows, levels| {
        let name = format!("prior.{index}.{name}");
        tensors.layer(&name, (hidden, MAX_ACTIVATION), rows, (Dtype::I8, levels))
    };
    let shared = [
        layer("hidden1", hidden, None)?,
        layer("hidden2", hidden, None)?,
        layer("head", outputs, levels)?,
    ];
    Ok(Slice { variables, steps, shared })
}
