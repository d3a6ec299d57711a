//! Guessing samples of drawn pictures: the same surroundings mean the same sample as last time.

use super::binary::Coder;
use super::planes::Plane;

/// Base-2 logarithm of the surroundings that are remembered, for each of two kinds.
const ENTRY_BITS: u32 = 14;

/// Right guesses in a row that are told apart.
const MAX_STREAK: u8 = 15;

/// What followed on some surroundings last, and how often in a row.
#[derive(Clone, Copy, Default)]
struct Memory {
    sample: u16,
    streak: u8,
}

/// Memories of wide and of narrow surroundings, and how far guesses can be trusted.
pub struct Guesses {
    memories: Vec<Memory>,
    /// Probability in 1/2^16 that a guess is right: by streak, and by the last guesses.
    trust: Vec<u16>,
    /// Whether the last four guesses were right, a bit each.
    recent: usize,
}

/// Where the memories of a sample's surroundings are, the wide ones first.
pub type Surroundings = [usize; 2];

impl Guesses {
    /// Remembers nothing.
    pub fn new() -> Self {
        let trust = vec![1 << 15; (usize::from(MAX_STREAK) + 1) << 5];
        Self { memories: vec![Memory::default(); 2 << ENTRY_BITS], trust, recent: 0 }
    }

    /// The surroundings of the sample at `index`: its neighbours and the channels before it.
    #[inline(always)]
    pub fn look(&self, own: &Plane, earlier: &[Plane], index: usize) -> Surroundings {
        let (all, stride) = (own.all(), own.stride());
        let mut hash = 0_u32;
        let mut add = |sample: i32| {
            hash = (hash ^ sample as u32).wrapping_mul(0x9e37_79b1);
            hash ^= hash >> 15;
        };
        for plane in earlier {
            [index, index - 1, index - stride].map(|place| add(plane.all()[place]));
        }
        [index - 1, index - stride, index - stride - 1, index - stride + 1]
            .map(|place| add(all[place]));
        let narrow = hash;
        let mut add = |sample: i32| {
            hash = (hash ^ sample as u32).wrapping_mul(0x9e37_79b1);
            hash ^= hash >> 15;
        };
        [index - 2, index - 3, index - 2 * stride, index - 2 * stride - 1, index - stride - 2]
            .map(|place| add(all[place]));
        [hash, narrow].map(|hash| (hash >> (32 - ENTRY_BITS)) as usize)
    }

    /// Codes whether the guess is right, if there is one, and returns it if it is.
    #[inline(always)]
    pub fn code(
        &mut self,
        coder: &mut impl Coder,
        surroundings: Surroundings,
        known: i32,
    ) -> Option<i32> {
        let wide = self.memories[surroundings[0]];
        let narrow = self.memories[(1 << ENTRY_BITS) + surroundings[1]];
        let is_wide = wide.streak > 0;
        let guess = if is_wide { wide } else { narrow };
        if guess.streak == 0 {
            return None;
        }
        let class = usize::from(guess.streak) << 1 | usize::from(is_wide);
        let trust = &mut self.trust[class << 4 | self.recent];
        let sample = i32::from(guess.sample);
        let right = coder.code((*trust).clamp(8, u16::MAX - 2).into(), sample == known);
        let target = if right { i32::from(u16::MAX) } else { 0 };
        *trust = (i32::from(*trust) + ((target - i32::from(*trust)) >> 5)) as u16;
        self.recent = self.recent << 1 & 15 | usize::from(right);
        right.then_some(sample)
    }

    /// Remembers what the sample is.
    #[inline(always)]
    pub fn learn(&mut self, surroundings: Surroundings, sample: i32) {
        let places = [surroundings[0], (1 << ENTRY_BITS) + surroundings[1]];
        for place in places {
            let memory = &mut self.memories[place];
            if memory.streak > 0 && i32::from(memory.sample) == sample {
                memory.streak = (memory.streak + 1).min(MAX_STREAK);
            } else if memory.streak > 4 {
                memory.streak /= 4;
            } else {
                *memory = Memory { sample: sample as u16, streak: 1 };
            }
        }
    }
}
