//! What a file says about its picture: the first part of its header, without the lengths of what follows.

use crate::checksum::ModelId;
use crate::codes::{Tile, tiles};
use crate::cursor::{Reader, write_leb128};
use crate::error::{Error, Result};
use crate::filter::{self, Filter};

/// The first bytes of every file.
pub const MAGIC: [u8; 4] = *b"VQC\x1a";

/// The newest format version: every version from 1 is read.
pub const VERSION: u8 = 9;

/// The version of files of codes alone, which the parts of version 3 are not in.
pub const CODES_VERSION: u8 = 2;

/// The version of files of exact samples, unless they have tiles that a later one brought.
pub const EXACT_VERSION: u8 = 3;

/// The version that brought tiles coded by a model of pixels.
pub const PIXELS_VERSION: u8 = 4;

/// The version that brought tiles with coded palettes.
pub const COLOURS_VERSION: u8 = 5;

/// The version that brought tiles coded with the help of a learned expert.
pub const LEARNED_VERSION: u8 = 6;

/// The version of files with a filter, which brought it.
pub const FILTER_VERSION: u8 = 7;

/// The version that brought tiles coded by a model of pixels whose biases follow the picture.
pub const FOLLOWING_VERSION: u8 = 8;

/// The version that brought tiles of exact samples that count on the levels of codes before them.
pub const PREVIEWED_VERSION: u8 = 9;

/// What a file names that needs no model.
pub const NO_MODEL: ModelId = ModelId([0; 8]);

/// Most levels of a file.
pub const MAX_LEVELS: usize = 4;

/// Largest base-2 logarithm of a stride or a tile's side.
pub const MAX_LOG2: u8 = 15;

/// Largest base-2 logarithm of the side of a tile of exact samples.
pub const MAX_EXACT_LOG2: u8 = 12;

const LEVEL_COUNT: &str = "the number of levels is not 1 to 4";

const GRAY: u8 = 1;
const ALPHA: u8 = 2;
const EXACT: u8 = 4;
const METADATA: u8 = 8;
const FILTER: u8 = 16;

/// How one level divides a picture into codes and tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    /// Base-2 logarithm of the pixels from one position to the next.
    pub stride_log2: u8,
    /// Base-2 logarithm of a tile's side in positions.
    pub tile_log2: u8,
}

impl Level {
    /// Pixels from one position to the next.
    pub fn stride(self) -> u32 {
        1 << self.stride_log2
    }

    /// Side of a tile in positions.
    pub fn tile_side(self) -> u32 {
        1 << self.tile_log2
    }
}

/// How a file holds all samples of a picture exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exact {
    /// Samples of a pixel: 1 gray, 2 gray and alpha, 3 sRGB, 4 sRGB and alpha.
    pub channels: u8,
    /// Bits of a sample, 1 to 16.
    pub bits: u8,
    /// Base-2 logarithm of a tile's side in pixels.
    pub tile_log2: u8,
    /// CRC-32 of all samples in raster order, channels innermost: bytes up to 8 bits, else pairs of them.
    pub checksum: u32,
}

impl Exact {
    /// Whether samples are 8-bit colours, as those of a preview's picture are.
    pub fn is_rgb(&self) -> bool {
        (self.channels, self.bits) == (3, 8)
    }
}

/// What a file says about its picture.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// Format version: 1 to [`VERSION`].
    pub version: u8,
    /// Whether the picture is to be shown in one channel.
    pub gray: bool,
    /// The model that is needed to decode it.
    pub model: ModelId,
    /// Position between the model's quality levels in 1/16 of a level.
    pub quality: u8,
    /// Columns of pixels, at least 1.
    pub width: u32,
    /// Rows of pixels, at least 1.
    pub height: u32,
    /// The levels, coarse to fine: 1 to 4 of them, strides never growing; none in a file of exact
    /// samples without a preview.
    pub levels: Vec<Level>,
    /// The exact samples.
    pub exact: Option<Exact>,
    /// The bytes of the [`Filter`] of the picture in its codes; none without one.
    pub filter: Vec<u8>,
}

impl Header {
    /// The filter of the picture in its codes.
    pub fn filter(&self) -> Result<Option<Filter>> {
        if self.filter.is_empty() { Ok(None) } else { Filter::read(&self.filter).map(Some) }
    }

    /// Whether the exact samples need a model of pixels.
    pub fn needs_pixel_model(&self) -> bool {
        self.levels.is_empty() && self.model != NO_MODEL
    }

    /// Whether the exact samples need the picture of the codes before them, as only those of 8-bit colours may.
    pub fn needs_preview(&self) -> bool {
        let colours = self.exact.is_some_and(|exact| exact.is_rgb());
        colours && !self.levels.is_empty() && self.version >= PREVIEWED_VERSION
    }

    /// Whether scales adapt to the picture, as they do since version 2.
    pub fn adaptive(&self) -> bool {
        self.version >= 2
    }

    /// Rows and columns of positions of a level.
    pub fn grid(&self, level: Level) -> (usize, usize) {
        let cells = |pixels: u32| pixels.div_ceil(level.stride()) as usize;
        (cells(self.height), cells(self.width))
    }

    /// The tiles of the exact samples, in the order of their payloads; none where there are none.
    pub fn exact_tiles(&self) -> impl ExactSizeIterator<Item = Tile> + use<> {
        let (height, width) = match self.exact {
            Some(_) => (self.height as usize, self.width as usize),
            None => (0, 0),
        };
        tiles(height, width, self.exact.map_or(1, |exact| 1 << exact.tile_log2))
    }

    /// The tiles of a level, in the order of their payloads.
    pub fn tiles(&self, level: Level) -> impl ExactSizeIterator<Item = Tile> + use<> {
        let (height, width) = self.grid(level);
        tiles(height, width, level.tile_side() as usize)
    }

    /// The bytes between the magic number and the lengths of the parts, `(alpha, metadata)` being among these or not.
    pub(crate) fn write(&self, (alpha, metadata): (bool, bool)) -> Vec<u8> {
        let mut bytes = vec![self.version];
        bytes.push(
            if self.gray { GRAY } else { 0 }
                | if alpha { ALPHA } else { 0 }
                | if self.exact.is_some() { EXACT } else { 0 }
                | if metadata { METADATA } else { 0 }
                | if self.filter.is_empty() { 0 } else { FILTER },
        );
        bytes.extend(self.model.0);
        bytes.push(self.quality);
        write_leb128(self.width, &mut bytes);
        write_leb128(self.height, &mut bytes);
        bytes.push(self.levels.len() as u8);
        bytes.extend(self.levels.iter().map(|level| level.stride_log2 << 4 | level.tile_log2));
        if let Some(Exact { channels, bits, tile_log2, checksum }) = self.exact {
            bytes.extend([channels, bits, tile_log2]);
            bytes.extend(checksum.to_le_bytes());
        }
        bytes.extend(self.filter_bytes());
        bytes
    }

    /// Mirror of [`write`](Self::write), from the magic number on.
    pub(crate) fn read(reader: &mut Reader) -> Result<(Self, (bool, bool))> {
        let version = read_magic(reader)?;
        let flags = reader.byte()?;
        let exact = if version > CODES_VERSION { EXACT | METADATA } else { 0 };
        let known = GRAY | ALPHA | exact | if version >= FILTER_VERSION { FILTER } else { 0 };
        if flags & !known != 0 {
            return Err(Error::Corrupted { what: "reserved flag bits are set" });
        }
        let model = ModelId(reader.array()?);
        let quality = reader.byte()?;
        let (width, height) = (reader.leb128()?, reader.leb128()?);
        let level_count = reader.byte()?;
        if usize::from(level_count) > MAX_LEVELS {
            return Err(Error::Corrupted { what: LEVEL_COUNT });
        }
        let levels = (0..level_count).map(|_| {
            let level = reader.byte()?;
            Ok(Level { stride_log2: level >> 4, tile_log2: level & 15 })
        });
        let levels = levels.collect::<Result<_>>()?;
        let exact = if flags & EXACT != 0 { Some(read_exact(reader)?) } else { None };
        let filter = if flags & FILTER != 0 { read_filter(reader)? } else { Vec::new() };
        let gray = flags & GRAY != 0;
        let header = Header { version, gray, model, quality, width, height, levels, exact, filter };
        let has = (flags & ALPHA != 0, flags & METADATA != 0);
        header.check(has).map_err(|what| Error::Corrupted { what })?;
        Ok((header, has))
    }

    /// Mirror of `read_filter`.
    pub(crate) fn filter_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.filter.is_empty() {
            write_leb128(self.filter.len() as u32, &mut bytes);
            bytes.extend(&self.filter);
        }
        bytes
    }

    /// The rules for headers that hold in both directions, `(alpha, metadata)` being there or not.
    pub(crate) fn check(
        &self,
        (alpha, metadata): (bool, bool),
    ) -> std::result::Result<(), &'static str> {
        let levels = &self.levels;
        if !(1..=VERSION).contains(&self.version) {
            return Err("there is no such format version");
        }
        if self.version <= CODES_VERSION && (self.exact.is_some() || metadata) {
            return Err("this format version has neither exact samples nor metadata");
        }
        if !self.filter.is_empty() {
            if self.version < FILTER_VERSION || self.exact.is_some() {
                return Err("there is no filter in this format version or before exact samples");
            }
            if self.filter.len() > filter::MAX_BYTES || self.filter().is_err() {
                return Err("the filter in the header is damaged");
            }
        }
        if self.width == 0 || self.height == 0 {
            return Err("a picture has at least one pixel");
        }
        if levels.len() > MAX_LEVELS || (levels.is_empty() && self.exact.is_none()) {
            return Err(LEVEL_COUNT);
        }
        if levels.iter().any(|level| level.stride_log2.max(level.tile_log2) > MAX_LOG2) {
            return Err("a stride or a tile is larger than 32768");
        }
        if levels.windows(2).any(|pair| pair[0].stride_log2 < pair[1].stride_log2) {
            return Err("levels are not ordered from coarse to fine");
        }
        if levels.is_empty() && self.quality != 0 {
            return Err("a file without levels names a quality");
        }
        if self.needs_pixel_model() && self.version <= EXACT_VERSION {
            return Err("this format version has no model without levels");
        }
        let Some(exact) = self.exact else { return Ok(()) };
        if !(1..=4).contains(&exact.channels) || !(1..=16).contains(&exact.bits) {
            return Err("a pixel has 1 to 4 samples of 1 to 16 bits");
        }
        if exact.tile_log2 > MAX_EXACT_LOG2 {
            return Err("a tile of exact samples is larger than 4096");
        }
        if alpha || self.gray != (exact.channels <= 2) {
            return Err("what is said of colour and alpha does not fit the exact samples");
        }
        Ok(())
    }
}

fn read_exact(reader: &mut Reader) -> Result<Exact> {
    let [channels, bits, tile_log2] = reader.array()?;
    Ok(Exact { channels, bits, tile_log2, checksum: u32::from_le_bytes(reader.array()?) })
}

fn read_filter(reader: &mut Reader) -> Result<Vec<u8>> {
    let length = reader.leb128()? as usize;
    if !(1..=filter::MAX_BYTES).contains(&length) {
        return Err(Error::Corrupted { what: "a filter has 1 to 512 bytes" });
    }
    let bytes = reader.rest().get(..length).ok_or(Error::Truncated { what: "header" })?;
    reader.position += length;
    Ok(bytes.to_vec())
}

/// Magic number and version, which is returned. A prefix of the magic number is a truncated file.
fn read_magic(reader: &mut Reader) -> Result<u8> {
    if !reader.bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic) {
        return Err(Error::NotVqc);
    }
    reader.array::<{ MAGIC.len() }>()?;
    match reader.byte()? {
        version @ 1..=VERSION => Ok(version),
        version => Err(Error::UnsupportedVersion(version)),
    }
}
