//! The learned prior: a small exact network that sees the codes known so far.
//!
//! For every step of every slice (see [`order`](crate::order)): gather the features of known codes
//! around a position, and put them through `context -> hidden1 -> hidden2 -> head`. The head's
//! integers are the distributions of the slice's codes at that position. Positions of a step that
//! do not see each other go through the network together.

use std::ops::Range;
use std::sync::OnceLock;

use crate::adapt::Adaptation;
use crate::categorical::Categorical;
use crate::centred::{Origin, Rounding};
use crate::codes::CodeGrid;
use crate::context_gradient::BackwardPrior;
use crate::context_network::{Evaluation, StepTrace};
use crate::entropy::SymbolCoder;
use crate::error::{Error, Result};
use crate::features::{Embedding, FeatureGrid};
use crate::kernels::Kernel;
use crate::logistic::Logistic;
use crate::network::Layer;
use crate::order::{Pattern, Tap};
use crate::prior::Prior;

/// Positions that go through the network together: their contexts fit the level-2 cache.
pub(crate) const BATCH: usize = 32;

/// How the head's outputs describe the codes of one position.
#[derive(Debug, Clone)]
pub enum Head {
    /// A mean in 1/256 symbol for every variable, then a scale class for every variable.
    Logistic {
        /// Whether a code, in 1/256 symbol, is its mean and a whole number of symbols, which is coded;
        /// else it is a whole number itself.
        centred: bool,
    },
    /// `alphabet` logits in 1/256 octave for every variable.
    Categorical {
        /// Number of codes: `0..alphabet`.
        alphabet: usize,
        /// Features of every code.
        embedding: Embedding,
    },
}

impl Head {
    /// Outputs for each variable.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Logistic { .. } => 2,
            Self::Categorical { alphabet, .. } => *alphabet,
        }
    }

    /// Features of each variable.
    pub fn features(&self) -> usize {
        match self {
            Self::Logistic { .. } => 1,
            Self::Categorical { embedding, .. } => embedding.width(),
        }
    }
}

/// One step of a slice.
#[derive(Debug, Clone)]
pub struct Step {
    /// The positions it codes.
    pub pattern: Pattern,
    /// Whether they are coded one at a time.
    pub sequential: bool,
    /// The context, in the order of the inputs of `context`.
    pub taps: Vec<Tap>,
    /// From the context to the first hidden layer.
    pub context: Layer,
}

/// One slice of the variables.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Its variables.
    pub variables: Range<usize>,
    /// Its steps in order.
    pub steps: Vec<Step>,
    /// The layers that its steps share: `hidden1`, `hidden2`, `head`.
    pub shared: [Layer; 3],
}

/// The learned prior of one level.
#[derive(Debug, Clone)]
pub struct ContextPrior {
    /// Number of features a position that a coarse level's prior has, which come before its own; 0
    /// where there is no such level.
    coarse: usize,
    /// Number of features a position, those included.
    channels: usize,
    head: Head,
    slices: Vec<Slice>,
    pub(crate) kernel: Kernel,
    /// Made when it is first needed.
    backward: OnceLock<BackwardPrior>,
}

impl ContextPrior {
    /// Puts checked parts together: [`model`](crate::model) reads and checks them.
    pub(crate) fn new(coarse: usize, head: Head, slices: Vec<Slice>, kernel: Kernel) -> Self {
        let variables = slices.last().map_or(0, |slice| slice.variables.end);
        let channels = coarse + variables * head.features();
        Self { coarse, channels, head, slices, kernel, backward: OnceLock::new() }
    }

    /// The way back through the network.
    pub(crate) fn backward(&self) -> Result<&BackwardPrior> {
        if let Some(backward) = self.backward.get() {
            return Ok(backward);
        }
        let backward = BackwardPrior::new(&self.slices)?;
        Ok(self.backward.get_or_init(|| backward))
    }

    /// Features of a position.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// The slices in coding order.
    pub(crate) fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// Whether codes count from their means.
    pub(crate) fn is_centred(&self) -> bool {
        matches!(self.head, Head::Logistic { centred: true })
    }

    /// Refuses codes that no file can hold: with 16 bits, if they do not count from their means.
    pub(crate) fn check_range(&self, codes: &CodeGrid) -> Result<()> {
        let mut codes = codes.codes().iter().filter(|_| !self.is_centred());
        match codes.find(|&&code| i16::try_from(code).is_err()) {
            Some(code) => {
                Err(Error::InvalidInput(format!("code {code} is outside the 16-bit range")))
            }
            None => Ok(()),
        }
    }

    /// Shape of the features that coding a tile of `height x width` keeps: channels, rows, columns.
    pub fn features_shape(&self, height: usize, width: usize) -> [usize; 3] {
        let [rows, columns] = FeatureGrid::size(height, width);
        [self.channels, rows, columns]
    }

    /// The features of codes that are all known, and of the `coarse` codes before them.
    pub fn features(&self, codes: &CodeGrid, coarse: Option<&FeatureGrid>) -> Result<FeatureGrid> {
        let [variables, height, width] = codes.shape();
        if variables != self.variables() {
            return Err(Error::InvalidInput(format!(
                "the codes have {variables} variables a position, the prior {}",
                self.variables()
            )));
        }
        let mut features = self.first_features([height, width], coarse)?;
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            self.note_features(&mut features, codes, 0..variables, (y, x))?;
        }
        Ok(features)
    }

    /// The features before any code of a tile is known but those of the coarse level.
    pub(crate) fn first_features(
        &self,
        [height, width]: [usize; 2],
        coarse: Option<&FeatureGrid>,
    ) -> Result<FeatureGrid> {
        let needed = [self.coarse, height.div_ceil(2), width.div_ceil(2)];
        let mut features = FeatureGrid::new(height, width, self.channels);
        match coarse {
            None if self.coarse == 0 => {}
            Some(coarse) if self.coarse > 0 && coarse.shape() == needed => {
                features.set_coarse(coarse);
            }
            _ => {
                let why = "the codes do not come with those of the coarse level that they need";
                return Err(Error::InvalidInput(why.into()));
            }
        }
        Ok(features)
    }

    /// What the head says about the positions of one step, in raster order, from this prior's
    /// [`features`](Self::features): `(positions, outputs)` numbers and the number of outputs.
    /// For tests against other implementations of the network, and for its speed.
    pub fn head_outputs(
        &self,
        features: &FeatureGrid,
        quality: u8,
        step: (usize, usize),
    ) -> Result<(Vec<i32>, usize)> {
        let found = self.slices.get(step.0).and_then(|slice| slice.steps.get(step.1));
        let Some(found) = found else {
            return Err(Error::InvalidInput("the prior has no such step".into()));
        };
        let [channels, height, width] = features.shape();
        if channels != self.channels {
            return Err(Error::InvalidInput("the features are another prior's".into()));
        }
        let positions: Vec<_> = found.pattern.positions(height, width).collect();
        let StepTrace { outputs, columns, .. } = self.trace(features, quality, step, &positions);
        Ok((outputs, columns))
    }

    /// Codes the positions of one step in all lanes.
    fn code_step<C: SymbolCoder>(
        &self,
        network: &mut Evaluation,
        lanes: &mut [(&mut Lane<C>, FeatureGrid, Option<Adaptation>)],
        [height, width]: [usize; 2],
    ) -> Result<()> {
        let outputs_each = network.slice.variables.len() * self.head.parameters();
        let batch = if network.step.sequential { 1 } else { (BATCH / lanes.len().max(1)).max(1) };
        let mut categorical = Categorical::default();
        let mut positions = network.step.pattern.positions(height, width);
        let mut chunk = Vec::with_capacity(batch);
        loop {
            chunk.clear();
            chunk.extend(positions.by_ref().take(batch));
            if chunk.is_empty() {
                return Ok(());
            }
            let variables = network.slice.variables.clone();
            let outputs = network.run(lanes.iter().map(|(_, features, _)| features), &chunk);
            let each = outputs.chunks_exact(chunk.len() * outputs_each);
            for ((lane, features, adaptation), outputs) in lanes.iter_mut().zip(each) {
                for (&(y, x), outputs) in chunk.iter().zip(outputs.chunks_exact(outputs_each)) {
                    let Lane { codes, coder, rounding, .. } = &mut **lane;
                    if let Some(adaptation) = adaptation {
                        adaptation.move_to(y, x);
                    }
                    for (index, variable) in variables.clone().enumerate() {
                        let code = codes.at_mut(variable, y, x);
                        *code = match self.head {
                            Head::Logistic { centred } => {
                                let (mean, class) =
                                    (outputs[index], outputs[variables.len() + index]);
                                let mut number = |code, mean| match adaptation {
                                    Some(adaptation) => {
                                        adaptation.code(index, (mean, class), code, *coder)
                                    }
                                    None if C::ECHOES => Ok(code),
                                    None => Logistic::new(mean, class).code(code, *coder),
                                };
                                if centred {
                                    let origin = Origin::of(mean);
                                    let symbol = origin.symbol(*code, class, *rounding, variable);
                                    origin.plus(number(symbol, 0)?)
                                } else {
                                    number(*code, mean)?
                                }
                            }
                            Head::Categorical { alphabet, .. } => {
                                categorical.set_logits(&outputs[index * alphabet..][..alphabet]);
                                coder.code(*code, &categorical)?
                            }
                        };
                    }
                    self.note_features(features, codes, variables.clone(), (y, x))?;
                }
            }
        }
    }

    /// Codes tiles of one size and quality together, each with a coder of its own: weights that were
    /// loaded once serve all of them. The result is that of [`code`](Prior::code) for each.
    pub fn code_together<C: SymbolCoder>(
        &self,
        lanes: &mut [Lane<C>],
        quality: u8,
        adaptive: bool,
    ) -> Result<()> {
        let Some([_, height, width]) = lanes.first().map(|lane| lane.codes.shape()) else {
            return Ok(());
        };
        let adaptive = adaptive && matches!(self.head, Head::Logistic { .. });
        let mut open = Vec::with_capacity(lanes.len());
        for lane in lanes {
            if lane.codes.shape() != [self.variables(), height, width] {
                return Err(Error::InvalidInput("tiles of different sizes".into()));
            }
            let features = self.first_features([height, width], lane.coarse)?;
            open.push((lane, features, None));
        }
        for slice in &self.slices {
            for (_, _, adaptation) in &mut open {
                *adaptation =
                    adaptive.then(|| Adaptation::new(slice.variables.len(), height, width));
            }
            for step in &slice.steps {
                let mut network = Evaluation::new(self, slice, step, quality);
                self.code_step(&mut network, &mut open, [height, width])?;
            }
        }
        Ok(())
    }

    /// Enters the features of some variables of a position, which are known from now on.
    pub(crate) fn note_features(
        &self,
        features: &mut FeatureGrid,
        codes: &CodeGrid,
        variables: Range<usize>,
        (y, x): (usize, usize),
    ) -> Result<()> {
        let target = features.at_mut(y, x, self.own_channels(&variables));
        let width = self.head.features();
        for (variable, target) in variables.zip(target.chunks_exact_mut(width)) {
            let code = codes.at(variable, y, x);
            match &self.head {
                Head::Logistic { centred: false } => target[0] = Embedding::of_number(code),
                Head::Logistic { centred: true } => target[0] = Embedding::of_value(code),
                Head::Categorical { embedding, .. } => {
                    target.copy_from_slice(embedding.of(variable, code)?);
                }
            }
        }
        Ok(())
    }

    /// The features of some variables; before them are those of earlier ones and of the coarse level.
    pub(crate) fn own_channels(&self, variables: &Range<usize>) -> Range<usize> {
        let width = self.head.features();
        self.coarse + variables.start * width..self.coarse + variables.end * width
    }
}

impl Prior for ContextPrior {
    fn variables(&self) -> usize {
        self.slices.last().map_or(0, |slice| slice.variables.end)
    }

    fn code(
        &self,
        codes: &mut CodeGrid,
        coarse: Option<&FeatureGrid>,
        quality: u8,
        adaptive: bool,
        coder: &mut impl SymbolCoder,
    ) -> Result<()> {
        let lane = Lane { codes, coarse, coder, rounding: Rounding::Nearest(0) };
        self.code_together(&mut [lane], quality, adaptive)
    }
}

/// One of several tiles that are coded together.
pub struct Lane<'a, C> {
    /// Its codes: read or filled in.
    pub codes: &'a mut CodeGrid,
    /// The features of the coarse codes, for a prior that sees them.
    pub coarse: Option<&'a FeatureGrid>,
    /// Its coder.
    pub coder: &'a mut C,
    /// How numbers become codes, where codes count from their means: with a decoder it does not matter.
    pub rounding: Rounding<'a>,
}
