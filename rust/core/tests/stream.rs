//! Codes survive the whole chain: prior, range coder, tiles, file.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use tiny_model::Sizes;
use vqcodec_core::checksum::ModelId;
use vqcodec_core::container::{Part, Parts, parse, write};
use vqcodec_core::entropy::Encoder;
use vqcodec_core::header::{CODES_VERSION, Header, Level};
use vqcodec_core::prior::Prior;
use vqcodec_core::stream::{Picture, TILE_LOG2, cross_entropy, read_codes, write_file};
use vqcodec_core::{CodeGrid, Error, Limits, Model};

fn picture(height: usize, width: usize, quality: u8) -> Picture<'static> {
    let pixels = |positions: usize| 16 * positions as u32;
    Picture {
        width: pixels(width),
        height: pixels(height),
        quality,
        gray: false,
        alpha: None,
        filter: b"",
    }
}

fn read(model: &Model, file: &[u8]) -> vqcodec_core::Result<Vec<CodeGrid>> {
    read_codes(model, file, &Limits::default(), 0, 0)
}

/// Writes and reads codes with different numbers of threads; returns the file.
fn round_trip(model: &Model, codes: &CodeGrid, quality: u8) -> Vec<u8> {
    round_trip_levels(model, std::slice::from_ref(codes), quality)
}

/// The same for all levels of codes.
fn round_trip_levels(model: &Model, codes: &[CodeGrid], quality: u8) -> Vec<u8> {
    let [_, height, width] = codes.last().expect("a level").shape();
    let picture = picture(height, width, quality);
    let (file, bits) = write_file(model, picture, codes, 1).unwrap();
    for threads in [0, 2, 5] {
        assert_eq!(write_file(model, picture, codes, threads).unwrap(), (file.clone(), bits));
        assert_eq!(read_codes(model, &file, &Limits::default(), threads, 0).unwrap(), codes);
    }
    file
}

#[test]
fn all_shapes_of_grids() {
    for sizes in [Sizes::logistic(), Sizes::categorical()] {
        let model = sizes.model();
        for (height, width) in [(1, 1), (1, 250), (257, 3), (2, 2), (64, 64), (65, 129)] {
            let codes = sizes.codes(height, width, 20);
            let file = round_trip(&model, &codes, 21);
            let tiles = height.div_ceil(64) * width.div_ceil(64);
            let bits = cross_entropy(&model, 21, &[codes], 2, true).unwrap();
            let ideal = bits / 8.0 + 36.0 + 6.0 * tiles as f64;
            assert!((file.len() as f64) < 1.001 * ideal, "{} > {ideal}", file.len());
        }
    }
}

#[test]
fn all_shapes_of_two_levels() {
    for sizes in [Sizes::logistic(), Sizes::categorical()].map(Sizes::two_levels) {
        let model = sizes.model();
        for (height, width) in [(1, 1), (1, 250), (257, 3), (2, 2), (64, 64), (65, 129)] {
            let codes = sizes.all_codes(height, width, 20);
            let file = round_trip_levels(&model, &codes, 21);
            let header = parse(&file, &Limits::default()).unwrap().header;
            let levels = header.levels.iter().map(|level| (level.stride(), level.tile_side()));
            assert_eq!(levels.collect::<Vec<_>>(), [(32, 32), (16, 64)]);
            let tiles = height.div_ceil(64) * width.div_ceil(64);
            let bits = cross_entropy(&model, 21, &codes, 2, true).unwrap();
            let ideal = bits / 8.0 + 38.0 + 12.0 * tiles as f64;
            assert!((file.len() as f64) < 1.001 * ideal, "{} > {ideal}", file.len());
        }
    }
}

/// The payloads of the levels, each one's one after the other.
fn payloads(file: &[u8]) -> Vec<Vec<u8>> {
    let container = parse(file, &Limits::default()).unwrap();
    let payload = |part: &Part| container.payload(file, *part).unwrap().to_vec();
    container.payloads.iter().map(|parts| parts.iter().flat_map(payload).collect()).collect()
}

/// The fine level's distributions depend on every coarse code, the coarse level's on no fine one.
#[test]
fn the_fine_level_sees_the_coarse_one() {
    for sizes in [Sizes::logistic(), Sizes::categorical()].map(Sizes::two_levels) {
        let model = sizes.model();
        let codes = sizes.all_codes(3, 4, 4);
        let before = payloads(&round_trip_levels(&model, &codes, 7));
        for (variable, y, x) in [(0, 0, 0), (1, 1, 0), (2, 1, 1)] {
            let mut changed = codes.clone();
            let code = changed[0].at_mut(variable, y, x);
            *code = if *code > 1 { 0 } else { 3 };
            let after = payloads(&round_trip_levels(&model, &changed, 7));
            assert!(before[0] != after[0] && before[1] != after[1]);
        }
        let mut changed = codes.clone();
        *changed[1].at_mut(0, 0, 0) ^= 1;
        let after = payloads(&round_trip_levels(&model, &changed, 7));
        assert!(before[0] == after[0] && before[1] != after[1]);
    }
}

#[test]
fn tiles_see_one_coarse_tile() {
    let sizes = Sizes::logistic().two_levels();
    let model = sizes.model();
    let codes = sizes.all_codes(64, 70, 9);
    let mut changed = codes.clone();
    *changed[0].at_mut(0, 5, 32) += 1;
    let fine = |codes: &[CodeGrid]| {
        let file = round_trip_levels(&model, codes, 0);
        let container = parse(&file, &Limits::default()).unwrap();
        [0, 1].map(|tile| container.payload(&file, container.payloads[1][tile]).unwrap().to_vec())
    };
    let (before, after) = (fine(&codes), fine(&changed));
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
}

#[test]
fn the_first_level_is_a_prefix() {
    for sizes in [Sizes::logistic(), Sizes::categorical()].map(Sizes::two_levels) {
        let model = sizes.model();
        let codes = sizes.all_codes(65, 67, 9);
        let picture = Picture { alpha: Some(b"alpha"), ..picture(65, 67, 3) };
        let (file, _) = write_file(&model, picture, &codes, 1).unwrap();
        let first = |file: &[u8], levels| read_codes(&model, file, &Limits::default(), 2, levels);
        assert_eq!(first(&file, 0).unwrap(), codes);
        assert_eq!(first(&file, 2).unwrap(), codes);
        assert_eq!(first(&file, 1).unwrap(), codes[..1]);
        assert!(matches!(first(&file, 3), Err(Error::InvalidInput(_))));

        let container = parse(&file, &Limits::default()).unwrap();
        let [coarse, fine] = [0, 1].map(|level| {
            let last = container.payloads[level].last().expect("a tile");
            (last.offset + u64::from(last.length)) as usize + 4
        });
        assert_eq!(first(&file[..coarse], 1).unwrap(), codes[..1]);
        assert_eq!(first(&file[..fine], 2).unwrap(), codes);
        let truncated = |result| assert!(matches!(result, Err(Error::Truncated { .. })));
        truncated(first(&file[..coarse - 1], 1));
        truncated(first(&file[..coarse], 2));
        truncated(first(&file[..fine], 0));

        let mut damaged = file.clone();
        damaged[coarse - 5] ^= 1; // the last byte of a coarse payload
        for levels in 0..3 {
            assert!(matches!(first(&damaged, levels), Err(Error::Corrupted { .. })));
        }
        let mut damaged = file.clone();
        damaged[fine - 5] ^= 1;
        assert_eq!(first(&damaged, 1).unwrap(), codes[..1]);
        assert!(matches!(first(&damaged, 2), Err(Error::Corrupted { .. })));
    }
}

#[test]
fn many_slices_and_one() {
    for slices in [vec![1], vec![7], vec![1, 1, 1, 1, 1], vec![3, 1, 4]] {
        let sizes = Sizes { slices, hidden: 5, quality_levels: 1, ..Sizes::logistic() };
        round_trip(&sizes.model(), &sizes.codes(9, 10, 9), 0);
        let sizes = Sizes { alphabet: Some(2), ..sizes };
        round_trip(&sizes.model(), &sizes.codes(9, 10, 9), 0);
    }
}

#[test]
fn extreme_codes() {
    let sizes = Sizes::logistic();
    let model = sizes.model();
    round_trip(&model, &sizes.codes(20, 20, 32767), 5);
    for code in [-32768, 32767, 0] {
        let codes = CodeGrid::new([5, 6, 7], vec![code; 5 * 6 * 7]).unwrap();
        round_trip(&model, &codes, 32);
    }
}

/// The prior of a tile does not look into other tiles.
#[test]
fn tiles_are_independent() {
    let sizes = Sizes::logistic();
    let model = sizes.model();
    let codes = sizes.codes(64, 70, 9);
    let mut changed = codes.clone();
    *changed.at_mut(0, 5, 65) += 1;
    let payload = |codes: &CodeGrid| {
        let file = round_trip(&model, codes, 0);
        let container = parse(&file, &Limits::default()).unwrap();
        let parts = &container.payloads[0];
        (0..2).map(|tile| container.payload(&file, parts[tile]).unwrap().to_vec()).collect()
    };
    let (before, after): (Vec<_>, Vec<_>) = (payload(&codes), payload(&changed));
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
}

/// A file of an old version, which nothing else writes any more.
fn write_version(version: u8, model: &Model, picture: Picture, codes: &CodeGrid) -> Vec<u8> {
    let Picture { width, height, quality, gray, alpha, .. } = picture;
    let level = Level { stride_log2: model.stride_log2, tile_log2: TILE_LOG2 };
    let (levels, exact, filter) = (vec![level], None, vec![]);
    let header =
        Header { version, gray, model: model.id, quality, width, height, levels, exact, filter };
    let payloads = header.tiles(level).map(|tile| {
        let mut coder = Encoder::default();
        let codes = &mut codes.tile(tile);
        model.prior.code(codes, None, quality, header.adaptive(), &mut coder).unwrap();
        coder.finish()
    });
    write(&header, Parts::of_codes(&[payloads.collect()], alpha)).unwrap()
}

/// The first bytes of the SHA-256. A CRC would not do: a part followed by its own CRC always leaves
/// it in the same state.
fn digest(file: &[u8]) -> u64 {
    u64::from_be_bytes(ModelId::of(file).0)
}

/// Format version 1: these bytes may never change.
#[test]
fn golden_files_of_version_1() {
    let checksum = |sizes: Sizes| {
        let codes = sizes.codes(70, 66, 30);
        let mut picture = picture(70, 66, 19);
        (picture.gray, picture.alpha) = (true, Some(b"alpha".as_slice()));
        let model = sizes.model();
        let file = write_version(1, &model, picture, &codes);
        assert_eq!(read(&model, &file).unwrap(), [codes]);
        (file.len(), digest(&file))
    };
    assert_eq!(checksum(Sizes::logistic()), (46814, 0x382d_9294_262a_a1de));
    assert_eq!(checksum(Sizes::categorical()), (36622, 0xe67f_a411_4226_937c));
}

/// Format version 2: these bytes may never change.
#[test]
fn golden_files() {
    let checksum = |sizes: Sizes| {
        let codes = sizes.codes(70, 66, 30);
        let mut picture = picture(70, 66, 19);
        (picture.gray, picture.alpha) = (true, Some(b"alpha".as_slice()));
        let (file, _) = write_file(&sizes.model(), picture, &[codes], 0).unwrap();
        (file.len(), digest(&file))
    };
    assert_eq!(checksum(Sizes::logistic()), (29842, 0xbead_7f96_6fd0_c452));
    assert_eq!(checksum(Sizes::categorical()), (36622, 0x3ba9_41ce_7cf3_0b1a));
}

#[test]
fn the_right_model_or_an_error() {
    let sizes = Sizes::logistic();
    let file = round_trip(&sizes.model(), &sizes.codes(3, 4, 9), 0);
    let other = Sizes { seed: 2, ..sizes.clone() }.model();
    let (needed, given) = (sizes.model().id.to_string(), other.id.to_string());
    assert_eq!(read(&other, &file), Err(Error::ModelMismatch { needed, given }));
}

#[test]
fn every_damage_is_noticed() {
    for sizes in [Sizes::logistic(), Sizes::logistic().two_levels()] {
        let model = sizes.model();
        notice_every_damage(&model, &round_trip_levels(&model, &sizes.all_codes(3, 4, 9), 0));
    }
}

fn notice_every_damage(model: &Model, file: &[u8]) {
    for length in 0..file.len() {
        assert!(matches!(read(model, &file[..length]), Err(Error::Truncated { .. })));
    }
    for bit in 0..8 * file.len() {
        let mut damaged = file.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(model, &damaged).is_err(), "bit {bit}");
    }
}

/// Even where all checksums are right, a payload that no encoder wrote cannot do harm.
#[test]
fn forged_payloads() {
    for sizes in [Sizes::logistic(), Sizes::categorical().two_levels()] {
        let model = sizes.model();
        let file = round_trip_levels(&model, &sizes.all_codes(3, 4, 9), 0);
        let header = parse(&file, &Limits::default()).unwrap().header;
        let mut random = tiny_model::Random(3);
        for length in 0..200 {
            let mut payload = || vec![(0..length).map(|_| random.next() as u8).collect()];
            let payloads: Vec<_> = header.levels.iter().map(|_| payload()).collect();
            let forged = write(&header, Parts::of_codes(&payloads, None)).unwrap();
            let _ = read(&model, &forged);
        }
    }
}

/// A header that is in order by itself, but not for its model or for the caller.
#[test]
fn forged_headers() {
    let sizes = Sizes::logistic();
    let model = sizes.model();
    let header = Header {
        version: CODES_VERSION,
        gray: false,
        model: model.id,
        quality: 0,
        width: 48,
        height: 32,
        levels: vec![Level { stride_log2: 4, tile_log2: 6 }],
        exact: None,
        filter: vec![],
    };
    let refused = |header: Header, max_codes: u64| {
        let payloads = header.levels.iter().map(|&level| vec![vec![]; header.tiles(level).len()]);
        let file = write(&header, Parts::of_codes(&payloads.collect::<Vec<_>>(), None)).unwrap();
        let limits = Limits { max_codes, ..Limits::default() };
        read_codes(&model, &file, &limits, 0, 0).unwrap_err()
    };
    let corrupted = |header| assert!(matches!(refused(header, 1000), Error::Corrupted { .. }));
    let level = header.levels[0];
    corrupted(Header { quality: 33, ..header.clone() });
    corrupted(Header { levels: vec![Level { stride_log2: 3, ..level }], ..header.clone() });
    corrupted(Header { levels: vec![level; 2], ..header.clone() });
    let over = |max_codes, expected| match refused(header.clone(), max_codes) {
        Error::OverLimit { what, .. } => assert_eq!(what, expected),
        error => panic!("{error}"),
    };
    over(5 * 2 * 3 - 1, "codes");
    over(5 * 10 * 11 - 1, "features of a tile");
}

/// The same for two levels, of which each has its limits.
#[test]
fn forged_headers_of_two_levels() {
    let sizes = Sizes::logistic().two_levels();
    let model = sizes.model();
    let file = round_trip_levels(&model, &sizes.all_codes(40, 50, 9), 0);
    let good = parse(&file, &Limits::default()).unwrap().header;
    let refused = |levels: &[Level], max_codes: u64| {
        let header = Header { levels: levels.to_vec(), ..good.clone() };
        let payloads = levels.iter().map(|&level| vec![vec![]; header.tiles(level).len()]);
        let file = write(&header, Parts::of_codes(&payloads.collect::<Vec<_>>(), None)).unwrap();
        let limits = Limits { max_codes, ..Limits::default() };
        read_codes(&model, &file, &limits, 0, 0).unwrap_err()
    };
    let level = |stride_log2, tile_log2| Level { stride_log2, tile_log2 };
    let corrupted = |levels: &[Level]| {
        let error = refused(levels, 1 << 20);
        let message = "the levels are not those of the model";
        assert_eq!(error, Error::Corrupted { what: message });
    };
    let [coarse, fine] = [level(5, 5), level(4, 6)];
    corrupted(&[fine]);
    corrupted(&[coarse]);
    corrupted(&[fine, fine]);
    corrupted(&[level(6, 5), fine]);
    corrupted(&[level(5, 6), fine]);
    corrupted(&[coarse, level(4, 5)]);
    corrupted(&[coarse, coarse, fine]);
    let over = |max_codes, expected| match refused(&[coarse, fine], max_codes) {
        Error::OverLimit { what, value, .. } => assert_eq!((what, value), expected),
        error => panic!("{error}"),
    };
    over(3 * 20 * 25 - 1, ("codes", 3 * 20 * 25));
    over(3 * 28 * 33 - 1, ("features of a tile", 3 * 28 * 33));
    over(5 * 40 * 50 - 1, ("codes", 5 * 40 * 50));
    over(8 * 48 * 58 - 1, ("features of a tile", 8 * 48 * 58));
}

/// What no reader would take is not written.
#[test]
fn limits_hold_for_writing() {
    let sizes = Sizes { slices: vec![1], hidden: 1, quality_levels: 1, ..Sizes::logistic() };
    let model = sizes.model();
    let side = (1 << 20) / 16;
    let codes = |height, width| CodeGrid::zeros([1, height, width]);
    let (file, _) = write_file(&model, picture(1, side, 0), &[codes(1, side)], 1).unwrap();
    assert_eq!(read(&model, &file).unwrap(), [codes(1, side)]);
    for (height, width) in [(1, side + 1), (side + 1, 1)] {
        let error = write_file(&model, picture(height, width, 0), &[codes(height, width)], 1);
        let error = error.unwrap_err();
        assert!(matches!(error, Error::OverLimit { value: 0x10_0010, .. }), "{error}");
    }
    // 2^40 pixels, in 2^32 codes that are not there
    let error = write_file(&model, picture(side, side, 0), &[codes(1, 1)], 1).unwrap_err();
    assert!(matches!(error, Error::OverLimit { what: "codes", .. }), "{error}");
}

#[test]
fn wrong_arguments() {
    let sizes = Sizes::logistic();
    let model = sizes.model();
    let codes = || sizes.codes(3, 4, 9);
    let refused = |picture: Picture, codes: &[CodeGrid]| {
        let error = write_file(&model, picture, codes, 1).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    };
    refused(picture(3, 4, 33), &[codes()]);
    refused(picture(3, 5, 0), &[codes()]);
    refused(picture(0, 4, 0), &[codes()]);
    refused(picture(3, 4, 0), &[]);
    refused(picture(3, 4, 0), &[codes(), codes()]);
    refused(picture(3, 4, 0), &[CodeGrid::zeros([4, 3, 4])]);
    refused(picture(1, 1, 0), &[CodeGrid::new([5, 1, 1], vec![0, 0, 32768, 0, 0]).unwrap()]);
    assert!(CodeGrid::new([1, 1, 1], vec![-(1 << 23) - 1]).is_err());
    assert!(CodeGrid::new([1, 1, 2], vec![0]).is_err());
    assert!(CodeGrid::new([0, 1, 1], vec![]).is_err());
    assert!(CodeGrid::new([usize::MAX, usize::MAX, 2], vec![0]).is_err());

    let two = Sizes::logistic().two_levels();
    let model = two.model();
    for codes in [
        vec![two.codes(3, 4, 9)],
        vec![two.codes(3, 4, 9); 2],
        vec![CodeGrid::zeros([3, 2, 3]), two.codes(3, 4, 9)],
        vec![CodeGrid::zeros([3, 1, 2]), two.codes(3, 4, 9)],
    ] {
        let error = write_file(&model, picture(3, 4, 0), &codes, 1).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
        let error = cross_entropy(&model, 0, &codes, 1, true).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error}");
    }

    let sizes = Sizes::categorical();
    let codes = CodeGrid::new([5, 1, 1], vec![0, 1, 2, 3, 6]).unwrap();
    let error = write_file(&sizes.model(), picture(1, 1, 0), &[codes], 1).unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_models(
        coarse in prop::collection::vec(1..4_usize, 0..3),
        slices in prop::collection::vec(1..5_usize, 1..4),
        hidden in 1..20_usize,
        quality_levels in 1..17_usize,
        alphabet in prop::option::of(2..40_usize),
        seed in any::<u64>(),
        (height, width, quality) in (1..12_usize, 1..12_usize, any::<u8>()),
    ) {
        let sizes = Sizes { coarse, slices, hidden, quality_levels, alphabet, seed: seed >> 1 };
        let model = sizes.model();
        let quality = quality % (model.max_quality() + 1);
        round_trip_levels(&model, &sizes.all_codes(height, width, 50), quality);
    }
}
