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

/// One table of counters for each context of a sample.
pub struct Counters {
    tables: Vec<[Counter; NODES]>,
}

/// The rows that a sample uses.
pub type Rows = [usize; CONTEXTS];

impl Counters {
    /// Counters that have seen nothing.
    pub fn new() -> Self {
        Self { tables: vec![[EVEN; NODES]; CONTEXTS << ROW_BITS] }
    }

    /// The row of a table for a context.
    #[inline(always)]
    pub fn row(table: usize, context: u32) -> usize {
        table << ROW_BITS | (context.wrapping_mul(0x9e37_79b1) >> (32 - ROW_BITS)) as usize
    }

    /// What the counters of a decision say, in logits.
    #[inline(always)]
    pub fn logits(&self, rows: &Rows, node: usize) -> [i32; CONTEXTS] {
        std::array::from_fn(|i| { let c = self.tables[rows[i]][node]; let n = (c & 1023) as i32; let s = stretch(c >> 16); if p(20, 0) > 0 { s * n / (n + p(20,0)) } else { s } })
    }

    /// Counts a decision.
    #[inline(always)]
    pub fn learn(&mut self, rows: &Rows, node: usize, decision: bool, mixed: u32) {
        for &row in rows {
            let counter = &mut self.tables[row][node];
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
