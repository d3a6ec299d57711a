//! Many small files at once: threads share the files, where a single one would not keep them busy.

use rayon::prelude::*;

use crate::codes::CodeGrid;
use crate::container;
use crate::error::Result;
use crate::limits::Limits;
use crate::model::Model;
use crate::picture::{self, Pixels};
use crate::stream;
use crate::threads::with_threads;

/// The codes, coarse to fine, of whole files of one model; each is checked first.
pub fn read_codes(
    model: &Model,
    files: &[&[u8]],
    limits: &Limits,
    threads: usize,
) -> Result<Vec<Vec<CodeGrid>>> {
    let read = |file: &&[u8]| stream::read_codes(model, file, limits, 1, 0);
    with_threads(threads, || files.par_iter().map(read).collect())?
}

/// The same to pixels.
pub fn decode(
    model: &Model,
    files: &[&[u8]],
    limits: &Limits,
    threads: usize,
) -> Result<Vec<Pixels>> {
    let decode = |file: &&[u8]| {
        let codes = stream::read_codes(model, file, limits, 1, 0)?;
        picture::render(model, &codes, &container::parse(file, limits)?.header)
    };
    with_threads(threads, || files.par_iter().map(decode).collect())?
}
