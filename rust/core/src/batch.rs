//! Many small files at once: threads share the files, where a single one would not keep them busy.

use rayon::prelude::*;

use crate::codes::CodeGrid;
use crate::container;
use crate::error::Result;
use crate::limits::Limits;
use crate::model::Model;
use crate::picture;
use crate::stream;
use crate::threads::with_threads;

/// What came of a file: its height and width, its codes, and its `(height, width, 3)` pixels.
#[derive(Debug)]
pub struct Decoded {
    /// Rows and columns of pixels.
    pub size: [usize; 2],
    /// The codes, coarse to fine.
    pub codes: Vec<CodeGrid>,
    /// Empty where only codes were asked for.
    pub pixels: Vec<u8>,
}

/// Decodes whole files of one model, to codes or to pixels, too; each is checked first.
pub fn decode(
    model: &Model,
    files: &[&[u8]],
    limits: &Limits,
    pixels: bool,
    threads: usize,
) -> Result<Vec<Decoded>> {
    let decode_one = |file: &&[u8]| {
        let codes = stream::read_codes(model, file, limits, 1, 0)?;
        let header = container::parse(file, limits)?.header;
        let size = [header.height as usize, header.width as usize];
        let pixels = match pixels {
            true => picture::synthesize_here(model, &codes, size, header.quality)?,
            false => Vec::new(),
        };
        Ok(Decoded { size, codes, pixels })
    };
    with_threads(threads, || files.par_iter().map(decode_one).collect())?
}
