//! Filters of pictures: what an encoder finds brings the pixels nearer, and decoders everywhere show the same.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use std::sync::LazyLock;
use tiny_model::{Random, Sizes, transform};
use vqcodec_core::filter::{
    Filter, INPUTS, MAX_BYTES, MAX_COARSENESS, MAX_WEIGHT, PAIRS, Unrounded,
};
use vqcodec_core::kernels::Kernel;
use vqcodec_core::picture::{Pixels, decode, filtered, fit, synthesize};
use vqcodec_core::search::Goal;
use vqcodec_core::stream::{Picture, write_file};
use vqcodec_core::{CodeGrid, Error, Limits, Model, batch, header};

const NONE: [[i32; INPUTS]; 3] = [[0; INPUTS]; 3];

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let sizes = Sizes::logistic();
    let mut parts = sizes.parts();
    parts.add_transform(transform(sizes.variables()), 2, sizes.quality_levels, false);
    Model::load(&parts.file()).expect("a valid model")
});

/// Codes of a picture, and what they show through a filter.
fn picture(size: [usize; 2], filter: &Filter) -> (Vec<CodeGrid>, Vec<u8>) {
    let (shape, mut random) = ([5, size[0].div_ceil(2), size[1].div_ceil(2)], Random(8));
    let codes = (0..shape.iter().product()).map(|_| random.within(-1, 1)).collect();
    let codes = vec![CodeGrid::new(shape, codes).unwrap()];
    let pixels = synthesize(&MODEL, &codes, size, 16, Some(filter), 1).unwrap();
    (codes, pixels)
}

fn error(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
}

/// A cast, a little less of a colour, softer edges.
fn some_filter() -> Filter {
    let mut weights = NONE;
    weights[0][0] = 9;
    weights[1][2] = -20;
    weights[2][4..].fill(3);
    Filter { coarseness: 1, weights }
}

/// What a filter makes of a pixel, as FORMAT.md has it.
fn expected(filter: &Filter, unrounded: &Unrounded, [y, x]: [usize; 2], colour: usize) -> u8 {
    let at = |dy: isize, dx: isize, colour: usize| {
        let y = (y as isize + dy).clamp(0, unrounded.height as isize - 1) as usize;
        let x = (x as isize + dx).clamp(0, unrounded.width as isize - 1) as usize;
        i64::from(unrounded.values[(y * unrounded.width + x) * 3 + colour])
    };
    let weight = |input: usize| i64::from(filter.weights[colour][input]);
    let unit = 1 << filter.coarseness;
    let mut sum = 256 * at(0, 0, colour) + 128 * 64 * weight(0);
    for other in 0..3 {
        sum += unit * weight(1 + other) * (at(0, 0, other) - 128 * 64);
        for (pair, &(dy, dx)) in PAIRS.iter().enumerate() {
            let dy = dy as isize;
            let both = at(dy, dx, other) + at(-dy, -dx, other) - 2 * at(0, 0, other);
            sum += 2 * unit * weight(4 + 3 * pair + other) * both;
        }
    }
    ((sum + 8192) >> 14).clamp(0, 255) as u8
}

fn weights(most: i32) -> impl Strategy<Value = [[i32; INPUTS]; 3]> {
    prop::array::uniform3(prop::array::uniform22(-most..=most))
}

proptest! {
    #[test]
    fn bytes_round_trip(coarseness in 0..=MAX_COARSENESS, weights in weights(MAX_WEIGHT)) {
        let filter = Filter { coarseness, weights };
        let bytes = filter.write().unwrap();
        prop_assert!(bytes.len() <= MAX_BYTES);
        prop_assert_eq!(Filter::read(&bytes).unwrap(), filter);
    }

    #[test]
    fn garbage(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
        if let Ok(filter) = Filter::read(&bytes) {
            prop_assert!(filter.weights.as_flattened().iter().all(|w| w.abs() <= MAX_WEIGHT));
        }
    }

    /// Every pixel, against the sums as they are written down.
    #[test]
    fn pixels_by_definition(
        coarseness in 0..=MAX_COARSENESS,
        weights in weights(12),
        (height, width, seed) in (1..7_usize, 1..9_usize, any::<u64>()),
    ) {
        let (filter, mut random) = (Filter { coarseness, weights }, Random(seed));
        let values = (0..height * width * 3).map(|_| random.within(0, 255 * 64) as i16).collect();
        let unrounded = Unrounded { height, width, values };
        let bytes = filter.write().unwrap();
        let shown = filtered(&bytes, unrounded.values.clone(), [height, width], 1).unwrap();
        for (index, &pixel) in shown.iter().enumerate() {
            let place = [index / 3 / width, index / 3 % width];
            prop_assert_eq!(pixel, expected(&filter, &unrounded, place, index % 3));
        }
    }
}

/// The largest sums there are: with overflow checks, as tests have them.
#[test]
fn nothing_overflows() {
    for sign in [1, -1] {
        for parity in [0, 1] {
            let weights = [[sign * MAX_WEIGHT; INPUTS]; 3];
            let bytes = Filter { coarseness: MAX_COARSENESS, weights }.write().unwrap();
            let values = (0..5 * 5 * 3).map(|n| if (n / 3) % 2 == parity { 255 * 64 } else { 0 });
            filtered(&bytes, values.collect(), [5, 5], 1).unwrap();
            let far = vec![i16::MAX, i16::MIN, 0];
            filtered(&bytes, far, [1, 1], 1).unwrap();
        }
    }
}

#[test]
fn no_weights_change_nothing() {
    let filter = Filter { coarseness: 0, weights: NONE };
    let (codes, pixels) = picture([37, 41], &filter);
    assert!(pixels == synthesize(&MODEL, &codes, [37, 41], 16, None, 1).unwrap());
}

/// A picture that is a filter away from what its codes show: that filter is found, but for clamped pixels.
#[test]
fn what_is_lacking_is_found() {
    let size = [150, 131];
    let (codes, pixels) = picture(size, &some_filter());
    let goal = Goal { pixels: &pixels, size, quality: 16, weight: 0.02 };
    let found = fit(&MODEL, &codes, goal, 1).unwrap();
    let plain = synthesize(&MODEL, &codes, size, 16, None, 1).unwrap();
    let filter = Filter::read(&found).unwrap();
    let shown = synthesize(&MODEL, &codes, size, 16, Some(&filter), 1).unwrap();
    let (before, after) = (error(&plain, &pixels), error(&shown, &pixels));
    assert!(10 * after < before, "{before} -> {after}");
    assert!((before - after) as f64 * goal.weight > 8.0 * found.len() as f64);
}

#[test]
fn what_does_not_pay_is_left_out() {
    let size = [20, 20];
    let (codes, pixels) = picture(size, &Filter { coarseness: 0, weights: NONE });
    for (pixels, weight) in [(pixels, 1.0), (vec![0; 20 * 20 * 3], 1e-9)] {
        let goal = Goal { pixels: &pixels, size, quality: 16, weight };
        assert_eq!(fit(&MODEL, &codes, goal, 1).unwrap(), b"");
    }
}

/// Windows, threads, kernels, one file or many: all decoders show the same, which is what the filter is for.
#[test]
fn all_decoders_agree() {
    let size = [300, 268]; // six windows
    let (codes, mut pixels) = picture(size, &some_filter());
    pixels.iter_mut().step_by(7).for_each(|pixel| *pixel ^= 1);
    let goal = Goal { pixels: &pixels, size, quality: 16, weight: 0.02 };
    let filter = fit(&MODEL, &codes, goal, 1).unwrap();
    let file = |filter| {
        let picture =
            Picture { width: 268, height: 300, quality: 16, gray: false, alpha: None, filter };
        write_file(&MODEL, picture, &codes, 1).unwrap().0
    };
    let (with, without) = (file(&filter), file(b""));
    assert_eq!(with.len(), without.len() + filter.len() + 1);
    assert_eq!([with[4], without[4]], [header::FILTER_VERSION, header::CODES_VERSION]);
    let expected = synthesize(&MODEL, &codes, size, 16, Filter::read(&filter).ok().as_ref(), 1);
    let (expected, limits) = (expected.unwrap(), Limits::default());
    for kernel in Kernel::available() {
        let model = MODEL.clone().with_kernel(kernel);
        for threads in [1, 2, 5] {
            assert_eq!(fit(&model, &codes, goal, threads).unwrap(), filter);
            let Pixels { samples, .. } = decode(&model, &with, &limits, threads, 0).unwrap();
            assert!(samples == expected);
        }
        let both = batch::decode(&model, &[&with, &without, &with], &limits, 2).unwrap();
        assert!(both[0].samples == expected && both[2] == both[0] && both[1] != both[0]);
    }
}

#[test]
fn a_small_picture_in_a_batch() {
    let size = [24, 32];
    let (codes, expected) = picture(size, &some_filter());
    let filter = some_filter().write().unwrap();
    let picture =
        Picture { width: 32, height: 24, quality: 16, gray: false, alpha: None, filter: &filter };
    let (file, _) = write_file(&MODEL, picture, &codes, 1).unwrap();
    let shown = batch::decode(&MODEL, &[&file, &file], &Limits::default(), 1).unwrap();
    assert!(shown.iter().all(|shown| shown.samples == expected));
}

#[test]
fn wrong_arguments() {
    let (codes, pixels) = picture([20, 20], &some_filter());
    let goal = Goal { pixels: &pixels, size: [20, 20], quality: 16, weight: 1.0 };
    for wrong in [
        Goal { weight: 0.0, ..goal },
        Goal { weight: f64::NAN, ..goal },
        Goal { size: [20, 19], ..goal },
        Goal { size: [40, 10], ..goal },
        Goal { pixels: &[], size: [0, 0], ..goal },
    ] {
        assert!(matches!(fit(&MODEL, &codes, wrong, 1), Err(Error::InvalidInput(_))));
    }
    let filter = some_filter().write().unwrap();
    for (filter, size) in [(&filter[..], [2, 2]), (b"", [1, 1]), (b"\x07abc", [1, 1])] {
        assert!(filtered(filter, vec![0; 3], size, 1).is_err());
    }
    assert!(filtered(&filter, vec![], [0, 0], 1).is_err());
}
