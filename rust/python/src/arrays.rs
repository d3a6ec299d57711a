//! numpy arrays to grids of codes and back. Layout is checked, never fixed up silently.

use numpy::ndarray::{Array2, Array3};
use numpy::prelude::*;
use numpy::{Element, PyArray2, PyArray3, PyReadonlyArray, PyUntypedArray};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use vqcodec_core::CodeGrid;

use crate::errors::{invalid_input, to_python};

/// The codes of an int32 array of shape `(n, h, w)`.
pub fn code_grid(array: &Bound<'_, PyAny>) -> PyResult<CodeGrid> {
    let (shape, codes) = copy::<i32, 3>("codes", "(n, h, w)", array)?;
    CodeGrid::new(shape, codes).map_err(to_python)
}

/// The codes of a sequence of such arrays.
pub fn code_grids(arrays: &Bound<'_, PyAny>) -> PyResult<Vec<CodeGrid>> {
    if arrays.cast::<PyUntypedArray>().is_ok() {
        return Err(PyTypeError::new_err("codes are a list of arrays, one for each level"));
    }
    arrays.try_iter()?.map(|array| code_grid(&array?)).collect()
}

/// Shape and elements of a C-contiguous array of exactly this type and number of axes.
///
/// The copy is what allows to work without the GIL: others may write to the array meanwhile.
pub fn copy<T: Element + Copy, const AXES: usize>(
    name: &str,
    axes: &str,
    array: &Bound<'_, PyAny>,
) -> PyResult<([usize; AXES], Vec<T>)> {
    let untyped = array.cast::<PyUntypedArray>().map_err(|_| {
        PyTypeError::new_err(format!("{name}: expected a numpy array, not {}", type_name(array)))
    })?;
    let wanted = numpy::dtype::<T>(array.py());
    if !untyped.dtype().is_equiv_to(&wanted) {
        return Err(PyTypeError::new_err(format!(
            "{name}: expected dtype {wanted}, not {}",
            untyped.dtype()
        )));
    }
    let shape: [usize; AXES] = untyped.shape().try_into().map_err(|_| {
        invalid_input(format!("{name}: expected shape {axes}, not {:?}", untyped.shape()))
    })?;
    let typed: PyReadonlyArray<'_, T, numpy::ndarray::IxDyn> = array.extract()?;
    let elements = typed
        .as_slice()
        .map_err(|_| invalid_input(format!("{name}: the array is not C-contiguous")))?;
    Ok((shape, elements.to_vec()))
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "this object".into(), |name| name.to_string())
}

/// A grid of codes as an int32 array of shape `(n, h, w)`, without a copy.
pub fn to_array(py: Python<'_>, codes: CodeGrid) -> PyResult<Bound<'_, PyArray3<i32>>> {
    let array = Array3::from_shape_vec(codes.shape(), codes.into_codes());
    Ok(array.map_err(|error| invalid_input(error.to_string()))?.into_pyarray(py))
}

/// The same for each of several grids.
pub fn to_arrays(py: Python<'_>, grids: Vec<CodeGrid>) -> PyResult<Vec<Bound<'_, PyArray3<i32>>>> {
    grids.into_iter().map(|codes| to_array(py, codes)).collect()
}

/// Height and width, and the pixels of an uint8 array of shape `(height, width, 3)`.
pub fn from_pixels(pixels: &Bound<'_, PyAny>) -> PyResult<([usize; 2], Vec<u8>)> {
    let ([height, width, colours], pixels) = copy::<u8, 3>("pixels", "(h, w, 3)", pixels)?;
    if colours != 3 {
        return Err(invalid_input(format!("pixels: expected 3 colours, not {colours}")));
    }
    Ok(([height, width], pixels))
}

/// Mirror of `from_pixels` for any number of colours, without a copy.
pub fn to_pixels(
    py: Python<'_>,
    shape: [usize; 3],
    pixels: Vec<u8>,
) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let array = Array3::from_shape_vec(shape, pixels);
    Ok(array.map_err(|error| invalid_input(error.to_string()))?.into_pyarray(py))
}

/// Rows of `columns` numbers as an array of shape `(rows, columns)`.
pub fn to_rows<T: Element>(
    py: Python<'_>,
    columns: usize,
    numbers: Vec<T>,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let rows = numbers.len().checked_div(columns).unwrap_or(0);
    let array = Array2::from_shape_vec([rows, columns], numbers);
    Ok(array.map_err(|error| invalid_input(error.to_string()))?.into_pyarray(py))
}
