#![doc = include_str!("../FORMAT.md")]

use crate::checksum::{ModelId, crc32};
use crate::codes::{Tile, tiles};
use crate::error::{Error, Result};
use crate::filter::{self, Filter};
use crate::limits::Limits;

/// The first bytes of every file.
pub const MAGIC: [u8; 4] = *b"VQC\x1a";

/// The newest format version: every version from 1 is read.
pub const VERSION: u8 = 7;

/// The version of files of codes alone, which the parts of version 3 are not in.
pub const CODES_VERSION: u8 = 2;

/// The version of files of exact samples, unless they have tiles that a later one brought.
pub const EXACT_VERSION: u8 = 3;

/// The version that brought tiles coded by a model of pixels.
pub const PIXELS_VERSION: u8 = 4;

/// The version that brought tiles with coded palettes.
pub const COLOURS_VERSION: u8 = 5;

/// The version that brought tiles coded with the help of a learned expert.
pub const LEARNED_VERSION: u8 = 6;

/// The version of files with a filter, which brought it.
pub const FILTER_VERSION: u8 = 7;

/// What a file names that needs no model.
pub const NO_MODEL: ModelId = ModelId([0; 8]);

/// Most levels of a file.
pub const MAX_LEVELS: usize = 4;

/// Largest base-2 logarithm of a stride or a tile's side.
pub const MAX_LOG2: u8 = 15;

/// Largest base-2 logarithm of the side of a tile of exact samples.
pub const MAX_EXACT_LOG2: u8 = 12;

/// Bytes of a CRC-32.
const CHECKSUM_BYTES: u64 = 4;

const GRAY: u8 = 1;
const ALPHA: u8 = 2;
const EXACT: u8 = 4;
const METADATA: u8 = 8;
const FILTER: u8 = 16;

/// How one level divides a picture into codes and tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    /// Base-2 logarithm of the pixels from one position to the next.
    pub stride_log2: u8,
    /// Base-2 logarithm of a tile's side in positions.
    pub tile_log2: u8,
}

impl Level {
    /// Pixels from one position to the next.
    pub fn stride(self) -> u32 {
        1 << self.stride_log2
    }

    /// Side of a tile in positions.
    pub fn tile_side(self) -> u32 {
        1 << self.tile_log2
    }
}

/// How a file holds all samples of a picture exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exact {
    /// Samples of a pixel: 1 gray, 2 gray and alpha, 3 sRGB, 4 sRGB and alpha.
    pub channels: u8,
    /// Bits of a sample, 1 to 16.
    pub bits: u8,
    /// Base-2 logarithm of a tile's side in pixels.
    pub tile_log2: u8,
    /// CRC-32 of all samples in raster order, channels innermost: bytes up to 8 bits, else pairs of them.
    pub checksum: u32,
}

/// What a file says about its picture.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// Format version: 1 to [`VERSION`].
    pub version: u8,
    /// Whether the picture is to be shown in one channel.
    pub gray: bool,
    /// The model that is needed to decode it.
    pub model: ModelId,
    /// Position between the model's quality levels in 1/16 of a level.
    pub quality: u8,
    /// Columns of pixels, at least 1.
    pub width: u32,
    /// Rows of pixels, at least 1.
    pub height: u32,
    /// The levels, coarse to fine: 1 to 4 of them, strides never growing; none in a file of exact
    /// samples without a preview.
    pub levels: Vec<Level>,
    /// The exact samples.
    pub exact: Option<Exact>,
    /// The bytes of the [`Filter`] of the picture in its codes; none without one.
    pub filter: Vec<u8>,
}

impl Header {
    /// The filter of the picture in its codes.
    pub fn filter(&self) -> Result<Option<Filter>> {
        if self.filter.is_empty() { Ok(None) } else { Filter::read(&self.filter).map(Some) }
    }

    /// Whether the exact samples need a model of pixels.
    pub fn needs_pixel_model(&self) -> bool {
        self.levels.is_empty() && self.model != NO_MODEL
    }

    /// Whether scales adapt to the picture, as they do since version 2.
    pub fn adaptive(&self) -> bool {
        self.version >= 2
    }

    /// Rows and columns of positions of a level.
    pub fn grid(&self, level: Level) -> (usize, usize) {
        let cells = |pixels: u32| pixels.div_ceil(level.stride()) as usize;
        (cells(self.height), cells(self.width))
    }

    /// The tiles of the exact samples, in the order of their payloads; none where there are none.
    pub fn exact_tiles(&self) -> impl ExactSizeIterator<Item = Tile> + use<> {
        let (height, width) = match self.exact {
            Some(_) => (self.height as usize, self.width as usize),
            None => (0, 0),
        };
        tiles(height, width, self.exact.map_or(1, |exact| 1 << exact.tile_log2))
    }

    /// The tiles of a level, in the order of their payloads.
    pub fn tiles(&self, level: Level) -> impl ExactSizeIterator<Item = Tile> + use<> {
        let (height, width) = self.grid(level);
        tiles(height, width, level.tile_side() as usize)
    }
}

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
    check_header(header, has).map_err(|what| Error::InvalidInput(what.into()))?;
    let tiles = header.levels.iter().map(|&level| header.tiles(level).len());
    let all = tiles.eq(payloads.iter().map(Vec::len));
    if !all || header.exact_tiles().len() != exact.len() {
        return Err(Error::InvalidInput("there must be one payload for each tile".into()));
    }
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.push(header.version);
    bytes.push(
        if header.gray { GRAY } else { 0 }
            | if alpha.is_some() { ALPHA } else { 0 }
            | if header.exact.is_some() { EXACT } else { 0 }
            | if metadata.is_some() { METADATA } else { 0 }
            | if header.filter.is_empty() { 0 } else { FILTER },
    );
    bytes.extend(header.model.0);
    bytes.push(header.quality);
    write_leb128(header.width, &mut bytes);
    write_leb128(header.height, &mut bytes);
    bytes.push(header.levels.len() as u8);
    bytes.extend(header.levels.iter().map(|level| level.stride_log2 << 4 | level.tile_log2));
    if let Some(Exact { channels, bits, tile_log2, checksum }) = header.exact {
        bytes.extend([channels, bits, tile_log2]);
        bytes.extend(checksum.to_le_bytes());
    }
    bytes.extend(filter_bytes(header));
    let codes = payloads.iter().flatten().map(Vec::as_slice).chain(alpha).chain(metadata);
    join(&bytes[MAGIC.len()..], &codes.chain(exact.iter().map(Vec::as_slice)).collect::<Vec<_>>())
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
    let own = checksum + filter_bytes(&container.header).len();
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
    let version = read_magic(&mut reader)?;
    let flags = reader.byte()?;
    let exact = if version > CODES_VERSION { EXACT | METADATA } else { 0 };
    let known = GRAY | ALPHA | exact | if version >= FILTER_VERSION { FILTER } else { 0 };
    if flags & !known != 0 {
        return Err(Error::Corrupted { what: "reserved flag bits are set" });
    }
    let model = ModelId(reader.array()?);
    let quality = reader.byte()?;
    let (width, height) = (reader.leb128()?, reader.leb128()?);
    let level_count = reader.byte()?;
    if usize::from(level_count) > MAX_LEVELS {
        return Err(Error::Corrupted { what: LEVEL_COUNT });
    }
    let levels = (0..level_count).map(|_| {
        let level = reader.byte()?;
        Ok(Level { stride_log2: level >> 4, tile_log2: level & 15 })
    });
    let levels = levels.collect::<Result<_>>()?;
    let exact = if flags & EXACT != 0 { Some(read_exact(&mut reader)?) } else { None };
    let filter = if flags & FILTER != 0 { read_filter(&mut reader)? } else { Vec::new() };
    let gray = flags & GRAY != 0;
    let header = Header { version, gray, model, quality, width, height, levels, exact, filter };
    let has = (flags & ALPHA != 0, flags & METADATA != 0);
    check_header(&header, has).map_err(|what| Error::Corrupted { what })?;
    read_lengths(reader, header, limits, has)
}

fn read_exact(reader: &mut Reader) -> Result<Exact> {
    let [channels, bits, tile_log2] = reader.array()?;
    Ok(Exact { channels, bits, tile_log2, checksum: u32::from_le_bytes(reader.array()?) })
}

fn read_filter(reader: &mut Reader) -> Result<Vec<u8>> {
    let length = reader.leb128()? as usize;
    if !(1..=filter::MAX_BYTES).contains(&length) {
        return Err(Error::Corrupted { what: "a filter has 1 to 512 bytes" });
    }
    let bytes = reader.rest().get(..length).ok_or(Error::Truncated { what: "header" })?;
    reader.position += length;
    Ok(bytes.to_vec())
}

/// Mirror of `read_filter`.
fn filter_bytes(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !header.filter.is_empty() {
        write_leb128(header.filter.len() as u32, &mut bytes);
        bytes.extend(&header.filter);
    }
    bytes
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

const LEVEL_COUNT: &str = "the number of levels is not 1 to 4";

/// The rules for headers that hold in both directions, `(alpha, metadata)` being there or not.
fn check_header(
    header: &Header,
    (alpha, metadata): (bool, bool),
) -> std::result::Result<(), &'static str> {
    let levels = &header.levels;
    if !(1..=VERSION).contains(&header.version) {
        return Err("there is no such format version");
    }
    if header.version <= CODES_VERSION && (header.exact.is_some() || metadata) {
        return Err("this format version has neither exact samples nor metadata");
    }
    if !header.filter.is_empty() {
        if header.version < FILTER_VERSION || header.exact.is_some() {
            return Err("there is no filter in this format version or before exact samples");
        }
        if header.filter.len() > filter::MAX_BYTES || header.filter().is_err() {
            return Err("the filter in the header is damaged");
        }
    }
    if header.width == 0 || header.height == 0 {
        return Err("a picture has at least one pixel");
    }
    if levels.len() > MAX_LEVELS || (levels.is_empty() && header.exact.is_none()) {
        return Err(LEVEL_COUNT);
    }
    if levels.iter().any(|level| level.stride_log2.max(level.tile_log2) > MAX_LOG2) {
        return Err("a stride or a tile is larger than 32768");
    }
    if levels.windows(2).any(|pair| pair[0].stride_log2 < pair[1].stride_log2) {
        return Err("levels are not ordered from coarse to fine");
    }
    if levels.is_empty() && header.quality != 0 {
        return Err("a file without levels names a quality");
    }
    if header.needs_pixel_model() && header.version <= EXACT_VERSION {
        return Err("this format version has no model without levels");
    }
    let Some(exact) = header.exact else { return Ok(()) };
    if !(1..=4).contains(&exact.channels) || !(1..=16).contains(&exact.bits) {
        return Err("a pixel has 1 to 4 samples of 1 to 16 bits");
    }
    if exact.tile_log2 > MAX_EXACT_LOG2 {
        return Err("a tile of exact samples is larger than 4096");
    }
    if alpha || header.gray != (exact.channels <= 2) {
        return Err("what is said of colour and alpha does not fit the exact samples");
    }
    Ok(())
}

fn part_length(part: &[u8]) -> Result<u32> {
    u32::try_from(part.len()).map_err(|_| Error::OverLimit {
        what: "bytes of a payload",
        value: part.len() as u64,
        limit: u32::MAX.into(),
    })
}

/// Magic number and version, which is returned. A prefix of the magic number is a truncated file.
fn read_magic(reader: &mut Reader) -> Result<u8> {
    if !reader.bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic) {
        return Err(Error::NotVqc);
    }
    reader.array::<{ MAGIC.len() }>()?;
    match reader.byte()? {
        version @ 1..=VERSION => Ok(version),
        version => Err(Error::UnsupportedVersion(version)),
    }
}

/// A cursor that cannot leave its bytes.
pub(crate) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
}

impl<'a> Reader<'a> {
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let array = self.rest().first_chunk().ok_or(Error::Truncated { what: "header" })?;
        self.position += N;
        Ok(*array)
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads what [`write_leb128`] writes, and no other spelling of the same number.
    pub fn leb128(&mut self) -> Result<u32> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let canonical = byte != 0 || shift == 0;
                return u32::try_from(number)
                    .ok()
                    .filter(|_| canonical)
                    .ok_or(Error::Corrupted { what: "a number is not in its shortest form" });
            }
        }
        Err(Error::Corrupted { what: "a number has more than 32 bits" })
    }
}

/// Little-endian groups of 7 bits, the top bit set on all but the last; no superfluous groups.
pub(crate) fn write_leb128(mut number: u32, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
