//! What the networks see of the pixels before one: differences from a guess.

/// Rows above a pixel, and columns left and right of it, that are seen.
pub const REACH: usize = 3;

/// Samples of a pixel, in the order of coding.
pub const COLOURS: usize = 3;

/// Known pixels around one: rows above, and those to the left.
const TAPS: usize = REACH * (2 * REACH + 1) + REACH;

/// The first input that holds the pixel's own samples.
const OWN: usize = TAPS * COLOURS;

/// Number of inputs: the taps, the pixel's own first two samples, the guesses, the distances from the borders.
pub const INPUTS: usize = OWN + 2 + COLOURS + 3;

/// Largest magnitude of an input.
pub const MAX_INPUT: i32 = 255;

/// What the distance from a border, in pixels up to `REACH`, is multiplied by.
const BORDER: usize = 64;

/// Samples of a picture that are known up to some pixel, in the order of coding.
#[derive(Debug, Clone)]
pub struct Known {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[u8; COLOURS]>,
}

impl Known {
    fn at(&self, y: usize, x: usize) -> [i16; COLOURS] {
        self.pixels[y * self.width + x].map(i16::from)
    }

    /// The guess at a pixel: the mean of those to the left and above.
    fn guess(&self, y: usize, x: usize) -> [i16; COLOURS] {
        match (y, x) {
            (0, 0) => [128; COLOURS],
            (0, _) => self.at(0, x - 1),
            (_, 0) => self.at(y - 1, 0),
            _ => {
                let (left, above) = (self.at(y, x - 1), self.at(y - 1, x));
                std::array::from_fn(|colour| (left[colour] + above[colour] + 1) >> 1)
            }
        }
    }

    /// Fills the `INPUTS` of a pixel, but for its own samples, which are 0, and returns its guess.
    pub fn inputs(&self, (y, x): (usize, usize), inputs: &mut [i16]) -> [i16; COLOURS] {
        let guess = self.guess(y, x);
        let mut taps = inputs[..OWN].as_chunks_mut().0.iter_mut();
        for dy in (0..=REACH).rev() {
            let columns = if dy == 0 { REACH } else { 2 * REACH + 1 };
            for (column, tap) in (0..columns).zip(&mut taps) {
                let place = (y.checked_sub(dy), (x + column).checked_sub(REACH));
                *tap = match place {
                    (Some(y), Some(x)) if x < self.width => {
                        let seen = self.at(y, x);
                        std::array::from_fn(|colour| seen[colour] - guess[colour])
                    }
                    _ => [0; COLOURS],
                };
            }
        }
        let borders =
            [y, x, self.width - 1 - x].map(|distance| (distance.min(REACH) * BORDER) as i16);
        inputs[OWN..OWN + 2].fill(0);
        inputs[OWN + 2..OWN + 2 + COLOURS].copy_from_slice(&guess.map(|guess| guess - 128));
        inputs[INPUTS - 3..].copy_from_slice(&borders);
        guess
    }

    /// Enters a sample of a pixel into this picture, and into the inputs of the pixel's later samples.
    pub fn enter(
        &mut self,
        (y, x): (usize, usize),
        colour: usize,
        sample: u8,
        guess: i16,
        inputs: &mut [i16],
    ) {
        self.pixels[y * self.width + x][colour] = sample;
        if colour < 2 {
            inputs[OWN + colour] = i16::from(sample) - guess;
        }
    }

    /// The pixels in the order of coding: diagonals `x + 4 y`, so that all that is seen from a diagonal
    /// is before it.
    pub fn diagonals(&self) -> impl Iterator<Item = Vec<(usize, usize)>> + use<> {
        let (width, height) = (self.width, self.height);
        (0..width + (REACH + 1) * (height - 1)).map(move |time| {
            let first = (time + 1).saturating_sub(width).div_ceil(REACH + 1);
            let last = (time / (REACH + 1)).min(height - 1);
            (first..=last).map(|y| (y, time - (REACH + 1) * y)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Known {
        let pixel = |i: usize| [(i * 7 % 256) as u8, (i * 13 % 256) as u8, (i * 29 % 251) as u8];
        Known { width, height, pixels: (0..width * height).map(pixel).collect() }
    }

    #[test]
    fn every_pixel_is_coded_once_after_what_it_sees() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 5), (11, 6), (32, 32)] {
            let mut time = vec![usize::MAX; width * height];
            let picture = picture(width, height);
            for (number, diagonal) in picture.diagonals().enumerate() {
                for (y, x) in diagonal {
                    assert_eq!(std::mem::replace(&mut time[y * width + x], number), usize::MAX);
                }
            }
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                for (dy, dx) in (0..=REACH).flat_map(|dy| (0..=2 * REACH).map(move |dx| (dy, dx))) {
                    let (Some(above), Some(beside)) =
                        (y.checked_sub(dy), (x + dx).checked_sub(REACH))
                    else {
                        continue;
                    };
                    if beside < width && (dy > 0 || dx < REACH) {
                        assert!(time[above * width + beside] < time[y * width + x]);
                    }
                }
            }
        }
    }

    /// What is not known yet does not matter.
    #[test]
    fn inputs_are_of_the_past() {
        let known = picture(9, 7);
        for (y, x) in (0..7).flat_map(|y| (0..9).map(move |x| (y, x))) {
            let mut other = known.clone();
            for (pixel, place) in other.pixels.iter_mut().zip(0..) {
                if place >= y * 9 + x {
                    *pixel = [99, 3, 200];
                }
            }
            let mut inputs = [[7; INPUTS]; 2];
            known.inputs((y, x), &mut inputs[0]);
            other.inputs((y, x), &mut inputs[1]);
            assert_eq!(inputs[0], inputs[1]);
            assert!(inputs[0].iter().all(|input| i32::from(input.abs()) <= MAX_INPUT));
        }
    }
}
