//! A tile as channels, one stream of decisions each.

use super::binary::{Coder, Decoder, Encoder};
use super::channel::{Channel, Model};
use super::contexts::Earlier;
use super::instructions;
use super::learned::{Learned, LearnedExpert};
use super::planes::Plane;
use crate::error::{Error, Result};
use crate::kernels::Kernel;

/// Samples that are coded together.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples of a pixel, 1 to 4.
    pub channels: usize,
    /// Largest sample, 1 or more.
    pub max: u16,
}

/// What samples are coded with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The instructions, which change no byte.
    pub kernel: Kernel,
    /// An expert that was learned.
    pub learned: Option<&'a Learned>,
    /// Samples like those of the tile that a preview shows.
    pub shown: Option<&'a [u16]>,
}

impl From<Kernel> for Means<'_> {
    fn from(kernel: Kernel) -> Self {
        Self { kernel, learned: None, shown: None }
    }
}

impl Size {
    fn samples(&self) -> usize {
        self.width * self.height * self.channels
    }

    /// Channels in the order of coding: alpha, which says where colours matter, then green, which
    /// says most about the others.
    fn order(&self) -> &'static [usize] {
        match self.channels {
            1 => &[0],
            2 => &[1, 0],
            3 => &[1, 0, 2],
            _ => &[3, 1, 0, 2],
        }
    }

    /// A channel of samples that are all known.
    fn known(&self, samples: &[u16], channel: usize) -> Plane {
        let mut plane = self.plane();
        plane.fill(samples[channel..].iter().step_by(self.channels).copied());
        for y in 0..self.height {
            plane.open_row(y);
            plane.close_row(y);
        }
        plane
    }

    /// A plane of samples that are all unknown.
    fn plane(&self) -> Plane {
        Plane::new(self.width, self.height, (i32::from(self.max) + 1) / 2)
    }

    /// A channel before it is coded.
    fn unknown(&self) -> Channel {
        Channel { samples: self.plane(), residuals: Plane::new(self.width, self.height, 0) }
    }
}

/// First byte of a channel: its samples are those of a stream, without or with guesses, all equal a
/// value that follows, or are those of the channel before it.
const STREAM: u8 = 0;
const GUESSED: u8 = 1;
const CONSTANT: u8 = 2;
const SAME: u8 = 3;

/// Streams that are longer by at most one part in so many suit a colour as well as the shortest.
const CLOSE: usize = 20;

impl Earlier {
    fn code(
        &self,
        size: &Size,
        (own, channel): (&mut Channel, usize),
        guesses: bool,
        Means { kernel, learned, shown }: Means,
        coder: &mut impl Coder,
    ) {
        let earlier = self.samples.len();
        let learned = learned.map(|learned| learned.expert(earlier, kernel));
        let mut model = Model::new((size.width, size.max.into()), earlier, guesses, learned);
        model.shown = shown.map(|shown| size.known(shown, channel));
        instructions::code(kernel, &mut model, own, self, coder);
    }

    fn push(&mut self, channel: Channel) {
        self.samples.push(channel.samples);
        self.residuals.push(channel.residuals);
    }
}

/// Encodes all channels, each stream with its length before it, save one in the last channel. `ways` are without and
/// with guesses, or one of them: of both, only those that suit the first colour are tried for the others.
pub fn encode(samples: &[u16], size: &Size, ways: &[bool], means: Means) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut earlier = Earlier::default();
    let order = size.order();
    let first_colour = (order.len() + 1) % 2;
    let mut ways = ways.to_vec();
    for (place, &channel) in order.iter().enumerate() {
        let values = || samples[channel..].iter().step_by(order.len());
        let first = samples[channel];
        if place > 0 && samples[order[place - 1]..].iter().step_by(order.len()).eq(values()) {
            bytes.push(SAME);
            continue;
        }
        if values().all(|&value| value == first) {
            bytes.push(CONSTANT);
            bytes.extend(first.to_le_bytes());
            continue;
        }
        let code = |&guesses: &bool| {
            let mut own = size.unknown();
            own.samples.fill(values().copied());
            let mut coder = Encoder::new();
            earlier.code(size, (&mut own, channel), guesses, means, &mut coder);
            (coder.finish(), guesses, own)
        };
        let coded: Vec<_> = ways.iter().map(code).collect();
        if place >= first_colour {
            let smallest = coded.iter().map(|(stream, ..)| stream.len()).min().unwrap_or(0);
            let close =
                coded.iter().filter(|(stream, ..)| stream.len() <= smallest + smallest / CLOSE);
            ways = close.map(|&(_, guesses, _)| guesses).collect();
        }
        let smallest = coded.into_iter().min_by_key(|(stream, ..)| stream.len());
        let Some((stream, guesses, own)) = smallest else { continue }; // there is at least one way
        bytes.push(if guesses { GUESSED } else { STREAM });
        if place + 1 < order.len() {
            bytes.extend((stream.len() as u32).to_le_bytes());
        }
        bytes.extend(stream);
        earlier.push(own);
    }
    bytes
}

/// What a learned expert would see of each channel, in the order of coding, and what it should say:
/// [`LearnedExpert::seen`].
pub fn lessons(samples: &[u16], size: &Size, kernel: Kernel) -> Vec<Vec<i16>> {
    let mut earlier = Earlier::default();
    let mut lessons = Vec::new();
    for &channel in size.order() {
        let mut own = size.unknown();
        own.samples.fill(samples[channel..].iter().step_by(size.channels).copied());
        let pupil = LearnedExpert::pupil(earlier.samples.len());
        let shape = (size.width, size.max.into());
        let mut model = Model::new(shape, earlier.samples.len(), false, Some(pupil));
        instructions::code(kernel, &mut model, &mut own, &earlier, &mut Encoder::new());
        lessons.extend(model.learned.map(LearnedExpert::seen));
        earlier.push(own);
    }
    lessons
}

/// Decodes what [`encode`] returns.
pub fn decode(mut bytes: &[u8], size: &Size, means: Means) -> Result<Vec<u16>> {
    let mut samples = vec![0; size.samples()];
    let mut earlier = Earlier::default();
    let order = size.order();
    for (place, &channel) in order.iter().enumerate() {
        let [kind] = take(&mut bytes)?;
        match kind {
            STREAM | GUESSED => {
                let last = place + 1 == order.len();
                let stream = take_stream(&mut bytes, last)?;
                let mut own = size.unknown();
                let guesses = kind == GUESSED;
                earlier.code(size, (&mut own, channel), guesses, means, &mut Decoder::new(stream));
                let values = samples[channel..].iter_mut().step_by(order.len());
                values.zip(own.samples.values()).for_each(|(value, sample)| *value = sample);
                earlier.push(own);
            }
            CONSTANT => {
                let constant = u16::from_le_bytes(take(&mut bytes)?);
                if constant > size.max {
                    return Err(Error::Corrupted { what: "a sample beyond its range" });
                }
                let values = samples[channel..].iter_mut().step_by(order.len());
                values.for_each(|value| *value = constant);
            }
            SAME if place > 0 => {
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

/// Takes all bytes for the last stream, else as many as the four bytes before it say.
fn take_stream<'a>(bytes: &mut &'a [u8], last: bool) -> Result<&'a [u8]> {
    let length = if last { bytes.len() } else { u32::from_le_bytes(take(bytes)?) as usize };
    let (stream, rest) = bytes.split_at_checked(length).ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(stream)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(*taken)
}
