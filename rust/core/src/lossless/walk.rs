//! A sample as a walk of decisions away from its prediction.
//!
//! The first decision is the side of the boundary nearest to the prediction. Then the walk grows
//! away from it, in steps of `S, S, 2 S, 4 S, ...` values, until the sample is inside the last step,
//! which is then halved until one value is left.

use super::binary::Coder;
use super::counters::{Contexts, Counters, NODES, Node};
use super::experts::{Each, Experts};
use super::instructions::Instructions;
use super::mixer::{Logits, Mixer, SOURCES};
use super::tables::squash;

/// Places in the walk on each side.
pub const PLACES: usize = NODES / 2;

/// Number of sizes of the first step that are told apart.
pub const STEPS: usize = 8;

/// Classes of the mean error near a sample.
pub const ENERGIES: usize = 48;

/// Classes of what else tells calm from busy places.
pub const ACTIVITIES: usize = 16;

/// How many contexts each set of the mixer has.
pub const MIXER_SIZES: [usize; 4] = [STEPS * NODES, ENERGIES * PLACES, ACTIVITIES * PLACES, 1];

/// What a walk is made with.
pub struct Walk<'a> {
    /// Mixes what experts and counters say.
    pub mixer: &'a mut Mixer,
    /// Counters of decisions.
    pub counters: &'a mut Counters,
    /// The contexts of the sample.
    pub contexts: Contexts,
    /// Class of the mean error near the sample, below [`ENERGIES`].
    pub energy: usize,
    /// Class of the activity near the sample, below [`ACTIVITIES`].
    pub activity: usize,
    /// Base-2 logarithm of the first step.
    pub step: i32,
    /// The values start from 0 and go to this one.
    pub max: i32,
}

impl Walk<'_> {
    /// Has counters of the values around `center` brought into the cache before the first decision:
    /// there are too many of them to stay there.
    #[inline(always)]
    pub fn expect<I: Instructions>(&self, center: i32) {
        for value in [center - 2, center + 2] {
            let node = Node { place: 0, value, step: self.step, kind: 0 };
            self.counters.expect::<I>(&self.contexts, node);
        }
    }

    /// Codes a sample around `center`, the first value above the boundary that the experts are
    /// about; `known` is the sample where the coder is an encoder.
    #[inline(always)]
    pub fn code<I: Instructions>(
        &mut self,
        coder: &mut impl Coder,
        mut experts: Experts,
        center: i32,
        known: i32,
    ) -> i32 {
        let first = Node { place: 0, value: center, step: self.step, kind: 0 };
        let up = I::decide(self, coder, &experts.above(), first, known >= center);
        let (distance, room) =
            if up { (known - center, self.max + 1 - center) } else { (center - 1 - known, center) };
        let (side, kind) = if up { (PLACES, 1) } else { (0, 2) };
        let value = |steps: i32| if up { center + steps } else { center - steps };
        if !up {
            experts.mirror();
        }

        let (mut start, mut step, mut grown) = (0, self.step, 0);
        let mut low = experts.bound(0);
        let (mut length, mut high);
        loop {
            length = 1 << step;
            if start + length >= room {
                length = room - start;
                high = experts.bound(room);
                break;
            }
            let logits = experts.beyond(&low, step);
            let end = start + length;
            high = experts.bound(end);
            let node = Node { place: side + 1 + grown.min(5), value: value(end), step, kind };
            if !I::decide(self, coder, &logits, node, distance >= end) {
                break;
            }
            start = end;
            low = high;
            step += i32::from(grown > 0);
            grown += 1;
        }

        let mut level = 0;
        while length > 1 {
            let step = (length - 1).ilog2() as i32;
            let half = 1 << step;
            let middle = experts.bound(start + half);
            let logits = experts.upper_half(&low, &middle, &high);
            let place = side + 7 + 3 * grown.min(2) + level;
            let node =
                Node { place, value: value(start + half), step: step + side as i32, kind: 3 };
            if I::decide(self, coder, &logits, node, distance >= start + half) {
                start += half;
                length -= half;
                low = middle;
            } else {
                length = half;
                high = middle;
            }
            level = (level + 1).min(2);
        }
        if up { center + start } else { center - 1 - start }
    }

    /// Codes one decision and learns from it.
    #[inline(always)]
    pub fn decide<I: Instructions>(
        &mut self,
        coder: &mut impl Coder,
        experts: &Each,
        node: Node,
        truth: bool,
    ) -> bool {
        let found = self.counters.find::<I>(&self.contexts, node);
        let mut logits: Logits = [0; SOURCES];
        let (halves, _) = logits.as_chunks_mut();
        halves[0] = *experts;
        found.logits(&mut halves[1]);
        let place = node.place % PLACES;
        let step = self.step.min(STEPS as i32 - 1) as usize;
        let selection = [
            step * NODES + node.place,
            self.energy * PLACES + place,
            self.activity * PLACES + place,
            0,
        ];
        let probability = squash(self.mixer.mix::<I>(&logits, &selection));
        let decision = coder.code(probability, truth);
        self.mixer.learn::<I>(&logits, &selection, probability, decision);
        self.counters.learn::<I>(&found, decision, probability);
        decision
    }
}
