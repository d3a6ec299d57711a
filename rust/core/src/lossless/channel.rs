//! The model of one channel: one function codes a sample, for encoder and decoder alike.

use super::binary::Coder;
use super::counters::{CONTEXTS, Counters, Rows};
use super::history::History;
use super::instructions::Instructions;
use super::mixer::{Logits, Mixer, SOURCES, Selection};
use super::planes::Plane;
use super::predictors::Predictors;
use super::tables::{octaves, squash};
use super::tune::p;
use super::walk::{EXPERTS, Each, Experts, FRACTION_BITS};

const ENERGIES: usize = 48;
const ACTIVITIES: usize = 16;
const NODES: usize = 16;
const STEPS: usize = 8;

/// A coded channel: its samples and, with the predictions' fraction, what was left of them.
pub struct Channel {
    pub samples: Plane,
    pub residuals: Plane,
}

/// Adaptive state of one channel.
pub struct Model {
    max: i32,
    shift: u32,
    predictors: Predictors,
    history: History,
    scales: Vec<([i32; EXPERTS], u32)>,
    biases: [Vec<i32>; 2],
    counters: Counters,
    mixer: Mixer,
    apm: Vec<[u16; 33]>,
}

/// One decision's probability and what to tell about its outcome.
struct Decision<'a> {
    mixer: &'a mut Mixer,
    apm: &'a mut Vec<[u16; 33]>,
    counters: &'a mut Counters,
    rows: Rows,
    bases: [i32; CONTEXTS],
    energy: usize,
    activity: usize,
    step: usize,
    logits: Logits,
}

impl Model {
    pub fn new(width: usize, max: i32, earlier: usize) -> Self {
        let bits = max.ilog2() + 1;
        let start = std::array::from_fn(|source| if source < EXPERTS { p(18,5000) } else { p(19,2000) });
        Self {
            max,
            shift: bits.saturating_sub(8),
            predictors: Predictors::new(width, max, earlier),
            history: History::new(width),
            scales: vec![([1 << (14 + bits.max(8) - 6); EXPERTS], 0); 2 * ENERGIES * ACTIVITIES],
            biases: [vec![0; 4096], vec![0; 4096]],
            counters: Counters::new(),
            apm: vec![std::array::from_fn(|i| squash((i as i32 - 16) * 192).min(65535) as u16); 2 * STEPS * 2 * NODES],
            mixer: Mixer::new([STEPS * 2 * NODES, ENERGIES * NODES, ACTIVITIES * NODES, 125 * NODES], start),
        }
    }

    /// Codes all samples of `own`; a decoder replaces them.
    #[inline(always)]
    pub fn code<I: Instructions>(
        &mut self,
        own: &mut Channel,
        earlier: &[Plane],
        residuals: &[Plane],
        coder: &mut impl Coder,
    ) {
        for y in 0..own.samples.height() {
            own.samples.open_row(y);
            own.residuals.open_row(y);
            for x in 0..own.samples.width() {
                self.code_sample::<I>(own, earlier, residuals, coder, x, y);
            }
            own.samples.close_row(y);
            own.residuals.close_row(y);
            self.history.next_row();
        }
    }

    #[inline(always)]
    fn code_sample<I: Instructions>(
        &mut self,
        own: &mut Channel,
        earlier: &[Plane],
        residuals: &[Plane],
        coder: &mut impl Coder,
        x: usize,
        y: usize,
    ) {
        let index = own.samples.index(x, y);
        let mut around = self.predictors.look(&own.samples, earlier, index);
        let mut predictions = self.predictors.predict(&mut around, x, y);
        let nearby = self.history.near(x);
        let blend = nearby.blend(&predictions);
        predictions[7] = blend;

        // residual context
        let all = own.residuals.all();
        let stride = own.residuals.stride();
        let (rw, rn) = (all[index - 1], all[index - stride]);
        let mut r1 = 0;
        let mut r2 = 0;
        let energy = ((octaves(nearby.energy()) >> 3) as usize).min(ENERGIES - 1);
        let activity = if let Some(plane) = residuals.last() {
            let r = plane.all();
            r1 = r[index];
            if residuals.len() > 1 {
                r2 = residuals[residuals.len() - 2].all()[index];
            }
            let sum = 2 * r[index].abs()
                + r[index - 1].abs()
                + r[index + 1].abs()
                + r[index - stride].abs()
                + r[index + stride].abs();
            octaves(sum as u32) >> 4
        } else {
            let [w, n, nw, ne, ww, nn] = around.near;
            let sum =
                (w - nw).abs() + (n - nw).abs() + (n - ne).abs() + (w - ww).abs() + (n - nn).abs();
            octaves(8 * sum as u32) >> 4
        };
        let activity = (activity as usize).min(ACTIVITIES - 1);

        let value = blend >> FRACTION_BITS;
        let [w, n, nw, ne, ww, nn] = around.near;
        let mut pattern = 0;
        for neighbour in [w, n, nw, ne, ww, nn, 2 * w - ww, 2 * n - nn] {
            pattern = 2 * pattern + usize::from(neighbour > value);
        }
        let q = |error: i32| {
            let magnitude = error.unsigned_abs() >> self.shift;
            let level = if magnitude < 4 { 0 } else { (1 + (octaves(magnitude / 4) >> 3)).min(15) };
            if error < 0 { -(level as i32) } else { level as i32 }
        };
        let bias_places = [
            pattern * 16 + (energy / 3).min(15),
            (((q(r1) + 16) * 32 + (q(rw) + 16)) as usize) & 4095,
        ];
        let bias = [self.biases[0][bias_places[0]] >> 8, self.biases[1][bias_places[1]] >> 8];
        let top = self.max << FRACTION_BITS;
        let first = (blend + bias[0]).clamp(0, top);
        let second = (blend + bias[1]).clamp(0, top);
        let corrected = (blend + (bias[0] + bias[1]) / 2).clamp(0, top);

        let experts = [
            predictions[0],
            predictions[1],
            predictions[2],
            predictions[3],
            predictions[4],
            first,
            second,
            corrected,
        ];
        let scale = energy * ACTIVITIES + activity;
        let range = { let m = around.near.iter().max().unwrap() - around.near.iter().min().unwrap(); ((octaves((m as u32) * 4) >> 3) as usize).min(47) };
        let r2a = if residuals.is_empty() { (octaves(rw.unsigned_abs()) >> 4) as usize } else { (octaves((r2.abs() * 2 + r1.abs() + rw.abs() + rn.abs()) as u32) >> 4) as usize }.min(15);
        let scale2 = ENERGIES * ACTIVITIES + range * ACTIVITIES + r2a;
        let mut errors = self.scales[scale].0;
        let others = &self.scales[scale2].0;
        for i in 0..EXPERTS { if p(23, 208) >> i & 1 > 0 { errors[i] = others[i]; } }
        let errors = errors.map(|mean| mean >> 6);
        let step = (octaves(errors[7] as u32) as i32 * 16 / 16 / 16 - p(17,10)).max(0);
        let center = ((corrected + 16) >> 4).clamp(1, self.max);
        let distributions = Experts::new(&experts, &errors, (center << 4) - 8);

        let stepc = (step as usize).min(STEPS - 1) as u32;
        let s = |v: i32| (v >> self.shift) as u32;
        let f = |v: i32| (q(v) + 16) as u32;
        let e1 = earlier.last().map_or(0, |e| e.all()[index]);
        let e2 = if earlier.len() > 1 { earlier[earlier.len() - 2].all()[index] } else { 0 };
        let local = [
            f(rw) << 5 | f(rn),
            ((r1 >> (self.shift + 3)).clamp(-31, 31) + 32) as u32 * 16
                + ((r2 >> (self.shift + 4)).clamp(-7, 7) + 8) as u32,
            (pattern as u32) << 4 | range as u32 / 4,
            f(predictions[4] - blend) << 10
                | f(predictions[2] - predictions[0]) << 5
                | f((w << 4) - blend),
        ].map(|context: u32| context.wrapping_mul(8) + stepc);
        let mut rows = [0; CONTEXTS];
        rows[..4].copy_from_slice(&local);
        let mut bases = [0; CONTEXTS];
        match earlier.len() {
            0 => {
                rows[4..].copy_from_slice(&[w as u32 * 65537 + n as u32, 0, (w - n) as u32, w as u32 * 65537 + 1]);
                bases[6] = w;
            }
            1 => {
                rows[4..].copy_from_slice(&[e1 as u32, (e1 - earlier[0].all()[index - 1]) as u32, 0, w as u32 * 65537 + n as u32]);
                bases[5] = w;
                bases[6] = e1;
            }
            _ => {
                rows[4..].copy_from_slice(&[e1 as u32 * 65537 + e2 as u32, (e1 - e2) as u32, if p(24,0)==0 {e1 as u32} else {0}, if p(25,0)==0 {e2 as u32} else {w as u32 * 65537 + n as u32}]);
                bases[5] = e2;
                bases[6] = if p(26,0)==0 {0} else {e1};
            }
        }
        let mut decision = Decision {
            mixer: &mut self.mixer,
            apm: &mut self.apm,
            counters: &mut self.counters,
            rows,
            bases,
            energy,
            activity,
            step: stepc as usize,
            logits: [0; SOURCES],
        };
        let known = own.samples.all()[index];
        let sample = walk(&mut decision, coder, distributions, center, self.max, step, known);

        own.samples.set(index, sample);
        let fine = sample << FRACTION_BITS;
        own.residuals.set(index, fine - corrected);
        predictions[7] = corrected;
        self.history.record(x, &predictions, fine);
        for scale in [scale, scale2] {
        let (means, count) = &mut self.scales[scale];
        let rate = 65536 / (*count as i64 + 2);
        *count = (*count + 1).min(p(13, 120) as u32);
        for (mean, expert) in means.iter_mut().zip(experts) {
            let error = (fine - expert).abs() << 10;
            *mean += ((i64::from(error - *mean) * rate) >> 16) as i32;
        }}
        for (table, place) in self.biases.iter_mut().zip(bias_places) {
            table[place] += (((fine - blend) << 8) - table[place]) >> p(14, 6);
        }
        let importance = (p(15,1500) / ((nearby.energy() as i32 >> self.shift) + p(16, 16))).clamp(1, 32);
        self.predictors.learn::<I>(&around, x, y, sample, importance);
    }
}

impl Decision<'_> {
    #[inline(always)]
    fn code(
        &mut self,
        coder: &mut impl Coder,
        experts: Each,
        side: usize,
        node: usize,
        threshold: i32,
        kind: u32,
        truth: bool,
    ) -> bool {
        self.logits[..EXPERTS].copy_from_slice(&experts);
        let places = Counters::places(&self.rows, &self.bases, side * NODES + node, threshold, kind);
        let counters = self.counters.logits(&places);
        self.logits[EXPERTS..].copy_from_slice(&counters);
        let selection: Selection = [
            (self.step * 2 + side) * NODES + node,
            self.energy * NODES + node,
            self.activity * NODES + node,
            if p(30,0) == 0 { 0 } else { self.counters.seen(&places) * NODES + node },
        ];
        let logit = self.mixer.mix(&self.logits, &selection);
        let pr = squash(logit);
        let position = (logit + 3072) as usize;
        let (cell, part) = (position / 192, (position % 192) as u32);
        let row = &mut self.apm[selection[0]];
        let refined = (u32::from(row[cell]) * (192 - part) + u32::from(row[cell + 1]) * part) / 192;
        
        let final_p = if crate::lossless::tune::p(21, 0) == 0 { pr } else { ((pr * (4 - crate::lossless::tune::p(21, 0) as u32) + refined * crate::lossless::tune::p(21, 0) as u32) / 4).clamp(1, 65535) };
        let decision = coder.code(final_p, truth);
        let near = if part >= 96 { cell + 1 } else { cell };
        let target = if decision { 65535 } else { 0 };
        row[near] = (i32::from(row[near]) + ((target - i32::from(row[near])) >> crate::lossless::tune::p(22, 6))) as u16;
        
        self.mixer.learn(&self.logits, &selection, logit, decision);
        self.counters.learn(&places, decision, pr);
        decision
    }
}

#[inline(always)]
fn walk(
    decision: &mut Decision,
    coder: &mut impl Coder,
    mut experts: Experts,
    center: i32,
    max: i32,
    step: i32,
    known: i32,
) -> i32 {
    let up = decision.code(coder, experts.above(), 0, 0, center, 0, known >= center);
    let side = usize::from(up);
    let (distance, room) =
        if up { (known - center, max + 1 - center) } else { (center - 1 - known, center) };
    if !up {
        experts.mirror();
    }
    let signed = |steps: i32| if up { center + steps } else { center - steps };
    let mut start = 0;
    let mut size = step;
    let mut low = experts.bound(0);
    let mut grown = 0;
    let (mut length, mut high);
    loop {
        length = 1 << size;
        if start + length >= room {
            length = room - start;
            high = experts.bound(start + length);
            break;
        }
        let logits = experts.beyond(&low, size);
        high = experts.bound(start + length);
        if !decision.code(coder, logits, side, 1 + grown.min(5), signed(start + length), 1 + side as u32 + 4 * size as u32, distance >= start + length) {
            break;
        }
        start += length;
        low = high;
        size += i32::from(grown > 0);
        grown += 1;
    }
    let mut level = 0;
    while length > 1 {
        let half = (length as u32).next_power_of_two() as i32 / 2;
        let middle = experts.bound(start + half);
        let logits = experts.upper_half(&low, &middle, &high);
        if decision.code(
            coder,
            logits,
            side,
            7 + 3 * grown.min(2) + level.min(2),
            signed(start + half),
            3 + side as u32 + 4 * half as u32,
            distance >= start + half,
        ) {
            start += half;
            length -= half;
            low = middle;
        } else {
            length = half;
            high = middle;
        }
        level += 1;
    }
    if up { center + start } else { center - 1 - start }
}
