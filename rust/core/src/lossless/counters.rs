//! Adaptive probabilities of decisions in contexts.
//!
//! Half of the contexts of a sample tell its decisions apart by their place in the walk, relative to
//! the prediction. The others do so by the value that a decision is about: pictures that were
//! converted from other colours have combinations of values that never occur.

use super::instructions::Instructions;
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
pub const LIMIT: usize = 80;

/// Probability in the upper 22 bits, number of decisions seen, up to [`LIMIT`], in the lower 10.
pub type Counter = u32;

pub const COUNT_BITS: u32 = 10;
const PROBABILITY_BITS: u32 = 22;

/// Counters that fill a cache line.
#[derive(Clone)]
#[repr(align(64))]
struct Line([Counter; 16]);

/// Room for a number for each count.
pub const COUNTS: usize = (LIMIT + 1).next_power_of_two();

/// `2^16 / (n + 3/2)`: how far a counter moves after `n` decisions.
static RATES: [u16; COUNTS] = {
    let mut rates = [0; COUNTS];
    let mut count = 0;
    while count <= LIMIT {
        rates[count] = ((2 << 16) / (2 * count as u32 + 3)) as u16;
        count += 1;
    }
    rates
};

/// `2^8 n / (n + 3)`: how much a counter that has seen `n` decisions is listened to.
static TRUST: [u8; COUNTS] = {
    let mut trust = [0; COUNTS];
    let mut count = 0;
    while count <= LIMIT {
        trust[count] = (256 * count / (count + 3)) as u8;
        count += 1;
    }
    trust
};

/// The contexts of a sample.
pub struct Contexts {
    /// What the lines of all contexts are found by, before that of a decision is added.
    keys: [u32; CONTEXTS],
    /// The values that decisions are relative to, for the second kind.
    values: [i32; EXACT],
}

impl Contexts {
    /// Contexts of the first kind, and those of the second kind with the value that decisions are
    /// relative to.
    #[inline(always)]
    pub fn new(relative: [u32; RELATIVE], exact: [(u32, i32); EXACT]) -> Self {
        let mut contexts = Self { keys: [0; CONTEXTS], values: [0; EXACT] };
        for (i, context) in relative.into_iter().enumerate() {
            contexts.keys[i] = context.wrapping_mul(2);
        }
        for (i, (context, value)) in exact.into_iter().enumerate() {
            contexts.keys[RELATIVE + i] = context.wrapping_mul(0x2545_f491);
            contexts.values[i] = value;
        }
        contexts
    }

    /// Lines and places of the counters of a decision.
    #[inline(always)]
    fn at<I: Instructions>(&self, node: Node) -> ([u32; CONTEXTS], [u32; CONTEXTS]) {
        let mut keys = self.keys;
        let mut places = [node.place as u32 % 16; CONTEXTS];
        for key in &mut keys[..RELATIVE] {
            *key = key.wrapping_add(node.place as u32 >> 4);
        }
        for i in 0..EXACT {
            let value = node.value - self.values[i];
            let key = ((value >> 2) as u32).wrapping_mul(32) + node.step as u32;
            keys[RELATIVE + i] = keys[RELATIVE + i].wrapping_add(key);
            places[RELATIVE + i] = (value & 3) as u32 * 4 + node.kind;
        }
        (I::lines(&keys), places)
    }
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

/// The counters of a decision, and where they are: line and place.
pub struct Found {
    counters: [Counter; CONTEXTS],
    lines: [u32; CONTEXTS],
    places: [u32; CONTEXTS],
}

/// One table of counters for each context of a sample.
pub struct Counters {
    lines: Vec<Line>,
}

const RELATIVE_LINES: usize = RELATIVE << RELATIVE_BITS;
const LINES: usize = RELATIVE_LINES + (EXACT << EXACT_BITS);

impl Counters {
    /// Counters that have seen nothing.
    pub fn new() -> Self {
        Self { lines: vec![Line([1 << 31; 16]); LINES] }
    }

    /// Has the counters of the second kind brought into the cache: a decision will need them.
    #[inline(always)]
    pub fn expect<I: Instructions>(&self, contexts: &Contexts, node: Node) {
        for &line in &contexts.at::<I>(node).0[RELATIVE..] {
            I::prefetch(&self.lines[line as usize]);
        }
    }

    /// Finds the counters of a decision.
    #[inline(always)]
    pub fn find<I: Instructions>(&self, contexts: &Contexts, node: Node) -> Found {
        let (lines, places) = contexts.at::<I>(node);
        let mut counters = [0; CONTEXTS];
        for ((counter, line), place) in counters.iter_mut().zip(lines).zip(places) {
            *counter = self.lines[line as usize].0[place as usize % 16];
        }
        Found { counters, lines, places }
    }

    /// Counts a decision; counters that have seen none start from its probability in 1/2^16.
    #[inline(always)]
    pub fn learn<I: Instructions>(&mut self, found: &Found, decision: bool, probability: u32) {
        let target = if decision { (1 << PROBABILITY_BITS) - 1 } else { 0 };
        let mut rates = [0; CONTEXTS];
        for (rate, &counter) in rates.iter_mut().zip(&found.counters) {
            *rate = RATES[counter as usize % COUNTS].into();
        }
        let counted = I::count(&found.counters, &rates, target, (probability << 6) as i32);
        for ((line, place), counter) in found.lines.iter().zip(found.places).zip(counted) {
            self.lines[*line as usize].0[place as usize % 16] = counter;
        }
    }
}

impl Found {
    /// What the counters say, in logits.
    #[inline(always)]
    pub fn logits(&self, logits: &mut [i32; CONTEXTS]) {
        for (logit, &counter) in logits.iter_mut().zip(&self.counters) {
            let trust = TRUST[counter as usize % COUNTS];
            *logit = (stretch(counter >> 16) * i32::from(trust)) >> 8;
        }
    }
}

/// First lines of the tables of all contexts, and 32 less the bits of the hashes that follow.
pub const TABLES: [[u32; CONTEXTS]; 2] = {
    let mut tables = [[0; CONTEXTS]; 2];
    let mut i = 0;
    while i < CONTEXTS {
        let (first, bits) = if i < RELATIVE {
            (i << RELATIVE_BITS, RELATIVE_BITS)
        } else {
            (RELATIVE_LINES + ((i - RELATIVE) << EXACT_BITS), EXACT_BITS)
        };
        tables[0][i] = first as u32;
        tables[1][i] = 32 - bits;
        i += 1;
    }
    tables
};

/// Factors of a hash, and how far it is shifted in between.
pub const HASH: (u32, u32, u32) = (0x9e37_79b1, 15, 0x85eb_ca6b);

/// The lines that keys stand for: the definition of [`Instructions::lines`].
#[inline(always)]
pub fn lines(keys: &[u32; CONTEXTS]) -> [u32; CONTEXTS] {
    let mut lines = *keys;
    for (i, line) in lines.iter_mut().enumerate() {
        let mixed = line.wrapping_mul(HASH.0);
        let hash = (mixed ^ mixed >> HASH.1).wrapping_mul(HASH.2);
        *line = TABLES[0][i] + (hash >> TABLES[1][i]);
    }
    lines
}

/// Counters after a decision: probabilities moved towards `target`, new ones from `start`, at
/// [`RATES`]. The definition of [`Instructions::count`].
#[inline(always)]
pub fn count(
    counters: &[Counter; CONTEXTS],
    rates: &[i32; CONTEXTS],
    target: i32,
    start: i32,
) -> [Counter; CONTEXTS] {
    let mut counted = *counters;
    for (counter, rate) in counted.iter_mut().zip(rates) {
        let count = *counter % COUNTS as u32;
        let known = if count == 0 { start } else { (*counter >> COUNT_BITS) as i32 };
        // What is missing has 23 bits: in two parts, so that 32 bits are enough for products.
        let missing = target - known;
        let moved = ((missing >> 8) * rate + (((missing & 255) * rate) >> 8)) >> 8;
        *counter = ((known + moved) as u32) << COUNT_BITS | (count + 1).min(LIMIT as u32);
    }
    counted
}
