//! Exact samples to files and back.

use numpy::{PyArray2, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes};
use vqcodec_core::Limits;
use vqcodec_core::exact::{self, Aid, Given, Preview, Samples};
use vqcodec_core::lossless::{self, Shape};

use crate::arrays::{code_grids, copy, from_pixels, to_rows};
use crate::errors::{invalid_input, to_python};
use crate::header::part_of;
use crate::model::{Model, PixelModel, thread_count};

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (samples, bits, metadata = None, preview = None, threads = 0, pixels = None))]
pub fn write_exact<'py>(
    py: Python<'py>,
    samples: &Bound<'py, PyAny>,
    bits: u8,
    metadata: Option<&[u8]>,
    preview: Option<(PyRef<'py, Model>, u8, Bound<'py, PyAny>, bool)>,
    threads: i64,
    pixels: Option<&PixelModel>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (picture, threads) = (from_array(samples, bits)?, thread_count(threads)?);
    let codes = preview.as_ref().map(|(_, _, codes, _)| code_grids(codes)).transpose()?;
    let aid = match (&preview, &codes, pixels) {
        (Some((model, quality, _, serves)), Some(codes), None) => {
            Aid::Preview(Preview { model: &model.0, quality: *quality, codes, serves: *serves })
        }
        (None, None, Some(model)) => Aid::Pixels(&model.0),
        (None, None, None) => Aid::None,
        _ => return Err(invalid_input("a file has either a preview or a model of pixels")),
    };
    let written = py.detach(|| exact::write_file(&picture, aid, metadata, threads));
    Ok(PyBytes::new(py, &written.map_err(to_python)?))
}

/// A model that a file may need.
#[derive(FromPyObject)]
pub enum AnyModel<'py> {
    Codes(PyRef<'py, Model>),
    Pixels(PyRef<'py, PixelModel>),
}

fn given<'a>(model: &'a Option<AnyModel>) -> Given<'a> {
    match model {
        None => Given::None,
        Some(AnyModel::Codes(model)) => Given::Codes(&model.0),
        Some(AnyModel::Pixels(model)) => Given::Pixels(&model.0),
    }
}

/// Samples and their shape.
type Decoded<'py> = (Bound<'py, PyByteArray>, (u32, u32, u8));

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (data, max_pixels = 178_956_970, threads = 0, model = None))]
pub fn read_exact<'py>(
    py: Python<'py>,
    data: &[u8],
    max_pixels: u64,
    threads: i64,
    model: Option<AnyModel<'py>>,
) -> PyResult<(Decoded<'py>, u8)> {
    let (limits, threads) = (Limits::with_max_pixels(max_pixels), thread_count(threads)?);
    let given = given(&model);
    let read = py.detach(|| exact::read_file(data, given, &limits, threads));
    read.map(|picture| decoded(py, &picture)).map_err(to_python)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (files, max_pixels = 178_956_970, threads = 0, model = None))]
pub fn read_exact_batch<'py>(
    py: Python<'py>,
    files: Vec<PyBackedBytes>,
    max_pixels: u64,
    threads: i64,
    model: Option<AnyModel<'py>>,
) -> PyResult<Vec<(Decoded<'py>, u8)>> {
    let (limits, threads) = (Limits::with_max_pixels(max_pixels), thread_count(threads)?);
    let given = given(&model);
    let files: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
    let read = py.detach(|| exact::read_files(&files, given, &limits, threads));
    Ok(read.map_err(to_python)?.into_iter().map(|picture| decoded(py, &picture)).collect())
}

fn decoded<'py>(py: Python<'py>, picture: &Samples) -> (Decoded<'py>, u8) {
    let &Samples { width, height, channels, bits, .. } = picture;
    let samples = PyByteArray::new(py, &picture.to_bytes());
    ((samples, (height, width, channels)), bits)
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (data, max_pixels = 178_956_970))]
pub fn read_metadata<'py>(
    py: Python<'py>,
    data: &'py [u8],
    max_pixels: u64,
) -> PyResult<Option<&'py [u8]>> {
    part_of(py, data, max_pixels, |container| container.metadata)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn lessons<'py>(
    py: Python<'py>,
    pixels: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyArray2<i16>>>> {
    let ([height, width], pixels) = from_pixels(pixels)?;
    let shape = Shape { width: width as u32, height: height as u32, channels: 3, bits: 8 };
    let samples: Vec<_> = pixels.into_iter().map(u16::from).collect();
    let found = py.detach(|| lossless::lessons(&samples, &shape)).map_err(to_python)?;
    let rows = |numbers: Vec<i16>| to_rows(py, numbers.len() / (height * width), numbers);
    found.into_iter().map(rows).collect()
}

/// The samples of an uint8 or uint16 array of shape `(height, width, channels)`.
fn from_array(array: &Bound<'_, PyAny>, bits: u8) -> PyResult<Samples> {
    let narrow = array
        .cast::<PyUntypedArray>()
        .is_ok_and(|array| array.dtype().is_equiv_to(&numpy::dtype::<u8>(array.py())));
    let axes = "(h, w, channels)";
    let ([height, width, channels], samples) = if narrow {
        let (shape, samples) = copy::<u8, 3>("samples", axes, array)?;
        (shape, samples.into_iter().map(u16::from).collect())
    } else {
        copy::<u16, 3>("samples", axes, array)?
    };
    let side = |side| u32::try_from(side).map_err(|_| invalid_input(format!("a side of {side}")));
    let channels = u8::try_from(channels)
        .map_err(|_| invalid_input(format!("samples: {channels} channels are too many")))?;
    Ok(Samples { width: side(width)?, height: side(height)?, channels, bits, samples })
}
