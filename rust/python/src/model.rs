//! A model, and coding with it.

use numpy::{PyArray2, PyArray3};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vqcodec_core::checksum::ModelId;
use vqcodec_core::lossless::Shape;
use vqcodec_core::model::config_of;
use vqcodec_core::pixels::PixelModel as CorePixelModel;
use vqcodec_core::stream::{self, Picture};
use vqcodec_core::{Error, Limits, Model as CoreModel};

use crate::arrays::{code_grid, code_grids, from_pixels, to_arrays, to_rows};
use crate::errors::{invalid_input, to_python};

/// See `_core.pyi`.
#[pyclass(frozen, module = "vqcodec._core")]
pub struct Model(pub CoreModel);

#[pymethods]
impl Model {
    #[new]
    fn new(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        py.detach(|| CoreModel::load(data)).map(Self).map_err(to_python)
    }

    #[getter]
    fn id(&self) -> String {
        self.0.id.to_string()
    }

    #[getter]
    fn config(&self) -> &str {
        &self.0.config
    }

    #[getter]
    fn has_transform(&self) -> bool {
        self.0.transform.is_some()
    }

    fn __repr__(&self) -> String {
        format!("Model(id='{}')", self.0.id)
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "vqcodec._core")]
pub struct PixelModel(pub CorePixelModel);

#[pymethods]
impl PixelModel {
    #[new]
    fn new(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        py.detach(|| CorePixelModel::load(data)).map(Self).map_err(to_python)
    }

    #[getter]
    fn id(&self) -> String {
        self.0.id.to_string()
    }

    #[getter]
    fn config(&self) -> &str {
        &self.0.config
    }

    fn cross_entropy(&self, py: Python<'_>, pixels: &Bound<'_, PyAny>) -> PyResult<f64> {
        let ([height, width], pixels) = from_pixels(pixels)?;
        let samples: Vec<u16> = pixels.into_iter().map(u16::from).collect();
        let shape = Shape { width: width as u32, height: height as u32, channels: 3, bits: 8 };
        py.detach(|| self.0.cross_entropy(&samples, &shape)).map_err(to_python)
    }

    fn __repr__(&self) -> String {
        format!("PixelModel(id='{}')", self.0.id)
    }
}

/// See `_core.pyi`.
#[pyfunction]
pub fn model_config(py: Python<'_>, data: &[u8]) -> PyResult<String> {
    py.detach(|| config_of(data)).map_err(to_python)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn model_id(py: Python<'_>, data: &[u8]) -> String {
    py.detach(|| ModelId::of(data)).to_string()
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, width, height, quality, codes, gray = false, alpha = None, threads = 0, filter = None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub fn write_file<'py>(
    py: Python<'py>,
    model: &Model,
    width: u32,
    height: u32,
    quality: u8,
    codes: &Bound<'py, PyAny>,
    gray: bool,
    alpha: Option<&[u8]>,
    threads: i64,
    filter: Option<&[u8]>,
) -> PyResult<(Bound<'py, PyBytes>, f64)> {
    let (codes, threads) = (code_grids(codes)?, thread_count(threads)?);
    let filter = filter.unwrap_or_default();
    let picture = Picture { width, height, quality, gray, alpha, filter };
    let written = py.detach(|| stream::write_file(&model.0, picture, &codes, threads));
    let (bytes, bits) = written.map_err(to_python)?;
    Ok((PyBytes::new(py, &bytes), bits))
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, data, max_pixels = 178_956_970, threads = 0, levels = 0))]
pub fn read_codes<'py>(
    py: Python<'py>,
    model: &Model,
    data: &[u8],
    max_pixels: u64,
    threads: i64,
    levels: usize,
) -> PyResult<Vec<Bound<'py, PyArray3<i32>>>> {
    let (limits, threads) = (Limits::with_max_pixels(max_pixels), thread_count(threads)?);
    let grids = py.detach(|| stream::read_codes(&model.0, data, &limits, threads, levels));
    to_arrays(py, grids.map_err(to_python)?)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, quality, codes, threads = 0, adaptive = true))]
pub fn cross_entropy(
    py: Python<'_>,
    model: &Model,
    quality: u8,
    codes: &Bound<'_, PyAny>,
    threads: i64,
    adaptive: bool,
) -> PyResult<f64> {
    let (codes, threads) = (code_grids(codes)?, thread_count(threads)?);
    py.detach(|| stream::cross_entropy(&model.0, quality, &codes, threads, adaptive))
        .map_err(to_python)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, quality, codes, dead_zone = 0, threads = 0))]
pub fn settle<'py>(
    py: Python<'py>,
    model: &Model,
    quality: u8,
    codes: &Bound<'py, PyAny>,
    dead_zone: u8,
    threads: i64,
) -> PyResult<Vec<Bound<'py, PyArray3<i32>>>> {
    let (mut codes, threads) = (code_grids(codes)?, thread_count(threads)?);
    py.detach(|| stream::settle(&model.0, quality, &mut codes, dead_zone, threads))
        .map_err(to_python)?;
    to_arrays(py, codes)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (model, quality, codes, slice, step, coarse = None))]
pub fn head_outputs<'py>(
    py: Python<'py>,
    model: &Model,
    quality: u8,
    codes: &Bound<'py, PyAny>,
    slice: usize,
    step: usize,
    coarse: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray2<i32>>> {
    let (codes, coarse) = (code_grid(codes)?, coarse.map(code_grid).transpose()?);
    let CoreModel { coarse_prior, prior, .. } = &model.0;
    let outputs = py.detach(|| {
        let (prior, coarse) = match (coarse_prior, coarse) {
            (Some(coarse_prior), None) => (coarse_prior, None),
            (Some(coarse_prior), Some(coarse)) => {
                (prior, Some(coarse_prior.features(&coarse, None)?))
            }
            (None, None) => (prior, None),
            (None, Some(_)) => return Err(Error::InvalidInput("there is no coarse level".into())),
        };
        prior.head_outputs(&prior.features(&codes, coarse.as_ref())?, quality, (slice, step))
    });
    let (outputs, columns) = outputs.map_err(to_python)?;
    to_rows(py, columns, outputs)
}

/// A number of threads, which is 0 or more.
pub fn thread_count(threads: i64) -> PyResult<usize> {
    usize::try_from(threads).map_err(|_| invalid_input(format!("threads: {threads} is negative")))
}
