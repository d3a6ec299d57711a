//! Pixels to codes and back with a model's integer networks.

use numpy::PyArray3;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use vqcodec_core::Limits;
use vqcodec_core::filter::Filter;
use vqcodec_core::picture::{self, Pixels};
use vqcodec_core::search::Goal;

use crate::arrays::{code_grids, copy, from_pixels, to_arrays, to_pixels};
use crate::errors::to_python;
use crate::model::{Model, thread_count};

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, pixels, quality, threads = 0, dead_zone = 0))]
pub fn analyze<'py>(
    py: Python<'py>,
    model: &Model,
    pixels: &Bound<'py, PyAny>,
    quality: u8,
    threads: i64,
    dead_zone: u8,
) -> PyResult<Vec<Bound<'py, PyArray3<i32>>>> {
    let (size, pixels) = from_pixels(pixels)?;
    let (threads, quality) = (thread_count(threads)?, (quality, dead_zone));
    let codes = py.detach(|| picture::analyze(&model.0, &pixels, size, quality, threads));
    to_arrays(py, codes.map_err(to_python)?)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, codes, height, width, quality, threads = 0, filter = None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub fn synthesize<'py>(
    py: Python<'py>,
    model: &Model,
    codes: &Bound<'py, PyAny>,
    height: usize,
    width: usize,
    quality: u8,
    threads: i64,
    filter: Option<&[u8]>,
) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let (codes, threads) = (code_grids(codes)?, thread_count(threads)?);
    let filter = filter.filter(|bytes| !bytes.is_empty()).map(Filter::read).transpose();
    let (size, filter) = ([height, width], filter.map_err(to_python)?);
    let synthesize =
        || picture::synthesize(&model.0, &codes, size, quality, filter.as_ref(), threads);
    let pixels = py.detach(synthesize);
    to_pixels(py, [height, width, 3], pixels.map_err(to_python)?)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn sample<'py>(
    py: Python<'py>,
    model: &Model,
    quality: u8,
    height: u32,
    width: u32,
    seed: u64,
) -> PyResult<Vec<Bound<'py, PyArray3<i32>>>> {
    let codes =
        py.detach(|| vqcodec_core::sample::sample(&model.0, quality, [height, width], seed));
    to_arrays(py, codes.map_err(to_python)?)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, data, max_pixels = 178_956_970, threads = 0, levels = 0))]
pub fn decode<'py>(
    py: Python<'py>,
    model: &Model,
    data: &[u8],
    max_pixels: u64,
    threads: i64,
    levels: usize,
) -> PyResult<(Bound<'py, PyByteArray>, (usize, usize, usize))> {
    let (limits, threads) = (Limits::with_max_pixels(max_pixels), thread_count(threads)?);
    let decoded = py.detach(|| picture::decode(&model.0, data, &limits, threads, levels));
    let Pixels { height, width, channels, samples } = decoded.map_err(to_python)?;
    Ok((PyByteArray::new(py, &samples), (height, width, channels)))
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, codes, pixels, quality, weight, effort, threads = 0))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub fn search<'py>(
    py: Python<'py>,
    model: &Model,
    codes: &Bound<'py, PyAny>,
    pixels: &Bound<'py, PyAny>,
    quality: u8,
    weight: f64,
    effort: i64,
    threads: i64,
) -> PyResult<Vec<Bound<'py, PyArray3<i32>>>> {
    let codes = code_grids(codes)?;
    let (size, pixels) = from_pixels(pixels)?;
    let threads = thread_count(threads)?;
    let effort = usize::try_from(effort).unwrap_or(usize::MAX); // refused there
    let goal = Goal { pixels: &pixels, size, quality, weight };
    let codes = py.detach(|| picture::search(&model.0, codes, goal, effort, threads));
    to_arrays(py, codes.map_err(to_python)?)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, codes, pixels, quality, weight, threads = 0))]
pub fn fit_filter<'py>(
    py: Python<'py>,
    model: &Model,
    codes: &Bound<'py, PyAny>,
    pixels: &Bound<'py, PyAny>,
    quality: u8,
    weight: f64,
    threads: i64,
) -> PyResult<Bound<'py, PyBytes>> {
    let (codes, threads) = (code_grids(codes)?, thread_count(threads)?);
    let (size, pixels) = from_pixels(pixels)?;
    let goal = Goal { pixels: &pixels, size, quality, weight };
    let filter = py.detach(|| picture::fit(&model.0, &codes, goal, threads));
    Ok(PyBytes::new(py, &filter.map_err(to_python)?))
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (filter, pixels, threads = 0))]
pub fn filtered<'py>(
    py: Python<'py>,
    filter: &[u8],
    pixels: &Bound<'py, PyAny>,
    threads: i64,
) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let (shape, values) = copy::<i16, 3>("pixels", "(h, w, 3)", pixels)?;
    let ([height, width, _], threads) = (shape, thread_count(threads)?);
    let shown = py.detach(|| picture::filtered(filter, values, [height, width], threads));
    to_pixels(py, shape, shown.map_err(to_python)?)
}
