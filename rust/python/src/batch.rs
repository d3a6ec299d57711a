//! Many files at once.

use numpy::PyArray3;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use vqcodec_core::batch;
use vqcodec_core::picture::Pixels;
use vqcodec_core::{Limits, Result};

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
    let threads = thread_count(threads)?;
    let read =
        |files: &[&[u8]], limits: &Limits| batch::read_codes(&model.0, files, limits, threads);
    let found = all(py, &files, max_pixels, read)?;
    found.into_iter().map(|codes| to_arrays(py, codes)).collect()
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
    let threads = thread_count(threads)?;
    let decode = |files: &[&[u8]], limits: &Limits| batch::decode(&model.0, files, limits, threads);
    let found = all(py, &files, max_pixels, decode)?;
    let shown = |Pixels { height, width, channels, samples }| {
        to_pixels(py, [height, width, channels], samples)
    };
    found.into_iter().map(shown).collect()
}

fn all<R: Send>(
    py: Python<'_>,
    files: &[PyBackedBytes],
    max_pixels: u64,
    work: impl Fn(&[&[u8]], &Limits) -> Result<R> + Sync,
) -> PyResult<R> {
    let files: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
    let limits = Limits::with_max_pixels(max_pixels);
    py.detach(|| work(&files, &limits)).map_err(to_python)
}
