//! The search for codes that count from their means: its gradients are those of the synthesis and of the prior, what it finds costs about
//! as much as what it starts from or less, and is the same on every kernel and number of threads.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::json;
use std::sync::LazyLock;
use tiny_model::{Parts, Random, Sizes, transform};
use vqcodec_core::adjoint::Field;
use vqcodec_core::centred::Rounding;
use vqcodec_core::context::ContextPrior;
use vqcodec_core::kernels::Kernel;
use vqcodec_core::lengths::{Lengths, trace};
use vqcodec_core::picture::{analyze, search, synthesize};
use vqcodec_core::search::Goal;
use vqcodec_core::stream::{Picture, cross_entropy, read_codes, settle, write_file};
use vqcodec_core::{CodeGrid, Error, Limits, Model};

const STRIDE: usize = 2;

fn parts(change: impl FnOnce(&mut serde_json::Value)) -> Parts {
    let sizes = Sizes::logistic();
    let mut transform = transform(sizes.variables());
    change(&mut transform);
    let mut parts = sizes.parts();
    parts.add_transform(transform, STRIDE, sizes.quality_levels, false);
    parts.edit(|config| config["runtime"]["prior"]["centred"] = json!(true));
    parts.calm_heads();
    for (name, (_, _, bytes)) in &mut parts.tensors {
        if name.starts_with("synthesis") && name.ends_with(".log2") {
            for gain in bytes.as_chunks_mut().0 {
                // below 1/2, so that few activations leave their range
                *gain = (-i32::from_le_bytes(*gain).abs() - (1 << 16)).to_le_bytes();
            }
        }
    }
    parts
}

static MODEL: LazyLock<Model> =
    LazyLock::new(|| Model::load(&parts(|_| {}).file()).expect("a valid model"));

fn pixels([height, width]: [usize; 2], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..height * width * 3).map(|_| random.within(-100, 355).clamp(0, 255) as u8).collect()
}

/// What the search is to lower, as a decoder would measure it.
fn cost(model: &Model, codes: &[CodeGrid], goal: Goal) -> f64 {
    let shown = synthesize(model, codes, goal.size, goal.quality, None, 1).unwrap();
    let errors = shown.iter().zip(goal.pixels).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
    let error: f64 = errors.sum();
    cross_entropy(model, goal.quality, codes, 1, true).unwrap() + goal.weight * error
}

/// Pairs of a gradient's numbers and what they stand for, half the difference between the sums of weighted pixels
/// one code up and one code down.
fn slopes(model: &Model, quality: u8) -> Vec<(f64, f64)> {
    let (shape, mut random) = ([5, 7, 6], Random(5));
    let codes: Vec<_> = (0..shape.iter().product()).map(|_| random.within(-3, 3) * 256).collect();
    let grid = |codes: &[i32]| CodeGrid::new(shape, codes.to_vec()).unwrap();
    let (height, width) = (shape[1] * STRIDE, shape[2] * STRIDE);
    let values: Vec<_> =
        (0..height * width * 3).map(|_| random.within(-99, 99) as f32 / 8.0).collect();
    let transform = model.transform.as_ref().unwrap();
    let sum = |codes: &[i32]| -> f64 {
        let trace = transform.trace(&grid(codes), quality).unwrap();
        let sums = trace.sums.iter().zip(&values);
        sums.map(|(&sum, &value)| f64::from(sum) / 64.0 * f64::from(value)).sum()
    };
    let weights = Field { height, width, channels: 3, values: values.clone() };
    let trace = transform.trace(&grid(&codes), quality).unwrap();
    let gradient = transform.gradient(&trace, &weights, quality).unwrap();
    assert_eq!([gradient.height, gradient.width, gradient.channels], [shape[1], shape[2], 5]);
    let difference = |index: usize| {
        let [mut up, mut down] = [codes.clone(), codes.clone()];
        up[index] += 256;
        down[index] -= 256;
        (sum(&up) - sum(&down)) / 2.0
    };
    let positions = shape[1] * shape[2];
    let of = |index: usize| gradient.values[index % positions * shape[0] + index / positions];
    (0..codes.len()).map(|index| (of(index).into(), difference(index))).collect()
}

/// `1 - r` of the correlation, and the squared distance as a share of the squared differences.
fn misfit(pairs: &[(f64, f64)]) -> [f64; 2] {
    let sum = |term: fn(f64, f64) -> f64| pairs.iter().map(|&(a, b)| term(a, b)).sum::<f64>();
    let [squares_a, squares_b] = [sum(|a, _| a * a), sum(|_, b| b * b)];
    assert!(squares_b > 0.0);
    let product = sum(|a, b| a * b);
    [1.0 - product / (squares_a * squares_b).sqrt(), sum(|a, b| (a - b) * (a - b)) / squares_b]
}

#[test]
fn gradients_of_linear_networks_are_exact_but_for_rounding() {
    for conv in [
        json!({"size": 3}),
        json!({"size": 4}),
        json!({"size": 1, "fold": 2}),
        json!({"size": 3, "fold": 2}),
        json!({"size": 2, "fold": 2}),
    ] {
        let fold = conv.get("fold").map_or(1, |fold| fold.as_u64().unwrap());
        let parts = parts(|transform| {
            let synthesis = &mut transform["synthesis"];
            let mut step = json!({"name": "synthesis.a", "inputs": 5, "outputs": 4});
            step.as_object_mut().unwrap().extend(conv.as_object().unwrap().clone());
            let gain = json!({"gain": {"name": "synthesis.g", "channels": 4}});
            synthesis["trunk"] = json!([{"conv": step}, gain]);
            synthesis["out"] = json!({"name": "synthesis.out", "inputs": 4, "outputs": 3, "size": 3, "fold": 2 / fold});
        });
        let model = Model::load(&parts.file()).unwrap();
        for quality in [0, 21] {
            let [correlation, distance] = misfit(&slopes(&model, quality));
            assert!(distance < 0.03, "{conv}: 1 - r = {correlation}, distance = {distance}");
        }
    }
}

#[test]
fn gradients_of_all_kinds_of_steps() {
    for quality in [0, 21, 32] {
        let [correlation, distance] = misfit(&slopes(&MODEL, quality));
        assert!(correlation < 0.02 && distance < 0.04, "1 - r = {correlation}, {distance}");
    }
}

/// A prior in which all hidden units are within their range, so that means and scales are linear in the codes.
/// All scales are of one class, but for what contexts change; a larger `mean_shift` lets means move less.
fn linear_prior(class: i32, mean_shift: u8) -> Model {
    let mut random = Random(9);
    let mut parts = parts(|_| {});
    for (name, (_, shape, bytes)) in &mut parts.tensors {
        if name.contains("hidden") && name.ends_with("weight") {
            let columns = shape[1];
            let diagonal = |index| if index / columns == index % columns { 127 } else { 0 };
            bytes.iter_mut().enumerate().for_each(|(index, weight)| *weight = diagonal(index));
        } else if name.ends_with("context.bias") {
            let biases = bytes.as_chunks_mut().0.iter_mut();
            biases.for_each(|bias| *bias = (16_000_i32 << 3).to_le_bytes());
        } else if name.contains("hidden") && name.ends_with("bias") {
            bytes.fill(0);
        } else if name.ends_with("head.weight") {
            // with sums of 0: what all units have in common changes nothing
            for pair in bytes.as_chunks_mut::<2>().0 {
                let weight = random.within(-30, 30) as i8;
                *pair = [weight, -weight].map(|weight| weight as u8);
            }
        } else if name.ends_with("head.shift") {
            let means = bytes.len() / 2;
            bytes[..means].fill(mean_shift);
            bytes[means..].fill(12);
        } else if name.ends_with("head.bias") {
            let rows = shape[1];
            for (index, bias) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
                let class = if index % rows < rows / 2 { 0 } else { class << 12 };
                *bias = class.to_le_bytes();
            }
        }
    }
    Model::load(&parts.file()).unwrap()
}

/// The lengths of codes, or of what numbers become with a rounding.
fn lengths(
    prior: &ContextPrior,
    codes: &mut CodeGrid,
    quality: u8,
    rounding: Option<Rounding>,
) -> Lengths {
    let traces = trace(prior, codes, quality, rounding).unwrap();
    Lengths::of(prior, codes, traces)
}

/// Measuring numbers that become codes on the way: the same as making codes of them first.
#[test]
fn lengths_of_codes_that_are_settled_on_the_way() {
    let prior = &MODEL.prior;
    let (shape, mut random) = ([5, 13, 9], Random(11));
    let numbers: Vec<_> = (0..shape.iter().product()).map(|_| random.within(-2000, 2000)).collect();
    for (quality, worth) in [(0, [0.5; 5]), (21, [9.0, 0.1, 2.0, 0.0, 4.0])] {
        for rounding in [Rounding::Cheapest(&worth), Rounding::Nearest(0), Rounding::Nearest(60)] {
            let mut codes = CodeGrid::new(shape, numbers.clone()).unwrap();
            let mut settled = codes.clone();
            prior.settle(&mut settled, quality, rounding).unwrap();
            let found = lengths(prior, &mut codes, quality, Some(rounding));
            assert!(codes == settled && codes.codes() != numbers);
            let again = lengths(prior, &mut codes, quality, None);
            assert!(codes == settled && found.codes == again.codes);
        }
    }
}

/// Bits of all codes but one, with that one up and down: half the difference, beside the gradient. Scales are large,
/// so codes stay where they are when their means move.
#[test]
fn gradients_of_the_lengths_of_other_codes() {
    const CHANGE: i32 = 8;
    let (model, shape, mut random) = (linear_prior(176, 6), [5, 6, 7], Random(3));
    let codes: Vec<_> = (0..shape.iter().product()).map(|_| random.within(-2560, 2560)).collect();
    let [variables, height, width] = shape;
    let positions = height * width;
    let place = |index: usize| index % positions * variables + index / positions;
    for quality in [0, 21] {
        let found = |codes: &[i32]| {
            let mut codes = CodeGrid::new(shape, codes.to_vec()).unwrap();
            lengths(&model.prior, &mut codes, quality, None)
        };
        let values = vec![0.0; codes.len()];
        let mut gradient = Field { height, width, channels: variables, values };
        found(&codes).add_gradient(&model.prior, &mut gradient).unwrap();
        assert_eq!(
            [gradient.height, gradient.width, gradient.channels],
            [height, width, variables]
        );
        let others = |index: usize, change: i32| -> f64 {
            let mut changed = codes.clone();
            changed[index] += change << 8;
            let lengths = found(&changed).codes;
            let all: i64 = lengths.iter().map(|&length| i64::from(length)).sum();
            (all - i64::from(lengths[place(index)])) as f64 / 65536.0
        };
        let pairs: Vec<_> = (0..codes.len())
            .map(|index| {
                let sum = others(index, CHANGE) - others(index, -CHANGE);
                let difference = sum / f64::from(2 * CHANGE);
                (gradient.values[place(index)].into(), difference)
            })
            .collect();
        let [correlation, distance] = misfit(&pairs);
        assert!(correlation < 0.02 && distance < 0.04, "1 - r = {correlation}, {distance}");
    }
}

/// Scales are small, so codes are where their means are and move with them: weighted sums of codes, with one up and
/// down, beside the gradient. A single cell of the lattice, in which no step sees itself.
#[test]
fn gradients_of_codes_that_move_with_their_means() {
    let (model, shape) = (linear_prior(20, 9), [5, 2, 2]);
    let [variables, height, width] = shape;
    let place = |index: usize| index % (height * width) * variables + index / (height * width);
    for (quality, seed) in [(0, 1), (0, 2), (21, 3), (21, 4)] {
        let mut random = Random(seed);
        let numbers: Vec<_> = (0..20).map(|_| random.within(-700, 700)).collect();
        let settled = |numbers: &[i32]| {
            let mut codes = CodeGrid::new(shape, numbers.to_vec()).unwrap();
            model.prior.settle(&mut codes, quality, Rounding::Nearest(0)).unwrap();
            codes
        };
        let mut codes = settled(&numbers);
        let weights: Vec<_> = (0..20).map(|_| random.within(-99, 99) as f32 / 8.0).collect();
        let mut gradient = Field { height, width, channels: variables, values: weights.clone() };
        let found = lengths(&model.prior, &mut codes, quality, None);
        found.add_gradient(&model.prior, &mut gradient).unwrap();
        let moved = |index: usize, change: i32| -> f64 {
            let mut numbers = codes.codes().to_vec();
            numbers[index] += change;
            let codes = settled(&numbers);
            let codes = codes.codes().iter().enumerate();
            codes.map(|(index, &code)| f64::from(weights[place(index)]) * f64::from(code)).sum()
        };
        let pairs: Vec<_> = (0..20)
            .map(|index| {
                let difference = (moved(index, 256) - moved(index, -256)) / 512.0;
                (gradient.values[place(index)].into(), difference)
            })
            .collect();
        let [correlation, distance] = misfit(&pairs);
        assert!(
            correlation < 0.01 && distance < 0.02,
            "1 - r = {correlation}, {distance}: {pairs:?}"
        );
    }
}

#[test]
fn threads_and_kernels_do_not_matter() {
    let size = [269, 37]; // three windows
    let pixels = pixels(size, 3);
    let goal = Goal { pixels: &pixels, size, quality: 21, weight: 0.02 };
    let mut results = Vec::new();
    for kernel in Kernel::available() {
        let model = MODEL.clone().with_kernel(kernel);
        for threads in [1, 2, 5] {
            let start = analyze(&model, &pixels, size, (goal.quality, 0), threads).unwrap();
            let found = search(&model, start.clone(), goal, 1, threads).unwrap();
            assert!(cost(&model, &found, goal) < cost(&model, &start, goal));
            assert!(found == search(&model, start, goal, 1, threads).unwrap());
            results.push(found);
        }
    }
    assert!(results.iter().all(|found| *found == results[0]));
    let picture = Picture {
        width: 37,
        height: 269,
        quality: goal.quality,
        gray: false,
        alpha: None,
        filter: b"",
    };
    let (file, _) = write_file(&MODEL, picture, &results[0], 1).unwrap();
    assert!(read_codes(&MODEL, &file, &Limits::default(), 1, 0).unwrap() == results[0]);
}

#[test]
fn more_effort_finds_more() {
    let (size, shape, mut random) = ([64, 64], [5, 32, 32], Random(8));
    let good: Vec<_> = (0..shape.iter().product()).map(|_| random.within(-3, 3)).collect();
    let near = good.iter().map(|code| code + random.within(-1, 1)).collect();
    let [good, start] = [good, near].map(|codes: Vec<i32>| {
        let numbers = codes.into_iter().map(|code| code * 256).collect();
        let mut codes = vec![CodeGrid::new(shape, numbers).unwrap()];
        settle(&MODEL, 16, &mut codes, 0, 1).unwrap();
        codes
    });
    let pixels = synthesize(&MODEL, &good, size, 16, None, 1).unwrap();
    let goal = Goal { pixels: &pixels, size, quality: 16, weight: 0.02 };
    let costs = [0, 1, 2]
        .map(|effort| cost(&MODEL, &search(&MODEL, start.clone(), goal, effort, 1).unwrap(), goal));
    assert!(costs[1] < 0.8 * costs[0] && costs[2] < costs[1], "{costs:?}");
}

#[test]
fn codes_of_codebooks_stay() {
    let sizes = Sizes::categorical();
    let (variables, alphabet) = (sizes.variables(), sizes.alphabet.unwrap());
    let mut parts = sizes.parts();
    parts.add_transform(transform(variables), STRIDE, sizes.quality_levels, false);
    let table = vec![1; 2 * variables * alphabet];
    parts.put("quantizer.codebook", Dtype::I16, &[variables, alphabet, 1], table);
    parts.edit(|config| {
        config["runtime"]["transform"]["codebook"] = json!({"size": alphabet, "width": 1})
    });
    let model = Model::load(&parts.file()).unwrap();
    let pixels = pixels([20, 20], 1);
    let goal = Goal { pixels: &pixels, size: [20, 20], quality: 5, weight: 0.02 };
    let start = analyze(&model, &pixels, goal.size, (goal.quality, 0), 1).unwrap();
    assert!(search(&model, start.clone(), goal, 2, 1).unwrap() == start);
}

#[test]
fn senseless_goals_are_refused() {
    let pixels = pixels([20, 20], 1);
    let good = Goal { pixels: &pixels, size: [20, 20], quality: 5, weight: 0.02 };
    let start = analyze(&MODEL, &pixels, good.size, (good.quality, 0), 1).unwrap();
    let bad = [
        (Goal { weight: f64::NAN, ..good }, 1, "worth"),
        (Goal { weight: 0.0, ..good }, 1, "worth"),
        (Goal { weight: 1e7, ..good }, 1, "worth"),
        (Goal { quality: 33, ..good }, 1, "quality"),
        (Goal { size: [20, 21], ..good }, 1, "pixels"),
        (Goal { pixels: &pixels[..18 * 20 * 3], size: [18, 20], ..good }, 1, "codes"),
        (good, 3, "effort"),
    ];
    for (goal, effort, expected) in bad {
        match search(&MODEL, start.clone(), goal, effort, 1) {
            Err(Error::InvalidInput(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(search(&MODEL, start.clone(), good, 0, 1).unwrap() == start);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the codes are at first: a window's cost never grows, but a little for fewer bits.
    #[test]
    fn nothing_gets_worse(
        height in 1..70_usize,
        width in 1..70_usize,
        quality in 0..33_u8,
        log_weight in -14.0..4.0,
        largest in prop::sample::select(vec![0, 2, 300, 40_000]),
        seed in any::<u64>(),
    ) {
        let (size, mut random) = ([height, width], Random(seed));
        let pixels = pixels(size, seed);
        let goal = Goal { pixels: &pixels, size, quality, weight: f64::exp2(log_weight) };
        let shape = [5, height.div_ceil(STRIDE), width.div_ceil(STRIDE)];
        let codes = (0..shape.iter().product()).map(|_| random.within(-largest, largest));
        let codes = codes.map(|code| code.clamp(-32768, 32767)).collect();
        let start = vec![CodeGrid::new(shape, codes).unwrap()];
        let [before, once, thrice] = [0, 1, 2].map(|effort| {
            let found = search(&MODEL, start.clone(), goal, effort, 1).unwrap();
            let bits = cross_entropy(&MODEL, quality, &found, 1, true).unwrap();
            (bits, cost(&MODEL, &found, goal))
        });
        let at_most = |limit: f64| limit * (1.0 + 1e-4) + 0.1;
        prop_assert!(once.1 <= at_most(1.03 * before.1), "{:?} from {:?}", once, before);
        prop_assert!(once.1 <= at_most(before.1) || once.0 <= before.0, "{:?} from {:?}", once, before);
        prop_assert!(thrice.1 <= at_most(once.1), "{:?} from {:?}", thrice, once);
    }
}
