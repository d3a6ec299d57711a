//! Models of pixels: what goes in comes out, on every kernel, and neither bytes nor models do harm.

#![allow(missing_docs)]

mod tiny_model;

use std::collections::BTreeMap;

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::json;
use tiny_model::{Parts, Random};
use vqcodec_core::container;
use vqcodec_core::exact::{Aid, Given, Samples, TILE_LOG2, read_file, read_files, write_file};
use vqcodec_core::header::{
    CODES_VERSION, EXACT_VERSION, FOLLOWING_VERSION, Header, NO_MODEL, VERSION,
};
use vqcodec_core::kernels::Kernel;
use vqcodec_core::lossless::{self, Shape};
use vqcodec_core::pixels::PixelModel;
use vqcodec_core::{Error, Limits, Result};

/// First bytes of tiles of the model: as they were, and as they are.
const NETWORK: u8 = 4;
const FOLLOWING: u8 = 7;

/// A random model. Where it is `wild`, hardly anything is shifted, so that most numbers are clamped.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    hidden: usize,
    mixture: usize,
    wild: bool,
    seed: u64,
}

const SMALL: Sizes = Sizes { hidden: 12, mixture: 3, wild: false, seed: 1 };

impl Sizes {
    fn model(&self) -> PixelModel {
        PixelModel::load(&self.parts().file()).expect("a valid model")
    }

    fn parts(&self) -> Parts {
        let &Self { hidden, mixture, wild, seed } = self;
        let config = json!({"runtime": {"pixels": {"hidden": hidden, "mixture": mixture}}});
        let mut parts = Parts { config: config.to_string(), tensors: BTreeMap::new() };
        let mut random = Random(seed);
        let hidden_shifts = [6, 8, 8].map(|shift| vec![if wild { 1 } else { shift }; hidden]);
        for colour in 0..3 {
            let mut columns = 80;
            for (name, shifts) in ["context", "hidden1", "hidden2"].iter().zip(&hidden_shifts) {
                let name = format!("pixels.{colour}.{name}");
                layer(&mut parts, &mut random, &name, columns, shifts, |_, random| {
                    random.within(-2000, 2000)
                });
                columns = hidden;
            }
            let name = format!("pixels.{colour}.head");
            let shifts = if wild { [0, 1, 2] } else { [9, 9, 13] };
            let shifts: Vec<u8> = shifts.iter().flat_map(|&shift| vec![shift; mixture]).collect();
            layer(&mut parts, &mut random, &name, hidden, &shifts, |row, random| {
                let class = random.within(90, 150) << shifts[row];
                if row < 2 * mixture { random.within(-100_000, 100_000) } else { class }
            });
        }
        parts
    }
}

/// A layer of random weights; `bias` says what is added to each row.
fn layer(
    parts: &mut Parts,
    random: &mut Random,
    name: &str,
    columns: usize,
    shifts: &[u8],
    bias: impl Fn(usize, &mut Random) -> i32,
) {
    let rows = shifts.len();
    let weights = (0..rows * columns).map(|_| random.within(-127, 127) as u8).collect();
    let biases = (0..rows).flat_map(|row| bias(row, random).to_le_bytes()).collect();
    parts.put(&format!("{name}.weight"), Dtype::I8, &[rows, columns], weights);
    parts.put(&format!("{name}.bias"), Dtype::I32, &[rows], biases);
    parts.put(&format!("{name}.shift"), Dtype::U8, &[rows], shifts.to_vec());
}

/// A picture as the model expects it: what it reads from random bytes, and these bytes.
fn drawn(model: &PixelModel, shape: &Shape, seed: u64) -> (Vec<u16>, Vec<u8>) {
    let mut random = Random(seed);
    let bytes = (0..2 * shape.samples() + 8).map(|_| random.next() as u8 | 1);
    let tile: Vec<u8> = [FOLLOWING].into_iter().chain(bytes).collect();
    // All but the last bytes of a payload that is too long are an error.
    let (mut good, mut bad) = (1, tile.len());
    while bad - good > 1 {
        let middle = (good + bad) / 2;
        let decodes = model.decode_tile(&tile[..middle], shape).is_ok();
        (good, bad) = if decodes { (middle, bad) } else { (good, middle) };
    }
    let tile = tile[..good].to_vec();
    (model.decode_tile(&tile, shape).expect("a tile"), tile)
}

/// A picture that has nothing to do with the model: flat, of noise, or near its neighbours.
fn painted(shape: &Shape, spread: i32, seed: u64) -> Vec<u16> {
    let mut random = Random(seed);
    let mut sample = random.within(0, 255);
    let next = |_| {
        sample = (sample + random.within(-spread, spread)).clamp(0, 255);
        sample as u16
    };
    (0..shape.samples()).map(next).collect()
}

fn rgb(width: u32, height: u32) -> Shape {
    Shape { width, height, channels: 3, bits: 8 }
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![(1..=20_u32, 1..=20_u32), (1..=2_u32, 1..=40_u32), (1..=40_u32, 1..=2_u32)]
        .prop_map(|(width, height)| rgb(width, height))
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (1..=24_usize, 1..=4_usize, any::<bool>(), any::<u64>())
        .prop_map(|(hidden, mixture, wild, seed)| Sizes { hidden, mixture, wild, seed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any picture comes back, and costs no more than without the model.
    #[test]
    fn round_trip(sizes in sizes(), shape in shapes(), spread in prop_oneof![Just(0), Just(3), Just(255)], seed: u64) {
        let (model, samples) = (sizes.model(), painted(&shape, spread, seed));
        let tile = model.encode_tile(&samples, &shape).unwrap();
        prop_assert!(tile.len() <= lossless::encode_tile(&samples, &shape).unwrap().len());
        prop_assert_eq!(model.decode_tile(&tile, &shape).unwrap(), samples);
    }

    /// A picture that the model expects is coded by it, in as many bytes as it has information.
    #[test]
    fn expected_pictures(sizes in sizes(), shape in shapes(), seed: u64) {
        let model = sizes.model();
        let (samples, source) = drawn(&model, &shape, seed);
        let tile = model.encode_tile(&samples, &shape).unwrap();
        prop_assert_eq!(&model.decode_tile(&tile, &shape).unwrap(), &samples);
        prop_assert!(tile.len() <= source.len());
        if tile[0] == FOLLOWING {
            let (payload, bits) =
                (8.0 * (tile.len() - 1) as f64, model.cross_entropy(&samples, &shape).unwrap());
            prop_assert!(payload < bits * 1.001 + 16.0, "{payload} for {bits}");
        }
    }

    #[test]
    fn kernels_are_equal(sizes in sizes(), shape in shapes(), spread in 0..4, seed: u64) {
        let model = sizes.model();
        let (expected, source) = drawn(&model, &shape, seed);
        for samples in [painted(&shape, spread, seed), expected.clone()] {
            let (tile, bits) = (model.encode_tile(&samples, &shape), model.cross_entropy(&samples, &shape));
            for kernel in Kernel::available() {
                let other = model.clone().with_kernel(kernel);
                prop_assert_eq!(&other.encode_tile(&samples, &shape), &tile, "{}", kernel.name());
                prop_assert_eq!(&other.cross_entropy(&samples, &shape), &bits, "{}", kernel.name());
                prop_assert_eq!(&other.decode_tile(&source, &shape).unwrap(), &expected);
            }
        }
    }

    #[test]
    fn damage_does_no_harm(
        sizes in sizes(),
        shape in shapes(),
        seed: u64,
        cut: prop::sample::Index,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let model = sizes.model();
        let mut tile = model.encode_tile(&drawn(&model, &shape, seed).0, &shape).unwrap();
        check(model.decode_tile(&tile[..cut.index(tile.len())], &shape), &shape);
        for (index, flip) in flips {
            let place = index.index(tile.len());
            tile[place] ^= flip;
        }
        check(model.decode_tile(&tile, &shape), &shape);
        for mode in [NETWORK, FOLLOWING] {
            check(model.decode_tile(&[&[mode], &noise[..]].concat(), &shape), &shape);
        }
        check(model.decode_tile(&noise, &shape), &shape);
    }

    /// What is not 8-bit RGB is coded as if there were no model.
    #[test]
    fn other_pictures_go_without(width in 1..=12_u32, height in 1..=12_u32, channels in 1..=4_u8, bits in 1..=16_u8, seed: u64) {
        prop_assume!((channels, bits) != (3, 8));
        let shape = Shape { width, height, channels, bits };
        let limit = u16::MAX >> (16 - bits);
        let samples: Vec<_> = painted(&shape, 9, seed).iter().map(|sample| sample & limit).collect();
        let model = SMALL.model();
        let tile = model.encode_tile(&samples, &shape).unwrap();
        prop_assert_eq!(&tile, &lossless::encode_tile(&samples, &shape).unwrap());
        prop_assert_eq!(&model.decode_tile(&tile, &shape).unwrap(), &samples);
        for mode in [NETWORK, FOLLOWING] {
            let decoded = model.decode_tile(&[mode, 1, 2, 3], &shape);
            let corrupted = matches!(decoded, Err(Error::Corrupted { .. }));
            prop_assert!(corrupted, "{decoded:?}");
        }
        prop_assert!(matches!(model.cross_entropy(&samples, &shape), Err(Error::InvalidInput(_))));
    }
}

/// Damaged bytes give an error or samples of the right number and range.
fn check(decoded: Result<Vec<u16>>, shape: &Shape) {
    if let Ok(samples) = decoded {
        assert_eq!(samples.len(), shape.samples());
        assert!(samples.iter().all(|&sample| sample < 256));
    }
}

/// The properties above say nothing where the model is never the better one.
#[test]
fn expected_pictures_are_coded_by_the_model() {
    let by_model = (0..20)
        .filter(|&seed| {
            let (model, shape) = (Sizes { seed, ..SMALL }.model(), rgb(12, 9));
            let (samples, _) = drawn(&model, &shape, seed);
            let tile = model.encode_tile(&samples, &shape).unwrap();
            let (payload, bits) =
                (8 * tile.len() - 8, model.cross_entropy(&samples, &shape).unwrap());
            tile[0] == FOLLOWING && (payload as f64 - bits).abs() < 16.0
        })
        .count();
    assert!(by_model >= 18, "{by_model} of 20");
}

/// Without a model, its tiles are those of an unknown mode.
#[test]
fn tiles_need_the_model() {
    let (model, shape) = (SMALL.model(), rgb(12, 9));
    let tile = model.encode_tile(&drawn(&model, &shape, 1).0, &shape).unwrap();
    assert_eq!(tile[0], FOLLOWING);
    assert!(matches!(lossless::decode_tile(&tile, &shape), Err(Error::Corrupted { .. })));
}

#[test]
fn wrong_arguments_are_refused() {
    let (model, shape) = (SMALL.model(), rgb(2, 2));
    for samples in [vec![0; 11], vec![0; 13], vec![256; 12]] {
        assert!(matches!(model.encode_tile(&samples, &shape), Err(Error::InvalidInput(_))));
    }
    assert!(matches!(model.cross_entropy(&[0; 11], &shape), Err(Error::InvalidInput(_))));
    let empty = rgb(0, 2);
    assert!(matches!(model.encode_tile(&[], &empty), Err(Error::InvalidInput(_))));
    for mode in [NETWORK, FOLLOWING] {
        assert!(matches!(model.decode_tile(&[mode], &empty), Err(Error::InvalidInput(_))));
    }
    assert!(matches!(model.cross_entropy(&[], &empty), Err(Error::InvalidInput(_))));
    let huge = rgb(u32::MAX, u32::MAX);
    assert!(matches!(model.decode_tile(&[FOLLOWING], &huge), Err(Error::OverLimit { .. })));
    assert!(model.decode_tile(&[], &shape).is_err());
}

/// Two tiles: noise, which no model makes smaller, and beside it what the model expects.
fn two_tiles(model: &PixelModel) -> Samples {
    let (side, rest, height) = (1 << TILE_LOG2, 20, 7);
    let mut random = Random(3);
    let left: Vec<_> = (0..3 * side * height).map(|_| random.within(0, 255) as u16).collect();
    let (right, _) = drawn(model, &rgb(rest, height), 4);
    let rows = left.chunks(3 * side as usize).zip(right.chunks(3 * rest as usize));
    let samples = rows.flat_map(|(left, right)| [left, right].concat()).collect();
    Samples { width: side + rest, height, channels: 3, bits: 8, samples }
}

#[test]
fn files() {
    let (model, limits) = (SMALL.model(), Limits::default());
    let picture = two_tiles(&model);
    let files = [1, 2, 3].map(|threads| {
        write_file(&picture, Aid::Pixels(&model), Some(b"metadata"), threads).unwrap()
    });
    assert!(files.iter().all(|file| *file == files[0]));
    let container = container::parse(&files[0], &limits).unwrap();
    assert_eq!((container.header.version, container.header.model), (FOLLOWING_VERSION, model.id));
    assert!(container.header.needs_pixel_model());
    let modes: Vec<_> =
        container.exact.iter().map(|part| files[0][part.offset as usize] == FOLLOWING).collect();
    assert_eq!(modes, [false, true]);
    for threads in [1, 2, 3] {
        assert_eq!(read_file(&files[0], Given::Pixels(&model), &limits, threads).unwrap(), picture);
    }
    let plain = write_file(&picture, Aid::None, None, 1).unwrap();
    let (many, pictures) = ([&files[0][..], &plain, &files[0]], vec![picture.clone(); 3]);
    for (count, threads) in [(0, 2), (1, 2), (3, 1), (3, 2), (3, 8)] {
        let read = read_files(&many[..count], Given::Pixels(&model), &limits, threads);
        assert_eq!(read.unwrap(), pictures[..count]);
    }
    assert!(read_files(&[&files[0], &plain[..40]], Given::Pixels(&model), &limits, 2).is_err());
    let other = Sizes { seed: 2, ..SMALL }.model();
    let mismatch =
        Error::ModelMismatch { needed: model.id.to_string(), given: other.id.to_string() };
    assert_eq!(read_file(&files[0], Given::Pixels(&other), &limits, 1), Err(mismatch));
    assert!(matches!(read_file(&files[0], Given::None, &limits, 1), Err(Error::InvalidInput(_))));
}

/// A file that the model did not make smaller does not name it.
#[test]
fn files_that_go_without() {
    let (model, limits) = (SMALL.model(), Limits::default());
    let noise = painted(&rgb(30, 20), 255, 1);
    let picture = |channels, bits, width| Samples {
        width,
        height: 20,
        channels,
        bits,
        samples: noise.clone(),
    };
    for picture in [picture(3, 8, 30), picture(1, 8, 90), picture(3, 16, 30)] {
        let file = write_file(&picture, Aid::Pixels(&model), None, 1).unwrap();
        assert_eq!(file, write_file(&picture, Aid::None, None, 1).unwrap());
        let header = container::parse(&file, &limits).unwrap().header;
        assert_eq!((header.version, header.model), (EXACT_VERSION, NO_MODEL));
        for given in [Given::None, Given::Pixels(&model)] {
            assert_eq!(read_file(&file, given, &limits, 1).unwrap(), picture);
        }
    }
}

#[test]
fn damaged_files_are_errors() {
    let (model, limits) = (SMALL.model(), Limits::default());
    let samples = drawn(&model, &rgb(9, 8), 5).0;
    let picture = Samples { width: 9, height: 8, channels: 3, bits: 8, samples };
    let file = write_file(&picture, Aid::Pixels(&model), None, 1).unwrap();
    assert_eq!(read_file(&file, Given::Pixels(&model), &limits, 1).unwrap(), picture);
    for place in 0..file.len() {
        assert!(read_file(&file[..place], Given::Pixels(&model), &limits, 1).is_err());
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[place] ^= 1 << bit;
            assert!(
                read_file(&damaged, Given::Pixels(&model), &limits, 1).is_err(),
                "{place}, {bit}"
            );
        }
    }
}

/// Before version 4 no file without levels had a model.
#[test]
fn older_versions_know_no_such_model() {
    let model = SMALL.model();
    let samples = drawn(&model, &rgb(9, 8), 5).0;
    let picture = Samples { width: 9, height: 8, channels: 3, bits: 8, samples };
    let file = write_file(&picture, Aid::Pixels(&model), None, 1).unwrap();
    let header = container::parse(&file, &Limits::default()).unwrap().header;
    let exact = [vec![0; 5]];
    let parts = container::Parts { exact: &exact, ..Default::default() };
    container::write(&header, parts).unwrap();
    for version in [CODES_VERSION, EXACT_VERSION, VERSION + 1] {
        let header = Header { version, ..header.clone() };
        assert!(matches!(container::write(&header, parts), Err(Error::InvalidInput(_))));
    }
}

fn reason(parts: &Parts) -> String {
    match PixelModel::load(&parts.file()) {
        Err(Error::InvalidModel(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the model was accepted"),
    }
}

#[test]
fn bad_models() {
    type Change = fn(&mut Parts);
    let changes: &[(Change, &str)] = &[
        (|parts| drop(parts.tensors.remove("pixels.2.hidden2.shift")), "missing"),
        (|parts| parts.put("pixels.3.head.bias", Dtype::I32, &[1], vec![0; 4]), "describes"),
        (|parts| parts.put("pixels.0.head.bias", Dtype::I32, &[3, 3], vec![0; 36]), "[3, 3]"),
        (|parts| parts.put("pixels.0.head.bias", Dtype::F32, &[9], vec![0; 36]), "not I32"),
        (|parts| parts.put("pixels.1.context.weight", Dtype::I8, &[12, 79], vec![0; 948]), "79"),
        (|parts| parts.put("pixels.1.hidden1.bias", Dtype::I32, &[12], vec![0x7f; 48]), "overflow"),
        (|parts| parts.put("pixels.1.head.shift", Dtype::U8, &[9], vec![31; 9]), "shift 31"),
    ];
    for (change, expected) in changes {
        let mut parts = SMALL.parts();
        change(&mut parts);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    // A layer of 600 inputs overflows by its weights alone.
    let mut parts = Sizes { hidden: 600, ..SMALL }.parts();
    assert!(PixelModel::load(&parts.file()).is_ok());
    parts.put("pixels.0.hidden1.weight", Dtype::I8, &[600, 600], vec![127; 360_000]);
    assert!(reason(&parts).contains("overflow"));
}

#[test]
fn bad_configs() {
    for (key, value) in [("hidden", 0), ("hidden", 5000), ("mixture", 0), ("mixture", 17)] {
        let mut parts = SMALL.parts();
        parts.edit(|config| config["runtime"]["pixels"][key] = json!(value));
        assert!(reason(&parts).contains("there are no networks"), "{key} {value}");
    }
    for (change, expected) in [
        (json!({"pixels": {"hidden": 12}}), "mixture"),
        (json!({"pixels": {"hidden": -1, "mixture": 3}}), "not understood"),
        (json!({"pixels": {"hidden": 12, "mixture": 3, "depth": 3}}), "unknown field"),
        (json!({"pixels": {"hidden": 12, "mixture": 3}, "stride": 1}), "not understood"),
        (json!({"pixels": {"hidden": 12, "mixture": 2}}), "not I8 [6, 12]"),
        (json!({}), "not understood"),
    ] {
        let mut parts = SMALL.parts();
        parts.edit(|config| config["runtime"] = change);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let mut parts = SMALL.parts();
    parts.config = "{".into();
    assert!(reason(&parts).contains("not understood"));
    assert!(matches!(PixelModel::load(b"no model"), Err(Error::InvalidModel(_))));
}
