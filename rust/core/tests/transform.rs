//! The transform has no seams, is the same on every kernel and number of threads, and every wrong
//! description of one is refused.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::{Value, json};
use std::sync::LazyLock;
use tiny_model::{Parts, Random, Sizes, coarse_transform, transform};
use vqcodec_core::kernels::Kernel;
use vqcodec_core::picture::{analyze, synthesize};
use vqcodec_core::{CodeGrid, Error, Model};

const STRIDE: usize = 2;
/// Whether activations keep most of what they hold, or most of them are clamped.
const CALM: bool = false;
const VIOLENT: bool = true;

/// A model with [`transform`]; latents of one channel for each variable.
fn parts_of(sizes: Sizes, violent: bool) -> Parts {
    let (fine, coarse): (usize, usize) = (sizes.variables(), sizes.coarse.iter().sum());
    let mut parts = sizes.parts();
    let mut transform = transform(fine);
    if coarse > 0 {
        transform["coarse"] = coarse_transform(coarse, fine);
    }
    parts.add_transform(transform, STRIDE, sizes.quality_levels, violent);
    let mut random = Random(9);
    let levels =
        [("quantizer.codebook", fine, ""), ("coarse.quantizer.codebook", coarse, "/coarse")];
    for (name, variables, path) in levels {
        let (Some(alphabet), 1..) = (sizes.alphabet, variables) else { continue };
        let table = (0..variables * alphabet)
            .flat_map(|_| (random.within(-32768, 32767) as i16).to_le_bytes());
        parts.put(name, Dtype::I16, &[variables, alphabet, 1], table.collect());
        parts.edit(|config| {
            let place = format!("/runtime/transform{path}");
            config.pointer_mut(&place).expect("a level")["codebook"] =
                json!({"size": alphabet, "width": 1});
        });
    }
    parts
}

/// A grid model of 5 variables.
fn parts(violent: bool) -> Parts {
    parts_of(Sizes::logistic(), violent)
}

/// The same with codebooks.
fn book_parts(violent: bool) -> Parts {
    parts_of(Sizes::categorical(), violent)
}

/// Grid models and models with codebooks, of one and of two levels.
fn all_parts(violent: bool) -> [Parts; 4] {
    [Sizes::logistic(), Sizes::categorical()]
        .map(|sizes| [sizes.clone(), sizes.two_levels()].map(|sizes| parts_of(sizes, violent)))
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| unreachable!("four models"))
}

fn load(parts: &Parts) -> Model {
    Model::load(&parts.file()).expect("a valid model")
}

fn reason(parts: &Parts) -> String {
    match Model::load(&parts.file()) {
        Err(Error::InvalidModel(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the model was accepted"),
    }
}

/// Pixels `(height, width, 3)`, some of them extreme.
fn pixels(height: usize, width: usize) -> Vec<u8> {
    let mut random = Random(3);
    (0..height * width * 3).map(|_| random.within(-100, 355).clamp(0, 255) as u8).collect()
}

fn codes(shape: [usize; 3], largest: i32) -> CodeGrid {
    let mut random = Random(4);
    let codes = (0..shape.iter().product()).map(|_| random.within(-largest, largest));
    CodeGrid::new(shape, codes.map(|code| code.min(32767)).collect()).expect("valid codes")
}

/// Rows `start..` and columns `start..` of planes `(n, h, w)` of 1, or of pixels of `(h, w, 3)`, `count` of them.
fn crop<T: Copy>(
    values: &[T],
    [planes, height, width, depth]: [usize; 4],
    axis: usize,
    start: usize,
    count: usize,
) -> Vec<T> {
    let inside = |at: usize| (start..start + count).contains(&at);
    let places = values.iter().enumerate().filter(|(index, _)| {
        let position = index / depth % (height * width);
        inside([position / width, position % width][axis])
    });
    assert_eq!(values.len(), planes * height * width * depth);
    places.map(|(_, &value)| value).collect()
}

/// A picture longer than a window agrees with its middle part, which fits one, but for the ends of that.
#[test]
fn windows_leave_no_seams() {
    for (sizes, scales) in
        [(Sizes::logistic(), &[1][..]), (Sizes::logistic().two_levels(), &[2, 1])]
    {
        let model = load(&parts_of(sizes, CALM));
        for axis in 0..2 {
            no_seams(&model, scales, axis);
        }
    }
}

/// The same for levels of which each position covers `scales` fine ones, along one axis.
fn no_seams(model: &Model, scales: &[usize], axis: usize) {
    let (long, short, first, margin) = (300, 100, 100, 12);
    let count = short - 2 * margin;
    let size = |side: usize| if axis == 0 { [side, 3] } else { [3, side] };
    let pixel_size = |side| size(side).map(|side| side * STRIDE);
    let ([h, w], part_size) = (pixel_size(long), pixel_size(short));
    let middle = |grid: &CodeGrid, start, scale| {
        let [n, h, w] = grid.shape();
        crop(grid.codes(), [n, h, w, 1], axis, start, count / scale)
    };

    let all = pixels(h, w);
    let part = crop(&all, [1, h, w, 3], axis, first * STRIDE, short * STRIDE);
    let whole = analyze(model, &all, [h, w], (5, 0), 2).unwrap();
    let part = analyze(model, &part, part_size, (5, 0), 2).unwrap();
    assert_eq!([whole.len(), part.len()], [scales.len(); 2]);
    for ((whole, part), scale) in whole.iter().zip(&part).zip(scales) {
        for (grid, side) in [(whole, long), (part, short)] {
            assert_eq!(grid.shape()[1..], size(side).map(|side| side.div_ceil(*scale)));
        }
        let start = (first + margin) / scale;
        assert!(middle(whole, start, *scale) == middle(part, margin / scale, *scale));
        assert!(middle(whole, start, *scale) != middle(whole, start + 1, *scale));
    }

    let all: Vec<_> = whole.iter().map(|grid| codes(grid.shape(), 40)).collect();
    let part = all.iter().zip(&part).zip(scales).map(|((all, part), scale)| {
        let [n, h, w] = all.shape();
        let codes = crop(all.codes(), [n, h, w, 1], axis, first / scale, short / scale);
        CodeGrid::new(part.shape(), codes).unwrap()
    });
    let part: Vec<_> = part.collect();
    for levels in 1..=scales.len() {
        let whole = synthesize(model, &all[..levels], [h, w], 5, None, 2).unwrap();
        let part = synthesize(model, &part[..levels], part_size, 5, None, 2).unwrap();
        let whole = |start| crop(&whole, [1, h, w, 3], axis, start, count * STRIDE);
        let [ph, pw] = part_size;
        let part = crop(&part, [1, ph, pw, 3], axis, margin * STRIDE, count * STRIDE);
        assert!(whole((first + margin) * STRIDE) == part);
        assert!(whole((first + margin) * STRIDE + 1) != part);
    }
}

#[test]
fn threads_and_kernels_do_not_matter() {
    for parts in all_parts(CALM).into_iter().chain([parts(VIOLENT)]) {
        let size = [269, 37];
        let pixels = pixels(size[0], size[1]);
        let mut results = Vec::new();
        for kernel in Kernel::available() {
            let model = load(&parts).with_kernel(kernel);
            for threads in [1, 2, 5] {
                let codes = analyze(&model, &pixels, size, (21, 0), threads).unwrap();
                let shown: Vec<_> = (1..=codes.len())
                    .map(|levels| {
                        synthesize(&model, &codes[..levels], size, 21, None, threads).unwrap()
                    })
                    .collect();
                results.push((codes, shown));
            }
        }
        assert!(results.iter().all(|result| result == &results[0]));
        let (codes, shown) = &results[0];
        assert!(codes.iter().all(|grid| grid.codes().iter().any(|code| code != &grid.codes()[0])));
        assert!(shown.iter().all(|shown| shown.iter().any(|pixel| pixel != &shown[0])));
    }
}

/// With overflow checks on, as in tests: the largest numbers that may appear do no harm.
#[test]
fn extremes_do_not_overflow() {
    for (mut parts, largest) in all_parts(VIOLENT).into_iter().zip([32768, 32768, 0, 0]) {
        for (name, (_, _, bytes)) in &mut parts.tensors {
            if name.ends_with(".log2") {
                bytes.as_chunks_mut().0.fill((14_i32 << 16).to_le_bytes());
            }
        }
        let model = load(&parts);
        let mut found = Vec::new();
        for pixels in [vec![0; 300], vec![255; 300], pixels(10, 10)] {
            found = analyze(&model, &pixels, [10, 10], (32, 0), 1).unwrap();
            synthesize(&model, &found, [10, 10], 32, None, 1).unwrap();
        }
        let extreme: Vec<_> = found.iter().map(|grid| codes(grid.shape(), largest)).collect();
        synthesize(&model, &extreme, [10, 10], 7, None, 1).unwrap();
    }
}

/// Sets all numbers of a layer's bias, and its weights and shifts to 0: a constant.
fn make_constant(parts: &mut Parts, layer: &str, value: i32) {
    for (part, number) in [("weight", 0), ("shift", 0), ("bias", value)] {
        let (_, _, bytes) = parts.tensors.get_mut(&format!("{layer}.{part}")).expect("a layer");
        match part {
            "bias" => bytes.as_chunks_mut().0.fill(number.to_le_bytes()),
            _ => bytes.fill(0),
        }
    }
}

/// A coarse level that foretells nothing changes neither the fine codes nor the picture.
#[test]
fn an_empty_prediction_changes_nothing() {
    for sizes in [Sizes::logistic(), Sizes::categorical()] {
        let mut two = parts_of(sizes.clone().two_levels(), CALM);
        let one = load(&parts_of(sizes, CALM));
        assert!(load(&two).levels().count() == 2);
        for layer in ["coarse.up", "coarse.skip_up"] {
            make_constant(&mut two, layer, 0);
        }
        let two = load(&two);
        let (size, odd) = ([24, 40], [21, 37]);
        let pixels = pixels(size[0], size[1]);
        let fine = analyze(&one, &pixels, size, (9, 30), 1).unwrap();
        let both = analyze(&two, &pixels, size, (9, 30), 1).unwrap();
        assert!(fine[..] == both[1..]);
        assert_eq!(both[0].shape(), [3, 6, 10]);
        // 11 x 19 fine positions, 6 x 10 coarse ones
        let both = [codes([3, 6, 10], 3), codes([5, 11, 19], 3)].map(|grid| {
            let codes = grid.codes().iter().map(|code| code.abs()).collect();
            CodeGrid::new(grid.shape(), codes).unwrap()
        });
        let shown = synthesize(&two, &both, odd, 9, None, 1).unwrap();
        assert!(synthesize(&one, &both[1..], odd, 9, None, 1).unwrap() == shown);
        assert!(synthesize(&two, &both[..1], odd, 9, None, 1).unwrap() != shown);
    }
}

/// What is foretold, in 2^-7, is subtracted from latents in 2^-12 ...
#[test]
fn the_analysis_codes_what_is_left() {
    let (foretold, sizes) = (77, Sizes::logistic());
    let mut two = parts_of(sizes.clone().two_levels(), CALM);
    make_constant(&mut two, "coarse.skip_up", foretold);
    let mut one = parts_of(sizes, CALM);
    let shifts = one.tensors["analysis.out.shift"].2.clone();
    let (_, _, biases) = one.tensors.get_mut("analysis.out.bias").expect("a layer");
    for (bias, shift) in biases.as_chunks_mut().0.iter_mut().zip(shifts) {
        *bias = (i32::from_le_bytes(*bias) - ((foretold << 5) << shift)).to_le_bytes();
    }
    let size = [24, 40];
    let (one, pixels) = (load(&one), pixels(size[0], size[1]));
    let fine = analyze(&one, &pixels, size, (9, 0), 1).unwrap();
    let both = analyze(&load(&two), &pixels, size, (9, 0), 1).unwrap();
    assert!(fine[..] == both[1..]);
    make_constant(&mut two, "coarse.skip_up", 0);
    assert!(analyze(&load(&two), &pixels, size, (9, 0), 1).unwrap() != both);
}

/// ... and added to what the fine codes stand for, whether these are there (as 0) or not.
#[test]
fn the_coarse_picture_is_that_of_fine_codes_of_0() {
    let model = load(&parts_of(Sizes::logistic().two_levels(), CALM));
    for (size, shape) in [([1, 1], [1, 1]), ([5, 9], [2, 3]), ([24, 40], [6, 10])] {
        let coarse = codes([3, shape[0], shape[1]], 9);
        let positions = size.map(|side: usize| side.div_ceil(STRIDE));
        let fine = CodeGrid::zeros([5, positions[0], positions[1]]);
        let alone = synthesize(&model, std::slice::from_ref(&coarse), size, 7, None, 1).unwrap();
        assert!(synthesize(&model, &[coarse, fine.clone()], size, 7, None, 1).unwrap() == alone);
        let none = CodeGrid::zeros([3, shape[0], shape[1]]);
        let empty = synthesize(&model, &[none, fine], size, 7, None, 1).unwrap();
        assert!(size == [1, 1] || empty != alone);
    }
}

#[test]
fn grids_that_are_not_those_of_the_picture_are_refused() {
    let model = load(&parts_of(Sizes::logistic().two_levels(), CALM));
    let (coarse, fine) = (CodeGrid::zeros([3, 2, 3]), CodeGrid::zeros([5, 3, 5]));
    let refused = |grids: &[CodeGrid]| {
        let error = synthesize(&model, grids, [5, 9], 0, None, 1).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    };
    refused(&[]);
    refused(std::slice::from_ref(&fine));
    refused(&[fine.clone(), coarse.clone()]);
    refused(&[coarse.clone(), fine.clone(), fine.clone()]);
    refused(&[CodeGrid::zeros([3, 3, 3]), fine.clone()]);
    synthesize(&model, &[coarse, fine], [5, 9], 0, None, 1).unwrap();
}

#[test]
fn codes_without_a_vector_are_refused() {
    let model = load(&book_parts(CALM));
    for code in [-1, 6, 32767, -32768] {
        let codes = CodeGrid::new([5, 1, 1], vec![0, 0, 0, 0, code]).unwrap();
        assert!(matches!(
            synthesize(&model, &[codes], [1, 2], 0, None, 1),
            Err(Error::Corrupted { .. })
        ));
    }
}

#[test]
fn pictures_of_too_many_codes_are_refused() {
    let mut sizes = Sizes::logistic();
    sizes.slices = vec![1000];
    let mut parts = sizes.parts();
    let conv = |name: &str, inputs, outputs| json!({"name": name, "inputs": inputs, "outputs": outputs, "size": 1});
    let side = |name: &str, inputs, outputs| {
        let [out, skip] =
            ["out", "skip"].map(|part| conv(&format!("{name}.{part}"), inputs, outputs));
        json!({"trunk": [], "out": out, "skip": skip})
    };
    let transform =
        json!({"analysis": side("analysis", 3, 1000), "synthesis": side("synthesis", 1000, 3)});
    parts.add_transform(transform, 1, sizes.quality_levels, CALM);
    for (name, (_, _, bytes)) in &mut parts.tensors {
        if name.starts_with("prior.") && name.ends_with(".weight") {
            bytes.fill(0); // so many variables would overflow
        }
    }
    let model = load(&parts);
    let pixels = vec![0; 520 * 520 * 3];
    assert!(matches!(
        analyze(&model, &pixels, [520, 520], (0, 0), 1),
        Err(Error::OverLimit { .. })
    ));
}

/// `(path below the transform, new value, part of the reason)`
#[test]
fn bad_descriptions() {
    let conv = |name: &str| json!({"conv": {"name": name, "inputs": 3, "outputs": 3, "size": 1}});
    let (many, wide) = (vec![conv("analysis.x"); 65], u64::MAX);
    let changes: Vec<(&str, Value, &str)> = vec![
        ("/analysis", json!(null), "not understood"),
        ("/analysis/trunk", json!(many), "more than 64 steps"),
        ("/analysis/trunk", json!([]), "fit"),
        ("/analysis/trunk/0", json!({}), "not understood"),
        ("/analysis/trunk/0", json!({"pool": {}}), "unknown variant"),
        ("/analysis/trunk/0/conv/inputs", json!(0), "analysis.stem"),
        ("/analysis/trunk/0/conv/outputs", json!(1025), "analysis.stem"),
        ("/analysis/trunk/0/conv/outputs", json!(wide), "analysis.stem"),
        ("/analysis/trunk/0/conv/outputs", json!(-1), "not understood"),
        ("/analysis/trunk/0/conv/size", json!(0), "analysis.stem"),
        ("/analysis/trunk/0/conv/size", json!(33), "analysis.stem"),
        ("/analysis/trunk/0/conv/size", json!(5), "analysis.stem"),
        ("/analysis/trunk/0/conv/stride", json!(0), "analysis.stem"),
        ("/analysis/trunk/0/conv/stride", json!(2), "analysis"),
        ("/analysis/trunk/0/conv/fold", json!(0), "analysis.stem"),
        ("/analysis/trunk/0/conv/bias", json!(true), "unknown field"),
        ("/analysis/trunk/0/conv/name", json!("analysis.nothing"), "missing"),
        ("/analysis/trunk/0/conv/name", json!("analysis.out"), "analysis.out"),
        ("/analysis/trunk/1/gain/channels", json!(0), "analysis.stem_gain"),
        ("/analysis/trunk/1/gain/channels", json!(wide), "analysis.stem_gain"),
        ("/analysis/trunk/2/block/width", json!(5), "analysis.fine"),
        ("/analysis/trunk/2/block/name", json!("synthesis.coarse"), "twice"),
        ("/analysis/out/relu", json!(true), "analysis.out"),
        ("/analysis/skip/relu", json!(true), "analysis.skip"),
        ("/analysis/skip/stride", json!(1), "fit"),
        ("/analysis/skip", json!(null), "tensors"),
        ("/synthesis/skip", json!(null), "tensors"),
        ("/synthesis/skip/fold", json!(1), "synthesis.skip"),
        ("/synthesis/skip/stride", json!(2), "fit"),
        ("/synthesis/trunk/2/conv/fold", json!(1), "synthesis.up"),
        ("/synthesis/out/size", json!(32), "synthesis.out"),
        ("/codebook", json!({"size": 0, "width": 1}), "0 x 1"),
        ("/codebook", json!({"size": 6, "width": 0}), "6 x 0"),
        ("/codebook", json!({"size": 6, "width": 1_u64 << 63}), "6 x"),
        ("/codebook", json!({"size": 6, "width": wide}), "6 x"),
        ("/codebook", json!({"size": wide, "width": 1}), "x 1"),
        ("/codebook", json!({"size": 6, "width": 2}), "quantizer.codebook"),
        ("/codebook", json!({"size": 7, "width": 1}), "7 x 1"),
        ("/codebook", json!(null), "codebook"),
    ];
    for (path, value, expected) in changes {
        let mut parts = book_parts(CALM);
        parts.edit(|config| put(&mut config["runtime"]["transform"], path, value.clone()));
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{path} = {value}: {reason}");
    }
}

/// `(path below the runtime, new value, part of the reason)` for a coarse level.
#[test]
fn bad_coarse_levels() {
    let changes = [
        ("/coarse", json!(null), "both a prior and a transform"),
        ("/transform/coarse", json!(null), "both a prior and a transform"),
        ("/coarse/stride", json!(2), "twice"),
        ("/coarse/stride", json!(8), "twice"),
        ("/coarse/stride", json!(0), "twice"),
        ("/coarse/stride", json!(-4), "not understood"),
        ("/coarse/depth", json!(1), "unknown field"),
        ("/coarse/prior", json!(null), "not understood"),
        ("/coarse/prior/head", json!("logistic"), "alphabet"),
        ("/coarse/prior/slices", json!([]), "slices"),
        ("/coarse/prior/slices", json!([4]), "coarse.prior"),
        ("/coarse/prior/alphabet", json!(7), "coarse.prior.embedding"),
        ("/transform/coarse/speed", json!(1), "unknown field"),
        ("/transform/coarse/codebook", json!(null), "codebook"),
        ("/transform/coarse/codebook/size", json!(7), "7 x 1"),
        ("/transform/coarse/codebook/width", json!(0), "6 x 0"),
        ("/transform/coarse/codebook/width", json!(2), "coarse.quantizer.codebook"),
        ("/transform/coarse/out", json!(null), "not understood"),
        ("/transform/coarse/out/relu", json!(true), "coarse.out"),
        ("/transform/coarse/out/size", json!(3), "coarse.out"),
        ("/transform/coarse/out/stride", json!(1), "coarse"),
        ("/transform/coarse/out/name", json!("analysis.out"), "analysis.out"),
        ("/transform/coarse/skip", json!(null), "tensors"),
        ("/transform/coarse/skip/stride", json!(2), "coarse"),
        ("/transform/coarse/skip/outputs", json!(5), "coarse.skip"),
        ("/transform/coarse/up/fold", json!(1), "coarse.up"),
        ("/transform/coarse/up/outputs", json!(0), "coarse.up"),
        ("/transform/coarse/up/name", json!("coarse.skip_up"), "twice"),
    ];
    for (path, value, expected) in changes {
        let mut parts = parts_of(Sizes::categorical().two_levels(), CALM);
        parts.edit(|config| put(&mut config["runtime"], path, value.clone()));
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{path} = {value}: {reason}");
    }

    type Change = fn(&mut Parts);
    let changes: &[(Change, &str)] = &[
        (|parts| drop(parts.tensors.remove("coarse.prior.0.0.context.bias")), "missing"),
        (|parts| drop(parts.tensors.remove("coarse.quantizer.codebook")), "missing"),
        (|parts| drop(parts.tensors.remove("coarse.skip_up.weight")), "missing"),
        (|parts| drop(parts.tensors.remove("coarse.synthesis_gain.log2")), "missing"),
        (|parts| parts.put("coarse.extra", Dtype::U8, &[0], vec![]), "describes"),
        (|parts| parts.put("coarse.up.bias", Dtype::I32, &[20], vec![0x7f; 80]), "overflow"),
        (|parts| parts.put("prior.0.0.context.weight", Dtype::I8, &[8, 48], vec![0; 384]), "102]"),
        (
            |parts| parts.put("coarse.prior.embedding", Dtype::I16, &[3, 6, 2], vec![0x7f; 72]),
            "coarse.prior.embedding",
        ),
    ];
    for (change, expected) in changes {
        let mut parts = parts_of(Sizes::categorical().two_levels(), CALM);
        change(&mut parts);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

/// Tensors of the right shapes, in networks that do not fit: coarse positions see just their own pixels.
#[test]
fn coarse_networks_that_do_not_fit() {
    let refused = |change: fn(&mut Value)| {
        let sizes = Sizes::logistic().two_levels();
        let mut transform = transform(5);
        transform["coarse"] = coarse_transform(3, 5);
        change(&mut transform["coarse"]);
        let mut parts = sizes.parts();
        parts.add_transform(transform, STRIDE, sizes.quality_levels, CALM);
        let reason = reason(&parts);
        assert!(reason.contains("coarse") && reason.contains("fit"), "{reason}");
    };
    refused(|coarse| coarse["out"]["size"] = json!(3));
    refused(|coarse| coarse["out"]["stride"] = json!(1));
    refused(|coarse| coarse["skip"]["size"] = json!(6));
    refused(|coarse| {
        coarse["skip"]["size"] = json!(8);
        coarse["skip"]["stride"] = json!(8);
        coarse["skip"]["fold"] = json!(2);
    });
    refused(|coarse| coarse["up"]["size"] = json!(3));
    refused(|coarse| coarse["up"]["outputs"] = json!(4));
    refused(|coarse| coarse["up"]["fold"] = json!(4));
}

fn put(config: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').expect("a path");
    let parent = config.pointer_mut(parent).expect("a place");
    match parent.as_array_mut() {
        Some(array) => array[key.parse::<usize>().expect("an index")] = value,
        None => parent[key] = value,
    }
}

#[test]
fn bad_tensors() {
    type Change = fn(&mut Parts);
    let changes: &[(Change, &str)] = &[
        (|parts| drop(parts.tensors.remove("analysis.out.shift")), "missing"),
        (|parts| drop(parts.tensors.remove("synthesis.skip_gain.log2")), "missing"),
        (|parts| drop(parts.tensors.remove("quantizer.codebook")), "missing"),
        (|parts| parts.put("analysis.extra", Dtype::U8, &[0], vec![]), "describes"),
        (|parts| parts.put("analysis.stem.shift", Dtype::U8, &[4], vec![31; 4]), "shift 31"),
        (|parts| parts.put("analysis.stem.weight", Dtype::I8, &[4, 27], vec![0; 108]), "not I16"),
        (|parts| parts.put("analysis.stem.weight", Dtype::I16, &[27, 4], vec![0; 216]), "[27, 4]"),
        (
            |parts| parts.put("analysis.out.weight", Dtype::I16, &[5, 54], vec![0x7f; 540]),
            "overflow",
        ),
        (|parts| parts.put("analysis.stem.bias", Dtype::I32, &[4], vec![0x7f; 16]), "overflow"),
        (|parts| parts.put("analysis.gain.log2", Dtype::I32, &[2, 5], vec![0; 40]), "[2, 5]"),
        (
            |parts| parts.put("analysis.gain.log2", Dtype::I32, &[3, 5], vec![0x7f; 60]),
            "analysis.gain",
        ),
        (
            |parts| parts.put("synthesis.gain.log2", Dtype::I32, &[3, 5], vec![0x80; 60]),
            "synthesis.gain",
        ),
    ];
    for (change, expected) in changes {
        let mut parts = book_parts(CALM);
        change(&mut parts);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    for sign in [-1, 1] {
        for (octaves, valid) in [((14 << 16) * sign, true), (((14 << 16) + 1) * sign, false)] {
            let mut parts = parts(CALM);
            let table = [i32::to_le_bytes(octaves); 15].concat();
            parts.put("synthesis.gain.log2", Dtype::I32, &[3, 5], table);
            assert_eq!(Model::load(&parts.file()).is_ok(), valid);
        }
    }
}

/// What fits itself, step by step, but not the stride, and what would need more than the memory of a machine.
#[test]
fn monstrous_transforms() {
    let step = |stride: usize, index| json!({"conv": {"name": format!("analysis.{index}"), "inputs": 3, "outputs": 3, "size": stride, "stride": stride}});
    let trunk = |strides: &[usize]| -> Value {
        strides.iter().enumerate().map(|(index, &stride)| step(stride, index)).collect()
    };
    let load = |stride: usize, strides: &[usize], change: fn(&mut Value)| {
        let mut transform = transform(5);
        transform["analysis"]["trunk"] = trunk(strides);
        transform["analysis"]["out"]["inputs"] = json!(3);
        transform["analysis"]["out"]["stride"] = json!(1);
        change(&mut transform);
        let mut parts = Sizes::logistic().parts();
        parts.add_transform(transform, stride, 3, CALM);
        Model::load(&parts.file()).map_err(|error| error.to_string())
    };
    let refused = |result: Result<Model, String>, expected: &str| {
        let error = result.expect_err("the model was accepted");
        assert!(error.contains("invalid model") && error.contains(expected), "{error}");
    };
    load(2, &[2], |_| {}).unwrap();
    refused(load(2, &[32; 14], |_| {}), "fit");
    refused(load(2, &[1, 4], |transform| transform["analysis"]["out"]["fold"] = json!(2)), "fit");
    refused(
        load(2, &[2], |transform| {
            transform["analysis"]["skip"]["stride"] = json!(4);
            transform["analysis"]["skip"]["fold"] = json!(2);
        }),
        "fit",
    );
    refused(
        load(2, &[2], |transform| {
            transform["synthesis"]["trunk"] = json!([]);
            transform["synthesis"]["out"] = json!({"name": "synthesis.out", "inputs": 5, "outputs": 3, "size": 2, "stride": 2, "fold": 4});
        }),
        "fit",
    );
}

/// Windows that would see far around themselves, in many channels.
#[test]
fn windows_beyond_the_memory_of_a_machine_are_refused() {
    let load = |steps: usize, channels: usize| {
        let far = |index| json!({"conv": {"name": format!("analysis.{index}"), "inputs": 3, "outputs": 3, "size": 31}});
        let wide =
            json!({"conv": {"name": "analysis.wide", "inputs": 3, "outputs": channels, "size": 1}});
        let mut transform = transform(5);
        transform["analysis"]["trunk"] = (0..steps).map(far).chain([wide]).collect();
        transform["analysis"]["out"] = json!({"name": "analysis.out", "inputs": channels, "outputs": 5, "size": 2, "stride": 2});
        let mut parts = Sizes::logistic().parts();
        parts.add_transform(transform, STRIDE, 3, CALM);
        Model::load(&parts.file())
    };
    for (steps, channels) in [(20, 8), (1, 1024)] {
        load(steps, channels).unwrap();
    }
    let error = load(20, 1024).expect_err("the model was accepted");
    assert!(matches!(&error, Error::InvalidModel(reason) if reason.contains("window")), "{error}");
}

/// The same for the coarse positions of a window.
#[test]
fn coarse_windows_beyond_the_memory_of_a_machine_are_refused() {
    let load = |steps: usize| {
        let sizes = Sizes { coarse: vec![1024], ..Sizes::logistic() };
        let far = |index| json!({"conv": {"name": format!("synthesis.{index}"), "inputs": 5, "outputs": 5, "size": 31}});
        let mut transform = transform(5);
        transform["synthesis"]["trunk"] = (0..steps).map(far).collect();
        transform["synthesis"]["out"] =
            json!({"name": "synthesis.out", "inputs": 5, "outputs": 3, "size": 1, "fold": 2});
        transform["coarse"] = coarse_transform(1024, 5);
        let mut parts = sizes.parts();
        parts.add_transform(transform, STRIDE, sizes.quality_levels, CALM);
        for (name, (_, _, bytes)) in &mut parts.tensors {
            if name.contains("prior.") && name.ends_with(".weight") {
                bytes.fill(0); // so many variables would overflow
            }
        }
        Model::load(&parts.file())
    };
    load(20).unwrap();
    let error = load(40).expect_err("the model was accepted");
    let expected = "a window of the coarse network";
    assert!(matches!(&error, Error::InvalidModel(reason) if reason.contains(expected)), "{error}");
}

/// Every place in a JSON value.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(array) => {
            array.iter().enumerate().map(|(key, value)| (key.to_string(), value)).collect()
        }
        _ => vec![],
    };
    for (key, child) in children {
        let path = format!("{path}/{key}");
        places(child, &path, found);
        found.push(path);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let numbers = [0, 1, 2, 3, 4, 5, 6, 31, 32, 33, 1024, 1 << 31, 1 << 32, 1 << 63, u64::MAX];
    let others = [json!(null), json!(-1), json!(1.5), json!(""), json!([]), json!({}), json!(true)];
    prop::sample::select(numbers.map(Value::from).into_iter().chain(others).collect::<Vec<_>>())
}

static GOOD: LazyLock<[Parts; 4]> = LazyLock::new(|| all_parts(CALM));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A changed description is refused or is another model; it never panics, not even when used.
    #[test]
    fn changed_descriptions(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value(), any::<prop::sample::Index>(), 0..4), 1..4),
    ) {
        let good = &GOOD[which];
        let mut parts = Parts { config: good.config.clone(), tensors: good.tensors.clone() };
        parts.edit(|config| for (place, value, other, kind) in changes {
            let transform = &mut config["runtime"]["transform"];
            let mut found = Vec::new();
            places(transform, "", &mut found);
            if found.is_empty() {
                continue;
            }
            let value = match kind {
                0 => transform.pointer(&found[other.index(found.len())]).expect("a place").clone(),
                _ => value,
            };
            put(transform, &found[place.index(found.len())], value);
        });
        match Model::load(&parts.file()) {
            Ok(model) => {
                let codes = analyze(&model, &pixels(5, 7), [5, 7], (3, 0), 1).unwrap();
                synthesize(&model, &codes, [5, 7], 3, None, 1).unwrap();
            }
            Err(error) => prop_assert!(matches!(error, Error::InvalidModel(_)), "{}", error),
        }
    }

    /// The same for changed bytes of tensors.
    #[test]
    fn changed_tensors(
        which in 0..4_usize,
        tensor in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let good = &GOOD[which];
        let mut parts = Parts { config: good.config.clone(), tensors: good.tensors.clone() };
        let names: Vec<String> = parts.tensors.keys().filter(|name| !name.contains("prior")).cloned().collect();
        let (_, _, bytes) = parts.tensors.get_mut(tensor.get(&names[..])).expect("a tensor");
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(model) = Model::load(&parts.file()) {
            let codes = analyze(&model, &pixels(5, 7), [5, 7], (3, 0), 1).unwrap();
            synthesize(&model, &codes, [5, 7], 3, None, 1).unwrap();
        }
    }
}
