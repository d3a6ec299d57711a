//! Where all steps meet: a picture's codes to the bytes of a file, and back.
//!
//! Tiles are independent of each other, so they are coded on several threads; the bytes do not
//! depend on how many.

use crate::checksum::ModelId;
use crate::codes::{CodeGrid, tiles};
use crate::container::{self, Container, Header, Level, VERSION};
use crate::entropy::{Decoder, Encoder, Meter};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::Model;
use crate::prior::Prior;
use crate::threads::for_each;

/// Base-2 logarithm of the side of a tile, in positions, that the encoder uses.
pub const TILE_LOG2: u8 = 6;

/// What a file holds besides codes.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Columns of pixels.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Quality position in 1/16 of a level.
    pub quality: u8,
    /// Whether the picture is to be shown in one channel.
    pub gray: bool,
    /// The alpha chunk: bytes that mean nothing here.
    pub alpha: Option<&'a [u8]>,
}

/// The file of a picture, and the bits of information in its codes under the model's integer
/// prior. `codes` holds one grid for each level, coarse to fine; `threads = 0` means as many as
/// there are cores.
pub fn write_file(
    model: &Model,
    picture: Picture,
    codes: &[CodeGrid],
    threads: usize,
) -> Result<(Vec<u8>, f64)> {
    check_codes(model, picture.quality, codes)?;
    let Picture { width, height, quality, gray, alpha } = picture;
    let levels = vec![Level { stride_log2: model.stride_log2, tile_log2: TILE_LOG2 }];
    let header = Header { version: VERSION, gray, model: model.id, quality, width, height, levels };
    // What no reader would take is not written. On pixels, each reader sets a bound of its own.
    check_limits(model, &header, &Limits::with_max_pixels(u64::MAX))?;
    let mut payloads = Vec::new();
    let mut information = 0.0;
    for (&level, codes) in header.levels.iter().zip(codes) {
        let [_, rows, columns] = codes.shape();
        if header.grid(level) != (rows, columns) {
            let (height, width) = header.grid(level);
            return Err(Error::InvalidInput(format!(
                "a {} x {} picture has {height} x {width} positions (rows x columns), \
                 not {rows} x {columns}",
                header.width, header.height
            )));
        }
        let tiles: Vec<_> = header.tiles(level).map(|tile| codes.tile(tile)).collect();
        let (written, bits): (Vec<_>, Vec<_>) = for_each(tiles, threads, |mut codes| {
            let mut coder = Encoder::default();
            model.prior.code(&mut codes, quality, true, &mut coder)?;
            let bits = coder.bits();
            Ok((coder.finish(), bits))
        })?
        .into_iter()
        .unzip();
        payloads.push(written);
        information += bits.iter().sum::<f64>();
    }
    Ok((container::write(&header, &payloads, alpha)?, information))
}

/// The codes of a file, one grid for each level. The whole file is checked first.
pub fn read_codes(
    model: &Model,
    bytes: &[u8],
    limits: &Limits,
    threads: usize,
) -> Result<Vec<CodeGrid>> {
    let container = container::parse(bytes, limits)?;
    check_model(model, &container.header, limits)?;
    container.verify(bytes)?;
    (0..container.header.levels.len())
        .map(|level| read_level(model, bytes, &container, level, threads))
        .collect()
}

/// The codes of one level of a verified file, whose header fits the model.
fn read_level(
    model: &Model,
    bytes: &[u8],
    container: &Container,
    level: usize,
    threads: usize,
) -> Result<CodeGrid> {
    let Container { header, payloads, .. } = container;
    let (height, width) = header.grid(header.levels[level]);
    let variables = model.prior.variables();
    let tiles = header.tiles(header.levels[level]).zip(payloads[level].iter().copied());
    let decoded = for_each(tiles.collect(), threads, |(tile, part)| {
        let mut coder = Decoder::new(container.verified_payload(bytes, part)?);
        let mut codes = CodeGrid::zeros([variables, tile.height, tile.width]);
        model.prior.code(&mut codes, header.quality, header.adaptive(), &mut coder)?;
        coder.finish()?;
        Ok((tile, codes))
    })?;
    let mut codes = CodeGrid::zeros([variables, height, width]);
    for (tile, tile_codes) in decoded {
        codes.set_tile(tile, &tile_codes);
    }
    Ok(codes)
}

/// Bits of information in the codes under the model's integer prior: what an ideal coder would
/// write, without any header. [`write_file`] gives the same number where it is `adaptive`, which it
/// is not for the network's bits alone; this writes nothing.
pub fn cross_entropy(
    model: &Model,
    quality: u8,
    codes: &[CodeGrid],
    threads: usize,
    adaptive: bool,
) -> Result<f64> {
    check_codes(model, quality, codes)?;
    let mut bits = 0.0;
    for codes in codes {
        let [_, height, width] = codes.shape();
        let tiles = tiles(height, width, 1 << TILE_LOG2).map(|tile| codes.tile(tile));
        let tile_bits = for_each(tiles.collect(), threads, |mut codes| {
            let mut coder = Meter::default();
            model.prior.code(&mut codes, quality, adaptive, &mut coder)?;
            Ok(coder.bits())
        })?;
        bits += tile_bits.iter().sum::<f64>(); // in the order of the tiles, for any threads
    }
    Ok(bits)
}

fn check_codes(model: &Model, quality: u8, codes: &[CodeGrid]) -> Result<()> {
    if quality > model.max_quality() {
        return Err(Error::InvalidInput(format!(
            "quality position {quality} is above the model's {}",
            model.max_quality()
        )));
    }
    let [codes] = codes else {
        return Err(Error::InvalidInput(format!(
            "the model has 1 level, but there are {} grids of codes",
            codes.len()
        )));
    };
    let (given, needed) = (codes.shape()[0], model.prior.variables());
    if given != needed {
        return Err(Error::InvalidInput(format!(
            "the codes have {given} variables a position, the model {needed}"
        )));
    }
    Ok(())
}

/// Checks that a file fits the model that it names, and that its codes fit the limits.
fn check_model(model: &Model, header: &Header, limits: &Limits) -> Result<()> {
    check_id(header.model, model.id)?;
    if header.quality > model.max_quality() {
        return Err(Error::Corrupted { what: "the quality is above the model's levels" });
    }
    match header.levels[..] {
        [level] if level.stride_log2 == model.stride_log2 => check_limits(model, header, limits),
        _ => Err(Error::Corrupted { what: "the levels are not those of the model" }),
    }
}

/// Checks all sizes that a header implies for its model.
fn check_limits(model: &Model, header: &Header, limits: &Limits) -> Result<()> {
    container::check_size(header, limits)?;
    header.levels.iter().try_for_each(|&level| {
        let (height, width) = header.grid(level);
        limits.check_codes([model.prior.variables(), height, width])?;
        let side = level.tile_side() as usize;
        limits.check_features(model.prior.features_shape(height.min(side), width.min(side)))
    })
}

fn check_id(needed: ModelId, given: ModelId) -> Result<()> {
    if needed == given {
        return Ok(());
    }
    Err(Error::ModelMismatch { needed: needed.to_string(), given: given.to_string() })
}
