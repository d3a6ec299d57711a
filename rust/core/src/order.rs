//! The coding order: which positions are coded in which step, and what each step may look at.
//!
//! The variables of a position are cut into slices. Slices are coded one after the other, each in
//! a few steps; a step codes its positions in raster order, at each the slice's variables in
//! order. Below, `0..3` are the steps of the first slice and `a b` those of every other slice:
//! ```text
//! 0 2 0 2      a b a b
//! 3 1 3 1      b a b a
//! 0 2 0 2      a b a b
//! ```
//! Where a coarse level is known, it is earlier than every slice: also the first one then looks at
//! what is earlier around a position, as the others do.
//!
//! A tap `(dy, dx)` looks at the position that far below and right of the one being coded.
//! Everything outside the tile is 0, so a tap needs only the guarantee that what it sees *inside*
//! the tile is decoded by then: the tests below prove it for every step.

use std::ops::Range;

/// No tap reaches farther than this many rows or columns.
pub const REACH: usize = 4;

/// Which positions a step codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Rows `y % 2` and columns `x % 2`.
    Lattice {
        /// Parity of the rows.
        y: usize,
        /// Parity of the columns.
        x: usize,
    },
    /// `(y + x) % 2`.
    Checkerboard(usize),
}

impl Pattern {
    /// The positions `(y, x)` of a grid in raster order.
    pub fn positions(self, height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
        let (first_row, row_step) = match self {
            Self::Lattice { y, .. } => (y, 2),
            Self::Checkerboard(_) => (0, 1),
        };
        (first_row..height).step_by(row_step).flat_map(move |y| {
            let first_column = match self {
                Self::Lattice { x, .. } => x,
                Self::Checkerboard(parity) => (y + parity) % 2,
            };
            (first_column..width).step_by(2).map(move |x| (y, x))
        })
    }
}

/// Whose features a tap sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The coarse level, if there is one, and all slices before this one.
    Earlier,
    /// This slice.
    Own,
}

/// One position of a context, relative to the position being coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    /// Rows downwards.
    pub dy: isize,
    /// Columns to the right.
    pub dx: isize,
    /// Whose features are taken there.
    pub source: Source,
}

impl Tap {
    /// The channels it sees, for a slice that has the `own` ones.
    pub fn channels(self, own: &Range<usize>) -> Range<usize> {
        match self.source {
            Source::Earlier => 0..own.start,
            Source::Own => own.clone(),
        }
    }
}

/// One step of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOrder {
    /// The positions it codes.
    pub pattern: Pattern,
    /// Whether positions see others of the same step, and must be coded one at a time.
    pub sequential: bool,
    /// The context, in the order of the network's inputs.
    pub taps: Vec<Tap>,
}

/// The steps of a slice: four for the first one, two for every other. Whether there is a `coarse`
/// level before it makes a difference to the first one only.
pub fn steps(slice: usize, coarse: bool) -> Vec<StepOrder> {
    if slice == 0 { first_slice(coarse) } else { later_slice() }
}

fn first_slice(coarse: bool) -> Vec<StepOrder> {
    let earlier = if coarse { earlier_taps() } else { Vec::new() };
    let step = |y, x, own: Vec<_>| StepOrder {
        pattern: Pattern::Lattice { y, x },
        sequential: (y, x) == (0, 0),
        taps: [earlier.clone(), own].concat(),
    };
    let odd = |offset: isize| offset % 2 != 0;
    vec![
        step(0, 0, own_taps(4, |dy, dx| !odd(dy) && !odd(dx) && (dy, dx) < (0, 0))),
        step(1, 1, own_taps(3, |dy, dx| odd(dy) && odd(dx))),
        step(0, 1, own_taps(2, |dy, dx| odd(dy) != odd(dx))),
        step(1, 0, own_taps(2, |dy, dx| odd(dy) || odd(dx))),
    ]
}

fn later_slice() -> Vec<StepOrder> {
    let step = |parity, taps| StepOrder {
        pattern: Pattern::Checkerboard(parity),
        sequential: false,
        taps,
    };
    let cross = own_taps(1, |dy, dx| (dy == 0) != (dx == 0));
    vec![step(0, earlier_taps()), step(1, [earlier_taps(), cross].concat())]
}

/// What is earlier, around a position.
fn earlier_taps() -> Vec<Tap> {
    square(1).map(|(dy, dx)| Tap { dy, dx, source: Source::Earlier }).collect()
}

/// Own features at the offsets of a square that `keep` accepts.
fn own_taps(reach: isize, keep: impl Fn(isize, isize) -> bool) -> Vec<Tap> {
    square(reach)
        .filter(|&(dy, dx)| keep(dy, dx))
        .map(|(dy, dx)| Tap { dy, dx, source: Source::Own })
        .collect()
}

/// Offsets `(dy, dx)` of `-reach..=reach` in raster order.
fn square(reach: isize) -> impl Iterator<Item = (isize, isize)> {
    (-reach..=reach).flat_map(move |dy| (-reach..=reach).map(move |dx| (dy, dx)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn context_sizes() {
        let taps = |slice, coarse| {
            steps(slice, coarse).iter().map(|step| step.taps.len()).collect::<Vec<_>>()
        };
        assert_eq!(taps(0, false), [12, 16, 12, 16]);
        assert_eq!(taps(0, true), [21, 25, 21, 25]);
        assert_eq!([taps(1, false), taps(1, true)], [[9, 13]; 2]);
    }

    /// What the first slice sees of a coarse level comes before its own context, which stays as it is.
    #[test]
    fn a_coarse_level_comes_first() {
        let own = |taps: &[Tap]| taps.iter().all(|tap| tap.source == Source::Own);
        for (with, without) in steps(0, true).iter().zip(steps(0, false)) {
            let (earlier, rest) = with.taps.split_at(9);
            assert_eq!((earlier, rest), (&earlier_taps()[..], &without.taps[..]));
            assert!(own(rest));
            assert_eq!((with.pattern, with.sequential), (without.pattern, without.sequential));
        }
    }

    #[test]
    fn steps_cover_every_position_once() {
        for (slice, height, width) in [(0, 5, 7), (1, 5, 7), (0, 1, 1), (1, 1, 1), (0, 2, 1)] {
            let mut seen = HashMap::new();
            for (index, step) in steps(slice, true).iter().enumerate() {
                for position in step.pattern.positions(height, width) {
                    assert_eq!(seen.insert(position, index), None);
                }
            }
            assert_eq!(seen.len(), height * width);
        }
    }

    /// Taps on the own slice see only what is coded before, in this slice's order of positions. What
    /// is earlier is wholly known; nothing but the distance bounds the taps on it.
    #[test]
    fn taps_see_only_the_past() {
        let (height, width) = (11, 12);
        for (slice, coarse) in [(0, false), (0, true), (1, false), (1, true)] {
            let steps = steps(slice, coarse);
            let mut time = HashMap::new();
            for (index, step) in steps.iter().enumerate() {
                for (y, x) in step.pattern.positions(height, width) {
                    time.insert((y as isize, x as isize), (index, y, x));
                }
            }
            for (index, step) in steps.iter().enumerate() {
                for (y, x) in step.pattern.positions(height, width) {
                    for tap in &step.taps {
                        assert!(tap.dy.unsigned_abs() <= REACH && tap.dx.unsigned_abs() <= REACH);
                        let seen = time.get(&(y as isize + tap.dy, x as isize + tap.dx));
                        match seen.filter(|_| tap.source == Source::Own) {
                            None => assert!(tap.source == Source::Own || slice > 0 || coarse),
                            Some(&seen) if step.sequential => assert!(seen < (index, y, x)),
                            Some(&(seen, ..)) => assert!(seen < index),
                        }
                    }
                }
            }
        }
    }
}
