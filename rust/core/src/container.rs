#![doc = include_str!("../FORMAT.md")]

use crate::checksum::crc32;
use crate::cursor::{Reader, write_leb128};
use crate::error::{Error, Result};
use crate::header::{Header, MAGIC};
use crate::limits::Limits;

/// Bytes of a CRC-32.
const CHECKSUM_BYTES: u64 = 4;

/// Where a payload or the alpha chunk lies in a file, its checksum not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u32,
}

/// A parsed header and the places of everything behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What the file says about its picture.
    pub header: Header,
    /// One payload for each tile of each level.
    pub payloads: Vec<Vec<Part>>,
    /// The alpha chunk.
    pub alpha: Option<Part>,
    /// The metadata chunk.
    pub metadata: Option<Part>,
    /// One payload for each tile of the exact samples.
    pub exact: Vec<Part>,
    /// Bytes before the first payload, the header's checksum included.
    pub header_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

/// What stands behind the header of a file, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// One payload for each tile of each level.
    pub payloads: &'a [Vec<Vec<u8>>],
    /// The alpha chunk.
    pub alpha: Option<&'a [u8]>,
    /// The metadata chunk.
    pub metadata: Option<&'a [u8]>,
    /// One payload for each tile of the exact samples.
    pub exact: &'a [Vec<u8>],
}

impl<'a> Parts<'a> {
    /// Those of a file of codes alone.
    pub fn of_codes(payloads: &'a [Vec<Vec<u8>>], alpha: Option<&'a [u8]>) -> Self {
        Self { payloads, alpha, ..Self::default() }
    }
}

/// Puts a file together.
pub fn write(header: &Header, parts: Parts) -> Result<Vec<u8>> {
    let Parts { payloads, alpha, metadata, exact } = parts;
    let has = (alpha.is_some(), metadata.is_some());
    header.check(has).map_err(|what| Error::InvalidInput(what.into()))?;
    let tiles = header.levels.iter().map(|&level| header.tiles(level).len());
    let all = tiles.eq(payloads.iter().map(Vec::len));
    if !all || header.exact_tiles().len() != exact.len() {
        return Err(Error::InvalidInput("there must be one payload for each tile".into()));
    }
    let head = header.write(has);
    let codes = payloads.iter().flatten().map(Vec::as_slice).chain(alpha).chain(metadata);
    join(&head, &codes.chain(exact.iter().map(Vec::as_slice)).collect::<Vec<_>>())
}

/// A whole file without what can be computed again: what an archive keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// The header between the magic number and `own`.
    pub head: &'a [u8],
    /// From there to the lengths of the parts: what no other picture has, the checksum of exact samples or the filter.
    pub own: &'a [u8],
    /// The payloads in the order of the file, then the alpha chunk.
    pub parts: Vec<&'a [u8]>,
}

/// Takes a whole file apart, after all checks that need no model.
pub fn split<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Pieces<'a>> {
    let container = parse(bytes, limits)?;
    container.verify(bytes)?;
    let mut parts = Vec::new();
    let mut behind_head = CHECKSUM_BYTES as usize;
    for &part in container.parts() {
        let mut length = Vec::new();
        write_leb128(part.length, &mut length);
        behind_head += length.len();
        parts.push(container.verified_payload(bytes, part)?);
    }
    let checksum = if container.header.exact.is_some() { CHECKSUM_BYTES as usize } else { 0 };
    let own = checksum + container.header.filter_bytes().len();
    let head = &bytes[MAGIC.len()..container.header_bytes as usize - behind_head];
    let (head, own) = head.split_at(head.len() - own);
    Ok(Pieces { head, own, parts })
}

/// Mirror of [`split`]; whether the parts are those that the head promises is found by [`parse`].
pub fn join(head: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>> {
    let lengths = parts.iter().map(|part| part_length(part)).collect::<Result<Vec<_>>>()?;
    let mut bytes = join_header(head, &lengths);
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.extend(crc32(part).to_le_bytes());
    }
    Ok(bytes)
}

/// The header alone of what [`join`] gives for parts of these lengths.
pub fn join_header(head: &[u8], lengths: &[u32]) -> Vec<u8> {
    let mut bytes = [&MAGIC, head].concat();
    lengths.iter().for_each(|&length| write_leb128(length, &mut bytes));
    bytes.extend(crc32(&bytes).to_le_bytes());
    bytes
}

/// Reads the header of a file, of which at least the header must be there.
///
/// Payloads are not looked at: [`Container::verify`] checks a whole file,
/// [`Container::verify_levels`] its first levels, of which the rest may be missing.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Container> {
    let mut reader = Reader { bytes, position: 0 };
    let (header, has) = Header::read(&mut reader)?;
    read_lengths(reader, header, limits, has)
}

/// The end of the header: the lengths of all parts, and its checksum.
fn read_lengths(
    mut reader: Reader,
    header: Header,
    limits: &Limits,
    (alpha, metadata): (bool, bool),
) -> Result<Container> {
    if check_size(&header, limits)? > reader.rest().len() as u64 {
        return Err(Error::Truncated { what: "header" }); // each length has at least one byte
    }
    let mut payloads = Vec::with_capacity(header.levels.len());
    for &level in &header.levels {
        payloads.push(header.tiles(level).map(|_| reader.leb128()).collect::<Result<Vec<u32>>>()?);
    }
    let alpha = if alpha { Some(reader.leb128()?) } else { None };
    let metadata = if metadata { Some(reader.leb128()?) } else { None };
    let exact = header.exact_tiles().map(|_| reader.leb128()).collect::<Result<Vec<u32>>>()?;
    let checksum = crc32(&reader.bytes[..reader.position]);
    if u32::from_le_bytes(reader.array()?) != checksum {
        return Err(Error::Corrupted { what: "the header does not match its checksum" });
    }
    Ok(locate(header, reader.position as u64, (payloads, alpha, metadata, exact)))
}

/// Checks the numbers of pixels and of tiles; returns the latter.
pub(crate) fn check_size(header: &Header, limits: &Limits) -> Result<u64> {
    limits.check_picture(header.width, header.height)?;
    let tiles = header.levels.iter().map(|&level| header.tiles(level).len());
    let exact = header.exact_tiles().len() as u64;
    let tiles = tiles.fold(exact, |sum, tiles| sum.saturating_add(tiles as u64));
    limits.check_tiles(tiles)?;
    Ok(tiles)
}

type Lengths = (Vec<Vec<u32>>, Option<u32>, Option<u32>, Vec<u32>);

/// Lays parts of the given lengths out behind a header of `header_bytes`.
fn locate(
    header: Header,
    header_bytes: u64,
    (payloads, alpha, metadata, exact): Lengths,
) -> Container {
    let mut end = header_bytes; // at most 2^20 tiles of 2^32 bytes: far from overflowing
    let mut place = |length: u32| {
        let part = Part { offset: end, length };
        end += u64::from(length) + CHECKSUM_BYTES;
        part
    };
    let payloads =
        payloads.into_iter().map(|lengths| lengths.into_iter().map(&mut place).collect()).collect();
    let (alpha, metadata) = (alpha.map(&mut place), metadata.map(&mut place));
    let exact = exact.into_iter().map(&mut place).collect();
    Container { header, payloads, alpha, metadata, exact, header_bytes, file_bytes: end }
}

impl Container {
    /// Everything behind the header, in the order of the file.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let codes = self.payloads.iter().flatten().chain(&self.alpha);
        codes.chain(&self.metadata).chain(&self.exact)
    }

    /// The bytes of one payload or of the alpha chunk, checked.
    pub fn payload<'a>(&self, bytes: &'a [u8], part: Part) -> Result<&'a [u8]> {
        let (payload, checksum) = split_part(bytes, part)?;
        if u32::from_le_bytes(checksum) != crc32(payload) {
            return Err(Error::Corrupted { what: "a payload does not match its checksum" });
        }
        Ok(payload)
    }

    /// The same where [`verify_levels`](Self::verify_levels) has been through the checksums already.
    pub fn verified_payload<'a>(&self, bytes: &'a [u8], part: Part) -> Result<&'a [u8]> {
        split_part(bytes, part).map(|(payload, _)| payload)
    }

    /// Checks the length of a whole file and all checksums in it.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        if length < self.file_bytes {
            return Err(Error::Truncated { what: "payloads" });
        }
        self.parts().try_for_each(|&part| self.payload(bytes, part).map(drop))?;
        if length > self.file_bytes {
            return Err(Error::Corrupted { what: "there are trailing bytes behind the file" });
        }
        Ok(())
    }

    /// Checks the checksums of the first levels, and looks at nothing behind these.
    pub fn verify_levels(&self, bytes: &[u8], levels: usize) -> Result<()> {
        let mut parts = self.payloads.iter().take(levels).flatten();
        parts.try_for_each(|&part| self.payload(bytes, part).map(drop))
    }
}

/// The bytes of a part, and the checksum behind them.
fn split_part(bytes: &[u8], part: Part) -> Result<(&[u8], [u8; 4])> {
    let offset = usize::try_from(part.offset).ok();
    offset
        .and_then(|offset| bytes.get(offset..)?.split_at_checked(part.length as usize))
        .and_then(|(payload, rest)| Some((payload, *rest.first_chunk()?)))
        .ok_or(Error::Truncated { what: "payloads" })
}

fn part_length(part: &[u8]) -> Result<u32> {
    u32::try_from(part.len()).map_err(|_| Error::OverLimit {
        what: "bytes of a payload",
        value: part.len() as u64,
        limit: u32::MAX.into(),
    })
}
