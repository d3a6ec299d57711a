//! Random model files and codes, shared by the tests and the benchmark.

#![allow(dead_code, missing_docs)]

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
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

/// Sizes of a random model. An `alphabet` makes its head categorical; with `coarse` slices there
/// is a coarse level.
#[derive(Clone)]
pub struct Sizes {
    pub coarse: Vec<usize>,
    pub slices: Vec<usize>,
    pub hidden: usize,
    pub quality_levels: usize,
    pub alphabet: Option<usize>,
    pub seed: u64,
}

pub const EMBEDDING: usize = 2;

impl Sizes {
    pub fn logistic() -> Self {
        let slices = vec![2, 3];
        Self { coarse: vec![], slices, hidden: 8, quality_levels: 3, alphabet: None, seed: 1 }
    }

    pub fn categorical() -> Self {
        Self { alphabet: Some(6), ..Self::logistic() }
    }

    /// The same with a coarse level of 3 variables.
    pub fn two_levels(self) -> Self {
        Self { coarse: vec![1, 2], ..self }
    }

    pub fn variables(&self) -> usize {
        self.slices.iter().sum()
    }

    pub fn model(&self) -> Model {
        Model::load(&self.parts().file()).expect("a valid model")
    }

    /// Random codes of the fine level that the model can code; of a number of `scale` where that is
    /// free.
    pub fn codes(&self, height: usize, width: usize, scale: i32) -> CodeGrid {
        self.grid([self.variables(), height, width], scale, Random(self.seed + 100))
    }

    /// The same for all levels, coarse to fine.
    pub fn all_codes(&self, height: usize, width: usize, scale: i32) -> Vec<CodeGrid> {
        let shape = [self.coarse.iter().sum(), height.div_ceil(2), width.div_ceil(2)];
        let coarse = || self.grid(shape, scale, Random(self.seed + 200));
        let coarse = (!self.coarse.is_empty()).then(coarse);
        coarse.into_iter().chain([self.codes(height, width, scale)]).collect()
    }

    fn grid(&self, shape: [usize; 3], scale: i32, mut random: Random) -> CodeGrid {
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
        parts.put("decoder.weight", Dtype::F32, &[1], vec![0; 4]);
        self.prior(&mut parts, &mut random, "prior", &self.slices, &self.coarse);
        if !self.coarse.is_empty() {
            self.prior(&mut parts, &mut random, "coarse.prior", &self.coarse, &[]);
        }
        parts
    }

    /// A prior's tensors, which sees the slices of a `coarse` level.
    fn prior(
        &self,
        parts: &mut Parts,
        random: &mut Random,
        prior: &str,
        slices: &[usize],
        coarse: &[usize],
    ) {
        let features = self.alphabet.map_or(1, |_| EMBEDDING);
        let parameters = self.alphabet.unwrap_or(2);
        if let Some(alphabet) = self.alphabet {
            let shape = [slices.iter().sum(), alphabet, EMBEDDING];
            let count = shape.iter().product();
            let table = (0..count).flat_map(|_| (random.within(-40, 40) as i16).to_le_bytes());
            let table = table.collect();
            parts.put(&format!("{prior}.embedding"), Dtype::I16, &shape, table);
        }
        let levels = Some(self.quality_levels);
        let mut first = coarse.iter().sum();
        for (slice, &variables) in slices.iter().enumerate() {
            for (number, step) in steps(slice, !coarse.is_empty()).iter().enumerate() {
                let seen = step.taps.iter().map(|tap| match tap.source {
                    Source::Earlier => first,
                    Source::Own => variables,
                });
                let columns = seen.sum::<usize>() * features;
                let name = format!("{prior}.{slice}.{number}.context");
                parts.layer(random, &name, [self.hidden, columns], levels, 3);
            }
            let square = [self.hidden, self.hidden];
            parts.layer(random, &format!("{prior}.{slice}.hidden1"), square, None, 7);
            parts.layer(random, &format!("{prior}.{slice}.hidden2"), square, None, 7);
            let shape = [variables * parameters, self.hidden];
            parts.layer(random, &format!("{prior}.{slice}.head"), shape, levels, 6);
            first += variables;
        }
    }

    fn config(&self) -> String {
        let head = match self.alphabet {
            None => r#""logistic""#.to_string(),
            Some(alphabet) => {
                format!(r#""categorical", "alphabet": {alphabet}, "embedding": {EMBEDDING}"#)
            }
        };
        let prior = |slices: &[usize]| {
            format!(r#"{{"slices": {slices:?}, "hidden": {}, "head": {head}}}"#, self.hidden)
        };
        let coarse = match &self.coarse[..] {
            [] => String::new(),
            slices => format!(r#", "coarse": {{"stride": 32, "prior": {}}}"#, prior(slices)),
        };
        format!(
            r#"{{"name": "tiny", "runtime": {{"stride": 16, "quality_levels": {}, "prior":
               {}{coarse}}}}}"#,
            self.quality_levels,
            prior(&self.slices),
        )
    }
}

/// A transform of stride 2 for `variables`, with every kind of step and windows that overlap everywhere.
pub fn transform(variables: usize) -> Value {
    let conv = |name: &str, inputs, outputs, size| json!({"name": name, "inputs": inputs, "outputs": outputs, "size": size});
    let with = |mut conv: Value, key: &str, value: Value| {
        conv[key] = value;
        conv
    };
    let n = variables;
    json!({
        "analysis": {
            "trunk": [
                {"conv": with(conv("analysis.stem", 3, 4, 3), "relu", json!(true))},
                {"gain": {"name": "analysis.stem_gain", "channels": 4}},
                {"block": {"name": "analysis.fine", "width": 4}},
                {"conv": with(conv("analysis.down", 4, 6, 5), "stride", json!(2))},
            ],
            "out": conv("analysis.out", 6, n, 3),
            "skip": with(conv("analysis.skip", 3, n, 8), "stride", json!(2)),
        },
        "synthesis": {
            "trunk": [
                {"conv": conv("synthesis.stem", n, 4, 3)},
                {"block": {"name": "synthesis.coarse", "width": 4}},
                {"conv": with(conv("synthesis.up", 4, 3, 3), "fold", json!(2))},
                {"gain": {"name": "synthesis.up_gain", "channels": 3}},
            ],
            "out": conv("synthesis.out", 3, 3, 5),
            "skip": with(conv("synthesis.skip", n, 3, 7), "fold", json!(2)),
        },
    })
}

/// What a coarse level of stride 4 adds to [`transform`].
pub fn coarse_transform(variables: usize, fine_variables: usize) -> Value {
    let (m, n) = (variables, fine_variables);
    json!({
        "out": {"name": "coarse.out", "inputs": 6, "outputs": m, "size": 2, "stride": 2},
        "skip": {"name": "coarse.skip", "inputs": 3, "outputs": m, "size": 4, "stride": 4},
        "up": {"name": "coarse.up", "inputs": m, "outputs": n, "size": 1, "fold": 2},
    })
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

    /// Changes the config.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut config = serde_json::from_str(&self.config).expect("JSON");
        change(&mut config);
        self.config = config.to_string();
    }

    /// Adds a transform of [`transform`]'s kind with random tensors. Accumulators come as near to the
    /// end of int32 as they may; where it is `violent` they are hardly shifted, so most outputs are
    /// clamped, else few of them are.
    pub fn add_transform(&mut self, transform: Value, stride: usize, levels: usize, violent: bool) {
        let mut random = Random(7);
        let channels = transform["synthesis"]["skip"]["inputs"].as_u64().expect("a skip") as usize;
        let mut gains: Vec<(String, usize)> =
            ["analysis.gain", "synthesis.gain", "synthesis.skip_gain"]
                .map(|name| (name.into(), channels))
                .into();
        for (side, pixels) in [("analysis", 255), ("synthesis", 16383)] {
            let network = &transform[side];
            let mut largest = pixels;
            for step in network["trunk"].as_array().expect("a trunk") {
                if let Some(conv) = step.get("conv") {
                    self.conv(&mut random, conv, largest, violent);
                } else if let Some(block) = step.get("block") {
                    let (name, width) = (block["name"].as_str().expect("a name"), &block["width"]);
                    for (part, size) in [("spatial", 3), ("mix", 1)] {
                        let conv = json!({"name": format!("{name}.{part}"), "inputs": width, "outputs": width, "size": size});
                        self.conv(&mut random, &conv, 16383, violent);
                    }
                } else {
                    let gain = &step["gain"];
                    let name = gain["name"].as_str().expect("a name");
                    gains
                        .push((name.into(), gain["channels"].as_u64().expect("a number") as usize));
                }
                largest = 16383;
            }
            self.conv(&mut random, &network["out"], largest, violent);
            self.conv(&mut random, &network["skip"], pixels, violent);
        }
        for (name, channels) in gains {
            self.gain(&mut random, &name, levels, channels);
        }
        if let Some(coarse) = transform.get("coarse") {
            self.add_coarse(coarse, levels, violent);
        }
        self.edit(|config| {
            config["runtime"]["transform"] = transform;
            config["runtime"]["stride"] = json!(stride);
            if let Some(coarse) = config["runtime"].get_mut("coarse") {
                coarse["stride"] = json!(2 * stride);
            }
        });
    }

    /// What [`coarse_transform`] describes; all other tensors stay those of a model of one level.
    fn add_coarse(&mut self, coarse: &Value, levels: usize, violent: bool) {
        let mut random = Random(8);
        let mut skip_up = coarse["up"].clone();
        skip_up["name"] = json!("coarse.skip_up");
        for (conv, largest) in [
            (&coarse["out"], 16383),
            (&coarse["skip"], 255),
            (&coarse["up"], 16383),
            (&skip_up, 16383),
        ] {
            self.conv(&mut random, conv, largest, violent);
        }
        let channels = skip_up["inputs"].as_u64().expect("a number") as usize;
        for name in ["coarse.analysis_gain", "coarse.synthesis_gain"] {
            self.gain(&mut random, name, levels, channels);
        }
    }

    fn gain(&mut self, random: &mut Random, name: &str, levels: usize, channels: usize) {
        let table =
            (0..levels * channels).flat_map(|_| random.within(-1 << 17, 1 << 17).to_le_bytes());
        let table = table.collect();
        self.put(&format!("{name}.log2"), Dtype::I32, &[levels, channels], table);
    }

    fn conv(&mut self, random: &mut Random, conv: &Value, largest: i64, violent: bool) {
        let [inputs, outputs, size] =
            ["inputs", "outputs", "size"].map(|key| conv[key].as_u64().expect("a number") as usize);
        let fold = conv.get("fold").map_or(1, |fold| fold.as_u64().expect("a number") as usize);
        let name = conv["name"].as_str().expect("a name");
        let (rows, columns) = (outputs * fold * fold, inputs * size * size);
        let peak = ((1 << 31) / largest / columns as i64).min(32767) as i32;
        let (mut weights, mut biases, mut all_shifts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rows {
            let shift = if violent { random.within(0, 4) } else { random.within(12, 15) };
            let row: Vec<i32> = (0..columns).map(|_| random.within(-peak, peak)).collect();
            let magnitude: i64 = row.iter().map(|weight| i64::from(weight.abs())).sum();
            let room = (1 << 31) - 2 - magnitude * largest - ((1 << shift) >> 1);
            let bias = i64::from(random.within(-64, 64)) * room / if violent { 64 } else { 4096 };
            biases.extend((bias as i32).to_le_bytes());
            weights.extend(row.iter().flat_map(|&weight| (weight as i16).to_le_bytes()));
            all_shifts.push(shift as u8);
        }
        self.put(&format!("{name}.weight"), Dtype::I16, &[rows, columns], weights);
        self.put(&format!("{name}.bias"), Dtype::I32, &[rows], biases);
        self.put(&format!("{name}.shift"), Dtype::U8, &[rows], all_shifts);
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
