//! Values outside a model's window: sign and Exp-Golomb code of the excess, in fair bits.

use crate::distribution::FairBit;
use crate::entropy::SymbolCoder;
use crate::error::{Error, Result};

/// Most bits of `excess + 1`. An int16 code is at most 32768 + 16384 away from a model's centre.
const MAX_BITS: u32 = 16;

/// Codes an `offset` from the centre with `|offset| > window`; returns the offset coded.
///
/// Sign (1 = negative), then the excess `e = |offset| - window - 1` as Exp-Golomb code of order 0:
/// `k` ones and a zero, then the `k` bits of `e + 1` below its leading one, highest first.
pub fn code_outlier(offset: i32, window: i32, coder: &mut impl SymbolCoder) -> Result<i32> {
    let negative = coder.code((offset < 0) as i32, &FairBit)? == 1;
    let value = (offset.abs() - window).max(1); // excess + 1; a decoder's `offset` is a dummy
    let length = value.ilog2();
    let mut bits = 0;
    while coder.code((bits < length) as i32, &FairBit)? == 1 {
        bits += 1;
        if bits >= MAX_BITS {
            return Err(Error::Corrupted { what: "an escaped code is out of range" });
        }
    }
    let mut coded = 1;
    for bit in (0..bits).rev() {
        coded = coded << 1 | coder.code((value >> bit) & 1, &FairBit)?;
    }
    let magnitude = window + coded;
    Ok(if negative { -magnitude } else { magnitude })
}
