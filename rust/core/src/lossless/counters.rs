//! Adaptive probabilities of decisions in contexts.

use super::tune::p;
use super::tables::stretch;

/// Decisions that a context tells apart.
pub const NODES: usize = 32;

/// Contexts of a sample.
pub const CONTEXTS: usize = 8;

/// Base-2 logarithm of the rows of a table.
pub const ROW_BITS: u32 = 13;

/// Samples after which a counter adapts no slower any more.
const LIMIT: u32 = 250;

/// Probability in the upper 22 bits, number of decisions seen in the lower 10.
type Counter = u32;

const COUNT_BITS: u32 = 10;

const EVEN: Counter = 1 << 31;

/// `2^16 / (n + 3/2)`.
static RATES: [u32; LIMIT as usize + 1] = {
    let mut rates = [0; LIMIT as usize + 1];
    let mut count = 0;
    while count < rates.len() {
        rates[count] = (2 << 16) / (2 * count as u32 + 3);
        count += 1;
    }
    rates
};

/// Contexts of decisions by their place in the walk.
pub const LOCAL: usize = 4;
pub const EXACT_BITS: u32 = 18;

/// One table of counters for each context of a sample.
pub struct Counters {
    tables: Vec<Counter>,
}

/// The rows that a sample uses.
pub type Rows = [u32; CONTEXTS];
pub type Places = [usize; CONTEXTS];

const LOCAL_SIZE: usize = NODES << ROW_BITS;

impl Counters {
    /// Counters that have seen nothing.
    pub fn new() -> Self {
        Self { tables: vec![EVEN; LOCAL * LOCAL_SIZE + ((CONTEXTS - LOCAL) << EXACT_BITS)] }
    }

    #[inline(always)]
    pub fn places(contexts: &Rows, bases: &[i32; CONTEXTS], node: usize, threshold: i32, kind: u32) -> Places {
        std::array::from_fn(|i| {
            if i < LOCAL {
                let row = (contexts[i].wrapping_mul(0x9e37_79b1) >> (32 - ROW_BITS)) as usize;
                i * LOCAL_SIZE + row * NODES + node
            } else {
                let value = (threshold - bases[i]) as u32;
                let hash = contexts[i].wrapping_mul(0x9e37_79b1).wrapping_add(value.wrapping_mul(0x85eb_ca6b)).wrapping_add(kind.wrapping_mul(0xc2b2_ae35));
                let hash = (hash ^ hash >> 15).wrapping_mul(0x27d4_eb2f);
                LOCAL * LOCAL_SIZE + ((i - LOCAL) << EXACT_BITS) + (hash >> (32 - EXACT_BITS)) as usize
            }
        })
    }

    /// What the counters of a decision say, in logits.
    #[inline(always)]
    pub fn logits(&self, places: &Places) -> [i32; CONTEXTS] {
        places.map(|place| {
            let c = self.tables[place];
            let n = (c & 1023) as i32;
            let s = stretch(c >> 16);
            if p(20, 3) > 0 { s * n / (n + p(20, 3)) } else { s }
        })
    }

    #[inline(always)]
    pub fn seen(&self, places: &Places) -> usize {
        let level = |i: usize| { let n = self.tables[places[i]] & 1023; (if n == 0 { 0 } else if n < 3 { 1 } else if n < 8 { 2 } else if n < 25 { 3 } else { 4 }) as usize };
        level(4) * 25 + level(5) * 5 + level(6)
    }

    /// Counts a decision.
    #[inline(always)]
    pub fn learn(&mut self, places: &Places, decision: bool, mixed: u32) {
        for &place in places {
            let counter = &mut self.tables[place];
            let count = *counter & ((1 << COUNT_BITS) - 1);
            let mut probability = i64::from(*counter >> COUNT_BITS);
            if count == 0 {
                probability = i64::from(mixed) << (22 - 16);
            }
            let target = if decision { (1 << 22) - 1 } else { 0 };
            let rate = i64::from(RATES[count as usize % RATES.len()]);
            let moved = (probability + (((target - probability) * rate) >> 16)) as u32;
            *counter = moved << COUNT_BITS | (count + 1).min(p(3, 120) as u32);
        }
    }
}
