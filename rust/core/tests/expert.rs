//! The learned expert of lossless photos: what goes in comes out, on every kernel, and no byte does harm.

#![allow(missing_docs)]

mod tiny_model;

use std::collections::BTreeMap;

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::json;
use tiny_model::{Parts, Random};
use vqcodec_core::container;
use vqcodec_core::exact::{Aid, Given, Samples, read_file, write_file};
use vqcodec_core::header::{EXACT_VERSION, LEARNED_VERSION, NO_MODEL};
use vqcodec_core::kernels::Kernel;
use vqcodec_core::lossless::{self, Shape, is_learned};
use vqcodec_core::pixels::PixelModel;
use vqcodec_core::{Error, Limits, Result};

/// The first byte of a tile that was coded with the help of the expert.
const LEARNED: u8 = 6;

/// What the networks see: from the own colour, and from each one before.
const INPUTS: [usize; 3] = [35, 65, 95];

/// A model file of random weights; a `wild` one says anything, else what the blend says, about.
fn parts(hidden: usize, wild: bool, seed: u64) -> Parts {
    let config = json!({"runtime": {"expert": {"hidden": hidden}}});
    let mut parts = Parts { config: config.to_string(), tensors: BTreeMap::new() };
    let mut random = Random(seed);
    for (colour, inputs) in INPUTS.into_iter().enumerate() {
        for (name, columns, rows) in [
            ("context", inputs, hidden),
            ("hidden1", hidden, hidden),
            ("hidden2", hidden, hidden),
            ("head", hidden, 2),
        ] {
            let shift: u8 = if wild { 1 } else { 12 };
            let weights = (0..rows * columns)
                .flat_map(|_| (random.within(-99, 99) as i16).to_le_bytes())
                .collect();
            let bias = |row| match (name, row) {
                ("head", 1) => 170 << shift,
                ("head", _) => 0,
                _ => random.within(-3000, 3000),
            };
            let biases = (0..rows).map(bias).flat_map(i32::to_le_bytes).collect();
            let name = format!("expert.{colour}.{name}");
            parts.put(&format!("{name}.weight"), Dtype::I16, &[rows, columns], weights);
            parts.put(&format!("{name}.bias"), Dtype::I32, &[rows], biases);
            parts.put(&format!("{name}.shift"), Dtype::U8, &[rows], vec![shift; rows]);
        }
    }
    parts
}

fn model(hidden: usize, wild: bool, seed: u64) -> PixelModel {
    PixelModel::load(&parts(hidden, wild, seed).file()).expect("a valid model")
}

/// Smooth colours and some noise.
fn photo(shape: &Shape, noise: i32, seed: u64) -> Vec<u16> {
    let mut random = Random(seed);
    let (width, channels) = (shape.width as usize, usize::from(shape.channels));
    let sample = |index: usize| {
        let (pixel, channel) = (index / channels, index % channels);
        let (y, x) = (pixel / width, pixel % width);
        let wave = ((3 * x + 5 * y + 40 * channel) % 400) as i32 - 200;
        (wave.abs() + 20 + random.within(-noise, noise)).clamp(0, 255) as u16
    };
    (0..shape.samples()).map(sample).collect()
}

fn rgb(width: u32, height: u32) -> Shape {
    Shape { width, height, channels: 3, bits: 8 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn round_trip_on_all_kernels(
        (width, height) in prop_oneof![(1..=24_u32, 1..=24_u32), (1..=2_u32, 1..=60_u32), (1..=60_u32, 1..=2_u32)],
        hidden in 1..=20_usize,
        wild: bool,
        noise in prop_oneof![Just(0), Just(6), Just(255)],
        seed: u64,
    ) {
        let (model, shape) = (model(hidden, wild, seed), rgb(width, height));
        let samples = photo(&shape, noise, seed);
        let tile = model.encode_tile(&samples, &shape).unwrap();
        for kernel in Kernel::available() {
            let other = model.clone().with_kernel(kernel);
            prop_assert_eq!(&other.encode_tile(&samples, &shape).unwrap(), &tile, "{}", kernel.name());
            prop_assert_eq!(&other.decode_tile(&tile, &shape).unwrap(), &samples, "{}", kernel.name());
        }
    }

    #[test]
    fn damage_does_no_harm(
        wild: bool,
        seed: u64,
        cut: prop::sample::Index,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (model, shape) = (model(8, wild, seed), rgb(17, 11));
        let mut tile = model.encode_tile(&photo(&shape, 6, seed), &shape).unwrap();
        check(model.decode_tile(&tile[..cut.index(tile.len())], &shape), &shape);
        for (index, flip) in flips {
            let place = index.index(tile.len());
            tile[place] ^= flip;
        }
        check(model.decode_tile(&tile, &shape), &shape);
        check(model.decode_tile(&[&[LEARNED], &noise[..]].concat(), &shape), &shape);
    }

    /// What is not 8-bit RGB is coded as if there were no model.
    #[test]
    fn other_pictures_go_without(channels in 1..=4_u8, bits in 1..=16_u8, seed: u64) {
        prop_assume!((channels, bits) != (3, 8));
        let shape = Shape { width: 13, height: 9, channels, bits };
        let limit = u16::MAX >> (16 - bits);
        let samples: Vec<_> = photo(&shape, 9, seed).iter().map(|sample| sample & limit).collect();
        let model = model(5, false, seed);
        let tile = model.encode_tile(&samples, &shape).unwrap();
        prop_assert_eq!(&tile, &lossless::encode_tile(&samples, &shape).unwrap());
        let decoded = model.decode_tile(&[LEARNED, 0, 1, 2], &shape);
        let corrupted = matches!(decoded, Err(Error::Corrupted { .. }));
        prop_assert!(corrupted, "{decoded:?}");
        prop_assert!(matches!(lossless::lessons(&samples, &shape), Err(Error::InvalidInput(_))));
    }
}

/// Damaged bytes give an error or samples of the right number and range.
fn check(decoded: Result<Vec<u16>>, shape: &Shape) {
    if let Ok(samples) = decoded {
        assert_eq!(samples.len(), shape.samples());
        assert!(samples.iter().all(|&sample| sample < 256));
    }
}

/// The properties above say nothing where the expert is never asked.
#[test]
fn photos_are_coded_with_it_and_drawings_without() {
    let (model, shape) = (model(8, false, 1), rgb(60, 40));
    let samples = photo(&shape, 6, 1);
    let tile = model.encode_tile(&samples, &shape).unwrap();
    assert!(is_learned(&tile) && tile[0] == LEARNED);
    assert!(matches!(lossless::decode_tile(&tile, &shape), Err(Error::Corrupted { .. })));
    let drawing: Vec<_> = samples.chunks(12).flat_map(|run| [run[0] / 64 * 64; 12]).collect();
    let tile = model.encode_tile(&drawing, &shape).unwrap();
    assert!(!is_learned(&tile));
    assert_eq!(tile, lossless::encode_tile(&drawing, &shape).unwrap());
}

#[test]
fn files_name_the_model_where_they_need_it() {
    let (model, other) = (model(8, false, 1), model(8, false, 2));
    let limits = Limits::default();
    let shape = rgb(60, 40);
    let picture =
        Samples { width: 60, height: 40, channels: 3, bits: 8, samples: photo(&shape, 6, 1) };
    let files =
        [1, 3].map(|threads| write_file(&picture, Aid::Pixels(&model), None, threads).unwrap());
    assert_eq!(files[0], files[1]);
    let header = container::parse(&files[0], &limits).unwrap().header;
    assert_eq!((header.version, header.model), (LEARNED_VERSION, model.id));
    assert_eq!(read_file(&files[0], Given::Pixels(&model), &limits, 2).unwrap(), picture);
    assert!(matches!(
        read_file(&files[0], Given::Pixels(&other), &limits, 1),
        Err(Error::ModelMismatch { .. })
    ));
    assert!(read_file(&files[0], Given::None, &limits, 1).is_err());
    for place in (0..files[0].len()).step_by(3) {
        let mut damaged = files[0].clone();
        damaged[place] ^= 1 << (place % 8);
        assert!(read_file(&damaged, Given::Pixels(&model), &limits, 1).is_err(), "{place}");
    }
    let flat = Samples { samples: vec![7; shape.samples()], ..picture };
    let file = write_file(&flat, Aid::Pixels(&model), None, 1).unwrap();
    let header = container::parse(&file, &limits).unwrap().header;
    assert_eq!((header.version, header.model), (EXACT_VERSION, NO_MODEL));
}

/// The last number of a lesson is what the blend misses: the others are relative to it, too.
#[test]
fn lessons_are_what_the_networks_see() {
    let shape = rgb(9, 7);
    let samples = photo(&shape, 6, 3);
    let lessons = lossless::lessons(&samples, &shape).unwrap();
    for (colour, (rows, inputs)) in lessons.iter().zip(INPUTS).enumerate() {
        assert_eq!(rows.len(), 63 * (inputs + 1));
        let channel = [1, 0, 2][colour];
        for (pixel, row) in rows.chunks(inputs + 1).enumerate() {
            let (missed, left) = (row[inputs], row[23]);
            if pixel % 9 > 0 {
                let difference =
                    samples[3 * pixel + channel] as i16 - samples[3 * pixel - 3 + channel] as i16;
                assert_eq!(missed - left, 16 * difference, "{colour}, {pixel}");
            }
        }
    }
    assert!(matches!(lossless::lessons(&samples[1..], &shape), Err(Error::InvalidInput(_))));
}

#[test]
fn bad_models() {
    let reason = |parts: &Parts| match PixelModel::load(&parts.file()) {
        Err(Error::InvalidModel(reason)) => reason,
        other => panic!("{other:?}"),
    };
    for (config, expected) in [
        (json!({"expert": {"hidden": 0}}), "there are no networks"),
        (json!({"expert": {"hidden": 5000}}), "there are no networks"),
        (json!({"expert": {"hidden": 9}}), "expert.0.context.weight"),
        (json!({"expert": {"hidden": 8, "depth": 3}}), "unknown field"),
        (json!({"pixels": {"hidden": 8, "mixture": 2}}), "pixels.0.context.weight"),
        (json!({"pictures": {"hidden": 8}}), "unknown variant"),
    ] {
        let mut parts = parts(8, false, 1);
        parts.edit(|all| all["runtime"] = config);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let mut parts = parts(8, false, 1);
    let large: Vec<u8> = [32767_i16; 280].into_iter().flat_map(i16::to_le_bytes).collect();
    parts.put("expert.0.context.weight", Dtype::I16, &[8, 35], large);
    assert!(reason(&parts).contains("overflow"));
}
