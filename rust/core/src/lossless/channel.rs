//! The model of one channel: one function codes a sample, for encoder and decoder alike.

use super::binary::Coder;
use super::contexts::{BIASES, Earlier, SCALE_CONTEXTS, Situation, counted, exact};
use super::counters::Counters;
use super::experts::{EXPERTS, Each, Experts, FRACTION_BITS};
use super::guess::Guesses;
use super::history::History;
use super::instructions::Instructions;
use super::learned::LearnedExpert;
use super::mixer::Mixer;
use super::planes::Plane;
use super::predictors::{IMPORTANCE_BITS, Predictors};
use super::tables::{OCTAVES, octaves};
use super::walk::{MIXER_SIZES, Walk};

/// Bits of the fraction of a bias beyond those of a prediction.
const BIAS_BITS: u32 = 8;

/// Bits of the fraction of a mean error, and those that [`Experts`] are told.
const ERROR_BITS: u32 = 14;
const EXPERT_ERROR_BITS: u32 = 8;

/// Samples after which a mean error adapts no slower any more.
const ERROR_LIMIT: i64 = 120;

/// What a mixer's weights for experts and for counters start from, in 2^-16.
const EXPERT_WEIGHT: i32 = 5000;
const COUNTER_WEIGHT: i32 = 2000;

/// Experts whose scales come from the second table.
const SECOND_SCALE: [bool; EXPERTS] = [false, false, false, false, true, false, true, true];

/// The expert whose place a learned one takes.
const LEARNED: usize = 3;

/// A channel that is coded: its samples and, in 1/16, what its predictions missed.
pub struct Channel {
    /// The samples.
    pub samples: Plane,
    /// What was left of them.
    pub residuals: Plane,
}

/// Mean errors of the experts in one context.
#[derive(Clone)]
struct Errors {
    means: Each,
    count: i64,
}

/// Adaptive state of one channel, and what was learned before.
pub struct Model<'a> {
    max: i32,
    shift: u32,
    predictors: Predictors,
    history: History,
    errors: Vec<Errors>,
    biases: [Vec<i32>; 2],
    counters: Counters,
    mixer: Mixer,
    guesses: Option<Guesses>,
    /// What a preview shows, if it counts.
    pub shown: Option<Plane>,
    /// The learned expert, if there is one.
    pub learned: Option<LearnedExpert<'a>>,
}

impl<'a> Model<'a> {
    /// A model of samples of 0 to `max` in rows of `width`, with so many channels before it, which
    /// guesses or does not, with or without a learned expert.
    pub fn new(
        (width, max): (usize, i32),
        earlier: usize,
        guesses: bool,
        learned: Option<LearnedExpert<'a>>,
    ) -> Self {
        let shift = (max.ilog2() + 1).saturating_sub(8);
        let start = [[EXPERT_WEIGHT; EXPERTS], [COUNTER_WEIGHT; EXPERTS]];
        let errors = Errors { means: [1 << (ERROR_BITS + 2 + shift); EXPERTS], count: 0 };
        Self {
            max,
            shift,
            predictors: Predictors::new(width, max, earlier),
            history: History::new(width),
            errors: vec![errors; SCALE_CONTEXTS],
            biases: [vec![0; BIASES], vec![0; BIASES]],
            counters: Counters::new(),
            mixer: Mixer::new(MIXER_SIZES, start),
            guesses: guesses.then(Guesses::new),
            shown: None,
            learned,
        }
    }

    /// Codes all samples of `own`; a decoder replaces them.
    #[inline(always)]
    pub fn code<I: Instructions>(
        &mut self,
        own: &mut Channel,
        earlier: &Earlier,
        coder: &mut impl Coder,
    ) {
        for y in 0..own.samples.height() {
            own.samples.open_row(y);
            own.residuals.open_row(y);
            for x in 0..own.samples.width() {
                self.guess_or_code::<I>(own, earlier, coder, (x, y));
            }
            own.samples.close_row(y);
            own.residuals.close_row(y);
            self.history.next_row();
        }
    }

    /// Codes a sample by a guess, where there is a right one, or else by the whole model.
    #[inline(always)]
    fn guess_or_code<I: Instructions>(
        &mut self,
        own: &mut Channel,
        earlier: &Earlier,
        coder: &mut impl Coder,
        (x, y): (usize, usize),
    ) {
        let index = own.samples.index(x, y);
        let guessed = self.guesses.as_mut().and_then(|guesses| {
            guesses.look(&own.samples, &earlier.samples, index);
            guesses.code(coder, own.samples.all()[index])
        });
        match guessed {
            Some(sample) => {
                own.samples.set(index, sample);
                own.residuals.set(index, 0);
                self.history.record_known(x);
            }
            None => self.code_sample::<I>(own, earlier, coder, (x, y)),
        }
        if let Some(guesses) = &mut self.guesses {
            guesses.learn(own.samples.all()[index]);
        }
    }

    #[inline(always)]
    fn code_sample<I: Instructions>(
        &mut self,
        own: &mut Channel,
        earlier: &Earlier,
        coder: &mut impl Coder,
        (x, y): (usize, usize),
    ) {
        let index = own.samples.index(x, y);
        let mut around = self.predictors.look(&own.samples, &earlier.samples, index);
        if let Some(shown) = &self.shown {
            around.see(shown, index);
        }
        let mut predictions = self.predictors.predict::<I>(&mut around, x, y);
        let nearby = self.history.near(x);
        let blend = nearby.blend(&predictions);
        let seen = (nearby, blend);
        let situation = Situation::new(&around, &own.residuals, earlier, index, seen, self.shift);

        let biases = situation.biases();
        let bias = [0, 1].map(|table| self.biases[table][biases[table]] >> BIAS_BITS);
        let within = |prediction: i32| prediction.clamp(0, self.max << FRACTION_BITS);
        let corrected = within(blend + (bias[0] + bias[1]) / 2);
        let [slow, local, fast, signs, median, ..] = predictions;
        let both = [within(blend + bias[0]), within(blend + bias[1])];
        let mut experts = [slow, local, fast, signs, median, both[0], both[1], corrected];

        let scales = situation.scales();
        let [first, second] = scales.map(|scale| &self.errors[scale].means);
        let mut errors = [0; EXPERTS];
        for (i, error) in errors.iter_mut().enumerate() {
            let mean = if SECOND_SCALE[i] { second[i] } else { first[i] };
            *error = octaves((mean >> (ERROR_BITS - EXPERT_ERROR_BITS)) as u32) as i32;
            *error = (*error).min(OCTAVES as i32 - 1);
        }
        let mut leader = EXPERTS - 1;
        if let Some(learned) = &mut self.learned {
            let seen = ([slow, local, fast, signs, median], corrected);
            let (prediction, error) = learned.predict(own, earlier, index, seen);
            (experts[LEARNED], errors[LEARNED]) = (within(prediction), error);
            leader = LEARNED;
        }
        let step = (errors[leader] / 16 - 9).max(0);
        let center = ((experts[leader] >> FRACTION_BITS) + 1).min(self.max);
        let boundary = (center << FRACTION_BITS) - (1 << (FRACTION_BITS - 1));
        let relative = situation.relative(&around, &predictions, blend);
        let mut walk = Walk {
            mixer: &mut self.mixer,
            counters: &mut self.counters,
            contexts: counted(relative, exact(&around, &earlier.samples, index), step),
            energy: situation.energy,
            activity: situation.activity,
            step,
            max: self.max,
        };
        walk.expect::<I>(center);
        let known = own.samples.all()[index];
        let sample =
            walk.code::<I>(coder, Experts::new(&experts, &errors, boundary), center, known);

        own.samples.set(index, sample);
        let fine = sample << FRACTION_BITS;
        own.residuals.set(index, fine - corrected);
        predictions[7] = corrected;
        self.history.record(x, &predictions, fine);
        for scale in scales {
            self.errors[scale].learn(&experts, fine);
        }
        for (table, place) in self.biases.iter_mut().zip(biases) {
            table[place] += (((fine - blend) << BIAS_BITS) - table[place]) >> 6;
        }
        let importance =
            (1500 / ((nearby.energy() as i32 >> self.shift) + 16)).clamp(1, 1 << IMPORTANCE_BITS);
        self.predictors.learn::<I>(&around, x, y, sample, importance);
    }
}

impl Errors {
    #[inline(always)]
    fn learn(&mut self, experts: &Each, sample: i32) {
        let rate = 65536 / (self.count + 2);
        self.count = (self.count + 1).min(ERROR_LIMIT);
        for (mean, expert) in self.means.iter_mut().zip(experts) {
            let error = (sample - expert).abs() << (ERROR_BITS - FRACTION_BITS);
            *mean += ((i64::from(error - *mean) * rate) >> 16) as i32;
        }
    }
}
