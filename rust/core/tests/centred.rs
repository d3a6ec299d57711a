//! Codes that count from their means: they are found once and for all along the prior's walk, and come back from a
//! file as they were, on every kernel.

#![allow(missing_docs)]

mod tiny_model;

use serde_json::json;
use std::sync::LazyLock;
use tiny_model::{Random, Sizes, transform};
use vqcodec_core::checksum::ModelId;
use vqcodec_core::kernels::Kernel;
use vqcodec_core::picture::{analyze, synthesize};
use vqcodec_core::sample::sample;
use vqcodec_core::stream::{Picture, cross_entropy, read_codes, settle, write_file};
use vqcodec_core::{CodeGrid, Error, Limits, Model};

/// A model of codes that count from their means, before `change`.
fn load(change: impl FnOnce(&mut serde_json::Value)) -> Result<Model, Error> {
    let sizes = Sizes::logistic();
    let mut parts = sizes.parts();
    parts.add_transform(transform(sizes.variables()), 2, sizes.quality_levels, false);
    parts.edit(|config| {
        config["runtime"]["prior"]["centred"] = json!(true);
        change(&mut config["runtime"]);
    });
    Model::load(&parts.file())
}

static MODEL: LazyLock<Model> = LazyLock::new(|| load(|_| {}).expect("a valid model"));

/// Codes near random numbers.
fn codes(model: &Model, [height, width]: [usize; 2], quality: u8, threads: usize) -> CodeGrid {
    let (shape, mut random) = ([5, height, width], Random(4));
    let numbers = (0..shape.iter().product()).map(|_| random.within(-4000, 4000));
    let mut grids = [CodeGrid::new(shape, numbers.collect()).unwrap()];
    settle(model, quality, &mut grids, 0, threads).unwrap();
    let [codes] = grids;
    codes
}

fn picture([height, width]: [usize; 2], quality: u8) -> Picture<'static> {
    let [height, width] = [height, width].map(|side| 2 * side as u32);
    Picture { width, height, quality, gray: false, alpha: None, filter: b"" }
}

#[test]
fn files_hold_them_on_every_kernel_and_thread_count() {
    for size in [[1, 1], [1, 150], [131, 3], [2, 2], [64, 64], [65, 70]] {
        let expected = codes(&MODEL, size, 21, 1);
        let (file, bits) =
            write_file(&MODEL, picture(size, 21), std::slice::from_ref(&expected), 1).unwrap();
        assert_eq!(
            bits,
            cross_entropy(&MODEL, 21, std::slice::from_ref(&expected), 2, true).unwrap()
        );
        for kernel in Kernel::available() {
            let model = MODEL.clone().with_kernel(kernel);
            for threads in [1, 3] {
                assert!(codes(&model, size, 21, threads) == expected);
                let written =
                    write_file(&model, picture(size, 21), std::slice::from_ref(&expected), threads);
                assert_eq!(written.unwrap().0, file);
                let read = read_codes(&model, &file, &Limits::default(), threads, 0).unwrap();
                assert!(read == [expected.clone()]);
            }
        }
    }
}

/// They are near the numbers that they stand for, and settling them again changes nothing.
#[test]
fn they_are_the_nearest() {
    let (shape, mut random) = ([5, 9, 11], Random(4));
    let numbers: Vec<_> = (0..shape.iter().product()).map(|_| random.within(-4000, 4000)).collect();
    let mut grids = [CodeGrid::new(shape, numbers.clone()).unwrap()];
    settle(&MODEL, 5, &mut grids, 0, 1).unwrap();
    let settled = grids[0].clone();
    assert!(settled.codes().iter().zip(&numbers).all(|(a, b)| (a - b).abs() <= 128));
    assert!(settled.codes() != numbers);
    settle(&MODEL, 5, &mut grids, 0, 1).unwrap();
    assert!(grids[0] == settled);
    let of_others = Sizes::logistic().model();
    let mut grids = [Sizes::logistic().codes(9, 11, 20)];
    let before = grids[0].clone();
    settle(&of_others, 5, &mut grids, 0, 1).unwrap();
    assert!(grids[0] == before);
}

/// These bytes may never change.
#[test]
fn golden_file() {
    let codes = codes(&MODEL, [70, 66], 19, 1);
    let (file, _) = write_file(&MODEL, picture([70, 66], 19), &[codes], 0).unwrap();
    assert_eq!(
        (file.len(), u64::from_be_bytes(ModelId::of(&file).0)),
        (29476, 0x1978_66c7_8a3f_5a7b)
    );
}

#[test]
fn pixels_there_and_back() {
    let (size, mut random) = ([23, 30], Random(2));
    let pixels: Vec<_> = (0..size[0] * size[1] * 3).map(|_| random.within(0, 255) as u8).collect();
    let codes = analyze(&MODEL, &pixels, size, (16, 0), 1).unwrap();
    let file =
        write_file(&MODEL, Picture { width: 30, height: 23, ..picture([1, 1], 16) }, &codes, 1);
    let read = read_codes(&MODEL, &file.unwrap().0, &Limits::default(), 1, 0).unwrap();
    assert!(read == codes);
    assert_eq!(synthesize(&MODEL, &read, size, 16, None, 1).unwrap().len(), pixels.len());
    let drawn = sample(&MODEL, 16, [23, 30], 1).unwrap();
    let mut again = drawn.clone();
    settle(&MODEL, 16, &mut again, 0, 1).unwrap();
    assert!(again == drawn);
}

/// A dead zone makes codes cheaper.
#[test]
fn a_dead_zone_saves_bits() {
    let bits = |dead_zone: u8| {
        let (shape, mut random) = ([5, 20, 20], Random(4));
        let numbers = (0..shape.iter().product()).map(|_| random.within(-600, 600)).collect();
        let mut grids = [CodeGrid::new(shape, numbers).unwrap()];
        settle(&MODEL, 5, &mut grids, dead_zone, 1).unwrap();
        cross_entropy(&MODEL, 5, &grids, 1, false).unwrap()
    };
    assert!(bits(0) > bits(100));
}

#[test]
fn only_numbers_of_one_level_count_from_their_means() {
    let refused =
        |change: fn(&mut serde_json::Value)| matches!(load(change), Err(Error::InvalidModel(_)));
    assert!(refused(|runtime| runtime["prior"]["centred"] = json!(1)));
    assert!(refused(|runtime| {
        runtime["prior"]["head"] = json!("categorical");
        runtime["prior"]["alphabet"] = json!(6);
        runtime["prior"]["embedding"] = json!(2);
    }));
    let mut parts = Sizes::logistic().two_levels().parts();
    parts.edit(|config| config["runtime"]["prior"]["centred"] = json!(true));
    assert!(matches!(Model::load(&parts.file()), Err(Error::InvalidModel(_))));
}
