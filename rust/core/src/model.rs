//! From the bytes of a model file to a proven prior and transform.
//!
//! A model file is safetensors. Only the `runtime` object of its config and the tensors that it
//! describes matter here. Files without `runtime.transform` hold float networks for the Python
//! side under names of its own; codes can be read and written with them.

use std::ops::Range;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::architecture::{Alphabet, TransformConfig};
use crate::categorical::MAX_ALPHABET;
use crate::checksum::ModelId;
use crate::context::{ContextPrior, Head, Slice, Step};
use crate::error::{Error, Result};
use crate::features::Embedding;
use crate::header::MAX_LOG2;
use crate::kernels::Kernel;
use crate::network::{MAX_ACTIVATION, MAX_FEATURE, QUALITY_STEPS};
use crate::order::{self, StepOrder};
pub use crate::tensors::config_of;
use crate::tensors::{Tensors, invalid, runtime_of};
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
    /// Base-2 logarithm of the pixels from one position of the fine level to the next.
    pub stride_log2: u8,
    /// Number of quality levels; see [`max_quality`](Self::max_quality).
    pub quality_levels: usize,
    /// The prior of the coarse level, if there is one; its stride is twice the fine level's.
    pub coarse_prior: Option<ContextPrior>,
    /// The prior of the fine level, or of the only one.
    pub prior: ContextPrior,
    /// The networks between pixels and codes.
    pub transform: Option<Transform>,
    /// The kernel that all networks run on.
    pub kernel: Kernel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runtime {
    stride: u32,
    quality_levels: usize,
    prior: PriorConfig,
    coarse: Option<CoarseConfig>,
    transform: Option<TransformConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoarseConfig {
    stride: u32,
    prior: PriorConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorConfig {
    /// Variables of each slice.
    slices: Vec<usize>,
    hidden: usize,
    head: HeadKind,
    #[serde(default)]
    centred: bool,
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
        let (config, runtime): (_, Runtime) = runtime_of(file)?;
        let stride_log2 = check_runtime(&runtime)?;

        let mut tensors = Tensors::new(SafeTensors::deserialize(file).map_err(invalid)?);
        let levels = runtime.quality_levels;
        let mut reader = PriorReader { tensors: &mut tensors, levels, kernel };
        let coarse = runtime.coarse.as_ref().map(|coarse| &coarse.prior);
        let coarse_prior = coarse.map(|config| reader.prior("coarse.prior", config, 0));
        let coarse_prior = coarse_prior.transpose()?;
        let seen = coarse_prior.as_ref().map_or(0, ContextPrior::channels);
        let prior = reader.prior("prior", &runtime.prior, seen)?;
        let alphabets = (runtime.prior.alphabet(), coarse.map(PriorConfig::alphabet));
        let shape = (runtime.stride as usize, levels);
        let transform = runtime.transform.as_ref();
        let transform = transform
            .map(|config| config.read(&mut tensors, shape, alphabets, kernel))
            .transpose()?;
        tensors.check_nothing_left(match transform {
            Some(_) => &["prior.", "analysis.", "synthesis.", "quantizer.", "coarse."],
            None => &["prior.", "coarse.prior."],
        })?;
        Ok(Self {
            id: ModelId::of(file),
            config,
            stride_log2,
            quality_levels: levels,
            coarse_prior,
            prior,
            transform,
            kernel,
        })
    }

    /// The same model on another kernel: nothing but its speed changes.
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        for prior in self.coarse_prior.iter_mut().chain([&mut self.prior]) {
            prior.kernel = kernel;
        }
        self.transform = self.transform.map(|transform| transform.with_kernel(kernel));
        self.kernel = kernel;
        self
    }

    /// The levels, coarse to fine: base-2 logarithms of their strides, and their priors.
    pub fn levels(&self) -> impl Iterator<Item = (u8, &ContextPrior)> {
        let coarse = self.coarse_prior.iter().map(|prior| (self.stride_log2 + 1, prior));
        coarse.chain([(self.stride_log2, &self.prior)])
    }

    /// Refuses a quality position that the model does not have.
    pub(crate) fn check_quality(&self, quality: u8) -> Result<()> {
        match self.max_quality() {
            max if quality > max => Err(Error::InvalidInput(format!(
                "quality position {quality} is above the model's {max}"
            ))),
            _ => Ok(()),
        }
    }

    /// The highest quality position, in 1/16 of a level.
    pub fn max_quality(&self) -> u8 {
        ((self.quality_levels - 1) * QUALITY_STEPS) as u8 // at most 240 by check_runtime
    }
}

impl PriorConfig {
    /// What the codes of the level may be.
    fn alphabet(&self) -> Alphabet {
        let Self { ref slices, centred, alphabet, .. } = *self;
        Alphabet { variables: slices.iter().sum(), size: alphabet, centred }
    }
}

/// Checks the bounds of everything in `runtime`; returns the base-2 logarithm of the stride.
fn check_runtime(runtime: &Runtime) -> Result<u8> {
    if !runtime.stride.is_power_of_two() || runtime.stride > 1 << MAX_LOG2 {
        return Err(invalid(format!("stride = {} is no power of two up to 32768", runtime.stride)));
    }
    check_count("quality_levels", runtime.quality_levels, MAX_QUALITY_LEVELS)?;
    check_prior(&runtime.prior)?;
    let has_coarse = runtime.transform.as_ref().map(TransformConfig::has_coarse);
    if has_coarse.is_some_and(|has_coarse| has_coarse != runtime.coarse.is_some()) {
        return Err(invalid("a coarse level has both a prior and a transform"));
    }
    if let Some(CoarseConfig { stride, prior }) = &runtime.coarse {
        if *stride != 2 * runtime.stride || *stride > 1 << MAX_LOG2 {
            return Err(invalid(format!(
                "the coarse stride, {stride}, is not twice the fine one, or it is above 32768"
            )));
        }
        check_prior(prior)?;
        if prior.centred || runtime.prior.centred {
            return Err(invalid("codes of two levels do not count from their means"));
        }
        if prior.head != runtime.prior.head {
            return Err(invalid("the heads of the two levels are of different kinds"));
        }
    }
    Ok(runtime.stride.trailing_zeros() as u8)
}

fn check_prior(prior: &PriorConfig) -> Result<()> {
    check_count("hidden", prior.hidden, MAX_HIDDEN)?;
    check_count("slices", prior.slices.len(), MAX_SLICES)?;
    for &variables in &prior.slices {
        check_count("variables of a slice", variables, MAX_VARIABLES)?;
    }
    check_count("variables", prior.slices.iter().sum(), MAX_VARIABLES)?;
    if prior.centred && prior.head != HeadKind::Logistic {
        return Err(invalid("only numbers count from their means"));
    }
    match (prior.head, prior.alphabet, prior.embedding) {
        (HeadKind::Logistic, None, None) => Ok(()),
        (HeadKind::Categorical, Some(alphabet), Some(embedding)) => {
            check_count("alphabet - 1", alphabet.saturating_sub(1), MAX_ALPHABET - 1)?;
            check_count("embedding", embedding, MAX_EMBEDDING)?;
            let widest = prior.slices.iter().max().copied().unwrap_or(0);
            check_count("outputs of a slice", widest * alphabet, MAX_OUTPUTS)
        }
        _ => Err(invalid(
            "a categorical head has an alphabet and an embedding, a logistic head neither",
        )),
    }
}

fn check_count(what: &str, value: usize, max: usize) -> Result<()> {
    match value {
        0 => Err(invalid(format!("its config has no {what}"))),
        _ if value > max => Err(invalid(format!("{what} = {value} is above {max}"))),
        _ => Ok(()),
    }
}

/// Takes priors' tensors out of a file.
struct PriorReader<'a, 'b> {
    tensors: &'a mut Tensors<'b>,
    levels: usize,
    kernel: Kernel,
}

impl PriorReader<'_, '_> {
    /// The prior under a name; it sees `coarse` features of another level.
    fn prior(&mut self, name: &str, config: &PriorConfig, coarse: usize) -> Result<ContextPrior> {
        let head = self.head(name, config)?;
        let mut slices = Vec::new();
        let mut first = 0;
        for (index, &variables) in config.slices.iter().enumerate() {
            let name = format!("{name}.{index}");
            let orders = order::steps(index, coarse > 0);
            let earlier = coarse + first * head.features();
            let variables = first..first + variables;
            first = variables.end;
            slices.push(self.slice(&name, (orders, earlier), variables, &head, config.hidden)?);
        }
        Ok(ContextPrior::new(coarse, head, slices, self.kernel))
    }

    fn head(&mut self, name: &str, config: &PriorConfig) -> Result<Head> {
        let (Some(alphabet), Some(width)) = (config.alphabet, config.embedding) else {
            return Ok(Head::Logistic { centred: config.centred });
        };
        let name = format!("{name}.embedding");
        let shape = [config.slices.iter().sum(), alphabet, width];
        let table = self.tensors.table(&name, &shape)?;
        Ok(Head::Categorical {
            alphabet,
            embedding: Embedding::new(&name, alphabet, width, table)?,
        })
    }

    /// The slice under a name; its steps see `earlier` features before its own ones.
    fn slice(
        &mut self,
        name: &str,
        (orders, earlier): (Vec<StepOrder>, usize),
        variables: Range<usize>,
        head: &Head,
        hidden: usize,
    ) -> Result<Slice> {
        let levels = Some(self.levels);
        let own = earlier..earlier + variables.len() * head.features();
        let mut steps = Vec::new();
        for (number, StepOrder { pattern, sequential, taps }) in orders.into_iter().enumerate() {
            let seen = taps.iter().map(|tap| tap.channels(&own).len());
            let inputs = (seen.sum(), MAX_FEATURE);
            let name = format!("{name}.{number}.context");
            let context = self.tensors.layer(&name, inputs, hidden, (Dtype::I8, levels))?;
            steps.push(Step { pattern, sequential, taps, context });
        }
        let outputs = variables.len() * head.parameters();
        let mut layer = |part: &str, rows, levels| {
            let inputs = (hidden, MAX_ACTIVATION);
            self.tensors.layer(&format!("{name}.{part}"), inputs, rows, (Dtype::I8, levels))
        };
        let shared = [
            layer("hidden1", hidden, None)?,
            layer("hidden2", hidden, None)?,
            layer("head", outputs, levels)?,
        ];
        Ok(Slice { variables, steps, shared })
    }
}
