//! Samples as they are, packed: what noise is stored as.

use super::Shape;
use crate::error::{Error, Result};

/// Bytes of the packed samples.
pub fn length(shape: &Shape) -> usize {
    (shape.samples() * usize::from(shape.bits)).div_ceil(8)
}

/// Packs `bits` bits of each sample, the highest first.
pub fn encode(samples: &[u16], shape: &Shape) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length(shape));
    let (mut pending, mut bits) = (0_u32, 0);
    for &sample in samples {
        pending = pending << shape.bits | u32::from(sample);
        bits += shape.bits;
        while bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits) as u8);
        }
    }
    if bits > 0 {
        bytes.push((pending << (8 - bits)) as u8);
    }
    bytes
}

/// Unpacks samples.
pub fn decode(bytes: &[u8], shape: &Shape) -> Result<Vec<u16>> {
    if bytes.len() != length(shape) {
        return Err(Error::Corrupted { what: "a raw tile of another length than its samples" });
    }
    let (mut bytes, mut pending, mut bits) = (bytes.iter(), 0_u32, 0);
    let mut sample = || {
        while bits < shape.bits {
            pending = pending << 8 | u32::from(*bytes.next().unwrap_or(&0));
            bits += 8;
        }
        bits -= shape.bits;
        (pending >> bits) as u16 & (u16::MAX >> (16 - shape.bits))
    };
    Ok((0..shape.samples()).map(|_| sample()).collect())
}
