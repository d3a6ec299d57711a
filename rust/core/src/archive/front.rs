//! The front of a block: all of its records but their payloads.

use std::collections::HashMap;

use super::block::CONTRADICTION;
use super::tags::{Tag, Tags};
use crate::container::{Pieces, Reader, write_leb128};
use crate::error::{Error, Result};

/// What repeats in the headers of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Head {
    bytes: Vec<u8>,
    parts: usize,
}

/// Where the parts of one record are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    head: usize,
    /// Number of its first part.
    first: usize,
    /// Offset of its first part in the payloads.
    offset: usize,
}

/// The front of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Front {
    /// Inputs that were left out since the block before.
    pub skipped: u32,
    heads: Vec<Head>,
    numbers: HashMap<Head, usize>,
    entries: Vec<Entry>,
    lengths: Vec<u32>,
    payload_bytes: usize,
    tags: Tags,
}

impl Front {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Adds a record.
    pub fn push(&mut self, pieces: &Pieces, tag: Tag) -> Result<()> {
        tag.check()?;
        let lengths = pieces.parts.iter().map(|part| u32::try_from(part.len()).ok());
        let lengths = lengths.collect::<Option<Vec<u32>>>().ok_or(CONTRADICTION)?;
        let head = Head { bytes: pieces.head.to_vec(), parts: lengths.len() };
        let number = *self.numbers.entry(head).or_insert_with_key(|head| {
            self.heads.push(head.clone());
            self.heads.len() - 1
        });
        self.tags.push(tag);
        self.place(number, &lengths)
    }

    fn place(&mut self, head: usize, lengths: &[u32]) -> Result<()> {
        self.entries.push(Entry { head, first: self.lengths.len(), offset: self.payload_bytes });
        self.lengths.extend(lengths);
        for &length in lengths {
            let bytes = self.payload_bytes.checked_add(length as usize);
            self.payload_bytes = bytes.ok_or(CONTRADICTION)?;
        }
        Ok(())
    }

    /// The bytes of the front.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_leb128(self.skipped, &mut bytes);
        write_leb128(self.heads.len() as u32, &mut bytes);
        for head in &self.heads {
            write_leb128(head.bytes.len() as u32, &mut bytes);
            bytes.extend(&head.bytes);
            write_leb128(head.parts as u32, &mut bytes);
        }
        for (record, entry) in self.entries.iter().enumerate() {
            if self.heads.len() > 1 {
                write_leb128(entry.head as u32, &mut bytes);
            }
            self.lengths(record).iter().for_each(|&length| write_leb128(length, &mut bytes));
        }
        self.tags.write(&mut bytes);
        bytes
    }

    /// Mirror of `write`. The checksum has been checked: what does not fit is a contradiction.
    pub fn read(bytes: &[u8], records: usize) -> Result<Self> {
        Self::parse(&mut Reader { bytes, position: 0 }, records).map_err(|_| CONTRADICTION)
    }

    fn parse(reader: &mut Reader, records: usize) -> Result<Self> {
        let mut front = Self { skipped: reader.leb128()?, ..Self::default() };
        let heads = reader.leb128()? as usize;
        if heads > records {
            return Err(CONTRADICTION);
        }
        for _ in 0..heads {
            let length = reader.leb128()? as usize;
            let bytes = reader.rest().get(..length).ok_or(CONTRADICTION)?.to_vec();
            reader.position += length;
            let parts = reader.leb128()? as usize;
            front.heads.push(Head { bytes, parts });
        }
        for _ in 0..records {
            let head = if front.heads.len() == 1 { 0 } else { reader.leb128()? as usize };
            let parts = front.heads.get(head).ok_or(CONTRADICTION)?.parts;
            let lengths = (0..parts).map(|_| reader.leb128()).collect::<Result<Vec<_>>>()?;
            front.place(head, &lengths)?;
        }
        front.tags = Tags::read(reader, records)?;
        Ok(front)
    }

    /// The bytes of a record's head, and the offset of its first part in the payloads.
    pub fn head(&self, record: usize) -> Result<(&[u8], usize)> {
        let entry = self.entries.get(record).ok_or_else(|| no_record(record))?;
        Ok((&self.heads[entry.head].bytes, entry.offset))
    }

    /// The lengths of a record's parts; nothing where there is no such record.
    pub fn lengths(&self, record: usize) -> &[u32] {
        self.entries.get(record).map_or(&[], |entry| {
            &self.lengths[entry.first..entry.first + self.heads[entry.head].parts]
        })
    }

    /// The tag of a record; an empty one where there is no such record.
    pub fn tag(&self, record: usize) -> Tag<'_> {
        self.tags.get(record)
    }
}

pub(super) fn no_record(record: usize) -> Error {
    Error::InvalidInput(format!("the block has no record {record}"))
}
