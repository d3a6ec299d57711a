//! Adaptive probabilities of decisions in contexts.
//!
//! Half of the contexts of a sample tell its decisions apart by their place in the walk, relative to
//! the prediction. The others do so by the value that a decision is about: pictures that were
//! converted from other colours have combinations of values that never occur.

use super::tables::stretch;

/// Decisions that a context tells apart by their place in the walk.
pub const NODES: usize = 32;

/// Contexts of the first kind.
pub const RELATIVE: usize = 4;

/// Contexts of the second kind.
pub const EXACT: usize = 4;

/// Contexts of a sample.
pub const CONTEXTS: usize = RELATIVE + EXACT;

/// Base-2 logarithm of the lines of a table of the first and of the second kind.
const RELATIVE_BITS: u32 = 10;
const EXACT_BITS: u32 = 12;

/// Samples after which a counter adapts no slower any more.
const LIMIT: usize = 80;

/// Probability in the upper 22 bits, number of decisions seen in the lower 10.
type Counter = u32;

const COUNT_BITS: u32 = 10;
const PROBABILITY_BITS: u32 = 22;

/// Counters that fill a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Line([Counter; 16]);

/// `2^16 / (n + 3/2)`: how far a counter moves after `n` decisions.
static RATES: [u16; LIMIT + 1] = {
    let mut rates = [0; LIMIT + 1];
    let mut count = 0;
    while count <= LIMIT {
        rates[count] = ((2 << 16) / (2 * count as u32 + 3)) as u16;
        count += 1;
    }
    rates
};

/// `2^8 n / (n + 3)`: how much a counter that has seen `n` decisions is listened to.
static TRUST: [u8; LIMIT + 1] = {
    let mut trust = [0; LIMIT + 1];
    let mut count = 0;
    while count <= LIMIT {
        trust[count] = (256 * count / (count + 3)) as u8;
        count += 1;
    }
    trust
};

/// The contexts of a sample.
pub struct Contexts {
    /// Of the first kind.
    pub relative: [u32; RELATIVE],
    /// Of the second kind, and the value that decisions are relative to.
    pub exact: [(u32, i32); EXACT],
}

/// A decision of the walk.
#[derive(Clone, Copy)]
pub struct Node {
    /// Place in the walk, below [`NODES`].
    pub place: usize,
    /// The decision is whether the sample reaches this value.
    pub value: i32,
    /// Base-2 logarithm of the step that is taken or halved.
    pub step: i32,
    /// 0 for the first decision, 1 or 2 for a step up or down, 3 when one is halved.
    pub kind: u32,
}

/// Where the counters of a decision are: line and place.
type Places = [(usize, usize); CONTEXTS];

/// One table of counters for each context of a sample.
pub struct Counters {
    lines: Vec<Line>,
}

const RELATIVE_LINES: usize = RELATIVE << RELATIVE_BITS;
const LINES: usize = RELATIVE_LINES + (EXACT << EXACT_BITS);

/// `bits` bits of a hash.
#[inline(always)]
fn hash(value: u32, bits: u32) -> usize {
    let mixed = value.wrapping_mul(0x9e37_79b1);
    ((mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) >> (32 - bits)) as usize
}

impl Counters {
    /// Counters that have seen nothing.
    pub fn new() -> Self {
        Self { lines: vec![Line([1 << 31; 16]); LINES] }
    }

    /// Finds the counters of a decision.
    #[inline(always)]
    pub fn find(&self, contexts: &Contexts, node: Node) -> Places {
        std::array::from_fn(|i| {
            if i < RELATIVE {
                let context = contexts.relative[i].wrapping_mul(2) + (node.place >> 4) as u32;
                ((i << RELATIVE_BITS) + hash(context, RELATIVE_BITS), node.place % 16)
            } else {
                let (context, base) = contexts.exact[i - RELATIVE];
                let value = node.value - base;
                let context = context.wrapping_mul(0x2545_f491);
                let context =
                    context.wrapping_add(((value >> 2) as u32).wrapping_mul(32) + node.step as u32);
                let line = ((i - RELATIVE) << EXACT_BITS) + hash(context, EXACT_BITS);
                (RELATIVE_LINES + line, (value & 3) as usize * 4 + node.kind as usize)
            }
        })
    }

    /// What the counters of a decision say, in logits.
    #[inline(always)]
    pub fn logits(&self, places: &Places) -> [i32; CONTEXTS] {
        places.map(|(line, place)| {
            let counter = self.lines[line].0[place % 16];
            let trust = TRUST[(counter as usize % (1 << COUNT_BITS)).min(LIMIT)];
            (stretch(counter >> 16) * i32::from(trust)) >> 8
        })
    }

    /// Counts a decision; counters that have seen none start from its probability in 1/2^16.
    #[inline(always)]
    pub fn learn(&mut self, places: &Places, decision: bool, probability: u32) {
        let target = if decision { (1 << PROBABILITY_BITS) - 1 } else { 0 };
        for &(line, place) in places {
            let counter = &mut self.lines[line].0[place % 16];
            let count = (*counter as usize % (1 << COUNT_BITS)).min(LIMIT);
            let known = if count == 0 { probability << 6 } else { *counter >> COUNT_BITS };
            let missing = i64::from(target - known as i32);
            let moved = known as i32 + ((missing * i64::from(RATES[count])) >> 16) as i32;
            *counter = (moved as u32) << COUNT_BITS | (count + 1).min(LIMIT) as u32;
        }
    }
}
