//! Reading files without a model.

use pyo3::prelude::*;
use vqcodec_core::Limits;
use vqcodec_core::container::{self, Container, Part};

use crate::errors::to_python;

/// See `_core.pyi`.
#[pyclass(frozen, get_all, module = "vqcodec._core")]
pub struct Header {
    version: u8,
    width: u32,
    height: u32,
    gray: bool,
    has_alpha: bool,
    model_id: String,
    needs_pixel_model: bool,
    needs_preview: bool,
    quality: u8,
    levels: Vec<(u32, u32)>,
    payload_bytes: Vec<u64>,
    alpha_bytes: u64,
    exact: Option<(u8, u8)>,
    metadata_bytes: u64,
    filter: Vec<u8>,
    exact_bytes: u64,
    header_bytes: u64,
    file_bytes: u64,
}

impl From<&Container> for Header {
    fn from(container: &Container) -> Self {
        let Container { header, payloads, alpha, metadata, exact, header_bytes, file_bytes } =
            container;
        let bytes = |parts: &[Part]| parts.iter().map(|part| u64::from(part.length)).sum();
        Self {
            version: header.version,
            width: header.width,
            height: header.height,
            gray: header.gray,
            has_alpha: alpha.is_some(),
            model_id: header.model.to_string(),
            needs_pixel_model: header.needs_pixel_model(),
            needs_preview: header.needs_preview(),
            quality: header.quality,
            levels: header.levels.iter().map(|level| (level.stride(), level.tile_side())).collect(),
            payload_bytes: payloads.iter().map(|parts| bytes(parts)).collect(),
            alpha_bytes: bytes(alpha.as_slice()),
            exact: header.exact.map(|exact| (exact.channels, exact.bits)),
            metadata_bytes: bytes(metadata.as_slice()),
            filter: header.filter.clone(),
            exact_bytes: bytes(exact),
            header_bytes: *header_bytes,
            file_bytes: *file_bytes,
        }
    }
}

#[pymethods]
impl Header {
    fn __repr__(&self) -> String {
        format!(
            "Header(width={}, height={}, model_id='{}', quality={}, file_bytes={})",
            self.width, self.height, self.model_id, self.quality, self.file_bytes
        )
    }
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (data, max_pixels = 178_956_970))]
pub fn read_header(py: Python<'_>, data: &[u8], max_pixels: u64) -> PyResult<Header> {
    let limits = Limits::with_max_pixels(max_pixels);
    let container = py.detach(|| container::parse(data, &limits)).map_err(to_python)?;
    Ok(Header::from(&container))
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (data, max_pixels = 178_956_970))]
pub fn verify_checksums(py: Python<'_>, data: &[u8], max_pixels: u64) -> PyResult<Header> {
    parse_whole(py, data, max_pixels).map(|container| Header::from(&container))
}

/// See `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (data, max_pixels = 178_956_970))]
pub fn read_alpha<'py>(
    py: Python<'py>,
    data: &'py [u8],
    max_pixels: u64,
) -> PyResult<Option<&'py [u8]>> {
    part_of(py, data, max_pixels, |container| container.alpha)
}

/// A part of a whole file, which is checked first.
pub fn part_of<'py>(
    py: Python<'py>,
    data: &'py [u8],
    max_pixels: u64,
    which: impl Fn(&Container) -> Option<Part>,
) -> PyResult<Option<&'py [u8]>> {
    let container = parse_whole(py, data, max_pixels)?;
    let part = which(&container).map(|part| container.verified_payload(data, part)).transpose();
    part.map_err(to_python)
}

/// Parses and verifies a whole file.
fn parse_whole(py: Python<'_>, data: &[u8], max_pixels: u64) -> PyResult<Container> {
    let limits = Limits::with_max_pixels(max_pixels);
    py.detach(|| {
        let container = container::parse(data, &limits)?;
        container.verify(data)?;
        Ok(container)
    })
    .map_err(to_python)
}
