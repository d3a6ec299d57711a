//! Pictures of few values or few colours: samples become places in a list.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Most colours of a palette whose samples are stored as they are, and of one that is coded.
pub const FEW_COLOURS: usize = 256;
const MAX_COLOURS: usize = 4096;

/// `samples` as places among the different ones, in rising order, and these.
pub fn levels(samples: &[u16]) -> (Vec<u16>, Vec<u16>) {
    let mut places = vec![None; 1 << 16];
    for &sample in samples {
        places[usize::from(sample)] = Some(0);
    }
    let mut levels = Vec::new();
    for (level, place) in (0..=u16::MAX).zip(&mut places) {
        if let Some(place) = place {
            *place = levels.len() as u16;
            levels.push(level);
        }
    }
    let place = |&sample: &u16| places[usize::from(sample)].unwrap_or(0);
    (samples.iter().map(place).collect(), levels)
}

/// Pixels as places in a palette, in the order of their first appearance, and the palette; nothing
/// where there are too many colours.
pub fn palette(samples: &[u16], channels: usize) -> Option<(Vec<u16>, Vec<u16>)> {
    let mut places = BTreeMap::new();
    let mut colours = Vec::new();
    let mut indices = Vec::with_capacity(samples.len() / channels);
    for pixel in samples.chunks_exact(channels) {
        let next = places.len();
        let place = *places.entry(pixel).or_insert_with(|| {
            colours.extend_from_slice(pixel);
            next as u16
        });
        if places.len() > MAX_COLOURS {
            return None;
        }
        indices.push(place);
    }
    Some((indices, colours))
}

/// Writes rising numbers: how many, less one, and the distance of each to the one after the last
/// one, all in LEB128.
pub fn write_levels(levels: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_number(&mut bytes, levels.len() as u32 - 1);
    let mut next = 0;
    for &level in levels {
        write_number(&mut bytes, u32::from(level) - next);
        next = u32::from(level) + 1;
    }
    bytes
}

/// Reads what [`write_levels`] wrote.
pub fn read_levels(bytes: &mut &[u8], max: u16) -> Result<Vec<u16>> {
    let count = read_number(bytes)?;
    let (mut levels, mut next) = (Vec::new(), 0);
    for _ in 0..=count {
        let level = next + read_number(bytes)?;
        if level > max.into() {
            return Err(BEYOND);
        }
        levels.push(level as u16);
        next = level + 1;
    }
    Ok(levels)
}

/// Reads the number of colours, less one, and their samples of up to `max`.
pub fn read_palette(bytes: &mut &[u8], channels: usize, max: u16) -> Result<Vec<u16>> {
    let truncated = Error::Truncated { what: "palette of a lossless tile" };
    let Some((&last, rest)) = bytes.split_first() else { return Err(truncated) };
    let length = (usize::from(last) + 1) * channels;
    let Some((samples, rest)) = rest.split_at_checked(2 * length) else { return Err(truncated) };
    *bytes = rest;
    let (samples, _) = samples.as_chunks();
    let colours: Vec<_> = samples.iter().map(|&sample| u16::from_le_bytes(sample)).collect();
    if colours.iter().any(|&sample| sample > max) { Err(BEYOND) } else { Ok(colours) }
}

/// An entry of a list, which damaged bytes may point beyond.
pub fn entry(list: &[u16], place: u16) -> Result<u16> {
    list.get(usize::from(place)).copied().ok_or(BEYOND)
}

const BEYOND: Error = Error::Corrupted { what: "a sample of a lossless tile beyond its range" };

/// Writes a palette's number of colours, less one, and the number of the bytes that it is coded in, both in
/// LEB128, and these.
pub fn write_coded_palette(count: usize, coded: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_number(&mut bytes, count as u32 - 1);
    write_number(&mut bytes, coded.len() as u32);
    bytes.extend(coded);
    bytes
}

/// Reads what [`write_coded_palette`] wrote.
pub fn read_coded_palette<'a>(bytes: &mut &'a [u8]) -> Result<(usize, &'a [u8])> {
    let count = read_number(bytes)? as usize + 1;
    let length = read_number(bytes)? as usize;
    if count > MAX_COLOURS {
        return Err(Error::Corrupted { what: "number of colours of a lossless tile" });
    }
    let parts = bytes.split_at_checked(length);
    let (coded, rest) = parts.ok_or(Error::Truncated { what: "palette of a lossless tile" })?;
    *bytes = rest;
    Ok((count, coded))
}

/// Writes a number below 2^21 in LEB128.
fn write_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads a number below 2^21 in LEB128.
fn read_number(bytes: &mut &[u8]) -> Result<u32> {
    let mut number = 0;
    for shift in [0, 7, 14] {
        let (&byte, rest) =
            bytes.split_first().ok_or(Error::Truncated { what: "lossless tile" })?;
        *bytes = rest;
        number |= u32::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(number);
        }
    }
    Err(Error::Corrupted { what: "a number of a lossless tile" })
}
