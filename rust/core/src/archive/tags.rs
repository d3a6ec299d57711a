//! What is known of a record besides its picture: name, label, extra bytes. Stored by columns.

use std::ops::Range;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::block::{CONTRADICTION, MAX_RECORDS};
use crate::cursor::{Reader, write_leb128};
use crate::error::{Error, Result};

/// Most bytes of a name.
pub const MAX_NAME: usize = 4096;

/// Most bytes of an extra.
pub const MAX_EXTRA: usize = 1 << 16;

/// Most bytes that the tags of a block inflate to.
const MAX_BYTES: usize = MAX_RECORDS * (MAX_NAME + MAX_EXTRA + 16);

const DEFLATE_LEVEL: u8 = 6;

const NAMES: u8 = 1;
const LABELS: u8 = 2;
const EXTRAS: u8 = 4;

/// What is known of one record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tag<'a> {
    /// A path, say.
    pub name: Option<&'a str>,
    /// The number of a class, say.
    pub label: Option<i32>,
    /// Anything.
    pub extra: &'a [u8],
}

impl Tag<'_> {
    /// The limits that hold in both directions.
    pub(super) fn check(&self) -> Result<()> {
        let within = |what, value: usize, limit: usize| match value <= limit {
            true => Ok(()),
            false => Err(Error::OverLimit { what, value: value as u64, limit: limit as u64 }),
        };
        within("bytes of a name", self.name.unwrap_or_default().len(), MAX_NAME)?;
        within("bytes of an extra", self.extra.len(), MAX_EXTRA)?;
        if self.name == Some("") || self.label == Some(i32::MIN) {
            return Err(Error::InvalidInput(
                "a name has at least one byte, a label lies within +-(2^31 - 1)".into(),
            ));
        }
        Ok(())
    }
}

/// The tags of all records of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tags {
    names: Column,
    labels: Vec<Option<i32>>,
    extras: Column,
}

/// One string of bytes for each record; no distinction between none and an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Column {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Column {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.ends.push(self.bytes.len());
    }

    fn range(&self, record: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(record)?;
        let start = record.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(start..end)
    }

    fn get(&self, record: usize) -> &[u8] {
        self.range(record).map_or(&[], |range| &self.bytes[range])
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        for record in 0..self.ends.len() {
            write_leb128(self.get(record).len() as u32, bytes);
        }
        bytes.extend(&self.bytes);
    }

    fn read(reader: &mut Reader, records: usize, longest: usize) -> Result<Self> {
        let mut column = Self::default();
        let mut end = 0;
        for _ in 0..records {
            let length = reader.leb128()? as usize;
            if length > longest {
                return Err(CONTRADICTION);
            }
            end += length;
            column.ends.push(end);
        }
        column.bytes = reader.rest().get(..end).ok_or(CONTRADICTION)?.to_vec();
        reader.position += end;
        Ok(column)
    }
}

impl Tags {
    pub fn push(&mut self, tag: Tag) {
        self.names.push(tag.name.unwrap_or_default().as_bytes());
        self.labels.push(tag.label);
        self.extras.push(tag.extra);
    }

    pub fn get(&self, record: usize) -> Tag<'_> {
        let name = std::str::from_utf8(self.names.get(record)).unwrap_or_default(); // checked when read
        Tag {
            name: Some(name).filter(|name| !name.is_empty()),
            label: self.labels.get(record).copied().flatten(),
            extra: self.extras.get(record),
        }
    }

    /// Appends the tags to a front.
    pub fn write(&self, front: &mut Vec<u8>) {
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        let labelled = self.labels.iter().any(Option::is_some);
        let flags = flag(!self.names.bytes.is_empty(), NAMES)
            | flag(labelled, LABELS)
            | flag(!self.extras.bytes.is_empty(), EXTRAS);
        if flags == 0 {
            front.push(0);
            return;
        }
        let mut bytes = vec![flags];
        if flags & NAMES != 0 {
            self.names.write(&mut bytes);
        }
        if flags & LABELS != 0 {
            for &label in &self.labels {
                write_leb128(label.map_or(0, |label| 1 + zigzag(label)), &mut bytes);
            }
        }
        if flags & EXTRAS != 0 {
            self.extras.write(&mut bytes);
        }
        write_leb128(bytes.len() as u32, front); // at most MAX_BYTES
        front.extend(compress_to_vec(&bytes, DEFLATE_LEVEL));
    }

    /// Mirror of `write`: takes the rest of a front.
    pub fn read(reader: &mut Reader, records: usize) -> Result<Self> {
        let length = reader.leb128()? as usize;
        let deflated = reader.rest();
        reader.position += deflated.len();
        if length == 0 {
            return if deflated.is_empty() { Ok(Self::default()) } else { Err(CONTRADICTION) };
        }
        if length > MAX_BYTES {
            return Err(CONTRADICTION);
        }
        let bytes = decompress_to_vec_with_limit(deflated, length).map_err(|_| CONTRADICTION)?;
        if bytes.len() != length {
            return Err(CONTRADICTION);
        }
        Self::inflated(&bytes, records)
    }

    fn inflated(bytes: &[u8], records: usize) -> Result<Self> {
        let mut reader = Reader { bytes, position: 0 };
        let flags = reader.byte()?;
        let mut tags = Self::default();
        if flags & NAMES != 0 {
            tags.names = Column::read(&mut reader, records, MAX_NAME)?;
            let names = (0..records).map(|record| tags.names.get(record));
            if names.map(std::str::from_utf8).any(|name| name.is_err()) {
                return Err(CONTRADICTION);
            }
        }
        if flags & LABELS != 0 {
            let label = |_| Ok(reader.leb128()?.checked_sub(1).map(unzigzag));
            tags.labels = (0..records).map(label).collect::<Result<_>>()?;
        }
        if flags & EXTRAS != 0 {
            tags.extras = Column::read(&mut reader, records, MAX_EXTRA)?;
        }
        let known = flags & !(NAMES | LABELS | EXTRAS) == 0;
        if known && reader.rest().is_empty() { Ok(tags) } else { Err(CONTRADICTION) }
    }
}

/// Small numbers of both signs as small numbers.
fn zigzag(label: i32) -> u32 {
    (label << 1 ^ label >> 31) as u32
}

fn unzigzag(code: u32) -> i32 {
    (code >> 1) as i32 ^ -((code & 1) as i32)
}
