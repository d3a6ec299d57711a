#![doc = include_str!("FORMAT.md")]

mod binary;
mod channel;
mod contexts;
mod counters;
mod experts;
mod guess;
mod history;
mod instructions;
mod learned;
mod least_squares;
mod levels;
mod mixer;
mod planes;
mod predictors;
mod raw;
mod tables;
mod tile;
mod walk;

use crate::error::{Error, Result};
use crate::kernels::Kernel;
pub use learned::Learned;
use tile::{Means, Size};

/// Size and kind of a tile's samples, which lie `(height, width, channels)` in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Pixels in a row, 1 or more.
    pub width: u32,
    /// Rows, 1 or more.
    pub height: u32,
    /// 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
    pub channels: u8,
    /// Bits of a sample, 1 to 16.
    pub bits: u8,
}

/// Most pixels of a tile: 2^24.
pub const MAX_PIXELS: u64 = 1 << 24;

/// First byte of a tile: samples as they are, coded, coded as places among the values that occur,
/// or pixels coded as places among the colours that occur, of which there are few or, since version 5
/// of the file format, many; since version 6 samples coded with the help of a learned expert; since version 9 of what a
/// preview shows.
const RAW: u8 = 0;
const MIXED: u8 = 1;
const LEVELS: u8 = 2;
const PALETTE: u8 = 3;
const CODED_PALETTE: u8 = 5; // 4 is a model of pixels
const LEARNED: u8 = 6;
const PREVIEWED: u8 = 8; // 7 is a model of pixels, too

/// A picture is taken for a drawing, at least on trial, where one pixel in so many equals its left
/// neighbour.
const DRAWN: usize = 4;

/// Neighbours are near each other that differ by no more than this part of the range.
const NEAR: u16 = 64;

impl Shape {
    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.pixels() * usize::from(self.channels)
    }

    fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }

    pub(crate) fn max(&self) -> u16 {
        u16::MAX >> (16 - self.bits)
    }

    /// How samples up to `max` are coded, `channels` to a pixel.
    fn size(&self, channels: usize, max: usize) -> Size {
        let (width, height) = (self.width as usize, self.height as usize);
        Size { width, height, channels, max: max.max(1) as u16 }
    }

    /// How a palette of `count` colours is coded: as a row of pixels.
    fn palette(&self, count: usize) -> Size {
        Self { width: count as u32, height: 1, ..*self }
            .size(self.channels.into(), self.max().into())
    }

    pub(crate) fn check(&self) -> Result<()> {
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels == 0 || !(1..=4).contains(&self.channels) || !(1..=16).contains(&self.bits) {
            return Err(Error::InvalidInput(format!("no tile has the shape {self:?}")));
        }
        if pixels > MAX_PIXELS {
            let what = "pixels of a lossless tile";
            return Err(Error::OverLimit { what, value: pixels, limit: MAX_PIXELS });
        }
        Ok(())
    }
}

/// Encodes the samples of a tile, each below `2^bits`.
pub fn encode_tile(samples: &[u16], shape: &Shape) -> Result<Vec<u8>> {
    encode_by(samples, shape, Kernel::select()?.into())
}

/// The same with the help of an expert, where the tile looks like a photo that it knows what to make of.
pub fn encode_tile_learned(
    samples: &[u16],
    shape: &Shape,
    (learned, kernel): (&Learned, Kernel),
) -> Result<Vec<u8>> {
    encode_by(samples, shape, Means { learned: Some(learned), ..kernel.into() })
}

/// The same with the help of what a preview shows of the tile, if it is of 8-bit colours.
pub fn encode_tile_previewed(samples: &[u16], shape: &Shape, shown: &[u16]) -> Result<Vec<u8>> {
    check(shown, shape)?;
    encode_by(samples, shape, Means { shown: Some(shown), ..Kernel::select()?.into() })
}

/// What the networks of a learned expert are trained by: for green, red and blue of a tile of 8-bit
/// colours, for each pixel in raster order, the inputs and then what the blend missed, in 1/16.
pub fn lessons(samples: &[u16], shape: &Shape) -> Result<Vec<Vec<i16>>> {
    check(samples, shape)?;
    let size = shape.size(shape.channels.into(), shape.max().into());
    if !learned::suits(&size) {
        return Err(Error::InvalidInput("a learned expert knows 8-bit colours only".into()));
    }
    Ok(tile::lessons(samples, &size, Kernel::select()?))
}

fn check(samples: &[u16], shape: &Shape) -> Result<()> {
    shape.check()?;
    if samples.len() != shape.samples() || samples.iter().any(|&sample| sample > shape.max()) {
        return Err(Error::InvalidInput(format!("these samples are not those of {shape:?}")));
    }
    Ok(())
}

fn encode_by(samples: &[u16], shape: &Shape, means: Means) -> Result<Vec<u8>> {
    check(samples, shape)?;
    let plain = [&[RAW], &raw::encode(samples, shape)[..]].concat();
    let smallest = candidates(samples, shape, means.kernel)
        .into_iter()
        .flat_map(|candidate| candidate.encode(means))
        .min_by_key(Vec::len);
    Ok(smallest.filter(|tile| tile.len() < plain.len()).unwrap_or(plain))
}

/// One way to code a tile.
struct Candidate {
    /// The bytes that say how.
    head: Vec<u8>,
    samples: Vec<u16>,
    size: Size,
    /// Pixels that equal their left neighbour.
    repeated: usize,
    /// Whether most of the others are near it, as in blurred pictures and in shades, and not as in drawings.
    smooth: bool,
}

impl Candidate {
    fn new(head: Vec<u8>, samples: Vec<u16>, size: Size) -> Self {
        let [repeated, near, far] = steps(&samples, &size);
        Self { head, samples, size, repeated, smooth: near > far }
    }

    /// The tile, without guesses and, if it looks drawn, with them; only so if it can be nothing else. Without them
    /// also by the learned expert, where it can be, or behind a preview.
    fn encode(self, means: Means) -> Vec<Vec<u8>> {
        let pixels = self.samples.len() / self.size.channels;
        let ways: &[bool] = match self.repeated {
            repeated if 2 * repeated > pixels && !self.smooth => &[true],
            repeated if DRAWN * repeated > pixels => &[false, true],
            _ => &[false],
        };
        let tile = |head: &[u8], ways: &[bool], means: Means| {
            [head, &tile::encode(&self.samples, &self.size, ways, means)].concat()
        };
        let plain = Means::from(means.kernel);
        let aided = self.head == [MIXED] && learned::suits(&self.size) && ways.contains(&false);
        if aided && means.learned.is_some() {
            let drawn = ways.contains(&true).then(|| tile(&self.head, &[true], plain));
            return drawn.into_iter().chain([tile(&[LEARNED], &[false], means)]).collect();
        }
        let previewed = means.shown.filter(|_| aided).map(|_| tile(&[PREVIEWED], &[false], means));
        [tile(&self.head, ways, plain)].into_iter().chain(previewed).collect() // the first of equals is taken
    }
}

/// Pixels that equal their left neighbour, that are near it in all samples, and all others.
fn steps(samples: &[u16], size: &Size) -> [usize; 3] {
    let near = size.max / NEAR;
    let mut counts = [0; 3];
    let pixels = || samples.chunks_exact(size.channels);
    for (left, pixel) in pixels().zip(pixels().skip(1)) {
        let step = left.iter().zip(pixel).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        counts[usize::from(step > 0) + usize::from(step > near)] += 1;
    }
    counts
}

/// Whether only readers of version 5 of the file format know a tile's mode.
pub fn has_coded_palette(tile: &[u8]) -> bool {
    tile.first() == Some(&CODED_PALETTE)
}

/// Whether a tile needs the learned expert, and readers of version 6 of the file format.
pub fn is_learned(tile: &[u8]) -> bool {
    tile.first() == Some(&LEARNED)
}

/// Whether a tile needs what the preview shows of it, and readers of version 9 of the file format.
pub fn is_previewed(tile: &[u8]) -> bool {
    tile.first() == Some(&PREVIEWED)
}

/// The ways to code a tile that are worth trying.
fn candidates(samples: &[u16], shape: &Shape, kernel: Kernel) -> Vec<Candidate> {
    let by_colours = (shape.channels > 1).then(|| by_colours(samples, shape, kernel)).flatten();
    by_colours.into_iter().chain([by_samples(samples, shape)]).collect()
}

/// Pixels as places among the colours, where there are few of these, or where it looks drawn.
fn by_colours(samples: &[u16], shape: &Shape, kernel: Kernel) -> Option<Candidate> {
    let channels = usize::from(shape.channels);
    let (places, colours) = levels::palette(samples, channels)?;
    let count = colours.len() / channels;
    let mut candidate = Candidate::new(Vec::new(), places, shape.size(1, count - 1));
    candidate.smooth = false; // near places are no near colours
    candidate.head = if count <= levels::FEW_COLOURS {
        let colours = colours.iter().flat_map(|colour| colour.to_le_bytes());
        [PALETTE, (count - 1) as u8].into_iter().chain(colours).collect()
    } else if DRAWN * candidate.repeated > shape.pixels() {
        let coded = tile::encode(&colours, &shape.palette(count), &[false], kernel.into());
        [&[CODED_PALETTE], &levels::write_coded_palette(count, &coded)[..]].concat()
    } else {
        return None;
    };
    Some(candidate)
}

/// Samples as they are, or as places among the values that occur, where there are few of these.
fn by_samples(samples: &[u16], shape: &Shape) -> Candidate {
    let channels = usize::from(shape.channels);
    let (places, levels) = levels::levels(samples);
    if levels.len() <= usize::from(shape.max()) / 2 && 4 * levels.len() < samples.len() {
        let head = [&[LEVELS], &levels::write_levels(&levels)[..]].concat();
        Candidate::new(head, places, shape.size(channels, levels.len() - 1))
    } else {
        let size = shape.size(channels, shape.max().into());
        Candidate::new(vec![MIXED], samples.to_vec(), size)
    }
}

/// Decodes the samples of a tile. Damage is an error, or else shows in the samples.
pub fn decode_tile(bytes: &[u8], shape: &Shape) -> Result<Vec<u16>> {
    decode_by(bytes, shape, Kernel::select()?.into())
}

/// Mirror of [`encode_tile_learned`].
pub fn decode_tile_learned(
    bytes: &[u8],
    shape: &Shape,
    (learned, kernel): (&Learned, Kernel),
) -> Result<Vec<u16>> {
    decode_by(bytes, shape, Means { learned: Some(learned), ..kernel.into() })
}

/// Mirror of [`encode_tile_previewed`].
pub fn decode_tile_previewed(bytes: &[u8], shape: &Shape, shown: &[u16]) -> Result<Vec<u16>> {
    check(shown, shape)?;
    decode_by(bytes, shape, Means { shown: Some(shown), ..Kernel::select()?.into() })
}

fn decode_by(bytes: &[u8], shape: &Shape, means: Means) -> Result<Vec<u16>> {
    shape.check()?;
    let channels = usize::from(shape.channels);
    let plain = Means::from(means.kernel);
    let (&mode, mut bytes) =
        bytes.split_first().ok_or(Error::Truncated { what: "lossless tile" })?;
    match mode {
        RAW => raw::decode(bytes, shape),
        MIXED => tile::decode(bytes, &shape.size(channels, shape.max().into()), plain),
        LEVELS => {
            let levels = levels::read_levels(&mut bytes, shape.max())?;
            let size = shape.size(channels, levels.len() - 1);
            let places = tile::decode(bytes, &size, plain)?;
            places.into_iter().map(|place| levels::entry(&levels, place)).collect()
        }
        PALETTE => {
            let colours = levels::read_palette(&mut bytes, channels, shape.max())?;
            decode_places(bytes, shape, &colours, plain)
        }
        CODED_PALETTE => {
            let (count, coded) = levels::read_coded_palette(&mut bytes)?;
            let colours = tile::decode(coded, &shape.palette(count), plain)?;
            decode_places(bytes, shape, &colours, plain)
        }
        LEARNED => {
            let size = shape.size(channels, shape.max().into());
            if means.learned.is_none() || !learned::suits(&size) {
                return Err(Error::Corrupted { what: "a tile needs an expert that is not there" });
            }
            tile::decode(bytes, &size, means)
        }
        PREVIEWED => {
            let size = shape.size(channels, shape.max().into());
            if means.shown.is_none() || !learned::suits(&size) {
                return Err(Error::Corrupted { what: "a tile needs a preview that is not there" });
            }
            tile::decode(bytes, &size, means)
        }
        _ => Err(Error::Corrupted { what: "unknown mode of a lossless tile" }),
    }
}

/// Decodes pixels as places among colours.
fn decode_places(bytes: &[u8], shape: &Shape, colours: &[u16], means: Means) -> Result<Vec<u16>> {
    let channels = usize::from(shape.channels);
    let size = shape.size(1, colours.len() / channels - 1);
    let indices = tile::decode(bytes, &size, means)?;
    let mut samples = Vec::with_capacity(shape.samples());
    for index in indices {
        for channel in 0..channels as u16 {
            samples.push(levels::entry(colours, index * channels as u16 + channel)?);
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_write_the_same_bytes() {
        let size = Size { width: 33, height: 21, channels: 3, max: 1023 };
        let sample = |i: usize| (i * i / 7 % 90 + i / 63 * 9) as u16;
        let samples: Vec<_> = (0..33 * 21 * 3).map(sample).collect();
        let shown: Vec<_> = samples.iter().map(|sample| sample / 8 * 8 + 3).collect();
        for (guesses, shown) in [(false, None), (true, None), (false, Some(&shown[..]))] {
            let means = |kernel: Kernel| Means { shown, ..kernel.into() };
            let tiles: Vec<_> = Kernel::available()
                .map(|kernel| tile::encode(&samples, &size, &[guesses], means(kernel)))
                .collect();
            assert!(tiles.iter().all(|tile| *tile == tiles[0]));
            for kernel in Kernel::available() {
                assert_eq!(tile::decode(&tiles[0], &size, means(kernel)).unwrap(), samples);
            }
        }
    }
}
