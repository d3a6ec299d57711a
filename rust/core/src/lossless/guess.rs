//! Guessing samples of drawn pictures: the same surroundings mean the same sample as last time.

use super::binary::Coder;
use super::planes::Plane;

/// Base-2 logarithm of the surroundings that are remembered, for each kind.
const ENTRY_BITS: u32 = 14;

/// Right guesses in a row that are told apart.
const MAX_STREAK: u8 = 15;

/// What followed on some surroundings last, and how often in a row.
#[derive(Clone, Copy, Default)]
struct Memory {
    sample: u16,
    streak: u8,
}

/// Guesses that were right less often are not tried: a decision costs more than it says.
const MIN_TRUST: u16 = 1 << 13;

/// Kinds of surroundings, from wide to narrow.
const KINDS: usize = 4;

/// Memories of wide and narrow surroundings, and how far guesses can be trusted.
pub struct Guesses {
    memories: Vec<Memory>,
    /// Probability in 1/2^16 that a guess is right: by kind, streak and recent guesses.
    trust: Vec<u16>,
    /// Whether the last four samples were guessed, a bit each.
    recent: usize,
    /// Where the memories of the current sample's surroundings are.
    surroundings: [usize; KINDS],
}

impl Guesses {
    /// Remembers nothing.
    pub fn new() -> Self {
        Self {
            memories: vec![Memory::default(); KINDS << ENTRY_BITS],
            trust: vec![1 << 15; KINDS * (usize::from(MAX_STREAK) + 1) * 16],
            recent: 0,
            surroundings: [0; KINDS],
        }
    }

    /// Looks at the surroundings of the sample at `index`: its neighbours and the channels before it.
    #[inline(always)]
    pub fn look(&mut self, own: &Plane, earlier: &[Plane], index: usize) {
        let (all, stride) = (own.all(), own.stride());
        let north = index - stride;
        let mut hash = 0;
        for plane in earlier {
            add(&mut hash, plane.all()[index]);
        }
        if earlier.is_empty() {
            add(&mut hash, all[index - 1]);
            add(&mut hash, all[north]);
        }
        let narrowest = hash;
        for place in [index - 1, north, north + 1] {
            add(&mut hash, all[place]);
        }
        let narrower = hash;
        add(&mut hash, all[north - 1]);
        for plane in earlier {
            add(&mut hash, plane.all()[index - 1]);
            add(&mut hash, plane.all()[north]);
        }
        let narrow = hash;
        for place in [index - 2, index - 3, north - stride, north - stride - 1, north - 2] {
            add(&mut hash, all[place]);
        }
        let hashes = [hash, narrow, narrower, narrowest];
        self.surroundings = std::array::from_fn(|kind| {
            (kind << ENTRY_BITS) + (hashes[kind] >> (32 - ENTRY_BITS)) as usize
        });
    }

    /// Codes which guess is right, from the one on the widest surroundings on, and returns it; each
    /// value is only guessed once.
    #[inline(always)]
    pub fn code(&mut self, coder: &mut impl Coder, known: i32) -> Option<i32> {
        let mut guessed = None;
        let memories = self.surroundings.map(|place| self.memories[place]);
        for (kind, memory) in memories.into_iter().enumerate() {
            let before = &memories[..kind];
            let wrong = before.iter().any(|m| m.streak > 0 && m.sample == memory.sample);
            let class = kind << 4 | usize::from(memory.streak);
            let trust = &mut self.trust[class << 4 | self.recent];
            if memory.streak == 0 || wrong || *trust < MIN_TRUST {
                continue;
            }
            let sample = i32::from(memory.sample);
            let right = coder.code((*trust).clamp(8, u16::MAX - 7).into(), sample == known);
            let target = if right { i32::from(u16::MAX) } else { 0 };
            *trust = (i32::from(*trust) + ((target - i32::from(*trust)) >> 5)) as u16;
            if right {
                guessed = Some(sample);
                break;
            }
        }
        self.recent = self.recent << 1 & 15 | usize::from(guessed.is_some());
        guessed
    }

    /// Remembers what the sample is.
    #[inline(always)]
    pub fn learn(&mut self, sample: i32) {
        for place in self.surroundings {
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

/// Adds a sample to a hash.
#[inline(always)]
fn add(hash: &mut u32, sample: i32) {
    *hash = (*hash ^ sample as u32).wrapping_mul(0x9e37_79b1);
    *hash ^= *hash >> 15;
}
