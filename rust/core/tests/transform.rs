//! The transform has no seams, is the same on every kernel and number of threads, and every wrong
//! description of one is refused.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::{Value, json};
use std::sync::LazyLock;
use tiny_model::{Parts, Random, Sizes, transform};
use vqcodec_core::kernels::Kernel;
use vqcodec_core::picture::{analyze, synthesize};
use vqcodec_core::{CodeGrid, Error, Model};

const STRIDE: usize = 2;
/// Whether activations keep most of what they hold, or most of them are clamped.
const CALM: bool = false;
const VIOLENT: bool = true;

/// A grid model of 5 variables.
fn parts(violent: bool) -> Parts {
    let sizes = Sizes::logistic();
    let mut parts = sizes.parts();
    parts.add_transform(transform(sizes.variables()), STRIDE, sizes.quality_levels, violent);
    parts
}

/// The same with codebooks: latents of one channel for each variable.
fn book_parts(violent: bool) -> Parts {
    let sizes = Sizes::categorical();
    let (variables, alphabet) = (sizes.variables(), sizes.alphabet.expect("an alphabet"));
    let mut parts = sizes.parts();
    parts.add_transform(transform(variables), STRIDE, sizes.quality_levels, violent);
    let mut random = Random(9);
    let table =
        (0..variables * alphabet).flat_map(|_| (random.within(-32768, 32767) as i16).to_le_bytes());
    parts.put("quantizer.codebook", Dtype::I16, &[variables, alphabet, 1], table.collect());
    parts.edit(|config| {
        config["runtime"]["transform"]["codebook"] = json!({"size": alphabet, "width": 1})
    });
    parts
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
    let model = load(&parts(CALM));
    let (long, short, first, margin) = (300, 100, 100, 12);
    for axis in 0..2 {
        let shape = |side, scale| {
            if axis == 0 { [side * scale, 3 * scale] } else { [3 * scale, side * scale] }
        };
        let ([h, w], [sh, sw]) = (shape(long, 1), shape(short, 1));
        let (size, short_size) = (shape(long, STRIDE), shape(short, STRIDE));
        let middle = |grid: &CodeGrid, start| {
            let [n, h, w] = grid.shape();
            crop(grid.codes(), [n, h, w, 1], axis, start, short - 2 * margin)
        };
        let all = pixels(size[0], size[1]);
        let part = crop(&all, [1, size[0], size[1], 3], axis, first * STRIDE, short * STRIDE);
        let whole = analyze(&model, &all, size, (5, 0), 2).unwrap();
        let part = analyze(&model, &part, short_size, (5, 0), 2).unwrap();
        assert_eq!([whole.shape(), part.shape()], [[5, h, w], [5, sh, sw]]);
        assert!(middle(&whole, first + margin) == middle(&part, margin));
        assert!(middle(&whole, first + margin) != middle(&whole, first + margin + 1));

        let all = codes([5, h, w], 40);
        let part = crop(all.codes(), [5, h, w, 1], axis, first, short);
        let part = CodeGrid::new([5, sh, sw], part).unwrap();
        let whole = synthesize(&model, &all, size, 5, 2).unwrap();
        let part = synthesize(&model, &part, short_size, 5, 2).unwrap();
        let count = (short - 2 * margin) * STRIDE;
        let whole = |start| crop(&whole, [1, size[0], size[1], 3], axis, start, count);
        let part = crop(&part, [1, short_size[0], short_size[1], 3], axis, margin * STRIDE, count);
        assert!(whole((first + margin) * STRIDE) == part);
        assert!(whole((first + margin) * STRIDE + 1) != part);
    }
}

#[test]
fn threads_and_kernels_do_not_matter() {
    for parts in [parts(CALM), parts(VIOLENT), book_parts(CALM)] {
        let size = [269, 37];
        let pixels = pixels(size[0], size[1]);
        let mut results = Vec::new();
        for kernel in Kernel::available() {
            let model = load(&parts).with_kernel(kernel);
            for threads in [1, 2, 5] {
                let codes = analyze(&model, &pixels, size, (21, 0), threads).unwrap();
                let shown = synthesize(&model, &codes, size, 21, threads).unwrap();
                results.push((codes, shown));
            }
        }
        assert!(results.iter().all(|result| result == &results[0]));
        let (codes, shown) = &results[0];
        assert!(codes.codes().iter().any(|code| code != &codes.codes()[0]));
        assert!(shown.iter().any(|pixel| pixel != &shown[0]));
    }
}

/// With overflow checks on, as in tests: the largest numbers that may appear do no harm.
#[test]
fn extremes_do_not_overflow() {
    for (mut parts, largest) in [(parts(VIOLENT), 32768), (book_parts(VIOLENT), 0)] {
        for (name, (_, _, bytes)) in &mut parts.tensors {
            if name.ends_with(".log2") {
                bytes.as_chunks_mut().0.fill((14_i32 << 16).to_le_bytes());
            }
        }
        let model = load(&parts);
        for pixels in [vec![0; 300], vec![255; 300], pixels(10, 10)] {
            let codes = analyze(&model, &pixels, [10, 10], (32, 0), 1).unwrap();
            synthesize(&model, &codes, [10, 10], 32, 1).unwrap();
        }
        synthesize(&model, &codes([5, 5, 5], largest), [10, 10], 7, 1).unwrap();
    }
}

#[test]
fn codes_without_a_vector_are_refused() {
    let model = load(&book_parts(CALM));
    for code in [-1, 6, 32767, -32768] {
        let codes = CodeGrid::new([5, 1, 1], vec![0, 0, 0, 0, code]).unwrap();
        assert!(matches!(synthesize(&model, &codes, [1, 2], 0, 1), Err(Error::Corrupted { .. })));
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

static GOOD: LazyLock<[Parts; 2]> = LazyLock::new(|| [parts(CALM), book_parts(CALM)]);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A changed description is refused or is another model; it never panics, not even when used.
    #[test]
    fn changed_descriptions(
        which in 0..2_usize,
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
                synthesize(&model, &codes, [5, 7], 3, 1).unwrap();
            }
            Err(error) => prop_assert!(matches!(error, Error::InvalidModel(_)), "{}", error),
        }
    }

    /// The same for changed bytes of tensors.
    #[test]
    fn changed_tensors(
        which in 0..2_usize,
        tensor in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let good = &GOOD[which];
        let mut parts = Parts { config: good.config.clone(), tensors: good.tensors.clone() };
        let names: Vec<String> = parts.tensors.keys().filter(|name| !name.starts_with("prior")).cloned().collect();
        let (_, _, bytes) = parts.tensors.get_mut(tensor.get(&names[..])).expect("a tensor");
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(model) = Model::load(&parts.file()) {
            let codes = analyze(&model, &pixels(5, 7), [5, 7], (3, 0), 1).unwrap();
            synthesize(&model, &codes, [5, 7], 3, 1).unwrap();
        }
    }
}
