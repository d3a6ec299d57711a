//! Layers are exact, and those that could overflow are refused.

#![allow(missing_docs)]

use proptest::prelude::*;
use vqcodec_core::Error;
use vqcodec_core::kernels::Kernel;
use vqcodec_core::network::{Layer, MAX_ACTIVATION, MAX_SHIFT, activate};

/// `columns` numbers of every vector, spread to vectors of `stride`; the padding is poisoned.
fn padded(inputs: &[i16], columns: usize, stride: usize) -> Vec<i16> {
    let mut padded = Vec::new();
    for vector in inputs.chunks(columns) {
        padded.extend_from_slice(vector);
        padded.resize(padded.len().next_multiple_of(stride), 12345);
    }
    padded
}

fn reference(weights: &[i16], columns: usize, inputs: &[i16]) -> Vec<i64> {
    let dot = |row: &[i16], vector: &[i16]| -> i64 {
        row.iter().zip(vector).map(|(&w, &x)| i64::from(w) * i64::from(x)).sum()
    };
    inputs
        .chunks(columns)
        .flat_map(|vector| weights.chunks(columns).map(move |row| dot(row, vector)))
        .collect()
}

fn problem() -> impl Strategy<Value = (usize, Vec<i16>, Vec<i16>)> {
    (1..70_usize, 1..12_usize, 0..11_usize).prop_flat_map(|(columns, rows, batch)| {
        let input = prop_oneof![Just(i16::MIN), Just(i16::MAX), any::<i16>()];
        (
            Just(columns),
            prop::collection::vec(-127..=127_i16, rows * columns),
            prop::collection::vec(input, batch * columns),
        )
    })
}

proptest! {
    #[test]
    fn layers_are_exact(
        (columns, weights, inputs) in problem(),
        bias in -1_000_000..1_000_000,
        shift in 0..=MAX_SHIFT,
    ) {
        let rows = weights.len() / columns;
        let biases: Vec<i32> = (0..rows as i32).map(|row| bias + row * 1000).collect();
        let layer =
            Layer::new("test", (columns, 32768), &weights, biases.clone(), vec![shift; rows]);
        let layer = layer.unwrap();
        let sums = reference(&weights, columns, &inputs);
        let mut outputs = vec![0; sums.len()];
        let padded = padded(&inputs, columns, layer.stride());
        layer.apply(Kernel::select().unwrap(), &layer.biases_at(0), &padded, &mut outputs);
        let exact: Vec<i64> = sums
            .iter()
            .zip(biases.iter().cycle())
            .map(|(sum, &bias)| (sum + i64::from(bias) + ((1 << shift) >> 1)) >> shift)
            .collect();
        prop_assert!(outputs.iter().map(|&output| i64::from(output)).eq(exact.iter().copied()));

        let mut activations = vec![0; outputs.len() / rows * (rows + 3)];
        activate(&outputs, rows, rows + 3, &mut activations);
        for (activations, exact) in activations.chunks(rows + 3).zip(exact.chunks(rows)) {
            for (&activation, &exact) in activations.iter().zip(exact) {
                prop_assert_eq!(i64::from(activation), exact.clamp(0, MAX_ACTIVATION.into()));
            }
        }
    }

    /// The blend is within half a unit of the straight line between the levels.
    #[test]
    fn biases_blend(lower in any::<i32>(), upper in any::<i32>(), fraction in 0..16_u8) {
        prop_assume!(lower != i32::MIN && upper != i32::MIN);
        prop_assume!(lower.abs() < i32::MAX - 1 && upper.abs() < i32::MAX - 1);
        let layer = Layer::new("test", (1, 1), &[0], vec![7, lower, upper], vec![0]).unwrap();
        let blend = f64::from(layer.biases_at(16 + fraction)[0]);
        let exact = f64::from(lower) * f64::from(16 - fraction) + f64::from(upper) * f64::from(fraction);
        prop_assert!((blend - exact / 16.0).abs() <= 0.5);
        prop_assert_eq!(layer.biases_at(32), vec![upper]);
        prop_assert_eq!(layer.biases_at(0), vec![7]);
    }
}

/// The proof is tight: one more unit of bias, and the layer is refused.
#[test]
fn layers_that_could_overflow_are_refused() {
    let layer = |weights: &[i16], bias, shift| {
        Layer::new("test", (weights.len(), 32767), weights, vec![bias], vec![shift])
    };
    let weights = [-128; 511];
    let room = i32::MAX - 1 - 511 * 128 * 32767;
    for bias in [room, -room] {
        layer(&weights, bias, 0).unwrap();
        assert!(matches!(layer(&weights, bias + bias.signum(), 0), Err(Error::InvalidModel(_))));
        assert!(matches!(layer(&weights, bias, 1), Err(Error::InvalidModel(_))));
    }
    assert!(layer(&[-32767, 32767], 0, 0).is_ok());
    assert!(layer(&[-32768], 0, 0).is_err());
    assert!(layer(&[0], i32::MIN, 0).is_err());
    assert!(layer(&[0], 0, MAX_SHIFT).is_ok());
    assert!(layer(&[0], 0, MAX_SHIFT + 1).is_err());
    assert!(layer(&[0], 0, 255).is_err());
}

#[test]
fn layers_of_wrong_sizes_are_refused() {
    let layer = |columns, weights: &[i16], biases: usize, shifts| {
        Layer::new("test", (columns, 1), weights, vec![0; biases], vec![0; shifts])
    };
    layer(2, &[0; 6], 3, 3).unwrap();
    layer(2, &[0; 6], 6, 3).unwrap();
    assert!(layer(2, &[0; 5], 3, 3).is_err());
    assert!(layer(2, &[0; 6], 4, 3).is_err());
    assert!(layer(2, &[0; 6], 0, 3).is_err());
    assert!(layer(0, &[], 3, 3).is_err());
    assert!(layer(2, &[], 0, 0).is_err());
}
