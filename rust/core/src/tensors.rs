//! The tensors of a model file, each checked for type and shape as it is taken.

use std::collections::BTreeSet;
use std::iter;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::gain::Gain;
use crate::network::Layer;

/// The config of a model file, JSON.
pub fn config_of(file: &[u8]) -> Result<String> {
    let (_, metadata) = SafeTensors::read_metadata(file).map_err(invalid)?;
    let config = metadata.metadata().as_ref().and_then(|metadata| metadata.get("config"));
    config.cloned().ok_or_else(|| invalid("there is no config in its metadata"))
}

#[derive(Deserialize)]
struct Config<R> {
    runtime: R,
}

/// The config of a model file, and what its `runtime` object describes.
pub fn runtime_of<R: DeserializeOwned>(file: &[u8]) -> Result<(String, R)> {
    let config = config_of(file)?;
    let Config { runtime } = serde_json::from_str(&config)
        .map_err(|error| invalid(format!("its config is not understood: {error}")))?;
    Ok((config, runtime))
}

/// What a model file holds under some prefixes.
pub struct Tensors<'a> {
    tensors: SafeTensors<'a>,
    /// Names of the tensors taken.
    used: BTreeSet<String>,
}

impl<'a> Tensors<'a> {
    /// None of `tensors` is taken yet.
    pub fn new(tensors: SafeTensors<'a>) -> Self {
        Self { tensors, used: BTreeSet::new() }
    }

    /// A layer of int8 or int16 weights `(rows, columns)`, with one row of biases, or with one for
    /// each of `levels`; no input may exceed `max_input` in magnitude.
    pub fn layer(
        &mut self,
        name: &str,
        (columns, max_input): (usize, i32),
        rows: usize,
        (dtype, levels): (Dtype, Option<usize>),
    ) -> Result<Layer> {
        let weights = match dtype {
            Dtype::I16 => self.wide(name, rows, columns)?,
            _ => {
                let bytes = self.take(&format!("{name}.weight"), dtype, &[rows, columns])?;
                bytes.iter().map(|&byte| i16::from(byte as i8)).collect()
            }
        };
        let shape = [levels.unwrap_or(1), rows];
        let shape = if levels.is_some() { &shape[..] } else { &shape[1..] };
        let biases = self.take(&format!("{name}.bias"), Dtype::I32, shape)?;
        let shifts = self.take(&format!("{name}.shift"), Dtype::U8, &[rows])?.to_vec();
        Layer::new(name, (columns, max_input), &weights, int32(biases).collect(), shifts)
    }

    /// Int16 weights `(rows, columns)`, as they are or in as many bits as `bits` says for each row.
    fn wide(&mut self, name: &str, rows: usize, columns: usize) -> Result<Vec<i16>> {
        let weight = format!("{name}.weight");
        if !self.tensors.tensor(&weight).is_ok_and(|tensor| tensor.dtype() == Dtype::U8) {
            return Ok(int16(self.take(&weight, Dtype::I16, &[rows, columns])?).collect());
        }
        let bits = self.take(&format!("{name}.bits"), Dtype::U8, &[rows])?;
        if let Some(bits) = bits.iter().find(|bits| !(1..=16).contains(*bits)) {
            return Err(invalid(format!("{name} has a row of {bits} bits a weight")));
        }
        let all: usize = bits.iter().map(|&bits| columns * usize::from(bits)).sum();
        let packed = self.take(&weight, Dtype::U8, &[all.div_ceil(8)])?;
        Ok(unpacked(packed, bits, columns))
    }

    /// A gain of `(levels, channels)`.
    pub fn gain(&mut self, name: &str, levels: usize, channels: usize) -> Result<Gain> {
        let log2 = self.take(&format!("{name}.log2"), Dtype::I32, &[levels, channels])?;
        Gain::new(name, channels, int32(log2).collect())
    }

    /// A table of int16.
    pub fn table(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i16>> {
        Ok(int16(self.take(name, Dtype::I16, shape)?).collect())
    }

    /// A table of int32.
    pub fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i32>> {
        Ok(int32(self.take(name, Dtype::I32, shape)?).collect())
    }

    fn take(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|_| invalid(format!("the tensor {name} is missing")))?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            return Err(invalid(format!(
                "{name} is {:?} {:?}, not {dtype:?} {shape:?}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        if !self.used.insert(name.into()) {
            return Err(invalid(format!("the tensor {name} is used twice")));
        }
        Ok(tensor.data())
    }

    /// A tensor under one of the prefixes that nobody asked for means that file and config disagree.
    pub fn check_nothing_left(&self, prefixes: &[&str]) -> Result<()> {
        let known = |name: &&&str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let present = self.tensors.names().iter().filter(known).count();
        if present != self.used.len() {
            return Err(invalid(format!(
                "it has {present} tensors under {}, but its config describes {}",
                prefixes.join(", "),
                self.used.len()
            )));
        }
        Ok(())
    }
}

/// Rows of `columns` numbers in two's complement, the lowest bit first, each in as many bits as `bits` says for its row.
fn unpacked(packed: &[u8], bits: &[u8], columns: usize) -> Vec<i16> {
    let padded = [packed, &[0; 3]].concat(); // 16 bits lie within four bytes
    let mut first = 0;
    let sizes = bits.iter().flat_map(|&bits| iter::repeat_n(usize::from(bits), columns));
    let number = |size| {
        let bytes = [0, 1, 2, 3].map(|byte| padded[first / 8 + byte]);
        let above = 32 - size - first % 8;
        first += size;
        ((u32::from_le_bytes(bytes) << above) as i32 >> (32 - size)) as i16
    };
    sizes.map(number).collect()
}

fn int16(bytes: &[u8]) -> impl Iterator<Item = i16> {
    bytes.as_chunks().0.iter().map(|&bytes| i16::from_le_bytes(bytes))
}

fn int32(bytes: &[u8]) -> impl Iterator<Item = i32> {
    bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes))
}

/// An error of a model file as a whole.
pub fn invalid(why: impl ToString) -> Error {
    Error::InvalidModel(why.to_string())
}
