//! One class of `vqcodec.errors` for each variant of the Rust error.

use pyo3::prelude::*;
use vqcodec_core::Error;

/// The Python exception of an error, with the same message.
pub fn to_python(error: Error) -> PyErr {
    let class = match error {
        Error::NotVqc => "NotVqcError",
        Error::NotVqa => "NotVqaError",
        Error::UnsupportedVersion(_) | Error::UnsupportedArchive(_) => "UnsupportedVersionError",
        Error::Truncated { .. } => "TruncatedError",
        Error::Corrupted { .. } => "CorruptedError",
        Error::OverLimit { .. } => "LimitError",
        Error::ModelMismatch { .. } => "ModelMismatchError",
        Error::InvalidModel(_) => "InvalidModelError",
        Error::InvalidInput(_) => "InvalidInputError",
    };
    Python::attach(|py| {
        let exception = py
            .import("vqcodec.errors")
            .and_then(|errors| errors.getattr(class))
            .and_then(|class| class.call1((error.to_string(),)));
        match exception {
            Ok(exception) => PyErr::from_value(exception),
            Err(import_error) => import_error,
        }
    })
}

/// An `InvalidInputError` for an argument that does not reach the Rust core.
pub fn invalid_input(why: impl Into<String>) -> PyErr {
    to_python(Error::InvalidInput(why.into()))
}
