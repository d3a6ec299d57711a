//! Convolutions equal their definition, whatever their window, stride and fold.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use tiny_model::Random;
use vqcodec_core::conv::{Conv, Grid, LIMIT, Scratch};
use vqcodec_core::kernels::Kernel;
use vqcodec_core::network::Layer;

/// The numbers of a layer besides its packed form.
struct Numbers {
    weights: Vec<i16>,
    bias: Vec<i32>,
    shift: Vec<u8>,
}

/// What a convolution gives at `(y, x, channel)` of its output, by the text of FORMAT.md.
fn definition(conv: &Conv, numbers: &Numbers, input: &Grid, [y, x, channel]: [usize; 3]) -> i64 {
    let Conv { size, stride, fold, .. } = *conv;
    let columns = size * size * input.channels;
    let row = ((y % fold) * fold + x % fold) * conv.channels() + channel;
    let before = (size - stride).div_ceil(2);
    let mut sum = i64::from(numbers.bias[row]) + ((1 << numbers.shift[row]) >> 1);
    for column in 0..columns {
        let (tap, from) = (column / input.channels, column % input.channels);
        let y = (y / fold * stride + tap / size).wrapping_sub(before);
        let x = (x / fold * stride + tap % size).wrapping_sub(before);
        if y < input.height && x < input.width {
            let value = input.values[(y * input.width + x) * input.channels + from];
            sum += i64::from(numbers.weights[row * columns + column]) * i64::from(value);
        }
    }
    sum >> numbers.shift[row]
}

fn problem(
    [inputs, outputs, size, stride, fold]: [usize; 5],
    random: &mut Random,
) -> (Conv, Numbers) {
    let (rows, columns) = (outputs * fold * fold, inputs * size * size);
    let peak = (131_000 / columns as i32).min(32767);
    let weights: Vec<i16> =
        (0..rows * columns).map(|_| random.within(-peak, peak) as i16).collect();
    let bias: Vec<i32> = (0..rows).map(|_| random.within(-1 << 18, 1 << 18)).collect();
    let shift: Vec<u8> = (0..rows).map(|_| random.within(0, 17) as u8).collect();
    let layer = Layer::new("test", (columns, LIMIT), &weights, bias.clone(), shift.clone());
    let conv = Conv { layer: layer.expect("a layer"), size, stride, fold };
    (conv, Numbers { weights, bias, shift })
}

proptest! {
    #[test]
    fn convolutions_equal_their_definition(
        (inputs, outputs) in (1..6_usize, 1..6_usize),
        (stride, more, fold) in (1..5_usize, 0..5_usize, 1..4_usize),
        (rows, columns) in (1..4_usize, 1..40_usize),
        seed in any::<u64>(),
        relu in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let (conv, numbers) = problem([inputs, outputs, stride + more, stride, fold], &mut random);
        let mut input = Grid::zeros(rows * stride, columns * stride, inputs);
        input.values.fill_with(|| random.within(-LIMIT, LIMIT) as i16);
        let [height, width] = [rows * fold, columns * fold];
        let places = || (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..outputs).map(move |c| [y, x, c])));
        let exact: Vec<i64> = places().map(|place| definition(&conv, &numbers, &input, place)).collect();
        for kernel in Kernel::available() {
            let found = conv.apply(kernel, &input, relu);
            prop_assert_eq!([found.height, found.width, found.channels], [height, width, outputs]);
            let low = if relu { 0 } else { -LIMIT };
            let clamped = exact.iter().map(|&exact| exact.clamp(low.into(), LIMIT.into()) as i16);
            prop_assert!(found.values.iter().copied().eq(clamped));

            let mut sums = vec![7; exact.len()];
            let bands = sums.chunks_exact_mut(fold * width * outputs);
            for (y, band) in bands.enumerate() {
                conv.add_rows(kernel, &input, y..y + 1, band, &mut Scratch::default());
            }
            prop_assert!(sums.iter().map(|&sum| i64::from(sum) - 7).eq(exact.iter().copied()));
        }
    }

    #[test]
    fn stacked_pictures_do_not_see_each_other(
        (inputs, outputs) in (1..6_usize, 1..6_usize),
        (stride, more, fold) in (1..3_usize, 0..5_usize, 1..4_usize),
        (rows, columns, pictures) in (1..6_usize, 1..6_usize, 1..9_usize),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let (conv, _) = problem([inputs, outputs, stride + more, stride, fold], &mut random);
        let grids = (0..pictures).map(|_| {
            let mut grid = Grid::zeros(rows * stride, columns * stride, inputs);
            grid.values.fill_with(|| random.within(-LIMIT, LIMIT) as i16);
            grid
        });
        let grids: Vec<_> = grids.collect();
        let stack = Grid::stacked(&grids).unwrap();
        for kernel in Kernel::available() {
            let found = conv.apply(kernel, &stack, false);
            prop_assert_eq!(found.picture, rows * fold);
            let single = grids.iter().flat_map(|grid| conv.apply(kernel, grid, false).values);
            prop_assert!(found.values.into_iter().eq(single));
        }
    }
}
