//! Many files at once.

use numpy::PyArray3;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use vqcodec_core::picture::Pixels;
use vqcodec_core::{Limits, batch};

use crate::arrays::{to_arrays, to_samples};
use crate::errors::to_python;
use crate::model::{Model, thread_count};

type Codes<'py> = Vec<Bound<'py, PyArray3<i32>>>;

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, files, max_pixels = 178_956_970, threads = 0))]
pub fn read_batch<'py>(
    py: Python<'py>,
    model: &Model,
    files: Vec<PyBackedBytes>,
    max_pixels: u64,
    threads: i64,
) -> PyResult<Vec<Codes<'py>>> {
    let (limits, threads) = (Limits::with_max_pixels(max_pixels), thread_count(threads)?);
    let files: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
    let found = py.detach(|| batch::read_codes(&model.0, &files, &limits, threads));
    found.map_err(to_python)?.into_iter().map(|grids| to_arrays(py, grids)).collect()
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, files, max_pixels = 178_956_970, threads = 0))]
pub fn decode_batch<'py>(
    py: Python<'py>,
    model: &Model,
    files: Vec<PyBackedBytes>,
    max_pixels: u64,
    threads: i64,
) -> PyResult<Vec<Bound<'py, PyArray3<u8>>>> {
    let (limits, threads) = (Limits::with_max_pixels(max_pixels), thread_count(threads)?);
    let files: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
    let found = py.detach(|| batch::decode(&model.0, &files, &limits, threads));
    let array = |picture| {
        let Pixels { height, width, channels, samples } = picture;
        to_samples(py, [height, width, channels], samples)
    };
    found.map_err(to_python)?.into_iter().map(array).collect()
}
