//! The functions of the model as integer tables, computed by the compiler in integers.
//!
//! Units: a *logit* is a log-odds in 1/256; a *z* is a distance in 1/128 of a logistic scale;
//! errors and predictions are in 1/16 of a sample value.

/// Largest logit: about 12, a probability of 6e-6.
pub const MAX_LOGIT: i32 = 3071;

/// Largest distance of the tables.
pub const MAX_Z: i32 = 2047;

/// Entries of an octave of [`octaves`].
const OCTAVE_BITS: u32 = 4;

const ONE: u128 = 1 << 60;

/// `2^60 * e^(-1/128)`.
const STEP: u128 = 1_143_949_398_276_903_549;

/// `2^60 * ln 2`.
const LN2: u128 = 799_144_290_325_165_979;

/// `2^60 * ln(x / 2^60)` for `x >= 2^60`: the integer part of the base-2 logarithm, then one bit of
/// its fraction for each squaring.
const fn ln(x: u128) -> u128 {
    let exponent = x.ilog2() - 60;
    let mut mantissa = x >> exponent;
    let mut log2 = (exponent as u128) << 20;
    let mut bit = 1 << 19;
    while bit > 0 {
        mantissa = (mantissa * mantissa) >> 60;
        if mantissa >= 2 * ONE {
            mantissa >>= 1;
            log2 |= bit;
        }
        bit >>= 1;
    }
    (log2 * LN2) >> 20
}

/// `2^60 * e^(-z / 128)` for all z of the tables.
const DECAY: [u64; MAX_Z as usize + 1] = {
    let mut decay = [0; MAX_Z as usize + 1];
    let (mut power, mut z) = (ONE, 0);
    while z < decay.len() {
        decay[z] = power as u64;
        power = (power * STEP + (ONE >> 1)) >> 60;
        z += 1;
    }
    decay
};

/// A number in units of 2^-60, rounded to 1/256.
const fn logit(x: u128) -> i16 {
    ((x + (1 << 51)) >> 52) as i16
}

/// `ln(1 + e^-|z|)` in logits.
#[allow(long_running_const_eval)]
static SOFTPLUS: [i16; MAX_Z as usize + 1] = {
    let mut table = [0; MAX_Z as usize + 1];
    let mut z = 0;
    while z < table.len() {
        table[z] = logit(ln(ONE + DECAY[z] as u128));
        z += 1;
    }
    table
};

/// `ln(1 + e^z)` in logits.
#[inline(always)]
pub fn softplus(z: i32) -> i32 {
    2 * z.max(0) + i32::from(SOFTPLUS[z.abs().min(MAX_Z) as usize])
}

/// `round(2^16 / (1 + e^(logit / 256)))`, at least 1.
#[allow(long_running_const_eval)]
static SQUASH: [u16; MAX_LOGIT as usize + 1] = {
    let mut table = [0; MAX_LOGIT as usize + 1];
    let mut logit = 0;
    while logit < table.len() {
        // Odd logits lie between two z: the geometric mean, which is exact.
        let left = DECAY[logit / 2] as u128;
        let decay = if logit % 2 == 0 { left } else { (left * DECAY_HALF) >> 60 };
        let part = ((decay << 17) / (ONE + decay) + 1) >> 1;
        table[logit] = if part == 0 { 1 } else { part as u16 };
        logit += 1;
    }
    table
};

/// `2^60 * e^(-1/256)`.
const DECAY_HALF: u128 = 1_148_426_689_630_428_644;

/// The probability in 1/2^16 of a logit, never 0 nor 2^16.
#[inline(always)]
pub fn squash(logit: i32) -> u32 {
    let tail = i32::from(SQUASH[logit.abs().min(MAX_LOGIT) as usize]);
    // Without a branch, which nobody could predict.
    let negative = logit >> 31;
    (((1 << 16) & !negative) + ((tail ^ !negative) - !negative)) as u32
}

/// The logit of the probability `(i + 1/2) / 2^12`.
#[allow(long_running_const_eval)]
static STRETCH: [i16; 1 << 12] = {
    let mut table = [0; 1 << 12];
    let mut cell = 0;
    while cell < 1 << 12 {
        let (part, rest) = (2 * cell as u128 + 1, (2 << 12) - (2 * cell as u128 + 1));
        table[cell] = if part >= rest {
            logit(ln((part << 60) / rest))
        } else {
            -logit(ln((rest << 60) / part))
        };
        cell += 1;
    }
    table
};

/// The logit of a probability in 1/2^16.
#[inline(always)]
pub fn stretch(probability: u32) -> i32 {
    STRETCH[(probability >> 4) as usize % STRETCH.len()].into()
}

/// `16 * log2(x)`, the fraction linear within an octave; 0 for `x = 0`.
#[inline(always)]
pub fn octaves(x: u32) -> u32 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    // The bits from the highest one on.
    let mantissa = x << zeros >> (31 - OCTAVE_BITS);
    ((31 - zeros) << OCTAVE_BITS) + mantissa - (1 << OCTAVE_BITS)
}

/// The middle of the numbers whose [`octaves`] is `index`, in 1/32.
const fn middle(index: usize) -> u128 {
    let mantissa = (1 << OCTAVE_BITS) + index as u128 % (1 << OCTAVE_BITS);
    (2 * mantissa + 1) << (index >> OCTAVE_BITS)
}

/// Numbers of octaves times 16 that tables on [`octaves`] have.
pub const OCTAVES: usize = 28 << OCTAVE_BITS;

/// What a mean error says about a logistic distribution.
#[derive(Clone, Copy)]
pub struct Scale {
    /// z of one unit of prediction is `reciprocal >> shift`.
    pub reciprocal: i32,
    /// See `reciprocal`.
    pub shift: u32,
}

/// 2^7 z of a scale, over `2 ln 2` scales of a mean error, of which 1 is 16 of its units.
const Z_OF_ERROR: u128 = 2839;

/// The scale for each [`octaves`] of a mean error in 1/256 of a sample value.
pub static SCALES: [Scale; OCTAVES] = {
    let mut table = [Scale { reciprocal: 0, shift: 0 }; OCTAVES];
    let mut index = 0;
    while index < OCTAVES {
        // The smallest error is 16 units: below, a sample value away is certain anyway.
        let middle = if index < 64 { middle(64) } else { middle(index) };
        let exact = (Z_OF_ERROR << (5 + 40)) / middle;
        let shift = exact.ilog2() - 10;
        table[index] = Scale { reciprocal: (exact >> shift) as i32, shift: 40 - shift };
        index += 1;
    }
    table
};

/// Entry of [`GROWTH`] for a step of one sample value at `octaves = 0` of the error.
const GROWTH_ZERO: i32 = 16 << OCTAVE_BITS;

/// `ln(e^d - 1)` in logits, where d is the distance of a step from one bound to the next.
#[allow(long_running_const_eval)]
static GROWTH: [i16; OCTAVES + GROWTH_ZERO as usize] = {
    let mut table = [0; OCTAVES + GROWTH_ZERO as usize];
    let mut index = 0;
    while index < table.len() {
        // d = 2^60 * 16 * Z_OF_ERROR / 128 / error, where error = middle / 32 / 2^16
        let middle = middle(index);
        let distance = ((16 * Z_OF_ERROR) << (60 + 5 + 16 - 7)) / middle;
        table[index] = growth(distance);
        index += 1;
    }
    table
};

/// `ln(e^d - 1)` in logits for `d` in 2^-60.
const fn growth(distance: u128) -> i16 {
    if distance >= 12 * ONE {
        return MAX_LOGIT as i16;
    }
    // e^d - 1 = d + d^2 / 2 + d^3 / 6 + ...
    let (mut sum, mut term, mut order) = (0, ONE, 1);
    while order < 48 {
        term = (((term >> 20) * (distance >> 20)) >> 20) / order;
        sum += term;
        order += 1;
    }
    if sum == 0 {
        return -MAX_LOGIT as i16;
    }
    if sum >= ONE {
        return logit(ln(sum));
    }
    let negative = logit(ln((ONE << 60) / sum));
    if negative > MAX_LOGIT as i16 { -MAX_LOGIT as i16 } else { -negative }
}

/// `ln(e^d - 1)` in logits for a step of `2^step` sample values where the mean error has `error`
/// [`octaves`].
#[inline(always)]
pub fn step_growth(error: i32, step: i32) -> i32 {
    let index = (error - (step << OCTAVE_BITS) + GROWTH_ZERO).clamp(0, GROWTH.len() as i32 - 1);
    GROWTH[index as usize].into()
}

/// `2^28 / x^2` in steps of [`octaves`], for the weights of predictions.
pub static INVERSE_SQUARES: [u32; OCTAVES] = {
    let mut table = [0; OCTAVES];
    let mut index = 0;
    while index < OCTAVES {
        let middle = middle(index);
        let inverse = (1 << (28 + 10)) / (middle * middle);
        table[index] = if inverse == 0 { 1 } else { inverse as u32 };
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_exact() {
        for z in -2500..=2500 {
            let exact = 256.0 * (f64::from(z) / 128.0).exp().ln_1p();
            assert!((f64::from(softplus(z)) - exact).abs() < 0.51, "{z}");
        }
    }

    #[test]
    fn squash_and_stretch_are_exact() {
        for logit in -4000..=4000 {
            let within = f64::from(logit.clamp(-MAX_LOGIT, MAX_LOGIT));
            let exact = 65536.0 / (1.0 + (-within / 256.0).exp());
            assert!((f64::from(squash(logit)) - exact).abs() < 0.61, "{logit}");
        }
        for cell in 0..4096_u32 {
            let p = (f64::from(cell) + 0.5) / 4096.0;
            assert!(
                (f64::from(stretch(16 * cell + 7)) - 256.0 * (p / (1.0 - p)).ln()).abs() < 0.51
            );
        }
    }

    #[test]
    fn scales_and_growth_are_exact() {
        for error in (16..1 << 24).step_by(997) {
            let index = octaves(error);
            let scale = SCALES[index as usize];
            let z = f64::from(scale.reciprocal) / 2f64.powi(scale.shift as i32);
            let exact = 128.0 / 16.0 * 256.0 * 2.0 * 2f64.ln() / f64::from(error);
            assert!((z / exact - 1.0).abs() < 0.04, "{error}: {z} {exact}");
            for step in 0..12 {
                let d = 2f64.powi(step) * 16.0 * exact / 128.0;
                let exact = (256.0 * d.exp_m1().ln()).clamp(-3071.0, 3071.0);
                let growth = f64::from(step_growth(index as i32, step));
                assert!((growth - exact).abs() < 12.0 + 0.04 * 256.0 * d, "{growth} {exact}");
            }
        }
    }
}
