//! Files survive a round trip, and no damage to them goes unnoticed.

#![allow(missing_docs)]

use proptest::prelude::*;
use vqcodec_core::checksum::{ModelId, crc32};
use vqcodec_core::container::{self, Container, Parts, join, parse, split, write};
use vqcodec_core::filter::Filter;
use vqcodec_core::header::{CODES_VERSION, Exact, FILTER_VERSION, Header, Level, VERSION};
use vqcodec_core::{Error, Limits, Result};

fn header(width: u32, height: u32, levels: &[(u8, u8)]) -> Header {
    let level = |&(stride_log2, tile_log2): &(u8, u8)| Level { stride_log2, tile_log2 };
    let levels = levels.iter().map(level).collect();
    let model = ModelId(*b"abcdefgh");
    let (gray, quality, exact, filter) = (false, 37, None, vec![]);
    Header { version: CODES_VERSION, gray, model, quality, width, height, levels, exact, filter }
}

/// A payload for each tile, of a few different lengths.
fn payloads(header: &Header) -> Vec<Vec<Vec<u8>>> {
    let payload = |index: usize| vec![index as u8; index * 37 % 200];
    let level = |&level: &Level| (0..header.tiles(level).len()).map(payload).collect();
    header.levels.iter().map(level).collect()
}

fn sample() -> Vec<u8> {
    let header = header(200, 100, &[(5, 1), (4, 2)]);
    write(&header, Parts::of_codes(&payloads(&header), Some(b"alpha"))).unwrap()
}

/// Parses and verifies a whole file.
fn read(bytes: &[u8]) -> Result<Container> {
    let container = parse(bytes, &Limits::default())?;
    container.verify(bytes)?;
    Ok(container)
}

#[test]
fn one_tile_costs_28_to_32_bytes() {
    let cases = [(20, 20, 127, 28), (768, 512, 9000, 31), (768, 512, (1 << 21) - 1, 32)];
    for (width, height, payload, overhead) in cases {
        let header = header(width, height, &[(4, 6)]);
        let file = write(&header, Parts::of_codes(&[vec![vec![7; payload]]], None)).unwrap();
        assert_eq!(file.len(), payload + overhead);
    }
}

#[test]
fn every_truncation_is_noticed() {
    let file = sample();
    read(&file).unwrap();
    for length in 0..file.len() {
        let error = read(&file[..length]).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{length} bytes: {error}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let file = sample();
    for bit in 0..8 * file.len() {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn trailing_bytes_are_noticed() {
    let file = [sample(), vec![0]].concat();
    assert!(matches!(read(&file), Err(Error::Corrupted { .. })));
}

#[test]
fn other_files_are_not_ours() {
    for bytes in [b"\x89PNG\r\n\x1a\n".as_slice(), b"V", b"VQ", b"VQC", b"VQCx", b"VX", b"\0"] {
        let magic = b"VQC\x1a".starts_with(bytes);
        match read(bytes).unwrap_err() {
            Error::Truncated { .. } => assert!(magic),
            error => assert_eq!((error, magic), (Error::NotVqc, false)),
        }
    }
    for version in [0, VERSION + 1, 255] {
        let mut file = sample();
        file[4] = version;
        assert_eq!(read(&file), Err(Error::UnsupportedVersion(version)));
    }
}

/// The first levels can be read where the others have not arrived.
#[test]
fn a_prefix_holds_the_first_levels() {
    let file = sample();
    let container = read(&file).unwrap();
    let last = container.payloads[0].last().unwrap();
    let prefix = &file[..(last.offset + u64::from(last.length) + 4) as usize];
    let container = parse(prefix, &Limits::default()).unwrap();
    for (&part, payload) in container.payloads[0].iter().zip(&payloads(&container.header)[0]) {
        assert_eq!(container.payload(prefix, part).unwrap(), payload);
    }
    let next = container.payload(prefix, container.payloads[1][0]);
    assert!(matches!(next, Err(Error::Truncated { .. })));
}

/// The bytes of a header up to its checksum, with the checksum put behind.
fn sealed(head: &[u8]) -> Vec<u8> {
    [head, &crc32(head).to_le_bytes()].concat()
}

fn head(flags: u8, size: &[u8], levels: &[u8]) -> Vec<u8> {
    [b"VQC\x1a\x01", &[flags][..], b"abcdefgh", &[37], size, levels].concat()
}

#[test]
fn rules_of_the_header() {
    let corrupted = |head: Vec<u8>| {
        let error = parse(&sealed(&head), &Limits::default()).unwrap_err();
        assert!(matches!(error, Error::Corrupted { .. }), "{head:?}: {error}");
    };
    let good = sealed(&head(0, &[1, 1], &[1, 0x46, 0]));
    parse(&good, &Limits::default()).unwrap();
    corrupted(head(4, &[1, 1], &[1, 0x46, 0]));
    corrupted(head(0x80, &[1, 1], &[1, 0x46, 0]));
    corrupted(head(0, &[0, 1], &[1, 0x46, 0]));
    corrupted(head(0, &[1, 0], &[1, 0x46, 0]));
    corrupted(head(0, &[0x81, 0, 1], &[1, 0x46, 0])); // a longer spelling of 1
    corrupted(head(0, &[0xff, 0xff, 0xff, 0xff, 0x1f, 1], &[1, 0x46, 0])); // 33 bits
    corrupted(head(0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 1], &[1, 0x46, 0]));
    corrupted(head(0, &[1, 1], &[0]));
    corrupted(head(0, &[1, 1], &[5, 0x46, 0x46, 0x46, 0x46, 0x46, 0, 0, 0, 0, 0]));
    corrupted(head(0, &[1, 1], &[2, 0x46, 0x56, 0, 0])); // from fine to coarse
}

#[test]
fn limits_bite_before_anything_is_read() {
    let over = |file: &[u8], limits: &Limits| {
        assert!(matches!(parse(file, limits), Err(Error::OverLimit { .. })));
    };
    let file = sample(); // 200 x 100 pixels
    parse(&file, &Limits::with_max_pixels(20_000)).unwrap();
    over(&file, &Limits::with_max_pixels(19_999));
    over(&file, &Limits { max_side: 199, ..Limits::default() });
    let tiles = parse(&file, &Limits::default()).unwrap().payloads.concat().len() as u64;
    over(&file, &Limits { max_tiles: tiles - 1, ..Limits::default() });
    parse(&file, &Limits { max_tiles: tiles, ..Limits::default() }).unwrap();
    // 2^32 - 1 pixels on either side, in a file of 30 bytes
    let largest = [0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f];
    over(&sealed(&head(0, &largest, &[1, 0, 0])), &Limits::default());
    let unlimited =
        Limits { max_pixels: u64::MAX, max_side: u32::MAX, max_tiles: u64::MAX, max_codes: 0 };
    let error = parse(&sealed(&head(0, &largest, &[1, 0, 0])), &unlimited).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }));
}

#[test]
fn bad_headers_are_not_written() {
    let refused = |header: Header| {
        let payloads = payloads(&header);
        assert!(matches!(
            write(&header, Parts::of_codes(&payloads, None)),
            Err(Error::InvalidInput(_))
        ));
    };
    refused(Header { version: 0, ..header(1, 1, &[(4, 6)]) });
    refused(Header { version: VERSION + 1, ..header(1, 1, &[(4, 6)]) });
    refused(header(0, 1, &[(4, 6)]));
    refused(header(1, 0, &[(4, 6)]));
    refused(header(1, 1, &[]));
    refused(header(1, 1, &[(4, 6); 5]));
    refused(header(1, 1, &[(4, 6), (5, 6)]));
    let header = header(100, 100, &[(4, 6)]);
    assert!(write(&header, Parts::of_codes(&[vec![]], None)).is_err());
    assert!(write(&header, Parts::of_codes(&[], None)).is_err());
}

/// What of a file a test may choose.
fn chosen(file: &[u8], parts: &[container::Part]) -> Vec<Vec<u8>> {
    let container = read(file).unwrap();
    parts.iter().map(|&part| container.payload(file, part).unwrap().to_vec()).collect()
}

fn exact_samples() -> impl Strategy<Value = Exact> {
    let numbers = (1..=4_u8, 1..=16_u8, 4..=12_u8, any::<u32>());
    numbers.prop_map(|(channels, bits, tile_log2, checksum)| Exact {
        channels,
        bits,
        tile_log2,
        checksum,
    })
}

/// The bytes of a filter of a few weights.
fn filter() -> impl Strategy<Value = Vec<u8>> {
    let weights = prop::array::uniform3(prop::array::uniform22(-3..4));
    (0..4_u8, weights)
        .prop_map(|(coarseness, weights)| Filter { coarseness, weights }.write().unwrap())
}

proptest! {
    #[test]
    fn round_trip(
        (width, height) in (1..3000_u32, 1..3000_u32),
        mut levels in prop::collection::vec((4..16_u8, 2..16_u8), 1..5),
        version in 1..=VERSION,
        (gray, quality, model) in any::<(bool, u8, [u8; 8])>(),
        alpha in prop::option::of(prop::collection::vec(any::<u8>(), 0..99)),
        filter in prop::option::of(filter()),
    ) {
        levels.sort_by(|a, b| b.cmp(a));
        let model = ModelId(model);
        let filter = filter.filter(|_| version >= FILTER_VERSION).unwrap_or_default();
        let header =
            Header { version, gray, quality, model, filter, ..header(width, height, &levels) };
        let payloads = payloads(&header);
        let file = write(&header, Parts::of_codes(&payloads, alpha.as_deref())).unwrap();
        let container = read(&file).unwrap();
        prop_assert_eq!(container.file_bytes, file.len() as u64);
        for (parts, payloads) in container.payloads.iter().zip(&payloads) {
            prop_assert_eq!(&chosen(&file, parts), payloads);
        }
        prop_assert_eq!(chosen(&file, container.alpha.as_slice()), Vec::from_iter(alpha.clone()));
        prop_assert_eq!(&container.header, &header);
        let pieces = split(&file, &Limits::default()).unwrap();
        prop_assert_eq!(join(&[pieces.head, pieces.own].concat(), &pieces.parts).unwrap(), &file[..]);
        if !header.filter.is_empty() {
            prop_assert!(pieces.own.ends_with(&header.filter));
            // the coder reads ahead, and zeros that end a filter are left out: more bytes than it could read
            let longer = [&header.filter[..], &[7; 99]].concat();
            for damaged in [
                Header { version: FILTER_VERSION - 1, ..header.clone() },
                Header { filter: [&[4], &header.filter[1..]].concat(), ..header.clone() },
                Header { filter: longer, ..header.clone() },
                Header { filter: vec![1; 1000], ..header.clone() },
            ] {
                let parts = Parts::of_codes(&payloads, alpha.as_deref());
                prop_assert!(write(&damaged, parts).is_err());
            }
        }
    }

    /// The parts of version 3: exact samples, with and without a preview, and metadata.
    #[test]
    fn exact_round_trip(
        (width, height) in (1..999_u32, 1..999_u32),
        preview in any::<bool>(),
        exact in exact_samples(),
        metadata in prop::option::of(prop::collection::vec(any::<u8>(), 0..99)),
    ) {
        let mut header = header(width, height, if preview { &[(4, 6)] } else { &[] });
        (header.version, header.gray, header.exact) = (VERSION, exact.channels <= 2, Some(exact));
        if !preview {
            (header.model, header.quality) = (ModelId([0; 8]), 0);
        }
        let payloads = payloads(&header);
        let samples: Vec<_> = header.exact_tiles().map(|tile| vec![9; tile.width]).collect();
        let parts = Parts { payloads: &payloads, alpha: None, metadata: metadata.as_deref(), exact: &samples };
        let file = write(&header, parts).unwrap();
        let container = read(&file).unwrap();
        prop_assert_eq!(&chosen(&file, &container.exact), &samples);
        prop_assert_eq!(chosen(&file, container.metadata.as_slice()), Vec::from_iter(metadata.clone()));
        prop_assert_eq!(&container.header, &header);
        let pieces = split(&file, &Limits::default()).unwrap();
        prop_assert_eq!(join(&[pieces.head, pieces.own].concat(), &pieces.parts).unwrap(), file);
        for damaged in [
            Header { version: CODES_VERSION, ..header.clone() },
            Header { gray: !header.gray, ..header.clone() },
            Header { exact: Some(Exact { bits: 17, ..exact }), ..header.clone() },
            Header { exact: Some(Exact { channels: 0, ..exact }), ..header.clone() },
            Header { exact: None, ..header.clone() },
            Header { filter: vec![0], ..header.clone() },
        ] {
            prop_assert!(write(&damaged, parts).is_err());
        }
    }

    /// Anything behind the magic number gives a result, not a panic.
    #[test]
    fn garbage(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&bytes);
        let _ = read(&[b"VQC\x1a\x01", bytes.as_slice()].concat());
        let _ = read(&sealed(&[b"VQC\x1a\x01\x00", bytes.as_slice()].concat()));
    }

    #[test]
    fn several_flipped_bytes(damage in prop::collection::vec((any::<usize>(), 1..=255_u8), 1..9)) {
        let file = sample();
        let mut damaged = file.clone();
        for (position, mask) in damage {
            damaged[position % file.len()] ^= mask;
        }
        prop_assert!(damaged == file || read(&damaged).is_err());
    }
}
