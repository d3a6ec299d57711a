//! What is known about a sample before it is coded, as contexts of everything that adapts.

use super::counters::{Contexts, EXACT, RELATIVE};
use super::history::Nearby;
use super::planes::Plane;
use super::predictors::{Neighbourhood, Predictions};
use super::tables::octaves;
use super::walk::{ACTIVITIES, ENERGIES};

/// Places of the two bias tables.
pub const BIASES: usize = 1 << 12;

/// Places of the scale tables.
pub const SCALE_CONTEXTS: usize = 2 * ENERGIES * ACTIVITIES;

/// Channels that are coded already: their samples and what was left of them.
#[derive(Default)]
pub struct Earlier {
    /// The samples.
    pub samples: Vec<Plane>,
    /// What the predictions missed, in 1/16.
    pub residuals: Vec<Plane>,
}

/// Levels of a sample's surroundings.
pub struct Situation {
    /// Class of the errors nearby, below [`ENERGIES`].
    pub energy: usize,
    /// Class of the residuals of the channel before or, without one, of the texture.
    pub activity: usize,
    /// Class of the range of the neighbours.
    range: usize,
    /// Which neighbours lie above the prediction.
    pattern: usize,
    /// Residuals of the two channels before, here, and of this one at W and N.
    residuals: [i32; 4],
    /// Bits that samples have beyond 8.
    shift: u32,
}

impl Situation {
    /// Looks at a sample at `index` whose predictions' blend is `blend`.
    #[inline(always)]
    pub fn new(
        around: &Neighbourhood,
        own: &Plane,
        earlier: &Earlier,
        index: usize,
        (nearby, blend): (Nearby, i32),
        shift: u32,
    ) -> Self {
        let [w, n, nw, ne, ww, nn] = around.near;
        let mut before = earlier.residuals.iter().rev();
        let (first, second) = (before.next(), before.next());
        let sum = match first {
            Some(plane) => {
                let (all, stride) = (plane.all(), plane.stride());
                let beside = all[index - 1].abs() + all[index + 1].abs();
                let beyond = all[index - stride].abs() + all[index + stride].abs();
                2 * all[index].abs() + beside + beyond
            }
            None => {
                let near = (w - nw).abs() + (n - nw).abs() + (n - ne).abs();
                8 * (near + (w - ww).abs() + (n - nn).abs())
            }
        };
        let mut pattern = 0;
        for neighbour in [w, n, nw, ne, ww, nn, 2 * w - ww, 2 * n - nn] {
            pattern = 2 * pattern + usize::from(neighbour > blend >> 4);
        }
        let range = around.near.iter().max().unwrap_or(&0) - around.near.iter().min().unwrap_or(&0);
        let here = |plane: Option<&Plane>| plane.map_or(0, |plane| plane.all()[index]);
        Self {
            energy: ((octaves(nearby.energy()) >> 3) as usize).min(ENERGIES - 1),
            activity: ((octaves(sum as u32) >> 4) as usize).min(ACTIVITIES - 1),
            range: ((octaves(4 * range as u32) >> 3) as usize).min(ENERGIES - 1),
            pattern,
            residuals: [
                here(first),
                here(second),
                own.all()[index - 1],
                own.all()[index - own.stride()],
            ],
            shift,
        }
    }

    /// The places of the two biases.
    #[inline(always)]
    pub fn biases(&self) -> [usize; 2] {
        let [before, _, w, _] = self.residuals;
        let place = self.level(before) * 32 + self.level(w);
        [self.pattern * 16 + (self.energy / 3).min(15), place as usize]
    }

    /// The places of the two scales.
    #[inline(always)]
    pub fn scales(&self) -> [usize; 2] {
        let [before, earlier, w, n] = self.residuals;
        let sum = before.abs() + 2 * earlier.abs() + w.abs() + n.abs();
        let class = ((octaves(sum as u32) >> 4) as usize).min(ACTIVITIES - 1);
        [self.energy * ACTIVITIES + self.activity, (ENERGIES + self.range) * ACTIVITIES + class]
    }

    /// The contexts of the counters by place, apart from the first step.
    #[inline(always)]
    pub fn relative(
        &self,
        around: &Neighbourhood,
        predictions: &Predictions,
        blend: i32,
    ) -> [u32; RELATIVE] {
        let [before, earlier, w, n] = self.residuals;
        let fine = (before >> (self.shift + 3)).clamp(-31, 31) + 32;
        let coarse = (earlier >> (self.shift + 4)).clamp(-7, 7) + 8;
        let median = self.level(predictions[4] - blend);
        let spread = self.level(predictions[2] - predictions[0]);
        let left = self.level((around.near[0] << 4) - blend);
        [
            self.level(w) << 5 | self.level(n),
            (fine * 16 + coarse) as u32,
            (self.pattern * 16 + self.range / 4) as u32,
            median << 10 | spread << 5 | left,
        ]
    }

    /// Sign and logarithm of a difference of predictions, below 32.
    #[inline(always)]
    fn level(&self, difference: i32) -> u32 {
        let magnitude = difference.unsigned_abs() >> self.shift;
        let level = if magnitude < 4 { 0 } else { (1 + (octaves(magnitude / 4) >> 3)).min(15) };
        if difference < 0 { 16 - level } else { 16 + level }
    }
}

/// The contexts of the counters by value, with the value that theirs are relative to.
#[inline(always)]
pub fn exact(around: &Neighbourhood, earlier: &[Plane], index: usize) -> [(u32, i32); EXACT] {
    let [w, n, ..] = around.near;
    let pair = |a: i32, b: i32| (a as u32) << 16 ^ b as u32;
    match earlier {
        [] => [(pair(w, n), 0), (0, 0), ((w - n) as u32, w), (pair(w, 1), 0)],
        [before] => {
            let [here, left] = [before.all()[index], before.all()[index - 1]];
            [(here as u32, 0), ((here - left) as u32, w), (0, here), (pair(w, n), 0)]
        }
        [.., first, second] => {
            let [first, second] = [first.all()[index], second.all()[index]];
            let difference = (second - first) as u32;
            [(pair(second, first), 0), (difference, first), (second as u32, 0), (first as u32, 0)]
        }
    }
}

/// All contexts of the counters, where the first step is `2^step` values.
#[inline(always)]
pub fn counted(relative: [u32; RELATIVE], exact: [(u32, i32); EXACT], step: i32) -> Contexts {
    let step = step.min(7) as u32;
    Contexts::new(relative.map(|context| context * 8 + step), exact)
}
