//! Many files at once.

use numpy::PyArray3;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use vqcodec_core::Limits;
use vqcodec_core::batch::{self, Decoded};

use crate::arrays::{to_arrays, to_pixels};
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
    let decoded = decode(py, model, &files, max_pixels, (false, threads))?;
    decoded.into_iter().map(|file| to_arrays(py, file.codes)).collect()
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
    let decoded = decode(py, model, &files, max_pixels, (true, threads))?;
    decoded.into_iter().map(|file| to_pixels(py, file.size, file.pixels)).collect()
}

fn decode(
    py: Python<'_>,
    model: &Model,
    files: &[PyBackedBytes],
    max_pixels: u64,
    (pixels, threads): (bool, i64),
) -> PyResult<Vec<Decoded>> {
    let threads = thread_count(threads)?;
    let files: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
    let limits = Limits::with_max_pixels(max_pixels);
    py.detach(|| batch::decode(&model.0, &files, &limits, pixels, threads)).map_err(to_python)
}
