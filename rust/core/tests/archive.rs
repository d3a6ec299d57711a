//! Archives give back what was put into them, and notice all damage.

#![allow(missing_docs)]

use proptest::prelude::*;
use vqcodec_core::archive::{
    Block, BlockHeader, BlockWriter, Index, TRAILER_BYTES, Tag, read_start, read_trailer,
    write_end, write_start,
};
use vqcodec_core::checksum::ModelId;
use vqcodec_core::container::{Parts, join, split, write};
use vqcodec_core::filter::{Filter, INPUTS};
use vqcodec_core::header::{CODES_VERSION, Exact, FILTER_VERSION, Header, Level, VERSION};
use vqcodec_core::{Error, Limits};

/// A file of one or two levels, with payloads that a seed chooses.
fn file(width: u32, seed: u8, version: u8, alpha: bool) -> Vec<u8> {
    let level = |stride_log2, tile_log2| Level { stride_log2, tile_log2 };
    let levels =
        if seed.is_multiple_of(2) { vec![level(4, 6)] } else { vec![level(5, 1), level(4, 2)] };
    let (gray, model) = (seed.is_multiple_of(3), ModelId(*b"abcdefgh"));
    let exact = (CODES_VERSION + 1..FILTER_VERSION).contains(&version).then_some(Exact {
        channels: if gray { 1 } else { 3 },
        bits: 8,
        tile_log2: 6,
        checksum: u32::from(seed) << 13,
    });
    let quality = seed / 64;
    let filter = Filter { coarseness: seed % 4, weights: [[i32::from(seed % 5); INPUTS]; 3] };
    let filter = if version >= FILTER_VERSION { filter.write().unwrap() } else { vec![] };
    let header = Header { version, gray, model, quality, width, height: 40, levels, exact, filter };
    let payload = |index: usize| vec![seed; (index * 37 + usize::from(seed)) % 300];
    let level = |&level: &Level| (0..header.tiles(level).len()).map(payload).collect();
    let payloads: Vec<Vec<Vec<u8>>> = header.levels.iter().map(level).collect();
    let exact: Vec<_> = (0..header.exact_tiles().len()).map(payload).collect();
    let chunk = alpha.then_some(b"a chunk".as_slice());
    let (alpha, metadata) = if exact.is_empty() { (chunk, None) } else { (None, chunk) };
    write(&header, Parts { payloads: &payloads, alpha, metadata, exact: &exact }).unwrap()
}

type Owned = (Vec<u8>, Option<String>, Option<i32>, Vec<u8>);

fn tag((_, name, label, extra): &Owned) -> Tag<'_> {
    Tag { name: name.as_deref(), label: *label, extra }
}

fn block(records: &[Owned], skipped: usize) -> Vec<u8> {
    let mut writer = BlockWriter::default();
    records.iter().for_each(|record| writer.add(&record.0, tag(record)).unwrap());
    (0..skipped).for_each(|_| writer.skip());
    writer.finish().unwrap()
}

fn sample() -> Vec<Owned> {
    let record = |number: u8| {
        let name = (!number.is_multiple_of(3)).then(|| format!("class/é{number}.png"));
        let label = (!number.is_multiple_of(4)).then_some(i32::from(number) - 5);
        let extra = vec![number; usize::from(number % 5)];
        (
            file(30 + u32::from(number % 2), number, 1 + number % VERSION, number == 7),
            name,
            label,
            extra,
        )
    };
    (0..12).map(record).collect()
}

fn check(block: &Block, records: &[Owned]) {
    assert_eq!(block.records(), records.len());
    for (number, record) in records.iter().enumerate() {
        assert_eq!(block.file(number).unwrap(), record.0);
        assert_eq!(block.tag(number), tag(record));
        assert!(record.0.starts_with(&block.file_header(number).unwrap()));
    }
}

prop_compose! {
    fn records()(records in prop::collection::vec(
        (1u32..200, any::<u8>(), 1..=VERSION, any::<bool>(), prop::option::of("[^\u{0}]{1,20}"),
         prop::option::of(i32::MIN + 1..=i32::MAX), prop::collection::vec(any::<u8>(), 0..20)), 1..40,
    )) -> Vec<Owned> {
        let record = |(width, seed, version, alpha, name, label, extra)| {
            (file(width, seed, version, alpha), name, label, extra)
        };
        records.into_iter().map(record).collect()
    }
}

proptest! {
    #[test]
    fn files_come_apart_and_together(
        width in 1u32..2000, seed: u8, version in 1..=VERSION, alpha: bool,
    ) {
        let file = file(width, seed, version, alpha);
        let pieces = split(&file, &Limits::default()).unwrap();
        prop_assert_eq!(join(&[pieces.head, pieces.own].concat(), &pieces.parts).unwrap(), file);
    }

    #[test]
    fn blocks_give_back_their_records(records in records(), skipped in 0usize..300) {
        let bytes = block(&records, skipped);
        let header = BlockHeader::read(&bytes).unwrap();
        prop_assert_eq!(header.block_bytes(), bytes.len() as u64);
        let found = Block::read(&bytes).unwrap();
        check(&found, &records);
        prop_assert_eq!(found.skipped() as usize, skipped);
        let front = Block::read_front(&bytes[..header.front_bytes() as usize]).unwrap();
        prop_assert_eq!(front.tag(0), tag(&records[0]));
        prop_assert!(front.file(0).is_err());
    }

    #[test]
    fn any_bytes_are_refused_in_words(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Block::read(&bytes).is_err());
        prop_assert!(read_start(&bytes).is_err());
        prop_assert!(Index::read(&bytes, 10, (10, 0)).is_err());
    }

    /// Bytes behind valid checksums that no writer wrote: an error or a block, but no panic.
    #[test]
    fn forged_fronts_do_not_panic(
        at in any::<prop::sample::Index>(), value: u8, records in 1u16..=256,
    ) {
        let whole = block(&sample(), 1);
        let header = BlockHeader::read(&whole).unwrap();
        let mut front = whole[BlockHeader::BYTES..header.front_bytes() as usize - 4].to_vec();
        let payloads = &whole[header.front_bytes() as usize..whole.len() - 4];
        let at = at.index(front.len());
        front[at] = value;
        let forged = forge(&front, payloads, records);
        if let Ok(block) = Block::read(&forged) {
            for record in 0..block.records() {
                let _ = (block.file(record), block.file_header(record), block.tag(record));
            }
        }
    }
}

fn forge(front: &[u8], payloads: &[u8], records: u16) -> Vec<u8> {
    let crc = |bytes: &[u8]| vqcodec_core::checksum::crc32(bytes).to_le_bytes();
    let mut bytes = b"VQB\x1a".to_vec();
    bytes.extend((front.len() as u32).to_le_bytes());
    bytes.extend((payloads.len() as u32).to_le_bytes());
    bytes.extend(records.to_le_bytes());
    bytes.extend(crc(&bytes));
    for section in [front, payloads] {
        bytes.extend(section);
        bytes.extend(crc(section));
    }
    bytes
}

#[test]
fn every_flip_and_every_cut_of_a_block_is_noticed() {
    let bytes = block(&sample(), 0);
    check(&Block::read(&bytes).unwrap(), &sample());
    for length in 0..bytes.len() {
        assert!(Block::read(&bytes[..length]).is_err(), "{length} bytes");
    }
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Block::read(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn every_flip_and_every_cut_of_start_and_end_is_noticed() {
    let start = write_start(b"a note").unwrap();
    assert_eq!(read_start(&start).unwrap(), (b"a note".as_slice(), start.len()));
    let end = write_end(&[(100, 3), (50, 256)], 16).unwrap();
    let read_end = |bytes: &[u8]| {
        let (index, trailer) = bytes.split_last_chunk::<TRAILER_BYTES>().unwrap();
        Index::read(index, 16, read_trailer(trailer)?)
    };
    let index = read_end(&end).unwrap();
    assert_eq!((index.blocks(), index.records()), (2, 259));
    assert_eq!(index.locate(2).unwrap().block, 0);
    let place = index.locate(3).unwrap();
    assert_eq!((place.block, place.offset, place.bytes, place.first), (1, 116, 50, 3));
    assert_eq!(index.locate(259), None);
    for bit in 0..8 * start.len() {
        let mut damaged = start.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read_start(&damaged).is_err(), "bit {bit}");
    }
    for bit in 0..8 * end.len() {
        let mut damaged = end.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read_end(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..start.len() {
        let error = read_start(&start[..length]).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{length} bytes: {error}");
    }
    assert_eq!(read_start(b"VQC\x1a\x02"), Err(Error::NotVqa));
    assert_eq!(read_start(b"VQA\x1a\x02"), Err(Error::UnsupportedArchive(2)));
}

#[test]
fn blocks_are_full_at_256_records_or_256_kib() {
    let small = file(30, 1, CODES_VERSION, false);
    let mut writer = BlockWriter::default();
    for _ in 0..255 {
        writer.add(&small, Tag::default()).unwrap();
    }
    assert!(!writer.is_full());
    writer.add(&small, Tag::default()).unwrap();
    assert!(writer.is_full());
    let overhead = writer.finish().unwrap().len() as f64 / 256.0;
    let payload: usize =
        split(&small, &Limits::default()).unwrap().parts.iter().map(|p| p.len()).sum();
    let parts = split(&small, &Limits::default()).unwrap().parts.len();
    assert!(overhead - (payload as f64) < parts as f64 + 0.5, "a byte or two for each length");

    let mut writer = BlockWriter::default();
    let extra = [7; 1 << 16];
    while !writer.is_full() {
        writer.add(&small, Tag { extra: &extra, ..Tag::default() }).unwrap();
    }
    assert_eq!(writer.records(), 4);
}

#[test]
fn what_does_not_fit_is_refused() {
    let small = file(30, 1, CODES_VERSION, false);
    let mut writer = BlockWriter::default();
    let name = "n".repeat(4097);
    let refused = [
        Tag { name: Some(&name), ..Tag::default() },
        Tag { name: Some(""), ..Tag::default() },
        Tag { label: Some(i32::MIN), ..Tag::default() },
        Tag { extra: &[0; (1 << 16) + 1], ..Tag::default() },
    ];
    for tag in refused {
        assert!(writer.add(&small, tag).is_err());
    }
    assert!(writer.add(&small[..small.len() - 1], Tag::default()).is_err());
    assert_eq!(writer.records(), 0);
    assert!(writer.finish().is_err(), "a block has at least one record");
    assert!(write_start(&[0; (1 << 16) + 1]).is_err());
}
