//! Bytes read one after the other, and numbers among them.

use crate::error::{Error, Result};

/// A cursor that cannot leave its bytes.
pub(crate) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
}

impl<'a> Reader<'a> {
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let array = self.rest().first_chunk().ok_or(Error::Truncated { what: "header" })?;
        self.position += N;
        Ok(*array)
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads what [`write_leb128`] writes, and no other spelling of the same number.
    pub fn leb128(&mut self) -> Result<u32> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let canonical = byte != 0 || shift == 0;
                return u32::try_from(number)
                    .ok()
                    .filter(|_| canonical)
                    .ok_or(Error::Corrupted { what: "a number is not in its shortest form" });
            }
        }
        Err(Error::Corrupted { what: "a number has more than 32 bits" })
    }
}

/// Little-endian groups of 7 bits, the top bit set on all but the last; no superfluous groups.
pub(crate) fn write_leb128(mut number: u32, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
