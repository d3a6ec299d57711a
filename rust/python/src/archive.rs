//! The bytes of archives: blocks, and what is before and behind them.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vqcodec_core::archive::{self, BlockHeader, Tag};
use vqcodec_core::{Limits, container};

use crate::errors::{invalid_input, to_python};
use crate::header::Header;

/// See `_core.pyi`.
#[pyclass(module = "vqcodec._core")]
#[derive(Default)]
pub struct BlockWriter(archive::BlockWriter);

#[pymethods]
impl BlockWriter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[pyo3(signature = (file, name = None, label = None, extra = None))]
    fn add(
        &mut self,
        py: Python<'_>,
        file: &[u8],
        name: Option<&str>,
        label: Option<i32>,
        extra: Option<&[u8]>,
    ) -> PyResult<()> {
        let extra = extra.unwrap_or_default();
        py.detach(|| self.0.add(file, Tag { name, label, extra })).map_err(to_python)
    }

    fn skip(&mut self) {
        self.0.skip();
    }

    #[getter]
    fn full(&self) -> bool {
        self.0.is_full()
    }

    fn __len__(&self) -> usize {
        self.0.records()
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let block = std::mem::take(&mut self.0);
        let bytes = py.detach(|| block.finish()).map_err(to_python)?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "vqcodec._core")]
pub struct Block(archive::Block);

impl Block {
    fn check(&self, record: usize) -> PyResult<usize> {
        let records = self.0.records();
        let there = (record < records).then_some(record);
        there.ok_or_else(|| invalid_input(format!("the block has {records} records: no {record}")))
    }
}

#[pymethods]
impl Block {
    #[new]
    #[pyo3(signature = (data, front_only = false))]
    fn new(py: Python<'_>, data: &[u8], front_only: bool) -> PyResult<Self> {
        let read = if front_only { archive::Block::read_front } else { archive::Block::read };
        py.detach(|| read(data)).map(Self).map_err(to_python)
    }

    fn __len__(&self) -> usize {
        self.0.records()
    }

    #[getter]
    fn skipped(&self) -> u32 {
        self.0.skipped()
    }

    fn file<'py>(&self, py: Python<'py>, record: usize) -> PyResult<Bound<'py, PyBytes>> {
        let file = self.0.file(self.check(record)?).map_err(to_python)?;
        Ok(PyBytes::new(py, &file))
    }

    #[pyo3(signature = (record, max_pixels = 178_956_970))]
    fn header(&self, record: usize, max_pixels: u64) -> PyResult<Header> {
        let limits = Limits::with_max_pixels(max_pixels);
        let header = self.0.file_header(self.check(record)?);
        let container = header.and_then(|header| container::parse(&header, &limits));
        Ok(Header::from(&container.map_err(to_python)?))
    }

    fn tag<'py>(
        &self,
        py: Python<'py>,
        record: usize,
    ) -> PyResult<(Option<&str>, Option<i32>, Bound<'py, PyBytes>)> {
        let Tag { name, label, extra } = self.0.tag(self.check(record)?);
        Ok((name, label, PyBytes::new(py, extra)))
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "vqcodec._core")]
pub struct ArchiveIndex(archive::Index);

#[pymethods]
impl ArchiveIndex {
    #[staticmethod]
    fn read_trailer(trailer: [u8; archive::TRAILER_BYTES]) -> PyResult<(u64, u64)> {
        archive::read_trailer(&trailer).map_err(to_python)
    }

    #[new]
    fn new(py: Python<'_>, data: &[u8], start: u64, end: (u64, u64)) -> PyResult<Self> {
        py.detach(|| archive::Index::read(data, start, end)).map(Self).map_err(to_python)
    }

    #[getter]
    fn blocks(&self) -> usize {
        self.0.blocks()
    }

    #[getter]
    fn records(&self) -> u64 {
        self.0.records()
    }

    fn place(&self, block: usize) -> PyResult<(u64, u64, u64)> {
        let place = self.0.place(block);
        let place = place.ok_or_else(|| invalid_input(format!("there is no block {block}")))?;
        Ok((place.offset, place.bytes, place.first))
    }

    fn first(&self, block: usize) -> PyResult<u64> {
        if block == self.0.blocks() {
            return Ok(self.0.records());
        }
        self.place(block).map(|(_, _, first)| first)
    }

    fn locate(&self, record: u64) -> PyResult<(usize, usize)> {
        let place = self.0.locate(record);
        let place = place.ok_or_else(|| invalid_input(format!("there is no record {record}")))?;
        Ok((place.block, (record - place.first) as usize))
    }
}

/// See `_core.pyi`.
#[pyfunction]
pub fn write_archive_start<'py>(py: Python<'py>, note: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    archive::write_start(note).map(|bytes| PyBytes::new(py, &bytes)).map_err(to_python)
}

/// See `_core.pyi`.
#[pyfunction]
pub fn read_archive_start<'py>(
    py: Python<'py>,
    data: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    let (note, start) = archive::read_start(data).map_err(to_python)?;
    Ok((PyBytes::new(py, note), start))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn write_archive_end<'py>(
    py: Python<'py>,
    blocks: Vec<(u32, u16)>,
    start: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = archive::write_end(&blocks, start).map_err(to_python)?;
    Ok(PyBytes::new(py, &bytes))
}

/// See `_core.pyi`.
#[pyfunction]
pub fn read_block_header(data: &[u8]) -> PyResult<(u64, u64, u16)> {
    let header = BlockHeader::read(data).map_err(to_python)?;
    Ok((header.front_bytes(), header.block_bytes(), header.records))
}
