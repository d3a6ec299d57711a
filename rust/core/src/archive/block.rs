//! Blocks: a few hundred files, stored together and checked together.

use super::front::Front;
use super::tags::Tag;
use crate::checksum::crc32;
use crate::container::{join, join_header, split};
use crate::cursor::Reader;
use crate::error::{Error, Result};
use crate::limits::Limits;

/// The first bytes of every block.
pub const MAGIC: [u8; 4] = *b"VQB\x1a";

/// Most records of a block.
pub const MAX_RECORDS: usize = 256;

/// A block is closed when its files and tags have come to so many bytes.
pub const FULL_BYTES: usize = 1 << 18;

const CHECKSUM_BYTES: usize = 4;

pub(super) const CONTRADICTION: Error = Error::Corrupted { what: "a block contradicts itself" };

/// The sizes that a block begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    front: u32,
    payloads: u32,
    /// Number of records.
    pub records: u16,
}

impl BlockHeader {
    /// Its own bytes.
    pub const BYTES: usize = 18;

    fn write(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.front.to_le_bytes());
        bytes.extend(self.payloads.to_le_bytes());
        bytes.extend(self.records.to_le_bytes());
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the header of a block, of which nothing more has to be there.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let truncated = Error::Truncated { what: "block" };
        let bytes: &[u8; Self::BYTES] = bytes.first_chunk().ok_or(truncated)?;
        let mut reader = Reader { bytes, position: 0 };
        let magic = reader.array()?;
        let (front, payloads) =
            (u32::from_le_bytes(reader.array()?), u32::from_le_bytes(reader.array()?));
        let records = u16::from_le_bytes(reader.array()?);
        let checksum = crc32(&bytes[..reader.position]);
        if magic != MAGIC || u32::from_le_bytes(reader.array()?) != checksum {
            return Err(Error::Corrupted { what: "there is no block where one should begin" });
        }
        let header = Self { front, payloads, records };
        let bounded = u32::try_from(header.block_bytes()).is_ok();
        if !bounded || !(1..=MAX_RECORDS).contains(&records.into()) {
            return Err(CONTRADICTION);
        }
        Ok(header)
    }

    /// Bytes up to the payloads.
    pub fn front_bytes(self) -> u64 {
        (Self::BYTES + CHECKSUM_BYTES) as u64 + u64::from(self.front)
    }

    /// Bytes of the whole block.
    pub fn block_bytes(self) -> u64 {
        self.front_bytes() + u64::from(self.payloads) + CHECKSUM_BYTES as u64
    }
}

/// Collects files into a block.
#[derive(Debug, Clone, Default)]
pub struct BlockWriter {
    front: Front,
    payloads: Vec<u8>,
    bytes: usize,
}

impl BlockWriter {
    /// Adds a file, all of whose checksums are verified.
    pub fn add(&mut self, file: &[u8], tag: Tag) -> Result<()> {
        let pieces = split(file, &Limits::with_max_pixels(u64::MAX))?;
        // What is there may be FULL_BYTES less one: the sum of all is far below 2^32.
        if file.len() > i32::MAX as usize {
            let (value, limit) = (file.len() as u64, i32::MAX as u64);
            return Err(Error::OverLimit { what: "bytes of a record", value, limit });
        }
        self.front.push(&pieces, tag)?;
        pieces.parts.iter().for_each(|part| self.payloads.extend_from_slice(part));
        self.bytes += file.len() + tag.name.unwrap_or_default().len() + tag.extra.len();
        Ok(())
    }

    /// Notes that an input was left out.
    pub fn skip(&mut self) {
        self.front.skipped = self.front.skipped.saturating_add(1);
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.front.len()
    }

    /// Whether the block has to be closed.
    pub fn is_full(&self) -> bool {
        self.records() >= MAX_RECORDS || self.bytes >= FULL_BYTES
    }

    /// The bytes of the block, which has at least one record.
    pub fn finish(self) -> Result<Vec<u8>> {
        let front = self.front.write();
        let over = |_| Error::OverLimit {
            what: "bytes of a block",
            value: (front.len() + self.payloads.len()) as u64,
            limit: u32::MAX.into(),
        };
        let header = BlockHeader {
            front: u32::try_from(front.len()).map_err(over)?,
            payloads: u32::try_from(self.payloads.len()).map_err(over)?,
            records: self.records() as u16,
        };
        let mut bytes = header.write();
        for section in [&front, &self.payloads] {
            bytes.extend_from_slice(section);
            bytes.extend(crc32(section).to_le_bytes());
        }
        BlockHeader::read(&bytes)?;
        Ok(bytes)
    }
}

/// A block that was read, or the front of one.
#[derive(Debug, Clone)]
pub struct Block {
    front: Front,
    /// None where only the front was read.
    payloads: Option<Vec<u8>>,
}

impl Block {
    /// Reads a whole block, which nothing follows.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let header = BlockHeader::read(bytes)?;
        let (front, rest) = bytes
            .split_at_checked(header.front_bytes() as usize)
            .ok_or(Error::Truncated { what: "block" })?;
        let mut block = Self::read_front(front)?;
        if header.block_bytes() > bytes.len() as u64 {
            return Err(Error::Truncated { what: "block" });
        }
        let (payloads, checksum) = rest.split_last_chunk().ok_or(CONTRADICTION)?;
        if payloads.len() != block.front.payload_bytes() {
            return Err(CONTRADICTION);
        }
        if u32::from_le_bytes(*checksum) != crc32(payloads) {
            return Err(Error::Corrupted { what: "the payloads of a block are damaged" });
        }
        block.payloads = Some(payloads.to_vec());
        Ok(block)
    }

    /// Reads a block up to its payloads: everything but whole files can then be asked for.
    pub fn read_front(bytes: &[u8]) -> Result<Self> {
        let header = BlockHeader::read(bytes)?;
        let front = bytes.get(BlockHeader::BYTES..header.front_bytes() as usize);
        let (front, checksum) = front
            .and_then(|front| front.split_last_chunk())
            .ok_or(Error::Truncated { what: "block" })?;
        if u32::from_le_bytes(*checksum) != crc32(front) {
            return Err(Error::Corrupted { what: "the front of a block is damaged" });
        }
        let front = Front::read(front, header.records.into())?;
        if front.payload_bytes() != header.payloads as usize {
            return Err(CONTRADICTION);
        }
        Ok(Self { front, payloads: None })
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.front.len()
    }

    /// Inputs that were left out since the block before.
    pub fn skipped(&self) -> u32 {
        self.front.skipped
    }

    /// What is known of a record; nothing where there is no such record.
    pub fn tag(&self, record: usize) -> Tag<'_> {
        self.front.tag(record)
    }

    /// The header of a record's file.
    pub fn file_header(&self, record: usize) -> Result<Vec<u8>> {
        let (head, _) = self.front.head(record)?;
        Ok(join_header(&head, self.front.lengths(record)))
    }

    /// The file of a record, as it was added.
    pub fn file(&self, record: usize) -> Result<Vec<u8>> {
        let payloads = self.payloads.as_ref();
        let payloads =
            payloads.ok_or_else(|| Error::InvalidInput("only the front was read".into()))?;
        let (head, mut offset) = self.front.head(record)?;
        let parts = self.front.lengths(record).iter().map(|&length| {
            let part = payloads.get(offset..offset + length as usize);
            offset += length as usize; // their sum is the number of payload bytes
            part.ok_or(CONTRADICTION)
        });
        join(&head, &parts.collect::<Result<Vec<_>>>()?)
    }
}
