//! What a prior is, and the floor under all of them: one fixed table per variable.

use crate::categorical::Table;
use crate::codes::CodeGrid;
use crate::entropy::{Decoder, Encoder, SymbolCoder};
use crate::error::{Error, Result};
use crate::escape::code_outlier;
use crate::features::FeatureGrid;

/// A probability model over the codes of one tile.
pub trait Prior {
    /// Number of variables at each position.
    fn variables(&self) -> usize;

    /// Walks over all codes in the prior's order. With a decoder, `codes` is filled in; with any
    /// other coder it is read and left as it was.
    ///
    /// `coarse` holds the features of the codes of the coarse level, for a prior that sees them;
    /// `quality` is the quality position of the file, in 1/16 of a level; an `adaptive` walk may
    /// learn from the codes on its way, as [`adapt`](crate::adapt) does.
    fn code(
        &self,
        codes: &mut CodeGrid,
        coarse: Option<&FeatureGrid>,
        quality: u8,
        adaptive: bool,
        coder: &mut impl SymbolCoder,
    ) -> Result<()>;
}

/// One table per variable over the codes `-window..=window`, and an escape for all others.
#[derive(Debug, Clone)]
pub struct StaticPrior {
    window: i32,
    tables: Vec<Table>,
}

/// Largest window of a [`StaticPrior`].
const MAX_WINDOW: usize = 8191;

impl StaticPrior {
    /// Fits the tables to `counts` of shape `(variables, 2 * window + 1)`: how often each of the
    /// codes `-window..=window` occurred. Every count, and that of the escape, is raised by one.
    pub fn from_counts(variables: usize, counts: &[u64]) -> Result<Self> {
        let columns = counts.len().checked_div(variables).unwrap_or(0);
        if columns.is_multiple_of(2)
            || columns / 2 > MAX_WINDOW
            || columns * variables != counts.len()
        {
            return Err(Error::InvalidInput(format!(
                "counts have an odd number of columns up to {}",
                2 * MAX_WINDOW + 1
            )));
        }
        let tables = counts
            .chunks_exact(columns)
            .map(|counts| Table::from_counts(&[counts, &[0]].concat()))
            .collect::<Result<_>>()?;
        Ok(Self { window: (columns / 2) as i32, tables })
    }

    /// The payload of a grid of codes.
    pub fn encode(&self, codes: &CodeGrid) -> Result<Vec<u8>> {
        self.check_variables(codes)?;
        let mut coder = Encoder::default();
        self.code(&mut codes.clone(), None, 0, false, &mut coder)?;
        Ok(coder.finish())
    }

    /// The codes of a payload, into `codes` (whose contents do not matter).
    pub fn decode(&self, payload: &[u8], mut codes: CodeGrid) -> Result<CodeGrid> {
        self.check_variables(&codes)?;
        let mut coder = Decoder::new(payload);
        self.code(&mut codes, None, 0, false, &mut coder)?;
        coder.finish()?;
        Ok(codes)
    }

    fn check_variables(&self, codes: &CodeGrid) -> Result<()> {
        match (codes.shape()[0], self.variables()) {
            (given, needed) if given != needed => Err(Error::InvalidInput(format!(
                "the codes have {given} variables a position, the prior {needed}"
            ))),
            _ => Ok(()),
        }
    }

    /// Codes one value by the table of its variable.
    fn code_one(&self, table: &Table, code: i32, coder: &mut impl SymbolCoder) -> Result<i32> {
        let escape = 2 * self.window + 1;
        let symbol = if code.abs() <= self.window { code + self.window } else { escape };
        let symbol = coder.code(symbol, table)?;
        let code = match symbol == escape {
            true => code_outlier(code, self.window, coder)?,
            false => symbol - self.window,
        };
        match i16::try_from(code) {
            Ok(_) => Ok(code),
            Err(_) => Err(Error::Corrupted { what: "a code is outside the 16-bit range" }),
        }
    }
}

impl Prior for StaticPrior {
    fn variables(&self) -> usize {
        self.tables.len()
    }

    fn code(
        &self,
        codes: &mut CodeGrid,
        _: Option<&FeatureGrid>,
        _: u8,
        _: bool,
        coder: &mut impl SymbolCoder,
    ) -> Result<()> {
        let [_, height, width] = codes.shape();
        for (variable, table) in self.tables.iter().enumerate() {
            for y in 0..height {
                for x in 0..width {
                    let code = codes.at_mut(variable, y, x);
                    *code = self.code_one(table, *code, coder)?;
                }
            }
        }
        Ok(())
    }
}
