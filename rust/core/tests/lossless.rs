//! Lossless tiles: what goes in comes out, and no bytes do harm.

#![allow(missing_docs)]

use proptest::prelude::*;
use vqcodec_core::Error;
use vqcodec_core::lossless::{
    Shape, decode_tile, decode_tile_previewed, encode_tile, encode_tile_previewed,
    has_coded_palette, is_previewed,
};

/// What kind of picture a test draws.
#[derive(Debug, Clone, Copy)]
enum Content {
    Noise,
    Flat,
    Gradient,
    Extremes,
    FewLevels,
    Colours,
    ManyColours,
    Texture,
}

/// A generator of numbers that needs no library.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

fn draw(shape: &Shape, content: Content, seed: u64) -> Vec<u16> {
    let mut random = Random(seed);
    let max = (1_u32 << shape.bits) - 1;
    let flat = random.below(max + 1);
    let mut samples = Vec::new();
    for y in 0..shape.height {
        for x in 0..shape.width {
            for channel in 0..u32::from(shape.channels) {
                let sample = match content {
                    Content::Noise => random.below(max + 1),
                    Content::Flat => flat,
                    Content::Gradient => (3 * x + 2 * y + 50 * channel) * max / 255,
                    Content::Extremes => (x + y + random.below(20) / 19) % 2 * max,
                    Content::FewLevels => random.below(5) * (max / 5),
                    Content::Colours => {
                        let colour = (x * x + 3 * y * y) % 11;
                        (colour * 97 + channel * 61 + colour * channel * 29) % (max + 1)
                    }
                    Content::ManyColours => {
                        let colour = (y * shape.width.div_ceil(4) + x / 4) * 7919 % 300;
                        (colour + 1).wrapping_mul(0x9e37_79b1).rotate_left(9 * channel) % (max + 1)
                    }
                    Content::Texture => {
                        flat / 2 + (x * y + channel * x) % 7 * max / 40 + random.below(3)
                    }
                };
                samples.push(sample.min(max) as u16);
            }
        }
    }
    samples
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sides =
        prop_oneof![(1..=40_u32, 1..=30_u32), (1..=3_u32, 1..=90_u32), (1..=90_u32, 1..=3_u32)];
    (sides, 1..=4_u8, 1..=16_u8).prop_map(|((width, height), channels, bits)| Shape {
        width,
        height,
        channels,
        bits,
    })
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Noise),
        Just(Content::Flat),
        Just(Content::Gradient),
        Just(Content::Extremes),
        Just(Content::FewLevels),
        Just(Content::Colours),
        Just(Content::ManyColours),
        Just(Content::Texture),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn round_trip(shape in shapes(), content in contents(), seed: u64) {
        let samples = draw(&shape, content, seed);
        let bytes = encode_tile(&samples, &shape).unwrap();
        prop_assert!(bytes.len() <= 1 + (samples.len() * usize::from(shape.bits)).div_ceil(8));
        prop_assert_eq!(decode_tile(&bytes, &shape).unwrap(), samples);
    }

    /// Whatever a preview shows of it.
    #[test]
    fn round_trip_behind_a_preview(
        shape in shapes(),
        content in contents(),
        shown in contents(),
        seed: u64,
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let (samples, shown) = (draw(&shape, content, seed), draw(&shape, shown, seed / 3));
        let mut tile = encode_tile_previewed(&samples, &shape, &shown).unwrap();
        prop_assert_eq!(decode_tile_previewed(&tile, &shape, &shown).unwrap(), samples);
        if is_previewed(&tile) {
            let corrupted = matches!(decode_tile(&tile, &shape), Err(Error::Corrupted { .. }));
            prop_assert!(corrupted && (shape.channels, shape.bits) == (3, 8));
        }
        let place = flip.0.index(tile.len());
        tile[place] ^= flip.1;
        check(decode_tile_previewed(&tile, &shape, &shown), &shape);
    }

    #[test]
    fn damage_does_no_harm(
        shape in shapes(),
        content in contents(),
        seed: u64,
        cut: prop::sample::Index,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let mut bytes = encode_tile(&draw(&shape, content, seed), &shape).unwrap();
        check(decode_tile(&bytes[..cut.index(bytes.len())], &shape), &shape);
        for (index, flip) in flips {
            let place = index.index(bytes.len());
            bytes[place] ^= flip;
        }
        check(decode_tile(&bytes, &shape), &shape);
    }

    #[test]
    fn any_bytes_do_no_harm(shape in shapes(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(decode_tile(&bytes, &shape), &shape);
    }
}

/// Damaged bytes give an error or samples of the right number and range.
fn check(decoded: vqcodec_core::Result<Vec<u16>>, shape: &Shape) {
    if let Ok(samples) = decoded {
        assert_eq!(samples.len(), shape.samples());
        assert!(samples.iter().all(|&sample| u32::from(sample) < 1 << shape.bits));
    }
}

#[test]
fn noise_is_stored_raw() {
    let shape = Shape { width: 64, height: 64, channels: 3, bits: 8 };
    let bytes = encode_tile(&draw(&shape, Content::Noise, 1), &shape).unwrap();
    assert_eq!(bytes.len(), 1 + shape.samples());
}

/// A preview that is near a picture of noise and edges saves bytes, and says so in the mode.
#[test]
fn a_preview_helps() {
    let shape = Shape { width: 90, height: 70, channels: 3, bits: 8 };
    let coarse = |place: usize| (place / 3 % 90 / 4 * 37 + place / 270 / 4 * 61) * 7 % 200;
    let mut random = Random(5);
    let shown: Vec<_> = (0..shape.samples()).map(|place| coarse(place) as u16 + 20).collect();
    let samples: Vec<_> = shown.iter().map(|&shown| shown + random.below(3) as u16).collect();
    let tile = encode_tile_previewed(&samples, &shape, &shown).unwrap();
    let plain = encode_tile(&samples, &shape).unwrap();
    assert!(is_previewed(&tile) && !is_previewed(&plain));
    assert!(100 * tile.len() < 95 * plain.len(), "{} of {}", tile.len(), plain.len());
    for shown in [&shown[1..], &[256; 90 * 70 * 3]] {
        let found = encode_tile_previewed(&samples, &shape, shown);
        assert!(matches!(found, Err(Error::InvalidInput(_))));
        assert!(matches!(decode_tile_previewed(&tile, &shape, shown), Err(Error::InvalidInput(_))));
    }
}

#[test]
fn flat_tiles_are_tiny() {
    let shape = Shape { width: 256, height: 256, channels: 3, bits: 8 };
    let bytes = encode_tile(&vec![77; shape.samples()], &shape).unwrap();
    assert!(bytes.len() < 60, "{}", bytes.len());
}

#[test]
fn many_colours_have_a_palette() {
    let shape = Shape { width: 64, height: 40, channels: 3, bits: 8 };
    let samples = draw(&shape, Content::ManyColours, 1);
    let bytes = encode_tile(&samples, &shape).unwrap();
    assert!(has_coded_palette(&bytes));
    assert!(bytes.len() < 300 * 3 + 640, "{}", bytes.len()); // each colour once, each block's place
    for (place, wrong) in [(1, 0xff), (1, 0x80), (3, 0xff)] {
        let mut bytes = bytes.clone();
        bytes[place] = wrong; // the number of colours, the length of the palette
        check(decode_tile(&bytes, &shape), &shape);
    }
    let beyond = [&[5, 0xff, 0xff, 0x7f, 1], &bytes[5..]].concat();
    assert!(matches!(decode_tile(&beyond, &shape), Err(Error::Corrupted { .. })));
    assert!(matches!(decode_tile(&bytes[..9], &shape), Err(Error::Truncated { .. })));
}

#[test]
fn wrong_arguments_are_refused() {
    let shape = Shape { width: 2, height: 2, channels: 1, bits: 3 };
    assert!(matches!(encode_tile(&[0; 3], &shape), Err(Error::InvalidInput(_))));
    assert!(matches!(encode_tile(&[0, 8, 0, 0], &shape), Err(Error::InvalidInput(_))));
    for shape in [
        Shape { width: 0, ..shape },
        Shape { channels: 5, ..shape },
        Shape { bits: 0, ..shape },
        Shape { bits: 17, ..shape },
    ] {
        assert!(matches!(encode_tile(&[0; 4], &shape), Err(Error::InvalidInput(_))));
        assert!(matches!(decode_tile(&[0; 4], &shape), Err(Error::InvalidInput(_))));
    }
    let huge = Shape { width: u32::MAX, height: u32::MAX, ..shape };
    assert!(matches!(decode_tile(&[1], &huge), Err(Error::OverLimit { .. })));
}

/// Tiles of the format, and what they hold: a change of one byte needs another mode.
fn golden() -> [(&'static str, &'static [u8], Shape, Content); 6] {
    let shape = |width, height, channels, bits| Shape { width, height, channels, bits };
    macro_rules! vector {
        ($name:literal) => {
            ($name, &include_bytes!(concat!("vectors/", $name))[..])
        };
    }
    let tile = |(name, bytes), shape, content| (name, bytes, shape, content);
    [
        tile(vector!("lossless-rgb.bin"), shape(24, 20, 3, 8), Content::Gradient),
        tile(vector!("lossless-alpha16.bin"), shape(12, 15, 4, 16), Content::Texture),
        tile(vector!("lossless-levels.bin"), shape(16, 16, 1, 12), Content::FewLevels),
        tile(vector!("lossless-palette.bin"), shape(20, 20, 3, 8), Content::Colours),
        tile(vector!("lossless-colours.bin"), shape(64, 40, 3, 8), Content::ManyColours),
        tile(vector!("lossless-raw.bin"), shape(5, 3, 2, 5), Content::Noise),
    ]
}

#[test]
fn golden_vectors() {
    for (name, bytes, shape, content) in golden() {
        let samples = draw(&shape, content, 7);
        if std::env::var_os("WRITE_VECTORS").is_some() {
            let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, encode_tile(&samples, &shape).unwrap()).unwrap();
            continue;
        }
        assert_eq!(encode_tile(&samples, &shape).unwrap(), bytes, "{name}");
        assert_eq!(decode_tile(bytes, &shape).unwrap(), samples, "{name}");
    }
}
