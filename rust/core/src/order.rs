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
//! In *wavefronts*, positions are coded one after the other instead, each with all its slices, which
//! see all variables of the four neighbours that come before in raster order. Positions of equal
//! `x + 2 y`, a front, do not see each other: fronts are coded by growing `x + 2 y`, in each front the
//! slices, in each slice the positions from the top down. Such a prior has no coarse level.
//!
//! A tap `(dy, dx)` looks at the position that far below and right of the one being coded.
//! Everything outside the tile is 0, so a tap needs only the guarantee that what it sees *inside*
//! the tile is decoded by then: the tests below prove it for every step.

use std::ops::Range;

use serde::Deserialize;

/// In which order a prior codes positions and slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Slice by slice.
    #[default]
    Slices,
    /// Front by front.
    Wavefront,
}

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
    /// All of them.
    Everywhere,
}

impl Pattern {
    /// The positions `(y, x)` of a grid in raster order.
    pub fn positions(self, height: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
        let (first_row, row_step) = match self {
            Self::Lattice { y, .. } => (y, 2),
            Self::Checkerboard(_) | Self::Everywhere => (0, 1),
        };
        (first_row..height).step_by(row_step).flat_map(move |y| {
            let (first_column, column_step) = match self {
                Self::Lattice { x, .. } => (x, 2),
                Self::Checkerboard(parity) => ((y + parity) % 2, 2),
                Self::Everywhere => (0, 1),
            };
            (first_column..width).step_by(column_step).map(move |x| (y, x))
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
    /// All slices.
    All,
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
    /// The channels it sees, for a slice that has the `own` ones of `all` there are.
    pub fn channels(self, own: &Range<usize>, all: usize) -> Range<usize> {
        match self.source {
            Source::Earlier => 0..own.start,
            Source::Own => own.clone(),
            Source::All => 0..all,
        }
    }
}

/// One step of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOrder {
    /// The positions it codes.
    pub pattern: Pattern,
    /// Whether positions that are coded together see each other, and must go one at a time.
    pub sequential: bool,
    /// The context, in the order of the network's inputs.
    pub taps: Vec<Tap>,
}

/// Positions of one step of one slice that are coded together, or one at a time where it is sequential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Which slice.
    pub slice: usize,
    /// Which of its steps.
    pub step: usize,
    /// `(y, x)` in coding order.
    pub positions: Vec<(usize, usize)>,
}

impl Order {
    /// The steps of a slice. Whether there is a `coarse` level before it makes a difference to the first
    /// one only.
    pub fn steps(self, slice: usize, coarse: bool) -> Vec<StepOrder> {
        match (self, slice) {
            (Self::Slices, 0) => first_slice(coarse),
            (Self::Slices, _) => later_slice(),
            (Self::Wavefront, _) => vec![front_step()],
        }
    }

    /// The way through a tile of `height x width` by a prior that has so many `slices`.
    pub fn walk(self, slices: usize, coarse: bool, [height, width]: [usize; 2]) -> Vec<Leg> {
        match self {
            Self::Slices => (0..slices)
                .flat_map(|slice| {
                    let steps = self.steps(slice, coarse).into_iter().enumerate();
                    steps.map(move |(step, StepOrder { pattern, .. })| {
                        let positions = pattern.positions(height, width).collect();
                        Leg { slice, step, positions }
                    })
                })
                .collect(),
            Self::Wavefront => (0..width + 2 * height)
                .flat_map(|front| {
                    let rows = (0..height).filter(move |y| (2 * y..2 * y + width).contains(&front));
                    let positions: Vec<_> = rows.map(|y| (y, front - 2 * y)).collect();
                    (0..slices).map(move |slice| Leg { slice, step: 0, positions: positions.clone() })
                })
                .collect(),
        }
    }
}

/// All of the neighbours before a position, then what is earlier at the position itself.
fn front_step() -> StepOrder {
    let around = [(-1, -1), (-1, 0), (-1, 1), (0, -1)];
    let around = around.map(|(dy, dx)| Tap { dy, dx, source: Source::All });
    let here = Tap { dy: 0, dx: 0, source: Source::Earlier };
    StepOrder {
        pattern: Pattern::Everywhere,
        sequential: false,
        taps: [&around[..], &[here]].concat(),
    }
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
        let taps = |order: Order, slice, coarse| {
            order.steps(slice, coarse).iter().map(|step| step.taps.len()).collect::<Vec<_>>()
        };
        assert_eq!(taps(Order::Slices, 0, false), [12, 16, 12, 16]);
        assert_eq!(taps(Order::Slices, 0, true), [21, 25, 21, 25]);
        assert_eq!([taps(Order::Slices, 1, false), taps(Order::Slices, 1, true)], [[9, 13]; 2]);
        assert_eq!([taps(Order::Wavefront, 0, false), taps(Order::Wavefront, 1, false)], [[5]; 2]);
    }

    /// What the first slice sees of a coarse level comes before its own context, which stays as it is.
    #[test]
    fn a_coarse_level_comes_first() {
        let own = |taps: &[Tap]| taps.iter().all(|tap| tap.source == Source::Own);
        for (with, without) in first_slice(true).iter().zip(first_slice(false)) {
            let (earlier, rest) = with.taps.split_at(9);
            assert_eq!((earlier, rest), (&earlier_taps()[..], &without.taps[..]));
            assert!(own(rest));
            assert_eq!((with.pattern, with.sequential), (without.pattern, without.sequential));
        }
    }

    /// When each slice of each position is coded: the leg, and the place in it.
    fn times(walk: &[Leg]) -> HashMap<(usize, usize, usize), (usize, usize)> {
        let mut times = HashMap::new();
        for (index, leg) in walk.iter().enumerate() {
            for (place, &(y, x)) in leg.positions.iter().enumerate() {
                assert_eq!(times.insert((leg.slice, y, x), (index, place)), None);
            }
        }
        times
    }

    #[test]
    fn walks_cover_every_position_once() {
        for order in [Order::Slices, Order::Wavefront] {
            for [height, width] in [[5, 7], [7, 2], [1, 1], [2, 1], [1, 9]] {
                let times = times(&order.walk(3, false, [height, width]));
                assert_eq!(times.len(), 3 * height * width);
                for slice in 0..3 {
                    let steps = order.steps(slice, false);
                    let pattern = steps.iter().flat_map(|step| step.pattern.positions(height, width));
                    assert!(pattern.clone().all(|(y, x)| times.contains_key(&(slice, y, x))));
                    assert_eq!(pattern.count(), height * width);
                }
            }
        }
    }

    /// Inside the tile, taps see only what is coded before; on what is earlier than all slices, a coarse
    /// level, nothing but the distance bounds them.
    #[test]
    fn taps_see_only_the_past() {
        let (slices, size @ [height, width]) = (3, [11, 12]);
        for (order, coarse) in
            [(Order::Slices, false), (Order::Slices, true), (Order::Wavefront, false)]
        {
            let walk = order.walk(slices, coarse, size);
            let times = times(&walk);
            for (index, leg) in walk.iter().enumerate() {
                let step = &order.steps(leg.slice, coarse)[leg.step];
                for (place, &(y, x)) in leg.positions.iter().enumerate() {
                    for tap in &step.taps {
                        assert!(tap.dy.unsigned_abs() <= REACH && tap.dx.unsigned_abs() <= REACH);
                        let (y, x) = (y.wrapping_add_signed(tap.dy), x.wrapping_add_signed(tap.dx));
                        for seen in tap.channels(&(leg.slice..leg.slice + 1), slices) {
                            match times.get(&(seen, y, x)) {
                                None => assert!(y >= height || x >= width),
                                Some(&seen) if step.sequential => assert!(seen < (index, place)),
                                Some(&(seen, _)) => assert!(seen < index),
                            }
                        }
                    }
                }
            }
        }
    }
}
