//! A tile as channels, one stream of decisions each.

use super::Shape;
use super::binary::{Coder, Decoder, Encoder};
use super::channel::{Channel, Model};
use super::contexts::Earlier;
use super::instructions;
use super::planes::Plane;
use crate::error::{Error, Result};
use crate::kernels::Kernel;

/// Channels in the order of coding: alpha, which says where colours matter, then green, which says
/// most about the others.
fn order(channels: u8) -> &'static [usize] {
    match channels {
        1 => &[0],
        2 => &[1, 0],
        3 => &[1, 0, 2],
        _ => &[3, 1, 0, 2],
    }
}

impl Earlier {
    fn code(&mut self, shape: &Shape, own: &mut Channel, kernel: Kernel, coder: &mut impl Coder) {
        let max = i32::from(u16::MAX >> (16 - shape.bits));
        let mut model = Model::new(shape.width as usize, max, self.samples.len());
        instructions::code(kernel, &mut model, own, self, coder);
    }

    fn push(&mut self, channel: Channel) {
        self.samples.push(channel.samples);
        self.residuals.push(channel.residuals);
    }
}

fn unknown(shape: &Shape) -> Channel {
    let (width, height) = (shape.width as usize, shape.height as usize);
    let half = 1 << (shape.bits - 1);
    Channel { samples: Plane::new(width, height, half), residuals: Plane::new(width, height, 0) }
}

/// First byte of a channel: its samples are those of a stream, all equal a value that follows, or
/// are those of the channel before it.
const STREAM: u8 = 0;
const CONSTANT: u8 = 1;
const SAME: u8 = 2;

/// Encodes all channels, each stream with its length before it, save one in the last channel.
pub fn encode(samples: &[u16], shape: &Shape, kernel: Kernel) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut earlier = Earlier::default();
    let order = order(shape.channels);
    for (place, &channel) in order.iter().enumerate() {
        let values = || samples[channel..].iter().step_by(order.len());
        let first = samples[channel];
        if place > 0 && samples[order[place - 1]..].iter().step_by(order.len()).eq(values()) {
            bytes.push(SAME);
        } else if values().all(|&value| value == first) {
            bytes.push(CONSTANT);
            bytes.extend(first.to_le_bytes());
        } else {
            let mut own = unknown(shape);
            own.samples.fill(values().copied());
            let mut coder = Encoder::new();
            earlier.code(shape, &mut own, kernel, &mut coder);
            let stream = coder.finish();
            bytes.push(STREAM);
            if place + 1 < order.len() {
                bytes.extend((stream.len() as u32).to_le_bytes());
            }
            bytes.extend(stream);
            earlier.push(own);
        }
    }
    bytes
}

/// Decodes what [`encode`] returns.
pub fn decode(mut bytes: &[u8], shape: &Shape, kernel: Kernel) -> Result<Vec<u16>> {
    let mut samples = vec![0; shape.samples()];
    let mut earlier = Earlier::default();
    let order = order(shape.channels);
    for (place, &channel) in order.iter().enumerate() {
        match take::<1>(&mut bytes)? {
            [STREAM] => {
                let last = place + 1 == order.len();
                let length =
                    if last { bytes.len() } else { u32::from_le_bytes(take(&mut bytes)?) as usize };
                let (stream, rest) = bytes.split_at_checked(length).ok_or(TRUNCATED)?;
                bytes = rest;
                let mut own = unknown(shape);
                earlier.code(shape, &mut own, kernel, &mut Decoder::new(stream));
                let values = samples[channel..].iter_mut().step_by(order.len());
                values.zip(own.samples.values()).for_each(|(value, sample)| *value = sample);
                earlier.push(own);
            }
            [CONSTANT] => {
                let constant = u16::from_le_bytes(take(&mut bytes)?);
                if constant > u16::MAX >> (16 - shape.bits) {
                    return Err(Error::Corrupted {
                        what: "a sample of a lossless tile beyond its range",
                    });
                }
                samples[channel..]
                    .iter_mut()
                    .step_by(order.len())
                    .for_each(|value| *value = constant);
            }
            [SAME] if place > 0 => {
                for pixel in samples.chunks_exact_mut(order.len()) {
                    pixel[channel] = pixel[order[place - 1]];
                }
            }
            _ => return Err(Error::Corrupted { what: "unknown kind of a lossless channel" }),
        }
    }
    Ok(samples)
}

const TRUNCATED: Error = Error::Truncated { what: "lossless channel" };

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(*taken)
}
