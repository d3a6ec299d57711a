//! Random model files and codes, shared by the tests and the benchmark.

#![allow(dead_code, missing_docs)]

use safetensors::{Dtype, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use vqcodec_core::order::{Source, steps};
use vqcodec_core::{CodeGrid, Model};

/// A small pseudorandom generator (SplitMix64): the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub fn within(&mut self, low: i32, high: i32) -> i32 {
        low + (self.next() % (high - low + 1) as u64) as i32
    }
}

/// Sizes of a random model. An `alphabet` makes its head categorical.
#[derive(Clone)]
pub struct Sizes {
    pub slices: Vec<usize>,
    pub hidden: usize,
    pub quality_levels: usize,
    pub alphabet: Option<usize>,
    pub seed: u64,
}

pub const EMBEDDING: usize = 2;

impl Sizes {
    pub fn logistic() -> Self {
        Self { slices: vec![2, 3], hidden: 8, quality_levels: 3, alphabet: None, seed: 1 }
    }

    pub fn categorical() -> Self {
        Self { alphabet: Some(6), ..Self::logistic() }
    }

    pub fn variables(&self) -> usize {
        self.slices.iter().sum()
    }

    pub fn model(&self) -> Model {
        Model::load(&self.parts().file()).expect("a valid model")
    }

    /// Random codes that the model can code; of a number of `scale` where that is free.
    pub fn codes(&self, height: usize, width: usize, scale: i32) -> CodeGrid {
        let mut random = Random(self.seed + 100);
        let shape = [self.variables(), height, width];
        let codes = (0..shape.iter().product()).map(|_| match self.alphabet {
            Some(alphabet) => random.within(0, alphabet as i32 - 1),
            None => random.within(-scale, scale) * random.within(0, scale) / scale.max(1),
        });
        CodeGrid::new(shape, codes.collect()).expect("valid codes")
    }

    /// The parts of the model's file, to be changed where a test wants a bad one.
    pub fn parts(&self) -> Parts {
        let mut random = Random(self.seed);
        let mut parts = Parts { config: self.config(), tensors: BTreeMap::new() };
        let features = self.alphabet.map_or(1, |_| EMBEDDING);
        let parameters = self.alphabet.unwrap_or(2);
        if let Some(alphabet) = self.alphabet {
            let shape = [self.variables(), alphabet, EMBEDDING];
            let count = shape.iter().product();
            let table = (0..count).flat_map(|_| (random.within(-40, 40) as i16).to_le_bytes());
            parts.put("prior.embedding", Dtype::I16, &shape, table.collect());
        }
        parts.put("decoder.weight", Dtype::F32, &[1], vec![0; 4]);
        let levels = Some(self.quality_levels);
        let mut first = 0;
        for (slice, &variables) in self.slices.iter().enumerate() {
            for (number, step) in steps(slice).iter().enumerate() {
                let seen = step.taps.iter().map(|tap| match tap.source {
                    Source::Earlier => first,
                    Source::Own => variables,
                });
                let columns = seen.sum::<usize>() * features;
                let name = format!("prior.{slice}.{number}.context");
                parts.layer(&mut random, &name, [self.hidden, columns], levels, 3);
            }
            let square = [self.hidden, self.hidden];
            parts.layer(&mut random, &format!("prior.{slice}.hidden1"), square, None, 7);
            parts.layer(&mut random, &format!("prior.{slice}.hidden2"), square, None, 7);
            let shape = [variables * parameters, self.hidden];
            parts.layer(&mut random, &format!("prior.{slice}.head"), shape, levels, 6);
            first += variables;
        }
        parts
    }

    fn config(&self) -> String {
        let head = match self.alphabet {
            None => r#""logistic""#.to_string(),
            Some(alphabet) => {
                format!(r#""categorical", "alphabet": {alphabet}, "embedding": {EMBEDDING}"#)
            }
        };
        format!(
            r#"{{"name": "tiny", "runtime": {{"stride": 16, "quality_levels": {}, "prior":
               {{"slices": {:?}, "hidden": {}, "head": {head}}}}}}}"#,
            self.quality_levels, self.slices, self.hidden
        )
    }
}

/// The config and the tensors of a model file.
pub struct Parts {
    pub config: String,
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    pub fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.tensors.insert(name.into(), (dtype, shape.to_vec(), bytes));
    }

    fn layer(
        &mut self,
        random: &mut Random,
        name: &str,
        [rows, columns]: [usize; 2],
        levels: Option<usize>,
        shift: u8,
    ) {
        let weights = (0..rows * columns).map(|_| random.within(-127, 127) as u8).collect();
        self.put(&format!("{name}.weight"), Dtype::I8, &[rows, columns], weights);
        let shape: Vec<usize> = levels.into_iter().chain([rows]).collect();
        let count: usize = shape.iter().product();
        let biases = (0..count).flat_map(|_| random.within(-2000, 2000).to_le_bytes()).collect();
        self.put(&format!("{name}.bias"), Dtype::I32, &shape, biases);
        self.put(&format!("{name}.shift"), Dtype::U8, &[rows], vec![shift; rows]);
    }

    /// Makes all logistic heads predict a mean of 0 and a scale of 1, as a trained model roughly
    /// does: random ones would send every code through the escape.
    pub fn calm_heads(&mut self) {
        for (name, (_, shape, bytes)) in &mut self.tensors {
            if name.ends_with("head.weight") {
                bytes.fill(0);
            }
            if name.ends_with("head.bias") {
                let rows = shape[1];
                for (index, bias) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
                    let class = if index % rows < rows / 2 { 0 } else { 96_i32 << 6 };
                    *bias = class.to_le_bytes();
                }
            }
        }
    }

    pub fn file(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        let metadata = HashMap::from([("config".to_string(), self.config.clone())]);
        safetensors::serialize(views, Some(metadata)).expect("a model file")
    }
}
