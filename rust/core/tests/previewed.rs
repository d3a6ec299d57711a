//! Exact samples behind a preview of several tiles: each counts on its own part of the picture, on any number of
//! threads, where that makes it smaller.

#![allow(missing_docs)]

mod tiny_model;

use tiny_model::{Random, Sizes, transform};
use vqcodec_core::exact::{Aid, Given, Preview, Samples, TILE_LOG2, read_file, write_file};
use vqcodec_core::header::{EXACT_VERSION, PREVIEWED_VERSION};
use vqcodec_core::lossless::{Shape, decode_tile, decode_tile_previewed, is_previewed};
use vqcodec_core::picture::{analyze, synthesize};
use vqcodec_core::{Error, Limits, Model, container};

const STRIDE: usize = 2;
const HEIGHT: usize = 12;
const SIDE: usize = 1 << TILE_LOG2;
const WIDTH: usize = 2 * SIDE + 60;
const QUALITY: u8 = 5;

fn model(seed: u64) -> Model {
    let sizes = Sizes { seed, ..Sizes::logistic() };
    let mut parts = sizes.parts();
    parts.add_transform(transform(sizes.variables()), STRIDE, sizes.quality_levels, false);
    Model::load(&parts.file()).unwrap()
}

/// What a preview shows with some noise, and in the second tile one colour.
fn picture(shown: &[u8]) -> Samples {
    let mut random = Random(3);
    let noisy = |(place, &shown): (usize, &u8)| {
        let flat = (SIDE..2 * SIDE).contains(&(place / 3 % WIDTH));
        if flat { 77 } else { u16::from(shown / 2) + random.within(0, 3) as u16 }
    };
    let samples = shown.iter().enumerate().map(noisy).collect();
    Samples { width: WIDTH as u32, height: HEIGHT as u32, channels: 3, bits: 8, samples }
}

fn crop(samples: impl Fn(usize) -> u16, left: usize, width: usize) -> Vec<u16> {
    let row = |y: usize| 3 * (y * WIDTH + left)..3 * (y * WIDTH + left + width);
    (0..HEIGHT).flat_map(row).map(samples).collect()
}

#[test]
fn tiles_count_on_their_part_of_the_preview() {
    let (model, other, limits) = (model(1), model(2), Limits::default());
    let mut random = Random(9);
    let pixels: Vec<_> = (0..3 * WIDTH * HEIGHT).map(|_| random.within(0, 255) as u8).collect();
    let codes = analyze(&model, &pixels, [HEIGHT, WIDTH], (QUALITY, 0), 1).unwrap();
    let shown = synthesize(&model, &codes, [HEIGHT, WIDTH], QUALITY, None, 1).unwrap();
    let picture = picture(&shown);
    let aid =
        |serves| Aid::Preview(Preview { model: &model, quality: QUALITY, codes: &codes, serves });
    let files = [1, 3].map(|threads| write_file(&picture, aid(true), None, threads).unwrap());
    assert_eq!(files[0], files[1]);
    let [file, _] = &files;
    let parsed = container::parse(file, &limits).unwrap();
    assert!(parsed.header.needs_preview() && parsed.header.version == PREVIEWED_VERSION);
    let parts = parsed.exact.iter().zip([(0, SIDE), (SIDE, SIDE), (2 * SIDE, WIDTH - 2 * SIDE)]);
    for (number, (part, (left, width))) in parts.enumerate() {
        let tile = &file[part.offset as usize..][..part.length as usize];
        let shape = Shape { width: width as u32, height: HEIGHT as u32, channels: 3, bits: 8 };
        let expected = crop(|place| picture.samples[place], left, width);
        assert_eq!(is_previewed(tile), number != 1);
        let shown = crop(|place| shown[place].into(), left, width);
        assert_eq!(decode_tile_previewed(tile, &shape, &shown).unwrap(), expected);
        assert_eq!(decode_tile(tile, &shape).is_ok(), number == 1);
    }
    for threads in [1, 3] {
        assert_eq!(read_file(file, Given::Codes(&model), &limits, threads).unwrap(), picture);
    }
    assert!(matches!(read_file(file, Given::None, &limits, 1), Err(Error::InvalidInput(_))));
    let wrong = read_file(file, Given::Codes(&other), &limits, 1);
    assert!(matches!(wrong, Err(Error::ModelMismatch { .. })));

    let apart = write_file(&picture, aid(false), None, 1).unwrap();
    let header = container::parse(&apart, &limits).unwrap().header;
    assert!(!header.needs_preview() && header.version == EXACT_VERSION && apart.len() > file.len());
    assert_eq!(read_file(&apart, Given::None, &limits, 1).unwrap(), picture);
}

/// What the preview does not help with goes without.
#[test]
fn a_preview_that_does_not_help_is_not_needed() {
    let (model, limits) = (model(1), Limits::default());
    let samples = (0..3 * 40 * 30).map(|place| (place / 3 % 40 * 5 + place % 3) as u16).collect();
    let picture = Samples { width: 40, height: 30, channels: 3, bits: 8, samples };
    let codes = analyze(&model, &[9; 3 * 40 * 30], [30, 40], (QUALITY, 0), 1).unwrap();
    let preview = Preview { model: &model, quality: QUALITY, codes: &codes, serves: true };
    let file = write_file(&picture, Aid::Preview(preview), None, 1).unwrap();
    assert_eq!(container::parse(&file, &limits).unwrap().header.version, EXACT_VERSION);
    assert_eq!(read_file(&file, Given::None, &limits, 1).unwrap(), picture);
}
