//! LZ4 frames (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>), read into one buffer: each block lands
//! behind the last, where the next one can refer to it, and is copied once.

use twox_hash::XxHash32;

use crate::DecodeError;
use crate::wire::Reader;

const MAGIC: u32 = 0x184d_2204;
/// Frames for applications' own data, which readers skip: sixteen numbers from here.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const VERSION_MASK: u8 = 0xc0;
const VERSION_1: u8 = 0x40;
const INDEPENDENT_BLOCKS: u8 = 0x20;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const RESERVED_FLAG: u8 = 0x02;
const DICTIONARY_ID: u8 = 0x01;
/// Of a block's size: set when the block is not compressed.
const UNCOMPRESSED: u32 = 1 << 31;
/// How far back a block of linked ones can refer.
const WINDOW_BYTES: usize = 64 << 10;

/// A byte of a block can stand for this many at most.
const RATIO_MAX: usize = 255;

/// Why a frame cannot be read.
pub(super) enum Lz4Error {
    Corrupt(&'static str),
    /// It holds more than the caller allows.
    TooLarge,
}

impl From<DecodeError> for Lz4Error {
    fn from(_: DecodeError) -> Self {
        Self::Corrupt("cut off")
    }
}

/// The format's integers have their low byte first.
fn read_u32(input: &mut Reader<'_>) -> Result<u32, Lz4Error> {
    Ok(input.u32()?.swap_bytes())
}

/// Appends what the frames in `input` hold to `out`, which may become `bytes_max` long.
pub(super) fn decompress(input: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    let mut input = Reader::new(input);
    loop {
        match read_u32(&mut input)? {
            MAGIC => frame(&mut input, bytes_max, out)?,
            magic if magic & !0xf == SKIPPABLE_MAGIC => {
                let length = read_u32(&mut input)?;
                input.take(length as usize)?;
            }
            _ => return Err(Lz4Error::Corrupt("not an LZ4 frame")),
        }
        if input.remaining() == 0 {
            return Ok(());
        }
    }
}

fn frame(input: &mut Reader<'_>, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    let descriptor = input.rest();
    let (flags, block_descriptor) = (input.u8()?, input.u8()?);
    if flags & VERSION_MASK != VERSION_1 || flags & RESERVED_FLAG != 0 || block_descriptor & 0x8f != 0 {
        return Err(Lz4Error::Corrupt("a version or a flag that is not known"));
    }
    let block_bytes_max = match block_descriptor >> 4 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(Lz4Error::Corrupt("a block size that is not known")),
    };
    let content_size = match flags & CONTENT_SIZE {
        0 => None,
        _ => Some(input.i64()?.swap_bytes() as u64),
    };
    if flags & DICTIONARY_ID != 0 {
        return Err(Lz4Error::Corrupt("it needs a dictionary"));
    }
    let described = descriptor.get(..descriptor.len() - input.remaining()).unwrap_or_default();
    if (XxHash32::oneshot(0, described) >> 8) as u8 != input.u8()? {
        return Err(Lz4Error::Corrupt("the checksum of its header is wrong"));
    }
    let start = out.len();
    loop {
        let size = read_u32(input)?;
        if size == 0 {
            break;
        }
        let block = input.take((size & !UNCOMPRESSED) as usize)?;
        if block.len() > block_bytes_max {
            return Err(Lz4Error::Corrupt("a block is larger than its frame allows"));
        }
        if flags & BLOCK_CHECKSUMS != 0 && XxHash32::oneshot(0, block) != read_u32(input)? {
            return Err(Lz4Error::Corrupt("the checksum of a block is wrong"));
        }
        if size & UNCOMPRESSED != 0 {
            if block.len() > bytes_max.saturating_sub(out.len()) {
                return Err(Lz4Error::TooLarge);
            }
            out.extend_from_slice(block);
        } else {
            let linked_from = if flags & INDEPENDENT_BLOCKS != 0 { out.len() } else { start };
            decompress_block(block, linked_from, block_bytes_max, bytes_max, out)?;
        }
    }
    let content = out.get(start..).unwrap_or_default();
    if flags & CONTENT_CHECKSUM != 0 && XxHash32::oneshot(0, content) != read_u32(input)? {
        return Err(Lz4Error::Corrupt("the checksum of its content is wrong"));
    }
    if content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(Lz4Error::Corrupt("it does not hold as much as it says"));
    }
    Ok(())
}

/// Appends one block, which may refer to what is in `out` from `linked_from` on.
fn decompress_block(
    block: &[u8],
    linked_from: usize,
    block_bytes_max: usize,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Lz4Error> {
    let before = out.len();
    // A block that reaches one byte beyond the limit is told from one that ends there.
    let left = bytes_max.saturating_sub(before).saturating_add(1);
    // No more is cleared than the block can fill: a frame of large blocks may hold many tiny ones.
    let room = left.min(block_bytes_max).min(block.len().saturating_mul(RATIO_MAX));
    out.resize(before + room, 0);
    let (earlier, target) = out.split_at_mut_checked(before).unwrap_or_default();
    let window = earlier.get(linked_from.max(before.saturating_sub(WINDOW_BYTES))..).unwrap_or_default();
    let written = if window.is_empty() {
        lz4_flex::block::decompress_into(block, target)
    } else {
        lz4_flex::block::decompress_into_with_dict(block, target, window)
    };
    let written = match written {
        Ok(written) => written,
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room == left => {
            return Err(Lz4Error::TooLarge);
        }
        Err(_) => return Err(Lz4Error::Corrupt("a block is malformed")),
    };
    out.truncate(before + written);
    if out.len() > bytes_max {
        return Err(Lz4Error::TooLarge);
    }
    Ok(())
}
