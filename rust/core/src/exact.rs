//! All samples of a picture, exactly: tiles of the lossless pixel model, maybe behind a preview of codes.

use crate::checksum::crc32;
use crate::codes::{CodeGrid, Tile};
use crate::container::{self, Parts};
use crate::error::{Error, Result};
use crate::header::{
    COLOURS_VERSION, EXACT_VERSION, Exact, FOLLOWING_VERSION, Header, LEARNED_VERSION, NO_MODEL,
    PIXELS_VERSION, PREVIEWED_VERSION,
};
use crate::limits::Limits;
use crate::lossless::{
    Shape, decode_tile, decode_tile_previewed, encode_tile, encode_tile_previewed,
    has_coded_palette, is_learned, is_previewed,
};
use crate::model::Model;
use crate::picture::synthesize;
use crate::pixels::{self, PixelModel};
use crate::stream::{self, check_id};
use crate::threads::{count, for_each};
use crate::transform::COLOURS;

/// Base-2 logarithm of the side of a tile, in pixels, that the encoder uses.
pub const TILE_LOG2: u8 = 10;

/// A picture's samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// Columns of pixels.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Samples of a pixel: 1 gray, 2 gray and alpha, 3 sRGB, 4 sRGB and alpha.
    pub channels: u8,
    /// Bits of a sample, 1 to 16.
    pub bits: u8,
    /// `height * width * channels` samples, channels innermost.
    pub samples: Vec<u16>,
}

/// Codes that show a picture before its samples are read.
#[derive(Debug, Clone, Copy)]
pub struct Preview<'a> {
    /// The model of the codes.
    pub model: &'a Model,
    /// Quality position in 1/16 of a level.
    pub quality: u8,
    /// The codes, coarse to fine.
    pub codes: &'a [CodeGrid],
    /// Whether samples may count on it, where they are 8-bit colours: reading them needs the model then.
    pub serves: bool,
}

/// What a file of exact samples may use besides the lossless pixel model.
#[derive(Debug, Clone, Copy)]
pub enum Aid<'a> {
    /// Nothing.
    None,
    /// Codes in front.
    Preview(Preview<'a>),
    /// A model of pixels, where it makes tiles smaller.
    Pixels(&'a PixelModel),
}

/// The file of a picture's samples, whatever `metadata` means.
pub fn write_file(
    picture: &Samples,
    aid: Aid,
    metadata: Option<&[u8]>,
    threads: usize,
) -> Result<Vec<u8>> {
    picture.check()?;
    let &Samples { width, height, channels, bits, .. } = picture;
    let exact = Exact { channels, bits, tile_log2: TILE_LOG2, checksum: picture.checksum() };
    let (model, quality, levels) = match aid {
        Aid::None => (NO_MODEL, 0, vec![]),
        Aid::Preview(Preview { model, quality, .. }) => {
            (model.id, quality, stream::levels(model).collect())
        }
        Aid::Pixels(model) => (model.id, 0, vec![]),
    };
    let (version, gray, rgb, exact) = (EXACT_VERSION, channels <= 2, exact.is_rgb(), Some(exact));
    let filter = Vec::new();
    let mut header = Header { version, gray, model, quality, width, height, levels, exact, filter };
    let payloads = match aid {
        Aid::Preview(Preview { model, codes, .. }) => {
            stream::code_levels(model, &header, codes, threads)?.0
        }
        _ => vec![],
    };
    container::check_size(&header, &Limits::with_max_pixels(u64::MAX))?;
    let shown = match aid {
        Aid::Preview(Preview { model, quality, codes, serves: true }) if rgb => {
            Some(Shown::new(model, codes, quality, (height, width), threads)?)
        }
        _ => None,
    };
    let tiles = for_each(header.exact_tiles().collect(), threads, |tile| {
        let (samples, shape) = (picture.tile(tile), shape(tile, [channels, bits]));
        match (aid, &shown) {
            (Aid::Pixels(model), _) => model.encode_tile(&samples, &shape),
            (_, Some(shown)) => encode_tile_previewed(&samples, &shape, &shown.tile(tile)),
            _ => encode_tile(&samples, &shape),
        }
    })?;
    let uses_model = |tile: &Vec<u8>| pixels::is_network(tile) || is_learned(tile);
    if header.needs_pixel_model() && !tiles.iter().any(uses_model) {
        header.model = NO_MODEL;
    }
    header.version = tiles.iter().map(|tile| version_of(tile)).max().unwrap_or(EXACT_VERSION);
    container::write(&header, Parts { payloads: &payloads, alpha: None, metadata, exact: &tiles })
}

/// A model that a file of exact samples may need.
#[derive(Debug, Clone, Copy)]
pub enum Given<'a> {
    /// Nothing.
    None,
    /// A model of pixels.
    Pixels(&'a PixelModel),
    /// The model of codes that a preview is of.
    Codes(&'a Model),
}

/// Mirror of [`write_file`]: the samples of a whole file, which is checked first. A model that the file does not need
/// does not matter.
pub fn read_file(bytes: &[u8], given: Given, limits: &Limits, threads: usize) -> Result<Samples> {
    let container = container::parse(bytes, limits)?;
    container.verify(bytes)?;
    let header = &container.header;
    let needed = needed(header, given)?;
    let Some(exact) = header.exact else {
        return Err(Error::InvalidInput("the file holds no exact samples".into()));
    };
    let shown = match needed {
        Given::Codes(model) => {
            let codes = stream::read_codes(model, bytes, limits, threads, header.levels.len())?;
            let size = (header.height, header.width);
            Some(Shown::new(model, &codes, header.quality, size, threads)?)
        }
        _ => None,
    };
    let tiles = header.exact_tiles().zip(container.exact.iter().copied()).collect();
    let decoded = for_each(tiles, threads, |(tile, part)| {
        let payload = container.verified_payload(bytes, part)?;
        let shape = shape(tile, [exact.channels, exact.bits]);
        let samples = match (needed, &shown) {
            (Given::Pixels(model), _) => model.decode_tile(payload, &shape)?,
            (_, Some(shown)) => decode_tile_previewed(payload, &shape, &shown.tile(tile))?,
            _ => decode_tile(payload, &shape)?,
        };
        Ok((tile, samples))
    })?;
    let Header { width, height, .. } = *header;
    let Exact { channels, bits, checksum, .. } = exact;
    let mut picture = Samples { width, height, channels, bits, samples: vec![] };
    picture.samples = vec![0; picture.length()];
    decoded.iter().for_each(|(tile, samples)| picture.set_tile(*tile, samples));
    if picture.checksum() != checksum {
        return Err(Error::Corrupted { what: "the samples do not match their checksum" });
    }
    Ok(picture)
}

/// [`read_file`] of several files, which share the threads; few of them are read one after the other.
pub fn read_files(
    files: &[&[u8]],
    given: Given,
    limits: &Limits,
    threads: usize,
) -> Result<Vec<Samples>> {
    let (at_once, each) = if files.len() < count(threads) { (1, threads) } else { (threads, 1) };
    for_each(files.to_vec(), at_once, |bytes| read_file(bytes, given, limits, each))
}

/// The pixels that codes stand for, 8-bit colours.
struct Shown {
    pixels: Vec<u8>,
    width: usize,
}

impl Shown {
    fn new(
        model: &Model,
        codes: &[CodeGrid],
        quality: u8,
        (height, width): (u32, u32),
        threads: usize,
    ) -> Result<Self> {
        let (height, width) = (height as usize, width as usize);
        let pixels = synthesize(model, codes, [height, width], quality, None, threads)?;
        Ok(Self { pixels, width })
    }

    /// Those of a tile, as samples.
    fn tile(&self, tile: Tile) -> Vec<u16> {
        let row = |y: usize| &self.pixels[(y * self.width + tile.x) * COLOURS..];
        let rows = (tile.y..tile.y + tile.height).map(|y| &row(y)[..tile.width * COLOURS]);
        rows.flatten().copied().map(u16::from).collect()
    }
}

impl Samples {
    fn length(&self) -> usize {
        self.width as usize * self.height as usize * usize::from(self.channels)
    }

    fn check(&self) -> Result<()> {
        let Self { width, height, channels, bits, ref samples } = *self;
        if samples.len() != self.length() {
            let shape = [height, width, channels.into()];
            return Err(Error::InvalidInput(format!("the samples are not those of {shape:?}")));
        }
        if !(1..=16).contains(&bits)
            || samples.iter().any(|&sample| sample.leading_zeros() + u32::from(bits) < 16)
        {
            return Err(Error::InvalidInput(format!("the samples do not fit into {bits} bits")));
        }
        Ok(())
    }

    /// The samples as bytes, or as pairs of bytes (little-endian) above 8 bits.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.bits {
            ..=8 => self.samples.iter().map(|&sample| sample as u8).collect(),
            _ => self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
        }
    }

    fn checksum(&self) -> u32 {
        crc32(&self.to_bytes())
    }

    fn tile(&self, tile: Tile) -> Vec<u16> {
        self.rows(tile).flat_map(|row| &self.samples[row]).copied().collect()
    }

    fn set_tile(&mut self, tile: Tile, samples: &[u16]) {
        let rows: Vec<_> = self.rows(tile).collect();
        for (row, samples) in
            rows.into_iter().zip(samples.chunks(tile.width * usize::from(self.channels)))
        {
            self.samples[row].copy_from_slice(samples);
        }
    }

    /// Where the rows of a tile lie.
    fn rows(&self, tile: Tile) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (width, channels) = (self.width as usize, usize::from(self.channels));
        (tile.y..tile.y + tile.height).map(move |y| {
            let start = (y * width + tile.x) * channels;
            start..start + tile.width * channels
        })
    }
}

/// The version of the format that brought a tile's mode.
fn version_of(tile: &[u8]) -> u8 {
    match tile {
        _ if is_learned(tile) => LEARNED_VERSION,
        _ if has_coded_palette(tile) => COLOURS_VERSION,
        _ if is_previewed(tile) => PREVIEWED_VERSION,
        _ if pixels::is_following(tile) => FOLLOWING_VERSION,
        _ if pixels::is_network(tile) => PIXELS_VERSION,
        _ => EXACT_VERSION,
    }
}

/// The given model if the file needs one, which must be this.
fn needed<'a>(header: &Header, given: Given<'a>) -> Result<Given<'a>> {
    let what = match (header.needs_pixel_model(), header.needs_preview()) {
        (true, _) => "a model of pixels",
        (_, true) => "the model of its preview",
        _ => return Ok(Given::None),
    };
    match given {
        Given::Pixels(model) if header.needs_pixel_model() => check_id(header.model, model.id)?,
        Given::Codes(model) if header.needs_preview() => check_id(header.model, model.id)?,
        _ => return Err(Error::InvalidInput(format!("the file needs {what}"))),
    }
    Ok(given)
}

fn shape(tile: Tile, [channels, bits]: [u8; 2]) -> Shape {
    Shape { width: tile.width as u32, height: tile.height as u32, channels, bits }
}
