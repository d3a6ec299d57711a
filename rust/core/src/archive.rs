#![doc = include_str!("../ARCHIVE.md")]

mod block;
mod front;
mod tags;

pub use block::{Block, BlockHeader, BlockWriter};
pub use tags::Tag;

use crate::checksum::crc32;
use crate::cursor::{Reader, write_leb128};
use crate::error::{Error, Result};

/// The first bytes of every archive.
pub const MAGIC: [u8; 4] = *b"VQA\x1a";

/// The format version.
pub const VERSION: u8 = 1;

/// The last bytes of every sealed archive.
pub const END: [u8; 4] = *b"\x1aVQA";

/// Bytes of the trailer of a sealed archive.
pub const TRAILER_BYTES: usize = 24;

/// Most bytes of the note at the start of an archive.
pub const MAX_NOTE: usize = 1 << 16;

/// Most bytes before the first block.
pub const MAX_START: usize = MAX_NOTE + 16;

const CONTRADICTION: Error =
    Error::Corrupted { what: "the index contradicts the size of the archive" };

/// What comes before the first block.
pub fn write_start(note: &[u8]) -> Result<Vec<u8>> {
    if note.len() > MAX_NOTE {
        let (value, limit) = (note.len() as u64, MAX_NOTE as u64);
        return Err(Error::OverLimit { what: "bytes of a note", value, limit });
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, 0]);
    write_leb128(note.len() as u32, &mut bytes);
    bytes.extend(note);
    bytes.extend(crc32(&bytes).to_le_bytes());
    Ok(bytes)
}

/// Mirror of [`write_start`]: the note, and the offset of the first block. Of the archive at least
/// the first [`MAX_START`] bytes must be there, or all.
pub fn read_start(bytes: &[u8]) -> Result<(&[u8], usize)> {
    if !bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic) {
        return Err(Error::NotVqa);
    }
    let mut reader = Reader { bytes, position: 0 };
    reader.array::<{ MAGIC.len() }>()?;
    match reader.byte()? {
        VERSION => {}
        version => return Err(Error::UnsupportedArchive(version)),
    }
    if reader.byte()? != 0 {
        return Err(Error::Corrupted { what: "reserved flag bits are set" });
    }
    let length = reader.leb128()? as usize;
    if length > MAX_NOTE {
        return Err(Error::Corrupted { what: "the note is longer than 64 KiB" });
    }
    let (note, _) =
        reader.rest().split_at_checked(length).ok_or(Error::Truncated { what: "note" })?;
    reader.position += length;
    let checksum = crc32(&bytes[..reader.position]);
    if u32::from_le_bytes(reader.array()?) != checksum {
        return Err(Error::Corrupted { what: "the header does not match its checksum" });
    }
    Ok((note, reader.position))
}

/// Index and trailer: what seals an archive of these blocks, `(bytes, records)` each, the first of
/// which begins at `start`.
pub fn write_end(blocks: &[(u32, u16)], start: u64) -> Result<Vec<u8>> {
    let too_many =
        |_| Error::OverLimit { what: "blocks", value: blocks.len() as u64, limit: u32::MAX.into() };
    let mut bytes = Vec::new();
    write_leb128(u32::try_from(blocks.len()).map_err(too_many)?, &mut bytes);
    let (mut offset, mut all) = (start, 0);
    for &(size, records) in blocks {
        write_leb128(size, &mut bytes);
        write_leb128(records.into(), &mut bytes);
        offset += u64::from(size);
        all += u64::from(records);
    }
    bytes.extend(crc32(&bytes).to_le_bytes());
    let mut trailer = [offset.to_le_bytes(), all.to_le_bytes()].concat();
    trailer.extend(crc32(&trailer).to_le_bytes());
    trailer.extend(END);
    Ok([bytes, trailer].concat())
}

/// What the last bytes of an archive say: the offset of its index and the number of its records.
pub fn read_trailer(trailer: &[u8; TRAILER_BYTES]) -> Result<(u64, u64)> {
    let mut reader = Reader { bytes: trailer, position: 0 };
    let (offset, records) =
        (u64::from_le_bytes(reader.array()?), u64::from_le_bytes(reader.array()?));
    let (checksum, end) = (u32::from_le_bytes(reader.array()?), reader.array()?);
    if end != END {
        return Err(Error::Truncated { what: "archive, which was not sealed" });
    }
    if checksum != crc32(&trailer[..16]) {
        return Err(Error::Corrupted { what: "the trailer does not match its checksum" });
    }
    Ok((offset, records))
}

/// Where one block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the block.
    pub block: usize,
    /// Its first byte in the archive.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// Number of its first record.
    pub first: u64,
}

/// Where the blocks of a sealed archive are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Offset and number of the first record of each block, and of what would come next.
    bounds: Vec<(u64, u64)>,
}

impl Index {
    /// Reads an index, `bytes` without the trailer, of an archive whose first block is at `start`
    /// and whose trailer says what `(offset, records)` there are.
    pub fn read(bytes: &[u8], start: u64, end: (u64, u64)) -> Result<Self> {
        let (index, checksum) = bytes.split_last_chunk().ok_or(CONTRADICTION)?;
        if u32::from_le_bytes(*checksum) != crc32(index) {
            return Err(Error::Corrupted { what: "the index does not match its checksum" });
        }
        let mut reader = Reader { bytes: index, position: 0 };
        let count = reader.leb128()? as usize;
        if count > index.len() / 2 {
            return Err(CONTRADICTION); // each block has at least two bytes
        }
        let mut bounds = Vec::with_capacity(count + 1);
        let mut bound = (start, 0);
        bounds.push(bound);
        for _ in 0..count {
            let (size, records) = (reader.leb128()?, reader.leb128()?);
            if size == 0 || records == 0 {
                return Err(CONTRADICTION);
            }
            bound = (bound.0 + u64::from(size), bound.1 + u64::from(records));
            bounds.push(bound);
        }
        if bound != end || !reader.rest().is_empty() {
            return Err(CONTRADICTION);
        }
        Ok(Self { bounds })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.bounds.last().map_or(0, |&(_, records)| records)
    }

    /// Where a block is, if there is one of that number.
    pub fn place(&self, block: usize) -> Option<Place> {
        let (offset, first) = *self.bounds.get(block)?;
        let (end, _) = *self.bounds.get(block.checked_add(1)?)?;
        Some(Place { block, offset, bytes: end - offset, first })
    }

    /// Where the block of a record is, if there is one of that number.
    pub fn locate(&self, record: u64) -> Option<Place> {
        self.place(self.bounds.partition_point(|&(_, first)| first <= record).checked_sub(1)?)
    }
}
