//! Adaptation decodes whatever it encodes, and pays where the network is wrong about scales.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use tiny_model::Random;
use vqcodec_core::adapt::Adaptation;
use vqcodec_core::entropy::{Decoder, Encoder, Meter, SymbolCoder};
use vqcodec_core::logistic::Logistic;

/// A mean, a class, and the code that turns up.
type Case = (i32, i32, i16);

/// Codes a slice of a tile from top left to bottom right; `codes` are replaced by what is coded.
fn walk(
    (variables, height, width): (usize, usize, usize),
    cases: &mut [Case],
    coder: &mut impl SymbolCoder,
) -> Adaptation {
    let mut adaptation = Adaptation::new(variables, height, width);
    for (position, cases) in cases.chunks_mut(variables).enumerate() {
        adaptation.move_to(position / width, position % width);
        for (index, (mean, class, code)) in cases.iter_mut().enumerate() {
            let coded = adaptation.code(index, (*mean, *class), (*code).into(), coder).unwrap();
            *code = coded.try_into().unwrap();
        }
    }
    adaptation
}

/// Encodes and decodes; both must have learned the same.
fn round_trip(shape: (usize, usize, usize), cases: &[Case]) {
    let mut given = cases.to_vec();
    let mut encoder = Encoder::default();
    let encoder_state = walk(shape, &mut given, &mut encoder);
    assert_eq!(given, cases);
    let payload = encoder.finish();
    let mut decoder = Decoder::new(&payload);
    let mut decoded: Vec<Case> = cases.iter().map(|&(mean, class, _)| (mean, class, 0)).collect();
    let decoder_state = walk(shape, &mut decoded, &mut decoder);
    decoder.finish().unwrap();
    assert_eq!(decoded, cases);
    assert_eq!(decoder_state, encoder_state);
}

/// Draws from a logistic distribution of scale class `class` with the mean 0.
fn draw(random: &mut Random, class: i32) -> i16 {
    let uniform = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let scale = 2_f64.powf(f64::from(class - 96) / 16.0);
    (scale * (uniform / (1.0 - uniform)).ln()).round().clamp(-32768.0, 32767.0) as i16
}

/// Bits with adaptation over bits without, where codes have another scale than predicted.
fn cost(predicted: i32, true_class: impl Fn(usize, usize) -> i32) -> f64 {
    let shape @ (variables, height, width) = (12, 24, 24);
    let mut random = Random(7);
    let mut cases: Vec<Case> = (0..variables * height * width)
        .map(|code| true_class(code / variables, code % variables))
        .map(|class| (0, predicted, draw(&mut random, class)))
        .collect();
    let (mut adaptive, mut fixed) = (Meter::default(), Meter::default());
    walk(shape, &mut cases, &mut adaptive);
    for &(mean, class, code) in &cases {
        Logistic::new(mean, class).code(code.into(), &mut fixed).unwrap();
    }
    adaptive.bits() / fixed.bits()
}

#[test]
fn a_right_network_costs_little_more() {
    for class in [60, 80, 96, 120, 160] {
        let cost = cost(class, |_, _| class);
        assert!((0.99..1.02).contains(&cost), "class {class}: {cost}");
    }
}

#[test]
fn a_wrong_network_is_corrected() {
    for (predicted, truth) in [(80, 104), (104, 80), (60, 84), (140, 108)] {
        let cost = cost(predicted, |_, _| truth);
        assert!(cost < 0.97, "{predicted} for {truth}: {cost}");
    }
}

/// Each kind of slot sees something that the others cannot.
#[test]
fn each_slot_pays() {
    let by_variable = cost(96, |_, variable| if variable % 3 == 0 { 114 } else { 87 });
    let by_position = cost(96, |position, _| if position * 7 % 5 < 2 { 114 } else { 78 });
    let by_region = cost(
        96,
        |position, variable| {
            if (position % 24 < 12) == (variable % 2 == 0) { 114 } else { 78 }
        },
    );
    for cost in [by_variable, by_position, by_region] {
        assert!(cost < 0.98, "{by_variable} {by_position} {by_region}");
    }
}

/// Outliers against the smallest scale and hits of the largest drive every slot to its limit, and
/// back again.
#[test]
fn wild_states() {
    let shape @ (variables, height, width) = (3, 40, 40);
    let mut cases: Vec<Case> = vec![(0, 0, i16::MAX); variables * height * width];
    round_trip(shape, &cases);
    let half = cases.len() / 2;
    cases[half..].fill((0, 239, 0));
    round_trip(shape, &cases);
    cases.reverse();
    round_trip(shape, &cases);
    cases.fill((i32::MIN, i32::MIN, i16::MIN));
    cases[half..].fill((i32::MAX, i32::MAX, i16::MIN));
    round_trip(shape, &cases);
    cases.fill((128, 96, 0)); // on the border of two cells
    round_trip(shape, &cases);
}

proptest! {
    #[test]
    fn any_slice(
        shape in (1..9_usize, 1..9_usize, 1..9_usize),
        cases in prop::collection::vec(any::<Case>(), 512),
    ) {
        round_trip(shape, &cases[..shape.0 * shape.1 * shape.2]);
    }

    #[test]
    fn likely_slices(
        shape in (1..20_usize, 1..12_usize, 1..12_usize),
        (class, distance) in (0..240, -60..60),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let cases: Vec<Case> = (0..shape.0 * shape.1 * shape.2)
            .map(|_| (random.within(-127, 127), class, draw(&mut random, class + distance)))
            .collect();
        round_trip(shape, &cases);
    }
}
