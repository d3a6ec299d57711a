//! A small dense network of four exact layers, which models of pixels have for each colour.

use crate::error::Result;
use crate::kernels::Kernel;
use crate::network::{Layer, MAX_ACTIVATION, activate};

/// `context`, `hidden1`, `hidden2` and `head`, and their biases.
#[derive(Debug, Clone)]
pub struct Perceptron([(Layer, Vec<i32>); 4]);

/// What layers write into.
#[derive(Debug, Default)]
pub struct Memory {
    activations: Vec<i16>,
    outputs: Vec<i32>,
}

impl Perceptron {
    /// A network with so many inputs and the largest of them, `hidden` units a layer, and `outputs`.
    /// `layer` gives each layer by its name, inputs and outputs.
    pub fn new(
        inputs: (usize, i32),
        hidden: usize,
        outputs: usize,
        mut layer: impl FnMut(&str, (usize, i32), usize) -> Result<Layer>,
    ) -> Result<Self> {
        let inner = (hidden, MAX_ACTIVATION);
        let layers = [
            layer("context", inputs, hidden)?,
            layer("hidden1", inner, hidden)?,
            layer("hidden2", inner, hidden)?,
            layer("head", inner, outputs)?,
        ];
        Ok(Self(layers.map(|layer| {
            let biases = layer.biases_at(0);
            (layer, biases)
        })))
    }

    /// Numbers from one vector of inputs to the next.
    pub fn stride(&self) -> usize {
        self.0[0].0.stride()
    }

    /// The head's outputs for vectors of inputs.
    pub fn run<'m>(&self, kernel: Kernel, inputs: &[i16], memory: &'m mut Memory) -> &'m [i32] {
        let count = inputs.len() / self.stride();
        let mut rows = 0;
        for (number, (layer, biases)) in self.0.iter().enumerate() {
            let inputs = if number == 0 {
                inputs
            } else {
                memory.activations.resize(count * layer.stride(), 0);
                activate(&memory.outputs, rows, layer.stride(), &mut memory.activations);
                &memory.activations
            };
            rows = layer.rows();
            memory.outputs.resize(count * rows, 0);
            layer.apply(kernel, biases, inputs, &mut memory.outputs);
        }
        &memory.outputs
    }
}
