//! A grid of integer codes, and its division into tiles.

use crate::error::{Error, Result};

/// Largest magnitude of a code from outside: 16 bits, and 8 after the point of one in 1/256 symbol.
const LIMIT: i32 = 1 << 23;

/// Codes of shape `(variables, height, width)`, each at least 1, in C order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeGrid {
    variables: usize,
    height: usize,
    width: usize,
    codes: Vec<i32>,
}

impl CodeGrid {
    /// Takes codes of shape `(variables, height, width)`.
    pub fn new([variables, height, width]: [usize; 3], codes: Vec<i32>) -> Result<Self> {
        let size = variables.checked_mul(height).and_then(|size| size.checked_mul(width));
        if codes.is_empty() || size != Some(codes.len()) {
            return Err(Error::InvalidInput(format!(
                "{} codes are no grid of {variables} x {height} x {width}",
                codes.len()
            )));
        }
        if let Some(code) = codes.iter().find(|&&code| !(-LIMIT..=LIMIT).contains(&code)) {
            return Err(Error::InvalidInput(format!("code {code} is outside the 24-bit range")));
        }
        Ok(Self { variables, height, width, codes })
    }

    /// A grid of zeros. The caller has checked the size against its limits.
    pub fn zeros([variables, height, width]: [usize; 3]) -> Self {
        Self { variables, height, width, codes: vec![0; variables * height * width] }
    }

    /// Takes codes of shape `(height, width, variables)`, each within 16 bits.
    pub(crate) fn from_positions([variables, height, width]: [usize; 3], codes: &[i32]) -> Self {
        let mut grid = Self::zeros([variables, height, width]);
        for (position, codes) in codes.chunks_exact(variables).enumerate() {
            for (plane, &code) in grid.codes.chunks_exact_mut(height * width).zip(codes) {
                plane[position] = code;
            }
        }
        grid
    }

    /// `[variables, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.variables, self.height, self.width]
    }

    /// The codes in C order.
    pub fn codes(&self) -> &[i32] {
        &self.codes
    }

    /// The codes in C order.
    pub fn into_codes(self) -> Vec<i32> {
        self.codes
    }

    /// The codes in C order, to be set.
    pub(crate) fn codes_mut(&mut self) -> &mut [i32] {
        &mut self.codes
    }

    /// One code.
    pub fn at(&self, variable: usize, y: usize, x: usize) -> i32 {
        self.codes[(variable * self.height + y) * self.width + x]
    }

    /// One code, to be set.
    pub fn at_mut(&mut self, variable: usize, y: usize, x: usize) -> &mut i32 {
        &mut self.codes[(variable * self.height + y) * self.width + x]
    }

    /// A copy of the codes of one tile.
    pub fn tile(&self, tile: Tile) -> Self {
        let mut codes = Vec::with_capacity(self.variables * tile.height * tile.width);
        for row in self.tile_rows(tile) {
            codes.extend_from_slice(&self.codes[row..row + tile.width]);
        }
        Self { variables: self.variables, height: tile.height, width: tile.width, codes }
    }

    /// Puts the codes of one tile where [`tile`](Self::tile) takes them from.
    pub fn set_tile(&mut self, tile: Tile, codes: &Self) {
        for (row, codes) in self.tile_rows(tile).zip(codes.codes.chunks_exact(tile.width)) {
            self.codes[row..row + tile.width].copy_from_slice(codes);
        }
    }

    /// Where each row of a tile starts, variable by variable.
    fn tile_rows(&self, tile: Tile) -> impl Iterator<Item = usize> + use<> {
        let (height, width) = (self.height, self.width);
        (0..self.variables).flat_map(move |variable| {
            (tile.y..tile.y + tile.height).map(move |y| (variable * height + y) * width + tile.x)
        })
    }
}

/// A rectangle of positions, which is coded without looking outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// First row.
    pub y: usize,
    /// First column.
    pub x: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl Tile {
    /// The coarse positions, each of 2x2 positions, that cover a tile whose first row and column are
    /// even.
    pub fn halved(self) -> Self {
        let Self { y, x, height, width } = self;
        Self { y: y / 2, x: x / 2, height: height.div_ceil(2), width: width.div_ceil(2) }
    }

    /// The tile as seen from the corner of another one around it.
    pub fn within(self, region: Self) -> Self {
        Self { y: self.y - region.y, x: self.x - region.x, ..self }
    }

    /// What of a tile lies in a grid of `height x width`, in which it begins.
    pub fn cut(self, height: usize, width: usize) -> Self {
        let (height, width) = (height - self.y, width - self.x);
        Self { height: self.height.min(height), width: self.width.min(width), ..self }
    }
}

/// The tiles of a `height x width` grid in raster order: squares of `side`, cut off at the ends.
pub fn tiles(height: usize, width: usize, side: usize) -> impl ExactSizeIterator<Item = Tile> {
    let across = width.div_ceil(side);
    (0..height.div_ceil(side) * across).map(move |index| {
        let (y, x) = (index / across * side, index % across * side);
        Tile { y, x, height: side.min(height - y), width: side.min(width - x) }
    })
}
