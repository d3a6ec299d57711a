//! The front of a block: all of its records but their payloads.

use std::collections::HashMap;

use super::block::CONTRADICTION;
use super::tags::{Tag, Tags};
use crate::container::Pieces;
use crate::cursor::{Reader, write_leb128};
use crate::error::{Error, Result};

/// What repeats in the headers of files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Head {
    bytes: Vec<u8>,
    /// Bytes behind it that each record has of its own.
    own: usize,
    parts: usize,
}

/// Where the parts of one record are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    head: usize,
    /// Where its own bytes begin among those of all records.
    own: usize,
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
    own: Vec<u8>,
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
        let own = pieces.own.len();
        let head = Head { bytes: pieces.head.to_vec(), own, parts: lengths.len() };
        let number = *self.numbers.entry(head).or_insert_with_key(|head| {
            self.heads.push(head.clone());
            self.heads.len() - 1
        });
        self.tags.push(tag);
        self.place(number, pieces.own, &lengths)
    }

    fn place(&mut self, head: usize, own: &[u8], lengths: &[u32]) -> Result<()> {
        let (first, offset) = (self.lengths.len(), self.payload_bytes);
        self.entries.push(Entry { head, own: self.own.len(), first, offset });
        self.own.extend(own);
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
            write_leb128(head.own as u32, &mut bytes);
            write_leb128(head.parts as u32, &mut bytes);
        }
        for (record, entry) in self.entries.iter().enumerate() {
            if self.heads.len() > 1 {
                write_leb128(entry.head as u32, &mut bytes);
            }
            bytes.extend(self.own(entry));
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
            let bytes = take(reader, length)?.to_vec();
            let (own, parts) = (reader.leb128()? as usize, reader.leb128()? as usize);
            front.heads.push(Head { bytes, own, parts });
        }
        for _ in 0..records {
            let head = if front.heads.len() == 1 { 0 } else { reader.leb128()? as usize };
            let &Head { own, parts, .. } = front.heads.get(head).ok_or(CONTRADICTION)?;
            let own = take(reader, own)?;
            let lengths = (0..parts).map(|_| reader.leb128()).collect::<Result<Vec<_>>>()?;
            front.place(head, own, &lengths)?;
        }
        front.tags = Tags::read(reader, records)?;
        Ok(front)
    }

    /// A record's head with its own bytes, and the offset of its first part in the payloads.
    pub fn head(&self, record: usize) -> Result<(Vec<u8>, usize)> {
        let entry = self.entries.get(record).ok_or_else(|| no_record(record))?;
        Ok(([&self.heads[entry.head].bytes, self.own(entry)].concat(), entry.offset))
    }

    fn own(&self, entry: &Entry) -> &[u8] {
        &self.own[entry.own..][..self.heads[entry.head].own]
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

fn take<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8]> {
    let taken = reader.rest().get(..count).ok_or(CONTRADICTION)?;
    reader.position += count;
    Ok(taken)
}

pub(super) fn no_record(record: usize) -> Error {
    Error::InvalidInput(format!("the block has no record {record}"))
}
