//! Where all steps meet: a picture's codes to the bytes of a file, and back.
//!
//! Tiles are independent of each other, so they are coded on several threads; the bytes do not
//! depend on how many. Levels follow each other, coarse to fine: a tile of the fine level sees that
//! tile of the coarse one that covers it.

use crate::centred::Rounding;
use crate::checksum::ModelId;
use crate::codes::{CodeGrid, Tile, tiles};
use crate::container::{self, Container, Parts};
use crate::context::ContextPrior;
use crate::entropy::{Decoder, Encoder, Meter};
use crate::error::{Error, Result};
use crate::features::FeatureGrid;
use crate::header::{CODES_VERSION, FILTER_VERSION, Header, Level};
use crate::limits::Limits;
use crate::model::Model;
use crate::prior::Prior;
use crate::threads::for_each;

/// Base-2 logarithm of the side of a tile of the fine level, in positions, that the encoder uses.
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
    /// The bytes of the picture's [filter](crate::filter), empty for none.
    pub filter: &'a [u8],
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
    let Picture { width, height, quality, gray, alpha, filter } = picture;
    let mut header = Header { gray, ..codes_header(model, quality, [height, width]) };
    if !filter.is_empty() {
        header = Header { version: FILTER_VERSION, filter: filter.to_vec(), ..header };
    }
    let (payloads, information) = code_levels(model, &header, codes, threads)?;
    Ok((container::write(&header, Parts::of_codes(&payloads, alpha))?, information))
}

/// The header of a colour picture's codes alone.
pub(crate) fn codes_header(model: &Model, quality: u8, [height, width]: [u32; 2]) -> Header {
    let (version, levels) = (CODES_VERSION, levels(model).collect());
    let (gray, exact, filter) = (false, None, Vec::new());
    Header { version, gray, model: model.id, quality, width, height, levels, exact, filter }
}

/// The payloads of a file's levels, and the bits of information in their codes.
pub(crate) fn code_levels(
    model: &Model,
    header: &Header,
    codes: &[CodeGrid],
    threads: usize,
) -> Result<(Vec<Vec<Vec<u8>>>, f64)> {
    check_codes(model, header.quality, codes)?;
    // What no reader would take is not written. On pixels, each reader sets a bound of its own.
    check_limits(model, header, &Limits::with_max_pixels(u64::MAX))?;
    let mut payloads = Vec::new();
    let mut information = 0.0;
    for (index, (&level, (_, prior))) in header.levels.iter().zip(model.levels()).enumerate() {
        let (before, codes) = (codes[..index].last(), &codes[index]);
        let [_, rows, columns] = codes.shape();
        if header.grid(level) != (rows, columns) {
            let (height, width) = header.grid(level);
            return Err(Error::InvalidInput(format!(
                "a {} x {} picture has {height} x {width} positions (rows x columns), \
                 not {rows} x {columns}",
                header.width, header.height
            )));
        }
        let tiles = header.tiles(level).collect();
        let (written, bits): (Vec<_>, Vec<_>) = for_each(tiles, threads, |tile| {
            let mut coder = Encoder::default();
            let (coarse, mut codes) = (coarse_features(model, before, tile)?, codes.tile(tile));
            prior.code(&mut codes, coarse.as_ref(), header.quality, true, &mut coder)?;
            let bits = coder.bits();
            Ok((coder.finish(), bits))
        })?
        .into_iter()
        .unzip();
        payloads.push(written);
        information += bits.iter().sum::<f64>();
    }
    Ok((payloads, information))
}

/// The codes of the first `levels` of a file, one grid for each of them; 0 means all. All that they
/// need of the file is checked first: the whole of it for 0, else nothing behind these levels, which
/// may be missing.
pub fn read_codes(
    model: &Model,
    bytes: &[u8],
    limits: &Limits,
    threads: usize,
    levels: usize,
) -> Result<Vec<CodeGrid>> {
    let container = container::parse(bytes, limits)?;
    check_model(model, &container.header, limits)?;
    let all = container.header.levels.len();
    let levels = match levels {
        0 => container.verify(bytes).map(|()| all)?,
        levels if levels <= all => container.verify_levels(bytes, levels).map(|()| levels)?,
        _ => return Err(Error::InvalidInput(format!("there are no {levels} levels, but {all}"))),
    };
    let mut grids = Vec::new();
    for (level, (_, prior)) in model.levels().take(levels).enumerate() {
        let part = (&container, level);
        grids.push(read_level((model, prior), bytes, part, grids.last(), threads)?);
    }
    Ok(grids)
}

/// The codes of one level of a verified file, whose header fits the model, after those of the level
/// `before` it.
fn read_level(
    (model, prior): (&Model, &ContextPrior),
    bytes: &[u8],
    (container, level): (&Container, usize),
    before: Option<&CodeGrid>,
    threads: usize,
) -> Result<CodeGrid> {
    let Container { header, payloads, .. } = container;
    let (height, width) = header.grid(header.levels[level]);
    let variables = prior.variables();
    let tiles = header.tiles(header.levels[level]).zip(payloads[level].iter().copied());
    let decoded = for_each(tiles.collect(), threads, |(tile, part)| {
        let mut coder = Decoder::new(container.verified_payload(bytes, part)?);
        let coarse = coarse_features(model, before, tile)?;
        let mut codes = CodeGrid::zeros([variables, tile.height, tile.width]);
        let (coarse, quality) = (coarse.as_ref(), header.quality);
        prior.code(&mut codes, coarse, quality, header.adaptive(), &mut coder)?;
        coder.finish()?;
        Ok((tile, codes))
    })?;
    let mut codes = CodeGrid::zeros([variables, height, width]);
    for (tile, tile_codes) in decoded {
        codes.set_tile(tile, &tile_codes);
    }
    Ok(codes)
}

/// Turns numbers in 1/256 symbol, as an analysis gives them, into codes where a model's codes count
/// from their means: see [`ContextPrior::settle`]. Other codes stay as they are.
pub fn settle(
    model: &Model,
    quality: u8,
    codes: &mut [CodeGrid],
    dead_zone: u8,
    threads: usize,
) -> Result<()> {
    check_codes(model, quality, codes)?;
    for (codes, (level, (_, prior))) in codes.iter_mut().zip(levels(model).zip(model.levels())) {
        let [_, height, width] = codes.shape();
        let tiles = tiles(height, width, level.tile_side() as usize).collect();
        let settled = for_each(tiles, threads, |tile| {
            let mut codes = codes.tile(tile);
            prior.settle(&mut codes, quality, Rounding::Nearest(dead_zone))?;
            Ok((tile, codes))
        })?;
        settled.iter().for_each(|(tile, settled)| codes.set_tile(*tile, settled));
    }
    Ok(())
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
    for (index, (level, (_, prior))) in levels(model).zip(model.levels()).enumerate() {
        let (before, codes) = (codes[..index].last(), &codes[index]);
        let [_, height, width] = codes.shape();
        let tiles = tiles(height, width, level.tile_side() as usize);
        let tile_bits = for_each(tiles.collect(), threads, |tile| {
            let mut coder = Meter::default();
            let (coarse, mut codes) = (coarse_features(model, before, tile)?, codes.tile(tile));
            prior.code(&mut codes, coarse.as_ref(), quality, adaptive, &mut coder)?;
            Ok(coder.bits())
        })?;
        bits += tile_bits.iter().sum::<f64>(); // in the order of the tiles, for any threads
    }
    Ok(bits)
}

/// The levels as the encoder lays them out: a tile of the fine one needs one tile of the coarse one.
pub(crate) fn levels(model: &Model) -> impl Iterator<Item = Level> {
    model.levels().map(|(stride_log2, _)| {
        let tile_log2 = TILE_LOG2 - (stride_log2 - model.stride_log2);
        Level { stride_log2, tile_log2 }
    })
}

/// What a tile sees of the codes of the level `before` its own, if there is one.
pub(crate) fn coarse_features(
    model: &Model,
    before: Option<&CodeGrid>,
    tile: Tile,
) -> Result<Option<FeatureGrid>> {
    let coarse = model.coarse_prior.as_ref().zip(before);
    coarse.map(|(prior, codes)| prior.features(&codes.tile(tile.halved()), None)).transpose()
}

fn check_codes(model: &Model, quality: u8, codes: &[CodeGrid]) -> Result<()> {
    model.check_quality(quality)?;
    let count = model.levels().count();
    if codes.len() != count {
        let (given, plural) = (codes.len(), if count == 1 { "" } else { "s" });
        return Err(Error::InvalidInput(format!(
            "the model has {count} level{plural}, but there are {given} grids of codes"
        )));
    }
    for (codes, (_, prior)) in codes.iter().zip(model.levels()) {
        let (given, needed) = (codes.shape()[0], prior.variables());
        if given != needed {
            return Err(Error::InvalidInput(format!(
                "the codes have {given} variables a position, the model {needed}"
            )));
        }
        prior.check_range(codes)?;
    }
    for pair in codes.windows(2) {
        let ([_, rows, columns], [_, height, width]) = (pair[0].shape(), pair[1].shape());
        if [rows, columns] != [height.div_ceil(2), width.div_ceil(2)] {
            return Err(Error::InvalidInput(format!(
                "{rows} x {columns} coarse positions do not cover {height} x {width} fine ones"
            )));
        }
    }
    Ok(())
}

/// Checks that a file fits the model that it names, and that its codes fit the limits.
pub(crate) fn check_model(model: &Model, header: &Header, limits: &Limits) -> Result<()> {
    check_id(header.model, model.id)?;
    if header.quality > model.max_quality() {
        return Err(Error::Corrupted { what: "the quality is above the model's levels" });
    }
    let strides = header.levels.iter().map(|level| level.stride_log2);
    let nested = |pair: &[Level]| pair[0].tile_log2 + 1 == pair[1].tile_log2;
    if !strides.eq(model.levels().map(|(stride_log2, _)| stride_log2))
        || !header.levels.windows(2).all(nested)
    {
        return Err(Error::Corrupted { what: "the levels are not those of the model" });
    }
    check_limits(model, header, limits)
}

/// Checks all sizes that a header implies for its model.
pub(crate) fn check_limits(model: &Model, header: &Header, limits: &Limits) -> Result<()> {
    container::check_size(header, limits)?;
    header.levels.iter().zip(model.levels()).try_for_each(|(&level, (_, prior))| {
        let (height, width) = header.grid(level);
        limits.check_codes([prior.variables(), height, width])?;
        let side = level.tile_side() as usize;
        limits.check_features(prior.features_shape(height.min(side), width.min(side)))
    })
}

pub(crate) fn check_id(needed: ModelId, given: ModelId) -> Result<()> {
    if needed == given {
        return Ok(());
    }
    Err(Error::ModelMismatch { needed: needed.to_string(), given: given.to_string() })
}
