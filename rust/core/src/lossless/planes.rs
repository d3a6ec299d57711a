//! The samples of one channel of a tile, with a border, so that every neighbour exists.
//!
//! A neighbour outside the tile repeats the sample above the current row's end: left of a row is
//! its upper left sample, right of it the last one; above the first row is half of the range.

/// Samples on each side of a row, and rows above the first one, that neighbours may reach.
pub const BORDER: usize = 4;

/// Samples that may be read, but mean nothing, before and after all others.
pub const MARGIN: usize = 8;

/// One channel: `height` rows of `width` samples, and the border.
#[derive(Clone)]
pub struct Plane {
    width: usize,
    height: usize,
    samples: Vec<i32>,
}

impl Plane {
    /// A plane whose samples, still unknown, are all `unknown`.
    pub fn new(width: usize, height: usize, unknown: i32) -> Self {
        let samples = vec![unknown; (width + 2 * BORDER) * (height + 2 * BORDER) + 2 * MARGIN];
        Self { width, height, samples }
    }

    /// Samples in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Distance from a sample to the one below.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.width + 2 * BORDER
    }

    /// Where a sample lies in [`all`](Self::all).
    #[inline(always)]
    pub fn index(&self, x: usize, y: usize) -> usize {
        MARGIN + (y + BORDER) * self.stride() + x + BORDER
    }

    /// All samples, the border and the margin included.
    #[inline(always)]
    pub fn all(&self) -> &[i32] {
        &self.samples
    }

    /// Sets one sample.
    #[inline(always)]
    pub fn set(&mut self, index: usize, sample: i32) {
        self.samples[index] = sample;
    }

    /// Sets all samples, in raster order.
    pub fn fill(&mut self, values: impl IntoIterator<Item = u16>) {
        let mut values = values.into_iter();
        for y in 0..self.height {
            let start = self.index(0, y);
            let row = &mut self.samples[start..][..self.width];
            row.iter_mut().zip(&mut values).for_each(|(sample, value)| *sample = value.into());
        }
    }

    /// All samples, in raster order.
    pub fn values(&self) -> impl Iterator<Item = u16> {
        let rows = (0..self.height).map(|y| &self.samples[self.index(0, y)..][..self.width]);
        rows.flatten().map(|&sample| sample as u16)
    }

    /// Fills the border left of a row whose upper neighbours are known.
    pub fn open_row(&mut self, y: usize) {
        let start = self.index(0, y);
        let above = self.samples[start - self.stride()];
        self.samples[start - BORDER..start].fill(above);
    }

    /// Fills the border right of a complete row; below the last row, that row is repeated.
    pub fn close_row(&mut self, y: usize) {
        let end = self.index(self.width, y);
        let last = self.samples[end - 1];
        self.samples[end..][..BORDER].fill(last);
        if y + 1 == self.height {
            let row = end - self.width - BORDER..end + BORDER;
            for below in 1..=BORDER {
                self.samples.copy_within(row.clone(), row.start + below * row.len());
            }
        }
    }
}
