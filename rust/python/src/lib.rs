//! The Python module `vqcodec._core`: converts arguments, releases the GIL, maps errors.
//!
//! Signatures and documentation for users are in `vqcodec/_core.pyi`.

mod archive;
mod arrays;
mod batch;
mod errors;
mod exact;
mod header;
mod model;
mod picture;
mod static_prior;

use pyo3::prelude::*;

/// The exact half of vqcodec, in Rust.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::archive::{
        ArchiveIndex, Block, BlockWriter, read_archive_start, read_block_header, write_archive_end,
        write_archive_start,
    };
    #[pymodule_export]
    use super::batch::{decode_batch, read_batch};
    #[pymodule_export]
    use super::exact::{lessons, read_exact, read_exact_batch, read_metadata, write_exact};
    #[pymodule_export]
    use super::header::{Header, read_alpha, read_header, verify_checksums};
    #[pymodule_export]
    use super::kernel;
    #[pymodule_export]
    use super::model::{
        Model, PixelModel, cross_entropy, head_outputs, model_config, model_id, read_codes, settle,
        write_file,
    };
    #[pymodule_export]
    use super::picture::{analyze, decode, filtered, fit_filter, sample, search, synthesize};
    #[pymodule_export]
    use super::static_prior::StaticPrior;
}

/// Name of the kernel that new models run on.
#[pyfunction]
fn kernel() -> PyResult<&'static str> {
    let kernel = vqcodec_core::kernels::Kernel::select().map_err(errors::to_python)?;
    Ok(kernel.name())
}
