//! LZ4 frames (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>), read into one buffer: each block lands
//! behind the last, where the next one can refer to it, and is copied once.

use twox_hash::XxHash32;

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

/// Why a frame cannot be read.
pub(super) enum Lz4Error {
    Corrupt(&'static str),
    /// It holds more than the caller allows.
    TooLarge,
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Lz4Error> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Lz4Error::Corrupt("cut off"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Lz4Error> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Lz4Error::Corrupt("cut off"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Lz4Error> {
        self.array().map(u32::from_le_bytes)
    }
}

/// Appends what the frames in `input` hold to `out`, which may become `bytes_max` long.
pub(super) fn decompress(input: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    let mut input = Input(input);
    loop {
        match input.u32()? {
            MAGIC => frame(&mut input, bytes_max, out)?,
            magic if magic & !0xf == SKIPPABLE_MAGIC => {
                let length = input.u32()?;
                input.take(length as usize)?;
            }
            _ => return Err(Lz4Error::Corrupt("not an LZ4 frame")),
        }
        if input.0.is_empty() {
            return Ok(());
        }
    }
}

fn frame(input: &mut Input<'_>, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    let descriptor = input.0;
    let [flags, block_descriptor] = input.array()?;
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
        _ => Some(u64::from_le_bytes(input.array()?)),
    };
    if flags & DICTIONARY_ID != 0 {
        return Err(Lz4Error::Corrupt("it needs a dictionary"));
    }
    let described = descriptor.get(..descriptor.len() - input.0.len()).unwrap_or_default();
    let [checksum] = input.array()?;
    if (XxHash32::oneshot(0, described) >> 8) as u8 != checksum {
        return Err(Lz4Error::Corrupt("the checksum of its header is wrong"));
    }
    let start = out.len();
    loop {
        let size = input.u32()?;
        if size == 0 {
            break;
        }
        let block = input.take((size & !UNCOMPRESSED) as usize)?;
        if block.len() > block_bytes_max {
            return Err(Lz4Error::Corrupt("a block is larger than its frame allows"));
        }
        if flags & BLOCK_CHECKSUMS != 0 && XxHash32::oneshot(0, block) != input.u32()? {
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
    if flags & CONTENT_CHECKSUM != 0 && XxHash32::oneshot(0, content) != input.u32()? {
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
    let room = block_bytes_max.min(bytes_max.saturating_sub(before).saturating_add(1));
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
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < block_bytes_max => {
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
