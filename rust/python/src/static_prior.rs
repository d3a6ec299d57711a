//! The fitted table prior.

use numpy::PyArray3;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vqcodec_core::prior::{Prior, StaticPrior as CorePrior};
use vqcodec_core::{CodeGrid, Limits};

use crate::arrays::{code_grid, copy, to_array};
use crate::errors::{invalid_input, to_python};

/// See `_core.pyi`.
#[pyclass(frozen, module = "vqcodec._core")]
pub struct StaticPrior(CorePrior);

#[pymethods]
impl StaticPrior {
    #[new]
    fn new(counts: &Bound<'_, PyAny>) -> PyResult<Self> {
        let ([variables, _], counts) = copy::<i64, 2>("counts", "(n, 2 * W + 1)", counts)?;
        let counts = counts.into_iter().map(u64::try_from).collect::<Result<Vec<_>, _>>();
        let counts = counts.map_err(|_| invalid_input("counts: a count is negative"))?;
        CorePrior::from_counts(variables, &counts).map(Self).map_err(to_python)
    }

    fn encode<'py>(&self, codes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let (py, codes) = (codes.py(), code_grid(codes)?);
        let payload = py.detach(|| self.0.encode(&codes)).map_err(to_python)?;
        Ok(PyBytes::new(py, &payload))
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        shape: (usize, usize, usize),
    ) -> PyResult<Bound<'py, PyArray3<i32>>> {
        let (variables, height, width) = shape;
        if variables != self.0.variables() || height == 0 || width == 0 {
            return Err(invalid_input(format!(
                "shape {shape:?} is no grid of {} variables a position",
                self.0.variables()
            )));
        }
        let codes = py.detach(|| {
            Limits::default().check_codes([variables, height, width])?;
            self.0.decode(data, CodeGrid::zeros([variables, height, width]))
        });
        to_array(py, codes.map_err(to_python)?)
    }
}
