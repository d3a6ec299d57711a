//! All kernels of this machine give the same, exact numbers.

#![allow(missing_docs)]

mod tiny_model;

use std::ops::Range;

use proptest::prelude::*;
use tiny_model::{Random, Sizes};
use vqcodec_core::kernels::{Kernel, Matrix, Rounding};
use vqcodec_core::stream::{Picture, read_codes, write_file};
use vqcodec_core::{Limits, Model};

/// One product, unpacked. Inputs are `(batch, columns)`, weights `(rows, columns)`.
#[derive(Debug)]
struct Problem {
    columns: usize,
    weights: Vec<i16>,
    biases: Vec<i32>,
    shifts: Vec<u8>,
    inputs: Vec<i16>,
}

impl Problem {
    /// Numbers up to the given magnitudes; one in four is an extreme.
    fn random(sizes: [usize; 3], weight: i32, (lowest, highest): (i32, i32), seed: u64) -> Self {
        let [rows, columns, batch] = sizes;
        let mut random = Random(seed);
        let mut number = |low, high| match random.within(0, 7) {
            0 => low as i16,
            1 => high as i16,
            _ => random.within(low, high) as i16,
        };
        Self {
            columns,
            weights: (0..rows * columns).map(|_| number(-weight, weight)).collect(),
            inputs: (0..batch * columns).map(|_| number(lowest, highest)).collect(),
            biases: (0..rows).map(|_| random.within(-1_000_000, 1_000_000)).collect(),
            shifts: (0..rows).map(|_| random.within(0, 30) as u8).collect(),
        }
    }

    /// The outputs in 64-bit arithmetic; sums wrap to 32 bits.
    fn exact(&self) -> Vec<i32> {
        let mut outputs = Vec::new();
        for input in self.inputs.chunks(self.columns) {
            for (row, weights) in self.weights.chunks(self.columns).enumerate() {
                let dot = weights.iter().zip(input).map(|(&w, &x)| i64::from(w) * i64::from(x));
                let half = (1_i64 << self.shifts[row]) >> 1;
                let sum = dot.sum::<i64>() + i64::from(self.biases[row]) + half;
                outputs.push(sum as i32 >> self.shifts[row]);
            }
        }
        outputs
    }

    /// Inputs in vectors of `stride`; the padding is poisoned.
    fn padded(&self, stride: usize) -> Vec<i16> {
        let mut padded = Vec::new();
        for vector in self.inputs.chunks(self.columns) {
            padded.extend_from_slice(vector);
            padded.resize(padded.len().next_multiple_of(stride), i16::MIN);
        }
        padded
    }

    fn check(&self) {
        let matrix = Matrix::new(self.columns, &self.weights);
        let inputs = self.padded(matrix.stride());
        let exact = self.exact();
        for kernel in Kernel::available() {
            let mut outputs = vec![i32::MIN; exact.len()];
            let rounding = Rounding::tiles(&self.shifts);
            kernel.apply((&matrix, &all(&matrix)), &rounding, &self.biases, &inputs, &mut outputs);
            assert!(outputs == exact, "{}: {outputs:?}, not {exact:?}", kernel.name());
        }
    }
}

/// The one span of all column pairs.
fn all(matrix: &Matrix) -> Vec<Range<usize>> {
    std::iter::once(0..matrix.stride() / 2).collect()
}

proptest! {
    /// Column pairs that are left out count as zeros.
    #[test]
    fn spans(
        (rows, columns, batch) in (1..=40_usize, 1..=70_usize, 1..=20_usize),
        met in prop::collection::vec(any::<bool>(), 35),
        seed: u64,
    ) {
        let problem = Problem::random([rows, columns, batch], 32767, (-32768, 32767), seed);
        let matrix = Matrix::new(columns, &problem.weights);
        let pairs: Vec<usize> = (0..matrix.stride() / 2).filter(|&pair| met[pair]).collect();
        let spans: Vec<_> = pairs.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[0] + run.len()).collect();
        let (mut whole, mut kept) = (problem.padded(matrix.stride()), Vec::new());
        for vector in whole.chunks_exact_mut(matrix.stride()) {
            for (pair, numbers) in vector.chunks_exact_mut(2).enumerate() {
                if met[pair] { kept.extend_from_slice(numbers) } else { numbers.fill(0) }
            }
        }
        let rounding = Rounding::tiles(&problem.shifts);
        for kernel in Kernel::available() {
            let outputs = [(&whole, &all(&matrix)), (&kept, &spans)].map(|(inputs, spans)| {
                let mut outputs = vec![i32::MIN; rows * batch];
                kernel.apply((&matrix, spans), &rounding, &problem.biases, inputs, &mut outputs);
                outputs
            });
            prop_assert!(outputs[0] == outputs[1], "{}", kernel.name());
        }
    }

    #[test]
    fn small((rows, columns, batch) in (1..=40_usize, 1..=70_usize, 0..=40_usize), seed: u64) {
        Problem::random([rows, columns, batch], 32767, (-32768, 32767), seed).check();
    }
}

#[test]
fn every_shape_of_blocks() {
    for batch in (0..=17).chain([31, 32, 33]) {
        for rows in [1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 80, 97] {
            let seed = (batch * 100 + rows) as u64;
            Problem::random([rows, 5, batch], 32767, (-32768, 32767), seed).check();
        }
    }
}

/// Sums that fill 32 bits, as the proof of a layer allows.
#[test]
fn large() {
    for columns in [1056, 1152, 1727, 1728] {
        Problem::random([37, columns, 9], 127, (-16376, 16376), 1).check();
        Problem::random([16, columns, 3], 32767, (-32768, 32767), 2).check();
    }
}

#[test]
fn extremes() {
    for (weight, input) in [(32767, i16::MIN), (-32767, i16::MIN), (32767, 32767), (-32767, 32767)]
    {
        for columns in [1, 2, 3, 64, 1152] {
            let weights = vec![weight; columns * 17];
            let (biases, shifts) = (vec![i32::MAX; 17], vec![0; 17]);
            Problem { columns, weights, biases, shifts, inputs: vec![input; columns * 5] }.check();
        }
    }
}

#[test]
fn unknown_kernels_are_named() {
    let error = Kernel::named("quantum").unwrap_err().to_string();
    assert!(error.contains("quantum") && error.contains("scalar"), "{error}");
}

#[test]
fn kernels_of_this_machine() {
    let names: Vec<_> = Kernel::available().map(|kernel| kernel.name()).collect();
    assert_eq!(names.last(), Some(&"scalar"));
    for name in ["avx512", "avx2", "neon", "scalar"] {
        match Kernel::named(name) {
            Ok(kernel) => assert!(kernel.name() == name && names.contains(&name)),
            Err(error) => assert!(!names.contains(&name) && error.to_string().contains(name)),
        }
    }
}

/// Whole files do not depend on the kernel, neither written nor read.
#[test]
fn files_are_equal() {
    let large = Sizes { slices: vec![3, 5, 9], hidden: 37, ..Sizes::logistic() };
    let one_level = [Sizes::logistic(), Sizes::categorical(), large];
    for sizes in one_level.iter().cloned().chain(one_level.clone().map(Sizes::two_levels)) {
        let codes = sizes.all_codes(19, 23, 12);
        let picture = Picture {
            width: 16 * 23,
            height: 16 * 19,
            quality: 21,
            gray: false,
            alpha: None,
            filter: b"",
        };
        let models: Vec<Model> =
            Kernel::available().map(|kernel| sizes.model().with_kernel(kernel)).collect();
        let files: Vec<_> =
            models.iter().map(|model| write_file(model, picture, &codes, 1).unwrap()).collect();
        for (model, file) in models.iter().zip(&files) {
            assert!(file == &files[0], "{} writes other bytes", model.kernel.name());
            let read = read_codes(model, &files[0].0, &Limits::default(), 1, 0).unwrap();
            assert!(read == codes, "{} reads other codes", model.kernel.name());
        }
    }
}
